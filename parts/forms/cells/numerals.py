"""Numbers as people write them: signs, currencies, units, thousands, percent, limits.

A style is a dict; its keys, each with a default:
    prefix, suffix   what stands before and behind, with blanks: "USD ", " kg"
    thousands, decimal, grouping ("indian")
    decimals         digits behind the decimal mark; None: as many as there are
    plus             positive numbers have a sign
    minus            how negative numbers are written where that is not -1: "(1)", "1-", or a sign
    inside           the sign stands behind the prefix: $-1
    grouped          False: thousands are read, but mostly not written
    factors          the suffixes k, M, ... multiply; a dict of suffix -> factor
    always           every number has one of these suffixes
"""

import re
from typing import NamedTuple

import numpy as np

from parts.forms.cells.marks import plain_numbers, trimmed

MAX_DECIMALS = 12  # most decimals of a style; with more a float's shortest text is written
LONGEST = 64  # letters of a cell that may be a number
MINUS = "-\u2212\u2013\u2010\uff0d\ufe63"  # the hyphen, the minus sign, and what stands for them
PLUS = "+\uff0b"
SPACES = " \u00a0\u202f\u2009"  # which may separate thousands: three of them do not break a line
CURRENCIES = (
    *("USD", "EUR", "GBP", "JPY", "CHF", "CNY", "INR", "AUD", "CAD", "NZD", "SEK", "NOK", "DKK"),
    *("PLN", "CZK", "HUF", "RON", "BRL", "MXN", "ZAR", "KRW", "SGD", "HKD", "TRY", "RUB", "THB"),
    *("US$", "A$", "C$", "R$", "HK$", "Rs.", "Rs", "Fr.", "SFr.", "kr", "CA$", "AU$", "zł"),
    *"$€£¥₹₩₽₺₴₫฿¢",
)
PREFIX = "|".join(map(re.escape, sorted((*CURRENCIES, "~", "≈", "ca."), key=len, reverse=True)))
# A unit begins with no digit, holds no blank but between words, and may hold digits, as m2 does.
SUFFIX = r"(?:[^\W\d]|[%‰°º$€£¥₹₩₽₺₴₫฿¢µ×/^\"'])[^\s()<>=,;]{0,11}(?: [^\W\d][^\s\d()<>=,;]{0,7})?"
FACTORS = {"k": 1e3, "K": 1e3, "M": 1e6, "Mio": 1e6, "mn": 1e6, "B": 1e9, "bn": 1e9, "G": 1e9}
LIMITS = {"<": -1, "≤": -1, "<=": -1, ">": 1, "≥": 1, ">=": 1}
NUMERAL = re.compile(
    rf"(?P<limit>[<>]=?|[≤≥])?\s*(?P<open>\()?\s*(?P<sign>[{MINUS}{PLUS}])?\s*"
    rf"(?P<prefix>(?:{PREFIX})\s*)?(?P<inside>[{MINUS}{PLUS}])?\s*"
    rf"(?P<body>\d(?:[\d.,'’{SPACES}]*\d)?[.,]?|[.,]\d+)(?P<exponent>[eE][+-]?\d+)?"
    rf"(?P<suffix>\s*(?:{SUFFIX}))?(?P<trail>[{MINUS}])?(?P<close>\))?"
)
SEPARATORS = (  # (thousands, decimal, grouping), the plainest first
    *(("", ".", ""), (",", ".", ""), ("", ",", ""), (".", ",", ""), ("'", ".", "")),
    *(("’", ".", ""), ("'", ",", ""), (",", ".", "indian")),
    *((space, decimal, "") for space in SPACES for decimal in ".,"),
)
POINTS = (".", ",", "")  # points separate thousands, see `are_thousands`


class Numerals(NamedTuple):
    """Cells read in a style: values [N], NaN where a cell is no number; sides [N].

    A side is -1 where the cell says that the number lies below its value, as <0.5 does, 1 where it
    lies above, and 0 where the value is the number.
    """

    values: np.ndarray
    sides: np.ndarray


# Infer


def candidates(sample, weights, commas=False):
    """Yield styles that may fit the distinct cells `sample`, whose `weights` sum to 1.

    `commas` says that other columns of the file have decimal commas.
    """
    found = [NUMERAL.fullmatch(cell) if len(cell) <= LONGEST else None for cell in sample]
    matched = [(match, w) for match, w in zip(found, weights, strict=True) if match]
    if not matched:
        return
    affixes = affixes_of(matched)
    # Read at all with this affix: else the separators would be those of other columns' cells.
    suffix = affixes.get("suffix", "").strip()
    bodies = [
        (match["body"], weight)
        for match, weight in matched
        if same_unit((match["suffix"] or "").strip(), suffix) or "factors" in affixes
    ]
    bodies = bodies or [(match["body"], weight) for match, weight in matched]
    shares = {marks: share_read(bodies, *marks) for marks in SEPARATORS}
    most = max(shares.values())
    if most == 0:
        return
    best = next(marks for marks in SEPARATORS if shares[marks] >= most - 1e-12)
    if best == SEPARATORS[0] and (commas or are_thousands(bodies)) and points_group(bodies):
        best = POINTS
    thousands, decimal, grouping = best
    style = dict(affixes)
    if best != SEPARATORS[0]:
        style |= {"thousands": thousands, "decimal": decimal}
    if grouping:
        style["grouping"] = grouping
    yield style


