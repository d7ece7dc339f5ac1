"""A run -> new rows in the user's units, or new pictures, and how near they are to real ones.

python generate.py --n 1000 --out new.csv                  # by the newest run
python generate.py --run 0001 --given "job=nurse,age=40"   # given some columns, or conditions
python generate.py --run digits --given label=7 --n 100    # pictures, and a sheet of them
"""

import parts  # noqa: F401  first: before torch is loaded

# isort: split

import math
from pathlib import Path

import numpy as np
import torch

from parts import files, randomness, runs
from parts.console.devices import choose_device, choose_threads
from parts.console.flags import Parser, add_device_flags, add_run_flags, positive_int, seed
from parts.console.script import run_script
from parts.errors import UserError
from parts.forms import arrays, conditions
from parts.forms.pictures import shapes, sheets
from parts.forms.tables import encoding, table_files
from parts.forms.tables.marginals import with_marginals
from parts.measure import closeness
from parts.model.build import load_model
from parts.model.importance import resample
from parts.plots import style

N_AT_A_TIME = 50_000  # rows drawn
PROPOSALS = (10_000, 100_000)  # importance samples behind rows that are given some columns
FEW = 50.0  # effective samples, below which a condition is too rare to be believed
GRID = 100  # pictures shown at most


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


def draw(model, n, given=None, draw_y=None, x_of=None):
    """n rows [n, D] in model units and their y: from p(x | y), or from p(x | y, the given cells).

    `draw_y(n)` gives conditions [n, C], or None where the model has none; `x_of` as in VAE.sample.
    """
    device = next(model.parameters()).device

    def conditions_of(n):
        return None if draw_y is None else torch.from_numpy(draw_y(n)).to(device)

    sizes = [min(N_AT_A_TIME, n - start) for start in range(0, n, N_AT_A_TIME)]
    if given is None:
        ys = map(conditions_of, sizes)
        pieces = [(model.sample(n, y, x_of), y) for n, y in zip(sizes, ys, strict=True)]
    else:
        x, mask = (torch.from_numpy(a).to(device) for a in given)
        n_samples, ess = min(max(10 * n, PROPOSALS[0]), PROPOSALS[1]), math.inf
        pieces = []
        for size in sizes:
            *piece, log_p, found = resample(
                model, size, x, mask, conditions_of(n_samples), n_samples, x_of
            )
            pieces.append(piece)
            ess = min(ess, found)
        print(f"log p(given): {log_p:.2f} nats; {ess:.0f} effective of {n_samples} samples")
        if ess < FEW:
            print(
                f"Note: with {ess:.0f} effective samples many rows are alike; what is given is rare"
            )
    x, y = zip(*pieces, strict=True)
    return torch.cat(x).cpu().numpy(), None if draw_y is None else torch.cat(y).cpu().numpy()


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


def as_frame(x, mask, columns):
    """The rows as cells of the whole table: ignored columns are empty, constants stay constant.

    x and mask [n, D + number of conditions]: these come last.
    """
    import pandas as pd

    kept = [column.name for column in (*encoding.modelled(columns), *conditions.of(columns))]
    frame = {}
    for column in columns:
        if column.kind == "ignore":
            frame[column.name] = [column.levels[0] if column.levels else ""] * len(x)
            continue
        j = kept.index(column.name)
        text = np.array(texts(column, x[:, j]), dtype=object)
        frame[column.name] = np.where(mask[:, j] > 0, text, "")
    return pd.DataFrame(frame, dtype="str")


def write(frame, columns, out):
    """The rows as a file; in arrays labels are y, as there they are read."""
    ending, others = out.suffix.lower(), {}
    if ending in (".npy", ".npz"):
        if conditions.LABEL in conditions.names(columns):
            others = {"y": conditions.as_labels(frame.pop(conditions.LABEL))}
            columns = [c for c in columns if c.name != conditions.LABEL]
        if not all(c.kind == "ignore" or c.style or not c.levels for c in columns):
            raise UserError(f"--out {out}: an array holds numbers only; write .csv or .parquet")
    if ending not in (".csv", ".tsv"):
        frame = encoding.typed(frame, columns)
    table_files.write(
        frame, out, table_files.File(out, frame.iloc[:0], as_written={"others": others})
    )
    print(f"Wrote {out}: {len(frame)} rows, {len(columns)} columns" + (" and y" if others else ""))


