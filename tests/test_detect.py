"""parts/tasks/score.py and detect.py: scores against closed forms, thresholds, labels, files."""

import copy
import csv
import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.metrics import average_precision_score, roc_auc_score

import detect
from parts.forms import units
from parts.forms.base import Codec, Encoded, Reference, random_rows
from parts.forms.cells import labels_of
from parts.forms.tables import encoding, explanations
from parts.forms.tables.table_files import read
from parts.measure import hidden_cells
from parts.runs import Run
from parts.tasks import score as scoring
from parts.tasks.fit import Fitted
from parts.tasks.score import Scorer, conformal_threshold
from parts.training import presets
from vae import VAE, Gaussian

# a, b and c are jointly Gaussian; jobs and visits depend on one another and on nothing else.
MIXING = np.array([[2.0, -1.0, 0.7], [0.0, 0.5, 0.6]])
NOISE = np.array([0.6, 0.335, 0.277])
COVARIANCE = MIXING.T @ MIXING + np.diag(NOISE**2)
JOBS, VISITS = np.array(["clerk", "nurse"]), np.array([1.0, 9.0])


def survey(n, seed):
    rng = np.random.default_rng(seed)
    abc = rng.normal(size=(n, 2)) @ MIXING + rng.normal(size=(n, 3)) * NOISE
    job = (rng.random(n) < 0.4).astype(int)
    frame = pd.DataFrame({"id": [f"#{seed}-{i * 7919 % 10007:05d}" for i in range(n)]}, dtype="str")
    for name, values in zip("abc", abc.T, strict=True):
        frame[name] = [f"{value:.3f}" for value in values]
    frame["job"] = JOBS[job]
    frame["visits"] = rng.poisson(VISITS[job]).astype(str)
    return frame


def with_holes(frame, share, seed):
    holes = np.random.default_rng(seed).random(frame.shape) < share
    holes[:, 0] = False
    return frame.mask(holes, "")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train):
    """A folder that holds runs/r, trained on t.csv."""
    folder = tmp_path_factory.mktemp("detect")
    with_holes(survey(700, 0), 0.05, 1).to_csv(folder / "t.csv", index=False)
    flags = ("--data", folder / "t.csv", "--test-fraction", 0, "--val-fraction", 0.2)
    quickly = ("--epochs", 300, "--lr", 0.01, "--hidden-dims", 32, "--members", 1, "--threads", 1)
    train(folder / "runs", "r", *flags, *quickly)
    return folder


@pytest.fixture(scope="module")
def scorer(trained):
    """The run's Scorer, as detect.py makes it."""
    return Scorer(Run(trained / "runs" / "r").load()[0])


@pytest.fixture
def score(call, folder):
    """score(frame, *flags): `frame` as it was written, `scores` unrounded, `out` as printed."""

    def run(frame, *flags):
        frame.to_csv("new.csv", index=False)
        flags = ("--run", "r", "--out", "out.csv", "--overwrite", "--threads", 1, *flags)
        result = call("detect", "new.csv", *flags)
        assert (result.code, result.err) == (0, "")
        found = pd.read_csv("out.csv", dtype=str, na_filter=False)
        nats = numbers(found["anomaly_nats"])
        with np.load("runs/r/scores.npz") as arrays:
            scores = arrays["scores"]
        return SimpleNamespace(frame=found, scores=scores, nats=nats, out=result.out)

    return run


def numbers(column):
    return column.astype(float).to_numpy()


# Scores


def test_scores_are_the_same_every_time_and_in_any_order(score, monkeypatch):
    frame = with_holes(survey(60, 2), 0.1, 3)
    first = score(frame)
    again = score(frame)
    pd.testing.assert_frame_equal(first.frame, again.frame)
    np.testing.assert_array_equal(first.scores, again.scores)
    order = np.random.default_rng(4).permutation(60)
    np.testing.assert_allclose(score(frame.iloc[order]).scores, first.scores[order], atol=1e-4)
    np.testing.assert_allclose(score(frame.iloc[:7]).scores, first.scores[:7], atol=1e-4)
    monkeypatch.setattr(scoring, "N_SCORED_AT_A_TIME", 7)
    np.testing.assert_allclose(score(frame).scores, first.scores, atol=1e-4)


def test_words_do_not_depend_on_the_other_rows(score):
    frame = survey(40, 2)
    words = score(frame).frame["anomaly_why"]
    part = score(frame.iloc[20:]).frame["anomaly_why"]
    names = [[cell.split("=")[0] for cell in why.split("; ")] for why in words[20:]]
    assert names == [[cell.split("=")[0] for cell in why.split("; ")] for why in part]


def test_words_do_not_depend_on_the_order_of_rows(score):
    """To the last digit, although what is expected is drawn."""
    frame = with_holes(survey(80, 2), 0.1, 3)
    words = score(frame, "--contamination", 0.3).frame["anomaly_why"]
    assert (words != "").sum() >= 30
    order = np.random.default_rng(4).permutation(80)
    again = score(frame.iloc[order], "--contamination", 0.3).frame["anomaly_why"]
    assert again.tolist() == words[order].tolist()


def test_another_seed_is_another_estimate_of_the_same(score):
    frame = survey(60, 2)
    first, other = (score(frame, "--seed", seed).scores for seed in (0, 1))
    assert np.abs(first - other).max() > 1e-3
    np.testing.assert_allclose(other, first, atol=0.8)
    assert np.abs(other - first).mean() < 0.2
    assert np.corrcoef(first, other)[0, 1] > 0.99


def test_columns_in_any_order_and_new_ones_change_no_score(score):
    frame = survey(30, 2)
    first = score(frame).scores
    mixed = frame[["visits", "c", "a", "job", "b"]].assign(remark="x")
    found = score(mixed)
    np.testing.assert_allclose(found.scores, first, atol=1e-4)
    assert "remark" in found.out
    without = score(frame.drop(columns="b"))
    assert "column 'b' is not in the file: taken as missing" in without.out
    np.testing.assert_allclose(without.scores, score(frame.assign(b="")).scores, atol=1e-4)


@pytest.mark.parametrize("seen", ["abc", "ab", "c"])
def test_nats_of_a_gaussian_table_are_those_of_its_closed_form(score, scorer, seen):
    """They are of the observed cells alone, in units of the columns' spread."""
    frame = survey(200, 5)
    for name in set(frame) - set(seen):
        frame[name] = ""
    values = frame[list(seen)].astype(float).to_numpy()
    at = ["abc".index(name) for name in seen]
    spread = [column.spread for column in scorer.columns if column.name in seen]
    assert all(c.curve == "asinh" for c in scorer.columns if c.name in seen)
    log_p = multivariate_normal(np.zeros(len(at)), COVARIANCE[np.ix_(at, at)]).logpdf(values)
    expected = -log_p - np.log(spread).sum()
    found = score(frame).nats
    assert np.mean(found - expected) == pytest.approx(0, abs=0.2)
    assert np.corrcoef(found, expected)[0, 1] > 0.9


