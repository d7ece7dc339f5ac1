"""Numbers, counts and names in sentences, for captions of figures and for report.html."""

import math

LONGEST_NAME = 60  # letters of a user's name or cell inside a sentence


def short(value):
    """A number with about three digits, as 0.161, 27.5, 1984 or 1.2e+08; a dash for none."""
    if value is None or not math.isfinite(value):
        return "—"
    size = abs(value)
    text = f"{value:.0f}" if 1000 <= size < 1e6 else f"{value:.3g}"
    return ("0" if float(text) == 0 else text).replace("-", "−", 1 if value < 0 else 0)


def percent(share):
    """A share as 3.4 %, 36 % or 100 %; what is not all is never rounded to 0 % or 100 %."""
    if share is None or not math.isfinite(share):
        return "—"
    percents = 100 * share
    if 0 < percents < 0.1:
        return "under 0.1 %"
    if 99.9 < percents < 100:
        return "over 99.9 %"
    return f"{percents:.0f} %" if 9.95 <= percents <= 99 else f"{percents:.1f} %".replace(".0", "")


def counted(n, one, several=None):
    """A count and its noun: 1 row, 2000 rows."""
    return f"{n:,} {one if n == 1 else several or one + 's'}"


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


def change(first, last):
    """How a number went from `first` to `last`: falls from, rises from, stays at."""
    if short(first) == short(last):
        return f"stays at {short(last)}"
    return f"{'falls' if last < first else 'rises'} from {short(first)} to {short(last)}"
