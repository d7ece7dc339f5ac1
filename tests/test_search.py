"""parts/training/search.py: axes around a default; a study that is claimed, refused, counted."""

import matplotlib.pyplot as plt
import numpy as np
import optuna
import pytest

from parts.errors import UserError
from parts.model.networks import NETWORKS
from parts.plots.tuning import search_figure
from parts.training import search

BASE = {
    "hidden_dims": [64],
    "latent_dim": 8,
    "lr": 1e-3,
    "beta": 1.0,
    "batch_size": 32,
    "n_samples": 1,
    "network": "mlp",
    "objective": "elbo",
    "variance": "fixed:1.0",
    "epochs": 10,
}
CHOICES = {"network": {"mlp"}, "objective": {"elbo": 1, "iwae": 2}, "variance": ("shared",)}
AXIS = {"a": optuna.distributions.FloatDistribution(-1.0, 1.0)}


@pytest.fixture
def study(tmp_path):
    with search.open_study(tmp_path / "study.db", epochs=10) as opened:
        search.claim(opened, {"epochs": 10}, tmp_path)
        yield opened


def ask(study, turn, axes=AXIS):
    return search.ask(study, turn, axes, {"a": 0.5, "b": 0.5}, seed=0)


def add(study, turn, value, **options):
    """A finished trial of that score; its number."""
    trial = ask(study, turn)
    rows = None if value is None else np.array([[value - 1.0, value + 1.0]])
    search.finish(study, trial, rows, seconds=1.0, **options)
    return trial.number


# Axes


def test_the_default_lies_inside_every_axis_and_the_axes_are_those_of_the_registries():
    axes = search.space(BASE, {}, CHOICES, n_rows=1000)
    here = search.params_of(BASE)
    for name, axis in axes.items():
        assert axis._contains(axis.to_internal_repr(here[name])), name
    assert axes["objective"].choices == ("elbo", "iwae")
    assert axes["variance"].choices == ("fixed:1.0", "shared")
    assert "network" not in axes  # there is one
    assert (axes["lr"].low, axes["lr"].high, axes["lr"].log) == (1e-4, 1e-2, True)
    assert (axes["width"].low, axes["width"].high) == (16, 256)
    assert (axes["depth"].low, axes["depth"].high) == (1, 3)
    assert (axes["latent_dim"].low, axes["latent_dim"].high) == (2, 32)


def test_a_batch_is_no_larger_than_the_rows():
    assert search.space(BASE, {}, {}, n_rows=40)["batch_size"].high == 40
    assert search.space(BASE, {}, {}, n_rows=20)["batch_size"].high == 32  # the default's own


@pytest.mark.parametrize(
    ("fixed", "gone"),
    [("lr", {"lr"}), ("hidden_dims", {"depth", "width"}), ("objective", {"objective"})],
)
def test_what_is_fixed_is_not_searched(fixed, gone):
    whole = set(search.space(BASE, {}, CHOICES, 1000))
    assert whole - set(search.space(BASE, {fixed: 1}, CHOICES, 1000)) == gone


@pytest.mark.parametrize(
    ("config", "gone"),
    [
        ({"batch_size": "full"}, {"batch_size"}),
        ({"hidden_dims": []}, {"depth", "width"}),
        ({"hidden_dims": [8, 4]}, {"depth", "width"}),
        ({"beta": 0.0}, {"beta"}),
    ],
)
def test_a_default_that_is_no_point_of_an_axis_stays(config, gone):
    whole = set(search.space(BASE, {}, CHOICES, 1000))
    assert whole - set(search.space(BASE | config, {}, CHOICES, 1000)) == gone


def test_params_become_a_config_again():
    config = search.config_of(BASE, {"depth": 2, "width": 7, "lr": 0.1})
    assert config == BASE | {"hidden_dims": [7, 7], "lr": 0.1}
    assert search.config_of(BASE, {"lr": 0.1}) == BASE | {"lr": 0.1}


def test_layers_of_convolutions_narrow_towards_the_picture():
    params = {"depth": 3, "width": 256}
    assert search.config_of(BASE | {"network": "conv"}, params)["hidden_dims"] == [32, 64, 256]
    assert search.config_of(BASE, params | {"network": "conv"})["hidden_dims"] == [32, 64, 256]
    assert search.config_of(BASE, {"depth": 3, "width": 2, "network": "conv"})["hidden_dims"] == [
        1,
        1,
        2,
    ]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("sizes", [[], [64], [64, 64], [32, 64, 256], [8, 4]])
