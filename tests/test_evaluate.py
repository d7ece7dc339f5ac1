"""parts/tasks/evaluate.py and evaluate.py: every metric against its value by hand."""

import json
import math

import numpy as np
import pytest
import scipy.stats
import torch
from numpy.lib.recfunctions import unstructured_to_structured
from torch import nn
from torch.distributions import Normal

import data as datasets
from evaluate import table
from parts.forms.pictures import sprites
from parts.forms.units import Column, log_det
from parts.measure import disentanglement
from parts.model.likelihoods import LIKELIHOODS
from parts.model.likelihoods.gaussian import MIN_VARIANCE
from parts.model.likelihoods.mixed import Mixed
from parts.runs import Run
from parts.tasks import evaluate as evaluating
from parts.tasks.evaluate import (
    baseline_reconstructions,
    describe_rows,
    evaluate,
    known_factors,
    measure_factors,
    units,
)
from vae import VAE, Batch, Bernoulli, Gaussian, kl_normal

Z_DIM = 3


def rows(n, n_columns=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, n_columns)).astype(np.float32)


def measured(model, train, test, **options):
    """`evaluate` of arrays without holes."""
    batches = [Batch(torch.from_numpy(x)) for x in (train, test)]
    return evaluate(model, *batches, **options)


def zeroed(likelihood, z_dim=Z_DIM):
    """A linear VAE of zeros: q = p, and the decoder gives 0 whatever z."""
    model = VAE(likelihood, (), z_dim)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    return model


@torch.no_grad()
def known_model(scale):
    """q(z|x) = N(scale[i] * x_i, 1) in latent i; p(x|z) = N((1, 0, 0, 0), I) whatever z."""
    model = zeroed(Gaussian(4, "fixed:1.0"), len(scale))
    for i, value in enumerate(scale):
        model.encoder[0].weight[i, i] = value
    model.decoder[0].bias[0] = 1
    return model


def test_metrics_of_a_known_model_are_those_by_hand():
    """The decoder ignores z, so log p(x) is known, and the KL is |mu|^2 / 2."""
    train, test = rows(50), rows(20, seed=1)
    metrics, figures = measured(known_model([1.0, 0.5]), train, test, n_samples=5000)
    x = test.astype(float)
    mean = np.array([1.0, 0, 0, 0])
    log_px = Normal(0, 1).log_prob(torch.from_numpy(x - mean)).sum(1).numpy()
    kl = 0.5 * (x[:, 0] ** 2 + 0.25 * x[:, 1] ** 2)
    assert metrics["test_mse"] == pytest.approx(np.mean((x - mean) ** 2), rel=1e-6)
    assert metrics["kl"] == pytest.approx(kl.mean(), rel=1e-6)
    assert metrics["elbo"] == pytest.approx((log_px - kl).mean(), abs=0.03)
    assert metrics["log_px"] == pytest.approx(log_px.mean(), abs=0.06)
    assert metrics["baseline_mse_mean"] == pytest.approx(
        np.mean((x - train.mean(0)) ** 2), rel=1e-6
    )
    np.testing.assert_allclose(figures["mu"], x[:, :2] * [1.0, 0.5], rtol=1e-6)
    np.testing.assert_allclose(figures["recon"], np.tile(mean, (20, 1)), atol=1e-7)
    np.testing.assert_allclose(figures["std"], np.ones((20, 4)), rtol=1e-6)
    expected = [0.5 * np.mean(x[:, 0] ** 2), 0.125 * np.mean(x[:, 1] ** 2)]
    np.testing.assert_allclose(figures["kl_per_dim"], expected, rtol=1e-5)
    per_column = np.mean((x - mean) ** 2, 0)
    np.testing.assert_allclose(figures["mse_per_column"], per_column, rtol=1e-5)
    per_column = np.mean((x - train.mean(0)) ** 2, 0)
    np.testing.assert_allclose(figures["mse_per_column_mean"], per_column, rtol=1e-5)


