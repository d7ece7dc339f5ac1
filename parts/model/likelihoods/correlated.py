"""p(x|z) of real columns with correlated noise: N(mu(z), diag(a(z)) A T T' A' diag(a(z))).

A is fixed by the training rows and T is learned; the decoder gives y(z) with mu(z) = mu0 + A y(z),
and the scales a(z). Missing cells are marginalised exactly.

Shapes: x [B, D], mask [B, D] (1 = observed), params [..., B, n_params]; log-probabilities in nats.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from parts.errors import UserError
from parts.model.batches import observed, sum_columns
from parts.model.covariance import MIN_RATIO, Dense, LowRank, Scaled, expect, fit_gaussian
from parts.model.likelihoods.base import LinearStart
from parts.model.likelihoods.gaussian import MIN_VARIANCE, Gaussian
from parts.model.normal import log_normal
from parts.model.precision import NO_FLOAT64, to_float64

MOST_DENSE, RANK = 40, 8  # most columns of a triangular T, and the factors of wider noise
NEAR_COPY = 1e-3  # variance along a direction of the training rows that noise of 0.01 would hide
SPIKE_SHARE = 1 / 3  # of a column's cells with one value: its noise would fall to its floor there
N_PRIOR = 20  # rows that the prior T = I is worth
FITTED_FLOOR = 0.01  # of T's variances where training starts at the rows' Gaussian
NOISE_SHARE = 0.25  # of the variance along a latent's direction that is noise there
MAX_LOG_SCALE = 2.0  # of a row's scale a(z)
SHARED_SCALE = 4  # power of correlations by which columns share a(z)


class Noise(NamedTuple):
    """What A is, `identity`, `stretch` or `fit`, and whether T is triangular or diagonal."""

    directions: str
    triangular: bool


class Conditioned(NamedTuple):
    """p(missing cells | z, observed cells): mean and std [..., B, D], and what a draw needs."""

    mean: torch.Tensor
    std: torch.Tensor
    params: torch.Tensor
    x: torch.Tensor
    mask: torch.Tensor


class CorrelatedGaussian(Gaussian):
    """Real columns whose noise is correlated; `noise` is a key of NOISES.

    `stretch`: A widens the directions along which training rows vary by less than NEAR_COPY, such
    as the difference of two near-copies, to variance 1; it leaves the others. `fit`: A is the
    root of what latents leave of the training rows' covariance: training starts at their Gaussian.
    `variance` is that of T's diagonal, `shared` or one per `column`; `decoder` adds the scales
    a(z), of each column, or of the row with `fit`.
    """

    def __init__(
        self,
        n_columns,
        variance="column",
        noise="correlated",
        floor=MIN_VARIANCE,
        ceiling=math.inf,
    ):
        self.noise_name, (directions, triangular) = noise, NOISES[noise]
        fits = directions == "fit"
        if variance.startswith("fixed"):
            raise UserError(
                f"variance {variance} goes with independent noise, not with {noise} noise"
            )
        of_diagonal = "column" if variance == "decoder" else variance
        super().__init__(n_columns, of_diagonal, FITTED_FLOOR if fits else floor, ceiling)
        self.variance, self.scales = variance, variance == "decoder"
        self.stretches, self.is_fitted, self.triangular = directions == "stretch", fits, triangular
        self.floor = floor if fits else 0.0  # added to the covariance
        self.min_logvar_of_column, self.max_logvar_of_column = math.log(floor), math.log(ceiling)
        self.n_params += (1 if fits else n_columns) if self.scales else 0
        if directions != "identity":
            self.n_features += n_columns
        # A triangular T costs the cube of its columns; of many columns, a few factors stand for it.
        self.rank = RANK if directions == "identity" and n_columns > MOST_DENSE else 0
        if self.rank:
            self.factors = nn.Parameter(factors_at_start(n_columns, self.rank))
        elif triangular:
            self.low = nn.Parameter(torch.zeros(n_columns, n_columns))
        if fits:  # T = I
            nn.init.constant_(self.raw_logvar, math.log1p(-FITTED_FLOOR))
        identity = torch.eye(n_columns, dtype=torch.float64)
        self.register_buffer("mu0", torch.zeros(n_columns, dtype=torch.float64))
        self.register_buffer("A", identity)
        self.register_buffer("inverse", identity.clone())  # of A, for the encoder
        self.register_buffer("covariance0", identity.clone())  # of the training rows
        self.register_buffer("shares", identity.clone())  # how columns share log a(z)
        self.register_buffer("prior_weight", torch.zeros((), dtype=torch.float64))

    def _apply(self, fn, recurse=True):
        """As of any module, but the buffers stay float64, on the CPU where the device has none."""
        kept = dict(self._buffers)
        self._buffers.clear()
        super()._apply(fn, recurse)
        device = fn(torch.zeros(1)).device
        device = torch.device("cpu") if device.type in NO_FLOAT64 else device
        self._buffers.update({name: buffer.to(device) for name, buffer in kept.items()})
        return self

    def describe(self):
        return f"Gaussian likelihood, variance {self.variance}, noise {self.noise_name}"

    # Start from training rows

    @torch.no_grad()
    def start_at(self, x, mask=None, n_latents=0):
        """Fix A, mu0 and the prior's weight by training rows x [n, D]."""
        x = to_float64(observed(x, mask)).to(self.A.device)
        mask = None if mask is None else to_float64(mask).to(x.device)
        found = fit_gaussian(x, mask)
        own = found.covariance.diagonal()
        correlation = found.covariance / (own.outer(own).sqrt() + MIN_RATIO)
        shares = correlation.abs().clamp(max=1) ** SHARED_SCALE
        shares = shares / shares.sum(-1, keepdim=True).clamp(min=MIN_RATIO)
        columns = x.unbind(-1) if mask is None else [x[m > 0, j] for j, m in enumerate(mask.T)]
        smooth = torch.tensor([not is_spiked(column) for column in columns])
        self.shares.copy_(shares * smooth.to(shares))
        self.prior_weight.fill_(N_PRIOR / len(x))
        start = None
        if self.is_fitted:
            vectors, factors, inverse, start = self.fitted(found, n_latents)
        elif self.stretches:
            values, vectors, near = stretched_directions(found)
            factors = torch.where(near, values.clamp(min=MIN_RATIO).sqrt(), 1.0)
            inverse = 1 / factors
        else:
            return None
        self.mu0.copy_(found.mean)
        self.covariance0.copy_(found.covariance + MIN_RATIO * torch.eye(len(own)).to(own))
        self.A.copy_((vectors * factors) @ vectors.mT)
        self.inverse.copy_((vectors * inverse) @ vectors.mT)
        return start

    def fitted(self, found, n_latents):
        """A's eigenvectors [D, D] and eigenvalues [D], those of its inverse, and the LinearStart at
        which p(x) is the OneGaussian and q(z|x) is exact.

        As in probabilistic PCA (Tipping & Bishop 1999) the latents are the principal components;
        here NOISE_SHARE of each one's variance is noise, and all of the other directions'.
        """
        values, vectors = torch.linalg.eigh(found.covariance)
        # Many columns of few rows spread the eigenvalues; as a power, near-copies stay so.
        values = values.clamp(min=0) ** (1 - len(values) / (len(values) + found.n))
        n = min(n_latents, int((values > self.floor).sum()))
        noise = values.clone()
        noise[len(values) - n :] *= NOISE_SHARE  # the largest come last
        weight = (values - noise)[len(values) - n :].sqrt()  # of z along its direction
        axes, own = vectors[:, len(values) - n :], noise[len(values) - n :]
        precision = 1 + weight.square() / (own + self.floor)  # of q(z|x)
        to_z = (weight / (own + self.floor) / precision).unsqueeze(-1) * axes.mT
        to_params = torch.zeros(self.n_params, n).to(values)
        to_params[: len(values)] = axes * (weight * own.rsqrt())
        parts = to_z, -to_z @ found.mean, -precision.log(), to_params
        start = LinearStart(*(part.float().cpu() for part in parts))
        return vectors, noise.sqrt(), (noise + self.floor).rsqrt(), start

    def penalty(self):
        """Minus the log of T's prior for each row, a scalar: T = I is worth N_PRIOR rows.

        None where T is diagonal, or starts at the training rows' Gaussian.
        """
        if not self.triangular or self.is_fitted:
            return None
        free = self.factors if self.rank else self.low.tril(-1)
        return 0.5 * like(self.prior_weight, free) * free.square().sum()

    # Features

    def stretched(self, x, mask=None):
        """E[A^-1 x - x | observed cells], [B, D]: what the encoder could not see of near-copies."""
        r = to_float64(observed(x, mask)) - self.mu0
        if mask is not None:
            mask = to_float64(mask)
            r = expect(r * mask, self.covariance0, mask)
        return like(r @ self.inverse - r, x)

    def features(self, x, mask=None):
        seen = super().features(x, mask)
        more = self.more_features(x, mask)
        return seen if more is None else torch.cat([seen, more], -1)

    def more_features(self, x, mask=None):
        """What of `features` does not come from `embed`."""
        return self.stretched(x, mask) if self.stretches or self.is_fitted else None

    # The parameters of the noise

    def noise(self, scale=None):
        """The noise A T eps, in float64; with a `scale` [N, B] of each row."""
        std = torch.exp(0.5 * self.above_floor(self.raw_logvar)).expand(self.n_columns)
        if self.rank:
            return LowRank(to_float64(std), to_float64(self.factors))
        t = torch.diag_embed(std)
        if self.triangular:
            t = t + self.low.tril(-1)
        root = self.A @ to_float64(t)
        return Dense(root, self.floor) if scale is None else Scaled(root, self.floor, scale)

    def parts(self, params):
        """The Parts of params [..., B, n_params], with all leading axes as one."""
        wide = to_float64(params)
        wide = wide.reshape(-1, *wide.shape[-2:])
        y, raw = wide[..., : self.n_columns], wide[..., self.n_columns :]
        mu = self.mu0 + y @ self.A.mT if self.stretches or self.is_fitted else y
        if self.scales and self.is_fitted:
            scale = torch.exp(MAX_LOG_SCALE * torch.tanh(raw / MAX_LOG_SCALE))
            return Parts(mu, self.noise(scale.squeeze(-1)))
        noise = self.noise()
        if not self.scales:
            return Parts(mu, noise)
        # Near-copies share their scale, or its difference would swamp theirs.
        return Parts(mu, noise, self.bounded(noise.variance.log(), 2 * raw @ self.shares.mT))

    def bounded(self, logvar, change):
        """The scales of columns by which log-variances change softly within floor and ceiling."""
        low, high = self.min_logvar_of_column, self.max_logvar_of_column
        changed = F.softplus(logvar + change - low) + low
        if high < math.inf:
            changed = high - F.softplus(high - changed)
        return torch.exp(0.5 * (changed - logvar))

    # Densities, means and samples

    def residuals(self, parts, x, mask):
        """(x - mu) / a of the observed cells [N, B, D], and the Masks of the rows."""
        mask = None if mask is None else to_float64(mask)
        r = to_float64(x) - parts.mu
        r = r if mask is None else r * mask
        return r if parts.scale is None else r / parts.scale, parts.noise.masks(mask)

    def log_prob(self, params, x, mask=None):
        parts = self.parts(params)
        found = parts.noise.log_prob(*self.residuals(parts, observed(x, mask), mask))
        if parts.scale is not None:
            mask = None if mask is None else to_float64(mask)
            found = found - sum_columns(parts.scale.log(), mask)
        return like(found.reshape(params.shape[:-1]), params)

    def log_prob_per_column(self, params, x):
        """log p of each cell given z and the row's other cells, [..., B, D]; in closed form by the
        inverse covariance P: x_j - E[x_j | the others] = (P r)_j / P_jj.
        """
        parts = self.parts(params)
        u, precision = parts.noise.precision(self.residuals(parts, x, None)[0])
        scale = 1.0 if parts.scale is None else parts.scale
        logvar = 2 * torch.log(torch.as_tensor(scale)) - precision.log()
        found = log_normal(scale * u / precision, 0.0, logvar)
        return like(found.reshape(*params.shape[:-1], -1), params)

    def log_prob_of_hidden(self, params, x, mask):
        found = self.given(params, x, mask)
        logvar = 2 * torch.log(found.std.clamp(min=MIN_RATIO))
        return log_normal(x, found.mean, logvar)

    def given(self, params, x, mask):
        parts = self.parts(params)
        r, masks = self.residuals(parts, observed(x, mask), mask)
        predicted, variance = parts.noise.predict(r, masks)
        # An observed cell has variance 0, where a root has no gradient.
        std = variance.clamp(min=MIN_RATIO).sqrt()
        scale = 1.0 if parts.scale is None else parts.scale
        shape = (*params.shape[:-1], self.n_columns)
        mean, std = parts.mu + scale * predicted, (scale * std).expand_as(parts.mu)
        mean, std = (like(part.reshape(shape), params) for part in (mean, std))
        return Conditioned(mean, std, params, x, mask)

    def mean(self, params):
        if isinstance(params, Conditioned):
            return params.mean
        return like(self.parts(params).mu.reshape(*params.shape[:-1], -1), params)

    def std(self, params):
        if isinstance(params, Conditioned):
            return params.std
        parts = self.parts(params)
        std = parts.noise.variance.sqrt().expand_as(parts.mu)
        std = std if parts.scale is None else parts.scale * std
        return like(std.reshape(*params.shape[:-1], -1), params)

    def sample(self, params):
        """A draw; of missing cells given observed ones, a draw of all cells is moved to agree with
        the observed ones (Matheron's rule, Journel & Huijbregts 1978).
        """
        given = params if isinstance(params, Conditioned) else None
        params = params if given is None else given.params
        parts = self.parts(params)
        noise = parts.noise.draw(parts.mu)
        if given is not None:
            r, masks = self.residuals(parts, observed(given.x, given.mask), given.mask)
            seen = noise if given.mask is None else noise * to_float64(given.mask)
            noise = noise + parts.noise.predict(r - seen, masks)[0]
        noise = noise if parts.scale is None else parts.scale * noise
        return like((parts.mu + noise).reshape(*params.shape[:-1], -1), params)


