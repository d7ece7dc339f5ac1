"""Every script, README.md and docs/: the commands on the pages, what they print and write."""

import argparse
import json
import math
import re
import shlex
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import data as datasets
from benchmarks.start import INSTALL_LINES
from parts.forms import cells
from parts.forms.config import DataConfig
from parts.forms.tables import example
from parts.forms.tables.kinds import KINDS
from parts.runs import Run
from parts.training import presets
from tests.conftest import SCRIPTS

REPOSITORY = Path(__file__).resolve().parent.parent
REQUIRED = {
    "test_mse",
    "elbo",
    "log_px",
    "log_px_se",
    "kl",
    "active_units",
    "ess",
    "n_test",
    "n_samples",
    "baseline_mse_mean",
    "baseline_mse_pca",
    "baseline_log_px_gaussian",
    "baseline_log_px_diagonal",
    "log_px_user",
}


OUTPUTS = ("--out", "--example")  # flags that name a file to write


# The pages

PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((REPOSITORY / "docs").glob("*.md"))))


def text_of(page):
    return (REPOSITORY / page).read_text(encoding="utf-8")


def blocks_of(page):
    """Language and text of the page's fenced blocks, in order."""
    return re.findall(r"^```(\w*)\n(.*?)^```", text_of(page), re.M | re.S)


def steps_of(page):
    """What a reader types: the words of each `python ...` line, or a block of Python as text."""
    steps = []
    for language, block in blocks_of(page):
        if language == "python":
            steps.append(block)
            continue
        lines = block.replace("\\\n", " ").splitlines()
        lines = [line.removeprefix("$ ") for line in lines]
        commands = [line for line in lines if line.startswith("python ")]
        steps += [shlex.split(command, comments=True) for command in commands]
    return steps


def is_script(words):
    return words[1].removesuffix(".py") in SCRIPTS


def tiny(words):
    """The command of a page on little data: name and arguments; RUN stands for a run's name."""
    name, args = words[1].removesuffix(".py"), words[2:]
    if "RUN" in args:
        args[args.index("RUN")] = newest_run()
    if name == "train":
        args += ["--epochs", "3" if "--resume" in args else "2"]
    if name in ("evaluate", "detect", "impute"):
        args += ["--n-samples", "5"]
    if name == "tune":
        args += ["--epochs", "2", "--trials", "2"]
    if "--n-rows" in args:
        args += ["--n-rows", "60"]
    return name, args


def newest_run():
    made = [path.parent for path in Path("runs").glob("*/config.json")]
    return max(made, key=lambda run: run.stat().st_mtime_ns).name


def make_tables(words):
    """The user's files that a command reads and no other has written: any table will do."""
    x = np.random.default_rng(0).uniform(size=(40, 4))
    pictures = np.random.default_rng(0).integers(256, size=(12, 28, 28), dtype=np.uint8)
    if "DIR" in words and not Path("DIR").exists():
        Path("DIR").mkdir()
        for part in ("train", "t10k"):
            for what, array in (("images-idx3", pictures), ("labels-idx1", pictures[:, 0, 0] % 10)):
                header = struct.pack(f">{array.ndim + 1}i", 2048 + array.ndim, *array.shape)
                Path(f"DIR/{part}-{what}-ubyte").write_bytes(header + array.tobytes())
    if "photos/" in words and not Path("photos").exists():
        Path("photos").mkdir()
        for i, picture in enumerate(pictures):
            Image.fromarray(picture).save(f"photos/{i}.png")
    written = {after for flag, after in zip(words, words[1:], strict=False) if flag in OUTPUTS}
    for word in set(words[2:]) - written:
        path = Path(word)
        if path.suffix in (".csv", ".npy", ".npz") and not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".csv":
                np.savetxt(path, x, delimiter=",", header="a,b,c,d", comments="")
            elif path.suffix == ".npy":
                np.save(path, x)
            else:  # pictures like digits
                grey = pictures[:, :8, :8] / 255
                grey[0, 0] = np.nan if "holes" in path.name else 0
                np.savez(path, X=grey)


def test_the_manual_states_the_rules_by_which_kinds_are_told():
    text = text_of("docs/tables.md")
    for kind, rule in KINDS.items():
        assert f"| `{kind}` | {rule} |" in text
    for mark in cells.MISSING:
        assert f"`{mark}`" in text


