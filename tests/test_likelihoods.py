"""parts/model/likelihoods: each against an independent density, and laws that all of them obey."""

import math
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from parts.errors import UserError
from parts.forms.units import Column
from parts.model.batches import sum_columns
from parts.model.likelihoods import LIKELIHOODS
from parts.model.likelihoods.discrete import (
    FAR_LOGIT,
    Bernoulli,
    Categorical,
    NegativeBinomial,
    Ordinal,
)
from parts.model.likelihoods.gaussian import MIN_DF, MIN_VARIANCE, Gaussian, StudentT
from parts.model.likelihoods.mixed import TABLE_MAX_VARIANCE, TABLE_MIN_VARIANCE, Mixed
from parts.model.likelihoods.pixels import DiscretizedLogistic
from parts.model.normal import log_normal
from vae import Batch

CASES = {  # what every law below is asked of: registry name, options
    "bernoulli": ("bernoulli", {}),
    "fixed:1.0": ("gaussian", {"variance": "fixed:1.0"}),
    "fixed:0.25": ("gaussian", {"variance": "fixed:0.25"}),
    "shared": ("gaussian", {"variance": "shared"}),
    "column": ("gaussian", {"variance": "column"}),
    "decoder": ("gaussian", {"variance": "decoder"}),
    "student fixed:0.25": ("student", {"variance": "fixed:0.25"}),
    "student shared": ("student", {"variance": "shared"}),
    "student column": ("student", {"variance": "column"}),
    "student decoder": ("student", {"variance": "decoder"}),
    "count": (NegativeBinomial, {}),
    "logistic": (DiscretizedLogistic, {"components": 1}),
    "logistic mixture": (DiscretizedLogistic, {"components": 2}),
}
GAUSSIAN = ("bernoulli", "fixed:1.0", "fixed:0.25", "shared", "column", "decoder")
LEARNED = ("shared", "column", "decoder")
DISCRETE = ("bernoulli", "count", "logistic", "logistic mixture")
N_COLUMNS = 3

CENTRE, SPREAD = (0.5, 1.5, 3.0), (0.4, 0.7, 1.2)  # of ln(1 + count)

each_case = pytest.mark.parametrize("case", CASES)
each_gaussian = pytest.mark.parametrize("case", GAUSSIAN)
each_learned = pytest.mark.parametrize("case", LEARNED)


def build(case, n_columns=N_COLUMNS, raw=None):
    """The likelihood in float64; what it learns drawn, or `raw` throughout."""
    name, options = CASES[case]
    if case == "count":
        likelihood = NegativeBinomial(CENTRE[:n_columns], SPREAD[:n_columns]).double()
    else:
        likelihood = LIKELIHOODS.get(name, name)(n_columns, **options).double()
    for parameter in likelihood.parameters():
        with torch.no_grad():
            parameter.copy_(torch.randn(parameter.shape) if raw is None else torch.tensor(raw))
    return likelihood


def draw(case, likelihood, n_rows=4):
    """x [B, D] in the support, params [2, B, P]."""
    x = torch.randn(n_rows, likelihood.n_columns).double()
    params = torch.randn(2, n_rows, likelihood.n_params).double()
    if case == "count":
        return (3 * x.abs()).round(), params
    if case.startswith("logistic"):
        return (255 * torch.sigmoid(2 * x)).round() / 255, params
    return (x > 0).double() if case == "bernoulli" else x, params


def reference(case, likelihood, params):
    """SciPy's distribution of a case, from the definition of its parameters."""
    params = params.detach().numpy()
    if case == "bernoulli":
        return scipy.stats.bernoulli(1 / (1 + np.exp(-params)))
    if case == "count":
        n = likelihood.n_columns
        mean = np.exp(np.array(CENTRE[:n]) + np.array(SPREAD[:n]) * params)
        r = likelihood.raw_log_r.detach().exp().numpy()
        return scipy.stats.nbinom(r, r / (r + mean))
    if case.startswith("logistic"):
        return Levels256(likelihood, params)
    kind = case.removeprefix("student ")
    if kind.startswith("fixed"):
        mu, variance = params, float(kind.removeprefix("fixed:"))
    elif kind == "decoder":
        mu, raw = np.split(params, 2, -1)
        variance = MIN_VARIANCE + np.exp(raw)
    else:
        mu, variance = params, MIN_VARIANCE + likelihood.raw_logvar.detach().exp().numpy()
    if case.startswith("student"):
        df = 2.1 + np.log1p(np.exp(likelihood.raw_df.detach().numpy()))
        return scipy.stats.t(df, mu, np.sqrt(variance))
    return scipy.stats.norm(mu, np.sqrt(variance))


class Levels256:
    """Mixtures of logistics of 2 x - 1, cut at the middle between levels."""

    def __init__(self, likelihood, params):
        m, n = likelihood.components, likelihood.n_columns
        mu, raw, *logits = np.moveaxis(params.reshape(*params.shape[:-1], -1, m, n), -3, 0)
        mu = mu + ((2 * np.arange(m) + 1) / m - 1)[:, None]
        edges = np.array([-np.inf, *((np.arange(255) + 0.5) * 2 / 255 - 1), np.inf])
        scale = np.exp(7 * np.tanh((raw - np.log(3 * m)) / 7))
        cdf = scipy.stats.logistic.cdf(edges, mu[..., None], scale[..., None])
        weight = scipy.special.softmax(logits[0], -2) if logits else np.ones_like(mu)
        self.probs = (weight[..., None] * np.diff(cdf)).sum(-3)  # [..., D, 256]

    def logpmf(self, x):
        at = np.broadcast_to((255 * x).round().astype(int), self.probs.shape[:-1])
        return np.log(np.take_along_axis(self.probs, at[..., None], -1)[..., 0])

    def mean(self):
        return self.probs @ (np.arange(256) / 255)

    def std(self):
        x = np.arange(256) / 255
        return np.sqrt((self.probs * (x - self.mean()[..., None]) ** 2).sum(-1))


