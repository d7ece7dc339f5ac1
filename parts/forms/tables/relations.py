"""Relations between columns that hold in all but a few training rows: find, check and keep them.

    a <= b, a < b            numbers, or dates
    a = b + c, a = b * c     up to the rounding of the cells as they are written
    a = 1.8 * b + 32         the same with fixed numbers
    a -> b                   a category determines another column
    b is empty where a = no  or where a is empty; "exactly where": and nowhere else

`find` finds them. `Rules` holds the relations of a run: the values of the columns in them, which
rows break them, and rows that are changed to obey them. Values [N, R] are those of the R columns
that occur in a relation, in the user's units, with the number of a level that is one and the code
of another level; NaN where a cell is empty.
"""

import itertools
import json
import math
import re
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

import numpy as np

from parts.errors import UserError
from parts.forms import cells, conditions, units
from parts.forms.tables import encoding

DOUBT = 0.05  # probability that one of all bounds on the share of rows that break is wrong
CHANCE = 0.01  # expected number of relations that are found between independent columns
MAX_BROKEN = 0.02  # largest share of the training rows that may break a relation
MIN_SHUFFLED = 0.05  # smallest share of pairs of different rows that break an informative one
# Times as many rows as break an order must lie as near to equality on its right side: a tail that
# ends smoothly is no rule.
EDGE = 10
N_SAMPLED = 4000  # rows that choose candidates; all rows decide
N_SCREENED, MAX_SCREENED_BROKEN = 24, 2  # rows that every triple is tried on; how many may break it
MAX_MODE = 0.9  # largest share of one value in a column of a sum or product
MIN_VALUES = 10  # fewest different values in a column of a fixed linear map
MIN_ROWS = 30  # fewest rows that can show a relation
MAX_CANDIDATES, MAX_FOUND = 2000, 200  # most triples that are tried on the sample; most relations
N_KEYS = 1000  # most levels of a column that determines another
CLOSE = 0.5  # spread of a difference / spread of its columns, below which it is drawn instead
N_AT_A_TIME = 20_000  # rows whose differences are drawn at a time
N_NEAR, N_MEAN = 10, 50  # training rows near to a new one: to draw a difference, for its mean
N_SHOWN = 12  # most relations that are listed
N_REPAIRED, N_DONORS, N_TRIED = 500, 2000, 30  # rows mended at a time, by so many training rows
N_ROUNDS = 10  # times that rows which break a relation are drawn again


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
            where = f"= {' or '.join(self.levels)}" if self.levels else "is empty"
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


# Confidence


def bound_on_share(n, broken, doubt):
    """The largest share of rows that break a relation which `broken` of n rows break.

    Clopper & Pearson (1934): the share p at which so few have the probability `doubt`. For none it
    is 1 - doubt^(1/n), about 3/n where `doubt` is 0.05.
    """
    if n <= broken:
        return 1.0
    if not broken:
        return -math.expm1(math.log(doubt) / n)
    low, high = broken / n, 1.0
    for _ in range(60):
        p = (low + high) / 2
        low, high = (p, high) if log_binomial_cdf(broken, n, p) > math.log(doubt) else (low, p)
    return high


def log_binomial_cdf(k, n, p):
    """log P(at most k of n), each with probability p."""
    i = np.arange(k + 1)
    steps = np.log((n - i[1:] + 1) / i[1:]) if k else np.empty(0)
    terms = np.concatenate([[0.0], np.cumsum(steps)]) + i * math.log(p)
    terms += (n - i) * math.log1p(-p) if p < 1 else -np.inf
    top = terms.max()
    return float(top + np.log(np.exp(terms - top).sum())) if np.isfinite(top) else -math.inf


def is_rule(n, broken, shuffled, n_tested):
    """Whether so few of n rows break a relation that shuffled rows break with a share `shuffled`.

    Chernoff's bound on the probability of so few breaks among shuffled rows, times the number of
    relations that were tested, has to be below CHANCE. None skips this: a sample has fewer rows.
    """
    share = broken / max(n, 1)
    if n < MIN_ROWS or share > MAX_BROKEN or shuffled < max(MIN_SHUFFLED, EDGE * share):
        return False
    if n_tested is None:
        return True
    divergence = -(1 - share) * math.log(max(1 - shuffled, 1e-300) / (1 - share))
    divergence += share * math.log(share / shuffled) if share else 0.0
    return math.log(n_tested) - n * divergence < math.log(CHANCE)


# Values


def related(columns):
    """The columns that may occur in relations."""
    return [column for column in columns if column.kind != "ignore"]


def values_of(frame, columns):
    """Values [N, len(columns)] of the cells of a table."""
    found = np.full((len(frame), len(columns)), np.nan)
    for j, column in enumerate(columns):
        if column.name not in frame:
            continue
        series = frame[column.name]
        if column.levels and not column.style:
            found[:, j] = encoding.codes_of_levels(series, column)
        else:
            found[:, j] = cells.numbers(series, column.style)
        found[cells.missing(series), j] = np.nan
    return found


def level_values(column):
    """The value of each level of a column: its number, or its code."""
    import pandas as pd

    if not column.style:
        return np.arange(float(len(column.levels)))
    return cells.numbers(pd.Series(column.levels, dtype="str"), column.style)


def is_number(column):
    return not column.levels or bool(column.style)


def is_date(column):
    return "date" in column.style


def unit_of(column):
    """The step between two cells of a column as they are written, 0 for floats."""
    if form := column.style.get("date"):
        if column.whole or not ("%H" in form or "%I" in form):
            return 1.0 if "%d" in form else 31.0
        steps = (("%f", 1e-6), ("%S", 1.0), ("%M", 60.0))
        return next((step for mark, step in steps if mark in form), 3600.0) / 86_400
    decimals = 0 if column.whole else column.style.get("decimals")
    return 0.0 if decimals is None else 10.0**-decimals


def rounded(values, column):
    """Numbers [N] in the steps of their column, as they are read again after they were written."""
    step = unit_of(column)
    if column.levels or not step or step > 1:
        return values
    if is_date(column):
        return np.round(values / step) * step
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


# Find


def find(frame, columns, asked=None):
    """The Relations between the columns of a table's training rows.

    `asked` is the text of --relations, "off" or JSON of relations to add and to strike.
    """
    if asked == "off":
        return []
    wanted = json.loads(asked) if asked else {}
    columns = related(columns)
    struck = [parsed(text, columns) for text in wanted.get("strike", []) if text != "all"]
    with np.errstate(all="ignore"):  # cells of 1e300 overflow, and then no relation holds
        found = [] if "all" in wanted.get("strike", []) else Search(frame, columns).found()
    kept = [r for r in found if not any(is_same(r, other) for other in struck)]
    for text in wanted.get("add", []):
        relation = added(text, frame, columns)
        if not any(is_same(relation, other) for other in kept):
            kept.append(relation)
    return kept


