"""Score the rows of a series by the windows that cover them.

A window's surprise is -ELBO for each observed cell, in robust deviations from that of the run's
windows: 0 is ordinary. A row has the mean over the windows that cover it, and of several members
the largest: what one of them does not expect is odd.

M members, S slots of the grid, N rows, n windows.
"""

import math
import statistics

import numpy as np
import torch

from parts.finite import finite
from parts.forms.series.events import Expected, odd_stretches, of_slots
from parts.forms.series.form import FARTHEST as FARTHEST_CELL
from parts.forms.series.form import period_of
from parts.forms.series.grid import FULL, TRAIN
from parts.measure.series_baselines import GAUSSIAN
from parts.model.batches import CHUNK_FLOATS, Batch
from parts.model.normal import kl_normal
from parts.tasks.score import Scored

N_ARRIVING = 64  # windows that are scored at a time as rows arrive
N_SAMPLES = 4  # of z for each window and member
MOST_WINDOWS = 200_000  # that are scored; beyond, not every window is
SMALLEST = 1e-6  # spread of surprises, in nats per cell
N_BAND, N_EXPECTED_AT_A_TIME = 40, 64  # draws of what is expected, windows at a time
MOST_EXPECTED = 5000  # windows for which it is found
FARTHEST = 1e9  # nats per cell; what is farther would drown others in the sums of windows
N_PERIODS = 30  # in which an ordinary series has one false event
FEWEST_BLOCKS = 12  # whose highest scores tell what is ordinary
LEAST_STD = 0.1  # of these, in deviations
USUAL_SHARE = 0.01  # of ordinary rows, where a run does not tell the time of its windows
OTHERS = GAUSSIAN, "nearest window", "isolation forest of windows"  # with which it is compared


