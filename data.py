"""Where data comes from: the synthetic default, named sets, your file, pictures; splits, scaling.

    python data.py --data survey.csv       # what a table holds and how it is read; no training
    python data.py --example survey.csv    # write a small table to try the scripts on

Everything fitted (kinds, scaling, categories) is fitted on the training rows only.
"""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parts.console.flags import Parser, fraction, image_size, kind_of, positive_int, seed
from parts.console.script import run_script
from parts.errors import UserError
from parts.forms import conditions
from parts.forms.builtin import Source, bundled, digits, sprites_of, synthetic
from parts.forms.pictures import picture_files, shapes
from parts.forms.tables import encoding, kinds, table_files


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
        x = self.x[:most]
        mask = np.ones(x.shape, bool) if self.mask is None else self.mask[:most].astype(bool)
        rows = {"x": x, "mask": mask}
        return rows if self.y is None else rows | {"y": self.y[:most]}


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
        return encoding.modelled(self.columns)

    def decode(self, x):
        """Model units -> the user's units, float64 [..., D]."""
        return encoding.to_user(x, self.modelled)

    def describe(self):
        n = [len(split.x) for split in (self.train, self.val, self.test)]
        holes = 0 if self.train.mask is None else 1 - self.train.mask.mean()
        constant = sum(np.ptp(self.train.x, 0) == 0) if not holes else 0
        form = f"{shapes.describe(self.shape)}, " if len(self.shape) > 1 else ""
        lines = [
            f"Data: {self.name}, {form}{len(self.modelled)} columns; "
            f"rows: {n[0]} train, {n[1]} held out, {n[2]} test"
            + (f"; {holes:.1%} of cells are missing" if holes else "")
        ]
        if any(column.kind != "real" or column.curve != "linear" for column in self.modelled):
            lines += kinds.describe(self.columns)
        lines += conditions.describe(self.columns)
        lines += [f"Note: {note}" for note in self.notes]
        if constant:
            lines.append(
                f"{constant} columns are constant over the training rows: they carry no information"
            )
        return "\n".join(lines)


def load(config):
    """The Data that a config asks for: `data`, `scaling`, `test_fraction`, `split_seed`, ...

    With `columns` in it these are used; else they are fitted to the training rows.
    """
    picture_files.check_flags(config)
    if config["scaling"] == "kinds":
        return load_table(config)
    x, names, labels, shape, n_test, factors = load_source(config)
    parts, standard = split_of(len(x), config, n_test), config["scaling"] == "standard"
    own = names if shape is None else []  # a pixel is no condition
    given = conditions.read(config, own, lambda n: x[:, names.index(n)], labels, parts[0])
    x, names = given.apart(x, names)
    if shape is None:
        train_x = x[parts[0]]
        columns = (
            encoding.standardize(train_x, names)
            if standard
            else [encoding.Column(n) for n in names]
        )
        for rows in parts:
            encoding.check_distance(x[rows], columns)
        arrays = [encoding.to_model(x[rows], columns) for rows in parts]
    else:
        columns, arrays = picture_files.scaled(x, parts, names, standard)
    if config.get("binarize") == "static":
        rng = np.random.default_rng(config["data_seed"])
        arrays = [picture_files.binarized(a, rng) for a in arrays]
    others = Split(None, given.y, label=labels, factors=factors)
    splits = [
        others.take(rows)._replace(x=array) for array, rows in zip(arrays, parts, strict=True)
    ]
    columns, shape = [*columns, *given.columns], shape or (x.shape[1],)
    return Data(config["data"], *splits, columns, shape, data_hash(x, names, given.y), given.notes)


