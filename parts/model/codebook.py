"""The discrete latents of a VQ-VAE: its codebook, and a learned prior of the codebook's indices.

Shapes as in parts/model/vqvae.py: z_e, z_q [B, M, C], indices [B, M].
"""

import torch
import torch.nn.functional as F
from torch import nn

DECAY = 0.99  # of the codebook's moving averages, by step (van den Oord et al. 2017, appendix A.1)
DEAD = 0.05  # of an even share: a code that is used less is replaced
PRIOR_DIM = 128  # hidden units of the prior


class Codebook(nn.Module):
    """Vectors [n_codes, C], each a moving average of the encoder's outputs nearest to it."""

    def __init__(self, n_codes, code_dim):
        super().__init__()
        self.register_buffer("codes", torch.randn(n_codes, code_dim))
        self.register_buffer("share", torch.full((n_codes,), 1 / n_codes))  # of z_e, each code's
        self.register_buffer("variance", torch.ones(()))  # of z_e around z_q, by dimension

    def distances(self, z_e):
        """Squared distances of z_e [..., C] from every code, [..., n_codes]."""
        squares = z_e.square().sum(-1, keepdim=True) + self.codes.square().sum(-1)
        return (squares - 2 * z_e @ self.codes.T).clamp(min=0)

    @torch.no_grad()
    def nearest(self, z_e):
        """The index [...] of the code nearest to z_e [..., C]."""
        return self.distances(z_e).argmin(-1)

    @torch.no_grad()
    def start_at(self, z_e):
        """Initialise the codes as random rows of z_e [N, C], and the variance around them."""
        n = len(z_e)
        at = torch.cat([torch.randperm(n) for _ in range(-(-len(self.codes) // n))])
        self.codes.copy_(z_e[at[: len(self.codes)].to(z_e.device)])
        self.variance.copy_(self.distances(z_e).amin(-1).mean() / z_e.shape[-1])

    @torch.no_grad()
    def update(self, z_e, indices, sound):
        """A step of the moving averages by z_e [..., C]; none where the scalar `sound` is false.

        Van den Oord et al. 2017, eqs. 6-8, with shares of a batch in place of counts, so that the
        batch size has no influence. A dead code is replaced by a random z_e, and given an even
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

    Every code adds its own vector to the hidden state of all codes that come after it. y, where
    there is one, adds a vector to all of them: the codes hold what y says too, since no KL keeps it
    out of them.
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

    def initial_state(self, y):
        """The hidden state before the first code, [H] or [B, H]."""
        return self.start if y is None else self.start + self.condition(y)

    def log_prob_per_code(self, indices, y=None):
        """log p(code m | codes before m, y), [..., M], of indices [..., B, M]."""
        flat = indices.flatten(0, -2).T  # [M, B]
        added = self.weight[self.place, flat[:-1]]  # [M - 1, B, H]
        start = self.initial_state(y).expand(*indices.shape[:-1], -1).flatten(0, -2)
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
        """Indices [..., B, M] by uniform noise u [..., B, M], one number for each index."""
        state, indices = self.initial_state(y).expand(*u.shape[:-1], -1), []
        for place, (out, bias) in enumerate(zip(self.out, self.bias, strict=True)):
            logits = F.silu(state) @ out + bias
            indices.append(
                sample_categorical(logits.log_softmax(-1), u[..., place, None]).squeeze(-1)
            )
            if place < len(self.weight):
                state = state + self.weight[place, indices[-1]]
        return torch.stack(indices, -1)


def sample_categorical(log_probs, u):
    """Categories [..., K] of log_probs [..., n], by the inverse of their cdf at u [..., K]."""
    total = log_probs.exp().cumsum(-1)
    return torch.searchsorted(total, u.contiguous()).clamp(max=log_probs.shape[-1] - 1)


def perplexity(indices, n_codes):
    """exp of the entropy of the codes' shares among indices [B, M]: n_codes where all are used
    alike, 1 where one is used.
    """
    share = F.one_hot(indices.flatten(), n_codes).float().mean(0)
    return torch.special.entr(share).sum().exp()
