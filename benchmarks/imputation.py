"""The errors of `impute.py` with its defaults, on tables from which cells are removed.

    python benchmarks/imputation.py --tables DIR     # about half an hour on two cores
    python benchmarks/imputation.py --tables DIR --only banknote --masks 1    # a quick look

DIR holds the UCI tables as CSV, and Adult with its kinds and masks (Nazabal et al. 2020).
`impute.main` is called on a CSV file with empty cells and reads, fits and fills as the command
does; only `--interval`, `--runs-dir`, `--out` and, for Adult, `--columns` are given, so that it
fits to all rows, by seed 0. Its seconds are those of the whole call, without the
start of Python. `coverage` is the share of removed cells between NAME_low and NAME_high, of the
columns that have them. A cell that is left empty counts as its column's mean (mode, median rank).

MIWAE's protocol (Mattei & Frellsen 2019, the authors' notebooks): the numbers of a complete
table, [n, p]; its class or target is dropped, but for red wine, of which all 12 columns are used.
`np.random.seed(seed)`, then `np.random.choice(n * p, floor(n * p * 0.5), replace=False)` are the
cells, counted row by row, that are removed; seeds 1234, 1 and 2. The error is the mean square over
the removed cells, each column standardised by its mean and standard deviation when complete. Ours
differs in this: `impute.py` gets the file in its own units and fits its own scaling, chooses each
column's kind, draws 100 importance samples (MIWAE: 10,000), and writes whole numbers as such. The
others get the standardised numbers. Two forests are chained for 10 rounds: ExtraTrees as
scikit-learn has them, and as missForest (Stekhoven & Buehlmann 2012) sets them, which looks at
sqrt(p) columns per split and at a bootstrap sample of the rows. "Boosting" is gradient boosting
(scikit-learn's HistGradientBoosting with its defaults): a model for each column, of the others with
their holes, learned from all rows in which the column is known.

Adult: 20 and 50 % of the cells removed by the first of the masks that HI-VAE's authors fixed.
Cells that were never known are not counted. HI-VAE's error of a column, over its removed cells:
RMSE / (max - min of all its known cells) of real, positive and count; share of wrong cells of a
categorical one; mean distance of ranks / number of levels of an ordinal one. Their mean over
columns. Of the others, mean, mode and median rank are those of all rows; k-NN, whose cost is
quadratic in the rows, and iterative regression learn from 5000 random rows, as `impute.py --check`
lets them, and fill all.
"""

import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
import warnings
from functools import partial
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import impute  # first: before torch is loaded

# isort: split

import numpy as np

from benchmarks.report import value
from benchmarks.survey import RESULTS
from parts.console.devices import n_cores
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.errors import UserError
from parts.files import read_arrays, write_json
from parts.forms import (
    cells,
)
from parts.forms.tables import (
    encoding,
    kinds,
    table_files,
)
from parts.measure import (
    baselines,
    hidden_cells,
)
from parts.options import positive_int
from parts.runs import versions

# Table -> the column that the protocol drops.
DROPPED = {"banknote": "class", "breast": "target"}
DROPPED |= {"concrete": "strength_mpa", "winequality-red": None}
ADULT = ("hivae_adult.csv", "hivae_types_adult.csv", "hivae_masks_adult.npz")
KIND_OF = {"pos": "positive", "cat": "categorical"}  # HI-VAE's type -> kind, if they differ
SEEDS = (1234, 1, 2)  # seeds of MIWAE's masks
RATES = (20, 50)  # per cent of Adult's cells that are removed
INTERVAL = 0.9  # the share that intervals should hold
N_TREES = 100  # trees of a forest
N_LEARNT = 5000  # rows of Adult to which k-NN and regression are fitted
FORESTS = {"ExtraTrees": {}, "as missForest": {"max_features": "sqrt", "bootstrap": True}}
BOOSTING = "boosting"
METHODS = ("VAE", "mean / mode", "k-NN", "iterative regression", *FORESTS, BOOSTING)


def read_table(path, holes=False):
    """The cells of a CSV as text, and their numbers [N, D]; with `holes` empty cells are NaN."""
    frame = table_files.read(path).frame
    x = np.column_stack([cells.numbers(frame[name], {}) for name in frame])
    empty = np.column_stack([cells.missing(frame[name]) for name in frame])
    for row, j in np.argwhere(np.isnan(x) & ~(empty & holes))[:1]:
        cell = f"row {row + 1}, column {frame.columns[j]!r} holds {frame.iloc[row, j]!r}"
        raise UserError(f"{path}: {cell}, expected a number")
    return frame, x


