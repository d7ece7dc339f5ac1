"""parts/training, parts/tasks/fit.py and train.py: schedules, order, Adam, weights and presets."""

import contextlib
import copy
import io
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import data as datasets
from data import Data
from parts import randomness
from parts.console import flags
from parts.errors import UserError
from parts.forms.base import Codec, Split
from parts.forms.tables.form import Tables
from parts.forms.units import Column
from parts.model.build import fit_to_model
from parts.runs.config import Config, resolve
from parts.tasks import fit as task
from parts.tasks.fit import held_out_bound, terms_after_epoch
from parts.training import adam, presets
from parts.training import loop as training_loop
from parts.training.adam import Adam
from parts.training.config import TrainingConfig
from parts.training.loop import (
    SCHEDULES,
    Position,
    Training,
    beta_at,
    lr_at,
    permutation,
    weighted_mean,
)
from parts.training.presets import PRESETS
from train import fit, make_parser
from vae import VAE, Batch, Gaussian


class KnownLosses(nn.Module):
    """A model whose loss on a row is its first cell; non-finite at the steps in `bad`."""

    phases = ("vae",)

    def __init__(self, bad=()):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.bad, self.batches, self.betas = set(bad), [], []

    def parameters_of(self, phase):
        return list(self.parameters())

    def loss(self, phase, batch, beta=1.0):
        rows = batch.x[:, 0]
        value = rows * (math.nan if len(self.batches) in self.bad else 1.0)
        self.batches.append(rows.tolist())
        self.betas.append(beta)
        return value * self.weight.sum(), {"loss": value.mean()}


def known_rows(n):
    return Batch(torch.arange(float(n))[:, None])


def small_vae(seed=0):
    torch.manual_seed(seed)
    return VAE(Gaussian(3), (5,), z_dim=2)


def weights(model):
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def saved(state):
    """As a checkpoint does it: tensors and plain values only."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def same(a, b):
    """Equal to the bit, through dicts and lists."""
    torch.testing.assert_close(a, b, atol=0, rtol=0)


# The schedule of beta


def test_beta_rises_linearly_and_then_stays():
    assert [beta_at(step, 4.0, 4) for step in range(7)] == [0, 1, 2, 3, 4, 4, 4]
    assert beta_at(0, 0.5, 0) == 0.5


def test_training_gives_each_step_its_beta():
    model = KnownLosses()
    steps = Training(model).run(known_rows(5), 4, batch_size=2, beta=6.0, warmup_epochs=2)
    means = [m for m in steps if m]
    assert model.betas == [0, 1, 2, 3, 4, 5] + [6] * 6  # three steps an epoch
    assert [m["beta"] for m in means] == [2, 5, 6, 6]


# The schedule of the learning rate


@pytest.mark.parametrize("total", [1, 2, 4, 5, 7, 100, 3000])
def test_one_cycle_rises_to_the_rate_and_falls_to_nearly_nothing(total):
    rates = np.array([lr_at(step, 0.03, total, "onecycle") for step in range(total)])
    rise = max(1, total // 5)
    np.testing.assert_allclose(rates[:rise], 0.03 * np.arange(1, rise + 1) / rise)
    assert rates.max() == pytest.approx(0.03)
    assert rates.argmax() == rise - 1
    assert (rates > 0).all()
    assert (np.diff(rates[rise - 1 :]) < 0).all()
    angle = np.pi * np.arange(1, total - rise + 1) / (total - rise + 1)
    np.testing.assert_allclose(rates[rise:], 0.015 * (1 + np.cos(angle)), rtol=1e-9)
    if total >= 100:
        assert rates[-1] < 0.001 * 0.03
        assert rates.mean() == pytest.approx(0.03 / 2, rel=0.02)


def test_a_constant_rate_is_constant():
    assert {lr_at(step, 0.03, 10, "constant") for step in range(10)} == {0.03}
    assert SCHEDULES == ("constant", "onecycle")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_training_gives_each_step_its_rate(schedule):
    """Four epochs of three steps each share one schedule."""
    model, rates = KnownLosses(), []
    training = Training(model, lr=0.5)
    optimizer = training.optimizers["vae"]
    step = optimizer.step

    def note(loss):
        rates.append((optimizer.lr, model.weight.item()))
        return step(loss)

    optimizer.step = note
    list(training.run(known_rows(5), 4, batch_size=2, schedule=schedule))
    assert [rate for rate, _ in rates] == [lr_at(step, 0.5, 12, schedule) for step in range(12)]
    assert rates[0][1] - rates[1][1] == pytest.approx(rates[0][0], rel=1e-5)  # Adam's first step


def test_training_hands_its_other_options_to_the_loss(monkeypatch):
    model, seen = KnownLosses(), []

    def loss(phase, batch, beta, **options):
        seen.append(options)
        return KnownLosses.loss(model, phase, batch, beta)

    monkeypatch.setattr(model, "loss", loss)
    options = {"objective": "iwae", "n_samples": 3, "hide_rate": 0.25}
    list(Training(model).run(known_rows(5), 1, batch_size=5, **options))
    assert seen == [options]


# The order of rows


@settings(deadline=None, max_examples=100)
@given(st.integers(1, 60), st.integers(0, 2**32 - 1), st.integers(0, 10_000))
def test_permutation_holds_every_row_once_and_is_a_function(n, seed, epoch):
    order = permutation(n, seed, epoch)
    assert sorted(order.tolist()) == list(range(n))
    torch.rand(3)  # the global state has no part in it
    same(permutation(n, seed, epoch), order)


def test_permutation_differs_between_seeds_and_epochs():
    pairs = [(seed, epoch) for seed in (0, 1, 2, 2**31, 2**32 - 1) for epoch in range(5)]
    orders = {tuple(permutation(50, *pair).tolist()) for pair in pairs}
    assert len(orders) == len(pairs)


def test_permutation_leaves_the_global_random_state():
    before = torch.get_rng_state()
    permutation(10, 3, 4)
    same(torch.get_rng_state(), before)


@pytest.mark.parametrize(("batch_size", "sizes"), [(4, [4, 4, 2]), (10, [10]), ("full", [10])])
def test_an_epoch_visits_every_row_once_in_a_new_order(batch_size, sizes):
    model = KnownLosses()
    list(Training(model).run(known_rows(10), 2, batch_size))
    assert [len(batch) for batch in model.batches] == 2 * sizes
    rows = sum(model.batches, [])
    first, second = rows[:10], rows[10:]
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_the_seed_of_a_training_decides_its_order():
    visited = []
    for seed in (0, 1, 0):
        model = KnownLosses()
        list(Training(model, seed=seed).run(known_rows(20), 1, 20))
        visited.append(model.batches)
    assert visited[0] == visited[2] != visited[1]


def test_a_batch_larger_than_the_data_is_the_data():
    model = KnownLosses()
    list(Training(model).run(known_rows(3), 1, batch_size=100))
    assert sorted(model.batches[0]) == [0, 1, 2]


# Weights of rows


def parameters_after(rows, row_weights=None):
    """The parameters after three epochs at the posterior's mean, and those before."""
    torch.manual_seed(0)
    model = VAE(Gaussian(3), (5,), z_dim=2).double()
    before = weights(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "randn", lambda shape, **how: torch.zeros(shape, **how))
        list(Training(model, lr=0.05).run(rows, 3, "full", weights=row_weights))
    return weights(model), before