def test_every_registered_likelihood_and_variance_is_under_test():
    named = {name for name, _ in CASES.values()}
    assert named - {NegativeBinomial, DiscretizedLogistic} | {
        "logistic",
        "mixed",
        "ordered",
        "windows",  # tests/test_windows.py
        "factors",
    } == set(LIKELIHOODS)
    with pytest.raises(UserError, match="expected fixed:V .*, shared, column or decoder"):
        LIKELIHOODS["gaussian"](1, variance="?")


@each_case
def test_log_prob_is_that_of_scipy(case):
    likelihood = build(case)
    x, params = draw(case, likelihood)
    expected = reference(case, likelihood, params)
    discrete = case in DISCRETE
    logs = expected.logpmf(x.numpy()) if discrete else expected.logpdf(x.numpy())
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
    rtol = 1e-4 if case.startswith("logistic") else 1e-6  # whose mean is that of an integral
    np.testing.assert_allclose(mean, np.broadcast_to(expected.mean(), shape), rtol=rtol)
    np.testing.assert_allclose(std, np.broadcast_to(expected.std(), shape), rtol=1e-6)


@each_case
@settings(deadline=None, max_examples=40)
@given(st.floats(-4, 4), st.floats(-6, 3))
def test_density_of_one_column_has_mass_one(case, location, raw):
    likelihood = build(case, n_columns=1, raw=raw)
    if case == "count":
        location = min(location, 2.0)  # its mean is then below 4, and raw is ln r
    if case == "logistic mixture":
        params = torch.tensor([location, -location, raw, 0, 0, raw]).double()
    else:
        params = torch.tensor([location, raw]).double()[: likelihood.n_params]
    if case in DISCRETE:
        top = {"bernoulli": 1, "count": 59_999}.get(case, 255)
        x, cell = torch.arange(top + 1.0).double()[:, None], 1.0
        x = x / 255 if case.startswith("logistic") else x
    else:  # x = location + scale tan(t) brings the tails in
        t = torch.linspace(-math.pi / 2, math.pi / 2, 4002).double()[1:-1, None]
        scale = math.exp(0.5 * likelihood.mu_logvar(params)[1].flatten()[0].item())
        x, cell = location + scale * t.tan(), scale / t.cos().square().squeeze() * math.pi / 4001
    mass = (likelihood.log_prob(params, x).exp() * cell).sum().item()
    assert mass == pytest.approx(1, abs=1e-3 if case == "count" else 1e-4)


@each_case
def test_a_sample_has_the_mean_and_std_it_should(case):
    likelihood = build(case)
    if case.startswith("student"):  # or the fourth moment is infinite, and the std converges slowly
        torch.nn.init.constant_(likelihood.raw_df, 8.0)
    params = torch.randn(1, likelihood.n_params).double()
    if case.startswith("logistic"):  # or a location lies far beyond the levels, and all draws at 0
        params = params / 2
    draws = likelihood.sample(params.expand(200_000, -1))
    mean, std = likelihood.mean(params)[0], likelihood.std(params)[0]
    assert ((draws.mean(0) - mean).abs() < 5 * std / 200_000**0.5).all()
    torch.testing.assert_close(draws.std(0), std, atol=0, rtol=0.04 if case == "count" else 0.02)
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
    seen = x
    if case == "count":
        seen = (torch.log1p(x) - torch.tensor(CENTRE).double()) / torch.tensor(SPREAD).double()
    torch.testing.assert_close(features, seen * mask, atol=1e-6, rtol=0)
    assert (features[:, 1] == 0).all()
    torch.testing.assert_close(likelihood.features(x), seen, atol=1e-6, rtol=0)


@each_case
@settings(deadline=None, max_examples=60)
@given(st.floats(-1e4, 1e4), st.floats(-1e4, 1e4), st.floats(-100, 100))
def test_values_and_gradients_are_finite_at_extreme_parameters(case, location, raw, x):
    likelihood = build(case, n_columns=1, raw=raw).float()
    params = torch.tensor([location, raw]).repeat(3)[: likelihood.n_params].requires_grad_()
    x = {"bernoulli": float(x > 0), "count": float(round(abs(x)))}.get(case, x)
    x = min(round(abs(x)), 255) / 255 if case.startswith("logistic") else x
    x = torch.tensor([x])
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
    """Where x is 1 away, log p rises with the variance, so the gradient must not vanish."""
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
    """The floor decides the nats of constant columns, so a change of it moves results."""
    assert MIN_VARIANCE == 1e-4
    assert LIKELIHOODS["gaussian"](1, "fixed:0.0001").std(torch.zeros(1)) == pytest.approx(0.01)


@each_learned
def test_a_fresh_gaussian_starts_at_unit_variance(case):
    likelihood = LIKELIHOODS["gaussian"](2, case)
    std = likelihood.std(torch.zeros(likelihood.n_params))
    torch.testing.assert_close(std, torch.ones(2), atol=1e-3, rtol=0)


@each_gaussian
def test_variance_moves_with_what_it_is_named_after(case):
    """Each case gives n_params, the number of learned variances, and whether z changes them."""
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


def test_a_visit_draws_pixels_only_where_binarization_is_dynamic():
    grey = torch.tensor([0.0, 0.3, 0.9, 1.0]).expand(20_000, -1)
    dynamic = Bernoulli(4, binarize="dynamic")
    torch.manual_seed(3)
    drawn = dynamic.draw(grey)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert (drawn[:, [0, 3]] == grey[:, [0, 3]]).all()
    torch.testing.assert_close(drawn.mean(0), grey[0], atol=0.015, rtol=0)
    assert (dynamic.draw(grey) != drawn).any()
    torch.manual_seed(3)
    assert torch.equal(dynamic.draw(grey), drawn)
    params = torch.randn(4)
    expected = dynamic.log_prob(params, drawn).mean()
    torch.testing.assert_close(
        expected, Bernoulli(4).log_prob(params, grey[:1])[0], atol=0.03, rtol=0
    )
    for likelihood in (Bernoulli(4), Gaussian(4), DiscretizedLogistic(4)):
        assert likelihood.draw(grey) is grey


