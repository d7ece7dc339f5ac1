"""VAE/GAN (Larsen et al. 2016): a VAE that also reconstructs a discriminator's features of x."""

import torch
import torch.nn.functional as F
from torch import nn

from parts.model.batches import hide, observed
from parts.model.likelihoods import LIKELIHOODS
from parts.model.networks import NETWORKS
from parts.model.normal import kl_normal
from parts.model.objectives import means
from vae import VAE

# Width of the feature layer; on it depends how much features weigh against pixels and the KL.
N_FEATURES = 32


class VAEGAN(VAE):
    """A VAE with a training step of three phases, each with an optimiser of its own.

    The encoder maximises the ELBO of x and of its features together. The decoder maximises `gamma`
    times their log-likelihood, and the probability that the discriminator gives to generated rows
    of being real. The discriminator learns to tell real rows from reconstructions and samples.
    Unlike the paper we keep log p(x|z) beside that of the features: without it the likelihood is
    not fitted, and log p(x) and imputations mean nothing.
    """

    phases = ("encoder", "decoder", "discriminator")
    needs = {
        "likelihood": tuple(name for name in LIKELIHOODS if LIKELIHOODS[name].scaling != "kinds"),
        "members": (1,),
        "objective": ("elbo",),
        "n_samples": (1,),
        "free_bits": (0.0,),
        "capacity": (None,),
        "noise": ("independent",),
        "trim": (0.0,),
        # The discriminator would tell pixels that were drawn once as 0 or 1 from any mean.
        "binarize": ("dynamic", "none"),
    }

    def __init__(
        self,
        likelihood,
        hidden_dims=(64,),
        z_dim=8,
        y_dim=0,
        network="mlp",
        shape=None,
        gamma=1.0,
        **options,
    ):
        assert likelihood.scaling != "kinds", "no gradient passes through categories"
        super().__init__(likelihood, hidden_dims, z_dim, y_dim, network, shape=shape, **options)
        self.gamma = gamma
        build, n_in = NETWORKS[network].encoder, likelihood.n_columns + y_dim
        self.discriminator = nn.ModuleDict(
            {
                "features": build(n_in, hidden_dims, N_FEATURES, shape=shape),
                "head": nn.Linear(N_FEATURES, 1),
            }
        )

    def note(self, x):
        ours = "log p(x) is of the decoder's likelihood, of which training gave some up for samples"
        return "\n".join(filter(None, [self.likelihood.note(x), ours]))

    def parameters_of(self, phase):
        parts = {
            "encoder": [self.encoder, self.flow, self.prior],  # all that the KL depends on
            "decoder": [self.decoder, self.likelihood],
            "discriminator": [self.discriminator],
        }
        return [p for part in parts[phase] if part is not None for p in part.parameters()]

    def discriminate(self, x, batch):
        """Features Dis_l(x) [..., B, F] and the logit [..., B] that rows x like `batch` are real.

        The features have mean 0 and variance 1 in each row, or their scale would grow as the
        discriminator learns, and with it their weight against pixels and the KL.
        """
        x = observed(x, batch.mask)  # generated rows have the holes of real ones
        if batch.y is not None:
            x = torch.cat([x, batch.y.expand(*x.shape[:-1], -1)], -1)
        features = F.layer_norm(self.discriminator["features"](x), (N_FEATURES,))
        return features, self.discriminator["head"](F.silu(features)).squeeze(-1)

    def reconstruction_terms(self, params, batch, encoded, features):
        """log p(x|z) and -log p(Dis_l(x)|z) = |Dis_l(x) - features|^2 / 2, each [B].

        The second without its constant (eqs. 7 and 8).
        """
        with torch.no_grad():
            real_features, _ = self.discriminate(batch.x, batch)
        feature_error = 0.5 * (real_features - features).square().sum(-1)
        return self.likelihood.log_prob(params, encoded.x, encoded.mask), feature_error

    def generate(self, encoded):
        """Parameters of reconstructions and of as many samples from p(z), [2, B, P]."""
        with torch.no_grad():
            z, _ = self.draw(self.posterior(*encoded), n_samples=None)
            z = torch.stack([z, self.sample_z(len(z), encoded.y)])  # [2, B, Z]
        return self.decode(z, encoded.y)

    def loss(self, phase, batch, beta=1.0, hide_rate=0.0, **others):
        """What phase `phase` minimises (algorithm 1), of each row [B], and means of its parts as
        detached scalars.
        """
        assert all(value in self.needs[name] for name, value in others.items()), others
        encoded = batch._replace(x=self.likelihood.draw(batch.x))
        if hide_rate:
            encoded = hide(encoded, hide_rate)
        steps = {
            "encoder": self.encoder_loss,
            "decoder": self.decoder_loss,
            "discriminator": self.discriminator_loss,
        }
        loss, parts = steps[phase](batch, encoded, beta)
        return loss, means(parts)

    def encoder_loss(self, batch, encoded, beta):
        """beta KL - log p(x|z) - log p(Dis_l(x)|z)."""
        q = self.posterior(*encoded)
        z, log_qz_x = self.draw(q, n_samples=None)
        if self.gaussian:
            kl = kl_normal(q.mu, q.logvar)
        else:
            kl = log_qz_x - self.log_pz(z, encoded.y)
        params = self.decode(z, encoded.y)
        features, _ = self.discriminate(self.likelihood.mean(params), batch)
        log_px_z, error = self.reconstruction_terms(params, batch, encoded, features)
        loss = beta * kl - log_px_z + error
        return loss, {"loss": loss, "log_px_z": log_px_z, "kl": kl, "feature_error": error}

    def decoder_loss(self, batch, encoded, _):
        """-gamma (log p(x|z) + log p(Dis_l(x)|z)) - log Dis(generated rows).

        The last in place of log(1 - Dis), whose gradient fades where the discriminator is sure
        (Goodfellow et al. 2014, section 3).
        """
        params = self.generate(encoded)
        features, logits = self.discriminate(self.likelihood.mean(params), batch)
        log_px_z, error = self.reconstruction_terms(params[0], batch, encoded, features[0])
        generator_loss = F.softplus(-logits).mean(0)  # [2, B] -> [B]
        loss = self.gamma * (error - log_px_z) + generator_loss
        return loss, {"decoder_loss": loss, "generator_loss": generator_loss}

    def discriminator_loss(self, batch, encoded, _):
        """-log Dis(x) - log(1 - Dis(generated rows)), of these the mean of both kinds.

        It is log 4 where the discriminator is undecided.
        """
        with torch.no_grad():
            generated = self.likelihood.mean(self.generate(encoded))
        _, logits = self.discriminate(torch.cat([batch.x.unsqueeze(0), generated]), batch)  # [3, B]
        real, fake = logits[0], logits[1:]
        loss = F.softplus(-real) + F.softplus(fake).mean(0)
        right = 0.5 * ((real > 0).float() + (fake < 0).float().mean(0))
        return loss, {"discriminator_loss": loss, "discriminator_accuracy": right}
