"""data.py and parts/forms: the synthetic recipe, splits without leakage, scaling, every format."""

import contextlib
import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split

import data as datasets
from parts import forms, runs
from parts.errors import UserError
from parts.forms import scaling as scalings
from parts.forms import units
from parts.forms.config import DataConfig


def load(name="synthetic", scaling="standard", **changes):
    options = {"test_fraction": 0.2} | changes
    return datasets.load(datasets.resolve(DataConfig(str(name), scaling=scaling, **options)))


def read(path):
    """The matrix of a file of numbers, and its columns' names."""
    _, source = forms.open_source(DataConfig(str(path)))
    return source.x, source.names


def split_rows(n, test=0.2, val=0.1, seed=42):
    config = DataConfig(test_fraction=test, val_fraction=val, split_seed=seed)
    return datasets.split_rows(n, config)


def save_npz(path, x, **arrays):
    np.savez(path, X=x, **arrays)
    return path


def table(n=30, d=3, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d)) * [[1.0, 1e3, 1e-3][:d]]


# The synthetic default


def test_synthetic_is_the_recipe():
    x, labels = make_classification(n_samples=1000, n_features=20, n_classes=2, random_state=42)
    train_x, test_x, train_y, test_y = train_test_split(x, labels, test_size=0.2, random_state=42)
    data = load()
    assert len(data.val.x) == 0
    mean, std = train_x.mean(0), train_x.std(0)
    np.testing.assert_allclose([c.shift for c in data.codec.columns], mean, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose([c.scale for c in data.codec.columns], std, rtol=1e-10)
    np.testing.assert_allclose(data.train.x, (train_x - mean) / std, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(data.test.x, (test_x - mean) / std, rtol=1e-6, atol=1e-7)
    np.testing.assert_array_equal(data.train.label, train_y)
    np.testing.assert_array_equal(data.test.label, test_y)


@pytest.mark.parametrize(
    ("rows", "columns", "informative"),
    [(50, 1, None), (50, 2, None), (50, 3, 3), (7, 40, 5), (50, 20, 1)],
)
def test_synthetic_sizes(rows, columns, informative):
    data = load(n_rows=rows, n_columns=columns, n_informative=informative)
    n_test = -(-rows // 5)  # a fifth, rounded up
    assert data.train.x.shape == (rows - n_test, columns)
    assert data.test.x.shape == (n_test, columns)
    assert [c.name for c in data.codec.columns] == [f"x{i}" for i in range(columns)]


def test_more_informative_columns_than_there_are_is_refused():
    with pytest.raises(UserError, match="--n-informative 4, expected at most 3"):
        load(n_columns=3, n_informative=4)


def test_data_seed_and_split_seed_are_separate():
    base, other_rows, other_split = load(), load(data_seed=1), load(split_seed=1)
    assert base.fingerprint == other_split.fingerprint != other_rows.fingerprint
    assert not np.array_equal(base.test.x, other_split.test.x)


# No leakage


@pytest.mark.parametrize("part", ["val", "test"])
def test_rows_held_back_change_nothing_fitted(tmp_path, part):
    x = table()
    rows = dict(zip(("train", "val", "test"), split_rows(30), strict=True))
    changed = x.copy()
    changed[rows[part]] = 1e6 * table(seed=1)[rows[part]]
    first = load(save_npz(tmp_path / "a.npz", x))
    second = load(save_npz(tmp_path / "b.npz", changed))
    assert first.codec == second.codec
    np.testing.assert_array_equal(first.train.x, second.train.x)
    assert not np.array_equal(getattr(first, part).x, getattr(second, part).x)


def test_test_rows_do_not_move_the_weights(tmp_path, train):
    x = table()
    changed = x.copy()
    changed[split_rows(30)[2]] *= -3
    models = []
    for name, array in (("a", x), ("b", changed)):
        path = save_npz(tmp_path / f"{name}.npz", array)
        run = train(tmp_path / "runs", name, "--data", path, "--epochs", 2, "--patience", 1)
        models.append(runs.Run(run).load_checkpoint()["model"])
    for key, value in models[0].items():
        assert value.equal(models[1][key]), key


@given(
    n=st.integers(2, 300),
    test=st.floats(0, 0.99),
    val=st.floats(0, 0.99),
    seed=st.integers(0, 2**32 - 1),
)
def test_split_is_a_partition(n, test, val, seed):
    n_test = int(np.ceil(n * test))
    n_val = int(np.ceil((n - n_test) * val))
    if n - n_test - n_val < 2:
        with pytest.raises(UserError, match=f"^{n} rows leave"):
            split_rows(n, test, val, seed)
        return
    parts = split_rows(n, test, val, seed)
    assert [len(part) for part in parts] == [n - n_test - n_val, n_val, n_test]
    assert sorted(np.concatenate(parts)) == list(range(n))  # every row once
    again = split_rows(n, test, val, seed)
    assert all(np.array_equal(a, b) for a, b in zip(parts, again, strict=True))


def test_official_test_rows_are_in_random_order():
    """Their first rows serve as samples, and files are often sorted."""
    train, val, test = datasets.split_rows(1000, DataConfig(val_fraction=0.1), 400)
    assert [len(train), len(val)] == [540, 60]
    assert sorted(test) == list(range(600, 1000))
    assert 700 < test[:100].mean() < 900  # 10 standard errors


@pytest.mark.parametrize(("n", "n_test"), [(2, 1), (17, 5), (1000, 200)])
def test_a_split_is_scikit_learns(n, n_test):
    for seed in (0, 42, 2**32 - 1):
        found = split_rows(n + 2, n_test / (n + 2), 0.0, seed)
        expected = train_test_split(np.arange(n + 2), test_size=len(found[2]), random_state=seed)
        np.testing.assert_array_equal(found[0], expected[0])
        np.testing.assert_array_equal(found[2], expected[1])


def test_split_differs_between_seeds():
    first, second = (split_rows(100, seed=seed)[2] for seed in (0, 1))
    assert set(first) != set(second)


# Scaling and its inverse


@st.composite
def random_tables(draw):
    """Columns of every size from 1e-300 to 1e300, some constant, some far from 0."""
    n, d = draw(st.integers(2, 12)), draw(st.integers(1, 4))
    x = np.random.default_rng(draw(st.integers(0, 2**32 - 1))).normal(size=(n, d))
    for j in range(d):
        kind = draw(st.sampled_from(["plain", "constant", "offset", "integers"]))
        if kind == "constant":
            x[:, j] = x[0, j]
        elif kind == "offset":
            x[:, j] = 1 + 1e-6 * x[:, j]
        elif kind == "integers":
            x[:, j] = np.round(x[:, j])
        x[:, j] *= 10.0 ** draw(st.integers(-300, 300))
    return x


@given(x=random_tables())
@example(x=np.array([[1e300], [-1e300], [3e299]]))
@example(x=np.array([[1e-170], [2e-170], [5e-170]]))
@example(x=np.array([[5e-300], [1e-300]]))
@example(x=np.array([[0.1], [0.1], [0.1]]))
def test_to_user_inverts_to_model(x):
    columns = units.standardize(x, [f"c{j}" for j in range(x.shape[1])])
    model = units.to_model(x, columns)
    assert model.dtype == np.float32
    assert np.isfinite(model).all()
    assert np.abs(model).max() < 2 * len(x) ** 0.5  # at most sqrt(n) standard deviations away
    back = units.to_user(model, columns)
    shift = np.array([c.shift for c in columns])
    # float32 keeps 24 bits of the distance to the mean, float64 52 of the value itself.
    assert (np.abs(back - x) <= 1.2e-7 * np.abs(x - shift) + 1e-15 * np.abs(x).max(0)).all()


def test_the_largest_numbers_are_refused_or_scaled(tmp_path):
    """The distance between 1.7e308 and -1.7e308 overflows float64."""
    path = write(tmp_path / "t.csv", "a\n" + "1.7e308\n-1.7e308\n1.6e308\n" * 10)
    data = None
    with contextlib.suppress(UserError):
        data = load(path)
    assert data is None or set(np.sign(data.codec.decode(data.train.x)).ravel()) == {1, -1}


@given(x=random_tables())
def test_standardised_columns_have_mean_0_and_variance_1(x):
    columns = units.standardize(x, [str(j) for j in range(x.shape[1])])
    model = units.to_model(x, columns).astype(np.float64)
    varies = np.ptp(x / np.abs(x).max(0).clip(1e-320), 0) > 1e-9  # else rounding is what is left
    np.testing.assert_allclose(model.mean(0)[varies], 0, atol=1e-4)
    np.testing.assert_allclose(model.std(0)[varies], 1, atol=1e-4)
    constant = (x == x[0]).all(0)
    assert (np.abs(model[:, constant]) <= 1e-3).all()


@pytest.mark.parametrize("scaling", ["standard", "none"])
@pytest.mark.parametrize(("size", "cell"), [(0, 1e300), (0, 1e30), (1e-300, 1e20), (1, -1e305)])
def test_far_rows_held_back_stay_finite(tmp_path, size, cell, scaling):
    """A column is constant or tiny in the training rows, and large in one of the test rows."""
    x = table()
    x[:, 0] *= size
    x[split_rows(30)[2][0], 0] = cell
    data = None
    with contextlib.suppress(UserError):  # refusing the table is as good
        data = load(save_npz(tmp_path / "far.npz", x), scaling)
    assert data is None or np.isfinite(data.test.x).all()


def test_decode_gives_the_users_units():
    raw, _ = make_classification(n_samples=1000, n_features=20, random_state=42)
    train_x, _ = train_test_split(raw, test_size=0.2, random_state=42)
    data = load()
    decoded = data.codec.decode(data.train.x)
    assert decoded.dtype == np.float64
    np.testing.assert_allclose(decoded, train_x, rtol=1e-5, atol=1e-6)
    # Any leading shape, as draws [K, B, D] have.
    np.testing.assert_array_equal(
        data.codec.decode(data.train.x.reshape(8, 100, 20)[3, 5]), decoded[305]
    )


def test_without_standardising_values_stay_as_they_are(tmp_path):
    x = table()
    data = load(save_npz(tmp_path / "x.npz", x), scaling="none")
    rows = split_rows(30)[0]
    np.testing.assert_array_equal(data.train.x, x[rows].astype(np.float32))


# Bundled sets


@pytest.mark.parametrize(
    ("name", "rows", "columns", "labels"),
    [
        ("digits", 1797, 64, 10),
        ("breast_cancer", 569, 30, 2),
        ("wine", 178, 13, 3),
        ("iris", 150, 4, 3),
        ("diabetes", 442, 10, 0),
    ],
)
def test_bundled_sets(name, rows, columns, labels):
    data = load(name)
    assert sum(len(split.x) for split in (data.train, data.val, data.test)) == rows
    assert len(data.codec.columns) == columns
    assert len(data.val.x) > 0
    if labels:
        assert len(np.unique(data.train.label)) == labels
    else:
        assert data.train.label is None


def test_every_named_set_loads(fetchers):
    assert {load(name).name for name in forms.BUILTIN} == set(forms.BUILTIN)
    assert {name for name, _ in fetchers} == {"mnist", "fashion", "olivetti"}


def test_digits_are_grey_pictures():
    data = load("digits", scaling="none")
    assert data.shape == (1, 8, 8)
    assert data.train.x.min() == 0
    assert data.train.x.max() == 1
    assert set(np.unique(data.train.x * 16)) == set(range(17))
    assert data.form.default_likelihood("digits") == "bernoulli"


def test_diabetes_is_in_its_own_units():
    age = load("diabetes").codec.columns[0]
    assert age.name == "age"
    assert 40 < age.shift < 60


# A user's file


def csv_text(x, names):
    rows = [",".join(map(repr, row)) for row in x.tolist()]
    return "\n".join([",".join(names)] * bool(names) + rows) + "\n"


def write(path, text, encoding="utf-8", newline="\n"):
    path.write_bytes(text.replace("\n", newline).encode(encoding))
    return path


def assert_same(a, b):
    codecs = [replace(data.codec, dialect=None) for data in (a, b)]  # how text is written
    assert codecs[0] == codecs[1]
    for part in ("train", "val", "test"):
        np.testing.assert_array_equal(getattr(a, part).x, getattr(b, part).x)


def test_formats_of_one_table_agree(tmp_path):
    x = table()
    np.save(tmp_path / "t.npy", x)
    from_npy = load(tmp_path / "t.npy")
    text = csv_text(x, ["c0", "c1", "c2"])
    variants = {
        "npz": save_npz(tmp_path / "t.npz", x),
        "lower case x": tmp_path / "lower.npz",
        "csv": write(tmp_path / "t.csv", text),
        "upper case ending": write(tmp_path / "T.CSV", text),
        "byte order mark": write(tmp_path / "bom.csv", text, encoding="utf-8-sig"),
        "crlf": write(tmp_path / "crlf.csv", text, newline="\r\n"),
        "no newline at the end": write(tmp_path / "end.csv", text.rstrip("\n")),
        "spaces": write(tmp_path / "spaces.csv", text.replace(",", ", ")),
        "quoted": write(
            tmp_path / "quoted.csv",
            "\n".join(",".join(f'"{cell}"' for cell in row.split(",")) for row in text.split()),
        ),
    }
    np.savez_compressed(tmp_path / "lower.npz", x=x)
    for path in variants.values():
        data = load(path)
        assert_same(data, from_npy)


def test_pandas_header_of_an_array_is_a_header(tmp_path):
    x, names = read(write(tmp_path / "t.csv", "0,1,2\n3,4,5\n6,7,8\n"))
    assert names == ["0", "1", "2"]
    np.testing.assert_array_equal(x, [[3, 4, 5], [6, 7, 8]])


def test_csv_numbers_are_read_to_the_last_bit(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 2)) * 10.0 ** rng.integers(-30, 30, size=(500, 2))
    found, names = read(write(tmp_path / "t.csv", csv_text(x, ["a", "b"])))
    np.testing.assert_array_equal(found, x)
    assert names == ["a", "b"]


@pytest.mark.parametrize("seed", range(5))
def test_copies_are_on_one_side_of_a_split(seed):
    rng = np.random.default_rng(seed)
    copies = rng.integers(0, 60, 200)
    config = DataConfig(test_fraction=0.2, val_fraction=0.1, split_seed=seed)
    parts = datasets.split_rows(200, config, copies=copies)
    assert sorted(np.concatenate(parts)) == list(range(200))
    groups = [set(copies[part]) for part in parts]
    assert not groups[0] & groups[1] | groups[0] & groups[2] | groups[1] & groups[2]
    for part, share in zip(parts, (0.72, 0.08, 0.2), strict=True):
        assert len(part) == pytest.approx(200 * share, abs=7)


def test_rows_that_all_differ_are_split_as_without_copies():
    config = DataConfig(test_fraction=0.2, val_fraction=0.1)
    plain = datasets.split_rows(50, config)
    for a, b in zip(plain, datasets.split_rows(50, config, copies=np.arange(50)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_copies_that_cannot_be_parted_are_split_all_the_same():
    config = DataConfig(test_fraction=0.2, val_fraction=0.0)
    train, _, test = datasets.split_rows(20, config, copies=np.zeros(20, int))
    assert (len(train), len(test)) == (16, 4)


def test_copies_and_empty_rows_are_noted(tmp_path):
    rows = "".join(f"{i % 37}.5,{i % 11},k{i % 3}\n" for i in range(120))
    path = write(tmp_path / "t.csv", f"a,b,c\n{rows}" + "0.5,0,k0\n" * 4 + ",,\n" * 3)
    data = load(path, "kinds")
    assert "3 rows without a cell stay as they are: 121" not in data.notes[0]
    assert data.notes[0] == "3 rows without a cell stay as they are: 125, 126, 127"
    assert data.notes[1] == "4 rows are copies of other rows; copies stay on one side of a split"
    path = write(tmp_path / "one.csv", f"a,b,c\n{rows}0.5,0,k0\n,,\n")
    data = load(path, "kinds")
    assert data.notes[0] == "1 row without a cell stays as it is: 122"
    assert data.notes[1].startswith("1 row is a copy of another; copies stay")


def test_column_names_are_kept(tmp_path):
    text = 'weight (kg),"height, m", größe \n' + "1,2,3\n4,5,7\n" * 10
    assert [c.name for c in load(write(tmp_path / "t.csv", text)).codec.columns] == [
        "weight (kg)",
        "height, m",
        "größe",
    ]


@pytest.mark.parametrize(
    ("cells", "value"),
    [
        (["1", "0"], [1, 0]),
        (["+1", "-0"], [1, 0]),
        (["1e0", "0."], [1, 0]),
        (["1" + "0" * 300, "2" + "0" * 300], [1e300, 2e300]),
        (["1e300", "-1e300"], [1e300, -1e300]),
        (["9007199254740993", "1"], [9007199254740992, 1]),
        (["18446744073709551616", "-1"], [2.0**64, -1]),
        (["4e-320", "0"], [4e-320, 0]),
    ],
)
def test_csv_cells(tmp_path, cells, value):
    text = "a,b\n" + "".join(f"{cell},{i}\n" for i, cell in enumerate(cells * 10))
    x, _ = read(write(tmp_path / "t.csv", text))
    np.testing.assert_array_equal(x[:, 0], value * 10)


def test_rows_are_never_dropped(tmp_path):
    """An empty line in the only column is a missing cell, not the absence of a row."""
    path = write(tmp_path / "t.csv", "a\n1\n2\n\n4\n5\n6\n7\n")
    with pytest.raises(UserError, match="row 3, column 'a' is missing"):
        read(path)


def test_trailing_empty_lines_are_no_rows(tmp_path):
    x, _ = read(write(tmp_path / "t.csv", "a,b\n1,2\n3,4\n\n\n"))
    np.testing.assert_array_equal(x, [[1, 2], [3, 4]])


def test_labels_of_bundled_sets_are_class_names():
    assert set(load("wine").train.label) == {"class_0", "class_1", "class_2"}
    assert set(load("breast_cancer").test.label) == {"malignant", "benign"}


@pytest.mark.parametrize(("n", "d"), [(8, 40), (40, 1), (3, 1), (4, 1000)])
def test_odd_shapes(tmp_path, n, d):
    x = np.random.default_rng(0).normal(size=(n, d))
    data = load(save_npz(tmp_path / "t.npz", x), val_fraction=0.0)
    n_test = -(-n // 5)
    assert data.train.x.shape == (n - n_test, d)
    assert data.shape == (d,)
    np.testing.assert_allclose(
        np.sort(
            np.concatenate([data.codec.decode(data.train.x), data.codec.decode(data.test.x)]), 0
        ),
        np.sort(x, 0),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize("dtype", ["?", "u1", "i8", "u8", "f2", "f4", "f8", ">f8"])
def test_number_types(tmp_path, dtype):
    x = np.abs(table(d=2) * [10, 0.1]).astype(dtype)
    np.save(tmp_path / "t.npy", np.asfortranarray(x))
    found, names = read(tmp_path / "t.npy")
    assert found.dtype == np.float64
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, x.astype("f8"))
    assert names == ["c0", "c1"]


@pytest.mark.parametrize("y", [np.arange(30), np.arange(30) / 7, np.array(list("abcde") * 6)])
def test_labels_follow_their_rows(tmp_path, y):
    data = load(save_npz(tmp_path / "t.npz", table(), y=y))
    rows = split_rows(30)
    for split, index in zip((data.train, data.val, data.test), rows, strict=True):
        np.testing.assert_array_equal(split.label, y[index])


def test_labels_are_no_column(tmp_path):
    with_labels = load(save_npz(tmp_path / "a.npz", table(), y=np.arange(30)))
    without = load(save_npz(tmp_path / "b.npz", table()))
    assert_same(with_labels, without)
    assert without.train.label is None


# The fingerprint


def test_hash_knows_every_cell_and_name():
    x, names = table(), ["a", "b", "c"]
    base = scalings.array_hash(x, names)
    assert base == scalings.array_hash(np.asfortranarray(x), list(names))
    for row in range(len(x)):
        for column in range(3):
            changed = x.copy()
            changed[row, column] = np.nextafter(changed[row, column], np.inf)
            assert scalings.array_hash(changed, names) != base
    assert scalings.array_hash(x, ["a", "b", "d"]) != base
    assert scalings.array_hash(x[:, [1, 0, 2]], names) != base
    assert scalings.array_hash(x[::-1], names) != base


def test_hash_knows_the_shape():
    x = np.arange(12.0)
    assert scalings.array_hash(x.reshape(6, 2), ["a", "b"]) != scalings.array_hash(
        x.reshape(4, 3), ["a", "b", "c"]
    )


def test_a_changed_table_is_refused(tmp_path):
    x = table()
    path = save_npz(tmp_path / "t.npz", x)
    config = datasets.resolve(DataConfig(str(path)))
    first = datasets.load(config)
    assert_same(datasets.load(config, first.codec, first.fingerprint), first)
    x[7, 1] += 1e-9
    save_npz(path, x)
    with pytest.raises(UserError, match="has changed since this run was trained"):
        datasets.load(config, first.codec, first.fingerprint)


def test_describe_counts_constant_columns(tmp_path):
    x = table()
    x[:, 1] = 0.1
    text = load(save_npz(tmp_path / "t.npz", x)).describe()
    assert "3 columns; rows: 21 train, 3 held out, 6 test" in text
    assert "1 column is constant" in text


# Factors


def test_factors_follow_their_rows_by_name(tmp_path):
    factors = np.stack([np.arange(30), np.arange(30) % 3], -1)
    named = {"factors": factors, "factor_names": ["size", "kind"]}
    rows = split_rows(30)
    for scaling in ("standard", "kinds"):
        data = load(save_npz(tmp_path / "t.npz", table(), **named), scaling)
        for split, index in zip((data.train, data.val, data.test), rows, strict=True):
            np.testing.assert_array_equal(split.factors["size"], index)
            np.testing.assert_array_equal(split.factors["kind"], index % 3)
        assert data.train.factors.dtype.names == ("size", "kind")


def test_factors_without_names_are_numbered_and_are_no_column(tmp_path):
    with_factors = load(save_npz(tmp_path / "a.npz", table(), factors=np.ones((30, 2), "u1")))
    without = load(save_npz(tmp_path / "b.npz", table()))
    assert_same(with_factors, without)
    assert with_factors.test.factors.dtype.names == ("factor 0", "factor 1")
    assert without.test.factors is None


def test_static_pictures_are_drawn_once_with_their_grey_values():
    ways = (False, True, True)
    grey, once, again = (load("digits", scaling="none", static_pixels=how) for how in ways)
    for split in ("train", "test"):
        x, drawn = getattr(grey, split).x, getattr(once, split).x
        assert set(np.unique(drawn)) == {0, 1}
        np.testing.assert_array_equal(drawn, getattr(again, split).x)
        certain = (x == 0) | (x == 1)
        np.testing.assert_array_equal(drawn[certain], x[certain])
        error = (drawn - x).mean()
        assert abs(error) < 5 * np.sqrt((x * (1 - x)).sum()) / x.size


def test_the_printed_ends_of_a_column_are_cells_of_the_file(tmp_path, capsys):
    rng = np.random.default_rng(0)
    seconds, amounts = rng.integers(1_700_000_000, 1_710_000_000, 300), rng.lognormal(12, 2, 300)
    rows = "".join(f"{s},{a:.2f},{a:.9g}e3\n" for s, a in zip(seconds, amounts, strict=True))
    path = write(tmp_path / "t.csv", f"created_at,amount,large\n{rows}")
    assert datasets.main(["--data", str(path)]) == 0
    found = re.findall(r"^  (\w+): from (\S+) to (\S+), median", capsys.readouterr().out, re.M)
    assert [name for name, *_ in found] == ["created_at", "amount", "large"]
    for j, (_, *ends) in enumerate(found):
        assert set(ends) <= {row.split(",")[j] for row in rows.split()}
