"""Figures of a run on a series, from the arrays that commands keep; see shown.py.

G groups, P panels, K stretches, D columns, L steps of a window, n windows.
"""

import numpy as np

from parts.forms.tables import figures as tables
from parts.plots import style
from parts.plots.style import (
    BLUE,
    DARK_ORANGE,
    EMPTY,
    GREY,
    ORANGE,
    SMALL,
    VERMILION,
    legend_below,
    subplots,
    tell,
)
from parts.plots.words import counted, listed, name_in_words, percent, short

WIDE = 10.0  # inches of a figure over time
N_SHOWN = 3  # windows of a kind
MOST_COLUMNS = 4  # columns of windows that are shown
MOST_PANELS, MOST_PAIRS = 12, 6  # columns and pairs with a panel of correlations
UNITS = ((86_400.0, "days"), (3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
FLAGGED = "#FADFD3"  # behind what was flagged
BAND = {"color": ORANGE, "alpha": 0.35, "linewidth": 0}
OVERVIEW_READING = (
    "Blue is what the file holds, orange where it was expected from the series around it (±2σ); of "
    "long series the lowest and the highest of a day or of several steps are drawn. Red stretches "
    "are events. Below stands the score, with its threshold as a dashed line."
)
EVENTS_READING = (
    "Each row of panels is an event, largest first, with the columns that stand out. The line is "
    "what the file holds, the band where it was expected from the series around it (±2σ)."
)
CALENDAR_READING = (
    "A square is the highest score of a day, or of some hours of it. Blue is ordinary, orange and "
    "red lie beyond the threshold; white squares have no score."
)
FILLS_READING = (
    "Blue is known, orange was filled in. The left panel of each column is its longest gap, the "
    "others are of a typical length; of a very long gap the first part is shown."
)
WINDOWS_READING = (
    "Windows on the left are of the training rows, those on the right were drawn by the model. "
    "They should look like members of one family; none should be a copy."
)
AUTOCORRELATION_READING = (
    "How alike numbers are so many steps apart, from −1 to 1. The orange line should lie on the "
    "blue one; held-out windows show how far apart real ones are."
)
CROSS_READING = (
    "How alike two columns are, if the second one is so many steps later. The orange line should "
    "lie on the blue one; where a line is highest, the one column follows the other."
)
AHEAD_READING = (
    "Black is the file, up to its end. The line behind it is the median of the draws, the band "
    "holds 90 % of them, and thin lines are single draws."
)
DRAWN_READING = (
    "One draw of the model; it begins where it was asked to, and repeats no part of the file."
)
WINDOWS_OF_TEST_READING = (
    "Dots are cells of windows that were not trained on, the line is what the model makes of them, "
    "and the band is where it expects them (±2σ)."
)
PATH_READING = (
    "Each dot is a window, at the time when it begins; those that were not trained on do not "
    "overlap, and so are few. What goes with a colour is the time of day, a slow drift is a change "
    "of the series, and a dot far from all others is an odd window."
)


# Times


def time_axis(axis, arrays, most=8):
    """Times on the x axis: dates, or so many days, hours, minutes or seconds, or plain numbers."""
    kind = str(arrays["time"])
    if kind == "dates":
        style.as_dates(axis.xaxis, most)
        return
    if kind == "seconds":
        from matplotlib.ticker import FuncFormatter, MaxNLocator

        low, high = axis.get_xlim()
        size, unit = next((u for u in UNITS if high - low >= 2 * u[0]), UNITS[-1])
        axis.xaxis.set_major_locator(MaxNLocator(most))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda t, _: style.plain(round(t / size, 6))))
        axis.set_xlabel(unit)
        return
    style.plain_ticks(axis.xaxis, most)


def lags(arrays, n):
    """Lags of n + 1 steps on an axis, and their unit."""
    step, kind = float(arrays["step"]), str(arrays["time"])
    if kind == "numbers":
        return step * np.arange(n + 1), "lag"
    size, unit = next((u for u in UNITS if step * n >= 5 * u[0]), UNITS[-1])
    return step / size * np.arange(n + 1), f"lag, {unit}"


def with_breaks(time, *others):
    """Times [n] and numbers [n] beside them, with NaN where neighbours lie far apart."""
    step = np.diff(time)
    step = step[step > 0]
    if not len(step):
        return time, *others
    at = np.flatnonzero(np.diff(time) > 1.5 * np.median(step)) + 1
    middle = (time[at - 1] + time[at]) / 2 if len(at) else time[:0]
    return np.insert(time, at, middle), *[np.insert(part, at, np.nan, 0) for part in others]


