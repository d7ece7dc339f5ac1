"""parts/measure/quarters.py: hidden quarters of pictures against closed forms, and in scripts."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.special import xlogy
from scipy.stats import multivariate_normal
from sklearn.neighbors import KNeighborsRegressor

from parts.measure import quarters
from parts.model.likelihoods import LIKELIHOODS
from parts.plots.scores import anomaly_scores
from parts.runs import Run
from vae import VAE, Batch, Bernoulli, Gaussian

# Quarters


def test_quarters_are_pyros():
    found = [quarters.hidden((2, 2, 2), n).reshape(2, 2, 2).int().tolist() for n in (1, 2, 3)]
    expected = [[[1, 1], [0, 1]], [[0, 1], [0, 1]], [[0, 0], [0, 1]]]
    assert found == [[plane, plane] for plane in expected]
    assert quarters.hidden((3, 5), 3).sum() == 2 * 3  # odd sizes; a run of before


def linear_model(n_columns=4, noise=0.5):
    """p(x) Gaussian in closed form, and q(z|x) of no use but wide enough."""
    torch.manual_seed(0)
    model = VAE(Gaussian(n_columns, f"fixed:{noise}"), hidden_dims=(), z_dim=2)
    with torch.no_grad():
        model.encoder[0].weight.zero_()
        model.encoder[0].bias.zero_()
    w, b = (p.detach().double().numpy() for p in model.decoder[0].parameters())
    return model, b, w @ w.T + noise * np.eye(n_columns)


def test_log_px_hidden_is_the_conditional_of_a_gaussian():
    model, mean, covariance = linear_model()
    x = np.random.default_rng(0).multivariate_normal(mean, covariance, size=6)
    hidden = torch.tensor([True, False, True, False])
    seen = ~hidden.numpy()
    exact = multivariate_normal(mean, covariance).logpdf(x)
    exact = exact - multivariate_normal(mean[seen], covariance[seen][:, seen]).logpdf(x[:, seen])
    batch = Batch(torch.from_numpy(x).float())
    ratio, within, ess = quarters.log_px_hidden(model, batch, hidden, 100_000)
    np.testing.assert_allclose(ratio, exact, atol=0.03)
    np.testing.assert_allclose(within, exact, atol=0.03)
    assert (ess > 100).all()


def test_neighbours_are_scikit_learns(monkeypatch):
    rng = np.random.default_rng(0)
    train, x = rng.random((50, 12)), rng.random((9, 12))
    y, y_new = np.eye(2)[rng.integers(2, size=50)], np.eye(2)[rng.integers(2, size=9)]
    hidden = np.arange(12) % 3 == 0
    monkeypatch.setattr(quarters, "N_DISTANCES_AT_A_TIME", 200)  # four rows at a time
    alone = []
    for given in ((), (y, y_new)):  # to it labels are seen numbers like the others
        seen = [train[:, ~hidden], x[:, ~hidden]]
        if given:
            seen = [np.hstack(pair) for pair in zip(seen, given, strict=True)]
        knn = KNeighborsRegressor(1).fit(seen[0], train[:, hidden])
        pairs = [(train, *given[:1]), (x, *given[1:])]
        batches = [Batch(*map(torch.from_numpy, pair)) for pair in pairs]
        alone.append(quarters.nearest_neighbour(*batches, torch.from_numpy(hidden)))
        np.testing.assert_allclose(alone[-1], knn.predict(seen[1]))
    assert not torch.equal(*alone)


def test_errors_and_the_report_are_of_hidden_pixels():
    model, mean, covariance = linear_model()
    rng = np.random.default_rng(1)
    train, test = (
        torch.from_numpy(rng.multivariate_normal(mean, covariance, n)).float() for n in (400, 300)
    )
    result = quarters.check(model, Batch(train), Batch(test), (1, 2, 2), 2000)
    for n_seen in (1, 2, 3):
        cut = quarters.hidden((1, 2, 2), n_seen).numpy()
        gain = covariance[cut][:, ~cut] @ np.linalg.inv(covariance[~cut][:, ~cut])
        guess = mean[cut] + (test.numpy()[:, ~cut] - mean[~cut]) @ gain.T
        errors = result["quarters"][n_seen]["mse"]
        exact = np.square(guess - test.numpy()[:, cut]).mean()
        assert errors["VAE"] == pytest.approx(exact, rel=0.02)
        alone = np.square(train.numpy()[:, cut].mean(0) - test.numpy()[:, cut]).mean()
        assert errors["mean"] == pytest.approx(alone, rel=1e-5)
    lines = quarters.report(result).splitlines()
    assert len(lines) == 2 + 3
    assert f"{errors['VAE']:.4f}" in lines[-1]


# The mask among the features


@pytest.mark.parametrize("name", ["bernoulli", "gaussian", "logistic"])
def test_features_tell_a_hidden_pixel_from_a_black_one(name):
    likelihood = LIKELIHOODS[name](3)
    x, mask = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[1.0, 1.0, 0.0]])
    assert torch.equal(likelihood.features(x, mask), x)
    likelihood.sees_mask = True
    assert likelihood.features(x, mask).tolist() == [[0, 1, 0, 1, 1, 0]]
    assert likelihood.features(x).tolist() == [[0, 1, 0, 1, 1, 1]]


def test_no_cross_entropy_lies_below_the_entropy():
    x = torch.tensor([[0.0, 1.0, 1.0], [0.5, 0.25, 1.0]])
    likelihood = Bernoulli(3)
    p = x.double().numpy()
    exact = -(xlogy(p, p) + xlogy(1 - p, 1 - p)).sum(1)
    np.testing.assert_allclose(likelihood.entropy(x), exact, atol=1e-6)
    best = likelihood.log_prob(torch.logit(x, eps=1e-7), x)  # each pixel's own probability
    np.testing.assert_allclose(-best, exact, atol=1e-4)
    bits = itertools.product((0, 1), repeat=3)
    q = np.array([np.prod(np.where(b, p[1], 1 - p[1])) for b in bits])
    assert -(q * np.log(np.maximum(q, 1e-300))).sum() == pytest.approx(exact[1])
    assert not Gaussian(3).entropy(x).any()


# Through the scripts


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train):
    """A folder with bars.npz, runs `bars` (mlp) and `conv` on them, and `colours` on colours."""
    folder = tmp_path_factory.mktemp("quadrants")
    rng = np.random.default_rng(0)
    bars = np.zeros((300, 6, 5), np.float32)
    bars[np.arange(300), :, rng.integers(5, size=300)] = 1  # one upright bar
    np.savez(folder / "bars.npz", X=bars)
    flags = ("--data", folder / "bars.npz", "--hide-rate", 0.8, "--threads", 1, "--lr", 0.01)
    train(folder / "runs", "bars", *flags, "--epochs", 60, "--latent-dim", 3)
    conv = ("--network", "conv", "--hidden-dims", 4, 8, "--epochs", 2)
    train(folder / "runs", "conv", *flags, *conv)
    np.savez(folder / "colours.npz", X=rng.random((40, 3, 4, 4)).astype(np.float32))
    gaussian = ("--likelihood", "gaussian", "--variance", "shared", "--epochs", 2, "--threads", 1)
    train(folder / "runs", "colours", "--data", folder / "colours.npz", *gaussian)
    return folder


def test_missing_pixels_are_filled_and_others_stay(call, folder):
    with np.load("bars.npz") as arrays:
        x = arrays["X"][:8].astype(np.float64)
    holes = x.copy()
    holes[:6, 2:] = np.nan
    np.savez("holes.npz", X=holes, y=np.arange(8), note="mine")
    result = call("impute", "holes.npz", "--run", "bars", "--draws", 2, "--check")
    assert (result.code, result.err) == (0, "")
    assert "Filled 120 pixels in 6 of 8 pictures" in result.out
    with np.load("holes.imputed.npz") as arrays:
        filled, others = arrays["X"], (arrays["y"], str(arrays["note"]))
    np.testing.assert_array_equal(others[0], np.arange(8))
    assert (filled.shape, filled.dtype, others[1]) == (x.shape, x.dtype, "mine")
    seen = ~np.isnan(holes)
    np.testing.assert_array_equal(filled[seen], holes[seen])
    assert np.abs(filled - x).max() < 0.2  # a bar goes on
    with np.load("holes.imputed.2.npz") as arrays:
        assert set(np.unique(arrays["X"])) == {0, 1}
    sheet = np.asarray(Image.open("holes.imputed.png"))
    assert sheet.shape == (6 * (4 * 7 + 1), 6 * (6 * 6 + 1), 3)
    found = Run("runs/bars")._json(Run("runs/bars").path / "quadrants.json")["quarters"]
    assert {k for k, v in found.items() if v["mse"]["VAE"] < v["mse"]["mean"] / 2} >= {"3"}


def test_the_same_of_colours_and_of_a_convolution(call, folder):
    for run, shape in (("colours", (3, 3, 4, 4)), ("conv", (3, 6, 5))):
        x = np.random.default_rng(0).random(shape).astype(np.float32)
        x[..., 2:] = np.nan
        np.save(f"{run}.npy", x)
        result = call("impute", f"{run}.npy", "--run", run, "--out", f"{run}.out.npy")
        assert (result.code, result.err) == (0, "")
        assert ("trained on whole pictures" in result.out) == (run == "colours")
        filled = np.load(f"{run}.out.npy", allow_pickle=False)
        assert (filled.shape, filled.dtype) == (x.shape, x.dtype)
        assert np.isfinite(filled).all()


@pytest.mark.parametrize(
    ("flags", "fragment"),
    [
        ((), "need a run: train one on complete pictures"),
        (("--run", "bars", "--interval", 0.9), "go with tables"),
        (("--run", "colours"), "holds pictures of 6 x 5, and the run was trained on pictures of 4"),
        (("--run", "bars", "--out", "a.csv"), "expected a name ending in .npy or .npz"),
    ],
)
def test_what_pictures_cannot_be_filled_by(call, folder, flags, fragment):
    result = call("impute", "bars.npz", *flags)
    assert result.code == 2
    assert fragment in result.err
    assert len(result.err.splitlines()) == 1


def test_the_oddest_pictures_are_found_and_drawn(call, folder):
    with np.load("bars.npz") as arrays:
        x = arrays["X"][:60]
    x[[7, 31]] = x[[7, 31]].transpose(0, 2, 1).reshape(2, 6, 5)  # no bars
    x[50] *= 0.9  # greyer, not odd
    np.savez("odd.npz", X=x, y=np.isin(np.arange(60), (7, 31)).astype(int))
    flags = ("odd.npz", "--run", "bars", "--contamination", 0.05)
    result = call("detect", *flags, "--labels", "label")
    assert (result.code, result.err) == (0, "")
    lines = [line.split(",") for line in Path("odd.scored.csv").read_text().split()]
    scored = ["anomaly_score", "anomaly_nats", "is_anomaly", "anomaly_rank"]
    assert lines[0] == ["index", "label", *scored]
    assert {row[0] for row in lines[1:] if row[5] in ("1", "2")} == {"7", "31"}
    assert all(row[4] == "1" for row in (lines[8], lines[32]))
    sheet = np.asarray(Image.open("odd.scored.png"))
    assert sheet.shape == (6 * (5 * 7 + 1), 6 * (8 * 6 + 1), 3)
    with np.load("runs/bars/scores.npz") as arrays:
        axis = anomaly_scores(dict(arrays)).axes[0]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("anomaly score, nats", "share of pictures")
    again = call("detect", *flags, "--overwrite")
    assert again.code == 0
    assert lines == [line.split(",") for line in Path("odd.scored.csv").read_text().split()]


def test_pictures_to_score_need_a_run(call, folder):
    result = call("detect", "bars.npz")
    assert result.code == 2
    assert "need a run: train one on complete pictures" in result.err
