"""Fill the holes of a series by draws from the Gaussian of its windows, before anything is trained.

Stochastic EM (Celeux & Diebolt 1985): a Gaussian of windows is fitted to the completed series, the
holes are drawn anew given what was observed, and so on. The draws have the spread that means would
lack, so that the covariance of the completed windows is not too small. Where much is missing or
there are many columns it rests on few pairs of cells; hidden cells tell how much it is shrunk.

Shapes: S slots, D columns, L steps of a window, C numbers of the calendar.
"""

from itertools import combinations

import numpy as np
import torch

from parts.forms.series.grid import windows_at
from parts.model.likelihoods.conditioned import Triangle
from parts.model.likelihoods.windows import RIDGE, USUAL, Shrinkage, fit_windows, whitening

ROUNDS, ROUNDS_TRIED = 12, 8  # of fitting and drawing, and to compare shrinkages
N_FITTED, CELLS_FITTED = 20_000, 2**24  # most windows and cells of windows to which one is fitted
RIDGES = 1, 10, 100  # times the usual one
APARTS = 0.3, 0.9  # shares by which covariances between columns are shrunk
HIDDEN, N_HIDDEN = 0.1, 400  # share of the cells that are hidden for that, and of how many windows


def given_at(y, starts):
    """What windows that begin at `starts` are told by y, in float64."""
    return torch.as_tensor(y[starts]).double()


def draw_holes(gaussian, x, mask, y, segments, n_steps, generator):
    """x [S, D] whose missing cells are drawn in windows, one after another: each knows what was
    drawn in its first quarter, and draws nothing in its last one, which has no cells behind it.

    y [S, C] or a Given tells what windows that begin at each slot are told.
    """
    x, left = x.clone(), ~mask
    n_each, triangles = x.shape[1], {}
    whole = whitening(gaussian.covariance)
    for start, stop in segments:
        first = start
        while True:
            end = min(max(start, first - n_steps // 4) + n_steps, stop)
            begin = max(start, end - n_steps)
            keep = end if end == stop else max(first + 1, end - n_steps // 4)
            if left[first:keep].any():
                window = slice(begin, end)
                n = (end - begin) * n_each
                usual = (gaussian.mean + given_at(y, begin) @ gaussian.weights)[:n]
                missing = left[window].flatten()
                if n not in triangles:  # a segment that is shorter than a window has its own
                    triangles[n] = Triangle(whole[:n, :n])
                r = torch.where(missing, 0.0, x[window].flatten() - usual).unsqueeze(0)
                given = triangles[n].given(r, missing)
                noise = torch.randn(1, given.n_noise, generator=generator, dtype=x.dtype)
                r = r[0]
                r[missing] = given.mean[0] + given.deviations(0, noise)[0]
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


def complete(x, mask, y, segments, starts, n_steps, seed=0, shrinkage=(), rounds=ROUNDS):
    """x [S, D] with draws where the mask [S, D] is False.

    `segments` are pairs of slots, within which windows lie; the Gaussian is fitted to a random
    sample of the windows at `starts` [n] and to what they are told, y [S, C] or a Given.
    """
    mask = mask.astype(bool)
    if mask.all():
        return x
    place = y, segments, starts, n_steps, seed
    *_, filled = drawn(x, mask, *place, Shrinkage(*shrinkage), rounds)
    return filled


def best_shrinkage(x, mask, y, segments, starts, n_steps, seed=0):
    """The Shrinkage under which draws of hidden cells are best: first its ridge, then how far
    columns are apart, each from the least on for as long as draws become better.
    """
    mask, rng = mask.astype(bool), np.random.default_rng(seed)
    place = y, segments, starts, n_steps, seed
    block = np.arange(len(x)) // n_steps
    chosen = rng.permutation(block[-1] + 1)[:N_HIDDEN]
    inside = np.zeros(len(x), bool)
    for start, stop in segments:
        inside[start:stop] = True
    inside &= np.isin(block, chosen)
    hidden = mask & inside[:, None] & (rng.random(mask.shape) < HIDDEN)
    best, lowest = USUAL, np.inf
    if not hidden.any():
        return best
    for name, values in (("ridge", [RIDGE * times for times in RIDGES]), ("apart", APARTS)):
        if name == "apart" and x.shape[1] == 1:
            continue
        for value in values:
            tried = best._replace(**{name: value})
            score = crps_of_hidden(x, mask, hidden, place, tried)
            if not score < lowest:
                break
            best, lowest = tried, score
    return best


def crps_of_hidden(x, mask, hidden, place, shrinkage):
    """The mean continuous ranked probability score of draws of hidden cells, E|X - x| -
    E|X - X'| / 2 (Gneiting & Raftery 2007, eq. 21).

    The draws are those of the second half of the rounds: before, they know more of the lines at
    which the rounds begin than of the Gaussian.
    """
    rounds = drawn(x, mask & ~hidden, *place, shrinkage, ROUNDS_TRIED)
    draws = np.stack([filled[hidden] for filled in rounds])[ROUNDS_TRIED // 2 :]
    apart = np.mean([np.abs(a - b).mean() for a, b in combinations(draws, 2)])
    return np.abs(draws - x[hidden]).mean() - apart / 2


def drawn(x, mask, y, segments, starts, n_steps, seed, shrinkage, rounds):
    """Yield x [S, D] with the draws of each round where the mask [S, D] is False."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    filled = interpolated(x, mask, segments)
    most = max(1, min(N_FITTED, CELLS_FITTED // (n_steps * x.shape[1])))
    observed, there = torch.from_numpy(np.where(mask, x, 0.0)).double(), torch.from_numpy(mask)
    for _ in range(rounds):
        some = starts if len(starts) <= most else np.sort(rng.choice(starts, most, replace=False))
        windows = torch.from_numpy(windows_at(filled, some, n_steps))
        gaussian = fit_windows(windows, given_at(y, some), shrinkage, x.shape[1])
        options = observed, there, y, segments, n_steps, generator
        filled = draw_holes(gaussian, *options).numpy()
        yield filled
