"""Measures and baselines of series: VUS-PR, windows, Gaussians of windows, fills, forecasts."""

import numpy as np
import pytest

from parts.measure import vus

# VUS-PR


def slow_vus_pr(labels, scores, max_buffer):
    """The definition, threshold by threshold."""
    events = vus.events_of(labels)
    ranked = np.sort(scores)[::-1]
    areas = []
    for w in range(max_buffer + 1):
        weights = labels.astype(float)
        for first, last in events:
            for distance in range(1, w // 2 + 1):
                for row in (first - distance, last + distance):
                    if 0 <= row < len(labels):
                        weights[row] += np.sqrt(1 - distance / w)
        weights = np.minimum(weights, 1)
        joined = [[max(events[0][0] - w // 2, 0), events[0][1] + w // 2]]
        for first, last in events[1:]:
            if first - w // 2 > joined[-1][1]:
                joined.append([first - w // 2, last + w // 2])
            else:
                joined[-1][1] = last + w // 2
        area, before = 0, 0
        for rank in np.linspace(0, len(labels) - 1, 250).astype(int):
            flagged = scores >= ranked[rank]
            hits = (weights * flagged).sum()
            possible = (labels.sum() + np.where(labels, 1, weights * flagged).sum()) / 2
            found = sum(flagged[first : last + 1].any() for first, last in joined)
            recall = min(hits / possible, 1) * found / len(joined)
            area += (recall - before) * hits / flagged.sum()
            before = recall
        areas.append(area)
    return np.mean(areas)


@pytest.mark.parametrize("seed", range(6))
def test_vus_pr_is_its_definition(seed):
    rng = np.random.default_rng(seed)
    labels = np.zeros(400, int)
    for _ in range(1 + seed):
        at = rng.integers(0, 400)
        labels[at : at + rng.integers(1, 30)] = 1
    labels[: 3 * (seed % 2)] = 1  # an event at the very start
    scores = rng.normal(size=400) + 2 * np.convolve(labels, np.ones(9) / 9, "same")
    scores = np.round(scores, seed % 3)  # ties
    for max_buffer in (0, 1, 2, 25):
        expected = slow_vus_pr(labels, scores, max_buffer)
        assert vus.vus_pr(labels, scores, max_buffer) == pytest.approx(expected, abs=1e-13)


def test_without_a_buffer_and_with_few_rows_vus_pr_is_average_precision_times_existence():
    labels = np.r_[np.zeros(100), np.ones(10), np.zeros(100)]
    scores = np.random.default_rng(0).normal(size=210) + labels
    expected = vus.average_precision(labels, scores)
    assert vus.vus_pr(labels, scores, 0) == pytest.approx(expected)


def test_a_perfect_score_has_vus_pr_near_1_and_none_without_anomalies():
    labels = np.zeros(2000)
    labels[500:600] = 1
    assert vus.vus_pr(labels, labels + 0.0, 0) == 1
    assert np.isnan(vus.vus_pr(np.zeros(50), np.arange(50.0), 5))
    assert np.isnan(vus.average_precision(np.zeros(50), np.arange(50.0)))


def test_the_buffer_is_the_period():
    t = np.arange(3000)
    rng = np.random.default_rng(0)
    assert vus.buffer_of(np.sin(2 * np.pi * t / 48) + 0.1 * rng.normal(size=3000)) == 48
    assert vus.buffer_of(np.ones(3000)) == 125
    assert vus.buffer_of(t / 3000) == 125  # no local maximum
    x = rng.normal(size=50)
    direct = [(x[lag:] - x.mean()) @ (x[: 50 - lag] - x.mean()) for lag in range(50)]
    np.testing.assert_allclose(vus.autocorrelation(x), np.array(direct) / direct[0])


def test_events_are_runs_of_flags_and_near_ones_are_merged():
    flags = [1, 1, 0, 1, 0, 0, 0, 1]
    assert vus.events_of(flags).tolist() == [[0, 1], [3, 3], [7, 7]]
    assert vus.events_of(flags, merge=1).tolist() == [[0, 3], [7, 7]]
    assert vus.events_of(flags, merge=3).tolist() == [[0, 7]]
    assert vus.events_of(np.zeros(4)).shape == (0, 2)
