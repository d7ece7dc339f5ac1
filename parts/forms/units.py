"""Columns, and the map between a user's units and model units.

Model units are numbers near 0 for `real` and `positive` columns, the count itself, or the code of a
category.
"""

from dataclasses import dataclass, field, replace

import numpy as np

from parts.errors import UserError
from parts.forms import cells
from parts.forms.cells import LARGEST
from parts.model.limits import AT_LIMIT, FARTHEST_SEEN

DISCRETE = ("binary", "categorical", "ordinal")
EPOCHS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
MAX_SCALED = 1e15  # largest linearly scaled cell, in standard deviations from the mean
KNEE = 5.0  # robust standard deviations from the median beyond which a real column is compressed


@dataclass(frozen=True)
class Column:
    """A column and its map to model units: (g(value) - shift) / scale, where `curve` names g.

    linear: g(v) = v. steps: g is the step of a counter of a series, from one time to the next.
    asinh: g(v) = KNEE asinh(((v - centre) / spread) / KNEE). log: ln(v + offset).
    A count is its own model unit; its centre and spread are those of ln(1 + v), for the network.
    """

    name: str
    shift: float = 0.0
    scale: float = 1.0
    kind: str = "real"
    curve: str = "linear"
    centre: float = 0.0
    spread: float = 1.0
    offset: float = 0.0
    levels: list = field(default_factory=list)  # the cells of a category, by code
    folded: bool = False  # whether levels are compared without case and blanks
    style: dict = field(default_factory=dict)
    whole: bool = False  # whether all cells are whole numbers
    low: float | None = None  # smallest value: 0 where no training cell is negative, or a bound
    high: float | None = None  # largest value, where training cells end at a bound
    below: float | None = None  # the limit of cells such as <0.5, which lie below it
    above: float | None = None  # that of cells such as >100
    marks: list | None = None  # of missing cells, in lower case; None: cells.MISSING
    asked: list = field(default_factory=list)  # marks of which the user said what they are
    spikes: list = field(default_factory=list)  # values far outside, each with its share of cells
    n_seen: int = 0  # training cells that are not missing
    n_unread: int = 0  # and those among them that could not be read
    part_of: list = field(
        default_factory=list
    )  # of a column of answers: its name, ..., see answers
    why: str = ""  # the reason if the column is ignored, or what else its cells may be
    condition: bool = False  # whether the column is a condition
    stored: dict = field(default_factory=dict)  # its type in a Parquet file, see tables/parquet.py

    def to_dict(self):
        return dict(vars(self))  # asdict is slow for the many columns of pictures

    def to_model(self, values):
        """Convert user units to model units, float64, any shape."""
        if self.curve == "asinh":
            values = KNEE * np.arcsinh((values / self.spread - self.centre / self.spread) / KNEE)
        elif self.curve == "log":
            with np.errstate(divide="ignore", invalid="ignore"):  # of impossible cells
                values = np.log(values + self.offset)
        return (values - self.shift) / self.scale

    def to_user(self, x):
        """Convert model units to user units, float64, any shape."""
        values = np.asarray(x, np.float64) * self.scale + self.shift
        if self.curve == "asinh":
            values = np.sinh(np.clip(values / KNEE, -600, 600)) * KNEE * self.spread + self.centre
        elif self.curve == "log":
            values = np.exp(np.clip(values, -700, 700)) - self.offset
        return self.bounded(values)

    def bounded(self, values):
        """Values in user units, moved into the column's range."""
        low = -LARGEST if self.low is None else self.low
        return np.clip(values, low, LARGEST if self.high is None else self.high)

    def mean_to_user(self, mean, std):
        """Mean in user units of a number with this mean and std in model units.

        It is exact for a Gaussian. A Student-t has no finite mean after a curve that is not linear;
        the mean of the Gaussian is returned for it.
        """
        mu, sigma = mean * self.scale + self.shift, std * self.scale
        if self.curve == "asinh":  # E sinh(a + b eps) = sinh(a) exp(b^2 / 2)
            growth = np.exp(np.minimum(0.5 * (sigma / KNEE) ** 2, 300))
            grown = np.sinh(np.clip(mu / KNEE, -300, 300)) * growth
            values = grown * KNEE * self.spread + self.centre
        elif self.curve == "log":
            values = np.exp(np.clip(mu + 0.5 * sigma**2, -700, 700)) - self.offset
        else:
            values = mu
        return self.bounded(values)

    @property
    def limits(self):
        """`below` and `above` in model units, NaN where there is no such limit."""
        ends = [np.nan if end is None else end for end in (self.below, self.above)]
        return tuple(self.to_model(np.array(ends)).tolist())

    def log_det(self, x, user=True):
        """log |d model / d value| at x in model units; without `user` only that of the asinh.

        Without `user` densities stay in model units except for the asinh, so that neither the unit
        of a column nor the logarithm of a positive one changes its weight. A cell beyond a limit
        has a probability and no density: 0.
        """
        if self.levels or self.is_count:
            return np.zeros_like(x, np.float64)
        if self.below is not None or self.above is not None:
            beyond = np.any([np.abs(x - end) <= AT_LIMIT for end in self.limits], axis=0)
            inner = replace(self, below=None, above=None)
            return np.where(beyond, 0.0, inner.log_det(x, user))
        g = np.asarray(x, np.float64) * self.scale + self.shift
        unit = -np.log(self.scale) if user else 0.0
        if self.curve == "asinh":  # d g / d z = 1 / sqrt(1 + (z / KNEE)^2) = 1 / cosh(g / KNEE)
            unit = unit - np.log(self.spread) if user else unit
            return unit - np.log(np.cosh(np.clip(g / KNEE, -600, 600)))
        return unit - g if self.curve == "log" and user else np.full_like(g, unit)

    # Differences between kinds

    @property
    def is_count(self):
        return self.kind == "count"

    @property
    def is_date(self):
        """Whether its numbers are days since 1970."""
        return "date" in self.style or "epoch" in self.style

    @property
    def is_moment(self):
        """Whether its numbers are days: dates, times of day, durations."""
        return cells.is_moment(self.style)

    def impossible(self, values):
        """True where a number in user units lies outside the column's support, [N]."""
        if self.kind == "positive":
            return values <= -self.offset
        if self.is_count:
            return (values < 0) | (values != np.round(values)) & ~np.isnan(values)
        return np.zeros(len(values), bool)

    def for_network(self, x):
        """Model units of a number as input of a network, near 0, any shape."""
        return (np.log1p(x) - self.centre) / self.spread if self.is_count else x

    def from_network(self, x):
        """Invert `for_network`."""
        return np.round(np.expm1(x * self.spread + self.centre)) if self.is_count else x

    def rounded(self, x):
        """Model units rounded to values of the column: counts are whole numbers."""
        return np.round(x) if self.is_count else x

    def cell_errors(self, truth, guess, scale):
        """The error of each guess [n], in the user's units and codes.

        It is the square of the distance / `scale` for numbers, whether the cell is wrong for
        categories, and the distance of ranks / the largest distance for ordinal columns.
        """
        if self.kind == "ordinal":
            return np.abs(truth - np.round(guess)) / (len(self.levels) - 1)
        if self.levels:
            return (truth != np.round(guess)).astype(float)
        return np.square((truth - guess) / scale)

    def error(self, cell_errors):
        """The error of a column with these `cell_errors`: their mean, and its root for numbers."""
        mean = float(cell_errors.mean())
        return mean if self.levels else mean**0.5

    # Cells

    def missing(self, series):
        """True where a cell of the column is missing, [N]."""
        found = cells.missing(series, self.own_marks)
        return found & ~cells.missing(series, ()) if self.empty_is_cell else found

    @property
    def empty_is_cell(self):
        """Whether an empty cell is an answer, as in a column of check boxes."""
        return "" not in self.own_marks and ("" in self.levels or "" in self.asked)

    def read(self, series):
        """The cells of a column of numbers: values [N], NaN where a cell is none, and sides [N].

        See `cells.read`. A value that is a spike, such as -999, is NaN: it says nothing of numbers.
        """
        values, sides = cells.read(series, self.style, self.own_marks)
        for value, _ in self.spikes:
            values[values == value] = np.nan
        return values, sides

    def encoded(self, values, sides):
        """Model units [N] of values as `read` gives them; NaN where a limit is not the column's.

        A cell beyond a limit of the column is that limit, and no other cell is within AT_LIMIT of
        it: so a likelihood knows which cells are censored.
        """
        x = self.to_model(values)
        for side, end, limit in zip((-1, 1), (self.below, self.above), self.limits, strict=True):
            beyond = sides == side
            if end is None:
                x[beyond] = np.nan
                continue
            near = (np.abs(x - limit) <= 2 * AT_LIMIT) & ~beyond
            x[near] = limit - 3 * side * AT_LIMIT
            inside = side * (values - end) < 0  # such as <1 where the limit is 0.5
            x[beyond] = np.where(inside[beyond], np.nan, limit)
        return x

    @property
    def own_marks(self):
        return cells.MISSING if self.marks is None else self.marks

    def text(self, x):
        """Convert model units [N] to cells in the style of the column."""
        return self.text_of(x if self.levels else self.to_user(x))

    def text_of(self, values):
        """Convert user units or codes of levels [N] to cells in the style of the column."""
        if self.levels:
            codes = np.clip(np.round(values), 0, len(self.levels) - 1).astype(int)
            return np.array(self.levels, dtype=object)[codes].tolist()
        if self.kind == "positive" and self.offset == 0:  # rounding must not make it 0
            decimals = 0 if self.whole else self.style.get("decimals")
            values = values if decimals is None else np.maximum(values, 10.0**-decimals)
        texts = cells.texts(values, self.style, self.whole)
        if self.style.get("decimals") is None:  # seven digits might lie beyond the column's ends
            for end in (self.low, self.high):
                for i in [] if end is None else np.flatnonzero(np.asarray(values) == end):
                    (texts[i],) = cells.texts([end], self.style, self.whole, exact=True)
        return texts

    def describe(self):
        """Words for the levels or the scaling of the column."""
        if self.kind == "ignore":
            return self.why
        if self.levels:
            shown = ", ".join(map(shown_cell, self.levels[:6]))
            shown += f", ... {len(self.levels)} levels" if len(self.levels) > 6 else ""
            return f"{shown}; {self.why}" if self.why else shown
        scaled = {"asinh": ", robustly scaled", "log": ", in logarithms"}
        scaled["steps"] = ", a counter: its steps are modelled"
        ends = {"below": self.below, "above": self.above}
        limits = [self.style[name] for name, end in ends.items() if end is not None]
        limit = "limits" if len(limits) > 1 else "limit"
        words = f", {limit} {' and '.join(limits)}" if limits else ""
        return self.describe_cells() + scaled.get(self.curve, "") + words

    def describe_cells(self):
        """Words for how the cells of a column of numbers are written."""
        style = self.style
        if "date" in style or "clock" in style:
            return style.get("date") or f"{style['clock']}, a time of day"
        if "duration" in style:
            return f"durations such as {style['example']}" if "example" in style else "durations"
        if "epoch" in style:
            return f"{EPOCHS[style['epoch']]} since 1970"
        words = "whole numbers" if self.whole else "numbers"
        words += " with decimal points and commas" if style.get("either") else ""
        unit = (style.get("prefix") or style.get("suffix") or "").strip()
        joint = "and" if " with " in words else "with"
        return f"{words} {joint} {unit}" if unit else words


