"""The figure of a search for settings."""

import numpy as np

from parts.plots.style import BLUE, GREEN, GREY, ORANGE, VERMILION, legend_below, log_ticks

MOST_SETTINGS = 4  # shown of a search


def search_figure(trials, importances):
    """A search: its scores by trial, how much each setting mattered, and over those that did most.

    `trials` as `search.table`, `importances` setting -> share, the largest first.
    """
    import matplotlib.pyplot as plt

    most = list(importances)[:MOST_SETTINGS]
    height = 3.6 * (1 + bool(most))
    figure = plt.figure(figsize=(10, height), layout="constrained")
    parts = figure.subfigures(1 + bool(most), 1, squeeze=False)[:, 0]
    history, importance = parts[0].subplots(1, 2, width_ratios=(3, 2))
    scores = np.array([trial["log_px"] for trial in trials], dtype=float)  # NaN: pruned
    default = next(trial["log_px"] for trial in trials if trial["default"])
    best, numbers = np.fmax.accumulate(scores), np.array([trial["trial"] for trial in trials])
    history.plot(numbers, best, color=GREEN, drawstyle="steps-post", label="best so far")
    scored(history, numbers, trials, scores, default)
    history.xaxis.get_major_locator().set_params(integer=True)
    title = f"Best {best[-1]:.2f}, default {default:.2f}"
    history.set(title=title, xlabel="trial", ylabel="held-out log p(x), nats per row")
    legend_below(figure, history)
    shares(importance, importances, int((~np.isnan(scores)).sum()))
    if not most:
        return figure
    panels = parts[1].subplots(1, len(most), sharey=True, squeeze=False)[0]
    panels[0].set_ylabel("held-out log p(x), nats per row")
    for axis, name in zip(panels, most, strict=True):
        values = np.array([trial[name] for trial in trials])
        scored(axis, values, trials, scores, default)
        axis.set_xlabel(name)
        if values.dtype.kind == "U":
            axis.margins(x=0.25)
        elif values.max() > 3 * values.min():
            log_ticks(axis, values.min(), values.max())
    return figure


def scored(axis, at, trials, scores, default):
    """A mark for each trial, at `at`; the poor ones, which lie far below, on the lower edge.

    They would press all that matters into a line.
    """
    rough = [trial["last_look"] for trial in trials]  # None where it diverged before
    values = np.where(np.isnan(scores), np.array(rough, dtype=float), scores)
    middle, complete = np.nanmedian(scores), ~np.isnan(scores)
    low = min(middle, default) - max(np.nanmax(scores) - middle, 1e-3)
    shown, best = values >= low, np.nanargmax(scores)
    style = {"markersize": 5, "linestyle": ""}
    axis.axhline(default, color=ORANGE, linestyle="--", label="default", zorder=1)
    for these, color, label in (
        (complete, BLUE, "complete"),
        (~complete, GREY, "pruned, at its last look"),
    ):
        near, far, marker = these & shown, these & ~shown, "o" if color == BLUE else "x"
        axis.plot(at[near], values[near], marker, color=color, label=label, **style)
        axis.plot(at[far], np.full(far.sum(), low), "v", color=color, **style)
    if not shown.all():
        axis.plot([], [], "v", color=GREY, label="farther down", **style)
    axis.plot(at[best], scores[best], "*", color=VERMILION, markersize=13, label="best")


def shares(axis, importances, n_complete):
    """A bar for each setting: its share of the score's variance."""
    axis.set_title(f"Importance (fANOVA, {n_complete} complete trials)", fontsize=11)
    if not importances:
        text = f"{n_complete} complete trials are too few\nto tell which setting mattered"
        axis.text(0.5, 0.5, text, ha="center", va="center", transform=axis.transAxes)
        axis.axis("off")
        return
    names = list(importances)[::-1]
    bars = axis.barh(names, [importances[name] for name in names], color=BLUE)
    axis.bar_label(bars, [f"{importances[name]:.0%}" for name in names], padding=3, fontsize=9)
    axis.set_xlabel("share of the score's variance")
    axis.margins(x=0.12)
    axis.set_xticks([])
