"""parts/runs, files.py and randomness.py: folders are whole or absent, damaged files refused."""

import contextlib
import json
import os
import pickle
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
import torch
from PIL import Image

from parts import files, randomness, runs
from parts.errors import UserError
from parts.forms.base import Codec, Reference, Split, random_rows
from parts.forms.units import Column
from parts.runs import Run
from parts.runs.config import Config, Execution, RunConfig, resolve
from parts.tasks import score
from tests.conftest import REPOSITORY

ASKED = Config().replace(data="iris", lr=0.01, condition=["a"], kinds={"b": {"kind": "real"}})
CODEC = Codec("tables", [Column("a", condition=True), Column("b", shift=2.5)], (1,))
CONFIG = RunConfig(ASKED, CODEC, "0123", 7, Execution("cpu", 2), {"torch": "2.0"})
PLAIN = CONFIG.to_dict("runs/a")


def checkpoint(**changes):
    keys = {key: None for key in runs.CHECKPOINT_KEYS}
    return keys | {"format": runs.FORMAT, "config": CONFIG, "model": {"w": torch.ones(3)}} | changes


def make(runs_dir, name=None, overwrite=False, rows=None, **changes):
    return runs.create_run(runs_dir, name, overwrite, CONFIG, checkpoint(**changes), rows)


def entries(folder):
    return sorted(path.name for path in folder.iterdir())  # hidden ones too


def one_line(error):
    return "\n" not in str(error.value)


# Atomic writing


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, RuntimeError])
@pytest.mark.parametrize("before", [None, b"old"])
def test_write_atomic_leaves_what_was_there(tmp_path, error, before):
    path = tmp_path / "file"
    if before:
        path.write_bytes(before)

    def half(file):
        file.write(b"half")
        raise error

    with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else UserError):
        files.write_atomic(path, half)
    assert entries(tmp_path) == (["file"] if before else [])
    assert not before or path.read_bytes() == before


def test_write_atomic_replaces_and_is_readable_by_others(tmp_path):
    path = tmp_path / "file"
    for content in (b"first", b"second, longer", b"3"):
        files.write_atomic(path, lambda file, content=content: file.write(content))
        assert path.read_bytes() == content
    assert entries(tmp_path) == ["file"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644  # a temporary file's own mode is 0600


@pytest.fixture(params=[0o022, 0o077, 0o002])
def umask(request):
    """The user's, for the length of a test."""
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_umask_holds_for_what_is_written(tmp_path, umask):
    """Files get the permissions of the user's umask, private or for the group."""
    path = tmp_path / "file"
    files.write_atomic(path, lambda file: file.write(b"private"))
    assert mode(path) == 0o666 & ~umask
    path.chmod(0o600)
    files.write_json(path, {})  # what is replaced stays as private as it was
    assert mode(path) == 0o600
    run = make(tmp_path / "runs", "a", rows=ROWS)
    run.append_log({"epoch": 1})
    with run.locked():
        pass
    for path in (tmp_path / "runs", *(tmp_path / "runs").rglob("*")):
        assert mode(path) == (0o777 if path.is_dir() else 0o666) & ~umask, path


@pytest.mark.parametrize("named", [False, True])
def test_a_link_is_followed_and_its_target_keeps_its_mode(tmp_path, monkeypatch, named):
    if named:  # as where the system knows no files without a name
        monkeypatch.setattr(files, "can_name_later", lambda folder: False)
    target = tmp_path / "there" / "file"
    target.parent.mkdir()
    target.write_bytes(b"old")
    target.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(target)
    files.write_atomic(link, lambda file: file.write(b"new"))
    assert link.is_symlink()
    assert (target.read_bytes(), mode(target)) == (b"new", 0o640)
    assert entries(tmp_path) == ["link", "there"]
    assert entries(target.parent) == ["file"]


def test_a_long_name_can_be_written(tmp_path):
    path = tmp_path / ("a" * 250 + ".json")
    files.write_json(path, [1])
    assert json.loads(path.read_text()) == [1]


@pytest.mark.skipif(not hasattr(os, "O_TMPFILE"), reason="files have names from the start here")
def test_a_killed_process_leaves_nothing_beside_its_output(tmp_path):
    if not files.can_name_later(tmp_path):
        pytest.skip("files have names from the start on this file system")
    code = (
        "import os, signal; from parts import files\n"
        "def write(file):\n    file.write(b'half'); file.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"files.write_atomic({str(tmp_path / 'out.csv')!r}, write)"
    )
    env = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], env=env, check=False)
    assert done.returncode == -signal.SIGKILL
    assert entries(tmp_path) == []


def test_an_output_that_cannot_be_written_is_noticed_before_any_work(tmp_path, monkeypatch):
    out = tmp_path / "out.csv"
    files.refuse_output(out, False)
    assert entries(tmp_path) == []

    def refuse(path):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(files, "open_new", refuse)
        with pytest.raises(UserError, match="out.csv cannot be written, because Permission denied"):
            files.refuse_output(out, False)
    os.mkfifo(out)
    with pytest.raises(UserError, match="out.csv cannot be replaced: .* no plain file"):
        files.refuse_output(out, True)
    run = make(tmp_path / "runs", "a")
    with pytest.raises(UserError, match="a is a run, whose files are its own"):
        files.refuse_output(run.path / "rows.npz", True)


def test_arrays_may_have_any_name(tmp_path):
    arrays = {"file": np.arange(3), "args": np.array("x")}
    files.write_arrays(tmp_path / "a.npz", arrays)
    read = files.read_arrays(tmp_path / "a.npz", "again", ("file",))
    assert read["file"].tolist() == [0, 1, 2]
    assert str(read["args"]) == "x"


def test_json_has_no_nan(tmp_path):
    with pytest.raises(UserError, match="a.json cannot be written, because Out of range float"):
        files.write_json(tmp_path / "a.json", {"a": float("nan")})
    assert entries(tmp_path) == []


def test_write_atomic_shows_nothing_before_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = []

    def write(file):
        file.write(b"new")
        file.flush()
        seen.append(path.read_bytes())

    files.write_atomic(path, write)
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


def test_a_reader_sees_whole_files_only(tmp_path):
    path, sizes = tmp_path / "file", (10, 200_000)
    files.write_atomic(path, lambda file: file.write(b"0" * sizes[0]))
    with ThreadPoolExecutor(1) as pool:
        reads = pool.submit(lambda: {len(path.read_bytes()) for _ in range(300)})
        for i in range(40):
            files.write_atomic(path, lambda file, i=i: file.write(b"1" * sizes[i % 2]))
        assert reads.result() <= set(sizes)


# New runs


