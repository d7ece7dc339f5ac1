"""parts/tasks/sample.py and generate.py: new rows against closed forms, and copies of real rows."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import ks_2samp, norm, spearmanr

import data as datasets
from parts.forms import conditions, units
from parts.forms.base import Codec, Reference
from parts.forms.config import DataConfig
from parts.forms.tables import encoding, kinds, marginals, samples
from parts.forms.tables.example import CITIES, JOBS, survey
from parts.measure import closeness
from parts.model.likelihoods.discrete import Bernoulli
from parts.runs import Run
from parts.tasks import sample as sampling
from parts.tasks.fit import Fitted
from parts.tasks.sample import Drawn, compare_copies, with_marginals
from vae import VAE

# x and y are jointly Gaussian; the others depend on one another and on neither.
SLOPE, NOISE = -1.5, 0.8
SHIFTS = ("early", "late", "night")


def staff(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    shift = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    frame = pd.DataFrame({"calls": rng.poisson(np.array([1.0, 3.0, 8.0])[shift])})
    frame["x"] = [f"{value:.3f}" for value in x]
    frame["name"] = [f"N{i * 7919 % 10007}" for i in range(n)]
    frame["shift"] = np.array(SHIFTS)[shift]
    frame["unit"] = "kg"
    frame["y"] = [f"{value:.3f}" for value in SLOPE * x + NOISE * rng.normal(size=n)]
    since = pd.Timestamp("2021-05-01") + pd.to_timedelta(rng.integers(0, 400, n), "D")
    frame["since"] = since.strftime("%Y/%m/%d")
    return frame.astype("str")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train):
    """A folder that holds runs/r, trained on t.csv, a fifth of whose x is missing, y rarely."""
    folder = tmp_path_factory.mktemp("generate")
    frame, rng = staff(800, 0), np.random.default_rng(1)
    for name, share in {"x": 0.2, "y": 0.02, "shift": 0.1}.items():
        frame.loc[rng.random(800) < share, name] = ""
    frame.to_csv(folder / "t.csv", index=False)
    flags = ("--data", folder / "t.csv", "--test-fraction", 0, "--val-fraction", 0.2)
    quickly = ("--epochs", 80, "--lr", 0.01, "--hidden-dims", 32, "--threads", 1)
    train(folder / "runs", "r", *flags, *quickly)
    return folder


@pytest.fixture
def made(call, folder):
    """made(*flags): the rows written, as text; `made.out` is what was said."""

    def run(*flags):
        result = call("generate", "--run", "r", "--out", "new.csv", "--overwrite", *flags)
        assert (result.code, result.err) == (0, "")
        run.out = result.out
        return pd.read_csv("new.csv", dtype=str, na_filter=False)

    return run


# Rows


def test_rows_look_like_those_of_the_file(made):
    found = made("--n", 500)
    assert list(found) == list(staff(1, 0))
    assert len(found) == 500
    for name, form in {
        "calls": r"\d+",
        "x": r"-?\d+\.\d{3}",
        "y": r"-?\d+\.\d{3}",
        "shift": "early|late|night",
        "unit": "kg",
        "name": "",
        "since": r"202[0-3]/\d\d/\d\d",
    }.items():
        assert found[name].str.fullmatch(form).all(), name
    assert len(found.drop_duplicates()) > 490
    assert not re.search("-0.000", found["x"].str.cat(sep=" "))


def test_rows_have_the_distribution_of_the_table(made):
    found = made("--n", 4000)
    x, y = found["x"].astype(float), found["y"].astype(float)
    assert x.mean() == pytest.approx(0, abs=0.15)
    assert x.std() == pytest.approx(1, rel=0.2)
    assert y.std() == pytest.approx(np.hypot(SLOPE, NOISE), rel=0.2)
    expected = SLOPE / np.hypot(SLOPE, NOISE)  # -0.88
    assert expected - 0.05 < np.corrcoef(x, y)[0, 1] < -0.6
    shares = found["shift"].value_counts(normalize=True)
    assert [shares[s] for s in SHIFTS] == pytest.approx([0.5, 0.3, 0.2], abs=0.08)
    calls = found["calls"].astype(int).groupby(found["shift"]).mean()
    assert calls["early"] < calls["late"] < calls["night"]
    assert calls["night"] == pytest.approx(8, rel=0.3)
    assert calls["early"] == pytest.approx(1, abs=0.6)


def test_the_seed_decides_the_rows(made, monkeypatch):
    first, again, other = (made("--n", 50, "--seed", seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(first, again)
    assert (first["x"] == other["x"]).mean() < 0.1
    monkeypatch.setattr(sampling, "N_DRAWN_AT_A_TIME", 7)
    pieces = made("--n", 50)
    assert len(pieces) == 50
    assert len(pieces.drop_duplicates()) >= 49


def test_missing_cells_are_as_frequent_as_in_the_table(made):
    found = made("--n", 3000, "--keep-missing")
    assert (found["x"] == "").mean() == pytest.approx(0.2, abs=0.04)
    assert (found["shift"] == "").mean() == pytest.approx(0.1, abs=0.04)
    assert 0 < (found["y"] == "").mean() < 0.05
    assert (found["calls"] != "").all()
    assert (found["unit"] == "kg").all()
    whole = made("--n", 300)
    assert (whole[["x", "y", "shift", "calls"]] != "").all(axis=None)


# Marginals of the training rows


class Source:
    """A model whose n rows are `draw(n)`."""

    def __init__(self, draw):
        self.draw = draw

    def sample(self, n):
        return self.draw(n)


def fitted_to(model, columns, x, mask, held=None):
    """The Fitted of a model and of the training rows x, mask that its run keeps."""
    codec = Codec("tables", columns, (len(columns),))
    held = x[:0] if held is None else held
    rows = Reference(x, mask > 0), Reference(held, np.ones(held.shape, bool))
    return Fitted(model, codec, None, *rows, len(x))


def test_the_map_between_two_gaussians_is_the_line_between_them():
    at = (np.arange(4000) + 0.5) / 4000
    v = np.linspace(-2.5, 2.5, 101)
    exact = marginals.to_marginal(v, norm(1, 2).ppf(at), norm(-3, 0.5).ppf(at[::2]))
    np.testing.assert_allclose(exact, -3 + 0.25 * (v - 1), atol=2e-3)
    rng = np.random.default_rng(0)
    drawn, real = rng.normal(1, 2, 10_000), rng.normal(-3, 0.5, 5000)
    found = marginals.to_marginal(v, drawn, real)
    # Standard error of a quantile at 2 sigma: sigma / density * sqrt(p (1 - p) / n) = 0.04 sigma.
    np.testing.assert_allclose(found, -3 + 0.25 * (v - 1), atol=0.06)


def test_a_spike_stays_a_spike_and_keeps_its_share():
    rng = np.random.default_rng(1)
    real = np.where(rng.random(5000) < 0.9, 0.0, rng.lognormal(8, 1, 5000))
    drawn, values = rng.normal(3, 2, 10_000), rng.normal(3, 2, 20_000)
    found = marginals.to_marginal(values, drawn, real)
    assert (found == 0).mean() == pytest.approx((real == 0).mean(), abs=0.01)
    assert ks_2samp(found[found > 0], real[real > 0]).statistic < 0.05


def test_ranks_are_kept_and_so_is_their_correlation():
    rng = np.random.default_rng(2)
    values = rng.multivariate_normal([0, 0], [[1, 0.7], [0.7, 1]], 3000)
    drawn, real = rng.normal(size=10_000), rng.gamma(2, size=5000)
    found = np.stack([marginals.to_marginal(v, drawn, real) for v in values.T], -1)
    assert (np.diff(found[values[:, 0].argsort(), 0]) >= 0).all()
    before, after = spearmanr(values).statistic, spearmanr(found).statistic
    assert after == pytest.approx(before, abs=1e-4)  # a few beyond all draws are equal now


def test_equal_numbers_of_a_discrete_model_cover_the_ranks_of_their_ties():
    rng = np.random.default_rng(3)
    drawn, values = rng.poisson(0.7, 10_000), rng.poisson(0.7, 20_000)
    real = rng.poisson(2.0, 5000)
    found = np.round(marginals.to_marginal(values, drawn, real, rng.random(20_000)))
    shares = [np.bincount(v.astype(int), minlength=12) / len(v) for v in (found, real)]
    np.testing.assert_allclose(*shares, atol=0.015)
    for less, more in ((0, 1), (1, 2), (2, 3)):  # no order is reversed
        assert found[values == less].max() <= found[values == more].min()
    at_once = marginals.to_marginal(np.array([0.0, 1, 2]), [0, 0, 0, 1], [10.0, 20, 30, 40])
    # Mid-ranks 3/8 and 7/8; 2 is beyond all draws, and stands where the outermost does.
    np.testing.assert_allclose(at_once, [20, 40, 40])


def test_nothing_lies_outside_the_training_cells():
    drawn, real = np.linspace(-1, 1, 50), np.array([3.0, 1.0, 2.0])
    found = marginals.to_marginal(np.array([-1e9, -1, 0, 1, 1e9]), drawn, real)
    np.testing.assert_array_equal(found, [1, 1, 2, 3, 3])


def test_only_observed_cells_of_numbers_decide():
    columns = [
        units.Column("a"),
        units.Column("n", kind="count", whole=True),
        units.Column("k", kind="ordinal", levels=["1", "2", "3"]),
        units.Column("same"),
        units.Column("none"),
    ]
    rng = np.random.default_rng(4)
    x_train = np.column_stack([rng.normal(5, 1, 900), rng.poisson(3, 900), *np.ones((3, 900))])
    mask = np.ones_like(x_train)
    mask[:, 0] = rng.random(900) < 0.5
    mask[:, 4] = 0
    x_train[mask == 0] = 0  # as data.py leaves missing cells
    x = rng.normal(size=(2000, 5)).astype(np.float32)
    x[:, 1], x[:, 2] = rng.poisson(9, 2000), rng.integers(0, 3, 2000)

    def draw(n):
        counts = torch.poisson(9 * torch.ones(n))
        return torch.column_stack([torch.randn(n), counts, torch.randn(n, 3)])

    source = Source(draw)
    found = with_marginals(x, fitted_to(source, columns, x_train, mask), rng)
    assert found[:, 0].min() > 1
    assert found[:, 0].mean() == pytest.approx(5, abs=0.15)
    assert found[:, 1].mean() == pytest.approx(3, abs=0.25)
    assert (found[:, 1] == np.round(found[:, 1])).all()
    np.testing.assert_array_equal(found[:, [2, 4]], x[:, [2, 4]])
    assert (found[:, 3] == 1).all()
    two = fitted_to(source, columns, x_train[:2], mask[:2] * 0 + 1)
    two = with_marginals(x, two, rng)
    assert np.isfinite(two).all()
    assert set(np.unique(two[:, 1])) <= set(range(20))


def test_the_map_is_that_of_the_run_whatever_rows_it_maps():
    rng = np.random.default_rng(5)
    train = rng.gamma(2, size=(500, 1)), np.ones((500, 1))
    x, source = rng.normal(size=(300, 1)), Source(lambda n: torch.randn(n, 1))
    torch.manual_seed(0)
    fitted = fitted_to(source, [units.Column("a")], *train)
    one = with_marginals(x, fitted, np.random.default_rng(0))
    first = torch.rand(1)  # the random state outside is as it was
    torch.manual_seed(0)
    assert torch.equal(first, torch.rand(1))
    torch.manual_seed(1)
    other = with_marginals(x[40:90], fitted, np.random.default_rng(1))
    np.testing.assert_array_equal(one[40:90], other)


def test_the_command_maps_each_number_by_one_rising_function(made):
    pairs = []
    for seed, n in ((0, 300), (1, 80)):
        drawn, mapped = (
            made("--n", n, "--seed", seed, "--marginals", marginals)
            for marginals in ("model", "data")
        )
        pairs.append(np.stack([drawn["y"].astype(float), mapped["y"].astype(float)], -1))
        assert (drawn["shift"] == mapped["shift"]).all()
        assert (drawn["y"] != mapped["y"]).mean() > 0.9
    pairs = np.concatenate(pairs)
    pairs = pairs[np.lexsort(pairs.T[::-1])]
    assert np.diff(pairs[:, 1]).min() > -0.01  # cells are written with three decimals


def test_generated_columns_have_the_marginals_of_the_table(made):
    run = Run("runs/r")
    columns = run.config().codec.modelled
    x_train, mask, *_ = run.read_rows()[0]
    found, apart, results = {}, {}, {}
    for choice in ("model", "data"):
        found[choice] = made("--n", 4000, "--marginals", choice)
        assert ("Numbers were mapped" in made.out) == (choice == "data")
        x, there, *_ = encoding.encode(found[choice], columns)
        apart[choice] = closeness.column_distances(columns, (x, there), (x_train, mask))
        results[choice] = json.loads((run.path / "generation.json").read_text())
        assert results[choice]["marginals"] == choice
    assert apart["data"]["shift"] == apart["model"]["shift"]
    numbers = ("calls", "x", "y", "since")
    before, after = ([apart[m][name] for name in numbers] for m in ("model", "data"))
    assert max(after) < 0.04
    assert np.mean(after) < 0.7 * np.mean(before)
    error = [results[choice]["correlation_error"] for choice in ("model", "data")]
    assert error[1] == pytest.approx(error[0], abs=0.03)


def test_a_cell_without_known_decimals_has_the_digits_of_a_float32():
    """A spike of the table is drawn as its own number: 0, not 7e-6."""
    rng = np.random.default_rng(6)
    wide = np.concatenate([rng.normal(0, 5000, 1000), np.repeat([0.0, 40, 0.5, -12.25], 400)])
    columns = [
        kinds.fit_column("a", pd.Series(wide)),
        kinds.fit_column("a", pd.Series(np.abs(wide)), "positive"),
        *units.standardize(wide[:, None], "a"),
    ]
    for column in columns:
        cells = np.array([0.0, 40, 0.5, 12.25, 3210])
        x = column.to_model(cells).astype(np.float32)
        assert samples.texts(column, x) == ["0", "40", "0.5", "12.25", "3210"]
        x = column.to_model(np.abs(wide)).astype(np.float32)
        found = np.array(samples.texts(column, x), float)
        np.testing.assert_allclose(found, np.abs(wide), rtol=1e-5, atol=0.02)
    level = units.Column("k", kind="binary", levels=["no", "yes"])
    assert samples.texts(level, np.array([1.0, 0])) == ["yes", "no"]


def test_rows_of_a_run_on_a_sorted_table_have_its_mean(call, train, tmp_path, monkeypatch):
    """A run without held-out rows keeps a random sample of its rows, not the first 5000."""
    monkeypatch.chdir(tmp_path)
    a = np.sort(np.random.default_rng(0).normal(size=8000))
    pd.DataFrame({"a": a, "b": -a}).round(3).to_csv("t.csv", index=False)
    flags = ("--preset", "impute", "--test-fraction", 0, "--val-fraction", 0, "--epochs", 1)
    train("runs", "r", "--data", "t.csv", *flags)
    assert call("generate", "--n", 4000, "--out", "new.csv").code == 0
    found = pd.read_csv("new.csv")
    for name in ("a", "b"):
        assert found[name].mean() == pytest.approx(0, abs=0.1)  # of the first 5000 rows it is -0.6
        assert found[name].std() == pytest.approx(1, abs=0.1)


def test_a_table_of_two_rows_is_no_crash(call, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("two.csv").write_text("a,b,k\n1.5,2,p\n3.5,7,q\n")
    no_rows_held_back = ("--test-fraction", 0, "--val-fraction", 0)
    real = ("--kind", "a=real", "--kind", "b=real")
    train("runs", "two", "--data", "two.csv", "--epochs", 3, *no_rows_held_back, *real)
    result = call("generate", "--n", 30, "--out", "new.csv")
    assert (result.code, result.err) == (0, "")
    found = pd.read_csv("new.csv")
    assert found["a"].between(1.5, 3.5).all()
    assert found["b"].between(2, 7).all()


# Given some cells


def test_given_cells_are_in_every_row_as_given(made):
    found = made("--n", 40, "--given", "x=1.250,shift=night", "--keep-missing")
    assert (found["x"] == "1.250").all()
    assert (found["shift"] == "night").all()
    assert found["calls"].astype(int).mean() == pytest.approx(8, rel=0.35)
    assert found["y"].nunique() > 30
    found = made("--n", 3, "--given", "since=2021/12/24")
    assert (found["since"] == "2021/12/24").all()


@pytest.mark.parametrize("x", [-1.5, 0.0, 1.0])
def test_the_other_cells_follow_their_conditional_distribution(made, x):
    y = made("--n", 3000, "--given", f"x={x}")["y"].astype(float)
    assert y.mean() == pytest.approx(SLOPE * x, abs=0.35)
    assert NOISE * 0.9 < y.std() < NOISE * 1.6
    assert ks_2samp(y, norm(SLOPE * x, NOISE).rvs(3000, random_state=0)).statistic < 0.25


def test_the_density_of_the_condition_is_printed(made):
    made("--n", 5, "--given", "shift=late")
    line = r"^log p\(given\): (\S+) nats; (\d+) effective of 10000"
    log_p, ess = re.search(line, made.out, re.M).groups()
    assert np.exp(float(log_p)) == pytest.approx(0.3, abs=0.08)
    assert 1000 < int(ess) <= 10_000
    assert "Note" not in made.out
    assert "Distance to" not in made.out


def test_a_condition_that_is_too_rare_is_noted(made):
    made("--n", 20, "--given", "x=5,y=9,calls=40,shift=early")
    ess = int(re.search(r"(\d+) effective", made.out)[1])
    assert (f"Note: with {ess} effective samples" in made.out) == (ess < 50)
    assert "Note: x=5" in made.out
    assert "lies outside the training rows" in made.out
    assert float(re.search(r"log p\(given\): (\S+)", made.out)[1]) < -10


def test_a_condition_beyond_all_rows_is_noted_or_refused(call, folder):
    result = call("generate", "--run", "r", "--out", "new.csv", "--given", "x=1e15", "--n", 3)
    assert result.code in (0, 2)
    assert result.err.count("\n") <= 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("job=nurse", "expected NAME=VALUE, NAME one of calls, x, shift, y, since"),
        ("x", "expected NAME=VALUE"),
        ("", "expected NAME=VALUE"),
        ("x=tall", "'tall' is no real cell, expected a number"),
        ("x=", "'' is no real cell"),
        ("shift=noon", "'noon' is no categorical cell, expected one of early, late, night"),
        ("calls=-1", "'-1' is no count cell"),
        ("since=24.12.2021", "expected a date such as 202"),
        ("unit=kg", "NAME one of"),
    ],
)
def test_conditions_that_are_none_are_refused(call, folder, given, said):
    result = call("generate", "--run", "r", "--out", "new.csv", "--given", given)
    assert result.code == 2
    assert said in result.err
    assert result.err.count("\n") == 1
    assert not Path("new.csv").exists()


def test_commas_and_names_within_names_are_understood():
    columns = [
        units.Column("x"),
        units.Column("x=1", shift=1.0),
        units.Column("city, land", kind="categorical", levels=["Bern, CH", "Oslo, NO"]),
    ]
    (x, mask), cells = conditions.given_cells('"city, land=Oslo, NO", x=2.5', columns)
    assert x.tolist() == [[2.5, 0, 1]]
    assert mask.tolist() == [[1, 0, 1]]
    assert cells == {"city, land": "Oslo, NO", "x": "2.5"}


# How near they are


def test_the_kolmogorov_smirnov_distance_is_that_of_scipy():
    rng = np.random.default_rng(0)
    for n, m in ((50, 70), (3, 200), (1, 1)):
        a, b = rng.normal(size=n).round(1), rng.normal(0.5, 2, size=m).round(1)
        assert closeness.kolmogorov_smirnov(a, b) == pytest.approx(ks_2samp(a, b).statistic)
    assert closeness.kolmogorov_smirnov([1.0, 2.0], [1.0, 2.0]) == 0
    assert closeness.kolmogorov_smirnov([1.0, 2.0], [3.0]) == 1


def test_column_distances_by_hand():
    columns = [
        units.Column("n"),
        units.Column("k", kind="categorical", levels=["p", "q", "r"]),
        units.Column("e"),
    ]
    a = np.array([[0, 0, 1], [1, 0, 1], [2, 1, 1], [9, 2, 1.0]]), np.ones((4, 3))
    b = np.array([[0, 1, 1], [1, 1, 1], [2, 0, 1.0]]), np.ones((3, 3))
    a[1][3, 0] = 0  # the 9 is missing
    b[1][:, 2] = 0
    found = closeness.column_distances(columns, a, b)
    assert found["n"] == 0
    assert found["k"] == pytest.approx((abs(2 / 4 - 1 / 3) + abs(1 / 4 - 2 / 3) + 1 / 4) / 2)
    assert found["e"] is None


def test_rank_correlations_are_those_of_scipy():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 2)) @ np.array([[1.0, 0.5], [0.0, 1.0]])
    columns = [units.Column("a"), units.Column("b", curve="log", kind="positive")]
    mask = np.ones_like(x)
    mask[:15, 0] = 0
    found = closeness.correlations(columns, x, mask)
    rank = pd.DataFrame(np.where(mask > 0, x, np.nan)).rank()
    assert found[0, 1] == pytest.approx(rank.corr().iloc[0, 1])
    assert found[0, 1] == pytest.approx(spearmanr(*x[15:].T).statistic, abs=0.03)
    level = [units.Column("k", kind="categorical", levels=["p", "q"]), columns[0]]
    assert closeness.correlations(level, (x > 0) * 1.0, mask).shape == (3, 3)
    # The mean over pairs of different columns of how far two tables' correlations are apart.
    apart = closeness.correlation_error(columns, (x, mask), (-x * [1, -1], mask))
    assert apart == pytest.approx(2 * abs(found[0, 1]))


def test_shuffled_columns_are_what_no_relation_looks_like():
    rng = np.random.default_rng(2)
    x = np.repeat(rng.normal(size=(400, 1)), 2, 1)
    mask = np.ones_like(x)
    mask[:, 1] = x[:, 1] > 0
    shuffled, masked = closeness.shuffled(x, mask, rng)
    assert abs(np.corrcoef(shuffled.T)[0, 1]) < 0.15
    np.testing.assert_array_equal(np.sort(shuffled, 0), np.sort(x, 0))
    assert (masked[:, 1] == (shuffled[:, 1] > 0)).all()  # a cell keeps its mask
    one, other = closeness.halves(x, mask, rng)
    assert sorted([*one[0][:, 0], *other[0][:, 0]]) == sorted(x[:, 0])
    assert len(one[0]) == len(other[0]) == 200


def test_copies_are_nearer_than_neighbours_and_fresh_rows_half_the_time():
    rng = np.random.default_rng(3)
    train = rng.normal(size=(1500, 4))
    share = closeness.nearer_than_neighbours
    assert share(train, train[:300]) == 1
    assert share(train, train[:300] + 1e-4) == 1
    assert share(train, rng.normal(size=(1500, 4))) == pytest.approx(0.5, abs=0.06)
    assert share(train, rng.normal(size=(500, 4)) * 6) < 0.1
    line = np.array([[0.0], [10.0], [12.0]])
    # To 0 it is 4, and 0 is 10 from 10; to 12 it is 3, and 12 is 2 from 10.
    assert share(line, np.array([[4.0], [15.0]])) == 0.5


def test_a_tables_own_rows_are_as_near_as_can_be():
    """A copy of the real rows is at distance 0, and is reported as copies."""
    columns = [
        units.Column("a"),
        units.Column("b"),
        units.Column("k", kind="categorical", levels=["p", "q"]),
    ]
    rng = np.random.default_rng(4)

    def rows(n):
        x = rng.normal(size=(n, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]])
        return np.column_stack([x, x[:, 0] > 0]), np.ones((n, 3))

    train, held = rows(900), rows(100)
    real = tuple(np.concatenate(parts) for parts in zip(train, held, strict=True))
    copied = closeness.compare(columns, real, train, held, lambda x, mask: x)
    assert copied["columns_mean"] == copied["correlation_error"] == 0
    assert copied["nearer"] >= 0.9
    assert copied["nearer_real"] == pytest.approx(0.5, abs=0.15)
    assert 0.01 < copied["columns_real_mean"] < 0.1
    assert copied["correlation_error_real"] < 0.1
    assert copied["correlation_error_independent"] > 0.4
    fresh = closeness.compare(columns, rows(800), train, held, lambda x, mask: x)
    assert fresh["nearer"] == pytest.approx(0.55, abs=0.1)
    assert fresh["n_generated"] == 800
    assert fresh["n_real"] == 1000
    noise = rows(800)[0] + [3.0, 0.0, 0.0], np.ones((800, 3))
    noise = closeness.compare(columns, noise, train, held, lambda x, mask: x)
    assert noise["columns"]["a"] > 0.8
    assert noise["columns"]["b"] < 0.1


def test_real_rows_holes_do_not_count_as_a_distance():
    """Most cells of the real rows are missing, and generated rows get the holes of real ones."""
    rng = np.random.default_rng(5)
    columns = [units.Column(name) for name in "abcd"]
    x = rng.normal(size=(1000, 4))
    mask = np.ones_like(x)
    mask[:, 1:] = rng.random((1000, 3)) < 0.1
    train, held = (x[:800], mask[:800]), (x[800:], mask[800:])
    generated = rng.normal(size=(1000, 4)), np.ones((1000, 4))
    result = closeness.compare(columns, generated, train, held, lambda x, mask: x * mask)
    assert result["nearer"] == pytest.approx(result["nearer_real"], abs=0.12)
    assert result["columns"]["b"] < 0.3


def test_a_distance_that_cannot_be_told_is_left_out():
    rng = np.random.default_rng(6)
    columns = [units.Column(name) for name in "ab"]
    x, mask = rng.normal(size=(40, 2)), np.ones((40, 2))
    mask[:38, 1] = 0
    train, held = (x[:30], mask[:30]), (x[30:], mask[30:])
    one = x[:1], np.ones((1, 2))
    result = closeness.compare(columns, one, train, held, lambda x, mask: x * mask)
    json.dumps(result, allow_nan=False)
    assert "nan" not in closeness.report(columns, result)
    assert result["correlation_error"] != 0  # of one row there is none


# What is written


def test_the_report_is_written_to_the_run(made):
    made("--n", 600)
    result = json.loads(Path("runs/r/generation.json").read_text())
    assert list(result["columns"]) == ["calls", "x", "shift", "y", "since"]
    assert (result["n_generated"], result["n_real"]) == (600, 800)
    for name, value in result["columns"].items():
        kind = "TV" if name == "shift" else "KS"
        assert re.search(rf"^  {name} +{kind}  {value:.3f}  ", made.out, re.M)
        assert value < 0.2, name
    assert result["columns_mean"] == pytest.approx(np.mean(list(result["columns"].values())))
    assert result["correlation_error"] < result["correlation_error_independent"]
    assert 0.2 < result["nearer_real"] < 0.8
    assert result["nearer"] < result["nearer_real"] + 0.15
    assert f"each other: {result['nearer']:.1%}; of held-out real rows" in made.out
    with np.load("runs/r/generated.npz") as arrays:
        assert arrays["columns"].tolist() == list(result["columns"])
        assert arrays["real"].shape == (800, 5)
        assert arrays["generated"].shape == (600, 5)
        new = pd.read_csv("new.csv")
        np.testing.assert_allclose(arrays["generated"][:, 1], new["x"], atol=0.0006)
        np.testing.assert_allclose(arrays["generated"][:, 0], new["calls"])
        assert np.isnan(arrays["real"][:, 1]).mean() == pytest.approx(0.2, abs=0.04)
        y, real = arrays["generated"][:, 3], arrays["real"][:, 3]
        distance = ks_2samp(y, real[~np.isnan(real)]).statistic
        assert result["columns"]["y"] == pytest.approx(distance, abs=0.02)


def test_parquet_holds_types(call, folder):
    result = call("generate", "--run", "r", "--n", 30, "--out", "n.parquet", "--keep-missing")
    assert (result.code, result.err) == (0, "")
    found = pd.read_parquet("n.parquet")
    assert list(found) == list(staff(1, 0))
    assert found["calls"].dtype == "Int64"
    assert found["x"].dtype == found["y"].dtype == "float64"
    assert found["since"].dtype.kind == "M"
    assert found["x"].isna().any()
    assert set(found["shift"].dropna()) <= {*SHIFTS, ""}


def test_arrays_of_numbers(call, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(80, 3)) * [1.0, 10.0, 100.0] + [0.0, 5.0, 1000.0]
    np.savez("t.npz", X=x)
    train("runs", "n", "--data", "t.npz", "--epochs", 20)
    for name in ("new.npy", "new.npz", "new.csv"):
        result = call("generate", "--n", 200, "--out", name)
        assert (result.code, result.err) == (0, "")
    found = np.load("new.npy")
    assert found.shape == (200, 3)
    np.testing.assert_allclose(found.std(0) / x.std(0), 1, atol=0.6)
    np.testing.assert_allclose((found - x.mean(0)).mean(0) / x.std(0), 0, atol=0.6)
    with np.load("new.npz") as arrays:
        np.testing.assert_array_equal(arrays["X"], found)


def test_categories_do_not_go_into_an_array(call, folder):
    result = call("generate", "--run", "r", "--out", "new.npy", "--n", 3)
    assert result.code == 2
    assert "an array holds numbers only; write .csv or .parquet" in result.err
    assert not Path("new.npy").exists()


def test_an_existing_file_stays(call, folder):
    Path("generated.csv").write_text("mine")
    result = call("generate", "--run", "r", "--n", 3)
    assert result.code == 2
    assert "generated.csv exists; add --overwrite" in result.err
    assert Path("generated.csv").read_text() == "mine"
    assert "no folder nowhere" in call("generate", "--run", "r", "--out", "nowhere/a.csv").err
    assert "unknown" not in call("generate", "--run", "r", "--out", "a.txt").err
    assert call("generate", "--run", "r", "--out", "a.txt").code == 2


def test_pictures_are_a_grid_and_an_array(call, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train("runs", "d", "--data", "digits", "--epochs", 2)
    result = call("generate", "--n", 12)
    assert (result.code, result.err) == (0, "")
    with np.load("generated.npz") as arrays:
        x = arrays["X"]
    assert (x.shape, x.dtype) == ((12, 8, 8), np.float32)
    assert ((x > 0) & (x < 1)).mean() > 0.5  # of grey pictures the mean, which is their rate
    picture = plt.imread("generated.png")
    # Four pictures across and three down, 8 pixels and a line each, six times as large.
    assert picture.shape[:2] == ((3 * 9 + 1) * 6, (4 * 9 + 1) * 6)
    lines = result.out.splitlines()
    assert lines[1:4] == [
        "Pixels are the mean of p(x|z), as grey values were probabilities (--pixels drawn: a draw "
        "from it)",
        "Wrote generated.npz: 12 pictures of 8 x 8",
        "Wrote generated.png",
    ]
    assert lines[4].startswith("Nearer to a training picture than training pictures are")
    assert len(lines) == 5  # nothing pixel by pixel
    with np.load(Run("runs/d").generated) as arrays:
        np.testing.assert_array_equal(
            arrays["drawn"], np.round(255 * x).astype(int).reshape(12, -1)
        )
    first = picture[6 + 3 : 54 : 6, 6 + 3 : 54 : 6, 0]
    np.testing.assert_allclose(first, 1 - x[0], atol=0.01)  # ink is dark, 1 is black
    result = call("detect", "generated.npz", "--run", "d")  # what one verb writes another reads
    assert (result.code, result.err) == (0, "")
    result = call("generate", "--n", 12, "--pixels", "drawn", "--out", "drawn.npz")
    assert "Pixels are drawn from p(x|z) (--pixels mean: its mean)" in result.out
    with np.load("drawn.npz") as arrays:
        assert set(np.unique(arrays["X"])) == {0.0, 1.0}
    Path("generated.npz").unlink()
    result = call("generate", "--n", 12)
    assert result.code == 2
    assert "generated.png exists" in result.err


def test_pictures_that_are_copies_are_told():
    rng = np.random.default_rng(0)
    train, held, fresh = (rng.random((200, 64)).round().astype(np.float32) for _ in range(3))
    model = VAE(Bernoulli(64, binarize="dynamic"))
    columns, there = [units.Column(f"p{j}") for j in range(64)], np.ones((200, 64))
    fitted = fitted_to(model, columns, train, there, held)
    result, report, arrays = compare_copies(
        fitted, Drawn(train[:50], None, []), model.likelihood.mean
    )
    assert result["nearer"] == 1
    assert (result["n_generated"], result["n_real"]) == (50, 400)
    assert 0.1 < result["nearer_real"] < 0.9
    assert "100.0%; of held-out real pictures" in report
    assert arrays is None  # there is no figure of it
    # Grey pictures are drawn like the generated ones: else no draw were near to any of them.
    grey = fitted_to(model, columns, np.full((200, 64), 0.5, np.float32), there)
    result, *_ = compare_copies(grey, Drawn(fresh, None, []), model.likelihood.sample)
    assert 0.1 < result["nearer"] < 0.9
    assert result["nearer_real"] is None
    result, *_ = compare_copies(grey, Drawn(fresh, None, []), model.likelihood.mean)
    assert result["nearer"] == 0


@pytest.mark.slow
def test_one_run_goes_through_every_verb(call, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame, rng = staff(200, 0), np.random.default_rng(1)
    frame.mask(rng.random(frame.shape) < 0.05, "").to_csv("t.csv", index=False)
    train("runs", "all", "--data", "t.csv", "--epochs", 5)
    for command in (
        ("evaluate", "--n-samples", 10),
        ("detect", "t.csv"),
        ("impute", "t.csv", "--check"),
        ("generate", "--n", 50),
        ("plot_results",),
    ):
        result = call(*command, "--run", "all")
        assert (result.code, result.err) == (0, ""), command
    run = Run("runs/all")
    assert run.metrics.is_file()
    figures = list(run.figures.iterdir())
    assert figures
    for figure in figures:
        assert figure.read_bytes().startswith(b"\x89PNG"), figure.name


# The example survey


@pytest.fixture(scope="module")
def example():
    return survey()


def test_the_example_is_the_same_every_time(example):
    pd.testing.assert_frame_equal(example, survey(42))
    assert (example["age"] != survey(7)["age"]).mean() > 0.5


def test_the_example_has_the_stated_rows_and_holes(example):
    assert example.shape == (2000, 11)
    assert (example["odd"] == "1").sum() == 20
    assert set(example["odd"]) == {"0", "1"}
    holes = (example == "").to_numpy()
    assert holes[:, 1:-1].mean() == pytest.approx(0.1, abs=0.01)
    assert not holes[:, [0, -1]].any()
    assert example["respondent"].is_unique
    assert set(example["job"]) == {*JOBS, ""}
    assert set(example["city"]) == {*CITIES, ""}
    assert set(example["rating"]) == {*"12345", ""}


def test_the_odd_rows_are_odd(example):
    odd = example[example["odd"] == "1"]
    age = pd.to_numeric(example["age"])
    assert age[example["odd"] == "0"].max() <= 95
    assert (age[odd.index] >= 120).sum() >= 2
    rent = pd.to_numeric(example["rent_share"].str.removesuffix("%"))
    assert (rent[odd.index] < 0).sum() >= 2
    assert ((odd["job"] == "student") & (odd["income"] == "150000.00")).any()
    assert (pd.to_numeric(odd["income"]) > 500_000).sum() >= 2


def test_the_kinds_of_the_example_are_found(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = call("data", "--example", "s.csv")
    assert (result.code, result.err) == (0, "")
    assert result.out == "Wrote s.csv: 2000 rows, 11 columns\n"
    pd.testing.assert_frame_equal(
        pd.read_csv("s.csv", dtype="str", na_filter=False), survey(), check_dtype=False
    )
    config = datasets.resolve(DataConfig("s.csv", scaling="kinds", kinds={"odd": "ignore"}))
    kinds = {column.name: column.kind for column in datasets.load(config).codec.columns}
    assert kinds == {
        "respondent": "ignore",
        "age": "positive",
        "job": "categorical",
        "income": "positive",
        "member": "binary",
        "visits": "count",
        "rating": "categorical",
        "city": "categorical",
        "rent_share": "real",
        "joined": "real",
        "odd": "ignore",
    }
    again = call("data", "--example", "s.csv")
    assert again.code == 2
    assert "s.csv exists; add --overwrite" in again.err
    assert call("data", "--example", "s.csv", "--overwrite", "--data-seed", 7).code == 0
    assert pd.read_csv("s.csv", dtype="str", na_filter=False)["age"][0] == survey(7)["age"][0]


# Pairs of columns, a classifier, and holes


def pair(n, seed, related):
    """Rows (x, mask) of a category and a number, which depend on one another or do not."""
    rng = np.random.default_rng(seed)
    level = rng.integers(3, size=n)
    number = rng.normal(size=n) + 3 * (level if related else rng.integers(3, size=n))
    return np.column_stack([level, number]), np.ones((n, 2))


PAIR = [units.Column("k", kind="categorical", levels=["a", "b", "c"]), units.Column("v")]


def test_a_pair_of_columns_is_apart_where_only_their_relation_differs():
    real = pair(4000, 0, related=True)
    same, other = pair(4000, 1, related=True), pair(4000, 1, related=False)
    assert closeness.pair_distances(PAIR, real, real) == {("k", "v"): 0}
    assert closeness.pair_distances(PAIR, same, real)["k", "v"] < 0.05
    assert closeness.pair_distances(PAIR, other, real)["k", "v"] > 0.3
    assert max(closeness.column_distances(PAIR, other, real).values()) < 0.05


def test_a_pair_distance_is_total_variation_by_hand():
    columns = [units.Column(n, kind="binary", levels=["0", "1"]) for n in "ab"]
    a = np.array([[0, 0], [0, 0], [1, 1], [1, 0]]), np.ones((4, 2))
    b = np.array([[0, 0], [0, 1], [1, 1], [1, 1]]), np.array([[1, 1], [1, 1], [1, 1], [1, 0]])
    found = closeness.pair_distances(columns, a, b)["a", "b"]
    assert found == pytest.approx(0.5 * (1 / 2 - 1 / 3 + 1 / 3 + 1 / 4 + (1 / 3 - 1 / 4)))
    empty = a[0], np.zeros((4, 2))
    assert closeness.pair_distances(columns, empty, b)["a", "b"] is None


def test_the_worst_pair_is_named_beyond_what_halves_differ_by(monkeypatch):
    columns = [*PAIR, units.Column("w")]

    def rows(seed, related):
        x, mask = pair(800, seed, related)
        noise = np.random.default_rng(seed + 100).normal(size=800)
        return np.column_stack([x, noise]), np.ones((800, 3))

    train, held = rows(0, True), rows(1, True)
    result = closeness.compare(columns, rows(2, False), train, held, lambda x, mask: x)
    assert result["worst_pair"] == ["k", "v"]
    assert result["worst_pair_distance"] > 3 * result["worst_pair_distance_real"]
    assert result["told_apart"]["auroc"] > 0.6
    report = closeness.report(columns, result)
    assert "Worst pair: k and v, total variation 0." in report
    assert "A classifier tells generated from held-out rows with an AUROC of 0." in report


def test_a_classifier_cannot_tell_rows_of_one_distribution_apart():
    first, second = (pair(1500, seed, related=True)[0] for seed in (0, 1))
    found = closeness.classifier_two_sample_auroc(first, second)
    assert found["n"] == 1500
    assert abs(found["auroc"] - 0.5) < 4 * found["error"]
    other = pair(1500, 2, related=False)[0]
    assert closeness.classifier_two_sample_auroc(first, other)["auroc"] > 0.65
    assert closeness.classifier_two_sample_auroc(first[:20], other) is None


def holed(train, x, y=None, given=None, y_train=None):
    """The masks that `holes_like` draws for rows x, from training rows (x, mask)."""
    fitted = Fitted(None, None, None, Reference(*train, y_train), None, len(train[0]))
    return sampling.holes_like(fitted, x, y, given, np.random.default_rng(0))


def test_holes_go_with_the_cells_of_their_row():
    """The second cell is missing where the first is above 0, the third with the second."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 3)).astype(np.float32)
    mask = np.ones((2000, 3), bool)
    mask[x[:, 0] > 0, 1] = False
    mask[:, 2] = mask[:, 1] ^ (rng.random(2000) < 0.1)
    new = rng.normal(size=(3000, 3)).astype(np.float32)
    found = holed((x, mask), new)
    assert found[:, 0].all()
    assert (found[:, 1] == (new[:, 0] <= 0)).mean() > 0.98
    assert (found[:, 2] == found[:, 1]).mean() == pytest.approx(0.9, abs=0.02)
    given = np.zeros((1, 3), np.float32), np.array([[0, 1, 0]], np.float32)
    assert holed((x, mask), new, given=given)[:, 1].all()


