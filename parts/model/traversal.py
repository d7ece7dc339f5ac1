"""Traversals of latent space: the z's of one row with one latent at a time changed.

Shapes: N rows, Z latent, U latents that are traversed, S steps of each; a VQ-VAE's z is M codes of
C numbers.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F

ACTIVE_VARIANCE = 0.01  # of a latent's posterior mean over rows (Burda et al. 2016, sec. 5)
MAX_LATENTS, N_STEPS, FARTHEST = 20, 11, 3.0  # most latents, steps of each, and its ends in s.d.
N_PRIOR = 10_000  # draws of a learned p(z), for its mean and standard deviation


class Traversal(NamedTuple):
    """Which latents change [U], the steps [S] that each takes, and the z's [U, S, Z]."""

    latents: torch.Tensor
    steps: torch.Tensor
    z: torch.Tensor


def prior_mean_std(model, z, y=None):
    """Mean and standard deviation of p(z), each [Z]; of a learned p(z), given the first row of y,
    by draws. z [N, Z] says the dtype and device.
    """
    if model.prior is None:
        return torch.zeros_like(z[0]), torch.ones_like(z[0])
    drawn = model.sample_z(N_PRIOR, None if y is None else y[:1].expand(N_PRIOR, -1))
    return drawn.mean(0), drawn.std(0)


def gaussian_traversal(z, mean, std):
    """The active latents of posterior means z [N, Z], the one that varies most first, each moved in
    the first row from FARTHEST standard deviations of p(z) below its mean to as many above.

    Where no latent is active, the one that varies most is moved.
    """
    variance = z.var(0, correction=0)
    n_active = int((variance > ACTIVE_VARIANCE).sum())
    latents = variance.argsort(descending=True)[: min(MAX_LATENTS, max(1, n_active))]
    steps = torch.linspace(-FARTHEST, FARTHEST, N_STEPS, dtype=z.dtype, device=z.device)
    moved = z[0].repeat(len(latents), N_STEPS, 1)
    moved[torch.arange(len(latents)), :, latents] = (mean + std * steps[:, None])[:, latents].T
    return Traversal(latents, steps, moved)


def code_traversal(z, codebook):
    """The places in z [N, M C], those that hold the most different codes first, each set in the
    first row to each of the codes that the rows use most: the steps are codes.
    """
    codes = z.unflatten(-1, (-1, codebook.codes.shape[-1]))  # [N, M, C]
    one_hot = F.one_hot(codebook.nearest(codes), len(codebook.codes))
    share = one_hot.float().mean(0)  # [M, n_codes]
    places = torch.special.entr(share).sum(-1).argsort(descending=True)[:MAX_LATENTS]
    steps = share.sum(0).argsort(descending=True)[:N_STEPS].sort().values
    moved = codes[0].repeat(len(places), len(steps), 1, 1)
    moved[torch.arange(len(places)), :, places] = codebook.codes[steps]
    return Traversal(places, steps, moved.flatten(-2))
