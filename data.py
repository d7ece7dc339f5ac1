"""Where data comes from: the synthetic default, bundled sets, your file; splits and scaling.

    python data.py --data digits        # what a data set holds, without training

Everything fitted (mean, standard deviation) is fitted on the training rows only.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parts import tables
from parts.cli import Parser, fraction, positive_int, run_script, seed
from parts.errors import UserError

FARTHEST = 1e15  # standard deviations from the training mean


class Split(NamedTuple):
    """Rows in model units: x [N, D] float32, condition y, mask, and labels for pictures only."""

    x: np.ndarray
    y: np.ndarray | None = None
    mask: np.ndarray | None = None
    label: np.ndarray | None = None


@dataclass
class Data:
    """Three splits and what is needed to read them: columns, the shape of a row, a fingerprint."""

    name: str
    train: Split
    val: Split
    test: Split
    columns: list
    shape: tuple
    hash: str

    def decode(self, x):
        """Model units -> the user's units, float64 [..., D]."""
        return tables.to_user(x, self.columns)

    def describe(self):
        n = [len(split.x) for split in (self.train, self.val, self.test)]
        constant = sum(np.ptp(self.train.x, 0) == 0)
        lines = [
            f"Data: {self.name}, {len(self.columns)} columns; "
            f"rows: {n[0]} train, {n[1]} held out, {n[2]} test"
        ]
        if constant:
            lines.append(
                f"{constant} columns are constant over the training rows: they carry no information"
            )
        return "\n".join(lines)


class Source(NamedTuple):
    """A data set before splitting: x [N, D] in user units, names, labels [N] or None."""

    x: np.ndarray
    names: list
    labels: np.ndarray | None = None
    shape: tuple | None = None


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
    """The Data that a config asks for: `data`, `standardize`, `test_fraction`, `split_seed`, ..."""
    if config["data"] in DATASETS:
        source = DATASETS[config["data"]](config)
    elif Path(config["data"]).suffix or Path(config["data"]).exists():
        source = Source(*tables.read_file(config["data"]))
    else:
        raise UserError(f"--data {config['data']}: neither a file nor one of {', '.join(DATASETS)}")
    x, names, labels, shape = source
    parts = split_rows(
        len(x), config["test_fraction"], config["val_fraction"], config["split_seed"]
    )
    train_x = x[parts[0]]
    columns = (
        tables.standardize(train_x, names)
        if config["standardize"]
        else [tables.Column(n) for n in names]
    )
    for rows in parts:
        check_distance(x[rows], columns)
    splits = [
        Split(tables.to_model(x[rows], columns), label=None if labels is None else labels[rows])
        for rows in parts
    ]
    return Data(config["data"], *splits, columns, shape or (x.shape[1],), data_hash(x, names))


def check_distance(x, columns):
    """Refuse held-back cells so far from the training rows that float32 cannot square them."""
    for i, column in enumerate(columns):
        with np.errstate(over="ignore", invalid="ignore"):
            far = np.abs(x[:, i] / column.scale - column.shift / column.scale).max(initial=0)
        if not far < FARTHEST:
            raise UserError(
                f"column {column.name!r} has a held-back cell {far:.3g} standard deviations from "
                f"its training rows, expected less than {FARTHEST:g}; mend or drop that row"
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


def add_data_flags(parser):
    parser.add_argument(
        "--data",
        default="synthetic",
        help=f"{', '.join(DATASETS)}, or a numeric .csv, .npy or .npz file (default: synthetic)",
    )
    parser.add_argument(
        "--n-rows",
        type=positive_int,
        default=1000,
        help="synthetic: rows",
    )
    parser.add_argument(
        "--n-columns",
        type=positive_int,
        default=20,
        help="synthetic: columns",
    )
    parser.add_argument(
        "--n-informative", type=positive_int, help="synthetic: columns that tell the classes apart"
    )
    parser.add_argument("--data-seed", type=seed, default=42, help="synthetic: seed (default: 42)")
    parser.add_argument(
        "--test-fraction", type=fraction, default=0.2, help="share of test rows (default: 0.2)"
    )
    parser.add_argument(
        "--val-fraction",
        type=fraction,
        help="share of the other rows held out of training (default: 0.1; synthetic: 0)",
    )
    parser.add_argument(
        "--split-seed", type=seed, default=42, help="seed of the split (default: 42)"
    )


def resolve(config):
    """A copy with the defaults filled in that depend on the data set."""
    name = config["data"]
    defaults = {
        "val_fraction": 0.0 if name == "synthetic" else 0.1,
        "likelihood": DEFAULT_LIKELIHOOD.get(name, "gaussian"),
    }
    path = {} if name in DATASETS else {"data": str(Path(name).resolve())}
    return config | {k: v for k, v in defaults.items() if config.get(k) is None} | path


DATASETS = {
    "synthetic": synthetic,
    "digits": digits,
    "breast_cancer": bundled("breast_cancer"),
    "wine": bundled("wine"),
    "iris": bundled("iris"),
    "diabetes": bundled("diabetes", scaled=False),
}
DEFAULT_LIKELIHOOD = {"digits": "bernoulli"}  # gaussian for all others


def main(argv=None):
    parser = Parser(prog="data.py", description=__doc__.splitlines()[0])
    add_data_flags(parser)
    data = load(resolve(vars(parser.parse_args(argv))) | {"standardize": True})
    print(data.describe())
    shown = zip(data.columns[:30], data.train.x.min(0), data.train.x.max(0), strict=False)
    for column, low, high in shown:
        low, high = (tables.to_user(v, [column])[0] for v in (low, high))
        print(
            f"  {column.name}: mean {column.shift:.4g}, s.d. {column.scale:.4g}, "
            f"from {low:.4g} to {high:.4g}"
        )
    if len(data.columns) > 30:
        print(f"  and {len(data.columns) - 30} more")


if __name__ == "__main__":
    run_script(main)
