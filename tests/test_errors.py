"""parts/errors.py, finite.py and memory.py: one line for whatever goes wrong, before it does."""

import json

import numpy as np
import pytest

from parts import memory
from parts.errors import UserError, reason, stage
from parts.finite import finite


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (ImportError("no zstd\nsecond line"), "no zstd"),
        (KeyError("model"), "'model' is missing"),
        (MemoryError(), "there is too little memory"),
        (OSError(28, "No space left on device", "x"), "No space left on device"),
        (RecursionError("maximum"), "it is nested too deeply"),
        (TypeError(), "TypeError"),
        (UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid"), "it is not UTF-8 text"),
        (ValueError("EOF", (2, 0)), "EOF"),
    ],
)
def test_a_stage_makes_one_line_of_every_error(error, why):
    assert reason(error) == why
    with pytest.raises(UserError) as end, stage("a.csv cannot be read", "mend it"):
        raise error
    assert str(end.value) == f"a.csv cannot be read, because {why}; mend it"
    assert end.value.__cause__ is error


@pytest.mark.parametrize("error", [KeyboardInterrupt, NameError, SystemExit, UserError])
def test_a_stage_lets_pass_what_is_no_fault_of_a_file(error):
    with pytest.raises(error) as end, stage("a.csv cannot be read"):
        raise error("as it is")
    assert str(end.value) == "as it is"


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_numbers_that_mean_nothing_do_not_leave(bad):
    assert finite("scores", np.arange(3.0)).tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="^1 of 3 scores are not finite numbers: the run has"):
        finite("scores", np.array([0.0, bad, 1.0]))


def test_what_does_not_fit_is_refused_with_what_would(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    memory.refuse_beyond_memory("--n 90", 90, 10, "rows")
    words = "--n 91 would take 910 bytes of memory, and 900 bytes are free: at most 90 rows fit"
    with pytest.raises(UserError, match=f"^{words}$"):
        memory.refuse_beyond_memory("--n 91", 91, 10, "rows")


def test_free_memory_is_the_least_of_what_limits_it(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    alone = memory.free_bytes()
    assert 10**7 < alone < 10**14
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("5000\n")
    assert memory._of_container() == np.inf
    (tmp_path / "memory.max").write_text("70000\n")
    assert memory.free_bytes() == 65_000


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [(0, "0 bytes"), (1500, "1.5 kB"), (10**9, "1 GB"), (3 * 10**17, "300,000 TB")],
)
def test_bytes_in_words(n_bytes, words):
    assert memory.shown(n_bytes) == words


# What would not fit, of each command; the memory is that of a small machine


HUGE = (
    "detect t.csv --run a --n-samples 1000000000",
    "generate --run a --n 1000000000",
    "generate t.csv --n 1000000000",
    "impute t.csv --run a --draws 1000000000",
    "impute t.csv --run a --n-samples 1000000000",
    "train --hidden-dims 1000000000",
    "train --latent-dim 1000000000",
    "train --members 1000000000",
    "train --model vqvae --n-codes 1000000000",
    "train --n-columns 1000000000",
    "train --n-rows 1000000000",
    "train --prior mixture --prior-components 1000000000",
    "tune --data t.csv --trials 1000000000",
    "tune --data t.csv --workers 1000000000",
)


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train):
    folder = tmp_path_factory.mktemp("memory")
    rng = np.random.default_rng(0)
    lines = [f"{a:.2f},{b:.2f}" for a, b in rng.normal(size=(30, 2))]
    (folder / "t.csv").write_text("\n".join(["a,b", *lines, "1.5,"]) + "\n")
    train(folder / "runs", "a", "--data", folder / "t.csv", "--epochs", 1, "--threads", 1)
    return folder


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", HUGE)
def test_what_cannot_fit_is_refused_at_once(call, monkeypatch, command):
    monkeypatch.setattr(memory, "free_bytes", lambda: 2**30)
    done = call(*command.split())
    assert done.code == 2
    assert "fit" in done.err or "expected a whole number from" in done.err
    assert done.err.count("\n") == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("header", [(10**12, 3), (3, 10**12)])
def test_an_array_is_not_read_that_says_it_is_larger_than_memory(call, tmp_path, header):
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {header}, }}"
    head = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    (tmp_path / "x.npy").write_bytes(head + bytes(800))
    done = call("data", "--data", "x.npy")
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert "x.npy: its array of shape" in done.err


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "text", ["[" * 100_000, json.dumps({"a": {"kind": ["real"]}}), '{"a": "\\ud800"}', "[1, 2"]
)
@pytest.mark.parametrize("flag", ["--columns", "--config", "--relations"])
def test_json_of_any_shape_is_refused_in_a_line(call, tmp_path, flag, text):
    (tmp_path / "c.json").write_text(text)
    done = call("train", "--data", "t.csv", flag, "c.json", "--epochs", 1)
    assert (done.code, done.err.count("\n")) == (2, 1)
