"""What −log p is usual for rows of which the same cells are observed, and scores relative to it.

usual = Usual(x, mask, score)      # score(keep) gives nats [n] of the rows without some cells
scores = usual.place(nats, mask)   # nats of rows with holes on the scale of rows without any

Shapes: n reference rows, N scored rows, D columns, F features of a mask.
"""

import numpy as np

N_REFERENCE = 500  # most reference rows
N_MASKED = 1500  # of these with cells hidden, whose scores are compared with those of whole rows
N_PAIRS = 100  # most pairs of columns that count for more or less than their two columns
PENALTIES = (1.0, 10.0, 100.0, 1000.0)  # of which one is chosen on reference rows
N_ROUNDS, HUBER = 3, 1.5  # of reweighting; residual in standard deviations that is cut off
N_AT_A_TIME = 8192  # rows that are placed at a time
FREE_PENALTY = 1e-3  # of weights that are hardly penalised
MEAN_DISTANCE = 0.75  # of a score from its mean, in standard deviations, far ones counting less
LEAST_SHARE = 0.01  # of the variance of whole rows that any other rows have at least


class Usual:
    """Mean and variance of −log p(observed cells) of a run's rows, as functions of the mask.

    Cells of reference rows x [n, D] are hidden at random, and where rows have holes, half of the
    time as those of another row. A regression on the mask tells what the hidden cells had added.
    """

    def __init__(self, x, mask, score, seed=0):
        mask = mask.astype(np.float64)
        n = len(mask)
        rng = np.random.default_rng(seed)
        self.pairs = related_pairs(x, mask)
        whole = score(np.ones_like(mask))
        rows, kept = [np.arange(n)], [mask]
        added = [np.zeros(n)]  # by cells that are hidden
        for turn in range(-(-N_MASKED // n)):
            keep = random_masks(mask, rng, like_others=turn % 2 == 1)
            rows.append(np.arange(n))
            kept.append(mask * keep)
            added.append(whole - score(keep))
        row, kept, added = (np.concatenate(part) for part in (rows, kept, added))
        change = self.features(kept) - self.features(mask)[row]
        self.weights = robust_ridge(change[n:], added[n:], row[n:] % 2 == 0, free=3)
        of_whole = whole + self.features(mask) @ self.weights
        self.mean = huber_mean(of_whole)  # of rows without holes
        excess = whole[row] - added - (self.mean - self.features(kept) @ self.weights)
        distance = np.abs(excess)
        self.spreads = robust_ridge(spread_features(kept), distance, row % 2 == 0, free=3)
        self.variance = max(self.spread(np.ones((1, mask.shape[1])))[0], 1e-12)

    def features(self, mask):
        """[N, F], 0 for a row without holes: shares of hidden cells, the cells, and pairs."""
        hidden = 1 - np.asarray(mask, np.float64)
        share = hidden.mean(1, keepdims=True)
        both = hidden[:, self.pairs[0]] * hidden[:, self.pairs[1]]
        return np.hstack([share, share**2, share**3, hidden, both])

    def spread(self, mask):
        """The variance of −log p of rows with these masks, [N]."""
        least = LEAST_SHARE * getattr(self, "variance", 0.0)
        distance = np.maximum(spread_features(mask) @ self.spreads, 0)
        with np.errstate(over="ignore"):  # a row may be as far as any
            return np.maximum(np.square(distance / MEAN_DISTANCE), least)

    def expected(self, mask):
        """The mean and the variance of −log p of rows with masks [N, D], nats; 0 for no cell."""
        mean = self.mean - self.features(mask) @ self.weights
        some = np.asarray(mask).any(1)
        return np.where(some, mean, 0.0), np.where(some, self.spread(mask), 0.0)

    def place(self, nats, mask):
        """Scores [N] on the scale of rows without holes, which keep theirs.

        A row with holes gets what is the same quantile of whole rows. Both are taken as gamma
        distributed with scale 1 and their own variance, which is exact for a Gaussian table. So far
        out nats stay nats. A row without any cell is as usual as can be: it gets the mean.
        """
        scores = np.array(nats, np.float64)
        holes = np.flatnonzero((np.asarray(mask) <= 0).any(1))
        for start in range(0, len(holes), N_AT_A_TIME):
            at = holes[start : start + N_AT_A_TIME]
            mean, variance = self.expected(mask[at])
            scores[at] = self.mean + same_quantile(scores[at] - mean, variance, self.variance)
        return scores


def related_pairs(x, mask):
    """The numbers of at most N_PAIRS pairs of columns with the highest correlations, [2, P]."""
    n = np.maximum(mask.sum(0), 1)
    centred = (x - (x * mask).sum(0) / n) * mask
    unit = centred / np.sqrt(np.maximum(np.square(centred).sum(0), 1e-12))
    first, second = np.triu_indices(mask.shape[1], 1)
    strength = np.abs(unit.T @ unit)[first, second]
    chosen = np.argsort(-strength, kind="stable")[:N_PAIRS]
    return np.stack([first[chosen], second[chosen]])


def random_masks(mask, rng, like_others=False):
    """0 where a cell is to be hidden, [n, D]: as many of each row as chance says, but never all.

    With `like_others` every other row has the holes of another row.
    """
    n, n_columns = mask.shape
    keep = (rng.random((n, n_columns)) >= rng.random((n, 1))).astype(np.float64)
    if like_others:
        other = rng.permutation(n)
        of_others = (rng.random(n) < 0.5) & ~mask[other].all(1)
        keep[of_others] = mask[other][of_others]
    empty = ~(mask * keep).any(1)
    keep[empty] = 1.0
    return keep


def spread_features(mask):
    """[N, 3]: the share of observed cells, its root and its square."""
    share = np.asarray(mask, np.float64).mean(1, keepdims=True)
    return np.hstack([np.sqrt(share), share, share**2])


def robust_ridge(features, target, side, free):
    """Weights [F] of a ridge regression; the first `free` ones are hardly penalised.

    The penalty errs least when rows of one `side` [n] are fitted and the others predicted. Outlying
    targets count less in each round (Huber 1964).
    """
    scale = np.maximum(np.sqrt(np.square(features).mean(0)), 1e-9)
    unit = features / scale
    is_free = np.arange(unit.shape[1]) < free

    def products(rows, weight):
        weighted = unit[rows].T * weight
        return weighted @ unit[rows], weighted @ target[rows]

    def solved(found, penalty):
        ridge = np.where(is_free, FREE_PENALTY, penalty)
        return np.linalg.solve(found[0] + np.diag(ridge), found[1])

    halves = [(~rows, products(rows, 1.0)) for rows in (side, ~side)]

    def error(penalty):
        return sum(
            np.abs(target[others] - unit[others] @ solved(found, penalty)).sum()
            for others, found in halves
        )

    penalty = min(PENALTIES, key=error)
    weights = solved(products(slice(None), 1.0), penalty)
    for _ in range(N_ROUNDS):
        found = products(slice(None), huber_weights(target - unit @ weights))
        weights = solved(found, penalty)
    return weights / scale


def huber_weights(residual):
    """1 for small residuals, less for those beyond HUBER standard deviations, [n]."""
    most = HUBER * np.median(np.abs(residual)) / 0.6745
    return np.minimum(1.0, most / np.maximum(np.abs(residual), max(most, 1e-12)))


def huber_mean(values):
    """The mean of values, of which outlying ones count less."""
    middle = np.median(values)
    for _ in range(N_ROUNDS):
        weights = huber_weights(values - middle)
        if not weights.sum() > 0:  # beyond what float64 can tell apart
            break
        middle = np.average(values, weights=weights)
    return float(middle)


def same_quantile(excess, variance, to):
    """The distance from its mean of a gamma variable of scale 1 and variance `to` that has the
    quantile of `excess` [N] over the mean of one of `variance` [N].

    Where a float cannot tell a quantile from 0 or 1, distances grow alike.
    """
    from scipy.special import gammainc, gammaincc, gammainccinv, gammaincinv

    some = variance > 0
    shape = np.where(some, variance, 1.0)
    value = np.maximum(excess + shape, 0)
    # Beyond this value the tail holds less than 1e-195, and more than a float can tell from 0.
    far = shape + np.sqrt(2 * 450 * shape) + 450
    near = np.minimum(value, far)
    upper = gammaincc(shape, near)
    lower = gammainc(shape, near)
    found = np.where(
        upper < 0.5,
        gammainccinv(to, np.maximum(upper, 1e-300)),
        gammaincinv(to, lower),
    )
    found = found - to + (value - near) + np.minimum(excess + shape, 0)
    return np.where(some, found, 0.0)
