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
from parts.forms.tables import arrow_cells

MORE_THAN_TYPES = {"clock", "duration", "zone", "mixed"}  # keys of styles whose cells stay text
PLAIN = re.compile(r"[+-]?\d+(?:\.\d*)?")  # numbers whose digits are all that there is
MOST_LEVELS = 1000  # levels of a dictionary that a run keeps
BYTES_EACH = 24  # memory of a cell while a table is read


def read(path):
    """The Arrow table of a file, and names and cells of its columns without a stored index."""
    import pyarrow as pa
    import pyarrow.parquet

    # pandas' reader would also open folders of partitions and remote files. A file of Python's is
    # not given: after an error a thread of Arrow may free its buffers while Python is ending, and
    # that aborts the process.
    with pa.OSFile(str(path)) as file, pa.parquet.ParquetFile(file) as source:
        meta = source.metadata
        n_cells = meta.num_rows * meta.num_columns
        memory.refuse_beyond_memory(f"{path} with {n_cells} cells", n_cells, BYTES_EACH, "cells")
        table = source.read()
    table.validate(full=True)  # of a damaged file the text may be none
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


def _cells(column):
    """A column as the model sees it: numbers as float64, all else as text."""
    import pandas as pd

    column = arrow_cells.plain(column)
    if arrow_cells.is_number(column.type):
        return arrow_cells.floats_of(column)
    return pd.Series(arrow_cells.texts(column), dtype="str")


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
            table = table.append_column(str(name), arrow_cells.of_texts(_spelt(frame[name]), kind))
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
    plain = arrow_cells.plain(column).combine_chunks()
    places = np.arange(len(plain))
    places[at] = len(plain) + np.arange(len(at))
    values = arrow_cells.of_texts(_spelt(new.iloc[at]), plain.type)
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
        text = arrow_cells.texts(spelt[name], local=True).to_pandas()
        found[name] = pd.Series(text, dtype="str").str.removeprefix(NESTED)
    return pd.DataFrame(found)


def as_array(frame, table, old, path):
    """The frame as an array [N, D] of integers or floats that holds each number exactly."""
    import pyarrow as pa

    new = changed(frame, table, old)
    own = places(new)
    columns = []
    for i in own:
        column = arrow_cells.plain(new.column(i))
        if pa.types.is_integer(column.type) and not column.null_count:
            columns.append(column.to_numpy())
            continue
        floats = arrow_cells.floats_of(column)
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

    return arrow_cells.texts(
        pa.chunked_array([column.unify_dictionaries().chunk(0).dictionary])
    ).to_pylist()


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
            if pa.types.is_integer(found[str(name)].type):  # with holes pandas would read floats
                kind = str(found[str(name)].type)
                noted.append(_noted(name, kind, kind.replace("i", "I").replace("u", "U")))
        elif "pandas" in column.stored:
            noted.append(column.stored["pandas"] | {"name": str(name), "field_name": str(name)})
    table = pa.table(found)
    if not noted:
        return table
    index = {"kind": "range", "name": None, "start": 0, "stop": len(frame), "step": 1}
    about = {"index_columns": [index], "column_indexes": [], "columns": noted}
    return table.replace_schema_metadata({"pandas": json.dumps(about | {"pandas_version": "3"})})


def _noted(name, kind, dtype):
    """What pandas notes about a column."""
    names = {"name": str(name), "field_name": str(name)}
    return names | {"pandas_type": kind, "numpy_type": dtype, "metadata": None}


def _as_stored(cell, column):
    """Text as an Arrow array of the type in which it was stored, None for text of another one."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute

    text = cell.where(~column.missing(cell), "")
    stored = column.stored
    try:
        kind = arrow_cells.type_of(stored)
        values = arrow_cells.of_texts(text, kind)
        if "levels" not in stored:
            return values
        seen = pd.unique(text[text != ""]).tolist()
        levels = [*stored["levels"], *(level for level in seen if level not in stored["levels"])]
        levels = arrow_cells.of_texts(pd.Series(levels, dtype="str"), kind)
        codes = pa.compute.index_in(values, value_set=levels).cast(
            arrow_cells.type_named(stored["index"])
        )
        return pa.DictionaryArray.from_arrays(codes, levels, ordered=stored["ordered"])
    except (ArithmeticError, ValueError, pa.ArrowException):
        return None


def _typed(cell, column):
    """The cells of a column of text as numbers or dates, where all of them are, exactly."""
    import pyarrow as pa

    text = pa.array(cell, pa.large_string())
    style = {} if "epoch" in column.style else column.style
    is_text = column.kind == "ignore" or (column.levels and not style)
    if is_text or not MORE_THAN_TYPES.isdisjoint(style):
        return text
    gone = column.missing(cell)
    values, sides = cells.read(cell, style, column.own_marks)
    if (np.isnan(values) & ~gone).any() or sides.any():
        return text
    if "date" in style:
        ticks = np.round(np.where(gone, 0, values) * arrow_cells.DAY * 1e6).astype(np.int64)
        return pa.array(ticks, mask=gone).cast(pa.timestamp("us"))
    plain = cell.str.strip()
    n_digits = plain[~gone].str.replace(r"\D", "", regex=True).str.lstrip("0").str.len()
    if not len(n_digits) or n_digits.max() <= arrow_cells.EXACT:
        whole = column.whole and bool((values[~gone] == np.round(values[~gone])).all())
        floats = pa.array(values, pa.float64(), from_pandas=True)
        return floats.cast(pa.int64()) if whole else floats
    exact = [decimal.Decimal(c) if PLAIN.fullmatch(c) else None for c in plain[~gone].tolist()]
    if None in exact:
        return text
    for kind in (pa.int64(), pa.uint64()):
        if all(value == int(value) and arrow_cells.within(value, kind) for value in exact):
            return arrow_cells.of_texts(plain.where(~gone, ""), kind)
    floats = zip(values[~gone].tolist(), exact, strict=True)
    if all(decimal.Decimal(repr(number)) == value for number, value in floats):
        return pa.array(values, pa.float64(), from_pandas=True)
    return text