def test_a_note_says_what_becomes_of_grey_values():
    grey, binary = np.array([[0.0, 0.5]]), np.array([[0.0, 1.0]])
    assert "cross-entropy" in Bernoulli(2).note(grey)
    assert "drawn anew" in Bernoulli(2, binarize="dynamic").note(grey)
    assert Bernoulli(2).note(binary) == Bernoulli(2, binarize="dynamic").note(binary) == ""


# Refusals


def test_an_unknown_binarization_is_refused():
    with pytest.raises(UserError, match="binarize 'always', expected none, static or dynamic"):
        Bernoulli(2, binarize="always")


@pytest.mark.parametrize("bad", [-0.5, 1.5, math.nan])
def test_bernoulli_refuses_a_column_outside_0_1_by_name_and_range(bad):
    x = np.array([[0.0, 0.25], [1.0, bad]])
    with pytest.raises(UserError) as error:
        LIKELIHOODS["bernoulli"](2).check(x, ["good", "wild"])
    low, high = x[:, 1].min(), x[:, 1].max()
    assert f"column 'wild' ranges from {low:g} to {high:g}" in str(error.value)
    assert "use likelihood gaussian" in str(error.value)


def test_check_lets_through_what_the_support_holds():
    x = np.array([[0.0, 0.25], [1.0, 0.5]])
    assert LIKELIHOODS["bernoulli"](2).check(x, ["a", "b"]) is None
    assert LIKELIHOODS["gaussian"](2).check(100 * x - 50, ["a", "b"]) is None


@pytest.mark.parametrize(
    "variance",
    ["", "shared:1", "Column", "columns", "0.5", "fixed"]
    + [f"fixed:{value}" for value in ("", "0", "-1", "nan", "inf", "1e-5", "one")],
)
def test_bad_variances_are_refused_with_their_value(variance):
    with pytest.raises(UserError, match=f"variance '{variance}"):
        LIKELIHOODS["gaussian"](2, variance)


# Baselines: closed-form models fitted to the training rows


def as_batch(x):
    return Batch(torch.from_numpy(x))


def rows(n, seed):
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(0).standard_normal((4, 4))
    return (rng.standard_normal((n, 4)) @ mixing + 1).astype(np.float32)


@pytest.mark.parametrize("case", ["fixed:1.0", "decoder"])
def test_gaussian_baselines_are_maximum_likelihood_with_the_floor_added(case):
    train, test = rows(50, 1), rows(20, 2)
    baselines = build(case, 4).baselines(as_batch(train), as_batch(test))
    train, test = train.astype(float), test.astype(float)
    mean, covariance = train.mean(0), np.cov(train.T, bias=True) + MIN_VARIANCE * np.eye(4)
    full = scipy.stats.multivariate_normal(mean, covariance).logpdf(test).mean()
    diagonal = scipy.stats.norm(mean, covariance.diagonal() ** 0.5).logpdf(test).sum(1).mean()
    assert baselines == pytest.approx({"gaussian": full, "diagonal": diagonal}, rel=1e-9)


def test_gaussian_baselines_of_constant_and_dependent_columns_are_finite():
    """A constant column has the density of the variance's floor, to the nat."""
    x = torch.zeros(10, 3)
    floor = -0.5 * math.log(2 * math.pi * MIN_VARIANCE)
    expected = {"gaussian": 3 * floor, "diagonal": 3 * floor}
    assert build("decoder").baselines(Batch(x), Batch(x)) == pytest.approx(expected, rel=1e-9)
    one = torch.randn(30, 1)
    twice = build("decoder", 2).baselines(*2 * [Batch(one.expand(-1, 2))])
    variance = one.double().var(correction=0).item()
    # Eigenvalues 2 variance + floor and floor; the rows' mean square fills only the first.
    logs = [math.log(2 * math.pi * v) for v in (2 * variance + MIN_VARIANCE, MIN_VARIANCE)]
    expected = -0.5 * (sum(logs) + 2 * variance / (2 * variance + MIN_VARIANCE))
    assert twice["gaussian"] == pytest.approx(expected, rel=1e-6)


def test_gaussian_baselines_take_one_column():
    train, test = rows(50, 1)[:, :1], rows(20, 2)[:, :1]
    baselines = build("decoder", 1).baselines(as_batch(train), as_batch(test))
    assert baselines["gaussian"] == pytest.approx(baselines["diagonal"], rel=1e-12)


def test_bernoulli_baseline_is_independent_columns_with_half_a_row_added():
    train = torch.tensor([[1.0, 0, 1], [1, 0, 0], [1, 0, 1]])
    test = torch.tensor([[1.0, 1, 0], [0, 0, 0]])
    p = [3.5 / 4, 0.5 / 4, 2.5 / 4]
    first = math.log(p[0] * p[1] * (1 - p[2]))
    second = math.log((1 - p[0]) * (1 - p[1]) * (1 - p[2]))
    baselines = build("bernoulli").baselines(Batch(train), Batch(test))
    assert baselines == pytest.approx({"diagonal": (first + second) / 2}, rel=1e-9)


@each_case
def test_baselines_are_those_described(case):
    likelihood = build(case)
    x, _ = draw(case, likelihood, n_rows=10)
    assert set(likelihood.baselines(Batch(x), Batch(x))) == set(likelihood.baseline_names)