def conditions_drawer(y_train, columns, given, unknown_too, draw_seed):
    """A function of n: conditions [n, C] as in the training rows, those in --given fixed."""
    rng = np.random.default_rng((draw_seed, 1))
    cell, mask = np.zeros((2, 1, len(columns)), np.float32)
    if given is not None:
        cell, mask = (part[:, -len(columns) :] for part in given)
        if not len(conditions.agreeing(y_train, cell, mask, columns)):
            print("Note: no training row has the given conditions together")
    pool = y_train if unknown_too else conditions.whole(y_train, columns)
    return lambda n: conditions.draw(n, pool, cell, mask, columns, rng)


def choose_pixels(likelihood, asked, x_train):
    """What makes pictures of p(x|z)'s parameters, and a line that says it: where grey values of the
    training pictures are rates, the grey picture at z is the mean; else pixels are drawn.
    """
    rates = likelihood.are_rates(x_train)
    if (asked or ("mean" if rates else "drawn")) == "mean":
        of = ", as grey values were probabilities" if rates else ""
        print(f"Pixels are the mean of p(x|z){of} (--pixels drawn: a draw from it)")
        return likelihood.mean
    print("Pixels are drawn from p(x|z) (--pixels mean: its mean)")
    return likelihood.sample


def write_pictures(x, y, fixed, shape, out):
    """Pictures [n, C * H * W] in the user's units as an array that every script reads; their labels
    as `y`, where y [n, C] has them.
    """
    others = {}
    if fixed:
        label, known = (part[:, 0] for part in conditions.from_y(y, fixed))
        others = {"y": conditions.as_labels(np.where(known > 0, texts(fixed[0], label), ""))}
    arrays.write(out, shapes.unflattened(x.astype(np.float32), shape), {"others": others})
    named = " and y" if others and out.suffix.lower() == ".npz" else ""
    print(f"Wrote {out}: {len(x)} {shapes.describe((1, *shape)[-3:])}{named}")


