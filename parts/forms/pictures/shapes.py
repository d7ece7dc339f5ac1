"""Pictures as columns: the names of pixels, and rows reshaped to planes of pixels.

A shape is (C, H, W), channels first; a row of x is a picture's C * H * W numbers in that order.
"""

import numpy as np

EMPTY_PAGE_MEDIAN = 0.25  # grey pictures with a lower median are ink on an empty page


def names(shape):
    """A name per column: pixel_row_column, or pixel_channel_row_column for colour pictures."""
    sizes = shape if shape[0] > 1 else shape[1:]
    return ["_".join(map(str, ("pixel", *at))) for at in np.ndindex(*sizes)]


def describe(shape):
    channels, height, width = shape
    return f"pictures of {height} x {width}" + ("" if channels == 1 else f", {channels} channels")


def error_map(errors, shape):
    """Mean over channels of the errors of columns [C * H * W], [H, W]."""
    return channels_of(errors, shape).mean(0)


def channels_of(x, shape):
    """Reshape a row to [C, H, W]; older runs use (H, W) as the shape of a grey picture."""
    return np.reshape(x, (1, *shape)[-3:])


def unflattened(x, shape):
    """Reshape rows [N, C * H * W] to [N, H, W], or to [N, C, H, W] for several channels."""
    channels, *sizes = (1, *shape)[-3:]
    return x.reshape(len(x), *([channels] if channels > 1 else []), *sizes)


def as_bytes(x):
    """Map numbers in [0, 1] to bytes 0..255; numbers outside are clipped."""
    return np.round(255 * np.clip(x, 0, 1)).astype(np.uint8)


def grey_map(x):
    """The colour map of grey pictures x: inverted if most of the page is empty."""
    return "gray_r" if np.median(x) < EMPTY_PAGE_MEDIAN else "gray"
