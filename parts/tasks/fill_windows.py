"""Fill the holes of a series by windows: means over all that cover a cell, and joint draws.

S slots of the grid, D columns, L steps of a window, N rows of a file, M draws.
"""

import numpy as np
import torch

from parts.finite import finite
from parts.forms.base import random_rows
from parts.measure.hidden_cells import N_DRAWS
from parts.model.batches import Batch
from parts.randomness import fixed_randomness
from parts.tasks.fill import Filled, certainty_of

N_FILL = 8  # most samples of z of a window whose holes are filled
N_AT_A_TIME = 64  # windows that are filled at a time


class WindowFiller:
    """Fills missing cells of a series by a fitted model of its windows."""

    def __init__(self, fitted, n_samples=100, seed=0, statistic="mean"):
        self.model, self.codec, self.device = fitted.model, fitted.codec, fitted.device
        self.columns, self.statistic, self.seed = fitted.codec.measured, statistic, seed
        self.length = fitted.codec.shape[0]
        self.eps = self.model.grid(min(n_samples, N_FILL), seed).to(self.device)
        self.rules = None

    def fill(self, encoded, todo, n_draws=0, interval=None, progress=None):
        """Fill the rows numbered `todo` of Encoded rows, as a Filled of [len(todo), D]."""
        layout = encoded.layout
        tail = 50 * (1 - interval) if interval else None
        with fixed_randomness(self.seed):
            values, bounds = self.fill_slots(layout, tail)
            draws = [self.draw_slots(layout) for _ in range(n_draws)]
        if progress is not None:
            progress(len(todo))
        found = [self.of_rows(layout, part, todo) for part in (values, *draws, *bounds)]
        values, draws, bounds = found[0], found[1 : 1 + n_draws], found[1 + n_draws :]
        bounds = np.stack(bounds) if interval else None
        draws = np.stack(draws) if n_draws else np.empty((0, *values.shape))
        return Filled(values, draws, bounds, np.full(values.shape, np.nan))

    def of_rows(self, layout, x, todo):
        """Cells of slots [S, D] in model units as those of some rows in the user's units."""
        rows = layout.grid.scatter(x)[todo]
        return np.stack([c.to_user(rows[:, j]) for j, c in enumerate(self.columns)], 1)

    def covering(self, layout, stride):
        """First slots of the windows that cover the series and have a hole that a row lies in."""
        starts = layout.starts(stride=stride, empty=True)
        holes = np.concatenate([[0], np.cumsum(~layout.mask.all(1))])
        return starts[holes[starts + self.length] > holes[starts]]

    def fill_slots(self, layout, tail=None):
        """Means of all cells of slots [S, D], NaN where no window covers one, and bounds [2, S, D].

        A cell has the mean over the windows that cover it, which counts more towards the middle of
        a window; its bounds are those of the draws of all of them.
        """
        n_each, shape = len(self.columns), layout.x.shape
        starts = self.covering(layout, max(1, self.length // 2))
        share = 1.0 + np.minimum(np.arange(self.length), np.arange(self.length)[::-1])
        total, weight = np.zeros(shape), np.zeros(len(layout.x))
        ends = np.zeros((2, *shape)) if tail is not None else None
        for i in range(0, len(starts), N_AT_A_TIME):
            some = starts[i : i + N_AT_A_TIME]
            filled = self.impute(layout, some, N_DRAWS if tail is not None else 0)
            mean = finite("filled cells", filled.mean.cpu().numpy())
            draws = filled.draws.cpu().numpy()
            for b, start in enumerate(some):
                at = slice(start, start + self.length)
                total[at] += share[:, None] * mean[b].reshape(-1, n_each)
                weight[at] += share
                if tail is not None:
                    low_high = np.percentile(draws[:, b], (tail, 100 - tail), axis=0)
                    ends[:, at] += share[:, None] * low_high.reshape(2, -1, n_each)
        with np.errstate(invalid="ignore"):
            weight = np.where(weight > 0, weight, np.nan)[:, None]
            bounds = [] if tail is None else list(ends / weight)
            return np.where(layout.mask, layout.x, total / weight), bounds

    def draw_slots(self, layout):
        """A joint draw of all missing cells of slots [S, D]: windows overlap by half, and each
        knows what was drawn before it.
        """
        x, mask = layout.x.astype(np.float64), layout.mask.copy()
        covered = np.zeros(len(x), bool)
        for start in self.covering(layout, max(1, self.length // 2)):
            at = slice(start, start + self.length)
            window = Batch.on(
                self.device,
                x[at].reshape(1, -1).astype(np.float32),
                layout.y[start : start + 1] if self.codec.y_dim else None,
                mask[at].reshape(1, -1).astype(np.float32),
            )
            if not mask[at].all():
                eps = torch.randn_like(self.eps)
                filled = self.model.impute(window.x, window.mask, window.y, draws=1, eps=eps)
                drawn = filled.draws[0, 0].cpu().double().numpy().reshape(self.length, -1)
                x[at] = np.where(mask[at], x[at], drawn)
            mask[at] = covered[at] = True
        return np.where((covered | layout.mask.all(1))[:, None], x, np.nan)

    def impute(self, layout, starts, n_draws):
        """The Imputation of the windows at `starts`."""
        x, y, mask = layout.windows(starts)
        batch = Batch.on(self.device, x, y if self.codec.y_dim else None, mask)
        return self.model.impute(batch.x, batch.mask, batch.y, draws=n_draws, eps=self.eps)

    def how_sure(self, encoded, holes, todo, train):
        """How sure the fills of `holes` [N, D] are, from a random sample of rows, as a Sure."""
        layout = encoded.layout
        rows = todo[random_rows(len(todo), 300)]
        slots = layout.grid.slot[rows]
        starts = self.covering(layout, max(1, self.length // 2))
        near = np.clip(
            np.searchsorted(starts, slots - self.length // 2), 0, max(0, len(starts) - 1)
        )
        sure = np.full((len(rows), len(self.columns)), np.nan)
        if len(starts) and len(rows):
            some = np.unique(starts[near])
            draws = self.impute(layout, some, 50).draws.cpu().numpy()
            for i, slot in enumerate(slots):
                b = int(np.searchsorted(some, starts[near[i]]))
                step = slot - some[b]
                if 0 <= step < self.length:
                    cells = draws[:, b].reshape(len(draws), self.length, -1)[:, step]
                    cells = np.stack(
                        [c.to_user(cells[:, j]) for j, c in enumerate(self.columns)], 1
                    )
                    low, high = np.quantile(cells, [0.05, 0.95], axis=0)
                    sure[i] = (high - low) / 2
        sure[~holes[rows]] = np.nan
        cells = np.where(layout.mask, layout.x, np.nan)
        known = np.stack([c.to_user(cells[:, j]) for j, c in enumerate(self.columns)], 1)
        return certainty_of(sure, known, np.zeros(len(self.columns), bool), len(rows))
