"""Score rows by -log p under a fitted model, and find their most surprising cells.

scorer = Scorer(fitted)
nats = scorer(x, mask, y)                # -log p(observed cells)
scores = scorer.of_encoded(encoded)      # relative to rows with the same holes; higher is odder
threshold = conformal_threshold(scorer.of_reference(fitted.held), 0.01)
"""

import copy
import math
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np
import torch

from parts.finite import finite
from parts.forms import units
from parts.forms.base import Reference, random_rows
from parts.measure.hidden_cells import N_DRAWS, find_rows
from parts.model.batches import Batch
from parts.model.importance import hidden_log_prob
from parts.tasks.usual import N_REFERENCE, Usual

N_SCORE = 20  # fewest importance samples of a score; n_samples / 5 if that is more
UNSURE_ESS = 2.0  # effective samples below which a row is scored again with more samples
RESCORE_FACTOR = 5  # how many times more samples these rows get
BEYOND = 10.0  # 7 standard deviations of normal scores
FARTHEST = 1e300  # the score of a row that even float64 cannot tell
N_EXEMPLARS = 1000  # most rows whose aggregated posterior is the prior of scores
WIDTHS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6)  # of its kernels, see `Scorer.chosen_prior`
N_COMPARED = 300  # most of these rows by which a width is chosen
N_TYPICAL = 200  # most held-out rows for the typical surprise of columns
MOST_EXACT = 24  # most columns of which each cell of a row is measured by itself
N_FOLDS, N_CANDIDATES = 8, 6  # in a wider table: folds of columns, and cells that are then measured
MOST_COMBINED, USUAL = 4, 1.0  # cells of an unusual combination; deviations within which rows are
N_SCORED_AT_A_TIME = 8192  # rows that are scored at a time


class Scored(NamedTuple):
    """Of each row its score, its -log p, both in nats, and its effective samples, each [N]."""

    score: np.ndarray
    nats: np.ndarray
    ess: np.ndarray


