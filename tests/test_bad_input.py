"""Every script: bad input ends with exit code 2, one line that names the value, and no new file."""

import io
import json
import os
import shlex
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from PIL import Image

import data as datasets
from parts.console.script import run_script as cli_run_script
from parts.forms import cells, units
from parts.forms.config import DataConfig
from parts.forms.tables import encoding, table_files

ROWS = "".join(f"{i},{i * i % 7}\n" for i in range(20))
GOOD = "a,b\n" + ROWS
X = np.random.default_rng(0).normal(size=(20, 3))


def snapshot(folder):
    """Every file and folder below, hidden ones too, but for the lock that a command on a run takes;
    an empty runs folder counts as none.
    """
    found = {
        p.relative_to(folder): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")
    }
    return {p: held for p, held in found.items() if str(p) != "runs" and p.name != ".use"}


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
    ("train --warmup-epochs -1", "--warmup: '-1'"),
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
    ("train --data digits --variance shared", "option variance does not go with"),
    ("train --likelihood bernoulli", "column 'x0' ranges from -3.1"),
    ("train --data iris --likelihood bernoulli", "column 'sepal length (cm)' ranges from"),
    ("train --likelihood poisson", "'poisson'"),
    ("train --preset nonsense", "'nonsense'"),
    ("train --device gpu", "'gpu'"),
    ("train --nonsense 3", "--nonsense"),
    ("train nonsense", "nonsense"),
    ("train --data nonsense", "nonsense"),
    ("train --data ''", "'' is no name of data, expected a file that ends in .csv"),
    ("detect ''", "'' is no name of data, expected a file that ends in .csv"),
    ("impute ''", "'' is no name of data, expected a file that ends in .csv"),
    ("data --data ''", "'' is no name of data, expected a file that ends in .csv"),
    ("train --data none.csv", "none.csv: no such file"),
    ("train --data .", ". is a folder without pictures, expected a file that ends in .csv"),
    ("detect .", ". is a folder without pictures, expected a file that ends in .csv"),
    ("impute .", ". is a folder without pictures, expected a file that ends in .csv"),
    (f"train --data {'a' * 300}.csv", "aaaa"),
    ("train --data-dir .", "--data-dir goes with --data mnist or fashion"),
    ("train --data digits --image-size 8", "--image-size goes with --data DIR"),
    ("train --data iris --grey", "--grey goes with --data DIR"),
    ("train --data . --image-size 0", "--image-size: '0'"),
    ("train --data mnist --data-dir .", "there is no train-images-idx3-ubyte"),
    ("train --data digits --likelihood mixed", "--likelihood mixed and ordered take tables"),
    ("data --data .", "is a folder without pictures"),
    ("train --test-fraction 1.5", "--test-fraction: '1.5'"),
    ("train --test-fraction -0.1", "--test-fraction: '-0.1'"),
    ("train --test-fraction nan", "--test-fraction: 'nan'"),
    ("train --test-fraction 1", "--test-fraction: '1'"),
    ("train --val-fraction 1", "--val-fraction: '1'"),
    ("train --test-fraction 0.9999", "1000 rows leave 0"),
    ("train --val-fraction 0.9999", "1000 rows leave 0"),
    ("train --n-rows 1", "1 row leaves 0"),
    ("train --n-rows 0", "--n-rows: '0'"),
    ("train --n-columns 0", "--n-columns: '0'"),
    ("train --n-informative 21", "--n-informative 21"),
    ("train --n-informative 0", "--n-informative: '0'"),
    ("train --patience 3", "patience needs held-out rows"),
    ("train --patience 3", "val_fraction of 0.1"),
    ("train --data iris --val-fraction 0 --patience 3", "patience needs held-out rows"),
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
        (
            "train --data t.csv --likelihood gaussian",
            "t.csv: row 1, column 'b' holds 'x'",
        ),
        ("plot_results --nonsense", "--nonsense"),
        ("data --data none.csv", "none.csv: no such file"),
    ],
)
def test_real_processes(run_script, tmp_path, command, fragment):
    (tmp_path / "t.csv").write_text("a,b\n1,x\n" + ROWS)
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


def parquet(columns, **options):
    table = pa.table(columns, **options)
    file = io.BytesIO()
    pa.parquet.write_table(table, file)
    return file.getvalue()


def broken(content, start, end):
    noise = np.random.default_rng(0).bytes(len(content[start:end]))
    return content[:start] + noise + content[end:]


