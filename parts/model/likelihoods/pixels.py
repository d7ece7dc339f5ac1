"""p(x|z) of grey and colour levels: x in {0, 1/255, ..., 1}, with a probability for each level.

Shapes as in parts/model/likelihoods/gaussian.py. Inside, y = 2 x - 1 lies in [-1, 1].
"""

import math

import torch
import torch.nn.functional as F

from parts.errors import UserError
from parts.model.batches import sum_columns
from parts.model.likelihoods.base import Likelihood
from parts.model.precision import to_float64

N_LEVELS = 256
TOP = N_LEVELS - 1  # the highest level
MAX_LOG_SCALE = 7.0  # and the lowest is its negative, an eighth of a level (Salimans et al. 2017)
FAR_EDGE = 1e6  # an edge beyond every location
START_SCALE = 1 / 3  # of an untrained decoder's logistic: all levels are about equally likely
N_COUNTED = 4096  # rows of which levels are counted at a time


def bits_per_dim(log_px, n_dims):
    """log p(x) in nats of n_dims pixels and channels, as the bits that each of them costs."""
    return -log_px / (n_dims * math.log(2))


def edges(x):
    """Lower and upper edges of the levels x, in y; the outermost levels reach to infinity."""
    y = 2 * x - 1
    lower = torch.where(x < 0.5 / TOP, -FAR_EDGE, y - 1 / TOP)
    upper = torch.where(x > 1 - 0.5 / TOP, FAR_EDGE, y + 1 / TOP)
    return lower, upper


def log_mass(lower, upper, mu, log_scale):
    """log P(lower < y < upper) of a logistic y, per element; as sharp in float32 as in float64.

    log(sigmoid(u) - sigmoid(l)) = log(1 - exp(l - u)) + log sigmoid(u) + log sigmoid(-l), where
    Salimans et al. 2017 take the difference, and where it vanishes the density.
    """
    inverse_scale = torch.exp(-log_scale)
    inside = torch.log(-torch.expm1((lower - upper) * inverse_scale))
    below, above = (lower - mu) * inverse_scale, (mu - upper) * inverse_scale
    return inside - F.softplus(below) - F.softplus(above)


