"""parts/console/script.py: exit codes, tracebacks, streams that are closed or know few letters."""

import os
import subprocess

import pytest

from parts.console.script import run_script
from parts.errors import UserError, stage


def ended(main, monkeypatch, capsys, *argv):
    """The exit code of main() and what it wrote on stderr."""
    monkeypatch.setattr("sys.argv", ["x.py", *argv])
    with pytest.raises(SystemExit) as end:
        run_script(main)
    return end.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (OSError(28, "No space left on device"), 2, "error: [Errno 28] No space left on device\n"),
        (UserError("a\nb"), 2, "error: a\\nb\n"),
    ],
)
def test_an_error_is_one_line(monkeypatch, capsys, error, code, line):
    def main():
        raise error

    assert ended(main, monkeypatch, capsys) == (code, line)


def test_a_fault_of_the_program_names_its_place(monkeypatch, capsys):
    def main():
        {}["key"]

    code, err = ended(main, monkeypatch, capsys)
    assert code == 1
    assert err.startswith("error: KeyError in test_script.py, line ")
    assert err.endswith(
        "'key' is missing. This is a fault of the program; --debug shows how it came about\n"
    )


def test_debug_shows_where_an_error_came_from(monkeypatch, capsys):
    def main():
        with stage("a.csv cannot be read"):
            int("x")

    code, err = ended(main, monkeypatch, capsys, "--debug")
    assert code == 2
    assert "Traceback" in err
    assert 'int("x")' in err
    assert err.endswith(
        "error: a.csv cannot be read, because invalid literal for int() with base 10: 'x'\n"
    )


def test_every_script_knows_debug(call):
    done = call("data", "--data", "none.csv", "--debug")
    assert done.code == 2
    assert "Traceback" in done.err
    assert done.err.endswith("error: none.csv: no such file\n")


@pytest.mark.parametrize("closed", ["0<&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_streams_may_be_closed(script, tmp_path, closed):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i}.5,{i % 3}\n" for i in range(40)))
    command = " ".join(script.command("data", "--data", "t.csv"))
    done = subprocess.run(
        f"{command} {closed}", shell=True, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("" if "1>" in closed else "Data: t.csv")
    command = " ".join(script.command("data", "--data", "none.csv"))
    done = subprocess.run(f"{command} {closed}", shell=True, cwd=tmp_path, check=False)
    assert done.returncode == 2


def test_a_terminal_may_know_few_letters(script, tmp_path):
    lines = "".join(f"{i}.5,{'äöü'[i % 3]}\n" for i in range(40))
    (tmp_path / "t.csv").write_text("größe,b\n" + lines, encoding="utf-8")
    env = script.environment() | {"PYTHONIOENCODING": "ascii"}
    command = script.command("data", "--data", "t.csv")
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, check=False)
    assert done.returncode == 0
    assert rb"gr\xf6\xdfe" in done.stdout


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no full device")
def test_a_full_disk_under_stdout_is_an_error(script, tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{i}.5,{i % 3}\n" for i in range(40)))
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            script.command("data", "--data", "t.csv"),
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (2, "error: [Errno 28] No space left on device\n")
