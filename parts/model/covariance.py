"""Gaussians with a full covariance whose missing cells are marginalised exactly; all in float64.

`Dense`, `Scaled` and `LowRank` are kinds of noise: densities, of the first two with a hand-written
gradient, conditionals and draws. `fit_gaussian` is the maximum likelihood of rows with holes.

Shapes: B rows, N whatever else there is of a row (samples, members), D columns, G distinct masks.
Residuals r [N, B, D] hold 0 where a cell is missing, and a mask [B, D] is 1 where it is observed.
"""

import math
from typing import NamedTuple

import torch

from parts.model.normal import LOG_2PI

N_FITTED, MAX_FLOATS = 1500, 2**23  # most rows with holes for a Gaussian; n D^2 of their matrices
MAX_ROUNDS, TOLERANCE = 20, 1e-2  # of expectation and maximisation; of the fall of a log-eigenvalue
MAX_BITS = 52  # of a whole number in float64
MIN_RATIO = 1e-11  # of a covariance's eigenvalue to 1: float32 resolves 1e-7 of a number


class Masks(NamedTuple):
    """The distinct masks [G, D] of some rows, and the number of each row's mask [B]."""

    distinct: torch.Tensor
    of_row: torch.Tensor

    @classmethod
    def of(cls, mask, covariance):
        """Of a mask [B, D] in float64, or of complete rows where it is None."""
        if mask is None:
            return cls(covariance.new_ones(1, len(covariance)), None)
        if mask.shape[1] > MAX_BITS:
            return cls(*torch.unique(mask, dim=0, return_inverse=True))
        # As one number, whose bits are the mask, it is found fifteen times as fast.
        bits = 2.0 ** torch.arange(mask.shape[1], dtype=mask.dtype, device=mask.device)
        numbers, of_row = torch.unique((mask > 0).to(mask) @ bits, return_inverse=True)
        return cls(torch.floor(numbers.unsqueeze(-1) / bits) % 2, of_row)

    def rows_of(self, matrices):
        """The matrix of each row, [B, D, D], from one for each mask, [G, D, D]."""
        return matrices if len(matrices) == 1 else matrices[self.of_row]

    def sums(self, per_row):
        """Sums over the rows of each mask, [G, ...], from [B, ...]."""
        if len(self.distinct) == 1:
            return per_row.sum(0, keepdim=True)
        total = per_row.new_zeros(len(self.distinct), *per_row.shape[1:])
        return total.index_add_(0, self.of_row, per_row)


def times(r, matrices):
    """Each row times its matrix: r [N, B, D], matrices [B, D, D] or [1, D, D] -> [N, B, D]."""
    if len(matrices) == 1:
        return r @ matrices[0]
    return (r.transpose(0, 1) @ matrices).transpose(0, 1)


def outer(masks):
    """1 where both cells of a pair are observed, [G, D, D]."""
    return masks.unsqueeze(-1) * masks.unsqueeze(-2)


def blocks_of(covariance, masks):
    """The observed block of a covariance, and I elsewhere, [G, D, D]."""
    blocks = covariance * outer(masks)
    blocks.diagonal(dim1=-2, dim2=-1).add_(1 - masks)
    return blocks


def inverse_roots(covariance, masks):
    """J [G, D, D] with J' J the inverse of the observed block of a covariance, and of I elsewhere;
    and the log-determinant of that block [G], NaN where it is not positive definite.
    """
    root, failed = torch.linalg.cholesky_ex(blocks_of(covariance, masks))
    identity = torch.eye(masks.shape[-1], dtype=root.dtype, device=root.device)
    inverse = torch.linalg.solve_triangular(root, identity, upper=False)
    log_det = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return inverse, torch.where(failed > 0, torch.nan, log_det)


