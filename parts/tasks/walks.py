"""Walks through latent space, decoded by the likelihood's mean: what a run's figures show of it."""

import torch
import torch.nn.functional as F

from parts.model.batches import CHUNK_FLOATS, Batch, in_chunks

ACTIVE_VARIANCE = 0.01  # of a latent's posterior mean over rows (Burda et al. 2016, sec. 5)
N_UNITS, N_STEPS, FARTHEST = 20, 11, 3.0  # of a traversal: most rows, columns, and its ends
N_PAIRS, N_BETWEEN = 8, 9  # of an interpolation: rows, columns
N_MANIFOLD = 20  # rows and columns
N_PRIOR = 10_000  # draws of a learned p(z), for its mean and standard deviation


@torch.no_grad()
def decoded(model, code, y=None):
    """Name -> means of p(x|z) [down, across, D], and where they were taken, as NumPy arrays.

    `code` [N, Z] is the middle of q(z|x) of some rows, y [N, C] their condition; the first row is
    the start of the traversal. A manifold is only of two latents. Both go as far as p(z) does.
    """
    codebook = getattr(model, "codebook", None)

    def decode(batch):
        z, y, _ = batch
        return [model.likelihood.mean(model.decode(z, y))]

    def pictures(z, y):  # [down, across, Z], and y alike or None
        batch = Batch(z.flatten(0, 1), None if y is None else y.flatten(0, 1))
        (x,) = in_chunks(decode, batch, max(1, CHUNK_FLOATS // model.width))
        return x.unflatten(0, z.shape[:2]).cpu().numpy()

    def everywhere(z):  # the first row's condition
        return None if y is None else y[0].expand(*z.shape[:2], -1)

    if codebook is None:
        center, spread = spread_of_prior(model, code, y)
        units, at, z = traversal(code, center, spread)
    else:
        units, at, z = traversal_of_codes(code, codebook)
    found = {"latent_traversal": pictures(z, everywhere(z)), "traversed": units, "traversed_at": at}
    if len(code) > 1:
        z, between = (None if ends is None else interpolation(ends) for ends in (code, y))
        found["interpolations"] = pictures(z, between)
    if code.shape[1] == 2 and codebook is None:
        at, steps = manifold(code)
        z = center + spread * steps
        found |= {"manifold": pictures(z, everywhere(z)), "manifold_at": at}
    return {k: v.cpu().numpy() if isinstance(v, torch.Tensor) else v for k, v in found.items()}


def spread_of_prior(model, code, y=None):
    """Mean and standard deviation [Z] of p(z), by draws where it is learned; given the first y."""
    if model.prior is None:
        return torch.zeros_like(code[0]), torch.ones_like(code[0])
    z = model.sample_z(N_PRIOR, None if y is None else y[:1].expand(N_PRIOR, -1))
    return z.mean(0), z.std(0)


def traversal(code, center, spread):
    """The active units [U], those that vary most first (where none is, that one), numbers of
    standard deviations [S], and the first row's z with each unit so far from its mean, [U, S, Z].
    """
    variance = code.var(0, correction=0)
    n_active = int((variance > ACTIVE_VARIANCE).sum())
    units = variance.argsort(descending=True)[: min(N_UNITS, max(1, n_active))]
    at = torch.linspace(-FARTHEST, FARTHEST, N_STEPS, dtype=code.dtype, device=code.device)
    z = code[0].repeat(len(units), N_STEPS, 1)
    z[torch.arange(len(units)), :, units] = (center + spread * at[:, None])[:, units].T
    return units, at, z


def traversal_of_codes(code, codebook):
    """The places [U] of the rows' codes, those of most codes first, the codebook's most used codes
    [S], and the first row's z with each place set to each code in turn, [U, S, M C].
    """
    z = code.unflatten(-1, (-1, codebook.codes.shape[-1]))  # [N, M, C]
    used = F.one_hot(codebook.nearest(z), len(codebook.codes)).float().mean(0)  # [M, n_codes]
    units = torch.special.entr(used).sum(-1).argsort(descending=True)[:N_UNITS]
    at = used.sum(0).argsort(descending=True)[:N_STEPS].sort().values
    z = z[0].repeat(len(units), len(at), 1, 1)
    z[torch.arange(len(units)), :, units] = codebook.codes[at]
    return units, at, z.flatten(-2)


def interpolation(ends):
    """Straight lines from row 0 to 1, from 2 to 3, and so on: [pairs, N_BETWEEN, Z]."""
    n = min(N_PAIRS, len(ends) // 2)
    start, end = ends[0 : 2 * n : 2, None], ends[1 : 2 * n : 2, None]
    share = torch.linspace(0, 1, N_BETWEEN, dtype=ends.dtype, device=ends.device).unsqueeze(-1)
    return start + share * (end - start)


def manifold(code):
    """Even steps of the normal distribution [S], and the grid of them: z1 to the right,
    z2 upwards, [S, S, 2] (Kingma & Welling 2014, appendix A).
    """
    shares = (torch.arange(N_MANIFOLD, dtype=code.dtype, device=code.device) + 0.5) / N_MANIFOLD
    at = torch.special.ndtri(shares)
    z2, z1 = torch.meshgrid(at.flip(0), at, indexing="ij")
    return at, torch.stack([z1, z2], -1)


PICTURES = ("latent_traversal", "interpolations", "manifold")  # of what `decoded` gives
