"""Generated rows of the commands with their defaults, measured on tables.

    python benchmarks/generation.py --table hivae_adult.csv --table winequality-red.csv

About 8 minutes; with TVAE, if ctgan is installed, 40. Protocol: rows with a missing cell and rows
that are there twice are dropped, and a random third of the others, which depends on the seed, is
held out. Two ways to N rows, the number of training rows, run in this process without flags that
change the model: `generate.py train.csv` ("preset generate"), and `train.py --data train.csv`
followed by `generate.py` ("preset table"). Each holds out a tenth of its rows. CTGAN's TVAE (Xu et
al. 2019; its own default of 300 epochs) is told which columns are numbers. The metrics are:

`told_apart`: the AUROC of a HistGradientBoostingClassifier, 3-fold, that tells as many generated
rows from held-out real ones; 0.5 says that it cannot. `auroc`: the AUROC in percent of the same
kind of classifier that is fitted to generated rows and predicts the target's two classes in the
held-out real rows; only if the table has the target. `dcr`: the Euclidean distance to the closest
training row, with numbers and ranks standardised by the training rows and categories one-hot;
median and 5th percentile over at most 5000 rows. `copies`: the percentage of rows that equal a
training row in every cell. `columns`: the mean over columns of the distance to the training rows
(Kolmogorov-Smirnov or total variation); `column` holds each distance. The method "real rows" has
classifiers of the training rows, and the other metrics of the held-out rows. For these metrics, not
for the models, kinds of columns come from `hivae_types_adult.csv` if such a file lies beside the
table. Results are mean and standard deviation over seeds.
"""

import contextlib
import csv
import importlib.util
import io
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
from parts.forms import cells
from parts.forms.tables import encoding, kinds, table_files
from parts.measure import closeness
from parts.options import positive_int
from parts.runs import versions

RESULTS = ROOT / "benchmarks/results"
# Tables, target and seeds of results/generation.json.
COMMITTED = (["hivae_adult", "winequality-red"], "c9", 3)
HELD_OUT_FRACTION = 1 / 3
N_DCR = 5000  # most rows whose closest training row is searched
TVAE_EPOCHS = 300
N_JUDGED = 10_000  # most rows of each kind for the classifier that tells them apart
FEWEST = 60  # fewest rows without holes
KIND_OF_TYPE = {  # type in a file beside the table, in HI-VAE's words -> kind
    **{"count": "count", "cat": "categorical", "pos": "positive", "real": "real"},
    "ordinal": "ordinal",
}


def read_table(path):
    """The different rows without missing cells as text, and kinds from a file of types, or {}."""
    frame = table_files.read(path).frame
    frame = frame.set_axis(list(map(str, frame.columns)), axis=1)
    whole = ~np.any([cells.missing(frame[name]) for name in frame.columns], axis=0)
    frame = frame[whole].drop_duplicates().reset_index(drop=True)
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
    if len(frame) < FEWEST:
        raise UserError(f"{path}: {len(frame)} rows without a hole, expected at least {FEWEST}")
    if name not in frame:
        return
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


WAYS = {"preset generate": (), "preset table": ("train",)}  # method -> what runs before generate


def ours(folder, way, n, seed):
    """Rows of the commands of a way, and the seconds of the fit and of the rows."""
    data, made = folder / "train.csv", folder / f"{way.split()[-1]}.csv"
    where = ["--runs-dir", str(folder / "runs")]
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        code, argv = 0, [str(data), "--seed", str(seed)]
        if "train" in WAYS[way]:
            fit = ["--data", str(data), "--test-fraction", "0", "--run", "r"]
            code = train.main([*fit, *where, "--seed", str(seed)])
            argv = ["--run", "r", "--seed", str(seed)]
        fitted = time.perf_counter()
        code = code or generate.main([*argv, *where, "--n", str(n), "--out", str(made)])
    if code:  # Ctrl-C
        raise KeyboardInterrupt
    seconds = [fitted - start, time.perf_counter() - fitted]
    return table_files.read(made).frame, seconds


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