def test_runs_are_numbered(tmp_path):
    runs_dir = tmp_path / "not" / "yet"
    assert [make(runs_dir).name for _ in range(3)] == ["0001", "0002", "0003"]
    make(runs_dir, "named")
    make(runs_dir, "0041")
    assert make(runs_dir).name == "0042"
    assert entries(runs_dir) == ["0001", "0002", "0003", "0041", "0042", "named"]


def test_a_number_once_given_is_not_given_to_two(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda _: make(tmp_path).name, range(16)))
    assert sorted(names) == [f"{i:04d}" for i in range(1, 17)]
    assert entries(tmp_path) == sorted(names)


def test_a_new_run_is_whole(tmp_path):
    run = make(tmp_path, "a")
    assert run.path == tmp_path / "a"
    assert run.config() == CONFIG
    assert run.load_checkpoint()["model"]["w"].equal(torch.ones(3))
    assert run.read_log() == []
    assert stat.S_IMODE(run.path.stat().st_mode) == 0o755
    for path in (run.metrics, run.evaluation, run.rows, run.scores, run.imputed, run.generated):
        assert not path.exists()


def test_overwrite_replaces_and_only_when_asked(tmp_path):
    old = make(tmp_path, "a", model={"w": torch.zeros(1)})
    old.metrics.write_text("old")
    with pytest.raises(UserError, match=r"a exists; .*--overwrite") as error:
        make(tmp_path, "a")
    assert one_line(error)
    assert old.load_checkpoint()["model"]["w"].equal(torch.zeros(1))
    assert entries(tmp_path) == ["a"]
    new = make(tmp_path, "a", overwrite=True)
    assert new.load_checkpoint()["model"]["w"].equal(torch.ones(3))
    assert not new.metrics.exists()
    assert entries(tmp_path) == ["a"]
    assert make(tmp_path, "b", overwrite=True).path.is_dir()  # nothing there to replace


@pytest.mark.parametrize("n_failures", [1, 2])
def test_overwrite_that_fails_keeps_the_old_run(tmp_path, monkeypatch, n_failures):
    """The old run is back in its place, or on the disk where moving it back fails too."""
    old = make(tmp_path, "a", model={"w": torch.zeros(1)})
    rename, failures = os.rename, [OSError("disk full")] * n_failures

    def fail(source, target):
        if str(target) == str(tmp_path / "a") and failures:
            raise failures.pop()
        rename(source, target)

    monkeypatch.setattr(os, "rename", fail)
    with pytest.raises((OSError, UserError)):
        make(tmp_path, "a", overwrite=True)
    if n_failures == 1:
        assert entries(tmp_path) == ["a"]
    (kept,) = tmp_path.rglob("checkpoint.pt")
    assert kept == old.checkpoint or n_failures == 2
    assert runs.Run(kept.parent).load_checkpoint()["model"]["w"].equal(torch.zeros(1))


def test_a_run_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(Exception, match="pickle"):
        make(tmp_path, "a", model=lambda: None)
    assert entries(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["a/b", "../x", "", ".", "..", ".hidden", "-x", "a b", "a\n", "/a"]
)
def test_names_that_are_no_names(tmp_path, name):
    runs_dir = tmp_path / "runs"
    make(runs_dir, "other")
    with pytest.raises(UserError, match="expected a name of letters") as error:
        make(runs_dir, name)
    assert one_line(error)
    assert repr(name) in str(error.value)
    assert entries(runs_dir) == ["other"]
    assert entries(tmp_path) == ["runs"]


@pytest.mark.parametrize("name", ["a", "2024-05-01_b", "v1.2", "_x", "0001"])
def test_names_that_are_names(tmp_path, name):
    assert make(tmp_path, name).path == tmp_path / name


# Locks


def test_a_lock_says_that_another_holds_it_and_ends_with_its_block(tmp_path):
    with (
        files.locked(tmp_path, "it is busy"),
        pytest.raises(UserError, match="^it is busy$"),
        files.locked(tmp_path, "it is busy"),
    ):
        pytest.fail("two held one lock")
    with files.locked(tmp_path, "it is busy"):
        pass


def test_an_error_inside_a_lock_stays_what_it_is(tmp_path):
    """A full pipe raises BlockingIOError as well, and is no other process that trains."""
    run, error = make(tmp_path), BlockingIOError("write could not complete without blocking")
    with pytest.raises(BlockingIOError) as raised, run.locked():
        raise error
    assert raised.value is error
    with run.locked():  # and it has let go
        pass


def test_a_run_in_training_is_not_replaced(tmp_path):
    old = make(tmp_path, "a", model={"w": torch.zeros(1)})
    with old.locked(), pytest.raises(UserError, match="is being trained by another") as error:
        make(tmp_path, "a", overwrite=True)
    assert one_line(error)
    assert entries(tmp_path) == ["a"]
    assert old.load_checkpoint()["model"]["w"].equal(torch.zeros(1))
    new = make(tmp_path, "a", overwrite=True)
    assert new.load_checkpoint()["model"]["w"].equal(torch.ones(3))


def test_a_run_in_training_is_not_replaced_by_a_command(tiny_run, tmp_path, call):
    """The refusal comes before the data are read."""
    run = runs.Run(shutil.copytree(tiny_run, tmp_path / "a"))
    before = run.checkpoint.read_bytes()
    flags = ("--runs-dir", tmp_path, "--run", "a", "--overwrite", "--epochs", 1)
    with run.locked():
        results = [call("train", *flags, "--data", data) for data in ("iris", "nothing.csv")]
    for result in results:
        assert (result.code, result.out) == (2, "")
        assert result.err.endswith("is being trained by another process\n")
    assert run.checkpoint.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert call("train", *flags).code == 0


def test_a_run_in_use_is_trained_and_used_but_not_replaced(tmp_path):
    run = make(tmp_path, "a")
    with run.in_use(), run.in_use(), run.locked():
        pass
    with run.locked(), run.in_use():  # half-way through its training
        pass
    with run.in_use(), pytest.raises(UserError, match="is in use by another process") as error:
        make(tmp_path, "a", overwrite=True)
    assert one_line(error)
    with (
        run.replaceable(),
        pytest.raises(UserError, match="is being replaced by another process"),
        run.in_use(),
    ):
        pytest.fail("a run was used while another process replaced it")
    assert make(tmp_path, "a", overwrite=True).path == run.path


