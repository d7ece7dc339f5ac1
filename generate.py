"""Generate rows like those of a file or of a run, and measure how near they are to real ones.

python generate.py survey.csv --n 1000 --out new.csv       # fits a run to the file
python generate.py --n 1000 --out new.csv                  # by the newest run
python generate.py --run 0001 --given "job=nurse,age=40"   # with columns or conditions fixed
python generate.py --run digits --given label=7 --n 100    # pictures, and a sheet of them
"""

# First: from here on Ctrl-C is handled, while packages are imported.
from parts.console.script import run_script

# isort: split
import contextlib

import numpy as np

from parts import forms, memory
from parts.console.devices import choose_device, choose_threads, use_threads
from parts.console.fitting import (
    config_for_reading,
    fitted_run,
    form_for,
    given_for_reading,
    messages_for,
    named_run,
)
from parts.console.flags import (
    Parser,
    add_device_flags,
    add_kind_flags,
    add_reading_flags,
    add_relations_flag,
    add_run_flags,
)
from parts.console.notes import notes_kept
from parts.errors import UserError
from parts.files import as_argument, shown_path
from parts.forms import conditions
from parts.lazy import member
from parts.options import positive_int, seed
from parts.randomness import fixed_randomness
from parts.runs import find_run
from parts.tasks.sample import (
    COMPARISONS,
    conditions_drawer,
    draw,
    holes_like,
    keep_relations,
    notes_on_given,
    with_marginals,
    x_of_parameters,
)


def make_parser():
    parser = Parser(prog="generate.py", description="New rows like those of a file, or of a run.")
    add = parser.add_argument
    add("file", nargs="?", help="a table to fit a new run to (default: take the run of --run)")
    add_run_flags(parser)
    add("--n", type=positive_int, default=1000, help="rows or pictures (default: 1000)")
    add(
        "--length", metavar="TIME", help="one long series of 30d, 24h or so many steps; of a series"
    )
    add("--start", metavar="TIME", help="when it starts, as the file writes times")
    add(
        "--future",
        metavar="TIME",
        help="what follows the end of a series, 24h or so many steps: NAME and the bounds of 90 %%",
    )
    add("--out", metavar="FILE", help="what to write (default: generated.csv, pictures: .npz)")
    add("--overwrite", action="store_true", help="replace an existing output")
    add("--given", metavar="CELLS", help='fix some columns, as in "job=nurse,age=40" or label=7')
    add("--keep-missing", action="store_true", help="leave the cells empty that a real row lacks")
    add(
        "--marginals",
        choices=("data", "model"),
        help="numbers are mapped to the training rows' distribution of their column, or stay as "
        "the model draws them (default: data; columns in order and pictures: model)",
    )
    add(
        "--pixels",
        choices=("mean", "drawn"),
        help="pictures are the mean of p(x|z) at a drawn z, or each pixel is drawn too (default: "
        "mean where grey values are taken as probabilities, as by default they are; else drawn)",
    )
    add("--seed", type=seed, default=0, help="seed of the draws (default: 0)")
    add_reading_flags(parser)
    add_relations_flag(parser)
    add_kind_flags(parser)
    add_device_flags(parser)
    return parser


def main(argv=None):
    with contextlib.ExitStack() as locks:
        generate(make_parser().parse_args(argv), locks)


def run_of(args):
    """The run that rows are drawn from: a new one that is fitted to a file, or an existing one."""
    if args.file is None:
        if args.kind or args.kinds_file or args.relations not in (None, "off"):
            raise UserError(
                "--kind, --columns and --relations FILE belong to training: name the file of the "
                "rows, as in python generate.py FILE"
            )
        if given := given_for_reading(args):
            flag = min(given).replace("_", "-")
            raise UserError(f"--{flag} says how a file is read: name the file of the rows")
        return find_run(args.runs_dir, args.run)
    if args.run is not None:
        raise UserError(
            f"{shown_path(args.file)} and --run {args.run}: give one, rows to fit to or a run"
        )
    form = form_for(args)
    outputs = form.sample_outputs(args.out, args.overwrite)
    named_run(args, "generate", form)
    if args.pixels:
        raise UserError(
            f"--pixels goes with pictures, and {shown_path(args.file)} holds {form.rows}"
        )

    def check(codec):
        from parts.model.likelihoods.ordered import MOST_ORDERED

        n_columns = len(codec.modelled)
        if n_columns > MOST_ORDERED:
            raise UserError(
                f"{shown_path(args.file)} has {n_columns} columns, of which at most "
                f"{MOST_ORDERED} can be decoded in order; draw from a run of another model: "
                f"python train.py --data {as_argument(args.file)}, then python generate.py"
            )
        form.check_samples(codec, outputs)
        refuse_beyond_memory(args.n, codec, form)
        if args.given is not None:
            conditions.given_cells(args.given, codec.may_be_given)

    source = form.read(args.file, config_for_reading(args))
    return fitted_run(args, "generate", form, source, check=check)


def refuse_beyond_memory(n, codec, form):
    """Raise UserError for more rows than fit, before any is drawn."""
    row = form.bytes_per_cell * max(len(codec.columns), len(codec.modelled))
    memory.refuse_beyond_memory(f"--n {n}", n, row, form.rows)


