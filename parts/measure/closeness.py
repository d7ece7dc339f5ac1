"""Compare generated rows with real ones: by column, by pair of columns, and by row."""

import numpy as np

from parts.forms.units import as_numbers, to_user

N_COMPARED_ROWS = 2000  # most generated rows that are compared with their neighbours
N_SPLITS = 10  # random splits of real rows into halves, over which distances are averaged
FAR_NEARER = 0.2  # share of rows nearer to training rows, beyond that of held-out ones, to note
N_PAIR_SPLITS = 3
N_PAIR_BINS, MOST_PAIRED = 6, 60  # quantiles of a number in a pair, and most columns in pairs
N_JUDGED, FEWEST_JUDGED, N_FOLDS = 5000, 100, 3  # rows of each kind for the classifier


def column_distances(columns, a, b):
    """Map columns to a distance: Kolmogorov-Smirnov for numbers, total variation for categories.

    a and b are (x, mask) [n, D]; a column without observed cells in either has None.
    """
    found = {}
    for j, column in enumerate(columns):
        values = [x[mask[:, j] > 0, j] for x, mask in (a, b)]
        if not all(map(len, values)):
            found[column.name] = None
        elif column.levels:
            counts = [np.bincount(v.astype(int), minlength=len(column.levels)) for v in values]
            shares = [c / c.sum() for c in counts]
            found[column.name] = float(np.abs(shares[0] - shares[1]).sum() / 2)
        else:
            found[column.name] = kolmogorov_smirnov(*values)
    return found


def kolmogorov_smirnov(a, b):
    """The largest difference between the distribution functions of two samples."""
    a, b = np.sort(a), np.sort(b)
    at = np.concatenate([a, b])
    below = (np.searchsorted(v, at, side="right") / len(v) for v in (a, b))
    return float(np.abs(next(below) - next(below)).max())


def correlations(columns, x, mask):
    """Rank correlations of all columns, categories one-hot, over rows that have both cells."""
    import pandas as pd

    return pd.DataFrame(as_numbers(columns, x, mask)).rank().corr(min_periods=10).to_numpy()


def in_user_units(columns, x, mask):
    """Rows in the user's units with the column's decimals, codes for categories, NaN for holes."""
    values = np.where(mask > 0, to_user(x, columns), np.nan)
    for j, column in enumerate(columns):
        decimals = 0 if column.whole else column.style.get("decimals")
        if decimals is not None:
            values[:, j] = np.round(values[:, j], decimals)
    return values


def correlation_error(columns, a, b):
    """Mean absolute difference of off-diagonal correlations; None if none is defined."""
    first, second = correlations(columns, *a), correlations(columns, *b)
    apart = np.abs(first - second)[~np.eye(len(first), dtype=bool)]
    return float(np.nanmean(apart)) if np.isfinite(apart).any() else None


def pair_distances(columns, a, b):
    """Total variation of every pair of the first MOST_PAIRED columns, as a dict of (name, name).

    Numbers count by the N_PAIR_BINS quantiles of b, levels beyond the most frequent ones together.
    """
    columns = columns[:MOST_PAIRED]
    codes = [pair_codes(column, j, a, b) for j, column in enumerate(columns)]
    found = {}
    for j, first in enumerate(columns):
        for k in range(j):
            shares = []
            for (one, n_one), (other, n_other) in zip(codes[k], codes[j], strict=True):
                both = (one >= 0) & (other >= 0)
                counts = np.bincount(one[both] * n_other + other[both], minlength=n_one * n_other)
                shares.append(counts / max(1, counts.sum()))
            distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
            found[columns[k].name, first.name] = distance if shares[0].any() else None
    return found