def test_weighted_mean():
    loss, weights = torch.tensor([1.0, 4.0]), torch.tensor([1.5, 0.5])
    assert weighted_mean(loss).item() == 2.5
    assert weighted_mean(loss, weights).item() == 1.75


def test_a_row_of_weight_two_is_two_rows():
    x = torch.randn(4, 3).double()
    twice = Batch(torch.cat([x, x[:1]]))
    weights = torch.tensor([2.0, 1, 1, 1]).double()
    expected, before = parameters_after(twice)
    torch.testing.assert_close(parameters_after(Batch(x), weights)[0], expected)
    torch.testing.assert_close(parameters_after(Batch(x), 7 * weights)[0], expected)
    assert (parameters_after(Batch(x))[0] - expected).abs().max() > 1e-3
    assert (expected - before).abs().max() > 0.1


def test_a_row_of_weight_zero_gives_no_gradient():
    x = torch.randn(5, 3).double()
    weights = torch.tensor([1.0, 0, 1, 1, 0]).double()
    found, _ = parameters_after(Batch(x), weights)
    torch.testing.assert_close(found, parameters_after(Batch(x[weights > 0]))[0])
    other = torch.where(weights[:, None] > 0, x, 100 * x)
    torch.testing.assert_close(parameters_after(Batch(other), weights)[0], found)


@pytest.mark.parametrize("objective", ["elbo", "iwae", "dreg"])
def test_the_gradient_of_a_weighted_batch_is_the_weighted_sum_of_those_of_its_rows(objective):
    torch.manual_seed(0)
    model, x = VAE(Gaussian(3), (5,), z_dim=2).double(), torch.randn(4, 3).double()
    weights = torch.tensor([2.0, 0, 0.5, 1.5]).double()
    loss, _ = model.loss("vae", Batch(x), objective=objective, n_samples=4)

    def gradient(scalar):
        parts = torch.autograd.grad(scalar, list(model.parameters()), retain_graph=True)
        return torch.cat([part.flatten() for part in parts])

    found = gradient(weighted_mean(loss, weights))
    apart = torch.stack([gradient(row) for row in loss])
    torch.testing.assert_close(found, weights @ apart / 4)


def test_weights_go_with_their_rows_in_any_order():
    """In batches of one row, each loss is the row's own weight times its own loss."""
    seen = []

    class Noting(KnownLosses):
        def loss(self, phase, batch, beta=1.0):
            loss, stats = super().loss(phase, batch, beta)
            loss.register_hook(lambda grad: seen.append((batch.x[0, 0].item(), grad.item())))
            return loss, stats

    weights = torch.tensor([0.0, 1, 2, 3, 4])  # of mean 2
    list(Training(Noting()).run(known_rows(5), 2, batch_size=1, weights=weights))
    assert sorted(seen) == sorted(2 * [(row, row / 2) for row in range(5)])


