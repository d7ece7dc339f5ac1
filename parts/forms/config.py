"""The options of the data: the data set, its split, its conditions, the kinds of columns."""

import argparse
import json
from dataclasses import dataclass, field

from parts.errors import UserError, stage
from parts.files import read_json
from parts.options import fraction, image_size, option, positive_int, seed


def _help_for_data():
    from parts.forms import BUILTIN, endings

    return (
        f"{', '.join(BUILTIN)}, a file ending in {endings()}, or a folder of pictures, "
        "whose sub-folders are labels (default: synthetic)"
    )


def relations_option(text):
    """Parse --relations: "off", a JSON file, or its content; returns "off" or JSON in one line."""
    if text == "off":
        return text
    shown = text if len(text) < 60 else text[:57] + "..."
    try:
        with stage("it is not JSON"):
            wanted = json.loads(text) if text.startswith("{") else read_json(text)
    except UserError as error:
        raise argparse.ArgumentTypeError(f"{shown!r}, expected off or JSON: {error}") from error
    lists = isinstance(wanted, dict) and not set(wanted) - {"add", "strike"}
    if not lists or not all(
        isinstance(part, list) and all(isinstance(one, str) for one in part)
        for part in wanted.values()
    ):
        raise argparse.ArgumentTypeError(
            f'{shown!r}, expected {{"add": ["a <= b"], "strike": ["c -> d"]}}, lists of relations'
        )
    return json.dumps(wanted, sort_keys=True)


def text_encoding(text):
    """The name of an encoding that Python can read, as it was given."""
    try:
        "a".encode(text)
    except (LookupError, ValueError):
        raise argparse.ArgumentTypeError(
            f"{text!r}, expected the name of an encoding, such as cp1252, latin-1 or utf-16"
        ) from None
    return text


@dataclass(frozen=True)
class DataConfig:
    """Options of the data; `data.resolve` replaces None by the default of the data set."""

    data: str = option("synthetic", _help_for_data)
    condition: list | None = option(
        None,
        "columns (a,b,c), or label for the data's labels, that are y of p(x | y)",
        append=True,
        metavar="NAME",
    )
    n_rows: int | None = option(
        None, "synthetic, sprites: rows (default: 1000, all)", parse=positive_int
    )
    n_columns: int = option(20, "synthetic: columns (default: 20)", parse=positive_int)
    n_informative: int | None = option(
        None, "synthetic: columns that tell classes", parse=positive_int
    )
    data_seed: int = option(42, "synthetic, sprites: seed (default: 42)", parse=seed)
    data_dir: str | None = option(None, "mnist, fashion: where their idx files are", metavar="DIR")
    image_size: int | None = option(
        None,
        "folder: resize the middle square of each picture to N x N",
        parse=image_size,
        metavar="N",
    )
    grey: bool = option(False, "folder: drop the pictures' colour")
    test_fraction: float | None = option(
        None, "share of test rows (default: 0.2; mnist, fashion: the official ones)", parse=fraction
    )
    val_fraction: float | None = option(
        None,
        "share of the others held out of training (default: 0.1; synthetic: 0)",
        parse=fraction,
    )
    split_seed: int = option(42, "seed of the split (default: 42)", parse=seed)
    relations: str | None = option(
        None,
        "off, or a JSON file of relations between columns to add and to strike (default: those "
        "that hold in the training rows)",
        parse=relations_option,
        metavar="off|FILE",
    )
    encoding: str | None = option(
        None,
        "text file: its encoding, such as cp1252 or utf-16 (default: found by itself)",
        parse=text_encoding,
        metavar="NAME",
    )
    no_header: bool = option(
        False, "text file, .xlsx: the first line is a row; columns are called c0, c1, ..."
    )
    missing: list | None = option(
        None,
        "a cell that is missing, or NAME=MARK for one column, any number of times, beside the "
        "usual marks such as NA",
        append=True,
        metavar="MARK",
    )
    keep: list | None = option(
        None,
        "a usual mark that is an answer here, or NAME=MARK; NAME= for the empty cell of a column",
        append=True,
        metavar="MARK",
    )
    time: list | None = option(
        None,
        "the column that tells the time, or several (year,month,day): rows are a series (default: "
        "found where it is plain)",
        append=True,
        metavar="COLUMN",
    )
    group: list | None = option(
        None, "a series: the column that tells several series apart", append=True, metavar="COLUMN"
    )
    table: bool = option(False, "rows have no order, though they have times")
    step: str | None = option(
        None, "a series: time between rows, such as 5min (default: found)", metavar="TIME"
    )
    window: str | None = option(
        None,
        "a series: what the model sees at once, such as 24h or 48 steps (default: the period)",
        metavar="TIME",
    )
    train_until: str | None = option(
        None,
        "a series: the last time that is trained on, as the file writes times; later rows are "
        "test rows, and scored (default: the last share of each group is for tests)",
        metavar="TIME",
    )
    long_windows: bool = False  # whether the windows of a series are to be scored, not filled
    other_encoding: str | None = None  # that of the run's own file: if a file is not in UTF-8
    kinds: dict = field(default_factory=dict)  # name -> kind or dict, from --columns and --kind
    scaling: str = "standard"  # the likelihood's: standard, none or kinds
    static_pixels: bool = False  # each grey pixel is drawn as 0 or 1 once, before training


# Options of how the cells of a file are read: every script that reads a file takes them.
READING = ("encoding", "no_header", "missing", "keep")
READING += ("time", "group", "table", "step", "window", "train_until")
