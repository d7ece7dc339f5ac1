"""Explain odd rows in words: their most surprising cells and the values expected there."""

import numpy as np

from parts.forms import cells
from parts.forms.units import shown_cell

FAR_OUT, MOST_FAR = 50.0, 2  # nats of a cell that is far out, and most such cells of a row
BESIDE = 3.0  # nats beyond NOTABLE of another cell beside such a one
NOTABLE = 0.5  # nats by which an odd cell exceeds the typical surprise of its column


def explain(scorer, frame, encoded, chosen, typical):
    """The three oddest cells of each row numbered `chosen`, observed and expected, in words.

    `scorer` gives the model's `columns`, the `surprise` of cells and the `expected` values of a
    column. `frame` holds the cells as text, `encoded` the rows in model units, and `typical` [D]
    the typical surprise of each column.
    """
    x, mask, y = (None if a is None else a[chosen] for a in encoded[:3])
    excess = scorer.surprise(x, mask, y, typical) - typical
    whole = mask
    mask, excess = without_far(scorer, x, mask, y, excess, typical)
    order = np.argsort(-np.where(np.isnan(excess), -np.inf, excess), axis=1)[:, :3]
    words = np.full(order.shape, "", dtype=object)
    for j, column in enumerate(scorer.columns):
        if column.name not in frame:
            continue
        odd = np.take_along_axis(excess, order, 1) > NOTABLE
        row, place = np.nonzero((order == j) & odd)
        if len(row):
            seen = as_written(frame[column.name]).iloc[chosen[row]].astype(str).str.strip()
            seen = seen.map(shown_cell)
            given = None if y is None else y[row]
            wanted = expectations(column, *scorer.expected(x[row], mask[row], j, given))
            words[row, place] = [
                # A cell with the expected category is not odd: another cell of the row is.
                "" if want.startswith(f"{cell} (") else f"{column.name}={cell[:40]} expected {want}"
                for cell, want in zip(seen, wanted, strict=True)
            ]
    why = ["; ".join(word for word in three if word) for three in words]
    none = np.array([i for i, said in enumerate(why) if not said], int)
    if len(none):
        parts = [None if part is None else part[none] for part in (x, whole, y)]
        values = None if encoded.values is None else encoded.values[chosen[none]]
        found = scorer.combinations(*parts, values, excess[none])
        for i, cells_ in zip(none, found, strict=True):
            why[i] = combination([scorer.columns[j].name for j in cells_])
    return why


def combination(names):
    """Words for columns that are unusual together; "" for none."""
    if len(names) < 2:
        return ""
    return f"an unusual combination of {', '.join(names[:-1])} and {names[-1]}"


def without_far(scorer, x, mask, y, excess, typical):
    """The mask without each row's far cells, and `excess` [n, D] of the others without them.

    Beside a cell that is far out the model expects nonsense of all others. Without it they are less
    certain than `typical` says, so they must be odd by BESIDE more nats.
    """
    mask, excess = mask.copy(), excess.copy()
    typical = np.maximum(typical, 0) + BESIDE
    for _ in range(MOST_FAR):
        left = np.where((mask > 0) & ~np.isnan(excess), excess, -np.inf)
        rows = np.flatnonzero((left.max(1) > FAR_OUT) & (mask.sum(1) > 1))
        if not len(rows):
            break
        mask[rows, left[rows].argmax(1)] = 0
        given = None if y is None else y[rows]
        found = scorer.surprise(x[rows], mask[rows], given, typical) - typical
        excess[rows] = np.where(mask[rows] > 0, found, excess[rows])
    return mask, excess


def as_written(cells):
    """The cells of a column [N], in float32 if its file holds float32: 0.1, not 0.10000000149.

    All numbers are read as float64, so float32 is recognised by fractions that lose nothing in it.
    """
    if cells.dtype != np.float64:
        return cells
    with np.errstate(over="ignore"):
        narrow = cells.astype(np.float32)
    known = cells.dropna()
    is_narrow = (narrow[known.index] == known).all() and (known != known.round()).any()
    return narrow if is_narrow else cells


def span(days):
    """A number of days in words of its size: 12 days, 3.5 hours, 18 minutes."""
    for size, unit, digits in ((1, "days", 0), (1 / 24, "hours", 1), (1 / 1440, "minutes", 0)):
        if days >= (1.5 if unit == "days" else 1) * size or unit == "minutes":
            return f"{days / size:.{digits}f} {unit}"


def expectations(column, mean, draws):
    """Describe draws [M, n] of a column: 41±12, with half the 68 % interval, or F (97%)."""
    if column.levels:
        shares = (draws == mean).mean(0)  # [n]
        texts = map(shown_cell, column.text(mean))
        return [f"{text} ({s:.0%})" for text, s in zip(texts, shares, strict=True)]
    low, middle, high = np.quantile(draws, (0.16, 0.5, 0.84), axis=0)
    widths = widths_in_words(column, (column.to_user(high) - column.to_user(low)) / 2)
    is_plain = column.style in ({}, {"decimals": None})  # seven digits would say more than is known
    texts = [f"{v:.4g}" for v in column.to_user(middle)] if is_plain else column.text(middle)
    return [f"{text}±{width}" for text, width in zip(texts, widths, strict=True)]


def widths_in_words(column, widths):
    """Widths [n] in user units as text: 12 days, 3.9%, 11133.62."""
    if column.is_moment:
        return [span(days) for days in widths]
    if column.style.get("decimals") is None:
        return [f"{width:.3g}" for width in widths]
    style = {k: v for k, v in column.style.items() if k not in ("plus", "minus", "zero")}
    return cells.texts(widths, style)


def certainty(column, sure):
    """How sure a filled cell is, in words: the chance of a level, or half a 90 % interval."""
    if np.isnan(sure):
        return ""
    if column.levels:
        return f"{100 * sure:.0f} % sure"
    return f"±{widths_in_words(column, np.array([sure]))[0]}"