# Adam


def test_adam_equals_torchs(kernels):
    ours, theirs = small_vae(), small_vae()
    rows = Batch(torch.randn(16, 3))
    one = Adam(ours.parameters(), lr=0.01, betas=(0.8, 0.99), eps=1e-6)
    other = torch.optim.Adam(theirs.parameters(), lr=0.01, betas=(0.8, 0.99), eps=1e-6)
    start = weights(ours)
    for step in range(300):
        torch.manual_seed(step)
        skipped = one.step(ours.loss("vae", rows)[0].mean())
        assert skipped.item() == 0
        torch.manual_seed(step)
        other.zero_grad()
        theirs.loss("vae", rows)[0].mean().backward()
        other.step()
        if step in (0, 1, 10, 299):
            torch.testing.assert_close(weights(ours), weights(theirs), atol=1e-6, rtol=0)
    assert (weights(ours) - start).abs().max() > 0.1
    assert one.step_count.item() == 300


@pytest.fixture(params=["fused", "missing", "device"])
def kernels(request, monkeypatch):
    """torch with its private kernels, without them, and with none for the device."""
    if request.param == "missing":
        for name in ("_fused_adam_", "_amp_foreach_non_finite_check_and_unscale_"):
            monkeypatch.delattr(torch, name)
    if request.param == "device":
        monkeypatch.setattr(adam, "FUSED_DEVICES", {"cuda"})
    return request.param


def test_adam_makes_the_same_steps_by_public_functions(monkeypatch):
    """Steps agree from the first one on, and with a skipped step among them."""
    ends = []
    for devices in ({"cpu"}, set()):
        monkeypatch.setattr(adam, "FUSED_DEVICES", devices)
        torch.manual_seed(0)
        parameters, optimizer = adam_of_two()
        a, b = parameters
        skipped = []
        for step in range(20):
            factor = math.nan if step in (0, 7) else 1.0
            skipped.append(optimizer.step(factor * ((a - 1).square().sum() + (b + 3).exp().sum())))
        assert torch.stack(skipped).nonzero().flatten().tolist() == [0, 7]
        ends.append([a.detach(), b.detach(), optimizer.state_dict()])
    torch.testing.assert_close(ends[0], ends[1])
    assert ends[0][2]["step"].item() == 18


def adam_of_two():
    parameters = [nn.Parameter(torch.randn(3)), nn.Parameter(torch.zeros(2))]
    return parameters, Adam(parameters, lr=0.1)


BAD_LOSSES = {
    "nan loss": lambda a, b: a.square().sum() * math.nan,
    "infinite loss": lambda a, b: a.square().sum() + math.inf,  # its gradient is finite
    "nan gradient": lambda a, b: a.square().sum() + b.norm().sqrt(),  # finite at b = 0
}


@pytest.mark.parametrize("bad", BAD_LOSSES.values(), ids=BAD_LOSSES)
def test_adam_skips_a_non_finite_step_and_goes_on_as_if_it_had_not_been(bad, kernels):
    ends = []
    for bad_steps in (0, 1):
        torch.manual_seed(0)
        parameters, optimizer = adam_of_two()
        a, b = parameters
        assert optimizer.step((a - 1).square().sum() + b.square().sum()).item() == 0
        before = copy.deepcopy([parameters, optimizer.state_dict()])
        for _ in range(bad_steps):
            assert optimizer.step(bad(a, b) + b.square().sum()).item() == 1
        same([parameters, optimizer.state_dict()], before)
        assert optimizer.step((a - 1).square().sum() + b.exp().sum()).item() == 0
        ends.append(copy.deepcopy([parameters, optimizer.state_dict()]))
    same(ends[0], ends[1])
    assert ends[0][1]["step"].item() == 2


def test_adam_goes_on_from_its_state_to_the_same_bits():
    parameters, optimizer = adam_of_two()
    others, fresh = adam_of_two()

    def step(pair, by):
        by.step(sum((p - 1).square().sum() for p in pair))

    for _ in range(5):
        step(parameters, optimizer)
    with torch.no_grad():
        for p, q in zip(parameters, others, strict=True):
            q.copy_(p)
    fresh.load_state_dict(saved(optimizer.state_dict()))
    for _ in range(5):
        step(parameters, optimizer)
        step(others, fresh)
    same(others, parameters)
    same(fresh.state_dict(), optimizer.state_dict())


# Training: the same bits again


ROWS = Batch(torch.randn(23, 3, generator=torch.Generator().manual_seed(5)))
HOLES = ROWS._replace(mask=(torch.arange(69).view(23, 3) % 4 > 0).float())
RECIPE = {"epochs": 3, "batch_size": 4, "beta": 0.7, "warmup_epochs": 2}
ONE_CYCLE = RECIPE | {"schedule": "onecycle", "hide_rate": 0.5, "objective": "iwae", "n_samples": 2}


