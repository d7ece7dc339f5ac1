"""Train from a script: create the run, print progress, save, and handle Ctrl-C.

train.py uses it, and detect.py, impute.py and generate.py when they fit a run to a file.
"""

import contextlib
import sys
import time
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch

import data as datasets
from parts.console.devices import choose_device, choose_threads, use_threads
from parts.console.notes import notes_kept
from parts.console.progress import progress_bar
from parts.console.script import INTERRUPTED, stop_signals
from parts.errors import UserError, stage
from parts.files import STANDARD, shown_path
from parts.forms import form_named, form_of
from parts.forms.config import READING, DataConfig
from parts.forms.tables import kinds
from parts.model.build import Space, build_model, fit_to_model, load_weights
from parts.runs import FORMAT, create_run, find_run, refuse_name, versions
from parts.runs.config import Execution, RunConfig, resolve
from parts.tasks import fit
from parts.training import presets
from parts.training.loop import Position, Training
from parts.words import counted

LOG_EVERY = 10  # fewest epochs between printed lines


@dataclass
class Session:
    """A run in training: config, Data, Training, run folder, and how training ended."""

    config: RunConfig
    data: datasets.Data
    training: Training
    run: object
    ended: str = ""


def prepare(given, source=None):
    """The Config of given options, fitted to the data, and the Data.

    `source` is a form and a Source if a script has read its file already.
    """
    config = fit_to_model(resolve(given), given)
    data = (
        datasets.load(config.data)
        if source is None
        else datasets.split_and_encode(*source, config.data)
    )
    return presets.fit_to_data(config, data), data


def new_session(given, target, device, threads, held, source=None, check=None):
    """The Session of a new run, whose lock is entered into the ExitStack `held`.

    `target` is the folder of runs, the run's name or None, and whether to replace an existing run.
    `check` is called with the codec, and may raise UserError before anything is trained.
    """
    refuse_name(*target)
    device = choose_device(device)
    config, data = prepare(given, source)
    if check is not None:
        check(data.codec)
    training = fit.start(data, config, device)
    threads = set_threads(threads, config, data, training.model)
    own = Execution(device.type, threads)
    run_config = RunConfig(config, data.codec, data.fingerprint, len(data.train.x), own, versions())
    state = checkpoint_of(training, run_config)
    run = create_run(*target, run_config, state, fit.references(data), held)
    return Session(run_config, data, training, run)


def resumed_session(name, runs_dir, changes, device, threads, held):
    """The Session of a run that is continued, with changed options of training."""
    run = find_run(runs_dir, name)
    held.enter_context(run.locked())
    checkpoint = run.load_checkpoint()
    before = checkpoint["config"]
    config = before.asked.replace(**changes)
    device = choose_device(device or before.execution.device)
    data = datasets.load(config.data, before.codec, before.fingerprint)
    fit.refuse_without_held_out(data, config)
    with stage(f"{run.checkpoint} cannot be trained on", "train again"):
        model = build_model(config.model, Space.of(before.codec)).to(device)
        load_weights(model, checkpoint["model"], run.checkpoint)
        training = Training(model, config.training.lr, config.training.seed)
        training.load_state(checkpoint)
        training.position.check(len(data.train.x))
        if training.kept is not None and training.kept.shape != (len(data.train.x),):
            raise ValueError(f"{tuple(training.kept.shape)} rows are kept in training")
    at, epochs = training.position, config.training.epochs
    if epochs < at.epoch:
        raise UserError(f"--epochs {epochs}: run {run.name} has finished {at.epoch}")
    fit.reset_patience(training, config.training.patience, before.asked.training.patience)
    threads = before.execution.threads if threads is None else threads
    threads = set_threads(threads, config, data, model)
    own = Execution(device.type, threads)
    run_config = RunConfig(
        config, before.codec, before.fingerprint, before.n_train, own, before.versions
    )
    run.clear_leftovers()
    run.trim_log(at.epoch)
    run.save_config(run_config)
    session = Session(run_config, data, training, run)
    longer = epochs > before.asked.training.epochs
    if longer and config.training.schedule == "onecycle":
        print(
            f"Note: the one-cycle rate now spans {epochs} epochs: it rises again from where it had "
            f"fallen to over {before.asked.training.epochs}"
        )
    return session


