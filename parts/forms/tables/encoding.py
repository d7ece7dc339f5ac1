"""Encode the cells of a DataFrame in model units.

parts/forms/tables/kinds.py fits the `Column`s to the training rows.
"""

import shlex
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from parts.errors import UserError
from parts.forms import cells, units
from parts.forms.tables import answers
from parts.words import counted

IMPOSSIBLE = 100.0  # nats of a number outside its column's support, such as a negative count
MOST_COPIES = 10  # equal rows that are copies of one another
FEW_CELLS = 10  # fewest that say how a file writes a column
TRUTH = {"true", "false"}  # words that files write in several ways
DECIMALS = {"point": r"\d*\.\d*[^.,]*$", "comma": r"\d*,\d*[^.,]*$"}  # cells by decimal mark
TOLD = 3.0  # nats from which a Strange cell is a reason
N_SHOWN = 5  # columns or marks that a note lists
FARTHEST = 1e30  # model units from 0, near the end of float32


class Strange(NamedTuple):
    """Cells of a column that the model cannot take: its name, the numbers of their rows, [n].

    `nats` is what each adds to the score of its row, and `why` says why in words; `certain` tells
    whether such a cell makes its row odd, however few rows set the threshold. `note` is for the
    user.
    """

    name: str
    rows: np.ndarray
    nats: float
    why: str
    note: str
    certain: bool = False
    spike: str = ""  # the cell, where all of these cells are one spike
    value: float | str = ""  # and its value


def encode(frame, columns, dtype=np.float32):
    """Encode a frame: x and mask [N, D] of the modelled columns, a list of Strange cells, notes.

    Empty cells are missing, and Strange ones count as missing for the model.
    """
    n, kept = len(frame), units.modelled(columns)
    x = np.zeros((n, len(kept)), dtype)
    mask = np.zeros((n, len(kept)), np.float32)
    odd, notes, marks = [], [], {False: {}, True: {}}  # by whether the user declared them
    for j, column in enumerate(kept):
        if column.name not in frame.columns:
            notes.append(f"column {column.name!r} is not in the file: taken as missing")
            continue
        series = frame[column.name]
        values, found = values_of(series, column)
        odd += found
        there = ~np.isnan(values)
        mask[:, j] = there
        x[there, j] = np.clip(values[there], -FARTHEST, FARTHEST)
        notes += notes_on_decimals(series, column)
        for mark, count in cells.counts(series, filter(None, column.own_marks)).items():
            is_asked = mark.lower() in column.asked
            marks[is_asked].setdefault(mark, {})[column.name] = count
    odd += changed_constants(frame, columns) + unknown_answers(frame, columns)
    notes += [one.note for one in odd if one.note] + notes_on_spikes(odd)
    return x, mask, odd, [*notes_on_marks(marks, kept), *notes]


def values_of(series, column):
    """A column's cells in model units, float64 [N], and Strange cells; NaN where one is missing or
    Strange.
    """
    if column.levels:
        values = codes_of_levels(series, column)
        x = values
    else:
        values, sides = column.read(series)
        x = column.encoded(values, sides)
    found = []
    unread = np.isnan(values)
    if unread.any():
        unread &= ~column.missing(series)
        for value, share, at in spikes_of(series, column):
            unread[at] = False
            found.append(spike(series, column, value, share, at))
        what = "is no level of the training rows" if column.levels else "is no number"
        frequency = (column.n_unread + 1) / (column.n_seen + 2)
        found.append(strange(series, column, unread, -np.log(frequency), what))
    impossible = column.impossible(values)
    if impossible.any():
        why = f"is impossible in a {column.kind} column"
        found.append(strange(series, column, impossible, IMPOSSIBLE, why, certain=True))
        x = np.where(impossible, np.nan, x)
    beyond = np.isnan(x) & ~np.isnan(values) & ~impossible
    if beyond.any():
        why = "is a limit that the training rows do not have"
        found.append(strange(series, column, beyond, np.log(column.n_seen + 1), why))
    return x, [one for one in found if len(one.rows)]


