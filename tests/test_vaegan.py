"""parts/model/vaegan.py: each phase's loss by hand, what it moves, stable training, a run of it."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F

from parts.forms.units import Column
from parts.model.batches import Batch
from parts.model.flows import FLOWS
from parts.model.likelihoods.mixed import Mixed
from parts.model.priors import PRIORS
from parts.model.vaegan import N_FEATURES, VAEGAN
from parts.training import loop as training_loop
from parts.training.loop import Training
from tests.test_resume import assert_same_run, differences
from vae import VAE, Bernoulli, Gaussian

DIGITS = ("--data", "digits", "--model", "vaegan", "--hidden-dims", 16, "--latent-dim", 3)


def vaegan(likelihood=None, **options):
    torch.manual_seed(0)
    return VAEGAN(likelihood or Gaussian(5, variance="shared"), (12,), 3, **options)


def rows(n=7, d=5):
    return Batch(2 * torch.rand(n, d, generator=torch.Generator().manual_seed(1)) - 1)


def two_clusters(n=256):
    """Grey pictures of one bright half or the other, [n, 16]."""
    generator = torch.Generator().manual_seed(0)
    left = torch.rand(n, 1, generator=generator) < 0.5
    bright = torch.where(left, torch.arange(16) < 8, torch.arange(16) >= 8).float()
    return (0.8 * bright + 0.1 + 0.1 * torch.rand(n, 16, generator=generator)).clamp(0, 1)


@pytest.fixture
def no_noise(monkeypatch):
    """Every draw of a standard normal is 0: z is the posterior's mean, a sample is decoded 0."""
    monkeypatch.setattr(torch, "randn", lambda *shape, **how: torch.zeros(*shape, **how))


# The losses


def features_by_hand(model, x):
    h = model.discriminator["features"](x)
    h = (h - h.mean(-1, keepdim=True)) / (h.var(-1, correction=0, keepdim=True) + 1e-5).sqrt()
    head = model.discriminator["head"]
    return h, (h * torch.sigmoid(h)) @ head.weight[0] + head.bias


def test_losses_by_hand(no_noise):
    model, batch = vaegan(gamma=0.3), rows()
    mu, logvar = model.encode(batch.x)
    recon, sampled = model.decode(mu), model.decode(torch.zeros(7, 3))
    wanted, real = features_by_hand(model, batch.x)
    got, fake = features_by_hand(model, recon)
    _, prior = features_by_hand(model, sampled)
    normal = torch.distributions.Normal
    variance = F.softplus(model.likelihood.raw_logvar - math.log(1e-4)) + math.log(1e-4)
    log_px_z = normal(recon, variance.mul(0.5).exp()).log_prob(batch.x).sum(-1)
    kl = torch.distributions.kl_divergence(normal(mu, logvar.mul(0.5).exp()), normal(0, 1))
    # log N(Dis_l(x); Dis_l(x~), I) without its constant, which no parameter is in.
    unit = normal(got, 1).log_prob(wanted).sum(-1)
    error = -unit - N_FEATURES * 0.5 * math.log(2 * math.pi)
    kl = kl.sum(-1)

    loss, stats = model.loss("encoder", batch, beta=0.7)
    torch.testing.assert_close(loss, 0.7 * kl - log_px_z + error)
    expected = {"loss": loss, "log_px_z": log_px_z, "kl": kl, "feature_error": error}
    assert list(stats) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(stats[name], value.detach().mean())

    loss, stats = model.loss("decoder", batch)
    belief = -(torch.sigmoid(fake).log() + torch.sigmoid(prior).log()) / 2
    torch.testing.assert_close(stats["generator_loss"], belief.detach().mean())
    torch.testing.assert_close(loss, 0.3 * (error - log_px_z) + belief)

    loss, stats = model.loss("discriminator", batch)
    doubt = [torch.sigmoid(-logit).log() for logit in (fake, prior)]
    torch.testing.assert_close(loss, -torch.sigmoid(real).log() - sum(doubt) / 2)
    right = ((real > 0).sum() + ((fake < 0).sum() + (prior < 0).sum()) / 2) / 14
    torch.testing.assert_close(stats["discriminator_accuracy"], right)


def test_an_undecided_discriminator_loses_log_4():
    model = vaegan()
    for p in model.discriminator["head"].parameters():
        torch.nn.init.zeros_(p)
    loss, stats = model.loss("discriminator", rows())
    torch.testing.assert_close(loss, torch.full((7,), math.log(4)))
    assert stats["discriminator_accuracy"] == 0


def test_features_have_one_scale_whatever_the_weights():
    model, batch = vaegan(), rows()
    with torch.no_grad():
        model.discriminator["features"][2].weight *= 1e3
    features, _ = model.discriminate(batch.x, batch)
    torch.testing.assert_close(features.square().sum(-1), torch.full((7,), float(N_FEATURES)))


def test_hidden_cells_are_not_judged():
    model, batch = vaegan(), rows()
    mask = (torch.arange(5) != 2).float().expand(7, 5)
    other = torch.where(mask > 0, batch.x, 99.0)
    one, two = (model.discriminate(x, Batch(x, None, mask))[1] for x in (batch.x, other))
    assert one.equal(two)
    assert not one.equal(model.discriminate(batch.x, batch)[1])


def test_the_discriminator_knows_the_condition():
    model = VAEGAN(Gaussian(5), (12,), 3, y_dim=2)
    x, y = rows().x, torch.eye(2)[torch.arange(7) % 2]
    for phase in model.phases:
        loss, _ = model.loss(phase, Batch(x, y))
        assert loss.isfinite().all()
    one, two = (model.discriminate(x, Batch(x, condition))[1] for condition in (y, 1 - y))
    assert not one.equal(two)


