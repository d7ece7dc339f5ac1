"""Read pictures from a folder, idx files and arrays.

The result is a Source of bytes 0..255 or float32 in [0, 1], channels first. No function copies the
whole array; encoding makes the float32 rows of each split.
"""

import contextlib
import gzip
import math
import struct
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np

from parts import memory
from parts.errors import UserError, stage
from parts.forms import arrays
from parts.forms.base import Source
from parts.forms.pictures.shapes import names
from parts.forms.tables import table_files

ENDINGS = (".png", ".jpg", ".jpeg")
FORMATS = ("PNG", "JPEG")  # what is in such files, whatever their endings
BYTES_PER_PIXEL = 4  # least that a pixel takes, as float32 in training
BYTES_PER_COLUMN = 1000  # least that a column of a run takes
# The first four bytes of an idx file of unsigned bytes, and its number of axes.
IDX_MAGIC = {"images": (2051, 3), "labels": (2049, 1)}


def source(x, shape, labels=None, n_test=None):
    """The Source of pictures x [N, ...] of `shape` (C, H, W)."""
    shape = tuple(map(int, shape))
    return Source(x.reshape(len(x), math.prod(shape)), names(shape), labels, shape, n_test)


def holds_pictures(path):
    """Whether `path` holds pictures: a folder of some, or an array of three axes or four."""
    if Path(path).is_dir():
        return any(is_picture(Path(path), each) for each in Path(path).rglob("*"))
    return arrays.n_axes(path) in (3, 4)


def read(path, size=None, grey=False, holes=False):
    """Read pictures from a folder or an array file; with `holes` NaN is a missing pixel."""
    if Path(path).is_dir():
        return replace(read_folder(path, size, grey), path=Path(path))
    array, labels, factors, written = table_files.parse(path, arrays.ARRAY_READERS)
    missing = np.isnan(array) if holes and array.dtype.kind == "f" else None
    whole = array if missing is None else np.where(missing, array.dtype.type(0), array)
    found = of_array(whole, labels, path)
    mask = None if missing is None else ~missing.reshape(found.x.shape)
    return replace(
        found, factors=factors, path=Path(path), mask=mask, original=array, as_written=written
    )


# Arrays


def of_array(array, labels, path):
    """The Source of pictures [N, H, W] or [N, C, H, W]: floats in [0, 1], bytes or binary."""
    shape = array.shape
    if array.ndim == 4 and shape[3] in (1, 3, 4) and shape[1] > 4:
        raise UserError(
            f"{path}: shape {shape} has its channels last, expected [N, C, H, W]: "
            "save x.transpose(0, 3, 1, 2)"
        )
    if 0 in shape:
        raise UserError(f"{path}: shape {shape} holds no pictures")
    if array.dtype.kind not in "bf" and array.dtype != np.uint8:
        raise UserError(
            f"{path}: pictures of type {array.dtype}, expected bytes (uint8) of 0..255, or floats "
            "in [0, 1]"
        )
    shape = (1, *shape[1:]) if array.ndim == 3 else shape[1:]
    refuse_size(path, math.prod(shape))
    if array.dtype.kind == "f":
        low, high = array.min(), array.max()
        if not 0 <= low <= high <= 1:  # also false for NaN
            held = "NaN" if np.isnan(low) else f"floats from {low:g} to {high:g}"
            raise UserError(
                f"{path} holds {held}, expected floats in [0, 1], or bytes (uint8) of 0..255"
            )
        return source(array.astype(np.float32, copy=False), shape, labels)
    if array.dtype.kind == "b" or array.max() <= 1:  # binary pictures: no grey ones are so dark
        return source(array.astype(np.float32), shape, labels)
    return source(array, shape, labels)


# Folders


def list_pictures(folder):
    """The pictures under `folder`, as paths in it, in the order of their names."""
    folder = Path(folder)
    return [p.relative_to(folder) for p in sorted(folder.rglob("*")) if is_picture(folder, p)]


