"""parts/forms/tables/table_files.py and parquet.py: only changed cells change in a file."""

import datetime
import decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parts import files
from parts.errors import UserError
from parts.forms.cells import NESTED
from parts.forms.tables import grid, kinds, table_files, text_files


def save(path, content):
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def copy(path, frame=None):
    """The bytes of the file read and written again."""
    file = table_files.read(path)
    out = path.with_name(f"out{path.suffix}")
    table_files.write(file.frame if frame is None else frame, out, file)
    return out.read_bytes()


# Text: cells, delimiter, line ends, byte order mark and header stay

TEXT = {
    "commas.csv": "a,b\n1,x\n2,y\n",
    "semicolons.csv": "a;b\n1,5;x\n2,5;y\n",
    "bars.csv": "a|b\n1|x\n2|y\n",
    "tabs.csv": "a\tb\n1\tx\n2\ty\n",
    "tabs.tsv": "a\tb\n1\tx\n2\ty\n",
    "one.tsv": "a b\n1 2\n3 4\n",
    "commas.tsv": "a,b\n1,x\n2,y\n",
    "crlf.csv": "a,b\r\n1,x\r\n2,y\r\n",
    "bom.csv": "\ufeffa,b\n1,x\n2,y\n",
    "excel.csv": "\ufeffa;b\r\n1,5;x\r\n2,5;y\r\n",
    "quoted.csv": 'a,b\n"1,5","x ""q"" y"\n"2\n3",z\n',
    "crlf_in_cell.csv": 'a,b\r\n1,"x\r\ny"\r\n2,z\r\n',
    "newline_in_name.csv": '"a\nb",c\n1,2\n3,4\n',
    "delimiter_in_name.csv": '"a,b",c\n1,2\n3,4\n',
    "index.csv": ",a\n0,1\n1,2\n",
    "several_without_name.csv": ",a,\n0,1,x\n1,2,y\n",
    "formulas.csv": "a,b\n=1+1,2\n@x,3\n+1,-2\n",
    "blanks.csv": "a,b\n 1 ,x\n2, y\n",
    "marks.csv": "a,b\nNA,nan\n,null\n",
    "zeros.csv": "a,b\n007,1.50\n0.10,1e5\n",
    "holes.csv": "a,b\n,\n1,\n,2\n",
    "unicode.csv": "größe,日本\nä,😀\nö,a\u0301\n",
    "one_column.csv": "a\n1\n2\n",
    "one_row.csv": "a,b\n1,2\n",
    "numbers_as_names.csv": "0,1,2\n1,2,3\n",
    "hash.csv": "a,b\n#1,2\n3,4\n",
    "long.csv": "a,b\n" + "x" * 200_000 + ",1\n2,3\n",
    "upper.CSV": "a,b\n1,x\n",
}


@pytest.mark.parametrize("name", TEXT)
def test_text_goes_out_byte_for_byte(tmp_path, name):
    path = save(tmp_path / name, TEXT[name])
    assert copy(path) == TEXT[name].encode()
    assert path.read_bytes() == TEXT[name].encode()


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=6)


@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=6),
    delimiter=st.sampled_from(list(grid.DELIMITERS)),
)
def test_any_cells_come_back(tmp_path_factory, rows, delimiter):
    path = tmp_path_factory.getbasetemp() / "cells.csv"
    frame = pd.DataFrame(rows, columns=["a", "b", "c"], dtype="str")
    path.write_bytes(text_files.fresh(frame, ["a", "b", "c"], delimiter))
    assert table_files.read(path).frame.equals(frame)


def test_changed_cells_and_new_columns_are_written(tmp_path):
    path = save(tmp_path / "t.csv", "\ufeff a;b \r\n1,5;\r\n;x\r\n")
    frame = table_files.read(path).frame
    assert list(frame.columns) == ["a", "b"]
    frame.loc[0, "b"], frame.loc[1, "a"] = "=y;", "2,5"
    assert copy(path, frame.assign(score=[0.25, 3.0])).decode() == (
        '\ufeff a;b ;score\r\n1,5;"=y;";0.25\r\n2,5;x;3.0\r\n'
    )


