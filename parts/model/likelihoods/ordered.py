"""p(x|z) of a table whose columns are decoded in order: prod_j p(x_j | z, x_1 ... x_{j-1}).

Shapes: x [B, D], mask [B, D] (1 = observed), params [..., B, n_params]; log-probabilities in nats.
N rows of all leading axes, E numbers that embed a cell, H hidden units and O outputs of a column.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from parts.errors import UserError
from parts.model.batches import observed
from parts.model.bins import N_SPIKES, Bins
from parts.model.likelihoods.base import Likelihood, weighted_mean
from parts.model.likelihoods.discrete import FAR_LOGIT, Ordinal
from parts.model.likelihoods.mixed import Mixed
from parts.model.precision import move_like, to_float64

N_CONTEXT, N_EMBEDDED = 64, 16  # numbers that the decoder gives, and E
N_UNITS, FEWEST_UNITS = 3072, 16  # hidden units of all columns, and the fewest of one
MOST_UNITS = {"bins": 128, "mixture": 64}
N_COMPONENTS = 3  # of a mixture
N_OF_MIXTURE = 3 * N_COMPONENTS + N_SPIKES  # locations, log-scales, and logits of their shares
LOG_SCALES = (-4.5, 3.0)  # limits, of normal scores
DROPOUT = 0.1  # of hidden units where numbers are mixtures, as they are on few rows
MOST_ORDERED = 200  # columns; the first layer grows with their square
# Of a number that a linear map of earlier ones gives up to so small a share of its spread, the rest
# is modelled: a network would blur it. At most so many earlier columns, each of which must help.
NEAR_COPY, MOST_PARENTS, HELPS = 0.2, 4, 0.8
FAR_OUT = 50.0  # of cells that do not choose such maps
N_STD = 64  # draws for a standard deviation
HEADS = ("bins", "mixture")


class Completed(NamedTuple):
    """Rows [..., B, D] whose missing cells were drawn: what `given` makes of params."""

    cells: torch.Tensor


class Ordered(Likelihood):
    """A table's columns, each given z and the earlier ones, by one masked network.

    p(x_j | z, x_<j) has a mass for each of the column's `Bins`: a softmax for levels, and for
    numbers with `heads` bins; with `heads` mixture the masses of numbers are those of N_COMPONENTS
    logistic distributions of the normal score, which share strength between neighbours on few rows,
    and of the column's spikes.
    Such a decoder needs z little: an autoregressive model (Germain et al. 2015) with a z beside it.

    Columns without holes come first, then those with ever more: what is drawn is a whole row, and a
    column must not learn that an earlier one is there. A number that is nearly a linear map of
    earlier ones is modelled as its difference from it, whose density is the same; so the small
    differences of nearly equal columns are kept.

    In training a missing cell is marked as absent to the later columns, as drawing it would take a
    pass for each column. Else missing cells are drawn in order, and later cells are given the drawn
    ones: exp(log_prob) is then an unbiased estimate of the marginal p(observed cells | z), and its
    logarithm a bound in expectation. The draws are a function of z's number and of the row, so
    that the score of a row depends on no other row.
    """

    scaling, preset = "kinds", "generate"
    options = ("heads",)
    baseline_names = Mixed.baseline_names
    needs_marginals = False  # they lie between training values already
    n_start = 200_000  # rare values have to be among them

    def __init__(self, columns, heads="bins"):
        super().__init__(len(columns), N_CONTEXT)
        n = len(columns)
        if n > MOST_ORDERED:
            raise UserError(
                f"likelihood ordered: {n} columns, expected at most {MOST_ORDERED}; train a run "
                "with likelihood mixed, and draw from it"
            )
        self.heads = heads
        # Features and errors of cells depend on kinds only, and are those of independent columns.
        self.table = Mixed(columns, variance="fixed:1").requires_grad_(False)
        self.n_features = self.table.n_features
        self.ordinals = [j for j, column in enumerate(columns) if column.kind == "ordinal"]
        self.bins = bins = Bins(columns)
        self.mixtures = bins.numbers if heads == "mixture" else []
        self.softmaxes = [j for j in range(n) if j not in self.mixtures]
        order = torch.tensor([*self.softmaxes, *self.mixtures]).argsort()
        self.register_buffer("order", order, persistent=False)
        n_masses = max([int(bins.n_bins[j]) for j in self.softmaxes], default=0)
        n_out = max(n_masses, N_OF_MIXTURE if self.mixtures else 0)
        self.n_hidden = n_hidden = min(MOST_UNITS[heads], max(FEWEST_UNITS, N_UNITS // n))

        self.register_buffer("sequence", torch.arange(n))  # columns as they are decoded
        self.register_buffer("slopes", torch.zeros(n, n))  # of column j in those before it
        self.register_buffer("offset", torch.zeros(n))
        has_table = torch.ones(n, 1)
        has_table[self.mixtures] = 0.0
        self.register_buffer("has_table", has_table, persistent=False)
        self.embedding = nn.Parameter(0.1 * torch.randn(n, bins.most, N_EMBEDDED))
        self.slope = nn.Parameter(0.5 * torch.randn(n, N_EMBEDDED))  # of the normal score
        self.absent = nn.Parameter(0.1 * torch.randn(n, N_EMBEDDED))
        bound = self.bound_of(torch.arange(n))
        first = uniform(n, N_EMBEDDED, n, n_hidden) * bound[:, None]
        self.first = nn.Parameter(first)
        of_context = uniform(N_CONTEXT, n, n_hidden) * bound[:, None]
        self.of_context = nn.Parameter(of_context.flatten(1))
        self.first_bias = nn.Parameter(torch.zeros(n, n_hidden))
        self.last = nn.Parameter(uniform(n, n_hidden, n_out) / math.sqrt(n_hidden))
        last_bias = torch.zeros(n, 1, n_out)
        for j in self.mixtures:  # components apart, or they would stay alike
            last_bias[j, 0, :N_COMPONENTS] = torch.linspace(-1, 1, N_COMPONENTS)
        self.last_bias = nn.Parameter(last_bias)

    @classmethod
    def of(cls, columns, **options):
        return cls(columns, **options)

    @property
    def width(self):
        return self.n_columns * max(self.n_hidden, self.last.shape[-1])

    def describe(self):
        n = len(self.bins.numbers)
        numbers = f", {n} of numbers by {self.heads}" if n else ""
        return f"Ordered likelihood ({self.n_columns} columns, each given the earlier{numbers})"

    def note(self, x):
        return (
            "Each column is decoded from z and the columns before it, which leave z little to say: "
            "rows are generated well, and codes tell less than those of likelihood mixed"
        )

    @torch.no_grad()
    def start_at(self, x, mask=None, n_latents=0):
        if mask is not None:
            self.put_last(to_float64(1 - mask).mean(0))
        self.find_copies(x, None if mask is None else mask.min(0).values > 0)
        self.bins.start_at(self.less_map(x), mask)

    @staticmethod
    def bound_of(rank):
        """Limits of first weights by the number of each column's inputs, [D]."""
        return (rank * N_EMBEDDED + N_CONTEXT).float().rsqrt()

    @property
    def rank(self):
        """The place of each column in the order, [D]."""
        return self.sequence.argsort()

    def put_last(self, holes):
        """Decode columns in the order of their shares of `holes` [D]."""
        before = self.bound_of(self.rank)
        self.sequence.copy_(holes.argsort(stable=True))
        ratio = (self.bound_of(self.rank) / before)[:, None]
        self.first *= ratio
        self.of_context *= ratio.expand(-1, self.n_hidden).flatten()

    def find_copies(self, x, whole=None):
        """Find the linear maps of earlier columns that nearly give a column of x [n, D].

        Of real and positive numbers without holes, those of the columns `whole` [D].
        """
        usable = {j for j in self.bins.numbers if not self.bins.is_count[j]}
        usable = [j for j in self.sequence.tolist() if j in usable and (whole is None or whole[j])]
        if len(usable) < 2:
            return
        cells = to_float64(x[:, usable])
        cells = cells[(cells.abs() < FAR_OUT).all(1)]
        if len(cells) <= 10 * MOST_PARENTS:
            return
        mean = cells.mean(0)
        cov = (cells - mean).T @ (cells - mean) / len(cells)
        for k in range(1, len(usable)):
            parents = copied_from(cov[: k + 1, : k + 1])
            if parents:
                slopes = torch.linalg.solve(cov[parents][:, parents], cov[parents, k])
                j, of = usable[k], [usable[parent] for parent in parents]
                self.slopes[j, of] = move_like(slopes, self.slopes)
                self.offset[j] = move_like(mean[k] - slopes @ mean[parents], self.offset)

    def less_map(self, x):
        """Cells [..., B, D] minus what the linear maps of earlier columns give for them."""
        return x - (x @ self.slopes.T + self.offset)

    def with_map(self, mask):
        """Which observed cells have all the columns of their maps, [B, D]; None of None."""
        if mask is None:
            return None
        lacking = (1 - mask) @ (self.slopes != 0).to(mask).T
        return mask * (lacking == 0)

    # What depends on kinds only

    def embed(self, x, mask=None):
        return self.table.embed(x, mask)

    def features(self, x, mask=None):
        return self.table.features(x, mask)

    def center(self, x, mask):
        return self.table.center(x, mask)

    def cell_errors(self, x, recon):
        return self.table.cell_errors(x, recon)

    def baselines(self, train, test):
        return self.table.baselines(train, test)

    # The network

    def embedded(self, code, there=None, columns=slice(None)):
        """Codes [N, d] of the columns in a slice as numbers for the later ones, [N, d, E]."""
        column = torch.arange(self.n_columns, device=code.device)[columns]
        of_column = self.bins.most * column
        table = F.embedding(code + of_column, self.embedding.flatten(0, 1))
        score = self.bins.middle[column, code].unsqueeze(-1)  # normal, of the middle of the bin
        found = table * self.has_table[columns] + score * self.slope[columns]
        there = torch.ones_like(code) if there is None else there
        return torch.where(there.unsqueeze(-1) > 0, found, self.absent[columns])

    def outputs(self, params, code, there=None):
        """The outputs of all columns at once, [D, N, O], for rows code [B, D]; N = K B."""
        n, n_hidden = self.n_columns, self.n_hidden
        earlier = (self.rank[:, None] < self.rank)[:, None, :, None]  # [from, 1, to, 1]
        first = (self.first * earlier).reshape(n * N_EMBEDDED, n * n_hidden)
        of_cells = self.embedded(code, there).flatten(1) @ first + self.first_bias.flatten()
        hidden = F.silu(of_cells + params @ self.of_context).reshape(-1, n, n_hidden)
        if self.mixtures:
            hidden = F.dropout(hidden, DROPOUT, self.training)
        return torch.baddbmm(self.last_bias, hidden.transpose(0, 1), self.last)

    def masses_of_mixture(self, j, out, code):
        """Log-masses of bins code [..., L] of columns j [..., 1], from their outputs [..., O]."""
        low, high = (self.bins.scores[j, c].unsqueeze(-1) for c in (code, code + 1))
        sizes = (N_COMPONENTS, N_COMPONENTS, N_COMPONENTS + N_SPIKES)
        location, raw, shares = out[..., None, :N_OF_MIXTURE].split(sizes, -1)  # [..., 1, M]
        sharpness = torch.exp(-raw.clamp(*LOG_SCALES))
        smooth = Ordinal.log_between(low * sharpness, high * sharpness, location * sharpness)
        spikes = self.bins.spikes[j]  # [..., 1, S]
        there = F.pad(spikes >= 0, (N_COMPONENTS, 0), value=True)
        shares = shares.masked_fill(~there, -FAR_LOGIT).log_softmax(-1)
        spiked = torch.where(spikes == code.unsqueeze(-1), 0.0, -FAR_LOGIT).to(smooth)
        return (shares + torch.cat([smooth, spiked], -1)).logsumexp(-1)

    def masses(self, j, out):
        """Log-masses of all bins of column j, [N, L], from its outputs [N, O]."""
        exists = self.bins.exists[j]
        if j in self.mixtures:
            every = torch.arange(self.bins.most, device=out.device).expand(len(out), -1)
            found = self.masses_of_mixture(torch.full_like(every[:, :1], j), out, every)
            return found.masked_fill(~exists, -FAR_LOGIT)
        found = out.new_full((len(out), self.bins.most), -FAR_LOGIT)
        n_masses = min(out.shape[-1], self.bins.most)
        found[:, :n_masses] = out[:, :n_masses]
        return found.masked_fill(~exists, -FAR_LOGIT).log_softmax(-1)

    def masses_at(self, columns, out, code):
        """Log-masses [d, N] of the bins code [d, N] of columns with one kind of head, from their
        outputs [d, N, O].
        """
        at = torch.tensor(columns, device=out.device)
        if columns[0] in self.mixtures:
            own = self.masses_of_mixture(at[:, None, None], out, code.unsqueeze(-1))
            return own.squeeze(-1)
        n_masses = min(out.shape[-1], self.bins.most)
        exists = self.bins.exists[at, None, :n_masses]
        logits = out[..., :n_masses].masked_fill(~exists, -FAR_LOGIT)
        return logits.gather(-1, code.unsqueeze(-1)).squeeze(-1) - logits.logsumexp(-1)

    # Densities

    def log_prob(self, params, x, mask=None):
        x = observed(x, mask)
        if mask is not None and not self.training and not mask.all():
            return self.complete(params, x, mask, self.uniform_of(params, x, mask))[0]
        there = self.with_map(mask)
        found = self.log_prob_per_column(params, x, there)
        return (found if there is None else found * there).sum(-1)

    def uniform_of(self, params, x, mask):
        """Numbers in [0, 1) for missing cells [..., B, D]: those of the sample, moved by what the
        row holds (a rotation, Cranley & Patterson 1976).
        """
        noise = torch.Generator().manual_seed(0)
        of_sample = torch.rand((*params.shape[:-2], 1, self.n_columns), generator=noise)
        mixing = 1e3 * torch.rand((self.n_columns, self.n_columns), generator=noise).double()
        cells = torch.cat([observed(x, mask), mask], -1).cpu().double().sin()
        of_row = (cells.unflatten(-1, (2, -1)).sum(-2) @ mixing).frac()
        moved = of_sample.double() + of_row.abs()
        return (moved - moved.floor()).to(params.dtype).to(params.device)

    def log_prob_per_column(self, params, x, mask=None):
        place = self.bins.place(self.less_map(x))
        out = self.outputs(params, place.code, mask)  # [D, N, O]
        code = place.code.T.repeat(1, out.shape[1] // len(x))
        masses = [
            self.masses_at(columns, out[columns], code[columns])
            for columns in (self.softmaxes, self.mixtures)
            if columns
        ]
        masses = torch.cat(masses)[self.order]
        return masses.T.reshape(*params.shape[:-1], -1) + place.log_density

    # In order

    def in_order(self, params, choose, x=None, mask=None):
        """Rows whose cells are chosen one after another, [..., B, D], and log p of observed cells.

        `choose` maps a column's number, the log-masses [n, L] of its bins, and the numbers of the n
        rows that lack it, to cells [n], less what its map gives. The observed cells of x stay.
        """
        flat = params.reshape(-1, params.shape[-1])
        shape, n, n_hidden = (len(flat), self.n_columns), self.n_columns, self.n_hidden
        cells, log_p = flat.new_zeros(shape), flat.new_zeros(len(flat))
        missing = torch.ones_like(cells, dtype=torch.bool)
        if x is not None:
            missing = (mask == 0).expand(*params.shape[:-1], n).reshape(shape)
            cells = observed(x, mask).expand(*params.shape[:-1], n).reshape(shape).clone()
        of_context = (flat @ self.of_context).unflatten(-1, (n, n_hidden)) + self.first_bias
        embedded = flat.new_zeros(*shape, N_EMBEDDED)
        sequence = self.sequence.tolist()
        for k, j in enumerate(sequence):
            first = self.first[:, :, j][sequence[:k]].reshape(k * N_EMBEDDED, n_hidden)
            earlier = embedded[:, sequence[:k]].reshape(len(flat), k * N_EMBEDDED)
            of_map = cells @ self.slopes[j] + self.offset[j]
            hidden = F.silu(torch.addmm(of_context[:, j], earlier, first))
            out = hidden @ self.last[j] + self.last_bias[j]
            rows = missing[:, j].nonzero().squeeze(-1)
            if len(rows):
                cells[rows, j] = choose(j, self.masses(j, out[rows]), rows) + of_map[rows]
            own = slice(j, j + 1)
            place = self.bins.place(cells[:, own] - of_map[:, None], own)
            if len(rows) < len(flat):
                masses = self.masses_at([j], out[None], place.code.T)[0]
                known = masses + place.log_density[:, 0]
                log_p = log_p + torch.where(missing[:, j], 0.0, known)
            embedded[:, own] = self.embedded(place.code, columns=own)
        return cells.reshape(*params.shape[:-1], n), log_p.reshape(params.shape[:-1])

    def draw_cell(self, j, masses, rows=None):
        """Draws of column j [n] from the log-masses of its bins [n, L]."""
        return self.bins.draw(j, torch.multinomial(masses.exp(), 1).squeeze(-1))

    @torch.no_grad()
    def complete(self, params, x, mask, uniform=None):
        """See Likelihood. With `uniform` [..., 1 or B, D] missing cells are the middle of the bins
        that these numbers choose.
        """

        def choose(j, masses, rows):
            chosen = uniform[..., j].expand(params.shape[:-1]).reshape(-1)[rows]
            below = masses.exp().cumsum(-1)
            code = torch.searchsorted(below, (chosen * below[:, -1]).unsqueeze(-1)).squeeze(-1)
            return self.bins.centre[j, torch.minimum(code, self.bins.n_bins[j] - 1)]

        choose = self.draw_cell if uniform is None else choose
        cells, log_p = self.in_order(params, choose, x, mask)
        return log_p, cells

    def given(self, params, x, mask):
        return Completed(params[..., self.n_params :])

    @torch.no_grad()
    def sample(self, params):
        if isinstance(params, Completed):
            return params.cells
        return self.in_order(params, self.draw_cell)[0]

    @torch.no_grad()
    def mean(self, params):
        """In order, the mean or the most probable level of each column, given those before it.

        Not E[x|z], which would be a sum over all values of the earlier columns.
        """
        if isinstance(params, Completed):
            return params.cells

        def expected(j, masses, rows):
            if j in self.bins.levels:
                return masses.argmax(-1).to(params.dtype)
            return masses.exp() @ self.bins.centre[j]

        return self.in_order(params, expected)[0]

    def std(self, params):
        """Standard deviation of N_STD draws of x given z."""
        if isinstance(params, Completed):
            return torch.zeros_like(params.cells)
        return self.sample(params.expand(N_STD, *params.shape)).std(0)

    def average(self, params, weights, unit=None):
        """The weighted mean of numbers, and the level with the largest weight, of ordinal columns
        the median, over rows [K, B, D].
        """
        cells = self.mean(params)
        numbers = cells if unit is None else unit(cells, torch.zeros_like(cells))
        found = weighted_mean(numbers, weights)
        for j in self.bins.levels:
            votes = weights.new_zeros(cells.shape[1], int(self.bins.n_bins[j]))
            votes.scatter_add_(1, cells[..., j].long().T, weights.T)
            level = votes.argmax(-1)
            if j in self.ordinals:
                level = (votes.cumsum(-1) < 0.5 * votes.sum(-1, keepdim=True)).sum(-1)
            found[:, j] = move_like(level.to(weights.dtype), found)
        return found


def copied_from(cov):
    """Numbers of the columns of which the last one of a covariance [k, k] is nearly a linear map.

    One after another, that which leaves the least variance; none where too much is left.
    """
    own, parents, start = cov.diagonal().clone(), [], cov[-1, -1]
    if start <= 0:
        return []
    left = cov.clone()
    while len(parents) < MOST_PARENTS:
        gain = left[-1, :-1].square() / left.diagonal()[:-1]
        gain = torch.where(left.diagonal()[:-1] > 1e-9 * own[:-1], gain, 0.0)
        best = int(gain.argmax())
        if left[-1, -1] - gain[best] > HELPS**2 * left[-1, -1] or gain[best] <= 0:
            break
        parents.append(best)
        left = left - torch.outer(left[:, best], left[best]) / left[best, best]
    return parents if left[-1, -1] < NEAR_COPY**2 * start else []


def uniform(*shape):
    """Numbers from -1 to 1."""
    return 2 * torch.rand(*shape) - 1
