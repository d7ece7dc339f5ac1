"""Record what the commands of README.md and docs/ print, at full size, and one of their figures.

    python benchmarks/printed.py          # about 3 minutes on two cores

The commands run as processes, one after another, in one empty folder. The output
is recorded line by line, without seconds. benchmarks/report.py shows the lines on the pages.
"""

import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from parts.console.flags import Parser
from parts.console.script import run_script
from parts.files import write_json
from parts.runs import versions

RESULTS = ROOT / "benchmarks/results"
PRINTED_COMMANDS = (
    "python train.py",
    "python evaluate.py",
    "python plot_results.py",
    "python data.py --example survey.csv",
    "python data.py --data survey.csv",
    "python data.py --data lab.csv",
    "python detect.py survey.csv --labels odd",
    "python impute.py survey.csv --kind odd=ignore --check",
    "python train.py --data survey.csv --kind odd=ignore --run survey",
    "python evaluate.py --run survey",
    "python generate.py survey.csv --kind odd=ignore --n 1000 --out new.csv",
    'python generate.py --run survey --given "job=nurse,age=40" --n 100 --out nurses.csv',
    "python tune.py --data survey.csv --kind odd=ignore --trials 10",
    "python train.py --data digits --condition label --run labelled",
    "python evaluate.py --run labelled",
    "python generate.py --run labelled --given label=7 --n 100 --out sevens.npz",
    "python train.py --data sprites --epochs 20 --run shapes",
    "python evaluate.py --run shapes --factors",
    "python data.py --example sensors.csv --kind-of series",
    "python data.py --data sensors.csv",
    "python detect.py sensors.csv --labels event",
    "python impute.py sensors.csv --kind event=ignore --interval 0.9 --check",
)
# A command that makes a run -> a figure of this run, and its name in benchmarks/results.
FIGURES = {"python detect.py sensors.csv --labels event": ("largest_events", "series_events")}


def write_lab(path, n=400):
    """A sheet of a laboratory, in which cells are missing in several ways."""
    rng = np.random.default_rng(0)
    age = rng.integers(18, 95, n)
    crp = np.exp(rng.normal(age / 80, 1.2))
    frame = pd.DataFrame(
        {
            "patient": [f"P{i:04d}" for i in range(n)],
            "age": age,
            "crp": ["<0.5" if value < 0.5 else f"{value:.1f}" for value in crp],
            "hb": [f"{value:.1f} g/dL" for value in rng.normal(13.5, 1.2, n)],
            "temp": [f"{value:.1f}" for value in rng.normal(37.2, 0.6, n)],
            "smoker": np.where(rng.random(n) < 0.3, "x", ""),
            "signs": rng.choice(["cough", "fever", "cough;fever", "pain", "fever;pain"], n),
            "seen": [f"{1 + i % 28}.{1 + i // 28 % 12}.2024" for i in range(n)],
        }
    )
    frame.loc[rng.random(n) < 0.05, "hb"] = "n.d."
    frame.loc[rng.random(n) < 0.05, "temp"] = "-999"
    frame.to_csv(path, index=False)


def printed(command, folder):
    """The lines that a command prints when it runs in `folder`."""
    script, *args = shlex.split(command.removeprefix("python "))
    done = subprocess.run(
        [sys.executable, str(ROOT / script), *args],
        cwd=folder,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout.replace(f"{folder.resolve()}/", "").splitlines()


def main(argv=None):
    parser = Parser(prog="benchmarks/printed.py", description="What the commands print.")
    parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        lines = {}
        write_lab(Path(name) / "lab.csv")
        for command in PRINTED_COMMANDS:
            lines[command] = printed(command, Path(name))
            print(f"{command}: {len(lines[command])} lines")
            if command in FIGURES:
                figure, copy = FIGURES[command]
                drawn = printed("python plot_results.py", Path(name))  # of the newest run
                (path,) = [line for line in drawn if line.endswith(f"/{figure}.png")]
                shutil.copy(Path(name, path.removeprefix("Wrote ")), RESULTS / f"{copy}.png")
    result = {
        "command": "python benchmarks/printed.py",
        "device": "cpu",
        "versions": versions(),
        "lines": lines,
    }
    write_json(RESULTS / "printed.json", result)
    print(f"Wrote {(RESULTS / 'printed.json').relative_to(ROOT)}")


if __name__ == "__main__":
    run_script(main)
