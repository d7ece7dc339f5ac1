"""Baselines of scikit-learn for detection and imputation, with bootstrap intervals."""

import warnings

import numpy as np

from parts.words import counted

N_ROW_RESAMPLES = 500  # bootstrap resamples of rows
FEWEST_BLOCKS = 5  # with anomalies; a bootstrap of fewer tells less than it seems
N_NEIGHBOURS = 5  # k of k-NN
PCA_SHARE = 0.9  # share of variance in the components of the PCA detector


def detectors(train, test, seed=0):
    """Map names of detectors to outlier scores of the test rows; rows [n, D] have no holes."""
    from sklearn.decomposition import PCA
    from sklearn.ensemble import IsolationForest
    from sklearn.neighbors import NearestNeighbors

    with np.errstate(invalid="ignore"):  # shares of a variance of 0 are not used
        pca = PCA(PCA_SHARE, svd_solver="full").fit(train)
        error = np.square(test - pca.inverse_transform(pca.transform(test))).sum(1)
    k = min(N_NEIGHBOURS + 1, len(train))
    distances = NearestNeighbors(n_neighbors=k).fit(train).kneighbors(test)[0]
    # A training row is its own nearest neighbour, which does not count.
    own = distances[:, 0] == 0
    knn = np.where(own, distances[:, -1], distances[:, max(0, k - 2)])
    forest = IsolationForest(random_state=seed).fit(train)
    return {
        "k-NN": knn,
        "isolation forest": -forest.score_samples(test),
        "PCA error": error,
        "distance to the mean": np.linalg.norm(test - train.mean(0), axis=1),
    }


def ranking(labels, scores, seed=0, block=1):
    """AUROC and average precision of scores for 0/1 labels, each (value, low, high).

    The bounds contain 95 % of the values of N_ROW_RESAMPLES bootstrap resamples of rows; of rows
    that depend on their neighbours, of blocks of so many. They are None where fewer than
    FEWEST_BLOCKS blocks hold an anomaly.
    """
    order = np.argsort(-scores, kind="stable")
    block_of = order // block
    n_blocks = int(np.ceil(len(labels) / block))
    labels, scores = labels[order].astype(np.float64), scores[order]
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))  # row of each tie
    rng = np.random.default_rng(seed)
    found = [_auroc_ap(labels, last, np.ones(len(labels)))]
    if block > 1 and len(np.unique(block_of[labels > 0])) < FEWEST_BLOCKS:
        return {k: (float(v), None, None) for k, v in zip(("auroc", "ap"), found[0], strict=True)}
    for _ in range(N_ROW_RESAMPLES):
        weights = rng.multinomial(n_blocks, np.full(n_blocks, 1 / n_blocks))
        found.append(_auroc_ap(labels, last, weights[block_of]))
    value, low, high = found[0], *np.nanquantile(np.array(found[1:]), (0.025, 0.975), axis=0)
    return {
        name: tuple(float(v[i]) for v in (value, low, high))
        for i, name in enumerate(("auroc", "ap"))
    }


def _auroc_ap(labels, last, weights):
    """AUROC and average precision of rows in falling order of score, with `weights` [n].

    `last` holds the last row of each group of ties.
    """
    hits = np.cumsum(weights * labels)[last]
    misses = np.cumsum(weights * (1 - labels))[last]
    if not hits[-1] or not misses[-1]:
        return np.nan, np.nan
    new_hits, new_misses = np.diff(hits, prepend=0), np.diff(misses, prepend=0)
    below = (hits - new_hits / 2) * new_misses  # anomalies above each normal row, ties by half
    precision = hits / np.maximum(hits + misses, 1e-12)
    return below.sum() / (hits[-1] * misses[-1]), (precision * new_hits).sum() / hits[-1]


def imputers(train, test, one_hot=(), seed=0):
    """Map names of imputers to `test` [n, D] with its NaN filled; `train` may hold NaN too.

    `one_hot` are the slices of columns that code one category. Chained regressions would predict
    each of these columns from the others; a logistic regression on all other columns fills them.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer, KNNImputer
    from sklearn.linear_model import LogisticRegression

    knn = KNNImputer(n_neighbors=N_NEIGHBOURS, keep_empty_features=True).fit(train)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        chained = IterativeImputer(random_state=seed, keep_empty_features=True).fit(train)
        known, filled = chained.transform(train), chained.transform(test)
        for block in one_hot:
            seen = ~np.isnan(train[:, block]).any(1)
            labels = train[seen, block].argmax(1)
            holes = np.isnan(test[:, block]).any(1)
            if len(np.unique(labels)) < 2 or not holes.any():
                continue
            others = np.delete(np.arange(train.shape[1]), np.r_[block])
            model = LogisticRegression(max_iter=300).fit(known[np.ix_(seen, others)], labels)
            probs = np.zeros((holes.sum(), block.stop - block.start))
            probs[:, model.classes_] = model.predict_proba(filled[np.ix_(holes, others)])
            low, high = np.nanmin(train[:, block], 0), np.nanmax(train[:, block], 0)
            filled[holes, block] = low + probs * (high - low)
    return {"k-NN": knn.transform(test), "iterative regression": filled}


def comparison_table(results, n_anomalies, others):
    """Lines on how well each method ranks; `others` says what the other methods are."""
    ours, *_ = results.values()
    width = max(22, *(len(name) + 1 for name in results))
    with_vus = "vus_pr" in ours
    n = counted(n_anomalies, "anomaly", "anomalies")
    intervals = "95 % bootstrap intervals"
    if ours["auroc"][1] is None:
        intervals = "too few events for intervals"
    lines = [
        f"Against the labels ({n}; {others}; {intervals}):",
        f"  {'':<{width}}{'AUROC':>22}{'average precision':>24}" + f"{'VUS-PR':>9}" * with_vus,
    ]
    for name, found in results.items():
        cells_ = [
            f"{100 * v:.1f}" + (f" [{100 * low:.1f}, {100 * high:.1f}]" if low is not None else "")
            for v, low, high in (found["auroc"], found["ap"])
        ]
        vus = f"{100 * found['vus_pr']:>9.1f}" if with_vus else ""
        lines.append(f"  {name:<{width}}{cells_[0]:>22}{cells_[1]:>24}{vus}")
    return "\n".join(lines + better_than_ours(results))


def better_than_ours(results):
    """A note for each measure by which the best other detector lies above our interval."""
    ours, *others = results
    notes = []
    for key, measure in (("auroc", "AUROC"), ("ap", "average precision")):
        value, _, high = results[ours][key]
        name = max(others, key=lambda other: results[other][key][0])
        best = results[name][key][0]
        if high is not None and best > high:
            figures = measure, 100 * best, 100 * value, ".1f"
            notes.append(note_on_better(name, "ranks these rows", ours, *figures))
    return notes


def note_on_better(name, does, ours, measure, theirs, own, form):
    """A note that the method `name` does better than `ours`, with what was measured of both."""
    return f"Note: {name} {does} better than {ours}: {measure} {theirs:{form}} against {own:{form}}"
