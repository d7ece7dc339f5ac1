"""Run a script: errors in one line, exit codes, Ctrl-C."""

import contextlib
import os
import re
import signal
import sys

from parts.errors import UserError

INTERRUPTED = 130  # the shell's code for Ctrl-C


def run_script(main):
    """Call `main()` and exit: a UserError becomes one line on stderr and exit code 2."""
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (UserError, OSError, MemoryError, RuntimeError) as error:  # a full disk, for example
        if isinstance(error, RuntimeError) and not re.search("to allocate|out of mem", str(error)):
            raise
        message = str(error)
        if isinstance(error, (MemoryError, RuntimeError)):
            wanted = re.search(r"to allocate ([\d.]+ ?\w+)", message)
            message = "out of memory" + (f", {wanted[1]} more were wanted" if wanted else "")
            message += ": a smaller model, smaller pictures, or fewer rows or samples need less"
        print("error: " + message.replace("\n", "\\n").replace("\r", "\\r"), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(INTERRUPTED)


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
