"""Search for settings by held-out log p(x), beside train.py's defaults.

    python tune.py --data survey.csv --trials 30   # the same command goes on where it stopped
    python tune.py --data digits --epochs 100      # a flag of train.py holds that setting fixed

A trial trains as train.py does, and its score is the importance-weighted bound on log p(x) of the
held-out rows, whatever it climbed in training (beta, objective): of the same rows, with as many
samples from the same seed, in the units and above the floor of variance of one likelihood. A trial
that leads is trained from three seeds, and must lead in their mean. Test rows stay out of it.
"""

import parts  # noqa: F401  first: before torch is loaded

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
import torch

import data as datasets
import train
from parts import files, randomness
from parts.console.devices import n_cores
from parts.console.flags import Parser, positive_int
from parts.console.progress import progress_bar
from parts.console.script import INTERRUPTED, run_script, stop_signals
from parts.console.settings import add_model_flags
from parts.errors import UserError
from parts.forms.tables import encoding
from parts.model.build import MODEL_OPTIONS, MODELS, from_config
from parts.model.likelihoods import LIKELIHOOD_OPTIONS
from parts.model.likelihoods.gaussian import LEARNED_VARIANCES
from parts.plots.tuning import search_figure
from parts.training import search, workers
from parts.training.presets import spiked
from vae import LIKELIHOODS, NETWORKS, OBJECTIVES, Batch

HELD_OUT = 0.2  # of the rows, where train.py would hold back none
N_SCORED, SCORE_SAMPLES = 2000, 1000  # held-out rows and importance samples of a score
N_LOOKED_AT, LOOK_SAMPLES = 500, 64  # and of the rougher one by which trials are pruned,
N_LOOKS = 10  # which is taken so many times, evenly over the epochs
OWN = ("trials", "workers", "study", "runs_dir")  # flags that do not go to training
FREE = ("data", "device", "threads", "versions")  # what may differ when a study goes on


class Stopped(Exception):
    """The search ends before this trial does."""


def score(model, data, device, n_rows=N_SCORED, n_samples=SCORE_SAMPLES):
    """Log p(x) of the first held-out rows, [N] in nats, with the same draws every time.

    The bound and the units of `log_px` in evaluate.py.
    """
    rows = Batch.of(data.val, device).take(slice(n_rows))
    with randomness.fixed_randomness():
        rows = rows._replace(x=model.likelihood.draw(rows.x))
        log_px = model.log_px(*rows, n_samples=n_samples).double().cpu().numpy()
    mask = None if data.val.mask is None else data.val.mask[:n_rows]
    return log_px + encoding.log_det(data.val.x[:n_rows], data.modelled, mask, user=False)


def attempt(trial, config, data, share, stopped, to_beat):
    """The `score` of a trial from each of its seeds, [S, N]; None where it was pruned.

    A trial that leads trains from other seeds too, for as long as it leads in their mean: of many
    trials the first is else the luckiest. After the races of Hutter et al. 2011 (SMAC).
    """
    log_px = []
    for seed in search.seeds(config["seed"]):
        rows = trained(trial, config | {"seed": seed}, data, share, stopped, look=not log_px)
        if rows is None:
            return None
        log_px.append(rows)
        if not search.is_default(trial) and np.mean(log_px) <= to_beat():
            break
    return np.stack(log_px)


def trained(trial, config, data, share, stopped, look):
    """Train on at most `share` threads; the `score`, or None where a `look` on the way prunes."""
    training = train.build(config, data)
    threads = train.set_threads(config, data, training.model)
    config["threads"] = config["threads"] or min(threads, share)
    torch.set_num_threads(config["threads"])
    trial.set_user_attr("threads", config["threads"])
    at, epochs = training.position, config["epochs"]
    looks = {round(epochs * i / N_LOOKS) for i in range(1, N_LOOKS)} if look else {}
    options = {name: config[name] for name in train.OPTIONS}
    for means in training.run(Batch.of(data.train, config["device"]), epochs, **options):
        if stopped():
            raise Stopped
        if means and at.epoch in looks and at.epoch < epochs:
            rough = score(training.model, data, config["device"], N_LOOKED_AT, LOOK_SAMPLES)
            trial.report(rough.mean(), at.epoch)
            if trial.should_prune() and not search.is_default(trial):
                return None
    log_px = score(training.model, data, config["device"])
    if not np.isfinite(log_px).all():
        raise UserError("log p(x) of a held-out row is not finite")
    return log_px


