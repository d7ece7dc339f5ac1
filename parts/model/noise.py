"""Standard normal noise that fills space evenly."""

import torch

from parts import memory
from parts.errors import UserError

BYTES_PER_NUMBER = 24  # that are taken on the way, in float64


def normal_grid(n_samples, z_dim, seed=0):
    """Standard normal noise [K, 1, Z] that fills space evenly (Sobol, scrambled by `seed`).

    As `eps`, the same for every row: a row's estimate then depends on nothing but the row, and
    errs less than with independent draws (Owen 1997).
    """
    if z_dim > torch.quasirandom.SobolEngine.MAXDIM:
        most = torch.quasirandom.SobolEngine.MAXDIM
        raise UserError(f"z has {z_dim} dimensions, expected at most {most}")
    what = f"{n_samples} samples of z"
    memory.refuse_beyond_memory(what, n_samples, BYTES_PER_NUMBER * z_dim, "samples")
    sobol = torch.quasirandom.SobolEngine(z_dim, scramble=True, seed=seed)
    u = sobol.draw(n_samples, dtype=torch.float64).clamp(1e-9, 1 - 1e-9)
    return torch.special.ndtri(u).float().unsqueeze(1)
