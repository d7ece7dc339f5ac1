"""parts/model/likelihoods/pixels.py: 256 probabilities that sum to one and agree with SciPy."""

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.testing import assert_close as close

from parts.errors import UserError
from parts.model.likelihoods.pixels import (
    MAX_LOG_SCALE,
    DiscretizedLogistic,
    bits_per_dim,
    level_counts,
)
from vae import Batch

LEVELS = np.arange(256) / 255
each_count = pytest.mark.parametrize("components", [1, 3])


def all_levels(likelihood, params):
    """log-probability of every level of every column, [256, ..., D]."""
    x = torch.from_numpy(LEVELS).to(params.dtype)
    shape = (256, *params.shape[:-1], likelihood.n_columns)
    x = x.view(-1, *[1] * (len(shape) - 1)).expand(shape)
    return likelihood.log_prob_per_column(params, x)


def reference(params, components, n_columns):
    """The probabilities in NumPy, [256, D], from differences of SciPy's distribution function."""
    kinds = np.reshape(params, (-1, components, n_columns))
    start = (2 * np.arange(components)[:, None] + 1) / components - 1
    scale = np.exp(7 * np.tanh((kinds[1] - np.log(3 * components)) / 7))
    edges = np.concatenate([[-np.inf], (2 * LEVELS[:-1] - 1) + 1 / 255, [np.inf]])
    cdf = scipy.stats.logistic.cdf(edges[:, None, None], start + kinds[0], scale)
    weight = np.ones((1, n_columns)) if components == 1 else scipy.special.softmax(kinds[2], 0)
    return (weight * np.diff(cdf, axis=0)).sum(1)


@each_count
def test_probabilities_are_differences_of_scipys_distribution_function(components):
    likelihood = DiscretizedLogistic(4, components).double()
    assert likelihood.n_params == (2 if components == 1 else 9) * 4
    params = 1.5 * torch.randn(likelihood.n_params).double()
    expected = reference(params.numpy(), components, 4)
    np.testing.assert_allclose(
        all_levels(likelihood, params).exp(), expected, rtol=1e-6, atol=1e-15
    )
    assert expected[0].max() > 0.1  # the tails belong to the outermost levels
    assert expected[-1].max() > 0.1


@each_count
@given(seed=st.integers(0, 2**32 - 1), scale=st.sampled_from([0.5, 3.0, 30.0, 1e3]))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_all_levels_together_have_probability_one(components, dtype, seed, scale):
    torch.manual_seed(seed)
    likelihood = DiscretizedLogistic(3, components).to(dtype)
    params = (scale * torch.randn(5, likelihood.n_params)).to(dtype)
    total = all_levels(likelihood, params).logsumexp(0)
    close(total, torch.zeros_like(total), rtol=0, atol=1e-4 if dtype == torch.float32 else 1e-10)


@pytest.mark.parametrize("raw", [-1e3, -20.0, -3.0, 0.0, 20.0])
def test_float32_keeps_the_digits_of_float64_far_out(raw):
    """Log-probabilities go down to -10,000 nats, where a difference of two sigmoids is 0."""
    likelihood = DiscretizedLogistic(4)
    params = torch.tensor([0.0, 0.3, -1.0, 8.0, raw, raw, raw, raw])
    found = all_levels(likelihood, params).double()
    exact = all_levels(likelihood.double(), params.double())
    close(found, exact, rtol=1e-4, atol=1e-4)
    assert (exact.min() < -1000) == (raw <= -20)


def test_the_sharpest_logistic_sits_on_one_level_and_the_broadest_on_both_ends():
    likelihood = DiscretizedLogistic(1).double()
    probs = all_levels(likelihood, torch.tensor([2 * 100 / 255 - 1, -1e4]).double()).exp()
    assert probs.argmax() == 100
    width = 2 / 255 / math.exp(-MAX_LOG_SCALE)
    assert probs[100].item() == pytest.approx(math.tanh(width / 4), rel=1e-6)
    probs = all_levels(likelihood, torch.tensor([0, 1e4]).double()).exp().flatten()
    close(probs[[0, -1]], torch.full((2,), 0.5).double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize("components", [1, 2, 5, 10])
def test_a_fresh_decoder_holds_no_level_for_impossible(components):
    """At params 0 the mean cost of a level is near that of a uniform guess."""
    likelihood = DiscretizedLogistic(1, components)
    log_probs = all_levels(likelihood, torch.zeros(likelihood.n_params))
    assert -math.log(256) - 0.25 < log_probs.mean().item() < -math.log(256)
    assert log_probs.min() > -7


@each_count
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 100.0, 1e4]))
def test_gradients_are_finite_at_extreme_parameters(components, seed, scale):
    torch.manual_seed(seed)
    likelihood = DiscretizedLogistic(64, components)
    params = (scale * torch.randn(likelihood.n_params)).requires_grad_()
    x = torch.randint(256, (64,)) / 255
    x[:2] = torch.tensor([0.0, 1.0])
    log_prob = likelihood.log_prob(params, x)
    (gradient,) = torch.autograd.grad(log_prob, params)
    assert log_prob.isfinite()
    assert gradient.isfinite().all()


