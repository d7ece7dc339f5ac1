"""parts/model/priors.py and aggregated.py: against torch.distributions and exact marginals."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)
from torch.testing import assert_close as close

from parts.model import importance
from parts.model.aggregated import Aggregated
from parts.model.priors import MIN_LOGVAR, PRIORS, Mixture, VampPrior
from vae import VAE, Gaussian, normal_grid


def posteriors(*shape):
    """mu and logvar, far from alike."""
    return 2 * torch.randn(shape).double(), torch.randn(shape).double()


def mixture(mu, logvar):
    """The mean of the N Gaussians, of batch shape [...] for mu [..., N, Z]."""
    parts = Independent(Normal(mu, (logvar / 2).exp()), 1)
    return MixtureSameFamily(Categorical(torch.ones(mu.shape[:-1]).double()), parts)


def without(mu, logvar, row):
    kept = [i for i in range(mu.shape[-2]) if i != row]
    return mixture(mu[..., kept, :], logvar[..., kept, :])


@pytest.mark.parametrize("n_rows", [1, 2, 9])
def test_it_is_the_mean_of_the_rows_posteriors(n_rows):
    mu, logvar = posteriors(n_rows, 3)
    z = 3 * torch.randn(5, 7, 3).double()
    prior = Aggregated(mu, logvar)
    assert prior.n_rows == n_rows
    close(prior.log_prob(z), mixture(mu, logvar).log_prob(z))
    close(prior.log_prob(z, torch.full((7,), -1)), mixture(mu, logvar).log_prob(z))


def test_a_rows_own_posterior_is_left_out():
    """Some z's leave out a row, in any order; the mean is then over the other rows."""
    mu, logvar = posteriors(6, 3)
    own = torch.tensor([3, -1, 0, 5, -1, 3, 1])
    z = 2 * torch.randn(4, 7, 3).double()
    found = Aggregated(mu, logvar).log_prob(z, own)
    for b, row in enumerate(own.tolist()):
        close(found[:, b], without(mu, logvar, row).log_prob(z[:, b]))


def test_at_its_own_place_a_row_is_scored_by_the_others():
    """At the place of one of two rows nearly all the density is that of its own posterior."""
    mu, logvar = posteriors(2, 3)
    z = mu[:1] + 1e-3
    alone = Aggregated(mu, logvar).log_prob(z[None], torch.tensor([0]))
    close(alone, mixture(mu[1:], logvar[1:]).log_prob(z[None]))
    assert (alone < Aggregated(mu, logvar).log_prob(z[None]) - 1).all()


def test_each_member_has_a_prior_of_its_own():
    mu, logvar = posteriors(3, 6, 2)  # [M, N, Z]
    own = torch.tensor([-1, 4, 0, 4, 5])
    z = 2 * torch.randn(3, 4, 5, 2).double()  # [M, K, B, Z]
    whole, left = Aggregated(mu, logvar).log_prob(z), Aggregated(mu, logvar).log_prob(z, own)
    assert whole.shape == left.shape == (3, 4, 5)
    for m in range(3):
        close(whole[m], mixture(mu[m], logvar[m]).log_prob(z[m]))
        for b, row in enumerate(own.tolist()):
            close(left[m, :, b], without(mu[m], logvar[m], row).log_prob(z[m, :, b]))


@pytest.mark.parametrize("own", [None, 2])
def test_it_integrates_to_one(own):
    mu, logvar = posteriors(5, 1)
    z = torch.linspace(-40, 40, 200_001).double().view(-1, 1, 1)
    own = None if own is None else torch.tensor([own])
    log_p = Aggregated(mu, logvar).log_prob(z, own).squeeze(1)
    assert torch.trapezoid(log_p.exp(), z.flatten()).item() == pytest.approx(1, abs=1e-9)


def test_far_and_narrow_posteriors_neither_overflow_nor_lose_digits():
    """Single precision holds for the sharpest posteriors of real tables, logvar about -6."""
    mu, logvar = posteriors(50, 8)
    mu, logvar = mu.float(), logvar.float() - 6
    exact = mixture(mu.double(), logvar.double())
    near = (mu + (logvar / 2).exp() * torch.randn(20, 50, 8)).double()
    found = Aggregated(mu, logvar).log_prob(near.float()).double()
    close(found, exact.log_prob(near), atol=0.05, rtol=0)
    far = 30 * torch.randn(3, 50, 8)
    found = Aggregated(mu, logvar).log_prob(far).double()
    assert found.isfinite().all()
    close(found, exact.log_prob(far.double()), atol=0, rtol=1e-5)


