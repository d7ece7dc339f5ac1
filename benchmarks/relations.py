"""The commands on tables whose columns depend on one another exactly, with the default settings.

    python benchmarks/relations.py        # about five minutes on two cores

Three tables, made by seeds 0, 1, 2. Rides: two times, distance, fare, tip (none in cash), their
total, and payment. Stays: two dates and the nights between them. Orders: price, quantity, their
product, the tax of 19 %, and a temperature in two units.

Generated: `generate.py FILE --n 2000`, and the share of rows that break what all real rows keep.
Filled: a tenth of the drop-offs are removed; the median error of `impute.py FILE` in minutes.
Found: of 500 fresh rows 40 are changed, and `detect.py OTHER --run RUN` scores them after
`train.py --data FILE`; AUROC of times that were swapped, of drop-offs half a day late, and of a
total that is a tenth too high. Each once as it stands and once with `--relations off`. "best other"
is the best of the baselines that the commands print; of the drop-offs, chained regressions.
"""

import contextlib
import io
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import parts  # noqa: F401  before torch

# isort: split

import numpy as np
import pandas as pd

import detect
import generate
import impute
import train
from benchmarks.quality import RESULTS, summary
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.files import write_json
from parts.measure import baselines
from parts.options import positive_int
from parts.runs import versions

N_TRAIN, N_FRESH, N_CHANGED, N_GENERATED = 2000, 500, 40, 2000
HIDDEN = 0.1  # share of the drop-offs that are removed
TIMES = "%Y-%m-%d %H:%M:%S"
MODES = {"as it is": (), "--relations off": ("--relations", "off")}


def rides(rng, n):
    pickup = pd.Timestamp("2024-03-01") + pd.to_timedelta(rng.integers(0, 30 * 86400, n), "s")
    seconds = np.clip(rng.gamma(3, 270, n), 90, 3600).round()
    distance = (seconds / 60 * rng.uniform(0.15, 0.35, n)).round(2)
    cash = rng.random(n) < 0.3
    frame = pd.DataFrame({"pickup": pickup.strftime(TIMES)})
    frame["dropoff"] = (pickup + pd.to_timedelta(seconds, "s")).strftime(TIMES)
    frame["distance"] = distance
    frame["fare"] = (2.5 + 1.5 * distance + seconds / 200 + rng.gamma(1, 0.5, n)).round(1)
    frame["tip"] = np.where(cash, 0.0, (frame["fare"] * rng.uniform(0.1, 0.3, n)).round(2))
    frame["total"] = (frame["fare"] + frame["tip"]).round(2)
    frame["payment"] = np.where(cash, "cash", "card")
    return frame


def stays(rng, n):
    checkin = pd.Timestamp("2022-01-01") + pd.to_timedelta(rng.integers(0, 700, n), "D")
    nights = 1 + rng.poisson(2.5, n)
    frame = pd.DataFrame({"checkin": checkin.strftime("%Y-%m-%d")})
    frame["checkout"] = (checkin + pd.to_timedelta(nights, "D")).strftime("%Y-%m-%d")
    frame["nights"] = nights
    frame["price"] = rng.lognormal(4.4, 0.4, n).round(2)
    return frame


def orders(rng, n):
    price, qty = rng.lognormal(3.2, 0.5, n).round(2), 1 + rng.poisson(2, n)
    celsius = rng.normal(12, 7, n).round(2)
    frame = pd.DataFrame({"celsius": celsius, "fahrenheit": (1.8 * celsius + 32).round(2)})
    frame["price"], frame["qty"], frame["total"] = price, qty, (price * qty).round(2)
    frame["tax"] = (0.19 * frame["total"]).round(2)
    return frame


def minutes(frame):
    """Minutes from pick-up to drop-off."""
    pickup, dropoff = (pd.to_datetime(frame[name]) for name in ("pickup", "dropoff"))
    return (dropoff - pickup).dt.total_seconds().to_numpy() / 60


def nights(frame):
    checkin, checkout = (pd.to_datetime(frame[name]) for name in ("checkin", "checkout"))
    return (checkout - checkin).dt.days.to_numpy()


def differs(found, expected):
    """Which cells differ by more than rounding."""
    return np.abs(found - expected) > 0.011


# Table -> what all its real rows keep -> the rows that break it.
BROKEN = {
    rides: {
        "rides end after they begin": lambda f: minutes(f) < 0,
        "total = fare + tip": lambda f: differs(f.total, f.fare + f.tip),
        "cash rides have no tip": lambda f: (f.payment == "cash") & (f.tip > 0),
    },
    stays: {
        "check-out after check-in": lambda f: nights(f) < 1,
        "check-out - check-in = nights": lambda f: nights(f) != f.nights,
    },
    orders: {"total = price x qty": lambda f: differs(f.total, f.price * f.qty)},
}


