"""parts/forms/conditions.py: cells to y and back, closed forms of p(x | y), conditional runs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm

import data as datasets
from parts.errors import UserError
from parts.forms import conditions, units
from parts.forms.base import Codec, Reference
from parts.forms.config import DataConfig
from parts.forms.tables import kinds
from parts.forms.tables.form import Tables
from parts.model.build import Space, build_model
from parts.model.importance import resample
from parts.runs import Run
from parts.tasks import sample
from parts.tasks.fit import Fitted
from parts.tasks.score import Scorer
from vae import VAE, Batch, Gaussian

GROUPS = ("a", "b", "c")
SLOPE, NOISE = 2.0, 0.3


def shop(n, seed):
    """x is 3 group + SLOPE size + NOISE, n counts more in group c; ids and colours tell nothing."""
    rng = np.random.default_rng(seed)
    group, size = rng.choice(3, n, p=[0.5, 0.3, 0.2]), rng.normal(size=n).round(3)
    x = 3 * group + SLOPE * size + NOISE * rng.normal(size=n)
    frame = {
        "id": [f"N{i * 7919 % 10007}" for i in range(n)],
        "group": np.array(GROUPS)[group],
        "x": [f"{v:.3f}" for v in x],
        "size": [f"{v:.3f}" for v in size],
        "n": rng.poisson(np.array([0.5, 1.0, 6.0])[group]),
        "colour": rng.choice(["red", "green"], n),
    }
    return pd.DataFrame(frame).astype("str")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train):
    """A folder with t.csv, a tenth of whose cells are missing, runs/r given group and size, and
    runs/u of the same columns without them."""
    folder = tmp_path_factory.mktemp("conditions")
    frame = shop(700, 0)
    holes = np.random.default_rng(1).random(frame.shape) < 0.1
    holes[:, 0] = False
    frame = frame.mask(holes, "")
    frame.to_csv(folder / "t.csv", index=False)
    flags = ("--epochs", 100, "--lr", 0.01, "--hidden-dims", 32, "--threads", 1, "--members", 1)
    flags = ("--data", folder / "t.csv", *flags, "--variance", "column", "--val-fraction", 0.2)
    train(folder / "runs", "r", *flags, "--condition", "group,size")
    train(folder / "runs", "u", *flags, "--kind", "group=ignore", "--kind", "size=ignore")
    return folder


@pytest.fixture
def said(call, folder):
    """said(script, *args): what a script that succeeds prints, in the trained folder."""

    def run(script, *args):
        result = call(script, *args)
        assert (result.code, result.err) == (0, ""), result.err
        return result.out

    return run


@pytest.fixture
def made(said):
    def run(*flags, name="r"):
        run.out = said("generate", "--run", name, "--out", "new.csv", "--overwrite", *flags)
        return pd.read_csv("new.csv", dtype=str, na_filter=False)

    return run


# Cells <-> y

COLUMNS = [
    kinds.fit_column("job", pd.Series(["cook", "nurse", "clerk", "nurse"] * 9, dtype="str")),
    kinds.fit_column("age", pd.Series([f"{v}" for v in range(20, 60)], dtype="str"), "real"),
    kinds.fit_column("visits", pd.Series(["0", "1", "3", "8"] * 9, dtype="str"), "count"),
    kinds.fit_column("member", pd.Series(["yes", "no"] * 9, dtype="str")),
]
COLUMNS = [replace(column, condition=True) for column in COLUMNS]


def test_levels_are_one_hot_numbers_scaled_with_a_1_and_the_unknown_0():
    frame = pd.DataFrame(
        {
            "job": ["nurse", "cook", "", "pilot"],
            "age": ["40", "", "31", "?"],
            "visits": ["3", "0", "-1", ""],
            "member": ["no", "yes", "yes", "NA"],
        },
        dtype="str",
    )
    y, notes = conditions.encode(frame, COLUMNS)
    assert conditions.sizes(COLUMNS) == [3, 2, 2, 2]
    np.testing.assert_array_equal(y[:, :3], [[0, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0]])
    age = COLUMNS[1].to_model(np.array([40.0, 31.0]))
    np.testing.assert_allclose(y[:, 3:5], [[age[0], 1], [0, 0], [age[1], 1], [0, 0]], rtol=1e-6)
    logs = np.log1p([0, 1, 3, 8])
    scaled = (np.log1p([3, 0]) - logs.mean()) / logs.std()
    expected = [[scaled[0], 1], [scaled[1], 1], [0, 0], [0, 0]]
    np.testing.assert_allclose(y[:, 5:7], expected, rtol=1e-5)
    np.testing.assert_array_equal(y[:, 7:], [[1, 0], [0, 1], [0, 1], [0, 0]])
    said = "\n".join(notes)
    assert "'pilot' in row 4, which is no level of the training rows" in said
    assert "condition 'job': 2 cells are not known" in said
    assert "condition 'member': 1 cell " in said


def test_y_is_turned_back_into_the_same_cells():
    rng = np.random.default_rng(0)
    columns = [
        rng.integers(0, 3, 50),
        rng.normal(size=50),
        rng.poisson(3, 50),
        rng.integers(0, 2, 50),
    ]
    x = np.stack(columns, -1).astype(np.float32)
    mask = (rng.random(x.shape) < 0.8).astype(np.float32)
    x = x * mask
    found, known = conditions.from_y(conditions.to_y(x, mask, COLUMNS), COLUMNS)
    np.testing.assert_array_equal(known, mask)
    np.testing.assert_allclose(found, x, atol=1e-6)
    beside, _ = conditions.with_conditions_as_columns(
        x, mask, conditions.to_y(x, mask, COLUMNS), COLUMNS
    )
    np.testing.assert_allclose(beside, np.hstack([x, x]), atol=1e-6)


def test_labels_of_few_values_are_categories_and_others_numbers():
    def kind_of(labels):
        return conditions.fit_column("label", pd.Series(labels), is_label=True).kind

    rng = np.random.default_rng(0)
    assert kind_of(np.tile([0, 1, 7], 20)) == "categorical"
    assert kind_of(np.tile(["cat", "dog"], 20)) == "categorical"
    assert kind_of(rng.normal(size=60)) == "real"
    assert kind_of(np.arange(60, 360)[rng.permutation(300)] * 3.0) == "real"


def test_conditions_that_are_not_given_come_from_the_rows_that_agree():
    rng = np.random.default_rng(0)
    job, age = rng.integers(0, 3, 900), rng.normal(size=900)
    age = (age + 4 * job).astype(np.float32)
    two = COLUMNS[:2]
    y = conditions.to_y(np.stack([job, age], -1), np.ones((900, 2)), two)

    def drawn(x, mask):
        y_new = conditions.draw(400, y, np.float32([x]), np.float32([mask]), two, rng)
        return conditions.from_y(y_new, two)[0]

    found = drawn([1, 0], [1, 0])
    assert (found[:, 0] == 1).all()
    assert found[:, 1].mean() == pytest.approx(4, abs=0.25)
    found = drawn([0, 4.0], [0, 1])
    np.testing.assert_allclose(found[:, 1], 4, rtol=1e-6)
    assert (found[:, 0] == 1).mean() > 0.9
    assert drawn([2, -3.5], [1, 1]).std(0) == pytest.approx([0, 0])
    found = drawn([0, 0], [0, 0])
    assert np.bincount(found[:, 0].astype(int)) / 400 == pytest.approx([1 / 3] * 3, abs=0.1)


# Closed forms of the linear model


def linear(n_columns=3, y_dim=3, members=1):
    """x = W z + V y + b + noise of variance 0.5; q is wider than any posterior, and off it."""
    torch.manual_seed(0)
    model = VAE(Gaussian(n_columns, "fixed:0.5"), (), z_dim=2, y_dim=y_dim)
    w, v, b = torch.randn(n_columns, 2), 2 * torch.randn(n_columns, y_dim), torch.randn(n_columns)
    covariance = torch.linalg.inv(torch.eye(2) + w.T @ w / 0.5)
    a = 0.3 * covariance @ w.T / 0.5
    with torch.no_grad():
        model.decoder[0].weight.copy_(torch.cat([w, v], 1))
        model.decoder[0].bias.copy_(b)
        to_mu = torch.cat([a, -a @ v], 1)
        model.encoder[0].weight.copy_(torch.cat([to_mu, torch.zeros_like(to_mu)]))
        spread = torch.tensor([1.3, 1.4]).log()
        model.encoder[0].bias.copy_(torch.cat([-a @ b, spread]))
    return model, *(part.double().numpy() for part in (w, v, b))


def fitted_of(model, rows=None):
    """The Fitted of a model of columns a, b and c with these training rows x, mask, y."""
    train = Reference(*([np.zeros((0, 3), np.float32)] * 3 if rows is None else rows))
    codec = Codec("tables", [units.Column(name) for name in "abc"], (3,))
    return Fitted(model, codec, None, train, train.take(slice(0)), len(train.x))


def test_log_px_given_y_is_that_of_the_gaussian_around_v_y():
    model, w, v, b = linear()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(5, 3)), np.eye(3)[[0, 1, 2, 2, 0]] * [[1], [1], [1], [0], [0]]
    batch = [torch.from_numpy(part).float() for part in (x, y)]
    covariance = w @ w.T + 0.5 * np.eye(3)
    exact = [
        multivariate_normal(b + v @ c, covariance).logpdf(row) for row, c in zip(x, y, strict=True)
    ]
    found = model.log_px(*batch, n_samples=100_000)
    np.testing.assert_allclose(found, exact, atol=0.02)


def test_rows_given_a_cell_and_no_condition_follow_the_posterior_of_the_condition():
    """Bayes gives p(y | x_0) of three classes, and with it the mean of the other columns."""
    model, w, v, b = linear()
    covariance = w @ w.T + 0.5 * np.eye(3)
    shares = np.array([0.2, 0.5, 0.3])
    rng = np.random.default_rng(0)
    at = (b + v @ shares)[0] + 0.7
    log_joint = np.log(shares) + norm((b[:, None] + v)[0], covariance[0, 0] ** 0.5).logpdf(at)
    posterior = np.exp(log_joint - logsumexp(log_joint))
    assert posterior.max() < 0.9
    means = b[:, None] + v
    expected = (means + np.outer(covariance[:, 0] / covariance[0, 0], at - means[0])) @ posterior

    def draw_y(n):
        return np.eye(3, dtype=np.float32)[rng.choice(3, n, p=shares)]

    given = np.float32([[at, 0, 0]]), np.float32([[1, 0, 0]])
    torch.manual_seed(0)
    y = torch.from_numpy(draw_y(60_000))
    x, mask = map(torch.from_numpy, given)
    drawn, y, log_p, ess = resample(model, 20_000, x, mask, y, 60_000)
    assert log_p == pytest.approx(logsumexp(log_joint), abs=0.03)
    np.testing.assert_allclose(y.mean(0), posterior, atol=0.02)
    np.testing.assert_allclose(drawn.mean(0), expected, atol=0.05)
    assert (drawn[:, 0] == np.float32(at)).all()
    assert 1000 < ess < 60_000
    rows, y, notes, *_ = sample.draw(fitted_of(model), 20_000, given, draw_y)
    assert notes[0].startswith("log p(given): ")
    assert (rows.shape, y.shape) == ((20_000, 3), (20_000, 3))
    np.testing.assert_allclose(rows.mean(0), expected, atol=0.1)


def test_resampling_takes_each_z_to_the_member_that_proposed_it():
    """Members put the free column at -5 and +5; the given column tells which member is meant."""
    torch.manual_seed(0)
    model = VAE(Gaussian(2, "fixed:0.01"), (), z_dim=1, y_dim=1, members=2)
    with torch.no_grad():
        for parameter in (*model.encoder.parameters(), *model.decoder.parameters()):
            parameter.zero_()
        model.decoder[0].bias.copy_(torch.tensor([[[1.0, -5.0]], [[2.0, 5.0]]]))
    x, mask, y = torch.tensor([[2.0, 0.0]]), torch.tensor([[1.0, 0.0]]), torch.zeros(500, 1)
    drawn, _, log_p, _ = resample(model, 200, x, mask, y, 500)
    assert drawn[:, 1].mean() == pytest.approx(5, abs=0.1)
    assert log_p == pytest.approx(norm(2, 0.1).logpdf(2) + np.log(0.5), abs=1e-3)


def test_the_prior_of_a_score_is_that_of_the_rows_with_their_own_y():
    model, w, v, b = linear()
    rng = np.random.default_rng(3)
    rows = (
        rng.normal(size=(9, 3)).astype(np.float32),
        np.ones((9, 3), np.float32),
        np.eye(3, dtype=np.float32)[rng.integers(0, 3, 9)],
    )
    scorer = Scorer(fitted_of(model, rows), n_samples=20_000)
    x, y = rng.normal(size=(4, 3)).astype(np.float32), np.eye(3, dtype=np.float32)[[0, 1, 2, 1]]
    # The last is a row of the run, and scored by the others.
    x[3], y[3] = rows[0][5], rows[2][5]
    mu, logvar = (
        p.detach().double().numpy()
        for p in model.encode(torch.from_numpy(rows[0]), torch.from_numpy(rows[2]))
    )
    exact = []
    for i, (row, c) in enumerate(zip(x, y, strict=True)):
        terms = [
            multivariate_normal(w @ m + v @ c + b, w * np.exp(s) @ w.T + 0.5 * np.eye(3)).logpdf(
                row
            )
            for j, (m, s) in enumerate(zip(mu, logvar, strict=True))
            if not (i == 3 and j == 5)
        ]
        exact.append(logsumexp(terms) - np.log(len(terms)))
    np.testing.assert_allclose(scorer(x, np.ones_like(x), y), np.negative(exact), atol=0.02)


@pytest.mark.parametrize("network", ["mlp", "conv"])
def test_both_halves_of_a_network_see_every_number_of_y(network):
    torch.manual_seed(0)
    model = VAE(Gaussian(64, "fixed:1"), (4, 9), z_dim=2, y_dim=5, network=network, shape=(1, 8, 8))
    y = torch.randn(3, 5, requires_grad=True)
    mu, logvar = model.encode(torch.randn(3, 64), y)
    (by_encoder,) = torch.autograd.grad(mu.sum() + logvar.sum(), y)
    (by_decoder,) = torch.autograd.grad(model.decode(torch.randn(4, 3, 2), y).square().sum(), y)
    assert (by_encoder != 0).all()
    assert (by_decoder != 0).all()


# Data


def test_conditions_leave_x_and_are_fitted_to_training_rows(trained):
    run = Run(trained / "runs" / "r").config()
    data = datasets.load(run.asked.data, run.codec, run.fingerprint)
    assert [c.name for c in data.codec.modelled] == ["x", "n", "colour"]
    assert [c.name for c in data.codec.columns] == list(shop(1, 0))
    assert conditions.names(data.codec.columns) == ["group", "size"]
    assert data.train.y.shape == (len(data.train.x), 5)
    raw = pd.read_csv(trained / "t.csv", dtype=str, na_filter=False)
    parts = datasets.split_rows(len(raw), run.asked.data)
    for rows, split in zip(parts, (data.train, data.val, data.test), strict=True):
        levels = raw["group"].to_numpy()[rows][:, None] == np.array(GROUPS)
        np.testing.assert_array_equal(split.y[:, :3], levels)
        size = pd.to_numeric(raw["size"].iloc[rows], errors="coerce").to_numpy()
        np.testing.assert_array_equal(split.y[:, 4], ~np.isnan(size))
        assert np.corrcoef(split.y[~np.isnan(size), 3], size[~np.isnan(size)])[0, 1] > 0.99
    # Fitted to the training rows: by those alone, it is the same column.
    alone = conditions.fit_column("size", raw["size"].iloc[np.sort(parts[0])])
    assert alone == next(c for c in data.codec.conditions if c.name == "size")
    assert datasets.load(run.asked.data).codec == run.codec


def test_columns_of_numbers_and_labels_of_arrays_can_be_conditions(tmp_path):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(80, 4)), rng.integers(3, 6, 80)
    np.savez(tmp_path / "t.npz", X=x, y=labels)
    config = datasets.resolve(DataConfig(str(tmp_path / "t.npz")))
    given = replace(config, condition=["label,c1"])
    plain, data = datasets.load(config), datasets.load(given)
    assert data.train.y.shape[1] == 5
    kept = [0, 2, 3]
    np.testing.assert_array_equal(data.train.x, plain.train.x[:, kept])
    np.testing.assert_array_equal(data.train.y[:, 2:], data.train.label[:, None] == [3, 4, 5])
    assert data.shape == (3,)
    np.savez(tmp_path / "t.npz", X=x, y=np.roll(labels, 1))
    assert datasets.load(given).fingerprint != data.fingerprint


def test_a_name_with_a_comma_is_one_condition():
    names = ["a,b", "c", "d"]
    for given in (["a,b", "c"], ['"a,b",c'], ["a,b", "c,c"]):
        found = conditions.requested_names(DataConfig("t.csv", condition=given), names, None)
        assert found == ["a,b", "c"]


def test_conditions_are_those_of_the_table_in_its_order_however_they_were_given(tmp_path, train):
    """A run reads y again in the order of the table, even if it was given as "size,group"."""
    shop(200, 0).to_csv(tmp_path / "t.csv", index=False)
    flags = ("--data", tmp_path / "t.csv", "--epochs", 2, "--threads", 1)
    orders = ("group,size", "size,group")
    runs = [train(tmp_path, f"r{i}", *flags, "--condition", n) for i, n in enumerate(orders)]
    first, second = (torch.load(r / "checkpoint.pt", weights_only=True)["model"] for r in runs)
    assert all(torch.equal(first[key], second[key]) for key in first)
    labels = np.arange(4)
    given = DataConfig("t.npz", condition=["label", "c,a"])
    assert conditions.requested_names(given, ["a", "b", "c"], labels) == ["a", "c", "label"]


def test_pseudo_inputs_of_a_vampprior_hold_y(trained):
    config = Run(trained / "runs" / "r").load_checkpoint()["config"]
    vamp = replace(config.asked.model, prior="vamp", prior_components=4)
    model = build_model(vamp, Space.of(config.codec))
    n_features = model.likelihood.n_features + 5
    assert model.prior.pseudo_inputs.shape == (4, n_features)
    data = datasets.load(config.asked.data, config.codec, config.fingerprint)
    model.start_at(*Batch.of(data.train))
    assert set(model.prior.pseudo_inputs[:, -1].tolist()) <= {0.0, 1.0}
    assert torch.isfinite(model.log_px(*Batch.of(data.test).take(slice(9)), n_samples=9)).all()


# The scripts


def test_evaluate_says_that_log_px_is_given_y_and_it_is_the_higher(said):
    outs = [said("evaluate", "--run", name, "--n-samples", 100) for name in "ru"]
    assert "given y: group, size:" in outs[0]
    assert "log p(x | y)" in outs[0]
    assert "baseline, without y, nats" in outs[0]
    assert "given" not in outs[1]
    given, alone = (json.loads(Path(f"runs/{name}/metrics.json").read_text()) for name in "ru")
    assert "given y: group, size" in given["units"]["log_px"]
    assert "without y" in given["units"]["baseline_log_px_diagonal"]
    assert "given" not in alone["units"]["log_px"]
    # Of x the conditions leave NOISE of a standard deviation of 3, of n and colour less.
    assert given["log_px"] - alone["log_px"] > 1.0
    said("plot_results", "--run", "r")


def test_rows_given_conditions_follow_them(made):
    for group, size in (("c", 1.0), ("a", -1.0)):
        found = made("--n", 1500, "--given", f"group={group},size={size}", "--marginals", "model")
        assert (found["group"] == group).all()
        assert (found["size"] == f"{size}").all()
        expected = 3 * GROUPS.index(group) + SLOPE * size
        assert found["x"].astype(float).mean() == pytest.approx(expected, abs=0.35)
    found = made("--n", 1500, "--given", "group=c")
    assert found["size"].astype(float).std() == pytest.approx(1, abs=0.25)
    assert found["x"].astype(float).mean() == pytest.approx(6, abs=0.5)
    assert found["n"].astype(int).mean() == pytest.approx(6, abs=1.2)


def test_given_cells_of_modelled_columns_decide_the_conditions_too(made):
    found = made("--n", 1500, "--given", "n=9")
    assert "effective of" in made.out
    assert (found["group"] == "c").mean() > 0.9
    assert (found["n"] == "9").all()
    found = made("--n", 1000, "--given", "n=0,size=1.5,colour=red", "--marginals", "model")
    assert (found["colour"] == "red").all()
    assert (found["size"] == "1.5").all()
    x = found["x"].astype(float) - SLOPE * 1.5
    by_group = x.groupby(found["group"]).mean()
    assert by_group["a"] == pytest.approx(0, abs=0.4)
    assert by_group["b"] == pytest.approx(3, abs=0.5)


def test_generated_tables_hold_the_conditions_in_their_place(made, folder):
    found = made("--n", 1200)
    assert list(found) == list(shop(1, 0))
    assert (found.drop(columns="id") != "").all(axis=None)
    shares = found["group"].value_counts(normalize=True)
    y = Run("runs/r").read_rows()[0].y
    y = y[(y[:, :3].sum(1) > 0) & (y[:, 4] > 0)]
    assert [shares[g] for g in GROUPS] == pytest.approx(y[:, :3].mean(0), abs=0.05)
    x, size = (found[name].astype(float) for name in ("x", "size"))
    group = found["group"].map(GROUPS.index)
    assert np.corrcoef(x, 3 * group + SLOPE * size)[0, 1] > 0.93
    result = json.loads(Path("runs/r/generation.json").read_text())
    assert list(result["columns"]) == ["x", "n", "colour", "group", "size"]
    assert result["columns"]["group"] < 0.08
    assert result["correlation_error"] < 0.5 * result["correlation_error_independent"]
    raw = set(pd.read_csv("t.csv", dtype=str)["size"])
    assert set(found["size"]) <= raw


def test_kept_holes_are_those_of_conditions_too(made):
    found = made("--n", 2000, "--keep-missing")
    for name in ("x", "group", "size"):
        assert (found[name] == "").mean() == pytest.approx(0.1, abs=0.04)
    found = made("--n", 200, "--keep-missing", "--given", "group=b")
    assert (found["group"] == "b").all()


def test_detect_reads_y_from_the_file(said, folder):
    """One x is odd of a small c and usual of a large a."""
    frame = shop(60, 5)
    frame.loc[0, ["group", "x", "size"]] = ["c", "6.0", "0.0"]
    frame.loc[1, ["group", "x", "size"]] = ["a", "6.0", "0.0"]
    frame.loc[2, "group"] = "zebra"
    frame.loc[3, "size"] = ""
    frame.to_csv("new.csv", index=False)
    out = said("detect", "new.csv", "--run", "r")
    assert "'zebra' in row 3, which is no level" in out
    assert "condition 'group': 1 cell is not known" in out
    assert "condition 'size': 1 cell is not known" in out
    assert "rely on no row" not in out  # training rows had such holes
    assert "does not know" not in out
    scored = pd.read_csv("new.scored.csv", dtype=str, na_filter=False)
    pd.testing.assert_frame_equal(scored[list(frame)], frame)
    assert scored.loc[1, "anomaly_rank"] == "1"
    assert "x=6.0 expected" in scored.loc[1, "anomaly_why"]
    assert float(scored.loc[0, "anomaly_score"]) < float(scored.loc[1, "anomaly_score"]) - 5
    assert np.isfinite(scored["anomaly_score"].astype(float)).all()


def test_labels_are_compared_with_detectors_that_see_the_conditions(said, folder):
    frame = shop(200, 6)
    odd = np.arange(200) % 20 == 0
    frame.loc[odd, "x"] = [f"{v:.3f}" for v in frame.loc[odd, "x"].astype(float) + 4]
    frame.assign(odd=odd.astype(int)).to_csv("new.csv", index=False)
    said("detect", "new.csv", "--run", "r", "--labels", "odd")
    found = json.loads(Path("runs/r/detection.json").read_text())
    assert found["VAE (this run)"]["auroc"][0] > 0.95
    assert len(found) > 2


def test_impute_fills_by_the_condition_and_leaves_its_holes(said, folder):
    frame = shop(80, 7)
    truth = frame["x"].astype(float)
    frame["x"] = frame["x"].where(np.arange(80) % 2 == 0, "")
    frame.loc[4, "group"] = ""
    frame.to_csv("new.csv", index=False)
    out = said("impute", "new.csv", "--run", "r", "--check")
    assert "; 1 in columns that are not modelled stay empty" in out
    filled = pd.read_csv("new.imputed.csv", dtype=str, na_filter=False)
    assert filled.loc[4, "group"] == ""
    error = (filled["x"].astype(float) - truth)[1::2]
    assert np.sqrt((error**2).mean()) < 2 * NOISE
    result = json.loads(Path("runs/r/imputation.json").read_text())
    errors = result["columns"]["x"]["error"]
    assert errors["VAE"] < 0.35
    assert errors["iterative regression"] < 0.6  # to it the conditions are columns


def test_a_hole_that_no_training_row_had_is_said(tmp_path, train, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shop(120, 0).to_csv("t.csv", index=False)
    train("runs", "r", "--data", "t.csv", "--condition", "group", "--epochs", 2)
    frame = shop(30, 1)
    frame.loc[3, "group"] = ""
    frame.to_csv("new.csv", index=False)
    out = call("detect", "new.csv", "--run", "r").out
    assert "condition 'group' was known in every training row: rely on no row without it" in out


def test_a_conditional_run_resumes_to_the_same_bits(tmp_path, train):
    flags = ("--data", "digits", "--condition", "label", "--hidden-dims", 16)
    straight = train(tmp_path, "straight", *flags, "--epochs", 4)
    train(tmp_path, "halves", *flags, "--epochs", 2)
    halves = train(tmp_path, "halves", "--resume", "halves", "--epochs", 4)
    one, other = (Run(path).load_checkpoint() for path in (straight, halves))
    assert one["config"] == other["config"]
    for name, weights in one["model"].items():
        assert torch.equal(weights, other["model"][name]), name
    assert one["model"]["decoder.0.weight"].shape[1] == 8 + 10


def test_tune_searches_a_conditional_model(said, folder):
    flags = ("--data", "t.csv", "--condition", "group,size", "--epochs", 2, "--trials", 2)
    said("tune", *flags, "--hidden-dims", 8)
    best = json.loads(Path("runs/tune-t/best.json").read_text())
    assert best["condition"] == ["group,size"]
    said("train", "--config", "runs/tune-t/best.json", "--run", "best")
    assert Run("runs/best").load()[0].model.y_dim == 5


# Bad input


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--data", "t.csv", "--condition", "grp"), "has no such column and no labels, it has id,"),
        (("--data", "t.csv", "--condition", "label"), "--condition label: --data"),
        (("--data", "t.csv", "--condition", "id,group,x,size,n,colour"), "these are all the"),
        (("--data", "t.csv", "--condition", ""), "--condition '': --data"),
        (("--data", "t.csv", "--condition", "id"), "--kind id=categorical"),
        (("--data", "t.csv", "--condition", "group,size,n,x,colour"), "no column is left to model"),
        (("--data", "diabetes", "--condition", "label"), "no labels, it has age, sex"),
        (("--data", "digits", "--condition", "pixel_0_1"), "it has label"),
    ],
)
def test_conditions_that_cannot_be_are_refused(flags, said, call, folder):
    result = call("train", *flags, "--run", "bad")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert said in result.err
    assert not Path("runs/bad").exists()


def test_of_many_columns_an_error_lists_conditions_and_some():
    columns = [units.Column(f"pixel_{i}") for i in range(784)]
    columns.append(units.Column("label", kind="categorical", levels=["3", "7"], condition=True))
    said = conditions.unknown_name_message("lable=7", columns)
    assert "NAME one of label, pixel_0, pixel_1," in said
    assert "pixel_10, ... (785 in all); a cell" in said
    assert "pixel_11" not in said


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("group=zebra", "'zebra' is no categorical cell, expected one of a, b, c"),
        ("size=big", "'big' is no real cell, expected a number"),
        ("grp=a", "NAME one of group, size, x, n, colour; a cell"),
        ("label=a", "the run knows no labels; train one with --condition label"),
        ("group=a,group=b", "'group' is given twice"),
    ],
)
def test_given_conditions_that_cannot_be_are_refused(given, said, call, folder):
    result = call("generate", "--run", "r", "--given", given, "--out", "new.csv")
    assert result.code == 2
    assert said in result.err


@pytest.mark.parametrize("script", ["detect", "impute"])
def test_a_file_without_a_condition_is_refused(script, call, folder):
    shop(20, 1).drop(columns="group").to_csv("new.csv", index=False)
    result = call(script, "new.csv", "--run", "r")
    assert result.code == 2
    assert "new.csv has no column 'group', which the run takes as given" in result.err


def test_arrays_bring_their_labels(tmp_path):
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(30, 2)), rng.integers(0, 3, 30)
    label = conditions.fit_column("label", pd.Series(labels), is_label=True)
    columns = [units.Column("a"), units.Column("b"), label]
    np.savez(tmp_path / "t.npz", X=x, y=labels)
    form, codec = Tables(), Codec("tables", columns, (2,))
    source = form.read(tmp_path / "t.npz")
    rows = form.encode_for(source, codec, DataConfig(scaling="kinds"))
    np.testing.assert_array_equal(rows.y, labels[:, None] == [0, 1, 2])
    np.testing.assert_allclose(rows.x, x, rtol=1e-6)
    assert list(source.file.frame) == ["a", "b"]
    np.savez(tmp_path / "t.npz", X=x)
    with pytest.raises(UserError, match="has no column 'label' nor labels"):
        form.encode_for(form.read(tmp_path / "t.npz"), codec, DataConfig(scaling="kinds"))
