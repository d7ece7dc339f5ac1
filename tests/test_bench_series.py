"""The benchmark of time series: what it removes, its critics, its sums, and its JSON."""

import gzip
import json

import numpy as np
import pytest

from benchmarks import report, series
from parts.errors import UserError


def wave(n, period=24, seed=0):
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    return np.sin(2 * np.pi * t / period) + 0.1 * rng.normal(size=n)


def folder_of_taxis(folder):
    """A NAB file with a labelled stretch, its published line, and a channel of NASA."""
    stamps = np.datetime64("2014-07-01T00:00:00") + 1800 * np.arange(601)
    x = wave(601)
    x[300:330] = 2
    lines = [f"{str(s).replace('T', ' ')},{v:.4f}" for s, v in zip(stamps, x, strict=True)]
    (folder / "nab").mkdir()
    (folder / "nab/nyc_taxi.csv").write_text("\n".join(["timestamp,value", *lines]))
    span = [f"{str(stamps[i]).replace('T', ' ')}.000000" for i in (300, 329)]
    (folder / "nab/windows.json").write_text(json.dumps({"a/nyc_taxi.csv": [span]}))
    (folder / "nasa").mkdir()
    label = np.zeros(600, np.uint8)
    label[299:329] = 1
    test = np.stack([x[1:], np.arange(600) % 2], 1).astype(np.float32)
    np.savez(folder / "nasa/A-1.npz", test=test, label=label)
    columns = "tsb_ad,local,kind,tr,ts_len,anomaly_len,Donut,POLY"
    lines = ["a,nab/nyc_taxi.csv,U,1,600,30,.2,.5", "b,nasa/A-1.npz,M,1,600,30,.1,"]
    (folder / "tsb_ad_published.csv").write_text("\n".join([columns, *lines]))
    return folder


def test_the_first_row_and_the_labels_of_a_series_are_those_of_the_protocol(tmp_path):
    folder = folder_of_taxis(tmp_path)
    x, labels = series.labelled(folder, "nab/nyc_taxi.csv")
    assert len(x) == len(labels) == 600
    assert np.flatnonzero(labels).tolist() == list(range(299, 329))


def test_parts_are_merged_into_one_json_and_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(series, "ours", lambda task, train, *_, **options: train.x[:, 0])
    folder, out = folder_of_taxis(tmp_path), tmp_path / "out.json"
    for part in ("irregular", "nasa", "detection"):
        flags = ["--data", str(folder), "--only", part, "--seeds", "2", "--out", str(out)]
        assert series.main(flags) == 0
    result = json.loads(out.read_text())
    assert list(result["parts"]) == ["detection", "nasa", "irregular"]
    found = result["parts"]["detection"]
    assert found["published"] == {"Donut": 0.2, "POLY": 0.5}
    assert found["mean"]["Gaussian of windows"]["VUS-PR"]["mean"] > 0.5
    assert found["mean"]["isolation forest of windows"]["VUS-PR"]["sd"] > 0
    assert result["parts"]["nasa"]["published"] == {"Donut": 0.1}
    text = report.series("detection", report.SERIES["detection"], result)
    assert "POLY 0.500, Donut 0.200" in text
    assert "| Gaussian of windows |" in text
    assert report.series("ett", report.SERIES["ett"], result) == "Not measured yet."


def test_ours_stands_beside_the_others_as_soon_as_it_is_there(tmp_path, monkeypatch):
    folder = folder_of_taxis(tmp_path)

    def ours(task, train, test, **options):
        return 1.0 * (np.abs(np.arange(600) - 313.5) < 15)

    monkeypatch.setattr(series, "ours", ours)
    (found,) = [m for m in series.detection(folder, 1) if m.method == series.OURS]
    assert found.figures["AP"] == 1


def test_cells_and_runs_are_removed_by_their_share():
    rng = np.random.default_rng(0)
    shape = (400, 48, 3)
    assert series.removed(shape, "cells", 0.1, rng).mean() == pytest.approx(0.9, abs=0.01)
    runs = series.removed(shape, "runs", 0.5, rng)
    assert runs.mean() == pytest.approx(0.5, abs=0.03)
    assert set((~runs).sum(1).flat) == {0, series.RUN}


