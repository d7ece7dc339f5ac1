"""Read tables from text, Excel, Parquet and NumPy files strictly, and write them back.

Cells of text files are kept as text, so that cells which do not change are written unchanged.
Cells of the other files keep their types.
"""

import io
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from parts import files
from parts.errors import UserError, stage
from parts.files import PACKED, STANDARD, ending
from parts.forms import arrays, cells, units
from parts.forms.config import DataConfig
from parts.forms.tables import headers, streams, text_files
from parts.words import counted

TEXT = (".csv", ".tsv", ".txt", ".dat", ".data")
EXPECTED = (
    f"{', '.join(TEXT)} (each also with {' or '.join(PACKED)} behind it), .xlsx, .parquet, .npy, "
    f".npz, or {STANDARD} for standard input"
)


@dataclass
class File:
    """The table of a file: numeric columns, or columns of text in which \"\" is an empty cell.

    `as_written` says what a file of the same form needs; `notes` are sentences for the user.
    """

    path: Path
    frame: object  # pandas.DataFrame
    labels: np.ndarray | None = None
    factors: np.ndarray | None = None  # structured [N], with a field for each generating factor
    as_written: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)


def read(path, config=None):
    """Read the File at `path` with the options READING of a DataConfig, or the default ones.

    A UserError says in one line what is wrong with the file.
    """
    file = parse(path, READERS, config or DataConfig())
    n_rows, n_columns = file.frame.shape
    if not n_rows and file.as_written.get("header"):
        raise UserError(f"{files.shown_path(path)} has a header but no rows")
    if not n_rows or not n_columns:
        raise UserError(
            f"{files.shown_path(path)}: {n_rows} rows and {n_columns} columns, expected at least "
            "one of each"
        )
    return file


def refuse_unreadable(path, readers):
    """Raise UserError unless the path is a file with the ending of a reader."""
    path = Path(path)
    if str(path) == STANDARD and STANDARD in readers:
        return
    expected = EXPECTED if readers is READERS else ", ".join(readers)
    files.refuse_no_file(path, f"a file ending in {expected}")
    if ending(path) not in readers:
        raise UserError(f"{path}: unknown ending {ending(path)!r}, expected one of {expected}")


