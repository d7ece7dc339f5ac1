"""Fill the missing cells of rows by their distribution given the observed ones, and check it.

filler = Filler(fitted)
for rows, values, draws in filler.chunks(x, mask, n_draws=20): ...
"""

from typing import NamedTuple

import numpy as np
import torch

from parts.errors import UserError
from parts.forms.base import N_KEPT_ROWS
from parts.forms.tables.encoding import column_arrays
from parts.measure import hidden_cells, quarters
from parts.measure.hidden_cells import N_DRAWS
from parts.model.batches import Batch
from parts.randomness import fixed_randomness

CHUNK_CELLS = 2**23  # drawn at a time
STATISTICS = ("mean", "median", "mode")


class Filled(NamedTuple):
    """Rows in the user's units, codes for categories: [n, D], draws [M, n, D], bounds [2, n, D]."""

    values: np.ndarray
    draws: np.ndarray
    bounds: np.ndarray | None


class Filler:
    """A fitted model, and what to report of a missing number: its mean, median or mode."""

    def __init__(self, fitted, n_samples=100, seed=0, statistic="mean"):
        self.model, self.codec, self.device = fitted.model, fitted.codec, fitted.device
        self.columns = fitted.codec.modelled
        self.n_samples, self.seed, self.statistic = n_samples, seed, statistic
        self.eps = self.model.grid(n_samples, seed).to(self.device)
        self.linear = all(column.curve == "linear" and not column.levels for column in self.columns)
        # Where x are rates of binary pixels, a draw is the rate at a drawn z, not 0 or 1.
        likelihood = self.model.likelihood
        self.x_of = likelihood.mean if likelihood.are_rates(fitted.train.x) else None

    def to_user_units(self, mean, std):
        """Means of components in the user's units, from means and deviations in the model's.

        On the CPU and in float64, whatever the model's device.
        """
        mean, std = mean.cpu().double().numpy(), std.cpu().double().numpy()
        values = [
            mean[..., j] if column.levels else column.mean_to_user(mean[..., j], std[..., j])
            for j, column in enumerate(self.columns)
        ]
        return torch.from_numpy(np.stack(values, -1))

    def chunks(self, x, mask, n_draws, y=None):
        """Yield slices of the rows x [N, D], their values [n, D] and draws [M, n, D] of all cells.

        In the user's units, codes for categories. Cells that lie too far out to tell anything of
        the others in their row are passed over.
        """
        mask = mask * ~self.codec.is_far_out(x)
        n_draws = max(n_draws, 0 if self.statistic == "mean" else N_DRAWS)
        n_rows = max(1, CHUNK_CELLS // (x.shape[1] * max(1, n_draws)))
        options = {"draws": n_draws, "eps": self.eps, "x_of": self.x_of}
        options["unit"] = None if self.linear else self.to_user_units
        with fixed_randomness(self.seed):
            for start in range(0, len(x), n_rows):
                rows = slice(start, start + n_rows)
                given = None if y is None else y[rows]
                batch = Batch.on(self.device, x[rows], given, mask[rows])
                filled = self.model.impute(batch.x, batch.mask, batch.y, **options)
                draws = self.codec.decode(filled.draws.cpu().numpy())
                mean = filled.mean.cpu().numpy()
                mean = self.codec.decode(mean) if self.linear else mean
                yield rows, self.point(mean, draws), draws

    def point(self, mean, draws):
        """The statistic asked for of numbers; of categories always the most probable level."""
        numbers = [j for j, column in enumerate(self.columns) if not column.levels]
        if self.statistic != "mean" and numbers:
            statistic = {"median": lambda d: np.median(d, 0), "mode": hidden_cells.half_sample_mode}
            mean[:, numbers] = statistic[self.statistic](draws[..., numbers])
        return mean


def fill(filler, encoded, todo, n_draws=0, interval=None, progress=None):
    """The Filled of the rows numbered `todo` of a form's Encoded rows.

    With `interval` also the bounds that hold this share of each number's distribution.
    """
    n, n_columns = len(todo), encoded.x.shape[1]
    values = np.empty((n, n_columns))
    kept = np.empty((n_draws, n, n_columns))
    bounds = np.empty((2, n, n_columns)) if interval else None
    tail = 50 * (1 - interval) if interval else 0
    y = None if encoded.y is None else encoded.y[todo]
    n_needed = max(n_draws, N_DRAWS if interval else 0)
    chunks = filler.chunks(encoded.x[todo], encoded.mask[todo], n_needed, y)
    for rows, found, draws in chunks:
        values[rows], kept[:, rows] = found, draws[:n_draws]
        if interval:
            bounds[:, rows] = np.percentile(draws, (tail, 100 - tail), axis=0)
        if progress is not None:
            progress(len(found))
    return Filled(values, kept, bounds)


# Checks: what a form's `check` names


class Checked(NamedTuple):
    """A measured filling: name of its JSON file, result, lines to print, arrays of a figure."""

    name: str
    result: dict
    report: str
    arrays: dict | None


def check_cells(fitted, filler, rows, load_data, interval, seed):
    """Hide cells of rows that were not trained on and fill them, beside the usual imputers."""
    x, mask, *y = [part for part in rows.fresh if part is not None]
    trained = [part for part in rows.trained if part is not None]
    result, cells = hidden_cells.check(filler, x, mask, trained, interval, seed, *y)
    result["n_train"], result["n_baseline"] = rows.n_train, len(trained[0])
    cells |= column_arrays(filler.columns) | {"interval": np.array(interval)}
    return Checked("imputation", result, hidden_cells.report(result), cells)


def check_quarters(fitted, filler, rows, load_data, interval, seed):
    """Hide quarters of the run's test pictures and fill them, beside nearest neighbours."""
    data = load_data()
    if not len(data.test.x):
        raise UserError(f"--check: run {fitted.name} has no test pictures")
    train, test = (Batch.of(split, fitted.device) for split in (data.train, data.test))
    with fixed_randomness(seed):
        result = quarters.check(fitted.model, train, test, data.shape, filler.n_samples)
    return Checked("quadrants", result, quarters.report(result), None)


class RowsToCheck(NamedTuple):
    """Rows that a run was not trained on, and rows that it was: each x, mask and y or None."""

    fresh: tuple
    trained: tuple
    n_train: int


def rows_to_check(fitted, encoded, is_own):
    """The RowsToCheck among a user's Encoded rows; `is_own` where the run was fitted to them.

    Those are the held-out rows where the file is the run's own, and where the run keeps only some
    of the rows it was trained on, so that they cannot all be told.
    """
    train = (fitted.train.x, fitted.train.mask.astype(np.float32), fitted.train.y)
    fresh = encoded[:3]
    if is_own or len(train[0]) >= N_KEPT_ROWS:
        held = fitted.held
        fresh = (held.x, held.mask.astype(np.float32), held.y)
    new = hidden_cells.find_rows(*fresh[:2], *train[:2]) < 0
    fresh = tuple(None if part is None else part[new] for part in fresh)
    if not len(fresh[0]):
        raise UserError(f"--check needs rows that run {fitted.name} did not train on: it has none")
    return RowsToCheck(fresh, train, fitted.n_train)


CHECKS = {"cells": check_cells, "quarters": check_quarters}
