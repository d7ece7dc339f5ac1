"""The drawing that all figures share: colours, axes, labels, legends."""

import numpy as np

# Okabe & Ito's palette: told apart by colour-blind readers, and in grey by its lightness.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#7F7F7F"
VERMILION = "#D55E00"
LEVELS_SHOWN = 12


def log_ticks(axis, low, high, both=False):
    """A logarithmic x axis, or both, with few plain numbers, also where it spans under a decade."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    subs = (1, 2, 5) if high < 50 * low else (1,)
    for side in ("x", "y")[: 1 + both]:
        axis.set(**{f"{side}scale": "log"})
        ticks = getattr(axis, f"{side}axis")
        ticks.set_major_locator(LogLocator(subs=subs))
        ticks.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
        ticks.set_minor_formatter(NullFormatter())


def level_names(arrays, j):
    return str(arrays["levels"][j]).split("\x1f")


def as_dates(axis):
    """Days since 1970 as dates, which is how matplotlib counts them too."""
    axis.axis_date()
    formatter = axis.get_major_formatter()
    axis.set_tick_params(rotation=45 if axis.axis_name == "x" else 0)
    axis.set_major_formatter(formatter)


def panels(n, width, height):
    """A figure of n axes, four across, and those axes in order."""
    across = min(4, n)
    down = -(-n // across)
    figure, axes = subplots(down, across, width=width * across, height=height * down)
    for axis in axes.flat[n:]:
        axis.axis("off")
    return figure, list(axes.flat[:n])


def subplots(down, across, width, height, **options):
    import matplotlib.pyplot as plt

    return plt.subplots(
        down, across, figsize=(width, height), squeeze=False, layout="constrained", **options
    )


def legend_below(figure, axis):
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=9
    )


def name_columns(axes, names):
    """Column names under the lowest axes; every k-th where they would not fit."""
    step = -(-len(names) // 40)
    at = np.arange(0, len(names), step)
    for axis in axes[-1]:
        axis.set_xticks(at, [shorten(names[i], 16) for i in at], rotation=90, fontsize=8)
        axis.set_xlim(-0.7, len(names) - 0.3)


def shorten(name, length):
    name = name if len(name) <= length else name[: length - 1] + "…"
    return name.replace("$", r"\$")  # else a formula to matplotlib
