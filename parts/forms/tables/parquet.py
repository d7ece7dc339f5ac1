"""Read Parquet as columns of numbers and text, and write it with the types that it had.

The model sees numbers as float64 and all else as text. What is written comes from the Arrow table,
in which only the cells that changed are replaced, so the others keep their last digit.
"""

import base64
import decimal
import json
import re

import numpy as np

from parts import memory
from parts.errors import UserError
from parts.forms import cells
from parts.forms.cells import NESTED

DAY = 86_400  # seconds
PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
MORE_THAN_TYPES = {"clock", "duration", "zone", "mixed"}  # keys of styles whose cells stay text
EXACT = 15  # significant digits that float64 always holds
PLAIN = re.compile(r"[+-]?\d+(?:\.\d*)?")  # numbers whose digits are all that there is
MOST_LEVELS = 1000  # levels of a dictionary that a run keeps
BYTES_EACH = 24  # memory of a cell while a table is read


def read(file, path):
    """The Arrow table of a file, and names and cells of its columns without a stored index."""
    import pyarrow as pa
    import pyarrow.parquet

    # pandas' reader would also open folders of partitions and remote files.
    with pa.parquet.ParquetFile(file) as source:
        meta = source.metadata
        n_cells = meta.num_rows * meta.num_columns
        memory.refuse_beyond_memory(f"{path} with {n_cells} cells", n_cells, BYTES_EACH, "cells")
        table = source.read()
    own = places(table)
    return table, [table.column_names[i] for i in own], [_cells(table.column(i)) for i in own]


def index_of(schema):
    """The columns that hold the index of a pandas frame, which is no column of the table."""
    found = pandas_metadata(schema).get("index_columns")
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []


def pandas_metadata(schema):
    """What pandas wrote about its frame, as a dict, empty if it is none of that form."""
    try:
        found = json.loads((schema.metadata or {}).get(b"pandas", b"{}"))
    except ValueError:  # not written by pandas
        return {}
    return found if isinstance(found, dict) else {}


def is_number(kind):
    import pyarrow as pa

    is_any = pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return is_any or pa.types.is_decimal(kind)


def _cells(column):
    """A column as the model sees it: numbers as float64, all else as text."""
    import pandas as pd

    column = _plain(column)
    if is_number(column.type):
        return floats_of(column)
    return pd.Series(texts(column), dtype="str")


def floats_of(column):
    """A column of numbers as float64 [N], nan for null."""
    import pyarrow as pa

    if pa.types.is_decimal(column.type):
        column = column.cast(pa.string())  # Arrow's own cast is less exact
    return column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)


def _plain(column):
    """A column of one of Arrow's own types, without a dictionary of its values."""
    import pyarrow as pa

    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        stored = [chunk.storage for chunk in column.chunks]
        column, kind = pa.chunked_array(stored, kind.storage_type), kind.storage_type
    return column.cast(kind.value_type) if pa.types.is_dictionary(kind) else column


# Text of typed cells


def texts(column, local=False):
    """Cells of an Arrow column as exact text, \"\" for null.

    Moments of a zone are in UTC, with a Z, or `local` with their offset. The text of lists and
    structures begins with NESTED.
    """
    import pyarrow as pa

    column = _plain(column)
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


# Changed tables


def changed(frame, table, old):
    """The Arrow table with the cells of `frame` that differ from those of `old`, and new columns.

    New bounds NAME_low and NAME_high have the type of their column.
    """
    import pyarrow as pa

    names = dict(zip(old.columns, places(table), strict=True))
    for name in frame.columns:
        if name in names:
            at = names[name]
            column = _filled(table.column(at), old[name], frame[name])
            table = table.set_column(at, table.schema.field(at).with_type(column.type), column)
            continue
        bounded = name.rpartition("_")[0] if str(name).endswith(("_low", "_high")) else None
        if bounded in names and not pa.types.is_nested(kind := table.column(names[bounded]).type):
            kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            table = table.append_column(str(name), of_texts(_spelt(frame[name]), kind))
        else:
            table = table.append_column(str(name), pa.array(frame[name]))
    return table


def places(table):
    """The numbers of the columns that are no index of pandas."""
    index = index_of(table.schema)
    return [i for i, name in enumerate(table.column_names) if name not in index]


def _spelt(series):
    from parts.forms.tables.text_files import texts as texts_of

    return texts_of(series).to_pandas()


