"""Generated rows of the default model: does a classifier learn from them?

    python benchmarks/generation.py --table hivae_adult.csv     # about 2 minutes, with TVAE 9

Protocol: rows with a missing cell are dropped, and a random third of the others, which depends on
the seed, is held out. `train.py --data train.csv` and `generate.py --n N` with N the number of
training rows run in this process, without flags that change the model; kinds of columns are given
if `hivae_types_adult.csv` lies beside the table. `train.py` holds out a tenth of its rows. CTGAN's
TVAE (Xu et al. 2019; 100 epochs) is measured too if ctgan is installed. The metrics are:

`auroc`: the AUROC in percent of a HistGradientBoostingClassifier that is fitted to generated rows
and predicts the target's two classes in the held-out real rows. `dcr`: the Euclidean distance to
the closest training row, with numbers and ranks standardised by the training rows and categories
one-hot; median and 5th percentile over at most 5000 rows. `copies`: the percentage of rows that
equal a training row in every cell. `columns`: the mean over columns of the distance to the training
rows (Kolmogorov-Smirnov or total variation); `column` holds each distance. The method "real rows"
has a classifier fitted to the training rows, and the other metrics of the held-out rows. Results
are mean and standard deviation over seeds.
"""

import contextlib
import csv
import importlib.util
import io
import json
import shlex
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import generate  # first: before numpy and torch

# isort: split

import numpy as np

import train
from parts.console.devices import choose_device
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.errors import UserError
from parts.files import write_json
from parts.forms import (
    cells,
)
from parts.forms.tables import (
    encoding,
    table_files,
)
from parts.measure import closeness
from parts.options import positive_int
from parts.runs import find_run, versions

RESULTS = ROOT / "benchmarks/results"
COMMITTED = ("hivae_adult", "c9", 3)  # table, target and seeds of results/generation.json
HELD_OUT_FRACTION = 1 / 3
N_DCR = 5000  # most rows whose closest training row is searched
TVAE_EPOCHS = 100
FEWEST = 60  # fewest rows without holes
KIND_OF_TYPE = {  # type in a file beside the table, in HI-VAE's words -> kind
    **{"count": "count", "cat": "categorical", "pos": "positive", "real": "real"},
    "ordinal": "ordinal",
}


def read_table(path):
    """The rows without missing cells as text, and kinds of columns from a file of types, or {}."""
    frame = table_files.read(path).frame
    frame = frame.set_axis(list(map(str, frame.columns)), axis=1)
    whole = ~np.any([cells.missing(frame[name]) for name in frame.columns], axis=0)
    frame = frame[whole].reset_index(drop=True)
    beside = path.with_name(path.name.replace("_", "_types_", 1))
    if beside == path or not beside.is_file():
        return frame, {}
    with beside.open(encoding="utf-8", newline="") as file:
        types = [row.get("type") for row in csv.DictReader(file)]
    if len(types) != len(frame.columns) or set(types) - set(KIND_OF_TYPE):
        raise UserError(
            f"{beside}: {len(types)} types, {sorted(set(map(str, types)))[:6]}, expected one of "
            f"{', '.join(KIND_OF_TYPE)} for each of {len(frame.columns)} columns"
        )
    return frame, {n: KIND_OF_TYPE[t] for n, t in zip(frame.columns, types, strict=True)}


def check_target(frame, name, path):
    """Raise UserError for too few rows, or for a target without two frequent classes."""
    if name not in frame:
        names = ", ".join(frame.columns[:20])
        raise UserError(f"--target {name!r}: {path} has the columns {names}")
    if len(frame) < FEWEST:
        raise UserError(f"{path}: {len(frame)} rows without a hole, expected at least {FEWEST}")
    classes = frame[name].value_counts()
    if len(classes) != 2 or classes.min() < FEWEST // 2:
        shown = ", ".join(f"{value!r} {n} times" for value, n in classes.iloc[:4].items())
        raise UserError(
            f"--target {name!r} holds {shown}{', ...' if len(classes) > 4 else ''}; expected two "
            f"classes of at least {FEWEST // 2} rows each"
        )


