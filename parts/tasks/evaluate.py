"""Evaluate a fitted model on test rows beside baselines, and compute arrays for figures."""

import numpy as np
import torch

from parts.errors import UserError
from parts.finite import finite
from parts.forms.base import Split, with_holes
from parts.forms.units import log_det
from parts.measure import disentanglement
from parts.model.batches import CHUNK_FLOATS, Batch, in_chunks
from parts.model.likelihoods.pixels import bits_per_dim
from parts.model.traversal import ACTIVE_VARIANCE
from parts.randomness import fixed_randomness
from parts.tasks import walks

CLEARLY = 0.02  # share of an MSE by which a smaller one is clearly better
N_ERRORS = 3  # standard errors by which a higher log p(x) is clearly better
MSES = (("test_", ""), ("baseline_", "_mean"), ("baseline_", "_pca"))
KL_SAMPLES = 100  # most samples of z for a KL without closed form
N_FIGURE_ROWS, N_FIGURE_POINTS = 64, 5000  # most test rows and latent means for figures
MOST_ON_PATH, N_ON_PATH = 3000, 4  # windows and latents that are shown over time
LITTLE = 0.05  # share of the largest KL of a latent below which one is not shown
CARRIED = 0.9  # share of the KL that carrying units have together
MOST_FOR_SVD = 2**22  # most training cells for which PCA uses a full SVD
N_ROWS_PER_UPDATE = 256  # rows between updates of the progress bar