def shown_cell(cell):
    """A cell in words: what is empty has to be seen."""
    return cell or "empty"


def modelled(columns):
    """The columns of x: neither ignored nor conditions."""
    return [c for c in columns if c.kind != "ignore" and not c.condition]


def standardize(x, names):
    """Columns with the mean and standard deviation of x [N, D]; a constant column has scale 1."""
    # Division by a power of two is exact, and prevents overflow when columns of 1e300 or 1e-300
    # are squared. The results for other columns do not change.
    power = np.frexp(np.abs(x).max(0))[1]
    unit = np.ldexp(x, -power)
    shift, scale = np.ldexp(unit.mean(0), power), np.ldexp(unit.std(0), power)
    constant = (np.ptp(unit, 0) == 0) | (scale == 0)
    shift[constant], scale[constant] = x[0, constant], 1.0  # exact, where a mean would be rounded
    return [Column(n, float(a), float(s)) for n, a, s in zip(names, shift, scale, strict=True)]


def to_model(x, columns):
    """Convert user units [N, D] to model units, float32, for linearly scaled columns."""
    shift, scale = _shift_scale(columns)
    return ((x - shift) / scale).astype(np.float32)


def to_user(x, columns):
    """Convert model units [..., D] to user units, float64; categories stay codes."""
    if all(column.curve == "linear" for column in columns):
        shift, scale = _shift_scale(columns)
        return np.asarray(x, np.float64) * scale + shift
    parts = [c.to_user(x[..., j]) if not c.levels else x[..., j] for j, c in enumerate(columns)]
    return np.stack(parts, -1).astype(np.float64)


