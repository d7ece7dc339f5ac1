"""parts/forms/cells/numerals.py: numbers as people write them are read, and written so again."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parts.forms import cells
from parts.forms.tables import kinds


def series(values):
    return pd.Series(values, dtype="str")


def style_of(texts, name="x"):
    """The style and the values of cells; ({}, None) where less than nearly all are numbers."""
    reading = cells.reading_of(series(texts), name)
    if reading is None or reading.share < cells.MOSTLY:
        return {}, None
    return reading.style, reading.values


def cells_of(texts):
    """The texts read and written again in the style that was found."""
    style, values = style_of(texts)
    assert values is not None, texts[:5]
    return cells.texts(values, style)


# Styles: (cells, numbers); written again they are the same cells

STYLES = {
    "accounting": (["(1,234.50)", "12.25", "(3.00)"], [-1234.5, 12.25, -3]),
    "accounting in dollars": (["($1,234.50)", "$12.25"], [-1234.5, 12.25]),
    "accounting behind the dollar": (["$(1,234.50)", "$12.25"], [-1234.5, 12.25]),
    "accounting in percent": (["(9.4%)", "3.8%"], [-9.4, 3.8]),
    "amounts without cents": (["475,-", "1.513,-"], [475, 1513]),
    "rupees without paise": (["₹4,359/-", "₹92/-", "₹1,50,341/-"], [4359, 92, 150341]),
    "amounts without cents in Switzerland": (["4'311.-", "80.-"], [4311, 80]),
    "apostrophes": (["1'234.5", "12.0"], [1234.5, 12]),
    "apostrophes of typographers": (["1’234’567", "12"], [1234567, 12]),
    "bytes": (["4GB", "16GB"], [4, 16]),
    "cells with a plus": (["+1.5", "-2.5", "+3.0"], [1.5, -2.5, 3]),
    "concentrations": (["13.4 g/dL", "9.0 g/dL"], [13.4, 9]),
    "decimal comma": (["1,5", "-0,2", "33,0"], [1.5, -0.2, 33]),
    "decimal comma and points": (["1.234,50", "-12,25", "1.234.567,00"], [1234.5, -12.25, 1234567]),
    "decimal comma in euros": (["1,50€", "1.250,25€"], [1.5, 1250.25]),
    "decimal comma in percent": (["1,5%", "-0,2%"], [1.5, -0.2]),
    "decimal commas of numbers below 1": (["0,512", "0,950"], [0.512, 0.95]),
    "decimals": (["1.50", "-0.25", "0.00"], [1.5, -0.25, 0]),
    "decimals without zeros behind": (["5.01", "5.4", "5", "0"], [5.01, 5.4, 5, 0]),
    "degrees": (["15.1 °C", "-3.0 °C"], [15.1, -3]),
    "dollars": (["$3.50", "-$0.25", "$12.00"], [3.5, -0.25, 12]),
    "dollars and thousands": (["$1,234.50", "-$1,000.00"], [1234.5, -1000]),
    "dollars before the sign": (["$3.50", "$-0.25"], [3.5, -0.25]),
    "dollars in words": (["USD 12", "USD 7"], [12, 7]),
    "euros behind": (["3.50€", "-2.25€"], [3.5, -2.25]),
    "euros in France": (["4\u202f211,54\u00a0€", "9,10\u00a0€"], [4211.54, 9.1]),
    "exact thousands": (["1.7M", "303.2k"], [1_700_000, 303_200]),
    "floats of a data frame": (["5.01", "5.4", "5.0"], [5.01, 5.4, 5]),
    "India": (["12,34,567", "1,00,000", "999"], [1234567, 100000, 999]),
    "India in rupees": (["₹12,34,567.50", "₹100.25"], [1234567.5, 100.25]),
    "kilograms": (["70 kg", "104 kg"], [70, 104]),
    "kilograms without a blank": (["70.5kg", "104.0kg"], [70.5, 104]),
    "marks of five": (["4.5/5", "3.0/5"], [4.5, 3]),
    "millions of dollars": (["$1.7M", "$30.5M"], [1_700_000, 30_500_000]),
    "minus behind": (["12.50-", "3.25"], [-12.5, 3.25]),
    "minus of typographers": (["\u22123.5", "2.5"], [-3.5, 2.5]),
    "percent": (["12.5%", "-3.0%", "100.0%"], [12.5, -3, 100]),
    "pounds": (["£3", "£5"], [3, 5]),
    "spaces": (["1 234.5", "12.0"], [1234.5, 12]),
    "spaces and comma": (["1 234,5", "12,0"], [1234.5, 12]),
    "square metres": (["54 m2", "120 m2"], [54, 120]),
    "thousands": (["1,234", "12", "-1,234,567"], [1234, 12, -1234567]),
    "thousands and decimals": (["1,234.50", "0.25"], [1234.5, 0.25]),
    "thousands by k": (["20k", "75k"], [20_000, 75_000]),
    "thousands by points": (["1.234", "12.500", "479", "2.000"], [1234, 12500, 479, 2000]),
    "thousands by points, twice": (["1.234.567", "12.500"], [1234567, 12500]),
    "twelve decimals": (["0.123456789012", "1.000000000000"], [0.123456789012, 1]),
    "two words": (["400 sq ft", "1,250 sq ft"], [400, 1250]),
    "whole": (["1", "0", "-3", "25"], [1, 0, -3, 25]),
    "yen": (["¥300", "¥5"], [300, 5]),
    "zero without decimals": (["0", "1.50", "3.00"], [0, 1.5, 3]),
}


@pytest.mark.parametrize("name", STYLES)
def test_a_style_is_read_and_written(name):
    texts, numbers = STYLES[name]
    style, values = style_of(texts)
    np.testing.assert_allclose(values, numbers, rtol=1e-15)
    assert cells.texts(values, style) == texts
    assert cells_of([f" {text}\t" for text in texts]) == texts  # blanks around a cell say nothing


@pytest.mark.parametrize("name", STYLES)
def test_other_rows_of_a_style_are_read(name):
    """Holes, rubbish and the order of rows change neither the style nor what is read."""
    texts, numbers = STYLES[name]
    dirty = [*texts * 30, "refused", "", "see note"]
    shuffled = np.random.default_rng(0).permutation(len(dirty))
    reading = cells.reading_of(series([dirty[i] for i in shuffled]))
    expected = np.array([*numbers * 30, np.nan, np.nan, np.nan])[shuffled]
    np.testing.assert_allclose(reading.values, expected, rtol=1e-15)
    assert reading.share == pytest.approx(30 * len(texts) / (30 * len(texts) + 2))
    again = cells.numbers(series(texts), reading.style)
    np.testing.assert_allclose(again, numbers, rtol=1e-15)


@pytest.mark.parametrize(
    "texts", [["3.50 €", "2.25 €"], ["12.5 %", "3.0 %"], ["$ 3.50", "$ 2.25"], ["+1.5", "-2.5"]]
)
def test_blanks_and_plus_signs_are_written_as_they_were(texts):
    assert cells_of(texts) == texts


# Separators that may be those of thousands or of decimals


@pytest.mark.parametrize(
    ("texts", "commas", "first"),
    [
        (["431.138", "465.521"], False, 431.138),
        (["431.138", "465.521"], True, 431138),  # other columns have decimal commas
        (["431.138", "1.465.521"], False, 431138),
        (["431.13", "465.521"], True, 431.13),
        (["54,147", "59,859"], False, 54147),
        (["54,147", "59,859"], True, 54.147),
        (["54,147", "59,85"], False, 54.147),
        (["0,147", "59,859"], False, 0.147),
        (["1.5", "2.125", "3.750"], False, 1.5),
        (["2.125", "3.750", "1250"], False, 2.125),  # 1250 would be 1.250
        (["4,911E-09", "2,476E-12"], False, 4.911e-9),
    ],
)
def test_separators_in_doubt(texts, commas, first):
    values = cells.reading_of(series(texts), hints=cells.Hints(commas=commas)).values
    assert values[0] == first


def test_other_columns_tell_how_numbers_are_separated():
    """The columns of a file have one decimal mark."""
    texts = ["431.138", "465.521", "682.099"] * 20
    alone = pd.DataFrame({"a": texts}, dtype="str")
    beside = alone.assign(b=["12,5", "7,25", "0,75"] * 20)
    assert kinds.fit(alone, {"a": "real"})[0].read(alone["a"])[0][0] == 431.138
    assert kinds.fit(beside, {"a": "real"})[0].read(alone["a"])[0][0] == 431138


def test_thousands_by_unbreakable_spaces():
    _, values = style_of(["1\u00a0234,5", "12,0"])
    np.testing.assert_array_equal(values, [1234.5, 12])


@pytest.mark.parametrize("digits", range(13))
@settings(max_examples=10)
@given(numbers=st.lists(st.integers(-(10**12), 10**12), min_size=1, max_size=20))
def test_any_number_of_decimals_is_kept(digits, numbers):
    texts = [f"{number / 10**digits:.{digits}f}" for number in numbers]
    texts = [text for text in texts if float(text) or not text.startswith("-")] or ["1"]
    assert cells_of(texts) == texts


AFFIXES = [
    {},
    {"prefix": "$"},
    {"prefix": "$", "inside": True},
    {"prefix": "EUR "},
    {"suffix": "%"},
    {"suffix": " m2"},
    {"suffix": " lbs"},
]
MARKS = [("", "."), (",", "."), (".", ","), ("'", "."), (" ", "."), (" ", ","), ("", ",")]
SIGNS = [{}, {"minus": "(1)"}, {"minus": "1-"}, {"minus": "\u2212"}, {"plus": True}]


@given(
    numbers=st.lists(st.integers(-(10**14), 10**14), min_size=1, max_size=20),
    affix=st.sampled_from(AFFIXES),
    marks=st.sampled_from(MARKS),
    signs=st.sampled_from(SIGNS),
    decimals=st.integers(0, 4),
    least=st.integers(0, 4),
)
@example(numbers=[0, -1], affix={}, marks=(",", "."), signs={}, decimals=2, least=4)
def test_what_is_written_in_a_style_is_read_in_it(numbers, affix, marks, signs, decimals, least):
    style = affix | signs | {"thousands": marks[0], "decimal": marks[1], "decimals": decimals}
    style |= {"least": least} if least < decimals else {}
    values = np.array(numbers) / 10**decimals
    texts = cells.texts(values, style)
    np.testing.assert_array_equal(cells.numbers(series(texts), style), values)
    for text, number in zip(texts, numbers, strict=True):
        digits = text.replace(" m2", "").replace(marks[1], "#").partition("#")
        whole = "".join(letter for letter in digits[0] if letter.isdigit())
        assert int(whole) == abs(number) // 10**decimals
        assert any(sign in text for sign in "-(\u2212") == (number < 0)


@given(
    numbers=st.lists(st.integers(-(10**5), 10**5), min_size=2, max_size=20, unique=True),
    affix=st.sampled_from(AFFIXES),
    marks=st.sampled_from(MARKS[:1] + MARKS[3:]),
    signs=st.sampled_from(SIGNS),
)
def test_a_style_is_found_again_from_what_it_writes(numbers, affix, marks, signs):
    """One decimal tells the decimal mark; so the cells are the same once more."""
    style = affix | signs | {"thousands": marks[0], "decimal": marks[1], "decimals": 1}
    if style.get("minus") == "(1)":
        style.pop("inside", None)
    texts = cells.texts(np.array(numbers) / 10, style)
    assert cells_of(texts) == texts


@given(numbers=st.lists(st.floats(-cells.LARGEST, cells.LARGEST), min_size=1, max_size=20))
@example(numbers=[cells.LARGEST, -1e300, 5e-324, 0.1])
def test_exact_texts_are_read_to_the_last_bit(numbers):
    texts = cells.texts(numbers, {"decimals": None}, exact=True)
    np.testing.assert_array_equal(cells.numbers(series(texts), {}), numbers)


def test_exponents_have_no_decimals():
    style, values = style_of(["1.5e-10", "2E+300", "-3"])
    assert style == {"decimals": None}
    np.testing.assert_array_equal(values, [1.5e-10, 2e300, -3])
    assert cells.texts([1.23456789e-7, 1.5], style) == ["1.234568e-07", "1.5"]
    assert cells.texts([1 / 3], {"decimals": 2}) == ["0.33"]


def test_zero_is_never_negative():
    assert cells.texts([-0.001, -0.0], {"decimals": 2}) == ["0.00", "0.00"]
    style = {"thousands": ".", "decimal": ",", "decimals": 1, "suffix": "%"}
    assert cells.texts([-0.001, -1234.5], style) == ["0,0%", "-1.234,5%"]


def test_whole_numbers_are_rounded():
    assert cells.texts([1.6, -0.2, 2.5], {"decimals": 0}, whole=True) == ["2", "0", "2"]
    assert cells.texts([1.6], {"decimals": 1}, whole=True) == ["2.0"]
    assert cells.texts([1.6], {"decimals": None}, whole=True) == ["2"]


@pytest.mark.parametrize(
    ("texts", "numbers", "written"),
    [
        (["1.7M", "303.2k", "12"], [1.7e6, 303_200, 12], ["1.7M", "303.2k", "12"]),
        (["3k", "5k"], [3000, 5000], ["3k", "5k"]),
        (
            ["12034", "5000", "7211", "5k"],
            [12_034, 5000, 7211, 5000],
            ["12034", "5000", "7211", "5000"],
        ),
        (["$2M", "$750K"], [2e6, 750_000], ["$2M", "$750K"]),
        (["1.1M", "4.35M"], [1_100_000, 4_350_000], ["1.1M", "4.35M"]),  # exactly
    ],
)
def test_suffixes_of_thousands_and_millions(texts, numbers, written):
    style, values = style_of(texts)
    np.testing.assert_array_equal(values, numbers)
    assert cells.texts(values, style) == written


def test_a_column_with_a_suffix_everywhere_is_written_with_one():
    style = style_of(["$750K", "$2.5M"])[0]
    assert cells.texts([500, 12_345_678], style) == ["$0.5K", "$12.3M"]


# Units: one for each column


@pytest.mark.parametrize(
    ("texts", "number"),
    [
        (["70 kg", "72kg", "75 KG", "80 kgs"], 70),
        (["1 day", "2 days", "5 days"], 1),
        (["70", "72 kg", "75 kg"], 70),
        (["$70", "72", "75"], 70),
        (["~70", "72", "75"], 70),
        (["70", "72", "75 kg"], 70),
    ],
)
def test_ways_to_write_one_unit(texts, number):
    assert style_of(texts)[1][0] == number


@pytest.mark.parametrize(
    ("texts", "written"),
    [
        (["70", "72", "75 kg"], ["70", "72", "75"]),
        (["70", "72 kg", "75 kg"], ["70 kg", "72 kg", "75 kg"]),
        (["$70", "72", "75"], ["70", "72", "75"]),
        (["+70", "72", "75"], ["70", "72", "75"]),
    ],
)
def test_a_unit_or_a_plus_that_most_cells_have_is_written(texts, written):
    assert cells_of(texts) == written


@pytest.mark.parametrize(
    ("texts", "n_read"),
    [
        (["12", "14", "17a", "18"], 3),  # house numbers
        (["12", "14", "17B", "18"], 3),  # no billions
        (["12", "14", "17 rear", "18"], 3),
        (["70 kg", "72 kg", "160 lb", "75 kg"], 3),
        (["$5", "$7", "€6", "$9"], 3),
    ],
)
def test_a_cell_with_another_unit_is_no_number(texts, n_read):
    values = cells.reading_of(series(texts)).values
    assert (~np.isnan(values)).sum() == n_read


# Limits


@pytest.mark.parametrize(
    ("cell", "value", "side"),
    [
        ("10+", 10, 1),
        ("10+ mg", 10, 1),
        ("10 mg+", 10, 1),
        ("12", 12, 0),
        ("12 mg", 12, 0),
        ("< 0.5", 0.5, -1),
        ("<0.5 mg", 0.5, -1),
        ("<=0.5", 0.5, -1),
        (">100", 100, 1),
        (">= 100 mg", 100, 1),
        ("\u2264 0.5", 0.5, -1),
        ("\u2265100", 100, 1),
    ],
)
def test_a_limit_is_a_value_and_its_side(cell, value, side):
    reading = cells.reading_of(series(["1.5 mg", "2.5 mg", "7.5 mg", "3 mg", cell]))
    assert (reading.values[-1], reading.sides[-1]) == (value, side)
    assert not reading.sides[:-1].any()
    assert reading.style == {"suffix": " mg", "decimals": 1, "least": 0} or cell == "12"
    known = cells.numbers(series([cell, "4 mg"]), reading.style)
    np.testing.assert_array_equal(known, [np.nan if side else value, 4])


@pytest.mark.parametrize("cell", ["1e+05", "+5", "<LOD", "<", ">x", "1 < 2"])
def test_a_plus_or_a_sign_elsewhere_is_no_limit(cell):
    assert not cells.reading_of(series(["1.5", "2.5", "3.5", cell])).sides.any()


# What must not be taken for a number


@pytest.mark.parametrize("affix", ["{}", "{} kg", "-{} €", "${}"])
@pytest.mark.parametrize("decimals", [1, 2, 4])
def test_both_decimal_marks_in_one_column(affix, decimals):
    numbers = np.round(np.random.default_rng(0).uniform(1, 5000, 90), decimals)
    texts = [affix.format(f"{number:.{decimals}f}") for number in numbers]
    mixed = [text.replace(".", ",") if i % 3 else text for i, text in enumerate(texts)]
    style, values = style_of(mixed)
    np.testing.assert_allclose(np.abs(values), numbers, rtol=1e-12)
    assert cells.texts(values, style) == [text.replace(".", ",") for text in texts]


def test_three_digits_behind_one_of_two_decimal_marks_are_not_guessed():
    style, values = style_of(["12.34", "12,34", "5,5", "0,125", "1,234.5", "1.234.567,8"] * 9)
    np.testing.assert_array_equal(values[:6], [12.34, 12.34, 5.5, 0.125, 1234.5, 1234567.8])
    assert np.isnan(cells.numbers(series(["1,234", "1.234"]), style)).all()
    style, values = style_of(["1,234", "12.34"] * 20)  # here commas separate thousands
    assert values[0] == 1234
    assert "either" not in style


@pytest.mark.parametrize(
    "texts",
    [
        ["-01", "x"],
        ["0x10", "0xff"],
        ["1,2,3", "4,5,6"],
        ["1-2", "3-5"],
        ["1.2.3", "1.2.4"],
        ["1/2", "3/4"],
        ["10.0.0.1", "10.0.0.2"],
        ["110 00", "120 01"],  # Czech postcodes
        ["12 May", "14 May"],
        ["12A", "12B", "14C"],
        ["192.168.178.101", "192.168.178.120"],
        ["1O.5", "2O.5"],
        ["1_000", "2_000"],
        ["1st", "2nd", "3rd"],
        ["2010Q4", "2011Q4"],
        ["48°51'N", "50°07'N"],
        ["4111 1111 1111 1111", "5500 0000 0000 0004"],
        ["5'11\"", "6'2\""],
        ["555-1234", "555-9876"],
        ["7th", "12th"],
        ["A1", "B2"],
        ["B12", "B17"],
        ["True", "False"],
        ["06 12 34 56 78", "06 98 76 54 32"],
        ["057 063 853", "060 605 421"],
        ["yes", "no"],
        ["", "-"],
        [],
    ],
)
def test_text_is_no_number(texts):
    style, values = style_of(texts)
    assert values is None or cells.is_moment(style)


@pytest.mark.parametrize("cell", ["-1e400", "1e400", "9" * 400, "9e307", "inf", "infinity"])
def test_a_number_beyond_all_numbers_is_none(cell):
    reading = cells.reading_of(series(["1.5", "2.5", "3.5", cell]))
    np.testing.assert_array_equal(reading.values, [1.5, 2.5, 3.5, np.nan])
    assert reading.share == 0.75


@pytest.mark.parametrize(
    "cell", ["(" * 10, "0" * 10, "1 " * 10, "1,23" * 10, "1e9" * 10, "9." * 10]
)
def test_the_time_to_read_a_cell_is_linear_in_its_length(cell):
    """A quadratic regular expression takes hours for a megabyte."""
    long = cell * 10**5
    reading = cells.reading_of(series(["1.5 kg", "2.5 kg", "$3", long, f"{long}x"]))
    assert reading.values[:2].tolist() == [1.5, 2.5]


@pytest.mark.parametrize("n_bad", [0, 3, 6, 50, 97])
def test_unreadable_cells_are_counted_and_hide_none_of_the_others(n_bad):
    texts = [f"bad {i}" for i in range(n_bad)] + [f"{i}.5" for i in range(100 - n_bad)]
    reading = cells.reading_of(series(texts + [""] * 300))
    assert reading.share == pytest.approx((100 - n_bad) / 100)
    assert np.isnan(reading.values[:n_bad]).all()
    np.testing.assert_array_equal(reading.values[n_bad:100], np.arange(100 - n_bad) + 0.5)


def test_the_style_is_the_one_that_reads_most_cells():
    """And not the first that reads some."""
    reading = cells.reading_of(series(["1.234,5"] + [f"{i},5" for i in range(40)] + ["1O.5"] * 5))
    assert reading.values[0] == 1234.5
    assert reading.share == pytest.approx(41 / 46)


def test_distinct_cells_are_not_enough():
    """100 numbers once each, and one text a thousand times."""
    assert style_of([f"{i}.5" for i in range(100)] + ["refused"] * 1000) == ({}, None)


def test_one_bad_cell_among_many_equal_numbers_is_missing():
    style, values = style_of(["1", "2", "3", "4", "5"] * 100 + ["refused"])
    assert np.isnan(values).sum() == 1


def test_decimals_are_found_beyond_the_first_cells():
    assert style_of(["1"] * 5000 + ["2.25"])[0]["decimals"] == 2


def test_a_foreign_sign_is_unreadable():
    style = {"prefix": "$", "decimals": 2}
    np.testing.assert_array_equal(
        cells.numbers(series(["$1.50", "1.50", "€1.50", "$", "-$2", "x"]), style),
        [1.5, 1.5, np.nan, np.nan, -2, np.nan],
    )
