"""The figure of a training: its bounds against the epoch."""

import numpy as np

from parts.plots.style import BLUE, ORANGE, legend_below, subplots, tell
from parts.plots.words import change, counted, short

READING = (
    "Each panel shows nats per row against the epoch. Lower is better for the loss and for −ELBO, "
    "higher for log p(x|z)."
)
HELD_OUT = {"val": "held-out rows", "test": "test rows (not used in training)"}


def training_curves(log):
    """-ELBO and its two halves against epoch; what training minimises, where that is another loss.

    An IWAE's bound beside an ELBO would look like overfitting, and a loss with beta like none.
    """
    part = next((part for part in HELD_OUT if f"{part}_loss" in log[-1]), None)
    # Terms of the steps are of rows with hidden cells, if any: beside whole rows they look worse.
    hidden = any("train_loss" in record for record in log)
    training = "training rows, some cells hidden" if hidden else "training rows"
    lines = [("training rows", "train_" if hidden else "", BLUE, "-")]
    if part:
        lines.append((HELD_OUT[part], f"{part}_", ORANGE, "--"))
    panels = {"−ELBO": {}, "log p(x|z)": {}, "KL(q(z|x) || p(z))": {}}
    loss = {}
    for label, prefix, *_ in lines:
        log_px_z, kl = (column(log, prefix + key) for key in ("log_px_z", "kl"))
        for panel, values in zip(panels.values(), (kl - log_px_z, log_px_z, kl), strict=True):
            panel[label] = values
        loss[label] = column(log, f"{prefix}loss")
    bounds = panels["−ELBO"]
    if hidden:
        lines.append((training, "", BLUE, ":"))
        loss, bounds = {training: column(log, "loss")}, bounds | {training: np.nan}
    others = {label: v for label, v in loss.items() if not same(v, bounds[label])}
    if training in others:
        panels = {"Loss: what training minimises": others} | panels
    figure, axes = subplots(1, len(panels), width=3 * len(panels) + 1, height=3.2)
    epochs = np.array([record["epoch"] for record in log])
    dot = "o" if len(epochs) == 1 else ""
    for axis, (title, values) in zip(axes.flat, panels.items(), strict=True):
        for label, _, color, dashes in lines:
            if label in values:
                there = ~np.isnan(values[label])  # some terms are not measured in every epoch
                x, y = epochs[there], values[label][there]
                axis.plot(x, y, dashes, color=color, marker=dot, label=label)
        axis.set(title=title, xlabel="epoch")
        axis.xaxis.get_major_locator().set_params(integer=True)
    axes[0, 0].set_ylabel("nats per row")
    legend_below(figure, *axes.flat)
    found = next(iter(panels.values()))[training if training in others else "training rows"]
    held = bounds.get(HELD_OUT.get(part))
    return tell(figure, message(epochs, found, held, HELD_OUT.get(part)), READING)


def message(epochs, loss, held, rows):
    """What became of the loss and of the -ELBO `held` of the `rows` that were not trained on."""
    loss = loss[~np.isnan(loss)]
    if not len(loss):
        return "No step of the training counted: all had a loss that is not a number."
    if len(loss) == 1:
        said = f"After one epoch the loss is {short(loss[0])} nats a row."
    else:
        said = f"Training loss {change(loss[0], loss[-1])} nats a row over {len(epochs)} epochs."
    if held is None or np.isnan(held).all() or len(loss) == 1:
        return said
    best = int(np.nanargmin(held))
    last = held[~np.isnan(held)][-1]
    where = f"is lowest after {counted(int(epochs[best]), 'epoch')}, {short(held[best])} nats"
    ends = "" if short(last) == short(held[best]) else f", and ends at {short(last)}"
    return f"{said} On {rows} −ELBO {where}{ends}."


def same(a, b):
    return np.allclose(a, b, rtol=1e-3, atol=1e-6, equal_nan=True)


def column(log, key):
    return np.array([record.get(key) for record in log], dtype=float)