def trained(at_yield=lambda training: None, seed=0, rows=ROWS, recipe=RECIPE):
    """Weights and epoch means of a whole training; `at_yield` is called at each yield."""
    training = Training(small_vae(), lr=0.01, seed=seed)
    torch.manual_seed(seed)
    means = []
    for m in training.run(rows, **recipe):
        means += [m] if m else []
        at_yield(training)
    return weights(training.model), means


@pytest.fixture
def look_every_third_step(monkeypatch):
    monkeypatch.setattr(training_loop, "LOOK_STEPS", 3)
    monkeypatch.setattr(training_loop, "LOOK_SECONDS", math.inf)


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not():
    one, again, other = trained(), trained(), trained(seed=1)
    same(one, again)
    assert not torch.equal(one[0], other[0])


@pytest.mark.usefixtures("look_every_third_step")
@pytest.mark.parametrize(
    ("rows", "recipe"), [(ROWS, RECIPE), (HOLES, ONE_CYCLE)], ids=["plain", "holes, one cycle"]
)
def test_a_training_resumed_at_any_yield_ends_in_the_same_bits(rows, recipe):
    states, finished = [], []

    def save(training):
        states.append(saved(training.state()))
        finished.append(training.position.epoch)

    end, means = trained(save, rows=rows, recipe=recipe)
    same((end, means), trained(rows=rows, recipe=recipe))
    assert finished == [0, 0, 1, 1, 1, 2, 2, 2, 3]  # after steps 3, 6 and the epoch's end
    assert [state["position"]["row"] for state in states] == [12, 24, 0] * 3
    for state, epoch in zip(states, finished, strict=True):
        training = Training(small_vae(seed=9), lr=0.01)
        training.load_state(state)
        rest = [m for m in training.run(rows, **recipe) if m]
        same(weights(training.model), end)
        same(rest, means[epoch:])


@pytest.mark.usefixtures("look_every_third_step")
def test_a_resumed_training_saves_the_state_it_was_given():
    states = []
    trained(lambda training: states.append(saved(training.state())))
    for state in states:
        training = Training(small_vae(seed=9))
        training.load_state(state)
        same(saved(training.state()), state)


@pytest.mark.parametrize(("steps", "seconds"), [(1, math.inf), (5, math.inf), (64, -1.0)])
def test_how_often_the_losses_are_looked_at_changes_nothing(steps, seconds, monkeypatch):
    expected = trained()
    monkeypatch.setattr(training_loop, "LOOK_STEPS", steps)
    monkeypatch.setattr(training_loop, "LOOK_SECONDS", seconds)
    same(trained(), expected)


@pytest.mark.usefixtures("look_every_third_step")
def test_evaluating_during_training_does_not_change_it():
    def evaluate(training):
        terms_after_epoch(training.model, ROWS, "val")
        with randomness.fixed_randomness(3):
            training.model.log_px(ROWS.x, n_samples=5)
            training.model.sample(4)

    same(trained(evaluate), trained())


def test_terms_after_epoch_are_the_bound_of_all_rows_the_same_every_time():
    model = small_vae()
    terms = terms_after_epoch(model, ROWS, "val")
    torch.rand(7)
    assert terms_after_epoch(model, ROWS, "val") == terms
    with randomness.fixed_randomness():
        elbo, log_px_z, kl = (t.mean().item() for t in model.elbo(*ROWS, n_samples=8))
    assert terms == pytest.approx({"val_loss": -elbo, "val_log_px_z": log_px_z, "val_kl": kl})
    assert terms_after_epoch(model, Batch(ROWS.x[:0]), "val") == {}


def test_the_bound_to_choose_by_is_the_one_that_training_climbs():
    model, x = small_vae(), ROWS.x
    assert held_out_bound(model, ROWS, TrainingConfig(objective="elbo")) is None
    for objective, n_samples, used in (("iwae", 5, 64), ("dreg", 5, 64), ("iwae", 100, 100)):
        options = TrainingConfig(objective=objective, n_samples=n_samples)
        found = held_out_bound(model, ROWS, options)
        torch.rand(7)
        assert held_out_bound(model, ROWS, options) == found
        with randomness.fixed_randomness():
            assert found == model.log_px(x, n_samples=used).mean().item()
        assert found > -terms_after_epoch(model, ROWS, "val")["val_loss"]


def test_a_model_is_fitted_to_data_without_a_run():
    """The model is at its best epoch, in evaluation mode, and keeps rows to compare with."""
    x = np.random.default_rng(0).normal(size=(60, 2)).astype(np.float32)
    data = of_size(60, 2)
    data = replace(data, train=Split(x[:40]), val=Split(x[40:]))
    config = Config().replace(likelihood="gaussian", binarize="none", epochs=60, patience=2, lr=0.1)
    training = task.start(data, config)
    records = [record for record in task.epochs(training, data, config) if record]
    best = max(records, key=lambda record: record["val_bound"])["epoch"]
    assert best == training.position.best_epoch == len(records) - 2 < 58
    found = task.fit(data, config)
    same(dict(found.model.state_dict()), training.best["model"])
    assert not found.model.training
    assert (found.n_train, found.codec, found.config) == (40, data.codec, config)
    same(found.train.x, x[:40])
    same(found.held.x, x[40:])


