"""Decode walks through latent space to means of p(x|z), for the figures of a run."""

import torch

from parts.model.batches import CHUNK_FLOATS, Batch, in_chunks
from parts.model.traversal import prior_mean_std

N_PAIRS, N_BETWEEN = 8, 9  # interpolations, and pictures in each of them
N_MANIFOLD = 20  # rows and columns of the manifold


@torch.no_grad()
def decode_walks(model, z, y=None):
    """Decode walks: means of p(x|z) [down, across, D] and their positions, NumPy arrays by name.

    z [N, Z] are posterior means of some rows, y [N, C] their conditions; the traversal starts at
    the first row. A manifold is decoded if z has two dimensions. Both cover the range of p(z).
    """

    def decode(batch):
        z, y, _ = batch
        return [model.likelihood.mean(model.decode(z, y))]

    def pictures(z, y):  # [down, across, Z], and y alike or None
        batch = Batch(z.flatten(0, 1), None if y is None else y.flatten(0, 1))
        (x,) = in_chunks(decode, batch, max(1, CHUNK_FLOATS // model.width))
        return x.unflatten(0, z.shape[:2])

    def of_first_row(z):  # its condition, for every z
        return None if y is None else y[0].expand(*z.shape[:2], -1)

    walk = model.traversal(z, y)
    found = {
        "latent_traversal": pictures(walk.z, of_first_row(walk.z)),
        "traversed": walk.latents,
        "traversed_at": walk.steps,
    }
    if len(z) > 1:
        y_between = None if y is None else interpolation(y)
        found["interpolations"] = pictures(interpolation(z), y_between)
    if z.shape[1] == 2 and model.z_is_continuous:
        steps, units = manifold(z)
        mean, std = prior_mean_std(model, z, y)
        grid = mean + std * units
        found |= {"manifold": pictures(grid, of_first_row(grid)), "manifold_at": steps}
    return {name: value.cpu().numpy() for name, value in found.items()}


def interpolation(ends):
    """Straight lines between rows 0 and 1, 2 and 3, and so on, [pairs, N_BETWEEN, Z]."""
    n = min(N_PAIRS, len(ends) // 2)
    start, end = ends[0 : 2 * n : 2, None], ends[1 : 2 * n : 2, None]
    share = torch.linspace(0, 1, N_BETWEEN, dtype=ends.dtype, device=ends.device).unsqueeze(-1)
    return start + share * (end - start)


def manifold(z):
    """Quantiles of N(0, 1) [S] and their grid [S, S, 2], with z1 to the right and z2 upwards.

    Kingma & Welling 2014, appendix A. The results have the dtype and device of z.
    """
    shares = (torch.arange(N_MANIFOLD, dtype=z.dtype) + 0.5) / N_MANIFOLD
    steps = torch.special.ndtri(shares).to(z.device)  # on the CPU: mps has no kernel for ndtri
    z2, z1 = torch.meshgrid(steps.flip(0), steps, indexing="ij")
    return steps, torch.stack([z1, z2], -1)


# Names of the pictures that `decode_walks` returns.
PICTURES = ("latent_traversal", "interpolations", "manifold")