def load_table(config):
    """The same of a table whose columns each have a kind, with holes."""
    import pandas as pd

    if form_of(config["data"]) == "pictures":
        raise UserError(
            f"--likelihood mixed takes tables, and --data {config['data']} holds pictures; use "
            f"--likelihood {DEFAULT_LIKELIHOOD['pictures']}"
        )
    if config["data"] in DATASETS:
        x, names, labels, *_, factors = DATASETS[config["data"]](config)
        frame, fingerprint = pd.DataFrame(x, columns=names), data_hash(x, names)
    else:
        file = table_files.read(source_path(config))
        frame, fingerprint = file.frame, table_files.fingerprint(file.path)
        labels, factors = file.labels, file.factors
    parts, names = split_of(len(frame), config), list(frame.columns)
    given = conditions.read(config, names, frame.get, labels, parts[0])
    if "columns" in config:
        columns = [encoding.Column(**column) for column in config["columns"]]
    else:
        left = frame.iloc[np.sort(parts[0]), given.rest(names)]
        columns = given.among(kinds.fit(left, given.others(config["kinds"])), names)
    x, mask, impossible, notes = encoding.encode(frame, columns)
    whole = Split(x, given.y, None if mask.all() else mask, labels, factors)
    splits = [whole.take(rows) for rows in parts]
    return Data(config["data"], *splits, columns, (x.shape[1],), fingerprint, notes + given.notes)


def load_source(config):
    """A built-in data set, pictures, or a file in which every cell is a number."""
    if config["data"] in DATASETS:
        return DATASETS[config["data"]](config)
    path = source_path(config)
    if picture_files.are_in(path):
        return picture_files.read(path, config)
    file = table_files.read(path)
    x = np.column_stack(
        [encoding.numeric(file.frame[name], file.path) for name in file.frame.columns]
    )
    return Source(x, list(map(str, file.frame.columns)), file.labels, factors=file.factors)


def source_path(config):
    if Path(config["data"]).suffix or Path(config["data"]).exists():
        return config["data"]
    raise UserError(
        f"--data {config['data']}: neither a file, a folder nor one of {', '.join(DATASETS)}"
    )


def load_for(config):
    """The Data of a run, from its config; refused where the table has changed since."""
    data = load(config)
    if data.hash != config["data_hash"]:
        raise UserError(
            f"--data {config['data']} has changed since this run was trained, so its split would "
            "mix training and test rows; restore the file, or train again"
        )
    return data


def split_of(n, config, n_test=None):
    """`split_rows` as a config asks; `n_test` of an official test split, where there is one."""
    fractions = config["test_fraction"], config["val_fraction"]
    return split_rows(n, *fractions, config["split_seed"], n_test)


def split_rows(n, test_fraction, val_fraction, split_seed, n_official=None):
    """Row numbers of train, held-out and test; with the defaults the recipe's train_test_split.

    Without a `test_fraction` the test rows are the last `n_official`, in their order.
    """

    def cut(rows, n_cut):
        """As scikit-learn's train_test_split, which would take a second and 130 MB to import."""
        if n_cut == 0:
            return rows, rows[:0]
        order = np.random.RandomState(split_seed).permutation(len(rows))
        return rows[order[n_cut:]], rows[order[:n_cut]]

    official = test_fraction is None
    n_test = n_official if official else int(np.ceil(n * test_fraction))
    n_val = int(np.ceil((n - n_test) * val_fraction))
    if n - n_test - n_val < 2:
        raise UserError(
            f"{n} rows leave {max(0, n - n_test - n_val)} to train on, expected at least 2; "
            "give more rows, or smaller --test-fraction and --val-fraction"
        )
    every = np.arange(n)
    rest, test = np.split(every, [n - n_test]) if official else cut(every, n_test)
    train, val = cut(rest, n_val)
    return train, val, test


