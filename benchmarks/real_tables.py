"""Run impute.py and generate.py on real tables with their defaults, and measure the results.

    python benchmarks/real_tables.py --data DIR     # about 5 minutes on two cores

DIR holds `uci/*.csv`. `impute.py --check` fits a run to each table, of which Adult has missing
cells, and `generate.py` generates rows from this run.
"""

import json
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.survey import RESULTS, run
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.errors import UserError
from parts.files import write_json
from parts.runs import versions

UCI_TABLES = ("banknote", "breast", "concrete", "winequality-red", "hivae_adult")


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


def main(argv=None):
    parser = Parser(prog="benchmarks/real_tables.py", description="The commands on real tables.")
    parser.add_argument("--data", required=True, help="the folder with uci/")
    args = parser.parse_args(argv)
    tables = [Path(args.data) / f"uci/{name}.csv" for name in UCI_TABLES]
    missing = [str(path) for path in tables if not path.is_file()]
    if missing:
        raise UserError(f"--data {args.data}: no {missing[0]} there")
    found = []
    for path in tables:
        with tempfile.TemporaryDirectory() as folder:
            found.append(imputation(path, Path(folder)))
        print(json.dumps(found[-1]))
    result = {
        "command": "python benchmarks/real_tables.py --data DIR",
        "device": "cpu",
        "versions": versions(),
        "imputation": found,
    }
    write_json(RESULTS / "real_tables.json", result)
    print(f"Wrote {(RESULTS / 'real_tables.json').relative_to(ROOT)}")


if __name__ == "__main__":
    run_script(main)
