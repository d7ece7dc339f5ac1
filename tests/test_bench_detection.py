"""benchmarks/detection.py: the protocol's split, what is measured, and what is refused."""

import json

import numpy as np
import pytest

from benchmarks import detection
from parts.errors import UserError
from parts.training import presets


def table(folder, name, n=120):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    y = (np.arange(n) % 12 == 0).astype(int)
    x[y == 1] += 6
    np.savez(folder / name, X=x, y=y)


def test_half_of_the_normal_rows_is_trained_on_and_all_anomalies_are_tested():
    y = (np.arange(101) % 10 == 0).astype(int)
    train, test = detection.split(y, 0)
    assert len(train) == 45
    assert (y[train] == 0).all()
    assert sorted([*train, *test]) == list(range(101))
    assert not np.array_equal(train, detection.split(y, 1)[0])
    large = np.zeros(30_000, int)
    assert [len(rows) for rows in detection.split(large, 0)] == [5000, 5000]


def test_what_is_written_is_read_to_the_bit(tmp_path):
    x = np.array([[0.1, 1e-300], [1 / 3, -2.0]])
    detection.write_table(tmp_path / "t.csv", x)
    assert np.array_equal(np.loadtxt(tmp_path / "t.csv", delimiter=",", skiprows=1), x)


def test_tables_of_scikit_learn_have_one_rare_class():
    tables = list(detection.tables_of_scikit_learn())
    assert len({name for name, _, _ in tables}) == 14
    for name, x, y in tables:
        assert len(x) == len(y)
        assert np.isfinite(x).all()
        assert y.mean() == pytest.approx(0.05 if name.startswith("digit") else 0.1, abs=0.005)


@pytest.mark.slow
def test_easy_anomalies_are_found_and_the_means_are_those_of_the_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "MIN_STEPS", 30)
    monkeypatch.setattr(presets, "N_MEMBERS", 1)
    monkeypatch.setattr(detection, "tables_of_scikit_learn", list)
    table(tmp_path, "1_easy.npz")
    table(tmp_path, "2_other.npz", 100)
    out = tmp_path / "out.json"
    assert detection.main(["--tables", str(tmp_path), "--seeds", "2", "--out", str(out)]) == 0
    groups = json.loads(out.read_text())["groups"]
    assert [group["trained_on"] for group in groups] == ["normal rows", "all rows"]
    for group in groups:
        assert [row["name"] for row in group["tables"]] == ["easy", "other"]
        assert all(row["auroc"]["VAE"][0] > 95 for row in group["tables"])
        assert {"k-NN", "k-NN, our columns"} <= set(group["mean"])
        for method, (mean, sd) in group["mean"].items():
            seeds = np.mean([row["by_seed"][method] for row in group["tables"]], 0)
            assert (mean, sd) == pytest.approx((seeds.mean(), seeds.std(ddof=1)))


def test_folders_and_names_without_tables_are_refused(tmp_path):
    with pytest.raises(UserError, match="no .npz file there"):
        detection.main(["--tables", str(tmp_path)])
    table(tmp_path, "1_easy.npz")
    with pytest.raises(UserError, match="--only easier: expected one of breast cancer, digit 0"):
        detection.main(["--tables", str(tmp_path), "--only", "easier"])
