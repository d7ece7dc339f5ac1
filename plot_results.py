"""A run -> figures, from the files that train.py and evaluate.py left; needs no torch.

python plot_results.py                   # the newest run, into runs/<name>/figures/
python plot_results.py --run 0001 --show
"""

import warnings
from functools import partial

import numpy as np

from parts import files, runs
from parts.console.flags import Parser, add_run_flags
from parts.console.script import run_script
from parts.errors import UserError
from parts.forms.pictures import figures, shapes
from parts.plots.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    VERMILION,
    as_dates,
    legend_below,
    name_columns,
    shorten,
    subplots,
)
from parts.plots.verbs import VERB_FIGURES

CLASS_COLORS = (
    BLUE,
    ORANGE,
    GREEN,
    "#CC79A7",
    VERMILION,
    "#56B4E9",
    "#B8A000",
    "#000000",
    GREY,
    "#8C564B",
)
CLASS_MARKERS = "os^Dv<>phX"
N_SAMPLES = 6  # test rows shown beside their reconstruction
COMMON_SCALE = 30  # columns of spreads that differ more get an axis each, and outliers a log one


def training_curves(log, arrays):
    """Loss and its two halves against epoch."""
    part = next((p for p in ("val", "test") if f"{p}_loss" in log[-1]), None)
    names = {"val": "held-out rows", "test": "test rows (not used in training)"}
    figure, axes = subplots(1, 3, width=10, height=3.2)
    epochs = [record["epoch"] for record in log]
    dot = "o" if len(epochs) == 1 else ""
    loss, kl, log_px_z = (column(log, key)[-1] for key in ("loss", "kl", "log_px_z"))
    same = not part or np.isclose(loss, kl - log_px_z, rtol=1e-3)  # as on the other rows
    for axis, key, title in zip(
        axes.flat,
        ("loss", "log_px_z", "kl"),
        ("Loss" if same else "Loss (dashed: -ELBO)", "log p(x|z)", "KL(q(z|x) || p(z))"),
        strict=True,
    ):
        axis.plot(epochs, column(log, key), color=BLUE, marker=dot, label="training rows")
        if part:
            held = column(log, f"{part}_{key}")
            axis.plot(epochs, held, "--", color=ORANGE, marker=dot, label=names[part])
        axis.set(title=title, xlabel="epoch", ylabel="nats per row")
        axis.xaxis.get_major_locator().set_params(integer=True)
    legend_below(figure, axes.flat[0])
    return figure


def column(log, key):
    return np.array([record.get(key) for record in log], dtype=float)


def reconstructions(log, arrays):
    """Original against reconstructed test rows, with the model's two sigma around the latter."""
    if len(arrays["shape"]) > 1:
        return figures.reconstructions(arrays)
    spread = np.ptp(np.where(np.isnan(arrays["x"]), arrays["recon"], arrays["x"]), 0)
    spread = spread[spread > 0]
    common = len(spread) == 0 or spread.max() / spread.min() < COMMON_SCALE
    many = arrays["x"].shape[1] > 30
    return profiles(arrays) if common or many else column_panels(arrays)


