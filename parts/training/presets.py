"""Named sets of train.py's flags, and the settings that depend on the training rows."""

import math

import numpy as np
import torch

from parts.forms.base import random_rows
from parts.model.likelihoods.correlated import MOST_DENSE, has_near_copies, is_spiked
from parts.model.likelihoods.factors import RANKS

PRESETS = {
    # The first recipe of this project, corrected: one step per epoch, and sigma is fixed at 1.
    "classic": {
        "hidden_dims": [8],
        "latent_dim": 8,
        "batch_size": "full",
        "epochs": 50,
        "likelihood": "gaussian",
        "variance": "fixed:1.0",
    },
    # The default of `--likelihood gaussian`.
    "density": {"noise": None},
    # The default for a table in a user's file. `fit_to_data` replaces each None by a value that
    # depends on the table. docs/results.md compares these settings with others.
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
        "noise": None,
        "members": None,
        "hide_rate": None,
    },
    # Windows of a series.
    "series": {
        "model": "windows",
        "network": "conv1d",
        "hidden_dims": [32, 64, 128],
        "latent_dim": 16,
        "batch_size": 128,
        "epochs": None,
        "lr": 4e-3,
        "schedule": "onecycle",
        "patience": None,
    },
    # The network of Burda et al. 2016, for `--data mnist`.
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
N_LOOKED_AT = 5000  # most training rows in which near-copies are looked for
N_MEMBERS = 3  # models in an ensemble, whose mean has a smaller error than one model's
# The preset "table" with several members, for a run that fills holes.
PRESETS["impute"] = PRESETS["table"] | {"members": N_MEMBERS}
# The preset "table" for a file whose rows are in question: rows unlike the others are not learned.
PRESETS["detect"] = PRESETS["table"] | {"trim": 0.35}
# The preset "series" for a run that fills holes.
PRESETS["series-impute"] = PRESETS["series"] | {"hide_rate": 0.8}
# The preset "series" for a file whose rows are in question.
PRESETS["series-detect"] = PRESETS["series"] | {
    "likelihood": "factors",
    "network": "mlp",
    "hidden_dims": [128, 128],
    "latent_dim": 8,
    "members": None,
    "lr": 2e-3,
    "hide_rate": 0.3,
    "trim": 0.2,
    "patience": 0,
    "long_windows": True,
}
# A table of which rows are to be generated: columns are decoded in order.
PRESETS["generate"] = {
    "likelihood": "ordered",
    "hidden_dims": [64],
    "latent_dim": 8,
    "batch_size": 256,
    "epochs": None,
    "lr": 3e-3,
    "schedule": "onecycle",
    "free_bits": 0.05,  # or z would not be used at all
    "heads": None,
}
# Preset -> the noise without near-copies among the columns, and the noise with them. Scores of rows
# need noise that is independent of the columns' correlations, fills and densities the other.
NOISE = {
    "table": ("independent", "stretched"),
    "detect": ("independent", "stretched"),
    "impute": ("correlated", "stretched-correlated"),
    "density": ("fitted", "fitted"),
}
MOST_FITTED = 100  # most columns of which training starts at a Gaussian
# Preset -> the variance with fewer than LARGE_TABLE rows, and the one with more.
VARIANCE = {
    "table": ("shared", "column"),
    "detect": ("shared", "column"),
    "impute": ("column", "decoder"),
}
N_SPIKE_ROWS = 10_000  # rows in which `has_spike` looks for spikes
MIN_STEPS = 1200  # fewest steps on a table; the number of epochs follows from them
MIN_ORDERED = (600, 8)  # fewest steps and epochs for columns in order, which more would overfit
MOST_ORDERED_EPOCHS = 200
MANY_BINS = 5000  # rows from which each bin of a number has a mass of its own
MOST_TRIMMED_EPOCHS = 200  # a small table that is read more often is learned with its odd rows
MIN_SCORED = 600  # fewest steps on windows that are scored
MIN_EPOCHS = 10  # fewest epochs on a large table
MAX_STEPS = 6000  # most steps on a large table; one epoch may have more
LATENT_DIM_RANGE = (8, 32)  # limits of a table's latent_dim, which is half the number of columns
# Rows from which more than one variance is learned; members of an ensemble then hardly differ.
LARGE_TABLE = 1000
WIDE_TABLE = 500  # columns beyond which several members take minutes
# Largest share of cells that are missing in training, hidden cells and holes together.
MAX_MISSING_SHARE = 0.5