def as_numbers(columns, x, mask):
    """Rows in user units with categories one-hot, [N, F]; NaN where a cell is missing."""
    parts = []
    for j, column in enumerate(columns):
        value = x[:, j] if column.levels else column.to_user(x[:, j])
        value = np.where(mask[:, j] > 0, value, np.nan)[:, None]
        if column.kind == "categorical":
            one_hot = (value == np.arange(len(column.levels))).astype(float)
            value = np.where(np.isnan(value), np.nan, one_hot)
        parts.append(value)
    return np.hstack(parts)


def log_det(x, columns, mask=None, user=True):
    """Sum of `Column.log_det` over the observed columns of each row, [N]."""
    if not user and all(column.curve == "linear" for column in columns):
        return np.zeros(len(x))
    if mask is None and all(c.kind == "real" and c.curve == "linear" for c in columns):
        return np.full(len(x), -np.log(_shift_scale(columns)[1]).sum())  # equal for all rows
    per_column = np.stack([c.log_det(x[:, j], user) for j, c in enumerate(columns)], -1)
    return (per_column if mask is None else per_column * mask).sum(-1)


def _shift_scale(columns):
    return np.array([(c.shift, c.scale) for c in columns]).T


def is_far_out(x, columns):
    """True where a number lies beyond the range that the encoder distinguishes, [N, D]."""
    number = np.array([column.kind in ("real", "positive") for column in columns])
    return (np.abs(x) > FARTHEST_SEEN) & number


