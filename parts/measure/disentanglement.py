"""Measures of disentanglement with known factors of the data: MIG and the beta-VAE metric.

`codes` maps the name of each factor to its values in all rows [N], coded as 0, 1, ...
Shapes: N rows, Z latents, F factors, M draws of z per row, R resamples.
"""

import math

import numpy as np

from parts.errors import UserError

MAX_FACTOR_ROWS = 10_000  # most rows that are measured; the time of MIG is quadratic in them
ROWS_PER_VALUE = 10  # fewest rows per value of a factor, on average
N_LATENT_DRAWS = 5000  # fewest draws of each latent over all rows
N_MIG_RESAMPLES = 200  # bootstrap resamples of rows for the standard error of MIG
N_DENSITIES_AT_A_TIME = 2**18  # densities in memory at a time: 1 MB, inside a core's cache
MAX_EXPONENT = 60.0  # largest squared distance / 2, so that densities are no denormal numbers
# The beta-VAE metric draws N_TRAIN_BATCHES + N_TEST_BATCHES batches of pairs, N_REPEATS times.
N_PAIRS_PER_BATCH = 64
N_TRAIN_BATCHES, N_TEST_BATCHES = 2000, 1000
N_REPEATS = 5

UNIT_OF_METRIC = {
    "mig": "share of a factor's entropy, mean over factors",
    "mig_se": "the same, standard error over rows",
    "mig_per_factor": "share of the factor's entropy",
    "mi_shuffled": "share of a factor's entropy that the best latent seems to know by chance",
    "beta_vae_accuracy": "share of batches whose fixed factor is recognised",
    "beta_vae_accuracy_sd": "the same, standard deviation over draws of batches",
    "n_factors": "factors",
    "n_factor_rows": "rows",
}


def codes_of(factors):
    """Codes of a structured array [N] of whole numbers; UserError for unusable factors."""
    names = factors.dtype.names
    if len(names) < 2:
        raise UserError(f"the data have only the factor {names[0]!r}, expected at least 2")
    codes = {}
    for name in names:
        values = factors[name]
        if (broken := values[values != np.round(values)]).size:  # NaN is also unequal
            raise UserError(
                f"factor {name!r} holds {broken[0]}, expected whole numbers; bin it, "
                "for example by np.digitize"
            )
        found, codes[name] = np.unique(values, return_inverse=True)
        if len(found) < 2:
            raise UserError(f"factor {name!r} is {found[0]} in every row; leave it out")
        if len(found) * ROWS_PER_VALUE > len(values):
            raise UserError(
                f"factor {name!r} has {len(found)} values in {len(values)} rows, expected at "
                f"least {ROWS_PER_VALUE} rows per value; bin it, or give more rows"
            )
    return codes


def measure(mu, logvar, codes, seed=0):
    """The metrics in UNIT_OF_METRIC for q(z|x) = N(mu, exp(logvar)); mu and logvar are [N, Z]."""
    rng = np.random.default_rng(seed)
    n_rows, n_factors = len(mu), len(codes)
    shuffled = rng.permutation(n_rows)
    draws = math.ceil(N_LATENT_DRAWS / n_rows), *mu.shape
    eps = rng.standard_normal(draws, np.float32)
    weights = rng.multinomial(n_rows, np.full(n_rows, 1 / n_rows), N_MIG_RESAMPLES) / n_rows
    own = list(codes.values())
    both = own + [code[shuffled] for code in own]
    found, resampled = [], []  # I(z_j; v_k) for each latent: [2F], [R, F]
    for j in range(mu.shape[1]):
        per_row = information(mu[:, j], logvar[:, j], both, eps[..., j])
        found.append(per_row.mean(0))
        resampled.append(weights @ per_row[:, :n_factors])
    found, resampled = np.stack(found), np.stack(resampled, 1)
    entropies = np.array([entropy(code) for code in own])
    gaps = information_gap(found[:, :n_factors], entropies)
    accuracies = [beta_vae_accuracy(mu, codes, child) for child in rng.spawn(N_REPEATS)]
    return {
        "mig": float(gaps.mean()),
        "mig_se": float(information_gap(resampled, entropies).mean(-1).std(ddof=1)),
        "mig_per_factor": dict(zip(codes, gaps.tolist(), strict=True)),
        "mi_shuffled": float((found[:, n_factors:].max(0) / entropies).mean()),
        "beta_vae_accuracy": float(np.mean(accuracies)),
        "beta_vae_accuracy_sd": float(np.std(accuracies, ddof=1)),
        "n_factors": n_factors,
        "n_factor_rows": n_rows,
    }


