"""Lay the rows of a series on a regular grid of slots, and cut windows and parts from it.

N rows of a file, S slots of the grid, D columns, L slots of a window, n windows. The slots of a
group lie side by side in the order of time. A *segment* is a run of slots without a long gap.
"""

import math
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from parts.errors import UserError
from parts.forms.series.steps import NEAR

MOST_SLOTS = 100  # most slots for each row, where the user gives a step
FULL = 0.25  # share of `least` slots from which a short segment is made longer
MANY_GROUPS = 10  # fewest groups of which some are held out
TRAIN, VAL, TEST, APART = 0, 1, 2, -1


@dataclass
class Grid:
    """Slots with their seconds, groups and segments [S], and the slot of each row [N], -1: none."""

    slot: np.ndarray
    seconds: np.ndarray
    group: np.ndarray
    segment: np.ndarray
    step: object  # steps.Step
    notes: list = field(default_factory=list)  # sentences for the user

    def __len__(self):
        return len(self.seconds)

    @property
    def filled(self):
        """True for slots that hold a row, [S]."""
        found = np.zeros(len(self), bool)
        found[self.slot[self.slot >= 0]] = True
        return found

    def take(self, some):
        """The slots marked in `some` [S] with their rows, as a Grid."""
        number = np.where(some, np.cumsum(some) - 1, -1)
        slot = np.where(self.slot >= 0, number[self.slot], -1)
        parts = (part[some] for part in (self.seconds, self.group, self.segment))
        return Grid(slot, *parts, self.step)

    def gather(self, x, mask, codes=None):
        """Cells of rows x, mask [N, D] as those of slots [S, D].

        A slot has the mean of its rows' numbers, and where `codes` [D] is True the code in the
        last row of the file that has one. Unobserved cells are 0.
        """
        n_slots, n_columns = len(self), x.shape[1]
        codes = np.zeros(n_columns, bool) if codes is None else np.asarray(codes, bool)
        rows = np.flatnonzero(self.slot >= 0)
        slot = self.slot[rows]
        single = len(slot) == 0 or np.bincount(slot, minlength=n_slots).max() < 2
        found = np.zeros((n_slots, n_columns), x.dtype)
        seen = np.zeros((n_slots, n_columns), mask.dtype)
        for j in range(n_columns):
            there = mask[rows, j].astype(bool)
            at, values = slot[there], x[rows[there], j]
            if single or codes[j]:
                found[at, j] = values  # of equal places the last value stays
                seen[at, j] = 1
                continue
            n = np.bincount(at, minlength=n_slots)
            total = np.bincount(at, values.astype(np.float64), n_slots)
            found[:, j] = total / np.maximum(n, 1)
            seen[:, j] = n > 0
        return found, seen

    def scatter(self, values):
        """The values of slots [S, ...] as those of rows [N, ...], NaN for rows without a slot."""
        values = np.asarray(values)
        kind = values.dtype if values.dtype.kind == "f" else np.float64
        found = np.full((len(self.slot), *values.shape[1:]), np.nan, kind)
        has_slot = self.slot >= 0
        found[has_slot] = values[self.slot[has_slot]]
        return found


# Lay rows on slots


