"""Named sets of train.py's flags, and the settings that are left to the table."""

import math

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
    # to the table.
    "table": {
        "hidden_dims": [128, 128],
        "latent_dim": None,
        "batch_size": 128,
        "epochs": None,
        "lr": 2e-3,
        "schedule": "onecycle",
        "objective": "dreg",
        "n_samples": 5,
        "variance": "column",
        "hide_rate": 0.5,
    },
}
N_STEPS = 3000  # of a table's training, spread over as many epochs as they make
LATENT = (8, 32)  # least and most of a table; between them half as many as columns


def fitted_settings(config, data):
    """Latent size and epochs where they are left to the table."""
    n, settings = len(data.train.x), {}
    if config["latent_dim"] is None:
        low, high = LATENT
        settings["latent_dim"] = min(high, max(low, math.ceil(len(data.modelled) / 2)))
    if config["epochs"] is None:
        steps = 1 if config["batch_size"] == "full" else math.ceil(n / config["batch_size"])
        settings["epochs"] = math.ceil(N_STEPS / steps)
    return settings
