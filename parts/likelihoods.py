"""p(x|z): what the decoder's numbers mean. The only place that knows how x is distributed.

Shapes: x [B, D], mask [B, D] (1 = observed), params [..., B, n_params]; log-probabilities in nats.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from parts.errors import UserError

LOG_2PI = math.log(2 * math.pi)
# Floor of every learned Gaussian variance, in standardised units: data with constant or exactly
# dependent columns has unbounded density, so the floor decides its last nats.
MIN_VARIANCE = 1e-4
MIN_LOGVAR = math.log(MIN_VARIANCE)


def deviance(x, mu, logvar):
    """-2 log N(x; mu, exp(logvar)) per element."""
    return LOG_2PI + logvar + (x - mu).square() * torch.exp(-logvar)


def log_normal(x, mu, logvar):
    """log N(x; mu, exp(logvar)) per element."""
    return -0.5 * deviance(x, mu, logvar)


def observed(x, mask=None):
    """x with its missing cells set to 0, whatever stood there."""
    return x if mask is None else torch.where(mask > 0, x, 0.0)


def sum_columns(per_column, mask=None):
    """Sum over the last axis, of observed columns only."""
    return (per_column if mask is None else per_column * mask).sum(-1)


class Likelihood(nn.Module):
    """A distribution over x [B, D] whose parameters come from a decoder.

    Subclasses set `n_params` and define `log_prob_per_column`, `mean`, `std` and `sample`.
    """

    standardize = True  # whether data.py gives it columns of mean 0 and variance 1
    options = ()  # the command-line flags it takes beside the number of columns
    baseline_names = {}  # of `baselines`, each with its description

    def __init__(self, n_columns, n_params):
        super().__init__()
        self.n_columns = n_columns
        self.n_features = n_columns
        self.n_params = n_params

    def describe(self):
        return f"{type(self).__name__} likelihood"

    def check(self, x, names):
        """Raise UserError where x [N, D] lies outside the distribution's support."""

    def note(self, x):
        """A sentence on what log p(x) means for such data, or an empty string."""
        return ""

    def features(self, x, mask=None):
        """What the encoder sees, [B, n_features]; missing cells are 0."""
        return observed(x, mask)

    def log_prob(self, params, x, mask=None):
        """log p(x|z) over observed columns, [..., B]."""
        return sum_columns(self.log_prob_per_column(params, observed(x, mask)), mask)

    def log_prob_per_column(self, params, x):
        """[..., B, D]; for the missing cells too."""
        raise NotImplementedError

    def mean(self, params):
        """E[x|z], [..., B, D]."""
        raise NotImplementedError

    def std(self, params):
        """Standard deviation of x given z, [..., B, D]."""
        raise NotImplementedError

    def sample(self, params):
        """A draw of x given z, [..., B, D]."""
        raise NotImplementedError

    def baselines(self, train, test):
        """Mean log p over `test` [N, D] of closed-form models fitted to `train`, by name."""
        return {}


class Bernoulli(Likelihood):
    """Binary columns; params are logits.

    On grey values in (0, 1) `log_prob` is the expected one over pixels drawn with those
    probabilities: a cross-entropy, not a density of grey values.
    """

    standardize = False
    baseline_names = {"diagonal": "independent columns"}

    def __init__(self, n_columns):
        super().__init__(n_columns, n_params=n_columns)

    def check(self, x, names):
        low, high = x.min(0), x.max(0)
        for name, a, b in zip(names, low, high, strict=True):
            if not 0 <= a <= b <= 1:
                raise UserError(
                    f"column {name!r} ranges from {a:g} to {b:g}, expected values in [0, 1] "
                    "for --likelihood bernoulli; use --likelihood gaussian"
                )

    def note(self, x):
        if ((x == 0) | (x == 1)).all():
            return ""
        return (
            "Values between 0 and 1 are taken as probabilities of a 1: log p is a cross-entropy, "
            "not a density of grey values"
        )

    def log_prob_per_column(self, params, x):
        return x * params - F.softplus(params)

    def mean(self, params):
        return torch.sigmoid(params)

    def std(self, params):
        p = torch.sigmoid(params)
        return (p * (1 - p)).sqrt()

    def sample(self, params):
        return torch.bernoulli(torch.sigmoid(params))

    def baselines(self, train, test):
        n = len(train)
        p = (train.double().sum(0) + 0.5) / (n + 1)  # never 0 or 1, so no -inf on a test row
        return {"diagonal": self.log_prob(torch.logit(p), test.double()).mean().item()}


class Gaussian(Likelihood):
    """Real columns, x ~ N(mu, sigma^2), independent given z.

    `variance`: `fixed:V`; `shared`, one learned number; `column`, one learned per column;
    `decoder`, from the decoder, so it varies with z. Learned ones stay above MIN_VARIANCE.
    """

    options = ("variance",)
    baseline_names = {"gaussian": "one Gaussian", "diagonal": "one diagonal Gaussian"}

    def __init__(self, n_columns, variance="decoder"):
        kind, colon, value = variance.partition(":")
        if kind not in ("fixed", "shared", "column", "decoder") or (kind == "fixed") != (
            colon != ""
        ):
            raise UserError(
                f"variance {variance!r}, expected fixed:V (V a number), shared, column or decoder"
            )
        super().__init__(n_columns, n_params=n_columns * (2 if kind == "decoder" else 1))
        self.variance = kind
        if kind == "fixed":
            self.register_buffer("logvar", torch.tensor(self._log_of(value)))
        elif kind != "decoder":
            self.raw_logvar = nn.Parameter(torch.zeros(1 if kind == "shared" else n_columns))

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

    def mu_logvar(self, params):
        """Mean and log-variance; the second broadcasts against [..., B, D]."""
        if self.variance == "fixed":
            return params, self.logvar
        if self.variance == "decoder":
            mu, raw = params.chunk(2, -1)
        else:
            mu, raw = params, self.raw_logvar
        # log(exp(raw) + MIN_VARIANCE): unlike a clamp, it lets a variance that fell too low rise.
        return mu, F.softplus(raw - MIN_LOGVAR) + MIN_LOGVAR

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
        """Maximum likelihood, MIN_VARIANCE added to every column's variance."""
        train, test = train.double(), test.double()
        mu = train.mean(0)
        covariance = torch.cov(train.T, correction=0).reshape(len(mu), len(mu))
        covariance = covariance + MIN_VARIANCE * torch.eye(len(mu), dtype=mu.dtype)
        full = torch.distributions.MultivariateNormal(mu, covariance).log_prob(test)
        diagonal = log_normal(test, mu, covariance.diagonal().log()).sum(-1)
        return {"gaussian": full.mean().item(), "diagonal": diagonal.mean().item()}


LIKELIHOODS = {"bernoulli": Bernoulli, "gaussian": Gaussian}
