"""A run -> its test figures beside honest baselines, as a table and metrics.json.

python evaluate.py                                  # the newest run
python evaluate.py --run 0001 --n-samples 5000
"""

import parts  # noqa: F401  first: before torch is loaded

# isort: split

import math

import numpy as np
import torch

import data as datasets
from parts import files, randomness, runs
from parts.console.devices import choose_device, choose_threads
from parts.console.flags import Parser, add_device_flags, add_run_flags, positive_int, seed
from parts.console.progress import progress_bar
from parts.console.script import run_script
from parts.errors import UserError
from parts.forms import conditions
from parts.forms.pictures import shapes
from parts.forms.tables import encoding
from parts.measure import disentanglement
from parts.model.build import load_model
from parts.model.likelihoods.pixels import bits_per_dim
from parts.plots.style import of_columns
from parts.tasks import walks
from vae import CHUNK_FLOATS, Batch, in_chunks

KL_SAMPLES = 100  # of z for the KL where it is not exact: its mean over rows errs little
FEW = 10.0  # effective samples, below which the estimate of log p(x) is a loose bound
N_KEPT_ROWS, N_KEPT_POINTS = 64, 5000  # test rows and latent means kept for figures
MOST_FOR_SVD = 2**22  # training cells; of more, scikit-learn chooses how PCA is computed
LOG_2 = math.log(2)  # nats of a bit
N_FOR_GREY = 1000  # training pictures that say whether they are ink on an empty page
N_ROWS_AT_A_TIME = 256  # between updates of the progress bar


def unit_of(config):
    """What x is measured in, in a run's metrics and figures."""
    return "the data's own units" if config["scaling"] == "none" else "standardised units"


def units(unit, given=""):
    """The unit of every metric, where x is in `unit`; `given` names the conditions, if any."""
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
        "ess": "samples, of n_samples",
        "n_test": "rows",
        "n_samples": "samples of z per row",
        "baseline_mse_mean": squared,
        "baseline_mse_pca": squared,
        "baseline_log_px_gaussian": f"nats per row, x in {alone}",
        "baseline_log_px_diagonal": f"nats per row, x in {alone}",
    }


