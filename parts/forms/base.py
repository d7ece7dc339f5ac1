"""The interface of a form of data: it reads a file, fits a codec, encodes rows, writes results.

Only a form knows its kind of data. A script asks a form for a `Source`, gives the arrays of its
`Encoded` rows to a task, and lets the form write what the task returned.
Shapes: N rows, D columns, C numbers of a condition.
"""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parts.errors import UserError
from parts.files import STANDARD, output_of, refuse_output
from parts.forms import conditions, scaling, units
from parts.options import from_plain
from parts.words import counted

N_KEPT_ROWS, N_KEPT_CELLS = 5000, 2**22  # most rows and cells of a split that a run keeps
MOST_TOLD = 200  # most columns of which a run keeps words for its report
N_FREQUENT = 3  # most levels that such words name


def random_rows(n, most, seed=0):
    """The numbers of all n rows in order, or of a random sample of `most` rows.

    The first rows would be no fair sample, because files are often sorted.
    """
    if n <= most:
        return np.arange(n)
    return np.random.default_rng((seed, n)).permutation(n)[:most]


class Split(NamedTuple):
    """Rows in model units: x [N, D] float32, conditions y [N, C], mask [N, D].

    `label` [N] and `factors` [N], with a named field for each factor that generated x, are for
    figures and measures only. `values` [N, R] are those of the columns in relations. `when` [N, 2]
    holds the group and the seconds of windows of a series, for figures.
    """

    x: np.ndarray
    y: np.ndarray | None = None
    mask: np.ndarray | None = None
    label: np.ndarray | None = None
    factors: np.ndarray | None = None
    values: np.ndarray | None = None
    when: np.ndarray | None = None

    def take(self, rows):
        return Split(*[None if part is None else part[rows] for part in self])

    def sample(self, most):
        """A random sample of the rows as a Reference."""
        part = self.take(random_rows(len(self.x), most))
        seen = np.ones(part.x.shape, bool) if part.mask is None else part.mask.astype(bool)
        return Reference(part.x, seen, part.y, part.values, part.when)


class Reference(NamedTuple):
    """Rows that a run keeps for comparisons: x [n, D], mask [n, D], y [n, C] or None.

    `values` [n, R] are those of the columns in relations, None without any. `when` [n, 2] holds the
    group and the seconds of windows of a series, None of other rows and in old runs.
    """

    x: np.ndarray
    mask: np.ndarray
    y: np.ndarray | None = None
    values: np.ndarray | None = None
    when: np.ndarray | None = None

    def take(self, rows):
        return Reference(*[None if part is None else part[rows] for part in self])

    def check(self, codec):
        """Raise ValueError unless the arrays are such as a run with this codec keeps."""
        n_related = len(codec.rules.names) if codec.rules else 0
        n_when = 0 if self.when is None else 2
        widths = len(codec.modelled), len(codec.modelled), codec.y_dim, n_related, n_when
        kinds = "f", "b", "f", "f", "f"
        for name, part, width, kind in zip(self._fields, self, widths, kinds, strict=True):
            shape = (len(self.x), width)
            if part is None and not width:
                continue
            if part is None or part.shape != shape or part.dtype.kind != kind:
                held = "missing" if part is None else f"of shape {part.shape} and {part.dtype}"
                raise ValueError(f"{name} is {held}, expected {shape}")
            if name != "values" and not np.isfinite(part).all():
                raise ValueError(f"{name} holds NaN or infinite cells")
        for j, column in enumerate(codec.modelled):
            if column.levels and not np.isin(self.x[:, j], range(len(column.levels))).all():
                raise ValueError(f"x holds codes that are no level of {column.name!r}")


class Encoded(NamedTuple):
    """Rows of a user's data in a run's model units, and notes for the user.

    `strange` lists cells that the model cannot take, see `tables.encoding.Strange`; for the model
    they are missing. `values` [N, R] are those of the columns in relations, None without any.
    """

    x: np.ndarray
    mask: np.ndarray
    y: np.ndarray | None
    strange: list
    notes: list
    values: np.ndarray | None = None
    layout: object = None