def test_estimates_are_exact_where_q_is_the_posterior():
    """The decoder ignores z and q = p, so every weight is p(x) and the error is known."""
    test = rows(20, seed=1)
    metrics, _ = measured(zeroed(Gaussian(4, "fixed:0.5")), rows(50), test, n_samples=30)
    log_px = Normal(0, 0.5**0.5).log_prob(torch.from_numpy(test).double()).sum(1).numpy()
    assert metrics["log_px"] == pytest.approx(log_px.mean(), abs=1e-5)
    assert metrics["elbo"] == pytest.approx(log_px.mean(), abs=1e-5)
    error = math.sqrt(sum((log_px - log_px.mean()) ** 2) / 19) / math.sqrt(20)
    assert metrics["log_px_se"] == pytest.approx(error, abs=1e-5)
    assert metrics["kl"] == 0
    assert metrics["ess"] == pytest.approx(30, abs=1e-3)
    assert (metrics["n_test"], metrics["n_samples"]) == (20, 30)


def test_active_units_are_the_latents_whose_mean_varies_by_more_than_a_hundredth():
    x = rows(4000)  # of variance 1, so latent i's mean has variance scale[i] ** 2
    scale = [1.0, 0.15, 0.05, 0.0]
    assert measured(known_model(scale), x[:100], x, n_samples=1)[0]["active_units"] == 2
    model = known_model([0.0, 0.0])
    nn.init.constant_(model.encoder[0].bias, 3.0)  # far from the prior, but the same for all rows
    assert measured(model, x[:100], x, n_samples=1)[0]["active_units"] == 0


def projected(train, test, n_components):
    """Test rows on the leading principal axes of the training rows, by an SVD."""
    train, test = train.astype(float), test.astype(float)
    mean = train.mean(0)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2][:n_components]
    return mean + (test - mean) @ axes.T @ axes


@pytest.mark.parametrize(
    ("n_train", "n_columns", "z_dim"),
    [(50, 4, 2), (50, 4, 9), (3, 6, 2), (600, 80, 4)],
    ids=["small", "more latents than columns", "fewer rows than columns", "large"],
)
def test_baseline_mse_are_those_of_the_training_mean_and_of_an_svd(n_train, n_columns, z_dim):
    train, test = rows(n_train, n_columns), rows(20, n_columns, seed=1) + 0.5
    batches = [Batch(torch.from_numpy(x)) for x in (train, test)]
    mean, pca = baseline_reconstructions(Gaussian(n_columns), *batches, z_dim)
    np.testing.assert_allclose(mean, np.tile(train.mean(0), (20, 1)), atol=1e-6)
    expected = projected(train, test, min(z_dim, n_train, n_columns))
    np.testing.assert_allclose(pca, expected, atol=1e-4)
    metrics, _ = measured(zeroed(Gaussian(n_columns), z_dim), train, test, n_samples=1)
    assert metrics["baseline_mse_pca"] == pytest.approx(np.mean((test - expected) ** 2), abs=1e-6)


@pytest.mark.parametrize("members", [1, 3])
def test_pca_has_as_many_components_as_all_members_have_latents(members):
    train, test = rows(50, 9), rows(20, 9, seed=1)
    model = VAE(Gaussian(9), (), 2, members=members)
    metrics, figures = measured(model, train, test, n_samples=members)
    error = (test - projected(train, test, 2 * members)) ** 2
    assert metrics["baseline_mse_pca"] == pytest.approx(error.mean(), abs=1e-6)
    np.testing.assert_allclose(figures["mse_per_column_pca"], error.mean(0), atol=1e-5)
    assert figures["kl_per_dim"].shape == (2 * members,)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a second device")
@pytest.mark.parametrize("name", ["gaussian", "bernoulli", "mixed"])
def test_rows_on_the_cpu_are_measured_by_a_model_on_another_device(name):
    train, test = ((rows(n, 4, seed=n) > 0).astype(np.float32) for n in (50, 20))
    model = VAE(LIKELIHOODS[name].of([Column(c) for c in "abcd"]), (5,), 2)
    (here, figures), (there, others) = (
        measured(model.to(device), train, test, n_samples=3000) for device in ("cpu", "cuda")
    )
    for metric in ("test_mse", "kl", "baseline_mse_mean", "baseline_log_px_diagonal"):
        assert there[metric] == pytest.approx(here[metric], rel=1e-4)
    assert there["log_px"] == pytest.approx(here["log_px"], abs=0.02)  # of other draws
    np.testing.assert_allclose(others["mu"], figures["mu"], atol=1e-4)


