"""Fill the missing cells of a table, or the missing pixels of pictures; all else stays.

python impute.py survey.csv                          # fits on the file; writes survey.imputed.csv
python impute.py survey.csv --run 0001 --draws 20    # also writes 20 completed tables
python impute.py survey.csv --check                  # also measures errors on hidden cells
python impute.py pictures.npz --run 0001             # [N, H, W]; NaN is a missing pixel
"""

# First: from here on Ctrl-C is handled, while packages are imported.
from parts.console.script import run_script

# isort: split
import contextlib

import numpy as np

import data as datasets
from parts import memory
from parts.console.fitting import config_for_reading, form_for, messages_for, open_file, open_run
from parts.console.flags import Parser, add_device_flags, add_file_flags, add_kind_flags
from parts.console.notes import notes_kept
from parts.console.progress import progress_bar
from parts.files import shown_path
from parts.lazy import member
from parts.options import n_draws, open_fraction
from parts.tasks.fill import CHECKS, FILLERS, STATISTICS, rows_to_check


def make_parser():
    parser = Parser(prog="impute.py", description="Fill the holes of a table.")
    add_file_flags(parser, "imputed")
    parser.add_argument(
        "--statistic",
        choices=STATISTICS,
        default="mean",
        help="of a number's conditional distribution; categories get the most probable "
        "(default: mean)",
    )
    parser.add_argument(
        "--draws", type=n_draws, default=0, help="also write so many plausible tables (default: 0)"
    )
    parser.add_argument(
        "--interval",
        type=open_fraction,
        help="add NAME_low and NAME_high that hold this share of a number, and NAME_probability "
        "of a filled category",
    )
    parser.add_argument(
        "--check", action="store_true", help="hide some cells, of pictures quarters, and measure"
    )
    parser.add_argument(
        "--grid", action="store_true", help="add the rows of a series whose times are missing"
    )
    add_kind_flags(parser)
    add_device_flags(parser)
    return parser


def main(argv=None):
    with contextlib.ExitStack() as locks:
        fill_file(make_parser().parse_args(argv), locks)


def fill_file(args, locks):
    """Fill the holes of a file, and write it; `locks` keep the run from being replaced."""
    form = form_for(args)
    outputs = form.fill_outputs(args.file, args.out, args.draws, args.overwrite)
    locks.enter_context(messages_for(outputs))
    notes = locks.enter_context(notes_kept())
    run, source = open_file(args, "impute", form, holes=True)
    if args.grid:
        codec = None if run is None else run.config().codec
        source = form.with_missing_rows(source, codec, config_for_reading(args, run))
    form.refuse_filling(source, outputs, args.statistic, args.interval)
    held_out = 0.1 if args.check else 0.0
    run, fitted, encoded = open_run(args, "impute", form, run, source, locks, held_out=held_out)
    codec, config = fitted.codec, run.config()
    form.check_filling(source, codec, args.interval)
    for note in form.notes_on_filling(encoded, codec, fitted):
        print(f"Note: {note}")
    filler = member(FILLERS, form.fills)(fitted, args.n_samples, args.seed, args.statistic)
    is_own = config.fingerprint == source.fingerprint
    to_check = rows_to_check(fitted, encoded, is_own) if args.check else None

    holes = form.holes(source, codec)
    todo = np.flatnonzero(holes.any(1))
    one_draw = 8 * holes[todo].size  # bytes
    memory.refuse_beyond_memory(f"--draws {args.draws}", args.draws, one_draw, "draws")
    with progress_bar(len(todo), 0) as bar:
        n_draws = max(args.draws, form.n_drawn)
        filled = filler.fill(encoded, todo, n_draws, args.interval, bar.update)
    lines = form.write_filled(source, codec, holes, todo, filled, outputs, fitted)
    left = form.n_left_empty(source, codec)
    is_filled = holes[todo] & ~np.isnan(filled.values)
    n_filled, n_rows = int(is_filled.sum()), int(is_filled.any(1).sum())
    kept_empty = int(holes.sum()) - n_filled
    unit = form.cells if n_filled != 1 else form.cells.removesuffix("s")
    print(
        f"Filled {n_filled} {unit} in {n_rows} of {len(holes)} {form.rows}"
        + (f"; {left} in columns that are not modelled stay empty" if left else "")
        + (f"; {kept_empty} stay empty as in the training rows" if kept_empty else "")
    )
    arrays = form.filled_arrays(source, codec, holes, todo, filled, fitted)
    if args.check:

        def load_data():
            return datasets.load(config.asked.data, codec, config.fingerprint)

        interval = args.interval or 0.9
        checked = member(CHECKS, form.check)(
            fitted, filler, to_check, load_data, interval, args.seed
        )
        print(checked.report)
        run.save_result(run.path / f"{checked.name}.json", checked.result)
        arrays |= checked.arrays or {}
    if arrays:
        run.save_result(run.imputed, arrays | {"form": np.array(form.name)})
    sure = filler.how_sure(encoded, holes, todo, fitted.train)
    told = {"file": shown_path(args.file), "n_rows": len(holes), "n_filled": n_filled}
    told |= {"checked": args.check}
    told |= {"n_filled_rows": n_rows, "n_left": left + kept_empty, "n_looked_at": sure.n_rows}
    told["columns"] = form.fills_in_words(codec, is_filled.sum(0), sure)
    run.keep("impute", told | {"notes": notes})
    print("\n".join(lines))
    print(f"Fill other {form.files} with: python impute.py FILE {run.flags(args.runs_dir)}")


if __name__ == "__main__":
    run_script(main)
