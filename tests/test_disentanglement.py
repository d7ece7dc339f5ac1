"""parts/measure/disentanglement.py: MIG and the beta-VAE metric on hand-made codes."""

import math

import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from numpy.lib.recfunctions import unstructured_to_structured

from parts.errors import UserError
from parts.measure import disentanglement
from parts.measure.disentanglement import (
    batches,
    beta_vae_accuracy,
    codes_of,
    entropy,
    information,
    information_gap,
    measure,
    pairs,
    table_rows,
)


def grid(*sizes, times=1):
    """Every combination of factors a, b, ... of these many values, so many times: codes."""
    values = np.indices(sizes).reshape(len(sizes), -1)
    return dict(zip("abcdef", np.tile(values, times), strict=False))


def standardised(code):
    return (code - code.mean()) / code.std()


def posterior(*latents, std=0.01):
    """mu and logvar [N, Z] from the latents' means."""
    mu = np.stack(latents, -1).astype(np.float32)
    return mu, np.full(mu.shape, 2 * math.log(std), np.float32)


CODES = grid(4, 5, 6, times=6)
A, B, C = (standardised(code) for code in CODES.values())


# Both metrics on codes of known quality


def test_a_perfect_code_scores_1_on_both():
    nothing = np.zeros(len(A))
    found = measure(*posterior(A, nothing, C, B), CODES)
    assert found["mig"] == pytest.approx(1, abs=0.005)
    assert list(found["mig_per_factor"]) == ["a", "b", "c"]
    assert found["beta_vae_accuracy"] > 0.995
    assert found["mi_shuffled"] < 0.02
    assert (found["n_factors"], found["n_factor_rows"]) == (3, 720)


def test_a_random_code_scores_0_and_chance():
    mu = np.random.default_rng(0).standard_normal((3, len(A)))
    found = measure(*posterior(*mu, std=0.5), CODES)
    assert found["mig"] < 0.01
    assert found["beta_vae_accuracy"] == pytest.approx(1 / 3, abs=0.03)


@pytest.mark.parametrize(("spread", "accuracy"), [(2.0, 1.0), (1.0, 2 / 3)])
def test_a_rotated_code_has_no_gap_and_yet_a_beta_vae_score(spread, accuracy):
    """Two factors at 45 degrees: each latent knows as much of either, so only c has a gap.

    The beta-VAE metric still tells them apart where one moves the latents further than the other;
    where both move them alike it has to guess between the two.
    """
    codes = grid(5, 5, 5, times=8)
    a, b, c = (standardised(code) for code in codes.values())
    found = measure(*posterior(c, spread * a + b, spread * a - b, std=0.1), codes)
    gaps = found["mig_per_factor"]
    assert gaps["a"] < 0.03
    assert gaps["b"] < 0.03
    assert gaps["c"] > 0.98
    assert found["beta_vae_accuracy"] == pytest.approx(accuracy, abs=0.04)


def test_a_factor_in_two_latents_has_no_gap_but_is_recognised():
    found = measure(*posterior(A, A, B, C), CODES)
    assert found["mig_per_factor"]["a"] < 0.01
    assert found["mig"] == pytest.approx(2 / 3, abs=0.01)
    assert found["beta_vae_accuracy"] > 0.99


def test_where_posteriors_do_not_overlap_shuffled_factors_say_so():
    """Each row is alone at its z, so any latent seems to know any factor: a known bias."""
    mu = np.random.default_rng(0).permutation(len(A)) * 1.0
    found = measure(*posterior(mu, mu, std=1e-3), CODES)
    assert found["mi_shuffled"] == pytest.approx(1, abs=1e-5)
    assert found["mig"] == pytest.approx(0, abs=1e-5)


def test_measuring_is_fixed_by_its_seed_and_leaves_random_states():
    mu, logvar = posterior(A + B, B, C, std=0.5)
    before = np.random.get_state()  # noqa: NPY002
    first = measure(mu, logvar, CODES, seed=3)
    np.testing.assert_equal(np.random.get_state(), before)  # noqa: NPY002
    assert measure(mu, logvar, CODES, seed=3) == first
    assert measure(mu, logvar, CODES, seed=4)["mig"] != first["mig"]


def test_the_standard_error_of_mig_is_its_deviation_over_data_sets(monkeypatch):
    sizes = {"N_LATENT_DRAWS": 1, "N_PAIRS_PER_BATCH": 2}
    sizes |= {"N_TRAIN_BATCHES": 40, "N_TEST_BATCHES": 40}
    for name, n in sizes.items():
        monkeypatch.setattr(disentanglement, name, n)
    found = []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        codes = {name: rng.integers(n, size=400) for name, n in (("a", 3), ("b", 4))}
        a, b = codes.values()
        found.append(measure(*posterior(a, b, std=0.5), codes, seed=seed))
    deviation = np.std([one["mig"] for one in found], ddof=1)
    assert np.mean([one["mig_se"] for one in found]) == pytest.approx(deviation, rel=0.4)