# What each phase moves


@pytest.mark.parametrize("options", [{}, {"flow": "iaf"}, {"prior": "vamp"}, {"network": "conv"}])
def test_each_phase_moves_its_own_parameters_and_all_are_moved(options):
    build = {"flow": lambda name: FLOWS[name](3, 1), "prior": lambda name: PRIORS[name](3, 16, 4)}
    options = {key: build.get(key, str)(value) for key, value in options.items()}
    torch.manual_seed(0)
    model = VAEGAN(Bernoulli(16), (4, 12), 3, shape=(1, 4, 4), **options)
    batch = Batch(two_clusters(32))
    moved = {phase: set() for phase in model.phases}
    # Twice, as a flow's first step is on its last layer only.
    for phase, optimizer in 2 * list(Training(model, lr=0.1).optimizers.items()):
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.step(model.loss(phase, batch)[0].mean())
        moved[phase] |= {n for n, p in model.named_parameters() if not p.equal(before[n])}
    own = [{id(p) for p in model.parameters_of(phase)} for phase in model.phases]
    names = [{n for n, p in model.named_parameters() if id(p) in ids} for ids in own]
    assert list(moved.values()) == names
    assert sum(map(len, names)) == len(list(model.parameters()))  # none of two phases
    assert {name.split(".")[0] for name in names[1]} == {"decoder"}


def test_the_discriminators_loss_does_not_reach_the_others():
    model = vaegan()
    loss, _ = model.loss("discriminator", rows())
    others = [*model.parameters_of("encoder"), *model.parameters_of("decoder")]
    assert set(torch.autograd.grad(loss.sum(), others, allow_unused=True)) == {None}


def test_a_learned_variance_is_fitted_by_the_decoder():
    model = vaegan()
    assert any(p is model.likelihood.raw_logvar for p in model.parameters_of("decoder"))
    loss, _ = model.loss("decoder", rows())
    (gradient,) = torch.autograd.grad(loss.mean(), model.likelihood.raw_logvar)
    assert gradient.abs() > 1e-3


# Training


@pytest.mark.parametrize("seed", range(3))
def test_training_is_stable_and_reaches_the_data(seed):
    torch.manual_seed(seed)
    model, x = VAEGAN(Bernoulli(16), (16,), 2), two_clusters()
    logs = [means for means in Training(model, 3e-3, seed).run(Batch(x), 60, 32) if means]
    assert all(math.isfinite(value) for log in logs for value in log.values())
    assert logs[-1]["log_px_z"] > logs[0]["log_px_z"] + 0.5
    assert logs[-1]["kl"] < 20
    with torch.no_grad():
        made = model.expected(model.decode(model.sample_z(200)))
    nearest = torch.cdist(made, x).amin(1)  # the two kinds lie 3.2 apart
    assert nearest.median() < 0.8
    left = (made[:, :8].mean(1) > made[:, 8:].mean(1)).float().mean()
    assert 0.05 < left < 0.95, "one kind is lost"


def test_a_checkpoint_within_an_epoch_goes_on_to_the_same_bits(monkeypatch):
    monkeypatch.setattr(training_loop, "LOOK_STEPS", 3)
    torch.manual_seed(0)
    x, saved = Batch(two_clusters()), []
    straight = Training(VAEGAN(Bernoulli(16, "dynamic"), (16,), 2), 3e-3)
    for _ in straight.run(x, 3, 32, hide_rate=0.3):
        saved.append(copy.deepcopy(straight.state()))
    assert [state["position"]["row"] for state in saved[:3]] == [96, 192, 0]
    again = Training(VAEGAN(Bernoulli(16, "dynamic"), (16,), 2), 3e-3)
    again.load_state(saved[1])
    list(again.run(x, 3, 32, hide_rate=0.3))
    assert differences(again.state(), saved[-1]) == []
    assert differences(again.state(), saved[1]) != []


def test_what_it_evaluates_is_a_vae():
    model, batch = vaegan(), rows()
    plain = VAE(Gaussian(5, variance="shared"), (12,), 3)
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("discriminator")}
    plain.load_state_dict(weights)
    eps = torch.randn(50, 1, 3)
    assert model.log_px(batch.x, eps=eps).equal(plain.log_px(batch.x, eps=eps))


def test_a_run_is_evaluated_samples_and_resumes_to_the_same_bits(tmp_path, train, call):
    straight = train(tmp_path, "straight", *DIGITS, "--epochs", 3)
    train(tmp_path, "a", *DIGITS, "--epochs", 1)
    assert_same_run(train(tmp_path, "a", "--resume", "a", "--epochs", 3), straight)
    result = call("evaluate", "--runs-dir", tmp_path, "--run", "a", "--n-samples", 5)
    assert result.code == 0
    assert "log p(x) is of the decoder's likelihood, of which training gave some up" in result.out


# What is refused


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--members", 3), "members 3 does not go with model vaegan, which takes 1"),
        (("--objective", "iwae"), "takes elbo"),
        (("--capacity", 3), "capacity 3.0 does not go with model vaegan, which takes none"),
        (("--binarize", "static"), "which takes dynamic or none"),
        (("--likelihood", "mixed"), "model vaegan, which takes bernoulli or"),
        (("--model", "vae", "--gamma", 2), "option gamma does not go with model vae"),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_a_line(tmp_path, call, flags, words):
    result = call("train", "--runs-dir", tmp_path, *DIGITS, *flags)
    assert result.code == 2
    assert words in result.err
    assert result.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_categories_are_refused():
    with pytest.raises(AssertionError, match="no gradient passes"):
        VAEGAN(Mixed([Column("a", kind="categorical", levels=["x", "y"])]))
