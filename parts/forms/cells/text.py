"""Columns of text as Arrow arrays, in which regular expressions are linear and fast (RE2)."""

PLAIN = r"^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$"  # a number without anything around it


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


def trimmed(series):
    """The cells of a column of text without blanks around them, in Arrow; "" for none."""
    import pyarrow.compute as pc

    text = as_arrow(series)
    if pc.all(pc.string_is_ascii(text)).as_py() is not False:  # ten times as fast
        return pc.ascii_trim_whitespace(text)
    return pc.utf8_trim_whitespace(text)


def joined(columns):
    """The cells of columns of text, one text for each row, as a Series."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [as_arrow(series) for series in columns]
    separator = pa.scalar("\x1f", parts[0].type)
    return pd.Series(pc.binary_join_element_wise(*parts, separator).to_pandas())


def matches(text, pattern):
    """True where a cell of an Arrow array matches a regular expression somewhere, [N]."""
    import pyarrow.compute as pc

    return pc.match_substring_regex(text, pattern).to_numpy(zero_copy_only=False)


def share_of(series, pattern):
    """The share of the cells of a column of text that match a regular expression."""
    found = matches(trimmed(series), pattern)
    return float(found.mean()) if len(found) else 0.0


def as_text(cells):
    """A list of cells as an Arrow array."""
    import pyarrow as pa

    return pa.array(cells, pa.large_string())


def parts_of(text, pattern):
    """The named groups of a regular expression in each cell, and which cells fit it, [N].

    Groups are a dict of Arrow arrays, None where a cell has no such part.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    found = pc.extract_regex(text, f"^(?:{pattern})$")
    parts = {}
    for field in found.type:
        part = pc.struct_field(found, field.name)
        parts[field.name] = pc.if_else(pc.equal(part, ""), pa.scalar(None, part.type), part)
    return parts, found.is_valid().to_numpy(zero_copy_only=False)


def as_numbers(part):
    """An Arrow array as float64 [N], NaN for None."""
    return part.cast("float64").to_numpy(zero_copy_only=False)


def as_flags(part, pattern):
    """True where a cell of an Arrow array matches a pattern, [N]; False for None."""
    import pyarrow.compute as pc

    return matches(pc.fill_null(part, ""), pattern)


def plain_numbers(text):
    """The plain numbers of an Arrow array of cells without blanks, float64 [N], NaN for others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    plain = pc.match_substring_regex(text, PLAIN)
    found = pc.cast(pc.if_else(plain, text, pa.scalar(None, text.type)), pa.float64())
    return found.to_numpy(zero_copy_only=False).copy()
