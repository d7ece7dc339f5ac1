"""The style that all figures share: colours, sizes of letters, axes, ticks, labels, legends."""

import numpy as np

# Okabe & Ito's palette: told apart by colour-blind readers, and in grey by its lightness.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#E69F00", "#009E73", "#7F7F7F"
VERMILION, DARK_ORANGE, EMPTY = "#D55E00", "#B35900", "#E4E4E4"
CLASS_COLORS = (
    BLUE,
    ORANGE,
    GREEN,
    "#CC79A7",
    VERMILION,
    "#56B4E9",
    "#B8A000",
    "#000000",
    GREY,
    "#8C564B",
)
CLASS_MARKERS = "os^Dv<>phX"
SMALL = 7  # points of the smallest letters
LEVELS_SHOWN = 12  # levels of a category with a place of their own
SETTINGS = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 8,
    "legend.frameon": False,
}
DPI = 130
FIRST_DATE, LAST_DATE = -700_000, 2_900_000  # days since 1970 that matplotlib can write
HEAVY = 20  # times the middle size, from which the largest number needs more than a linear scale
# Days that an axis spans, and how it writes a day.
DATE_FORMS = ((1500, "%Y"), (180, "%Y-%m"), (4, "%Y-%m-%d"), (0.02, "%m-%d %H:%M"), (0, "%H:%M:%S"))
NOTHING = 1e-8  # of the largest number: what is smaller is a 0 with errors of rounding
UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))


def use():
    """Make the style matplotlib's own for the figures to come."""
    import matplotlib.pyplot as plt

    plt.rcParams |= SETTINGS


# Figures and their panels


def tell(figure, message, reading=""):
    """Give a figure the sentence that it shows, for those who cannot see it, and how to read it."""
    figure.message, figure.reading = message, reading
    return figure


def told(figure):
    """The message of a figure and how to read it; "" where it was told none."""
    return getattr(figure, "message", ""), getattr(figure, "reading", "")


def subplots(down, across, width, height, **options):
    import matplotlib.pyplot as plt

    return plt.subplots(
        down, across, figsize=(width, height), squeeze=False, layout="constrained", **options
    )


