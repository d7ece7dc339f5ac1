"""vae.py and parts/model: a linear decoder has an exact marginal and an exact posterior."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributions import MultivariateNormal, Normal, kl_divergence
from torch.testing import assert_close as close

from parts.forms.base import Codec
from parts.forms.units import Column
from parts.model import importance
from parts.model.batches import hide
from parts.model.build import Space, build_model
from parts.model.config import ModelConfig
from parts.model.likelihoods.mixed import Mixed
from parts.model.networks import NETWORKS
from parts.runs.config import Config, Execution, RunConfig
from parts.training.adam import Adam
from vae import VAE, Batch, Bernoulli, Gaussian, Importance, Terms, kl_normal, normal_grid

VARIANCE = 0.5


@torch.no_grad()
def fill(layer, weight, bias):
    layer.weight.copy_(torch.as_tensor(weight))
    layer.bias.copy_(torch.as_tensor(bias))


def linear_vae(y_dim=0, exact=False):
    """x = W z + V y + b + noise of VARIANCE. With `exact`, W has orthogonal columns and q is the
    exact posterior; else q is broader and off-centre, so that importance weights vary but stay
    bounded."""
    model = VAE(Gaussian(4, f"fixed:{VARIANCE}"), (), z_dim=2, y_dim=y_dim).double()
    w, v, b = 0.8 * torch.randn(4, 2).double(), torch.randn(4, y_dim).double(), torch.randn(4)
    if exact:
        w = torch.linalg.qr(w).Q * torch.tensor([0.5, 2.0])
    fill(model.decoder[0], torch.cat([w, v], 1), b)
    covariance = torch.linalg.inv(torch.eye(2) + w.T @ w / VARIANCE)  # of p(z|x)
    a, var = covariance @ w.T / VARIANCE, covariance.diagonal()  # E[z|x] = a (x - V y - b)
    if not exact:
        a, var = 0.9 * a, 2 * torch.linalg.eigvalsh(covariance).max() * torch.tensor([1.0, 1.3])
    to_mu = torch.cat([a, -a @ v], 1)
    to_logvar = torch.zeros_like(to_mu) if exact else 0.05 * torch.randn_like(to_mu)
    fill(model.encoder[0], torch.cat([to_mu, to_logvar]), torch.cat([-a @ b.double(), var.log()]))
    return model


def weights_of(model):
    """W [D, Z], V [D, C] and b [D] of a linear decoder."""
    layer = model.decoder[0]
    w, v = layer.weight.detach().split([model.z_dim, model.y_dim], 1)
    return w, v, layer.bias.detach()


def exact_marginal(model, y=None, columns=None):
    """p(x) over all columns, or those where `columns` is True."""
    w, v, b = weights_of(model)
    mean = b if y is None else b + y @ v.T
    covariance = w @ w.T + VARIANCE * torch.eye(len(b)).double()
    if columns is not None:
        mean, covariance = mean[..., columns], covariance[columns][:, columns]
    return MultivariateNormal(mean, covariance)


def exact_posterior(model, x):
    w, _, b = weights_of(model)
    covariance = torch.linalg.inv(torch.eye(model.z_dim).double() + w.T @ w / VARIANCE)
    return MultivariateNormal((x - b) @ w @ covariance / VARIANCE, covariance)


def small_vae(variance="decoder", y_dim=0):
    """Non-linear, with every weight away from 0."""
    return VAE(Gaussian(3, variance), (5,), z_dim=2, y_dim=y_dim)


def test_a_batch_takes_the_same_rows_of_x_y_and_mask():
    column = torch.arange(5.0)[:, None]
    batch = Batch(column, 2 * column, 3 * column)
    for index in (torch.tensor([3, 0, 3], dtype=torch.int32), torch.tensor([3, 0, 3])):
        taken = torch.cat(batch.take(index), 1)
        close(taken, torch.tensor([[3.0, 6, 9], [0, 0, 0], [3, 6, 9]]))
    close(torch.cat(batch.take(slice(3, 9)), 1), torch.tensor([[3.0, 6, 9], [4, 8, 12]]))
    assert Batch(column).take(slice(2))[1:] == (None, None)


# The linear model: bounds against the exact marginal


def test_log_px_meets_the_exact_marginal_of_a_linear_model():
    model, x = linear_vae(), 1.5 * torch.randn(6, 4).double()
    close(model.log_px(x, n_samples=200_000), exact_marginal(model).log_prob(x), atol=0.03, rtol=0)


def test_elbo_is_the_marginal_less_the_divergence_to_the_posterior():
    model, x = linear_vae(), 1.5 * torch.randn(6, 4).double()
    mu, logvar = model.encode(x)
    q = MultivariateNormal(mu, torch.diag_embed(logvar.exp()))
    exact = exact_marginal(model).log_prob(x) - kl_divergence(q, exact_posterior(model, x))
    close(model.terms(Batch(x), n_samples=100_000).elbo, exact, atol=0.05, rtol=0.005)
    close(model.importance(x, n_samples=100_000).elbo, exact, atol=0.05, rtol=0.005)
    assert (exact < exact_marginal(model).log_prob(x) - 0.1).all()


def test_with_the_exact_posterior_every_importance_weight_is_the_marginal():
    model, x = linear_vae(exact=True), 2 * torch.randn(7, 4).double()
    exact = exact_marginal(model).log_prob(x)
    close(model.log_w(x, n_samples=3), exact.expand(3, 7), atol=1e-5, rtol=0)
    log_px, elbo, ess = model.importance(x, n_samples=9)
    close(log_px, exact, atol=1e-5, rtol=0)
    close(elbo, exact, atol=1e-5, rtol=0)
    close(ess, torch.full_like(ess, 9.0), atol=1e-5, rtol=0)


def test_with_the_exact_posterior_the_elbo_is_the_marginal():
    model, x = linear_vae(exact=True), 2 * torch.randn(7, 4).double()
    exact = exact_marginal(model).log_prob(x)
    close(model.terms(Batch(x), n_samples=50_000).elbo, exact, atol=0.03, rtol=0)


def test_the_bound_rises_with_the_number_of_samples_and_stays_below_the_marginal():
    model, x = linear_vae(), torch.randn(1, 4).double()
    exact = exact_marginal(model).log_prob(x).item()
    bounds = [model.log_px(x.expand(8000, -1), n_samples=k) for k in (1, 5, 50)]
    means = [b.mean().item() for b in bounds]
    errors = [b.std().item() / 8000**0.5 for b in bounds]
    for low, high, error in zip(means, [*means[1:], exact], errors, strict=True):
        assert low + 4 * error < high


def test_importance_follows_its_formulas_for_the_weights_it_drew():
    model, x = small_vae(), torch.randn(6, 3)
    torch.manual_seed(1)
    log_px, elbo, ess = model.importance(x, n_samples=40)
    torch.manual_seed(1)
    w = model.log_w(x, n_samples=40).double().detach().exp()
    close(log_px.double(), w.mean(0).log(), atol=1e-5, rtol=0)
    close(elbo.double(), w.log().mean(0), atol=1e-5, rtol=0)
    close(ess.double(), w.sum(0).square() / w.square().sum(0), atol=1e-3, rtol=0)
    assert (elbo <= log_px).all()
    assert ((ess >= 1) & (ess <= 40)).all()


def test_far_rows_do_not_underflow_their_weights():
    model, x = linear_vae(exact=True), torch.full((1, 4), 500.0).double()
    exact = exact_marginal(model).log_prob(x)
    assert exact < -1e4  # exp of it is 0
    close(model.log_px(x, n_samples=20), exact, atol=0, rtol=1e-6)


# KL


def random_gaussians(shape=(5, 3)):
    mu_q, logvar_q, mu_p, logvar_p = (torch.randn(shape).double() for _ in range(4))
    q, p = (Normal(m, (0.5 * v).exp()) for m, v in ((mu_q, logvar_q), (mu_p, logvar_p)))
    return q, p, (mu_q, logvar_q, mu_p, logvar_p)


def test_kl_normal_is_the_mean_log_ratio_under_q():
    q, p, parameters = random_gaussians()
    z = q.sample((200_000,))
    for prior, kl in ((p, kl_normal(*parameters)), (Normal(0, 1), kl_normal(*parameters[:2]))):
        ratio = (q.log_prob(z) - prior.log_prob(z)).sum(-1)
        error = ratio.std(0) / 200_000**0.5
        assert ((kl - ratio.mean(0)).abs() < 5 * error).all()


def test_kl_normal_is_the_closed_form():
    q, p, parameters = random_gaussians()
    close(kl_normal(*parameters), kl_divergence(q, p).sum(-1))
    close(kl_normal(*parameters[:2]), kl_divergence(q, Normal(0, 1)).sum(-1))


reals = st.floats(-6, 6)


@settings(deadline=None, max_examples=100)
@given(reals, reals, reals, reals)
def test_kl_normal_is_zero_only_where_q_is_p(mu_q, logvar_q, mu_p, logvar_p):
    q, p = torch.tensor([[mu_q], [logvar_q]]).double(), torch.tensor([[mu_p], [logvar_p]]).double()
    assert kl_normal(*q, *q).item() == pytest.approx(0, abs=1e-12)
    # Pinsker: KL >= 2 TV^2, and TV >= the difference at any event, here {z <= mu_q}.
    at_mu_q = Normal(mu_p, math.exp(logvar_p / 2)).cdf(torch.tensor(mu_q).double())
    assert kl_normal(*q, *p).item() >= 2 * (0.5 - at_mu_q.item()) ** 2 - 1e-9


# The loss


def test_loss_is_a_mean_over_rows_of_a_sum_over_columns():
    """With all weights 0 the decoder and q ignore x, so the loss is a known density."""
    model, x = VAE(Gaussian(4, "fixed:2.0"), (6,), z_dim=3), torch.randn(5, 4)
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    expected = -Normal(0, 2**0.5).log_prob(x).sum(1).mean()
    for batch in (Batch(x), Batch(x.repeat(20, 1))):
        close(model.loss("vae", batch)[0].mean(), expected)
    close(model.loss("vae", Batch(x), beta=7.0)[0].mean(), expected)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 4.0])
def test_loss_weighs_only_the_kl_by_beta(beta):
    model, batch = small_vae(), Batch(torch.randn(6, 3))
    torch.manual_seed(1)
    elbo, log_px_z, kl = model.elbo(*batch)  # [B]
    torch.manual_seed(1)
    loss, stats = model.loss("vae", batch, beta)
    close(loss, -(log_px_z - beta * kl))
    close(elbo, log_px_z - kl)
    close(stats["loss"], loss.detach().mean())
    close(stats["log_px_z"], log_px_z.detach().mean())
    close(stats["kl"], kl.detach().mean())
    assert loss.requires_grad
    assert not any(value.requires_grad for value in stats.values())


LIKELIHOODS = {
    "bernoulli": lambda: Bernoulli(3),
    **{v: (lambda v=v: Gaussian(3, v)) for v in ("fixed:0.25", "shared", "column", "decoder")},
}


@pytest.mark.parametrize("name", LIKELIHOODS)
@pytest.mark.parametrize("n_samples", [1, 3])
def test_gradients_are_slopes_at_the_same_noise(n_samples, name):
    """Finite differences give the slopes of the loss and of a bound with more samples."""
    model = VAE(LIKELIHOODS[name](), (4,), z_dim=2, y_dim=1).double()
    x, y, mask = torch.rand(5, 3).double(), torch.randn(5, 1).double(), torch.rand(5, 3) > 0.3
    parameters = list(model.parameters())

    def loss():
        torch.manual_seed(1)
        if n_samples == 1:
            return model.loss("vae", Batch(x, y, mask), beta=0.7)[0].mean()
        return -model.elbo(x, y, mask, n_samples).elbo.mean()

    gradients = torch.autograd.grad(loss(), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        flat, slopes = parameter.detach().view(-1), []
        for i, value in enumerate(flat.tolist()):
            ends = []
            for flat[i] in (value + 1e-5, value - 1e-5):
                ends.append(loss().item())
            flat[i] = value
            slopes.append((ends[0] - ends[1]) / 2e-5)
        close(gradient.view(-1), torch.tensor(slopes).double(), atol=1e-7, rtol=1e-5)


def standardized(n_rows, n_columns):
    x = torch.randn(n_rows, n_columns)
    return (x - x.mean(0)) / x.std(0, correction=0)


@pytest.mark.parametrize(
    ("likelihood", "per_column"),
    [
        (lambda: Gaussian(20), 0.5 * (math.log(2 * math.pi) + 1)),
        (lambda: Gaussian(20, "fixed:1.0"), 0.5 * (math.log(2 * math.pi) + 1)),
        (lambda: Bernoulli(20), math.log(2)),
    ],
    ids=["gaussian", "fixed", "bernoulli"],
)
def test_loss_at_init_is_that_of_an_input_independent_model(likelihood, per_column):
    """A constant decoder and q = p lose `per_column` nats; fresh weights lose under 0.1 more."""
    x = standardized(500, 20)
    if per_column == math.log(2):
        x = (x > 0).float()
    losses = []
    for seed in range(5):
        torch.manual_seed(seed)
        loss, _ = VAE(likelihood(), (64,), z_dim=8).loss("vae", Batch(x))
        losses.append(loss.mean().item() / 20)
    assert all(per_column < loss < per_column + 0.1 for loss in losses)


def test_a_small_model_learns_one_batch_by_heart():
    x = standardized(8, 4)
    model = VAE(Gaussian(4, "fixed:0.01"), (32,), z_dim=3)
    optimizer = Adam(model.parameters(), lr=1e-2)
    for _ in range(400):
        optimizer.step(model.loss("vae", Batch(x))[0].mean())
    assert (model.reconstruct(x) - x).square().mean() < 0.01  # of a variance of 1
    assert model.log_px(x, n_samples=200).mean() > -4.5  # one diagonal Gaussian gets -5.68


# Its parts: shapes and what they draw


def test_encode_and_decode_are_the_networks_halves():
    model, x = linear_vae(), torch.randn(5, 4).double()
    layer = model.encoder[0]
    mu, logvar = model.encode(x)
    close(mu, x @ layer.weight[:2].T + layer.bias[:2])
    close(logvar, x @ layer.weight[2:].T + layer.bias[2:])
    w, _, b = weights_of(model)
    z = torch.randn(7, 5, 2).double()
    close(model.decode(z), z @ w.T + b)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("n_samples", [1, 5])
def test_reparameterize_draws_independently_from_q(n_samples, mode):
    model = linear_vae().train(mode == "train")
    mu, logvar = torch.tensor([[1.0, -2.0], [3.0, 0.0]]), torch.tensor([[0.0, -2.0], [1.0, -4.0]])
    n = 10_000
    z = model.reparameterize(mu.repeat(n, 1), logvar.repeat(n, 1), n_samples)
    assert z.shape == (n_samples, 2 * n, 2)
    standard = (z.view(n_samples, n, 2, 2) - mu) / (0.5 * logvar).exp()  # [K, n, B, Z]
    standard = standard.transpose(0, 1).reshape(n, -1)  # every sample of every row and latent
    close(standard.mean(0), torch.zeros(4 * n_samples), atol=0.05, rtol=0)
    close(standard.T.cov(), torch.eye(4 * n_samples), atol=0.06, rtol=0)


def test_forward_decodes_one_draw_from_q():
    model, x = linear_vae(), torch.randn(1, 4).double()
    means, mu, logvar = model(x.expand(50_000, -1))
    w, _, b = weights_of(model)
    assert means.shape == (50_000, 4)
    close(means.mean(0), mu[0] @ w.T + b, atol=0.06, rtol=0)
    close(means.T.cov(), w * logvar[0].exp() @ w.T, atol=0.06, rtol=0.05)


def test_reconstruct_decodes_the_mean_of_q():
    model, x = linear_vae(), torch.randn(5, 4).double()
    w, _, b = weights_of(model)
    close(model.reconstruct(x), model.encode(x)[0] @ w.T + b)


def test_sample_draws_from_the_marginal_of_a_linear_model():
    model = linear_vae().float()
    exact = exact_marginal(model.double())
    draws = model.float().sample(100_000).double()
    assert draws.shape == (100_000, 4)
    close(draws.mean(0), exact.mean, atol=0.03, rtol=0)
    close(draws.T.cov(), exact.covariance_matrix, atol=0.06, rtol=0.02)


def test_a_double_model_draws_doubles():
    assert linear_vae().sample(3).dtype == torch.float64


def test_train_and_eval_give_the_same_numbers():
    model, x = small_vae(), torch.randn(6, 3)

    def outputs():
        torch.manual_seed(1)
        results = [model(x), model.elbo(x), model.importance(x, n_samples=5), model.sample(4)]
        return [*results, model.encode(x), model.reconstruct(x), model.loss("vae", Batch(x))[0]]

    model.train()
    trained = outputs()
    model.eval()
    close(outputs(), trained, atol=0, rtol=0)
    assert not torch.equal(model(x)[0], model(x)[0])  # eval has not switched sampling off


# Masks


def observed(n_rows, n_columns):
    """A mask with a fully observed row, a wholly missing one, and mixtures."""
    mask = (torch.rand(n_rows, n_columns) > 0.4).double()
    mask[0], mask[1], mask[2] = 1, 0, torch.eye(n_columns)[0]
    return mask


@pytest.mark.parametrize("value", [-3.0, 1e4, -1e30])
@pytest.mark.parametrize("likelihood", [Bernoulli, Gaussian])
def test_what_stands_in_a_missing_cell_changes_nothing(likelihood, value):
    model, mask = VAE(likelihood(4), (5,), z_dim=2), observed(6, 4).float()
    x = torch.rand(6, 4) * mask
    other = torch.where(mask == 1, x, torch.tensor(value))

    def outputs(x):
        torch.manual_seed(1)
        loss, _ = model.loss("vae", Batch(x, mask=mask))
        gradients = torch.autograd.grad(loss.mean(), list(model.parameters()))
        estimates = model.elbo(x, mask=mask), model.importance(x, mask=mask, n_samples=5)
        return [model.encode(x, mask=mask), *estimates, model.reconstruct(x, mask=mask), *gradients]

    close(outputs(other), outputs(x), atol=0, rtol=0)


def test_a_full_mask_is_no_mask():
    model, x = small_vae(), torch.randn(6, 3)
    for mask in (torch.ones(6, 3), torch.ones(6, 3, dtype=torch.bool)):
        torch.manual_seed(1)
        masked = model.elbo(x, mask=mask)
        torch.manual_seed(1)
        close(masked, model.elbo(x), atol=0, rtol=0)


def test_log_px_of_a_masked_row_meets_the_marginal_over_its_observed_columns():
    model, x, mask = linear_vae(), torch.randn(8, 4).double(), observed(8, 4)
    fill(model.encoder[0], torch.zeros(4, 4), torch.zeros(4))  # q = p(z): broad enough for any mask
    exact = [
        exact_marginal(model, columns=m == 1).log_prob(row[m == 1]) if m.any() else torch.zeros([])
        for row, m in zip(x, mask, strict=True)
    ]
    exact = torch.stack([e.double() for e in exact])
    close(model.log_px(x, mask=mask, n_samples=200_000), exact, atol=0.03, rtol=0)


# A condition y


def test_a_condition_shifts_the_marginal_of_a_linear_model():
    model, x, y = linear_vae(y_dim=3), torch.randn(6, 4).double(), torch.randn(6, 3).double()
    exact = exact_marginal(model, y).log_prob(x)
    close(model.log_px(x, y, n_samples=200_000), exact, atol=0.03, rtol=0)
    other = model.log_px(x, y.flip(0), n_samples=200_000)
    close(other, exact_marginal(model, y.flip(0)).log_prob(x), atol=0.03, rtol=0)
    assert ((other - exact).abs() > 0.1).any()


def test_one_sample_of_many_rows_and_many_of_one_estimate_the_same_bound():
    model, x, y = linear_vae(y_dim=3), torch.randn(1, 4).double(), torch.randn(1, 3).double()
    mask = torch.tensor([[1.0, 0.0, 1.0, 1.0]]).double()
    many = model.elbo(x, y, mask, n_samples=50_000)
    ones = model.elbo(*(part.expand(50_000, -1) for part in (x, y, mask)))
    error = ones.log_px_z.std().item() / 50_000**0.5
    for one, term in zip(ones, many, strict=True):
        assert one.shape == (50_000,)
        assert one.mean().item() == pytest.approx(term.item(), abs=6 * error)


def test_a_condition_stands_after_x_in_the_encoder_and_after_z_in_the_decoder():
    model, x, y = linear_vae(y_dim=3), torch.randn(6, 4).double(), torch.randn(6, 3).double()
    encoder = model.encoder[0]
    close(torch.cat(model.encode(x, y), -1), encoder(torch.cat([x, y], 1)))
    w, v, b = weights_of(model)
    z = torch.randn(5, 6, 2).double()
    close(model.decode(z, y), z @ w.T + y @ v.T + b)
    close(model.reconstruct(x, y), model.encode(x, y)[0] @ w.T + y @ v.T + b)
    assert model.log_w(x, y, n_samples=5).shape == (5, 6)
    assert [t.shape for t in model(x, y)] == [(6, 4), (6, 2), (6, 2)]


def test_a_sample_follows_its_own_condition():
    model, y = linear_vae(y_dim=3), torch.eye(3).double()
    exact = exact_marginal(model, y)
    draws = model.float().sample(90_000, y.float().repeat(30_000, 1)).view(30_000, 3, 4).double()
    close(draws.mean(0), exact.mean, atol=0.06, rtol=0)


# Chunks: any number of rows and samples in bounded memory


@pytest.mark.parametrize("cells", [1, 7, 23, 60, 100, 10_000])
def test_importance_over_chunks_uses_every_weight_of_every_row_once(cells, monkeypatch):
    n_samples, n_rows = 23, 10
    model = VAE(Gaussian(3), (5,), z_dim=2)
    table = torch.randn(n_samples, n_rows)
    used = torch.zeros(n_rows, dtype=torch.long)
    noise = torch.randn(n_samples, 1, 2)

    def log_w(x, y, mask, n_samples, eps, prior):
        assert torch.equal(eps, noise[used[x[0, 0].long()] :][:n_samples])
        rows = x[:, 0].long()
        assert torch.equal(y, x)
        assert torch.equal(mask, x)
        assert n_samples * len(x) <= cells
        start = used[rows[0]].item()
        used[rows] += n_samples
        return table[start : start + n_samples, rows]

    monkeypatch.setattr(importance, "CHUNK_FLOATS", cells * model.width)
    monkeypatch.setattr(model, "log_w", log_w)
    x = torch.arange(float(n_rows))[:, None].expand(-1, 3)
    estimate = model.importance(x, x, x, n_samples, noise)
    assert (used == n_samples).all()
    w = table.exp()
    ess = w.sum(0).square() / w.square().sum(0)
    close(estimate, Importance(w.mean(0).log(), table.mean(0), ess), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 10, 1000])
def test_terms_over_chunks_are_those_of_each_row(rows, monkeypatch):
    model = VAE(Gaussian(3), (5,), z_dim=2)

    def elbo(x, y, mask, n_samples):
        assert len(x) <= rows
        return Terms(x[:, 0] + n_samples, y[:, 0], mask[:, 0])

    monkeypatch.setattr(importance, "CHUNK_FLOATS", 4 * rows * model.width)
    monkeypatch.setattr(model, "elbo", elbo)
    x = torch.arange(10.0)[:, None].expand(-1, 3)
    column = torch.arange(10.0)
    terms = model.terms(Batch(x, 2 * x, 3 * x), n_samples=4)
    close(terms, Terms(column + 4, 2 * column, 3 * column), atol=0, rtol=0)


def test_small_chunks_leave_exact_estimates_as_they_are(monkeypatch):
    model, x = linear_vae(exact=True), torch.randn(11, 4).double()
    whole = model.importance(x, n_samples=13)
    monkeypatch.setattr(importance, "CHUNK_FLOATS", 5 * model.width)
    close(model.importance(x, n_samples=13), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("y_dim", [0, 50])
def test_no_layer_of_a_chunk_holds_more_than_chunk_floats(y_dim, monkeypatch):
    model = VAE(Gaussian(3), (5,), z_dim=2, y_dim=y_dim)
    sizes = []

    def note(layer, inputs, output):
        sizes.extend([inputs[0].numel(), output.numel()])

    for layer in [*model.encoder, *model.decoder]:
        layer.register_forward_hook(note)
    monkeypatch.setattr(importance, "CHUNK_FLOATS", 1000)
    batch = Batch(torch.randn(70, 3), torch.randn(70, y_dim) if y_dim else None)
    model.importance(*batch, n_samples=90)
    model.terms(batch, n_samples=3)
    assert max(sizes) <= 1000
    assert max(sizes) > 500  # and chunks are not needlessly small


MEASURE_MEMORY = """
import torch
from vae import VAE, Gaussian

