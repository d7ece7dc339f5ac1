"""Series against closed forms: windows of known processes are filled, scored and chained.

The model of these tests is a Gaussian of windows with the covariance of the process, without z.
"""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from torch.distributions import MultivariateNormal

from parts.forms.base import Reference
from parts.forms.config import DataConfig
from parts.forms.series import completion, counters, events, example, grid, steps
from parts.forms.series.form import SERIES, Layout
from parts.forms.units import Column
from parts.measure.series_baselines import GAUSSIAN
from parts.model.likelihoods import conditioned, factors, windows
from parts.model.likelihoods.base import Likelihood
from parts.model.likelihoods.windows import (
    RIDGE,
    Shrinkage,
    WindowGaussian,
    Windows,
    whitening,
)
from parts.model.windowvae import WindowVAE
from parts.runs import find_run
from parts.tasks import score_windows
from parts.tasks.fill import RowsToCheck
from parts.tasks.fill_windows import WindowFiller, check_windows
from parts.tasks.sample import with_marginals
from parts.tasks.sample_windows import chain
from parts.tasks.score_windows import WindowScorer, once_in
from tests.test_resume import assert_same_run

LENGTH, PHI = 16, 0.9
METHODS = {"VAE", "line", "last value", "season + line", GAUSSIAN}


def ar1(lag):
    return PHI ** np.abs(lag)


def sinusoids(lag):
    """Of a sum of two waves with random phases, and of noise."""
    waves = 0.5 * np.cos(2 * np.pi * lag / 8) + 0.3 * np.cos(2 * np.pi * lag / 5)
    return waves + 0.2 * (lag == 0)


PROCESSES = {"ar1": ar1, "sinusoids": sinusoids}
each_process = pytest.mark.parametrize("process", PROCESSES)


def covariance(process, n=LENGTH):
    lag = np.subtract.outer(np.arange(n), np.arange(n))
    return PROCESSES[process](lag)


def gaussian(process):
    zero = torch.zeros(LENGTH).double()
    sigma = torch.from_numpy(covariance(process)).double()
    return WindowGaussian(zero, torch.zeros(0, LENGTH).double(), sigma)


def fitted(process):
    """A model that is the Gaussian of the process, and what tasks ask of a run."""
    likelihood = Windows(LENGTH, (LENGTH, 1))
    model = WindowVAE(likelihood, (8,), 2, shape=(LENGTH, 1)).eval()
    likelihood.start(gaussian(process))
    with torch.no_grad():
        for parameter in (*model.decoder.parameters(), *model.encoder.parameters()):
            parameter.zero_()
    codec = SimpleNamespace(measured=[Column("a")], shape=(LENGTH, 1), y_dim=0, modelled=[])
    train = SimpleNamespace(x=np.zeros((4, LENGTH), np.float32), y=None, mask=np.ones((4, LENGTH)))
    device = torch.device("cpu")
    return SimpleNamespace(model=model, codec=codec, device=device, train=train)


def drawn(process, n, seed=0):
    """A series of n steps of the process."""
    root = np.linalg.cholesky(covariance(process, n) + 1e-9 * np.eye(n))
    return root @ np.random.default_rng(seed).normal(size=n)


def layout(x, mask):
    """A series of one column on its grid."""
    seconds = 60.0 * np.arange(len(x))
    laid = grid.lay(seconds, None, steps.Step(60.0), 8, least=LENGTH)
    columns = [Column("a")]
    x = np.where(mask, x, 0.0).astype(np.float32)[:, None]
    read = np.empty((len(x), 0))
    part = np.full(len(x), grid.TRAIN)
    return Layout(None, [], laid, part, columns, LENGTH, x, mask[:, None], read, [])


def conditional(process, x, mask):
    """Mean and covariance of the missing steps of a series given all the others."""
    sigma = covariance(process, len(x)) + 1e-9 * np.eye(len(x))
    gain = sigma[~mask][:, mask] @ np.linalg.inv(sigma[mask][:, mask])
    return gain @ x[mask], sigma[~mask][:, ~mask] - gain @ sigma[mask][:, ~mask]


# A gap in the middle of one window, which sees 6 steps on both sides


def series_with_gap(process):
    x = drawn(process, LENGTH)
    mask = np.ones(LENGTH, bool)
    mask[6:10] = False
    return x, mask


@each_process
def test_the_filler_gives_the_conditional_mean_and_bounds(process):
    x, mask = series_with_gap(process)
    mean, sigma = conditional(process, x, mask)
    filler = WindowFiller(fitted(process))
    found, bounds = filler.fill_slots(layout(x, mask), 5.0)
    np.testing.assert_allclose(found[~mask, 0], mean, atol=1e-4)
    np.testing.assert_allclose(found[mask, 0], x[mask], atol=1e-6)
    half = 1.645 * np.sqrt(np.diag(sigma))
    assert np.abs((bounds[1] - bounds[0])[~mask, 0] / (2 * half) - 1).max() < 0.35  # of 100 draws


def test_the_fillers_draws_are_joint():
    x, mask = series_with_gap("sinusoids")
    mean, sigma = conditional("sinusoids", x, mask)
    filler, laid = WindowFiller(fitted("sinusoids")), layout(x, mask)
    draws = np.stack([filler.draw_slots(laid)[~mask, 0] for _ in range(1000)])
    spread = np.sqrt(np.diag(sigma))
    np.testing.assert_allclose(draws.mean(0) / spread, mean / spread, atol=0.14)
    scaled = (np.cov(draws.T) - sigma) / np.outer(spread, spread)
    assert np.abs(scaled).max() < 0.17
    assert draws.sum(1).var() / sigma.sum() == pytest.approx(1, abs=0.17)


