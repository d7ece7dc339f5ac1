"""Arrays for the figures of a series, in the user's units: what is drawn of slots and of windows.

S slots, D columns, L steps of a window, n windows, G groups that are shown, P panels, K stretches,
B bins of a panel. Numbers of several stretches stand one behind the other, and `*_of` tells whose
they are. Times are days since 1970, or the numbers of a clock without dates.
"""

import numpy as np

from parts.forms.cells import dates
from parts.forms.series import events

DAY, HOUR = 86_400.0, 3600.0
MOST_PANELS, MOST_GROUPS = 6, 3  # columns of groups, and groups, that are shown
MOST_BINS, MANY_PERIODS = 1000, 60  # of a panel
N_SIGMAS = 2.0  # deviations of a band
N_EVENTS, N_EVENT_COLUMNS, MOST_NEAR = 5, 2, 1000  # enlarged events, their columns, and steps
MOST_SPANS = 2000  # events whose places are marked
N_TOLD = 20  # events of which a run keeps words
MOST_DAYS = 400  # columns of the calendar of scores
WEEKLY_FROM, FEWEST_DAYS, FEWEST_WEEKS = 2 * DAY, 3, 4
HOURS = 1, 2, 3, 4, 6, 8, 12, 24  # of a row of that calendar
N_TYPICAL = 2  # gaps beside the longest one of a column
N_DRAWS = 5  # draws that are shown
N_WINDOWS = 100  # windows that are kept for figures
LEVEL = 0.9  # of the interval of draws
WEEKDAYS = ("Mo", "Tu", "We", "Th", "Fr", "Sa", "Su")


# Times and groups


def on_axis(clock, seconds):
    """Stamps in seconds as the numbers of a time axis."""
    seconds = np.asarray(seconds, np.float64)
    return local(clock, seconds) / DAY if clock.calendar else seconds


def local(clock, seconds):
    """Stamps in seconds in the zone of the file."""
    return seconds + dates.offset(clock.zone) * DAY if clock.zone else seconds


def about_time(codec):
    """What an axis of times needs: whether it has dates, and the seconds of a step."""
    kind = "dates" if codec.clock.calendar else "seconds" if codec.clock.timed else "numbers"
    step = float(codec.step.seconds) or 30 * DAY * codec.step.months
    return {"time": np.array(kind), "step": np.array(step), "every": np.array(str(codec.step))}


def names_of_groups(layout, frame):
    """The cells that tell each group in one text, [groups]."""
    slot, numbers = layout.grid.slot, np.unique(layout.grid.group)
    rows = np.flatnonzero(slot >= 0)
    of = layout.grid.group[slot[rows]]
    first = rows[np.unique(of, return_index=True)[1]]
    cells = [[str(frame[name].iloc[row]) for name in layout.groups] for row in first]
    found = dict(zip(np.unique(of).tolist(), map(", ".join, cells), strict=True))
    return [found.get(int(number), "") for number in numbers]


def to_user(columns, x):
    """Numbers [..., D] in model units as those of the user."""
    return np.stack([c.to_user(x[..., j]) for j, c in enumerate(columns)], -1)


# Scores


def of_scores(source, codec):
    """Panels of the columns that events concern most, with what was expected, and the scores."""
    layout, expected, found = source.known[1], source.expected, source.events
    if expected is None:
        return {}
    columns, names = codec.measured, names_of_groups(layout, source.file.frame)
    deviations = expected.deviations(layout.x, layout.mask)
    x = to_user(columns, np.where(layout.mask, layout.x, np.nan))
    low, high = (
        to_user(columns, expected.mean + sign * N_SIGMAS * expected.std) for sign in (-1, 1)
    )
    low, high = np.minimum(low, high), np.maximum(low, high)
    cells = Cells(on_axis(codec.clock, layout.grid.seconds), x, low, high)
    pairs = panels(layout, found, deviations)
    groups = list(dict.fromkeys(group for group, _ in pairs))
    arrays = about_time(codec) | overview(layout, cells, pairs, groups, source.slot_scores)
    arrays["panel_column"] = np.array([columns[j].name for _, j in pairs], dtype=str)
    arrays["panel_group"] = np.array([names[group] for group, _ in pairs], dtype=str)
    arrays["group"] = np.array([names[group] for group in groups], dtype=str)
    arrays |= spans_of(found, layout, cells, groups)
    arrays["n_events"] = np.array(len(found))
    arrays["n_columns"] = np.array(len(columns))
    arrays["n_groups"] = np.array(len(names))
    arrays |= enlarged(found, layout, cells, columns, names, deviations)
    return arrays | calendar_of(layout, codec, groups, source.slot_scores)