def test_a_bernoulli_baseline_of_rows_with_holes_counts_observed_cells():
    x = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    mask = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    baselines = build("bernoulli", 2).baselines(Batch(x, mask=mask), Batch(x, mask=mask))
    p = 2.5 / 3, 2.5 / 3  # two ones among two observed cells, in both columns
    assert baselines == pytest.approx({"diagonal": 4 * math.log(p[0]) / 3}, rel=1e-6)


# Student-t and counts: what they tend to, and what they are to be trusted with


def test_a_student_t_of_many_degrees_of_freedom_is_a_gaussian():
    student, gaussian = StudentT(2, "fixed:0.25").double(), Gaussian(2, "fixed:0.25").double()
    torch.nn.init.constant_(student.raw_df, 1e7)
    x, params = torch.randn(5, 2).double(), torch.randn(5, 2).double()
    expected = gaussian.log_prob_per_column(params, x)
    torch.testing.assert_close(student.log_prob_per_column(params, x), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(student.std(params), gaussian.std(params), atol=1e-6, rtol=0)


def test_a_student_t_always_has_a_variance():
    student = StudentT(1, "fixed:1.0")
    torch.nn.init.constant_(student.raw_df, -1e4)
    assert MIN_DF == 2.1
    assert student.std(torch.zeros(1)).item() == pytest.approx((2.1 / 0.1) ** 0.5, rel=1e-5)


def count(log_r, centre=1.0, spread=1.0):
    likelihood = NegativeBinomial([centre], [spread])
    torch.nn.init.constant_(likelihood.raw_log_r, log_r)
    return likelihood


def test_a_count_of_large_r_is_poisson():
    x = torch.arange(40.0).double()[:, None]
    for location in (-1.0, 0.0, 1.0):
        log_prob = count(12.0).double().log_prob(torch.tensor([location]).double(), x)
        poisson = scipy.stats.poisson(math.exp(1 + location)).logpmf(x[:, 0])
        np.testing.assert_allclose(log_prob.detach(), poisson, atol=0.006)  # (x - m)^2 / 2r
    torch.testing.assert_close(count(40.0).log_r(), torch.tensor([12.0]))  # and r has a most
    torch.testing.assert_close(count(-40.0).log_r(), torch.tensor([-5.0]))


@pytest.mark.parametrize("log_r", [-5.0, 1.0, 6.0, 12.0])
def test_counts_in_single_precision_are_those_of_scipy(log_r):
    x, location = torch.arange(60.0)[:, None], torch.tensor([0.5])
    r, mean = math.exp(log_r), math.exp(1.5)
    expected = scipy.stats.nbinom(r, r / (r + mean)).logpmf(x[:, 0])
    log_prob = count(log_r).log_prob(location, x).detach()
    np.testing.assert_allclose(log_prob, expected, atol=1e-3, rtol=1e-5)


def test_the_mean_of_a_count_stays_a_number():
    likelihood = count(0.0)
    params = torch.tensor([[1e6], [-1e6]])
    assert likelihood.mean(params).flatten().tolist() == [pytest.approx(math.exp(25)), 0.0]
    assert likelihood.std(params).isfinite().all()
    assert likelihood.log_prob(params, torch.tensor([[3.0], [3.0]])).isfinite().all()
    assert likelihood.sample(params).isfinite().all()


def test_a_column_of_few_counts_keeps_a_spread():
    likelihood = NegativeBinomial([0.0], [1e-6])
    assert likelihood.spread.item() == pytest.approx(0.1)
    torch.testing.assert_close(
        likelihood.embed(torch.ones(1, 1)), torch.full((1, 1), 10 * math.log(2))
    )
    error = likelihood.cell_errors(torch.ones(1, 1), torch.zeros(1, 1)).item()
    assert error == pytest.approx((math.log(2) / 0.1) ** 2, rel=1e-5)


# Categories and ordered levels: columns with different numbers of levels in one block

LEVELS = (2, 5, 3)


def categorical(levels=LEVELS):
    return Categorical(list(levels)).double()


def ordinal(levels=LEVELS):
    likelihood = Ordinal(list(levels)).double()
    for parameter in likelihood.parameters():
        torch.nn.init.normal_(parameter)
    return likelihood


def probabilities(likelihood, params):
    """Of every level [..., L] of each column, from the definition of the parameters."""
    params, found = params.detach().numpy(), []
    if isinstance(likelihood, Categorical):
        for logits in np.split(params, np.cumsum(LEVELS)[:-1], -1):
            found.append(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))
        return found
    first, raw = likelihood.first.detach().numpy(), likelihood.raw_gaps.detach().numpy()
    for j, n_levels in enumerate(LEVELS):
        edges = [first[j]]
        for gap in raw[j, : n_levels - 2]:
            edges.append(edges[-1] + math.log1p(math.exp(gap)) + 1e-3)
        below = 1 / (1 + np.exp(params[..., j : j + 1] - np.array(edges)))  # P(x <= level)
        ends = np.zeros_like(below[..., :1]), np.ones_like(below[..., :1])
        found.append(np.diff(np.concatenate([ends[0], below, ends[1]], -1)))
    return found


each_levels = pytest.mark.parametrize("build_levels", [categorical, ordinal])


@each_levels
def test_log_prob_of_a_level_is_that_of_its_definition(build_levels):
    likelihood = build_levels()
    params = 2 * torch.randn(2, 30, likelihood.n_params).double()
    x = torch.stack([torch.arange(30) % n for n in LEVELS], -1).double()
    per_column = likelihood.log_prob_per_column(params, x).detach().numpy()
    for j, probs in enumerate(probabilities(likelihood, params)):
        taken = np.take_along_axis(probs, x[None, :, j : j + 1].long().numpy().repeat(2, 0), -1)
        np.testing.assert_allclose(per_column[..., j], np.log(taken[..., 0]), atol=1e-6)
    total = likelihood.log_prob(params, x).detach().numpy()
    np.testing.assert_allclose(total, per_column.sum(-1))


