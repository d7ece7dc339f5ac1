"""Run a script: errors in one line, exit codes, Ctrl-C. Scripts import it before all else."""

import contextlib
import os
import re
import signal
import sys
import traceback
from pathlib import Path

import parts
from parts.errors import UserError, reason

INTERRUPTED = 130  # the shell's code for Ctrl-C
DEBUG = "--debug"  # the flag of every script that shows the traceback of an error


def run_script(main):
    """Call `main()` and exit. An error is one line on stderr; --debug shows its traceback.

    The code is 2 for what a user can mend, 130 after Ctrl-C, and 1 for a fault of the program.
    """
    complete_streams()
    if signal.getsignal(signal.SIGINT) is parts.end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = main()
        sys.stdout.flush()  # here a full disk is an error of one line
        sys.exit(code)
    except BrokenPipeError:  # the reader, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (Exception, KeyboardInterrupt) as error:
        if DEBUG in sys.argv:
            traceback.print_exc()
        message, code = line_and_code(error)
        print(message.replace("\n", "\\n").replace("\r", "\\r"), file=sys.stderr)
        sys.exit(code)


def line_and_code(error):
    """What an error says to the user, and the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted", INTERRUPTED
    wanted = re.search(r"to allocate ([\d.]+ ?\w+)", str(error))
    is_memory = re.search("to allocate|out of mem", str(error))
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and is_memory):
        more = f", {wanted[1]} more were wanted" if wanted else ""
        return (
            f"error: out of memory{more}: a smaller model, smaller pictures, or fewer rows or "
            "samples need less"
        ), 2
    if isinstance(error, (UserError, OSError)):  # a full disk, for example
        return f"error: {error}", 2
    at = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(at.filename).name}, line {at.lineno}"
    return (
        f"error: {type(error).__name__} in {where}: {reason(error)}. This is a fault of the "
        f"program; {DEBUG} shows how it came about"
    ), 1


def complete_streams():
    """Open what the shell has closed, and let no letter be one that a terminal cannot show."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # the next file to be opened would take its place, and the messages too
            os.open(os.devnull, os.O_RDWR)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        stream = getattr(sys, name)
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def stop_signals():
    """Yield a list that Ctrl-C or SIGTERM fills; a second Ctrl-C ends the program at once."""
    stop = []

    def note(number, frame):
        stop.append(number)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    old = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
