"""Dates and times of day in formats of strptime, as days since 1970-01-01.

See moments.py for the styles of cells.
"""

import itertools
import re
from datetime import date

import numpy as np

from parts.forms.cells.text import as_flags, as_numbers, as_text, parts_of

N_TEMPLATES = 200  # distinct cells from which formats are derived
N_FORMATS = 8  # most of these formats that are tried on the other cells
DAY = 86_400_000_000  # microseconds
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
MONTH = f"(?:{'|'.join(MONTHS)})"
REST_OF_MONTH = "(?:uary|ruary|ch|il|e|y|ust|t|tember|ober|ember)"
WEEKDAY = "(?:mon|tue|wed|thu|fri|sat|sun)"
REST_OF_WEEKDAY = "(?:day|sday|nesday|rsday|urday)"
MONTH_NAMES = [
    *("january", "february", "march", "april", "may", "june", "july", "august"),
    *("september", "october", "november", "december"),
]
WEEKDAY_NAMES = [
    *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
]
HALF = r"[AaPp]\.?[Mm]\.?"
OFFSET = r"[+-][0-9]{2}(?::?[0-9]{2})?"
# How the directives of a format are read, in Python and in RE2, which is linear.
DIRECTIVES = {
    "%Y": "(?P<Y>[0-9]{4})",
    "%y": "(?P<y>[0-9]{2})",
    "%m": "(?P<m>[0-9]{1,2})",
    "%d": "(?P<d>[0-9]{1,2})",
    "%b": f"(?i:(?P<b>{MONTH})t?)",
    "%B": f"(?i:(?P<b>{MONTH}){REST_OF_MONTH}?)",
    "%a": f"(?i:{WEEKDAY})",
    "%A": f"(?i:{WEEKDAY}{REST_OF_WEEKDAY}?)",
    "%H": "(?P<H>[0-9]{1,2})",
    "%I": "(?P<I>0?[1-9]|1[0-2])",
    "%M": "(?P<M>[0-9]{2})",
    "%S": "(?P<S>[0-9]{2})",
    "%f": "(?P<f>[0-9]{1,9})",
    "%p": f"(?P<p>{HALF})",
    "%z": f"(?P<z>Z|{OFFSET})",
    "th": "(?:st|nd|rd|th)",  # no directive of strptime, but English days have it
}
BESIDE = ("t", "at", "um", "uhr", "h")  # words that may stand beside a time
PARTS_OF_FORMAT = re.compile(r"%%|%[A-Za-z]|(?<=%d)th|[^%]")
ISO_8601 = (
    "(?P<Y>[0-9]{4})-(?P<m>[0-9]{2})(?:-(?P<d>[0-9]{2})(?:[T ](?P<H>[0-9]{2}):(?P<M>[0-9]{2})"
    rf"(?::(?P<S>[0-9]{{2}})(?:[.,](?P<f>[0-9]{{1,9}}))?)? ?(?P<z>Z|{OFFSET})?)?)?"
)
# What a date without some of these numbers has there, and their ranges.
DEFAULTS = {"Y": 1970, "m": 1, "d": 1, "H": 0, "M": 0, "S": 0}
RANGES = {"Y": (1, 9999), "m": (1, 12), "d": (1, 31), "H": (0, 23), "M": (0, 59), "S": (0, 59)}
# Formats of dates that are written as one number, as 20240131, and what years are multiplied by.
COMPACT = {"%Y%m%d%H%M%S": 1e10, "%Y%m%d%H%M": 1e8, "%Y%m%d": 1e4, "%Y%m": 1e2}
AHEAD = 20  # years from now in which two digits of a year may lie

