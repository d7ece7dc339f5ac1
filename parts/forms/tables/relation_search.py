"""Find the relations of a table in its training rows, and say how sure they are.

found = find(frame, columns)          # Relations, see relations.py
"""

import json
import math
from collections import Counter

import numpy as np

from parts.errors import UserError
from parts.forms import cells
from parts.forms.tables.relations import (
    KINDS,
    Relation,
    breaks,
    codes_of_cells,
    groups_of,
    is_date,
    is_number,
    is_same,
    level_values,
    parsed,
    related,
    replaced,
    residual,
    tolerances,
    unit_of,
    values_of,
)

DOUBT = 0.05  # probability that one of all bounds on the share of rows that break is wrong
CHANCE = 0.01  # expected number of relations that are found between independent columns
MAX_BROKEN = 0.02  # largest share of the training rows that may break a relation
MIN_SHUFFLED = 0.05  # smallest share of pairs of different rows that break an informative one
# Times as many rows as break an order must lie as near to equality on its right side: a tail that
# ends smoothly is no rule.
EDGE = 10
N_SAMPLED = 4000  # rows that choose candidates; all rows decide
N_SCREENED, MAX_SCREENED_BROKEN = 24, 2  # rows that triples are tried on; how many may break it
N_FIRST = 6  # of these rows, the ones on which every triple is tried
MAX_MODE = 0.9  # largest share of one value in a column of a sum or product
MIN_VALUES = 10  # fewest different values in a column of a fixed linear map
MIN_ROWS = 30  # fewest rows that can show a relation
MAX_CANDIDATES, MAX_FOUND = 2000, 200  # most triples that are tried on the sample; most relations
# Numbers that are linear maps of each other in all but twice MAX_BROKEN of the rows have ranks with
# a higher correlation, whatever the other rows hold: 1 - 0.04 / (2 / 12).
MONOTONE, N_RANKED = 0.75, 1000  # and rows by which it is measured
# Sums and products are looked for among all columns up to so many, else among so many neighbours.
MOST_TRIPLED, N_NEIGHBOURS = 150, 100
N_QUANTILES, LEAST_OVERLAP = (
    12,
    0.01,
)  # by which ranges that hardly overlap are seen; share of pairs
N_KEYS = 1000  # most levels of a column that determines another
CLOSE = 0.5  # spread of a difference / spread of its columns, below which it is drawn instead

# Find


