"""Anomaly detection on labelled tables, with the default settings.

    python benchmarks/detection.py --tables DIR       # DIR holds *.npz; 20 minutes on two cores

Tables: DIR/*.npz hold X [N, D] and y (1 = anomaly), such as the classical tables of ADBench (Han et
al. 2022). Beside them stand tables of scikit-learn, in each of which one class is rare: digits, 5 %
of whose rows are of one digit; wine, a tenth of one class; breast cancer, a tenth malignant.

Protocols, by seeds 0, 1, 2, ... "Normal rows": a random half of the normal rows is trained on, the
other half and all anomalies are scored; at most 5000 normal rows on each side. "All rows": every
row is trained on and scored, anomalies included. AUROC, mean and standard deviation over seeds.

The VAE is fitted to a CSV file and scores as the commands do, by the same functions: to normal rows
as `train.py --data FILE`, which holds out a tenth of them, and then `detect.py OTHER --run`; to all
rows as `detect.py FILE`. The others are fitted to all training rows, standardised by them, by
scikit-learn and, where it is installed, PyOD's VAE with its defaults; and once more to the features
that the VAE's encoder sees (`OUR_COLUMNS`). Seconds are of fit and score in this process, without
imports and files.
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
OURS, PYOD, OUR_COLUMNS = "VAE", "PyOD's VAE", "our columns"
HELD_OUT = {"train": 0.1, "detect": 0.0}  # as the commands do
FIT_AS = {"normal rows": "train", "all rows": "detect"}  # protocol -> the verb whose fit it has


def tables_in(folder):
    """Yield name, X [N, D] and y [N] of each .npz file of a folder."""
    for path in sorted(Path(folder).glob("*.npz"), key=lambda p: p.stem.split("_", 1)[-1].lower()):
        with np.load(path, allow_pickle=False) as arrays:
            yield path.stem.split("_", 1)[-1], arrays["X"].astype(np.float64), arrays["y"]


def tables_of_scikit_learn():
    """Yield name, X [N, D] and y [N] of tables in which one class is made rare, in random order."""
    from sklearn import datasets

    cancer, wine, digits = (
        getattr(datasets, f"load_{name}")() for name in ("breast_cancer", "wine", "digits")
    )
    cases = [("breast cancer", cancer, 0, 0.1)]
    cases += [(f"wine {k}", wine, k, 0.1) for k in range(3)]
    cases += [(f"digit {k}", digits, k, 0.05) for k in range(10)]
    for name, table, odd, share in cases:
        rng = np.random.default_rng(0)
        is_odd = table.target == odd
        n_odd = round(share / (1 - share) * (~is_odd).sum())
        rows = np.concatenate(
            [np.flatnonzero(~is_odd), rng.permutation(np.flatnonzero(is_odd))[:n_odd]]
        )
        rows = rng.permutation(rows)
        yield name, table.data[rows].astype(np.float64), is_odd[rows].astype(int)


def split(y, seed, protocol="normal rows"):
    """The numbers of the training rows and of the test rows."""
    if protocol == "all rows":
        return np.arange(len(y)), np.arange(len(y))
    normal = np.random.default_rng(seed).permutation(np.flatnonzero(y == 0))
    half = len(normal) // 2
    return normal[:half][:MAX_NORMAL_ROWS], np.concatenate(
        [normal[half:][:MAX_NORMAL_ROWS], np.flatnonzero(y == 1)]
    )


def write_table(path, x):
    header = ",".join(f"f{j}" for j in range(x.shape[1]))
    path.write_text("\n".join([header, *(",".join(map(repr, row)) for row in x.tolist())]) + "\n")


def ours(train, test, verb, seed):
    """Scores of the test rows by the functions of `detect.py`, seconds, and features of both."""
    with tempfile.TemporaryDirectory() as name, contextlib.redirect_stdout(io.StringIO()):
        folder = Path(name)
        for part, x in (("train", train), ("test", test)):
            write_table(folder / f"{part}.csv", x)
        flags = ["--runs-dir", str(folder / "runs"), "--seed", str(seed)]
        args = detect.make_parser().parse_args([str(folder / "train.csv"), *flags])
        start = time.perf_counter()
        form = forms.form_of(args.file)
        source = form.read(args.file)
        run = fitted_run(args, verb, form, source, held_out=HELD_OUT[verb])
        fitted, _ = run.load(choose_device(args.device))
        scorer, data = Scorer(fitted, args.n_samples, args.seed), fitted.config.data
        fresh = form.encode_for(form.read(str(folder / "test.csv"), data), fitted.codec, data)
        scores = scorer.of_encoded(fresh)
        seconds = time.perf_counter() - start
        known = form.encode_for(source, fitted.codec, data)
        features = [scorer.embed(rows.x, rows.mask, rows.y) for rows in (known, fresh)]
    return scores, seconds, features


def pyod_vae(train, test, seed):
    from pyod.models.vae import VAE

    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        model = VAE(verbose=0, random_state=seed).fit(train)
    scores = np.nan_to_num(model.decision_function(test), nan=np.finfo(np.float32).max)
    return scores, time.perf_counter() - start


def measure(x, y, protocol, seed, with_pyod):
    """AUROC and seconds of every method on one split of one table, and the training rows."""
    from sklearn.metrics import roc_auc_score

    at, to = split(y, seed, protocol)
    scores, took, features = ours(x[at], x[to], FIT_AS[protocol], seed)
    found, seconds = {OURS: scores}, {OURS: took}
    std = x[at].std(0)
    train, test = ((x[rows] - x[at].mean(0)) / np.where(std > 0, std, 1) for rows in (at, to))
    found |= baselines.detectors(train, test, seed)
    if with_pyod:
        found[PYOD], seconds[PYOD] = pyod_vae(train, test, seed)
    of_features = baselines.detectors(*features, seed)
    found |= {f"{name}, {OUR_COLUMNS}": scores for name, scores in of_features.items()}
    auroc = {name: 100 * roc_auc_score(y[to], score) for name, score in found.items()}
    return auroc, seconds, len(at)


def measure_table(name, x, y, protocol, seeds, with_pyod):
    """The summary of one table over seeds; prints a line."""
    runs = [measure(x, y, protocol, seed, with_pyod) for seed in range(seeds)]
    auroc, seconds, n_rows = runs[0]
    by_seed = {m: [run[0][m] for run in runs] for m in auroc}
    row = {"name": name, "rows": n_rows, "columns": x.shape[1], "odd": float(y.mean())}
    row |= {"auroc": {m: summary(values) for m, values in by_seed.items()}, "by_seed": by_seed}
    row["seconds"] = {m: statistics.mean(run[1][m] for run in runs) for m in seconds}
    texts = (f"{m} {mean:.1f}±{sd:.1f};" for m, (mean, sd) in row["auroc"].items())
    print(f"{name:13}", *texts, flush=True)
    return row


def summary(values):
    """[mean, standard deviation] over seeds."""
    return [statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0]


def means(rows, seeds):
    """[mean, standard deviation] over seeds of the mean AUROC of the tables."""
    return {
        m: summary([statistics.mean(row["by_seed"][m][s] for row in rows) for s in range(seeds)])
        for m in rows[0]["auroc"]
    }


def main(argv=None):
    parser = Parser(prog="benchmarks/detection.py", description=__doc__.splitlines()[0])
    parser.add_argument("--tables", required=True, metavar="DIR", help="a folder of .npz files")
    parser.add_argument("--seeds", type=positive_int, default=3, help="splits (default: 3)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this table; repeatable")
    parser.add_argument("--out", metavar="FILE", help="the JSON (default: in benchmarks/results)")
    args = parser.parse_args(argv)
    sources = {"DIR": list(tables_in(args.tables)), "scikit-learn": list(tables_of_scikit_learn())}
    if not sources["DIR"]:
        raise UserError(f"--tables {args.tables}: no .npz file there, expected X and y in each")
    if args.only:
        names = {table[0] for tables in sources.values() for table in tables}
        if unknown := set(args.only) - names:
            raise UserError(f"--only {min(unknown)}: expected one of {', '.join(sorted(names))}")
    try:
        import pyod  # noqa: F401
    except ImportError:
        print("PyOD is not installed (pip install pyod): its VAE is left out")
    torch.set_num_threads(1)
    groups = []
    for protocol in FIT_AS:
        for source, tables in sources.items():
            print(f"{protocol}, {source}")
            rows = [
                measure_table(*table, protocol, args.seeds, "pyod" in sys.modules)
                for table in tables
                if not args.only or table[0] in args.only
            ]
            if rows:
                group = {"trained_on": protocol, "source": source, "tables": rows}
                groups.append(group | {"mean": means(rows, args.seeds)})
                print(
                    *(f"{m}: {v[0]:.2f}±{v[1]:.2f}" for m, v in groups[-1]["mean"].items()),
                    sep="\n",
                )
    result = {"command": "python benchmarks/detection.py --tables DIR", "seeds": args.seeds}
    result |= {"groups": groups, "versions": versions()}
    if args.out or not (args.only or args.seeds != 3):
        write_json(Path(args.out or RESULTS / "detection.json"), result)
    return 0


if __name__ == "__main__":
    run_script(main)
