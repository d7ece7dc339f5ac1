"""p(x|z) of real and of binary columns, and what every likelihood offers.

Shapes: x [B, D], mask [B, D] (1 = observed), params [..., B, n_params]; log-probabilities in nats.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from parts.batches import column_sums, observed, sum_columns
from parts.errors import UserError

LOG_2PI = math.log(2 * math.pi)
# Floor of every learned Gaussian variance, in standardised units: data with constant or exactly
# dependent columns has unbounded density, so the floor decides its last nats.
MIN_VARIANCE = 1e-4
LEARNED_VARIANCES = ("shared", "column", "decoder")
MOST_COVARIED = 4096  # columns of the Gaussian baseline with a full covariance
MIN_DF = 2.1  # of a Student-t


def deviance(x, mu, logvar):
    """-2 log N(x; mu, exp(logvar)) per element."""
    return LOG_2PI + logvar + (x - mu).square() * torch.exp(-logvar)


def log_normal(x, mu, logvar):
    """log N(x; mu, exp(logvar)) per element."""
    return -0.5 * deviance(x, mu, logvar)


def kl_normal(mu_q, logvar_q, mu_p=None, logvar_p=None, by_latent=False):
    """KL(q || p) of diagonal Gaussians, exact, summed over the last axis or not. p None: N(0, I).

    Kingma & Welling 2014, appendix B, for any p.
    """
    if mu_p is None:
        twice = torch.addcmul(torch.expm1(logvar_q), mu_q, mu_q) - logvar_q
    else:
        ratio = (logvar_q.exp() + (mu_q - mu_p).square()) * torch.exp(-logvar_p)
        twice = ratio - 1 + logvar_p - logvar_q
    return 0.5 * (twice if by_latent else twice.sum(-1))


class Likelihood(nn.Module):
    """A distribution over x [B, D] whose parameters come from a decoder.

    Subclasses set `n_params` and define `log_prob_per_column`, `mean`, `std` and `sample`.
    """

    scaling = "standard"  # what data.py gives it: columns of mean 0 and variance 1
    preset = None  # of train.py's flags, taken where none is named
    in_bits = False  # whether log p(x) is of whole levels, and bits per dimension mean something
    sees_mask = False  # whether what is there of x is part of the features
    options = ()  # the command-line flags it takes beside the number of columns
    baseline_names = {}  # of `baselines`, each with its description

    def __init__(self, n_columns, n_params):
        super().__init__()
        self.n_columns = n_columns
        self.n_features = n_columns
        self.n_params = n_params

    @property
    def width(self):
        """Numbers of its widest intermediate result per row and sample."""
        return self.n_params

    @classmethod
    def of(cls, columns, **options):
        """The likelihood of a table with these Columns."""
        return cls(len(columns), **options)

    def describe(self):
        return f"{type(self).__name__} likelihood"

    def check(self, x, names):
        """Raise UserError where x [N, D] lies outside the distribution's support."""

    def note(self, x):
        """A sentence on what log p(x) means for such data, or an empty string."""
        return ""

    def are_rates(self, x):
        """Whether values x, a NumPy array, are rates of what is data, and no data themselves."""
        return False

    def draw(self, x):
        """What one visit of training makes of x [B, D]: x, where it is data and not a rate."""
        return x

    def embed(self, x, mask=None):
        """x as plain numbers of like size, [B, ...], for any method; missing cells are 0."""
        return observed(x, mask)

    def features(self, x, mask=None):
        """What the encoder sees, [B, n_features]."""
        seen = self.embed(x, mask)
        if not self.sees_mask:
            return seen
        return torch.cat([seen, torch.ones_like(x) if mask is None else mask], -1)

    def log_prob(self, params, x, mask=None):
        """log p(x|z) over observed columns, [..., B]."""
        return sum_columns(self.log_prob_per_column(params, observed(x, mask)), mask)

    def log_prob_per_column(self, params, x):
        """[..., B, D]; for the missing cells too."""
        raise NotImplementedError

    def entropy(self, x):
        """What of -log p(x) is due to x being rates and no data, nats [B]: see Bernoulli."""
        return x.new_zeros(len(x))

    def mean(self, params):
        """E[x|z], [..., B, D]."""
        raise NotImplementedError

    def std(self, params):
        """Standard deviation of x given z, [..., B, D]."""
        raise NotImplementedError

    def sample(self, params):
        """A draw of x given z, [..., B, D]."""
        raise NotImplementedError

    def average(self, params, weights, unit=None):
        """What to expect of x [B, D]: the mean over components [K, B, P] with weights [K, B].

        `unit`, where given, maps means and standard deviations to means in other units first.
        """
        mean = self.mean(params)
        if unit is not None:
            mean = unit(mean, self.std(params))
        return (weights.unsqueeze(-1) * mean).sum(0)

    def center(self, x, mask):
        """What to expect of a row of which nothing is known, [D], from rows x [N, D]."""
        return column_sums(x, mask).div(mask.sum(0).clamp(min=1)).to(x.dtype)

    def cell_errors(self, x, recon):
        """Squared error of each cell [..., D]."""
        return (x - recon).square()

    def baselines(self, train, test):
        """Mean log p over the Batch `test` of closed-form models fitted to `train`, by name."""
        return {}


class Gaussian(Likelihood):
    """Real columns, x ~ N(mu, sigma^2), independent given z.

    `variance`: `fixed:V`; `shared`, one learned number; `column`, one learned per column;
    `decoder`, from the decoder, so it varies with z and stays below `ceiling`. Learned ones stay
    above `floor`.
    """

    options = ("variance",)
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
        # log(exp(raw) + floor): unlike a clamp, it lets a variance that fell too low rise.
        logvar = F.softplus(raw - self.min_logvar) + self.min_logvar
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
        train, test = train.x.double(), test.x.double()
        mu = train.mean(0)
        variance = train.var(0, correction=0) + MIN_VARIANCE
        found = {"diagonal": log_normal(test, mu, variance.log()).sum(-1).mean().item()}
        if len(mu) <= MOST_COVARIED:
            covariance = torch.cov(train.T, correction=0).reshape(len(mu), len(mu))
            covariance = covariance + MIN_VARIANCE * torch.eye(len(mu), dtype=mu.dtype)
            full = torch.distributions.MultivariateNormal(mu, covariance).log_prob(test)
            found["gaussian"] = full.mean().item()
        return found


class StudentT(Gaussian):
    """Real columns with heavy tails: `logvar` is the log of the squared scale, and each column has
    learned degrees of freedom, more than MIN_DF, so that its variance exists.
    """

    baseline_names = {}

    def __init__(self, n_columns, variance="decoder", floor=MIN_VARIANCE, ceiling=math.inf):
        super().__init__(n_columns, variance, floor, ceiling)
        self.raw_df = nn.Parameter(torch.full((n_columns,), 2.0))

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
        df = self.df().expand_as(mu).contiguous()
        chi2 = 2 * torch._standard_gamma(df / 2)
        return mu + super().std(params) * torch.randn_like(mu) * torch.sqrt(df / chi2)

    def baselines(self, train, test):
        return {}