def set_threads(threads, config, data, model):
    """Set and return the number of threads for a step; results depend on it in the last bits."""
    batch_size = config.training.batch_size
    rows = len(data.train.x) if batch_size == "full" else batch_size
    threads = choose_threads(threads, rows * sum(p.numel() for p in model.parameters()))
    torch.set_num_threads(threads)
    return threads


def checkpoint_of(training, config):
    return {"format": FORMAT, "config": config} | training.state()


def train(session):
    """Train to the last epoch; print, log and save; set `ended` of the session."""
    config, data, training, run = session.config, session.data, session.training, session.run
    options, at, n = config.asked.training, training.position, len(data.train.x)
    total, next_save = options.epochs, time.monotonic() + options.checkpoint_seconds
    told = training.kept is not None
    with progress_bar(n * total, n * at.epoch + at.row) as bar, stop_signals() as stop:
        for record in fit.epochs(training, data, config.asked):
            if training.kept is not None and not told:
                left = n - int(training.kept.sum())
                are = "is" if left == 1 else "are"
                bar.write(f"From here on the oddest {left} of {n} rows {are} left out of training")
            told = training.kept is not None
            if record:
                run.append_log(record)
                if at.epoch % max(LOG_EVERY, total // 20) == 0 or at.epoch == total:
                    bar.write(epoch_line(record, total))
            bar.update(n * at.epoch + min(at.row, n) - bar.n)
            if time.monotonic() >= next_save:
                run.save_checkpoint(checkpoint_of(training, config))
                next_save = time.monotonic() + options.checkpoint_seconds
            if stop:
                break
    run.save_checkpoint(checkpoint_of(training, config))
    session.ended = "done" if at.epoch >= total else "interrupted" if stop else "early"


def epoch_line(record, total):
    epoch, loss, log_px_z, kl = (record[key] for key in ("epoch", "loss", "log_px_z", "kl"))
    if loss is None:
        return f"Epoch [{epoch}/{total}], Loss: none, every step was skipped"
    return (
        f"Epoch [{epoch}/{total}], Loss: {loss:.4f}, log p(x|z): {log_px_z:.4f}, KL: {kl:.4f} nats"
    )


def introduce(session):
    """Print the data, the model, the device, and notes on them, which the run keeps."""
    with notes_kept() as notes:
        print_introduction(session)
    model = session.training.model.describe()
    facts = session.data.facts() | {"model": model, "notes": notes}
    session.run.keep("train", facts, dated=False)


def print_introduction(session):
    options, model, at = session.config.asked.training, session.training.model, session.training
    execution = session.config.execution
    print(session.data.describe())
    print(f"{model.describe()}, on {execution.device}, threads: {execution.threads}")
    if options.warmup_epochs > (cycle := options.epochs / options.cycles):
        print(
            f"Note: the warm-up of {options.warmup_epochs} epochs is longer than the {cycle:g} "
            "that it has, and stops short of its end"
        )
    if note := model.note(session.data.train.x):
        print(note)
    if (at := at.position) != Position():
        print(f"Resuming {session.run.path} after epoch {at.epoch} of {options.epochs}")


def conclude(session, flags):
    """Print how training ended and which commands may follow; returns the exit code."""
    at, run = session.training.position, session.run
    if session.ended == "interrupted":
        resume = "python train.py " + flags.replace("--run ", "--resume ", 1)
        print(f"Stopped in epoch {at.epoch + 1} and saved. Go on with:\n  {resume}")
        return INTERRUPTED
    if session.ended == "early":
        print(f"Stopped early: the held-out bound was best in epoch {at.best_epoch}, which is kept")
    if at.skipped:
        were = "step was", "steps were"
        print(f"{counted(at.skipped, *were)} skipped for a non-finite loss or gradient")
    print(f"Run: {run.path}", "Next:", sep="\n")
    for command in session.data.form.next_commands(session.config.asked.data.data):
        if len(session.data.test.x) or not command.startswith("evaluate"):
            print(f"  python {command.format(flags=flags)}")
    return 0


class Opened(NamedTuple):
    """A run, its Fitted on the device, and the Encoded rows of a user's file."""

    run: object
    fitted: object
    encoded: object


def form_for(args):
    """The form of a script's file, by the flags of reading and by the run, if one is named."""
    run = None if args.run is None else find_run(args.runs_dir, args.run)
    own = None if run is None else form_named(run.config().codec.form)
    if own is not None and own.recognises(args.file, run.config().asked.data):
        return own
    config = config_for_reading(args, run)
    return form_of(args.file, config if run is None else replace(config, table=True))


def open_file(args, verb, form, holes=False):
    """The run in a script's flags, None without --run, and the Source of the script's file.

    UserError if the file is of another form than the run, or if no run can be fitted to this form.
    """
    run = named_run(args, verb, form)
    return run, form.read(args.file, config_for_reading(args, run), holes)


def messages_for(outputs):
    """A context in which prints go to standard error, if standard output gets a table."""
    if any(str(path) == STANDARD for path in outputs):
        return contextlib.redirect_stdout(sys.stderr)
    return contextlib.nullcontext()


def given_for_reading(args):
    """The given options, by name, of how the cells of a script's file are read."""
    defaults = DataConfig()
    values = {name: getattr(args, name) for name in READING}
    return {name: value for name, value in values.items() if value != getattr(defaults, name)}


def config_for_reading(args, run=None):
    """The DataConfig by which a script's file is read: the options of its run and given ones.

    Files that a run is applied to may have different encodings. That of the run's own file is
    tried where a file is not in UTF-8.
    """
    given = given_for_reading(args)
    if run is None:
        return DataConfig(data=args.file, **given)
    asked = run.config().asked.data
    own = {"encoding": None, "other_encoding": asked.encoding or asked.other_encoding}
    return replace(asked, **own | given)


def open_run(args, verb, form, run, source, locks, ignored=(), held_out=0.1):
    """Open `run`, or fit a run to the Source as `fitted_run` does; print notes on the rows.

    The ExitStack `locks` keeps the run from being replaced.
    """
    is_new = run is None
    run = run or fitted_run(args, verb, form, source, ignored, held_out)
    locks.enter_context(run.in_use())
    fitted, _ = run.load(choose_device(args.device))
    if args.relations == "off":
        fitted.codec = replace(fitted.codec, relations=[])
    use_threads(choose_threads(args.threads, 2**30))
    with stage(f"{shown_path(args.file)} cannot be encoded for run {run.name}"):
        if not is_new:
            config = config_for_reading(args, run)
            fitted.codec, notes = form.codec_for(source, fitted.codec, config)
            for note in notes:
                print(f"Note: {note}")
        encoded = form.encode_for(source, fitted.codec, fitted.config.data, fitted.train.y)
    fitted.model.likelihood.check(encoded.x, [column.name for column in fitted.codec.modelled])
    for note in [] if is_new else encoded.notes:  # a new run has printed them
        print(f"Note: {note}")
    return Opened(run, fitted, encoded)


def named_run(args, verb, form):
    """The run in a script's flags, None without --run; UserError for data of another form."""
    if args.run is None:
        form.settings_of(verb, args.file)  # raises UserError if this form cannot be fitted
        return None
    if args.kind or args.kinds_file:
        raise UserError("--kind and --columns belong to training, and --run names a trained run")
    if args.relations not in (None, "off"):
        raise UserError("--relations FILE belongs to training, and --run names a trained run")
    run = find_run(args.runs_dir, args.run)
    codec = run.config().codec
    if codec.form != form.name:
        other = form_named(codec.form).describe_run(codec)
        raise UserError(
            f"{shown_path(args.file)} holds {form.rows}, and run {run.name} was trained on {other}"
        )
    return run


def fitted_run(args, verb, form, source, ignored=(), held_out=0.1, check=None):
    """Fit a new run to a script's file; `ignored` columns are not modelled, `check` as for
    `new_session`.

    The run has no test rows. A share `held_out` of the rows is held out, for a threshold or a
    check.
    """
    wanted = kinds.requested_kinds(args.kinds_file, args.kind) | dict.fromkeys(ignored, "ignore")
    given = form.settings_of(verb, args.file)
    given |= {"data": args.file, "test_fraction": 0.0, "val_fraction": held_out}
    given |= {"seed": args.seed, "kinds": wanted}
    given |= {} if args.relations is None else {"relations": args.relations}
    given |= given_for_reading(args)
    with contextlib.ExitStack() as held:
        target = (args.runs_dir, None, False)
        options = args.device, args.threads, held, (form, source), check
        session = new_session(given, target, *options)
        introduce(session)
        train(session)
    if session.ended == "interrupted":
        flags = session.run.flags(args.runs_dir)
        code = conclude(session, flags)
        # generate.py takes a file or a run, the others both.
        then = "give this command" if verb != "generate" else "draw with: python generate.py"
        print(f"and then {then} {flags}")
        raise SystemExit(code)
    return session.run
