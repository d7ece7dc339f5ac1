"""Compare what `tune.py` finds in 30 trials with train.py's defaults, and measure its cost.

    python benchmarks/tuning.py          # about 10 minutes on one core

The search chooses its best trial by held-out rows, on which the score of this trial is biased. The
default and the best trial are therefore trained again from seeds that the search has not used, and
measured on test rows; so is the model that `best.json` trains. Log p(x) is in nats per row by 1000
importance samples, mean ± s.d. over seeds; the difference has its standard error over test rows.
"""

import contextlib
import csv
import dataclasses
import io
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

import data as datasets
import train
import tune
from benchmarks.quality import RESULTS, summary
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.files import write_json
from parts.options import positive_int
from parts.runs import find_run, versions

TASKS = {"digits": "--data digits", "synthetic": "", "survey": "--data survey.csv"}
FIGURE = "tuning_digits.png"
FIRST_SEED = 10  # larger than the seeds of the search


def command(words, folder):
    """Run a script in `folder`; its output and its CPU seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    script, *words = words
    called = [sys.executable, str(ROOT / script), *words]
    out = subprocess.run(called, cwd=folder, check=True, capture_output=True, text=True).stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return out, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def search(flags, n_trials, folder, study):
    """Run the search; a summary of its trials, and the flags of its best trial."""
    words = ["tune.py", *flags.split(), "--trials", str(n_trials), "--study", str(study)]
    out, seconds = command(words, folder)
    with (study / "trials.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scores = [float(row["log_px"]) for row in rows if row["log_px"]]  # the default's comes first
    found = {
        "complete": len(scores),
        "pruned": len(rows) - len(scores),
        "cpu_seconds": seconds,
        "default": scores[0],
        "best": max(scores),
        "settings": re.search(r"best, trial \d+ +\S+ +(.*)", out)[1],
    }
    return found, json.loads((study / "best.json").read_text())


def trained(words, seed, folder):
    """Train a run; log p(x) [N] of its held-out and test rows, and CPU seconds."""
    started = time.process_time()
    where = ["--seed", str(seed), "--runs-dir", "runs", "--run", "a", "--overwrite"]
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        if code := train.main([*words, *where]):
            raise SystemExit(code)  # stopped: what is there is half trained
        seconds = time.process_time() - started
        run = find_run("runs", "a")
        fitted, config = run.load()[0], run.config()
        data = datasets.load(config.asked.data, config.codec, config.fingerprint)
    parts = {"held_out": data.val, "test": data.test}
    return {"cpu_seconds": seconds} | {
        name: tune.score(fitted.model, dataclasses.replace(data, val=rows), "cpu", len(rows.x))
        for name, rows in parts.items()
        if len(rows.x)
    }


def compare(default, found, n_seeds, folder):
    """Train both sets of flags from every seed: mean and spread of each, and their difference."""
    seeds = range(FIRST_SEED, FIRST_SEED + n_seeds)
    runs = {"default": [trained(default, seed, folder) for seed in seeds]}
    runs["found"] = [trained(found, seed, folder) for seed in seeds]
    row = {}
    for name, results in runs.items():
        row[name] = {key: summary([float(np.mean(r[key])) for r in results]) for key in results[0]}
    gain = np.mean([r["test"] for r in runs["found"]], 0)
    gain -= np.mean([r["test"] for r in runs["default"]], 0)
    error = gain.std(ddof=1) / len(gain) ** 0.5
    return row | {"gain": float(gain.mean()), "gain_se": float(error), "test_rows": len(gain)}


def measured(name, flags, args, folder):
    """Rows of the table for one data set: the search, and the default against what it found."""
    searched, best = search(flags, args.trials, folder, folder / name)
    if name == "digits":
        shutil.copy(folder / name / "search.png", RESULTS / FIGURE)
    found = ["--config", str(folder / name / "best.json")]
    rows = [{"name": name, "search": searched, "val_fraction": best["val_fraction"]}]
    if name == "synthetic":  # train.py would hold out none
        rows.append({"name": f"{name}, all rows", "search": None, "val_fraction": 0})
    own = trained(found, best["seed"], folder)["test"]
    rows[0]["best_json"] = {"test": float(own.mean()), "seed": best["seed"]}
    for row in rows:
        held = ["--val-fraction", str(row["val_fraction"])]
        row |= compare([*flags.split(), *held], [*found, *held], args.seeds, folder)
        gain = f"{row['gain']:.2f} ± {row['gain_se']:.2f}"
        print(f"{row['name']}: log p(x) of test rows better by {gain}", flush=True)
    return rows


def main(argv=None):
    parser = Parser(prog="benchmarks/tuning.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--trials", type=positive_int, default=30, help="of each search (default: 30)")
    add("--seeds", type=positive_int, default=3, help="of the comparison (default: 3)")
    add("--only", choices=sorted(TASKS), help="measure this one anew, and keep the others' rows")
    args = parser.parse_args(argv)
    path = RESULTS / "tuning.json"
    tasks = {}
    for name in TASKS if args.only is None else [args.only]:
        with tempfile.TemporaryDirectory() as folder:
            command(["data.py", "--example", "survey.csv"], folder)
            tasks[name] = measured(name, TASKS[name], args, Path(folder))
    if args.only is not None and path.exists():
        tasks = json.loads(path.read_text())["tasks"] | tasks
    result = {"command": "python benchmarks/tuning.py", "trials": args.trials, "seeds": args.seeds}
    write_json(path, result | {"tasks": tasks, "versions": versions()})
    return 0


if __name__ == "__main__":
    run_script(main)
