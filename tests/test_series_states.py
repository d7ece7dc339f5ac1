"""States of a series against closed forms: what is known of a switch moves means and scales."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.distributions import MultivariateNormal

from parts.forms.config import DataConfig
from parts.forms.series import states
from parts.forms.series.form import SERIES
from parts.forms.units import Column, modelled
from parts.model.likelihoods.factors import FactorWindows
from parts.model.likelihoods.windows import Windows, fit_scales, fit_windows
from parts.model.windowvae import WindowVAE
from parts.tasks import sample_windows

L, D = 6, 2
LIKELIHOODS = {"windows": Windows, "factors": FactorWindows}
each_likelihood = pytest.mark.parametrize("name", LIKELIHOODS)


def switch(n, seed=0, run=20):
    """On or off at n steps, in runs of random length."""
    rng = np.random.default_rng(seed)
    lengths = 1 + rng.geometric(1 / run, size=n)
    return np.repeat(np.arange(len(lengths)) % 2, lengths)[:n]


def one_hot(codes, n_levels=2):
    return (codes[:, None] == np.arange(n_levels)).astype(np.float32)


# The likelihoods


def model_of(name, dtype=torch.float64):
    """A model of windows with two numbers of the calendar and a state of two levels."""
    likelihood = LIKELIHOODS[name](L * D, (L, D), 2 + 2 * L, 2)
    model = WindowVAE(likelihood, (8,), 3, likelihood.context_dim(2 + 2 * L)).to(dtype).eval()
    x = torch.randn(400, L * D).to(dtype)
    likelihood.start(fit_windows(x, torch.randn(400, 2 + 2 * L)))
    likelihood.by_state.copy_(torch.tensor([[-0.4, 0.3], [0.6, 0.0]]))
    return model


def y_of(n, seed=0):
    rng = np.random.default_rng(seed)
    known = rng.normal(size=(n + L, 2)), one_hot(switch(n + L, run=3)), np.zeros(n + L)
    return torch.from_numpy(states.Given(*known, L)[np.arange(n)])


def dense(likelihood, params):
    """Mean and covariance of p(x|z, y) by their definition, [..., L D] and [..., L D, L D]."""
    scale = torch.diag_embed(torch.exp(likelihood.log_state_of(params)))
    if isinstance(likelihood, Windows):
        mu, g, _ = likelihood.parts(params)
        inverse = torch.linalg.inv(likelihood.triangle())
        sigma = inverse @ torch.diag_embed(torch.exp(2 * g)) @ inverse.mT
    else:
        mu, s = likelihood.parts(params.unsqueeze(0))
        factors, own = likelihood.noise()
        mu = mu[0]
        sigma = torch.exp(2 * s[0])[..., None, None] * (
            factors @ factors.mT + torch.diag_embed(own)
        )
    return mu, scale @ sigma @ scale


@each_likelihood
@pytest.mark.parametrize("share", [1.0, 0.7, 0.3])
def test_log_p_with_states_is_that_of_a_dense_gaussian(name, share):
    model, y = model_of(name), y_of(5)
    x, mask = torch.randn(5, L * D).double(), (torch.rand(5, L * D) < share).double()
    params = model.decode(torch.randn(2, 5, 3).double(), y)
    mean, sigma = dense(model.likelihood, params)
    found = model.likelihood.log_prob(params, x, mask)
    for k in range(2):
        for b, seen in enumerate(mask > 0):
            own = MultivariateNormal(mean[k, b, seen], sigma[k, b][seen][:, seen])
            torch.testing.assert_close(found[k, b], own.log_prob(x[b, seen]))


@each_likelihood
@pytest.mark.parametrize("share", [0.7, 0.3])
def test_conditionals_with_states_are_those_of_a_dense_gaussian(name, share):
    model, y = model_of(name), y_of(4)
    x, mask = torch.randn(4, L * D).double(), (torch.rand(4, L * D) < share).double()
    params = model.decode(torch.randn(4, 3).double(), y)
    mean, sigma = dense(model.likelihood, params)
    given = model.likelihood.given(params, x, mask)
    found, std = model.likelihood.mean(given), model.likelihood.std(given)
    torch.testing.assert_close(
        model.likelihood.std(params), sigma.diagonal(dim1=-2, dim2=-1).sqrt()
    )
    for b, seen in enumerate(mask > 0):
        gain = sigma[b][~seen][:, seen] @ torch.linalg.inv(sigma[b][seen][:, seen])
        expected = mean[b, ~seen] + gain @ (x[b, seen] - mean[b, seen])
        left = sigma[b][~seen][:, ~seen] - gain @ sigma[b][seen][:, ~seen]
        torch.testing.assert_close(found[b, ~seen], expected)
        torch.testing.assert_close(std[b, ~seen], left.diagonal().sqrt())
    alone = model.likelihood.log_prob_per_column(params, x)
    for j in range(L * D):
        rest = torch.arange(L * D) != j
        gain = sigma[:, j : j + 1, rest] @ torch.linalg.inv(sigma[:, rest][:, :, rest])
        middle = mean[:, j] + (gain @ (x - mean)[:, rest, None]).squeeze((-2, -1))
        variance = sigma[:, j, j] - (gain @ sigma[:, rest, j, None]).squeeze((-2, -1))
        exact = torch.distributions.Normal(middle, variance.sqrt()).log_prob(x[:, j])
        torch.testing.assert_close(alone[:, j], exact)


@each_likelihood
def test_draws_with_states_have_the_spread_of_their_state(name):
    model, y = model_of(name), y_of(1)
    params = model.decode(torch.zeros(1, 3).double(), y)
    _, sigma = dense(model.likelihood, params)
    draws = model.likelihood.sample(params.expand(20_000, -1))
    torch.testing.assert_close(torch.cov(draws.mT), sigma[0], atol=0.06, rtol=0.06)


def test_scales_by_state_are_those_of_the_rows():
    s = torch.from_numpy(one_hot(switch(40_000))).double().reshape(-1, 8, 2)
    std = torch.where(s[..., 1:] > 0, torch.tensor([3.0, 1.0]), torch.tensor([0.5, 1.0]))
    found = fit_scales(std * torch.randn(5000, 8, 2).double(), s)
    assert (found[1] - found[0]).tolist() == pytest.approx([np.log(6), 0.0], abs=0.03)


@each_likelihood
def test_a_model_starts_at_the_mean_and_the_scale_of_each_state(name):
    """x = 1 + 4 s + exp(s) eps: at the start p(x | y) has these means and spreads."""
    s = switch(6000)
    x = 1 + 4 * s + np.exp(s) * np.random.default_rng(1).normal(size=len(s))
    given = states.Given(np.zeros((len(s), 0)), one_hot(s), np.zeros(len(s)), L)
    starts = np.arange(len(s) - L + 1)
    windows = torch.from_numpy(np.lib.stride_tricks.sliding_window_view(x, L).copy())
    y = torch.from_numpy(given[starts]).double()
    likelihood = LIKELIHOODS[name](L, (L, 1), 2 * L, 2)
    model = WindowVAE(likelihood, (8,), 3, likelihood.context_dim(2 * L)).double().eval()
    model.start_at(windows, y)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
    some = torch.from_numpy(np.random.default_rng(2).permutation(len(starts))[:200])
    params = model.decode(torch.zeros(200, 3).double(), y[some])
    params = params if name == "windows" else torch.cat([params, torch.zeros(200, 1)], -1)
    at = torch.from_numpy(np.lib.stride_tricks.sliding_window_view(s, L).copy())[some].double()
    mean, std = likelihood.mean(params), likelihood.std(params)
    assert ((mean - 1 - 4 * at).abs().mean()).item() < 0.15
    assert ((std / torch.exp(at)).log().abs().mean()).item() < 0.1


# What windows are told


def test_windows_are_told_the_states_of_their_own_segment():
    codes, segment = np.array([0, 1, 1, 0, 1, 1]), np.array([0, 0, 0, 0, 1, 1])
    calendar = np.arange(6.0)[:, None]
    given = states.Given(calendar, one_hot(codes), segment, 3)
    assert given[np.array([1])].tolist() == [[1, 0, 1, 0, 1, 1, 0]]
    assert given[3].tolist() == [3, 1, 0, 0, 0, 0, 0]  # the next slots are of another segment
    assert given[4].tolist() == [4, 0, 1, 0, 1, 0, 0]  # and the last ones are not there
    assert given[1:3].shape == (2, 7)
    assert given[np.zeros(0, int)].shape == (0, 7)


def layout_of(frame, tmp_path, **options):
    frame.to_csv(tmp_path / "s.csv", index=False)
    config = DataConfig(data=str(tmp_path / "s.csv"), time=["t"], **options)
    return SERIES.read(config.data, config).layout


def rows(n=600, **columns):
    """A number that follows a switch, and other columns."""
    v = 3 * switch(n, 3) + np.random.default_rng(0).normal(size=n)
    return pd.DataFrame({"t": np.arange(n), "v": v.round(3)}).assign(**columns)


def test_states_that_help_are_told_from_others(tmp_path):
    n = 600
    once = np.where(np.arange(n) < 300, "left", "right")
    many = [f"state {i % 20}" for i in range(n)]
    words = np.where(switch(n) > 0, "on", "off")
    frame = rows(n, once=once, many=many, pump=words, same="yes", bit=switch(n, 3))
    layout = layout_of(frame, tmp_path)
    found = {column.name: column for column in layout.columns}
    assert [c.name for c in layout.columns if c.condition] == ["bit"]
    assert found["once"].why == "a state that changes 1 time"
    assert found["many"].why == "a state of 20 levels, expected at most 12"
    assert found["pump"].why == "a state that does not help to predict the numbers"
    assert found["same"].kind == "ignore"
    assert [c.name for c in modelled(layout.columns)] == ["v"]
    told = layout.y[np.array([5])][0]
    np.testing.assert_array_equal(told.reshape(-1, 2)[:, 1], frame["bit"][5 : 5 + layout.length])


def test_what_helps_in_one_part_of_the_time_only_is_no_help():
    n = 1000
    s = switch(n)
    noise = np.random.default_rng(1).normal(size=n)
    late = np.arange(n) >= 800
    known = np.ones((n, 1), bool), one_hot(s), np.zeros(n)
    always = states.gain((3 * s + noise)[:, None], *known)
    assert always == pytest.approx(0.5, abs=0.3)
    assert states.gain((3 * s * late - 3 * s * ~late + noise)[:, None], *known) < 0
    assert -0.1 < states.gain(noise[:, None], *known) < states.LEAST_GAIN


def test_a_state_that_is_asked_for_may_change_once(tmp_path):
    frame = rows(once=np.where(np.arange(600) < 300, "left", "right"))
    layout = layout_of(frame, tmp_path, kinds={"once": "categorical"})
    assert [c.name for c in layout.columns if c.condition] == ["once"]


def test_a_missing_state_is_a_level_of_its_own(tmp_path):
    words = np.where(switch(600, 3) > 0, "on", "off").astype(object)
    words[100:104] = ""
    layout = layout_of(rows(pump=words), tmp_path)
    assert layout.states[100:104].tolist() == [[0, 0]] * 4
    assert layout.states.sum() == 596


def test_a_window_has_room_for_so_many_states(tmp_path):
    """A window of 300 steps has at most two states of two levels, those that help most."""
    v = 3 * switch(600, 3) + 9 * switch(600, 4) + 6 * switch(600, 5)
    frame = rows(**{f"bit{i}": switch(600, i) for i in (3, 4, 5)}, v=v)
    frame["v"] += np.random.default_rng(0).normal(size=600).round(3)
    layout = layout_of(frame, tmp_path, window="300")
    assert [c.name for c in layout.columns if c.condition] == ["bit4", "bit5"]
    assert "no room" in layout.columns[2].why


# Draws of states


def library(calendar, codes, x, n_steps=4):
    """A Library of windows with a calendar [n, 1], codes of a state [n, L] and numbers [n, L]."""
    columns = [Column("pump", kind="binary", levels=["off", "on"], condition=True)]
    codec = SimpleNamespace(
        shape=(n_steps, 1), y_dim=1 + 2 * n_steps, state_dim=2, states=columns, conditions=()
    )
    told = one_hot(np.ravel(codes)).reshape(len(codes), -1)
    y = np.hstack([calendar, told]).astype(np.float32)
    train = SimpleNamespace(x=np.asarray(x, np.float32), y=y, mask=np.ones(np.shape(x), bool))
    return states.Library(codec, train)


def test_the_nearest_windows_are_those_of_the_least_distance(monkeypatch):
    monkeypatch.setattr(states, "N_NEAREST", 1)
    codes = [[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 0, 0]]
    found = library([[0], [0.5], [0]], codes, [[1, 2, 3, 4], [1, 1, 1, 1], [0, 0, 9, 0]])
    known = np.stack([one_hot(np.array([0, 0, 1, 1]))])
    calendar, x, mask = np.zeros((1, 1)), np.zeros((1, 4)), np.array([[1, 1, 0, 0]])
    expected = [
        states.NUMBERS * (1 + 4),
        1 + states.CALENDAR * 0.25 + states.NUMBERS * 2,
        2,
    ]
    np.testing.assert_allclose(found.distances(calendar, known, x, mask)[0], expected, atol=1e-5)
    known[0, 2:] = 0  # then the second step is beside an unknown one
    expected = [0, states.CALENDAR * 0.25 + states.BORDER, 0]
    np.testing.assert_allclose(found.distances(calendar, known)[0], expected, atol=1e-5)
    np.testing.assert_array_equal(
        states.to_codes(found.drawn(np.random.default_rng(0), calendar, known)[0], found.columns)[
            :2, 0
        ],
        [0, 0],
    )


def test_drawn_runs_are_those_of_the_training_rows():
    """A state that is on for 5 of 12 steps, always: a drawn path has no other runs."""
    n_steps = 24
    cycle = (np.arange(2000) % 12 < 5).astype(int)
    windows = np.lib.stride_tricks.sliding_window_view(cycle, n_steps)[:300]
    found = library(np.zeros((300, 1)), windows, np.zeros((300, n_steps)), n_steps)
    past = one_hot(cycle[:n_steps])
    path = found.path(np.zeros((200, 1)), past, 3, np.random.default_rng(0))
    codes = states.to_codes(path, found.columns)[:, :200, 0]
    np.testing.assert_array_equal(codes, np.tile(cycle[:200], (3, 1)))
    given = found.path(np.zeros((50, 1)), past, 2, np.random.default_rng(0), np.array([1.0, 0.0]))
    assert (states.to_codes(given[:, n_steps:50], found.columns) == 0).all()


def test_given_states_hold_at_all_steps_of_windows_that_are_mostly_in_them():
    codes = np.array([[0, 0, 0, 0], [0, 1, 1, 1], [1, 1, 1, 1]] * 10)
    found = library(np.arange(30.0)[:, None], codes, np.zeros((30, 4)))
    y = np.hstack([found.calendar, found.told])
    on = np.ones((1, 1)), np.ones((1, 1))
    rows, notes = states.with_given(y, found.codec, *on)
    assert sorted(rows[:, 0]) == list(range(2, 30, 3))
    assert (rows[:, 2::2] == 1).all()
    assert (rows[:, 1::2] == 0).all()
    assert notes == []
    _, notes = states.with_given(y[codes.all(1) == 0], found.codec, *on)
    assert notes == ["no window of the training rows is in the given states at all of its steps"]


# Commands


def pump(n=900, seed=0):
    """A sensor that is louder and 8 warmer where the pump is on, which it seldom is."""
    on = switch(n, seed, 12) * switch(n, seed + 1, 24)
    noise = np.random.default_rng(seed).normal(size=n)
    stamps = pd.date_range("2024-03-04", periods=n, freq="h").strftime("%Y-%m-%d %H:%M")
    cells = {"time": stamps, "heat": np.round(20 + 8 * on + (1 + on) * noise, 2)}
    return pd.DataFrame(cells | {"pump": np.where(on > 0, "on", "off")})


def test_what_a_state_explains_is_not_odd(few_steps, call):
    frame = pump()
    on = (frame["pump"] == "on").to_numpy()
    off = np.flatnonzero(~on)
    odd = off[(off > 300) & (off < 880)][100]
    frame.loc[odd, "heat"] = 30.0  # ordinary where the pump is on
    frame.to_csv("t.csv", index=False)
    result = call("detect", "t.csv", "--time", "time", "--window", "12")
    assert result.code == 0, result.err
    scored = pd.read_csv("t.scored.csv", keep_default_na=False)
    far = np.abs(np.arange(len(frame)) - odd) > 12
    assert scored.loc[odd, "anomaly_rank"] <= 12
    assert "heat=30.0 expected 20." in scored.loc[odd, "anomaly_why"]
    means = [scored.loc[some & far, "anomaly_score"].astype(float).mean() for some in (on, ~on)]
    assert abs(means[0] - means[1]) < 0.5


def test_states_are_filled_by_levels_that_occur(few_steps, call):
    """Holes of a state in a cycle of 12 steps, far better than the last one carried forward."""
    frame = pump(700)
    cycle = np.where(np.arange(700) % 12 < 5, "on", "off")
    frame["heat"] = np.round(
        20 + 8 * (cycle == "on") + np.random.default_rng(0).normal(size=700), 2
    )
    hole = (np.arange(700) % 70) >= 62
    frame["pump"] = np.where(hole, "", cycle)
    frame.loc[5:8, "heat"] = np.nan
    frame.to_csv("t.csv", index=False)
    flags = ["--time", "time", "--window", "24", "--draws", "1", "--interval", "0.9", "--check"]
    result = call("impute", "t.csv", *flags)
    assert result.code == 0, result.err
    assert "Filled 84 cells in 84 of 700 rows" in result.out
    assert "states, runs of half a window: 0.0 % are wrong, of the last one carried" in result.out
    filled = pd.read_csv("t.imputed.csv")
    assert filled["pump"].tolist() == cycle.tolist()
    assert (filled.loc[hole, "pump_probability"] > 0.5).all()
    expected = 20 + 8.0 * (cycle[5:9] == "on")
    np.testing.assert_allclose(filled.loc[5:8, "heat"], expected, atol=2.5)
    assert pd.read_csv("t.imputed.1.csv")["pump"].isin(["on", "off"]).all()


def test_generated_series_have_states_which_may_be_given(few_steps, call, monkeypatch):
    monkeypatch.setattr(sample_windows, "N_FUTURES", 20)
    pump(700, seed=1).to_csv("t.csv", index=False)
    flags = ["--data", "t.csv", "--time", "time", "--window", "12", "--run", "p"]
    assert call("train", *flags).code == 0
    result = call("evaluate", "--run", "p", "--n-samples", "10")
    assert result.code == 0, result.err
    assert "without y" not in result.out  # the Gaussian of windows is told the states too
    for words in (["--n", "40"], ["--length", "60"], ["--future", "6"]):
        means = {}
        for level in ("on", "off", None):
            given = [] if level is None else ["--given", f"pump={level}"]
            asked = [*words, *given, "--out", "g.csv", "--overwrite"]
            result = call("generate", "--run", "p", *asked)
            assert result.code == 0, result.err
            made = pd.read_csv("g.csv")
            assert set(made["pump"]) <= ({"on", "off"} if level is None else {level})
            means[level] = made["heat"].mean()
        assert means["on"] - means["off"] == pytest.approx(8, abs=2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("pump=idle", "expected one of off, on"),
        ("valve=on", "NAME one of pump"),
        ("heat=20", "pump"),
    ],
)
def test_a_state_that_is_not_known_is_one_line(given, said, few_steps, call):
    pump(700, seed=1).to_csv("t.csv", index=False)
    flags = ["--data", "t.csv", "--time", "time", "--window", "12", "--run", "p"]
    assert call("train", *flags).code == 0
    result = call("generate", "--run", "p", "--length", "24", "--given", given, "--out", "g.csv")
    assert result.code == 2
    assert len(result.err.strip().splitlines()) == 1
    assert given in result.err
    assert said in result.err
    assert not Path("g.csv").exists()


def test_a_run_without_states_has_none_to_be_given(few_steps, call):
    pump(300).drop(columns="pump").to_csv("t.csv", index=False)
    assert call("train", "--data", "t.csv", "--time", "time", "--run", "p").code == 0
    result = call("generate", "--run", "p", "--given", "pump=on")
    assert result.code == 2
    assert "has no column that can be given" in result.err
