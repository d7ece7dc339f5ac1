"""Read and write arrays in .npy and .npz files, with the labels and factors of an .npz."""

import math
import warnings
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib.recfunctions import unstructured_to_structured

from parts import files, memory
from parts.errors import UserError

ARRAY_NAMES = ("X", "x", "data")  # names of the array in an .npz; the first that exists is read


def n_axes(path):
    """The number of axes of the array in a .npy or .npz file, from its header; 0 without one."""
    path = Path(path)
    if path.suffix.lower() not in ARRAY_READERS or not path.is_file():
        return 0
    try:
        with path.open("rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python, which parses the header
            if path.suffix.lower() == ".npy":
                return len(header_of(file)[0])
            with zipfile.ZipFile(file) as archive:
                name = next(n for n in ARRAY_NAMES if f"{n}.npy" in archive.namelist())
                with archive.open(f"{name}.npy") as member:
                    return len(header_of(member)[0])
    except Exception:  # of whatever kind: reading the file reports it
        return 0


def header_of(file):
    """The shape and the dtype in the header of an open .npy file."""
    form = np.lib.format
    version = form.read_magic(file)
    read = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
    shape, _, dtype = read(file)
    return shape, dtype


def refuse_beyond_memory(file, path):
    """Raise UserError if the array of an open .npy file is larger than memory or than the file."""
    shape, dtype = header_of(file)
    n_cells = math.prod(map(int, shape))
    memory.refuse_beyond_memory(f"{path}: its array of shape {shape}", n_cells, 8, "cells")
    file.seek(0)


def read_npy(path):
    with path.open("rb") as file:
        refuse_beyond_memory(file, path)
        return np.load(file, allow_pickle=False), None, None, {}


def read_npz(path):
    with path.open("rb") as file, zipfile.ZipFile(file) as archive:
        n_bytes = sum(member.file_size for member in archive.infolist())
        memory.refuse_beyond_memory(f"{path}, unpacked,", n_bytes, 1, "bytes")
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
    """Write the array as .npy or .npz; an .npz also gets the other arrays of the read file."""
    if Path(path).suffix.lower() == ".npy":
        return files.write_atomic(path, lambda file: np.save(file, array))
    whole = as_written.get("others", {}) | {as_written.get("name", "X"): array}
    return files.write_arrays(path, whole)


# A reader returns the array, labels or None, factors or None, and a dict for `write`.
ARRAY_READERS = {".npy": read_npy, ".npz": read_npz}