class LogNormal(torch.autograd.Function):
    """See `log_normal`. With P the inverse of the observed block S and u = P r, the gradient of
    log p in r is -u, and in S it is (u u' - P) / 2: no backward pass goes through a Cholesky.
    """

    @staticmethod
    def forward(ctx, r, covariance, distinct, of_row):
        masks = Masks(distinct, of_row)
        inverse, log_det = inverse_roots(covariance, distinct)
        of_rows = masks.rows_of(inverse)
        v = times(r, of_rows.mT)
        u = times(v, of_rows)
        ctx.save_for_backward(u, inverse)
        ctx.masks = masks
        constant = log_det + LOG_2PI * distinct.sum(-1)
        constant = constant if len(constant) == 1 else constant[of_row]
        return -0.5 * (v.square().sum(-1) + constant)

    @staticmethod
    def backward(ctx, grad):
        u, inverse = ctx.saved_tensors
        grad_r = -grad.unsqueeze(-1) * u
        flat = u.flatten(0, 1)
        of_u = (grad.flatten().unsqueeze(-1) * flat).mT @ flat
        weights = ctx.masks.sums(grad.sum(0))  # [G]
        rows = inverse.flatten(0, 1)  # [G D, D]
        of_p = (weights.repeat_interleave(inverse.shape[-1]).unsqueeze(-1) * rows).mT @ rows
        of_p.diagonal().sub_(weights @ (1 - ctx.masks.distinct))
        return grad_r, 0.5 * (of_u - of_p), None, None


def log_normal(r, covariance, masks):
    """log N(r; 0, covariance) of the observed cells, [N, B], nats."""
    return LogNormal.apply(r, covariance, *masks)


def eigen(covariance, masks):
    """Eigenvalues [G, D] and vectors [G, D, D] of the observed blocks; 0 for what is missing.

    The values are NaN where the covariance is not finite, which torch.linalg.eigh refuses.
    """
    blocks = covariance * outer(masks)
    finite = blocks.isfinite().all()
    values, vectors = torch.linalg.eigh(torch.where(finite, blocks, 0.0))
    return torch.where(finite, values.clamp(min=0), torch.nan), vectors


class LogScaledNormal(torch.autograd.Function):
    """See `log_scaled_normal`; the gradient as in `LogNormal`, by one eigendecomposition of each
    mask for all scales.
    """

    @staticmethod
    def forward(ctx, r, covariance, scale, floor, distinct, of_row):
        masks = Masks(distinct, of_row)
        values, vectors = eigen(covariance, distinct)
        of_rows = masks.rows_of(vectors)
        m = values if of_row is None else masks.rows_of(values)  # [B, D] or [1, D]
        variance = scale.unsqueeze(-1) * m + floor  # [N, B, D]
        v = times(r, of_rows)
        u = times(v / variance, of_rows.mT)
        ctx.save_for_backward(v, u, variance, m, scale, vectors)
        ctx.masks = masks
        n_observed = distinct.sum(-1)
        # A missing cell has eigenvalue 0 and left log(floor) in the sum.
        constant = LOG_2PI * n_observed - math.log(floor) * (distinct.shape[-1] - n_observed)
        constant = constant if len(constant) == 1 else constant[of_row]
        return -0.5 * ((v.square() / variance + variance.log()).sum(-1) + constant)

    @staticmethod
    def backward(ctx, grad):
        v, u, variance, m, scale, vectors = ctx.saved_tensors
        masks = ctx.masks
        grad_r = -grad.unsqueeze(-1) * u
        weight = grad * scale  # [N, B]
        flat = u.flatten(0, 1)
        of_u = (weight.flatten().unsqueeze(-1) * flat).mT @ flat
        inverse = masks.sums((weight.unsqueeze(-1) / variance).sum(0))  # [G, D]
        of_p = (vectors * inverse.unsqueeze(-2)) @ vectors.mT * outer(masks.distinct)
        grad_covariance = 0.5 * (of_u - of_p.sum(0))
        ratio = m / variance
        grad_scale = 0.5 * grad * (ratio * (v.square() / variance - 1)).sum(-1)
        return grad_r, grad_covariance, grad_scale, None, None, None


def log_scaled_normal(r, covariance, scale, floor, masks):
    """log N(r; 0, scale covariance + floor I) of the observed cells, [N, B]; scale [N, B]."""
    return LogScaledNormal.apply(r, covariance, scale, floor, *masks)


# Noise, by its covariance: each class offers the same five