def strange(series, column, where, nats, why, certain=False):
    """The Strange cells `where` [N] is True."""
    rows = np.flatnonzero(where)
    note = ""
    if len(rows):
        cell = str(series.iloc[rows[0]]).strip()[:40]
        such_as = ", such as" if len(rows) > 1 else ":"
        n_there = (~column.missing(series)).sum()
        count = "all " if len(rows) == n_there >= FEW_CELLS else ""
        count += counted(len(rows), "cell")
        note = (
            f"column {column.name!r}: {count} taken as missing{such_as} "
            f"{cell!r} in row {rows[0] + 1}, which {why}"
        )
    return Strange(column.name, rows, float(nats), why, note, certain)


def words_of(odd, frame, chosen):
    """The Strange cells of each row numbered `chosen` in words, a list of texts."""
    words = [[] for _ in chosen]
    place = {row: i for i, row in enumerate(chosen.tolist())}
    for one in sorted(odd, key=lambda one: -one.nats):
        if one.nats < TOLD:
            continue
        shown = frame[one.name].iloc[one.rows].astype(str).str.strip().str.slice(0, 40)
        for row, cell in zip(one.rows.tolist(), shown, strict=True):
            if row in place:
                words[place[row]].append(f"{one.name}={cell} {one.why}")
    return ["; ".join(several) for several in words]


def spikes_of(series, column):
    """The value, the share and the row numbers of each spike of a column, see kinds.py."""
    if not column.spikes:
        return []
    if column.levels and not column.style:
        values = series.astype("str").str.strip()
    else:
        values, _ = cells.read(series, column.style, column.own_marks)
    return [(value, share, np.flatnonzero(values == value)) for value, share in column.spikes]


def spike(series, column, value, share, rows):
    """The Strange cells of a spike: it counts by its share, and says nothing of the others."""
    why = "has no place in the order" if column.levels else "lies far outside the others"
    cell = str(series.iloc[rows[0]]).strip() if len(rows) else ""
    return Strange(column.name, rows, float(-np.log(share)), why, "", spike=cell, value=value)


def notes_on_spikes(odd):
    """A note for each value that is a spike, on the columns that it is one of."""
    columns, notes = {}, []
    for one in odd:
        if one.spike:
            columns.setdefault((one.value, one.why), []).append(one)
    for (_, why), several in columns.items():
        cell = several[0].spike
        names = [f"{one.name!r} ({counted(len(one.rows), 'cell')})" for one in several[:N_SHOWN]]
        more = f" and {len(several) - N_SHOWN} more" if len(several) > N_SHOWN else ""
        own = shlex.quote(f"{several[0].name}={cell}")
        flag = own if len(several) == 1 else f"{shlex.quote(cell)}, or {own} for one column"
        notes.append(
            f"{cell} in {', '.join(names)}{more} {why}: such cells are kept, not filled; if they "
            f"are missing: --missing {flag}"
        )
    return notes


def changed_constants(frame, columns):
    """The Strange cells of columns that had one value in all training rows, and have another."""
    found = []
    for column in columns:
        if column.kind != "ignore" or not column.levels or column.name not in frame:
            continue
        series = frame[column.name]
        other = np.isnan(codes_of_levels(series, column)) & ~column.missing(series)
        why = f"was always {column.levels[0]} in the training rows"
        found.append(strange(series, column, other, np.log(column.n_seen + 1), why))
    return [one for one in found if len(one.rows)]


def unknown_answers(frame, columns):
    """The Strange cells with an answer that no training cell has; the model sees their others."""
    found = []
    for column, unknown, _ in answers.unknown(frame, columns):
        rows = np.flatnonzero(unknown != "")
        if len(rows):
            words = sorted(set(unknown[rows]))
            shown = ", ".join(map(repr, words[:3])) + (", ..." if len(words) > 3 else "")
            hold = counted(len(rows), "cell holds", "cells hold")
            why = "has an answer that the training rows never had"
            note = f"column {column.part_of[0]!r}: {hold} answers that are not known: {shown}"
            nats = float(np.log(column.n_seen + 2))
            found.append(Strange(column.part_of[0], rows, nats, why, note))
    return found


