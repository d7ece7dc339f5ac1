"""Measures and baselines of series: VUS-PR, windows, Gaussians of windows, fills, forecasts."""

import numpy as np
import pytest
import torch
from scipy import stats

from parts.measure import vus
from parts.measure.window_gaussian import WindowGaussian
from parts.measure.windows import Series, laid_back, starts_of, windows_at

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


# Windows


def test_windows_never_cross_segments_and_hold_holes():
    series = Series.of(np.arange(20.0).reshape(10, 2), bounds=[[0, 4], [5, 7], [7, 10]])
    assert starts_of(series.bounds, 3).tolist() == [0, 1, 7]
    assert starts_of(series.bounds, 3, stride=5).tolist() == [0, 1, 7]
    assert starts_of(series.bounds, 3, partial=True).tolist() == [0, 1, 5, 7]
    x, mask = windows_at(series, np.array([1, 5]), 3)
    assert x.tolist() == [[2, 3, 4, 5, 6, 7], [10, 11, 12, 13, 0, 0]]
    assert mask.sum(1).tolist() == [6, 4]
    x = np.where(np.arange(20).reshape(10, 2) == 3, np.nan, 1.0)
    assert windows_at(Series.of(x), np.array([0]), 2)[1].tolist() == [[True, True, True, False]]


def test_a_row_has_the_mean_score_of_the_windows_that_cover_it():
    rows = laid_back(np.array([1.0, 3.0, np.nan, 5.0]), np.array([0, 1, 2, 6]), 2, 8)
    np.testing.assert_allclose(rows, [1, 2, 3, np.nan, np.nan, np.nan, 5, 5])


# Gaussian of windows


def gaussian_windows(n=400, n_cells=6, hidden=0.3, seed=0):
    rng = np.random.default_rng(seed)
    root = np.tril(rng.normal(size=(n_cells, n_cells))) + 2 * np.eye(n_cells)
    mean = rng.normal(size=n_cells)
    x = mean + rng.normal(size=(n, n_cells)) @ root.T
    return x, rng.random(x.shape) > hidden, mean, root @ root.T


@pytest.mark.parametrize("nu", [None, 5])
def test_log_p_and_fills_of_windows_with_holes_are_those_of_the_observed_block(nu):
    x, mask, mean, covariance = gaussian_windows(40)
    model = WindowGaussian(torch.as_tensor(mean), torch.as_tensor(covariance), 3, nu)
    log_prob = model.log_prob(x, mask)
    filled, std = model.predict(x, mask)
    distances = model.distance(x, mask)
    for i, seen in enumerate(mask):
        block = covariance[np.ix_(seen, seen)]
        if seen.any():
            dist = (
                stats.multivariate_normal(mean[seen], block)
                if nu is None
                else stats.multivariate_t(mean[seen], block, df=nu)
            )
            assert log_prob[i] == pytest.approx(dist.logpdf(x[i, seen]))
        r = x[i, seen] - mean[seen]
        assert distances[i] == pytest.approx(r @ np.linalg.solve(block, r) / max(1, seen.sum()))
        across = covariance[np.ix_(~seen, seen)]
        expected = mean[~seen] + across @ np.linalg.solve(block, r)
        np.testing.assert_allclose(filled[i, ~seen], expected)
        np.testing.assert_array_equal(filled[i, seen], x[i, seen])
        left = covariance[np.ix_(~seen, ~seen)] - across @ np.linalg.solve(block, across.T)
        np.testing.assert_allclose(std[i, ~seen], np.sqrt(np.diag(left)))


def test_em_is_that_of_the_textbook_and_raises_the_likelihood():
    x, mask, _, _ = gaussian_windows()
    model = WindowGaussian(torch.zeros(6).double(), 5 * torch.eye(6).double(), 3)
    for _ in range(3):
        moments, mean = np.zeros((6, 6)), np.zeros(6)
        filled = model.predict(x, mask)[0]
        for seen in mask:
            c = model.covariance.numpy()
            across = c[np.ix_(~seen, seen)]
            left = c[np.ix_(~seen, ~seen)] - across @ np.linalg.solve(
                c[np.ix_(seen, seen)], across.T
            )
            moments[np.ix_(~seen, ~seen)] += left / len(x)
        mean = filled.mean(0)
        moments += (filled - mean).T @ (filled - mean) / len(x)
        better = model.improved(x, mask, ridge=0.0, max_rounds=1)
        np.testing.assert_allclose(better.mean, mean)
        np.testing.assert_allclose(better.covariance, moments)
        assert better.log_prob(x, mask).sum() > model.log_prob(x, mask).sum()
        model = better


def test_em_finds_the_covariance_from_windows_with_holes():
    x, mask, mean, covariance = gaussian_windows(3000)
    model = WindowGaussian(torch.zeros(6).double(), torch.eye(6).double(), 3)
    model = model.improved(x, mask, max_rounds=60)
    np.testing.assert_allclose(model.mean, mean, atol=0.2)
    np.testing.assert_allclose(model.covariance, covariance, atol=0.06 * np.abs(covariance).max())


def test_the_toeplitz_covariance_of_a_series_with_holes_is_that_of_its_process():
    """AR(1) with coefficient .8 beside itself three steps before: the covariance at lag k is .8 ** k."""
    rng = np.random.default_rng(0)
    x = np.zeros(40_001)
    for t in range(1, len(x)):
        x[t] = 0.8 * x[t - 1] + 0.6 * rng.normal()
    both = np.stack([x[3:], x[:-3]], 1)
    both[rng.random(both.shape) < 0.4] = np.nan
    model = WindowGaussian.toeplitz(Series.of(both), 3, ridge=0.0)
    step = np.array([0, -3, 1, -2, 2, -1])  # times of the cells of a window
    expected = 0.8 ** np.abs(step[:, None] - step)
    np.testing.assert_allclose(model.covariance, expected, atol=0.05)


def test_a_t_is_fitted_to_most_windows_in_spite_of_a_few():
    x, _, _, covariance = gaussian_windows(3000, hidden=0)
    loud = np.concatenate([x, 1000 * np.ones((30, 6))])
    model = WindowGaussian.fit_windows(loud, 3, nu=5)
    plain = WindowGaussian.fit_windows(loud, 3)
    scale = model.covariance.numpy() * 5 / 3  # the variance of a t; for a Gaussian between the two
    assert np.abs(scale - covariance).max() < np.abs(covariance).max()
    assert plain.covariance.min() > 5000
