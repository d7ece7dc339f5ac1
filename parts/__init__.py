"""The parts of the model and of the scripts, one file per axis of variation.

Import this package before torch: it makes torch's threads sleep while they wait. Spinning threads
make a step on two threads ten times as long when another process needs a core.

In a script of this repository Ctrl-C ends the process from here on, until `run_script` takes over:
packages take seconds to import, and an error in the middle of that would look like anything.
Warnings of libraries are for who changes the code: tests make errors of them, and --debug shows
them. Notebooks and other programs keep their own handling.
"""

import os
import signal
import sys
import warnings
from pathlib import Path


def end_at_once(number, frame):
    """Handle Ctrl-C with one word and the shell's exit code; nothing is open or half-written."""
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


os.environ.setdefault("OMP_WAIT_POLICY", "passive")
_main = getattr(sys.modules["__main__"], "__file__", None)
if _main and Path(_main).resolve().parent == Path(__file__).resolve().parent.parent:
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)
    if not sys.warnoptions and "--debug" not in sys.argv:
        warnings.simplefilter("ignore")
