"""Marks of missing cells that a user declares: --missing and --keep, each MARK or NAME=MARK.

An empty mark, as in --keep NAME=, stands for the empty cell.
"""

import re
from dataclasses import replace

import numpy as np

from parts.errors import UserError
from parts.forms import cells

FLAGS = ("--missing", "--keep")
MOST_SIMILAR = 3  # cells that a note lists


def named(text, names):
    """The columns that MARK or NAME=MARK speaks of, and the mark; UserError for an unknown NAME."""
    name, equals, mark = text.partition("=")
    if equals and name in names:
        return [name], mark.strip()
    if equals and name:
        shown = ", ".join(map(str, names[:20]))
        raise UserError(f"no column is named {name!r}, they are {shown}")
    return list(names), text.strip()


def marks_given(names, missing, keep):
    """The marks in --missing and in --keep for each column, two sets in lower case."""
    names = list(names)
    found = {name: (set(), set()) for name in names}
    for place, given in enumerate((missing, keep)):
        for text in given or ():
            try:
                of, mark = named(text, names)
            except UserError as error:
                raise UserError(f"{FLAGS[place]} {text}: {error}") from None
            if not mark and len(of) != 1:
                raise UserError(
                    f"{FLAGS[place]} {text!r}: an empty mark is the empty cell, which is named "
                    "with its column, as in NAME="
                )
            for name in of:
                found[name][place].add(mark.lower())
    return found


def with_marks(columns, missing, keep):
    """The Columns of a run with further marks of missing cells, and with marks that are cells."""
    own = marks_given([c.name for c in columns if not c.part_of], missing, keep)
    found = []
    for column in columns:
        added, kept = own[column.part_of[0] if column.part_of else column.name]
        refuse_other_use(column, added, kept)
        marks = [mark for mark in column.own_marks if mark not in kept - added]
        marks += sorted(added - set(marks))
        asked = sorted({*column.asked, *added, *kept})
        marks = column.marks if marks == list(column.own_marks) else marks
        found.append(replace(column, marks=marks, asked=asked))
    return found


def refuse_other_use(column, added, kept):
    """Raise UserError if an empty cell, which is an answer or none to a run, is to be the other."""
    flag = next((flag for flag, marks in zip(FLAGS, (added, kept), strict=True) if "" in marks), "")
    is_answer = "" in column.levels
    splits = column.part_of or column.kind == "ignore"
    if flag and not splits and is_answer == (flag == "--missing"):
        taken = "an answer" if is_answer else "missing"
        raise UserError(
            f"{flag} {column.name}=: to the run an empty cell of {column.name!r} is {taken}; train "
            "another run with this flag"
        )


def notes_on_unfound(frame, missing, keep, columns=()):
    """Notes on marks in --missing and --keep that no cell of a table holds.

    What `columns` of a run were asked for already is not looked for.
    """
    asked = {column.name: column.asked for column in columns}
    notes = []
    for flag, given in zip(FLAGS, (missing, keep), strict=True):
        for text in given or ():
            names, mark = named(text, list(frame.columns))
            is_new = any(mark.lower() not in asked.get(name, ()) for name in names)
            if is_new and not any(holds(frame[name], mark) for name in names):
                where = f"of {names[0]!r}" if len(names) == 1 else "of the table"
                what = repr(mark) if mark else "empty"
                similar = similar_cells(frame, names, mark)
                hint = f"; similar: {', '.join(similar)}" if similar else ""
                notes.append(f"{flag} {text}: no cell {where} is {what}{hint}")
    return notes


def holds(series, mark):
    """Whether a cell of a column is the mark."""
    empty = cells.missing(series, ())
    return bool((cells.missing(series, [mark.lower()]) & ~empty if mark else empty).any())


def similar_cells(frame, names, mark):
    """Cells with the letters and digits of the mark, each with its column, a list of words."""
    wanted, found = plain(mark), []
    for name in names if wanted else ():
        series = frame[name]
        values = series.dropna().unique().tolist()
        if not cells.is_text(series):
            values = [f"{value:.10g}" for value in np.unique(values)]
        found += [f"{cell.strip()!r} in {name!r}" for cell in values if plain(cell) == wanted]
    return found[:MOST_SIMILAR]


def plain(cell):
    """The letters and digits of a cell, in lower case."""
    return re.sub(r"[\W_]", "", cell.lower())