def work(study, base, axes, data, turns, share, stopped):
    """Run a trial for each of the `turns`; a generator that yields after each."""
    default = {name: search.params_of(base)[name] for name in axes}
    for turn in turns:
        if stopped():
            return
        trial = search.ask(study, turn, axes, default, base["seed"])
        config, log_px, note = search.config_of(base, trial.params), None, None
        started = time.perf_counter()
        try:
            to_beat = partial(search.to_beat, study)
            log_px = attempt(trial, config, data, share, stopped, to_beat)
        except Stopped:
            search.give_up(study, trial)
            return
        except (UserError, MemoryError, torch.OutOfMemoryError) as error:
            if search.is_default(trial):  # there is nothing to compare with
                search.give_up(study, trial)
                raise
            note = str(error).split(";")[0] or "out of memory"
        seconds = time.perf_counter() - started
        search.finish(study, trial, log_px, seconds=seconds, note=note)
        yield


def worker(path, base, axes, share, turns):
    """What a process of --workers does."""

    def run():
        with stop_signals() as stop, search.opened(path, base["epochs"]) as study:
            workers.only_sigterm()
            data, ended = without_test(datasets.load_for(base)), lambda: stop or workers.orphaned()
            for _ in work(study, base, axes, data, turns, share, ended):
                pass

    run_script(run)


