"""Events: runs of flagged rows of a series, with their times, their peak, and the columns at fault.

N rows of a file, S slots of its grid, D columns, E events.
"""

from typing import NamedTuple

import numpy as np

from parts.forms.series import counters
from parts.forms.tables.explanations import certainty

MERGED = 0.25  # of a window: flagged slots that are no farther apart belong to one event
NOTABLE = 2.0  # deviations beyond which a cell is named, and speaks for an event
FAR = 11.9  # excess of a stretch that is at fault for an event, as of one cell of 4 deviations
LARGE = 0.5  # part of the largest excess in an event, from which a stretch belongs to it
ODD = 50.0  # excess of a stretch by which others are not told
MOST_NAMED = 3  # columns that are named
N_TOLD = 10  # events that are printed
EMPTY = np.zeros((0, 2), np.int64)


class Event(NamedTuple):
    """Odd slots [first, end), their peak, rows and score, and the columns at fault.

    They are those of the stretches that are at fault, see `stretches`, or a run of slots beyond the
    threshold where no stretch is FAR off.
    """

    first: int
    end: int
    peak: int
    n_rows: int
    score: float
    columns: str
    why: str


class Expected(NamedTuple):
    """What is expected of cells given the series around them, mean and std [S, D]; NaN: unknown."""

    mean: np.ndarray
    std: np.ndarray

    def deviations(self, x, mask):
        """The distance of each observed cell from what is expected, in deviations, 0 if unknown."""
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.abs(x - self.mean) / self.std
        return np.where(mask & np.isfinite(found), found, 0.0)


def events_of(flagged, segment, merge):
    """First slot and end of each event, [E, 2], of flagged slots [S]; none crosses a segment."""
    at = np.flatnonzero(flagged)
    if not len(at):
        return EMPTY
    apart = (np.diff(at) > merge + 1) | (np.diff(segment[at]) != 0)
    first = np.concatenate([[0], np.flatnonzero(apart) + 1])
    last = np.concatenate([np.flatnonzero(apart), [len(at) - 1]])
    return np.stack([at[first], at[last] + 1], 1)


def stretches(deviations, least):
    """The stretches of n slots that are far from what is expected: column, first slot, end and
    excess of each, above `least`.

    The excess of a column's stretch is the sum of the squares of its deviations [n, D], less
    NOTABLE squared for each slot. So two odd cells are one stretch if they outweigh the ordinary
    cells between them.
    """
    found = []
    for j, own in enumerate(deviations.T):
        total = np.cumsum(np.concatenate([[0.0], own**2 - NOTABLE**2]))
        lowest = np.minimum.accumulate(total)
        rise = total - lowest
        # A stretch begins where the sum is as low as never before.
        number = np.cumsum(np.diff(lowest, prepend=np.inf) < 0)
        for k in np.unique(number[rise > least]):
            start, stop = (int(at) for at in np.searchsorted(number, [k, k + 1]))
            peak = start + int(rise[start:stop].argmax())
            found.append((j, start, peak, float(rise[peak])))
    return found


def odd_stretches(deviations, segment):
    """True for cells [S, D] in a stretch whose excess, see `stretches`, is above ODD."""
    odd = np.zeros(deviations.shape, bool)
    begins = np.flatnonzero(np.diff(segment, prepend=-1))
    for first, end in zip(begins, [*begins[1:], len(segment)], strict=True):
        for j, start, stop, _ in stretches(deviations[first:end], ODD):
            odd[first + start : first + stop, j] = True
    return odd


def shares_of(deviations):
    """The share of each column in an event, [D], by the squares of deviations [slots, D] there."""
    squares = np.minimum(deviations, 1e6) ** 2
    total = squares.sum(0)
    return total / total.sum() if total.sum() > 0 else total


def why(columns, x, expected, slot, deviations):
    """The oddest cells of a slot in words, "" where none is notable."""
    order = np.argsort(-deviations[slot], kind="stable")[:MOST_NAMED]
    words = []
    for j in order:
        if deviations[slot, j] < NOTABLE:
            break
        column = columns[j]
        mean, std = expected.mean[slot, j], expected.std[slot, j]
        seen, want = column.text([x[slot, j], mean])
        spread = certainty(column, abs(column.scale) * std)
        name = f"step of {column.name}" if column.curve == counters.CURVE else column.name
        words.append(f"{name}={seen} expected {want} {spread}".rstrip())
    return "; ".join(words)


def by_share(columns, shares):
    """The columns of an event by their shares, in words."""
    order = np.argsort(-shares, kind="stable")[:MOST_NAMED]
    return ", ".join(
        f"{columns[j].name} {100 * shares[j]:.0f} %" for j in order if shares[j] > 0.05
    )