@dataclass
class Source:
    """Data as they were read: x [N, D] in the user's units, names of columns, labels, factors.

    `shape` is the shape of a row, (D,) by default; the last `n_test` rows are an official test
    split; `mask` [N, D] is 0 where a cell is missing. `original` is the array in the file,
    `copies` [N] is equal where rows are, and `as_written` says what a file of the same form needs.
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
    copies: np.ndarray | None = None
    as_written: dict = field(default_factory=dict)
    notes: list = field(default_factory=list)  # for the user, on how the data were read

    def __len__(self):
        return len(self.x)

    def cells(self, name):
        """The cells of a column, [N]."""
        return self.x[:, self.names.index(name)]

    def table(self):
        """A DataFrame with one row per row of x, to which scores are added."""
        import pandas as pd

        frame = pd.DataFrame({"index": np.arange(len(self))})
        return frame if self.labels is None else frame.assign(label=self.labels)

    @cached_property
    def fingerprint(self):
        """A short hash, by which a run recognises its data."""
        if self.path is not None and Path(self.path).is_file():
            return scaling.file_hash(self.path)
        return scaling.array_hash(self.x, self.names, self.labels)


@dataclass(frozen=True)
class Codec:
    """The map between cells and model units, fitted to training rows, as plain values.

    `columns` are the modelled columns, the ignored ones and the conditions, in the data's order.
    """

    form: str
    columns: list
    shape: tuple
    relations: list = field(default_factory=list)  # of the training rows, see forms/tables
    dialect: object | None = None  # how their text file is written, see tables/text_files.py

    @cached_property
    def modelled(self):
        """The columns of x, which exclude ignored columns and conditions."""
        return units.modelled(self.columns)

    @property
    def measured(self):
        """The modelled columns of a row of the file."""
        return self.modelled

    @cached_property
    def conditions(self):
        """The columns of y."""
        return conditions.condition_columns(self.columns)

    @property
    def y_dim(self):
        return sum(conditions.sizes(self.conditions))

    @property
    def may_be_given(self):
        """The columns of which a cell may be fixed where rows are generated."""
        return [*self.modelled, *self.conditions]

    shrinkage = ()  # of the covariance of windows, where rows are such

    @property
    def state_dim(self):
        """The numbers of y that tell the states at each step of a window, at its end."""
        return 0

    def decode(self, x):
        """Convert model units [..., D] to the user's units, float64; categories stay codes."""
        return units.to_user(x, self.modelled)

    def is_far_out(self, x):
        """True where a number is too extreme to predict other cells of its row from it, [N, D]."""
        return units.is_far_out(x, self.modelled)

    @cached_property
    def rules(self):
        """The Rules of the relations, None without any."""
        from parts.forms.tables.rules import Rules

        return Rules(self.columns, self.relations) if self.relations else None

    def to_dict(self):
        columns = [column.to_dict() for column in self.columns]
        plain = {"form": self.form, "columns": columns, "shape": list(self.shape)}
        if self.relations:
            plain["relations"] = [relation.to_dict() for relation in self.relations]
        if self.dialect is not None:
            plain["dialect"] = vars(self.dialect)
        return plain

    @classmethod
    def from_dict(cls, plain):
        columns = [from_plain(units.Column, column) for column in plain["columns"]]
        from parts.forms.tables.relations import Relation
        from parts.forms.tables.text_files import Dialect

        relations = [from_plain(Relation, relation) for relation in plain.get("relations", [])]
        dialect = from_plain(Dialect, plain["dialect"]) if "dialect" in plain else None
        return cls(plain["form"], columns, tuple(plain["shape"]), relations, dialect)


