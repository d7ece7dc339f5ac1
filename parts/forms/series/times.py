"""The clock of a series: which columns hold its stamps, how they are read, and how written.

A *part* is what a column tells: stamp (a date, with or without a time, or an epoch), clock (a time
of day), duration, number (without a unit), or Y, q, m, d, j (day of the year), H, k
(hours from 1 to 24), M, S of a stamp in several columns. D are days without a year.
N rows; seconds count from 1970, in UTC where stamps have a zone.
"""

import itertools
import re
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from parts.errors import UserError
from parts.forms import cells
from parts.forms.cells import dates, moments
from parts.forms.cells.text import plain_numbers, trimmed
from parts.forms.series import steps
from parts.forms.tables import kinds

DAY = 86_400.0
LARGEST_JUMP = 3600.0  # seconds that a time of day may jump back without a new day
DATED = {"stamp", "Y"}
SIZES = {"D": DAY, "H": 3600.0, "k": 3600.0, "M": 60.0, "S": 1.0}
FINER = {"clock", "duration", "H", "k", "M", "S"}  # parts behind a day
ORDER = ("Y", "m", "d", "H", "M", "S")
NAMES = {
    "Y": r"y|yr|yyyy|years?|jahr|ann[ée]e|a[nñ]o|anno",
    "m": r"mo|mon|mm|months?|monat|mois|mes|mese",
    "q": r"q|qtr|quarter|quartal|trimestr?e?",
    "d": r"d|dd|days?|dom|mday|day_?of_?month|tag|jour|d[ií]a|giorno",
    "j": r"doy|yday|day_?of_?year|julian(_day)?|jday",
    "H": r"h|hh|hr|hrs|hours?|stunde|heure|hora|ora",
    "M": r"mi|mins?|minutes?|minuto",
    "S": r"s|ss|secs?|seconds?|sekunde",
}
RANGES = {"Y": (1000, 3000), "m": (1, 12), "d": (1, 31), "j": (1, 366), "H": (0, 24)}
RANGES |= {"q": (1, 4), "D": (0, 1_000_000), "k": (1, 24), "M": (0, 59), "S": (0, 60)}
SOME_YEAR = " 2000"  # behind the name of a month, which then is a date
N_SHOWN, N_LETTERS = 3, 30  # cells in a message, and letters of one


@dataclass(frozen=True)
class Clock:
    """The time columns of a series by name, with their parts and the styles of their cells."""

    names: list
    parts: list
    styles: list = field(default_factory=list)

    def to_dict(self):
        return dict(vars(self))

    @property
    def calendar(self):
        """Whether stamps are dates."""
        return not DATED.isdisjoint(self.parts)

    @property
    def timed(self):
        """Whether stamps are measured in seconds, and no plain numbers."""
        return self.parts != ["number"]

    @property
    def periods(self):
        """The periods of the calendar that stamps can tell, a list of names."""
        if self.calendar:
            return ["day", "week", "year"]
        return ["day"] if "clock" in self.parts or "D" in self.parts else []

    @property
    def zone(self):
        """The offset that most stamps have, as the file writes it; "" without one."""
        return next((style["zone"] for style in self.styles if "zone" in style), "")

    def read(self, frame, groups=None):
        """The stamps of a DataFrame in seconds, float64 [N], NaN where a cell cannot be read.

        Times without a date go on over midnight: a day is added where they jump back within a
        group, `groups` [N], in the order of the file.
        """
        total, gone = np.zeros(len(frame)), np.zeros(len(frame), bool)
        dated = {}  # the numbers of dates
        for name, part, style in zip(self.names, self.parts, self.styles, strict=True):
            values = read_part(frame[name], part, style)
            gone |= np.isnan(values)
            if part == "q":
                dated["m"] = 3 * values - 2
            elif part in ("Y", "m", "d", "j"):
                dated[part] = values
            else:
                total += values
        if dated:
            behind = dated.pop("j", 1.0) - 1.0
            total += (dates.days_of(dated) + behind) * DAY
        total[gone] = np.nan
        if self.calendar:  # there is no such date
            total[(total < moments.DAYS[0] * DAY) | (total > moments.DAYS[1] * DAY)] = np.nan
        return unrolled(total, groups) if self.parts == ["clock"] else total

    def write(self, seconds):
        """Stamps as cells in the way of the file: a dict of name -> list of text.

        Times of day lose their day, and stamps in UTC get the offset of most of the file's.
        """
        local = np.asarray(seconds, np.float64)
        local = local + dates.offset(self.zone) * DAY if self.zone else local
        if "k" in self.parts:  # midnight is the hour 24 of the day before
            local = local - 1
        split = not FINER.isdisjoint(self.parts)
        found = {}
        for name, part, style in zip(self.names, self.parts, self.styles, strict=True):
            found[name] = write_part(local, part, style, split and len(self.names) > 1)
        return found


