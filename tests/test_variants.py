"""parts/model/build.py: with a flow, a learned prior or penalties the bound stays a bound."""

import pytest
import torch
from torch.distributions import MultivariateNormal

from parts.errors import UserError
from parts.forms.units import Column
from parts.model.build import Space, build_model, fit_to_model, flow_of
from parts.model.config import ModelConfig
from parts.model.flows import FLOWS
from parts.model.priors import Mixture, VampPrior
from parts.model.vqvae import VQVAE
from parts.runs.config import Config
from parts.tasks import walks
from parts.training.loop import beta_at
from vae import VAE, Batch, Gaussian, kl_normal

LINEAR = {"hidden_dims": (), "z_dim": 2}


def linear_vae(**parts):
    """x = W z + b + noise of variance 0.5, in float64; q is not the posterior."""
    torch.manual_seed(0)
    model = VAE(Gaussian(4, "fixed:0.5"), **LINEAR, **parts).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for parameter in model.encoder.parameters():
            parameter.mul_(0.5)  # a wide q: of weights that differ little
    return model, torch.randn(5, 4).double()


def linear_mixture(model, mus, covariances, weights, x):
    """log p(x) of that model under a mixture of Gaussians as p(z)."""
    w, b = model.decoder[0].weight.detach(), model.decoder[0].bias.detach()
    noise = 0.5 * torch.eye(4).double()
    parts = [
        weight.log() + MultivariateNormal(b + w @ mu, w @ cov @ w.T + noise).log_prob(x)
        for mu, cov, weight in zip(mus, covariances, weights, strict=True)
    ]
    return torch.stack(parts).logsumexp(0)


@pytest.mark.parametrize("name", FLOWS)
def test_log_px_does_not_depend_on_the_flow_of_q(name):
    model, x = linear_vae(flow=FLOWS[name](2, 3))
    assert len(model.encode(x)) == 2
    exact = linear_mixture(
        model, [torch.zeros(2).double()], [torch.eye(2).double()], torch.ones(1).double(), x
    )
    torch.testing.assert_close(model.log_px(x, n_samples=50_000), exact, atol=0.03, rtol=0)
    elbo, log_px_z, kl = model.elbo(x, n_samples=20_000)
    torch.testing.assert_close(elbo, log_px_z - kl)
    assert (elbo < exact).all()
    importance = model.importance(x, n_samples=20_000)
    torch.testing.assert_close(importance.elbo, elbo, atol=0.1, rtol=0)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_that_does_nothing_leaves_the_bound_of_the_gaussian(name):
    model, x = linear_vae(flow=FLOWS[name](2, 2))
    with torch.no_grad():
        for parameter in model.encoder[0].parameters():
            parameter[4:] = 0  # what the flow is given
        for parameter in model.flow.parameters():
            parameter.zero_()
    plain, _ = linear_vae()
    with torch.no_grad():
        for mine, theirs in zip(
            plain.encoder[0].parameters(), model.encoder[0].parameters(), strict=True
        ):
            mine.copy_(theirs[:4])
    plain.decoder.load_state_dict(model.decoder.state_dict())
    flowing, still = (m.elbo(x, n_samples=100_000).elbo for m in (model, plain))
    torch.testing.assert_close(flowing, still, atol=0.06, rtol=0)
    torch.testing.assert_close(model.reconstruct(x), plain.reconstruct(x))


def test_log_px_under_a_mixture_as_prior_is_that_of_the_mixture():
    model, x = linear_vae(prior=Mixture(2, 3))
    mu, logvar = model.prior.components(None)
    exact = linear_mixture(
        model, mu, [lv.exp().diag() for lv in logvar], model.prior.logits.softmax(-1), x
    )
    torch.testing.assert_close(model.log_px(x, n_samples=200_000), exact, atol=0.03, rtol=0)
    torch.manual_seed(1)
    drawn = model.sample(200_000)
    w, b = model.decoder[0].weight.detach(), model.decoder[0].bias.detach()
    mean = b + w @ (model.prior.logits.softmax(-1) @ mu)
    torch.testing.assert_close(drawn.mean(0), mean.detach(), atol=0.02, rtol=0)


def test_a_vamp_prior_is_the_posterior_of_its_pseudo_inputs():
    model, x = linear_vae(prior=VampPrior(4, 3))
    model.start_at(x)
    at = [(x == u).all(1).nonzero().item() for u in model.prior.pseudo_inputs]
    assert len(set(at)) == 3  # three of the rows
    mu, logvar = model.encode(model.prior.pseudo_inputs)
    exact = linear_mixture(
        model, mu, [lv.exp().diag() for lv in logvar], model.prior.logits.softmax(-1), x
    )
    torch.testing.assert_close(model.log_px(x, n_samples=200_000), exact, atol=0.03, rtol=0)
    assert sum(p is model.encoder[0].weight for p in model.parameters()) == 1


