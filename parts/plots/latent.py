"""Figures of the latent space: where rows lie in it, and what each of its dimensions carries."""

import numpy as np

from parts.errors import UserError
from parts.plots import style
from parts.plots.style import BLUE, CLASS_COLORS, CLASS_MARKERS, GREY, subplots, tell
from parts.plots.words import counted, name_in_words, percent, short

UNUSED = 0.01  # nats below which a latent dimension carries nothing
SPACE_READING = (
    "Each mark is a row that was not trained on. Rows that lie together are alike to the model; "
    "colours that lie apart are told apart."
)
KL_READING = "Each bar is how much the model stores of a row in one latent dimension; 0 is unused."
LABEL = "label"  # the column's name of a data set's labels


def latent_space(arrays, color=None):
    """Posterior means of test rows; their first two principal components where z is larger.

    They are coloured by the column `color`, by default by the labels where there are any.
    """
    mu = arrays["mu"]
    figure, axes = subplots(1, 1, width=6.4, height=4.6)
    axis, names = axes.flat[0], ("z₁", "z₂")
    row, rows = str(arrays.get("one_row", "row")), str(arrays.get("of", "rows"))
    said = counted(len(mu), f"test {row}", f"test {rows}")
    said += f" in {counted(mu.shape[1], 'latent dimension')}"
    if mu.shape[1] > 2:
        mu, shares = principal_components(mu)
        said += (
            f", of which the plane that is shown holds {percent(shares[:2].sum())} of the spread"
        )
        names = [f"principal component {i + 1} of z ({shares[i]:.0%} of variance)" for i in (0, 1)]
    points = np.column_stack([mu, np.zeros_like(mu)])[:, :2]  # a second axis of 0 where z has one
    axis.set(title=f"Posterior means of test {rows}", xlabel=names[0], ylabel=names[1])
    if color is None and LABEL not in arrays:
        axis.scatter(*points.T, s=14, alpha=0.8, linewidths=0, color=BLUE)
        return tell(figure, f"{said}.", SPACE_READING)
    color = LABEL if color is None else color
    values, levels, date = column_to_color(arrays, color)
    if levels is None:
        color_by_number(figure, axis, points, values, color, date)
    else:
        color_by_level(figure, axis, points, values, levels, color)
    said += f"; coloured by {name_in_words(color)}"
    if levels is not None:
        said += f", which explains {percent(explained(points, values))} of the spread in the plane"
    return tell(figure, f"{said}.", SPACE_READING)


def explained(points, codes):
    """The share of the variance of points [n, 2] that lies between their levels."""
    known = np.isfinite(codes)
    points = points[known] - points[known].mean(0)
    level = np.unique(codes[known], return_inverse=True)[1]
    sums = np.stack([np.bincount(level, weights=axis) for axis in points.T], 1)
    between = np.square(sums).sum(1) / np.bincount(level)
    return between.sum() / max(np.square(points).sum(), 1e-30)


def principal_components(mu):
    """The first two of points [n, Z], and the shares of the variance of all."""
    centred = mu - mu.mean(0)
    padded = np.vstack([centred, np.zeros((2, mu.shape[1]))])
    _, size, directions = np.linalg.svd(padded, full_matrices=False)
    return centred @ directions[:2].T, size**2 / max((size**2).sum(), 1e-30)


def columns_to_color(arrays):
    """The names that `--color` takes."""
    given = [LABEL] if LABEL in arrays else []
    names = [*arrays.get("point_columns", ())]
    return given + [str(name) for name in names if name not in given]


def column_to_color(arrays, name):
    """Numbers [n] of the points, NaN where there is none: codes where there are levels, else None;
    and whether they are dates.
    """
    names = [*arrays.get("point_columns", ())]
    if name in names:
        j = names.index(name)
        values = arrays["points"][:, j].astype(float)
        levels = str(arrays["point_levels"][j]).split("\x1f") if arrays["point_levels"][j] else None
        date = bool(arrays["point_dates"][j])
    elif name == LABEL and LABEL in arrays:
        values, levels, date = *codes_of(arrays[LABEL]), False
    else:
        found = columns_to_color(arrays)
        shown = ", ".join(found[:12]) + (", ..." if len(found) > 12 else "")
        ignored = name in arrays.get("ignored", ())
        raise UserError(
            f"--color {name}: {'the run ignores this column' if ignored else 'no such column'}; "
            + (f"those to colour by are {shown}" if found else "the run keeps none to colour by")
        )
    if np.isnan(values).all():
        raise UserError(f"--color {name}: the column has no values among the test rows")
    return values, levels, date


