"""Baselines of series: scores of rows, fills of holes, and forecasts one step ahead.

All take a `Series` with holes and segments (parts/measure/windows.py); none looks across segments.
"""

import numpy as np

from parts.measure.window_gaussian import WindowGaussian
from parts.measure.windows import laid_back, sampled, starts_of, windows_at
from parts.model.normal import LOG_2PI

GAUSSIAN = "Gaussian of windows"
RIDGE = 1e-2  # of the Gaussian for scores: less lets the smallest variances rule the distance
PCA_SHARE = 0.95  # share of variance in the components of the PCA of windows
MAX_CELLS = 2**24  # of windows that PCA and the forest are fitted to
MAX_PAIRS = 2**34  # products of cells of the search for nearest windows
MAX_PHI = 0.999  # of an AR(1)
CHUNK = 512  # windows at a time in the search


# Scores


def detectors(train, test, length, seed=0, alone=None):
    """Map names of detectors to functions without arguments that score the rows of `test`, [T].

    Both series are taken in standard deviations of `train`, which may be `test` itself; a row that
    no window covers has NaN. `alone` tells whether the rows of `train` are those of `test`, or some
    of them with other bounds. Functions, so that each can be timed.
    """
    moments, is_same = train.moments(), train is test
    alone = is_same if alone is None else alone
    train = train.standardised(*moments)
    test = train if is_same else test.standardised(*moments)
    return {
        GAUSSIAN: lambda: WindowGaussian.fit(train, length, RIDGE, seed=seed).scores(test),
        "PCA of windows": lambda: pca_scores(train, test, length, seed),
        "isolation forest of windows": lambda: forest_scores(train, test, length, seed),
        "nearest window": lambda: nearest_scores(train, test, length, alone),
        "squared z-score": lambda: squared_z(test),
    }


def varied(series, n_values=2):
    """The columns with more than `n_values` different values: not constants, commands or states.

    All columns, if none has.
    """
    x = series.holes
    counts = [len(np.unique(column[~np.isnan(column)])) for column in x.T]
    return [j for j, count in enumerate(counts) if count > n_values] or list(range(len(counts)))


def by_column(train, test, length, seed=0):
    """Sum over columns of the scores of a Gaussian of windows of each column alone, [T]."""
    scores = [
        WindowGaussian.fit(train.columns([j]), length, RIDGE, seed=seed).scores(test.columns([j]))
        for j in range(test.x.shape[1])
    ]
    return np.where(np.isnan(scores).all(0), np.nan, np.nansum(scores, 0))


def squared_z(series):
    """Mean square of the observed cells of a standardised row, [T]; NaN where it has none."""
    n = series.mask.sum(1)
    return np.where(n > 0, (series.x**2).sum(1) / np.maximum(n, 1), np.nan)


def pca_scores(train, test, length, seed=0):
    """Mean squared residual of the observed cells of windows, for PCA of PCA_SHARE, [T]."""
    from sklearn.decomposition import PCA

    rows = fitting_windows(train, length, seed)
    # The residual is 0 where nothing varies, and no share can be taken.
    pca = PCA(PCA_SHARE, svd_solver="full").fit(rows) if rows.var(0).any() else None

    def score(x, mask):
        rebuilt = rows.mean(0) if pca is None else pca.inverse_transform(pca.transform(x))
        error = np.square(x - rebuilt)
        return (error * mask).sum(1) / np.maximum(mask.sum(1), 1)

    return of_windows(score, test, length)