def _filled(column, old, new):
    """Replace the changed cells of an Arrow column, in the type of the column."""
    import pyarrow as pa

    same = (old == new) | (old.isna() & new.isna()) if old.dtype.kind == "f" else old == new
    at = np.flatnonzero(~same.to_numpy(bool))
    kind = column.type
    if not len(at) or pa.types.is_nested(kind):
        return column
    plain = _plain(column).combine_chunks()
    places = np.arange(len(plain))
    places[at] = len(plain) + np.arange(len(at))
    values = of_texts(_spelt(new.iloc[at]), plain.type)
    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    filled = pa.concat_arrays([plain, values]).take(pa.array(places))  # of every type
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, filled)
    return in_dictionary(filled, kind, column) if pa.types.is_dictionary(kind) else filled


def in_dictionary(values, kind, like):
    """Values with the dictionary of the column `like`, at whose end new values are added."""
    import pyarrow as pa
    import pyarrow.compute

    levels = like.unify_dictionaries().chunk(0).dictionary if like.num_chunks else values[:0]
    new = pa.compute.unique(values.drop_null())
    new = new.filter(pa.compute.invert(pa.compute.is_in(new, value_set=levels)))
    levels = pa.concat_arrays([levels, new])
    codes = pa.compute.index_in(values, value_set=levels).cast(kind.index_type)
    return pa.DictionaryArray.from_arrays(codes, levels, ordered=kind.ordered)


def exact_texts(frame, table, old):
    """The frame with the text of all cells of its columns that the Arrow table holds."""
    import pandas as pd

    new = changed(frame, table, old)
    spelt = dict(zip(old.columns, (new.column(i) for i in places(table)), strict=True))
    spelt |= {name: new.column(str(name)) for name in frame.columns if name not in spelt}
    found = {}
    for name in frame.columns:
        text = texts(spelt[name], local=True).to_pandas()
        found[name] = pd.Series(text, dtype="str").str.removeprefix(NESTED)
    return pd.DataFrame(found)


def plain_values(column):
    """The cells of a column as Python's numbers, text, booleans and moments, None for null.

    What only Arrow knows, such as moments of a zone, nanoseconds and lists, is text.
    """
    import pyarrow as pa

    column = _plain(column)
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


def as_array(frame, table, old, path):
    """The frame as an array [N, D] of integers or floats that holds each number exactly."""
    import pyarrow as pa

    new = changed(frame, table, old)
    own = places(new)
    columns = []
    for i in own:
        column = _plain(new.column(i))
        if pa.types.is_integer(column.type) and not column.null_count:
            columns.append(column.to_numpy())
            continue
        floats = floats_of(column)
        columns.append(floats)
        if not pa.types.is_floating(column.type):
            _refuse_inexact(column.to_pylist(), floats, new.column_names[i], path)
    kind = np.result_type(*columns)
    for i, column in zip(own, columns, strict=True):
        if kind.kind == "f" and column.dtype.kind in "iu":
            large = np.flatnonzero(np.abs(column.astype(np.float64)) >= 2.0**53)
            some = column[large]
            _refuse_inexact(some.tolist(), some.astype(kind), new.column_names[i], path)
    return np.column_stack([column.astype(kind) for column in columns])


def _refuse_inexact(values, floats, name, path):
    """Raise UserError if a float is not equal to its value, as it is written."""
    for value, number in zip(values, floats.tolist(), strict=True):
        if value is not None and decimal.Decimal(repr(number)) != value:
            raise UserError(
                f"{path}: column {name!r} holds {value}, which an array of {floats.dtype} cannot "
                "hold; write .csv or .parquet"
            )


def write(table, file):
    import pyarrow.parquet

    pyarrow.parquet.write_table(table, file)


# Types of text


def stored_as(table, names):
    """How an Arrow table stores the columns that have these names here, as plain values by name.

    `type` is the type in words, `arrow` a nested one as Arrow writes it. `levels` and `ordered` are
    those of a dictionary, and `pandas` is what pandas noted about the column.
    """
    import pyarrow as pa

    noted = pandas_metadata(table.schema).get("columns")
    noted = [one for one in noted if isinstance(one, dict)] if isinstance(noted, list) else []
    by_name = {one.get("field_name"): one for one in noted}
    found = {}
    for name, at in zip(names, places(table), strict=True):
        field = table.schema.field(at)
        kind = field.type
        found[name] = {"type": str(kind)}
        if pa.types.is_nested(kind) or isinstance(
            kind, pa.BaseExtensionType
        ):  # words say too little
            content = pa.schema([pa.field("", kind)]).serialize().to_pybytes()
            found[name]["arrow"] = base64.b64encode(content).decode()
        if pa.types.is_dictionary(kind):
            found[name] = {"type": str(kind.value_type), "ordered": bool(kind.ordered)}
            levels = _levels(table.column(at))
            found[name]["levels"] = levels if len(levels) <= MOST_LEVELS else []
            found[name]["index"] = str(kind.index_type)
        if field.name in by_name:
            found[name]["pandas"] = by_name[field.name]
    return found


