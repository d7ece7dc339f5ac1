"""Fit a VAE and write a run.

python train.py                          # the synthetic default, about 3 s
python train.py --data table.csv --epochs 200 --patience 20
python train.py --resume 0001            # go on where a run stopped, to the same bits
"""

import argparse
import contextlib
import math
import time

import torch

import data as datasets
from parts import runs
from parts.cli import (
    INTERRUPTED,
    Parser,
    add_device_flags,
    batch_size,
    choose_device,
    choose_threads,
    count,
    non_negative,
    positive,
    positive_int,
    progress_bar,
    run_script,
    seed,
    stop_signals,
)
from parts.errors import UserError
from parts.training import Position, Training
from vae import LIKELIHOODS, NETWORKS, OBJECTIVES, Batch, from_config

PRESETS = {
    # The recipe this project starts from, mended: one gradient step per epoch, sigma fixed at 1.
    "classic": {
        "hidden_dims": [8],
        "latent_dim": 8,
        "batch_size": "full",
        "epochs": 50,
        "likelihood": "gaussian",
        "variance": "fixed:1.0",
    },
}
LOG_EVERY = 10  # epochs between printed lines
RESUMABLE = {"resume", "runs_dir", "epochs", "patience", "device", "threads", "checkpoint_seconds"}


def fit(model, x, epochs=50, lr=1e-3, seed=0, **options):
    """Train `model` on an array x [N, D] in model units; returns the means of each epoch.

    `options` as `Training.run`: batch_size, beta, warmup_epochs, objective, n_samples.
    `seed` decides the order of rows; weights and noise draw from torch's global random state.
    """
    device = next(model.parameters()).device
    rows = Batch(torch.as_tensor(x, dtype=torch.float32, device=device))
    if not all(torch.isfinite(bound) for bound in torch.aminmax(rows.x)):  # needs no copy of x
        raise UserError("x holds NaN or infinite cells, expected finite numbers")
    steps = Training(model, lr, seed).run(rows, epochs, **options)
    return [means for means in steps if means]


def train(training, config, data, run):
    """Train to the last epoch, printing, logging and saving; returns how it ended, in a word."""
    part = "val" if len(data.val.x) else "test"  # test rows only to look at, never to choose by
    rows = Batch.of(data.train, config["device"])
    held_out = Batch.of(getattr(data, part), config["device"])
    at, total, patience = training.position, config["epochs"], config["patience"]
    next_save = time.monotonic() + config["checkpoint_seconds"]
    n = len(rows.x)

    def out_of_patience():
        return patience and at.epoch - at.best_epoch >= patience

    options = {
        name: config[name]
        for name in ("batch_size", "beta", "warmup_epochs", "objective", "n_samples")
    }
    steps = training.run(rows, total, **options)
    with progress_bar(n * total, n * at.epoch + at.row) as bar, stop_signals() as stop:
        for means in () if out_of_patience() else steps:
            if means:
                record = {"epoch": at.epoch, **means, "skipped": at.skipped}
                record |= held_out_terms(training.model, held_out, part)
                if patience:
                    training.keep_best(-record["val_loss"])
                run.append_log(record)
                if at.epoch % LOG_EVERY == 0 or at.epoch == total:
                    bar.write(epoch_line(record, total))
            bar.update(n * at.epoch + min(at.row, n) - bar.n)
            if time.monotonic() >= next_save:
                run.save_checkpoint(checkpoint_of(training, config))
                next_save = time.monotonic() + config["checkpoint_seconds"]
            if stop or out_of_patience():
                break
    run.save_checkpoint(checkpoint_of(training, config))
    return "done" if at.epoch >= total else "interrupted" if stop else "early"


def epoch_line(record, total):
    epoch, loss, log_px_z, kl = (record[key] for key in ("epoch", "loss", "log_px_z", "kl"))
    if loss is None:
        return f"Epoch [{epoch}/{total}], Loss: none, every step was skipped"
    return (
        f"Epoch [{epoch}/{total}], Loss: {loss:.4f}, log p(x|z): {log_px_z:.4f}, KL: {kl:.4f} nats"
    )