def imputed(frame, x, removed, middle, specs=None):
    """Run `impute.py` on a table, text and numbers [N, D], without its removed cells.

    `middle` [D] stands for cells that are left empty; `specs` are kinds of columns, if any.
    """
    import pandas as pd

    with tempfile.TemporaryDirectory() as folder:
        names = ("table.csv", "filled.csv", "kinds.json", "runs")
        path, out, kinds_file, runs_dir = (Path(folder) / name for name in names)
        frame.mask(removed, "").to_csv(path, index=False)
        command = [path, "--interval", INTERVAL, "--runs-dir", runs_dir, "--out", out]
        if specs:
            kinds_file.write_text(json.dumps(specs))
            command += ["--columns", kinds_file]
        start = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            impute.main([str(word) for word in command])
        seconds = time.perf_counter() - start
        filled, numbers = read_table(out, holes=True)
        config = json.loads(next(runs_dir.glob("*/config.json")).read_text())
    read = pd.DataFrame(numbers, columns=list(filled))
    values, low, high = (
        read.reindex(columns=[name + side for name in frame]).to_numpy()
        for side in ("", "_low", "_high")
    )
    known = ~removed & ~np.isnan(x)
    assert (values[known] == x[known]).all(), "impute.py changed cells that were there"
    at = removed & ~np.isnan(low)
    inside = (low[at] <= x[at]) & (x[at] <= high[at])
    return {
        "values": np.where(np.isnan(values), middle, values),
        "coverage": float(inside.mean()) if at.any() else None,
        "left_empty": int(np.isnan(values).sum()),
        "seconds": {"VAE": seconds},
        "config": config,
    }


def removed_cells(shape, seed):
    """A random half of all cells by MIWAE's protocol, [n, p] bool."""
    size = int(np.prod(shape))
    removed = np.zeros(size, bool)
    # The numbers that follow np.random.seed(seed), without a change of the global state.
    draw = np.random.RandomState(seed)
    removed[draw.choice(size, int(np.floor(size * 0.5)), replace=False)] = True
    return removed.reshape(shape)


def chained_forest(x, seed, options):
    """Fill NaN in x [n, p] by chained forests, one per column."""
    from sklearn.ensemble import ExtraTreesRegressor
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    forest = ExtraTreesRegressor(N_TREES, random_state=seed, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return IterativeImputer(forest, max_iter=10, random_state=seed).fit_transform(x)


def boosted(x, types, n_levels, seed):
    """Fill NaN in x [n, p] by gradient boosting; `types` and `n_levels` as HI-VAE has them."""
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

    filled = x.copy()
    for j, kind in enumerate(types):
        known, others = ~np.isnan(x[:, j]), np.arange(len(types)) != j
        is_code = [t == "cat" and n < 256 for t, n in zip(types, n_levels, strict=True)]
        of_levels = kind in ("cat", "ordinal")
        model = HistGradientBoostingClassifier if of_levels else HistGradientBoostingRegressor
        model = model(categorical_features=np.array(is_code)[others], random_state=seed)
        model.fit(x[known][:, others], x[known, j])
        rows = x[~known][:, others]
        if not len(rows):
            continue
        if kind == "ordinal":  # the median level
            at = (model.predict_proba(rows).cumsum(1) >= 0.5).argmax(1)
            filled[~known, j] = model.classes_[at]
        else:
            filled[~known, j] = model.predict(rows)
    return filled


def one_mask(frame, x, seed):
    """Errors, coverage and seconds for one mask of a complete table, text and numbers [n, p]."""
    removed = removed_cells(x.shape, seed)
    middle = np.nanmean(np.where(removed, np.nan, x), 0)
    found = imputed(frame, x, removed, middle)
    mean, std = x.mean(0), x.std(0)
    truth = (x - mean) / std
    holed = np.where(removed, np.nan, truth)
    guesses = {"VAE": (found.pop("values") - mean) / std, "mean / mode": (middle - mean) / std}
    guesses |= baselines.imputers(holed, holed, seed=seed)
    for name, options in FORESTS.items():
        start = time.perf_counter()
        guesses[name] = chained_forest(holed, seed, options)
        found["seconds"][name] = time.perf_counter() - start
    start = time.perf_counter()
    guesses[BOOSTING] = boosted(holed, ["real"] * x.shape[1], [0] * x.shape[1], seed)
    found["seconds"][BOOSTING] = time.perf_counter() - start
    errors = {k: float(np.square(v - truth)[removed].mean()) for k, v in guesses.items()}
    return found | {"error": errors}


def over(results, pick):
    """Mean, standard deviation and values of a figure over masks."""
    values = [pick(result) for result in results]
    if None in values:
        return None
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "values": values}