def test_critics_tell_noise_from_waves_and_no_two_halves(monkeypatch):
    monkeypatch.setattr(series, "STEPS", {"small": 1, "strong": 100, "predictive": 100})
    monkeypatch.setattr(series, "STRONG_UNITS", 16)
    monkeypatch.setattr(series, "CRITIC_BATCH", 32)
    x = np.stack([wave(800), wave(800, seed=1)], 1) / 4 + 0.5
    real = np.stack([x[i : i + 24] for i in range(776)])
    noise = np.random.default_rng(0).random(real.shape)
    far, near = series.critics(real, noise, 0), series.critics(real[::2], real[1::2], 0)
    assert far["discriminative, strong critic"] > 0.4
    assert far["discriminative, strong critic, other days"] > 0.4
    assert near["discriminative, strong critic"] < 0.1
    assert far["closest window"] > 2 > near["closest window"]
    assert far["predictive"] > near["predictive"]


def test_blocks_of_time_for_the_test_share_no_row_with_training_windows():
    train, test = series.apart(1300)
    assert len(test) == 2 * series.BLOCK
    assert np.abs(train[:, None] - test).min() == series.MADE_LENGTH
    assert len(train) == 1300 - len(test) - 4 * (series.MADE_LENGTH - 1)


def test_means_are_taken_over_sets_and_spread_over_seeds():
    runs = [
        [
            series.Measured("a", "m", {"MAE": 1.0 + seed}, 1),
            series.Measured("b", "m", {"MAE": 3.0 + seed}, 3),
        ]
        for seed in range(3)
    ]
    found = series.summarised(runs)
    assert found["sets"]["b"]["m"]["MAE"] == {"mean": 4, "sd": 1}
    assert found["mean"]["m"] == {"MAE": {"mean": 3, "sd": 1}, "seconds": {"mean": 2, "sd": 0}}


def test_months_part_etth1_and_the_first_part_sets_the_scale(tmp_path):
    (tmp_path / "ett").mkdir()
    stamps = np.datetime64("2016-07-01T00:00:00") + 3600 * np.arange(24 * 620)
    lines = [f"{str(s).replace('T', ' ')},{i}" for i, s in enumerate(stamps)]
    with gzip.open(tmp_path / "ett/ETTh1.csv.gz", "wt") as file:
        file.write("\n".join(["date,OT", *lines]))
    (train, stamps), (valid, _), (test, _) = series.etth1(tmp_path)
    days = [(427, train), (153, valid), (40, test)]  # July 2016 to August 2017, then to January
    assert [len(part) for _, part in days] == [24 * n for n, _ in days]
    assert (train.mean(), train.std()) == (pytest.approx(0), pytest.approx(1))
    assert series.hour_of(stamps) == 0


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        series.main(["--data", str(tmp_path / "none")])


@pytest.mark.slow
def test_the_commands_do_each_task_of_the_benchmark():
    """A sine with a fault, a tenth of whose cells are hidden: the commands beat a line between the
    neighbours, find the fault, and give densities and windows of the right size.
    """
    rng = np.random.default_rng(0)
    x = np.stack([np.sin(2 * np.pi * np.arange(1200) / 24 + k) for k in (0, 1)], 1)
    x += 0.1 * rng.normal(size=x.shape)
    odd = x.copy()
    odd[900:930] = rng.normal(size=(30, 2))
    whole = series.Series.of(odd)
    scores = series.ours("scores", whole, whole)
    assert 880 <= scores.argmax() <= 950
    mask = rng.random((1200, 2)) > 0.1
    train, test = series.Series.of(x[:960]), series.Series.of(x[960:], mask[960:])
    filled, std = series.ours("fills", train, test, length=24)
    hidden = ~mask[960:]
    line = series.baselines.interpolated(test)
    assert np.abs(filled - x[960:])[hidden].mean() < np.abs(line - x[960:])[hidden].mean()
    assert (std[hidden] > 0).all()
    stamps = np.datetime64("2024-01-01T00") + np.arange(1200).astype("timedelta64[h]")
    windows = x[960:].reshape(-1, 24, 2)
    nats = series.ours("density", train, windows, (stamps[:960], stamps[960:]), 0, 24)
    assert nats.shape == (10,)
    assert nats.mean() / 48 > 0.3  # an independent normal cell of noise 0.1 has 0.88
    assert series.ours("windows", train, None, None, 0, 24, 7).shape == (7, 24, 2)