@pytest.mark.parametrize("prior", ["standard normal", "aggregated"])
def test_missing_cells_are_marginalised(scorer, prior):
    """The reference is -log p of the observed cells by plain sampling of z from the prior."""
    frame = with_holes(survey(25, 6), 0.4, 7).drop(columns="id")
    vae = scorer.model
    x, mask, _, _ = encoding.encode(frame, scorer.columns)
    torch.manual_seed(0)
    z = torch.randn(100_000, 1, vae.z_dim)
    if prior == "aggregated":
        scorer = by_its_rows(scorer)
        found = scorer.estimate(x, mask, vae.grid(2000), scorer.prior)[0]
        quickly = scorer(x, mask)
        mu, logvar = vae.encode(*scorer.batch(*scorer.rows[:3]))
        row = torch.randint(len(mu), z.shape[:2])
        z = (mu[row] + (logvar[row] / 2).exp() * z).detach()
    else:
        found = quickly = scorer.estimate(x, mask, scorer.eps)[0]
    rows = torch.from_numpy(x), torch.from_numpy(mask)
    with torch.no_grad():
        pieces = [vae.likelihood.log_prob(vae.decode(part), *rows) for part in z.split(20_000)]
        log_px_z = torch.cat(pieces)
    log_px = torch.logsumexp(log_px_z, 0) - np.log(len(z))
    det = sum(c.log_det(x[:, j], user=False) * mask[:, j] for j, c in enumerate(scorer.columns))
    expected = -(log_px.numpy() + det)
    np.testing.assert_allclose(found, expected, atol=0.25)
    assert np.median(np.abs(found - expected)) < 0.05
    np.testing.assert_allclose(quickly, expected, atol=0.6)  # by few samples
    assert np.median(np.abs(quickly - expected)) < 0.15


ROWS = np.random.default_rng(10).normal(size=(9, 4)).astype(np.float32)
MASK = np.float32(np.random.default_rng(11).random((9, 4)) > 0.3)


@torch.no_grad()
def linear(members=1):
    """x = W z + b + noise of variance 0.5, and a q that differs from row to row and is broader than
    the posterior.
    """
    torch.manual_seed(0)
    model = VAE(Gaussian(4, "fixed:0.5"), (), z_dim=2, members=members)
    w = model.decoder[0].weight.normal_(0, 0.7)
    w = w if members > 1 else w.mT  # [..., Z, D]
    to_mu = (torch.eye(2) + 2 * w @ w.mT).inverse() @ w  # 1 / 0.5 of E[z|x]
    to_params = torch.cat([to_mu, 0.05 * torch.randn_like(to_mu)], -2)
    model.encoder[0].weight.copy_(to_params.mT if members > 1 else to_params)
    model.encoder[0].bias[..., 2:] = 0.3
    return model


def scorer_by(model, x, mask):
    """The Scorer of a run of these rows, whose model units are the user's; by these rows."""
    codec = Codec("tables", [units.Column(name) for name in "abcd"[: x.shape[1]]], (x.shape[1],))
    held = Reference(x[:0], mask[:0] > 0)
    return by_its_rows(Scorer(Fitted(model, codec, None, Reference(x, mask > 0), held, len(x))))


def by_its_rows(scorer):
    """The Scorer with the aggregated posterior of its rows as prior, the kernels not widened."""
    scorer = copy.copy(scorer)
    scorer.prior = scorer.model.aggregated(*scorer.batch(*scorer.rows[:3]))
    return scorer


def mixture_log_prob(model, x, mask, rows, leave_out=None):
    """log p of a row's observed cells where p(z) is the mean of the rows' q: Gaussians, exactly."""
    weight, bias = (p.detach().double().numpy() for p in model.decoder[0].parameters())
    mu, logvar = model.encode(torch.from_numpy(rows[0]), mask=torch.from_numpy(rows[1]))
    seen = mask > 0
    terms = []
    for i, (m, v) in enumerate(
        zip(mu.detach().double().numpy(), logvar.exp().detach(), strict=True)
    ):
        covariance = weight * v.double().numpy() @ weight.T + 0.5 * np.eye(4)
        density = multivariate_normal((weight @ m + bias)[seen], covariance[np.ix_(seen, seen)])
        if i != leave_out:
            terms.append(density.logpdf(x[seen]))
    return logsumexp(terms) - np.log(len(terms))


def test_scores_of_a_linear_model_approach_those_of_a_mixture_of_gaussians(monkeypatch):
    """Rows of the run are scored by the other rows, new ones by all; cells are missing."""
    monkeypatch.setattr(scoring, "N_SCORE", 4000)
    model = linear()
    scorer = scorer_by(model, ROWS, MASK)
    rng = np.random.default_rng(12)
    new, new_mask = 1.5 * rng.normal(size=(6, 4)), np.float32(rng.random((6, 4)) > 0.3)
    new_mask[0] = 1
    x, mask = np.vstack([new.astype(np.float32), ROWS[::-1]]), np.vstack([new_mask, MASK[::-1]])
    own = [None] * 6 + list(range(9))[::-1]
    cases = list(zip(x, mask, own, strict=True))
    exact = [mixture_log_prob(model, a, m, (ROWS, MASK), i) for a, m, i in cases]
    np.testing.assert_allclose(scorer(x, mask), np.negative(exact), atol=0.01)
    monkeypatch.setattr(scoring, "N_SCORED_AT_A_TIME", 4)  # each row with its own number still
    np.testing.assert_allclose(scorer(x, mask), np.negative(exact), atol=0.01)
    by_all = [mixture_log_prob(model, a, m, (ROWS, MASK)) for a, m, _ in cases]
    assert (np.subtract(by_all, exact)[6:] > 0.015).sum() > 4  # else all would say as much
    found, _ = scorer.estimate(x, mask, model.grid(4000), scorer.prior)
    np.testing.assert_allclose(found, np.negative(by_all), atol=0.01)


def test_scores_by_the_model_itself_are_those_of_its_marginal():
    model = linear()
    scorer = scorer_by(model, ROWS, MASK)
    weight, bias = (p.detach().double().numpy() for p in model.decoder[0].parameters())
    covariance = weight @ weight.T + 0.5 * np.eye(4)
    exact = [
        multivariate_normal(bias[m > 0], covariance[np.ix_(m > 0, m > 0)]).logpdf(x[m > 0])
        for x, m in zip(ROWS, MASK, strict=True)
    ]
    scores, ess = scorer.estimate(ROWS, MASK, model.grid(4000))
    np.testing.assert_allclose(scores, np.negative(exact), atol=0.003)
    assert ((ess > 100) & (ess <= 4000)).all()


def test_a_run_of_one_row_is_scored_by_that_row(monkeypatch):
    """A single row has no others, so it is scored by its own Gaussian, and scores are finite."""
    monkeypatch.setattr(scoring, "N_SCORE", 4000)
    model = linear()
    one = ROWS[:1], MASK[:1]
    scorer = scorer_by(model, *one)
    exact = [mixture_log_prob(model, x, m, one) for x, m in zip(ROWS, MASK, strict=True)]
    np.testing.assert_allclose(scorer(ROWS, MASK), np.negative(exact), atol=0.003)


def test_only_so_many_rows_are_exemplars_and_the_others_are_new(monkeypatch):
    monkeypatch.setattr(scoring, "N_EXEMPLARS", 5)
    model = linear()
    some = random_rows(9, 5)
    assert sorted(some) != list(range(5))  # no sample would be the first rows, as files are sorted
    first, all_rows = (scorer_by(model, ROWS[n], MASK[n]) for n in (some, slice(None)))
    np.testing.assert_array_equal(first(ROWS, MASK), all_rows(ROWS, MASK))
    monkeypatch.setattr(scoring, "N_EXEMPLARS", 9)
    more = scorer_by(model, ROWS, MASK)
    assert np.abs(more(ROWS, MASK) - first(ROWS, MASK)).min() > 1e-4


