"""parts/training/loop.py and train.py: a killed or stopped run resumes to the same bits."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from parts.randomness import fixed_randomness
from parts.runs import Run
from parts.training import loop as training_loop
from tests.conftest import REPOSITORY, SCRIPTS

# 360 steps an epoch, saved every 64: most kills fall inside an epoch.
FLAGS = ("--n-rows", 1000, "--val-fraction", 0.1, "--batch-size", 2, "--hidden-dims", 16)
EPOCHS = 10
LONG = (*FLAGS, "--epochs", EPOCHS, "--warmup-epochs", 6, "--checkpoint-seconds", 0)
SMALL = ("--data", "iris", "--batch-size", 16, "--hidden-dims", 16)
STOPPING = ("--data", "iris", "--batch-size", 8, "--lr", 0.03, "--patience", 8, "--epochs", 900)
SECONDS = 600  # that a process may take, however busy the machine


def differences(a, b, path=""):
    """Where two checkpoints differ: every tensor bit and every plain value counts."""
    if type(a) is not type(b):
        return [f"{path}: {type(a)} and {type(b)}"]
    if isinstance(a, dict):
        if list(a) != list(b):
            return [f"{path}: keys {list(a)} and {list(b)}"]
        return [line for key in a for line in differences(a[key], b[key], f"{path}/{key}")]
    if isinstance(a, list | tuple):
        if len(a) != len(b):
            return [f"{path}: length {len(a)} and {len(b)}"]
        pairs = enumerate(zip(a, b, strict=True))
        return [line for i, (v, w) in pairs for line in differences(v, w, f"{path}/{i}")]
    same = a.dtype == b.dtype and a.equal(b) if torch.is_tensor(a) else a == b
    return [] if same else [f"{path}: {a} and {b}"]


def assert_same_run(a, b):
    a, b = Run(a), Run(b)
    assert differences(a.load_checkpoint(), b.load_checkpoint()) == []
    assert a.log.read_bytes() == b.log.read_bytes()
    assert a.config() == b.config()


def assert_whole(run):
    """A reader finds the run in order, whatever moment it was killed in."""
    checkpoint = run.load_checkpoint()
    assert run.config() == checkpoint["config"]
    assert [record["epoch"] for record in run.read_log()] == list(range(1, len(run.read_log()) + 1))
    assert len(run.read_log()) >= checkpoint["position"]["epoch"]
    return checkpoint


def bytes_of(run_path):
    return {p.relative_to(run_path): p.read_bytes() for p in run_path.rglob("*") if p.is_file()}


def wait_for(condition, process, seconds=SECONDS):
    """Until condition() is true; false where the process ended before."""
    end = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None:
            return False
        assert time.monotonic() < end, "the process neither went on nor ended"
        time.sleep(0.001)
    return True


def modified(path):
    return path.stat().st_mtime_ns if path.exists() else 0


@pytest.fixture
def start(script, tmp_path):
    """start(*args): `python train.py args` running in tmp_path; killed at the end of the test."""
    processes = []

    def start(*args):
        process = subprocess.Popen(
            script.command("train", *args),
            cwd=tmp_path,
            env=script.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def kill(process):
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, train):
    return train(tmp_path_factory.mktemp("undisturbed"), "a", *LONG)


# Killed


@pytest.mark.slow
def test_a_killed_run_goes_on_to_the_same_bits(start, undisturbed, tmp_path, call, train):
    rng = np.random.default_rng(0)
    run = Run(tmp_path / "runs" / "a")
    positions = []
    arguments = ("--run", "a", *LONG)
    for i in range(4):
        process, before = start(*arguments), modified(run.checkpoint)
        assert wait_for(lambda before=before: modified(run.checkpoint) != before, process)
        time.sleep(rng.uniform(0, 0.25))
        if i == 3:  # the others fall where they may
            wait_for(lambda: run.load_checkpoint()["position"]["row"] > 0, process)
        assert kill(process), "it ended by itself: nothing was tested"
        position = assert_whole(run)["position"]
        positions.append((position["epoch"], position["row"]))
        arguments = ("--resume", "a")
        if i == 1:
            saved = run.checkpoint.read_bytes(), run.log.read_bytes()
            flags = ("--runs-dir", run.path.parent, "--run", "a", "--n-samples", 3)
            assert call("evaluate", *flags).code == 0
            assert saved == (run.checkpoint.read_bytes(), run.log.read_bytes())
    assert positions == sorted(positions)
    assert positions[0] < positions[-1] < (EPOCHS, 0)
    assert any(row > 0 for _, row in positions), "no kill fell inside an epoch"
    train(run.path.parent, "a", "--resume", "a")
    assert_same_run(run.path, undisturbed)


@pytest.mark.parametrize("delay", [0, 0.004])
def test_a_run_killed_at_its_birth_is_whole_or_absent(start, tmp_path, train, delay):
    runs_dir = tmp_path / "runs"
    process = start("--run", "a", *LONG)
    assert wait_for(runs_dir.exists, process)
    time.sleep(delay)
    assert kill(process)
    visible = [path for path in runs_dir.iterdir() if not path.name.startswith(".")]
    assert [path.name for path in visible] in ([], ["a"])
    for path in visible:
        assert_whole(Run(path))
    # What is left of it stands in nobody's way.
    assert_whole(Run(train(runs_dir, "b", *SMALL, "--epochs", 1)))


# Stopped


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.slow
def test_a_stopped_run_says_how_to_go_on(start, undisturbed, tmp_path, call, number, monkeypatch):
    run = Run(tmp_path / "runs" / "a")
    process = start("--run", "a", *LONG)
    assert wait_for(lambda: run.log.exists() and run.read_log(), process)
    process.send_signal(number)
    out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert err == ""
    position = assert_whole(run)["position"]
    assert position["epoch"] < EPOCHS
    command = re.search(r"^Stopped in epoch (\d+) and saved\. Go on with:\n +(.+)$", out, re.M)
    assert int(command[1]) == position["epoch"] + 1
    program, script_name, *arguments = shlex.split(command[2])
    assert (program, script_name) == ("python", "train.py")
    monkeypatch.chdir(tmp_path)
    assert call("train", *arguments).code == 0
    assert_same_run(run.path, undisturbed)


@pytest.mark.parametrize("verb", ["detect", "generate"])
def test_a_verb_that_was_stopped_while_it_fitted_names_commands_that_go_on(
    verb, tmp_path, monkeypatch, call
):
    monkeypatch.chdir(tmp_path)
    rows = np.random.default_rng(0).normal(size=(60, 2)).round(3).tolist()
    Path("t.csv").write_text("\n".join(["a,b", *(f"{a},{b}" for a, b in rows)]))
    with monkeypatch.context() as patch:
        stopped = contextlib.nullcontext([signal.SIGINT])
        patch.setattr("parts.console.fitting.stop_signals", lambda: stopped)
        done = call(verb, "t.csv", "--out", "out.csv")
    assert done.code == 130
    assert not Path("out.csv").exists()
    resume = shlex.split(re.search(r"Go on with:\n  python train\.py (.+)\n", done.out)[1])
    assert call("train", *resume).code == 0
    then = re.search(
        r"^and then (give this command|draw with: python generate\.py) (.+)$", done.out, re.M
    )
    file = () if verb == "generate" else ("t.csv",)
    assert call(verb, *file, "--out", "out.csv", *shlex.split(then[2])).code == 0
    assert Path("out.csv").exists()


@pytest.mark.parametrize("package", ["numpy", "torch"])
@pytest.mark.parametrize("verb", SCRIPTS)
def test_ctrl_c_while_a_script_imports_packages(run_script, tmp_path, monkeypatch, verb, package):
    if (verb, package) in (("data", "torch"), ("plot_results", "torch")):
        pytest.skip("it imports no torch")
    (tmp_path / f"{package}.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nraise ImportError('half')\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    done = run_script(verb, "t.csv", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_ctrl_c_in_a_program_that_imports_this_is_its_own():
    code = (
        "import signal, parts, train; "
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    )
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", code], env=env, check=True)


# Finished, extended, changed


def test_resuming_a_finished_run_changes_nothing(tiny_run, tmp_path, call):
    run = shutil.copytree(tiny_run, tmp_path / "a")
    call("evaluate", "--runs-dir", tmp_path, "--run", "a", "--n-samples", 3)
    before, checkpoint = bytes_of(run), Run(run).load_checkpoint()
    whole = {"config.json", "checkpoint.pt", "metrics.jsonl", "metrics.json", "evaluation.npz"}
    assert whole <= {str(path) for path in before}
    result = call("train", "--resume", "a", "--runs-dir", tmp_path)
    assert result.code == 0
    assert "Resuming" in result.out
    after = bytes_of(run)
    # The content is equal; the bytes also hold which equal strings were one object in memory.
    assert differences(Run(run).load_checkpoint(), checkpoint) == []
    del before[Path("checkpoint.pt")], after[Path("checkpoint.pt")]
    assert after == before


@pytest.mark.parametrize("flags", [(), ("--warmup-epochs", 5), ("--batch-size", "full")])
def test_more_epochs_equal_a_straight_longer_run(tmp_path, train, flags):
    straight = train(tmp_path, "straight", *SMALL, *flags, "--epochs", 7)
    train(tmp_path, "parts", *SMALL, *flags, "--epochs", 3)
    train(tmp_path, "parts", "--resume", "parts", "--epochs", 4)
    parts = train(tmp_path, "parts", "--resume", "parts", "--epochs", 7)
    assert_same_run(parts, straight)
    assert len(Run(parts).read_log()) == 7


@pytest.mark.parametrize(
    ("schedule", "epochs", "noted"),
    [("onecycle", 5, True), ("onecycle", 3, False), ("constant", 5, False)],
)
def test_a_longer_cycle_is_noted(tmp_path, train, call, schedule, epochs, noted):
    """A rate that had fallen to 0 rises again, which it does not in a straight longer run."""
    train(tmp_path, "a", *SMALL, "--epochs", 3, "--schedule", schedule)
    result = call("train", "--resume", "a", "--runs-dir", tmp_path, "--epochs", epochs)
    assert result.code == 0
    assert ("Note: the one-cycle rate now spans 5 epochs" in result.out) == noted
    assert ("had fallen to over 3\n" in result.out) == noted
    again = call("train", "--resume", "a", "--runs-dir", tmp_path)
    assert "Note: the one-cycle" not in again.out  # it is not taken further


@pytest.fixture
def table(tmp_path):
    """A small .csv of mixed columns with holes."""
    rng = np.random.default_rng(0)
    age, job = rng.normal(40, 9, 150), rng.choice(["nurse", "clerk", "cook"], 150)
    rows = [
        f"{a:.1f},{j},{v},{r}"
        for a, j, v, r in zip(age, job, rng.poisson(2, 150), rng.integers(1, 5, 150), strict=True)
    ]
    rows = [re.sub(r"^[^,]*,", ",", row) if i % 7 == 0 else row for i, row in enumerate(rows)]
    rows = [re.sub(r",[^,]*$", ",", row) if i % 5 == 0 else row for i, row in enumerate(rows)]
    (tmp_path / "table.csv").write_text("\n".join(["age,job,visits,rating", *rows]) + "\n")
    return tmp_path / "table.csv"


def test_a_table_under_one_cycle_goes_on_from_every_checkpoint(table, tmp_path, train, monkeypatch):
    """The rate, the hidden cells and the columns continue from a checkpoint at every look."""
    flags = ("--data", table, "--epochs", 4, "--batch-size", 16, "--real", "student")
    runs_dir, saved, save = tmp_path / "runs", [], Run.save_checkpoint

    def note(run, checkpoint):
        save(run, checkpoint)
        if run.name == "straight":
            saved.append(bytes_of(run.path))

    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "LOOK_STEPS", 4)
        patch.setattr(Run, "save_checkpoint", note)
        straight = train(runs_dir, "straight", *flags, "--checkpoint-seconds", 0)
    config = Run(straight).config()
    asked = config.asked
    assert (asked.model.likelihood, asked.training.schedule) == ("mixed", "onecycle")
    mask = Run(straight).read_rows()[0].mask
    assert 0.05 < 1 - mask.mean() < 0.12
    assert asked.training.hide_rate == round(mask.mean() - 0.5, 3)
    kinds = ["real", "categorical", "count", "ordinal"]
    assert [column.kind for column in config.codec.columns] == kinds
    assert len(saved) > 8
    inside = 0
    for i, files in enumerate(saved[1::3]):
        for path, content in files.items():
            (runs_dir / f"{i}" / path).parent.mkdir(parents=True, exist_ok=True)
            (runs_dir / f"{i}" / path).write_bytes(content)
        inside += Run(runs_dir / f"{i}").load_checkpoint()["position"]["row"] > 0
        assert_same_run(train(runs_dir, f"{i}", "--resume", f"{i}"), straight)
    assert inside > 0


@pytest.mark.parametrize("flags", [(), ("--objective", "elbo", "--n-samples", 1)])
def test_members_go_on_to_the_same_bits(table, tmp_path, train, flags):
    flags = ("--data", table, "--members", 3, "--hidden-dims", 8, "--batch-size", 16, *flags)
    flags = (*flags, "--schedule", "constant")  # which does not ask how long it will be
    straight = train(tmp_path / "runs", "straight", *flags, "--epochs", 5)
    train(tmp_path / "runs", "parts", *flags, "--epochs", 2)
    parts = train(tmp_path / "runs", "parts", "--resume", "parts", "--epochs", 5)
    assert_same_run(parts, straight)
    weights = Run(parts).load_checkpoint()["model"]["encoder.0.weight"]
    assert len(weights) == 3
    assert not torch.equal(weights[0], weights[1])


def test_lines_written_after_the_checkpoint_are_written_again(tmp_path, train):
    """A kill between the log and the checkpoint leaves such lines."""
    straight = train(tmp_path, "straight", *SMALL, "--epochs", 4)
    run = Run(train(tmp_path, "a", *SMALL, "--epochs", 2))
    run.append_log({"epoch": 3, "loss": -1.0})
    train(tmp_path, "a", "--resume", "a", "--epochs", 4)
    assert_same_run(run.path, straight)


@pytest.mark.parametrize(
    "flags",
    [
        "--lr 0.1",
        "--seed 1",
        "--batch-size 8",
        "--beta 2",
        "--hidden-dims 8",
        "--data wine",
        "--test-fraction 0.3",
        "--n-rows 500",
        "--n-columns 4",
        "--preset classic",
        "--schedule onecycle",
        "--hide-rate 0.5",
        "--real student",
        "--kind a=real",
        "--columns kinds.json",
        "--run b",
        "--overwrite",
    ],
)
def test_other_flags_are_refused_on_resume(tiny_run, tmp_path, call, flags):
    run = shutil.copytree(tiny_run, tmp_path / "a")
    before = bytes_of(run)
    result = call("train", "--resume", "a", "--runs-dir", tmp_path, *shlex.split(flags))
    assert result.code == 2
    flag = flags.split()[0]
    assert result.err.startswith(f"error: {flag} cannot change on --resume; allowed: ")
    assert result.err.count("\n") == 1
    assert bytes_of(run) == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_fewer_epochs_are_not_claimed(tiny_run, tmp_path, call):
    run = Run(shutil.copytree(tiny_run, tmp_path / "a"))
    call("train", "--resume", "a", "--runs-dir", tmp_path, "--epochs", 1)
    checkpoint = assert_whole(run)
    assert checkpoint["position"]["epoch"] == 2
    assert checkpoint["config"].asked.training.epochs >= 2  # refused, or kept at what was trained


# Early stopping


@pytest.fixture(scope="module")
def stopped(tmp_path_factory, train):
    """A run that stopped early, and a straight one that ends at its best epoch."""
    runs_dir = tmp_path_factory.mktemp("stopped")
    run = Run(train(runs_dir, "a", *STOPPING))
    epoch = run.load_checkpoint()["best"]["epoch"]
    flags = (*STOPPING, "--patience", 0, "--epochs", epoch)
    return run, Run(train(runs_dir, "straight", *flags))


def test_early_stopping_keeps_the_best_epoch(stopped):
    run, straight = stopped
    checkpoint, losses = run.load_checkpoint(), [r["val_loss"] for r in run.read_log()]
    best = checkpoint["best"]
    assert best["epoch"] == 1 + int(np.argmin(losses)) == len(losses) - 8
    assert checkpoint["position"]["epoch"] == len(losses) < 900
    steps_per_epoch = 14  # 108 rows, eight at a time
    assert best["optimizers"]["vae"]["step"].item() == best["epoch"] * steps_per_epoch
    straight = straight.load_checkpoint()
    for part in ("model", "optimizers"):
        assert differences(best[part], straight[part]) == []
    assert differences(checkpoint["model"], straight["model"]) != []


def test_the_best_epoch_is_what_is_evaluated(stopped, call):
    run, straight = stopped
    metrics = []
    for one in stopped:
        flags = ("--runs-dir", one.path.parent, "--run", one.name, "--n-samples", 7)
        assert call("evaluate", *flags).code == 0
        metrics.append(json.loads(one.metrics.read_text()))
    assert metrics[0] == metrics[1]
    epoch = metrics[0]["epoch"]
    assert epoch == run.load_checkpoint()["best"]["epoch"]
    log = run.read_log()[:epoch]
    assert [record.pop("val_bound") for record in log] == [-record["val_loss"] for record in log]
    assert straight.read_log() == log


@pytest.mark.parametrize("objective", ["iwae", "dreg"])
def test_patience_chooses_by_the_bound_that_training_climbs(tmp_path, train, objective):
    """The ELBO of such a model falls from the first epochs on, while log p(x) still rises."""
    flags = ("--data", "iris", "--batch-size", 16, "--lr", 0.01, "--patience", 6, "--epochs", 200)
    flags = (*flags, "--objective", objective, "--n-samples", 20)
    run = Run(train(tmp_path, "a", *flags))
    log, checkpoint = run.read_log(), run.load_checkpoint()
    bounds = [record["val_bound"] for record in log]
    losses = [record["val_loss"] for record in log]
    best = checkpoint["best"]["epoch"]
    assert best == 1 + int(np.argmax(bounds)) == len(log) - 6
    assert best > 1 + int(np.argmin(losses))  # where the ELBO was best
    assert checkpoint["position"]["best_elbo"] == max(bounds)
    assert all(bound > -loss for bound, loss in zip(bounds, losses, strict=True))
    # The bound of the held-out rows, at the weights that were kept.
    fitted, epoch = run.load()
    assert epoch == best
    x = torch.from_numpy(run.read_rows()[1].x)
    with fixed_randomness():
        log_px = fitted.model.log_px(x, n_samples=64).mean().item()
    assert log_px == pytest.approx(max(bounds), abs=1e-5)
    parts = train(tmp_path, "parts", *flags, "--patience", 1)
    train(tmp_path, "parts", "--resume", "parts", "--patience", 6)
    assert_same_run(parts, run.path)


@pytest.mark.slow
def test_early_stopping_survives_a_kill(start, tmp_path, train):
    flags = (*STOPPING, "--patience", 20, "--checkpoint-seconds", 0)
    straight = train(tmp_path / "straight", "a", *flags)
    last = len(Run(straight).read_log())
    run = Run(tmp_path / "runs" / "a")
    process = start("--run", "a", *flags)
    # In the wait for a better epoch, where the best one is no longer the last.
    assert wait_for(lambda: run.log.exists() and len(run.read_log()) > last - 15, process)
    assert kill(process), "it ended by itself: nothing was tested"
    assert assert_whole(run)["best"]["epoch"] == last - 20
    assert_same_run(train(run.path.parent, "a", "--resume", "a"), straight)


def test_more_patience_equals_a_straight_more_patient_run(tmp_path, train):
    straight = train(tmp_path, "straight", *STOPPING, "--patience", 12)
    train(tmp_path, "parts", *STOPPING, "--patience", 2)
    parts = train(tmp_path, "parts", "--resume", "parts", "--patience", 12)
    assert_same_run(parts, straight)


def test_patience_that_begins_on_resume_waits_its_turn(tmp_path, train, call):
    """Earlier epochs have no held-out bounds, so no epoch is worse than they are."""
    run = Run(train(tmp_path, "a", *SMALL, "--epochs", 5))
    result = call("train", "--resume", "a", "--runs-dir", tmp_path, "--epochs", 9, "--patience", 3)
    assert "best in epoch 0" not in result.out
    checkpoint = assert_whole(run)
    if result.code == 0:
        assert checkpoint["position"]["epoch"] >= 8
        assert checkpoint["best"]["epoch"] > 0
    else:
        assert result.code == 2
        assert checkpoint["position"]["epoch"] == 5


def test_patience_that_ends_on_resume_ends_the_best_epoch_too(tmp_path, train, call):
    run = Run(train(tmp_path, "a", *STOPPING, "--patience", 2))
    epoch = run.load_checkpoint()["position"]["epoch"] + 3
    train(tmp_path, "a", "--resume", "a", "--patience", 0, "--epochs", epoch)
    assert call("evaluate", "--runs-dir", tmp_path, "--run", "a", "--n-samples", 3).code == 0
    assert json.loads(run.metrics.read_text())["epoch"] == epoch


# Divergence


def test_a_diverged_run_keeps_its_last_checkpoint(tmp_path, call):
    flags = ("--run", "a", "--runs-dir", tmp_path, "--lr", 1e30, "--epochs", 2)
    result = call("train", *flags)
    assert result.code == 2
    assert result.err.startswith("error: ")
    assert result.err.count("\n") == 1
    assert "diverged in epoch 1" in result.err
    checkpoint = assert_whole(Run(Path(tmp_path) / "a"))
    assert all(value.isfinite().all() for value in checkpoint["model"].values())


# Kills and company


def test_figures_of_a_run_killed_before_its_second_checkpoint(tmp_path, train, call):
    """The log is ahead of the checkpoint; evaluating the run is enough to draw it."""
    run = Run(train(tmp_path, "a", *SMALL, "--epochs", 1))
    ahead = {**run.read_log()[-1], "epoch": 2}
    run.append_log(ahead)
    where = ("--runs-dir", tmp_path, "--run", "a")
    assert call("evaluate", *where, "--n-samples", 3).code == 0
    result = call("plot_results", *where)
    assert result.code == 0, result.err
    assert "training_curves.png" in result.out
    assert json.loads(run.metrics.read_text())["epoch"] == 1


def test_two_processes_do_not_train_one_run(tiny_run, tmp_path, call):
    run = Run(shutil.copytree(tiny_run, tmp_path / "a"))
    with run.locked():
        before = bytes_of(run.path)
        result = call("train", "--resume", "a", "--runs-dir", tmp_path, "--epochs", 9)
    assert result.code == 2
    assert result.err.endswith("is being trained by another process\n")
    assert bytes_of(run.path) == before
    assert call("train", "--resume", "a", "--runs-dir", tmp_path, "--epochs", 3).code == 0


def test_leftovers_of_a_kill_are_removed_and_nothing_else(tiny_run, tmp_path, call):
    run = shutil.copytree(tiny_run, tmp_path / "a")
    (run / ".ipynb_checkpoints").mkdir()
    for name in (".checkpoint.pt.x1y2", ".mine"):
        (run / name).write_bytes(b"")
    assert call("train", "--resume", "a", "--runs-dir", tmp_path).code == 0
    hidden = {path.name for path in run.glob(".*")}
    assert hidden == {".ipynb_checkpoints", ".mine", ".lock"}