def test_baseline_log_px_are_those_of_the_likelihood():
    train, test = rows(50), rows(20, seed=1)
    metrics, _ = measured(zeroed(Gaussian(4)), train, test, n_samples=1)
    mean, variance = train.astype(float).mean(0), train.astype(float).var(0) + MIN_VARIANCE
    diagonal = Normal(torch.from_numpy(mean), torch.from_numpy(variance).sqrt())
    expected = diagonal.log_prob(torch.from_numpy(test).double()).sum(1).mean().item()
    assert metrics["baseline_log_px_diagonal"] == pytest.approx(expected, rel=1e-9)
    assert metrics["baseline_log_px_gaussian"] != pytest.approx(expected, rel=1e-3)


def test_a_binary_model_has_no_gaussian_baseline():
    """With logits of 0 each of four columns costs log 2, and the mean of x is a half."""
    x = (rows(50) > 0).astype(np.float32)
    metrics, figures = measured(zeroed(Bernoulli(4)), x, x, n_samples=3)
    assert metrics["log_px"] == pytest.approx(-4 * math.log(2), abs=1e-5)
    assert metrics["test_mse"] == 0.25
    assert (figures["recon"] == 0.5).all()
    assert metrics["baseline_log_px_gaussian"] is None
    assert metrics["baseline_log_px_diagonal"] >= metrics["log_px"]  # fitted to these very rows


@pytest.mark.parametrize("likelihood", [Gaussian, Bernoulli])
def test_metrics_are_those_of_units_as_plain_numbers(likelihood):
    x = (rows(30) > 0).astype(np.float32)
    metrics, _ = measured(VAE(likelihood(4), (5,), 2), x, x, n_samples=2)
    assert set(metrics) == set(units("standardised units"))
    assert {type(value) for value in metrics.values()} <= {int, float, type(None)}
    assert all(math.isfinite(value) for value in metrics.values() if value is not None)


def test_one_test_row_has_no_standard_error():
    metrics, _ = measured(VAE(Gaussian(4), (5,), 2), rows(30), rows(1), n_samples=2)
    assert metrics["log_px_se"] is None
    assert metrics["active_units"] == 0


@pytest.mark.parametrize(("n_train", "n_columns"), [(50, 4), (600, 80)])
def test_evaluating_twice_gives_the_same_numbers_and_leaves_random_states(n_train, n_columns):
    model = VAE(Gaussian(n_columns), (5,), 4).train()
    train, test = rows(n_train, n_columns), rows(20, n_columns, seed=1)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()  # noqa: NPY002
    first, _ = measured(model, train, test, n_samples=7)
    assert torch.equal(torch.get_rng_state(), torch_before)
    np.testing.assert_equal(np.random.get_state(), numpy_before)  # noqa: NPY002
    torch.rand(3)
    assert measured(model, train, test, n_samples=7)[0] == first
    assert measured(model, train, test, n_samples=7, seed=1)[0]["log_px"] != first["log_px"]
    assert model.training


def test_description_of_rows_does_not_depend_on_chunks(monkeypatch):
    model = VAE(Gaussian(4), (5,), 2)
    batch = Batch(torch.randn(23, 4))
    whole = describe_rows(model, batch, with_std=True)
    monkeypatch.setattr(evaluating, "CHUNK_FLOATS", 5 * model.width)
    for in_pieces, at_once in zip(describe_rows(model, batch, True), whole, strict=True):
        torch.testing.assert_close(in_pieces, at_once)
    recon, mu, kl_per_dim, std = whole
    params = model.decode(model.encode(batch.x)[0])
    torch.testing.assert_close(recon, params[:, :4].detach())
    torch.testing.assert_close(std, (params[:, 4:].exp() + MIN_VARIANCE).sqrt().detach())
    kl = kl_normal(*model.encode(batch.x))
    torch.testing.assert_close(kl_per_dim.sum(-1), kl.detach())
    torch.testing.assert_close(mu, model.encode(batch.x)[0].detach())


