"""The parts of the model and of the scripts, one file per axis of variation.

Import this package before torch: it makes torch's threads sleep while they wait. Spinning threads
make a step on two threads ten times as long when another process needs a core.

In a script of this repository Ctrl-C ends the process from here on, until `run_script` takes over:
packages take seconds to import, and an error in the middle of that would look like anything.
Warnings of libraries are for who changes the code: tests make errors of them, and --debug shows
them. Notebooks and other programs keep their own handling.
"""

import os
import sys


def report_uncaught(kind, error, traceback):
    """Python's report of an uncaught error, but one word for Ctrl-C; the exit code stays 130."""
    if issubclass(kind, KeyboardInterrupt):
        os.write(2, b"interrupted\n")
    else:
        sys.__excepthook__(kind, error, traceback)


def end_at_once(number, frame):
    """Handle Ctrl-C with one word and the shell's exit code; nothing is open or half-written."""
    os.write(2, b"interrupted\n")
    os._exit(128 + number)


_main = os.path.realpath(getattr(sys.modules["__main__"], "__file__", None) or "/")
if os.path.dirname(_main) == os.path.dirname(os.path.dirname(os.path.realpath(__file__))):
    sys.excepthook = report_uncaught  # until the next line, which takes milliseconds, has ended
    import signal
    import warnings

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end_at_once)
    if not sys.warnoptions and "--debug" not in sys.argv:
        warnings.simplefilter("ignore")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
