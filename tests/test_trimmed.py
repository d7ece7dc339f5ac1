"""Trimmed training: rows unlike the others give no gradient, and are not learned."""

import copy
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from parts.model.batches import Batch, hide
from parts.model.objectives import OBJECTIVES, weights_of_typical
from parts.runs import find_run
from parts.tasks.fit import fit_arrays
from parts.tasks.score import top_threshold
from parts.training import presets
from parts.training.loop import Training
from vae import VAE, Gaussian

N_BLOB, N_CLUSTER = 500, 25


def model_of(n_columns=6, seed=0):
    torch.manual_seed(seed)
    return VAE(Gaussian(n_columns, variance="shared"), hidden_dims=(32,), z_dim=3)


def with_cluster(seed=0):
    """Rows of a correlated blob, and a tight far cluster of a twentieth of them."""
    rng = np.random.default_rng(seed)
    blob = rng.normal(size=(N_BLOB, 3)) @ rng.normal(size=(3, 6))
    blob = (blob + 0.3 * rng.normal(size=blob.shape)) / blob.std()
    far = 4 * np.ones(6) * [1, -1, 1, 1, -1, 1] + 0.1 * rng.normal(size=(N_CLUSTER, 6))
    return np.vstack([blob, far])


def test_without_trimming_the_loss_is_the_objective_to_the_bit():
    model, batch = model_of(), Batch(torch.randn(40, 6))
    for name, objective in OBJECTIVES.items():
        torch.manual_seed(1)
        expected, parts = objective(model, batch, 1.0, 3, 0.0, None)
        torch.manual_seed(1)
        loss, means = model.loss("vae", batch, objective=name, n_samples=3, trim=0.0)
        assert torch.equal(loss, expected)
        assert all(torch.equal(means[k], parts[k].detach().mean()) for k in parts)


@pytest.mark.parametrize("objective", sorted(OBJECTIVES))
def test_a_row_that_is_left_out_has_no_gradient(objective):
    model = model_of()
    x = torch.randn(40, 6)
    x[7] += 30
    losses = []
    for other in (x[7], x[7] + 5):  # the gradient does not depend on what stands in it
        rows = x.clone()
        rows[7] = other
        model.zero_grad()
        torch.manual_seed(1)
        loss, means = model.loss("vae", Batch(rows), objective=objective, n_samples=2, trim=0.1)
        loss.mean().backward()
        losses.append([p.grad.clone() for p in model.parameters()])
        assert (loss == 0).sum() == 4
        assert loss[7] == 0
        assert means["loss"] == pytest.approx(loss.detach().mean().item())
    assert all(torch.equal(a, b) for a, b in zip(*losses, strict=True))


def test_the_weights_by_hand():
    loss, mask = torch.tensor([4.0, 1.0, 9.0, 6.0]), torch.ones(4, 3)
    assert weights_of_typical(loss, None, 0.25).tolist() == pytest.approx([4 / 3, 4 / 3, 0, 4 / 3])
    mask[0, 1:] = 0  # 4 nats of one cell are more than 9 of three
    assert weights_of_typical(loss, mask, 0.25).tolist() == pytest.approx([0, 4 / 3, 4 / 3, 4 / 3])
    loss[1] = torch.nan
    assert weights_of_typical(loss, None, 0.25)[1] == 0
    assert weights_of_typical(torch.zeros(1), None, 0.4).tolist() == [1]


def test_rows_with_hidden_cells_are_left_out_as_often_as_whole_ones():
    torch.manual_seed(0)
    model, left_out = model_of(20), []
    for _ in range(20):
        batch = hide(Batch(torch.randn(1000, 20)), 0.5)
        loss, _ = OBJECTIVES["elbo"](model, batch, 1.0, 1)
        whole = batch.mask.mean(1) == 1
        gone = weights_of_typical(loss, batch.mask, 0.2) == 0
        left_out.append([gone[whole].float().mean(), gone[~whole].float().mean()])
    whole, hidden = np.mean(left_out, 0)
    assert abs(whole - hidden) < 0.05


TRIMMED = {"batch_size": 50, "objective": "dreg", "n_samples": 3, "trim": 0.3, "hide_rate": 0.3}


def trained_to(epoch, rows, state=None, epochs=6):
    """The Training after `epoch` of `epochs` epochs, from the start or from a saved state."""
    training = Training(model_of(), 5e-3)
    if state is not None:
        training.load_state(copy.deepcopy(state))
    for means in training.run(rows, epochs, **TRIMMED):
        if means and training.position.epoch == epoch:
            break
    return training


def test_from_the_middle_of_training_on_half_the_share_of_all_rows_is_left_out_for_good():
    rows = Batch(torch.from_numpy(with_cluster()).float())
    assert trained_to(3, rows).kept is None
    kept = trained_to(4, rows).kept
    assert (~kept).float().mean() == pytest.approx(0.15, abs=1 / len(kept))
    assert not kept[N_BLOB:].any()
    assert torch.equal(kept, trained_to(6, rows).kept)
    # What stands in a row that is left out changes no weight.
    other = Batch(torch.where(kept[:, None], rows.x, rows.x + 1e3))
    state = trained_to(4, rows).state()
    ends = (trained_to(6, part, state).model.state_dict() for part in (rows, other))
    assert all(torch.equal(*pair) for pair in zip(*(end.values() for end in ends), strict=True))


