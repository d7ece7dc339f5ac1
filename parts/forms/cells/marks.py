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


def is_text(series):
    """Whether a column holds text, as those of CSV files do, and not numbers."""
    return series.dtype.kind not in "biuf"


def as_arrow(series):
    """The cells of a column of text as an Arrow array of strings."""
    import pyarrow as pa

    found = pa.array(series.array, from_pandas=True)
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    return found if pa.types.is_large_string(found.type) else found.cast(pa.large_string())


def trimmed(series):
    """The cells of a column of text without blanks around them, in Arrow; "" for none."""
    import pyarrow.compute as pc

    return pc.fill_null(pc.utf8_trim_whitespace(as_arrow(series)), "")


def missing(series, marks=MISSING):
    """True where a cell is empty or one of the marks, [N]; marks are in lower case.

    A mark that is a number, such as -999, stands for every way to write it, as -999.0.
    """
    wanted = numbers_among(marks)
    if not is_text(series):
        return series.isna().to_numpy() | series.isin(wanted).to_numpy()
    text = trimmed(series)
    found = marks_in(text, ("", *marks))
    return found | np.isin(plain_numbers(text), wanted) if wanted else found


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
    return found.to_numpy(zero_copy_only=False)


def numbers_among(marks):
    """The marks that are numbers, such as -999, as a list."""
    found = []
    for mark in marks:
        try:
            found.append(float(mark))
        except ValueError:
            continue
    return [number for number in found if np.isfinite(number)]


def joined(columns):
    """The cells of columns of text, one text for each row, as a Series."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [pc.fill_null(as_arrow(series), "") for series in columns]
    return pd.Series(
        pc.binary_join_element_wise(*parts, pa.scalar("\x1f", parts[0].type)).to_pandas()
    )


def may_tell(series):
    """Whether the first cells of a column of text hold commas in digits, or dates."""
    import pyarrow.compute as pc

    some = trimmed(series.iloc[:1000])
    return bool(
        pc.any(pc.match_substring_regex(some, r"\d,\d|\d[/-]\d|\d\.\d+\.\d|\d [A-Za-z]{3}")).as_py()
    )


def counts(series, marks):
    """How many cells hold each mark, as the cells write it, most first: a dict."""
    if not is_text(series):
        return {}
    text = trimmed(series)
    found = text.filter(marks_in(text, marks))
    import pyarrow.compute as pc

    pairs = pc.value_counts(found).to_pylist()
    pairs.sort(key=lambda pair: (-pair["counts"], pair["values"]))
    return {pair["values"]: pair["counts"] for pair in pairs}
