"""Sheets of pictures side by side, for figures and as PNG files."""

import math
from functools import partial

import numpy as np

from parts import files
from parts.errors import UserError

LINE_COLOR = (0.816, 0.894, 0.941)  # pale blue, which no grey picture contains
HOLE_COLOR = (0.90, 0.45, 0.15)  # orange for missing pixels
OWNER = "parts.forms.pictures.sheets"  # who wrote a sheet, in its own words
LONGEST = 2000  # most pixels of the longer side of an enlarged sheet
MOST_ACROSS = 10  # most pictures in a row of a square sheet


def as_colour(x, shape, colors, low=0.0, high=1.0):
    """Convert pictures [..., C * H * W] to [..., H, W, 3] in [0, 1]; HOLE_COLOR marks NaN.

    Grey pictures use the colour map `colors` of `shapes.grey_map`, from `low` to `high`.
    """
    planes = np.reshape(x, (*np.shape(x)[:-1], *(1, *shape)[-3:]))
    if planes.shape[-3] == 3:
        shown = np.clip(np.moveaxis(planes, -3, -1), 0, 1)
    else:
        level = np.clip((planes.mean(-3) - low) / ((high - low) or 1), 0, 1)
        level = 1 - level if colors == "gray_r" else level
        shown = np.repeat(level[..., None], 3, -1)
    return np.where(np.isnan(shown).any(-1, keepdims=True), HOLE_COLOR, shown)


def sheet(shown):
    """Join pictures [down, across, H, W, 3] to one, with lines between and around them."""
    down, across, height, width, _ = shown.shape
    canvas = np.empty((down * (height + 1) + 1, across * (width + 1) + 1, 3))
    canvas[:] = LINE_COLOR
    for i, j in np.ndindex(down, across):
        top, left = i * (height + 1) + 1, j * (width + 1) + 1
        canvas[top : top + height, left : left + width] = shown[i, j]
    return canvas


def rows_of(shown, across):
    """Arrange pictures [n, H, W, 3] in rows of `across`; blanks complete the last row."""
    missing = -len(shown) % across
    blank = np.broadcast_to(LINE_COLOR, (missing, *shown.shape[1:]))
    return np.concatenate([shown, blank]).reshape(-1, across, *shown.shape[1:])


def square_of(x, shape, colors):
    """Arrange pictures x [n, C * H * W] in rows of about sqrt(n), at most MOST_ACROSS."""
    across = min(MOST_ACROSS, math.ceil(math.sqrt(len(x))))
    return rows_of(as_colour(x, shape, colors), across)


def write(path, shown):
    """Write pictures [down, across, H, W, 3] as one PNG file."""
    from PIL import Image, PngImagePlugin

    canvas = sheet(shown)
    times = max(1, min(6, LONGEST // max(canvas.shape[:2])))
    image = Image.fromarray(np.round(255 * canvas).astype(np.uint8))
    image = image.resize([times * n for n in image.size], Image.Resampling.NEAREST)
    owner = PngImagePlugin.PngInfo()
    owner.add_text("Software", OWNER)
    files.write_atomic(path, partial(image.save, format="PNG", pnginfo=owner))


def refuse_existing(path, overwrite, beside):
    """Raise UserError if `path`, for the sheet beside the output `beside`, must not be replaced.

    The user has named the output only, so even --overwrite replaces nothing but a sheet.
    """
    where = f"{path} exists, where the sheet of pictures beside {beside} goes"
    if path.exists() and not overwrite:
        raise UserError(f"{where}; add --overwrite to replace it, or name another output by --out")
    if path.exists() and not is_sheet(path):
        raise UserError(f"{where}, and it is no such sheet: name another output by --out")


def is_sheet(path):
    """Whether a file is a sheet that `write` has written."""
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG",)) as image:
            return image.text.get("Software") == OWNER
    except (OSError, SyntaxError, ValueError):  # no picture
        return False