class Scorer:
    """A fitted model with the noise and the rows on which its scores depend.

    The prior of a score may be the aggregated posterior of a sample of the run's rows instead of
    p(z), see `chosen_prior`. A row of the sample is scored without its own component. After a
    trimmed fit the prior is p(z), because the sample holds rows that were left out.
    """

    unit = "nats"
    shares = {False: 0.01, True: 0.1}  # to be flagged, by whether the run's rows are in question

    def __init__(self, fitted, n_samples=100, seed=0):
        self.model, self.device = fitted.model, fitted.device
        self.columns, self.rules = fitted.codec.modelled, fitted.codec.rules
        n_score = max(N_SCORE, n_samples // 5)
        self.eps, self.few, self.more = (
            self.model.grid(n, seed).to(self.device)
            for n in (n_samples, n_score, RESCORE_FACTOR * n_score)
        )
        pairs = zip(fitted.train, fitted.held, strict=True)
        known = Reference(*[None if a is None else np.concatenate([a, b]) for a, b in pairs])
        self.rows = known.take(random_rows(len(known.x), N_EXEMPLARS))
        self.wide = None  # the model in float64, once it is needed
        # Rows that were left out of training are no sample of what is normal.
        self.prior = None
        if not fitted.in_question:
            self.prior = self.chosen_prior()

    def chosen_prior(self):
        """The aggregated posterior with the narrowest kernels by which rows are as likely as by
        p(z) when they are left out of it, up to a standard error; None, which is p(z), where there
        is no such width.

        With few exemplars in many dimensions narrow kernels leave gaps, and whether an ordinary row
        falls into one is chance. A row that is the only one has no others to be scored by.
        """
        rows = self.batch(*self.rows[:3])
        if len(rows.x) < 2:
            return self.model.aggregated(*rows)
        n = min(len(rows.x), N_COMPARED)
        some = self.rows.take(slice(n))
        some = some.x, some.mask.astype(np.float32), self.few
        own = np.arange(n)
        y = self.rows.take(slice(n)).y
        by_model = self.estimate(*some, y=y)[0]
        for width in WIDTHS:
            prior = self.model.aggregated(*rows, width=width)
            if prior is None:
                return None
            more = self.estimate(*some, prior, own, y)[0] - by_model
            if more.mean() <= more.std() / np.sqrt(n):
                return prior
        return None

    def batch(self, x, mask, y=None):
        """The rows as a Batch on the model's device."""
        return Batch.on(self.device, x, y, mask)

    def __call__(self, x, mask, y=None, progress=None, values=None):
        """-log p(observed cells | y) of rows, nats [N]; see `nats_and_ess`."""
        return self.nats_and_ess(x, mask, y, progress, values)[0]

    def nats_and_ess(self, x, mask, y=None, progress=None, values=None, own=None):
        """-log p(observed cells | y) of rows [N, D] minus the entropy of rates, nats [N], and the
        effective samples of each, [N]. `own` [N] are numbers in the sample, found by default.

        `Column.log_det` without `user` gives the units. The score of a row does not depend on other
        rows; rows with few effective samples get more samples. The entropy of x as rates of binary
        pixels is subtracted, because grey pictures would otherwise be odd.

        With `values` of the columns in relations, a cell that an equation gives from others of its
        row is left out where the equation holds: its probability given these is 1.
        """
        if self.prior is None or len(self.rows.x) < 2:
            own = None
        elif own is None:
            seen = with_y_appended(x, mask, y), with_y_appended(*self.rows[:3])
            own = find_rows(*seen[0], *seen[1])
        if self.rules is not None and values is not None:
            mask = mask * ~self.rules.implied(values, [column.name for column in self.columns])
        scores, ess = self.estimate(x, mask, self.few, self.prior, own, y, progress)
        few = np.flatnonzero(ess < UNSURE_ESS)
        own, y = (None if part is None else part[few] for part in (own, y))
        more = self.estimate(x[few], mask[few], self.more, self.prior, own, y)
        scores[few], ess[few] = more
        return scores - self.entropy(x), ess

    def of_encoded(self, encoded, progress=None):
        """Scores of Encoded rows, [N]; see `scored`."""
        return self.scored(encoded, progress).score

    def scored(self, encoded, progress=None):
        """The Scored of Encoded rows, with the nats of their Strange cells and broken relations."""
        rows = encoded.x, encoded.mask, encoded.y, progress, encoded.values
        nats, ess = self.nats_and_ess(*rows)
        more = np.zeros(len(nats)) + self.of_relations(encoded.values)
        for strange in encoded.strange:
            more[strange.rows] += strange.nats
        placed = finite("scores", self.placed(nats, encoded.mask) + more)
        return Scored(placed, finite("scores", nats + more), ess)

    def of_reference(self, rows):
        """Scores of the rows of a Reference."""
        return finite("scores", self.placed_reference(rows) + self.of_relations(rows.values))

    def threshold(self, scores, share, what, encoded, rows):
        """The threshold by the scores of reference `rows`, which are `what` `reference_of` says;
        and what it means in words, "" where that depends on the scored rows.
        """
        find = top_threshold if what == "scored" else conformal_threshold
        return find(scores, share), ""

    def placed_reference(self, rows):
        """Scores of the rows of a Reference without those of relations."""
        mask = rows.mask.astype(np.float32)
        return self.placed(self(rows.x, mask, rows.y, values=rows.values), mask)

    # Rows with holes

    def placed(self, nats, mask):
        """Nats [N] of rows with a mask [N, D] on the scale of rows without holes; see `Usual`."""
        return nats if (mask > 0).all() else self.usual.place(nats, mask)

    @property
    def n_reference(self):
        """The number of the run's rows that tell what is usual for rows with holes."""
        return min(N_REFERENCE, len(self.rows.x))

    @cached_property
    def usual(self):
        """The Usual of a sample of the run's rows."""
        rows = self.rows.take(slice(N_REFERENCE))
        return Usual(rows.x, rows.mask, partial(self.without, rows))

    def without(self, rows, keep):
        """-log p of the first rows of the sample, where only cells of `keep` [n, D] are observed,
        [n].
        """
        x, mask, y, values = rows[:4]
        values, own = self.values_of_observed(values, keep), np.arange(len(x))
        return self.nats_and_ess(x, (mask * keep).astype(np.float32), y, None, values, own)[0]

    def of_relations(self, values):
        """The sum of `relation_nats` over the relations that each row breaks, [N]."""
        if self.rules is None or values is None:
            return 0.0
        return self.rules.broken(values) @ self.relation_nats

    @cached_property
    def relation_nats(self):
        """Nats for each relation that a row breaks, [number of relations].

        They are the log-odds `Relation.nats`. Where breaking it alone makes a row odd, see
        `Relation.decides`, an ordinary row is placed above the run's rows as well: BEYOND times as
        far above their median score as their upper quartile lies. Odd rows among them move neither.
        """
        median, upper = np.quantile(self.placed_reference(self.rows), [0.5, 0.75])
        return BEYOND * (upper - median) * self.rules.decides + self.rules.nats

    def entropy(self, x):
        """The entropy of x as rates of binary pixels, a lower bound of -log p(x), nats [N]."""
        found = np.empty(len(x))
        for start in range(0, len(x), N_SCORED_AT_A_TIME):
            rows = slice(start, start + N_SCORED_AT_A_TIME)
            part = self.model.likelihood.entropy(torch.from_numpy(x[rows]))
            found[rows] = part.double().numpy()
        return found

    def estimate(self, x, mask, eps, prior=None, own=None, y=None, progress=None):
        """-log p and effective sample sizes [N] with noise `eps`; without `prior` by p(z)."""
        scores, ess = np.empty(len(x)), np.full(len(x), np.inf)
        for start in range(0, len(x), N_SCORED_AT_A_TIME):
            rows = slice(start, start + N_SCORED_AT_A_TIME)
            batch = self.batch(x[rows], mask[rows], None if y is None else y[rows])
            number = None if own is None else torch.from_numpy(own[rows]).to(self.device)
            found = self.model.importance(*batch, eps=eps, prior=prior, own=number)
            curve = units.log_det(x[rows], self.columns, mask[rows], user=False)
            scores[rows] = -(found.log_px.cpu().double().numpy() + curve)
            ess[rows] = found.ess.cpu().numpy()
            if progress is not None:
                progress(len(batch.x))
        far = np.flatnonzero(~np.isfinite(scores))
        if len(far):
            scores[far] = self.in_float64(x[far], mask[far], eps, None if y is None else y[far])
            ess[far] = np.inf
        return scores, ess

    def in_float64(self, x, mask, eps, y=None):
        """-log p of rows so far out that float32 overflows, at most FARTHEST.

        By p(z): at such a distance the choice of a prior is nothing. A row that even float64 cannot
        tell is as far as any, whatever the sign of its infinity.
        """
        if self.wide is None:
            self.wide = copy.deepcopy(self.model).cpu().double()
        batch = [None if part is None else torch.from_numpy(part).double() for part in (x, y, mask)]
        found = self.wide.importance(*batch, eps=eps.cpu().double())
        scores = -(found.log_px.numpy() + units.log_det(x, self.columns, mask, user=False))
        return np.nan_to_num(scores, nan=FARTHEST, posinf=FARTHEST, neginf=FARTHEST)

    def values_of_observed(self, values, mask):
        """Values [n, R] of the columns in relations, NaN where the mask [n, D] hides their cell."""
        if values is None or self.rules is None:
            return values
        values, names = values.copy(), [column.name for column in self.columns]
        for j, name in enumerate(self.rules.names):
            if name in names:
                values[mask[:, names.index(name)] == 0, j] = np.nan
        return values

    # Cells

    def surprise(self, x, mask, y=None, typical=None):
        """-log p(cell | the row's other cells), nats [n, D], NaN where the cell is missing.

        The prior is the model's own p(z). Of a table with more than MOST_EXACT columns only the
        N_CANDIDATES cells of a row that exceed `typical` [D] most by their `quick_surprise` are
        measured, and the others are NaN.
        """
        n_columns = x.shape[1]
        scores, _ = self.estimate(x, mask, self.few, y=y)
        surprise = np.full(x.shape, np.nan)
        if n_columns <= MOST_EXACT:
            cells = [np.full(len(x), j) for j in range(n_columns)]
        else:
            cells = self.candidates(self.quick_surprise(x, mask, y), typical, N_CANDIDATES).T
        rows = np.arange(len(x))
        for cell in cells:
            without = mask.copy()
            without[rows, cell] = 0
            others, _ = self.estimate(x, without, self.few, y=y)
            there = mask[rows, cell] > 0
            surprise[rows[there], cell[there]] = (scores - others)[there]
        return surprise

    def candidates(self, surprise, typical, n):
        """The columns of the n cells of each row that exceed what is typical most, [rows, n]."""
        excess = surprise if typical is None else surprise - typical
        order = np.argsort(-np.where(np.isnan(excess), -np.inf, excess), axis=1, kind="stable")
        return order[:, :n]

    def quick_surprise(self, x, mask, y=None, n_folds=N_FOLDS):
        """-log p(cell | the cells that are not in its fold), nats [n, D], NaN where it is missing.

        Every n_folds-th column is in one fold, so that neighbours are not. With one fold it is
        -log p(cell) alone.
        """
        surprise, batch = np.full(x.shape, np.nan), self.batch(x, mask, y)
        for fold in range(min(n_folds, x.shape[1])):
            hidden = np.arange(x.shape[1]) % n_folds == fold
            found = hidden_log_prob(
                self.model, batch, torch.from_numpy(hidden).to(self.device), self.few
            )
            surprise[:, hidden] = -found.cpu().double().numpy()[:, hidden]
        curves = [column.log_det(x[:, j], user=False) for j, column in enumerate(self.columns)]
        return np.where(mask > 0, surprise - np.stack(curves, 1), np.nan)

    def others(self, encoded, fitted, known, same_file):
        """Scores of other detectors of the Encoded rows marked in `known` [N], by name; and who
        these are, in words. They take conditions as columns.
        """
        from parts.measure import baselines

        train = fitted.train
        rows = encoded[:3], (train.x, train.mask.astype(np.float32), train.y)
        x, reference = (self.embed(*(part for part in parts if part is not None)) for parts in rows)
        who = f"the others by scikit-learn, fitted to {len(train.x)} of the run's training rows"
        return baselines.detectors(reference, x[known]), who

    def ranking(self, labels, scores, encoded, known):
        """How well scores [n] of the rows marked in `known` [N] rank the labels [n], a dict."""
        from parts.measure import baselines

        return baselines.ranking(labels, scores)

    def typical_surprise(self, rows):
        """The median surprise of each column over a sample of a Reference, [D]; at least 0."""
        some = rows.take(random_rows(len(rows.x), N_TYPICAL))
        is_narrow = some.x.shape[1] <= MOST_EXACT
        surprise = self.surprise if is_narrow else self.quick_surprise
        found = surprise(some.x, some.mask.astype(np.float32), some.y)
        with_zero = np.vstack([found, np.zeros_like(found[:1])])
        return np.nan_to_num(np.nanmedian(with_zero, 0))

    def combinations(self, x, mask, y=None, values=None, excess=None):
        """The columns of each row that together make it unusual, a list of lists.

        Cells are taken away one after another, each time the one without which the row's score is
        lowest, until it is like that of most rows, at most MOST_COMBINED. A list is empty where the
        score is so from the beginning. `excess` [n, D] says which cells are looked at first.
        """
        mask, rows = mask.copy(), np.arange(len(x))
        alone = self.quick_surprise(x, mask, y, n_folds=1)
        looked_at = np.hstack(
            [self.candidates(part, None, N_CANDIDATES) for part in (excess, alone)]
        )
        found = [[] for _ in rows]
        left = rows[self.distance(x, mask, y, values) > USUAL]
        while len(left):
            ways = []
            for cell in looked_at[left].T:
                without = mask[left]
                gone = without[np.arange(len(left)), cell] == 0
                without[np.arange(len(left)), cell] = 0
                parts = [None if part is None else part[left] for part in (y, values)]
                way = self.distance(x[left], without, *parts)
                ways.append(np.where(gone, np.inf, way))
            best = np.argmin(ways, 0)
            for row, way in zip(left, best, strict=True):
                cell = looked_at[row, way]
                found[row].append(int(cell))
                mask[row, cell] = 0
            lowest = np.min(ways, 0)
            enough = np.array([len(found[row]) for row in left])
            more = (lowest > USUAL) | (enough < 2)
            left = left[more & (enough < MOST_COMBINED) & (mask[left].sum(1) > 1)]
        return found

    def distance(self, x, mask, y=None, values=None):
        """How far -log p lies above what is usual for rows with these cells, in deviations, [n]."""
        mean, variance = self.usual.expected(mask)
        values = self.values_of_observed(values, mask)
        nats = self(x, mask, y, values=values)
        return (nats - mean) / np.sqrt(np.maximum(variance, 1e-12))

    def expected(self, x, mask, column, y=None):
        """The distribution of a column's cells given the other cells, in model units.

        Returns the mean or most probable level [n], and draws [M, n].
        """
        mask = mask.copy()
        mask[:, column] = 0
        batch = self.batch(x, mask, y)
        filled = self.model.impute(batch.x, batch.mask, batch.y, draws=N_DRAWS, eps=self.eps)
        return filled.mean[:, column].cpu().numpy(), filled.draws[..., column].cpu().numpy()

    # Other detectors

    @torch.no_grad()
    def embed(self, x, mask, y=None):
        """Rows as standardised features [n, F], followed by the conditions."""
        batch = self.batch(x, mask, y)
        found = self.model.likelihood.embed(batch.x, batch.mask).cpu().numpy()
        return found if y is None else np.hstack([found, y])


def with_y_appended(x, mask, y=None):
    """x and mask with y appended, so that equal rows have equal conditions too."""
    if y is None:
        return x, mask
    return np.hstack([x, y]), np.hstack([mask, np.ones_like(y)])


def conformal_threshold(held, share):
    """The score that new rows exceed with a probability of at most `share`; inf if n is too small.

    It is the ceil((n + 1)(1 - share))-th smallest of n held-out scores (Vovk et al. 2005, split
    conformal prediction). An interpolated quantile would flag more than `share` if n is small.
    """
    n = len(held)
    rank = math.ceil((n + 1) * (1 - share) - 1e-9)
    return math.inf if rank > n else float(np.partition(held, rank - 1)[rank - 1])


def top_threshold(scores, share):
    """The score that at most the share of these scores exceeds, as near to it as can be."""
    n_flagged = math.floor(len(scores) * share + 1e-9)
    return float(np.partition(scores, len(scores) - n_flagged - 1)[len(scores) - n_flagged - 1])


def rows_needed(share):
    """The fewest held-out rows from which `conformal_threshold` is finite."""
    return math.ceil(1 / share - 1e-9) - 1


def ranks(scores):
    """The rank of each score, 1 for the highest, [N]."""
    rank = np.empty(len(scores), int)
    rank[np.argsort(-scores, kind="stable")] = np.arange(1, len(scores) + 1)
    return rank


def compare(labels, scores, scorer, encoded, fitted, same_file):
    """How well the scores and those of other detectors rank the labels, a dict by their names; and
    who the others are, in words.

    `labels` [N] are 0, 1 or NaN; `same_file` if the run was trained on the file of these rows.
    """
    known = ~np.isnan(labels) & np.isfinite(scores)
    others, who = scorer.others(encoded, fitted, known, same_file)
    scores = {"VAE (this run)": scores[known]} | others
    found = {
        name: scorer.ranking(labels[known], score, encoded, known) for name, score in scores.items()
    }
    return found, who


# Form.scores -> what scores its rows, imported where it is used
SCORERS = {"rows": "parts.tasks.score:Scorer", "windows": "parts.tasks.score_windows:WindowScorer"}