def measure(columns, target, rows, real, held, fitted_to=None, seed=0):
    """All metrics of `rows`, given the training rows `real` and the held-out rows `held`.

    The classifier is fitted to `fitted_to`, by default to `rows`.
    """
    from sklearn.neighbors import NearestNeighbors

    names = [column.name for column in columns]
    model_of = rows if fitted_to is None else fitted_to
    closest = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(
        coordinates(columns, real, real)
    )
    dcr = closest.kneighbors(coordinates(columns, rows[:N_DCR], real))[0][:, 0]
    masks = [(~np.isnan(x)).astype(np.float32) for x in (rows, real)]
    apart = closeness.column_distances(columns, (rows, masks[0]), (real, masks[1]))
    told = closeness.classifier_two_sample_auroc(model_of, held, seed, N_JUDGED)
    return {
        "told_apart": None if told is None else told["auroc"],
        "auroc": auroc(model_of, held, names.index(target)) if target in names else None,
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
    columns = [c for c in kinds.fit(training, wanted) if c.kind != "ignore"]
    real, held = (numbers_of(rows, columns) for rows in (training, held_out))
    made, found = {}, {"real rows": measure(columns, target, held, real, held, real, seed)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        training.to_csv(folder / "train.csv", index=False)
        for way in WAYS:
            made[way] = ours(folder, way, len(training), seed)
    if with_tvae:
        made["TVAE"] = tvae(training, columns, len(training), seed)
    for method, (rows, (fit, sample)) in made.items():
        figures = measure(columns, target, numbers_of(rows, columns), real, held, seed=seed)
        found[method] = figures | {"fit_seconds": fit, "sample_seconds": sample}
    for method, figures in found.items():
        print(f"seed {seed}, {method}: " + line_of(figures), flush=True)
    return found


def line_of(figures):
    parts = [f"{k} {v:.4g}" for k, v in figures.items() if isinstance(v, float)]
    return ", ".join(parts)


def over_seeds(values):
    """Mean and standard deviation of numbers or of dicts of numbers; None if a number is None."""
    if isinstance(values[0], dict):
        return {key: over_seeds([value[key] for value in values]) for key in values[0]}
    if any(value is None for value in values):
        return None
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.fmean(values), "sd": spread}


def one_table(path, target, seeds, with_tvae):
    """Figures of all methods on the table at `path`, over seeds."""
    frame, wanted = read_table(path)
    wanted = wanted | ({target: "binary"} if target in frame else {})
    print(path.name, flush=True)
    found = [one_seed(frame, wanted, target, seed, with_tvae) for seed in range(seeds)]
    n_train, n_held = map(len, split(len(frame), 0))
    return {
        "table": path.stem,
        "rows": {"train": n_train, "held_out": n_held, "generated": n_train},
        "kinds": wanted,
        "methods": {method: over_seeds([row[method] for row in found]) for method in found[0]},
    }


def main(argv=None):
    parser = Parser(prog="benchmarks/generation.py", description="Generated rows, measured.")
    add = parser.add_argument
    tables = "a table such as hivae_adult.csv, any number of times"
    add("--table", required=True, type=Path, action="append", help=tables)
    add("--target", default=COMMITTED[1], help="a column of two classes (default: %(default)s)")
    add("--seeds", type=positive_int, default=COMMITTED[2], help="of splits and fits (default: 3)")
    default = "results/generation.json for Adult and red wine with these defaults, else none"
    add("--out", type=Path, metavar="FILE", help=f"the JSON to write (default: {default})")
    args = parser.parse_args(argv)
    committed = ([path.stem for path in args.table], args.target, args.seeds) == COMMITTED
    out = args.out or (RESULTS / "generation.json" if committed else None)
    if out and not out.parent.is_dir():
        raise UserError(f"--out {out}: {out.parent} is no folder")
    for path in args.table:
        check_target(read_table(path)[0], args.target, path)
    with_tvae = importlib.util.find_spec("ctgan") is not None
    if not with_tvae:
        print("TVAE is left out: ctgan is not installed (pip install ctgan)")
    flags = " ".join(f"--table {path.name}" for path in args.table)
    if not committed:
        flags += f" --target {shlex.quote(args.target)} --seeds {args.seeds}"
    result = {
        "command": f"python benchmarks/generation.py {flags}",
        "device": choose_device("auto").type,
        "versions": versions() | others(),
        "target": args.target,
        "seeds": args.seeds,
        "tvae_epochs": TVAE_EPOCHS if with_tvae else None,
        "tables": [one_table(path, args.target, args.seeds, with_tvae) for path in args.table],
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
