"""The variational autoencoder: encode, reparameterize, decode, ELBO, log p(x), sample, impute.

    from vae import VAE, Gaussian
    model = VAE(Gaussian(20), hidden_dims=(64,), z_dim=8)

Shapes: B batch, K samples of z, M members, D columns of x, Z latent, P likelihood parameters.
Every bound and density is in nats per example, summed over columns.
"""

from typing import NamedTuple

import torch
from torch import nn

from parts.errors import UserError
from parts.model import importance
from parts.model.aggregated import Aggregated
from parts.model.batches import Batch, hide
from parts.model.importance import Importance, Imputation
from parts.model.likelihoods import LIKELIHOODS
from parts.model.likelihoods.gaussian import Gaussian
from parts.model.likelihoods.mixed import Bernoulli, Mixed
from parts.model.networks import NETWORKS, most_linear, start_linear
from parts.model.noise import normal_grid
from parts.model.normal import LOG_2PI, kl_normal, log_normal
from parts.model.objectives import OBJECTIVES, means, weights_of_typical

MAX_LOGVAR = 6.0  # of q(z|x) after training: twenty times as wide as N(0, I)

__all__ = [
    "LIKELIHOODS",
    "NETWORKS",
    "OBJECTIVES",
    "VAE",
    "Batch",
    "Bernoulli",
    "Gaussian",
    "Importance",
    "Imputation",
    "Mixed",
    "Terms",
    "kl_normal",
    "normal_grid",
]


class Terms(NamedTuple):
    """elbo = log_px_z - kl, each [B], nats."""

    elbo: torch.Tensor
    log_px_z: torch.Tensor
    kl: torch.Tensor


class Posterior(NamedTuple):
    """q(z|x): a Gaussian [..., B, Z], and what its flow is told of x, where there is a flow."""

    mu: torch.Tensor
    logvar: torch.Tensor
    context: torch.Tensor | None = None


