"""Time commands of this checkout against the same commands of another one, in turns.

    python benchmarks/against.py DIR --rounds 5    # DIR: git worktree add DIR COMMIT

The table has 1000 rows of 20 numbers, a tenth of whose cells are empty for impute.py. In each round
the two checkouts run each command one after the other, in an order that changes from round to
round. A ratio is taken within a round, of the seconds of CPU time of the whole process.
"""

import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import pandas as pd

from parts.console.flags import Parser
from parts.console.script import run_script
from parts.files import write_json
from parts.options import positive_int
from parts.runs import versions

RESULTS = ROOT / "benchmarks/results"
TIMED_COMMANDS = (
    "train.py --epochs 1",
    "train.py",
    "train.py --data whole.csv",
    "detect.py whole.csv",
    "impute.py holes.csv",
)
SHARE_EMPTY = 0.1


def write_tables(folder):
    """Write whole.csv and holes.csv: 20 numbers that depend on 5 others, and noise."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1000, 5)) @ rng.normal(size=(5, 20)) + rng.normal(size=(1000, 20))
    frame = pd.DataFrame(x, columns=[f"x{j}" for j in range(20)]).round(4)
    frame.to_csv(folder / "whole.csv", index=False)
    frame.mask(rng.random(x.shape) < SHARE_EMPTY).to_csv(folder / "holes.csv", index=False)


def seconds_of(repository, command):
    """CPU seconds of a command in a new folder."""
    with tempfile.TemporaryDirectory() as name:
        write_tables(Path(name))
        script, *flags = command.split()
        process = subprocess.Popen(
            [sys.executable, str(repository / script), *flags],
            cwd=name,
            stdout=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{repository / script} failed: {command}")
        return used.ru_utime + used.ru_stime


def compare(command, other, rounds):
    """Medians over the rounds of the CPU seconds of both checkouts, and of their ratio."""
    cpu = {"this": [], "other": []}
    for _ in range(rounds):
        turns = [("this", ROOT), ("other", other)]
        random.Random(len(cpu["this"])).shuffle(turns)
        for name, repository in turns:
            cpu[name].append(seconds_of(repository, command))
    ratios = [this / other for this, other in zip(*cpu.values(), strict=True)]
    return {
        "command": f"python {command}",
        "cpu_seconds": {name: round(statistics.median(each), 2) for name, each in cpu.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(min(ratios), 3), round(max(ratios), 3)],
    }


def main(argv=None):
    parser = Parser(prog="benchmarks/against.py", description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, metavar="DIR", help="the other checkout")
    parser.add_argument("--rounds", type=positive_int, default=5, help="default: 5")
    args = parser.parse_args(argv)
    other = args.other.resolve()
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=other,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = []
    for command in TIMED_COMMANDS:
        rows.append(compare(command, other, args.rounds))
        print(f"{rows[-1]['ratio']:.3f} {rows[-1]['ratio_range']} {command}", flush=True)
    result = {
        "command": f"python benchmarks/against.py DIR --rounds {args.rounds}",
        "other": commit.stdout.strip(),
        "cores": os.cpu_count(),
        "versions": versions(),
        "rounds": args.rounds,
        "rows": rows,
    }
    write_json(RESULTS / "against.json", result)
    print(f"Wrote {(RESULTS / 'against.json').relative_to(ROOT)}")


if __name__ == "__main__":
    run_script(main)
