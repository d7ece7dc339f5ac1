"""Score rows by -log p under a fitted model, and find their most surprising cells.

scorer = Scorer(fitted)
scores = scorer(x, mask, y)          # -log p(row), nats; higher is odder
threshold = conformal_threshold(scorer.of_reference(fitted.held), 0.01)
"""

import copy
import math
from functools import cached_property

import numpy as np
import torch

from parts.finite import finite
from parts.forms import units
from parts.forms.base import Reference, random_rows
from parts.measure.hidden_cells import N_DRAWS, find_rows
from parts.model.batches import Batch

N_SCORE = 20  # fewest importance samples of a score; n_samples / 5 if that is more
UNSURE_ESS = 2.0  # effective samples below which a row is scored again with more samples
RESCORE_FACTOR = 5  # how many times more samples these rows get
BEYOND = 10.0  # 7 standard deviations of normal scores
FARTHEST = 1e300  # the score of a row that even float64 cannot tell
N_EXEMPLARS = 1000  # most rows whose aggregated posterior is the prior of scores
N_TYPICAL = 300  # most held-out rows for the typical surprise of columns
N_SCORED_AT_A_TIME = 8192  # rows that are scored at a time


class Scorer:
    """A fitted model with the noise and the rows on which its scores depend.

    The prior of a score is the aggregated posterior of a sample of the run's rows instead of
    N(0, I), see parts/model/aggregated.py. A row of the sample is scored without its own component.
    After a trimmed fit the prior is p(z), because the sample holds rows that were left out.
    """

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
            self.prior = self.model.aggregated(*self.batch(*self.rows[:3]))

    def batch(self, x, mask, y=None):
        """The rows as a Batch on the model's device."""
        return Batch.on(self.device, x, y, mask)

    def __call__(self, x, mask, y=None, progress=None, values=None):
        """-log p(observed cells | y) of rows [N, D] minus the entropy of rates, nats [N].

        `Column.log_det` without `user` gives the units. The score of a row does not depend on other
        rows; rows with few effective samples get more samples. The entropy of x as rates of binary
        pixels is subtracted, because grey pictures would otherwise be odd.

        With `values` of the columns in relations, a cell that an equation gives from others of its
        row is left out where the equation holds: its probability given these is 1.
        """
        own = None
        if self.prior is not None and len(self.rows.x) > 1:
            seen = with_y_appended(x, mask, y), with_y_appended(*self.rows[:3])
            own = find_rows(*seen[0], *seen[1])
        if self.rules is not None and values is not None:
            mask = mask * ~self.rules.implied(values, [column.name for column in self.columns])
        scores, ess = self.estimate(x, mask, self.few, self.prior, own, y, progress)
        few = np.flatnonzero(ess < UNSURE_ESS)
        own, y = (None if part is None else part[few] for part in (own, y))
        scores[few] = self.estimate(x[few], mask[few], self.more, self.prior, own, y)[0]
        return scores - self.entropy(x)

    def of_encoded(self, encoded, progress=None):
        """Scores of Encoded rows, with the nats of their Strange cells."""
        scores = self(encoded.x, encoded.mask, encoded.y, progress, encoded.values)
        for strange in encoded.strange:
            scores[strange.rows] += strange.nats
        return finite("scores", scores + self.of_relations(encoded.values))

    def of_reference(self, rows):
        """Scores of the rows of a Reference."""
        scores = self(rows.x, rows.mask.astype(np.float32), rows.y, values=rows.values)
        return finite("scores", scores + self.of_relations(rows.values))

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
        x, mask, y, values = self.rows
        scores = self(x, mask.astype(np.float32), y, values=values)
        median, upper = np.quantile(scores, [0.5, 0.75])
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

    # Cells

    def surprise(self, x, mask, y=None):
        """-log p(cell | the row's other cells), nats [n, D], NaN where the cell is missing.

        The prior is the model's own p(z).
        """
        scores, _ = self.estimate(x, mask, self.few, y=y)
        surprise = np.full(x.shape, np.nan)
        for j in range(x.shape[1]):
            without = mask.copy()
            without[:, j] = 0
            others, _ = self.estimate(x, without, self.few, y=y)
            surprise[:, j] = np.where(mask[:, j] > 0, scores - others, np.nan)
        return surprise

    def typical_surprise(self, rows):
        """The median `surprise` of each column over a sample of a Reference, [D]; at least 0."""
        some = rows.take(random_rows(len(rows.x), N_TYPICAL))
        found = self.surprise(some.x, some.mask.astype(np.float32), some.y)
        with_zero = np.vstack([found, np.zeros_like(found[:1])])
        return np.nan_to_num(np.nanmedian(with_zero, 0))

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


def compare(labels, scores, scorer, encoded, train):
    """AUROC and average precision of the scores and of other detectors, as a dict.

    The other detectors take conditions as columns. `labels` are 0, 1 or NaN.
    """
    known = ~np.isnan(labels)
    ours = [part[known] for part in encoded[:3] if part is not None]
    reference = [
        part for part in (train.x, train.mask.astype(np.float32), train.y) if part is not None
    ]
    x, reference = (scorer.embed(*part) for part in (ours, reference))
    from parts.measure import baselines

    others = baselines.detectors(reference, x)
    scores = {"VAE (this run)": scores[known]} | others
    return {name: baselines.ranking(labels[known], score) for name, score in scores.items()}
