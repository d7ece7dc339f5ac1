"""What every form of data offers: it reads a file, fits a codec, encodes, writes results back.

A form is the only place that knows its kind of data. The verbs ask a form for a `Source`, give the
arrays of its `Encoded` rows to a task, and let the form write what the task returned.
Shapes: N rows, D columns, C numbers of a condition.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parts.errors import UserError
from parts.files import output_of, refuse_output
from parts.forms import conditions, scaling
from parts.forms.tables import encoding

TEXT = (".csv", ".tsv", ".parquet")  # endings of files for tables with text
N_KEPT_ROWS, N_KEPT_CELLS = 5000, 2**22  # of a split, kept in a run to compare other rows with


def random_rows(n, most, seed=0):
    """Numbers of at most `most` of n rows: all in their order, or a random sample.

    The first rows of a file are no sample of it: files are often sorted.
    """
    if n <= most:
        return np.arange(n)
    return np.random.default_rng((seed, n)).permutation(n)[:most]


class Split(NamedTuple):
    """Rows in model units: x [N, D] float32, condition y, mask; for figures and measuring only
    labels [N], and factors [N], which have a named field for each factor that made x."""

    x: np.ndarray
    y: np.ndarray | None = None
    mask: np.ndarray | None = None
    label: np.ndarray | None = None
    factors: np.ndarray | None = None

    def take(self, rows):
        return Split(*[None if part is None else part[rows] for part in self])

    def sample(self, most):
        """A random sample of the rows as a Reference."""
        part = self.take(random_rows(len(self.x), most))
        seen = np.ones(part.x.shape, bool) if part.mask is None else part.mask.astype(bool)
        return Reference(part.x, seen, part.y)


class Reference(NamedTuple):
    """Rows of a run that other rows are compared with: x [n, D], mask [n, D], y [n, C] or None."""

    x: np.ndarray
    mask: np.ndarray
    y: np.ndarray | None = None

    def take(self, rows):
        return Reference(*[None if part is None else part[rows] for part in self])


class Encoded(NamedTuple):
    """A user's data as a run's model sees them, and notes in words for the user.

    `impossible` [N, D] marks cells outside their column's support, which are missing to the model.
    """

    x: np.ndarray
    mask: np.ndarray
    y: np.ndarray | None
    impossible: np.ndarray
    notes: list


@dataclass
class Source:
    """Data as they were read: x [N, D] in the user's units, columns' names, labels, factors.

    `shape` says how the cells of a row lie, (D,) by default; `n_test` rows at the end are an
    official test split; `mask` [N, D] is 0 where a cell is missing; `original` is what the file
    held, and `as_written` what is needed to write its like.
    """

    x: np.ndarray
    names: list
    labels: np.ndarray | None = None
    shape: tuple | None = None
    n_test: int | None = None
    factors: np.ndarray | None = None
    path: Path | None = None
    mask: np.ndarray | None = None
    original: np.ndarray | None = None
    as_written: dict = field(default_factory=dict)

    def __len__(self):
        return len(self.x)

    def cells(self, name):
        """The cells of a column, [N]."""
        return self.x[:, self.names.index(name)]

    def table(self):
        """A DataFrame with a row for each row, to which scores are added."""
        import pandas as pd

        frame = pd.DataFrame({"index": np.arange(len(self))})
        return frame if self.labels is None else frame.assign(label=self.labels)

    @cached_property
    def fingerprint(self):
        """A short hash, by which a run knows its data again."""
        if self.path is not None and Path(self.path).is_file():
            return scaling.file_hash(self.path)
        return scaling.array_hash(self.x, self.names, self.labels)


@dataclass(frozen=True)
class Codec:
    """What was fitted to training rows, as plain values: how cells become model units, and back.

    `columns` are all columns in their order: modelled ones, ignored ones, conditions.
    """

    form: str
    columns: list
    shape: tuple

    @cached_property
    def modelled(self):
        """The columns of x: all but the ignored ones and the conditions."""
        return encoding.modelled(self.columns)

    @cached_property
    def conditions(self):
        """The columns of y."""
        return conditions.condition_columns(self.columns)

    @property
    def y_dim(self):
        return sum(conditions.sizes(self.conditions))

    def decode(self, x):
        """Model units [..., D] -> the user's units, float64; a category stays its code."""
        return encoding.to_user(x, self.modelled)

    def is_far_out(self, x):
        """True where a number lies too far out to tell of the others in its row, [N, D]."""
        return encoding.is_far_out(x, self.modelled)

    def to_dict(self):
        columns = [column.to_dict() for column in self.columns]
        return {"form": self.form, "columns": columns, "shape": list(self.shape)}

    @classmethod
    def from_dict(cls, plain):
        columns = [encoding.Column(**column) for column in plain["columns"]]
        return cls(plain["form"], columns, tuple(plain["shape"]))