def test_the_names_are_those_of_the_units():
    found = measure(*posterior(A, B, C), CODES)
    assert set(found) == set(disentanglement.UNIT_OF_METRIC)
    lines = {name.strip(): (value, note) for name, value, note in table_rows(found)}
    assert lines["MIG"][0] == f"{found['mig']:.3f} ± {found['mig_se']:.3f}"
    assert lines["b"][0] == f"{found['mig_per_factor']['b']:.3f}"
    assert lines["beta-VAE metric"][1] == "accuracy, by chance 0.333"


# What must not matter


def test_order_and_sign_of_latents_and_order_of_factors_do_not_matter():
    mu, logvar = posterior(A + 0.5 * B, B, 0.3 * C, std=0.3)
    base = measure(mu, logvar, CODES)
    flipped = measure(-mu, logvar, CODES)
    turned = measure(mu[:, [2, 0, 1]], logvar, CODES)
    renamed = measure(mu, logvar, {name: CODES[name] for name in "cab"})
    for other in (flipped, turned, renamed):
        assert other["mig"] == pytest.approx(base["mig"], abs=0.01)
        assert other["mig_per_factor"] == pytest.approx(base["mig_per_factor"], abs=0.02)
        assert other["beta_vae_accuracy"] == pytest.approx(base["beta_vae_accuracy"], abs=0.02)


def test_the_same_noise_mirrored_gives_the_same_information():
    mu, logvar = posterior(A + 0.5 * B, std=0.3)
    eps = np.random.default_rng(0).standard_normal((2, len(A)), np.float32)
    own = list(CODES.values())
    base = information(mu[:, 0], logvar[:, 0], own, eps)
    np.testing.assert_allclose(information(-mu[:, 0], logvar[:, 0], own, -eps), base, atol=1e-4)
    found = information(mu[:, 0], logvar[:, 0], own[::-1], eps)
    np.testing.assert_allclose(found, base[:, ::-1], atol=1e-4)
    relabelled = [3 - own[0], *own[1:]]
    np.testing.assert_allclose(
        information(mu[:, 0], logvar[:, 0], relabelled, eps), base, atol=1e-4
    )


# Mutual information


def channel_information(centres, share, std):
    """I(z; v) of z = centres[v] + std * noise: H(z), integrated numerically, minus H(noise)."""

    def integrand(z):
        density = (share * scipy.stats.norm(centres, std).pdf(z)).sum()
        return -scipy.special.xlogy(density, density)

    ends = min(centres) - 9 * std, max(centres) + 9 * std
    h_z = scipy.integrate.quad(integrand, *ends, points=centres, limit=500)[0]
    return h_z - scipy.stats.norm(0, std).entropy()


@pytest.mark.parametrize("std", [0.2, 0.6, 2.0])
@pytest.mark.parametrize("spread", [0.0, 0.8])
def test_information_is_that_of_a_gaussian_channel(std, spread):
    """A share of the noise is spread over the rows' means, the rest is in their posteriors."""
    rng = np.random.default_rng(0)
    centres, share = np.array([-1.0, 0.0, 0.5, 2.0]), np.array([0.1, 0.4, 0.3, 0.2])
    code = np.repeat(np.arange(4), (share * 3000).astype(int))
    of_means = spread * std
    mu = centres[code] + of_means * rng.standard_normal(len(code))
    logvar = np.full(len(code), math.log(std**2 - of_means**2))
    found = information(mu, logvar, [code], rng.standard_normal((3, len(code))))
    expected = channel_information(centres, share, std)
    assert found.mean() == pytest.approx(expected, abs=0.02)


def test_information_is_that_of_mixtures_by_hand():
    """The sums are in double precision; variances differ from row to row."""
    rng = np.random.default_rng(1)
    n = 23
    mu, std = rng.standard_normal(n), np.exp(rng.standard_normal(n))
    codes, eps = [rng.integers(3, size=n), rng.integers(2, size=n)], rng.standard_normal((2, n))
    found = information(mu, 2 * np.log(std), codes, eps)
    log_q = scipy.stats.norm(mu, std).logpdf((mu + std * eps)[..., None])  # [M, N of z, N of q]
    for k, code in enumerate(codes):
        same = code[:, None] == code
        given = scipy.special.logsumexp(log_q, -1, b=same / same.sum(1, keepdims=True))
        expected = (given - scipy.special.logsumexp(log_q, -1, b=1 / n)).mean(0)
        np.testing.assert_allclose(found[:, k], expected, atol=2e-6)


