"""Text files in all forms: what is read, what is said, and that only changed cells change."""

import gzip
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from parts.errors import UserError
from parts.forms import codec_from
from parts.forms.config import DataConfig
from parts.forms.tables import grid, headers, streams, table_files
from parts.forms.tables.text_files import Dialect
from parts.options import from_plain

ROWS = "".join(f"{i * 37 % 100 / 100:.2f},x{i % 3},{i}\n" for i in range(20))


@pytest.fixture
def read(tmp_path):
    """read(content, name, **options): the File of a text or of bytes."""

    def read(content, name="t.csv", **options):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return table_files.read(path, DataConfig(**options))

    return read


def written(file, frame=None, name=None):
    """The bytes of the file, written with the cells of `frame`."""
    out = file.path.with_name(name or f"out_{file.path.name}")
    table_files.write(file.frame if frame is None else frame, out, file)
    return out.read_bytes()


def first(file):
    return list(file.frame.columns), file.frame.iloc[0].tolist()


# What is around the table

AROUND = {
    "blank lines": ("x,y,n\n\n" + ROWS + "\n\n", 20, "left out 1 line without a cell"),
    "comments": ("# made\n% by hand\nx,y,n\n" + ROWS + "# end\n", 20, "3 lines of comments"),
    "names behind a hash": ("#x,y,n\n" + ROWS, 20, None),
    "names in a comment": ("# rows\n# x,y,n\n" + ROWS, 20, "1 line of comments"),
    "remarks": ("x,y,n\n" + ROWS + "\nSource: none\n", 20, "1 line below the table"),
    "padded title": (
        "Report 2024,,\n,,\nx,y,n\n" + ROWS,
        20,
        "2 lines above the header, such as",
    ),
    "padded titles": ("Sales,,\n,,\nYear:,,\n,,\nx,y,n\n" + ROWS, 20, "4 lines above the header"),
    "sum behind bars": ("x,y,n\n" + ROWS + ",,\nTotal,,190\n", 20, "2 lines below the table"),
    "full sum": ("x,y,n\n" + ROWS + "\nMean,x1,9.5\n,,\n", 20, "such as 'Mean,x1,9.5'"),
    "padded source": ("x,y,n\n" + ROWS + ",,\nMade on 1 May,,\n", 20, "2 lines below the table"),
    "sum": ("x,y,n\n" + ROWS + "\nTotal,,190\n", 20, "1 line below the table"),
    "titles": ("Sales, 2024\nby me\n\nx,y,n\n" + ROWS, 20, "2 lines above the header"),
    "title in a cell": ("Sales of 2024,,\nx,y,n\n" + ROWS, 20, "1 line above the header"),
    "units": ("x,y,n\nkg,-,m\n" + ROWS, 20, "taken for units: 'kg,-,m'"),
    "separator said": ("sep=,\nx,y,n\n" + ROWS, 20, None),
    "end of DOS": ("x,y,n\n" + ROWS + "\x1a", 20, None),
}


@pytest.mark.parametrize("name", sorted(AROUND))
def test_what_is_around_a_table_is_said_and_stays(read, name):
    content, n_rows, note = AROUND[name]
    file = read(content)
    assert first(file) == (["x", "y", "n"], ["0.00", "x0", "0"])
    assert len(file.frame) == n_rows
    assert note in str(file.notes) if note else file.notes == []
    assert written(file) == content.encode()
    more = written(file, file.frame.assign(score=np.arange(n_rows)))
    (file.path.with_name("more.csv")).write_bytes(more)
    again = table_files.read(file.path.with_name("more.csv"))
    assert list(again.frame.columns) == ["x", "y", "n", "score"]
    assert again.frame["score"].tolist() == [str(i) for i in range(n_rows)]
    assert len(file.notes) == len(again.notes)