@each_process
def test_completion_draws_holes_from_their_conditional(process):
    x, mask = series_with_gap(process)
    mean, sigma = conditional(process, x, mask)
    generator = torch.Generator().manual_seed(0)
    cells = torch.from_numpy(np.where(mask, x, 0.0)[:, None])
    there, y = torch.from_numpy(mask[:, None]), torch.zeros(LENGTH, 0).double()
    options = cells, there, y, [(0, LENGTH)], LENGTH, generator
    known = gaussian(process)
    draws = np.stack(
        [completion.draw_holes(known, *options)[~mask, 0].numpy() for _ in range(1000)]
    )
    spread = np.sqrt(np.diag(sigma))
    np.testing.assert_allclose(draws.mean(0) / spread, mean / spread, atol=0.14)
    assert np.abs((np.cov(draws.T) - sigma) / np.outer(spread, spread)).max() < 0.17
    assert draws.sum(1).var() / sigma.sum() == pytest.approx(1, abs=0.17)


def log_p(sigma, x, seen):
    """log N(x; 0, sigma) of the seen cells, 0 where none is."""
    if not seen.any():
        return 0.0
    zero = torch.zeros(int(seen.sum())).double()
    return MultivariateNormal(zero, sigma[seen][:, seen]).log_prob(x[seen]).item()


@pytest.mark.parametrize("way", [conditioned.ByPrecision, conditioned.ByCovariance])
@pytest.mark.parametrize("n_hidden", [0, 3, 12, LENGTH])
def test_a_window_is_conditioned_by_the_closed_form(way, n_hidden):
    sigma = torch.from_numpy(covariance("ar1"))
    seen = torch.ones(LENGTH, dtype=torch.bool)
    seen[torch.randperm(LENGTH)[:n_hidden]] = False
    x = torch.randn(LENGTH).double()
    exact, left = conditional("ar1", x.numpy(), seen.numpy())
    triangle = conditioned.Triangle(whitening(sigma))
    zero = torch.zeros(1, LENGTH).double()
    observed = torch.where(seen, x, 0.0).unsqueeze(0)
    for g in (None, zero):
        given = way(triangle, observed, ~seen, g)
        np.testing.assert_allclose(given.mean[0].numpy(), exact, atol=1e-6)
        np.testing.assert_allclose(given.variance[0].numpy(), left.diagonal(), atol=1e-6)
        root = given.deviations(0, torch.eye(given.n_noise).double())
        np.testing.assert_allclose((root.mT @ root).numpy(), left, atol=1e-6)
        assert given.log_prob.item() == pytest.approx(log_p(sigma, x, seen), abs=1e-6)


def test_scaled_innovations_are_conditioned_alike_in_both_ways():
    triangle = conditioned.Triangle(whitening(torch.from_numpy(covariance("ar1"))))
    missing = torch.rand(LENGTH) < 0.5
    x, g = torch.randn(2, 3, LENGTH).double()
    r = torch.where(missing, 0.0, x)
    one, other = (
        way(triangle, r, missing, g) for way in (conditioned.ByPrecision, conditioned.ByCovariance)
    )
    for name in ("mean", "variance", "log_prob"):
        torch.testing.assert_close(getattr(one, name), getattr(other, name))
    roots = [given.deviations(2, torch.eye(given.n_noise).double()) for given in (one, other)]
    torch.testing.assert_close(roots[0].mT @ roots[0], roots[1].mT @ roots[1])


def test_completed_series_keep_their_variance():
    """Means would not: half of the cells are missing, and windows are fitted again and again."""
    x = drawn("ar1", 1500)
    mask = np.random.default_rng(1).random(1500) < 0.5
    options = np.zeros((1500, 0)), [(0, 1500)], np.arange(1500 - LENGTH + 1), LENGTH
    found = completion.complete(np.where(mask, x, 0.0)[:, None], mask[:, None], *options)
    np.testing.assert_array_equal(found[mask, 0], x[mask])
    r = found[:, 0] - found.mean()
    assert r.var() / x[mask].var() == pytest.approx(1, abs=0.1)
    own = x - x.mean()
    expected = (own[1:] * own[:-1]).mean() / own.var()
    assert (r[1:] * r[:-1]).mean() / r.var() == pytest.approx(expected, abs=0.02)


def shrinkage_of(x, share):
    mask = np.random.default_rng(3).random(x.shape) >= share
    options = np.zeros((len(x), 0)), [(0, len(x))], np.arange(len(x) - LENGTH + 1), LENGTH
    return completion.best_shrinkage(np.where(mask, x, 0.0), mask, *options)


@pytest.mark.parametrize("share", [0.1, 0.6])
def test_columns_that_tell_of_one_another_are_not_kept_apart(share):
    """Three copies of a smooth series with little noise: what is there tells nearly all."""
    rng = np.random.default_rng(2)
    x = drawn("sinusoids", 600)[:, None] + 0.1 * rng.normal(size=(600, 3))
    assert shrinkage_of(x, share).apart == 0


def test_columns_that_tell_nothing_of_one_another_are_kept_apart():
    x = np.stack([drawn("ar1", 400, seed) for seed in range(8)], 1)
    assert shrinkage_of(x, 0.1).apart == max(completion.APARTS)


@each_process
def test_log_p_of_a_window_is_exact(process):
    model = fitted(process).model
    x = torch.from_numpy(np.stack([drawn(process, LENGTH, seed) for seed in range(5)])).float()
    mask = (torch.rand(5, LENGTH) < 0.7).float()
    sigma = torch.from_numpy(covariance(process))
    log_px = model.importance(x * mask, None, mask, eps=model.grid(8)).log_px
    for row, seen, found in zip(x.double(), mask > 0, log_px, strict=True):
        exact = MultivariateNormal(torch.zeros(int(seen.sum())).double(), sigma[seen][:, seen])
        assert found.item() == pytest.approx(exact.log_prob(row[seen]).item(), abs=1e-2)


