"""p(x|z) of a table whose columns are of several kinds.

Shapes: x [B, D], mask [B, D] (1 = observed), params [..., B, n_params]; log-probabilities in nats.
"""

import math
from functools import partial

import torch
from torch import nn

from parts.errors import UserError
from parts.model.likelihoods.base import Likelihood, weighted_mean
from parts.model.likelihoods.correlated import numbers
from parts.model.likelihoods.discrete import Bernoulli, Categorical, NegativeBinomial, Ordinal
from parts.model.likelihoods.gaussian import StudentT
from parts.model.limits import AT_LIMIT, FARTHEST_SEEN
from parts.model.normal import log_normal
from parts.model.precision import move_like, to_float64

# Floor of variances in a table, in standardised units. A lower one raises log p(x) of columns with
# ties, by spikes of density at these, and makes scores and imputations worse.
TABLE_MIN_VARIANCE = 0.01
# And their ceiling where the decoder gives them: the mean of a log-normal grows with exp(variance).
TABLE_MAX_VARIANCE = 4.0
NUMBERS = ("real", "count")  # blocks whose averages are means
NO_LIMITS = (math.nan, math.nan)


class Mixed(Likelihood):
    """A table's columns, each by its kind, independent given z; the mask is part of the features.

    `real` and `positive` columns (these in logarithms) are Gaussian or Student-t by `real`, and
    share the setting `variance`; see discrete.py for the others. A block of columns of one
    kind is one distribution; columns may come in any order. A cell at a limit of its column stands
    for a number beyond it, and counts by the probability of that (Tobin 1958).
    """

    scaling, preset = "kinds", "table"
    options = ("variance", "noise", "real")
    baseline_names = {"diagonal": "independent columns"}

    def __init__(self, columns, variance="shared", real="gaussian", noise="independent"):
        if real == "student" and noise != "independent":
            raise UserError(f"noise {noise} does not go with real student")
        number = StudentT if real == "student" else partial(numbers, noise=noise)
        limits = {"floor": TABLE_MIN_VARIANCE, "ceiling": TABLE_MAX_VARIANCE}
        build = {
            "real": lambda cs: number(len(cs), variance=variance, **limits),
            "count": lambda cs: NegativeBinomial([c.centre for c in cs], [c.spread for c in cs]),
            "binary": lambda cs: Bernoulli(len(cs)),
            "categorical": lambda cs: Categorical([len(c.levels) for c in cs]),
            "ordinal": lambda cs: Ordinal([len(c.levels) for c in cs]),
        }
        block_of = ["real" if c.kind == "positive" else c.kind for c in columns]
        members = {kind: [j for j, k in enumerate(block_of) if k == kind] for kind in build}
        members = {kind: at for kind, at in members.items() if at}
        blocks = {kind: build[kind]([columns[j] for j in at]) for kind, at in members.items()}
        super().__init__(len(columns), sum(block.n_params for block in blocks.values()))
        self.real, self.noise = real, noise
        self.blocks = nn.ModuleDict(blocks)
        self.n_features = len(columns) + sum(block.n_features for block in blocks.values())
        for kind, at in members.items():
            self.register_buffer(f"at_{kind}", torch.tensor(at), persistent=False)
        order = torch.tensor([j for at in members.values() for j in at]).argsort()
        self.register_buffer("order", order, persistent=False)
        self.sizes = [block.n_params for block in blocks.values()]
        limits = [
            c.limits if kind == "real" else NO_LIMITS
            for c, kind in zip(columns, block_of, strict=True)
        ]
        self.register_buffer("limits", torch.tensor(limits).mT, persistent=False)  # [2, D]
        self.censors = not bool(self.limits.isnan().all())

    @classmethod
    def of(cls, columns, **options):
        return cls(columns, **options)

    @property
    def width(self):
        return max(self.n_params, *(block.width for block in self.blocks.values()))

    def describe(self):
        number = {"gaussian": "Gaussian", "student": "Student-t"}[self.real]
        names = {"real": number, "count": "negative binomial", "binary": "Bernoulli"}
        if self.noise != "independent":
            names["real"] = f"{number} with {self.noise} noise"
        parts = [f"{block.n_columns} {names.get(k, k)}" for k, block in self.blocks.items()]
        return f"Mixed likelihood ({', '.join(parts)})"

    def start_at(self, x, mask=None, n_latents=0):
        for kind, block in self.blocks.items():
            block.start_at(self.take(kind, x), self.take(kind, mask))

    def penalty(self):
        found = [block.penalty() for block in self.blocks.values()]
        found = [term for term in found if term is not None]
        return sum(found[1:], found[0]) if found else None

    def take(self, kind, x):
        """The columns of a block, [..., d]."""
        if x is None or len(self.blocks) == 1:
            return x
        return x.index_select(-1, getattr(self, f"at_{kind}").to(x.device))

    def split(self, params):
        """Kind, block and the block's parameters, of every block; of params or of `given`."""
        if isinstance(params, tuple):
            pieces = params
        else:
            pieces = params.split(self.sizes, -1) if len(self.blocks) > 1 else [params]
        return [(k, b, p) for (k, b), p in zip(self.blocks.items(), pieces, strict=True)]

    def join(self, pieces):
        """The blocks' results per column, joined in the table's order."""
        return torch.cat(pieces, -1).index_select(-1, self.order.to(pieces[0].device))

    def embed(self, x, mask=None):
        blocks = self.blocks.items()
        return torch.cat([b.embed(self.take(k, x), self.take(k, mask)) for k, b in blocks], -1)

    def features(self, x, mask=None):
        there = torch.ones_like(x) if mask is None else mask
        more = [
            b.more_features(self.take(k, x), self.take(k, mask)) for k, b in self.blocks.items()
        ]
        # Without the clamp one absurd cell would send q(z|x) to where no row has been.
        seen = [self.embed(x, mask), there, *(part for part in more if part is not None)]
        seen = [part.clamp(-FARTHEST_SEEN, FARTHEST_SEEN) for part in seen]
        return torch.cat(seen, -1)

    def log_prob(self, params, x, mask=None):
        side, exact = self.sides(x, mask)
        terms = [
            block.log_prob(piece, self.take(kind, x), self.take(kind, exact))
            for kind, block, piece in self.split(params)
        ]
        if side is not None:
            rows = side.any(-1).nonzero().squeeze(-1)
            mass = self.log_mass(params, x, exact, side, rows).sum(-1)
            terms.append(params.new_zeros(params.shape[:-1]).index_copy(-1, rows, mass))
        return sum(terms[1:], terms[0])

    def log_prob_per_column(self, params, x):
        pieces = self.split(params)
        found = self.join([b.log_prob_per_column(p, self.take(k, x)) for k, b, p in pieces])
        side, exact = self.sides(x)
        if side is not None:
            rows = torch.arange(len(x), device=x.device)
            found = torch.where(side != 0, self.log_mass(params, x, exact, side, rows), found)
        return found

    def sides(self, x, mask=None):
        """-1 where a cell lies below its column's limit, 1 where it lies above one, 0 elsewhere,
        [B, D], None where no cell does; and the mask of the cells that are known exactly.
        """
        if not self.censors:
            return None, mask
        below, above = (x - self.limits.unsqueeze(-2)).abs() <= AT_LIMIT  # False for NaN
        side = above.to(x.dtype) - below.to(x.dtype)
        side = side if mask is None else side * (mask > 0)
        if not bool(side.any()):
            return None, mask
        exact = (side == 0).to(x.dtype)
        return side, exact if mask is None else exact * mask

    def log_mass(self, params, x, exact, side, rows):
        """log P(a cell lies on its side of the limit | z, the exact cells), [..., n, D], of some
        `rows` [n]; 0 for exact and missing cells.

        Each censored cell of a row by itself; with correlated noise several of them depend on one
        another, which is neglected.
        """
        kinds = list(self.blocks)
        block, at = self.blocks["real"], kinds.index("real")
        piece = self.split(params)[at][2].index_select(-2, rows)
        own, known, side = (self.take("real", part)[rows] for part in (x, exact, side))
        given = block.given(piece, own, known)
        # The standard deviation of an exact cell is 0 here; its gradient must not be NaN.
        mean = torch.where(side != 0, block.mean(given), own)
        std = torch.where(side != 0, block.std(given), 1.0)
        mass = torch.where(side != 0, torch.special.log_ndtr(side * (mean - own) / std), 0.0)
        shape = mass.shape[:-1]
        return self.join(
            [
                mass if kind == "real" else mass.new_zeros(*shape, other.n_columns)
                for kind, other in self.blocks.items()
            ]
        )

    def log_prob_of_hidden(self, params, x, mask):
        pieces = [
            block.log_prob_of_hidden(piece, self.take(kind, x), self.take(kind, mask))
            for kind, block, piece in self.split(params)
        ]
        return self.join(pieces)

    def given(self, params, x, mask):
        """What each block's `given` returns, in a tuple that `split` takes."""
        _, mask = self.sides(x, mask)
        return tuple(
            block.given(piece, self.take(kind, x), self.take(kind, mask))
            for kind, block, piece in self.split(params)
        )

    def mean(self, params):
        """The mean of numbers, the most probable level of categories, the median of ordinals."""
        return self.join([block.mean(piece) for _, block, piece in self.split(params)])

    def std(self, params):
        return self.join([block.std(piece) for _, block, piece in self.split(params)])

    def sample(self, params):
        return self.join([block.sample(piece) for _, block, piece in self.split(params)])

    def of_numbers(self, name, params):
        """`mean` or `std` of the columns of numbers, and 0 for the others, to save their cost."""
        parts = []
        for kind, block, piece in self.split(params):
            if kind in NUMBERS:
                parts.append(getattr(block, name)(piece))
            else:
                parts.append(piece.new_zeros(1).expand(*piece.shape[:-1], block.n_columns))
        return self.join(parts)

    def average(self, params, weights, unit=None):
        """What to expect of x [B, D] over components [K, B, P] with weights [K, B]: the mean of
        numbers, for which `unit` is used, and the most probable or median level of the others.
        """
        whole = self.of_numbers("mean", params)
        if unit is not None:
            whole = unit(whole, self.of_numbers("std", params))
        whole = weighted_mean(whole, weights)
        parts = []
        for kind, block, piece in self.split(params):
            if kind in NUMBERS:
                parts.append(self.take(kind, whole))
            else:
                parts.append(move_like(block.average(piece, weights), whole))
                if kind == "binary":
                    parts[-1] = (parts[-1] > 0.5).to(whole.dtype)
        return self.join(parts)

    def center(self, x, mask):
        parts = [b.center(self.take(k, x), self.take(k, mask)) for k, b in self.blocks.items()]
        return self.join(parts)

    def cell_errors(self, x, recon):
        """Squared for numbers (standardised), 0 or 1 for categories, share of ranks for ordinal."""
        parts = []
        for kind, block in self.blocks.items():
            theirs = self.take(kind, recon)
            theirs = theirs.round() if kind == "binary" else theirs
            parts.append(block.cell_errors(self.take(kind, x), theirs))
        return self.join(parts)

    def baselines(self, train, test):
        """Each column by its own distribution, fitted to the training rows without any z."""
        total = 0.0
        for kind, block in self.blocks.items():
            ours = [self.take(kind, part) for part in (train.x, train.mask, test.x, test.mask)]
            total += marginal_log_prob(kind, block, *ours)
        return {"diagonal": total}


