"""Relations between columns that hold in all but a few training rows: what they say.

    a <= b, a < b            numbers, or dates
    a = b + c, a = b * c     up to the rounding of the cells as they are written
    a = 1.8 * b + 32         the same with fixed numbers
    a -> b                   a category determines another column
    b is empty where a = no  or where a is empty; "exactly where": and nowhere else

relation_search.py finds them in the training rows, and rules.py keeps them in new rows. Values
[N, R] are those of R columns in the user's units, with the number of a level that is one and the
code of another level; NaN where a cell is empty. Times of a zone are those of UTC, so that they are
compared as instants.
"""

import math
import re
from dataclasses import asdict, dataclass, field

import numpy as np

from parts.errors import UserError
from parts.forms import cells
from parts.forms.tables import encoding

N_SHOWN = 12  # most relations that are listed
MICROSECONDS = 86_400e6  # in a day


@dataclass(frozen=True)
class Relation:
    """A relation, how many training rows show and break it, and bounds, as plain values.

    `columns` begins with the result: [b, a] for a <= b, a -> b and "b is empty where a ...";
    [a, b, c] for sums and products, and [a, b] for linear maps. `bound` is the largest share of new
    rows that break it, with confidence; `chance` is the probability that a row of shuffled columns
    keeps it.
    """

    kind: str
    columns: list
    n: int = 0
    broken: int = 0
    bound: float = 1.0
    chance: float = 1.0
    strict: bool = False  # order: < instead of <=
    close: bool = False  # order: the columns differ by little beside their own spread
    loose: bool = False  # equations: operands are rounded too
    slope: float = 1.0
    offset: float = 0.0
    table: list = field(default_factory=list)  # function: pairs of values
    levels: list = field(default_factory=list)  # empty: where the second column has these cells
    only: bool = False  # empty: and nowhere else

    @property
    def nats(self):
        """The log-odds that a row which breaks it is none of these rows.

        A row that keeps the rule has the density (1 - bound) / chance beside shuffled rows, and one
        that breaks it bound / (1 - chance).
        """
        chance = min(max(self.chance, 1e-9), 1 - 1e-9)
        bound = min(self.bound, 1 - 1e-9)
        odds = math.log((1 - bound) / bound) + math.log((1 - chance) / chance)
        return max(odds, 0.0)

    @property
    def decides(self):
        """Whether a row is odd for breaking this alone.

        Not where some of the run's rows break an order, as the darker of two pixels may now and
        then be the brighter one: they lie in a tail. Other relations have none.
        """
        return self.kind != "order" or not self.broken

    def to_dict(self):
        made = asdict(Relation(self.kind, []))
        own = asdict(self)
        always = ("kind", "columns", "n", "broken", "bound", "chance")
        return {key: own[key] for key in own if key in always or own[key] != made[key]}

    # Words

    @property
    def text(self):
        """The relation as it is printed, and as --relations FILE takes it."""
        first, *others = self.columns
        if self.kind == "order":
            return f"{others[0]} {'<' if self.strict else '<='} {first}"
        if self.kind == "function":
            return f"{others[0]} -> {first}"
        if self.kind == "empty":
            where = f"= {' or '.join(self.levels)}" if any(self.levels) else "is empty"
            return f"{first} is empty {'exactly ' if self.only else ''}where {others[0]} {where}"
        return f"{first} = {self.expression}"

    @property
    def expression(self):
        """The right side of an equation."""
        _, *others = self.columns
        if self.kind in ("sum", "product"):
            return f" {'+' if self.kind == 'sum' else '*'} ".join(others)
        slope = {1.0: "", -1.0: "-"}.get(self.slope, f"{self.slope:.10g} * ")
        sign = "+" if self.offset > 0 else "-"
        offset = f" {sign} {abs(self.offset):.10g}" if self.offset else ""
        return f"{slope}{others[0]}{offset}"

    def why(self, dates=False):
        """The words for a row that breaks it."""
        first, *others = self.columns
        if self.kind == "order" and dates:
            what = f"{first} {'not after' if self.strict else 'before'} {others[0]}"
        elif self.kind == "order":
            what = f"{first} {'not above' if self.strict else 'below'} {others[0]}"
        elif self.kind == "function":
            what = f"{first} is not the one of {others[0]}"
        elif self.kind == "empty":
            what = f"not so: {self.text}"
        else:
            what = f"{first} is not {self.expression}"
        often = f"in {self.broken} of" if self.broken else "never in"
        return f"{what}: {often} {self.n} rows"


