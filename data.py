"""Load data: the synthetic default, named sets, a file or pictures; split and scale the rows.

    python data.py --data survey.csv       # what a table holds and how it is read; no training
    python data.py --example survey.csv    # write a small table to try the scripts on

Kinds, scaling and categories are fitted to the training rows only.
"""

# First: from here on Ctrl-C is handled, while packages are imported.
from parts import forms

# isort: split
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from parts.errors import UserError, stage
from parts.files import shown_path
from parts.forms import conditions
from parts.forms.base import Codec, Split
from parts.forms.builtin import IDX
from parts.forms.config import DataConfig
from parts.forms.tables import kinds
from parts.lazy import member
from parts.words import counted


@dataclass
class Data:
    """Three splits in model units, the codec fitted to the training rows, a hash of the file.

    `notes` are sentences for the user about cells that could not be read.
    """

    name: str
    train: Split
    val: Split
    test: Split
    codec: Codec
    fingerprint: str
    notes: list = field(default_factory=list)
    form: object = None

    @property
    def shape(self):
        """The shape of a row: (D,) in a table, (C, H, W) for pictures."""
        return self.codec.shape

    def facts(self):
        """What a run keeps of its data for a report: numbers of rows, columns in words."""
        holes = 0.0 if self.train.mask is None else float(1 - self.train.mask.mean())
        n_rows = [len(split.x) for split in (self.train, self.val, self.test)]
        return {"n_rows": n_rows, "holes": holes, "columns": self.form.column_facts(self)}

    def describe(self):
        codec = self.codec
        n = [len(split.x) for split in (self.train, self.val, self.test)]
        holes = 0 if self.train.mask is None else 1 - self.train.mask.mean()
        constant = sum(np.ptp(self.train.x, 0) == 0) if not holes else 0
        lines = [
            f"Data: {shown_path(self.name)}, {self.form.describe_size(codec, n)}"
            + (f"; {holes:.1%} of cells are missing" if holes else "")
        ]
        lines += self.form.describe(codec)
        lines += conditions.describe(codec.columns)
        lines += [f"Note: {note}" for note in self.notes]
        if constant:
            lines.append(
                f"{counted(constant, 'column')} {'is' if constant == 1 else 'are'} constant over "
                "the training rows, and of no use"
            )
        return "\n".join(lines)


def load(config, codec=None, fingerprint=None):
    """Load the Data of a DataConfig, with a run's `codec` or a new one fitted to the rows.

    Where a run's `fingerprint` is given, data with another fingerprint raise UserError.
    """
    form, source = forms.open_source(config)
    return split_and_encode(form, source, config, codec, fingerprint)


def split_and_encode(form, source, config, codec=None, fingerprint=None):
    """Split a Source and encode its rows as Data; see `load` for `codec` and `fingerprint`."""
    if fingerprint is not None and source.fingerprint != fingerprint:
        raise UserError(
            f"--data {config.data} has changed since this run was trained, so its split would "
            "mix training and test rows; restore the file, or train again"
        )
    parts = parts_of(form, source, config)
    with stage(f"the rows of --data {config.data} cannot be encoded"):
        codec = codec or form.fit(source, parts[0], config)
        splits, notes = form.encode(source, codec, parts, config)
    return Data(config.data, *splits, codec, source.fingerprint, notes, form)


def parts_of(form, source, config):
    """Row numbers of the training, held-out and test rows, as the form splits them or at random."""
    parts = form.split(source, config)
    if parts is None:
        parts = split_rows(len(source), config, source.n_test, source.copies)
    return parts


