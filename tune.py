"""Search for settings by held-out log p(x), beside train.py's defaults.

    python tune.py --data survey.csv --trials 30   # the same command goes on where it stopped
    python tune.py --data digits --epochs 100      # a flag of train.py holds that setting fixed

Each trial trains a model as train.py does. Its score is the importance-weighted bound on log p(x)
of the held-out rows, whatever the training objective was; all trials share the rows, the number of
samples, their seed, the likelihood and its units. A trial that leads is trained from three seeds,
and must lead in their mean. The search uses no test rows.
"""

# First: from here on Ctrl-C is handled, while packages are imported.
from parts.console.script import INTERRUPTED, run_script, stop_signals

# isort: split
import csv
import dataclasses
import io
import re
import shlex
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

import data as datasets
from parts import memory
from parts.console import fitting
from parts.console.devices import choose_device, n_cores, use_threads
from parts.console.flags import Parser, add_config_flags, options_in, parse
from parts.console.progress import progress_bar
from parts.errors import UserError
from parts.files import as_argument, locked, write_atomic, write_json
from parts.forms import BUILTIN, units
from parts.forms.base import Codec
from parts.lazy import member
from parts.model.batches import Batch
from parts.model.build import Space, build_model, options_of_others, refuse_unfit
from parts.model.config import MODELS
from parts.model.likelihoods import LIKELIHOODS
from parts.model.likelihoods.gaussian import LEARNED_VARIANCES
from parts.model.networks import NETWORKS
from parts.model.objectives import OBJECTIVES
from parts.options import n_trials, positive_int
from parts.plots.tuning import search_figure
from parts.randomness import fixed_randomness
from parts.runs.config import Config, resolve
from parts.tasks import fit
from parts.training import search, workers
from parts.training.presets import has_spike

DEFAULT_VAL_FRACTION = 0.2  # share of held-out rows where train.py has none
N_SCORED, SCORE_SAMPLES = 2000, 1000  # most held-out rows of a score, and its importance samples
N_PRUNING_ROWS, PRUNING_SAMPLES = 500, 64  # the same two for the score by which trials are pruned
N_LOOKS = 10  # equal parts of the epochs, between which a trial may be pruned
BYTES_PER_WORKER = 3e8  # least that a process takes
NOT_SEARCHED = ("patience", "checkpoint_seconds")  # options of train.py that tune.py does not have


@dataclasses.dataclass(frozen=True)
class Search:
    """Everything that trials share: the default's Config, codec, fingerprint of the data, device.

    With `threads` 0 the size of a step decides the number of threads.
    """

    config: Config
    codec: Codec
    fingerprint: str
    device: str
    threads: int

    @property
    def seed(self):
        return self.config.training.seed

    @property
    def epochs(self):
        return self.config.training.epochs


class Stopped(Exception):
    """The search was stopped during a trial."""


def score(model, data, device, n_rows=N_SCORED, n_samples=SCORE_SAMPLES):
    """Bound on log p(x) of the first held-out rows, [N] in nats, with fixed draws.

    Bound and units are those of `log_px` in evaluate.py.
    """
    rows = Batch.of(data.val, device).take(slice(n_rows))
    with fixed_randomness():
        rows = rows._replace(x=model.likelihood.draw(rows.x))
        log_px = model.log_px(*rows, n_samples=n_samples).cpu().double().numpy()
    mask = None if data.val.mask is None else data.val.mask[:n_rows]
    return log_px + units.log_det(data.val.x[:n_rows], data.codec.modelled, mask, user=False)


def score_from_seeds(trial, base, config, data, share, stopped, to_beat):
    """Train a trial from one or several seeds; its scores [S, N], None if it was pruned.

    A trial is trained from further seeds as long as it leads in the mean over seeds; otherwise the
    best of many trials would be the luckiest one (the races of Hutter et al. 2011, SMAC).
    """
    log_px = []
    for seed in search.seeds(base.seed):
        seeded = config.replace(seed=seed)
        rows = train_and_score(trial, base, seeded, data, share, stopped, look=not log_px)
        if rows is None:
            return None
        log_px.append(rows)
        if not search.is_default(trial) and np.mean(log_px) <= to_beat():
            break
    return np.stack(log_px)


