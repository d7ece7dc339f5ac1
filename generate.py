"""A run -> new rows in the user's units, or new pictures, and how near they are to real ones.

python generate.py --n 1000 --out new.csv                  # by the newest run
python generate.py --run 0001 --given "job=nurse,age=40"   # given some columns
"""

import parts  # noqa: F401  first: before torch is loaded

# isort: split

import csv
import math
from pathlib import Path

import numpy as np
import torch

from parts import closeness, figures, files, gallery, pictures, runs, tables
from parts.cli import (
    Parser,
    add_device_flags,
    add_run_flags,
    choose_device,
    choose_threads,
    positive_int,
    run_script,
    seed,
)
from parts.errors import UserError
from parts.models import load_model

N_AT_A_TIME = 50_000  # rows drawn
PROPOSALS = (10_000, 100_000)  # importance samples behind rows that are given some columns
N_RANKED = 10_000  # rows drawn to know the model's own marginals
RANKED_SEED = 2**31 - 1  # of those rows
FEW = 50.0  # effective samples, below which a condition is too rare to be believed
GRID = 100  # pictures shown


def given_cells(text, columns):
    """From "job=nurse,age=40": x and mask [1, D] in model units, and name -> cell as it was given.

    A pair with a comma in its cell is quoted.
    """
    import pandas as pd

    names = {column.name: j for j, column in enumerate(columns)}
    x, mask = np.zeros((1, len(columns)), np.float32), np.zeros((1, len(columns)), np.float32)
    cells = {}
    for pair in next(csv.reader([text], skipinitialspace=True), []):
        name = next((n for n in names if pair.startswith(f"{n}=")), None)
        if name is None:
            raise UserError(
                f"--given {pair!r}: expected NAME=VALUE, NAME one of {', '.join(names)[:200]}; "
                "a cell that holds a comma is quoted, as in '\"income=50,000\",job=nurse'"
            )
        j, cell = names[name], pair[len(name) + 1 :]
        column = columns[j]
        if mask[0, j]:
            raise UserError(f"--given {text!r}: {name!r} is given twice")
        row, seen, impossible, _ = tables.encode(
            pd.DataFrame({name: [cell]}, dtype="str"), [column]
        )
        if not seen[0, 0] or impossible[0, 0]:
            what = f"one of {', '.join(column.levels)}" if column.levels else "a number"
            if "date" in column.style:
                what = f"a date such as {column.text_of([column.centre])[0]}"
            raise UserError(f"--given {pair!r}: {cell!r} is no {column.kind} cell, expected {what}")
        x[0, j], mask[0, j], cells[name] = row[0, 0], 1, cell.strip()
    if not mask.any():
        raise UserError(f"--given {text!r}: expected NAME=VALUE, or several with commas")
    return (x, mask), cells


def note_far(given, columns, x_train, train_mask):
    """Say which given numbers lie outside all that the model was trained on."""
    x, mask = given
    for j in np.flatnonzero(mask[0]):
        seen = x_train[train_mask[:, j] > 0, j]
        if not columns[j].levels and len(seen) and not seen.min() <= x[0, j] <= seen.max():
            low, high, cell = columns[j].text(np.array([seen.min(), seen.max(), x[0, j]]))
            print(
                f"Note: {columns[j].name}={cell} lies outside the training rows ({low} to {high})"
            )


def draw(model, n, columns, given=None):
    """n rows [n, D] in model units: from p(x), or from p(x | the given cells) by resampling."""
    device = next(model.parameters()).device
    if given is None:
        starts = range(0, n, N_AT_A_TIME)
        return np.concatenate([model.sample(min(N_AT_A_TIME, n - s)).cpu().numpy() for s in starts])
    batch = [torch.from_numpy(a).to(device) for a in given]
    n_samples = min(max(10 * n, PROPOSALS[0]), PROPOSALS[1])
    pieces, ess = [], math.inf
    for start in range(0, n, N_AT_A_TIME):
        filled = model.impute(*batch, n_samples=n_samples, draws=min(N_AT_A_TIME, n - start))
        pieces.append(filled.draws[:, 0].cpu().numpy())
        ess = min(ess, filled.ess.item())
    print(
        f"log p(given): {filled.log_px.item():.2f} nats; {ess:.0f} effective of {n_samples} samples"
    )
    if ess < FEW:
        print(f"Note: with {ess:.0f} effective samples many rows are alike; the condition is rare")
    return np.concatenate(pieces)


