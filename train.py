"""Fit a VAE and write a run.

python train.py                          # the synthetic default, about 3 s
python train.py --data survey.csv        # a table with mixed columns and holes
python train.py --resume 0001            # go on where a run stopped, to the same bits
"""

import parts  # noqa: F401  first: before torch is loaded

# isort: split

import argparse
import contextlib
import math
import sys
import time

import torch

import data as datasets
from parts import files, randomness, runs
from parts.console.devices import choose_device, choose_threads
from parts.console.flags import Parser, count, flags_in, non_negative
from parts.console.progress import progress_bar
from parts.console.script import INTERRUPTED, run_script, stop_signals
from parts.console.settings import add_model_flags
from parts.errors import UserError
from parts.forms.tables import kinds
from parts.model.build import fit_to_model, from_config, refuse_damaged
from parts.model.likelihoods import LIKELIHOOD_OPTIONS
from parts.training.loop import Position, Training
from parts.training.presets import PRESETS, fitted_settings
from vae import LIKELIHOODS, Batch

# Of training and of held-out rows so many are kept in the run, to compare other rows with.
N_KEPT_ROWS, N_KEPT_CELLS = 5000, 2**22
N_STARTED_AT = 5000  # training rows from which a model may begin
LOG_EVERY = 10  # epochs between printed lines
FLAG_OF = {"kinds_file": "columns"}  # where a flag and its name in the code differ
OPTIONS = ("batch_size", "beta", "warmup_epochs", "cycles", "capacity", "free_bits", "schedule",
           "objective", "n_samples", "hide_rate")  # of Training.run  # fmt: skip
RESUMABLE = {"resume", "runs_dir", "epochs", "patience", "device", "threads", "checkpoint_seconds"}