def data_hash(x, names, y=None):
    """A short fingerprint of a table, by which a run knows its data again."""
    digest = hashlib.sha256("\x1f".join(names).encode() + (b"" if y is None else y.tobytes()))
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
        help=f"{', '.join(DATASETS)}, a file ending in {', '.join(table_files.READERS)}, or a "
        "folder of pictures, whose sub-folders are labels (default: synthetic)",
    )
    add_kind_flags(parser)
    add = parser.add_argument
    add("--condition", action="append", metavar="NAME",
        help="columns (a,b,c), or label for the data's labels, that are y of p(x | y)")  # fmt: skip
    add("--n-rows", type=positive_int, help="synthetic, sprites: rows (default: 1000, all)")
    add("--n-columns", type=positive_int, default=20, help="synthetic: columns (default: 20)")
    add("--n-informative", type=positive_int, help="synthetic: columns that tell classes")
    add("--data-seed", type=seed, default=42, help="synthetic, sprites: seed (default: 42)")
    add("--data-dir", metavar="DIR", help="mnist, fashion: where their idx files are")
    add("--image-size", type=image_size, metavar="N",
        help="folder: resize the middle square of each picture to N x N")  # fmt: skip
    add("--grey", action="store_true", help="folder: drop the pictures' colour")
    add("--test-fraction", type=fraction,
        help="share of test rows (default: 0.2; mnist, fashion: the official ones)")  # fmt: skip
    add("--val-fraction", type=fraction,
        help="share of the others held out of training (default: 0.1; synthetic: 0)")  # fmt: skip
    add("--split-seed", type=seed, default=42, help="seed of the split (default: 42)")


def form_of(name):
    """What `--data` names, a key of DEFAULT_LIKELIHOOD; of an array only its header is read."""
    if name in DATASETS:
        return "pictures" if name in PICTURES else "numbers"
    if Path(name).suffix.lower() in (".csv", ".tsv", ".parquet"):
        return "table"
    return "pictures" if picture_files.are_in(name) else "numbers"


def resolve(config):
    """A copy with the defaults filled in that depend on the data set, and absolute paths."""
    name = config["data"]
    defaults = {
        "n_rows": 1000 if name == "synthetic" else None,
        "val_fraction": 0.0 if name == "synthetic" else 0.1,
        "test_fraction": None if name in picture_files.IDX else 0.2,
        "likelihood": DEFAULT_LIKELIHOOD[form_of(name)],
    }
    keys = ["data_dir"] if name in DATASETS else ["data", "data_dir"]
    paths = {key: str(Path(config[key]).resolve()) for key in keys if config.get(key) is not None}
    return config | {k: v for k, v in defaults.items() if config.get(k) is None} | paths


DATASETS = {
    "synthetic": synthetic,
    "digits": digits,
    "sprites": sprites_of(16),
    "sprites32": sprites_of(32),
    "breast_cancer": bundled("breast_cancer"),
    "wine": bundled("wine"),
    "iris": bundled("iris"),
    "diabetes": bundled("diabetes", scaled=False),
    **picture_files.SETS,
}
PICTURES = ("digits", "sprites", "sprites32", *picture_files.SETS)
DEFAULT_LIKELIHOOD = {"table": "mixed", "pictures": "bernoulli", "numbers": "gaussian"}


def main(argv=None):
    parser = Parser(prog="data.py", description=__doc__.splitlines()[0])
    add_data_flags(parser)
    parser.add_argument("--example", metavar="FILE", help="write a small table with holes, and end")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")
    args = parser.parse_args(argv)
    if args.example is not None:
        return write_example(args.example, args.overwrite, args.data_seed)
    config = resolve(vars(args))
    scaling = {"mixed": "kinds", "bernoulli": "none"}.get(config["likelihood"], "standard")
    wanted = kinds.wanted(args.kinds_file, args.kind)
    data = load(config | {"scaling": scaling, "kinds": wanted})
    print(data.describe())
    if len(data.shape) > 1:
        print(f"  pixels: from {data.train.x.min():g} to {data.train.x.max():g}")
        return 0
    seen = np.ones_like(data.train.x) if data.train.mask is None else data.train.mask
    for j, column in enumerate(data.modelled[:30]):
        x = data.train.x[seen[:, j] > 0, j]
        if column.levels or not len(x):
            continue
        low, middle, high = (column.text([v])[0] for v in (x.min(), np.median(x), x.max()))
        print(f"  {column.name}: from {low} to {high}, median {middle}")
    return 0


def write_example(path, overwrite, data_seed):
    from parts.forms.tables.example import survey

    table_files.refuse_output(path, overwrite)
    frame = survey(data_seed)
    table_files.write(frame, path, table_files.File(Path(path), frame))
    print(f"Wrote {path}: {len(frame)} rows, {len(frame.columns)} columns")
    return 0


if __name__ == "__main__":
    run_script(main)
