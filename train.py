"""Train a VAE and write a run.

python train.py                          # the synthetic default, about 3 s
python train.py --data survey.csv        # a table with mixed columns and holes
python train.py --resume 0001            # continue a run; the results are bit-identical
"""

# First: from here on Ctrl-C is handled, while packages are imported.
from parts.console.script import run_script

# isort: split
import contextlib

from parts.console.fitting import conclude, introduce, new_session, resumed_session, train
from parts.console.flags import Parser, add_config_flags, options_in, parse
from parts.errors import UserError
from parts.tasks.fit import fit_arrays as fit

__all__ = ["fit", "main"]  # fit(model, x): for arrays in a notebook

RESUMABLE = ("checkpoint_seconds", "device", "epochs", "patience", "runs_dir", "threads")
FLAG_OF = {"kinds_file": "columns"}  # flags whose names in the code differ


def make_parser():
    parser = Parser(prog="train.py", description="Fit a VAE and write a run.")
    add_config_flags(parser)
    add = parser.add_argument
    add("--config", metavar="FILE", help="flags as JSON, as tune.py or a run has them; flags win")
    add("--runs-dir", default="runs", help="where runs live (default: runs)")
    add("--run", help="name of the new run (default: the next number)")
    add("--overwrite", action="store_true", help="replace an existing run of that name")
    add("--resume", metavar="RUN", help="go on with a run; --epochs takes it further")
    return parser


def make_session(args, given, held):
    """The Session of a new run, or of a run that is continued."""
    if args["resume"] is None:
        if args["overwrite"] and args["run"] is None:
            raise UserError(
                "--overwrite needs --run NAME: a run without a name never replaces another"
            )
        target = args["runs_dir"], args["run"], args["overwrite"]
        return new_session(options_in(given), target, args["device"], args["threads"], held)
    refused = sorted(set(given) - {"resume", *RESUMABLE})
    if refused:
        flag = FLAG_OF.get(refused[0], refused[0].replace("_", "-"))
        allowed = ", ".join(f"--{name.replace('_', '-')}" for name in RESUMABLE)
        raise UserError(f"--{flag} cannot change on --resume; allowed: {allowed}")
    execution = given.get("device"), given.get("threads")
    changes = options_in(given)
    return resumed_session(args["resume"], args["runs_dir"], changes, *execution, held)


def main(argv=None):
    args, given = parse(make_parser(), argv)
    with contextlib.ExitStack() as held:
        session = make_session(args, given, held)
        introduce(session)
        train(session)
    return conclude(session, session.run.flags(args["runs_dir"]))


if __name__ == "__main__":
    run_script(main)