def check_finite(values, name, rows):
    """Raise UserError for infinite or too large cells of the rows numbered `rows`."""
    bad = np.abs(values) > LARGEST  # False for NaN
    if bad.any():
        at = int(bad.argmax())
        raise UserError(
            f"row {rows[at] + 1}, column {name!r} is {values[at]}, expected a finite number up to "
            f"{LARGEST:g}; {bad.sum()} such cells in all: mend them or leave them empty"
        )


def check_distance(x, columns):
    """Raise UserError for a held-back cell whose square would overflow float32."""
    for i, column in enumerate(columns):
        with np.errstate(over="ignore", invalid="ignore"):
            far = np.abs(x[:, i] / column.scale - column.shift / column.scale).max(initial=0)
        if not far < MAX_SCALED:
            raise UserError(
                f"column {column.name!r} has a held-back cell {far:.3g} standard deviations from "
                f"its training rows, expected less than {MAX_SCALED:g}; mend or drop that row"
            )


def column_arrays(columns):
    """Names, kinds and levels of columns as arrays, for figures."""
    return {
        "columns": np.array([column.name for column in columns], dtype=str),
        "kinds": np.array([column.kind for column in columns], dtype=str),
        "n_levels": np.array([len(column.levels) for column in columns], dtype=int),
        "levels": np.array(["\x1f".join(map(shown_cell, c.levels)) for c in columns], dtype=str),
        "dates": np.array([column.is_date for column in columns], dtype=bool),
    }
