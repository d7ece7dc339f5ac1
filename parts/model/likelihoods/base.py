"""What every likelihood p(x|z) offers.

Shapes: x [B, D], mask [B, D] (1 = observed), params [..., B, n_params]; log-probabilities in nats.
What describes data (`check`, `center`, `cell_errors`, `baselines`) takes arrays on any device,
whatever that of the module.
"""

from typing import NamedTuple

import torch
from torch import nn

from parts.model.batches import column_sums, observed, sum_columns
from parts.model.precision import move_like, to_float64


def weighted_mean(values, weights):
    """The mean over components of values [K, B, D] with weights [K, B], which are in float32.

    In float64 they are made to sum to 1 anew: what is far from 0, as a date in seconds is, would
    multiply the error of their sum.
    """
    weights = move_like(weights, values).unsqueeze(-1)
    weights = weights / weights.sum(0) if values.dtype == torch.float64 else weights
    return (weights * values).sum(0)


class LinearStart(NamedTuple):
    """Linear maps at which encoder and decoder start: mu = to_z @ features + bias of R latents with
    their log-variances, and params = to_params @ z; nothing is said of other latents.
    """

    to_z: torch.Tensor  # [R, n_features]
    bias: torch.Tensor  # [R]
    logvar: torch.Tensor  # [R]
    to_params: torch.Tensor  # [n_params, R]


class Likelihood(nn.Module):
    """A distribution over x [B, D] whose parameters come from a decoder.

    Subclasses set `n_params` and define `log_prob_per_column`, `mean`, `std` and `sample`.
    """

    scaling = "standard"  # what data.py gives it: columns of mean 0 and variance 1
    preset = None  # of train.py's flags, taken where none is named
    in_bits = False  # whether log p(x) is of whole levels, and bits per dimension mean something
    needs_marginals = True  # whether draws are to be mapped to the training rows' marginals
    n_start = 5000  # most training rows that `start_at` is given
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

    def context_dim(self, y_dim):
        """The numbers that the networks are told of a condition of `y_dim` numbers."""
        return y_dim

    @classmethod
    def of(cls, columns, **options):
        """The likelihood of a table with these Columns."""
        return cls(len(columns), **options)

    @classmethod
    def of_space(cls, space, **options):
        """The likelihood of data in that Space, see parts/model/build.py."""
        return cls.of(space.columns, **options)

    def describe(self):
        return f"{type(self).__name__} likelihood"

    def check(self, x, names):
        """Raise UserError where x [N, D] lies outside the distribution's support."""

    def note(self, x):
        """A sentence on what log p(x) means for such data, or an empty string."""
        return ""

    def are_rates(self, x):
        """Whether values x, a NumPy array, are probabilities of data, and not data themselves."""
        return False

    def draw(self, x):
        """The data of one visit of training, from x [B, D]: x, or a draw where x is rates."""
        return x

    def embed(self, x, mask=None):
        """x as numbers of similar scale, [B, ...], for any method; missing cells are 0."""
        return observed(x, mask)

    def features(self, x, mask=None):
        """What the encoder sees, [B, n_features]."""
        seen = self.embed(x, mask)
        if not self.sees_mask:
            return seen
        return torch.cat([seen, torch.ones_like(x) if mask is None else mask], -1)

    def more_features(self, x, mask=None):
        """What `features` has beside `embed`, [B, ...], or None; see CorrelatedGaussian."""
        return None

    def start_at(self, x, mask=None, n_latents=0):
        """Initialise from training rows x [n, D] what can be; a LinearStart of at most n_latents,
        where encoder and decoder have to start with it, or None.
        """

    def penalty(self):
        """Minus the log prior of what the likelihood learns, nats per row, a scalar; or None."""
        return None

    def log_prob(self, params, x, mask=None):
        """log p(x|z) over observed columns, [..., B]."""
        return sum_columns(self.log_prob_per_column(params, observed(x, mask)), mask)

    def log_prob_per_column(self, params, x):
        """[..., B, D]; for the missing cells too."""
        raise NotImplementedError

    def log_prob_of_hidden(self, params, x, mask):
        """log p of each cell of x given z and the cells of the mask, [..., B, D].

        What it says of cells of the mask is not used.
        """
        return self.log_prob_per_column(params, x)

    def given(self, params, x, mask):
        """p(missing cells | z, the observed ones), for `mean`, `std`, `sample` and `average` only.

        params [..., B, P], x and mask [B, D]. Where cells are independent given z, what is observed
        says nothing more of the others, and params stay as they are. A likelihood whose noise is
        correlated returns what its own methods take in the place of params; callers never index it.
        What it says of observed cells is not used.
        """
        return params

    def complete(self, params, x, mask):
        """log p(observed cells | z) [..., B], and what was drawn of x to know it [..., B, 0 or D].

        Callers append what was drawn to params before they call `given`.
        """
        return self.log_prob(params, x, mask), params[..., :0]

    def entropy(self, x):
        """Entropy [B], nats, of the data whose rates x is; 0 where x is data: see Bernoulli."""
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

        `unit`, where given, maps means and standard deviations to means in other units first; the
        result has the device and the dtype of what it returns.
        """
        mean = self.mean(params)
        if unit is not None:
            mean = unit(mean, self.std(params))
        return weighted_mean(mean, weights)

    def center(self, x, mask):
        """What to expect of a row of which nothing is known, [D], from rows x [N, D]."""
        n_observed = to_float64(mask.sum(0)).clamp(min=1)
        return (column_sums(x, mask) / n_observed).to(x)

    def cell_errors(self, x, recon):
        """Squared error of each cell [..., D]."""
        return (x - recon).square()

    def gaussian_at_start(self):
        """The WindowGaussian at which training started, None where it did not start at one."""
        return None

    def baselines(self, train, test):
        """Mean log p over the Batch `test` of closed-form models fitted to `train`, by name."""
        return {}
