"""Read tables from CSV, TSV, Parquet and NumPy files strictly, and write them back.

Cells of text files are kept as text, so that cells which do not change are written unchanged.
"""

import csv
import itertools
import re
import warnings
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from parts import files
from parts.errors import UserError, stage
from parts.forms import arrays
from parts.forms.config import DataConfig

DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
N_SNIFFED = 2**16  # bytes from which the form of a text file is inferred


@dataclass
class File:
    """The table of a file: numeric columns, or columns of text in which \"\" is an empty cell.

    `as_written` says what a file of the same form needs.
    """

    path: Path
    frame: object  # pandas.DataFrame
    labels: np.ndarray | None = None
    factors: np.ndarray | None = None  # structured [N], with a field for each generating factor
    as_written: dict = field(default_factory=dict)


def read(path, config=None):
    """Read the File at `path` with the options READING of a DataConfig, or the default ones.

    A UserError says in one line what is wrong with the file.
    """
    config = config or DataConfig()
    file = parse(path, {ending: partial(read, config=config) for ending, read in READERS.items()})
    n_rows, n_columns = file.frame.shape
    if not n_rows and file.as_written.get("header"):
        raise UserError(f"{path} has a header but no rows")
    if not n_rows or not n_columns:
        raise UserError(
            f"{path}: {n_rows} rows and {n_columns} columns, expected at least one of each"
        )
    return file


def refuse_unreadable(path, readers):
    """Raise UserError unless the path is a file with the ending of a reader."""
    path = Path(path)
    files.refuse_no_file(path, f"a file ending in {', '.join(readers)}")
    if path.suffix.lower() not in readers:
        raise UserError(f"{path}: unknown ending {path.suffix!r}, expected one of {list(readers)}")


def parse(path, readers):
    """Read a path by the reader of its ending; errors of the reader become a UserError."""
    refuse_unreadable(path, readers)
    path = Path(path)
    ending = path.suffix.lower()
    with stage(f"{path} cannot be read as {ending}"):
        return readers[ending](path)


def _read_text(path, config):
    import pandas as pd

    with path.open("rb") as raw:
        start = raw.read(N_SNIFFED)
    if b"\0" in start:
        raise UserError(f"{path} is not UTF-8 text; save it as CSV in UTF-8")
    encoding = config.encoding or config.other_encoding or "utf-8-sig"
    delimiter, header, spaced, n_above = _header(path, start)
    if config.no_header:
        header = [f"c{i}" for i in range(len(header))]
    names = _names(header, path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row longer than the header
        frame = pd.read_csv(
            path,
            sep=delimiter,
            dtype=str,
            keep_default_na=False,  # the text NA stays text here; `cells.missing` decides
            encoding=encoding,
            header=None if config.no_header else "infer",
            skipinitialspace=spaced,
            skiprows=n_above,
            index_col=False,
            skip_blank_lines=False,
        )
    frame.columns = names
    frame = frame.fillna("")
    if len(names) > 1 and (frame.iloc[:, -1] == "").any():  # pandas pads short rows in silence
        frame = frame.iloc[: _n_whole_rows(path, delimiter, len(names), n_above + 1)]
    newline = "\r\n" if b"\r\n" in start else "\n"
    written = {"header": header, "delimiter": delimiter, "newline": newline}
    return File(path, frame, as_written=written | {"bom": start[:3] == b"\xef\xbb\xbf"})


def _n_whole_rows(path, delimiter, n_columns, n_above):
    """The number of rows before empty lines at the end; UserError for a row that lacks cells."""
    n_rows, n_empty = 0, 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=delimiter)
        for row in itertools.islice(rows, n_above, None):
            if not row:
                n_empty += 1
                continue
            if n_empty or len(row) < n_columns:
                number = n_rows + 1
                short = f"has fewer cells than the header's {n_columns}"
                what = "is an empty line" if n_empty else short
                raise UserError(f"{path}: row {number} {what}; mend or delete it")
            n_rows += 1
    return n_rows


