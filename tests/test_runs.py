"""A run's folder: written whole or not at all, numbered, found again; damaged files are refused."""

import contextlib
import json
import os
import pickle
import shutil
import stat
import time
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields

import numpy as np
import pytest
import torch

from parts import files, randomness, runs
from parts.errors import UserError
from parts.forms.tables.encoding import Column

CONFIG = {"data": "iris", "lr": 0.001}


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


@pytest.mark.parametrize("error", [ValueError, OSError, KeyboardInterrupt])
@pytest.mark.parametrize("before", [None, b"old"])
def test_write_atomic_leaves_what_was_there(tmp_path, error, before):
    path = tmp_path / "file"
    if before:
        path.write_bytes(before)

    def half(file):
        file.write(b"half")
        raise error

    with pytest.raises(error):
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
    """In its place, or where even moving it back fails at least on the disk."""
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


# Rows kept to compare others with

ROWS = {
    "x": np.arange(6.0, dtype=np.float32).reshape(2, 3),
    "mask": np.array([[True, False, True], [True, True, True]]),
    "held_x": np.ones((1, 3), np.float32),
    "held_mask": np.zeros((1, 3), bool),
}


def test_a_run_keeps_the_rows_it_was_given(tmp_path):
    run = make(tmp_path, rows=ROWS)
    for kept, given in zip(run.read_rows(), ROWS.values(), strict=True):
        assert kept.dtype == given.dtype
        np.testing.assert_array_equal(kept, given)


def test_a_run_without_rows_says_so(tmp_path):
    with pytest.raises(UserError, match=r"rows\.npz is missing: train the run again") as error:
        make(tmp_path).read_rows()
    assert one_line(error)


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 0.999])
def test_truncated_rows_are_refused(tmp_path, share):
    run = make(tmp_path, rows=ROWS)
    content = run.rows.read_bytes()
    run.rows.write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match=r"rows\.npz is damaged: train the run again") as error:
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
    run = make(tmp_path, rows={"x": ROWS["x"]})
    with pytest.raises(UserError, match=r"rows\.npz"):
        run.read_rows()


def test_nothing_in_the_rows_is_unpickled(tmp_path):
    marker, run = tmp_path / "marker", make(tmp_path / "runs", rows=ROWS)
    with run.rows.open("wb") as file:
        np.savez(file, **ROWS | {"x": np.array([Malicious(marker)], dtype=object)})
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
    records = [{"epoch": i, "loss": i / 3, "name": "ü\n"} for i in range(1, 6)]
    for record in records:
        run.append_log(record)
    assert run.read_log() == records
    assert run.log.read_text().count("\n") == 5
    run.trim_log(3)
    assert run.read_log() == records[:3]
    run.append_log(records[3])
    assert run.read_log() == records[:4]
    run.trim_log(0)
    assert run.log.read_bytes() == b""


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
    """As a full disk leaves it, and as another process may see it."""
    run = make(tmp_path)
    run.log.write_text('{"epoch": 1}\n' + half)
    assert run.read_log() == [{"epoch": 1}]
    run.trim_log(2)
    assert run.log.read_text() == '{"epoch": 1}\n'


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"{} {}"])
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
    refused(make(tmp_path, format=format_), "has format .*, expected")


@pytest.mark.parametrize("key", sorted(runs.CHECKPOINT_KEYS - {"format"}))
def test_a_missing_part_is_named(tmp_path, key):
    whole = checkpoint()
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
    """Without the guard it does write its marker: the two tests above can fail."""
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
    config = json.loads((tiny_run / "config.json").read_text())
    assert config == run.load_checkpoint()["config"] == run.config()
    assert config["data"] == "iris"
    assert config["epochs"] == 2
    assert {"python", "torch", "numpy"} <= set(config["versions"])
    assert [set(column) for column in config["columns"]] == 4 * [{f.name for f in fields(Column)}]
    assert config["scaling"] == "standard"


def test_a_real_run_keeps_training_and_held_out_rows(tiny_run):
    x, mask, held_x, held_mask = runs.Run(tiny_run).read_rows()
    assert (x.shape, held_x.shape) == ((108, 4), (12, 4))
    assert mask.all()
    assert held_mask.all()
    np.testing.assert_allclose(x.mean(0), np.zeros(4), atol=1e-6)
    np.testing.assert_allclose(x.std(0), np.ones(4), atol=1e-6)


def test_a_run_says_nothing_of_where_it_was_made(tiny_run):
    """A run folder can be renamed, moved and published."""
    for path in tiny_run.iterdir():
        if path.is_file():
            assert str(tiny_run.parent).encode() not in path.read_bytes(), path.name


def test_a_run_can_be_moved(tiny_run, tmp_path, call):
    shutil.copytree(tiny_run, tmp_path / "elsewhere" / "renamed")
    result = call(
        "evaluate", "--runs-dir", tmp_path / "elsewhere", "--run", "renamed", "--n-samples", 2
    )
    assert result.code == 0, result.err
    assert (tmp_path / "elsewhere" / "renamed" / "metrics.json").is_file()


# Random state


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
    checkpoint = runs.Run(run).load_checkpoint()
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
