"""Durations as people write them, as days. See moments.py for the styles of cells."""

import re

import numpy as np

from parts.forms.cells.text import as_flags, as_numbers, parts_of

# The regular expressions of their forms, in Python and in RE2, the plainest first.
HOUR, MINUTE = "(?P<H>[0-9]{1,2})", "(?P<M>[0-5][0-9])"
SECOND = r"(?P<S>[0-5][0-9](?:\.[0-9]{1,9})?)"
DURATIONS = {
    "h:mm": rf"(?P<sign>-)?(?P<H>[0-9]{{1,5}}):{MINUTE}(?::{SECOND})?",
    # Laps: seconds have a fraction, and there are no hours.
    "m:ss": r"(?P<sign>-)?(?:(?P<M>[0-9]{1,5}):)?(?P<S>[0-9]{1,2}\.[0-9]{1,9})",
    # Of pandas and of Python. Only the days are negative: -1 days +23:59:50 are -10 seconds.
    "days": rf"(?P<minus>-)?(?P<D>[0-9]{{1,6}}) days? \+?{HOUR}:{MINUTE}:{SECOND}",
    "python": rf"(?:(?P<minus>-)?(?P<D>[0-9]{{1,6}}) days?, )?{HOUR}:{MINUTE}:{SECOND}",
    "iso": r"(?P<sign>-)?P(?:(?P<D>[0-9]{1,6})D)?(?:T(?:(?P<H>[0-9]{1,6})H)?"
    r"(?:(?P<M>[0-9]{1,6})M)?(?:(?P<S>[0-9]{1,6}(?:\.[0-9]{1,9})?)S)?)?",
    "words": r"(?P<sign>-)?(?:(?P<D>[0-9]{1,6}) ?d(?:ays?)?,? ?)?"
    r"(?:(?P<H>[0-9]{1,6}) ?h(?:(?:ou)?rs?)?,? ?)?"
    r"(?:(?P<M>[0-9]{1,6}) ?m(?:in(?:ute)?s?)?,? ?)?"
    r"(?:(?P<S>[0-9]{1,6}(?:\.[0-9]{1,9})?) ?s(?:ec(?:ond)?s?)?)?",
}
SECONDS = {"D": 86_400, "H": 3_600, "M": 60, "S": 1}  # in the parts of a duration


def styles(pairs):
    """The style of durations that fits most of the pairs of cell and weight, in a list."""
    shares = {}
    for name, pattern in DURATIONS.items():
        fits = re.compile(pattern).fullmatch
        shares[name] = sum(weight for cell, weight in pairs if fits(cell))
    best = max(shares, key=shares.get)
    return [{"duration": best}] if shares[best] else []


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


def read(text, kind):
    """Cells of an Arrow array in a form of DURATIONS as days, [N], NaN for what is none."""
    parts, _ = parts_of(text, DURATIONS[kind])
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


def step_of(style):
    """The step between two durations as they are written, in seconds."""
    smallest = min(SECONDS[unit] for unit in style.get("words", "S"))
    if style.get("seconds") is False:
        return 60
    return 10.0 ** -style.get("digits", 0) if smallest == 1 else smallest


def text_of(days, style):
    """A duration in the form of its column."""
    kind, digits = style["duration"], style.get("digits", 0)
    step = step_of(style)
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
        hour = f"{hours:02d}" if style.get("padded") else f"{hours}"
        tail = "" if style.get("seconds") is False else f":{second}"
        return f"{sign}{hour}:{minute:02d}{tail}"
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