def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM")) / 1024

torch.set_num_threads(1)
model = VAE(Gaussian(5), (), z_dim=2)
x = torch.randn(2000, 5)
model.log_px(x[:2], n_samples=2)
before = peak()
model.log_px(x, n_samples=2000)
print(peak() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads peak memory from /proc")
def test_memory_of_log_px_is_bounded():
    """At once, the parameters of 2000 rows and 2000 samples would take 160 MB several times."""
    root = Path(__file__).parent.parent
    command = [sys.executable, "-c", MEASURE_MEMORY]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 300


# Missing cells given the observed ones

MASK = torch.tensor([1.0, 0.0, 1.0, 0.0]).double()


def conditional(model, x, mask):
    """p(missing cells | observed cells) of one row, by the Schur complement."""
    joint, seen, gone = exact_marginal(model), mask > 0, mask == 0
    covariance = joint.covariance_matrix
    gain = covariance[gone][:, seen] @ torch.linalg.inv(covariance[seen][:, seen])
    mean = joint.mean[gone] + (x[..., seen] - joint.mean[seen]) @ gain.T
    return MultivariateNormal(mean, covariance[gone][:, gone] - gain @ covariance[seen][:, gone])


def linear_vae_with_holes(exact=True):
    """A linear model whose q is exact for rows with MASK, or else too broad and off-centre."""
    model = linear_vae()
    _, _, b = weights_of(model)
    w = torch.tensor([[0.6, 0.3], [1.1, -0.7], [-0.5, 1.0], [0.8, 0.9]]).double()
    w[2, 0] = -w[0, 0] * w[0, 1] / w[2, 1]  # rows 0 and 2: a diagonal posterior covariance
    fill(model.decoder[0], w, b)
    seen = MASK[:, None] * w
    covariance = torch.linalg.inv(torch.eye(2).double() + seen.T @ seen / VARIANCE)
    a, logvar = covariance @ seen.T / VARIANCE, covariance.diagonal().log()
    shift = -a @ b
    if not exact:
        logvar, shift = logvar + math.log(1.5), shift + 0.3
    fill(model.encoder[0], torch.cat([a, torch.zeros_like(a)]), torch.cat([shift, logvar]))
    return model


@pytest.mark.parametrize("exact", [True, False])
def test_imputed_cells_have_the_mean_of_a_linear_models_conditional(exact):
    model, x = linear_vae_with_holes(exact), 1.5 * torch.randn(5, 4).double()
    eps = normal_grid(16_384, 2).double()
    found = model.impute(x, MASK.expand(5, -1), n_samples=16_384, eps=eps)
    expected = conditional(model, x, MASK).mean
    close(found.mean[:, MASK == 0], expected, atol=0.01, rtol=0)
    assert (expected - exact_marginal(model).mean[MASK == 0]).abs().max() > 0.5
    close(found.mean[:, MASK > 0], x[:, MASK > 0], atol=0, rtol=0)
    marginal = exact_marginal(model, columns=MASK > 0).log_prob(x[:, MASK > 0])
    close(found.log_px, marginal, atol=0.01, rtol=0)
    if exact:
        close(found.ess, torch.full_like(found.ess, 16_384.0), rtol=1e-6, atol=0)
    else:
        assert (found.ess < 0.9 * 16_384).all()


@pytest.mark.parametrize("exact", [True, False])
def test_drawn_cells_are_joint_draws_of_a_linear_models_conditional(exact):
    model, x = linear_vae_with_holes(exact), 1.5 * torch.randn(2, 4).double()
    found = model.impute(x, MASK.expand(2, -1), n_samples=20_000, draws=20_000)
    expected = conditional(model, x, MASK)
    assert found.draws.shape == (20_000, 2, 4)
    close(found.draws[..., MASK > 0], x[:, MASK > 0].expand(20_000, -1, -1), atol=0, rtol=0)
    drawn = found.draws[..., MASK == 0]
    close(drawn.mean(0), expected.mean, atol=0.05, rtol=0)
    covariance = expected.covariance_matrix[0]  # the same for every row
    for row in range(2):
        close(drawn[:, row].T.cov(), covariance, atol=0.06, rtol=0)
    assert abs(covariance[0, 1]) > 0.15  # independent draws of the cells would have none


def test_a_row_without_a_hole_and_a_row_of_holes_are_imputed_too():
    model, x = linear_vae_with_holes(), torch.randn(2, 4).double()
    mask = torch.stack([torch.ones(4), torch.zeros(4)]).double()
    fill(model.encoder[0], torch.zeros(4, 4), torch.zeros(4))  # q = p(z)
    found = model.impute(x, mask, n_samples=20_000, draws=20_000)
    close(found.mean[0], x[0], atol=0, rtol=0)
    close(found.draws[:, 0], x[:1].expand(20_000, -1), atol=0, rtol=0)
    exact = exact_marginal(model)
    close(found.mean[1], exact.mean, atol=0.05, rtol=0)
    close(found.draws[:, 1].T.cov(), exact.covariance_matrix, atol=0.12, rtol=0)
    close(found.log_px[1], torch.tensor(0.0).double(), atol=1e-9, rtol=0)


def test_another_unit_is_entered_before_the_mean_is_taken():
    """Given the observed cells, E[exp(x)] is a log-normal mean, not exp of the mean."""
    model, x = linear_vae_with_holes(), torch.randn(5, 4).double()
    found = model.impute(
        x,
        MASK.expand(5, -1),
        n_samples=16_384,
        eps=normal_grid(16_384, 2).double(),
        unit=lambda mean, std: torch.exp(mean + std.square() / 2),
    )
    exact = conditional(model, x, MASK)
    expected = torch.exp(exact.mean + exact.variance / 2)
    close(found.mean[:, MASK == 0], expected, atol=0, rtol=0.02)
    assert (expected > 1.2 * torch.exp(exact.mean)).all()


def mixed_vae():
    columns = [
        Column("a", kind="categorical", levels=list("xyz")),
        Column("b"),
        Column("c", kind="ordinal", levels=list("1234")),
        Column("d", kind="count", centre=1.0, spread=0.8),
        Column("e", kind="binary", levels=["no", "yes"]),
        Column("f", kind="positive", curve="log"),
    ]
    return VAE(Mixed(columns, "column"), (7,), z_dim=2).double()


def mixed_rows(n):
    codes = [torch.randint(k, (n,)).double() for k in (3, 4, 9, 2)]
    x = torch.stack([codes[0], torch.randn(n), codes[1], codes[2], codes[3], torch.randn(n)], -1)
    return x.double(), (torch.rand(n, 6) > 0.4).double()


def test_mixed_cells_are_imputed_by_the_importance_weights():
    """Numbers are weighted means, levels the best of weighted levels, from equal noise."""
    model, (x, mask) = mixed_vae(), mixed_rows(20)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    eps = normal_grid(64, 2).double()
    found = model.impute(x, mask, n_samples=64, eps=eps)
    log_w = model.log_w(x, mask=mask, n_samples=64, eps=eps).detach()
    weights = log_w.exp() / log_w.exp().sum(0)
    mu, logvar = model.encode(x, mask=mask)
    params = model.decode(mu + (logvar / 2).exp() * eps)
    blocks = {kind: (block, piece) for kind, block, piece in model.likelihood.split(params)}
    expected = torch.zeros_like(x)
    for at, kind in (([1, 5], "real"), ([3], "count"), ([4], "binary")):
        block, piece = blocks[kind]
        expected[:, at] = (weights[..., None] * block.mean(piece)).sum(0).detach()
    expected[:, 4] = (expected[:, 4] > 0.5).double()
    for at, kind in ((0, "categorical"), (2, "ordinal")):
        block, piece = blocks[kind]
        probs = (weights[..., None] * block.log_probs(piece)[..., 0, :].exp()).sum(0).detach()
        median = (probs.cumsum(-1) < 0.5).sum(-1)
        expected[:, at] = probs.argmax(-1) if kind == "categorical" else median
    close(found.mean, torch.where(mask > 0, x, expected))
    close(found.ess, 1 / weights.square().sum(0))
    close(found.log_px, log_w.exp().mean(0).log())


@pytest.mark.parametrize("n_rows", [1, 3, 7, 50])
def test_imputing_does_not_depend_on_chunks(n_rows, monkeypatch):
    model, (x, mask) = mixed_vae(), mixed_rows(20)
    eps, sizes = normal_grid(16, 2).double(), []
    whole = model.impute(x, mask, n_samples=16, eps=eps, draws=3)
    monkeypatch.setattr(importance, "CHUNK_FLOATS", 16 * n_rows * model.width)
    model.decoder.register_forward_hook(lambda layer, _, output: sizes.append(output.shape[1]))
    parts = model.impute(x, mask, n_samples=16, eps=eps, draws=3)
    assert sizes == [n_rows] * (20 // n_rows) + [20 % n_rows] * (20 % n_rows > 0)
    for name in ("mean", "log_px", "ess"):
        close(getattr(parts, name), getattr(whole, name))
    assert parts.draws.shape == whole.draws.shape == (3, 20, 6)
    close(parts.draws * mask, (x * mask).expand(3, -1, -1), atol=0, rtol=0)


@pytest.mark.parametrize(("n_samples", "draws"), [(90, 0), (9, 90)])
def test_no_layer_of_an_imputed_chunk_holds_more_than_chunk_floats(n_samples, draws, monkeypatch):
    model, sizes = VAE(Gaussian(3), (5,), z_dim=2), []
    monkeypatch.setattr(importance, "CHUNK_FLOATS", 1000)
    for name in ("log_prob", "sample"):
        method = getattr(model.likelihood, name)

        def note(params, *args, method=method):
            sizes.append(params.numel())
            return method(params, *args)

        monkeypatch.setattr(model.likelihood, name, note)
    model.impute(torch.randn(70, 3), torch.ones(70, 3), n_samples=n_samples, draws=draws)
    assert max(sizes) <= 1000
    assert max(sizes) > 500


def test_what_stands_in_a_hole_of_a_mixed_table_changes_nothing():
    model, (x, mask) = mixed_vae(), mixed_rows(20)
    eps = normal_grid(16, 2).double()
    found = []
    for value in (0.0, -7.0, 1e30, math.nan):
        rows = torch.where(mask > 0, x, torch.tensor(value).double())
        torch.manual_seed(1)
        loss, _ = model.loss("vae", Batch(rows, mask=mask))
        gradients = torch.autograd.grad(loss.mean(), list(model.parameters()))
        found.append([model.impute(rows, mask, n_samples=16, eps=eps), loss, *gradients])
    for other in found[1:]:
        close(other, found[0], atol=0, rtol=0)


# Noise that fills space evenly


def test_a_normal_grid_is_a_function_of_its_seed():
    before = torch.get_rng_state()
    grid = normal_grid(100, 3, seed=5)
    assert grid.shape == (100, 1, 3)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(3)
    assert torch.equal(normal_grid(100, 3, seed=5), grid)
    assert not torch.equal(normal_grid(100, 3, seed=6), grid)


@pytest.mark.parametrize("z_dim", [1, 4, 32])
def test_a_normal_grid_has_the_moments_of_normal_noise(z_dim):
    grid = normal_grid(4096, z_dim)[:, 0].double()
    assert grid.isfinite().all()
    close(grid.mean(0), torch.zeros(z_dim).double(), atol=5e-3, rtol=0)  # independent: 0.016
    close(grid.var(0), torch.ones(z_dim).double(), atol=0.02, rtol=0)  # 0.022
    covariance = torch.atleast_2d(grid.T.cov())
    close(covariance, torch.eye(z_dim).double(), atol=0.05, rtol=0)
    close(grid.pow(4).mean(0), torch.full((z_dim,), 3.0).double(), atol=0.25, rtol=0)


def test_with_a_grid_a_row_is_estimated_as_if_it_were_alone(monkeypatch):
    model, (x, mask) = mixed_vae().float(), mixed_rows(12)
    x, mask, eps = x.float(), mask.float(), normal_grid(100, 2)
    whole = model.log_px(x, mask=mask, n_samples=100, eps=eps)
    alone = [
        model.log_px(x[i : i + 1], mask=mask[i : i + 1], n_samples=100, eps=eps) for i in range(12)
    ]
    close(torch.cat(alone), whole, atol=1e-4, rtol=1e-5)
    order = torch.randperm(12)
    shuffled = model.log_px(x[order], mask=mask[order], n_samples=100, eps=eps)
    close(shuffled, whole[order], atol=1e-4, rtol=1e-5)
    monkeypatch.setattr(importance, "CHUNK_FLOATS", 7 * model.width)
    close(model.log_px(x, mask=mask, n_samples=100, eps=eps), whole, atol=1e-4, rtol=1e-5)


def test_a_grid_errs_less_than_independent_draws():
    model, x = linear_vae(), torch.randn(200, 4).double()
    exact = exact_marginal(model).log_prob(x)

    def error(noise):
        estimates = [model.log_px(x, n_samples=128, eps=noise(seed)) for seed in range(5)]
        return (torch.stack(estimates) - exact).square().mean().sqrt()

    assert error(lambda seed: normal_grid(128, 2, seed).double()) < 0.4 * error(lambda seed: None)


# Cells hidden while training


@pytest.mark.parametrize("rate", [0.3, 0.9])
def test_half_the_rows_are_hidden_from_up_to_a_share(rate):
    hidden = 1 - hide(Batch(torch.randn(2000, 1000)), rate).mask
    share = hidden.mean(1)
    untouched = (share == 0).float().mean().item()
    assert untouched == pytest.approx(0.5, abs=0.05)
    assert share.max() < rate + 4 * (rate * (1 - rate) / 1000) ** 0.5
    touched = share[share > 0]  # uniform up to the rate
    assert touched.mean().item() == pytest.approx(rate / 2, abs=0.02)
    assert touched.std().item() == pytest.approx(rate / 12**0.5, abs=0.02)
    within = hidden[share > rate / 2]  # a row's cells are hidden independently of one another
    assert within[:, ::2].mean() == pytest.approx(within[:, 1::2].mean().item(), abs=0.01)
    assert hidden.mean(0).std() < 0.02  # and no column more than others


def test_hiding_never_shows_a_missing_cell_and_leaves_the_batch():
    x, y, mask = torch.randn(300, 20), torch.randn(300, 2), (torch.rand(300, 20) > 0.3).float()
    kept = mask.clone()
    hidden = hide(Batch(x, y, mask), 0.8)
    assert (hidden.mask <= kept).all()
    assert hidden.mask.sum() < kept.sum()
    assert torch.equal(mask, kept)
    assert hidden.x is x
    assert hidden.y is y


def test_a_loss_that_hides_nothing_draws_nothing_more():
    model, x = small_vae(), torch.randn(6, 3)
    losses, states = [], []
    for options in ({}, {"hide_rate": 0.0}):
        torch.manual_seed(1)
        losses.append(model.loss("vae", Batch(x), **options)[0])
        states.append(torch.get_rng_state())
    assert torch.equal(*losses)
    assert torch.equal(*states)


def test_a_loss_that_hides_is_the_bound_of_the_cells_left():
    model, batch = small_vae(), Batch(torch.randn(50, 3))
    torch.manual_seed(1)
    loss, _ = model.loss("vae", batch, hide_rate=0.9)
    torch.manual_seed(1)
    left = hide(batch, 0.9)
    assert left.mask.min() == 0
    close(loss, -model.elbo(*left).elbo)


# From a run's config


def built_twice(columns, **options):
    """The model of a ModelConfig, and the one of what a run's folder holds of it."""
    codec = Codec("tables", columns, (len(columns),))
    config = RunConfig(Config(model=ModelConfig(**options)), codec, "", 9, Execution(), {})
    again = RunConfig.from_dict(json.loads(json.dumps(config.to_dict("."))), ".")
    return [build_model(c.asked.model, Space.of(c.codec)) for c in (config, again)]


@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("hidden_dims", [[], [7, 5]])
def test_a_config_makes_the_same_model_again(likelihood, hidden_dims):
    options = {"likelihood": likelihood, "variance": "column", "hidden_dims": hidden_dims}
    options |= {"latent_dim": 2, "binarize": "none"}
    model, again = built_twice([Column(name) for name in "abc"], **options)
    sizes = [m.out_features for m in model.modules() if isinstance(m, nn.Linear)]
    assert sizes == [*hidden_dims, 4, *hidden_dims[::-1], 3]
    assert len(list(model.likelihood.parameters())) == (likelihood == "gaussian")
    again.load_state_dict(model.state_dict())
    x = torch.rand(5, 3)
    results = []
    for m in (model, again):
        torch.manual_seed(1)
        results.append(m.elbo(x))
    close(results[0], results[1], atol=0, rtol=0)


def test_any_module_can_be_a_network(monkeypatch):
    class Residual(nn.Module):
        def __init__(self, in_dim, hidden_dims, out_dim, members, shape):
            super().__init__()
            self.straight, self.curved = nn.Linear(in_dim, out_dim), nn.Linear(in_dim, out_dim)

        def forward(self, x):
            return self.straight(x) + torch.tanh(self.curved(x))

    monkeypatch.setitem(NETWORKS, "residual", (Residual, Residual))
    model = VAE(Gaussian(3), (5,), z_dim=2, network="residual")
    assert model.log_px(torch.randn(4, 3), n_samples=3).isfinite().all()
    assert "3-5-z2-5-6, 68 parameters" in model.describe()


def test_a_config_with_columns_of_every_kind_makes_the_same_model_again():
    """Ignored columns are left out, and the state holds all that was learned."""
    columns = [
        Column("id", kind="ignore"),
        Column("a", kind="categorical", levels=list("xyz")),
        Column("b", kind="count", centre=2.0, spread=0.7),
        Column("c", shift=3.0, scale=2.0),
        Column("d", kind="ordinal", levels=["1", "2", "3"]),
        Column("e", kind="binary", levels=["n", "y"]),
    ]
    options = {"likelihood": "mixed", "variance": "shared", "real": "student"}
    model, again = built_twice(columns, hidden_dims=[6], latent_dim=2, **options)
    sizes = [m.out_features for m in model.modules() if isinstance(m, nn.Linear)]
    assert sizes == [6, 4, 6, 3 + 1 + 1 + 1 + 1]
    assert model.encoder[0].in_features == 3 + 1 + 1 + 1 + 1 + 5
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    x = torch.tensor([[2.0, 7, 0.3, 1, 0], [0, 0, -1, 2, 1]])
    eps = normal_grid(9, 2)
    expected = model.log_px(x, n_samples=9, eps=eps)
    assert not torch.equal(again.log_px(x, n_samples=9, eps=eps), expected)
    again.load_state_dict(model.state_dict())
    close(again.log_px(x, n_samples=9, eps=eps), expected, atol=0, rtol=0)
    torch.manual_seed(2)
    draws = model.sample(50)
    torch.manual_seed(2)
    assert torch.equal(again.sample(50), draws)


def test_q_of_a_far_row_is_not_wider_than_any_that_is_learned():
    model = VAE(Gaussian(3), hidden_dims=(8,), z_dim=2).eval()
    with torch.no_grad():
        model.encoder[-1].bias[2:] = 50.0
    mu, logvar = model.encode(torch.zeros(4, 3))
    assert (logvar <= 6).all()
    assert torch.equal(mu, model.train().encode(torch.zeros(4, 3))[0])
    assert (model.encode(torch.zeros(4, 3))[1] > 6).all()  # training sees its own gradient
