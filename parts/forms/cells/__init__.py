"""Convert the text of cells to numbers and back: missing marks, numbers, dates and times."""

from parts.forms.cells.labels import Labels, column_of_labels, labels_of
from parts.forms.cells.marks import MISSING, WORDS, counts, may_tell, missing
from parts.forms.cells.moments import ahead_of_utc, is_instant, is_moment, step_of
from parts.forms.cells.numerals import same_unit
from parts.forms.cells.shapes import hint_of
from parts.forms.cells.styles import (
    AT_LEAST,
    LARGEST,
    MOSTLY,
    NESTED,
    NO_HINTS,
    Hints,
    hints_of,
    numbers,
    read,
    reading_of,
    texts,
)
from parts.forms.cells.text import is_text, joined, share_of

__all__ = [
    "AT_LEAST",
    "LARGEST",
    "MISSING",
    "MOSTLY",
    "NESTED",
    "NO_HINTS",
    "WORDS",
    "Hints",
    "Labels",
    "ahead_of_utc",
    "column_of_labels",
    "counts",
    "hint_of",
    "hints_of",
    "is_instant",
    "is_moment",
    "is_text",
    "joined",
    "labels_of",
    "may_tell",
    "missing",
    "numbers",
    "read",
    "reading_of",
    "same_unit",
    "share_of",
    "step_of",
    "texts",
]
