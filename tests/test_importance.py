"""parts/model/importance.py: imputation and resampling against exact conditionals."""

from typing import NamedTuple

import pytest
import torch
from torch.distributions import MultivariateNormal
from torch.testing import assert_close as close

from parts.forms.units import Column
from parts.model.batches import Batch
from parts.model.importance import impute, resample
from parts.model.likelihoods import LIKELIHOODS
from parts.model.likelihoods.base import Likelihood
from parts.model.likelihoods.mixed import Mixed
from vae import VAE

COLUMNS = [
    Column("a", kind="categorical", levels=list("xyz")),
    Column("b"),
    Column("c", kind="ordinal", levels=list("1234")),
    Column("d", kind="count", centre=1.0, spread=0.8),
    Column("e", kind="binary", levels=["no", "yes"]),
]


def rows_of(name, n=30):
    """x [n, 5] in the support of the registered likelihood, and a mask with holes."""
    mask = (torch.rand(n, 5) > 0.4).double()
    x = torch.randn(n, 5).double()
    if name == "bernoulli":
        x = (x > 0).double()
    elif name == "logistic":
        x = (255 * torch.sigmoid(x)).round() / 255
    elif name == "mixed":
        codes = [torch.randint(k, (n,)).double() for k in (3, 4, 9, 2)]
        x = torch.stack([codes[0], x[:, 1], *codes[1:]], -1)
    return x, mask


@pytest.mark.parametrize("name", sorted(set(LIKELIHOODS) - {"ordered", "windows", "factors"}))
def test_observed_cells_stay_and_independent_ones_are_given_nothing_more(name):
    likelihood = LIKELIHOODS[name].of(COLUMNS).double()
    (x, mask), params = rows_of(name), torch.randn(4, 30, likelihood.n_params).double()
    missing = likelihood.given(params, x, mask)
    weights = torch.rand(4, 30).double()
    close(likelihood.mean(missing), likelihood.mean(params))
    close(likelihood.std(missing), likelihood.std(params))
    close(likelihood.average(missing, weights), likelihood.average(params, weights))
    torch.manual_seed(1)
    drawn = likelihood.sample(missing)
    torch.manual_seed(1)
    close(drawn, likelihood.sample(params))

    model = VAE(likelihood, (5,), z_dim=2).double()
    filled = model.impute(x, mask, n_samples=20, draws=3)
    close(filled.mean[mask > 0], x[mask > 0], atol=0, rtol=0)
    assert (filled.mean[mask == 0] != x[mask == 0]).any()
    for one in filled.draws:
        close(one[mask > 0], x[mask > 0], atol=0, rtol=0)
    given = resample(model, 50, x[:1], mask[:1], None, 100).x
    close(given[:, mask[0] > 0], x[:1, mask[0] > 0].expand(50, -1), atol=0, rtol=0)


# Noise that is correlated between cells: p(missing | z, observed) depends on x and mask


class Conditional(NamedTuple):
    """N(mean [..., B, D], covariance [B, D, D]), observed cells without variance."""

    mean: torch.Tensor
    covariance: torch.Tensor


def alike(mask):
    """Pairs of the numbers of the rows that have the same cells, and of these cells, bool [D]."""
    patterns, which = mask.unique(dim=0, return_inverse=True)
    for k, there in enumerate(patterns > 0):
        yield (which == k).nonzero()[:, 0], there


class Correlated(Likelihood):
    """x ~ N(params, covariance)."""

    def __init__(self, covariance):
        super().__init__(len(covariance), len(covariance))
        self.register_buffer("covariance", covariance)

    def log_prob(self, params, x, mask=None):
        found = x.new_empty(params.shape[:-1])
        for rows, there in alike(torch.ones_like(x) if mask is None else mask):
            block = self.covariance[there][:, there]
            own = params[..., rows, :][..., there]
            found[..., rows] = MultivariateNormal(own, block).log_prob(x[rows][:, there])
        return found

    def given(self, params, x, mask):
        mean, covariance = params.clone(), torch.zeros(*mask.shape, mask.shape[1]).to(x)
        for rows, o in alike(mask):
            gain = torch.zeros_like(self.covariance)  # of all cells on the observed ones
            gain[:, o] = self.covariance[:, o] @ torch.linalg.inv(self.covariance[o][:, o])
            own = params[..., rows, :]
            mean[..., rows, :] = torch.where(o, own, own + (x[rows] - own) @ gain.T)
            rest = self.covariance - gain @ self.covariance
            covariance[rows] = rest.where(~o & ~o.unsqueeze(-1), 0.0)
        return Conditional(mean, covariance)

    def mean(self, params):
        return params.mean if isinstance(params, Conditional) else params

    def std(self, params):
        return params.covariance.diagonal(dim1=-2, dim2=-1).sqrt().expand_as(params.mean)

    def sample(self, params):
        values, vectors = torch.linalg.eigh(params.covariance)
        root = vectors * values.clamp(min=0).sqrt().unsqueeze(-2)  # [B, D, D]
        noise = torch.randn_like(params.mean).unsqueeze(-1)
        return params.mean + (root @ noise).squeeze(-1)


