"""Counts and names in the sentences that commands print."""


def counted(n, one, several=None):
    """A count and its noun: 1 row, 2,000 rows."""
    return f"{n:,} {one if n == 1 else several or one + 's'}"