def test_a_lock_in_a_folder_that_was_replaced_meanwhile_holds_nothing(tmp_path, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    (tmp_path / "a").mkdir()

    def replace_first(handle, how):
        (tmp_path / "a").rename(tmp_path / "old")
        (tmp_path / "a").mkdir()

    monkeypatch.setattr(fcntl, "flock", replace_first)
    with pytest.raises(UserError, match="^busy$"), files.locked(tmp_path / "a", "busy"):
        pytest.fail("the lock is of the old folder")


def test_a_run_that_cannot_be_written_can_be_used(tmp_path, monkeypatch):
    run = make(tmp_path, "a")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # tests may run as root
    with run.in_use():
        assert not (run.path / ".use").exists()


def test_commands_refuse_a_run_that_is_being_replaced(tiny_run, tmp_path, call):
    """Each command waits for no lock, and writes nothing into a run that another replaces."""
    run = runs.Run(shutil.copytree(tiny_run, tmp_path / "a"))
    rows = tmp_path / "rows.npy"
    np.save(rows, np.zeros((3, run.config().codec.shape[0])))
    commands = {
        "evaluate": (),
        "plot_results": (),
        "generate": ("--out", tmp_path / "new.csv"),
        "detect": (rows,),
        "impute": (rows,),
    }
    before = set(run.path.rglob("*"))
    with run.replaceable():
        found = {
            name: call(name, *words, "--runs-dir", tmp_path, "--run", "a")
            for name, words in commands.items()
        }
    for name, result in found.items():
        assert result.code == 2, name
        assert "is being replaced by another process" in result.err, name
    locks = {run.path / ".lock", run.path / ".use"}
    assert set(run.path.rglob("*")) - locks == before - locks
    flags = ("--runs-dir", tmp_path, "--run", "a")
    with run.in_use():
        result = call("train", *flags, "--overwrite", "--epochs", 1)
        assert result.err.endswith(
            "is in use by another process; wait for it, or choose another --run\n"
        )
    with run.locked():
        assert call("evaluate", *flags, "--n-samples", 2).code == 0


# Rows kept to compare others with

TRAIN = Reference(
    np.arange(6.0, dtype=np.float32).reshape(2, 3),
    np.array([[True, False, True], [True, True, True]]),
)
HELD = Reference(np.ones((1, 3), np.float32), np.zeros((1, 3), bool))
ROWS = TRAIN, HELD


@pytest.mark.parametrize("y", [None, np.float32([[0, 1]])])
def test_a_run_keeps_the_rows_it_was_given(tmp_path, y):
    given = tuple(part._replace(y=y if y is None else y.repeat(len(part.x), 0)) for part in ROWS)
    found = make(tmp_path, rows=given).read_rows()
    for kept, part in zip(found, given, strict=True):
        for array, expected in zip(kept, part, strict=True):
            if expected is None:
                assert array is None
                continue
            assert array.dtype == expected.dtype
            np.testing.assert_array_equal(array, expected)


def test_a_run_without_rows_says_so(tmp_path):
    with pytest.raises(UserError, match=r"rows\.npz is missing: train the run again") as error:
        make(tmp_path).read_rows()
    assert one_line(error)


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_truncated_rows_are_refused(tmp_path, share):
    run = make(tmp_path, rows=ROWS)
    content = run.rows.read_bytes()
    run.rows.write_bytes(content[: int(share * len(content))])
    with pytest.raises(
        UserError, match=r"rows\.npz is damaged, because .*; train the run again$"
    ) as error:
        run.read_rows()
    assert one_line(error)


def test_rows_of_which_a_bit_flipped_are_refused(tmp_path):
    run = make(tmp_path, rows=ROWS)
    content = bytearray(run.rows.read_bytes())
    with zipfile.ZipFile(run.rows) as archive:
        info = archive.getinfo("x.npy")
    at = info.header_offset + 30 + len(info.filename) + info.compress_size // 2 + 20
    content[at] ^= 1
    run.rows.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        run.read_rows()


def test_rows_without_an_array_are_refused_by_a_user_error(tmp_path):
    run = make(tmp_path, rows=ROWS)
    with run.rows.open("wb") as file:
        np.savez(file, x=TRAIN.x)
    with pytest.raises(UserError, match=r"rows\.npz"):
        run.read_rows()


def test_nothing_in_the_rows_is_unpickled(tmp_path):
    marker, run = tmp_path / "marker", make(tmp_path / "runs", rows=ROWS)
    with run.rows.open("wb") as file:
        x = np.array([Malicious(marker)], dtype=object)
        np.savez(file, x=x, mask=TRAIN.mask, held_x=HELD.x, held_mask=HELD.mask)
    with pytest.raises(UserError, match="is damaged"):
        run.read_rows()
    assert not marker.exists()


# Finding runs


def test_the_newest_run_is_the_one_trained_last(tmp_path, capsys):
    first, second = make(tmp_path, "a"), make(tmp_path, "b")
    future = time.time_ns() + 10**9
    os.utime(first.checkpoint, ns=(future, future))
    (tmp_path / "notes").mkdir()
    (tmp_path / ".new-x").mkdir()
    shutil.copy(first.checkpoint, tmp_path / ".new-x" / "checkpoint.pt")
    assert runs.find_run(tmp_path).path == first.path
    assert str(first.path) in capsys.readouterr().out  # an unnamed run is named
    os.utime(second.checkpoint, ns=(future + 1, future + 1))
    assert runs.find_run(tmp_path).path == second.path


def test_a_run_is_found_by_name_and_by_folder(tmp_path, monkeypatch):
    run = make(tmp_path / "runs", "a")
    other = make(tmp_path / "elsewhere", "a")
    monkeypatch.chdir(tmp_path)
    assert runs.find_run("runs", "a").path.resolve() == run.path
    assert runs.find_run("runs", "elsewhere/a").path.resolve() == other.path
    assert runs.find_run("runs", str(other.path)).path == other.path
    assert runs.find_run("runs", "runs/a/").path.resolve() == run.path


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no runs in .*python train.py"):
        runs.find_run(tmp_path / "none")
    make(tmp_path, "a")
    with pytest.raises(UserError, match="b: no such run in .*there are: a$") as error:
        runs.find_run(tmp_path, "b")
    assert one_line(error)


# The log


def test_log_lines(tmp_path):
    run = make(tmp_path)
    records = [{"epoch": i, "loss": i / 3, "kl": None} for i in range(1, 6)]
    for record in records:
        run.append_log(record | {"kl": float("nan")})
    assert run.read_log() == records
    assert run.log.read_text().count("\n") == 5
    run.trim_log(3)
    assert run.read_log() == records[:3]
    run.append_log(records[3])
    assert run.read_log() == records[:4]
    run.trim_log(0)
    assert run.log.read_bytes() == b""


def test_a_line_that_the_disk_takes_half_of_leaves_the_log_whole(tmp_path, monkeypatch):
    run, write = make(tmp_path), os.write
    run.append_log({"epoch": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda handle, line: write(handle, line[: len(line) // 2]))
        with pytest.raises(UserError, match=r"metrics\.jsonl cannot be written, because No space"):
            run.append_log({"epoch": 2})
    run.append_log({"epoch": 3})
    assert run.read_log() == [{"epoch": 1}, {"epoch": 3}]


@pytest.mark.parametrize("line", ['{"epoch": "1"}', '{"epoch": 1, "loss": "x"}', "[" * 10_000])
def test_a_log_of_other_values_is_refused(tmp_path, line):
    run = make(tmp_path)
    run.log.write_text(line + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged") as error:
        run.read_log()
    assert one_line(error)


def test_a_checkpoint_on_a_full_disk_leaves_the_one_before(tmp_path, monkeypatch):
    run = make(tmp_path)
    before = run.checkpoint.read_bytes()

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="checkpoint.pt cannot be written, because No space left"):
        run.save_checkpoint(checkpoint(model={"w": torch.zeros(9)}))
    assert run.checkpoint.read_bytes() == before
    assert entries(run.path) == entries(Run(run.path).path)
    assert [name for name in entries(run.path) if name.startswith(".checkpoint")] == []


def test_ctrl_c_waits_until_torch_has_saved(tmp_path, monkeypatch):
    run, save, done = make(tmp_path), torch.save, []

    def interrupted(value, file):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        done.append(save(value, file))

    monkeypatch.setattr(torch, "save", interrupted)
    before = run.checkpoint.read_bytes()
    with pytest.raises(KeyboardInterrupt):
        run.save_checkpoint(checkpoint(model={"w": torch.zeros(9)}))
    assert len(done) == 1
    assert run.checkpoint.read_bytes() == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_flipped_bit_of_a_checkpoint_is_noticed(tiny_run, tmp_path):
    run = Run(shutil.copytree(tiny_run, tmp_path / "a"))
    content, rng, n_refused = run.checkpoint.read_bytes(), np.random.default_rng(0), 0
    weights = run.load_checkpoint()["model"]
    for bit in rng.integers(8 * len(content), size=100):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << (bit % 8)
        run.checkpoint.write_bytes(flipped)
        try:
            found = run.load_checkpoint()["model"]
        except UserError:
            n_refused += 1
            continue
        assert all(torch.equal(found[name], weights[name]) for name in weights)
    assert n_refused > 50


def saved_with(run, change):
    """Save the run's checkpoint anew, after `change(checkpoint)` changed it in place."""
    found = run.load_checkpoint()
    change(found)
    run.save_checkpoint(found)


def diverge(found):
    for name, value in found["model"].items():
        if value.is_floating_point():
            found["model"][name] = torch.full_like(value, 1e38)


def skip_every_step(found):
    found["position"] |= {"skipped": 99, "streak": 99}


@pytest.mark.parametrize("change", [diverge, skip_every_step])
def test_a_run_that_has_diverged_is_refused(tiny_run, tmp_path, call, change):
    run = Run(shutil.copytree(tiny_run, tmp_path / "a"))
    saved_with(run, change)
    for verb in ("evaluate", "generate"):
        out = () if verb == "evaluate" else ("--out", tmp_path / "x.csv")
        done = call(verb, "--run", run.path, *out)
        assert done.code == 2
        assert "a has diverged: its last steps were skipped" in done.err
    assert not (tmp_path / "x.csv").exists()


def test_training_that_learns_nothing_ends_with_an_error(tmp_path, call):
    flags = ("--runs-dir", tmp_path, "--run", "a", "--data", "iris", "--threads", 1)
    done = call("train", *flags, "--epochs", 2, "--lr", 1e25)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "diverged in epoch" in done.err
    done = call("generate", "--runs-dir", tmp_path, "--run", "a", "--out", tmp_path / "x.csv")
    assert done.code == 2
    assert not (tmp_path / "x.csv").exists()


WRONG_VALUES = {
    "batch_size": ("training", "x"),
    "columns": ("codec", 5),
    "data": ("data", ["a"]),
    "epochs": ("training", -1),
    "hidden_dims": ("model", [None]),
    "latent_dim": ("model", 2.5),
    "likelihood": ("model", "none"),
    "lr": ("training", float("inf")),
    "shape": ("codec", None),
    "threads": ("execution", "two"),
}


@pytest.mark.parametrize("name", WRONG_VALUES)
def test_a_value_of_another_type_in_a_config_is_refused(tiny_run, tmp_path, call, name):
    run = Run(shutil.copytree(tiny_run, tmp_path / "a"))
    plain = json.loads((run.path / "config.json").read_text())
    part, value = WRONG_VALUES[name]
    plain[part][name] = value
    (run.path / "config.json").write_text(json.dumps(plain))
    with pytest.raises(
        UserError, match=r"config\.json is damaged, because .*; train again"
    ) as error:
        run.config()
    assert one_line(error)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("held_mask", np.ones((15, 4), np.float32)),
        ("mask", np.ones((3, 4), bool)),
        ("x", np.array("x")),
        ("x", np.full((108, 4), np.nan, np.float32)),
        ("x", np.zeros((108, 3), np.float32)),
    ],
)
def test_rows_that_do_not_fit_their_run_are_refused(tiny_run, tmp_path, name, array):
    run = Run(shutil.copytree(tiny_run, tmp_path / "a"))
    arrays = files.read_arrays(run.rows, "") | {name: array}
    files.write_arrays(run.rows, arrays)
    with pytest.raises(UserError, match=r"rows\.npz is damaged, because .*; train") as error:
        run.load()
    assert one_line(error)


def test_a_suggested_command_quotes_the_name_of_its_run(tmp_path):
    run = Run(tmp_path / "x; touch pwned")
    assert shlex.split(run.flags(tmp_path)) == ["--run", run.name, "--runs-dir", str(tmp_path)]
    assert run.flags(tmp_path).startswith("--run 'x; touch pwned'")
    assert shlex.split(Run("runs/--help").flags("runs")) == ["--run", "runs/--help"]
    assert files.as_argument("-a b.csv") == "'./-a b.csv'"


def test_overwrite_leaves_a_run_with_other_files_in_it(tmp_path):
    run = make(tmp_path, "a")
    (run.path / "report").mkdir()
    make(tmp_path, "a", overwrite=True)
    (run.path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"a holds notes\.txt, which is not of a run"):
        make(tmp_path, "a", overwrite=True)
    assert (run.path / "notes.txt").read_text() == "mine"


def test_a_run_that_can_only_be_read_is_used(tmp_path, monkeypatch, capsys):
    run = make(tmp_path, "a")
    monkeypatch.setattr(os, "access", lambda path, how: False)
    run.save_result(run.scores, {"scores": np.ones(2)})
    assert not run.scores.exists()
    assert "a cannot be written, so scores.npz is not kept" in capsys.readouterr().out


def test_a_new_run_is_locked_before_others_see_it(tmp_path, monkeypatch):
    seen, move = [], os.rename

    def look(old, new):
        move(old, new)
        with pytest.raises(UserError, match="is being trained by another process"):
            runs.refuse_name(tmp_path, "a", True)
        seen.append(new)

    monkeypatch.setattr(os, "rename", look)
    with contextlib.ExitStack() as held:
        runs.create_run(tmp_path, "a", False, CONFIG, checkpoint(), None, held)
    assert seen == [tmp_path / "a"]
    runs.refuse_name(tmp_path, "a", True)  # the lock has ended with its block


def test_trimming_keeps_the_bytes_of_the_other_lines(tmp_path):
    run = make(tmp_path)
    for i, value in enumerate([0.1, 1e-300, -0.0, 1 / 3, None, 12345678901234567890], start=1):
        run.append_log({"epoch": i, "loss": value})
    before = run.log.read_bytes()
    run.trim_log(6)
    assert run.log.read_bytes() == before


def test_a_missing_log_is_empty(tmp_path):
    run = make(tmp_path)
    run.log.unlink()
    assert run.read_log() == []


@pytest.mark.parametrize("text", ['{\n{"epoch": 2}\n', '{"epoch": 1}\nnonsense\n', "\x00\n", "3\n"])
def test_a_damaged_log_is_refused(tmp_path, text):
    run = make(tmp_path)
    run.log.write_text(text)
    with pytest.raises(UserError, match="damaged") as error:
        run.trim_log(1)
    assert one_line(error)
    assert run.log.read_text() == text


@pytest.mark.parametrize("half", ["{", '{"epo', '{"epoch": 2}'])
def test_half_a_last_line_is_dropped(tmp_path, half):
    """A full disk leaves half a line, and another process may see one."""
    run = make(tmp_path)
    run.log.write_text('{"epoch": 1}\n' + half)
    assert run.read_log() == [{"epoch": 1}]
    run.trim_log(2)
    assert run.log.read_text() == '{"epoch": 1}\n'


def without(*names):
    """PLAIN as JSON, less what stands at that path of keys."""
    plain = json.loads(json.dumps(PLAIN))
    part = plain
    for name in names[:-1]:
        part = part[name]
    del part[names[-1]]
    return json.dumps(plain).encode()


PARTLY = [
    without("model"),
    without("codec", "columns"),
    without("source", "fingerprint"),
    json.dumps(PLAIN | {"model": {"depth": 3}}).encode(),
    json.dumps(PLAIN | {"execution": None}).encode(),
]


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"{} {}", *PARTLY])
def test_a_damaged_config_is_refused(tmp_path, content):
    run = make(tmp_path)
    (run.path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=r"config\.json is damaged") as error:
        run.config()
    assert one_line(error)
    (run.path / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json is missing"):
        run.config()


# Checkpoints that are not checkpoints


class Malicious:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def saved(tmp_path, value, **options):
    torch.save(value, tmp_path / "saved.pt", **options)
    return (tmp_path / "saved.pt").read_bytes()


def refused(run, match=None):
    with pytest.raises(UserError, match=match) as error:
        run.load_checkpoint()
    assert one_line(error)
    assert str(run.checkpoint) in str(error.value)


@pytest.mark.parametrize("share", [0, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999])
def test_a_truncated_checkpoint_is_refused(tmp_path, share):
    run = make(tmp_path, model={"w": torch.randn(5000)})
    content = run.checkpoint.read_bytes()
    run.checkpoint.write_bytes(content[: int(share * len(content))])
    refused(run, "cannot be loaded: truncated")


@pytest.mark.parametrize("n", [1, 2, 100, 10_000])
def test_random_bytes_are_refused(tmp_path, n):
    run = make(tmp_path)
    run.checkpoint.write_bytes(np.random.default_rng(n).bytes(n))
    refused(run, "cannot be loaded")


def test_other_files_are_refused(tmp_path):
    run = make(tmp_path)
    with zipfile.ZipFile(run.checkpoint, "w") as file:
        file.writestr("hello.txt", "hello")
    refused(run, "cannot be loaded")
    run.checkpoint.write_text("epoch,loss\n1,2\n")
    refused(run, "cannot be loaded")
    run.checkpoint.unlink()
    refused(run, "is missing")
    run.checkpoint.mkdir()
    refused(run)


@pytest.mark.parametrize("value", [3, [1, 2], {"a": 1}, torch.ones(2), {"state_dict": {}}, None])
def test_checkpoints_of_others_are_refused(tmp_path, value):
    run = make(tmp_path)
    run.checkpoint.write_bytes(saved(tmp_path, value))
    refused(run, "is not a checkpoint of this project")


@pytest.mark.parametrize("format_", [0, runs.FORMAT + 1, "1.0", None])
def test_another_format_is_refused(tmp_path, format_):
    refused(make(tmp_path, format=format_), "has format .*, expected 3")


@pytest.mark.parametrize("key", sorted(runs.CHECKPOINT_KEYS - {"format"}))
def test_a_missing_part_is_named(tmp_path, key):
    whole = checkpoint(config=PLAIN)
    del whole[key]
    run = make(tmp_path)
    run.checkpoint.write_bytes(saved(tmp_path, whole))
    refused(run, f"lacks .*'{key}'")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_nothing_in_a_pickle_is_executed(tmp_path, protocol):
    marker, run = tmp_path / "marker", make(tmp_path / "runs")
    run.checkpoint.write_bytes(pickle.dumps(Malicious(marker), protocol=protocol))
    refused(run, "nothing in it was executed")
    assert not marker.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["whole", "config", "model"])
def test_nothing_in_a_torch_file_is_executed(tmp_path, zipped, place):
    marker, run = tmp_path / "marker", make(tmp_path / "runs")
    bomb = Malicious(marker)
    value = bomb if place == "whole" else checkpoint(**{place: {"x": bomb}})
    run.checkpoint.write_bytes(saved(tmp_path, value, _use_new_zipfile_serialization=zipped))
    refused(run, "nothing in it was executed")
    assert not marker.exists()


def test_the_malicious_file_would_have_worked(tmp_path):
    """Without the guard the file does write its marker, so the two tests above can fail."""
    pickle.loads(pickle.dumps(Malicious(tmp_path / "marker"))).close()
    assert (tmp_path / "marker").exists()


# A real run


def walk(value, path="checkpoint"):
    yield path, value
    if type(value) is dict:
        for key, item in value.items():
            assert type(key) in (str, int), f"{path}: key {key!r}"
            yield from walk(item, f"{path}[{key!r}]")
    elif type(value) in (list, tuple):
        for i, item in enumerate(value):
            yield from walk(item, f"{path}[{i}]")


def test_a_checkpoint_holds_tensors_and_plain_types(tiny_run):
    loaded = torch.load(tiny_run / "checkpoint.pt", weights_only=True)
    plain = (dict, list, tuple, str, int, float, bool, type(None), torch.Tensor)
    leaves = dict(walk(loaded))
    assert {path: type(v) for path, v in leaves.items() if type(v) not in plain} == {}
    tensors = [v for v in leaves.values() if torch.is_tensor(v)]
    assert len(tensors) > 20  # weights, two moments of each, random state
    assert all(t.device.type == "cpu" and not t.requires_grad for t in tensors)


def test_config_json_is_the_checkpoints_config(tiny_run):
    run = runs.Run(tiny_run)
    plain = json.loads((tiny_run / "config.json").read_text())
    assert plain == torch.load(run.checkpoint, weights_only=True)["config"]
    config = run.config()
    assert config == run.load_checkpoint()["config"]
    assert plain["version"] == runs.FORMAT == 3
    assert plain["data"]["data"] == config.asked.data.data == "iris"
    assert plain["training"]["epochs"] == config.asked.training.epochs == 2
    assert {"python", "torch", "numpy"} <= set(plain["versions"])
    columns = plain["codec"]["columns"]
    assert [set(column) for column in columns] == 4 * [{f.name for f in fields(Column)}]
    assert plain["data"]["scaling"] == "standard"
    assert plain["source"]["n_train"] == config.n_train == 108
    assert plain["execution"] == {"device": config.execution.device, "threads": 1}


def test_a_real_run_keeps_training_and_held_out_rows(tiny_run):
    train, held = runs.Run(tiny_run).read_rows()
    assert (train.x.shape, held.x.shape) == ((108, 4), (12, 4))
    assert train.y is held.y is None
    assert train.mask.all()
    assert held.mask.all()
    np.testing.assert_allclose(train.x.mean(0), np.zeros(4), atol=1e-6)
    np.testing.assert_allclose(train.x.std(0), np.ones(4), atol=1e-6)


def test_a_run_says_nothing_of_where_it_was_made(tiny_run):
    """A run folder can be renamed, moved and published, so it holds no path."""
    for path in tiny_run.iterdir():
        if path.is_file():
            assert str(tiny_run.parent).encode() not in path.read_bytes(), path.name


def test_a_run_can_be_moved(tiny_run, tmp_path, call):
    found = []
    for path in (tmp_path / "runs" / "a", tmp_path / "elsewhere" / "renamed"):
        shutil.copytree(tiny_run, path)
        where = ("--runs-dir", path.parent, "--run", path.name)
        result = call("evaluate", *where, "--n-samples", 2)
        assert result.code == 0, result.err
        found.append(json.loads((path / "metrics.json").read_text()))
    assert found[0]["log_px"] == found[1]["log_px"]
    assert found[0]["test_mse"] == found[1]["test_mse"]


TABLE = "a,b,c,d\n" + "".join(
    f"{i * 0.37 % 1:.2f},{'xy'[i % 2]},{i % 6},{1 + i * 0.61 % 1:.3f}\n" for i in range(60)
)


@pytest.fixture
def project(tmp_path, train, monkeypatch):
    """A folder with a table and a run on it, made from inside by relative paths."""
    folder = tmp_path / "project"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "t.csv").write_text(TABLE)
    monkeypatch.chdir(folder)
    train("runs", "a", "--data", "data/t.csv", "--epochs", 1, "--threads", 1)
    monkeypatch.chdir(tmp_path)
    return folder