def test_scores_of_members_are_those_of_their_mixture_each_with_its_own_prior(monkeypatch):
    monkeypatch.setattr(scoring, "N_SCORE", 8000)
    model = linear(members=2)
    scorer = scorer_by(model, ROWS, MASK)
    exact = []
    for member in range(2):
        single = linear()
        for half in ("encoder", "decoder"):
            weight, bias = getattr(model, half)[0].parameters()
            single_weight, single_bias = getattr(single, half)[0].parameters()
            single_weight.data, single_bias.data = weight[member].mT, bias[member, 0]
        rows = enumerate(zip(ROWS, MASK, strict=True))
        exact.append([mixture_log_prob(single, x, m, (ROWS, MASK), i) for i, (x, m) in rows])
    assert np.abs(np.subtract(*exact)).max() > 0.3
    expected = -(logsumexp(exact, axis=0) - np.log(2))
    np.testing.assert_allclose(scorer(ROWS, MASK), expected, atol=0.003)


def test_rows_that_few_samples_agree_on_are_scored_without_themselves_too(monkeypatch):
    """A row that is scored again keeps its own number, which is not its place in that batch."""
    monkeypatch.setattr(scoring, "N_SCORE", 4000)
    model = linear()
    scorer = scorer_by(model, ROWS, MASK)
    once, ess = scorer.estimate(ROWS, MASK, scorer.few, scorer.prior, np.arange(9))
    monkeypatch.setattr(scoring, "UNSURE_ESS", np.median(ess))  # half of them, here and there
    np.testing.assert_allclose(scorer(ROWS, MASK), once, atol=0.01)


def test_scores_of_a_file_count_its_impossible_cells(scorer):
    x, mask, _, _ = encoding.encode(survey(5, 2), scorer.columns)
    strange = [encoding.Strange("a", np.array([1, 3]), 100.0, "", "")]
    strange.append(encoding.Strange("b", np.array([3]), 100.0, "", ""))
    rows = Encoded(x, mask, None, strange, [])
    added = scorer.of_encoded(rows) - scorer(x, mask)
    np.testing.assert_allclose(added, [0, 100, 0, 200, 0], atol=1e-6)


def test_the_file_that_a_run_was_trained_on_is_found_again_in_it(scorer, trained):
    """Its rows are read to the same bits, or each row would score itself."""
    file = read(str(trained / "t.csv"))
    x, mask, *_ = encoding.encode_file(file.frame, scorer.columns, "t.csv")
    kept, there, *_ = scorer.rows
    own = hidden_cells.find_rows(x, mask, kept, there)
    assert sorted(own[own >= 0]) == list(range(700))
    for seen, found in ((x * mask, kept * there), (mask, there)):
        np.testing.assert_array_equal(seen[own >= 0], found[own[own >= 0]])


def test_the_rows_of_a_scorer_are_those_of_its_run_training_rows_first(trained):
    run = Run(trained / "runs" / "r")
    fitted, _ = run.load()
    scorer, (train, held) = Scorer(fitted), run.read_rows()
    assert [len(part) for part in (*train[:2], *held[:2])] == [560, 560, 140, 140]
    with np.load(run.path / "rows.npz") as rows:
        np.testing.assert_array_equal(train.x, rows["x"])
        np.testing.assert_array_equal(held.mask, rows["held_mask"])
        for kept, name in zip(scorer.rows[:2], ("x", "mask"), strict=True):
            both = np.vstack([rows[name], rows[f"held_{name}"]])
            np.testing.assert_array_equal(kept, both)  # fewer than N_EXEMPLARS
    assert scorer.rows.y is None
    assert len(fitted.codec.columns) == 6  # also those that are not modelled
    assert len(scorer.columns) == 5


def test_rows_are_found_by_their_observed_cells():
    among, there = (
        np.array([[1, 2], [3, 4], [1, 9], [3, 4]]),
        np.array([[1, 1], [1, 1], [1, 0], [1, 1]]),
    )
    x = np.array(
        [[1.0, 2], [1, np.nan], [1, 7], [1, 2], [3, 4], [5, 6], [2, 1], [np.nan, 2], [0, 0]]
    )
    mask = np.array([[1, 1], [1, 0], [1, 0], [0, 1], [1, 1], [1, 1], [1, 1], [0, 1], [0, 0]])
    found = hidden_cells.find_rows(x, mask, among, there)
    assert found.dtype == np.int64
    assert found[4] in (1, 3)  # either of two that are alike
    assert found.tolist() == [0, 2, 2, -1, found[4], -1, -1, -1, -1]
    whole = hidden_cells.find_rows(x[:1], mask[:1] > 0, among, there > 0)  # masks of any type
    assert whole.tolist() == [0]
    none = hidden_cells.find_rows(x, mask, among[:0], there[:0])
    assert none.tolist() == [-1] * 9
    assert hidden_cells.find_rows(x[:0], mask[:0], among, there).shape == (0,)


def test_a_row_of_holes_is_no_surprise(score, scorer):
    found = score(survey(5, 2).assign(a="", b="NA", c="-", job=" ", visits="null"))
    np.testing.assert_allclose(found.nats, 0, atol=0.05)
    np.testing.assert_allclose(found.scores, scorer.usual.mean, atol=1e-4)
    assert (found.frame["anomaly_why"] == "").all()
    assert (found.frame["is_anomaly"] == "0").all()


def test_what_stands_in_a_missing_cell_does_not_matter(scorer):
    x, mask, _, _ = encoding.encode(with_holes(survey(40, 2), 0.3, 3), scorer.columns)
    other = np.where(mask > 0, x, np.float32(1.0))
    np.testing.assert_allclose(scorer(other, mask), scorer(x, mask), atol=1e-4)


def test_the_farthest_cell_is_the_oddest(score):
    frame = survey(40, 2)
    frame.loc[7, "a"] = "1e15"
    found = score(frame)
    assert np.isfinite(found.scores).all()
    assert found.frame["anomaly_rank"][7] == "1"
    assert found.frame["is_anomaly"][7] == "1"
    assert found.frame["anomaly_why"][7].startswith("a=1e15 expected ")


def test_rows_on_which_few_samples_agree_get_more_of_them(scorer):
    frame, *_ = planted()
    x, mask, _, _ = encoding.encode(frame, scorer.columns)
    assert len(scorer.few) == scoring.N_SCORE
    assert len(scorer.more) == scoring.RESCORE_FACTOR * scoring.N_SCORE
    quick, ess = scorer.estimate(x, mask, scorer.few, scorer.prior)
    more, _ = scorer.estimate(x, mask, scorer.more, scorer.prior)
    few = ess < scoring.UNSURE_ESS
    assert 0 < few.sum() < len(x)
    np.testing.assert_allclose(scorer(x, mask), np.where(few, more, quick), atol=1e-4)


# The prior of scores


@torch.no_grad()
def exact(n_columns=4, variance=0.01):
    """x = z + noise, and q(z|x) the posterior."""
    model = VAE(Gaussian(n_columns, f"fixed:{variance}"), (), z_dim=n_columns).eval()
    model.decoder[0].weight.copy_(torch.eye(n_columns))
    own = 1 / (1 + 1 / variance)
    to_mu = torch.eye(n_columns) * own / variance
    model.encoder[0].weight.copy_(torch.cat([to_mu, torch.zeros_like(to_mu)]))
    model.encoder[0].bias.copy_(torch.cat([torch.zeros(n_columns), torch.full((4,), np.log(own))]))
    return model