@each_count
def test_gradients_are_slopes(components):
    likelihood = DiscretizedLogistic(3, components).double()
    params = torch.randn(2, likelihood.n_params).double().requires_grad_()
    x = torch.tensor([0.0, 87 / 255, 1.0]).double()
    assert torch.autograd.gradcheck(lambda p: likelihood.log_prob(p, x), params)


@each_count
def test_samples_have_the_probabilities_of_their_levels(components):
    likelihood, n = DiscretizedLogistic(2, components).double(), 100_000
    params = torch.randn(likelihood.n_params).double()
    x = likelihood.sample(params.expand(n, -1))
    assert likelihood.check(x.numpy(), ["a", "b"]) is None
    probs = all_levels(likelihood, params).exp().numpy()
    for j in range(2):
        counts = np.bincount((255 * x[:, j]).round().long().numpy(), minlength=256)
        assert scipy.stats.chisquare(counts, n * probs[:, j] / probs[:, j].sum()).pvalue > 1e-4


@each_count
@pytest.mark.parametrize("raw", [-30.0, -3.0, 0.0])
def test_mean_and_std_are_those_of_the_levels(components, raw):
    """The mean is right to half a level, or to the error of a midpoint sum of one logistic."""
    likelihood = DiscretizedLogistic(50, components).double()
    params = torch.randn(likelihood.n_params).double()
    params.view(-1, components, 50)[1] = raw
    probs, x = all_levels(likelihood, params).exp(), torch.from_numpy(LEVELS)[:, None]
    mean = (probs * x).sum(0)
    scale = math.exp(7 * math.tanh((raw - math.log(3 * components)) / 7))
    tolerance = 0.5 / 255 if raw == -30 else (2 / 255) ** 2 / (190 * scale)
    close(likelihood.mean(params), mean, atol=tolerance, rtol=0)
    variance = (probs * (x - mean).square()).sum(0)
    close(likelihood.std(params).square(), variance, atol=tolerance**2, rtol=1e-12)


def test_means_in_float32_stay_within_the_range():
    likelihood = DiscretizedLogistic(1000)
    for scale in (1.0, 100.0, 1e4):
        mean = likelihood.mean(scale * torch.randn(likelihood.n_params))
        assert mean.min() >= -1e-3
        assert mean.max() <= 1 + 1e-3


def test_params_lie_kind_by_kind_then_component_then_column():
    """A decoder of planes gives planes slowest, each of D pixels."""
    likelihood = DiscretizedLogistic(4, 2)
    planes = torch.zeros(3, 2, 4)
    planes[0, 1, 2], planes[2, 1] = 0.25, 50.0  # location and weight of the second component
    planes[1] = -30.0
    expected = torch.tensor([0.75, 0.75, 0.875, 0.75])
    close(likelihood.mean(planes.flatten()), expected, atol=1e-3, rtol=0)


# Refusals, baseline, units


@pytest.mark.parametrize(
    ("bad", "shown"),
    [(0.5, "0.5"), (-1 / 255, "-0.00392157"), (256 / 255, "1.00392"), (math.nan, "nan")],
)
def test_values_off_the_levels_are_refused_by_column_and_value(bad, shown):
    x = np.tile(LEVELS[:, None], 3).astype(np.float32)
    likelihood = DiscretizedLogistic(3)
    assert likelihood.check(x, ["a", "b", "c"]) is None
    x[7, 1] = bad
    with pytest.raises(UserError, match=f"column 'b' holds {shown}, expected one of the 256"):
        likelihood.check(x, ["a", "b", "c"])


def test_the_baseline_is_each_pixels_histogram_with_one_added():
    train, test = torch.randint(256, (9000, 2)) / 255, torch.randint(256, (5000, 2)) / 255
    train[:, 1] = (train[:, 1] > 0.7).float()
    total = 0.0
    for j in range(2):
        counts = np.bincount((255 * train[:, j]).round().long(), minlength=256) + 1
        total += np.log(counts / (9000 + 256))[(255 * test[:, j]).round().long()].mean()
    found = DiscretizedLogistic(2).baselines(Batch(train), Batch(test))
    assert found == pytest.approx({"diagonal": total}, rel=1e-9)


def test_the_baseline_counts_observed_cells():
    x, mask = torch.tensor([[0.0, 1], [0, 0], [1, 1]]), torch.tensor([[1.0, 0], [1, 1], [0, 1]])
    counts = level_counts(x, mask)
    assert counts[:, [0, 255]].tolist() == [[2, 0], [1, 1]]
    assert counts.sum() == 4
    found = DiscretizedLogistic(2).baselines(Batch(x, mask=mask), Batch(x, mask=mask))
    expected = (2 * math.log(3 / 258) + 2 * math.log(2 / 258)) / 3
    assert found == pytest.approx({"diagonal": expected}, rel=1e-9)


def test_a_uniform_guess_costs_eight_bits():
    assert bits_per_dim(torch.tensor(-3072 * math.log(256)), 3072).item() == pytest.approx(8)


def test_it_says_how_many_components_it_has():
    assert DiscretizedLogistic(2).describe() == "Discretized logistic likelihood, 1 component"
    assert DiscretizedLogistic(2, 5).describe().endswith("5 components")