def lay(seconds, groups, step, longest_gap, least=0):
    """The Grid of rows with stamps `seconds` [N] in groups [N], which count from 0, or None.

    Rows whose stamp is NaN or whose group is -1 have no slot.
    A segment ends where more than `longest_gap` slots in a row would be empty; they are not laid.
    Segments of at least FULL times `least` slots get empty ones at their end, up to `least`.
    """
    seconds = np.asarray(seconds, np.float64)
    groups = np.zeros(len(seconds), np.int64) if groups is None else np.asarray(groups, np.int64)
    rows = np.flatnonzero(np.isfinite(seconds) & (groups >= 0))
    if not len(rows):
        raise UserError("no row of the series has a stamp that can be read")
    stamps, group = seconds[rows], groups[rows]
    numbers, origin = step.numbers(stamps, group)
    order = np.lexsort((numbers, group))
    number, owner = numbers[order], group[order]
    ahead = np.diff(number, prepend=number[0])  # slots from the row before
    other = np.diff(owner, prepend=owner[0] - 1) != 0
    is_new = other | (ahead > 0)
    ends = other | (ahead - 1 > longest_gap)
    first = np.flatnonzero(is_new)  # the first row of each filled slot
    starts_segment = ends[first]
    number, owner, ahead = number[first], owner[first], ahead[first]
    behind = np.ones(len(first), np.int64)  # slots up to the next filled one, this one included
    behind[:-1] = np.where(starts_segment[1:], 1, ahead[1:])
    segment = np.cumsum(starts_segment) - 1
    length = np.bincount(segment, behind).astype(np.int64)
    last = np.append(np.flatnonzero(starts_segment)[1:] - 1, len(first) - 1)
    behind[last] += np.where(length >= FULL * least, np.maximum(least - length, 0), 0)
    n_slots = int(behind.sum())
    if n_slots > MOST_SLOTS * max(len(rows), 1000):
        raise UserError(
            f"a step of {step} makes {n_slots} slots for {len(rows)} rows; give a longer one"
        )
    start = np.cumsum(behind) - behind
    slot = np.full(len(seconds), -1, np.int64)
    slot[rows[order]] = start[np.cumsum(is_new) - 1]
    number = np.repeat(number - start, behind) + np.arange(n_slots)
    owner = np.repeat(owner, behind)
    times = step.times(number, origin[owner])
    laid = Grid(slot, times, owner, np.repeat(segment, behind), step)
    laid.notes = notes_on(laid, seconds, groups, ahead[~other[first]] - 1)
    return laid


def notes_on(grid, seconds, groups, missing):
    """Sentences on stamps that are unread, repeated, unsorted or off the grid, and on gaps.

    `missing` [n] counts the empty slots between neighbouring filled ones.
    """
    step, found = grid.step, []
    in_grid = grid.slot >= 0
    n_unread = int((~np.isfinite(seconds)).sum())
    if n_unread:
        found.append(f"{counted(n_unread, 'stamp')} cannot be read: no score for these rows")
    rows = np.flatnonzero(in_grid)
    rows = rows[np.argsort(groups[rows], kind="stable")]
    change = np.diff(seconds[rows])[np.diff(groups[rows]) == 0]
    n_back = int((change < 0).sum())
    if n_back and n_back >= 0.9 * (change != 0).sum():
        found.append("the rows run from the newest to the oldest: sorted for the model")
    elif n_back:
        found.append(f"{counted(n_back, 'row')} earlier than the row above: sorted for the model")
    n_equal = len(rows) - int(grid.filled.sum())
    if n_equal:
        found.append(
            f"{counted(n_equal, 'row')} in the slot of another row: averaged for the model, kept "
            "in the output"
        )
    gaps = missing[missing > 0]
    if not step.regular:
        found.append(
            f"the steps are irregular: a grid of {step} is laid, with {len(grid) / len(rows):.1f} "
            "slots for each row"
        )
    elif len(gaps):
        n = int(gaps.max()) + 1
        longest = replace(step, seconds=n * step.seconds, months=n * step.months)
        found.append(f"{counted(len(gaps), 'gap')}, the longest {longest}")
    if step.regular and not step.months:
        away = np.abs(seconds[rows] - grid.seconds[grid.slot[rows]])
        n_off = int((away > NEAR * step.seconds).sum())
        if n_off:
            found.append(
                f"{counted(n_off, 'row')} off the grid of {step}: moved to the nearest slot"
            )
    return found


def counted(n, noun):
    return f"{n} {noun}{'s' * (n != 1)}"


# Windows


def starts(grid, length, stride=1, part=None, observed=None):
    """The first slots of all windows of `length` slots that cross no segment, in order, [n].

    Each segment has a last window at its end, whatever the stride. With `part` [S] windows cross
    no part either, and APART holds none. A window has a slot that is `observed` [S], by default
    one with a row.
    """
    observed = grid.filled if observed is None else observed
    block = grid.segment
    if part is not None:
        block = np.cumsum((np.diff(block, prepend=-1) != 0) | (np.diff(part, prepend=part[0]) != 0))
    begins = np.flatnonzero(np.diff(block, prepend=-1))
    room = np.diff(np.append(begins, len(block))) - length
    if part is not None:
        room = np.where(part[begins] == APART, -1, room)
    begins, room = begins[room >= 0], room[room >= 0]
    n = room // stride + 1 + (room % stride > 0)
    rank = np.arange(n.sum()) - np.repeat(np.cumsum(n) - n, n)
    found = np.repeat(begins, n) + np.minimum(rank * stride, np.repeat(room, n))
    total = np.concatenate([[0], np.cumsum(observed)])
    return found[total[found + length] > total[found]]