def describe_rows(model, batch, with_std=False):
    """Reconstruction [N, D], posterior mean [N, Z] and KL by latent [N, Z] of a Batch, on the CPU.

    `with_std` adds the standard deviation of p(x|z), which is slow for some likelihoods. Memory is
    bounded. The latents of several members are concatenated.
    """

    @torch.no_grad()
    def describe(piece):
        q = model.posterior(*piece)
        code, kl_per_dim = model.posterior_mean(q), model.kl_by_latent(q)
        params = model.decode(code, piece.y)
        std = [model.likelihood.std(params)] if with_std else []
        if model.members > 1:
            means = model.likelihood.mean(params)
            std = [(s.square() + means.var(0, correction=0)).mean(0).sqrt() for s in std]
            code = code.transpose(0, 1).flatten(1)
            kl_per_dim = kl_per_dim.transpose(0, 1).flatten(1)
        return model.expected(params), code, kl_per_dim, *std

    n_rows = max(1, CHUNK_FLOATS // (model.width * model.members))
    return [t.cpu() for t in in_chunks(describe, batch, n_rows)]


def baseline_reconstructions(likelihood, train, test, n_components):
    """Test rows predicted by the training mean, and reconstructed by PCA.

    For categories the mean is the most frequent level. PCA is None if columns have kinds or cells
    are missing. The Batches are on the CPU.
    """
    mask = torch.ones(()).expand_as(train.x) if train.mask is None else train.mask
    mean = likelihood.center(train.x, mask).numpy()
    mean = np.broadcast_to(mean, test.x.shape)
    if likelihood.scaling == "kinds" or train.mask is not None:
        return mean, None
    return mean, pca_reconstruction(train.x.numpy(), test.x.numpy(), n_components)


def pca_reconstruction(train, test, n_components):
    """Reconstruct rows of `test` [n, D] from the first principal components of `train`."""
    from sklearn.decomposition import PCA

    n_components = min(n_components, len(train) - 1, train.shape[1])
    solver = "full" if train.size <= MOST_FOR_SVD else "auto"
    with np.errstate(invalid="ignore"):  # shares of a variance of 0 are not used
        pca = PCA(n_components, svd_solver=solver, random_state=0).fit(train)
    return pca.inverse_transform(pca.transform(test))


def estimates(model, batch, n_samples, seed, progress=None):
    """KL, log p(x), ELBO and effective sample size of each row, float64 [N]."""
    with fixed_randomness(seed):

        def estimate(piece):
            found = model.importance(*piece, n_samples=n_samples)
            if progress is not None:
                progress(len(piece.x))
            return found

        found = in_chunks(estimate, batch, N_ROWS_PER_UPDATE)
        kl = model.terms(batch, 1 if model.gaussian else min(n_samples, KL_SAMPLES)).kl
    return [t.cpu().double().numpy() for t in (kl, *found)]


def evaluate(model, train, test, n_samples=1000, seed=0, columns=(), progress=None):
    """Metrics by name, and arrays for the figures, of Batches on the CPU in model units.

    `columns`, if given, hold the scaling from user units to model units. The model may be on any
    device.
    """
    device = next(model.parameters()).device
    likelihood, originals = model.likelihood, test.x.numpy()
    with fixed_randomness(seed):
        train, test = (rows._replace(x=likelihood.draw(rows.x)) for rows in (train, test))
    batch = Batch(*[None if part is None else part.to(device) for part in test])
    recon, mu, kl_per_dim = (t.numpy() for t in describe_rows(model, batch))
    std = describe_rows(model, batch.take(slice(N_FIGURE_ROWS)), with_std=True)[-1].numpy()
    kl, log_px, elbo, ess = estimates(model, batch, n_samples, seed, progress)
    x, mask = test.x.numpy(), None if test.mask is None else test.mask.numpy()
    curve, jacobian = (
        log_det(x, columns, mask, user) if columns else 0.0 for user in (False, True)
    )
    n_latents = model.members * model.n_latents
    mean_recon, pca_recon = baseline_reconstructions(likelihood, train, test, n_latents)
    marginals = likelihood.baselines(train, test)

    def errors(recon):
        """Mean errors per column and the mean over all observed cells."""
        if recon is None:
            return None, None
        per_cell = likelihood.cell_errors(test.x, torch.tensor(np.array(recon))).numpy()
        per_cell = per_cell if mask is None else np.where(mask > 0, per_cell, np.nan)
        return column_means(per_cell), np.nanmean(per_cell, dtype=np.float64)

    per_column, test_mse = errors(recon)
    per_column_mean, mse_mean = errors(mean_recon)
    per_column_pca, mse_pca = errors(pca_recon)
    kl_of_each = kl_per_dim.mean(0)
    active = mu.var(0).reshape(n_latents, -1).sum(1) > ACTIVE_VARIANCE
    metrics = {
        "test_mse": test_mse,
        "elbo": (elbo + curve).mean(),
        "log_px": (log_px + curve).mean(),
        "log_px_se": (log_px + curve).std(ddof=1) / len(x) ** 0.5 if len(x) > 1 else None,
        "log_px_user": (log_px + jacobian).mean() if columns else None,
        "kl": kl.mean(),
        "bits_per_dim": bits_per_dim(log_px.mean(), x.shape[1]) if likelihood.in_bits else None,
        "active_units": int(active.sum()),
        **carrying_units(kl_of_each, kl.mean()),
        "ess": ess.mean(),
        "n_test": len(x),
        "n_samples": n_samples,
        "baseline_mse_mean": mse_mean,
        "baseline_mse_pca": mse_pca,
        "baseline_log_px_gaussian": marginals.get("gaussian"),
        "baseline_log_px_diagonal": marginals.get("diagonal"),
    }
    for name in marginals:
        metrics[f"baseline_log_px_{name}"] += np.mean(curve)
    finite("metrics", np.array([value for value in metrics.values() if value is not None]))
    figures = {
        "x": with_holes(originals[:N_FIGURE_ROWS], None if mask is None else mask[:N_FIGURE_ROWS]),
        "drawn_pixels": np.array(bool((x != originals).any())),
        "recon": recon[:N_FIGURE_ROWS],
        "std": std,
        "mu": mu[:N_FIGURE_POINTS],
        "kl_per_dim": kl_of_each,
        "kl": kl.mean(),
        "mse_per_column": per_column,
        "mse_per_column_mean": per_column_mean,
        "n_observed": np.full(x.shape[1], len(x)) if mask is None else (mask > 0).sum(0),
    }
    if per_column_pca is not None:
        figures["mse_per_column_pca"] = per_column_pca
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in metrics.items()}, figures


def carrying_units(kl_per_dim, kl):
    """The smallest number of latents that carry CARRIED of the KL, and the nats that they carry.

    Both are None if the KLs of single latents do not add up to the KL, as with a flow or a learned
    prior.
    """
    if not np.isclose(kl_per_dim.sum(), kl, rtol=0.05, atol=0.01):
        return {"carrying_units": None, "carried_nats": None}
    carried = np.cumsum(np.sort(kl_per_dim)[::-1])
    n = int(np.searchsorted(carried, CARRIED * carried[-1])) + 1
    n = min(n, len(carried))
    return {"carrying_units": n, "carried_nats": float(carried[n - 1])}


def column_means(per_cell):
    """Mean of each column over cells that are not NaN; 0 for a column of NaN."""
    seen = ~np.isnan(per_cell)
    return np.where(seen, per_cell, 0).sum(0) / np.maximum(seen.sum(0), 1)