def describe_rows(model, batch, with_std=False):
    """Per row, in bounded memory: reconstruction, the middle of q(z|x), KL by latent; and the
    reconstruction's standard deviation, which some likelihoods are slow about.
    """

    @torch.no_grad()
    def describe(piece):
        q = model.posterior(*piece)
        code, kl_per_dim = model.code(q), model.kl_by_latent(q)
        params = model.decode(code, piece.y)
        std = [model.likelihood.std(params)] if with_std else []
        if model.members > 1:  # their latents side by side
            means = model.likelihood.mean(params)
            std = [(s.square() + means.var(0, correction=0)).mean(0).sqrt() for s in std]
            code = code.transpose(0, 1).flatten(1)
            kl_per_dim = kl_per_dim.transpose(0, 1).flatten(1)
        return model.expected(params), code, kl_per_dim, *std

    return [
        t.cpu()
        for t in in_chunks(describe, batch, max(1, CHUNK_FLOATS // (model.width * model.members)))
    ]


def baseline_reconstructions(model, train, test):
    """Test rows predicted by what is expected of any row: the mean, of categories the most
    frequent; and by PCA with as many components as latents, where every cell is a number that is
    there.
    """
    likelihood = model.likelihood
    mask = torch.ones(()).expand_as(train.x) if train.mask is None else train.mask
    mean = likelihood.center(train.x, mask).numpy()
    mean = np.broadcast_to(mean, test.x.shape)
    if likelihood.scaling == "kinds" or train.mask is not None:
        return mean, None
    return mean, pca_reconstruction(train.x.numpy(), test.x.numpy(), model.n_latents)


def pca_reconstruction(train, test, n_components):
    """Rows of `test` [n, D] by the first principal components of `train`."""
    from sklearn.decomposition import PCA

    n_components = min(n_components, len(train) - 1, train.shape[1])
    solver = "full" if train.size <= MOST_FOR_SVD else "auto"
    with np.errstate(invalid="ignore"):  # shares of a variance of 0, which are not used
        pca = PCA(n_components, svd_solver=solver, random_state=0).fit(train)
    return pca.inverse_transform(pca.transform(test))


def estimates(model, batch, n_samples, draw_seed):
    """KL, log p(x), ELBO and effective sample size of each row, float64 [N]."""
    with randomness.fixed_randomness(draw_seed), progress_bar(len(batch.x), 0) as bar:

        def estimate(piece):
            bar.update(len(piece.x))
            return model.importance(*piece, n_samples=n_samples)

        found = in_chunks(estimate, batch, N_ROWS_AT_A_TIME)
        kl = model.terms(batch, 1 if model.gaussian else min(n_samples, KL_SAMPLES)).kl
    return [t.double().cpu().numpy() for t in (kl, *found)]


def evaluate(model, train, test, n_samples=1000, draw_seed=0, columns=()):
    """Metrics with the keys of `units`, and what the figures need, of Batches in model units.

    `columns`, where given, say how model units came from the user's.
    """
    device = next(model.parameters()).device
    originals = test.x.numpy()
    with randomness.fixed_randomness(draw_seed):
        train, test = (rows._replace(x=model.likelihood.draw(rows.x)) for rows in (train, test))
    batch = Batch(*[None if part is None else part.to(device) for part in test])
    recon, mu, kl_per_dim = (t.numpy() for t in describe_rows(model, batch))
    std = describe_rows(model, batch.take(slice(N_KEPT_ROWS)), with_std=True)[-1].numpy()
    kl, log_px, elbo, ess = estimates(model, batch, n_samples, draw_seed)
    x, mask = test.x.numpy(), None if test.mask is None else test.mask.numpy()
    curve, jacobian = (
        encoding.log_det(x, columns, mask, user) if columns else 0.0 for user in (False, True)
    )
    mean_recon, pca_recon = baseline_reconstructions(model, train, test)
    marginals = model.likelihood.baselines(train, test)

    def errors(recon):
        """Of each cell, NaN where it is missing, and their mean."""
        per_cell = model.likelihood.cell_errors(test.x, torch.tensor(np.array(recon))).numpy()
        per_cell = per_cell if mask is None else np.where(mask > 0, per_cell, np.nan)
        return column_means(per_cell), np.nanmean(per_cell, dtype=np.float64)

    per_column, test_mse = errors(recon)
    per_column_mean, mse_mean = errors(mean_recon)
    per_column_pca, mse_pca = (None, None) if pca_recon is None else errors(pca_recon)
    latents = model.members * model.n_latents
    metrics = {
        "test_mse": test_mse,
        "elbo": (elbo + curve).mean(),
        "log_px": (log_px + curve).mean(),
        "log_px_se": (log_px + curve).std(ddof=1) / len(x) ** 0.5 if len(x) > 1 else None,
        "log_px_user": (log_px + jacobian).mean() if columns else None,
        "kl": kl.mean(),
        "bits_per_dim": bits_per_dim(log_px.mean(), x.shape[1])
        if model.likelihood.in_bits
        else None,
        "active_units": int((mu.var(0).reshape(latents, -1).sum(1) > walks.ACTIVE_VARIANCE).sum()),
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
    figures = {
        "x": with_holes(originals[:N_KEPT_ROWS], mask),
        "drawn_pixels": np.array(bool((x != originals).any())),
        "recon": recon[:N_KEPT_ROWS],
        "std": std,
        "mu": mu[:N_KEPT_POINTS],
        "kl_per_dim": kl_per_dim.mean(0),
        "kl": kl.mean(),
        "mse_per_column": per_column,
        "mse_per_column_mean": per_column_mean,
        "n_observed": np.full(x.shape[1], len(x)) if mask is None else (mask > 0).sum(0),
    }
    if per_column_pca is not None:
        figures["mse_per_column_pca"] = per_column_pca
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in metrics.items()}, figures


def with_holes(x, mask):
    """The first rows, NaN where a cell is missing; `mask` [N, D] or None may have more rows."""
    return x if mask is None else np.where(mask[: len(x)] > 0, x, np.nan)


def column_means(per_cell):
    """Mean over the rows that are not NaN, 0 where all are."""
    seen = ~np.isnan(per_cell)
    return np.where(seen, per_cell, 0).sum(0) / np.maximum(seen.sum(0), 1)


def table(metrics, likelihood, given=""):
    """The printed lines: the model's figures, then the yardsticks, which know no conditions."""
    m = metrics
    log_px, baseline = (
        ("log p(x | y)", "baseline, without y") if given else ("log p(x)", "baseline")
    )
    n = f"{m['n_samples']} samples"
    se = "" if m["log_px_se"] is None else f" ± {m['log_px_se']:.2f}"
    few = "; few: log p(x) may be nats higher" if m["ess"] < FEW < m["n_samples"] else ""
    user, bits = [], []
    if m["log_px_user"] != m["log_px"]:  # where the model's units are not the user's
        what = "nats: the same, change of variables"
        user = [(f"{log_px}, user's units", f"{m['log_px_user']:.3f}", what)]
    if m["bits_per_dim"] is not None:
        bits = [("bits per dimension", f"{m['bits_per_dim']:.4f}", "the same, per pixel")]
    rows = [
        ("ELBO", f"{m['elbo']:.3f}", f"nats, or {m['elbo'] / LOG_2:.2f} bits"),
        (log_px, f"{m['log_px']:.3f}{se}", f"nats, importance sampling, {n}"),
        *user,
        *bits,
        ("KL(q(z|x) || p(z))", f"{m['kl']:.3f}", f"nats, or {m['kl'] / LOG_2:.2f} bits"),
        ("active units", m["active_units"], "latents whose posterior mean varies"),
        ("effective sample size", f"{m['ess']:.1f}", f"of {n}{few}"),
        ("MSE, training mean", f"{m['baseline_mse_mean']:.4f}", baseline),
    ]
    if m["baseline_mse_pca"] is not None:
        pca = f"{m['baseline_mse_pca']:.4f}"
        rows.append(("MSE, PCA", pca, f"{baseline}, as many components as latents"))
    for name, what in likelihood.baseline_names.items():
        if m[f"baseline_log_px_{name}"] is None:
            continue
        rows.append(
            (f"log p(x), {what}", f"{m[f'baseline_log_px_{name}']:.3f}", f"{baseline}, nats")
        )
    if "mig" in m:
        rows += disentanglement.table_rows(m)
    return "\n".join(f"  {name:<32}{value!s:>18}  {note}" for name, value, note in rows)


def known_factors(data, model, rows_seed):
    """Rows of all splits as a Batch, and the codes of their factors: no split needs to be spared,
    for training sees no factors; at most `MOST_ROWS`, at random.
    """
    splits = [split for split in (data.train, data.val, data.test) if len(split.x)]
    if data.train.factors is None:
        raise UserError(
            f"--factors: of {data.name} none are known; expected --data sprites, or an .npz file "
            "with arrays x [rows, columns] and factors [rows, factors]"
        )
    if model.members > 1:
        raise UserError(
            f"--factors compares the latents of one encoder, and this run has {model.members} "
            "members; train one with --members 1"
        )
    if hasattr(model, "codebook"):
        raise UserError(
            "--factors needs a mean and a variance of every latent, and --model vqvae has codes; "
            "train one with --model vae"
        )
    if model.flow is not None:
        raise UserError(
            "--factors needs q(z|x) of every latent alone, which a --flow mixes; train without one"
        )
    order = np.random.default_rng(rows_seed).permutation(sum(len(split.x) for split in splits))
    rows = order[: disentanglement.MOST_ROWS]
    fields = zip(*splits, strict=True)
    known = datasets.Split(*[None if f[0] is None else np.concatenate(f)[rows] for f in fields])
    return Batch.of(known), disentanglement.codes_of(known.factors)


def measure_factors(model, batch, codes, draw_seed):
    """The metrics of `parts/measure/disentanglement.py`."""
    device = next(model.parameters()).device

    @torch.no_grad()
    def encode(piece):
        piece = Batch(*[None if part is None else part.to(device) for part in piece])
        return [t.cpu() for t in model.encode(*piece)]

    mu, logvar = in_chunks(encode, batch, max(1, CHUNK_FLOATS // model.width))
    return disentanglement.measure(mu.numpy(), logvar.numpy(), codes, draw_seed)


def main(argv=None):
    parser = Parser(prog="evaluate.py", description="A run's test figures beside baselines.")
    add_run_flags(parser)
    parser.add_argument(
        "--n-samples", type=positive_int, default=1000, help="importance samples (default: 1000)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of these samples (default: 0)")
    parser.add_argument("--factors", action="store_true",
        help="measure too how well single latents stand for the known factors of the data, by MIG "
        "and the beta-VAE metric")  # fmt: skip
    add_device_flags(parser)
    args = parser.parse_args(argv)

    run = runs.find_run(args.runs_dir, args.run)
    device = choose_device(args.device)
    model, checkpoint = load_model(run, device)
    config = checkpoint["config"]
    torch.set_num_threads(choose_threads(args.threads, 2**30))
    data = datasets.load_for(config)
    if not len(data.test.x):
        raise UserError(f"{run.path} has no test rows: it was trained with --test-fraction 0")
    known = known_factors(data, model, args.seed) if args.factors else None
    train, test = Batch.of(data.train), Batch.of(data.test)
    metrics, figures = evaluate(model, train, test, args.n_samples, args.seed, data.modelled)
    if known:
        metrics |= measure_factors(model, *known, args.seed)
    if len(data.shape) > 1 and model.members == 1:  # each member has latents of its own
        code = Batch(torch.from_numpy(figures["mu"]), test.y)
        with randomness.fixed_randomness(args.seed):
            figures |= walks.decoded(model, *(t if t is None else t.to(device) for t in code[:2]))
    epoch = (checkpoint["best"] or {"epoch": checkpoint["position"]["epoch"]})["epoch"]
    unit = unit_of(config)
    save_figures_data(run, data, figures | {"epoch": np.array(epoch), "unit": np.array(unit)})
    given = ", ".join(conditions.names(data.columns))
    unit_of_each = units(unit, given) | (disentanglement.UNITS if known else {})
    files.write_json(run.metrics, metrics | {"epoch": epoch, "units": unit_of_each})

    print(f"Test MSE: {metrics['test_mse']:.4f}")
    print(f"{metrics['n_test']} test rows, after epoch {epoch}; per row, in {unit}"
          + (f", given y: {given}:" if given else ":"))  # fmt: skip
    print(table(metrics, model.likelihood, given))
    if note := model.note(data.test.x):
        print(note)
    print(f"Wrote {run.metrics}")


def save_figures_data(run, data, figures):
    """evaluation.npz, from which plot_results.py draws; rows of numbers in the user's units."""
    columns, picture = data.modelled, len(data.shape) > 1
    recon, std = figures["recon"], figures.pop("std")
    levels = np.array([bool(column.levels) for column in columns])
    std = np.where(levels, np.nan, std)  # of a category's code it says nothing
    rows = {"x": figures["x"], "recon": recon, "low": recon - 2 * std, "high": recon + 2 * std}
    figures = figures | {name: data.decode(x) for name, x in rows.items()}
    found = [name for name in walks.PICTURES if name in figures]
    figures |= {name: shapes.as_bytes(data.decode(figures[name])) for name in found}
    figures |= of_columns(columns) | points_of(data, len(figures["mu"]), picture)
    figures |= {"form": np.array("pictures" if picture else "tables")}
    figures |= {"shape": np.array(data.shape)}
    if picture:
        grey_map = shapes.grey_map(data.decode(data.train.x[:N_FOR_GREY]))
        figures["grey_map"] = np.array(grey_map)
    if data.test.label is not None:
        figures["label"] = data.test.label[: len(figures["mu"])]
    files.write_atomic(run.evaluation, lambda file: np.savez_compressed(file, **figures))


def points_of(data, n, picture):
    """What the points of the latent space can be coloured by: the cells of the first n test rows,
    modelled columns (not pixels) and conditions, in the user's units; codes of levels, NaN: none.
    """
    test, given = data.test.take(slice(n)), conditions.of(data.columns)
    columns, cells = [], [np.empty((len(test.x), 0))]
    if not picture:
        columns += data.modelled
        cells.append(with_holes(data.decode(test.x), test.mask))
    if given:
        columns += given
        x, known = conditions.from_y(test.y, given)
        cells.append(with_holes(encoding.to_user(x, given), known))
    of = of_columns(columns)
    kept = {f"point_{key}": of[key] for key in ("columns", "levels", "dates")}
    return kept | {"points": np.hstack(cells)}


if __name__ == "__main__":
    run_script(main)