def test_the_default_is_a_point_of_the_axes_or_its_layers_stay(network, sizes):
    base = BASE | {"network": network, "hidden_dims": sizes}
    axes = search.space(base, {}, CHOICES | {"network": NETWORKS}, 1000)
    default = {name: search.params_of(base)[name] for name in axes}
    assert search.config_of(base, default) == base
    halved = [64], [32, 64, 256]
    known = {"mlp": ([64], [64, 64]), "conv": halved, "conv1d": halved}
    assert {"depth", "width"} & set(axes) == (
        {"depth", "width"} if sizes in known[network] else set()
    )


# The study


def test_the_default_comes_first_and_the_rest_follows_from_seed_and_turn(study, tmp_path):
    for turn in range(4):
        add(study, turn, value=float(turn))
    first, *others = [trial.params["a"] for trial in search.finished(study)]
    assert first == 0.5
    assert search.is_default(search.finished(study)[0])
    assert len(set(others)) == 3
    again = optuna.create_study(direction="maximize")
    for turn, value in enumerate(others, start=1):
        assert ask(again, turn).params["a"] == value


def test_the_score_is_the_mean_over_rows_and_seeds(study):
    log_px = np.array([[2.0, 4.0], [6.0, 12.0]])
    search.finish(study, ask(study, 0), log_px, seconds=1.0)
    (trial,) = search.complete(study)
    assert trial.value == search.to_beat(study) == 6.0
    assert search.by_seed(trial).tolist() == [3.0, 9.0]
    assert trial.user_attrs["log_px"] == log_px.tolist()
    assert search.table(study)[0]["seeds"] == 2


def test_seeds_are_those_that_the_flag_takes():
    assert search.seeds(7) == [7, 8, 9]
    assert search.seeds(2**32 - 1) == [2**32 - 1, 0, 1]


def test_what_a_kill_left_running_does_not_count_and_is_drawn_again(study, tmp_path):
    add(study, 0, 1.0)
    lost = ask(study, 1)  # and then the process is gone
    search.claim(study, {"epochs": 10}, tmp_path)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "FAIL"]
    assert search.turns(study, 3) == [1, 2]
    assert ask(study, 1).params == lost.params


def test_turns_are_those_that_no_finished_trial_has_taken(study):
    for turn in (0, 1, 4):
        add(study, turn, value=None if turn == 1 else 1.0)
    assert search.turns(study, 6) == [2, 3, 5]
    assert search.turns(study, 4) == [2]  # three of four are finished, whichever they were
    assert search.turns(study, 2) == []


def test_the_default_is_always_among_the_trials(study):
    for turn in (1, 2):
        add(study, turn, 1.0)
    assert search.turns(study, 2) == [0]


def test_a_trial_that_another_process_has_given_up_stays_given_up(study):
    trial = ask(study, 1)
    search.give_up(study, trial)
    search.finish(study, trial, np.ones((1, 2)), seconds=1.0)
    search.give_up(study, trial)
    assert [t.state.name for t in study.trials] == ["FAIL"]


def test_a_study_of_other_settings_or_data_is_refused(study, tmp_path):
    with pytest.raises(UserError, match="other settings: epochs is 10 there and 11 here"):
        search.claim(study, {"epochs": 11}, tmp_path)
    with pytest.raises(UserError, match="other data"):
        search.claim(study, {"epochs": 11, "data_hash": "x"}, tmp_path)


def test_best_is_the_highest_complete_and_of_equals_the_first(study):
    assert search.best(study) is None
    for turn, value in enumerate([1.0, 5.0, None, 5.0]):
        add(study, turn, value)
    assert search.best(study).number == 1


def test_a_trial_below_the_median_is_pruned_after_a_fifth_of_the_epochs(study):
    for turn in range(search.N_UNPRUNED):
        trial = ask(study, 1)
        for epoch in (1, 4):
            trial.report(float(turn), epoch)
            assert not trial.should_prune()
        search.finish(study, trial, np.full((1, 2), float(turn)), seconds=1.0)
    for value, pruned in ((1.9, True), (2.1, False)):  # the median is 2
        trial = ask(study, 1)
        trial.report(value, 1)
        assert not trial.should_prune()
        trial.report(value, 4)
        assert trial.should_prune() == pruned


def test_importance_is_laid_to_the_axis_that_decides_the_score(tmp_path):
    axes = AXIS | {"b": optuna.distributions.FloatDistribution(-1.0, 1.0)}
    with search.open_study(tmp_path / "two.db", epochs=10) as study:
        for turn in range(16):
            trial = ask(study, turn, axes)
            if turn == search.LEAST_COMPLETE - 1:
                assert search.importances(study) == {}  # one too few
            search.finish(study, trial, np.full((1, 2), trial.params["a"]), seconds=1.0)
        shares = search.importances(study)
    assert list(shares) == ["a", "b"]
    assert shares["a"] > 0.8
    assert sum(shares.values()) == pytest.approx(1)