def summary(name, results):
    """Summarise the results of the masks of one table or one rate."""
    config = results[0]["config"]
    seconds = {k: [r["seconds"][k] for r in results] for k in results[0]["seconds"]}
    return {
        "name": name,
        "kinds": {column["name"]: column["kind"] for column in config["codec"]["columns"]},
        "device": config["execution"]["device"],
        "masks": len(results),
        "error": {k: over(results, lambda r, k=k: r["error"][k]) for k in results[0]["error"]},
        "coverage": over(results, lambda r: r["coverage"]),
        "left_empty": [result["left_empty"] for result in results],
        "median_seconds": {k: statistics.median(v) for k, v in seconds.items()},
    }


def miwae(folder, name, n_masks):
    """Run MIWAE's protocol on one table."""
    path = folder / f"{name}.csv"
    frame, x = read_table(path)
    if dropped := DROPPED[name]:
        if dropped not in frame:
            raise UserError(f"{path} has no column {dropped!r}, which is to be dropped")
        x = np.delete(x, list(frame).index(dropped), 1)
        frame = frame.drop(columns=dropped)
    results = [one_mask(frame, x, seed) for seed in SEEDS[:n_masks]]
    ratios = [r["seconds"]["VAE"] / r["seconds"]["ExtraTrees"] for r in results]
    found = summary(name, results) | {"median_seconds_ratio": statistics.median(ratios)}
    return found | {"seeds": SEEDS[:n_masks], "rows": len(x), "columns": x.shape[1]}


def read_adult(folder, n_draws):
    """Read Adult: cells as text, numbers [N, D], types of columns, their levels, masks by name."""
    path, types_path, masks_path = (folder / name for name in ADULT)
    frame, x = read_table(path, holes=True)
    types = table_files.read(types_path).frame
    if not {"type", "nclass"} <= set(types) or len(types) != x.shape[1]:
        raise UserError(f"{types_path}: expected type and nclass of each of {x.shape[1]} columns")
    names = [f"m{rate}_{draw}" for rate in RATES for draw in range(1, n_draws + 1)]
    arrays = read_arrays(masks_path, "get it again", (*names, "shape"))
    if tuple(arrays["shape"]) != x.shape:
        raise UserError(f"{masks_path} is for {arrays['shape']} cells, and {path} has {x.shape}")
    n_levels = cells.numbers(types["nclass"], {})
    masks = {k: np.unpackbits(arrays[k], 1)[:, : x.shape[1]].astype(bool) for k in names}
    return frame, x, types["type"].tolist(), n_levels, masks


def hivae_errors(types, n_levels, truth, guess, removed):
    """HI-VAE's error of each column over its removed cells; truth and guess [N, D] are values."""
    errors = []
    for j, kind in enumerate(types):
        at = removed[:, j]
        gap = guess[at, j] - truth[at, j]
        if kind == "cat":
            errors.append(np.mean(gap != 0))
        elif kind == "ordinal":  # levels are consecutive, so the gap is a distance of ranks
            errors.append(np.abs(gap).mean() / n_levels[j])
        else:
            width = np.nanmax(truth[:, j]) - np.nanmin(truth[:, j])
            errors.append(np.sqrt(np.square(gap).mean()) / width)
    return [float(error) for error in errors]


def middle_of(types, x):
    """The mean, mode or median rank of each column [D], over cells that are not NaN."""
    pick = {"cat": statistics.mode, "ordinal": statistics.median_low}
    known = [column[~np.isnan(column)] for column in x.T]
    return np.array([pick.get(kind, np.mean)(v) for kind, v in zip(types, known, strict=True)])


def learnt(frame, specs, seed):
    """Fill a frame of text by k-NN and iterative regression, values [N, D] by name."""
    columns = kinds.fit(frame, specs)
    x, mask, _, _ = encoding.encode(frame, columns)
    rows = np.random.default_rng(seed).permutation(len(x))[:N_LEARNT]
    found = hidden_cells.baseline_fills(columns, (x[rows], mask[rows]), x, mask)
    del found["mean / mode"]
    for values in found.values():
        for j, column in enumerate(columns):
            if column.levels:
                values[:, j] = np.array(column.levels, float)[values[:, j].astype(int)]
    return found