def copies(frame):
    """A number for each row of a table, equal where all cells are, [N]; None if all rows differ.

    What more than MOST_COPIES rows hold is common, as in a table of few categories, and no copy:
    such rows count as different.
    """
    import pandas as pd

    total = np.zeros(len(frame), np.uint64)
    text = [frame[name] for name in frame if cells.is_text(frame[name])]
    if text:
        codes = pd.factorize(cells.joined(text))[0]
        total += pd.util.hash_array(codes.astype(np.int64))
    for name in frame:
        if not cells.is_text(frame[name]):
            with np.errstate(over="ignore"):
                own = pd.util.hash_array(frame[name].to_numpy(np.float64))
                total = total * np.uint64(1_000_003) + own
    found, different = pd.factorize(total)
    common = np.flatnonzero(np.bincount(found)[found] > MOST_COPIES)
    found[common] = len(different) + common
    return found if len(np.unique(found)) < len(frame) else None


def empty_rows(frame):
    """True where all cells of a row are missing, [N]."""
    empty = np.ones(len(frame), bool)
    for name in frame:
        if not empty.any():
            break
        empty &= cells.missing(frame[name])
    return empty


def notes_on_rows(source, empty):
    """Notes on rows without a cell, True in `empty` [N], and on rows that are copies of others."""
    notes = []
    if empty.any():
        some = ", ".join(str(row + 1) for row in np.flatnonzero(empty)[:N_SHOWN])
        more = ", ..." if empty.sum() > N_SHOWN else ""
        stay = "row without a cell stays as it is", "rows without a cell stay as they are"
        notes.append(f"{counted(empty.sum(), *stay)}: {some}{more}")
    if source.copies is not None:
        n = len(empty) - len(np.unique(source.copies)) - max(0, int(empty.sum()) - 1)
        if n > 0:
            copies = counted(n, "row is a copy of another", "rows are copies of other rows")
            notes.append(f"{copies}; copies stay on one side of a split")
    return notes


def notes_on_marks(marks, columns):
    """Notes on the marks that were taken as missing, and as answers.

    `marks` are {mark: {column: count}} for those that the user did not declare, False, and those
    that he did, True: these need no hint.
    """
    notes = []
    hint = "; if it is an answer: --keep MARK, or --keep NAME=MARK"
    for is_asked, words in ((False, hint), (True, ", as asked")):
        if marks[is_asked]:
            notes.append(f"taken as missing: {marks_in_words(marks[is_asked])}{words}")
    ticks = [c for c in columns if "" in c.levels and c.empty_is_cell and "" not in c.asked]
    if ticks:
        names = [c.name for c in ticks[:N_SHOWN]]
        more = f" and {len(ticks) - N_SHOWN} more" if len(ticks) > N_SHOWN else ""
        tick = next(filter(None, ticks[0].levels))
        name = names[0] if len(ticks) == 1 else "NAME"
        notes.append(
            f"an empty cell is taken as an answer, beside {tick!r}, in {', '.join(names)}{more}; "
            f"if it is missing: --missing {shlex.quote(f'{name}=')}"
        )
    for column in columns:
        for level in column.levels if column.marks is not None else ():
            is_asked = level.lower() in column.asked
            if level.lower() in cells.WORDS and level.lower() not in column.marks and not is_asked:
                notes.append(
                    f"column {column.name!r}: {level!r} is taken as an answer; if it is missing: "
                    f"--missing {shlex.quote(f'{column.name}={level}')}"
                )
    return notes


