"""Dates, times of day, durations and epochs as people write them; all are numbers of days.

A style is a dict with one of these keys:
    date      a format of strptime; numbers are days since 1970-01-01
    clock     a format of strptime; numbers are days from `cut` to `cut` + 1, see `unrolled`
    duration  a key of DURATIONS
    epoch     s, ms, us or ns since 1970-01-01; decimals as in numerals.py
and, with a date:
    unpadded  days and months are written without a leading 0, short_hour: hours
    digits    of a fraction of a second
    zone      the offset that most cells have, as they write it; times are those of this zone
    century   the first of the hundred years that two digits stand for
    mixed     cells may have any ISO 8601 form; `date` is how they are written
"""

import re
from datetime import date

import numpy as np

from parts.forms.cells.marks import trimmed

LONGEST = 40  # letters of a cell that may be a date
N_TEMPLATES = 200  # distinct cells from which formats are derived
DAY = 86_400e6  # microseconds
# First and last day that every date format can write, in the years 1 and 9999.
DAYS = (-719_162, 2_932_896)
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
TIME = re.compile(
    r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:(?P<mark>[.,])(?P<part>\d{1,9}))?)?"
    r"(?P<gap> ?)(?P<half>[AaPp]\.?[Mm]\.?)?(?![\d:])"
)
ZONE = re.compile(r"(?P<gap> ?)(?P<zone>Z|UTC|GMT|[+-]\d{2}:?\d{2})$")
EPOCHS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}  # units in a second
EPOCH_RANGE = (631_152_000, 2_524_608_000)  # seconds from 1990 to 2050
EPOCH_NAME = re.compile(
    r"(?i:time|date|epoch|stamp|created|updated|modified|(^|[\W_])(ts|at|when)$)|[a-z](At|Ts|TS)$"
)
DURATION_NAME = re.compile(r"(?i:durat|elapsed|length|lap|split|runtime|took|spent|pace)")
AHEAD = 20  # years from now in which two digits of a year may lie
YEARS = (1800, 2100)  # of dates that are written as one number, such as 20240131
CLOCK = re.compile(r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d([.,]\d{1,9})?)?( ?[AaPp]\.?[Mm]\.?)?")
HMS = re.compile(r"-?\d{1,5}:[0-5]\d(:[0-5]\d(\.\d{1,9})?)?")
DAYS_HMS = re.compile(r"-?\d{1,6} days?,? \+?\d{1,2}:\d{2}:\d{2}(\.\d{1,9})?")
ISO = re.compile(r"-?P(?=[\dT])(\d+D)?(T(?=\d)(\d+H)?(\d+M)?(\d+(\.\d+)?S)?)?")
UNITS = re.compile(
    r"(?=\d)(\d+ ?d(ays?)? ?)?(\d+ ?h(ours?)? ?)?(\d+ ?m(in)?s? ?)?(\d+(\.\d+)? ?s(ec)?)?"
)


def is_moment(style):
    """Whether numbers of this style are days."""
    return not MOMENT_KEYS.isdisjoint(style)


# Infer


def candidates(sample, weights, name="", day_first=None):
    """Yield styles that may fit the distinct cells `sample`, the likeliest first."""
    short = [cell for cell in sample[:N_TEMPLATES] if len(cell) <= LONGEST]
    clocks = sum(w for cell, w in zip(sample, weights, strict=True) if CLOCK.fullmatch(cell))
    if clocks and not DURATION_NAME.search(name):
        yield from clock_styles(short)
    yield from duration_styles(sample, weights)
    if clocks:
        yield from clock_styles(short)
    found = {}
    for cell in short:
        for form in formats(cell):
            found[form] = found.get(form, 0) + 1
    order = sorted(found, key=lambda form: (-found[form], is_second(form, day_first)))
    for form in order[:8]:
        yield {"date": form}
    if any(form.startswith("%Y-%m-%d") for form in order) and len(order) > 1:
        yield {"date": order[0], "mixed": True}


def is_second(form, day_first):
    """Whether a format reads months where it could read days, and is to be tried second."""
    month_first = form.find("%m") < form.find("%d") and not form.startswith("%Y")
    return month_first != (day_first is False)


def formats(cell):
    """The formats of strptime that a cell may have, a list; most have one, some two."""
    rest, time, zone = cell, "", ""
    if found := TIME.search(cell):
        before, time = cell[: found.start()], time_format(found)
        after = cell[found.end() :]
        if place := ZONE.fullmatch(after) or ZONE.match(after):
            word = place["zone"]
            zone = place["gap"] + ("%z" if word[0] in "+-" else word)
            after = after[place.end() :]
        rest = f"{before}\0{after}"
    elif "T" not in cell and (place := re.fullmatch(r"(\d{8})[T ]?(\d{6})", cell)):
        return ["%Y%m%d" + cell[8 : len(cell) - 6] + "%H%M%S"]
    dates = date_formats(rest.replace("\0", "", 1) if not time else rest)
    return [date.replace("\0", time + zone, 1) for date in dates]