def split_rows(n, config, n_official=None, copies=None):
    """Row numbers of the training, held-out and test rows, three arrays.

    Without a `test_fraction` the last `n_official` rows are the test rows. All are in random order,
    so that the first are a fair sample: the first half of MNIST's test rows is the easier one.
    Rows with equal numbers in `copies` [n] are on one side of a split: a model that has seen one
    knows the others.
    """

    def cut(rows, n_cut):
        """Cut as scikit-learn's train_test_split does, whose import takes a second and 130 MB."""
        if n_cut == 0:
            return rows, rows[:0]
        order = np.random.RandomState(config.split_seed).permutation(len(rows))
        if copies is not None:
            order, n_cut = together(order, copies[rows], n_cut)
        return rows[order[n_cut:]], rows[order[:n_cut]]

    official = config.test_fraction is None
    n_test = n_official if official else int(np.ceil(n * config.test_fraction))
    n_val = int(np.ceil((n - n_test) * config.val_fraction))
    if n - n_test - n_val < 2:
        raise UserError(
            f"{counted(n, 'row leaves', 'rows leave')} {max(0, n - n_test - n_val)} to train "
            "on, expected at least 2; "
            "give more rows, or smaller --test-fraction and --val-fraction"
        )
    every = np.arange(n)
    rest, test = np.split(every, [n - n_test]) if official else cut(every, n_test)
    if official:
        _, test = cut(test, n_test)
    train, val = cut(rest, n_val)
    return train, val, test


def together(order, copies, n_cut):
    """An order of rows [n] in which copies follow the first of them, and the cut nearest to n_cut
    that separates none; the order and the cut as they are where every cut does.
    """
    _, first, group = np.unique(copies[order], return_index=True, return_inverse=True)
    joined = order[np.argsort(first[group], kind="stable")]
    cuts = np.flatnonzero(np.diff(copies[joined])) + 1
    if not len(cuts):
        return order, n_cut
    return joined, int(cuts[np.abs(cuts - n_cut).argmin()])


def resolve(config):
    """Fill in the defaults of a DataConfig that depend on the data set."""
    name = config.data
    synthetic = name == "synthetic"
    defaults = {
        "n_rows": 1000 if synthetic else None,
        "val_fraction": 0.0 if synthetic else 0.1,
        "test_fraction": None if name in IDX else 0.2,
    }
    left = {key: value for key, value in defaults.items() if getattr(config, key) is None}
    return replace(config, **left)


def main(argv=None):
    from parts.console.flags import Parser, add_kind_flags
    from parts.options import add_options

    parser = Parser(prog="data.py", description=__doc__.splitlines()[0])
    add_options(parser, DataConfig)
    add_kind_flags(parser)
    parser.add_argument("--example", metavar="FILE", help="write a small table with holes, and end")
    parser.add_argument(
        "--kind-of",
        choices=tuple(forms.EXAMPLES),
        default="table",
        help="what --example writes: a survey, or sensors of two machines (default: table)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    args = vars(parser.parse_args(argv))
    example, overwrite, kind_of = (args.pop(name) for name in ("example", "overwrite", "kind_of"))
    wanted = kinds.requested_kinds(args.pop("kinds_file"), args.pop("kind"))
    config = resolve(DataConfig(**args, kinds=wanted))
    if example is not None:
        return write_example(example, kind_of, overwrite, config.data_seed)
    likelihood = forms.form_of(config.data, config).default_likelihood(config.data)
    scaling = {"mixed": "kinds", "windows": "kinds", "bernoulli": "none"}.get(
        likelihood, "standard"
    )
    if wanted and scaling != "kinds":
        raise UserError(f"--kind and --columns do not go with --likelihood {likelihood}")
    if config.relations and scaling != "kinds":
        raise UserError(f"--relations does not go with --likelihood {likelihood}")
    config = replace(config, scaling=scaling)
    form, source = forms.open_source(config)
    data = split_and_encode(form, source, config)
    print(data.describe())
    rows = parts_of(form, source, config)[0]
    for line in form.describe_ranges(data, source, rows):
        print(line)
    return 0


def write_example(path, kind_of, overwrite, data_seed):
    from parts.forms.tables import table_files

    table_files.refuse_output(path, overwrite)
    frame = member(forms.EXAMPLES, kind_of)(data_seed)
    table_files.write(frame, path, table_files.File(Path(path), frame))
    print(f"Wrote {path}: {table_files.size_in_words(frame)}")
    return 0


if __name__ == "__main__":
    from parts.console.script import run_script

    run_script(main)
