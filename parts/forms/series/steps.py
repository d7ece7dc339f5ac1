"""The step between two rows of a series: inferred, given by the user, and in words.

Seconds are those of a Clock, see times.py; without a calendar they are counts of its own unit.
N rows, S slots.
"""

import re
from dataclasses import dataclass

import numpy as np

from parts.errors import UserError

NEAR = 0.1  # part of a step by which a difference may miss a multiple of it
MOSTLY = 0.9  # share of differences near a multiple, from which a series is regular
MOST_CELLS = 20  # most slots for each row on a grid that is chosen for irregular stamps
FARTHEST = 2.0**53  # most slots from another one; a stamp beyond is a mistake
N_ROUNDS = 3  # in which a step is refined
DRIFT = 0.25  # part of a step that a series may drift from it in all
DAY, YEAR = 86_400.0, 365.2425 * 86_400
UNITS = {
    "ms": 1e-3,
    **dict.fromkeys(("s", "sec", "second"), 1.0),
    **dict.fromkeys(("min", "minute", "t"), 60.0),
    **dict.fromkeys(("h", "hr", "hour"), 3600.0),
    **dict.fromkeys(("d", "day"), DAY),
    **dict.fromkeys(("w", "week"), 7 * DAY),
}
MONTHS = {
    **dict.fromkeys(("mo", "month"), 1),
    **dict.fromkeys(("q", "quarter"), 3),
    **dict.fromkeys(("y", "yr", "year"), 12),
}
WORDS = {"year": YEAR, "day": DAY, "hour": 3600.0, "minute": 60.0, "second": 1.0}
NICE = [
    *(1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800),
    *(3600, 7200, 10_800, 21_600, 43_200, 86_400, 7 * 86_400),
]
GIVEN = re.compile(r"\s*(?P<number>\d+(?:\.\d+)?|\.\d+)?\s*(?P<unit>[A-Za-z]*)\s*")
SAME_DAY = 4 * DAY  # from most stamps, as the last working day of a month may be
LONG_MONTH = 27 * DAY  # from here on a step may be one of months