def codes_of(labels):
    """Labels [n] as codes and their names; numbers of too many values stay what they are."""
    known = labels == labels  # not NaN
    names, codes = np.unique(labels[known], return_inverse=True)
    if len(names) > len(CLASS_COLORS) and labels.dtype.kind in "biuf":
        return labels.astype(float), None
    values = np.full(len(labels), np.nan)
    values[known] = codes
    return values, [str(name) for name in names]


def color_by_number(figure, axis, points, values, name, date):
    from matplotlib.colors import AsinhNorm, LogNorm

    known = np.isfinite(values)
    empty_points(axis, points[~known])
    scale, width = style.scale_for(values[known], date=date)
    norm = {"linear": None, "log": LogNorm(), "asinh": AsinhNorm(width or 1.0)}[scale]
    marks = axis.scatter(
        *points[known].T, c=values[known], s=14, cmap="viridis", norm=norm, linewidths=0
    )
    bar = figure.colorbar(marks, label=style.shorten(name, 40))
    if date:
        style.as_dates(bar.ax.yaxis)
    elif scale == "linear":
        style.plain_ticks(bar.ax.yaxis)
    elif scale == "log":
        style.log_side(bar.ax.yaxis, values[known].min(), values[known].max())
    if not known.all():
        style.legend_below(figure, axis)


def color_by_level(figure, axis, points, values, levels, name):
    known = np.isfinite(values)
    codes = values[known].astype(int)
    counts = np.bincount(codes, minlength=len(levels))
    there = np.flatnonzero(counts)
    labels, places = style.places_of_levels(
        [levels[i] for i in there], counts[there], most=len(CLASS_COLORS), length=18
    )
    place = np.full(len(values), -1)
    place[known] = places[np.searchsorted(there, codes)]
    rest = len(labels) - 1 if len(labels) < len(there) else None  # levels that share a place
    for i, label in enumerate(labels):
        look = {"s": 16, "alpha": 0.8, "linewidths": 0, "label": label}
        look |= {"color": CLASS_COLORS[i], "marker": CLASS_MARKERS[i]}
        look |= {"s": 6, "color": GREY, "marker": ".", "zorder": 0} if i == rest else {}
        axis.scatter(*points[place == i].T, **look)
    empty_points(axis, points[~known])
    title = style.shorten(name, 20)
    figure.legend(loc="outside right center", title=title, title_fontsize=8)


def empty_points(axis, points):
    """Those whose cell in the column is empty."""
    if len(points):
        axis.scatter(*points.T, s=8, color=GREY, marker="x", linewidths=0.7, label="empty cell")


def latent_kl(arrays):
    """How many nats each latent dimension carries: near 0 it is unused."""
    kl, row = np.sort(arrays["kl_per_dim"])[::-1], str(arrays.get("one_row", "row"))
    order = np.argsort(-arrays["kl_per_dim"])
    figure, axes = subplots(1, 1, width=6, height=3.2)
    axis = axes.flat[0]
    axis.bar(np.arange(len(kl)), kl, color=BLUE)
    if len(kl) <= 30:
        axis.set_xticks(
            np.arange(len(kl)), [f"z{i + 1}" for i in order], rotation=90 * (len(kl) > 15)
        )
    title = f"KL per latent dimension, {arrays['kl']:.2f} nats in all"
    if not np.isclose(kl.sum(), arrays["kl"], rtol=0.01):  # a flow, or a learned prior
        title = f"KL of the Gaussian from N(0, I); of q(z|x) from p(z) {arrays['kl']:.2f} nats"
    axis.set_title(title)
    axis.set(
        xlabel=f"latent dimension{'' if len(kl) <= 30 else 's by rank'}, largest first",
        ylabel=f"KL (nats per test {row})",
    )
    used, carrying = int((kl > UNUSED).sum()), int(np.searchsorted(np.cumsum(kl), 0.9 * kl.sum()))
    said = f"{used} of {counted(len(kl), 'latent dimension')} are used"
    if used:
        said += f"; {min(carrying + 1, len(kl))} carry 90 % of {short(kl.sum())} nats a {row}"
    return tell(figure, f"{said}.", KL_READING)
