"""Fill the holes of a series by windows: means over all that cover a cell, and joint draws.

S slots of the grid, D columns, L steps of a window, N rows of a file, M draws.
"""

import numpy as np
import torch

from parts.finite import finite
from parts.forms.base import random_rows
from parts.forms.series import completion, counters
from parts.forms.series.form import in_user
from parts.measure.hidden_cells import N_DRAWS
from parts.model.batches import Batch
from parts.randomness import fixed_randomness
from parts.tasks.fill import Checked, Filled, certainty_of

N_CHECKED, HIDDEN = 200, 0.1  # most windows in which this share of the cells is hidden
N_SUMS = 40  # draws that give the bounds of counters
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
            draws = [layout.to_user(self.draw_slots(layout)) for _ in range(n_draws)]
            bounds = in_user(np.stack(bounds), self.columns) if interval else None
            if interval and (places := counters.of(self.columns)):  # sums have bounds of their own
                sums = [layout.to_user(self.draw_slots(layout))[:, places] for _ in range(N_SUMS)]
                bounds[..., places] = np.percentile(sums, (tail, 100 - tail), axis=0)
        if progress is not None:
            progress(len(todo))

        def of_rows(slots):
            return layout.grid.scatter(slots)[todo]

        values = of_rows(layout.to_user(values))
        bounds = np.stack([of_rows(part) for part in bounds]) if interval else None
        draws = np.stack([of_rows(x) for x in draws]) if n_draws else np.empty((0, *values.shape))
        return Filled(values, draws, bounds, np.full(values.shape, np.nan))

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
        """A joint draw of all missing cells of slots [S, D], in windows that overlap by half: each
        knows what was drawn in its first quarter, and leaves its last quarter to the next one.
        """
        x, mask = layout.x.astype(np.float64), layout.seen.copy()
        covered = np.zeros(len(x), bool)
        starts = self.covering(layout, max(1, self.length // 2))
        ends = starts + self.length
        followed = np.append(starts[1:] < ends[:-1], False)
        for start, end in zip(starts, ends - followed * (self.length // 4), strict=True):
            at, own = slice(start, start + self.length), slice(start, end)
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
                x[own] = np.where(mask[own], x[own], drawn[: end - start])
            mask[own] = covered[own] = True
        x = np.where(layout.mask, layout.x, x)
        return np.where((covered | layout.mask.all(1))[:, None], x, np.nan)

    def impute(self, layout, starts, n_draws):
        """The Imputation of the windows at `starts`."""
        x, y, mask = layout.windows(starts, mask=layout.seen)
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


# Check


def check_windows(fitted, filler, rows, load_data, interval, seed):
    """Hide cells of held-out windows, one in ten at random, and runs of half a window; mean errors
    of the filler in standard deviations, and those of a line between the neighbours.
    """
    x, mask, y = rows.fresh
    some = random_rows(len(x), N_CHECKED)
    x, mask, y = x[some], mask[some] > 0, None if y is None else y[some]
    n_steps, n_each = fitted.codec.shape
    rng, tail = np.random.default_rng(seed), 50 * (1 - interval)
    start = rng.integers(0, n_steps - n_steps // 2, (len(x), 1, n_each))
    steps = np.arange(n_steps)[:, None] - start
    runs = ((steps >= 0) & (steps < n_steps // 2)).reshape(x.shape)
    patterns = {"single cells": rng.random(x.shape) < HIDDEN, "runs of half a window": runs}
    result, lines = {"n_windows": len(x), "interval": interval}, []
    for name, hidden in patterns.items():
        hidden &= mask
        left = mask & ~hidden
        batch = Batch.on(fitted.device, np.where(left, x, 0), y, left.astype(np.float32))
        with fixed_randomness(seed):
            filled = filler.model.impute(*batch_parts(batch), draws=N_DRAWS, eps=filler.eps)
        draws = filled.draws.cpu().numpy()[:, hidden]
        low, high = np.percentile(draws, (tail, 100 - tail), axis=0)
        ours = np.abs(filled.mean.cpu().numpy() - x)[hidden].mean()
        lined = completion.interpolated(
            x.reshape(-1, n_each),
            left.reshape(-1, n_each),
            [(i * n_steps, (i + 1) * n_steps) for i in range(len(x))],
        ).reshape(x.shape)
        line = np.abs(lined - x)[hidden].mean()
        inside = float(((x[hidden] >= low) & (x[hidden] <= high)).mean())
        result[name] = {"error": float(ours), "line": float(line), "inside": inside}
        lines.append(
            f"  {name}: error {ours:.3f}, a line between the neighbours {line:.3f}; "
            f"{100 * inside:.0f} % lie in the interval of {100 * interval:.0f} %"
        )
    head = f"Hidden cells of {len(x)} held-out windows, mean error in standard deviations:"
    return Checked("windows", result, "\n".join([head, *lines]), None)


def batch_parts(batch):
    """x, mask and y, as `impute` takes them."""
    return batch.x, batch.mask, batch.y
