"""parts/forms/cells/styles.py: the style that reads most of a column's cells, of every family."""

import time

import numpy as np
import pandas as pd
import pytest

from parts.forms import cells


def series(values):
    return pd.Series(values, dtype="str")


# Columns in the style of each family, from a number of rows
WAYS = {
    "amounts": lambda rng, n: [f"${v:,.2f}" for v in rng.lognormal(6, 1, n)],
    "clock times": lambda rng, n: [
        f"{v // 60:02d}:{v % 60:02d}" for v in rng.integers(400, 1200, n)
    ],
    "dates": lambda rng, n: cells.texts(rng.integers(18_000, 19_000, n), {"date": "%d.%m.%Y"}),
    "durations": lambda rng, n: [f"{v // 60}h {v % 60}m" for v in rng.integers(60, 600, n)],
    "epochs": lambda rng, n: [f"{v}" for v in rng.integers(1_500_000_000, 1_600_000_000, n)],
    "limits": lambda rng, n: ["<0.5" if v < 0.5 else f"{v:.1f}" for v in rng.lognormal(1, 1, n)],
    "numbers": lambda rng, n: [f"{v:.2f}" for v in rng.normal(50, 9, n)],
    "one number for a date": lambda rng, n: cells.texts(
        rng.integers(18_000, 19_000, n), {"date": "%Y%m%d"}
    ),
    "percent": lambda rng, n: [f"{v:.1f} %" for v in rng.uniform(0, 100, n)],
    "units": lambda rng, n: [f"{v} kg" for v in rng.integers(45, 120, n)],
}
NAMES = {"epochs": "created_at"}


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("n", [12, 500, 20_000])
def test_the_style_does_not_depend_on_the_number_of_rows(name, n):
    rng = np.random.default_rng(0)
    reading = cells.reading_of(series(WAYS[name](rng, n)), NAMES.get(name, "x"))
    usual = cells.reading_of(series(WAYS[name](rng, 1000)), NAMES.get(name, "x"))
    ways = {"cut", "grouped", "least", "unpadded", "zeros"}  # which few rows may not show
    styles = [{k: v for k, v in one.style.items() if k not in ways} for one in (reading, usual)]
    assert styles[0] == styles[1]
    assert reading.share == 1


@pytest.mark.parametrize("name", WAYS)
def test_a_style_reads_and_writes_the_cells_of_its_column(name):
    texts = WAYS[name](np.random.default_rng(0), 500)
    reading = cells.reading_of(series(texts), NAMES.get(name, "x"))
    values, sides = cells.read(series(texts), reading.style)
    np.testing.assert_array_equal(values, reading.values)
    np.testing.assert_array_equal(sides, reading.sides)
    exact = cells.texts(values, reading.style)
    assert [a for a, side in zip(exact, sides, strict=True) if not side] == [
        a for a, side in zip(texts, sides, strict=True) if not side
    ]
    assert (sides != 0).any() == (name == "limits")


@pytest.mark.parametrize("name", WAYS)
def test_holes_and_rubbish_are_none_of_the_cells(name):
    texts = WAYS[name](np.random.default_rng(0), 500)
    clean = cells.reading_of(series(texts), NAMES.get(name, "x"))
    for i in range(0, 500, 5):
        texts[i] = "" if i % 25 else "see note"
    reading = cells.reading_of(series(texts), NAMES.get(name, "x"))
    where = np.arange(500) % 5 == 0
    np.testing.assert_allclose(reading.values, np.where(where, np.nan, clean.values), atol=1e-9)
    assert reading.share == pytest.approx(400 / 420)


@pytest.mark.parametrize("name", WAYS)
def test_reading_a_column_is_linear_and_fast(name):
    """In the time of this process; the limits are ten times what a quiet machine takes."""
    column = series(WAYS[name](np.random.default_rng(0), 50_000))
    cells.reading_of(column[:100], "x")
    start = time.process_time()
    cells.reading_of(column, NAMES.get(name, "x"))
    assert time.process_time() - start < 0.6


@pytest.mark.parametrize(
    ("values", "style"),
    [
        ([1.5, np.nan, -2.5], {"decimals": None}),
        (
            [20240105.0, 20240228, 20231231, 20240301, 20240401],
            {"decimals": None, "date": "%Y%m%d"},
        ),
        ([1_600_000_000_000.0, 1_600_000_000_500], {"decimals": 0, "epoch": "ms"}),
    ],
)
def test_columns_of_numbers_have_styles_too(values, style):
    column = pd.Series(values)
    reading = cells.reading_of(column)
    assert reading.style == style
    np.testing.assert_array_equal(reading.values, cells.numbers(column, style))
    assert reading.share == 1


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e308])
def test_infinite_and_too_large_numbers_are_unreadable(value):
    reading = cells.reading_of(pd.Series([1.0, 2, value]))
    np.testing.assert_array_equal(reading.values, [1, 2, np.nan])
    assert reading.share == pytest.approx(2 / 3)


def test_free_text_has_no_reading():
    assert cells.reading_of(series(["red", "green", "", "?"])) is None
    assert cells.reading_of(series(["", "NA"])) is None


@pytest.mark.parametrize(
    ("texts", "hints"),
    [
        (["1,5", "2,25"] * 9, cells.Hints(commas=True)),
        (["1,500", "2,250"] * 9, cells.NO_HINTS),
        (["13/02/2024", "01/03/2024"] * 9, cells.Hints(day_first=True, last_year=2024)),
        (["02/13/2024", "03/01/2024"] * 9, cells.Hints(day_first=False, last_year=2024)),
        (["01/02/2024", "11/03/2023"] * 9, cells.Hints(last_year=2024)),
        (["2019-02-13", "2018-02-14"] * 9, cells.Hints(last_year=2019)),
        (["1,5", *["see page 7"] * 17], cells.NO_HINTS),  # text tells nothing
        (["red", "blue"] * 9, cells.NO_HINTS),
    ],
)
def test_what_a_column_tells_of_others(texts, hints):
    assert cells.hints_of(series(texts)) == hints
