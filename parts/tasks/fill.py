"""Fill missing cells by their distribution given the observed cells, and measure the errors.

filler = Filler(fitted)
for rows, values, draws in filler.chunks(x, mask, n_draws=20): ...
"""

from typing import NamedTuple

import numpy as np
import torch

from parts.errors import UserError
from parts.finite import finite
from parts.forms.base import N_KEPT_ROWS, Reference, random_rows
from parts.forms.units import column_arrays
from parts.measure import hidden_cells, quarters
from parts.measure.hidden_cells import N_DRAWS
from parts.model.batches import Batch
from parts.randomness import fixed_randomness

CHUNK_CELLS = 2**23  # cells that are drawn at a time
STATISTICS = ("mean", "median", "mode")
N_SURE_ROWS, SURE_CELLS, N_SURE_DRAWS = 300, 2**15, 50  # most rows and cells that are looked at
SURE = 0.9  # share of the draws of a number inside the interval that says how sure it is


class Filled(NamedTuple):
    """Filled rows [n, D], draws [M, n, D] and bounds [2, n, D], in user units and codes; and the
    probability of each filled level [n, D], NaN for numbers.
    """

    values: np.ndarray
    draws: np.ndarray
    bounds: np.ndarray | None
    probability: np.ndarray | None = None


class Filler:
    """Fills missing cells by a fitted model; numbers by their mean, median or mode."""

    def __init__(self, fitted, n_samples=100, seed=0, statistic="mean"):
        self.model, self.codec, self.device = fitted.model, fitted.codec, fitted.device
        self.columns = fitted.codec.modelled
        self.n_samples, self.seed, self.statistic = n_samples, seed, statistic
        self.eps = self.model.grid(n_samples, seed).to(self.device)
        self.linear = all(column.curve == "linear" and not column.levels for column in self.columns)
        # For rates of binary pixels a draw is the rate at a drawn z instead of 0 or 1.
        likelihood = self.model.likelihood
        self.x_of = likelihood.mean if likelihood.are_rates(fitted.train.x) else None
        self.rules, self.related = fitted.codec.rules, fitted.train.values
        self.names = [column.name for column in self.columns]
        self.follow = not fitted.sees_near_copies

    def to_user_units(self, mean, std):
        """Means of components in user units, from means and deviations in model units.

        The result is on the CPU and in float64, whatever the model's device.
        """
        mean, std = mean.cpu().double().numpy(), std.cpu().double().numpy()
        values = [
            mean[..., j] if column.levels else column.mean_to_user(mean[..., j], std[..., j])
            for j, column in enumerate(self.columns)
        ]
        return torch.from_numpy(np.stack(values, -1))

    def known_values(self, x, mask, y=None, values=None):
        """Values [n, R] of the known cells in relations, exact ones if `values` are given."""
        known = self.rules.of_rows(x, mask, y, self.codec)
        return known if values is None else np.where(np.isnan(known), known, values)

    def chunks(self, x, mask, n_draws, y=None, values=None):
        """Yield slices of the rows x [N, D], their values [n, D] and draws [M, n, D] of all cells.

        Values and draws are in user units and codes. Cells that are too extreme for the encoder are
        treated as missing. `values` [N, R] are exact values of the columns in relations.
        """
        known = None if self.rules is None else self.known_values(x, mask, y, values)
        rng = np.random.default_rng(self.seed)
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
                point = finite("filled cells", self.point(mean, finite("drawn cells", draws)))
                if known is not None:
                    point, draws = self.related_cells(point, draws, known[rows], rng)
                yield rows, point, draws

    def related_cells(self, point, draws, known, rng):
        """Values [n, D] and draws [M, n, D] changed in missing cells to obey the relations."""
        point = self.rules.fill(point, known, self.names, self.related, follow=self.follow)
        if draws.size:
            flat = draws.reshape(-1, draws.shape[-1])
            every = np.tile(known, (len(draws), 1))
            flat = self.rules.fill(flat, every, self.names, self.related, rng, self.follow)
            draws = flat.reshape(draws.shape)
        return point, draws

    def fill(self, *rows, **options):
        return fill(self, *rows, **options)

    def how_sure(self, *rows):
        return how_sure(self, *rows)

    def point(self, mean, draws):
        """Replace the means of numbers by the filler's statistic; categories do not change."""
        numbers = [j for j, column in enumerate(self.columns) if not column.levels]
        if self.statistic != "mean" and numbers:
            statistic = {"median": lambda d: np.median(d, 0), "mode": hidden_cells.half_sample_mode}
            mean[:, numbers] = statistic[self.statistic](draws[..., numbers])
        return mean