def test_mse_is_summed_in_double_precision():
    """float32 cannot hold 2 ** 24 + 1: adding ones to it one by one would stop there."""
    x = np.full((1, 3), 4096.0, np.float32)
    x[0, 1:] = 1.0
    metrics, _ = measured(zeroed(Gaussian(3, "fixed:1.0")), rows(9, 3), x, n_samples=1)
    assert metrics["test_mse"] == (4096**2 + 2) / 3


# A table of mixed columns with holes

COLUMNS = [
    Column("job", kind="categorical", levels=list("abc")),
    Column("rent", shift=0.3, scale=1.7, curve="asinh", centre=40.0, spread=12.0),
    Column("visits", kind="count", centre=0.9, spread=0.6),
    Column("pay", kind="positive", shift=2.0, scale=0.5, curve="log", offset=0.25),
    Column("rating", kind="ordinal", levels=list("12345")),
    Column("member", kind="binary", levels=["no", "yes"]),
    Column("size", shift=-4.0, scale=3.0),
]


def table_rows(n, seed=0):
    """A Batch in model units, a quarter of its cells missing; one column has no cell at all of
    the first row."""
    rng = np.random.default_rng(seed)
    codes = rng.integers(3, size=n), rng.poisson(2.0, n), rng.integers(5, size=n)
    normal = rng.standard_normal((3, n))
    bit = rng.integers(2, size=n)
    x = np.stack([codes[0], normal[0], codes[1], normal[1], codes[2], bit, normal[2]], -1)
    mask = rng.random(x.shape) > 0.25
    seen = torch.from_numpy(np.where(mask, x, 0).astype(np.float32))
    return Batch(seen, None, torch.from_numpy(mask.astype(np.float32)))


def known_table_model():
    """Its decoder ignores z: every cell has the same distribution in every row."""
    model = zeroed(Mixed(COLUMNS, "fixed:0.5"))
    with torch.no_grad():
        model.decoder[0].bias.copy_(torch.tensor([0.4, -0.2, 0.1, 0.3, 0.7, 0.0, 0.5, 1.0, -1.0]))
        model.likelihood.blocks["ordinal"].first.fill_(-1.5)
        model.likelihood.blocks["ordinal"].raw_gaps.fill_(0.2)
        model.likelihood.blocks["count"].raw_log_r.fill_(1.0)
    return model


def by_hand(x):
    """log p of every cell under `known_table_model`, and its reconstruction."""
    sigmoid = scipy.special.expit
    log_p = np.empty(x.shape)
    for j, mean in ((1, 0.4), (3, -0.2), (6, 0.1)):
        log_p[:, j] = scipy.stats.norm(mean, 0.5**0.5).logpdf(x[:, j])
    count, r = math.exp(0.9 + 0.6 * 0.3), math.e
    log_p[:, 2] = scipy.stats.nbinom(r, r / (r + count)).logpmf(x[:, 2])
    log_p[:, 5] = scipy.stats.bernoulli(sigmoid(0.7)).logpmf(x[:, 5])
    log_p[:, 0] = scipy.special.log_softmax([0.0, 0.5, 1.0])[x[:, 0].astype(int)]
    gap = math.log1p(math.exp(0.2)) + 1e-3
    below = sigmoid(-1.5 + gap * np.arange(4) + 1.0)
    log_p[:, 4] = np.log(np.diff(np.r_[0, below, 1]))[x[:, 4].astype(int)]
    median = (below < 0.5).sum()
    return log_p, np.array([2, 0.4, count, -0.2, median, sigmoid(0.7), 0.1])


