"""VAE/GAN (Larsen et al. 2016): a VAE that must also rebuild what a discriminator sees in x."""

import torch
import torch.nn.functional as F
from torch import nn

from parts.model.batches import hide, observed
from parts.model.likelihoods import LIKELIHOODS
from parts.model.networks import NETWORKS
from parts.model.normal import kl_normal
from vae import VAE

# Width of the feature layer; on it depends how much features weigh against pixels and the KL.
N_FEATURES = 32


class VAEGAN(VAE):
    """A VAE with another training step, of three phases with an optimiser each.

    The encoder climbs the ELBO of x and of its features together, the decoder `gamma` times their
    log-likelihood and the discriminator's belief in its pictures, the discriminator tells real rows
    from reconstructions and from samples. Unlike the paper we keep log p(x|z) beside that of the
    features: without it the likelihood is not fitted, and log p(x) and imputations mean nothing.
    """

    phases = ("encoder", "decoder", "discriminator")
    options = ("gamma",)
    needs = {
        "likelihood": tuple(name for name in LIKELIHOODS if LIKELIHOODS[name].scaling != "kinds"),
        **{"members": (1,), "objective": ("elbo",), "n_samples": (1,)},
        # Pixels drawn once as 0 or 1 are told from any mean at a glance.
        **{"free_bits": (0.0,), "capacity": (None,), "binarize": ("dynamic", "none")},
    }

    def __init__(self, likelihood, hidden_dims=(64,), z_dim=8, y_dim=0, network="mlp", shape=None,
                 gamma=1.0, **options):  # fmt: skip
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

    def judge(self, x, batch):
        """Features Dis_l(x) [..., B, F] and the logit [..., B] that rows x like `batch` are real.

        They are brought to mean 0 and variance 1 in each row, or their scale would grow as the
        discriminator learns, and with it their weight against pixels and the KL.
        """
        x = observed(x, batch.mask)  # made rows have the holes of real ones
        if batch.y is not None:
            x = torch.cat([x, batch.y.expand(*x.shape[:-1], -1)], -1)
        features = F.layer_norm(self.discriminator["features"](x), (N_FEATURES,))
        return features, self.discriminator["head"](F.silu(features)).squeeze(-1)

    def llike(self, params, batch, seen, features):
        """Means of log p(x|z), and of -log p(Dis_l(x)|z) = |Dis_l(x) - features|^2 / 2, its
        constant left out (eqs. 7 and 8).
        """
        with torch.no_grad():
            wanted, _ = self.judge(batch.x, batch)
        error = 0.5 * (wanted - features).square().sum(-1)
        return self.likelihood.log_prob(params, seen.x, seen.mask).mean(), error.mean()

    def made(self, seen):
        """Parameters of reconstructions and of as many samples from p(z), [2, B, P]."""
        with torch.no_grad():
            z, _ = self.draw(self.posterior(*seen), n_samples=None)
            z = torch.stack([z, self.sample_z(len(z), seen.y)])
        return self.decode(z, seen.y)

    def loss(self, phase, batch, beta=1.0, hide_rate=0.0, **others):
        """What phase `phase` minimises (algorithm 1), and its parts as detached scalars."""
        assert all(value in self.needs[name] for name, value in others.items()), others
        seen = batch._replace(x=self.likelihood.draw(batch.x))
        if hide_rate:
            seen = hide(seen, hide_rate)
        steps = (self.encoder_loss, self.decoder_loss, self.discriminator_loss)
        loss, stats = steps[self.phases.index(phase)](batch, seen, beta)
        return loss, {name: value.detach() for name, value in stats.items()}

    def encoder_loss(self, batch, seen, beta):
        """beta KL - log p(x|z) - log p(Dis_l(x)|z)."""
        q = self.posterior(*seen)
        z, log_qz_x = self.draw(q, n_samples=None)
        kl = (kl_normal(*q[:2]) if self.gaussian else log_qz_x - self.log_pz(z, seen.y)).mean()
        params = self.decode(z, seen.y)
        features, _ = self.judge(self.likelihood.mean(params), batch)
        log_px_z, error = self.llike(params, batch, seen, features)
        loss = beta * kl - log_px_z + error
        return loss, {"loss": loss, "log_px_z": log_px_z, "kl": kl, "feature_error": error}

    def decoder_loss(self, batch, seen, _):
        """-gamma (log p(x|z) + log p(Dis_l(x)|z)) - log Dis(made rows).

        The last in place of log(1 - Dis), whose gradient fades where the discriminator is sure
        (Goodfellow et al. 2014, section 3).
        """
        params = self.made(seen)
        features, logits = self.judge(self.likelihood.mean(params), batch)
        log_px_z, error = self.llike(params[0], batch, seen, features[0])
        generator_loss = F.softplus(-logits).mean()
        loss = self.gamma * (error - log_px_z) + generator_loss
        return loss, {"decoder_loss": loss, "generator_loss": generator_loss}

    def discriminator_loss(self, batch, seen, _):
        """-log Dis(x) - log(1 - Dis(made rows)), the mean of both kinds: log 4 where undecided."""
        with torch.no_grad():
            made = self.likelihood.mean(self.made(seen))
        _, logits = self.judge(torch.cat([batch.x.unsqueeze(0), made]), batch)  # [3, B]
        real, made = logits[0], logits[1:]
        loss = F.softplus(-real).mean() + F.softplus(made).mean()
        right = 0.5 * ((real > 0).float().mean() + (made < 0).float().mean())
        return loss, {"discriminator_loss": loss, "discriminator_accuracy": right}