OBJECTS = np.array([[Malicious()]] * 20)
# Refused only where a complete table of numbers is needed: --likelihood gaussian.
NUMERIC = [
    ("text.csv", "a,b\n1,2\n3,four\n" + ROWS, "row 2, column 'b' holds 'four'"),
    ("dates.csv", "a,b\n" + "1,2024-05-01\n" * 20, "row 1, column 'b' holds '2024-05-01'"),
    ("decimal_comma.csv", 'a,b\n1,"2,5"\n' + ROWS, "row 1, column 'b' holds '2,5'"),
    ("hexadecimal.csv", "a,b\n1,0x10\n" + ROWS, "'0x10'"),
    ("mixed.csv", "a,b\n1,True\n" + ROWS, "row 1, column 'b' holds 'True'"),
    ("booleans.csv", "a,b\n" + "1,True\n2,False\n" * 20, "row 1, column 'b' holds 'True'"),
    ("space.csv", "a,b\n1,2 3\n" + ROWS, "row 1, column 'b' holds '2 3'"),
    ("percent.csv", "a,b\n1,2%\n" + ROWS, "row 1, column 'b' holds '2%'"),
    ("long_text.csv", "a,b\n1," + "x" * 1000 + "\n" + ROWS, "column 'b' holds 'xxxx"),
    ("missing.csv", "a,b\n1,2\n,4\n" + ROWS, "row 2, column 'a' is missing"),
    ("named_missing.csv", "a,b\n1,2\n3,NA\n" + ROWS, "row 2, column 'b' is missing"),
    ("empty_line.csv", "a\n1\n\n" + "3\n" * 20, "row 2, column 'a' is missing"),
    ("infinite.csv", "a,b\n1,2\n-inf,4\n" + ROWS, "row 2, column 'a' holds '-inf'"),
    ("overflow.csv", "a,b\n1,1e999\n" + ROWS, "row 1, column 'b' holds '1e999'"),
    ("nan.npy", npy(np.where(X[4, 1] == X, np.nan, X)), "row 5, column 'c1' is missing"),
    ("infinite.npy", npy(np.where(X[4, 1] == X, np.inf, X)), "row 5, column 'c1' holds 'inf'"),
    ("long_double.npy", npy(np.full((20, 3), np.longdouble("1e4000"))), "column 'c0' holds 'inf'"),
    ("fewer.csv", GOOD + "1\n", "row 21 (line 22) has 1 cell, and the header 2"),
    ("newline_in_name.csv", '"a\nb",c\nx,1\n' + ROWS, "column 'a\\nb' holds 'x'"),
]
# Arrays of more than two axes, where pictures are taken: not by the verbs for tables.
PICTURES = [
    ("pictures.npy", npy(X[None]), "floats from -2.3"),
    ("channels_last.npy", npy(np.ones((9, 8, 8, 3))), "save x.transpose(0, 3, 1, 2)"),
    ("grey_levels.npz", npz(X=np.full((9, 8, 8), 255.0)), "floats from 255 to 255"),
    ("nan_pictures.npy", npy(np.full((9, 8, 8), np.nan)), "holds NaN"),
    ("integers.npy", npy(np.ones((9, 8, 8), int)), "pictures of type int64"),
    ("no_pictures.npy", npy(np.ones((0, 8, 8))), "holds no pictures"),
    ("no_pixels.npy", npy(np.ones((9, 0, 8))), "holds no pictures"),
    ("truncated_pictures.npy", npy(np.ones((9, 8, 8)))[:-100], "truncated_pictures.npy"),
    ("y_pictures.npz", npz(X=np.ones((9, 8, 8)), y=np.ones(8)), "y has shape (8,), expected (9,)"),
]
FILES = [
    ("empty.csv", "", "is empty"),
    ("newlines.csv", "\n\n\n", "newlines.csv"),
    ("header.csv", "a,b\n", "no rows"),
    ("no_header.csv", "1.5,2\n" * 20, "'1.5,2', which looks like a row"),
    ("more_late.csv", GOOD + "1,2,3\n", "more_late.csv"),
    ("more_first.csv", "a,b\n1,2,3\n" + ROWS, "more_first.csv"),
    ("more_all.csv", "a,b\n" + ROWS.replace("\n", ",9\n"), "more_all.csv"),
    ("hole_first.csv", "1,,3\n" + "4,5,6\n" * 20, "'1,,3', which looks like a row"),
    ("one_row.csv", "a,b\n1,2\n", "1 row leaves 0"),
    ("two_rows.csv", "a,b\n1,2\n3,4\n", "2 rows leave 0"),
    ("quote.csv", 'a,b\n1,"2\n' + ROWS, "quote.csv"),
    ("garbage.csv", np.random.default_rng(0).bytes(3000), "garbage.csv"),
    ("zeros.csv", bytes(3000), "zeros.csv"),
    ("excel.csv", zip_of(**{"xl/workbook.xml": "<x/>"}), "excel.csv"),
    ("new\nline.csv", "a,b\n", "line.csv"),
    ("empty.npy", b"", "empty.npy"),
    ("truncated.npy", npy(X)[:-100], "truncated.npy"),
    ("header.npy", npy(X)[:60], "header.npy"),
    ("garbage.npy", np.random.default_rng(0).bytes(3000), "garbage.npy"),
    ("objects.npy", npy(OBJECTS), "objects.npy"),
    ("pickle.npy", OBJECTS.dumps(), "pickle.npy"),
    ("scalar.npy", npy(np.array(3.0)), "shape ()"),
    ("vector.npy", npy(X[0]), "shape (3,)"),
    ("pictures.npy", npy(X[None]), "pictures.npy"),
    ("films.npy", npy(X[None, None, None]), "shape (1, 1, 1, 20, 3)"),
    ("complex.npy", npy(X * 1j), "complex128"),
    ("strings.npy", npy(X.astype(str)), "<U32"),
    ("dates.npy", npy(X.astype("M8[D]")), "datetime64"),
    ("records.npy", npy(np.zeros((20, 2), [("a", "f8")])), "records.npy"),
    ("no_columns.npy", npy(X[:, :0]), "20 rows and 0 columns"),
    ("no_rows.npy", npy(X[:0]), "0 rows and 3 columns"),
    ("larger_than_memory.npy", npy_header((10**13, 10)), "larger_than_memory.npy"),
    ("archive.npy", npz(X=X), "archive.npy"),
    ("no_x.npz", npz(weights=X), "['weights']"),
    ("nothing.npz", npz(), "nothing.npz"),
    ("y.npz", npz(X=X, y=X[:5, 0]), "(5,)"),
    ("y_matrix.npz", npz(X=X, y=X), "(20, 3)"),
    ("factors.npz", npz(X=X, factors=X[:5]), "factors has shape (5, 3), expected (20, number of"),
    ("factor.npz", npz(X=X, factors=X[:, 0]), "factors has shape (20,)"),
    ("no_factors.npz", npz(X=X, factors=X[:, :0]), "factors has shape (20, 0)"),
    ("words.npz", npz(X=X, factors=X.astype(str)), "expected whole numbers"),
    ("names.npz", npz(X=X, factors=X, factor_names=["a", "b"]), "expected 3 different names"),
    ("same_names.npz", npz(X=X, factors=X, factor_names=list("aba")), "3 different names"),
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
    ("table.xlsx", zip_of(a=b""), "table.xlsx cannot be read as .xlsx"),
    ("no_ending", GOOD, "no_ending"),
    ("quote_late.csv", GOOD + '1,"2\n', "quote_late.csv"),
    ("nothing_but_bom.csv", b"\xef\xbb\xbf", "is empty"),
    ("header_bom.csv", b"\xef\xbb\xbfa;b\r\n", "no rows"),
    ("header.tsv", "a\tb\n", "no rows"),
    ("longer.tsv", "a\tb\n" + "1\t2\n" * 9 + "1\t2\t3\n", "longer.tsv"),
    ("renamed.csv", parquet({"a": [1, 2]}), "looks like a .parquet file"),
    ("renamed.parquet", GOOD, "cannot be read as .parquet"),
    ("truncated.parquet", parquet({"a": list(range(99))})[:-20], "cannot be read as .parquet"),
    ("damaged.parquet", broken(parquet({"a": list(range(99))}), 4, 60), "damaged.parquet"),
    ("empty.parquet", b"", "cannot be read as .parquet"),
    ("no_rows.parquet", parquet({"a": pa.array([], pa.int64())}), "no rows"),
    ("no_columns.parquet", parquet({}), "no_columns.parquet"),
    ("lists.parquet", parquet({"a": [[1], [2]] * 20}), "no column is left to model"),
    ("constants.csv", "a,b\n" + "1,x\n" * 20, "'a': constant; 'b': constant"),
    ("nothing_there.csv", "a,b\n" + ",\n-,NA\n" * 20, "'a': empty; 'b': empty"),
    ("identifiers.csv", "id\n" + "".join(f"u{i}\n" for i in range(40)), "every cell is different"),
    ("numbered.csv", "n\n" + "".join(f"{i}\n" for i in range(99)), "numbered without gaps"),
]
TOO_FEW = ("1 row leaves 0", "2 rows leave 0")


