"""Named sets of train.py's flags, and the settings that are left to the table."""

import math

import numpy as np

from parts.forms.base import random_rows

PRESETS = {
    # The recipe this project starts from, mended: one gradient step per epoch, sigma fixed at 1.
    "classic": {
        "hidden_dims": [8],
        "latent_dim": 8,
        "batch_size": "full",
        "epochs": 50,
        "likelihood": "gaussian",
        "variance": "fixed:1.0",
    },
    # What a table of a user's file is trained with, where nothing else is asked for; None is fitted
    # to the table. docs/results.md says what else was tried.
    "table": {
        "hidden_dims": [128, 128],
        "latent_dim": None,
        "batch_size": 128,
        "epochs": None,
        "lr": 5e-3,
        "schedule": "onecycle",
        "objective": "dreg",
        "n_samples": 5,
        "variance": None,
        "members": None,
        "hide_rate": None,
    },
    # The network and data of Burda et al. 2016: `--data mnist --preset mnist`.
    "mnist": {
        "hidden_dims": [200, 200],
        "latent_dim": 50,
        "batch_size": 128,
        "epochs": 120,
        "lr": 2e-3,
        "schedule": "onecycle",
        "likelihood": "bernoulli",
        "binarize": "dynamic",
        "objective": "dreg",
        "n_samples": 5,
    },
}
MEMBERS = 3  # their common mean errs less than one's
# The same for a run that is fitted to fill holes.
PRESETS["impute"] = PRESETS["table"] | {"members": MEMBERS}
VARIANCE = {"table": ("shared", "column"), "impute": ("column", "decoder")}  # of few rows, of more
SPIKE = 1 / 3  # of a column's cells with one value: a decoder's variance goes to its floor there
N_LOOKED_AT = 10_000  # rows, for spikes
N_STEPS = 1200  # of a table's training at least, spread over as many epochs as they make
N_EPOCHS = 10  # and of a large one at least so many,
MOST_STEPS = 6000  # but no more steps than these, or one epoch
LATENT = (8, 32)  # least and most of a table; between them half as many as columns
ENOUGH = 1000  # rows to learn more than one variance from, and that tell members little apart
HIDDEN = 0.5  # most cells of a row that are missing in training: hidden ones and holes together


def fitted(config, data):
    """The Config with all that is left to the training rows decided: no option is None for it."""
    n, settings, asked = len(data.train.x), {}, config.flat()
    pictures = len(data.shape) > 1
    if asked["binarize"] is None:
        drawn = pictures and asked["likelihood"] == "bernoulli"
        settings["binarize"] = "dynamic" if drawn else "none"
    if asked["latent_dim"] is None:
        low, high = LATENT
        half = math.ceil(len(data.codec.modelled) / 2)
        settings["latent_dim"] = min(high, max(low, half))
    if asked["epochs"] is None:
        batch_size = asked["batch_size"]
        per_epoch = 1 if batch_size == "full" else math.ceil(n / batch_size)
        steps = min(max(N_STEPS, N_EPOCHS * per_epoch), MOST_STEPS)
        settings["epochs"] = max(1, min(math.ceil(steps / per_epoch), MOST_STEPS // per_epoch))
    if asked["variance"] is None:
        variance = VARIANCE[asked["preset"]][n >= ENOUGH]
        settings["variance"] = "column" if variance == "decoder" and spiked(data) else variance
    if asked["members"] is None:
        settings["members"] = 1 if n >= ENOUGH else MEMBERS
    if asked["hide_rate"] is None:
        holes = 0.0 if data.train.mask is None else 1 - float(data.train.mask.mean())
        settings["hide_rate"] = round(max(0.0, HIDDEN - holes), 3)
    hide_rate = settings.get("hide_rate", asked["hide_rate"])
    # Without it a hidden pixel is a black one to the encoder, and its q(z | x) is poorer.
    settings["mask_features"] = pictures and hide_rate > 0
    return config.replace(**settings)


def spiked(data):
    """Whether one value fills more than SPIKE of the training cells of any column of numbers."""
    part = data.train.take(random_rows(len(data.train.x), N_LOOKED_AT))
    seen = np.ones_like(part.x, bool) if part.mask is None else part.mask > 0
    numbers = [j for j, column in enumerate(data.codec.modelled) if not column.levels]
    for values in (part.x[seen[:, j], j] for j in numbers):
        if len(values) and np.unique(values, return_counts=True)[1].max() > SPIKE * len(values):
            return True
    return False