def time_format(found):
    """The format of a matched time of day."""
    half = found["half"]
    parts = ["%I" if half else "%H", ":%M"]
    if found["second"]:
        parts.append(":%S")
    if found["part"]:
        parts.append(f"{found['mark']}%f")
    return "".join(parts) + (found["gap"] + "%p" if half else found["gap"])


def date_formats(text):
    """The formats of the date in a cell, whose time is \\0."""
    pieces = re.findall(r"\d+|[^\W\d_]+|[\W_]", text)
    made, numbers = [], []
    month = False
    for piece in pieces:
        lower = piece.lower()
        if piece.isdigit():
            numbers.append(len(made))
            made.append(piece)
        elif lower[:3] in MONTHS and lower in MONTH_NAMES:
            month = True
            made.append("%B" if len(piece) > 3 else "%b")
        elif lower in WEEKDAY_NAMES:
            made.append("%A" if len(piece) > 3 else "%a")
        elif lower in ("t", "st", "nd", "rd", "th") or not piece.isalnum():
            made.append(piece.replace("%", "%%"))
        else:
            return []
    found = []
    for marks in orders([made[i] for i in numbers], month):
        own = list(made)
        for place, mark in zip(numbers, marks, strict=True):
            own[place] = mark
        found.append("".join(own))
    return found


def orders(numbers, month):
    """What the numbers of a date may be, lists of directives; `month`: its name stands beside."""
    lengths = [len(number) for number in numbers]
    if month:
        if len(numbers) == 2:
            if lengths[1] == 4:
                return [["%d", "%Y"]]
            if lengths[0] == 4:
                return [["%Y", "%d"]]
            return [["%d", "%y"]] if max(lengths) <= 2 else []
        return [["%Y"]] if lengths == [4] else []
    if lengths == [8]:
        return [["%Y%m%d"]]
    if lengths == [6]:
        return [["%Y%m"]]
    if len(numbers) == 2:
        if lengths[0] == 4 and lengths[1] <= 2:
            return [["%Y", "%m"]]
        return [["%m", "%Y"]] if lengths[1] == 4 and lengths[0] <= 2 else []
    if len(numbers) != 3 or sum(length == 4 for length in lengths) > 1:
        return []
    if lengths[0] == 4:
        return [["%Y", "%m", "%d"]] if max(lengths[1:]) <= 2 else []
    if max(lengths[:2]) > 2 or lengths[2] not in (2, 4):
        return []
    year = "%Y" if lengths[2] == 4 else "%y"
    found = [["%d", "%m", year], ["%m", "%d", year]]
    return found + [["%y", "%m", "%d"]] if year == "%y" else found


def clock_styles(sample):
    """The style of times of day, by the cell with the most parts, in a list."""
    matched = [m for m in map(TIME.fullmatch, sample) if m]
    if not matched:
        return []
    longest = max(matched, key=lambda m: bool(m["second"]) + bool(m["part"]))
    return [{"clock": time_format(longest)}]


def duration_styles(sample, weights):
    """The style of durations that reads the most cells, in a list."""
    shares = {
        name: sum(w for cell, w in zip(sample, weights, strict=True) if fits.fullmatch(cell))
        for name, fits in DURATIONS.items()
    }
    best = max(shares, key=shares.get)
    return [{"duration": best}] if shares[best] else []


def completed(style, sample, last_year=None):
    """The style with what the cells of a sample tell about writing: padding, digits, zone."""
    found = style | padding(sample)
    digits = [len(m[1]) for m in (re.search(r"\d[.,](\d+)", cell) for cell in sample) if m]
    form = style.get("clock") or style.get("date") or "%f"
    if digits and "%f" in form:
        found |= {"digits": max(digits)}
    if style.get("duration") == "h:mm" and not any(cell.count(":") == 2 for cell in sample):
        found |= {"seconds": False}
    if "%z" in form or style.get("mixed"):
        zones = [m["zone"] for m in map(ZONE.search, sample) if m]
        if zones:
            found |= {"zone": max(sorted(set(zones)), key=zones.count)}
    if "%y" in form:
        found |= {"century": century(read_dates(as_series(sample), form), last_year)}
    return found


