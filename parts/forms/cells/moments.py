"""Dates, times of day, durations and epochs as people write them; all are numbers of days.

A style is a dict with one of these keys:
    date      a format of strptime; numbers are days since 1970-01-01
    clock     a format of strptime; numbers are days from `cut` to `cut` + 1, see `unrolled`
    duration  a key of DURATIONS
    epoch     s, ms, us or ns since 1970-01-01; decimals as in numerals.py
and, with a date or a clock:
    mixed     True: cells may have any ISO 8601 form; `date` is how they are written
    zone      the offset that most cells have, as they write it; times are those of this zone
    century   the first of the hundred years that two digits stand for
    digits    of a fraction of a second
    half      how PM is written, where that is not PM
    case      "upper" or "lower": how names of months and weekdays are written
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
from datetime import date

import numpy as np

from parts.forms.cells.marks import matches

LONGEST = 40  # letters of a cell that may be a moment
N_TEMPLATES = 200  # distinct cells from which formats are derived
N_FORMATS = 8  # most of these formats that are tried on the other cells
N_WRITTEN = 50  # cells that tell how a style is written
DAY = 86_400_000_000  # microseconds
# First and last day that every date format can write, in the years 1 and 9999.
DAYS = (-719_162, 2_932_896)

# Dates and times of day

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

# Durations: the regular expressions of their forms, in Python and in RE2, the plainest first

MMSS = r"(?P<M>[0-5][0-9]):(?P<S>[0-5][0-9](?:\.[0-9]{1,9})?)"
DURATIONS = {
    "h:mm": rf"(?P<sign>-)?(?P<H>[0-9]{{1,5}}):{MMSS.replace(':', '(?::', 1)})?",
    # Laps: seconds have a fraction, and there are no hours.
    "m:ss": r"(?P<sign>-)?(?:(?P<M>[0-9]{1,5}):)?(?P<S>[0-9]{1,2}\.[0-9]{1,9})",
    # Of pandas and of Python. Only the days are negative: -1 days +23:59:50 are -10 seconds.
    "days": rf"(?P<minus>-)?(?P<D>[0-9]{{1,6}}) days? \+?(?P<H>[0-9]{{1,2}}):{MMSS}",
    "python": rf"(?:(?P<minus>-)?(?P<D>[0-9]{{1,6}}) days?, )?(?P<H>[0-9]{{1,2}}):{MMSS}",
    "iso": r"(?P<sign>-)?P(?:(?P<D>[0-9]{1,6})D)?(?:T(?:(?P<H>[0-9]{1,6})H)?"
    r"(?:(?P<M>[0-9]{1,6})M)?(?:(?P<S>[0-9]{1,6}(?:\.[0-9]{1,9})?)S)?)?",
    "words": r"(?:(?P<D>[0-9]{1,6}) ?d(?:ays?)?,? ?)?(?:(?P<H>[0-9]{1,6}) ?h(?:(?:ou)?rs?)?,? ?)?"
    r"(?:(?P<M>[0-9]{1,6}) ?m(?:in(?:ute)?s?)?,? ?)?"
    r"(?:(?P<S>[0-9]{1,6}(?:\.[0-9]{1,9})?) ?s(?:ec(?:ond)?s?)?)?",
}
SECONDS = {"D": 86_400, "H": 3_600, "M": 60, "S": 1}  # in the parts of a duration
DURATION_NAME = re.compile(r"(?i:durat|elapsed|length|lap|split|runtime|took|spent|pace)")

# Numbers that are moments

EPOCHS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}  # units in a second
EPOCH_RANGE = (631_152_000, 2_524_608_000)  # seconds from 1990 to 2050
SURE_EPOCHS = {"ms": 1e12, "us": 1e15}  # so large numbers in that range are no accident
EPOCH_NAME = re.compile(
    r"(?i:time|date|epoch|stamp|created|updated|modified|expires|(^|[\W_])(t|ts|at|when|start|end|"
    r"begin|since|until|seen)$)|[a-z](At|Ts|TS)$"
)
YEARS = (1800, 2100)  # of dates that are written as one number
# Formats of such numbers, as 20240131, and what their years are multiplied by.
COMPACT = {"%Y%m%d%H%M%S": 1e10, "%Y%m%d%H%M": 1e8, "%Y%m%d": 1e4, "%Y%m": 1e2}
N_COMPACT = 5  # different ones that are no accident

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
    found = duration_styles(pairs)
    if any(map(CLOCK.fullmatch, short)):
        clocks = clock_styles(short)
        found = found + clocks if DURATION_NAME.search(name) else clocks + found
    n_cells = {}
    for cell in short[:N_TEMPLATES]:
        for form in formats(cell):
            n_cells[form] = n_cells.get(form, 0) + 1
    forms = sorted(n_cells, key=lambda form: (-n_cells[form], is_second(form, day_first)))
    found += [{"date": form} for form in forms[:N_FORMATS]]
    if len(forms) > 1 and any(form.startswith("%Y-%m-%d") for form in forms):
        found.append({"date": forms[0], "mixed": True})
    # Last, because 12.05.21 rather is a date.
    other_clocks = (form for form, fits in OTHER_CLOCKS.items() if any(map(fits, short)))
    return found + [{"clock": form} for form in other_clocks]


def duration_styles(pairs):
    """The style of durations that fits most of the pairs of cell and weight, in a list."""
    shares = {}
    for name, pattern in DURATIONS.items():
        fits = re.compile(pattern).fullmatch
        shares[name] = sum(weight for cell, weight in pairs if fits(cell))
    best = max(shares, key=shares.get)
    return [{"duration": best}] if shares[best] else []


def clock_styles(sample):
    """The style of times of day, by the cell with the most parts, in a list."""
    matched = [TIME.fullmatch(cell) or HOUR.fullmatch(cell) for cell in sample]
    forms = [time_format(found) for found in matched if found]
    return [{"clock": max(forms, key=lambda form: form.count("%"))}] if forms else []


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
        found["century"] = century(read(as_text(sample), style), last_year)
    if style.get("duration") == "words":
        found |= words_of(sample)
    elif "duration" in style and not any(part.get("S") for part in parts):
        found["seconds"] = False
    return found | way_of(found, sample[:N_WRITTEN])


def way_of(style, sample):
    """The way to write values, as part of a style, in which most of the sample's cells stand."""
    options = {"unpadded": (True,), "short_hour": (True,)}
    if "duration" in style:
        options = {"padded": (True,), "zeros": (True,)}
    elif any(directive in (style.get("date") or "") for directive in ("%b", "%B", "%a", "%A")):
        options["case"] = ("upper", "lower")
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


