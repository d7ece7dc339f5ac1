"""The parts of the model and of the scripts, one file per axis of variation.

Import this package before torch: it makes torch's threads sleep while they wait. Spinning threads
make a step on two threads ten times as long when another process needs a core.

In a script of this repository Ctrl-C says "interrupted" from here on, because torch takes seconds
to import before `run_script` takes over. Notebooks and other programs keep their own report.
"""

import os
import sys
from pathlib import Path


def report_uncaught(kind, error, traceback):
    """Python's report of an uncaught error, but one word for Ctrl-C; the exit code stays 130."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted\n")
    else:
        sys.__excepthook__(kind, error, traceback)


os.environ.setdefault("OMP_WAIT_POLICY", "passive")
_main = getattr(sys.modules["__main__"], "__file__", None)
if _main and Path(_main).resolve().parent == Path(__file__).resolve().parent.parent:
    sys.excepthook = report_uncaught