# Training: what it counts


@pytest.mark.parametrize("batch_size", [1, 7, "full"])
def test_epoch_means_are_over_rows_whatever_the_batches(batch_size):
    rows = Batch(torch.arange(10.0)[:, None].square())
    (means,) = Training(KnownLosses()).run(rows, 1, batch_size)
    assert means["loss"] == pytest.approx(28.5)


def test_epoch_means_leave_out_skipped_rows():
    model = KnownLosses(bad={1})
    training = Training(model)
    first, second = training.run(known_rows(10), 2, batch_size=4)
    kept = model.batches[0] + model.batches[2]
    assert len(kept) == 6
    assert first["loss"] == pytest.approx(sum(kept) / 6)
    assert second["loss"] == pytest.approx(4.5)
    assert training.position.skipped == 1


def test_an_epoch_of_skipped_steps_has_no_means():
    first, second = Training(KnownLosses(bad={0})).run(known_rows(4), 2, "full")
    assert first["loss"] is None
    assert second["loss"] == pytest.approx(1.5)


@pytest.mark.parametrize("look_steps", [1, 3, 64])
def test_ten_bad_steps_in_a_row_end_training(look_steps, monkeypatch):
    """The count crosses epochs and looks: of 7 steps an epoch, steps 4 to 13 are bad."""
    monkeypatch.setattr(training_loop, "LOOK_STEPS", look_steps)
    training = Training(KnownLosses(bad=range(4, 14)))
    with pytest.raises(UserError, match="epoch 2: 10 steps in a row"):
        list(training.run(known_rows(7), 5, batch_size=1))


@pytest.mark.parametrize("look_steps", [1, 3, 64])
def test_nine_bad_steps_in_a_row_do_not(look_steps, monkeypatch):
    monkeypatch.setattr(training_loop, "LOOK_STEPS", look_steps)
    training = Training(KnownLosses(bad={*range(4, 13), *range(14, 23)}))
    list(training.run(known_rows(7), 5, batch_size=1))
    assert training.position.skipped == 18
    assert training.optimizers["vae"].step_count.item() == 35 - 18


def test_a_streak_of_bad_steps_survives_resuming():
    training = Training(KnownLosses(bad=range(100)))
    next(training.run(known_rows(6), 2, batch_size=1))
    again = Training(KnownLosses(bad=range(100)))
    again.load_state(saved(training.state()))
    assert (again.position.skipped, again.position.streak) == (6, 6)
    with pytest.raises(UserError, match="10 steps in a row"):
        list(again.run(known_rows(6), 2, batch_size=1))


@pytest.mark.parametrize(("bad", "ends"), [({0, 1, 2, 3}, True), ({2, 3}, True), ({3}, False)])
def test_a_last_epoch_without_a_step_is_an_error(bad, ends):
    steps = Training(KnownLosses(bad=bad)).run(known_rows(2), 2, batch_size=1)
    if ends:
        with pytest.raises(UserError, match="diverged in epoch 2"):
            list(steps)
    else:
        assert len(list(steps)) == 2


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({"epoch": -1}, False),
        ({"row": 6, "sums": {"loss": (1.0, 6)}}, True),
        ({"row": 6}, False),
        ({"row": 3}, True),  # all of them may be left out of training
        ({"sums": {"loss": (1.0,)}}, False),
        ({"sums": {"loss": (1.0, "x")}}, False),
        ({}, True),
    ],
)
def test_a_position_is_a_place_among_the_rows(changes, fits):
    position = Position(**changes)
    with contextlib.nullcontext() if fits else pytest.raises(ValueError, match="among 6 rows"):
        position.check(6)


def test_keep_best_keeps_the_weights_and_optimiser_of_the_highest_bound():
    training = Training(small_vae(), lr=0.01)
    bounds, kept = iter([-5.0, -3.0, -4.0, math.nan, -3.0]), {}
    for _ in training.run(ROWS, 5):
        training.keep_best(next(bounds))
        kept[training.position.epoch] = copy.deepcopy(training.weights())
    assert training.position.best_epoch == 2
    assert training.position.best_elbo == -3
    same(training.best, kept[2] | {"epoch": 2})
    assert training.best["optimizers"]["vae"]["step"].item() == 2
    assert not torch.equal(
        kept[2]["model"]["encoder.0.weight"], kept[5]["model"]["encoder.0.weight"]
    )
    again = Training(small_vae(seed=9))
    again.load_state(saved(training.state()))
    same(again.best, kept[2] | {"epoch": 2})
    assert (again.position.best_epoch, again.position.best_elbo) == (2, -3)


