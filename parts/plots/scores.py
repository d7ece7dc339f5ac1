"""The figure of anomaly scores."""

import numpy as np

from parts.plots.style import (
    BLUE,
    ORANGE,
    VERMILION,
    legend_below,
    plain,
    plain_ticks,
    subplots,
    tell,
)
from parts.plots.words import short

READING = (
    "Scores run from usual, at the left, to odd, at the right; the height is the share that has "
    "them, and each step upward is a factor of ten. The dashed line is the threshold."
)
N_BINS = 60
INSIDE = 0.98  # share of the scores that the axis shows one by one; the rest is one bar


def anomaly_scores(arrays):
    """How the scores of a file lie to those of held-out rows, and to the threshold."""
    from matplotlib.ticker import FuncFormatter

    arrays = with_scores(arrays)
    scores, held, threshold = arrays["scores"], arrays["held"], float(arrays["threshold"])
    what = str(arrays["of"])  # rows, or pictures
    unit = str(arrays.get("unit", "nats"))
    figure, axes = subplots(1, 1, width=7.5, height=3.8)
    axis = axes.flat[0]
    bins = bins_of(scores, held, threshold)
    step = bins[1] - bins[0]
    last = bins[-1] + 3 * step  # one bar, set apart, for all that lie farther out
    groups = {f"{what} of the file": np.ones(len(scores), bool)}
    if "labels" in arrays:
        odd = arrays["labels"] == 1
        groups = {"not labelled odd": ~odd, "labelled odd": odd}
    looks = ({"color": BLUE, "alpha": 0.6}, {"color": VERMILION, "linewidth": 1.8})
    all_of_them = [
        *(
            (label, scores[rows], len(scores), look)
            for (label, rows), look in zip(groups.items(), looks, strict=False)
        ),
    ]
    if len(held):
        label = f"{arrays['what']} {what}" if "what" in arrays else f"held-out {what}"
        all_of_them.append((label, held, len(held), {"color": "black", "linewidth": 1}))
    wide = 3 * step / len(all_of_them)
    for i, (label, values, n, look) in enumerate(all_of_them):
        drawn = "stepfilled" if "alpha" in look else "step"
        weights = np.full(len(values), 1 / max(1, n))
        axis.hist(values, bins, weights=weights, histtype=drawn, label=label, **look)
        if beyond := (values > bins[-1]).sum():
            filled = {"fill": "alpha" in look, "edgecolor": look["color"], "hatch": "////"}
            axis.bar(last + (i - 1) * wide, beyond / n, 0.9 * wide, **filled, **look)
    if np.isfinite(threshold):  # of few held-out rows there is none
        axis.axvline(threshold, color=ORANGE, linestyle="--", label=f"threshold {threshold:.1f}")
    axis.set_yscale("log")
    plain_ticks(axis.xaxis, most=7)
    axis.set_xlim(bins[0] - step, last + 3 * step)
    extra = beyond_entry(scores, held, bins[-1], what, unit)
    ticks = [tick for tick in axis.get_xticks() if bins[0] <= tick <= bins[-1]]
    axis.set_xticks(
        ticks + [last] * len(extra), [plain(t) for t in ticks] + ["farther"] * len(extra)
    )
    axis.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g}%"))
    axis.set(title="Anomaly scores", xlabel=f"anomaly score, {unit}", ylabel=f"share of {what}")
    legend_below(figure, axis, extra=extra)
    return tell(figure, message(arrays, what), READING)


def with_scores(arrays):
    """The arrays without rows that have no score, as those of a series outside all windows."""
    known = np.isfinite(arrays["scores"])
    return {**arrays} | {
        name: arrays[name][known] for name in ("scores", "labels") if name in arrays
    }


def message(arrays, what):
    """How the scores lie to the threshold, and on which side of it labelled rows are."""
    scores, threshold = arrays["scores"], float(arrays["threshold"])
    middle, most = short(np.median(scores)), short(scores.max())
    said = f"Half of the {what} score below {middle}, the oddest {most}"
    if not np.isfinite(threshold):
        return f"{said}; there are too few {what} for a threshold."
    beyond = scores > threshold
    said += f"; {beyond.sum()} of {len(scores)} lie beyond the threshold of {short(threshold)}"
    if "labels" in arrays:
        odd = arrays["labels"] == 1
        said += f", among them {(beyond & odd).sum()} of the {odd.sum()} that are labelled odd"
    return f"{said}."


def bins_of(scores, held, threshold):
    """Edges of bars around most scores of both kinds, and around the threshold."""
    parts = [part[part <= np.quantile(part, INSIDE)] for part in (scores, held) if len(part)]
    inner = np.concatenate([*parts, [threshold] if np.isfinite(threshold) else []])
    size = np.ptp(inner) or 1.0
    farthest = max((part.max() for part in (scores, held) if len(part)), default=0.0)
    high = min(inner.max() + 0.5 * size, max(farthest, inner.max() + 0.05 * size))
    return np.linspace(inner.min(), high + 1e-6 * size, N_BINS)


def beyond_entry(scores, held, end, what, unit):
    """What the legend says of the bar that is set apart; none where there is no such bar."""
    from matplotlib.patches import Patch

    beyond = np.concatenate([scores[scores > end], held[held > end]])
    if not len(beyond):
        return []
    n = int((scores > end).sum())
    label = f"farther out, up to {plain(round(beyond.max()))} {unit} ({n} {what} of the file)"
    return [Patch(fill=False, edgecolor="black", hatch="////", label=label)]
