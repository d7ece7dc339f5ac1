"""parts/forms/tables/parquet.py and arrow_cells.py: types and last digits in every output."""

import datetime
import decimal
import json
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from parts.errors import UserError
from parts.forms.tables import arrow_cells, parquet, table_files
from parts.forms.units import Column

N = 24
MOMENT = datetime.datetime(2024, 3, 30, 22, 15, 30, 123456)
LARGE = 2**53 + 1


def holes(values):
    return [None if i % 7 == 3 else value for i, value in enumerate(values)]


def hours(n):
    return [MOMENT + datetime.timedelta(hours=i) for i in range(n)]


COLUMNS = {
    "binary": pa.array(holes([f"b{i % 3}".encode() for i in range(N)])),
    "bool": pa.array(holes([True, False] * (N // 2))),
    "date32": pa.array(holes([MOMENT.date()] * N), pa.date32()),
    "date64": pa.array(holes([MOMENT.date()] * N), pa.date64()),
    "decimal": pa.array(holes([decimal.Decimal(i).scaleb(-2) for i in range(N)])),
    "decimal of 38": pa.array([decimal.Decimal(f"1{'0' * 33}.{i:02d}") for i in range(N)]),
    "dictionary": pa.array(holes(["x", "y", "z"] * (N // 3))).dictionary_encode(),
    "dictionary of integers": pa.array(holes([i % 3 for i in range(N)])).dictionary_encode(),
    "duration": pa.array(holes([1000 * i - 5000 for i in range(N)]), pa.duration("s")),
    "duration of ns": pa.array(holes([10**12 * i + 5 for i in range(N)]), pa.duration("ns")),
    "fixed list": pa.array([[1.0, 2.0]] * N, pa.list_(pa.float64(), 2)),
    "float16": pa.array(np.linspace(0, 1, N).astype(np.float16)),
    "float32": pa.array(holes(np.linspace(0, 1, N).tolist()), pa.float32()),
    "float64": pa.array(holes([0.1 + 0.2 * i for i in range(N)])),
    "int64": pa.array([LARGE + i for i in range(N)]),
    "int64 with holes": pa.array(holes([LARGE + i for i in range(N)])),
    "int8": pa.array(holes(range(N)), pa.int8()),
    "large string": pa.array(holes([f"w{i % 4}" for i in range(N)]), pa.large_string()),
    "list": pa.array([[i] for i in range(N)]),
    "map": pa.array([[("a", 1)]] * N, pa.map_(pa.string(), pa.int64())),
    "null": pa.nulls(N),
    "string": pa.array(holes([f"w{i % 4}" for i in range(N)])),
    "struct": pa.array([{"a": i} for i in range(N)]),
    "time32": pa.array(holes([datetime.time(i, 5) for i in range(N)]), pa.time32("ms")),
    "time64": pa.array(holes([10**9 * i + 1 for i in range(N)]), pa.time64("ns")),
    "timestamp": pa.array(holes(hours(N)), pa.timestamp("us")),
    "timestamp of ns": pa.array(holes([10**17 * i + 1 for i in range(N)]), pa.timestamp("ns")),
    "timestamp of an offset": pa.array(holes(range(N)), pa.timestamp("ms", "+05:30")),
    "timestamp of a zone": pa.array(holes(hours(N)), pa.timestamp("us", "Europe/Oslo")),
    "uint64": pa.array(holes([2**64 - 1 - i for i in range(N)]), pa.uint64()),
    "uint8": pa.array(holes(range(N)), pa.uint8()),
}


@pytest.fixture
def file_of(tmp_path):
    """file_of(columns): the File of a Parquet file with these columns, and its Arrow table."""

    def file_of(columns):
        path = tmp_path / "t.parquet"
        pa.parquet.write_table(pa.table(columns), path)
        return table_files.read(path), pa.parquet.read_table(path)

    return file_of


def written(file, name, frame=None, columns=()):
    out = file.path.with_name(name)
    table_files.write(file.frame if frame is None else frame, out, file, columns)
    return out


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_a_column_stays_equal_and_its_filled_cells_have_its_type(file_of, name):
    file, table = file_of({"a": COLUMNS[name], "b": pa.array(range(N))})
    assert pa.parquet.read_table(written(file, "same.parquet")).equals(table)
    before, frame = table.column("a").to_pylist(), file.frame.copy()
    gone = frame["a"].isna() | (frame["a"] == "")
    if not gone.any() or gone.all() or pa.types.is_nested(table.column("a").type):
        return
    frame.loc[gone, "a"] = frame["a"][~gone].iloc[1]
    found = pa.parquet.read_table(written(file, "filled.parquet", frame))
    assert found.schema.equals(table.schema)
    seen = [value for value in before if value is not None]
    expected = [seen[1] if value is None else value for value in before]
    if name in ("int64 with holes", "uint64"):  # a fill is a float of the model
        fill = min(int(float(seen[1])), 2**64 - 1)
        expected = [fill if value is None else value for value in before]
    assert found.column("a").to_pylist() == expected


EXACT = {
    "bool": ("true", "false"),
    "date32": ("2024-03-30", "2024-03-30"),
    "decimal": ("0.00", "0.01"),
    "decimal of 38": ("1" + "0" * 33 + ".00", "1" + "0" * 33 + ".01"),
    "duration": ("-1 days +22:36:40", "-1 days +22:53:20"),
    "duration of ns": ("0 days 00:00:00.000000005", "0 days 00:16:40.000000005"),
    "float64": ("0.1", "0.30000000000000004"),
    "int64": (str(LARGE), str(LARGE + 1)),
    "int64 with holes": (str(LARGE), str(LARGE + 1)),
    "int8": ("0", "1"),
    "list": ("[0]", "[1]"),
    "time32": ("00:05:00", "01:05:00"),
    "time64": ("00:00:00.000000001", "00:00:01.000000001"),
    "timestamp": ("2024-03-30 22:15:30.123456", "2024-03-30 23:15:30.123456"),
    "timestamp of a zone": ("2024-03-30 23:15:30.123456+01:00", "2024-03-31 00:15:30.123456+01:00"),
    "uint64": (str(2**64 - 1), str(2**64 - 2)),
}


@pytest.mark.parametrize("name", sorted(EXACT))
def test_text_files_get_the_last_digit(file_of, name):
    file, table = file_of({"a": COLUMNS[name], "b": pa.array(range(N))})
    found = pd.read_csv(written(file, "t.csv"), dtype=str, keep_default_na=False)
    assert tuple(found["a"][:2]) == EXACT[name]
    nulls = table.column("a").is_null().to_pylist()
    assert (found["a"] == "").tolist() == nulls


def test_what_the_model_sees(file_of):
    file, _ = file_of({name: COLUMNS[name] for name in EXACT if name != "list"})
    numbers = ["decimal", "decimal of 38", "float64", "int64", "int64 with holes", "int8", "uint64"]
    assert [name for name in file.frame if file.frame[name].dtype.kind == "f"] == numbers
    assert file.frame["decimal"].iloc[:3].tolist() == [0.0, 0.01, 0.02]
    assert file.frame["timestamp of a zone"].iloc[0] == "2024-03-30 22:15:30.123456Z"
    assert file.frame["time32"].iloc[0] == "00:05:00"


def test_moments_without_times_are_days(file_of):
    days = pa.array(pd.date_range("2024-01-01", periods=5).to_numpy())
    assert file_of({"a": days})[0].frame["a"].iloc[0] == "2024-01-01"


@pytest.mark.parametrize("name", ["int64", "int64 with holes", "uint64"])
def test_arrays_hold_integers_exactly_or_are_refused(file_of, name):
    alone, table = file_of({"a": COLUMNS[name]})
    if table.column("a").null_count:
        with pytest.raises(UserError, match="column 'a' holds .* which an array of float64 cannot"):
            written(alone, "t.npz")
    else:
        found = np.load(written(alone, "t.npz"))["X"]
        assert found[:, 0].tolist() == table.column("a").to_pylist()
    both, _ = file_of({"a": COLUMNS[name], "b": COLUMNS["float64"]})
    with pytest.raises(UserError, match="column 'a' holds .* which an array of float64 cannot"):
        written(both, "t.npy")


@pytest.mark.parametrize("kind", ["bool", "float32", "int16", "int64", "uint64"])
def test_arrays_stay_equal_to_the_last_digit(tmp_path, kind):
    x = np.array([[0, 1], [3, 2]]).astype(kind)
    x = x + np.array(LARGE, kind) if kind in ("int64", "uint64") else x
    np.save(tmp_path / "t.npy", x)
    file = table_files.read(tmp_path / "t.npy")
    found = np.load(written(file, "out.npy"))
    assert found.dtype == x.dtype
    np.testing.assert_array_equal(found, x)
    text = pd.read_csv(written(file, "t.csv"))
    assert (text.to_numpy() == x).all()


def test_text_becomes_types_only_where_no_digit_is_lost(tmp_path):
    path = tmp_path / "t.csv"
    rows = [(93 * 10**17 + i, f"0.{i:02d}", f"0.{'1' * 25}{i}", 0.1 + 0.2 * i) for i in range(9)]
    path.write_text("u,x,long,f\n" + "".join(f"{a},{b},{c},{d!r}\n" for a, b, c, d in rows))
    file = table_files.read(path)
    columns = [Column("u", whole=True), Column("x"), Column("long"), Column("f")]
    found = pa.parquet.read_table(written(file, "t.parquet", columns=columns))
    assert [str(kind) for kind in found.schema.types] == [
        "uint64",
        "double",
        "large_string",
        "double",
    ]
    assert found.column("u").to_pylist() == [row[0] for row in rows]
    assert found.column("long").to_pylist() == [row[2] for row in rows]
    assert found.column("f").to_pylist() == [row[3] for row in rows]


# Types in a run


@pytest.mark.parametrize("name", sorted(COLUMNS))
def test_a_run_knows_the_types_of_its_columns(file_of, name):
    file, table = file_of({"a": COLUMNS[name], "b": pa.array(range(N))})
    stored = json.loads(json.dumps(table_files.stored_as(file)))["a"]
    text = arrow_cells.texts(table.column("a")).to_pandas()
    frame = pd.DataFrame({"a": pd.Series(text, dtype="str")})
    found = parquet.typed(frame, [Column("a", stored=stored)]).column("a")
    assert found.type == table.column("a").type
    if not pa.types.is_nested(found.type):
        assert found.to_pylist() == table.column("a").to_pylist()


def test_text_that_is_not_of_a_runs_type_stays_text():
    frame = pd.DataFrame({"a": ["1", "ERROR", ""]}, dtype="str")
    found = parquet.typed(frame, [Column("a", kind="ignore", stored={"type": "int64"})])
    assert found.column("a").to_pylist() == ["1", "ERROR", ""]


def test_generated_parquet_has_the_schema_of_the_source(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    n = 60
    size = pd.CategoricalDtype(["S", "M", "L", "XL"], ordered=True)
    frame = pd.DataFrame(
        {
            "id": np.arange(n) + 1_000_000,
            "x": rng.normal(size=n).astype(np.float32),
            "n": pd.array(rng.integers(0, 9, n), "Int64"),
            "yes": rng.random(n) < 0.5,
            "size": pd.Categorical(rng.choice(["S", "M", "L"], n), dtype=size),
            "at": pd.date_range("2024-01-01", periods=n, freq="7h", tz="Europe/Oslo"),
            "open": [datetime.time(8 + i % 4) for i in range(n)],
            "took": pd.to_timedelta(rng.integers(0, 9999, n), "s"),
        }
    )
    frame.to_parquet("t.parquet", index=False)
    train = ("train", "--data", "t.parquet", "--epochs", 1, "--run", "r", "--likelihood", "mixed")
    assert call(*train).code == 0
    result = call("generate", "--run", "r", "--n", 20, "--out", "new.parquet")
    assert result.code == 0, result.err
    source, made = (pa.parquet.read_schema(f"{name}.parquet") for name in ("t", "new"))
    assert made.equals(source)
    found = pd.read_parquet("new.parquet")
    assert found["id"].isna().all()
    assert found["size"].dtype == size
    assert (found.dtypes.drop("id") == frame.dtypes.drop("id")).all()


# Broken files


@pytest.mark.parametrize(
    "noted",
    ["[1]", '"x"', '{"index_columns": 5}', '{"index_columns": null}', "{", '{"columns": 3}'],
)
def test_odd_metadata_of_pandas_is_left_aside(tmp_path, noted):
    table = pa.table({"v": [1.5, 2.5], "c": ["x", "y"]}).replace_schema_metadata({"pandas": noted})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    file = table_files.read(tmp_path / "t.parquet")
    assert list(file.frame.columns) == ["v", "c"]
    assert set(table_files.stored_as(file)) == {"v", "c"}
    assert pa.parquet.read_table(written(file, "out.parquet")).equals(table)


def test_equal_names_are_told_apart_and_stay(tmp_path):
    table = pa.table([[1, 2], [3, 4]], names=["a", "a"])
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    file = table_files.read(tmp_path / "t.parquet")
    assert list(file.frame.columns) == ["a", "a.2"]
    out = written(file, "out.parquet", file.frame.assign(score=1.5))
    assert pa.parquet.ParquetFile(out).read().column_names == ["a", "a", "score"]


def test_a_table_beyond_memory_is_refused_before_it_is_read(file_of, monkeypatch):
    from parts import memory

    monkeypatch.setattr(memory, "free_bytes", lambda: 1000)
    with pytest.raises(UserError, match="at most .* cells fit"):
        file_of({"a": pa.array(range(500))})


@pytest.mark.skipif(sys.platform == "win32", reason="time zones come from the system")
def test_bounds_have_the_type_of_their_column(file_of):
    file, table = file_of({"at": COLUMNS["timestamp"], "n": COLUMNS["int8"]})
    bounds = {
        "at_low": ["2024-01-01 00:00:00", *[""] * (N - 1)],
        "n_low": [3.0] + [np.nan] * (N - 1),
    }
    found = pa.parquet.read_table(written(file, "b.parquet", file.frame.assign(**bounds)))
    assert found.column("at_low").type == table.column("at").type
    assert found.column("at_low").to_pylist()[:2] == [datetime.datetime(2024, 1, 1), None]
    assert found.column("n_low").type == pa.int8()
    assert found.column("n_low").to_pylist()[:2] == [3, None]
