"""Windows of series with holes, in segments, and scores of windows laid back on rows.

A segment is a run of consecutive rows of one group without a long gap: no window crosses its ends.
"""

from typing import NamedTuple

import numpy as np


class Series(NamedTuple):
    """x [T, D] in float64, 0 where missing; mask [T, D]; first row and end of segments [S, 2]."""

    x: np.ndarray
    mask: np.ndarray
    bounds: np.ndarray

    @classmethod
    def of(cls, x, mask=None, bounds=None):
        """Of x [T, D] or [T]; a NaN is a hole; one segment unless `bounds` are given."""
        x = np.asarray(x, np.float64)
        x = x[:, None] if x.ndim == 1 else x
        mask = np.isfinite(x) & (True if mask is None else np.asarray(mask) > 0)
        bounds = np.array([[0, len(x)]]) if bounds is None else np.asarray(bounds)
        return cls(np.where(mask, x, 0.0), mask, bounds)

    @classmethod
    def of_windows(cls, x, mask=None):
        """Of windows [n, L, D], each a segment of its own."""
        n, length, n_columns = np.shape(x)
        ends = length * np.arange(n + 1)
        mask = None if mask is None else np.reshape(mask, (-1, n_columns))
        return cls.of(np.reshape(x, (-1, n_columns)), mask, np.stack([ends[:-1], ends[1:]], 1))

    @property
    def holes(self):
        """x with NaN where a cell is missing."""
        return np.where(self.mask, self.x, np.nan)

    def columns(self, chosen):
        """The series of some of its columns."""
        return Series(self.x[:, chosen], self.mask[:, chosen], self.bounds)

    def moments(self):
        """Mean and standard deviation of the observed cells of each column; 0 and 1 for none."""
        n = self.mask.sum(0).clip(min=1)
        mean = self.x.sum(0) / n
        std = np.sqrt((np.where(self.mask, self.x - mean, 0) ** 2).sum(0) / n)
        return mean, np.where(std > 1e-12 * np.maximum(1, np.abs(mean)), std, 1.0)

    def standardised(self, mean, std):
        """The series in standard deviations from the mean."""
        return Series(np.where(self.mask, (self.x - mean) / std, 0.0), self.mask, self.bounds)

    def segment_of(self):
        """The number of the segment of each row, [T], -1 for none."""
        number = np.full(len(self.x), -1)
        for i, (first, end) in enumerate(self.bounds):
            number[first:end] = i
        return number


def starts_of(bounds, length, stride=1, partial=False):
    """First rows of the windows of a segment, one every `stride` rows, and a last one at its end.

    A segment that is shorter than a window has none, unless `partial`: then one that begins with
    it and whose cells beyond the end are missing.
    """
    starts = []
    for first, end in bounds:
        last = end - length
        if last >= first:
            starts.append(np.unique(np.append(np.arange(first, last + 1, stride), last)))
        elif partial and end > first:
            starts.append(np.array([first]))
    return np.concatenate(starts) if starts else np.zeros(0, np.int64)


def windows_at(series, starts, length):
    """x and mask of the windows that begin at `starts`, [n, L D], step by step."""
    rows = starts[:, None] + np.arange(length)  # [n, L]
    segment = np.searchsorted(series.bounds[:, 0], starts, side="right") - 1
    inside = rows < series.bounds[segment, 1:]
    rows = np.minimum(rows, len(series.x) - 1)
    mask = (series.mask[rows] & inside[:, :, None]).reshape(len(starts), -1)
    return series.x[rows].reshape(len(starts), -1) * mask, mask


def sampled(starts, most, seed=0):
    """At most `most` of the starts, in order."""
    if len(starts) <= most:
        return starts
    return np.sort(np.random.default_rng(seed).choice(starts, most, replace=False))


def laid_back(scores, starts, length, n_rows):
    """The mean score of the windows that cover a row, [T]; NaN where none does."""
    total, count = np.zeros(n_rows + 1), np.zeros(n_rows + 1)
    ends = np.minimum(starts + length, n_rows)
    finite = np.isfinite(scores)
    for sign, at in ((1, starts[finite]), (-1, ends[finite])):
        np.add.at(total, at, sign * scores[finite])
        np.add.at(count, at, sign)
    total, count = total.cumsum()[:-1], np.rint(count.cumsum()[:-1])
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
