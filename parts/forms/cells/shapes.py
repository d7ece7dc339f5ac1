"""What cells of text look like that hold more than one number, and what a user can do with them."""

import re

from parts.forms.cells import numerals

MOST_CELLS = 2000  # different cells that are looked at
LONGEST = 60  # letters of a cell that is
NEARLY_ALL = 0.95  # share of ranges, such as 18-24, in a column of ranges
LEAST = 0.8  # share of cells of one shape from which it is told
MOST_UNITS, LEAST_UNIT = 6, 0.01  # different units of a column, and share of the cells of each
NUMBER = r"[+-]?(?:0|[1-9]\d*)(?:[.,]\d+)?"  # other digits behind a 0 are those of a name
FIRST_MARKS, OTHER_MARKS = r"/x×*;:,±–|-", ("to", "bis", "by", "à", "of", "von", "sur", "de")
SAME = "(?(unit)(?P=unit)|)"  # the unit of the first number, where it has one: 5cm x 3cm
SEVERAL = re.compile(
    rf"[(\[]?(?P<before>[$€£¥])?(?P<first>{NUMBER})(?P<unit> ?(?:[%°]|[^\W\d_]{{1,6}}))?(?P<gap> ?)"
    rf"(?P<mark>[{FIRST_MARKS}]|{'|'.join(OTHER_MARKS)}| ) ?(?(before)(?P=before)?|)"
    rf"(?P<second>{NUMBER}){SAME}(?P<more>(?: ?(?P=mark) ?{NUMBER}{SAME}){{0,3}})"
    r"(?(unit)|(?: ?(?:%|[^\W\d_]{1,6}))?)[)\]]?"
)
SPAN = rf"{NUMBER} ?%?(?: ?(?:[-–,;]|to) ?{NUMBER} ?%?)?"
BRACKETS = re.compile(rf"{NUMBER} ?(?:%|[^\W\d_]{{1,6}})? ?[(\[]{SPAN}[)\]]")
CLOCK = r"\d{1,2}[:.h]\d\d(?: ?[AaPp][Mm])?(?: Uhr)?"
CLOCKS = re.compile(rf"{CLOCK} ?(?:[-–/]|to|bis|à) ?{CLOCK}")
SHORT_UNITS = {"g", "t", "l", "m", "h", "s"}  # beside which another unit stands
PART = r"\d{1,2}(?:[.,]\d+)? ?"  # minutes or seconds of an angle
ANGLE = (
    rf"""[+-]?\d{{1,3}}(?:[.,]\d+)? ?[°º](?: ?{PART}['′’](?: ?{PART}(?:["″”]|''|′′))?)?"""
    " ?[NSEWO]?"
)
PLACE = r"\d{1,3}[.,]\d+ ?[NSEWO]"  # without a sign of degrees
ANGLES = re.compile(
    rf"(?:[NSEWO] ?)?{ANGLE}(?:[,;/ ]+(?:[NSEWO] ?)?{ANGLE})?|{PLACE}(?:[,;/ ]+{PLACE})?"
)
INCHES = re.compile(r"""\d{1,2} ?(?:['′’]|ft\.?|feet) ?(?:1?\d(?:\.\d+)? ?(?:["″”]|''|in\.?)?)?""")
MIXED = re.compile(r"[+-]?\d+(?:[ -][1-9]\d?/[1-9]\d?| ?[¼½¾⅓⅔⅛⅜⅝⅞])(?: ?[^\W\d_]{1,6}|\")?")
POINT = re.compile(r"(?i)(?:SRID=\d+; ?)?POINT *Z? *\([^()]*\)")
NAMED_DATE = re.compile(
    r"(?:[^\W\d_]{2,12}\.?,? )?\d{1,2}(?:\.|st|nd|rd|th)?[ -](?:de )?[^\W\d_]{3,12}\.?,?[ -]"
    r"(?:de )?\d{4}"
)
PART_OF_YEAR = re.compile(r"(?:19|20)\d\d ?[-/:]? ?[HSTP]?[1-4]|[HSTP][1-4][ -/]?(?:19|20)\d\d")
WORDS = {2: "two", 3: "three", 4: "four", 5: "five"}


