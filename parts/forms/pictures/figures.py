"""Figures of a run on pictures: reconstructions, and walks through latent space."""

import numpy as np

from parts.forms.pictures import shapes
from parts.forms.pictures.sheets import as_colour, sheet
from parts.plots.style import subplots

FINE = 64  # pixels of a picture's longer side, up to which figures enlarge it
N_RECONSTRUCTED = 12


SPREAD = "in standard deviations of p(z) from its mean"

# Figures of what evaluate.py leaves: bytes [down, across, C * H * W] and where they were taken.


def scale_of(arrays):
    """What `as_colour` is told of a run's pictures."""
    x = arrays["x"]
    return arrays["shape"], shapes.grey_map(x), np.nanmin(x), np.nanmax(x)


def panel(shown, title, columns=None, rows=None, xlabel="", ylabel="", inch=0.5):
    """A figure of one sheet, with names for its columns and rows."""
    finer = max(1, FINE // max(shown.shape[2:4]))  # so that the lines between are thin
    shown = shown.repeat(finer, 2).repeat(finer, 3)
    down, across, height, width, _ = shown.shape
    high = inch * down * height / width
    figure, axes = subplots(1, 1, width=inch * across + 1.2, height=high + 0.9)
    axis = axes.flat[0]
    axis.imshow(sheet(shown), interpolation="nearest")
    axis.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axis.tick_params(length=0, labelsize=8)
    axis.spines[:].set_visible(False)
    middles = [np.arange(n) * (size + 1) + (size + 1) / 2 for n, size in zip(
        (across, down), (width, height), strict=True)]  # fmt: skip
    axis.set_xticks(middles[0], columns or [""] * across)
    axis.set_yticks(middles[1], rows or [""] * down)
    return figure


def with_originals(title, arrays):
    """The title, and what is to be known of originals beside means: most often drawn from greys."""
    binary = ((arrays["x"] == 0) | (arrays["x"] == 1)).all()
    return f"{title}\n(originals: each pixel drawn as 0 or 1)" if binary else title


def originals(arrays, rows):
    return as_colour(arrays["x"][rows], *scale_of(arrays))


def decoded(arrays, name):
    return as_colour(arrays[name] / 255, *scale_of(arrays))


def reconstructions(arrays):
    """Test pictures above their reconstruction, and twice the standard deviation of p(x|z)."""
    n = min(N_RECONSTRUCTED, len(arrays["x"]))
    shape, colors, low, high = scale_of(arrays)
    two_sigma = (arrays["high"] - arrays["low"])[:n] / 2
    shown = np.stack([
        *(as_colour(arrays[name][:n], shape, colors, low, high) for name in ("x", "recon")),
        as_colour(two_sigma, shape, colors, 0, high - low),
    ])  # fmt: skip
    title = with_originals("Test pictures", arrays)
    return panel(shown, title, rows=["original", "reconstructed", "2σ"], inch=0.8)


def latent_traversal(arrays):
    """A row for each unit: its values from left to right, the others those of a test picture."""
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
    return panel(shown, title, columns, rows, xlabel="its code" if codes else SPREAD)


def interpolations(arrays):
    """From one test picture to another on a straight line in z; the originals at both ends."""
    shown = decoded(arrays, "interpolations")
    ends = originals(arrays, slice(0, 2 * len(shown)))[:, None]
    shown = np.concatenate([ends[::2], shown, ends[1::2]], 1)
    columns = ["original", *[""] * (shown.shape[1] - 2), "original"]
    title = with_originals("Between test pictures, straight in z", arrays)
    return panel(shown, title, columns)


def manifold(arrays):
    """All of a plane of two latents, each at even steps of a normal distribution."""
    shown, at = decoded(arrays, "manifold"), arrays["manifold_at"]
    shown_at = np.round(np.linspace(0, len(at) - 1, min(len(at), 8))).astype(int)
    names = [text if i in shown_at else "" for i, text in enumerate(texts(at))]
    title = "Both latents, at even steps of a normal distribution"
    return panel(shown, title, names, names[::-1], f"z1, {SPREAD}", "z2", inch=0.35)


def texts(values):
    return [f"{value:.1f}" for value in np.round(values, 1) + 0.0]  # not -0.0


# By the name of the array in evaluation.npz.
FIGURES = {
    "latent_traversal": latent_traversal,
    "interpolations": interpolations,
    "manifold": manifold,
}
