"""Named data sets: generated, bundled with scikit-learn, or fetched by it.

A loader takes a DataConfig and returns a Source. Pictures may be bytes, where 255 stands for 1.
"""

from dataclasses import replace

import numpy as np

from parts.errors import UserError
from parts.forms.base import Source
from parts.forms.pictures import picture_files, sprites


def synthetic(config):
    from sklearn.datasets import make_classification

    if config.n_informative is not None and config.n_informative > config.n_columns:
        raise UserError(
            f"--n-informative {config.n_informative}, expected at most {config.n_columns}"
        )
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
        x, names, labels, shape, factors = sprites.load(config, size)
        return Source(x, names, labels, (1, *shape), factors=factors)

    return load


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
    **{name: ("pictures", loader) for name, loader in picture_files.SETS.items()},
}
