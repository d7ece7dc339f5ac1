"""p(x|z) of columns that hold bits, counts, categories and ordered levels.

x [..., D] holds counts or codes of levels, 0 to L - 1; L is the most levels that a column has.
"""

from itertools import groupby

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from parts.errors import UserError
from parts.model.batches import column_sums, observed, sum_columns
from parts.model.likelihoods.base import Likelihood
from parts.model.precision import sample_gamma, to_float64

FAR_LOGIT = 1e4  # a logit or threshold beyond every other
MAX_LOG_MEAN = 25.0  # of a count: its mean stays a float32
MIN_COUNT_SPREAD = 0.1


class Bernoulli(Likelihood):
    """Binary columns; params are logits.

    On grey values in (0, 1) `log_prob` is the expected one over pixels drawn with those
    probabilities: a cross-entropy, not a density of grey values. `binarize`: dynamic draws them
    anew at every visit (Burda et al. 2016, section 5); where it is static, data.py has drawn them.
    """

    options = ("binarize",)

    scaling = "none"
    baseline_names = {"diagonal": "independent columns"}

    def __init__(self, n_columns, binarize="none"):
        if binarize not in ("none", "static", "dynamic"):
            raise UserError(f"binarize {binarize!r}, expected none, static or dynamic")
        super().__init__(n_columns, n_params=n_columns)
        self.binarize = binarize

    def draw(self, x):
        return torch.bernoulli(x) if self.binarize == "dynamic" else x

    def check(self, x, names):
        low, high = x.min(0), x.max(0)
        for name, a, b in zip(names, low, high, strict=True):
            if not 0 <= a <= b <= 1:
                raise UserError(
                    f"column {name!r} ranges from {a:g} to {b:g}, expected values in [0, 1] "
                    "for likelihood bernoulli; use likelihood gaussian"
                )

    def are_rates(self, x):
        """Whether some are neither 0 nor 1, such as grey pixels: probabilities of a 1."""
        pieces = np.array_split(x, 1 + x.size // 2**20)  # so that no mask is as large as x
        return not all(((piece == 0) | (piece == 1)).all() for piece in pieces)

    def note(self, x):
        if not self.are_rates(x):
            return ""
        if self.binarize == "dynamic":
            return "Values between 0 and 1 are probabilities of a 1, drawn anew at every visit"
        return (
            "Values between 0 and 1 are taken as probabilities of a 1: log p is a cross-entropy, "
            "not a density of grey values"
        )

    def log_prob(self, params, x, mask=None):
        if not params.dim() > x.dim() == 2:
            return super().log_prob(params, x, mask)
        # For many z's of a row, the sum of x * logits is a product with the vector x.
        ones = torch.einsum("...bd,bd->...b", params, observed(x, mask))
        return ones - sum_columns(F.softplus(params), mask)

    def log_prob_per_column(self, params, x):
        return x * params - F.softplus(params)

    def entropy(self, x):
        """Entropy of pixels drawn by these rates: no model's cross-entropy is below it."""
        return (torch.special.entr(x) + torch.special.entr(1 - x)).sum(-1)

    def mean(self, params):
        return torch.sigmoid(params)

    def std(self, params):
        p = torch.sigmoid(params)
        return (p * (1 - p)).sqrt()

    def sample(self, params):
        return torch.bernoulli(torch.sigmoid(params))

    def baselines(self, train, test):
        logits = torch.logit(self.frequencies(train.x, train.mask))
        mask = None if test.mask is None else to_float64(test.mask)
        return {"diagonal": self.log_prob(logits, to_float64(test.x), mask).mean().item()}

    @staticmethod
    def frequencies(x, mask=None):
        """Share of ones in each column; half a row is added, so that it is never 0 or 1."""
        mask = torch.ones(()).to(x).expand_as(x) if mask is None else mask
        return (column_sums(x, mask) + 0.5) / (column_sums(mask, mask) + 1)


class NegativeBinomial(Likelihood):
    """Counts with mean m(z) and variance m + m^2 / r, r learned per column; r large is Poisson.

    `centre` and `spread` are those of ln(1 + x) over training rows: the decoder speaks in them.
    """

    def __init__(self, centre, spread):
        super().__init__(len(centre), n_params=len(centre))
        self.register_buffer("centre", torch.as_tensor(centre, dtype=torch.get_default_dtype()))
        spread = torch.as_tensor(spread, dtype=torch.get_default_dtype())
        self.register_buffer("spread", spread.clamp(min=MIN_COUNT_SPREAD))
        self.raw_log_r = nn.Parameter(torch.ones(len(centre)))

    def embed(self, x, mask=None):
        return observed((torch.log1p(x) - self.centre) / self.spread, mask)

    def log_mean(self, params):
        return (self.centre + self.spread * params).clamp(max=MAX_LOG_MEAN)

    def log_r(self):
        return self.raw_log_r.clamp(-5, 12)

    def log_prob_per_column(self, params, x):
        log_m, log_r = self.log_mean(params), self.log_r()
        r = log_r.exp()
        x_64, r_64 = to_float64(x), to_float64(r)  # for the difference of two large lgammas
        ways = torch.lgamma(x_64 + r_64) - torch.lgamma(x_64 + 1) - torch.lgamma(r_64)
        # log(r / (r + m)) and log(m / (r + m)), without a difference of near equals.
        return ways.to(x) - r * F.softplus(log_m - log_r) - x * F.softplus(log_r - log_m)

    def mean(self, params):
        return self.log_mean(params).exp()

    def std(self, params):
        mean = self.mean(params)
        return (mean + mean.square() * torch.exp(-self.log_r())).sqrt()

    def sample(self, params):
        mean = self.mean(params)
        r = self.log_r().exp().expand_as(mean)
        return torch.poisson(sample_gamma(r) * mean / r)

    def cell_errors(self, x, recon):
        """Squared distance of ln(1 + x), in its standard deviations over training rows."""
        return ((torch.log1p(x) - torch.log1p(recon)) / self.spread.to(x.device)).square()


class Levels(Likelihood):
    """Columns of levels: `log_probs` of all levels, padded with -FAR_LOGIT to the most levels L."""

    def __init__(self, n_levels, n_params):
        super().__init__(len(n_levels), n_params)
        levels = torch.arange(max(n_levels))
        self.register_buffer("n_levels", torch.tensor(n_levels))
        self.register_buffer("exists", levels < self.n_levels[:, None])  # [D, L]

    @property
    def width(self):
        return self.exists.numel()

    def log_probs(self, params):
        """Log-probability of every level, [..., D, L]."""
        raise NotImplementedError

    def std(self, params):
        """Standard deviation of the level's code, [..., D]."""
        probs = self.log_probs(params).exp()
        levels = torch.arange(probs.shape[-1], device=probs.device)
        mean = (probs * levels).sum(-1, keepdim=True)
        return (probs * (levels - mean).square()).sum(-1).sqrt()

    def counts(self, x, mask):
        """Rows that hold each level, [D, L]."""
        levels = torch.arange(self.exists.shape[1], device=x.device)
        return ((x.unsqueeze(-1) == levels) * mask.unsqueeze(-1)).sum(0)

    def center(self, x, mask):
        return self.counts(x, mask).argmax(-1).to(x.dtype)

    def cell_errors(self, x, recon):
        """1 where the level is another."""
        return (x != recon.round()).to(x.dtype)


class Categorical(Levels):
    """Unordered categories; params are the logits of their levels, column after column.

    `mean` and `average` are the most probable level: a mean of codes means nothing.
    """

    def __init__(self, n_levels):
        super().__init__(n_levels, n_params=sum(n_levels))
        self.n_features = self.n_params
        starts = torch.tensor([0, *n_levels[:-1]]).cumsum(0)
        where = starts[:, None] + torch.arange(max(n_levels))
        self.register_buffer("where", where.clamp(max=self.n_params - 1))  # [D, L], in params
        column = torch.repeat_interleave(torch.arange(len(n_levels)), self.n_levels)
        self.register_buffer("column", column)  # [P]
        self.register_buffer("code", torch.arange(self.n_params) - starts[column])  # [P]
        # Neighbours with as many levels, as (columns, levels): each run is one block of logits.
        self.runs = [(len(list(run)), levels) for levels, run in groupby(n_levels)]

    def embed(self, x, mask=None):
        """One-hot, all 0 where missing."""
        one_hot = (x.index_select(-1, self.column) == self.code).to(x.dtype)
        return one_hot if mask is None else one_hot * mask.index_select(-1, self.column)

    def padded(self, values):
        """What params hold, as [..., D, L]."""
        return values[..., self.where].masked_fill(~self.exists, -FAR_LOGIT)

    def log_probs(self, params):
        return self.padded(params).log_softmax(-1)

    def log_total(self, params):
        """Log of the sum of exp(logits), [..., D]: without padding, a fraction of `log_probs`."""
        pieces = params.split([n * levels for n, levels in self.runs], -1)
        pairs = zip(pieces, self.runs, strict=True)
        return torch.cat([piece.unflatten(-1, run).logsumexp(-1) for piece, run in pairs], -1)

    def log_prob_per_column(self, params, x):
        at = (self.where[:, 0] + x.long()).expand(*params.shape[:-1], -1)
        return params.gather(-1, at) - self.log_total(params)

    def mean(self, params):
        return self.padded(params).argmax(-1).to(params.dtype)

    def average(self, params, weights, unit=None):
        probs = (params - self.log_total(params).index_select(-1, self.column)).exp()  # [K, B, P]
        mixed = (weights.unsqueeze(-1) * probs).sum(0)
        return self.padded(mixed).argmax(-1).to(params.dtype)

    def sample(self, params):
        """The largest of logits with Gumbel noise, which needs no sum over levels."""
        logits = self.padded(params)
        gumbel = -torch.log(torch.empty_like(logits).exponential_())
        return (logits + gumbel).argmax(-1).to(params.dtype)


class Ordinal(Levels):
    """Ordered levels by cumulative logits: P(x <= j | z) = sigmoid(threshold_j - location(z)).

    McCullagh 1980; thresholds are learned per column, the location comes from the decoder.
    `mean` and `average` are the median level, which a squared distance of codes would not be.
    """

    def __init__(self, n_levels):
        super().__init__(n_levels, n_params=len(n_levels))
        steps = max(n_levels) - 1
        self.first = nn.Parameter(-0.5 * (self.n_levels - 2.0))  # as if levels were a unit apart
        self.raw_gaps = nn.Parameter(torch.full((len(n_levels), steps - 1), 0.54))

    def embed(self, x, mask=None):
        """Levels from -1 to 1."""
        return observed(2 * x / (self.n_levels - 1) - 1, mask)

    def thresholds(self):
        """Edges of the levels [D, L + 1], the outermost at -FAR_LOGIT and FAR_LOGIT."""
        gaps = F.softplus(self.raw_gaps) + 1e-3
        inner = torch.cat([self.first[:, None], self.first[:, None] + gaps.cumsum(-1)], -1)
        inner = inner.masked_fill(~self.exists[:, 1:], FAR_LOGIT)
        ends = inner.new_full((len(inner), 1), FAR_LOGIT)
        return torch.cat([-ends, inner, ends], -1)

    @staticmethod
    def log_between(lower, upper, location):
        """log(sigmoid(upper - location) - sigmoid(lower - location)) of edges."""
        u, l = upper - location, lower - location
        # = log sigmoid(u) + log sigmoid(-l) + log(1 - exp(l - u))
        width = torch.log(-torch.expm1(-(upper - lower).clamp(min=1e-6)))
        return F.logsigmoid(u) + F.logsigmoid(-l) + width

    def log_probs(self, params):
        edges = self.thresholds()
        log_probs = self.log_between(edges[:, :-1], edges[:, 1:], params.unsqueeze(-1))
        return log_probs.masked_fill(~self.exists, -FAR_LOGIT)

    def log_prob_per_column(self, params, x):
        edges, codes = self.thresholds(), x.long()
        column = torch.arange(len(edges), device=x.device)
        return self.log_between(edges[column, codes], edges[column, codes + 1], params)

    def mean(self, params):
        inner = self.thresholds()[:, 1:-1]
        above = (params.unsqueeze(-1) > inner).sum(-1)
        return above.clamp(max=self.n_levels - 1).to(params.dtype)

    def average(self, params, weights, unit=None):
        below = torch.sigmoid(self.thresholds()[:, 1:-1] - params.unsqueeze(-1))  # P(x <= level)
        mixed = (weights[..., None, None] * below).sum(0)
        return (mixed < 0.5).sum(-1).to(params.dtype)

    def sample(self, params):
        u = torch.rand_like(params).clamp(1e-7, 1 - 1e-7)
        return self.mean(params + torch.logit(u))

    def center(self, x, mask):
        share = self.counts(x, mask) / mask.sum(0).clamp(min=1)[:, None]
        n_levels = self.n_levels.to(x.device)
        return (share.cumsum(-1) < 0.5).sum(-1).clamp(max=n_levels - 1).to(x.dtype)

    def cell_errors(self, x, recon):
        """Distance of the ranks, a share of the largest."""
        return (x - recon.round()).abs() / (self.n_levels.to(x.device) - 1)