def test_a_title_above_names_of_text(read):
    file = read("List,,\n,,\nfirst,last,town\n" + "ann,lee,ulm\nbo,ray,bern\n" * 9)
    assert first(file) == (["first", "last", "town"], ["ann", "lee", "ulm"])
    file = read("Report,2024,,\nx,y,n,m\n" + ROWS.replace("\n", ",1\n"))
    assert first(file) == (["x", "y", "n", "m"], ["0.00", "x0", "0", "1"])
    file = read("name,town,,\n" + "ann,ulm,1,2\nbo,bern,2,3\n" * 9)  # no title
    assert len(file.frame) == 18
    file = read("name,,\nann,lee,ulm\n" + "bo,lee,bern\nann,ray,ulm\n" * 9)  # no title
    assert len(file.frame) == 19


@pytest.mark.parametrize(
    ("below", "n"),
    [
        (",,\n,,\n", 22),  # rows without a cell
        (",,\n0.5,x1,3\n", 22),
        (",,\n0.5,,3\n", 22),
        ("\n0.5,x1,3\n0.7,x2,4\n", 22),
        ("\n" + "Total,,5\n" * 6, 26),
    ],
)
def test_rows_behind_an_empty_line_are_kept(read, below, n):
    assert len(read("x,y,n\n" + ROWS + below).frame) == n


def test_a_word_that_other_rows_begin_with_is_no_sum(read):
    rows = "Total,x,1\nParts,x,2\n" * 9
    assert len(read(f"item,y,n\n{rows},,\nTotal,x,9\n").frame) == 20


def test_an_empty_line_of_one_column_is_a_missing_cell(read):
    file = read("a\n1\n\n3\n\n")
    assert file.frame["a"].tolist() == ["1", "", "3"]
    assert written(file, file.frame.assign(a=["1", "2", "3"])) == b"a\n1\n2\n3\n\n"


def test_rows_may_end_in_delimiters(read):
    for content in ("a,b,\n1,2,\n3,4,\n", "a,b\n1,2,\n3,4,\n", "a,b,,\n1,2,,\n3,4,,\n"):
        file = read(content)
        assert file.frame.iloc[:, :2].to_numpy().tolist() == [["1", "2"], ["3", "4"]]
        assert written(file) == content.encode()


# Separators and quotes


@pytest.mark.parametrize(
    ("content", "names", "row"),
    [
        ("a b\n1 2\n3 4\n", ["a", "b"], ["1", "2"]),
        ("  a   b\n  1  20\n 33   4\n", ["a", "b"], ["1", "20"]),
        ('a\tb c\n1.5   2\t"x y"\n2.5   3\t"z w"\n', ["a", "b", "c"], ["1.5", "2", "x y"]),
        ("a;b\n1,5;2,5\n3,5;4,5\n", ["a", "b"], ["1,5", "2,5"]),
        ("from,to\n2024-01-01 10:00,2024-01-01 11:00\n", ["from", "to"], None),
        ("when\n2024-01-01 10:00\n2024-01-02 10:00\n", ["when"], ["2024-01-01 10:00"]),
        ("name\nAda Lovelace\nAlan Turing\n", ["name"], ["Ada Lovelace"]),
        ("a,b\n1,x|y\n2,z|w\n", ["a", "b"], ["1", "x|y"]),
        ("a;b\n" + "1,5;x\n" * 40, ["a", "b"], ["1,5", "x"]),
        ("title\na;b\n" + "1,5;x\n" * 40, ["a", "b"], ["1,5", "x"]),
        ("a|b\n1|2\n", ["a", "b"], ["1", "2"]),
    ],
)
def test_the_separator_is_found_over_several_lines(read, content, names, row):
    file = read(content, "t.txt")
    assert list(file.frame.columns) == names
    assert row is None or file.frame.iloc[0].tolist() == row
    assert written(file) == content.encode()


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_decimal_commas_are_no_delimiters(read, delimiter):
    content = f"1,5{delimiter}2,25\n3,5{delimiter}4,75\n2,5{delimiter}3,75\n"
    assert first(read(content, no_header=True)) == (["c0", "c1"], ["1,5", "2,25"])


