"""parts/model/objectives.py: the bounds that training climbs, and their gradients."""

import math

import pytest
import torch

from parts.model.normal import kl_normal
from parts.model.objectives import OBJECTIVES, free_bits_rate, log_mean_exp
from vae import VAE, Batch, Gaussian


def model_and_rows(hidden_dims=(), n_rows=6):
    torch.manual_seed(0)
    model = VAE(Gaussian(4, "fixed:0.5"), hidden_dims, z_dim=2).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)  # away from q = p, where all weights are alike
    return model, Batch(torch.randn(n_rows, 4).double())


def gradients(model, batch, objective, seed, n_samples=5, beta=1.0):
    """Of the encoder's parameters and of the decoder's, flat."""
    torch.manual_seed(seed)
    loss, _ = model.loss("vae", batch, beta, objective, n_samples)
    encoder, decoder = list(model.encoder.parameters()), list(model.decoder.parameters())
    grads = torch.autograd.grad(loss.mean(), encoder + decoder)
    parts = grads[: len(encoder)], grads[len(encoder) :]
    return [torch.cat([grad.flatten() for grad in part]) for part in parts]


def test_log_mean_exp():
    log_w = torch.tensor([[0.0, -1000.0], [math.log(3), -1000.0]])
    torch.testing.assert_close(log_mean_exp(log_w), torch.tensor([math.log(2), -1000.0]))


@pytest.mark.parametrize("objective", ["iwae", "dreg"])
def test_the_logged_loss_is_the_importance_weighted_bound(objective):
    model, batch = model_and_rows((5,))
    torch.manual_seed(1)
    expected = -log_mean_exp(model.log_w(*batch, n_samples=7))
    torch.manual_seed(1)
    loss, stats = model.loss("vae", batch, 1.0, objective, 7)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(stats["loss"], expected.detach().mean())
    assert not any(value.requires_grad for value in stats.values())


def test_iwae_rises_from_the_elbo_to_log_px():
    model, batch = model_and_rows()
    means = {}
    for n_samples in (1, 5, 50):
        torch.manual_seed(2)
        losses = [model.loss("vae", batch, 1.0, "iwae", n_samples)[1]["loss"] for _ in range(400)]
        means[n_samples] = -torch.stack(losses).mean()
    torch.manual_seed(2)
    elbo = -torch.stack([model.loss("vae", batch)[1]["loss"] for _ in range(400)]).mean()
    assert means[1] == pytest.approx(elbo.item(), abs=0.3)
    w, b = model.decoder[0].weight.detach(), model.decoder[0].bias.detach()
    marginal = torch.distributions.MultivariateNormal(b, w @ w.T + 0.5 * torch.eye(4))
    exact = marginal.log_prob(batch.x).mean()
    assert means[1] < means[5] < means[50] < exact
    assert exact - means[50] < 0.3 * (exact - means[1])


def test_dreg_has_the_decoder_gradient_of_iwae():
    model, batch = model_and_rows((5,))
    for seed in range(3):
        (_, iwae), (_, dreg) = (gradients(model, batch, o, seed) for o in ("iwae", "dreg"))
        torch.testing.assert_close(iwae, dreg)


def draws_of_gradient(model, batch, objective, beta, n=1500):
    """Of the encoder's parameters [n, P]: members of equal weights have a draw each."""
    many = VAE(Gaussian(4, "fixed:0.5"), (), z_dim=2, members=n).double()
    with torch.no_grad():
        for own, of_all in zip(model.parameters(), many.parameters(), strict=True):
            of_all.copy_(own.T.unsqueeze(0) if own.dim() == 2 else own.view(1, 1, -1))
    torch.manual_seed(0)
    loss, _ = many.loss("vae", batch, beta, objective, 5)
    grads = torch.autograd.grad(n * loss.mean(), list(many.encoder.parameters()))
    return torch.cat([grad.flatten(1) for grad in grads], 1)


@pytest.mark.parametrize("beta", [1.0, 0.3, 2.0])
def test_dreg_has_the_expected_encoder_gradient_of_iwae_and_a_smaller_variance(beta):
    """DReG (Tucker et al. 2018) is unbiased for the same bound, also with a weighted KL."""
    model, batch = model_and_rows()
    iwae, dreg = (draws_of_gradient(model, batch, o, beta) for o in ("iwae", "dreg"))
    se = ((iwae.var(0) + dreg.var(0)) / len(iwae)).sqrt()
    assert ((iwae.mean(0) - dreg.mean(0)).abs() < 4.5 * se).all()
    assert (iwae.mean(0).abs() > 4.5 * se).any()  # or equality would say nothing
    if beta >= 1:
        assert dreg.var(0).sum() < 0.8 * iwae.var(0).sum()