def test_another_ending_has_its_own_form(tmp_path):
    path = save(tmp_path / "t.csv", "\ufeffa;b\r\n1,5;x\r\n")
    file = table_files.read(path)
    table_files.write(file.frame, tmp_path / "t.tsv", file)
    assert (tmp_path / "t.tsv").read_bytes() == b"a\tb\n1,5\tx\n"


def test_a_text_file_holds_text(tmp_path):
    frame = table_files.read(save(tmp_path / "t.csv", "a,b\n1,\nTrue,NA\n")).frame
    assert frame.to_numpy().tolist() == [["1", ""], ["True", "NA"]]


def test_names_without_blanks_are_what_a_column_is_called(tmp_path):
    file = table_files.read(save(tmp_path / "t.csv", ' a , "b, c" ,,d\n1,2,3,4\n'))
    assert list(file.frame.columns) == ["a", "b, c", "unnamed 3", "d"]


@pytest.mark.parametrize(
    ("header", "row", "delimiter"),
    [
        ("a,b;c,d", "1,2,3", ","),
        ("a;b;c,d", "1;2;3", ";"),
        ("a\tb", "1\t2", "\t"),
        ("a|b,c", "1,2", ","),
        ('"a;b;c",d', "1,2", ","),
        ('"a,b,c";d', "1;2", ";"),
        ("a", "1", ","),
        ("a:b", "1", ","),
    ],
)
def test_the_delimiter_is_what_parts_the_header_most(tmp_path, header, row, delimiter):
    file = table_files.read(save(tmp_path / "t.csv", f"{header}\n{row}\n"))
    assert file.as_written["text"].grid.delimiter == delimiter
    assert file.frame.iloc[0].tolist() == row.split(delimiter)


def test_a_spreadsheets_line_that_names_the_delimiter_is_no_header(tmp_path):
    file = table_files.read(save(tmp_path / "t.csv", "sep=;\na;b\n1;2\n"))
    assert list(file.frame.columns) == ["a", "b"]


@pytest.mark.parametrize("at", [0, 5, 19])
def test_a_short_row_is_refused(tmp_path, at):
    rows = ["1,2,3"] * 20
    rows[at] = "1,2"
    with pytest.raises(
        UserError, match=rf"row {at + 1} \(line {at + 2}\) has 2 cells, and the header 3"
    ):
        table_files.read(save(tmp_path / "t.csv", "\n".join(["a,b,c", *rows]) + "\n"))


@pytest.mark.parametrize("at", [0, 5, 19])
def test_a_long_row_is_refused(tmp_path, at):
    rows = ["1,2,3"] * 20
    rows[at] = "1,2,3,4"
    with pytest.raises(
        UserError, match=rf"row {at + 1} \(line {at + 2}\) has 4 cells, and the header 3"
    ):
        table_files.read(save(tmp_path / "t.csv", "\n".join(["a,b,c", *rows]) + "\n"))


# Parquet: types, nulls, metadata, index


def arrow_table():
    """A column of each type that people have, each with a null."""
    day, moment = datetime.date(2024, 5, 1), datetime.datetime(2024, 5, 1, 10, 30, 5)
    columns = {
        "int64": pa.array([1, None, 3], pa.int64()),
        "int8": pa.array([None, 2, 3], pa.int8()),
        "uint16": pa.array([1, 2, None], pa.uint16()),
        "float64": pa.array([0.5, None, 2.5]),
        "float32": pa.array([0.5, None, 2.5], pa.float32()),
        "bool": pa.array([True, None, False]),
        "string": pa.array(["x", None, "=z"]),
        "large_string": pa.array(["x", "ä", None], pa.large_string()),
        "category": pa.array(["b", None, "a"]).dictionary_encode(),
        "date": pa.array([day, None, day]),
        "timestamp": pa.array([moment, None, moment], pa.timestamp("ns")),
        "timestamp_us": pa.array([moment, None, moment], pa.timestamp("us")),
        "timestamp_zone": pa.array([moment, None, moment], pa.timestamp("us", "Europe/Oslo")),
        "decimal": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal("2.25")]),
        "list": pa.array([[1, 2], None, []]),
        "struct": pa.array([{"a": 1}, None, {"a": 2}]),
        "binary": pa.array([b"\xff", None, b"a"]),
        "time": pa.array([datetime.time(10, 30), None, datetime.time(1)]),
        "null": pa.nulls(3),
    }
    return pa.table(columns)