@pytest.mark.parametrize(
    "flags",
    [
        "--data digits --capacity 5",
        "--data digits --val-fraction 0 --model vqvae",
        "--data synthetic --model vaegan",
        "--data sprites --n-rows 200 --prior vamp --likelihood logistic",
        "--data iris --patience 1 --objective iwae --n-samples 2",
    ],
)
def test_the_manual_explains_every_logged_name(tmp_path, train, call, flags):
    run = train(tmp_path, "a", *flags.split(), "--epochs", "1", "--batch-size", "full")
    factors = ["--factors"] if "sprites" in flags else []
    assert call("evaluate", "--runs-dir", tmp_path, "--n-samples", "2", *factors).code == 0
    names = set(json.loads((run / "metrics.json").read_text()))
    names |= set(json.loads((run / "metrics.jsonl").read_text().splitlines()[-1]))
    lines = text_of("docs/metrics.md").splitlines()
    rows = [line.split(" | ")[0] for line in lines if line.startswith("| `")]
    assert names <= set(re.findall(r"`(\w+)`", " ".join(rows))), names


def test_readme_has_the_three_basic_commands():
    commands = [" ".join(step) for step in steps_of("README.md") if isinstance(step, list)]
    for script in ("train", "evaluate", "plot_results"):
        assert f"python {script}.py" in commands


