"""Cells of Arrow columns as exact text, numbers and values of Python, and back to their type."""

import base64
import decimal
import re

import numpy as np

from parts.forms.cells import NESTED

DAY = 86_400  # seconds
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
EXACT = 15  # significant digits that float64 always holds


def is_number(kind):
    import pyarrow as pa

    is_any = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return is_any or pa.types.is_decimal(kind)


def floats_of(column):
    """A column of numbers as float64 [N], nan for null."""
    import pyarrow as pa

    if pa.types.is_decimal(column.type):
        column = column.cast(pa.string())  # Arrow's own cast is less exact
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def plain(column):
    """A column of one of Arrow's own types, without a dictionary of its values."""
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        stored = [chunk.storage for chunk in column.chunks]
        column, kind = pa.chunked_array(stored, kind.storage_type), kind.storage_type
    return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column


def plain_values(column):
    """The cells of a column as Python's numbers, text, booleans and moments, None for null.

    What only Arrow knows, such as moments of a zone, nanoseconds and lists, is text.
    """
    import pyarrow as pa

    column = plain(column)
    kind = column.type
    exact = pa.types.is_time32(kind) or (pa.types.is_time64(kind) and kind.unit == "us")
    if pa.types.is_timestamp(kind):
        exact = kind.tz is None and kind.unit != "ns"
    simple = pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind)
    if exact or simple or pa.types.is_date(kind):
        return column.to_pylist()
    if pa.types.is_decimal(kind) and kind.precision <= EXACT:
        return [None if value is None else float(value) for value in column.to_pylist()]
    found = (cell.removeprefix(NESTED) for cell in texts(column, local=True).to_pylist())
    return [cell or None for cell in found]


# Text of typed cells


def texts(column, local=False):
    """Cells of an Arrow column as exact text, \"\" for null.

    Moments of a zone are in UTC, with a Z, or `local` with their offset. The text of lists and
    structures begins with NESTED.
    """
    import pyarrow as pa

    column = plain(column)
    kind = column.type
    if pa.types.is_floating(kind):
        found = _floats(column)
    elif pa.types.is_timestamp(kind) or pa.types.is_date64(kind):
        found = _moments(column, local)
    elif pa.types.is_time(kind):
        found = _without_zeros(column.cast(pa.string()))
    elif pa.types.is_duration(kind):
        found = _durations(column)
    else:
        try:
            found = column.cast(pa.large_string())
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):
            nested = [None if c is None else f"{NESTED}{c}" for c in column.to_pylist()]
            found = pa.chunked_array([pa.array(nested, pa.large_string())])
    return found.cast(pa.large_string()).fill_null("").combine_chunks()


def _floats(column):
    """Floats as the shortest text that float64 reads back; nan is missing."""
    import pyarrow as pa

    values = column.cast(pa.float64()).to_pylist()
    spelt = [None if value is None or value != value else repr(value) for value in values]
    return pa.chunked_array([pa.array(spelt, pa.large_string())])