def when_in_words(arrays, time):
    """A time as words."""
    if str(arrays["time"]) == "dates":
        from matplotlib.dates import num2date

        day = np.clip(time, style.FIRST_DATE, style.LAST_DATE)
        stamp = num2date(round(float(day) * 86_400) / 86_400).strftime("%Y-%m-%d %H:%M")
        return stamp.removesuffix(" 00:00")
    if str(arrays["time"]) == "seconds":
        size, unit = next((u for u in UNITS if abs(time) >= u[0]), UNITS[-1])
        return f"{short(time / size)} {unit}"
    return short(time)


def of_group(group, text):
    return f"{text}, {group}" if group else text


def title(axis, text, length=60):
    axis.set_title(style.shorten(text, length), fontsize=9, loc="left")


# Figures of scores.npz


def series_overview(arrays):
    """Columns over time with what was expected of them, events shaded, and the score beneath."""
    if "bin_time" not in arrays:
        return None
    groups, of = list(arrays["group"]), list(arrays["panel_group"])
    threshold = float(arrays["threshold"])
    heights, rows = [], []
    for g, group in enumerate(groups):
        own = [p for p, name in enumerate(of) if name == group]
        rows += [(g, p) for p in own] + [(g, None)]
        heights += [1.25] * len(own) + [0.9]
    figure, axes = subplots(
        len(rows), 1, width=WIDE, height=sum(heights) + 0.6, height_ratios=heights, sharex=True
    )
    for axis, (g, p) in zip(axes.flat, rows, strict=True):
        time = arrays["bin_time"][g]
        shade(axis, arrays["span"][arrays["span_of"] == g], time)
        if p is None:
            draw_scores(axis, time, arrays["bin_score"][g], threshold)
            axis.set_ylabel("score", fontsize=8)
        else:
            draw_bins(
                axis, time, *(arrays[f"bin_{k}"][p] for k in ("x_low", "x_high", "low", "high"))
            )
            title(axis, of_group(groups[g], str(arrays["panel_column"][p])))
            style.plain_ticks(axis.yaxis, most=4)
        axis.margins(x=0.01)
        axis.tick_params(labelsize=SMALL)
    time_axis(axes.flat[-1], arrays, most=9)
    legend_below(figure, *axes.flat)
    return tell(figure, overview_in_words(arrays), OVERVIEW_READING)


def draw_bins(axis, time, x_low, x_high, low, high):
    """Draw from where to where numbers reach in each bin, and where they were expected."""
    n = int(np.isfinite(time).sum())
    parts = with_breaks(time[:n], x_low[:n], x_high[:n], low[:n], high[:n])
    time, x_low, x_high, low, high = parts
    axis.fill_between(time, low, high, label="expected (±2σ)", **BAND)
    both = {"color": BLUE, "linewidth": 0.8}
    if np.array_equal(x_low, x_high, equal_nan=True):
        axis.plot(time, x_low, label="in the file", **both)
        alone(axis, time, x_low)
    else:
        axis.fill_between(time, x_low, x_high, color=BLUE, alpha=0.12, linewidth=0)
        axis.plot(time, x_low, **both, label="in the file")
        axis.plot(time, x_high, **both)
    inner = np.concatenate([x_low, x_high])
    inner = inner[np.isfinite(inner)]
    band = np.concatenate([low, high])
    band = band[np.isfinite(band)]
    if len(inner):
        ends = [inner.min(), inner.max()]
        if len(band):  # an odd band does not flatten what the file holds
            room = np.ptp(inner)
            ends = [
                min(ends[0], max(np.quantile(band, 0.01), ends[0] - room)),
                max(ends[1], min(np.quantile(band, 0.99), ends[1] + room)),
            ]
        room = 0.05 * (ends[1] - ends[0]) or 1.0
        axis.set_ylim(ends[0] - room, ends[1] + room)


def shade(axis, spans, time):
    """Shade events, the short ones at least as wide as can be seen."""
    known = time[np.isfinite(time)]
    least = 0.0025 * np.ptp(known) if len(known) else 0.0
    for i, (first, last) in enumerate(spans):
        middle, half = (first + last) / 2, max((last - first) / 2, least / 2)
        label = {"label": "event"} if not i else {}
        axis.axvspan(middle - half, middle + half, color=FLAGGED, linewidth=0, zorder=0, **label)


