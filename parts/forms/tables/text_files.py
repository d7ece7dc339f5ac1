"""Text files of tables: read their cells, and write them back with nothing changed but cells.

The text stays in memory beside the table, with the place of each cell in it. So a file is written
by replacing the cells that have changed: separators, quotes, line ends, comments and the spelling
of all other cells stay as they are.
N rows, D columns.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from parts.errors import UserError
from parts.files import shown_path
from parts.forms.tables import encodings, headers, streams
from parts.forms.tables.grid import BLANKS, COMMENTS, DELIMITERS, Grid, delimiter_of
from parts.forms.tables.layout import Lines, Table

N_JUDGED = 1000  # rows by which it is judged whether a column has quotes


@dataclass
class Text:
    """A text file in UTF-8, the places of its cells, and which lines are its table."""

    encoding: encodings.Encoding
    grid: Grid
    table: Table
    starts: np.ndarray  # of cells with their quotes [N, D]
    ends: np.ndarray

    @property
    def newline(self):
        newline = self.grid.newline.decode()
        return "\r\n" if newline == "\n" and b"\r\n" in self.grid.text[:N_SNIFFED] else newline


@dataclass(frozen=True)
class Dialect:
    """How a text file is written, as plain values, by which new files are written so."""

    delimiter: str = ","
    newline: str = "\n"
    encoding: str = "utf-8"
    mark: bool = False  # whether it begins with a byte order mark
    renamed: dict = field(default_factory=dict)  # names of columns -> what its header writes
    quoted: list = field(default_factory=list)  # names of columns whose cells stand in quotes
    names_quoted: bool | list = False  # names that stand in quotes; older runs say all or none

    def __post_init__(self):
        known = self.delimiter in (*DELIMITERS, BLANKS) and self.newline in NEWLINES
        known = known and encodings.name_of(self.encoding) is not None
        if not known or not all(isinstance(name, str) for name in self.renamed.values()):
            raise ValueError(f"no text file is written so: {vars(self)}")

    @classmethod
    def of(cls, text, header, names):
        """The Dialect of a Text with a header, or None, whose columns have these names."""
        return cls(
            text.grid.delimiter,
            text.newline,
            text.encoding.name,
            bool(text.encoding.mark),
            {n: as_is for n, as_is in zip(names, header or names, strict=True) if n != as_is},
            [name for j, name in enumerate(names) if _is_quoted(text, j)],
            [] if header is None else _names_in_quotes(text, names),
        )

    def written(self, frame, has_header):
        """The bytes of a new text file with the cells of a frame."""
        names = [self.renamed.get(name, name) for name in frame] if has_header else None
        quoted = [name in self.quoted for name in frame]
        own = self.names_quoted
        of_names = [own if isinstance(own, bool) else name in own for name in frame]
        content = fresh(frame, names, self.delimiter, self.newline, quoted, of_names)
        mark = encodings.mark_of(self.encoding) if self.mark else b""
        return encodings.Encoding(self.encoding, mark).encode(content)


NEWLINES = ("\n", "\r\n", "\r")
N_SNIFFED = 2**16  # bytes that tell how lines end


def read(path, ending, config):
    """The cells of a text file as an Arrow table, its Text, its header or None, and notes."""
    import pyarrow as pa

    content, path = streams.read_bytes(path), shown_path(path)
    content, encoding, notes = encodings.decode(
        content, path, config.encoding, config.other_encoding
    )
    if not content:
        raise UserError(f"{path} is empty, expected a header and rows")
    said = re.match(rb"sep=([\t -~])\r?\n", content)  # spreadsheets declare the delimiter so
    delimiter = said[1].decode() if said else delimiter_of(content, ending, path)
    lines = Lines(content, delimiter, path, n_skipped=1 if said else 0)
    table = lines.table(config.no_header)
    n_rows, n_columns = len(table.rows), table.n_columns
    header, names = table.names, headers.numbered(n_columns)
    if header is not None:
        header = header[:n_columns]
        plain = [header[0].lstrip("#% "), *header[1:]] if lines.comment[table.header] else header
        names, more = headers.names_of(plain)
        table.notes += [f"{path}: {note}" for note in more]
    starts, ends = lines.grid.matrix(table.rows, n_columns)
    flat = lines.grid.texts(starts.T.reshape(-1), ends.T.reshape(-1))
    columns = [flat.slice(j * n_rows, n_rows) for j in range(n_columns)]
    place = Text(encoding, lines.grid, table, starts, ends)
    return pa.table(columns, names), place, header, notes + table.notes


# Write


def edited(text, frame, old):
    """The content of a file in which the cells of `frame` replace those of `old`, in UTF-8.

    The columns of `old` come first in `frame`, whose other columns are added behind them.
    """
    own, added = list(frame.columns[: old.shape[1]]), list(frame.columns[old.shape[1] :])
    quoted = [_is_quoted(text, j) for j in range(len(own))]
    edits = []  # starts, ends and new bytes
    for j, name in enumerate(own):
        changed = np.flatnonzero((frame[name] != old[name]).to_numpy(bool))
        if len(changed):
            alone = len(own) == 1
            cells = [
                written(cell, text.grid.delimiter, quoted[j], j == 0, alone)
                for cell in frame[name].iloc[changed].tolist()
            ]
            edits.append((text.starts[changed, j], text.ends[changed, j], cells))
    if added:
        edits += _additions(text, frame, own, added, quoted)
    if not edits:
        return text.grid.text
    starts, ends = (np.concatenate([edit[k] for edit in edits]) for k in (0, 1))
    cells = [cell.encode() for edit in edits for cell in edit[2]]
    parts, at, content = [], 0, memoryview(text.grid.text)
    order = np.lexsort((np.arange(len(starts)), starts))
    starts, ends = starts.tolist(), ends.tolist()
    for i in order.tolist():
        parts += (content[at : starts[i]], cells[i])
        at = ends[i]
    return b"".join([*parts, content[at:]])


def _additions(text, frame, own, added, quoted):
    """Edits that add columns at the end of each line of the table."""
    grid, table = text.grid, text.table
    separator = _separator(text)
    columns = [_column(frame[name], grid.delimiter, any(quoted), all(quoted)) for name in added]
    cells = [separator + separator.join(row) for row in zip(*columns, strict=True)]
    edits = [(text.ends[:, -1], text.ends[:, -1], cells)]
    if table.header is None:  # the new columns need names, so the others get theirs
        names = [written(name, grid.delimiter, all(quoted)) for name in [*own, *added]]
        at = grid.line_starts[table.rows[:1]]
        return [(at, at, [separator.join(names) + text.newline]), *edits]
    first, n = grid.first[table.header], len(table.names)
    names_quoted = _starts_with_quotes(text, grid.starts[first : first + grid.n[table.header]])
    names = [separator + written(name, grid.delimiter, names_quoted) for name in added]
    end = grid.ends[first + grid.n[table.header] - 1]
    if n > table.n_columns:
        end = grid.ends[first + table.n_columns - 1]
    edits.append(([end], [end], ["".join(names)]))
    if table.units is not None:
        end = grid.ends[grid.first[table.units] + table.n_columns - 1]
        edits.append(([end], [end], [(separator + written("", grid.delimiter)) * len(added)]))
    return edits


def _separator(text):
    """What stands between two cells: the delimiter, or a tab or space as between the first two."""
    if text.grid.delimiter != BLANKS:
        return text.grid.delimiter
    return "\t" if text.grid.text[text.ends[0, -2] : text.starts[0, -1]] == b"\t" else " "


def _is_quoted(text, j):
    """Whether all cells of a column that are not empty stand in quotes."""
    there = text.starts[:N_JUDGED, j] < text.ends[:N_JUDGED, j]
    return _starts_with_quotes(text, text.starts[:N_JUDGED, j][there])


def _names_in_quotes(text, names):
    """The names whose cell of the header stands in quotes."""
    first = text.grid.first[text.table.header]
    letters = text.grid.letters[text.grid.starts[first : first + len(names)]]
    return [name for name, letter in zip(names, letters, strict=True) if letter == ord('"')]


def _starts_with_quotes(text, starts):
    return bool(len(starts)) and bool((text.grid.letters[starts] == ord('"')).all())


def fresh(frame, names, delimiter=",", newline="\n", quoted=None, names_quoted=None):
    """The content of a new text file, in UTF-8; without `names` it has no header.

    `quoted` and `names_quoted` tell for each column whether its cells, and its name, stand in
    quotes where they need not.
    """
    n = frame.shape[1]
    columns = [
        _column(
            frame.iloc[:, j],
            delimiter,
            all_quoted=bool(quoted and quoted[j]),
            is_first=j == 0,
            alone=n == 1,
        )
        for j in range(n)
    ]
    lines = []
    if names is not None:
        in_quotes_ = names_quoted or [False] * n
        header = [
            written(name, delimiter, in_quotes_[j], j == 0, n == 1) for j, name in enumerate(names)
        ]
        lines.append(delimiter.join(header))
    lines += map(delimiter.join, zip(*columns, strict=True))
    return (newline.join(lines) + newline).encode()


def _column(series, delimiter, text_quoted=False, all_quoted=False, is_first=False, alone=False):
    """The cells of a column as they are written, a list of text."""
    import pyarrow.compute

    cells = texts(series)
    quoted = all_quoted or (text_quoted and series.dtype.kind not in "biuf")
    found = cells.to_pylist()
    if quoted:
        return [in_quotes(cell) for cell in found]
    if series.dtype.kind in "biuf" and not alone:
        return found
    must = pyarrow.compute.match_substring_regex(cells, _must_be_quoted(delimiter, is_first, alone))
    for i in np.flatnonzero(must.to_numpy(zero_copy_only=False)):
        found[i] = in_quotes(found[i])
    return found


def _must_be_quoted(delimiter, is_first=False, alone=False):
    """A regular expression for cells that are not read again as they are without quotes."""
    letters = r'["\r\n\t ,;|]|^$' if delimiter == BLANKS else rf'["\r\n{re.escape(delimiter)}]|^ '
    comment = f"|^[{COMMENTS.decode()}]" if is_first else ""
    return letters + comment + ("|^\\s*$" if alone else "")


def written(cell, delimiter, quoted=False, is_first=False, alone=False):
    """A cell as it is written: in quotes if it must be, or if `quoted`."""
    must = quoted or re.search(_must_be_quoted(delimiter, is_first, alone), cell)
    return in_quotes(cell) if must else cell


def in_quotes(cell):
    return '"' + cell.replace('"', '""') + '"'


def texts(series):
    """The cells of a column of text or numbers as an Arrow array of text, "" for a missing one."""
    import pyarrow as pa

    if series.dtype.kind not in "biuf":
        return pa.array(series, pa.large_string()).fill_null("")
    spell = repr if series.dtype.kind == "f" else str
    gone = series.isna().to_numpy()
    cells = ["" if hole else spell(v) for v, hole in zip(series.tolist(), gone, strict=True)]
    return pa.array(cells, pa.large_string())
