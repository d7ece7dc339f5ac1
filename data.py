"""Where data comes from: the synthetic default, bundled sets, your file; splits and scaling.

    python data.py --data survey.csv       # what a table holds and how it is read; no training
    python data.py --example survey.csv    # write a small table to try the scripts on

Everything fitted (kinds, scaling, categories) is fitted on the training rows only.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parts import files, kinds, sprites, tables
from parts.cli import Parser, fraction, kind_of, positive_int, run_script, seed
from parts.errors import UserError


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
        """The first rows and what is observed of them, by name; splits are in random order."""
        mask = np.ones_like(self.x) if self.mask is None else self.mask
        return {"x": self.x[:most], "mask": mask[:most].astype(bool)}


@dataclass
class Data:
    """Three splits and what is needed to read them: columns, the shape of a row, a fingerprint.

    `notes` are sentences for the user on cells that could not be read.
    """

    name: str
    train: Split
    val: Split
    test: Split
    columns: list
    shape: tuple
    hash: str
    notes: list = field(default_factory=list)

    @property
    def modelled(self):
        """The columns of x: all but the ignored."""
        return tables.modelled(self.columns)

    def decode(self, x):
        """Model units -> the user's units, float64 [..., D]."""
        return tables.to_user(x, self.modelled)

    def describe(self):
        n = [len(split.x) for split in (self.train, self.val, self.test)]
        holes = 0 if self.train.mask is None else 1 - self.train.mask.mean()
        constant = sum(np.ptp(self.train.x, 0) == 0) if not holes else 0
        lines = [
            f"Data: {self.name}, {len(self.modelled)} columns; "
            f"rows: {n[0]} train, {n[1]} held out, {n[2]} test"
            + (f"; {holes:.1%} of cells are missing" if holes else "")
        ]
        if any(column.kind != "real" or column.curve != "linear" for column in self.columns):
            lines += kinds.describe(self.columns)
        lines += [f"Note: {note}" for note in self.notes]
        if constant:
            lines.append(
                f"{constant} columns are constant over the training rows: they carry no information"
            )
        return "\n".join(lines)


class Source(NamedTuple):
    """A data set before splitting: x [N, D] in user units, names; labels, factors [N] or None."""

    x: np.ndarray
    names: list
    labels: np.ndarray | None = None
    shape: tuple | None = None
    factors: np.ndarray | None = None


def synthetic(config):
    from sklearn.datasets import make_classification

    if config["n_informative"] is not None and config["n_informative"] > config["n_columns"]:
        raise UserError(
            f"--n-informative {config['n_informative']}, expected at most {config['n_columns']}"
        )
    informative = (
        min(2, config["n_columns"]) if config["n_informative"] is None else config["n_informative"]
    )
    redundant = min(2, config["n_columns"] - informative)
    clusters = 2 if 2**informative >= 4 else 1
    x, labels = make_classification(
        n_samples=config["n_rows"],
        n_features=config["n_columns"],
        n_informative=informative,
        n_redundant=redundant,
        n_clusters_per_class=clusters,
        n_classes=2,
        random_state=config["data_seed"],
    )
    return Source(x, [f"x{i}" for i in range(config["n_columns"])], labels)


def bundled(name, **options):
    """A loader for one of scikit-learn's data sets; labels are kept where they are classes."""

    def load(config):
        import sklearn.datasets

        bunch = getattr(sklearn.datasets, f"load_{name}")(**options)
        classes = getattr(bunch, "target_names", None)
        labels = None if classes is None else np.asarray(classes)[bunch.target]
        return Source(bunch.data.astype(np.float64), [str(n) for n in bunch.feature_names], labels)

    return load


def digits(config):
    """8x8 grey pictures, 0..16 divided by 16."""
    source = bundled("digits")(config)
    return source._replace(x=source.x / 16, shape=(8, 8))