def is_picture(folder, path):
    """Whether a path below `folder` is a picture, and not a hidden one."""
    return (
        path.suffix.lower() in ENDINGS
        and not path.name.endswith(".scored.png")  # a sheet of detect.py, beside what it scored
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def read_folder(folder, size=None, grey=False):
    """The pictures under `folder`, in the order of their names, labelled by its sub-folders.

    With `size` the middle square of each, resized to size x size. All are RGB if one has colour.
    """
    folder, inside = Path(folder), list_pictures(folder)
    refuse_beyond_memory(folder, inside, size)
    pictures = []
    for path in inside:
        pictures.append(read_picture(folder / path, size, grey))
        if pictures[-1].shape[:2] != pictures[0].shape[:2]:
            first, other = (f"{p.shape[1]} x {p.shape[0]}" for p in (pictures[0], pictures[-1]))
            raise UserError(
                f"{folder}: {inside[0]} is {first} pixels and {path} {other}, expected one size: "
                f"add --image-size {min(pictures[0].shape[:2])}"
            )
    channels = 3 if any(picture.ndim == 3 for picture in pictures) else 1
    shape = (channels, *pictures[0].shape[:2])
    x = np.empty((len(pictures), *shape), np.uint8)
    for i, picture in enumerate(pictures):
        x[i] = picture if picture.ndim == 2 else picture.transpose(2, 0, 1)
    sorted_away = all(len(path.parts) > 1 for path in inside)
    labels = np.array([path.parts[0] for path in inside]) if sorted_away else None
    return source(x, shape, labels)


def refuse_beyond_memory(folder, inside, size):
    """Raise UserError for pictures that are too large together, by their headers."""
    sizes = []
    for path in inside:
        with opened(folder / path) as image:
            sizes.append(size * size if size else image.size[0] * image.size[1])
    refuse_size(folder, max(sizes))
    what = f"{folder}: {len(inside)} pictures"
    memory.refuse_beyond_memory(what, sum(sizes), BYTES_PER_PIXEL, "pixels in all")


def refuse_size(path, n_pixels):
    """Raise UserError for a picture with so many pixels, each of which is a column."""
    what = f"{path}: a model of {n_pixels} pixels"
    memory.refuse_beyond_memory(what, n_pixels, BYTES_PER_COLUMN, "pixels a picture")


@contextlib.contextmanager
def opened(path):
    """An image of Pillow's, of which only the header is read yet; any error is a UserError.

    The formats are named: Pillow would start other programs for some that it knows.
    """
    from PIL import Image

    with stage(f"{path} cannot be read as a picture"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path, formats=FORMATS) as image:
            yield image


def read_picture(path, size=None, grey=False):
    """A picture as bytes, [H, W] or [H, W, 3], rotated by its EXIF orientation."""
    from PIL import ImageOps

    with opened(path) as image:
        image = as_grey_or_rgb(ImageOps.exif_transpose(image))
        image = image.convert("L") if grey else image
        return np.asarray(image if size is None else ImageOps.fit(image, (size, size)))


def as_grey_or_rgb(image):
    """Convert an image to 8-bit grey or RGB: round 16 bits, replace transparency by white."""
    from PIL import Image

    if image.mode.startswith("I"):  # 16 bits, which Pillow would clip at 255
        return Image.fromarray(((np.asarray(image).astype(np.int64) + 128) // 257).astype(np.uint8))
    grey, palette = image.mode in ("1", "L", "LA", "La"), image.mode in ("P", "PA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    if palette:
        rgb = np.asarray(image.convert("RGB"))
        grey = bool((rgb == rgb[..., :1]).all())
    return image.convert("L" if grey else "RGB")


# idx files


def read_idx(folder, part, what):
    """Read <part>-<what>-idx<axes>-ubyte, gzipped or not; None if the file does not exist."""
    n_axes = IDX_MAGIC[what][1]
    names = [f"{part}-{what}{dot}idx{n_axes}-ubyte{gz}" for dot in "-." for gz in ("", ".gz")]
    path = next((Path(folder) / n for n in names if (Path(folder) / n).is_file()), None)
    if path is None:
        return None
    open_file = gzip.open if path.suffix == ".gz" else open
    with stage(f"{path} cannot be read"), open_file(path, "rb") as file:
        return idx_array(file, path, what)


def idx_array(file, path, what):
    """The array of an open idx file; its header says how many bytes are read."""
    magic, n_axes = IDX_MAGIC[what]
    start = 4 * (1 + n_axes)
    header = file.read(start)
    found = int.from_bytes(header[:4], "big")
    if found != magic or len(header) < start:
        expected = f"the mark of idx {what}, and {start} bytes or more, not {len(header)}"
        raise UserError(f"{path} begins with {found}, expected {magic}, {expected}")
    shape = struct.unpack(f">{n_axes}I", header[4:])
    n_bytes, of = math.prod(shape), " x ".join(map(str, shape))
    memory.refuse_beyond_memory(f"{path}: {of}", n_bytes, BYTES_PER_PIXEL, "bytes")
    content = file.read(n_bytes + 1)
    if len(content) != n_bytes or not n_bytes:
        held = f"{len(content)} bytes{' or more' if len(content) > n_bytes else ''}"
        raise UserError(f"{path} holds {held} after its header, expected {of}")
    return np.frombuffer(content, np.uint8).reshape(shape)


def read_idx_set(folder, name):
    """Read four files in the form of MNIST: training rows first, then test rows."""
    parts = []
    for part in ("train", "t10k"):
        images, labels = (read_idx(folder, part, what) for what in ("images", "labels"))
        if images is None:
            raise UserError(
                f"--data-dir {folder}: there is no {part}-images-idx3-ubyte, with or without .gz, "
                f"expected the idx files of {name}"
            )
        if labels is not None and len(labels) != len(images):
            raise UserError(
                f"--data-dir {folder}: {part} has {len(images)} pictures and {len(labels)} labels"
            )
        parts.append((images, labels))
    (train, train_labels), (test, test_labels) = parts
    if train.shape[1:] != test.shape[1:]:
        raise UserError(
            f"--data-dir {folder}: training pictures are {train.shape[1:]}, test pictures "
            f"{test.shape[1:]}, expected one size"
        )
    labels = None
    if train_labels is not None and test_labels is not None:
        labels = np.concatenate([train_labels, test_labels]).astype(np.int64)
    return source(np.concatenate([train, test]), (1, *train.shape[1:]), labels, len(test))