def _levels(column):
    """The values of a dictionary column as text."""
    if not column.num_chunks:
        return []
    import pyarrow as pa

    return texts(pa.chunked_array([column.unify_dictionaries().chunk(0).dictionary])).to_pylist()


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


def typed(frame, columns=()):
    """The Arrow table of a frame, in which text is of the types of its Columns where it can be.

    A Column of a run that was trained on Parquet has the type that it had there.
    """
    import pyarrow as pa

    known = {column.name: column for column in columns}
    found, noted = {}, []
    for name in frame.columns:
        column = known.get(name)
        if column is None or not cells.is_text(frame[name]):
            found[str(name)] = pa.array(frame[name])
            continue
        found[str(name)] = _as_stored(frame[name], column) if column.stored else None
        if found[str(name)] is None:
            found[str(name)] = _typed(frame[name], column)
        elif "pandas" in column.stored:
            noted.append(column.stored["pandas"] | {"name": str(name), "field_name": str(name)})
    table = pa.table(found)
    if not noted:
        return table
    index = {"kind": "range", "name": None, "start": 0, "stop": len(frame), "step": 1}
    about = {"index_columns": [index], "column_indexes": [], "columns": noted}
    return table.replace_schema_metadata({"pandas": json.dumps(about | {"pandas_version": "3"})})


def _as_stored(cell, column):
    """Text as an Arrow array of the type in which it was stored, None for text of another one."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute

    text = cell.where(~column.missing(cell), "")
    stored = column.stored
    try:
        kind = type_of(stored)
        values = of_texts(text, kind)
        if "levels" not in stored:
            return values
        seen = pd.unique(text[text != ""]).tolist()
        levels = [*stored["levels"], *(level for level in seen if level not in stored["levels"])]
        levels = of_texts(pd.Series(levels, dtype="str"), kind)
        codes = pa.compute.index_in(values, value_set=levels).cast(type_named(stored["index"]))
        return pa.DictionaryArray.from_arrays(codes, levels, ordered=stored["ordered"])
    except (ArithmeticError, ValueError, pa.ArrowException):
        return None


def _typed(cell, column):
    """The cells of a column of text as numbers or dates, where all of them are, exactly."""
    import pyarrow as pa

    text = pa.array(cell, pa.large_string())
    style = {} if "epoch" in column.style else column.style
    if (
        column.kind == "ignore"
        or (column.levels and not style)
        or not MORE_THAN_TYPES.isdisjoint(style)
    ):
        return text
    gone = column.missing(cell)
    values, sides = cells.read(cell, style, column.own_marks)
    if (np.isnan(values) & ~gone).any() or sides.any():
        return text
    if "date" in style:
        ticks = pa.array(
            np.round(np.where(gone, 0, values) * DAY * 1e6).astype(np.int64), mask=gone
        )
        return ticks.cast(pa.timestamp("us"))
    plain = cell.str.strip()
    n_digits = plain[~gone].str.replace(r"\D", "", regex=True).str.lstrip("0").str.len()
    if not len(n_digits) or n_digits.max() <= EXACT:
        whole = column.whole and bool((values[~gone] == np.round(values[~gone])).all())
        floats = pa.array(values, pa.float64(), from_pandas=True)
        return floats.cast(pa.int64()) if whole else floats
    exact = [decimal.Decimal(c) if PLAIN.fullmatch(c) else None for c in plain[~gone].tolist()]
    if None in exact:
        return text
    for kind in (pa.int64(), pa.uint64()):
        if all(value == int(value) and within(value, kind) for value in exact):
            return of_texts(plain.where(~gone, ""), kind)
    floats = zip(values[~gone].tolist(), exact, strict=True)
    if all(decimal.Decimal(repr(number)) == value for number, value in floats):
        return pa.array(values, pa.float64(), from_pandas=True)
    return text


def within(value, kind):
    low, high = _limits(kind)
    return low <= value <= high
