"""parts/model/build.py and vae.py: members in one pass against single VAEs with equal weights."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.testing import assert_close as close

from parts.forms.base import Codec
from parts.forms.units import Column
from parts.model import importance
from parts.model.build import Space, build_model
from parts.model.config import ModelConfig
from parts.model.likelihoods.mixed import Mixed
from parts.model.networks import Linears, mlp
from parts.runs import Run
from parts.runs.config import Config, Execution, RunConfig
from parts.tasks.evaluate import describe_rows
from vae import VAE, Batch, Gaussian, kl_normal, normal_grid

M = 3
COLUMNS = [
    Column("a", kind="categorical", levels=list("xyz")),
    Column("b"),
    Column("c", kind="count", centre=1.0, spread=0.8),
    Column("d", kind="binary", levels=["no", "yes"]),
    Column("e", kind="ordinal", levels=list("123")),
]


def build(likelihood, members, y_dim=0):
    return VAE(likelihood, (7, 5), z_dim=2, y_dim=y_dim, members=members).double()


def together_and_apart(make=lambda: Mixed(COLUMNS, "column"), y_dim=0):
    """A VAE of M members, away from q = p, and the same as M single ones."""
    torch.manual_seed(5)
    whole = build(make(), M, y_dim)
    with torch.no_grad():
        for parameter in whole.parameters():
            parameter.mul_(2)
    return whole, [single(whole, member, build(make(), 1, y_dim)) for member in range(M)]


@torch.no_grad()
def single(whole, member, model):
    """`model` with the weights of one member."""
    model.likelihood.load_state_dict(whole.likelihood.state_dict())
    for half in ("encoder", "decoder"):
        for layer, layers in zip(getattr(model, half), getattr(whole, half), strict=True):
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(layers.weight[member].T)
                layer.bias.copy_(layers.bias[member, 0])
    return model


def rows(n):
    codes = [torch.randint(k, (n,)) for k in (3, 9, 2, 3)]
    x = torch.stack([codes[0], torch.randn(n), *codes[1:]], -1).double()
    return x, (torch.rand(n, 5) > 0.3).double()


def log_mean_exp(values):
    return torch.stack(list(values)).logsumexp(0) - math.log(len(values))


# The layers


def test_layers_of_members_are_as_many_layers():
    layers, x = Linears(M, 4, 5), torch.randn(M, 2, 6, 4)
    found = layers(x)
    assert found.shape == (M, 2, 6, 5)
    for m in range(M):
        close(found[m], x[m] @ layers.weight[m] + layers.bias[m])
    assert layers(x[:, 0]).shape == (M, 6, 5)


@pytest.mark.parametrize("in_dim", [1, 30])
def test_layers_of_members_begin_as_single_ones_do_and_differ(in_dim):
    layers, one = Linears(50, in_dim, 40), nn.Linear(in_dim, 2000)
    for found, expected in ((layers.weight, one.weight), (layers.bias, one.bias)):
        assert found.abs().max().item() == pytest.approx(expected.abs().max().item(), rel=0.02)
        assert found.std().item() == pytest.approx(expected.std().item(), rel=0.06)
    assert not torch.equal(layers.weight[0], layers.weight[1])


def test_networks_of_members_have_the_layers_of_one():
    network, x = mlp(4, [6, 5], 3, members=M), torch.randn(M, 8, 4)
    found = network(x)
    for m in range(M):
        one = mlp(4, [6, 5], 3)
        for layer, layers in zip(one, network, strict=True):
            if isinstance(layer, nn.Linear):
                layer.weight.data, layer.bias.data = layers.weight[m].T, layers.bias[m, 0]
        close(found[m], one(x[m]))


def test_one_member_is_the_model_without_members():
    torch.manual_seed(1)
    one = VAE(Gaussian(4), (5,), z_dim=2, members=1)
    torch.manual_seed(1)
    close(one.state_dict(), VAE(Gaussian(4), (5,), z_dim=2).state_dict(), atol=0, rtol=0)
    assert isinstance(one.encoder[0], nn.Linear)
    assert " x 1" not in one.describe()
    three = VAE(Gaussian(4), (5,), z_dim=2, members=3)
    n = 3 * sum(p.numel() for half in (one.encoder, one.decoder) for p in half.parameters())
    n += sum(p.numel() for p in one.likelihood.parameters())  # which they share
    assert f"4-5-z2-5-8 x 3, {n:,} parameters" in three.describe()


# Bounds


@pytest.mark.parametrize("n_samples", [1, 40])
def test_log_px_is_that_of_the_even_mixture(n_samples):
    whole, apart = together_and_apart()
    (x, mask), eps = rows(9), normal_grid(n_samples, 2).double()
    found = whole.importance(x, mask=mask, eps=eps)
    each = [one.importance(x, mask=mask, eps=eps) for one in apart]
    close(found.log_px, log_mean_exp([e.log_px for e in each]))
    close(found.elbo, torch.stack([e.elbo for e in each]).mean(0))
    log_w = torch.cat([one.log_w(x, mask=mask, n_samples=n_samples, eps=eps) for one in apart])
    close(whole.log_w(x, mask=mask, n_samples=n_samples, eps=eps), log_w)
    close(found.ess, 1 / log_w.softmax(0).square().sum(0))
    assert (each[0].log_px - each[1].log_px).abs().max() > 0.1


def test_a_condition_is_shown_to_every_member():
    whole, apart = together_and_apart(lambda: Gaussian(4, "column"), y_dim=3)
    x, y, eps = torch.randn(6, 4).double(), torch.randn(6, 3).double(), normal_grid(9, 2).double()
    each = [one.log_px(x, y, eps=eps) for one in apart]
    close(whole.log_px(x, y, eps=eps), log_mean_exp(each))
    close(whole.reconstruct(x, y), torch.stack([o.reconstruct(x, y) for o in apart]).mean(0))
    assert whole.sample(6, y).shape == (6, 4)


@pytest.mark.parametrize("n_samples", [None, 1, 4])
def test_the_elbo_is_the_mean_of_the_members(n_samples, monkeypatch):
    whole, apart = together_and_apart()
    x, mask = rows(9)
    eps = torch.randn(M, *(() if n_samples is None else (n_samples,)), 9, 2).double()
    monkeypatch.setattr(torch, "randn", lambda shape, **options: eps.view(shape))
    found = whole.elbo(x, mask=mask, n_samples=n_samples)
    each = []
    for member, one in enumerate(apart):
        noise = eps[member]
        monkeypatch.setattr(torch, "randn", lambda shape, noise=noise, **_: noise.view(shape))
        each.append(one.elbo(x, mask=mask, n_samples=n_samples))
    for name in ("elbo", "log_px_z", "kl"):
        expected = torch.stack([getattr(terms, name) for terms in each]).mean(0)
        close(getattr(found, name), expected)
        assert expected.shape == (9,)


def test_noise_differs_from_member_to_member():
    whole, _ = together_and_apart()
    mu = torch.zeros(M, 2000, 2)
    for n_samples, shape in ((None, (M, 2000, 2)), (4, (M, 4, 2000, 2))):
        z = whole.reparameterize(mu, mu, n_samples)
        assert z.shape == shape
        close(z.flatten(1).corrcoef(), torch.eye(M), atol=0.1, rtol=0)


@pytest.mark.parametrize(("n_samples", "each"), [(1, 1), (3, 1), (4, 2), (20, 7), (21, 7)])
def test_samples_are_counted_in_all_and_spread_evenly(n_samples, each, monkeypatch):
    whole, _ = together_and_apart()
    x, mask = rows(4)
    assert whole.grid(n_samples).shape == (each, 1, 2)
    close(whole.grid(n_samples, seed=3), normal_grid(each, 2, 3), atol=0, rtol=0)
    drawn, decode = [], whole.decode
    monkeypatch.setattr(whole, "decode", lambda z, y: drawn.append(z.shape) or decode(z, y))
    whole.importance(x, mask=mask, n_samples=n_samples)
    whole.impute(x, mask, n_samples=n_samples)
    assert drawn == [(M, each, 4, 2)] * 2


# Gradients


@pytest.mark.parametrize(
    ("objective", "n_samples"), [("elbo", 1), ("elbo", 3), ("iwae", 4), ("dreg", 4)]
)
def test_each_member_learns_as_if_it_were_alone(objective, n_samples, monkeypatch):
    """Its gradients are a single model's divided by M; the likelihood's are the mean."""
    whole, apart = together_and_apart()
    batch, beta = Batch(rows(9)[0], mask=rows(9)[1]), 0.7
    shape = (9, 2) if objective == "elbo" and n_samples == 1 else (n_samples, 9, 2)
    eps = torch.randn(M, *shape).double()

    def found(model, noise):
        monkeypatch.setattr(torch, "randn", lambda shape, **options: noise.view(shape))
        loss, stats = model.loss("vae", batch, beta, objective, n_samples)
        loss.mean().backward()
        return stats

    stats = found(whole, eps)
    each = [found(one, noise) for one, noise in zip(apart, eps, strict=True)]
    for name, value in stats.items():
        close(value, torch.stack([s[name] for s in each]).mean())
    for half in ("encoder", "decoder"):
        for m, one in enumerate(apart):
            for layer, layers in zip(getattr(one, half), getattr(whole, half), strict=True):
                if isinstance(layer, nn.Linear):
                    close(M * layers.weight.grad[m].T, layer.weight.grad)
                    close(M * layers.bias.grad[m, 0], layer.bias.grad)
                    assert layer.weight.grad.abs().max() > 1e-4
    names = [dict(model.likelihood.named_parameters()) for model in (whole, *apart)]
    assert names[0]
    for name, shared in names[0].items():
        close(shared.grad, torch.stack([own[name].grad for own in names[1:]]).mean(0))


# Cells


def test_holes_are_filled_by_the_samples_of_all_members():
    """A joint softmax of their weights lets a member count by how well it fits a row."""
    whole, apart = together_and_apart()
    (x, mask), eps = rows(20), normal_grid(16, 2).double()
    found = whole.impute(x, mask, eps=eps)
    log_w, params = [], []
    for one in apart:
        log_w.append(one.log_w(x, mask=mask, n_samples=16, eps=eps).detach())
        mu, logvar = one.encode(x, mask=mask)
        params.append(one.decode(mu + (logvar / 2).exp() * eps).detach())
    log_w, params = torch.cat(log_w), torch.cat(params)
    expected = whole.likelihood.average(params, log_w.softmax(0))
    close(found.mean, torch.where(mask > 0, x, expected))
    close(found.log_px, log_w.logsumexp(0) - math.log(16 * M))
    close(found.ess, 1 / log_w.softmax(0).square().sum(0))
    equal = torch.stack([one.impute(x, mask, eps=eps).mean for one in apart]).mean(0)
    assert (equal - found.mean)[:, 1].abs().max() > 0.01


def members_at(means, make=lambda: Gaussian(2, "fixed:0.01")):
    """Members that say their mean whatever z is, and q = p."""
    model = VAE(make(), (), z_dim=2, members=len(means))
    with torch.no_grad():
        for parameter in [*model.encoder.parameters(), model.decoder[0].weight]:
            parameter.zero_()
        model.decoder[0].bias.copy_(torch.tensor(means)[:, None, :])
    return model


def test_draws_for_holes_come_from_members_by_their_weight():
    """Two members agree with a row's first cell, one of them with e^-0.5 of the other's density."""
    model = members_at([[0.0, -5.0], [0.1, 0.0], [9.0, 5.0]])
    x, mask = torch.tensor([[0.0, 0.0]]), torch.tensor([[1.0, 0.0]])
    drawn = model.impute(x, mask, n_samples=30, draws=20_000).draws[:, 0, 1]
    weight = math.exp(-0.5)
    assert (drawn < -2.5).float().mean().item() == pytest.approx(1 / (1 + weight), abs=0.015)
    assert (drawn > 2.5).sum() == 0
    mean = model.impute(x, mask, n_samples=30).mean[0, 1].item()
    assert mean == pytest.approx(-5 / (1 + weight), abs=1e-3)


def test_rows_are_sampled_from_all_members_in_even_shares():
    model = members_at([[0.0, -5.0], [2.0, 0.0], [4.0, 5.0]])
    x = model.sample(30_000)
    member = (x[:, 0] / 2).round()
    shares = torch.bincount(member.long()) / 30_000
    close(shares, torch.full((3,), 1 / 3), atol=0.012, rtol=0)
    close((x[:, 1] / 5).round() + 1, member, atol=0, rtol=0)  # a row is one member's throughout
    order = member[:-1] * 3 + member[1:]  # and in no order
    close(torch.bincount(order.long()) / 30_000, torch.full((9,), 1 / 9), atol=0.012, rtol=0)


def test_samples_have_the_members_own_latents():
    """The draws of each linear member have its own mean and covariance."""
    model = VAE(Gaussian(2, "fixed:0.01"), (), z_dim=2, members=2)
    with torch.no_grad():
        model.decoder[0].bias.copy_(torch.tensor([[[-20.0, 0]], [[20.0, 0]]]))
    x = model.sample(60_000)
    for m, part in enumerate((x[x[:, 0] < 0], x[x[:, 0] > 0])):
        w = model.decoder[0].weight[m].detach()
        close(part.mean(0), model.decoder[0].bias[m, 0].detach(), atol=0.03, rtol=0)
        close(part.T.cov(), w.T @ w + 0.01 * torch.eye(2), atol=0.03, rtol=0.03)


def test_what_is_expected_is_the_mean_of_members_and_their_likeliest_level():
    whole, apart = together_and_apart()
    x, mask = rows(30)
    params = torch.stack([one.decode(one.encode(x, mask=mask)[0]) for one in apart])
    close(whole.reconstruct(x, mask=mask), whole.expected(params))
    params = list(3 * torch.randn(M, 30, whole.likelihood.n_params).double())
    found = whole.expected(torch.stack(params))
    real = torch.stack(
        [one.likelihood.mean(p)[:, 1:3] for one, p in zip(apart, params, strict=True)]
    )
    close(found[:, 1:3], real.mean(0))
    block = whole.likelihood.blocks["categorical"]
    pieces = [{k: piece for k, _, piece in whole.likelihood.split(p)} for p in params]
    probs = torch.stack([block.log_probs(p["categorical"])[:, 0, :3].exp() for p in pieces]).mean(0)
    close(found[:, 0], probs.argmax(-1).double())
    levels = torch.stack([one.likelihood.mean(p) for one, p in zip(apart, params, strict=True)])
    assert (levels[:, :, 0].amax(0) > levels[:, :, 0].amin(0)).sum() > 10  # where members disagree
    odds = torch.stack([piece["binary"][:, 0].sigmoid() for piece in pieces]).mean(0)
    close(found[:, 3], (odds > 0.5).double())
    close(apart[0].expected(params[0]), apart[0].likelihood.mean(params[0]))


def test_described_rows_have_the_latents_of_all_members():
    whole, apart = together_and_apart()
    x, mask = rows(7)
    recon, mu, kl, std = describe_rows(whole, Batch(x, mask=mask), with_std=True)
    close(recon, whole.reconstruct(x, mask=mask))
    each = [one.encode(x, mask=mask) for one in apart]
    close(mu, torch.cat([m.detach() for m, _ in each], -1))
    expected = [kl_normal(m.unsqueeze(-1), v.unsqueeze(-1)).detach() for m, v in each]
    close(kl, torch.cat(expected, -1))
    assert std.shape == x.shape
    assert (std[:, 1:3] > 0).all()


# Chunks


def sizes_within(budget, model, monkeypatch):
    """A list to which every layer adds the size of its output."""
    sizes = []
    monkeypatch.setattr(importance, "CHUNK_FLOATS", budget)
    for layer in [*model.encoder, *model.decoder]:
        layer.register_forward_hook(lambda *args: sizes.append(args[2].numel()))
    return sizes


@pytest.mark.parametrize("cells", [1, 5])
def test_no_layer_of_members_holds_more_than_chunk_floats(cells, monkeypatch):
    """Chunks bound the memory of every layer and leave the results as they are."""
    whole, _ = together_and_apart()
    (x, mask), eps = rows(10), normal_grid(4, 2).double()
    expected = whole.importance(x, mask=mask, eps=eps), whole.impute(x, mask, eps=eps)
    budget = cells * M * whole.width * 4
    sizes = sizes_within(budget, whole, monkeypatch)
    found = whole.importance(x, mask=mask, eps=eps), whole.impute(x, mask, eps=eps)
    close(found, expected)
    assert budget / 3 < max(sizes) <= budget


@pytest.mark.parametrize("cells", [1, 5])
def test_no_layer_of_the_terms_of_members_holds_more_than_chunk_floats(cells, monkeypatch):
    whole, _ = together_and_apart()
    x, mask = rows(10)
    budget = cells * M * whole.width * 4
    sizes = sizes_within(budget, whole, monkeypatch)
    whole.terms(Batch(x, mask=mask), n_samples=4)
    assert budget / 3 < max(sizes) <= budget


# Runs


def test_a_config_makes_the_members_again():
    config = ModelConfig(
        likelihood="mixed", variance="column", hidden_dims=[6], latent_dim=2, members=M
    )
    codec = Codec("tables", COLUMNS, (len(COLUMNS),))
    run_config = RunConfig(Config(model=config), codec, "", 9, Execution(), {})
    plain = json.loads(json.dumps(run_config.to_dict(".")))
    found = RunConfig.from_dict(plain, ".")
    model, again = (build_model(c.asked.model, Space.of(c.codec)) for c in (run_config, found))
    assert (model.members, model.encoder[0].weight.shape[0]) == (M, M)
    again.load_state_dict(model.state_dict())
    (x, mask), eps = rows(5), normal_grid(4, 2)
    log_px = [m.log_px(x.float(), mask=mask.float(), eps=eps) for m in (model, again)]
    close(*log_px, atol=0, rtol=0)
    del plain["model"]["members"]  # where nothing is said there is one
    found = RunConfig.from_dict(plain, ".")
    assert build_model(found.asked.model, Space.of(found.codec)).members == 1


def survey(n):
    rng = np.random.default_rng(0)
    job = rng.integers(0, 3, n)
    columns = (rng.normal(size=n), job, rng.poisson(1 + job), job + rng.normal(size=n))
    lines = [f"{a:.2f},{'xyz'[j]},{v},{b:.2f}" for a, j, v, b in zip(*columns, strict=True)]
    return "\n".join(["a,job,visits,b", *lines]) + "\n"


def test_a_run_of_members_goes_through_every_verb(call, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = survey(150)
    Path("t.csv").write_text(text)
    Path("holes.csv").write_text(text.replace(",x,", ",,"))
    run = Run(train("runs", "r", "--data", "t.csv", "--members", M, "--epochs", 3))
    assert run.config().asked.model.members == M
    for args in (
        ("evaluate", "--run", "r"),
        ("detect", "t.csv", "--run", "r"),
        ("impute", "holes.csv", "--run", "r", "--check", "--draws", 2),
        ("generate", "--run", "r", "--n", 40, "--out", "new.csv"),
        ("generate", "--run", "r", "--n", 40, "--given", "job=x", "--out", "x.csv"),
        ("plot_results", "--run", "r"),
    ):
        result = call(*args)
        assert (result.code, result.err) == (0, ""), args
    assert run.metrics.is_file()
    metrics = json.loads(run.metrics.read_text())
    assert metrics["active_units"] <= M * run.config().asked.model.latent_dim
    filled = Path("holes.imputed.csv").read_text().splitlines()
    assert all(line.split(",")[1] in ("x", "y", "z") for line in filled[1:])
    assert {line.split(",")[1] for line in Path("x.csv").read_text().splitlines()[1:]} == {"x"}
    assert len(Path("new.csv").read_text().splitlines()) == 41
    assert len(Path("t.scored.csv").read_text().splitlines()) == 151
