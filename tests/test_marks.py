"""parts/forms/cells/marks.py: which cells are missing, and the marks that a user names."""

import numpy as np
import pandas as pd
import pytest

from parts.errors import UserError
from parts.forms import cells
from parts.forms.cells.text import trimmed
from parts.forms.tables import declared, encoding, kinds


def series(values):
    return pd.Series(values, dtype="str")


@pytest.mark.parametrize(
    "mark",
    [
        *("", " ", "\t", "\u00a0", "#N/A", "-", "--", "-nan", ".", "<NA>", "?"),
        *(" NA ", "N/A", "NA", "NULL", "NaN", "None", "na", "nan", "nil"),
    ],
)
def test_a_mark_is_missing(mark):
    assert cells.missing(series([mark, "x"])).tolist() == [True, False]
    reading = cells.reading_of(series([mark, "1.5", "2.5"]))
    assert reading.style == {"decimals": 1}
    assert reading.share == 1
    np.testing.assert_array_equal(reading.values, [np.nan, 1.5, 2.5])


@pytest.mark.parametrize("cell", ["-.5", "-5", "..", "0", "?!", "N", "nano", "no", "none of these"])
def test_what_only_begins_like_a_mark_is_not_missing(cell):
    assert not cells.missing(series([cell])).any()


def test_numbers_that_are_nan_are_missing():
    assert cells.missing(pd.Series([1.0, np.nan])).tolist() == [False, True]


@pytest.mark.parametrize("dtype", ["float", "str"])
def test_a_mark_that_is_a_number_stands_for_every_way_to_write_it(dtype):
    column = pd.Series(["-999", "-999.0", "-9.99e2", "999", "1"], dtype=dtype)
    found = cells.missing(column, [*cells.MISSING, "-999"])
    assert found.tolist() == [True, True, True, False, False]


def test_marks_are_counted_as_cells_write_them():
    column = series(["NA", "na", " NA", "?", "x", ""])
    assert cells.counts(column, cells.MISSING) == {"NA": 2, "?": 1, "na": 1}
    assert cells.counts(pd.Series([1.0, np.nan]), cells.MISSING) == {}


def test_blanks_of_every_kind_are_no_part_of_a_cell():
    assert trimmed(series([" a ", "\u00a0b\u202f", "\tc d\n", ""])).to_pylist() == [
        *("a", "b", "c d", "")
    ]


# Marks in tables: answers, --missing, --keep


def table(**columns):
    return pd.DataFrame(columns, dtype="str")


def fit(frame, **options):
    return {column.name: column for column in kinds.fit(frame, **options)}


NUMBERS = [f"{i % 17}.5" for i in range(100)]


def test_na_is_a_country_and_none_an_answer_where_no_number_says_otherwise():
    frame = table(
        country=["NA", "DE", "FR", "ZA"] * 25, pool=["None"] * 90 + ["Gd", "Ex"] * 5, x=NUMBERS
    )
    found = fit(frame)
    assert found["country"].levels == ["DE", "FR", "NA", "ZA"]
    assert found["pool"].levels == ["Ex", "Gd", "None"]
    *_, notes = encoding.encode(frame, list(found.values()))
    assert [note for note in notes if "'NA' is taken as an answer" in note] == [notes[0]]


def test_na_is_missing_everywhere_where_a_column_of_numbers_has_it():
    frame = table(country=["NA", "DE", "FR", "ZA"] * 25, x=["NA", *NUMBERS[1:]])
    found = fit(frame)
    assert found["country"].levels == ["DE", "FR", "ZA"]
    *_, notes = encoding.encode(frame, list(found.values()))
    assert notes == [
        "taken as missing: 'NA' in country (25), x (1); if it is an answer: --keep MARK, or --keep "
        "NAME=MARK"
    ]


def test_levels_that_a_user_gives_are_cells():
    frame = table(a=["none", "low", "high"] * 30, x=["none", *NUMBERS[1:90]])
    spec = {"kind": "ordinal", "levels": ["none", "low", "high"]}
    found = fit(frame, specs={"a": spec})
    assert found["a"].levels == ["none", "low", "high"]
    assert not found["a"].missing(frame["a"]).any()
    assert found["x"].missing(frame["x"]).sum() == 1


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"missing": ["-1"]}, (10, 10)),
        ({"missing": ["x=-1"]}, (10, 0)),
        ({"missing": ["x=-1.0", "y=-1"]}, (10, 10)),
        ({}, (0, 0)),
        ({"missing": ["-1"], "keep": ["y=-1"]}, (10, 10)),  # --missing is what was said last
    ],
)
def test_a_user_names_marks_for_all_columns_or_one(options, missing):
    numbers = ["-1"] * 10 + NUMBERS[:90]
    frame = table(x=numbers, y=numbers[::-1])
    found = fit(frame, **options)
    assert tuple(found[name].missing(frame[name]).sum() for name in "xy") == missing


def test_a_mark_that_is_kept_is_a_cell():
    frame = table(answer=["?", "yes", "no"] * 30, x=["?", *NUMBERS[1:90]])
    assert fit(frame)["answer"].levels == ["no", "yes"]
    assert fit(frame, keep=["answer=?"])["answer"].levels == ["?", "no", "yes"]


def test_a_mark_of_a_column_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="--missing z=-1: no column is named 'z', they are x"):
        fit(table(x=NUMBERS), missing=["z=-1"])


def test_marks_are_added_to_those_of_a_run():
    columns = kinds.fit(table(x=NUMBERS, y=NUMBERS))
    x, y = declared.with_marks(columns, ["x=-7"], [])
    assert x.missing(series(["-7", "-"])).tolist() == [True, True]
    assert y == columns[1]