def works(call, runs_dir):
    """Whether the run a can be measured and goes on."""
    flags = ("--runs-dir", runs_dir, "--threads", 1)
    for command in (
        ("evaluate", "--run", "a", "--n-samples", 2, *flags),
        ("train", "--resume", "a", *flags),
    ):
        result = call(*command)
        assert (result.code, result.err) == (0, ""), command
    return True


def test_the_path_of_the_data_is_kept_from_the_run_and_absolute(project):
    plain = json.loads((project / "runs" / "a" / "config.json").read_text())
    assert plain["data"]["data"] == os.path.join("..", "..", "data", "t.csv")
    assert plain["source"]["absolute"] == {"data": os.path.realpath(project / "data" / "t.csv")}


@pytest.mark.parametrize("stays", [False, True])
def test_a_project_can_be_moved(project, tmp_path, call, stays):
    """Data and runs move together, even when other files take the old place of the data."""
    moved = tmp_path / "far" / "away"
    moved.parent.mkdir()
    project.rename(moved)
    if stays:
        (project / "data").mkdir(parents=True)
        (project / "data" / "t.csv").write_text(TABLE.replace("x", "z"))
    assert works(call, moved / "runs")
    flags = ("--config", moved / "runs" / "a" / "config.json", "--runs-dir", moved / "runs")
    assert call("train", *flags, "--run", "b").code == 0
    a, b = (runs.Run(moved / "runs" / name) for name in "ab")
    assert a.read_log() == b.read_log()
    assert a.config().fingerprint == b.config().fingerprint