def test_fit_lowers_the_loss_and_returns_the_means_of_each_epoch():
    x = np.random.default_rng(0).standard_normal((200, 1)) @ np.ones((1, 3))  # float64, rank 1
    epochs = fit(small_vae(), x, epochs=40, batch_size=20, lr=0.01, beta=0.5)
    assert len(epochs) == 40
    for means in epochs:
        assert means["loss"] == pytest.approx(0.5 * means["kl"] - means["log_px_z"], abs=1e-4)
        assert means["beta"] == 0.5
    # Three columns of unit variance start near 3 x 1.42 nats; one latent explains them.
    assert epochs[0]["loss"] > 3.5
    assert epochs[-1]["loss"] < 1.5


def test_fit_takes_holes_and_hands_on_how_to_train():
    """A missing cell counts by its mask only: other fillings of it give an equal fit."""
    x = np.random.default_rng(0).standard_normal((40, 3)).astype(np.float32)
    mask = np.random.default_rng(1).random((40, 3)) > 0.3
    ends = []
    for filling in (0.0, 55.0):
        model = small_vae()
        torch.manual_seed(0)
        filled = np.where(mask, x, np.float32(filling))
        fit(model, filled, mask, epochs=2, schedule="onecycle", hide_rate=0.5, n_samples=2)
        ends.append(weights(model))
    same(*ends)
    model = small_vae()
    torch.manual_seed(0)
    fit(model, x, epochs=2, schedule="onecycle", hide_rate=0.5, n_samples=2)
    assert not torch.equal(weights(model), ends[0])


# Flags


def asked(*argv):
    """The Config that flags ask for, as options by name."""
    _, given = flags.parse(make_parser(), list(argv))
    return resolve(flags.options_in(given)).flat()


def test_a_preset_is_above_defaults_and_below_flags():
    args, given = flags.parse(make_parser(), [])
    assert given == {}
    defaults = asked()
    expected = {
        "hidden_dims": [64],
        "latent_dim": 8,
        "batch_size": 32,
        "variance": "decoder",
        "epochs": 50,
        "lr": 1e-3,
        "members": 1,
    }
    for options in (args, defaults):
        assert {name: options[name] for name in expected} == expected
    argv = ["--preset", "classic", "--batch-size", "32", "--latent-dim", "3"]
    _, given = flags.parse(make_parser(), argv)
    assert given == {"preset": "classic", "batch_size": 32, "latent_dim": 3}
    found = asked(*argv)
    expected = {"hidden_dims": [8], "variance": "fixed:1.0", "batch_size": 32, "latent_dim": 3}
    assert {key: found[key] for key in expected} == expected  # 32 is the default, but was given
    assert set(found) == set(defaults)


def test_every_option_is_a_flag_and_every_flag_an_option():
    """Exceptions are what the program fills in, and flags that do not concern training."""
    args, _ = flags.parse(make_parser(), [])
    filled_in = {"kinds", "scaling", "static_pixels", "mask_features", "other_encoding"}
    filled_in |= {"robust", "long_windows"}
    elsewhere = {
        "kind",
        "kinds_file",
        "device",
        "threads",
        "config",
        "runs_dir",
        "run",
        "overwrite",
        "resume",
    }
    assert set(Config().flat()) - set(args) == filled_in
    assert set(args) - set(Config().flat()) == elsewhere


def test_a_table_is_trained_by_its_preset_unless_told_otherwise():
    found = asked("--data", "table.csv", "--lr", "0.5")
    expected = {
        "preset": "table",
        "hidden_dims": [128, 128],
        "batch_size": 128,
        "latent_dim": None,
        "epochs": None,
        "lr": 0.5,
        "schedule": "onecycle",
        "variance": None,
        "hide_rate": None,
        "objective": "dreg",
        "n_samples": 5,
        "members": None,
        "likelihood": "mixed",
    }
    assert {key: found[key] for key in expected} == expected
    _, given = flags.parse(make_parser(), ["--data", "table.csv", "--lr", "0.5"])
    assert given == {"data": "table.csv", "lr": 0.5}
    assert asked("--data", "table.csv", "--likelihood", "gaussian")["schedule"] == "constant"
    assert asked("--data", "table.npy")["preset"] == "density"
    found = asked("--data", "table.csv", "--variance", "decoder", "--hide-rate", "0")
    assert (found["variance"], found["hide_rate"]) == ("decoder", 0.0)  # the defaults, but given


LEFT = dict.fromkeys(("latent_dim", "epochs", "variance", "members", "hide_rate"))  # to the table
TABLE = LEFT | {"preset": "table", "batch_size": 128, "likelihood": "mixed", "scaling": "kinds"}


def fitted(options, data):
    """What is decided by the data where so many options are left to them: those that changed."""
    before = Config().replace(binarize="none").replace(**options)
    after = presets.fit_to_data(before, data).flat()
    return {name: value for name, value in after.items() if value != before.flat()[name]}


def of_size(n_rows, n_columns, mask=None):
    """Data of so many training rows and modelled columns."""
    columns = [Column(f"c{j}") for j in range(n_columns)] + [Column("id", kind="ignore")]
    none = Split(np.zeros((0, n_columns), np.float32))
    rows = Split(np.zeros((n_rows, n_columns), np.float32), mask=mask)
    return Data(
        "table", rows, none, none, Codec("tables", columns, (n_columns,)), "hash", form=Tables()
    )


