"""Several answers in a cell: found, seen by the model as yes/no columns, written as one cell."""

import numpy as np
import pandas as pd
import pytest

from parts.errors import UserError
from parts.forms import cells, conditions
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
    wide = answers.expanded(frame, columns)
    _, mask, (odd,), (note,) = encoding.encode(wide, columns)
    assert note == "column 'channels': 1 cell holds answers that are not known: 'fax'"
    assert mask.all()
    assert odd.nats == pytest.approx(np.log(len(table()) + 2))  # as a category that is not known
    (words,) = encoding.words_of([odd], wide, np.array([0]))
    assert words == "channels=email;fax has an answer that the training rows never had"


def test_a_file_with_other_answers_is_refused():
    columns = kinds.fit(table())
    frame = pd.DataFrame({"channels": ["Post;Fax", "Fax", "web"] * 5, "n": "1"}, dtype="str")
    with pytest.raises(UserError, match="'channels': 10 of 15 cells are none of the 4 answers"):
        encoding.in_own_style(frame, columns)
    frame["channels"] = ["email;fax", "web", "post"] * 5
    assert encoding.in_own_style(frame, columns) == (columns, [])


def test_an_empty_cell_may_say_that_there_is_no_answer():
    frame = table()
    frame.loc[::7, "channels"] = ""
    columns = kinds.fit(frame, keep=["channels="])
    wide = answers.expanded(frame, columns)
    assert (wide.loc[::7, [f"channels: {answer}" for answer in ANSWERS]] == "no").to_numpy().all()
    _, mask, odd, _ = encoding.encode(wide, columns)
    assert mask.all()
    assert not odd
    pd.testing.assert_frame_equal(answers.folded(wide, columns), frame)


def test_answers_are_given_as_a_cell_holds_them():
    columns = kinds.fit(table())
    modelled = [column for column in columns if column.kind != "ignore"]
    (x, mask), given = conditions.given_cells("channels=web;email", modelled)
    names = [column.name for column in modelled]
    there = {names[j].removeprefix("channels: "): x[0, j] for j in np.flatnonzero(mask[0])}
    assert there == {"email": 1, "phone": 0, "shop": 0, "web": 1}
    assert given == {"channels": "email;web"}
    for text, said in (
        (
            "channels=email;fax",
            "'fax' is no answer, expected one or several of email, phone, shop, ",
        ),
        ("channels=", "'' is no answer"),
        ("channels=web,channels=shop", "'channels' is given twice"),
        ("channels: web=yes,channels=shop", "'channels' is given twice"),
    ):
        with pytest.raises(UserError, match=said):
            conditions.given_cells(text, modelled)


def test_rows_with_given_answers_are_generated(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(200).to_csv("t.csv", index=False)
    train = call("train", "--data", "t.csv", "--epochs", 1, "--threads", 1, "--run", "r")
    assert train.code == 0, train.err
    assert "Data: t.csv, 2 columns; rows" in train.out
    flags = ("--run", "r", "--n", 20, "--threads", 1, "--out", "new.csv")
    made = call("generate", *flags, "--given", "channels=phone;shop")
    assert made.code == 0, made.err
    assert "Wrote new.csv: 20 rows, 2 columns" in made.out
    assert set(pd.read_csv("new.csv")["channels"]) == {"phone;shop"}
    refused = call("generate", *flags, "--overwrite", "--given", "channels=fax")
    assert refused.code == 2
    assert len(refused.err.splitlines()) == 1


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
