"""p(x|z) of real columns: Gaussian, and Student-t.

Shapes: x [B, D], mask [B, D] (1 = observed), params [..., B, n_params]; log-probabilities in nats.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from parts.errors import UserError
from parts.model.batches import observed, sum_columns
from parts.model.likelihoods.base import Likelihood
from parts.model.normal import deviance, log_normal
from parts.model.precision import sample_gamma, to_float64

# Floor of every learned Gaussian variance, in standardised units: data with constant or exactly
# dependent columns has unbounded density, so the floor decides its last nats.
MIN_VARIANCE = 1e-4
LEARNED_VARIANCES = ("shared", "column", "decoder")
MOST_COVARIED = 4096  # columns of the Gaussian baseline with a full covariance
MIN_DF = 2.1  # of a Student-t


class Gaussian(Likelihood):
    """Real columns, x ~ N(mu, sigma^2), independent given z.

    `variance`: `fixed:V`; `shared`, one learned number; `column`, one learned per column;
    `decoder`, from the decoder, so it varies with z and stays below `ceiling`. Learned ones stay
    above `floor`.
    """

    options = ("variance", "noise")
    preset = "density"
    baseline_names = {"gaussian": "one Gaussian", "diagonal": "one diagonal Gaussian"}

    def __init__(self, n_columns, variance="decoder", floor=MIN_VARIANCE, ceiling=math.inf):
        kind, colon, value = variance.partition(":")
        if kind not in ("fixed", *LEARNED_VARIANCES) or (kind == "fixed") != (colon != ""):
            raise UserError(
                f"variance {variance!r}, expected fixed:V (V a number), shared, column or decoder"
            )
        super().__init__(n_columns, n_params=n_columns * (2 if kind == "decoder" else 1))
        self.variance, self.min_logvar, self.max_logvar = kind, math.log(floor), math.log(ceiling)
        if kind == "fixed":
            self.register_buffer("logvar", torch.tensor(self._log_of(value)))
        elif kind != "decoder":
            self.raw_logvar = nn.Parameter(torch.zeros(1 if kind == "shared" else n_columns))

    @classmethod
    def of(cls, columns, **options):
        from parts.model.likelihoods.correlated import numbers  # which imports this module

        return numbers(len(columns), **options)

    def describe(self):
        return f"Gaussian likelihood, variance {self.variance}"

    @staticmethod
    def _log_of(value):
        try:
            variance = float(value)
        except ValueError:
            variance = math.nan
        if not MIN_VARIANCE <= variance < math.inf:
            raise UserError(
                f"variance 'fixed:{value}', expected a number of at least {MIN_VARIANCE}"
            )
        return math.log(variance)

    def above_floor(self, raw):
        """log(exp(raw) + floor): unlike a clamp, it lets a variance that fell too low rise."""
        return F.softplus(raw - self.min_logvar) + self.min_logvar

    def mu_logvar(self, params):
        """Mean and log-variance; the second broadcasts against [..., B, D]."""
        if self.variance == "fixed":
            return params, self.logvar
        if self.variance == "decoder":
            mu, raw = params.chunk(2, -1)
        else:
            mu, raw = params, self.raw_logvar
        logvar = self.above_floor(raw)
        if self.variance == "decoder" and self.max_logvar < math.inf:
            logvar = self.max_logvar - F.softplus(self.max_logvar - logvar)
        return mu, logvar

    def log_prob(self, params, x, mask=None):
        # The base class's sum, with -0.5 after it: a pass over [B, D] less.
        terms = deviance(observed(x, mask), *self.mu_logvar(params))
        return -0.5 * sum_columns(terms, mask)

    def log_prob_per_column(self, params, x):
        return log_normal(x, *self.mu_logvar(params))

    def mean(self, params):
        return self.mu_logvar(params)[0]

    def std(self, params):
        mu, logvar = self.mu_logvar(params)
        return torch.exp(0.5 * logvar).expand_as(mu)

    def sample(self, params):
        mu = self.mean(params)
        return mu + self.std(params) * torch.randn_like(mu)

    def baselines(self, train, test):
        """Maximum likelihood, MIN_VARIANCE added to every column's variance.

        No covariance of more than MOST_COVARIED columns: it takes gigabytes, and minutes.
        """
        train, test = to_float64(train.x), to_float64(test.x)
        mu = train.mean(0)
        variance = train.var(0, correction=0) + MIN_VARIANCE
        found = {"diagonal": log_normal(test, mu, variance.log()).sum(-1).mean().item()}
        if len(mu) <= MOST_COVARIED:
            covariance = torch.cov(train.T, correction=0).reshape(len(mu), len(mu))
            covariance = covariance + MIN_VARIANCE * torch.eye(len(mu)).to(mu)
            full = torch.distributions.MultivariateNormal(mu, covariance).log_prob(test)
            found["gaussian"] = full.mean().item()
        return found


class StudentT(Gaussian):
    """Real columns with heavy tails: `logvar` is the log of the squared scale, and each column has
    learned degrees of freedom, more than MIN_DF, so that its variance exists.
    """

    options, preset = ("variance",), None
    baseline_names = {}

    def __init__(self, n_columns, variance="decoder", floor=MIN_VARIANCE, ceiling=math.inf):
        super().__init__(n_columns, variance, floor, ceiling)
        self.raw_df = nn.Parameter(torch.full((n_columns,), 2.0))

    @classmethod
    def of(cls, columns, **options):
        return cls(len(columns), **options)

    def describe(self):
        return f"Student-t likelihood, scale {self.variance}"

    def df(self):
        return MIN_DF + F.softplus(self.raw_df)

    def log_prob(self, params, x, mask=None):
        return Likelihood.log_prob(self, params, x, mask)

    def log_prob_per_column(self, params, x):
        mu, logvar = self.mu_logvar(params)
        df = self.df()
        constant = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - 0.5 * torch.log(math.pi * df)
        distance = (x - mu).square() * torch.exp(-logvar) / df
        return constant - 0.5 * logvar - 0.5 * (df + 1) * torch.log1p(distance)

    def std(self, params):
        df = self.df()
        return super().std(params) * torch.sqrt(df / (df - 2))

    def sample(self, params):
        mu = self.mean(params)
        df = self.df().expand_as(mu)
        chi2 = 2 * sample_gamma(df / 2)
        return mu + super().std(params) * torch.randn_like(mu) * torch.sqrt(df / chi2)

    def baselines(self, train, test):
        return {}