def parse(path, readers, *options):
    """Read a path by the reader of its ending; errors of the reader become a UserError."""
    refuse_unreadable(path, readers)
    path = Path(path)
    form = "text" if str(path) == STANDARD else ending(path)
    with stage(f"{files.shown_path(path)} cannot be read as {form}"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # libraries warn of what is refused or read all the same
        return readers[ending(path)](path, *options)


def _read_text(path, config):
    table, text, header, notes = text_files.read(path, ending(path), config)
    as_written = {"text": text, "header": header}
    return File(path, table.to_pandas(), as_written=as_written, notes=notes)


def _read_excel(path, config):
    from parts.forms.tables import excel

    frame, sheet, notes = excel.read(path, config)
    return File(path, frame, as_written={"sheet": sheet, "header": sheet.header}, notes=notes)


def _read_parquet(path, config):
    import pandas as pd

    from parts.forms.tables import parquet

    table, header, columns = parquet.read(path)
    names, notes = headers.names_of(header)
    frame = pd.DataFrame(dict(zip(names, columns, strict=True)))
    return File(path, frame, as_written={"table": table, "header": header}, notes=notes)


def _read_array(path, config):
    array, labels, factors, as_written = arrays.ARRAY_READERS[ending(path)](path)
    frame = _matrix(array, path)
    return File(path, frame, labels, factors, as_written | {"array": array})


def _matrix(array, path):
    import pandas as pd

    if not isinstance(array, np.ndarray) or array.ndim != 2:
        shape = getattr(array, "shape", "no array")
        raise UserError(
            f"{path}: shape {shape}, expected [rows, columns], or pictures [N, H, W] or "
            "[N, C, H, W]"
        )
    if array.dtype.kind not in "biuf":
        raise UserError(f"{path}: values of type {array.dtype}, expected numbers")
    with np.errstate(over="ignore"):  # a long double may become inf, which is refused later
        array = array.astype(np.float64)
    return pd.DataFrame(array, columns=headers.numbered(array.shape[1]))


def dialect_of(file):
    """The Dialect of a text file, None for another file."""
    text = file.as_written.get("text")
    if text is None:
        return None
    return text_files.Dialect.of(text, file.as_written["header"], list(file.frame.columns))


def stored_as(file):
    """How a Parquet file stores its columns, as plain values by name; {} for other files."""
    if "table" not in file.as_written:
        return file.as_written.get("stored", {})  # of a file to which rows were added
    from parts.forms.tables import parquet

    return parquet.stored_as(file.as_written["table"], file.frame.columns)


# Write


def write(frame, path, like, columns=()):
    """Write a DataFrame of text or numbers to `path`, in the form of the File `like` where it can.

    A text file keeps all but its changed cells; Parquet its types and index. Where text becomes
    Parquet or Excel, the Columns say which of it are numbers and dates.
    """
    path = Path(path)
    if str(path) == STANDARD:
        file = io.BytesIO()
        WRITERS[STANDARD](frame, like, path, columns, file)
        streams.write_standard_output(file.getvalue())
    else:
        writer = WRITERS[ending(path)]
        files.write_atomic(path, lambda file: writer(frame, like, path, columns, file))


def refuse_output(path, overwrite, source=None, text=False):
    """Raise UserError if `path` cannot be written, see `files.refuse_output`.

    With `text` some cells are not numbers, so that arrays are refused as well.
    """
    endings = [ending for ending in WRITERS if not (text and ending in arrays.ARRAY_READERS)]
    files.refuse_output(path, overwrite, source, endings)


def size_in_words(frame):
    """The numbers of rows and columns of a table, in words."""
    return f"{counted(len(frame), 'row')}, {counted(len(frame.columns), 'column')}"


def _write_text(frame, like, path, columns, file):
    text = like.as_written.get("text")
    own = text is not None and _is_table_of(frame, like)
    if own and _is_same_form(path, like.path, text.grid.delimiter):
        content = text.encoding.encode(text_files.edited(text, frame, like.frame))
    elif _is_same_dialect(path, like):
        has_header = like.as_written.get("header", ()) is not None
        content = like.as_written["dialect"].written(frame, has_header)
    else:
        names = _header_as_written(frame, like)
        delimiter = "\t" if ending(path).startswith(".tsv") else ","
        content = text_files.fresh(_exact(frame, like), names, delimiter)
    file.write(streams.packed_as(content, path))


def _is_same_dialect(path, like):
    """Whether new rows may be written to a path as the text file of the rows of a run is."""
    dialect = like.as_written.get("dialect")
    return dialect is not None and _is_same_form(path, like.path, dialect.delimiter)


def _is_table_of(frame, like):
    """Whether the frame has the rows and columns of the File, and perhaps columns behind them."""
    n_rows, n_columns = like.frame.shape
    return len(frame) == n_rows and list(frame.columns[:n_columns]) == list(like.frame.columns)


def _is_same_form(path, source, delimiter):
    """Whether a text file may be written as its source is: by their endings, packed or not."""
    new, old = (
        next((e for e in TEXT if ending(p).startswith(e)), STANDARD) for p in (path, source)
    )
    usual = {".csv": ",;", ".tsv": "\t"}
    return new == old or delimiter in usual.get(new, delimiter)


def _header_as_written(frame, like):
    """The header's text of the file's own columns, and the names of added columns.

    None where the file has no header, and no column is added.
    """
    header = like.as_written.get("header", ())
    if header is None and frame.shape[1] == like.frame.shape[1]:
        return None
    own = dict(zip(like.frame.columns, header or (), strict=False))
    return [own.get(name, name) for name in frame.columns]


def _exact(frame, like):
    """The frame, in which cells that were not changed are written to their last digit."""
    if "table" in like.as_written:
        from parts.forms.tables import parquet

        return parquet.exact_texts(frame, like.as_written["table"], like.frame)
    if "array" in like.as_written:
        array = like.as_written["array"]
        own = {name: array[:, j] for j, name in enumerate(like.frame) if name in frame}
        if array.dtype.kind in "biu" and len(frame) == len(array):
            frame = frame.copy()
            for name, values in own.items():
                if (frame[name] == like.frame[name]).all():
                    frame[name] = values.astype(np.uint8) if array.dtype.kind == "b" else values
    return frame


def _write_parquet(frame, like, path, columns, file):
    from parts.forms.tables import parquet

    table = like.as_written.get("table")
    if table is None:
        parquet.write(parquet.typed(frame, columns), file)
    else:
        parquet.write(parquet.changed(frame, table, like.frame), file)


def _write_excel(frame, like, path, columns, file):
    from parts.forms.tables import excel, parquet

    sheet, table = like.as_written.get("sheet"), like.as_written.get("table")
    if sheet is not None and _is_table_of(frame, like):
        excel.edit(sheet, frame, like.frame, file)
    elif table is not None:
        excel.write(
            parquet.changed(frame, table, like.frame), _header_as_written(frame, like), file
        )
    else:
        exact = parquet.typed(_exact(frame, like), columns)
        excel.write(exact, _header_as_written(frame, like), file)


def _write_npy(frame, like, path, columns, file):
    np.save(file, _numbers(frame, like, path, columns))


def _write_npz(frame, like, path, columns, file):
    name, others = like.as_written.get("name", "X"), like.as_written.get("others", {})
    files.write_npz(file, others | {name: _numbers(frame, like, path, columns)})


def _numbers(frame, like, path, columns):
    """The frame as an array of the source's type; UserError for a number that it cannot hold."""
    source = like.as_written.get("array")
    if source is not None and frame.shape == source.shape:
        same = np.array_equal(frame.to_numpy(), like.frame.to_numpy(), equal_nan=True)
        return source if same else frame.to_numpy(np.float64).astype(source.dtype)
    if "table" in like.as_written:
        from parts.forms.tables import parquet

        return parquet.as_array(frame, like.as_written["table"], like.frame, path)
    known, found = {column.name: column for column in columns}, []
    for name in frame.columns:
        column = known.get(name, units.Column(name))
        found.append(cells.numbers(frame[name], column.style, column.own_marks))
        unread = np.isnan(found[-1]) & ~column.missing(frame[name])
        if unread.any():
            cell = str(frame[name].iloc[int(unread.argmax())])[:40]
            raise UserError(
                f"{path}: column {name!r} holds {cell!r}, and an array numbers only; write .csv or "
                ".parquet"
            )
    return np.column_stack(found)


_PACKED_TEXT = [kind + packed for packed in ("", *PACKED) for kind in TEXT]
READERS = {
    **dict.fromkeys((*_PACKED_TEXT, STANDARD), _read_text),
    ".xlsx": _read_excel,
    ".parquet": _read_parquet,
    ".npy": _read_array,
    ".npz": _read_array,
}
WRITERS = {
    **dict.fromkeys((*_PACKED_TEXT, STANDARD), _write_text),
    ".xlsx": _write_excel,
    ".parquet": _write_parquet,
    ".npy": _write_npy,
    ".npz": _write_npz,
}
