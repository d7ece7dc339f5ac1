"""parts/forms/pictures/sprites.py: every factor is where it should be in picture and data."""

from dataclasses import replace

import numpy as np
import pytest

import data as datasets
from parts import forms
from parts.errors import UserError
from parts.forms.config import DataConfig
from parts.forms.pictures import sprites


def drawn(size=16, n_rows=None, data_seed=0):
    """Pictures [N, size, size] and their factors."""
    config = DataConfig("sprites", n_rows=n_rows, data_seed=data_seed)
    x, names, labels, shape, factors = sprites.load(config, size)
    assert (len(names), shape) == (size * size, (size, size))
    assert (labels == np.array(sprites.SHAPES)[factors["shape"]]).all()
    return x.reshape(-1, size, size), factors


def moments(x):
    """Area, centre (x, y) and covariances (xx, xy, yy) of each picture, in pixels."""
    at = np.arange(x.shape[-1]) + 0.5
    area = x.sum((1, 2))
    cx, cy = (x.sum(1) @ at) / area, (x.sum(2) @ at) / area
    dx, dy = at - cx[:, None], at - cy[:, None]
    xx = np.einsum("nij,nj,nj->n", x, dx, dx) / area
    xy = np.einsum("nij,ni,nj->n", x, dy, dx) / area
    yy = np.einsum("nij,ni,ni->n", x, dy, dy) / area
    return area, (cx, cy), (xx, xy, yy)


@pytest.mark.parametrize("size", [16, 32])
def test_the_whole_grid_holds_every_combination_once_and_no_picture_twice(size):
    x, factors = drawn(size)
    assert len(np.unique(factors)) == len(x) == 3 * 4 * 8 * 8 * 8
    assert {
        name: len(np.unique(factors[name])) for name in factors.dtype.names
    } == sprites.SPRITE_FACTORS
    assert len({picture.tobytes() for picture in x}) == len(x)
    assert (x.min(), x.max()) == (0, 1)
    np.testing.assert_array_equal(x * 255, np.round(x * 255))
    assert 0.05 < ((x > 0) & (x < 1)).mean() / (x > 0).mean() < 0.8  # edges are grey


def test_area_and_centre_are_those_of_the_factors():
    x, factors = drawn(32)
    area, centre, _ = moments(x)
    side = np.linspace(0.18, 0.34, 4)[factors["scale"]] * 32
    np.testing.assert_allclose(area, side**2, rtol=0.035)
    for name, found in zip("xy", centre, strict=True):
        expected = np.linspace(0.33, 0.67, 8)[factors[name]] * 32
        np.testing.assert_allclose(found, expected, atol=0.15)


def test_orientation_is_that_of_the_ellipses_long_axis():
    x, factors = drawn(32)
    ellipse = factors["shape"] == sprites.SHAPES.index("ellipse")
    _, _, (xx, xy, yy) = moments(x[ellipse])
    angle = 0.5 * np.arctan2(2 * xy, xx - yy)  # of the first principal axis
    apart = angle - factors["orientation"][ellipse] * np.pi / 16
    np.testing.assert_allclose(np.sin(apart), 0, atol=0.05)


@pytest.mark.parametrize("shape", sprites.SHAPES)
def test_grey_is_the_share_of_the_pixel_that_is_covered(shape):
    """The reference is the sprite drawn 16 times as fine, its pixels nearly all black or white."""
    _, factors = drawn(16, 120)
    factors = factors[factors["shape"] == sprites.SHAPES.index(shape)]
    coarse = sprites.draw(factors, 16).reshape(-1, 16, 16)
    fine = sprites.draw(factors, 256).reshape(-1, 16, 16, 16, 16).mean((2, 4))
    assert np.abs(coarse - fine).mean() < 0.004
    assert np.abs(coarse - fine).max() < 0.4  # at sharp corners


def test_a_random_part_is_fixed_by_its_seed():
    x, factors = drawn(n_rows=500)
    every, order = drawn()
    row = {tuple(values): i for i, values in enumerate(order.tolist())}
    rows = [row[tuple(values)] for values in factors.tolist()]
    assert len(set(rows)) == 500
    np.testing.assert_array_equal(x, every[rows])
    again, other = drawn(n_rows=500), drawn(n_rows=500, data_seed=1)
    np.testing.assert_array_equal(again[1], factors)
    assert set(other[1].tolist()) != set(factors.tolist())


def test_more_than_there_are_is_refused():
    with pytest.raises(UserError, match="--n-rows 6145: there are 6144 sprites"):
        drawn(n_rows=6145)


@pytest.mark.parametrize(("name", "size"), [("sprites", 16), ("sprites32", 32)])
def test_factors_follow_their_pictures_into_the_splits(name, size):
    config = datasets.resolve(DataConfig(name, data_seed=5, split_seed=1, scaling="none"))
    assert forms.form_of(name).default_likelihood(name) == "bernoulli"
    assert config.test_fraction == 0.2
    assert config.n_rows is None
    data = datasets.load(replace(config, n_rows=200))
    assert data.shape == (1, size, size)
    assert [len(split.x) for split in (data.train, data.val, data.test)] == [144, 16, 40]
    for split in (data.train, data.val, data.test):
        np.testing.assert_allclose(split.x, sprites.draw(split.factors, size), atol=1e-6)
