"""Measure imputation: hide observed cells, fill them, and compare the fills with the truth.

Imputers of scikit-learn, fitted to the training rows, serve as baselines.
"""

import numpy as np

from parts.forms import units

N_FOLDS = 10  # folds, each of which hides a tenth of the observed cells; together they hide all
N_DRAWS = 200  # draws per cell for a median, a mode or an interval
N_CHECKED_ROWS = 1000  # most rows whose cells are hidden
N_CLEAR_ERRORS = 2  # standard errors by which another method's smaller error is clearly smaller
FLOAT32 = 1e-6  # relative rounding of cells that went through model units
N_NAMED_COLUMNS = 6  # most columns that a note names


def find_rows(x, mask, among, among_mask):
    """For each row the number of an equal row in `among`, -1 if there is none."""

    def keys(x, mask):
        return (row.tobytes() for row in (np.where(mask > 0, x, np.nan) + 0.0).astype(np.float32))

    number = {key: i for i, key in enumerate(keys(among, among_mask))}
    return np.fromiter((number.get(key, -1) for key in keys(x, mask)), np.int64, len(x))


def hidden_cells(mask, rng):
    """The cells that each fold hides, [N_FOLDS, n, D] bool; never all observed cells of a row."""
    fold = rng.integers(N_FOLDS, size=mask.shape)
    hidden = (fold == np.arange(N_FOLDS)[:, None, None]) & (mask > 0)
    hidden[hidden.sum(-1) == mask.sum(-1)] = False
    return hidden


def check(imputer, x, mask, train, interval=0.9, seed=0, y=None):
    """Errors of the imputer and of baselines on hidden cells of rows x [n, D]; and these cells.

    The baselines are fitted to `train`, which is (x, mask), or (x, mask, y) with conditions; y
    [n, C] are the conditions of the rows. The error of numbers is RMSE / standard deviation of the
    column, of categories the share of wrong cells, of ordinal columns the mean distance of ranks /
    the largest. The cells are arrays for a figure: truth, imputed, low and high in user units.
    """
    x, mask = x[:N_CHECKED_ROWS], mask[:N_CHECKED_ROWS]
    hidden = hidden_cells(mask, np.random.default_rng(seed))
    some = hidden.any(-1)  # rows with cells that a fold hides
    if y is not None:
        y = np.broadcast_to(y[:N_CHECKED_ROWS], (*some.shape, y.shape[1]))[some]
    x, left = np.broadcast_to(x, hidden.shape)[some], (mask * ~hidden)[some]
    hidden, columns = hidden[some], imputer.columns
    truth = units.to_user(x, columns)
    ours, low, high = (np.empty(x.shape) for _ in range(3))
    tail = 50 * (1 - interval)
    for rows, values, draws in imputer.chunks(x, left, N_DRAWS, *([] if y is None else [y])):
        ours[rows] = values
        low[rows], high[rows] = np.percentile(draws, (tail, 100 - tail), axis=0)
    guesses = {"VAE": ours} | baseline_fills(columns, train, x, left, y)
    result = {
        "interval": interval,
        "n_rows": min(len(mask), N_CHECKED_ROWS),
        "n_hidden": int(hidden.sum()),
        "columns": {},
    }
    reference = units.to_user(train[0], columns)
    for j, column in enumerate(columns):
        at = hidden[:, j]
        if not at.any():
            continue
        scale = reference[train[1][:, j] > 0, j].std() or 1.0
        cell_errors = {
            k: column.cell_errors(truth[at, j], v[at, j], scale) for k, v in guesses.items()
        }
        entry = {"kind": column.kind, "n": int(at.sum())} | errors_of(column, cell_errors)
        if not column.levels:
            # An exact fill is an interval of no width, and the truth is rounded to float32.
            slack = FLOAT32 * np.abs(truth[at, j])
            inside = (low[at, j] <= truth[at, j] + slack) & (truth[at, j] - slack <= high[at, j])
            entry["coverage"] = float(inside.mean())
        result["columns"][column.name] = entry
    entries = result["columns"].values()
    result |= mean_errors(list(entries))
    covered = [(e["coverage"], e["n"]) for e in entries if "coverage" in e]
    weighted = sum(c * n for c, n in covered) / max(1, sum(n for _, n in covered))
    result["coverage"] = weighted if covered else None
    cells = {"truth": truth, "imputed": ours, "low": low, "high": high, "hidden": hidden}
    return result, cells


def errors_of(column, cell_errors):
    """The error of each method in a column, and how far ours lies above each of the others.

    `cell_errors` are [n] for each method, ours first. A `difference` comes with its standard error,
    over pairs of errors of one cell.
    """
    ours, *others = cell_errors
    error = {k: column.error(cells) for k, cells in cell_errors.items()}
    # Delta method: the root of a mean square moves by 1 / (2 root) of what the mean square does.
    effect = {
        k: cells if column.levels or not error[k] else cells / (2 * error[k])
        for k, cells in cell_errors.items()
    }
    difference = {}
    for k in others:
        apart, pairs = error[ours] - error[k], effect[ours] - effect[k]
        # A single cell says nothing of its spread.
        se = pairs.std(ddof=1) / len(pairs) ** 0.5 if len(pairs) > 1 else abs(apart)
        difference[k] = [apart, float(se)]
    return {"error": error, "difference": difference}