def train_and_score(trial, base, config, data, share, stopped, look):
    """Train a trial on at most `share` threads; its `score`, None if it is pruned on the way.

    Only where `look` is true may it be pruned.
    """
    training = fit.start(data, config, base.device)
    threads = fitting.set_threads(base.threads, config, data, training.model)
    threads = base.threads or min(threads, share)
    use_threads(threads)
    trial.set_user_attr("threads", threads)
    at, epochs = training.position, config.training.epochs
    looks = {round(epochs * i / N_LOOKS) for i in range(1, N_LOOKS)} if look else {}
    options = config.training.loop_options()
    for means in training.run(Batch.of(data.train, base.device), epochs, **options):
        if stopped():
            raise Stopped
        if means and at.epoch in looks and at.epoch < epochs:
            rough = score(training.model, data, base.device, N_PRUNING_ROWS, PRUNING_SAMPLES)
            trial.report(rough.mean(), at.epoch)
            if trial.should_prune() and not search.is_default(trial):
                return None
    log_px = score(training.model, data, base.device)
    if not np.isfinite(log_px).all():
        raise UserError("log p(x) of a held-out row is not finite")
    return log_px


def run_trials(study, base, axes, data, turns, share, stopped):
    """Run a trial for each of the `turns`, and yield after each."""
    import torch

    default = {name: search.params_of(base.config.flat())[name] for name in axes}
    for turn in turns:
        if stopped():
            return
        trial = search.ask(study, turn, axes, default, base.seed)
        config, log_px, note = config_of(base.config, trial.params), None, None
        started = time.perf_counter()
        try:
            to_beat = partial(search.to_beat, study)
            log_px = score_from_seeds(trial, base, config, data, share, stopped, to_beat)
        except Stopped:
            search.give_up(study, trial)
            return
        except (UserError, MemoryError, torch.OutOfMemoryError) as error:
            if search.is_default(trial):  # without the default there is no comparison
                search.give_up(study, trial)
                raise
            note = str(error).split(";")[0] or "out of memory"
        seconds = time.perf_counter() - started
        search.finish(study, trial, log_px, seconds=seconds, note=note)
        yield


def worker(path, base, axes, share, turns):
    """Run trials in a process of --workers."""

    def run():
        with stop_signals() as stop, search.open_study(path, base.epochs) as study:
            workers.ignore_interrupts()
            data = datasets.load(base.config.data, base.codec, base.fingerprint)
            data, ended = without_test_rows(data), lambda: stop or workers.parent_is_gone()
            for _ in run_trials(study, base, axes, data, turns, share, ended):
                pass

    run_script(run)


