"""What can be asked of training: how long, by which bound, at which rate, from which seed."""

from dataclasses import dataclass

from parts.model.objectives import OBJECTIVES
from parts.options import (
    batch_size,
    count,
    fraction,
    non_negative,
    option,
    positive,
    positive_int,
    seed,
    share_below_half,
)
from parts.training.loop import SCHEDULES
from parts.training.presets import PRESETS


@dataclass(frozen=True)
class TrainingConfig:
    """Options of training. None: decided by the data, see `parts.training.presets`."""

    preset: str | None = option(
        None, "a named set of flags; given flags win", choices=sorted(PRESETS)
    )
    epochs: int | None = option(50, "passes over the rows (default: 50)", parse=positive_int)
    batch_size: int | str = option(32, "rows per step, or full (default: 32)", parse=batch_size)
    lr: float = option(1e-3, "Adam's learning rate (default: 0.001)", parse=positive)
    schedule: str = option(
        "constant",
        "of the rate; onecycle rises and then falls to 0 (default: constant)",
        choices=SCHEDULES,
    )
    hide_rate: float | None = option(
        0.0,
        "hide up to this share of a row's cells while training, in half of the rows, so that any "
        "part of a row can be encoded (default: 0)",
        parse=fraction,
    )
    objective: str = option(
        "elbo",
        "the bound that training climbs, and its gradient (default: elbo)",
        choices=sorted(OBJECTIVES),
    )
    n_samples: int = option(1, "its samples of z per row (default: 1)", parse=positive_int)
    beta: float = option(1.0, "weight of the KL (default: 1, the ELBO)", parse=non_negative)
    warmup_epochs: int = option(
        0,
        "epochs over which beta rises from 0, or the capacity (default: 0)",
        parse=count,
        flag=["--warmup-epochs", "--warmup"],
    )
    cycles: int = option(
        1, "times that it rises anew, in equal parts of the epochs (default: 1)", parse=positive_int
    )
    capacity: float | None = option(
        None,
        "beta weighs the KL's distance from so many nats, instead of the KL",
        parse=non_negative,
        metavar="NATS",
    )
    free_bits: float = option(
        0.0,
        "of each latent's KL, below which the loss gains nothing (default: 0)",
        parse=non_negative,
        metavar="NATS",
    )
    trim: float = option(
        0.0,
        "leave the rows with the lowest bound per observed cell out of training, so that rows "
        "unlike the others are not learned: this share of each batch in the first half of the "
        "epochs, then half this share of all rows (default: 0)",
        parse=share_below_half,
        metavar="SHARE",
    )
    seed: int = option(0, "seed of weights, order and noise (default: 0)", parse=seed)
    patience: int | None = option(
        0,
        "stop after so many epochs without a better held-out bound, and keep the best epoch (0: "
        "never; presets series: after all epochs)",
        parse=count,
    )
    checkpoint_seconds: float = option(
        30.0, "seconds between checkpoints during training (default: 30)", parse=non_negative
    )

    def loop_options(self):
        """The keyword arguments of `Training.run`."""
        names = (
            "batch_size",
            "beta",
            "warmup_epochs",
            "cycles",
            "capacity",
            "free_bits",
            "schedule",
            "objective",
            "n_samples",
            "hide_rate",
            "trim",
        )
        return {name: getattr(self, name) for name in names}
