"""Tables: mixed columns with holes from text, Excel, Parquet and NumPy files."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from parts.errors import UserError
from parts.files import STANDARD, as_argument, ending, output_of, shown_path, wrote
from parts.forms import arrays, cells, conditions, scaling, units
from parts.forms.base import Encoded, Form, Source, Split
from parts.forms.tables import (
    answers,
    declared,
    encoding,
    kinds,
    relation_search,
    relations,
    streams,
    table_files,
)
from parts.words import counted

PRESETS_OF_VERBS = ("detect", "impute", "generate")


@dataclass
class TableSource:
    """The table of a file, with the attributes of `base.Source`."""

    file: table_files.File
    encoded: tuple | None = field(default=None, repr=False)  # (codec, Encoded) or None

    n_test = shape = mask = None

    @property
    def path(self):
        return self.file.path

    @property
    def labels(self):
        return self.file.labels

    @property
    def factors(self):
        return self.file.factors

    @property
    def notes(self):
        return self.file.notes

    @property
    def names(self):
        return list(self.file.frame.columns)

    def __len__(self):
        return len(self.file.frame)

    def cells(self, name):
        return self.file.frame[name]

    def table(self):
        return self.file.frame

    @cached_property
    def x(self):
        """All cells as float64 [N, D]; UserError for a cell that is not a number."""
        frame = self.file.frame
        return np.column_stack([encoding.numeric(frame[n], self.path) for n in frame.columns])

    @cached_property
    def empty(self):
        """True where a row has no cell, [N]."""
        return encoding.empty_rows(self.file.frame)

    @cached_property
    def copies(self):
        """A number for each row, equal where rows are, [N]; None where all rows differ."""
        return encoding.copies(self.file.frame)

    @cached_property
    def fingerprint(self):
        if str(self.path) == STANDARD:
            return scaling.bytes_hash(streams.read_bytes(self.path))
        return scaling.file_hash(self.path)


class Tables(Form):
    """Rows of a table. With the likelihood `mixed` columns have kinds and cells may be empty."""

    name = "tables"
    first_row = 1
    columns_may_be_given = True
    explains = True
    marginals = True
    bytes_per_cell = 80  # its text is half of them

    def recognises(self, path, config=None):
        has_rows = ending(path) in table_files.READERS and not Path(path).is_dir()
        return has_rows and arrays.n_axes(path) <= 2  # others are pictures

    def read(self, path, config=None, holes=False):
        return TableSource(table_files.read(path, config))

    def default_likelihood(self, path):
        of_numbers = ending(path) in arrays.ARRAY_READERS or ending(path) not in table_files.READERS
        return "gaussian" if of_numbers else "mixed"

    def settings_of(self, verb, path):
        likelihood = "ordered" if verb == "generate" else "mixed"
        return {"likelihood": likelihood, "preset": verb if verb in PRESETS_OF_VERBS else "table"}

    def refuse(self, config):
        """A table takes every likelihood."""

    # Fit and encode

    def fit(self, source, rows, config):
        if config.scaling != "kinds":
            return replace(super().fit(source, rows, config), dialect=dialect_of(source))
        given = conditions.fit(config, source.names, source, rows)
        names = {column.name for column in given}
        frame = frame_of(source)
        left = [j for j, name in enumerate(frame.columns) if name not in names]
        wanted = {name: kind for name, kind in config.kinds.items() if name not in names}
        marks = config.missing or (), config.keep or ()
        columns = kinds.fit(frame.iloc[np.sort(rows), left], wanted, *marks)
        ordered = conditions.in_order(columns, given, source.names)
        if stored := source_types(source):
            ordered = [replace(column, stored=stored[column.name]) for column in ordered]
        frame = answers.expanded(frame.iloc[np.sort(rows)], ordered)
        found = relation_search.find(frame, ordered, config.relations)
        shape = (len(units.modelled(columns)),)
        return self.codec(self.name, ordered, shape, found, dialect_of(source))

    def encode(self, source, codec, parts, config):
        if config.scaling != "kinds":
            return super().encode(source, codec, parts, config)
        y, notes = conditions.conditions_of_source(source, codec.conditions)
        frame = answers.expanded(frame_of(source), codec.columns)
        x, mask, strange, own = encoding.encode(frame, codec.columns)
        own = [*source.notes, *own]
        if isinstance(source, TableSource):
            own = [*encoding.notes_on_rows(source, source.empty), *own]
        marks = config.missing or (), config.keep or ()
        own += declared.notes_on_unfound(frame_of(source), *marks)
        values = codec.rules.values(frame) if codec.rules else None
        if isinstance(source, TableSource):  # scripts that fit a run to a file need all rows
            source.encoded = codec, Encoded(x, mask, y, strange, [*own, *notes], values)
        whole = Split(x, y, None if mask.all() else mask, source.labels, source.factors, values)
        return [whole.take(rows) for rows in parts], [*own, *notes]

    def encode_for(self, source, codec, config, y_train=None):
        if source.encoded is not None and source.encoded[0] == codec:
            return source.encoded[1]
        file, label = source.file, conditions.LABEL
        labelled = file.labels is not None and label not in file.frame
        # Labels beside an array are not one of its columns, which are matched by position.
        own = [
            column
            for column in codec.columns
            if not (column.condition and column.name == label) or label in file.frame
        ]
        encoding.name_columns(file, own)
        frame = answers.expanded(file.frame, own)
        x, mask, strange, notes = encoding.encode_file(frame, own, shown_path(file.path))
        notes = [*file.notes, *encoding.notes_on_rows(source, source.empty), *notes]
        frame = frame.assign(**{label: file.labels}) if labelled else frame
        y, more = conditions.conditions_of_file(
            frame, shown_path(file.path), codec.columns, y_train
        )
        values = codec.rules.values(frame) if codec.rules else None
        return Encoded(x, mask, y, strange, [*notes, *more], values)

    def codec_for(self, source, codec, config):
        marks = config.missing or (), config.keep or ()
        columns, notes = codec.columns, []
        if any(marks):
            notes = declared.notes_on_unfound(source.file.frame, *marks, columns)
            columns = declared.with_marks(columns, *marks)
        columns, more = encoding.in_own_style(source.file.frame, columns)
        codec = codec if columns == codec.columns else replace(codec, columns=columns)
        return codec, [*notes, *more]

    # Describe

    def describe(self, codec):
        read = codec.modelled
        if all(column.kind == "real" and column.curve == "linear" for column in read):
            return []
        return [*kinds.describe(codec.columns), *relations.describe(codec.relations)]

    def describe_run(self, codec):
        return "a table"

    def describe_ranges(self, data, source, rows):
        lines = []
        frame = answers.expanded(frame_of(source).iloc[rows], data.codec.columns)
        for column in data.codec.modelled[:30]:
            if column.levels:
                continue
            series = frame[column.name]
            values, _ = column.read(series)
            values[column.impossible(values)] = np.nan
            if np.isnan(values).all():
                continue
            # The ends are cells of the file, and the median may lie between two of them.
            low, high = (
                str(series.iloc[at]).strip() if cells.is_text(series) else f"{values[at]:.10g}"
                for at in (np.nanargmin(values), np.nanargmax(values))
            )
            middle = column.text_of([np.nanmedian(values)])[0]
            lines.append(f"  {column.name}: from {low} to {high}, median {middle}")
        return lines

    def next_commands(self, data):
        evaluate, plot, generate = super().next_commands(data)
        name = as_argument(data).replace("{", "{{").replace("}", "}}")
        own = [f"detect.py {name} {{flags}}", f"impute.py {name} {{flags}}"]
        return [evaluate, plot, *(own if Path(data).is_file() else []), generate]

    # Score

    def score_outputs(self, path, out, overwrite):
        table_files.refuse_unreadable(path, table_files.READERS)
        new = ".csv" if ending(path) in arrays.ARRAY_READERS else None
        out = Path(out or output_of(path, "scored", new))
        table_files.refuse_output(out, overwrite, path, text=True)
        return [out]

    def refuse_scoring(self, source, names):
        for name in names:
            if name in source.file.frame:
                raise UserError(has_already(source, name))

    def explain(self, scorer, source, encoded, chosen, typical):
        from parts.forms.tables import explanations

        frame = answers.expanded(source.file.frame, scorer.columns)
        why = explanations.explain(scorer, frame, encoded, chosen, typical)
        parts = [encoding.words_of(encoded.strange, frame, chosen), why]
        if scorer.rules is not None:
            parts.insert(0, scorer.rules.words(scorer.rules.broken(encoded.values[chosen])))
        return ["; ".join(filter(None, several)) for several in zip(*parts, strict=True)]

    def write_scores(self, source, codec, scored, outputs, fitted):
        (out,), file = outputs, source.file
        table_files.write(file.frame.assign(**scored), out, file, codec.columns)
        return [wrote(out)]

    # Fill

    def fill_outputs(self, path, out, n_draws, overwrite):
        table_files.refuse_unreadable(path, table_files.READERS)
        return super().fill_outputs(path, out, n_draws, overwrite, list(table_files.WRITERS))

    def refuse_filling(self, source, outputs, statistic, interval):
        text = any(kind.kind not in "biuf" for kind in source.file.frame.dtypes)
        for path in outputs:
            table_files.refuse_output(path, True, text=text)

    def check_filling(self, source, codec, interval):
        from parts.forms.tables import samples

        for column in codec.modelled if interval else ():
            for name in (f"{column.name}_{word}" for word in samples.SURE[bool(column.levels)]):
                if name in source.file.frame:
                    raise UserError(has_already(source, name))

    def holes(self, source, codec):
        frame = answers.expanded(source.file.frame, codec.columns)
        found = np.column_stack([encoding.holes(frame, column) for column in codec.modelled])
        return found & ~source.empty[:, None]  # nothing is known of a row without a cell

    def n_left_empty(self, source, codec):
        """The number of empty cells in columns that are not modelled."""
        split = {column.part_of[0] for column in codec.columns if column.part_of}
        others = [c for c in codec.columns if c not in codec.modelled and c.name not in split]
        return sum(int(encoding.holes(source.file.frame, c).sum()) for c in others)

    def notes_on_filling(self, encoded, codec, fitted):
        far = units.is_far_out(encoded.x, codec.modelled) & (encoded.mask > 0)
        n_far = far.sum(0).tolist()
        return [
            f"column {column.name!r}: {counted(n, 'cell lies', 'cells lie')} so far out that "
            "holes in such a row are filled without it"
            for column, n in zip(codec.modelled, n_far, strict=True)
            if n
        ]

    def write_filled(self, source, codec, holes, todo, filled, outputs, fitted):
        from parts.forms.tables import samples

        original = answers.expanded(source.file.frame, codec.columns)
        several = (filled.values, *filled.draws[: len(outputs) - 1])
        for i, (path, values) in enumerate(zip(outputs, several, strict=True)):
            frame = samples.with_cells(original, codec.modelled, holes, todo, values)
            frame = answers.folded(frame, codec.columns)
            if filled.bounds is not None and i == 0:
                samples.add_bounds(frame, source.file.frame, codec.modelled, holes, todo, filled)
            table_files.write(frame, path, source.file, codec.columns)
        return [wrote(path) for path in outputs]

    # Generate

    def sample_outputs(self, out, overwrite):
        out = Path(out or self.default_samples)
        table_files.refuse_output(out, overwrite)
        return [out]

    def check_samples(self, codec, outputs):
        from parts.forms.tables import samples

        samples.check_array(codec.columns, outputs[0])

    def write_samples(self, x, mask, y, codec, given, outputs, fitted, cells=None):
        """Write generated rows; `cells` are text of columns that is more exact than x."""
        from parts.forms.tables import samples

        (out,) = outputs
        rows = conditions.with_conditions_as_columns(x, mask, y, codec.conditions)
        frame = samples.as_frame(*rows, codec.columns)
        for name, text in (cells or {}).items():
            frame[name] = np.where((frame[name] != "").to_numpy(), text, "")
        frame = answers.folded(frame.assign(**given), codec.columns)
        has_header = not fitted.config.data.no_header  # rows are written like those of the data
        source = fitted.config.data.data
        return [samples.write(frame, codec.columns, out, has_header, codec.dialect, source)]


def has_already(source, name):
    """The error for a file that has the name of a new column."""
    return f"{shown_path(source.path)} has a column named {name!r} already; rename it"


def frame_of(source):
    """The cells of a Source as a DataFrame."""
    if isinstance(source, Source):
        import pandas as pd

        return pd.DataFrame(source.x, columns=source.names)
    return source.file.frame


def dialect_of(source):
    """How the text file of a source is written, None where it is none."""
    return table_files.dialect_of(source.file) if isinstance(source, TableSource) else None


def source_types(source):
    """How the file of a source stores its columns, by name, {} where it does not say."""
    return table_files.stored_as(source.file) if isinstance(source, TableSource) else {}


TABLES = Tables()
