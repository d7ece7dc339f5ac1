"""parts/tasks/usual.py: scores of rows with holes against exact Gaussians."""

import numpy as np
import pytest
from scipy.stats import gamma, multivariate_normal

from parts.tasks.usual import N_REFERENCE, Usual, same_quantile

D = 8
MIXING = np.random.default_rng(0).normal(size=(2, D))
COVARIANCE = MIXING.T @ MIXING + 0.2 * np.eye(D)


def rows(n, seed):
    return np.random.default_rng(seed).multivariate_normal(np.zeros(D), COVARIANCE, n)


def nats(x, mask):
    """-log p of the observed cells of each row, by the marginals of the Gaussian."""
    found = np.zeros(len(x))
    for i, seen in enumerate(mask > 0):
        if seen.any():
            block = COVARIANCE[np.ix_(seen, seen)]
            found[i] = -multivariate_normal(np.zeros(seen.sum()), block).logpdf(x[i, seen])
    return found


def entropy(seen):
    """The expected -log p of these cells of a row, nats."""
    block = COVARIANCE[np.ix_(seen, seen)]
    return 0.5 * np.linalg.slogdet(2 * np.pi * np.e * block)[1]


def usual_of(x, mask=None):
    mask = np.ones(x.shape, bool) if mask is None else mask
    return Usual(x, mask, lambda keep: nats(x, mask * keep))


@pytest.fixture(scope="module")
def usual():
    return usual_of(rows(N_REFERENCE, 1))


def some_masks(n, seed):
    masks = np.random.default_rng(seed).random((n, D)) < 0.6
    return masks[masks.any(1)]


def test_what_is_usual_is_the_entropy_of_the_observed_cells_and_half_their_number(usual):
    masks = some_masks(60, 2)
    mean, variance = usual.expected(masks)
    errors = mean - [entropy(seen) for seen in masks]
    assert np.sqrt(np.square(errors).mean()) < 0.45
    assert np.abs(errors.mean()) < 0.2
    # -log p is half a chi square of as many degrees of freedom as cells.
    assert np.sqrt(variance / (masks.sum(1) / 2)).mean() == pytest.approx(1, abs=0.15)
    assert usual.mean == pytest.approx(entropy(np.ones(D, bool)), abs=0.25)
    assert usual.variance == pytest.approx(D / 2, rel=0.3)


def test_rows_without_holes_keep_their_scores_to_the_bit(usual):
    x, mask = rows(200, 3), np.ones((200, D))
    mask[::2] = some_masks(200, 4)[:100]
    found = nats(x, mask)
    placed = usual.place(found, mask)
    np.testing.assert_array_equal(placed[1::2], found[1::2])
    assert (placed[::2] != found[::2]).mean() > 0.9


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_rows_with_holes_are_as_often_among_the_oddest_as_others(usual, share):
    x, mask = rows(6000, 5), np.ones((6000, D))
    half = np.arange(6000) % 4 == 0
    mask[half] = np.random.default_rng(6).random((half.sum(), D)) < 0.5
    raw = nats(x, mask)
    placed = usual.place(raw, mask)
    shares = [half[s > np.quantile(s, 1 - share)].mean() for s in (raw, placed)]
    assert shares[0] < 0.1
    assert shares[1] == pytest.approx(0.25, abs=0.1)


def test_scores_do_not_depend_on_order_or_on_other_rows(usual):
    x, mask = rows(50, 7), some_masks(90, 8)[:50]
    found = usual.place(nats(x, mask), mask)
    order = np.random.default_rng(9).permutation(50)
    np.testing.assert_allclose(usual.place(nats(x, mask)[order], mask[order]), found[order])
    np.testing.assert_allclose(usual.place(nats(x, mask)[:3], mask[:3]), found[:3])
    again = usual_of(rows(N_REFERENCE, 1))
    np.testing.assert_array_equal(again.place(nats(x, mask), mask), found)


def test_a_row_without_a_cell_is_as_usual_as_can_be(usual):
    assert usual.place(np.array([0.03]), np.zeros((1, D))) == [usual.mean]


def test_far_out_nats_stay_nats(usual):
    mask = np.repeat(some_masks(5, 10)[:1], 3, 0)
    placed = usual.place(np.array([1e3, 2e3, 1e300]), mask)
    assert placed[1] - placed[0] == pytest.approx(1e3, rel=0.01)
    assert placed[2] == pytest.approx(1e300)


def test_reference_rows_may_have_holes_and_odd_rows_among_them():
    x, rng = rows(N_REFERENCE, 11), np.random.default_rng(12)
    mask = rng.random(x.shape) < 0.85
    x[:25] = 8 * rng.normal(size=(25, D))
    masks = some_masks(60, 13)
    mean, _ = usual_of(x, mask).expected(masks)
    errors = mean - [entropy(seen) for seen in masks]
    assert np.sqrt(np.square(errors).mean()) < 0.8


def test_few_rows_are_enough_for_finite_scores():
    x = rows(2, 14)
    mask = some_masks(9, 15)
    assert np.isfinite(usual_of(x).place(nats(rows(len(mask), 16), mask), mask)).all()


@pytest.mark.parametrize(("own", "to"), [(0.5, 10.0), (3.0, 3.0), (10.0, 200.0), (40.0, 2.0)])
def test_quantiles_are_those_of_gamma_variables(own, to):
    share = np.array([1e-6, 0.01, 0.3, 0.5, 0.9, 1 - 1e-9])
    excess = gamma.ppf(share, own) - own
    wanted = gamma.ppf(share, to) - to
    found = same_quantile(excess, np.full(len(share), own), to)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
    far = same_quantile(np.linspace(-own - 5, 1e4, 3000), np.full(3000, own), to)
    assert (np.diff(far) > 0).all()