def to_marginal(values, drawn, real, ties=0.5):
    """The model's values [n] by those of equal rank among `real` ones, linear between neighbours.

    A value's rank is its mid-rank among the model's `drawn` ones [M]; beyond them all it is that of
    the outermost, so no result lies outside the range of `real`. Equal values of a discrete model
    spread over the ranks of their ties, by `ties` in [0, 1) (Rueschendorf 2009's distributional
    transform): one atom of the model then covers several of `real`, and no order is reversed.
    """
    drawn, real = np.sort(drawn).astype(float), np.sort(real).astype(float)
    low, high = (np.searchsorted(drawn, values, side) for side in ("left", "right"))
    between = np.interp(values, drawn, np.arange(len(drawn)) + 0.5)
    rank = np.where(low < high, low + ties * (high - low), between) / len(drawn)
    return np.interp(rank, (np.arange(len(real)) + 0.5) / len(real), real)


def with_marginals(x, model, columns, train, rng):
    """x [n, D] with the numbers' marginals of the training rows (x, mask); levels stay as drawn.

    The map is a function of the run alone, whatever rows it is applied to; `rng` breaks ties.
    """
    with runs.fixed_randomness(RANKED_SEED):
        drawn = model.sample(N_RANKED).cpu().numpy()
    x = x.copy()
    for j, column in enumerate(columns):
        real = train[0][train[1][:, j] > 0, j]
        if not column.levels and len(real):
            x[:, j] = to_marginal(x[:, j], drawn[:, j], real, rng.random(len(x)))
            if column.kind == "count":
                x[:, j] = np.round(x[:, j])
    return x


def texts(column, x):
    """Model units [N] -> cells; where no number of decimals is known, digits that float32 holds.

    It ends at 2^-24 of a value in model units: below that a cell of 0 is 7e-6, and 40 is 39.99999.
    """
    if (
        column.levels
        or column.whole
        or "date" in column.style
        or column.style.get("decimals") is not None
    ):
        return column.text(x)
    values = column.to_user(x)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        error = 2.0**-24 * np.maximum(np.abs(x), 1) * np.exp(-column.log_det(x))
        step = 10.0 ** np.ceil(np.log10(3 * error))
        rounded = np.round(values / step) * step + 0.0  # not -0
    return column.text_of(np.where(np.isfinite(rounded), rounded, values))


def as_frame(x, columns, mask=None):
    """The rows as cells of the whole table: ignored columns are empty, constants stay constant."""
    import pandas as pd

    kept = [column.name for column in tables.modelled(columns)]
    frame = {}
    for column in columns:
        if column.kind == "ignore":
            frame[column.name] = [column.levels[0] if column.levels else ""] * len(x)
            continue
        j = kept.index(column.name)
        text = np.array(texts(column, x[:, j]), dtype=object)
        frame[column.name] = text if mask is None else np.where(mask[:, j] > 0, text, "")
    return pd.DataFrame(frame, dtype="str")