class Form:
    """A kind of data. Subclasses set `name` and define `recognises`, `read` and `write_rows`.

    The methods of this class serve rows of plain numbers; the attributes say what scripts may do.
    """

    name = ""
    row, rows = "row", "rows"  # words for one and for several
    learned = None  # words for one and for several rows of the model, where these are others
    first_row = 0  # the number of the first row in reports
    cells, files = "cells", "files"  # words for the parts of a row and for files
    codec = Codec
    columns_may_be_given = False  # whether a column may be a condition, as labels may
    explains = False  # whether `explain` explains odd rows
    scores = fills = "rows"  # keys of SCORERS and FILLERS in parts.tasks: what is scored and filled
    check = "cells"  # a key of parts.tasks.fill.CHECKS: what `impute.py --check` hides
    compares = "columns"  # a key of parts.tasks.sample.COMPARISONS
    walks = False  # whether figures show walks through latent space
    marginals = False  # whether generated numbers can be mapped to training marginals
    default_pixels = "drawn"  # drawn or mean, of p(x|z); None: the data decide
    holds_rates = False  # whether numbers in [0, 1] are probabilities, as grey values are
    bytes_per_cell = 20  # least that a generated cell takes until it is written
    n_drawn = 0  # draws that `write_filled` needs in addition to --draws

    # Recognise and read

    def recognises(self, path, config=None):
        """Whether this form reads `path`, by the options of reading in `config`."""
        raise NotImplementedError

    def read(self, path, config=None, holes=False):
        """Read the Source at `path`; with `holes` its mask marks missing cells."""
        raise NotImplementedError

    def default_likelihood(self, path):
        """The name of the default likelihood for `--data path`."""
        return "gaussian"

    def settings_of(self, verb, path):
        """Options of a run that the script `verb` fits to a user's file, by name."""
        return {}

    def refuse(self, config):
        """Raise UserError for options of the data that this form does not take."""

    # Fit and encode

    def split(self, source, config):
        """Row numbers of the training, held-out and test rows, three arrays; None: at random."""
        return None

    def fit(self, source, rows, config):
        """The Codec fitted to the training rows numbered `rows`."""
        given = conditions.fit(config, self.possible_conditions(source), source, rows)
        names = [name for name in source.names if name not in {c.name for c in given}]
        x = source.x if len(names) == len(source.names) else self._without_conditions(source, given)
        columns = scaling.fit(x, rows, names, config.scaling)
        ordered = conditions.in_order(columns, given, source.names)
        return self.codec(self.name, ordered, source.shape or (len(columns),))

    def encode(self, source, codec, parts, config):
        """Encode the rows of each array of row numbers in `parts` as a Split; and notes."""
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
        """Encode a user's Source for a run with this codec and DataConfig.

        `y_train` are conditions of training rows; a note names those that are never missing there.
        """
        self.refuse_other_data(source, codec)
        y, notes = conditions.conditions_of_labels(
            source.labels, source.path, codec.columns, y_train
        )
        x = scaling.to_model(source.x, np.arange(len(source)), codec.modelled)
        if config.static_pixels:
            x = scaling.binarized(x, np.random.default_rng(config.data_seed))
        mask = np.ones_like(x) if source.mask is None else source.mask.astype(np.float32)
        return Encoded(x * mask, mask, y, [], notes)

    def codec_for(self, source, codec, config):
        """The codec of a run with what a user's file writes in another way, and notes on it.

        `config` is the DataConfig by which the file is read.
        """
        return codec, []

    def refuse_other_data(self, source, codec):
        """Raise UserError if a user's rows have another shape than the run's."""
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
        """Lines on the kinds of the columns."""
        return []

    def describe_run(self, codec):
        """Words for the data of a run of this form."""
        return f"{self.rows} of {self.name}"

    def describe_size(self, codec, n):
        """Words for the columns and for the numbers n of training, held-out and test rows."""
        return (
            f"{self.describe_shape(codec.shape)}{columns_in_words(codec)}; rows: {n[0]} train, "
            f"{n[1]} held out, {n[2]} test"
        )

    def describe_shape(self, shape):
        """Words for the shape of a row, with a comma at the end, or \"\"."""
        return ""

    def describe_ranges(self, data, source, rows):
        """Lines on the ranges of the training rows, which `data.py` prints.

        `rows` are their numbers in the Source of the data.
        """
        return []

    def column_facts(self, data):
        """What the columns hold in the training rows: name -> values in words, share of holes."""
        facts, train = {}, data.train
        for j, column in enumerate(data.codec.modelled[:MOST_TOLD]):
            seen = train.x[:, j] if train.mask is None else train.x[train.mask[:, j] > 0, j]
            empty = round(1 - len(seen) / max(1, len(train.x)), 4)
            facts[column.name] = {"values": values_in_words(column, seen), "empty": empty}
        return facts

    def next_commands(self, data):
        """Commands for a trained run, which `{flags}` names."""
        return ["evaluate.py {flags}", "plot_results.py {flags}", "generate.py {flags}"]

    # Score

    def score_outputs(self, path, out, overwrite):
        """The files that scoring `path` writes; UserError if one of them cannot be written."""
        path = Path(str(path).rstrip("/"))
        from parts.forms.tables import table_files

        out = Path(out or output_of(path, "scored", ".csv"))
        table_files.refuse_output(out, overwrite, path, text=True)
        return [out]

    def refuse_scoring(self, source, names):
        """Raise UserError if the source already has a column with one of these names."""

    def online(self, asked):
        """Options of a scorer: whether rows are scored only by those before them."""
        if asked:
            raise UserError(f"--online goes with a series: {self.rows} have no order")
        return {}

    def flagged(self, scorer, source, encoded, scores, beyond):
        """Which rows [N] are flagged, of those whose scores lie `beyond` the threshold."""
        return beyond

    def explain(self, scorer, source, encoded, chosen, typical):
        """Explain in words why the rows numbered `chosen` are odd, [len(chosen)]."""
        return [""] * len(chosen)

    def write_scores(self, source, codec, scored, outputs, fitted):
        """Write the source's table with the columns of `scored`; returns lines to print."""
        from parts.forms.tables import table_files

        frame = source.table().assign(**scored)
        table_files.write(frame, outputs[0], table_files.File(outputs[0], frame.iloc[:0]))
        return [f"Wrote {outputs[0]}"]

    def scored_arrays(self, source, codec, rank, fitted):
        """Arrays for figures of the oddest rows, by their `rank` [N]."""
        return {}

    def events_by_labels(self, source, labels):
        """How many events of the labels [N] of scored rows were found: a dict, {} without time."""
        return {}

    def scored_facts(self, source, codec):
        """What a run keeps of the scores for its report, beside the oddest rows: plain values."""
        return {}

    # Fill

    def fill_outputs(self, path, out, n_draws, overwrite, endings=None):
        """The files that filling writes: the filled data, then one file per draw."""
        out = Path(out or output_of(path, "imputed"))
        width = len(str(n_draws))
        if n_draws and str(out) == STANDARD:
            raise UserError("--draws writes a file for each draw: give --out the name of a file")
        drawn = [output_of(out, f"{i:0{width}d}") for i in range(1, n_draws + 1)]
        for each in (out, *drawn):
            refuse_output(each, overwrite, path, endings)
        return [out, *drawn]

    def with_missing_rows(self, source, codec, config):
        """The source with the rows that a series lacks."""
        raise UserError(f"--grid goes with a series, and {source.path} holds {self.rows}")

    def refuse_filling(self, source, outputs, statistic, interval):
        """Raise UserError for options of filling that this form does not take."""

    def check_filling(self, source, codec, interval):
        """Raise UserError if a run with this codec cannot fill the source."""

    def n_left_empty(self, source, codec):
        """The number of missing cells in columns that are not modelled, which stay missing."""
        return 0

    def holes(self, source, codec):
        """True where a cell is missing and modelled, [N, D]."""
        if source.mask is None:
            return np.zeros((len(source), len(codec.modelled)), bool)
        return source.mask == 0

    def notes_on_filling(self, encoded, codec, fitted):
        """Notes on the quality of the filled cells."""
        return []

    def write_filled(self, source, codec, holes, todo, filled, outputs, fitted):
        """Write the filled data and a file for each draw; returns lines to print.

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

    def fills_in_words(self, codec, n_filled, sure):
        """How many cells of each column were filled and how sure they are, as dicts of words.

        `n_filled` [D] are counts, and `sure` is a `tasks.fill.Sure`.
        """
        from parts.forms.tables.explanations import certainty

        return [
            {
                "name": column.name,
                "n": int(n_filled[j]),
                "sure": certainty(column, sure.filled[j]),
                "guess": certainty(column, sure.guess[j]),
            }
            for j, column in enumerate(codec.modelled)
            if n_filled[j]
        ][:MOST_TOLD]

    def filled_arrays(self, source, codec, holes, todo, filled, fitted):
        """Arrays for figures of filled rows; the arguments are those of `write_filled`."""
        return {}

    # Generate

    def refuse_pixels(self, asked, run):
        """Raise UserError if --pixels is given for rows that have none."""
        if asked:
            raise UserError(f"--pixels goes with pictures, and run {run} is of {self.rows}")

    def describe_samples(self, fitted, x_of):
        """Lines on how rows are generated."""
        return []

    default_samples = "generated.csv"  # the default output of generate.py

    def sample_outputs(self, out, overwrite):
        """The files of generated rows; UserError if one of them cannot be written."""
        out = Path(out or self.default_samples)
        refuse_output(out, overwrite)
        return [out]

    def check_samples(self, codec, outputs):
        """Raise UserError if rows of this codec cannot be written to `outputs`."""

    def write_samples(self, x, mask, y, codec, given, outputs, fitted):
        """Write generated rows x [n, D] in model units; returns lines to print."""
        self.write_rows(outputs[0], codec.decode(x), codec)
        return [f"Wrote {outputs[0]}: {len(x)} {self.rows}"]

    def stretches(self, codec, config, length, start, future):
        """What is to be drawn where a length, or what follows the data, is asked for."""
        raise UserError(
            f"--length, --start and --future go with a series, and the run is of {self.rows}"
        )

    def sample_arrays(self, x, codec, fitted):
        """Arrays for figures of generated rows x [n, D] in model units."""
        return {}

    def stretch_arrays(self, codec, stretches, drawn):
        """Arrays for figures of what `stretches` asked for, and plain values for the report."""
        raise NotImplementedError

    def write_rows(self, path, x, codec, source=None):
        """Write rows x [n, D] in the user's units to `path`, in the form of `source` if it can."""
        raise NotImplementedError

    # Figures and words for a report

    def describe_columns(self, codec):
        """How each column was read: its name, its kind or what became of it, and more in words."""
        return [
            (column.name, "given" if column.condition else column.kind, column.describe())
            for column in codec.columns
        ]

    def describe_reading(self, codec):
        """Sentences on how the file was read, beside those on its columns."""
        return []

    def figures(self):
        """Map files of a run to figures, and figures to the functions that draw them."""
        from parts.forms.tables.figures import TABLE_FIGURES

        return TABLE_FIGURES

    def figure_arrays(self, data, figures):
        """Arrays that evaluate.py keeps for figures: rows and points in the user's units.

        `figures` holds x, recon and std of some test rows in model units, and mu of the first n.
        """
        codec, std = data.codec, figures["std"]
        levels = np.array([bool(column.levels) for column in codec.modelled])
        std = np.where(levels, np.nan, std)  # a standard deviation of codes has no meaning
        recon = figures["recon"]
        rows = {"x": figures["x"], "recon": recon, "low": recon - 2 * std, "high": recon + 2 * std}
        found = {name: codec.decode(x) for name, x in rows.items()}
        return found | self.point_arrays(data, len(figures["mu"]), codec.modelled)

    def point_arrays(self, data, n, columns):
        """Cells of the first n test rows that colour points of the latent space.

        These are `columns` and the conditions in the user's units, codes of levels, NaN if missing.
        """
        test, given = data.test.take(slice(n)), data.codec.conditions
        cells = [np.empty((len(test.x), 0))]
        if columns:
            cells.append(with_holes(units.to_user(test.x, columns), test.mask))
        if given:
            x, known = conditions.from_y(test.y, given)
            cells.append(with_holes(units.to_user(x, given), known))
        of = units.column_arrays([*columns, *given])
        kept = {f"point_{key}": of[key] for key in ("columns", "levels", "dates")}
        return kept | {"points": np.hstack(cells)}