def hint_of(cells, counts):
    """Words on the shape that most cells of a column have, and the way out; "" if none has.

    `cells` are the different ones, the most frequent first, and `counts` how many there are of
    each.
    """
    pairs = [(c, n) for c, n in zip(cells[:MOST_CELLS], counts, strict=False) if len(c) <= LONGEST]
    total = sum(counts[:MOST_CELLS])
    for shape in SHAPES:
        n, what, example, way_out = shape(pairs)
        if n >= LEAST * total:
            shown = f", such as {example}" if example else ""
            return f"{100 * n / total:.0f} % look like {what}{shown}: {way_out}"
    return ""


def matching(pattern, what, way_out):
    """A shape of all cells that match a regular expression."""

    def shape(pairs):
        found = [(cell, n) for cell, n in pairs if pattern.fullmatch(cell)]
        return sum(n for _, n in found), what, found[0][0] if found else "", way_out

    return shape


angles = matching(ANGLES, "angles", "write them as numbers of degrees")
brackets = matching(BRACKETS, "numbers with others in brackets", "split the column")
clocks = matching(CLOCKS, "two times of day", "split the column into two columns")
inches = matching(INCHES, "feet and inches", "write them as numbers of inches")
mixed_numbers = matching(MIXED, "mixed numbers", "write them as 12.375")
points = matching(POINT, "points of a map", "split the column into one for each coordinate")
named_dates = matching(NAMED_DATE, "dates with names of months", "write them as 2021-03-31")
parts_of_years = matching(
    PART_OF_YEAR, "a year and a part of it", "split the column in two, or write the first days"
)


def several_numbers(pairs):
    """Cells of two numbers or more with one mark between them, as 120/80 and 10 x 20 cm."""
    totals, examples, matches = {}, {}, {}
    for cell, n in pairs:
        if not (found := SEVERAL.fullmatch(cell)):
            continue
        n_numbers = 2 + len(re.findall(NUMBER, found["more"]))
        key = n_numbers, found["mark"]
        totals[key] = totals.get(key, 0) + n
        examples.setdefault(key, cell)
        matches.setdefault(key, []).append(found)
    if not totals:
        return 0, "", "", ""
    key = max(totals, key=totals.get)
    n_numbers, mark = key
    if mark in "- " and not are_magnitudes(matches[key], mark):
        return 0, "", "", ""
    between = "a blank" if mark == " " else repr(mark)
    what = f"{WORDS[n_numbers]} numbers with {between} between"
    return totals[key], what, examples[key], f"split the column into {WORDS[n_numbers]} columns"


def are_magnitudes(matches, mark):
    """Whether cells with a hyphen are ranges, or with a blank pairs of decimals, and no names."""
    if mark == " ":
        return all(set(".,") & set(found["first"] + found["second"]) for found in matches)
    numbers = [[found[part].replace(",", ".") for part in ("first", "second")] for found in matches]
    alike = [float(one) < float(two) and len(one) == len(two) for one, two in numbers]
    return sum(alike) >= NEARLY_ALL * len(matches)


def several_units(pairs):
    """Numbers with several currencies or units, as USD 5 and EUR 4."""
    totals, n_all = {}, 0
    for cell, n in pairs:
        if not (found := numerals.NUMERAL.fullmatch(cell)):
            continue
        unit = (found["outer"] or found["prefix"] or found["suffix"] or "").strip()
        if numerals.plain_unit(unit) in numerals.KNOWN_UNITS | SHORT_UNITS:
            totals[unit] = totals.get(unit, 0) + n
            n_all += n
    often = {unit: n for unit, n in totals.items() if n >= LEAST_UNIT * n_all}
    if not 2 <= len(often) <= MOST_UNITS or sum(often.values()) < LEAST * n_all:
        return 0, "", "", ""
    ranked = sorted(often, key=often.get, reverse=True)
    shares = ", ".join(f"{100 * often[unit] / n_all:.0f} % {unit}" for unit in ranked)
    ways = "convert them to one, or put the unit into a column of its own"
    return n_all, f"numbers with several units ({shares})", "", ways


SHAPES = (
    several_units,
    angles,
    clocks,
    brackets,
    inches,
    mixed_numbers,
    points,
    named_dates,
    parts_of_years,
    several_numbers,
)
