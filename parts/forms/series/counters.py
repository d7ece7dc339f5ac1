"""Counters, such as meters of energy: columns that only rise, of which the steps are modelled.

Between two slots side by side a counter rises by its step. Where it falls it was set back, and that
step is unknown. S slots of the grid, D columns, N rows.
"""

import numpy as np

FEWEST_STEPS, FEWEST_RISES = 20, 10
MOST_FALLS = 0.01  # share of steps at which a counter may be set back
MOST_RETURNS = 0.1  # falls for each rise; a number that hardly ever changes does both
MOST_EQUAL = 0.9  # share of steps from which their size says nothing
CURVE = "steps"  # of the Column of a counter


def steps_of(values, seconds, groups, step):
    """The changes of numbers [N] between rows of a group that lie one step apart, [n]."""
    known = ~np.isnan(values) & np.isfinite(seconds)
    values, seconds = values[known], seconds[known]
    groups = np.zeros(len(values), np.int64) if groups is None else groups[known]
    order = np.lexsort((seconds, groups))
    ahead = np.diff(seconds[order])
    is_next = (np.diff(groups[order]) == 0) & (ahead > 0) & (ahead < 1.5 * step.seconds)
    return np.diff(values[order])[is_next], len(values)


def is_counter(changes, n_rows):
    """Whether n_rows numbers with these changes [n] from step to step only rise."""
    if len(changes) < max(FEWEST_STEPS, n_rows / 2):
        return False
    rises, falls = (changes > 0).sum(), (changes < 0).sum()
    few = min(MOST_FALLS * len(changes), MOST_RETURNS * rises)
    return rises >= FEWEST_RISES and falls <= few


def tells(changes):
    """Whether the sizes of steps say anything: those of row numbers are equal."""
    _, n = np.unique(changes[changes >= 0], return_counts=True)
    return len(n) > 2 and not (n.max() > MOST_EQUAL * n.sum() and changes.min() > 0)


def of(columns):
    """The places of the counters among columns, a list."""
    return [j for j, column in enumerate(columns) if column.curve == CURVE]


def to_steps(x, mask, segment, columns):
    """x and mask [S, D] with the steps of counters in place of these, which are in model units.

    Also what the counters [S, counters] read in the user's units, NaN where they are missing.
    """
    found, places = x.copy(), of(columns)
    there, read = mask.copy(), np.full((len(x), len(places)), np.nan)
    same = np.diff(segment, prepend=-1) == 0
    for i, j in enumerate(places):
        column = columns[j]
        read[mask[:, j], i] = x[mask[:, j], j] * column.scale + column.shift
        change = np.diff(read[:, i], prepend=np.nan)
        there[:, j] = same & (change >= 0)
        found[:, j] = np.where(there[:, j], (change - column.shift) / column.scale, 0.0)
    return found, there, read


def summed(steps, read, segment):
    """What a counter reads at slots [S], from its steps and from what is known of it, `read` [S].

    Steps between two known slots are scaled to what it rose there. NaN in segments without one.
    """
    steps, found = np.nan_to_num(np.maximum(steps, 0.0)), np.full(len(steps), np.nan)
    bounds = np.flatnonzero(np.diff(segment, prepend=-1, append=-1))
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        total = steps[start:stop].cumsum()
        at = np.flatnonzero(~np.isnan(read[start:stop]))
        if not len(at):
            continue
        level, ran = read[start:stop][at], total[at]
        before = np.maximum(np.searchsorted(at, np.arange(stop - start), "right") - 1, 0)
        behind = np.minimum(before + 1, len(at) - 1)
        rise, run = level[behind] - level[before], ran[behind] - ran[before]
        gap = np.maximum(at[behind] - at[before], 1)
        part = np.arange(stop - start) - at[before]
        since = total - ran[before]
        is_inner = (part >= 0) & (behind > before) & (rise >= 0)
        scaled = np.where(run > 0, since * rise / np.where(run > 0, run, 1), part / gap * rise)
        found[start:stop] = level[before] + np.where(is_inner, scaled, since)
    return np.where(np.isnan(read), found, read)


def cumulated(values, columns, before=None):
    """Values in the user's units [..., S, D] in which counters are the sums of their steps, from
    `before` [D] on, or from 0.
    """
    values = values.copy()
    for j in of(columns):
        first = 0.0 if before is None or np.isnan(before[j]) else before[j]
        values[..., j] = first + np.maximum(values[..., j], 0.0).cumsum(-1)
    return values