def windows_at(x, starts, n_steps):
    """The windows of x [S, D] that begin at `starts` [n], as rows [n, L D]."""
    view = np.lib.stride_tricks.sliding_window_view(x, n_steps, axis=0)
    return view[starts].transpose(0, 2, 1).reshape(len(starts), n_steps * x.shape[1])


class Starts(NamedTuple):
    """The first slots of the windows of each part, [n]."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray


def split_by_time(
    grid, length, test_fraction, val_fraction, by_group=None, seed=0, stride=1, observed=None
):
    """The Starts of windows of three parts, between which no window crosses; see `parts_of`."""
    part = parts_of(grid, length, test_fraction, val_fraction, by_group, seed)
    found = starts(grid, length, stride, part, observed)
    return Starts(*(found[part[found] == which] for which in (TRAIN, VAL, TEST)))


def parts_of(grid, length, test_fraction, val_fraction, by_group=None, seed=0):
    """TRAIN, VAL, TEST, or APART for each slot, [S].

    The last share of every group's rows are test rows, those before them validation rows, with
    `length` slots apart where there is room for them. A group that has no room for a window in
    each part is for training. With `by_group` whole groups are held out; None: where there are
    many groups, most of them too short for a cut.
    """
    begin = np.flatnonzero(np.diff(grid.group, prepend=-1))
    end = np.append(begin[1:], len(grid))
    if by_group is None:
        cut, _ = _cut_groups(grid, begin, end, length, test_fraction, val_fraction)
        by_group = len(begin) >= MANY_GROUPS and cut.mean() < 0.5
    if by_group:
        if len(begin) < MANY_GROUPS:
            raise UserError(
                f"{counted(len(begin), 'group')}, expected at least {MANY_GROUPS} where whole "
                "groups are held out"
            )
        order = np.random.default_rng((seed, len(begin))).permutation(len(begin))
        n_test = int(np.ceil(test_fraction * len(begin)))
        n_val = int(np.ceil(val_fraction * len(begin)))
        of_group = np.full(len(begin), TRAIN)
        of_group[order[:n_test]] = TEST
        of_group[order[n_test : n_test + n_val]] = VAL
        return np.repeat(of_group, end - begin)
    cut, part = _cut_groups(grid, begin, end, length, test_fraction, val_fraction)
    if not cut.any() and test_fraction + val_fraction > 0:
        raise UserError(
            f"the series has {counted(int((end - begin).max()), 'step')}, too few for windows of "
            f"{length} in training and held-out parts; give shorter windows or more rows"
        )
    return part


def _cut_groups(grid, begin, end, length, test_fraction, val_fraction):
    """Whether each group [G] can be cut into parts by time, and the part of each slot, [S]."""
    total = np.concatenate([[0], np.cumsum(grid.filled)])
    n = total[end] - total[begin]

    def place(share):
        """The slot at which the last `share` of each group's rows begin, [G]."""
        return np.searchsorted(total, total[begin] + np.ceil(n * (1 - share)), "right") - 1

    test = np.where(test_fraction > 0, place(test_fraction), end)
    n_val = test - np.where(val_fraction > 0, place(test_fraction + val_fraction), test)
    n_apart = (test_fraction > 0) + (val_fraction > 0)
    room = test - n_val - begin
    apart = np.where(room >= (n_apart + 2) * length, length, 0)
    val_end = test - apart * (test_fraction > 0)
    val = val_end - n_val
    train_end = val - apart * (val_fraction > 0)
    can = train_end - begin >= length
    can &= (test_fraction == 0) | (end - test >= length)
    can &= (val_fraction == 0) | (n_val >= length)
    at = np.arange(len(grid))
    of = np.repeat(np.arange(len(begin)), end - begin)
    part = np.full(len(grid), APART)
    part[at < train_end[of]] = TRAIN
    part[(at >= val[of]) & (at < val_end[of])] = VAL
    part[at >= test[of]] = TEST
    part[~can[of]] = TRAIN
    return can, part


# The length of a window

LAGS = (8, 400)
N_PERIODS = 2  # in a window
SHORTEST, LONGEST, USUAL = 16, 128, 32  # lengths of windows in slots
PEAK, N_ERRORS = 0.1, 3  # least autocorrelation of a peak; and in standard errors of white noise
RISE = 0.01  # by which a peak is above the lowest autocorrelation before it
AS_HIGH = 0.95  # part of the highest peak from which another one is about as high
FEWEST_WINDOWS, FEWEST_SLOTS = 200, 4
MOST_USED, MOST_COLUMNS = 200_000, 32  # slots and columns of which autocorrelations are taken