def words_of(sample):
    """What durations in words have behind their numbers and between their parts: two keys."""
    words, between = {}, {}
    for cell in sample:
        parts = re.findall(r"[\d.]+( ?[a-z]+)(,? ?)", cell)
        for word, _ in parts:
            of_part = words.setdefault(word.strip()[0].upper(), {})
            of_part[word] = of_part.get(word, 0) + 1
        for _, gap in parts[:-1]:
            between[gap] = between.get(gap, 0) + 1
    return {
        "words": {part: max(found, key=found.get) for part, found in words.items()},
        "between": max(between, key=between.get, default=" "),
    }


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


def epoch_style(values, name):
    """The epoch style of a column of numbers, {} if it is none: the name or the range says so."""
    known = values[~np.isnan(values)]
    if not len(known):
        return {}
    for unit, size in EPOCHS.items():
        low, high = (bound * size for bound in EPOCH_RANGE)
        if not EPOCH_NAME.search(name):
            low = max(low, SURE_EPOCHS.get(unit, np.inf))
        if ((known >= low) & (known < high)).mean() >= 0.95:
            return {"epoch": unit}
    return {}


def compact_style(values):
    """The style of whole numbers that are dates: 20240131, or 202401 for a month; {} if not."""
    known = np.unique(values[~np.isnan(values)])
    if len(known) < N_COMPACT or not (known == np.round(known)).all():
        return {}
    for form, size in COMPACT.items():
        years = known // size
        if ((years >= YEARS[0]) & (years < YEARS[1])).mean() < 0.95:
            continue
        if (~np.isnan(days_of_compact(known, form))).mean() >= 0.95:
            return {"date": form}
    return {}


