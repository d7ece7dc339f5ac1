"""tune.py and parts/training/workers.py: trials train as train.py does; a study can go on."""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

import data as datasets
import train as train_script
import tune
from parts import files, randomness
from parts.console import flags as console
from parts.console.progress import progress_bar
from parts.errors import UserError
from parts.forms import units
from parts.forms.config import DataConfig
from parts.runs import Run
from parts.runs.config import resolve
from parts.tasks import fit
from parts.training import search

TINY = ("--data", "iris", "--epochs", 2, "--threads", 1)
TRAINING = ("depth", "width", "latent_dim", "lr", "beta", "batch_size", "n_samples")


@pytest.fixture
def tuned(call, monkeypatch):
    """tuned(folder, *flags): the result of the command, which succeeded; its table's rows."""
    monkeypatch.setattr(tune, "draw", lambda *arguments: None)  # most of a tiny search's seconds

    def tune_it(folder, *flags):
        result = call("tune", "--study", folder, *flags)
        assert result.code == 0, result.err
        assert result.err == ""
        return result, rows_of(folder)

    return tune_it


def rows_of(folder):
    with (folder / "trials.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def data_of(run):
    config = run.config()
    return datasets.load(config.asked.data, config.codec, config.fingerprint)


def parsed(*argv):
    """All flags of train.py, those given, and the options they come to."""
    args, given = console.parse(train_script.make_parser(), [str(word) for word in argv])
    return args, given, resolve(console.options_in(given)).flat()


def results(rows):
    """What a seed decides: all but times, and the numbers, which a kill leaves gaps in."""
    return [{k: v for k, v in row.items() if k not in ("seconds", "trial")} for row in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory, call):
    """A study of four trials, undisturbed: its folder and what was printed."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    result = call("tune", "--study", folder, *TINY, "--trials", 4)
    assert result.code == 0, result.err
    return folder, result.out


# What a search leaves


def test_the_first_trial_is_trains_default_and_is_beaten_in_the_same_study(whole):
    folder, out = whole
    first, *others = rows = rows_of(folder)
    assert [row["default"] for row in rows] == ["True", "False", "False", "False"]
    defaults = {
        "depth": "1",
        "width": "64",
        "latent_dim": "8",
        "lr": "0.001",
        "beta": "1.0",
        "batch_size": "32",
        "n_samples": "1",
        "objective": "elbo",
        "variance": "decoder",
    }
    assert {name: first[name] for name in defaults} == defaults
    assert all(float(row["log_px"]) < 0 for row in rows)
    assert "python train.py --config" in out
    best = max(float(row["log_px"]) for row in rows)
    assert re.search(rf"best, trial \d +{best:.3f} ", out)
    assert re.search(rf"default, trial 0 +{float(first['log_px']):.3f} ± ", out)
    assert sum(float(row["seconds"]) for row in rows) > 0
    assert (folder / "search.png").read_bytes().startswith(b"\x89PNG")


def test_the_printed_difference_is_of_pairs_of_rows(whole):
    folder, out = whole
    with search.open_study(folder / "study.db", epochs=2) as study:
        best = search.best(study)
        default = search.complete(study)[0]
    gain = np.subtract(best.user_attrs["log_px"], default.user_attrs["log_px"]).mean(0)
    assert best.number != 0
    error = np.std(gain, ddof=1) / np.sqrt(len(gain))
    assert f"{best.value - default.value:+.3f} ± {error:.3f}" in out
    assert len(gain) == 12  # the held-out rows of iris


def test_the_best_config_trains_to_the_same_score(whole, tmp_path, call):
    folder, out = whole
    result = call("train", "--config", folder / "best.json", "--runs-dir", tmp_path, "--run", "a")
    assert result.code == 0, result.err
    run = Run(tmp_path / "a")
    data, model = data_of(run), run.load()[0].model
    with search.open_study(folder / "study.db", epochs=2) as study:
        best = search.best(study)
    scores = [np.mean(rows) for rows in best.user_attrs["log_px"]]
    seed = run.config().asked.training.seed
    assert seed == np.argmax(scores)
    assert tune.score(model, data, "cpu").tolist() == best.user_attrs["log_px"][seed]  # to the bit
    assert f"to its {scores[seed]:.3f} of seed {seed}" in out
    assert len(scores) == 3
    assert best.value == np.mean(best.user_attrs["log_px"])


def test_the_same_command_on_a_finished_study_runs_no_trial(whole, tuned):
    folder, _ = whole
    before = rows_of(folder)
    result, rows = tuned(folder, *TINY, "--trials", 4)
    assert rows == before
    assert "4 of 4 trials finished" in result.out
    assert "[" not in result.out


def test_the_same_seed_gives_the_same_trials_and_another_does_not(whole, tuned, tmp_path):
    folder, _ = whole
    _, rows = tuned(tmp_path / "again", *TINY, "--trials", 4)
    assert results(rows) == results(rows_of(folder))
    _, others = tuned(tmp_path / "other", *TINY, "--trials", 2, "--seed", 1)
    assert {others[1][name] for name in TRAINING} != {rows[1][name] for name in TRAINING}
    assert others[0]["log_px"] != rows[0]["log_px"]


def test_given_flags_are_fixed_and_reach_the_best_config(tuned, tmp_path):
    flags = ("--hidden-dims", 5, 4, "--objective", "elbo", "--likelihood", "mixed", "--lr", 0.01)
    kind = ("--kind", "petal length (cm)=positive", "--members", 1, "--val-fraction", 0.3)
    _, rows = tuned(tmp_path, *TINY, *flags, *kind, "--trials", 2)
    assert not {"depth", "width", "objective", "lr"} & set(rows[0])
    best = json.loads((tmp_path / "best.json").read_text())
    assert best["hidden_dims"] == [5, 4]
    assert best["kind"] == ["petal length (cm)=positive"]
    args, _, config = parsed("--config", tmp_path / "best.json")
    assert args["kind"] == [("petal length (cm)", "positive")]
    assert config["kinds"] == {"petal length (cm)": "positive"}
    assert (config["lr"], config["val_fraction"], config["real"]) == (0.01, 0.3, "gaussian")


def test_the_best_config_of_a_table_trains_to_the_same_score(tuned, tmp_path, call):
    rng = np.random.default_rng(0)
    numbers = rng.normal(size=60) ** 3, rng.lognormal(size=60)
    lines = [f"{a:.3f},x,{b:.2f}" for a, b in zip(*numbers, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["a,b,c", *lines]))
    flags = ("--data", tmp_path / "t.csv", "--epochs", 2, "--threads", 1, "--kind", "b=ignore")
    tuned(tmp_path / "s", *flags, "--trials", 2)
    result = call("train", "--config", tmp_path / "s" / "best.json", "--runs-dir", tmp_path)
    assert result.code == 0, result.err
    run = Run(tmp_path / "0001")
    model = run.load()[0].model
    with search.open_study(tmp_path / "s" / "study.db", epochs=2) as study:
        best = search.best(study)
    data = data_of(run)
    rows = best.user_attrs["log_px"][run.config().asked.training.seed]
    assert tune.score(model, data, "cpu").tolist() == rows
    assert [column.curve for column in data.codec.modelled] != ["linear", "linear"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_a_bar_whose_clock_moves_while_a_trial_runs(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress_bar(3, 1, "trial") as bar:
        for step in (0, 1, 0):
            time.sleep(0.11)  # tqdm draws no more often than ten times a second
            bar.update(step)
    shown = re.findall(r"(\d)/3 \[", sys.stderr.getvalue())
    assert shown == ["1", "1", "2", "2"]


def test_lines_of_trials_stand_apart_from_the_bar(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tune, "draw", lambda *arguments: None)
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert tune.main(["--study", str(tmp_path / "s"), *map(str, TINY), "--trials", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[:5] for line in lines if line.startswith("[")] == ["[1/2]", "[2/2]"]
    assert "1/2 [" in sys.stderr.getvalue()


# The score


def test_the_score_is_log_px_in_the_units_of_evaluate(tiny_run):
    model, data = Run(tiny_run).load()[0].model, data_of(Run(tiny_run))
    before = torch.get_rng_state()
    score = tune.score(model, data, "cpu", n_rows=5, n_samples=200)
    assert torch.equal(torch.get_rng_state(), before)
    with randomness.fixed_randomness(0):
        log_px = model.log_px(torch.from_numpy(data.val.x[:5]), n_samples=200)
    np.testing.assert_array_equal(score, log_px.double().numpy())
    names = [column.name for column in data.codec.columns]
    bent = [units.Column(name, curve="asinh", scale=1.0, spread=1.0) for name in names]
    data.codec = replace(data.codec, columns=bent)
    curve = -np.log(np.cosh(data.val.x[:5].astype(np.float64) / units.KNEE)).sum(-1)
    np.testing.assert_allclose(
        tune.score(model, data, "cpu", 5, 200) - score, curve, rtol=1e-5, atol=1e-6
    )


def test_test_rows_decide_nothing(tmp_path, tuned):
    x = np.random.default_rng(0).normal(size=(60, 3))
    _, _, test = datasets.split_rows(60, DataConfig(test_fraction=0.2, val_fraction=0.1))
    poisoned = x.copy()
    poisoned[test] = 5 - 3 * poisoned[test]
    found = []
    for name, rows in (("a", x), ("b", poisoned)):
        np.save(tmp_path / f"{name}.npy", rows)
        flags = ("--data", tmp_path / f"{name}.npy", *TINY[2:], "--trials", 3)
        found.append(results(tuned(tmp_path / name, *flags)[1]))
    assert found[0] == found[1]


def test_trials_are_handed_no_test_rows(tuned, tmp_path, monkeypatch):
    seen = []
    start = fit.start
    monkeypatch.setattr(fit, "start", lambda data, *rest: seen.append(data) or start(data, *rest))
    tuned(tmp_path, *TINY, "--trials", 2)
    assert {len(data.test.x) for data in seen} == {0}
    assert len(seen[0].val.x) == 12


def test_the_synthetic_default_has_rows_held_out(tuned, tmp_path):
    flags = ("--n-rows", 100, "--n-columns", 3, *TINY[2:], "--trials", 1)
    result, _ = tuned(tmp_path, *flags)
    assert "Holding out 20%" in result.out
    assert "rows: 64 train, 16 held out, 20 test" in result.out
    assert json.loads((tmp_path / "best.json").read_text())["val_fraction"] == 0.2
    assert "No trial was better than train.py's default" in result.out


def test_spikes_keep_the_variance_out_of_the_search(tuned, tmp_path):
    x = np.random.default_rng(0).normal(size=(60, 3))
    x[:40, 1] = 0
    np.save(tmp_path / "x.npy", x)
    flags = ("--data", tmp_path / "x.npy", *TINY[2:], "--trials", 1)
    result, rows = tuned(tmp_path / "s", *flags)
    assert "variance is not searched" in result.out
    assert "variance" not in rows[0]


def test_a_trial_leads_only_in_the_mean_over_seeds(tuned, tmp_path, monkeypatch):
    scores = [[0.0, 0.2, -0.2], [9.0, -10.0], [-1.0], [1.0, 2.0, 0.0], [3.0, 0.5, -9.0]]
    asked = {}  # trial -> the seeds that it was trained from

    def trained(trial, base, config, data, share, stopped, look):
        trial.set_user_attr("threads", 1)
        seeds = asked.setdefault(trial.number, [])
        seeds.append(config.training.seed)
        assert look == (len(seeds) == 1)
        return np.full(12, scores[trial.number][len(seeds) - 1])

    monkeypatch.setattr(tune, "train_and_score", trained)
    result, rows = tuned(tmp_path, *TINY, "--trials", 5, "--seed", 4)
    assert list(asked.values()) == [[4, 5, 6], [4, 5], [4], [4, 5, 6], [4, 5, 6]]
    found = [float(row["log_px"]) for row in rows]
    np.testing.assert_allclose(found, [np.mean(s) for s in scores], atol=1e-12)
    assert "best, trial 3 " in result.out
    assert json.loads((tmp_path / "best.json").read_text())["seed"] == 5  # scored 2


# Kills, company and interruptions


@pytest.mark.slow
def test_a_killed_search_goes_on_without_losing_a_finished_trial(whole, script, tuned, tmp_path):
    folder = tmp_path / "killed"
    flags = ("--study", folder, *TINY, "--trials", 4)
    process = subprocess.Popen(
        script.command("tune", *flags),
        stdout=subprocess.PIPE,
        text=True,
        env=script.environment() | {"PYTHONUNBUFFERED": "1"},
    )
    with process:
        for line in process.stdout:
            if line.startswith("[2/4]"):
                process.send_signal(signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    with search.open_study(folder / "study.db", epochs=2) as study:
        survivors = {t.number: t.value for t in search.finished(study)}
    assert len(survivors) >= 2
    _, rows = tuned(folder, *TINY, "--trials", 4)
    assert len(rows) == 4
    kept = {int(row["trial"]): float(row["log_px"]) for row in rows}
    assert survivors.items() <= kept.items()
    assert results(rows) == results(rows_of(whole[0]))  # and the rest as if nothing had been


@pytest.mark.slow
def test_two_workers_share_one_study(whole, run_script, tmp_path):
    flags = ("--study", tmp_path / "two", *TINY, "--trials", 5, "--workers", 2)
    result = run_script("tune", *flags, cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    assert "[5/5]" in result.stdout
    rows = rows_of(tmp_path / "two")
    assert len(rows) == 5
    assert len({row["lr"] for row in rows}) == 5
    (default,) = [row for row in rows if row["default"] == "True"]
    assert default["log_px"] == rows_of(whole[0])[0]["log_px"]
    with search.open_study(tmp_path / "two" / "study.db", epochs=2) as study:
        assert sorted(t.user_attrs["turn"] for t in search.finished(study)) == [0, 1, 2, 3, 4]
        assert len(study.trials) == 5


@pytest.mark.slow
def test_workers_end_when_their_parent_is_killed(script, tuned, tmp_path):
    folder = tmp_path / "two"
    flags = ("--data", "iris", "--epochs", 2000, "--threads", 1)
    command = script.command("tune", "--study", folder, *flags, "--trials", 9, "--workers", 2)
    environment, pipe = script.environment() | {"PYTHONUNBUFFERED": "1"}, subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=environment) as process:
        while b"Searching" not in process.stdout.readline():  # its study is there
            assert process.poll() is None
        while not running(folder):
            assert process.poll() is None
        process.kill()
        process.communicate()  # ends once no worker holds the pipes
    assert process.returncode == -signal.SIGKILL


def running(folder):
    with search.open_study(folder / "study.db", epochs=2) as study:
        return any(trial.state.name == "RUNNING" for trial in study.trials)


def test_ctrl_c_leaves_a_study_that_goes_on(whole, call, tuned, tmp_path, monkeypatch):
    attempt = tune.score_from_seeds
    begun = []

    def interrupted(trial, *rest):
        begun.append(trial.number)
        if len(begun) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return attempt(trial, *rest)

    monkeypatch.setattr(tune, "score_from_seeds", interrupted)
    result = call("tune", "--study", tmp_path / "a b", *TINY, "--trials", 4)
    assert (result.code, result.err) == (130, "")
    assert f"python tune.py --study '{tmp_path}/a b' --data iris" in result.out
    with search.open_study(tmp_path / "a b" / "study.db", epochs=2) as study:
        assert [t.state.name for t in study.trials] == ["COMPLETE", "COMPLETE", "FAIL"]
    _, rows = tuned(tmp_path / "a b", *TINY, "--trials", 4)
    assert results(rows) == results(rows_of(whole[0]))


def test_two_searches_do_not_share_a_folder(whole, call):
    folder, _ = whole
    with files.locked(folder, "busy"):
        result = call("tune", "--study", folder, *TINY, "--trials", 5)
    assert result.code == 2
    assert "is being searched by another process" in result.err


# Trials that fail


def test_a_trial_that_diverges_is_pruned_and_says_why(tuned, tmp_path, monkeypatch):
    start = fit.start

    def refuse(data, config, device):
        if config.model.latent_dim != 8:
            raise UserError("diverged in epoch 1")
        return start(data, config, device)

    monkeypatch.setattr(fit, "start", refuse)
    result, rows = tuned(tmp_path, *TINY, "--trials", 3)
    assert [row["state"] for row in rows] == ["complete", "pruned", "pruned"]
    assert rows[1]["note"] == "diverged in epoch 1"
    assert "pruned (diverged in epoch 1)" in result.out


def test_a_score_that_is_not_finite_is_no_score(tuned, tmp_path, monkeypatch):
    score = tune.score
    calls = []

    def broken(model, data, *rest):
        calls.append(rest)
        return score(model, data, *rest) * (np.nan if len(calls) > 4 else 1)

    monkeypatch.setattr(tune, "score", broken)
    _, rows = tuned(tmp_path, *TINY, "--trials", 2)
    assert [row["state"] for row in rows] == ["complete", "pruned"]


def test_a_default_that_diverges_ends_the_search(call, tmp_path):
    flags = ("--study", tmp_path / "s", "--data", "iris", "--epochs", 30, "--lr", 1e30)
    result = call("tune", *flags, "--trials", 2)
    assert result.code == 2
    assert "diverged" in result.err


# Bad input


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--val-fraction", 0), "--val-fraction 0 leaves no held-out rows"),
        (("--trials", 0), "'0', expected a whole number from 1"),
        (("--workers", "x"), "'x', expected a whole number from 1"),
        (("--data", "nothing"), "neither a file, a folder nor one of"),
        (("--val-fraction", 0.001), "1 held-out rows, expected at least 2"),
        (("--variance", "odd"), "variance 'odd', expected"),
        (("--run", "a"), "unrecognized arguments: --run a"),
    ],
)
def test_bad_input_is_refused(call, tmp_path, flags, words):
    result = call("tune", "--study", tmp_path / "s", *TINY, *flags)
    assert result.code == 2
    assert words in result.err
    assert result.err.count("\n") == 1


def test_a_study_of_other_settings_or_data_is_refused(whole, call):
    folder, _ = whole
    before = (folder / "study.db").read_bytes()
    for flags, words in (
        (("--epochs", 3), "epochs is 2 there and 3 here"),
        (("--data", "wine"), "other data"),
        (("--beta", 1), "other settings: axes is"),
    ):
        result = call("tune", "--study", folder, *TINY, *flags)
        assert result.code == 2
        assert words in result.err
        assert "choose another folder by --study" in result.err
    assert (folder / "study.db").read_bytes() == before


def test_a_folder_of_other_things_is_left_alone(call, tiny_run, tmp_path):
    before = sorted(path.name for path in tiny_run.iterdir())
    result = call("tune", "--study", tiny_run, *TINY)
    assert result.code == 2
    assert "is a folder of other things" in result.err
    assert sorted(path.name for path in tiny_run.iterdir()) == before
    (tmp_path / "f").write_text("")
    assert "is a file" in call("tune", "--study", tmp_path / "f", *TINY).err
    assert "cannot be written" in call("tune", "--study", tmp_path / "f" / "s", *TINY).err


# train.py --config


def config_file(tmp_path, value):
    path = tmp_path / "c.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return str(path)


def test_a_config_is_above_the_preset_and_below_the_flags(tmp_path):
    values = {
        "preset": "classic",
        "lr": 0.5,
        "hidden_dims": [3, 4],
        "kind": ["a=count"],
        "run": None,
    }
    path = config_file(tmp_path, values)
    args, given, config = parsed("--config", path, "--lr", "0.25", "--kind", "b=real")
    assert (config["lr"], config["hidden_dims"]) == (0.25, [3, 4])
    assert config["batch_size"] == "full"  # the preset's
    assert config["beta"] == 1.0  # the default
    assert args["kind"] == [("a", "count"), ("b", "real")]
    assert config["kinds"] == {"a": "count", "b": "real"}
    assert "run" not in given
    path = config_file(tmp_path, {"condition": ["a", "b"], "grey": False})
    assert parsed("--config", path)[2]["condition"] == ["a", "b"]
    assert parsed("--config", path, "--condition", "c")[2]["condition"] == ["c"]
    assert parsed("--config", config_file(tmp_path, {}))[2]["lr"] == 1e-3
    assert parsed("--config", config_file(tmp_path, {"hidden_dims": []}))[2]["hidden_dims"] == []


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"lrr": 1, "beta": 1}, "unknown ['lrr'], expected some of ['batch_size', 'beta',"),
        ({"config": "x"}, "holds 'config', which a file cannot ask for"),
        ({"overwrite": True, "run": "a"}, "holds 'overwrite', which a file cannot ask for"),
        (
            {"runs_dir": "x"},
            "a file cannot ask for: give --runs-dir",
        ),
        ({"lr": -1}, "argument --lr: '-1', expected a number above 0"),
        ({"hidden_dims": ["x"]}, "argument --hidden-dims: 'x', expected"),
        ({"lr": [0.1, 0.2]}, "c.json: lr is [0.1, 0.2], expected one value"),
        ({"grey": "false"}, "c.json: grey is 'false', expected true or false"),
        ({"objective": "x"}, "argument --objective: invalid choice: 'x'"),
        ([1], "expected a JSON object of flags"),
        ("{", "is not JSON"),
    ],
)
def test_a_bad_config_is_refused(tmp_path, call, value, words):
    path = config_file(tmp_path, value)
    result = call("train", "--config", path, "--runs-dir", tmp_path / "runs")
    assert result.code == 2
    assert words in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_a_config_that_is_not_there_is_refused(tmp_path, call):
    result = call("train", "--config", tmp_path / "no.json")
    assert result.code == 2
    assert result.err.endswith("no.json: no such file\n")


def test_a_config_does_not_go_with_resume(tmp_path, call, tiny_run):
    result = call("train", "--config", config_file(tmp_path, {}), "--resume", tiny_run)
    assert result.code == 2
    assert "--config cannot change on --resume" in result.err
