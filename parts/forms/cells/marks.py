"""Which cells are missing: the empty ones, and those that hold a mark such as NA.

A column has marks of its own where --missing or --keep names some, or where a word that is usually
a mark is one of its answers.
"""

import numpy as np

# Marks of a missing cell, beside the empty cell; upper and lower case are equal.
MISSING = ("na", "n/a", "#n/a", "<na>", "nan", "-nan", "null", "none", "nil", "-", "--", "?", ".")
# Marks that may be answers: NA is Namibia, None says that there is nothing.
WORDS = ("na", "none", "nil")
PLAIN = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"  # a number without anything around it


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


def share_of(series, pattern):
    """The share of the cells of a column of text that match a regular expression."""
    found = matches(trimmed(series), pattern)
    return float(found.mean()) if len(found) else 0.0


# Columns of text in Arrow


def is_text(series):
    """Whether a column holds text, as those of CSV files do, and not numbers."""
    return series.dtype.kind not in "biuf"


def as_arrow(series):
    """The cells of a column of text as an Arrow array of strings; "" for none."""
    import pyarrow as pa
    import pyarrow.compute as pc

    text = pa.array(series.array, from_pandas=True)
    text = text.combine_chunks() if isinstance(text, pa.ChunkedArray) else text
    text = text if pa.types.is_large_string(text.type) else text.cast(pa.large_string())
    return pc.fill_null(text, "")


def joined(columns):
    """The cells of columns of text, one text for each row, as a Series."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [as_arrow(series) for series in columns]
    separator = pa.scalar("\x1f", parts[0].type)
    return pd.Series(pc.binary_join_element_wise(*parts, separator).to_pandas())


def trimmed(series):
    """The cells of a column of text without blanks around them, in Arrow; "" for none."""
    import pyarrow.compute as pc

    text = as_arrow(series)
    if pc.all(pc.string_is_ascii(text)).as_py() is not False:  # ten times as fast
        return pc.ascii_trim_whitespace(text)
    return pc.utf8_trim_whitespace(text)


def matches(text, pattern):
    """True where a cell of an Arrow array matches a regular expression somewhere, [N]."""
    import pyarrow.compute as pc

    return pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False)


def marks_in(text, marks):
    """True where a cell of an Arrow array without blanks is one of the marks, [N]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    wanted = pa.array(list(marks), text.type)
    return pc.is_in(pc.utf8_lower(text), wanted).to_numpy(zero_copy_only=False)


def plain_numbers(text):
    """The plain numbers of an Arrow array of cells without blanks, float64 [N], NaN for others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = pc.match_substring_regex(text, PLAIN)
    found = pc.cast(pc.if_else(plain, text, pa.scalar(None, text.type)), pa.float64())
    return found.to_numpy(zero_copy_only=False).copy()


def numbers_among(marks):
    """The marks that are numbers, such as -999, as a list."""
    found = []
    for mark in marks:
        try:
            found.append(float(mark))
        except ValueError:
            continue
    return [number for number in found if np.isfinite(number)]
