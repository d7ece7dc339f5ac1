"""How a column writes its numbers: the style that reads most of its cells, in both directions.

A *style* is a plain dict, see numerals.py and moments.py; {} stands for plain text. It is inferred
once, from the training rows, and used to read other rows and to write cells.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from parts.forms.cells import dates, moments, numerals
from parts.forms.cells.marks import MISSING, missing, missing_text
from parts.forms.cells.text import as_text, is_text, trimmed

NESTED = "\x00"  # first letter of the text of a list or structure; such columns have no kind
MOSTLY = 0.95  # share of observed cells that must be numbers in a column of numbers
AT_LEAST = 0.5  # share from which a column is read as numbers if it is asked for
LARGEST = 8e307  # largest number; a difference of two such numbers is still finite
MUCH_CLOSER = 0.5  # part of the days that another reading spans
N_STYLED = 2000  # distinct cells from which the style of a column is inferred
N_SCANNED = 20_000  # cells of a large column from which these are taken


class Hints(NamedTuple):
    """What the other columns of a file tell about one that may be read in two ways."""

    commas: bool = False  # decimal commas are used
    day_first: bool | None = None  # whether days stand before months; None: nothing tells
    last_year: int | None = None  # the latest year that is written in full


NO_HINTS = Hints()


@dataclass
class Reading:
    """The cells of a column as numbers: values [N], NaN where a cell is none; sides [N].

    `style` is the column's, and `share` that of its observed cells that the style reads. Sides are
    those of `numerals.Numerals`. `hints` are what this column tells about the others.
    """

    style: dict
    values: np.ndarray
    sides: np.ndarray
    share: float
    hints: Hints = field(default_factory=Hints)


def reading_of(series, name="", marks=MISSING, hints=NO_HINTS):
    """The Reading of a column in the style that reads most of its cells; None if none reads any.

    Of styles that read equally many cells the plainest is taken. `name` is the column's.
    """
    if not is_text(series):
        return reading_of_numbers(series, name, marks)
    text = trimmed(series)
    gone = missing_text(text, marks)
    found = style_of(text, gone, name, hints)
    if found is None:
        return None
    style, told = found
    values, sides = read_text(text, gone, style)
    known = ~np.isnan(values)
    share = known.sum() / max((~gone).sum(), 1)
    if "clock" in style and (cut := dates.emptiest(values[known])):
        style = style | {"cut": cut}
        values = dates.unrolled(values, cut)
    elif "prefix" not in style and "suffix" not in style and not moments.is_moment(style):
        style, values = as_moments(style, values, name)
    return Reading(style, values, sides, share, told)


def hints_of(series, name="", marks=MISSING):
    """The Hints that a column of text gives for the others of its file."""
    text = trimmed(series)
    found = style_of(text, missing_text(text, marks), name, NO_HINTS)
    return NO_HINTS if found is None else found[1]


def reading_of_numbers(series, name, marks):
    """The Reading of a column that its file holds as numbers."""
    values = series.to_numpy(np.float64).copy()
    gone = missing(series, marks)
    values[gone | ~(np.abs(values) <= LARGEST)] = np.nan
    style, values = as_moments({"decimals": None}, values, name)
    share = (~np.isnan(values)).sum() / max((~gone).sum(), 1)
    return Reading(style, values, np.zeros(len(values), np.int8), share)


def as_moments(style, values, name):
    """The style and values of numbers that count seconds or write dates, else as they are."""
    if compact := moments.compact_style(values):
        return style | compact, dates.days_of_compact(values, compact["date"])
    if epoch := moments.epoch_style(values, name):
        if not np.nanmax(values % 1):
            style = style | {"decimals": 0}
        days = values / (moments.EPOCHS[epoch["epoch"]] * 86_400)
        style = style | epoch
        step = moments.coarser_step(days, style)
        return style | ({"step": step} if step else {}), days
    return style, values


def sample_of(text, gone):
    """The most frequent distinct cells of a column, a list, and their shares, which sum to 1."""
    import pyarrow as pa
    import pyarrow.compute as pc

    at = np.flatnonzero(~gone)
    if len(at) > N_SCANNED:
        at = at[np.random.default_rng(0).choice(len(at), N_SCANNED, replace=False)]
    pairs = pc.value_counts(text.take(pa.array(at)))
    cells, counts = pairs.field(0).to_pylist(), pairs.field(1).to_numpy()
    order = np.argsort(-counts, kind="stable")[:N_STYLED]
    return [cells[i] for i in order], counts[order] / max(counts[order].sum(), 1)


def style_of(text, gone, name, hints):
    """The style that reads the most of a sample of cells, and the Hints that it gives, or None.

    Cells are an Arrow array; `gone` [N] tells which of them are missing.
    """
    sample, weights = sample_of(text, gone)
    short = as_text(sample)
    plain = numerals.style_of(sample, weights, hints.commas)
    styles = [] if plain is None else [plain]
    shares = [weights[~np.isnan(numerals.read(short, style).values)].sum() for style in styles]
    if not shares or shares[0] < 1 - 1e-9:
        of_moments = moments.candidates(sample, weights, name, hints.day_first)
        styles += of_moments
        shares += [weights[~np.isnan(moments.read(short, style))].sum() for style in of_moments]
    most = max(shares, default=0)
    if most == 0:
        return None
    equal = [i for i, share in enumerate(shares) if share >= most - 1e-9]
    best = equal[0]
    if "date" in styles[best] and hints.day_first is None:
        best = closest(equal, [moments.read(short, styles[i]) for i in equal])
    style = styles[best]
    told = hints_of_style(style, styles, shares, best) if most >= MOSTLY else NO_HINTS
    values = read_plainly(short, style)
    known = [cell for cell, value in zip(sample, values, strict=True) if not np.isnan(value)]
    if not moments.is_moment(style):
        return numerals.completed(style, known), told
    if "%Y" in style.get("date", ""):
        years = dates.years_of(values[~np.isnan(values)])
        usual = years[years < moments.YEARS[1]]
        told = told._replace(last_year=int(usual.max()) if len(usual) else None)
    return moments.completed(style, known, hints.last_year), told


def closest(numbers, days):
    """Which of some readings as `days` is likeliest: the first, or one with far closer days.

    01/02/2024 to 12/02/2024 are days of one week and a half, and hardly one of each month.
    """
    spans = [np.ptp(values[~np.isnan(values)]) for values in days]
    best = int(np.argmin(spans))
    return numbers[best] if spans[best] < MUCH_CLOSER * spans[0] else numbers[0]


def hints_of_style(style, styles, shares, best):
    """The Hints of a column whose style is the one number `best` of these, which read so much."""
    commas = style.get("decimal") == ","
    form = style.get("date", "")
    day_first = None
    if "%d" in form and "%m" in form and not form.startswith(("%Y", "%y")):
        swapped = form.replace("%d", "\0").replace("%m", "%d").replace("\0", "%m")
        others = [s for c, s in zip(styles, shares, strict=True) if c.get("date") == swapped]
        if not others or max(others) < shares[best] - 1e-9:
            day_first = form.index("%d") < form.index("%m")
    return Hints(commas, day_first)


def read(series, style, marks=MISSING):
    """The cells of a column in a style: values [N], NaN where a cell is none, and sides [N]."""
    if is_text(series):
        text = trimmed(series)
        return read_text(text, missing_text(text, marks), style)
    values = series.to_numpy(np.float64).copy()
    if "date" in style:
        values = dates.days_of_compact(values, style["date"])
    if unit := style.get("epoch"):
        values /= moments.EPOCHS[unit] * 86_400
    values[missing(series, marks) | ~(np.abs(values) <= LARGEST)] = np.nan
    return values, np.zeros(len(values), np.int8)


def read_text(text, gone, style):
    """Values and sides [N] of an Arrow array of cells, of which those that are `gone` [N] are NaN.

    See `read`.
    """
    sides = np.zeros(len(text), np.int8)
    if moments.is_moment(style) and "epoch" not in style:
        values = moments.read(text, style)
    else:
        values, sides = numerals.read(text, style)
    if unit := style.get("epoch"):
        values = values / (moments.EPOCHS[unit] * 86_400)
    values[gone | ~(np.abs(values) <= LARGEST)] = np.nan
    sides[np.isnan(values)] = 0
    return values, sides


def read_plainly(text, style):
    """The values of an Arrow array of cells without marks of missing ones, [N]."""
    return read_text(text, np.zeros(len(text), bool), style)[0]


def numbers(series, style, marks=MISSING):
    """The cells as float64 [N], NaN where a cell is not a number; moments are days since 1970."""
    values, sides = read(series, style, marks)
    return np.where(sides != 0, np.nan, values)


def texts(values, style, whole=False, exact=False):
    """Numbers as cells in the style of their column; with `whole` they are rounded first.

    If the style has no number of decimals, cells get the seven digits of a float32, or with
    `exact` all digits.
    """
    values = np.asarray(values, np.float64)
    if unit := style.get("epoch"):
        values = moments.rounded(values, style) if "step" in style else values
        values, exact = values * (moments.EPOCHS[unit] * 86_400), True
        values = np.round(values, 6 if style.get("decimals") is None else style["decimals"])
    elif moments.is_moment(style):
        return moments.texts(values, style, whole)
    values = np.round(values) if whole else values
    return numerals.texts(values, style, exact or whole)
