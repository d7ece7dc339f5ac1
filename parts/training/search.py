"""A search for settings: what it varies, and the Optuna study in whose SQLite file it is kept.

A trial is finished when it is complete or pruned; what a kill left half done does not count.
Imports optuna where it is used: it and its database are half a second of start-up.
"""

import contextlib
import json

import numpy as np

from parts.errors import UserError

# How far an axis reaches from the default, up and down, on a logarithmic scale.
FACTORS = {"width": 4, "latent_dim": 4, "lr": 10, "beta": 4, "batch_size": 2}
MOST_DEPTH, MOST_SAMPLES = 3, 8  # hidden layers; samples of z per row in training
N_RANDOM = 8  # finished trials before the sampler begins to model the score
N_UNPRUNED = 5  # complete trials before any other is pruned
N_SEEDS = 3  # of the default, and of a trial that leads
LEAST_COMPLETE = 10  # trials for a forest that tells how much each axis mattered


def even(depth, width):
    """Hidden layers, all of one width."""
    return [width] * depth


def narrowing(depth, width):
    """Channels that double, and a dense layer of four times the last: 32 64 256.

    Even ones would spend most of their arithmetic on the widest pictures.
    """
    return [max(1, width // 2**i) for i in range(depth, 1, -1)] + [width]


LAYERS = {"conv": narrowing}  # network -> its hidden layers, where these are not even


def hidden_dims_of(params):
    return LAYERS.get(params["network"], even)(params["depth"], params["width"])


def params_of(config):
    """The axes' values in a config: `depth` layers, of which the last has that `width`."""
    sizes = config["hidden_dims"]
    params = config | {"depth": len(sizes), "width": max(sizes, default=0)}
    return params if sizes and hidden_dims_of(params) == sizes else config


def config_of(base, params):
    """The config `base` with the axes' values of a trial."""
    config = base | params
    if "depth" in params:
        config["hidden_dims"] = hidden_dims_of(config)
        del config["depth"], config["width"]
    return config


def space(config, fixed, choices, n_rows):
    """Axis -> Optuna distribution around the values of `config`, which lie inside.

    `choices` are the axes without an order, name -> values. What is in `fixed` is not searched.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    here = params_of(config)
    axes = {}
    if "depth" in here:
        axes["depth"] = IntDistribution(1, max(MOST_DEPTH, here["depth"]))
    for name, factor in FACTORS.items():
        value = here.get(name, 0)
        if isinstance(value, int) and value > 0:
            most = (
                max(value, min(value * factor, n_rows)) if name == "batch_size" else value * factor
            )
            axes[name] = IntDistribution(max(1, value // factor), most, log=True)
        elif isinstance(value, float) and value > 0:
            axes[name] = FloatDistribution(value / factor, value * factor, log=True)
    axes["n_samples"] = IntDistribution(1, max(MOST_SAMPLES, here["n_samples"]), log=True)
    for name, values in choices.items():
        values = sorted({*values, here[name]})
        if len(values) > 1:
            axes[name] = CategoricalDistribution(values)
    held = {"depth", "width"} if "hidden_dims" in fixed else set()
    return {name: axis for name, axis in axes.items() if name not in {*held, *fixed}}


@contextlib.contextmanager
def opened(path, epochs):
    """The Optuna study in the file `path`, made where there is none; trials have `epochs`."""
    import optuna
    import sqlalchemy

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = sqlalchemy.URL.create("sqlite", database=str(path.absolute())).render_as_string()
    storage = None
    try:
        # Seconds to wait for another worker's write.
        storage = optuna.storages.RDBStorage(url, {"connect_args": {"timeout": 60}})
        options = {"study_name": "tune", "direction": "maximize", "pruner": pruner(epochs)}
        study = optuna.create_study(storage=storage, load_if_exists=True, **options)
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(
            f"{path} cannot be used as a study: {reason}; choose another folder by --study"
        ) from error
    try:
        yield study
    finally:
        storage.remove_session()
        storage.engine.dispose()


def claim(study, settings, where):
    """Make the study ready to go on, by its only process: refuse other settings.

    What a killed process left running is failed; it will be drawn again.
    """
    from optuna.trial import TrialState

    settings = json.loads(json.dumps(settings))
    stored = study.user_attrs.get("settings")
    if stored is None:
        study.set_user_attr("settings", settings)
    elif stored != settings:
        raise UserError(difference(stored, settings, where))
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)


def difference(stored, settings, where):
    """In what two studies differ, in a line."""
    names = sorted(n for n in {*stored, *settings} if stored.get(n) != settings.get(n))
    if "data_hash" in names:
        what = "other data"
    else:
        shown = [json.dumps(part.get(names[0])) for part in (stored, settings)]
        old, new = (text if len(text) <= 40 else text[:37] + "..." for text in shown)
        what = f"other settings: {names[0]} is {old} there and {new} here"
    return f"{where} holds a study of {what}; choose another folder by --study, or delete that one"


def seeds(first):
    """The seeds from which a trial may be trained."""
    return [(first + i) % 2**32 for i in range(N_SEEDS)]


def is_default(trial):
    return trial.user_attrs["turn"] == 0


def ask(study, turn, axes, default, seed):
    """The trial that is number `turn` among the finished: the default, and then what TPE draws.

    TPE: Bergstra et al. 2011. It is seeded for each turn anew, so that a study that goes on draws
    what it would have drawn.
    """
    from optuna.samplers import RandomSampler, TPESampler

    # Not by optuna's queue: from a SQLite file two workers can take the same trial.
    class Default(RandomSampler):
        def sample_independent(self, study, trial, name, distribution):
            return default[name]

    seed = int(np.random.SeedSequence((seed, turn)).generate_state(1)[0])
    study.sampler = TPESampler(seed=seed, n_startup_trials=N_RANDOM) if turn else Default()
    trial = study.ask(axes)
    trial.set_user_attr("turn", turn)
    return trial


def pruner(epochs):
    """Stops a trial below the median of the complete ones at the same epoch.

    Not Hyperband: its brackets share out a budget of hundreds of trials, and their first rungs, a
    few epochs long, favour high learning rates and short warm-ups.
    """
    from optuna.pruners import MedianPruner

    return MedianPruner(n_startup_trials=N_UNPRUNED, n_warmup_steps=epochs // 5)


def finished(study):
    """Its complete and pruned trials, in the order of their numbers."""
    from optuna.trial import TrialState

    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return study.get_trials(deepcopy=False, states=states)


def complete(study):
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def finish(study, trial, log_px, **attributes):
    """Write a trial's end: its score is the mean of `log_px` [S, N]; None where it was pruned.

    The state comes last: a kill before it leaves a trial that does not count. Nor does one that
    another process has given up because the parent of this one was killed.
    """
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    if log_px is not None:
        attributes["log_px"] = log_px.tolist()
    value, state = (None, TrialState.PRUNED) if log_px is None else (log_px.mean(), None)
    try:
        for name, attribute in attributes.items():
            trial.set_user_attr(name, attribute)
        study.tell(trial, value, state, skip_if_finished=True)
    except UpdateFinishedTrialError:
        return


def give_up(study, trial):
    """It will be drawn again."""
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def turns(study, n_trials):
    """The first turns that no finished trial has taken, for `n_trials` and the default at least."""
    trials = finished(study)
    taken = {trial.user_attrs["turn"] for trial in trials}
    free = [turn for turn in range(n_trials) if turn not in taken]
    return free[: max(n_trials - len(trials), int(0 in free))]


def best(study):
    """The complete trial of the highest score; of equals the first."""
    return max(complete(study), key=lambda trial: (trial.value, -trial.number), default=None)


def to_beat(study):
    """The highest score so far."""
    return -np.inf if best(study) is None else best(study).value


def by_seed(trial):
    """The scores of a complete trial, in the order of `seeds`: all of them for the best."""
    return np.mean(trial.user_attrs["log_px"], axis=1)


def importances(study):
    """Axis -> share of the score's variance that a forest lays to it; {} of too few trials.

    fANOVA (Hutter et al. 2014) on the complete trials.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    values = {trial.value for trial in complete(study)}
    if len(complete(study)) < LEAST_COMPLETE or len(values) < 2:
        return {}
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


def table(study):
    """A dict per finished trial; `log_px` of a pruned one is missing, `last_look` is a rougher one.

    Both in nats per held-out row; `log_px` is a mean over so many `seeds`.
    """
    rows, epochs = [], study.user_attrs["settings"]["epochs"]
    for trial in finished(study):
        looks, state = trial.intermediate_values, trial.state.name.lower()
        rows.append(
            {
                "trial": trial.number,
                "state": state,
                "default": is_default(trial),
                "log_px": trial.value if state == "complete" else None,
                "seeds": len(by_seed(trial)) if state == "complete" else 1,
                "last_look": looks[max(looks)] if looks else None,
                "epochs": epochs if state == "complete" else max(looks, default=0),
                "seconds": round(trial.user_attrs["seconds"], 3),
                **trial.params,
                "note": trial.user_attrs.get("note"),
            }
        )
    return rows


def line(row, n, n_trials, best, axes):
    """What became of a trial, in a line."""
    seeds = f" of {row['seeds']} seeds" if row["seeds"] > 1 else ""
    ended = "pruned" if row["log_px"] is None else f"log p(x) {row['log_px']:.3f}{seeds}"
    if row["note"]:
        ended += f" ({row['note']})"
    elif row["log_px"] is None:
        ended += f" at {row['last_look']:.3f} after epoch {row['epochs']}"
    best = f", best {best.value:.3f} in trial {best.number}" if best else ""
    settings = settings_text({name: row[name] for name in axes})
    return f"[{n}/{n_trials}] trial {row['trial']}: {ended}{best}; {settings}"


def settings_text(params):
    shown = {n: f"{v:.3g}" if isinstance(v, float) else v for n, v in params.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items())
