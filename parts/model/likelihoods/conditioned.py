"""The cells of a window that are missing, given the observed ones, under N(0, T^-1 exp(2g) T^-T).

T is lower triangular and g the log-scale of the innovations. The conditional is found by the
precision of the missing cells or by the covariance of the observed ones, whichever are fewer.

Shapes: N Gaussians, n cells, m of them missing and o observed, K draws; all in float64.
"""

from functools import cached_property

import torch

from parts.model.normal import LOG_2PI


class Triangle:
    """T [n, n] and what many windows share of it."""

    def __init__(self, T):
        self.T = T

    @cached_property
    def inverse(self):
        identity = torch.eye(len(self.T)).to(self.T)
        return torch.linalg.solve_triangular(self.T, identity, upper=False)

    @cached_property
    def precision(self):
        """Where g is 0."""
        return self.T.mT @ self.T

    @cached_property
    def covariance(self):
        """Where g is 0."""
        return self.inverse @ self.inverse.mT

    def precisions(self, cells, g=None):
        """The precision of the cells marked in `cells` [n], [N, m, m]."""
        if g is None:
            return self.precision[cells][:, cells].unsqueeze(0)
        columns = self.T[:, cells]
        return columns.mT @ (torch.exp(-2 * g).unsqueeze(-1) * columns)

    def covariances(self, rows, columns, g=None):
        """The covariances of the cells marked in `rows` with those in `columns`, [N, ., .]."""
        if g is None:
            return self.covariance[rows][:, columns].unsqueeze(0)
        weighted = self.inverse[rows] * torch.exp(2 * g).unsqueeze(-2)
        return weighted @ self.inverse[columns].mT

    def covaried(self, weights, cells, g=None):
        """Weights [K, o] times the covariances of the o marked `cells` with all, [K, n]; g is one
        for all [n], or one for each [K, n].
        """
        if g is None:
            return weights @ self.covariance[cells]
        return (torch.exp(2 * g) * (weights @ self.inverse[cells])) @ self.inverse.mT

    def given(self, r, missing, g=None):
        """The conditional of the cells marked in `missing` [n] of one window, N times: r [N, n],
        0 where it is missing, and g [N, n], or g = 0 and N = 1.
        """
        few = 2 * int(missing.sum()) <= len(missing)
        return (ByPrecision if few else ByCovariance)(self, r, missing, g)


class ByPrecision:
    """The conditional by the precision of the missing cells: `mean` [N, m], and `log_prob` [N] of
    the observed ones.
    """

    def __init__(self, triangle, r, missing, g):
        e, log_det = r @ triangle.T.mT, triangle.T.diagonal().log().sum()
        weighted = e
        if g is not None:
            weighted, log_det = torch.exp(-2 * g) * e, log_det - g.sum(-1)
        self.missing = missing
        self.root = torch.linalg.cholesky(triangle.precisions(missing, g))
        u = -(weighted @ triangle.T[:, missing]).unsqueeze(-1)
        mean = torch.cholesky_solve(u, self.root)
        least = (e * weighted).sum(-1) - (u * mean).sum((-2, -1))
        log_det = log_det - self.root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        self.mean = mean.squeeze(-1)
        self.log_prob = log_det - 0.5 * (least + LOG_2PI * (~missing).sum())

    @cached_property
    def variance(self):
        """Of each missing cell, [N, m]."""
        return torch.cholesky_inverse(self.root).diagonal(dim1=-2, dim2=-1)

    @property
    def n_noise(self):
        """Standard normal numbers that a draw takes."""
        return self.root.shape[-1]

    def deviations(self, k, noise):
        """Joint draws of the missing cells under Gaussian k less its mean, [K, m], from standard
        normal numbers [K, n_noise].
        """
        return torch.linalg.solve_triangular(self.root[k].mT, noise.mT, upper=True).mT


class ByCovariance:
    """The conditional by the covariance of the observed cells, with what `ByPrecision` has. A draw
    is one of the whole window that is moved to what was observed (Hoffman & Ribak 1991).
    """

    def __init__(self, triangle, r, missing, g):
        self.triangle, self.missing, self.g = triangle, missing, g
        self.root = torch.linalg.cholesky(triangle.covariances(~missing, ~missing, g))
        observed = r[:, ~missing]
        weights = torch.cholesky_solve(observed.unsqueeze(-1), self.root).squeeze(-1)
        self.mean = triangle.covaried(weights, ~missing, g)[:, missing]
        log_det = self.root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        least = (observed * weights).sum(-1)
        self.log_prob = -log_det - 0.5 * (least + LOG_2PI * (~missing).sum())

    @cached_property
    def variance(self):
        hidden = self.triangle.inverse[self.missing].square()  # [m, n]
        own = hidden.sum(-1) if self.g is None else torch.exp(2 * self.g) @ hidden.mT
        across = self.triangle.covariances(~self.missing, self.missing, self.g)
        known = torch.linalg.solve_triangular(self.root, across, upper=False)
        return own - known.square().sum(-2)

    @property
    def n_noise(self):
        return len(self.missing)

    def deviations(self, k, noise):
        g = None if self.g is None else self.g[k]
        scaled = noise if g is None else torch.exp(g) * noise
        whole = scaled @ self.triangle.inverse.mT
        weights = torch.cholesky_solve(whole[:, ~self.missing].mT, self.root[k]).mT
        return (whole - self.triangle.covaried(weights, ~self.missing, g))[:, self.missing]


class Scaled:
    """The conditional of cells that are `unit` [N, n] times those of another one."""

    def __init__(self, given, unit):
        self.given, self.missing, self.n_noise = given, given.missing, given.n_noise
        self.unit = unit[:, given.missing]
        self.mean = self.unit * given.mean
        self.log_prob = given.log_prob - unit[:, ~given.missing].log().sum(-1)

    @property
    def variance(self):
        return self.unit.square() * self.given.variance

    def deviations(self, k, noise):
        return self.unit[k] * self.given.deviations(k, noise)