def split(n, seed):
    """The numbers of the training rows, and of the third that is held out."""
    order = np.random.default_rng(seed).permutation(n)
    n_held = int(n * HELD_OUT_FRACTION)
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def ours(folder, wanted, n, seed):
    """Rows of the two commands, the seconds of both, and the modelled Columns of the run."""
    (folder / "kinds.json").write_text(json.dumps(wanted))
    where = ["--runs-dir", str(folder / "runs"), "--run", "adult", "--seed", str(seed)]
    fit = ["--data", str(folder / "train.csv"), "--test-fraction", "0"]
    fit += ["--columns", str(folder / "kinds.json")]
    made = folder / "new.csv"
    seconds = []
    commands = (train, [*fit, *where]), (generate, [*where, "--n", str(n), "--out", str(made)])
    for script, argv in commands:
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            code = script.main(argv)
        if code:  # Ctrl-C
            raise KeyboardInterrupt
        seconds.append(time.perf_counter() - start)
    columns = find_run(folder / "runs", "adult").config().codec.modelled
    return table_files.read(made).frame, seconds, columns


def tvae(frame, columns, n, seed):
    """Rows of CTGAN's TVAE, and the seconds of its fit and of sampling."""
    import torch
    from ctgan import TVAE

    numbers = frame.copy()
    for column in columns:
        if not column.levels:
            value = cells.numbers(frame[column.name], column.style)
            numbers[column.name] = value
    numbers = numbers[[column.name for column in columns]].dropna()  # TVAE takes no holes
    numbers = numbers.astype({c.name: "int64" for c in columns if c.whole and not c.levels})
    np.random.seed(seed)  # noqa: NPY002  TVAE uses the global state
    torch.manual_seed(seed)
    start = time.perf_counter()
    model = TVAE(epochs=TVAE_EPOCHS, enable_gpu=False)
    model.fit(numbers, [column.name for column in columns if column.levels])
    fitted = time.perf_counter()
    drawn = model.sample(n)
    return drawn, [fitted - start, time.perf_counter() - fitted]


def numbers_of(frame, columns):
    """Rows as float64 [n, D]: numbers and codes of levels; NaN for unreadable cells."""
    values = [
        encoding.codes_of_levels(frame[c.name], c)
        if c.levels
        else cells.numbers(frame[c.name], c.style)
        for c in columns
    ]
    return np.stack(values, -1)