@pytest.mark.parametrize(("name", "content", "fragment"), FILES, ids=[f[0] for f in FILES])
def test_files(refuse, tmp_path, name, content, fragment):
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    refuse(shlex.join(["train", "--epochs", "1", "--data", name]), fragment)
    assert not (tmp_path / "marker").exists()


@pytest.mark.parametrize(("name", "content", "fragment"), PICTURES, ids=[f[0] for f in PICTURES])
def test_arrays_that_are_no_pictures(refuse, tmp_path, name, content, fragment):
    (tmp_path / name).write_bytes(content)
    refuse(shlex.join(["train", "--data", name]), fragment)


@pytest.mark.parametrize(("name", "content", "fragment"), NUMERIC, ids=[f[0] for f in NUMERIC])
def test_files_that_are_no_complete_table_of_numbers(refuse, tmp_path, name, content, fragment):
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    refuse(shlex.join(["train", "--likelihood", "gaussian", "--data", name]), fragment)


@pytest.mark.parametrize("command", ["detect", "impute"])
@pytest.mark.parametrize(("name", "content", "fragment"), FILES, ids=[f[0] for f in FILES])
def test_files_given_to_a_verb(refuse, tmp_path, command, name, content, fragment):
    """A bad file is refused before anything is fitted to it."""
    if fragment in TOO_FEW:
        pytest.skip("the verb holds no test rows back")
    (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
    refuse(shlex.join([command, name]), fragment)
    assert not (tmp_path / "marker").exists()


CURVE = "".join(f"{i * i % 17}.5,{i % 7}.25\n" for i in range(20))
BEYOND = {
    "infinite.csv": (
        "a,b\n1.5,2\n-inf,4\n" + CURVE,
        "1 cell taken as missing: '-inf' in row 2",
    ),
    "infinite.npy": (npy(np.where(X[4, 1] == X, np.inf, X)), "'inf' in row 5"),
    "infinite.parquet": (
        parquet({"a": [*np.linspace(0, 1, 19), np.inf] * 2, "b": [1.5] * 40}),
        "2 cells taken as missing, such as 'inf' in row 20",
    ),
    "overflow.csv": ("a,b\n1.5,1e999\n" + CURVE, "'1e999' in row 1"),
}


@pytest.mark.parametrize("name", BEYOND)
def test_numbers_beyond_all_numbers_are_counted_as_other_rubbish(name, tmp_path, monkeypatch, call):
    content, note = BEYOND[name]
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
    flags = ("--preset", "table", "--likelihood", "mixed", "--test-fraction", "0", "--epochs", "1")
    result = call("train", "--data", name, "--runs-dir", "runs", "--threads", "1", *flags)
    assert result.code == 0, result.err
    assert f"{note}, which is no number" in result.out


def test_the_table_that_is_broken_above_is_good(tmp_path, train):
    """The cases above are refused for their own reason: the rows around it are good."""
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
    ("broken", write("t.csv", b'a,b\n1"2,x\n"3'), "evaluate", "t.csv"),
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
    ("not_evaluated", remove(EVALUATION), "plot_results --color a", "evaluate.py"),
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


@pytest.fixture(scope="module")
def evaluate_at(train, call):
    """evaluate_at(folder): t.csv there, and run `a` on it, trained for an epoch and evaluated."""

    def evaluate_at(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            Path("t.csv").write_text(GOOD)
            train("runs", "a", "--data", "t.csv", "--epochs", 1)
            assert call("evaluate", "--n-samples", 2).code == 0
        return folder

    return evaluate_at


@pytest.fixture(scope="module")
def evaluated_run(evaluate_at, tmp_path_factory):
    return evaluate_at(tmp_path_factory.mktemp("evaluated"))


@pytest.fixture
def evaluated(evaluated_run, tmp_path, monkeypatch):
    """A copy of it, as the current folder tmp_path; its run knows the path of the first t.csv."""
    shutil.copytree(evaluated_run, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("evaluated")
@pytest.mark.parametrize(("name", "change", "command", "fragment"), RUNS, ids=[r[0] for r in RUNS])
def test_runs(refuse, evaluate_at, tmp_path, name, change, command, fragment):
    if "vanished" in name:
        shutil.rmtree("runs")
        evaluate_at(tmp_path)
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
    """Training and evaluation refuse a 7, whose probability under a coin is no number."""
    monkeypatch.chdir(tmp_path)
    x = (X > 0).astype(float)
    x[datasets.split_rows(20, DataConfig(test_fraction=0.2, val_fraction=0.1))[2][0], 1] = 7
    np.save("t.npy", x)
    flags = ("--data", "t.npy", "--likelihood", "bernoulli", "--epochs", 1)
    results = [call("train", *flags)]
    if results[0].code == 0:
        results.append(call("evaluate", "--n-samples", 2))
    assert_refused(results[-1], ["'c1'", "7"])


def test_a_damaged_config_file_is_mended_or_refused(evaluate_at, tmp_path, call, monkeypatch):
    monkeypatch.chdir(evaluate_at(tmp_path))
    config = tmp_path / "runs" / "a" / "config.json"
    whole = config.read_bytes()
    config.write_bytes(b"{")
    result = call("train", "--resume", "a")
    if result.code:
        assert_refused(result, ["config.json"])
    else:
        assert config.read_bytes() == whole  # the checkpoint holds it too


# Verbs on a table: (command, what the line must contain)

SIZES = ("S", "M", "L")


def mixed_table(n=60, seed=0):
    """A column of each kind as text, some holes, and a few that cannot be modelled."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "name": [f"row {i}" for i in range(n)],
            "age": rng.integers(18, 80, n).astype(str),
            "pay": [f"{v:.2f}" for v in rng.lognormal(8, 1, n)],
            "visits": rng.poisson(2, n).astype(str),
            "city": rng.choice(["Bern", "Oslo", "Porto, Norte"], n),
            "size": rng.choice(SIZES, n),
            "change": [f"{v:.1f}" for v in rng.normal(size=n)],
            "member": rng.choice(["0", "1"], n),
            "joined": pd.to_datetime(rng.integers(9000, 19000, n), unit="D").strftime("%Y-%m-%d"),
            "one": ["1"] * n,
        },
        dtype="str",
    )
    for name in ("age", "pay", "city", "change"):
        frame.loc[rng.random(n) < 0.1, name] = ""
    return frame


@pytest.fixture(scope="module")
def table_runs(tmp_path_factory, train):
    """A folder with the table t.csv, run `a` on it, `b` that holds no rows out, and other files."""
    folder = tmp_path_factory.mktemp("table")
    mixed_table().to_csv(folder / "t.csv", index=False)
    flags = ("--data", folder / "t.csv", "--epochs", 1, "--threads", 1)
    train(folder / "runs", "a", *flags)
    train(folder / "runs", "b", *flags, "--val-fraction", 0, "--test-fraction", 0)
    frame = mixed_table()
    for name in ("anomaly_score", "is_anomaly", "anomaly_rank", "anomaly_why", "age_low"):
        frame.assign(**{name: "1"}).to_csv(folder / f"{name}.csv", index=False)
    (folder / "other.csv").write_text(GOOD)
    (folder / "taken.csv").write_text("mine")
    (folder / "sub.csv").mkdir()
    for name in ("t.scored.csv", "t.imputed.csv", "taken.2.csv"):
        (folder / name).write_text("mine")
    for name, text in SPECS.items():
        (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    return folder


@pytest.fixture
def at_table(table_runs, tmp_path, monkeypatch):
    """A copy of it, as the current folder."""
    shutil.copytree(table_runs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)


SPECS = {
    "text.json": "age: count",
    "latin.json": "\xe9".encode("latin-1"),
    "list.json": "[1]",
    "number.json": "3",
    "unknown_column.json": '{"weight": "real"}',
    "unknown_kind.json": '{"age": "integer"}',
    "null_kind.json": '{"age": null}',
    "unknown_key.json": '{"age": {"kind": "real", "unit": "years"}}',
    "no_kind.json": '{"age": {"levels": ["1", "2"]}}',
    "levels_text.json": '{"size": {"kind": "ordinal", "levels": "SML"}}',
    "levels_one.json": '{"size": {"kind": "ordinal", "levels": ["S"]}}',
    "levels_twice.json": '{"size": {"kind": "ordinal", "levels": ["S", "S "]}}',
}
ANY = "{verb} t.csv --run a --out new.csv "
ANY_VERB = [  # refused alike by detect and impute
    ("{verb}", "the following arguments are required: file"),
    ("{verb} none.csv --run a", "none.csv: no such file"),
    ("{verb} t.csv t.csv --run a", "unrecognized arguments"),
    ("{verb} t.csv --run none --out new.csv", "none: no such run"),
    ("{verb} t.csv --run a --runs-dir elsewhere --out new.csv", "no such run in elsewhere"),
    ("{verb} other.csv --run a", "none of the columns that the run was trained on"),
    (ANY + "--kind age=real", "--kind and --columns belong to training"),
    (ANY + "--columns text.json", "--kind and --columns belong to training"),
    (ANY + "--n-samples 0", "--n-samples: '0'"),
    (ANY + "--seed -1", "--seed: '-1'"),
    (ANY + "--threads -1", "--threads: '-1'"),
    (ANY + "--device gpu", "'gpu'"),
    (ANY + "--epochs 3", "--epochs"),
    ("{verb} t.csv --run a", "exists; add --overwrite"),
    ("{verb} t.csv --run a --out taken.csv", "taken.csv exists; add --overwrite"),
    ("{verb} t.csv --run a --out t.csv", "is the file that is read"),
    ("{verb} t.csv --run a --out t.csv --overwrite", "is the file that is read"),
    ("{verb} t.csv --run a --out ./runs/../t.csv --overwrite", "is the file that is read"),
    ("{verb} t.csv --run a --out none/new.csv", "there is no folder none"),
    ("{verb} t.csv --run a --out taken.csv/new.csv", "there is no folder taken.csv"),
    ("{verb} t.csv --run a --out new.xls", "expected a name ending in one of"),
    ("{verb} t.csv --run a --out new", "expected a name ending in one of"),
    ("{verb} t.csv --run a --out ''", "t."),
    ("{verb} t.csv --run a --out sub.csv --overwrite", "sub.csv is a folder"),
    ("{verb} t.csv --out new.csv --kind weight=real", "a kind is given for 'weight'"),
    ("{verb} t.csv --out new.csv --kind age=integer", "kind of 'age' is 'integer'"),
    ("{verb} t.csv --out new.csv --kind age", "'age', expected NAME=KIND"),
    ("{verb} t.csv --out new.csv --kind =real", "'=real', expected NAME=KIND"),
    ("{verb} t.csv --out new.csv --kind age=", "'age=', expected NAME=KIND"),
    ("{verb} t.csv --out new.csv --kind change=positive", "expected no negative cell"),
    ("{verb} t.csv --out new.csv --kind change=count", "'change' holds -"),
    ("{verb} t.csv --out new.csv --kind pay=count", "a count is a whole number"),
    ("{verb} t.csv --out new.csv --kind city=real", "holds text such as 'Bern'"),
    ("{verb} t.csv --out new.csv --kind city=count", "holds text such as 'Bern'"),
    ("{verb} t.csv --out new.csv --kind city=ordinal", "the order of Bern, Oslo, Porto, Norte is"),
    ("{verb} t.csv --out new.csv --kind city=binary", "'city' has 3 values, expected 2"),
    ("{verb} t.csv --out new.csv --kind one=binary", "'one' holds nothing but '1'"),
    ("{verb} t.csv --out new.csv --columns none.json", "none.json: no such file"),
    ("{verb} t.csv --out new.csv --columns .", ". is a folder"),
    ("{verb} t.csv --out new.csv --columns text.json", "text.json is not JSON"),
    ("{verb} t.csv --out new.csv --columns latin.json", "latin.json is not JSON"),
    ("{verb} t.csv --out new.csv --columns list.json", "expected an object"),
    ("{verb} t.csv --out new.csv --columns number.json", "expected an object"),
    ("{verb} t.csv --out new.csv --columns unknown_column.json", "a kind is given for 'weight'"),
    ("{verb} t.csv --out new.csv --columns unknown_kind.json", "kind of 'age' is 'integer'"),
    ("{verb} t.csv --out new.csv --columns null_kind.json", "kind of 'age' is None"),
    ("{verb} t.csv --out new.csv --columns unknown_key.json", "kind of 'age'"),
    ("{verb} t.csv --out new.csv --columns no_kind.json", "kind of 'age' is {"),
    ("{verb} t.csv --out new.csv --columns levels_text.json", "levels of 'size' are 'SML'"),
    ("{verb} t.csv --out new.csv --columns levels_one.json", "two or more, all different"),
    ("{verb} t.csv --out new.csv --columns levels_twice.json", "two or more, all different"),
]
NEW = " t.csv --run a --out new.csv "
TABLE_FLAGS = [
    *((c.replace("{verb}", verb), f) for verb in ("detect", "impute") for c, f in ANY_VERB),
    *((f"detect{NEW}--contamination {v}", f"--contamination: '{v}'") for v in ("0", "1", "nan")),
    (f"detect{NEW}--contamination -0.1", "--contamination: '-0.1'"),
    (f"detect{NEW}--contamination 5%", "--contamination: '5%'"),
    (f"detect{NEW}--labels none", "--labels none: the columns are name, age"),
    (f"detect{NEW}--labels city", "run a was trained on that column"),
    ("detect t.csv --out new.csv --labels city", "expected two values; say which rows are odd"),
    ("detect t.csv --out new.csv --labels city=Rome", "expected 'Rome' and others"),
    ("detect t.csv --out new.csv --labels visits", "it holds 0, 1, 2, 3, 4, 5, ..., expected two"),
    (f"detect{NEW}--labels one", "it holds 1, expected two values"),
    (f"detect{NEW}--labels member", "run a was trained on that column"),
    (f"detect{NEW}--statistic mean", "--statistic"),
    *(
        (f"detect {name}.csv --run a", f"has a column named '{name}' already")
        for name in ("anomaly_score", "is_anomaly", "anomaly_rank", "anomaly_why")
    ),
    (f"impute{NEW}--statistic nonsense", "'nonsense'"),
    (f"impute{NEW}--draws -1", "--draws: '-1'"),
    (f"impute{NEW}--draws 1.5", "--draws: '1.5'"),
    (f"impute{NEW}--draws 10000000000", "--draws: '10000000000'"),
    *((f"impute{NEW}--interval {v}", f"--interval: '{v}'") for v in ("0", "1", "nan", "90")),
    (f"impute{NEW}--contamination 0.1", "--contamination"),
    ("impute age_low.csv --run a --interval 0.9", "has a column named 'age_low' already"),
    ("impute t.csv --run a --out taken.csv --overwrite --interval 2", "--interval: '2'"),
    ("generate --run none", "none: no such run"),
    ("generate --runs-dir elsewhere", "no runs in elsewhere"),
    ("generate --run a --n 0", "--n: '0'"),
    ("generate --run a --n 1.5", "--n: '1.5'"),
    ("generate --run a --seed x", "--seed: 'x'"),
    ("generate --run a t.csv", "t.csv and --run a: give one"),
    ("generate --run a --out taken.csv", "taken.csv exists; add --overwrite"),
    ("generate --run a --out none/new.csv", "there is no folder none"),
    ("generate --run a --out new.json", "expected a name ending in one of"),
    ("generate --run a --out sub.csv --overwrite", "sub.csv is a folder"),
    ("generate --run a --out new.npz --n 5", "an array holds numbers only"),
    ("generate --run a --given ''", "expected NAME=VALUE"),
    ("generate --run a --given ' '", "NAME=VALUE"),
    ("generate --run a --given age", "NAME one of age, pay"),
    ("generate --run a --given age=", "'' is no real cell, expected a number"),
    ("generate --run a --given age=NA", "'NA' is no real cell, expected a number"),
    ("generate --run a --given age=old", "'old' is no real cell, expected a number"),
    ("generate --run a --given age=0x10", "'0x10' is no real cell"),
    ("generate --run a --given age=1e999", "'1e999' is no real cell, expected a number"),
    ("generate --run a --given weight=3", "NAME one of age, pay"),
    ("generate --run a --given name=x", "NAME one of age, pay"),
    ("generate --run a --given one=1", "NAME one of age, pay"),
    ("generate --run a --given city=Rome", "expected one of Bern, Oslo, Porto, Norte"),
    ("generate --run a --given 'city=Porto, Norte'", "'Porto' is no categorical cell"),
    ("generate --run a --given 'age=40,age'", "NAME=VALUE"),
    ("generate --run a --given pay=0", "'0' is no positive cell"),
    ("generate --run a --given pay=-3", "'-3' is no positive cell"),
    ("generate --run a --given visits=-1", "'-1' is no count cell"),
    ("generate --run a --given visits=1.5", "'1.5' is no count cell"),
    ("generate --run a --given joined=3", "expected a date such as 20"),
    ("generate --run a --given joined=2024-13-01", "expected a date such as 20"),
    ("generate --run a --given member=2", "'2' is no binary cell, expected one of 0, 1"),
    ("train --data t.csv --likelihood gaussian", "column 'name' holds 'row 0'"),
    ("train --data t.csv --likelihood bernoulli", "column 'name' holds 'row 0'"),
    (
        "train --data t.csv --likelihood gaussian --kind age=real",
        "kinds of columns do not go with likelihood gaussian",
    ),
    ("train --data iris --kind age=real", "kinds of columns do not go with likelihood gaussian"),
    ("train --data iris --real student", "option real does not go with likelihood gaussian"),
    ("train --data iris --hide-rate 1", "--hide-rate: '1'"),
    ("train --data t.csv --real cauchy", "'cauchy'"),
    ("train --data t.csv --variance fixed:0", "fixed:0"),
    ("train --data t.csv --schedule cosine", "'cosine'"),
    ("train --data t.csv --kind weight=real", "a kind is given for 'weight'"),
    ("train --data t.csv --columns list.json", "expected an object"),
    ("train --resume a --kind age=real", "--kind cannot change on --resume"),
    ("data --data t.csv --kind weight=real", "a kind is given for 'weight'"),
    ("data --data t.csv --kind city=real", "holds text such as 'Bern'"),
    ("data --example taken.csv", "taken.csv exists"),
    ("data --example new.doc", "expected a name ending in"),
    ("data --example none/new.csv", "there is no folder none"),
]


@pytest.mark.usefixtures("at_table")
@pytest.mark.parametrize(("command", "fragment"), TABLE_FLAGS, ids=[c[:60] for c, _ in TABLE_FLAGS])
def test_flags_of_tables(refuse, command, fragment):
    refuse(command, fragment)


@pytest.mark.usefixtures("at_table")
def test_an_output_among_several_that_exists(refuse):
    refuse("impute t.csv --run a --out taken.csv --draws 2", "taken.csv exists")
    refuse("impute t.csv --run a --out taken.csv --draws 12", "taken.csv exists")
    os.remove("taken.csv")
    refuse("impute t.csv --run a --out taken.csv --draws 2", "taken.2.csv exists")


@pytest.mark.usefixtures("at_table")
@pytest.mark.parametrize("content", ["text", "npy", "cut"])
def test_a_run_whose_rows_are_damaged(refuse, content):
    path = Path("runs/a/rows.npz")
    path.write_bytes({"text": b"hello", "npy": npy(X), "cut": path.read_bytes()[:200]}[content])
    refuse("detect t.csv --run a --out new.csv", "rows.npz is damaged, because ")
    refuse("generate --run a --n 3 --out new.csv", "rows.npz is damaged, because ")


@pytest.mark.usefixtures("at_table")
@pytest.mark.parametrize(
    ("command", "words"),
    [("detect", "holds pictures, and run a was trained on a table"), ("impute", "is a folder")],
)
def test_a_verb_on_a_folder(refuse, command, words):
    Path("shots.csv").mkdir()
    refuse(f"{command} shots.csv --run a", "shots.csv is a folder without pictures")
    refuse(f"{command} '' --run a", "'' is no name of data")
    Image.new("L", (4, 4)).save("shots.csv/one.png")
    refuse(f"{command} shots.csv --run a", words)


@pytest.mark.parametrize("verb", ["train --data", "detect", "impute"])
def test_a_folder_with_the_ending_of_a_table(refuse, verb):
    Path("t.csv").mkdir()
    for name in (".hidden.png", "a.scored.png", "a.txt"):
        Path("t.csv", name).write_text("")
    refuse(f"{verb} t.csv", "t.csv is a folder without pictures, expected a file that ends in .csv")


@pytest.mark.usefixtures("at_table")
def test_a_check_without_rows_that_the_run_was_not_trained_on(refuse):
    refuse("impute t.csv --run b --out new.csv --check", "run b was trained on all of these rows")


def test_short_rows(refuse, tmp_path):
    (tmp_path / "t.csv").write_text("a,b,c\n" + "1.5,x,2\n0.5,y,7\n" * 20 + "1.5,x\n")
    refuse("train --data t.csv --epochs 1", "row 41 (line 42) has 2 cells, and the header 3")


# Tables that are odd, and must work: trained on, scored, filled and drawn from, to the end


def lines(header, n=40, **cells):
    """A CSV of n rows; each cell is a function of the row number and a generator."""
    rng = np.random.default_rng(0)
    rows = [",".join(cell(i, rng) for cell in cells.values()) for i in range(n)]
    return "\n".join([header, *rows]) + "\n"


def number(i, rng):
    return "" if i % 7 == 3 else f"{rng.normal():.3f}"


def letter(i, rng):
    return "" if i % 5 == 2 else "xyz"[rng.integers(3)]


def pick(*choices):
    return lambda i, rng: choices[rng.integers(len(choices))]


PLAIN = lines("a,b", a=number, b=letter)
ODD_TABLES = {
    "huge": PLAIN + "1e307,x\n-1e307,y\n",
    "a_row_of_holes": PLAIN + ",\n",
    "rows_of_holes_in_three_marks": PLAIN + "NA,-\nnull,?\nnan,\n",
    "empty_column": lines("a,b,c", a=number, b=letter, c=lambda i, rng: ""),
    "constant_column": lines("a,b,c", a=number, b=letter, c=lambda i, rng: "7"),
    "constant_or_hole": lines("a,b,c", a=number, b=letter, c=pick("7", "")),
    "identifiers": lines("a,b,c", a=number, b=letter, c=lambda i, rng: f"user {i}"),
    "crlf": PLAIN.replace("\n", "\r\n"),
    "bom": "\ufeff" + PLAIN,
    "excel": "\ufeff"
    + lines("a,b", a=number, b=letter).replace(",", ";").replace(".", ",").replace("\n", "\r\n"),
    "tabs": PLAIN.replace(",", "\t"),
    "bars": PLAIN.replace(",", "|"),
    "quoted": lines("a,b", a=number, b=pick('"x, y"', '"a\nb"', '"say ""hi"""', "")),
    "formulas": lines("a,b", a=number, b=pick("=1+1", "@x", "+y", "-z", "")),
    "one_column": "a\n" + "".join(f"{i * 0.37 % 1:.2f}\n" for i in range(40)),
    "one_column_with_holes": "a\n" + "".join(f"{i * 0.37 % 1:.2f}\n\n" for i in range(20)),
    "one_column_of_text": "a\n" + "x\ny\nz\n" * 12,
    "three_rows": "a,b\n1.5,x\n2.5,y\n4.5,x\n",
    "index": lines(",a,b", i=lambda i, rng: str(i), a=number, b=letter),
    "unicode": lines("größe (m²),日本 😀", a=number, b=pick("ä", "😀", "a\u0301", "")),
    "spaces": PLAIN.replace(",", ", "),
    "rare": lines("a,b", n=60, a=number, b=lambda i, rng: "rare" if i == 5 else "xy"[i % 2]),
    "only_once": lines("a,b", n=60, a=number, b=lambda i, rng: f"c{i}" if i % 3 else "x"),
    "percent": lines(
        "a,b", a=number, b=lambda i, rng: f"{rng.uniform(1, 9):.1f}%" if i % 9 else ""
    ),
    "thousands": lines(
        "a,b", a=number, b=lambda i, rng: f'"{rng.integers(10**6):,}"' * (i % 9 > 0)
    ),
    "currency": lines("a,b", a=number, b=lambda i, rng: f"${rng.lognormal():.2f}" * (i % 9 > 0)),
    "dates": lines("a,b", a=number, b=lambda i, rng: f"{1 + i % 28:02d}.03.2024" * (i % 9 > 0)),
    "times": lines(
        "a,b", a=number, b=lambda i, rng: f"2024-03-01T{i % 24:02d}:00:00Z" * (i % 9 > 0)
    ),
    "booleans": lines("a,b", a=number, b=pick("True", "False", "")),
    "counts": lines("a,b", a=number, b=lambda i, rng: str(rng.poisson(1)) if i % 9 else ""),
    "ordinal": lines("a,b", a=number, b=lambda i, rng: str(1 + i % 4) if i % 9 else ""),
    "postcodes": lines("a,b", a=number, b=pick("01234", "98101", "00501", "")),
    "underscores": lines("a_low,a", a=number, b=letter),
    "numbered_names": lines("0,1", a=number, b=letter),
    "newline_in_a_name": lines('"a\nb",c', a=number, b=letter),
    "long_cells": lines("a,b", a=number, b=pick("x" * 5000, "y" * 5000)),
    "one_bad_cell": PLAIN + "oops,x\n",
    "all_but_one_missing": "a,b\n" + ",x\n" * 10 + ",y\n" * 10 + "1.5,x\n2.5,y\n" * 5,
}


@pytest.mark.parametrize("name", ODD_TABLES)
def test_odd_tables_work(tmp_path, monkeypatch, call, train, name):
    monkeypatch.chdir(tmp_path)
    source = tmp_path / "t.csv"
    source.write_bytes(ODD_TABLES[name].encode())
    train("runs", "a", "--data", source, "--epochs", 1, "--threads", 1, "--test-fraction", 0)
    before = table_files.read(source)
    flags = ("--run", "a", "--n-samples", 5, "--threads", 1)
    for args in (("detect", source, *flags), ("impute", source, *flags, "--out", "full.csv")):
        result = call(*args)
        assert (result.code, result.err) == (0, ""), result.err
    assert call("generate", "--run", "a", "--n", 9, "--threads", 1).code == 0
    scored, full = table_files.read("t.scored.csv"), table_files.read("full.csv")
    names = list(before.frame.columns)
    assert list(scored.frame.columns)[: len(names)] == list(full.frame.columns) == names
    pd.testing.assert_frame_equal(scored.frame[names], before.frame)
    assert np.isfinite(scored.frame["anomaly_score"].astype(float)).all()
    config = json.loads(Path("runs/a/config.json").read_text())
    columns = [units.Column(**column) for column in config["codec"]["columns"]]
    empty = encoding.empty_rows(before.frame)  # which stay so
    for column in columns:
        there = ~cells.missing(before.frame[column.name])
        old, new = before.frame[column.name], full.frame[column.name]
        assert (old[there] == new[there]).all()
        if column.kind != "ignore":
            assert not cells.missing(new)[~empty].any()
            _, mask, _, notes = encoding.encode(full.frame[~there & ~empty], [column])
            assert mask.all(), notes  # what was filled in can be read again
    assert source.read_bytes() == ODD_TABLES[name].encode()


# A table that differs from the one a run was trained on


def scored(call, frame):
    frame.to_csv("new.csv", index=False)
    flags = ("--run", "a", "--out", "s.csv", "--overwrite", "--threads", 1, "--n-samples", 50)
    result = call("detect", "new.csv", *flags)
    assert result.code == 0, result.err
    return result.out, pd.read_csv("s.csv")


@pytest.mark.usefixtures("at_table")
def test_new_categories_and_unreadable_cells_are_counted_in_a_note(call):
    frame = mixed_table()
    frame.loc[[3, 9], "city"] = "Rome"
    frame.loc[4, "age"] = "old"
    frame.loc[7, "visits"] = "-2"
    out, result = scored(call, frame)
    assert "column 'city': 2 cells taken as missing, such as 'Rome' in row 4" in out
    assert "column 'age': 1 cell taken as missing: 'old' in row 5" in out
    assert "column 'visits': 1 cell taken as missing: '-2' in row 8, which is imp" in out
    assert result["anomaly_rank"][7] == 1
    assert result["anomaly_why"][7].startswith("visits=-2")
    assert result["city"][3] == "Rome"


@pytest.mark.usefixtures("at_table")
def test_columns_may_be_missing_added_or_in_another_order(call):
    frame = mixed_table()
    _, base = scored(call, frame)
    out, shuffled = scored(call, frame[frame.columns[::-1]])
    assert "Note" not in out
    np.testing.assert_allclose(shuffled["anomaly_score"], base["anomaly_score"], atol=1e-3)
    out, more = scored(call, frame.assign(extra="x"))
    assert "columns that the run does not know are kept as they are: 'extra'" in out
    np.testing.assert_allclose(more["anomaly_score"], base["anomaly_score"], atol=1e-3)
    assert (more["extra"] == "x").all()
    out, fewer = scored(call, frame.drop(columns="pay"))
    assert "column 'pay' is not in the file: taken as missing" in out
    _, empty = scored(call, frame.assign(pay=""))
    np.testing.assert_allclose(fewer["anomaly_score"], empty["anomaly_score"], atol=1e-3)
    assert "pay" not in fewer


@pytest.mark.usefixtures("at_table")
def test_one_row_can_be_scored_and_filled(call):
    frame = mixed_table().iloc[:1].assign(age="")
    _, result = scored(call, frame)
    assert len(result) == 1
    assert call("impute", "new.csv", "--run", "a").code == 0
    assert pd.read_csv("new.imputed.csv")["age"].notna().all()


@pytest.mark.usefixtures("at_table")
def test_a_row_of_only_holes_has_the_score_of_knowing_nothing(call):
    frame = mixed_table()
    frame.loc[2] = ""
    _, result = scored(call, frame)
    assert abs(result["anomaly_nats"][2]) < 0.05
    assert result["is_anomaly"][2] == 0


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (RuntimeError("can't allocate memory: you tried to allocate 512 bytes."), "512 bytes"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.5 GiB."), "2.5 GiB"),
        (MemoryError("Unable to allocate 7.3 TiB for an array"), "7.3 TiB"),
        (RuntimeError("CUDA error: out of memory"), None),
        (MemoryError(), None),
    ],
)
def test_too_little_memory_is_said_in_a_line(capsys, error, wanted):
    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        cli_run_script(main)
    assert end.value.code == 2
    err = capsys.readouterr().err
    wanted = f", {wanted} more were wanted" if wanted else ""
    assert err.startswith(f"error: out of memory{wanted}: a smaller model")
    assert err.count("\n") == 1


@pytest.mark.slow
def test_a_damaged_page_of_parquet_does_not_abort_the_process(run_script, tmp_path, train):
    """Threads of the reader are still alive then; what they hold must not belong to Python."""
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({f"c{i}": rng.choice(["one", "two", "three"], 200) for i in range(8)})
    frame["x"] = rng.normal(size=200)
    frame.to_parquet(tmp_path / "t.parquet")
    train(tmp_path / "runs", "a", "--data", tmp_path / "t.parquet", "--epochs", 1, "--threads", 1)
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[20:60] = rng.bytes(40)
    (tmp_path / "t.parquet").write_bytes(content)
    for _ in range(8):
        done = run_script("detect", "t.parquet", "--run", "a", "--out", "o.csv", cwd=tmp_path)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