def fill(filler, encoded, todo, n_draws=0, interval=None, progress=None):
    """Fill the rows numbered `todo` of Encoded rows.

    With `interval` the result has bounds that contain this share of each number's distribution, and
    the probabilities of the filled levels of categories, by N_DRAWS draws.
    NaN stands for cells that have to stay empty, because a relation of the training rows says so.
    """
    n, n_columns = len(todo), encoded.x.shape[1]
    values = np.empty((n, n_columns))
    kept = np.empty((n_draws, n, n_columns))
    bounds = np.empty((2, n, n_columns)) if interval else None
    probability = np.full((n, n_columns), np.nan) if interval else None
    levels = [j for j, column in enumerate(filler.columns) if column.levels]
    tail = 50 * (1 - interval) if interval else 0
    y = None if encoded.y is None else encoded.y[todo]
    n_needed = max(n_draws, N_DRAWS if interval else 0)
    own = None if encoded.values is None else encoded.values[todo]
    chunks = filler.chunks(encoded.x[todo], encoded.mask[todo], n_needed, y, own)
    for rows, found, draws in chunks:
        values[rows], kept[:, rows] = found, draws[:n_draws]
        if interval:
            bounds[:, rows] = np.percentile(draws, (tail, 100 - tail), axis=0)
            agree = draws[..., levels] == np.round(found[:, levels])
            probability[rows, levels] = agree.mean(0)
        if progress is not None:
            progress(len(found))
    if filler.rules is not None:
        known = filler.known_values(encoded.x[todo], encoded.mask[todo], y, own)
        for rows in (values, *kept):
            rows[filler.rules.empty_cells(rows, known, filler.names)] = np.nan
        if interval:
            bounds[:, np.isnan(values)] = probability[np.isnan(values)] = np.nan
    return Filled(values, kept, bounds, probability)


class Sure(NamedTuple):
    """How sure filled cells are by column, [D] each, NaN where no cell was looked at.

    It is the mean chance of the filled level, and of numbers the median of half the interval that
    holds SURE of the draws, in user units. `guess` is the same of a cell in a row of which nothing
    is known, from the training rows. `n_rows` filled rows were looked at.
    """

    filled: np.ndarray
    guess: np.ndarray
    n_rows: int