def held_out_terms(model, rows, part):
    """Loss and its halves over rows that are not trained on; the same draws every time."""
    if not len(rows.x):
        return {}
    n_samples = max(1, min(8, 4096 // len(rows.x)))
    with runs.fixed_randomness():
        elbo, log_px_z, kl = (t.mean().item() for t in model.terms(rows, n_samples))
    return {f"{part}_loss": -elbo, f"{part}_log_px_z": log_px_z, f"{part}_kl": kl}


def checkpoint_of(training, config):
    return {"format": runs.FORMAT, "config": config} | training.state()


def make_parser():
    parser = Parser(prog="train.py", description="Fit a VAE and write a run.")
    add = parser.add_argument
    datasets.add_data_flags(parser)
    add("--preset", choices=sorted(PRESETS), help="a named set of flags; given flags win")
    add("--epochs", type=positive_int, default=50, help="passes over the rows (default: 50)")
    add("--batch-size", type=batch_size, default=32, help="rows per step, or full (default: 32)")
    add("--lr", type=positive, default=1e-3, help="Adam's learning rate (default: 0.001)")
    add("--hidden-dims", type=positive_int, nargs="*", default=[64],
        help="the encoder's hidden layers, mirrored in the decoder (default: 64)")  # fmt: skip
    add("--network", choices=sorted(NETWORKS), default="mlp", help="its kind (default: mlp)")
    add("--latent-dim", type=positive_int, default=8, help="dimensions of z (default: 8)")
    add("--likelihood", choices=sorted(LIKELIHOODS),
        help="p(x|z) (default: gaussian; digits: bernoulli)")  # fmt: skip
    add("--variance", help="gaussian: fixed:V, shared, column or decoder (default: decoder)")
    add("--objective", choices=sorted(OBJECTIVES), default="elbo",
        help="the bound that training climbs, and its gradient (default: elbo)")  # fmt: skip
    add("--n-samples", type=positive_int, default=1, help="its samples of z per row (default: 1)")
    add("--beta", type=non_negative, default=1.0, help="weight of the KL (default: 1, the ELBO)")
    add("--warmup-epochs", type=count, default=0,
        help="epochs over which beta rises from 0 (default: 0)")  # fmt: skip
    add("--patience", type=count, default=0,
        help="stop after so many epochs without a better held-out bound (0: never)")  # fmt: skip
    add("--seed", type=seed, default=0, help="seed of weights, order and noise (default: 0)")
    add("--checkpoint-seconds", type=non_negative, default=30.0,
        help="seconds between checkpoints during training (default: 30)")  # fmt: skip
    add_device_flags(parser)
    add("--runs-dir", default="runs", help="where runs live (default: runs)")
    add("--run", help="name of the new run (default: the next number)")
    add("--overwrite", action="store_true", help="replace an existing run of that name")
    add("--resume", metavar="RUN", help="go on with a run; --epochs takes it further")
    return parser


def parse(argv):
    """All flags as a dict, and those given as another: default < preset < flag."""
    parser = make_parser()
    defaults = vars(parser.parse_args([]))
    unset = object()
    namespace = parser.parse_args(argv, argparse.Namespace(**dict.fromkeys(defaults, unset)))
    given = {name: value for name, value in vars(namespace).items() if value is not unset}
    preset = PRESETS[given["preset"]] if "preset" in given else {}
    return defaults | preset | given, given


def new_training(args, given, held):
    """Config, Data, Training and Run of a new run, its lock entered into the ExitStack `held`."""
    config = datasets.resolve(args)
    likelihood = LIKELIHOODS[config["likelihood"]]
    if "variance" in given and "variance" not in likelihood.options:
        raise UserError(f"--variance goes with --likelihood gaussian, not {config['likelihood']}")
    if config["variance"] is None:
        config["variance"] = "decoder"
    if config["patience"] and not config["val_fraction"]:
        raise UserError("--patience needs held-out rows: add --val-fraction 0.1")
    if config["overwrite"] and config["run"] is None:
        raise UserError("--overwrite needs --run NAME: a run without a name never replaces another")
    target = [config.pop(key) for key in ("runs_dir", "run", "overwrite")]
    config.pop("resume")
    runs.refuse_name(*target)
    config["device"] = choose_device(config["device"]).type
    config["standardize"] = likelihood.standardize
    data = datasets.load(config)
    config |= {
        "columns": [column.to_dict() for column in data.columns],
        "shape": list(data.shape),
        "data_hash": data.hash,
        "versions": runs.versions(),
    }
    torch.manual_seed(config["seed"])
    model = from_config(config).to(config["device"])
    for split in (data.train, data.val, data.test):
        if len(split.x):
            model.likelihood.check(split.x, [column.name for column in data.columns])
    training = Training(model, config["lr"], config["seed"])
    config["threads"] = set_threads(config, data, model)
    run = runs.create_run(*target, config, checkpoint_of(training, config))
    held.enter_context(run.locked())
    return config, data, training, run


def resumed_training(args, given, held):
    """The same, of a run that goes on."""
    refused = sorted(set(given) - RESUMABLE)
    if refused:
        raise UserError(
            f"--{refused[0].replace('_', '-')} cannot change on --resume; allowed: "
            + ", ".join(f"--{name.replace('_', '-')}" for name in sorted(RESUMABLE - {"resume"}))
        )
    run = runs.find_run(args["runs_dir"], args["resume"])
    held.enter_context(run.locked())
    checkpoint = run.load_checkpoint()
    config = checkpoint["config"] | {k: given[k] for k in given if k not in ("resume", "runs_dir")}
    config["device"] = choose_device(config["device"]).type
    data = datasets.load_for(config)
    if config["patience"] and not len(data.val.x):
        raise UserError("--patience needs held-out rows, and this run has none")
    training = Training(from_config(config).to(config["device"]), config["lr"], config["seed"])
    training.load_state(checkpoint)
    at = training.position
    if config["epochs"] < at.epoch:
        raise UserError(f"--epochs {config['epochs']}: run {run.name} has finished {at.epoch}")
    if not config["patience"]:
        training.best, at.best_epoch, at.best_elbo = None, 0, -math.inf
    elif not checkpoint["config"]["patience"]:
        at.best_epoch = at.epoch  # patience begins here
    config["threads"] = set_threads(config, data, training.model)
    run.clear_leftovers()
    run.trim_log(at.epoch)
    runs.write_json(run.path / "config.json", config)
    return config, data, training, run


def set_threads(config, data, model):
    """Fit the number of threads to a step's arithmetic, and keep it: other threads, other bits."""
    rows = len(data.train.x) if config["batch_size"] == "full" else config["batch_size"]
    threads = choose_threads(config["threads"], rows * sum(p.numel() for p in model.parameters()))
    torch.set_num_threads(threads)
    return threads


def main(argv=None):
    args, given = parse(argv)
    start = new_training if args["resume"] is None else resumed_training
    with contextlib.ExitStack() as held:
        config, data, training, run = start(args, given, held)
        introduce(config, data, training, run)
        ended = train(training, config, data, run)
    return conclude(ended, training.position, run.flags(args["runs_dir"]), run)


def introduce(config, data, training, run):
    print(data.describe())
    print(f"{training.model.describe()}, on {config['device']}, threads: {config['threads']}")
    if note := training.model.likelihood.note(data.train.x):
        print(note)
    if (at := training.position) != Position():
        print(f"Resuming {run.path} after epoch {at.epoch} of {config['epochs']}")


def conclude(ended, at, flags, run):
    """Say how it ended and what comes next; returns the exit code."""
    if ended == "interrupted":
        resume = "python train.py " + flags.replace("--run ", "--resume ", 1)
        print(f"Stopped in epoch {at.epoch + 1} and saved. Go on with:\n  {resume}")
        return INTERRUPTED
    if ended == "early":
        print(f"Stopped early: the held-out bound was best in epoch {at.best_epoch}, which is kept")
    if at.skipped:
        print(f"{at.skipped} steps with a non-finite loss or gradient were skipped")
    print(f"Run: {run.path}", "Next:", sep="\n")
    for script in ("evaluate.py", "plot_results.py"):
        print(f"  python {script} {flags}")
    return 0


if __name__ == "__main__":
    run_script(main)