class Cells:
    """Cells of slots in the user's units: times [S], x, and the bounds low and high [S, D]."""

    def __init__(self, time, x, low, high):
        self.time, self.x, self.low, self.high = time, x, low, high


def panels(layout, found, deviations):
    """The pairs of a group's and a column's number to be shown, by their shares of the events.

    Each event counts once, and the largest one comes first.
    """
    group, n_columns = layout.grid.group, deviations.shape[1]
    total = np.zeros((group.max() + 1, n_columns))
    largest = max((event.score for event in found), default=0.0)
    for event in found:
        at = slice(event.first, event.end)
        is_largest = event.score == largest
        share = events.shares_of(deviations[at])
        total[group[event.first]] += share * (len(found) if is_largest else 1)
    if not total.any():
        np.add.at(total, group, np.minimum(deviations, 1e6) ** 2)
        total[group[0]] += 1.0
    shown = np.argsort(-total.max(1), kind="stable")[:MOST_GROUPS]
    order = np.argsort(-total[shown].ravel(), kind="stable")[:MOST_PANELS]
    pairs = [(int(shown[k // n_columns]), int(k % n_columns)) for k in order]
    some = {pair for pair in pairs if total[pair] > 0.01 * total.max()} or set(pairs[:1])
    return sorted(some)


def overview(layout, cells, pairs, groups, scores):
    """The lowest and the highest numbers of each bin of the panels, and the highest scores."""
    arrays = {"bin_time": [], "bin_score": []}
    arrays |= {f"bin_{name}": [] for name in ("x_low", "x_high", "low", "high")}
    of = {}
    for group in groups:
        slots = np.flatnonzero(layout.grid.group == group)
        # Slots of one bin lie side by side; slots of two segments are in different bins.
        size = bin_size(len(slots), layout)
        part = layout.grid.segment[slots]
        first = np.flatnonzero(np.diff(part, prepend=-1) != 0)
        rank = np.arange(len(slots)) - np.repeat(first, np.diff(np.append(first, len(slots))))
        begins = np.flatnonzero(rank % size == 0)
        of[group] = slots, begins
        time = cells.time[slots]
        arrays["bin_time"].append(reduced(np.fmin, time, begins))
        arrays["bin_score"].append(reduced(np.fmax, scores[slots], begins))
    for group, j in pairs:
        slots, begins = of[group]
        for name, values, way in (
            ("x_low", cells.x, np.fmin),
            ("x_high", cells.x, np.fmax),
            ("low", cells.low, np.fmin),
            ("high", cells.high, np.fmax),
        ):
            arrays[f"bin_{name}"].append(reduced(way, values[slots, j], begins))
    return {name: padded(parts) for name, parts in arrays.items()}


def bin_size(n_slots, layout):
    """The slots of a bin: one, or whole periods where there are many of them."""
    if n_slots <= MOST_BINS:
        return 1
    step = layout.grid.step
    period = max(1, layout.length // 2)
    if layout.clock.calendar and not step.months and step.seconds < DAY:
        period = max(1, round(DAY / step.seconds))
    if n_slots >= MANY_PERIODS * period:
        return period * -(-n_slots // (period * MOST_BINS))
    return -(-n_slots // MOST_BINS)


def reduced(way, values, begins):
    """The lowest or highest of the values [n] of each bin, that is not NaN."""
    return way.reduceat(values, begins)


def padded(parts):
    """Several arrays below each other, with NaN behind shorter ones."""
    found = np.full((len(parts), max(map(len, parts))), np.nan)
    for row, part in zip(found, parts, strict=True):
        row[: len(part)] = part
    return found


def spans_of(found, layout, cells, groups):
    """Where events lie: the number of their group among `groups`, and their first and last time."""
    some = [e for e in found if layout.grid.group[e.first] in groups][:MOST_SPANS]
    of = [groups.index(layout.grid.group[event.first]) for event in some]
    ends = [[cells.time[event.first], cells.time[event.end - 1]] for event in some]
    return {"span_of": np.array(of, int), "span": np.array(ends, float).reshape(-1, 2)}


def enlarged(found, layout, cells, columns, names, deviations):
    """The events with the highest scores, with the cells around them."""
    best = sorted(found, key=lambda event: -event.score)[:N_EVENTS]
    parts = {name: [] for name in ("time", "x", "low", "high", "of")}
    told = {name: [] for name in ("columns", "span", "why", "score", "group", "rows")}
    n_each = min(N_EVENT_COLUMNS, len(columns))
    for i, event in enumerate(best):
        at = around(layout, event.first, event.end, event.peak)
        shares = events.shares_of(deviations[event.first : event.end])
        chosen = np.argsort(-shares, kind="stable")[:n_each]
        parts["time"].append(cells.time[at])
        parts["of"].append(np.full(len(cells.time[at]), i))
        for name in ("x", "low", "high"):
            parts[name].append(getattr(cells, name)[at][:, chosen])
        told["columns"].append(
            [columns[j].name if shares[j] > 0.1 or j == chosen[0] else "" for j in chosen]
        )
        told["span"].append([cells.time[event.first], cells.time[event.end - 1]])
        told["why"].append(event.why)
        told["score"].append(event.score)
        told["group"].append(names[layout.grid.group[event.first]])
        told["rows"].append(event.n_rows)
    if not best:
        return {}
    near = {f"near_{name}": np.concatenate(values) for name, values in parts.items()}
    return near | {f"event_{name}": np.array(values) for name, values in told.items()}


def around(layout, first, end, middle=None):
    """The slots of a stretch [first, end) and some on both sides of it, as a slice."""
    group = layout.grid.group
    aside = int(np.clip(end - first, layout.length // 2, 2 * layout.length))
    low, high = first - aside, end + aside
    if high - low > MOST_NEAR and middle is not None:
        low, high = max(low, middle - MOST_NEAR // 2), min(high, middle + MOST_NEAR // 2)
    own = np.flatnonzero(group == group[first])
    return slice(max(low, own[0]), min(high, own[-1] + 1))


def calendar_of(layout, codec, groups, scores):
    """The highest score of some hours of each day, or of each day of weeks, [G, rows, columns].

    Scores of windows of several days do not tell hours. `calendar_of` are the first day, the days
    of a column, and the hours of a row.
    """
    step = codec.step
    if not codec.clock.calendar or step.months or step.seconds > DAY:
        return {}
    seconds = local(codec.clock, layout.grid.seconds)
    day = np.floor(seconds / DAY).astype(np.int64)
    shown = np.isin(layout.grid.group, groups)
    first, last = day[shown].min(), day[shown].max()
    if last - first < FEWEST_DAYS:
        return {}
    weekly = layout.length * step.seconds >= WEEKLY_FROM and last - first >= FEWEST_WEEKS * 7
    width = 24 if weekly else next(h for h in HOURS if h * HOUR >= step.seconds)
    if weekly:
        first -= (first + 3) % 7  # to the Monday before
    unit = 7 if weekly else 1
    n_days = unit * -(-(last - first + 1) // (unit * MOST_DAYS))  # of a column
    shape = len(groups), 7 if weekly else 24 // width, (last - first) // n_days + 1
    found = np.full(shape, np.nan)
    for i, group in enumerate(groups):
        at = np.flatnonzero((layout.grid.group == group) & np.isfinite(scores))
        row = (seconds[at] % DAY) // (width * HOUR)
        row = (day[at] - first) % 7 if weekly else row.astype(np.int64)
        np.fmax.at(found[i], (row, (day[at] - first) // n_days), scores[at])
    return {"calendar": found, "calendar_of": np.array([first, n_days, width], np.int64)}


def told_events(source, codec):
    """What a run keeps of the events for its page."""
    layout, frame = source.known[1], source.file.frame
    best = sorted(source.events, key=lambda event: -event.score)[:N_TOLD]
    table = events.table(best, layout, codec, frame)
    where = [", ".join(table[name].iloc[i] for name in layout.groups) for i in range(len(best))]
    return {
        "n_events": len(source.events),
        "events": [
            {
                "group": where[i],
                "start": table["start"].iloc[i],
                "end": table["end"].iloc[i],
                "rows": event.n_rows,
                "score": event.score,
                "columns": event.columns,
                "why": event.why,
            }
            for i, event in enumerate(best)
        ],
    }


# Filled gaps


def of_fills(source, codec, holes, todo, filled):
    """The longest gap and typical ones of the columns with most of them, with their fills."""
    layout, columns = source.known[1], codec.measured
    slot = layout.grid.slot[todo]
    there = slot >= 0

    def on_slots(values):
        found = np.full(layout.x.shape, np.nan)
        found[slot[there]] = np.where(holes[todo][there], values[there], np.nan)
        return found

    values = on_slots(filled.values)
    low, high = bounds_of(filled)
    low, high = (None, None) if low is None else (on_slots(low), on_slots(high))
    draws = [on_slots(draw) for draw in filled.draws[:N_DRAWS]]
    x = to_user(columns, np.where(layout.mask, layout.x, np.nan))
    time = on_axis(codec.clock, layout.grid.seconds)
    # A filled row may share its slot with one that has a cell: that is no gap.
    n_filled = (np.isfinite(values) & ~layout.mask).sum(0)
    order = [j for j in np.argsort(-n_filled, kind="stable")[:MOST_PANELS] if n_filled[j]]
    if not order:
        return {}
    names = names_of_groups(layout, source.file.frame)
    parts = {name: [] for name in ("time", "known", "filled", "low", "high", "of", "draws")}
    told = {name: [] for name in ("column", "group", "span", "steps", "kind")}
    n_gaps = []
    for j in order:
        gaps = gaps_of(layout, j, np.isfinite(values[:, j]))
        n_gaps.append(len(gaps))
        for first, end, kind in chosen_gaps(gaps):
            at = around(layout, first, end, first + MOST_NEAR // 2 - layout.length)
            cells = at, j
            n = at.stop - at.start
            parts["time"].append(time[at])
            parts["known"].append(x[cells])
            parts["filled"].append(values[cells])
            parts["low"].append(np.full(n, np.nan) if low is None else low[cells])
            parts["high"].append(np.full(n, np.nan) if high is None else high[cells])
            parts["of"].append(np.full(n, len(told["column"])))
            parts["draws"].append(np.stack([d[cells] for d in draws], 1) if draws else [])
            told["column"].append(columns[j].name)
            told["group"].append(names[layout.grid.group[first]])
            told["span"].append([time[first], time[end - 1]])
            told["steps"].append(end - first)
            told["kind"].append(kind)
    if not draws:
        del parts["draws"]
    arrays = {f"gap_{name}": np.concatenate(cells) for name, cells in parts.items()}
    arrays |= {f"stretch_{name}": np.array(values) for name, values in told.items()}
    arrays["n_gaps"] = np.array(n_gaps)
    arrays["n_filled"] = n_filled[order]
    arrays["n_columns"] = np.array((n_filled > 0).sum())
    arrays["has_bounds"] = np.array(filled.bounds is not None)
    return arrays | about_time(codec)


def bounds_of(filled):
    """The bounds of filled cells: those asked for, else those of the draws, or None."""
    if filled.bounds is not None:
        return filled.bounds
    if len(filled.draws) > 1:
        return np.min(filled.draws, 0), np.max(filled.draws, 0)
    return None, None


def gaps_of(layout, j, is_filled):
    """First slots and ends of the runs of missing cells of a column that were filled, [n, 2]."""
    missing = ~layout.mask[:, j]
    runs = events.events_of(missing, layout.grid.segment, 0)
    total = np.concatenate([[0], np.cumsum(is_filled)])
    return runs[total[runs[:, 1]] > total[runs[:, 0]]]


def chosen_gaps(gaps):
    """The longest gap, and typical ones by their length, in words, in the order of time."""
    sizes = gaps[:, 1] - gaps[:, 0]
    longest = int(sizes.argmax())
    middle = np.median(sizes)
    others = [k for k in np.argsort(np.abs(sizes - middle), kind="stable") if k != longest]
    same = [k for k in others if abs(sizes[k] - middle) == abs(sizes[others[0]] - middle)]
    if len(same) >= N_TYPICAL:  # not two neighbours
        typical = [same[len(same) // 3], same[-1 - len(same) // 3]]
        typical = list(dict.fromkeys(typical))
    else:
        typical = others[:N_TYPICAL]
    found = [(*gaps[longest].tolist(), "longest")]
    return found + [(*gaps[k].tolist(), "typical") for k in sorted(typical)]


# Generated windows and stretches


def of_windows(codec, real, ours):
    """Some real and some generated windows [n, L, D] in the user's units."""
    columns = codec.measured
    return about_time(codec) | {
        "real_windows": to_user(columns, evenly(real, N_WINDOWS)),
        "generated_windows": to_user(columns, evenly(ours, N_WINDOWS)),
    }


def evenly(x, most):
    """At most so many of the rows of x, at even distances."""
    return x[np.unique(np.linspace(0, len(x) - 1, min(len(x), most)).round().astype(int))]


def of_stretches(codec, stretches, drawn):
    """Drawn stretches [M, S, D] with the windows before them, in the user's units."""
    columns = codec.measured
    parts = {name: [] for name in ("time", "known", "middle", "low", "high", "of", "draws")}
    groups = []
    tail = (1 - LEVEL) / 2
    for i, (each, x) in enumerate(list(zip(stretches, drawn, strict=True))[:MOST_PANELS]):
        x = to_user(columns, x)
        past = np.zeros((0, len(columns)))
        ago = np.zeros(0)
        if each.past is not None:
            past = to_user(columns, np.where(each.past[1] > 0, each.past[0], np.nan))
            ago = each.past_seconds
        few = np.full((len(past) + x.shape[1], len(columns), min(len(x), N_DRAWS)), np.nan)
        few[len(past) :] = np.moveaxis(x[:N_DRAWS], 0, -1)
        blank = np.full(past.shape, np.nan)
        bounds = np.quantile(x, [tail, 0.5, 1 - tail], axis=0)
        parts["time"].append(on_axis(codec.clock, np.append(ago, each.seconds)))
        parts["known"].append(np.concatenate([past, np.full(x.shape[1:], np.nan)]))
        for name, values in zip(("low", "middle", "high"), bounds, strict=True):
            parts[name].append(np.concatenate([blank, values]))
        parts["draws"].append(few)
        parts["of"].append(np.full(len(few), i))
        groups.append(", ".join(each.group))
    arrays = {f"slot_{name}": np.concatenate(values) for name, values in parts.items()}
    arrays["group"] = np.array(groups, dtype=str)
    arrays["n_groups"], arrays["n_draws"] = np.array(len(stretches)), np.array(len(drawn[0]))
    arrays["columns"] = np.array([column.name for column in columns], dtype=str)
    return arrays | about_time(codec)


# Windows over time


def when(layout, starts):
    """The group and the seconds of windows that begin at `starts`, [n, 2]."""
    return np.stack([layout.grid.group[starts], layout.grid.seconds[starts]], 1).astype(np.float64)


def points(codec, moments):
    """What colours points of the latent space: the time, and the hour and the day of the week.

    `moments` [n, 2] are the groups and the seconds of windows.
    """
    seconds, dated = local(codec.clock, moments[:, 1]), codec.clock.calendar
    found = {"time": (on_axis(codec.clock, moments[:, 1]), "", dated)}
    if dated:
        found["hour"] = seconds % DAY / HOUR, "", False
        found["weekday"] = (np.floor(seconds / DAY) + 3) % 7, "\x1f".join(WEEKDAYS), False
    cells, levels, dates_of = zip(*found.values(), strict=True)
    return {
        "points": np.stack(cells, 1),
        "point_columns": np.array(list(found), dtype=str),
        "point_levels": np.array(levels, dtype=str),
        "point_dates": np.array(dates_of, dtype=bool),
    }
