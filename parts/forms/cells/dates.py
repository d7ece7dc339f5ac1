"""Dates and times of day in formats of strptime, as days since 1970-01-01.

See moments.py for the styles of cells.
"""

import itertools
import re
from collections import Counter
from datetime import date

import numpy as np

from parts.forms.cells import calendar_names
from parts.forms.cells.text import as_flags, as_numbers, as_text, parts_of

N_TEMPLATES = 200  # distinct cells from which formats are derived
N_FORMATS = 8  # most of these formats that are tried on the other cells
DAY = 86_400_000_000  # microseconds
HALF = r"[AaPp]\.?[Mm]\.?"
OFFSET = r"[+-][0-9]{2}(?::?[0-9]{2})?"
# How the directives of a format are read, in Python and in RE2, which is linear.
DIRECTIVES = {
    "%Y": "(?P<Y>[0-9]{4})",
    "%y": "(?P<y>[0-9]{2})",
    "%m": "(?P<m>[0-9]{1,2})",
    "%d": "(?P<d>[0-9]{1,2})",
    "%H": "(?P<H>[0-9]{1,2})",
    "%I": "(?P<I>0?[1-9]|1[0-2])",
    "%M": "(?P<M>[0-9]{2})",
    "%S": "(?P<S>[0-9]{2})",
    "%f": "(?P<f>[0-9]{1,9})",
    "%p": f"(?P<p>{HALF})",
    "%z": f"(?P<z>Z|{OFFSET})",
    "%G": "(?P<G>[0-9]{4})",  # the year of a week
    "%V": "(?P<V>[0-9]{2})",
    "%u": "(?P<u>[1-7])",
    # What strptime does not have: quarters, and the letters behind English days.
    "%q": "(?P<q>[1-4])",
    "th": "(?:st|nd|rd|th)",
}
# Of names, see calendar_names.py; a point behind a short one is left out where the name is whole.
NAMES = {"%b": calendar_names.MONTHS, "%B": calendar_names.MONTHS}
NAMES |= {"%a": calendar_names.WEEKDAYS, "%A": calendar_names.WEEKDAYS}
SHORT = ("%b", "%a")
# Words that may stand beside a time, or between the parts of a date.
BESIDE = ("t", "at", "um", "uhr", "h", "de", "del")
PARTS_OF_FORMAT = re.compile(r"%%|%[ab]\.|%[A-Za-z]|(?<=%d)th|[^%]")
WEEK = re.compile(r"\d{4}(-?)W\d{2}(-?[1-7])?")
QUARTER = re.compile(r"(?P<year>\d{4})?(?P<gap>[ /.-]?)(?P<q>[Qq])[1-4](?:(?P<mark>[ /.-]?)\d{4})?")
FIRST = "er"  # behind the first day of a month in French
FEW_PARTS = 4  # parts of a year that are numbered with one digit, and are no months
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
        for key in formats(cell):
            n_cells[key] = n_cells.get(key, 0) + 1
    ranked = sorted(n_cells, key=lambda key: (-n_cells[key], is_second(key[0], day_first)))
    forms = [form for form, _ in ranked]
    found = []
    for form, language in ranked[:N_FORMATS]:
        if form := with_parts_of_years(form, sample):
            found.append({"date": form} | ({"language": language} if language != "en" else {}))
    if len(forms) > 1 and any(form.startswith("%Y-%m-%d") for form in forms):
        found.append({"date": forms[0], "mixed": True})
    return found


def with_parts_of_years(form, sample):
    """A format of year and month as it is; of year and quarter where the cells show no months.

    Months show by two digits or a number above FEW_PARTS. Years have quarters 1 to 4, each of them
    there; other numbers, such as 2000-1 and 2000-2 of half-years, are no dates, and give None.
    """
    if "%m" not in form or "%d" in form or "%Y%m" in form:
        return form
    found = [match["m"] for match in map(re.compile(pattern_of(form)).fullmatch, sample) if match]
    if any(len(number) > 1 or int(number) > FEW_PARTS for number in found):
        return form
    return form.replace("%m", "%q") if set(found) == set("1234") else None


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
    """Pairs of a format that a cell may have and the language of its names, a list; most have one.

    A cell without names is in English.
    """
    if found := BASIC.fullmatch(cell):
        time = "%H%M%S" if len(found["time"]) == 6 else "%H%M"
        return [(f"%Y%m%d{found['gap']}{time}{found['zone']}", "en")]
    if found := WEEK.fullmatch(cell):
        day = "-%u" if "-" in (found[2] or "") else "%u" if found[2] else ""
        return [(f"%G{found[1]}W%V{day}", "en")]
    if (found := QUARTER.fullmatch(cell)) and (found["year"] is None) != (found["mark"] is None):
        quarter = f"{found['q']}%q"
        before = found["year"] is not None
        form = f"%Y{found['gap']}{quarter}" if before else f"{quarter}{found['mark']}%Y"
        return [(form, "en")] if before or not found["gap"] else []
    rest, time = cell, ""
    if found := TIME.search(cell) or HOUR.search(cell):
        time, end = time_format(found), found.end()
        if place := ZONE.match(cell, end):
            gap, zone = place.groups()
            time, end = time + gap + ("%z" if zone[0] in "+-" else zone), place.end()
        rest = f"{cell[: found.start()]}\0{cell[end:]}"
    return [
        (form.replace("\0", time, 1), language)
        for language in languages_of(rest)
        for form in date_formats(rest, language)
    ]