@pytest.mark.parametrize("first", [18, 22])
def test_a_gap_at_the_end_of_a_window_is_filled_from_both_sides(first):
    """Windows begin at 0, 8, 16 and so on, so that some of them end within the gap."""
    x, mask = drawn("ar1", 64, seed=1), np.ones(64, bool)
    mask[first : first + 5] = False
    mean, sigma = conditional("ar1", x, mask)
    filler, laid = WindowFiller(fitted("ar1")), layout(x, mask)
    draws = np.stack([filler.draw_slots(laid)[~mask, 0] for _ in range(500)])
    spread = np.sqrt(np.diag(sigma))
    np.testing.assert_allclose(draws.mean(0) / spread, mean / spread, atol=0.2)
    assert draws.sum(1).var() / sigma.sum() == pytest.approx(1, abs=0.25)
    found, _ = filler.fill_slots(laid)
    np.testing.assert_allclose(found[~mask, 0] / spread, mean / spread, atol=0.3)


# Long series


@pytest.mark.slow
@each_process
def test_chained_windows_have_the_autocovariance_of_the_process(process):
    n = 32
    x = chain(fitted(process), np.zeros((n, 0), np.float32), 1200)[..., 0]
    sigma = covariance(process, n)
    found = np.cov(x.T)
    near = np.abs(np.subtract.outer(np.arange(n), np.arange(n))) < LENGTH // 2
    assert np.abs(found - sigma)[near].max() < 0.19  # a standard error is 0.041 at most
    assert np.abs(np.diag(found).mean() - 1) < 0.05
    if process == "ar1":  # whose future needs one step of the past
        assert np.abs(found - sigma).max() < 0.19


def test_drawn_windows_take_the_marginal_of_the_training_windows():
    """The exponential of an AR(1), by a model of the AR(1) itself: the map is exp at all steps."""
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky(covariance("ar1"))
    run = fitted("ar1")
    run.codec.modelled = [Column("a")] * LENGTH
    run.train.x = np.exp(rng.normal(size=(4000, LENGTH)) @ root.T).astype(np.float32)
    run.train.mask = rng.random(run.train.x.shape) > 0.2
    run.train.x[~run.train.mask] = 50.0
    windows = rng.normal(size=(50, LENGTH)) @ root.T
    found = with_marginals(windows, run, rng)
    middle = np.abs(windows) < 2
    assert np.abs(np.log(found) - windows)[middle].max() < 0.15
    order = windows.ravel().argsort()
    assert (np.diff(found.ravel()[order]) >= 0).all()
    long = windows.reshape(1, -1, 1)  # one map, however long the series is
    np.testing.assert_array_equal(with_marginals(long, run, rng).ravel(), found.ravel())


def test_a_future_goes_on_from_the_end():
    past = np.full((LENGTH, 1), 2.0), np.ones((LENGTH, 1), bool), np.zeros((LENGTH, 0), np.float32)
    x = chain(fitted("ar1"), np.zeros((10, 0), np.float32), 1500, past)[..., 0]
    ahead = np.arange(1, 11)
    np.testing.assert_allclose(x.mean(0), 2 * PHI**ahead, atol=0.13)
    np.testing.assert_allclose(x.var(0), 1 - PHI ** (2 * ahead), atol=0.13)


# Scores


def test_a_score_is_minus_log_p_a_cell_in_deviations():
    run = fitted("ar1")
    run.train.x = np.stack([drawn("ar1", LENGTH, s) for s in range(200)]).astype(np.float32)
    run.train.mask = np.ones_like(run.train.x)
    scorer = WindowScorer(run)
    exact = MultivariateNormal(torch.zeros(LENGTH).double(), gaussian("ar1").covariance)
    nats = -exact.log_prob(torch.from_numpy(run.train.x).double()).numpy() / LENGTH
    np.testing.assert_allclose(
        scorer.surprise(run.train.x, None, run.train.mask)[0], nats, atol=1e-3
    )
    low, middle, high = np.quantile(nats, [0.25, 0.5, 0.75])
    np.testing.assert_allclose(scorer.in_deviations(middle)[0], 0, atol=0.02)
    np.testing.assert_allclose(scorer.spread[0], high - low, atol=1e-2)


def test_windows_with_holes_score_like_whole_ones():
    """Without half of its cells an ordinary window is as ordinary, and an odd one as odd."""
    run = fitted("sinusoids")
    run.train.x = np.stack([drawn("sinusoids", LENGTH, s) for s in range(400)]).astype(np.float32)
    run.train.mask = np.ones_like(run.train.x)
    scorer, mask = WindowScorer(run), run.train.mask.copy()
    mask[:, ::2] = 0  # every second step: the others can be told from each other less
    whole = scorer.in_deviations(scorer.surprise(run.train.x, None, run.train.mask))[0]
    half = scorer.in_deviations(scorer.surprise(run.train.x, None, mask))[0]
    assert abs(np.median(whole)) < 0.05
    assert abs(np.median(half)) < 0.3
    odd = scorer.in_deviations(scorer.surprise(3 * run.train.x, None, mask))[0]
    assert np.median(odd) > 5


# Counters


