"""Measure fills of a series: hide cells of windows, fill them, and compare with simple methods.

M methods, R rounds of hiding, n windows of L steps and D columns.
"""

import numpy as np

from parts.measure.series_baselines import (
    GAUSSIAN,
    around,
    carried_forward,
    interpolated,
    season_of,
)
from parts.measure.windows import Series

OURS = "VAE"
UNIT = "mean absolute error in standard deviations"
N_CHECKED = 200  # most windows, and most of them that are filled for one pattern
MOST_ROUNDS, HIDDEN = 3, 0.1  # times that a window is used, and share of cells hidden each time
FEWEST_WITHOUT = 10  # windows of which a whole column is hidden, if there are as many
CHANCE, LEAST_BETTER = 0.005, 0.05  # of a note that another method is better; see `best`
N_NAMED = 20  # most columns of which a note tells


def patterns(mask, rng):
    """What is hidden of the observed cells of windows, mask [n, L, D], by name: bool [R, n, L, D].

    They are single cells, runs of half a window at a random place of each column, and each column
    in turn where there are others.
    """
    n, n_steps, n_each = mask.shape
    shape = max(1, min(MOST_ROUNDS, N_CHECKED // max(1, n))), *mask.shape
    step = np.arange(n_steps)[:, None]
    start = rng.integers(0, n_steps - n_steps // 2 + 1, (*shape[:2], 1, n_each))
    found = {
        "single cells": rng.random(shape) < HIDDEN,
        "runs of half a window": (step >= start) & (step < start + n_steps // 2),
    }
    if n_each > 1:
        found["whole columns"] = np.zeros((n_each, *mask.shape), bool)
        some = slice(max(FEWEST_WITHOUT, N_CHECKED // n_each))
        for j in range(n_each):
            found["whole columns"][j, some, :, j] = True
    return {name: hidden & mask for name, hidden in found.items()}


def season_at(train, mask, positions, asked):
    """The mean of training windows x and mask [N, L, D] at each position in a period, for the
    `asked` positions [n, L]; `positions` are those of the training windows [N, L], and a number
    of them.
    """
    at, n = positions
    return season_of(Series.of_windows(train, mask), at.reshape(-1), n)[asked]


def simple_fills(x, left, season=None):
    """Windows [n, L, D] whose cells are filled where `left` is False, by the name of the method.

    No window knows of another; where a column is hidden it has the training mean, which is 0. A
    `season` [n, L, D] is what is usual at each step.
    """
    series = Series.of_windows(x, left)
    found = {"line": interpolated(series), "last value": carried_forward(series)}
    if season is not None:
        found["season + line"] = around(season.reshape(series.x.shape), series)
    return {name: values.reshape(x.shape) for name, values in found.items()}


def check(ours, gaussian, x, mask, season, columns, interval, seed):
    """Errors of fills of hidden cells of windows x, mask [n, L, D], by what was hidden.

    x is in standard deviations of the training rows. `ours(x, left, rows)` fills windows x of the
    numbers `rows` where `left` is False, and gives the bounds of an interval: [3, n, L, D];
    `gaussian` fills them likewise. The error is the mean absolute error of a window's hidden cells,
    averaged over windows, and standard errors are over windows. Returns plain values.
    """
    result = {"n_windows": len(x), "n_steps": x.shape[1], "interval": interval, "patterns": {}}
    for name, hidden in patterns(mask, np.random.default_rng(seed)).items():
        errors, inside = {}, np.zeros(hidden.shape)
        for i, own in enumerate(hidden):
            rows = np.flatnonzero(own.any((1, 2)))
            if not len(rows):
                continue
            truth, left = x[rows], mask[rows] & ~own[rows]
            there = np.where(left, truth, 0.0)
            filled, low, high = ours(there, left, rows)
            usual = None if season is None else season[rows]
            fills = {OURS: filled} | simple_fills(there, left, usual)
            fills[GAUSSIAN] = gaussian(there, left, rows)
            for method, values in fills.items():
                errors.setdefault(method, np.zeros(hidden.shape))[i, rows] = np.abs(values - truth)
            inside[i, rows] = (truth >= low) & (truth <= high)
        if errors:
            found = {"what": name, "unit": UNIT, "interval": interval, "columns": {}}
            found |= entry_of(errors, inside, hidden)
            for j, column in enumerate(columns):
                if hidden[..., j].any():
                    own = {method: error[..., j] for method, error in errors.items()}
                    entry = entry_of(own, inside[..., j], hidden[..., j])
                    found["columns"][column] = entry
            result["patterns"][name] = found
    return result


def entry_of(errors, inside, hidden):
    """The error of each method, its standard error, how far ours lies above the others, and the
    share of hidden cells inside their interval; of arrays [R, n, ...], `errors` one a method.
    """
    over = (0, *range(2, hidden.ndim))
    n = hidden.sum(over)
    some = n > 0
    by_window = {k: (e * hidden).sum(over)[some] / n[some] for k, e in errors.items()}
    mean_se = {k: mean_and_error(values) for k, values in by_window.items()}
    apart = {k: mean_and_error(by_window[OURS] - v) for k, v in by_window.items() if k != OURS}
    return {
        "n_hidden": int(n.sum()),
        "n_windows": int(some.sum()),
        "error": {k: mean for k, (mean, _) in mean_se.items()},
        "se": {k: se for k, (_, se) in mean_se.items()},
        "difference": {k: list(pair) for k, pair in apart.items()},
        "coverage": float(inside[hidden].mean()),
    }


def mean_and_error(values):
    """The mean of values [n] of windows and its standard error; a single one tells nothing of its
    spread, and its error is as large as itself.
    """
    mean, n = values.mean(), len(values)
    return float(mean), float(values.std(ddof=1) / n**0.5 if n > 1 else abs(mean))


def report(result):
    """Lines: a table of errors by what was hidden, and the columns that a simple method fills
    better.
    """
    found = result["patterns"].values()
    methods = list(dict.fromkeys(method for entry in found for method in entry["error"]))
    inside = f"in the {result['interval']:.0%} interval"
    rows = [["", *methods, inside]]
    for entry in found:
        figures = [f"{entry['error'][m]:.3f} ± {entry['se'][m]:.3f}" for m in methods]
        rows.append([entry["what"], *figures, f"{entry['coverage']:.1%}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        f"Hidden cells of {result['n_windows']} held-out windows of {result['n_steps']} steps: "
        f"{UNIT}, ± its standard error over windows"
    ]
    for what, *cells in rows:
        aligned = [f"{cell:>{w}}" for cell, w in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([f"  {what:<{widths[0]}}", *aligned]))
    return "\n".join(lines + better_than_ours(result))


def best(entry):
    """The method with the lowest error among those that are clearly better than ours, or None: by
    LEAST_BETTER of it, and so much that chance makes such a difference in one of 1 / CHANCE cases,
    by the t-distribution of the differences in windows.
    """
    from scipy.stats import t

    n = entry["n_windows"]
    errors = float(t.ppf(1 - CHANCE, n - 1)) if n > 1 else np.inf
    least = LEAST_BETTER * entry["error"][OURS]
    clear = [k for k, (d, se) in entry["difference"].items() if d > max(errors * se, least)]
    return min(clear, key=entry["error"].get, default=None)


def better_than_ours(result):
    """A note for each column that a simple method fills clearly better, with its figures."""
    said = {}
    for entry in result["patterns"].values():
        for column, own in entry["columns"].items():
            if method := best(own):
                figures = f"{own['error'][method]:.3f} against {own['error'][OURS]:.3f}"
                said.setdefault(column, []).append(f"{entry['what']} ({method} {figures})")
    notes = [
        f"Note: {column}: a simple method is better than the {OURS} for {', '.join(where)}"
        for column, where in said.items()
    ]
    more = len(notes) - N_NAMED
    return notes[:N_NAMED] + ([f"Note: so it is for {more} more columns"] if more > 0 else [])
