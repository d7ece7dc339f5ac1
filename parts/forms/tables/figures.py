"""Figures of a run on a table, from the arrays of evaluate.py, impute.py and generate.py."""

import numpy as np

from parts.plots import style
from parts.plots.style import (
    BLUE,
    DARK_ORANGE,
    EMPTY,
    GREEN,
    ORANGE,
    SMALL,
    legend_below,
    level_names,
    panels,
    subplots,
    tell,
)
from parts.plots.words import counted, listed, name_in_words, percent, short

N_PROFILES = 6  # most test rows with a panel each
N_PANEL_ROWS = 12  # most test rows in the panel of a column
MOST_COLUMNS = 20  # most columns with a panel each
COMMON_SCALE = 30  # largest ratio of the spreads of columns that share an axis
N_POINTS = 300  # most hidden cells in the panel of a column
MOST_PANELS = 12  # most columns with a panel for filled or generated cells
MAX_NAMED_ROWS = 30  # most named rows of a matrix of correlations
NAME_LENGTH = 25  # most letters of such a name
MOST_BARS = 20  # most columns whose errors are bars; more are points
N_HISTOGRAM_BINS = 30  # bins of a histogram
CUT = 0.002  # share of cells at either end that a linear axis may leave out
RECONSTRUCTIONS_READING = (
    "Dots are cells of rows that were not trained on, dashes are what the model makes of them, and "
    "bands are where it expects them."
)
ERRORS_READING = (
    "A bar for each method in each column; shorter is better. Cells are of rows that were not "
    "trained on."
)
IMPUTATIONS_READING = (
    "Numbers: what was filled in against the truth, on the dashed line where right. Categories: "
    "dark on the diagonal where right."
)
MARGINALS_READING = "The share of rows with each value; the two colours should lie on each other."
CORRELATIONS_READING = (
    "Blue is −1, red is 1. The first two squares should look alike, and the third should be pale."
)


# Figures of evaluation.npz


def reconstructions(arrays):
    """Original and reconstructed test rows, with two sigma of p(x|z) around numbers."""
    n_columns = len(arrays["columns"])
    alike = not arrays["n_levels"].any() and not arrays["dates"].any()
    spread = np.ptp(np.where(np.isnan(arrays["x"]), arrays["recon"], arrays["x"]), 0)
    spread = spread[spread > 0]
    common = len(spread) == 0 or spread.max() / spread.min() < COMMON_SCALE
    together = alike and common and n_columns > 1
    figure = profiles(arrays) if together else column_panels(arrays)
    return tell(figure, reconstructions_in_words(arrays), RECONSTRUCTIONS_READING)


def reconstructions_in_words(arrays):
    """How many numbers lie inside two sigma, and how many categories are rebuilt."""
    x, recon = arrays["x"], arrays["recon"]
    level, seen = arrays["n_levels"] > 0, ~np.isnan(x)
    found = []
    if n := int(seen[:, ~level].sum()):
        inside = (arrays["low"] <= x) & (x <= arrays["high"])
        found.append(f"{percent(inside[:, ~level].sum() / n)} of numbers lie inside their ±2σ")
    if n := int(seen[:, level].sum()):
        right = (np.round(recon) == x)[:, level].sum() / n
        found.append(f"{percent(right)} of categories are rebuilt as they were")
    rows = counted(len(x), "test row")
    return f"Of {rows}, {' and '.join(found)}." if found else f"The cells of {rows} are all empty."


def profiles(arrays):
    """A panel per test row with its columns along the axis, for columns of similar scale."""
    n = min(N_PROFILES, len(arrays["x"]))
    figure, axes = panels(n, width=9.6 / min(n, 2), height=2.2, most_across=2)
    at = np.arange(arrays["x"].shape[1])
    for i, axis in enumerate(axes):
        if i:
            axis.sharey(axes[0])
        draw_cells(axis, at, *(arrays[name][i] for name in ("x", "recon", "low", "high")))
        axis.set_title(f"test row {i + 1}", fontsize=9)
        axis.set_xlim(-0.7, len(at) - 0.3)
        style.name_columns(axis, arrays["columns"])
        axis.tick_params(labelbottom=i >= n - 2)
    style.plain_ticks(axes[0].yaxis)
    figure.supylabel("value (original units)", fontsize=9)
    cells_legend(figure, axes, arrays["x"][:n])
    return figure