def carry_out(study, path, base, axes, data, n_trials, n_workers):
    """Trials until `n_trials` are finished, a line for each; whether it was not interrupted."""
    turns = search.turns(study, n_trials)
    n_workers = min(n_workers, len(turns))
    share = max(1, n_cores() // max(1, n_workers))
    seen = {trial.number for trial in search.finished(study)}
    with progress_bar(n_trials, len(seen), "trial") as bar, stop_signals() as stop:

        def stopped():
            bar.update(0)  # a trial may take minutes
            return bool(stop)

        if n_workers > 1:
            steps = workers.run(n_workers, worker, (path, base, axes, share), turns, stop)
        else:
            steps = work(study, base, axes, data, turns, share, stopped)
        for _ in steps:
            for row in search.table(study):
                if row["trial"] not in seen:
                    seen.add(row["trial"])
                    bar.write(search.line(row, len(seen), n_trials, search.best(study), axes))
            bar.update(len(seen) - bar.n)
    return not stop


def without_test(data):
    """The Data without its test rows, so that nothing here can depend on them."""
    return dataclasses.replace(data, test=datasets.Split(data.test.x[:0]))


def prepare(args, given):
    """The default's config and the Data, with rows held out; the axes of the search."""
    args = {name: value for name, value in args.items() if name not in OWN}
    if not datasets.resolve(args)["val_fraction"]:
        if "val_fraction" in given:
            raise UserError("--val-fraction 0 leaves no held-out rows to score by; give 0.1 or so")
        args["val_fraction"] = HELD_OUT
        print(f"Holding out {HELD_OUT:.0%} of the rows, where train.py would hold out none")
    base, data = train.settle(args, given)
    print(data.describe())
    if len(data.val.x) < 2:
        raise UserError(f"{len(data.val.x)} held-out rows, expected at least 2: give more rows, or "
                        "a larger --val-fraction")  # fmt: skip
    choices = {"network": NETWORKS, "objective": OBJECTIVES}
    if "variance" in LIKELIHOODS[base["likelihood"]].options:
        if spiked(data):
            print("Note: variance is not searched: one value fills a third of a column, where "
                  "log p(x) rewards the narrowest density, down to its floor")  # fmt: skip
        else:
            choices["variance"] = LEARNED_VARIANCES
    choices = {name: [v for v in values if can_be(base | {name: v})]
               for name, values in choices.items()}  # fmt: skip
    axes = search.space(base, given | MODELS[base["model"]].needs, choices, len(data.train.x))
    if not axes:
        raise UserError("every setting is fixed by a flag: nothing is left to search")
    return base, without_test(data), axes


def can_be(config):
    """Whether there is a model of these settings: no convolutions of tables, for one."""
    try:
        from_config(config)
    except UserError:
        return False
    return True


def study_folder(args):
    """The folder of the study, made where there is none: by default named for the data."""
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


def flags_of(args, config):
    """A config as flags for `train.py --config`, by name; only those that go together."""
    flags = {name: config.get(name, value) for name, value in args.items() if name not in OWN}
    flags["kind"] = [f"{name}={kind}" for name, kind in args["kind"] or []] or None
    flags["kinds_file"] = args["kinds_file"] and str(Path(args["kinds_file"]).resolve())
    unused = (LIKELIHOOD_OPTIONS | MODEL_OPTIONS) - {
        *LIKELIHOODS[config["likelihood"]].options,
        *MODELS[config["model"]].options,
    }
    return {name: v for name, v in flags.items() if v is not None and name not in unused}


def write(folder, study, flags):
    """trials.csv, best.json and search.png."""
    rows = search.table(study)
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    files.write_atomic(folder / "trials.csv", lambda file: file.write(text.getvalue().encode()))
    files.write_json(folder / "best.json", flags)
    draw(folder / "search.png", rows, search.importances(study))


def draw(path, rows, importances):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context({"axes.spines.top": False, "axes.spines.right": False}):
        figure = search_figure(rows, importances)
        files.write_atomic(path, partial(figure.savefig, format="png", dpi=130))
        plt.close(figure)


def report(study, default, best, n_held_out, seconds):
    """The best trial beside the default, by how much it is better, and what it cost."""
    ours, theirs = (np.mean(trial.user_attrs["log_px"], axis=0) for trial in (best, default))
    gain, rows = ours - theirs, search.table(study)
    n_complete = sum(row["state"] == "complete" for row in rows)
    scored = f"{len(ours)} of {n_held_out}" if len(ours) < n_held_out else n_held_out
    print(f"{len(rows)} trials, {n_complete} complete; held-out log p(x) of {scored} rows, nats "
          f"a row, {SCORE_SAMPLES} samples, mean ± s.d. over {search.N_SEEDS} seeds:")  # fmt: skip
    for what, trial in (("best", best), ("default", default)):
        name, spread = f"{what}, trial {trial.number}", search.by_seed(trial).std(ddof=1)
        settings = search.settings_text(trial.params)
        print(f"  {name:<20}{trial.value:>10.3f} ± {spread:.3f}  {settings}")
    if best.number == default.number:
        print("No trial was better than train.py's default")
    else:
        error = gain.std(ddof=1) / len(gain) ** 0.5
        print(f"  {'difference':<20}{gain.mean():>+10.3f} ± {error:.3f}, standard error over "
              "held-out rows, paired")  # fmt: skip
        print("The best of many on the same rows looks better than it is: evaluate.py measures it "
              "on test rows")  # fmt: skip
    spent = sum(row["seconds"] for row in rows)
    print(f"Seconds: {spent:.1f} in trials, {seconds:.1f} in this command")


def make_parser():
    parser = Parser(prog="tune.py", description="Search for settings by held-out log p(x). "
                    "A flag of train.py that is given is not searched.")  # fmt: skip
    datasets.add_data_flags(parser)
    add_model_flags(parser)
    add = parser.add_argument
    add("--trials", type=positive_int, default=30, help="finished trials in all (default: 30)")
    add("--workers", type=positive_int, default=1, help="processes that share cores (default: 1)")
    add("--study", metavar="DIR", help="the search's folder (default: RUNS_DIR/tune-DATA)")
    add("--runs-dir", default="runs", help="where runs live (default: runs)")
    return parser


def main(argv=None):
    started = time.perf_counter()
    argv = sys.argv[1:] if argv is None else argv
    args, given = train.parse(argv, make_parser())
    base, data, axes = prepare(args, given)
    folder = study_folder(args)
    settings = {name: value for name, value in base.items() if name not in FREE}
    settings |= {"axes": {name: str(axis) for name, axis in axes.items()}}
    settings |= {"scoring": [N_SCORED, SCORE_SAMPLES, N_LOOKED_AT, LOOK_SAMPLES, N_LOOKS]}
    settings |= {"seeds": search.seeds(base["seed"])}
    path = folder / "study.db"
    busy = f"{folder} is being searched by another process"
    with files.locked(folder, busy), search.opened(path, base["epochs"]) as study:
        search.claim(study, settings, folder)
        print(f"Searching {', '.join(axes)}; study: {path}, "
              f"{len(search.finished(study))} of {args['trials']} trials finished")  # fmt: skip
        if not carry_out(study, path, base, axes, data, args["trials"], args["workers"]):
            print(f"Stopped; finished trials are kept. Go on with:\n  python tune.py "
                  f"{shlex.join(map(str, argv))}".rstrip())  # fmt: skip
            return INTERRUPTED
        best = search.best(study)
        scores = search.by_seed(best)
        seed = search.seeds(base["seed"])[scores.argmax()]
        own = {"threads": best.user_attrs["threads"], "seed": seed}
        config = search.config_of(base, best.params) | own
        write(folder, study, flags_of(args, config))
        (reference,) = [trial for trial in search.complete(study) if search.is_default(trial)]
        report(study, reference, best, len(data.val.x), time.perf_counter() - started)
    print(f"Wrote trials.csv, search.png and best.json in {folder}. Train the best, to its "
          f"{scores.max():.3f} of seed {seed}:")  # fmt: skip
    print(f"  python train.py --config {shlex.quote(str(folder / 'best.json'))}")
    return 0


if __name__ == "__main__":
    run_script(main)
