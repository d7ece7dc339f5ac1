"""Test metrics of the commands on built-in data sets, over seeds and beside baselines.

    python benchmarks/quality.py          # about 5 minutes on one core

Each row runs `python train.py FLAGS --seed S` and `python evaluate.py` for every seed, and gives
mean and standard deviation over seeds. The figures of docs/results.md come from the runs of the
first seed.
"""

import contextlib
import io
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

import data as datasets
import evaluate
import plot_results
import train
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.files import read_json, write_atomic, write_json
from parts.forms.config import DataConfig
from parts.options import positive_int
from parts.plots import (
    style,
)
from parts.runs import find_run, versions
from parts.tasks.evaluate import pca_reconstruction, units

RESULTS = ROOT / "benchmarks/results"
DIGITS_FLAGS = "--data digits --epochs 200 --hidden-dims 256 --latent-dim 16"
# name -> flags of train.py; docs/results.md shows them in this order
ROWS = {
    "default": "",
    "classic": "--preset classic",
    "fixed": "--variance fixed:1.0",
    "shared": "--variance shared",
    "column": "--variance column",
    "iwae": "--objective iwae --n-samples 8",
    "dreg": "--objective dreg --n-samples 8",
    "digits_bernoulli": f"{DIGITS_FLAGS} --likelihood bernoulli --binarize none",
    "digits_gaussian": f"{DIGITS_FLAGS} --likelihood gaussian --variance shared",
}
DRAWN_ROWS = ("default", "digits_bernoulli", "digits_gaussian")
LABEL_ROOM = 10  # fewest dots between two labelled points
BETAS = (0.01, 0.03, 0.1, 0.2, 0.3, 0.5, 1.0, 2.0)


def run(flags, seed, folder, name):
    """Train and evaluate one run; its metrics.json with the seconds of both."""
    where = ["--runs-dir", str(folder), "--run", name]
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        if code := train.main([*flags.split(), "--seed", str(seed), *where]):
            raise SystemExit(code)  # training was interrupted
        trained = time.perf_counter()
        evaluate.main(where)
    done = time.perf_counter()
    finished = find_run(folder, name)
    metrics = finished.read_metrics() | {"loss": finished.read_log()[-1]["loss"]}
    return metrics | {"train_seconds": trained - start, "evaluate_seconds": done - trained}


def summary(values):
    if None in values:
        return None
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": spread}


def table(n_seeds, folder):
    rows = []
    for name, flags in ROWS.items():
        results = [run(flags, seed, folder, f"{name}-{seed}") for seed in range(n_seeds)]
        keys = [*units(""), "loss", "train_seconds", "evaluate_seconds"]
        row = {key: summary([result[key] for result in results]) for key in keys}
        command = f"python train.py {flags}".strip()
        first = {key: results[0][key] for key in keys}
        rows.append({"name": name, "command": command, "seeds": n_seeds, "seed_0": first, **row})
        print(f"{name}: MSE {row['test_mse']['mean']:.4f}, log p(x) {row['log_px']['mean']:.3f}")
    for name in DRAWN_ROWS:
        with contextlib.redirect_stdout(io.StringIO()):
            plot_results.main(["--runs-dir", str(folder), "--run", f"{name}-0"])
        source = find_run(folder, f"{name}-0").figures / "reconstructions.png"
        shutil.copy(source, RESULTS / f"reconstructions_{name}.png")
    return rows


def process_seconds(folder):
    """Seconds of the processes of the three commands."""
    seconds = {}
    for script in ("train.py", "evaluate.py", "plot_results.py"):
        start = time.perf_counter()
        command = [sys.executable, script, "--runs-dir", str(Path(folder) / "timed")]
        subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        seconds[script] = time.perf_counter() - start
    return seconds


