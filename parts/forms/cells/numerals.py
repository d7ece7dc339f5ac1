"""Numbers as people write them: signs, currencies, units, thousands, percent, limits.

A style is a dict. {} is a number without anything around it; the keys are:
    prefix, suffix   the currency or unit before and behind, with its blank: "USD ", " kg"
    bare             True: they are read, but most cells are written without them
    powers           suffixes such as k and M that multiply, a dict of suffix -> power of ten
    always           True: every cell has one of these suffixes
    thousands, decimal, grouping ("indian")
    grouped          False: marks of thousands are read, but most cells are written without them
    either           True: points and commas are both decimal marks, and cells are written with most
    decimals         digits behind the decimal mark; None: as many as there are
    least            fewest digits there, where zeros at the end are left out: 5.01, 5.4, 5
    zero             how 0 is written, where it has no decimals and the others have
    minus            how negative numbers are written: a sign other than -, "(1)" or "1-"
    plus             True: positive numbers have a sign
    inside           True: the sign, or the parenthesis, stands behind the prefix: $-1
"""

import re
from typing import NamedTuple

import numpy as np

from parts.forms.cells.text import matches, plain_numbers

LONGEST = 64  # letters of a cell that may be a number
MAX_DECIMALS = 12  # most decimals of a style; with more a float's shortest text is written
MOST_HAVE = 0.5  # share of the numbers that have an affix from which all are written with it

# What stands around the digits

BLANKS = "[ \t\u00a0\u202f\u2009]*"
SPACES = " \u00a0\u202f\u2009"  # which may separate thousands
MINUS = "-\u2212\u2013\u2010\uff0d\ufe63"  # the hyphen, the minus sign, and what stands for them
PLUS = "+\uff0b"
LIMITS = {"<": -1, "≤": -1, "<=": -1, ">": 1, "≥": 1, ">=": 1}
# Suffixes that multiply, by their power of ten. House numbers such as 12B are no billions: a column
# has one of thousands or millions, or most of its cells have one.
POWERS = {"k": 3, "K": 3, "M": 6, "Mio": 6, "mn": 6, "B": 9, "bn": 9, "G": 9}
SURE_POWERS = {"k", "K", "M"}
CURRENCIES = (
    *("USD", "EUR", "GBP", "JPY", "CHF", "CNY", "INR", "AUD", "CAD", "NZD", "SEK", "NOK", "DKK"),
    *("PLN", "CZK", "HUF", "RON", "BRL", "MXN", "ZAR", "KRW", "SGD", "HKD", "TRY", "RUB", "THB"),
    *("US$", "A$", "C$", "R$", "HK$", "Rs.", "Rs", "Fr.", "SFr.", "kr", "CA$", "AU$", "zł"),
    *"$€£¥₹₩₽₺₴₫฿¢",
)
ABOUT = ("~", "≈", "ca.")
PREFIXES = "|".join(map(re.escape, sorted((*CURRENCIES, *ABOUT), key=len, reverse=True)))
# Units that a few cells of a column may have and the others not. Where most cells have it, any word
# is a unit.
KNOWN_UNITS = {
    *(text.lower().rstrip(".") for text in (*CURRENCIES, *ABOUT)),
    *("%", "‰", "°", "°c", "°f", "℃", "℉"),
    *("kg", "mg", "µg", "ug", "lb", "oz", "km", "cm", "mm", "mi", "ft", "in", "inch", "yd", "ha"),
    *(
        "ml",
        "dl",
        "cl",
        "km/h",
        "kmh",
        "mph",
        "m/s",
        "m2",
        "m²",
        "m3",
        "m³",
        "sqm",
        "sq ft",
        "sqft",
    ),
    *("ms", "sec", "second", "min", "minute", "hr", "hour", "day", "week", "month", "yr", "year"),
    *("mg/l", "mg/dl", "g/l", "g/dl", "mmol/l", "µmol/l", "ng/ml", "mmhg", "mm hg", "bpm", "kcal"),
    *("hz", "khz", "mhz", "ghz", "kw", "kwh", "mw", "mwh", "kb", "mb", "gb", "tb", "pc", "piece"),
}
# A unit is one word or two. It begins with a letter or one of these signs, and holds digits only as
# m2, s^-1 and x10^9 do, or as /5 does where marks are given; 5,- and 5/- are prices without cents.
SIGNS = "%‰°º℃℉$€£¥₹₩₽₺₴₫฿¢µ×·/^\"'′″"
UNIT_START = rf"(?:[^\W\d_]|[{SIGNS}])"
UNIT_REST = (
    rf"(?:[^\W\d]|[{SIGNS}.*]|-(?=[^\W\d])|(?<=[^\W\d_])[23](?!\d)|(?<=[x×*])10|\^-?\d{{1,2}}(?!\d))"
    + "{0,11}"
)
UNIT = (
    rf"(?:/(?:5|10|20|100)|/[-–—=]{{1,2}}|[.,][-–—]{{1,2}}(?: ?{UNIT_START}[^\W\d]{{0,2}})?|"
    rf"{UNIT_START}{UNIT_REST}(?: {UNIT_START}[^\s\d()<>=,;]{{0,7}})?)"
)
# Words behind numbers that are no units: 7th, 12 May, 5 pm, 2024Q2.
NO_UNIT = re.compile(
    r"(?:st|nd|rd|th|er|e|[ap]\.?m\.?|[qhwt][1-4]|"
    r"(?:jan|feb|mar|apr|may|jun|jul|aug|sept?|oct|nov|dec|mon|tue|wed|thu|fri|sat|sun|"
    r"january|february|march|april|june|july|august|september|october|november|december)\.?)"
    r"(?![^\W\d_])",
    re.IGNORECASE,
)
# Every way to write a number, to find out which one a column has. Linear in cells of LONGEST.
NUMERAL = re.compile(
    rf"(?P<limit>[<>]=?|[≤≥])?{BLANKS}(?:(?P<outer>(?:{PREFIXES}){BLANKS})?(?P<open>\())?{BLANKS}"
    rf"(?P<sign>[{MINUS}{PLUS}])?{BLANKS}(?P<prefix>(?:{PREFIXES}){BLANKS})?"
    rf"(?P<inside>[{MINUS}{PLUS}])?{BLANKS}"
    rf"(?P<body>\d(?:[\d.,'’{SPACES}]*\d)?(?:[.,](?![-–—]))?|[.,]\d+)(?P<exponent>[eE][+-]?\d+)?"
    rf"(?P<more>\+)?(?P<suffix>{BLANKS}{UNIT})?(?P<most>\+)?(?P<trail>[{MINUS}])?(?P<close>\))?"
)