def test_a_counter_is_told_from_other_numbers():
    rng, step = np.random.default_rng(0), steps.Step(60.0)
    seconds = 60.0 * np.arange(200)

    def is_counter(values):
        changes = counters.steps_of(np.asarray(values, float), seconds, None, step)
        return bool(counters.is_counter(*changes) and counters.tells(changes[0]))

    rises = rng.poisson(3, 200).cumsum()
    assert is_counter(rises)
    assert is_counter(np.where(np.arange(200) < 120, rises, rises - rises[120]))  # set back once
    assert is_counter(np.where(np.arange(200) % 9 == 4, np.nan, rises))
    assert not is_counter(np.arange(200))  # row numbers
    assert not is_counter(rng.normal(size=200).cumsum())
    assert not is_counter(np.sin(seconds / 600))
    assert not is_counter(np.ones(200))
    seconds = 60.0 * np.arange(3000)
    assert not is_counter(80 + np.repeat(np.arange(30) % 2, 100))  # rises and falls, but rarely
    assert is_counter(rng.poisson(0.05, 3000).cumsum())


def test_steps_and_sums_of_counters_are_inverse():
    read = np.array([10.0, 12, np.nan, np.nan, 18, 25, 3, 4, np.nan, 0, 5])
    segment = np.array([0] * 9 + [1] * 2)
    column = Column("n", shift=2.0, scale=4.0, curve=counters.CURVE, low=0.0)
    mask = ~np.isnan(read)[:, None]
    x = np.where(mask, ((read - 2) / 4)[:, None], 0.0)
    steps_of, there, kept = counters.to_steps(x, mask, segment, [column])
    np.testing.assert_array_equal(kept[:, 0], read)
    # Known between slots side by side of a segment, where the counter did not fall.
    assert there[:, 0].tolist() == [0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 1]
    found = steps_of[:, 0] * 4 + 2
    np.testing.assert_allclose(found[there[:, 0]], [2, 7, 1, 5])
    guess = np.where(there[:, 0], found, [0, 0, 1, 2, 1, 0, 9, 0, 6, 0, 0])
    whole = counters.summed(guess, read, segment)
    np.testing.assert_allclose(whole, [10, 12, 13.5, 16.5, 18, 25, 3, 4, 10, 0, 5])
    assert np.isnan(counters.summed(guess, np.full(11, np.nan), segment)).all()


def test_sums_of_steps_reach_back_to_the_start():
    read = np.array([np.nan, np.nan, 7.0, np.nan])
    whole = counters.summed(np.array([1.0, 2, 3, 4]), read, np.zeros(4, int))
    np.testing.assert_allclose(whole, [2, 4, 7, 11])


# Commands


def sensors(n=500, seed=0, groups=1):
    tables = []
    for g in range(groups):
        rng = np.random.default_rng((seed, g))
        t = np.arange(n)
        a = 20 + 5 * np.sin(2 * np.pi * t / 24) + 0.5 * rng.normal(size=n)
        b = 3 * a + rng.normal(size=n)
        stamps = pd.date_range("2024-03-04", periods=n, freq="h").strftime("%Y-%m-%d %H:%M")
        cells = {"time": stamps, "machine": f"m{g}", "a": np.round(a, 2), "b": np.round(b, 2)}
        tables.append(pd.DataFrame(cells))
    return pd.concat(tables, ignore_index=True)


def test_crps_of_a_normal_is_that_of_its_draws():
    x = torch.linspace(-4, 4, 9).double()
    of_quantiles = torch.from_numpy(stats.norm.ppf((np.arange(5000) + 0.5) / 5000))
    expected = (of_quantiles.unsqueeze(-1) - x).abs().mean(0) - 1 / np.sqrt(np.pi)
    torch.testing.assert_close(completion.crps_of_normal(x), expected, atol=1e-3, rtol=0)


@pytest.mark.slow
def test_a_window_of_many_cells_has_factors_and_goes_through_every_verb(
    few_steps, call, monkeypatch
):
    """Columns that are nearly one another: a line would miss what the other column tells."""
    monkeypatch.setattr(windows, "MOST_CELLS", 20)
    frame = sensors(400).drop(columns="machine").astype({"a": object})
    truth = frame["a"].astype(float)
    frame.loc[50:54, "a"] = ""
    frame.to_csv("t.csv", index=False)
    fill = call("impute", "t.csv", "--time", "time", "--window", 12, "--interval", 0.9, "--check")
    assert fill.code == 0, fill.err
    assert "windows of 12 x 2 with noise of 23 factors" in fill.out
    likelihood = find_run("runs", None).load()[0].model.likelihood
    assert isinstance(likelihood, factors.WideWindows)
    assert likelihood.shrinkage in {
        Shrinkage(ridge, apart)
        for ridge in (RIDGE, *completion.RIDGES)
        for apart in (0.0, *completion.APARTS)
    }
    error = (pd.read_csv("t.imputed.csv")["a"] - truth)[50:55].abs().mean()
    assert error < 0.2 * truth.std()
    for verb, *args in (
        ["train", "--data", "t.csv", "--time", "time", "--window", 12, "--run", "wide"],
        ["evaluate", "--run", "wide", "--n-samples", 4],
        ["generate", "--run", "wide", "--length", "40h", "--out", "new.csv"],
    ):
        found = call(verb, *args)
        assert found.code == 0, found.err
    assert len(pd.read_csv("new.csv")) == 40