def load(config):
    """The Data that a config asks for: `data`, `scaling`, `test_fraction`, `split_seed`, ...

    With `columns` in it these are used; else they are fitted to the training rows.
    """
    if config["scaling"] == "kinds":
        return load_table(config)
    source = load_source(config)
    x, names, labels, shape, factors = source
    parts = split_of(len(x), config)
    train_x = x[parts[0]]
    columns = (
        tables.standardize(train_x, names)
        if config["scaling"] == "standard"
        else [tables.Column(n) for n in names]
    )
    for rows in parts:
        tables.check_distance(x[rows], columns)
    whole = Split(tables.to_model(x, columns), label=labels, factors=factors)
    splits = [whole.take(rows) for rows in parts]
    return Data(config["data"], *splits, columns, shape or (x.shape[1],), data_hash(x, names))


def load_table(config):
    """The same of a table whose columns each have a kind, with holes."""
    import pandas as pd

    if config["data"] in DATASETS:
        x, names, labels, _, factors = DATASETS[config["data"]](config)
        frame, fingerprint = pd.DataFrame(x, columns=names), data_hash(x, names)
    else:
        file = files.read(source_path(config))
        frame, fingerprint = file.frame, files.fingerprint(file.path)
        labels, factors = file.labels, file.factors
    parts = split_of(len(frame), config)
    if "columns" in config:
        columns = [tables.Column(**column) for column in config["columns"]]
    else:
        columns = kinds.fit(frame.iloc[np.sort(parts[0])], config["kinds"])
    x, mask, impossible, notes = tables.encode(frame, columns)
    whole = Split(x, None, None if mask.all() else mask, labels, factors)
    splits = [whole.take(rows) for rows in parts]
    return Data(config["data"], *splits, columns, (x.shape[1],), fingerprint, notes)


def load_source(config):
    """A built-in data set, or a file in which every cell is a number."""
    if config["data"] in DATASETS:
        return DATASETS[config["data"]](config)
    file = files.read(source_path(config))
    x = np.column_stack(
        [tables.numeric(file.frame[name], file.path) for name in file.frame.columns]
    )
    return Source(x, list(map(str, file.frame.columns)), file.labels, factors=file.factors)


def source_path(config):
    if Path(config["data"]).suffix or Path(config["data"]).exists():
        return config["data"]
    raise UserError(f"--data {config['data']}: neither a file nor one of {', '.join(DATASETS)}")


def load_for(config):
    """The Data of a run, from its config; refused where the table has changed since."""
    data = load(config)
    if data.hash != config["data_hash"]:
        raise UserError(
            f"--data {config['data']} has changed since this run was trained, so its split would "
            "mix training and test rows; restore the file, or train again"
        )
    return data


def split_of(n, config):
    """`split_rows` as a config asks."""
    fractions = config["test_fraction"], config["val_fraction"]
    return split_rows(n, *fractions, config["split_seed"])


def split_rows(n, test_fraction, val_fraction, split_seed):
    """Row numbers of train, held-out and test; with the defaults the recipe's train_test_split."""
    from sklearn.model_selection import train_test_split

    def cut(rows, n_cut):
        if n_cut == 0:
            return rows, rows[:0]
        return train_test_split(rows, test_size=n_cut, random_state=split_seed)

    n_test = int(np.ceil(n * test_fraction))
    n_val = int(np.ceil((n - n_test) * val_fraction))
    if n - n_test - n_val < 2:
        raise UserError(
            f"{n} rows leave {max(0, n - n_test - n_val)} to train on, expected at least 2; "
            "give more rows, or smaller --test-fraction and --val-fraction"
        )
    rest, test = cut(np.arange(n), n_test)
    train, val = cut(rest, n_val)
    return train, val, test


def data_hash(x, names):
    """A short fingerprint of a table, by which a run knows its data again."""
    digest = hashlib.sha256("\x1f".join(names).encode())
    digest.update(np.ascontiguousarray(x).data)
    return digest.hexdigest()[:16]


