"""A search for settings: the settings that vary, and the Optuna study in an SQLite file.

A trial is finished when it is complete or pruned; a trial that was killed does not count. Functions
import optuna where they use it, because optuna and its database take half a second to import.
"""

import contextlib
import json

import numpy as np

from parts.errors import UserError, reason, stage

# An axis reaches from default / factor to default * factor, on a logarithmic scale.
REACH = {"width": 4, "latent_dim": 4, "lr": 10, "beta": 4, "batch_size": 2}
MOST_DEPTH, MOST_SAMPLES = 3, 8  # most hidden layers; most samples of z per row in training
N_RANDOM = 8  # random trials before the sampler models the score
N_UNPRUNED = 5  # complete trials before the pruner acts
N_SEEDS = 3  # seeds from which the default and each leading trial are trained
OTHER_FOLDER = "choose another folder by --study"
LEAST_COMPLETE = 10  # fewest complete trials from which a forest estimates importances


def constant_widths(depth, width):
    """The widths of `depth` hidden layers, all equal."""
    return [width] * depth


def halving_widths(depth, width):
    """Channels that double from layer to layer, and a last dense layer: 32 64 256.

    With constant widths most of the arithmetic would be spent on the largest pictures.
    """
    return [max(1, width // 2**i) for i in range(depth, 1, -1)] + [width]


WIDTHS_OF_NETWORK = {
    "conv": halving_widths,
    "conv1d": halving_widths,
}  # network -> its rule, where widths vary


def hidden_dims_of(params):
    return WIDTHS_OF_NETWORK.get(params["network"], constant_widths)(
        params["depth"], params["width"]
    )


def params_of(config):
    """A config with `depth` and `width` as well, if the rule of widths gives its hidden_dims."""
    sizes = config["hidden_dims"]
    params = config | {"depth": len(sizes), "width": max(sizes, default=0)}
    return params if sizes and hidden_dims_of(params) == sizes else config


def config_of(base, params):
    """The config `base` with a trial's values of the axes."""
    config = base | params
    if "depth" in params:
        config["hidden_dims"] = hidden_dims_of(config)
        del config["depth"], config["width"]
    return config


def space(config, fixed, choices, n_rows):
    """Map each axis to an Optuna distribution that contains the value of `config`.

    `choices` maps the axes without an order to their values. Names in `fixed` are not searched.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    here = params_of(config)
    axes = {}
    if "depth" in here:
        axes["depth"] = IntDistribution(1, max(MOST_DEPTH, here["depth"]))
    for name, factor in REACH.items():
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
def open_study(path, epochs):
    """Open the Optuna study in the file `path`, or create it; trials have `epochs`."""
    import optuna
    import sqlalchemy

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    url = sqlalchemy.URL.create("sqlite", database=str(path.absolute())).render_as_string()
    with stage(f"{path} cannot be used as a study", OTHER_FOLDER):
        # A worker waits up to 60 seconds until another has written.
        storage = optuna.storages.RDBStorage(url, {"connect_args": {"timeout": 60}})
        options = {"study_name": "tune", "direction": "maximize", "pruner": pruner(epochs)}
        study = optuna.create_study(storage=storage, load_if_exists=True, **options)
    try:
        yield study
    except (sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.OptunaError) as error:
        raise UserError(f"{path} is damaged: {reason(error)}; {OTHER_FOLDER}") from error
    finally:
        storage.remove_session()
        storage.engine.dispose()


def claim(study, settings, where):
    """Prepare the study for its only process: refuse other settings, fail interrupted trials.

    A trial that a killed process left running is marked as failed; its turn is drawn again.
    """
    from optuna.trial import TrialState

    settings = json.loads(json.dumps(settings))
    stored = study.user_attrs.get("settings")
    with stage(f"{where} holds a study that something else has changed", OTHER_FOLDER):
        if stored is None:
            study.set_user_attr("settings", settings)
        elif stored != settings:
            raise UserError(difference(stored, settings, where))
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            study.tell(trial.number, state=TrialState.FAIL)
        check(study)


def check(study):
    """Raise an error, of any kind, unless its finished trials are such as `finish` records."""
    for trial in finished(study):
        if type(trial.user_attrs["turn"]) is not int:
            raise TypeError(f"the turn of trial {trial.number} is {trial.user_attrs['turn']!r:.60}")
    for trial in complete(study):
        scores = np.array(trial.user_attrs["log_px"], float)
        if scores.ndim != 2 or not np.isclose(scores.mean(), trial.value):
            raise ValueError(f"the scores of trial {trial.number} are others")
    table(study)


def difference(stored, settings, where):
    """One line that says how the settings of two studies differ."""
    names = sorted(n for n in {*stored, *settings} if stored.get(n) != settings.get(n))
    if "data_hash" in names:
        what = "other data"
    else:
        shown = [json.dumps(part.get(names[0])) for part in (stored, settings)]
        old, new = (text if len(text) <= 40 else text[:37] + "..." for text in shown)
        what = f"other settings: {names[0]} is {old} there and {new} here"
    return f"{where} holds a study of {what}; choose another folder by --study, or delete that one"


def seeds(first):
    """The seeds from which a leading trial is trained."""
    return [(first + i) % 2**32 for i in range(N_SEEDS)]


def is_default(trial):
    return trial.user_attrs["turn"] == 0


def ask(study, turn, axes, default, seed):
    """A new trial for a turn: turn 0 is the default, TPE draws the others (Bergstra et al. 2011).

    The sampler is seeded by the turn, so a study that is continued draws the trials that it would
    have drawn without the interruption.
    """
    from optuna.samplers import RandomSampler, TPESampler

    # optuna's queue is not used: two workers can take one trial from an SQLite file.
    class Default(RandomSampler):
        def sample_independent(self, study, trial, name, distribution):
            return default[name]

    seed = int(np.random.SeedSequence((seed, turn)).generate_state(1)[0])
    study.sampler = TPESampler(seed=seed, n_startup_trials=N_RANDOM) if turn else Default()
    trial = study.ask(axes)
    trial.set_user_attr("turn", turn)
    return trial


def pruner(epochs):
    """A pruner that stops a trial below the median of the complete trials at the same epoch.

    Hyperband is not used: its brackets need hundreds of trials, and its first rungs of a few epochs
    favour high learning rates and short warm-ups.
    """
    from optuna.pruners import MedianPruner

    return MedianPruner(n_startup_trials=N_UNPRUNED, n_warmup_steps=epochs // 5)


def finished(study):
    """The complete and pruned trials of a study, in the order of their numbers."""
    from optuna.trial import TrialState

    states = (TrialState.COMPLETE, TrialState.PRUNED)
    return study.get_trials(deepcopy=False, states=states)


def complete(study):
    from optuna.trial import TrialState

    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def finish(study, trial, log_px, **attributes):
    """Record the end of a trial: its score is the mean of `log_px` [S, N], None if it was pruned.

    The state is written last, so a trial that is killed before does not count. A trial that another
    process has failed, because the parent of this process was killed, does not count either.
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
    """Fail a trial, so that its turn is drawn again."""
    from optuna.trial import TrialState

    study.tell(trial, state=TrialState.FAIL, skip_if_finished=True)


def turns(study, n_trials):
    """The turns that are left for `n_trials` finished trials, of which one is the default."""
    trials = finished(study)
    taken = {trial.user_attrs["turn"] for trial in trials}
    free = [turn for turn in range(n_trials) if turn not in taken]
    return free[: max(n_trials - len(trials), int(0 in free))]


def best(study):
    """The complete trial with the highest score, the first of equals."""
    return max(complete(study), key=lambda trial: (trial.value, -trial.number), default=None)


def to_beat(study):
    """The highest score of a complete trial, -inf without one."""
    return -np.inf if best(study) is None else best(study).value


def by_seed(trial):
    """The scores of a complete trial, one for each seed it was trained from, in their order."""
    return np.mean(trial.user_attrs["log_px"], axis=1)


def importances(study):
    """Map each axis to its share of the score's variance, by fANOVA (Hutter et al. 2014).

    The forest is fitted to the complete trials; with too few of them the result is empty.
    """
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    values = {trial.value for trial in complete(study)}
    if len(complete(study)) < LEAST_COMPLETE or len(values) < 2:
        return {}
    return get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=0))


def table(study):
    """A dict for each finished trial; scores are in nats per held-out row.

    `log_px` is a mean over `seeds` seeds, None for a pruned trial; `last_look` is the rough score
    by which trials are pruned.
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
    """One line on the result of a trial."""
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
