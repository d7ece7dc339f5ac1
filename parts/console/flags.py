"""How every script talks to its user: flags with sentences, one-line errors, device and threads."""

import argparse

from parts.errors import UserError

MOST = 10**9  # of anything counted by a flag


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, like every other error of the scripts."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, **options)

    def error(self, message):
        raise UserError(f"{message} (see python {self.prog} --help)")


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


def open_fraction(text):
    return _number(text, float, "a fraction between 0 and 1", lambda v: 0 < v < 1)