def read_part(series, part, style):
    """What the cells of a column add to stamps: seconds, or numbers of dates, float64 [N]."""
    if part == "m" and "date" in style:
        series = named_months(series)
    values = cells.numbers(series, style)
    if part == "m" and "date" in style:
        months = np.full(len(values), np.nan)
        known = ~np.isnan(values)
        months[known] = steps.months_of(values[known] * DAY) % 12 + 1
        return months
    if part == "clock":
        values = values % 1
    if part in ("stamp", "clock", "duration"):
        zone = dates.offset(style["zone"]) if "zone" in style else 0.0
        return np.round((values - zone) * DAY, 6)
    if part in RANGES:
        low, high = RANGES[part]
        usual = (values >= low) & (values <= high) & ((values == np.floor(values)) | (part == "S"))
        values = np.where(usual, values, np.nan)
    return values * SIZES.get(part, 1.0)


def write_part(local, part, style, split):
    """The cells of one column for stamps in local time; `split`: another one tells the hours."""
    days = local / DAY
    if part in ("stamp", "clock", "duration"):
        days = np.floor(days) if part == "stamp" and split else days
        return cells.texts(days, style, exact=True)
    if part == "number":
        return cells.texts(local, style, exact=True)
    whole = np.floor(days + 1e-12)
    day = whole.astype(np.int64).astype("datetime64[D]")
    if part == "m" and "date" in style:
        return [text.removesuffix(SOME_YEAR) for text in cells.texts(leap(day), style)]
    month = day.astype("datetime64[M]")
    since_midnight = np.round(local - whole * DAY, 6)
    values = {
        "Y": lambda: dates.years_of(whole),
        "q": lambda: month.astype(int) % 12 // 3 + 1,
        "m": lambda: month.astype(int) % 12 + 1,
        "d": lambda: (day - month).astype(int) + 1,
        "j": lambda: (day - day.astype("datetime64[Y]").astype("datetime64[D]")).astype(int) + 1,
        "D": lambda: whole,
        "H": lambda: since_midnight // 3600,
        "k": lambda: since_midnight // 3600 + 1,
        "M": lambda: since_midnight // 60 % 60,
        "S": lambda: since_midnight % 60,
    }[part]()
    width = style.get("width", 0)
    return [text.zfill(width) for text in cells.texts(values, style, exact=True)]


def named_months(series):
    """Names of months as dates in the year 2000."""
    return series.astype("str").str.strip() + SOME_YEAR


def leap(day):
    """Days as the first of their month in the year 2000, in days since 1970."""
    month = day.astype("datetime64[M]").astype(int) % 12
    return (month + 360).astype("datetime64[M]").astype("datetime64[D]").astype(float)