def add_kind_flags(parser):
    parser.add_argument(
        "--columns",
        dest="kinds_file",
        metavar="FILE",
        help='kinds of columns as JSON: {"age": "count", "size": {"kind": "ordinal", '
        '"levels": ["S", "M", "L"]}}; the others are inferred',
    )
    parser.add_argument(
        "--kind",
        action="append",
        type=kind_of,
        metavar="NAME=KIND",
        help=f"the same for one column, any number of times; one of {', '.join(kinds.KINDS)}",
    )


def add_data_flags(parser):
    parser.add_argument(
        "--data",
        default="synthetic",
        help=f"{', '.join(DATASETS)}, or a file ending in {', '.join(files.READERS)} "
        "(default: synthetic)",
    )
    add_kind_flags(parser)
    add = parser.add_argument
    add("--n-rows", type=positive_int, help="synthetic, sprites: rows (default: 1000, all)")
    add("--n-columns", type=positive_int, default=20, help="synthetic: columns (default: 20)")
    add("--n-informative", type=positive_int, help="synthetic: columns that tell classes")
    add("--data-seed", type=seed, default=42, help="synthetic, sprites: seed (default: 42)")
    add("--test-fraction", type=fraction, default=0.2, help="share of test rows (default: 0.2)")
    add("--val-fraction", type=fraction,
        help="share of the others held out of training (default: 0.1; synthetic: 0)")  # fmt: skip
    add("--split-seed", type=seed, default=42, help="seed of the split (default: 42)")


def resolve(config):
    """A copy with the defaults filled in that depend on the data set."""
    name = config["data"]
    table = name not in DATASETS and Path(name).suffix.lower() in (".csv", ".tsv", ".parquet")
    defaults = {
        "n_rows": 1000 if name == "synthetic" else None,
        "val_fraction": 0.0 if name == "synthetic" else 0.1,
        "likelihood": "mixed" if table else DEFAULT_LIKELIHOOD.get(name, "gaussian"),
    }
    path = {} if name in DATASETS else {"data": str(Path(name).resolve())}
    return config | {k: v for k, v in defaults.items() if config.get(k) is None} | path


DATASETS = {
    "synthetic": synthetic,
    "digits": digits,
    "sprites": lambda config: Source(*sprites.load(config, 16)),
    "sprites32": lambda config: Source(*sprites.load(config, 32)),
    "breast_cancer": bundled("breast_cancer"),
    "wine": bundled("wine"),
    "iris": bundled("iris"),
    "diabetes": bundled("diabetes", scaled=False),
}
DEFAULT_LIKELIHOOD = dict.fromkeys(("digits", "sprites", "sprites32"), "bernoulli")  # of pictures


def main(argv=None):
    parser = Parser(prog="data.py", description=__doc__.splitlines()[0])
    add_data_flags(parser)
    parser.add_argument("--example", metavar="FILE", help="write a small table with holes, and end")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    args = parser.parse_args(argv)
    if args.example is not None:
        return write_example(args.example, args.overwrite, args.data_seed)
    config = resolve(vars(args))
    scaling = "kinds" if config["likelihood"] == "mixed" else "standard"
    wanted = kinds.wanted(args.kinds_file, args.kind)
    data = load(config | {"scaling": scaling, "kinds": wanted})
    print(data.describe())
    seen = np.ones_like(data.train.x) if data.train.mask is None else data.train.mask
    for j, column in enumerate(data.modelled[:30]):
        x = data.train.x[seen[:, j] > 0, j]
        if column.levels or not len(x):
            continue
        low, middle, high = (column.text([v])[0] for v in (x.min(), np.median(x), x.max()))
        print(f"  {column.name}: from {low} to {high}, median {middle}")
    return 0


def write_example(path, overwrite, data_seed):
    from parts.example import survey

    files.refuse_output(path, overwrite)
    frame = survey(data_seed)
    files.write(frame, path, files.File(Path(path), frame))
    print(f"Wrote {path}: {len(frame)} rows, {len(frame.columns)} columns")
    return 0


if __name__ == "__main__":
    run_script(main)
