"""Pictures as columns: their names, and how rows are laid out as planes of pixels.

A shape is (C, H, W), channels first; a row of x is a picture's C * H * W numbers in that order.
"""

import numpy as np

EMPTY_PAGE_MEDIAN = 0.25  # median of grey pictures, below which they are ink on an empty page


def names(shape):
    """A name per column: pixel_row_column, and of colour pictures pixel_channel_row_column."""
    sizes = shape if shape[0] > 1 else shape[1:]
    return ["_".join(map(str, ("pixel", *at))) for at in np.ndindex(*sizes)]


def describe(shape):
    channels, height, width = shape
    return f"pictures of {height} x {width}" + ("" if channels == 1 else f", {channels} channels")


def error_map(errors, shape):
    """Errors of columns [C * H * W] by pixel, mean over channels [H, W]."""
    return channels_of(errors, shape).mean(0)


def channels_of(x, shape):
    """A row as [C, H, W]; runs of before have (H, W) for a grey picture's shape."""
    return np.reshape(x, (1, *shape)[-3:])


def unflattened(x, shape):
    """Rows [N, C * H * W] as files hold pictures: [N, H, W], of several channels [N, C, H, W]."""
    channels, *sizes = (1, *shape)[-3:]
    return x.reshape(len(x), *([channels] if channels > 1 else []), *sizes)


def as_bytes(x):
    """Numbers in [0, 1] as 0..255, what lies outside cut off."""
    return np.round(255 * np.clip(x, 0, 1)).astype(np.uint8)


def grey_map(x):
    """The colour map of grey pictures x: dark ink where most of the page is empty, else as seen."""
    return "gray_r" if np.median(x) < EMPTY_PAGE_MEDIAN else "gray"