def test_the_table_has_a_row_for_each_finished_trial(study):
    add(study, 0, 3.0)
    trial = ask(study, 1)
    trial.report(-7.0, 4)
    search.finish(study, trial, None, seconds=2.0, note="a word")
    ask(study, 1)
    first, second = search.table(study)
    assert (first["state"], first["default"], first["log_px"], first["epochs"]) == (
        "complete",
        True,
        3.0,
        10,
    )
    assert (second["state"], second["log_px"], second["last_look"], second["epochs"]) == (
        "pruned",
        None,
        -7.0,
        4,
    )
    assert second["note"] == "a word"
    assert list(first) == list(second)


@pytest.mark.parametrize("content", [b"not a database at all, but long enough to look", b"SQLite"])
def test_a_file_that_is_no_study_is_refused(tmp_path, content):
    path = tmp_path / "study.db"
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be used as a study"), search.open_study(path, 10):
        pass


def test_a_study_may_lie_in_a_folder_of_any_name(tmp_path):
    folder = tmp_path / "a b?c#d%20{e}"
    folder.mkdir()
    with search.open_study(folder / "study.db", epochs=10):
        pass
    assert (folder / "study.db").stat().st_size > 0


# The figure


def row(number, log_px, last_look=None, **settings):
    shown = {"trial": number, "default": number == 0, "log_px": log_px, "last_look": last_look}
    return shown | {"lr": 1e-3 * (number + 1), "network": ("mlp", "conv")[number % 2]} | settings


ROWS = [row(0, -5.0), row(1, -4.0), row(2, None, -5.5), row(3, -900.0), row(4, None), row(5, -4.5)]


def drawn(axis):
    """Marker -> [[x, y], ...] of all trials drawn with it."""
    points = {}
    for mark in axis.get_lines():
        points.setdefault(mark.get_marker(), []).extend(mark.get_xydata().tolist())
    return points


def test_the_figure_shows_every_trial_and_keeps_poor_ones_from_pressing_the_rest():
    figure = search_figure(ROWS, {})
    history, importance = figure.axes
    points = drawn(history)
    assert points["o"] == [[0, -5], [1, -4], [5, -4.5]]
    assert points["x"] == [[2, -5.5]]
    assert [x for x, _ in points["v"]] == [3, 4]  # one far down, one that diverged at once
    assert points["*"] == [[1, -4]]
    assert history.get_ylim()[0] > -7
    assert history.get_title() == "Best -4.00, default -5.00"
    assert "4 complete trials are too few" in importance.texts[0].get_text()
    plt.close(figure)


def test_the_figure_shows_scores_over_the_settings_that_mattered_most():
    figure = search_figure(ROWS, {"lr": 0.9, "network": 0.1})
    _, importance, lr, network = figure.axes
    assert [bar.get_width() for bar in importance.patches] == [0.1, 0.9]  # from below
    assert [axis.get_xlabel() for axis in (lr, network)] == ["lr", "network"]
    assert drawn(lr)["*"] == [[pytest.approx(2e-3), -4]]
    assert (lr.get_xscale(), network.get_xscale()) == ("log", "linear")
    assert drawn(network)["*"][0][1] == -4
    figure.canvas.draw()  # a layout that collapses warns
    plt.close(figure)


@pytest.mark.parametrize(
    "change",
    [
        {"log_px": None},
        {"log_px": [[1.0], [2.0, 3.0]]},
        {"log_px": [[5.0, 6.0]]},
        {"seconds": "x"},
        {"turn": "0"},
    ],
    ids=str,
)
def test_a_study_that_was_edited_is_refused(study, tmp_path, change):
    number = add(study, 0, -3.0)
    search.claim(study, {"epochs": 10}, tmp_path)
    storage, ((name, value),) = study._storage, change.items()
    trial = study.trials[number]
    edited = optuna.create_study(storage=storage, study_name="edited", direction="maximize")
    edited.set_user_attr("settings", {"epochs": 10})
    edited.add_trial(
        optuna.trial.create_trial(
            value=trial.value,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs=trial.user_attrs | {name: value},
        )
    )
    with pytest.raises(UserError, match="holds a study that something else has changed") as error:
        search.claim(edited, {"epochs": 10}, tmp_path)
    assert "\n" not in str(error.value)


def test_a_study_whose_file_is_damaged_is_refused(tmp_path):
    path = tmp_path / "study.db"
    with search.open_study(path, 10) as study:
        add(study, 0, -3.0)
    path.write_bytes(b"no database, by its first bytes" * 1000)
    with (
        pytest.raises(UserError, match="study.db cannot be used as a study, because") as error,
        search.open_study(path, 10),
    ):
        pass
    assert "\n" not in str(error.value)
