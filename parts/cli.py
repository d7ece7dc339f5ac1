"""How every script talks to its user: flags with sentences, one-line errors, device and threads."""

import argparse
import contextlib
import os
import re
import signal
import sys

from parts.errors import UserError

MOST = 10**9  # of anything counted by a flag
INTERRUPTED = 130  # the shell's code for Ctrl-C


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, like every other error of the scripts."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, **options)

    def error(self, message):
        raise UserError(f"{message} (see python {self.prog} --help)")


def run_script(main):
    """Call `main()` and exit: a UserError becomes one line on stderr and exit code 2."""
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader (head, less) went away: the usual quiet end
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


def _number(text, cast, expected, accept):
    try:
        value = cast(text)
        accepted = accept(value)
    except (ValueError, OverflowError):
        accepted = False
    if not accepted:
        raise argparse.ArgumentTypeError(f"{text!r}, expected {expected}")
    return value


def positive_int(text):
    return _number(text, int, f"a whole number from 1 to {MOST}", lambda v: 1 <= v <= MOST)


def count(text):
    return _number(text, int, f"a whole number from 0 to {MOST}", lambda v: 0 <= v <= MOST)


def image_size(text):
    return _number(text, int, "a whole number from 1 to 4096", lambda v: 1 <= v <= 4096)


def batch_size(text):
    return text if text == "full" else positive_int(text)


def thread_count(text):
    return _number(text, int, "a whole number from 0 to 1024", lambda v: 0 <= v <= 1024)


def seed(text):
    return _number(text, int, "a whole number from 0 to 2**32 - 1", lambda v: 0 <= v < 2**32)


def positive(text):
    return _number(text, float, "a number above 0", lambda v: 0 < v < float("inf"))


def non_negative(text):
    return _number(text, float, "a number of at least 0", lambda v: 0 <= v < float("inf"))


def fraction(text):
    return _number(text, float, "a fraction from 0 up to, not including, 1", lambda v: 0 <= v < 1)


def kind_of(text):
    """("age", "count") from age=count."""
    name, sign, kind = text.rpartition("=")
    if not (name and sign and kind):
        raise argparse.ArgumentTypeError(f"{text!r}, expected NAME=KIND")
    return name, kind


def flags_in(values, parser, path):
    """A JSON object of flags, by their names in config.json, as the words of a command line."""
    known = {a.dest: a for a in parser._actions if a.dest not in ("help", "config")}
    if not isinstance(values, dict):
        raise UserError(f'{path}: expected a JSON object of flags, such as {{"lr": 0.001}}')
    if unknown := sorted(set(values) - set(known)):
        raise UserError(f"{path}: unknown {unknown}, expected some of {sorted(known)}")
    words = []
    for name, value in values.items():
        flag = known[name].option_strings[0]
        if known[name].nargs == 0:
            words += [flag] if value else []
        elif isinstance(value, list) and known[name].nargs is None:  # as --kind: once for each
            words += [f"{flag}={item}" for item in value]
        elif isinstance(value, list):
            words += [flag, *map(str, value)]
        elif value is not None:
            words += [f"{flag}={value}"]
    return words


def add_run_flags(parser):
    """The flags with which every verb after `train.py` finds its run."""
    parser.add_argument("--run", help="the run's name or folder (default: the newest)")
    parser.add_argument("--runs-dir", default="runs", help="where runs live (default: runs)")


def add_file_flags(parser, word):
    """Those of a verb that reads a user's file and writes one beside it, `name.word.csv`."""
    forms = "a .csv, .tsv, .parquet, .npy or .npz file; pictures: an array, or to score a folder"
    parser.add_argument("file", help=forms)
    parser.add_argument("--run", help="use this trained run (default: fit a new one to the file)")
    parser.add_argument("--runs-dir", default="runs", help="where runs live (default: runs)")
    parser.add_argument(
        "--out", metavar="FILE", help=f"what to write (default: NAME.{word} and FILE's ending)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.add_argument(
        "--n-samples", type=positive_int, default=100, help="importance samples (default: 100)"
    )
    parser.add_argument("--seed", type=seed, default=0, help="seed of all draws (default: 0)")


def add_device_flags(parser):
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda", "mps"),
        default="auto",
        help="where to compute; auto takes a GPU if there is one (default: auto)",
    )
    parser.add_argument(
        "--threads",
        type=thread_count,
        default=0,
        help="CPU threads; 0 fits them to the size of a step (default: 0)",
    )


def choose_device(name):
    """The torch device that `--device` asks for."""
    import torch

    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        name = next(d for d in ("cuda", "mps", "cpu") if available[d])
    if not available[name]:
        raise UserError(f"--device {name}: torch finds none on this machine; use --device cpu")
    return torch.device(name)


def choose_threads(threads, multiply_adds):
    """Threads for work of so many multiply-adds at a time; 0 picks.

    For little work a second thread costs more in hand-over than it computes: see the column
    "÷ other threads" that `benchmarks/speed.py` measures.
    """
    if threads:
        return threads
    return 1 if multiply_adds < 16_000_000 else n_cores()


def n_cores():
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def open_fraction(text):
    return _number(text, float, "a fraction between 0 and 1", lambda v: 0 < v < 1)


def progress_bar(total, done, unit="row"):
    """A tqdm bar on a terminal, silent when stderr is piped; `update(0)` moves its clock."""
    from tqdm import tqdm

    options = {"unit": unit, "unit_scale": unit == "row", "leave": False}
    options |= {"miniters": 0, "smoothing": 0}  # else that clock stops, and spoils the rate
    return tqdm(total=total, initial=done, disable=not sys.stderr.isatty(), **options)


@contextlib.contextmanager
def stop_signals():
    """A list that is empty until Ctrl-C or SIGTERM; a second Ctrl-C ends the program at once."""
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
