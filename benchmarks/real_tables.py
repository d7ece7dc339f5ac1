"""Run the commands on real tables with their defaults, and measure the results.

    python benchmarks/real_tables.py --data DIR     # about 6 minutes on two cores

DIR holds `adbench/*.npz` (arrays X and y, 1 = anomaly; Han et al. 2022) and `uci/*.csv`. Each
adbench table is written as CSV for `detect.py --labels`, which fits to all its rows, including the
anomalies; the model and the baselines are measured on these rows. `impute.py --check` fits a run to
each UCI table, of which Adult has missing cells, and `generate.py` generates rows from this run.
"""

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from benchmarks.survey import RESULTS, run
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.errors import UserError
from parts.files import write_json
from parts.runs import versions

UCI_TABLES = ("banknote", "breast", "concrete", "winequality-red", "hivae_adult")


def detection(path, folder):
    """AUROC of `detect.py` and of its baselines on one labelled table."""
    with np.load(path, allow_pickle=False) as arrays:
        x, y = arrays["X"], arrays["y"]
    name = path.stem.split("_", 1)[1]
    header = ",".join([*(f"f{j}" for j in range(x.shape[1])), "label"])
    rows = zip(x.tolist(), y, strict=True)
    lines = [",".join([*map(repr, row), str(int(label))]) for row, label in rows]
    (folder / f"{name}.csv").write_text("\n".join([header, *lines]) + "\n")
    command = f"python detect.py {name}.csv --labels label"
    seconds, _ = run(command, folder)
    found = json.loads(next(folder.glob("runs/*/detection.json")).read_text())
    auroc = {method: 100 * value["auroc"][0] for method, value in found.items()}
    return {"name": name, "rows": len(x), "columns": x.shape[1], "seconds": seconds, "auroc": auroc}


def imputation(path, folder):
    """Errors of `impute.py --check` and closeness of `generate.py` on one table."""
    (folder / path.name).write_bytes(path.read_bytes())
    seconds, _ = run(f"python impute.py {path.name} --check", folder)
    start = time.perf_counter()
    run("python generate.py --n 1000 --out new.csv", folder)
    names = ("imputation", "generation", "config")
    paths = {name: next(folder.glob(f"runs/*/{name}.json")) for name in names}
    read = {name: json.loads(found.read_text()) for name, found in paths.items()}
    close = read["generation"]
    return {
        "name": path.stem,
        "columns": len(read["imputation"]["columns"]),
        "seconds": seconds,
        "generate_seconds": time.perf_counter() - start,
        "error": read["imputation"]["error"],
        "coverage": read["imputation"]["coverage"],
        "columns_distance": [close["columns_mean"], close["columns_real_mean"]],
        "nearer": [close["nearer"], close["nearer_real"]],
    }


def each(paths, measure):
    found = []
    for path in paths:
        with tempfile.TemporaryDirectory() as folder:
            found.append(measure(path, Path(folder)))
        print(json.dumps(found[-1]))
    return found


def main(argv=None):
    parser = Parser(prog="benchmarks/real_tables.py", description="The commands on real tables.")
    parser.add_argument("--data", required=True, help="the folder with adbench/ and uci/")
    args = parser.parse_args(argv)
    labelled = sorted(Path(args.data).glob("adbench/*.npz"))
    tables = [Path(args.data) / f"uci/{name}.csv" for name in UCI_TABLES]
    missing = [str(path) for path in tables if not path.is_file()]
    if missing or not labelled:
        raise UserError(
            f"--data {args.data}: no {missing[0] if missing else 'adbench/*.npz'} there"
        )
    found = each(labelled, detection)
    methods = found[0]["auroc"]
    result = {
        "command": "python benchmarks/real_tables.py --data DIR",
        "device": "cpu",
        "versions": versions(),
        "detection": found,
        "mean_auroc": {m: statistics.fmean(row["auroc"][m] for row in found) for m in methods},
        "imputation": each(tables, imputation),
    }
    write_json(RESULTS / "real_tables.json", result)
    print(f"Wrote {(RESULTS / 'real_tables.json').relative_to(ROOT)}")


if __name__ == "__main__":
    run_script(main)
