"""Conditions of p(x | y): columns of a table, or labels, as the numbers y that a model is given.

In y a category is one-hot; a number is its value in model units and an indicator 1. Where a cell is
unknown all of its numbers in y are 0, a value that the model learns if training rows have it.
"""

import csv
from dataclasses import replace

import numpy as np

from parts.errors import UserError
from parts.forms import cells
from parts.forms.tables import answers, encoding, kinds
from parts.model.limits import FARTHEST_SEEN
from parts.words import counted

LABEL = "label"  # the condition that stands for the labels of a data set
N_NAMED_COLUMNS = 12  # most columns that an error lists
N_NEAREST = 100  # training rows that are nearest to given numbers


def condition_columns(columns):
    """The columns that are conditions."""
    return [column for column in columns if column.condition]


def fit(config, names, source, rows):
    """Fit the conditions of a DataConfig to the training rows of a Source, as Columns.

    `names` are the columns that may be conditions; labels always may.
    """
    wanted = requested_names(config, names, source.labels)
    if not wanted:
        return []
    import pandas as pd

    order = np.sort(rows)
    return [
        fit_column(
            name,
            pd.Series(cells_of(source, name)).iloc[order],
            config.kinds.get(name),
            is_label=name not in names,
        )
        for name in wanted
    ]


def cells_of(source, name):
    """The cells of a condition, [N]: a column of the source, or its labels."""
    return source.cells(name) if name in source.names else source.labels


def conditions_of_source(source, columns):
    """y [N, C] of a Source for these condition Columns, None without any; and notes."""
    if not columns:
        return None, []
    import pandas as pd

    frame = pd.DataFrame({c.name: cells_of(source, c.name) for c in columns})
    return encode(frame, columns)


def in_order(columns, given, names):
    """The modelled columns and the conditions in the order of the table, labels last."""
    found = {column.name: column for column in (*columns, *given)}
    return [found.pop(name) for name in names] + list(found.values())


def requested_names(config, names, labels):
    """The names in `--condition`, in the order of the table and of y, labels last.

    Each value of the flag is a name or several with commas; an unknown name is a UserError.
    """
    there = [*names] if labels is None or LABEL in names else [*names, LABEL]
    wanted = []
    for text in config.condition or []:
        several = next(csv.reader([text], skipinitialspace=True), []) or [text]
        wanted += [text] if text in there else several
    for name in wanted:
        if name not in there:
            shown = ", ".join(map(str, there))[:200] or "nothing that can be one"
            raise UserError(
                f"--condition {name or repr(name)}: --data {config.data} has no such column"
                f"{'' if LABEL in there else ' and no labels'}, it has {shown}"
            )
    if names and set(names) <= set(wanted):
        raise UserError(
            f"--condition {','.join(map(str, wanted))}: these are all the columns of --data "
            f"{config.data}, expected at least one to be left to model"
        )
    return [name for name in there if name in wanted]


def fit_column(name, series, spec=None, is_label=False):
    """Fit the Column of a condition; labels with few different values are a category."""
    if is_label and spec is None:
        values = series[~cells.missing(series)]
        whole = cells.is_text(values) or (values == values.round()).all()
        spec = "categorical" if whole and values.nunique() <= kinds.MAX_LEVELS else None
    column = kinds.fit_column(name, series, spec)
    if column.kind == "ignore":
        raise UserError(
            f"--condition {name}: it is {column.why}, expected a column that tells rows apart; "
            f"if it does, add --kind {name}=categorical"
        )
    return replace(column, condition=True)


def encode(frame, columns):
    """y [N, C] of the cells of a table, and notes on unknown cells."""
    x, mask, _, notes = encoding.encode(frame, [replace(c, condition=False) for c in columns])
    for column, n in zip(columns, (mask == 0).sum(0), strict=True):
        if n:
            unknown = counted(n, "cell is", "cells are")
            notes.append(f"condition {column.name!r}: {unknown} not known, and y is 0 there")
    return to_y(x, mask, columns), notes


def sizes(columns):
    """The number of columns of y for each condition."""
    return [len(column.levels) or 2 for column in columns]


