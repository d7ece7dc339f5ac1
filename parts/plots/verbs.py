"""Figures of what the verbs left in a run, and the drawing that all figures share."""

import numpy as np

from parts.plots.style import (
    BLUE,
    LEVELS_SHOWN,
    ORANGE,
    VERMILION,
    as_dates,
    legend_below,
    level_names,
    log_ticks,
    panels,
    shorten,
    subplots,
)

N_POINTS = 300  # hidden cells shown per column
MOST_PANELS = 12


def anomaly_scores(arrays):
    """How the scores of a file lie to those of held-out rows, and to the threshold."""
    scores, held, threshold = arrays["scores"], arrays["held"], float(arrays["threshold"])
    what = str(arrays.get("of", "rows"))  # or "pictures"
    figure, axes = subplots(1, 1, width=7.5, height=3.6)
    axis = axes.flat[0]
    inner = np.concatenate([held, scores[scores <= np.quantile(scores, 0.98)], [threshold]])
    low, high = inner.min(), inner.max() + 0.05 * np.ptp(inner)
    bins = np.linspace(low, high + 1e-9, 60)
    step = bins[1] - bins[0]
    last = high + 2 * step  # one bar, set apart, for all that lie farther out
    groups = [(f"{what} of the file", scores, BLUE, "stepfilled")]
    if "labels" in arrays:
        odd = arrays["labels"] == 1
        groups = [("not labelled odd", scores[~odd], BLUE, "stepfilled"),
                  ("labelled odd", scores[odd], VERMILION, "stepfilled")]  # fmt: skip
    for label, values, color, style in groups:
        share = np.full(len(values), 1 / len(scores))
        axis.hist(values, bins, weights=share, histtype=style, color=color, alpha=0.6, label=label)
        beyond = (values > bins[-1]).sum() / len(scores)
        axis.bar(last, beyond, width=2 * step, color=color, alpha=0.6)
    share = np.full(len(held), 1 / len(held))
    axis.hist(held, bins, weights=share, histtype="step", color="black", label=f"held-out {what}")
    axis.axvline(threshold, color=ORANGE, linestyle="--", label=f"threshold {threshold:.1f}")
    if n_beyond := (scores > bins[-1]).sum():
        text = f"{n_beyond} {what}\nbeyond, to\n{scores.max():.0f}"
        place = {"xycoords": axis.get_xaxis_transform(), "ha": "center", "fontsize": 8}
        axis.annotate(text, (last, 0.75), **place)
    axis.set_yscale("log")
    score = {"rows": "-log p(row)", "pictures": "anomaly score"}[what]  # less a grey one's entropy
    axis.set(title="Anomaly scores", xlabel=f"{score}, nats", ylabel=f"share of {what}")
    legend_below(figure, axis)
    return figure


def imputations(arrays):
    """Hidden cells against what they were filled with: intervals, and shares for categories."""
    names, kinds = arrays["columns"], arrays["kinds"]
    shown = [j for j in range(len(names)) if arrays["hidden"][:, j].any()][:MOST_PANELS]
    figure, axes = panels(len(shown), width=2.9, height=2.7)
    for axis, j in zip(axes, shown, strict=False):
        at = np.flatnonzero(arrays["hidden"][:, j])[:N_POINTS]
        truth, imputed, low, high = (
            arrays[key][at, j] for key in ("truth", "imputed", "low", "high")
        )
        if arrays["n_levels"][j]:
            confusion(axis, truth, imputed, level_names(arrays, j))
        else:
            axis.vlines(truth, low, high, color=BLUE, alpha=0.25, linewidth=1.5)
            axis.plot(truth, imputed, "o", color=BLUE, markersize=2.5, alpha=0.8)
            ends = [truth.min(), truth.max()]
            axis.plot(ends, ends, "--", color=ORANGE)
            if kinds[j] == "positive" and truth.min() > 0:
                log_ticks(axis, truth.min(), truth.max(), both=True)
            if arrays["dates"][j]:
                as_dates(axis.xaxis), as_dates(axis.yaxis)
        axis.set_title(shorten(names[j], 26), fontsize=9)
        axis.tick_params(labelsize=7)
    share = f"{float(arrays['interval']):.0%}"
    figure.supxlabel("observed, then hidden", fontsize=9)
    text = f"imputed; bars: {share} interval; dashed: as observed; black: all cells of a column"
    figure.supylabel(text, fontsize=9)
    return figure