def unrolled(seconds, groups=None):
    """Times of day [N] with a day more from each jump back within a group on."""
    known = np.flatnonzero(~np.isnan(seconds))
    group = np.zeros(len(known), np.int64) if groups is None else np.asarray(groups)[known]
    order = known[np.argsort(group, kind="stable")]
    owner = np.sort(group)
    same = np.diff(owner, prepend=owner[:1] - 1) == 0
    back = same & (np.diff(seconds[order], prepend=0.0) < -LARGEST_JUMP)
    days = np.cumsum(back)
    first = np.flatnonzero(~same)
    days -= np.repeat(days[first], np.diff(np.append(first, len(order))))
    found = seconds.copy()
    found[order] += days * DAY
    return found


# The clock of given columns


def given(frame, names, groups=None):
    """The Clock of the columns that a user names; UserError where most cells cannot be read."""
    for name in names:
        if name not in frame:
            shown = ", ".join(map(str, frame.columns[:20]))
            raise UserError(f"no column is named {name!r}, they are {shown}")
    if len(set(names)) < len(names):
        raise UserError(f"the time columns {', '.join(names)} name one twice")
    hints = kinds.hints_of(frame, dict.fromkeys(frame.columns))
    parts, styles = [], []
    for i, name in enumerate(names):
        part, style = part_of(frame[name], str(name), hints, i, parts, len(names) > 1)
        if part is None:
            raise UserError(unreadable([name], frame))
        parts.append(part)
        styles.append(style)
    clock = Clock(list(names), parts, styles)
    if not clock.calendar and not {"m", "q"}.isdisjoint(parts):
        raise UserError(f"the time columns {', '.join(names)} hold months without a year")
    if not clock.calendar:  # days without a year are counted
        clock = Clock(clock.names, ["D" if p in "dj" else p for p in parts], styles)
    seconds = clock.read(frame, groups)
    there = ~np.any([cells.missing(frame[name]) for name in names], axis=0)
    if np.isnan(seconds[there]).sum() > (1 - cells.AT_LEAST) * max(there.sum(), 1):
        raise UserError(unreadable(names, frame[there & np.isnan(seconds)]))
    return clock


def unreadable(names, frame):
    """The message for time columns most of whose cells cannot be read."""
    shown = frame[list(names)][~cells.missing(frame[names[0]])].astype("str").drop_duplicates()
    shown = [" ".join(row)[:N_LETTERS] for row in shown.head(N_SHOWN).itertuples(index=False)]
    words = ", ".join(map(repr, shown)) or "no cell"
    columns = f"column{'s' * (len(names) > 1)} {', '.join(map(repr, names))}"
    return (
        f"{columns} cannot be read as times: {words}; expected dates, times of day, seconds since "
        "1970, or numbers of steps"
    )


def part_of(series, name, hints, i, before, several):
    """The part that a column is and the style of its cells, (None, {}) if it cannot be read.

    `before` are the parts of the columns named before it, of which it is number `i`.
    """
    part = named_part(name)
    reading = cells.reading_of(series, name, hints=hints)
    if part == "m" and (reading is None or reading.share < cells.AT_LEAST):
        months = cells.reading_of(named_months(series), hints=hints)
        if months is not None and months.style.get("date") in ("%b %Y", "%B %Y"):
            return "m", months.style
    if reading is None or reading.share < cells.AT_LEAST:
        return None, {}
    style = {key: value for key, value in reading.style.items() if key != "cut"}
    for kind, key in (("stamp", "date"), ("stamp", "epoch"), ("clock", "clock")):
        if key in style:
            return kind, style
    if "duration" in style:
        return "duration", style
    known = reading.values[~np.isnan(reading.values)]
    if not several:
        return ("Y" if part == "Y" and fits("Y", known) else "number"), style
    if part == "d" and not fits("d", known):  # days of a year, or days since the start
        part = "j" if "Y" in before else "D"
    if part is None or part in before or not fits(part, known):
        left = [p for p in ORDER if p not in before and ("stamp" not in before or p in "HMS")]
        if i < len(ORDER) and "stamp" not in before and ORDER[i] in left:
            left = [ORDER[i], *left]
        part = next((p for p in left if fits(p, known)), None)
    if part is None:
        return None, {}
    if part == "H" and known.max() == 24 and known.min() > 0:
        part = "k"
    if cells.is_text(series):
        text = series.str.strip()
        if text.str.fullmatch(r"0\d").any():
            style = style | {"width": 2}
    return part, style


