"""Named data sets: generated, bundled with scikit-learn, or fetched by it.

A loader takes a DataConfig and returns a Source. Pictures may be bytes, where 255 stands for 1.
"""

import warnings
from dataclasses import replace

import numpy as np

from parts import memory
from parts.errors import UserError
from parts.forms.base import Source

BYTES_PER_CELL = 20  # least that a generated cell takes, in float64 and then in float32


def synthetic(config):
    from sklearn.datasets import make_classification

    if config.n_informative is not None and config.n_informative > config.n_columns:
        raise UserError(
            f"--n-informative {config.n_informative}, expected at most {config.n_columns}"
        )
    what = f"--n-rows {config.n_rows} --n-columns {config.n_columns}"
    row = BYTES_PER_CELL * config.n_columns
    memory.refuse_beyond_memory(what, config.n_rows, row, "rows")
    informative = min(2, config.n_columns) if config.n_informative is None else config.n_informative
    redundant = min(2, config.n_columns - informative)
    clusters = 2 if 2**informative >= 4 else 1
    x, labels = make_classification(
        n_samples=config.n_rows,
        n_features=config.n_columns,
        n_informative=informative,
        n_redundant=redundant,
        n_clusters_per_class=clusters,
        n_classes=2,
        random_state=config.data_seed,
    )
    return Source(x, [f"x{i}" for i in range(config.n_columns)], labels)


def bundled(name, **options):
    """A loader for a data set of scikit-learn; it keeps labels that are classes."""

    def load(config):
        import sklearn.datasets

        bunch = getattr(sklearn.datasets, f"load_{name}")(**options)
        classes = getattr(bunch, "target_names", None)
        labels = None if classes is None else np.asarray(classes)[bunch.target]
        return Source(bunch.data.astype(np.float64), [str(n) for n in bunch.feature_names], labels)

    return load


def digits(config):
    """Grey pictures of 8x8 pixels, whose levels 0..16 are divided by 16."""
    source = bundled("digits")(config)
    return replace(source, x=source.x / 16, shape=(1, 8, 8))


def sprites_of(size):
    """A loader for sprites of size x size pixels with known factors."""

    def load(config):
        from parts.forms.pictures import sprites

        x, names, labels, shape, factors = sprites.load(config, size)
        return Source(x, names, labels, (1, *shape), factors=factors)

    return load


# What scikit-learn fetches


def fetch(name, fetcher, /, **options):
    """Call one of scikit-learn's fetchers, which keeps a copy in its own data folder."""
    import http.client

    import sklearn.datasets

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # warnings about further tries
            return getattr(sklearn.datasets, fetcher)(n_retries=1, **options)
    except (OSError, ValueError, http.client.HTTPException) as error:
        other = ", or name the folder of its idx files by --data-dir DIR" if name in IDX else ""
        reason = str(error).splitlines() or [type(error).__name__]
        raise UserError(
            f"--data {name} could not be fetched ({reason[0]}); the first time it needs a network: "
            f"try again{other}"
        ) from error


def openml(name, openml_name):
    """A loader for 28x28 pictures from openml.org or from idx files; it keeps their test split."""

    def load(config):
        from parts.forms.pictures import picture_files

        if config.data_dir is not None:
            return picture_files.read_idx_set(config.data_dir, name)
        bunch = fetch(name, "fetch_openml", name=openml_name, version=1, as_frame=False)
        x, labels = bunch.data.astype(np.uint8), bunch.target.astype(np.int64)
        return picture_files.source(x, (1, 28, 28), labels, 10_000)

    return load


def olivetti(config):
    """400 grey faces of 64x64 pixels, labelled by person."""
    from parts.forms.pictures import picture_files

    bunch = fetch("olivetti", "fetch_olivetti_faces")
    x = np.clip(bunch.images, 0, 1).astype(np.float32, copy=False)
    return picture_files.source(x, (1, 64, 64), bunch.target)


IDX = {"mnist": "mnist_784", "fashion": "Fashion-MNIST"}  # name -> name at openml.org

# Name -> form and loader. A row of pictures has C * H * W pixels.
BUILTIN = {
    "synthetic": ("tables", synthetic),
    "digits": ("pictures", digits),
    "sprites": ("pictures", sprites_of(16)),
    "sprites32": ("pictures", sprites_of(32)),
    "breast_cancer": ("tables", bundled("breast_cancer")),
    "wine": ("tables", bundled("wine")),
    "iris": ("tables", bundled("iris")),
    "diabetes": ("tables", bundled("diabetes", scaled=False)),
    "mnist": ("pictures", openml("mnist", IDX["mnist"])),
    "fashion": ("pictures", openml("fashion", IDX["fashion"])),
    "olivetti": ("pictures", olivetti),
}
