"""benchmarks/imputation.py: its protocols against figures worked out by hand, on small tables."""

import json

import numpy as np
import pandas as pd
import pytest

from benchmarks import imputation
from parts.training import presets

TYPES = ["count", "pos", "cat", "cat", "ordinal"]
N_LEVELS = np.array([1, np.nan, 3, 2, 4])


def bank(n=80):
    """Four numbers that go together, and a class that is to be dropped."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 1)) + 0.3 * rng.normal(size=(n, 4))
    frame = pd.DataFrame(x.round(4) * 100, columns=list("abcd"))
    return frame.assign(**{"class": rng.integers(0, 2, n)})


def adult(n=90):
    rng = np.random.default_rng(1)
    z = rng.integers(0, 3, n)
    columns = [
        rng.poisson(z + 1),
        np.exp(z + rng.normal(size=n)).round(3),
        z + 1,
        rng.integers(1, 3, n),
        z + rng.integers(1, 3, n),
    ]
    frame = pd.DataFrame(dict(zip("pqrst", columns, strict=True)))
    frame["r"] = frame["r"].astype(float)  # as the file has it where cells are missing
    frame.loc[:4, "r"] = np.nan
    return frame


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """A folder of tables; fits are short, and nothing is written over the committed results."""
    monkeypatch.setattr(presets, "MIN_STEPS", 20)
    monkeypatch.setattr(imputation, "N_TREES", 3)
    monkeypatch.setattr(imputation, "RESULTS", tmp_path)
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "tables"
    folder.mkdir()
    bank().to_csv(folder / "banknote.csv", index=False)
    adult().to_csv(folder / "hivae_adult.csv", index=False)
    types = pd.DataFrame({"type": TYPES, "dim": 1, "nclass": N_LEVELS})
    types.to_csv(folder / "hivae_types_adult.csv", index=False)
    masks = {
        f"m{rate}_{draw}": np.random.default_rng(rate).random((90, 5)) < rate / 100
        for rate in (20, 50)
        for draw in (1, 2, 3)
    }
    packed = {name: np.packbits(mask, axis=1) for name, mask in masks.items()}
    np.savez(folder / "hivae_masks_adult.npz", shape=np.array([90, 5]), **packed)
    return folder


def test_the_removed_cells_are_those_of_the_notebook():
    np.random.seed(1234)  # noqa: NPY002  as the protocol has it
    expected = np.random.choice(7 * 3, 10, replace=False)  # noqa: NPY002
    removed = imputation.removed_cells((7, 3), 1234)
    np.testing.assert_array_equal(np.flatnonzero(removed), np.sort(expected))


def test_hivae_errors_by_hand():
    truth = np.array([[0, 1.0, 1, 1, 1], [4, 3.0, 2, 2, 4], [np.nan, 2.0, 3, 1, 2]])
    guess = np.array([[3, 1.0, 1, 2, 3], [0, 3.0, 3, 2, 1], [9, 0.0, 3, 1, 2]])
    removed = np.array([[1, 0, 1, 1, 1], [1, 0, 1, 1, 1], [0, 1, 0, 1, 0]], bool)
    found = imputation.hivae_errors(TYPES, N_LEVELS, truth, guess, removed)
    np.testing.assert_allclose(found, [np.sqrt(25 / 2) / 4, 2 / 2, 1 / 2, 1 / 3, 2.5 / 4])


def test_the_middle_of_each_kind():
    x = np.array([[1, 1.0, 3, 1, 1], [2, np.nan, 3, 2, 1], [6, 2.0, 1, 2, 4]])
    np.testing.assert_array_equal(imputation.middle_of(TYPES, x), [3, 1.5, 3, 2, 1])


def test_boosting_fills_holes_from_the_other_columns():
    rng = np.random.default_rng(0)
    code = rng.integers(1, 4, 600)
    x = np.column_stack([code, 10.0 * code, code, rng.normal(size=600)])
    hidden = rng.random(x.shape) < 0.1
    hidden[:, 0] = False  # always seen, and all others but the last follow from it
    filled = imputation.boosted(
        np.where(hidden, np.nan, x), ["cat", "pos", "ordinal", "real"], [3] * 4, 0
    )
    assert (filled[~hidden] == x[~hidden]).all()
    assert filled[:, 1] == pytest.approx(x[:, 1], abs=0.1)
    assert (filled[:, 2] == x[:, 2]).all()


def test_miwae_on_a_table_of_our_own(tables, tmp_path, capsys):
    flags = ["--tables", str(tables), "--only", "banknote", "--masks", "2"]
    imputation.main([*flags, "--out", "look.json"])
    result = json.loads((tmp_path / "look.json").read_text())
    (found,) = result["miwae"]
    assert (found["rows"], found["columns"], found["masks"]) == (80, 4, 2)
    assert set(found["kinds"]) == set("abcd")
    x = bank().drop(columns="class").to_numpy()
    for seed, error in zip((1234, 1), found["error"]["mean / mode"]["values"], strict=True):
        removed = imputation.removed_cells(x.shape, seed)
        gap = np.where(removed, np.nanmean(np.where(removed, np.nan, x), 0) - x, 0) / x.std(0)
        assert error == pytest.approx(np.square(gap).sum() / 160)
    assert found["error"]["iterative regression"]["mean"] < 0.5  # the columns tell of one another
    assert set(found["error"]) == set(imputation.METHODS)
    assert all(0.3 < value <= 1 for value in found["coverage"]["values"])
    out = capsys.readouterr().out
    assert f"{found['error']['VAE']['mean']:.3f} ± " in out


@pytest.mark.slow
def test_adult_on_a_table_of_our_own(tables, tmp_path, capsys):
    imputation.main(["--tables", str(tables), "--only", "adult", "--masks", "1"])
    assert list(tmp_path.iterdir()) == [tables]  # a quick look leaves nothing
    assert "adult, 50 %" in capsys.readouterr().out
    imputation.main(["--tables", str(tables), "--only", "adult", "--masks", "1", "--out", "a.json"])
    result = json.loads((tmp_path / "a.json").read_text())["adult"]
    assert [found["rate"] for found in result] == [20, 50]
    removed = np.random.default_rng(20).random((90, 5)) < 0.2
    known = adult().notna().to_numpy()
    columns = result[0]["columns"]
    assert result[0]["removed"] == [(removed & known).sum()]
    assert list(result[0]["kinds"].values()) == [
        "count",
        "positive",
        "categorical",
        "categorical",
        "ordinal",
    ]
    r, gone = adult()["r"].to_numpy(), removed[:, 2]
    mode = pd.Series(r[~gone]).mode()[0]
    expected = (r != mode)[gone & known[:, 2]].mean()
    assert columns["r"]["mean / mode"] == pytest.approx(expected)
    # The codes of k-NN and of the regression are turned back into levels that start at 1, and the
    # three columns that hold z tell of one another.
    better = columns["r"]["iterative regression"]
    assert better < 0.8 * expected


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--tables", "nowhere"], "--tables nowhere: no banknote.csv there"),
        (["--tables", "tables", "--only", "breast"], "--tables tables: no breast.csv there"),
        (["--tables", "tables", "--only", "iris"], "invalid choice: 'iris'"),
        (["--tables", "tables", "--only", "adult", "--masks", "4"], "invalid choice: 4"),
        (["--tables", "tables", "--only", "adult", "--out", "no/a.json"], "there is no folder no"),
        ([], "required: --tables"),
    ],
)
def test_bad_input_is_one_line(tables, call, flags, said):
    result = call("benchmarks.imputation", *flags)
    assert (result.code, result.out) == (2, "")
    assert said in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("banknote.csv", "a,b,class\n1,2,0\n3,,1\n", "row 2, column 'b' holds '', expected a num"),
        ("banknote.csv", "a,b\n1,2\n3,4\n", "has no column 'class'"),
        ("hivae_types_adult.csv", "type,nclass\nreal,1\n", "type and nclass of each of 5 columns"),
        ("hivae_masks_adult.npz", "no archive", "get it again"),
    ],
)
def test_a_bad_table_is_one_line(tables, call, name, text, said):
    (tables / name).write_text(text)
    only = "banknote" if name == "banknote.csv" else "adult"
    result = call("benchmarks.imputation", "--tables", "tables", "--only", only)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert said in result.err