def test_a_run_moved_alone_finds_its_data_where_they_were(project, tmp_path, call):
    shutil.move(project / "runs" / "a", tmp_path / "deep" / "er" / "a")
    assert works(call, tmp_path / "deep" / "er")


def test_a_run_is_found_from_another_folder(project, tmp_path, call, monkeypatch):
    for folder in (project, project / "data", project / "runs" / "a"):
        monkeypatch.chdir(folder)
        assert works(call, os.path.relpath(project / "runs"))


def test_data_that_are_nowhere_are_named(project, call):
    (project / "data" / "t.csv").unlink()
    result = call("evaluate", "--runs-dir", project / "runs", "--run", "a")
    assert result.code == 2
    assert result.err.endswith("t.csv: no such file\n")


# The config


def test_a_config_is_frozen_and_replaced_by_the_names_of_its_options():
    config = Config()
    other = config.replace(lr=0.5, latent_dim=3, data="iris")
    assert (other.training.lr, other.model.latent_dim, other.data.data) == (0.5, 3, "iris")
    assert (config.training.lr, config.model.latent_dim, config.data.data) == (
        (1e-3, 8, "synthetic")
    )
    assert {name for name, value in other.flat().items() if value != config.flat()[name]} == {
        *("lr", "latent_dim", "data")
    }
    with pytest.raises(UserError, match="no option is named depth"):
        config.replace(depth=3)
    with pytest.raises(FrozenInstanceError):
        config.training.lr = 1.0
    with pytest.raises(FrozenInstanceError):
        CONFIG.n_train = 1