def test_holes_without_any_whole_column_keep_their_share():
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(1000, 2)), rng.random((1000, 2)) < [0.7, 0.4]
    found = holed((x, mask), rng.normal(size=(4000, 2)))
    assert found.mean(0) == pytest.approx([0.7, 0.4], abs=0.03)
    conditions_of = rng.normal(size=(1000, 1)).astype(np.float32)
    mask[:, 0] = conditions_of[:, 0] > 0
    y = rng.normal(size=(500, 1)).astype(np.float32)
    found = holed((x, mask), rng.normal(size=(500, 2)), y=y, y_train=conditions_of)
    assert (found[:, 0] == (y[:, 0] > 0)).mean() > 0.97


def test_the_worst_relation_is_named(tmp_path, monkeypatch, call, train):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    start = rng.integers(0, 500, 600)
    frame = pd.DataFrame({"start": start, "end": start + rng.integers(0, 30, 600)})
    frame.to_csv("t.csv", index=False)
    flags = ("--data", "t.csv", "--epochs", 5, "--noise", "independent", "--threads", 1)
    train(tmp_path / "runs", "r", *flags)
    out = call("generate", "--run", "r", "--n", 200, "--marginals", "model").out
    assert re.search(r"Worst relation as drawn: start <= end, broken in \d+ rows", out)


def test_the_report_is_of_the_holes_that_were_drawn():
    """The second cell is missing where the first is above 0, in real and in generated rows."""

    def rows(seed):
        x = np.random.default_rng(seed).normal(size=(400, 2))
        mask = np.ones((400, 2))
        mask[:, 1] = x[:, 0] <= 0
        return x, mask

    columns = [units.Column(name) for name in "ab"]
    embed = lambda x, mask: x * mask  # noqa: E731
    own = closeness.compare(columns, rows(1), rows(2), rows(3), embed, own_holes=True)
    at_random = closeness.compare(columns, rows(1), rows(2), rows(3), embed)
    assert own["told_apart"]["auroc"] < 0.58 < 0.63 < at_random["told_apart"]["auroc"]


def test_rows_learnt_by_heart_are_noted():
    found = {"nearer": 0.9, "nearer_real": 0.5}
    assert "learned single rows by heart" in closeness.report_copies(found)
    assert "by heart" not in closeness.report_copies(found | {"nearer": 0.6})
    assert "by heart" not in closeness.report_copies(found | {"nearer_real": None})