def draw_scores(axis, time, scores, threshold):
    n = int(np.isfinite(time).sum())
    time, scores = with_breaks(time[:n], scores[:n])
    axis.plot(time, scores, color=GREY, linewidth=0.8)
    finite = scores[np.isfinite(scores)]
    if len(finite) and finite.max() > 20 * max(np.quantile(np.abs(finite), 0.9), 1.0):
        style.asinh_ticks(axis.yaxis, max(np.quantile(np.abs(finite), 0.9), 1.0), finite)
    else:
        style.plain_ticks(axis.yaxis, most=3)
    if np.isfinite(threshold):
        axis.axhline(threshold, color=VERMILION, linestyle="--", linewidth=1, label="threshold")


def overview_in_words(arrays):
    n, n_columns, n_groups = (int(arrays[k]) for k in ("n_events", "n_columns", "n_groups"))
    shown = len(arrays["panel_column"])
    of = f" of {counted(n_groups, 'group')}" if n_groups > 1 else ""
    some = f", in {counted(n_columns, 'column')}{of}"
    if shown < n_columns * n_groups:
        some += f" ({shown} of {n_columns * n_groups} are shown, where most happens)"
    if not n:
        return f"No event was found{some}."
    best = int(np.argmax(arrays["event_score"]))
    first, last = arrays["event_span"][best]
    where = of_group(str(arrays["event_group"][best]), "")
    return (
        f"{counted(n, 'event')}{some}; the largest from {when_in_words(arrays, first)} to "
        f"{when_in_words(arrays, last)}{where}."
    )


