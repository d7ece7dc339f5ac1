"""Fixtures: the scripts called in process or as processes, and one small trained run."""

import contextlib
import importlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: workers share the cores
# torch sums in an order that depends on the vector instructions that a process finds; with these,
# which all processors have, each process of the tests rounds alike.
os.environ.setdefault("ATEN_CPU_CAPABILITY", "default")

import hypothesis
import numpy as np
import pytest

from parts.console import flags
from parts.console.script import run_script as cli_run_script

REPOSITORY = Path(__file__).resolve().parent.parent
SCRIPTS = tuple(
    sorted(path.stem for path in REPOSITORY.glob("*.py") if "run_script(main)" in path.read_text())
)

# Hypothesis draws no new examples from run to run: a red test is about the change.
hypothesis.settings.register_profile("fixed", derandomize=True, deadline=None)
hypothesis.settings.load_profile("fixed")


def script_command(name, *args):
    return [sys.executable, str(REPOSITORY / f"{name}.py"), *map(str, args)]


def script_environment():
    """Ours, without what would change a script's output."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONWARNINGS", "TQDM_DISABLE")}


def _run_script(name, *args, cwd):
    return subprocess.run(
        script_command(name, *args),
        cwd=cwd,
        env=script_environment(),
        capture_output=True,
        text=True,
        timeout=600,  # however busy the machine; what hangs ends all the same
        check=False,
    )


def _call(name, *args):
    """What `python name.py args` does, in this process: code, stdout, stderr."""
    main = importlib.import_module(name).main
    out, err, argv = io.StringIO(), io.StringIO(), sys.argv
    sys.argv = [f"{name}.py", *map(str, args)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli_run_script(main)
    except SystemExit as end:
        if "This is a fault of the program" in err.getvalue():
            raise AssertionError(err.getvalue()) from end.__context__
        return SimpleNamespace(code=end.code or 0, out=out.getvalue(), err=err.getvalue())
    finally:
        sys.argv = argv
    raise AssertionError("run_script returned instead of exiting")


def _train(runs_dir, name, *args):
    """A new run, or more of one when `--resume` is among the arguments; its folder."""
    flags = () if "--resume" in args else ("--run", name)
    result = _call("train", "--runs-dir", runs_dir, *flags, *args)
    assert result.code == 0, result.err
    return Path(runs_dir) / name


@pytest.fixture(autouse=True)
def one_thread_and_seed():
    """Draws are the same in any order of the tests, whatever the one before left behind."""
    import torch  # here, after `parts`, which must come before it

    torch.set_num_threads(1)
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def run_script():
    """run_script(name, *args, cwd): a real process, as CompletedProcess with text."""
    return _run_script


@pytest.fixture(scope="session")
def script():
    """script.command(name, *args) and script.environment(), to start a process by hand."""
    return SimpleNamespace(command=script_command, environment=script_environment)


@pytest.fixture(scope="session")
def call():
    """call(name, *args): the same in process, where start-up would cost more than the test."""
    return _call


@pytest.fixture(scope="session")
def train():
    """train(runs_dir, name, *args): train in process, return the run's folder."""
    return _train


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A run of two epochs on iris; copy it before changing anything in it."""
    runs_dir = tmp_path_factory.mktemp("tiny")
    return _train(runs_dir, "tiny", "--data", "iris", "--epochs", "2")


@pytest.fixture
def folder(trained, tmp_path, monkeypatch):
    """A copy of the folder that a module's fixture `trained` made, as the current folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def few_steps(tmp_path, monkeypatch):
    """Commands train on a series for a moment, and draw little, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("parts.training.presets.MAX_STEPS", 6)
    monkeypatch.setattr("parts.forms.series.completion.ROUNDS", (2, 4))
    monkeypatch.setattr("parts.tasks.fill_windows.N_DRAWS", 40)


@pytest.fixture
def fetchers(monkeypatch):
    """scikit-learn's fetchers, answering with a few small pictures; a list of what was asked."""
    import sklearn.datasets
    from sklearn.utils import Bunch

    asked = []

    def openml(name, version, as_frame, n_retries):
        assert (version, as_frame) == (1, False)
        asked.append(({"mnist_784": "mnist", "Fashion-MNIST": "fashion"}[name], version))
        levels = np.arange(30 * 784).reshape(30, 784) % 256
        return Bunch(data=levels, target=np.array(list("0123456789" * 3), dtype=object))

    def olivetti(n_retries):
        asked.append(("olivetti", None))
        images = np.linspace(0, 1, 20 * 64 * 64, dtype=np.float32).reshape(20, 64, 64)
        return Bunch(images=images, target=np.repeat(np.arange(2), 10))

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", openml)
    monkeypatch.setattr(sklearn.datasets, "fetch_olivetti_faces", olivetti)
    return asked


@pytest.fixture
def parser_of(monkeypatch):
    """parser_of(name): the ArgumentParser that a script's main builds."""

    def build(name):
        found = []

        def stop(parser, *args, **options):
            found.append(parser)
            raise SystemExit

        with monkeypatch.context() as patch:
            patch.setattr(flags.Parser, "parse_args", stop)
            with pytest.raises(SystemExit):
                importlib.import_module(name).main([])
        return found[0]

    return build
