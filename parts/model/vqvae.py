"""VQ-VAE (van den Oord et al. 2017): a row becomes M codes of one codebook, under a learned prior.

Shapes as in vae.py; z is M codes of C numbers each: z_e, z_q [B, M, C], indices [B, M], and flat
where it is given to the decoder, z [K, B, M C].
"""

import math
from typing import NamedTuple

import torch

from parts.errors import UserError
from parts.model.batches import Batch, hide
from parts.model.codebook import PRIOR_DIM, Codebook, CodePrior, perplexity, sample_categorical
from parts.model.noise import normal_grid
from parts.model.objectives import means
from parts.model.traversal import code_traversal
from vae import VAE, Terms


class Codes(NamedTuple):
    """q(z|x, y) of a row: one point, the codes z_q nearest to the encoder's output z_e; and y."""

    z_e: torch.Tensor
    z_q: torch.Tensor
    indices: torch.Tensor
    y: torch.Tensor | None


def straight_through(z_e, z_q):
    """z_q, whose gradient is passed on to z_e (van den Oord et al. 2017, section 3.2)."""
    return z_q.detach() + (z_e - z_e.detach())


class VQVAE(VAE):
    """A VAE whose z is M = `z_dim` codes, those nearest to the encoder's output; p(z) is learned.

    log p(x) >= log p(x|z_q(x)) + log p(indices(x)), which is `elbo`; with more than one sample
    `log_px` adds what other codes give x. The encoder's output is split into M vectors, so that any
    network can be used.
    """

    phases = ("vqvae", "prior")
    needs = {
        "members": (1,),
        "flow": (None,),
        "prior": ("normal",),
        "objective": ("elbo",),
        "n_samples": (1,),
        "beta": (1.0,),
        "warmup_epochs": (0,),
        "cycles": (1,),
        "noise": ("independent",),
        "free_bits": (0.0,),
        "capacity": (None,),
        "trim": (0.0,),
    }
    heads = 1
    n_z_per_condition = 20  # the first is the row's own code, the others are what p(z) would draw
    gaussian = False
    z_is_continuous = False

    def __init__(
        self,
        likelihood,
        hidden_dims=(64,),
        z_dim=8,
        y_dim=0,
        network="mlp",
        shape=None,
        n_codes=64,
        code_dim=4,
        commitment=0.25,
    ):
        super().__init__(likelihood, hidden_dims, z_dim * code_dim, y_dim, network, shape=shape)
        self.codebook = Codebook(n_codes, code_dim)
        self.prior = CodePrior(z_dim, n_codes, y_dim)
        self.n_latents, self.commitment = z_dim, commitment
        self.width = max(self.width, z_dim * max(n_codes, PRIOR_DIM))

    def describe(self):
        n_codes, code_dim = self.codebook.codes.shape
        most = self.n_latents * math.log(n_codes)
        return (
            f"{super().describe()}, z of {self.n_latents} codes x {code_dim}, each of {n_codes}: "
            f"room for {most:.1f} nats"
        )

    def note(self, x):
        ours = (
            "q(z|x) is deterministic: ELBO is log p(x|z) + log p(z) at the one code of a row, and "
            "log p(x) adds what sampled codes give it; both are lower bounds"
        )
        return "\n".join(filter(None, [super().note(x), ours]))

    def parameters_of(self, phase):
        prior = list(self.prior.parameters())
        if phase == "prior":
            return prior
        return [p for p in super().parameters_of(phase) if all(p is not q for q in prior)]

    @torch.no_grad()
    def start_at(self, x, y=None, mask=None):
        """Initialise the codebook as encoder outputs of rows of the data."""
        self.likelihood.start_at(x, mask)
        self.codebook.start_at(self.posterior(x, y, mask).z_e.flatten(0, 1))

    def posterior_of(self, h):
        z_e = self.encoder(h).unflatten(-1, (self.n_latents, -1))  # [B, M, C]
        indices = self.codebook.nearest(z_e)
        y = h[..., -self.y_dim :] if self.y_dim else None
        return Codes(z_e, self.codebook.codes[indices], indices, y)

    def encode(self, x, y=None, mask=None):
        raise UserError("the codes of model vqvae have no mu and logvar; use model vae")

    def posterior_mean(self, q):
        return q.z_q.flatten(-2)

    def kl_by_latent(self, q):
        """-log p(code | codes before it), [B, M]: q(z|x) has no entropy."""
        return -self.prior.log_prob_per_code(q.indices, q.y)

    def log_pz(self, z, y=None):
        """log p(z|y), [...], of codes z [..., B, M C]."""
        codes = z.unflatten(-1, (self.n_latents, -1))
        return self.prior.log_prob(self.codebook.nearest(codes), y)

    def elbo_of(self, q, x, y=None, mask=None, n_samples=None):
        """The bound at the one code of each row, whatever n_samples."""
        z = straight_through(q.z_e, q.z_q).flatten(-2)
        log_px_z = self.likelihood.log_prob(self.decode(z, y), x, mask)
        kl = self.kl_by_latent(q).sum(-1)
        return Terms(log_px_z - kl, log_px_z, kl)

    def loss(self, phase, batch, hide_rate=0.0, **_):
        """What phase `phase` minimises, of each row [B], and means of its parts, detached.

        "vqvae": -log p(x|z_q) + commitment |z_e - z_q|^2 (van den Oord et al. 2017, eq. 3, where
        moving averages stand for its second term), and a step of these where gradients are on.
        "prior": -log p(indices | y), of whole rows.
        """
        batch = batch._replace(x=self.likelihood.draw(batch.x))
        if phase == "prior":
            with torch.no_grad():
                indices = self.posterior(*batch).indices
            return -self.prior.log_prob(indices, batch.y), {}
        if hide_rate:
            batch = hide(batch, hide_rate)
        q = self.posterior(*batch)
        _, log_px_z, kl = self.elbo_of(q, *batch)  # [B]
        error = (q.z_e - q.z_q).square().sum((-2, -1))  # [B]
        loss = self.commitment * error - log_px_z
        if torch.is_grad_enabled():
            self.codebook.update(q.z_e, q.indices, loss.detach().mean().isfinite())
        # The logged loss has the KL, as the held-out one has: to be drawn side by side.
        stats = means({"loss": loss + kl, "log_px_z": log_px_z, "kl": kl, "commitment": error})
        return loss, stats | {"perplexity": perplexity(q.indices, len(self.codebook.codes))}

    def grid(self, n_samples, seed=0):
        """Noise in (0, 1) that fills it evenly, for n_samples codes of a row: [K, 1, M]."""
        return torch.special.ndtr(normal_grid(n_samples, self.n_latents, seed))

    def draw(self, q, n_samples=1, eps=None, detach_q=False):
        """Codes z [K, B, M C] to sum p(x, z) over, and the log of their proposal density [K, B].

        The first is the row's own. Half of the others are drawn near z_e, each code alone as if
        the codebook were the means of a mixture of Gaussians, and half from p(z); their density is
        that of both together (Veach & Guibas 1995). Where the row's own code is drawn again its
        weight is 0, for the first has all its mass: the mean of w is then unbiased for p(x), and
        with one sample log w is the ELBO. No gradient is defined, whatever `detach_q`.
        """
        if eps is None:
            eps = torch.rand_like(q.z_e[..., 0].expand(n_samples, -1, -1))
        n_near = n_samples // 2
        own, u = q.indices.unsqueeze(0), eps[1:].expand(-1, *q.indices.shape)
        logits = -self.codebook.distances(q.z_e) / (2 * self.codebook.variance)
        log_near = logits.log_softmax(-1)  # [B, M, n_codes]
        near = sample_categorical(log_near, u[:n_near].permute(1, 2, 0)).permute(2, 0, 1)
        indices = torch.cat([near, self.prior.sample(u[n_near:], q.y)])  # [K - 1, B, M]
        log_r = log_near.expand(len(indices), *log_near.shape).gather(-1, indices.unsqueeze(-1))
        counts = torch.tensor([n_near, n_samples - 1 - n_near], device=eps.device).log()
        log_q = torch.logaddexp(
            counts[0] + log_r.squeeze(-1).sum(-1), counts[1] + self.prior.log_prob(indices, q.y)
        )
        log_q = log_q.masked_fill((indices == own).all(-1), math.inf) - math.log(n_samples)
        first = torch.full_like(q.z_e[None, ..., 0, 0], -math.log(n_samples))
        z = self.codebook.codes[torch.cat([own, indices])].flatten(-2)
        return z, torch.cat([first, log_q])

    @torch.no_grad()
    def importance(self, x, y=None, mask=None, *args, **options):
        """log p(x) by the row's own code and others, see `draw`; `elbo` is the bound at its own."""
        found = super().importance(x, y, mask, *args, **options)
        return found._replace(elbo=self.terms(Batch(x, y, mask)).elbo)

    def forward(self, x, y=None, mask=None):
        """Mean of p(x|z_q) [B, D], and z_e and z_q [B, M, C]."""
        q = self.posterior(x, y, mask)
        return self.likelihood.mean(self.decode(self.posterior_mean(q), y)), q.z_e, q.z_q

    def traversal(self, z, y=None):
        """z [U, S, M C] of the first row with one code at a time changed, as a Traversal."""
        return code_traversal(z, self.codebook)

    def check_latents_are_separate(self):
        raise UserError(
            "known factors are compared with the mean and the variance of each latent, and model "
            "vqvae has codes; train a run of model vae"
        )

    def aggregated(self, x, y=None, mask=None, width=0.0):
        """None: p(z) is learned, and covers no more than the rows' codes."""

    @torch.no_grad()
    def sample_z(self, n, y=None):
        u = torch.rand(n, self.n_latents, device=self.codebook.codes.device)
        return self.codebook.codes[self.prior.sample(u, y)].flatten(-2)
