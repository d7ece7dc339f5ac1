"""parts/forms/tables/encoding.py: cells to model units and back, and log |d model / d value|."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from parts.errors import UserError
from parts.forms import cells, units
from parts.forms.tables import encoding, kinds, table_files
from parts.forms.tables.example import survey
from parts.forms.units import KNEE, LARGEST, Column
from parts.training import presets


def fit(texts, wanted=None, name="x"):
    return kinds.fit_column(name, pd.Series(texts, dtype="str"), wanted)


def encode(texts, column, **options):
    frame = pd.DataFrame({column.name: pd.Series(texts, dtype="str")})
    return encoding.encode(frame, [column], **options)


def there_and_back(texts, wanted=None):
    """Cells -> column -> model units in float64 -> cells."""
    column = fit(texts, wanted)
    x, mask, strange, notes = encode(texts, column, dtype=np.float64)
    assert mask.all()
    assert strange == []
    assert notes == []
    return column, column.text(x[:, 0])


# Round trips: the table that goes out is the one that came in

STYLES = [
    {"decimals": 0},
    {"decimals": 1},
    {"decimals": 4},
    {"decimals": 1, "suffix": "%"},
    {"decimals": 2, "prefix": "$"},
    {"decimals": 2, "prefix": "$", "thousands": ",", "decimal": "."},
    {"decimals": 2, "suffix": "€", "thousands": ".", "decimal": ","},
    {"decimals": 2, "thousands": "", "decimal": ","},
    {"decimals": 1, "thousands": "'", "decimal": "."},
    {"decimals": 1, "thousands": " ", "decimal": ","},
]


@given(
    numbers=st.lists(st.integers(-(10**9), 10**9), min_size=3, max_size=30, unique=True),
    style=st.sampled_from(STYLES),
    kind=st.sampled_from(["real", "positive", "categorical", "ordinal"]),
)
def test_numbers_of_every_style_come_back(numbers, style, kind):
    if kind == "positive":
        numbers = list({abs(number) for number in numbers})
    assume(len(numbers) > 2)
    texts = cells.texts(np.array(numbers) / 10 ** style["decimals"], style)
    column, back = there_and_back(texts, kind)
    if style["decimals"] == column.style["decimals"]:
        assert back == texts
    else:  # no cell has all the decimals: they are fewer, or none that can be told from thousands
        found = cells.numbers(pd.Series(back, dtype="str"), column.style)
        expected = cells.numbers(pd.Series(texts, dtype="str"), column.style)
        np.testing.assert_array_equal(found, expected)


@given(numbers=st.lists(st.integers(0, 10**6), min_size=2, max_size=30, unique=True))
def test_counts_come_back(numbers):
    texts = list(map(str, numbers))
    assert there_and_back(texts, "count")[1] == texts


@given(
    numbers=st.lists(
        st.floats(-1e250, 1e250).filter(lambda v: v == 0 or abs(v) > 1e-250),
        min_size=2,
        max_size=20,
        unique=True,
    ),
    kind=st.sampled_from(["real", "positive"]),
)
@example(numbers=[1e250, 1e249, -1e250], kind="real")
@example(numbers=[1e-280, 3e-280, 2e-280], kind="real")
@example(numbers=[0.0, 1e-200, 1e200], kind="positive")
def test_numbers_of_every_size_come_back(numbers, kind):
    if kind == "positive":
        numbers = [abs(number) for number in numbers]
        assume(max(numbers) > 0)
    column = fit(list(map(repr, numbers)), kind)
    values = np.array(numbers)
    x = column.to_model(values)
    assert np.isfinite(x).all()
    # The curves are logarithms far out: a relative error is what float64 leaves of them there.
    back = column.to_user(x)
    size = np.abs(values) + (column.offset if kind == "positive" else column.spread * 5)
    size = size + (abs(column.centre) if kind == "real" else 0)
    assert (np.abs(back - values) <= 1e-10 * size).all()


ODD_LEVELS = [
    *("=1+1", "@x", "+y", "-z", 'a"b', "a,b", "a;b", "a\nb", "größe", "日本", "😀", "a\u0301"),
    *("a  b", "0x1", "true", "1_0", "01", "#REF!", "a\u00a0b", "'", "NaNa", "x" * 300),
]
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).map(
    str.strip
)


@given(
    levels=st.lists(TEXT | st.sampled_from(ODD_LEVELS), min_size=2, max_size=12, unique=True),
    seed=st.integers(0, 9),
    kind=st.sampled_from(["categorical", "ordinal"]),
)
def test_text_of_every_kind_comes_back(levels, seed, kind):
    levels = [v for v in levels if v and not cells.missing(pd.Series([v], dtype="str"))[0]]
    assume(len(levels) > 1)
    assume(cells.reading_of(pd.Series(levels * 3, dtype="str")) is None)
    texts = list(np.random.default_rng(seed).permutation(levels * 3))
    wanted = {"kind": kind, "levels": levels} if kind == "ordinal" else kind
    column, back = there_and_back(texts, wanted)
    assert back == texts
    assert column.levels == (levels if kind == "ordinal" else sorted(levels))


PAIRS = [
    *("yes no", "True False", "0 1", "0.0 1.0", "-7 2", "1,0 2,5", "$1 $2", "5% 10%", "=a =b"),
    *("2024-01-01 2024-02-01", "1e5 2e5"),
]


@pytest.mark.parametrize("pair", PAIRS)
def test_two_values_come_back(pair):
    texts = pair.split() * 10
    column, back = there_and_back(texts)
    assert column.kind == "binary"
    if "e" in pair and column.style:  # another text of the same number
        back, texts = list(map(float, back)), list(map(float, texts))
    assert back == texts


DATES = ("%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%d.%m.%Y", "%m/%d/%Y %I:%M %p", "%d-%b-%y", "%H:%M")


@pytest.mark.parametrize("form", DATES)
@pytest.mark.parametrize("kind", ["real", "categorical"])
def test_dates_of_every_format_come_back(form, kind):
    rng = np.random.default_rng(0)
    times = pd.to_datetime(rng.integers(-(10**9), 2 * 10**9, 60), unit="s")
    texts = list(times.strftime(form))
    column, back = there_and_back(texts, kind)
    assert cells.is_moment(column.style)
    assert back == texts


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        ("1 2 4", "real"),
        ("1.5 2.5 4.5", "positive"),
        ("0 3", "count"),
        ("a b c", "categorical"),
        ("1 2 3", "ordinal"),
        ("x y", "binary"),
    ],
)
def test_a_column_is_the_same_after_json(texts, kind):
    column = fit(texts.split() * 9, kind)
    assert Column(**json.loads(json.dumps(column.to_dict()))) == column


@given(numbers=st.lists(st.integers(-(10**4), 10**4), min_size=3, max_size=30, unique=True))
def test_float32_is_enough_for_cells_of_few_digits(numbers):
    texts = list(map(str, numbers))
    column = fit(texts, "real")
    x, _, _, _ = encode(texts, column)
    assert x.dtype == np.float32
    back = np.array(list(map(float, column.text(x[:, 0]))))
    assert (np.abs(back - numbers) <= 1 + 1e-5 * np.abs(numbers)).all()


# Curves: their derivative, their densities, their means

CURVES = {
    "linear": Column("x", shift=3.0, scale=2.5),
    "asinh": Column("x", shift=0.2, scale=1.3, curve="asinh", centre=50.0, spread=7.0),
    "asinh, tiny": Column("x", shift=-0.1, scale=0.8, curve="asinh", centre=1e-9, spread=1e-12),
    "asinh, huge": Column("x", shift=0.0, scale=2.0, curve="asinh", centre=-1e12, spread=1e9),
    "log": Column("x", kind="positive", shift=2.0, scale=0.7, curve="log", low=0.0),
    "log, offset": Column("x", kind="positive", shift=-1.0, scale=1.5, curve="log", offset=0.25),
}


@pytest.mark.parametrize("name", CURVES)
@given(x=st.floats(-6, 6))
def test_log_det_is_the_derivative_of_to_model(name, x):
    column = CURVES[name]
    value = column.to_user(x)
    step = 1e-5 * abs(column.to_user(x + 1e-3) - column.to_user(x - 1e-3)) * 1e3
    low, high = value - step, value + step
    assume(low < value < high)
    derivative = (column.to_model(high) - column.to_model(low)) / (high - low)
    # The difference of model units has the rounding of the value in it.
    rounding = np.finfo(float).eps * max(abs(value), abs(column.offset)) / step * 20
    np.testing.assert_allclose(column.log_det(x), np.log(derivative), atol=1e-6 + rounding)


@pytest.mark.parametrize("name", CURVES)
def test_without_the_unit_log_det_is_that_of_the_curve_alone(name):
    column = CURVES[name]
    x = np.linspace(-4, 4, 9)
    difference = column.log_det(x) - column.log_det(x, user=False)
    if column.curve == "log":  # logarithms are the unit: the rest of the curve is not counted
        np.testing.assert_allclose(column.log_det(x, user=False), 0)
        return
    unit = -math.log(column.scale * (column.spread if column.curve == "asinh" else 1))
    np.testing.assert_allclose(difference, unit, rtol=1e-12)
    assert column.log_det(-column.shift / column.scale, user=False) == 0  # at the centre


@pytest.mark.parametrize("name", CURVES)
def test_the_unit_of_a_value_does_not_move_log_det_without_it(name):
    column = CURVES[name]
    other = {"centre": column.centre * 1e6, "spread": column.spread * 1e6}
    x = np.linspace(-4, 4, 9)
    np.testing.assert_allclose(
        Column(**column.to_dict() | other).log_det(x, user=False), column.log_det(x, user=False)
    )


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-1.3, 0.4), (2.0, 0.1)])
def test_densities_integrate_to_1_in_the_users_units(name, mean, std):
    column = CURVES[name]
    low = column.to_user(mean - 9 * std)
    # Steps that are equal in model units, as values spread over many sizes; trapezoid in values.
    values = column.to_user(np.linspace(mean - 9 * std, mean + 9 * std, 40_001))
    x = column.to_model(values)
    assert (np.diff(values) >= 0).all()
    log_p = -0.5 * ((x - mean) / std) ** 2 - np.log(std) - 0.5 * np.log(2 * np.pi)
    density = np.exp(log_p + column.log_det(x))
    assert abs(np.trapezoid(density, values) - 1) < 1e-4, low


@pytest.mark.parametrize("name", CURVES)
@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (-1.0, 0.3), (1.5, 0.7), (0.5, 0.0)])
def test_the_mean_in_the_users_units_is_that_of_draws(name, mean, std):
    column = CURVES[name]
    draws = column.to_user(mean + std * np.random.default_rng(0).normal(size=400_000))
    error = draws.std() / len(draws) ** 0.5
    found = column.mean_to_user(np.array([mean]), np.array([std]))
    assert found.shape == (1,)
    assert abs(found[0] - draws.mean()) <= 5 * error + 1e-9 * abs(draws.mean())


@pytest.mark.parametrize("name", CURVES)
def test_far_model_units_stay_finite_and_in_order(name):
    x = np.array([-1e30, -1e6, -1e3, -1, 0, 1, 1e3, 1e6, 1e30])
    column = CURVES[name]
    for values in (column.to_user(x), column.mean_to_user(x, np.ones_like(x))):
        assert np.isfinite(values).all()
        assert (np.diff(values) >= 0).all()
        assert (np.abs(values) <= LARGEST).all()
    assert np.isfinite(column.log_det(x)).all() or column.curve == "log"
    assert np.isfinite(column.mean_to_user(x, np.full_like(x, 1e6))).all()


@pytest.mark.parametrize("name", CURVES)
def test_to_model_is_increasing_and_inverse(name):
    column = CURVES[name]
    x = np.linspace(-5, 5, 101)
    values = column.to_user(x)
    if column.low is None:
        np.testing.assert_allclose(
            column.to_model(values), x, atol=2e-3 if "tiny" in name else 1e-6
        )
    assert (np.diff(values) > 0).all()


def test_asinh_is_nearly_linear_inside_the_knee_and_logarithmic_beyond():
    column = Column("x", curve="asinh", centre=10.0, spread=2.0)
    np.testing.assert_allclose(column.to_model(np.array([10, 11, 9.0])), [0, 0.5, -0.5], rtol=0.01)
    far = column.to_model(10 + 2 * np.array([1e6, 1e7]))
    np.testing.assert_allclose(np.diff(far), KNEE * math.log(10), rtol=1e-6)


def test_what_was_never_negative_is_not_drawn_negative():
    numbers = [f"{0.1 + i}" for i in range(20)]
    assert fit(numbers, "real").to_user(-50.0) == 0
    assert fit([*numbers, "-0.5"], "real").to_user(-50.0) < -5


def test_values_that_often_lie_at_an_end_are_not_drawn_beyond_it():
    numbers = [f"{0.1 + i}" for i in range(20)]
    capped = fit([*numbers, *["25.5"] * 5], "real")
    assert (capped.to_user(-50.0), capped.to_user(50.0)) == (0, 25.5)
    floored = fit([*numbers, *["-1.5"] * 5], "real")
    assert floored.to_user(-50.0) == -1.5
    assert floored.to_user(50.0) > 100
    percent = fit([f"{number}%" for number in numbers], "real")
    assert (percent.to_user(-50.0), percent.to_user(50.0)) == (0, 100)


@pytest.mark.parametrize("kind", ["binary", "categorical", "ordinal", "count"])
def test_categories_and_counts_have_no_derivative(kind):
    column = fit(["1", "2"] * 9, kind)
    np.testing.assert_array_equal(column.log_det(np.arange(3.0)), 0)


def test_log_det_of_rows_sums_observed_columns():
    columns = [*CURVES.values(), fit(["1", "2"] * 9, "binary")]
    x = np.random.default_rng(0).normal(size=(5, len(columns)))
    mask = (x > 0).astype(float)
    each = np.stack([c.log_det(x[:, j]) for j, c in enumerate(columns)], 1)
    np.testing.assert_allclose(units.log_det(x, columns), each.sum(1))
    np.testing.assert_allclose(units.log_det(x, columns, mask), (each * mask).sum(1))
    curve = np.stack([c.log_det(x[:, j], user=False) for j, c in enumerate(columns)], 1)
    found = units.log_det(x, columns, mask, user=False)
    np.testing.assert_allclose(found, (curve * mask).sum(1))
    linear = [Column("a", scale=2.0), Column("b")]
    np.testing.assert_array_equal(units.log_det(x, linear, user=False), np.zeros(5))
    np.testing.assert_allclose(units.log_det(x[:, :2], linear), -np.log(2) * np.ones(5))


# Encoding, and what is said of cells that cannot be encoded


def frame_of(**columns):
    return pd.DataFrame(columns, dtype="str")


TABLE = frame_of(
    real=["1.5", "", "-2.5", "3.5", "0.5"],
    word=["x", "y", "z", "", "x"],
    visits=["0", "1", "2", "7", "1"],
    gone=["u1", "u2", "u3", "u4", "u5"],
)
COLUMNS = kinds.fit(TABLE, {"visits": "count", "word": "categorical"})


def test_encode_gives_the_modelled_columns_in_their_order():
    x, mask, strange, notes = encoding.encode(TABLE, COLUMNS)
    assert (x.dtype, mask.dtype) == (np.float32, np.float32)
    np.testing.assert_array_equal(mask, [[1, 1, 1], [0, 1, 1], [1, 1, 1], [1, 0, 1], [1, 1, 1]])
    np.testing.assert_array_equal(x[:, 1], [0, 1, 2, 0, 0])
    np.testing.assert_array_equal(x[:, 2], [0, 1, 2, 7, 1])
    assert (x[mask == 0] == 0).all()
    assert strange == []
    assert notes == []
    again = encoding.encode(TABLE[TABLE.columns[::-1]].assign(more="1"), COLUMNS)
    for a, b in zip((x, mask), again[:2], strict=True):
        np.testing.assert_array_equal(a, b)


TAKEN = "1 cell taken as missing:"


@pytest.mark.parametrize(
    ("name", "row", "cell", "note"),
    [
        ("real", 2, "oops", f"column 'real': {TAKEN} 'oops' in row 3, which is no number"),
        ("real", 0, "2024-01-01", "which is no number"),
        ("real", 0, "inf", "which is no number"),
        ("real", 0, "1e999", "which is no number"),
        ("word", 4, "w", f"column 'word': {TAKEN} 'w' in row 5, which is no level of the training"),
        ("word", 0, "X", "which is no level"),
        ("visits", 1, "many", "which is no number"),
        ("visits", 1, "-1", f"column 'visits': {TAKEN} '-1' in row 2, which is impossible in a co"),
        ("visits", 3, "1.5", f"{TAKEN} '1.5' in row 4, which is impossible in a count column"),
    ],
)
def test_a_cell_that_cannot_be_encoded_is_missing_noted_and_strange(name, row, cell, note):
    frame = TABLE.copy()
    frame.loc[row, name] = cell
    j = ["real", "word", "visits"].index(name)
    x, mask, (strange,), notes = encoding.encode(frame, COLUMNS)
    assert len(notes) == 1
    assert note in notes[0]
    assert mask[row, j] == x[row, j] == 0
    assert (strange.name, strange.rows.tolist()) == (name, [row])
    assert strange.certain == ("impossible" in note)
    assert strange.nats == pytest.approx(
        encoding.IMPOSSIBLE if strange.certain else np.log(COLUMNS[j].n_seen + 2)
    )
    base = encoding.encode(TABLE, COLUMNS)
    others = np.ones(mask.shape, bool)
    others[row, j] = False
    np.testing.assert_array_equal(mask[others], base[1][others])
    np.testing.assert_array_equal(x[others], base[0][others])


def test_what_many_training_rows_could_not_read_is_less_odd():
    """An unread cell adds its smoothed share among the training cells, in nats."""
    texts = [f"{i}.5" for i in range(97)] + ["n/k"] * 3
    (strange,) = encode(["1.5", "n/k"], fit(texts))[2]
    assert strange.nats == pytest.approx(-np.log(4 / 102))


def test_strange_cells_are_told_of_their_rows_the_oddest_first():
    frame = TABLE.assign(word=["x", "w", "x", "x", "x"], visits=["0", "-3", "1", "2", "x"])
    columns = [*COLUMNS, fit(["OK"] * 40, name="state")]
    frame["state"] = ["OK", "FAIL", "", "OK", "OK"]
    strange = encoding.encode(frame, columns)[2]
    words = encoding.words_of(strange, frame, np.array([4, 1, 0]))
    assert words == [
        "",  # log 7 nats, which are too few
        "visits=-3 is impossible in a count column; state=FAIL was always OK in the training rows",
        "",
    ]


def test_a_changed_constant_is_strange():
    column = fit(["OK"] * 40 + [""], name="state")
    assert column.kind == "ignore"
    x, mask, (strange,), notes = encode(["OK", "FAIL", "", "FAIL"], column)
    assert (x.shape, mask.shape) == ((4, 0), (4, 0))
    assert strange.rows.tolist() == [1, 3]
    assert strange.nats == pytest.approx(np.log(41))
    assert notes[0].startswith("column 'state': 2 cells taken as missing, such as 'FAIL' in row 2")
    assert encode(["", "OK"], column)[2] == []


def test_spikes_are_strange_by_their_share_and_noted_once_for_all_columns():
    rng = np.random.default_rng(0)
    texts = [f"{v:.1f}" for v in rng.normal(15, 4, 95)] + ["-999"] * 5
    columns = [fit(texts, name="a"), fit(texts, name="b")]
    frame = frame_of(a=["12.5", "-999", "-999.0"], b=["-999", "1", "2"])
    _, mask, strange, notes = encoding.encode(frame, columns)
    np.testing.assert_array_equal(mask, [[1, 0], [0, 1], [0, 1]])
    assert [one.rows.tolist() for one in strange] == [[1, 2], [0]]
    assert [one.nats for one in strange] == pytest.approx([-np.log(0.05)] * 2)
    assert notes == [
        "-999 in 'a' (2 cells), 'b' (1 cell) lies far outside the others: such cells are kept, not "
        "filled; if they are missing: --missing -999, or a=-999 for one column"
    ]


def test_limits_of_the_training_rows_are_encoded_and_others_are_strange():
    rng = np.random.default_rng(0)
    texts = ["<0.5"] * 9 + [f"{v:.1f}" for v in 0.5 + rng.lognormal(0, 0.5, 90)]
    column = fit(texts)
    assert (column.below, column.above) == (0.5, None)
    x, mask, (strange,), notes = encode(["<0.5", "0.5", "1.5", "<0.1", ">9"], column, dtype=float)
    np.testing.assert_array_equal(
        mask[:, 0], [1, 1, 1, 0, 0] if strange.rows[0] == 3 else mask[:, 0]
    )
    assert x[0, 0] == column.limits[0] < x[1, 0] < x[2, 0]
    assert "which is a limit that the training rows do not have" in notes[0]


# A file in a style of its own


def test_a_file_is_read_in_its_own_style():
    texts = [f"{v:.1f}" for v in np.random.default_rng(0).normal(50, 9, 60)]
    columns = kinds.fit(frame_of(x=texts, d=["03/17/2024", "04/21/2024", "05/02/2024"] * 20))
    commas = frame_of(
        x=[text.replace(".", ",") for text in texts], d=["17.03.2024", "21.04.2024", ""] * 20
    )
    own, notes = encoding.in_own_style(commas, columns)
    x, mask, strange, _ = encoding.encode(commas, own)
    expected = encoding.encode(frame_of(x=texts, d=["03/17/2024", "04/21/2024", ""] * 20), columns)
    np.testing.assert_array_equal(x, expected[0])
    np.testing.assert_array_equal(mask, expected[1])
    assert strange == []
    assert notes == [
        f"column 'x' is read as this file writes it, such as {commas['x'][0]}",
        "column 'd' is read as this file writes it, such as 17.03.2024",
    ]
    assert encoding.in_own_style(frame_of(x=texts), columns) == (columns, [])


@pytest.mark.parametrize("n_words", [1, 40])
def test_a_file_of_which_most_cannot_be_read_is_refused(n_words):
    texts = [f"{v:.1f}" for v in np.random.default_rng(0).normal(50, 9, 60)]
    columns = kinds.fit(frame_of(x=texts))
    frame = frame_of(x=[*(["broken"] * n_words), *texts[n_words:]])
    if n_words == 1:
        assert encoding.in_own_style(frame, columns) == (columns, [])
        return
    with pytest.raises(UserError, match="column 'x': 40 of 60 cells are not what the run was"):
        encoding.in_own_style(frame, columns)


@pytest.mark.parametrize(
    ("known", "cells_", "stops"),
    [
        (["yes", "no"], ["ja", "nein"], True),
        (["yes", "no"], ["ja"], False),  # one new level
        (["Bern", "Oslo", "Rome"], ["Bern", "Ulm", "Kiel"], True),
        (["Bern", "Oslo", "Rome"], ["Bern", "Oslo", "Ulm", "Kiel"], False),  # half of them
        (["200", "404", "500"], ["301", "302", "307"], True),
        (["low", "medium", "high"], ["low", "niedrig", "hoch"], True),
        (["low", "medium", "high", "don't know"], ["low", "don't know", "don't know"], False),
        (["mg"], ["g", "kg"], False),  # a constant is not modelled
    ],
)
def test_a_category_in_other_words_is_refused(known, cells_, stops):
    columns = kinds.fit(frame_of(x=known * 60, n=[f"{i}.5" for i in range(60 * len(known))]))
    frame = frame_of(x=cells_ * 10, n=["7.5"] * (10 * len(cells_)))
    if stops:
        with pytest.raises(UserError, match=f"column 'x': .* of .* cells .*{cells_[-1]}.*remove"):
            encoding.in_own_style(frame, columns)
    else:
        encoding.in_own_style(frame, columns)
    encoding.in_own_style(frame.iloc[:6], columns)  # too few to tell


def test_categories_in_other_case_are_read():
    columns = kinds.fit(frame_of(job=["clerk", "head nurse", "cook"] * 20, site=["Ulm"] * 60))
    jobs = ["CLERK", "Head  nurse ", "clerk", "CLERK", "pilot"]
    frame = frame_of(job=jobs * 2, site=["ULM"] * 10)
    own, notes = encoding.in_own_style(frame, columns)
    assert [note.split(",")[0] for note in notes] == [
        f"column {name!r} is read as this file writes it" for name in ("job", "site")
    ]
    assert own[0].levels == ["CLERK", "cook", "Head  nurse"]  # so they are written
    x, _, odd, _ = encoding.encode(frame, own)
    assert x[:4, 0].tolist() == [0, 2, 0, 0]
    assert [(one.name, one.rows.tolist()) for one in odd] == [("job", [4, 9])]
    few = frame_of(job=["CLERK", "clerk", "cook"], site=["Ulm"] * 3)
    assert encoding.in_own_style(few, columns) == (columns, [])
    (box,) = kinds.fit(frame_of(n=[str(i) for i in range(90)], x=["x", "", ""] * 30))[1:]
    (ticked,), _ = encoding.in_own_style(frame_of(x=["X", "", "", ""] * 5), [box])
    assert sorted(ticked.levels) == ["", "X"]
    (differ,) = kinds.fit(frame_of(x=["a", "A", "b"] * 20))
    with pytest.raises(UserError, match="none of the 3 levels"):
        encoding.in_own_style(frame_of(x=["B", "C"] * 5), [differ])


def test_one_new_level_in_all_cells_is_said():
    columns = kinds.fit(frame_of(x=["a", "b", "c"] * 20, unit=["mg"] * 60))
    notes = encoding.encode(frame_of(x=["z"] * 12, unit=["g"] * 12), columns)[3]
    assert notes[0].startswith("column 'x': all 12 cells taken as missing, such as 'z' in row 1")
    assert "'unit': all 12 cells taken as missing, such as 'g' in row 1, which was al" in notes[1]


def test_several_unreadable_cells_are_one_note():
    frame = TABLE.assign(word=["u", "v", "x", "w", ""])
    (note,) = encoding.encode(frame, COLUMNS)[3]
    assert note == (
        "column 'word': 3 cells taken as missing, such as 'u' in row 1, which is no level of the "
        "training rows"
    )


def test_a_number_outside_a_logarithm_is_impossible():
    strict, zeros = fit(["1.5", "2.5", "9.0"], "positive"), fit(["0", "2.0", "9.0"], "positive")
    of_strict = [("0", True), ("-1", True), ("1e-9", False), ("", False)]
    of_zeros = [("0", False), ("-0.5", False), ("-1", True), ("-3", True)]
    cases = [(strict, *case) for case in of_strict] + [(zeros, *case) for case in of_zeros]
    for column, cell, expected in cases:
        x, mask, strange, _ = encode([cell], column)
        assert bool(strange) == expected, (column.offset, cell)
        assert mask[0, 0] == (not expected and cell != "")
        assert np.isfinite(x).all()


def test_a_column_that_is_not_there_is_missing():
    x, mask, _, notes = encoding.encode(TABLE.drop(columns=["word", "gone"]), COLUMNS)
    assert notes == ["column 'word' is not in the file: taken as missing"]
    assert not mask[:, 1].any()
    assert not x[:, 1].any()


def test_both_decimal_marks_are_counted():
    texts = [f"{k % 50},{k % 7}5" if k % 4 else f"{k % 50}.25" for k in range(100)]
    column = fit(texts)
    assert column.describe().startswith("numbers with decimal points and commas")
    x, mask, strange, notes = encode([*texts, "1,234"], column)
    assert notes[0] == (
        "column 'x': cells 25 with a point and 76 with a comma before their decimals are read as "
        "numbers"
    )
    assert mask.sum() == 100


def test_levels_that_are_numbers_are_matched_as_numbers():
    column = fit(["1", "2", "30"] * 5, "ordinal")
    x, mask, _, notes = encode(["1.0", " 2", "3e1", "30.5", "", "x"], column)
    np.testing.assert_array_equal(x[:, 0], [0, 1, 2, 0, 0, 0])
    np.testing.assert_array_equal(mask[:, 0], [1, 1, 1, 0, 0, 0])
    assert "2 cells taken as missing, such as '30.5' in row 4" in notes[0]


def test_levels_that_are_text_are_matched_as_text():
    column = fit(["01", "02", "A"] * 5, "categorical")
    _, mask, _, _ = encode(["01", "1", " A ", "a", "1.0"], column)
    np.testing.assert_array_equal(mask[:, 0], [1, 0, 1, 0, 0])


def test_a_text_column_may_come_as_numbers():
    """Another Parquet file of the table may store the column's cells as numbers."""
    column = fit(["1", "2", "30"] * 5, "ordinal")
    x, mask, _, _ = encoding.encode(pd.DataFrame({"x": [30.0, np.nan, 1.0]}), [column])
    np.testing.assert_array_equal(x[:, 0] * mask[:, 0], [2, 0, 0])
    np.testing.assert_array_equal(mask[:, 0], [1, 0, 1])