def test_what_is_asked_of_it_stays_as_it_is():
    """Its in-place arithmetic changes no argument, and a second call answers alike."""
    mu, logvar = posteriors(6, 3)
    prior, z, own = Aggregated(mu, logvar), torch.randn(4, 2, 3).double(), torch.tensor([1, -1])
    before = [mu.clone(), logvar.clone(), z.clone(), own.clone()]
    first = prior.log_prob(z, own)
    prior.log_prob(z)
    close(prior.log_prob(z, own), first, atol=0, rtol=0)
    close([mu, logvar, z, own], before, atol=0, rtol=0)


# In the model


def linear_vae(members=1):
    """x = W z + b + noise of variance 0.5, and q about as broad as p(z), no two rows' alike."""
    model = VAE(Gaussian(4, "fixed:0.5"), (), z_dim=2, members=members).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.7)
        model.encoder[0].bias[..., 2:] = 0.5
    return model


def exact_log_px(model, x, rows, own):
    """log p(x) of a linear model of one member where p(z) is the mean of the rows' q."""
    w, b = model.decoder[0].weight.detach(), model.decoder[0].bias.detach()
    mu, logvar = (t.detach() for t in model.encode(rows))
    covariance = w * logvar.exp()[:, None] @ w.T + 0.5 * torch.eye(4).double()
    terms = MultivariateNormal(mu @ w.T + b, covariance).log_prob(x[:, None])  # [B, N]
    left = torch.ones_like(terms)
    for i, row in enumerate(own.tolist()):
        left[i, row] = float(row < 0)
    return (terms + left.log()).logsumexp(1) - left.sum(1).log()


def test_importance_meets_the_mixture_that_a_linear_model_has():
    model, rows = linear_vae(), torch.randn(5, 4).double()
    x = torch.cat([rows[[2, 0]], 0.6 * torch.randn(4, 4).double()])
    own = torch.tensor([2, 0, -1, -1, -1, -1])
    prior, eps = model.aggregated(rows), normal_grid(2**15, 2).double()
    found = model.importance(x, eps=eps, prior=prior, own=own)
    exact = exact_log_px(model, x, rows, own)
    close(found.log_px, exact, atol=1e-3, rtol=0)
    with_its_own = exact_log_px(model, x, rows, torch.full((6,), -1))
    close(model.importance(x, eps=eps, prior=prior).log_px, with_its_own, atol=1e-3, rtol=0)
    assert (exact - with_its_own)[:2].abs().min() > 0.005
    assert (model.importance(x, eps=eps).log_px - exact).abs().min() > 0.01  # with N(0, I)
    assert (found.elbo < exact).all()


def test_the_prior_holds_the_rows_posteriors_given_their_masks():
    model, rows = linear_vae(), torch.randn(5, 4).double()
    mask = (torch.rand(5, 4) > 0.4).double()
    z = torch.randn(3, 2, 2).double()
    found = model.aggregated(rows, mask=mask).log_prob(z)
    close(found, mixture(*model.encode(rows, mask=mask)).log_prob(z))
    assert (found - model.aggregated(rows).log_prob(z)).abs().max() > 0.01
    assert not found.requires_grad


def test_a_prior_of_members_is_that_of_each_members_own_rows():
    model, rows, x = linear_vae(members=3), torch.randn(5, 4).double(), torch.randn(6, 4).double()
    own, eps = torch.tensor([4, -1, 0, -1, 2, -1]), normal_grid(50, 2).double()
    found = model.importance(x, eps=eps, prior=model.aggregated(rows), own=own)
    mu, logvar = model.encode(x)
    z = mu[:, None] + (logvar / 2).exp()[:, None] * eps  # [M, K, B, Z]
    log_px_z = model.likelihood.log_prob(model.decode(z), x)
    log_q = Independent(Normal(mu[:, None], (logvar / 2).exp()[:, None]), 1).log_prob(z)
    of_rows = model.encode(rows)
    log_p = torch.empty_like(log_q)
    for m in range(3):
        for b, row in enumerate(own.tolist()):
            prior = without(of_rows[0][m], of_rows[1][m], row)
            log_p[m, :, b] = prior.log_prob(z[m, :, b])
    log_w = (log_px_z + log_p - log_q).flatten(0, 1)
    close(found.log_px, log_w.logsumexp(0) - math.log(150))
    close(found.elbo, log_w.mean(0))


