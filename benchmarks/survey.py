"""Run all commands on the small example table, and measure their time and their results.

README.md and docs/tables.md show the commands.

    python benchmarks/survey.py           # about 2 minutes on two cores

Every command runs as a process of its own in an empty folder. The table comes from
`python data.py --example`, so its odd rows are known; hidden cells are those of `--check`. Other
seeds repeat the fits for the spread.
"""

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from parts.console.flags import Parser
from parts.console.script import run_script
from parts.files import write_json
from parts.options import positive_int
from parts.runs import versions

RESULTS = ROOT / "benchmarks/results"
SURVEY_COMMANDS = (  # each command, and the file that it writes
    ("python data.py --example survey.csv", "survey.csv"),
    ("python detect.py survey.csv --labels odd", "survey.scored.csv"),
    ("python impute.py survey.csv --kind odd=ignore --check", "survey.imputed.csv"),
    ("python generate.py survey.csv --kind odd=ignore --n 1000 --out new.csv", "new.csv"),
)
SURVEY_FIGURES = ("anomaly_scores", "imputations", "generated_marginals", "generated_correlations")


def run(command, folder):
    """Seconds that a command takes in `folder`, and what it prints."""
    script, *args = command.removeprefix("python ").split()
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *args],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return time.perf_counter() - start, done.stdout


def walk(folder):
    """Run the commands; their seconds and the first lines of the files that they write."""
    steps = []
    for command, name in SURVEY_COMMANDS:
        seconds, _ = run(command, folder)
        lines = (folder / name).read_text().splitlines()
        if name == "survey.scored.csv":  # lists the oddest rows first
            rank = lines[0].split(",").index("anomaly_rank")
            lines[1:] = sorted(lines[1:], key=lambda line: int(line.split(",")[rank]))
        steps.append({"command": command, "seconds": seconds, "file": name, "lines": lines[:3]})
        print(f"{seconds:5.1f} s  {command}")
    return steps


def results_of(folder):
    """detection.json, imputation.json and generation.json of the folder's runs, by name."""
    found = {}
    for path in sorted(folder.glob("runs/*/*.json")):
        if path.stem in ("detection", "imputation", "generation"):
            found[path.stem] = json.loads(path.read_text())
    return found


def figures_of(folder):
    """Draw and copy the figures of docs/tables.md from the runs of the commands."""
    for name in ("0001", "0002", "0003"):
        run(f"python plot_results.py --run {name}", folder)
        for figure in SURVEY_FIGURES:
            path = folder / f"runs/{name}/figures/{figure}.png"
            if path.exists():
                shutil.copy(path, RESULTS / f"survey_{figure}.png")


def spread(results):
    """Mean and standard deviation over seeds of the metrics in docs/results.md."""

    def over(pick):
        values = [pick(result) for result in results]
        return {"mean": statistics.fmean(values), "sd": statistics.stdev(values)}

    detectors, imputers = results[0]["detection"], results[0]["imputation"]["error"]
    return {
        "auroc": {k: over(lambda r, k=k: 100 * r["detection"][k]["auroc"][0]) for k in detectors},
        "ap": {k: over(lambda r, k=k: 100 * r["detection"][k]["ap"][0]) for k in detectors},
        "error": {k: over(lambda r, k=k: r["imputation"]["error"][k]) for k in imputers},
        "coverage": over(lambda r: 100 * r["imputation"]["coverage"]),
        "columns": over(lambda r: r["generation"]["columns_mean"]),
        "correlations": over(lambda r: r["generation"]["correlation_error"]),
        "nearer": over(lambda r: 100 * r["generation"]["nearer"]),
    }


def main(argv=None):
    parser = Parser(
        prog="benchmarks/survey.py", description="The walk through the example, measured."
    )
    parser.add_argument("--seeds", type=positive_int, default=3, help="of the fits (default: 3)")
    args = parser.parse_args(argv)
    results = []
    for seed in range(args.seeds):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            if seed == 0:
                steps = walk(folder)
                figures_of(folder)
            else:
                for command, _ in SURVEY_COMMANDS:
                    flags = "" if "--example" in command else f" --seed {seed}"
                    run(command + flags, folder)
            results.append(results_of(folder))
    found = {
        "command": "python benchmarks/survey.py",
        "device": "cpu",
        "versions": versions(),
        "seeds": args.seeds,
        "steps": steps,
        "seed_0": results[0],
        "over_seeds": spread(results),
    }
    write_json(RESULTS / "survey.json", found)
    print(f"Wrote {(RESULTS / 'survey.json').relative_to(ROOT)}")


if __name__ == "__main__":
    run_script(main)