def test_a_mark_that_a_user_declared_is_counted_without_a_hint():
    frame = table(country=["NA", "DE", "FR", "ZA"] * 25, x=["?", "-7", *NUMBERS[2:]])
    found = fit(frame, missing=["country=NA", "-7"])
    *_, notes = encoding.encode(frame, list(found.values()))
    assert notes == [
        "taken as missing: '?' in x (1); if it is an answer: --keep MARK, or --keep NAME=MARK",
        "taken as missing: 'NA' in country (25); '-7' in x (1), as asked",
    ]
    found = fit(frame, keep=["country=NA"])
    *_, notes = encoding.encode(frame, list(found.values()))
    assert not [note for note in notes if "country" in note]


def test_a_mark_that_is_found_nowhere_is_noted_with_cells_like_it():
    frame = table(state=["on", "off", "n.d.", "n.d."] * 25, x=["-99", *NUMBERS[1:]])
    assert declared.notes_on_unfound(frame, ["zzz", "state=ND", "x=-99", "99"], ["x=no"]) == [
        "--missing zzz: no cell of the table is 'zzz'",
        "--missing state=ND: no cell of 'state' is 'ND'; similar: 'n.d.' in 'state'",
        "--missing 99: no cell of the table is '99'; similar: '-99' in 'x'",
        "--keep x=no: no cell of 'x' is 'no'",
    ]
    numbers = pd.DataFrame({"x": [-999.0, 1.5, np.nan], "y": [1.0, 2.0, 3.0]})
    assert declared.notes_on_unfound(numbers, ["-999", "x="], []) == []
    assert declared.notes_on_unfound(numbers, ["999"], []) == [
        "--missing 999: no cell of the table is '999'; similar: '-999' in 'x'"
    ]


def test_a_run_does_not_look_in_other_files_for_what_it_was_asked_before():
    columns = kinds.fit(table(x=["-7", *NUMBERS[1:]], y=NUMBERS), missing=["-7"])
    other = table(x=NUMBERS, y=NUMBERS)
    assert declared.notes_on_unfound(other, ["-7"], [], columns) == []
    assert len(declared.notes_on_unfound(other, ["-8"], [], columns)) == 1


def test_a_word_among_numbers_is_a_cell_if_it_is_kept():
    frame = table(x=["n.v."] * 10 + NUMBERS[:90])
    assert fit(frame)["x"].missing(frame["x"]).sum() == 10
    assert fit(frame, keep=["n.v."])["x"].missing(frame["x"]).sum() == 0


# Check boxes


def boxes(tick="x"):
    """A column in which a third of the cells are ticked."""
    return [tick, "", ""] * 30


@pytest.mark.parametrize("tick", ["x", "X", "✓", "yes", "ja"])
def test_an_empty_cell_beside_ticks_says_no(tick):
    frame = table(box=boxes(tick), gone=["?", *boxes(tick)[1:]], x=NUMBERS[:90])
    found = fit(frame)
    for name, n_missing in (("box", 0), ("gone", 1)):
        assert (found[name].kind, found[name].levels) == ("binary", ["", tick])
        assert found[name].missing(frame[name]).sum() == n_missing
    x, mask, _, notes = encoding.encode(frame, list(found.values()))
    assert x[:3, 0].tolist() == [1, 0, 0]
    assert mask[:, 0].all()
    assert found["box"].text(x[:3, 0]) == [tick, "", ""]
    assert found["box"].describe() == f"empty, {tick}"
    assert notes[1] == (
        f"an empty cell is taken as an answer, beside {tick!r}, in box, gone; if it is missing: "
        "--missing NAME="
    )


def test_an_empty_cell_is_missing_or_an_answer_as_a_user_says():
    frame = table(box=boxes(), sold=boxes("sold"), x=NUMBERS[:90])
    found = fit(frame)
    assert found["sold"].why == "always 'sold' or empty; if empty says no: --keep sold="
    found = fit(frame, missing=["box="], keep=["sold="])
    assert found["box"].why == "always 'x' or empty; if empty says no: --keep box="
    assert (found["sold"].kind, found["sold"].levels) == ("binary", ["", "sold"])
    *_, notes = encoding.encode(frame, list(found.values()))
    assert notes == []
    assert fit(frame, specs={"sold": "binary"})["sold"].levels == ["", "sold"]
    assert fit(frame, keep=["x="], specs={"x": "ignore"})["x"].kind == "ignore"


@pytest.mark.parametrize("options", [{}, {"specs": {"x": "real"}}])
def test_an_empty_cell_is_no_number(options):
    with pytest.raises(UserError, match="--keep x=: the column holds numbers, and an empty cell"):
        fit(table(x=["", *NUMBERS[1:]], y=NUMBERS), keep=["x="], **options)


def test_an_empty_mark_needs_a_column():
    with pytest.raises(UserError, match="--keep '': an empty mark is the empty cell"):
        fit(table(x=NUMBERS, y=NUMBERS), keep=[""])


def test_an_empty_cell_is_to_a_run_what_it_was_in_training():
    columns = kinds.fit(table(box=boxes(), word=["a", "b", ""] * 30))
    assert len(declared.with_marks(columns, ["word="], ["box="])) == 2
    for flags, said in (
        ((["box="], []), "--missing box=: to the run an empty cell of 'box' is an answer; train"),
        (([], ["word="]), "--keep word=: to the run an empty cell of 'word' is missing; train"),
    ):
        with pytest.raises(UserError, match=said):
            declared.with_marks(columns, *flags)