def rate_distortion(n_seeds, folder):
    """MSE against KL over beta, and PCA's MSE by its number of components."""
    flags = "--variance fixed:1.0 --epochs 100 --beta {}"
    points = []
    for beta in BETAS:
        results = [run(flags.format(beta), s, folder, f"beta{beta}-{s}") for s in range(n_seeds)]
        kl, mse = (summary([r[key] for r in results]) for key in ("kl", "test_mse"))
        points.append({"beta": beta, "kl": kl, "test_mse": mse})
        print(f"beta {beta}: KL {kl['mean']:.2f} nats, MSE {mse['mean']:.4f}")
    rows = datasets.load(datasets.resolve(DataConfig(scaling="standard")))
    pca = {}
    for k in (1, 2, 4, 8):
        recon = pca_reconstruction(rows.train.x, rows.test.x, k)
        pca[str(k)] = float(np.square(rows.test.x - recon).mean())
    command = f"python train.py {flags.format('BETA')}"
    return {"command": command, "seeds": n_seeds, "points": points, "pca_mse": pca}


def draw_rate_distortion(result, path, unit):
    """Draw the points of `result`, and those of PCA if it has any; distortion is in `unit`."""
    import matplotlib

    matplotlib.use("Agg")
    style.use()
    figure, axes = style.subplots(1, 1, width=6.4, height=3.8)
    axis = axes.flat[0]
    kl, mse = ([p[key]["mean"] for p in result["points"]] for key in ("kl", "test_mse"))
    sd = [p["test_mse"]["sd"] or 0 for p in result["points"]]
    marks = {"marker": "o", "color": style.BLUE, "capsize": 3}
    axis.errorbar(kl, mse, sd, label="VAE, β as written", **marks)
    right = max(kl) * 1.12
    pca = result["pca_mse"]
    label = "PCA, k components: no finite rate"
    marks = {"color": style.ORANGE, "clip_on": False}
    if pca:
        axis.plot([right] * len(pca), list(pca.values()), "D", label=label, **marks)
    for k, y in pca.items():
        beside = {"textcoords": "offset points", "fontsize": 8, "annotation_clip": False}
        axis.annotate(f"k={k}", (right, y), (8, -3), **beside)
    axis.set(title="What a reconstruction costs", xlim=(-0.03 * right, right))
    axis.set_xlabel("rate: KL(q(z|x) || p(z)), nats per row")
    axis.set_ylabel(f"distortion: test MSE ({unit}²)")
    places = axis.transData.transform(np.column_stack([kl, mse]))
    betas = [point["beta"] for point in result["points"]]
    for at, text in labels_apart(betas, places).items():
        axis.annotate(text, (kl[at], mse[at]), (6, 5), textcoords="offset points", fontsize=8)
    style.legend_below(figure, axis)
    write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=style.DPI))


def labels_apart(betas, places):
    """Map a point's number to its label, which joins the betas of points at the same place.

    `places` [n, 2] are positions in dots.
    """
    found = {}
    for i, beta in enumerate(betas):
        near = (at for at in found if np.abs(places[at] - places[i]).max() < LABEL_ROOM)
        found.setdefault(next(near, i), []).append(beta)
    return {at: ", ".join(f"{b:g}" for b in sorted(some)) for at, some in found.items()}


def main(argv=None):
    parser = Parser(prog="benchmarks/quality.py", description="Test figures over seeds.")
    parser.add_argument("--seeds", type=positive_int, default=5, help="seeds per row (default: 5)")
    parser.add_argument(
        "--redraw", action="store_true", help="draw the curve again from quality.json, and stop"
    )
    args = parser.parse_args(argv)
    path = RESULTS / "rate_distortion.png"
    if args.redraw:
        result = read_json(RESULTS / "quality.json")
        draw_rate_distortion(result["rate_distortion"], path, "standardised units")
        return
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "command": "python benchmarks/quality.py",
            "device": "cpu",
            "versions": versions(),
            "process_seconds": process_seconds(folder),
            "rows": table(args.seeds, folder),
            "rate_distortion": rate_distortion(min(3, args.seeds), folder),
        }
    draw_rate_distortion(result["rate_distortion"], path, "standardised units")
    write_json(RESULTS / "quality.json", result)
    print(f"Wrote {(RESULTS / 'quality.json').relative_to(ROOT)}")


if __name__ == "__main__":
    run_script(main)