TIME = re.compile(
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:(?P<mark>[.,])(?P<part>\d{1,9}))?)?"
    rf"(?:(?P<gap> ?)(?P<half>{HALF}))?(?![\d:])"
)
HOUR = re.compile(rf"(?P<hour>\d{{1,2}})(?P<gap> ?)(?P<half>{HALF})(?!\w)")  # 5 PM
# Behind a time, at the end of a cell or before a year. Other names than UTC say no offset.
ZONE = re.compile(rf"( ?)(Z|[A-Z]{{3,4}}|{OFFSET})(?=[^A-Za-z\d]*(?: \d{{4}})?$)")
BASIC = re.compile(r"\d{8}(?P<gap>[T_ -]?)(?P<time>\d{4}|\d{6})(?P<zone>Z?)")
CLOCK = re.compile(
    rf"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d([.,]\d{{1,9}})?)?( ?{HALF})?|(0?[1-9]|1[0-2]) ?{HALF}"
)
OTHER_CLOCKS = {
    "%H.%M.%S": re.compile(r"\d{1,2}\.\d{2}\.\d{2}").fullmatch,
    "%Hh%M": re.compile(r"\d{1,2}h\d{2}").fullmatch,
}


# Infer


def date_styles(sample, day_first=None):
    """The styles that dates among the distinct cells `sample` may have, the likeliest first.

    `day_first` says whether days stand before months in other columns, None if nothing tells.
    """
    n_cells = {}
    for cell in sample[:N_TEMPLATES]:
        for form in formats(cell):
            n_cells[form] = n_cells.get(form, 0) + 1
    forms = sorted(n_cells, key=lambda form: (-n_cells[form], is_second(form, day_first)))
    found = [{"date": form} for form in forms[:N_FORMATS]]
    if len(forms) > 1 and any(form.startswith("%Y-%m-%d") for form in forms):
        found.append({"date": forms[0], "mixed": True})
    return found


def clock_styles(sample):
    """The style of times of day, by the cell with the most parts, in a list."""
    if not any(map(CLOCK.fullmatch, sample)):
        return []
    matched = [TIME.fullmatch(cell) or HOUR.fullmatch(cell) for cell in sample]
    forms = [time_format(found) for found in matched if found]
    return [{"clock": max(forms, key=lambda form: form.count("%"))}] if forms else []


def other_clock_styles(sample):
    """The styles of times of day with other marks; 12.05.21 rather is a date."""
    return [{"clock": form} for form, fits in OTHER_CLOCKS.items() if any(map(fits, sample))]


def is_second(form, day_first):
    """Whether a format is to be tried second: it takes for a month what rather is a day, or so.

    Where nothing else tells, days stand before months, unless the hours are AM or PM.
    """
    if form.startswith(("%Y", "%y")) or "%m" not in form:
        return form.startswith("%y")
    if day_first is None:
        day_first = "%p" not in form
    return (form.find("%m") < form.find("%d")) == day_first


def formats(cell):
    """The formats of strptime that a cell may have, a list; most have one, some two."""
    if found := BASIC.fullmatch(cell):
        time = "%H%M%S" if len(found["time"]) == 6 else "%H%M"
        return [f"%Y%m%d{found['gap']}{time}{found['zone']}"]
    rest, time = cell, ""
    if found := TIME.search(cell) or HOUR.search(cell):
        time, end = time_format(found), found.end()
        if place := ZONE.match(cell, end):
            gap, zone = place.groups()
            time, end = time + gap + ("%z" if zone[0] in "+-" else zone), place.end()
        rest = f"{cell[: found.start()]}\0{cell[end:]}"
    return [form.replace("\0", time, 1) for form in date_formats(rest)]


def time_format(found):
    """The format of a time of day that TIME or HOUR matched."""
    parts = found.groupdict("")
    form = "%I" if parts["half"] else "%H"
    form += ":%M" if parts.get("minute") else ""
    form += ":%S" if parts.get("second") else ""
    form += f"{parts['mark']}%f" if parts.get("part") else ""
    return form + (parts["gap"] + "%p" if parts["half"] else "")


