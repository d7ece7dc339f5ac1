"""Which rows a user's column of labels calls odd."""

from typing import NamedTuple

import numpy as np

from parts.errors import UserError
from parts.forms.cells.marks import missing
from parts.forms.cells.styles import numbers

YES = {"true": "false", "yes": "no", "y": "n", "t": "f"}  # a word that says yes, and its opposite
N_SHOWN = 6  # values that a message lists


class Labels(NamedTuple):
    """The column's name; 1 where a row is odd and NaN where its label is missing, [N]; a sentence
    on which value was taken as odd, "" where it is 1 beside 0.
    """

    name: str
    odd: np.ndarray
    said: str


def labels_of(table, asked):
    """The Labels in a column of a DataFrame; `asked` is its name, or NAME=VALUE of the odd rows.

    Without a value 1 beside 0, and yes beside no, are odd, and of two other values the rarer. Upper
    and lower case are equal.
    """
    name, value = named(table, asked)
    cells, gone = table[name], missing(table[name])
    found = numbers(cells, {})
    is_text = bool((np.isnan(found) & ~gone).any())
    written = cells.astype(str).str.strip()
    found = written.str.lower().to_numpy(object) if is_text else found
    values, first, counts = np.unique(found[~gone], return_index=True, return_counts=True)
    texts = [text_of(one) for one in values.tolist()]
    words = written.to_numpy(object)[~gone][first].tolist() if is_text else texts
    shown = ", ".join(words[:N_SHOWN]) + (", ..." if len(texts) > N_SHOWN else "")
    why = ""
    if value is not None:
        at = [i for i, text in enumerate(texts) if text in (text_of(as_number(value)), yes(value))]
        if not at or len(values) < 2:
            raise UserError(f"--labels {asked}: it holds {shown}, expected {value!r} and others")
        odd = at[0]
    elif len(values) != 2:
        raise UserError(
            f"--labels {asked}: it holds {shown}, expected two values; say which rows are odd with "
            f"--labels {name}={words[0] if words else 'VALUE'}"
        )
    elif texts == ["0", "1"]:
        return Labels(name, np.where(gone, np.nan, as_odd(found, values[1])), "")
    else:
        odd = place_of_yes(texts)
        if odd is None and counts[0] == counts[1]:
            raise UserError(
                f"--labels {asked}: {words[0]} and {words[1]} are equally frequent; say which rows "
                f"are odd with --labels {name}={words[0]} or {name}={words[1]}"
            )
        odd, why = (int(counts.argmin()), ", the rarer value") if odd is None else (odd, "")
    others = "" if value is not None else f"; --labels {name}={words[1 - odd]} takes the others"
    said = f"Labels: {name}={words[odd]}{why}, is odd: {counts[odd]} of {counts.sum()} rows{others}"
    return Labels(name, np.where(gone, np.nan, as_odd(found, values[odd])), said)


def named(table, asked):
    """The name of a column of the table, and the value after it or None, in NAME or NAME=VALUE."""
    name, value = asked, None
    if asked not in table:
        name, _, value = asked.partition("=")
        while name not in table and "=" in value:
            more, _, value = value.partition("=")
            name = f"{name}={more}"
    if name not in table:
        raise UserError(f"--labels {asked}: the columns are {', '.join(map(str, table))[:200]}")
    return name, value


def column_of_labels(table, asked):
    """The name of the column of labels in NAME or NAME=VALUE."""
    return named(table, asked)[0]


def as_odd(found, value):
    return (found == value).astype(np.float64)


def yes(text):
    """1 or 0, as truth values are read from a file that holds them as such; "" for other words."""
    return {"true": "1", "false": "0"}.get(text.strip().lower(), "")


def place_of_yes(texts):
    """Which of two texts says yes, where the other says no; None where neither does."""
    first, second = texts
    if YES.get(second) == first:
        return 1
    return 0 if YES.get(first) == second else None


def as_number(text):
    """A text as a number where it is one, else in lower case."""
    try:
        return float(text)
    except ValueError:
        return text.strip().lower()


def text_of(value):
    """A value as it is shown; whole numbers without a point."""
    return f"{value:g}" if isinstance(value, int | float) else str(value)