def named_part(name):
    """The part that the name of a column tells, None if none."""
    for part, pattern in NAMES.items():
        if re.fullmatch(pattern, name.strip(), re.IGNORECASE):
            return part
    return None


def telling_part(name):
    """The part that a name tells without a doubt: y may be anything."""
    return named_part(name) if len(name.strip()) > 1 else None


def fits(part, values):
    """Whether numbers [n] may be those of a part of a stamp."""
    low, high = RANGES[part]
    inside = (values >= low) & (values <= high)
    return bool(len(values)) and bool(inside.mean() >= kinds.ALMOST)


# Groups


def groups_of(frame, names):
    """The group of each row [N] by columns, 0, 1, ..., in the order of the file, and their names.

    None and [] without columns. Rows in which a cell is missing form a group of their own.
    """
    if not names:
        return None, []
    for name in names:
        if name not in frame:
            shown = ", ".join(map(str, frame.columns[:20]))
            raise UserError(f"no column is named {name!r}, they are {shown}")
    import pandas as pd

    columns = [frame[name].astype("str").str.strip() for name in names]
    text = columns[0] if len(columns) == 1 else cells.joined(columns)
    codes, labels = pd.factorize(text)
    return codes.astype(np.int64), [label.replace("\x1f", ", ") for label in labels]


# Find the clock of a plain case

N_GLANCED = 50  # rows that tell whether a column may hold stamps at all
SMALLEST_STAMP = 100_000  # a month such as 202401 and seconds since 1970 are larger
N_JUDGED = 1000  # rows from which it is told which columns may be stamps or groups
N_COMPARED = 5000  # rows of which numbers are compared with those of the row before
FEWEST_ROWS = 96  # of most groups: three windows
EQUAL = 0.01  # share of rows that may have the stamp of another one
# Share of differences that are one step, where it is below a day, and for the days of diaries and
# orders.
SAME_STEP, SAME_DAYS, SHORT_OF_A_DAY = 0.5, 0.7, 0.9 * DAY
DEPENDS = 0.25  # correlation of ranks between a row and the one before
MOST_GROUP_COLUMNS, MOST_NUMBER_COLUMNS = 8, 30
MOST_CANDIDATES = 4  # time columns, or several together, that are tried
MEASURED = 10  # different numbers of a column that is measured


class Found(NamedTuple):
    """A clock, the columns of groups, and a sentence on them."""

    clock: Clock
    groups: list
    words: str


def find(frame, groups=None):
    """The Found clock of a table that plainly is a series, else None.

    `groups` are the columns that the user names for them. The stamps of each group are unique and
    have one step, and some column of numbers depends on the row before.
    """
    if len(frame) < FEWEST_ROWS:
        return None
    head = frame.iloc[:N_JUDGED]
    for names in candidates(head)[:MOST_CANDIDATES]:
        try:
            clock = given(head, names)
            clock = clock if len(head) == len(frame) else given(frame, names)
        except UserError:
            continue
        if not clock.calendar:
            continue
        seconds = clock.read(frame)
        if np.isnan(seconds).mean() > 1 - cells.MOSTLY:
            continue
        for columns in group_columns(frame, names, seconds, groups):
            if columns and not may_be_unique(frame, seconds, columns):
                continue
            codes, labels = groups_of(frame, columns)
            step = plain_step(seconds, codes)
            if step is not None and depends(frame, [*names, *columns], seconds, codes):
                return Found(clock, list(columns), in_words(names, step, columns, labels))
    return None