def fit(model, x, mask=None, epochs=50, lr=1e-3, seed=0, y=None, **options):
    """Train `model` on arrays x, mask [N, D] in model units and conditions y [N, C]; returns the
    means of each epoch.

    `options` as `Training.run`: OPTIONS.
    `seed` decides the order of rows; weights and noise draw from torch's global random state.
    """
    device = next(model.parameters()).device
    tensors = [None if a is None else torch.as_tensor(a, dtype=torch.float32, device=device)
               for a in (x, y, mask)]  # fmt: skip
    rows = Batch(*tensors)
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
    n, next_save = len(rows.x), time.monotonic() + config["checkpoint_seconds"]

    def out_of_patience():
        return patience and at.epoch - at.best_epoch >= patience

    steps = training.run(rows, total, **{name: config[name] for name in OPTIONS})
    with progress_bar(n * total, n * at.epoch + at.row) as bar, stop_signals() as stop:
        for means in () if out_of_patience() else steps:
            if means:
                record = {"epoch": at.epoch, **means, "skipped": at.skipped}
                record |= held_out_terms(training.model, held_out, part)
                if patience:
                    training.keep_best(-record["val_loss"])
                run.append_log(record)
                if at.epoch % max(LOG_EVERY, total // 20) == 0 or at.epoch == total:
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
    with randomness.fixed_randomness():
        rows = rows._replace(x=model.likelihood.draw(rows.x))
        elbo, log_px_z, kl = (t.mean().item() for t in model.terms(rows, n_samples))
    return {f"{part}_loss": -elbo, f"{part}_log_px_z": log_px_z, f"{part}_kl": kl}


def checkpoint_of(training, config):
    return {"format": runs.FORMAT, "config": config} | training.state()


def make_parser():
    parser = Parser(prog="train.py", description="Fit a VAE and write a run.")
    add = parser.add_argument
    datasets.add_data_flags(parser)
    add_model_flags(parser)
    add("--config", metavar="FILE", help="flags as JSON, as tune.py writes them; given flags win")
    add("--patience", type=count, default=0,
        help="stop after so many epochs without a better held-out bound (0: never)")  # fmt: skip
    add("--checkpoint-seconds", type=non_negative, default=30.0,
        help="seconds between checkpoints during training (default: 30)")  # fmt: skip
    add("--runs-dir", default="runs", help="where runs live (default: runs)")
    add("--run", help="name of the new run (default: the next number)")
    add("--overwrite", action="store_true", help="replace an existing run of that name")
    add("--resume", metavar="RUN", help="go on with a run; --epochs takes it further")
    return parser


def parse(argv, parser=None):
    """All flags as a dict, and those given as another: default < preset < config < flag."""
    parser, argv = parser or make_parser(), sys.argv[1:] if argv is None else argv
    defaults = vars(parser.parse_args([]))
    unset = object()
    appended = {"kind": None, "condition": None}  # None: argparse appends to it
    blank = dict.fromkeys(defaults, unset) | appended
    namespace = vars(parser.parse_args(argv, argparse.Namespace(**blank)))
    if (path := namespace.get("config", unset)) is not unset:
        argv = [*flags_in(files.read_json(path), parser, path), *argv]
        namespace = vars(parser.parse_args(argv, argparse.Namespace(**blank)))
    given = {name: v for name, v in namespace.items() if v is not unset and v is not None}
    likelihood = datasets.resolve(defaults | given)["likelihood"]
    name = given.get("preset") or LIKELIHOODS[likelihood].preset
    return defaults | {"preset": name} | PRESETS.get(name, {}) | given, given


def settle(args, given):
    """The config that the flags ask for, with all that is left to the data filled in; its Data."""
    config = fit_to_model(datasets.resolve(args), given)
    likelihood = LIKELIHOODS[config["likelihood"]]
    for flag in sorted(LIKELIHOOD_OPTIONS):
        if flag in given and flag not in likelihood.options:
            raise UserError(f"--{flag} does not go with --likelihood {config['likelihood']}")
    config["kinds"] = kinds.wanted(config.pop("kinds_file"), config.pop("kind"))
    if config["kinds"] and likelihood.scaling != "kinds":
        raise UserError(f"--kind and --columns do not go with --likelihood {config['likelihood']}")
    config |= {"device": choose_device(config["device"]).type, "scaling": likelihood.scaling}
    data = datasets.load(config)
    if config["binarize"] is None:
        pictures = len(data.shape) > 1 and config["likelihood"] == "bernoulli"
        config["binarize"] = "dynamic" if pictures else "none"
    config |= fitted_settings(config, data)
    config |= {
        # Without it a hidden pixel is a black one to the encoder, and its q(z | x) is poorer.
        "mask_features": len(data.shape) > 1 and config["hide_rate"] > 0,
        "columns": [column.to_dict() for column in data.columns],
        "shape": list(data.shape),
        "data_hash": data.hash,
        "versions": runs.versions(),
    }
    return config, data


def build(config, data):
    """The Training of a new model, from its seed on."""
    torch.manual_seed(config["seed"])
    model = from_config(config).to(config["device"])
    for split in (data.train, data.val, data.test):
        if len(split.x):
            model.likelihood.check(split.x, [column.name for column in data.modelled])
    with randomness.fixed_randomness(config["seed"]):
        model.start_at(*Batch.of(data.train, config["device"]).take(slice(N_STARTED_AT)))
    return Training(model, config["lr"], config["seed"])


def new_training(args, given, held):
    """Config, Data, Training and Run of a new run, its lock entered into the ExitStack `held`."""
    if args["patience"] and not datasets.resolve(args)["val_fraction"]:
        raise UserError("--patience needs held-out rows: add --val-fraction 0.1")
    if args["overwrite"] and args["run"] is None:
        raise UserError("--overwrite needs --run NAME: a run without a name never replaces another")
    target = [args[key] for key in ("runs_dir", "run", "overwrite")]
    runs.refuse_name(*target)
    elsewhere = ("runs_dir", "run", "overwrite", "resume", "config")
    config, data = settle({k: v for k, v in args.items() if k not in elsewhere}, given)
    training = build(config, data)
    config["threads"] = set_threads(config, data, training.model)
    n_kept = max(1, min(N_KEPT_ROWS, N_KEPT_CELLS // len(data.modelled)))
    rows = {f"{prefix}{name}": array for prefix, split in (("", data.train), ("held_", data.val))
            for name, array in split.sample(n_kept).items()}  # fmt: skip
    run = runs.create_run(*target, config, checkpoint_of(training, config), rows)
    held.enter_context(run.locked())
    return config, data, training, run


def resumed_training(args, given, held):
    """The same, of a run that goes on."""
    refused = sorted(set(given) - RESUMABLE)
    if refused:
        flag = FLAG_OF.get(refused[0], refused[0].replace("_", "-"))
        raise UserError(
            f"--{flag} cannot change on --resume; allowed: "
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
    refuse_damaged(checkpoint["model"], training.model, run)
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
    run.save_config(config)
    return config, data, training, run


def set_threads(config, data, model):
    """Fit the number of threads to a step's arithmetic, and keep it: other threads, other bits."""
    rows = len(data.train.x) if config["batch_size"] == "full" else config["batch_size"]
    threads = choose_threads(config["threads"], rows * sum(p.numel() for p in model.parameters()))
    torch.set_num_threads(threads)
    return threads


def main(argv=None):
    args, ended, training, run = start(argv)
    return conclude(ended, training.position, run.flags(args["runs_dir"]), run)


def start(argv):
    """Train as the flags say; the flags, how it ended, the Training and its Run."""
    args, given = parse(argv)
    prepare = new_training if args["resume"] is None else resumed_training
    with contextlib.ExitStack() as held:
        config, data, training, run = prepare(args, given, held)
        introduce(config, data, training, run)
        return args, train(training, config, data, run), training, run


def run_of(args, kinds_too=(), preset="table", held_out=0.1):
    """The run that a verb is to use: the one it names, or a new one fitted to its file.

    A fitted one holds back no test rows, but a share `held_out`, to set a threshold by or to
    measure on.
    """
    if args.run is not None:
        if args.kind or args.kinds_file:
            raise UserError(
                "--kind and --columns belong to training, and --run names a trained run"
            )
        run, form = runs.find_run(args.runs_dir, args.run), datasets.form_of(args.file)
        if form != "pictures" and len(shape := run.config().get("shape", ())) > 1:
            raise UserError(
                f"{args.file} holds rows, and run {run.name} was trained on pictures of "
                f"{' x '.join(map(str, shape[-2:]))}; give an array [N, H, W] or a folder"
            )
        return run
    if datasets.form_of(args.file) == "pictures":
        raise UserError(
            f"{args.file} holds pictures, which need a run: train one on complete pictures, as by "
            "python train.py --data DATA --hide-rate 0.9 --run NAME, and add --run NAME"
        )
    argv = ["--data", args.file, "--likelihood", "mixed", "--test-fraction", "0"]
    argv += ["--val-fraction", str(held_out), "--preset", preset, "--seed", str(args.seed)]
    argv += ["--runs-dir", args.runs_dir, "--device", args.device, "--threads", str(args.threads)]
    argv += ["--columns", args.kinds_file] if args.kinds_file else []
    for name, kind in [*(args.kind or []), *kinds_too]:
        argv += ["--kind", f"{name}={kind}"]
    args, ended, training, run = start(argv)
    if ended == "interrupted":
        code = conclude(ended, training.position, run.flags(args["runs_dir"]), run)
        print(f"and then give this command {run.flags(args['runs_dir'])}")
        raise SystemExit(code)
    return run


def introduce(config, data, training, run):
    print(data.describe())
    print(f"{training.model.describe()}, on {config['device']}, threads: {config['threads']}")
    if config["warmup_epochs"] > (cycle := config["epochs"] / config["cycles"]):
        print(
            f"Note: the warm-up of {config['warmup_epochs']} epochs is longer than the {cycle:g} "
            "that it has, and stops short of its end"
        )
    if note := training.model.note(data.train.x):
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