def to_y(x, mask, columns):
    """y [N, C] float32 from cells in model units, x and mask [N, number of conditions]."""
    parts = []
    for j, column in enumerate(columns):
        cell, known = x[:, j, None], mask[:, j, None] > 0
        if column.levels:
            parts.append((cell == np.arange(len(column.levels))) & known)
        else:
            cell = column.for_network(np.where(known, cell, 0))
            cell = np.clip(cell, -FARTHEST_SEEN, FARTHEST_SEEN)
            parts += [np.where(known, cell, 0), known]
    return np.hstack([np.zeros((len(x), 0)), *parts]).astype(np.float32)


def from_y(y, columns):
    """Invert `to_y`: x and mask [N, number of conditions] in model units."""
    x, mask = np.zeros((2, len(y), len(columns)), np.float32)
    for j, (column, part) in enumerate(zip(columns, blocks(columns), strict=True)):
        piece = y[:, part]
        if column.levels:
            mask[:, j], x[:, j] = piece.sum(1), piece.argmax(1)
        else:
            cell, mask[:, j] = piece.T
            x[:, j] = np.where(mask[:, j] > 0, column.from_network(cell), 0)
    return x, mask


def blocks(columns):
    """The slice of y for each condition."""
    ends = np.cumsum([0, *sizes(columns)])
    return [slice(*pair) for pair in zip(ends, ends[1:], strict=False)]


def with_conditions_as_columns(x, mask, y, columns):
    """x and mask in model units, with the conditions y as further columns."""
    if y is None:
        return x, mask
    pairs = zip((x, mask), from_y(y, columns), strict=True)
    return tuple(np.hstack(pair).astype(np.float32) for pair in pairs)


def conditions_of_file(frame, path, columns, y_train=None):
    """y [N, C] of a file's frame, None if the run has no conditions; and notes.

    `y_train` are conditions of training rows; a note names those that are never missing there.
    """
    given = condition_columns(columns)
    if not given:
        return None, []
    for column in given:
        if column.name not in frame:
            what = " nor labels" if column.name == LABEL else ""
            raise UserError(
                f"{path} has no column {column.name!r}{what}, which the run takes as given "
                "(--condition); add it, its cells may be empty"
            )
    y, notes = encode(frame, given)
    if y_train is not None:
        new = (from_y(y_train, given)[1] > 0).all(0) & (from_y(y, given)[1] == 0).any(0)
        notes += [
            f"condition {column.name!r} was known in every training row: rely on no row without it"
            for column in np.array(given, dtype=object)[new]
        ]
    return y, notes


def conditions_of_labels(labels, path, columns, y_train=None):
    """y [N, C] of labels [N] or None, for a form whose only condition is the label; and notes.

    See `conditions_of_file` for `y_train`.
    """
    import pandas as pd

    if not condition_columns(columns):
        return None, []
    if labels is None:
        raise UserError(
            f"{path} has no labels, which the run takes as given (--condition {LABEL}); expected "
            "an .npz with labels y beside the pictures, or a folder with a sub-folder for each"
        )
    return conditions_of_file(pd.DataFrame({LABEL: labels}), path, columns, y_train)


