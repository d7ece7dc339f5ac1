"""Where the lines and cells of a text are: separators, quotes, and which separator it has.

Positions are those of bytes in UTF-8. A delimiter is one letter, or BLANKS for cells that any
number of spaces and tabs separate. L lines, M cells.
"""

import re
from dataclasses import dataclass

import numpy as np

from parts.errors import UserError

BLANKS = " "
DELIMITERS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}
COMMENTS = b"#%"  # first letters of comment lines
N_SAMPLED, N_SAMPLED_LINES = 2**16, 200  # bytes and lines by which a delimiter is chosen
CONSISTENT = 0.8  # share of lines with equally many cells, from which blanks are no delimiter
QUOTE, SPACE, TAB, RETURN = b'" \t\r'
ESCAPED, HELD = re.compile(r'""|\\"(?!"|$)'), "\0"  # a quote inside quotes; a text holds no 0
NO_DECIMAL_COMMA = re.compile(rb"(?<!\d),|,(?!\d)")
N_GATHERED = 2**22  # bytes of cells that are gathered at a time


@dataclass
class Grid:
    """The cells of a text with their quotes, in the order of the text, and its lines."""

    text: bytes
    letters: np.ndarray  # the bytes as numbers
    newline: bytes
    delimiter: str
    starts: np.ndarray  # of cells [M]
    ends: np.ndarray
    first: np.ndarray  # the number of the first cell of a line [L]
    n: np.ndarray  # how many cells a line has [L]
    line_starts: np.ndarray  # [L]
    line_ends: np.ndarray  # before the line's end

    @classmethod
    def of(cls, text, delimiter, path):
        """The Grid of a text in UTF-8, which is not empty."""
        letters = np.frombuffer(text, np.uint8)
        newline = newline_of(text)
        stops = [SPACE, TAB] if delimiter == BLANKS else [ord(delimiter)]
        is_stop = letters == newline
        for stop in stops:
            is_stop |= letters == stop
        if QUOTE in text:
            is_stop &= ~_quoted(text, letters, [*stops, newline, RETURN], path)
        at = np.flatnonzero(is_stop)
        ends_line = letters[at] == newline
        if text[-1] != newline:  # a line without an end
            at, ends_line = np.append(at, len(text)), np.append(ends_line, True)
        last = np.flatnonzero(ends_line)
        line_stops = at[last]
        line_starts = np.concatenate([[0], line_stops[:-1] + 1])
        returns = (letters[line_stops - 1] == RETURN) & (line_stops > line_starts)
        line_ends = line_stops - returns
        starts = np.concatenate([[0], at[:-1] + 1])
        n = np.diff(last, prepend=-1)
        if delimiter == BLANKS:
            at = np.minimum(at, np.repeat(line_ends, n))
            there = at > starts  # between two blanks there is no cell
            starts, at = starts[there], at[there]
            n = np.diff(np.searchsorted(starts, line_stops), prepend=0)
        else:
            at[last] = line_ends
        place = starts, at, np.cumsum(n) - n, n, line_starts, line_ends
        return cls(text, letters, bytes([newline]), delimiter, *place)

    def matrix(self, lines, n_columns):
        """The starts and ends of the cells of some lines [N, D]; further cells are left out."""
        cells = self.first[lines][:, None] + np.arange(n_columns)
        return self.starts[cells], self.ends[cells]

    def texts(self, starts, ends):
        """The cells at some places [n] without their quotes, as an Arrow array of text."""
        import pyarrow as pa
        import pyarrow.compute

        if QUOTE not in self.text:
            return gathered(self.letters, starts, ends)
        last = len(self.text) - 1
        first = self.letters[np.minimum(starts, last)]
        quoted = (first == QUOTE) & (starts < ends)
        if self.delimiter != BLANKS:  # a quote may follow spaces
            for i in np.flatnonzero((first == SPACE) & (starts < ends)):
                quoted[i] = self.text[starts[i] : ends[i]].lstrip(b" ").startswith(b'"')
        plain = quoted & (first == QUOTE) & (self.letters[ends - 1] == QUOTE) & (ends > starts + 1)
        found = gathered(self.letters, starts + plain, ends - plain)
        inside = pa.compute.match_substring(found, '"').to_numpy(zero_copy_only=False) & quoted
        if not inside.any():
            return found
        cells = [self.text[starts[i] : ends[i]].decode() for i in np.flatnonzero(inside)]
        bare = pa.array([unquoted(cell) for cell in cells], pa.large_string())
        return pa.compute.replace_with_mask(found, pa.array(inside), bare)


def gathered(letters, starts, ends):
    """The bytes between starts and ends [N] as an Arrow array of text."""
    import pyarrow as pa

    lengths = ends - starts
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    content = np.empty(offsets[-1], np.uint8)
    cuts = np.searchsorted(offsets, np.arange(0, offsets[-1], N_GATHERED))
    for low, high in zip(cuts, [*cuts[1:], len(starts)], strict=False):
        n = lengths[low:high]
        own = slice(offsets[low], offsets[high])
        shift = np.repeat(starts[low:high] - offsets[low:high], n)
        content[own] = letters[np.arange(own.start, own.stop) + shift]
    buffers = pa.py_buffer(offsets.astype(np.int64)), pa.py_buffer(content)
    return pa.LargeStringArray.from_buffers(len(starts), *buffers)