def forest_scores(train, test, length, seed=0):
    """Scores of an isolation forest of windows, [T]."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(random_state=seed).fit(fitting_windows(train, length, seed))
    return of_windows(lambda x, mask: -forest.score_samples(x), test, length)


def nearest_scores(train, test, length, alone=False, normalised=True):
    """Distance of each window to the nearest one of `train`, [T], as of a matrix profile.

    Windows are `normalised` to mean 0 and standard deviation 1, column by column, by default. If
    the series stand `alone` (the rows of train are those of test), windows that overlap by half or
    more do not count.
    Where all pairs cost too much, the search takes every k-th window of both.
    """
    known, asked = starts_of(train.bounds, length), starts_of(test.bounds, length)
    if not len(known) or not len(asked):
        return np.full(len(test.x), np.nan)
    n_cells = length * test.x.shape[1]
    step = max(1, int(np.ceil((len(known) * len(asked) * n_cells / MAX_PAIRS) ** 0.5)))
    known, asked = known[::step], starts_of(test.bounds, length, step)
    filled = (filled_linearly(train), filled_linearly(test))
    among = shapes(filled[0], known, length, normalised)
    scores = np.empty(len(asked))
    for i in range(0, len(asked), CHUNK):
        at = asked[i : i + CHUNK]
        rows = shapes(filled[1], at, length, normalised)
        square = (rows**2).sum(1)[:, None] + (among**2).sum(1) - 2 * rows @ among.T
        if alone:
            square[np.abs(at[:, None] - known) <= length // 2] = np.inf
        scores[i : i + CHUNK] = np.sqrt(square.min(1).clip(min=0))
    return laid_back(scores, asked, length, len(test.x))


def shapes(series, starts, length, normalised):
    """Windows in float32, [n, C], each column of each of mean 0 and deviation 1 if `normalised`."""
    x = windows_at(series, starts, length)[0].reshape(len(starts), length, -1)
    if normalised:
        std = x.std(1, keepdims=True)
        # A flat stretch has no shape; divided by its tiny deviation it would be noise.
        x = (x - x.mean(1, keepdims=True)) / np.where(std > 1e-3, std, 1)
    return x.reshape(len(starts), -1).astype(np.float32)


def fitting_windows(series, length, seed):
    """Windows [n, C] of a sample, their holes interpolated."""
    series = filled_linearly(series)
    starts = starts_of(series.bounds, length, partial=True)
    most = max(1000, MAX_CELLS // (length * series.x.shape[1]))
    return windows_at(series, sampled(starts, most, seed), length)[0]


def of_windows(score, series, length):
    """Scores of rows, [T], by a function from windows, their holes interpolated, and masks."""
    filled = filled_linearly(series)
    starts = starts_of(series.bounds, length, partial=True)
    found = [np.zeros(0)]
    for i in range(0, len(starts), 4 * CHUNK):
        at = starts[i : i + 4 * CHUNK]
        x = windows_at(filled, at, length)[0]
        found.append(score(x, windows_at(series, at, length)[1]))
    return laid_back(np.concatenate(found), starts, length, len(series.x))


# Fills


def fillers(train, test, length, period=None, seed=0):
    """Map names of methods to functions that fill the holes of `test`, [T, D].

    `period` is a number of rows, or None for a series without a season.
    """
    moments = train.moments()
    known, asked = (series.standardised(*moments) for series in (train, test))

    def in_units(values):
        return np.where(test.mask, test.x, moments[0] + moments[1] * values)

    found = {
        GAUSSIAN: lambda: in_units(WindowGaussian.fit(known, length, seed=seed).fill(asked)[0]),
        "linear interpolation": lambda: in_units(interpolated(asked)),
        "last value": lambda: in_units(carried_forward(asked)),
    }
    if period:
        found["season + linear"] = lambda: in_units(seasonal(known, asked, period))
    return found


def interpolated(series):
    """Holes [T, D] on the line between their neighbours in the segment; beyond the first and the
    last one the nearest value, and the mean of the column where a segment has none.
    """
    filled = np.where(series.mask, series.x, series.moments()[0])
    for first, end in series.bounds:
        rows = np.arange(first, end)
        for j in range(series.x.shape[1]):
            seen = rows[series.mask[first:end, j]]
            if len(seen):
                filled[first:end, j] = np.interp(rows, seen, series.x[seen, j])
    return filled


def filled_linearly(series):
    """The series without holes, by `interpolated`."""
    if series.mask.all():
        return series
    return type(series)(interpolated(series), np.ones_like(series.mask), series.bounds)


def carried_forward(series):
    """Holes [T, D] by the last value before them in the segment, or the mean of the column."""
    last = last_seen(series)
    x = np.take_along_axis(series.x, last.clip(min=0), 0)
    return np.where(last >= 0, x, series.moments()[0])


def last_seen(series):
    """Row of the last observed cell of the column up to each row, in its segment; -1 for none."""
    row = np.where(series.mask, np.arange(len(series.x))[:, None], -1)
    last = np.full(row.shape, -1)
    for first, end in series.bounds:
        last[first:end] = np.maximum.accumulate(row[first:end], 0)
    return last


def seasonal(train, series, period, offset=0):
    """Holes [T, D] by the mean of their position in the period, and the rest interpolated.

    Row t of both series has position t modulo the period, shifted by `offset` in `series`.
    """
    known, asked = np.arange(len(train.x)), np.arange(len(series.x)) + offset
    return around(season_of(train, known % period, period)[asked % period], series)


def season_of(train, position, period):
    """The mean of the observed rows of `train` at each position of a period, [period, D]; that of
    the column where none is observed. `position` [T] is a whole number below `period`.
    """
    n, total = (np.zeros((period, train.x.shape[1])) for _ in range(2))
    np.add.at(n, position, train.mask)
    np.add.at(total, position, train.x)
    return np.where(n > 0, total / np.maximum(n, 1), train.moments()[0])


def around(season, series):
    """Holes [T, D] by the season of their row [T, D], and the rest interpolated."""
    rest = type(series)((series.x - season) * series.mask, series.mask, series.bounds)
    return season + interpolated(rest)


# One step ahead


def last_value(series):
    """The last observed value before each row in its segment, [T, D]; NaN where there is none."""
    return seasonal_last_value(series, 1)


def seasonal_last_value(series, period):
    """The value one period before each row, or else the last one before it, [T, D]."""
    last = last_seen(series)
    found = np.full(series.x.shape, np.nan)
    for first, end in series.bounds:
        rows = np.arange(first + 1, end)
        before = last[rows - 1]
        if period > 1:
            back = np.maximum(rows - period, 0)
            known = ((rows - period) >= first)[:, None] & series.mask[back]
            before = np.where(known, back[:, None], before)
        values = np.take_along_axis(series.x, before.clip(min=0), 0)
        found[rows] = np.where(before >= 0, values, np.nan)
    return found


class Autoregression:
    """An AR(1) of each column: x_t - m = phi (x_t-1 - m) + noise, m and s the moments of x."""

    def __init__(self, mean, std, phi):
        self.mean, self.std, self.phi = mean, std, phi

    @classmethod
    def fit(cls, series):
        """From the correlation of observed neighbours in a segment."""
        mean, std = series.moments()
        z = series.standardised(mean, std)
        segment = series.segment_of()
        pair = ((segment[1:] == segment[:-1]) & (segment[1:] >= 0))[:, None]
        pair = pair & z.mask[1:] & z.mask[:-1]
        both = (z.x[1:] * z.x[:-1] * pair).sum(0)
        scale = np.sqrt((z.x[1:] ** 2 * pair).sum(0) * (z.x[:-1] ** 2 * pair).sum(0))
        phi = np.where(scale > 0, both / np.where(scale > 0, scale, 1), 0)
        return cls(mean, std, phi.clip(-MAX_PHI, MAX_PHI))

    def predict(self, series):
        """Mean and variance of each cell [T, D] given those before it in its segment."""
        last = last_seen(series)
        before = np.full(last.shape, -1)
        for first, end in series.bounds:
            before[first + 1 : end] = last[first : end - 1]
        apart = np.arange(len(last))[:, None] - before
        power = np.where(before >= 0, self.phi ** np.where(before >= 0, apart, 1), 0.0)
        r = np.take_along_axis(series.x, before.clip(min=0), 0) - self.mean
        return self.mean + power * r, self.std**2 * (1 - power**2)

    def log_prob(self, series):
        """log p of each observed cell given those before it, [T, D], nats; 0 where missing."""
        mean, variance = self.predict(series)
        log_prob = -0.5 * (LOG_2PI + np.log(variance) + (series.x - mean) ** 2 / variance)
        return np.where(series.mask, log_prob, 0.0)