def write_pictures(x, shape, path, colors):
    """A sheet of pictures as PNG; x [n, C * H * W] in the user's units."""
    across = min(10, math.ceil(math.sqrt(len(x))))
    shown = gallery.as_colour(x[: across * (GRID // across)], shape, colors, x.min(), x.max())
    gallery.write(path, gallery.rows_of(shown, across))


def make_parser():
    parser = Parser(prog="generate.py", description="New rows or pictures from a run.")
    add_run_flags(parser)
    add = parser.add_argument
    add("--n", type=positive_int, default=1000, help="rows or pictures (default: 1000)")
    add("--out", metavar="FILE", help="what to write (default: generated.csv, pictures: .npz)")
    add("--overwrite", action="store_true", help="replace an existing output")
    add("--given", metavar="CELLS", help='fix some columns, as in "job=nurse,age=40"')
    add("--keep-missing", action="store_true", help="leave the cells empty that a real row lacks")
    add(
        "--marginals",
        choices=("data", "model"),
        default="data",
        help="numbers are mapped to the training rows' distribution of their column, "
        "or stay as the model draws them (default: data)",
    )
    add("--seed", type=seed, default=0, help="seed of the draws (default: 0)")
    add_device_flags(parser)
    return parser


def main(argv=None):
    args = make_parser().parse_args(argv)
    run = runs.find_run(args.runs_dir, args.run)
    model, checkpoint = load_model(run, choose_device(args.device))
    torch.set_num_threads(choose_threads(args.threads, 2**30))
    config = checkpoint["config"]
    columns = [tables.Column(**column) for column in config["columns"]]
    kept = tables.modelled(columns)
    picture = len(config["shape"]) > 1
    out = Path(args.out or ("generated.npz" if picture else "generated.csv"))
    files.refuse_output(out, args.overwrite)
    grid = out.with_suffix(".png")
    if picture and grid.exists() and not args.overwrite:
        raise UserError(f"{grid} exists; add --overwrite to replace it, or name another by --out")
    given, as_given = (None, {}) if args.given is None else given_cells(args.given, kept)
    x_train, train_mask, x_held, held_mask = run.read_rows()
    if given is not None:
        note_far(given, kept, x_train, train_mask)
    with runs.fixed_randomness(args.seed):
        x = draw(model, args.n, kept, given)
    rng = np.random.default_rng(args.seed)
    marginals = "model" if picture else args.marginals  # a pixel is no column of a table
    if marginals == "data":
        x = with_marginals(x, model, kept, (x_train, train_mask), rng)
    mask = np.ones_like(x)
    if args.keep_missing:
        mask = train_mask[rng.integers(len(train_mask), size=len(x))].astype(np.float32)
        mask = mask if given is None else np.maximum(mask, given[1])
    frame = as_frame(x, columns, mask if args.keep_missing else None).assign(**as_given)
    ending = out.suffix.lower()
    if ending in (".npy", ".npz") and not all(c.kind == "ignore" or c.style or not c.levels
                                              for c in columns):  # fmt: skip
        raise UserError(f"--out {out}: an array holds numbers only; write .csv or .parquet")
    if ending not in (".csv", ".tsv"):
        frame = tables.typed(frame, columns)
    files.write(frame, out, files.File(out, frame.iloc[:0]))
    print(f"Wrote {out}: {len(frame)} rows, {len(columns)} columns")
    if picture:
        grey_map = pictures.grey_map(tables.to_user(x_train, kept))
        write_pictures(tables.to_user(x[:GRID], kept), config["shape"], grid, grey_map)
        print(f"Wrote {grid}")
    if given is None:
        real = (x_train, train_mask), (x_held, held_mask)
        compare(run, model, kept, (x, np.ones_like(x)), *real, marginals)


def compare(run, model, columns, generated, train, held, marginals):
    """Say how near generated rows are to the run's real ones, and keep what the figure needs."""

    @torch.no_grad()
    def embed(x, mask):
        tensors = [torch.as_tensor(a, dtype=torch.float32) for a in (x, mask)]
        return model.likelihood.cpu().embed(*tensors).numpy()

    train, held = ((x, mask.astype(np.float32)) for x, mask in (train, held))
    generated = tuple(a[: len(train[0]) + len(held[0])] for a in generated)
    result = closeness.compare(columns, generated, train, held, embed) | {"marginals": marginals}
    print(closeness.report(columns, result))
    if marginals == "data" and not all(column.levels for column in columns):
        print("Numbers were mapped to the training rows' marginals (--marginals model: as drawn)")
    runs.write_json(run.path / "generation.json", result)
    real = tuple(np.concatenate(pair) for pair in zip(train, held, strict=True))
    arrays = figures.of_columns(columns) | {
        "real": np.where(real[1] > 0, tables.to_user(real[0], columns), np.nan),
        "generated": tables.to_user(generated[0], columns),
        "correlation_real": closeness.correlations(columns, *real),
        "correlation_generated": closeness.correlations(columns, *generated),
    }
    runs.write_atomic(run.generated, lambda f: np.savez_compressed(f, **arrays))


if __name__ == "__main__":
    run_script(main)
