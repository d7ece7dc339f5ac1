"""Numbers, counts and names in sentences, for captions of figures and for report.html."""

import math
import re

from parts.words import noun

# Characters that cannot be seen or that reorder the text around them, and lone surrogates, which
# stand in names of files that are no UTF-8.
HIDDEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
RIGHT_TO_LEFT = re.compile(
    "{0}+(?:[ ,.'\\d-]+{0}+)*".format("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]")
)
LONGEST_NAME = 60  # letters of a user's name or cell inside a sentence


def short(value, digits=3):
    """A number with so many digits, as 0.460, 27.5, 1984 or 1.20e+08; a dash for none."""
    if value is None or not math.isfinite(value):
        return "—"
    text = (
        f"{value:.0f}"
        if 10**digits <= abs(value) + 0.5 < 1e6
        else f"{value:#.{digits}g}".rstrip(".")
    )
    return "0" if float(text) == 0 else text.replace("-", "−", 1 if value < 0 else 0)


def percent(share):
    """A share as 3.0 %, 36 % or 100 %; what is not all is never rounded to 0 % or 100 %.

    The space does not break, so that the sign stays beside its number.
    """
    if share is None or not math.isfinite(share):
        return "—"
    percents = 100 * share
    if 0 < percents < 0.1:
        return "under 0.1\u00a0%"
    if 99.9 < percents < 100:
        return "over 99.9\u00a0%"
    decimals = 0 if percents in (0, 100) or 9.95 <= percents <= 99 or percents > 100 else 1
    return f"{percents:.{decimals}f}\u00a0%"


def counted(n, one, several=None):
    """A count and its noun as the page writes them: 1 row, 2,000 rows."""
    return f"{n:,} {noun(n, one, several)}"


def listed(names, most=5):
    """Names in a sentence: a, b and c; of many the first ones and how many more there are."""
    names = [name_in_words(name) for name in names]
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def name_in_words(name):
    """A user's name in one line and not longer than LONGEST_NAME letters."""
    text = " ".join(str(name).split()) or "(no name)"
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"


def visible(value):
    """Text that shows and orders all that it holds, for a page that runs from left to right.

    Characters that would hide or reorder other text are written as ⟨U+202E⟩, and runs of Hebrew,
    Arabic and such are isolated, so that the numbers and names beside them stay in their places.
    """
    text = re.sub(r"[\t\n\r\x0b\x0c\x85\u2028\u2029]+", " ", str(value))
    text = HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", text)
    return RIGHT_TO_LEFT.sub("\u2068\\g<0>\u2069", text)


def change(first, last):
    """How a number went from `first` to `last`: falls from, rises from, stays at."""
    if short(first) == short(last):
        return f"stays at {short(last)}"
    return f"{'falls' if last < first else 'rises'} from {short(first)} to {short(last)}"
