"""parts/forms/tables/kinds.py: the kind of each column, found in the training rows only."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import data as datasets
from parts import forms
from parts.errors import UserError
from parts.forms import cells, units
from parts.forms.config import DataConfig
from parts.forms.tables import encoding, kinds

RNG = np.random.default_rng(0)
N = 200


def column(texts, wanted=None, name="x"):
    return kinds.fit_column(name, pd.Series(texts, dtype="str"), wanted)


def whole(low, high, n=N):
    """Whole numbers from low to high, both there."""
    return [*map(str, np.random.default_rng(0).integers(low, high + 1, n)), str(low), str(high)]


def decimals(values, form="{:.3f}"):
    return [form.format(value) for value in values]


NORMAL, LOGNORMAL = RNG.normal(size=N), RNG.lognormal(3, 1, N)

# Inference: what is written, and the kind

INFERRED = {
    # real: numbers and dates
    "normal": (decimals(NORMAL), "real"),
    "normal far from 0": (decimals(100 + NORMAL), "real"),
    "ages": (whole(18, 90), "real"),
    "years": (whole(1950, 2020), "real"),
    "temperatures below 0": (whole(-20, 5), "real"),
    "percent": (decimals(NORMAL, "{:.1f}%"), "real"),
    "gains and losses": (decimals(1000 * NORMAL, "{:,.2f}"), "real"),
    "log-normal with zeros": (["0", *decimals(LOGNORMAL)], "real"),
    "dates": (whole(10, 28) and [f"2024-01-{d}" for d in whole(10, 28)], "real"),
    "dates all different": (
        [f"{y}-03-{d:02d}" for y in range(1990, 2020) for d in (1, 15)],
        "real",
    ),
    "months as numbers": (whole(1, 12), "real"),
    "ratings that begin at 2": (whole(2, 5), "real"),
    "sevenths": ([str(i / 7) for i in range(30)], "real"),
    "counts with a larger median": (whole(0, 13), "real"),
    "counts with a median of 3": (["0"] + ["3"] * 40 + ["6", "9"] * 5, "real"),
    "counts that reach too far": ([*map(str, RNG.poisson(2, N)), "101"], "real"),
    "counts and a negative one": (["0", "1", "2", "-1"] * 10, "real"),
    "three bad cells of a hundred": (["x", "y", "oops", *decimals(RNG.normal(size=97))], "real"),
    "minus signs for holes": (["-", "-5.5"] * 20 + decimals(NORMAL[:60]), "real"),
    "amounts with a unit": ([f"{v} kg" for v in whole(45, 120)], "real"),
    "clock times": ([f"{m // 60:02d}:{m % 60:02d}" for m in RNG.integers(400, 1200, N)], "real"),
    "durations": ([f"{m // 60}h {m % 60}m" for m in RNG.integers(60, 600, N)], "real"),
    "hours of a day": (whole(0, 23), "real"),
    "prices of few amounts": (["10", "20", "50", "100", "200", "500", "1000"] * 3, "positive"),
    "two percent are limits": (["<0.5", "<0.5", *decimals(5 + NORMAL[:98])], "real"),
    "one cell with zeros before": (["0012", *whole(100, 900)], "real"),
    # positive
    "log-normal": (decimals(LOGNORMAL), "positive"),
    "prices": (decimals(LOGNORMAL, "${:,.2f}"), "positive"),
    "prices in Europe": ([t.replace(".", ",") for t in decimals(LOGNORMAL, "{:.2f}€")], "positive"),
    "whole incomes": (decimals(np.round(1000 * LOGNORMAL), "{:.0f}"), "positive"),
    "orders of magnitude": (decimals(10 ** (10 * NORMAL), "{:.3e}"), "positive"),
    # count
    "counts": (list(map(str, RNG.poisson(2, N))), "count"),
    "counts with a gap": (["0", "1", "2", "4"] * 20, "count"),
    "counts with a median of 2": (["0"] + ["2"] * 40 + ["6", "9"] * 5, "count"),
    "counts with decimals": ([f"{v}.0" for v in RNG.poisson(2, N)], "count"),
    "counts that reach 100": (["0"] * 50 + ["1", "3", "100"] * 5, "count"),
    # binary
    "two words": (["yes", "no", ""] * 20, "binary"),
    "two numbers": (["0", "1"] * 20, "binary"),
    "two other numbers": (["2.5", "-7"] * 20, "binary"),
    "booleans": (["True", "False"] * 20, "binary"),
    "two words, one rare": (["yes"] * 60 + ["no"], "binary"),
    "two dates": (["2024-01-01", "2024-02-01"] * 10, "binary"),
    "two cells": (["x", "y"], "binary"),
    # categorical
    "words": (["red", "green", "blue", ""] * 20, "categorical"),
    "postcodes": (["01234", "98101", "00501"] * 20, "categorical"),
    "answers of HTTP": (["200"] * 150 + ["301", "404", "500", "503"] * 10, "categorical"),
    "room numbers": (["101", "102", "205", "317"] * 300, "categorical"),
    "chromosomes": (["1", "2", "10", "X", "Y"] * 20, "categorical"),
    "sizes of shoes and shirts": (["S", "M", "38", "40"] * 20, "categorical"),
    "engines": (["1.6 TDI", "2.0 TDI", "1.4 TSI"] * 20, "categorical"),
    "seats": (["12A", "12B", "14C", "7F"] * 20, "categorical"),
    "seasons": (["2019/20", "2020/21", "2021/22"] * 20, "categorical"),
    "phone numbers of few": (["+4955123456", "+4930654321", "+4989111222"] * 20, "categorical"),
    "a hundred words": ([f"w{i}" for i in range(100)] * 3, "categorical"),
    "half as many words as cells": ([f"w{i}" for i in range(20)] * 2, "categorical"),
    "five words, six cells": (["a", "b", "c", "d", "e", "e"], "categorical"),
    "formulas": (["=1+1", "@x", "-z"] * 20, "categorical"),
    "versions": (["1.0.1", "1.0.2", "1.1.0"] * 20, "categorical"),
    # ordinal
    "three classes": (["1", "2", "3"] * 20, "ordinal"),
    "ranges": (["18-24", "25-34", "35-44"] * 20, "ordinal"),
    "ranges with ends": (["<18", "18-65", ">65"] * 20, "ordinal"),
    "years and more": (["< 1 year", "1 year", "2 years", "10+ years"] * 20, "ordinal"),
    "numbers below a limit": (["<0.1", "0.5", ">9"] * 20, "ordinal"),
    "ratings with a gap": (["1", "2", "4", "5"] * 20, "ordinal"),
    "half stars": ([f"{i / 2}" for i in range(1, 11)] * 20, "ordinal"),
    "doses": (["0", "1", "2", "0.5"] * 10, "ordinal"),
    "weekdays": (list("0123456") * 20, "ordinal"),
    "sizes": (["S", "M", "L", "XL", "M"] * 20, "ordinal"),
    "ten grades": (list(map(str, range(1, 11))) * 5, "ordinal"),
    "many classes": (["1", "2", "3"] * 400, "categorical"),
    "fourteen trades as decimals": (
        [f"{i}.0" for i in range(1, 15)] * 80 + [""] * 100,
        "categorical",
    ),
    "fourteen trades of few rows": ([str(i) for i in range(1, 15)] * 20, "real"),
    "many rows with a gap": (["1", "2", "4"] * 400, "categorical"),
    "codes from 0": (["0", "1", "2"] * 400, "categorical"),
    "grades as decimals": (["1.0", "2.0", "3.0", ""] * 20, "ordinal"),
    # ignore
    "names": ([f"person {i}" for i in range(50)], "ignore"),
    "too many words": ([f"w{i}" for i in range(101)] * 3, "ignore"),
    "most cells different": ([f"w{i}" for i in range(40)] + ["w0"] * 3, "ignore"),
    "six words, seven cells": (["a", "b", "c", "d", "e", "f", "f"], "ignore"),
    "row numbers": (list(map(str, range(60))), "ignore"),
    "row numbers in disorder": (list(map(str, RNG.permutation(60) + 1000)), "ignore"),
    "row numbers with gaps": (
        list(map(str, np.delete(np.arange(80), RNG.permutation(80)[:20]))),
        "ignore",
    ),
    "phone numbers": ([f"+49{v}" for v in RNG.integers(10**8, 10**9, N)], "ignore"),
    "phone numbers in groups": (
        [
            f"6{v % 90 + 10} {v // 90 % 1000:03d} {v // 10**5 % 1000:03d}"
            for v in RNG.integers(10**8, size=N)
        ],
        "ignore",
    ),
    "phone numbers of a country": (
        [f"91{v}" for v in RNG.integers(7 * 10**9, 10**10, N)],
        "ignore",
    ),
    "card numbers": ([f"{v} {v} 1234 9876" for v in RNG.integers(1000, 9999, N)], "ignore"),
    "addresses of computers": ([f"192.168.178.{v}" for v in RNG.permutation(150) + 100], "ignore"),
    "references": ([f"SO-{v}" for v in RNG.permutation(N)], "ignore"),
    "postcodes of a country": ([f"{v:05d}" for v in RNG.integers(1000, 99_999, N)], "ignore"),
    "constant": (["5"] * 20, "ignore"),
    "constant text": (["sold", ""] * 20, "ignore"),
    "few ticks": (["x"] + [""] * 60, "ignore"),
    "ticks": (["x", ""] * 20, "binary"),
    "equal numbers": (["1", "1.0", "1e0"] * 9, "ignore"),
    "empty": ([""] * 20, "ignore"),
    "only marks": (["-", "NA", "None"] * 20, "ignore"),
}


@pytest.mark.parametrize("name", INFERRED)
def test_the_kind_of_a_column(name):
    texts, kind = INFERRED[name]
    found = column(texts)
    assert found.kind == kind, (found.kind, found.why)
    assert bool(found.why) == (kind == "ignore")
    shuffled = np.random.default_rng(1).permutation(texts)  # the order of rows decides nothing
    assert column(list(shuffled)).kind == kind


@pytest.mark.parametrize("step", [1, 2, 9])
def test_numbers_that_rise_from_row_to_row_are_row_numbers(step):
    numbers = np.cumsum(np.random.default_rng(0).integers(1, step + 1, 60)) + 500
    assert column(list(map(str, numbers))).why.startswith(("row numbers", "an identifier"))
    years = list(map(str, range(1950, 2020)))
    assert column(years, name="year").kind == "real"


@pytest.mark.parametrize("n", [49, 50])
def test_fifty_row_numbers_are_an_identifier_and_fewer_are_not(n):
    assert (column(list(map(str, range(n)))).kind == "ignore") == (n == 50)


IDENTIFIERS = ["id", "ID", "customer_id", "customer id", "customerId", "customerID", "guid"]
IDENTIFIERS += ["index", "Idx", "row-id", "unnamed 1", "user.key", "Unnamed: 0"]
NO_IDENTIFIERS = ["price index", "paid", "grid", "valid", "monkey", "idle", "x", "PAID", "idea"]


@pytest.mark.parametrize(
    ("name", "is_id"),
    [(name, True) for name in IDENTIFIERS] + [(name, False) for name in NO_IDENTIFIERS],
)
def test_whole_numbers_under_the_name_of_an_identifier_are_ignored(name, is_id):
    numbers = list(map(str, RNG.integers(1, 90_000, 100)))
    assert (column(numbers, name=name).kind == "ignore") == bool(is_id)
    few = ["1", "2", "3", "4"] * 20
    assert column(few, name=name).kind == "ordinal"  # so few values say no one's identity
    assert column(decimals(NORMAL), name=name).kind == "real"
    assert column(numbers, "real", name).kind == "real"


def test_an_index_of_prices_is_a_number():
    assert column(whole(90, 180), name="price index").kind != "ignore"


def test_different_measurements_in_a_small_table_are_no_identifier():
    ages = [str(v) for v in np.random.default_rng(0).choice(np.arange(20, 62), 24, replace=False)]
    assert column(ages).kind == "real"


def test_the_median_is_what_counts_as_few():
    assert column(["0"] + ["2"] * 20 + ["7"] * 19).kind == "count"
    assert column(["0"] + ["2"] * 19 + ["3"] * 20).kind == "real"  # 2.5
    assert column(["0"] + ["2"] * 18 + ["7"] * 21).kind == "real"


def test_the_reasons_to_ignore_a_column_are_said():
    why = {
        name: column(INFERRED[name][0]).why for name, (_, k) in INFERRED.items() if k == "ignore"
    }
    assert why["constant"] == why["few ticks"] == "constant"
    assert why["constant text"] == ("always 'sold' or empty; if empty says no: --keep x=")
    assert why["empty"] == why["only marks"] == "empty"
    assert why["row numbers"] == "an identifier: numbered without gaps"
    assert why["names"] == "an identifier or free text: every cell is different"
    assert why["too many words"] == "free text or too many categories: 101"
    assert column(["a"], "ignore").why == "as asked"


def test_a_constant_is_remembered():
    assert column(["", "7.50", "7.50"]).levels == ["7.50"]
    assert column(["x", "y", "z"]).levels == []


# Kinds that are asked for

ASKED = {
    "real": (["1", "2", "3"] * 20, {"curve": "asinh", "levels": []}),
    "positive": (["1", "2", "3"] * 20, {"curve": "log", "offset": 0.0}),
    "count": (whole(10, 90), {"curve": "linear", "low": 0.0}),
    "categorical": (["3", "1", "2"] * 20, {"levels": ["1", "2", "3"]}),
    "ordinal": (["3", "1", "20"] * 20, {"levels": ["1", "3", "20"]}),
    "binary": (["x", "y"] * 20, {"levels": ["x", "y"]}),
    "ignore": (["1.5", "2.5", "3.5"] * 20, {"levels": []}),
}


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_a_kind_that_is_asked_for_is_given(kind):
    texts, expected = ASKED[kind]
    for wanted in (kind, {"kind": kind}):
        found = column(texts, wanted)
        assert found.kind == kind
        assert {key: getattr(found, key) for key in expected} == expected


def test_zeros_of_a_positive_column_are_moved_by_half_its_smallest_cell():
    found = column(["0", "0", "4.0", "7.5"], "positive")
    assert found.offset == 2
    np.testing.assert_allclose(
        found.to_user(found.to_model(np.array([0.0, 4]))), [0, 4], atol=1e-12
    )


def test_levels_are_in_the_order_given():
    spec = {"kind": "ordinal", "levels": ["S", "M ", "L", "XL"]}
    assert column(["L", "S", "M", "S"], spec).levels == ["S", "M", "L", "XL"]
    assert column(["1", "2"], {"kind": "ordinal", "levels": [2, 1]}).levels == ["2", "1"]


@pytest.mark.parametrize(
    ("texts", "levels", "expected"),
    [
        (["1.0", "2.0", "1.0"], ["2", "1"], ["2.0", "1.0"]),
        (["1", "2", "1"], [1.0, 2.0, 3.0], ["1", "2", "3"]),
        (["0.50", "1.25"], [1.25, "0.5", "2.125"], ["1.25", "0.50", "2.125"]),
        (["5 %", "10 %"], ["10", "5 %"], ["10 %", "5 %"]),
        (["1,5", "2,5", "3,5"], ["2,50", "1,5", "3,5"], ["2,5", "1,5", "3,5"]),
    ],
)
def test_levels_that_are_numbers_are_matched_as_numbers(texts, levels, expected):
    found = column(texts * 20, {"kind": "ordinal", "levels": levels})
    assert found.levels == expected
    codes = encoding.codes_of_levels(pd.Series(texts, dtype="str"), found)
    assert [found.levels[int(code)] for code in codes] == texts


def test_levels_of_a_column_of_floats_are_matched_as_numbers():
    """Parquet gives numbers without a spelling."""
    series = pd.Series([1.0, 2.0, 2.0, np.nan])
    found = kinds.fit_column("x", series, {"kind": "binary", "levels": ["2.0", "1"]})
    np.testing.assert_array_equal(encoding.codes_of_levels(series, found), [1, 0, 0, np.nan])


@pytest.mark.parametrize(
    ("levels", "fragment"),
    [
        (["1", "1.0"], "two or more, all different"),
        (["7", "7.0", "1"], "two or more, all different"),
        (["1", "2", "none"], "column 'x' holds numbers, and its level 'none' is none"),
        (["3", "4"], "holds 1.0, 2.0, and none of the levels ['3', '4']"),
    ],
)
def test_levels_that_are_no_levels_of_a_number_are_refused(levels, fragment):
    with pytest.raises(UserError) as error:
        column(["1.0", "2.0"] * 9, {"kind": "categorical", "levels": levels})
    assert fragment in str(error.value)


@pytest.mark.parametrize(
    ("texts", "wanted", "fragment"),
    [
        (["1", "-2"], "positive", "'x' holds -2, expected no negative cell of 'positive'"),
        (["1", "-2"], "count", "'x' holds -2, expected no negative cell of 'count'"),
        (["1", "2.5"], "count", "a count is a whole number up to 1000000"),
        (["1", "1000001"], "count", "a count is a whole number up to 1000000"),
        (["0", "0"], "positive", "'x' is 0 throughout"),
        (["a", "b"], "real", "'x' holds text such as 'a', so it cannot be 'real'"),
        (["a", "b"], "positive", "cannot be 'positive'"),
        (["a", "b", "c"], "ordinal", "the order of a, b, c is not known"),
        (["a", "b", "c"], "binary", "'x' has 3 values, expected 2"),
        (["", "NA"], "real", "'x' is empty, so it cannot be 'real'"),
        (["a", "b"], {"kind": "ordinal", "levels": ["a"]}, "two or more, all different"),
        (["a", "b"], {"kind": "ordinal", "levels": ["a", "a"]}, "two or more, all different"),
        (["a", "b"], {"kind": "binary", "levels": ["a", "b", "c"]}, "3 values, expected 2"),
        ([f"w{i}" for i in range(1001)], "categorical", "has 1001 levels, expected 1000"),
        (["1 kg"] * 8 + ["oops"] * 9, "real", "so it cannot be 'real'"),
    ],
)
def test_a_kind_that_cannot_be_is_refused(texts, wanted, fragment):
    with pytest.raises(UserError) as error:
        column(texts, wanted)
    assert fragment in str(error.value)


@pytest.mark.parametrize("kind", ["categorical", "ordinal"])
def test_a_category_of_one_level_is_refused(kind):
    with pytest.raises(UserError, match="holds nothing but '5'"):
        column(["5"] * 20, kind)


def test_levels_that_no_cell_has_are_refused():
    with pytest.raises(UserError, match="none of the levels"):
        column(["S", "M", "L"] * 9, {"kind": "ordinal", "levels": ["small", "middle", "large"]})


def test_levels_of_a_number_are_refused():
    with pytest.raises(UserError, match="levels"):
        column(["1", "2", "3"] * 9, {"kind": "real", "levels": ["1", "2"]})


def test_a_spec_of_an_unknown_column_is_refused():
    frame = pd.DataFrame({"a": ["1", "2"], "b": ["x", "y"]}, dtype="str")
    with pytest.raises(UserError, match="a kind is given for 'c', but the columns are a, b"):
        kinds.fit(frame, {"c": "real"})


@pytest.mark.parametrize("cell", ["inf", "-1e999", "1e308", "oops"])
def test_one_odd_cell_drops_no_column(cell):
    texts = [f"{v:.2f}" for v in NORMAL]
    for n in (9, 18, 200):
        found = column([*texts[:n], cell])
        assert (found.kind, found.n_unread) == ("real", 1)
    assert column([*texts[:8], cell]).kind == "ignore"
    assert column([*texts[:18], cell, "another"]).kind == "ignore"


@pytest.mark.parametrize("values", [[np.inf, 1.5, 2.5, 7.0], [np.inf] * 6 + [1.5, 2.5, 4.0]])
def test_a_column_of_numbers_stays_one_whatever_its_infinite_cells(values):
    found = kinds.fit_column("x", pd.Series(values))
    assert found.kind in ("positive", "real")
    assert found.n_unread == np.isinf(values).sum()


@pytest.mark.parametrize("cell", ["inf", "-1e999", "1e308", "oops"])
def test_cells_that_are_no_numbers_are_counted(cell):
    found = column([*decimals(NORMAL), cell, ""])
    assert (found.kind, found.n_seen, found.n_unread) == ("real", N + 1, 1)
    assert column(["1", "2", cell], "real").n_unread == 1  # as asked for, from half of the cells on


@pytest.mark.parametrize("cell", ["5 lb", "n/k", "soon"])
@pytest.mark.parametrize(("n", "kind"), [(60, "categorical"), (190, "ignore")])
def test_text_that_is_nearly_a_number_is_said(cell, n, kind):
    others = [cell, f"{cell}?", f"{cell}, or so"]  # two words would be marks of missing cells
    texts = [f"{50 + i}.5 kg" for i in range(n)] * 5 + (others * n)[:n]
    found = column(texts, name="weight")
    assert found.kind == kind
    said = "83 % look like numbers with kg: --kind weight=real"
    assert said in found.describe()
    assert column(texts, "real", "weight").n_unread == n


@pytest.mark.parametrize("name", ["paint_id", "ref", "zone"])
def test_names_of_things_are_not_said_to_look_like_numbers(name):
    texts = [f"{i}0" for i in range(60)] * 5 + ["White", "Blue", "Red"] * 20
    assert "look like" in column(texts, name="weight").describe()
    assert "look like" not in column(texts, name=name).describe()
    few = ["1", "2", "3", "White", "Red", "Blue"] * 3 + ["1", "2", "3"] * 40
    assert "look like" not in column(few, name="shade").describe()


def test_durations_are_described_by_a_cell():
    texts = ["45m", "1h 20m", "2h 05m", "3h"] * 50
    assert column(texts).describe_cells() == "durations such as 45m"
    almost = column(texts + ["soon", "late", "never"] * 12)
    assert "durations such as 45m" in almost.describe() or "look like" not in almost.describe()


# Spikes: sentinels, which are no numbers, and what must not be taken for one


def with_share(share, value, others):
    return np.where(np.random.default_rng(1).random(len(others)) < share, value, others)


MANY = np.random.default_rng(0)
SPIKES = {
    "-1 for no age": (with_share(0.05, -1, MANY.integers(18, 70, 2000)), [-1]),
    "-200 for no temperature": (with_share(0.05, -200, MANY.normal(15, 8, 2000).round(1)), [-200]),
    "-999 for no temperature": (with_share(0.05, -999, MANY.normal(15, 8, 2000).round(1)), [-999]),
    "0 for no pressure": (with_share(0.05, 0, MANY.normal(120, 12, 2000).round()), [0]),
    "99 for no age": (with_share(0.05, 99, MANY.integers(18, 70, 2000)), [99]),
    "999 for no age": (with_share(0.03, 999, MANY.integers(18, 95, 2000)), [999]),
    "9999999 for no income": (
        with_share(0.02, 9_999_999, MANY.lognormal(10, 0.7, 2000).round()),
        [9_999_999],
    ),
    "a cap": (np.minimum(MANY.lognormal(3, 1, 2000).round(), 100), []),
    "a few prices": (MANY.choice([0.99, 1.99, 4.99, 9.99, 49.99, 99.99, 999.99], 2000), []),
    "a floor": (np.maximum(MANY.normal(0, 1, 2000).round(2), -0.5), []),
    "heavy tails": (MANY.standard_cauchy(2000).round(1), []),
    "one outlier": (np.append(MANY.normal(15, 8, 2000).round(1), -999), []),
    "rain": (with_share(0.4, 0, MANY.exponential(6, 2000).round(1)), []),
    "round amounts": (MANY.choice([10, 20, 50, 100, 500, 1000, 5000, 10_000], 2000), []),
    "spending": (with_share(0.4, 0, MANY.lognormal(3, 1, 2000).round(2)), []),
    "temperatures around 0": (MANY.integers(-1, 31, 2000), []),
    "two groups": (
        np.where(MANY.random(2000) < 0.2, MANY.normal(0, 1, 2000), MANY.normal(99, 1, 2000)),
        [],
    ),
    "wealth": ((MANY.pareto(1, 2000) + 1).round(2), []),
}


SHAPES = {
    "pressure": ("{0}/{1}", "two numbers with '/' between, such as {}: split the column into two "),
    "size": ("{0}x{1}", "two numbers with 'x' between, such as {}: split the column into two col"),
    "volume": (
        "{0} x {1} x {0} cm",
        "three numbers with 'x' between, such as {}: split the column",
    ),
    "place": ("4{1}.{0}, 1{0}.{1}", "two numbers with ',' between, such as {}: split the column"),
    "angle": ("{1}°{2:02d}'N", "angles, such as {}: write them as numbers of degrees"),
    "place without signs": ("{1}.{0}N, {1}.{0}E", "angles, such as {}: write them as numbers"),
    "point": ("POINT (1{0}.{1} 4{1}.{0})", "points of a map, such as {}: split the column into"),
    "mean": ("{0}.{1} ± 0.{0}", "two numbers with '±' between, such as {}: split the column into"),
    "length": ("{0}{1} {3}/8", "mixed numbers, such as {}: write them as 12.375"),
    "size with units": ("{0}cm x {1}cm", "two numbers with 'x' between, such as {}: split the co"),
    "share": ("{1} of {0}", "two numbers with 'of' between, such as {}: split the column into two"),
    "amounts": ("$1{1} - ${0}", "two numbers with '-' between, such as {}: split the column into"),
    "interval": ("{1}.5 ({0}-{0})", "numbers with others in brackets, such as {}: split the col"),
    "open": ("0{3}:{1} - 1{3}:{1}", "two times of day, such as {}: split the column into two col"),
    "half": ("1{0}H{3}", "a year and a part of it, such as {}: split the column in two"),
    "day": ("{2} maart 1{0}", "dates with names of months, such as {}: write them as 2021-03-31"),
    "price": (
        "{4} {0}",
        "numbers with several units (60 % USD, 40 % EUR): convert them to one, or",
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_cells_of_more_than_a_number_are_told_by_their_shape(name):
    form, said = SHAPES[name]
    rng = np.random.default_rng(0)
    parts = [rng.integers(900, 999, 200), rng.integers(10, 90, 200), rng.integers(1, 29, 200)]
    parts += [rng.integers(1, 3, 200), np.where(np.arange(200) % 5 < 2, "EUR", "USD")]
    texts = [form.format(*row) for row in zip(*parts, strict=True)]
    column = kinds.fit_column(name, pd.Series([*texts, *["none at all"] * 4], dtype="str"))
    usual = pd.Series(texts).value_counts().index[0]
    assert column.kind == "ignore"
    assert column.why.startswith("98 % look like " + said.format(usual))


@pytest.mark.parametrize("n", [400, 4000])
def test_pieces_are_amounts_and_no_codes(n):
    pieces = np.random.default_rng(0).geometric(0.5, n)
    pieces = np.append(pieces, np.arange(1, pieces.max() + 1))  # without gaps
    found = column_of(pieces.astype(str).tolist())
    assert (found.kind, found.whole) == ("positive", True)
    ratings = np.repeat([1, 2, 3, 4, 5], [n // 8, n // 4, n // 2, n // 8, 2])  # 5 is rare
    assert column_of(ratings.astype(str).tolist()).kind in ("ordinal", "categorical")


def test_a_category_of_more_than_a_number_is_told_by_its_shape():
    texts = [f"{feet}'{inches}\"" for feet in (5, 6) for inches in range(12)] * 20
    column = kinds.fit_column("height", pd.Series(texts, dtype="str"))
    assert column.kind == "categorical"
    said = "100 % look like feet and inches, such as 5'0\": write them as numbers of inches"
    assert column.describe().endswith(said)
    texts = [f"{amount} {unit}" for amount in range(50, 65) for unit in ("kg", "lb")] * 20
    assert "several units (50 % kg, 50 % lb)" in column_of(texts).why
    found = column_of([f"{i}.50 kr" if i % 2 else f"€ {i}.50" for i in range(400)])
    assert (found.kind, found.why[:53]) == (
        "ignore",
        "100 % look like numbers with several units (50 % €, 5",
    )
    assert column_of(["1/2", "1/4", "3/4"] * 200).why == ""  # few, which are names of sizes


def column_of(texts):
    return kinds.fit_column("x", pd.Series(texts, dtype="str"))


@pytest.mark.parametrize(
    "form", ["{0}-{1}-{0}", "0{0}/{1}{0}", "{0}-{1}{0}", "{0}.{1}.{1}.9", "{1} Elm"]
)
def test_names_of_digits_are_told_as_before(form):
    rng = np.random.default_rng(0)
    pairs = zip(rng.integers(100, 999, 200), rng.integers(10, 99, 200), strict=True)
    column = kinds.fit_column("x", pd.Series([form.format(*pair) for pair in pairs], dtype="str"))
    assert "look like" not in column.why


@pytest.mark.parametrize("name", SPIKES)
def test_spikes_far_outside_are_no_numbers(name):
    values, expected = SPIKES[name]
    found = column([f"{v:.0f}" if v == int(v) else repr(float(v)) for v in values], "real")
    assert [value for value, _ in found.spikes] == expected
    for value, share in found.spikes:
        assert share == pytest.approx((values == value).mean())
    read, _ = found.read(pd.Series(values.astype(float)))
    np.testing.assert_array_equal(np.isnan(read), np.isin(values, expected))
    usual = values[~np.isin(values, expected)]
    assert found.centre == pytest.approx(np.median(usual))


@pytest.mark.parametrize("last", ["1900-01-01", "9999-12-31"])
def test_a_date_that_stands_for_none_is_a_spike(last):
    days = np.random.default_rng(0).integers(0, 900, 500)
    dates = [last if i % 9 == 0 else text for i, text in enumerate(cells.texts(18_000 + days, ISO))]
    found = column(dates)
    assert cells.texts([value for value, _ in found.spikes], ISO) == [last]
    assert found.spread < 1000


ISO = {"date": "%Y-%m-%d"}


# The table


def test_what_a_question_is_answered_with_beside_its_order_is_no_level():
    texts = ["agree", "disagree", "neutral", "strongly agree"] * 20 + ["Don't know"] * 20
    found = column(texts)
    assert (found.kind, found.levels) == (
        "ordinal",
        ["disagree", "neutral", "agree", "strongly agree"],
    )
    assert found.spikes == [["Don't know", 0.2]]


def test_half_stars_with_decimal_commas_are_no_several_answers():
    halves = pd.DataFrame({"stars": ["1", "1,5", "2", "2,5", "3", "3,5", "4,5", "5"] * 20})
    frame = halves.astype("str")
    assert [c.name for c in kinds.fit(frame)] == ["stars"]
    several = frame.replace("3", "1,2,5")
    assert {c.name for c in kinds.fit(several)} == {"stars", *(f"stars: {i}" for i in "12345")}


def test_columns_keep_their_order():
    frame = pd.DataFrame({n: ["1.5", "2", "4"] for n in "cab"} | {"id": list("xyz")}, dtype="str")
    assert [c.name for c in kinds.fit(frame)] == ["c", "a", "b", "id"]
    assert [c.name for c in units.modelled(kinds.fit(frame))] == ["c", "a", "b"]


def test_flags_win_over_the_file_of_kinds(tmp_path):
    path = tmp_path / "k.json"
    path.write_text('{"a": "real", "b": {"kind": "ordinal", "levels": ["x", "y"]}}')
    assert kinds.requested_kinds(path, [("a", "count"), ("c", "ignore")]) == {
        "a": "count",
        "b": {"kind": "ordinal", "levels": ["x", "y"]},
        "c": "ignore",
    }
    assert kinds.requested_kinds(None, None) == {}


# What is fitted


def test_a_normal_column_has_mean_0_and_variance_1_in_model_units():
    found = column(decimals(5 + 3 * NORMAL, "{:.6f}"))
    x = found.to_model(5 + 3 * NORMAL)
    np.testing.assert_allclose([x.mean(), x.std()], [0, 1], atol=1e-5)
    middle = np.abs(NORMAL) < 2
    assert np.corrcoef(x[middle], NORMAL[middle])[0, 1] > 0.999  # nearly linear there


def test_a_positive_column_is_normal_in_logarithms():
    found = column(decimals(LOGNORMAL, "{:.9f}"))
    logs = np.log(LOGNORMAL)
    np.testing.assert_allclose([found.shift, found.scale], [logs.mean(), logs.std()], rtol=1e-6)


@pytest.mark.parametrize("odd", [1e3, 1e6, 1e12, -1e12, 1e300])
def test_outliers_leave_the_other_cells_nearly_where_they_were(odd):
    texts = decimals(NORMAL)
    clean, dirty = column(texts), column([*texts, repr(odd)])
    np.testing.assert_allclose(dirty.centre, clean.centre, atol=0.02)
    np.testing.assert_allclose(dirty.spread, clean.spread, rtol=0.03)
    x, y = (c.to_model(np.array(texts, float)) for c in (clean, dirty))
    far = dirty.to_model(odd)
    assert np.isfinite(far)
    assert abs(far) > 5
    assert np.corrcoef(x, y)[0, 1] > 0.999


@pytest.mark.parametrize("odd", [1e6, 1e12, 1e300])
def test_outliers_leave_the_other_cells_as_far_apart_as_they_were(odd):
    texts = decimals(NORMAL)
    clean, dirty = column(texts), column([*texts, repr(odd)])
    x, y = (c.to_model(np.array(texts, float)) for c in (clean, dirty))
    np.testing.assert_allclose(y.std(), x.std(), rtol=0.2)


@pytest.mark.parametrize("size", [1e-290, 1e-12, 1.0, 1e12, 1e300])
def test_the_unit_of_a_column_changes_nothing(size):
    base = column([repr(v) for v in (100 + NORMAL).tolist()])
    other = column([repr(v) for v in ((100 + NORMAL) * size).tolist()])
    assert other.kind == base.kind == "real"
    x, y = base.to_model(100 + NORMAL), other.to_model((100 + NORMAL) * size)
    np.testing.assert_allclose(y, x, atol=1e-6)


def test_mostly_equal_cells_still_have_a_spread():
    found = column(["0"] * 150 + decimals(NORMAL[:50] * 10))
    assert 1 < found.spread < 30
    assert found.centre == 0


@pytest.mark.parametrize("seed", range(3))
def test_which_is_likelier_decides_between_real_and_positive(seed):
    """The rule compares nats per cell, which are those of the two densities."""
    from scipy import stats

    rng = np.random.default_rng(seed)
    for spread in (0.1, 0.3, 0.5, 1):
        values = np.round(np.exp(rng.normal(0, spread, 400)), 6)
        log_normal = stats.norm(np.log(values).mean(), np.log(values).std()).logpdf(np.log(values))
        normal = stats.norm(values.mean(), values.std()).logpdf(values)
        gain = (log_normal - np.log(values) - normal).mean()
        assert (column(decimals(values, "{:.6f}")).kind == "positive") == (gain > 0.05)


# Rows held back


@st.composite
def held_back_changes(draw):
    """Cells to put into rows that are held back."""
    wild = ["", "1e300", "-7", "0", "oops", "2024-13-45", "=1+1", "1,5", "99%", "x y", "NA", "ä"]
    return [draw(st.sampled_from(wild)) for _ in range(6)]


@settings(max_examples=40)
@given(cells_=held_back_changes(), part=st.sampled_from([1, 2]), seed=st.integers(0, 3))
@pytest.mark.slow
def test_rows_held_back_change_nothing_that_is_fitted(tmp_path_factory, cells_, part, seed):
    folder = tmp_path_factory.getbasetemp()
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "real": decimals(rng.normal(size=40)),
            "positive": decimals(rng.lognormal(3, 1, 40)),
            "count": list(map(str, rng.poisson(2, 40))),
            "word": list(rng.choice(["a", "b", "c"], 40)),
            "size": list(rng.choice(["1", "2", "3"], 40)),
            "date": [f"2024-01-{d:02d}" for d in rng.integers(1, 29, 40)],
        },
        dtype="str",
    )
    split = {"test_fraction": 0.2, "val_fraction": 0.2, "split_seed": seed}
    config = DataConfig(str(folder / "t.csv"), scaling="kinds", **split)
    frame.to_csv(folder / "t.csv", index=False)
    first = datasets.load(config)
    row = datasets.split_rows(40, config)[part][0]
    frame.iloc[row] = cells_  # one row, as copies would stay on one side of the split
    frame.to_csv(folder / "t.csv", index=False)
    second = datasets.load(config)
    assert first.codec == second.codec
    np.testing.assert_array_equal(first.train.x, second.train.x)
    splits = ["train", "val", "test"]
    assert not np.array_equal(*(getattr(d, splits[part]).x for d in (first, second)))
    for data in (first, second):
        other = getattr(data, splits[3 - part])
        np.testing.assert_array_equal(other.x, getattr(first, splits[3 - part]).x)


def test_what_a_run_has_fitted_is_used_again_without_fitting(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i}.5,{'xyz'[i % 3]}\n" for i in range(40)))
    split = {"test_fraction": 0.2, "val_fraction": 0.2, "split_seed": 0}
    config = DataConfig(str(tmp_path / "t.csv"), scaling="kinds", **split)
    first = datasets.load(config)
    stored = forms.codec_from(json.loads(json.dumps(first.codec.to_dict())))
    other = replace(config, split_seed=1)
    assert datasets.load(other, stored).codec == first.codec
    assert datasets.load(other).codec != first.codec
    again = datasets.load(config, stored)
    np.testing.assert_array_equal(again.test.x, first.test.x)


# What is said of it


def test_every_kind_is_described():
    frame = pd.DataFrame(
        {
            "age": decimals(NORMAL),
            "pay": decimals(LOGNORMAL),
            "visits": list(map(str, RNG.poisson(2, N))),
            "joined": [f"2024-01-{d:02d}" for d in RNG.integers(1, 29, N)],
            "city": list(RNG.choice(list("abcdefghij"), N)),
            "id": [f"u{i}" for i in range(N)],
            "one": ["1"] * N,
        },
        dtype="str",
    )
    text = "\n".join(kinds.describe(kinds.fit(frame)))
    assert text.splitlines() == [
        "  age     real         numbers, robustly scaled",
        "  pay     positive     numbers, in logarithms",
        "  visits  count        whole numbers",
        "  joined  real         %Y-%m-%d, robustly scaled",
        "  city    categorical  a, b, c, d, e, f, ... 10 levels",
        "Kept but not modelled: id (an identifier or free text: every cell is different), "
        "one (constant)",
    ]
    many = kinds.describe([units.Column(f"c{i}") for i in range(45)])
    assert len(many) == 41
    assert many[-1] == "  and 5 more"


def test_nested_values_are_ignored():
    assert column([cells.NESTED] * 9).why == "nested values"
    with pytest.raises(UserError, match="'x' is nested values, so it cannot be 'real'"):
        column([cells.NESTED] * 9, "real")


def test_a_column_of_a_numeric_file_has_the_same_kind_as_its_text():
    values = np.where(np.arange(N) % 7 == 0, np.nan, NORMAL)
    as_numbers = kinds.fit_column("x", pd.Series(values))
    as_text = column(["" if np.isnan(v) else repr(v) for v in values.tolist()])
    assert as_numbers.kind == as_text.kind == "real"
    for name in ("centre", "spread", "scale"):
        assert getattr(as_numbers, name) == getattr(as_text, name)
    assert as_numbers.style == {"decimals": None}
    assert cells.texts([0.1], as_numbers.style) == ["0.1"]


# Bounds


@pytest.mark.parametrize(
    ("texts", "bounds"),
    [
        (decimals(80 + 8 * NORMAL.clip(-9, 2.4), "{:.1f}%"), (0.0, 100.0)),
        (decimals(80 + 40 * NORMAL, "{:.0f}%"), (None, None)),  # some percentages are above 100
        (decimals((80 + 20 * NORMAL).clip(0, 100), "{:.0f}"), (0.0, 100.0)),  # many are 100
        (decimals(100 + NORMAL), (0.0, None)),
    ],
)
def test_numbers_end_where_training_cells_often_do(texts, bounds):
    found = column(texts)
    assert (found.low, found.high) == bounds
    if bounds[1] is not None:
        assert found.to_user(np.array([50.0]))[0] == bounds[1]
        assert found.mean_to_user(np.array([50.0]), np.array([1.0]))[0] == bounds[1]


def test_seconds_since_1970_lose_nothing_in_model_units():
    """A large offset beside a small spread: float32 has steps of 128 seconds there."""
    seconds = 1_700_000_000 + np.sort(np.random.default_rng(0).uniform(0, 600, 200)).round(2)
    found = column([f"{value:.2f}" for value in seconds], name="created_at")
    assert found.style["epoch"] == "s"
    frame = pd.DataFrame({"created_at": [f"{v:.2f}" for v in seconds]}, dtype="str")
    x, mask, *_ = encoding.encode(frame, [found])
    assert mask.all()
    np.testing.assert_allclose(found.to_user(x[:, 0]) * 86_400, seconds, rtol=0, atol=2e-3)
    mean = found.mean_to_user(x[:, 0].astype(float), np.full(200, 1e-4)) * 86_400
    np.testing.assert_allclose(mean, seconds, rtol=0, atol=2e-3)


@pytest.mark.parametrize(
    ("common", "spikes"),
    [("-200", [-200.0]), ("9999", [9999.0]), ("0", []), ("20", [])],
)
def test_what_most_cells_hold_is_a_spike_only_if_it_looks_like_a_mark(common, spikes):
    found = column([common] * 600 + whole(100, 300))
    assert [value for value, _ in found.spikes] == spikes


@pytest.mark.parametrize("mark", ["#DIV/0!", "k.A.", "missing", "—"])
def test_a_word_in_one_cell_of_ten_numbers_marks_missing_cells(mark):
    found = column([mark, *decimals(NORMAL[:9])] * 1 + [mark, *decimals(NORMAL[9:99])] + [mark] * 9)
    assert (found.kind, found.n_unread) == ("real", 0)
    assert found.marks[-1] == mark.lower()


def test_words_among_few_numbers_are_levels():
    assert column(["1", "2", "3", "other"] * 20).kind == "categorical"
    assert column(["1", "2", "3", "3+"] * 20).kind != "real"


@pytest.mark.parametrize(
    ("texts", "spikes"),
    [
        (["1", "2", "3", "4", "5", "99"] * 20, [99.0]),
        (["1", "2", "3", "4", "-1"] * 20, [-1.0]),
        (["-1", "0", "1", "2"] * 20, []),  # a difference, or a mood
        (["10", "25", "50", "99"] * 20, []),  # prices
    ],
)
def test_a_mark_beside_a_few_whole_numbers_is_a_spike(texts, spikes):
    found = column(texts)
    assert [value for value, _ in found.spikes] == spikes
    if spikes:
        assert (found.kind, len(found.levels)) == ("ordinal", len(set(texts)) - 1)


@pytest.mark.parametrize(
    "name", ["Customer No.", "Kundennummer", "Numéro de client", "Rechnungsnr", "número", "orderNo"]
)
def test_names_of_identifiers_in_other_languages(name):
    numbers = np.random.default_rng(0).permutation(900_000)[:100] + 100_000
    assert column(numbers.astype(str), name=name).kind == "ignore"
    assert column(numbers.astype(str), name="Anzahl").kind != "ignore"


def test_the_ends_of_a_column_are_written_to_the_last_digit():
    """With seven digits the end is -0.8564718, above the cells that it came from."""
    texts = ["-0.856471824489096"] * 40 + [f"{-0.85 + 0.0312345678 * i:.12f}" for i in range(60)]
    (column,) = kinds.fit(pd.DataFrame({"slag": texts}, dtype="str"))
    assert column.low == -0.856471824489096
    assert column.style["decimals"] is None
    written = column.text_of(column.bounded(np.array([-3.0, 0.5])))
    assert written == ["-0.856471824489096", "0.5"]