def units(unit, given=""):
    """The unit of every metric, for x in `unit` and the names of conditions `given`."""
    unit, plain = f"{unit}, given y: {given}" if given else unit, unit
    alone = f"{plain}, without y" if given else plain
    squared = f"{plain}, squared, mean over cells (share of wrong cells where they are categories)"
    return {
        "test_mse": squared,
        "elbo": f"nats per row, x in {unit}",
        "log_px": f"nats per row, x in {unit}",
        "log_px_se": "nats, standard error over test rows",
        "log_px_user": "nats per row, x in the user's units",
        "kl": "nats per row",
        "bits_per_dim": "bits per pixel and channel, of log_px",
        "active_units": "latent dimensions",
        "carrying_units": "latent dimensions that carry 90 % of the KL, the fewest",
        "carried_nats": "nats per row, of these",
        "ess": "samples, of n_samples",
        "n_test": "rows",
        "n_samples": "samples of z per row",
        "baseline_mse_mean": squared,
        "baseline_mse_pca": squared,
        "baseline_log_px_gaussian": f"nats per row, x in {alone}",
        "baseline_log_px_diagonal": f"nats per row, x in {alone}",
    }


def path_of(model, splits, kl_per_dim):
    """Posterior means [n, latents] of the latents that carry most, of windows of a series in the
    order of time, and when these are, [n, 2].
    """
    device = next(model.parameters()).device
    chosen = np.argsort(-kl_per_dim, kind="stable")[:N_ON_PATH]
    chosen = chosen[kl_per_dim[chosen] >= LITTLE * kl_per_dim.max()]
    mu, when = [], []
    for rows in splits:
        if len(rows.x):
            at = np.linspace(0, len(rows.x) - 1, min(len(rows.x), MOST_ON_PATH)).astype(int)
            some = rows.take(at)
            mu.append(describe_rows(model, Batch.of(some, device))[1].numpy()[:, chosen])
            when.append(some.when)
    mu, when = np.concatenate(mu), np.concatenate(when)
    order = np.lexsort(when.T[::-1])
    return {"path": mu[order], "path_latent": chosen, "path_when": when[order]}


def walks_of(model, mu, y, seed):
    """Decode walks through latent space from rows with posterior means mu [N, Z]."""
    device = next(model.parameters()).device
    y = None if y is None else y[: len(mu)].to(device)
    with fixed_randomness(seed):
        return walks.decode_walks(model, torch.from_numpy(mu).to(device), y)


def remarks(metrics, model):
    """Sentences on weak reconstructions and on baselines that are clearly better."""
    m, found, likelihood = metrics, [], model.likelihood
    # PCA with as many components as columns has no error.
    compresses = model.members * model.n_latents < likelihood.n_columns
    mse, mean, pca = (m[f"{name}mse{end}"] for name, end in MSES)
    if mse > (1 - CLEARLY) * mean:
        found.append(
            "The reconstructions are hardly better than the training mean: z says little of x"
        )
    elif compresses and m["kl"] >= 1 and pca is not None and mse > (1 + CLEARLY) * pca:
        found.append(
            f"Test MSE lies above PCA's ({mse:.4f} against {pca:.4f}). PCA stores its numbers "
            f"for free; a VAE pays a nat of log p(x) for each nat of its KL ({m['kl']:.1f} here), "
            "and leaves alone what costs more than it gains. A smaller beta lowers the error, "
            "and log p(x) with it"
        )
    for name, what in likelihood.baseline_names.items():
        baseline, se = m[f"baseline_log_px_{name}"], m["log_px_se"]
        if baseline is not None and se is not None and baseline > m["log_px"] + N_ERRORS * se:
            found.append(
                "A baseline describes the density of these rows better: the log p(x) of "
                f"{what} is {baseline - m['log_px']:.1f} nats a row higher"
            )
    return found


# Known factors


def known_factors(data, model, rows_seed):
    """At most MAX_FACTOR_ROWS rows of all splits as a Batch, and the codes of their factors.

    All splits may be used, because training does not use factors.
    """
    splits = [split for split in (data.train, data.val, data.test) if len(split.x)]
    if data.train.factors is None:
        raise UserError(
            f"the rows of {data.name} have no known factors; expected the data sprites, or an .npz "
            "file with arrays x [rows, columns] and factors [rows, factors]"
        )
    model.check_latents_are_separate()
    order = np.random.default_rng(rows_seed).permutation(sum(len(split.x) for split in splits))
    rows = order[: disentanglement.MAX_FACTOR_ROWS]
    fields = zip(*splits, strict=True)
    known = Split(*[None if f[0] is None else np.concatenate(f)[rows] for f in fields])
    return Batch.of(known), disentanglement.codes_of(known.factors)


def measure_factors(model, batch, codes, seed):
    """Disentanglement metrics of the model, see `parts/measure/disentanglement.py`."""
    device = next(model.parameters()).device

    @torch.no_grad()
    def encode(piece):
        piece = Batch(*[None if part is None else part.to(device) for part in piece])
        return [t.cpu() for t in model.encode(*piece)]

    mu, logvar = in_chunks(encode, batch, max(1, CHUNK_FLOATS // model.width))
    return disentanglement.measure(mu.numpy(), logvar.numpy(), codes, seed)