def test_files_are_made_of_a_series_with_awkward_groups_and_names(few_steps, call, train):
    """A column has the name of one that windows get; a group has no cell at its end, or none."""
    frame = sensors(150, groups=2).rename(columns={"b": "step"}).astype(object)
    cells = frame.columns.difference(["time", "machine"])
    at_end = frame.index[frame["machine"] == frame["machine"].iloc[-1]]
    frame.loc[at_end[100:], cells] = ""
    frame.to_csv("t.csv", index=False)
    reading = "--time", "time", "--group", "machine"
    train("runs", "two", "--data", "t.csv", *reading)
    made = call("generate", "--run", "two", "--n", 3, "--out", "windows.csv")
    assert made.code == 0, made.err
    header = pd.read_csv("windows.csv", nrows=0).columns
    assert list(header[:2]) == ["series", "step of window"]
    future = call("generate", "--run", "two", "--future", 4, "--out", "next.csv")
    assert future.code == 0, future.err
    assert len(pd.read_csv("next.csv")) == 8
    (start,) = pd.read_csv("next.csv").groupby("machine")["time"].first().iloc[-1:]
    assert start == frame["time"].iloc[at_end[100]]
    far = call("generate", "--run", "two", "--length", 10**12, "--out", "far.csv")
    assert far.code == 2
    assert f"--length {10**12} would take" in far.err
    frame.loc[at_end, cells] = ""
    frame.to_csv("t.csv", index=False)
    gone = call("generate", "--run", "two", "--future", 4, "--out", "none.csv")
    assert gone.code == 2
    assert "has no cell from which --future could go on" in gone.err


@pytest.mark.parametrize("likelihood", ["windows", "factors"])
def test_a_run_resumes_to_the_same_bits(likelihood, few_steps, train, monkeypatch):
    sensors(150).drop(columns="machine").to_csv("t.csv", index=False)
    flags = ["--data", "t.csv", "--time", "time", "--window", 12, "--latent-dim", 4]
    flags += ["--likelihood", likelihood, "--schedule", "constant"]
    if likelihood == "factors":
        flags += ["--hide-rate", 0.3]
    whole = train("runs", "whole", *flags, "--epochs", 4)
    train("runs", "parts", *flags, "--epochs", 2)
    parts = train("runs", "parts", "--resume", "parts", "--epochs", 4)
    assert_same_run(whole, parts)


def test_an_online_score_knows_nothing_of_what_follows(few_steps, call):
    frame = sensors(groups=2)
    frame.to_csv("t.csv", index=False)
    frame[frame["time"] < "2024-03-18"].to_csv("first.csv", index=False)
    changed = frame.assign(a=np.where(frame["time"] < "2024-03-18", frame["a"], 1e6))
    changed.to_csv("changed.csv", index=False)
    flags = ["--time", "time", "--group", "machine"]
    result = call("detect", "t.csv", *flags, "--online")
    assert result.code == 0, result.err
    whole = pd.read_csv("t.scored.csv", dtype=str, keep_default_na=False)
    for name in ("first", "changed"):
        result = call("detect", f"{name}.csv", "--run", "0001", "--online")
        assert result.code == 0, result.err
        part = pd.read_csv(f"{name}.scored.csv", dtype=str, keep_default_na=False)
        threshold = json.loads(Path("runs/0001/report/detect.json").read_text())["threshold"]
        beyond = pd.to_numeric(part["anomaly_score"]) > threshold
        assert part["is_anomaly"].tolist() == beyond.astype(int).astype(str).tolist()
        early = part["time"] < "2024-03-18"
        known = whole["time"] < "2024-03-18"
        for column in ("anomaly_score", "anomaly_nats"):
            expected = whole.loc[known, column].tolist()
            assert part.loc[early, column].tolist() == expected
        assert (whole.loc[known, "anomaly_score"] != "").mean() > 0.8
    offline = call("detect", "changed.csv", "--run", "0001", "--overwrite")
    assert offline.code == 0, offline.err
    scored = pd.read_csv("changed.scored.csv", dtype=str, keep_default_na=False)
    late = (scored["time"] > "2024-03-17") & (scored["time"] < "2024-03-18")
    assert (scored.loc[late, "anomaly_score"] != part.loc[late, "anomaly_score"]).all()


def test_online_goes_with_a_series(few_steps, call):
    sensors(60).drop(columns="time").to_csv("t.csv", index=False)
    result = call("detect", "t.csv", "--online")
    assert result.code == 2
    assert "--online goes with a series" in result.err


def test_later_rows_are_not_trained_on(few_steps, call):
    frame = sensors()
    late = frame["time"] > "2024-03-18 00:00"
    changed = frame.assign(a=np.where(late, 1000 + frame["a"], frame["a"]))
    codecs, rows = [], []
    for i, table in enumerate((frame, changed)):
        table.to_csv("t.csv", index=False)
        result = call(
            "detect", "t.csv", "--time", "time", "--train-until", "2024-03-18 00:00", "--overwrite"
        )
        assert result.code == 0, result.err
        run = find_run("runs", f"000{i + 1}")
        fitted_run, _ = run.load(torch.device("cpu"))
        codecs.append(run.config().codec.to_dict())
        rows.append(fitted_run.train.x)
    np.testing.assert_array_equal(*rows)
    assert codecs[0]["columns"] == codecs[1]["columns"]
    scored = pd.read_csv("t.scored.csv")
    assert scored["anomaly_score"].notna().all()
    early = scored["time"] < "2024-03-09"
    assert scored.loc[late, "anomaly_score"].min() > 100 * scored.loc[early, "anomaly_score"].max()
    assert scored.loc[late, "is_anomaly"].mean() > 0.9


