"""Every likelihood against an independent density, and the laws that all of them obey."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parts.errors import UserError
from parts.likelihoods import LIKELIHOODS, MIN_VARIANCE, log_normal, sum_columns

CASES = {  # what every law below is asked of: registry name, options
    "bernoulli": ("bernoulli", {}),
    "fixed:1.0": ("gaussian", {"variance": "fixed:1.0"}),
    "fixed:0.25": ("gaussian", {"variance": "fixed:0.25"}),
    "shared": ("gaussian", {"variance": "shared"}),
    "column": ("gaussian", {"variance": "column"}),
    "decoder": ("gaussian", {"variance": "decoder"}),
}
LEARNED = ("shared", "column", "decoder")
N_COLUMNS = 3

each_case = pytest.mark.parametrize("case", CASES)
each_learned = pytest.mark.parametrize("case", LEARNED)


def build(case, n_columns=N_COLUMNS, raw=None):
    """The likelihood in float64; learned log-variances drawn, or `raw` throughout."""
    name, options = CASES[case]
    likelihood = LIKELIHOODS[name](n_columns, **options).double()
    for parameter in likelihood.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape) if raw is None else torch.tensor(raw))
    return likelihood


def draw(case, likelihood, n_rows=4):
    """x [B, D] in the support, params [2, B, P]."""
    x = torch.randn(n_rows, likelihood.n_columns).double()
    params = torch.randn(2, n_rows, likelihood.n_params).double()
    return (x > 0).double() if case == "bernoulli" else x, params


def reference(case, likelihood, params):
    """The same distribution by SciPy, from the definition of the parameters."""
    params = params.detach().numpy()
    if case == "bernoulli":
        return scipy.stats.bernoulli(1 / (1 + np.exp(-params)))
    if case.startswith("fixed"):
        mu, variance = params, float(case.removeprefix("fixed:"))
    elif case == "decoder":
        mu, raw = np.split(params, 2, -1)
        variance = MIN_VARIANCE + np.exp(raw)
    else:
        mu, variance = params, MIN_VARIANCE + likelihood.raw_logvar.detach().exp().numpy()
    return scipy.stats.norm(mu, np.sqrt(variance))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def test_every_registered_likelihood_and_variance_is_under_test():
    assert {name for name, _ in CASES.values()} == set(LIKELIHOODS)
    with pytest.raises(UserError, match="expected fixed:V .*, shared, column or decoder"):
        LIKELIHOODS["gaussian"](1, variance="?")


@each_case
def test_log_prob_is_that_of_scipy(case):
    likelihood = build(case)
    x, params = draw(case, likelihood)
    expected = reference(case, likelihood, params)
    logs = expected.logpmf(x.numpy()) if case == "bernoulli" else expected.logpdf(x.numpy())
    per_column = likelihood.log_prob_per_column(params, x).detach().numpy()
    np.testing.assert_allclose(per_column, logs, rtol=1e-6)
    total = likelihood.log_prob(params, x).detach().numpy()
    assert total.shape == (2, 4)
    np.testing.assert_allclose(total, logs.sum(-1), rtol=1e-6)


@each_case
def test_mean_and_std_are_those_of_scipy(case):
    likelihood = build(case)
    _, params = draw(case, likelihood)
    expected = reference(case, likelihood, params)
    shape = (2, 4, N_COLUMNS)
    assert likelihood.mean(params).shape == likelihood.std(params).shape == shape
    mean, std = likelihood.mean(params).detach().numpy(), likelihood.std(params).detach().numpy()
    np.testing.assert_allclose(mean, np.broadcast_to(expected.mean(), shape), rtol=1e-6)
    np.testing.assert_allclose(std, np.broadcast_to(expected.std(), shape), rtol=1e-6)


@each_case
@settings(deadline=None, max_examples=40)
@given(st.floats(-4, 4), st.floats(-6, 3))
def test_density_of_one_column_has_mass_one(case, location, raw):
    likelihood = build(case, n_columns=1, raw=raw)
    params = torch.tensor([location, raw]).double()[: likelihood.n_params]
    if case == "bernoulli":
        x, cell = torch.tensor([[0.0], [1.0]]).double(), 1.0
    else:
        half_width = 12 * likelihood.std(params).item()
        x = torch.linspace(location - half_width, location + half_width, 4001).double()[:, None]
        cell = 2 * half_width / 4000
    mass = likelihood.log_prob(params, x).exp().sum().item() * cell
    assert mass == pytest.approx(1, abs=1e-4)


@each_case
def test_a_sample_has_the_mean_and_std_it_should(case):
    likelihood = build(case)
    params = torch.randn(1, likelihood.n_params).double()
    draws = likelihood.sample(params.expand(200_000, -1))
    mean, std = likelihood.mean(params)[0], likelihood.std(params)[0]
    assert ((draws.mean(0) - mean).abs() < 5 * std / 200_000**0.5).all()
    torch.testing.assert_close(draws.std(0), std, atol=0, rtol=0.02)
    correlation = draws.T.corrcoef() - torch.eye(N_COLUMNS)
    assert correlation.abs().max() < 0.02  # independent columns


@each_case
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1))
def test_log_prob_of_a_mask_and_of_its_complement_add_up(case, seed):
    torch.manual_seed(seed)
    likelihood = build(case)
    x, params = draw(case, likelihood)
    mask = (torch.rand(x.shape) > 0.5).double()
    halves = likelihood.log_prob(params, x, mask) + likelihood.log_prob(params, x, 1 - mask)
    torch.testing.assert_close(halves, likelihood.log_prob(params, x))
    per_column = likelihood.log_prob_per_column(params, x)
    torch.testing.assert_close(likelihood.log_prob(params, x, mask), (per_column * mask).sum(-1))
    assert (likelihood.log_prob(params, x, torch.zeros_like(x)) == 0).all()


@each_case
def test_the_encoder_sees_zeros_in_missing_cells(case):
    likelihood = build(case)
    x, _ = draw(case, likelihood)
    mask = torch.tensor([1.0, 0.0, 1.0])
    features = likelihood.features(x, mask.expand(4, -1))
    assert features.shape == (4, likelihood.n_features)
    torch.testing.assert_close(features, x * mask, atol=0, rtol=0)
    torch.testing.assert_close(likelihood.features(x), x, atol=0, rtol=0)


@each_case
@settings(deadline=None, max_examples=60)
@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(-100, 100))
def test_values_and_gradients_are_finite_at_extreme_parameters(case, location, raw, x):
    likelihood = build(case, n_columns=1, raw=raw).float()
    params = torch.tensor([location, raw])[: likelihood.n_params].requires_grad_()
    x = torch.tensor([float(x > 0)] if case == "bernoulli" else [x])
    log_prob = likelihood.log_prob(params, x)
    gradients = torch.autograd.grad(log_prob, [params, *likelihood.parameters()])
    assert log_prob.isfinite()
    assert all(gradient.isfinite().all() for gradient in gradients)


@each_learned
@settings(deadline=None, max_examples=40)
@given(st.floats(-1e4, 20))
def test_variance_is_its_floor_plus_a_positive_part(case, raw):
    likelihood = build(case, n_columns=1, raw=raw)
    params = torch.tensor([0.0, raw]).double()[: likelihood.n_params]
    variance = likelihood.std(params).item() ** 2
    assert variance >= MIN_VARIANCE * (1 - 1e-6)
    assert variance == pytest.approx(MIN_VARIANCE + math.exp(raw), rel=1e-6)


@each_learned
def test_a_variance_below_its_floor_can_come_back(case):
    """Where x is 1 away, log p rises with the variance, so its gradient has to be felt."""
    raw = math.log(MIN_VARIANCE) - 5
    likelihood = build(case, n_columns=1, raw=raw)
    params = torch.tensor([0.0, raw]).double()[: likelihood.n_params].requires_grad_()
    log_prob = likelihood.log_prob(params, torch.ones(1).double())
    knob = params if case == "decoder" else likelihood.raw_logvar
    slope = torch.autograd.grad(log_prob, knob)[0][-1].item()
    # d log p / d raw = 0.5 (x^2 / var - 1) e^raw / var, as var = MIN_VARIANCE + e^raw.
    variance = MIN_VARIANCE + math.exp(raw)
    assert slope == pytest.approx(0.5 * (1 / variance - 1) * math.exp(raw) / variance, rel=1e-6)
    assert slope > 10


def test_the_floor_is_1e_4():
    """It decides the nats of constant columns, so no figure may move it unnoticed."""
    assert MIN_VARIANCE == 1e-4
    assert LIKELIHOODS["gaussian"](1, "fixed:0.0001").std(torch.zeros(1)) == pytest.approx(0.01)


@each_learned
def test_a_fresh_gaussian_starts_at_unit_variance(case):
    likelihood = LIKELIHOODS["gaussian"](2, case)
    std = likelihood.std(torch.zeros(likelihood.n_params))
    torch.testing.assert_close(std, torch.ones(2), atol=1e-3, rtol=0)


@each_case
def test_variance_moves_with_what_it_is_named_after(case):
    """n_params, the number of learned variances, and whether z can change them."""
    likelihood = build(case)
    n_params = 2 * N_COLUMNS if case == "decoder" else N_COLUMNS
    n_learned = {"shared": 1, "column": N_COLUMNS}.get(case, 0)
    assert likelihood.n_params == n_params
    assert sum(p.numel() for p in likelihood.parameters()) == n_learned
    varies = likelihood.std(torch.randn(50, n_params).double()).std(0).max().item() > 0.01
    assert varies == (case in ("decoder", "bernoulli"))


def test_grey_values_get_the_expected_log_prob_of_their_pixels():
    likelihood = build("bernoulli", 1)
    params = torch.tensor([0.7]).double()
    on, off, grey = (likelihood.log_prob(params, torch.tensor([v]).double()) for v in (1, 0, 0.3))
    torch.testing.assert_close(grey, 0.3 * on + 0.7 * off)


def test_log_normal_and_sum_columns_are_as_named():
    x, mu, logvar = (torch.randn(3, 4).double() for _ in range(3))
    expected = scipy.stats.norm(mu, np.exp(0.5 * logvar.numpy())).logpdf(x)
    torch.testing.assert_close(log_normal(x, mu, logvar), torch.from_numpy(expected))
    mask = torch.tensor([[1.0, 0, 0, 1]])
    torch.testing.assert_close(sum_columns(x, mask), x[:, 0] + x[:, 3])
    torch.testing.assert_close(sum_columns(x, mask.bool()), x[:, 0] + x[:, 3])


# Refusals


@pytest.mark.parametrize("bad", [-0.5, 1.5, math.nan])
def test_bernoulli_refuses_a_column_outside_0_1_by_name_and_range(bad):
    x = np.array([[0.0, 0.25], [1.0, bad]])
    with pytest.raises(UserError) as error:
        LIKELIHOODS["bernoulli"](2).check(x, ["good", "wild"])
    low, high = x[:, 1].min(), x[:, 1].max()
    assert f"column 'wild' ranges from {low:g} to {high:g}" in str(error.value)
    assert "use --likelihood gaussian" in str(error.value)


def test_check_lets_through_what_the_support_holds():
    x = np.array([[0.0, 0.25], [1.0, 0.5]])
    assert LIKELIHOODS["bernoulli"](2).check(x, ["a", "b"]) is None
    assert LIKELIHOODS["gaussian"](2).check(100 * x - 50, ["a", "b"]) is None


@pytest.mark.parametrize(
    "variance",
    ["", "fixed", "fixed:", "fixed:0", "fixed:-1", "fixed:nan", "fixed:inf", "fixed:1e-5",
     "fixed:one", "shared:1", "Column", "columns", "0.5"],
)  # fmt: skip
def test_bad_variances_are_refused_with_their_value(variance):
    with pytest.raises(UserError, match=f"variance '{variance}"):
        LIKELIHOODS["gaussian"](2, variance)


# Baselines: closed-form models fitted to the training rows


def rows(n, seed):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).standard_normal((4, 4))
    return (rng.standard_normal((n, 4)) @ mixing + 1).astype(np.float32)


@pytest.mark.parametrize("case", ["fixed:1.0", "decoder"])
def test_gaussian_baselines_are_maximum_likelihood_with_the_floor_added(case):
    train, test = rows(50, 1), rows(20, 2)
    baselines = build(case, 4).baselines(torch.from_numpy(train), torch.from_numpy(test))
    train, test = train.astype(float), test.astype(float)
    mean, covariance = train.mean(0), np.cov(train.T, bias=True) + MIN_VARIANCE * np.eye(4)
    full = scipy.stats.multivariate_normal(mean, covariance).logpdf(test).mean()
    diagonal = scipy.stats.norm(mean, covariance.diagonal() ** 0.5).logpdf(test).sum(1).mean()
    assert baselines == pytest.approx({"gaussian": full, "diagonal": diagonal}, rel=1e-9)


def test_gaussian_baselines_of_constant_and_dependent_columns_are_finite():
    """A constant column at its constant has the floor's density, to the nat."""
    x = torch.zeros(10, 3)
    floor = -0.5 * math.log(2 * math.pi * MIN_VARIANCE)
    expected = {"gaussian": 3 * floor, "diagonal": 3 * floor}
    assert build("decoder").baselines(x, x) == pytest.approx(expected, rel=1e-9)
    one = torch.randn(30, 1)
    twice = build("decoder", 2).baselines(one.expand(-1, 2), one.expand(-1, 2))
    variance = one.double().var(correction=0).item()
    # Eigenvalues 2 variance + floor and floor; the rows' mean square fills only the first.
    logs = [math.log(2 * math.pi * v) for v in (2 * variance + MIN_VARIANCE, MIN_VARIANCE)]
    expected = -0.5 * (sum(logs) + 2 * variance / (2 * variance + MIN_VARIANCE))
    assert twice["gaussian"] == pytest.approx(expected, rel=1e-6)


def test_gaussian_baselines_take_one_column():
    train, test = rows(50, 1)[:, :1], rows(20, 2)[:, :1]
    baselines = build("decoder", 1).baselines(torch.from_numpy(train), torch.from_numpy(test))
    assert baselines["gaussian"] == pytest.approx(baselines["diagonal"], rel=1e-12)


def test_bernoulli_baseline_is_independent_columns_with_half_a_row_added():
    train = torch.tensor([[1.0, 0, 1], [1, 0, 0], [1, 0, 1]])
    test = torch.tensor([[1.0, 1, 0], [0, 0, 0]])
    p = [3.5 / 4, 0.5 / 4, 2.5 / 4]
    first = math.log(p[0] * p[1] * (1 - p[2]))
    second = math.log((1 - p[0]) * (1 - p[1]) * (1 - p[2]))
    baselines = build("bernoulli").baselines(train, test)
    assert baselines == pytest.approx({"diagonal": (first + second) / 2}, rel=1e-9)


@each_case
def test_baselines_are_those_described(case):
    likelihood = build(case)
    x, _ = draw(case, likelihood, n_rows=10)
    assert set(likelihood.baselines(x, x)) == set(likelihood.baseline_names)