class WindowScorer:
    """Scores a series by a fitted model of its windows."""

    unit = "deviations"
    shares = {False: None, True: None}  # of rows, where none is asked for: events are counted
    n_reference = (
        math.inf
    )  # rows by which it is told what is usual for rows with holes: none needed

    def __init__(self, fitted, n_samples=100, seed=0, online=False):
        self.model, self.device, self.online = fitted.model, fitted.device, online
        self.columns, self.length = fitted.codec.measured, fitted.codec.shape[0]
        self.codec = fitted.codec
        self.has_y = bool(fitted.codec.y_dim)
        generator = torch.Generator().manual_seed(seed)
        half = torch.randn(N_SAMPLES // 2, 1, self.model.z_dim, generator=generator)
        self.eps = torch.cat([half, -half]).to(self.device)
        self.rules = None
        usual = self.surprise(fitted.train.x, fitted.train.y, fitted.train.mask)  # [M, n]
        low, self.centre, high = np.quantile(usual, [0.25, 0.5, 0.75], axis=1)[..., None]
        self.spread = np.maximum(high - low, SMALLEST)

    @torch.no_grad()
    def surprise(self, x, y, mask):
        """-ELBO for each observed cell of windows [n, L D], by member [M, n]; nats, of cells in the
        scale of their states.
        """
        model, found = self.model, []
        n_rows = max(1, CHUNK_FLOATS // (model.width * model.members * N_SAMPLES))
        for start in range(0, len(x), n_rows):
            rows = slice(start, start + n_rows)
            there = np.asarray(mask[rows], np.float32)
            whole = None if there.all() else there
            given = y[rows] if self.has_y else None
            batch = Batch.on(self.device, np.where(there > 0, x[rows], 0.0), given, whole)
            q = model.posterior(*batch)
            z = model.reparameterize(q.mu, q.logvar, N_SAMPLES, self.eps)
            log_px_z = model.likelihood.log_prob(model.decode(z, batch.y), batch.x, batch.mask)
            nats = (kl_normal(q.mu, q.logvar) - log_px_z.mean(-2)).reshape(model.members, -1)
            n_seen = torch.as_tensor(there.sum(1), device=nats.device).clamp(min=1)
            # A state with a larger spread is no odder than another.
            nats = (nats - model.likelihood.state_nats(batch.y, batch.mask)) / n_seen
            if whole is not None:  # columns differ in their noise: on the scale of whole windows
                at = model.likelihood.volume(torch.ones_like(batch.mask[:1])) / there.shape[1]
                nats = nats + at - model.likelihood.volume(batch.mask) / n_seen
            found.append(nats.cpu().double().numpy())
        found = np.concatenate([np.zeros((model.members, 0)), *found], 1)
        return np.nan_to_num(found, nan=FARTHEST).clip(-FARTHEST, FARTHEST)

    def in_deviations(self, surprise):
        return (surprise - self.centre) / self.spread

    def scored(self, encoded, progress=None):
        """The Scored of the rows of an Encoded series, NaN for rows that no window covers."""
        layout = encoded.layout
        found = self.as_they_arrive(layout) if self.online else self.by_all(layout)
        score = self.in_deviations(found).max(0)
        if progress is not None:
            progress(len(encoded.x))
        score, nats = (layout.grid.scatter(part) for part in (score, found.mean(0)))
        return Scored(score, nats, np.full(len(score), np.inf))

    def by_all(self, layout):
        """The mean surprise of the windows that cover each slot, by member [M, S]."""
        starts = layout.starts()
        stride = math.ceil(len(starts) / MOST_WINDOWS)
        starts = starts if stride < 2 else layout.starts(stride=stride)
        found, at_a_time = [], 4096
        for i in range(0, len(starts), at_a_time):
            found.append(self.surprise(*layout.windows(starts[i : i + at_a_time])))
        found = np.concatenate([np.zeros((self.model.members, 0)), *found], 1)
        laid = [laid_back(part, starts, self.length, len(layout.x)) for part in found]
        return np.stack(laid)

    def as_they_arrive(self, layout):
        """The surprise of the window that ends at each slot with a row, by member [M, S].

        At the first slots of a segment it is the first window without what is behind the slot, and
        nothing where less than a share of a window has been seen. The windows of a segment are
        scored in blocks of one size, so that no bit of a score depends on what else there is.
        """
        length, segment = self.length, layout.grid.segment
        slots = np.arange(len(segment))
        first = np.searchsorted(segment, segment)  # of each slot's segment
        last = np.searchsorted(segment, segment, "right")
        seen = slots - first + 1
        some = (seen >= np.ceil(FULL * length)) & (last - first >= length) & layout.grid.filled
        found = np.full((self.model.members, len(segment)), np.nan)
        some = np.flatnonzero(some)
        starts = np.maximum(some - length + 1, first[some])
        block = segment[some], (some - first[some]) // N_ARRIVING
        ends = np.flatnonzero((np.diff(block, append=-1) != 0).any(0)) + 1
        for i, j in zip([0, *ends[:-1]], ends, strict=True):
            n, rows = j - i, np.resize(np.arange(i, j), N_ARRIVING)
            at, start = some[rows], starts[rows]
            x, y, mask = layout.windows(start)
            steps = start[:, None] + np.arange(length)
            mask = mask * np.repeat(steps <= at[:, None], len(self.columns), axis=1)
            found[:, some[i:j]] = self.surprise(x, y, mask)[:, :n]
        return found

    def of_reference(self, rows):
        """Scores of the windows of a Reference, [n]."""
        if not len(rows.x):
            return np.zeros(0)
        return finite("scores", self.in_deviations(self.surprise(*windows_of(rows))).max(0))

    def others(self, encoded, fitted, known, same_file):
        """Scores of other detectors of windows, fitted to the training part of this file, or else
        to the windows that the run keeps; see `Scorer.others`.
        """
        from parts.measure.series_baselines import detectors, filled_linearly
        from parts.measure.windows import Series

        layout = encoded.layout
        x = np.clip(layout.x, -FARTHEST_CELL, FARTHEST_CELL)
        test = Series.of(x, layout.mask, layout.segments())
        if same_file:
            mask = layout.mask & (layout.part == TRAIN)[:, None]
            train = filled_linearly(Series.of(x, mask, layout.segments(TRAIN)))
        else:  # windows whose holes were filled before training
            train = Series.of_windows(fitted.train.x.reshape(-1, *fitted.codec.shape))
        found = detectors(train, test, self.length, alone=same_file)
        scores = {name: layout.grid.scatter(found[name]())[known] for name in OTHERS}
        lowest = {name: np.nanmin(score) for name, score in scores.items()}
        rows = "the same rows" if same_file else f"{len(fitted.train.x)} windows of the run"
        who = f"the others score windows of {self.length} steps too, fitted to {rows}"
        return {k: np.where(np.isnan(v), lowest[k], v) for k, v in scores.items()}, who

    def ranking(self, labels, scores, encoded, known):
        """Rows in the order of time, whose bootstrap takes blocks of a window."""
        from parts.measure import baselines, vus

        layout = encoded.layout
        slot = layout.grid.slot[known]
        order = np.argsort(slot, kind="stable")
        labels, scores = labels[order], scores[order]
        buffer = vus.buffer_of(layout.x[slot[order], 0])
        found = baselines.ranking(labels, scores, block=self.length)
        return found | {"vus_pr": vus.vus_pr(labels, scores, buffer)}

    def typical_surprise(self, rows):
        """Nothing: what is expected of a cell has its own spread."""

    def expected(self, layout, beyond):
        """What is expected of each cell given the series around it, mean and std [S, D] in model
        units, NaN where no window covers it. Of a long series it is found around the rows that lie
        `beyond` the threshold [N] first.

        Of each stretch of a quarter of a window all cells are hidden from the windows that have
        it in their middle. An odd stretch that is longer would be expected from its own cells, and
        its ordinary neighbours from odd ones: so the stretches that are odd at first sight are
        hidden from all windows, which are then looked at again.
        """
        found = np.full((2, *layout.x.shape), np.nan)
        block = max(1, self.length // 4)
        starts, places = self.hidden_stretches(layout, block, of_slots(layout, beyond) > 0)
        self.expect(layout, layout.seen, starts, places, found)
        deviations = Expected(*found).deviations(layout.x, layout.mask)
        odd = odd_stretches(deviations, layout.grid.segment)
        n_odd = np.concatenate([[0], np.cumsum(odd.any(1))])
        again = n_odd[starts + self.length] > n_odd[starts]
        self.expect(layout, layout.seen & ~odd, starts[again], places[again], found)
        return found

    def expect(self, layout, seen, starts, places, found):
        """Fill in what is expected, mean and std [2, S, D], of the blocks at the steps `places` [n]
        of the windows at `starts` [n], given the cells that are `seen` [S, D] outside of them.
        """
        length, n_each = self.length, len(self.columns)
        block = max(1, length // 4)
        mean, std = found
        for i in range(0, len(starts), N_EXPECTED_AT_A_TIME):
            some = starts[i : i + N_EXPECTED_AT_A_TIME]
            at = places[i : i + N_EXPECTED_AT_A_TIME]
            end = np.minimum(at + block, length)
            x, y, mask = layout.windows(some, mask=seen)
            steps = np.arange(length)
            inside = (steps >= at[:, None]) & (steps < end[:, None])  # [n, L]
            left = mask * ~np.repeat(inside, n_each, axis=1)
            batch = Batch.on(self.device, x, y if self.has_y else None, left)
            draws = self.model.impute(batch.x, batch.mask, batch.y, N_SAMPLES, N_BAND).draws
            draws = draws.cpu().double().numpy().reshape(N_BAND, len(some), length, n_each)
            for b, start in enumerate(some):
                own = slice(at[b], end[b])
                slots = slice(start + at[b], start + end[b])
                mean[slots], std[slots] = draws[:, b, own].mean(0), draws[:, b, own].std(0)

    def hidden_stretches(self, layout, block, near):
        """Windows [n] by their first slots, and the step of each from which a block is hidden, [n].
        Of too many, those with slots that are `near` [S] come first.

        It is in the middle, and in the first and the last window of a segment at its ends too;
        where rows are scored as they arrive it is at the end.
        """
        starts = layout.starts(stride=block)
        n_near = np.concatenate([[0], np.cumsum(near)])
        is_near = n_near[starts + self.length] > n_near[starts]
        starts = np.sort(starts[np.argsort(~is_near, kind="stable")[:MOST_EXPECTED]])
        middle = (self.length - block) // (1 if self.online else 2)
        found = [(starts, np.full(len(starts), middle))]
        first, last = starts[~has_before(layout, starts)], starts + self.length
        last = starts[~has_behind(layout, last)]
        before, behind = range(0, middle, block), range(middle + block, self.length, block)
        for some, places in ((first, before), (last, behind)):
            found += [(some, np.full(len(some), place)) for place in places]
        return [np.concatenate(parts) for parts in zip(*found, strict=True)]

    def threshold(self, scores, share, what, encoded, rows):
        """The score that an ordinary series exceeds once in N_PERIODS periods; with a `share` the
        one that the tail of ordinary scores exceeds with this probability. And both in words.

        The tail is that of an exponential distribution through the median and the upper quartile of
        the scores, which odd rows hardly move.
        """
        layout = encoded.layout
        n_slots, what_period = period_of(self.codec, layout.x, layout.mask, layout.grid.segment)
        if share is None:
            found = self.on_slots(scores, what, layout, rows)
            if found is not None:
                said = (
                    f"by which an ordinary series has about one false event in {N_PERIODS} "
                    f"{what_period} (--contamination SHARE sets it by the share of ordinary rows "
                    "beyond it)"
                )
                return once_in(*found, n_slots), said
            share = USUAL_SHARE
        scores = scores[np.isfinite(scores)]
        said = (
            f"which {100 * share:.3g} % of ordinary rows exceed by the tail of ordinary scores "
            f"(--contamination {share:g})"
        )
        if not len(scores):
            return math.inf, said
        middle, upper = np.quantile(scores, [0.5, 0.75])
        return float(upper + (upper - middle) / math.log(2) * math.log(0.25 / share)), said

    def on_slots(self, scores, what, layout, rows):
        """Scores of the rows of the file, or of the windows of a Reference, as those of slots [S],
        and the segment of each slot; None where windows do not tell their time.
        """
        if what == "scored":
            return of_slots(layout, scores), layout.grid.segment
        if rows.when is None:
            return None
        found, segments = [], []
        for number in np.unique(rows.when[:, 0]):
            own = rows.when[:, 0] == number
            seconds = rows.when[own, 1]
            starts = np.rint((seconds - seconds.min()) / self.codec.step.usual).astype(np.int64)
            n_slots = int(starts.max()) + self.length
            found.append(laid_back(scores[own], starts, self.length, n_slots))
            segments.append(np.full(n_slots, len(segments)))
        return np.concatenate(found), np.concatenate(segments)


def once_in(scores, segment, period):
    """The level that scores [S] of slots exceed about once in N_PERIODS periods where nothing is
    odd.

    A score is a mean over many cells, so the highest ones of blocks of a period are taken to be
    normal, with their lower quartile and their median: odd blocks may be nearly half of all. Where
    there are few periods blocks are shorter.
    """
    known = np.flatnonzero(np.isfinite(scores))
    if not len(known):
        return math.inf
    size = max(1, min(period, len(known) // FEWEST_BLOCKS))
    begins = np.searchsorted(segment, segment)  # first slot of each slot's segment
    block = np.stack([segment, (np.arange(len(segment)) - begins) // size], 1)[known]
    first = np.flatnonzero(np.diff(block, axis=0, prepend=-1).any(1))
    highest = np.maximum.reduceat(scores[known], first)
    n = np.diff(np.append(first, len(known)))
    highest = highest[n >= min(size / 2, n.max())]  # the rest of a segment
    # The spread of a few maxima may be far too small; that of the scores themselves is a bound.
    (low, middle), (least, typical) = (
        np.quantile(part, [0.25, 0.5]) for part in (highest, scores[known])
    )
    normal = statistics.NormalDist()
    std = max((middle - low) / normal.inv_cdf(0.75), typical - least, LEAST_STD)
    return float(middle + std * normal.inv_cdf(math.exp(-size / (period * N_PERIODS))))


def has_before(layout, slots):
    """Whether the slot before is of the same segment, [n]."""
    segment = layout.grid.segment
    return (slots > 0) & (segment[np.maximum(slots - 1, 0)] == segment[slots])


def has_behind(layout, ends):
    """Whether the slot at the end of a window is of its segment, [n]."""
    segment = layout.grid.segment
    return (ends < len(segment)) & (
        segment[np.minimum(ends, len(segment) - 1)] == segment[ends - 1]
    )


def windows_of(rows):
    return rows.x, rows.y, rows.mask


def laid_back(values, starts, length, n_slots):
    """The mean value of the windows [n] that cover a slot, [S]; NaN where none does."""
    total, count = np.zeros(n_slots + 1), np.zeros(n_slots + 1)
    np.add.at(total, starts, values)
    np.add.at(total, starts + length, -values)
    np.add.at(count, starts, 1.0)
    np.add.at(count, starts + length, -1.0)
    total, count = total.cumsum()[:-1], count.cumsum()[:-1]
    return np.where(count > 0.5, total / np.maximum(count, 1.0), np.nan)