def replaced(relation, **changes):
    return Relation(**(relation.to_dict() | changes))


# Values


def related(columns):
    """The columns that may occur in relations."""
    return [column for column in columns if column.kind != "ignore"]


def values_of(frame, columns):
    """Values [N, len(columns)] of the cells of a table; times of a zone are those of UTC."""
    found = np.full((len(frame), len(columns)), np.nan)
    for j, column in enumerate(columns):
        if column.name not in frame:
            continue
        series = frame[column.name]
        if column.levels and not column.style:
            found[:, j] = encoding.codes_of_levels(series, column)
        else:
            values, sides = column.read(series)
            found[:, j] = in_utc(np.where(sides != 0, np.nan, values), column)
    return found


def level_values(column):
    """The value of each level of a column: its number, or its code."""
    import pandas as pd

    if not column.style:
        return np.arange(float(len(column.levels)))
    found = cells.numbers(pd.Series(column.levels, dtype="str"), column.style, column.own_marks)
    return in_utc(found, column)


def in_utc(values, column):
    """Numbers [N] of a column in the user's units as values: times of a zone are those of UTC."""
    if not column.is_moment:
        return values
    # Rounded, so that equal times are equal numbers
    return np.round((values - cells.ahead_of_utc(column.style)) * MICROSECONDS) / MICROSECONDS


def is_number(column):
    return not column.levels or bool(column.style)


def is_date(column):
    return column.is_moment


def unit_of(column):
    """The step between two cells of a column as they are written, 0 for floats."""
    if column.is_moment:
        step = cells.step_of(column.style)
        return max(step, 1.0) if column.whole else step
    decimals = 0 if column.whole else column.style.get("decimals")
    return 0.0 if decimals is None else 10.0**-decimals


def rounded(values, column):
    """Values [N] in the steps of their column, as they are read again after they were written."""
    step = unit_of(column)
    if column.levels or not step or step > 1:
        return values
    if is_date(column):
        ahead = cells.ahead_of_utc(column.style)  # midnight is that of the column
        return in_utc(np.round((values + ahead) / step) * step, column)
    return np.round(values, max(0, round(-math.log10(step))))


# Whether rows break a relation


def tolerances(columns, loose=False):
    """Halves of the steps of a column of results and its operands, and the slack of floats.

    A result may be off by its own rounding; with `loose` operands that are not whole numbers are
    rounded as well. Floats without a known number of decimals have seven digits.
    """
    halves = [0.5000001 * unit_of(column) for column in columns]
    for i, column in enumerate(columns[1:], start=1):
        if column.whole or not loose:
            halves[i] = 0.0
    floats = any(unit_of(column) == 0 for column in columns)
    return halves, 1e-6 if floats else 1e-9


def residual(kind, values, tolerances, slope=1.0, offset=0.0):
    """The distance of a result from its equation, less the tolerance: above 0 it breaks.

    `values` are the result and its operands, which broadcast.
    """
    (a, b, *c), (halves, slack) = values, tolerances
    if kind == "sum":
        found, sizes = b + c[0], (1.0, 1.0)
    elif kind == "product":
        found, sizes = b * c[0], (np.abs(c[0]), np.abs(b))
    else:
        found, sizes = slope * b + offset, (abs(slope),)
    allowed = halves[0] + slack * np.maximum(np.abs(a), np.abs(found))
    for size, half in zip(sizes, halves[1:], strict=True):
        allowed = allowed + size * half if half else allowed
    return np.abs(a - found) - allowed


def breaks(relation, columns, values):
    """True where rows break the relation [N]; False where a cell that it needs is empty.

    `values` and `columns` are those of `relation.columns`.
    """
    known = ~np.isnan(values)
    if relation.kind == "empty":
        b, a = known.T
        if not relation.levels:
            where, elsewhere = ~a, a
        else:
            wanted = codes_of_cells(relation.levels, columns[1])
            where = a & np.isin(values[:, 1], wanted)
            elsewhere = a & ~where
        return where & b | (elsewhere & ~b if relation.only else False)
    seen = known.all(1)
    found = np.zeros(len(values), bool)
    rows = values[seen].T
    if relation.kind == "order":
        b, a = rows
        found[seen] = a >= b if relation.strict else a > b
    elif relation.kind == "function":
        b, a = rows
        wanted = mapped(relation.table, a)
        found[seen] = ~np.isnan(wanted) & (wanted != b)
    else:
        within = tolerances(columns, relation.loose)
        off = residual(relation.kind, rows, within, relation.slope, relation.offset)
        found[seen] = off > 0
    return found