def pair_codes(column, j, a, b):
    """Codes of a column's cells in the rows a and in b, -1 for holes, each with their number."""
    real = b[0][b[1][:, j] > 0, j]
    if not len(real):
        return [(np.full(len(x), -1), 1) for x, _ in (a, b)]
    if column.levels:
        frequent = np.argsort(-np.bincount(real.astype(int), minlength=len(column.levels)))
        place = np.full(len(column.levels), N_PAIR_BINS)
        place[frequent[:N_PAIR_BINS]] = np.arange(len(frequent[:N_PAIR_BINS]))
        codes = [place[np.where(m[:, j] > 0, x[:, j], 0).astype(int)] for x, m in (a, b)]
    else:
        edges = np.unique(
            np.quantile(real, np.arange(1, N_PAIR_BINS) / N_PAIR_BINS, method="lower")
        )
        codes = [np.searchsorted(edges, x[:, j], side="left") for x, _ in (a, b)]
    masks = (a[1][:, j], b[1][:, j])
    return [(np.where(m > 0, c, -1), N_PAIR_BINS + 1) for m, c in zip(masks, codes, strict=True)]


def classifier_two_sample_auroc(generated, real, seed=0, most=N_JUDGED):
    """AUROC of gradient boosting that tells generated from real rows [n, F], and its standard error
    where it cannot, 0.5; None for too few rows. NaN is a missing cell.

    As many rows of each, by cross-validation of N_FOLDS folds.
    """
    n = min(len(generated), len(real), most)
    if n < FEWEST_JUDGED:
        return None
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rng = np.random.default_rng(seed)
    cells = [rows[rng.permutation(len(rows))[:n]] for rows in (generated, real)]
    is_real = np.repeat([0, 1], n)
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    leaf = min(20, n // 20)  # the default of 20 rows sees nothing in 100
    judge = HistGradientBoostingClassifier(min_samples_leaf=leaf, random_state=seed)
    probs = cross_val_predict(judge, np.vstack(cells), is_real, cv=folds, method="predict_proba")
    error = ((2 * n + 1) / (12 * n**2)) ** 0.5  # of the Mann-Whitney statistic
    return {"auroc": float(roc_auc_score(is_real, probs[:, 1])), "error": error, "n": n}


def nearer_than_neighbours(train, rows):
    """Share of rows that are nearer to a training row than that row is to any other.

    Both arguments are standardised features [n, F]. A share far above that of fresh real rows means
    that rows are copies.
    """
    from sklearn.neighbors import NearestNeighbors

    neighbours = NearestNeighbors(n_neighbors=2).fit(train)
    distance, nearest = neighbours.kneighbors(rows[:N_COMPARED_ROWS], n_neighbors=1)
    own = neighbours.kneighbors(train)[0][:, 1]
    return float((distance[:, 0] < own[nearest[:, 0]]).mean())


def copies(generated, train, held=None):
    """Compute `nearer_than_neighbours` for generated and for held-out rows, features [n, F]."""
    rows = {"nearer": generated, "nearer_real": held}
    return {k: None if x is None else nearer_than_neighbours(train, x) for k, x in rows.items()}


def halves(x, mask, rng):
    """Two random halves of real rows, whose distance is a yardstick for equal distributions."""
    order = rng.permutation(len(x))
    first, second = order[: len(x) // 2], order[len(x) // 2 :]
    return (x[first], mask[first]), (x[second], mask[second])


def shuffled(x, mask, rng):
    """Real rows with every column shuffled: a yardstick with real marginals but no relations."""
    order = [rng.permutation(len(x)) for _ in range(x.shape[1])]
    return tuple(np.stack([a[o, j] for j, o in enumerate(order)], -1) for a in (x, mask))


def compare(columns, generated, train, held, embed, seed=0, own_holes=False):
    """Distances of generated rows to real ones and their yardsticks, as a dict.

    `generated`, `train` and `held` are (x, mask) [n, D]; `embed(x, mask)` gives features [n, F].
    Unless generated rows have `own_holes`, they get the holes of random real rows.
    """
    rng = np.random.default_rng(seed)
    real = tuple(np.concatenate(parts) for parts in zip(train, held, strict=True))
    pairs = [halves(*real, rng) for _ in range(N_SPLITS)]
    apart = [column_distances(columns, *pair) for pair in pairs]
    with_holes = generated
    if not own_holes:
        holes = real[1][rng.integers(len(real[1]), size=len(generated[0]))]
        with_holes = generated[0], generated[1] * holes
    result = {
        "n_generated": len(generated[0]),
        "n_real": len(real[0]),
        "columns": column_distances(columns, with_holes, real),
        "columns_real": {name: mean_of(found[name] for found in apart) for name in apart[0]},
        "correlation_error": correlation_error(columns, with_holes, real),
        "correlation_error_real": mean_of(correlation_error(columns, *pair) for pair in pairs),
        "correlation_error_independent": correlation_error(columns, shuffled(*real, rng), real),
    }
    pairs_apart = pair_distances(columns, with_holes, real)
    n_compared = len(generated[0])  # few rows are far from any others
    pairs_real = [
        pair_distances(columns, tuple(part[:n_compared] for part in some), others)
        for some, others in pairs[:N_PAIR_SPLITS]
    ]
    typical = {pair: mean_of(found[pair] for found in pairs_real) for pair in pairs_apart}
    excess = {p: d - (typical[p] or 0.0) for p, d in pairs_apart.items() if d is not None}
    if excess:
        worst = max(excess, key=excess.get)
        result["worst_pair"] = list(worst)
        result["worst_pair_distance"] = pairs_apart[worst]
        result["worst_pair_distance_real"] = typical[worst]
    both = (in_user_units(columns, *rows) for rows in (with_holes, held))
    result["told_apart"] = classifier_two_sample_auroc(*both)
    result |= copies(embed(*with_holes), embed(*train), embed(*held) if len(held[0]) else None)
    for name in ("columns", "columns_real"):
        result[f"{name}_mean"] = mean_of(result[name].values())
    return result


def mean_of(values):
    """The mean of the values that are not None; None if there are none."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def report(columns, result):
    """Lines on the distances that `compare` found."""
    kinds = {column.name: "TV" if column.levels else "KS" for column in columns}
    shown = list(result["columns"])[:40]
    width = max(map(len, [*shown, "correlations"]))

    def figure(value):
        return "—" if value is None else f"{value:.3f}"

    columns_lines = [
        f"  {name:<{width}}  {kinds[name]}  {figure(result['columns'][name])}  "
        f"({figure(result['columns_real'][name])})"
        for name in shown
    ]
    mean, mean_real, apart, apart_real, independent = (
        figure(result[key])
        for key in (
            *("columns_mean", "columns_real_mean", "correlation_error"),
            *("correlation_error_real", "correlation_error_independent"),
        )
    )
    lines = [
        f"Distance to {result['n_real']} real rows (beside it the mean of two halves of them):",
        *columns_lines,
        f"  {'mean':<{width}}      {mean}  ({mean_real})",
        f"  {'correlations':<{width}}      {apart}  ({apart_real}; "
        f"independent columns {independent})",
    ]
    if "worst_pair" in result:
        (first, second), distance = result["worst_pair"], result["worst_pair_distance"]
        lines.append(
            f"Worst pair: {first} and {second}, total variation {figure(distance)} "
            f"({figure(result['worst_pair_distance_real'])})"
        )
    if (judged := result["told_apart"]) is not None:
        lines.append(
            f"A classifier tells generated from held-out rows with an AUROC of "
            f"{judged['auroc']:.3f} (about 0.5: it cannot; standard error {judged['error']:.3f} "
            f"with {judged['n']} rows of each)"
        )
    return "\n".join([*lines, report_copies(result)])


def report_copies(result, what="row"):
    """A line on the shares that `copies` found; `what` is a word for a row."""
    held = result["nearer_real"]
    learned = held is not None and result["nearer"] > held + FAR_NEARER
    advice = f"\nNote: the model has learned single {what}s by heart; give it more {what}s"
    beside = "" if held is None else f"; of held-out real {what}s {held:.1%}"
    return (
        f"Nearer to a training {what} than training {what}s are to each other: "
        f"{result['nearer']:.1%}{beside} (far more would be copies)"
    ) + (advice if learned else "")