def test_categories_stay_codes_in_the_users_units():
    columns = [CURVES["asinh"], fit(["x", "y", "z"] * 5, "categorical")]
    x = np.array([[0.5, 2], [-0.5, 0]])
    back = units.to_user(x, columns)
    np.testing.assert_allclose(back[:, 0], columns[0].to_user(x[:, 0]))
    np.testing.assert_array_equal(back[:, 1], [2, 0])
    assert units.to_user(x[None, None], columns).shape == (1, 1, 2, 2)


def test_codes_out_of_range_are_the_nearest_level():
    column = fit(["x", "y", "z"] * 5, "categorical")
    assert column.text_of([-3, 0.4, 0.6, 9]) == ["x", "x", "y", "z"]


def test_rows_as_plain_numbers():
    columns = [
        fit(["1.5", "2.5", "4.0"] * 5, "real"),
        fit(["x", "y", "z"] * 5, "categorical"),
        fit(["a", "b"] * 5, "binary"),
    ]
    x = np.array([[0.0, 2, 1], [0.0, 0, 0]])
    mask = np.array([[1, 1, 1], [0, 0, 1]])
    found = units.as_numbers(columns, x, mask)
    expected = [[columns[0].to_user(0.0), 0, 0, 1, 1], [np.nan] * 4 + [0]]
    np.testing.assert_allclose(found, expected)