def largest_events(arrays):
    """The events with the highest scores enlarged, with the columns that stand out."""
    if "near_time" not in arrays:
        return None
    names = arrays["event_columns"]
    n, across = len(names), 1 + int((names[:, 1:] != "").any())
    figure, axes = subplots(n, across, width=WIDE, height=1.75 * n + 0.5)
    for i in range(n):
        at = arrays["near_of"] == i
        time, span = arrays["near_time"][at], arrays["event_span"][i]
        for k, axis in enumerate(axes[i]):
            if not names[i, k]:
                axis.set_visible(False)
                continue
            x, low, high = (arrays[f"near_{key}"][at, k] for key in ("x", "low", "high"))
            shade(axis, [span], time)
            broken, x, low, high = with_breaks(time, x, low, high)
            axis.fill_between(broken, low, high, label="expected (±2σ)", **BAND)
            axis.plot(broken, x, color=BLUE, linewidth=1, label="in the file")
            alone(axis, broken, x)
            name = of_group(str(arrays["event_group"][i]), str(names[i, k]))
            if not k:
                name = f"{i + 1}: {name}, score {short(arrays['event_score'][i])}"
            title(axis, name, 70 // across + 20)
            axis.tick_params(labelsize=SMALL)
            axis.margins(x=0.01)
            style.plain_ticks(axis.yaxis, most=4)
            time_axis(axis, arrays, most=7 // across + 1)
    legend_below(figure, axes[0, 0])
    return tell(figure, events_in_words(arrays), EVENTS_READING)


def alone(axis, time, x, color=BLUE, size=2.5):
    """Mark numbers that have no neighbour, which a line does not show."""
    seen = np.isfinite(x)
    before, behind = np.append(False, seen[:-1]), np.append(seen[1:], False)
    single = seen & ~before & ~behind
    axis.plot(time[single], x[single], ".", color=color, markersize=size)


def events_in_words(arrays):
    n = len(arrays["event_score"])
    first, last = arrays["event_span"][0]
    why = str(arrays["event_why"][0])
    said = f"The {counted(n, 'event')} with the highest scores" if n > 1 else "The one event"
    said += f"; {'the first' if n > 1 else 'it'} lasts from {when_in_words(arrays, first)} to "
    said += f"{when_in_words(arrays, last)}"
    return f"{said}: {why}." if why else f"{said}."


def score_calendar(arrays):
    """The highest score of some hours of each day, days from left to right."""
    if "calendar" not in arrays:
        return None
    from matplotlib.colors import BoundaryNorm, ListedColormap

    table, (first, wide, width) = arrays["calendar"], arrays["calendar_of"]
    threshold = float(arrays["threshold"])
    known = table[np.isfinite(table)]
    if not len(known):
        return None
    shades = ["#F2F6FA", "#D6E4F0", "#AFCBE3", "#7FAAD1"]
    top = threshold if np.isfinite(threshold) else max(np.quantile(known, 0.99), 1e-6)
    low = min(0.0, top - 1e-6)
    edges = list(np.linspace(low, top, len(shades) + 1))
    edges[0] = min(edges[0], known.min()) - 1e-6
    if np.isfinite(threshold) and known.max() > threshold:
        size = max(threshold - low, 1e-6)
        more = [edge for edge in (threshold + size, threshold + 4 * size) if edge < known.max()]
        shades += ["#FDC77A", VERMILION, "#8A1C00"][: len(more) + 1]
        edges += [*more, known.max() + 1e-6]
    else:
        edges[-1] = max(edges[-1], known.max()) + 1e-6
    n_groups, _, n_days = table.shape
    weekly = width == 24
    figure, axes = subplots(n_groups, 1, width=WIDE, height=2.1 * n_groups + 0.5, sharex=True)
    for axis, cells, group in zip(axes.flat, table, arrays["group"], strict=True):
        shown = axis.imshow(
            cells,
            cmap=ListedColormap(shades),
            norm=BoundaryNorm(edges, len(shades)),
            aspect="auto",
            origin="upper" if weekly else "lower",
            extent=(first, first + wide * n_days, *((7, 0) if weekly else (0, 24))),
            interpolation="nearest",
        )
        if weekly:
            axis.set_yticks(np.arange(7) + 0.5, shown_weekdays())
        else:
            axis.set_yticks([0, 6, 12, 18, 24])
            axis.set_ylabel("hour of the day", fontsize=8)
        axis.tick_params(labelsize=SMALL)
        if group:
            title(axis, str(group))
    time_axis(axes.flat[-1], arrays, most=9)
    bar = figure.colorbar(shown, ax=list(axes.flat), aspect=25, pad=0.01)
    bar.set_ticks(edges[1:-1], labels=[f"{edge:.2g}" for edge in edges[1:-1]])
    bar.ax.tick_params(labelsize=SMALL)
    bar.set_label("highest score", fontsize=8)
    return tell(figure, calendar_in_words(arrays), CALENDAR_READING)


def shown_weekdays():
    return ["Monday", "", "Wednesday", "", "Friday", "", "Sunday"]


def calendar_in_words(arrays):
    """On how many days, or at which hours, scores lie beyond the threshold."""
    table, (_, wide, width) = arrays["calendar"], arrays["calendar_of"]
    beyond = table > float(arrays["threshold"])
    if not beyond.any():
        return "No score lies beyond the threshold on any day."
    known = np.isfinite(table)
    if width == 24:
        of = "day" if wide == 7 else f"square of {wide // 7} weeks"
        return (
            f"On {beyond.sum()} of {counted(int(known.sum()), of)} a score lies beyond the "
            "threshold."
        )
    days, there = beyond.any((0, 1)).sum(), known.any((0, 1)).sum()
    hours = beyond.sum((0, 2))
    most = int(hours.argmax())
    of = "day" if wide == 1 else f"column of {wide} days"
    said = f"On {days} of {counted(int(there), of)} a score lies beyond the threshold"
    if hours.max() > hours.min():
        said += f", most often from {most * width}:00 to {(most + 1) * width}:00"
    return f"{said}."


# Figures of imputed.npz


def filled_gaps(arrays):
    """The longest gap and typical ones of each column, filled, with the cells around them."""
    if "gap_time" not in arrays:
        return None
    columns = list(dict.fromkeys(arrays["stretch_column"].tolist()))
    own = {name: np.flatnonzero(arrays["stretch_column"] == name) for name in columns}
    across = max(map(len, own.values()))
    figure, axes = subplots(
        len(columns), across, width=WIDE if across > 1 else 7, height=1.75 * len(columns) + 0.6
    )
    for row, name in zip(axes, columns, strict=True):
        for axis in row[len(own[name]) :]:
            axis.set_visible(False)
        for axis, k in zip(row, own[name], strict=False):
            draw_gap(axis, arrays, k)
            steps = counted(int(arrays["stretch_steps"][k]), "step")
            text = of_group(str(arrays["stretch_group"][k]), f"{name}: {steps}")
            title(axis, text, 44)
            time_axis(axis, arrays, most=4)
    legend_below(figure, *axes.flat)
    return tell(figure, gaps_in_words(arrays, columns), FILLS_READING)


def draw_gap(axis, arrays, k):
    at = arrays["gap_of"] == k
    names = ["known", "filled", "low", "high"]
    time, known, filled, low, high = with_breaks(
        arrays["gap_time"][at], *(arrays[f"gap_{name}"][at] for name in names)
    )
    # A line from the known cells on both sides to the filled ones.
    joined = np.where(np.isfinite(filled), filled, np.nan)
    beside = np.isfinite(known)
    near = np.isfinite(filled)
    touches = beside & (np.append(near[1:], False) | np.append(False, near[:-1]))
    joined[touches] = known[touches]
    low, high = (np.where(touches, known, part) for part in (low, high))
    if np.isfinite(low[near]).any():
        share = "interval" if bool(arrays["has_bounds"]) else "all draws"
        axis.fill_between(time, low, high, label=share, **BAND)
    if "gap_draws" in arrays:
        draws = arrays["gap_draws"][at]
        shown = with_breaks(arrays["gap_time"][at], draws)[1]
        for i, draw in enumerate(shown.T):
            draw = np.where(touches, known, draw)
            label = {"label": "draw"} if not i else {}
            axis.plot(time, draw, color=ORANGE, linewidth=0.6, alpha=0.9, **label)
    axis.plot(time, joined, color=DARK_ORANGE, linewidth=1.4, label="filled in")
    axis.plot(time[near], filled[near], ".", color=DARK_ORANGE, markersize=2.5)
    axis.plot(time, known, color=BLUE, linewidth=1, label="known")
    alone(axis, time, known)
    axis.margins(x=0.01)
    axis.tick_params(labelsize=SMALL)
    style.plain_ticks(axis.yaxis, most=4)


def gaps_in_words(arrays, columns):
    n_gaps, n_filled = arrays["n_gaps"], arrays["n_filled"]
    said = [
        f"{name_in_words(name)} has {counted(int(n_gaps[i]), 'gap')} with "
        f"{counted(int(n_filled[i]), 'filled cell')}"
        for i, name in enumerate(columns[:2])
    ]
    longest = int(np.argmax(arrays["stretch_steps"]))
    more = int(arrays["n_columns"]) - len(columns)
    some = f" ({counted(more, 'more column')} not shown)" if more > 0 else ""
    return (
        f"{'; '.join(said)}{some}; the longest gap has "
        f"{counted(int(arrays['stretch_steps'][longest]), 'step')}, in "
        f"{name_in_words(arrays['stretch_column'][longest])}."
    )


# Figures of generated.npz


def generated_windows(arrays):
    """Some real windows and some generated ones, side by side."""
    if "real_windows" not in arrays:
        return None
    real, new = arrays["real_windows"], arrays["generated_windows"]
    names = arrays["columns"][:MOST_COLUMNS]
    chosen = [evenly(len(part), N_SHOWN) for part in (real, new)]
    across = sum(map(len, chosen))
    figure, axes = subplots(
        len(names), across, width=WIDE + 1, height=1.4 * len(names) + 0.7, sharex=True, sharey="row"
    )
    time, unit = lags(arrays, real.shape[1] - 1)
    for j, row in enumerate(axes):
        shown = [(real[i, :, j], BLUE) for i in chosen[0]]
        shown += [(new[i, :, j], DARK_ORANGE) for i in chosen[1]]
        for k, (axis, (cells, color)) in enumerate(zip(row, shown, strict=True)):
            axis.plot(time, cells, color=color, linewidth=1)
            axis.tick_params(labelsize=SMALL)
            if not j:
                axis.set_title("real" if k < len(chosen[0]) else "generated", fontsize=9)
        row[0].set_ylabel(style.distinct(arrays["columns"], 18)[j], fontsize=8)
        style.plain_ticks(row[0].yaxis, most=4)
        style.plain_ticks(row[0].xaxis, most=4)
    some = f" ({len(names)} of {len(arrays['columns'])} columns)"
    figure.supxlabel(
        unit.removeprefix("lag, ") + some * (len(names) < len(arrays["columns"])), fontsize=9
    )
    spread = [part.std((0, 1)) / np.maximum(real.std((0, 1)), 1e-12) for part in (new,)][0]
    far = int(np.argmax(np.abs(np.log(np.maximum(spread, 1e-9)))))
    said = (
        f"{counted(len(new), 'generated window')} beside {counted(len(real), 'real one')}; the "
        f"spread of generated numbers is {percent(spread[far])} of the real one"
    )
    of = f" in {name_in_words(arrays['columns'][far])}, where they differ most"
    return tell(figure, f"{said}{of if len(spread) > 1 else ''}.", WINDOWS_READING)


def evenly(n, most):
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(int)) if n else []


def generated_autocorrelations(arrays):
    """The autocorrelation of each column of real and of generated windows."""
    if "autocorrelation_generated" not in arrays:
        return None
    names = arrays["columns"][:MOST_PANELS]
    figure, axes = style.panels(len(names), width=min(8, 11 / min(len(names), 4)), height=1.9)
    real, new = arrays["autocorrelation_real"], arrays["autocorrelation_generated"]
    time, unit = lags(arrays, len(real) - 1)
    titles = style.distinct(arrays["columns"], 26)
    for j, axis in enumerate(axes):
        axis.axhline(0, color="0.85", linewidth=0.8)
        if "autocorrelation_held" in arrays:
            held = arrays["autocorrelation_held"][:, j]
            axis.plot(time, held, ":", color=GREY, linewidth=1.2, label="held out")
        axis.plot(time, real[:, j], color=BLUE, linewidth=1.4, label="real")
        axis.plot(time, new[:, j], color=DARK_ORANGE, linewidth=1.2, label="generated")
        axis.set_title(titles[j], fontsize=9)
        axis.tick_params(labelsize=SMALL)
        axis.set_ylim(min(-0.3, np.nanmin(real), np.nanmin(new)) - 0.05, 1.05)
        style.plain_ticks(axis.xaxis, most=4)
    some = f" ({len(names)} of {len(arrays['columns'])} columns)"
    figure.supxlabel(unit + some * (len(names) < len(arrays["columns"])), fontsize=9)
    figure.supylabel("autocorrelation", fontsize=9)
    legend_below(figure, axes[0], above=True)
    apart = np.abs(new - real).max(0)
    worst = int(apart.argmax())
    said = f"Autocorrelations of generated windows lie at most {short(apart[worst])} from real ones"
    if len(apart) > 1:
        said += f", in {name_in_words(arrays['columns'][worst])}; {short(apart.mean())} on average"
    return tell(figure, f"{said}.", AUTOCORRELATION_READING)


def generated_correlations(arrays):
    """Rank correlations of the columns of real windows, of generated ones, and their difference."""
    return tables.generated_correlations(arrays) if "correlation_real" in arrays else None


def generated_cross_correlations(arrays):
    """Correlations of the pairs of columns that go together most, at lags of both signs."""
    if "lagged_real" not in arrays:
        return None
    real, new = arrays["lagged_real"], arrays["lagged_generated"]
    names, n_lags = arrays["columns"], len(real) // 2
    high = np.triu(np.abs(real).max(0), 1)
    order = np.argsort(-high.ravel(), kind="stable")[:MOST_PAIRS]
    pairs = [(k // len(high), k % len(high)) for k in order if high.flat[k] > 0]
    if not pairs:
        return None
    figure, axes = style.panels(
        len(pairs), width=min(6, 10.5 / min(len(pairs), 3)), height=2.1, most_across=3
    )
    time, unit = lags(arrays, n_lags)
    time = np.concatenate([-time[:0:-1], time])
    short_names = style.distinct(names, 16)
    for axis, (i, j) in zip(axes, pairs, strict=True):
        axis.axhline(0, color="0.85", linewidth=0.8)
        axis.axvline(0, color="0.85", linewidth=0.8)
        axis.plot(time, real[:, i, j], color=BLUE, linewidth=1.4, label="real")
        axis.plot(time, new[:, i, j], color=DARK_ORANGE, linewidth=1.2, label="generated")
        axis.set_title(f"{short_names[i]}, then {short_names[j]}", fontsize=8)
        axis.tick_params(labelsize=SMALL)
        axis.set_ylim(-1.05, 1.05)
        style.plain_ticks(axis.xaxis, most=5)
    figure.supxlabel(unit, fontsize=9)
    figure.supylabel("correlation", fontsize=9)
    legend_below(figure, axes[0], above=True)
    apart = [np.abs(new[:, i, j] - real[:, i, j]).max() for i, j in pairs]
    worst = pairs[int(np.argmax(apart))]
    said = (
        f"Of the {counted(len(pairs), 'pair')} of columns that go together most, correlations of "
        f"generated windows lie at most {short(max(apart))} from real ones: "
        f"{listed([names[k] for k in worst])}."
    )
    return tell(figure, said, CROSS_READING)


# Figures of continued.npz


def long_series(arrays):
    """A drawn stretch of each group, behind the last window of the file where there is one."""
    groups, names = arrays["group"], arrays["columns"]
    pairs = [(g, j) for g in range(len(groups)) for j in range(len(names))][: 2 * N_SHOWN]
    figure, axes = subplots(
        len(pairs), 1, width=WIDE, height=1.5 * len(pairs) + 0.6, sharex=len(groups) == 1
    )
    several = int(arrays["n_draws"]) > 1
    for axis, (g, j) in zip(axes.flat, pairs, strict=True):
        at = arrays["slot_of"] == g
        time = arrays["slot_time"][at]
        known, middle, low, high = (
            arrays[f"slot_{key}"][at, j] for key in ("known", "middle", "low", "high")
        )
        ahead = np.isfinite(middle)
        if not ahead.all():
            axis.axvline(time[ahead][0], color="0.7", linewidth=0.8, linestyle=":")
        if several:
            axis.fill_between(time, low, high, label="90 % of the draws", **BAND)
            for i, draw in enumerate(arrays["slot_draws"][at, j].T[:2]):
                label = {"label": "draw"} if not i else {}
                axis.plot(time, draw, color=ORANGE, linewidth=0.6, **label)
        axis.plot(
            time, middle, color=DARK_ORANGE, linewidth=1.2, label="median" if several else "drawn"
        )
        if np.isfinite(known).any():
            axis.plot(time, known, color="black", linewidth=1, label="in the file")
            alone(axis, time, known, "black")
        title(axis, of_group(str(groups[g]), str(names[j])))
        axis.margins(x=0.01)
        axis.tick_params(labelsize=SMALL)
        style.plain_ticks(axis.yaxis, most=4)
        if len(groups) > 1:
            time_axis(axis, arrays, most=9)
    if len(groups) == 1:
        time_axis(axes.flat[-1], arrays, most=9)
    legend_below(figure, *axes.flat)
    return tell(
        figure, long_in_words(arrays, len(pairs)), AHEAD_READING if several else DRAWN_READING
    )


def long_in_words(arrays, n_shown):
    at = (arrays["slot_of"] == 0) & np.isfinite(arrays["slot_middle"]).any(1)
    time, n = arrays["slot_time"][at], int(at.sum())
    first, last = (when_in_words(arrays, end) for end in (time[0], time[-1]))
    groups, n_columns = int(arrays["n_groups"]), len(arrays["columns"])
    of = f" of each of {counted(groups, 'group')}" if groups > 1 else ""
    n_all = groups * n_columns
    some = f" ({n_shown} of {n_all} lines are shown)" if n_shown < n_all else ""
    if int(arrays["n_draws"]) == 1:
        return f"A drawn series of {counted(n, 'step')}, from {first} to {last}{some}."
    low, high = (arrays[f"slot_{key}"][at][:, 0] for key in ("low", "high"))
    wide = np.abs(high - low)
    return (
        f"{counted(n, 'step')} behind the end of the file{of}{some}, from {first} to {last}; the "
        f"band of {name_in_words(arrays['columns'][0])} is {short(wide[0])} wide at the first step "
        f"and {short(wide[-1])} at the last one."
    )


# Figures of evaluation.npz


def reconstructions(arrays):
    """Some test windows as curves, with what the model makes of them."""
    n_steps, n_columns = (int(size) for size in arrays["shape"])
    cells = {
        name: arrays[name].reshape(-1, n_steps, n_columns) for name in ("x", "recon", "low", "high")
    }
    names = arrays["measured"][:MOST_COLUMNS]
    chosen = evenly(len(cells["x"]), N_SHOWN)
    figure, axes = subplots(
        len(names),
        len(chosen),
        width=WIDE,
        height=1.5 * len(names) + 0.8,
        sharex="col",
        sharey="row",
    )
    step = float(arrays["step"]) / (86_400 if str(arrays["time"]) == "dates" else 1)
    for j, row in enumerate(axes):
        for axis, i in zip(row, chosen, strict=True):
            time = arrays["window_time"][i] + step * np.arange(n_steps)
            x, recon, low, high = (part[i, :, j] for part in cells.values())
            axis.fill_between(time, low, high, label="±2σ of p(x|z)", **BAND)
            axis.plot(time, recon, color=DARK_ORANGE, linewidth=1.2, label="reconstructed")
            axis.plot(time, x, "o", color=BLUE, markersize=1.8, label="original")
            mark_holes(axis, time, x, step)
            axis.margins(x=0.01)
            axis.tick_params(labelsize=SMALL)
            if j == len(names) - 1:
                time_axis(axis, arrays, most=4)
        row[0].set_ylabel(style.distinct(arrays["measured"], 18)[j], fontsize=8)
        style.plain_ticks(row[0].yaxis, most=4)
    for axis, i in zip(axes[0], chosen, strict=True):
        axis.set_title(f"test window {i + 1}", fontsize=9)
    legend_below(figure, *axes.flat)
    seen = ~np.isnan(cells["x"])
    inside = (cells["low"] <= cells["x"]) & (cells["x"] <= cells["high"])
    said = (
        f"Of {counted(len(cells['x']), 'test window')}, {percent(inside[seen].mean())} of the "
        "numbers lie inside their ±2σ."
        if seen.any()
        else "The test windows are all empty."
    )
    return tell(figure, said, WINDOWS_OF_TEST_READING)


def mark_holes(axis, time, x, step):
    """Shade steps without a number."""
    gone = np.isnan(x)
    first = np.flatnonzero(gone & ~np.append(False, gone[:-1]))
    last = np.flatnonzero(gone & ~np.append(gone[1:], False))
    for i, (a, b) in enumerate(zip(first, last, strict=True)):
        label = {"label": "empty"} if not i else {}
        axis.axvspan(
            time[a] - step / 2, time[b] + step / 2, color=EMPTY, linewidth=0, zorder=0, **label
        )


def column_errors(arrays):
    """The error of each column, over all steps of the windows, beside those of baselines."""
    shape = tuple(int(size) for size in arrays["shape"])
    n_observed = arrays["n_observed"].reshape(shape)
    whole = {**arrays, "columns": arrays["measured"], "n_levels": np.zeros(shape[1], int)}
    whole["n_observed"] = n_observed.sum(0)
    for name in ("mse_per_column", "mse_per_column_mean", "mse_per_column_pca"):
        if name in arrays:
            total = (arrays[name].reshape(shape) * n_observed).sum(0)
            whole[name] = total / np.maximum(n_observed.sum(0), 1)
    return tables.column_errors(whole)


def latents_over_time(arrays):
    """The latents that carry most, of windows in the order of time, by the time of day or alone."""
    if "path" not in arrays or len(arrays["path"]) < 2:
        return None
    path, time = arrays["path"], arrays["path_time"]
    n = path.shape[1]
    figure, axes = subplots(n, 1, width=WIDE, height=1.35 * n + 0.6, sharex=True)
    hours = arrays["path_hour"]
    dated = str(arrays["time"]) == "dates" and len(np.unique(hours.round(2))) > 1
    look = {"s": 5, "linewidths": 0, "alpha": 0.8}
    look |= (
        {"c": hours, "cmap": "twilight_shifted", "vmin": 0, "vmax": 24}
        if dated
        else {"color": BLUE}
    )
    for k, axis in enumerate(axes.flat):
        marks = axis.scatter(time, path[:, k], **look)
        axis.set_ylabel(f"z{int(arrays['path_latent'][k]) + 1}", fontsize=8)
        axis.tick_params(labelsize=SMALL)
        axis.margins(x=0.01)
        style.plain_ticks(axis.yaxis, most=4)
    time_axis(axes.flat[-1], arrays, most=9)
    said = f"{counted(len(path), 'window')} in the {counted(n, 'latent dimension')} that carry most"
    if dated:
        bar = figure.colorbar(marks, ax=list(axes.flat), aspect=30, pad=0.01)
        bar.set_label("hour at which the window begins", fontsize=8)
        bar.set_ticks([0, 6, 12, 18, 24])
        bar.ax.tick_params(labelsize=SMALL)
        shares = [share_of_hours(path[:, k], hours) for k in range(n)]
        best = int(np.argmax(shares))
        said += (
            f"; the hour explains {percent(shares[best])} of the variance of "
            f"z{int(arrays['path_latent'][best]) + 1}"
        )
    return tell(figure, f"{said}.", PATH_READING)


def share_of_hours(z, hours):
    """The share of the variance of z [n] that lies between the hours of the day."""
    hour = np.floor(hours).astype(int) % 24
    n = np.bincount(hour, minlength=24)
    mean = np.bincount(hour, z, 24) / np.maximum(n, 1)
    return float((n * (mean - z.mean()) ** 2).sum() / max(((z - z.mean()) ** 2).sum(), 1e-30))


# File of a run -> figure -> function that draws it, or returns None.
SERIES_FIGURES = {
    "evaluation": {
        "reconstructions": reconstructions,
        "column_errors": column_errors,
        "latents_over_time": latents_over_time,
    },
    "scores": {
        "series_overview": series_overview,
        "largest_events": largest_events,
        "score_calendar": score_calendar,
    },
    "imputed": {"filled_gaps": filled_gaps},
    "generated": {
        "generated_windows": generated_windows,
        "generated_autocorrelations": generated_autocorrelations,
        "generated_correlations": generated_correlations,
        "generated_cross_correlations": generated_cross_correlations,
    },
    "continued": {"long_series": long_series},
}