def mean_errors(entries):
    """The means over columns of what `errors_of` returns for each."""
    error = {k: float(np.mean([e["error"][k] for e in entries])) for k in entries[0]["error"]}
    difference = {}
    for k in entries[0]["difference"]:
        apart, se = np.array([e["difference"][k] for e in entries]).T
        difference[k] = [float(apart.mean()), float(np.linalg.norm(se) / len(se))]
    return {"error": error, "difference": difference}


def baseline_fills(columns, train, x, mask, y=None):
    """Map names of baselines to the rows that they fill, in the user's units and codes.

    The baselines are given standardised columns, with categories one-hot.
    """
    blocks, at = [], 0
    for column in columns:
        width = len(column.levels) if column.kind == "categorical" else 1
        blocks.append(slice(at, at + width))
        at += width
    known, test = (units.as_numbers(columns, *rows) for rows in (train[:2], (x, mask)))
    if y is not None:
        known, test = np.hstack([known, train[2]]), np.hstack([test, y])
    empty = np.isnan(known).all(0)
    shift = np.where(empty, 0, np.nanmean(np.where(empty, 0, known), 0))
    scale = np.where(empty, 1, np.nanstd(np.where(empty, 0, known), 0))
    scale[scale == 0] = 1
    known, test = (known - shift) / scale, (test - shift) / scale
    one_hot = [block for block in blocks if block.stop - block.start > 1]
    middle = {"mean / mode": np.where(np.isnan(test), 0.0, test)}
    from parts.measure import baselines

    found = middle | baselines.imputers(known, test, one_hot)
    return {
        name: np.stack(
            [
                as_code(column, values[:, block] * scale[block] + shift[block])
                for column, block in zip(columns, blocks, strict=True)
            ],
            -1,
        )
        for name, values in found.items()
    }


def as_code(column, values):
    """Convert a column of `units.as_numbers` to user units or codes, [n, width] -> [n]."""
    value = values.argmax(1) if values.shape[1] > 1 else values[:, 0]
    return np.clip(np.round(value), 0, len(column.levels) - 1) if column.levels else value


def report(result):
    """Lines on the errors of each column."""
    names = list(result["error"])
    width = max([len(name) for name in result["columns"]] + [6])
    head = "".join(f"{name:>22}" for name in names)
    lines = [
        f"Hidden cells: {result['n_hidden']} of {result['n_rows']} rows that the run was not "
        "trained on, a tenth at a time.",
        "Error: RMSE / s.d. of numbers, share of wrong cells of categories, distance of ranks / "
        "largest of ordinal columns",
        f"  {'':<{width}}{head}{'coverage':>12}",
    ]
    for name, entry in [*result["columns"].items(), ("mean", result)]:
        figures = "".join(f"{entry['error'][k]:>22.3f}" for k in names)
        covered = entry.get("coverage")
        covered = "" if covered is None else f"{covered:.1%}"
        lines.append(f"  {name:<{width}}{figures}{covered:>12}")
    lines.append(f"  coverage: share of numbers inside their {result['interval']:.0%} interval")
    n_train, n_known = result["n_train"], result["n_baseline"]
    if n_known < n_train:
        lines.append(
            f"  the others are fitted to {n_known:,} of the run's {n_train:,} training rows"
        )
    return "\n".join(lines + better_than_ours(result))


def better_than_ours(result):
    """Notes on where another method fills clearly better: in the mean, and in single columns.

    Clearly: by more than N_CLEAR_ERRORS standard errors of the paired difference.
    """
    from parts.measure import baselines

    def best(entry):
        """The clearly better method with the lowest error, or None."""
        clear = [k for k, (apart, se) in entry["difference"].items() if apart > N_CLEAR_ERRORS * se]
        return min(clear, key=entry["error"].get, default=None)

    notes, error = [], result["error"]
    ours = next(iter(error))
    if name := best(result):
        notes.append(
            baselines.note_on_better(
                name,
                "fills these cells",
                f"the {ours}",
                "a mean error of",
                error[name],
                error[ours],
                ".3f",
            )
        )
    found = {column: best(entry) for column, entry in result["columns"].items()}
    found = [f"{column} ({name})" for column, name in found.items() if name]
    if found:
        more = f" and {len(found) - N_NAMED_COLUMNS} more" if len(found) > N_NAMED_COLUMNS else ""
        notes.append(
            f"Note: columns that another method fills better than the {ours}: "
            f"{', '.join(found[:N_NAMED_COLUMNS])}{more}"
        )
    return notes


def half_sample_mode(draws):
    """The half-sample mode of draws [M, ...] (Robertson & Cryer 1974)."""
    draws = np.sort(draws, 0)
    while len(draws) > 2:
        half = -(-len(draws) // 2)
        width = draws[half - 1 :] - draws[: len(draws) - half + 1]
        start = width.argmin(0)
        at = start + np.arange(half).reshape(-1, *[1] * start.ndim)
        draws = np.take_along_axis(draws, at, 0)
    return draws.mean(0)
