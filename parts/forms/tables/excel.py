"""Read the first sheet of an .xlsx workbook as cells of text, and write tables as workbooks.

A workbook that was read is written with its changed cells and new columns only: formulas, formats
and the other sheets stay.
"""

import datetime
import io
import zipfile
from dataclasses import dataclass

import numpy as np

from parts import memory
from parts.errors import UserError
from parts.forms.tables import headers
from parts.words import counted

SMALL = 2**24  # bytes of an unpacked workbook, up to which its growth is not looked at
MOST_GROWTH = 200  # times that a workbook grows at most when it is unpacked
BYTES_EACH = 10  # memory for each byte of an unpacked workbook
EXACT = 10**15  # whole numbers from here on are written as text: Excel keeps fifteen digits
DAY = datetime.timedelta(days=1)


@dataclass
class Sheet:
    """Where in a workbook its table is; rows and columns count from 1, as Excel's do."""

    content: bytes
    title: str
    header: list | None  # None without a header
    names_at: int | None  # the row of the header
    rows: list  # of the table [N]
    first_column: int


def read(path, config):
    """The cells of the first sheet as a frame of text, its Sheet, and notes for the user."""
    import openpyxl
    import pandas as pd

    content = path.read_bytes()
    refuse_bomb(content, path)
    book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    if not book.worksheets:
        raise UserError(f"{path} has no sheet of cells")
    sheet, others = book.worksheets[0], book.worksheets[1:]
    sheet.reset_dimensions()  # some programs write wrong ones
    cells = [[text_of(value) for value in row] for row in sheet.iter_rows(values_only=True)]
    book.close()
    notes = []
    if others:
        titles = ", ".join(repr(each.title) for each in others[:5])
        notes.append(f"{path}: read sheet {sheet.title!r}, and not {titles}")
    numbers, table, first_column = _table(cells)
    if not table:
        raise UserError(f"{path}: sheet {sheet.title!r} is empty, expected a header and rows")
    at, names = _header(table, path, config.no_header, notes)
    if n_left := _remarks(numbers[at:], table[at:]):
        shown = next(filter(None, table[-n_left]))[: headers.N_SHOWN]
        notes.append(
            f"{path}: left out {counted(n_left, 'row')} below the table, such as {shown!r}"
        )
        numbers, table = numbers[:-n_left], table[:-n_left]
    rows, n_columns = table[at:], len(table[0])
    names_at, header = None, None
    if names is None:
        names = headers.numbered(n_columns)
    else:
        names_at, header = numbers[at - 1], names
        names, more = headers.names_of(header)
        notes += [f"{path}: {note}" for note in more]
    columns = list(zip(*rows, strict=True)) or [()] * n_columns
    frame = pd.DataFrame(dict(zip(names, map(list, columns), strict=True)), dtype="str")
    place = Sheet(content, sheet.title, header, names_at, numbers[at:], first_column)
    return frame, place, notes


def refuse_bomb(content, path):
    """Raise UserError for a workbook that is too large when it is unpacked."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        n_bytes = sum(member.file_size for member in archive.infolist())
    if n_bytes > SMALL and n_bytes > MOST_GROWTH * len(content):
        raise UserError(
            f"{path} grows to more than {MOST_GROWTH} times its size when it is unpacked, as "
            "hardly any table does; save it as .csv"
        )
    memory.refuse_beyond_memory(f"{path}, unpacked,", n_bytes, BYTES_EACH, "bytes")


def _table(cells):
    """The numbers of rows that hold a cell, these rows without empty columns at the sides, the
    number of the first column."""
    width = max(map(len, cells), default=0)
    padded = [row + [""] * (width - len(row)) for row in cells]
    filled = [k for k, row in enumerate(padded) if any(row)]
    used = [j for j in range(width) if any(padded[k][j] for k in filled)]
    if not used:
        return [], [], 1
    low, high = used[0], used[-1] + 1
    return [k + 1 for k in filled], [padded[k][low:high] for k in filled], low + 1


def _header(table, path, no_header, notes):
    """How many rows precede those of the table, and the names in the last of them, or None."""
    width = max(sum(map(bool, row)) for row in table)
    at = 0
    while at + 1 < len(table) and sum(map(bool, table[at])) < min(2, width):
        at += 1  # a title
    if at:
        shown = table[0][0][:40]
        notes.append(f"{path}: left out {counted(at, 'row')} above the header, such as {shown!r}")
    below = table[at + 1 : at + 1 + headers.N_JUDGED]
    if no_header:
        return (at + 1, table[at]) if headers.is_numbered(table[at]) else (at, None)
    seems = headers.judge(table[at], below) if below else "names"
    notes += headers.notes_on(seems, ",".join(table[at]), path)
    return at + 1, table[at]


def _remarks(numbers, rows):
    """How many last rows are none, but sums or remarks behind an empty row; see `Lines` in
    layout.py."""
    behind = [i for i in range(1, len(rows)) if numbers[i] > numbers[i - 1] + 1]
    n_left = len(rows) - behind[-1] if behind else 0
    if not 0 < n_left <= headers.MOST_REMARKS:
        return 0
    above = rows[:-n_left][-headers.N_JUDGED :]
    return n_left if all(headers.is_remark(row, above) for row in rows[-n_left:]) else 0


# Cells


def text_of(value):
    """The value of a cell as text, "" for an empty one."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value == int(value) and abs(value) < EXACT else repr(value)
    if isinstance(value, datetime.datetime):
        day = value.time() == datetime.time()
        return str(value.date()) if day else value.isoformat(" ")
    if isinstance(value, datetime.timedelta):
        days, rest = divmod(value, DAY)
        clock = (datetime.datetime.min + rest).time()
        return f"{days} days {'+' if days < 0 else ''}{clock}"
    return str(value).strip("\r\n") if not isinstance(value, str) else value