def padding(sample):
    """Which numbers of the cells have no leading 0, as part of a style."""

    def cells_with(pattern):
        return sum(bool(re.search(pattern, cell)) for cell in sample)

    found = {}
    if cells_with(r"(?<![\d:.])[1-9](?![\d:])") > cells_with(r"(?<![\d:.])0\d(?![\d:])"):
        found["unpadded"] = True
    if cells_with(r"(?<![\d:.])\d:") > cells_with(r"(?<![\d:.])0\d:"):
        found["short_hour"] = True
    return found


def as_series(cells):
    import pandas as pd

    return pd.Series(list(cells), dtype="str")


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
    """The epoch style of a column of numbers, {} if it is none: the name or the range says so.

    Seconds need a name such as created_at. Numbers of thirteen digits or more that all lie between
    1990 and 2050 are no accident.
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return {}
    for unit, size in EPOCHS.items():
        low, high = (bound * size for bound in EPOCH_RANGE)
        inside = (known >= low) & (known < high)
        named = EPOCH_NAME.search(name)
        rises = len(known) > 20 and (np.diff(known) > 0).all()
        if inside.mean() >= 0.95 and (named or unit != "s" or rises):
            return {"epoch": unit}
    return {}


def compact_style(values):
    """The style of whole numbers that are dates: 20240131, or 202401 for a month; {} if not."""
    known = np.unique(values[~np.isnan(values)])
    for size, form in ((10_000, "%Y%m%d"), (100, "%Y%m")):
        if len(known) < 5 or not (known == np.round(known)).all():
            continue
        years = known // size
        inside = (years >= YEARS[0]) & (years < YEARS[1])
        if inside.mean() < 0.95:
            continue
        days = read_dates(as_series([f"{value:.0f}" for value in known]), form)
        if (~np.isnan(days)).mean() >= 0.95:
            return {"date": form}
    return {}


# Read


def read(series, style):
    """The cells of a column of text in a style as days, float64 [N], NaN where it is none."""
    import pandas as pd

    text = pd.Series(trimmed(series).to_pandas(), dtype="str")
    if form := style.get("clock"):
        days = read_dates(text.str.replace(".", "", regex=False) if "%p" in form else text, form)
        if np.isnan(days).any() and "%S" in form:
            shorter = form.replace(".%f", "").replace(",%f", "")
            for other in (shorter, shorter.replace(":%S", "")):
                days = np.where(np.isnan(days), read_dates(text, other), days)
        return unrolled(days - np.floor(days), style.get("cut", 0.0))
    if kind := style.get("duration"):
        return read_durations(text, kind)
    form = style["date"]
    if style.get("mixed"):
        times = pd.to_datetime(text, format="ISO8601", errors="coerce", utc=True)
        days = days_of(times.dt.tz_localize(None))
    else:
        days = read_dates(text, form)
    if zone := style.get("zone"):
        days = days + offset(zone)
    if first := style.get("century"):
        days = moved_to_century(days, first)
    return days


def read_dates(text, form):
    """Days since 1970 of cells in a format of strptime, [N], in UTC where they have zones."""
    import pandas as pd

    if form == "%Y%m":  # pandas reads one digit of the month, too
        text = text.where(text.str.fullmatch(r"\d{6}"), "")
    if "%p" in form:
        text = text.str.replace(r"([AaPp])\.[Mm]\.", r"\1M", regex=True)
    times = pd.to_datetime(text, format=form, errors="coerce", utc="%z" in form or None)
    return days_of(times.dt.tz_localize(None) if times.dt.tz is not None else times)


def days_of(times):
    micro = times.to_numpy("datetime64[us]")  # nanoseconds would overflow in the year 2262
    return np.where(np.isnat(micro), np.nan, micro.astype(np.int64) / DAY)


def offset(zone):
    """The days that local time in a zone, such as +02:00, is ahead of UTC."""
    digits = zone.replace(":", "")
    if digits[0] not in "+-":
        return 0.0
    minutes = int(digits[1:3]) * 60 + int(digits[3:5])
    return (-minutes if digits[0] == "-" else minutes) / 1440


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


def read_durations(text, kind):
    """Durations as days, [N]."""
    import pandas as pd

    fits = text.str.fullmatch(DURATIONS[kind].pattern).to_numpy(bool) & (text != "").to_numpy()
    text = text.where(fits, "")
    if kind == "h:mm":
        parts = text.str.extract(r"^(-?)(\d+):(\d+)(?::(\d+(?:\.\d+)?))?$")
        hours, minutes, seconds = (
            pd.to_numeric(parts[i], errors="coerce").to_numpy(float, na_value=np.nan)
            for i in (1, 2, 3)
        )
        found = hours / 24 + minutes / 1440 + np.nan_to_num(seconds) / 86_400
        return np.where(parts[0] == "-", -found, found)
    plain = text.str.replace(",", "", regex=False)
    times = pd.to_timedelta(plain.where(fits, None), errors="coerce")
    return times.dt.total_seconds().to_numpy(float) / 86_400


# Write


def texts(values, style, whole=False):
    """Days as cells in a style; dates without a time of day are rounded to whole days."""
    if "duration" in style:
        return [duration_text(value, style) for value in np.asarray(values, float).tolist()]
    form = style.get("clock") or style["date"]
    if "clock" in style:
        values = np.asarray(values, float) % 1
    timed = ("%H" in form or "%I" in form) and not whole
    days = values if timed else np.round(values)
    days = np.clip(days, *DAYS)
    if zone := style.get("zone"):
        form = form.replace("%z", zone)
    step = step_of(style) if timed else 1.0
    micro = np.round(np.round(days / step) * step * DAY).astype("datetime64[us]")
    if "clock" in style:  # 23:59:59.7 is not midnight of the next day
        micro = np.where(
            micro >= np.datetime64("1970-01-02"), micro - np.timedelta64(1, "D"), micro
        )
    return formatted(micro, form, style)


def formatted(micro, form, style):
    """Times [N] of microseconds in a format of strptime."""
    import pandas as pd

    times = pd.DatetimeIndex(micro)
    digits = style.get("digits", 6)
    if "%f" in form and digits != 6:
        before, after = form.split("%f")
        parts = (f"{int(part):06d}"[:digits].ljust(digits, "0") for part in times.microsecond)
        pairs = zip(times.strftime(before), parts, times.strftime(after), strict=True)
        found = ["".join(pair) for pair in pairs]
    else:
        found = list(times.strftime(form))
    if style.get("unpadded"):
        found = [re.sub(r"(?<![\d:.])0(?=\d(?![\d:]))", "", cell) for cell in found]
    if style.get("short_hour"):
        found = [re.sub(r"(?<![\d:.])0(?=\d:)", "", cell) for cell in found]
    return found


def step_of(style):
    """The step between two cells as they are written, in days."""
    if "duration" in style:
        return 10.0 ** -style.get("digits", 0) / 86_400
    if unit := style.get("epoch"):
        return 10.0 ** -(style.get("decimals") or 0) / (EPOCHS[unit] * 86_400)
    form = style.get("clock") or style["date"]
    if not ("%H" in form or "%I" in form):
        return 1.0 if "%d" in form else 31.0
    if "%f" in form:
        return 10.0 ** -style.get("digits", 6) / 86_400
    steps = (("%S", 1.0), ("%M", 60.0))
    return next((step for mark, step in steps if mark in form), 3600.0) / 86_400


def duration_text(days, style):
    """A duration in the form of its column."""
    digits, kind = style.get("digits", 0), style["duration"]
    seconds = round(abs(days) * 86_400, digits)
    sign = "-" if days < 0 and seconds else ""
    whole = int(seconds)
    part = f"{seconds - whole:.{digits}f}"[1:] if digits else ""
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    if kind == "h:mm":
        tail = f":{second:02d}{part}" if style.get("seconds", True) else ""
        return f"{sign}{hours}:{minute:02d}{tail}"
    day, hour = divmod(hours, 24)
    if kind == "days":
        return f"{sign}{day} days {hour:02d}:{minute:02d}:{second:02d}{part}"
    if kind == "iso":
        date = f"{day}D" if day else ""
        time = (f"{hour}H" if hour else "") + (f"{minute}M" if minute else "")
        time += f"{second}{part}S" if second or part or not (date or time) else ""
        return f"{sign}P{date}" + (f"T{time}" if time else "")
    named = ((day, "d"), (hour, "h"), (minute, "m"))
    words = [f"{number}{unit}" for number, unit in named if number]
    words += [f"{second}{part}s"] if second or not words else []
    return " ".join(words)


MONTH_NAMES = {
    *MONTHS,
    *[
        "january",
        "february",
        "march",
        "april",
        "june",
        "july",
        "august",
        "september",
        "october",
        "november",
        "december",
    ],
}
WEEKDAY_NAMES = {
    *WEEKDAYS,
    *(f"{day}day" for day in ["mon", "tues", "wednes", "thurs", "fri", "satur", "sun"]),
}
DURATIONS = {"days": DAYS_HMS, "h:mm": HMS, "iso": ISO, "units": UNITS}
MOMENT_KEYS = {"date", "clock", "duration", "epoch"}
