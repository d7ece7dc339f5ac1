"""A table with holes -> the same table, its holes filled; nothing else changes. Pictures too.

python impute.py survey.csv                          # fits on the file; writes survey.imputed.csv
python impute.py survey.csv --run 0001 --draws 20    # and 20 plausible completed tables
python impute.py survey.csv --check                  # and measures itself on hidden cells
python impute.py shapes.npz --run 0001             # floats [N, H, W], NaN: a missing pixel
"""

import parts  # noqa: F401  first: before torch is loaded

# isort: split

from pathlib import Path

import numpy as np
import torch

import data as datasets
from parts import files, randomness
from parts.console.devices import choose_device, choose_threads
from parts.console.flags import Parser, add_device_flags, add_file_flags, count, open_fraction
from parts.console.progress import progress_bar
from parts.console.script import run_script
from parts.errors import UserError
from parts.forms import arrays, conditions
from parts.forms.pictures import picture_files, shapes, sheets
from parts.forms.tables import encoding, table_files
from parts.measure import hidden_cells, quarters
from parts.measure.hidden_cells import N_DRAWS, half_sample_mode
from parts.model.build import load_model
from parts.plots import style
from train import N_KEPT_ROWS, run_of
from vae import Batch

CHUNK_CELLS = 2**23  # drawn at a time
N_SHOWN, N_SHOWN_DRAWS = 16, 2  # pictures on a sheet, and draws of each


