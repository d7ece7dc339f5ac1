"""Generated grey pictures of one shape each with known factors, to measure disentanglement.

They follow dSprites (Matthey et al. 2017), but are smaller and anti-aliased. Orientations span a
quarter turn, because a square looks equal after it, and a factor must be visible.
"""

import itertools
from functools import partial

import numpy as np
from numpy.lib.recfunctions import unstructured_to_structured

from parts.errors import UserError

SHAPES = ("square", "triangle", "ellipse")
SPRITE_FACTORS = {"shape": len(SHAPES), "scale": 4, "orientation": 8, "x": 8, "y": 8}
# Smallest and largest side of a square / side of the picture. Shapes of a scale have equal areas.
SIDES = 0.18, 0.34
CENTRES = 0.33, 0.67  # first and last centre / side of the picture, so that shapes lie inside
GREY_LEVELS = 255  # rounding to levels makes the pictures equal on all machines


def load(config, size):
    """x [N, size * size] in [0, 1], names of columns, shapes [N], size of pictures, factors.

    The rows are all 6144 pictures in the order of their factors, or a random sample of `n_rows`.
    """
    grid = np.array(list(itertools.product(*map(range, SPRITE_FACTORS.values()))))
    n_rows = config.n_rows or len(grid)
    if n_rows > len(grid):
        raise UserError(f"--n-rows {n_rows}: there are {len(grid)} sprites, expected at most those")
    if n_rows < len(grid):
        grid = grid[np.random.default_rng(config.data_seed).permutation(len(grid))[:n_rows]]
    factors = unstructured_to_structured(grid, names=list(SPRITE_FACTORS))
    names = [f"pixel_{row}_{column}" for row, column in np.ndindex(size, size)]
    return draw(factors, size), names, np.array(SHAPES)[factors["shape"]], (size, size), factors


def draw(factors, size):
    """Draw sprites [N, size * size]: a pixel is about the share that the shape covers.

    The value falls from 1 to 0 within half a pixel on either side of the edge.
    """
    side = np.linspace(*SIDES, SPRITE_FACTORS["scale"])[factors["scale"]] * size  # [N]
    angle = factors["orientation"] * np.pi / 2 / SPRITE_FACTORS["orientation"]
    pixels = np.arange(size) + 0.5
    centres = np.linspace(*CENTRES, SPRITE_FACTORS["x"]) * size
    dx = (pixels - centres[factors["x"], None])[:, None]  # [N, 1, size]
    dy = (pixels - centres[factors["y"], None])[:, :, None]  # [N, size, 1]
    grey = np.empty((len(factors), size, size))
    for i, shape in enumerate(SHAPES):
        rows = factors["shape"] == i
        outside = DISTANCES[shape](side[rows], angle[rows], dx[rows], dy[rows])
        grey[rows] = np.clip(0.5 - outside, 0, 1)
    return np.round(grey * GREY_LEVELS).reshape(len(factors), -1) / GREY_LEVELS


def along(angle, dx, dy):
    """Distance of pixels from the centre in the direction `angle` [N], [N, size, size]."""
    return np.cos(angle)[:, None, None] * dx + np.sin(angle)[:, None, None] * dy


def from_polygon(n_edges, side, angle, dx, dy):
    """Signed distance to a regular polygon with the area of a square; negative inside."""
    inradius = side / (n_edges * np.tan(np.pi / n_edges)) ** 0.5  # area: n r^2 tan(pi / n)
    turns = angle + 2 * np.pi * np.arange(n_edges)[:, None] / n_edges
    outside = along(turns[0], dx, dy)
    for turn in turns[1:]:
        np.maximum(outside, along(turn, dx, dy), out=outside)
    return outside - inradius[:, None, None]


def from_ellipse(side, angle, dx, dy):
    """First-order signed distance to an ellipse twice as long as wide; negative inside."""
    short = side[:, None, None] / (2 * np.pi) ** 0.5  # area: 2 pi short^2
    long = 2 * short
    u, v = along(angle, dx, dy), along(angle + np.pi / 2, dx, dy)
    slope = 2 * np.hypot(u / long**2, v / short**2)
    return ((u / long) ** 2 + (v / short) ** 2 - 1) / np.maximum(slope, 1e-9)


DISTANCES = {
    "square": partial(from_polygon, 4),
    "triangle": partial(from_polygon, 3),
    "ellipse": from_ellipse,
}
