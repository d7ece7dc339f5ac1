"""Map generated numbers to the distribution of the training rows, column by column."""

import numpy as np


def to_marginal(values, drawn, real, ties=0.5):
    """Replace the model's values [n] by `real` values of equal rank, linearly interpolated.

    The rank of a value is its mid-rank among draws of the model, `drawn` [M]. Values beyond all
    draws get the outermost rank, so every result lies in the range of `real`. Equal values of a
    discrete model are spread over the ranks of their ties by `ties` in [0, 1), the distributional
    transform (Rueschendorf 2009): one atom of the model covers several values of `real`, and the
    map stays monotone.
    """
    drawn, real = np.sort(drawn).astype(float), np.sort(real).astype(float)
    low, high = (np.searchsorted(drawn, values, side) for side in ("left", "right"))
    between = np.interp(values, drawn, np.arange(len(drawn)) + 0.5)
    rank = np.where(low < high, low + ties * (high - low), between) / len(drawn)
    return np.interp(rank, (np.arange(len(real)) + 0.5) / len(real), real)
