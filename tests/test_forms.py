"""parts/forms/base.py: every script works on a form of data that only this test defines."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from parts import forms
from parts.files import write_atomic
from parts.forms.base import Form, Source

N_ROWS, N_BITS = 300, 6


class Bits(Form):
    """A row is a line of 0s and 1s in a `.bits` file; a `?` is a missing bit."""

    name = "bits"
    row, rows, cells = "line", "lines", "bits"
    default_samples = "generated.bits"

    def recognises(self, path, config=None):
        return Path(path).suffix == ".bits"

    def read(self, path, config=None, holes=False):
        cells = np.array([list(line) for line in Path(path).read_text().split()])
        names = [f"bit{j}" for j in range(cells.shape[1])]
        mask = None if (cells != "?").all() else cells != "?"
        return Source((cells == "1").astype(float), names, path=Path(path), mask=mask)

    def default_likelihood(self, path):
        return "bernoulli"

    def write_rows(self, path, x, codec, source=None):
        lines = ["".join(str(int(round(value))) for value in row) for row in x]
        write_atomic(path, lambda file: file.write("\n".join([*lines, ""]).encode()))


def bits(n, holes=0.0, seed=0):
    """Lines whose second half repeats the first."""
    rng = np.random.default_rng(seed)
    half = rng.integers(0, 2, (n, N_BITS // 2)).astype(str)
    cells = np.hstack([half, half])
    cells[rng.random(cells.shape) < holes] = "?"
    return "\n".join("".join(row) for row in cells) + "\n"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setitem(forms.FORMS, "bits", Bits())
    monkeypatch.chdir(tmp_path)
    Path("a.bits").write_text(bits(N_ROWS))
    Path("holes.bits").write_text(bits(N_ROWS, holes=0.1, seed=1))
    return tmp_path


def lines(path):
    return Path(path).read_text().split()


def agreement(rows):
    """Share of bits in the second half of lines that equal those of the first."""
    cells = np.array([list(row) for row in rows])
    return (cells[:, : N_BITS // 2] == cells[:, N_BITS // 2 :]).mean()


@pytest.mark.slow
def test_every_verb_works_on_a_form_of_its_own(folder, call):
    def run(name, *args):
        result = call(name, *args)
        assert result.code == 0, result.err
        return result.out

    assert f"{N_BITS} columns" in run("data", "--data", "a.bits")
    flags = ["--epochs", "100", "--lr", "0.01", "--hide-rate", "0.5", "--run", "b"]
    run("train", "--data", "a.bits", *flags)
    assert json.loads(Path("runs/b/config.json").read_text())["codec"]["form"] == "bits"
    run("evaluate", "--run", "b")
    metrics = json.loads(Path("runs/b/metrics.json").read_text())
    # Three even bits and their copies: no model is above -3 log 2, independent ones have -6 log 2.
    assert -6 * np.log(2) < metrics["log_px"] < -3 * np.log(2) + 3 * metrics["log_px_se"]
    assert metrics["log_px"] > metrics["baseline_log_px_diagonal"] + 1
    assert "latent_space.png" in run("plot_results", "--run", "b")

    out = run("detect", "a.bits", "--run", "b")
    assert "oddest lines" in out
    scored = Path("a.scored.csv").read_text().splitlines()
    assert scored[0] == "index,anomaly_score,anomaly_nats,is_anomaly,anomaly_rank"
    assert len(scored) == 1 + N_ROWS

    assert "bits in" in run("impute", "holes.bits", "--run", "b", "--check", "--draws", "2")
    filled, given = lines("holes.imputed.bits"), lines("holes.bits")
    pairs = [pair for row in zip(filled, given, strict=True) for pair in zip(*row, strict=True)]
    assert all(new == old or (old == "?" and new in "01") for new, old in pairs)
    assert agreement(filled) > 0.9
    assert len(lines("holes.imputed.1.bits")) == len(lines("holes.imputed.2.bits")) == N_ROWS
    assert "VAE" in json.loads(Path("runs/b/imputation.json").read_text())["error"]

    run("generate", "--run", "b", "--n", "200")
    assert agreement(lines("generated.bits")) > 0.8
    run("generate", "--run", "b", "--n", "50", "--given", "bit0=1", "--out", "one.bits")
    assert {row[0] for row in lines("one.bits")} == {"1"}
    assert "generated_marginals.png" in run("plot_results", "--run", "b")


def test_the_verbs_fit_a_run_to_such_a_file(folder, call):
    for name, out in (("detect", "a.scored.csv"), ("impute", "a.imputed.bits")):
        result = call(name, "a.bits", "--out", out)
        assert result.code == 0, result.err
        assert Path(out).is_file()
    assert len(Path("a.scored.csv").read_text().splitlines()) == 1 + N_ROWS
    assert lines("a.imputed.bits") == lines("a.bits")  # no bit was missing
    assert len(list(Path("runs").iterdir())) == 2


def test_a_search_works_on_it(folder, call):
    result = call("tune", "--data", "a.bits", "--trials", "2", "--epochs", "2")
    assert result.code == 0, result.err
    (table,) = Path().glob("**/trials.csv")
    scores = pd.read_csv(table)["log_px"]
    assert len(scores) == 2
    assert (scores < -3 * np.log(2) + 0.5).all()  # three even bits and their copies


def test_a_run_of_another_form_is_refused(folder, call):
    assert call("train", "--data", "iris", "--epochs", "1", "--run", "i").code == 0
    result = call("detect", "a.bits", "--run", "i")
    assert result.code == 2
    assert "holds lines, and run i was trained on a table" in result.err
