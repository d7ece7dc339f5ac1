"""A run -> its test figures beside honest baselines, as a table and metrics.json.

python evaluate.py                                  # the newest run
python evaluate.py --run 0001 --n-samples 5000
"""

import numpy as np
import torch

import data as datasets
from parts import runs
from parts.cli import (
    Parser,
    add_device_flags,
    add_run_flags,
    choose_device,
    choose_threads,
    positive_int,
    progress_bar,
    run_script,
    seed,
)
from parts.errors import UserError
from vae import CHUNK_FLOATS, Batch, from_config, in_chunks, kl_normal

ACTIVE_VARIANCE = 0.01  # of the posterior mean over rows (Burda et al. 2016)
N_KEPT_ROWS, N_KEPT_POINTS = 64, 5000  # test rows and latent means kept for figures
N_ROWS_AT_A_TIME = 256  # between updates of the progress bar


def unit_of(config):
    """What x is measured in, in a run's metrics and figures."""
    return "standardised units" if config["standardize"] else "the data's own units"


def units(unit):
    """The unit of every metric, where x is in `unit`."""
    squared = f"{unit}, squared, mean over cells"
    return {
        "test_mse": squared,
        "elbo": f"nats per row, x in {unit}",
        "log_px": f"nats per row, x in {unit}",
        "log_px_se": "nats, standard error over test rows",
        "kl": "nats per row",
        "active_units": "latent dimensions",
        "ess": "samples, of n_samples",
        "n_test": "rows",
        "n_samples": "samples of z per row",
        "baseline_mse_mean": squared,
        "baseline_mse_pca": squared,
        "baseline_log_px_gaussian": f"nats per row, x in {unit}",
        "baseline_log_px_diagonal": f"nats per row, x in {unit}",
    }


def load_model(run, device="cpu"):
    """The model of a run, at its best epoch where early stopping kept one; and the checkpoint."""
    checkpoint = run.load_checkpoint()
    model = from_config(checkpoint["config"])
    model.load_state_dict((checkpoint["best"] or checkpoint)["model"])
    return model.to(device).eval(), checkpoint