@each_levels
@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 50))
def test_levels_of_a_column_share_all_probability(build_levels, seed, scale):
    torch.manual_seed(seed)
    likelihood = build_levels()
    probs = likelihood.log_probs(scale * torch.randn(4, likelihood.n_params).double()).exp()
    assert probs.shape == (4, 3, 5)
    torch.testing.assert_close(probs.sum(-1), torch.ones(4, 3).double(), atol=1e-6, rtol=0)
    for j, n_levels in enumerate(LEVELS):
        assert (probs[:, j, n_levels:] == 0).all()


@each_levels
def test_samples_have_the_frequencies_of_their_levels(build_levels):
    likelihood = build_levels()
    params = torch.randn(1, likelihood.n_params).double()
    draws = likelihood.sample(params.expand(100_000, -1))
    for j, probs in enumerate(probabilities(likelihood, params)):
        shares = np.bincount(draws[:, j].long(), minlength=LEVELS[j]) / 100_000
        assert len(shares) == LEVELS[j]
        np.testing.assert_allclose(shares, probs[0], atol=5 * 0.5 / 100_000**0.5)
    correlation = draws.detach().T.corrcoef() - torch.eye(3)
    assert correlation.abs().max() < 0.02


@each_levels
def test_std_is_that_of_the_code(build_levels):
    likelihood = build_levels()
    params = torch.randn(6, likelihood.n_params).double()
    std = likelihood.std(params).detach().numpy()
    for j, probs in enumerate(probabilities(likelihood, params)):
        codes = np.arange(LEVELS[j])
        mean = (probs * codes).sum(-1)
        np.testing.assert_allclose(std[:, j], ((probs * codes**2).sum(-1) - mean**2) ** 0.5)


def expected_level(likelihood, probs):
    """The most probable of categories; the median of ordered levels."""
    if isinstance(likelihood, Categorical):
        return probs.argmax(-1)
    return (probs.cumsum(-1) < 0.5).sum(-1)


@each_levels
def test_the_mean_is_the_most_probable_category_and_the_median_level(build_levels):
    likelihood = build_levels()
    params = 3 * torch.randn(200, likelihood.n_params).double()
    mean = likelihood.mean(params).numpy()
    for j, probs in enumerate(probabilities(likelihood, params)):
        np.testing.assert_array_equal(mean[:, j], expected_level(likelihood, probs))
        assert set(mean[:, j]) == set(range(LEVELS[j]))  # every level comes up


@each_levels
def test_the_average_is_that_of_the_mixture_and_not_of_its_components(build_levels):
    likelihood = build_levels()
    params = 3 * torch.randn(4, 300, likelihood.n_params).double()
    weights = torch.rand(4, 300).double()
    weights = weights / weights.sum(0)
    average = likelihood.average(params, weights).detach().numpy()
    for j, probs in enumerate(probabilities(likelihood, params)):
        mixed = (weights[..., None].numpy() * probs).sum(0)
        np.testing.assert_array_equal(average[:, j], expected_level(likelihood, mixed))
    of_means = (weights[..., None] * likelihood.mean(params)).sum(0).round().numpy()
    assert (average != of_means).mean() > 0.05


@each_levels
def test_what_needs_no_table_of_all_levels_is_what_the_table_says(build_levels):
    """Some columns have as many levels as their neighbour; 3 components of 50 rows."""
    levels = (3, 3, 2, 7, 5, 5, 5)
    likelihood = build_levels(levels)
    params = 4 * torch.randn(3, 50, likelihood.n_params).double()
    params.requires_grad_()
    x = torch.stack([torch.randint(n, (50,)) for n in levels], -1).double()
    log_probs = likelihood.log_probs(params)
    taken = log_probs.gather(-1, x.long().expand(3, 50, 7).unsqueeze(-1)).squeeze(-1)
    found = likelihood.log_prob_per_column(params, x)
    torch.testing.assert_close(found, taken)
    slopes = [torch.autograd.grad(f.sum(), params)[0] for f in (found, taken)]
    torch.testing.assert_close(*slopes)
    weights = torch.rand(3, 50).double().softmax(0)
    probs = (weights[..., None, None] * log_probs.exp()).sum(0)
    average = likelihood.average(params, weights).detach().numpy()
    np.testing.assert_array_equal(average, expected_level(likelihood, probs.detach().numpy()))


def test_draws_of_categories_are_those_of_their_log_probabilities_and_the_same_noise():
    likelihood = categorical((3, 3, 2, 7))
    params = 4 * torch.randn(500, likelihood.n_params).double()
    torch.manual_seed(3)
    draws = likelihood.sample(params)
    torch.manual_seed(3)
    log_probs = likelihood.log_probs(params)
    noise = -torch.log(torch.empty_like(log_probs).exponential_())
    assert torch.equal(draws, (log_probs + noise).argmax(-1).double())


def test_components_that_disagree_are_not_met_in_the_middle():
    """The components say 0 and 2; the mean of the codes, 1, is no likely category."""
    params = torch.tensor([[[5.0, 0, 0]], [[0, 0, 5.0]]])
    average = Categorical([3]).average(params, torch.tensor([[0.4], [0.6]]))
    assert average.tolist() == [[2.0]]


@each_levels
def test_levels_are_finite_at_extreme_parameters(build_levels):
    likelihood = build_levels().float()
    for scale in (1e2, 1e3, 9e3):
        params = scale * torch.ones(likelihood.n_params) * (-1) ** torch.arange(likelihood.n_params)
        for code in (0.0, 1.0):
            for sign in (-1, 1):
                at = (sign * params).requires_grad_()
                log_prob = likelihood.log_prob(at, torch.full((3,), code))
                gradients = torch.autograd.grad(log_prob, [at, *likelihood.parameters()])
                assert log_prob.isfinite()
                assert all(gradient.isfinite().all() for gradient in gradients)
                assert (likelihood.mean(at) < torch.tensor(LEVELS)).all()
                assert (likelihood.sample(at) < torch.tensor(LEVELS)).all()