class Parts(NamedTuple):
    """mu [N, B, D], the noise before it is scaled, and the scales a(z) of columns [N, B, D] where
    there are such; float64.
    """

    mu: torch.Tensor
    noise: Dense | Scaled | LowRank
    scale: torch.Tensor | None = None


def like(result, other):
    """A float64 result with the type and the device of another tensor, which may lack float64."""
    return result.to(other.dtype).to(other.device)


def factors_at_start(n_columns, rank):
    """Small factors that differ, [D, rank], or they would stay alike; no random numbers."""
    at = torch.arange(n_columns).unsqueeze(-1) + 0.5
    return 0.1 * torch.cos(math.pi / n_columns * at * (torch.arange(rank) + 1))


def stretched_directions(found):
    """Eigenvalues [D] and eigenvectors [D, D] of a OneGaussian, and which directions are stretched.

    Too few rows say nothing of small variances. A column that hardly varies has no near-copy.
    """
    own = found.covariance.diagonal()
    varies = (own > NEAR_COPY).to(own)
    among = found.covariance * varies.outer(varies) + torch.diag(1 - varies)
    values, vectors = torch.linalg.eigh(among)
    enough = found.n > 2 * len(own)
    return values, vectors, (values < NEAR_COPY) & enough


def has_near_copies(x, mask=None):
    """Whether a direction of rows x [n, D] would be stretched."""
    x = to_float64(observed(x, mask))
    found = fit_gaussian(x, None if mask is None else to_float64(mask))
    return bool(stretched_directions(found)[-1].any())


def is_spiked(values):
    """Whether one value fills more than SPIKE_SHARE of a column's observed cells [n]."""
    if not len(values):
        return False
    return bool(torch.unique(values, return_counts=True)[1].max() > SPIKE_SHARE * len(values))


def numbers(n_columns, noise="independent", **options):
    """The Gaussian of n_columns real columns with such noise."""
    if noise == "independent":
        return Gaussian(n_columns, **options)
    return CorrelatedGaussian(n_columns, noise=noise, **options)


NOISES = {
    "independent": None,
    "stretched": Noise("stretch", triangular=False),
    "correlated": Noise("identity", triangular=True),
    "stretched-correlated": Noise("stretch", triangular=True),
    "fitted": Noise("fit", triangular=True),
}