@pytest.mark.parametrize("logvar", [-10.0, -4.0])
def test_the_aggregated_posterior_is_as_sharp_in_single_precision(logvar):
    """Rows lie far from 0, and each sample lies near a row of its own."""
    mu = 5 + torch.randn(200, 3).double()
    z = mu[:40] + math.exp(logvar / 2) * torch.randn(6, 40, 3).double()
    wide = torch.full_like(mu, logvar)
    exact = mixture(mu, wide).log_prob(z)
    close(Aggregated(mu, wide).log_prob(z), exact)
    found = Aggregated(mu.float(), wide.float()).log_prob(z.float())
    # z itself is rounded to 3e-7 of 5: 1e-4 standard deviations at logvar -10.
    assert (found - exact).abs().max() < (0.05 if logvar == -10 else 1e-3)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("cells", [0, 1, 7, 20, 100])
def test_chunks_of_any_size_give_the_same_and_each_row_its_own(members, cells, monkeypatch):
    """Rows and samples are taken in pieces, and no array of densities exceeds its limit."""
    model, rows = linear_vae(members), torch.randn(30, 4).double()
    own = torch.randint(-1, 30, (11,))
    x, eps = torch.where((own < 0)[:, None], torch.randn(11, 4), rows[own]), normal_grid(13, 2)
    x, eps, prior = x.double(), eps.double(), model.aggregated(rows)
    whole = model.importance(x, eps=eps, prior=prior, own=own)
    sizes = []

    def note(z, own, log_prob=prior.log_prob):
        assert len(own) == z.shape[-2]
        sizes.append(z[..., 0].numel() * prior.n_rows)
        return log_prob(z, own)

    monkeypatch.setattr(prior, "log_prob", note)
    budget = cells * members * 30  # 30 exceeds the width of any layer
    monkeypatch.setattr(importance, "CHUNK_FLOATS", budget)
    close(model.importance(x, eps=eps, prior=prior, own=own), whole)
    assert sum(sizes) == 11 * 13 * members * 30
    assert max(sizes) <= max(budget, members * 30)
    assert max(sizes) > budget / 2


# Learned


def encoder_of(n_features, z_dim):
    """Features to mu and logvar, as a model has it."""
    layer = nn.Linear(n_features, 2 * z_dim).double()
    return lambda h: layer(h).chunk(2, -1), layer


def learned(name, z_dim, n_components, n_features=5, y_dim=0):
    """A prior whose components differ in all that they have, and its `encode`."""
    prior = PRIORS[name](z_dim, n_features, n_components, y_dim).double()
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(torch.randn_like(parameter))
    return prior, encoder_of(n_features, z_dim)[0]


def as_torch(prior, encode):
    mu, logvar = prior.components(encode)
    parts = Independent(Normal(mu, (logvar / 2).exp()), 1)
    return MixtureSameFamily(Categorical(logits=prior.logits), parts)


each_learned = pytest.mark.parametrize("name", sorted(set(PRIORS) - {"normal"}))


@each_learned
@pytest.mark.parametrize(("z_dim", "n_components"), [(1, 1), (3, 7), (8, 40)])
def test_a_learned_prior_is_torchs_mixture_of_the_same_components(name, z_dim, n_components):
    prior, encode = learned(name, z_dim, n_components)
    z = 2 * torch.randn(4, 6, z_dim).double()
    expected = as_torch(prior, encode).log_prob(z)
    found = prior.log_prob(z, encode)
    assert found.shape == (4, 6)
    close(found, expected)
    parameters = list(prior.parameters())
    if n_components > 1:
        slopes = torch.autograd.grad(found.sum(), parameters)
        close(slopes, torch.autograd.grad(expected.sum(), parameters))
        assert all(slope.abs().max() > 0 for slope in slopes)


@each_learned
def test_a_learned_prior_integrates_to_one(name):
    prior, encode = learned(name, 1, 5)
    z = torch.linspace(-60, 60, 200_001).double().unsqueeze(-1)
    log_p = prior.log_prob(z, encode).detach()
    assert torch.trapezoid(log_p.exp(), z.flatten()).item() == pytest.approx(1, abs=1e-9)


@each_learned
@torch.no_grad()
def test_samples_of_a_learned_prior_have_its_moments(name):
    (prior, encode), n = learned(name, 3, 4), 200_000
    z, expected = prior.sample(n, encode), as_torch(prior, encode)
    assert z.shape == (n, 3)
    error = 5 * (expected.variance / n).sqrt()
    assert ((z.mean(0) - expected.mean).abs() < error).all()
    close(z.var(0), expected.variance, rtol=0.03, atol=0)
    # The whole distribution, and not its columns only: the entropy by samples of either.
    terms = prior.log_prob(z, encode)
    theirs = expected.log_prob(expected.sample((n,)))
    assert (terms.mean() - theirs.mean()).abs() < 5 * (terms.std() + theirs.std()) / n**0.5