def prior_of(model, x):
    x = x.astype(np.float32)
    codec = Codec("tables", [units.Column(name) for name in "abcd"], (4,))
    rows, held = Reference(x, np.ones(x.shape, bool)), Reference(x[:0], x[:0] > 0)
    return Scorer(Fitted(model, codec, None, rows, held, len(x))).prior


def test_p_of_z_is_the_prior_where_kernels_would_leave_gaps():
    """Rows of the model itself: no kernel density of a few of them is as likely as its own p(z)."""
    x = np.random.default_rng(0).normal(size=(300, 4)) * np.sqrt(1.01)
    assert prior_of(exact(), x) is None


def test_clusters_are_scored_by_kernels_just_wide_enough():
    rng = np.random.default_rng(0)
    x = rng.choice([-2.0, 2.0], (300, 1)) + 0.3 * rng.normal(size=(300, 4))
    prior = prior_of(exact(), x)
    narrow = exact().aggregated(torch.from_numpy(x.astype(np.float32)))
    z = prior.middle + torch.randn(50, 1, 4, generator=torch.Generator().manual_seed(0))
    assert prior.n_rows == 300
    assert (prior.log_prob(z) >= narrow.log_prob(z)).float().mean() > 0.8  # fewer gaps, or equal
    middle = torch.zeros(1, 1, 4)  # between the clusters
    assert prior.log_prob(middle) < exact().log_pz(middle) - 5


# Thresholds and ranks


def test_ranks_flags_and_scores_agree(score):
    frame = survey(200, 8)
    frame.loc[50] = frame.loc[20]  # tied: the first comes first
    found = score(frame, "--contamination", 0.1)
    scores = found.scores
    rank = numbers(found.frame["anomaly_rank"]).astype(int)
    assert sorted(rank) == list(range(1, 201))
    assert (np.diff(scores[np.argsort(rank)]) <= 1e-5).all()
    assert rank[50] == rank[20] + 1
    np.testing.assert_allclose(numbers(found.frame["anomaly_score"]), scores, atol=5.1e-5)
    with np.load("runs/r/scores.npz") as arrays:
        threshold, held = float(arrays["threshold"]), arrays["held"]
    flagged = found.frame["is_anomaly"] == "1"
    assert (flagged == (scores > threshold)).all()
    assert 8 <= flagged.sum() <= 45
    assert len(held) == 140
    assert threshold == np.sort(held)[127 - 1]  # ceil(141 * 0.9) of 140
    assert f"{flagged.sum()} of 200 rows lie beyond it" in found.out


def test_the_threshold_is_the_stated_rank_of_held_out_rows(score, scorer):
    score(survey(5, 2), "--contamination", 0.05)
    with np.load("runs/r/scores.npz") as arrays:
        threshold, held = float(arrays["threshold"]), arrays["held"]
    with np.load("runs/r/rows.npz") as rows:
        x, mask = rows["held_x"], rows["held_mask"].astype(np.float32)
    assert (mask == 0).mean() == pytest.approx(0.05, abs=0.02)
    batch = scorer.batch(x, mask)
    torch.manual_seed(1)
    log_px = scorer.model.importance(*batch, n_samples=5000, prior=scorer.prior).log_px
    log_px = log_px.double().numpy() + units.log_det(x, scorer.columns, mask, user=False)
    expected = scorer.placed(-log_px, mask)
    errors = np.abs(held - expected)
    assert np.median(errors) < 0.15
    assert np.quantile(errors, 0.95) < 0.6
    assert threshold == np.sort(held)[134 - 1]  # ceil(141 * 0.95) of 140
    assert threshold == pytest.approx(np.sort(expected)[134 - 1], abs=0.6)


@pytest.mark.parametrize("n", [10, 50, 100, 500])
@pytest.mark.parametrize("share", [0.1, 0.05, 0.01])
def test_fresh_rows_are_flagged_no_more_often_than_was_asked(n, share):
    """The share is a mean over many runs, each with n exponential held-out scores of its own."""
    rng = np.random.default_rng(n)
    found = [conformal_threshold(rng.exponential(size=n), share) for _ in range(4000)]
    flagged = np.exp(np.negative(found))  # the share of all fresh rows beyond a threshold
    error = flagged.std() / np.sqrt(len(found))
    n_beyond = int((n + 1) * share + 1e-9)  # of the n + 1 ranks that a fresh row may have
    assert flagged.mean() == pytest.approx(n_beyond / (n + 1), abs=4 * error + 1e-12)
    assert n_beyond / (n + 1) <= share


def test_the_threshold_is_one_of_the_scores_by_its_rank():
    held = np.random.default_rng(0).permutation(np.arange(1.0, 100))  # 1 to 99
    for share, rank in ((0.01, 99), (0.02, 98), (0.1, 90), (0.105, 90), (0.5, 50)):
        assert conformal_threshold(held, share) == rank
    assert conformal_threshold(held, 0.009) == np.inf  # rank 100 of 99
    assert conformal_threshold(held[:8], 0.1) == np.inf
    assert conformal_threshold(held[:9], 0.1) == held[:9].max()


def test_too_few_held_out_rows_set_no_threshold(call, train, tmp_path, monkeypatch):
    """The output says so, and flags only rows with a cell that cannot occur."""
    monkeypatch.chdir(tmp_path)
    frame = survey(60, 0)
    frame.to_csv("t.csv", index=False)
    flags = ("--epochs", 5, "--val-fraction", 0.2, "--test-fraction", 0)
    train("runs", "r", "--data", "t.csv", *flags)
    new = survey(30, 1)
    new.loc[3, "visits"], new.loc[7, "a"] = "-2", "1e6"
    new.to_csv("new.csv", index=False)
    result = call("detect", "new.csv", "--run", "r")
    assert (result.code, result.err) == (0, "")
    assert "Threshold: none. 12 held-out rows cannot tell the oddest 1 %" in result.out
    with np.load("runs/r/scores.npz") as arrays:
        n_above = (arrays["scores"] > arrays["held"].max()).sum()
    said = f"{n_above} of {len(new)} rows score above all of these 12, whether flagged or not"
    assert n_above >= 2
    assert said in result.out
    assert "1 flagged for a cell that cannot be" in result.out
    found = pd.read_csv("new.scored.csv")
    assert np.flatnonzero(found["is_anomaly"]).tolist() == [3]
    assert {3, 7} == set(np.flatnonzero(found["anomaly_rank"] <= 2))
    with np.load("runs/r/scores.npz") as arrays:
        assert (len(arrays["held"]), float(arrays["threshold"])) == (12, np.inf)
    result = call("detect", "new.csv", "--run", "r", "--contamination", 0.1, "--overwrite")
    with np.load("runs/r/scores.npz") as arrays:
        assert float(arrays["threshold"]) == arrays["held"].max()  # rank ceil(13 * 0.9) of 12
    assert "exceeded by 0 of 12 held-out rows" in result.out