def how_sure(filler, encoded, holes, todo, train):
    """How sure the fills of the `holes` [N, D] in rows `todo` are, from a random sample of rows.

    `train` is a Reference of training rows. What is filled does not depend on this.
    """
    most = max(1, min(N_SURE_ROWS, SURE_CELLS // max(1, holes.shape[1])))
    rows = todo[random_rows(len(todo), most)]
    y, own = (None if part is None else part[rows] for part in (encoded.y, encoded.values))
    levels = np.array([bool(column.levels) for column in filler.columns])
    sure = np.full((len(rows), len(levels)), np.nan)
    for part, values, draws in filler.chunks(
        encoded.x[rows], encoded.mask[rows], N_SURE_DRAWS, y, own
    ):
        low, high = np.quantile(draws, [(1 - SURE) / 2, (1 + SURE) / 2], axis=0)
        shares = (np.round(draws) == np.round(values)).mean(0)
        sure[part] = np.where(levels, shares, (high - low) / 2)
    sure[~holes[rows]] = np.nan
    known = np.where(train.mask, filler.codec.decode(train.x), np.nan)
    return certainty_of(sure, known, levels, len(rows))


def certainty_of(sure, known, levels, n_rows):
    """The Sure of cells that are `sure` [n, D], NaN where none was filled, beside `known` cells of
    training rows [n, D] in user units, NaN where missing; `levels` [D] tells categories.
    """
    filled, guess = np.full((2, len(levels)), np.nan)
    for j, is_level in enumerate(levels):
        if (there := sure[~np.isnan(sure[:, j]), j]).size:
            filled[j] = there.mean() if is_level else np.median(there)
        if (cells := known[~np.isnan(known[:, j]), j]).size:
            low, high = np.quantile(cells, [(1 - SURE) / 2, (1 + SURE) / 2])
            most_frequent = np.unique(cells, return_counts=True)[1].max() / len(cells)
            guess[j] = most_frequent if is_level else (high - low) / 2
    return Sure(filled, guess, n_rows)


# Checks, by the key that is `check` of a form


class Checked(NamedTuple):
    """Errors of filling: name of the JSON file, result, lines to print, arrays for a figure."""

    name: str
    result: dict
    report: str
    arrays: dict | None


def check_cells(fitted, filler, rows, load_data, interval, seed):
    """Hide cells of rows that were not trained on; errors of the filler and of baselines."""
    x, mask, *y = [part for part in rows.fresh if part is not None]
    trained = [part for part in rows.trained if part is not None]
    result, cells = hidden_cells.check(filler, x, mask, trained, interval, seed, *y)
    result["n_train"], result["n_baseline"] = rows.n_train, len(trained[0])
    cells |= column_arrays(filler.columns) | {"interval": np.array(interval)}
    return Checked("imputation", result, hidden_cells.report(result), cells)


def check_quarters(fitted, filler, rows, load_data, interval, seed):
    """Hide quarters of the run's test pictures; errors of the filler and of baselines."""
    data = load_data()
    if not len(data.test.x):
        raise UserError(
            f"run {fitted.name} has no test pictures to hide quarters of; train one with some"
        )
    train, test = (Batch.of(split, fitted.device) for split in (data.train, data.test))
    with fixed_randomness(seed):
        result = quarters.check(fitted.model, train, test, data.shape, filler.n_samples)
    return Checked("quadrants", result, quarters.report(result), None)


class RowsToCheck(NamedTuple):
    """Rows outside a run's training rows, and training rows, without relations."""

    fresh: Reference
    trained: Reference
    n_train: int


def rows_to_check(fitted, encoded, is_own):
    """The RowsToCheck among a user's Encoded rows; `is_own` if the run was fitted to this file.

    The held-out rows are checked if the file is the run's own, or if the run keeps only a sample of
    its training rows, so that training rows in the file cannot be recognised.
    """
    train, fresh = without_relations(fitted.train), Reference(*encoded[:3])
    if is_own or encoded.layout or len(train.x) >= N_KEPT_ROWS:
        fresh = without_relations(fitted.held)
    new = np.flatnonzero(hidden_cells.find_rows(*fresh[:2], *train[:2]) < 0)
    fresh = fresh.take(new[random_rows(len(new), hidden_cells.N_CHECKED_ROWS)])
    if not len(fresh.x):
        raise UserError(
            f"run {fitted.name} was trained on all of these rows; a check hides cells of other rows"
        )
    return RowsToCheck(fresh, train, fitted.n_train)


def without_relations(rows):
    """A Reference without the values of relations, and with a mask of floats."""
    return rows._replace(mask=rows.mask.astype(np.float32), values=None)


CHECKS = {
    "cells": "parts.tasks.fill:check_cells",
    "quarters": "parts.tasks.fill:check_quarters",
    "windows": "parts.tasks.fill_windows:check_windows",
}

# Form.fills -> what fills its holes, imported where it is used
FILLERS = {"rows": "parts.tasks.fill:Filler", "windows": "parts.tasks.fill_windows:WindowFiller"}