def test_names_of_rows_as_r_writes_them(read):
    content = '"x" "y"\n' + "".join(f'"{i + 1}" {i % 4}.5 "v{i % 3}"\n' for i in range(20))
    file = read(content, "t.txt")
    assert first(file) == (["unnamed 1", "x", "y"], ["1", "0.5", "v0"])
    assert "names of rows" in file.notes[0]
    assert written(file, file.frame.assign(s="q")).startswith(b'"x" "y" "s"\n"1" 0.5 "v0" "q"\n')


@pytest.mark.parametrize(
    ("raw", "cell"),
    [
        ('"x, y"', "x, y"),
        (' "x, y"', "x, y"),
        ('   "x, y"  ', "x, y"),
        ('"x ""q"" y"', 'x "q" y'),
        ('"x \\"q\\" y"', 'x "q" y'),
        ('"C:\\"', "C:\\"),
        ('5" pipe', '5" pipe'),
        ('a "b" c', 'a "b" c'),
        ('"ab"cd', "abcd"),
        ('"line\none"', "line\none"),
        ('""', ""),
        ('""""', '"'),
    ],
)
def test_quotes(read, raw, cell):
    file = read(f"a,b,c\n1,{raw},2\n3,y,4\n")
    assert file.frame.to_numpy().tolist() == [["1", cell, "2"], ["3", "y", "4"]]
    assert written(file, file.frame.assign(a=["9", "3"])) == f"a,b,c\n9,{raw},2\n3,y,4\n".encode()


def test_new_cells_are_quoted_as_the_others_of_their_column(read):
    rows = "".join(f'"{i % 3}",{i},"v"\n' for i in range(9))
    file = read('"a","b","c"\n"",,"v"\n' + rows)
    frame = file.frame.assign(score=1.5, why="x")
    frame.loc[0, ["a", "b"]] = "7", "8"
    assert written(file, frame).splitlines()[:3] == [
        b'"a","b","c","score","why"',
        b'"7",8,"v",1.5,"x"',
        b'"0",0,"v",1.5,"x"',
    ]


def test_cells_that_need_quotes_get_them(read):
    file = read("a,b\n,x\n1,y\n2,z\n")
    frame = file.frame.assign(b=["p,q", 'say "no"', "two\nlines"])
    assert written(file, frame) == b'a,b\n,"p,q"\n1,"say ""no"""\n2,"two\nlines"\n'