class Imputer:
    """A run's model, and what to report of a missing cell: its mean, median or mode."""

    def __init__(self, model, columns, n_samples=100, seed=0, statistic="mean"):
        self.model, self.columns = model, encoding.modelled(columns)
        self.seed, self.statistic = seed, statistic
        self.device = next(model.parameters()).device
        self.eps = model.grid(n_samples, seed).to(self.device)

    def unit(self, mean, std):
        """Means of components in the user's units, from the model's."""
        mean, std = mean.double().cpu().numpy(), std.double().cpu().numpy()
        values = [
            mean[..., j] if column.levels else column.mean_to_user(mean[..., j], std[..., j])
            for j, column in enumerate(self.columns)
        ]
        return torch.from_numpy(np.stack(values, -1)).to(self.device)

    def chunks(self, x, mask, n_draws, y=None):
        """Slice, values [n, D] and draws [M, n, D] in the user's units (codes for categories).

        Cells that lie too far out to tell anything of the others in their row are passed over.
        """
        mask = mask * ~encoding.far(x, self.columns)
        n_rows = max(1, CHUNK_CELLS // (x.shape[1] * max(1, n_draws)))
        with randomness.fixed_randomness(self.seed):
            for start in range(0, len(x), n_rows):
                rows = slice(start, start + n_rows)
                batch = [a if a is None else
                         torch.as_tensor(a[rows], dtype=torch.float32, device=self.device)
                         for a in (x, mask, y)]  # fmt: skip
                filled = self.model.impute(*batch, draws=n_draws, eps=self.eps, unit=self.unit)
                draws = encoding.to_user(filled.draws.cpu().numpy(), self.columns)
                yield rows, self.point(filled.mean.cpu().numpy(), draws), draws

    def point(self, mean, draws):
        """The statistic asked for; of categories the most probable level, of ordered ones the
        median, whatever is asked."""
        numbers = [j for j, column in enumerate(self.columns) if not column.levels]
        if self.statistic != "mean" and numbers:
            statistic = {"median": lambda d: np.median(d, 0), "mode": half_sample_mode}
            mean[:, numbers] = statistic[self.statistic](draws[..., numbers])
        return mean

    @property
    def n_draws(self):
        return 0 if self.statistic == "mean" else N_DRAWS


def fill(rows, columns, imputer, n_tables=0, interval=None):
    """The file's cells with the holes filled, and `n_tables` such frames with drawn ones instead.

    With `interval` the first has columns NAME_low and NAME_high of the numbers that had holes.
    """
    frame, kept = rows.file.frame, encoding.modelled(columns)
    holes = np.column_stack([encoding.holes(frame, c.name) for c in kept])
    todo = np.flatnonzero(holes.any(1))
    n_draws = max(imputer.n_draws, n_tables, N_DRAWS if interval else 0)
    found, drawn, bounds = np.empty((len(todo), len(kept))), [], []
    tail = 50 * (1 - interval) if interval else 0
    with progress_bar(len(todo), 0) as bar:
        y = None if rows.y is None else rows.y[todo]
        for part, values, draws in imputer.chunks(rows.x[todo], rows.mask[todo], n_draws, y):
            found[part] = values
            drawn.append(draws[:n_tables].astype(np.float32 if n_tables == 0 else np.float64))
            if interval:
                bounds.append(np.percentile(draws, (tail, 100 - tail), axis=0))
            bar.update(len(values))
    drawn = np.concatenate(drawn, 1) if drawn else np.empty((n_tables, 0, len(kept)))
    output = [_with_cells(frame, kept, holes, todo, v) for v in (found, *drawn[:n_tables])]
    if interval and len(todo):
        low, high = np.concatenate(bounds, 1)
        for j, column in enumerate(kept):
            if holes[:, j].any() and not column.levels:
                at = todo[holes[todo, j]]
                for name, values in ((f"{column.name}_low", low), (f"{column.name}_high", high)):
                    number = frame[column.name].dtype.kind == "f"
                    cells = np.full(len(frame), np.nan if number else "", dtype=object)
                    written = column.text_of(values[holes[todo, j], j])
                    cells[at] = [float(text) for text in written] if number else written
                    output[0][name] = cells.astype(float if number else str)
    return output, holes


def _with_cells(frame, columns, holes, todo, values):
    """A copy of the frame whose holes hold `values` [len(todo), D], in their columns' style."""
    frame = frame.copy()
    for j, column in enumerate(columns):
        at = holes[todo, j]
        if at.any():
            cells = frame[column.name].to_numpy(dtype=object, copy=True)
            written = column.text_of(values[at, j])
            number = frame[column.name].dtype.kind == "f"
            cells[todo[at]] = [float(text) for text in written] if number else written
            frame[column.name] = cells.astype(float) if number else cells.astype(str)
    return frame


def make_parser():
    parser = Parser(prog="impute.py", description="Fill the holes of a table.")
    add_file_flags(parser, "imputed")
    parser.add_argument(
        "--statistic",
        choices=("mean", "median", "mode"),
        default="mean",
        help="of a number's conditional distribution; categories get the most probable "
        "(default: mean)",
    )
    parser.add_argument(
        "--draws", type=count, default=0, help="also write so many plausible tables (default: 0)"
    )
    parser.add_argument(
        "--interval", type=open_fraction, help="add NAME_low and NAME_high that hold this share"
    )
    parser.add_argument(
        "--check", action="store_true", help="hide some cells, of pictures quarters, and measure"
    )
    datasets.add_kind_flags(parser)
    add_device_flags(parser)
    return parser


def main(argv=None):
    args = make_parser().parse_args(argv)
    if datasets.form_of(args.file) == "pictures":
        return fill_pictures(args)
    file = table_files.read(args.file)
    out = Path(args.out or table_files.output_of(args.file, "imputed"))
    digits = len(str(args.draws))
    drawn = [table_files.output_of(out, f"{i:0{digits}d}") for i in range(1, args.draws + 1)]
    text = any(kind.kind not in "biuf" for kind in file.frame.dtypes)
    for path in (out, *drawn):
        table_files.refuse_output(path, args.overwrite, args.file, text=text)
    run = run_of(args, preset="impute", held_out=0.1 if args.check else 0.0)
    model, checkpoint = load_model(run, choose_device(args.device))
    config = checkpoint["config"]
    columns = [encoding.Column(**column) for column in config["columns"]]
    if args.interval:
        refuse_names(file, columns)
    torch.set_num_threads(choose_threads(args.threads, 2**30))
    rows = conditions.read_rows(file, columns, run.read_y()[0])
    far = encoding.far(rows.x, encoding.modelled(columns)) & (rows.mask > 0)
    for note in [*rows.notes, *far_notes(far, encoding.modelled(columns))]:
        print(f"Note: {note}")
    imputer = Imputer(model, columns, args.n_samples, args.seed, args.statistic)
    fresh, trained = rows_to_check(run, rows, config) if args.check else (None, None)
    outputs, holes = fill(rows, columns, imputer, args.draws, args.interval)
    for path, frame in zip((out, *drawn), outputs, strict=True):
        table_files.write(encoding.as_held(frame, columns, file, path), path, file)
    kept = encoding.modelled(columns)
    left = sum(int(encoding.holes(file.frame, c.name).sum()) for c in columns if c not in kept)
    print(f"Filled {holes.sum()} cells in {holes.any(1).sum()} of {len(holes)} rows"
          + (f"; {left} in columns that are not modelled stay empty" if left else ""))  # fmt: skip
    if args.check:
        measure(run, imputer, fresh, trained, args.interval or 0.9, args.seed)
    for path in (out, *drawn):
        print(f"Wrote {path}")
    print(f"Fill other files with: python impute.py FILE {run.flags(args.runs_dir)}")
    return 0


def fill_pictures(args):
    """The same of an array of pictures, by a run on such; a sheet of some lies beside it."""
    if args.interval or args.statistic != "mean":
        raise UserError("--interval and --statistic go with tables: pixels are filled by the mean")
    if Path(args.file).is_dir():
        raise UserError(f"{args.file} is a folder, whose pictures have no holes; give an array")
    run = run_of(args)
    out = Path(args.out or table_files.output_of(args.file, "imputed"))
    digits = len(str(args.draws))
    drawn = [table_files.output_of(out, f"{i:0{digits}d}") for i in range(1, args.draws + 1)]
    sheet = out.with_suffix(".png")
    for path in (out, *drawn):
        table_files.refuse_output(path, args.overwrite, args.file)
        if path.suffix.lower() not in arrays.READERS:
            raise UserError(f"--out {path}: expected a name ending in .npy or .npz for pictures")
    table_files.refuse_existing(sheet, args.overwrite)
    model, checkpoint = load_model(run, choose_device(args.device))
    config = checkpoint["config"]
    columns = [encoding.Column(**column) for column in config["columns"]]
    found = picture_files.of_run(args.file, config, columns, run.read_y()[0], holes=True)
    columns, x_train = encoding.modelled(columns), run.read_rows()[0]
    model.likelihood.check(found.x, [column.name for column in columns])
    whole = f"run {run.name} was trained on whole pictures; --hide-rate 0.9 makes better fills"
    for note in found.notes + [whole] * (not config["hide_rate"]):
        print(f"Note: {note}")
    torch.set_num_threads(choose_threads(args.threads, 2**30))
    holes = found.mask == 0
    todo = np.flatnonzero(holes.any(1))
    n_draws = max(args.draws, N_SHOWN_DRAWS)
    outputs = [found.array.copy() for _ in range(1 + n_draws)]
    batch = Batch(*[a if a is None else a[todo] for a in (found.x, found.y, found.mask)])
    # Of grey pixels that are rates a draw is the rate at a drawn z, not 0 or 1.
    x_of = model.likelihood.mean if model.likelihood.are_rates(x_train) else None
    mean, draws = fill_rows(model, batch, n_draws, args, x_of)
    at = holes[todo]
    for output, values in zip(outputs, [mean, *draws], strict=True):
        some = output.reshape(holes.shape)[todo]
        some[at] = encoding.to_user(values, columns)[at]
        output.reshape(holes.shape)[todo] = some
    for path, output in zip((out, *drawn), outputs, strict=False):
        arrays.write(path, output, found.as_written)
    print(f"Filled {holes.sum()} pixels in {len(todo)} of {len(holes)} pictures")
    if args.check:
        check_quarters(run, model, config, args)
    for path in (out, *drawn):
        print(f"Wrote {path}")
    if len(todo):
        shown = [a.reshape(holes.shape)[todo[:N_SHOWN]] for a in (found.array, *outputs[:3])]
        grey_map = shapes.grey_map(encoding.to_user(x_train, columns))
        sheets.write(sheet, sheets.as_colour(np.stack(shown), config["shape"], grey_map))
        print(f"Wrote {sheet}: as it was, filled, and two draws")
    print(f"Fill other pictures with: python impute.py FILE {run.flags(args.runs_dir)}")
    return 0


def fill_rows(model, batch, n_draws, args, x_of=None):
    """Means [n, D] and draws [M, n, D] of a Batch of arrays, in model units; `x_of` as in VAE."""
    x = batch.x
    if not len(x):
        return x, np.empty((n_draws, *x.shape), x.dtype)
    device = next(model.parameters()).device
    pieces, n_rows = [], max(1, CHUNK_CELLS // (x.shape[1] * n_draws))
    eps = model.grid(args.n_samples, args.seed).to(device)
    with randomness.fixed_randomness(args.seed), progress_bar(len(x), 0) as bar:
        for start in range(0, len(x), n_rows):
            piece = Batch.of(batch.take(slice(start, start + n_rows)), device)
            filled = model.impute(piece.x, piece.mask, piece.y, draws=n_draws, eps=eps, x_of=x_of)
            pieces.append((filled.mean.cpu().numpy(), filled.draws.cpu().numpy()))
            bar.update(len(piece.x))
    means, draws = zip(*pieces, strict=True)
    return np.concatenate(means), np.concatenate(draws, 1)


def check_quarters(run, model, config, args):
    """Print how well quarters of the run's test pictures are told, and keep it in the run."""
    data = datasets.load_for(config)
    if not len(data.test.x):
        raise UserError(f"--check: {run.path} has no test pictures")
    device = next(model.parameters()).device
    train, test = (Batch.of(split, device) for split in (data.train, data.test))
    with randomness.fixed_randomness(args.seed):
        result = quarters.check(model, train, test, data.shape, args.n_samples)
    print(quarters.report(result))
    files.write_json(run.path / "quadrants.json", result)


def far_notes(far, columns):
    """Sentences on cells that lie too far out to tell anything of the others in their row."""
    return [
        f"column {column.name!r}: {far[:, j].sum()} cells lie so far out that the holes of their "
        "rows are filled without them"
        for j, column in enumerate(columns)
        if far[:, j].any()
    ]


def rows_to_check(run, rows, config):
    """Rows of the file that the run was not trained on, and a sample of those it was: (x, mask),
    and y where there are conditions.
    """
    (x_train, train_mask, *held), (y_train, y_held) = run.read_rows(), run.read_y()
    trained = x_train, train_mask.astype(np.float32)
    fresh = rows.x, rows.mask
    # The held-out rows where the file is the run's own, and where the run keeps only some of the
    # rows it was trained on, so that they cannot all be told.
    whole = len(x_train) < N_KEPT_ROWS
    if not whole or config["data_hash"] == table_files.fingerprint(rows.file.path):
        fresh = held[0], held[1].astype(np.float32)
        rows = rows._replace(y=y_held)
    if y_train is not None:
        trained, fresh = (*trained, y_train), (*fresh, rows.y)
    fresh = hidden_cells.without(fresh, trained)
    if not len(fresh[0]):
        raise UserError(f"--check needs rows that run {run.name} did not train on: it has none")
    return fresh, trained


def measure(run, imputer, fresh, trained, interval, draw_seed):
    """Print how well hidden cells are filled, and keep what the figure needs in the run."""
    x, mask, *y = fresh
    result, cells = hidden_cells.check(imputer, x, mask, trained, interval, draw_seed, *y)
    print(hidden_cells.report(result))
    files.write_json(run.path / "imputation.json", result)
    cells |= style.of_columns(imputer.columns) | {"interval": np.array(interval)}
    files.write_atomic(run.imputed, lambda f: np.savez_compressed(f, **cells))


def refuse_names(file, columns):
    """Before any work: a column that --interval would write is there already."""
    for column in encoding.modelled(columns):
        for name in (f"{column.name}_low", f"{column.name}_high"):
            if name in file.frame:
                raise UserError(f"{file.path} has a column named {name!r} already; rename it")


if __name__ == "__main__":
    run_script(main)
