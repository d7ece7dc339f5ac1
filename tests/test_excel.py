"""parts/forms/tables/excel.py: cells as text, and workbooks in which only cells change."""

import datetime
import io
import zipfile

import numpy as np
import openpyxl
import pandas as pd
import pytest

from parts.errors import UserError
from parts.forms.config import DataConfig
from parts.forms.tables import excel, table_files


@pytest.fixture
def book(tmp_path):
    """A workbook with a title, a table that begins in B4, a formula, and a second sheet."""
    made = openpyxl.Workbook()
    page = made.active
    page["B2"] = "Report"
    for j, name in enumerate(["day", "x", "n", "yes", "open", "twice"]):
        page.cell(4, 2 + j, name)
    for i in range(12):
        row = [datetime.datetime(2024, 1, 1 + i), 0.25 * i, 3 * i, i % 2 == 0, datetime.time(9, i)]
        for j, value in enumerate(row):
            page.cell(5 + i, 2 + j, None if (i, j) in ((3, 1), (4, 0)) else value)
        page.cell(5 + i, 7, f"=C{5 + i}*2")
    made.create_sheet("two")["A1"] = "other"
    made.save(tmp_path / "t.xlsx")
    return tmp_path / "t.xlsx"


def test_the_first_sheet_is_read_as_text(book):
    file = table_files.read(book)
    assert list(file.frame.columns) == ["day", "x", "n", "yes", "open", "twice"]
    assert file.frame.iloc[1].tolist() == ["2024-01-02", "0.25", "3", "false", "09:01:00", ""]
    assert file.frame.iloc[3, 1] == ""
    assert any("'two'" in note for note in file.notes)
    assert any("'Report'" in note for note in file.notes)


def test_a_workbook_keeps_all_but_its_changed_cells(book):
    file = table_files.read(book)
    frame = file.frame.copy()
    frame.loc[3, "x"], frame.loc[4, "day"] = "0.30000000000000004", "2024-01-05"
    out = book.with_name("out.xlsx")
    table_files.write(frame.assign(score=np.linspace(0, 1, 12), why="a"), out, file)
    page = openpyxl.load_workbook(out).worksheets[0]
    assert page["C8"].value == 0.1 + 0.2
    assert page["B9"].value == datetime.datetime(2024, 1, 5)
    assert page["G5"].value == "=C5*2"
    assert (page["H4"].value, page["H6"].value, page["I6"].value) == ("score", 1 / 11, "a")
    assert openpyxl.load_workbook(out)["two"]["A1"].value == "other"
    again = table_files.read(out)
    assert again.frame["x"].tolist() == frame["x"].tolist()


@pytest.mark.parametrize("last", [["Total", 7, 66], [None, None, 66], ["Source: us", None, None]])
def test_sums_behind_an_empty_row_are_left_out(tmp_path, last):
    made = openpyxl.Workbook()
    for row in [["name", "x", "n"], *([f"a{i}", i / 4, i] for i in range(12)), [None] * 3, last]:
        made.active.append(row)
    made.save(tmp_path / "t.xlsx")
    file = table_files.read(tmp_path / "t.xlsx")
    assert len(file.frame) == 12
    assert "left out 1 row below the table, such as" in file.notes[0]
    table_files.write(file.frame.assign(score="1"), tmp_path / "out.xlsx", file)
    page = openpyxl.load_workbook(tmp_path / "out.xlsx").worksheets[0]
    assert [cell.value for cell in page[15]][:3] == last


def test_other_files_become_workbooks_to_the_last_digit(tmp_path):
    frame = pd.DataFrame(
        {
            "big": [2**53 + 1, 2**53 + 3],
            "x": [0.1 + 0.2, 1.0],
            "at": pd.to_datetime(["2024-01-01 10:00", "2024-01-02 00:00"]),
            "yes": [True, False],
        }
    )
    frame.to_parquet(tmp_path / "t.parquet")
    file = table_files.read(tmp_path / "t.parquet")
    table_files.write(file.frame, tmp_path / "t.xlsx", file)
    page = openpyxl.load_workbook(tmp_path / "t.xlsx").active
    rows = [[cell.value for cell in row] for row in page.iter_rows()]
    assert rows[0] == ["big", "x", "at", "yes"]
    assert rows[1] == [str(2**53 + 1), 0.1 + 0.2, datetime.datetime(2024, 1, 1, 10), True]
    again = table_files.read(tmp_path / "t.xlsx").frame
    assert again["big"].tolist() == [str(2**53 + 1), str(2**53 + 3)]
    table_files.write(again, tmp_path / "back.csv", table_files.read(tmp_path / "t.xlsx"))
    assert (tmp_path / "back.csv").read_text().splitlines()[1].startswith("9007199254740993,0.3")


def test_a_sheet_without_a_header(tmp_path):
    made = openpyxl.Workbook()
    for i in range(9):
        made.active.append([i * 0.5, "xyz"[i % 3]])
    made.save(tmp_path / "t.xlsx")
    with pytest.raises(UserError, match="looks like a row"):
        table_files.read(tmp_path / "t.xlsx")
    file = table_files.read(tmp_path / "t.xlsx", DataConfig(no_header=True))
    assert list(file.frame.columns) == ["c0", "c1"]
    assert len(file.frame) == 9


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (True, "true"),
        (3, "3"),
        (3.0, "3"),
        (0.1 + 0.2, "0.30000000000000004"),
        (1e300, "1e+300"),
        (datetime.datetime(2024, 5, 1), "2024-05-01"),
        (datetime.datetime(2024, 5, 1, 10, 30), "2024-05-01 10:30:00"),
        (datetime.time(9, 30), "09:30:00"),
        (datetime.timedelta(hours=26), "1 days 02:00:00"),
        (datetime.timedelta(hours=-2), "-1 days +22:00:00"),
        (" x ", " x "),
    ],
)
def test_values_as_text(value, text):
    assert excel.text_of(value) == text


def test_broken_workbooks_are_refused(tmp_path):
    path = tmp_path / "t.xlsx"
    for content in (b"", b"PK\x03\x04", b"hello"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"t\.xlsx cannot be read as \.xlsx"):
            table_files.read(path)
    openpyxl.Workbook().save(path)
    with pytest.raises(UserError, match="'Sheet' is empty"):
        table_files.read(path)
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("xl/workbook.xml", bytes(2**25))
    path.write_bytes(bomb.getvalue())
    with pytest.raises(UserError, match="more than 200 times its size"):
        table_files.read(path)
