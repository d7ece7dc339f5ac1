"""One-class anomaly detection on labelled tables, with the default settings.

    python benchmarks/detection.py --tables DIR       # DIR holds *.npz; 10 minutes

Protocol: DIR/*.npz hold X [N, D] and y (1 = anomaly), such as the classical tables of ADBench (Han
et al. 2022). A random half of the normal rows is trained on; the other half and all anomalies are
scored; at most 5000 normal rows on each side, no table is resampled. AUROC, mean and standard
deviation over splits by seeds 0, 1, 2, ...

The VAE is trained as `train.py --data FILE` does on a CSV of the training rows, of which a tenth is
held out, and scores as `detect.py OTHER --run` does, by the same functions. The others are fitted
to the same training rows, standardised by them, by scikit-learn and, where it is installed, PyOD's
VAE with its defaults. Seconds are of fit and score in this process, without imports and files.
"""

import contextlib
import io
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import parts  # noqa: F401  before torch

# isort: split

import numpy as np
import torch

import detect
from parts import forms
from parts.console.devices import choose_device
from parts.console.fitting import fitted_run
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.errors import UserError
from parts.files import write_json
from parts.measure import baselines
from parts.options import positive_int
from parts.runs import versions
from parts.tasks.score import Scorer

RESULTS = ROOT / "benchmarks/results"
MAX_NORMAL_ROWS = 5000  # most normal rows for training, and for testing
OURS, PYOD = "VAE", "PyOD's VAE"


def split(y, seed):
    """The numbers of the training rows and of the test rows."""
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(y == 0))
    half = len(normal) // 2
    return normal[:half][:MAX_NORMAL_ROWS], np.concatenate(
        [normal[half:][:MAX_NORMAL_ROWS], np.flatnonzero(y == 1)]
    )


def write_table(path, x):
    header = ",".join(f"f{j}" for j in range(x.shape[1]))
    path.write_text("\n".join([header, *(",".join(map(repr, row)) for row in x.tolist())]) + "\n")


def ours(train, test, folder, seed):
    """Scores of the test rows by the functions of `detect.py`, and seconds."""
    for name, x in (("train", train), ("test", test)):
        write_table(folder / f"{name}.csv", x)
    with contextlib.redirect_stdout(io.StringIO()):
        flags = ["--runs-dir", str(folder / f"runs{seed}"), "--seed", str(seed)]
        args = detect.make_parser().parse_args([str(folder / "train.csv"), *flags])
        start = time.perf_counter()
        form = forms.form_of(args.file)
        run = fitted_run(args, "train", form, form.read(args.file))
        fitted, _ = run.load(choose_device(args.device))
        scorer, data = Scorer(fitted, args.n_samples, args.seed), fitted.config.data
        fresh = form.read(str(folder / "test.csv"), data)
        scores = scorer.of_encoded(form.encode_for(fresh, fitted.codec, data))
    return scores, time.perf_counter() - start


def pyod_vae(train, test, seed):
    from pyod.models.vae import VAE

    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        model = VAE(verbose=0, random_state=seed).fit(train)
    scores = np.nan_to_num(model.decision_function(test), nan=np.finfo(np.float32).max)
    return scores, time.perf_counter() - start


def measure(path, seed, with_pyod):
    """AUROC and seconds of every method on one split of one table."""
    from sklearn.metrics import roc_auc_score

    with np.load(path, allow_pickle=False) as arrays:
        x, y = arrays["X"].astype(np.float64), arrays["y"]
    at, to = split(y, seed)
    with tempfile.TemporaryDirectory() as folder:
        scores, took = ours(x[at], x[to], Path(folder), seed)
    found, seconds = {OURS: scores}, {OURS: took}
    std = x[at].std(0)
    train, test = ((x[rows] - x[at].mean(0)) / np.where(std > 0, std, 1) for rows in (at, to))
    start = time.perf_counter()
    found |= baselines.detectors(train, test, seed)
    seconds["baselines"] = time.perf_counter() - start
    if with_pyod:
        found[PYOD], seconds[PYOD] = pyod_vae(train, test, seed)
    auroc = {name: 100 * roc_auc_score(y[to], score) for name, score in found.items()}
    return auroc, seconds, {"rows": len(at), "columns": x.shape[1]}


def summary(values):
    """[mean, standard deviation] over seeds."""
    return [statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0]


def main(argv=None):
    parser = Parser(prog="benchmarks/detection.py", description=__doc__.splitlines()[0])
    parser.add_argument("--tables", required=True, metavar="DIR", help="a folder of .npz files")
    parser.add_argument("--seeds", type=positive_int, default=3, help="splits (default: 3)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this table; repeatable")
    parser.add_argument("--out", metavar="FILE", help="the JSON (default: in benchmarks/results)")
    args = parser.parse_args(argv)
    paths = sorted(Path(args.tables).glob("*.npz"), key=lambda p: p.stem.split("_", 1)[-1].lower())
    paths = [p for p in paths if not args.only or p.stem.split("_", 1)[-1] in args.only]
    if not paths:
        raise UserError(
            f"--tables {args.tables}: no such .npz file there, expected X and y in each"
        )
    try:
        import pyod  # noqa: F401
    except ImportError:
        print("PyOD is not installed (pip install pyod): its VAE is left out")
    torch.set_num_threads(1)
    rows = []
    for path in paths:
        runs = [measure(path, seed, "pyod" in sys.modules) for seed in range(args.seeds)]
        name = path.stem.split("_", 1)[-1]
        auroc = {m: summary([run[0][m] for run in runs]) for m in runs[0][0]}
        seconds = {m: statistics.mean(run[1][m] for run in runs) for m in runs[0][1]}
        by_seed = {m: [run[0][m] for run in runs] for m in runs[0][0]}
        found = {"auroc": auroc, "seconds": seconds, "by_seed": by_seed}
        rows.append({"name": name, **runs[0][2], **found})
        print(f"{name:12}", *(f"{m} {v[0]:.1f}±{v[1]:.1f};" for m, v in auroc.items()), flush=True)
    result = {"command": "python benchmarks/detection.py --tables DIR", "seeds": args.seeds}
    result |= {"tables": rows, "mean": means(rows, args.seeds), "versions": versions()}
    print(*(f"{m}: {v[0]:.2f}±{v[1]:.2f}" for m, v in result["mean"].items()), sep="\n")
    seconds = {m: sum(row["seconds"][m] for row in rows) for m in rows[0]["seconds"]}
    print("seconds of one seed:", {m: round(s, 1) for m, s in seconds.items()})
    if args.out or not (args.only or args.seeds != 3):
        write_json(Path(args.out or RESULTS / "detection.json"), result)
    return 0


def means(rows, seeds):
    """[mean, standard deviation] over seeds of the mean AUROC of the tables."""
    return {
        m: summary([statistics.mean(row["by_seed"][m][s] for row in rows) for s in range(seeds)])
        for m in rows[0]["auroc"]
    }


if __name__ == "__main__":
    run_script(main)