def date_formats(text):
    """The formats of the date in a cell, whose time of day is \\0."""
    made, places = [], []  # the parts of the format, and where numbers are among them
    month = None  # where the name of a month is
    for part in re.findall(r"\d+|[^\W\d_]+|[\W_]", text):
        lower = part.lower()
        if part.isdigit():
            places.append(len(made))
            made.append(part)
        elif lower == "sept" or re.fullmatch(DIRECTIVES["%B"], part):
            if month is not None:
                return []
            month = len(made)
            made.append("%B" if len(part) > 4 or lower in ("june", "july") else "%b")
        elif re.fullmatch(DIRECTIVES["%A"], part):
            made.append("%A" if len(part) > 3 else "%a")
        elif re.fullmatch(DIRECTIVES["th"], lower) and places:
            made.append("th")
        elif lower in BESIDE or not part.isalnum():
            made.append(part.replace("%", "%%"))
        else:
            return []
    numbers = [made[place] for place in places]
    if month is None:
        meanings = meanings_of(numbers)
    else:
        follows = bool(places) and places[0] == month + 2 and made[month + 1] in "-'’"
        meanings = meanings_beside_month(numbers, follows)
    found = []
    for meaning in meanings:
        for place, directive in zip(places, meaning, strict=True):
            made[place] = directive
        found.append("".join(made))
    return found


def meanings_of(numbers):
    """What the numbers of a date may be, lists of directives."""
    lengths = [len(number) for number in numbers]
    if lengths in ([8], [6]):
        return [["%Y%m%d"]] if lengths == [8] else [["%Y%m"]]
    if len(numbers) == 2:
        if lengths[0] == 4 and lengths[1] <= 2:
            return [["%Y", "%m"]]
        return [["%m", "%Y"]] if lengths[1] == 4 and lengths[0] <= 2 else []
    if len(numbers) != 3:
        return []
    if lengths[0] == 4:
        return [["%Y", "%m", "%d"]] if max(lengths[1:]) <= 2 else []
    if max(lengths[:2]) > 2 or lengths[2] not in (2, 4):
        return []
    year = "%Y" if lengths[2] == 4 else "%y"
    found = [["%d", "%m", year], ["%m", "%d", year]]
    return found + [["%y", "%m", "%d"]] if year == "%y" and lengths[0] == 2 else found


def meanings_beside_month(numbers, follows):
    """What the numbers of a date may be beside the name of a month, lists of directives.

    Two digits that follow it behind a hyphen or an apostrophe are a year: Mar-22.
    """
    lengths = [len(number) for number in numbers]
    if lengths == [4]:
        return [["%Y"]]
    if lengths == [2] and follows:
        return [["%y"]]
    if len(lengths) != 2 or min(lengths) > 2:
        return []
    if lengths[0] == 4:
        return [["%Y", "%d"]]
    return {4: [["%d", "%Y"]], 2: [["%d", "%y"]]}.get(lengths[1], [])


def century(days, last_year=None):
    """The first of the hundred years in which two-digit years lie.

    The years of a column are one span, cut where most years in a row are unused. It ends in the
    latest century in which it does not reach beyond `last_year`, the latest year that the file
    writes in full; without one, beyond AHEAD years from now.
    """
    years = np.unique(years_of(days[~np.isnan(days)]) % 100)
    if not len(years):
        return date.today().year + AHEAD - 99
    gaps = np.diff(np.append(years, years[0] + 100))
    cut = int(gaps.argmax())
    first = int(years[(cut + 1) % len(years)])
    span = (int(years[cut]) - first) % 100
    latest = date.today().year + AHEAD if last_year is None else last_year
    start = latest - span
    return start - (start - first) % 100


def years_of(days):
    """The year of each day since 1970, whole numbers."""
    return days.astype("datetime64[D]").astype("datetime64[Y]").astype(int) + 1970


# Read


def pattern_of(form):
    """A format of strptime as a regular expression, in Python and in RE2."""
    parts = re.findall(PARTS_OF_FORMAT, form)
    made = []
    for i, part in enumerate(parts):
        if part not in DIRECTIVES:
            made.append(re.escape(part.replace("%%", "%")))
            continue
        # Numbers without a mark between them have all of their digits: 20240131.
        beside = "".join(parts[max(i - 1, 0) : i] + parts[i + 1 : i + 2])
        made.append(DIRECTIVES[part].replace("{1,2}", "{2}" if "%" in beside else "{1,2}"))
    return "".join(made) + (r"(?:\.0*)?" if form in COMPACT else "")


