"""Dates, times of day, durations and epochs as people write them; all are numbers of days.

A style is a dict with one of these keys:
    date      a format of strptime, or with %q for quarters; numbers are days since 1970-01-01
    clock     a format of strptime; numbers are days from `cut` to `cut` + 1, see `unrolled`
    duration  a key of DURATIONS
    epoch     s, ms, us or ns since 1970-01-01; decimals as in numerals.py
and, with each of them:
    step      seconds of which all cells are multiples, where that is more than they are written in
and, with a date or a clock:
    mixed     True: cells may have any ISO 8601 form; `date` is how they are written
    zone      the offset that most cells have, as they write it; times are those of this zone
    century   the first of the hundred years that two digits stand for
    digits    of a fraction of a second
    half      how PM is written, where that is not PM
    language  of these names, where that is not English
    case      "upper" or "lower": how names of months and weekdays are written
    months    how the column spells single months, a dict of "1" to "12", where it is unusual
    first     True: the first day of a month is written 1er
    unpadded, short_hour   True: days and months, or hours, are written without a leading 0
and, with a duration:
    digits    of a fraction of a second
    seconds   False: durations are written in minutes
    padded    True: hours have two digits
    words, between   what stands behind days, hours, ..., and between them: {"H": " hr"}, " "
    zeros     True: 2h 0m is written so, and not as 2h
"""

import itertools
import re

import numpy as np

from parts.forms.cells import dates, durations
from parts.forms.cells.text import as_text

LONGEST = 40  # letters of a cell that may be a moment
N_WRITTEN = 50  # cells that tell how a style is written
# First and last day that every date format can write, in the years 1 and 9999.
DAYS = (-719_162, 2_932_896)
DURATION_NAME = re.compile(r"(?i:durat|elapsed|length|lap|split|runtime|took|spent|pace)")
# Seconds of which times may be multiples, and how many times tell that beside the usual units
UNITS = (1, 60, 3600, 86_400)
STEPS, MANY = (*UNITS, 5, 10, 15, 30, 300, 600, 900, 1800), 20
CHANCE, TICKS = 1e-6, 2  # probability of an accident; microseconds by which float64 may be off
UTC = re.compile(r"(?:%[A-Za-z]|[^A-Za-z%])(?:Z|UTC|GMT)(?![A-Za-z])")  # in a format
NEAREST = 0.45  # of 31, 92 or 7 days: half of the shortest month or quarter, or of a week
MOST = 0.95  # share of numbers that must be moments

# Numbers that count from 1970

EPOCHS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}  # units in a second
EPOCH_RANGE = (631_152_000, 2_524_608_000)  # seconds from 1990 to 2050
SURE_EPOCHS = {"ms": 1e12, "us": 1e15}  # so large numbers in that range are no accident
EPOCH_NAME = re.compile(
    r"(?i:time|date|epoch|stamp|created|updated|modified|expires|(^|[\W_])(t|ts|at|when|start|end|"
    r"begin|since|until|seen)$)|[a-z](At|Ts|TS)$"
)

# Numbers that write dates, such as 20240131: their years, and how many are no accident

YEARS = (1800, 2100)
N_COMPACT = 5

MOMENT_KEYS = {"date", "clock", "duration", "epoch"}


def is_moment(style):
    """Whether numbers of this style are days."""
    return not MOMENT_KEYS.isdisjoint(style)


# Infer


def candidates(sample, weights, name="", day_first=None):
    """Styles that may fit the distinct cells `sample`, the likeliest first; `name`: the column's.

    `day_first` says whether days stand before months in other columns, None if nothing tells.
    """
    pairs = [pair for pair in zip(sample, weights, strict=True) if len(pair[0]) <= LONGEST]
    short = [cell for cell, _ in pairs]
    found = [dates.clock_styles(short), durations.styles(pairs)]
    if DURATION_NAME.search(name):
        found.reverse()
    found += [dates.date_styles(short, day_first), dates.other_clock_styles(short)]
    return list(itertools.chain(*found))


def completed(style, sample, last_year=None):
    """The style with what the cells `sample`, which it reads, tell about writing.

    `last_year` is the latest year that the file writes in full, None if nothing tells.
    """
    found = dict(style)
    fits = re.compile(pattern_of_style(style)).fullmatch
    parts = [match.groupdict() for match in map(fits, sample) if match]

    def usual(name):
        """The most common of a part's texts, None without any."""
        texts = [part[name] for part in parts if part.get(name)]
        return max(sorted(set(texts)), key=texts.count, default=None)

    fractions = [(part.get("S") or "").partition(".")[2] for part in parts]
    fractions += [part.get("f") or "" for part in parts]
    if digits := max(map(len, fractions), default=0):
        found["digits"] = digits
    if zone := usual("z"):
        found["zone"] = zone
    if half := usual("p"):
        half = half.replace("a", "p").replace("A", "P")
        found |= {} if half == "PM" else {"half": half}
    if usual("y"):
        found["century"] = dates.century(read(as_text(sample), style), last_year)
    if style.get("duration") == "words":
        found |= durations.words_of(sample)
    elif "duration" in style and not any(part.get("S") for part in parts):
        found["seconds"] = False
    if step := coarser_step(read(as_text(sample), style), style):
        found["step"] = step
    found |= way_of(found, sample[:N_WRITTEN])
    if months := dates.unusual_months(found, [part["b"] for part in parts if part.get("b")]):
        found["months"] = months
    return found