def test_no_two_parts_of_a_config_have_an_option_of_one_name():
    names = [f.name for part in fields(Config) for f in fields(part.default_factory)]
    assert len(names) == len(set(names)) == len(Config().flat())


def test_what_is_asked_of_nothing_is_the_default_with_what_the_data_set_decides():
    changed = {"n_rows": 1000, "val_fraction": 0.0, "test_fraction": 0.2, "likelihood": "gaussian"}
    changed |= {"preset": "density", "noise": None}
    assert resolve({}).flat() == Config().flat() | changed
    assert resolve({"data": "iris"}).data.val_fraction == 0.1
    assert resolve({"data": "iris", "val_fraction": 0.3}).data.val_fraction == 0.3


def test_a_config_goes_through_plain_values(tmp_path):
    (tmp_path / "t.csv").write_text(TABLE)
    asked = ASKED.replace(data=str(tmp_path / "t.csv"), hidden_dims=[3, 4], flow="iaf:2")
    config = RunConfig(asked, CODEC, "0123", 7, Execution("cuda", 2), {"torch": "2.0"})
    plain = json.loads(json.dumps(config.to_dict(tmp_path / "runs" / "a")))
    found = RunConfig.from_dict(plain, tmp_path / "runs" / "a")
    assert os.path.realpath(found.asked.data.data) == os.path.realpath(tmp_path / "t.csv")
    assert found.asked.replace(data=asked.data.data) == asked
    assert (found.codec, found.fingerprint, found.n_train) == (CODEC, "0123", 7)
    assert (found.execution, found.versions) == (config.execution, config.versions)