def read(text, pattern):
    """Days since 1970 of the cells that match a pattern of DIRECTIVES, [N], NaN for the others.

    They are in UTC where cells have offsets; without a date they are of 1970-01-01.
    """
    import pyarrow.compute as pc

    parts, fits = parts_of(text, pattern)
    found = {name: as_numbers(parts[name]) for name in DEFAULTS if name in parts}
    if "y" in parts:
        found["Y"] = 2000 + as_numbers(parts["y"])
    if "b" in parts:
        found["m"] = 1 + as_numbers(pc.index_in(pc.utf8_lower(parts["b"]), as_text(MONTHS)))
    if "I" in parts:
        found["H"] = as_numbers(parts["I"]) % 12 + 12 * as_flags(parts["p"], "^[Pp]")
    if "f" in parts:
        digits = pc.fill_null(parts["f"], "0")
        found["f"] = as_numbers(digits) / 10.0 ** pc.binary_length(digits).to_numpy()
    days = np.where(fits, days_of(found), np.nan)
    if "z" in parts:
        codes = pc.dictionary_encode(parts["z"], null_encoding="encode")
        offsets = np.array([offset(zone or "Z") for zone in codes.dictionary.to_pylist()])
        days = days - offsets[codes.indices.to_numpy()]
    return days


def read_clock(text, form):
    """Times of day as days from 0 to 1, [N]; other cells may have fewer parts than the format."""
    days = read(text, pattern_of(form))
    for part in (".%f", ",%f", ":%S"):
        if part in form and np.isnan(days).any():
            form = form.replace(part, "")
            days = np.where(np.isnan(days), read(text, pattern_of(form)), days)
    return days


def days_of(numbers):
    """Days since 1970 of the numbers of dates, NaN where there is no such date.

    `numbers` maps keys of DEFAULTS, and f for a fraction of a second, to float64 [N], in which NaN
    stands for a number that is not written.
    """
    n = len(next(iter(numbers.values())))
    valid, whole = np.ones(n, bool), {}
    for name, default in DEFAULTS.items():
        values = numbers.get(name, np.full(n, np.nan))
        low, high = RANGES[name]
        valid &= ~((values < low) | (values > high))
        whole[name] = np.where(valid & ~np.isnan(values), values, default).astype(np.int64)
    months = (12 * (whole["Y"] - 1970) + whole["m"] - 1).astype("datetime64[M]")
    first, next_first = (m.astype("datetime64[D]").astype(np.int64) for m in (months, months + 1))
    valid &= whole["d"] <= next_first - first
    seconds = (whole["H"] * 60 + whole["M"]) * 60 + whole["S"]
    micro = (first + whole["d"] - 1) * DAY + seconds * 1_000_000
    if "f" in numbers:
        micro += np.round(1e6 * numbers["f"]).astype(np.int64)
    return np.where(valid, micro / DAY, np.nan)


def days_of_compact(values, form):
    """Numbers such as 20240131 as days since 1970, [N], NaN for what is none; see COMPACT."""
    whole = np.isfinite(values) & (values == np.round(values)) & (values > 0) & (values < 1e15)
    rest = np.where(whole, values, 0).astype(np.int64)
    found = {}
    for name in reversed(form.replace("%", "")):
        if name == "Y":
            found[name] = rest.astype(float)
        else:
            rest, digits = np.divmod(rest, 100)
            found[name] = digits.astype(float)
    return np.where(whole, days_of(found), np.nan)


def offset(zone):
    """The days that local time in a zone, such as +02:00, is ahead of UTC."""
    if zone[0] not in "+-":
        return 0.0
    digits = zone[1:].replace(":", "").ljust(4, "0")
    minutes = int(digits[:2]) * 60 + int(digits[2:])
    return (-minutes if zone[0] == "-" else minutes) / 1440


def moved_to_century(days, first):
    """Days moved by whole centuries, so that their years are `first` to `first` + 99."""
    known = ~np.isnan(days)
    moved = days.copy()
    whole = np.floor(days[known])
    dates = whole.astype("datetime64[D]")
    months = dates.astype("datetime64[M]")
    day = dates - months.astype("datetime64[D]")
    years = years_of(whole)
    wanted = first + (years - first) % 100
    months = months + 12 * (wanted - years)
    moved[known] = (months.astype("datetime64[D]") + day).astype(int) + (days[known] - whole)
    return moved