def fit_to_data(config, data):
    """The Config with a value for each option that is None until the training rows are known."""
    n, settings, asked = len(data.train.x), {}, config.flat()
    if asked["binarize"] is None:
        drawn = data.form.holds_rates and asked["likelihood"] == "bernoulli"
        settings["binarize"] = "dynamic" if drawn else "none"
    if asked["latent_dim"] is None:
        low, high = LATENT_DIM_RANGE
        half = math.ceil(len(data.codec.modelled) / 2)
        settings["latent_dim"] = min(high, max(low, half))
    if asked["epochs"] is None:
        batch_size = asked["batch_size"]
        per_epoch = 1 if batch_size == "full" else math.ceil(n / batch_size)
        least, fewest, most = MIN_STEPS, MIN_EPOCHS, None
        if asked["preset"] == "series-detect":
            least, fewest = MIN_SCORED, 2
        elif asked["preset"] == "generate":
            (least, fewest), most = MIN_ORDERED, MOST_ORDERED_EPOCHS
        elif asked["trim"]:
            most = MOST_TRIMMED_EPOCHS
        least = least if most is None else min(least, most * per_epoch)
        steps = min(max(least, fewest * per_epoch), MAX_STEPS)
        settings["epochs"] = max(1, min(math.ceil(steps / per_epoch), MAX_STEPS // per_epoch))
    if asked["patience"] is None:  # all epochs, of which the best one by the held-out rows is kept
        settings["patience"] = MAX_STEPS if len(data.val.x) else 0
    noise = asked["noise"]
    if noise is None:
        noise = settings["noise"] = noise_for(data, asked)
    if asked["heads"] is None:
        settings["heads"] = "bins" if n >= MANY_BINS else "mixture"
    if asked["variance"] is None:
        variance = VARIANCE[asked["preset"]][n >= LARGE_TABLE]
        # Where one value fills much of a column, a decoder's variance falls to its floor.
        spiked = variance == "decoder" and noise == "independent" and has_spike(data)
        settings["variance"] = "column" if spiked else variance
    if asked["members"] is None and asked["likelihood"] == "factors":
        settings["members"] = len(RANKS[asked["trim"] > 0])
    elif asked["members"] is None:
        is_small = n < LARGE_TABLE and len(data.codec.modelled) <= WIDE_TABLE
        settings["members"] = N_MEMBERS if is_small else 1
    if asked["hide_rate"] is None:
        holes = 0.0 if data.train.mask is None else 1 - float(data.train.mask.mean())
        settings["hide_rate"] = round(max(0.0, MAX_MISSING_SHARE - holes), 3)
    hide_rate = settings.get("hide_rate", asked["hide_rate"])
    # Without the mask as a feature the encoder takes a hidden cell for one that holds 0, such as a
    # black pixel. The likelihood of mixed columns has the mask among its own features.
    settings["mask_features"] = hide_rate > 0 and config.data.scaling != "kinds"
    settings["robust"] = asked["trim"] > 0
    return config.replace(**settings)


def has_spike(data):
    """Whether some column of numbers is spiked."""
    part = data.train.take(random_rows(len(data.train.x), N_SPIKE_ROWS))
    seen = np.ones_like(part.x, bool) if part.mask is None else part.mask > 0
    numbers = [j for j, column in enumerate(data.codec.modelled) if not column.levels]
    return any(is_spiked(torch.from_numpy(part.x[seen[:, j], j])) for j in numbers)


def noise_for(data, asked):
    """The noise of the preset, for the training rows."""
    columns = data.codec.modelled
    numbers = [j for j, column in enumerate(columns) if column.kind in ("real", "positive")]
    plain, of_copies = NOISE[asked["preset"]]
    fixed = (asked["variance"] or "").startswith("fixed")
    if len(data.shape) > 1 or len(numbers) < 2 or asked["real"] == "student" or fixed:
        return "independent"
    if plain == "fitted":
        return plain if len(numbers) <= MOST_FITTED else "independent"
    if len(numbers) > MOST_DENSE:
        return plain
    part = data.train.take(random_rows(len(data.train.x), N_LOOKED_AT))
    cells = torch.from_numpy(part.x[:, numbers])
    seen = None if part.mask is None else torch.from_numpy(part.mask[:, numbers])
    return of_copies if has_near_copies(cells, seen) else plain
