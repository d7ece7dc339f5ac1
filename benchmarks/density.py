"""Log p(x) of MNIST and training time, with the network and evaluation of Burda et al. 2016.

    python benchmarks/density.py --data-dir DIR                   # all rows of MNIST_SETTINGS
    python benchmarks/density.py --data-dir DIR --only plain      # one

DIR holds the four idx files of MNIST. Each row is `python train.py --data mnist --data-dir DIR
FLAGS` on all 60,000 training pictures, with the network 784-200-200-50-200-200-784, SiLU in
place of the paper's tanh, pixels binarised anew at every visit. Test log p(x): all 10,000 test
pictures, binarised once by a fixed seed, 5000 importance samples (1000 where several seeds are
compared), in nats, with the standard error over pictures; nothing is chosen by it. `curve` holds
seconds of training, epochs and a rough log p(x) (every tenth test picture, 100 samples, and so a
lower bound) ten times in a run, whose time is not counted. `share_of_limit` is the multiply-adds of
training against those of a large product of matrices on the same device and threads.
"""

import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import parts  # noqa: F401  before torch

# isort: split

import numpy as np
import torch

import train
from parts import (
    files,
    randomness,
    runs,
)
from parts.console.devices import choose_device, n_cores
from parts.console.fitting import prepare, set_threads
from parts.console.flags import Parser, options_in, parse
from parts.console.script import run_script
from parts.errors import UserError
from parts.options import positive_int
from parts.plots import (
    style,
)
from parts.tasks import fit
from parts.tasks.evaluate import estimates
from vae import Batch

RESULTS = ROOT / "benchmarks/results"
N_TEST_SAMPLES = 5000  # importance samples of Burda et al. 2016
FEWER_SAMPLES = 1000  # importance samples if several seeds are compared
N_CURVE_POINTS, CURVE_ROWS, CURVE_SAMPLES = 10, slice(None, None, 10), 100
PAPER = -86.76  # Burda et al. 2016, table 1: VAE, one stochastic layer, one sample
LIMIT_SIZE, LIMIT_TRIES = 2048, 5  # size and repetitions of the product that measures the limit
COLORS = (style.BLUE, style.ORANGE, style.GREEN, style.VERMILION, "#CC79A7", style.GREY)
MEANS = ("log_px", "log_px_se", "train_seconds", "evaluate_seconds")
MEANS += ("rows_per_second", "share_of_limit")
ELBO = "--preset mnist --objective elbo --n-samples 1 --epochs 30"
# Name -> flags of train.py and seeds; docs/results.md shows them in order.
MNIST_SETTINGS = {
    "plain": ("--preset mnist", 1),
    "plain, 240 epochs": ("--preset mnist --epochs 240", 1),
    "mixture prior, 60 epochs": ("--preset mnist --prior mixture --epochs 60", 1),
    "mixture prior, 300 epochs": ("--preset mnist --prior mixture --epochs 300", 1),
    "mixture prior, 480 epochs, 300-300": (
        "--preset mnist --prior mixture --epochs 480 --hidden-dims 300 300",
        1,
    ),
    "static binarisation": ("--preset mnist --binarize static", 1),
    "no flow": (ELBO, 3),
    "planar": (ELBO + " --flow planar:10", 3),
    "iaf": (ELBO + " --flow iaf:4", 3),
}


def rough(model, rows):
    with randomness.fixed_randomness():
        rows = rows._replace(x=model.likelihood.draw(rows.x))
        return model.log_px(*rows, n_samples=CURVE_SAMPLES).mean().item()


def multiply_adds(model, n_samples):
    """Multiply-adds of a training step per row: each weight counts once forward, twice backward."""
    encoder, decoder = (
        sum(p.numel() for p in half.parameters() if p.ndim > 1)
        for half in (model.encoder, model.decoder)
    )
    return 3 * (encoder + n_samples * decoder)


def limit(device):
    """Multiply-adds per second of a large matrix product on this device, the best of a few."""
    a = torch.randn(LIMIT_SIZE, LIMIT_SIZE, device=device)
    best = 0.0
    for _ in range(LIMIT_TRIES):
        start = time.perf_counter()
        (a @ a)[0, 0].item()  # waits for the device
        best = max(best, LIMIT_SIZE**3 / (time.perf_counter() - start))
    return best


