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


def test_easy_anomalies_are_found_and_the_means_are_those_of_the_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(presets, "MIN_STEPS", 60)
    table(tmp_path, "1_easy.npz")
    table(tmp_path, "2_other.npz", 100)
    out = tmp_path / "out.json"
    assert detection.main(["--tables", str(tmp_path), "--seeds", "2", "--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert [row["name"] for row in result["tables"]] == ["easy", "other"]
    assert all(row["auroc"]["VAE"][0] > 95 for row in result["tables"])
    for method, (mean, sd) in result["mean"].items():
        seeds = np.mean([row["by_seed"][method] for row in result["tables"]], 0)
        assert (mean, sd) == pytest.approx((seeds.mean(), seeds.std(ddof=1)))


def test_a_folder_without_tables_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such .npz file there"):
        detection.main(["--tables", str(tmp_path)])
