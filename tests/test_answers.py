"""Several answers in a cell: found, seen by the model as yes/no columns, written as one cell."""

import numpy as np
import pandas as pd
import pytest

from parts.forms import cells
from parts.forms.tables import answers, encoding, kinds, samples
from parts.tasks.fill import Filled

RNG = np.random.default_rng(0)
ANSWERS = ["email", "phone", "shop", "web"]


def combinations(n, separator=";", rng=RNG):
    """n cells with one to four answers, in the order of ANSWERS."""
    given = rng.random((n, 4)) < [0.6, 0.3, 0.5, 0.5]
    given[~given.any(1), 0] = True
    return [separator.join(np.array(ANSWERS)[row]) for row in given]


def find(texts):
    return answers.find(pd.Series(texts, dtype="str"), cells.MISSING)


@pytest.mark.parametrize("separator", [", ", ";", "; ", "|"])
def test_several_answers_are_found_in_the_order_of_their_cells(separator):
    assert find(combinations(300, separator) + ["", "NA"]) == (separator, ANSWERS)


@pytest.mark.parametrize(
    "texts",
    [
        ["Doe, John", "Roe, Jane", "Poe, Edgar"] * 20,  # a name has always two parts
        [f"Street {i}, City" for i in range(60)],
        ["red", "green", "blue"] * 20,
        ["a;b", "a;b", "c"] * 20,  # as many combinations as answers tell nothing
        ["1,5", "2", "3,5", "4,25"] * 20,
        ["a;a", "a;b;a", "b", "a"] * 20,  # an answer is given once
        [],
    ],
)
def test_other_cells_with_separators_are_not_split(texts):
    found = find(texts)
    if found is not None:  # numbers with decimal commas are left to kinds.fit
        assert kinds.several_answers("x", pd.Series(texts, dtype="str"), cells.MISSING) is None


def table(n=300):
    frame = pd.DataFrame({"channels": combinations(n), "n": RNG.integers(0, 50, n).astype(str)})
    return frame.astype("str")


def test_each_answer_is_a_yes_no_column_and_the_cell_is_kept():
    columns = kinds.fit(table())
    kinds_of = {column.name: column.kind for column in columns}
    wanted = {f"channels: {answer}": "binary" for answer in ANSWERS}
    assert kinds_of == {"channels": "ignore", "n": "real"} | wanted
    assert "a yes/no column for each of email, phone, shop, web" in columns[0].why


def test_cells_are_split_and_joined_again():
    frame = table()
    columns = kinds.fit(frame)
    frame.loc[::7, "channels"] = ""
    wide = answers.expanded(frame, columns)
    text = frame["channels"]
    expected = ["" if not t else "yes" if "shop" in t.split(";") else "no" for t in text]
    assert wide["channels: shop"].tolist() == expected
    x, mask, odd, _ = encoding.encode(wide, columns)
    assert (mask[::7, :4] == 0).all()
    assert not odd
    pd.testing.assert_frame_equal(answers.folded(wide, columns), frame)


def test_only_empty_cells_are_joined_from_their_answers():
    frame = table(40)
    columns = kinds.fit(table())
    frame.loc[0, "channels"] = ""
    wide = answers.expanded(frame, columns)
    for answer, cell in zip(ANSWERS, ("no", "yes", "no", "yes"), strict=True):
        wide[f"channels: {answer}"] = cell
    joined = answers.folded(wide, columns)
    assert joined["channels"].iloc[0] == "phone;web"
    assert joined["channels"].iloc[1:].tolist() == frame["channels"].iloc[1:].tolist()
    for answer in ANSWERS:
        wide[f"channels: {answer}"] = "no"
    assert answers.folded(wide, columns)["channels"].iloc[0] == "email"


def test_an_unknown_answer_is_said():
    columns = kinds.fit(table())
    frame = pd.DataFrame({"channels": ["email;fax", "web"], "n": ["1", "2"]}, dtype="str")
    (note,) = answers.unread(answers.expanded(frame, columns), columns)
    assert note == "column 'channels': 1 answer is not known, such as 'fax'"


def test_a_kind_keeps_the_combinations():
    columns = kinds.fit(table(), {"channels": "categorical"})
    assert [column.kind for column in columns] == ["categorical", "real"]
    assert "email;shop" in columns[0].levels


def test_answers_have_no_bounds_of_their_own():
    frame = table(6)
    columns = kinds.fit(table())
    modelled = [column for column in columns if column.kind != "ignore"]
    holes = np.zeros((6, len(modelled)), bool)
    holes[2] = True
    filled = Filled(np.ones((1, 5)), np.zeros((0, 1, 5)), np.ones((2, 1, 5)), np.ones((1, 5)))
    output = frame.copy()
    samples.add_bounds(output, frame, modelled, holes, np.array([2]), filled)
    assert list(output) == ["channels", "n", "n_low", "n_high"]
