"""Draw rows from a fitted model, with or without given cells, and compare them with real rows."""

import math
from typing import NamedTuple

import numpy as np
import torch

from parts.finite import finite
from parts.forms import conditions
from parts.forms.base import N_KEPT_CELLS
from parts.forms.series import states
from parts.forms.tables.marginals import to_marginal
from parts.forms.tables.relations import listed
from parts.forms.tables.rules import keep
from parts.forms.units import column_arrays
from parts.measure import closeness
from parts.model.covariance import MIN_RATIO, fit_gaussian
from parts.model.importance import resample
from parts.randomness import fixed_randomness
from parts.words import counted

N_DRAWN_AT_A_TIME = 50_000  # rows that are drawn at a time
PROPOSALS = (10_000, 100_000)  # fewest and most importance samples for rows with given cells
RARE_ESS = 50.0  # effective samples below which the given cells are too rare
# The model's marginals are estimated from N_RANKED rows, fewer wide ones, drawn with RANKED_SEED.
N_RANKED, RANKED_SEED = 10_000, 2**31 - 1
LEAF_ROWS = 50  # training rows by which the chance of a hole is known
DETERMINED = 0.01  # share of a column's variance that the others leave, if they determine it


class Drawn(NamedTuple):
    """Generated rows x [n, D] in model units, conditions y [n, C] or None, and notes."""

    x: np.ndarray
    y: np.ndarray | None
    notes: list
    mask: np.ndarray | None = None  # of cells that are left empty; None: all are there
    has_holes: bool = False  # whether the mask holds all that a real row lacks, not relations only


def draw(fitted, n, given=None, draw_y=None, x_of=None):
    """Draw n rows from p(x | y), or from p(x | y, given cells).

    `given` are x and mask [1, D]. `draw_y(n)` draws conditions [n, C] if the model has any. `x_of`
    maps the parameters of p(x|z) to x, by default by a draw.
    """
    model, device = fitted.model, fitted.device

    def conditions_of(n):
        return None if draw_y is None else torch.from_numpy(draw_y(n)).to(device)

    sizes = [min(N_DRAWN_AT_A_TIME, n - start) for start in range(0, n, N_DRAWN_AT_A_TIME)]
    notes = []
    if given is None:
        ys = map(conditions_of, sizes)
        pieces = [(model.sample(size, y, x_of), y) for size, y in zip(sizes, ys, strict=True)]
    else:
        x, mask = (torch.from_numpy(a).to(device) for a in given)
        n_samples, ess = min(max(10 * n, PROPOSALS[0]), PROPOSALS[1]), math.inf
        pieces = []
        for size in sizes:
            y = conditions_of(n_samples)
            found = resample(model, size, x, mask, y, n_samples, x_of)
            pieces.append((found.x, found.y))
            ess = min(ess, found.ess)
        notes.append(
            f"log p(given): {found.log_p:.2f} nats; {ess:.0f} effective of {n_samples} samples"
        )
        if ess < RARE_ESS:
            notes.append(
                f"Note: with {ess:.0f} effective samples many rows are alike; what is given is rare"
            )
    x, y = zip(*pieces, strict=True)
    y = None if draw_y is None else torch.cat(y).cpu().numpy()
    return Drawn(finite("generated cells", torch.cat(x).cpu().numpy()), y, notes)


def notes_on_given(fitted, given):
    """Notes on given numbers outside the range of the training rows."""
    codec, train = fitted.codec, fitted.train
    columns = codec.may_be_given
    x_train, seen = conditions.with_conditions_as_columns(*train[:3], codec.conditions)
    x, mask = given
    notes = []
    for j in np.flatnonzero(mask[0]):
        if columns[j].levels:
            continue
        known = x_train[seen[:, j] > 0, j]
        if len(known) and not known.min() <= x[0, j] <= known.max():
            low, high, cell = columns[j].text(np.array([known.min(), known.max(), x[0, j]]))
            name = columns[j].name
            notes.append(f"{name}={cell} lies outside the training rows ({low} to {high})")
    return notes


def conditions_drawer(fitted, given, unknown_too, seed):
    """A function that draws n conditions [n, C] from training rows, given ones fixed; and notes.

    The function is None if the model has no conditions. With `unknown_too` drawn conditions may be
    unknown, as they are in training rows.
    """
    columns, y_train = fitted.codec.conditions, fitted.train.y
    if not columns:  # y may be known by itself, as a calendar is
        rng, notes = np.random.default_rng((seed, 1)), []
        if given is not None and fitted.codec.state_dim:
            y_train, notes = states.with_given(y_train, fitted.codec, *given)
        draw_y = None if y_train is None else lambda n: y_train[rng.integers(len(y_train), size=n)]
        return draw_y, notes
    rng, notes = np.random.default_rng((seed, 1)), []
    cell, mask = np.zeros((2, 1, len(columns)), np.float32)
    if given is not None:
        cell, mask = (part[:, -len(columns) :] for part in given)
        if not len(conditions.rows_with_given_levels(y_train, cell, mask, columns)):
            notes.append("no training row has the given conditions together")
    pool = y_train if unknown_too else conditions.rows_with_all_known(y_train, columns)
    return lambda n: conditions.draw(n, pool, cell, mask, columns, rng), notes


