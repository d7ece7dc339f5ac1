"""A user's file <-> numbers: reading, checking every cell, scaling and its inverse."""

import csv
import warnings
import zipfile
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from parts.errors import UserError

LARGEST = 8e307  # of a cell: the distance between two of them is still a number
BROKEN_FILE = (
    *(ValueError, OSError, EOFError, MemoryError, NotImplementedError),
    *(csv.Error, Warning, zipfile.BadZipFile, zlib.error),
)


@dataclass(frozen=True)
class Column:
    """A column and how it was scaled: model units = (value - shift) / scale."""

    name: str
    shift: float = 0.0
    scale: float = 1.0

    def to_dict(self):
        return asdict(self)


def standardize(x, names):
    """Columns with the mean and standard deviation of x [N, D]; a constant column has scale 1."""
    # Columns of 1e300 or 1e-300 are squared without overflow by dividing by a power of two first,
    # which is exact: all others come out as without it.
    power = np.frexp(np.abs(x).max(0))[1]
    unit = np.ldexp(x, -power)
    shift, scale = np.ldexp(unit.mean(0), power), np.ldexp(unit.std(0), power)
    constant = (np.ptp(unit, 0) == 0) | (scale == 0)
    shift[constant], scale[constant] = x[0, constant], 1.0  # exactly: a mean would be rounded
    return [Column(n, float(a), float(s)) for n, a, s in zip(names, shift, scale, strict=True)]


def to_model(x, columns):
    """User units -> model units, float32."""
    shift, scale = _shift_scale(columns)
    return ((x - shift) / scale).astype(np.float32)


def to_user(x, columns):
    """Model units -> user units, float64."""
    shift, scale = _shift_scale(columns)
    return np.asarray(x, np.float64) * scale + shift


def _shift_scale(columns):
    return np.array([(c.shift, c.scale) for c in columns]).T


def read_file(path):
    """x [N, D] float64, column names, and labels [N] or None, from .csv, .npy or .npz."""
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such file")
    if path.is_dir():
        raise UserError(f"{path} is a folder, expected a .csv, .npy or .npz file")
    if path.suffix.lower() not in READERS:
        raise UserError(f"{path}: unknown ending {path.suffix!r}, expected one of {list(READERS)}")
    try:
        x, names, labels = READERS[path.suffix.lower()](path)
    except UserError:
        raise
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text; save it as CSV in UTF-8") from None
    # Everything a parser says of a broken file; its first line is the useful one.
    except BROKEN_FILE as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise UserError(f"{path}: cannot be read as {path.suffix}: {reason[0]}") from error
    check_cells(x, names, path)
    return x, names, labels


def _read_csv(path):
    import pandas as pd

    names = _header(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # a row longer than the header
        frame = pd.read_csv(
            path,
            encoding="utf-8-sig",
            skipinitialspace=True,
            index_col=False,
            low_memory=False,
            skip_blank_lines=len(names) > 1,  # in a single column they are missing cells
        )
    if not len(frame):
        raise UserError(f"{path} has a header but no rows")
    columns = [_numeric(frame.iloc[:, i], name, path) for i, name in enumerate(names)]
    return np.column_stack(columns), names, None


def _header(path):
    with path.open(encoding="utf-8-sig", newline="") as file:
        names = next(csv.reader(file, skipinitialspace=True), None)
    if not names:
        raise UserError(f"{path} is empty, expected a header and rows of numbers")
    names = [name.strip() for name in names]
    for mark, said in ((";", "';'"), ("\t", "tabs")):
        if names[0].count(mark) > names[0].count(" ") and len(names) < 3:
            raise UserError(f"{path} separates its columns by {said}; save it with commas")
    # pandas heads a bare array with 0,1,2,...; any other line of numbers could be a row of data.
    numbers = all(_is_number(name) or not name for name in names)
    if numbers and names != [str(i) for i in range(len(names))]:
        first = ",".join(names)[:40]
        raise UserError(f"{path}: its first line is {first!r}, expected the columns' names")
    if "" in names:
        raise UserError(
            f"{path}: column {names.index('') + 1} has no name; name it, or drop it (an index?)"
        )
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


def _numeric(series, name, path):
    """A column as float64, or a UserError that names its first cell that is no number."""
    import pandas as pd

    values = pd.to_numeric(series, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    missing = series.isna().to_numpy()
    text = np.flatnonzero(np.isnan(values) & ~missing)
    if len(text):
        row = text[0]
        raise UserError(
            f"{path}: row {row + 1}, column {name!r} holds {str(series.iloc[row])[:40]!r}, "
            "expected a number; remove text columns or encode them as numbers"
        )
    return values


def _read_npy(path):
    with path.open("rb") as file:
        return *_matrix(np.load(file, allow_pickle=False), path), None


def _read_npz(path):
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        archive.testzip()
    with np.load(path, allow_pickle=False) as arrays:
        name = next((n for n in ("X", "x", "data") if n in arrays), None)
        if name is None:
            raise UserError(f"{path} holds {sorted(arrays)}, expected an array named X, x or data")
        labels = arrays.get("y")
        x, names = _matrix(arrays[name], path)
    if labels is not None and labels.shape != (len(x),):
        raise UserError(
            f"{path}: y has shape {labels.shape}, expected ({len(x)},), one per row of {name}"
        )
    return x, names, labels


def _matrix(array, path):
    if not isinstance(array, np.ndarray) or array.ndim != 2:
        shape = getattr(array, "shape", "no array")
        raise UserError(f"{path}: shape {shape}, expected [rows, columns]")
    if array.dtype.kind not in "biuf":
        raise UserError(f"{path}: values of type {array.dtype}, expected numbers")
    with np.errstate(over="ignore"):  # a long double may become inf, which is refused below
        array = array.astype(np.float64)
    return array, [f"c{i}" for i in range(array.shape[1])]


def check_cells(x, names, path):
    """Raise UserError for an empty table and for the first missing or infinite cell."""
    if 0 in x.shape:
        raise UserError(
            f"{path}: {x.shape[0]} rows and {x.shape[1]} columns, expected at least one of each"
        )
    bad = ~(np.abs(x) <= LARGEST)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        what = "is missing" if np.isnan(x[row, column]) else f"is {x[row, column]}"
        raise UserError(
            f"{path}: row {row + 1}, column {names[column]!r} {what}, expected a finite number "
            f"up to {LARGEST:g}; {bad.sum()} such cells in all: fill or drop them"
        )


READERS = {".csv": _read_csv, ".npy": _read_npy, ".npz": _read_npz}