# Separators of thousands and decimals and the grouping, the plainest first.
PLAIN, POINTS, COMMAS, COMMA = (
    ("", ".", ""),
    (".", ",", ""),
    (",", ".", ""),
    ("", ",", ""),
)
SEPARATORS = (
    *(PLAIN, COMMAS, COMMA, POINTS, ("'", ".", ""), ("’", ".", ""), ("'", ",", ""), ("’", ",", "")),
    (",", ".", "indian"),
    *((space, decimal, "") for space in SPACES for decimal in ".,"),
)


# A number with a point or a comma before its decimals, where no other number can be meant: three
# digits behind a single mark may be thousands. Of two marks the second stands before decimals.
EITHER = "either"
MOST_READ = 0.95  # share of cells that one decimal mark reads, beside which there is no other
EITHER_MARK = (
    r"(?:\d+|\d*[.,](?:\d{1,2}|\d{4,})|0?[.,]\d*|\d+[.,]|"
    r"[1-9]\d{0,2}(?:,\d{3})+\.\d*|[1-9]\d{0,2}(?:\.\d{3})+,\d*)"
)


class Numerals(NamedTuple):
    """Cells read in a style: values [N], NaN where a cell is no number; sides [N].

    A side is -1 where the cell says that the number lies below its value, as <0.5 does, 1 where it
    lies above, as >100 and 65+ do, and 0 where the value is the number.
    """

    values: np.ndarray
    sides: np.ndarray


# Infer