def in_words(names, step, columns, labels):
    """The sentence on what was found."""
    words = f"a series: {', '.join(names)} rises in steps of {step}"
    if columns:
        words += f", in {len(labels)} groups by {', '.join(columns)}"
    return words


def candidates(head):
    """The time columns that the first rows of a table may have, lists of names, likeliest first."""
    parts = {}
    for name in head.columns:
        series = head[name]
        if not may_tell(series, str(name)):
            continue
        reading = cells.reading_of(series, str(name))
        if reading is None or reading.share < cells.MOSTLY:
            if telling_part(str(name)) == "m":
                parts[name] = "m"
            continue
        style = reading.style
        by_name = telling_part(str(name))
        known = reading.values[~np.isnan(reading.values)]
        if "date" in style or "epoch" in style:
            parts[name] = "stamp" if moments.step_of(style) < 1 else "date"
        elif "clock" in style:
            parts[name] = "clock"
        elif by_name is not None and not moments.is_moment(style) and fits(by_name, known):
            parts[name] = by_name
    first = {}
    for name, part in parts.items():
        first.setdefault(part, name)
    found = []
    for name, part in parts.items():
        if part == "stamp":
            found.append([name])
        elif part == "date":
            hours = next(([first[p]] for p in ("clock", "H") if p in first), [])
            if hours == [first.get("H")] and "M" in first:
                hours.append(first["M"])
            found += [[name, *hours]] if hours else []
            found.append([name])
        elif part == "Y" and first["Y"] == name:
            choices = (["m", "d"], ["j"], ["m"], ["q"], [])
            days = next(c for c in choices if all(p in first for p in c))
            hours = ["clock"] if "clock" in first else ["H", "M", "S"]
            has_days = "d" in days or "j" in days
            hours = list(itertools.takewhile(first.get, hours)) if has_days else []
            found.append([name, *(first[p] for p in [*days, *hours])])
    return found


def may_tell(series, name):
    """Whether a column may be one of stamps; plain numbers rarely are, and this is told fast."""
    if telling_part(name) is not None:
        return True
    if not cells.is_text(series):
        return bool((series >= SMALLEST_STAMP).any())
    if series.str.startswith(cells.NESTED).any():
        return False
    numbers = plain_numbers(trimmed(series.iloc[:N_GLANCED]))
    numbers = numbers[~np.isnan(numbers)]
    some = series.iloc[:N_GLANCED]
    n_seen = len(some) - int(cells.missing(some).sum())
    return len(numbers) < n_seen or bool((numbers >= SMALLEST_STAMP).any()) or not n_seen


def group_columns(frame, names, seconds, given_groups):
    """The columns by which stamps may be unique, lists of names, likeliest first."""
    if given_groups:
        return [list(given_groups)]
    if is_unique(seconds, None):
        return [[]]
    found = {}
    for name in frame.columns:
        series = frame[name]
        if name in names or not (cells.is_text(series) or series.dtype.kind in "iub"):
            continue
        n = series.nunique()
        if 2 <= n <= len(frame) / FEWEST_ROWS:
            # Names of things come first, then numbers of things, and then other numbers.
            found[name] = not of_things(series.iloc[:N_JUDGED], str(name)), n
    few = sorted(found, key=found.get)[:MOST_GROUP_COLUMNS]
    few = [name for name in few if not tells_time(frame[name].iloc[:N_JUDGED], str(name))]
    pairs = itertools.combinations(few, 2)
    return [c for c in itertools.chain(([n] for n in few), map(list, pairs))]


def of_things(series, name):
    """Whether a column holds words, or numbers under a name such as store or machine id."""
    if kinds.CODE.search(name) or kinds.IDENTIFIER.search(name):
        return True
    reading = cells.reading_of(series, name) if cells.is_text(series) else None
    return cells.is_text(series) and (reading is None or reading.share < cells.AT_LEAST)