def find(frame, columns, asked=None):
    """The Relations between the columns of a table's training rows.

    `asked` is the text of --relations, "off" or JSON of relations to add and to strike.
    """
    if asked == "off":
        return []
    wanted = json.loads(asked) if asked else {}
    columns = related(columns)
    struck = {text: parsed(text, columns) for text in wanted.get("strike", []) if text != "all"}
    with np.errstate(all="ignore"):  # cells of 1e300 overflow, and then no relation holds
        found = [] if "all" in wanted.get("strike", []) else Search(frame, columns).found()
    for text, other in struck.items():
        if "all" not in wanted["strike"] and not any(is_same(r, other) for r in found):
            raise UserError(f"--relations: strike {text!r}, which is none of those found")
    kept = [r for r in found if not any(is_same(r, other) for other in struck.values())]
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
        # Times of an unknown zone are neither before nor after instants.
        self.instant = np.array([cells.is_instant(column.style) for column in columns], bool)
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
        if len(usable) < 2:
            return []
        at = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
        quantiles = np.nanquantile(self.x[:, usable], at, axis=0)  # [N_QUANTILES, D]
        for a, j in enumerate(usable):
            # Below MIN_SHUFFLED, because so few quantiles do not tell the share exactly.
            overlap = (quantiles[:, a, None, None] > quantiles).mean((0, 1))
            good = (overlap >= LEAST_OVERLAP) & (self.date[usable] == self.date[j])
            good &= self.instant[usable] == self.instant[j]
            good[a] = False
            others = usable[good]
            with np.errstate(invalid="ignore"):
                over = self.x[:, [j]] > self.x[:, others]  # False where a cell is empty
            n = (self.known[:, [j]] & self.known[:, others]).sum(0)
            good = (n >= MIN_ROWS) & (over.sum(0) <= 2 * MAX_BROKEN * n)
            found += [Relation("order", [self.names[b], self.names[j]]) for b in others[good]]
        return found

    def triples(self):
        """Candidates for a = b + c and a = b * c."""
        mode = np.array([mode_share(v) for v in self.x.T])
        usable = np.flatnonzero(self.number & (self.n_values >= 3) & (mode <= MAX_MODE))
        width = len(usable) if len(usable) <= MOST_TRIPLED else N_NEIGHBOURS
        found = []
        for start in range(0, max(1, len(usable) - width // 2), max(1, width // 2)):
            near = usable[start : start + width]
            known = {(r.kind, *r.columns) for r in found}
            more = self.triples_among(near) if len(near) > 2 else []
            found += [r for r in more if (r.kind, *r.columns) not in known]
            if len(near) == len(usable):
                break
        return self.on_sample(found[: 10 * MAX_CANDIDATES])[:MAX_CANDIDATES]

    def triples_among(self, usable):
        """Candidates for sums and products of the columns numbered `usable`."""
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
            first = slice(0, N_FIRST)
            for a in range(len(usable)):
                fits = date[a] == (date[:, None] ^ date[None, :]) if kind == "sum" else None
                fits = (
                    ~(date[:, None] & date[None, :]) & fits
                    if kind == "sum"
                    else (~(date[:, None] | date[None, :]) & ~date[a])
                )
                fits = fits & upper
                fits[a], fits[:, a] = False, False
                own = (0.5000001 * steps[a] + slack * np.abs(x[:, a]))[:, None]

                def n_wrong(rows, b, c, a=a, own=own, result=result, allowed=allowed):
                    with np.errstate(invalid="ignore"):
                        off = np.abs(x[rows, a, None] - result[rows, b, c])
                        return (off > allowed[rows, b, c] + own[rows]).sum(0)

                b, c = np.nonzero(fits)
                for rows in (first, slice(None)):  # few rows leave few triples for the others
                    good = n_wrong(rows, b, c) <= MAX_SCREENED_BROKEN
                    b, c = b[good], c[good]
                n = (seen[:, b, c] & ~np.isnan(x[:, [a]])).sum(0)
                enough = n >= len(x) // 3
                for operands in zip(b[enough], c[enough], strict=True):
                    names = [self.names[usable[j]] for j in (a, *operands)]
                    found.append(Relation(kind, names))
        return found

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
        alike = np.abs(rank_correlations(self.x[:, usable])) >= MONOTONE
        alike &= self.date[usable] == self.date[usable, None]
        np.fill_diagonal(alike, False)
        for b, a in usable[np.argwhere(alike)]:  # of equal maps the first is taken
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
        both_empty = holes.T.astype(np.float32) @ holes.astype(np.float32)
        with_levels = np.array([bool(column.levels) for column in self.columns])
        for b in np.flatnonzero((share > 0.002) & (share <= 1 - MIN_SHUFFLED)):
            mostly = both_empty[b] >= (1 - 2 * MAX_BROKEN) * holes.sum(0)
            for a in np.flatnonzero(mostly & (both_empty[b] > 0) | with_levels):
                column = self.columns[a]
                in_one_cell = column.part_of[:1] == self.columns[b].part_of[:1] != []
                if a == b or in_one_cell:  # the answers in a cell are all empty where it is
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


def rank_correlations(x):
    """Correlations of the ranks of columns [n, D], each pair over rows that have both, [D, D]."""
    import pandas as pd

    x = x[np.linspace(0, len(x) - 1, min(N_RANKED, len(x))).astype(int)]
    ranks = pd.DataFrame(x).rank().to_numpy()
    known = ~np.isnan(ranks)
    ranks = np.where(known, ranks / len(x) - 0.5, 0.0).astype(np.float32)
    known = known.astype(np.float32)
    n = np.maximum(known.T @ known, 1)
    sums = ranks.T @ known  # of a column, over the rows that have the other one too
    squares = np.square(ranks).T @ known - sums**2 / n
    products = ranks.T @ ranks - sums * sums.T / n
    return products / np.sqrt(np.maximum(squares * squares.T, 1e-12))


def mode_share(values):
    """The share of the most frequent value."""
    values = values[~np.isnan(values)]
    return np.unique(values, return_counts=True)[1].max() / len(values) if len(values) else 1.0


def fitted_line(columns, values, slope):
    """Slope and offset of a = slope * b + offset with as few digits as the rows allow, or None.

    Times in full hours need not be rounded: a map that holds up to an hour is none where another
    holds exactly.
    """
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
    if columns[0].is_moment:
        found = shortest_line(a, b, slope, tolerances(columns))
        if found is not None and found[0] == 0:
            return found[1]
    found = shortest_line(a, b, slope, within)
    return found and found[1]


def shortest_line(a, b, slope, within):
    """The share of rows that break a line, and its slope and offset in few digits, or None."""
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
                    return best
        if best is not None and digits >= 4:
            break
    return best


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


# Said by the user


def added(text, frame, columns):
    """The Relation that a user states, with its numbers in the training rows."""
    relation = parsed(text, columns)
    by_name = {column.name: column for column in columns}
    if len(set(relation.columns)) < len(relation.columns):
        raise UserError(f"--relations: {text!r} names a column twice")
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