@pytest.fixture
def run_in_order(tmp_path, call, monkeypatch):
    """run_in_order(steps): in an empty folder, each with what those before it left there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "MIN_STEPS", 20)
    monkeypatch.setattr(presets, "MIN_EPOCHS", 1)
    monkeypatch.setattr(presets, "MIN_SCORED", 20)
    monkeypatch.setattr(presets, "MAX_STEPS", 60)
    monkeypatch.setattr("parts.forms.series.completion.ROUNDS", (2, 4))
    monkeypatch.setattr("parts.tasks.fill_windows.N_DRAWS", 40)
    monkeypatch.setattr(example, "N_ROWS", 400)

    def run(steps):
        for step in steps:
            if isinstance(step, str):
                exec(compile(step, "a block of a page", "exec"), {})
                continue
            make_tables(step)
            name, args = tiny(step)
            result = call(name, *args)
            assert result.code == 0, f"{shlex.join(step)}: {result.err}"
            assert result.err == ""

    return run


ELSEWHERE = {  # commands of the pages that are no scripts, and what runs them
    INSTALL_LINES[
        0
    ]: "benchmarks/start.py; test_the_lines_for_a_fresh_machine_are_those_that_are_timed",
    INSTALL_LINES[1]: ".ci/run",
    "python benchmarks/report.py": "test_a_page_is_rewritten_between_its_markers",
    "python benchmarks/report.py --check": ".ci/run and test_the_tables_are_those_of_the_results",
}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_run_by_a_test(page):
    commands = [step for step in steps_of(page) if isinstance(step, list) and not is_script(step)]
    assert {" ".join(words) for words in commands} <= set(ELSEWHERE)


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if steps_of(page)])
def test_the_commands_of_a_page_run(run_in_order, page):
    run_in_order([step for step in steps_of(page) if isinstance(step, str) or is_script(step)])


TOUR = """
python data.py --example survey.csv
python data.py --data survey.csv
python detect.py survey.csv --labels odd
python impute.py survey.csv --kind odd=ignore --check
python train.py --data survey.csv --kind odd=ignore
python evaluate.py
python generate.py --run RUN --n 1000 --out new.csv
python plot_results.py --run RUN
"""


@pytest.mark.slow
def test_the_verbs_run_one_after_another_on_the_example(run_in_order):
    run_in_order([shlex.split(line) for line in TOUR.strip().splitlines()])
    assert sorted(path.name for path in Path().glob("*.csv")) == [
        "new.csv",
        "survey.csv",
        "survey.imputed.csv",
        "survey.scored.csv",
    ]
    columns = Path("survey.csv").read_text().splitlines()[0]
    assert Path("new.csv").read_text().splitlines()[0] == columns
    assert len(Path("new.csv").read_text().splitlines()) == 1001
    runs = sorted(Path("runs").iterdir())
    assert [run.name for run in runs] == ["0001", "0002", "0003"]
    found = [Run(run).config().asked.training.preset for run in runs]
    assert found == ["detect", "impute", "table"]
    assert "detection.json" in {path.name for path in runs[0].iterdir()}
    assert "imputation.json" in {path.name for path in runs[1].iterdir()}
    assert {"generation.json", "metrics.json"} <= {path.name for path in runs[2].iterdir()}


# The default run, once in process and once as two processes


@pytest.fixture(scope="module")
def default(tmp_path_factory, call):
    """Folder, stdout of train.py and of evaluate.py, with the settings a user starts from."""
    folder = tmp_path_factory.mktemp("default")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        outputs = [call(name) for name in ("train", "evaluate")]
    assert [o.code for o in outputs] == [0, 0]
    return folder, *(o.out for o in outputs)


@pytest.fixture(scope="module")
def processes(tmp_path_factory, run_script):
    """Training and evaluation as real processes with piped output: folder and the two results."""
    folder = tmp_path_factory.mktemp("processes")
    return folder, *(run_script(name, cwd=folder) for name in ("train", "evaluate"))


def metrics_of(folder, name="0001"):
    return json.loads((folder / "runs" / name / "metrics.json").read_text())


def test_the_default_run_is_good(default):
    metrics = metrics_of(default[0])
    assert metrics["test_mse"] <= 0.80
    assert metrics["log_px"] >= -24.0
    # It has learnt something: closer than the mean, and denser than independent columns.
    assert metrics["test_mse"] < metrics["baseline_mse_mean"]
    assert metrics["log_px"] > metrics["baseline_log_px_diagonal"] + 3


def test_the_readme_shows_lines_that_are_printed(default):
    """Digits and spaces may differ, and a line that is cut on the page ends with three dots."""

    def form(line):
        return re.sub(r"[\d ]+", "#", line)

    outputs = [form(line) for out in default[1:] for line in out.splitlines()]
    block = next(block for _, block in blocks_of("README.md") if "Test MSE" in block)
    shown = block.split("python plot_results.py")[0].splitlines()
    shown = [line for line in shown if not line.startswith("python ")]
    assert len(shown) > 4
    for line in shown:
        start = form(line.removesuffix(" ..."))
        assert any(output.startswith(start) for output in outputs), line


def test_the_readme_gives_the_figures_of_this_code(default):
    """Other processors round differently; a change of the code moves results by more than that."""
    result = json.loads((REPOSITORY / "benchmarks/results/quality.json").read_text())
    metrics, written = metrics_of(default[0]), result["rows"][0]["seed_0"]
    assert metrics["test_mse"] == pytest.approx(written["test_mse"], abs=0.03)
    assert metrics["log_px"] == pytest.approx(written["log_px"], abs=0.5)
    for key in ("baseline_mse_pca", "baseline_log_px_gaussian", "baseline_log_px_diagonal"):
        assert metrics[key] == pytest.approx(written[key], rel=1e-4)


def test_flags_are_not_abbreviated(call):
    assert "--epoch" in call("train", "--epoch", 3).err


@pytest.mark.slow
def test_two_runs_of_one_seed_are_the_same(default, processes):
    a, b = (Run(folder / "runs" / "0001") for folder in (default[0], processes[0]))
    assert a.log.read_bytes() == b.log.read_bytes()
    assert a.metrics.read_bytes() == b.metrics.read_bytes()
    weights, others = (run.load_checkpoint()["model"] for run in (a, b))
    assert list(weights) == list(others)
    assert all(weights[key].equal(others[key]) for key in weights)
    assert default[1:] == tuple(result.stdout for result in processes[1:])


def test_another_seed_is_another_run(tmp_path, train):
    logs = []
    for seed in (0, 0, 1):
        run = train(tmp_path, f"s{len(logs)}", "--data", "iris", "--epochs", 1, "--seed", seed)
        logs.append(Run(run).log.read_bytes())
    assert logs[0] == logs[1] != logs[2]


def test_metrics_have_the_agreed_keys(default):
    metrics = metrics_of(default[0])
    assert set(metrics) >= REQUIRED
    for key in REQUIRED:
        assert type(metrics[key]) in (int, float), key
        assert math.isfinite(metrics[key]), key
    assert metrics["n_test"] == 200
    assert metrics["n_samples"] == 1000
    assert 0 <= metrics["active_units"] <= 8
    assert 1 <= metrics["ess"] <= 1000
    assert metrics["kl"] > 0
    # Jensen: the bound lies below, and one Gaussian fitted to all is denser than independent ones.
    assert metrics["elbo"] < metrics["log_px"]
    assert metrics["baseline_log_px_diagonal"] < metrics["baseline_log_px_gaussian"]
    assert metrics["baseline_mse_pca"] < metrics["baseline_mse_mean"]


def test_more_samples_tighten_the_bound(default, call, tmp_path):
    flags = ("--runs-dir", default[0] / "runs", "--run", "0001")
    before = Run(default[0] / "runs" / "0001").metrics.read_bytes()
    bounds = []
    for n in (1, 10, 100):
        assert call("evaluate", *flags, "--n-samples", n).code == 0
        bounds.append(metrics_of(default[0])["log_px"] - metrics_of(default[0])["elbo"])
    assert bounds == sorted(bounds)
    assert call("evaluate", *flags).code == 0
    assert Run(default[0] / "runs" / "0001").metrics.read_bytes() == before


# What is printed


def test_epoch_lines(default):
    folder, out, _ = default
    lines = [line for line in out.splitlines() if line.startswith("Epoch")]
    log = Run(folder / "runs" / "0001").read_log()
    assert [record["epoch"] for record in log] == list(range(1, 51))
    for line, epoch in zip(lines, (10, 20, 30, 40, 50), strict=True):
        match = re.fullmatch(rf"Epoch \[{epoch}/50\], Loss: (-?\d+\.\d{{4}})(, [^,]+)*", line)
        assert match, line
        assert match[1] == f"{log[epoch - 1]['loss']:.4f}"
    assert log[-1]["loss"] < log[0]["loss"]


def test_the_last_epoch_is_always_printed(tmp_path, call):
    out = call("train", "--runs-dir", tmp_path, "--data", "iris", "--epochs", 13).out
    assert re.findall(r"^Epoch \[(\d+)/13\]", out, re.M) == ["10", "13"]


def test_test_mse_line(default):
    folder, _, out = default
    lines = re.findall(r"^Test MSE: (\d+\.\d{4})$", out, re.M)
    assert lines == [f"{metrics_of(folder)['test_mse']:.4f}"]
    assert out.startswith("Run: runs/0001 (the newest)\n")
    assert out.endswith("Wrote runs/0001/metrics.json\n")


def test_the_next_commands_are_printed(default):
    end = default[1].splitlines()[-5:]
    assert end == [
        "Run: runs/0001",
        "Next:",
        "  python evaluate.py --run 0001",
        "  python plot_results.py --run 0001",
        "  python generate.py --run 0001",
    ]


@pytest.mark.parametrize("runs_dir", ["runs", "other", "my runs", "$HOME", "a;b"])
def test_the_printed_commands_run(tmp_path, call, monkeypatch, runs_dir):
    monkeypatch.chdir(tmp_path)
    out = call("train", "--data", "iris", "--epochs", 1, "--runs-dir", runs_dir).out
    next_lines = out.partition("Next:\n")[2].splitlines()
    assert [shlex.join(shlex.split(line)) for line in next_lines] == [n.strip() for n in next_lines]
    evaluate, plot, generate = (shlex.split(line) for line in next_lines)
    assert evaluate[:2] == ["python", "evaluate.py"]
    assert plot[:2] == ["python", "plot_results.py"]
    assert generate[:2] == ["python", "generate.py"]
    assert call("evaluate", *evaluate[2:], "--n-samples", 2).code == 0
    assert call("plot_results", *plot[2:], "--help").code == 0
    assert call("generate", *generate[2:], "--n", 2).code == 0


@pytest.mark.parametrize("name", ["t.csv", "my table.csv"])
def test_after_a_table_the_verbs_on_its_file_are_printed(tmp_path, call, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    mixed_table()
    Path("t.csv").rename(name)
    out = call("train", "--data", name, "--epochs", 1, "--run", "a").out
    next_lines = [shlex.split(line) for line in out.partition("Next:\n")[2].splitlines()]
    assert next_lines == [
        ["python", "evaluate.py", "--run", "a"],
        ["python", "plot_results.py", "--run", "a"],
        ["python", "detect.py", name, "--run", "a"],
        ["python", "impute.py", name, "--run", "a"],
        ["python", "generate.py", "--run", "a"],
    ]
    for _, script, *args in next_lines:
        samples = () if script == "plot_results.py" else ("--n-samples", 2)
        samples = ("--n", 2) if script == "generate.py" else samples
        result = call(script.removesuffix(".py"), *args, *samples)
        assert (result.code, result.err) == (0, ""), script


def test_after_pictures_no_verb_on_a_file_is_printed(tmp_path, call):
    """After a run on pictures there is no file of the user's to score or to fill."""
    flags = ("--data", "digits", "--epochs", 1, "--batch-size", "full", "--run", "a")
    out = call("train", "--runs-dir", tmp_path, *flags).out
    commands = [line.split()[1] for line in out.partition("Next:\n")[2].splitlines()]
    assert commands == ["evaluate.py", "plot_results.py", "generate.py"]