# A file of the table that a run knows


def read_rows(frame, columns, name="t.csv"):
    """x, mask, strange cells and notes of a file of these cells, and the file's frame after it."""
    file = table_files.File(Path(name), frame)
    encoding.name_columns(file, columns)
    return *encoding.encode_file(file.frame, columns, file.path), file.frame


def test_a_file_of_another_table_is_refused():
    with pytest.raises(UserError, match="none of the columns that the run was trained on"):
        read_rows(frame_of(other=["1"]), COLUMNS)
    with pytest.raises(UserError, match="none of the columns"):
        read_rows(frame_of(gone=["u1"]), COLUMNS)  # one that it never modelled


def test_unknown_columns_are_noted():
    *_, notes, _ = read_rows(TABLE.assign(**{f"new {i}": "1" for i in range(7)}), COLUMNS)
    assert notes[-1].endswith("'new 0', 'new 1', 'new 2', 'new 3', 'new 4', ...")
    assert read_rows(TABLE, COLUMNS)[3] == []


def test_an_array_has_the_names_of_the_run():
    columns = kinds.fit(frame_of(a=["1.5", "2.5", "4.5"], b=["3.5", "1.25", "0.5"]))
    frame = pd.DataFrame(np.array([[1.5, 3.5], [2.5, np.nan]]), columns=["c0", "c1"])
    _, mask, *_, frame = read_rows(frame, columns, "t.npy")
    np.testing.assert_array_equal(mask, [[1, 1], [1, 0]])
    assert list(frame.columns) == ["a", "b"]