class VAE(nn.Module):
    """q(z|x) = N(mu(x), exp(logvar(x))), p(z) = N(0, I), and p(x|z) given by `likelihood`.

    A `flow` (parts/model/flows.py) transforms q(z|x), a `prior` (parts/model/priors.py) replaces
    N(0, I).
    Several `members` are an even mixture of VAEs that share what the likelihood learns, trained in
    one pass: their axis M comes first in mu and logvar [M, B, Z], z [M, K, B, Z] and params.
    """

    phases = ("vae",)  # of a training step, each with an optimiser of its own
    needs = {}  # flag -> the only values of it that this model's training step knows
    heads = 2  # numbers of the encoder for each latent: mu and logvar
    n_z_per_condition = 1  # z's that `importance.resample` proposes with each draw of y
    z_is_continuous = True  # whether p(x|z) means something at every z

    def __init__(
        self,
        likelihood,
        hidden_dims=(64,),
        z_dim=8,
        y_dim=0,
        network="mlp",
        members=1,
        shape=None,
        flow=None,
        prior=None,
    ):
        super().__init__()
        self.likelihood, self.flow, self.prior = likelihood, flow, prior
        self.hidden_dims, self.z_dim, self.y_dim = tuple(hidden_dims), z_dim, y_dim
        self.members, self.n_latents = members, z_dim
        n_in = likelihood.n_features + y_dim
        n_out = self.heads * z_dim + (flow.n_params if flow else 0)
        build_encoder, build_decoder = NETWORKS[network]
        of_members = {"members": members, "shape": shape}
        # One head for mu, logvar and a flow's context: one matrix product.
        self.encoder = build_encoder(n_in, hidden_dims, n_out, **of_members)
        n_params = likelihood.n_params
        self.decoder = build_decoder(z_dim + y_dim, self.hidden_dims[::-1], n_params, **of_members)
        widest = (getattr(half, "width", 0) for half in (self.encoder, self.decoder))
        self.width = max(n_in, *hidden_dims, n_out, z_dim + y_dim, likelihood.width, *widest)

    # q(z|x)

    def encode(self, x, y=None, mask=None):
        """mu and logvar of q(z|x, y), before its flow, each [B, Z]."""
        q = self.posterior(x, y, mask)
        return q.mu, q.logvar

    def posterior(self, x, y=None, mask=None):
        """q(z|x, y) as a Posterior."""
        h = self.likelihood.features(x, mask)
        if y is not None:
            h = torch.cat([h, y], -1)
        if self.members > 1:
            h = h.expand(self.members, *h.shape)
        return self.posterior_of(h)

    def posterior_of(self, h):
        """q(z|x, y) as a Posterior, from the encoder's input h [B, n_features + y_dim]."""
        h = self.encoder(h)
        if self.flow is None:
            q = Posterior(*h.chunk(2, -1))
        else:
            q = Posterior(*h.split((self.z_dim, self.z_dim, self.flow.n_params), -1))
        # Of a row far from those of training a network says anything.
        return q if self.training else q._replace(logvar=q.logvar.clamp(max=MAX_LOGVAR))

    def posterior_mean(self, q):
        """The mean of q(z|x), [B, Z]; after a flow, where the flow takes the Gaussian's mean."""
        return q.mu if self.flow is None else self.flow(q.mu, q.context)[0]

    def reparameterize(self, mu, logvar, n_samples=1, eps=None):
        """z = mu + sigma * eps, [K, B, Z]; [B, Z] where n_samples is None. eps None: drawn here.

        A sample axis of length 1 would cost a training step several more kernels.
        """
        if eps is None:
            shape = mu.shape if n_samples is None else (*mu.shape[:-2], n_samples, *mu.shape[-2:])
            eps = torch.randn(shape, dtype=mu.dtype, device=mu.device)
        if n_samples is not None:
            mu, logvar = mu.unsqueeze(-3), logvar.unsqueeze(-3)
        return torch.addcmul(mu, torch.exp(0.5 * logvar), eps)

    def draw(self, q, n_samples=1, eps=None, detach_q=False):
        """Samples z of a Posterior and their log q(z|x): [K, B, Z], [K, B]; see reparameterize.

        With `detach_q` no gradient passes through the parameters of log q, only through z.
        """
        z = self.reparameterize(q.mu, q.logvar, n_samples, eps)
        mu, logvar = (q.mu.detach(), q.logvar.detach()) if detach_q else (q.mu, q.logvar)
        if n_samples is not None:
            mu, logvar = mu.unsqueeze(-3), logvar.unsqueeze(-3)
        log_qz_x = log_normal(z, mu, logvar).sum(-1)
        if self.flow is None:
            return z, log_qz_x
        z, log_det = self.flow(z, q.context)
        return z, log_qz_x - log_det

    # p(x|z) and p(z)

    def decode(self, z, y=None):
        """The likelihood's parameters, [K, B, P]."""
        if y is not None:
            z = torch.cat([z, y.expand(*z.shape[:-1], -1)], -1)
        return self.decoder(z)

    def log_pz(self, z, y=None):
        """log p(z), [K, B]; a learned prior may depend on y."""
        if self.prior is not None:
            return self.prior.log_prob(z, lambda h: self.posterior_of(h)[:2], y)
        return -0.5 * (LOG_2PI + z.square()).sum(-1)

    @property
    def gaussian(self):
        """Whether q(z|x) is a Gaussian and p(z) is N(0, I), so that their KL is exact."""
        return self.flow is None and self.prior is None

    def forward(self, x, y=None, mask=None):
        """Mean of p(x|z) at one sampled z [B, D] (of each member), and mu, logvar of q(z|x)."""
        q = self.posterior(x, y, mask)
        z, _ = self.draw(q)
        return self.likelihood.mean(self.decode(z, y)).squeeze(-3), q.mu, q.logvar

    # Bounds on log p(x)

    def elbo(self, x, y=None, mask=None, n_samples=None):
        """The evidence lower bound and its two halves, by `n_samples` draws of z (None: 1).

        The KL is exact where q is Gaussian and p(z) is N(0, I), else it comes from the same draws.
        """
        return self.elbo_of(self.posterior(x, y, mask), x, y, mask, n_samples)

    def elbo_of(self, q, x, y=None, mask=None, n_samples=None):
        """`elbo` where the Posterior q of these rows is known."""
        if self.gaussian:
            z = self.reparameterize(q.mu, q.logvar, n_samples)  # [K, B, Z]
            kl = kl_normal(q.mu, q.logvar)
        else:
            z, log_qz_x = self.draw(q, n_samples)
            kl = log_qz_x - self.log_pz(z, y)
            kl = kl if n_samples is None else kl.mean(-2)
        log_px_z = self.likelihood.log_prob(self.decode(z, y), x, mask)  # [K, B]
        if n_samples is not None:
            log_px_z = log_px_z.mean(-2)  # [B]
        if self.members > 1:
            log_px_z, kl = log_px_z.mean(0), kl.mean(0)
        return Terms(log_px_z - kl, log_px_z, kl)

    def log_w_terms(
        self, x, y=None, mask=None, n_samples=1, detach_q=False, eps=None, prior=None, q=None
    ):
        """log p(x|z) and log p(z) - log q(z|x) at samples z of q, each [K, B], and z [K, B, Z].

        `detach_q` as in `draw`. `prior` gives log p(z) in place of the model's own, and `q` is
        another Posterior than that of these rows.
        """
        q = self.posterior(x, y, mask) if q is None else q
        z, log_qz_x = self.draw(q, n_samples, eps, detach_q)
        log_px_z = self.likelihood.log_prob(self.decode(z, y), x, mask)
        log_pz = self.log_pz(z, y) if prior is None else prior(z)
        return log_px_z, log_pz - log_qz_x, z

    def log_w(self, x, y=None, mask=None, n_samples=1, eps=None, prior=None):
        """log p(x|z) + log p(z) - log q(z|x) at samples of q, of all members: [M K, B]."""
        log_px_z, log_ratio, _ = self.log_w_terms(x, y, mask, n_samples, eps=eps, prior=prior)
        return (log_px_z + log_ratio).flatten(0, -2)

    def log_px(self, x, y=None, mask=None, n_samples=1000, eps=None):
        """Importance-weighted lower bound on log p(x), [B]; tight as n_samples grows."""
        return self.importance(x, y, mask, n_samples, eps).log_px

    def loss(
        self,
        phase,
        batch,
        beta=1.0,
        objective="elbo",
        n_samples=1,
        hide_rate=0.0,
        free_bits=0.0,
        capacity=None,
        trim=0.0,
    ):
        """What phase `phase` minimises, of each row [B], and means of its parts, detached.

        The options are those of parts/model/objectives.py. Of a share `trim` of the rows, those
        with the highest loss per observed cell, it is 0.
        """
        batch = batch._replace(x=self.likelihood.draw(batch.x))
        seen, batch = self.in_training(batch, hide_rate)
        options = beta, n_samples, free_bits, capacity
        loss, parts = OBJECTIVES[objective](self, batch, *options, seen=seen)
        if trim:
            weights = weights_of_typical(self.oddness(loss, batch), batch.mask, trim)
            loss, parts = torch.where(weights > 0, weights * loss, 0.0), means(parts, weights)
        else:
            parts = means(parts)
        penalty = self.likelihood.penalty()
        return loss if penalty is None else loss + penalty, parts

    def oddness(self, loss, batch):
        """By what rows are left out of training where it is trimmed, [B]."""
        return loss

    def in_training(self, batch, hide_rate):
        """What the encoder sees of a Batch, and the Batch whose bound is climbed."""
        batch = hide(batch, hide_rate) if hide_rate else batch
        return batch, batch

    # Reconstructions and samples

    @torch.no_grad()
    def reconstruct(self, x, y=None, mask=None):
        """Mean of p(x|z) at the mean of q(z|x), [B, D]: no randomness."""
        z = self.posterior_mean(self.posterior(x, y, mask))
        return self.expected(self.decode(z, y))

    def expected(self, params):
        """What to expect of x given params [B, P], or those of all members [M, B, P]: [B, D]."""
        if self.members == 1:
            return self.likelihood.mean(params)
        return self.likelihood.average(params, params.new_full(params.shape[:2], 1 / self.members))

    @torch.no_grad()
    def sample_z(self, n, y=None):
        """n draws from p(z), [n, Z]; a learned prior may depend on y [n, C]."""
        if self.prior is not None:
            return self.prior.sample(n, lambda h: self.posterior_of(h)[:2], y)
        weight = next(self.parameters())
        return torch.randn(n, self.z_dim, dtype=weight.dtype, device=weight.device)

    @torch.no_grad()
    def sample(self, n, y=None, x_of=None):
        """n draws of x, [n, D]; given y [n, C] where the model has a condition.

        `x_of` makes x of the parameters of p(x|z): a draw, or for example `likelihood.mean`.
        """
        x_of, z = x_of or self.likelihood.sample, self.sample_z(n, y)
        if self.members == 1:
            return x_of(self.decode(z, y))
        params = self.decode(z.expand(self.members, n, -1), y)  # [M, n, P]
        member = torch.randint(self.members, (n,)).to(params.device)
        return x_of(params[member, torch.arange(n, device=params.device)])

    # Estimates in bounded memory: parts/model/importance.py

    def importance(self, x, y=None, mask=None, n_samples=1000, eps=None, prior=None, own=None):
        """log p(x), ELBO and effective sample size of any number of rows, as an Importance."""
        return importance.importance(self, Batch(x, y, mask), n_samples, eps, prior, own)

    def terms(self, batch, n_samples=1):
        """`elbo` of any number of rows, as Terms."""
        return importance.terms(self, batch, n_samples)

    def impute(self, x, mask, y=None, n_samples=1000, draws=0, eps=None, unit=None, x_of=None):
        """Missing cells by their distribution given the observed ones, as an Imputation."""
        batch = Batch(x, y, mask)
        return importance.impute(self, batch, n_samples, draws, eps, unit, x_of)

    def grid(self, n_samples, seed=0):
        """`normal_grid` for n_samples z's of a row in all, evenly of each member: [K, 1, Z]."""
        return normal_grid(importance.samples_per_member(self, n_samples), self.z_dim, seed)

    @torch.no_grad()
    def aggregated(self, x, y=None, mask=None, width=0.0):
        """The aggregated posterior of rows [N, D], as a prior for `importance`; see Aggregated.

        None after a flow, whose density at other rows' z needs its inverse.
        """
        return Aggregated(*self.encode(x, y, mask), width) if self.flow is None else None

    # What scripts and the training loop ask

    def traversal(self, z, y=None):
        """The z's of the first row of posterior means z [N, Z] with one latent at a time changed,
        as a Traversal; y [N, C] are the conditions of these rows.
        """
        from parts.model import traversal

        return traversal.gaussian_traversal(z, *traversal.prior_mean_std(self, z, y))

    def check_latents_are_separate(self):
        """Raise UserError unless q(z|x) is one Gaussian for each latent, as known factors need."""
        if self.members > 1:
            raise UserError(
                "known factors are compared with the latents of one encoder, and this model has "
                f"{self.members} members; train one with 1"
            )
        if self.flow is not None:
            raise UserError(
                "known factors are compared with q(z|x) of each latent alone, and the flow of this "
                "model mixes them; train one without a flow"
            )

    def parameters_of(self, phase):
        """The parameters that training phase `phase` moves."""
        return [p for p in self.parameters() if p.requires_grad]

    @torch.no_grad()
    def start_at(self, x, y=None, mask=None):
        """Initialise from rows of the data what can be: the noise, a prior's pseudo-inputs."""
        n_latents = min(self.z_dim, most_linear(self.hidden_dims))
        start = self.likelihood.start_at(x, mask, n_latents)
        if start is not None:
            self.start_linear(start)
        if self.prior is not None:
            h = self.likelihood.features(x, mask)
            self.prior.start_at(h if y is None else torch.cat([h, y], -1))

    def start_linear(self, start):
        """Start encoder and decoder at the maps of a LinearStart; N(0, I) for the other latents."""
        n, n_latents = len(start.bias), self.z_dim
        outer = start.to_z.new_zeros(self.heads * n_latents, n)
        outer[:n] = torch.eye(n)
        bias = outer.new_zeros(len(outer))
        bias[:n], bias[n_latents : n_latents + n] = start.bias, start.logvar
        start_linear(self.encoder, start.to_z, outer, bias)
        inner = torch.eye(n, n_latents)
        start_linear(self.decoder, inner, start.to_params, inner.new_zeros(len(start.to_params)))

    def kl_by_latent(self, q):
        """KL of q(z|x), before its flow, from N(0, I): [B, Z]."""
        return kl_normal(q.mu, q.logvar, by_latent=True)

    def describe(self):
        """One line: sizes of the layers, number of parameters, likelihood, flow and prior."""
        inner = [*self.hidden_dims, f"z{self.z_dim}", *self.hidden_dims[::-1]]
        dims = [self.likelihood.n_features + self.y_dim, *inner, self.likelihood.n_params]
        n = sum(p.numel() for p in self.parameters())
        shape = "-".join(map(str, dims)) + (f" x {self.members}" if self.members > 1 else "")
        parts = [part.describe() for part in (self.likelihood, self.flow, self.prior) if part]
        return f"Model: {type(self).__name__} {shape}, {n:,} parameters, {', '.join(parts)}"

    def note(self, x):
        """What log p(x) means for data x, in sentences, or an empty string."""
        return self.likelihood.note(x)
