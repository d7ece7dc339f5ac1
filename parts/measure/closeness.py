"""Compare generated rows with real ones: by column, by pair of columns, and by row."""

import numpy as np

from parts.forms.units import as_numbers, to_user

N_COMPARED_ROWS = 2000  # most generated rows that are compared with their neighbours
N_SPLITS = 10  # random splits of real rows into halves, over which distances are averaged


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
    """Rows in the user's units, codes for categories, NaN for missing cells."""
    return np.where(mask > 0, to_user(x, columns), np.nan)


def correlation_error(columns, a, b):
    """Mean absolute difference of off-diagonal correlations; None if none is defined."""
    first, second = correlations(columns, *a), correlations(columns, *b)
    apart = np.abs(first - second)[~np.eye(len(first), dtype=bool)]
    return float(np.nanmean(apart)) if np.isfinite(apart).any() else None


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


def compare(columns, generated, train, held, embed, seed=0):
    """Distances of generated rows to real ones and their yardsticks, as a dict.

    `generated`, `train` and `held` are (x, mask) [n, D]; `embed(x, mask)` gives features [n, F].
    """
    rng = np.random.default_rng(seed)
    real = tuple(np.concatenate(parts) for parts in zip(train, held, strict=True))
    pairs = [halves(*real, rng) for _ in range(N_SPLITS)]
    apart = [column_distances(columns, *pair) for pair in pairs]
    # Real rows may have holes, so generated rows get the holes of random real rows.
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
    return "\n".join([*lines, report_copies(result)])


def report_copies(result, what="row"):
    """A line on the shares that `copies` found; `what` is a word for a row."""
    held = result["nearer_real"]
    beside = "" if held is None else f"; of held-out real {what}s {held:.1%}"
    return (
        f"Nearer to a training {what} than training {what}s are to each other: "
        f"{result['nearer']:.1%}{beside} (far more would be copies)"
    )