def test_the_printed_commands_find_a_run_given_by_its_folder(tmp_path, call, train, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train("elsewhere", "a", "--data", "iris", "--epochs", 1)
    out = call("train", "--resume", "elsewhere/a", "--epochs", 2).out
    evaluate, _, _ = (shlex.split(line) for line in out.partition("Next:\n")[2].splitlines())
    assert call("evaluate", *evaluate[2:], "--n-samples", 2).code == 0
    metrics = json.loads(Run("elsewhere/a").metrics.read_text())
    assert metrics["log_px"] >= metrics["elbo"]  # of the same two samples, by Jensen


@pytest.mark.slow
def test_piped_output_is_plain_text(processes):
    for result in processes[1:]:
        assert result.returncode == 0
        assert result.stderr == ""
        assert re.findall(r"[^\x20-\x7e\n±]", result.stdout) == []


def test_a_reader_that_goes_away_gets_no_traceback(script, tmp_path):
    process = subprocess.Popen(
        script.command("data", "--data", "iris"),
        cwd=tmp_path,
        env=script.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() != 0


def test_data_describes_a_table(tmp_path, call):
    table = tmp_path / "t.csv"
    rows = (f"{150 + i * i % 37},{50 + i % 7},x{i},{'ab'[i % 2]}\n" for i in range(40))
    table.write_text("height,weight,name,side\n" + "".join(rows))
    out = call("data", "--data", table).out
    assert "4 columns, of which 3 are modelled; rows: 28 train, 4 held out, 8 test" in out
    assert re.search(r"^  height +real +whole numbers", out, re.M)
    assert re.search(r"^  side +binary +a, b$", out, re.M)
    assert "Kept but not modelled: name (an identifier or free text" in out
    assert re.search(r"^  height: from 15\d to 18\d, median 1[67]\d$", out, re.M)
    assert re.search(r"^  weight: from 50 to 56, median 5\d$", out, re.M)


# Flags


@pytest.mark.parametrize("name", SCRIPTS)
def test_help(call, name):
    result = call(name, "--help")
    assert result.code == 0
    assert result.err == ""
    assert result.out.startswith(f"usage: {name}.py")


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_flag_has_a_help_sentence(parser_of, name):
    parser = parser_of(name)
    assert parser.description
    assert len(parser._actions) > 2
    for action in parser._actions:
        assert action.help, f"{name}.py {action.option_strings}: no help"
        assert action.help is not argparse.SUPPRESS
        assert len(action.help.split()) > 1, f"{name}.py {action.option_strings}: {action.help!r}"


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_default_in_the_help_is_the_default(parser_of, name):
    parser = parser_of(name)
    checked = 0
    for action in parser._actions:
        stated = re.search(r"\(default: ([\w.]+)\)$", action.help)
        value = action.default[0] if isinstance(action.default, list) else action.default
        if stated and value is not None:
            assert str(value) == stated[1] or float(value) == float(stated[1]), action.dest
            checked += 1
    assert checked >= 1


# Presets and settings


def test_the_classic_preset(tmp_path, train):
    run = Run(train(tmp_path, "a", "--preset", "classic"))
    config = run.config().asked.flat()
    assert config["hidden_dims"] == [8]
    assert config["batch_size"] == "full"
    assert config["variance"] == "fixed:1.0"
    assert config["preset"] == "classic"
    assert (config["latent_dim"], config["epochs"]) == (8, 50)
    assert len(run.read_log()) == 50
    steps = run.load_checkpoint()["optimizers"]["vae"]["step"].item()
    assert steps == 50  # one a epoch


def test_given_flags_win_over_the_preset(tmp_path, train):
    flags = ("--epochs", 3, "--preset", "classic", "--hidden-dims", "4", "5", "--latent-dim", 2)
    config = Run(train(tmp_path, "a", *flags)).config().asked.flat()
    assert config["epochs"] == 3
    assert config["hidden_dims"] == [4, 5]
    assert config["latent_dim"] == 2
    assert config["batch_size"] == "full"


@pytest.mark.parametrize(
    ("flags", "objective", "members"),
    [
        ("", "dreg", 3),
        ("--flow iaf:2", "iwae", 1),
        ("--flow iaf:2 --objective elbo", "elbo", 1),
        ("--prior mixture", "dreg", 1),
        ("--capacity 0", "elbo", 3),
        ("--free-bits 0.1 --preset impute", "elbo", 3),
        ("--prior vamp --preset impute", "dreg", 1),
        ("--model vqvae", "elbo", 1),
    ],
)
def test_a_preset_gives_way_to_a_variant(tmp_path, train, monkeypatch, flags, objective, members):
    monkeypatch.setattr(presets, "MIN_STEPS", 2)
    table = np.random.default_rng(0).normal(size=(50, 3))
    np.savetxt(tmp_path / "t.csv", table, delimiter=",", header="a,b,c", comments="")
    config = Run(train(tmp_path, "a", "--data", tmp_path / "t.csv", *flags.split())).config().asked
    assert (config.training.objective, config.model.members) == (objective, members)


def test_every_flag_is_saved(tmp_path, train):
    flags = {
        "--data": "wine",
        "--epochs": 1,
        "--batch-size": 20,
        "--lr": 0.01,
        "--hidden-dims": 5,
        "--latent-dim": 3,
        "--variance": "column",
        "--beta": 0.5,
        "--warmup-epochs": 2,
        "--patience": 4,
        "--seed": 6,
        "--split-seed": 7,
        "--test-fraction": 0.3,
        "--val-fraction": 0.2,
        "--checkpoint-seconds": 8,
        "--threads": 1,
    }
    run = train(tmp_path, "a", *(w for pair in flags.items() for w in pair))
    config, plain = Run(run).config(), json.loads((run / "config.json").read_text())
    saved = {**config.asked.flat(), "threads": config.execution.threads}
    nested = [part for part in plain.values() if type(part) is dict]
    for flag, value in flags.items():
        name = flag.removeprefix("--").replace("-", "_")
        value = [value] if flag == "--hidden-dims" else value
        assert saved[name] == value, flag
        assert [part[name] for part in nested if name in part] == [value], flag


@pytest.mark.parametrize("variance", ["fixed:0.5", "shared", "column", "decoder"])
def test_variances(tmp_path, train, variance):
    flags = ("--data", "iris", "--epochs", 2, "--noise", "independent", "--variance", variance)
    run = Run(train(tmp_path, "a", *flags))
    names = [key for key in run.load_checkpoint()["model"] if "logvar" in key]
    assert len(names) == (variance != "decoder")


def test_no_hidden_layer_is_a_linear_model(tmp_path, train):
    flags = ("--data", "iris", "--epochs", 1, "--noise", "independent", "--hidden-dims")
    run = Run(train(tmp_path, "a", *flags))
    shapes = [tuple(v.shape) for v in run.load_checkpoint()["model"].values()]
    assert shapes == [(16, 4), (16,), (8, 8), (8,)]


# The preset of tables, and what is left to the table


def mixed_table(n=150, n_columns=6):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, n_columns))
    rows = "".join(
        ",".join(f"{v:.3f}" for v in row) + f",{'pq'[i % 2]}\n" for i, row in enumerate(x)
    )
    Path("t.csv").write_text(",".join(f"c{j}" for j in range(n_columns)) + ",side\n" + rows)