class Dense:
    """root eps + sqrt(floor) eps', both of N(0, I); root [D, D]."""

    def __init__(self, root, floor=0.0):
        self.root, self.floor = root, floor
        self.covariance = root @ root.mT
        if floor:
            self.covariance = self.covariance + floor * torch.eye(len(root)).to(root)

    @property
    def variance(self):
        """Of each column, [D] or [N, B, D]."""
        return self.covariance.diagonal()

    def masks(self, mask):
        """The Masks of a mask in float64, or of complete rows where it is None."""
        return Masks.of(mask, self.covariance)

    def log_prob(self, r, masks):
        """log p of the observed residuals, [N, B], nats."""
        return log_normal(r, self.covariance, masks)

    def predict(self, r, masks):
        """What observed residuals say of missing ones [N, B, D], and the variance that is left of
        these, which broadcasts against it; 0 for what is observed.
        """
        inverse, _ = inverse_roots(self.covariance, masks.distinct)
        half = inverse @ (masks.distinct.unsqueeze(-1) * self.covariance)  # J S_o: [G, D, D]
        missing = 1 - masks.distinct
        left = (self.variance - half.square().sum(-2)).clamp(min=0) * missing
        gain = inverse.mT @ half * missing.unsqueeze(-2)
        return times(r, masks.rows_of(gain)), masks.rows_of(left)

    def precision(self, r):
        """P r [N, B, D] of complete rows, P the inverse covariance, and the diagonal of P."""
        inverse, _ = inverse_roots(self.covariance, self.masks(None).distinct)
        return r @ (inverse[0].mT @ inverse[0]), inverse[0].square().sum(0)

    def draw(self, r):
        """A draw of noise, of the shape of r."""
        drawn = torch.randn_like(r) @ self.root.mT
        return drawn + math.sqrt(self.floor) * torch.randn_like(r) if self.floor else drawn


class Scaled(Dense):
    """a root eps + sqrt(floor) eps', the scale a [N, B] of each row."""

    def __init__(self, root, floor, scale):
        super().__init__(root)
        self.floor, self.scale, self.square = floor, scale, scale.square().unsqueeze(-1)

    @property
    def variance(self):
        return self.square * self.covariance.diagonal() + self.floor

    def log_prob(self, r, masks):
        return log_scaled_normal(r, self.covariance, self.square.squeeze(-1), self.floor, masks)

    def predict(self, r, masks):
        missing = masks.rows_of(1 - masks.distinct)
        values, vectors = eigen(self.covariance, masks.distinct)
        seen = masks.rows_of(vectors * masks.distinct.unsqueeze(-1))
        weights = 1 / (self.square * masks.rows_of(values) + self.floor)
        u = times(times(r, seen) * weights, seen.mT)
        explained = times(weights, (self.covariance @ seen).square().mT)
        left = (self.variance - self.square.square() * explained).clamp(min=0)
        return self.square * (u @ self.covariance) * missing, left * missing

    def precision(self, r):
        values, vectors = torch.linalg.eigh(self.covariance)
        weights = 1 / (self.square * values.clamp(min=0) + self.floor)
        return (r @ vectors * weights) @ vectors.mT, weights @ vectors.square().mT

    def draw(self, r):
        drawn = self.scale.unsqueeze(-1) * (torch.randn_like(r) @ self.root.mT)
        return drawn + math.sqrt(self.floor) * torch.randn_like(r)


class LowRank:
    """std eps + factors eps', std [D] and factors [D, k]: by Woodbury's identity and the lemma of
    determinants, matrices are of k columns only, whatever the mask.
    """

    def __init__(self, std, factors):
        self.std, self.own, self.factors = std, std.square(), factors

    @property
    def variance(self):
        return self.own + self.factors.square().sum(-1)

    def masks(self, mask):
        return Masks.of(mask, torch.diag(self.own))

    def capacitance(self, masks):
        """The Cholesky root of I + F_o' W_o F_o, W the inverse of own: [G, k, k]."""
        k = self.factors.shape[1]
        pairs = (self.factors.unsqueeze(-1) * self.factors.unsqueeze(-2)).flatten(1)  # [D, k k]
        inner = (masks.distinct / self.own @ pairs).unflatten(-1, (k, k))
        return torch.linalg.cholesky_ex(inner + torch.eye(k).to(inner))[0]

    def project(self, r):
        """F' W r, [N, B, k]."""
        return r / self.own @ self.factors

    def log_prob(self, r, masks):
        root = self.capacitance(masks)
        log_det = 2 * root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        constant = log_det + masks.distinct @ (LOG_2PI + self.own.log())  # [G]
        constant = constant if masks.of_row is None else constant[masks.of_row]
        projected = self.project(r).movedim(0, -1)  # [B, k, N]
        half = torch.linalg.solve_triangular(masks.rows_of(root), projected, upper=False)
        quad = (r.square() / self.own).sum(-1) - half.square().sum(-2).mT
        return -0.5 * (quad + constant)

    def predict(self, r, masks):
        missing = masks.rows_of(1 - masks.distinct)
        root = self.capacitance(masks)
        inverse = torch.cholesky_inverse(root)  # [G, k, k]
        expected = times(self.project(r), masks.rows_of(inverse))  # of eps', [N, B, k]
        left = self.own + ((self.factors @ inverse) * self.factors).sum(-1)  # [G, D]
        return expected @ self.factors.mT * missing, masks.rows_of(left) * missing

    def precision(self, r):
        inverse = torch.cholesky_inverse(self.capacitance(self.masks(None)))[0]
        scaled = self.factors / self.own.unsqueeze(-1)
        diagonal = 1 / self.own - ((scaled @ inverse) * scaled).sum(-1)
        return r / self.own - self.project(r) @ inverse @ scaled.mT, diagonal

    def draw(self, r):
        eps = torch.randn(*r.shape[:-1], self.factors.shape[1], dtype=r.dtype, device=r.device)
        return self.std * torch.randn_like(r) + eps @ self.factors.mT