def information(mu, logvar, codes, eps):
    """log q(z|v) - log q(z) of one latent at z ~ q(z|x_n), [N, F] nats, mean over draws eps [M, N].

    The mean over rows is the mutual information I(z; v) (Chen et al. 2018, section 4). Here q(z) is
    the mean of q(z|x_n) over all rows, and q(z|v) the mean over the rows with this value. Each row
    is one of the components at its own z, which raises I(z; v) if components hardly overlap.
    """
    n_rows = len(mu)
    own = np.stack(codes, -1)  # [N, F]
    own += 1 + np.concatenate([[0], np.cumsum(own.max(0) + 1)[:-1]])
    # One product gives q(z), in column 0, and q(z|v) for every value v of every factor.
    weights = np.zeros((n_rows, own.max() + 1), np.float32)
    np.put_along_axis(weights, own, 1, 1)
    weights[:, 0] = 1
    precision = np.exp(-0.5 * logvar).astype(np.float32)  # 1 / std
    weights *= precision[:, None] / weights.sum(0)
    mu, half = mu.astype(np.float32), precision * np.float32(0.5**0.5)
    found = np.zeros((n_rows, own.shape[1]))
    n_at_a_time = max(1, N_DENSITIES_AT_A_TIME // n_rows)
    for noise in eps:
        z = mu + noise / precision
        for start in range(0, n_rows, n_at_a_time):
            cut = slice(start, start + n_at_a_time)
            far = np.square((z[cut, None] - mu) * half)
            np.minimum(far, MAX_EXPONENT, out=far)
            density = np.exp(-far, out=far) @ weights  # [B, 1 + values]
            density = np.log(density.astype(np.float64))
            found[cut] += np.take_along_axis(density, own[cut], 1) - density[:, :1]
    return found / len(eps)


def entropy(code):
    """The entropy H(v) of a factor, in nats."""
    share = np.bincount(code) / len(code)
    return -(share * np.log(share)).sum()


def information_gap(found, entropies):
    """Gap between the largest two I(z_j; v_k) of each factor / entropy, [..., Z, F] -> [..., F].

    Chen et al. 2018, section 4. Negative estimates count as 0; a latent without information is
    added, so that a single latent has a gap too.
    """
    nothing = np.zeros((*found.shape[:-2], 1, found.shape[-1]))
    ordered = np.sort(np.maximum(np.concatenate([nothing, found], -2), 0), -2)
    return (ordered[..., -1, :] - ordered[..., -2, :]) / entropies


def beta_vae_accuracy(mu, codes, rng):
    """Accuracy of a linear classifier that predicts which factor the pairs of a batch share.

    Higgins et al. 2017, section 3, with these differences: a pair consists of two rows of the data,
    because no new pictures can be made; training and held-out batches share no row; all factors
    have the same number of batches; the classifier is a logistic regression and a batch has 64
    pairs, as in Locatello et al. 2019.
    """
    from sklearn.linear_model import LogisticRegression

    order = rng.permutation(len(mu))
    train, test = (
        batches(mu[rows], [code[rows] for code in codes.values()], n, rng)
        for rows, n in ((order[::2], N_TRAIN_BATCHES), (order[1::2], N_TEST_BATCHES))
    )
    return LogisticRegression(max_iter=1000).fit(*train).score(*test)


def batches(mu, codes, n, rng):
    """Mean |mu_1 - mu_2| over the pairs of n batches [n, Z], and the factor that they share [n]."""
    factor = np.arange(n) % len(codes)
    features = np.zeros((n, mu.shape[1]))
    for k, code in enumerate(codes):
        for first, second in zip(
            *pairs(code, (N_PAIRS_PER_BATCH, (factor == k).sum()), rng), strict=True
        ):
            features[factor == k] += np.abs(mu[first] - mu[second]) / N_PAIRS_PER_BATCH
    return features, factor


def pairs(code, shape, rng):
    """Two arrays of row numbers: a random row, and another row with the same value."""
    order = np.argsort(code, kind="stable")  # groups rows by value
    count = np.bincount(code)
    start = np.cumsum(count) - count
    # These places hold rows whose value occurs twice or more.
    ranks = np.flatnonzero(count[code[order]] > 1)
    rank = rng.choice(ranks, shape)
    value = code[order[rank]]
    step = rng.integers(1, count[value])  # cyclic step to another row of the group
    other = start[value] + (rank - start[value] + step) % count[value]
    return order[rank], order[other]


def table_rows(metrics):
    """Rows of the printed table: name, value and note."""
    of_factors = metrics["mig_per_factor"].items()
    mig, accuracy = (
        f"{metrics[name]:.3f} ± {metrics[error]:.3f}"
        for name, error in (("mig", "mig_se"), ("beta_vae_accuracy", "beta_vae_accuracy_sd"))
    )
    n_rows, chance = metrics["n_factor_rows"], 1 / metrics["n_factors"]
    return [
        ("MIG", mig, f"mutual information gap, at most 1; {n_rows} rows of all splits"),
        *((f"  {name}", f"{gap:.3f}", "of its entropy") for name, gap in of_factors),
        ("I(z; v) / H(v), v shuffled", f"{metrics['mi_shuffled']:.3f}", "far from 0: too few rows"),
        ("beta-VAE metric", accuracy, f"accuracy, by chance {chance:.3f}"),
    ]
