"""Read Parquet as columns of numbers and text, and write it with the types that it had."""

import numpy as np

from parts.forms.cells import NESTED


def read(file):
    """The Arrow table of a file, and a dict of its columns without a stored index."""
    import pyarrow as pa
    import pyarrow.parquet

    # pandas' reader would also open folders of partitions and remote files.
    table = pa.parquet.read_table(file)
    index = (table.schema.pandas_metadata or {}).get("index_columns", [])
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if name in index:
            continue  # the index is not a column; it stays in the table
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            columns[name] = column.cast(pa.float64(), safe=False).to_numpy()
        else:
            columns[name] = _text(column)
    return table, columns


def _text(column):
    """Cells as text, \"\" for null; the text of lists and structures begins with NESTED."""
    import pandas as pd
    import pyarrow as pa

    try:
        return column.cast(pa.string()).fill_null("").to_pandas().astype("str")
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowTypeError):  # lists, structures
        cells = ["" if cell is None else f"{NESTED}{cell}" for cell in column.to_pylist()]
        return pd.Series(cells, dtype="str")


def write(frame, file, table=None, old=None):
    """Write a frame; cells equal to those in `old`, the frame of `table`, are not converted."""
    import pyarrow as pa
    import pyarrow.parquet

    if table is None:
        new = pa.Table.from_pandas(frame, preserve_index=False)
    else:
        new = table
        for name in frame.columns:
            if name in table.column_names:
                at = table.column_names.index(name)
                column = _filled(table.column(at), old[name], frame[name])
                new = new.set_column(at, table.schema.field(at).with_type(column.type), column)
            else:
                new = new.append_column(str(name), pa.array(frame[name]))
    pa.parquet.write_table(new, file)


def _filled(column, old, new):
    """Replace the changed cells of an Arrow column, in the type of the column."""
    import pyarrow as pa
    import pyarrow.compute

    same = (old == new) | (old.isna() & new.isna()) if old.dtype.kind == "f" else old == new
    changed = ~same.to_numpy(bool)
    kind = column.type
    if not changed.any() or pa.types.is_nested(kind):
        return column
    plain = kind.value_type if pa.types.is_dictionary(kind) else kind
    texts = np.where(changed, new.astype(object).map(str), None)
    texts = pa.array(texts, pa.string(), from_pandas=True)
    if pa.types.is_integer(plain) or pa.types.is_boolean(plain):
        texts = pa.compute.replace_substring_regex(texts, r"\.0$", "")
    filled = pa.compute.if_else(pa.array(changed), texts.cast(plain), column.cast(plain))
    if not pa.types.is_dictionary(kind):
        return filled
    levels = column.unify_dictionaries().chunk(0).dictionary
    codes = pa.compute.index_in(filled, value_set=levels).combine_chunks().cast(kind.index_type)
    return pa.chunked_array([pa.DictionaryArray.from_arrays(codes, levels, ordered=kind.ordered)])


def without_types(frame, table):
    """Cells of a typed file as a text file holds them: integers are written without decimals."""
    import pyarrow as pa

    whole = [f.name for f in table.schema if pa.types.is_integer(f.type) and f.name in frame]
    frame = frame.astype(dict.fromkeys(whole, "Int64"))
    for f in table.schema:
        if pa.types.is_nested(f.type) and f.name in frame:
            frame[f.name] = frame[f.name].str.removeprefix(NESTED)
    return frame