@dataclass(frozen=True)
class Step:
    """The time between two slots of a grid: seconds, or whole months, which differ in length.

    `timed` is False where stamps are plain numbers. Of steps of months, `offset` is how many
    seconds behind the first day of a month its stamps lie, or with `at_end` behind its last day.
    """

    seconds: float
    months: int = 0
    regular: bool = True
    timed: bool = True
    offset: float = 0.0
    at_end: bool = False

    @property
    def usual(self):
        """Its length in seconds; of months the mean length."""
        return self.seconds or YEAR / 12 * self.months

    def __str__(self):
        if self.months:
            n, unit = (self.months, "month") if self.months % 12 else (self.months // 12, "year")
            return f"{n} {unit}{'s' * (n != 1)}"
        return in_words(self.seconds, self.timed)

    def numbers(self, seconds, group):
        """The numbers of the slots of stamps, int64 [N], and what `times` needs of the groups.

        They count from a stamp of the same group, `group` [N], that lies as most of them do.
        """
        n_groups = int(group.max()) + 1
        if self.months:
            month = months_of(seconds)
            first = np.full(n_groups, np.iinfo(np.int64).max)
            np.minimum.at(first, group, month)
            return (month - first[group]) // self.months, first
        angle = 2 * np.pi * ((seconds % self.seconds) / self.seconds)
        sine, cosine = (np.bincount(group, f(angle), n_groups) for f in (np.sin, np.cos))
        usual = np.arctan2(sine, cosine)[group]
        away = np.abs((angle - usual + np.pi) % (2 * np.pi) - np.pi)
        least = np.full(n_groups, np.inf)
        np.minimum.at(least, group, away)
        origin = np.zeros(n_groups)
        nearest = np.flatnonzero(away == least[group])[::-1]  # the first of equals is set last
        origin[group[nearest]] = seconds[nearest]
        number = np.rint((seconds - origin[group]) / self.seconds)
        return np.clip(number, -FARTHEST, FARTHEST).astype(np.int64), origin

    def times(self, numbers, origin):
        """The seconds of slots by their numbers [S] and the `origin` of their groups [S]."""
        if not self.months:
            return origin + numbers * self.seconds
        month = origin + numbers * self.months
        start, end = (days_of_months(m) for m in (month, month + 1))
        if self.at_end:
            return (end - 1) * DAY + self.offset
        return np.minimum(start * DAY + self.offset, end * DAY - 1)


def months_of(seconds):
    """The month of each of some seconds since 1970, int64 [N], counted from January 1970."""
    days = np.floor(seconds / DAY).astype(np.int64).astype("datetime64[D]")
    return days.astype("datetime64[M]").astype(np.int64)


def days_of_months(month):
    """The first days of months [N], counted from 1970-01-01."""
    return month.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def differences(seconds, groups=None):
    """The positive differences of neighbouring stamps of a group, in any order, [n]."""
    known = np.isfinite(seconds)
    seconds = seconds[known]
    group = np.zeros(len(seconds), np.int64) if groups is None else groups[known]
    order = np.lexsort((seconds, group))
    gaps = np.diff(seconds[order])[np.diff(group[order]) == 0]
    return gaps[gaps > 0]


def is_near(gaps, step):
    """Whether each difference is near a multiple of a step, [n]."""
    parts = gaps / step
    return (parts > 1 - NEAR) & (np.abs(parts - np.rint(parts)) <= NEAR)


# Infer


def step_of(seconds, groups=None, calendar=True, timed=True):
    """The Step of stamps [N] in groups [N]: the median positive difference, where it is regular.

    Irregular stamps get a round step near that difference, so large that a grid has at most
    MOST_CELLS slots a row. `calendar` tells whether stamps have dates.
    """
    gaps = differences(seconds, groups)
    if not len(gaps):
        raise UserError("all stamps of the series are equal, or only one row has a stamp")
    middle = float(np.median(gaps))
    if calendar and middle >= LONG_MONTH:
        monthly = months_step(seconds, groups)
        if monthly is not None:
            return monthly
    if is_near(gaps, middle).mean() >= MOSTLY:
        return Step(refined(gaps, middle), timed=timed)
    return Step(irregular_step(gaps, middle, len(seconds), timed), regular=False, timed=timed)


def refined(gaps, middle):
    """The step of differences near multiples of `middle`: a round one where it fits, or their mean.

    Stamps in whole seconds, 60, 60, 61, ..., may have a step between them. A step fits where the
    whole series drifts from it by less than a part of a step.
    """
    mean = middle
    for _ in range(N_ROUNDS):
        near = np.abs(gaps / mean - np.rint(gaps / mean)) <= DRIFT
        counts = np.rint(gaps[near] / mean)
        mean = gaps[near].sum() / max(counts.sum(), 1)
    nearest = min(NICE, key=lambda step: abs(step - mean))
    rounded = [float(f"{mean:.{digits}g}") for digits in (1, 2, 3)]
    usual = [middle] if (gaps == middle).mean() > 0.5 else []
    for step in (*usual, nearest, *rounded):
        if abs(mean - step) * counts.sum() < DRIFT * step:
            return float(step)
    return float(mean)


def irregular_step(gaps, middle, n_rows, timed):
    """A round step for irregular differences, see `step_of`."""
    powers = 10.0 ** np.arange(-9, 19)
    decimal = np.multiply.outer(powers, [1, 2, 5]).ravel()
    steps = decimal
    if timed:
        steps = np.concatenate([decimal[decimal < 1], NICE, 7 * DAY * decimal[decimal > 1]])
    start = int(np.argmin(np.abs(np.log(steps / middle))))
    for step in steps[start:]:
        # A gap of more slots than this is not laid out, see grid.py.
        n_slots = np.minimum(gaps / step, MOST_CELLS * 10).sum()
        if n_slots <= MOST_CELLS * n_rows:
            break
    return float(step)


def months_step(seconds, groups):
    """The Step of stamps that lie whole months apart, or None."""
    known = np.isfinite(seconds)
    group = np.zeros(len(seconds), np.int64) if groups is None else groups
    month = months_of(seconds[known])
    gaps = differences(month.astype(float), group[known])
    if not len(gaps):
        return None
    n_months = int(np.median(gaps))
    start, end = (days_of_months(m) * DAY for m in (month, month + 1))
    behind_start, behind_end = seconds[known] - start, seconds[known] - (end - DAY)
    is_multiple = np.mean(gaps % n_months == 0) >= MOSTLY
    for behind, at_end in ((behind_end, True), (behind_start, False)):
        offset = float(np.median(behind))
        if is_multiple and np.mean(np.abs(behind - offset) <= SAME_DAY) >= MOSTLY:
            if at_end and offset < 0:
                continue
            return Step(n_months * YEAR / 12, months=n_months, offset=offset, at_end=at_end)
    return None


# Given by the user


def parse_step(text, calendar=True, timed=True):
    """The Step that a user gives, such as 5min, 1h, 30s, 1d, 3 months, or 15 seconds as 15.

    Without `timed` only a plain number has a meaning.
    """
    found = GIVEN.fullmatch(str(text))
    number, unit = (found["number"], found["unit"]) if found else (None, "")
    known = unit.lower() if unit.lower() in ("s", "ms") else unit.lower().removesuffix("s")
    size = float(number or 1) if found and (number or unit) else 0.0
    if known in MONTHS and calendar and size == int(size) and 1 <= size <= 1200:
        n_months = int(size) * MONTHS[known]
        return Step(n_months * YEAR / 12, months=n_months, timed=timed)
    if size > 0 and (not unit or (timed and known in UNITS)):
        seconds = size * UNITS.get(known, 1.0)
        if 1e-9 <= seconds <= 1e12:
            return Step(seconds, timed=timed)
    expected = "5min, 1h, 30s, 1d or 1month" if timed else "a number, as the stamps are numbers"
    raise UserError(f"{str(text)[:40]!r} is no step of time, expected {expected}")


def placed(step, seconds):
    """A Step of months as given, with the place of most stamps [N] within a month."""
    if not step.months:
        return step
    behind = seconds[np.isfinite(seconds)]
    behind = behind - days_of_months(months_of(behind)) * DAY
    usual = float(np.median(behind)) if len(behind) else 0.0
    return Step(step.seconds, step.months, offset=usual, timed=step.timed)


def n_slots(text, step, flag):
    """How many steps a length such as 24h, or a plain number of steps, has; at least 1. It was
    given by the `flag`.
    """
    plain = str(text).strip()
    if plain.isdigit() and int(plain):
        return int(plain)
    try:
        length = parse_step(text, timed=step.timed)
    except UserError:
        such = ", or a length such as 12h or 2d" if step.timed else ""
        raise UserError(
            f"{flag} {plain[:40]}: expected a number of steps of {step}{such}"
        ) from None
    return max(round(length.seconds / step.seconds), 1)


# Words


def in_words(seconds, timed=True):
    """A length of time in words, such as 40 minutes, or a plain number."""
    if not timed:
        return f"{seconds:.6g}"
    for unit, size in WORDS.items():
        if seconds >= (2 * size if unit == "year" else size) or unit == "second":
            number = f"{seconds / size:.3g}"
            return f"{number} {unit}{'s' * (number != '1')}"
    raise AssertionError