def _moments(column, local):
    """Days, or days and times to the second or its fraction, as all cells of the column need."""
    import pyarrow as pa
    import pyarrow.compute

    if pa.types.is_date64(column.type):
        column = column.cast(pa.timestamp("ms"))
    kind, zoned = column.type, column
    column = column.cast(pa.timestamp(kind.unit))
    ticks = column.cast(pa.int64()).drop_null().to_numpy()
    per_second = PER_SECOND[kind.unit]
    if kind.tz is None and not (ticks % (DAY * per_second)).any():
        return column.cast(pa.date32()).cast(pa.string())
    units = (u for u, n in PER_SECOND.items() if not (ticks % max(per_second // n, 1)).any())
    unit = next(units)
    if kind.tz is None:
        return column.cast(pa.timestamp(unit)).cast(pa.string())
    if not local:
        found = column.cast(pa.timestamp(unit)).cast(pa.string())
        return pa.compute.binary_join_element_wise(found, "Z", "")
    zoned = zoned.cast(pa.timestamp(unit, kind.tz))
    found = pa.compute.strftime(zoned, format="%Y-%m-%d %H:%M:%S%z")
    return pa.compute.replace_substring_regex(found, r"(\d\d)$", r":\1")


def _without_zeros(column):
    """Clock times without a fraction of a second that is 0 in all cells."""
    import pyarrow.compute as pc

    if pc.all(pc.match_substring_regex(column, r"\.0+$")).as_py():
        return pc.replace_substring_regex(column, r"\.0+$", "")
    return column


def _durations(column):
    """Durations as pandas writes them: `1 days 02:00:00`."""
    import pyarrow as pa

    per_second = PER_SECOND[column.type.unit]
    ticks = column.cast(pa.int64()).to_pylist()
    with_fraction = any(tick is not None and tick % per_second for tick in ticks)
    digits = len(str(per_second)) - 1 if with_fraction else 0

    def spelt(tick):
        days, rest = divmod(tick, DAY * per_second)
        seconds, part = divmod(rest, per_second)
        clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        fraction = f".{part:0{digits}d}" if digits else ""
        return f"{days} days {'+' if days < 0 else ''}{clock}{fraction}"

    found = [None if tick is None else spelt(tick) for tick in ticks]
    return pa.chunked_array([pa.array(found, pa.large_string())])


# Typed cells of text


def of_texts(found, kind):
    """Arrow array of a type from the text of its cells, null for \"\".

    Numbers are rounded to what the type holds, and kept inside its range.
    """
    import pandas as pd
    import pyarrow as pa

    found = pd.Series(found, dtype="str")
    gone = (found == "").to_numpy()
    some = found[~gone].str.strip()
    if pa.types.is_dictionary(kind):
        return of_texts(found, kind.value_type)
    if isinstance(kind, pa.BaseExtensionType):
        stored = of_texts(found, kind.storage_type)
        return pa.ExtensionArray.from_storage(kind, stored)
    if pa.types.is_integer(kind):
        low, high = _limits(kind)
        values = [
            min(max(int(decimal.Decimal(c).to_integral_value()), low), high) for c in some.tolist()
        ]
    elif pa.types.is_decimal(kind):
        values = [_decimal(cell, kind) for cell in some.tolist()]
    elif pa.types.is_floating(kind):
        values = some.astype(float).tolist()
    elif pa.types.is_boolean(kind):
        values = some.str.lower().isin(("true", "1", "yes")).tolist()
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        moments = pd.to_datetime(some, format="ISO8601", utc=True)
        unit = kind.unit if pa.types.is_timestamp(kind) else "ms"
        ticks = moments.dt.tz_localize(None).to_numpy(f"datetime64[{unit}]")
        typed = pa.array(ticks).cast(pa.timestamp(unit))
        zoned = pa.types.is_timestamp(kind) and kind.tz is not None
        typed = typed.cast(pa.timestamp(unit, "UTC")) if zoned else typed
        values = typed.cast(kind, safe=False)
    elif pa.types.is_time(kind) or pa.types.is_duration(kind):
        spans = pd.to_timedelta(some.where(some.str.count(":") != 1, some + ":00"))
        ticks = spans.to_numpy(f"timedelta64[{kind.unit}]").astype(np.int64)
        ticks = ticks % (DAY * PER_SECOND[kind.unit]) if pa.types.is_time(kind) else ticks
        narrow = pa.int32() if kind.bit_width == 32 else pa.int64()
        values = pa.array(ticks).cast(narrow).cast(kind)
    elif pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        values = [cell.encode() for cell in some.tolist()]
    elif pa.types.is_nested(kind) or pa.types.is_null(kind):
        return pa.nulls(len(found), kind)
    else:
        values = pa.array(found[~gone].tolist(), pa.large_string()).cast(kind)
    values = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values, kind)
    places = np.where(gone, 0, np.cumsum(~gone) - 1)
    return values.take(pa.array(places, mask=gone))


def _limits(kind):
    unsigned = str(kind).startswith("u")
    top = 2 ** (kind.bit_width - (0 if unsigned else 1))
    return (0 if unsigned else -top), top - 1


def _decimal(cell, kind):
    unit = decimal.Decimal(1).scaleb(-kind.scale)
    with decimal.localcontext(prec=kind.precision + 2):
        top = decimal.Decimal(10**kind.precision - 1) * unit
        return min(max(decimal.Decimal(cell), -top), top).quantize(unit)


def type_of(stored):
    """The Arrow type that `stored_as` describes."""
    import pyarrow as pa

    if "arrow" in stored:
        return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(stored["arrow"]))).field(0).type
    return type_named(stored["type"])


def type_named(words):
    """The Arrow type that `str` has written, but for nested and extension types."""
    import pyarrow as pa

    if found := re.fullmatch(r"timestamp\[(\w+), tz=(.+)\]", words):
        return pa.timestamp(*found.groups())
    if found := re.fullmatch(r"decimal(\d+)\((\d+), (-?\d+)\)", words):
        make = {"32": pa.decimal32, "64": pa.decimal64, "256": pa.decimal256}
        return make.get(found[1], pa.decimal128)(int(found[2]), int(found[3]))
    return pa.type_for_alias(ALIASES.get(words, words))


ALIASES = {"halffloat": "float16", "float": "float32"}


def within(value, kind):
    low, high = _limits(kind)
    return low <= value <= high
