"""Which lines of a text hold the header and the rows of its table, and which hold other things.

Around the table there may be titles, comments, blank lines, units and remarks.
"""

from dataclasses import dataclass, field

import numpy as np

from parts.errors import UserError
from parts.forms.tables import grid, headers
from parts.forms.tables.grid import BLANKS, COMMENTS
from parts.words import counted

BLANK = b" \t\x0c\x1a\r"  # letters of a line without cells; 26 ends the files of DOS


@dataclass
class Table:
    """The lines of a table, by number, and notes for the user on the other lines."""

    n_columns: int
    rows: np.ndarray  # [N]
    header: int | None = None
    names: list | None = None  # the cells of the header
    units: int | None = None  # a line with a cell for each column
    notes: list = field(default_factory=list)


class Lines:
    """The lines of a text in UTF-8, in which a table is found."""

    def __init__(self, text, delimiter, path, n_skipped=0):
        self.text, self.delimiter, self.path = text, delimiter, path
        self.grid = grid.Grid.of(text, delimiter, path)
        starts, ends = self.grid.line_starts, self.grid.line_ends
        first = self.grid.letters[np.minimum(starts, len(text) - 1)]
        self.blank = starts == ends
        for k in np.flatnonzero((self.grid.n <= 1) & np.isin(first, [*BLANK]) & ~self.blank):
            self.blank[k] = not text[starts[k] : ends[k]].strip(BLANK)
        self.comment = np.isin(first, [*COMMENTS]) & ~self.blank
        self.skipped = np.arange(len(starts)) < n_skipped

    def table(self, no_header):
        """The Table in the lines; with `no_header` its first line is a row."""
        n = self.grid.n
        with_cells = np.flatnonzero(~(self.blank | self.comment | self.skipped))
        if not len(with_cells):
            raise UserError(f"{self.path} is empty, expected a header and rows")
        width = usual_width(n[with_cells])
        # A line such as `#1,2` is a row if it has the cells of one, and `# a, b` a comment.
        second = np.minimum(self.grid.line_starts + 1, len(self.text) - 1)
        like_rows = self.comment & (n == width) & ~np.isin(self.grid.letters[second], [*BLANK])
        first_row = with_cells[n[with_cells] == width][0]
        self.comment &= ~like_rows | (np.arange(len(n)) < first_row)
        with_cells = np.flatnonzero(~(self.blank | self.comment | self.skipped))
        table = self._header(with_cells, width, no_header)
        self._refuse_ragged(table)
        self._leave_out(table)
        return table

    def cells(self, k, n_columns=None):
        """The cells of a line as text, or the first of them."""
        first = self.grid.first[k]
        cells = slice(first, first + (n_columns or self.grid.n[k]))
        return self.grid.texts(self.grid.starts[cells], self.grid.ends[cells]).to_pylist()

    # The header

    def _header(self, with_cells, width, no_header):
        """The Table of lines that have cells, most of which have `width`; rows may be ragged."""
        path, n = self.path, self.grid.n
        width = self._without_empty_ends(with_cells, width)
        full = np.flatnonzero(n[with_cells] >= width)
        at = int(full[0]) if no_header or n[with_cells[0]] < width else 0
        line = with_cells[at]
        if no_header:
            names = self.cells(line, width)
            if headers.is_numbered(names):  # as we write it
                return Table(width, with_cells[at + 1 :], line, names)
            return Table(width, with_cells[at:])
        names, below = self.cells(line), self._below(with_cells[at + 1 :], width)
        if not below:
            return Table(len(names), with_cells[at + 1 :], line, names)
        seems = headers.judge(names, below)
        if found := self._below_titles(with_cells, at, width):
            at, line = found, with_cells[found]
            names, below = self.cells(line), self._below(with_cells[at + 1 :], width)
            seems = headers.judge(names, below)
        notes = []
        if seems == "row" and at == 0 and (found := self._names_in_comment(line, names, below)):
            k, names = found
            return Table(width, with_cells, k, names, notes=notes)
        if seems == "row" and at > 0 and at == 1 and n[with_cells[0]] > 1:
            names = self.cells(with_cells[0])
            if n[with_cells[0]] == width - 1 and _are_names(below, self.cells(line)):
                note = (
                    f"{path}: the header has one name less than rows have cells; the first cells "
                )
                notes.append(note + "are taken as names of rows")
                return Table(width, with_cells[1:], with_cells[0], ["", *names], notes=notes)
            return Table(len(names), with_cells[1:], with_cells[0], names)  # ragged
        notes += headers.notes_on(seems, ",".join(names), path)
        rows = with_cells[at + 1 :]
        table = Table(width, rows, line, names, notes=notes)
        if len(names) > width and any(name.strip() for name in names[width:]):
            table.n_columns = len(names)  # the rows lack cells
        if below[1:] and n[rows[0]] == width and headers.is_units(below[0], below[1:]):
            table.units, table.rows = int(rows[0]), rows[1:]
        return table

    def _below_titles(self, with_cells, at, width):
        """The place of the header where lines of titles, filled up with separators, stand above it.

        It is None where there are none.
        """
        for place in range(at, len(with_cells) - 1):
            names = self.cells(with_cells[place])
            if not headers.is_title(names):
                below = self._below(with_cells[place + 1 :], width)
                fits = place > at and len(names) == width and below
                return place if fits and headers.are_names(names, below) else None
        return None

    def _without_empty_ends(self, with_cells, width):
        """The number of cells of the first line, where those behind are empty in the rows below."""
        first = self.grid.n[with_cells[0]]
        if not 1 < first < width:
            return width
        rows = self._below(with_cells[1:], width)
        return width if any(c.strip() for row in rows for c in row[first:]) else int(first)

    def _below(self, lines, width):
        """The cells of the first lines that have `width` cells."""
        lines = lines[: 2 * headers.N_JUDGED]
        found = lines[self.grid.n[lines] >= width][: headers.N_JUDGED]
        starts, ends = self.grid.matrix(found, width)
        texts = iter(self.grid.texts(starts.ravel(), ends.ravel()).to_pylist())
        return [list(row) for row in zip(*[texts] * width, strict=True)]

    def _names_in_comment(self, line, first_row, below):
        """The comment line above the rows that names the columns, and the names, or None."""
        above = np.flatnonzero(self.comment[:line])
        if not len(above):
            return None
        names = self.cells(above[-1])
        names[0] = names[0].lstrip(COMMENTS.decode()).lstrip()
        names = names[1:] if not names[0] and self.delimiter == BLANKS else names
        fits = len(names) == len(first_row)
        if not fits or headers.judge(names, [first_row, *below]) not in ("words", "names"):
            return None
        return int(above[-1]), names

    # Other lines

    def _refuse_ragged(self, table):
        """Leave remarks at the end out of a Table, and raise UserError for rows of other widths."""
        n, rows, width = self.grid.n, table.rows, table.n_columns
        if width == 1 and len(rows):  # an empty line is a missing cell
            inside = np.arange(rows[0], rows[-1] + 1)
            table.rows = rows = inside[~(self.comment | self.skipped)[inside]]
        elif n_left := self._remarks(rows, width):
            left = [k for k in rows[-n_left:] if not self._is_bare(k)]
            table.rows = rows = rows[:-n_left]
            table.notes.append(
                f"{self.path}: left out {counted(n_left, 'line')} below the table, which "
                f"{'is no row' if n_left == 1 else 'are no rows'}{self._shown(left[0])}"
            )
        last = np.minimum(self.grid.first[rows] + width, len(self.grid.ends)) - 1
        behind = self.grid.line_ends[rows] - self.grid.ends[last]
        empty = (n[rows] >= width) & (behind == n[rows] - width)  # no letters but delimiters
        for i in np.flatnonzero((n[rows] != width) & ~empty):
            if n[rows[i]] < width or any(c.strip() for c in self.cells(rows[i])[width:]):
                start = self.grid.line_starts[rows[i]]
                line = self.text[:start].count(self.grid.newline) + 1
                of = "other rows" if table.names is None else "the header"
                raise UserError(
                    f"{self.path}: row {i + 1} (line {line}) has {counted(n[rows[i]], 'cell')}, "
                    f"and {of} {width}; mend or delete it"
                )

    def _remarks(self, rows, width):
        """The number of last rows that are none: sums, sources, counts, and empty lines there.

        They stand behind a blank line, or behind a line that holds nothing but separators.
        """
        end = len(rows)
        while end > 0 and self._is_bare(rows[end - 1]):
            end -= 1
        start = end - 1
        while start > 0 and end - start <= headers.MOST_REMARKS and not self._is_gap(rows, start):
            start -= 1
        last = start
        while last > 0 and self._is_bare(rows[last - 1]):
            last -= 1
        if last <= 0 or end - start > headers.MOST_REMARKS:
            return 0
        behind_blank = self.blank[rows[start - 1] : rows[start]].any()
        above = self._below(rows[max(0, last - headers.N_JUDGED) : last], width)
        for k in rows[start:end]:
            if self.grid.n[k] < width or headers.is_remark(self.cells(k), above):
                continue
            if not behind_blank or headers.judge(self.cells(k), above) != "words":
                return 0
        return len(rows) - last

    def _is_gap(self, rows, i):
        """Whether a blank line, or one of separators, precedes the row at place i."""
        above = rows[i - 1]
        return bool(self.blank[above : rows[i]].any()) or self._is_bare(above)

    def _is_bare(self, k):
        """Whether a line holds nothing but separators."""
        return not any(cell.strip() for cell in self.cells(k))

    def _leave_out(self, table):
        """Add notes on the lines that are no part of a Table."""
        start = table.header if table.header is not None else (table.rows[:1].tolist() or [0])[0]
        end = table.rows[-1] if len(table.rows) else start
        k = np.arange(len(self.blank))
        titles = ~(self.blank | self.comment | self.skipped) & (k < start)
        comments = self.comment & (k != table.header)
        blanks = self.blank & (k > start) & (k < end)
        for lines, what in (
            (titles, "above the header"),
            (comments, "of comments"),
            (blanks if table.n_columns > 1 else blanks & False, "without a cell"),
        ):
            if lines.any():
                shown = self._shown(np.flatnonzero(lines)[0])
                table.notes.append(
                    f"{self.path}: left out {counted(lines.sum(), 'line')} {what}{shown}"
                )
        if table.units is not None:
            shown = ",".join(self.cells(table.units))[: headers.N_SHOWN]
            table.notes.append(
                f"{self.path}: the line below the header is taken for units: {shown!r}"
            )

    def _shown(self, k):
        """Words that show a line, "" for an empty one."""
        text = self.text[self.grid.line_starts[k] : self.grid.line_ends[k]]
        return f", such as {text[: headers.N_SHOWN].decode(errors='ignore')!r}" if text else ""


def usual_width(n):
    """How many cells the rows have, from the numbers of cells of all lines."""
    width = grid.most_common(n)
    return width if width > 1 else max(width, int(n[-1]))


def _are_names(below, first_row):
    """Whether the first cells of rows are names of rows: all different, and no measured numbers."""
    cells = [row[0] for row in (first_row, *below)]
    values = [headers.number(cell) for cell in cells]
    number_of = values[:3] == [float(i + 1) for i in range(len(values[:3]))]
    return len(set(cells)) == len(cells) and (number_of or all(value is None for value in values))