def affixes_of(matched):
    """The prefix, suffix and signs that most of the matched cells have, as part of a style."""
    style = {}
    if prefix := most_common([(m["prefix"] or "", w) for m, w in matched if m["prefix"]]):
        style["prefix"] = prefix
    suffixes = [(m["suffix"] or "", w) for m, w in matched if m["suffix"]]
    units = {suffix.strip() for suffix, _ in suffixes}
    if units and units <= set(FACTORS):
        style["factors"] = {unit: FACTORS[unit] for unit in sorted(units)}
        gap = most_common(suffixes)
        style["suffix"] = gap[: len(gap) - len(gap.lstrip())]
        if all(m["suffix"] for m, _ in matched):
            style["always"] = True
    elif suffixes:
        style["suffix"] = most_common(suffixes)
    negative = [(minus_of(m), w) for m, w in matched if minus_of(m)]
    if negative and (minus := most_common(negative)) != "-":
        style["minus"] = minus
    if any(m["prefix"] and m["inside"] for m, _ in matched):
        style["inside"] = True
    if any((m["sign"] or "") in PLUS and m["sign"] for m, _ in matched):
        style["plus"] = True
    return style


def minus_of(match):
    """How a matched cell is negative: "(", "1-", or its sign; "" if it is not."""
    if match["open"] and match["close"]:
        return "(1)"
    if match["trail"]:
        return "1-"
    sign = match["sign"] or match["inside"] or ""
    return sign if sign and sign in MINUS else ""


def most_common(pairs):
    """The value with the largest weight among pairs of value and weight; "" without any."""
    totals = {}
    for value, weight in pairs:
        totals[value] = totals.get(value, 0.0) + weight
    return max(totals, key=totals.get, default="")


def same_unit(one, other):
    """Whether two units differ in nothing but case and a plural's s; none agrees with any."""
    return not one or one.lower().rstrip("s.") == other.lower().rstrip("s.")


def share_read(bodies, thousands, decimal, grouping=""):
    """The weight of the bodies of numbers that these separators read."""
    fits = re.compile(body_pattern(thousands, decimal, grouping)).fullmatch
    return sum(weight for body, weight in bodies if fits(body))


def body_pattern(thousands, decimal, grouping=""):
    """A regular expression for the digits of a number with these separators."""
    mark, point = re.escape(thousands), re.escape(decimal)
    whole = r"\d+"
    if thousands:
        groups = rf"\d{{1,3}}(?:{mark}\d{{3}})+"
        if grouping == "indian":
            groups = rf"\d{{1,2}}(?:{mark}\d{{2}})*{mark}\d{{3}}"
        whole = rf"(?:{groups}|\d+)"
    return rf"(?:{whole}(?:{point}\d*)?|{point}\d+)"


def points_group(bodies):
    """Whether every point has three digits behind it, as one that separates thousands has."""
    with_point = [body for body, _ in bodies if "." in body]
    grouped_by_points = re.compile(r"[1-9]\d{0,2}(?:\.\d{3})+").fullmatch
    return bool(with_point) and all(map(grouped_by_points, with_point))


def are_thousands(bodies):
    """Whether points separate thousands, although each could be a decimal point.

    So they do where some of the digits behind them end in 0, and numbers below 1000 have no point:
    nobody who writes 2.000 for two writes 479 for 479.000.
    """
    whole = [body for body, _ in bodies if "." not in body]
    ends_in_zero = any("." in body and body.endswith("0") for body, _ in bodies)
    return bool(whole) and ends_in_zero and all(len(body) <= 3 for body in whole)


def completed(style, sample):
    """The style with the number of decimals of the cells of a sample, and how thousands stand."""
    matched = [m for m in map(NUMERAL.fullmatch, sample) if m]
    if any(m["exponent"] for m in matched):
        return style | {"decimals": None}
    point = style.get("decimal", ".")
    most = max((len(m["body"].partition(point)[2]) for m in matched), default=0)
    style = style | {"decimals": most if most <= MAX_DECIMALS else None}
    if mark := style.get("thousands"):
        large = [m["body"].partition(point)[0] for m in matched]
        large = [whole for whole in large if sum(map(str.isdigit, whole)) > 3]
        if sum(mark not in whole for whole in large) > len(large) / 2:
            style["grouped"] = False
    return style


# Read