@pytest.mark.parametrize(
    ("until", "said"),
    [("soon", "--train-until soon: expected a time as the file"), ("2001-01-01 00:00", "later")],
)
def test_a_wrong_end_of_training_is_one_line(until, said, few_steps, call):
    sensors().to_csv("t.csv", index=False)
    result = call("detect", "t.csv", "--time", "time", "--train-until", until)
    assert result.code == 2
    assert said in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_a_check_measures_hidden_cells(few_steps, call):
    sensors().to_csv("t.csv", index=False)
    result = call("impute", "t.csv", "--time", "time", "--check")
    assert result.code == 0, result.err
    rows = ("VAE  ", "single cells  ", "runs of half a window  ", "whole columns  ")
    for name in rows:
        assert name in result.out
    kept = json.loads(Path("runs/0001/windows.json").read_text())["patterns"]
    for entry in kept.values():
        assert set(entry["error"]) == METHODS
        assert set(entry["columns"]) == {"a", "b"}
        shown = f"{entry['error']['VAE']:.3f} ± {entry['se']['VAE']:.3f}"
        assert shown in result.out
    # Without the season that an old run does not tell, and in a report.
    arrays = dict(np.load("runs/0001/rows.npz"))
    assert arrays.pop("held_when").shape == (kept["single cells"]["n_windows"], 2)
    np.savez("runs/0001/rows.npz", **arrays)
    result = call("impute", "t.csv", "--run", "0001", "--check", "--overwrite")
    assert result.code == 0, result.err
    assert "season + line" not in result.out
    page = call("plot_results", "--run", "0001")
    assert page.code == 0, page.err
    assert "runs of half a window, that were hidden" in Path("runs/0001/report.html").read_text()


def test_a_check_of_the_gaussian_itself_finds_no_other_gaussian_better():
    """The model is the Gaussian at which training started, so both fill cells alike."""
    model = fitted("sinusoids")
    model.model.likelihood.low.data.zero_()
    x = np.stack([drawn("sinusoids", LENGTH, seed) for seed in range(40)]).astype(np.float32)
    when = np.stack([np.zeros(40), 60.0 * np.arange(40)], 1)
    mask = np.ones(x.shape, np.float32)
    rows = RowsToCheck(Reference(x, mask, None, None, when), Reference(x, mask, when=when), 40)
    model.codec.calendar, model.codec.step = [], steps.Step(60.0)
    checked = check_windows(model, WindowFiller(model), rows, None, 0.9, 0)
    assert set(checked.result["patterns"]) == {"single cells", "runs of half a window"}
    for entry in checked.result["patterns"].values():
        apart, _ = entry["difference"]["Gaussian of windows"]
        assert apart == pytest.approx(0, abs=1e-4)
        assert entry["coverage"] == pytest.approx(0.9, abs=0.05)
        assert entry["error"]["VAE"] < entry["error"]["line"]
    assert "Note" not in checked.report


@each_process
def test_the_gaussian_at_the_start_is_the_one_that_started(process):
    mean = torch.arange(float(LENGTH)).double()
    weights = torch.ones(1, LENGTH).double()
    sigma = torch.from_numpy(covariance(process)).double()
    likelihood = Windows(LENGTH, (LENGTH, 1), y_dim=1)
    assert Likelihood(LENGTH, LENGTH).gaussian_at_start() is None
    likelihood.start(WindowGaussian(mean, weights, sigma))
    for part, expected in zip(likelihood.gaussian_at_start(), (mean, weights, sigma), strict=True):
        torch.testing.assert_close(part, expected, atol=2e-5, rtol=1e-5)


def test_a_sensor_that_joins_late_does_not_move_the_scores_before(few_steps, call):
    """A quiet sensor joins after a third: the rows before it are as ordinary as those after."""
    frame = sensors(900)
    quiet = 7 + 0.3 * frame["a"] + 0.01 * np.random.default_rng(3).normal(size=len(frame))
    early = np.arange(len(frame)) < 300
    cells = np.where(early, "", [f"{value:.3f}" for value in quiet])
    frame.assign(c=cells).to_csv("t.csv", index=False)
    result = call("detect", "t.csv", "--time", "time", "--window", "24")
    assert result.code == 0, result.err
    scored = pd.read_csv("t.scored.csv")
    assert abs(scored.loc[early, "anomaly_score"].median()) < 1.5
    assert "c=" not in " ".join(scored.loc[early, "anomaly_why"].dropna())


@pytest.mark.slow
def test_an_example_is_scored_by_its_labels(few_steps, call, monkeypatch):
    monkeypatch.setattr(example, "N_STEPS", 1000)
    monkeypatch.setattr(example, "GAPS", (("A", 300, 20), ("B", 500, 45)))
    monkeypatch.setattr(example, "EVENTS", (("A", "spike", "vibration", 700, 2),))
    result = call("data", "--example", "sensors.csv", "--kind-of", "series")
    assert result.code == 0, result.err
    result = call("data", "--data", "sensors.csv")
    assert result.out.count("temperature: from") == 1
    result = call("detect", "sensors.csv", "--labels", "event", "--window", 36)
    assert result.code == 0, result.err
    assert "Against the labels (2 anomalies" in result.out
    assert "VUS-PR" in result.out
    names = ["VAE (this run)", GAUSSIAN, "nearest window", "isolation forest of windows"]
    kept = json.loads(Path("runs/0001/detection.json").read_text())
    counts = kept.pop("events")
    assert list(kept) == names
    assert all(0 < found["vus_pr"] <= 1 for found in kept.values())
    assert counts["labelled"] == 1
    assert f"Events found: {counts['found']} of 1 labelled ones" in result.out
    assert "about one false event in 30 days (--contamination" in result.out
    told = json.loads(Path("runs/0001/report/detect.json").read_text())
    assert "about one false event in 30 days" in told["means"]
    rows, listed = pd.read_csv("sensors.scored.csv"), pd.read_csv("sensors.events.csv")
    numbered = rows["anomaly_event"][rows["anomaly_event"] > 0].value_counts()
    assert rows["is_anomaly"].tolist() == (rows["anomaly_event"] > 0).astype(int).tolist()
    assert numbered.to_dict() == dict(zip(listed["event"], listed["rows"], strict=True))
    assert told["n_flagged"] == listed["rows"].sum() > 0
    # A share of rows sets another threshold, and another file is compared with the run's windows.
    frame = pd.read_csv("sensors.csv", dtype=str, keep_default_na=False)
    frame[frame["machine"] == "A"].to_csv("a.csv", index=False)
    flags = ("--run", "0001", "--labels", "event", "--contamination", 0.2)
    result = call("detect", "a.csv", *flags)
    assert result.code == 0, result.err
    assert "which 20 % of ordinary rows exceed" in result.out
    for name in names:
        assert name in result.out


