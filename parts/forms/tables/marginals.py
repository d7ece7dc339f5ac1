"""Generated numbers with the distribution of the training rows, column by column."""

import numpy as np


def to_marginal(values, drawn, real, ties=0.5):
    """The model's values [n] by those of equal rank among `real` ones, linear between neighbours.

    A value's rank is its mid-rank among the model's `drawn` ones [M]; beyond them all it is that of
    the outermost, so no result lies outside the range of `real`. Equal values of a discrete model
    spread over the ranks of their ties, by `ties` in [0, 1) (Rueschendorf 2009's distributional
    transform): one atom of the model then covers several of `real`, and no order is reversed.
    """
    drawn, real = np.sort(drawn).astype(float), np.sort(real).astype(float)
    low, high = (np.searchsorted(drawn, values, side) for side in ("left", "right"))
    between = np.interp(values, drawn, np.arange(len(drawn)) + 0.5)
    rank = np.where(low < high, low + ties * (high - low), between) / len(drawn)
    return np.interp(rank, (np.arange(len(real)) + 0.5) / len(real), real)