def expect(r, covariance, mask):
    """Residuals r [B, D] of one Gaussian, the missing ones by their expectation. For one residual
    of each row this is faster than `Dense.predict`.
    """
    root, _ = torch.linalg.cholesky_ex(blocks_of(covariance, mask))
    weights = torch.cholesky_solve(r.unsqueeze(-1), root).squeeze(-1)
    return torch.where(mask > 0, r, weights @ covariance)


# Rows -> one Gaussian


class OneGaussian(NamedTuple):
    """mean [D] and covariance [D, D] in float64, fitted to n rows."""

    mean: torch.Tensor
    covariance: torch.Tensor
    n: int


@torch.no_grad()
def fit_gaussian(x, mask=None):
    """The OneGaussian of maximum likelihood of rows x [n, D], by EM where cells are missing.

    Of rows with holes the first N_FITTED are taken, and fewer where they are wide.
    """
    if mask is None or bool(mask.all()):
        mean = x.mean(0)
        r = x - mean
        return OneGaussian(mean, r.mT @ r / len(x), len(x))
    most = max(1, min(N_FITTED, MAX_FLOATS // x.shape[1] ** 2))
    x, mask = x[:most] * mask[:most], mask[:most]
    n = mask.sum(0).clamp(min=1)
    mean = x.sum(0) / n
    r = (x - mean) * mask
    covariance = pairwise(r, mask)
    masks = Masks.of(mask, covariance)
    share = masks.sums(x.new_ones(len(x))) / len(x)  # of rows, by mask
    before = torch.linalg.eigvalsh(covariance)
    for _ in range(MAX_ROUNDS):
        r = (x - mean) * mask
        inverse, _ = inverse_roots(covariance, masks.distinct)
        half = inverse @ (masks.distinct.unsqueeze(-1) * covariance)
        gain = inverse.mT @ half
        left = covariance - half.mT @ half  # of missing cells, [G, D, D]
        hidden = 1 - masks.distinct
        filled = r + times(r.unsqueeze(0), masks.rows_of(gain)).squeeze(0) * (1 - mask)
        shift = filled.mean(0)
        mean, filled = mean + shift, filled - shift
        rest = (share[:, None, None] * left * outer(hidden)).sum(0)
        covariance = filled.mT @ filled / len(x) + rest
        covariance = covariance + MIN_RATIO * torch.eye(len(mean)).to(covariance)
        now = torch.linalg.eigvalsh(covariance)
        if (now / before).log().abs().max() < TOLERANCE:
            break
        before = now
    return OneGaussian(mean, covariance, len(x))


def pairwise(r, mask):
    """A covariance from the pairs of observed cells, its eigenvalues raised to at least 0.01 of
    the mean variance: where EM starts.
    """
    n = (mask.mT @ mask).clamp(min=1)
    values, vectors = torch.linalg.eigh(r.mT @ r / n)
    floor = 0.01 * values.mean().clamp(min=1e-6)
    return (vectors * values.clamp(min=floor)) @ vectors.mT