def x_of_parameters(fitted, asked=None):
    """The likelihood's `mean` or `sample`, which maps the parameters of p(x|z) to x.

    `asked` is "mean" or "drawn"; the default is the mean if the training rows are rates, as grey
    values in [0, 1] are.
    """
    likelihood = fitted.model.likelihood
    rates = likelihood.are_rates(fitted.train.x)
    mean = (asked or ("mean" if rates else "drawn")) == "mean"
    return likelihood.mean if mean else likelihood.sample


def with_marginals(x, fitted, rng):
    """Map the numbers in x [n, D] to the marginals of the training rows; levels do not change.

    Columns that determine one another are mapped along their principal axes, and so keep their
    relations. The map depends on the run only, not on the other rows of x; `rng` breaks ties.
    Windows have one map of a column for all steps, and so x may hold windows of any length.
    """
    y_train = fitted.train.y
    n_ranked = max(1, min(N_RANKED, N_KEPT_CELLS // len(fitted.codec.modelled)))
    with fixed_randomness(RANKED_SEED):
        y = []
        if y_train is not None:
            rows = y_train[torch.randint(len(y_train), (n_ranked,)).numpy()]
            y = [torch.from_numpy(rows).to(fitted.device)]
        drawn = fitted.model.sample(n_ranked, *y).cpu().numpy()
    shape, n_columns, train = x.shape, fitted.codec.shape[-1], fitted.train
    columns = fitted.codec.modelled[:n_columns]
    x, drawn, real, mask = (
        part.reshape(-1, n_columns) for part in (x.copy(), drawn, train.x, train.mask)
    )
    related = related_columns(columns, real, mask)
    if len(related):
        own = [columns[j] for j in related]
        parts = (part[:, related] for part in (x, drawn, real, mask))
        x[:, related] = with_principal_marginals(own, *parts, rng)
    for j, column in enumerate(columns):
        known = real[mask[:, j] > 0, j]
        if not column.levels and len(known) and j not in related:
            mapped = to_marginal(x[:, j], drawn[:, j], known, rng.random(len(x)))
            x[:, j] = column.rounded(mapped)
    return x.reshape(shape)


def related_columns(columns, x, mask):
    """The numbers of the columns whose variance given the others is hardly any of their own."""
    numbers = np.array([j for j, c in enumerate(columns) if c.kind in ("real", "positive")], int)
    if not 1 < len(numbers) < len(x) / 2:
        return numbers[:0]
    x, mask = (torch.from_numpy(part[:, numbers]).double() for part in (x, mask))
    covariance = fit_gaussian(x, mask).covariance
    own = covariance.diagonal().clamp(min=MIN_RATIO)
    ridge = MIN_RATIO * torch.diag(own + 1)
    given_others = 1 / torch.linalg.inv(covariance + ridge).diagonal()
    return numbers[(given_others < DETERMINED * own).numpy()]


def with_principal_marginals(columns, x, drawn, real, mask, rng):
    """Map x [n, d] along the principal axes of the complete rows of `real` to their marginals.

    Relations hold between the user's numbers, and so a robustly scaled column is unbent first.
    """
    real = real[mask.all(1)]
    if len(real) <= 2 * len(columns):
        return x
    bent = [column.curve == "asinh" for column in columns]

    def unbent(x):
        parts = [c.to_user(x[:, j]) if bent[j] else x[:, j] for j, c in enumerate(columns)]
        return np.stack(parts, -1).astype(float)

    data = unbent(real)
    middle, scale = data.mean(0), data.std(0)
    _, axes = np.linalg.eigh(np.corrcoef(data.T))
    ours, model, data = (
        (part - middle) / scale @ axes for part in (unbent(x), unbent(drawn), data)
    )
    for k in range(len(axes)):
        ours[:, k] = to_marginal(ours[:, k], model[:, k], data[:, k], rng.random(len(x)))
    mapped = middle + ours @ axes.T * scale
    parts = [c.to_model(mapped[:, j]) if bent[j] else mapped[:, j] for j, c in enumerate(columns)]
    return np.stack(parts, -1)


def holes_like(fitted, x, y, given, rng):
    """Masks [n, D] of rows x and y, drawn from p(mask | row); given cells are always present.

    p(mask | row) is a product over the columns with holes, each given the cells of the columns
    without one and those before it, by a classification tree with leaves of LEAF_ROWS rows of the
    kept training rows. What depends on the missing cell itself cannot be seen in training rows.
    """
    from sklearn.tree import DecisionTreeClassifier

    train = fitted.train
    mask = np.ones(x.shape, np.float32)
    holed = np.flatnonzero(~train.mask.all(0)).tolist()
    whole = [j for j in range(x.shape[1]) if j not in holed]
    seen = np.where(train.mask > 0, train.x, np.nan)
    known, ours = seen[:, whole], x[:, whole]
    if y is not None:
        known, ours = np.hstack([known, train.y]), np.hstack([ours, y])
    for j in holed:
        there = train.mask[:, j] > 0
        share = np.full(len(x), there.mean())
        if known.shape[1] and there.any():
            leaf = min(LEAF_ROWS, max(1, len(there) // 4))
            tree = DecisionTreeClassifier(min_samples_leaf=leaf, random_state=0).fit(known, there)
            share = tree.predict_proba(ours)[:, 1]
        mask[:, j] = rng.random(len(x)) < share
        if given is not None:
            mask[:, j] = np.maximum(mask[:, j], given[1][0, j])
        known = np.column_stack([known, seen[:, j]])
        ours = np.column_stack([ours, np.where(mask[:, j] > 0, x[:, j], np.nan)])
    return mask


class Kept(NamedTuple):
    """Generated rows that obey a run's relations: Drawn, mask [n, D], exact cells, lines."""

    drawn: Drawn
    mask: np.ndarray
    cells: dict
    report: str


def keep_relations(drawn, mask, fitted, given, again, rng):
    """Change Drawn rows so that they obey the relations of a run, see `rules.keep`."""
    codec = fitted.codec
    train, follow = fitted.train.values, not fitted.sees_near_copies
    found = keep(drawn.x, mask, drawn.y, codec, train, given, again, rng, follow)
    n, texts = len(drawn.x), [relation.text for relation in codec.rules.relations]
    report = (
        f"Relations of the training rows, kept in {n - found.n_left} of {n} rows "
        f"(as drawn in {n - found.n_broken}): {listed(texts)}"
    )
    if found.n_broken:
        worst = int(found.broken.argmax())
        n_broken = counted(int(found.broken[worst]), "row")
        report += f"\nWorst relation as drawn: {texts[worst]}, broken in {n_broken}"
    whole = found.mask if drawn.has_holes else np.where(mask > 0, found.mask, 1)
    kept = drawn._replace(x=found.x, y=found.y, mask=whole)
    return Kept(kept, found.mask, found.cells, report)


# Comparisons, by the key that is `compares` of a form


class Compared(NamedTuple):
    """A comparison of generated with real rows: result, lines to print, arrays for a figure."""

    result: dict
    report: str
    arrays: dict | None


def compare_copies(fitted, drawn, x_of, row="picture"):
    """Measure whether generated rows are copies of training rows.

    Columns are not compared: single pixels say little, and the correlations of 64 x 64 colour
    pixels would take gigabytes.
    """
    likelihood = fitted.model.likelihood
    train, held = fitted.train.x, fitted.held.x
    if x_of == likelihood.sample:  # compares draws with draws
        with fixed_randomness():
            train, held = (likelihood.draw(torch.from_numpy(a)).numpy() for a in (train, held))
    n_real = len(train) + len(held)
    x = drawn.x[:n_real]
    result = {"n_generated": len(x), "n_real": n_real, "marginals": "model"}
    result |= closeness.copies(x, train, held if len(held) else None)
    return Compared(result, closeness.report_copies(result, row), None)


def compare_columns(fitted, drawn, x_of, row="row"):
    """Compare generated with real rows by column, by pair of columns, and by row.

    Conditions count as columns, except in the distance between rows.
    """
    codec, fixed = fitted.codec, fitted.codec.conditions
    columns = [*codec.modelled, *fixed]
    likelihood = fitted.model.likelihood

    @torch.no_grad()
    def embed(x, mask):
        tensors = [
            torch.as_tensor(a[:, : len(codec.modelled)], dtype=torch.float32, device=fitted.device)
            for a in (x, mask)
        ]
        return likelihood.embed(*tensors).cpu().numpy()

    train, held = (
        conditions.with_conditions_as_columns(part.x, part.mask.astype(np.float32), part.y, fixed)
        for part in (fitted.train, fitted.held)
    )
    mask = np.ones_like(drawn.x) if drawn.mask is None else drawn.mask
    generated = conditions.with_conditions_as_columns(drawn.x, mask, drawn.y, fixed)
    generated = tuple(a[: len(train[0]) + len(held[0])] for a in generated)
    own_holes = drawn.mask is not None and drawn.has_holes
    result = closeness.compare(columns, generated, train, held, embed, own_holes=own_holes)
    real = tuple(np.concatenate(pair) for pair in zip(train, held, strict=True))
    in_units = [closeness.in_user_units(columns, *rows) for rows in (real, generated)]
    arrays = column_arrays(columns) | {
        "real": in_units[0],
        "generated": in_units[1],
        "correlation_real": closeness.correlations(columns, *real),
        "correlation_generated": closeness.correlations(columns, *generated),
    }
    return Compared(result, closeness.report(columns, result), arrays)


# Form.compares -> the comparison of generated with real rows, imported where it is used
COMPARISONS = {
    "columns": "parts.tasks.sample:compare_columns",
    "copies": "parts.tasks.sample:compare_copies",
    "series": "parts.tasks.sample_windows:compare_series",
}