def style_of(sample, weights, commas=False):
    """The style that reads the most of the distinct cells `sample`; None if none reads any.

    The `weights` of the cells sum to 1. `commas` says that other columns have decimal commas.
    """
    found = [NUMERAL.fullmatch(cell) if len(cell) <= LONGEST else None for cell in sample]
    matched = [(match, w) for match, w in zip(found, weights, strict=True) if match]
    style = affixes_of(matched)
    # Cells with another unit do not tell how this one's numbers are separated.
    own = [(match, weight) for match, weight in matched if has_affixes(match, style)]
    bodies = [(match["body"], bool(match["exponent"]), weight) for match, weight in own]
    best = best_separators(bodies, commas or style.get("suffix", "").startswith(","))
    if best is None:
        return None
    thousands, decimal, grouping = best
    if best != PLAIN:
        style |= {"thousands": thousands, "decimal": decimal}
    if grouping == EITHER:
        style["either"] = True
    elif grouping:
        style["grouping"] = grouping
    return style


def affixes_of(matched):
    """What stands around most of the matched cells, as part of a style."""
    style = {}
    total = sum(weight for _, weight in matched)
    prefixes = [(m["outer"] or m["prefix"] or "", w) for m, w in matched]
    suffixes = [(m["suffix"] or "", w) for m, w in matched]
    suffixes = [(text, w) for text, w in suffixes if not NO_UNIT.match(text.strip())]
    known = {text.strip() for text, _ in suffixes} - {""}
    share = sum(weight for text, weight in suffixes if text) / max(total, 1e-300)
    sure = known & SURE_POWERS or share >= MOST_HAVE
    if known and known <= set(POWERS) and sure and not any(m["exponent"] for m, _ in matched):
        style["powers"] = {text: POWERS[text] for text in sorted(known)}
        if gap := blank_before(most_common(suffixes)):
            style["suffix"] = gap
        if all(text for text, _ in suffixes):
            style["always"] = True
        elif large_without(matched) > sum(weight for text, weight in suffixes if text):
            style["bare"] = True
        suffixes = []
    affixes = {"prefix": prefixes, "suffix": suffixes}
    for key, texts in affixes.items():
        affix = most_common(texts)
        own = sum(weight for text, weight in texts if text and same_unit(text, affix))
        if not affix or not (own >= MOST_HAVE * total or plain_unit(affix) in KNOWN_UNITS):
            continue
        style[key] = affix
        if own < MOST_HAVE * total:
            style["bare"] = True
    if "powers" not in style and are_two_units(style, matched):
        n = {key: sum(w for text, w in texts if text) for key, texts in affixes.items()}
        del style[min(n, key=n.get)]
        style["bare"] = True
    return style | signs_of(matched)


def are_two_units(style, matched):
    """Whether a currency before numbers and a unit behind others are two: no cell has both."""
    prefix, suffix = style.get("prefix", "").strip(), style.get("suffix", "").strip()
    if not prefix or not suffix or prefix in ABOUT or same_unit(prefix, suffix):
        return False
    return not any((m["outer"] or m["prefix"]) and m["suffix"] for m, _ in matched)


def signs_of(matched):
    """How most of the matched cells write their signs, as part of a style."""
    style = {}
    negative = [(minus_of(m), w) for m, w in matched if minus_of(m)]
    if negative and (minus := most_common(negative)) != "-":
        style["minus"] = minus
    if any(m["prefix"] and m["inside"] or m["outer"] for m, _ in matched):
        style["inside"] = True
    positive = [(m["sign"] or m["inside"] or "", w) for m, w in matched if not minus_of(m)]
    signed = sum(weight for sign, weight in positive if sign)
    if signed and signed >= MOST_HAVE * sum(weight for _, weight in positive):
        style["plus"] = True
    return style


def large_without(matched):
    """The weight of numbers of four digits or more that have no suffix."""
    return sum(w for m, w in matched if not m["suffix"] and sum(map(str.isdigit, m["body"])) > 3)


def has_affixes(match, style):
    """Whether a matched cell has the prefix and the suffix of a style, or none."""
    suffix = (match["suffix"] or "").strip()
    if "powers" in style:
        right = not suffix or suffix in style["powers"]
    else:
        right = not suffix or same_unit(suffix, style.get("suffix", ""))
    prefix = (match["outer"] or match["prefix"] or "").strip()
    return right and (not prefix or prefix == style.get("prefix", "").strip())