@pytest.mark.parametrize(
    ("style", "whole", "least"), [({"decimals": 0}, True, "1"), ({"decimals": 1}, False, "0.1")]
)
def test_a_positive_cell_is_not_rounded_to_nothing(style, whole, least):
    column = units.Column("p", kind="positive", curve="log", style=style, whole=whole, low=0.0)
    assert column.text_of(np.array([0.001])) == [least]


def test_a_verb_that_fits_a_run_to_its_file_encodes_the_file_once(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "MIN_STEPS", 20)
    frame = survey().head(300)
    frame.to_csv("file.csv", index=False)
    encoded, encode = [], encoding.encode
    monkeypatch.setattr(encoding, "encode", lambda f, *a: encoded.append(len(f)) or encode(f, *a))
    for verb in ("detect", "impute"):
        assert call(verb, "file.csv").code == 0
    assert encoded == [300, 300]


# Files that write a column in another way than the run


def own_style(trained, texts):
    """What `in_own_style` makes of one column of a file, and its notes."""
    column = fit(trained)
    frame = pd.DataFrame({"x": pd.Series(texts, dtype="str")})
    (found,), notes = encoding.in_own_style(frame, [column])
    return found, notes


KILOGRAMS = [f"{v:.1f} kg" for v in np.random.default_rng(0).normal(70, 5, 60)]


def test_a_file_without_the_unit_is_read_as_the_run():
    found, notes = own_style(KILOGRAMS, ["70.5", "71.25"] * 5)
    assert (found.style, notes) == (fit(KILOGRAMS).style, [])


@pytest.mark.parametrize("unit", ["g", "lb"])
def test_a_file_in_another_unit_is_refused(unit):
    with pytest.raises(UserError, match=f"20 of 20 cells are not what .* such as '155.0 {unit}'"):
        own_style(KILOGRAMS, [f"155.0 {unit}", f"160.5 {unit}"] * 10)


@pytest.mark.parametrize("words", [("FALSE", "TRUE"), ("false", "true")])
def test_truth_values_are_compared_by_what_they_say(words):
    column = fit(["True", "False"] * 20)
    x, mask, odd, _ = encode(list(words), column)
    assert mask.all()
    assert not odd
    assert [column.levels[int(code)] for code in x[:, 0]] == ["False", "True"]
