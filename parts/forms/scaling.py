"""Scale rows of numbers linearly to model units, in blocks of bounded size.

Pictures may be bytes, where 255 stands for 1. The result is float32, computed once for each split.
"""

import hashlib
from pathlib import Path

import numpy as np

from parts.forms import units

BLOCK = 2**20  # numbers that are scaled at a time


def fit(x, rows, names, scaling):
    """A Column for each name: unscaled, or (`standard`) with mean 0 and variance 1 over `rows`."""
    if scaling != "standard":
        return [units.Column(name) for name in names]
    n = max(1, BLOCK // len(rows))
    cuts = [slice(start, start + n) for start in range(0, len(names), n)]
    pieces = [units.standardize(to_unit_interval(x[:, cut][rows]), names[cut]) for cut in cuts]
    return [column for piece in pieces for column in piece]


def to_unit_interval(x):
    """Map bytes 0..255 to [0, 1], float64; the values of floats stay the same."""
    return x / 255 if x.dtype == np.uint8 else x.astype(np.float64)


def to_model(x, rows, columns, unscaled=False):
    """The rows numbered `rows` of x [N, D] in model units, or unscaled, as float32."""
    out = np.empty((len(rows), x.shape[1]), np.float32)
    n = max(1, BLOCK // x.shape[1])
    for start in range(0, len(rows), n):
        block = to_unit_interval(x[rows[start : start + n]])
        with np.errstate(over="ignore"):
            out[start : start + n] = block if unscaled else units.to_model(block, columns)
        if not np.abs(out[start : start + n]).max() < units.MAX_SCALED:
            units.check_distance(block, columns)  # raises UserError with the column's name
    return out


def binarized(x, rng):
    """Draw each pixel as 0 or 1, with its grey value as the probability of 1."""
    return (rng.random(x.shape, np.float32) < x).astype(np.float32)


def file_hash(path):
    """A short hash of a file's bytes."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def bytes_hash(content):
    """A short hash of bytes."""
    return hashlib.sha256(content).hexdigest()[:16]


def array_hash(x, names, labels=None):
    """A short hash of an array, its columns' names and labels."""
    said = "\x1f".join(names).encode()
    digest = hashlib.sha256(said + (b"" if labels is None else np.asarray(labels).tobytes()))
    digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()[:16]