def minus_of(match):
    """How a matched cell is negative: "(1)", "1-", or its sign; "" if it is not."""
    if match["open"] and match["close"]:
        return "(1)"
    if match["trail"]:
        return "1-"
    sign = match["sign"] or match["inside"] or ""
    return sign if sign and sign in MINUS else ""


def most_common(pairs):
    """The text with the largest weight among pairs of text and weight, but ""; "" without any."""
    totals = {}
    for text, weight in pairs:
        if text:
            totals[text] = totals.get(text, 0.0) + weight
    return max(totals, key=totals.get, default="")


def blank_before(text):
    return text[: len(text) - len(text.lstrip())]


def plain_unit(text):
    """A unit in lower case, in the singular."""
    plain = text.strip().lower().rstrip(".")
    return plain.rstrip("s") if len(plain) > 2 else plain


def same_unit(one, other):
    """Whether two units differ in nothing but case, blanks and a plural's s."""
    return plain_unit(one) == plain_unit(other)


def best_separators(bodies, commas):
    """The separators that read the most of `bodies`, triples (digits, has exponent, weight).

    None if none reads any. Of those that read equally many the plainest are taken, or those that
    other columns of the file have, see `candidates`.
    """
    letters = {letter for body, _, _ in bodies for letter in body if not letter.isdigit()}
    allowed = [s for s in SEPARATORS if (s[0] in letters or not s[0])]
    shares = {
        marks: share_read(bodies, *marks)
        for marks in allowed
        if marks == PLAIN or {mark for mark in marks[:2] if mark in letters}
    }
    best = max(shares, key=lambda marks: (round(shares[marks], 12), -SEPARATORS.index(marks)))
    if not shares[best]:
        return None
    texts = [body for body, _, _ in bodies]
    if best == PLAIN and (commas or are_thousands(texts)) and all_grouped(texts, "."):
        return POINTS
    if best == COMMAS and commas and shares[COMMA] >= shares[COMMAS] - 1e-12:
        return COMMA
    if best == POINTS and are_addresses(texts):
        return None
    if shares[best] < MOST_READ * sum(weight for _, _, weight in bodies):
        either = [(share_read(bodies, "", d, EITHER), d) for d in ".,"]
        if either[0][0] > shares[best] + 1e-12:
            commas = sum(weight for body, _, weight in bodies if "," in body)
            points = sum(weight for body, _, weight in bodies if "." in body)
            return "", "," if commas > points else ".", EITHER
    return best


def share_read(bodies, thousands, decimal, grouping=""):
    """The weight of the bodies of numbers that these separators read."""
    fits = re.compile(body_pattern(thousands, decimal, grouping)).fullmatch
    mark = thousands or "\0"
    return sum(w for body, power, w in bodies if fits(body) and not (power and mark in body))


def body_pattern(thousands, decimal, grouping=""):
    """A regular expression for the digits of a number with these separators."""
    if grouping == EITHER:
        return EITHER_MARK
    mark, point = re.escape(thousands), re.escape(decimal)
    whole = r"\d+"
    if thousands:
        groups = rf"[1-9]\d{{0,2}}(?:{mark}\d{{3}})+"
        if grouping == "indian":
            groups = rf"[1-9]\d?(?:{mark}\d{{2}})*{mark}\d{{3}}"
        whole = rf"(?:{groups}|\d+)"
    return rf"(?:{whole}(?:{point}\d*)?|{point}\d+)"


def all_grouped(bodies, mark):
    """Whether some bodies have this mark, and all of these as one of thousands: 1.234.567."""
    having = [body for body in bodies if mark in body]
    fits = re.compile(rf"[1-9]\d{{0,2}}(?:{re.escape(mark)}\d{{3}})+").fullmatch
    return bool(having) and all(map(fits, having))


def are_thousands(bodies):
    """Whether points separate thousands, although each could be a decimal point.

    So they do where some of the digits behind them end in 0, and numbers below 1000 have no point:
    nobody who writes 2.000 for two writes 479 for 479.000.
    """
    whole = [body for body in bodies if "." not in body]
    ends_in_zero = any("." in body and body.endswith("0") for body in bodies)
    return bool(whole) and ends_in_zero and all(len(body) <= 3 for body in whole)


