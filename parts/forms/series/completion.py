"""Fill the holes of a series by draws from the Gaussian of its windows, before anything is trained.

Stochastic EM (Celeux & Diebolt 1985): a Gaussian of windows is fitted to the completed series, the
holes are drawn anew given what was observed, and so on. The draws have the spread that means would
lack, so that the covariance of the completed windows is not too small. Where much is missing or
there are many columns it rests on few pairs of cells; hidden cells tell how much it is shrunk.

Shapes: S slots, D columns, L steps of a window, C numbers of the calendar.
"""

import math
from copy import copy

import numpy as np
import torch

from parts.forms.series.grid import windows_at
from parts.model.likelihoods.conditioned import Triangle
from parts.model.likelihoods.windows import RIDGE, USUAL, Shrinkage, fit_windows, whitening
from parts.model.normal import LOG_2PI

ROUNDS = 4, 20  # of fitting and drawing where nearly nothing is missing, and nearly all
N_FITTED, CELLS_FITTED = 20_000, 2**24  # most windows and cells of windows to which one is fitted
RIDGES = 10 * RIDGE, 100 * RIDGE  # to try beside the usual one
APARTS = 0.3, 0.9  # shares by which covariances between columns are shrunk
HIDDEN, N_HIDDEN = 0.1, 400  # share of the cells that are hidden for that, and of how many windows
FEWEST_HIDDEN = 50  # cells that compare shrinkages; by fewer, chance would


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


def complete(x, mask, y, segments, starts, n_steps, seed=0, shrinkage=()):
    """x [S, D] with draws where the mask [S, D] is False.

    `segments` are pairs of slots, within which windows lie; the Gaussian is fitted to a random
    sample of the windows at `starts` [n] and to what they are told, y [S, C] or a Given.
    """
    mask = mask.astype(bool)
    if mask.all():
        return x
    filling = Filling(x, mask, y, segments, starts, n_steps, seed)
    filling.draw(Shrinkage(*shrinkage), rounds_for(mask))
    return filling.x


def rounds_for(mask):
    """How often what is missing is drawn: EM is the slower, the more is missing."""
    return round(np.interp(1 - mask.mean(), (0, 1), ROUNDS))


def best_shrinkage(x, mask, y, segments, starts, n_steps, seed=0):
    """The Shrinkage by which windows tell hidden cells best: first how far columns are apart, then
    its ridge, each from the least on for as long as hidden cells are told better; the least one
    stands unless what follows is better by more than a standard error.

    Each is tried on what is missing as drawn in as many rounds, the last ones under itself.
    """
    mask, rng = mask.astype(bool), np.random.default_rng(seed)
    some = starts[np.diff(starts // n_steps, prepend=-1) > 0]  # which hardly overlap
    some = rng.permutation(some)[:N_HIDDEN]
    inside = np.zeros(len(x), bool)
    inside[(some[:, None] + np.arange(n_steps)).ravel()] = True
    hidden = mask & inside[:, None] & (rng.random(mask.shape) < HIDDEN)
    if hidden.sum() < FEWEST_HIDDEN:
        return USUAL

    start = Filling(x, mask & ~hidden, y, segments, starts, n_steps, seed)
    rounds = rounds_for(start.mask)
    start.draw(USUAL, rounds // 2)

    def crps_of(shrinkage):
        filling = copy(start)
        filling.draw(shrinkage, rounds // 4)
        return filling.crps_of_hidden(filling.fit(shrinkage), some, x, hidden)

    best, crps = USUAL, crps_of(USUAL)
    for name, values in (("apart", APARTS if x.shape[1] > 1 else ()), ("ridge", RIDGES)):
        least, before = best, crps
        for value in values:
            tried = best._replace(**{name: value})
            found = crps_of(tried)
            if not found.mean() < crps.mean():
                break
            best, crps = tried, found
        gain = before - crps
        if not gain.mean() > gain.std() / math.sqrt(len(gain)):
            best, crps = least, before
    return best


class Filling:
    """A series whose missing cells are on lines first, and then drawn in rounds: `x` [S, D]."""

    def __init__(self, x, mask, y, segments, starts, n_steps, seed):
        self.x, self.mask = interpolated(x, mask, segments), mask
        self.y, self.segments, self.starts, self.n_steps = y, segments, starts, n_steps
        self.rng = np.random.default_rng(seed)
        self.generator = torch.Generator().manual_seed(seed)

    def fit(self, shrinkage):
        """The Gaussian of a random sample of windows as they are filled."""
        some, most = self.starts, max(1, min(N_FITTED, CELLS_FITTED // self.n_cells))
        if len(some) > most:
            some = np.sort(self.rng.choice(some, most, replace=False))
        windows = torch.from_numpy(windows_at(self.x, some, self.n_steps))
        return fit_windows(windows, given_at(self.y, some), shrinkage, self.x.shape[1])

    @property
    def n_cells(self):
        """Cells of a window."""
        return self.n_steps * self.x.shape[1]

    def draw(self, shrinkage, rounds):
        """Draw what is missing some times."""
        there = torch.from_numpy(self.mask)
        observed = torch.from_numpy(np.where(self.mask, self.x, 0.0)).double()
        options = self.y, self.segments, self.n_steps, self.generator
        for _ in range(rounds):
            self.x = draw_holes(self.fit(shrinkage), observed, there, *options).numpy()

    def crps_of_hidden(self, gaussian, starts, truth, hidden):
        """The mean continuous ranked probability scores of the hidden cells of the windows that
        begin at `starts`, given what is observed of these; one for each window with such cells.
        """
        triangle, found = Triangle(whitening(gaussian.covariance)), []
        for start in starts:
            at = slice(start, start + self.n_steps)
            asked = torch.from_numpy(hidden[at].ravel())
            if not asked.any():
                continue
            missing = torch.from_numpy(~self.mask[at].ravel())
            usual = gaussian.mean + given_at(self.y, start) @ gaussian.weights
            r = torch.as_tensor(truth[at].ravel()) - usual
            given = triangle.given(torch.where(missing, 0.0, r).unsqueeze(0), missing)
            of_missing = asked[missing]
            std = given.variance[0, of_missing].sqrt()
            crps = std * crps_of_normal((r[asked] - given.mean[0, of_missing]) / std)
            found.append(crps.mean())
        return torch.stack(found)


def crps_of_normal(x):
    """The continuous ranked probability score of N(0, 1) where x was seen, E|X - x| - E|X - X'| / 2
    (Gneiting et al. 2005, eq. 5).
    """
    density = torch.exp(-0.5 * (x.square() + LOG_2PI))
    return x * torch.erf(x / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi)