@pytest.fixture
def parquet(tmp_path):
    def save(table, name="t.parquet"):
        pa.parquet.write_table(table, tmp_path / name)
        return tmp_path / name

    return save


def same_table(path, table):
    found = pa.parquet.read_table(path)
    assert found.column_names == table.column_names
    for name in table.column_names:
        assert found.column(name).to_pylist() == table.column(name).to_pylist(), name
    return found


def test_parquet_that_is_not_changed_stays_as_it_is(parquet, tmp_path):
    table = arrow_table().replace_schema_metadata({"made by": "hand"})
    path = parquet(table)
    file = table_files.read(path)
    assert list(file.frame.columns) == table.column_names
    table_files.write(file.frame, tmp_path / "out.parquet", file)
    assert same_table(tmp_path / "out.parquet", table).schema.metadata == {b"made by": b"hand"}


FILLED = {
    "int64": (2.0, 2),
    "int8": (1.0, 1),
    "uint16": (7.0, 7),
    "float64": (1.25, 1.25),
    "float32": (1.25, 1.25),
    "bool": ("true", True),
    "string": ("y", "y"),
    "large_string": ("y", "y"),
    "category": ("a", "a"),
    "decimal": (1.75, decimal.Decimal("1.75")),
    "date": ("2024-05-02", datetime.date(2024, 5, 2)),
    "timestamp": ("2024-05-02 10:30:05", datetime.datetime(2024, 5, 2, 10, 30, 5)),
    "timestamp_us": ("2024-05-02 10:30:05", datetime.datetime(2024, 5, 2, 10, 30, 5)),
}


@pytest.mark.parametrize("name", FILLED)
def test_a_filled_hole_has_the_type_of_its_column(parquet, tmp_path, name):
    table = arrow_table()
    file = table_files.read(parquet(table))
    frame = file.frame.copy()
    row = table.column(name).to_pylist().index(None)
    cell, value = FILLED[name]
    frame[name] = frame[name].astype(object)
    frame.loc[row, name] = cell
    frame[name] = frame[name].astype(float if isinstance(cell, float) else str)
    table_files.write(frame, tmp_path / "out.parquet", file)
    found = pa.parquet.read_table(tmp_path / "out.parquet")
    assert found.schema.equals(table.schema)
    expected = table.column(name).to_pylist()
    expected[row] = value
    assert found.column(name).to_pylist() == expected
    for other in set(table.column_names) - {name}:
        assert found.column(other).to_pylist() == table.column(other).to_pylist(), other


def test_columns_are_added_to_parquet_behind_its_own(parquet, tmp_path):
    table = arrow_table()
    file = table_files.read(parquet(table))
    frame = file.frame.assign(score=[0.5, 1.5, 2.5], why=["", "x", "y"], flag=[0, 1, 0])
    table_files.write(frame, tmp_path / "out.parquet", file)
    found = pa.parquet.read_table(tmp_path / "out.parquet")
    assert found.column_names == [*table.column_names, "score", "why", "flag"]
    assert found.column("score").to_pylist() == [0.5, 1.5, 2.5]
    assert found.column("why").to_pylist() == ["", "x", "y"]
    assert found.select(table.column_names).equals(table)