def marginal_log_prob(kind, block, train, train_mask, test, test_mask):
    """Mean over `test` rows of the log-probability of a block under its columns' marginals."""
    ones = [
        torch.ones_like(x) if m is None else m for x, m in ((train, train_mask), (test, test_mask))
    ]
    train_mask, test_mask = (to_float64(m) for m in ones)
    train, test = to_float64(train), to_float64(test)
    n = train_mask.sum(0).clamp(min=1)
    if kind in ("real", "count"):
        mu = (train * train_mask).sum(0) / n
        variance = ((train - mu).square() * train_mask).sum(0) / n
        if kind == "real":
            per_cell = log_normal(test, mu, (variance + TABLE_MIN_VARIANCE).log())
        else:  # by moments
            r = (mu.square() / (variance - mu).clamp(min=1e-3 * mu.square() + 1e-12)).clamp(
                1e-2, 1e5
            )
            count = torch.distributions.NegativeBinomial(r, probs=mu / (mu + r) + 1e-12)
            per_cell = count.log_prob(test)
    else:
        n_levels = block.n_levels if kind != "binary" else torch.full((test.shape[1],), 2)
        n_levels = n_levels.to(test.device)
        levels = torch.arange(int(n_levels.max()), device=test.device)
        hits = ((train[..., None] == levels) * train_mask[..., None]).sum(0) + 0.5
        share = hits / (n + 0.5 * n_levels)[:, None]
        per_cell = share.log()[torch.arange(test.shape[1]), test.long()]
    return (per_cell * test_mask).sum(-1).mean().item()