def profiles(arrays):
    """A panel per test row, its columns along the axis: for columns of like scale."""
    n, n_columns = min(N_SAMPLES, len(arrays["x"])), arrays["x"].shape[1]
    figure, axes = subplots(
        -(-n // 2), min(n, 2), width=10, height=2.2 * -(-n // 2), sharex=True, sharey=True
    )
    at = np.arange(n_columns)
    for i, axis in enumerate(axes.flat[:n]):
        band(axis, at, *(arrays[name][i] for name in ("recon", "low", "high")))
        axis.plot(at, arrays["x"][i], "o", color=BLUE, markersize=4, label="original")
        axis.set_title(f"test row {i + 1}", fontsize=9)
    name_columns(axes, arrays["columns"][arrays["drawn"]])
    for axis in axes.flat[n:]:
        axis.axis("off")
    figure.supylabel("value (original units)", fontsize=9)
    for axis in axes[-1]:
        axis.set_xlabel("column")
    legend_below(figure, axes.flat[0])
    return figure


def column_panels(arrays):
    """A panel per column, test rows along the axis: for columns of unlike scale or unit."""
    n, n_columns = min(12, len(arrays["x"])), arrays["x"].shape[1]
    across = min(5, n_columns)
    down = -(-n_columns // across)
    figure, axes = subplots(down, across, width=2.4 * across, height=1.7 * down, sharex=True)
    at = np.arange(1, n + 1)
    for i, axis in enumerate(axes.flat[:n_columns]):
        j, shown = arrays["drawn"][i], [arrays[k][:n, i] for k in ("recon", "low", "high", "x")]
        band(axis, at, *shown[:3])
        axis.plot(at, shown[3], "o", color=BLUE, markersize=4, label="original")
        axis.set_title(shorten(arrays["columns"][j], 24), fontsize=8)
        axis.tick_params(labelsize=7)
        if arrays["dates"][j]:
            as_dates(axis.yaxis)
        elif np.nanmin(shown) > 0 and np.nanmax(shown) > COMMON_SCALE * np.nanmedian(shown):
            axis.set_yscale("log")
        axis.set_xticks(at[::4])
        if i >= n_columns - across:  # the lowest panel of its column of panels
            axis.set_xlabel("test row", fontsize=8)
            axis.tick_params(labelbottom=True)
    for axis in axes.flat[n_columns:]:
        axis.axis("off")
    figure.supylabel("value (original units)", fontsize=9)
    legend_below(figure, axes.flat[0])
    return figure


def band(axis, at, recon, low, high):
    axis.vlines(at, low, high, color=ORANGE, alpha=0.35, linewidth=5, label="±2σ of p(x|z)")
    axis.plot(
        at, recon, "_", color="#B35900", markersize=8, markeredgewidth=2, label="reconstructed"
    )


def latent_space(log, arrays):
    """Posterior means of test rows; their first two principal components where z is larger."""
    mu, labels = arrays["mu"], arrays.get("label")
    figure, axes = subplots(1, 1, width=5.6, height=4.6)
    axis, names = axes.flat[0], ("z₁", "z₂")
    if mu.shape[1] > 2:
        centred = mu - mu.mean(0)
        padded = np.vstack([centred, np.zeros((2, mu.shape[1]))])
        _, size, directions = np.linalg.svd(padded, full_matrices=False)
        share = size**2 / max((size**2).sum(), 1e-30)
        mu = centred @ directions[:2].T
        names = [f"principal component {i + 1} of z ({share[i]:.0%} of variance)" for i in (0, 1)]
    points = np.column_stack([mu, np.zeros_like(mu)])[:, :2]  # a second axis of 0 where z has one
    classes = [None] if labels is None else np.unique(labels)
    if len(classes) > len(CLASS_COLORS) and labels.dtype.kind not in "biuf":
        classes = [None]  # too many names to tell apart
    if len(classes) > len(CLASS_COLORS):
        marks = axis.scatter(*points.T, c=labels, s=12, cmap="viridis")
        figure.colorbar(marks, label="label")
    else:
        for name, color, marker in zip(classes, CLASS_COLORS, CLASS_MARKERS, strict=False):
            chosen = slice(None) if name is None else labels == name
            style = {"s": 16, "alpha": 0.8, "linewidths": 0, "color": color, "marker": marker}
            axis.scatter(*points[chosen].T, label=class_label(name), **style)
    axis.set(title="Posterior means of test rows", xlabel=names[0], ylabel=names[1])
    if 1 < len(classes) <= len(CLASS_COLORS):
        figure.legend(loc="outside right center", fontsize=8, frameon=False)
    return figure


def class_label(name):
    return str(name) if isinstance(name, str) else f"class {name}"


def column_errors(log, arrays):
    """Error of each column beside that of predicting the training mean."""
    model, mean = arrays["mse_per_column"], arrays["mse_per_column_mean"]
    if len(arrays["shape"]) > 1:
        maps = [shapes.error_map(errors, arrays["shape"]) for errors in (model, mean)]
        figure, axes = subplots(1, 2, width=7, height=3.2)
        for axis, errors, title in zip(axes.flat, maps, ("VAE", "training mean"), strict=True):
            shown = axis.imshow(errors, cmap="viridis", vmin=0, vmax=maps[1].max())
            axis.set(title=f"Error of the {title}", xlabel="pixel column", ylabel="pixel row")
        figure.colorbar(shown, ax=list(axes.flat), label=f"test MSE\n({arrays['unit']}, squared)")
        return figure
    figure, axes = subplots(1, 1, width=9, height=3.4)
    at = np.arange(len(model))
    axes.flat[0].bar(at - 0.2, model, 0.4, color=BLUE, label="VAE")
    axes.flat[0].bar(at + 0.2, mean, 0.4, color=ORANGE, label="training mean")
    axes.flat[0].set(
        title="Reconstruction error per column", ylabel=f"test MSE\n({arrays['unit']}, squared)"
    )
    name_columns(axes, arrays["columns"])
    legend_below(figure, axes.flat[0])
    return figure


def latent_kl(log, arrays):
    """How many nats each latent dimension carries: near 0 it is unused."""
    kl = np.sort(arrays["kl_per_dim"])[::-1]
    order = np.argsort(-arrays["kl_per_dim"])
    figure, axes = subplots(1, 1, width=6, height=3.2)
    axis = axes.flat[0]
    axis.bar(np.arange(len(kl)), kl, color=BLUE)
    if len(kl) <= 30:
        axis.set_xticks(np.arange(len(kl)), [f"z{i + 1}" for i in order], fontsize=8)
    title = f"KL per latent dimension, {arrays['kl']:.2f} nats in all"
    if not np.isclose(kl.sum(), arrays["kl"], rtol=0.01):  # a flow, or a learned prior
        title = f"KL of the Gaussian from N(0, I); of q(z|x) from p(z) {arrays['kl']:.2f} nats"
    axis.set_title(title)
    axis.set(
        xlabel=f"latent dimension{'' if len(kl) <= 30 else 's by rank'}, largest first",
        ylabel="KL (nats per test row)",
    )
    return figure


FIGURES = {
    "training_curves": training_curves,
    "reconstructions": reconstructions,
    "latent_space": latent_space,
    "column_errors": column_errors,
    "latent_kl": latent_kl,
}


def load_evaluation(run, runs_dir):
    """The arrays that evaluate.py left, refused where the checkpoint is newer."""
    again = f"run python evaluate.py {run.flags(runs_dir)} first"
    if not run.evaluation.is_file():
        raise UserError(f"{run.evaluation} is missing: {again}")
    arrays = files.read_arrays(run.evaluation, again, runs.EVALUATION_KEYS)
    if run.checkpoint.stat().st_mtime_ns > run.evaluation.stat().st_mtime_ns:
        raise UserError(f"{run.evaluation} is older than the run's checkpoint: {again}")
    return arrays


def drawings(run, log, runs_dir):
    """Name -> a call that draws it, of every figure for which the run holds the numbers."""
    paths = {"scores": run.scores, "imputed": run.imputed, "generated": run.generated}
    left = {kind: path for kind, path in paths.items() if path.is_file()}
    if left and not run.evaluation.is_file():  # as after a verb that fitted its own run
        found = {"training_curves": partial(training_curves, log, None)}
    else:
        arrays = load_evaluation(run, runs_dir)
        found = {name: partial(draw, log, arrays) for name, draw in FIGURES.items()}
        shown = {name: draw for name, draw in figures.FIGURES.items() if name in arrays}
        found |= {name: partial(draw, arrays) for name, draw in shown.items()}
    for kind, path in left.items():
        arrays = files.read_arrays(path, f"delete it, or run the verb that wrote {path.name} again")
        found |= {name: partial(draw, arrays) for name, draw in VERB_FIGURES[kind].items()}
    return found


def main(argv=None):
    parser = Parser(prog="plot_results.py", description="Draw a run's figures.")
    add_run_flags(parser)
    parser.add_argument("--show", action="store_true", help="open the figures in windows as well")
    args = parser.parse_args(argv)
    run = runs.find_run(args.runs_dir, args.run)
    log = run.read_log()
    if not log:
        raise UserError(f"{run.path} has no finished epoch yet: train on with --resume {run.path}")
    figures = drawings(run, log, args.runs_dir)

    import matplotlib

    if not args.show:
        matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    plt.rcParams |= {"axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10}
    run.figures.mkdir(exist_ok=True)
    for name, draw in figures.items():
        figure = draw()
        path = run.figures / f"{name}.png"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            files.write_atomic(path, partial(figure.savefig, format="png", dpi=130))
        boxes = any("missing from font" in str(warning.message) for warning in caught)
        print(f"Wrote {path}" + (" (boxes stand for letters the font lacks)" if boxes else ""))
        if not args.show:
            plt.close(figure)
    if args.show:
        plt.show()


if __name__ == "__main__":
    run_script(main)