@pytest.mark.slow
def test_the_last_rows_of_a_sorted_table_are_not_odd(call, train, tmp_path, monkeypatch):
    """A run that held nothing out keeps a sample of its rows, and scores by a sample of these."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    a = np.sort(rng.normal(size=8000))
    frame = pd.DataFrame({"a": a, "b": a + 0.5 * rng.normal(size=8000)}).round(3)
    frame.to_csv("t.csv", index=False)
    flags = ("--data", "t.csv", "--test-fraction", 0, "--val-fraction", 0, "--epochs", 6)
    train("runs", "r", *flags, "--members", 1, "--threads", 1)
    train_rows, held = Run(Path("runs/r")).read_rows()
    assert (len(train_rows.x), len(held.x)) == (5000, 0)
    rows = Scorer(Run(Path("runs/r")).load()[0]).rows
    assert len(rows.x) == scoring.N_EXEMPLARS
    for part in (train_rows, rows):
        assert part.x[:, 0].mean() == pytest.approx(0, abs=0.12)
        assert part.x[:, 0].std() == pytest.approx(train_rows.x[:, 0].std(), rel=0.1)
    assert call("detect", "t.csv", "--run", "r").code == 0
    flagged = pd.read_csv("t.scored.csv")["is_anomaly"].to_numpy()
    assert 0.005 < flagged.mean() < 0.02  # 0.01 was asked for
    assert flagged[-1000:].mean() < 0.08
    assert flagged[:1000].mean() < 0.08


def test_a_run_without_held_out_rows_says_where_its_threshold_comes_from(call, train, tmp_path):
    survey(60, 0).to_csv(tmp_path / "t.csv", index=False)
    flags = ("--epochs", 1, "--val-fraction", 0)
    train(tmp_path / "runs", "r", "--data", tmp_path / "t.csv", *flags)
    result = call("detect", tmp_path / "t.csv", "--run", tmp_path / "runs/r")
    assert result.code == 0
    assert "held no rows out" in result.out
    with np.load(tmp_path / "runs/r/scores.npz") as arrays:
        assert len(arrays["held"]) == 48


# What is odd


def planted():
    """Typical rows of a fresh sample, ten of which contradict themselves; and which ten."""
    frame = survey(150, 9)
    big = np.flatnonzero(np.abs(numbers(frame["a"])) > 1.5)[:5]
    frame.loc[big, "a"] = [f"{-2 * value:.3f}" for value in numbers(frame["a"])[big]]
    clerks = np.flatnonzero(frame["job"] == "clerk")
    clerks = clerks[~np.isin(clerks, big)][:5]
    frame.loc[clerks, "visits"] = "15"
    odd = np.zeros(150, int)
    odd[big] = odd[clerks] = 1
    return frame, odd, big, clerks


def test_planted_outliers_rank_above_the_others(score):
    frame, odd, *_ = planted()
    found = score(frame)
    assert numbers(found.frame["anomaly_rank"])[odd == 1].max() <= 14
    assert roc_auc_score(odd, found.scores) > 0.99
    assert (found.frame["is_anomaly"][odd == 1] == "1").mean() >= 0.9
    assert (found.frame["is_anomaly"][odd == 0] == "1").mean() <= 0.05


def test_an_impossible_cell_puts_its_row_at_the_top(score):
    frame, *_ = planted()
    frame.loc[3, "visits"], frame.loc[4, "visits"] = "-2", "2.5"
    found = score(frame)
    assert {found.frame["anomaly_rank"][3], found.frame["anomaly_rank"][4]} == {"1", "2"}
    assert found.scores[[3, 4]].min() > 100
    assert found.frame["anomaly_why"][3].startswith("visits=-2 ")
    assert found.frame["anomaly_why"][4].startswith("visits=2.5 ")
    assert "2 cells taken as missing, such as '-2' in row 4, which is impossible in" in found.out
    without = score(frame.assign(visits=frame["visits"].replace({"-2": "", "2.5": ""})))
    np.testing.assert_allclose(found.scores[[3, 4]] - without.scores[[3, 4]], 100, atol=1e-3)


PART = re.compile(r"(\w+)=(\S+) expected (.+)")


def test_the_planted_column_comes_first_with_what_stands_there_and_what_was_expected(score):
    frame, _, big, clerks = planted()
    found = score(frame)
    at = [1, 2]
    weights = np.linalg.solve(COVARIANCE[np.ix_(at, at)], COVARIANCE[at, 0])
    sd = np.sqrt(COVARIANCE[0, 0] - COVARIANCE[0, at] @ weights)
    for row in big:
        name, cell, wanted = PART.match(found.frame["anomaly_why"][row].split("; ")[0]).groups()
        assert (name, cell) == ("a", frame["a"][row])
        middle, half = map(float, wanted.split("±"))
        expected = frame.loc[row, ["b", "c"]].astype(float).to_numpy() @ weights
        assert middle == pytest.approx(expected, abs=sd), row
        assert sd / 2 < half < 2 * sd, row
    for row in clerks:
        name, cell, wanted = PART.match(found.frame["anomaly_why"][row].split("; ")[0]).groups()
        if name == "visits":
            middle, half = map(float, wanted.split("±"))
            assert (cell, middle) == ("15", pytest.approx(1, abs=1))
            assert half <= 2
        else:
            assert (name, cell) == ("job", "clerk")
            level, share = re.fullmatch(r"(\w+) \((\d+)%\)", wanted).groups()
            assert level == "nurse"
            assert int(share) > 80


def test_expectations_have_the_closed_forms_width_on_average(scorer):
    """Half the width of a 68 % interval is a Gaussian's standard deviation."""
    frame = survey(150, 12)
    x, mask, _, _ = encoding.encode(frame, scorer.columns)
    mean, draws = scorer.expected(x, mask, 0)
    assert draws.shape == (hidden_cells.N_DRAWS, 150)
    words = explanations.expectations(scorer.columns[0], mean, draws)
    middle, half = np.array([[float(v) for v in word.split("±")] for word in words]).T
    weights = np.linalg.solve(COVARIANCE[1:, 1:], COVARIANCE[1:, 0])
    sd = np.sqrt(COVARIANCE[0, 0] - COVARIANCE[0, 1:] @ weights)
    truth = frame[["b", "c"]].astype(float).to_numpy() @ weights
    assert np.sqrt(np.mean((middle - truth) ** 2)) < 0.5 * sd
    assert half.mean() == pytest.approx(sd, rel=0.45)


def test_expectations_of_numbers_with_any_number_of_digits_have_four():
    column = units.Column("x", scale=1.0, style={"decimals": None})
    draws = np.linspace(-0.9, 1.0, 1001)[:, None] + 0.0435575213
    (words,) = explanations.expectations(column, None, draws)
    assert words.startswith("0.09356±")


def test_expectations_in_the_columns_own_words():
    draws = norm.ppf(np.linspace(0.0005, 0.9995, 2001))[:, None]
    column = units.Column("a", shift=41.0, scale=12.0, style={"decimals": 0}, whole=True)
    assert explanations.expectations(column, None, draws) == ["41±12"]
    money = units.Column("m", 41.0, 12.0, style={"prefix": "$", "decimals": 1})
    assert explanations.expectations(money, None, draws) == ["$41.0±$11.9"]
    date = units.Column("d", shift=15.0, scale=3.0, style={"date": "%Y-%m-%d"})
    assert explanations.expectations(date, None, draws) == ["1970-01-16±3 days"]
    level = units.Column("s", kind="binary", levels=["F", "M"])
    assert explanations.expectations(level, np.zeros(1), (draws > 1.0) * 1.0) == ["F (84%)"]
    array = units.Column("x", 41.0, 12.0)
    assert explanations.expectations(array, None, draws) == ["41±11.9"]


