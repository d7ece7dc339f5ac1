"""benchmarks/generation.py: its figures on rows whose figures are known, its errors, its JSON."""

import importlib.machinery
import json
import sys
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

from benchmarks import generation
from parts.console.script import run_script
from parts.errors import UserError
from parts.forms.units import Column
from parts.training import presets

COLUMNS = [
    Column("x", kind="real"),
    Column("k", kind="categorical", levels=["a", "b", "c"]),
    Column("y", kind="binary", levels=["no", "yes"]),
]


def people(n=240, seed=0):
    """A table that a classifier can learn: y follows x, k follows y."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    yes = x + 0.3 * rng.normal(size=n) > 0
    k = np.where(yes, rng.choice(["a", "b"], n), rng.choice(["b", "c"], n))
    y = np.where(yes, "yes", "no")
    return pd.DataFrame({"x": x.round(3), "k": k, "y": y, "n": rng.poisson(3, n)})


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "my_people.csv"
    people().to_csv(path, index=False)
    return path


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(presets, "MIN_STEPS", 20)
    monkeypatch.setattr(presets, "MIN_ORDERED", (20, 1))


def error_of(capsys, *argv):
    """The line that a bad call leaves on stderr."""
    with pytest.raises(SystemExit) as end:
        run_script(lambda: generation.main(list(map(str, argv))))
    assert end.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    return line


# Reading


def test_rows_with_a_hole_are_left_out(table):
    frame = people()
    frame["k"] = frame["k"].mask(frame.index < 10, "?")
    frame.to_csv(table, index=False)
    read, wanted = generation.read_table(table)
    assert len(read) == 230
    assert read["x"].tolist() == people()["x"].iloc[10:].astype(str).tolist()
    assert wanted == {}


def test_types_beside_the_table_become_kinds(table):
    beside = table.with_name("my_types_people.csv")
    beside.write_text("type,dim,nclass\nreal,1,\ncat,3,3\ncat,2,2\ncount,1,")
    _, wanted = generation.read_table(table)
    assert wanted == {"x": "real", "k": "categorical", "y": "categorical", "n": "count"}
    beside.write_text("type,dim,nclass\nreal,1,\ncat,3,3\n")
    with pytest.raises(UserError, match="2 types"):
        generation.read_table(table)
    beside.write_text("type\nreal\ncat\ncat\nmoney\n")
    with pytest.raises(UserError, match="money"):
        generation.read_table(table)


def test_a_third_is_held_out_another_for_each_seed():
    train, held = generation.split(300, 0)
    assert len(held) == 100
    assert sorted([*train, *held]) == list(range(300))
    assert held.tolist() == generation.split(300, 0)[1].tolist()
    assert held.tolist() != generation.split(300, 1)[1].tolist()


# Figures


def rows_of(x, k, y):
    return np.stack([x, k, y], -1).astype(float)


def test_training_rows_are_their_own_copies():
    rng = np.random.default_rng(0)
    real = rows_of(rng.normal(size=200), rng.integers(3, size=200), rng.integers(2, size=200))
    figures = generation.measure(COLUMNS, "y", real, real, real)
    assert figures["copies"] == 100
    assert figures["dcr_median"] == figures["dcr_p5"] == figures["columns"] == 0


def test_the_distance_to_the_closest_row_is_that_by_hand():
    """Numbers in standard deviations of the training rows; another category is sqrt(2) away."""
    real = rows_of([-2, 2] * 50, [0] * 100, [0, 1] * 50)  # standard deviation 2
    rows = rows_of([2, 5, 2, 5], [0, 0, 1, 2], [1, 1, 1, 1])
    by_hand = np.array([0, 1.5, 2**0.5, (1.5**2 + 2) ** 0.5])
    figures = generation.measure(COLUMNS, "y", rows, real, real)
    np.testing.assert_allclose(figures["dcr_median"], np.median(by_hand), atol=1e-6)
    np.testing.assert_allclose(figures["dcr_p5"], np.quantile(by_hand, 0.05), atol=1e-6)
    assert figures["copies"] == 25
    # All generated rows are above half of the real ones; half of them hold other categories.
    assert figures["column"] == {"x": 0.5, "k": 0.5, "y": 0.5}


def test_a_classifier_of_the_generated_rows_is_tested_on_the_held_out_ones():
    rng = np.random.default_rng(0)
    x = rng.normal(size=400)
    held = rows_of(x, rng.integers(3, size=400), x > 0)
    assert generation.auroc(held, held, 2) > 99
    noise = held.copy()
    noise[:, 2] = rng.integers(2, size=400)
    assert 30 < generation.auroc(noise, held, 2) < 70
    turned = held.copy()
    turned[:, 2] = 1 - turned[:, 2]
    assert generation.auroc(turned, held, 2) < 1
    turned[:, 2] = 1
    assert generation.auroc(turned, held, 2) is None


def test_cells_become_numbers_and_codes():
    frame = pd.DataFrame({"x": ["1.5", "-2"], "k": ["c", "other"], "y": ["no", "yes"]}, dtype="str")
    np.testing.assert_array_equal(
        generation.numbers_of(frame, COLUMNS), [[1.5, 2, 0], [-2, np.nan, 1]]
    )


def test_over_seeds_keeps_what_is_missing_missing():
    rows = [{"a": 1.0, "b": None, "c": {"d": 2.0}}, {"a": 3.0, "b": 1.0, "c": {"d": 2.0}}]
    found = generation.over_seeds(rows)
    assert found["a"] == {"mean": 2.0, "sd": 2**0.5}
    assert found["b"] is None
    assert found["c"] == {"d": {"mean": 2.0, "sd": 0.0}}
    assert generation.over_seeds([4.0]) == {"mean": 4.0, "sd": 0.0}


# Errors, before any work


def test_bad_input_is_one_line(capsys, table):
    assert "no such file" in error_of(capsys, "--table", table.with_name("none.csv"))
    assert "--table" in error_of(capsys)
    assert "expected two classes" in error_of(capsys, "--table", table, "--target", "k")
    assert "--seeds" in error_of(capsys, "--table", table, "--seeds", "0")
    nowhere = table.parent / "none/out.json"
    given = ["--table", table, "--target", "y", "--out", nowhere]
    assert "is no folder" in error_of(capsys, *given)
    people(50).to_csv(table, index=False)
    assert "50 rows" in error_of(capsys, "--table", table, "--target", "y")
    people(200).assign(y=["yes"] * 190 + ["no"] * 10).to_csv(table, index=False)
    assert "'no' 10 times" in error_of(capsys, "--table", table, "--target", "y")


# The whole


def fake_ctgan(monkeypatch):
    """A TVAE that draws training rows again."""

    class TVAE:
        def __init__(self, epochs, enable_gpu):
            assert epochs == generation.TVAE_EPOCHS

        def fit(self, frame, discrete):
            assert discrete == ["k", "y"]
            assert frame["n"].dtype == np.int64
            self.frame = frame

        def sample(self, n):
            return self.frame.iloc[np.arange(n) % len(self.frame)].reset_index(drop=True)

    module = ModuleType("ctgan")
    module.__spec__ = importlib.machinery.ModuleSpec("ctgan", None)
    module.TVAE = TVAE
    monkeypatch.setitem(sys.modules, "ctgan", module)


@pytest.mark.slow
def test_the_commands_are_measured(table, tmp_path, quick, monkeypatch, capsys):
    fake_ctgan(monkeypatch)
    people(360).to_csv(table, index=False)
    out = tmp_path / "out.json"
    flags = ["--target", "y", "--seeds", "2", "--out", str(out)]
    generation.main(["--table", str(table), *flags])
    result = json.loads(out.read_text())
    command = "python benchmarks/generation.py --table my_people.csv --target y --seeds 2"
    assert result["command"] == command
    assert result["seeds"] == 2
    (result_of,) = result["tables"]
    assert result_of["rows"] == {"train": 240, "held_out": 119, "generated": 240}
    assert {"python", "torch", "numpy", "pandas", "scikit-learn"} <= set(result["versions"])
    methods = result_of["methods"]
    real, ours, tvae = (methods[m] for m in ("real rows", "preset generate", "TVAE"))
    assert set(methods) == {"real rows", "preset generate", "preset table", "TVAE"}
    assert real["auroc"]["mean"] > 90
    assert 0.3 < real["told_apart"]["mean"] < 0.7
    assert tvae["told_apart"] == real["told_apart"]
    assert tvae["auroc"] == real["auroc"]  # the training rows again
    assert tvae["copies"] == {"mean": 100.0, "sd": 0.0}
    assert tvae["dcr_median"]["mean"] == 0 < ours["dcr_median"]["mean"]
    assert ours["copies"]["mean"] < 5
    assert set(ours["column"]) == {"x", "k", "y", "n"}
    assert ours["auroc"]["sd"] > 0  # another split and another fit
    assert ours["fit_seconds"]["mean"] > 0 < ours["sample_seconds"]["mean"]
    printed = capsys.readouterr().out
    assert printed.count("preset generate: told_apart") == 2
    assert "Model:" not in printed  # what the commands print is not this script's


def test_only_the_defaults_replace_the_committed_figures(
    table, tmp_path, quick, monkeypatch, capsys
):
    monkeypatch.setattr(generation, "RESULTS", tmp_path)
    monkeypatch.setattr(generation, "COMMITTED", (["my_people"], "y", 1))
    monkeypatch.setitem(sys.modules, "ctgan", None)  # as if it were not installed
    generation.main(["--table", str(table), "--target", "y", "--seeds", "2"])
    assert "Not written" in capsys.readouterr().out
    assert not (tmp_path / "generation.json").exists()
    generation.main(["--table", str(table), "--target", "y", "--seeds", "1"])
    assert "TVAE is left out" in capsys.readouterr().out
    result = json.loads((tmp_path / "generation.json").read_text())
    assert set(result["tables"][0]["methods"]) == {"real rows", *generation.WAYS}
    assert result["tvae_epochs"] is None
    assert result["command"] == "python benchmarks/generation.py --table my_people.csv"