class Form:
    """A kind of data. Subclasses set `name` and define `recognises`, `read` and `write_rows`.

    What is defined here serves rows of plain numbers; the other attributes say what a verb may do.
    """

    name = ""
    row, rows, first_row = "row", "rows", 0  # what one is called, several, and its first number
    cells, files = "cells", "files"  # what a row holds, and what a file is called
    codec = Codec
    columns_may_be_given = False  # whether a column may be a condition; labels always may
    explains = False  # whether `explain` has words for an odd row
    check = "cells"  # what `impute.py --check` hides: a key of parts.tasks.fill.CHECKS
    compares = "columns"  # how generated rows are compared with real ones, or "copies" alone
    walks = False  # whether walks through latent space are worth a figure
    marginals = False  # whether generated numbers may be mapped to the training rows' marginals
    default_pixels = "drawn"  # generated rows are a draw from p(x|z), or its mean; None: by data
    n_drawn = 0  # draws that `write_filled` shows, whatever --draws says

    # Recognise and read

    def recognises(self, path):
        """Whether this form reads `path`; of large files only the header is looked at."""
        raise NotImplementedError

    def read(self, path, config=None, holes=False):
        """The Source at `path`; with `holes` missing cells are marked in its mask."""
        raise NotImplementedError

    def default_likelihood(self, path):
        """The name of the likelihood that `--data path` is given where none is asked for."""
        return "gaussian"

    def settings_of(self, verb, path):
        """Settings of a run that `verb` fits to a user's file, by their names in the config."""
        return {}

    def refuse(self, config):
        """Raise UserError for options of the data that do not go with this form."""

    # Fit and encode

    def fit(self, source, rows, config):
        """The Codec fitted to the training rows numbered `rows`."""
        given = conditions.fit(config, self.possible_conditions(source), source, rows)
        names = [name for name in source.names if name not in {c.name for c in given}]
        x = source.x if len(names) == len(source.names) else self._without_conditions(source, given)
        columns = scaling.fit(x, rows, names, config.scaling)
        ordered = conditions.in_order(columns, given, source.names)
        return self.codec(self.name, ordered, source.shape or (len(columns),))

    def encode(self, source, codec, parts, config):
        """Splits of the rows in `parts`, each an array of row numbers; and notes in words."""
        if config.scaling != "none" and source.mask is not None:
            raise UserError(f"{config.data} has missing cells, which this likelihood does not take")
        y, notes = conditions.conditions_of_source(source, codec.conditions)
        x = self._without_conditions(source, codec.conditions)
        unscaled = config.scaling == "none"
        arrays = [scaling.to_model(x, rows, codec.modelled, unscaled) for rows in parts]
        if config.static_pixels:
            rng = np.random.default_rng(config.data_seed)
            arrays = [scaling.binarized(array, rng) for array in arrays]
        others = Split(None, y, source.mask, source.labels, source.factors)
        pairs = zip(arrays, parts, strict=True)
        return [others.take(rows)._replace(x=array) for array, rows in pairs], notes

    def encode_for(self, source, codec, config, y_train=None):
        """A user's Source as the Encoded rows of a run with this codec and DataConfig.

        `y_train` are the conditions of training rows: a note says what they never lacked.
        """
        self.refuse_other_data(source, codec)
        y, notes = conditions.conditions_of_labels(
            source.labels, source.path, codec.columns, y_train
        )
        x = scaling.to_model(source.x, np.arange(len(source)), codec.modelled)
        if config.static_pixels:
            x = scaling.binarized(x, np.random.default_rng(config.data_seed))
        mask = np.ones_like(x) if source.mask is None else source.mask.astype(np.float32)
        return Encoded(x * mask, mask, y, np.zeros(x.shape, bool), notes)

    def refuse_other_data(self, source, codec):
        """Raise UserError where a user's data are not of the run's kind."""
        shape = source.shape or (len(source.names),)
        if tuple(shape) != tuple(codec.shape):
            raise UserError(
                f"{source.path} holds {self.rows} of shape {shape}, and the run was trained on "
                f"{codec.shape}"
            )

    def possible_conditions(self, source):
        """The columns that may be conditions."""
        return source.names if self.columns_may_be_given else []

    def _without_conditions(self, source, given):
        """x without the columns that are conditions."""
        names = {column.name for column in given}
        left = [j for j, name in enumerate(source.names) if name not in names]
        return source.x if len(left) == len(source.names) else source.x[:, left]

    # Describe

    def describe(self, codec):
        """How the columns are read, as lines."""
        return []

    def describe_run(self, codec):
        """What a run of this form was trained on, and what may be given to it."""
        return f"{self.rows} of {self.name}"

    def describe_shape(self, shape):
        """Before the number of columns in a run's first line, with a comma; or nothing."""
        return ""

    def describe_ranges(self, data):
        """Lines on the values of the training rows, for `data.py`."""
        return []

    def next_commands(self, data):
        """What to do with a trained run; `{flags}` names it."""
        return ["evaluate.py {flags}", "plot_results.py {flags}"]

    # Score

    def score_outputs(self, path, out, overwrite):
        """The files that scoring `path` writes; a UserError where one may not be written."""
        path = Path(str(path).rstrip("/"))
        out = Path(out or output_of(path, "scored", ".csv"))
        refuse_output(out, overwrite, path, TEXT)
        return [out]

    def refuse_scoring(self, source, names):
        """Raise UserError where the source has a column of one of these names already."""

    def explain(self, scorer, source, encoded, chosen, typical):
        """What is odd about the rows numbered `chosen`, in words; [len(chosen)]."""
        return [""] * len(chosen)

    def write_scores(self, source, codec, scored, outputs, fitted):
        """Write the source's table with the columns of `scored`; returns lines that say so."""
        from parts.forms.tables import table_files

        frame = source.table().assign(**scored)
        table_files.write(frame, outputs[0], table_files.File(outputs[0], frame.iloc[:0]))
        return [f"Wrote {outputs[0]}"]

    # Fill

    def fill_outputs(self, path, out, n_draws, overwrite, endings=None):
        """The filled file, one for each draw, and others; a UserError where one may not be."""
        out = Path(out or output_of(path, "imputed"))
        width = len(str(n_draws))
        drawn = [output_of(out, f"{i:0{width}d}") for i in range(1, n_draws + 1)]
        for each in (out, *drawn):
            refuse_output(each, overwrite, path, endings)
        return [out, *drawn]

    def refuse_filling(self, source, outputs, statistic, interval):
        """Raise UserError for options of filling that do not go with this form."""

    def check_filling(self, source, codec, interval):
        """Raise UserError where the source cannot be filled as asked by a run with this codec."""

    def n_left_empty(self, source, codec):
        """How many missing cells will stay missing, because they are not modelled."""
        return 0

    def holes(self, source, codec):
        """True where a cell is to be filled, [N, D]."""
        if source.mask is None:
            return np.zeros((len(source), len(codec.modelled)), bool)
        return source.mask == 0

    def notes_on_filling(self, encoded, codec, fitted):
        """Sentences on what the filled cells will be like."""
        return []

    def write_filled(self, source, codec, holes, todo, filled, outputs, fitted):
        """Write the filled data and a file for each draw; returns lines that say so.

        `filled` has `values` [n, D] and `draws` [M, n, D] of the rows `todo`, in the user's units.
        """
        n_tables = len(outputs)
        for path, values in zip(outputs, [filled.values, *filled.draws][:n_tables], strict=True):
            x = np.array(source.x, dtype=np.float64)
            some = x[todo]
            some[holes[todo]] = values[holes[todo]]
            x[todo] = some
            self.write_rows(path, x, codec, source)
        return [f"Wrote {path}" for path in outputs]

    # Generate

    def refuse_pixels(self, asked, run):
        """Raise UserError for an `asked` kind of pixels where there are none."""
        if asked:
            raise UserError(f"--pixels goes with pictures, and run {run} is of {self.rows}")

    def describe_samples(self, fitted, x_of):
        """Lines on how generated rows are made."""
        return []

    default_samples = "generated.csv"  # what generate.py writes

    def sample_outputs(self, out, overwrite):
        """The files that generated rows are written to; a UserError where one may not be."""
        out = Path(out or self.default_samples)
        refuse_output(out, overwrite)
        return [out]

    def write_samples(self, x, mask, y, codec, given, outputs, fitted):
        """Write generated rows x [n, D] in model units; returns lines that say so."""
        self.write_rows(outputs[0], codec.decode(x), codec)
        return [f"Wrote {outputs[0]}: {len(x)} {self.rows}"]

    def write_rows(self, path, x, codec, source=None):
        """Write rows x [n, D] in the user's units to `path`, in the form of `source` if it can."""
        raise NotImplementedError

    # Figures

    def figures(self):
        """File of a run -> figure -> how it is drawn from the file's arrays."""
        from parts.forms.tables.figures import TABLE_FIGURES

        return TABLE_FIGURES

    def figure_arrays(self, data, figures):
        """What evaluate.py keeps for the figures: rows in the user's units, and what may colour
        points of the latent space.

        `figures` holds x, recon and std of some test rows in model units, and mu of the first n.
        """
        codec, std = data.codec, figures["std"]
        levels = np.array([bool(column.levels) for column in codec.modelled])
        std = np.where(levels, np.nan, std)  # of a category's code it says nothing
        recon = figures["recon"]
        rows = {"x": figures["x"], "recon": recon, "low": recon - 2 * std, "high": recon + 2 * std}
        found = {name: codec.decode(x) for name, x in rows.items()}
        return found | self.point_arrays(data, len(figures["mu"]), codec.modelled)

    def point_arrays(self, data, n, columns):
        """The cells of the first n test rows by which points may be coloured, in the user's units.

        Of `columns` and the conditions; codes of levels, NaN where missing.
        """
        test, given = data.test.take(slice(n)), data.codec.conditions
        cells = [np.empty((len(test.x), 0))]
        if columns:
            cells.append(with_holes(encoding.to_user(test.x, columns), test.mask))
        if given:
            x, known = conditions.from_y(test.y, given)
            cells.append(with_holes(encoding.to_user(x, given), known))
        of = encoding.column_arrays([*columns, *given])
        kept = {f"point_{key}": of[key] for key in ("columns", "levels", "dates")}
        return kept | {"points": np.hstack(cells)}


def with_holes(x, mask):
    """x, NaN where a cell is missing; `mask` None: none is."""
    return x if mask is None else np.where(mask > 0, x, np.nan)