def columns_in_words(codec):
    """How many columns the data have; and how many of them the model sees, if it sees not all.

    Labels are no column.
    """
    labels = [c for c in codec.conditions if c.name == conditions.LABEL]
    n_columns = sum(not column.part_of for column in codec.columns) - len(labels)
    seen = {column.part_of[0] if column.part_of else column.name for column in codec.modelled}
    are = "is" if len(seen) == 1 else "are"
    less = f", of which {len(seen)} {are} modelled" if len(seen) != n_columns else ""
    return counted(n_columns, "column") + less


def with_holes(x, mask):
    """x with NaN where a cell is missing; without a mask no cell is missing."""
    return x if mask is None else np.where(mask > 0, x, np.nan)


def values_in_words(column, x):
    """The most frequent levels, or the range, of the cells x [n] of a column in model units."""
    if not len(x):
        return ""
    if column.levels:
        counts = np.bincount(np.round(x).astype(int), minlength=len(column.levels))
        most = [j for j in np.argsort(-counts, kind="stable")[:N_FREQUENT] if counts[j]]
        return ", ".join(
            f"{units.shown_cell(column.levels[j])}: {100 * counts[j] / len(x):.0f} %" for j in most
        )
    low, middle, high = column.text(np.array([x.min(), np.median(x), x.max()]))
    return f"{low} to {high}, median {middle}"
