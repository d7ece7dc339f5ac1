"""What a user can get wrong: exit code 2, one line that names the value, nothing left behind."""

import io
import os
import shlex
import zipfile

import numpy as np
import pytest
import torch

import data as datasets

ROWS = "".join(f"{i},{i * i % 7}\n" for i in range(20))
GOOD = "a,b\n" + ROWS
X = np.random.default_rng(0).normal(size=(20, 3))


def snapshot(folder):
    """Every file and folder below, hidden ones too; an empty runs folder counts as none."""
    found = {p.relative_to(folder): p.read_bytes() if p.is_file() else None
             for p in folder.rglob("*")}  # fmt: skip
    return {path: content for path, content in found.items() if str(path) != "runs"}


def assert_refused(result, fragments):
    assert result.code == 2, result.out
    assert result.err.startswith("error: ")
    assert result.err.endswith("\n")
    assert len(result.err.splitlines()) == 1, result.err
    assert "Traceback" not in result.err
    for fragment in fragments:
        assert fragment in result.err


@pytest.fixture
def refuse(call, tmp_path, monkeypatch):
    """refuse(command, *fragments): run it in tmp_path; it is refused and changes nothing."""
    monkeypatch.chdir(tmp_path)

    def refuse(command, *fragments):
        before = snapshot(tmp_path)
        assert_refused(call(*shlex.split(command)), fragments)
        assert snapshot(tmp_path) == before

    return refuse


# Flags: (command, what the line must contain)

FLAGS = [
    ("train --epochs 0", "--epochs: '0'"),
    ("train --epochs -1", "--epochs: '-1'"),
    ("train --epochs 1.5", "--epochs: '1.5'"),
    ("train --epochs abc", "--epochs: 'abc'"),
    ("train --epochs ''", "--epochs: ''"),
    ("train --epochs", "--epochs"),
    ("train --lr 0", "--lr: '0'"),
    ("train --lr nan", "--lr: 'nan'"),
    ("train --lr inf", "--lr: 'inf'"),
    ("train --lr -1", "--lr: '-1'"),
    ("train --lr 1e-400", "--lr: '1e-400'"),
    ("train --batch-size 0", "--batch-size: '0'"),
    ("train --batch-size all", "--batch-size: 'all'"),
    ("train --latent-dim 0", "--latent-dim: '0'"),
    ("train --latent-dim 100000000000000000000", "100000000000000000000"),
    ("train --hidden-dims 0", "--hidden-dims: '0'"),
    ("train --hidden-dims 8 x", "--hidden-dims: 'x'"),
    ("train --beta -0.5", "--beta: '-0.5'"),
    ("train --beta inf", "--beta: 'inf'"),
    ("train --warmup-epochs -1", "--warmup-epochs: '-1'"),
    ("train --patience -1", "--patience: '-1'"),
    ("train --checkpoint-seconds nan", "--checkpoint-seconds: 'nan'"),
    ("train --seed -1", "--seed: '-1'"),
    ("train --seed 4294967296", "--seed: '4294967296'"),
    ("train --split-seed x", "--split-seed: 'x'"),
    ("train --threads -1", "--threads: '-1'"),
    ("train --threads 1000000000000", "1000000000000"),
    ("train --variance fixed:0", "fixed:0"),
    ("train --variance fixed:x", "fixed:x"),
    ("train --variance fixed", "fixed"),
    ("train --variance fixed:nan", "fixed:nan"),
    ("train --variance fixed:-1", "fixed:-1"),
    ("train --variance nonsense", "nonsense"),
    ("train --variance shared:3", "shared:3"),
    ("train --variance ''", "''"),
    ("train --data digits --variance shared", "--variance"),
    ("train --likelihood bernoulli", "column 'x0' ranges from -3.1"),
    ("train --data iris --likelihood bernoulli", "column 'sepal length (cm)' ranges from"),
    ("train --likelihood poisson", "'poisson'"),
    ("train --preset nonsense", "'nonsense'"),
    ("train --device gpu", "'gpu'"),
    ("train --nonsense 3", "--nonsense"),
    ("train nonsense", "nonsense"),
    ("train --data nonsense", "nonsense"),
    ("train --data ''", "is a folder"),
    ("train --data none.csv", "none.csv: no such file"),
    ("train --data .", "is a folder"),
    (f"train --data {'a' * 300}.csv", "aaaa"),
    ("train --test-fraction 1.5", "--test-fraction: '1.5'"),
    ("train --test-fraction -0.1", "--test-fraction: '-0.1'"),
    ("train --test-fraction nan", "--test-fraction: 'nan'"),
    ("train --test-fraction 1", "--test-fraction: '1'"),
    ("train --val-fraction 1", "--val-fraction: '1'"),
    ("train --test-fraction 0.9999", "1000 rows leave 0"),
    ("train --val-fraction 0.9999", "1000 rows leave 0"),
    ("train --n-rows 1", "1 rows leave 0"),
    ("train --n-rows 0", "--n-rows: '0'"),
    ("train --n-columns 0", "--n-columns: '0'"),
    ("train --n-informative 21", "--n-informative 21"),
    ("train --n-informative 0", "--n-informative: '0'"),
    ("train --patience 3", "--patience needs held-out rows"),
    ("train --data iris --val-fraction 0 --patience 3", "--patience needs held-out rows"),
    ("train --run a/b", "--run 'a/b'"),
    ("train --run ../x", "--run '../x'"),
    ("train --run ''", "--run ''"),
    ("train --run .", "--run '.'"),
    ("train --run .hidden", "--run '.hidden'"),
    ("train --run 'a b'", "--run 'a b'"),
    ("train --run=-x", "--run '-x'"),
    (f"train --run {'a' * 300}", "aaaa"),
    ("train --resume none", "none: no such run"),
    ("train --resume ''", "no such run"),
    (f"train --resume {'a' * 300}", "aaaa"),
    ("train --resume none --lr 1", "--lr cannot change"),
    ("evaluate", "no runs in runs"),
    ("evaluate --run none", "none: no such run"),
    ("evaluate --run ../none", "../none: no such run"),
    ("evaluate --runs-dir elsewhere", "no runs in elsewhere"),
    ("evaluate --n-samples 0", "--n-samples: '0'"),
    ("evaluate --n-samples 1e3", "--n-samples: '1e3'"),
    ("evaluate --seed -1", "--seed: '-1'"),
    ("evaluate --epochs 3", "--epochs"),
    ("plot_results", "no runs in runs"),
    ("plot_results --run none", "none: no such run"),
    ("plot_results --nonsense", "--nonsense"),
    ("data --data nonsense", "nonsense"),
    ("data --data none.npz", "none.npz: no such file"),
    ("data --n-rows 2.5", "--n-rows: '2.5'"),
    ("data --val-fraction 0.9999", "1000 rows leave 0"),
    ("data --epochs 3", "--epochs"),
]