def column_panels(arrays):
    """A panel per column with test rows along the axis; categories have named levels."""
    n, n_columns = min(N_PANEL_ROWS, len(arrays["x"])), len(arrays["columns"])
    shown = np.unique(np.linspace(0, n_columns - 1, min(n_columns, MOST_COLUMNS)).round())
    shown = shown.astype(int)
    figure, axes = panels(len(shown), width=2.7, height=1.75)
    at = np.arange(1, n + 1)
    titles = style.distinct(arrays["columns"], 26)
    for axis, j in zip(axes, shown, strict=True):
        x, recon, low, high = (arrays[name][:n, j] for name in ("x", "recon", "low", "high"))
        if arrays["n_levels"][j]:
            draw_levels(axis, at, x, recon, level_names(arrays, j), arrays["kinds"][j])
        else:
            draw_cells(axis, at, x, recon, low, high)
            fit_scale(axis.yaxis, np.concatenate([x, recon]), arrays["dates"][j])
        axis.set_title(titles[j], fontsize=8)
        axis.tick_params(labelsize=SMALL)
        axis.set_xticks(at[:: max(1, -(-n // 6))])
        axis.set_xlim(0.3, n + 0.7)
    figure.supxlabel("test row", fontsize=9)
    some = f" ({len(shown)} of {n_columns} columns)" if len(shown) < n_columns else ""
    figure.supylabel(f"value, in the table's units{some}", fontsize=9)
    cells_legend(figure, axes, arrays["x"][:n, shown])
    return figure


def draw_cells(axis, at, x, recon, low, high):
    """Draw numbers of cells, their reconstructions, and two sigma of p(x|z)."""
    mark_empty(axis, at, x)
    axis.vlines(at, low, high, color=ORANGE, alpha=0.35, linewidth=5, label="±2σ of p(x|z)")
    draw_reconstructed(axis, at, recon)
    axis.plot(at, x, "o", color=BLUE, markersize=4, label="original")


def draw_levels(axis, at, x, recon, names, kind):
    """Draw levels of cells and their reconstructions on an axis of named levels."""
    codes, guesses = x, np.clip(np.round(recon), 0, len(names) - 1)
    seen = np.concatenate([codes[~np.isnan(codes)], guesses]).astype(int)
    counts = np.bincount(seen, minlength=len(names))
    labels, places = style.places_of_levels(names, counts, kind == "ordinal", most=6, length=11)
    mark_empty(axis, at, x)
    draw_reconstructed(axis, at, places[guesses.astype(int)])
    y = np.full(len(x), np.nan)
    y[~np.isnan(codes)] = places[codes[~np.isnan(codes)].astype(int)]
    axis.plot(at, y, "o", color=BLUE, markersize=4, label="original")
    axis.set_yticks(range(len(labels)), labels)
    axis.set_ylim(-0.6, len(labels) - 0.4)


def draw_reconstructed(axis, at, recon):
    look = {"color": DARK_ORANGE, "markersize": 8, "markeredgewidth": 2}
    axis.plot(at, recon, "_", label="reconstructed", **look)


def mark_empty(axis, at, x):
    for place in at[np.isnan(x)]:
        axis.axvspan(place - 0.4, place + 0.4, color=EMPTY, linewidth=0, zorder=0)


def cells_legend(figure, axes, x):
    from matplotlib.patches import Patch

    empty = [Patch(color=EMPTY, label="empty cell")] if np.isnan(x).any() else []
    legend_below(figure, *axes, extra=empty, above=True)


def fit_scale(axis, values, date=False, kind=""):
    """Fit the scale of an axis to its values: dates, plain numbers, or logarithms for tails."""
    values = values[np.isfinite(values)]
    scale, width = style.scale_for(values, kind, date)
    if date:
        style.as_dates(axis)
    elif scale == "log":
        getattr(axis.axes, f"set_{axis.axis_name}scale")("log", nonpositive="clip")
        style.log_side(axis, values.min(), values.max())
    elif scale == "asinh":
        style.asinh_ticks(axis, width, values)
    else:
        style.plain_ticks(axis, most=4)


def column_errors(arrays):
    """The error of each column for the VAE, for the training mean or mode, and for PCA.

    Numbers and categories have different units, and so separate panels.
    """
    groups = [
        (np.flatnonzero(arrays["n_levels"] == 0), f"test MSE ({arrays['unit']}, squared)"),
        (
            np.flatnonzero(arrays["n_levels"] > 0),
            "share of wrong test cells (of ordered levels: distance of ranks)",
        ),
    ]
    groups = [group for group in groups if len(group[0])]
    blind = "training mean"
    blind += ", or most frequent level" if arrays["n_levels"].any() else ""
    methods = [
        ("VAE", "mse_per_column", BLUE, "o"),
        (blind, "mse_per_column_mean", ORANGE, "s"),
        ("PCA", "mse_per_column_pca", GREEN, "D"),
    ]
    methods = [method for method in methods if method[1] in arrays]
    sizes = [np.clip(0.45 + 0.12 * len(methods) * len(rows), 1.1, 7) for rows, _ in groups]
    figure, axes = subplots(len(groups), 1, width=7.5, height=sum(sizes) + 1.1, height_ratios=sizes)
    for axis, (rows, label) in zip(axes.flat, groups, strict=True):
        draw_errors(axis, arrays, rows, methods)
        axis.set_xlabel(label)
    axes[0, 0].set_title("Reconstruction error per column")
    legend_below(figure, axes[0, 0])
    return tell(figure, column_errors_in_words(arrays, blind), ERRORS_READING)


def column_errors_in_words(arrays, blind):
    """In how many columns the model errs less than a guess, and where it does so least and most."""
    known = np.flatnonzero(arrays["n_observed"] > 0)
    if not len(known):
        return "No column has test cells."
    ours, guess = (arrays[key][known] for key in ("mse_per_column", "mse_per_column_mean"))
    said = (
        f"The VAE errs less than the {blind} in {(ours < guess).sum()} of "
        f"{counted(len(known), 'column')}"
    )
    if len(known) > 1 and (guess > 0).any():
        left = np.where(guess > 0, ours / np.where(guess > 0, guess, 1), np.nan)
        best, worst = (known[find(left)] for find in (np.nanargmin, np.nanargmax))
        names = [name_in_words(arrays["columns"][j]) for j in (best, worst)]
        shares = [percent(find(left)) for find in (np.nanmin, np.nanmax)]
        said += (
            f"; it leaves least of that error in {names[0]} ({shares[0]}), most in {names[1]} "
            f"({shares[1]})"
        )
    return f"{said}."


def draw_errors(axis, arrays, rows, methods):
    """Draw errors as bars with values, the first column on top, or as points for many columns."""
    at, height = np.arange(len(rows)), 0.8 / len(methods)
    empty = arrays["n_observed"][rows] == 0
    largest = 0.0
    for i, (label, key, color, marker) in enumerate(methods):
        errors = np.where(empty, np.nan, arrays[key][rows])
        largest = np.nanmax(np.append(errors, largest))
        if len(rows) > MOST_BARS:
            axis.plot(errors, at, marker, color=color, markersize=3, label=label)
            continue
        y = at + (i - (len(methods) - 1) / 2) * height
        bars = axis.barh(y, np.nan_to_num(errors), height, color=color, label=label)
        texts = ["" if np.isnan(e) else f"{e:.3f}" for e in errors]
        axis.bar_label(bars, texts, padding=2, fontsize=SMALL)
    for place in at[empty]:
        axis.text(0, place, " no test cells", fontsize=SMALL, va="center", color="0.3")
    step = -(-len(rows) // 45)
    names = style.distinct(arrays["columns"], 24)
    axis.set_yticks(at[::step], [names[j] for j in rows[::step]], fontsize=SMALL)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(-0.01 * (largest or 1.0), 1.12 * (largest or 1.0))
    axis.grid(axis="x", color="0.9", linewidth=0.6)
    axis.set_axisbelow(True)


# Figures of imputed.npz


def imputations(arrays):
    """Hidden cells and their fills: intervals for numbers, confusion matrices for categories."""
    names, hidden = arrays["columns"], arrays["hidden"]
    filled = [j for j in range(len(names)) if hidden[:, j].any()]
    shown = sorted(filled[:MOST_PANELS], key=lambda j: arrays["n_levels"][j] > 0)
    if not shown:
        return None
    figure, axes = panels(len(shown), width=2.9, height=2.7)
    titles, pictures = style.distinct(names, 26), []
    for axis, j in zip(axes, shown, strict=True):
        at = np.flatnonzero(hidden[:, j])
        truth, imputed = arrays["truth"][at, j], arrays["imputed"][at, j]
        axis.set_title(titles[j], fontsize=9)
        if arrays["n_levels"][j]:
            ordered = arrays["kinds"][j] == "ordinal"
            pictures.append(confusion(axis, truth, imputed, level_names(arrays, j), ordered))
        else:
            ends = (arrays[key][at[:N_POINTS], j] for key in ("low", "high"))
            draw_filled(axis, truth[:N_POINTS], imputed[:N_POINTS], *ends, arrays, j)
        axis.tick_params(labelsize=SMALL)
    if pictures:
        bar = figure.colorbar(pictures[0], ax=axes, shrink=0.5, anchor=(0, 0), aspect=25, pad=0.01)
        bar.set_label("share of the cells with this true level", fontsize=8)
    figure.supxlabel("true value of a hidden cell", fontsize=9)
    some = f" ({len(shown)} of {len(filled)} columns)" if len(shown) < len(filled) else ""
    figure.supylabel(f"filled in{some}", fontsize=9)
    legend_below(figure, axes[0], above=True)
    return tell(figure, imputations_in_words(arrays), IMPUTATIONS_READING)


def imputations_in_words(arrays):
    """How many hidden numbers lie inside their interval, and how many categories are right."""
    hidden, level = arrays["hidden"], arrays["n_levels"] > 0
    truth, found = arrays["truth"], []
    if n := int(hidden[:, ~level].sum()):
        inside = (arrays["low"] <= truth) & (truth <= arrays["high"]) & hidden
        found.append(
            f"{percent(inside[:, ~level].sum() / n)} of {counted(n, 'number')} lie inside their "
            f"{percent(float(arrays['interval']))} interval"
        )
    if n := int(hidden[:, level].sum()):
        right = (np.round(arrays["imputed"]) == truth) & hidden
        found.append(
            f"{percent(right[:, level].sum() / n)} of {counted(n, 'category', 'categories')} are "
            "filled in right"
        )
    return f"Of cells that were hidden on purpose, {' and '.join(found)}."


def draw_filled(axis, truth, imputed, low, high, arrays, j):
    share = f"{float(arrays['interval']):.0%} interval"
    axis.vlines(truth, low, high, color=BLUE, alpha=0.25, linewidth=1.5, label=share)
    axis.plot(truth, imputed, "o", color=BLUE, markersize=2.5, alpha=0.8, label="filled in")
    ends = [truth.min(), truth.max()]
    axis.plot(ends, ends, "--", color=ORANGE, label="as it was")
    both = np.concatenate([truth, imputed])
    for side in (axis.xaxis, axis.yaxis):
        fit_scale(side, both, arrays["dates"][j], arrays["kinds"][j])


def confusion(axis, truth, imputed, names, ordered):
    """Draw a confusion matrix: for each true level (column) the shares of the filled levels."""
    truth, imputed = (np.round(codes).astype(int) for codes in (truth, imputed))
    counts = np.bincount(truth, minlength=len(names))
    labels, places = style.places_of_levels(names, counts, ordered)
    table = np.zeros((len(labels), len(labels)))
    np.add.at(table, (places[imputed], places[truth]), 1)
    share = table / np.maximum(table.sum(0), 1)
    share[:, table.sum(0) == 0] = np.nan  # no cell of this level was hidden
    axis.set_facecolor(EMPTY)
    picture = axis.imshow(share, cmap="Blues", vmin=0, vmax=1, origin="lower", aspect="auto")
    rotation = 90 if max(map(len, labels)) * len(labels) > 20 else 0
    axis.set_xticks(range(len(labels)), labels, rotation=rotation)
    axis.set_yticks(range(len(labels)), labels)
    axis.tick_params(length=0)
    return picture


# Figures of generated.npz


def generated_marginals(arrays):
    """The distribution of each column in generated and in real rows."""
    names = arrays["columns"]
    n = min(len(names), MOST_PANELS)
    figure, axes = panels(n, width=2.7, height=2.2)
    titles = style.distinct(names, 26)
    for j, axis in enumerate(axes):
        real, new = (arrays[key][:, j] for key in ("real", "generated"))
        real, new = (values[np.isfinite(values)] for values in (real, new))
        cut = ""
        if arrays["n_levels"][j]:
            bars(axis, real, new, level_names(arrays, j), arrays["kinds"][j] == "ordinal")
        else:
            cut = histograms(axis, real, new, arrays["kinds"][j], arrays["dates"][j])
        axis.set_title(titles[j] + cut, fontsize=8 if cut else 9)
        axis.tick_params(labelsize=SMALL)
        axis.set_yticks([])
    some = f" ({n} of {len(names)} columns)" if n < len(names) else ""
    figure.supylabel(f"share of rows{some}", fontsize=9)
    legend_below(figure, axes[0])
    return tell(figure, marginals_in_words(arrays), MARGINALS_READING)


def marginals_in_words(arrays):
    """Which columns of generated and real rows are farthest apart, and by what share of rows."""
    apart = {}
    for j, name in enumerate(arrays["columns"]):
        real, new = (values[np.isfinite(values)] for values in pair_of(arrays, j))
        if len(real) and len(new):
            apart[name] = distance(real, new, arrays["n_levels"][j])
    if not apart:
        return "No column has both real and generated cells."
    worst = sorted(apart, key=apart.get, reverse=True)[:2]
    mean = percent(float(np.mean(list(apart.values()))))
    return (
        f"Generated and real columns differ by {mean} of the rows on average, most in "
        f"{listed(worst)} ({' and '.join(percent(apart[name]) for name in worst)})."
    )


def pair_of(arrays, j):
    return arrays["real"][:, j], arrays["generated"][:, j]


def distance(real, new, n_levels):
    """Total variation of levels, Kolmogorov-Smirnov distance of numbers: a share of the rows."""
    if n_levels:
        counts = [np.bincount(v.astype(int), minlength=n_levels) / len(v) for v in (real, new)]
        return 0.5 * float(np.abs(counts[0] - counts[1]).sum())
    at = np.concatenate([real, new])
    shares = [np.searchsorted(np.sort(v), at, side="right") / len(v) for v in (real, new)]
    return float(np.abs(shares[0] - shares[1]).max())


def bars(axis, real, new, names, ordered):
    counts = [np.bincount(v.astype(int), minlength=len(names)) for v in (real, new)]
    labels, places = style.places_of_levels(names, counts[0], ordered)
    at = np.arange(len(labels))
    looks = ((-0.2, BLUE, "real"), (0.2, ORANGE, "generated"))
    for found, (shift, color, label) in zip(counts, looks, strict=True):
        shares = np.bincount(places, weights=found, minlength=len(labels)) / max(1, found.sum())
        axis.bar(at + shift, shares, 0.4, color=color, label=label)
    rotation = 90 if max(map(len, labels)) * len(labels) > 20 else 0
    axis.set_xticks(at, labels, rotation=rotation)


def histograms(axis, real, new, kind, date=False):
    """Draw two histograms on a scale that shows their tails; returns a note on cells outside."""
    both = np.concatenate([real, new]) if len(real) + len(new) else np.zeros(1)
    scale, width = style.scale_for(both, kind, date)
    low, high = both.min(), both.max()
    if scale == "linear":
        low, high = inner_range(both)
    if low == high:
        low, high = low - 0.5 * max(1, 1e-3 * abs(low)), high + 0.5 * max(1, 1e-3 * abs(high))
    steps = np.linspace(0, 1, N_HISTOGRAM_BINS + 1)
    if scale == "log":
        low, high = (low, high) if low > 0 else (0.5 * high, high)
        bins = low * (high / low) ** steps
    elif scale == "asinh":
        ends = np.arcsinh([low / width, high / width])
        bins = width * np.sinh(ends[0] + np.ptp(ends) * steps)
    elif kind == "count" and high - low < 1e6:
        bins = np.arange(low, high + 2, max(1, (high - low) // N_HISTOGRAM_BINS)) - 0.5
    else:
        bins = low + (high - low) * steps
    bins[0], bins[-1] = min(bins[0], low), max(bins[-1], high)
    outside = []
    for values, color, label in ((real, BLUE, "real"), (new, ORANGE, "generated")):
        weights = np.full(len(values), 1 / max(1, len(values)))
        axis.hist(values, bins, weights=weights, histtype="step", color=color, label=label, lw=1.5)
        outside.append(int(((values < bins[0]) | (values > bins[-1])).sum()))
    if scale == "log":
        style.log_ticks(axis, low, high)
    elif scale == "asinh":
        style.asinh_ticks(axis.xaxis, width, both)
    elif date:
        style.as_dates(axis.xaxis)
    else:
        style.plain_ticks(axis.xaxis)
    return f"\ncells outside: {outside[0]} real, {outside[1]} generated" if any(outside) else ""


def inner_range(values):
    """The least and largest number, without the few numbers far from all others."""
    low, high = np.quantile(values, (CUT, 1 - CUT))
    room = 0.5 * (high - low)
    near = values[(values >= low - room) & (values <= high + room)]
    return near.min(), near.max()


def generated_correlations(arrays):
    """Rank correlations of real rows, of generated rows, and their difference."""
    real, new = arrays["correlation_real"], arrays["correlation_generated"]
    names, columns = names_of_numbers(arrays)
    side = float(np.clip(0.115 * min(len(names), MAX_NAMED_ROWS), 2.2, 4))
    letters = 0.065 * min(NAME_LENGTH, max(map(len, names)))
    figure, axes = subplots(
        1,
        5,
        width=3 * side + letters + 1.9,
        height=side + letters + 0.5,
        width_ratios=(1, 1, 0.05, 1, 0.05),
    )
    largest = np.nanmax(np.abs(np.append(new - real, 0.1)))
    for axis, table, title, limit, bar in zip(
        axes[0, [0, 1, 3]],
        (real, new, new - real),
        ("real rows", "generated rows", "generated − real"),
        (1, 1, largest),
        (None, axes[0, 2], axes[0, 4]),
        strict=True,
    ):
        axis.set_facecolor("0.75")  # grey for correlations that are not defined
        shown = axis.imshow(table, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto")
        axis.set_title(title)
        name_numbers(axis, names, arrays["columns"][columns], axis is axes[0, 0])
        if bar is not None:
            figure.colorbar(shown, cax=bar).set_label(
                "rank correlation" if limit == 1 else "difference", fontsize=8
            )
    if np.isnan(new - real).any():
        figure.supxlabel("grey: not defined (a constant, or too few cells)", fontsize=8)
    return tell(figure, correlations_in_words(real, new, names), CORRELATIONS_READING)


def correlations_in_words(real, new, names):
    """By how much rank correlations of generated rows differ, and which pair does so most."""
    apart = np.abs(np.triu(new - real, 1))
    known = np.isfinite(apart) & np.triu(np.ones_like(apart, bool), 1)
    if not known.any():
        return "No pair of columns has a rank correlation in both real and generated rows."
    i, j = np.unravel_index(np.where(known, apart, -1).argmax(), apart.shape)
    return (
        f"Rank correlations of generated rows lie {short(apart[known].mean())} from those of real "
        f"rows on average, at most {short(apart[i, j])}: {listed([names[i], names[j]])}, "
        f"{short(new[i, j])} instead of {short(real[i, j])}."
    )


def names_of_numbers(arrays):
    """Names [n] and column numbers [n] of the rows of a matrix of correlations."""
    names, columns = [], []
    for j, name in enumerate(arrays["columns"]):
        levels = level_names(arrays, j) if arrays["kinds"][j] == "categorical" else [""]
        names += [shorten_pair(name, level) if level else str(name) for level in levels]
        columns += [j] * len(levels)
    return names, np.array(columns)


def shorten_pair(name, level):
    return f"{style.cut_middle(style.one_line(name), 14)}={style.one_line(level)}"


def name_numbers(axis, names, columns, with_rows):
    """Name the rows of a matrix, or if they are many, only their `columns`."""
    labels, at = style.distinct(names, NAME_LENGTH), np.arange(len(names))
    if len(names) > MAX_NAMED_ROWS:
        firsts = np.flatnonzero(np.append(True, columns[1:] != columns[:-1]))
        at = (firsts + np.append(firsts[1:], len(names)) - 1) / 2
        step = -(-len(at) // MAX_NAMED_ROWS)
        at, labels = at[::step], style.distinct(columns[firsts][::step], NAME_LENGTH)
    axis.set_xticks(at, labels, rotation=90, fontsize=SMALL)
    axis.set_yticks(at, labels if with_rows else [""] * len(at), fontsize=SMALL)


# File of a run -> figure -> function that draws it.
TABLE_FIGURES = {
    "evaluation": {"reconstructions": reconstructions, "column_errors": column_errors},
    "imputed": {"imputations": imputations},
    "generated": {
        "generated_marginals": generated_marginals,
        "generated_correlations": generated_correlations,
    },
}
