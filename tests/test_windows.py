"""Likelihoods of windows against dense Gaussians; how their model starts, and what it hides."""

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from parts.model.batches import Batch
from parts.model.likelihoods.factors import LEAST, FactorWindows, fit_factors
from parts.model.likelihoods.windows import Conditioned, Shrinkage, Windows, fit_windows
from parts.model.windowvae import WindowVAE, hide_runs

SHAPE, N = (5, 2), 10
N_ROWS = 4


def covariance(n=N, seed=0):
    """A covariance with a memory, [n, n]."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=(n, n))
    lag = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    return torch.from_numpy(0.8**lag + 0.05 * a @ a.T)


def windows(seed=0):
    """Windows in float64 that start at a known Gaussian, with noise that was trained."""
    likelihood = Windows(N, SHAPE, 3).double()
    mean, weights = torch.linspace(-1, 1, N).double(), 0.1 * torch.randn(3, N).double()
    found = fit_windows(torch.randn(50, N).double(), torch.randn(50, 3).double())
    likelihood.start(found._replace(mean=mean, weights=weights, covariance=covariance(seed=seed)))
    with torch.no_grad():
        likelihood.low.copy_(torch.randn(N, N))
        likelihood.log_scale.copy_(torch.randn(N))
    return likelihood


def factors(robust=True):
    """FactorWindows in float64 whose factors were trained."""
    likelihood = FactorWindows(N, SHAPE, 0, robust=robust).double()
    if robust:
        likelihood.ranks = [0, 3, 8]
    likelihood.start(fit_windows(torch.randn(500, N).double()))
    with torch.no_grad():
        likelihood.factors.copy_(torch.randn_like(likelihood.factors))
        likelihood.own.copy_(torch.randn_like(likelihood.own))
    return likelihood


def drawn(likelihood, members=1):
    """x [B, L D], params [M, 2, B, P] or [2, B, P]."""
    x = 2 * torch.randn(N_ROWS, N).double()
    shape = (2, N_ROWS, likelihood.n_params)
    params = torch.randn((members, *shape) if members > 1 else shape).double()
    return x, params


def dense(likelihood, params):
    """Mean [.., L D] and covariance [.., L D, L D] of p(x|z) of Windows, by their definition."""
    mu, g, _ = likelihood.parts(params)
    inverse = torch.linalg.inv(likelihood.triangle())
    return mu, inverse @ torch.diag_embed(torch.exp(2 * g)) @ inverse.mT


def dense_factors(likelihood, params):
    """The same of FactorWindows, with params [M, K, B, P]."""
    mu, s = likelihood.parts(params)
    B, d = likelihood.noise()
    sigma = (B @ B.mT + torch.diag_embed(d))[:, None, None]
    return mu, torch.exp(2 * s)[..., None, None] * sigma


def with_members(params):
    """Params whose last number is that of the member."""
    member = torch.arange(len(params)).reshape(-1, 1, 1, 1).expand(*params.shape[:-1], 1)
    return torch.cat([params, member.to(params)], -1)


MASKS = {
    "whole": torch.ones(N_ROWS, N),
    "cells": (torch.rand(N_ROWS, N, generator=torch.Generator().manual_seed(1)) < 0.6).float(),
    "a run": (torch.arange(N) // 4 != 1).float().expand(N_ROWS, N).contiguous(),
    "the end": (torch.arange(N) < 7).float().expand(N_ROWS, N).contiguous(),
    "one cell": (torch.arange(N) == 3).float().expand(N_ROWS, N).contiguous(),
    "rows differ": torch.tensor([[1.0] * 10, [1.0] * 5 + [0.0] * 5, [0.0] * 9 + [1.0], [0.0] * 10]),
}
each_mask = pytest.mark.parametrize("name", MASKS)


def exact_log_prob(mean, sigma, x, mask):
    """log N of the observed cells of each row, for mean [..., B, n]."""
    found = torch.zeros(mean.shape[:-1]).double()
    for b, seen in enumerate(mask > 0):
        if seen.any():
            own = MultivariateNormal(mean[..., b, :][..., seen], sigma[..., b, seen, :][..., seen])
            found[..., b] = own.log_prob(x[b, seen])
    return found


# Densities


@each_mask
def test_log_p_of_windows_is_that_of_a_dense_gaussian(name):
    likelihood, mask = windows(), MASKS[name].double()
    x, params = drawn(likelihood)
    exact = exact_log_prob(*dense(likelihood, params), x, mask)
    torch.testing.assert_close(likelihood.log_prob(params, x, mask), exact)


@each_mask
def test_log_p_of_factors_is_that_of_a_dense_gaussian(name):
    likelihood, mask = factors(), MASKS[name].double()
    x, params = drawn(likelihood, members=3)
    params = params[..., : N + 1]
    exact = exact_log_prob(*dense_factors(likelihood, params), x, mask)
    found = likelihood.log_prob(with_members(params), x, mask)
    torch.testing.assert_close(found, exact)


@each_mask
def test_the_volume_is_minus_log_p_at_the_mean(name):
    mask = MASKS[name].double()
    likelihood, zero = windows(), torch.zeros(1, N_ROWS, 1).double()
    params = torch.zeros(1, N_ROWS, likelihood.n_params).double()
    with torch.no_grad():
        likelihood.log_scale.zero_()
        at_mean = -likelihood.log_prob(params, zero[0].expand(-1, N), mask)
    torch.testing.assert_close(likelihood.volume(mask), at_mean)
    likelihood = factors()
    params = torch.zeros(3, 1, N_ROWS, N + 1).double()
    at_mean = -likelihood.log_prob(with_members(params), zero[0].expand(-1, N), mask)
    torch.testing.assert_close(likelihood.volume(mask), at_mean[:, 0].detach())


def test_a_fresh_decoder_gives_the_gaussian_of_the_windows():
    x, y = torch.randn(300, N).double() @ covariance(), torch.randn(300, 3).double()
    likelihood = Windows(N, SHAPE, 3).double()
    gaussian = fit_windows(x, y)
    likelihood.start(gaussian)
    params = torch.zeros(len(x), likelihood.n_params).double()
    found = likelihood.log_prob(params, x - likelihood.usual(y))
    exact = MultivariateNormal(gaussian.mean + y @ gaussian.weights, gaussian.covariance)
    torch.testing.assert_close(found, exact.log_prob(x))


def test_log_p_of_a_mask_is_the_integral_over_the_rest():
    """Over one missing cell, on a fine grid."""
    likelihood = windows()
    x, params = drawn(likelihood)
    params, x = params[:1, :1], x[:1]
    mask = torch.ones(1, N).double()
    mask[0, 4] = 0
    along = torch.linspace(-100, 100, 50_001, dtype=torch.float64)
    cells = x.expand(len(along), -1).clone()
    cells[:, 4] = along
    whole = likelihood.log_prob(params.expand(1, len(along), -1), cells)
    integral = torch.logsumexp(whole, -1) + torch.log(along[1] - along[0])
    torch.testing.assert_close(likelihood.log_prob(params, x, mask)[:, 0], integral)


@pytest.mark.parametrize("which", ["windows", "factors"])
def test_log_p_of_a_column_is_given_the_others(which):
    if which == "windows":
        likelihood = windows()
        x, params = drawn(likelihood)
        whole, of = likelihood.log_prob(params, x), params
    else:
        likelihood = factors()
        x, params = drawn(likelihood, members=3)
        of = with_members(params[..., : N + 1])
        whole = likelihood.log_prob(of, x)
    found = likelihood.log_prob_per_column(of, x)
    for j in range(N):
        others = torch.ones_like(x)
        others[:, j] = 0
        torch.testing.assert_close(found[..., j], whole - likelihood.log_prob(of, x, others))


def test_log_p_of_hidden_cells_is_given_the_observed_ones():
    likelihood, mask = windows(), MASKS["cells"].double()
    x, params = drawn(likelihood)
    found = likelihood.log_prob_of_hidden(params, x, mask)
    seen = likelihood.log_prob(params, x, mask)
    for b, j in (mask == 0).nonzero().tolist():
        more = mask.clone()
        more[b, j] = 1
        with_cell = likelihood.log_prob(params, x, more)
        torch.testing.assert_close(found[:, b, j], (with_cell - seen)[:, b], rtol=1e-6, atol=1e-6)
    assert (found[:, mask > 0] == 0).all()


# Missing cells


def conditional(mean, sigma, x, seen):
    """Mean and covariance of the missing cells of one row by the textbook."""
    oo, mo = sigma[seen][:, seen], sigma[~seen][:, seen]
    gain = mo @ torch.linalg.inv(oo)
    return mean[~seen] + gain @ (x[seen] - mean[seen]), sigma[~seen][:, ~seen] - gain @ mo.mT


@pytest.mark.parametrize("which", ["windows", "factors"])
@pytest.mark.parametrize("name", ["cells", "a run", "the end", "one cell", "rows differ"])
@torch.no_grad()
def test_means_deviations_and_draws_of_missing_cells(which, name):
    mask = MASKS[name].double()
    if which == "windows":
        likelihood = windows()
        x, params = drawn(likelihood)
        mean, sigma = dense(likelihood, params)
    else:
        likelihood = factors()
        x, params = drawn(likelihood, members=3)
        mean, sigma = dense_factors(likelihood, params[..., : N + 1])
        mean, sigma = mean[1], sigma[1]
        params = with_members(params[..., : N + 1])[1]
    given = likelihood.given(params, x, mask)
    found, std = likelihood.mean(given), likelihood.std(given)
    b = 2 if name == "rows differ" else 0
    seen = mask[b] > 0
    exact, left = conditional(mean[1, b], sigma[1, b], x[b], seen)
    torch.testing.assert_close(found[1, b, ~seen], exact)
    torch.testing.assert_close(std[1, b, ~seen], left.diagonal().sqrt())
    if which == "windows":
        torch.testing.assert_close(found[1, b, seen], x[b, seen])
    n = 20_000
    many = Conditioned(params[1, b].expand(n, 1, -1), x[b : b + 1], mask[b : b + 1])
    if which == "factors":
        many = many._replace(x=many.x.expand(n, 1, -1), mask=many.mask.expand(n, 1, -1))
    draws = likelihood.sample(many)[:, 0, ~seen]
    scale = left.diagonal().sqrt()
    torch.testing.assert_close(draws.mean(0) / scale, exact / scale, atol=0.04, rtol=0)
    apart = (draws.mT.cov().reshape(left.shape) - left) / torch.outer(scale, scale)
    assert apart.abs().max() < 0.06
    total, expected = draws.sum(-1).var(), left.sum()  # of draws that are joint
    assert total / expected == pytest.approx(1, abs=0.05)


@torch.no_grad()
def test_samples_have_the_covariance():
    for likelihood, of in ((windows(), dense), (factors(), dense_factors)):
        n, members = 40_000, 3 if of is dense_factors else 1
        params = torch.randn(members, 1, 1, likelihood.n_params).double()
        params = with_members(params[..., : N + 1]) if members > 1 else params[0]
        mean, sigma = of(likelihood, params)
        last = params[-1] if members > 1 else params
        draws = likelihood.sample(last.expand(n, 1, -1))[:, 0]
        mean, sigma = (part[-1] if members > 1 else part for part in (mean, sigma))
        scale = sigma[0, 0].diagonal().sqrt()
        torch.testing.assert_close(draws.mean(0) / scale, mean[0, 0] / scale, atol=0.03, rtol=0)
        assert ((draws.mT.cov() - sigma[0, 0]) / torch.outer(scale, scale)).abs().max() < 0.04
        torch.testing.assert_close(likelihood.std(last)[0, 0], scale)


# Numbers


@pytest.mark.parametrize("size", [0.0, 1.0, 1e3, 1e6, -1e6])
@pytest.mark.parametrize("name", ["whole", "cells"])
def test_gradients_are_finite_at_extremes(size, name):
    mask = MASKS[name]
    for likelihood, members in ((windows().float(), 1), (factors().float(), 3)):
        x, params = (part.float() for part in drawn(likelihood, members))
        params = with_members(params[..., : N + 1]) if members > 1 else params
        params = params.clone()
        params[..., :N] = 1.0
        params[..., N:] = size if members == 1 else params[..., N:]
        if members > 1:
            params[..., N] = size
        params.requires_grad_()
        likelihood.log_prob(params, x, mask).sum().backward()
        assert torch.isfinite(params.grad).all()
        for parameter in likelihood.parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all()


@each_mask
def test_float32_is_near_float64(name):
    mask = MASKS[name].double()
    for likelihood, members in ((windows(), 1), (factors(), 3)):
        x, params = drawn(likelihood, members)
        params = with_members(params[..., : N + 1]) if members > 1 else params
        wide = likelihood.log_prob(params, x, mask)
        narrow = likelihood.float().log_prob(params.float(), x.float(), mask.float())
        torch.testing.assert_close(narrow.double(), wide, atol=1e-3, rtol=1e-4)


# Where training starts


def test_shrinkage_leaves_each_columns_own_covariance():
    x = torch.randn(300, N).double() @ torch.randn(N, N).double()
    whole = fit_windows(x, None, Shrinkage(0.0), SHAPE[1]).covariance.unflatten(0, SHAPE)
    found = fit_windows(x, None, Shrinkage(0.1, 0.3), SHAPE[1]).covariance.unflatten(0, SHAPE)
    whole, found = whole.unflatten(2, SHAPE), found.unflatten(2, SHAPE)
    for j in range(SHAPE[1]):
        for k in range(SHAPE[1]):
            expected = whole[:, j, :, k].clone() * (1 if j == k else 0.7)
            if j == k:
                expected += 0.1 * torch.diag(whole[:, j, :, j].diagonal())
            torch.testing.assert_close(found[:, j, :, k], expected)


def test_fit_windows_finds_mean_weights_and_covariance():
    sigma, y = covariance(), torch.randn(40_000, 2).double()
    weights = torch.stack([torch.linspace(-1, 1, N), torch.ones(N)]).double()
    x = 3 + y @ weights + torch.randn(40_000, N).double() @ torch.linalg.cholesky(sigma).mT
    found = fit_windows(x.float(), y.float(), Shrinkage(0.0))
    torch.testing.assert_close(found.mean, torch.full((N,), 3.0).double(), atol=0.03, rtol=0)
    torch.testing.assert_close(found.weights, weights, atol=0.03, rtol=0)
    torch.testing.assert_close(found.covariance, sigma, atol=0.06, rtol=0)


def test_a_trimmed_start_leaves_far_windows_out():
    root = torch.linalg.cholesky(covariance())
    x = torch.randn(2000, N).double() @ root.mT
    x[:200] += 30
    whole, trimmed = fit_windows(x), fit_windows(x, trim=0.2)
    assert whole.mean.min() > 2
    assert trimmed.mean.abs().max() < 0.2
    ratio = trimmed.covariance.diagonal() / covariance().diagonal()
    assert (ratio < 1.1).all()
    assert (whole.covariance.diagonal() / covariance().diagonal() > 20).all()


def test_fit_factors_recovers_a_known_model():
    rng = torch.Generator().manual_seed(0)
    B = torch.randn(12, 2, generator=rng).double()
    d = 0.2 + torch.rand(12, generator=rng).double()
    found, own = fit_factors(B @ B.mT + torch.diag(d), 2)
    torch.testing.assert_close(found @ found.mT, B @ B.mT, atol=0.02, rtol=0)
    torch.testing.assert_close(own, d, atol=0.02, rtol=0)
    none, own = fit_factors(torch.eye(3).double() * 2, 0)
    assert none.shape == (3, 0)
    torch.testing.assert_close(own, torch.full((3,), 2.0).double())
    _, own = fit_factors(torch.ones(4, 4).double(), 1)  # nothing is left beside the factor
    assert (own >= LEAST).all()


def test_members_of_factors_start_at_their_rank_and_the_first_has_no_scale():
    likelihood = FactorWindows(N, SHAPE, 0, robust=True)
    assert likelihood.ranks == [0, 8, 9]
    likelihood.start(fit_windows(torch.randn(500, N).double() @ covariance()))
    factors_of, own = likelihood.noise()
    assert [int((f.abs().sum(0) > 0).sum()) for f in factors_of] == [0, 8, 9]
    assert (own > 0).all()
    params = torch.zeros(3, 1, 1, N + 1)
    params[..., N] = 1.0
    assert likelihood.parts(params)[1].flatten().tolist()[0] == 0.0
    assert (likelihood.parts(params)[1].flatten()[1:] > 0.9).all()


def test_a_robust_scale_has_a_floor():
    """Or quiet windows would be learned ever better, and all others be odd."""
    least = []
    for robust, n in ((False, 1), (True, 3)):
        params = torch.full((n, 1, 1, N + 1), -50.0)
        least.append(factors(robust).parts(params)[1].min().item())
    assert least[1] == -0.5
    assert least[0] == pytest.approx(-3.0)


def model_of(likelihood, members=1, y_dim=0, z_dim=3):
    return WindowVAE(likelihood, (16,), z_dim, y_dim, members=members, shape=SHAPE)


@pytest.mark.parametrize("members", [1, 3])
def test_a_model_starts_at_the_gaussian_of_its_windows(members):
    x = (torch.randn(400, N).double() @ covariance()).float() + 5
    likelihood = Windows(N, SHAPE) if members == 1 else FactorWindows(N, SHAPE, robust=True)
    model = model_of(likelihood, members)
    model.start_at(x)
    with torch.no_grad():
        *_, last = model.decoder
        last.weight.zero_()
        params = model.decode(torch.zeros(*([members] if members > 1 else []), 1, 400, 3))
        log_p = model.likelihood.log_prob(params, x)
    gaussian = fit_windows(x, None, likelihood.shrinkage, SHAPE[1], likelihood.trim)
    exact = MultivariateNormal(gaussian.mean, gaussian.covariance).log_prob(x.double())
    if members == 1:
        torch.testing.assert_close(log_p[0].double(), exact, atol=1e-3, rtol=1e-4)
    else:  # 9 of 10 factors explain nearly all
        assert (log_p[2, 0].double() - exact).abs().mean() < 0.5


def test_the_calendar_moves_the_mean():
    likelihood = windows().float()
    model = model_of(likelihood, y_dim=3)
    y = torch.eye(3)[:1]
    z = torch.zeros(1, 1, 3)
    with torch.no_grad():
        for parameter in model.decoder.parameters():
            parameter.zero_()
        params = model.decode(z, y)
    torch.testing.assert_close(params[0, 0, :N], likelihood.mean0 + likelihood.weights[0])


# Hiding


@pytest.mark.parametrize("rate", [0.3, 0.8])
@pytest.mark.parametrize("holes", [False, True])
def test_hide_runs_hides_at_most_its_rate(rate, holes):
    shape = (20, 3)
    x = torch.randn(500, 60)
    mask = (torch.rand(500, 60) > 0.1).float() if holes else None
    seen = hide_runs(Batch(x, None, mask), rate, shape).mask
    there = torch.ones_like(x) if mask is None else mask
    assert not ((seen > 0) & (there == 0)).any()  # nothing is shown that is missing
    hidden = ((there > 0) & (seen == 0)).float()
    assert hidden.sum() / there.sum() <= rate
    assert hidden.sum() > 0
    runs = hidden.reshape(500, *shape)
    for_columns = runs.sum(1)  # of a column in a window
    in_runs = (runs[:, 1:] != runs[:, :-1]).sum(1) <= 2
    assert in_runs.all(-1).float().mean() > 0.3  # windows whose hidden cells are runs
    assert (for_columns[in_runs.all(-1)] <= rate * 20 + 1).all()


def test_training_climbs_the_bound_of_whole_windows():
    """Cells are hidden from the encoder only."""
    model = model_of(Windows(N, SHAPE))
    batch = Batch(torch.randn(50, N), None, None)
    seen, whole = model.in_training(batch, 0.5)
    assert (seen.mask == 0).any()
    assert whole.mask is None
    assert model.in_training(batch, 0.0)[0] is batch
