"""States of a series, such as on and off: columns that a model is told at each step of a window.

A state is a condition of its step, see parts/forms/conditions.py: its level is one-hot, and where
it is not known its numbers are 0. N rows of a file, S slots of the grid, L steps of a window, K
numbers of the states at a step, C numbers of the calendar, n windows.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from parts.forms import conditions
from parts.forms.tables import encoding
from parts.words import counted

MOST_LEVELS = 12  # of a state
N_NEAREST = 10  # windows of which one is drawn
# A distance of numbers, in variances of a column, and of the calendar, in steps of another state.
NUMBERS, CALENDAR, FARTHEST = 0.05, 1.0, 5.0
BORDER = 20.0  # times that a state beside an unknown one counts, so that no run breaks off there
# A state is kept where it takes this share of the squared error in predicting a number from the
# LAGS before it, by what held in other parts of the time.
LEAST_GAIN, LAGS, N_FOLDS = 0.01, 8, 5
FEWEST_PREDICTED, MOST_PREDICTED, MOST_COLUMNS = 100, 20_000, 32
SPIKE, TINY = 50.0, 1e-12  # times the median square, beyond which an error counts no more
FEWEST_CHANGES = 10  # from step to step in the training rows: of fewer nothing can be learned


def of(column, series, times_of, asked):
    """The Column of a category of the training rows as a state, or as ignored where it has many
    levels or hardly changes and the user has not `asked` for it.
    """
    if asked:
        return replace(column, condition=True)
    n = len(column.levels)
    if n > MOST_LEVELS:
        return ignored(column, f"a state of {n} levels, expected at most {MOST_LEVELS}")
    changes = n_changes(encoding.codes_of_levels(series, column), *times_of[:2])
    if changes < FEWEST_CHANGES:
        what = f"a state that changes {counted(changes, 'time')}" if changes else "constant"
        return ignored(column, what)
    return replace(column, condition=True)


def ignored(column, why):
    return replace(column, kind="ignore", levels=[], condition=False, why=why)


def n_changes(codes, seconds, groups):
    """How often codes [N] change from one known row of a group to the next."""
    known = ~np.isnan(codes) & np.isfinite(seconds)
    groups = np.zeros(len(codes), np.int64) if groups is None else groups
    codes, seconds, groups = codes[known], seconds[known], groups[known]
    order = np.lexsort((seconds, groups))
    same = np.diff(groups[order]) == 0
    return int((same & (np.diff(codes[order]) != 0)).sum())


def chosen(columns, asked, codes, laid, cells, trained, most):
    """The Columns with the states that help to predict the numbers, the most helpful ones first, as
    far as `most` levels beside their first ones; the others are ignored.

    `codes` are those of the rows, `cells` are x and mask of slots [S, D], and `trained` [S] marks
    the slots of training. What is in `asked` is kept.
    """
    gains = {}
    for column in conditions.condition_columns(columns):
        told = codes.at_slots(laid, [column])
        known = cells[0], cells[1] & trained[:, None], told, laid.segment
        gains[column.name] = np.inf if column.name in asked else gain(*known)
    left, found = most, {column.name: column for column in columns}
    for name in sorted(gains, key=lambda name: -gains[name]):
        n = len(found[name].levels) - 1
        if gains[name] < LEAST_GAIN:
            found[name] = ignored(found[name], "a state that does not help to predict the numbers")
        elif n > left:
            found[name] = ignored(found[name], "a state for which a window has no room")
        else:
            left -= n
    return list(found.values())


def gain(x, mask, told, segment):
    """The share of the squared error of the next number that a state takes away, of the column x
    [S, D] of which it takes most; at most that of the worst fold where this gets worse.

    A number is predicted from those before it, with and without the states [S, K] of its step and
    of those before it, by least squares fitted to the other ones of N_FOLDS stretches of time. So
    what holds in one part of the series only is no help. It is -inf where too few rows are whole.
    """
    same = np.arange(len(x)) >= LAGS
    same[LAGS:] &= segment[LAGS:] == segment[:-LAGS]
    state_known = told.sum(1) > 0
    best = -np.inf
    for j in range(min(x.shape[1], MOST_COLUMNS)):
        seen = mask[:, j] & state_known
        total = np.concatenate([[0], np.cumsum(~seen)])
        whole = same.copy()
        whole[LAGS:] &= total[LAGS + 1 :] == total[: -LAGS - 1]
        at = np.flatnonzero(whole)
        if len(at) < FEWEST_PREDICTED:
            continue
        at = at[np.linspace(0, len(at) - 1, min(len(at), MOST_PREDICTED)).astype(int)]
        before = [x[at - lag, j : j + 1] for lag in range(1, LAGS + 1)]
        states = [told[at - lag, 1:] for lag in range(LAGS + 1)]
        errors = [
            held_out_squares(np.hstack([np.ones((len(at), 1)), *parts]), x[at, j])
            for parts in (before, [*before, *states])
        ]
        # A spike would count for more than all others.
        limit = SPIKE * np.median(errors[0]) + TINY
        plain, told_too = (np.minimum(squares, limit) for squares in errors)
        folds = [1 - b.sum() / a.sum() for a, b in zip(cut(plain), cut(told_too), strict=True)]
        whole_gain = 1 - told_too.sum() / plain.sum()
        best = max(best, whole_gain if min(folds) > -LEAST_GAIN else min(folds))
    return best


def held_out_squares(a, target):
    """Squared errors [n] of target [n] by least squares on a [n, p], fitted to the other folds."""
    a, target = a.astype(np.float64), target.astype(np.float64)
    parts = list(zip(cut(a), cut(target), strict=True))
    grams = [(part.T @ part, part.T @ own) for part, own in parts]
    gram, product = (sum(each) for each in zip(*grams, strict=True))
    found = []
    for (part, own), (own_gram, own_product) in zip(parts, grams, strict=True):
        left = gram - own_gram + np.eye(a.shape[1])
        found.append((own - part @ np.linalg.solve(left, product - own_product)) ** 2)
    return np.concatenate(found)


def cut(rows):
    """The folds of rows in the order of time."""
    return np.array_split(rows, N_FOLDS)


class Codes(NamedTuple):
    """The codes of the states of rows x and mask [N, states], their names, and notes."""

    x: np.ndarray
    mask: np.ndarray
    names: list
    notes: list

    def at_slots(self, laid, columns):
        """The numbers of the states that are among `columns` at slots, [S, K]."""
        own = conditions.condition_columns(columns)
        some = [self.names.index(column.name) for column in own]
        x, mask = laid.gather(self.x[:, some], self.mask[:, some], np.ones(len(some), bool))
        return conditions.to_y(x, mask, own)


def encode(frame, columns):
    """The Codes of the rows of a DataFrame."""
    own = [replace(c, condition=False) for c in conditions.condition_columns(columns)]
    x, mask, _, notes = encoding.encode(frame, own)
    return Codes(x, mask, [column.name for column in own], notes)


class Given:
    """What windows are told, y [n, C + L K]: the calendar [S, C] at the first step of each, and the
    states [S, K] at all of its steps, which are not known behind its segment. It is indexed by
    first slots.
    """

    def __init__(self, calendar, states, segment, length):
        self.calendar, self.segment, self.length = calendar, segment, length
        self.states = np.zeros((len(calendar), 0), np.float32) if states is None else states

    def __len__(self):
        return len(self.calendar)

    def __getitem__(self, starts):
        if not self.states.shape[1]:
            return self.calendar[starts]
        starts = np.arange(len(self))[starts]
        steps = starts[..., None] + np.arange(self.length)
        inside = np.minimum(steps, len(self) - 1)
        known = (steps < len(self)) & (self.segment[inside] == self.segment[starts][..., None])
        states = self.states[inside] * known[..., None]
        states = states.reshape(*starts.shape, self.length * self.states.shape[1])
        return np.concatenate([self.calendar[starts], states], -1)


# Given states, where series are generated


def fixed_by(codec, given):
    """The numbers [K] of given states, x and mask [1, states], NaN where none is given."""
    x, mask = given
    found = conditions.to_y(x, mask, codec.states)[0]
    sizes = conditions.sizes(codec.states)
    return np.where(np.repeat(mask[0] > 0, sizes), found, np.nan)


def with_given(y, codec, x, mask):
    """The rows of y [n, C + L K] that are in the given states at most of their steps, those states
    at all of their steps; and notes.
    """
    fixed, (length, _) = fixed_by(codec, (x, mask)), codec.shape
    free, n_calendar = np.isnan(fixed), y.shape[1] - length * codec.state_dim
    told = y[:, n_calendar:].reshape(len(y), length, -1)
    n_steps = (told[..., ~free] * fixed[~free]).sum(2) == mask.sum()
    n_steps = n_steps.sum(1)
    notes = []
    if n_steps.max(initial=0) < length:
        notes.append("no window of the training rows is in the given states at all of its steps")
    near = np.argsort(-n_steps, kind="stable")[: max(N_NEAREST, int((n_steps == length).sum()))]
    told = told[near]
    told[..., ~free] = fixed[~free]
    return np.concatenate([y[near, :n_calendar], told.reshape(len(near), -1)], 1), notes


# Draws of states: what followed in training windows that are near in what is known


class Library:
    """Training windows, of which the states of others are drawn: those that are nearest in the
    known states, the calendar and the numbers (the bootstrap of Lall & Sharma 1996).

    So runs of a state are as long as those of the training rows, and no level is new.
    """

    def __init__(self, codec, train):
        (length, n_each), n_calendar = codec.shape, codec.y_dim - codec.shape[0] * codec.state_dim
        told = train.y[:, n_calendar:]
        n_known = told.reshape(len(told), length, -1).sum((1, 2))
        whole = np.flatnonzero(n_known == n_known.max())  # windows whose states are known
        self.calendar, self.told = train.y[whole, :n_calendar], told[whole]
        self.states = self.told.reshape(len(whole), length, -1)
        self.mask = train.mask[whole].astype(np.float32)
        self.x = np.clip(train.x[whole], -FARTHEST, FARTHEST) * self.mask
        self.codec, self.n_each = codec, n_each
        self.columns, self.blocks = codec.states, conditions.blocks(codec.states)

    def distances(self, calendar, states, x=None, mask=None):
        """The distance of each window from others, [n, windows]: the number of their known states
        [n, L, K] that differ, which count BORDER times beside a step with fewer known ones, and
        CALENDAR and NUMBERS times the squared distances of the calendar [n, C] and of the observed
        x [n, L D], with its mask, which are summed over steps.
        """
        n_known = states.sum(2)
        fewer = np.diff(n_known, axis=1)
        border = np.pad(fewer < 0, ((0, 0), (0, 1))) | np.pad(fewer > 0, ((0, 0), (1, 0)))
        flat = states * np.where(border, BORDER, 1.0)[..., None]
        flat = flat.reshape(len(states), -1)
        found = flat.sum(1, keepdims=True) - flat @ self.told.T
        found = found + CALENDAR * square_distances(calendar, self.calendar)
        if x is not None:
            mask = mask.astype(np.float32)
            x = np.clip(x, -FARTHEST, FARTHEST) * mask
            square = (x**2) @ self.mask.T - 2 * x @ self.x.T + mask @ (self.x**2).T
            found = found + NUMBERS * square / self.n_each
        return found

    def nearest(self, *known):
        """The numbers of the nearest windows, [n, N_NEAREST]; see `distances`."""
        found = self.distances(*known)
        n = min(N_NEAREST, found.shape[1])
        return np.argpartition(found, n - 1, axis=1)[:, :n]

    def drawn(self, rng, *known):
        """The states of one of the nearest windows of each, [n, L, K]."""
        near = self.nearest(*known)
        return self.states[near[np.arange(len(near)), rng.integers(near.shape[1], size=len(near))]]

    def voted(self, *known):
        """The share of the nearest windows of each that are in a state, [n, L, K]."""
        return self.states[self.nearest(*known)].mean(1)

    # Series

    def path(self, calendar, past, n_draws, rng, fixed=None):
        """Draws of the states behind past ones [P, K] of slots with the calendar [P + S, C]: past
        and drawn ones, and a window more, [n_draws, P + S + L, K].

        Each half of a window is drawn given the half before it. `fixed` [K] are the numbers of
        given levels, NaN where none is given.
        """
        length, n_past = self.states.shape[1], len(past)
        free = np.ones(self.states.shape[2], bool) if fixed is None else np.isnan(fixed)
        found = np.zeros((n_draws, len(calendar) + length, len(free)), np.float32)
        found[:, :n_past] = past
        at = n_past
        while at < len(calendar):
            begin = max(0, at - max(1, length // 2))
            known = found[:, begin : begin + length].copy()
            if fixed is not None:
                known[..., ~free] = fixed[~free]
            own = np.repeat(calendar[begin : begin + 1], n_draws, 0)
            drawn = self.drawn(rng, own, known)
            if fixed is not None:
                drawn[..., ~free] = fixed[~free]
            found[:, at : begin + length] = drawn[:, at - begin :]
            at = begin + length
        return found

    def fill(self, layout, rng=None):
        """The shares [S, K] of the levels at slots, where a state is known 0 and 1, and else by a
        vote of the nearest windows, or with an `rng` 0 and 1 by a draw; 0 where no window is.
        """
        length, found = layout.length, layout.states.copy()
        unknown = np.stack([found[:, block].sum(1) == 0 for block in self.blocks], 1)
        holes = np.concatenate([[0], np.cumsum(unknown.any(1))])
        starts = layout.starts(stride=max(1, length // 2), empty=True)
        starts = starts[holes[starts + length] > holes[starts]]
        total, share = np.zeros(found.shape), np.minimum(np.arange(length), np.arange(length)[::-1])
        for start in starts:
            at = slice(start, start + length)
            x, _, mask = layout.windows(np.array([start]), mask=layout.seen)
            known = layout.y.calendar[start : start + 1], found[None, at], x, mask
            if rng is None:
                total[at] += (1.0 + share[:, None]) * self.voted(*known)[0]
                continue
            drawn = self.drawn(rng, *known)[0]
            for j, block in enumerate(self.blocks):
                open_ = unknown[at, j]
                found[at, block][open_] = drawn[open_, block]
                unknown[at, j] = False
        if rng is None:
            for j, block in enumerate(self.blocks):
                votes = total[unknown[:, j], block]
                n = np.maximum(votes.sum(1, keepdims=True), 1e-9)
                found[unknown[:, j], block] = votes / n
        return found


def square_distances(a, b):
    """Squared distances of rows a [n, C] from b [m, C], [n, m]."""
    return (a**2).sum(1)[:, None] - 2 * a @ b.T + (b**2).sum(1)


def cells_of(shares, columns):
    """The cells of the most frequent levels of shares [n, K] by column, "" where none is known."""
    codes = to_codes(shares, columns)
    known = np.nan_to_num(codes)
    return {
        column.name: np.where(np.isnan(codes[:, j]), "", column.text_of(known[:, j]))
        for j, column in enumerate(columns)
    }


def to_codes(shares, columns):
    """The code of the most frequent level of each state, of shares [..., K]; NaN where none is."""
    parts = [shares[..., block] for block in conditions.blocks(columns)]
    codes = [np.where(p.sum(-1) > 0, p.argmax(-1), np.nan) for p in parts]
    return np.stack(codes, -1)