def test_a_table_is_trained_by_its_preset(tmp_path, train, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mixed_table()
    config = Run(train("runs", "a", "--data", "t.csv", "--epochs", 2)).config().asked.flat()
    assert config["preset"] == "table"
    assert config["likelihood"] == "mixed"
    assert config["hidden_dims"] == [128, 128]
    assert config["hide_rate"] == 0.5
    assert config["latent_dim"] == 8  # the least
    assert config["epochs"] == 2


def test_the_epochs_of_a_table_make_a_number_of_steps(tmp_path, train, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "MIN_STEPS", 35)
    mixed_table()
    run = Run(train("runs", "a", "--data", "t.csv", "--batch-size", 50, "--latent-dim", 2))
    config = run.config().asked.flat()
    assert config["epochs"] == 12  # of 108 training rows, three steps each
    assert run.load_checkpoint()["optimizers"]["vae"]["step"].item() == 36
    assert config["latent_dim"] == 2


def test_another_preset_says_which_likelihood_takes_a_table(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    mixed_table()
    result = call("train", "--data", "t.csv", "--preset", "classic")
    assert result.code == 2
    assert "row 1, column 'side' holds 'p'" in result.err
    assert "--likelihood mixed takes holes, text and outliers" in result.err


# Any table goes all the way to its figures


def labelled(n_classes):
    rng = np.random.default_rng(0)
    return {"X": rng.normal(size=(120, 3)), "y": np.arange(120) % n_classes}


TABLES = {
    "constant": {"X": np.ones((30, 3))},
    "one column": {"X": np.random.default_rng(0).normal(size=(30, 1))},
    "wide": {"X": np.random.default_rng(0).normal(size=(10, 45))},
    "one test row": {"X": np.random.default_rng(0).normal(size=(4, 2))},
    "dependent": {"X": np.random.default_rng(0).normal(size=(30, 1)) * [1.0, 2e6, -3e-6]},
    "binary": {"X": (np.random.default_rng(0).normal(size=(40, 3)) > 0)},
    "many classes": labelled(20),
    "many named classes": {"X": labelled(3)["X"], "y": labelled(20)["y"].astype(str)},
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_go_all_the_way(tmp_path, call, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    np.savez("t.npz", **TABLES[name])
    check_all_the_way(call, "t.npz")


def test_a_test_row_beyond_float32_is_refused(tmp_path, call, monkeypatch):
    """The squared error of that row overflows float32, so no metric would be finite."""
    monkeypatch.chdir(tmp_path)
    x = np.random.default_rng(0).normal(size=(30, 2))
    x[:, 1] = 1
    x[datasets.split_rows(30, DataConfig(test_fraction=0.2, val_fraction=0.1))[2][0], 1] = 1e30
    np.savez("t.npz", X=x)
    results = [call("train", "--data", "t.npz", "--epochs", 1)]
    if results[0].code == 0:
        results.append(call("evaluate", "--n-samples", 3))
    assert results[-1].code == 2
    assert results[-1].err.startswith("error: ")
    assert "c1" in results[-1].err


def test_column_names_go_all_the_way(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = "price in $,cost in $,価格,größe,$x_$,{,a_b^c,\\frac"
    x = np.arange(30)[:, None] ** [1, 2, 3, 4, 5, 2, 3, 4] % [31, 11, 13, 17, 19, 23, 29, 37] * 100
    rows = "".join(f"{','.join(map(str, row))}\n" for row in x)
    Path("t.csv").write_text(f"{names}\n{rows}", encoding="utf-8")
    check_all_the_way(call, "t.csv")


def check_all_the_way(call, table, *flags):
    for command in (
        ("train", "--data", table, "--epochs", 1, "--run", "a", *flags),
        ("evaluate", "--n-samples", 3),
        ("plot_results",),
    ):
        result = call(*command)
        assert result.code == 0, result.err
        assert result.err == ""
    metrics = json.loads(Path("runs/a/metrics.json").read_text())
    for key in REQUIRED:
        assert metrics[key] is None or math.isfinite(metrics[key]), key
    figures = sorted(Path("runs/a/figures").iterdir())
    assert len(figures) >= 4
    for figure in figures:
        assert figure.read_bytes().startswith(b"\x89PNG\r\n\x1a\n"), figure.name


def test_figures_need_no_torch_and_change_nothing_else(tmp_path, call, monkeypatch, run_script):
    monkeypatch.chdir(tmp_path)
    call("train", "--data", "iris", "--epochs", 1)
    call("evaluate", "--n-samples", 2)
    run = tmp_path / "runs" / "0001"
    before = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    (tmp_path / "torch.py").write_text("raise ImportError('no torch here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = run_script("plot_results", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    after = {path: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert after.pop(run / "report.html").startswith(b"<!doctype html>")
    assert after == before
    for line in result.stdout.splitlines()[1:]:
        assert (tmp_path / line.removeprefix("Wrote ")).is_file()