def languages_of(text):
    """The languages of which the words of a date may be; only English without a word."""
    words = [word for word in re.findall(r"[^\W\d_]+", text.lower()) if word not in BESIDE]
    return calendar_names.LANGUAGES if words else ("en",)


def time_format(found):
    """The format of a time of day that TIME or HOUR matched."""
    parts = found.groupdict("")
    form = "%I" if parts["half"] else "%H"
    form += ":%M" if parts.get("minute") else ""
    form += ":%S" if parts.get("second") else ""
    form += f"{parts['mark']}%f" if parts.get("part") else ""
    return form + (parts["gap"] + "%p" if parts["half"] else "")


def date_formats(text, language="en"):
    """The formats of the date in a cell, whose time of day is \\0, with names of a language."""
    months, weekdays = (
        calendar_names.places(calendar, language)
        for calendar in (calendar_names.MONTHS, calendar_names.WEEKDAYS)
    )
    made, places = [], []  # the parts of the format, and where numbers are among them
    month = None  # where the name of a month is
    for part in re.findall(r"\d+|[^\W\d_]+|[\W_]", text):
        lower = part.lower()
        if part.isdigit():
            places.append(len(made))
            made.append(part)
        elif lower in months:
            if month is not None:
                return []
            month = len(made)
            is_full = calendar_names.is_full(calendar_names.MONTHS, language, lower)
            made.append("%B" if is_full else "%b")
        elif lower in weekdays:
            is_full = calendar_names.is_full(calendar_names.WEEKDAYS, language, lower)
            made.append("%A" if is_full else "%a")
        elif re.fullmatch(DIRECTIVES["th"], lower) and places and language == "en":
            made.append("th")
        elif lower == FIRST and language == "fr" and made and made[-1] == "1":
            continue
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


def pattern_of(form, language="en"):
    """A format as a regular expression, in Python and in RE2."""
    parts = re.findall(PARTS_OF_FORMAT, form)
    made = []
    for i, part in enumerate(parts):
        if (name := part.rstrip(".")) in NAMES:
            is_short = name in SHORT and part == name  # Aug. stands beside May and June
            texts = calendar_names.pattern(NAMES[name], language, is_short)
            texts = f"(?:{texts})" + (r"\.?" if part != name else "")
            group = "P<b>" if NAMES[name] == calendar_names.MONTHS else ":"
            made.append(f"(?i:(?{group}{texts}))")
            continue
        if part not in DIRECTIVES:
            made.append(re.escape(part.replace("%%", "%")))
            continue
        # Numbers without a mark between them have all of their digits: 20240131.
        beside = "".join(parts[max(i - 1, 0) : i] + parts[i + 1 : i + 2])
        made.append(DIRECTIVES[part].replace("{1,2}", "{2}" if "%" in beside else "{1,2}"))
        if part == "%d" and language == "fr":
            made.append(f"(?:{FIRST})?")
    return "".join(made) + (r"(?:\.0*)?" if form in COMPACT else "")


def read(text, pattern, language="en"):
    """Days since 1970 of the cells that match a pattern of DIRECTIVES, [N], NaN for the others.

    They are in UTC where cells have offsets; without a date they are of 1970-01-01. Weeks and
    quarters are their first days.
    """
    import pyarrow.compute as pc

    parts, fits = parts_of(text, pattern)
    found = {name: as_numbers(parts[name]) for name in DEFAULTS if name in parts}
    if "y" in parts:
        found["Y"] = 2000 + as_numbers(parts["y"])
    if "b" in parts:
        places = calendar_names.places(calendar_names.MONTHS, language)
        names = pc.utf8_rtrim(pc.utf8_lower(parts["b"]), ".")
        at = as_numbers(pc.index_in(names, as_text(list(places))))
        months = 1.0 + np.array(list(places.values()))
        found["m"] = np.where(np.isnan(at), np.nan, months[np.nan_to_num(at).astype(int)])
    if "q" in parts:
        found["m"] = 3 * as_numbers(parts["q"]) - 2
    if "I" in parts:
        found["H"] = as_numbers(parts["I"]) % 12 + 12 * as_flags(parts["p"], "^[Pp]")
    if "f" in parts:
        digits = pc.fill_null(parts["f"], "0")
        found["f"] = as_numbers(digits) / 10.0 ** pc.binary_length(digits).to_numpy()
    days = days_of(found) if found else np.zeros(len(text))
    if "V" in parts:
        weekday = as_numbers(parts["u"]) if "u" in parts else 1.0
        days = days_of_weeks(as_numbers(parts["G"]), as_numbers(parts["V"]), weekday)
    days = np.where(fits, days, np.nan)
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