def are_addresses(bodies):
    """Whether the bodies are addresses such as 192.168.178.101, and no thousands."""
    parts = [body.split(".") for body in bodies]
    return all(len(four) == 4 and all(int(p) < 256 for p in four) for four in parts)


def completed(style, sample):
    """The style with what the cells of a sample tell about decimals and marks of thousands."""
    matched = [m for m in map(NUMERAL.fullmatch, sample) if m]
    if any(m["exponent"] for m in matched):
        return style | {"decimals": None}
    numbers = [partition(m["body"], style) for m in matched]
    style = style | decimals_of(numbers)
    if mark := style.get("thousands"):
        large = [whole for whole, _, _ in numbers if sum(map(str.isdigit, whole)) > 3]
        if sum(mark not in whole for whole in large) > len(large) / 2:
            style["grouped"] = False
    return style


def partition(body, style):
    """The digits of a number before its decimal mark, the mark, and the digits behind it."""
    if style.get("either"):
        body = re.sub(r"[.,](?=.*[.,])", "", body).replace(",", ".")
        return body.partition(".")
    return body.partition(style.get("decimal", "."))


def decimals_of(numbers):
    """How many decimals numbers have, triples (whole, point, digits), as part of a style."""
    digits = [digits for whole, _, digits in numbers if digits or whole != "0"]
    most, least = max(map(len, digits), default=0), min(map(len, digits), default=0)
    if most > MAX_DECIMALS:
        return {"decimals": None}
    style = {"decimals": most}
    if least < most and not any(part.endswith("0") for part in digits if len(part) > least):
        style["least"] = least
    elif least and len(digits) < len(numbers):
        style["zero"] = "0"
    return style


# Read


def read(text, style):
    """The Numerals of an Arrow array of cells without blanks around them, in a style."""
    import pyarrow as pa
    import pyarrow.compute as pc

    values = np.full(len(text), np.nan)
    sides = np.zeros(len(text), np.int8)
    if style.get("decimal", ".") == "." and not style.get(
        "either"
    ):  # plain numbers are most of what there is, and cheap
        values = plain_numbers(text)
    left = np.isnan(values) & pc.not_equal(text, "").to_numpy(zero_copy_only=False)
    at = np.flatnonzero(left)
    if len(at):
        some = text if len(at) == len(text) else text.take(pa.array(at))
        values[at], sides[at] = read_styled(some, style)
    values[~np.isfinite(values)] = np.nan
    return Numerals(values, np.where(np.isnan(values), 0, sides))