def mapped(table, keys):
    """The values of keys [N] in pairs of values; NaN for a key that is not among them."""
    known, results = np.array(sorted(table), float).reshape(-1, 2).T
    at = np.clip(np.searchsorted(known, keys), 0, max(len(known) - 1, 0))
    return np.where(known[at] == keys, results[at], np.nan)


def codes_of_cells(texts, column):
    """The values of cells given as text."""
    import pandas as pd

    return values_of(pd.DataFrame({column.name: list(texts)}, dtype="str"), [column])[:, 0]


def groups_of(pairs):
    """The number of the connected group of each name that occurs in pairs."""
    group = {}
    for one, other in pairs:
        joined = group.get(one, {one}) | group.get(other, {other})
        group |= dict.fromkeys(joined, joined)
    return {name: min(names) for name, names in group.items()}


# Relations as text


def parsed(text, columns):
    """The Relation without numbers that a text describes, see `Relation.text`."""
    names = sorted((column.name for column in columns), key=len, reverse=True)
    name = "(" + "|".join(map(re.escape, names)) + ")"
    number = r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
    words = " ".join(str(text).split())
    if match := re.fullmatch(rf"{name} (<=?) {name}", words):
        a, sign, b = match.groups()
        return Relation("order", [b, a], strict=sign == "<")
    if match := re.fullmatch(rf"{name} -> {name}", words):
        return Relation("function", [match[2], match[1]])
    if match := re.fullmatch(rf"{name} is empty (exactly )?where {name} (= (.+)|is empty)", words):
        levels = match[5].split(" or ") if match[5] else []
        return Relation("empty", [match[1], match[3]], levels=levels, only=bool(match[2]))
    if match := re.fullmatch(rf"{name} = {name} ([+*-]) {name}", words):
        a, b, sign, c = match.groups()
        if sign == "-":
            return Relation("sum", [b, a, c])
        return Relation("sum" if sign == "+" else "product", [a, b, c])
    line = rf"{name} = (?:{number} \* |(-))?{name}(?: ([+-]) {number})?"
    if match := re.fullmatch(line, words):
        a, slope, minus, b, sign, offset = match.groups()
        slope = float(slope) if slope else -1.0 if minus else 1.0
        offset = float(offset or 0) * (-1 if sign == "-" else 1)
        return Relation("linear", [a, b], slope=slope, offset=offset)
    raise UserError(
        f'--relations: {str(text)!r}, expected one such as "a <= b", "a = b + c", "a = b * c", '
        f'"a = 2 * b + 1", "a -> b" or "a is empty where b = no", of the columns '
        f"{', '.join(names[:N_SHOWN])}"
    )


def is_same(one, other):
    """Whether two relations say the same of the same columns, whatever their numbers."""
    if one.kind != other.kind:
        return False
    if one.kind in ("sum", "product"):
        same = one.columns[0] == other.columns[0]
        return same and sorted(one.columns) == sorted(other.columns)
    if one.kind == "linear":
        return sorted(one.columns) == sorted(other.columns)
    return one.columns == other.columns


def describe(relations):
    """Lines on the relations of a run, in a list; an empty list without any."""
    if not relations:
        return []
    always = [r for r in relations if not r.broken]
    mostly = [r for r in relations if r.broken]
    lines = []
    if always:
        bound = max(r.bound for r in always)
        lines.append(
            f"Always true in the training rows: {listed([r.text for r in always])} "
            f"(each broken by at most {100 * bound:.2g} % of new rows, with 95 % confidence)"
        )
    if mostly:
        texts = [f"{r.text} ({100 * (1 - r.broken / r.n):.4g} %)" for r in mostly]
        lines.append(f"Nearly always true: {listed(texts)}")
    return lines


def listed(texts):
    more = f"; and {len(texts) - N_SHOWN} more" if len(texts) > N_SHOWN else ""
    return "; ".join(texts[:N_SHOWN]) + more


KINDS = ("order", "sum", "product", "linear", "function", "empty")
