"""Encode the cells of a DataFrame in model units, and give decoded cells the file's types.

parts/forms/tables/kinds.py fits the `Column`s to the training rows.
"""

import numpy as np

from parts.errors import UserError
from parts.forms import cells, units


def holes(frame, name):
    """True where a cell of the column is missing, [N]; False if there is no such column."""
    return cells.missing(frame[name]) if name in frame else np.zeros(len(frame), bool)


def encode(frame, columns, dtype=np.float32):
    """Encode a frame: x, mask and `impossible` [N, D] of the modelled columns, and notes.

    Empty cells, unreadable cells and unknown categories are missing. `impossible` marks numbers
    outside a column's support, such as a negative count; the mask is 0 there too.
    """
    n, kept = len(frame), units.modelled(columns)
    x = np.zeros((n, len(kept)), dtype)
    mask = np.zeros((n, len(kept)), np.float32)
    impossible = np.zeros((n, len(kept)), bool)
    notes = []
    for j, column in enumerate(kept):
        if column.name not in frame.columns:
            notes.append(f"column {column.name!r} is not in the file: taken as missing")
            continue
        series = frame[column.name]
        gone = cells.missing(series)
        values = (
            codes_of_levels(series, column)
            if column.levels
            else cells.numbers(series, column.style)
        )
        what = "is no level it was trained on" if column.levels else "is no number"
        if not column.levels:
            units.check_finite(values, column.name, series.index)
        unread = np.isnan(values) & ~gone
        if unread.any():
            row = int(unread.argmax())
            notes.append(
                f"column {column.name!r}: {unread.sum()} cells taken as missing, such as "
                f"{str(series.iloc[row])[:40]!r} in row {row + 1}, which {what}"
            )
        impossible[:, j] = column.impossible(values)
        if impossible[:, j].any():
            row = int(impossible[:, j].argmax())
            notes.append(
                f"column {column.name!r}: {impossible[:, j].sum()} impossible cells, such as "
                f"{str(series.iloc[row])[:40]} in row {row + 1}, in a {column.kind} column"
            )
        there = ~np.isnan(values) & ~impossible[:, j]
        mask[:, j] = there
        x[there, j] = values[there] if column.levels else column.to_model(values[there])
    return x, mask, impossible, notes


def codes_of_levels(series, column):
    """The codes of a category's cells, float64 [N], NaN for a cell that is not a level."""
    import pandas as pd

    if column.style:  # the levels are numbers: 6 and 6.0 are equal
        known = cells.numbers(pd.Series(column.levels, dtype="str"), column.style)
        found = pd.Index(known).get_indexer(cells.numbers(series, column.style))
    else:
        text = series.astype("str") if not cells.is_text(series) else series.str.strip()
        found = pd.Index(column.levels, dtype="str").get_indexer(text)
    return np.where(found < 0, np.nan, found)


def with_types(frame, columns):
    """Convert columns of text to numbers or dates, where every cell of the column is one."""
    import pandas as pd

    frame = frame.copy()
    for column in columns:
        cell = frame[column.name]
        if (
            not cells.is_text(cell)
            or column.kind == "ignore"
            or (column.levels and not column.style)
        ):
            continue
        number = cells.numbers(cell, column.style)
        if (np.isnan(number) & ~cells.missing(cell)).any():
            continue  # the column stays text
        if form := column.style.get("date"):
            frame[column.name] = pd.to_datetime(cell.str.strip(), format=form, errors="coerce")
        else:
            number = pd.Series(number, index=frame.index)
            whole = bool((number.dropna() == number.dropna().round()).all()) and column.whole
            frame[column.name] = number.astype("Int64") if whole else number
    return frame


def as_file_holds(frame, columns, file, path):
    """The frame for the file at `path`: with types if a text file becomes Parquet."""
    if not str(path).lower().endswith(".parquet") or "table" in file.as_written:
        return frame
    return with_types(frame, [c for c in columns if c.name in frame])


def numeric(series, path):
    """A column as float64; UserError names the first cell that is not a finite number."""
    values = cells.numbers(series, {})
    bad = ~(np.abs(values) <= units.LARGEST)
    if bad.any():
        row = int(bad.argmax())
        held = f"holds {str(series.iloc[row])[:40]!r}"
        if cells.missing(series)[row]:
            held = "is missing"
        elif not np.isnan(values[row]):
            held = f"is {values[row]}"
        raise UserError(
            f"{path}: row {row + 1}, column {series.name!r} {held}, expected a finite number up to "
            f"{units.LARGEST:g}; --likelihood mixed takes holes, text and outliers"
        )
    return values


def encode_file(file, columns):
    """Encode a File by the `columns` of a run, see `encode`.

    The columns of the file may be in any order; notes name missing and new columns. The columns of
    an array have no names and get those of the run.
    """
    path = file.path
    kept = units.modelled(columns)
    if path.suffix.lower() in (".npy", ".npz") and len(columns) == file.frame.shape[1]:
        file.frame.columns = [c.name for c in columns]
    if not {column.name for column in kept} & set(file.frame.columns):
        raise UserError(
            f"{path} has none of the columns that the run was trained on "
            f"({', '.join(c.name for c in kept[:5])}, ...): is it a run of another table?"
        )
    try:
        x, mask, impossible, notes = encode(file.frame, columns)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    added = [name for name in file.frame.columns if name not in {c.name for c in columns}]
    if added:
        shown = ", ".join(map(repr, added[:5])) + (", ..." if len(added) > 5 else "")
        notes.append(f"columns that the run does not know are kept as they are: {shown}")
    return x, mask, impossible, notes
