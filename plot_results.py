"""Draw the figures of a run from the files in its folder; torch is not imported.

python plot_results.py                   # the newest run, into runs/<name>/figures/
python plot_results.py --run 0001 --show
python plot_results.py --color job       # the latent space coloured by a column
"""

# First: from here on Ctrl-C is handled, while packages are imported.
from parts.console.script import run_script

# isort: split
import contextlib
import warnings
from functools import partial

from parts import files, runs
from parts.console.flags import Parser, add_run_flags
from parts.errors import UserError
from parts.forms import form_named
from parts.plots import style
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
    if not run.evaluation.is_file():
        raise UserError(f"{run.evaluation} is missing: {again}")
    arrays = files.read_arrays(run.evaluation, again, runs.EVALUATION_KEYS)
    if run.checkpoint.stat().st_mtime_ns > run.evaluation.stat().st_mtime_ns:
        raise UserError(f"{run.evaluation} is older than the run's checkpoint: {again}")
    return arrays


def load(run, runs_dir):
    """Map the names of the run's files of arrays to their arrays."""
    verbs = {"scores": run.scores, "imputed": run.imputed, "generated": run.generated}
    left = {name: path for name, path in verbs.items() if path.is_file()}
    found = {}
    if run.evaluation.is_file() or not left:  # a run that another script fitted has no evaluation
        found["evaluation"] = load_evaluation(run, runs_dir)
    for name, path in left.items():
        again = f"delete it, or run the verb that wrote {path.name} again"
        found[name] = files.read_arrays(path, again, ("form",))
    return found


def figures_of(log, found, color=None):
    """Map each figure to a call that draws it, or returns None if there is nothing to draw."""
    draws = {"training_curves": partial(training_curves, log)}
    for name, arrays in found.items():
        own = form_named(str(arrays["form"])).figures()
        several = GENERAL.get(name, {}) | own.get(name, {})
        draws |= {figure: partial(draw, arrays) for figure, draw in several.items()}
    if color is not None:
        if "evaluation" not in found:
            raise UserError("--color needs evaluation.npz: run python evaluate.py first")
        draws["latent_space"] = partial(latent_space, found["evaluation"], color)
    return draws


def save(figure, path):
    """Write the figure and print its path; letters that the font lacks are drawn as boxes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        files.write_atomic(path, partial(figure.savefig, format="png", dpi=style.DPI))
    boxes = any("missing from font" in str(warning.message) for warning in caught)
    print(f"Wrote {path}" + (" (boxes stand for letters the font lacks)" if boxes else ""))


def main(argv=None):
    parser = Parser(prog="plot_results.py", description="Draw a run's figures.")
    add_run_flags(parser)
    parser.add_argument(
        "--color", metavar="COLUMN", help="colour the latent space by this column (default: label)"
    )
    parser.add_argument("--show", action="store_true", help="open the figures in windows as well")
    with contextlib.ExitStack() as locks:
        plot(parser.parse_args(argv), locks)


def plot(args, locks):
    """Draw a run's figures into its folder; `locks` keep it from being replaced."""
    run = runs.find_run(args.runs_dir, args.run)
    locks.enter_context(run.in_use())
    log = run.read_log()
    if not log:
        again = files.as_argument(run.path)
        raise UserError(f"{run.path} has no finished epoch yet: train on with --resume {again}")
    draws = figures_of(log, load(run, args.runs_dir), args.color)

    import matplotlib

    if not args.show:
        matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    style.use()
    run.figures.mkdir(exist_ok=True)
    for name, draw in draws.items():
        figure = draw()
        if figure is None:
            continue
        save(figure, run.figures / f"{name}.png")
        if not args.show:
            plt.close(figure)
    if args.show:
        plt.show()


if __name__ == "__main__":
    run_script(main)
