"""Evaluate a run on its test rows: print its metrics beside baselines, write metrics.json.

python evaluate.py                                  # the newest run
python evaluate.py --run 0001 --n-samples 5000
"""

# First: from here on Ctrl-C is handled, while packages are imported.
from parts.console.script import run_script

# isort: split
import contextlib
import math

import numpy as np

import data as datasets
from parts.console.devices import choose_device, choose_threads, use_threads
from parts.console.flags import Parser, add_device_flags, add_run_flags
from parts.console.notes import notes_kept
from parts.console.progress import progress_bar
from parts.errors import UserError
from parts.files import write_arrays, write_json
from parts.forms import conditions
from parts.forms.units import column_arrays
from parts.measure import disentanglement
from parts.model.batches import Batch
from parts.options import positive_int, seed
from parts.runs import find_run
from parts.tasks.evaluate import (
    evaluate,
    known_factors,
    measure_factors,
    path_of,
    remarks,
    units,
    walks_of,
)

LOOSE_ESS = 10.0  # effective samples below which the estimate of log p(x) is a loose bound
LOG_2 = math.log(2)  # nats of a bit


def unit_of(config):
    """The unit of x in a run's metrics and figures."""
    return "the data's own units" if config.scaling == "none" else "standardised units"


def table(metrics, likelihood, given=""):
    """Format the metrics of the model and of the baselines, which do not use conditions."""
    m = metrics
    log_px, baseline = (
        ("log p(x | y)", "baseline, without y") if given else ("log p(x)", "baseline")
    )
    n = f"{m['n_samples']} samples"
    se = "" if m["log_px_se"] is None else f" ± {m['log_px_se']:.2f}"
    few = "; few: log p(x) may be nats higher" if m["ess"] < LOOSE_ESS < m["n_samples"] else ""
    user, bits = [], []
    if m["log_px_user"] != m["log_px"]:  # the model's units differ from the user's
        what = "nats: the same, change of variables"
        user = [(f"{log_px}, user's units", f"{m['log_px_user']:.3f}", what)]
    if m["bits_per_dim"] is not None:
        bits = [("bits per dimension", f"{m['bits_per_dim']:.4f}", "the same, per pixel")]
    carried = ""
    if m["carrying_units"] is not None and m["carrying_units"] < m["active_units"]:
        n_carrying, nats = m["carrying_units"], m["carried_nats"]
        carried = f"; {n_carrying} of them carry {nats:.1f} of {m['kl']:.1f} nats"
    rows = [
        ("ELBO", f"{m['elbo']:.3f}", f"nats, or {m['elbo'] / LOG_2:.2f} bits"),
        (log_px, f"{m['log_px']:.3f}{se}", f"nats, importance sampling, {n}"),
        *user,
        *bits,
        ("KL(q(z|x) || p(z))", f"{m['kl']:.3f}", f"nats, or {m['kl'] / LOG_2:.2f} bits"),
        ("active units", m["active_units"], f"latents whose posterior mean varies{carried}"),
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


def save_figures(run, data, figures):
    """Write evaluation.npz, from which plot_results.py draws."""
    codec = data.codec
    arrays = figures | data.form.figure_arrays(data, figures) | column_arrays(codec.modelled)
    arrays |= {"shape": np.array(codec.shape), "form": np.array(codec.form)}
    row, rows = data.form.learned or (data.form.row, data.form.rows)
    arrays |= {"one_row": np.array(row), "of": np.array(rows)}
    ignored = [column.name for column in codec.columns if column.kind == "ignore"]
    arrays["ignored"] = np.array(ignored, dtype=str)
    if data.test.label is not None:
        arrays["label"] = data.test.label[: len(figures["mu"])]
    write_arrays(run.evaluation, arrays)


def main(argv=None):
    parser = Parser(prog="evaluate.py", description="A run's test figures beside baselines.")
    add_run_flags(parser)
    parser.add_argument(
        "--n-samples", type=positive_int, default=1000, help="importance samples (default: 1000)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of these samples (default: 0)")
    parser.add_argument(
        "--factors",
        action="store_true",
        help="measure too how well single latents stand for the known factors of the data, by MIG "
        "and the beta-VAE metric",
    )
    add_device_flags(parser)
    with contextlib.ExitStack() as locks:
        evaluate_run(parser.parse_args(argv), locks)


def evaluate_run(args, locks):
    """Measure a run, write its metrics and figures' arrays; `locks` keep it from being replaced."""
    run = find_run(args.runs_dir, args.run)
    locks.enter_context(run.in_use())
    notes = locks.enter_context(notes_kept())
    fitted, epoch = run.load(choose_device(args.device))
    config, model, codec = run.config(), fitted.model, fitted.codec
    use_threads(choose_threads(args.threads, 2**30))
    data = datasets.load(fitted.config.data, codec, config.fingerprint)
    if not len(data.test.x):
        raise UserError(f"{run.path} has no test rows: it was trained with --test-fraction 0")
    known = known_factors(data, model, args.seed) if args.factors else None
    train, test = Batch.of(data.train), Batch.of(data.test)
    with progress_bar(len(test.x), 0) as bar:
        options = {"columns": codec.modelled, "progress": bar.update}
        metrics, figures = evaluate(model, train, test, args.n_samples, args.seed, **options)
    if known:
        metrics |= measure_factors(model, *known, args.seed)
    if data.form.walks and model.members == 1:  # the members of an ensemble have different latents
        figures |= walks_of(model, figures["mu"], test.y, args.seed)
    if data.train.when is not None:
        splits = data.train, data.val, data.test
        figures |= path_of(model, splits, figures["kl_per_dim"])
    unit = unit_of(fitted.config.data)
    save_figures(run, data, figures | {"epoch": np.array(epoch), "unit": np.array(unit)})
    given = ", ".join(conditions.names(codec.conditions))
    unit_of_each = units(unit, given) | (disentanglement.UNIT_OF_METRIC if known else {})
    write_json(run.metrics, metrics | {"epoch": epoch, "units": unit_of_each})

    print(f"Test MSE: {metrics['test_mse']:.4f}")
    print(
        f"{metrics['n_test']} test rows, after epoch {epoch}; per row, in {unit}"
        + (f", given y: {given}:" if given else ":")
    )
    print(table(metrics, model.likelihood, given))
    for remark in remarks(metrics, model):
        print(f"Note: {remark}")
    if note := model.note(data.test.x):
        print(note)
    baselines = model.likelihood.baseline_names
    run.keep("evaluate", {"notes": notes, "given": given, "unit": unit, "baselines": baselines})
    print(f"Wrote {run.metrics}")


if __name__ == "__main__":
    run_script(main)
