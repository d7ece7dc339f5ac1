"""From the bytes of a text file to UTF-8, in which cells are found, and back."""

import codecs
from typing import NamedTuple

import numpy as np

from parts.errors import UserError

# Byte order marks -> encodings; that of UTF-32 begins with that of UTF-16.
MARKS = {
    b"\xef\xbb\xbf": "utf-8",
    b"\xff\xfe\x00\x00": "utf-32-le",
    b"\x00\x00\xfe\xff": "utf-32-be",
    b"\xff\xfe": "utf-16-le",
    b"\xfe\xff": "utf-16-be",
}
OTHER = (
    "cp1252",
    "latin-1",
)  # of files that are not in UTF-8; the second has a letter for each byte
N_LOOKED_AT = 2**16  # bytes that tell UTF-16 without a mark from other files
# Bytes that texts hold; below 32 these are backspace to carriage return, end of file, escape.
MOST_STRANGE = 0.001  # share of other bytes in a text that is not UTF-8
TEXT = bytes((*range(8, 14), 0x1A, 0x1B, *range(32, 256)))
SIGNS = {  # what other files begin with
    b"PK\x03\x04": "a .zip archive or an .xlsx file",
    b"PAR1": "a .parquet file",
    b"\x93NUMPY": "a .npy file",
    b"%PDF": "a .pdf file",
    b"\xd0\xcf\x11\xe0": "an .xls file of old; save it as .xlsx or .csv",
    b"BZh": "a .bz2 file; decompress it",
    b"\xfd7zXZ": "an .xz file; decompress it",
}


class Encoding(NamedTuple):
    """How a text file writes letters: the name of its encoding, and its byte order mark or b""."""

    name: str = "utf-8"
    mark: bytes = b""

    def encode(self, utf8):
        """Bytes of UTF-8 as the file writes them; a letter that it does not know becomes `?`.

        Only letters that we add can be such: the words of a reason, for example.
        """
        if self.name == "utf-8":
            return self.mark + utf8
        return self.mark + utf8.decode().encode(self.name, "replace")


def decode(content, path, asked=None, other=None):
    """The content of a text file in UTF-8, its Encoding, and notes for the user.

    `asked` is the encoding that the user named; `other` that of a similar file, which is tried
    where the content is not UTF-8.
    """
    mark = next((mark for mark in MARKS if content.startswith(mark)), b"")
    if asked is not None:
        name = codecs.lookup(asked).name.removesuffix("-sig")
        if mark and MARKS[mark].startswith(name):  # UTF-16 stands for both orders of bytes
            name = MARKS[mark]
        else:
            mark = b""
            name = {"utf-16": "utf-16-le", "utf-32": "utf-32-le"}.get(name, name)
        return _decoded(content, mark, name, path), Encoding(name, mark), []
    if mark:
        return _decoded(content, mark, MARKS[mark], path), Encoding(MARKS[mark], mark), []
    if name := _utf16(content):
        return _decoded(content, b"", name, path), Encoding(name), []
    wrong = _not_utf8(content)
    _refuse_binary(content, path, MOST_STRANGE if wrong is not None else 1.0)
    if wrong is None:
        return content, Encoding(), []
    for name in filter(None, (other, *OTHER)):
        try:
            text = content.decode(name).encode()
        except UnicodeDecodeError:
            continue
        line = content[:wrong].count(b"\n") + 1
        note = (
            f"{path} is not UTF-8 text (line {line}), and is read as {name}: give --encoding if "
            "its letters look wrong"
        )
        return text, Encoding(name), [note]
    raise AssertionError("latin-1 has a letter for each byte")


def name_of(text):
    """The name of an encoding in Python, None if it has none of that name."""
    try:
        return codecs.lookup(text).name
    except (LookupError, ValueError):
        return None


def mark_of(name):
    """The byte order mark of an encoding, b"" for one without."""
    return next((mark for mark, own in MARKS.items() if own == name), b"")


def _decoded(content, mark, name, path):
    """The content behind its mark in UTF-8."""
    body = content[len(mark) :]
    try:
        text = body.decode(name).encode()
    except UnicodeError as error:
        at = f" (byte {error.start + len(mark)})" if isinstance(error, UnicodeDecodeError) else ""
        raise UserError(f"{path} is not {name} text{at}; --encoding names another one") from None
    _refuse_binary(text, path, 1.0)
    return text


def _utf16(content):
    """The name of UTF-16 without a mark, "" for other content: each second byte is 0."""
    some = np.frombuffer(content[: N_LOOKED_AT - N_LOOKED_AT % 2], np.uint8)
    if len(some) < 4 or len(some) % 2:
        return ""
    zero = (some.reshape(-1, 2) == 0).mean(0)
    for k, name in enumerate(("utf-16-be", "utf-16-le")):
        if zero[k] > 0.7 and zero[1 - k] == 0:
            return name
    return ""


def _refuse_binary(content, path, most_strange):
    """Raise UserError for content that is no text: a 0, or too many bytes that no text has."""
    for sign, what in SIGNS.items():
        if content.startswith(sign):
            raise UserError(f"{path} is no text file, but looks like {what}")
    if b"\0" in content or len(content.translate(None, TEXT)) > most_strange * len(content):
        raise UserError(
            f"{path} is no text file: it holds bytes that no text has; expected a table of cells, "
            "as a spreadsheet saves it as CSV in UTF-8"
        )


def _not_utf8(content):
    """Where the content stops being UTF-8, None if it does not."""
    if content.isascii():
        return None
    try:
        content.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None
