"""Fill the holes of a series by windows: means over all that cover a cell, and joint draws.

S slots of the grid, D columns, L steps of a window, N rows of a file, M draws.
"""

from dataclasses import replace

import numpy as np
import torch

from parts.finite import finite
from parts.forms.base import random_rows
from parts.forms.series import calendar, counters, states
from parts.forms.series.form import FARTHEST, in_user, period_of
from parts.measure import hidden_windows
from parts.measure.hidden_cells import N_DRAWS
from parts.measure.window_gaussian import WindowGaussian
from parts.model.batches import Batch
from parts.model.likelihoods.windows import fit_windows
from parts.randomness import fixed_randomness
from parts.tasks.fill import CHUNK_CELLS, Checked, Filled, certainty_of

N_SUMS = 40  # draws that give the bounds of counters
N_FILL = 8  # most samples of z of a window whose holes are filled
N_AT_A_TIME = 64  # windows that are filled at a time


class WindowFiller:
    """Fills missing cells of a series by a fitted model of its windows."""

    def __init__(self, fitted, n_samples=100, seed=0, statistic="mean"):
        self.model, self.codec, self.device = fitted.model, fitted.codec, fitted.device
        self.columns, self.statistic, self.seed = fitted.codec.measured, statistic, seed
        self.length = fitted.codec.shape[0]
        self.eps = self.model.grid(min(n_samples, N_FILL), seed).to(self.device)
        self.rules, self.library = None, None
        if getattr(fitted.codec, "state_dim", 0):
            self.library = states.Library(fitted.codec, fitted.train)

    def fill(self, encoded, todo, n_draws=0, interval=None, progress=None):
        """Fill the rows numbered `todo` of Encoded rows, as a Filled of [len(todo), D]."""
        layout = encoded.layout
        tail = 50 * (1 - interval) if interval else None
        rng = np.random.default_rng((self.seed, 3))
        with fixed_randomness(self.seed):
            likely = self.told(layout)
            values, bounds = self.fill_slots(likely, tail)
            draws = []
            for _ in range(n_draws):
                drawn = self.told(layout, rng)
                draws.append(self.joined(layout.to_user(self.draw_slots(drawn)), drawn.states))
            bounds = in_user(np.stack(bounds), self.columns) if interval else None
            if interval and (places := counters.of(self.columns)):  # sums have bounds of their own
                sums = [layout.to_user(self.draw_slots(likely))[:, places] for _ in range(N_SUMS)]
                bounds[..., places] = np.percentile(sums, (tail, 100 - tail), axis=0)
        if progress is not None:
            progress(len(todo))

        def of_rows(slots):
            return layout.grid.scatter(slots)[todo]

        values = of_rows(self.joined(layout.to_user(values), likely.states))
        if interval:
            bounds = np.stack([of_rows(self.joined(part, likely.states)) for part in bounds])
        draws = np.stack([of_rows(x) for x in draws]) if n_draws else np.empty((0, *values.shape))
        return Filled(values, draws, bounds, of_rows(self.probability(likely)))

    def told(self, layout, rng=None):
        """The Layout with the shares of the states where they are unknown, or with an `rng` a draw
        of them.
        """
        if self.library is None:
            return layout
        return replace(layout, states=self.library.fill(layout, rng))

    def joined(self, numbers, shares):
        """Numbers [S, D] and the codes of the most frequent states as columns of rows."""
        found = np.full((len(numbers), len(self.codec.of_rows.modelled)), np.nan)
        found[:, self.codec.numbers_of_rows] = numbers
        if self.library is not None:
            found[:, self.codec.states_of_rows] = states.to_codes(shares, self.codec.states)
        return found

    def probability(self, layout):
        """The share of the likeliest level of each state, NaN for numbers, as columns of rows."""
        found = np.full((len(layout.x), len(self.codec.of_rows.modelled)), np.nan)
        if self.library is not None:
            for j, block in zip(self.codec.states_of_rows, self.library.blocks, strict=True):
                found[:, j] = layout.states[:, block].max(1)
        return found

    def covering(self, layout, stride):
        """First slots of the windows that cover the series and have a hole that a row lies in."""
        starts = layout.starts(stride=stride, empty=True)
        holes = np.concatenate([[0], np.cumsum(~layout.mask.all(1))])
        return starts[holes[starts + self.length] > holes[starts]]

    def fill_slots(self, layout, tail=None):
        """Means of all cells of slots [S, D], NaN where no window covers one, and bounds [2, S, D].

        A cell has the mean over the windows that cover it, which counts more towards the middle of
        a window; its bounds are those of the draws of all of them.
        """
        n_each, shape = len(self.columns), layout.x.shape
        starts = self.covering(layout, max(1, self.length // 2))
        share = 1.0 + np.minimum(np.arange(self.length), np.arange(self.length)[::-1])
        total, weight = np.zeros(shape), np.zeros(len(layout.x))
        ends = np.zeros((2, *shape)) if tail is not None else None
        for i in range(0, len(starts), N_AT_A_TIME):
            some = starts[i : i + N_AT_A_TIME]
            filled = self.impute(layout, some, N_DRAWS if tail is not None else 0)
            mean = finite("filled cells", filled.mean.cpu().numpy())
            draws = filled.draws.cpu().numpy()
            for b, start in enumerate(some):
                at = slice(start, start + self.length)
                total[at] += share[:, None] * mean[b].reshape(-1, n_each)
                weight[at] += share
                if tail is not None:
                    low_high = np.percentile(draws[:, b], (tail, 100 - tail), axis=0)
                    ends[:, at] += share[:, None] * low_high.reshape(2, -1, n_each)
        with np.errstate(invalid="ignore"):
            weight = np.where(weight > 0, weight, np.nan)[:, None]
            bounds = [] if tail is None else list(ends / weight)
            return np.where(layout.mask, layout.x, total / weight), bounds

    def draw_slots(self, layout):
        """A joint draw of all missing cells of slots [S, D], in windows that overlap by half: each
        knows what was drawn in its first quarter, and leaves its last quarter to the next one.
        """
        x, mask = layout.x.astype(np.float64), layout.seen.copy()
        covered = np.zeros(len(x), bool)
        starts = self.covering(layout, max(1, self.length // 2))
        ends = starts + self.length
        followed = np.append(starts[1:] < ends[:-1], False)
        for start, end in zip(starts, ends - followed * (self.length // 4), strict=True):
            at, own = slice(start, start + self.length), slice(start, end)
            window = Batch.on(
                self.device,
                x[at].reshape(1, -1).astype(np.float32),
                layout.y[start : start + 1] if self.codec.y_dim else None,
                mask[at].reshape(1, -1).astype(np.float32),
            )
            if not mask[at].all():
                eps = torch.randn_like(self.eps)
                filled = self.model.impute(window.x, window.mask, window.y, draws=1, eps=eps)
                drawn = filled.draws[0, 0].cpu().double().numpy().reshape(self.length, -1)
                x[own] = np.where(mask[own], x[own], drawn[: end - start])
            mask[own] = covered[own] = True
        x = np.where(layout.mask, layout.x, x)
        return np.where((covered | layout.mask.all(1))[:, None], x, np.nan)

    def impute(self, layout, starts, n_draws):
        """The Imputation of the windows at `starts`."""
        x, y, mask = layout.windows(starts, mask=layout.seen)
        batch = Batch.on(self.device, x, y if self.codec.y_dim else None, mask)
        return self.model.impute(batch.x, batch.mask, batch.y, draws=n_draws, eps=self.eps)

    def how_sure(self, encoded, holes, todo, train):
        """How sure the fills of `holes` [N, D] are, from a random sample of rows, as a Sure."""
        layout = encoded.layout
        rows = todo[random_rows(len(todo), 300)]
        slots = layout.grid.slot[rows]
        starts = self.covering(layout, max(1, self.length // 2))
        near = np.clip(
            np.searchsorted(starts, slots - self.length // 2), 0, max(0, len(starts) - 1)
        )
        sure = np.full((len(rows), len(self.columns)), np.nan)
        if len(starts) and len(rows):
            some = np.unique(starts[near])
            draws = self.impute(layout, some, 50).draws.cpu().numpy()
            for i, slot in enumerate(slots):
                b = int(np.searchsorted(some, starts[near[i]]))
                step = slot - some[b]
                if 0 <= step < self.length:
                    cells = draws[:, b].reshape(len(draws), self.length, -1)[:, step]
                    cells = np.stack(
                        [c.to_user(cells[:, j]) for j, c in enumerate(self.columns)], 1
                    )
                    low, high = np.quantile(cells, [0.05, 0.95], axis=0)
                    sure[i] = (high - low) / 2
        cells = np.where(layout.mask, layout.x, np.nan)
        known = np.stack([c.to_user(cells[:, j]) for j, c in enumerate(self.columns)], 1)
        known, likely = self.joined(known, layout.states), self.told(layout)
        of_states = self.codec.states_of_rows
        sure[:, counters.of(self.columns)] = np.nan  # they are sums of what is drawn
        sure = self.joined(sure, np.zeros((len(sure), self.codec.state_dim)))
        sure[:, of_states] = layout.grid.scatter(self.probability(likely))[rows][:, of_states]
        sure[~holes[rows]] = np.nan
        levels = np.isin(np.arange(sure.shape[1]), of_states)
        return certainty_of(sure, known, levels, len(rows))


# Check


def check_windows(fitted, filler, rows, load_data, interval, seed):
    """Hide cells of held-out windows; errors of the filler and of simple methods, see
    `hidden_windows.check`.
    """
    fresh = rows.fresh.take(random_rows(len(rows.fresh.x), hidden_windows.N_CHECKED))
    shape = (-1, *fitted.codec.shape)
    gaussian = fitted.model.likelihood.gaussian_at_start()
    if gaussian is None:
        x, y = rows.trained.x, rows.trained.y
        gaussian = fit_windows(torch.from_numpy(x), None if y is None else torch.from_numpy(y))
    noise = WindowGaussian(torch.zeros_like(gaussian.mean), gaussian.covariance, shape[1])
    y = np.zeros((len(fresh.x), 0)) if fresh.y is None else fresh.y.astype(np.float64)
    usual = (gaussian.mean.numpy() + y @ gaussian.weights.numpy()).reshape(shape)
    scale = np.ones_like(usual)
    if filler.library is not None:  # the Gaussian at the start is one of (x - m(y)) / a(y)
        by_state = fitted.model.likelihood.log_state(torch.from_numpy(fresh.y).to(fitted.device))
        scale = by_state.exp().cpu().double().numpy().reshape(shape)

    def by_gaussian(x, left, of):
        r, seen = (part.reshape(len(of), -1) for part in ((x - usual[of]) / scale[of], left))
        return usual[of] + scale[of] * noise.predict(r, seen)[0].reshape(x.shape)

    def ours(x, left, of):
        x, left = (part.reshape(len(of), -1).astype(np.float32) for part in (x, left))
        found = np.empty((3, *x.shape))
        n_rows = max(1, CHUNK_CELLS // (N_DRAWS * x.shape[1]))
        for start in range(0, len(x), n_rows):
            some = slice(start, start + n_rows)
            given = None if fresh.y is None else fresh.y[of[some]]
            batch = Batch.on(fitted.device, x[some], given, left[some])
            with fixed_randomness(seed):
                options = {"draws": N_DRAWS, "eps": filler.eps}
                filled = filler.model.impute(batch.x, batch.mask, batch.y, **options)
            tails = 50 * (1 - interval), 50 * (1 + interval)
            found[0, some] = filled.mean.cpu().numpy()
            found[1:, some] = np.percentile(filled.draws.cpu().numpy(), tails, axis=0)
        return found.reshape(3, *shape)

    x, mask = fresh.x.astype(np.float64).reshape(shape), fresh.mask.reshape(shape) > 0
    mask &= np.abs(x) <= FARTHEST  # what is far out tells nothing of others
    names = [column.name for column in filler.columns]
    season = season_of(fitted.codec, rows.trained, fresh)
    result = hidden_windows.check(ours, by_gaussian, x, mask, season, names, interval, seed)
    report = hidden_windows.report(result)
    if filler.library is not None:
        rng = np.random.default_rng(seed)
        known = fresh.x, fresh.mask, fresh.y
        result["states"] = found = check_states(fitted.codec, filler.library, *known, rng)
        report += (
            f"\n  states, runs of half a window: {100 * found['wrong']:.1f} % are wrong, of the "
            f"last one carried forward {100 * found['last']:.1f} %"
        )
    return Checked("windows", result, report, None)


def season_of(codec, trained, fresh):
    """What is usual for `fresh` windows at each step [n, L, D]: the mean of the trained ones at its
    place in the period, see `period_of`; None where rows do not tell their time.
    """
    if trained.when is None or fresh.when is None:
        return None
    shape, step = (-1, *codec.shape), codec.step.usual
    x, mask = trained.x.reshape(shape), trained.mask.reshape(shape) > 0
    rows = [part.reshape(-1, shape[2]) for part in (x, mask)]
    n_slots, _ = period_of(codec, *rows, np.repeat(np.arange(len(x)), shape[1]))
    known, asked = (
        calendar.position(rows.when[:, 1:] + step * np.arange(shape[1]), n_slots * step, step)
        for rows in (trained, fresh)
    )
    return hidden_windows.season_at(x, mask, known, asked[0])


def check_states(codec, library, x, mask, y, rng):
    """Hide the states of half of each window [n, L D]: the shares of them that the library and the
    last state carried forward get wrong.
    """
    n_steps = codec.shape[0]
    n_calendar = codec.y_dim - n_steps * codec.state_dim
    truth = y[:, n_calendar:].reshape(len(y), n_steps, -1)
    start = rng.integers(1, n_steps - n_steps // 2 + 1, (len(x), 1))
    steps = np.arange(n_steps)
    hidden = (steps >= start) & (steps < start + n_steps // 2)
    left = np.where(hidden[..., None], 0, truth).astype(np.float32)
    voted = library.voted(y[:, :n_calendar], left, x, mask)
    last = np.take_along_axis(truth, np.where(hidden, start - 1, steps)[..., None], 1)
    known = states.to_codes(truth, codec.states)
    asked = hidden[..., None] & np.isfinite(known)
    wrong = {"wrong": voted, "last": last}
    return {
        name: float((states.to_codes(shares, codec.states) != known)[asked].mean())
        for name, shares in wrong.items()
    }