def auroc(rows, held, at):
    """AUROC of a classifier of column `at` fitted to `rows`, percent; None for one class."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.metrics import roc_auc_score

    rows = rows[~np.isnan(rows[:, at])]
    if len(np.unique(rows[:, at])) < 2:
        return None
    model = HistGradientBoostingClassifier(random_state=0)
    model.fit(np.delete(rows, at, 1), rows[:, at])
    scores = model.predict_proba(np.delete(held, at, 1))[:, 1]
    return 100 * float(roc_auc_score(held[:, at], scores))


def coordinates(columns, rows, real):
    """Coordinates of rows for distances: standardised by `real`, with categories one-hot."""
    parts = []
    for j, column in enumerate(columns):
        if column.kind in ("categorical", "binary"):
            parts.append((rows[:, j, None] == np.arange(len(column.levels))).astype(float))
        else:
            std = np.nanstd(real[:, j]) or 1.0
            value = (rows[:, j, None] - np.nanmean(real[:, j])) / std
            parts.append(np.nan_to_num(value, nan=0.0))
    return np.hstack(parts)


def share_of_copies(rows, real):
    """Percent of rows that equal a row of `real` in every cell."""
    known = set(map(tuple, real.tolist()))
    return 100 * sum(row in known for row in map(tuple, rows.tolist())) / len(rows)


def measure(columns, target, rows, real, held, fitted_to=None):
    """All metrics of `rows`, given the training rows `real` and the held-out rows `held`.

    The classifier is fitted to `fitted_to`, by default to `rows`.
    """
    from sklearn.neighbors import NearestNeighbors

    at = [column.name for column in columns].index(target)
    closest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(
        coordinates(columns, real, real)
    )
    dcr = closest.kneighbors(coordinates(columns, rows[:N_DCR], real))[0][:, 0]
    masks = [(~np.isnan(x)).astype(np.float32) for x in (rows, real)]
    apart = closeness.column_distances(columns, (rows, masks[0]), (real, masks[1]))
    return {
        "auroc": auroc(rows if fitted_to is None else fitted_to, held, at),
        "dcr_median": float(np.median(dcr)),
        "dcr_p5": float(np.quantile(dcr, 0.05)),
        "copies": share_of_copies(rows, real),
        "columns": statistics.fmean(v for v in apart.values() if v is not None),
        "column": apart,
    }


def one_seed(frame, wanted, target, seed, with_tvae):
    """Map each method to its metrics on one split, with one fit of each method."""
    at_train, at_held = split(len(frame), seed)
    training, held_out = (frame.iloc[at].reset_index(drop=True) for at in (at_train, at_held))
    found = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        training.to_csv(folder / "train.csv", index=False)
        made = {"VAE (this run)": ours(folder, wanted, len(training), seed)}
    columns = made["VAE (this run)"][2]
    real, held = (numbers_of(rows, columns) for rows in (training, held_out))
    found["real rows"] = measure(columns, target, held, real, held, fitted_to=real)
    if with_tvae:
        made["TVAE"] = tvae(training, columns, len(training), seed)
    for method, (rows, (fit, sample), *_) in made.items():
        figures = measure(columns, target, numbers_of(rows, columns), real, held)
        found[method] = figures | {"fit_seconds": fit, "sample_seconds": sample}
    for method, figures in found.items():
        print(f"seed {seed}, {method}: " + line_of(figures), flush=True)
    return found


def line_of(figures):
    parts = [f"{k} {v:.4g}" for k, v in figures.items() if isinstance(v, float)]
    return ", ".join(["auroc none: one class", *parts] if figures["auroc"] is None else parts)


def over_seeds(values):
    """Mean and standard deviation of numbers or of dicts of numbers; None if a number is None."""
    if isinstance(values[0], dict):
        return {key: over_seeds([value[key] for value in values]) for key in values[0]}
    if any(value is None for value in values):
        return None
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "sd": spread}


def main(argv=None):
    parser = Parser(prog="benchmarks/generation.py", description="Generated rows, measured.")
    add = parser.add_argument
    add("--table", required=True, type=Path, help="a table such as hivae_adult.csv")
    add("--target", default=COMMITTED[1], help="a column of two classes (default: %(default)s)")
    add("--seeds", type=positive_int, default=COMMITTED[2], help="of splits and fits (default: 3)")
    default = "results/generation.json for Adult with these defaults, else none"
    add("--out", type=Path, metavar="FILE", help=f"the JSON to write (default: {default})")
    args = parser.parse_args(argv)
    committed = (args.table.stem, args.target, args.seeds) == COMMITTED
    out = args.out or (RESULTS / "generation.json" if committed else None)
    if out and not out.parent.is_dir():
        raise UserError(f"--out {out}: {out.parent} is no folder")
    frame, wanted = read_table(args.table)
    check_target(frame, args.target, args.table)
    wanted = wanted | {args.target: "binary"}
    with_tvae = importlib.util.find_spec("ctgan") is not None
    if not with_tvae:
        print("TVAE is left out: ctgan is not installed (pip install ctgan)")
    seeds = range(args.seeds)
    found = [one_seed(frame, wanted, args.target, seed, with_tvae) for seed in seeds]
    n_train, n_held = map(len, split(len(frame), 0))
    flags = f"--table {args.table.name}"
    if not committed:
        flags += f" --target {shlex.quote(args.target)} --seeds {args.seeds}"
    result = {
        "command": f"python benchmarks/generation.py {flags}",
        "device": choose_device("auto").type,
        "versions": versions() | others(),
        "table": args.table.stem,
        "target": args.target,
        "seeds": args.seeds,
        "rows": {"train": n_train, "held_out": n_held, "generated": n_train},
        "kinds": wanted,
        "tvae_epochs": TVAE_EPOCHS if with_tvae else None,
        "methods": {method: over_seeds([row[method] for row in found]) for method in found[0]},
    }
    if out is None:
        print("Not written; name a file by --out")
        return
    write_json(out, result)
    print(f"Wrote {out}")


def others():
    """Versions of what else decides the figures."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("scikit-learn", "pandas", "ctgan"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


if __name__ == "__main__":
    run_script(main)