@each_levels
def test_gradients_of_levels_are_slopes(build_levels):
    likelihood = build_levels()
    params = torch.randn(30, likelihood.n_params).double().requires_grad_()
    x = torch.stack([torch.arange(30) % n for n in LEVELS], -1).double()
    assert torch.autograd.gradcheck(lambda p: likelihood.log_prob(p, x), params)


def test_thresholds_rise_and_the_missing_ones_are_out_of_reach():
    likelihood = ordinal()
    torch.nn.init.constant_(likelihood.raw_gaps, -50.0)  # the least gap
    edges = likelihood.thresholds().detach()
    assert edges.shape == (3, 6)
    assert (edges[:, 0] == -FAR_LOGIT).all()
    for j, n_levels in enumerate(LEVELS):
        assert (edges[j, n_levels:] == FAR_LOGIT).all()
        inner = edges[j, 1:n_levels]
        torch.testing.assert_close(inner.diff(), torch.full_like(inner[1:], 1e-3))


def test_the_narrowest_levels_keep_their_probability():
    """Thresholds lie 0.001 apart: a middle level has 0.001 times the logistic density."""
    likelihood = Ordinal([5]).double()
    torch.nn.init.constant_(likelihood.raw_gaps, -50.0)
    location = likelihood.first.detach() + 0.4
    probs = likelihood.log_probs(location).detach().exp()[0]
    torch.testing.assert_close(probs.sum(), torch.tensor(1.0).double(), atol=1e-9, rtol=0)
    middle = scipy.stats.logistic.pdf(0.4 - 1e-3 * np.array([0.5, 1.5, 2.5])) * 1e-3
    np.testing.assert_allclose(probs[1:4], middle, rtol=1e-5)


def test_a_fresh_ordinal_column_is_symmetric_with_levels_a_unit_apart():
    edges = Ordinal([5]).thresholds().detach()[0, 1:-1]
    torch.testing.assert_close(edges, torch.tensor([-1.5, -0.5, 0.5, 1.5]), atol=0.01, rtol=0)


def test_categories_enter_the_encoder_one_hot():
    x = torch.tensor([[1.0, 3, 0], [0, 4, 2]])
    expected = torch.tensor(
        [[0, 1, 0, 0, 0, 1, 0, 1, 0, 0], [1, 0, 0, 0, 0, 0, 1, 0, 0, 1]]
    ).float()
    likelihood = Categorical(list(LEVELS))
    assert torch.equal(likelihood.embed(x), expected)
    mask = torch.tensor([[1.0, 0, 1], [0, 1, 1]])
    expected[0, 2:7], expected[1, :2] = 0, 0
    assert torch.equal(likelihood.embed(x, mask), expected)


def test_ordered_levels_enter_the_encoder_from_minus_one_to_one():
    x = torch.tensor([[0.0, 0, 0], [1, 4, 2], [1, 1, 1]])
    expected = torch.tensor([[-1, -1, -1], [1, 1, 1], [1, -0.5, 0]])
    torch.testing.assert_close(Ordinal(list(LEVELS)).embed(x), expected)
    mask = torch.tensor([[1.0, 0, 1]]).expand(3, -1)
    torch.testing.assert_close(Ordinal(list(LEVELS)).embed(x, mask), expected * mask)


def test_the_center_of_levels_is_their_mode_or_median_over_observed_cells():
    x = torch.tensor([[0.0, 4, 2], [0, 4, 2], [1, 0, 0], [1, 1, 0], [1, 2, 1]])
    mask = torch.ones_like(x)
    assert Categorical(list(LEVELS)).center(x, mask).tolist() == [1, 4, 0]
    assert Ordinal(list(LEVELS)).center(x, mask).tolist() == [1, 2, 1]
    mask[2:4, 0] = mask[0, 1] = mask[2, 2] = 0
    assert Categorical(list(LEVELS)).center(x, mask).tolist() == [0, 0, 2]
    assert Ordinal(list(LEVELS)).center(x, mask).tolist() == [0, 1, 1]


def test_errors_of_levels_are_wrong_cells_and_shares_of_the_largest_distance():
    x, recon = torch.tensor([[1.0, 0, 2]]), torch.tensor([[1.0, 3, 0]])
    assert Categorical(list(LEVELS)).cell_errors(x, recon).tolist() == [[0, 1, 1]]
    assert Ordinal(list(LEVELS)).cell_errors(x, recon).tolist() == [[0, 0.75, 1]]


# Mixed: columns of all kinds, interleaved

REPEATED = ("categorical", "real", "ordinal", "count", "binary")
KINDS = (*REPEATED, "positive", *REPEATED)
N_LEVELS = {0: 4, 2: 3, 4: 2, 6: 2, 8: 5, 10: 2}
BLOCKS = {  # kind of block -> its columns, in the table's order
    "real": [1, 5, 7],
    "count": [3, 9],
    "binary": [4, 10],
    "categorical": [0, 6],
    "ordinal": [2, 8],
}


def mixed_columns():
    levels = {j: list("abcde"[:n]) for j, n in N_LEVELS.items()}
    columns = [Column(f"c{j}", kind=k, levels=levels.get(j, [])) for j, k in enumerate(KINDS)]
    columns[3] = replace(columns[3], centre=0.5, spread=0.4)
    columns[9] = replace(columns[9], centre=2.0, spread=1.1)
    return columns