def test_cells_of_float32_have_the_digits_of_float32():
    """Arrays are read as float64, where 0.1 of a float32 is 0.10000000149011612."""
    single = pd.Series(np.array([0.1, np.nan, 3.0, 1e10], np.float32).astype(np.float64))
    assert explanations.as_written(single).dropna().astype(str).tolist() == ["0.1", "3.0", "1e+10"]
    for double in ([0.1, 1e300], [2.0**30, 3.0], ["0.10000000149011612", ""]):
        cells = pd.Series(double)
        assert explanations.as_written(cells).astype(str).tolist() == cells.astype(str).tolist()


def test_an_odd_cell_of_a_float32_array_is_short(scorer):
    x = np.zeros((4, 3), np.float32)
    x[2, 0] = 9.1
    frame = pd.DataFrame(x.astype(np.float64), columns=["a", "b", "c"])
    encoded = Encoded(
        *encoding.encode(frame, scorer.columns)[:2],
        None,
        np.zeros((4, len(scorer.columns)), bool),
        [],
    )
    (why,) = explanations.explain(
        scorer, frame, encoded, np.array([2]), np.zeros(len(scorer.columns))
    )
    assert "a=9.1 expected" in why


def test_at_most_three_cells_and_none_where_nothing_is_odd(score):
    strange = {"id": "z", "a": "9", "b": "9", "c": "-9", "job": "clerk", "visits": "40"}
    usual = {"id": "y", "a": "0.1", "b": "0.0", "c": "0.05", "job": "clerk", "visits": "1"}
    found = score(pd.DataFrame([strange, usual, {**usual, "a": ""}], dtype="str"))
    assert found.frame["anomaly_why"][0].count(" expected ") == 3
    assert found.frame["anomaly_why"][1] == found.frame["anomaly_why"][2] == ""


def test_a_cell_is_named_by_how_far_it_is_beyond_what_is_usual(scorer):
    """A cell of a wide column is never certain; that alone does not make it odd."""
    frame, _, big, _ = planted()
    x, mask, _, _ = encoding.encode(frame, scorer.columns)
    surprise = scorer.surprise(x, mask)
    gone = mask.copy()
    gone[:, 0] = 0
    scores, others = (scorer.estimate(x, seen, scorer.few)[0] for seen in (mask, gone))
    np.testing.assert_allclose(surprise[:, 0], scores - others, atol=1e-4)
    assert (surprise[big].argmax(1) == 0).all()


def test_what_is_usual_is_that_of_a_sample_and_not_of_the_first_rows():
    """A run that held nothing out has its rows in the order of a file, which may be sorted."""
    model = linear()
    x = 2 * np.random.default_rng(3).normal(size=(1500, 4)).astype(np.float32)
    x, mask = x[np.abs(x).sum(1).argsort()], np.ones((1500, 4), bool)
    scorer = scorer_by(model, ROWS, MASK)
    every = np.median(scorer.surprise(x, mask.astype(np.float32)), 0)
    first = np.median(scorer.surprise(x[:300], mask[:300].astype(np.float32)), 0)
    typical = scorer.typical_surprise(Reference(x, mask))
    np.testing.assert_allclose(typical, every, rtol=0.25)
    assert (first < 0.6 * every).all()


@pytest.mark.parametrize(
    ("days", "said"),
    [
        (12.4, "12 days"),
        (1.5, "2 days"),
        (1.2, "28.8 hours"),
        (0.1, "2.4 hours"),
        (0.01, "14 minutes"),
    ],
)
def test_spans_of_time_are_said_in_their_size(days, said):
    assert explanations.span(days) == said


def test_a_far_cell_does_not_make_its_neighbours_odd(scorer):
    x, mask = scorer.rows.x[:30].copy(), scorer.rows.mask[:30].astype(np.float32)
    typical = np.zeros(x.shape[1])
    j = next(j for j, column in enumerate(scorer.columns) if not column.levels)
    x[:, j] = 500.0
    before = scorer.surprise(x, mask)
    seen, excess = explanations.without_far(scorer, x, mask, None, before - typical, typical)
    assert (seen[:, j] == 0).all()
    assert (excess[:, j] == before[:, j]).all()
    alone = mask.copy()
    alone[:, j] = 0
    others = np.delete(np.arange(x.shape[1]), j)
    expected = scorer.surprise(x, alone)[:, others] - explanations.BESIDE
    kept = seen[:, others] > 0
    np.testing.assert_allclose(excess[:, others][kept], expected[kept])
    assert kept.mean() > 0.9


def test_only_the_first_rows_and_flagged_ones_are_explained(score, monkeypatch):
    frame, *_ = planted()
    full = score(frame).frame
    monkeypatch.setattr(detect, "N_EXPLAINED", 3)
    found = score(frame)
    said = found.frame["anomaly_why"] != ""
    allowed = (numbers(found.frame["anomaly_rank"]) <= 3) | (found.frame["is_anomaly"] == "1")
    assert (said == (allowed & (full["anomaly_why"] != ""))).all()
    assert said.sum() < (full["anomaly_why"] != "").sum()


@torch.no_grad()
def test_quick_surprise_is_that_of_the_closed_form():
    """Of a cell given those of other folds, and with one fold given nothing."""
    torch.manual_seed(1)
    n_columns = 30
    model = VAE(Gaussian(n_columns, "fixed:0.5"), (), z_dim=2).eval()
    w = model.decoder[0].weight.normal_(0, 0.4)
    precision = torch.eye(2) + 2 * w.mT @ w
    to_mu = 2 * precision.inverse() @ w.mT
    model.encoder[0].weight.copy_(torch.cat([to_mu, torch.zeros_like(to_mu)]))
    model.encoder[0].bias[2:] = -0.3
    weight, bias = (p.double().numpy() for p in model.decoder[0].parameters())
    covariance = weight @ weight.T + 0.5 * np.eye(n_columns)
    x = np.random.default_rng(2).multivariate_normal(bias, covariance, 6).astype(np.float32)
    mask = np.float32(np.random.default_rng(3).random(x.shape) > 0.2)
    names = [f"c{j}" for j in range(n_columns)]
    codec = Codec("tables", [units.Column(name) for name in names], (n_columns,))
    rows = Reference(x, mask > 0)
    scorer = Scorer(Fitted(model, codec, None, rows, rows, len(x)))
    scorer.few = model.grid(4000)
    for n_folds in (1, scoring.N_FOLDS):
        found = scorer.quick_surprise(x, mask, n_folds=n_folds)
        assert (np.isnan(found) == (mask == 0)).all()
        expected = np.full(x.shape, np.nan)
        for i, j in np.argwhere(mask > 0):
            seen = (mask[i] > 0) & (np.arange(n_columns) % n_folds != j % n_folds)
            gain = np.linalg.solve(covariance[np.ix_(seen, seen)], covariance[seen, j])
            mean = bias[j] + gain @ (x[i] - bias)[seen]
            sd = np.sqrt(covariance[j, j] - gain @ covariance[seen, j])
            expected[i, j] = -norm(mean, sd).logpdf(x[i, j])
        np.testing.assert_allclose(found, expected, atol=0.1)
    surprise = scorer.surprise(x, mask, typical=np.zeros(n_columns))
    assert ((~np.isnan(surprise)).sum(1) == scoring.N_CANDIDATES).all()
    most = np.nanargmax(surprise, 1)
    for i, j in enumerate(most):
        seen = (mask[i] > 0) & (np.arange(n_columns) != j)
        both = seen | (np.arange(n_columns) == j)
        wanted = [
            multivariate_normal(bias[s], covariance[np.ix_(s, s)]).logpdf(x[i, s])
            for s in (seen, both)
        ]
        assert surprise[i, j] == pytest.approx(wanted[0] - wanted[1], abs=0.1)