# Runs of the version before

EARLIER = {
    "data": "t.csv",
    "condition": ["b"],
    "n_rows": None,
    "n_columns": 20,
    "n_informative": None,
    "data_seed": 42,
    "data_dir": None,
    "image_size": None,
    "grey": False,
    "test_fraction": 0.2,
    "val_fraction": 0.1,
    "split_seed": 42,
    "preset": "table",
    "epochs": 2,
    "batch_size": 128,
    "lr": 0.005,
    "schedule": "onecycle",
    "hidden_dims": [5, 4],
    "network": "mlp",
    "latent_dim": 8,
    "members": 3,
    "likelihood": "mixed",
    "variance": "shared",
    "real": "gaussian",
    "binarize": "none",
    "components": 1,
    "hide_rate": 0.5,
    "objective": "dreg",
    "n_samples": 5,
    "beta": 1.0,
    "warmup_epochs": 0,
    "cycles": 1,
    "capacity": None,
    "free_bits": 0.0,
    "flow": None,
    "prior": "normal",
    "prior_components": 50,
    "model": "vae",
    "n_codes": 64,
    "code_dim": 4,
    "commitment": 0.25,
    "gamma": 1.0,
    "seed": 0,
    "device": "cpu",
    "threads": 1,
    "patience": 0,
    "checkpoint_seconds": 30.0,
    "kinds": {"c": {"kind": "ordinal", "levels": list("543210")}, "d": "positive"},
    "scaling": "kinds",
    "mask_features": False,
    "columns": [{"name": "a", "kind": "real"}],
    "shape": [3],
    "data_hash": "35acc5657fe5a873",
    "versions": {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6"},
}


@pytest.fixture
def earlier(tmp_path, monkeypatch):
    """The folder of a run as format 2 wrote it, beside its table, in the current folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(TABLE)
    run = runs.Run("runs/old run")
    run.path.mkdir(parents=True)
    files.write_json(run.path / "config.json", EARLIER)
    torch.save(checkpoint(format=2, config=EARLIER), run.checkpoint)
    return run


OF_A_RUN = ["evaluate --run", "generate --run", "train --resume"]
OF_A_RUN += ["detect t.csv --run", "impute t.csv --run"]


@pytest.mark.parametrize("command", OF_A_RUN)
def test_a_run_of_the_version_before_is_refused_with_the_command_that_trains_it(
    earlier, call, command
):
    result = call(*command.split(), "old run")
    assert result.code == 2
    assert result.err.count("\n") == 1
    assert "has format 2, expected 3: it was written by another version" in result.err
    *_, line = result.err.rstrip().partition("python train.py ")
    args = shlex.split(line)
    assert args == ["--config", os.path.join("runs", "old run", "config.json"), "--run", "NEW"]
    assert call("train", *args).code == 0
    assert runs.Run("runs/NEW").config().asked.data.condition == ["b"]


@pytest.mark.usefixtures("earlier")
def test_the_config_of_a_run_trains_the_same_again(train):
    """Configs of this version, of the one before and of plain flags train to equal bits."""
    flags = ("--condition", "b", "--epochs", 2, "--hidden-dims", 5, 4, "--kind", "d=positive")
    files.write_json("kinds.json", {"c": EARLIER["kinds"]["c"]})
    flags = (*flags, "--columns", "kinds.json", "--threads", 1, "--device", "cpu")
    straight = runs.Run(train("runs", "straight", "--data", "t.csv", *flags))
    plain = {
        "data": "t.csv",
        "condition": ["b"],
        "epochs": 2,
        "hidden_dims": [5, 4],
        "threads": 1,
        "kind": ["d=positive"],
        "kinds_file": "kinds.json",
        "device": "cpu",
    }
    files.write_json("plain.json", plain)
    found = [
        runs.Run(train("runs", name, "--config", path))
        for name, path in (
            ("a", "runs/old run/config.json"),
            ("b", "runs/straight/config.json"),
            ("c", "plain.json"),
        )
    ]
    expected = straight.config()
    assert expected.asked.data.kinds == EARLIER["kinds"]
    assert [column.kind for column in expected.codec.columns] == (
        ["real", "binary", "ordinal", "positive"]
    )
    for run in found:
        assert run.config() == expected
        assert run.log.read_bytes() == straight.log.read_bytes()


@pytest.mark.usefixtures("earlier")
def test_flags_win_over_the_config_of_a_run(train):
    flags = ("--kind", "c=count", "--lr", 0.25, "--epochs", 1, "--real", "student")
    config = runs.Run(train("runs", "a", "--config", "runs/old run/config.json", *flags)).config()
    assert (config.asked.training.lr, config.asked.training.epochs) == (0.25, 1)
    assert config.asked.model.real == "student"
    assert config.asked.data.kinds == {"c": "count", "d": "positive"}
    assert config.asked.training.schedule == "onecycle"


@pytest.mark.parametrize(
    "flags",
    [
        "--data digits --model vqvae --n-codes 9 --code-dim 2",
        "--data digits --model vaegan",
        "--data sprites --n-rows 40 --likelihood logistic --components 2 --network conv",
        "--data iris --flow iaf:2 --hidden-dims",
        "--data iris --prior vamp --prior-components 7",
        "--data digits --condition label --grey --image-size 8",
    ],
)
def test_the_config_of_every_model_trains_the_same_again(tmp_path, train, flags):
    if "--grey" in flags:  # a folder of pictures
        make_folder(tmp_path / "pictures")
        flags = flags.replace("digits", str(tmp_path / "pictures"))
    more = ("--epochs", 1, "--batch-size", "full", "--threads", 1)
    first = train(tmp_path / "runs", "a", *flags.split(), *more)
    second = train(tmp_path / "runs", "b", "--config", first / "config.json")
    assert runs.Run(first).config() == runs.Run(second).config()
    assert runs.Run(first).log.read_bytes() == runs.Run(second).log.read_bytes()


def make_folder(path):
    """Two sub-folders, the labels, of six colour pictures each."""
    rng = np.random.default_rng(0)
    for label in "ab":
        (path / label).mkdir(parents=True)
        for i in range(6):
            picture = Image.fromarray(rng.integers(256, size=(10, 12, 3), dtype=np.uint8))
            picture.save(path / label / f"{i}.png")


# Random rows


@pytest.mark.parametrize("n", [0, 1, 99, 100])
def test_few_rows_are_all_taken_in_their_order(n):
    assert random_rows(n, 100).tolist() == list(range(n))


def test_of_many_rows_a_random_sample_is_taken_the_same_every_time():
    found = random_rows(10_000, 1000)
    assert len(set(found.tolist())) == 1000
    assert found.mean() == pytest.approx(5000, abs=4 * 10_000 / np.sqrt(12 * 1000))
    assert found.max() > 9900
    np.testing.assert_array_equal(found, random_rows(10_000, 1000))
    assert (found != random_rows(10_000, 1000, seed=1)).any()


def test_the_rows_that_a_run_keeps_are_a_random_sample():
    """Rows are often sorted in a file."""
    x = np.arange(1000, dtype=np.float32)[:, None]
    mask = np.ones_like(x)
    mask[500:] = 0
    found = Split(x, y=-x, mask=mask).sample(200)
    assert [part.shape for part in found[:3]] == 3 * [(200, 1)]
    assert found.mask.dtype == bool
    assert 400 < found.x.mean() < 600  # 4.9 standard errors
    np.testing.assert_array_equal(found.y, -found.x)
    np.testing.assert_array_equal(found.mask, found.x < 500)


def test_the_exemplars_of_a_score_are_a_random_sample(tiny_run, monkeypatch):
    fitted, _ = runs.Run(tiny_run).load()
    x = np.repeat(np.arange(400, dtype=np.float32)[:, None], 4, axis=1)
    train = Reference(x[:300], np.ones((300, 4), bool))
    held = Reference(x[300:], np.ones((100, 4), bool))
    monkeypatch.setattr(score, "N_EXEMPLARS", 100)
    rows = score.Scorer(replace(fitted, train=train, held=held)).rows.x[:, 0]
    assert len(set(rows.tolist())) == 100
    assert rows.mean() == pytest.approx(200, abs=58)  # 5 standard errors; the first have 50
    assert (rows >= 300).any()


# Random state


def test_the_random_state_of_a_device_that_is_not_computed_on_is_left_alone(monkeypatch):
    """Reading that state would start the device, which takes seconds and memory."""

    def touched(*args, **options):
        pytest.fail("the device was touched")

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name in ("get_rng_state_all", "set_rng_state_all", "manual_seed", "get_rng_state"):
        monkeypatch.setattr(torch.cuda, name, touched)
    state = randomness.random_state()
    assert state["cuda"] == []
    randomness.set_random_state(state)
    # As a run that was trained on such a device has it.
    randomness.set_random_state(state | {"cuda": [state["cpu"]]})
    with randomness.fixed_randomness(3):
        torch.rand(1)


def test_the_random_state_of_a_device_that_is_computed_on_goes_along(monkeypatch):
    kept, seeds = [torch.arange(3)], []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: [part.clone() for part in kept])
    monkeypatch.setattr(
        torch.cuda, "set_rng_state_all", lambda state: kept.__setitem__(0, state[0])
    )
    monkeypatch.setattr(torch.cuda, "manual_seed", seeds.append)
    with randomness.fixed_randomness(3):
        kept[0] = torch.zeros(3)
    assert kept[0].tolist() == [0, 1, 2]
    assert seeds == [3]


def states():
    return torch.get_rng_state().tolist(), [
        a.tolist() if isinstance(a, np.ndarray) else a
        for a in np.random.get_state()  # noqa: NPY002
    ]


def test_fixed_randomness_leaves_no_trace():
    before = states()
    with randomness.fixed_randomness():
        first = torch.randn(1000)
    assert states() == before
    with randomness.fixed_randomness():
        assert torch.randn(1000).equal(first)
    with randomness.fixed_randomness(1):
        assert not torch.randn(1000).equal(first)
    assert states() == before
    with contextlib.suppress(ZeroDivisionError), randomness.fixed_randomness():
        raise ZeroDivisionError(torch.randn(1))
    assert states() == before


def test_fixed_randomness_does_not_depend_on_what_was_drawn_before():
    draws = []
    for n in (0, 1, 17):
        torch.randn(n)
        with randomness.fixed_randomness():
            draws.append(torch.randn(5))
    assert draws[0].equal(draws[1])
    assert draws[0].equal(draws[2])


def test_random_state_goes_through_a_file(tmp_path):
    torch.randn(3)
    run = make(tmp_path, rng=randomness.random_state())
    # An odd number of normals: their generator keeps the second of a pair for the next call.
    expected = torch.rand(4), torch.randn(3), torch.randperm(10)
    randomness.set_random_state(run.load_checkpoint()["rng"])
    for value, draw in zip(
        expected, (torch.rand(4), torch.randn(3), torch.randperm(10)), strict=True
    ):
        assert draw.equal(value)


def test_overwrite_leaves_a_folder_that_is_no_run(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "a.txt").write_text("years of work")
    with pytest.raises(UserError, match="is not a run"):
        make(tmp_path, "thesis", overwrite=True)
    assert (tmp_path / "thesis" / "a.txt").read_text() == "years of work"
    assert entries(tmp_path) == ["thesis"]


@pytest.mark.parametrize("damage", ["shape", "absent", "more", "nan"])
def test_a_checkpoint_of_other_weights_is_refused(tmp_path, train, call, damage):
    run = train(tmp_path, "a", "--epochs", 1)
    checkpoint = torch.load(run / "checkpoint.pt", weights_only=True)
    weights = checkpoint["model"]
    name, weight = next(iter(weights.items()))
    if damage == "absent":
        del weights[name]
    else:
        other = {"shape": weight[:1], "more": weight, "nan": torch.full_like(weight, torch.nan)}
        weights[f"{name}2" if damage == "more" else name] = other[damage]
    torch.save(checkpoint, run / "checkpoint.pt")
    for flags in (("evaluate", "--run", "a"), ("train", "--resume", "a")):
        result = call(*flags, "--runs-dir", tmp_path)
        assert result.code == 2
        assert "checkpoint.pt does not hold the weights of its model" in result.err
        assert result.err.count("\n") == 1
    assert not (run / "metrics.json").exists()