@pytest.mark.parametrize("index", ["named", "unnamed", "dates", "range"])
def test_an_index_is_no_column_and_comes_back(tmp_path, index):
    frame = pd.DataFrame({"a": [1.5, np.nan, 2.5], "b": ["x", "y", "z"]})
    frame.index = {
        "named": pd.Index([7, 8, 9], name="key"),
        "unnamed": pd.Index([7, 8, 9]),
        "dates": pd.date_range("2024-01-01", periods=3, name="day"),
        "range": pd.RangeIndex(3),
    }[index]
    frame.to_parquet(tmp_path / "t.parquet")
    file = table_files.read(tmp_path / "t.parquet")
    assert list(file.frame.columns) == ["a", "b"]
    filled = file.frame.assign(a=[1.5, 2.0, 2.5], score=[1.0, 2.0, 3.0])
    table_files.write(filled, tmp_path / "out.parquet", file)
    found = pd.read_parquet(tmp_path / "out.parquet")
    expected = frame.assign(a=[1.5, 2.0, 2.5], score=[1.0, 2.0, 3.0])
    pd.testing.assert_frame_equal(found, expected, check_freq=False)


def test_pandas_types_come_back(tmp_path):
    frame = pd.DataFrame(
        {
            "Int64": pd.array([1, None, 3], "Int64"),
            "boolean": pd.array([True, None, False], "boolean"),
            "category": pd.Categorical(["b", None, "a"], ["b", "a", "c"]),
            "string": pd.array(["x", None, "z"], "string"),
            "time": pd.to_datetime(["2024-05-01 10:30", None, "2024-05-02 00:00"]),
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    file = table_files.read(tmp_path / "t.parquet")
    table_files.write(file.frame, tmp_path / "same.parquet", file)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "same.parquet"), frame)
    filled = file.frame.assign(Int64=[1.0, 2.0, 3.0], boolean=["true", "false", "false"])
    table_files.write(filled, tmp_path / "out.parquet", file)
    found = pd.read_parquet(tmp_path / "out.parquet")
    assert found.dtypes.equals(frame.dtypes)
    assert found["Int64"].tolist() == [1, 2, 3]
    assert found["boolean"].tolist() == [True, False, False]


def test_cells_of_parquet_are_numbers_or_text(parquet):
    frame = table_files.read(parquet(arrow_table())).frame
    numbers = ["int64", "int8", "uint16", "float64", "float32", "decimal"]
    assert [name for name in frame if frame[name].dtype.kind == "f"] == numbers
    np.testing.assert_array_equal(frame["int64"], [1, np.nan, 3])
    np.testing.assert_array_equal(frame["decimal"], [1.5, np.nan, 2.25])
    assert frame["bool"].tolist() == ["true", "", "false"]
    assert frame["category"].tolist() == ["b", "", "a"]
    assert frame["date"].tolist() == ["2024-05-01", "", "2024-05-01"]
    assert frame["timestamp_us"][0].startswith("2024-05-01 10:30:05")
    assert frame["string"].tolist() == ["x", "", "=z"]
    assert frame["list"].str.startswith(NESTED).tolist() == [True, False, True]


def test_parquet_becomes_csv_and_csv_parquet(parquet, tmp_path):
    table = arrow_table().select(["int64", "float64", "bool", "string", "date"])
    file = table_files.read(parquet(table))
    table_files.write(file.frame, tmp_path / "out.csv", file)
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[0] == "int64,float64,bool,string,date"
    assert lines[2] == ",,,,"
    file = table_files.read(save(tmp_path / "t.csv", "a;b\n1;x\n;y\n"))
    table_files.write(file.frame, tmp_path / "out.parquet", file)
    assert pa.parquet.read_table(tmp_path / "out.parquet").to_pylist() == [
        {"a": "1", "b": "x"},
        {"a": "", "b": "y"},
    ]


def test_csv_of_nested_values_can_be_read_again(parquet, tmp_path):
    file = table_files.read(parquet(arrow_table().select(["int64", "list"])))
    table_files.write(file.frame, tmp_path / "out.csv", file)
    again = table_files.read(tmp_path / "out.csv").frame
    assert again["int64"].tolist() == ["1", "", "3"]
    assert again["list"].tolist() == ["[1, 2]", "", "[]"]


def test_whole_numbers_of_parquet_are_whole_in_csv(parquet, tmp_path):
    file = table_files.read(parquet(pa.table({"a": [1, None, 3], "b": [True, False, None]})))
    table_files.write(file.frame, tmp_path / "out.csv", file)
    assert (tmp_path / "out.csv").read_text() == "a,b\n1,true\n,false\n3,\n"