def swapped(frame, at):
    frame.loc[at, ["pickup", "dropoff"]] = frame.loc[at, ["dropoff", "pickup"]].to_numpy()


def late(frame, at):
    times = pd.to_datetime(frame.loc[at, "dropoff"]) + pd.Timedelta(hours=12)
    frame.loc[at, "dropoff"] = times.dt.strftime(TIMES)


def overcharged(frame, at):
    frame.loc[at, "total"] = (frame.loc[at, "total"] * 1.1).round(2)


# Table -> what is changed in fresh rows -> how.
CHANGED = {
    rides: {"times swapped": swapped, "12 hours late": late},
    orders: {"total 10 % too high": overcharged},
}


def quietly(command, *args):
    """Run a script's main, without what it prints."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        command.main([str(word) for word in args])


def generated(table, rng, mode):
    """Per cent of generated rows that break each relation of a table."""
    table(rng, N_TRAIN).to_csv("t.csv", index=False)
    quietly(generate, "t.csv", "--n", N_GENERATED, "--out", "new.csv", *mode)
    made = pd.read_csv("new.csv")
    kept = BROKEN[table].items()
    return {f"{name}: % broken": 100 * float(np.mean(broken(made))) for name, broken in kept}


def filled(rng, mode):
    """Median error of filled drop-offs in minutes: ours, and that of chained regressions."""
    frame = rides(rng, N_TRAIN)
    hidden = rng.random(N_TRAIN) < HIDDEN
    frame.assign(dropoff=frame["dropoff"].mask(hidden)).to_csv("t.csv", index=False)
    quietly(impute, "t.csv", "--out", "full.csv", *mode)
    numbers = frame.drop(columns=["payment"])
    for name in ("pickup", "dropoff"):
        numbers[name] = (
            pd.to_datetime(numbers[name]) - pd.Timestamp("2024-03-01")
        ).dt.total_seconds() / 60
    x = numbers.to_numpy(float)
    x[hidden, 1] = np.nan
    mean, std = np.nanmean(x, 0), np.nanstd(x, 0)
    z = (x - mean) / std
    regression = baselines.imputers(z, z)["iterative regression"] * std + mean
    errors = (
        minutes(pd.read_csv("full.csv")) - minutes(frame),
        regression[:, 1] - numbers["dropoff"],
    )
    return [float(np.median(np.abs(error[hidden]))) for error in errors]


def found(table, rng, mode):
    """AUROC in % of each change of fresh rows, and that of the best baseline."""
    table(rng, N_TRAIN).to_csv("t.csv", index=False)
    quietly(train, "--data", "t.csv", "--run", "r", "--test-fraction", 0, *mode)
    results = {}
    for name, change in CHANGED[table].items():
        fresh = table(rng, N_FRESH)
        at = rng.choice(N_FRESH, N_CHANGED, replace=False)
        change(fresh, at)
        fresh["odd"] = np.isin(np.arange(N_FRESH), at).astype(int)
        fresh.to_csv("fresh.csv", index=False)
        quietly(detect, "fresh.csv", "--run", "r", "--labels", "odd", "--overwrite", *mode)
        said = json.loads(Path("runs/r/detection.json").read_text())
        auroc = [100 * value["auroc"][0] for value in said.values()]
        results[f"{name}: AUROC, %"] = auroc[0], max(auroc[1:])
    return results


def measure(seed, mode):
    """What the commands reach in one mode, by name: ours, and the best other or None."""
    results = {}

    def alone(step, *args):
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            return step(*args, np.random.default_rng(seed), mode)

    for table in BROKEN:
        shares = alone(generated, table)
        results |= {name: (share, None) for name, share in shares.items()}
    results["hidden drop-off: error, minutes"] = alone(filled)
    for table in CHANGED:
        results |= alone(found, table)
    print(seed, mode, {name: [v and round(v, 2) for v in pair] for name, pair in results.items()})
    return results


def main(argv=None):
    parser = Parser(prog="benchmarks/relations.py", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=positive_int, default=3, help="default: 3")
    args = parser.parse_args(argv)
    os.environ["TQDM_DISABLE"] = "1"
    runs = {name: [measure(s, mode) for s in range(args.seeds)] for name, mode in MODES.items()}
    rows = {}
    for task, (_, other) in runs["as it is"][0].items():
        rows[task] = {name: summary([run[task][0] for run in of]) for name, of in runs.items()}
        if other is not None:
            rows[task]["best other"] = summary([run[task][1] for run in runs["as it is"]])
    result = {"command": "python benchmarks/relations.py", "seeds": args.seeds}
    if args.seeds == 3:
        write_json(RESULTS / "relations.json", result | {"rows": rows, "versions": versions()})


if __name__ == "__main__":
    run_script(main)