def coarser_step(days, style):
    """The largest of STEPS of which all `days` are multiples, None if it is not above `step_of`.

    Fewer than MANY times tell only minutes, hours and days, and very few of them nothing.
    """
    ticks = np.unique(np.round(1e6 * 86_400 * days[~np.isnan(days)]))
    written = 86_400 * step_of(style)
    for step in sorted(STEPS if len(ticks) >= MANY else UNITS, reverse=True):
        off = np.abs(ticks - np.round(ticks / (1e6 * step)) * (1e6 * step))
        if step > written and (off <= TICKS).all() and (written / step) ** len(ticks) < CHANCE:
            return step
    return None


def way_of(style, sample):
    """The way to write values, as part of a style, in which most of the sample's cells stand."""
    options = {"unpadded": (True,), "short_hour": (True,)}
    if "duration" in style:
        options = {"padded": (True,), "zeros": (True,)}
    elif any(directive in (style.get("date") or "") for directive in ("%b", "%B", "%a", "%A")):
        options["case"] = ("upper", "lower")
    if style.get("language") == "fr":
        options["first"] = (True,)
    choices = [[{}, *({key: value} for value in values)] for key, values in options.items()]
    values = read(as_text(sample), style)
    best, most = {}, -1
    for parts in itertools.product(*choices):
        way = {key: value for part in parts for key, value in part.items()}
        written = texts(values, style | way)
        equal = sum(a == b for a, b in zip(written, sample, strict=True))
        if equal > most:
            best, most = way, equal
        if most == len(sample):
            break
    return best


def epoch_style(values, name):
    """The epoch style of a column of numbers, {} if it is none: the name or the range says so."""
    known = values[~np.isnan(values)]
    if not len(known):
        return {}
    for unit, size in EPOCHS.items():
        low, high = (bound * size for bound in EPOCH_RANGE)
        if not EPOCH_NAME.search(name):
            low = max(low, SURE_EPOCHS.get(unit, np.inf))
        if ((known >= low) & (known < high)).mean() >= MOST:
            return {"epoch": unit}
    return {}


def compact_style(values):
    """The style of whole numbers that are dates: 20240131, or 202401 for a month; {} if not."""
    known = values[~np.isnan(values)]
    # The median tells in a tenth of the time that most columns are none.
    if len(known) < N_COMPACT or np.median(known) < YEARS[0] * min(dates.COMPACT.values()):
        return {}
    known = np.unique(known)
    if len(known) < N_COMPACT or not (known == np.round(known)).all():
        return {}
    for form, size in dates.COMPACT.items():
        years = known // size
        if ((years >= YEARS[0]) & (years < YEARS[1])).mean() < MOST:
            continue
        if (~np.isnan(dates.days_of_compact(known, form))).mean() >= MOST:
            return {"date": form}
    return {}


# Read


def read(text, style):
    """The cells of an Arrow array without blanks around them as days [N], NaN for what is none."""
    if kind := style.get("duration"):
        return durations.read(text, kind)
    if form := style.get("clock"):
        return dates.unrolled(dates.read_clock(text, form), style.get("cut", 0.0))
    days = dates.read(text, pattern_of_style(style), style.get("language", "en"))
    if zone := style.get("zone"):
        days = days + dates.offset(zone)
    if first := style.get("century"):
        days = dates.moved_to_century(days, first)
    return days


def pattern_of_style(style):
    """The regular expression of the cells of a style."""
    if kind := style.get("duration"):
        return durations.DURATIONS[kind]
    if style.get("mixed"):
        return dates.ISO_8601
    return dates.pattern_of(style.get("clock") or style["date"], style.get("language", "en"))


# Write


def texts(values, style, whole=False):
    """Days as cells in a style; with `whole`, and without a time of day, they are rounded first."""
    values = np.asarray(values, float)
    if "duration" in style:
        days = np.round(values) if whole else values
        return [durations.text_of(value, style) for value in rounded(days, style).tolist()]
    form = style.get("clock") or style["date"]
    step = step_of(style)
    days = values % 1 if "clock" in style else values
    if step > 1:  # the nearest first day of a month, a quarter or a week
        days = np.floor(days + NEAREST * step)
    if "clock" not in style:
        days = np.clip(days, *DAYS)
    step = 1.0 if whole else min(step, 1.0)
    decimals = style.get("decimals")  # of numbers that write dates, such as 20240131.0
    return dates.texts(days, f"{form}.{'0' * decimals}" if decimals else form, style, step)


def step_of(style):
    """The step between two cells as they are written, in days."""
    if unit := style.get("epoch"):
        seconds = 10.0 ** -(style.get("decimals") or 0) / EPOCHS[unit]
    elif "duration" in style:
        seconds = durations.step_of(style)
    else:
        form = style.get("clock") or style["date"]
        seconds = dates.step_of(form, style.get("digits", 6))
    return max(seconds, style.get("step", 0)) / 86_400


def ahead_of_utc(style):
    """The days that the times of a style are ahead of UTC; 0 where nothing is known of their zone.

    Seconds since 1970 are in UTC.
    """
    return dates.offset(style.get("zone", "Z"))


def is_instant(style):
    """Whether values of a style say when something was in every zone."""
    return bool("zone" in style or "epoch" in style or UTC.search(style.get("date", "")))


def rounded(days, style):
    """Days [N] in the steps of a style."""
    step = step_of(style)
    return np.round(np.round(days / step) * step * 86_400 * 1e9) / (86_400 * 1e9)