def test_metrics_of_a_table_with_holes_are_those_by_hand():
    """Errors are summed over observed cells, each kind of column by its own error."""
    train, test = table_rows(60), table_rows(40, seed=1)
    metrics, figures = evaluate(known_table_model(), train, test, n_samples=3, columns=COLUMNS)
    x, seen = test.x.double().numpy(), test.mask.numpy() > 0
    log_p, recon = by_hand(x)
    errors = np.square(x - recon)
    errors[:, 0] = x[:, 0] != 2
    errors[:, 2] = np.square((np.log1p(x[:, 2]) - np.log1p(recon[2])) / 0.6)
    errors[:, 4] = np.abs(x[:, 4] - recon[4]) / 4
    errors[:, 5] = x[:, 5] != 1
    assert metrics["test_mse"] == pytest.approx(errors[seen].mean(), rel=1e-5)
    per_column = [errors[seen[:, j], j].mean() for j in range(7)]
    np.testing.assert_allclose(figures["mse_per_column"], per_column, rtol=1e-4)
    # Each real cell is measured in its spread: of the curve, only the asinh's bend is left.
    g = x[:, 1] * 1.7 + 0.3
    bend = np.where(seen[:, 1], -np.log(np.cosh(g / 5)), 0)
    rows_of = np.where(seen, log_p, 0).sum(1)
    assert metrics["log_px"] == pytest.approx((rows_of + bend).mean(), rel=1e-5)
    assert metrics["elbo"] == pytest.approx((rows_of + bend).mean(), rel=1e-5)
    assert metrics["kl"] == 0
    assert np.isnan(figures["x"][~seen]).all()
    np.testing.assert_allclose(figures["x"][seen], x[seen])


def test_log_px_in_the_users_units_adds_the_slope_of_every_observed_cell():
    """The slope is a numerical derivative of `Column.to_model` at the user's value."""
    train, test = table_rows(60), table_rows(40, seed=1)
    metrics, _ = evaluate(known_table_model(), train, test, n_samples=3, columns=COLUMNS)
    x, seen = test.x.double().numpy(), test.mask.numpy() > 0
    log_px = np.where(seen, by_hand(x)[0], 0).sum(1)
    for j in (1, 3, 6):
        value = COLUMNS[j].to_user(x[:, j])
        step = 1e-5 * np.maximum(1, np.abs(value))
        ends = [COLUMNS[j].to_model(value + sign * step) for sign in (1, -1)]
        log_px += np.where(seen[:, j], np.log((ends[0] - ends[1]) / (2 * step)), 0)
    assert metrics["log_px_user"] == pytest.approx(log_px.mean(), rel=1e-5)
    assert abs(metrics["log_px_user"] - metrics["log_px"]) > 1
    assert evaluate(known_table_model(), train, test, n_samples=3)[0]["log_px_user"] is None


def test_baselines_of_a_table_know_each_columns_marginal_and_no_gaussian():
    """Baselines are in the units of log p(x), so they too count the slope of the asinh."""
    train, test = table_rows(60), table_rows(40, seed=1)
    model = known_table_model()
    metrics, figures = evaluate(model, train, test, n_samples=3, columns=COLUMNS)
    x, seen = train.x.double().numpy(), train.mask.numpy() > 0
    y, there = test.x.double().numpy(), test.mask.numpy() > 0
    total, center = 0.0, []
    for j, column in enumerate(COLUMNS):
        known, cells = x[seen[:, j], j], y[there[:, j], j]
        if column.levels:
            counts = np.bincount(known.astype(int), minlength=len(column.levels))
            shares = (counts + 0.5) / (counts + 0.5).sum()
            total += np.log(shares)[cells.astype(int)].sum()
            middle = {"ordinal": np.median(known), "binary": known.mean()}
            center.append(middle.get(column.kind, counts.argmax()))
        elif column.kind == "count":
            mean, variance = known.mean(), known.var()
            r = np.clip(mean**2 / max(variance - mean, 1e-3 * mean**2), 0.01, 1e5)
            total += scipy.stats.nbinom(r, r / (r + mean)).logpmf(cells).sum()
            center.append(mean)
        else:
            std = (known.var() + 0.01) ** 0.5
            total += scipy.stats.norm(known.mean(), std).logpdf(cells).sum()
            center.append(known.mean())
    bend = log_det(y, COLUMNS, there, user=False).sum()
    assert bend < -1
    assert metrics["baseline_log_px_diagonal"] == pytest.approx((total + bend) / 40, rel=1e-5)
    assert metrics["baseline_log_px_gaussian"] is metrics["baseline_mse_pca"] is None
    mean, pca = baseline_reconstructions(model.likelihood, train, test, Z_DIM)
    np.testing.assert_allclose(mean, np.tile(center, (40, 1)), rtol=1e-5)
    assert pca is None
    errors = model.likelihood.cell_errors(test.x, torch.tensor(np.array(mean))).numpy()
    assert metrics["baseline_mse_mean"] == pytest.approx(errors[there].mean(), rel=1e-5)
    per_column = [errors[there[:, j], j].mean() for j in range(7)]
    np.testing.assert_allclose(figures["mse_per_column_mean"], per_column, rtol=1e-4)


