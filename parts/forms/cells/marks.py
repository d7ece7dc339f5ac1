"""Which cells are missing: the empty ones, and those that hold a mark such as NA.

A column has marks of its own where --missing or --keep names some, or where a word that is usually
a mark is one of its answers.
"""

import numpy as np

from parts.forms.cells.text import is_text, matches, plain_numbers, trimmed

# Marks of a missing cell, beside the empty cell; upper and lower case are equal.
MISSING = ("na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "none", "nil", "-", "--", "?", ".")
# Marks that may be answers: NA is Namibia, None says that there is nothing.
WORDS = ("na", "none", "nil")


def missing(series, marks=MISSING):
    """True where a cell is empty or one of the marks, [N]; marks are in lower case.

    A mark that is a number, such as -999, stands for every way to write it, as -999.0.
    """
    if is_text(series):
        return missing_text(trimmed(series), marks)
    return series.isna().to_numpy() | series.isin(numbers_among(marks)).to_numpy()


def missing_text(text, marks=MISSING):
    """True where a cell of an Arrow array of cells without blanks around them is missing, [N]."""
    found = marks_in(text, ("", *marks))
    wanted = numbers_among(marks)
    return found | np.isin(plain_numbers(text), wanted) if wanted else found


def counts(series, marks):
    """How many cells hold each mark, as the cells write it, most first: a dict."""
    if not is_text(series):
        return {}
    import pyarrow.compute as pc

    text = trimmed(series)
    pairs = pc.value_counts(text.filter(marks_in(text, marks))).to_pylist()
    pairs.sort(key=lambda pair: (-pair["counts"], pair["values"]))
    return {pair["values"]: pair["counts"] for pair in pairs}


def may_tell(series):
    """Whether the first cells of a column of text hold commas in digits, or dates."""
    some = trimmed(series.iloc[:1000])
    return bool(matches(some, r"\d,\d|\d[/-]\d|\d\.\d+\.\d|\d [A-Za-z]{3}").any())


def marks_in(text, marks):
    """True where a cell of an Arrow array without blanks is one of the marks, [N]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(list(marks), text.type)
    return pc.is_in(pc.utf8_lower(text), wanted).to_numpy(zero_copy_only=False)


def numbers_among(marks):
    """The marks that are numbers, such as -999, as a list."""
    found = []
    for mark in marks:
        try:
            found.append(float(mark))
        except ValueError:
            continue
    return [number for number in found if np.isfinite(number)]