def found(layout, columns, expected, scores, beyond):
    """The Events of rows [N] by their scores, in the order of the file's groups and times; `beyond`
    says which scores are beyond the threshold.

    A window makes all rows odd that it covers, up to a window before and behind an event. Rows
    beyond the threshold that lie farther off have events of their own.
    """
    slot, segment = layout.grid.slot, layout.grid.segment
    best = of_slots(layout, scores)
    best = np.where(np.isnan(best), -np.inf, best)
    left = np.zeros(len(layout.x), bool)
    left[slot[beyond & (slot >= 0) & np.isfinite(scores)]] = True
    deviations = expected.deviations(layout.x, layout.mask)
    n_rows = np.bincount(slot[slot >= 0], minlength=len(layout.x))
    events, reach = [], layout.length - 1
    while left.any():
        for begin, stop in events_of(left, segment, int(MERGED * layout.length)):
            first, end, peak = begin, stop, begin + int(best[begin:stop].argmax())
            score, far = float(best[peak]), far_stretches(deviations[begin:stop])
            if len(far):
                first, end = begin + far.min(), begin + far.max()
            within = deviations[first:end]
            worst = first + int(within.max(1).argmax())
            events.append(
                Event(
                    int(first),
                    int(end),
                    worst if len(far) else peak,
                    int(n_rows[first:end].sum()),
                    score,
                    by_share(columns, shares_of(within)),
                    why(columns, layout.x, expected, worst, deviations),
                )
            )
            left[max(begin, first - reach) : min(stop, end + reach)] = False
    return sorted(events, key=lambda event: event.first)


def far_stretches(deviations):
    """First slot and end of the stretches that are at fault for deviations [n, D], [n, 2]: FAR off,
    and by LARGE as far as the farthest.
    """
    far = stretches(deviations, FAR)
    most = max([excess for *_, excess in far], default=0.0)
    ends = [(first, end) for _, first, end, excess in far if excess >= LARGE * most]
    return np.array(ends, np.int64).reshape(-1, 2)


def by_labels(events, laid, labels):
    """How many runs of labelled rows [N] there are and how many an event overlaps, and how many
    events there are and how many overlap none: `labelled`, `found`, `events` and `false`. Labels
    are 0, 1 or NaN.
    """
    label = np.full(len(laid), np.nan)
    rows = np.flatnonzero((laid.slot >= 0) & ~np.isnan(labels))
    np.fmax.at(label, laid.slot[rows], labels[rows])
    there = np.flatnonzero(~np.isnan(label))  # slots without a row interrupt no run
    runs = events_of(label[there] > 0, laid.segment[there], 0)
    first, end = there[runs[:, 0]], there[runs[:, 1] - 1] + 1
    start, stop = (np.array([e[i] for e in events], np.int64) for i in (0, 1))
    overlap = (start[:, None] < end) & (first < stop[:, None])  # [events, runs]
    n_found, n_false = int(overlap.any(0).sum()), int((~overlap.any(1)).sum())
    return {"labelled": len(runs), "found": n_found, "events": len(events), "false": n_false}


def of_slots(layout, scores):
    """The highest score [N] of the rows of each slot, [S], NaN without one."""
    slot, best = layout.grid.slot, np.full(len(layout.x), np.nan)
    rows = np.flatnonzero((slot >= 0) & np.isfinite(scores))
    np.fmax.at(best, slot[rows], scores[rows])
    return best


def of_rows(events, slot):
    """The number of the event of each row by its slot [N], from 1 on, 0 for none."""
    number = np.zeros(max(slot.max(initial=-1), *(e.end for e in events), 0) + 1, np.int64)
    for i, event in enumerate(events, 1):
        number[event.first : event.end] = i
    return np.where(slot >= 0, number[slot], 0)


def blank(cells):
    """Cells of a column to be added, with none where a number is NaN."""
    cells = np.asarray(cells)
    if cells.dtype.kind != "f" or not np.isnan(cells).any():
        return cells
    return np.where(np.isnan(cells), "", cells.astype(str)).astype(object)


def group_of(event, layout, frame):
    """The cells that tell the group of an event."""
    row = int(np.flatnonzero((layout.grid.slot >= event.first) & (layout.grid.slot < event.end))[0])
    return [str(frame[name].iloc[row]) for name in layout.groups]


def stamps(slots, layout, clock):
    """The times of slots as the file writes them, one text each."""
    written = clock.write(layout.grid.seconds[slots])
    return [" ".join(parts) for parts in zip(*written.values(), strict=True)]


def table(events, layout, codec, frame):
    """The events as a DataFrame: start, end, peak, score, columns by share, and words."""
    import pandas as pd

    first, last, peak = (
        np.array(part, np.int64)
        for part in (
            [e.first for e in events],
            [e.end - 1 for e in events],
            [e.peak for e in events],
        )
    )
    columns = {"event": [str(i + 1) for i in range(len(events))]}
    groups = [group_of(event, layout, frame) for event in events]
    for i, name in enumerate(layout.groups):
        columns[name] = [group[i] for group in groups]
    for name, slots in (("start", first), ("end", last), ("peak", peak)):
        columns[name] = stamps(slots, layout, codec.clock) if len(slots) else []
    columns["rows"] = [str(e.n_rows) for e in events]
    columns["score"] = [f"{e.score:.2f}" for e in events]
    columns["columns"] = [e.columns for e in events]
    columns["why"] = [e.why for e in events]
    return pd.DataFrame(columns, dtype="str")


def in_words(events, layout, clock):
    """Lines on the events with the highest scores."""
    if not events:
        return ["No event"]
    best = sorted(events, key=lambda event: -event.score)[:N_TOLD]
    lines = [f"{len(events)} event{'s' * (len(events) > 1)}" + (", the largest:" if best else "")]
    for event in best:
        start, end = stamps(np.array([event.first, event.end - 1]), layout, clock)
        lines.append(
            f"  {start} to {end}  {event.score:8.2f}  {event.columns}  {event.why}".rstrip()
        )
    return lines