def make_parser():
    parser = Parser(prog="generate.py", description="New rows or pictures from a run.")
    add_run_flags(parser)
    add = parser.add_argument
    add("--n", type=positive_int, default=1000, help="rows or pictures (default: 1000)")
    add("--out", metavar="FILE", help="what to write (default: generated.csv, pictures: .npz)")
    add("--overwrite", action="store_true", help="replace an existing output")
    add("--given", metavar="CELLS", help='fix some columns, as in "job=nurse,age=40" or label=7')
    add("--keep-missing", action="store_true", help="leave the cells empty that a real row lacks")
    add(
        "--marginals",
        choices=("data", "model"),
        default="data",
        help="numbers are mapped to the training rows' distribution of their column, "
        "or stay as the model draws them (default: data)",
    )
    add(
        "--pixels",
        choices=("mean", "drawn"),
        help="pictures are the mean of p(x|z) at a drawn z, or each pixel is drawn too (default: "
        "mean where grey values are taken as probabilities, as by default they are; else drawn)",
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
    columns = [encoding.Column(**column) for column in config["columns"]]
    kept = encoding.modelled(columns)
    picture = len(config["shape"]) > 1
    if args.pixels and not picture:
        raise UserError(f"--pixels goes with pictures, and run {run.name} is of a table")
    out = Path(args.out or ("generated.npz" if picture else "generated.csv"))
    table_files.refuse_output(out, args.overwrite)
    grid = out.with_suffix(".png")
    if picture:
        table_files.refuse_existing(grid, args.overwrite)
    fixed = conditions.of(columns)
    known = [*kept, *fixed]
    given, as_given = (
        (None, {}) if args.given is None else conditions.given_cells(args.given, known)
    )
    (x_train, train_mask, x_held, held_mask), (y_train, y_held) = run.read_rows(), run.read_y()
    train = conditions.beside(x_train, train_mask, y_train, fixed)
    held = conditions.beside(x_held, held_mask, y_held, fixed)
    rng, draw_y, asked = np.random.default_rng(args.seed), None, given
    if given is not None:
        note_far(given, known, *train)
        asked = tuple(part[:, : len(kept)] for part in given)
        asked = asked if asked[1].any() else None
    if fixed:
        draw_y = conditions_drawer(y_train, fixed, given, args.keep_missing, args.seed)
    x_of = choose_pixels(model.likelihood, args.pixels, x_train) if picture else None
    with randomness.fixed_randomness(args.seed):
        x, y = draw(model, args.n, asked, draw_y, x_of)
    marginals = "model" if picture else args.marginals  # a pixel is no column of a table
    if marginals == "data":
        x = with_marginals(x, model, kept, (x_train, train_mask), rng, y_train)
    mask = np.ones_like(x)
    if args.keep_missing:
        mask = train_mask[rng.integers(len(train_mask), size=len(x))].astype(np.float32)
        mask = mask if asked is None else np.maximum(mask, asked[1])
    if picture and out.suffix.lower() in arrays.READERS:
        write_pictures(encoding.to_user(x, kept), y, fixed, config["shape"], out)
    else:
        frame = as_frame(*conditions.beside(x, mask, y, fixed), columns).assign(**as_given)
        write(frame, columns, out)
    if picture:
        grey_map = shapes.grey_map(encoding.to_user(x_train, kept))
        shown = encoding.to_user(x[:GRID], kept)
        sheets.write(grid, sheets.square_of(shown, config["shape"], grey_map))
        print(f"Wrote {grid}")
    if given is None and picture:
        draws = model.likelihood.draw if x_of == model.likelihood.sample else None
        compare_pictures(run, x, x_train, x_held, draws)
    elif given is None:
        generated = conditions.beside(x, np.ones_like(x), y, fixed)
        compare(run, model, known, generated, train, held, marginals)


def compare_pictures(run, x, train, held, draws=None):
    """Say whether generated pictures are copies; by `draws` real ones are drawn as these are.

    Pixel by pixel nothing is compared: it would say little, and the correlations of 64 x 64 pixels
    in colour alone take gigabytes.
    """
    if draws is not None:
        with randomness.fixed_randomness():
            train, held = (draws(torch.from_numpy(real)).numpy() for real in (train, held))
    n_real = len(train) + len(held)
    x = x[:n_real]
    result = {"n_generated": len(x), "n_real": n_real, "marginals": "model"}
    result |= closeness.copies(x, train, held if len(held) else None)
    print(closeness.report_copies(result, "picture"))
    files.write_json(run.path / "generation.json", result)


def compare(run, model, columns, generated, train, held, marginals):
    """Say how near generated rows are to the run's real ones, and keep what the figure needs.

    The conditions are columns like the others, but for the distance between rows.
    """
    n_modelled = len(columns) - len(conditions.of(columns))

    @torch.no_grad()
    def embed(x, mask):
        tensors = [torch.as_tensor(a[:, :n_modelled], dtype=torch.float32) for a in (x, mask)]
        return model.likelihood.cpu().embed(*tensors).numpy()

    train, held = ((x, mask.astype(np.float32)) for x, mask in (train, held))
    generated = tuple(a[: len(train[0]) + len(held[0])] for a in generated)
    result = closeness.compare(columns, generated, train, held, embed) | {"marginals": marginals}
    print(closeness.report(columns, result))
    if marginals == "data" and not all(column.levels for column in columns):
        print("Numbers were mapped to the training rows' marginals (--marginals model: as drawn)")
    files.write_json(run.path / "generation.json", result)
    real = tuple(np.concatenate(pair) for pair in zip(train, held, strict=True))
    arrays = style.of_columns(columns) | {
        "real": np.where(real[1] > 0, encoding.to_user(real[0], columns), np.nan),
        "generated": encoding.to_user(generated[0], columns),
        "correlation_real": closeness.correlations(columns, *real),
        "correlation_generated": closeness.correlations(columns, *generated),
    }
    files.write_atomic(run.generated, lambda f: np.savez_compressed(f, **arrays))


if __name__ == "__main__":
    run_script(main)
