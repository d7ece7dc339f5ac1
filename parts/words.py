"""Counts and their nouns in the sentences that commands print."""


def counted(n, one, several=None):
    """A count and its noun: 1 row, 2000 rows."""
    return f"{n} {noun(n, one, several)}"


def noun(n, one, several=None):
    """The noun for n things."""
    return one if n == 1 else several or one + "s"