def test_events_are_counted_by_the_labelled_runs_that_they_overlap():
    """Labelled runs at rows 2-4, 10-11, 15 and 20-21; row 3 is missing, and 10-21 are a group."""
    labels = np.zeros(24)
    labels[[2, 4, 10, 11, 15, 20, 21]] = 1
    labels[16] = np.nan
    kept = np.delete(np.arange(24), 3)
    laid = grid.lay(60.0 * kept, (kept >= 10).astype(int), steps.Step(60.0), 4)
    labels = labels[kept]

    found = [
        events.Event(first, end, first, 1, 1.0, "", "")
        for first, end in ((2, 5), (8, 10), (11, 16), (17, 20))
    ]
    slot = laid.slot[np.searchsorted(kept, [10, 20])]
    assert slot.tolist() == [10, 20]
    counts = events.by_labels(found, laid, labels)
    assert counts == {"labelled": 4, "found": 3, "events": 4, "false": 2}
    assert set(events.by_labels([], laid, labels).values()) == {0, 4}


def test_a_stretch_is_where_cells_together_are_far():
    deviations = np.zeros((30, 2))
    deviations[5, 0] = 5.0  # an excess of 21
    deviations[[10, 13], 1] = 4.0, 3.0  # 12 - 4 - 4 + 5 = 9 is less than 12 alone
    assert events.stretches(deviations, 11.0) == [(0, 5, 6, 21.0), (1, 10, 11, 12.0)]
    deviations[11:13, 1] = 3.0  # 12 + 5 + 5 + 5
    assert events.stretches(deviations, 21.0) == [(1, 10, 14, 27.0)]
    deviations[0:2, 0] = 1.0
    segment = np.repeat([0, 1], 15)
    assert not events.odd_stretches(deviations, segment).any()
    deviations[14:17, 1] = 6.0  # in the first segment 27 + 32, in the second 64
    odd = events.odd_stretches(deviations, segment)
    assert np.flatnonzero(odd[:, 1]).tolist() == [*range(10, 17)]
    assert not odd[:, 0].any()
    np.testing.assert_array_equal(odd, events.odd_stretches(deviations, np.zeros(30, int)))


@each_process
def test_an_odd_stretch_does_not_move_what_is_expected_around_it(process):
    """A shift as long as half a window, of which a quarter of a window hides but a part."""
    n = 6 * LENGTH
    x = drawn(process, n)
    mask = np.ones(n, bool)
    at = slice(40, 48)
    shifted = x + 12.0 * (np.arange(n) >= at.start) * (np.arange(n) < at.stop)
    scorer = WindowScorer(fitted(process))
    mean, std = scorer.expected(layout(shifted, mask), np.zeros(len(x)))
    deviations = events.Expected(mean, std).deviations(shifted[:, None], mask[:, None])
    _, first, end, _ = max(events.stretches(deviations, 0.0), key=lambda found: found[-1])
    assert (first, end) == (at.start, at.stop)
    plain, _ = scorer.expected(layout(x, mask), np.zeros(len(x)))
    outside = np.r_[20:40, 48:76]
    assert np.abs(mean - plain)[outside].max() < 2.5


def test_a_cell_that_is_far_out_leaves_the_scores_of_others():
    scorer, x = WindowScorer(fitted("ar1")), drawn("ar1", 200)
    far = np.where(np.arange(200) == 60, 1e15, x)
    mask = np.ones(200, bool)
    plain, odd = (scorer.by_all(layout(values, mask))[0] for values in (x, far))
    near = np.abs(np.arange(200) - 60) < LENGTH
    np.testing.assert_allclose(odd[~near], plain[~near], atol=1e-5)
    assert odd[60] > 1e6


def test_of_a_long_series_expectations_are_found_near_what_is_odd(monkeypatch):
    monkeypatch.setattr(score_windows, "MOST_EXPECTED", 3)
    x, beyond = drawn("ar1", 200), np.zeros(200)
    beyond[150] = 1
    mean, _ = WindowScorer(fitted("ar1")).expected(layout(x, np.ones(200, bool)), beyond)
    known = np.flatnonzero(np.isfinite(mean[:, 0]))
    assert 150 in known
    assert len(known) < 50