def correlated_vae(y_dim=0):
    """x = W z + V y + b + correlated noise, q(z|x) off the posterior; and its exact p(x | y)."""
    noise = torch.tensor([[0.5, 0.4, -0.2], [0.4, 0.6, 0.1], [-0.2, 0.1, 0.7]]).double()
    model = VAE(Correlated(noise), (), z_dim=1, y_dim=y_dim).double()
    with torch.no_grad():
        model.encoder[0].weight.mul_(0.1)
    weight, bias = model.decoder[0].weight.detach(), model.decoder[0].bias.detach()
    w, v = weight[:, :1], weight[:, 1:]

    def conditional(x, there, y=None):
        """Mean and covariance of the missing cells of p(x | y) given those that are there."""
        mean = bias if y is None else bias + v @ y
        covariance = w @ w.T + noise
        gain = covariance[~there][:, there] @ torch.linalg.inv(covariance[there][:, there])
        rest = covariance[~there][:, ~there] - gain @ covariance[there][:, ~there]
        log_p = MultivariateNormal(mean[there], covariance[there][:, there]).log_prob(x[there])
        return mean[~there] + gain @ (x[there] - mean[there]), rest, log_p

    return model, conditional


MASKS = torch.tensor([[1.0, 0, 0], [0, 1, 1], [1, 1, 0]]).double()


def test_imputation_conditions_correlated_noise_on_the_observed_cells():
    model, conditional = correlated_vae()
    x = 2 * torch.randn(3, 3).double()
    filled = model.impute(x, MASKS, n_samples=20_000, draws=20_000)
    for b, there in enumerate(MASKS > 0):
        mean, covariance, log_p = conditional(x[b], there)
        close(filled.mean[b, ~there], mean, atol=0.02, rtol=0)
        close(filled.log_px[b], log_p, atol=0.02, rtol=0)
        drawn = filled.draws[:, b][:, ~there]
        close(drawn.mean(0), mean, atol=0.03, rtol=0)
        close(drawn.T.cov().reshape(covariance.shape), covariance, atol=0.03, rtol=0)
        close(filled.draws[:, b, there], x[b, there].expand(20_000, -1), atol=0, rtol=0)
        assert (mean - model.reconstruct(x)[b, ~there]).abs().max() > 0.1  # what z alone says


def test_another_unit_is_given_the_mean_and_std_of_each_row_and_sample():
    model, _ = correlated_vae()
    x, eps = torch.randn(3, 3).double(), torch.randn(7, 1, 1).double()
    batch = Batch(x, None, MASKS)
    seen = []

    def unit(mean, std):
        seen.append((mean, std))
        return mean + std**2

    found = impute(model, batch, eps=eps, unit=unit).mean
    ((mean, std),) = seen
    conditional = model.likelihood.given(torch.zeros(3, 3).double(), x, MASKS)
    close(std, conditional.covariance.diagonal(dim1=1, dim2=2).sqrt().expand(7, 3, 3))
    assert mean.shape == (7, 3, 3)
    plain = impute(model, batch, eps=eps).mean
    close((found - plain)[MASKS == 0], (std**2)[0][MASKS == 0])


def test_rows_given_cells_and_conditions_have_the_posterior_of_both():
    model, conditional = correlated_vae(y_dim=1)
    x, there = torch.tensor([[1.0, 0, 0]]).double(), torch.tensor([True, False, False])
    y = torch.cat([torch.zeros(15_000, 1), torch.ones(15_000, 1)])[torch.randperm(30_000)].double()
    found = resample(model, 20_000, x, there.double()[None], y, len(y))
    each = [conditional(x[0], there, torch.tensor([value]).double()) for value in (0.0, 1.0)]
    log_p = torch.stack([log_p for *_, log_p in each])
    share = log_p.softmax(0)
    assert found.y.mean().item() == pytest.approx(share[1].item(), abs=0.02)
    assert found.log_p == pytest.approx((log_p.exp().mean().log()).item(), abs=0.02)
    for value, (mean, covariance, _) in enumerate(each):
        drawn = found.x[found.y[:, 0] == value][:, ~there]
        close(drawn.mean(0), mean, atol=0.04, rtol=0)
        close(drawn.T.cov(), covariance, atol=0.04, rtol=0)
    assert (found.x[:, 0] == 1).all()


def test_a_block_of_a_mixed_table_conditions_on_its_own_columns():
    likelihood = Mixed([Column("a"), Column("b", kind="binary", levels=["n", "y"]), Column("c")])
    noise = torch.tensor([[1.0, 0.5], [0.5, 1.0]])
    likelihood.blocks["real"] = Correlated(noise)
    x, mask = torch.tensor([[3.0, 1.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    params = torch.tensor([[1.0, 0.0, 2.0]])  # of a, c and b
    missing = likelihood.given(params, x, mask)
    # E[c | a = 3] = 0 + 0.5 (3 - 1); of b it is the probability of a 1.
    close(likelihood.mean(missing)[0, 1:], torch.tensor([torch.tensor(2.0).sigmoid(), 1.0]))
    assert likelihood.std(missing)[0, 2].item() == pytest.approx(0.75**0.5)