def test_rows_with_holes_are_left_out_for_good_as_often_as_whole_ones():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 1)) + 0.3 * rng.normal(size=(600, 6))
    mask = np.ones_like(x)
    mask[:150, :4] = rng.random((150, 4)) < 0.2
    rows = Batch(torch.from_numpy(x * mask).float(), None, torch.from_numpy(mask).float())
    left_out = ~trained_to(40, rows, epochs=60).kept
    whole = rows.mask.mean(1) == 1
    assert left_out[whole].float().mean() == pytest.approx(0.15, abs=0.01)
    assert left_out[~whole].float().mean() == pytest.approx(0.15, abs=0.02)


def test_longer_training_decides_anew():
    rows = Batch(torch.from_numpy(with_cluster()).float())
    state = trained_to(6, rows).state()
    assert trained_to(7, rows, state, epochs=20).kept is None
    assert trained_to(12, rows, state, epochs=20).kept is not None


@pytest.mark.parametrize("epoch", [2, 3, 4])
def test_a_trimmed_fit_resumes_to_the_same_bits(epoch):
    rows = Batch(torch.from_numpy(with_cluster()).float())
    torch.manual_seed(1)
    straight = trained_to(6, rows)
    torch.manual_seed(1)
    state = trained_to(epoch, rows).state()
    resumed = trained_to(6, rows, state)
    assert torch.equal(straight.kept, resumed.kept)
    for name, value in straight.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name]), name


def test_where_no_row_is_odd_every_part_of_the_rows_is_learned():
    # A third is left out of each batch at first, here one end of the curve.
    t = torch.linspace(-1, 1, 500)
    x = torch.stack([2 * t, torch.cos(3 * t)], 1) + 0.1 * torch.randn(500, 2)
    torch.manual_seed(0)
    model = VAE(Gaussian(2, variance="shared"), hidden_dims=(64, 64), z_dim=2)
    options = {"batch_size": 128, "objective": "dreg", "n_samples": 5, "schedule": "onecycle"}
    fit_arrays(model, x, epochs=200, lr=5e-3, trim=0.35, **options)
    log_px = model.log_px(x, n_samples=50)
    by_part = log_px.reshape(10, 50).median(1).values
    assert by_part.min() > by_part.median() - 5  # 7 to 15 nats below, were none taken back


@pytest.mark.slow
def test_a_far_cluster_is_not_learned_where_rows_are_trimmed(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "MIN_STEPS", 800)
    pd.DataFrame(with_cluster()).add_prefix("x").to_csv("t.csv", index=False)
    ranks = {}
    for name, flags in (("trimmed", ()), ("whole", ("--trim", 0))):
        flags = ("--preset", "detect", "--members", 1, "--hidden-dims", 16, *flags)
        train = call("train", "--data", "t.csv", *flags, "--run", name)
        assert train.code == 0, train.err
        result = call("detect", "t.csv", "--run", name, "--out", f"{name}.csv")
        assert result.code == 0, result.err
        ranks[name] = pd.read_csv(f"{name}.csv")["anomaly_rank"][N_BLOB:]
    beyond = 0.05 * N_BLOB + N_CLUSTER
    assert (ranks["trimmed"] <= beyond).all()
    assert (ranks["whole"] > beyond).mean() > 0.5


def test_detect_flags_the_share_that_is_asked_for(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "MOST_TRIMMED_EPOCHS", 30)
    monkeypatch.setattr(presets, "N_MEMBERS", 1)
    pd.DataFrame(with_cluster()).add_prefix("x").to_csv("t.csv", index=False)
    first = call("detect", "t.csv")
    assert first.code == 0, first.err
    n = N_BLOB + N_CLUSTER
    config = json.loads(Path("runs/0001/config.json").read_text())
    assert config["training"]["trim"] == 0.35
    assert f"the oddest 10 % of the rows (--contamination 0.1): 52 of {n}" in first.out
    assert pd.read_csv("t.scored.csv")["is_anomaly"].sum() == 52
    again = call("detect", "t.csv", "--run", "0001", "--out", "b.csv", "--contamination", 0.02)
    assert f"10 of {n}" in again.out
    assert pd.read_csv("b.csv")["is_anomaly"].sum() == 10
    clean = pd.DataFrame(with_cluster()[:N_BLOB:2]).add_prefix("x")
    clean.to_csv("other.csv", index=False)
    other = call("detect", "other.csv", "--run", "0001")
    assert "training rows" in other.out
    flagged = pd.read_csv("other.scored.csv")["is_anomaly"].mean()
    assert flagged < 0.1  # a tenth of the run's rows, of which the cluster is half


def test_patience_counts_from_where_rows_are_taken_back(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(with_cluster()).add_prefix("x").to_csv("t.csv", index=False)
    flags = ("--preset", "detect", "--epochs", 60, "--patience", 2, "--val-fraction", 0.2)
    done = call("train", "--data", "t.csv", "--hidden-dims", 16, "--members", 1, *flags)
    assert done.code == 0, done.err
    assert re.search(
        r"From here on the oddest 5[89] of \d+ rows are left out of training", done.out
    )
    checkpoint = find_run("runs", "0001").load_checkpoint()
    assert checkpoint["position"]["epoch"] > 30
    assert checkpoint["best"]["epoch"] > 30


def test_the_threshold_of_a_share_of_the_scores():
    scores = np.arange(100.0)
    assert (scores > top_threshold(scores, 0.1)).sum() == 10
    assert (scores > top_threshold(scores, 0.001)).sum() == 0
    assert (np.zeros(5) > top_threshold(np.zeros(5), 0.4)).sum() == 0
