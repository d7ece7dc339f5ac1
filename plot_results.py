"""Draw the figures of a run, and a page of all that it found; torch is not imported.

python plot_results.py                   # the newest run, into runs/<name>/figures/ and report.html
python plot_results.py --run 0001 --show
python plot_results.py --color job       # the latent space coloured by a column
"""

# First: from here on Ctrl-C is handled, while packages are imported.
from parts.console.script import run_script

# isort: split
import contextlib
import io
import warnings
from functools import partial
from pathlib import Path

from parts import files, runs
from parts.console.flags import Parser, add_run_flags
from parts.errors import UserError, stage
from parts.forms import form_named
from parts.plots import report, style
from parts.plots.latent import latent_kl, latent_space
from parts.plots.scores import anomaly_scores
from parts.plots.training import training_curves

# File of a run -> figure -> function that draws it; each form adds figures of its own.
GENERAL = {
    "evaluation": {"latent_space": latent_space, "latent_kl": latent_kl},
    "scores": {"anomaly_scores": anomaly_scores},
}


def load_evaluation(run, runs_dir):
    """The arrays that evaluate.py wrote; UserError if the checkpoint is newer."""
    again = f"run python evaluate.py {run.flags(runs_dir)} first"
    arrays = files.read_arrays(run.evaluation, again, runs.EVALUATION_KEYS)
    if run.checkpoint.stat().st_mtime_ns > run.evaluation.stat().st_mtime_ns:
        raise UserError(f"{run.evaluation} is older than the run's checkpoint: {again}")
    return arrays


def load(run, runs_dir):
    """Map the names of the run's files of arrays to their arrays."""
    found = {}
    if run.evaluation.is_file():
        found["evaluation"] = load_evaluation(run, runs_dir)
    verbs = {"scores": run.scores, "imputed": run.imputed, "generated": run.generated}
    verbs |= {"continued": run.continued}
    for name, path in verbs.items():
        if path.is_file():
            again = f"delete it, or run the verb that wrote {path.name} again"
            found[name] = files.read_arrays(path, again, ("form",))
    return found


def figures_of(log, found, color=None):
    """Map files of a run to figures, and figures to calls that draw them.

    A call returns None if there is nothing to draw.
    """
    draws = {"log": {"training_curves": partial(training_curves, log)}}
    for name, arrays in found.items():
        own = form_named(str(arrays["form"])).figures()
        several = GENERAL.get(name, {}) | own.get(name, {})
        draws[name] = {figure: partial(draw, arrays) for figure, draw in several.items()}
    if color is not None:
        if "evaluation" not in found:
            raise UserError("--color needs evaluation.npz: run python evaluate.py first")
        draws["evaluation"]["latent_space"] = partial(latent_space, found["evaluation"], color)
    return draws


def save(figure, path):
    """Write the figure and print its path; letters that the font lacks are drawn as boxes.

    Returns the Figure of the report.
    """
    with warnings.catch_warnings(record=True) as caught, io.BytesIO() as png:
        warnings.simplefilter("always")
        figure.savefig(png, format="png", dpi=style.DPI)
        picture = png.getvalue()
    files.write_atomic(path, lambda file: file.write(picture))
    boxes = any("missing from font" in str(warning.message) for warning in caught)
    print(f"Wrote {path}" + (" (boxes stand for letters the font lacks)" if boxes else ""))
    return report.Figure(path.stem, picture, *style.told(figure))


def about(run, facts):
    """What the data of a run are, in words."""
    codec = run.codec()
    form = form_named(codec.form)
    return {
        "data": files.shown_path(Path(facts["config"]["data"]["data"]).name),
        "row": form.row,
        "rows": form.rows,
        "cells": form.cells,
        "learned": form.learned or (form.row, form.rows),
        "shape": form.describe_shape(codec.shape),
        "reading": form.describe_reading(codec),
        "n_modelled": len(codec.measured),
        "columns": form.describe_columns(codec),
        "relations": [relation.text for relation in codec.relations],
        "epoch": run.last_epoch,
    }


def write_report(run, facts, drawn, flags):
    """Write the page of a run with the Figures `drawn`, and print its path."""
    with stage(f"a JSON file of {run.path} is damaged", "run the command that wrote it again"):
        page = report.page(run.name, facts, about(run, facts), drawn, flags)
    files.write_atomic(run.report, lambda file: file.write(page.encode()))
    print(f"Wrote {run.report}")


def main(argv=None):
    parser = Parser(
        prog="plot_results.py",
        description="Draw a run's figures, and a page of all that it found: report.html.",
    )
    add_run_flags(parser)
    parser.add_argument(
        "--color", metavar="COLUMN", help="colour the latent space by this column (default: label)"
    )
    parser.add_argument("--show", action="store_true", help="open the figures in windows as well")
    with contextlib.ExitStack() as locks:
        plot(parser.parse_args(argv), locks)


def plot(args, locks):
    """Draw a run's figures and report into its folder; `locks` keep it from being replaced."""
    run = runs.find_run(args.runs_dir, args.run)
    locks.enter_context(run.in_use())
    log = run.read_log()
    if not log:
        again = files.as_argument(run.path)
        raise UserError(f"{run.path} has no finished epoch yet: train on with --resume {again}")
    facts = run.facts()
    with stage(f"the figures of {run.path} cannot be drawn", "run the verbs behind them again"):
        draws = figures_of(log, load(run, args.runs_dir), args.color)

    import matplotlib

    if not args.show:
        matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    style.use()
    run.figures.mkdir(exist_ok=True)
    drawn = {file: [] for file in draws}
    for file, several in draws.items():
        for name, draw in several.items():
            failed = f"figure {name} of {run.path} cannot be drawn"
            with stage(failed, "write its data again"), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of numbers beyond what can be drawn
                figure = draw()
                if figure is None:
                    continue
                drawn[file].append(save(figure, run.figures / f"{name}.png"))
            if not args.show:
                plt.close(figure)
    write_report(run, facts, drawn, run.flags(args.runs_dir))
    if args.show:
        plt.show()


if __name__ == "__main__":
    run_script(main)