def generate(args, locks):
    """Write new rows or pictures of a run; `locks` keep it from being replaced."""
    locks.enter_context(messages_for([args.out]))
    notes = locks.enter_context(notes_kept())
    run = run_of(args)
    locks.enter_context(run.in_use())
    fitted, _ = run.load(choose_device(args.device))
    use_threads(choose_threads(args.threads, 2**30))
    codec = fitted.codec
    form = forms.form_named(codec.form)
    form.refuse_pixels(args.pixels, run.name)
    outputs = form.sample_outputs(args.out, args.overwrite)
    form.check_samples(codec, outputs)
    refuse_beyond_memory(args.n, codec, form)
    rng = np.random.default_rng(args.seed)
    given, as_given = None, {}
    if args.given is not None:
        given, as_given = conditions.given_cells(args.given, codec.may_be_given)
    mapped = form.marginals and fitted.model.likelihood.needs_marginals and not args.future
    if args.marginals == "data" and not mapped:
        what = "goes on from known rows" if args.future else "draws what its rows hold"
        print(f"Note: --marginals data changes nothing: this run {what}")
    marginals = (args.marginals or "data") if mapped else "model"
    if args.length or args.start or args.future:
        asked = args.length, args.start, args.future
        stretches = form.stretches(codec, fitted.config.data, *asked)
        from parts.tasks.sample_windows import N_FUTURES, chain, draw_states

        n_draws = N_FUTURES if args.future else 1
        told = [draw_states(fitted, each, n_draws, args.seed, given) for each in stretches]
        drawn = [
            chain(fitted, each.y, n_draws, each.past, args.seed, states)
            for each, states in zip(stretches, told, strict=True)
        ]
        if marginals == "data":
            drawn = [with_marginals(x, fitted, rng) for x in drawn]
        print("\n".join(form.write_stretches(codec, stretches, drawn, told, outputs)))
        arrays, told = form.stretch_arrays(codec, stretches, drawn)
        run.save_result(run.continued, arrays | {"form": np.array(form.name)})
        run.keep("continue", told | {"file": str(outputs[0]), "notes": notes})
        return
    if given is not None:
        for note in notes_on_given(fitted, given):
            print(f"Note: {note}")
    draw_y, notes = conditions_drawer(fitted, given, args.keep_missing, args.seed)
    for note in notes:
        print(f"Note: {note}")
    cells = None  # the given cells of x, as x and mask [1, D]
    n_cells = sum(not column.condition for column in codec.may_be_given)
    if given is not None and given[1][:, :n_cells].any():
        cells = tuple(part[:, :n_cells] for part in given)

    x_of = x_of_parameters(fitted, args.pixels or form.default_pixels)
    for line in form.describe_samples(fitted, x_of):
        print(line)
    with fixed_randomness(args.seed):
        drawn = draw(fitted, args.n, cells, draw_y, x_of)
    print("\n".join(drawn.notes), end="\n" if drawn.notes else "")
    if marginals == "data":
        drawn = drawn._replace(x=with_marginals(drawn.x, fitted, rng))
    mask = np.ones_like(drawn.x)
    if args.keep_missing:
        mask = holes_like(fitted, drawn.x, drawn.y, cells, rng)
        drawn = drawn._replace(mask=mask, has_holes=True)
    exact, kept_relations = {}, []
    if codec.rules is not None and args.relations != "off":

        def again(n):
            more = draw(fitted, n, cells, draw_y, x_of)
            x = with_marginals(more.x, fitted, rng) if marginals == "data" else more.x
            return x, more.y

        with fixed_randomness((args.seed + 1) % 2**32):
            kept = keep_relations(drawn, mask, fitted, cells, again, rng)
        drawn, mask, exact = kept.drawn, kept.mask, {"cells": kept.cells}
        kept_relations = kept.report.splitlines()
        print(kept.report)
    lines = form.write_samples(drawn.x, mask, drawn.y, codec, as_given, outputs, fitted, **exact)
    print("\n".join(lines))
    if given is None:
        report(fitted, drawn, x_of, form, run, marginals)
    told = {
        "n": args.n,
        "file": shown_path(outputs[0], output=True),
        "given": args.given,
        "relations": kept_relations,
    }
    run.keep("generate", told | {"notes": notes})
    if args.file is not None:
        print(f"Draw more with: python generate.py {run.flags(args.runs_dir)}")


def report(fitted, drawn, x_of, form, run, marginals):
    """Compare Drawn rows with real ones; print the comparison, and write it to the run."""
    compared = member(COMPARISONS, form.compares)(fitted, drawn, x_of, form.row)
    print(compared.report)
    columns = [*fitted.codec.modelled, *fitted.codec.conditions]
    if marginals == "data" and not all(column.levels for column in columns):
        print("Numbers were mapped to the training rows' marginals (--marginals model: as drawn)")
    run.save_result(run.path / "generation.json", compared.result | {"marginals": marginals})
    if arrays := (compared.arrays or {}) | form.sample_arrays(drawn.x, fitted.codec, fitted):
        run.save_result(run.generated, arrays | {"form": np.array(form.name)})


if __name__ == "__main__":
    run_script(main)
