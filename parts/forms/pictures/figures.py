"""Figures of a run on pictures: reconstructions, errors by pixel, walks through latent space.

They are drawn from the arrays of evaluate.py, where a walk is bytes [down, across, C * H * W] with
its positions in latent space.
"""

import math

import numpy as np

from parts.forms.pictures import shapes
from parts.forms.pictures.sheets import as_colour, rows_of, sheet
from parts.plots.style import subplots, tell
from parts.plots.words import counted, short

FINE = 64  # smaller pictures are enlarged to this many pixels
N_RECONSTRUCTED = 12
N_ODD_ACROSS = 8  # odd pictures in a row
SPREAD = "in standard deviations of p(z) from its mean"


def panel(shown, title, columns=None, rows=None, xlabel="", ylabel="", inch=0.5):
    """A figure of pictures in a grid, with names for its columns and rows."""
    # Enlarged pictures have thin lines between them.
    finer = max(1, FINE // max(shown.shape[2:4]))
    shown = shown.repeat(finer, 2).repeat(finer, 3)
    down, across, height, width, _ = shown.shape
    high = inch * down * height / width
    lines = title.count("\n") + 1 + bool(columns) + bool(xlabel)
    aside = max(map(len, rows or [""])) * 0.065 + 0.3 * bool(ylabel)
    figure, axes = subplots(
        1, 1, width=inch * across + aside + 0.2, height=high + 0.2 * lines + 0.2
    )
    axis = axes.flat[0]
    axis.imshow(sheet(shown), interpolation="nearest")
    axis.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axis.tick_params(length=0, labelsize=8)
    axis.spines[:].set_visible(False)
    middles = [
        np.arange(n) * (size + 1) + (size + 1) / 2
        for n, size in zip((across, down), (width, height), strict=True)
    ]
    axis.set_xticks(middles[0], columns or [""] * across)
    axis.set_yticks(middles[1], rows or [""] * down)
    return figure


def with_originals(title, arrays):
    """The title, and a note if the model was given drawn pixels instead of the originals."""
    seen = "\n(the model saw each pixel of the originals drawn as 0 or 1)"
    return title + (seen if arrays["drawn_pixels"] else "")


def originals(arrays, rows):
    return as_colour(arrays["x"][rows], arrays["shape"], str(arrays["grey_map"]))


def decoded(arrays, name):
    return as_colour(arrays[name] / 255, arrays["shape"], str(arrays["grey_map"]))


def reconstructions(arrays):
    """Test pictures, their reconstructions, and twice the standard deviation of p(x|z), in rows."""
    n = min(N_RECONSTRUCTED, len(arrays["x"]))
    two_sigma = (arrays["high"] - arrays["low"])[:n] / 2
    rows = {"original": arrays["x"][:n], "reconstructed": arrays["recon"][:n], "2σ": two_sigma}
    grey_map = str(arrays["grey_map"])
    shown = np.stack([as_colour(x, arrays["shape"], grey_map) for x in rows.values()])
    figure = panel(shown, with_originals("Test pictures", arrays), rows=list(rows), inch=0.8)
    apart = np.sqrt(np.mean(np.square(arrays["x"] - arrays["recon"])))
    said = (
        f"{counted(n, 'test picture')} and what the model makes of them; their pixels differ by "
        f"{short(apart)} on a scale from 0 to 1 (root mean square)."
    )
    return tell(
        figure, said, "Top: as they are. Middle: rebuilt. Bottom: where the model is unsure."
    )


def column_errors(arrays):
    """The error of each pixel for the VAE, the training mean and PCA, on one colour scale."""
    keys = {
        "VAE": "mse_per_column",
        "training mean": "mse_per_column_mean",
        "PCA": "mse_per_column_pca",
    }
    maps = {
        name: shapes.error_map(arrays[key], arrays["shape"])
        for name, key in keys.items()
        if key in arrays
    }
    largest = max(errors.max() for errors in maps.values()) or 1.0
    figure, axes = subplots(1, len(maps), width=2.7 * len(maps) + 1.3, height=3.0)
    for axis, (name, errors) in zip(axes.flat, maps.items(), strict=True):
        shown = axis.imshow(errors, cmap="viridis", vmin=0, vmax=largest)
        axis.set(title=f"{name}: mean {errors.mean():.3g}", xlabel="pixel column")
        for side in (axis.xaxis, axis.yaxis):
            side.get_major_locator().set_params(integer=True)
    axes[0, 0].set_ylabel("pixel row")
    label = f"test MSE\n({arrays['unit']}, squared)"
    figure.colorbar(shown, ax=list(axes.flat), label=label)
    errors = ", ".join(f"{name} {short(errors.mean())}" for name, errors in maps.items())
    said = f"Mean squared error of a pixel: {errors}."
    return tell(figure, said, "A square for each method; dark pixels are rebuilt well.")


def latent_traversal(arrays):
    """A row for each latent, which varies from left to right; the others are a test picture's."""
    if "latent_traversal" not in arrays:
        return None
    shown, units, at = (
        decoded(arrays, "latent_traversal"),
        arrays["traversed"],
        arrays["traversed_at"],
    )
    original = np.broadcast_to(originals(arrays, slice(0, 1)), shown[:, :1].shape)
    shown = np.concatenate([original, shown], 1)
    codes = np.issubdtype(at.dtype, np.integer)
    names = [str(code) for code in at] if codes else texts(at)
    columns, rows = ["original", *names], [f"z{unit + 1}" for unit in units]
    title = with_originals("One latent at a time, the most active first", arrays)
    figure = panel(shown, title, columns, rows, xlabel="its code" if codes else SPREAD)
    moved = decoded(arrays, "latent_traversal").std(1).mean((1, 2, 3))
    said = (
        f"{counted(len(units), 'latent dimension')} of one test picture, each varied alone; "
        f"z{units[moved.argmax()] + 1} changes the picture most."
    )
    return tell(figure, said, "In each row one latent dimension grows from left to right.")


def interpolations(arrays):
    """Pictures on straight lines in z between test pictures, with the originals at both ends."""
    if "interpolations" not in arrays:
        return None
    shown = decoded(arrays, "interpolations")
    ends = originals(arrays, slice(0, 2 * len(shown)))[:, None]
    shown = np.concatenate([ends[::2], shown, ends[1::2]], 1)
    columns = ["original", *[""] * (shown.shape[1] - 2), "original"]
    title = with_originals("Between test pictures, straight in z", arrays)
    said = (
        f"{counted(len(shown), 'pair')} of test pictures, joined by {shown.shape[1] - 2} decoded "
        "steps each."
    )
    reading = "From left to right each picture turns into the other one of its row."
    return tell(panel(shown, title, columns), said, reading)


def manifold(arrays):
    """Pictures on a grid over two latents, at quantiles of a normal distribution."""
    if "manifold" not in arrays:
        return None
    shown, at = decoded(arrays, "manifold"), arrays["manifold_at"]
    shown_at = np.round(np.linspace(0, len(at) - 1, min(len(at), 8))).astype(int)
    names = [text if i in shown_at else "" for i, text in enumerate(texts(at))]
    title = "Both latents, at even steps of a normal distribution"
    figure = panel(shown, title, names, names[::-1], f"z1, {SPREAD}", "z2", inch=0.35)
    said = f"What the two latent dimensions decode to, on a grid of {len(at)} by {len(at)} places."
    return tell(figure, said, "Neighbours should be alike; where pictures blend, so do kinds.")


# Figures of scores.npz, imputed.npz and generated.npz: the first pictures that a command wrote


def odd_pictures(arrays):
    """The oddest pictures of a file, row by row."""
    shown = rows_of(decoded(arrays, "odd"), min(N_ODD_ACROSS, len(arrays["odd"])))
    figure = panel(shown, "The oddest pictures, row by row", inch=0.8)
    said = f"The {counted(len(arrays['odd']), 'picture')} with the highest scores."
    return tell(
        figure, said, "The oddest is at the top left; what do the first ones have in common?"
    )


def filled_pictures(arrays):
    """Pictures as they were, filled, and draws, in rows."""
    if "filled" not in arrays:
        return None
    grey_map = str(arrays["grey_map"])
    filled = np.where(arrays["hole"], np.nan, arrays["filled"] / 255)
    n_draws = len(filled) - 2
    rows = ["as it was", "filled", *[f"draw {i + 1}" for i in range(n_draws)]]
    figure = panel(as_colour(filled, arrays["shape"], grey_map), "Filled", rows=rows, inch=0.8)
    said = (
        f"{counted(filled.shape[1], 'picture')} with missing pixels, filled by their mean and by "
        f"{counted(n_draws, 'draw')} each."
    )
    return tell(figure, said, "Orange pixels are missing. Where draws differ, the fill is unsure.")


def generated_pictures(arrays):
    """The first generated pictures in a square."""
    shown = rows_of(decoded(arrays, "drawn"), math.ceil(math.sqrt(len(arrays["drawn"]))))
    said = f"The first {counted(len(arrays['drawn']), 'picture')} that were drawn."
    return tell(
        panel(shown, "Generated pictures"),
        said,
        "They are drawn from the model; none of them is in the data.",
    )


def texts(values):
    return [f"{value:.1f}" for value in np.round(values, 1) + 0.0]  # not -0.0


# File of a run -> figure -> function that draws it, or returns None.
PICTURE_FIGURES = {
    "evaluation": {
        "reconstructions": reconstructions,
        "column_errors": column_errors,
        "latent_traversal": latent_traversal,
        "interpolations": interpolations,
        "manifold": manifold,
    },
    "scores": {"odd_pictures": odd_pictures},
    "imputed": {"filled_pictures": filled_pictures},
    "generated": {"generated_pictures": generated_pictures},
}
