"""Time the two lines of the README for a new machine.

    python benchmarks/start.py            # downloads PyTorch twice; some minutes

Each line runs in a copy of the repository's files and in a virtual environment of its own, without
pip's cache. The parts of a line run one after another, as `&&` runs them, and each part is timed.
"""

import os
import shlex
import shutil
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
from parts.runs import versions

RESULTS = ROOT / "benchmarks/results"
INSTALL_LINES = (
    "python -m pip install -r requirements.txt && python train.py && python evaluate.py "
    "&& python plot_results.py",
    "python -m pip install -r requirements-dev.txt && python -m pytest",
)


def copy_repository(folder):
    """Copy the files that git tracks to `folder`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)


def seconds_of(line, folder):
    """Seconds of each part of the line, in a new virtual environment."""
    repository, environment = folder / "repository", folder / "venv"
    copy_repository(repository)
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    path = f"{environment / 'bin'}{os.pathsep}{os.environ['PATH']}"
    seconds = []
    for part in line.split(" && "):
        start = time.perf_counter()
        subprocess.run(
            [environment / "bin/python", *shlex.split(part)[1:]],
            cwd=repository,
            env=os.environ | {"PATH": path, "PIP_NO_CACHE_DIR": "1"},
            check=True,
        )
        seconds.append(time.perf_counter() - start)
    return seconds


def main(argv=None):
    parser = Parser(prog="benchmarks/start.py", description="Seconds of the first two lines.")
    parser.parse_args(argv)
    rows = []
    for line in INSTALL_LINES:
        with tempfile.TemporaryDirectory() as name:
            rows.append({"line": line, "seconds": seconds_of(line, Path(name))})
        print(f"{sum(rows[-1]['seconds']):.0f} s: {line}", flush=True)
    result = {
        "command": "python benchmarks/start.py",
        "device": "cpu",
        "cores": os.cpu_count(),
        "versions": versions(),
        "rows": rows,
    }
    write_json(RESULTS / "start.json", result)
    print(f"Wrote {(RESULTS / 'start.json').relative_to(ROOT)}")


if __name__ == "__main__":
    run_script(main)