def test_one_sample_of_iwae_is_the_elbo_with_a_sampled_kl():
    model, batch = model_and_rows((5,))
    torch.manual_seed(3)
    _, elbo = model.loss("vae", batch, 0.3, "elbo", 1)
    torch.manual_seed(3)
    _, iwae = model.loss("vae", batch, 0.3, "iwae", 1)
    torch.testing.assert_close(iwae["log_px_z"], elbo["log_px_z"])
    torch.testing.assert_close(iwae["loss"], -(iwae["log_px_z"] - 0.3 * iwae["kl"]))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_bound_of_rows_with_holes_is_that_of_their_observed_columns(objective):
    """A model of only these columns has an equal loss and equal gradients at equal noise."""
    model, batch = model_and_rows()
    narrow = VAE(Gaussian(2, "fixed:0.5"), (), z_dim=2).double()
    seen = torch.tensor([True, False, True, False])
    with torch.no_grad():
        narrow.encoder[0].weight.copy_(model.encoder[0].weight[:, seen])
        narrow.encoder[0].bias.copy_(model.encoder[0].bias)
        narrow.decoder[0].weight.copy_(model.decoder[0].weight[seen])
        narrow.decoder[0].bias.copy_(model.decoder[0].bias[seen])
    holes = Batch(batch.x, mask=seen.double().expand(6, -1))
    found = []
    for m, rows in ((model, holes), (narrow, Batch(batch.x[:, seen]))):
        torch.manual_seed(4)
        loss, stats = m.loss("vae", rows, 0.8, objective, 5)
        found.append([stats, torch.autograd.grad(loss.mean(), list(m.parameters()))])
    (stats, wide), (expected, slim) = found
    torch.testing.assert_close(stats, expected)
    torch.testing.assert_close(wide[0][:, seen], slim[0])
    torch.testing.assert_close(wide[1], slim[1])
    torch.testing.assert_close(wide[2][seen], slim[2])
    torch.testing.assert_close(wide[3][seen], slim[3])
    for gradient in (wide[0].T, wide[2], wide[3]):  # a missing cell moves nothing of its own
        assert (gradient[~seen] == 0).all()


def test_iwae_of_rows_with_holes_rises_to_the_marginal_of_their_observed_columns():
    model, batch = model_and_rows()
    mask = torch.tensor([1.0, 0, 1, 1]).double().expand(6, -1)
    torch.manual_seed(5)
    holes = Batch(batch.x, mask=mask)
    losses = [model.loss("vae", holes, 1.0, "iwae", 2000)[0] for _ in range(40)]
    bound = -torch.cat(losses).mean()
    seen = mask[0] > 0
    w, b = model.decoder[0].weight.detach()[seen], model.decoder[0].bias.detach()[seen]
    marginal = torch.distributions.MultivariateNormal(b, w @ w.T + 0.5 * torch.eye(3))
    exact = marginal.log_prob(batch.x[:, seen]).mean().item()
    assert bound.item() == pytest.approx(exact, abs=0.05)


def test_every_objective_is_registered():
    assert set(OBJECTIVES) == {"elbo", "iwae", "dreg"}


# The loss of each row


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_loss_of_a_row_is_its_own_whatever_batch_it_is_in(objective, members):
    torch.manual_seed(0)
    model = VAE(Gaussian(4), (5,), z_dim=2, members=members).double()
    x = torch.randn(6, 4).double()
    noise = torch.randn(members, 3, 6, 2).double().squeeze(0)

    def losses(rows):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch, "randn", lambda shape, **_: noise[..., rows, :].view(shape))
            return model.loss("vae", Batch(x[rows]), 0.7, objective, 3)[0]

    alone = torch.cat([losses([row]) for row in range(6)])
    torch.testing.assert_close(losses(list(range(6))), alone)
    assert alone.std() > 0.1


def value_and_gradient(loss, model):
    """Of a scalar: itself, and its gradient in the encoder and decoder, flat."""
    gradients = torch.autograd.grad(loss, list(model.parameters()), retain_graph=True)
    return loss.detach(), torch.cat([gradient.flatten() for gradient in gradients])


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize(
    ("free_share", "capacity_share"),
    [(0.5, None), (1.2, None), (0.0, 0.5), (0.0, 2.0), (0.8, 0.3)],
)
def test_penalties_by_row_have_the_mean_of_those_of_the_batch(free_share, capacity_share, members):
    """Value and gradient: max(mean KL, free bits) by latent, and |mean rate - capacity|."""
    torch.manual_seed(0)
    model = VAE(Gaussian(4, "fixed:0.5"), (5,), z_dim=3, members=members).double()
    x = 3 * torch.randn(6, 4).double()
    by_latent = kl_normal(*model.encode(x), by_latent=True)
    free_bits = free_share * by_latent.mean().item()
    capacity = None if capacity_share is None else capacity_share * by_latent.mean().item() * 3
    torch.manual_seed(1)
    loss, stats = model.loss("vae", Batch(x), 0.7, free_bits=free_bits, capacity=capacity)
    torch.manual_seed(1)
    log_px_z = model.elbo(x).log_px_z.mean()
    rate = by_latent.mean(-2).clamp(min=free_bits).sum(-1).mean()
    if capacity is not None:
        rate = (rate - capacity).abs()
    assert loss.shape == (6,)
    found = value_and_gradient(loss.mean(), model)
    torch.testing.assert_close(found, value_and_gradient(0.7 * rate - log_px_z, model))
    torch.testing.assert_close(stats["loss"], loss.detach().mean())


def test_free_bits_of_a_row_are_its_kl_where_the_batch_pays_more():
    kl = torch.tensor([[0.1, 2.0], [0.3, 0.0]])  # means 0.2 and 1
    torch.testing.assert_close(free_bits_rate(kl, 0.5), torch.tensor([2.5, 0.5]))


@pytest.mark.parametrize("beta", [1.0, 0.3])
def test_dreg_is_the_bound_with_the_gradient_of_its_surrogate(beta):
    """The surrogate holds the weights fixed and weights each z's gradient by its weight."""
    model, batch = model_and_rows((5,))
    torch.manual_seed(6)
    loss, _ = model.loss("vae", batch, beta, "dreg", 5)
    torch.manual_seed(6)
    log_px_z, log_ratio, z = model.log_w_terms(*batch, n_samples=5, detach_q=True)
    log_w = log_px_z + beta * log_ratio
    weights = log_w.detach().softmax(0)
    z.register_hook(lambda grad: (1 - beta + beta * weights).unsqueeze(-1) * grad)
    surrogate = -(weights * log_w).sum(0).mean()
    torch.testing.assert_close(loss, -log_mean_exp(log_w))
    _, found = value_and_gradient(loss.mean(), model)
    torch.testing.assert_close(found, value_and_gradient(surrogate, model)[1])