@pytest.mark.parametrize(
    ("n_rows", "batch_size", "epochs"),
    [
        (50, "full", 1200),
        (1, 128, 1200),
        (128, 128, 1200),
        (129, 128, 600),
        # 1200 steps, in whole epochs
        (1280, 128, 120),
        (1281, 128, 110),
        # at least 10 epochs
        (120 * 128, 128, 10),
        (120 * 128 + 1, 128, 10),
        (600 * 128, 128, 10),
        # at most 6000 steps
        (600 * 128 + 1, 128, 9),
        (700 * 128, 128, 8),
        (400_000, 128, 1),
        (6000 * 128, 128, 1),
        (6000 * 128 + 1, 128, 1),
    ],
)
def test_epochs_left_to_the_table_make_a_number_of_steps(n_rows, batch_size, epochs):
    found = fitted(TABLE | {"batch_size": batch_size}, of_size(n_rows, 2))
    assert found["epochs"] == epochs


@pytest.mark.parametrize(
    ("n_columns", "latent_dim"),
    [(1, 8), (16, 8), (17, 9), (18, 9), (63, 32), (64, 32), (65, 32), (200, 32)],
)
def test_latents_left_to_the_table_are_half_as_many_as_modelled_columns(n_columns, latent_dim):
    found = fitted(TABLE, of_size(10, n_columns))
    assert found["latent_dim"] == latent_dim


@pytest.mark.parametrize(
    ("preset", "n_rows", "variance"),
    [
        ("table", 999, "shared"),
        ("table", 1000, "column"),
        ("impute", 999, "column"),
        ("impute", 1000, "decoder"),
    ],
)
def test_a_variance_left_to_a_table_of_few_rows_is_a_plainer_one(preset, n_rows, variance):
    data = of_size(n_rows, 3)
    data.train.x[:] = np.random.default_rng(0).normal(size=data.train.x.shape)
    assert fitted(TABLE | {"preset": preset}, data)["variance"] == variance


@pytest.mark.parametrize(
    ("share", "kind", "observed", "variance"),
    [
        (0.32, "real", 1, "decoder"),
        (0.35, "real", 1, "column"),  # a third is the limit
        (0.35, "ordinal", 1, "decoder"),
        (0.35, "real", 0, "decoder"),
    ],
)
def test_a_column_with_a_spike_gets_no_variance_from_the_decoder(share, kind, observed, variance):
    rng, n = np.random.default_rng(0), 2000
    x, mask = rng.normal(size=(n, 3)).astype(np.float32), np.ones((n, 3), np.float32)
    x[: int(share * n), 1], mask[: int(share * n), 1] = 0.5, observed
    columns = [Column("a"), Column("b", kind=kind, levels=["l"] * (kind == "ordinal")), Column("c")]
    data = replace(of_size(n, 3), codec=Codec("tables", columns, (3,)), train=Split(x, mask=mask))
    assert fitted(TABLE | {"preset": "impute"}, data)["variance"] == variance


@pytest.mark.parametrize(("n_first", "variance"), [(4_000, "decoder"), (10_000, "column")])
def test_a_spike_is_looked_for_in_a_random_sample_of_the_rows(n_first, variance):
    """4,000 equal values are few of 25,000 sorted rows, but 40 % of the first 10,000."""
    x = np.random.default_rng(0).normal(size=(25_000, 1)).astype(np.float32)
    x[:n_first] = 0.5
    data = replace(of_size(25_000, 1), train=Split(x))
    assert fitted(TABLE | {"preset": "impute"}, data)["variance"] == variance


def test_a_model_starts_at_a_random_sample_of_the_rows(monkeypatch):
    seen = []
    monkeypatch.setattr(VAE, "start_at", lambda model, x, y=None, mask=None: seen.append(x[:, 0]))
    x = np.arange(20_000, dtype=np.float32)[:, None] / 10_000
    data = replace(of_size(20_000, 1), train=Split(x))
    config = Config().replace(likelihood="gaussian", binarize="none")
    for _ in range(2):
        torch.rand(7)
        task.start(data, config)
    same(seen[0], seen[1])
    assert len(seen[0].unique()) == 5000
    assert 0.95 < seen[0].mean() < 1.05  # 6 standard errors; of the first 5000 it is 0.25


@pytest.mark.parametrize(
    ("holes", "rate"), [(None, 0.5), (0, 0.5), (1, 0.4), (4, 0.1), (5, 0.0), (6, 0.0), (10, 0.0)]
)
def test_cells_are_hidden_up_to_a_half_together_with_the_holes(holes, rate):
    """So many of 10 columns are empty; a rate of 0 is 0 and not -0.1."""
    mask = None if holes is None else np.repeat(np.float32([[0, 1]]), [holes, 10 - holes], axis=1)
    mask = None if mask is None else np.repeat(mask, 7, axis=0)
    found = fitted(TABLE, of_size(7, 10, mask))
    assert found["hide_rate"] == rate


