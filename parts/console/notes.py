"""Notes for the user: keep those that a command prints, for the report of its run."""

import contextlib
import sys

NOTE = "Note: "  # the beginning of every line that is a note


class Listener:
    """A text stream that passes everything on, and adds the lines that are notes to a list."""

    def __init__(self, stream, notes):
        self.stream, self.notes, self.line = stream, notes, ""

    def write(self, text):
        *lines, self.line = (self.line + text).split("\n")
        self.notes += [line.removeprefix(NOTE) for line in lines if line.startswith(NOTE)]
        return self.stream.write(text)

    def __getattr__(self, name):
        return getattr(self.stream, name)


@contextlib.contextmanager
def notes_kept():
    """Yield a list that fills with the notes that are printed meanwhile, without their "Note: "."""
    notes = []
    with contextlib.redirect_stdout(Listener(sys.stdout, notes)):
        yield notes