@pytest.mark.parametrize("length", [1_000_000])
def test_long_cells_are_read_in_linear_time(read, length):
    for cell in ("y" * length, "q" + " " * length + "q", '""' * (length // 2), "'" * length):
        content = f'a,b\n1,"{cell}"\n2,z\n'
        file = read(content)
        assert file.frame["b"].iloc[0] == cell.replace('""', '"')
        assert written(file) == content.encode()


def test_a_header_of_many_columns(read):
    n = 3000
    content = ",".join(f"g{i}" for i in range(n)) + "\n" + ",".join(map(str, range(n))) + "\n"
    file = read(content)
    assert file.frame.shape == (1, n)
    assert file.frame.iloc[0, -1] == str(n - 1)
    assert written(file) == content.encode()


# The header

NAMES = {
    "mixed": ("a,2020,b\n" + "1,2,3\n" * 5, "names"),
    "numbers of columns": ("0,1,2\n" + "5,1,2\n" * 5, "names"),
    "index and numbers of columns": (",0,1\n" + "0,1,2\n" * 5, "names"),
    "text above text": ("city,job\n" + "Bern,nurse\nOslo,clerk\n" * 5, "names"),
    "years": ("name,1990,1991,1992\n" + "x,2,3,4\ny,5,6,8\n" * 5, "numbers"),
    "year": ("name,2020\n" + "x,2\ny,5\n" * 5, "numbers"),
    "wave lengths": ("id,400.5,402.1,404.9\n" + "x,.2,.3,.1\ny,.4,.5,.2\n" * 5, "numbers"),
    "flower": ("5.1,3.5,setosa\n4.9,3.0,setosa\n7.0,3.2,versicolor\n5.0,3.6,setosa\n", "row"),
    "codes": ("p,x,s\n" + "p,x,s\ne,b,s\n" * 5, "row"),
    "days": ("2024-01-01,5\n2024-01-02,6\n2024-01-03,4\n", "row"),
    "numbers": ("1.5,2\n" * 9, "row"),
    "person": ("Ada,36\n" + "".join(f"N{i},{i + 20}\n" for i in range(30)), "row"),
    "hole": ("1,,3\n" + "4,5,6\n" * 9, "row"),
}


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_first_line_is_names_or_a_row(read, name):
    content, expected = NAMES[name]
    if expected == "row":
        with pytest.raises(UserError, match="looks like a row.*--no-header"):
            read(content)
        file = read(content, no_header=True)
        assert len(file.frame) == content.count("\n")
        assert list(file.frame.columns) == [f"c{i}" for i in range(file.frame.shape[1])]
    else:
        file = read(content)
        assert len(file.frame) == content.count("\n") - 1
        assert any("--no-header" in note for note in file.notes) == (expected == "numbers")
    assert written(file) == content.encode()


def test_a_file_without_a_header_gets_one_with_new_columns_only(read):
    file = read("1.5,x\n2.5,y\n", no_header=True)
    more = written(file, file.frame.assign(score=[3, 4]))
    assert more == b"c0,c1,score\n1.5,x,3\n2.5,y,4\n"
    again = read(more, no_header=True)
    assert first(again) == (["c0", "c1", "score"], ["1.5", "x", "3"])


def test_equal_names_are_told_apart_and_written_as_they_were(read):
    file = read("a,a.2,a, a ,,b\n1,2,3,4,5,6\n7,8,9,1,2,3\n")
    assert list(file.frame.columns) == ["a", "a.2", "a.3", "a.4", "unnamed 5", "b"]
    assert "'a' is called 'a.3' here, and so are 1 more" in file.notes[0]
    assert written(file).startswith(b"a,a.2,a, a ,,b\n")


@pytest.mark.parametrize(
    ("line", "below", "expected"),
    [
        (["x", "y"], [["1", "2"]] * 4, "words"),
        (["x", "y"], [["a", "b"]] * 4, "names"),
        (["3", "y"], [["3", "y"]] * 4, "row"),
        (["NA", "y"], [["1", "b"]] * 4, "names"),
        (["1,5", "2"], [["1,25", "3"], ["1,75", "1"]], "row"),
    ],
)
def test_judge(line, below, expected):
    assert headers.judge(line, below) == expected


# Encodings


@pytest.mark.parametrize(
    ("encoding", "mark", "asked", "note"),
    [
        ("cp1250", b"", "cp1250", None),
        ("cp1252", b"", None, "is read as cp1252"),
        ("latin-1", b"", "latin-1", None),
        ("utf-16-be", b"\xfe\xff", None, None),
        ("utf-16-le", b"", None, None),
        ("utf-16-le", b"\xff\xfe", None, None),
        ("utf-16-le", b"\xff\xfe", "utf-16", None),
        ("utf-32-le", b"\xff\xfe\x00\x00", None, None),
        ("utf-8", b"", None, None),
        ("utf-8", b"\xef\xbb\xbf", None, None),
        ("utf-8", b"\xef\xbb\xbf", "utf-8", None),
    ],
)
def test_encodings(read, encoding, mark, asked, note):
    text = "größe;x\r\nfür;1\r\n;2\r\nweiß;3\r\n"
    file = read(mark + text.encode(encoding), encoding=asked)
    assert file.frame["größe"].tolist() == ["für", "", "weiß"]
    assert note in file.notes[0] if note else file.notes == []
    expected = text.replace("\r\n;2", "\r\nfür;2").encode(encoding)
    assert written(file, file.frame.assign(größe=["für", "für", "weiß"])) == mark + expected


def test_the_encoding_of_a_runs_own_file_is_tried_before_others(read):
    content = "name,x\nŁódź,1\nGdańsk,2\n"
    other = read(content.encode("cp1250"), other_encoding="cp1250")
    assert other.frame["name"].tolist() == ["Łódź", "Gdańsk"]
    assert "is read as cp1250" in other.notes[0]
    assert read(content, other_encoding="cp1250").frame["name"].tolist() == ["Łódź", "Gdańsk"]


@pytest.mark.parametrize(
    ("content", "options", "fragment"),
    [
        (bytes(3000), {}, "no text file"),
        (np.random.default_rng(0).bytes(3000), {}, "no text file"),
        (b"PAR1" + bytes(20), {}, "looks like a .parquet file"),
        (b"PK\x03\x04" + bytes(20), {}, "an .xlsx file"),
        ("a,b\né,1\n".encode("latin-1"), {"encoding": "utf-8"}, r"not utf-8 text \(byte 4\)"),
        (b"a,b\n1,2\n\0", {}, "no text file"),
        (b"", {}, "is empty"),
        (b"\n\n", {}, "is empty"),
        (b"# nothing\n", {}, "is empty"),
        (b"a,b\n", {}, "a header but no rows"),
        (b'a,b\n1,"2\n3,4\n', {}, "line 2 begins with a quote, and none ends it"),
        (b"a,b\n1,2\n3\n4,5\n", {}, r"row 2 \(line 3\) has 1 cell, and the header 2"),
        (b"a,b\n1,2\n3,4,5\n", {}, r"row 2 \(line 3\) has 3 cells, and the header 2"),
        (b"a,b,c\n1,2\n3,4\n", {}, r"row 1 \(line 2\) has 2 cells, and the header 3"),
        (b"a,b\n" + b"1.5,2.5,3\n" * 5, {}, r"row 1 \(line 2\) has 3 cells, and the header 2"),
        (b"1,2\n3,4,5\n6,7\n", {"no_header": True}, r"row 2 .* has 3 cells, and other rows 2"),
    ],
)
def test_what_is_no_table_is_refused(read, content, options, fragment):
    with pytest.raises(UserError, match=fragment):
        read(content, **options)


# Compressed files


def zstd(content):
    return pa.compress(content, codec="zstd", asbytes=True)


@pytest.mark.parametrize("name", ["t.csv.gz", "t.csv.zst", "t.txt.gz", "T.TSV.GZ"])
def test_compressed_files(read, name):
    content = ("x\ty\tn\n" + ROWS.replace(",", "\t")).encode()
    file = read(zstd(content) if name.endswith("zst") else gzip.compress(content), name)
    assert first(file) == (["x", "y", "n"], ["0.00", "x0", "0"])
    again = read(written(file), f"again_{name}")
    assert again.frame.equals(file.frame)
    assert written(file, name="plain.txt") == content


def test_the_bytes_say_whether_a_file_is_compressed(read):
    content = ("x,y,n\n" + ROWS).encode()
    assert first(read(content, "t.csv.gz")) == first(read(gzip.compress(content), "t.csv"))


@pytest.mark.parametrize("change", [lambda z: z[:-9], lambda z: z[:40] + b"\0\0" + z[42:]])
def test_a_broken_compressed_file_is_refused(read, change):
    content = ("x,y,n\n" + ROWS * 20).encode()
    with pytest.raises(UserError, match=r"t\.csv\.gz cannot be read as \.csv\.gz, because"):
        read(change(gzip.compress(content)), "t.csv.gz")


def test_a_file_that_grows_without_measure_is_left_early(read, monkeypatch):
    monkeypatch.setattr(streams, "SMALL", 2**20)
    taken = []
    monkeypatch.setattr(streams, "refuse_larger", lambda n, path: taken.append(n))
    with pytest.raises(UserError, match="more than 200 times its size"):
        read(gzip.compress(b"a,b\n" + b"1,2\n" * 2**24), "t.csv.gz")
    assert max(taken) < 2**25


# Any cells


def test_a_file_is_changed_where_its_cells_are(read):
    """Whatever the form, a changed cell is the only difference between two files."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        delimiter = rng.choice([",", ";", "\t", "|"])
        newline = rng.choice(["\n", "\r\n"])
        letters = ["a", "b", "1", "2.5", "", "é", " x", f"p{delimiter}q", 'say "no"', "l\nm"]
        table = rng.choice(letters, size=(6, 3))
        cells = [["one", "two", "three"], *table.tolist()]

        def spelt(cell, delimiter=delimiter):
            must = any(letter in cell for letter in f'{delimiter}"\n') or rng.random() < 0.3
            return '"' + cell.replace('"', '""') + '"' if must else cell

        raw = [[spelt(cell) for cell in row] for row in cells]
        content = newline.join(delimiter.join(row) for row in raw) + newline
        file = read(content)
        assert file.frame.to_numpy().tolist() == cells[1:], content
        i, j = rng.integers(6), rng.integers(3)
        frame = file.frame.copy()
        frame.iloc[i, j] = "changed"
        changed = read(written(file, frame))
        assert changed.frame.equals(frame)
        raw[i + 1][j] = raw[i + 1][j] if table[i, j] == "changed" else None
        kept = [cell for row in raw for cell in row if cell is not None]
        assert all(cell.encode() in written(file, frame) for cell in kept)


def test_the_grid_agrees_with_the_csv_reader_of_pandas(tmp_path):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.choice(["a", 'b"c', "d,e", "", "f\ng", " h"], size=(500, 6)))
    path = tmp_path / "t.csv"
    frame.to_csv(path, index=False)
    text = path.read_bytes()
    cells = grid.Grid.of(text, ",", path)
    starts, ends = cells.matrix(np.arange(1, 501), 6)
    found = cells.texts(starts.reshape(-1), ends.reshape(-1)).to_pylist()
    expected = pd.read_csv(path, dtype=str, keep_default_na=False)
    assert found == expected.to_numpy().reshape(-1).tolist()


# Standard input and output, and what a run keeps


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train):
    """A folder with runs of a table with and without a header."""
    folder = tmp_path_factory.mktemp("trained")
    rows = "".join(f"{i * 37 % 100};{'äöü'[i % 3]}{i % 2}\n" for i in range(60))
    (folder / "t.csv").write_bytes(("größe;art\n" + rows).encode("cp1252"))
    (folder / "bare.csv").write_text(rows, encoding="utf-8")
    for name, flags in (("t", ["--encoding", "cp1252"]), ("bare", ["--no-header"])):
        data = folder / f"{name}.csv"
        train(folder / "runs", name, "--data", data, "--epochs", 1, "--threads", 1, *flags)
    return folder


def test_standard_input_and_output(folder, script):
    content = Path("t.csv").read_bytes().replace(b"37;", b";", 1)
    done = subprocess.run(
        script.command("impute", "-", "--run", "t", "--threads", 1, "--n-samples", 5),
        input=gzip.compress(content),
        env=script.environment(),
        capture_output=True,
        check=True,
    )
    table = done.stdout.decode("cp1252").splitlines()
    before = content.decode("cp1252").splitlines()
    assert [i for i, pair in enumerate(zip(before, table, strict=True)) if len({*pair}) > 1] == [2]
    assert b"Filled 1 cell in" in done.stderr
    assert done.stderr.splitlines()[-2] == b"Wrote to standard output"
    assert {path.name for path in Path().iterdir()} == {"t.csv", "bare.csv", "runs"}


def test_standard_input_is_named_in_words(folder, script):
    for content, said in ((b"a;b\n1;2;3\n1;2\n", "standard input: "), (b"", "standard input is")):
        done = subprocess.run(
            script.command("data", "--data", "-"),
            input=content,
            env=script.environment(),
            capture_output=True,
            check=False,
        )
        assert done.returncode == 2
        assert done.stderr.decode().startswith(f"error: {said}")
    done = subprocess.run(
        script.command("data", "--data", "-"),
        input=Path("bare.csv").read_bytes().replace(b"37;", b"a;b\n", 1),
        env=script.environment(),
        capture_output=True,
        check=False,
    )
    assert b"- " not in done.stderr


def test_a_run_reads_other_files_by_their_own_encoding(folder, call):
    Path("u.csv").write_text(Path("t.csv").read_text("cp1252"), encoding="utf-8")
    for name, words in (("u.csv", ""), ("t.csv", "read as cp1252")):
        result = call("detect", name, "--run", "t", "--n-samples", 5)
        assert result.code == 0, result.err
        assert words in result.out
        assert "no level it was trained on" not in result.out
    scored = [Path(f"{name}.scored.csv").read_bytes() for name in "ut"]
    assert scored[0].decode("utf-8") == scored[1].decode("cp1252")


def test_a_run_without_a_header_reads_and_writes_rows_without(folder, call):
    assert call("detect", "bare.csv", "--run", "bare", "--n-samples", 5).code == 0
    lines = Path("bare.scored.csv").read_text("utf-8").splitlines()
    assert lines[0].startswith("c0;c1;anomaly_score;")
    assert len(lines) == 61
    assert call("impute", "bare.scored.csv", "--run", "bare", "--n-samples", 5).code == 0
    made = call("generate", "--run", "bare", "--n", 7, "--out", "new.csv")
    assert made.code == 0, made.err
    assert len(Path("new.csv").read_text("utf-8").splitlines()) == 7


def test_new_rows_are_written_as_those_of_the_run(folder, call):
    assert call("generate", "--run", "t", "--n", 7, "--out", "new.csv").code == 0
    lines = Path("new.csv").read_bytes().decode("cp1252").splitlines()
    assert lines[0] == "größe;art"
    assert all(re.fullmatch(r"\d+;[äöü][01]", line) for line in lines[1:])
    assert call("generate", "--run", "t", "--n", 7, "--out", "new.tsv").code == 0
    assert Path("new.tsv").read_text("utf-8").startswith("größe\tart\n")
    codec = json.loads(Path("runs/t/config.json").read_text("utf-8"))["codec"]
    assert codec_from(codec).dialect.delimiter == ";"
    del codec["dialect"]  # as of an older version
    assert codec_from(codec).dialect is None


@pytest.mark.parametrize(
    ("content", "options"),
    [
        (b'"a";"b ";"c"\r\n"1,5";"";x\r\n"2,5";"y";"z;"\r\n', {}),
        (b'"a",b\n1,"x"\n2,"y"\n', {}),
        ("\ufeffä|ä\n1|2\n".encode("utf-16-le"), {}),
        (b"a b c\n1 2 3\n4 5 6\n", {}),
        (b"1,2\n3,4\n", {"no_header": True}),
    ],
)
def test_a_dialect_writes_the_file_again(read, content, options):
    file = read(content, **options)
    dialect = from_plain(Dialect, json.loads(json.dumps(vars(table_files.dialect_of(file)))))
    found = dialect.written(file.frame, has_header=not options)
    assert found.replace(b'""', b"") == content.replace(b'""', b"")


@pytest.mark.parametrize(
    "wrong", [{"delimiter": "x"}, {"newline": ""}, {"encoding": "none"}, {"renamed": {"a": 1}}]
)
def test_a_damaged_dialect_is_refused(wrong):
    with pytest.raises(ValueError, match="no text file"):
        from_plain(Dialect, wrong)


def test_flags_of_reading_are_refused_where_nothing_is_read(folder, call):
    refused = call("generate", "--run", "t", "--no-header")
    assert refused.code == 2
    assert "--no-header says how a file is read" in refused.err
    assert "such as cp1252" in call("detect", "t.csv", "--encoding", "nonsense").err
    draws = call("impute", "-", "--run", "t", "--draws", 2)
    assert draws.code == 2
    assert "--draws writes a file for each draw" in draws.err
