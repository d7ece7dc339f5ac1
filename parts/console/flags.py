"""The command line: a parser with errors in one line, and flags that scripts share."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

from parts.console.script import DEBUG
from parts.errors import UserError
from parts.files import read_json
from parts.forms.tables import kinds
from parts.options import add_options, kind_of, positive_int, seed, thread_count


class Noted(argparse.Action):
    """A switch that is known and stored nowhere: `run_script` looks for it in the command line."""

    def __init__(self, option_strings, dest, help=None):
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser, namespace, values, option_string=None):
        return


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are UserErrors of one line."""

    def __init__(self, **options):
        super().__init__(allow_abbrev=False, **options)
        self.add_argument(DEBUG, action=Noted, help="show the traceback of an error")

    def error(self, message):
        raise UserError(f"{message} (see python {self.prog} --help)")


def add_config_flags(parser, without=()):
    """Add the flags of a Config: data, model and training."""
    from parts.forms.config import DataConfig
    from parts.model.config import ModelConfig
    from parts.training.config import TrainingConfig

    for part in (DataConfig, ModelConfig, TrainingConfig):
        add_options(parser, part, without)
    add_kind_flags(parser)
    add_device_flags(parser)


def add_kind_flags(parser):
    parser.add_argument(
        "--columns",
        dest="kinds_file",
        metavar="FILE",
        help='kinds of columns as JSON: {"age": "count", "size": {"kind": "ordinal", '
        '"levels": ["S", "M", "L"]}}; the others are inferred',
    )
    parser.add_argument(
        "--kind",
        action="append",
        type=kind_of,
        metavar="NAME=KIND",
        help=f"the same for one column, any number of times; one of {', '.join(kinds.KINDS)}",
    )


def add_run_flags(parser):
    """Add the flags by which scripts find a trained run."""
    parser.add_argument("--run", help="the run's name or folder (default: the newest)")
    parser.add_argument("--runs-dir", default="runs", help="where runs live (default: runs)")


def add_file_flags(parser, word):
    """Add the flags of a script that reads a user's file and writes `name.word.csv`."""
    from parts.forms import endings

    forms = f"a file ending in {endings()}; pictures: an array, or to score a folder"
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
    add_reading_flags(parser)
    add_relations_flag(parser)


def add_reading_flags(parser):
    """Add the flags of how the cells of a file are read."""
    from parts.forms.config import READING

    add_data_options(parser, READING)


def add_relations_flag(parser):
    """Add the flag of a script that fits a run to a file or uses the relations of one."""
    add_data_options(parser, ["relations"])


def add_data_options(parser, names):
    """Add the flags of the options of DataConfig with these names."""
    from parts.forms.config import DataConfig

    add_options(parser, DataConfig, {f.name for f in fields(DataConfig)} - set(names))


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


# Flags as options of a config

REPEATED = (
    "kind",
    "condition",
    "missing",
    "keep",
    "time",
    "group",
)  # flags that argparse appends: to None, not to a mark of no value


def parse(parser, argv=None):
    """Parse flags into a dict of all and a dict of given ones, which include those of --config."""
    argv = sys.argv[1:] if argv is None else argv
    defaults = vars(parser.parse_args([]))
    unset = object()
    blank = dict.fromkeys(defaults, unset) | dict.fromkeys(REPEATED)
    namespace = vars(parser.parse_args(argv, argparse.Namespace(**blank)))
    kinds_of_run = {}
    if (path := namespace.get("config", unset)) is not unset:
        values = read_json(path)
        if isinstance(values, dict) and "versions" in values:  # the config.json of a run
            values, kinds_of_run = asked_in(values, parser, path)
        given = {name for name, value in namespace.items() if value not in (unset, None)}
        # A given flag wins, where argparse would append its value; kinds of columns add up.
        argv = [*flags_in(values, parser, path, given - {"kind"}), *argv]
        namespace = vars(parser.parse_args(argv, argparse.Namespace(**blank)))
    given = {name: v for name, v in namespace.items() if v is not unset and v is not None}
    given |= {"kinds": kinds_of_run} if kinds_of_run else {}
    return defaults | given, given


def options_in(given):
    """Select the options of a Config from given flags; --columns and --kind become `kinds`."""
    from parts.runs.config import OPTION_NAMES

    names = set().union(*OPTION_NAMES.values())
    found = {name: value for name, value in given.items() if name in names}
    wanted = found.get("kinds", {}) | kinds.requested_kinds(
        given.get("kinds_file"), given.get("kind")
    )
    return found | ({"kinds": wanted} if wanted else {})


def flags_in(values, parser, path, without=()):
    """Convert a JSON object of options, but for the names in `without`, to words of a command line.

    The parser of the flags checks them, with its own errors.
    """
    known = known_flags(parser)
    if not isinstance(values, dict):
        raise UserError(f'{path}: expected a JSON object of flags, such as {{"lr": 0.001}}')
    values = {name: value for name, value in values.items() if value is not None}
    if refused := sorted(set(values) & set(NOT_IN_CONFIG)):
        raise UserError(
            f"{path} holds {refused[0]!r}, which a file cannot ask for: give "
            f"--{refused[0].replace('_', '-')} on the command line"
        )
    if unknown := sorted(set(values) - set(known)):
        raise UserError(f"{path}: unknown {unknown}, expected some of {sorted(known)}")
    words = []
    for name, value in values.items():
        flag = known[name].option_strings[0]
        if name in without:
            continue
        if known[name].nargs == 0:
            if not isinstance(value, bool):
                raise UserError(f"{path}: {name} is {value!r}, expected true or false")
            words += [flag] if value else []
        elif isinstance(value, list) and name in REPEATED:
            words += [f"{flag}={item}" for item in value]
        elif isinstance(value, list) and known[name].nargs is not None:
            words += [flag, *map(str, value)]
        elif isinstance(value, list):
            raise UserError(f"{path}: {name} is {value}, expected one value")
        else:
            words += [f"{flag}={value}"]
    return words


# What names a run or replaces one is said on the command line, where it can be seen.
NOT_IN_CONFIG = ("config", "help", "overwrite", "resume", "run", "runs_dir", "study")


def known_flags(parser):
    """The flags that --config may hold, by their names."""
    left_out = (argparse.SUPPRESS, *NOT_IN_CONFIG)
    return {action.dest: action for action in parser._actions if action.dest not in left_out}


def asked_in(config, parser, path):
    """The flags and the kinds of columns in the config.json at `path`, of any version.

    Flags that the model does not use are left out. Kinds are separate, because flags cannot express
    all of them.
    """
    from parts.model.build import options_of_others
    from parts.runs.config import paths_from

    flat = dict(config)
    for part in ("data", "model", "training", "execution"):
        if isinstance(config.get(part), dict):
            flat |= config[part]
    source = config.get("source")
    absolute = source.get("absolute", {}) if isinstance(source, dict) else {}
    absolute = {name: once for name, once in absolute.items() if name in flat}
    flat |= paths_from(Path(path).parent, flat, absolute)
    left_out = options_of_others({"likelihood": None, "model": None} | flat)
    names = known_flags(parser).keys() - left_out
    flags = {name: value for name, value in flat.items() if name in names}
    return flags, flat.get("kinds") or {}