def given_cells(text, columns):
    """Parse "job=nurse,age=40": x and mask [1, D] in model units, and a dict of the given cells.

    A pair whose cell contains a comma is quoted.
    """
    import pandas as pd

    names = {column.name: j for j, column in enumerate(columns)}
    split = {column.part_of[0] for column in columns if column.part_of}
    x, mask = np.zeros((1, len(columns)), np.float32), np.zeros((1, len(columns)), np.float32)
    cells = {}
    for pair in next(csv.reader([text], skipinitialspace=True), []):
        name = next((n for n in (*names, *split) if pair.startswith(f"{n}=")), None)
        if name is None:
            raise UserError(unknown_name_message(pair, columns))
        cell = pair[len(name) + 1 :]
        if name in split:
            parts = [(j, c) for j, c in enumerate(columns) if c.part_of and c.part_of[0] == name]
            at, several = zip(*parts, strict=True)
            if mask[0, at].any():
                raise UserError(f"--given {text!r}: {name!r} is given twice")
            x[0, at], cells[name] = answers.given(pair, cell, several)
            mask[0, at] = 1
            continue
        j = names[name]
        column = columns[j]
        if mask[0, j]:
            raise UserError(f"--given {text!r}: {name!r} is given twice")
        one = pd.DataFrame({name: [cell]}, dtype="str")
        row, seen, *_ = encoding.encode(one, [replace(column, condition=False)])
        if not seen[0, 0]:
            what = f"one of {', '.join(column.levels)}" if column.levels else "a number"
            if column.is_moment:
                example = column.text_of([column.centre])[0]
                what = f"{'a date' if column.is_date else 'a time'} such as {example}"
            raise UserError(f"--given {pair!r}: {cell!r} is no {column.kind} cell, expected {what}")
        x[0, j], mask[0, j], cells[name] = row[0, 0], 1, cell.strip()
    if not mask.any():
        raise UserError(f"--given {text!r}: expected NAME=VALUE, or several with commas")
    return (x, mask), cells


def unknown_name_message(pair, columns):
    """The error for a pair of --given that names none of the columns, in one line."""
    if pair.startswith(f"{LABEL}="):
        return f"--given {pair!r}: the run knows no labels; train one with --condition {LABEL}"
    if not columns:
        return f"--given {pair!r}: the run has no column that can be given"
    names = [column.name for column in sorted(columns, key=lambda column: not column.condition)]
    shown = ", ".join(names[:N_NAMED_COLUMNS])
    more = f", ... ({len(names)} in all)" if len(names) > N_NAMED_COLUMNS else ""
    return (
        f"--given {pair!r}: expected NAME=VALUE, NAME one of {shown}{more}; "
        "a cell that holds a comma is quoted, as in '\"income=50,000\",job=nurse'"
    )


def rows_with_given_levels(y, cell, mask, columns):
    """Numbers of the rows of y [N, C] whose categories equal the given cell [1, n conditions]."""
    x, known = from_y(y, columns)
    levels = [j for j, column in enumerate(columns) if column.levels and mask[0, j]]
    return np.flatnonzero(((x == cell) & (known > 0))[:, levels].all(1))


def draw(n, y, cell, mask, columns, rng):
    """Draw conditions y [n, C]: the given cells [1, number of conditions] and those of random rows.

    The random rows of y [N, C] agree in the given categories, if any row does, and are among the
    nearest to the given numbers.
    """
    rows = rows_with_given_levels(y, cell, mask, columns)
    rows = rows if len(rows) else np.arange(len(y))
    wanted = to_y(cell, mask, columns)
    parts = blocks(columns)
    numbers = [
        p.start for p, c, m in zip(parts, columns, mask[0], strict=True) if m and not c.levels
    ]
    if numbers and not mask.all():
        distance = np.square(y[rows][:, numbers] - wanted[:, numbers]).sum(1)
        rows = rows[np.argsort(distance, kind="stable")[:N_NEAREST]]
    drawn = y[rows[rng.integers(len(rows), size=n)]]
    for part, given in zip(parts, mask[0], strict=True):
        if given:
            drawn[:, part] = wanted[:, part]
    return drawn


def as_labels(texts):
    """Cells of text as an array of labels: if all are whole numbers, as such, unknown ones NaN."""
    texts = np.array(list(texts), dtype=str)
    unknown = texts == ""
    if not np.char.isdecimal(texts[~unknown]).all():
        return texts
    return np.where(unknown, "nan", texts).astype(float if unknown.any() else np.int64)


def rows_with_all_known(y, columns):
    """The rows of y [N, C] whose conditions are all known, or all rows if there are none."""
    known = (from_y(y, columns)[1] > 0).all(1)
    return y[known] if known.any() else y


def describe(columns):
    """A line on the conditions, in a list; an empty list without conditions."""
    read = [
        f"{column.name} ({column.kind}: {column.describe()})"
        for column in condition_columns(columns)
    ]
    return ["Given, not modelled: " + "; ".join(read)] if read else []


def names(columns):
    """The names of the columns that are conditions."""
    return [column.name for column in condition_columns(columns)]