def read_styled(text, style):
    """Values and sides [N] of an Arrow array of cells by the regular expression of the style."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = pc.extract_regex(text, pattern(style))
    body, point = pc.struct_field(parts, "body"), style.get("decimal", ".")
    if mark := style.get("thousands"):
        body = pc.replace_substring(body, mark, "")
    if style.get("either"):
        body = pc.replace_substring_regex(body, "^(.*)[.,]([^.,]*)$", r"\1_\2")  # the last mark
        body = pc.replace_substring_regex(body, "[.,]", "")
        body = pc.replace_substring(body, "_", ".")
    elif point != ".":
        body = pc.replace_substring(body, point, ".")
    if powers := style.get("powers"):  # 1.7M is 1.7e6, which is exact where 1.7 x 1000000 is not
        suffix = pc.fill_null(pc.struct_field(parts, "suffix"), "")
        for name, power in powers.items():
            suffix = pc.replace_substring_regex(suffix, f"^{re.escape(name)}$", f"e{power}")
        body = pc.binary_join_element_wise(body, suffix, pa.scalar("", text.type))
    values = pc.cast(body, pa.float64()).to_numpy(zero_copy_only=False).copy()
    values[matches(text, negative_pattern(style))] *= -1
    limits = matches(text, r"^[<≤>≥]|\+\D*$")
    below = matches(text, "^[<≤]")
    return values, np.where(limits, np.where(below, -1, 1), 0).astype(np.int8)


def pattern(style):
    """The regular expression of cells in a style, in RE2, which is linear; group `body`: digits."""
    prefix = re.escape(style.get("prefix", "").strip())
    before = f"(?:{prefix}{BLANKS})?" if prefix else ""
    unit = style.get("suffix", "").strip()
    suffix = f"(?:{BLANKS}(?i:{re.escape(plain_unit(unit))}[s.]*))?" if unit else ""
    exponent = "(?:[eE][+-]?[0-9]+)?"
    if powers := style.get("powers"):
        names = "|".join(map(re.escape, sorted(powers, key=len, reverse=True)))
        suffix, exponent = f"(?:{BLANKS}(?P<suffix>{names}))?", ""
    grouping = EITHER if style.get("either") else style.get("grouping", "")
    marks = style.get("thousands", ""), style.get("decimal", "."), grouping
    signs = f"(?:[{MINUS}{PLUS}]{BLANKS})?"
    trail = f"[{MINUS}]?" if style.get("minus") == "1-" else ""
    start = rf"^(?:(?:[<>]=?|[≤≥]){BLANKS})?(?:{before}\({BLANKS})?{signs}{before}"
    start += signs if prefix else ""
    body = body_pattern(*marks).replace(r"\d", "[0-9]")
    return rf"{start}(?P<body>{body}{exponent})\+?{suffix}\+?{trail}\)?$"


def negative_pattern(style):
    """A regular expression that the negative ones among the cells of a style match."""
    prefix = re.escape(style.get("prefix", "").strip())
    before = f"(?:{prefix})?{BLANKS}" if prefix else ""
    trail = rf"|[{MINUS}]\)?$" if style.get("minus") == "1-" else ""
    return rf"^[<>=≤≥]*{BLANKS}{before}[{MINUS}(]{trail}"


# Write


def texts(values, style, exact=False):
    """Numbers as cells in a style; without a number of decimals cells get the seven digits of a
    float32, or with `exact` all digits.
    """
    return [text_of(value, style, exact) for value in np.asarray(values, np.float64).tolist()]


def text_of(value, style, exact):
    """One number as a cell, see `texts`."""
    bare = style.get("bare")
    prefix, suffix = ("", "") if bare else (style.get("prefix", ""), style.get("suffix", ""))
    if (powers := style.get("powers")) and not bare:
        name, power = power_of(value, powers, style.get("always"))
        value, suffix = value / 10**power, suffix + name if name else ""
    digits = digits_of(abs(value), style, exact)
    is_zero = float(digits) == 0
    digits = style.get("zero", digits) if is_zero else digits
    whole, point, rest = digits.partition(".")
    if mark := style.get("thousands") if style.get("grouped", True) else "":
        whole = grouped(whole, mark, style.get("grouping") == "indian")
    digits = whole + (style.get("decimal", ".") if point else "") + rest
    minus, inside = style.get("minus", "-"), style.get("inside")
    if value >= 0 or is_zero:
        sign = "+" if style.get("plus") and not is_zero else ""
    elif minus == "(1)":
        return f"{prefix}({digits}{suffix})" if inside else f"({prefix}{digits}{suffix})"
    elif minus == "1-":
        return f"{prefix}{digits}{suffix}-"
    else:
        sign = minus
    return f"{prefix}{sign}{digits}{suffix}" if inside else f"{sign}{prefix}{digits}{suffix}"


def power_of(value, powers, always):
    """The suffix with which a number is written, and its power of ten; ("", 0) for none."""
    fitting = [name for name, power in powers.items() if abs(value) >= 10**power]
    smallest = min(powers, key=powers.get) if always else ""
    name = max(fitting, key=powers.get, default=smallest)
    return name, powers.get(name, 0)


def digits_of(value, style, exact):
    """The digits of a number that is not negative, with a point."""
    decimals = style.get("decimals")
    if decimals is None:
        return repr(value).removesuffix(".0") if exact else f"{value:.7g}"
    digits, least = f"{value:.{decimals}f}", style.get("least", decimals)
    whole, _, part = digits.partition(".")
    part = part[:least] + part[least:].rstrip("0")
    return f"{whole}.{part}" if part else whole


def grouped(digits, mark, indian=False):
    """The digits of a whole number in groups of three, or in India of two behind the first."""
    if not digits.isdigit():
        return digits
    head, last = digits[:-3], digits[-3:]
    size = 2 if indian else 3
    first = len(head) % size
    groups = [head[:first], *(head[i : i + size] for i in range(first, len(head), size)), last]
    return mark.join(group for group in groups if group)