def test_a_test_column_of_holes_only_has_no_error_and_spoils_no_other():
    train, test = table_rows(60), table_rows(40, seed=1)
    test.mask[:, 3] = 0
    metrics, figures = evaluate(known_table_model(), train, test, n_samples=3, columns=COLUMNS)
    assert figures["mse_per_column"][3] == 0
    assert all(math.isfinite(value) for value in metrics.values() if value is not None)


def test_the_table_shows_the_metrics_it_is_given():
    metrics = dict.fromkeys(units("standardised units"), 0.0) | {
        "elbo": -12.3456,
        "kl": 6.93147,
        "log_px": -11.5,
        "log_px_user": -21.75,
        "log_px_se": 0.25,
        "active_units": 3,
        "n_samples": 70,
        "baseline_log_px_gaussian": -13.5,
        "baseline_log_px_diagonal": -14.25,
    }
    lines = [line.split() for line in table(metrics, Gaussian(2)).splitlines()]
    assert ["ELBO", "-12.346", "nats,", "or", "-17.81", "bits"] in lines  # -12.3456 / log 2
    assert ["6.931", "nats,", "or", "10.00", "bits"] in [line[3:] for line in lines]
    assert ["log", "p(x)", "-11.500", "±", "0.25"] in [line[:5] for line in lines]
    assert lines[1][-2:] == ["70", "samples"]
    assert ["-21.750"] in [line[4:5] for line in lines]
    assert ["active", "units", "3"] in [line[:3] for line in lines]
    text = table(metrics | {"log_px_se": None}, Bernoulli(2))
    assert "±" not in text
    assert "one Gaussian" not in text
    assert "-14.250" in text


# Known factors


@pytest.fixture(scope="module")
def sprites_runs(tmp_path_factory, train):
    runs_dir = tmp_path_factory.mktemp("sprites")
    flags = ("--data", "sprites", "--n-rows", 300, "--epochs", 1, "--latent-dim", 3)
    train(runs_dir, "one", *flags)
    train(runs_dir, "two", *flags, "--members", 2)
    train(runs_dir, "flow", *flags, "--flow", "planar:1")
    return runs_dir


def test_factors_are_measured_on_all_splits_and_written_like_the_rest(sprites_runs, call):
    flags = ("--runs-dir", sprites_runs, "--run", "one", "--n-samples", 2)
    result = call("evaluate", *flags, "--factors")
    assert result.code == 0, result.err
    found = json.loads((sprites_runs / "one" / "metrics.json").read_text())
    assert set(disentanglement.UNIT_OF_METRIC) < set(found)
    assert set(found["units"]) | {"units", "epoch"} == set(found)
    assert found["n_factor_rows"] == 300
    assert list(found["mig_per_factor"]) == ["shape", "scale", "orientation", "x", "y"]
    assert f"{found['mig']:.3f} ± {found['mig_se']:.3f}" in result.out
    assert "accuracy, by chance 0.200" in result.out
    again = call("evaluate", *flags, "--factors")
    assert again.out == result.out
    plain = call("evaluate", *flags)
    assert "MIG" not in plain.out
    assert "mig" not in json.loads((sprites_runs / "one" / "metrics.json").read_text())