def test_a_filled_category_keeps_its_categories(tmp_path):
    kind = pd.CategoricalDtype(["low", "middle", "high"], ordered=True)
    frame = pd.DataFrame({"a": pd.Categorical(["high", None, "low"], dtype=kind)})
    frame.to_parquet(tmp_path / "t.parquet")
    file = table_files.read(tmp_path / "t.parquet")
    table_files.write(file.frame.assign(a=["high", "low", "low"]), tmp_path / "out.parquet", file)
    found = pd.read_parquet(tmp_path / "out.parquet")["a"]
    assert found.tolist() == ["high", "low", "low"]
    assert found.dtype == kind


def test_moments_of_parquet_with_a_time_zone_are_dates(tmp_path):
    moments = pd.date_range("2024-03-01", periods=60, freq="7h", tz="UTC")
    pd.DataFrame({"a": moments}).to_parquet(tmp_path / "t.parquet")
    column = kinds.fit_column("a", table_files.read(tmp_path / "t.parquet").frame["a"])
    assert "date" in column.style


# Arrays


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_arrays_come_back(tmp_path, ending):
    x = np.random.default_rng(0).normal(size=(5, 3))
    x[2, 1] = np.nan
    path = tmp_path / f"t{ending}"
    if ending == ".npy":
        np.save(path, x)
    else:
        np.savez(path, x=x, y=np.arange(5), weights=np.ones(3))
    file = table_files.read(path)
    table_files.write(file.frame, tmp_path / f"out{ending}", file)
    found = np.load(tmp_path / f"out{ending}")
    if ending == ".npz":
        assert set(found) == {"x", "y", "weights"}
        np.testing.assert_array_equal(found["y"], np.arange(5))
        np.testing.assert_array_equal(file.labels, np.arange(5))
        found = found["x"]
    np.testing.assert_array_equal(found, x)


# Outputs


def test_an_output_is_named_after_its_source():
    assert str(files.output_of("d/orders.csv", "scored")) == "d/orders.scored.csv"
    assert str(files.output_of("a.b.parquet", "imputed")) == "a.b.imputed.parquet"
    assert str(files.output_of("t.npz", "scored", ".csv")) == "t.scored.csv"


def test_an_output_appears_whole_or_not_at_all(tmp_path):
    path = save(tmp_path / "t.csv", "a,b\n1,2\n")
    file = table_files.read(path)
    out = save(tmp_path / "out.npy", "mine")
    with pytest.raises(UserError, match="holds 'x', and an array numbers only"):
        table_files.write(file.frame.assign(a="x"), out, file)
    assert out.read_text() == "mine"
    assert {p.name for p in tmp_path.iterdir()} == {"t.csv", "out.npy"}


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("t.csv", "is the file that is read"),
        ("link.csv", "is the file that is read"),
        ("other.csv", "exists; add --overwrite"),
        ("none/x.csv", "there is no folder"),
        ("x.xls", "expected a name ending in"),
        ("x", "expected a name ending in"),
        ("folder.csv", "is a folder"),
    ],
)
def test_an_output_that_cannot_be_is_refused(tmp_path, name, fragment):
    source = save(tmp_path / "t.csv", "a\n1\n")
    save(tmp_path / "other.csv", "a\n1\n")
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "link.csv").symlink_to(source)
    with pytest.raises(UserError, match=fragment):
        table_files.refuse_output(tmp_path / name, False, source)
    if name == "other.csv":
        table_files.refuse_output(tmp_path / name, True, source)
    else:
        with pytest.raises(UserError, match=fragment):
            table_files.refuse_output(tmp_path / name, True, source)
    table_files.refuse_output(tmp_path / "new.PARQUET", False, source)


def test_a_lone_carriage_return_in_a_cell_is_read_again(tmp_path):
    frame = pd.DataFrame({"a": ["x\ry", "z"], "b": ["1", "2"]}, dtype="str")
    table_files.write(frame, tmp_path / "out.csv", table_files.File(tmp_path / "t.csv", frame))
    assert table_files.read(tmp_path / "out.csv").frame.equals(frame)