class Search:
    """The relations of a table: a sample of its rows chooses candidates, and all rows decide."""

    def __init__(self, frame, columns):
        from parts.forms.base import random_rows

        self.frame, self.columns = frame, columns
        self.names = [column.name for column in columns]
        self.rows = np.sort(random_rows(len(frame), N_SAMPLED))
        self.x = values_of(frame.iloc[self.rows], columns)  # [m, D]
        self.known = ~np.isnan(self.x)
        self.n_values = np.array([len(np.unique(v[~np.isnan(v)])) for v in self.x.T])
        self.number = np.array([is_number(column) for column in columns], bool)
        self.date = np.array([is_date(column) for column in columns], bool)
        self.n_tested = max(1, self.count_tests())

    def count_tests(self):
        """The number of relations that are tried, for the control of chance."""
        d, n = len(self.columns), int(self.number.sum())
        pairs = d * (d - 1)
        triples = n * (n - 1) * (n - 2) // 2
        return 4 * pairs + 2 * triples  # order, linear, function, empty; sum, product

    def found(self):
        if len(self.x) < MIN_ROWS or len(self.columns) < 2:
            return []
        candidates = [*self.linear(), *self.triples(), *self.orders(), *self.functions()]
        candidates += self.empties()
        found, extremes = self.decided(candidates)
        return pruned(found, extremes)[:MAX_FOUND]

    def decided(self, candidates):
        """The candidates that hold in all rows, and the (low, high) of their columns."""
        columns, values = self.columns, self.x
        if len(self.x) < len(self.frame):
            candidates = self.tried(candidates, columns, values, None)
            names = {name for relation in candidates for name in relation.columns}
            columns = [column for column in columns if column.name in names]
            values = values_of(self.frame, columns)
        kept = self.tried(candidates, columns, values, self.n_tested)
        extremes = {
            column.name: (np.nanmin(v), np.nanmax(v))
            for column, v in zip(columns, values.T, strict=True)
            if not np.isnan(v).all()
        }
        return kept, extremes

    def tried(self, candidates, columns, values, n_tested):
        """The candidates that are rules in these rows [n, len(columns)], with their numbers."""
        at = {column.name: j for j, column in enumerate(columns)}
        kept = []
        for relation in candidates:
            places = [at[name] for name in relation.columns]
            made = measured(relation, [columns[j] for j in places], values[:, places], n_tested)
            if made is not None:
                kept.append(made)
        return kept

    def orders(self):
        """Candidates for a <= b."""
        found = []
        usable = np.flatnonzero(self.number & (self.n_values >= 3))
        x = self.x[:, usable]
        for a, j in enumerate(usable):
            with np.errstate(invalid="ignore"):
                over = x[:, [a]] > x  # False where a cell is empty
            n = (self.known[:, [j]] & self.known[:, usable]).sum(0)
            good = (n >= MIN_ROWS) & (over.sum(0) <= 2 * MAX_BROKEN * n)
            good &= self.date[usable] == self.date[j]
            good[a] = False
            found += [
                Relation("order", [self.names[usable[b]], self.names[j]])
                for b in np.flatnonzero(good)
            ]
        return found

    def triples(self):
        """Candidates for a = b + c and a = b * c."""
        mode = np.array([mode_share(v) for v in self.x.T])
        usable = np.flatnonzero(self.number & (self.n_values >= 3) & (mode <= MAX_MODE))
        if len(usable) < 3:
            return []
        full = np.argsort(-self.known[:, usable].sum(1), kind="stable")
        few = full[: max(N_SCREENED, len(full) // 2)]
        few = few[np.linspace(0, len(few) - 1, min(N_SCREENED, len(few))).astype(int)]
        x = self.x[np.ix_(few, usable)].astype(np.float64)  # [few, D]
        date, found = self.date[usable], []
        steps = np.array([unit_of(self.columns[j]) for j in usable])
        whole = np.array([self.columns[j].whole for j in usable])
        half = np.where(whole, 0.0, 0.5000001 * steps)
        slack = np.where(steps.min() == 0, 1e-6, 1e-9)
        upper = np.triu(np.ones((len(usable), len(usable)), bool), 1)
        for kind in ("sum", "product"):
            if kind == "sum":
                result = x[:, :, None] + x[:, None, :]
                allowed = half[:, None] + half[None, :] + slack * np.abs(result)
            else:
                result = x[:, :, None] * x[:, None, :]
                size = np.abs(x)
                allowed = size[:, None, :] * half[:, None] + size[:, :, None] * half[None, :]
                allowed = allowed + slack * np.abs(result)
            seen = ~np.isnan(result)
            for a in range(len(usable)):
                fits = date[a] == (date[:, None] ^ date[None, :]) if kind == "sum" else None
                fits = (
                    ~(date[:, None] & date[None, :]) & fits
                    if kind == "sum"
                    else (~(date[:, None] | date[None, :]) & ~date[a])
                )
                fits = fits & upper
                fits[a], fits[:, a] = False, False
                with np.errstate(invalid="ignore"):
                    off = np.abs(x[:, a, None, None] - result)
                    wrong = (
                        off > allowed + 0.5000001 * steps[a] + slack * np.abs(x[:, [a]])[:, None]
                    )
                n = (seen & ~np.isnan(x[:, a])[:, None, None]).sum(0)
                good = fits & (wrong.sum(0) <= MAX_SCREENED_BROKEN) & (n >= len(x) // 3)
                for b, c in zip(*np.nonzero(good), strict=True):
                    names = [self.names[usable[j]] for j in (a, b, c)]
                    found.append(Relation(kind, names))
        return self.on_sample(found[: 10 * MAX_CANDIDATES])[:MAX_CANDIDATES]

    def on_sample(self, candidates):
        """The candidates that few enough rows of the sample break."""
        kept = []
        for relation in candidates:
            places = [self.names.index(name) for name in relation.columns]
            columns = [self.columns[j] for j in places]
            loose = Relation(relation.kind, relation.columns, loose=True)
            values = self.x[:, places]
            n = int((~np.isnan(values)).all(1).sum())
            if breaks(loose, columns, values).sum() <= 2 * MAX_BROKEN * n:
                kept.append(relation)
        return kept

    def linear(self):
        """Candidates for a = slope * b + offset, by the median slope of pairs of rows."""
        usable = np.flatnonzero(self.number & (self.n_values >= MIN_VALUES))
        rng, found = np.random.default_rng(0), []
        if len(usable) < 2 or len(self.x) < MIN_ROWS:
            return []
        one, two = rng.integers(len(self.x), size=(2, 400))
        step = self.x[one] - self.x[two]  # [400, D]
        for b, a in itertools.permutations(usable, 2):  # of equal maps the first is taken
            if self.date[a] != self.date[b]:
                continue
            pairs = [self.columns[a], self.columns[b]]
            seen = ~np.isnan(step[:, a]) & ~np.isnan(step[:, b]) & (step[:, b] != 0)
            if seen.sum() < MIN_ROWS:
                continue
            dx, dy = step[seen, b], step[seen, a]
            slope = np.median(dy / dx)
            if slope == 0 or self.date[a] and abs(slope - 1) > 1e-6:
                continue
            # Rounding leaves the slopes of far rows within this distance of each other.
            far = np.abs(dx) >= np.median(np.abs(dx))
            blur = unit_of(pairs[0]) + abs(slope) * unit_of(pairs[1])
            blur = blur + 1e-5 * np.abs(dy[far])
            if np.median(np.abs(dy[far] - slope * dx[far]) / np.maximum(blur, 1e-300)) > 1:
                continue
            fitted = fitted_line(pairs, self.x[:, [a, b]], slope)
            if fitted is not None:
                names = [self.names[a], self.names[b]]
                found.append(Relation("linear", names, slope=fitted[0], offset=fitted[1]))
        return found

    def functions(self):
        """Candidates for a -> b."""
        codes = [np.unique(v, return_inverse=True)[1] for v in self.x.T]
        found, m = [], len(self.x)
        for a, column in enumerate(self.columns):
            if not column.levels or not 2 <= self.n_values[a] <= N_KEYS:
                continue
            for b in range(len(self.columns)):
                size = self.n_values[b]
                if b == a or not 2 <= size <= self.n_values[a] + MAX_BROKEN * m:
                    continue
                seen = self.known[:, a] & self.known[:, b]
                key, code = codes[a][seen], codes[b][seen]
                pairs, counts = np.unique(key * (size + 1) + code, return_counts=True)
                most = np.zeros(int(key.max(initial=0)) + 1, int)
                np.maximum.at(most, pairs // (size + 1), counts)
                if seen.sum() - most.sum() <= 2 * MAX_BROKEN * seen.sum():
                    found.append(Relation("function", [self.names[b], self.names[a]]))
        return found

    def empties(self):
        """Candidates for "b is empty where a = level", and for "b is empty where a is empty"."""
        holes, found = ~self.known, []
        share = holes.mean(0)
        for b in np.flatnonzero((share > 0.002) & (share <= 1 - MIN_SHUFFLED)):
            for a, column in enumerate(self.columns):
                if a == b:
                    continue
                names = [self.names[b], self.names[a]]
                both = holes[:, a] & holes[:, b]
                if both.sum() and both.sum() >= (1 - 2 * MAX_BROKEN) * holes[:, a].sum():
                    found.append(Relation("empty", names))
                if not column.levels:
                    continue
                wanted = []
                for level, value in zip(column.levels, level_values(column), strict=True):
                    rows = self.x[:, a] == value
                    if rows.sum() and holes[rows, b].mean() >= 1 - 2 * MAX_BROKEN:
                        wanted.append(level)
                if wanted and len(wanted) < len(column.levels):
                    found.append(Relation("empty", names, levels=wanted))
        return found


def mode_share(values):
    """The share of the most frequent value."""
    values = values[~np.isnan(values)]
    return np.unique(values, return_counts=True)[1].max() / len(values) if len(values) else 1.0


def fitted_line(columns, values, slope):
    """Slope and offset of a = slope * b + offset with as few digits as the rows allow, or None."""
    a, b = values[~np.isnan(values).any(1)].T
    within = tolerances(columns, loose=True)
    offset = np.median(a - slope * b)
    for _ in range(3):  # least squares of the rows that are near to the line
        off = residual("linear", (a, b), within, slope, offset)
        width = np.maximum(3 * np.median(np.maximum(off, 0)), 2 * within[0][0])
        near = off <= width
        if near.sum() < MIN_ROWS or np.ptp(b[near]) == 0:
            return None
        centre = b[near].mean()
        slope = np.dot(b[near] - centre, a[near]) / np.square(b[near] - centre).sum()
        offset = a[near].mean() - slope * centre
    best = None
    for digits in range(1, 11):
        short = float(f"{slope:.{digits}g}")
        rest = np.median(a - short * b)
        for places in range(0, 9):
            found = short, round(float(rest), places) + 0.0
            broken = (residual("linear", (a, b), within, *found) > 0).mean()
            if broken <= 2 * MAX_BROKEN and (best is None or broken < best[0]):
                best = broken, found
                if broken == 0:
                    return found
        if best is not None and digits >= 4:
            break
    return best and best[1]


def measured(relation, columns, values, n_tested):
    """The relation with its numbers in these rows, or None if it is no rule there."""
    made = {
        "order": measured_order,
        "sum": measured_equation,
        "product": measured_equation,
        "linear": measured_equation,
        "function": measured_function,
        "empty": measured_empty,
    }[relation.kind](relation, columns, values, n_tested)
    return made


def decided(relation, n, broken, shuffled, n_tested, chance=None):
    """The relation with its bound, or None if chance could make it."""
    if not is_rule(n, broken, shuffled, n_tested):
        return None
    bound = bound_on_share(n, broken, DOUBT / (n_tested or 1))
    chance = 1 - shuffled if chance is None else chance
    return replaced(relation, n=n, broken=broken, bound=bound, chance=float(chance))


def replaced(relation, **changes):
    return Relation(**(relation.to_dict() | changes))


def share_above(a, b):
    """The share of pairs (a_i, b_j) with a_i > b_j."""
    return float(np.searchsorted(np.sort(b), a, side="left").mean() / len(b))


def share_within(a, low, high):
    """The share of pairs with low_i <= a_j <= high_i."""
    a = np.sort(a)
    counts = np.searchsorted(a, high, side="right") - np.searchsorted(a, low, side="left")
    return float(counts.mean() / len(a))


def measured_order(relation, columns, values, n_tested):
    b, a = values[~np.isnan(values).any(1)].T
    if len(a) < MIN_ROWS:
        return None
    difference = b - a
    broken = int((difference < 0).sum())
    if broken:
        near = np.median(-difference[difference < 0])
        if ((difference >= 0) & (difference <= near)).sum() < EDGE * broken:
            return None
    strict = not (difference <= 0).any()
    spread = min(spread_of(a), spread_of(b))
    close = bool(spread_of(difference) < CLOSE * spread)
    relation = replaced(relation, strict=strict, close=close)
    return decided(relation, len(a), broken, share_above(a, b), n_tested)


def spread_of(values):
    """Half the width of the middle 68 %."""
    low, high = np.quantile(values, (0.16, 0.84))
    return (high - low) / 2


def measured_equation(relation, columns, values, n_tested):
    rows = values[~np.isnan(values).any(1)].T
    n = rows.shape[1]
    if n < MIN_ROWS:
        return None
    for loose in (False, True):
        relation = replaced(relation, loose=loose)
        within = tolerances(columns, loose)
        broken = residual(relation.kind, rows, within, relation.slope, relation.offset) > 0
        if broken.mean() <= MAX_BROKEN:
            break
    else:
        return None
    if loose is False and broken.any():  # rounding of operands may explain these rows
        wide = tolerances(columns, True)
        rest = residual(relation.kind, rows, wide, relation.slope, relation.offset) > 0
        if rest.sum() < 0.5 * broken.sum():
            relation, broken, within = replaced(relation, loose=True), rest, wide
    kept = shuffled_matches(relation, rows, within)
    return decided(relation, n, int(broken.sum()), 1 - max(kept), n_tested, kept[0])


def shuffled_matches(relation, rows, within):
    """The share of rows that keep an equation where one column is shuffled, for each column."""
    a, b, *c = rows
    halves, slack = within
    some = slice(0, 20_000)
    if relation.kind == "linear":
        found, size = relation.slope * b + relation.offset, abs(relation.slope) * halves[1]
    elif relation.kind == "sum":
        found, size = b + c[0], halves[1] + halves[2]
    else:
        found, size = b * c[0], np.abs(c[0]) * halves[1] + np.abs(b) * halves[2]
    allowed = np.broadcast_to(halves[0] + size + slack * np.abs(found), found.shape)
    shares = [share_within(a, (found - allowed)[some], (found + allowed)[some])]
    if relation.kind == "sum":
        for one, other in ((b, c[0]), (c[0], b)):
            middle = a - other
            shares.append(share_within(one, (middle - allowed)[some], (middle + allowed)[some]))
    if relation.kind == "product":
        for one, other in ((b, c[0]), (c[0], b)):
            with np.errstate(divide="ignore", invalid="ignore"):
                ends = np.stack([(a - allowed) / other, (a + allowed) / other])
            ends = np.where(other == 0, [[-np.inf], [np.inf]], np.sort(ends, axis=0))
            shares.append(share_within(one, ends[0][some], ends[1][some]))
    return shares


def measured_function(relation, columns, values, n_tested):
    b, a = values[~np.isnan(values).any(1)].T
    if len(a) < MIN_ROWS:
        return None
    keys, key = np.unique(a, return_inverse=True)
    results, code = np.unique(b, return_inverse=True)
    pairs, counts = np.unique(key * len(results) + code, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    first = np.unique(pairs[order] // len(results), return_index=True)[1]
    best = order[first]  # the most frequent result of each key
    repeats = len(a) - len(keys)  # a key that stands once shows nothing
    broken = int(len(a) - counts[best].sum())
    mode = np.bincount(code).max() / len(a)
    made = decided(relation, repeats, broken, 1 - mode, n_tested)
    if made is None:
        return None
    seen = np.bincount(key)
    table = [
        [float(keys[k]), float(results[pairs[i] % len(results)])]
        for k, i in enumerate(best)
        if seen[k] > 1
    ]
    return replaced(made, table=table)


def measured_empty(relation, columns, values, n_tested):
    empty, known = np.isnan(values[:, 0]), ~np.isnan(values[:, 1])
    share = float(empty.mean())
    if not relation.levels:
        where, elsewhere = ~known, known
        levels = []
    else:
        wanted, levels = codes_of_cells(relation.levels, columns[1]), []
        for level, value in zip(relation.levels, wanted, strict=True):
            rows = values[:, 1] == value
            if is_rule(int(rows.sum()), int((rows & ~empty).sum()), 1 - share, n_tested):
                levels.append(level)
        if not levels:
            return None
        where = np.isin(values[:, 1], codes_of_cells(levels, columns[1]))
        elsewhere = known & ~where
    n, broken = int(where.sum()), int((where & ~empty).sum())
    if not is_rule(n, broken, 1 - share, n_tested):
        return None
    others = int((elsewhere & empty).sum())
    only = is_rule(int(elsewhere.sum()), others, share, n_tested)
    if only:
        n, broken = n + int(elsewhere.sum()), broken + others
    bound = bound_on_share(n, broken, DOUBT / (n_tested or 1))
    numbers = {"n": n, "broken": broken, "bound": bound, "chance": share}
    return replaced(relation, levels=levels, only=only, **numbers)


# Leave out what follows from other relations


def pruned(found, extremes):
    """The relations that do not follow from others; `extremes` are (low, high) of each column."""
    by_kind = {kind: [r for r in found if r.kind == kind] for kind in KINDS}
    linear = spanning(by_kind["linear"])
    of_line = groups_of([relation.columns for relation in linear])
    copies = {r.columns[0] for r in linear if (r.slope, r.offset) == (1.0, 0.0)}

    def is_linked(one, other):
        return one in of_line and of_line[one] == of_line.get(other)

    def without_copies(relations):
        return [r for r in relations if not copies & set(r.columns)]

    triples = [
        relation
        for relation in without_copies([*by_kind["sum"], *by_kind["product"]])
        if not all(is_linked(relation.columns[0], other) for other in relation.columns[1:])
    ]
    implied = {pair for relation in triples for pair in orders_in(relation, extremes)}
    orders = [
        relation
        for relation in without_copies(by_kind["order"])
        if not is_linked(*relation.columns) and tuple(relation.columns) not in implied
    ]
    functions = [r for r in without_copies(by_kind["function"]) if not is_linked(*r.columns)]
    orders = reduced(orders, implied)
    return [*linear, *triples, *orders, *reduced_functions(functions), *reduced_empties(by_kind)]


def spanning(linear):
    """The simplest linear maps that connect the same columns."""

    def cost(relation):
        return relation.broken, relation.loose, len(relation.expression)

    kept, group = [], {}
    for relation in sorted(linear, key=cost):
        one, other = (group.get(name, {name}) for name in relation.columns)
        if other is one or relation.columns[0] in other:
            continue
        kept.append(relation)
        joined = one | other
        group |= dict.fromkeys(joined, joined)
    return kept


def groups_of(pairs):
    """The number of the connected group of each name that occurs in pairs."""
    group = {}
    for one, other in pairs:
        joined = group.get(one, {one}) | group.get(other, {other})
        group |= dict.fromkeys(joined, joined)
    return {name: min(names) for name, names in group.items()}


def orders_in(relation, extremes):
    """Pairs (upper, lower) of columns whose order follows from a sum or product."""
    result, *operands = relation.columns
    for one, other in (operands, operands[::-1]):
        least = extremes[other][0]
        if relation.kind == "sum" and least >= 0:
            yield result, one
        if relation.kind == "product" and least >= 1 and extremes[one][0] >= 0:
            yield result, one


def reduced(orders, implied=()):
    """Orders without those that follow from two others; `implied` pairs hold already."""
    pairs = {tuple(relation.columns) for relation in orders} | set(implied)
    above = {}
    for upper, lower in pairs:
        if (lower, upper) not in pairs:
            above.setdefault(lower, set()).add(upper)

    def reaches(start, end, skipped):
        seen, left = set(), [start]
        while left:
            name = left.pop()
            for upper in above.get(name, ()):
                if (name, upper) == skipped or upper in seen:
                    continue
                if upper == end:
                    return True
                seen.add(upper)
                left.append(upper)
        return False

    kept = []
    for relation in orders:
        upper, lower = relation.columns
        if (lower, upper) in pairs or reaches(lower, upper, (lower, upper)):
            continue
        kept.append(relation)
    return kept


def reduced_functions(functions):
    """Functions of the first of equivalent columns, without those that follow from two others."""
    pairs = {tuple(relation.columns) for relation in functions}  # (result, key)
    first = groups_of([pair for pair in pairs if pair[::-1] in pairs])
    kept = [
        relation
        for relation in functions
        if first.get(relation.columns[1], relation.columns[1])
        in (relation.columns[1], first.get(relation.columns[0]))
    ]
    left = {tuple(relation.columns) for relation in kept}
    names = {name for pair in left for name in pair}

    def follows(result, key):
        between = (n for n in names - {result, key} if (key, n) not in left)
        return any((n, key) in left and (result, n) in left for n in between)

    return [relation for relation in kept if not follows(*relation.columns)]


def reduced_empties(by_kind):
    """Empty cells: columns with the same holes are compared with the first of them only."""
    levels = [r for r in by_kind["empty"] if r.levels]
    same = {}
    for relation in levels:
        same[relation.columns[0]] = (*relation.columns[1:], *relation.levels, relation.only)
    others = [r for r in by_kind["empty"] if not r.levels]
    exact = {tuple(r.columns) for r in others if r.only}
    first = groups_of(exact)
    kept = []
    for relation in others:
        b, a = relation.columns
        if b in same and same[b] == same.get(a):
            continue
        if a == first.get(a, a) and b != first.get(b) or relation.only and a == first[a]:
            kept.append(relation)
    return [*levels, *kept]


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


def added(text, frame, columns):
    """The Relation that a user states, with its numbers in the training rows."""
    relation = parsed(text, columns)
    by_name = {column.name: column for column in columns}
    own = [by_name[name] for name in relation.columns]
    if relation.kind in ("order", "sum", "product", "linear"):
        for column in own:
            if not is_number(column):
                raise UserError(
                    f"--relations: {text!r}: column {column.name!r} is {column.kind}, expected "
                    "numbers or dates"
                )
    values = values_of(frame, own)
    if relation.kind == "function":
        relation = replaced(relation, table=table_of(values))
    if relation.kind == "empty" and np.isnan(codes_of_cells(relation.levels, own[1])).any():
        raise UserError(f"--relations: {text!r}: {own[1].name!r} has no such cell")
    equations = relation.kind in ("sum", "product", "linear")
    for loose in (False, True) if equations else (False,):
        relation = replaced(relation, loose=loose)
        wrong = breaks(relation, own, values)
        if wrong.mean() <= MAX_BROKEN:
            break
    seen = ~np.isnan(values)
    n = len(values) if relation.kind == "empty" else int(seen.all(1).sum())
    broken = int(wrong.sum())
    if broken > MAX_BROKEN * max(n, 1):
        raise UserError(
            f"--relations: {text!r} is broken by {broken} of {n} training rows, expected at most "
            f"{MAX_BROKEN:.0%}"
        )
    if relation.kind == "order":
        b, a = values[seen.all(1)].T
        chance = 1 - share_above(a, b) if len(a) else 0.5
        close = len(a) > 1 and spread_of(b - a) < CLOSE * min(spread_of(a), spread_of(b))
        relation = replaced(relation, close=bool(close))
    else:
        chance = 0.5
    bound = bound_on_share(n, broken, DOUBT)
    return replaced(relation, n=n, broken=broken, bound=bound, chance=chance)


def table_of(values):
    """The most frequent result of each key, from values [N, 2] of results and keys."""
    pairs = Counter(map(tuple, values[~np.isnan(values).any(1)].tolist()))
    best = {}
    for (result, key), n in sorted(pairs.items()):
        if n > best.get(key, (0, 0))[0]:
            best[key] = (n, result)
    return [[key, result] for key, (_, result) in sorted(best.items())]


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
            f"(each broken by at most {bound:.2g} of new rows, with 95 % confidence in all)"
        )
    if mostly:
        texts = [f"{r.text} ({100 * (1 - r.broken / r.n):.4g} %)" for r in mostly]
        lines.append(f"Nearly always true: {listed(texts)}")
    return lines


def listed(texts):
    more = f"; and {len(texts) - N_SHOWN} more" if len(texts) > N_SHOWN else ""
    return "; ".join(texts[:N_SHOWN]) + more


KINDS = ("order", "sum", "product", "linear", "function", "empty")


# Keep


class Rules:
    """The relations of a run and their columns; see the module for values [N, R].

    The columns are those in a relation, or all of a table in which differences are to be drawn:
    `in_relation` [R] tells which of them may change.
    """

    def __init__(self, columns, relations):
        names = {name for relation in relations for name in relation.columns}
        drawn = any(relation.close for relation in relations)
        self.columns = [c for c in related(columns) if drawn or c.name in names]
        self.in_relation = np.array([column.name in names for column in self.columns])
        self.names = [column.name for column in self.columns]
        self.relations = list(relations)
        self.places = [[self.names.index(name) for name in r.columns] for r in self.relations]
        linked = groups_of([(r.columns[0], c) for r in self.relations for c in r.columns])
        groups = {}
        for i, relation in enumerate(self.relations):
            groups.setdefault(linked[relation.columns[0]], []).append(i)
        self.groups = list(groups.values())
        self.levels = [level_values(c) if c.levels else None for c in self.columns]
        self.steps = [math.inf if c.levels else unit_of(c) for c in self.columns]
        self.nats = np.array([relation.nats for relation in self.relations])

    def values(self, frame):
        """Values [N, R] of the cells of a table."""
        return values_of(frame, self.columns)

    def of_units(self, values, names):
        """Values [N, R] of rows in the user's units and codes, whose columns have these names."""
        found = np.full((len(values), len(self.columns)), np.nan)
        for j, (column, levels) in enumerate(zip(self.columns, self.levels, strict=True)):
            if column.name not in names:
                continue
            own = np.asarray(values[:, names.index(column.name)], np.float64)
            if levels is not None:
                code = np.clip(np.nan_to_num(np.round(own)), 0, len(levels) - 1).astype(int)
                found[:, j] = np.where(np.isnan(own), np.nan, levels[code])
            else:
                found[:, j] = rounded(own, column)
        return found

    def of_rows(self, x, mask, y, codec):
        """Values [N, R] of rows in model units, NaN where a cell or a condition is unknown."""
        columns = [*codec.modelled, *codec.conditions]
        x, mask = conditions.with_conditions_as_columns(x, mask, y, codec.conditions)
        user = np.where(mask > 0, units.to_user(x, columns), np.nan)
        return self.of_units(user, [column.name for column in columns])

    def fill(self, rows, known, names, train, rng=None):
        """Fill rows [n, D] in the user's units and codes so that they obey the relations.

        `names` are those of the D columns. `known` are values [n, R], NaN where a cell is missing.
        """
        seen = ~np.isnan(known)
        values = np.where(seen, known, self.of_units(rows, names))
        values = self.settle(values, seen, train, rng)
        rows = rows.copy()
        for j, name in enumerate(self.names):
            if name in names and self.in_relation[j]:
                at, hole = names.index(name), ~seen[:, j] & ~np.isnan(values[:, j])
                rows[hole, at] = self.to_units(values[hole, j], j)
        return rows

    def empty_cells(self, rows, known, names):
        """True where a cell has to stay empty, [n, D]; arguments as in `fill`."""
        values = np.where(np.isnan(known), self.of_units(rows, names), known)
        empty = self.empty(values)
        found = np.zeros(rows.shape, bool)
        for j, name in enumerate(self.names):
            if name in names:
                found[:, names.index(name)] = empty[:, j] & np.isnan(known[:, j])
        return found

    def to_units(self, values, j):
        """User units or codes of the values [N] of column j."""
        levels = self.levels[j]
        if levels is None:
            return values
        distance = np.abs(values[:, None] - levels)
        return np.where(np.isnan(values), np.nan, np.argmin(distance, 1).astype(float))

    def broken(self, values):
        """True where a row breaks a relation, [N, number of relations]."""
        found = np.zeros((len(values), len(self.relations)), bool)
        with np.errstate(all="ignore"):
            for i, (relation, places) in enumerate(zip(self.relations, self.places, strict=True)):
                own = [self.columns[j] for j in places]
                found[:, i] = breaks(relation, own, values[:, places])
        return found

    def implied(self, values, names):
        """True where an equation or function gives a cell from others of its row, [N, len(names)].

        A cell that is not what others give counts as given by none.
        """
        found = np.zeros((len(values), len(names)), bool)
        wrong, seen = self.broken(values), ~np.isnan(values)
        done = ~self.in_relation
        while not done.all():
            way, i, j = self.next_step(done)
            done[j] = True
            if way in ("solve", "map") and self.names[j] in names:
                found[:, names.index(self.names[j])] = seen[:, self.places[i]].all(1) & ~wrong[:, i]
        return found

    def words(self, broken):
        """The relations that each row breaks in words, from `broken` [N, number]."""
        by_name = dict(zip(self.names, self.columns, strict=True))
        texts = [relation.why(is_date(by_name[relation.columns[0]])) for relation in self.relations]
        return ["; ".join(itertools.compress(texts, row)) for row in broken]

    def empty(self, values):
        """True where a cell has to be empty because of the level of another one, [N, R]."""
        found = np.zeros(values.shape, bool)
        for relation, (b, *a) in zip(self.relations, self.places, strict=True):
            if relation.kind == "empty" and relation.levels:
                wanted = codes_of_cells(relation.levels, self.columns[a[0]])
                found[:, b] |= np.isin(values[:, a[0]], wanted)
        return found

    def present(self, values):
        """True where no cell may be empty, because others are so exactly there, [N, R]."""
        found = np.zeros(values.shape, bool)
        for relation, (b, *a) in zip(self.relations, self.places, strict=True):
            if relation.kind == "empty" and relation.levels and relation.only:
                wanted = codes_of_cells(relation.levels, self.columns[a[0]])
                found[:, b] |= ~np.isin(values[:, a[0]], wanted)
        return found

    def broken_when_emptied(self, values, fixed):
        """`broken` of rows after the cells that have to be empty and are not `fixed` [R] are."""
        return self.broken(np.where(self.empty(values) & ~fixed, np.nan, values))

    def follower(self, i, train):
        """The Follower of the order numbered i, fitted to training values [n, R]."""
        made = vars(self).setdefault("followers", {})
        if i not in made:
            upper, lower = self.places[i]
            made[i] = Follower(train, self.columns, upper, lower)
        return made[i]

    def settle(self, values, known, train, rng=None):
        """Values [N, R] changed where they are not `known`, so that they obey the relations.

        Columns are settled one after another: one that an equation or a function gives is
        computed, the upper of two close columns is the lower one plus a difference of training
        rows, and the others stay as they are. `train` are values of training rows. `rng` draws
        differences; without it they are means.
        """
        values = values.copy()
        known = known | ~self.in_relation
        patterns, group = np.unique(known, axis=0, return_inverse=True)
        for number, fixed in enumerate(patterns):
            if fixed.all():
                continue
            rows = np.flatnonzero(group.ravel() == number)
            values[rows] = self.settled(values[rows], fixed, train, rng)
        return values

    def settled(self, values, fixed, train, rng):
        """`settle` for rows that have the same cells `fixed` [R]."""
        steps, done = [], fixed.copy()
        spread = [np.std(v[~np.isnan(v)]) if (~np.isnan(v)).any() else 0.0 for v in train.T]
        while not done.all():
            step = self.next_step(done, spread)
            steps.append(step)
            done[step[2]] = True
        values = self.stepped(steps, values, fixed, train, rng)
        stay = {j for way, _, j in steps if way == "stay"}
        for group in self.groups:  # of relations that share columns
            free = sorted(stay & {j for i in group for j in self.places[i]})
            left = np.flatnonzero(self.broken_when_emptied(values, fixed)[:, group].any(1))
            for start in range(0, len(left) if free else 0, N_REPAIRED):
                rows = left[start : start + N_REPAIRED]
                todo = np.arange(len(rows))
                for donors in self.donors(values[rows], free, train):
                    other = values[rows[todo]]
                    other[:, free] = donors[todo]
                    other = self.stepped(steps, other, fixed, train, rng)
                    kept = ~self.broken_when_emptied(other, fixed)[:, group].any(1)
                    values[rows[todo[kept]]] = other[kept]
                    todo = todo[~kept]
                    if not len(todo):
                        break
        return values

    def stepped(self, steps, values, fixed, train, rng):
        """Values [n, R] after the steps, in the order of which each column is settled."""
        for step in steps:
            self.apply(step, values, train, rng)
        self.sharpen(steps, values)
        self.refute_levels(values, fixed)
        given = {step[2] for step in steps if step[0] in ("solve", "map")}
        for _ in range(2):
            if not self.mend_orders(values, fixed, given, train, rng):
                break
            for step in steps:
                if step[0] in ("solve", "map"):
                    self.apply(step, values, train, rng)
        return values

    def donors(self, values, free, train):
        """Yield cells [n, len(free)] of training rows near to the rows, the nearest first."""
        pool = train[~np.isnan(train[:, free]).any(1)][:N_DONORS][:, free] if free else []
        pool = np.unique(pool, axis=0) if len(pool) else pool
        if not len(pool):
            return
        distance = np.zeros((len(values), len(pool)))
        for k, j in enumerate(free):
            apart = np.abs(values[:, [j]] - pool[:, k])
            if is_number(self.columns[j]):
                distance += np.nan_to_num(apart) / max(np.ptp(pool[:, k]), 1e-300)
            else:
                distance += apart != 0
        nearest = np.argsort(distance, 1, kind="stable")[:, :N_TRIED]
        yield from (pool[at] for at in nearest.T)

    def next_step(self, done, spread=None):
        """How the next column is settled: (way, number of the relation, column).

        `spread` [R] are standard deviations of the columns.
        """
        waiting, results, followed, blurred = set(), Counter(), None, None
        for i, (relation, places) in enumerate(zip(self.relations, self.places, strict=True)):
            left = [j for j in places if not done[j]]
            if not left:
                continue
            if relation.kind in ("sum", "product", "linear"):
                if len(left) == 1 and not self.is_blurred(i, left[0]):
                    return "solve", i, left[0]
                if len(left) == 1:
                    blurred = blurred or ("solve", i, left[0])
                    continue
                waiting.add(places[0])
                results[places[0]] += 100
            elif relation.kind == "function":
                if len(left) == 1:
                    return ("map" if left[0] == places[0] else "key"), i, left[0]
                results[places[0]] += 10
            elif relation.kind == "order" and relation.close:
                if len(left) == 1 and followed is None:
                    followed = ("follow", i, left[0])
                results[places[0]] += 1
        if blurred is not None:
            return blurred
        if followed is not None and followed[2] not in waiting:
            return followed
        # A coarse column stays, because a fine one can be what an equation gives for it, and then
        # one of small spread, which as a difference of two others would have their errors.
        spread = np.zeros(len(done)) if spread is None else spread
        left = np.flatnonzero(~done)
        first = min(left, key=lambda j: (results[j], -self.steps[j], spread[j]))
        return "stay", None, int(first)

    def is_blurred(self, i, j):
        """Whether a linear map gives its operand j less exactly than j is written."""
        relation, column = self.relations[i], self.columns[j]
        if relation.kind != "linear" or j == self.places[i][0] or column.levels:
            return False
        result = self.columns[self.places[i][0]]
        return unit_of(result) > 1.000001 * abs(relation.slope) * unit_of(column)

    def sharpen(self, steps, values):
        """Compute columns again that a linear map gave too coarsely, where less is broken then."""
        for _, i, j in [s for s in steps if s[0] == "solve" and self.is_blurred(*s[1:])]:
            before = self.broken(values).sum(1)
            for k, places in enumerate(self.places):
                relation = self.relations[k]
                if relation.kind in ("sum", "product") and j in places and k != i:
                    other = values.copy()
                    self.apply(("solve", k, j), other, None, None)
                    better = self.broken(other).sum(1) < before
                    values[better] = other[better]

    def apply(self, step, values, train, rng):
        """Settle one column of values [n, R] in place."""
        way, i, j = step
        if way == "stay":
            return
        relation, places = self.relations[i], self.places[i]
        if way == "follow":
            upper, lower = places
            self.follow(i, values, np.arange(len(values)), j == upper, train, rng)
            return
        if way == "map":
            found = mapped(relation.table, values[:, places[1]])
        elif way == "key":
            found = self.keys_for(relation, values, places)
        else:
            found = self.solved(relation, places, j, values)
        found = self.possible(found, j)
        values[:, j] = np.where(np.isnan(found), values[:, j], found)

    def solved(self, relation, places, j, values):
        """The value of column j that an equation gives, [n]."""
        parts = dict(zip(places, values[:, places].T, strict=True))
        result, *operands = places
        with np.errstate(all="ignore"):
            if relation.kind == "linear":
                if j == result:
                    return relation.slope * parts[operands[0]] + relation.offset
                return (parts[result] - relation.offset) / relation.slope
            if j == result:
                one, two = (parts[k] for k in operands)
                return one + two if relation.kind == "sum" else one * two
            other = parts[next(k for k in operands if k != j)]
            if relation.kind == "sum":
                return parts[result] - other
            found = parts[result] / other
        return np.where(np.isfinite(found), found, np.nan)

    def keys_for(self, relation, values, places):
        """The key of a function that has the known result; one that has it already stays."""
        result, key = values[:, places].T
        first = {}
        for known, found in relation.table:
            first.setdefault(found, known)
        other = np.array([first.get(value, np.nan) for value in result])
        return np.where(mapped(relation.table, key) == result, key, other)

    def possible(self, found, j):
        """Values [n] in the steps of column j; NaN where the column cannot hold them."""
        column, levels = self.columns[j], self.levels[j]
        if levels is not None:
            at = np.nan_to_num(found)[:, None] - levels
            nearest = levels[np.abs(at).argmin(1)]
            return np.where(np.abs(found - nearest) < 1e-6, nearest, np.nan)
        found = rounded(found, column)
        bad = column.impossible(found) | (np.abs(found) > units.LARGEST)
        if column.low is not None:
            bad |= found < column.low
        return np.where(bad, np.nan, found)

    def follow(self, i, values, rows, upward, train, rng):
        """Set the upper or lower column of a close order by a difference of training rows."""
        relation, (upper, lower) = self.relations[i], self.places[i]
        difference = self.follower(i, train).differences(values[rows], rng)
        j, from_, sign = (upper, lower, 1) if upward else (lower, upper, -1)
        found = self.possible(values[rows, from_] + sign * difference, j)
        step = unit_of(self.columns[j])
        over = sign * (found - values[rows, from_])
        short = over <= 0 if relation.strict else over < 0
        if short.any() and step:
            found = np.where(short, self.possible(found + sign * step, j), found)
        values[rows, j] = np.where(np.isnan(found), values[rows, j], found)

    def mend_orders(self, values, fixed, given, train, rng):
        """Move cells of rows that break an order; whether any was moved."""
        moved = False
        for i, (relation, places) in enumerate(zip(self.relations, self.places, strict=True)):
            if relation.kind != "order":
                continue
            own = [self.columns[j] for j in places]
            rows = np.flatnonzero(breaks(relation, own, values[:, places]))
            free = [j for j in places if not fixed[j] and j not in given]
            if len(rows) and free:
                self.follow(i, values, rows, free[0] == places[0], train, rng)
                moved = True
        return moved

    def refute_levels(self, values, fixed):
        """Change levels that are not fixed where another, fixed cell must or must not be empty."""
        for relation, places in zip(self.relations, self.places, strict=True):
            if relation.kind != "empty" or not relation.levels:
                continue
            b, a = places
            if fixed[a] or not fixed[b]:
                continue
            wanted = codes_of_cells(relation.levels, self.columns[a])
            others = np.setdiff1d(self.levels[a], wanted)
            wrong = np.isin(values[:, a], wanted) & ~np.isnan(values[:, b])
            values[wrong, a] = others[0]


class Kept(NamedTuple):
    """Generated rows that obey the relations, x, mask and y in model units.

    `cells` maps the names of changed columns to their cells as text. `n_broken` rows broke a
    relation as they were drawn, and `n_left` do still.
    """

    x: np.ndarray
    mask: np.ndarray
    y: np.ndarray | None
    cells: dict
    n_broken: int
    n_left: int


def keep(x, mask, y, codec, train, given, again, rng):
    """Generated rows x, mask [n, D], y [n, C] changed to obey the relations of a codec, as Kept.

    `train` are values of training rows. `given` are x and mask [1, D] of cells that cannot change,
    or None. `again(n)` draws n other rows, as x and y; rows that a change of cells cannot mend are
    drawn again up to N_ROUNDS times.
    """
    from parts.forms.tables import samples

    rules, x, mask = codec.rules, x.copy(), mask.copy()
    y = None if y is None else y.copy()
    names = [column.name for column in codec.modelled]
    fixed = np.array([name not in names for name in rules.names])  # conditions
    if given is not None:
        fixed |= [name in names and given[1][0, names.index(name)] > 0 for name in rules.names]

    def values_of_rows(x, y):
        if given is not None:  # x may have been mapped to the marginals
            x[:] = np.where(given[1] > 0, given[0], x)
        return rules.of_rows(x, np.ones_like(x), y, codec)

    values = values_of_rows(x, y)
    n_broken = int(rules.broken_when_emptied(values, fixed).any(1).sum())

    def settled(values):
        return rules.settle(values, np.broadcast_to(fixed, values.shape), train, rng)

    values = settled(values)
    for _ in range(N_ROUNDS):
        left = np.flatnonzero(rules.broken_when_emptied(values, fixed).any(1))
        if not len(left):
            break
        new_x, new_y = again(len(left))
        values[left] = settled(values_of_rows(new_x, new_y))
        x[left] = new_x
        if y is not None:
            y[left] = new_y
    left = rules.broken_when_emptied(values, fixed).any(1)
    empty, present = rules.empty(values) & ~fixed, rules.present(values)
    cells = {}
    for j, name in enumerate(rules.names):
        if name not in names or not rules.in_relation[j]:
            continue
        at, column = names.index(name), rules.columns[j]
        user = rules.to_units(values[:, j], j)
        seen = ~np.isnan(user)
        x[seen, at] = user[seen] if column.levels else column.to_model(user[seen])
        text = np.full(len(x), "", dtype=object)
        text[seen] = samples.texts_of(column, user[seen], x[seen, at])
        cells[name] = text
        mask[:, at] = np.where(empty[:, j], 0, np.where(present[:, j], 1, mask[:, at]))
    return Kept(x, mask, y, cells, n_broken, int(left.sum()))


class Follower:
    """Differences upper - lower >= 0 of training rows, drawn by predictive mean matching.

    A linear regression of the difference's rank on the ranks and levels of the other columns
    orders the training rows; a new row takes the difference of one that is near to it (Little
    1988). So a difference fits the rest of its row, and is one that occurs.
    """

    def __init__(self, train, columns, upper, lower):
        self.columns, self.skipped = columns, {upper, lower}
        difference = train[:, upper] - train[:, lower]
        rows = np.flatnonzero(difference >= 0)
        self.train = train[rows]
        self.differences_ = difference[rows]
        self.sorted = {}
        for j, column in enumerate(columns):
            if j not in self.skipped and not column.levels:
                seen = self.train[:, j]
                self.sorted[j] = np.sort(seen[~np.isnan(seen)])
        if not len(rows):
            return
        features = self.features(self.train)
        target = ranks_in(np.sort(self.differences_), self.differences_)
        gram = features.T @ features + 1e-3 * len(rows) * np.eye(features.shape[1])
        self.weights = np.linalg.solve(gram, features.T @ target)
        predicted = features @ self.weights
        order = np.argsort(predicted, kind="stable")
        self.predicted, self.differences_ = predicted[order], self.differences_[order]

    def features(self, values):
        """Ranks, their squares and levels of the other columns, [n, F]."""
        parts = [np.zeros((len(values), 1))]
        for j, column in enumerate(self.columns):
            if j in self.skipped:
                continue
            if column.levels:
                known = level_values(column)[:100]
                parts.append((values[:, [j]] == known).astype(float) - 1 / len(known))
            elif len(self.sorted[j]):
                rank = np.nan_to_num(ranks_in(self.sorted[j], values[:, j]))
                parts += [rank[:, None], np.square(rank)[:, None] - 1 / 12]
        return np.hstack(parts)

    def differences(self, values, rng=None):
        """A difference for each row: drawn by `rng` among N_NEAR rows, or the mean of N_MEAN."""
        n = len(self.differences_)
        if not n:
            return np.zeros(len(values))
        if len(values) > N_AT_A_TIME:
            starts = range(0, len(values), N_AT_A_TIME)
            parts = [self.differences(values[i : i + N_AT_A_TIME], rng) for i in starts]
            return np.concatenate(parts)
        at = np.searchsorted(self.predicted, self.features(values) @ self.weights)
        most = min(N_MEAN if rng is None else N_NEAR, n)
        start = np.clip(at - most // 2, 0, n - most)
        if rng is not None:
            return self.differences_[start + rng.integers(most, size=len(values))]
        sums = np.concatenate([[0.0], np.cumsum(self.differences_)])
        return (sums[start + most] - sums[start]) / most


def ranks_in(known, values):
    """Mid-ranks of values [n] among sorted ones, from -0.5 to 0.5; NaN stays."""
    low, high = (np.searchsorted(known, values, side) for side in ("left", "right"))
    return np.where(np.isnan(values), np.nan, (low + high) / (2 * max(len(known), 1)) - 0.5)