def test_factors_measured_are_those_of_the_models_own_posterior(sprites_runs):
    """q(z|x) of a row stands beside the factors of that row, also in chunks and parts."""
    fitted, _ = Run(sprites_runs / "one").load()
    data, model = datasets.load(fitted.config.data, fitted.codec), fitted.model
    batch, codes = known_factors(data, model, 0)
    names = list(codes)
    factors = unstructured_to_structured(np.stack([codes[n] for n in names], -1), names=names)
    np.testing.assert_allclose(batch.x.numpy(), sprites.draw(factors, 16), atol=1e-6)
    found = measure_factors(model, batch, codes, 5)
    mu, logvar = (t.detach().numpy() for t in model.encode(batch.x))
    expected = disentanglement.measure(mu, logvar, codes, 5)
    for by_name in (found, expected):
        by_name |= by_name.pop("mig_per_factor")
    assert found == pytest.approx(expected, abs=1e-5)


def test_many_rows_are_measured_by_a_random_part(sprites_runs, monkeypatch):
    monkeypatch.setattr(disentanglement, "MAX_FACTOR_ROWS", 250)
    fitted, _ = Run(sprites_runs / "one").load()
    data, model = datasets.load(fitted.config.data, fitted.codec), fitted.model
    (first, codes), (other, _) = (known_factors(data, model, s) for s in (0, 1))
    assert len(first.x) == len(codes["x"]) == 250
    assert len(torch.unique(first.x, dim=0)) == 250
    assert not torch.equal(first.x, other.x)


def test_factors_that_are_not_known_are_refused(tiny_run, sprites_runs, call):
    for folder, reason in (
        (
            tiny_run,
            "the rows of iris have no known factors; expected the data sprites, or an .npz file",
        ),
        (sprites_runs / "two", "this model has 2 members; train one with 1"),
        (sprites_runs / "flow", "the flow of this model mixes them; train one without a flow"),
    ):
        result = call("evaluate", "--run", folder, "--factors")
        assert (result.code, result.out.count("MSE")) == (2, 0)
        assert reason in result.err
        assert result.err.count("\n") == 1


def test_remarks_name_what_is_clearly_better():
    model = VAE(Gaussian(20), (8,), 4)
    fine = {
        "test_mse": 0.4,
        "baseline_mse_mean": 1.0,
        "baseline_mse_pca": 0.5,
        "kl": 3.0,
        "log_px": -20.0,
        "log_px_se": 0.2,
        "baseline_log_px_gaussian": -20.5,
        "baseline_log_px_diagonal": -25.0,
    }
    assert evaluating.remarks(fine, model) == []
    (pca,) = evaluating.remarks(fine | {"test_mse": 0.6}, model)
    assert "above PCA's (0.6000 against 0.5000)" in pca
    assert (
        evaluating.remarks(fine | {"test_mse": 0.6}, VAE(Gaussian(3), (8,), 4)) == []
    )  # PCA has no error
    (blind,) = evaluating.remarks(fine | {"test_mse": 0.99}, model)
    assert "hardly better than the training mean" in blind
    (density,) = evaluating.remarks(fine | {"baseline_log_px_gaussian": -18.0}, model)
    assert "better: the log p(x) of one Gaussian is 2.0 nats a row higher" in density
    assert (
        evaluating.remarks(fine | {"baseline_log_px_gaussian": -19.5}, model) == []
    )  # within three errors


def test_the_latents_that_carry_the_nats_are_counted():
    assert evaluating.carrying_units(np.array([0.1, 3.0, 2.7, 0.2]), 6.0) == {
        "carrying_units": 2,
        "carried_nats": pytest.approx(5.7),
    }
    assert (
        evaluating.carrying_units(np.array([1.0, 1.0]), 5.0)["carrying_units"] is None
    )  # a flow's