@pytest.mark.parametrize(("command", "fragment"), FLAGS, ids=[c[:40] for c, _ in FLAGS])
def test_flags(refuse, command, fragment):
    refuse(command, fragment)


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_device_that_is_not_there(refuse, device):
    there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if there[device]():
        pytest.skip(f"this machine has {device}")
    refuse(f"train --device {device}", f"--device {device}")


@pytest.mark.parametrize(
    ("command", "fragment"),
    [
        ("train --data t.csv", "t.csv: row 1, column 'b' holds 'x'"),
        ("plot_results --nonsense", "--nonsense"),
        ("data --data none.csv", "none.csv: no such file"),
    ],
)
def test_real_processes(run_script, tmp_path, command, fragment):
    (tmp_path / "t.csv").write_text("a,b\n1,x\n")
    result = run_script(*shlex.split(command), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert fragment in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["t.csv"]


# Files: (name, content, what the line must contain)


class Malicious:
    """Writes a file named `marker` when it is unpickled."""

    def __reduce__(self):
        return open, ("marker", "w")


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def npz(save=np.savez, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def zip_of(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def npy_header(shape):
    """The start of an array that is larger than any memory."""
    file = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue() + bytes(80)


def broken(content, start, end):
    noise = np.random.default_rng(0).bytes(len(content[start:end]))
    return content[:start] + noise + content[end:]


OBJECTS = np.array([[Malicious()]] * 20)
FILES = [
    ("empty.csv", "", "is empty"),
    ("newlines.csv", "\n\n\n", "newlines.csv"),
    ("header.csv", "a,b\n", "no rows"),
    ("duplicates.csv", "a,b,a\n1,2,3\n", "'a'"),
    ("text.csv", "a,b\n1,2\n3,four\n" + ROWS, "row 2, column 'b' holds 'four'"),
    ("dates.csv", "a,b\n" + "1,2024-05-01\n" * 20, "row 1, column 'b' holds '2024-05-01'"),
    ("semicolons.csv", GOOD.replace(",", ";"), "separates its columns by ';'"),
    ("tabs.csv", GOOD.replace(",", "\t"), "separates its columns by tabs"),
    ("latin1.csv", "größe,b\n1,2\n".encode("latin-1") * 20, "not UTF-8"),
    ("index.csv", ",a,b\n" + "1,2,3\n" * 20, "column 1 has no name"),
    ("years.csv", "2019,2020\n" + "1,2\n" * 20, "'2019,2020', expected the columns' names"),
    ("no_header.csv", "1.5,2\n" * 20, "'1.5,2', expected the columns' names"),
    ("decimal_comma.csv", 'a,b\n1,"2,5"\n' + ROWS, "row 1, column 'b' holds '2,5'"),
    ("hexadecimal.csv", "a,b\n1,0x10\n" + ROWS, "'0x10'"),
    ("mixed.csv", "a,b\n1,True\n" + ROWS, "row 1, column 'b' holds 'True'"),
    ("long_text.csv", "a,b\n1," + "x" * 1000 + "\n" + ROWS, "column 'b' holds 'xxxx"),
    ("missing.csv", "a,b\n1,2\n,4\n" + ROWS, "row 2, column 'a' is missing"),
    ("named_missing.csv", "a,b\n1,2\n3,NA\n" + ROWS, "row 2, column 'b' is missing"),
    ("empty_line.csv", "a\n1\n\n" + "3\n" * 20, "row 2, column 'a' is missing"),
    ("infinite.csv", "a,b\n1,2\n-inf,4\n" + ROWS, "row 2, column 'a' is -inf"),
    ("overflow.csv", "a,b\n1,1e999\n" + ROWS, "row 1, column 'b' is inf"),
    ("fewer.csv", GOOD + "1\n", "row 21, column 'b' is missing"),
    ("more_late.csv", GOOD + "1,2,3\n", "more_late.csv"),
    ("more_first.csv", "a,b\n1,2,3\n" + ROWS, "more_first.csv"),
    ("more_all.csv", "a,b\n" + ROWS.replace("\n", ",9\n"), "more_all.csv"),
    ("comment.csv", "# made by hand\n" + GOOD, "comment.csv"),
    ("hole_first.csv", "1,,3\n" + "4,5,6\n" * 20, "'1,,3', expected the columns' names"),
    ("one_row.csv", "a,b\n1,2\n", "1 rows leave 0"),
    ("two_rows.csv", "a,b\n1,2\n3,4\n", "2 rows leave 0"),
    ("quote.csv", 'a,b\n1,"2\n' + ROWS, "quote.csv"),
    ("garbage.csv", np.random.default_rng(0).bytes(3000), "garbage.csv"),
    ("zeros.csv", bytes(3000), "zeros.csv"),
    ("utf16.csv", GOOD.encode("utf-16"), "utf16.csv"),
    ("latin1.csv", "größe,b\n".encode("latin-1") + ROWS.encode(), "latin1.csv"),
    ("excel.csv", zip_of(**{"xl/workbook.xml": "<x/>"}), "excel.csv"),
    ("newline_in_name.csv", '"a\nb",c\nx,1\n', "column 'a\\nb' holds 'x'"),
    ("new\nline.csv", "a,b\n", "line.csv"),
    ("empty.npy", b"", "empty.npy"),
    ("truncated.npy", npy(X)[:-100], "truncated.npy"),
    ("header.npy", npy(X)[:60], "header.npy"),
    ("garbage.npy", np.random.default_rng(0).bytes(3000), "garbage.npy"),
    ("objects.npy", npy(OBJECTS), "objects.npy"),
    ("pickle.npy", OBJECTS.dumps(), "pickle.npy"),
    ("scalar.npy", npy(np.array(3.0)), "shape ()"),
    ("vector.npy", npy(X[0]), "shape (3,)"),
    ("pictures.npy", npy(X[None]), "shape (1, 20, 3)"),
    ("complex.npy", npy(X * 1j), "complex128"),
    ("strings.npy", npy(X.astype(str)), "<U32"),
    ("dates.npy", npy(X.astype("M8[D]")), "datetime64"),
    ("records.npy", npy(np.zeros((20, 2), [("a", "f8")])), "records.npy"),
    ("no_columns.npy", npy(X[:, :0]), "20 rows and 0 columns"),
    ("no_rows.npy", npy(X[:0]), "0 rows and 3 columns"),
    ("nan.npy", npy(np.where(X[4, 1] == X, np.nan, X)), "row 5, column 'c1' is missing"),
    ("infinite.npy", npy(np.where(X[4, 1] == X, np.inf, X)), "row 5, column 'c1' is inf"),
    (
        "long_double.npy",
        npy(np.full((20, 3), np.longdouble("1e4000"))),
        "row 1, column 'c0' is inf",
    ),
    ("larger_than_memory.npy", npy_header((10**13, 10)), "larger_than_memory.npy"),
    ("archive.npy", npz(X=X), "archive.npy"),
    ("no_x.npz", npz(weights=X), "['weights']"),
    ("nothing.npz", npz(), "nothing.npz"),
    ("y.npz", npz(X=X, y=X[:5, 0]), "(5,)"),
    ("y_matrix.npz", npz(X=X, y=X), "(20, 3)"),
    ("objects.npz", npz(X=OBJECTS), "objects.npz"),
    ("y_objects.npz", npz(X=X, y=OBJECTS[:, 0]), "y_objects.npz"),
    ("vector.npz", npz(X=X[0]), "shape (3,)"),
    ("array.npz", npy(X), "array.npz"),
    ("text.npz", b"hello, world\n", "text.npz"),
    ("empty.npz", b"", "empty.npz"),
    ("truncated.npz", npz(X=X)[:-100], "truncated.npz"),
    ("checksum.npz", broken(npz(X=X), 300, 340), "checksum.npz"),
    ("compression.npz", broken(npz(np.savez_compressed, X=X), 120, 160), "compression.npz"),
    ("no_array.npz", zip_of(X=b"hello"), "no_array.npz"),
    ("no_array_in_npy.npz", zip_of(**{"X.npy": b"hello"}), "no_array_in_npy.npz"),
    ("table.xlsx", zip_of(a=b""), "'.xlsx'"),
    ("no_ending", GOOD, "no_ending"),
]


@pytest.mark.parametrize(("name", "content", "fragment"), FILES, ids=[f[0] for f in FILES])
def test_files(refuse, tmp_path, name, content, fragment):
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    refuse(shlex.join(["train", "--data", name]), fragment)
    assert not (tmp_path / "marker").exists()


def test_the_table_that_is_broken_above_is_good(tmp_path, train):
    """So that each refusal is for the reason given, not for the rows around it."""
    (tmp_path / "good.csv").write_text(GOOD)
    train(tmp_path / "runs", "a", "--data", tmp_path / "good.csv", "--epochs", 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read and write everything")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_no_permission(refuse, tmp_path, what):
    (tmp_path / "t.csv").write_text(GOOD)
    if what == "file":
        (tmp_path / "t.csv").chmod(0)
        refuse("train --data t.csv", "t.csv")
    else:
        (tmp_path / "locked").mkdir(mode=0o555)
        refuse("train --runs-dir locked/runs", "locked")


@pytest.mark.parametrize("command", ["train", "train --resume a", "evaluate", "plot_results"])
@pytest.mark.parametrize("runs_dir", ["file", "file/below"])
def test_a_runs_folder_that_is_a_file(refuse, tmp_path, command, runs_dir):
    (tmp_path / "file").write_text("")
    refuse(f"{command} --runs-dir {runs_dir}", runs_dir)


# Runs: (name, what happened to run `a`, command, what the line must contain)


def write(name, content):
    def change(folder):
        (folder / name).write_bytes(content)

    return change


def remove(name):
    return lambda folder: (folder / name).unlink()


def cut(name):
    def change(folder):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return change


CHECKPOINT, LOG, EVALUATION = (
    f"runs/a/{name}" for name in ("checkpoint.pt", "metrics.jsonl", "evaluation.npz")
)
RUNS = [
    ("exists", None, "train --run a --epochs 1", "a exists"),
    ("empty_name", None, "train --run ''", "--run ''"),
    ("dot_name", None, "train --run .", "--run '.'"),
    ("outside", None, "train --run ../runs", "--run '../runs'"),
    ("exists_as_file", write("runs/b", b""), "train --run b", "b exists"),
    ("changed", write("t.csv", GOOD.replace("3,2", "3,3").encode()), "evaluate", "t.csv"),
    ("renamed", write("t.csv", GOOD.replace("b", "c").encode()), "evaluate", "t.csv"),
    ("longer", write("t.csv", (GOOD + "1,2\n").encode()), "train --resume a", "t.csv"),
    ("broken", write("t.csv", b"a,b\n1,x\n"), "evaluate", "'x'"),
    ("vanished", remove("t.csv"), "evaluate --run a", "t.csv: no such file"),
    ("vanished_resume", remove("t.csv"), "train --resume a", "t.csv: no such file"),
    ("cut", cut(CHECKPOINT), "evaluate", "checkpoint.pt cannot be loaded"),
    ("cut_resume", cut(CHECKPOINT), "train --resume a --epochs 9", "checkpoint.pt cannot be"),
    ("empty", write(CHECKPOINT, b""), "train --resume a", "checkpoint.pt cannot be loaded"),
    ("pickle", write(CHECKPOINT, OBJECTS.dumps()), "evaluate", "nothing in it was executed"),
    ("absent", remove(CHECKPOINT), "evaluate --run a", "checkpoint.pt is missing"),
    ("absent_resume", remove(CHECKPOINT), "train --resume a", "checkpoint.pt is missing"),
    ("no_config", remove("runs/a/config.json"), "train --resume a", "no such run"),
    ("log", write(LOG, b"{}\nx\n"), "train --resume a --epochs 9", "metrics.jsonl is damaged"),
    ("log_number", write(LOG, b"3\n"), "train --resume a --epochs 9", "metrics.jsonl is damaged"),
    ("not_evaluated", remove(EVALUATION), "plot_results", "evaluate.py"),
    ("plot_log", write(LOG, b"x\n"), "plot_results", "metrics.jsonl is damaged"),
    ("plot_no_log", write(LOG, b""), "plot_results", "a has no finished epoch"),
    ("plot_cut", cut(EVALUATION), "plot_results", "evaluation.npz is damaged"),
    ("plot_empty", write(EVALUATION, b""), "plot_results", "evaluation.npz is damaged"),
    ("plot_text", write(EVALUATION, b"hello"), "plot_results", "evaluation.npz is damaged"),
    ("plot_array", write(EVALUATION, npy(X)), "plot_results", "evaluation.npz is damaged"),
    ("plot_other", write(EVALUATION, npz(a=X)), "plot_results", "evaluation.npz is damaged"),
    ("plot_part", write(EVALUATION, npz(epoch=1)), "plot_results", "evaluation.npz is damaged"),
    ("plot_pickle", write(EVALUATION, npz(epoch=OBJECTS)), "plot_results", "is damaged"),
]


@pytest.fixture
def evaluated(tmp_path, train, call, monkeypatch):
    """Run `a` on t.csv, trained for an epoch and evaluated, in the current folder tmp_path."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text(GOOD)
    train("runs", "a", "--data", "t.csv", "--epochs", 1)
    assert call("evaluate", "--n-samples", 2).code == 0


@pytest.mark.usefixtures("evaluated")
@pytest.mark.parametrize(("name", "change", "command", "fragment"), RUNS, ids=[r[0] for r in RUNS])
def test_runs(refuse, tmp_path, name, change, command, fragment):
    if change:
        change(tmp_path)
    refuse(command, fragment)
    assert not (tmp_path / "marker").exists()


@pytest.mark.usefixtures("evaluated")
def test_figures_of_an_older_epoch(refuse, train):
    train("runs", "a", "--resume", "a", "--epochs", 3)
    refuse("plot_results", "older than the run's checkpoint", "evaluate.py --run a")


def test_a_run_without_test_rows(refuse, train):
    train("runs", "a", "--data", "iris", "--epochs", 1, "--test-fraction", 0)
    refuse("evaluate", "no test rows")


def test_a_bernoulli_model_of_test_rows_outside_its_support(tmp_path, call, monkeypatch):
    """Refused when training or when evaluating: log p of a 7 under a coin is no number."""
    monkeypatch.chdir(tmp_path)
    x = (X > 0).astype(float)
    x[datasets.split_rows(20, 0.2, 0.1, 42)[2][0], 1] = 7
    np.save("t.npy", x)
    flags = ("--data", "t.npy", "--likelihood", "bernoulli", "--epochs", 1)
    results = [call("train", *flags)]
    if results[0].code == 0:
        results.append(call("evaluate", "--n-samples", 2))
    assert_refused(results[-1], ["'c1'", "7"])


@pytest.mark.usefixtures("evaluated")
def test_a_damaged_config_file_is_mended_or_refused(tmp_path, call):
    config = tmp_path / "runs" / "a" / "config.json"
    whole = config.read_bytes()
    config.write_bytes(b"{")
    result = call("train", "--resume", "a")
    if result.code:
        assert_refused(result, ["config.json"])
    else:
        assert config.read_bytes() == whole  # the checkpoint holds it too
