"""Write model output as cells of a table: generated rows, filled holes, bounds of intervals."""

import numpy as np

from parts.errors import UserError
from parts.files import ending, wrote
from parts.forms import arrays, conditions, units
from parts.forms.tables import table_files
from parts.model.limits import AT_LIMIT

# Endings of columns that say how sure a filled cell is, by whether it is one of several levels.
SURE = {False: ("low", "high"), True: ("probability",)}


def texts(column, x):
    """Convert model units [N] to cells; without a known number of decimals, round to float32.

    float32 resolves 2^-24 of a value in model units. More digits would print 0 as 7e-6 and 40 as
    39.99999.
    """
    if (
        column.levels
        or column.whole
        or column.is_moment
        or column.style.get("decimals") is not None
    ):
        return column.text(x)
    return texts_of(column, column.to_user(x), x)


def texts_of(column, values, x):
    """Convert user units or codes [N], which are x in model units, to cells; see `texts`."""
    if (
        column.levels
        or column.whole
        or column.is_moment
        or column.style.get("decimals") is not None
    ):
        return column.text_of(values)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        error = 2.0**-24 * np.maximum(np.abs(x), 1) * np.exp(-column.log_det(x))
        step = 10.0 ** np.ceil(np.log10(3 * error))
        rounded = np.round(values / step) * step + 0.0  # not -0
    return column.text_of(np.where(np.isfinite(rounded), rounded, values))


def as_frame(x, mask, columns):
    """Rows as cells of all columns: ignored columns are empty, constant columns are filled.

    x and mask [n, D + number of conditions] are in model units; the conditions come last.
    """
    import pandas as pd

    kept = [
        column.name for column in (*units.modelled(columns), *conditions.condition_columns(columns))
    ]
    frame = {}
    for column in columns:
        if column.kind == "ignore":
            frame[column.name] = [column.levels[0] if column.levels else ""] * len(x)
            continue
        j = kept.index(column.name)
        text = np.array(texts(column, x[:, j]), dtype=object)
        for name, end, side in zip(("below", "above"), column.limits, (-1, 1), strict=True):
            text[side * (x[:, j] - end) > -AT_LIMIT] = column.style.get(name)
        frame[column.name] = np.where(mask[:, j] > 0, text, "")
    return pd.DataFrame(frame, dtype="str")


def check_array(columns, out):
    """Raise UserError if `out` is an array, and a column but the labels holds text."""
    if ending(out) not in arrays.ARRAY_READERS:
        return
    if not all(
        c.kind == "ignore" or c.style or not c.levels for c in columns if c.name != conditions.LABEL
    ):
        raise UserError(f"--out {out}: an array holds numbers only; write .csv or .parquet")


def write(frame, columns, out, has_header=True, dialect=None, source=None):
    """Write generated rows, with labels as the array y of an .npz; returns a line to print.

    A text file gets the Dialect of the run's data, which are those at the path `source`.
    """
    others = {}
    if ending(out) in arrays.ARRAY_READERS and conditions.LABEL in conditions.names(columns):
        others = {"y": conditions.as_labels(frame.pop(conditions.LABEL))}
        columns = [c for c in columns if c.name != conditions.LABEL]
    as_written = {"others": others, "dialect": dialect} | ({} if has_header else {"header": None})
    like = table_files.File(source or out, frame.iloc[:0], as_written=as_written)
    table_files.write(frame, out, like, columns)
    named = " and y" if others else ""
    return f"{wrote(out)}: {table_files.size_in_words(frame)}{named}"


def with_cells(frame, columns, holes, todo, values):
    """A copy of the frame with `values` [len(todo), D] in its holes, in their columns' style."""
    frame = frame.copy()
    for j, column in enumerate(columns):
        at = holes[todo, j] & ~np.isnan(values[:, j])
        if at.any():
            cells = frame[column.name].to_numpy(dtype=object, copy=True)
            written = column.text_of(values[at, j])
            is_text = bool(column.levels) and not column.style
            number = frame[column.name].dtype.kind == "f" and not is_text
            if is_text:  # the file may hold numbers, or nothing, where the run knows words
                cells[frame[column.name].isna().to_numpy()] = ""
            cells[todo[at]] = as_numbers(written, values[at, j]) if number else written
            frame[column.name] = cells.astype(float) if number else cells.astype(str)
    return frame


def as_numbers(texts, values):
    """Numbers for a typed column: what the cells say, or the values where they have units."""
    try:
        return [float(text) for text in texts]
    except ValueError:
        return values.tolist()


def add_bounds(output, frame, columns, holes, todo, filled):
    """Add columns that say how sure a Filled is, in place: NAME_low and NAME_high of numbers, and
    NAME_probability of categories.

    Only columns with holes in `frame` get them; cells without a hole stay empty.
    """
    for j, column in enumerate(columns):
        if column.part_of or not holes[:, j].any():  # an answer is a part of its cell
            continue
        is_filled = holes[todo, j] & ~np.isnan(filled.values[:, j])
        at = todo[is_filled]
        for i, word in enumerate(SURE[bool(column.levels)]):
            if column.levels:
                sure = filled.probability[is_filled, j]
                written = [f"{share:.3f}" for share in sure]
            else:
                sure = filled.bounds[i, is_filled, j]
                written = column.text_of(sure)
            number = frame[column.name].dtype.kind == "f"
            cells = np.full(len(frame), np.nan if number else "", dtype=object)
            cells[at] = as_numbers(written, sure) if number else written
            output[f"{column.name}_{word}"] = cells.astype(float if number else str)