def _header(path, start):
    """The delimiter, the cells of the header, whether quotes follow a space, the lines above."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        line = next(file, "")
        said = re.fullmatch(r"sep=(.)\r?\n?", line)  # spreadsheets declare the delimiter so
        line = next(file, "") if said else line
        if not line.strip():
            raise UserError(f"{path} is empty, expected a header and rows")

        def cells(delimiter, **options):
            file.seek(0)
            rows = csv.reader(file, delimiter=delimiter, **options)
            return next(itertools.islice(rows, int(bool(said)), None), [])

        n_cells = {delimiter: len(cells(delimiter)) for delimiter in DELIMITERS}
        best = said[1] if said else max(n_cells, key=n_cells.get)  # the first of equals: commas
        if not said and n_cells[best] == 1 and path.suffix.lower() == ".tsv":
            best = "\t"
        spaced = f'{best} "'.encode() in start  # quotes after a space also quote
        return best, cells(best, skipinitialspace=spaced), spaced, int(bool(said))


def _names(header, path):
    names = [name.strip() for name in header]
    # pandas heads a bare array with 0,1,2,...; any other line of numbers could be a row of data.
    numbers = all(_is_number(name) or not name for name in names)
    if numbers and any(names) and names != [str(i) for i in range(len(names))]:
        first = ",".join(names)[:40]
        raise UserError(f"{path}: its first line is {first!r}, expected the columns' names")
    names = [name or f"unnamed {i + 1}" for i, name in enumerate(names)]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise UserError(f"{path} has more than one column named {duplicates[0]!r}; rename them")
    return names


def _is_number(text):
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_parquet(path, config):
    import pandas as pd

    from parts.forms.tables import parquet

    with path.open("rb") as file:
        table, columns = parquet.read(file)
    header = list(columns)
    frame = pd.DataFrame(dict(zip(_names(header, path), columns.values(), strict=True)))
    return File(path, frame, as_written={"table": table, "header": header})


def _read_array(path, config):
    array, labels, factors, as_written = arrays.ARRAY_READERS[path.suffix.lower()](path)
    return File(path, _matrix(array, path), labels, factors, as_written)


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
    return pd.DataFrame(array, columns=[f"c{i}" for i in range(array.shape[1])])


def write(frame, path, like):
    """Write a DataFrame of text or numbers to `path`, in the form of the File `like` where it can.

    A text file keeps its delimiter, line ends and header; Parquet its types and index.
    """
    path = Path(path)
    files.write_atomic(path, partial(WRITERS[path.suffix.lower()], frame, like, path))


def refuse_output(path, overwrite, source=None, text=False):
    """Raise UserError if `path` cannot be written, see `files.refuse_output`.

    With `text` some cells are not numbers, so that arrays are refused as well.
    """
    endings = [ending for ending in WRITERS if not (text and ending in arrays.ARRAY_READERS)]
    files.refuse_output(path, overwrite, source, endings)


def _write_text(frame, like, path, file):
    import pandas as pd

    same = path.suffix.lower() == like.path.suffix.lower()
    form = like.as_written if same and "delimiter" in like.as_written else {}
    if "table" in like.as_written:
        from parts.forms.tables import parquet

        frame = parquet.without_types(frame, like.as_written["table"])
    delimiter = form.get("delimiter", "\t" if path.suffix.lower() == ".tsv" else ",")
    header = _header_as_written(frame, like)
    if form.get("bom"):
        file.write(b"\xef\xbb\xbf")
    text = [header, *(frame[name] for name in frame if frame[name].dtype.kind not in "biuf")]
    # pandas does not quote a lone carriage return, which readers take for the end of a row.
    returns = any(pd.Series(cells, dtype="str").str.contains(r"\r(?!\n)").any() for cells in text)
    quoting = csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
    newline = form.get("newline", "\n")
    frame.to_csv(
        file, sep=delimiter, index=False, header=header, lineterminator=newline, quoting=quoting
    )


def _header_as_written(frame, like):
    """The header's text of the file's own columns, and the names of added columns."""
    own = dict(zip(like.frame.columns, like.as_written.get("header", ()), strict=False))
    return [own.get(name, name) for name in frame.columns]


def _write_parquet(frame, like, path, file):
    from parts.forms.tables import parquet

    parquet.write(frame, file, like.as_written.get("table"), like.frame)


def _write_npy(frame, like, path, file):
    np.save(file, frame.to_numpy(np.float64))


def _write_npz(frame, like, path, file):
    name, others = like.as_written.get("name", "X"), like.as_written.get("others", {})
    files.write_npz(file, others | {name: frame.to_numpy(np.float64)})


READERS = {
    ".csv": _read_text,
    ".tsv": _read_text,
    ".parquet": _read_parquet,
    ".npy": _read_array,
    ".npz": _read_array,
}
WRITERS = {
    ".csv": _write_text,
    ".tsv": _write_text,
    ".parquet": _write_parquet,
    ".npy": _write_npy,
    ".npz": _write_npz,
}
