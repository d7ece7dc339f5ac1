"""benchmarks/density.py: what a row holds, the work it counts, and the files it writes."""

import json

import numpy as np
import pytest

from benchmarks import density
from parts.errors import UserError
from vae import VAE, Bernoulli

TINY = "--hidden-dims 16 --latent-dim 3 --batch-size 32 --epochs 10 --likelihood bernoulli"


@pytest.fixture
def mnist(tmp_path):
    """A folder of idx files: bright squares at random places of 8 x 8 pixels."""
    rng = np.random.default_rng(0)
    for name, n in (("train", 64), ("t10k", 20)):
        x, y = np.zeros((n, 8, 8), np.uint8), rng.integers(0, 2, n).astype(np.uint8)
        for picture, left in zip(x, y, strict=True):
            picture[2:6, 4 * left : 4 * left + 3] = 230
        for array, kind in ((x, "images-idx3"), (y, "labels-idx1")):
            head = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
            (tmp_path / f"{name}-{kind}-ubyte").write_bytes(head + array.tobytes())
    return tmp_path


@pytest.fixture
def settings(monkeypatch):
    rows = {"one": (TINY, 1), "two": (TINY + " --prior mixture", 2)}
    monkeypatch.setattr(density, "MNIST_SETTINGS", rows)
    monkeypatch.setattr(density, "N_TEST_SAMPLES", 50)
    monkeypatch.setattr(density, "FEWER_SAMPLES", 20)
    monkeypatch.setattr(density, "LIMIT_SIZE", 64)


def test_rows_hold_the_curve_and_the_spread_of_their_seeds(mnist, settings, tmp_path, capsys):
    out = tmp_path / "out.json"
    argv = ["--data-dir", str(mnist), "--out", str(out)]
    assert density.main([*argv, "--only", "two"]) == 0
    assert density.main([*argv, "--only", "one"]) == 0
    rows = json.loads(out.read_text())["rows"]
    assert list(rows) == ["one", "two"]  # in the order of MNIST_SETTINGS, whatever ran first
    one, two = rows.values()
    assert (one["n_samples"], two["n_samples"]) == (50, 20)
    assert one["log_px_sd"] is None
    assert two["log_px"] == pytest.approx(np.mean(two["by_seed"]))
    assert two["log_px_sd"] == pytest.approx(np.std(two["by_seed"], ddof=1))
    assert two["by_seed"][0] != two["by_seed"][1]
    seconds = [point["seconds"] for point in one["curve"]]
    assert len(seconds) == density.N_CURVE_POINTS
    assert seconds == sorted(seconds)
    assert one["rows_per_second"] == pytest.approx(64 * 10 / one["train_seconds"])
    assert -45 < one["log_px"] < one["curve"][0]["rough_log_px"] + 5  # log 2 per pixel is 44.4
    assert out.with_suffix(".png").read_bytes()[:4] == b"\x89PNG"
    assert "of the device's arithmetic limit" in capsys.readouterr().out


def test_the_work_of_a_step_is_that_of_its_matrices():
    model = VAE(Bernoulli(12), hidden_dims=(7, 5), z_dim=3)
    encoder, decoder = 12 * 7 + 7 * 5 + 5 * 6, 3 * 5 + 5 * 7 + 7 * 12
    assert density.multiply_adds(model, 4) == 3 * (encoder + 4 * decoder)


def test_the_limit_is_multiply_adds_by_the_shortest_time(monkeypatch):
    ticks = iter([0, 4, 10, 12, 20, 28])  # products of 4, 2 and 8 s
    monkeypatch.setattr(density.time, "perf_counter", lambda: next(ticks))
    monkeypatch.setattr(density, "LIMIT_SIZE", 64)
    monkeypatch.setattr(density, "LIMIT_TRIES", 3)
    assert density.limit("cpu") == 64**3 / 2


def test_a_quick_look_does_not_replace_results(mnist, settings):
    with pytest.raises(UserError, match="--out"):
        density.main(["--data-dir", str(mnist), "--epochs", "1"])
