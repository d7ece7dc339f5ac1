"""Fill the holes of a series by draws from the Gaussian of its windows, before anything is trained.

Stochastic EM (Celeux & Diebolt 1985): a Gaussian of windows is fitted to the completed series, the
holes are drawn anew given what was observed, and so on. The draws have the spread that means would
lack, so that the covariance of the completed windows is not too small.

Shapes: S slots, D columns, L steps of a window, C numbers of the calendar.
"""

import numpy as np
import torch

from parts.forms.series.grid import windows_at
from parts.model.likelihoods.windows import fit_windows

ROUNDS = 12  # of fitting and drawing
N_FITTED, CELLS_FITTED = 20_000, 2**24  # most windows and cells of windows to which one is fitted


def conditional(precision, covariance, x, seen):
    """The missing cells of one window x [n] given those marked in `seen` [n]: their mean, and the
    function that draws them; `precision` is the inverse of the `covariance`, and the mean is 0.
    """
    missing = ~seen
    n_missing = int(missing.sum())
    if n_missing <= len(x) // 2:
        root = torch.linalg.cholesky(precision[missing][:, missing])
        u = precision[missing][:, seen] @ x[seen]
        mean = -torch.cholesky_solve(u.unsqueeze(-1), root).squeeze(-1)

        def draw(eps):
            return (
                mean + torch.linalg.solve_triangular(root.mT, eps.unsqueeze(-1), upper=True)[:, 0]
            )

        return mean, draw
    root = torch.linalg.cholesky(covariance[seen][:, seen])
    between = covariance[seen][:, missing]
    both = torch.cat([between, x[seen].unsqueeze(-1)], -1)
    half = torch.linalg.solve_triangular(root, both, upper=False)
    mean = half[:, :-1].mT @ half[:, -1]

    def draw(eps):
        left = covariance[missing][:, missing] - half[:, :-1].mT @ half[:, :-1]
        return mean + torch.linalg.cholesky(left) @ eps

    return mean, draw


def draw_holes(gaussian, x, mask, y, segments, n_steps, generator):
    """x [S, D] whose missing cells are drawn in windows, one after another: each knows what was
    drawn in its first quarter, and draws nothing in its last one, which has no cells behind it.
    """
    x, left = x.clone(), ~mask
    n_each, covariance = x.shape[1], gaussian.covariance
    root = torch.linalg.cholesky(covariance)
    precision = torch.cholesky_inverse(root)
    for start, stop in segments:
        first = start
        while True:
            end = min(max(start, first - n_steps // 4) + n_steps, stop)
            begin = max(start, end - n_steps)
            keep = end if end == stop else max(first + 1, end - n_steps // 4)
            if left[first:keep].any():
                window = slice(begin, end)
                n = (end - begin) * n_each
                usual = (gaussian.mean + y[begin] @ gaussian.weights)[:n]
                seen = ~left[window].flatten()
                r = x[window].flatten() - usual
                own = precision, covariance
                if n < len(precision):  # a segment that is shorter than a window
                    own = torch.linalg.inv(covariance[:n, :n]), covariance[:n, :n]
                eps = torch.randn(int((~seen).sum()), generator=generator, dtype=x.dtype)
                r[~seen] = conditional(*own, r, seen)[1](eps)
                drawn = (r + usual).reshape(-1, n_each)[first - begin : keep - begin]
                x[first:keep] = torch.where(left[first:keep], drawn, x[first:keep])
                left[first:keep] = False
            if end == stop:
                break
            first = keep
    return x


def interpolated(x, mask, segments):
    """x [S, D] whose missing cells are on a line between the observed ones of their segment; the
    column's mean where a segment has none.
    """
    x = np.array(x, dtype=np.float64)
    for j in range(x.shape[1]):
        mean = x[mask[:, j], j].mean() if mask[:, j].any() else 0.0
        for start, stop in segments:
            part, seen = x[start:stop, j], mask[start:stop, j]
            at = np.flatnonzero(seen)
            part[~seen] = np.interp(np.flatnonzero(~seen), at, part[at]) if len(at) else mean
    return x


def complete(x, mask, y, segments, starts, n_steps, seed=0, rounds=ROUNDS):
    """x [S, D] with draws where the mask [S, D] is False.

    `segments` are pairs of slots, within which windows lie; the Gaussian is fitted to a random
    sample of the windows at `starts` [n] and their calendar y [S, C].
    """
    mask = mask.astype(bool)
    if mask.all():
        return x
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    filled = interpolated(x, mask, segments)
    most = max(1, min(N_FITTED, CELLS_FITTED // (n_steps * x.shape[1])))
    observed, there = torch.from_numpy(np.where(mask, x, 0.0)).double(), torch.from_numpy(mask)
    calendar = torch.from_numpy(y).double()
    for _ in range(rounds):
        some = starts if len(starts) <= most else np.sort(rng.choice(starts, most, replace=False))
        windows = torch.from_numpy(windows_at(filled, some, n_steps))
        gaussian = fit_windows(windows, calendar[some])
        options = observed, there, calendar, segments, n_steps, generator
        filled = draw_holes(gaussian, *options).numpy()
    return filled
