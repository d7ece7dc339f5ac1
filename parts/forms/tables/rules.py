"""Keep the relations of a run: which rows break them, and rows that are changed to obey them.

Values [N, R] are those of the columns of the Rules, see relations.py.
"""

import itertools
import math
from collections import Counter
from typing import NamedTuple

import numpy as np

from parts.forms import cells, conditions, units
from parts.forms.tables.relations import (
    breaks,
    codes_of_cells,
    groups_of,
    in_utc,
    is_date,
    is_number,
    level_values,
    mapped,
    related,
    rounded,
    unit_of,
    values_of,
)

N_AT_A_TIME = 20_000  # rows whose differences are drawn at a time
N_NEAR, N_MEAN = 10, 50  # training rows near to a new one: to draw a difference, for its mean
N_REPAIRED, N_DONORS, N_TRIED = 500, 2000, 30  # rows mended at a time, by so many training rows
N_ROUNDS = 10  # times that rows which break a relation are drawn again


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
        self.decides = np.array([relation.decides for relation in self.relations])

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
                found[:, j] = rounded(in_utc(own, column), column)
        return found

    def of_rows(self, x, mask, y, codec):
        """Values [N, R] of rows in model units, NaN where a cell or a condition is unknown."""
        columns = [*codec.modelled, *codec.conditions]
        x, mask = conditions.with_conditions_as_columns(x, mask, y, codec.conditions)
        user = np.where(mask > 0, units.to_user(x, columns), np.nan)
        return self.of_units(user, [column.name for column in columns])

    def fill(self, rows, known, names, train, rng=None, follow=True):
        """Fill rows [n, D] in the user's units and codes so that they obey the relations.

        `names` are those of the D columns. `known` are values [n, R], NaN where a cell is missing.
        The others are as for `settle`.
        """
        seen = ~np.isnan(known)
        values = np.where(seen, known, self.of_units(rows, names))
        values = self.settle(values, seen, train, rng, follow)
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
            return values + cells.ahead_of_utc(self.columns[j].style)
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

    def settle(self, values, known, train, rng=None, follow=True):
        """Values [N, R] changed where they are not `known`, so that they obey the relations.

        Columns are settled one after another: one that an equation or a function gives is
        computed, the upper of two close columns is the lower one plus a difference of training
        rows, and the others stay as they are. `train` are values of training rows. `rng` draws
        differences; without it they are means. Without `follow` close columns stay as well, unless
        they break their order: the model that gave their values sees their differences.
        """
        values = values.copy()
        known = known | ~self.in_relation
        patterns, group = np.unique(known, axis=0, return_inverse=True)
        for number, fixed in enumerate(patterns):
            if fixed.all():
                continue
            rows = np.flatnonzero(group.ravel() == number)
            values[rows] = self.settled(values[rows], fixed, train, rng, follow)
        return values

    def settled(self, values, fixed, train, rng, follow):
        """`settle` for rows that have the same cells `fixed` [R]."""
        steps, done = [], fixed.copy()
        spread = [np.std(v[~np.isnan(v)]) if (~np.isnan(v)).any() else 0.0 for v in train.T]
        while not done.all():
            step = self.next_step(done, spread, follow)
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

    def next_step(self, done, spread=None, follow=True):
        """How the next column is settled: (way, number of the relation, column).

        `spread` [R] are standard deviations of the columns; `follow` is as for `settle`.
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
                if len(left) == 1 and followed is None and follow:
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

    `cells` maps the names of changed columns to their cells as text. `broken` are the rows that
    broke each relation as they were drawn, and in `n_broken` rows there was one; `n_left` rows
    break one still.
    """

    x: np.ndarray
    mask: np.ndarray
    y: np.ndarray | None
    cells: dict
    broken: np.ndarray
    n_broken: int
    n_left: int


def keep(x, mask, y, codec, train, given, again, rng, follow=True):
    """Generated rows x, mask [n, D], y [n, C] changed to obey the relations of a codec, as Kept.

    `train` are values of training rows, `follow` is as for `Rules.settle`. `given` are x and mask
    [1, D] of cells that cannot change, or None. `again(n)` draws n other rows, as x and y; rows
    that a change of cells cannot mend are drawn again up to N_ROUNDS times.
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
    broken = rules.broken_when_emptied(values, fixed)

    def settled(values):
        return rules.settle(values, np.broadcast_to(fixed, values.shape), train, rng, follow)

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
    return Kept(x, mask, y, cells, broken.sum(0), int(broken.any(1).sum()), int(left.sum()))


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