def read(series, style):
    """The Numerals of a column of text in a style."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = trimmed(series)
    values = np.full(len(text), np.nan)
    sides = np.zeros(len(text), np.int8)
    left = pc.not_equal(text, "")
    if style.get("decimal", ".") == ".":  # the plain numbers, which are most, without the rest
        values = plain_numbers(text).copy()
    left = left.to_numpy(zero_copy_only=False) & np.isnan(values)
    at = np.flatnonzero(left)
    if len(at):
        values[at], sides[at] = read_styled(text.take(pa.array(at)), style)
    values[~np.isfinite(values)] = np.nan
    return Numerals(values, np.where(np.isnan(values), 0, sides))


def read_styled(text, style):
    """Values and sides [N] of an Arrow array of cells by the regular expression of the style."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = pc.extract_regex(text, pattern(style))

    def part(name):
        return pc.fill_null(pc.struct_field(parts, name), "")

    body, point = part("body"), style.get("decimal", ".")
    if mark := style.get("thousands"):
        body = pc.replace_substring(body, mark, "")
    if point != ".":
        body = pc.replace_substring(body, point, ".")
    empty = pa.scalar("", text.type)
    body = pc.binary_join_element_wise(body, part("exponent"), empty)
    body = pc.if_else(pc.equal(body, empty), pa.scalar(None, text.type), body)
    values = pc.cast(body, pa.float64()).to_numpy(zero_copy_only=False).copy()
    signs = [part(name) for name in ("sign", "inside", "open", "trail")]
    negative = pc.match_substring_regex(pc.binary_join_element_wise(*signs, empty), f"[{MINUS}(]")
    values[negative.to_numpy(zero_copy_only=False)] *= -1
    if factors := style.get("factors"):
        unit = part("suffix").to_pylist()
        values *= np.array([factors.get(one, 1.0) for one in unit])
    limit = part("limit").to_pylist()
    return values, np.array([LIMITS.get(one, 0) for one in limit], np.int8)


def pattern(style):
    """The regular expression of cells in a style, with the groups of NUMERAL; linear in RE2."""
    prefix = style.get("prefix", "").strip()
    unit = style.get("suffix", "").strip()
    if factors := style.get("factors"):
        suffix = "|".join(map(re.escape, sorted(factors, key=len, reverse=True)))
    else:
        suffix = f"(?i:{re.escape(unit.rstrip('s'))}s?)" if unit else ""
    separators = style.get("thousands", ""), style.get("decimal", "."), style.get("grouping", "")
    body = body_pattern(*separators)
    return (
        rf"^(?P<limit>[<>]=?|[≤≥])?\s*(?P<open>\()?\s*(?P<sign>[{MINUS}{PLUS}])?\s*"
        rf"(?:{re.escape(prefix)})?\s*(?P<inside>[{MINUS}{PLUS}])?\s*"
        rf"(?P<body>{body})(?P<exponent>[eE][+-]?\d+)?\s*(?P<suffix>{suffix})?(?P<trail>[{MINUS}])?"
        r"\)?$"
    )


# Write


def texts(values, style, exact=False):
    """Numbers as cells in a style; without a number of decimals cells get the seven digits of a
    float32, or with `exact` all digits.
    """
    return [text(value, style, exact) for value in np.asarray(values, np.float64).tolist()]


def text(value, style, exact):
    unit = style.get("suffix", "")
    if factors := style.get("factors"):
        fitting = [name for name, factor in factors.items() if abs(value) >= factor]
        smallest = min(factors, key=factors.get) if style.get("always") else ""
        name = max(fitting, key=factors.get, default=smallest)
        value, unit = value / factors.get(name, 1.0), unit + name if name else ""
    decimals = style.get("decimals")
    if decimals is None:
        digits = repr(abs(value)).removesuffix(".0") if exact else f"{abs(value):.7g}"
    else:
        digits = f"{abs(value):.{decimals}f}"
    is_zero = float(digits) == 0
    whole, point, rest = digits.partition(".")
    if mark := style.get("thousands") if style.get("grouped", True) else "":
        whole = grouped(whole, mark, style.get("grouping") == "indian")
    digits = whole + (style.get("decimal", ".") if point else "") + rest
    prefix, minus = style.get("prefix", ""), style.get("minus", "-")
    if value >= 0 or is_zero:
        sign = "+" if style.get("plus") and not is_zero else ""
        before = f"{prefix}{sign}" if style.get("inside") else f"{sign}{prefix}"
        return f"{before}{digits}{unit}"
    if minus == "(1)":
        return f"({prefix}{digits}{unit})"
    if minus == "1-":
        return f"{prefix}{digits}{unit}-"
    before = f"{prefix}{minus}" if style.get("inside") else f"{minus}{prefix}"
    return f"{before}{digits}{unit}"


def grouped(digits, mark, indian=False):
    """The digits of a whole number in groups of three, or in India of two behind the first."""
    if not digits.isdigit():
        return digits
    head, last = digits[:-3], digits[-3:]
    size = 2 if indian else 3
    first = len(head) % size
    groups = [head[:first], *(head[i : i + size] for i in range(first, len(head), size)), last]
    return mark.join(group for group in groups if group)
