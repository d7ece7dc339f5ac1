"""Columns with several answers in a cell, such as "email;phone": one yes/no column for each answer.

The model sees the columns "channels: email" and "channels: phone", which `expanded` adds to a table
and `folded` writes as one cell again. The column of the file is ignored.
"""

from collections import Counter

import numpy as np

from parts.errors import UserError
from parts.forms import cells
from parts.forms.units import Column

SEPARATORS = (";", "|", ",")
N_SEEN = 2000  # first cells of which one has to hold a separator
SHARE = 0.1  # fewest cells of several answers among all
MAX_ANSWERS = 30  # most different answers
PER_ANSWER = 5  # fewest cells with an answer
YES, NO = "yes", "no"


def find(series, marks):
    """The separator and the answers of a column of text with several in a cell, or None.

    Cells have different numbers of answers, of which none is there twice. The answers are in the
    order in which cells write them.
    """
    if not cells.is_text(series) or not cells.share_of(series.iloc[:N_SEEN], r"[;|,]"):
        return None
    text = series[~cells.missing(series, marks)].str.strip()
    counts = text.value_counts()
    for separator in SEPARATORS:
        if not len(counts) or len(counts) > len(text) / 2:
            return None
        several = counts.index.str.contains(separator, regex=False)
        if counts[several].sum() < SHARE * len(text):
            continue
        split = {cell: parts_of(cell, separator) for cell in counts.index}
        shares, places = Counter(), Counter()
        for cell, n in counts.items():
            shares.update(dict.fromkeys(split[cell], n))
            for place, answer in enumerate(split[cell]):
                places[answer] += n * place / max(len(split[cell]) - 1, 1)
        lengths = {len(parts) for parts in split.values()}
        once = all(len(set(parts)) == len(parts) and all(parts) for parts in split.values())
        fits = 2 <= len(shares) <= MAX_ANSWERS and min(shares.values()) >= PER_ANSWER
        if once and fits and len(lengths) > 1 and len(counts) > max(3, len(shares)):
            ranked = sorted(shares, key=lambda answer: (places[answer] / shares[answer], answer))
            gap = " " if f"{separator} " in "".join(counts.index[several]) else ""
            return separator + gap, ranked
    return None


def parts_of(cell, separator):
    return [part.strip() for part in cell.split(separator.strip())]


def columns_of(name, separator, answers, marks, n_seen):
    """The ignored Column of the file, and a binary Column for each answer."""
    why = f"several answers in a cell: a yes/no column for each of {', '.join(answers)}"[:200]
    own = Column(name, kind="ignore", why=why, marks=marks)
    made = [
        Column(
            f"{name}: {answer}",
            kind="binary",
            levels=[NO, YES],
            marks=marks,
            n_seen=n_seen,
            part_of=[name, separator, answer],
        )
        for answer in answers
    ]
    return [own, *made]


def expanded(frame, columns):
    """The table with a column for each answer of the Columns; the same table where none is one."""
    own = [column for column in columns if column.part_of and column.part_of[0] in frame]
    if not own:
        return frame
    import pandas as pd

    added, split = {}, {}
    for column in own:
        name, separator, answer = column.part_of
        if name not in split:
            text = frame[name].astype("str").str.strip()
            found = {cell: set(parts_of(cell, separator)) for cell in text.unique()}
            split[name] = text, found, column.missing(frame[name])
        text, found, gone = split[name]
        there = text.map({cell: YES if answer in parts else NO for cell, parts in found.items()})
        added[column.name] = there.mask(gone, "").astype("str")
    return pd.concat([frame, pd.DataFrame(added, index=frame.index)], axis=1)


def folded(frame, columns):
    """The table without the columns of answers, which fill the empty cells of their own column.

    A cell in which every answer is no gets the first one, unless no answer is known, or an empty
    cell says that there is none.
    """
    groups = {}
    for column in columns:
        if column.part_of and column.name in frame:
            groups.setdefault(column.part_of[0], []).append(column)
    for name, several in groups.items():
        separator = several[0].part_of[1]
        answers = np.array([column.part_of[2] for column in several], dtype=object)
        given = np.column_stack([frame[column.name].to_numpy(dtype=object) for column in several])
        none = "" if several[0].empty_is_cell else answers[0]
        joined = np.array(
            [separator.join(answers[row == YES]) or none for row in given], dtype=object
        )
        joined[(given == "").all(1)] = ""
        cell = frame[name].to_numpy(dtype=object, copy=True)
        empty = several[0].missing(frame[name]) | (frame[name] == "").to_numpy()
        cell[empty] = np.where(joined[empty] == "", cell[empty], joined[empty])
        frame = frame.assign(**{name: cell.astype(str)})
        frame = frame.drop(columns=[column.name for column in several])
    return frame


def given(pair, cell, columns):
    """The codes [n] of the Columns of answers, and the cell, for a `pair` NAME=CELL of --given."""
    _, separator, _ = columns[0].part_of
    known = [column.part_of[2] for column in columns]
    wanted = [part for part in parts_of(cell, separator) if part]
    unknown = [part for part in wanted if part not in known]
    if unknown or not (wanted or columns[0].empty_is_cell):
        example = f"{columns[0].part_of[0]}={separator.join(known[:2])}"
        shown = f"expected one or several of {', '.join(known)}, as in {example!r}"
        raise UserError(f"--given {pair!r}: {(unknown or [cell])[0]!r} is no answer, {shown}")
    codes = [columns[0].levels.index(YES if answer in wanted else NO) for answer in known]
    return codes, separator.join(answer for answer in known if answer in wanted)


def unknown(frame, columns):
    """The answers in the cells of a table that no Column stands for.

    For each column of several answers: the first Column of its answers, an unknown answer in each
    cell or "", [N], and whether a cell holds a known one, [N].
    """
    groups = {}
    for column in columns:
        if column.part_of and column.part_of[0] in frame:
            groups.setdefault(column.part_of[0], []).append(column)
    found = []
    for name, several in groups.items():
        answers = {column.part_of[2] for column in several}
        text = frame[name].astype("str").str.strip()
        split = {cell: set(parts_of(cell, several[0].part_of[1])) for cell in text.unique()}
        new = {cell: min(parts - answers - {""}, default="") for cell, parts in split.items()}
        is_known = {cell: bool(parts & answers) for cell, parts in split.items()}
        gone = several[0].missing(frame[name])
        unknown_ = text.map(new).mask(gone, "").to_numpy(dtype=object)
        found.append((several[0], unknown_, text.map(is_known).to_numpy(bool)))
    return found