def confusion(axis, truth, imputed, names):
    n = len(names)
    table = np.zeros((n, n))
    np.add.at(table, (imputed.astype(int), truth.astype(int)), 1)
    share = table / np.maximum(table.sum(0), 1)
    axis.imshow(share, cmap="Greys", vmin=0, vmax=1, origin="lower", aspect="auto")
    ticks = range(n) if n <= LEVELS_SHOWN else []
    axis.set_xticks(ticks, [shorten(name, 9) for name in names[: len(ticks)]], rotation=90)
    axis.set_yticks(ticks, [shorten(name, 9) for name in names[: len(ticks)]])


def generated_marginals(arrays):
    """Each column of the generated rows beside the real ones."""
    names = arrays["columns"]
    n = min(len(names), MOST_PANELS)
    figure, axes = panels(n, width=2.7, height=2.2)
    for j, axis in zip(range(n), axes, strict=False):
        real, new = (arrays[key][:, j] for key in ("real", "generated"))
        real = real[~np.isnan(real)]
        if arrays["n_levels"][j]:
            bars(axis, real, new, level_names(arrays, j))
        else:
            histograms(axis, real, new, arrays["kinds"][j])
            if arrays["dates"][j]:
                as_dates(axis.xaxis)
        axis.set_title(shorten(names[j], 26), fontsize=9)
        axis.tick_params(labelsize=7)
        axis.set_yticks([])
    figure.supylabel("share of rows", fontsize=9)
    legend_below(figure, axes[0])
    return figure


def bars(axis, real, new, names):
    at = np.arange(len(names))
    for shift, values, color, label in (
        (-0.2, real, BLUE, "real"),
        (0.2, new, ORANGE, "generated"),
    ):
        counts = np.bincount(values.astype(int), minlength=len(names))
        axis.bar(at + shift, counts / max(1, counts.sum()), 0.4, color=color, label=label)
    few = len(names) <= LEVELS_SHOWN
    axis.set_xticks(at if few else [], [shorten(name, 9) for name in names] if few else [])
    axis.tick_params(axis="x", rotation=90)


def histograms(axis, real, new, kind):
    both = np.concatenate([real, new])
    low, high = np.quantile(both, (0.002, 0.998)) if len(both) else (0, 1)
    if kind == "count":
        bins = np.arange(low, high + 2, max(1, (high - low) // 30)) - 0.5
    elif kind == "positive" and low > 0:
        bins = np.geomspace(low, high * (1 + 1e-9), 30)
        log_ticks(axis, low, high)
    else:
        bins = np.linspace(low, high + 1e-9, 30)
    for values, color, label in ((real, BLUE, "real"), (new, ORANGE, "generated")):
        weights = np.full(len(values), 1 / max(1, len(values)))
        axis.hist(values, bins, weights=weights, histtype="step", color=color, label=label, lw=1.5)


def generated_correlations(arrays):
    """Rank correlations of real and of generated rows; categories by level."""
    names = [
        name if arrays["kinds"][j] != "categorical" else f"{name}={level}"
        for j, name in enumerate(arrays["columns"])
        for level in (level_names(arrays, j) if arrays["kinds"][j] == "categorical" else [""])
    ]
    figure, axes = subplots(1, 2, width=9.5, height=4.8)
    for axis, key in zip(axes.flat, ("real", "generated"), strict=True):
        shown = axis.imshow(arrays[f"correlation_{key}"], cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set_title(f"{key} rows")
        few = len(names) <= 40
        labels = [shorten(name, 16) for name in names] if few else []
        axis.set_xticks(range(len(labels)), labels, rotation=90, fontsize=6)
        axis.set_yticks(range(len(labels)), labels, fontsize=6)
    figure.colorbar(shown, ax=list(axes.flat), label="rank correlation")
    return figure


# Figure -> how it is drawn, by the file that a verb leaves in the run.
VERB_FIGURES = {
    "scores": {"anomaly_scores": anomaly_scores},
    "imputed": {"imputations": imputations},
    "generated": {
        "generated_marginals": generated_marginals,
        "generated_correlations": generated_correlations,
    },
}
