"""Arrays in .npy and .npz files: of any shape, with labels and factors where an .npz has them."""

import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.lib.recfunctions import unstructured_to_structured

from parts import files
from parts.errors import UserError

ARRAY_NAMES = ("X", "x", "data")  # in an .npz, the first of these that is there
BROKEN = (
    *(ValueError, OSError, EOFError, MemoryError, NotImplementedError),
    *(Warning, zipfile.BadZipFile, zlib.error),
)  # what reading a broken file may raise


def n_axes(path):
    """Axes of the array in a .npy or .npz file, by its header alone; 0 where there is none."""
    path = Path(path)
    try:
        if path.suffix.lower() == ".npy":
            with path.open("rb") as file:
                return len(shape_of(file))
        if path.suffix.lower() == ".npz":
            with path.open("rb") as file, zipfile.ZipFile(file) as archive:
                name = next(n for n in ARRAY_NAMES if f"{n}.npy" in archive.namelist())
                with archive.open(f"{name}.npy") as member:
                    return len(shape_of(member))
    except (*BROKEN, StopIteration):
        return 0  # reading it says what is wrong
    return 0


def shape_of(file):
    form = np.lib.format
    version = form.read_magic(file)
    read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
    return read(file)[0]


def read_npy(path):
    with path.open("rb") as file:
        return np.load(file, allow_pickle=False), None, None, {}


def read_npz(path):
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        archive.testzip()
    with np.load(path, allow_pickle=False) as arrays:
        name = next((n for n in ARRAY_NAMES if n in arrays), None)
        if name is None:
            raise UserError(f"{path} holds {sorted(arrays)}, expected an array named X, x or data")
        array, labels, factors = arrays[name], arrays.get("y"), arrays.get("factors")
        factor_names = arrays.get("factor_names")
        others = {key: arrays[key] for key in arrays if key != name}
    rows = getattr(array, "shape", ())[:1]
    if labels is not None and labels.shape != rows:
        raise UserError(
            f"{path}: y has shape {labels.shape}, expected {rows}, one per row of {name}"
        )
    if factors is not None:
        factors = factors_of(factors, factor_names, rows, path)
    return array, labels, factors, {"name": name, "others": others}


def factors_of(array, names, rows, path):
    if array.ndim != 2 or array.shape[:1] != rows or not array.shape[1]:
        raise UserError(
            f"{path}: factors has shape {array.shape}, expected ({rows[0]}, number of factors)"
        )
    if array.dtype.kind not in "biuf":
        raise UserError(f"{path}: factors of type {array.dtype}, expected whole numbers")
    n_factors = array.shape[1]
    names = [f"factor {k}" for k in range(n_factors)] if names is None else [*map(str, names.flat)]
    if len(names) != n_factors or len(set(names)) < n_factors or "" in names:
        raise UserError(f"{path}: factor_names is {names}, expected {n_factors} different names")
    return unstructured_to_structured(array, names=names)


def write(path, array, as_written):
    """The array in the form of the path's ending, with what else was read beside it."""
    if Path(path).suffix.lower() == ".npy":
        return files.write_atomic(path, lambda file: np.save(file, array))
    whole = as_written.get("others", {}) | {as_written.get("name", "X"): array}
    return files.write_atomic(path, lambda file: np.savez_compressed(file, **whole))


# Array, labels or None, factors or None, and what else is there.
ARRAY_READERS = {".npy": read_npy, ".npz": read_npz}