def measure(flags, data_dir, seed, n_test_samples=N_TEST_SAMPLES):
    """Train a setting once; its curve, test log p(x) with standard error, and seconds."""
    argv = ["--data", "mnist", "--data-dir", data_dir, "--val-fraction", "0", *flags.split()]
    args, given = parse(train.make_parser(), [*argv, "--seed", str(seed)])
    config, data = prepare(options_in(given))
    device, options = choose_device(args["device"]), config.training
    training = fit.start(data, config, device)
    set_threads(args["threads"], config, data, training.model)
    rows, test = (Batch.of(split, device) for split in (data.train, data.test))
    looks = {round(options.epochs * i / N_CURVE_POINTS) for i in range(1, N_CURVE_POINTS + 1)}
    curve, seconds, start = [], 0.0, time.perf_counter()
    for means in training.run(rows, options.epochs, **options.loop_options()):
        epoch = training.position.epoch
        if means and epoch in looks:
            seconds += time.perf_counter() - start
            log_px = rough(training.model, test.take(CURVE_ROWS))
            curve.append({"seconds": seconds, "epoch": epoch, "rough_log_px": log_px})
            print(f"  {seconds:6.0f} s, epoch {epoch}: {log_px:.2f}", flush=True)
            start = time.perf_counter()
    rows_per_second = len(rows.x) * options.epochs / seconds
    work = rows_per_second * multiply_adds(training.model, options.n_samples)
    start = time.perf_counter()
    with randomness.fixed_randomness(seed):
        test = test._replace(x=training.model.likelihood.draw(test.x))
    _, log_px, _, _ = estimates(training.model, test, n_test_samples, seed)
    return {
        "log_px": log_px.mean(),
        "log_px_se": log_px.std(ddof=1) / len(log_px) ** 0.5,
        "train_seconds": seconds,
        "epochs": options.epochs,
        "evaluate_seconds": time.perf_counter() - start,
        "parameters": sum(p.numel() for p in training.model.parameters()),
        "rows_per_second": rows_per_second,
        "share_of_limit": work / limit(device),
        "device": device.type,
        "threads": torch.get_num_threads(),
        "curve": curve,
    }


def draw(rows, path):
    """Draw log p(x) against seconds of training; a dot at the end is the full evaluation.

    A curve is measured on every tenth picture, whose log p(x) differs by about a constant: it is
    shifted by the difference at its end.
    """
    import matplotlib

    matplotlib.use("Agg")
    style.use()
    figure, axes = style.subplots(1, 1, width=6.4, height=4.4)
    axis = axes.flat[0]
    single = [(name, row) for name, row in rows.items() if row["seeds"] == 1]
    for (name, row), color in zip(single, COLORS, strict=False):
        seconds, rough = zip(
            *[(p["seconds"], p["rough_log_px"]) for p in row["curve"]], strict=True
        )
        shifted = np.array(rough) + row["log_px"] - rough[-1]
        axis.plot(seconds, shifted, color=color, label=name)
        axis.plot(seconds[-1], row["log_px"], "o", color=color)
    axis.axhline(PAPER, color="black", linestyle=":", label="Burda et al. 2016, VAE")
    axis.set_title("MNIST, dots: all test pictures; curves: every tenth, shifted to end at the dot")
    axis.set(xlabel="training, s", ylabel="test log p(x), nats per picture", ylim=(-100, None))
    ends = [point["seconds"] for _, row in single for point in row["curve"]]
    if ends:
        style.log_ticks(axis, min(ends), max(ends))
    style.legend_below(figure, axis)
    files.write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=style.DPI))


def summary(found):
    """One row of results from those of its seeds."""
    mean = {key: float(np.mean([one[key] for one in found])) for key in MEANS}
    by_seed = [one["log_px"] for one in found]
    sd = float(np.std(by_seed, ddof=1)) if len(found) > 1 else None
    same = {key: found[0][key] for key in ("epochs", "parameters", "device", "threads", "curve")}
    return {"seeds": len(found), **mean, "log_px_sd": sd, "by_seed": by_seed, **same}


def main(argv=None):
    parser = Parser(prog="benchmarks/density.py", description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data-dir", metavar="DIR", help="the idx files of MNIST")
    add("--redraw", action="store_true", help="draw the figure again from the JSON, and stop")
    add("--only", action="append", choices=MNIST_SETTINGS, help="this row; repeatable")
    add("--epochs", type=positive_int, help="fewer or more, for a quick look; needs --out")
    add("--out", metavar="FILE", help="the JSON (default: benchmarks/results/density.json)")
    args = parser.parse_args(argv)
    if args.epochs and not args.out:
        raise UserError("--epochs is a quick look: name its file by --out")
    out = Path(args.out or RESULTS / "density.json")
    found = files.read_json(out)["rows"] if out.exists() else {}
    if args.redraw:
        draw(found, out.with_suffix(".png"))
        return 0
    if not args.data_dir:
        raise UserError("--data-dir: name the folder with the idx files of MNIST")
    for name in args.only or MNIST_SETTINGS:
        flags, n_seeds = MNIST_SETTINGS[name]
        flags += f" --epochs {args.epochs}" if args.epochs else ""
        print(f"{name}: {flags}", flush=True)
        n_samples = N_TEST_SAMPLES if n_seeds == 1 else FEWER_SAMPLES
        one = [measure(flags, args.data_dir, seed, n_samples) for seed in range(n_seeds)]
        row = {"flags": flags, "n_samples": n_samples, **summary(one)}
        print(
            f"  log p(x) {row['log_px']:.2f} ± {row['log_px_se']:.2f} nats after "
            f"{row['train_seconds']:.0f} s; evaluated in {row['evaluate_seconds']:.0f} s; "
            f"{row['rows_per_second']:,.0f} rows/s, {row['share_of_limit']:.0%} of the device's "
            "arithmetic limit"
        )
        found = {key: (found | {name: row})[key] for key in MNIST_SETTINGS if key in {*found, name}}
        command = "python benchmarks/density.py --data-dir DIR"
        result = {"command": command, "cores": n_cores(), "rows": found}
        files.write_json(out, result | {"versions": runs.versions()})
    draw(found, out.with_suffix(".png"))
    return 0


if __name__ == "__main__":
    run_script(main)
