"""Gaussian and Student-t of windows with holes: the closed-form model of a series.

Shapes: n windows of L steps and D columns, C = L D cells; x and mask [n, C], all in float64.
"""

from typing import NamedTuple

import numpy as np
import torch

from parts.measure.windows import laid_back, sampled, starts_of, windows_at
from parts.model.covariance import blocks_of, outer
from parts.model.normal import LOG_2PI

RIDGE = 1e-3  # added to the variance of a cell, in squared standard deviations
START_RIDGE = 1e-2  # of the start of EM, whose negative eigenvalues are noise
BATCH, POWER = 500, 0.3  # windows of a round of EM; round k moves by k ** -POWER of the way
MIN_ROUNDS, MORE_ROUNDS = 20, 150  # rounds without holes, and the more for nothing but holes
MAX_WORK = 8e10  # multiplications of these rounds: about 20 s
MAX_CELLS = 2**24  # of the complete windows for a covariance
MAX_BATCHED = 48  # most cells of narrow windows
CHUNK = 4096  # windows at a time
NU, T_ROUNDS = 10, 8  # degrees of freedom of the t, and its rounds of reweighting


class Seen(NamedTuple):
    """Of windows: u = S r with S the inverse of the observed block of the covariance, and 0
    elsewhere; r' S r [n]; and the log-determinant of the block [n].
    """

    u: torch.Tensor
    square: torch.Tensor
    log_det: torch.Tensor