def one_draw(adult, rate, draw):
    """Errors, coverage and seconds for one of Adult's masks."""
    frame, x, types, n_levels, masks = adult
    removed = masks[f"m{rate}_{draw}"] & ~np.isnan(x)
    specs = {name: KIND_OF.get(kind, kind) for name, kind in zip(frame, types, strict=True)}
    middle = middle_of(types, np.where(removed, np.nan, x))
    found = imputed(frame, x, removed, middle, specs)
    guesses = {"VAE": found.pop("values"), "mean / mode": np.broadcast_to(middle, x.shape)}
    start = time.perf_counter()
    guesses |= learnt(frame.mask(removed, ""), specs, draw)
    found["seconds"]["k-NN and regression"] = time.perf_counter() - start
    start = time.perf_counter()
    guesses[BOOSTING] = boosted(np.where(removed, np.nan, x), types, n_levels, draw)
    found["seconds"][BOOSTING] = time.perf_counter() - start
    errors = {k: hivae_errors(types, n_levels, x, v, removed) for k, v in guesses.items()}
    columns = {name: {k: v[j] for k, v in errors.items()} for j, name in enumerate(frame)}
    means = {k: statistics.fmean(v) for k, v in errors.items()}
    return found | {"error": means, "n": int(removed.sum()), "columns": columns}


def adult_rate(adult, rate, n_draws):
    """Results for one rate of Adult; errors of columns are those of draw 1."""
    results = [one_draw(adult, rate, draw) for draw in range(1, n_draws + 1)]
    found = summary(f"adult, {rate} %", results)
    found |= {"removed": [r["n"] for r in results], "columns": results[0]["columns"]}
    return found | {"rate": rate, "rows": len(adult[1]), "rows_learnt": N_LEARNT}


def report(results):
    """A compact table of all results, as text."""
    import pandas as pd

    rows = []
    for found in results:
        row = {"": found["name"]}
        row |= {method: value(found["error"].get(method), 3) for method in METHODS}
        covered, ratio = found["coverage"], found.get("median_seconds_ratio")
        row["coverage"] = "" if covered is None else f"{100 * covered['mean']:.1f} %"
        row["VAE takes"] = f"{found['median_seconds']['VAE']:.0f} s"
        rows.append(row | {"÷ ExtraTrees": "" if ratio is None else f"{ratio:.2f}"})
    return pd.DataFrame(rows).to_string(index=False)


def measure(folder, names, n_masks):
    """Measure the named tables, print a line for each, and return two lists of results."""
    found = {"miwae": [], "adult": []}
    adult = read_adult(folder, 1) if "adult" in names else None
    steps = [("miwae", partial(miwae, folder, name, n_masks)) for name in DROPPED if name in names]
    if adult:
        steps += [("adult", partial(adult_rate, adult, rate, 1)) for rate in RATES]
    for part, step in steps:
        found[part].append(result := step())
        errors = ", ".join(f"{k} {e['mean']:.3f}" for k, e in result["error"].items())
        took = ", ".join(f"{k} {t:.1f} s" for k, t in result["median_seconds"].items())
        print(f"{result['name']}: {errors}; {took}", flush=True)
    return found


def main(argv=None):
    parser = Parser(prog="benchmarks/imputation.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--tables", required=True, metavar="DIR", help="the folder with the tables")
    only = f"measure only this: {', '.join(DROPPED)} or adult; may be repeated"
    add("--only", action="append", choices=[*DROPPED, "adult"], metavar="NAME", help=only)
    masks = "masks of each table (default: 3)"
    add("--masks", type=positive_int, choices=(1, 2, 3), help=masks)
    default = "benchmarks/results/imputation.json; with --only or --masks none"
    add("--out", metavar="FILE", help=f"JSON to write (default: {default})")
    args = parser.parse_args(argv)
    names, folder = args.only or [*DROPPED, "adult"], Path(args.tables)
    needed = [f"{name}.csv" for name in DROPPED if name in names]
    needed += ADULT if "adult" in names else ()
    if missing := [name for name in needed if not (folder / name).is_file()]:
        raise UserError(f"--tables {folder}: no {missing[0]} there")
    quick = args.only or args.masks
    out = Path(args.out) if args.out else None if quick else RESULTS / "imputation.json"
    if out and not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}")
    found = measure(folder, names, args.masks or len(SEEDS))
    print(report(found["miwae"] + found["adult"]))
    if out:
        flags = "".join(f" --only {name}" for name in args.only or ())
        flags += f" --masks {args.masks}" if args.masks else ""
        command = f"python benchmarks/imputation.py --tables DIR{flags}"
        package = {"scikit-learn": version("scikit-learn")}
        result = {"command": command, "cores": n_cores(), "versions": versions() | package}
        write_json(out, result | {"interval": INTERVAL} | found)
        print(f"Wrote {out}")


if __name__ == "__main__":
    run_script(main)