def emptiest(times):
    """Where to cut the circle of times of day [N]: in the middle of its longest empty arc.

    0, which is midnight, where the longest arc without a cell includes it.
    """
    known = np.unique(times[~np.isnan(times)] % 1)
    if not len(known):
        return 0.0
    gaps = np.diff(np.append(known, known[0] + 1))
    at = int(gaps.argmax())
    start, end = known[at], known[at] + gaps[at]
    if end >= 1 or start == 0:
        return 0.0
    return float((start + end) / 2)


def unrolled(times, cut):
    """Times of day as days from `cut` to `cut` + 1: the circle, cut open at an hour of no cells."""
    return cut + (times - cut) % 1


# Write


def step_of(form, digits):
    """The step between two times in a format, with so many digits of a second, in seconds."""
    if not ("%H" in form or "%I" in form):
        return 86_400 if "%d" in form else 31 * 86_400
    if "%f" in form:
        return 10.0**-digits
    return next((step for mark, step in (("%S", 1), ("%M", 60)) if mark in form), 3600)


def texts(days, form, style, step):
    """Days [N] in a format of strptime, in steps of so many days, in the way of a style."""
    micro = np.round(np.round(days / step) * step * DAY).astype("datetime64[us]")
    if "clock" in style:  # 23:59:59.7 is not midnight of the next day
        late = micro >= np.datetime64("1970-01-02")
        micro = np.where(late, micro - np.timedelta64(1, "D"), micro)
    years, months, days = (micro.astype(f"datetime64[{unit}]") for unit in "YMD")
    since_midnight = (micro - days).astype(np.int64)
    seconds, parts = np.divmod(since_midnight, 1_000_000)
    numbers = {
        "Y": years.astype(int) + 1970,
        "m": (months - years).astype(int) + 1,
        "d": (days - months).astype(int) + 1,
        "a": (days.astype(int) + 3) % 7,  # 1970-01-01 was a Thursday
        "H": seconds // 3600,
        "M": seconds // 60 % 60,
        "S": seconds % 60,
        "f": parts,
    }
    pieces = []
    for part in re.findall(PARTS_OF_FORMAT, form):
        if part in DIRECTIVES:
            of, write = writer(part, style)
            pieces.append(map(write, numbers[of].tolist()))
        else:
            pieces.append(itertools.repeat(part.replace("%%", "%")))
    return ["".join(cell) for cell in zip(*pieces, strict=False)]


def writer(directive, style):
    """The number that a directive writes, as `texts` has it, and the function that writes it."""
    day = "{}" if style.get("unpadded") else "{:02d}"
    hour = "{}" if style.get("short_hour") else "{:02d}"
    digits, half = style.get("digits", 6), style.get("half", "PM")
    halves = half.replace("p", "a").replace("P", "A"), half
    case = {"upper": str.upper, "lower": str.lower}.get(style.get("case"), str.title)
    months, weekdays = ([case(name) for name in names] for names in (MONTH_NAMES, WEEKDAY_NAMES))
    return {
        "%Y": ("Y", "{:04d}".format),
        "%y": ("Y", lambda year: f"{year % 100:02d}"),
        "%m": ("m", day.format),
        "%d": ("d", day.format),
        "th": ("d", lambda day: {1: "st", 2: "nd", 3: "rd"}.get(day % 10 * (day // 10 != 1), "th")),
        "%b": ("m", lambda month: months[month - 1][:3]),
        "%B": ("m", lambda month: months[month - 1]),
        "%a": ("a", lambda weekday: weekdays[weekday][:3]),
        "%A": ("a", lambda weekday: weekdays[weekday]),
        "%H": ("H", hour.format),
        "%I": ("H", lambda h: hour.format((h - 1) % 12 + 1)),
        "%p": ("H", lambda h: halves[h // 12]),
        "%M": ("M", "{:02d}".format),
        "%S": ("S", "{:02d}".format),
        "%f": ("f", lambda part: f"{part:06d}"[:digits].ljust(digits, "0")),
        "%z": ("f", lambda _: style.get("zone", "Z")),
    }[directive]