def tells_time(series, name):
    """Whether a column holds dates, times or parts of them, and no names of groups."""
    reading = cells.reading_of(series, name)
    is_moment = reading is not None and reading.share >= cells.MOSTLY
    return telling_part(name) is not None or (is_moment and moments.is_moment(reading.style))


def may_be_unique(frame, seconds, columns):
    """Whether stamps are unique by columns among the first rows in time, which is told fast."""
    first = np.argpartition(seconds, min(N_COMPARED, len(seconds) - 1))[:N_COMPARED]
    return is_unique(seconds[first], groups_of(frame.iloc[first], columns)[0])


def is_unique(seconds, codes):
    """Whether hardly a row has the stamp of another row of its group."""
    known = ~np.isnan(seconds)
    seconds = seconds[known]
    group = np.zeros(len(seconds), np.int64) if codes is None else codes[known]
    order = np.lexsort((seconds, group))
    equal = (np.diff(seconds[order]) == 0) & (np.diff(group[order]) == 0)
    return equal.sum() <= EQUAL * len(seconds)


def plain_step(seconds, codes):
    """The Step of stamps that are unique and mostly lie one step apart, in long groups, or None."""
    if not is_unique(seconds, codes):
        return None
    known = ~np.isnan(seconds)
    sizes = np.array([known.sum()]) if codes is None else np.bincount(codes[known])
    if sizes[sizes >= FEWEST_ROWS].sum() < kinds.ALMOST * known.sum():
        return None
    gaps = steps.differences(seconds, codes)
    if not len(gaps):
        return None
    step = steps.step_of(seconds, codes)
    if step.months:
        month = steps.months_of(seconds[known]).astype(float)
        gaps = steps.differences(month, None if codes is None else codes[known])
        same = gaps == step.months
    else:
        same = np.abs(gaps / step.seconds - 1) <= steps.NEAR
    least = SAME_STEP if step.seconds < SHORT_OF_A_DAY else SAME_DAYS
    return step if step.regular and same.mean() >= least else None


def depends(frame, without, seconds, codes):
    """Whether a column of numbers depends on the row before, by the correlation of ranks.

    In a table of independent rows none does. Numbers that only rise, such as those of orders, and
    parts of dates do not count. A file of stamps and one column of numbers needs no such proof.
    """
    group = np.zeros(len(seconds), np.int64) if codes is None else codes
    order = np.lexsort((seconds, group))
    order = order[~np.isnan(seconds[order])][:N_COMPARED]
    same = np.diff(group[order]) == 0
    names = [n for n in frame.columns if n not in without and telling_part(str(n)) is None]
    for name in names[:MOST_NUMBER_COLUMNS]:
        series = frame[name].iloc[order]
        if cells.is_text(series) and series.str.startswith(cells.NESTED).any():
            continue
        reading = cells.reading_of(series, str(name))
        if reading is None or reading.share < cells.MOSTLY or moments.is_moment(reading.style):
            continue
        if kinds.WEEKDAY.search(str(name)):
            continue
        values = reading.values
        change = np.diff(values)[same]
        change = change[~np.isnan(change)]
        moves = change[change != 0]
        few = len(np.unique(values[~np.isnan(values)])) < MEASURED
        if len(names) == 1 and not few:
            return True
        if few or len(moves) < FEWEST_ROWS / 4 or (moves > 0).mean() in (0.0, 1.0):
            continue
        if rank_correlation(values[:-1][same], values[1:][same]) >= DEPENDS:
            return True
    return False


def rank_correlation(a, b):
    """The correlation of the ranks of two rows of numbers, NaN where one is not there."""
    both = ~(np.isnan(a) | np.isnan(b))
    ranks = [np.unique(v[both], return_inverse=True)[1].astype(float) for v in (a, b)]
    if both.sum() < FEWEST_ROWS / 2 or any(np.ptp(r) == 0 for r in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])