def window_of(x, mask, segment, shortest=SHORTEST, longest=LONGEST, usual=USUAL):
    """The length of a window for cells x, mask [S, D] of slots: N_PERIODS times the lag of the
    highest peak of the autocorrelation.

    It is the mean over the columns; lengths are cut to `shortest` and `longest`. It is `usual`
    without a peak, and less where fewer than FEWEST_WINDOWS windows would be left.
    """
    sizes = np.bincount(segment - segment.min()) if len(segment) else np.zeros(1, int)
    length = N_PERIODS * (period_of(x, mask, segment) or 0) or usual
    length = min(max(length, shortest), longest)
    while length > FEWEST_SLOTS and np.maximum(sizes - length + 1, 0).sum() < FEWEST_WINDOWS:
        length -= 1
    return int(length)


def period_of(x, mask, segment):
    """The lag of the highest peak of the autocorrelation, None without one; see `window_of`.

    Where it is a multiple of the lag of a peak about as high, that one is taken.
    """
    correlation = autocorrelation(x, mask, segment, LAGS[1] + 1)
    lags = np.arange(LAGS[0], LAGS[1] + 1)
    least = max(PEAK, N_ERRORS / math.sqrt(max(mask.any(1).sum(), 1)))
    value, lowest = correlation[lags], np.minimum.accumulate(correlation)[lags]
    is_peak = (value > least) & (value >= lowest + RISE)
    is_peak &= (value >= correlation[lags - 1]) & (value >= correlation[lags + 1])
    if not is_peak.any():
        return None
    peaks, value = lags[is_peak], value[is_peak]
    highest = peaks[value.argmax()]
    n_times = np.rint(highest / peaks)
    is_multiple = np.abs(highest - n_times * peaks) <= n_times
    return int(peaks[is_multiple & (value >= AS_HIGH * value.max())][0])


def autocorrelation(x, mask, segment, n_lags):
    """The mean autocorrelation of the columns, [n_lags + 1], over pairs that are both observed.

    Pairs cross no segment. As in the usual estimator (Box & Jenkins 1976) the lags of which there
    are few pairs shrink towards 0, for the highest of many would be theirs.
    """
    begin = np.flatnonzero(np.diff(segment, prepend=-1))
    sizes = np.diff(np.append(begin, len(segment)))
    longest_first = np.argsort(-sizes, kind="stable")
    used = longest_first[np.cumsum(sizes[longest_first]) - sizes[longest_first] < MOST_USED]
    used = used[sizes[used] >= SHORTEST] if (sizes >= SHORTEST).any() else used[:1]
    used = used[: max(MOST_USED // n_lags, 1)]
    rows, places, place = [], [], 0
    for k in used:
        size = min(int(sizes[k]), MOST_USED)
        rows.append(begin[k] + np.arange(size))
        places.append(place + np.arange(size))
        place += size + n_lags  # no pair reaches the next segment
    found, n_found = np.zeros(n_lags + 1), 0
    if not rows:
        return found
    rows, places = np.concatenate(rows), np.concatenate(places)
    size = 1 << int(place + n_lags).bit_length()
    possible = _lagged(np.ones(len(places)), places, size, n_lags)
    for j in range(min(x.shape[1], MOST_COLUMNS)):
        seen = mask[rows, j].astype(np.float64)
        if seen.sum() < SHORTEST:
            continue
        values = x[rows, j].astype(np.float64)
        values = np.where(seen > 0, values - values[seen > 0].mean(), 0.0)
        variance = (values**2).sum() / seen.sum()
        if not variance > 0:
            continue
        products, pairs = (_lagged(part, places, size, n_lags) for part in (values, seen))
        few = pairs < SHORTEST - 0.5
        found += np.where(few, 0.0, products / np.maximum(pairs, 1)) / variance
        n_found += 1
    return possible / possible[0] * found / max(n_found, 1)


def _lagged(values, places, size, n_lags):
    """The sums of the products of values at their places with those some lags on, [n_lags + 1]."""
    line = np.zeros(size)
    line[places] = values
    power = np.abs(np.fft.rfft(line)) ** 2
    return np.fft.irfft(power, size)[: n_lags + 1]