def marks_in_words(marks):
    """Marks with the number of their cells in each column, {mark: {column: count}}, in words."""
    shown = []
    for mark, found in list(marks.items())[:N_SHOWN]:
        names = [f"{name} ({count})" for name, count in list(found.items())[:N_SHOWN]]
        more = f" and {len(found) - N_SHOWN} more" if len(found) > N_SHOWN else ""
        shown.append(f"{mark!r} in {', '.join(names)}{more}")
    more = f"; and {counted(len(marks) - N_SHOWN, 'other mark')}" if len(marks) > N_SHOWN else ""
    return "; ".join(shown) + more


def notes_on_decimals(series, column):
    """A note, in a list, on a column in which points and commas both stand before decimals."""
    if not column.style.get("either") or not cells.is_text(series):
        return []
    n = {mark: round(len(series) * cells.share_of(series, p)) for mark, p in DECIMALS.items()}
    some = " and ".join(f"{n[mark]} with a {mark}" for mark in n)
    return [f"column {column.name!r}: cells {some} before their decimals are read as numbers"]


def holes(frame, column):
    """True where a cell of the column is missing, [N]; False if there is no such column."""
    return (
        column.missing(frame[column.name]) if column.name in frame else np.zeros(len(frame), bool)
    )


def codes_of_levels(series, column):
    """The codes of a category's cells, float64 [N], NaN for a cell that is not a level."""
    import pandas as pd

    if column.style:  # the levels are numbers: 6 and 6.0 are equal
        known = cells.numbers(pd.Series(column.levels, dtype="str"), column.style, column.own_marks)
        found = pd.Index(known).get_indexer(column.read(series)[0])
    else:
        text = series.astype("str") if not cells.is_text(series) else series.str.strip()
        text = text.fillna("")
        levels = pd.Index(column.levels, dtype="str")
        if column.folded or TRUTH.issuperset(levels.str.lower()):  # True and true are equal
            text, levels = folded(text), folded(levels)
        found = levels.get_indexer(text) if levels.is_unique else np.full(len(text), -1)
    return np.where((found < 0) | column.missing(series), np.nan, found)


def folded(text):
    """Cells, a Series or an Index, without what people write in several ways: case and blanks."""
    return text.str.split().str.join(" ").str.casefold()


def in_own_style(frame, columns):
    """The columns of a run, each in the style of the file where it has one; and notes.

    A file may have other separators or dates than the rows of the run, and its categories may be in
    other case. Where the run's style reads less than half of a column's cells, and no other style
    reads them, UserError is raised, and so it is where most cells of a category are other words
    than those of the training rows.
    """
    found, notes = [], []
    for column in columns:
        if column.name not in frame:
            found.append(column)
            continue
        series = frame[column.name]
        own = other_spelling(series, column) or other_style(series, column)
        if own is None and column.levels and column.kind != "ignore":
            refuse_other_levels(series, column)
        if own is not None:
            shown = str(series[~column.missing(series)].iloc[0])[:40]
            notes.append(f"column {column.name!r} is read as this file writes it, such as {shown}")
        found.append(own or column)
    refuse_other_answers(frame, columns)
    return found, notes


def other_spelling(series, column):
    """The Column with the levels of a category as the file spells them; None if it is the run's.

    So it is where less than half of the cells are levels of the run, and most are them but for case
    and blanks.
    """
    if not column.levels or column.style or not cells.is_text(series):
        return None
    text, own = series.str.strip(), replace(column, folded=True)
    there = ~column.missing(series) & (text != "").to_numpy()  # empty check boxes tell nothing
    codes, least = codes_of_levels(series, own), cells.AT_LEAST * there.sum()
    n_known = (codes_of_levels(series, column)[there] >= 0).sum()
    if n_known >= least or (codes[there] >= 0).sum() <= least:
        return None
    spelled = [text[codes == code].mode() for code in range(len(column.levels))]
    levels = [s.iloc[0] if len(s) else old for s, old in zip(spelled, column.levels, strict=True)]
    return replace(own, levels=levels)


