"""The progress bar of long work."""

import sys


def progress_bar(total, done, unit="row"):
    """A tqdm bar on a terminal, silent when stderr is piped; `update(0)` moves its clock."""
    from tqdm import tqdm

    options = {"unit": unit, "unit_scale": unit == "row", "leave": False}
    options |= {"miniters": 0, "smoothing": 0}  # else that clock stops, and spoils the rate
    return tqdm(total=total, initial=done, disable=not sys.stderr.isatty(), **options)
