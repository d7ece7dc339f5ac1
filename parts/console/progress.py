"""The progress bar of long computations."""

import sys


def progress_bar(total, done, unit="row"):
    """A tqdm bar, which is silent if stderr is not a terminal; `update(0)` moves its clock."""
    from tqdm import tqdm

    options = {"unit": unit, "unit_scale": unit == "row", "leave": False}
    options |= {"miniters": 0, "smoothing": 0}  # otherwise the clock stops and the rate is wrong
    return tqdm(total=total, initial=done, disable=not sys.stderr.isatty(), **options)