def describe_rows(model, batch):
    """Per row, in bounded memory: reconstruction, its std, posterior mean, KL per dimension."""

    @torch.no_grad()
    def describe(piece):
        mu, logvar = model.encode(*piece)
        params = model.decode(mu, piece.y)
        kl_per_dim = kl_normal(mu.unsqueeze(-1), logvar.unsqueeze(-1))
        return model.likelihood.mean(params), model.likelihood.std(params), mu, kl_per_dim

    return [t.cpu() for t in in_chunks(describe, batch, max(1, CHUNK_FLOATS // model.width))]


def baseline_reconstructions(train, test, z_dim):
    """Test rows predicted by the training mean, and by PCA with as many components as latents."""
    from sklearn.decomposition import PCA

    n_components = min(z_dim, len(train) - 1, train.shape[1])
    with np.errstate(invalid="ignore"):  # shares of a variance of 0, which are not used
        pca = PCA(n_components, svd_solver="full").fit(train)
    mean = np.broadcast_to(train.mean(0), test.shape)
    return mean, pca.inverse_transform(pca.transform(test))


def evaluate(model, train, test, n_samples=1000, draw_seed=0):
    """Metrics with the keys of `units`, and what the figures need, of model-unit arrays [N, D]."""
    device = next(model.parameters()).device
    batch = Batch(torch.from_numpy(test).to(device))
    recon, std, mu, kl_per_dim = (t.numpy() for t in describe_rows(model, batch))
    with runs.fixed_randomness(draw_seed), progress_bar(len(test), 0) as bar:

        def estimate(piece):
            bar.update(len(piece.x))
            return model.importance(*piece, n_samples=n_samples)

        estimates = in_chunks(estimate, batch, N_ROWS_AT_A_TIME)
    log_px, elbo, ess = (t.double().cpu().numpy() for t in estimates)
    mean_recon, pca_recon = baseline_reconstructions(train, test, model.z_dim)
    marginals = model.likelihood.baselines(torch.from_numpy(train), torch.from_numpy(test))
    metrics = {
        "test_mse": mse(test, recon),
        "elbo": elbo.mean(),
        "log_px": log_px.mean(),
        "log_px_se": log_px.std(ddof=1) / len(test) ** 0.5 if len(test) > 1 else None,
        "kl": kl_per_dim.sum(-1, dtype=np.float64).mean(),
        "active_units": int((mu.var(0) > ACTIVE_VARIANCE).sum()),
        "ess": ess.mean(),
        "n_test": len(test),
        "n_samples": n_samples,
        "baseline_mse_mean": mse(test, mean_recon),
        "baseline_mse_pca": mse(test, pca_recon),
        "baseline_log_px_gaussian": marginals.get("gaussian"),
        "baseline_log_px_diagonal": marginals.get("diagonal"),
    }
    figures = {
        "x": test[:N_KEPT_ROWS],
        "recon": recon[:N_KEPT_ROWS],
        "std": std[:N_KEPT_ROWS],
        "mu": mu[:N_KEPT_POINTS],
        "kl_per_dim": kl_per_dim.mean(0),
        "mse_per_column": np.square(test - recon).mean(0),
        "mse_per_column_mean": np.square(test - mean_recon).mean(0),
    }
    return {k: v.item() if isinstance(v, np.generic) else v for k, v in metrics.items()}, figures


def mse(x, recon):
    return np.square(x - recon).mean(dtype=np.float64)


def table(metrics, likelihood):
    """The printed lines: the model's figures, then the yardsticks."""
    m = metrics
    n = f"{m['n_samples']} samples"
    se = "" if m["log_px_se"] is None else f" ± {m['log_px_se']:.2f}"
    rows = [
        ("ELBO", f"{m['elbo']:.3f}", "nats"),
        ("log p(x)", f"{m['log_px']:.3f}{se}", f"nats, importance sampling, {n}"),
        ("KL(q(z|x) || p(z))", f"{m['kl']:.3f}", "nats"),
        ("active units", m["active_units"], "latents whose posterior mean varies"),
        ("effective sample size", f"{m['ess']:.1f}", f"of {n}"),
        ("MSE, training mean", f"{m['baseline_mse_mean']:.4f}", "baseline"),
        ("MSE, PCA", f"{m['baseline_mse_pca']:.4f}", "baseline, as many components as latents"),
    ]
    for name, what in likelihood.baseline_names.items():
        rows.append((f"log p(x), {what}", f"{m[f'baseline_log_px_{name}']:.3f}", "baseline, nats"))
    return "\n".join(f"  {name:<32}{value!s:>18}  {note}" for name, value, note in rows)


def main(argv=None):
    parser = Parser(prog="evaluate.py", description="A run's test figures beside baselines.")
    add_run_flags(parser)
    parser.add_argument(
        "--n-samples", type=positive_int, default=1000, help="importance samples (default: 1000)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of these samples (default: 0)")
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
    metrics, figures = evaluate(model, data.train.x, data.test.x, args.n_samples, args.seed)
    epoch = (checkpoint["best"] or {"epoch": checkpoint["position"]["epoch"]})["epoch"]
    unit = unit_of(config)
    save_figures_data(run, data, figures | {"epoch": np.array(epoch), "unit": np.array(unit)})
    runs.write_json(run.metrics, metrics | {"epoch": epoch, "units": units(unit)})

    print(f"Test MSE: {metrics['test_mse']:.4f}")
    print(f"{metrics['n_test']} test rows, after epoch {epoch}; per row, in {unit}:")
    print(table(metrics, model.likelihood))
    if note := model.likelihood.note(data.test.x):
        print(note)
    print(f"Wrote {run.metrics}")


def save_figures_data(run, data, figures):
    """evaluation.npz, from which plot_results.py draws; x, recon and std in the user's units."""
    scale = np.array([column.scale for column in data.columns])
    figures = figures | {
        "x": data.decode(figures["x"]),
        "recon": data.decode(figures["recon"]),
        "std": figures["std"] * scale,
        "columns": np.array([column.name for column in data.columns]),
        "shape": np.array(data.shape),
    }
    if data.test.label is not None:
        figures["label"] = data.test.label[: len(figures["mu"])]
    runs.write_atomic(run.evaluation, lambda file: np.savez_compressed(file, **figures))


if __name__ == "__main__":
    run_script(main)