def other_style(series, column):
    """The Column in the style in which a file writes its numbers, None where it is the run's."""
    is_number = column.kind != "ignore" and (not column.levels or column.style)
    if not is_number or not cells.is_text(series):
        return None
    there = ~column.missing(series)
    n = there.sum()
    values = cells.read(series, column.style, column.own_marks)[0]
    n_read = (~np.isnan(values)).sum()
    if n == 0 or n_read >= cells.MOSTLY * n:
        return None
    reading = cells.reading_of(series, column.name, column.own_marks)
    same = reading is not None and cells.is_moment(reading.style) == column.is_moment
    same = same and have_one_unit(reading.style, column.style)
    if same and reading.share >= cells.MOSTLY:
        kept = {k: v for k, v in column.style.items() if k in ("cut", "decimals")}
        return replace(column, style=reading.style | kept)
    if n_read < cells.AT_LEAST * n:
        unread = series[there & np.isnan(values)].iloc[0]
        raise UserError(
            f"column {column.name!r}: {n - n_read} of {n} cells are not what the run was trained "
            f"on ({column.describe_cells()}), such as {str(unread)[:40]!r}; mend the column, or "
            "remove it if its cells are missing"
        )
    return None


def refuse_other_levels(series, column):
    """Raise UserError if most cells of a category hold several levels that the run does not know.

    They may be other words for its levels, such as yes for ja. One new level, as of a new plant or
    a new month, may be all that a file holds: the model sees nothing of it, and a note says so.
    """
    new = np.isnan(codes_of_levels(series, column)) & ~column.missing(series)
    for _, _, at in spikes_of(series, column):
        new[at] = False
    refuse_mostly_new(series, column, column.name, new, column.levels, "levels")


def refuse_other_answers(frame, columns):
    """Raise UserError if most cells of several answers hold none that the run knows."""
    for column, unknown, known in answers.unknown(frame, columns):
        name = column.part_of[0]
        levels = [c.part_of[2] for c in columns if c.part_of and c.part_of[0] == name]
        refuse_mostly_new(frame[name], column, name, (unknown != "") & ~known, levels, "answers")


def refuse_mostly_new(series, column, name, new, levels, what):
    """Raise UserError if most cells of a column, of FEW_CELLS or more, are `new` [N] in it."""
    n, n_new = int((~column.missing(series)).sum()), int(new.sum())
    words = series[new].astype("str").str.strip().unique()
    if n < FEW_CELLS or 2 * n_new <= n or len(words) < 2:
        return
    seen, shown = (", ".join(map(repr, some[:3])) for some in (levels, words))
    raise UserError(
        f"column {name!r}: {n_new} of {n} cells are none of the {len(levels)} {what} that the run "
        f"was trained on (such as {seen}), but {shown}; write them as the training rows do, or "
        "remove the column, and the rows are read without it"
    )


def have_one_unit(one, other):
    """Whether two styles have the same unit and currency, or one of them has none."""
    for key in ("prefix", "suffix"):
        units_ = [style.get(key, "").strip() for style in (one, other)]
        if all(units_) and not cells.same_unit(*units_):
            return False
    return True


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


def name_columns(file, columns):
    """Give the columns of a file without names those of a run, in place."""
    if file.as_written.get("header") is None and len(columns) == file.frame.shape[1]:
        file.frame.columns = [column.name for column in columns]


def encode_file(frame, columns, path):
    """Encode the table of the file at `path` by the `columns` of a run, see `encode`.

    The columns of the file may be in any order; notes name missing and new columns.
    """
    kept = units.modelled(columns)
    if not {column.name for column in kept} & set(frame.columns):
        raise UserError(
            f"{path} has none of the columns that the run was trained on "
            f"({', '.join(c.name for c in kept[:5])}, ...): is it a run of another table?"
        )
    x, mask, odd, notes = encode(frame, columns)
    added = [name for name in frame.columns if name not in {c.name for c in columns}]
    if added:
        shown = ", ".join(map(repr, added[:5])) + (", ..." if len(added) > 5 else "")
        notes.append(f"columns that the run does not know are kept as they are: {shown}")
    return x, mask, odd, notes
