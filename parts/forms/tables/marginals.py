"""Generated numbers with the distribution of the training rows, column by column."""

import numpy as np
import torch

from parts import randomness

N_RANKED = 10_000  # rows drawn to know the model's own marginals
RANKED_SEED = 2**31 - 1  # of those rows


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


def with_marginals(x, model, columns, train, rng, y_train=None):
    """x [n, D] with the numbers' marginals of the training rows (x, mask); levels stay as drawn.

    The map is a function of the run alone, whatever rows it is applied to; `rng` breaks ties.
    """
    with randomness.fixed_randomness(RANKED_SEED):
        y = []
        if y_train is not None:
            rows = y_train[torch.randint(len(y_train), (N_RANKED,)).numpy()]
            y = [torch.from_numpy(rows).to(next(model.parameters()).device)]
        drawn = model.sample(N_RANKED, *y).cpu().numpy()
    x = x.copy()
    for j, column in enumerate(columns):
        real = train[0][train[1][:, j] > 0, j]
        if not column.levels and len(real):
            x[:, j] = to_marginal(x[:, j], drawn[:, j], real, rng.random(len(x)))
            if column.kind == "count":
                x[:, j] = np.round(x[:, j])
    return x