class WindowGaussian:
    """N(mean, covariance) of windows; a Student-t with that scale matrix where `nu` is given."""

    def __init__(self, mean, covariance, length, nu=None):
        self.mean, self.covariance, self.length, self.nu = mean, covariance, length, nu
        root = torch.linalg.cholesky(covariance)
        self.inverse = torch.cholesky_inverse(root)
        self.log_det = 2 * root.diagonal().log().sum()

    # Fitting

    @classmethod
    def fit(cls, series, length, ridge=RIDGE, nu=None, stride=1, seed=0):
        """Fit to the windows of a series, by EM from `toeplitz` where cells are missing."""
        starts = starts_of(series.bounds, length, stride)
        if not len(starts):
            return cls.toeplitz(series, length, ridge)
        n_cells = length * series.x.shape[1]
        if series.mask.all():
            starts = sampled(starts, max(2 * n_cells, MAX_CELLS // n_cells), seed)
            return cls.fit_windows(windows_at(series, starts, length)[0], length, ridge, nu)
        model = cls.toeplitz(series, length, START_RIDGE)
        # The stochastic EM of Cappe and Moulines 2009: each round sees other windows, so that all
        # of them count at the cost of a few. EM is slow where much is missing.
        rng = np.random.default_rng(seed)
        order, left = np.zeros(0, np.int64), MAX_WORK
        for k in range(round(MIN_ROUNDS + MORE_ROUNDS * (1 - series.mask.mean()))):
            order = order if len(order) else rng.permutation(starts)
            x, mask = windows_at(series, order[:BATCH], length)
            order, n_seen = order[BATCH:], mask.sum(1)
            mean, covariance = model.improved(x, mask)
            covariance = covariance + ridge * torch.eye(n_cells, dtype=torch.float64)
            share = (k + 1) ** -POWER
            mean = model.mean + share * (mean - model.mean)
            covariance = model.covariance + share * (covariance - model.covariance)
            model = cls(mean, covariance, length)
            left -= (np.minimum(n_seen, n_cells - n_seen).astype(float) ** 3).sum()
            if left < 0:
                break
        return model

    @classmethod
    def fit_windows(cls, x, length, ridge=RIDGE, nu=None):
        """Fit to complete windows x [n, C]."""
        x = torch.as_tensor(x, dtype=torch.float64)
        weights = x.new_ones(len(x))
        for _ in range(1 if nu is None else T_ROUNDS):
            mean = weights @ x / weights.sum()
            r = x - mean
            covariance = (r.mT * weights) @ r / len(x) + ridge * torch.eye(x.shape[1]).to(x)
            model = cls(mean, covariance, length, nu)
            if nu is not None:  # Liu and Rubin 1995: a window far away counts less
                square = ((r @ model.inverse) * r).sum(1)
                weights = (nu + x.shape[1]) / (nu + square)
        return model

    @classmethod
    def toeplitz(cls, series, length, ridge=RIDGE):
        """From the covariances at each lag of the pairs of observed cells, as if every step of a
        window had the same mean and covariance; the negative eigenvalues are raised to the ridge.
        """
        mean, _ = series.moments()
        n_columns = len(mean)
        r, seen = np.where(series.mask, series.x - mean, 0), series.mask.astype(np.float64)
        segment = series.segment_of()
        variance = (r**2).sum(0) / seen.sum(0).clip(min=1)
        blocks = np.zeros((length, n_columns, n_columns))
        for lag in range(min(length, len(r))):
            together = (segment[: len(r) - lag] == segment[lag:]) & (segment[lag:] >= 0)
            early, late = slice(0, len(r) - lag), slice(lag, None)
            n = (seen[early] * together[:, None]).T @ seen[late]
            blocks[lag] = (r[early] * together[:, None]).T @ r[late] / np.maximum(n, 1)
            # A few pairs would say anything.
            blocks[lag] *= n / (n + 10)
        blocks[0][np.diag_indices(n_columns)] = variance
        lag = np.arange(length) - np.arange(length)[:, None]  # of the column's step to the row's
        full = blocks[np.abs(lag)]  # [L, L, D, D]
        full = np.where((lag < 0)[:, :, None, None], full.transpose(0, 1, 3, 2), full)
        full = full.transpose(0, 2, 1, 3).reshape(length * n_columns, -1)
        values, vectors = np.linalg.eigh((full + full.T) / 2)
        full = (vectors * (values.clip(min=0) + ridge)) @ vectors.T
        return cls(
            torch.as_tensor(np.tile(mean, length)), torch.as_tensor((full + full.T) / 2), length
        )

    def improved(self, x, mask):
        """The Gaussian after one round of expectation and maximisation on windows with holes."""
        x, mask = as_windows(x, mask)
        seen, inverse = self.look(x, mask, summed=True)
        pull = seen.u.mean(0)
        moved = seen.u.mT @ seen.u / len(x) - torch.outer(pull, pull)
        # Exact: the expected second moments are C + C (u u' - S) C, summed over windows.
        change = self.covariance @ (moved - inverse / len(x)) @ self.covariance
        covariance = self.covariance + change
        return self.mean + pull @ self.covariance, (covariance + covariance.mT) / 2

    # Windows with holes

    def look(self, x, mask, groups=None, summed=False):
        """What is Seen of windows, and the sum over windows of S [C, C] if `summed`.

        Windows with one mask share the work, which is done on the observed cells or on the missing
        ones, whichever are fewer.
        """
        r = torch.where(mask, x - self.mean, 0.0)
        if r.shape[1] <= MAX_BATCHED:
            return self.look_at_once(r, mask, summed)
        u, log_det = torch.empty_like(r), r.new_empty(len(r))
        total = torch.zeros_like(self.covariance) if summed else None
        n_inverse, left = 0, torch.zeros_like(self.covariance) if summed else None
        whole = None
        for rows, seen, missing in groups_of(mask) if groups is None else groups:
            if len(seen) <= len(missing):
                root = torch.linalg.cholesky(self.covariance[seen][:, seen])
                inverse = torch.cholesky_inverse(root) if len(seen) else root
                own = r.new_zeros(len(rows), r.shape[1])
                own[:, seen] = r[rows][:, seen] @ inverse
                u[rows] = own
                log_det[rows] = 2 * root.diagonal().log().sum()
                if summed:
                    total[seen[:, None], seen] += len(rows) * inverse
                continue
            whole = r @ self.inverse if whole is None else whole
            v = whole[rows]
            n_inverse += len(rows)
            log_det[rows] = self.log_det
            if len(missing):
                root = torch.linalg.cholesky(self.inverse[missing][:, missing])
                inverse = torch.cholesky_inverse(root)
                v = v - v[:, missing] @ inverse @ self.inverse[missing]
                v[:, missing] = 0
                log_det[rows] += 2 * root.diagonal().log().sum()
                if summed:
                    left[missing[:, None], missing] += len(rows) * inverse
            u[rows] = v
        if summed:
            total += n_inverse * self.inverse - self.inverse @ left @ self.inverse
        return Seen(u, (u * r).sum(1), log_det), total

    def look_at_once(self, r, mask, summed):
        """What `look` returns, for narrow windows: one batch of blocks is faster than many small
        steps.
        """
        masks, number = distinct(mask)
        u, log_det = torch.empty_like(r), r.new_empty(len(masks))
        total = torch.zeros_like(self.covariance)
        for first in range(0, len(masks), BATCH):
            some = masks[first : first + BATCH].to(r)
            root = torch.linalg.cholesky(blocks_of(self.covariance, some))
            inverse = torch.cholesky_inverse(root) * outer(some)
            log_det[first : first + BATCH] = 2 * root.diagonal(dim1=1, dim2=2).log().sum(1)
            rows = torch.nonzero((number >= first) & (number < first + BATCH))[:, 0]
            own = number[rows] - first
            for i in range(0, len(rows), BATCH):  # each window copies its block
                at, which = rows[i : i + BATCH], own[i : i + BATCH]
                block = inverse if len(inverse) == 1 else inverse[which]
                u[at] = r[at] @ block[0] if len(inverse) == 1 else (r[at, None] @ block)[:, 0]
            if summed:
                count = torch.bincount(own, minlength=len(some)).to(r)
                total += torch.einsum("g,gcd->cd", count, inverse)
        return Seen(u, (u * r).sum(1), log_det[number]), total

    def log_prob(self, x, mask=None):
        """log p of the observed cells of windows, [n], nats."""
        x, mask = as_windows(x, mask)
        seen, _ = self.look(x, mask)
        n = mask.sum(1)
        if self.nu is None:
            return (-0.5 * (seen.square + seen.log_det + LOG_2PI * n)).numpy()
        # A marginal of a multivariate t is one with the same nu (Kotz and Nadarajah 2004).
        half = (self.nu + n) / 2
        constant = torch.lgamma(half) - torch.lgamma(torch.tensor(self.nu / 2, dtype=x.dtype))
        constant = constant - 0.5 * (n * np.log(self.nu * np.pi) + seen.log_det)
        return (constant - half * torch.log1p(seen.square / self.nu)).numpy()

    def distance(self, x, mask=None):
        """Squared Mahalanobis distance of the observed cells, for each of them, [n]; NaN where a
        window has none.
        """
        x, mask = as_windows(x, mask)
        n = mask.sum(1)
        return torch.where(n > 0, self.look(x, mask)[0].square / n, torch.nan).numpy()

    def predict(self, x, mask):
        """Windows with their missing cells by the conditional mean, and its standard deviation
        [n, C], 0 for observed cells; of a t the scale, without what its tails add.
        """
        x, mask = as_windows(x, mask)
        groups = groups_of(mask)
        seen, _ = self.look(x, mask, groups)
        filled = torch.where(mask, x, self.mean + seen.u @ self.covariance)
        std = torch.zeros_like(x)
        for rows, observed, missing in groups:
            if not len(missing):
                continue
            if len(missing) < len(observed):
                root = torch.linalg.cholesky(self.inverse[missing][:, missing])
                left = torch.cholesky_inverse(root).diagonal()
            else:
                root = torch.linalg.cholesky(self.covariance[observed][:, observed])
                across = self.covariance[observed][:, missing]
                half = torch.linalg.solve_triangular(root, across, upper=False)
                left = self.covariance.diagonal()[missing] - half.square().sum(0)
            std[rows[:, None], missing] = left.clamp(min=0).sqrt()
        return filled.numpy(), std.numpy()

    # Whole series

    def scores(self, series):
        """Score of each row: the mean squared distance of the windows that cover it, [T]."""
        starts = starts_of(series.bounds, self.length, partial=True)
        found = [
            self.distance(*windows_at(series, starts[i : i + CHUNK], self.length))
            for i in range(0, len(starts), CHUNK)
        ]
        return laid_back(np.concatenate([np.zeros(0), *found]), starts, self.length, len(series.x))

    def fill(self, series, stride=None):
        """The series [T, D] with its holes filled, and standard deviations; a cell is filled from
        all windows that cover it, the more so the nearer it is to their middle.
        """
        length, n_columns = self.length, series.x.shape[1]
        starts = starts_of(series.bounds, length, stride or max(1, length // 4), partial=True)
        total, spread = (np.zeros(series.x.shape) for _ in range(2))
        count = np.zeros(len(series.x))
        weights = 1.0 + np.minimum(np.arange(length), np.arange(length)[::-1])
        for i in range(0, len(starts), CHUNK):
            at = starts[i : i + CHUNK]
            found = self.predict(*windows_at(series, at, length))
            rows = at[:, None] + np.arange(length)
            segment = np.searchsorted(series.bounds[:, 0], at, side="right") - 1
            inside = rows < series.bounds[segment, 1:]
            share = np.broadcast_to(weights, rows.shape)[inside]
            for sums, values in zip((total, spread), found, strict=True):
                values = values.reshape(len(at), length, n_columns)[inside]
                np.add.at(sums, rows[inside], share[:, None] * values)
            np.add.at(count, rows[inside], share)
        count = np.maximum(count, 1e-12)[:, None]
        std = np.where(series.mask, 0.0, spread / count)
        return np.where(series.mask, series.x, total / count), std


def as_windows(x, mask):
    """Tensors x in float64, 0 where missing, and mask in bool."""
    x = torch.as_tensor(x, dtype=torch.float64)
    mask = torch.ones_like(x) if mask is None else torch.as_tensor(mask)
    mask = mask > 0
    return torch.where(mask, x, 0.0), mask


def distinct(mask):
    """The distinct masks [G, C], and the number of the mask of each window [n]."""
    packed = np.packbits(mask.numpy(), axis=1)
    packed = packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
    _, first, number = np.unique(packed, return_index=True, return_inverse=True)
    return mask[torch.as_tensor(first)], torch.as_tensor(number)


def groups_of(mask):
    """For each distinct mask: its windows, its observed cells and its missing cells."""
    masks, number = distinct(mask)
    number = number.numpy()
    order = np.argsort(number, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(number))[:-1])
    return [
        (torch.as_tensor(own), torch.nonzero(seen)[:, 0], torch.nonzero(~seen)[:, 0])
        for own, seen in zip(rows, masks, strict=True)
    ]