@torch.no_grad()
def test_cells_that_are_odd_only_together_are_named_together():
    """Each of six cells is as the others say, and all are five deviations out."""
    torch.manual_seed(0)
    model = VAE(Gaussian(6, "fixed:0.3"), (), z_dim=1).eval()
    model.decoder[0].weight.fill_(1.0)
    model.decoder[0].bias.zero_()
    model.encoder[0].weight.copy_(torch.cat([torch.full((1, 6), 1 / 6.3), torch.zeros(1, 6)]))
    model.encoder[0].bias.copy_(torch.tensor([0.0, np.log(0.3 / 6.3)]))
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 1)) + np.sqrt(0.3) * rng.normal(size=(300, 6))
    x[0], x[1] = 5.0, [0.1, 0.2, 6.0, -0.1, 0.0, 0.1]
    x = x.astype(np.float32)
    columns = [units.Column(name) for name in "abcdef"]
    rows = Reference(x[2:], np.ones((298, 6), bool))
    fitted = Fitted(model, Codec("tables", columns, (6,)), None, rows, rows, 298)
    scorer = Scorer(fitted)
    encoded = Encoded(x, np.ones_like(x), None, [], [])
    typical = scorer.typical_surprise(rows)
    frame = pd.DataFrame(x.astype(np.float64), columns=list("abcdef"))
    together, single, usual = explanations.explain(
        scorer, frame, encoded, np.array([0, 1, 2]), typical + 1.0
    )
    assert re.fullmatch(r"an unusual combination of \w(, \w)* and \w", together)
    assert together.count(",") + 2 >= scoring.MOST_COMBINED
    assert single.startswith("c=6.0 expected ")
    assert "combination" not in usual


@pytest.mark.parametrize(
    ("n_beyond", "n", "share", "said"),
    [(2, 12, 0.01, False), (7, 12, 0.01, True), (15, 1000, 0.01, False), (30, 1000, 0.01, True)],
)
def test_a_share_far_from_what_was_asked_is_told_from_chance(n_beyond, n, share, said):
    assert detect.is_far_from(share, n_beyond, n) == said


def test_more_flagged_rows_than_were_asked_for_are_said(score):
    frame = survey(60, 3)
    assert "lie beyond the threshold, and" not in score(frame, "--contamination", 0.1).out
    found = score(frame.assign(a="2.5"), "--contamination", 0.1)
    assert "of 60 rows lie beyond the threshold, and 6 were to be expected" in found.out


def test_scores_on_few_effective_samples_are_said(score, monkeypatch):
    frame = survey(30, 3)
    assert "effective samples" not in score(frame).out
    monkeypatch.setattr(detect, "UNSURE_ESS", 1e9)
    assert "the scores of 30 of 30 rows rest on fewer than" in score(frame).out


# Labels


LABELS = {
    "fraud": (["ok", "fraud", "ok", "", "ok"], "label", [0, 1, 0, np.nan, 0]),
    "minus": (["-1", "1", "1", "1", "1"], "label", [1, 0, 0, 0, 0]),
    "named": (["a", "b", "c", "a", ""], "label=a", [1, 0, 0, 1, np.nan]),
    "number": (["1", "2", "2.0", "3", "1"], "label=2", [0, 1, 1, 0, 0]),
    "true": (["TRUE", "True", "false", "true", ""], "label", [1, 1, 0, 1, np.nan]),
    "zero": (["0", "1", "1", "1", "0"], "label", [0, 1, 1, 1, 0]),
    "zero odd": (["0", "1", "1", "1", "0"], "label=0", [1, 0, 0, 0, 1]),
}


@pytest.mark.parametrize("case", sorted(LABELS))
def test_labels_of_any_two_kinds_say_which_rows_are_odd(case):
    cells_, asked, odd = LABELS[case]
    frame = pd.DataFrame({"label": cells_, "x": range(5)}).astype("str")
    found = labels_of(frame, asked)
    np.testing.assert_array_equal(found.odd, odd)
    assert found.name == "label"
    assert (found.said == "") == (case == "zero")
    if case == "fraud":
        assert found.said.startswith("Labels: label=fraud, the rarer value, is odd: 1 of 4 rows")


def test_labels_of_a_file_with_types_and_of_odd_names():
    frame = pd.DataFrame({"a=b": [True, False, False], "y": [1.0, np.nan, -1.0]})
    assert labels_of(frame, "a=b").odd.tolist() == [1, 0, 0]
    assert labels_of(frame, "a=b=False").odd.tolist() == [0, 1, 1]
    np.testing.assert_array_equal(labels_of(frame, "y=-1").odd, [0, np.nan, 1])


def test_labels_are_never_shown_to_the_model(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "MIN_STEPS", 30)
    frame, odd, *_ = planted()
    found = []
    for i, labels in enumerate((odd, 1 - odd)):
        frame.assign(odd=labels).to_csv(f"{i}.csv", index=False)
        result = call("detect", f"{i}.csv", "--labels", "odd")
        assert (result.code, result.err) == (0, "")
        found.append(pd.read_csv(f"{i}.scored.csv", dtype=str))
        assert Path(f"{i}.scored.csv").is_file()
    pd.testing.assert_frame_equal(found[0].drop(columns="odd"), found[1].drop(columns="odd"))
    first, second = (json.loads(Path(f"runs/000{i}/detection.json").read_text()) for i in (1, 2))
    assert set(first) == set(second)
    for name in first:
        assert first[name]["auroc"][0] == pytest.approx(1 - second[name]["auroc"][0], abs=1e-9)


def test_the_comparison_is_by_the_rows_whose_label_is_known(score):
    frame, odd, *_ = planted()
    labels = odd.astype(str).astype(object)
    labels[100:] = ""
    found = score(frame.assign(odd=labels), "--labels", "odd")
    result = json.loads(Path("runs/r/detection.json").read_text())
    ours = result["VAE (this run)"]
    known = slice(100)
    scores = found.scores[known]
    assert ours["auroc"][0] == pytest.approx(roc_auc_score(odd[known], scores), abs=1e-9)
    assert ours["ap"][0] == pytest.approx(average_precision_score(odd[known], scores), abs=1e-9)
    assert set(result) - {"VAE (this run)"} == {
        "k-NN",
        "isolation forest",
        "PCA error",
        "distance to the mean",
    }
    assert f"Against the labels ({odd[known].sum()} anomalies" in found.out
    for name, entry in result.items():
        for value, low, high in entry.values():
            assert 0 <= low <= value <= high <= 1, name
        assert f"{100 * entry['ap'][0]:.1f} [" in next(
            line for line in found.out.splitlines() if line.startswith(f"  {name}")
        )


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["0"] * 30, "it holds 0, expected two values"),
        (["0", "1", "2"] * 10, "with --labels odd=0"),
        (["left", "right"] * 15, "equally frequent"),
        (["0", "1", "?x"] * 10, "it holds 0, 1, ?x, expected two values"),
    ],
)
def test_labels_that_are_none_are_refused_before_any_training(call, folder, labels, said):
    survey(30, 2).assign(odd=labels).to_csv("bad.csv", index=False)
    result = call("detect", "bad.csv", "--labels", "odd")
    assert result.code == 2
    assert said in result.err
    assert result.out == ""
    assert [p.name for p in Path("runs").iterdir()] == ["r"]