@each_learned
@torch.no_grad()
def test_given_y_the_same_components_have_other_weights(name):
    (prior, encode), n = learned(name, 2, 4, y_dim=3), 100_000
    y, z = torch.randn(6, 3).double(), 2 * torch.randn(5, 6, 2).double()
    found = prior.log_prob(z, encode, y)
    for i in range(6):
        mu, logvar = prior.components(encode)
        parts = Independent(Normal(mu, (logvar / 2).exp()), 1)
        weights = Categorical(logits=prior.logits + y[i] @ prior.by_y)
        expected = MixtureSameFamily(weights, parts)
        close(found[:, i], expected.log_prob(z[:, i]))
        drawn = prior.sample(n, encode, y[i].expand(n, -1))
        assert ((drawn.mean(0) - expected.mean).abs() < 5 * (expected.variance / n).sqrt()).all()
    assert found.std(1).min() > 0
    fresh = PRIORS[name](2, 5, 4, 3).double()
    close(fresh.log_weights(y), torch.full((6, 4), -math.log(4)).double())  # does not know y yet


@pytest.mark.parametrize("z_dim", [1, 2, 8])
@pytest.mark.parametrize("n_components", [1, 2, 16, 500])
def test_a_fresh_mixture_is_nearly_the_standard_normal(z_dim, n_components):
    """The measures are KL(N(0, I) || prior) and the spread of the means."""
    prior, z = Mixture(z_dim, n_components), torch.randn(20_000, z_dim)
    kl = (Normal(0, 1).log_prob(z).sum(-1) - prior.log_prob(z).detach()).mean().item()
    assert abs(kl) < (1e-5 if n_components == 1 else 0.04 * z_dim)
    mixed = as_torch(prior, None)
    assert mixed.mean.abs().max() < 0.5
    variance = mixed.variance.mean().item()
    assert variance == pytest.approx(1, abs=1e-6 if n_components == 1 else 0.3)
    variances = prior.logvar.exp()
    assert variances.max() - variances.min() < 1e-6
    assert variances[0, 0].item() == pytest.approx(n_components ** (-2 / (z_dim + 4)), rel=1e-5)


@pytest.mark.parametrize(("narrow", "atol"), [(-4.0, 0.01), (MIN_LOGVAR, 0.1)])
def test_single_precision_keeps_narrow_and_distant_components(narrow, atol):
    mu, logvar = 20 + 3 * torch.randn(50, 8), torch.full((50, 8), narrow)
    prior = Mixture(8, 50)
    with torch.no_grad():
        prior.mu.copy_(mu)
        prior.logvar.copy_(logvar)
    near = mu + (logvar / 2).exp() * torch.randn(20, 50, 8)
    exact = as_torch(prior.double(), None).log_prob(near.double())
    close(prior.float().log_prob(near).double(), exact, atol=atol, rtol=0)
    assert prior.log_prob(30 * torch.randn(100, 8)).isfinite().all()


def test_no_component_is_narrower_than_products_can_tell():
    prior = Mixture(2, 1)
    with torch.no_grad():
        prior.logvar.fill_(-40.0)
    close(prior.log_prob(prior.mu)[0], torch.tensor(-MIN_LOGVAR - math.log(2 * math.pi)))
    assert (prior.sample(1000) - prior.mu).std() > 0.9 * math.exp(MIN_LOGVAR / 2)


def test_pseudo_inputs_go_through_the_encoder_which_stays_the_models():
    encode, layer = encoder_of(5, 2)
    prior = VampPrior(5, 3).double()
    assert {name for name, _ in prior.named_parameters()} == {"logits", "pseudo_inputs"}
    mu, logvar = layer(prior.pseudo_inputs).chunk(2, -1)
    z = torch.randn(6, 2).double()
    close(prior.log_prob(z, encode), mixture(mu, logvar).log_prob(z))
    (slope,) = torch.autograd.grad(prior.log_prob(z, encode).sum(), layer.weight)
    assert slope.abs().max() > 0  # the prior trains the encoder too


@pytest.mark.parametrize("n_rows", [2, 3, 50])
def test_pseudo_inputs_start_at_rows_each_as_often_as_another(n_rows):
    prior, rows = VampPrior(4, 6), torch.randn(n_rows, 4)
    prior.start_at(rows)
    same = (prior.pseudo_inputs[:, None] == rows).all(-1)  # [C, N]
    assert (same.sum(1) == 1).all()
    assert same.sum(0).max() == -(-6 // n_rows)
    assert prior.pseudo_inputs.requires_grad


def test_the_standard_normal_needs_no_object():
    assert PRIORS["normal"](2, 5, 3, 4) is None
    assert PRIORS["mixture"](2, 5, 3).describe() == "Mixture prior of 3 components"
    assert PRIORS["vamp"](2, 5, 3).pseudo_inputs.shape == (3, 5)
