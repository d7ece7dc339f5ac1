"""parts/forms/conditions.py on pictures: --condition label in every script that takes it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.svm import SVC

from parts.forms import conditions


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train):
    """A folder with bars.npz, grey bars that are upright (label 3) or lie (5), and run `b` given
    the label; as they are grey, z says where a bar is, and y which way it goes."""
    folder = tmp_path_factory.mktemp("bars")
    rng = np.random.default_rng(0)
    x, label = np.full((400, 5, 5), 0.05), np.repeat([3, 5], 200)
    x[np.arange(400), :, rng.integers(5, size=400)] = 0.9
    x[200:] = x[200:].transpose(0, 2, 1)
    order = rng.permutation(400)
    np.savez(folder / "bars.npz", X=x[order], y=label[order])
    flags = ("--data", folder / "bars.npz", "--hide-rate", 0.9, "--threads", 1, "--lr", 0.01)
    flags = (*flags, "--epochs", 60, "--latent-dim", 3, "--condition", "label")
    train(folder / "runs", "b", *flags)
    return folder


@pytest.fixture
def bars(folder):
    """Its pictures and labels, in a copy of the folder to work in."""
    with np.load("bars.npz") as arrays:
        return arrays["X"], arrays["y"]


@pytest.fixture
def said(call):
    """said(script, *args): what a script that succeeds prints."""

    def run(script, *args):
        result = call(script, *args)
        assert (result.code, result.err) == (0, ""), result.err
        return result.out

    return run


def upright(x):
    """Whether the columns of pictures [N, H, W] differ more than their rows."""
    return x.mean(1).var(1) > x.mean(2).var(1)


def test_pictures_given_a_label_are_its_means_or_draws_and_can_be_read_again(bars, said):
    for label in (3, 5):
        out = said("generate", "--run", "b", "--given", f"label={label}", "--n", 60, "--overwrite")
        assert "Pixels are the mean of p(x|z), as grey values were probabilities" in out
        assert "Wrote generated.npz: 60 pictures of 5 x 5 and y" in out
        with np.load("generated.npz") as arrays:
            x, y = arrays["X"], arrays["y"]
        assert (y == label).all()
        assert (upright(x) == (label == 3)).mean() > 0.95
        assert ((x > 0) & (x < 1)).mean() > 0.9
    said("detect", "generated.npz", "--run", "b", "--contamination", 0.1)
    assert pd.read_csv("generated.scored.csv")["is_anomaly"].mean() < 0.2


def test_an_unknown_label_is_written_as_unknown():
    np.testing.assert_array_equal(conditions.as_labels(["7", "", "12"]), [7, np.nan, 12])
    assert conditions.as_labels(["7", "12"]).dtype == np.int64
    np.testing.assert_array_equal(conditions.as_labels(["a", ""]), ["a", ""])


def test_the_wrong_label_makes_a_picture_odd(bars, said):
    x, y = (part[:40].copy() for part in bars)
    y[:2] = 8 - y[:2]
    np.savez("new.npz", X=x, y=y)
    out = said("detect", "new.npz", "--run", "b", "--contamination", 0.1)
    assert "held-out pictures; 2 of 40 pictures lie beyond it" in out
    scored = pd.read_csv("new.scored.csv")
    assert set(scored["index"][scored["anomaly_rank"] <= 2]) == {0, 1}
    assert scored["is_anomaly"][:2].all()
    assert (scored["label"] == y).all()
    # By sub-folders the same, but for the order of pictures and their rounding to bytes.
    for i, (picture, label) in enumerate(zip(x, y, strict=True)):
        Path(f"new/{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(255 * picture).astype(np.uint8)).save(f"new/{label}/{i:02d}.png")
    said("detect", "new", "--run", "b", "--overwrite")
    order = np.lexsort((np.arange(40), y))
    again = pd.read_csv("new.scored.csv")["anomaly_score"]
    np.testing.assert_allclose(again, scored["anomaly_score"][order], atol=0.1)
    out = said("detect", "new.npz", "--run", "b", "--overwrite")  # by a hundredth
    assert "Threshold: none. 32 held-out pictures cannot tell the oddest 1 %" in out
    assert not pd.read_csv("new.scored.csv")["is_anomaly"].any()


def test_missing_pixels_are_filled_by_the_label(bars, said):
    x, y = bars[0][:20].copy(), np.tile([3.0, 5.0], 10)
    x[:] = np.nan
    x[:, 2, 2] = 0.9  # both ways a bar may go through here
    y[-1] = np.nan
    np.savez("holes.npz", X=x, y=y)
    out = said("impute", "holes.npz", "--run", "b", "--draws", 1, "--check")
    assert "condition 'label': 1 cell is not known" in out
    assert "was known in every training row: rely on no row without it" in out
    for name in ("holes.imputed.npz", "holes.imputed.1.npz"):
        with np.load(name) as arrays:
            found = arrays["X"]
        assert (upright(found)[:-1] == (y == 3)[:-1]).all()
        assert np.unique(found).size > 20  # a draw of a grey picture is grey
    quarters = json.loads(Path("runs/b/quadrants.json").read_text())["quarters"]
    assert quarters["3"]["mse"]["VAE"] < 0.5 * quarters["3"]["mse"]["mean"]


@pytest.mark.parametrize(
    ("command", "fragment"),
    [
        (("detect", "bare.npy"), "bare.npy has no labels, which the run takes as given"),
        (("impute", "bare.npy"), "expected an .npz with labels y beside the pictures, or a folder"),
        (("detect", "bars.npz", "--labels", "label"), "--labels label: run b takes it as given"),
    ],
)
def test_pictures_without_their_labels_are_refused(bars, call, command, fragment):
    np.save("bare.npy", bars[0])
    result = call(*command, "--run", "b")
    assert result.code == 2
    assert fragment in result.err
    assert result.err.count("\n") == 1


# Digits


def classify(tmp_path, call, run, n, digits=range(10)):
    """Share of digits given their label that a classifier of real digits takes for it."""
    x, label = load_digits(return_X_y=True)
    classifier = SVC(C=10).fit(x / 16, label)
    found = []
    for digit in digits:
        out = tmp_path / f"{digit}.npz"
        result = call("generate", "--run", run, "--given", f"label={digit}", "--n", n, "--out", out)
        assert result.code == 0, result.err
        with np.load(out) as arrays:
            assert (arrays["y"] == digit).all()
            found.append((classifier.predict(arrays["X"].reshape(n, 64)) == digit).mean())
    return np.array(found)


DIGITS = ("--data", "digits", "--condition", "label")
LONG = ("--hidden-dims", 256, "--latent-dim", 16, "--epochs", 200)
CODES = ("--model", "vqvae", "--latent-dim", 8, "--n-codes", 16, "--hidden-dims", 256)
CODES += ("--epochs", 150, "--batch-size", 64, "--lr", 0.003, "--schedule", "onecycle")


def test_digits_given_their_label_look_like_it(tmp_path, train, call):
    faster = ("--lr", 0.01, "--schedule", "onecycle", "--epochs", 10)
    found = classify(tmp_path, call, train(tmp_path, "r", *DIGITS, *faster), 100, (3, 7))
    assert found.mean() > 0.9
    assert found.min() > 0.6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "least"),
    [
        ((), 0.95),
        (LONG, 0.95),
        ((*LONG, "--likelihood", "gaussian", "--variance", "shared"), 0.95),
        ((*LONG, "--model", "vaegan"), 0.95),
        ((*LONG, "--prior", "vamp"), 0.95),
        (CODES, 0.75),
    ],
    ids=["defaults", "longer", "gaussian", "vaegan", "vamp", "vqvae"],
)
def test_digits_are_taken_for_their_label_by_a_classifier(tmp_path, train, call, flags, least):
    run = train(tmp_path, "r", *DIGITS, *flags)
    assert classify(tmp_path, call, run, 300).mean() >= least