def test_information_does_not_depend_on_chunks(monkeypatch):
    mu, logvar = posterior(A, std=0.3)
    eps = np.random.default_rng(0).standard_normal((1, len(A)))
    whole = information(mu[:, 0], logvar[:, 0], list(CODES.values()), eps)
    monkeypatch.setattr(disentanglement, "N_DENSITIES_AT_A_TIME", 7 * len(A))
    pieces = information(mu[:, 0], logvar[:, 0], list(CODES.values()), eps)
    np.testing.assert_allclose(pieces, whole, atol=1e-5)


@pytest.mark.parametrize("std", [1e-6, 1e-2, 1e4])
def test_information_is_finite_whatever_the_variance(std):
    mu, logvar = posterior(A * 100, std=std)
    eps = np.random.default_rng(0).standard_normal((1, len(A)))
    found = information(mu[:, 0], logvar[:, 0], list(CODES.values()), eps).mean(0)
    assert found[0] == pytest.approx(math.log(4) if std < 1 else 0, abs=1e-3)


def test_the_gap_by_hand():
    found = np.array([[0.5, 0.1, -0.02], [0.2, 0.4, -0.01], [0.3, -0.1, -0.3]])
    gaps = information_gap(found, np.array([1.0, 0.5, 2.0]))
    np.testing.assert_allclose(gaps, [0.2, 0.6, 0.0])
    np.testing.assert_allclose(information_gap(found[:1], np.ones(3)), [0.5, 0.1, 0])  # one latent
    stacked = information_gap(np.stack([found, 2 * found]), np.array([1.0, 0.5, 2.0]))
    np.testing.assert_allclose(stacked, [gaps, 2 * gaps])


def test_entropy_is_that_of_scipy():
    code = np.random.default_rng(0).integers(7, size=50)
    assert entropy(code) == pytest.approx(
        scipy.stats.entropy(np.unique(code, return_counts=True)[1])
    )


# The beta-VAE metric


def test_pairs_are_two_rows_of_one_value_all_alike_probable():
    code = np.array([2, 0, 1, 0, 2, 0])  # the only 1 has no partner
    first, second = pairs(code, (40, 500), np.random.default_rng(0))
    assert first.shape == second.shape == (40, 500)
    found = np.zeros((6, 6))
    np.add.at(found, (first, second), 1 / first.size)
    expected = (code[:, None] == code) - np.eye(6)
    expected /= np.maximum(expected.sum(1, keepdims=True), 1) * 5
    np.testing.assert_allclose(found, expected, atol=0.01)
    assert (found[expected == 0] == 0).all()


def test_a_batch_is_the_mean_distance_of_pairs_that_share_its_factor():
    """In the latent of a factor, pairs that share it are 0 apart, others as far as expected."""
    codes = list(CODES.values())
    features, factor = batches(np.stack(codes, -1), codes, 300, np.random.default_rng(0))
    assert (np.bincount(factor) == 100).all()
    for j, n in enumerate((4, 5, 6)):
        assert (features[factor == j, j] == 0).all()
        others, mean, square = features[factor != j, j], (n * n - 1) / (3 * n), (n * n - 1) / 6
        assert others.mean() == pytest.approx(mean, rel=0.02)
        assert others.std() == pytest.approx(((square - mean**2) / 64) ** 0.5, rel=0.2)


def test_the_classifier_is_tested_on_rows_it_has_not_seen():
    """Among 300 random latents some fit the factors of the training rows by chance."""
    mu = np.random.default_rng(0).standard_normal((len(A), 300))
    accuracy = beta_vae_accuracy(mu, CODES, np.random.default_rng(1))
    assert accuracy == pytest.approx(1 / 3, abs=0.05)


# Factors


def structured(**columns):
    return unstructured_to_structured(np.stack(list(columns.values()), -1), names=list(columns))


def test_codes_count_the_values_that_occur():
    size, kind = np.tile([5, -3, 5, 9], 10), np.tile([0, 0, 1, 1], 10)
    codes = codes_of(structured(size=size * 1.0, kind=kind))
    np.testing.assert_array_equal(codes["size"], np.tile([1, 0, 1, 2], 10))
    np.testing.assert_array_equal(codes["kind"], kind)


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (np.linspace(0, 1, 40), "'b' holds 0.02564.*expected whole numbers"),
        (np.where(np.arange(40) == 7, np.nan, 1.0), "'b' holds nan, expected whole numbers"),
        (np.full(40, 3), "'b' is 3 in every row"),
        (np.arange(40), "'b' has 40 values in 40 rows, expected at least 10 rows per value"),
    ],
)
def test_factors_that_cannot_be_used_are_refused(column, message):
    with pytest.raises(UserError, match=message):
        codes_of(structured(a=np.arange(40) % 2, b=column))


def test_one_factor_is_too_few():
    with pytest.raises(UserError, match="only the factor 'a', expected at least 2"):
        codes_of(structured(a=np.arange(40) % 2))