# Read


def as_text(cells):
    """A list of cells as an Arrow array."""
    import pyarrow as pa

    return pa.array(cells, pa.large_string())


def read(text, style):
    """The cells of an Arrow array without blanks around them as days [N], NaN for what is none."""
    if "duration" in style:
        return read_durations(text, pattern_of_style(style))
    if form := style.get("clock"):
        days = read_dates(text, pattern_of(form))
        for part in (".%f", ",%f", ":%S"):  # other cells may be shorter
            if part in form and np.isnan(days).any():
                form = form.replace(part, "")
                days = np.where(np.isnan(days), read_dates(text, pattern_of(form)), days)
        return unrolled(days, style.get("cut", 0.0))
    days = read_dates(text, pattern_of_style(style))
    if zone := style.get("zone"):
        days = days + offset(zone)
    if first := style.get("century"):
        days = moved_to_century(days, first)
    return days


def pattern_of_style(style):
    """The regular expression of the cells of a style."""
    if kind := style.get("duration"):
        return DURATIONS[kind]
    if style.get("mixed"):
        return ISO_8601
    return pattern_of(style.get("clock") or style["date"])


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


def read_dates(text, pattern):
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


def parts_of(text, pattern):
    """The named groups of a regular expression in each cell, and which cells fit it, [N].

    Groups are a dict of Arrow arrays, None where a cell has no such part.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.extract_regex(text, f"^(?:{pattern})$")
    parts = {}
    for field in found.type:
        part = pc.struct_field(found, field.name)
        parts[field.name] = pc.if_else(pc.equal(part, ""), pa.scalar(None, part.type), part)
    return parts, found.is_valid().to_numpy(zero_copy_only=False)


def as_numbers(part):
    """An Arrow array as float64 [N], NaN for None."""
    return part.cast("float64").to_numpy(zero_copy_only=False)


def as_flags(part, pattern):
    """True where a cell of an Arrow array matches a pattern, [N]; False for None."""
    import pyarrow.compute as pc

    return matches(pc.fill_null(part, ""), pattern)


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


def unrolled(times, cut):
    """Times of day as days from `cut` to `cut` + 1: the circle, cut open at an hour of no cells."""
    return cut + (times - cut) % 1


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


def read_durations(text, pattern):
    """Durations as days, [N]."""
    parts, _ = parts_of(text, pattern)
    seconds, written = np.zeros(len(text)), np.zeros(len(text), bool)
    for name, size in SECONDS.items():
        if name in parts:
            numbers = as_numbers(parts[name])
            written |= ~np.isnan(numbers)
            minus = as_flags(parts["minus"], "-") if name == "D" and "minus" in parts else False
            seconds += size * np.where(minus, -1, 1) * np.nan_to_num(numbers)
    if "sign" in parts:
        seconds = np.where(as_flags(parts["sign"], "-"), -seconds, seconds)
    return np.where(written, seconds / SECONDS["D"], np.nan)


# Write


def texts(values, style, whole=False):
    """Days as cells in a style; with `whole`, and without a time of day, they are rounded first."""
    values = np.asarray(values, float)
    if "duration" in style:
        days = np.round(values) if whole else values
        return [duration_text(value, style) for value in days.tolist()]
    form = style.get("clock") or style["date"]
    days = values % 1 if "clock" in style else np.clip(values, *DAYS)
    step = 1.0 if whole else max(step_of(style), 1e-6 / 86_400)
    if step >= 1:
        days, step = np.round(days), 1.0
    micro = np.round(np.round(days / step) * step * DAY).astype("datetime64[us]")
    if "clock" in style:  # 23:59:59.7 is not midnight of the next day
        late = micro >= np.datetime64("1970-01-02")
        micro = np.where(late, micro - np.timedelta64(1, "D"), micro)
    decimals = style.get("decimals")  # of numbers that write dates, such as 20240131.0
    return formatted(micro, f"{form}.{'0' * decimals}" if decimals else form, style)


def formatted(micro, form, style):
    """Times [N] of microseconds in a format of strptime, in the way of a style."""
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
    """The number that a directive writes, a key of `formatted`, and the function that writes it."""
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


def step_of(style):
    """The step between two cells as they are written, in days."""
    if unit := style.get("epoch"):
        return 10.0 ** -(style.get("decimals") or 0) / (EPOCHS[unit] * 86_400)
    part = 10.0 ** -style.get("digits", 0) / 86_400
    if "duration" in style:
        smallest = min(SECONDS[unit] for unit in style.get("words", "S"))
        smallest = 60 if style.get("seconds") is False else smallest
        return part if smallest == 1 else smallest / 86_400
    form = style.get("clock") or style["date"]
    if not ("%H" in form or "%I" in form):
        return 1.0 if "%d" in form else 31.0
    if "%f" in form:
        return part if "digits" in style else 1e-6 / 86_400
    steps = (("%S", 1.0), ("%M", 60.0))
    return next((step for mark, step in steps if mark in form), 3600.0) / 86_400


def duration_text(days, style):
    """A duration in the form of its column."""
    kind, digits = style["duration"], style.get("digits", 0)
    step = step_of(style) * 86_400
    seconds = round(round(days * 86_400 / step) * step, digits)
    if kind in ("days", "python"):  # only the days are negative
        day, rest = divmod(seconds, 86_400)
        hour, minute, second = parts_of_time(rest, digits)
        if kind == "days":
            return f"{day:.0f} days {'+' * (day < 0)}{hour:02d}:{minute:02d}:{second}"
        before = f"{day:.0f} day{'s' * (abs(day) != 1)}, " if day else ""
        return f"{before}{hour}:{minute:02d}:{second}"
    sign = "-" if seconds < 0 else ""
    if kind == "words":
        return sign + text_in_words(abs(seconds), style)
    hours, minute, second = parts_of_time(abs(seconds), digits)
    if kind == "m:ss":
        minutes = 60 * hours + minute
        return f"{sign}{minutes}:{second}" if minutes else f"{sign}{without_zero(second)}"
    if kind == "h:mm":
        shown = f"{hours:02d}" if style.get("padded") else f"{hours}"
        return f"{sign}{shown}:{minute:02d}" + (
            "" if style.get("seconds") is False else f":{second}"
        )
    day, hour = divmod(hours, 24)
    units = ((hour, "H"), (minute, "M"), (without_zero(second), "S"))
    time = "".join(f"{number}{unit}" for number, unit in units if float(number))
    date = f"{day}D" if day else ""
    return f"{sign}P{date}" + (f"T{time or '0S'}" if time or not date else "")


def text_in_words(seconds, style):
    """A duration that is not negative in words, as 1h 30m; the first unit has no upper end."""
    digits, words = style.get("digits", 0), style["words"]
    parts, rest = [], seconds
    for unit in [unit for unit in SECONDS if unit in words]:
        number, rest = divmod(round(rest, digits), SECONDS[unit])
        number = f"{number + rest:.{digits}f}" if unit == "S" else f"{number:.0f}"
        parts.append(number + words[unit])
    there = [part for part in parts if style.get("zeros") or not re.match(r"[0.]+\D", part)]
    return style["between"].join(there or parts[-1:])


def without_zero(second):
    """Seconds of two digits without a leading 0."""
    return second[1:] if second[0] == "0" else second


def parts_of_time(seconds, digits):
    """Hours, minutes, and seconds as a text of two digits and a fraction."""
    minutes, second = divmod(round(seconds * 10**digits), 60 * 10**digits)
    hours, minute = divmod(minutes, 60)
    whole, part = divmod(second, 10**digits)
    return int(hours), int(minute), f"{whole:02.0f}" + (f".{part:0{digits}.0f}" if digits else "")
