"""VQ-VAE (van den Oord et al. 2017): a row becomes M codes of one codebook, under a learned prior.

Shapes as in vae.py; z is M codes of C numbers each: z_e, z_q [B, M, C], indices [B, M], and flat
where it is given to the decoder, z [K, B, M C].
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from parts.batches import Batch, hide
from parts.errors import UserError
from vae import VAE, Terms, normal_grid

DECAY = 0.99  # of the codebook's moving averages, by step (van den Oord et al. 2017, appendix A.1)
DEAD = 0.05  # of an even share: a code that is used less starts anew
PRIOR_DIM = 128  # hidden units of the prior


class Codes(NamedTuple):
    """q(z|x, y), all of it at the codes z_q that are nearest to the encoder's output z_e; and y."""

    z_e: torch.Tensor
    z_q: torch.Tensor
    indices: torch.Tensor
    y: torch.Tensor | None


class Codebook(nn.Module):
    """Vectors [n_codes, C] that follow the mean of what is nearest to them, without gradients."""

    def __init__(self, n_codes, code_dim):
        super().__init__()
        self.register_buffer("codes", torch.randn(n_codes, code_dim))
        self.register_buffer("share", torch.full((n_codes,), 1 / n_codes))  # of z_e, each code's
        self.register_buffer("variance", torch.ones(()))  # of z_e around z_q, by dimension

    def distances(self, z_e):
        """Squared, of z_e [..., C] from every code, [..., n_codes]."""
        squares = z_e.square().sum(-1, keepdim=True) + self.codes.square().sum(-1)
        return (squares - 2 * z_e @ self.codes.T).clamp(min=0)

    @torch.no_grad()
    def nearest(self, z_e):
        """The index [...] of the code nearest to z_e [..., C]."""
        return self.distances(z_e).argmin(-1)

    @torch.no_grad()
    def start_at(self, z_e):
        """Codes from among encoder outputs z_e [N, C], and the variance around them."""
        n = len(z_e)
        at = torch.cat([torch.randperm(n) for _ in range(-(-len(self.codes) // n))])
        self.codes.copy_(z_e[at[: len(self.codes)].to(z_e.device)])
        self.variance.copy_(self.distances(z_e).amin(-1).mean() / z_e.shape[-1])

    @torch.no_grad()
    def update(self, z_e, indices, sound):
        """A step of the moving averages by z_e [..., C]; none where the scalar `sound` is false.

        Van den Oord et al. 2017, eqs. 6-8, in shares of a batch in place of counts, so that the
        size of a batch is no part of it. A dead code starts anew at one of z_e, as if of an even
        share (Dhariwal et al. 2020).
        """
        z_e, indices = z_e.flatten(0, -2), indices.flatten()
        n_codes = len(self.codes)
        chosen = F.one_hot(indices, n_codes).to(z_e.dtype)  # [B M, n_codes]
        share = torch.lerp(chosen.mean(0), self.share, DECAY)
        total = torch.lerp(chosen.T @ z_e / len(z_e), self.share[:, None] * self.codes, DECAY)
        error = (z_e - self.codes[indices]).square().mean()
        dead = share < DEAD / n_codes
        fresh = z_e[torch.randint(len(z_e), (n_codes,), device=z_e.device)]
        codes = torch.where(dead[:, None], fresh, total / share[:, None])
        share = torch.where(dead, 1 / n_codes, share)
        variance = torch.lerp(error, self.variance, DECAY)
        for ours, new in ((self.codes, codes), (self.share, share), (self.variance, variance)):
            ours.copy_(torch.where(sound, new, ours))


class CodePrior(nn.Module):
    """p(indices), each code given those before it: NADE (Larochelle & Murray 2011) of categories.

    Every code adds a vector of its own to the hidden state of all that come after it, and so does
    y, where there is one: nothing keeps what y says out of the codes, as a KL would.
    """

    def __init__(self, n_latents, n_codes, y_dim=0, hidden_dim=PRIOR_DIM):
        super().__init__()
        self.start = nn.Parameter(torch.zeros(hidden_dim))
        self.condition = nn.Linear(y_dim, hidden_dim, bias=False) if y_dim else None
        self.weight = nn.Parameter(torch.randn(n_latents - 1, n_codes, hidden_dim) / 4)
        bound = hidden_dim**-0.5
        self.out = nn.Parameter(torch.empty(n_latents, hidden_dim, n_codes).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(n_latents, n_codes))
        place = torch.arange(n_latents - 1).unsqueeze(1)
        self.register_buffer("place", place, persistent=False)
        self.register_buffer("up_to", torch.ones(n_latents, n_latents).tril(), persistent=False)

    def describe(self):
        return "autoregressive prior of codes"

    def begin(self, y):
        """The hidden state before the first code, [H] or [B, H]."""
        return self.start if y is None else self.start + self.condition(y)

    def log_prob_per_code(self, indices, y=None):
        """log p(code m | codes before m, y), [..., M], of indices [..., B, M]."""
        flat = indices.flatten(0, -2).T  # [M, B]
        added = self.weight[self.place, flat[:-1]]  # [M - 1, B, H]
        start = self.begin(y).expand(*indices.shape[:-1], -1).flatten(0, -2)
        added = torch.cat([start.unsqueeze(0), added])
        # Sums up to each place, as a product: several times as fast as cumsum.
        h = F.silu((self.up_to @ added.flatten(1)).view_as(added))
        logits = torch.baddbmm(self.bias.unsqueeze(1), h, self.out)  # [M, B, n_codes]
        log_probs = logits.log_softmax(-1).gather(-1, flat.unsqueeze(-1))
        return log_probs.squeeze(-1).T.unflatten(0, indices.shape[:-1])

    def log_prob(self, indices, y=None):
        """log p(indices | y), [...]."""
        return self.log_prob_per_code(indices, y).sum(-1)

    def sample(self, u, y=None):
        """Indices [..., B, M] by even noise u [..., B, M] in (0, 1), one number for each."""
        state, indices = self.begin(y).expand(*u.shape[:-1], -1), []
        for place, (out, bias) in enumerate(zip(self.out, self.bias, strict=True)):
            logits = F.silu(state) @ out + bias
            indices.append(pick(logits.log_softmax(-1), u[..., place, None]).squeeze(-1))
            if place < len(self.weight):
                state = state + self.weight[place, indices[-1]]
        return torch.stack(indices, -1)


def pick(log_probs, u):
    """Categories [..., K] of log_probs [..., n], by the inverse distribution function at u."""
    total = log_probs.exp().cumsum(-1)
    return torch.searchsorted(total, u.contiguous()).clamp(max=log_probs.shape[-1] - 1)


def straight_through(z_e, z_q):
    """z_q to the bit; its gradient goes on to z_e (van den Oord et al. 2017, section 3.2)."""
    return z_q.detach() + (z_e - z_e.detach())


class VQVAE(VAE):
    """q(z|x) is sure of M = `z_dim` codes, nearest to the encoder's; p(z) is learned beside it.

    log p(x) >= log p(x|z_q(x)) + log p(indices(x)), which is `elbo`; with more than one sample
    `log_px` adds what other codes give x. The encoder's output is cut into codes, so that any
    network serves.
    """

    phases = ("vqvae", "prior")
    options = ("n_codes", "code_dim", "commitment")
    needs = {
        **{"members": (1,), "flow": (None,), "prior": ("normal",), "objective": ("elbo",)},
        **{"n_samples": (1,), "beta": (1.0,), "warmup_epochs": (0,), "cycles": (1,)},
        **{"free_bits": (0.0,), "capacity": (None,)},
    }
    heads = 1
    gaussian = False

    def __init__(self, likelihood, hidden_dims=(64,), z_dim=8, y_dim=0, network="mlp", shape=None,
                 n_codes=64, code_dim=4, commitment=0.25):  # fmt: skip
        super().__init__(likelihood, hidden_dims, z_dim * code_dim, y_dim, network, shape=shape)
        self.codebook = Codebook(n_codes, code_dim)
        self.prior = CodePrior(z_dim, n_codes, y_dim)
        self.n_latents, self.commitment = z_dim, commitment
        self.width = max(self.width, z_dim * max(n_codes, PRIOR_DIM))

    def describe(self):
        n_codes, code_dim = self.codebook.codes.shape
        return f"{super().describe()}, z of {self.n_latents} codes x {code_dim}, each of {n_codes}"

    def note(self, x):
        ours = (
            "q(z|x) is deterministic: ELBO is log p(x|z) + log p(z) at the one code of a row, and "
            "log p(x) adds what sampled codes give it"
        )
        return "\n".join(filter(None, [super().note(x), ours]))

    def parameters_of(self, phase):
        prior = list(self.prior.parameters())
        if phase == "prior":
            return prior
        return [p for p in self.parameters() if all(p is not q for q in prior)]

    @torch.no_grad()
    def start_at(self, x, y=None, mask=None):
        """Start the codebook at what the encoder makes of rows of the data."""
        self.codebook.start_at(self.posterior(x, y, mask).z_e.flatten(0, 1))

    def posterior_of(self, h):
        z_e = self.encoder(h).unflatten(-1, (self.n_latents, -1))  # [B, M, C]
        indices = self.codebook.nearest(z_e)
        y = h[..., -self.y_dim :] if self.y_dim else None
        return Codes(z_e, self.codebook.codes[indices], indices, y)

    def encode(self, x, y=None, mask=None):
        raise UserError("the codes of --model vqvae have no mu and logvar; use --model vae")

    def code(self, q):
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
        """What phase `phase` minimises, and its parts as detached scalars.

        "vqvae": -log p(x|z_q) + commitment |z_e - z_q|^2 (van den Oord et al. 2017, eq. 3, where
        moving averages stand for its second term), and a step of these where gradients are on.
        "prior": -log p(indices | y), of whole rows.
        """
        batch = batch._replace(x=self.likelihood.draw(batch.x))
        if phase == "prior":
            with torch.no_grad():
                indices = self.posterior(*batch).indices
            return -self.prior.log_prob(indices, batch.y).mean(), {}
        if hide_rate:
            batch = hide(batch, hide_rate)
        q = self.posterior(*batch)
        _, log_px_z, kl = (term.mean() for term in self.elbo_of(q, *batch))
        error = (q.z_e - q.z_q).square().sum((-2, -1)).mean()
        loss = self.commitment * error - log_px_z
        if torch.is_grad_enabled():
            self.codebook.update(q.z_e, q.indices, loss.isfinite())
        # The logged loss has the KL, as the held-out one has: to be drawn side by side.
        stats = {"loss": loss + kl, "log_px_z": log_px_z, "kl": kl, "commitment": error,
                 "perplexity": perplexity(q.indices, len(self.codebook.codes))}  # fmt: skip
        return loss, {name: value.detach() for name, value in stats.items()}

    def grid(self, n_samples, seed=0):
        """Even noise in (0, 1) for n_samples codes of a row: [K, 1, M]."""
        return torch.special.ndtr(normal_grid(n_samples, self.n_latents, seed))

    def draw(self, q, n_samples=1, eps=None, hold_q=False):
        """Codes z [K, B, M C] to sum p(x, z) over, and log of how often each is drawn [K, B].

        The first is the row's own. The others come half from near z_e, each code by itself as from
        a mixture of Gaussians around the codebook, and half from p(z), and are weighed as draws of
        the mixture of both (Veach & Guibas 1995). The row's own code among them counts as never
        drawn, for the first has all its mass: the mean of w is then unbiased for p(x), and with
        one sample log w is the ELBO.
        """
        if eps is None:
            eps = torch.rand_like(q.z_e[..., 0].expand(n_samples, -1, -1))
        n_near = n_samples // 2
        own, u = q.indices.unsqueeze(0), eps[1:].expand(-1, *q.indices.shape)
        logits = -self.codebook.distances(q.z_e) / (2 * self.codebook.variance)
        log_near = logits.log_softmax(-1)  # [B, M, n_codes]
        near = pick(log_near, u[:n_near].permute(1, 2, 0)).permute(2, 0, 1)
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
        """log p(x) by the row's own code and others, see `draw`; its `elbo` is of its own alone."""
        found = super().importance(x, y, mask, *args, **options)
        return found._replace(elbo=self.terms(Batch(x, y, mask)).elbo)

    def forward(self, x, y=None, mask=None):
        """Mean of p(x|z_q) [B, D], and z_e and z_q [B, M, C]."""
        q = self.posterior(x, y, mask)
        return self.likelihood.mean(self.decode(self.code(q), y)), q.z_e, q.z_q

    def aggregated(self, x, y=None, mask=None):
        """None: p(z) is learned, and covers no more than the rows' codes."""

    @torch.no_grad()
    def sample_z(self, n, y=None):
        u = torch.rand(n, self.n_latents, device=self.codebook.codes.device)
        return self.codebook.codes[self.prior.sample(u, y)].flatten(-2)


def perplexity(indices, n_codes):
    """How many codes are in even use among indices [B, M]: exp of the entropy of their shares."""
    share = F.one_hot(indices.flatten(), n_codes).float().mean(0)
    return torch.special.entr(share).sum().exp()