def mixed(real="gaussian", variance="column"):
    """The Mixed likelihood and its blocks built by hand with the same weights, all in float64."""
    number = {"gaussian": Gaussian, "student": StudentT}[real]
    blocks = {
        "real": number(3, variance, TABLE_MIN_VARIANCE, TABLE_MAX_VARIANCE),
        "count": NegativeBinomial([0.5, 2.0], [0.4, 1.1]),
        "binary": Bernoulli(2),
        "categorical": Categorical([4, 2]),
        "ordinal": Ordinal([3, 5]),
    }
    whole = Mixed(mixed_columns(), variance, real).double()
    for kind, block in blocks.items():
        for parameter in block.double().parameters():
            torch.nn.init.normal_(parameter)
        whole.blocks[kind].load_state_dict(block.state_dict())
    return whole, blocks


def mixed_rows(n):
    x = torch.randn(n, len(KINDS)).double()
    for j, kind in enumerate(KINDS):
        if kind == "count":
            x[:, j] = (4 * x[:, j].abs()).round()
        elif j in N_LEVELS:
            x[:, j] = torch.randint(N_LEVELS[j], (n,)).double()
    return x


def pieces(blocks, params):
    """Each block's columns and its parameters."""
    split = params.split([block.n_params for block in blocks.values()], -1)
    return [(BLOCKS[k], b, p) for (k, b), p in zip(blocks.items(), split, strict=True)]


def assembled(blocks, params, function, dtype=torch.float64):
    """function(block, its params, its columns) -> per-column results in the table's order."""
    found = torch.full((*params.shape[:-1], len(KINDS)), math.nan, dtype=dtype)
    for at, block, piece in pieces(blocks, params):
        found[..., at] = function(block, piece, at).detach().to(dtype)
    assert not found.isnan().any()
    return found


each_mixed = pytest.mark.parametrize(
    ("real", "variance"), [("gaussian", "shared"), ("gaussian", "decoder"), ("student", "column")]
)


@each_mixed
def test_mixed_is_the_sum_of_its_columns_wherever_they_stand(real, variance):
    whole, blocks = mixed(real, variance)
    x, params = mixed_rows(6), torch.randn(2, 6, whole.n_params).double()
    expected = assembled(blocks, params, lambda b, p, at: b.log_prob_per_column(p, x[:, at]))
    torch.testing.assert_close(whole.log_prob_per_column(params, x), expected)
    torch.testing.assert_close(whole.log_prob(params, x), expected.sum(-1))
    mask = (torch.rand(x.shape) > 0.4).double()
    torch.testing.assert_close(whole.log_prob(params, x, mask), (expected * mask).sum(-1))
    halves = whole.log_prob(params, x, mask) + whole.log_prob(params, x, 1 - mask)
    torch.testing.assert_close(halves, whole.log_prob(params, x))
    assert (whole.log_prob(params, x, torch.zeros_like(x)) == 0).all()


@each_mixed
def test_mean_std_and_samples_of_mixed_stand_in_the_tables_order(real, variance):
    whole, blocks = mixed(real, variance)
    params = torch.randn(7, whole.n_params).double()
    torch.testing.assert_close(
        whole.mean(params), assembled(blocks, params, lambda b, p, at: b.mean(p))
    )
    torch.testing.assert_close(
        whole.std(params), assembled(blocks, params, lambda b, p, at: b.std(p))
    )
    torch.manual_seed(3)
    draws = whole.sample(params)
    torch.manual_seed(3)
    torch.testing.assert_close(draws, assembled(blocks, params, lambda b, p, at: b.sample(p)))


def test_the_average_of_mixed_is_each_kinds_own():
    whole, blocks = mixed()
    params, weights = torch.randn(3, 50, whole.n_params).double(), torch.rand(3, 50).double()
    weights = weights / weights.sum(0)

    def own(block, piece, at):
        if isinstance(block, Categorical | Ordinal):
            return block.average(piece, weights)
        mean = (weights[..., None] * block.mean(piece)).sum(0)
        return (mean > 0.5).double() if isinstance(block, Bernoulli) else mean

    expected = assembled(blocks, params, lambda b, p, at: own(b, p, at).expand(3, 50, -1))[0]
    torch.testing.assert_close(whole.average(params, weights), expected)

    def unit(mean, std):
        return torch.exp(mean + std.square() / 2)

    found = whole.average(params, weights, unit)
    numbers = BLOCKS["real"] + BLOCKS["count"]
    before = (weights[..., None] * unit(whole.mean(params), whole.std(params))).sum(0)
    torch.testing.assert_close(found[:, numbers], before[:, numbers])
    others = sorted(N_LEVELS)
    torch.testing.assert_close(found[:, others], expected[:, others])


@pytest.mark.parametrize("name", ["gaussian", "mixed"])
def test_an_average_lies_where_its_unit_has_taken_the_means(name):
    """An average has the type and the device that the unit's function gives the means."""
    likelihood = LIKELIHOODS[name].of([Column("a"), Column("k", kind="binary", levels=["0", "1"])])
    params, weights = torch.randn(3, 50, likelihood.n_params), torch.rand(3, 50).softmax(0)
    found = likelihood.average(params, weights, lambda mean, std: mean.double())
    assert found.dtype == torch.float64
    torch.testing.assert_close(found.float(), likelihood.average(params, weights))
    found = likelihood.average(params, weights, lambda mean, std: mean.to("meta"))
    assert (found.device.type, found.shape) == ("meta", (50, 2))


def test_the_encoder_of_a_mixed_table_sees_the_mask():
    whole, blocks = mixed()
    x = mixed_rows(6)
    mask = (torch.rand(x.shape) > 0.4).double()
    parts = [
        block.embed(x[:, at], mask[:, at])
        for at, block, _ in pieces(blocks, torch.zeros(whole.n_params))
    ]
    features = whole.features(x, mask)
    assert features.shape == (6, whole.n_features)
    torch.testing.assert_close(features, torch.cat([*parts, mask], -1))
    assert (whole.features(x)[:, -len(KINDS) :] == 1).all()
    torch.testing.assert_close(whole.embed(x, mask), features[:, : -len(KINDS)])