class DiscretizedLogistic(Likelihood):
    """Levels of 256, each column a mixture of `components` logistics with its own parameters.

    Kingma et al. 2016, section 5 (one); Salimans et al. 2017, section 2.1 (a mixture; here channels
    are independent given z). params are [kind, component, column], flattened; the kinds are
    location, log scale and, of several components, logit.
    """

    scaling = "none"
    in_bits = True
    options = ("components",)
    baseline_names = {"diagonal": "independent columns"}

    def __init__(self, n_columns, components=1):
        self.n_kinds = 2 if components == 1 else 3
        super().__init__(n_columns, n_params=self.n_kinds * components * n_columns)
        self.components = components
        # Untrained components lie side by side; were they alike, they would stay alike.
        start = (2 * torch.arange(components) + 1) / components - 1
        self.register_buffer("start", start.unsqueeze(-1), persistent=False)  # [M, 1]

    def describe(self):
        many = "s" if self.components > 1 else ""
        return f"Discretized logistic likelihood, {self.components} component{many}"

    def check(self, x, names):
        steps = TOP * x
        wrong = ~((x >= 0) & (x <= 1) & (abs(steps - steps.round()) < 1e-2))  # a NaN is wrong too
        if wrong.any():
            column = wrong.any(0).argmax()
            value = x[wrong[:, column].argmax(), column]
            raise UserError(
                f"column {names[column]!r} holds {value:g}, expected one of the {N_LEVELS} levels "
                "0, 1/255, ..., 1 for likelihood logistic; use likelihood gaussian"
            )

    def components_of(self, params):
        """Location, log scale and log weight of every logistic, each [..., M, D]."""
        shape = (self.n_kinds, self.components, self.n_columns)
        mu, raw, *logits = params.unflatten(-1, shape).unbind(-3)
        raw = raw + math.log(START_SCALE / self.components)
        log_scale = MAX_LOG_SCALE * torch.tanh(raw / MAX_LOG_SCALE)
        log_weight = logits[0].log_softmax(-2) if logits else torch.zeros_like(mu)
        return mu + self.start, log_scale, log_weight

    def log_prob_per_column(self, params, x):
        mu, log_scale, log_weight = self.components_of(params)
        log_probs = log_mass(*edges(x.unsqueeze(-2)), mu, log_scale)  # [..., M, D]
        if self.components == 1:
            return log_probs.squeeze(-2)
        return (log_weight + log_probs).logsumexp(-2)

    def mean(self, params):
        """E[x|z] as if y were clipped to [-1, 1] and not rounded: within half a level of exact.

        In closed form, -1 + the integral of P(y > t) over t; of the 256 levels it would be a sum.
        """
        mu, log_scale, log_weight = self.components_of(params)
        scale = log_scale.exp()
        above = F.softplus((mu + 1) / scale) - F.softplus((mu - 1) / scale)
        return (log_weight.exp() * scale * above).sum(-2) / 2

    def std(self, params):
        """Exact, by the probability of lying above each level, one level after the other."""
        mu, log_scale, log_weight = self.components_of(params)
        rate, weight = torch.exp(-log_scale), log_weight.exp()
        first, second = 0.0, 0.0  # E[k] = sum of P(k > j), E[k^2] = sum of (2j + 1) P(k > j)
        for j in range(N_LEVELS - 1):
            edge = (2 * j + 1) / TOP - 1
            above = (weight * torch.sigmoid((mu - edge) * rate)).sum(-2)
            first, second = first + above, second + (2 * j + 1) * above
        return (second - first.square()).clamp(min=0).sqrt() / TOP

    def sample(self, params):
        mu, log_scale, log_weight = self.components_of(params)
        gumbel = -torch.log(torch.empty_like(mu).exponential_())
        chosen = (log_weight + gumbel).argmax(-2, keepdim=True)
        mu, log_scale = (part.gather(-2, chosen).squeeze(-2) for part in (mu, log_scale))
        noise = torch.logit(torch.rand_like(mu).clamp(1e-7, 1 - 1e-7))
        y = (mu + log_scale.exp() * noise).clamp(-1, 1)
        return torch.round(TOP * (y + 1) / 2) / TOP

    def baselines(self, train, test):
        """Each column by the frequencies of its levels among training rows, one added to each."""
        counts = level_counts(train.x, train.mask)
        log_share = (counts + 1).log() - (counts.sum(-1, keepdim=True) + N_LEVELS).log()
        columns, total = torch.arange(self.n_columns, device=counts.device), 0.0
        for x, mask in in_pieces(test.x, test.mask):
            mask = None if mask is None else mask.to(counts.device)
            log_probs = log_share[columns, levels(x).to(counts.device)]  # [n, D]
            total += sum_columns(log_probs, mask).sum().item()
        return {"diagonal": total / len(test.x)}


def levels(x):
    return torch.round(TOP * x).long()


def in_pieces(x, mask):
    """x and mask (None: none), some rows at a time."""
    for start in range(0, len(x), N_COUNTED):
        cut = slice(start, start + N_COUNTED)
        yield x[cut], None if mask is None else mask[cut]


def level_counts(x, mask):
    """How many observed cells of every column hold each level, [D, 256] float64."""
    first = N_LEVELS * torch.arange(x.shape[1], device=x.device)
    counts = to_float64(torch.zeros(x.shape[1] * N_LEVELS, device=x.device))
    for x_piece, mask_piece in in_pieces(x, mask):
        weights = torch.ones_like(x_piece) if mask_piece is None else mask_piece
        at = (first + levels(x_piece)).flatten()
        counts.index_add_(0, at.to(counts.device), to_float64(weights.flatten()))
    return counts.unflatten(0, (-1, N_LEVELS))