def unquoted(cell):
    """A cell that begins with a quote, without its quotes; what follows the last one stays."""
    cell = cell.strip(" ")
    held = ESCAPED.sub(HELD, cell[1:])
    return held.replace('"', "", 1).replace(HELD, '"')


def newline_of(text):
    """The last byte of a line's end: of old Macintosh files a carriage return."""
    return ord("\n") if b"\n" in text or b"\r" not in text else RETURN


# Quotes


def _quoted(text, letters, stops, path):
    """True for bytes inside quotes [number of bytes]; a quote only opens at the start of a cell."""
    is_quote = letters == QUOTE
    at = np.flatnonzero(is_quote)
    # Where each quote is one that opens or closes, also in pairs, they take turns.
    is_beside = np.zeros(256, bool)
    is_beside[[*stops, QUOTE]] = True
    opening, closing, last = at[0::2], at[1::2], len(letters) - 1
    opens = is_beside[letters[opening - 1]] | (opening == 0)
    closes = is_beside[letters[np.minimum(closing + 1, last)]] | (closing == last)
    if len(at) % 2 == 0 and opens.all() and closes.all():
        return np.cumsum(is_quote, dtype=np.uint8) & 1 == 1
    change = np.zeros(len(letters) + 1, np.int8)
    for start, end in _spans(text, at.tolist(), set(stops), path):
        change[start] += 1
        change[end] -= 1
    return np.cumsum(change[:-1], dtype=np.int8) > 0


def _spans(text, quotes, stops, path):
    """Yield start and end of each quoted part; quotes inside a cell that began without are letters.

    Inside quotes two quotes are one, and a quote behind a backslash is one unless the cell ends.
    """
    k, n = 0, len(quotes)
    while k < n:
        start = k
        k += 1
        if not _opens(text, quotes[start], stops):
            continue
        while k < n:
            at = quotes[k]
            if k + 1 < n and quotes[k + 1] == at + 1:
                k += 2
                continue
            if text[at - 1] == ord("\\") and not _closes(text, at, stops):
                k += 1
                continue
            break
        if k >= n:
            line = text[: quotes[start]].count(bytes([newline_of(text)])) + 1
            raise UserError(
                f"{path}: a cell in line {line} begins with a quote, and none ends it; mend it"
            )
        yield quotes[start], quotes[k]
        k += 1


def _opens(text, at, stops):
    """Whether the quote at `at` stands at the start of a cell, or behind nothing but spaces."""
    at -= 1
    while at >= 0 and text[at] == SPACE and SPACE not in stops:
        at -= 1
    return at < 0 or text[at] in stops


def _closes(text, at, stops):
    at += 1
    while at < len(text) and text[at] == SPACE and SPACE not in stops:
        at += 1
    return at >= len(text) or text[at] in stops


# The delimiter


def delimiter_of(text, ending, path):
    """The delimiter of a text: the one by which most of its first lines have equally many cells."""
    some = sample_of(text)
    found = {}
    for delimiter in (*DELIMITERS, BLANKS):
        if delimiter.encode() not in some and delimiter != BLANKS:
            continue
        try:
            n = _counts(some, Grid.of(some, delimiter, path))
        except UserError:  # quotes that are none with this delimiter
            continue
        if not len(n) or (usual := most_common(n)) == 1:
            continue
        # Words of sentences are no cells: the first line, too, must have the usual number, or one
        # less, if it does not name the names of rows.
        if delimiter != BLANKS or n[0] in (usual, max(usual - 1, 2)):
            found[delimiter] = float(np.mean(n == usual)), usual
    blanks = found.pop(BLANKS, (0.0, 0))
    if ending.startswith(".tsv"):
        if "\t" in found or not found:
            return "\t"
        blanks = (0.0, 0)
    # Commas that all stand between digits are decimal commas, if another delimiter fits as well.
    of_commas, _ = found.get(",", (2.0, 0))
    others = [share for delimiter, (share, _) in found.items() if delimiter != ","]
    if max(others, default=0.0) >= of_commas and not NO_DECIMAL_COMMA.search(some):
        del found[","]
    # Of several that fit as well the one with the most cells, the first of equals.
    best = max(found, key=found.get, default=",")
    share, n_cells = found.get(best, (0.0, 0))
    if blanks[0] >= CONSISTENT and (share < CONSISTENT or (best == "\t" and blanks[1] > n_cells)):
        return BLANKS
    return best


def sample_of(text):
    """The first lines of a text."""
    newline, size = bytes([newline_of(text)]), N_SAMPLED
    while size < len(text) and text.count(newline, 0, size) < 20:
        size *= 4
    if size >= len(text):
        return text
    return text[: text.rindex(newline, 0, size) + 1]


def _counts(text, grid):
    """How many cells the first lines have, without blank lines and comments."""
    n = []
    for k in range(min(len(grid.n), N_SAMPLED_LINES)):
        line = text[grid.line_starts[k] : grid.line_ends[k]]
        if line.strip() and line[0] not in COMMENTS:
            n.append(int(grid.n[k]))
    return np.array(n, int)


def most_common(n):
    """The most common number; of several the one that comes first."""
    values, first, counts = np.unique(n, return_index=True, return_counts=True)
    return int(values[np.lexsort((first, -counts))[0]])