@pytest.mark.parametrize(("n_rows", "members"), [(1, 3), (999, 3), (1000, 1)])
def test_members_left_to_a_table_are_several_where_rows_are_few(n_rows, members):
    assert fitted(TABLE, of_size(n_rows, 3))["members"] == members


def test_what_is_not_left_to_the_table_stays_as_it_is():
    given = {"latent_dim": 7, "epochs": 9, "variance": "decoder", "members": 2, "hide_rate": 0.0}
    assert fitted(TABLE | given, of_size(50, 3)) == {}
    for name in LEFT:  # each by itself
        found = fitted(TABLE | given | {name: None}, of_size(50, 3))
        assert list(found) == [name]


def test_holes_are_filled_by_several_members_that_learn_as_a_table_does():
    table, impute = (asked("--data", "t.csv", "--preset", p) for p in ("table", "impute"))
    assert {name for name in table if table[name] != impute[name]} == {"preset", "members"}
    assert (table["members"], impute["members"]) == (None, 3)
    for args in (table, impute):  # whichever is chosen, its rule for the variance is there
        assert fitted(args, of_size(1000, 3))["variance"] in ("shared", "column", "decoder")


def test_every_preset_sets_existing_flags():
    for preset in PRESETS.values():
        assert set(preset) <= set(Config().flat())


def test_hidden_dims_may_be_none_or_several():
    assert asked("--hidden-dims")["hidden_dims"] == []
    assert asked("--hidden-dims", "5", "4")["hidden_dims"] == [5, 4]
    assert asked("--batch-size", "full")["batch_size"] == "full"


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--epochs", "0"),
        ("--lr", "0"),
        ("--lr", "nan"),
        ("--beta", "-1"),
        ("--beta", "inf"),
        ("--batch-size", "0"),
        ("--batch-size", "half"),
        ("--hidden-dims", "0"),
        ("--seed", "-1"),
        ("--seed", str(2**32)),
        ("--likelihood", "poisson"),
        ("--preset", "modern"),
    ],
)
def test_a_flag_out_of_range_is_refused_with_its_value(flag, value):
    with pytest.raises(UserError, match=f"{flag}.*{value}"):
        asked(flag, value)


def test_fit_refuses_cells_that_are_no_numbers():
    for bad in (np.nan, np.inf, -np.inf):
        x = np.ones((4, 3), np.float32)
        x[2, 1] = bad
        with pytest.raises(ValueError, match="expected finite numbers"):
            fit(VAE(Gaussian(3)), x, epochs=1)


def test_a_step_takes_no_time_over_denormal_numbers():
    """The caller's setting for denormal numbers returns, also after an error."""
    seen = []

    class Model(VAE):
        def loss(self, *args, **options):
            seen.append((torch.tensor([1e-39]) * 0.5).item())
            if len(seen) == 2:
                raise ValueError
            return super().loss(*args, **options)

    training = Training(Model(Gaussian(2), (), 1))
    training.update(Batch(torch.randn(4, 2)), 0.1, {})
    with pytest.raises(ValueError):  # noqa: PT011
        training.update(Batch(torch.randn(4, 2)), 0.1, {})
    assert seen == [0, 0]
    assert (torch.tensor([1e-39]) * 0.5).item() > 0


@pytest.mark.parametrize(
    ("flags", "short"),
    [("", None), ("--warmup 2", None), ("--warmup 3", 2), ("--warmup 2 --cycles 2", 1)],
)
def test_a_warm_up_without_an_end_is_noted(tmp_path, call, flags, short):
    result = call("train", "--runs-dir", tmp_path, "--epochs", 2, *flags.split())
    assert (f"longer than the {short} that it has" in result.out) == (short is not None)
    assert ("Note: the warm-up" in result.out) == (short is not None)


def test_what_diverged_at_once_is_not_evaluated(tmp_path, call):
    where = ("--runs-dir", tmp_path, "--run", "a")
    result = call("train", *where, "--lr", 1e9, "--epochs", 2, "--data", "digits")
    assert result.code == 2
    assert "try a lower lr in a new run" in result.err
    result = call("evaluate", *where)
    assert (result.code, result.out) == (2, "")
    assert "a holds no training yet" in result.err


@pytest.mark.parametrize("objective", ["elbo", "iwae"])
def test_patience_without_held_out_rows_is_refused_also_without_a_run(objective):
    """Test rows must never choose an epoch."""
    config = resolve({"data": "iris", "val_fraction": 0.0, "patience": 2, "objective": objective})
    config = fit_to_model(config, {})
    data = datasets.load(config.data)
    with pytest.raises(UserError, match="patience needs held-out rows"):
        task.fit(data, presets.fit_to_data(config, data))


@pytest.mark.parametrize("given", [("--hide-rate", 0.3), ("--preset", "detect")])
def test_hidden_cells_go_with_the_default_noise(given, tmp_path, train):
    train(tmp_path, "r", "--n-rows", 200, "--epochs", 1, *given)