def _set(cell, value):
    """Write a value into a cell, to its last digit."""
    if isinstance(value, float) and float(f"{value:.16g}") != value:
        cell.value, cell.data_type = repr(value), "n"  # openpyxl would write sixteen digits
    else:
        cell.value = value


def _storable(value):
    """A value as Excel can hold it; what it cannot is written as text."""
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        is_long = isinstance(value, int) and abs(value) >= EXACT
        return str(value) if is_long or value in (np.inf, -np.inf) else value
    return value


def edit(sheet, frame, old, file):
    """Write the workbook of a Sheet with the cells of `frame` that differ from those of `old`."""
    import openpyxl

    book = openpyxl.load_workbook(io.BytesIO(sheet.content))
    page = book[sheet.title]
    own = list(old.columns)
    for j, name in enumerate(own):
        changed = np.flatnonzero((frame[name] != old[name]).to_numpy(bool))
        kept = np.array(old[name] != "")
        kept[changed] = False
        like = _first(page, sheet, j, kept)
        for i in changed:
            cell = page.cell(sheet.rows[i], sheet.first_column + j)
            _set(cell, _like(frame[name].iloc[i], like))
            if like is not None:
                cell.number_format = like.number_format
    added = [name for name in frame.columns if name not in own]
    for k, name in enumerate(added):
        column = sheet.first_column + len(own) + k
        if sheet.names_at is not None:
            page.cell(sheet.names_at, column, name)
        for i, value in enumerate(frame[name].tolist()):
            if value != "" and value == value:
                _set(page.cell(sheet.rows[i], column), _storable(value))
    book.save(file)


def _first(page, sheet, j, kept):
    """A cell of a column that is not empty, None if there is none."""
    if not kept.any():
        return None
    return page.cell(sheet.rows[int(kept.argmax())], sheet.first_column + j)


def _like(text, like):
    """Text as a value of the type that another cell has, if it is one."""
    kind = None if like is None else like.value
    try:
        if isinstance(kind, bool):
            return text == "true"
        if isinstance(kind, (int, float)) or like.data_type == "f":
            number = float(text)
            return int(number) if number == int(number) else number
        if isinstance(kind, datetime.datetime):
            return datetime.datetime.fromisoformat(text)
        if isinstance(kind, datetime.time):
            return datetime.time.fromisoformat(text)
    except (ValueError, AttributeError):  # then it stays text
        return text
    return text


def write(table, names, file):
    """Write an Arrow table as a new workbook of one sheet."""
    import openpyxl
    from openpyxl.cell import WriteOnlyCell

    from parts.forms.tables import arrow_cells, parquet

    book = openpyxl.Workbook(write_only=True)
    page = book.create_sheet("Sheet1")
    if names is not None:
        page.append([str(name) for name in names])
    columns = [arrow_cells.plain_values(table.column(i)) for i in parquet.places(table)]
    for row in zip(*columns, strict=True):
        cells = []
        for value in row:
            cell = WriteOnlyCell(page)
            _set(cell, _storable(value))
            cells.append(cell)
        page.append(cells)
    book.save(file)