def days_of_weeks(years, weeks, weekdays):
    """Days since 1970 of weekdays in the weeks of ISO 8601, [N], NaN where a year has no such week.

    The first week of a year is that of 4 January.
    """
    n = len(years)
    fourth = {"m": np.ones(n), "d": np.full(n, 4.0)}
    starts = []
    for some in (years, years + 1):
        day = days_of({"Y": some} | fourth)
        starts.append(day - (day + 3) % 7)  # its Monday; 1970-01-01 was a Thursday
    days = starts[0] + 7 * (weeks - 1) + weekdays - 1
    return np.where((weeks >= 1) & (days < starts[1]), days, np.nan)


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
        sizes = {"%d": 1, "%u": 1, "%V": 7, "%q": 92}
        return 86_400 * next((size for mark, size in sizes.items() if mark in form), 31)
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
    weekdays = (days.astype(int) + 3) % 7  # 1970-01-01 was a Thursday
    thursdays = days + (3 - weekdays)  # the year of a week is that of its Thursday
    years_of_weeks = thursdays.astype("datetime64[Y]")
    numbers = {
        "Y": years.astype(int) + 1970,
        "m": (months - years).astype(int) + 1,
        "d": (days - months).astype(int) + 1,
        "q": (months - years).astype(int) // 3 + 1,
        "a": weekdays,
        "u": weekdays + 1,
        "G": years_of_weeks.astype(int) + 1970,
        "V": (thursdays - years_of_weeks.astype("datetime64[D]")).astype(int) // 7 + 1,
        "H": seconds // 3600,
        "M": seconds // 60 % 60,
        "S": seconds % 60,
        "f": parts,
    }
    pieces = []
    for part in re.findall(PARTS_OF_FORMAT, form):
        if part in DIRECTIVES or part.rstrip(".") in NAMES:
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
    name = directive.rstrip(".")
    if name in NAMES:
        is_month = NAMES[name] == calendar_names.MONTHS
        words = names_written(name, style, directive[len(name) :])
        return ("m", lambda month: words[month - 1]) if is_month else ("a", words.__getitem__)
    return {
        "%Y": ("Y", "{:04d}".format),
        "%y": ("Y", lambda year: f"{year % 100:02d}"),
        "%m": ("m", day.format),
        "%d": ("d", lambda d: day.format(d) + (FIRST if d == 1 and style.get("first") else "")),
        "%G": ("G", "{:04d}".format),
        "%V": ("V", "{:02d}".format),
        "%u": ("u", "{}".format),
        "%q": ("q", "{}".format),
        "th": ("d", lambda day: {1: "st", 2: "nd", 3: "rd"}.get(day % 10 * (day // 10 != 1), "th")),
        "%H": ("H", hour.format),
        "%I": ("H", lambda h: hour.format((h - 1) % 12 + 1)),
        "%p": ("H", lambda h: halves[h // 12]),
        "%M": ("M", "{:02d}".format),
        "%S": ("S", "{:02d}".format),
        "%f": ("f", lambda part: f"{part:06d}"[:digits].ljust(digits, "0")),
        "%z": ("f", lambda _: style.get("zone", "Z")),
    }[directive]


def names_written(directive, style, point):
    """The months or weekdays as a directive of NAMES writes them, with a point behind short ones.

    The style may say how the column spells single months.
    """
    case = {"upper": str.upper, "lower": str.lower}.get(style.get("case"), str.title)
    calendar, is_short = NAMES[directive], directive in SHORT
    unusual = style.get("months", {}) if calendar == calendar_names.MONTHS else {}
    words = []
    for i, spelled in enumerate(calendar_names.spellings(calendar, style.get("language", "en"))):
        full = calendar_names.full(spelled)
        text = case(calendar_names.short(spelled) if is_short else full)
        text = text if text.lower() == full else text + point
        words.append(unusual.get(str(i + 1), text))
    return words


def unusual_months(style, texts):
    """The months that most cells spell in another way than the style: "1" to "12" -> text."""
    places = calendar_names.places(calendar_names.MONTHS, style.get("language", "en"))
    counts = Counter(texts)
    found = {}
    for text, _ in reversed(counts.most_common()):
        found[str(places[text.lower().rstrip(".")] + 1)] = text
    if not found:
        return {}
    directive = re.search(r"(%[bB])(\.?)", style["date"])
    written = names_written(directive[1], style, directive[2])
    return {month: text for month, text in found.items() if text != written[int(month) - 1]}