@pytest.mark.parametrize("objective", ["elbo", "iwae", "dreg"])
def test_a_learned_prior_learns(objective):
    model, x = linear_vae(prior=Mixture(2, 3))
    loss, _ = model.loss("vae", Batch(x), objective=objective, n_samples=3)
    gradients = torch.autograd.grad(loss.sum(), list(model.prior.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)


# The objective's own penalties


def rate(**options):
    """The KL's term of the loss, and the KL by latent."""
    model, x = linear_vae()
    torch.manual_seed(2)
    loss, stats = model.loss("vae", Batch(x), **options)
    by_latent = kl_normal(*model.encode(x), by_latent=True).mean(0)
    torch.testing.assert_close(by_latent.sum(), stats["kl"])  # which is the true one
    return (loss.detach().mean() + stats["log_px_z"]), by_latent.detach()


def test_free_bits_are_the_least_that_a_latent_costs():
    _, by_latent = rate()
    low, high = by_latent.sort().values
    for free in (low / 2, (low + high) / 2, high + 1):
        cost, _ = rate(free_bits=free.item(), beta=0.7)
        expected = 0.7 * (max(low, free) + max(high, free))
        torch.testing.assert_close(cost, expected)


def test_capacity_is_what_the_kl_is_drawn_to():
    _, by_latent = rate()
    for capacity in (0.0, by_latent.sum().item() / 2, by_latent.sum().item() + 3):
        cost, _ = rate(capacity=capacity, beta=5.0)
        torch.testing.assert_close(cost, 5 * (by_latent.sum() - capacity).abs())


def test_beta_rises_anew_in_every_cycle():
    assert [beta_at(step, 2.0, 2, 4) for step in range(9)] == [0, 1, 2, 2, 0, 1, 2, 2, 0]
    assert [beta_at(step, 2.0, 2) for step in range(5)] == [0, 1, 2, 2, 2]


# What a run asks for

ASKED = {"likelihood": "gaussian", "variance": "fixed:1", "hidden_dims": [3], "latent_dim": 2}


def build(**given):
    """The model that these options ask for, of a table of one column."""
    config = fit_to_model(Config().replace(**ASKED | given), given)
    return build_model(config.model, Space([Column("a")], (1,), 0))


def test_a_config_names_its_flow_and_prior():
    model = build(flow="planar:4", prior="mixture", prior_components=7)
    assert "Planar flow of 4 layers, Mixture prior of 7 components" in model.describe()
    assert (model.flow.n_layers, model.prior.n_components) == (4, 7)
    assert flow_of(ModelConfig()) is None
    assert build().gaussian


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"flow": "planar"}, "NAME:LAYERS"),
        ({"flow": "planar:0"}, "NAME:LAYERS"),
        ({"flow": "real:2"}, "planar, iaf"),
        ({"flow": "iaf:x"}, "iaf:x"),
        ({"flow": "planar:1000000"}, "at most 1000 layers"),
        ({"flow": "iaf:2", "members": 2}, "one member"),
        ({"prior": "vamp", "members": 2}, "one"),
        ({"flow": "iaf:2", "objective": "dreg"}, "a flow does not go with objective dreg"),
        (
            {"free_bits": 0.1, "objective": "iwae"},
            "option free_bits goes with objective elbo, not with iwae",
        ),
        ({"capacity": 3.0, "objective": "dreg"}, "option capacity goes with objective elbo"),
        ({"capacity": 0.0, "objective": "iwae"}, "option capacity goes with objective elbo"),
        ({"free_bits": 0.1, "prior": "vamp"}, "a KL of each latent"),
        ({"network": "conv"}, "expected (C, H, W)"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(").replace(")", r"\)")):
        build(**settings)


def test_only_a_model_with_a_gaussian_for_each_latent_has_its_factors_measured():
    VAE(Gaussian(4), (3,), 2).check_latents_are_separate()
    refused = {
        "has 3 members": VAE(Gaussian(4), (3,), 2, members=3),
        "the flow of this model mixes them": VAE(Gaussian(4), (3,), 2, flow=FLOWS["planar"](2, 1)),
        "model vqvae has codes": VQVAE(Gaussian(4), (3,), 2),
    }
    for words, model in refused.items():
        with pytest.raises(UserError, match=words):
            model.check_latents_are_separate()


def test_a_manifold_is_drawn_only_where_z_is_continuous():
    z = torch.randn(5, 2)
    assert "manifold" in walks.decode_walks(VAE(Gaussian(4), (3,), 2), z)
    assert "manifold" not in walks.decode_walks(VQVAE(Gaussian(4), (3,), 2, code_dim=1), z)


def test_the_weights_of_a_model_are_drawn_where_they_stay(monkeypatch):
    """Of the sketch that counts them none is: that would load a compiler, for seconds."""
    places, normal = [], torch.Tensor.normal_

    def noted(tensor, *args, **options):
        places.append(tensor.device.type)
        return normal(tensor, *args, **options)

    monkeypatch.setattr(torch.Tensor, "normal_", noted)
    config = ModelConfig(likelihood="logistic", network="conv", hidden_dims=[4, 8])
    build_model(config, Space([Column("a")] * 64, (1, 8, 8), 0))
    assert set(places) == {"cpu"}
