"""Options: fields of the config's dataclasses, from which flags, their help and defaults are made.

    @dataclass(frozen=True)
    class TrainingConfig:
        epochs: int = option(50, "passes over the rows (default: 50)", parse=positive_int)

A field without `option` is no flag: it is filled in by the program.
"""

import argparse
import copy
from dataclasses import field, fields
from typing import get_args

MOST = 10**9  # of anything counted by an option
LARGEST = 1e30  # weight, rate or time: float32 has no number above 3.4e38


def option(
    default,
    help,
    parse=None,
    choices=None,
    metavar=None,
    flag=None,
    nargs=None,
    append=False,
    of=None,
):
    """A dataclass field that is a flag on the command line.

    `help` and `choices` may be functions of nothing, for what is only known later. `flag` where it
    is not the field's name. With `append` the flag may be given several times, for a list. `of` is
    the name of the only model that takes it.
    """
    made = {
        "help": help,
        "parse": parse,
        "choices": choices,
        "metavar": metavar,
        "flag": flag,
        "nargs": nargs,
        "append": append,
        "of": of,
    }
    if isinstance(default, list):
        return field(default_factory=lambda: copy.copy(default), metadata={"option": made})
    return field(default=default, metadata={"option": made})


def add_options(parser, config_class, without=()):
    """Add a flag to an ArgumentParser for each option of a config dataclass.

    A default is None where the data decide; bool fields become switches.
    """
    defaults = config_class()
    for each in fields(config_class):
        if "option" not in each.metadata or each.name in without:
            continue
        made = each.metadata["option"]
        help_text, choices = (
            value() if callable(value) else value for value in (made["help"], made["choices"])
        )
        help_text = f"{made['of']}: {help_text}" if made["of"] else help_text
        default = getattr(defaults, each.name)
        names = made["flag"] or ["--" + each.name.replace("_", "-")]
        options = {"dest": each.name, "default": default, "help": help_text}
        if isinstance(default, bool):
            parser.add_argument(*names, action="store_true", **options)
        elif made["append"]:
            parser.add_argument(*names, action="append", metavar=made["metavar"], **options)
        else:
            own = {"choices": choices, "metavar": made["metavar"], "nargs": made["nargs"]}
            own = {name: value for name, value in own.items() if value is not None}
            parser.add_argument(*names, type=made["parse"] or str, **options, **own)


def options_of(config_class, owner):
    """Names of the options of a config dataclass that only `owner` takes."""
    made = {each.name: each.metadata.get("option", {}) for each in fields(config_class)}
    return [name for name, given in made.items() if given.get("of") == owner]


def from_plain(made, plain):
    """An instance of a dataclass from plain values, as JSON holds them.

    TypeError or ValueError for a value of another type, or one that its flag would refuse.
    """
    for each in fields(made):
        if each.name in plain:
            _check_plain(each, plain[each.name])
    return made(**plain)


def _check_plain(each, value):
    kinds = get_args(each.type) or (each.type,)
    of_kind = bool in kinds if isinstance(value, bool) else isinstance(value, kinds)
    if not of_kind and not (type(value) is int and float in kinds):
        raise TypeError(f"{each.name} is {value!r:.60}")
    flag = each.metadata.get("option")
    if flag is None or value is None or isinstance(value, bool):
        return
    choices = flag["choices"]() if callable(flag["choices"]) else flag["choices"]
    for one in value if isinstance(value, list) else [value]:
        if choices is not None and one not in choices:
            raise ValueError(f"{each.name} is {one!r:.60}")
        if isinstance(one, list | dict):
            raise TypeError(f"{each.name} holds {one!r:.60}")
        try:
            (flag["parse"] or str)(str(one))
        except argparse.ArgumentTypeError as error:
            raise ValueError(f"{each.name} is {error}") from error


# Text of the command line -> value


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


def n_components(text):
    return _number(text, int, "a whole number from 1 to 1000", lambda v: 1 <= v <= 1000)


def n_draws(text):
    return _number(text, int, "a whole number from 0 to 10000", lambda v: 0 <= v <= 10_000)


def n_trials(text):
    return _number(text, int, "a whole number from 1 to 100000", lambda v: 1 <= v <= 100_000)


def image_size(text):
    return _number(text, int, "a whole number from 1 to 4096", lambda v: 1 <= v <= 4096)


def batch_size(text):
    return text if text == "full" else positive_int(text)


def thread_count(text):
    return _number(text, int, "a whole number from 0 to 1024", lambda v: 0 <= v <= 1024)


def seed(text):
    return _number(text, int, "a whole number from 0 to 2**32 - 1", lambda v: 0 <= v < 2**32)


def positive(text):
    return _number(text, float, "a number above 0, at most 1e30", lambda v: 0 < v <= LARGEST)


def non_negative(text):
    return _number(text, float, "a number from 0 to 1e30", lambda v: 0 <= v <= LARGEST)


def fraction(text):
    return _number(text, float, "a fraction from 0 up to, not including, 1", lambda v: 0 <= v < 1)


def share_below_half(text):
    return _number(text, float, "a share from 0 up to, not including, 0.5", lambda v: 0 <= v < 0.5)


def open_fraction(text):
    return _number(text, float, "a fraction between 0 and 1", lambda v: 0 < v < 1)


def kind_of(text):
    """("age", "count") from age=count."""
    name, sign, kind = text.rpartition("=")
    if not (name and sign and kind):
        raise argparse.ArgumentTypeError(f"{text!r}, expected NAME=KIND")
    return name, kind
