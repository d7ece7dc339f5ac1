"""parts/measure/fidelity.py on hand-made sets, and benchmarks/samples.py at a tiny scale."""

import json
import math

import numpy as np
import pytest

from benchmarks import samples
from parts.measure import fidelity


def gaussian(n, seed=0, at=0.0):
    return np.random.default_rng(seed).normal(size=(n, 2)) + at


# Precision and recall


def test_equal_and_disjoint_sets():
    assert fidelity.precision_recall(gaussian(50), gaussian(50)) == (1, 1)
    assert fidelity.precision_recall(gaussian(50), gaussian(50, 1, at=100)) == (0, 0)
    precision, recall = fidelity.precision_recall(gaussian(500), gaussian(500, 1))
    assert 0.9 < precision <= 1
    assert 0.9 < recall <= 1


def test_a_part_is_precise_and_lacks_recall():
    """The real rows form two clusters, of which one is generated."""
    real = np.concatenate([gaussian(60), gaussian(40, at=100)])
    assert fidelity.precision_recall(real, real[:60]) == (1, 0.6)
    assert fidelity.precision_recall(real[:60], real) == (0.6, 1)


def test_a_manifold_by_hand():
    """On a line with k = 2, the second nearest neighbours of 0, 1, 3, 7 lie 3, 2, 3, 6 off."""
    by = np.array([[0.0], [1.0], [3.0], [7.0]])
    rows = np.array([[-3.5], [-2.9], [6.5], [13.0], [13.1]])
    for row, inside in zip(rows, (0, 1, 1, 1, 0), strict=True):
        assert fidelity.covered(row[None], by, k=2) == inside
    assert fidelity.covered(rows, by, k=2) == 0.6


# Scores of a classifier


def test_scores_of_known_probabilities():
    sure = fidelity.class_scores(np.eye(10))
    assert sure["inception_score"] == pytest.approx(10)
    assert sure["class_entropy"] == pytest.approx(math.log(10))
    assert sure["confidence"] == 1
    one = fidelity.class_scores(np.eye(10)[[3] * 5])  # all of one class
    assert (one["inception_score"], one["class_entropy"]) == (pytest.approx(1), pytest.approx(0))
    p = np.array([[0.75, 0.25], [0.25, 0.75]])
    kl = 0.75 * math.log(1.5) + 0.25 * math.log(0.5)
    assert fidelity.class_scores(p)["inception_score"] == pytest.approx(math.exp(kl))


def test_told_apart():
    assert 0.4 < fidelity.classifier_two_sample_accuracy(gaussian(400), gaussian(400, 1)) < 0.6
    assert fidelity.classifier_two_sample_accuracy(gaussian(100), gaussian(100, 1, at=9)) == 1
    # The Bayes rule of two Gaussians 2 apart along each of two axes errs with P(N > sqrt 2).
    best = 0.5 * (1 + math.erf(1.0))
    assert fidelity.classifier_two_sample_accuracy(
        gaussian(2000), gaussian(2000, 1, at=2)
    ) == pytest.approx(best, abs=0.02)


def test_a_judge_of_two_classes():
    x, labels = np.concatenate([gaussian(100), gaussian(100, at=6)]), np.repeat([0, 1], 100)
    judge = fidelity.Judge(x, labels)
    assert judge.accuracy(x, labels) == 1
    hidden = judge.features(x)
    logit = hidden @ judge.model.coefs_[1][:, 0] + judge.model.intercepts_[1]
    np.testing.assert_allclose(1 / (1 + np.exp(-logit)), judge.model.predict_proba(x)[:, 1])
    scores = judge.scores(x[:100], x[100:])
    assert (scores["precision"], scores["recall"], scores["told_apart"]) == (0, 0, 1)


# The benchmark


def test_the_benchmark_at_a_tiny_scale(tmp_path, monkeypatch):
    monkeypatch.setattr(samples, "MAX_PICTURES", 100)
    out = tmp_path / "out.json"
    argv = ["--epochs", "1", "--seeds", "1", "--out", str(out)]
    assert samples.main(argv) == 0
    result = json.loads(out.read_text())
    models = result["models"]
    assert list(models) == ["real", *samples.COMPARED]
    assert models["real"]["told_apart"][0] < 0.65 < 0.8 < models["vae"]["told_apart"][0]
    assert models["real"]["confidence"][0] > 0.9 > models["vaegan"]["confidence"][0]
    assert models["vaegan"]["skipped"] == [0, 0]