def test_an_ordinary_series_exceeds_the_threshold_about_once_in_30_periods():
    """Scores are means over the windows of two periods that cover a slot, of windows' means."""
    rng, period = np.random.default_rng(0), 12
    box = np.ones(2 * period) / (2 * period)
    for noise in (rng.normal, rng.exponential):
        scores = np.convolve(np.convolve(noise(size=60_000), box, "valid"), box, "valid")
        scores = 10 * (scores - np.median(scores))
        level = once_in(scores, np.zeros(len(scores), int), period)
        above = scores > level
        n_events = len(events.events_of(above, np.zeros(len(above), int), period // 2))
        assert 0.3 < n_events / (len(scores) / period / 30) < 1.3


def test_the_threshold_is_that_of_the_highest_scores_of_periods():
    """Each period has one score, which is normal, but for the odd ones."""
    period, n = 48, 4000
    normal = stats.norm(3.0, 2.0)
    highest = normal.ppf((np.arange(n) + 0.5) / n)
    np.random.default_rng(0).shuffle(highest)
    scores, one = np.repeat(highest, period), np.zeros(n * period, int)
    level = once_in(scores, one, period)
    assert normal.sf(level) == pytest.approx(1 / 30, rel=0.05)
    scores[: n // 10 * period] += 50.0
    assert level < once_in(scores, one, period) < level + 1.5
    # Two segments, whose last block is short; slots without a score; and few periods.
    some = np.r_[0 : 100 * period + 5, n // 2 * period : (n // 2 + 100) * period + 5]
    parts = scores[some + n // 5 * period]
    parts[::7] = np.nan
    near = once_in(parts, np.repeat([0, 1], 100 * period + 5), period)
    assert near == pytest.approx(level, abs=1.5)
    assert np.isfinite(once_in(parts[: 3 * period], one[: 3 * period], period))
    assert once_in(np.full(9, np.nan), np.zeros(9, int), 3) == np.inf
    assert 1 < once_in(np.ones(90), np.zeros(90, int), 3) < 2  # nothing differs


def test_windows_of_a_run_are_laid_on_slots_by_their_times():
    model = fitted("ar1")
    model.codec.step, model.codec.calendar = steps.Step(60.0), []
    scorer = WindowScorer(model)
    when = np.array([[1, 600.0], [0, 60.0], [0, 180.0]])
    rows = Reference(np.zeros((3, LENGTH)), np.ones((3, LENGTH)), None, None, when)
    found, segment = scorer.on_slots(np.array([5.0, 1.0, 3.0]), "training", None, rows)
    assert found.tolist() == [1.0, 1.0, *[2.0] * (LENGTH - 2), 3.0, 3.0, *[5.0] * LENGTH]
    assert segment.tolist() == [0] * (LENGTH + 2) + [1] * LENGTH
    assert scorer.on_slots(np.zeros(3), "training", None, rows._replace(when=None)) is None


def test_an_event_is_as_long_as_the_cells_that_are_far():
    """Slots 10 to 29 are beyond the threshold, and 14 and 17 far from what is expected."""
    column = Column("v", style={"decimals": 1})
    x = np.zeros((60, 1))
    x[[14, 17], 0] = 5.0, 9.0
    laid = grid.lay(np.arange(60.0), None, steps.Step(1.0), 8)
    layout = SimpleNamespace(grid=laid, x=x, mask=np.ones((60, 1), bool), length=16)
    scores = np.where((np.arange(60) >= 10) & (np.arange(60) < 30), 3.0, 0.0)
    expected = events.Expected(np.zeros((60, 1)), np.ones((60, 1)))

    def found(expected=expected):
        return events.found(layout, [column], expected, scores, scores > 1)

    (event,) = found()
    assert (event.first, event.end, event.peak, event.n_rows) == (14, 18, 17, 4)
    assert event.why == "v=9.0 expected 0.0 ±1.0"
    assert np.flatnonzero(events.of_rows([event], laid.slot)).tolist() == [14, 15, 16, 17]
    x[21:24], x[17] = 8.0, 0.0  # an excess of 180, apart from one of 21
    (event,) = found()
    assert (event.first, event.end, event.peak) == (21, 24, 21)
    x[[27, 29]] = 11.0  # 117 more, beyond 3 ordinary cells
    (event,) = found()
    assert (event.first, event.end) == (21, 30)
    (event,) = found(events.Expected(np.zeros((60, 1)), np.full((60, 1), 10.0)))  # nothing is far
    assert (event.first, event.end) == (10, 30)


def test_rows_that_no_window_shares_with_an_event_have_their_own():
    """Slots 10 to 69 are beyond the threshold; windows of 16 that hold slot 30 reach 15 to 45."""
    x = np.zeros((80, 1))
    x[30], x[[20, 60]] = 20.0, 5.0  # slot 20 is near the far larger one
    laid = grid.lay(np.arange(80.0), None, steps.Step(1.0), 8)
    layout = SimpleNamespace(grid=laid, x=x, mask=np.ones((80, 1), bool), length=16)
    scores = np.where((np.arange(80) >= 10) & (np.arange(80) < 70), 3.0, 0.0)
    scores[30], scores[62] = 9.0, 4.0
    expected = events.Expected(np.zeros((80, 1)), np.ones((80, 1)))
    found = events.found(layout, [Column("v")], expected, scores, scores > 1)
    assert [(e.first, e.end, e.score) for e in found] == [
        (10, 15, 3.0),
        (30, 31, 9.0),
        (60, 61, 4.0),
    ]


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["18", "19", "20", "21"], "real"),  # whole degrees, which are codes in a table
        (["-1.5", "0.25", "7.5"], "real"),
        (["0", "1"], "binary"),
        (["on", "off", "idle"], "categorical"),
    ],
)
def test_numbers_of_few_values_are_measured_and_states_are_given(cells, kind, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"t": np.arange(1200), "v": rng.normal(size=1200).round(3)})
    frame["few"] = np.repeat(rng.choice(cells, 60), 20)
    frame["v"] += 3 * frame["few"].map(cells.index)  # a state that tells nothing is ignored
    frame.to_csv(tmp_path / "s.csv", index=False)
    config = DataConfig(data=str(tmp_path / "s.csv"), time=["t"])
    layout = SERIES.read(config.data, config).layout
    (few,) = [column for column in layout.columns if column.name == "few"]
    assert few.kind == kind
    assert few.condition == (kind != "real")