def run_search(study, path, base, axes, data, n_trials, n_workers):
    """Run trials until `n_trials` are finished, and print a line for each; False if interrupted."""
    turns = search.turns(study, n_trials)
    n_workers = min(n_workers, len(turns))
    share = max(1, n_cores() // max(1, n_workers))
    seen = {trial.number for trial in search.finished(study)}
    with progress_bar(n_trials, len(seen), "trial") as bar, stop_signals() as stop:

        def stopped():
            bar.update(0)  # keeps the clock moving: a trial may take minutes
            return bool(stop)

        if n_workers > 1:
            steps = workers.run(n_workers, worker, (path, base, axes, share), turns, stop)
        else:
            steps = run_trials(study, base, axes, data, turns, share, stopped)
        for _ in steps:
            for row in search.table(study):
                if row["trial"] not in seen:
                    seen.add(row["trial"])
                    bar.write(search.line(row, len(seen), n_trials, search.best(study), axes))
            bar.update(len(seen) - bar.n)
    return not stop


def without_test_rows(data):
    """The Data without its test rows, so that the search cannot depend on them."""
    return dataclasses.replace(data, test=datasets.Split(data.test.x[:0]))


def config_of(base, params):
    """The Config `base` with a trial's values of the axes."""
    return base.replace(**search.config_of(base.flat(), params))


def prepare(args, given):
    """The Search of the flags, its Data with held-out rows, and the axes."""
    options = options_in(given)
    if not resolve(options).data.val_fraction:
        if "val_fraction" in given:
            raise UserError("--val-fraction 0 leaves no held-out rows to score by; give 0.1 or so")
        options["val_fraction"] = DEFAULT_VAL_FRACTION
        print(
            f"Holding out {DEFAULT_VAL_FRACTION:.0%} of the rows, "
            "where train.py would hold out none"
        )
    config, data = fitting.prepare(options)
    print(data.describe())
    if len(data.val.x) < 2:
        raise UserError(
            f"{len(data.val.x)} held-out rows, expected at least 2: give more rows, or a larger "
            "--val-fraction"
        )
    choices = {"network": NETWORKS, "objective": OBJECTIVES}
    if "variance" in LIKELIHOODS[config.model.likelihood].options:
        if has_spike(data):
            print(
                "Note: variance is not searched: one value fills a third of a column, where "
                "log p(x) rewards the narrowest density, down to its floor"
            )
        else:
            choices["variance"] = LEARNED_VARIANCES
    space = Space.of(data.codec)
    choices = {
        name: [value for value in values if is_buildable(config.replace(**{name: value}), space)]
        for name, values in choices.items()
    }
    fixed = given | member(MODELS, config.model.model).needs
    axes = search.space(config.flat(), fixed, choices, len(data.train.x))
    if not axes:
        raise UserError("every setting is fixed by a flag: nothing is left to search")
    device = choose_device(args["device"]).type
    base = Search(config, data.codec, data.fingerprint, device, args["threads"])
    return base, without_test_rows(data), axes


def is_buildable(config, space):
    """Whether a model can be built from these settings: a table takes no convolutions."""
    try:
        refuse_unfit(config)
        build_model(config.model, space)
    except UserError:
        return False
    return True


def study_folder(args):
    """The folder of the study, created if it does not exist; by default named after the data."""
    name = re.sub(r"[^\w.-]+", "-", Path(args["data"]).stem)
    folder = Path(args["study"] or Path(args["runs_dir"]) / f"tune-{name}")
    known = {".lock", "study.db"}
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--study {folder} is a file, expected a folder")
    there = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if there - known and "study.db" not in there:
        raise UserError(f"--study {folder} is a folder of other things; choose a new name")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--study {folder}: cannot be written: {error.strerror}") from error
    return folder


def flags_of(args, base, config, threads):
    """A Config as flags for `train.py --config`, without options that the model does not use."""
    settings = config.flat()
    unused = options_of_others(settings)
    flags = {name: settings[name] for name in args if name in settings and name not in unused}
    for name in ("data", "data_dir"):
        if flags[name] is not None and flags[name] not in BUILTIN:
            flags[name] = str(Path(flags[name]).resolve())
    flags["kind"] = [f"{name}={kind}" for name, kind in args["kind"] or []] or None
    flags["kinds_file"] = args["kinds_file"] and str(Path(args["kinds_file"]).resolve())
    flags |= {"device": base.device, "threads": threads}
    return {name: value for name, value in flags.items() if value is not None}


def write(folder, study, flags):
    """Write trials.csv, best.json and search.png."""
    rows = search.table(study)
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_atomic(folder / "trials.csv", lambda file: file.write(text.getvalue().encode()))
    write_json(folder / "best.json", flags)
    draw(folder / "search.png", rows, search.importances(study))


def draw(path, rows, importances):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = search_figure(rows, importances)
        write_atomic(path, partial(figure.savefig, format="png", dpi=130))
        plt.close(figure)


def report(study, default, best, n_held_out, seconds):
    """Print the best trial and the default, their difference, and the seconds spent."""
    ours, theirs = (np.mean(trial.user_attrs["log_px"], axis=0) for trial in (best, default))
    gain, rows = ours - theirs, search.table(study)
    n_complete = sum(row["state"] == "complete" for row in rows)
    scored = f"{len(ours)} of {n_held_out}" if len(ours) < n_held_out else n_held_out
    print(
        f"{len(rows)} trials, {n_complete} complete; held-out log p(x) of {scored} rows, nats "
        f"a row, {SCORE_SAMPLES} samples, mean ± s.d. over {search.N_SEEDS} seeds:"
    )
    for what, trial in (("best", best), ("default", default)):
        name, spread = f"{what}, trial {trial.number}", search.by_seed(trial).std(ddof=1)
        settings = search.settings_text(trial.params)
        print(f"  {name:<20}{trial.value:>10.3f} ± {spread:.3f}  {settings}")
    if best.number == default.number:
        print("No trial was better than train.py's default")
    else:
        error = gain.std(ddof=1) / len(gain) ** 0.5
        print(
            f"  {'difference':<20}{gain.mean():>+10.3f} ± {error:.3f}, standard error over "
            "held-out rows, paired"
        )
        print(
            "The best of many on the same rows looks better than it is: evaluate.py measures it "
            "on test rows"
        )
    spent = sum(row["seconds"] for row in rows)
    print(f"Seconds: {spent:.1f} in trials, {seconds:.1f} in this command")


def make_parser():
    parser = Parser(
        prog="tune.py",
        description="Search for settings by held-out log p(x). "
        "A flag of train.py that is given is not searched.",
    )
    add_config_flags(parser, without=NOT_SEARCHED)
    add = parser.add_argument
    add("--trials", type=n_trials, default=30, help="finished trials in all (default: 30)")
    add("--workers", type=positive_int, default=1, help="processes that share cores (default: 1)")
    add("--study", metavar="DIR", help="the search's folder (default: RUNS_DIR/tune-DATA)")
    add("--runs-dir", default="runs", help="where runs live (default: runs)")
    return parser


def claimed_settings(base, axes):
    """The settings that must not change when a study is continued, as plain values."""
    settings = base.config.flat()
    del settings["data"]
    settings |= {"columns": [column.to_dict() for column in base.codec.columns]}
    settings |= {"data_hash": base.fingerprint, "shape": list(base.codec.shape)}
    settings |= {"axes": {name: str(axis) for name, axis in axes.items()}}
    settings |= {"scoring": [N_SCORED, SCORE_SAMPLES, N_PRUNING_ROWS, PRUNING_SAMPLES, N_LOOKS]}
    return settings | {"seeds": search.seeds(base.seed)}


def main(argv=None):
    started = time.perf_counter()
    argv = sys.argv[1:] if argv is None else argv
    args, given = parse(make_parser(), argv)
    memory.refuse_beyond_memory(
        f"--workers {args['workers']}", args["workers"], BYTES_PER_WORKER, "workers"
    )
    base, data, axes = prepare(args, given)
    folder = study_folder(args)
    settings = claimed_settings(base, axes)
    path = folder / "study.db"
    busy = f"{folder} is being searched by another process"
    with locked(folder, busy), search.open_study(path, base.epochs) as study:
        search.claim(study, settings, folder)
        n_finished = len(search.finished(study))
        print(
            f"Searching {', '.join(axes)}; study: {path}, "
            f"{n_finished} of {args['trials']} trials finished"
        )
        if not run_search(study, path, base, axes, data, args["trials"], args["workers"]):
            again = shlex.join(map(str, argv))
            print(
                f"Stopped; finished trials are kept. Go on with:\n  python tune.py {again}".rstrip()
            )
            return INTERRUPTED
        best = search.best(study)
        scores = search.by_seed(best)
        seed = search.seeds(base.seed)[scores.argmax()]
        config = config_of(base.config, best.params).replace(seed=seed)
        write(folder, study, flags_of(args, base, config, best.user_attrs.get("threads", 0)))
        (reference,) = [trial for trial in search.complete(study) if search.is_default(trial)]
        report(study, reference, best, len(data.val.x), time.perf_counter() - started)
    print(
        f"Wrote trials.csv, search.png and best.json in {folder}. Train the best, to its "
        f"{scores.max():.3f} of seed {seed}:"
    )
    print(f"  python train.py --config {as_argument(folder / 'best.json')}")
    return 0


if __name__ == "__main__":
    run_script(main)