def panels(n, width, height, most_across=4):
    """A figure of n axes and these in order, in rows that are about equally full, without gaps."""
    import matplotlib.pyplot as plt

    down = -(-n // most_across)
    sizes = [n // down + (row < n % down) for row in range(down)]
    figure = plt.figure(figsize=(width * max(sizes), height * down), layout="constrained")
    grid = figure.add_gridspec(down, np.lcm.reduce(sizes))
    axes = []
    for row, size in enumerate(sizes):
        step = grid.ncols // size
        axes += [figure.add_subplot(grid[row, i * step : (i + 1) * step]) for i in range(size)]
    return figure, axes


def legend_below(figure, *axes, extra=(), above=False):
    """One legend under the figure for all that the axes name, and for the `extra` artists.

    It is `above` where a name of all x axes stands below.
    """
    found = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        found = dict(zip(labels, handles, strict=True)) | found
    found |= {artist.get_label(): artist for artist in extra}
    if found:
        columns = min(len(found), max(1, int(figure.get_figwidth() / 2.5)))
        place = "outside upper center" if above else "outside lower center"
        figure.legend(list(found.values()), list(found), loc=place, ncols=columns)


# Names


def one_line(name):
    return " ".join(str(name).split())


def escaped(name):
    return name.replace("$", r"\$")  # else a formula to matplotlib


def cut_end(name, length):
    return name if len(name) <= length else name[: length - 1] + "…"


def cut_middle(name, length):
    if len(name) <= length:
        return name
    tail = (length - 1) // 2
    return name[: length - 1 - tail] + "…" + name[-tail:]


def shorten(name, length):
    return escaped(cut_end(one_line(name), length))


def distinct(names, length):
    """The names cut to `length` letters so that different ones still look different."""
    names = [one_line(name) for name in names]
    found = [cut_end(name, length) for name in names]
    for i in confused(names, found):
        found[i] = cut_middle(names[i], length)
    for i in confused(names, found):
        number = f"…{i + 1}"
        found[i] = names[i][: max(0, length - len(number))] + number
    return [escaped(name) for name in found]


def confused(names, found):
    """Where different names were cut to the same."""
    first = {}
    same = {
        short
        for name, short in zip(names, found, strict=True)
        if first.setdefault(short, name) != name
    }
    return [i for i, short in enumerate(found) if short in same]


def name_columns(axis, names, most=40):
    """Column names under the axis; every k-th where they would not fit."""
    step = -(-len(names) // most)
    at = np.arange(0, len(names), step)
    short = distinct(names, 16)
    axis.set_xticks(at, [short[i] for i in at], rotation=90, fontsize=SMALL)


# Columns of a table, as a run's arrays describe them


def level_names(arrays, j):
    return str(arrays["levels"][j]).split("\x1f")


def places_of_levels(names, counts, ordered=False, most=LEVELS_SHOWN, length=12):
    """The labels of an axis of levels, and the place of each level on it, [L].

    Of more than `most` the rarest share a last place; ordered ones keep theirs, some unlabelled.
    """
    if len(names) <= most:
        return distinct(names, length), np.arange(len(names))
    if ordered:
        step = -(-len(names) // most)
        short = distinct(names, length)
        return [s if i % step == 0 else "" for i, s in enumerate(short)], np.arange(len(names))
    kept = np.sort(np.argsort(-counts, kind="stable")[: most - 1])
    places = np.full(len(names), most - 1)
    places[kept] = np.arange(most - 1)
    others = f"{len(names) - len(kept)} others"
    return [*distinct([names[i] for i in kept], length), others], places


# Scales and ticks


def plain(value, top=None):
    """A number as on a tick: 1500 is 1.5k, 2e6 is 2M; in the unit of `top` where one is given."""
    size = abs(value if top is None else top)
    size, letter = next((unit for unit in UNITS if size >= unit[0]), (1.0, ""))
    text = f"{value / size:.6g}"
    return text.replace("-", "−") + (letter if float(value) else "")


def plain_ticks(axis, most=5):
    """Few plain numbers on a linear axis (axis.xaxis or axis.yaxis), all in one unit."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    def text(value, _):
        low, high = sorted(axis.get_view_interval())
        value = 0.0 if abs(value) < 1e-9 * (high - low) else value
        top = max(abs(low), abs(high))
        return plain(value, top if top >= 1e4 else 1.0)  # a year is no 2.019k

    axis.set_major_locator(MaxNLocator(most))
    axis.set_major_formatter(FuncFormatter(text))


def log_ticks(axis, low, high, both=False):
    """A logarithmic x axis, or both, with few plain numbers, also where it spans under a decade."""
    for side in ("x", "y")[: 1 + both]:
        axis.set(**{f"{side}scale": "log"})
        log_side(getattr(axis, f"{side}axis"), low, high)


def log_side(axis, low, high):
    """Few plain numbers on a logarithmic axis that is there."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 50 * low else (1,), numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axis.set_minor_formatter(NullFormatter())


def asinh_ticks(axis, width, values):
    """An x or y axis (axis.xaxis, axis.yaxis) that is linear up to `width` and logarithmic beyond:
    0 and a few powers of ten.
    """
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    getattr(axis.axes, f"set_{axis.axis_name}scale")("asinh", linear_width=width)
    low, high = np.min(values), np.max(values)
    powers = 10.0 ** np.arange(np.floor(np.log10(width)), np.log10(max(abs(low), abs(high))))[::-1]
    room = 0.13 * np.ptp(np.arcsinh([low / width, high / width]))
    ticks = []
    for tick in (0.0, *powers, *-powers):
        near = [abs(np.arcsinh(tick / width) - np.arcsinh(other / width)) for other in ticks]
        if low <= tick <= high and min(near, default=np.inf) >= room:
            ticks.append(tick)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))


def as_dates(axis, most=4):
    """Days since 1970 as at most so many dates, which is how matplotlib counts them too."""
    from matplotlib.dates import HOURLY, MINUTELY, MONTHLY, SECONDLY, AutoDateLocator, num2date
    from matplotlib.ticker import FuncFormatter

    low, high = np.clip(sorted(axis.get_view_interval()), FIRST_DATE, LAST_DATE)
    axis.set_view_interval(low, max(high, low + 1e-3), ignore=True)
    axis.axis_date()
    locator = AutoDateLocator(minticks=2, maxticks=most)
    # Where two of the longer unit do not fit, one of it is a step: else there are too many ticks.
    for unit, n in ((MONTHLY, 12), (HOURLY, 24), (MINUTELY, 60), (SECONDLY, 60)):
        locator.intervald[unit] = [*locator.intervald[unit], n]
    axis.set_major_locator(locator)

    def text(day, _):
        low, high = axis.get_view_interval()
        form = next(form for days, form in DATE_FORMS if abs(high - low) >= days)
        return num2date(np.clip(day, FIRST_DATE, LAST_DATE)).strftime(form)

    axis.set_major_formatter(FuncFormatter(text))


def scale_for(values, kind="", date=False):
    """The scale that shows the tails of numbers [N]: "linear", "log", or "asinh" and its width."""
    sizes = np.abs(values)
    sizes = sizes[sizes > NOTHING * sizes.max(initial=0)]
    if date or not len(sizes):
        return "linear", 0.0
    middle, heavy = float(np.median(sizes)), sizes.max() > HEAVY * np.median(sizes)
    if values.min() > 0 and len(sizes) == len(values) and (kind == "positive" or heavy):
        return "log", 0.0
    return ("asinh", middle) if heavy else ("linear", 0.0)
