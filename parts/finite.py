"""The last look at numbers that leave the program: scores, metrics, filled and generated cells."""

import numpy as np

from parts.errors import UserError


def finite(what, values):
    """The array `values`; UserError if it holds NaN or infinite numbers, of which `what` says what.

    Causes are mended where they are. This is for those that nobody knows of: no number that means
    nothing reaches a file.
    """
    bad = ~np.isfinite(values)
    if bad.any():
        raise UserError(
            f"{bad.sum()} of {bad.size} {what} are not finite numbers: the run has diverged or is "
            "damaged; train another"
        )
    return values