def test_labels_that_the_run_was_trained_on_are_refused(call, folder):
    survey(30, 2).assign(visits=["0", "1"] * 15).to_csv("new.csv", index=False)
    result = call("detect", "new.csv", "--run", "r", "--labels", "visits")
    assert result.code == 2
    assert "run r was trained on that column" in result.err
    assert "the columns are id, a, b" in call("detect", "new.csv", "--labels", "odd").err


# What is written


def test_the_cells_of_the_input_stay_the_text_they_were(call, folder):
    lines = [
        "id;a ;b;c;job;visits;note",
        'x1; 1.50;-0.5000;0,1;clerk;1;"a;b ""c"""',
        "x2;NA;;n/a;nurse;09;",
        "x3;1e0;.5;-;CLERK;9.0;ü",
    ]
    Path("odd.csv").write_text("\ufeff" + "\r\n".join(lines) + "\r\n", "utf-8", newline="")
    result = call("detect", "odd.csv", "--run", "r")
    assert (result.code, result.err) == (0, "")
    assert "'CLERK' in row 3, which is no level of the training rows" in result.out
    raw = Path("odd.scored.csv").read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert raw.count(b"\r\n") == raw.count(b"\n") == 4
    with Path("odd.scored.csv").open(encoding="utf-8-sig", newline="") as file:
        written = list(csv.reader(file, delimiter=";"))
    expected = list(csv.reader(lines, delimiter=";"))
    assert [row[:-5] for row in written] == expected
    assert tuple(written[0][-5:]) == detect.COLUMNS


def test_parquet_and_arrays_are_scored_like_text(call, score):
    frame = survey(40, 2)
    expected = score(frame).scores
    typed = frame.astype({"a": float, "b": float, "c": float, "visits": "int64"})
    typed.to_parquet("p.parquet", index=False)
    assert call("detect", "p.parquet", "--run", "r").code == 0
    scored = pd.read_parquet("p.scored.parquet")
    pd.testing.assert_frame_equal(scored[list(typed)], typed)
    np.testing.assert_allclose(scored["anomaly_score"], expected, atol=1.1e-4)
    assert scored["is_anomaly"].dtype == "int64"
    assert read("p.scored.parquet").frame["anomaly_rank"].min() == 1


def test_arrays_are_scored_into_text(call, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", survey(60, 0)[["a", "b", "c"]].astype(float).to_numpy())
    monkeypatch.setattr(presets, "MIN_STEPS", 20)
    result = call("detect", "x.npy")
    assert (result.code, result.err) == (0, "")
    found = pd.read_csv("x.scored.csv")
    assert list(found) == ["c0", "c1", "c2", *detect.COLUMNS]
    np.testing.assert_array_equal(found[["c0", "c1", "c2"]], np.load("x.npy"))


def test_an_existing_output_stops_it_before_any_training(call, folder):
    Path("t.scored.csv").write_text("mine")
    result = call("detect", "t.csv")
    assert result.code == 2
    assert "t.scored.csv exists; add --overwrite" in result.err
    assert Path("t.scored.csv").read_text() == "mine"
    assert [p.name for p in Path("runs").iterdir()] == ["r"]
    assert "is the file that is read" in call("detect", "t.csv", "--out", "t.csv").err
    survey(30, 2).assign(anomaly_score=1).to_csv("twice.csv", index=False)
    assert "has a column named 'anomaly_score' already" in call("detect", "twice.csv").err
    assert [p.name for p in Path("runs").iterdir()] == ["r"]


@pytest.mark.parametrize("script", ["detect", "impute"])
def test_text_does_not_go_into_an_array(call, folder, script):
    result = call(script, "t.csv", "--run", "r", "--out", "new.npy")
    assert result.code == 2
    assert result.out == ""
    assert result.err.count("\n") == 1


def test_the_run_of_another_table_is_refused(call, folder):
    Path("other.csv").write_text("p,q\n1,2\n3,4\n")
    result = call("detect", "other.csv", "--run", "r")
    assert result.code == 2
    assert "none of the columns that the run was trained on" in result.err
    result = call("detect", "t.csv", "--run", "r", "--kind", "a=real")
    assert result.code == 2
    assert "belong to training" in result.err


def test_a_threshold_of_training_rows_is_said_to_be_of_those(call, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    survey(150, 0).to_csv("t.csv", index=False)
    train("runs", "r", "--data", "t.csv", "--epochs", 2, "--val-fraction", 0)
    out = call("detect", "t.csv", "--run", "r").out
    assert "of 120 training rows" in out
    assert "held-out rows" not in out


def test_a_row_that_overflows_float32_has_a_finite_score_above_all_others():
    """A decoder whose variance falls far from 0 gives infinite log p and so NaN in float32."""
    torch.manual_seed(0)
    model = VAE(Gaussian(2, "decoder"), (8,), z_dim=1).eval()
    with torch.no_grad():
        model.decoder[-1].bias[2:] = -9.0  # small variances
    codec = Codec("tables", [units.Column("a"), units.Column("b")], (2,))
    x = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    rows = Reference(x, np.ones(x.shape, bool), None, None)
    scorer = Scorer(Fitted(model, codec, None, rows, rows, 50))
    far = np.vstack([x[:3], [[3e18, 1.0], [1e19, -1e19], [3e38, 0.0]]]).astype(np.float32)
    with np.errstate(over="ignore"):
        raw = model.importance(torch.from_numpy(far), n_samples=20).log_px
    assert not raw[3:].isfinite().all()
    scores = scorer(far, np.ones_like(far))
    assert np.isfinite(scores).all()
    assert (scores[3:] > scores[:3].max()).all()
    expected = scorer.in_float64(far[:3], np.ones_like(far[:3]), scorer.few)
    assert scorer.estimate(far[:3], np.ones_like(far[:3]), scorer.few)[0] == pytest.approx(
        expected, rel=1e-4
    )


@pytest.mark.parametrize(("n", "said"), [(20, 1), (60, 0)])
def test_too_few_rows_for_holes_are_said(call, tmp_path, monkeypatch, n, said):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(n, 30)).round(3)).add_prefix("c").astype(str)
    frame.loc[2:6, "c3"] = ""
    frame.to_csv("t.csv", index=False)
    train = ("--epochs", 1, "--threads", 1, "--run", "r", "--test-fraction", 0)
    assert call("train", "--data", "t.csv", *train).code == 0
    found = call("detect", "t.csv", "--run", "r", "--n-samples", 5, "--threads", 1)
    assert found.code == 0, found.err
    note = (
        "Note: 20 of the run's rows tell little of what is usual for rows with holes among 30 "
        "columns: the scores of 5 rows with holes are rough; compare them with each other"
    )
    assert found.out.count(note) == said
    assert found.out.count("tell little") == said
