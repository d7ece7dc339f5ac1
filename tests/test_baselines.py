"""parts/measure/baselines.py: the yardsticks of detect.py and impute.py, against scikit-learn."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.impute import KNNImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score

from parts.measure import baselines

# Rankings


def tied_scores(n=200, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.2).astype(float)
    return labels, np.round(labels + rng.normal(size=n), 0 if seed % 2 else 1)


def in_falling_order(labels, scores, weights):
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    return baselines._auroc_ap(labels[order], last, weights[order])


@pytest.mark.parametrize("seed", range(4))
def test_rankings_are_those_of_scikit_learn(seed):
    labels, scores = tied_scores(seed=seed)
    found = baselines.ranking(labels, scores)
    assert found["auroc"][0] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert found["ap"][0] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_rankings_with_weights_are_those_of_scikit_learn(seed):
    labels, scores = tied_scores(seed=seed)
    weights = np.random.default_rng(9).integers(0, 4, len(labels)).astype(float)
    auroc, ap = in_falling_order(labels, scores, weights)
    kept = weights > 0  # scikit-learn counts thresholds where nothing weighs anything
    expected = roc_auc_score(labels[kept], scores[kept], sample_weight=weights[kept])
    assert auroc == pytest.approx(expected, abs=1e-12)
    expected = average_precision_score(labels[kept], scores[kept], sample_weight=weights[kept])
    assert ap == pytest.approx(expected, abs=1e-12)


def test_rankings_by_hand():
    labels = np.array([0.0, 1.0, 1.0, 0.0])
    perfect = baselines.ranking(labels, np.array([1.0, 5.0, 4.0, 2.0]))
    assert perfect["auroc"][0] == perfect["ap"][0] == 1.0
    inverted = baselines.ranking(labels, np.array([5.0, 1.0, 2.0, 4.0]))
    assert inverted["auroc"][0] == 0.0
    assert inverted["ap"][0] == pytest.approx((1 / 3 + 2 / 4) / 2)
    same = baselines.ranking(labels, np.zeros(4))
    assert same["auroc"][0] == 0.5
    assert same["ap"][0] == 0.5


def test_bootstrap_intervals_hold_the_value_and_narrow_with_more_rows():
    widths = []
    for n in (100, 1600):
        for name, (value, low, high) in baselines.ranking(*tied_scores(n)).items():
            assert low < value < high, name
            assert 0 <= low < high <= 1
            widths.append(high - low)
    assert widths[2] < widths[0] / 2  # a quarter, but for chance
    assert widths[3] < widths[1] / 2


def test_a_bootstrap_interval_is_as_wide_as_the_estimates_scatter():
    scatter = [baselines.ranking(*tied_scores(400, 2 * s))["auroc"] for s in range(40)]
    values, low, high = np.array(scatter).T
    assert np.mean(high - low) == pytest.approx(2 * 1.96 * values.std(), rel=0.3)
    inside = (low < np.mean(values)) & (np.mean(values) < high)
    assert 0.85 <= inside.mean() <= 1


# Detectors


@pytest.fixture(scope="module")
def cloud():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(120, 2)) @ rng.normal(size=(2, 4)) + 0.1 * rng.normal(size=(120, 4)) + 3
    return x[:100], np.vstack([x[100:], x[:3], np.full((1, 4), 30.0)])


def test_nearest_neighbours_are_counted_by_hand(cloud):
    train, test = cloud
    found = baselines.detectors(train, test)["k-NN"]
    distances = np.sort(np.linalg.norm(test[:, None] - train[None], axis=-1), 1)
    fresh = distances[:, 0] > 0
    assert fresh.sum() == 21
    np.testing.assert_allclose(found[fresh], distances[fresh, 4], rtol=1e-9)
    # A row that was trained on does not count itself among its five.
    np.testing.assert_allclose(found[~fresh], distances[~fresh, 5], rtol=1e-9)


def test_few_training_rows_have_few_neighbours():
    train = np.array([[0.0], [1.0], [3.0]])
    found = baselines.detectors(train, np.array([[10.0], [0.0]]))["k-NN"]
    assert found[1] == 3.0
    assert found[0] in (9.0, 10.0)


def test_pca_error_is_what_nine_tenths_of_the_variance_leave(cloud):
    train, test = cloud
    found = baselines.detectors(train, test)["PCA error"]
    centred = train - train.mean(0)
    variance, vectors = np.linalg.eigh(centred.T @ centred)
    share = np.cumsum(variance[::-1]) / variance.sum()
    kept = vectors[:, ::-1][:, : int((share < 0.9).sum()) + 1]
    away = test - train.mean(0)
    np.testing.assert_allclose(found, np.square(away - away @ kept @ kept.T).sum(1), atol=1e-9)


def test_every_detector_puts_an_outlier_first(cloud):
    train, test = cloud
    found = baselines.detectors(train, test)
    assert set(found) == {"k-NN", "isolation forest", "PCA error", "distance to the mean"}
    for name in ("k-NN", "isolation forest", "distance to the mean"):
        assert found[name].argmax() == len(test) - 1, name
    expected = np.linalg.norm(test - train.mean(0), axis=1)
    np.testing.assert_allclose(found["distance to the mean"], expected)


def test_detectors_are_deterministic_and_seeded(cloud):
    first, again, other = (baselines.detectors(*cloud, seed=s) for s in (0, 0, 1))
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["isolation forest"], other["isolation forest"])


# Imputers


def test_chained_regression_finds_a_linear_relation():
    rng = np.random.default_rng(2)
    train = rng.normal(size=(200, 1)) @ np.array([[1.0, -2.0, 0.5]])
    train += 0.01 * rng.normal(size=train.shape)
    test = train[:5].copy()
    test[:, 1] = np.nan
    filled = baselines.imputers(train, test)
    np.testing.assert_allclose(filled["iterative regression"][:, 1], train[:5, 1], atol=0.1)
    np.testing.assert_array_equal(filled["iterative regression"][:, [0, 2]], test[:, [0, 2]])


def test_nearest_neighbours_fill_like_scikit_learn():
    rng = np.random.default_rng(3)
    train, test = rng.normal(size=(60, 4)), rng.normal(size=(20, 4))
    train[rng.random(train.shape) < 0.1] = np.nan
    test[rng.random(test.shape) < 0.3] = np.nan
    expected = KNNImputer(n_neighbors=5).fit(train).transform(test)
    np.testing.assert_allclose(baselines.imputers(train, test)["k-NN"], expected)


def test_a_category_is_filled_by_a_logistic_regression_on_the_other_columns():
    rng = np.random.default_rng(4)
    code = rng.integers(0, 3, 300)
    number = code * 2.0 + 0.3 * rng.normal(size=300)
    train = np.column_stack([number, np.eye(3)[code]])
    train[:10, 1:] = np.nan
    train[10:20, 0] = np.nan
    test = np.array([[0.0, *[np.nan] * 3], [2.0, *[np.nan] * 3], [4.1, *[np.nan] * 3]])
    filled = baselines.imputers(train, test, [slice(1, 4)])["iterative regression"]
    assert filled[:, 1:].argmax(1).tolist() == [0, 1, 2]
    np.testing.assert_allclose(filled[:, 1:].sum(1), 1)
    # By what stands beside it in the rows whose category is known.
    seen = ~np.isnan(train).any(1)
    model = LogisticRegression(max_iter=300).fit(train[seen, :1], code[seen])
    np.testing.assert_allclose(filled[:, 1:], model.predict_proba(test[:, :1]), atol=0.02)


def test_categories_are_filled_in_their_own_scale_and_absent_levels_are_left_out():
    """One-hot columns are standardised like others; a level may be absent from training."""
    rng = np.random.default_rng(4)
    code = rng.integers(1, 3, 200)
    train = np.column_stack([code + 0.5 * rng.normal(size=200), np.eye(3)[code] * 5 - 2])
    test = np.column_stack([np.linspace(0.5, 2.5, 5), np.full((5, 3), np.nan)])
    filled = baselines.imputers(train, test, [slice(1, 4)])["iterative regression"]
    model = LogisticRegression(max_iter=300).fit(train[:, :1], code)
    expected = np.column_stack([np.zeros(5), model.predict_proba(test[:, :1])]) * 5 - 2
    np.testing.assert_allclose(filled[:, 1:], expected, atol=0.01)


def test_empty_columns_and_single_classes_do_not_stop_the_imputers():
    train = np.column_stack([np.arange(20.0), np.full(20, np.nan), np.ones(20), np.zeros(20)])
    test = np.array([[np.nan, np.nan, np.nan, np.nan], [3.0, np.nan, 1.0, 0.0]])
    for name, filled in baselines.imputers(train, test, [slice(2, 4)]).items():
        assert np.isfinite(filled).all(), name
        assert filled[0, 0] == pytest.approx(9.5, abs=1), name


def test_pca_keeps_the_share_of_variance_it_names():
    x = np.random.default_rng(5).normal(size=(300, 3)) * [3.0, 1.0, 0.1]
    assert PCA(baselines.PCA_SHARE, svd_solver="full").fit(x).n_components_ == 2
    found = baselines.detectors(x, x)["PCA error"]
    assert found.mean() == pytest.approx(x[:, 2].var(), rel=0.2)


def test_a_detector_that_ranks_better_beyond_the_interval_is_named():
    def found(value, low, high):
        return {"auroc": (value, low, high), "ap": (value, low, high)}

    ours = {"VAE (this run)": found(0.8, 0.75, 0.85)}
    first, second = baselines.better_than_ours(ours | {"k-NN": found(0.9, 0.8, 1.0)})
    said = "k-NN ranks these rows better than VAE (this run):"
    assert first.endswith(f"{said} AUROC 90.0 against 80.0")
    assert second.endswith(f"{said} average precision 90.0 against 80.0")
    assert baselines.better_than_ours(ours | {"k-NN": found(0.84, 0.8, 0.9)}) == []


def test_a_bootstrap_of_blocks_is_wider_where_neighbours_are_alike():
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.random(60) < 0.3, 20).astype(float)
    scores = np.repeat(rng.normal(size=60), 20) + labels + 0.1 * rng.normal(size=1200)
    rows, blocks = (baselines.ranking(labels, scores, block=n) for n in (1, 20))
    one_event = (np.arange(1200) // 20 == 7).astype(float)
    found = baselines.ranking(one_event, scores, block=20)
    assert found["auroc"] == (baselines.ranking(one_event, scores)["auroc"][0], None, None)
    shown = baselines.comparison_table({"VAE": found, "k-NN": rows}, 20, "others")
    assert "too few events for intervals" in shown
    assert "Note" not in shown
    for key in ("auroc", "ap"):
        assert rows[key][0] == blocks[key][0]
        width, wider = (found[key][2] - found[key][1] for found in (rows, blocks))
        assert 3 < wider / width < 6  # the root of 20 is 4.5
