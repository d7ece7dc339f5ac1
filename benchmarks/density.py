"""Log p(x) of MNIST against the time it takes: the network and the evaluation of Burda et al. 2016.

    python benchmarks/density.py --data-dir DIR                   # all rows of SETTINGS
    python benchmarks/density.py --data-dir DIR --only dreg       # one

DIR holds the four idx files of MNIST. Each row is `python train.py --data mnist --data-dir DIR
FLAGS`: 60,000 training pictures, all of which are trained on, 784-200-200-50-200-200-784, SiLU in
place of the paper's tanh, pixels binarised anew at every visit. Test log p(x): all 10,000 test
pictures, binarised once by a fixed seed, 5000 importance samples, in nats, with the standard error
over pictures; nothing is chosen by it. `curve` holds seconds of training, epochs and a rough log
p(x) (1000 test pictures, 100 samples, and so a lower bound by some nats) ten times in a run, whose
time is not counted.
"""

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import parts  # noqa: E402, F401  before torch

# isort: split

import torch  # noqa: E402

import train  # noqa: E402
from evaluate import estimates  # noqa: E402
from parts import runs  # noqa: E402
from parts.cli import Parser, n_cores, positive_int, run_script  # noqa: E402
from vae import Batch  # noqa: E402

RESULTS = ROOT / "benchmarks/results"
N_TEST_SAMPLES = 5000  # of Burda et al. 2016
LOOKS, N_LOOKED_AT, LOOK_SAMPLES = 10, 1000, 100
# Name -> flags of train.py beside those of the network; the README's table shows them in order.
SETTINGS = {
    "dreg": "--preset mnist",
    "long": "--preset mnist --epochs 240",
}


def rough(model, rows):
    with runs.fixed_randomness():
        rows = rows._replace(x=model.likelihood.draw(rows.x))
        return model.log_px(*rows, n_samples=LOOK_SAMPLES).mean().item()


def measure(flags, data_dir, seed):
    """The row of one setting: curve, test log p(x) with its standard error, seconds of each."""
    argv = ["--data", "mnist", "--data-dir", data_dir, "--val-fraction", "0", *flags.split()]
    args, given = train.parse([*argv, "--seed", str(seed)])
    config, data = train.settle(args, given)
    training = train.build(config, data)
    train.set_threads(config, data, training.model)
    rows, test = (Batch.of(split, config["device"]) for split in (data.train, data.test))
    looks = {round(config["epochs"] * i / LOOKS) for i in range(1, LOOKS + 1)}
    options = {name: config[name] for name in train.OPTIONS}
    curve, seconds, start = [], 0.0, time.perf_counter()
    for means in training.run(rows, config["epochs"], **options):
        epoch = training.position.epoch
        if means and epoch in looks:
            seconds += time.perf_counter() - start
            log_px = rough(training.model, test.take(slice(N_LOOKED_AT)))
            curve.append({"seconds": seconds, "epoch": epoch, "rough_log_px": log_px})
            print(f"  {seconds:6.0f} s, epoch {epoch}: {log_px:.2f}", flush=True)
            start = time.perf_counter()
    start = time.perf_counter()
    with runs.fixed_randomness(seed):
        test = test._replace(x=training.model.likelihood.draw(test.x))
    _, log_px, _, _ = estimates(training.model, test, N_TEST_SAMPLES, seed)
    return {
        "flags": flags,
        "log_px": log_px.mean(),
        "log_px_se": log_px.std(ddof=1) / len(log_px) ** 0.5,
        "train_seconds": seconds,
        "epochs": config["epochs"],
        "evaluate_seconds": time.perf_counter() - start,
        "parameters": sum(p.numel() for p in training.model.parameters()),
        "device": config["device"],
        "threads": torch.get_num_threads(),
        "curve": curve,
    }


def main(argv=None):
    parser = Parser(prog="benchmarks/density.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data-dir", required=True, metavar="DIR", help="the idx files of MNIST")
    add("--only", action="append", choices=SETTINGS, help="this row; repeatable")
    add("--seed", type=int, default=0, help="of weights, order and draws (default: 0)")
    add("--epochs", type=positive_int, help="fewer or more, for a quick look")
    add("--out", metavar="FILE", help="the JSON (default: benchmarks/results/density.json)")
    args = parser.parse_args(argv)
    out = Path(args.out or RESULTS / "density.json")
    found = runs.read_json(out)["rows"] if out.exists() else {}
    for name in args.only or SETTINGS:
        print(f"{name}: {SETTINGS[name]}", flush=True)
        flags = SETTINGS[name] + (f" --epochs {args.epochs}" if args.epochs else "")
        row = found[name] = measure(flags, args.data_dir, args.seed)
        print(
            f"  log p(x) {row['log_px']:.2f} ± {row['log_px_se']:.2f} nats after "
            f"{row['train_seconds']:.0f} s; evaluated in {row['evaluate_seconds']:.0f} s"
        )
        command = "python benchmarks/density.py --data-dir DIR"
        result = {"command": command, "cores": n_cores(), "seed": args.seed, "rows": found}
        if args.out or not args.epochs:
            runs.write_json(out, result | {"versions": runs.versions()})
    return 0


if __name__ == "__main__":
    run_script(main)