@pytest.mark.parametrize("value", [-3.0, 77.0, 1e30, math.nan, math.inf])
def test_what_stands_in_a_missing_cell_of_a_mixed_table_changes_nothing(value):
    whole, _ = mixed()
    x, params = mixed_rows(6), torch.randn(6, whole.n_params).double()
    mask = (torch.rand(x.shape) > 0.4).double()
    other = torch.where(mask > 0, x, torch.tensor(value).double())
    for function in (whole.features, whole.embed, lambda *a: whole.log_prob(params, *a)):
        torch.testing.assert_close(function(other, mask), function(x * mask, mask), atol=0, rtol=0)


@each_mixed
def test_a_mixed_table_is_finite_at_extreme_parameters(real, variance):
    whole = mixed(real, variance)[0].float()
    x = mixed_rows(5).float()
    for scale in (1e2, 5e3):
        params = (scale * torch.randn(5, whole.n_params).clamp(-1.5, 1.5)).requires_grad_()
        log_prob = whole.log_prob(params, x).sum()
        gradients = torch.autograd.grad(log_prob, [params, *whole.parameters()])
        assert log_prob.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients)


def test_center_and_errors_of_a_mixed_table_are_each_kinds_own():
    whole, blocks = mixed()
    x, recon = mixed_rows(40), mixed_rows(40)
    mask = (torch.rand(x.shape) > 0.3).double()
    params = torch.zeros(whole.n_params)
    center = assembled(blocks, params, lambda b, p, at: b.center(x[:, at], mask[:, at]))
    torch.testing.assert_close(whole.center(x, mask), center)
    recon[:, 4] = torch.rand(40).double()  # a probability of a 1 is rounded
    error = whole.cell_errors(x, recon)
    torch.testing.assert_close(error[:, 4], (x[:, 4] != (recon[:, 4] > 0.5)).double())
    torch.testing.assert_close(error[:, 1], (x[:, 1] - recon[:, 1]).square())
    torch.testing.assert_close(error[:, 0], (x[:, 0] != recon[:, 0]).double())
    torch.testing.assert_close(error[:, 8], (x[:, 8] - recon[:, 8]).abs() / 4)
    logs = torch.log1p(x[:, 9]) - torch.log1p(recon[:, 9])
    torch.testing.assert_close(error[:, 9], (logs / 1.1).square(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("kind", sorted(set(KINDS)))
def test_a_table_of_one_kind_needs_no_order(kind):
    """With one kind of column, the result of its block is that of the table."""
    columns = [c for c in mixed_columns() if c.kind == kind]
    whole = Mixed(columns).double()
    (block,) = whole.blocks.values()
    at = [j for j, k in enumerate(KINDS) if k == kind]
    x, params = mixed_rows(5)[:, at], torch.randn(5, whole.n_params).double()
    mask = (torch.rand(x.shape) > 0.4).double()
    torch.testing.assert_close(whole.log_prob(params, x, mask), block.log_prob(params, x, mask))
    torch.testing.assert_close(whole.mean(params), block.mean(params))
    torch.testing.assert_close(whole.features(x, mask), torch.cat([block.embed(x, mask), mask], -1))


def test_numbers_of_a_table_have_the_tables_floor():
    whole = Mixed([Column("a"), Column("b", kind="positive")])
    torch.nn.init.constant_(whole.blocks["real"].raw_logvar, -50.0)
    assert TABLE_MIN_VARIANCE == 0.01
    torch.testing.assert_close(whole.std(torch.zeros(1, 2)), torch.full((1, 2), 0.1))


def test_the_baseline_of_a_mixed_table_is_its_marginals_by_scipy():
    whole, _ = mixed()
    train, test = mixed_rows(60), mixed_rows(25)
    seen, holes = (torch.rand(train.shape) > 0.3).double(), (torch.rand(test.shape) > 0.3).double()
    train[:, 3] = 2 * train[:, 3]
    batches = Batch(train.float(), mask=seen.float()), Batch(test.float(), mask=holes.float())
    total = 0.0
    for j, kind in enumerate(KINDS):
        known = train[seen[:, j] > 0, j].numpy()
        cells = test[holes[:, j] > 0, j].numpy()
        if j in N_LEVELS:
            shares = np.bincount(known.astype(int), minlength=N_LEVELS[j]) + 0.5
            total += np.log(shares / shares.sum())[cells.astype(int)].sum()
        elif kind == "count":
            mean, variance = known.mean(), known.var()
            r = mean**2 / (variance - mean)
            assert 0.01 < r < 1e3
            total += scipy.stats.nbinom(r, r / (r + mean)).logpmf(cells).sum()
        else:
            std = np.sqrt(known.var() + TABLE_MIN_VARIANCE)
            total += scipy.stats.norm(known.mean(), std).logpdf(cells).sum()
    assert whole.baselines(*batches) == pytest.approx({"diagonal": total / 25}, rel=1e-5)


def test_the_decoders_variance_stays_between_floor_and_ceiling():
    """In a table both bounds hold; far from both the soft bounds change little."""
    likelihood = Gaussian(1, "decoder", 0.01, 4.0)
    raw = torch.linspace(-40, 40, 81)
    variance = likelihood.std(torch.stack([torch.zeros(81), raw], -1)).squeeze(-1).square()
    assert (variance >= 0.0099).all()
    assert (variance <= 4.0001).all()
    assert (variance.diff() >= 0).all()
    assert variance[0] < 0.011
    assert variance[-1] > 3.9
    inner = variance[40 - 2].item()  # raw -2: a variance of 0.135
    assert abs(inner - math.exp(-2)) < 0.02
    free = Gaussian(1, "decoder", 0.01)
    assert free.std(torch.tensor([[0.0, 10.0]])).item() > 100
