"""parts/forms/pictures: all kinds of picture files give equal numbers, damaged files a sentence."""

import gzip
import io
import json
import struct
import tracemalloc
import urllib.error
import warnings
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.stats import multivariate_normal
from sklearn.preprocessing import StandardScaler

import data as datasets
from parts import forms, memory
from parts.errors import UserError
from parts.forms import builtin, units
from parts.forms import scaling as scalings
from parts.forms.base import Codec
from parts.forms.config import DataConfig
from parts.forms.pictures import picture_files, shapes, sheets
from parts.forms.pictures.form import PictureCodec, Pictures
from parts.model import batches
from parts.model.likelihoods import gaussian
from parts.runs import Run
from parts.tasks import evaluate
from vae import Batch

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, size=(30, 5, 4), dtype=np.uint8)  # [N, H, W]
COLOUR = RNG.integers(0, 256, size=(30, 3, 5, 4), dtype=np.uint8)  # [N, C, H, W]
LABELS = np.arange(30) % 3


def load(name, scaling="none", **changes):
    return datasets.load(datasets.resolve(DataConfig(str(name), scaling=scaling, **changes)))


def split_rows(n):
    return datasets.split_rows(n, DataConfig(test_fraction=0.2, val_fraction=0.1))


def in_order(data, n=30):
    """All rows [N, D] and labels as they stood before the split of a fifth and a tenth."""
    x = np.concatenate([split.x for split in (data.train, data.val, data.test)])
    order = np.argsort(np.concatenate(split_rows(n)))
    labels = [split.label for split in (data.train, data.val, data.test)]
    return x[order], None if labels[0] is None else np.concatenate(labels)[order]


# Arrays


@pytest.mark.parametrize(
    "pictures", [GREY, COLOUR, GREY[:, None], COLOUR[:, :2]], ids=str.__class__
)
def test_bytes_become_floats_channels_first(tmp_path, pictures):
    np.savez(tmp_path / "a.npz", X=pictures, y=LABELS)
    data = load(tmp_path / "a.npz")
    x, labels = in_order(data)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, (pictures.reshape(30, -1) / 255).astype(np.float32))
    np.testing.assert_array_equal(labels, LABELS)
    assert data.shape == (1, 5, 4) if pictures.ndim == 3 else pictures.shape[1:]
    assert len({column.name for column in data.codec.columns}) == x.shape[1]


def test_names_say_where_a_pixel_is():
    assert shapes.names((1, 2, 2)) == ["pixel_0_0", "pixel_0_1", "pixel_1_0", "pixel_1_1"]
    assert shapes.names((3, 2, 2))[7] == "pixel_1_1_1"
    x = np.arange(12).reshape(1, 3, 2, 2)
    assert x.reshape(-1)[shapes.names((3, 2, 2)).index("pixel_2_0_1")] == x[0, 2, 0, 1]


@pytest.mark.parametrize("dtype", ["f2", "f4", "f8", ">f4", "?", "u1"])
def test_floats_and_binary_pictures_are_taken_as_they_are(tmp_path, dtype):
    """Bytes of 0 and 1 alone are black and white, not two shades of black."""
    binary = dtype in ("?", "u1")
    pictures = (GREY > 127 if binary else GREY / 256).astype(dtype)
    np.save(tmp_path / "a.npy", np.asfortranarray(pictures))
    x, labels = in_order(load(tmp_path / "a.npy"))
    np.testing.assert_array_equal(x, pictures.reshape(30, -1).astype(np.float32))
    assert labels is None


def test_a_matrix_of_an_array_stays_a_table(tmp_path):
    np.save(tmp_path / "a.npy", GREY.reshape(30, 20))
    data = load(tmp_path / "a.npy")
    assert data.shape == (20,)
    assert data.train.x.max() > 200
    assert data.form.name == forms.form_of(tmp_path / "a.npy").name == "tables"


def test_the_default_likelihood_is_by_form(tmp_path):
    np.save(tmp_path / "a.npy", GREY)
    np.savez(tmp_path / "b.npz", data=COLOUR)
    np.savez(tmp_path / "c.npz", weights=COLOUR)
    (tmp_path / "broken.npz").write_bytes(b"PK")
    Image.fromarray(GREY[0]).save(tmp_path / "one.png")
    for name, likelihood in {
        **dict.fromkeys(("digits", "mnist", "olivetti", tmp_path), "bernoulli"),
        **dict.fromkeys((tmp_path / "a.npy", tmp_path / "b.npz"), "bernoulli"),
        **dict.fromkeys(("iris", tmp_path / "c.npz", tmp_path / "broken.npz"), "gaussian"),
        **dict.fromkeys((tmp_path / "none.npy", tmp_path / "x.csv"), None),
    }.items():
        found = forms.form_of(str(name)).default_likelihood(str(name))
        assert found == (likelihood or {".npy": "gaussian", ".csv": "mixed"}[name.suffix])


# Folders


def png(depth, colour_type, rows):
    """A PNG of `rows`, each as bytes, that Pillow cannot write: 16 bits with colour or alpha."""

    def chunk(kind, content):
        crc = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)

    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour_type]
    width = len(rows[0]) * 8 // depth // channels
    header = struct.pack(">IIBBBBB", width, len(rows), depth, colour_type, 0, 0, 0)
    content = zlib.compress(b"".join(b"\0" + row for row in rows))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", content)
        + chunk(b"IEND", b"")
    )


def saved(array, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", **options)
    return file.getvalue()


def with_alpha(*layers):
    return saved(np.stack(layers, -1).astype(np.uint8))


def of_palette(colours, **options):
    image = Image.fromarray(CODES, "P")
    image.putpalette(colours)
    file = io.BytesIO()
    image.save(file, "PNG", **options)
    return file.getvalue()


CODES = np.arange(20, dtype=np.uint8).reshape(5, 4) % 3
LEVELS = np.arange(0, 240, 12, dtype=np.uint8).reshape(5, 4)
HALF = np.full((5, 4), 128, np.uint8)
WIDE = (LEVELS.astype(np.uint16) * 257 + 100).astype(">u2")
FORMS = {
    "grey": (saved(LEVELS), LEVELS),
    "one bit": (saved(LEVELS > 100), (LEVELS > 100) * 255),
    "16 bits": (png(16, 0, [row.tobytes() for row in WIDE]), LEVELS),
    "16 bits rounds": (
        png(16, 0, [(row + 100).astype(">u2").tobytes() for row in WIDE]),
        LEVELS + 1,
    ),
    "colour": (saved(np.stack([LEVELS] * 3, -1)), np.stack([LEVELS] * 3, -1)),
    "16 bits of colour": (  # cut to 8 by Pillow
        png(16, 2, [np.repeat(row, 3).tobytes() for row in WIDE]),
        np.stack([WIDE >> 8] * 3, -1),
    ),
    "grey palette": (
        of_palette([7, 7, 7, 90, 90, 90, 200, 200, 200]),
        np.array([7, 90, 200])[CODES],
    ),
    "coloured palette": (
        of_palette([255, 0, 0, 0, 255, 0, 9, 9, 9]),
        np.array([[255, 0, 0], [0, 255, 0], [9, 9, 9]])[CODES],
    ),
    "a palette's transparent colour": (
        of_palette([255, 0, 0, 0, 255, 0, 9, 9, 9], transparency=1),
        np.array([[255, 0, 0], [255, 255, 255], [9, 9, 9]])[CODES],
    ),
    "opaque": (with_alpha(LEVELS, np.full((5, 4), 255)), LEVELS),
    "transparent": (with_alpha(LEVELS, np.zeros((5, 4))), np.full((5, 4), 255)),
    "half": (with_alpha(LEVELS, HALF), np.round(LEVELS * (128 / 255) + 255 * (127 / 255))),
    "colour and alpha": (
        with_alpha(LEVELS, LEVELS, HALF, np.zeros((5, 4))),
        np.full((5, 4, 3), 255),
    ),
    "a transparent level": (
        saved(LEVELS, transparency=int(LEVELS[2, 1])),
        np.where(LEVELS[2, 1] == LEVELS, 255, LEVELS),
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_png_of_every_form(tmp_path, form):
    content, expected = FORMS[form]
    (tmp_path / "a.png").write_bytes(content)
    found = picture_files.read_picture(tmp_path / "a.png")
    assert found.dtype == np.uint8
    np.testing.assert_allclose(found, expected, atol=form == "half")
    assert found.shape == np.shape(expected)


def test_a_photograph_is_turned_as_its_camera_says(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees, clockwise
    picture = np.zeros((16, 32), np.uint8)
    picture[:, :16] = 255  # white on the left, so on top when it is turned
    Image.fromarray(picture).save(tmp_path / "a.JPG", "JPEG", exif=exif)
    found = picture_files.read_picture(tmp_path / "a.JPG")
    assert found.shape == (32, 16)
    assert found[:14].min() > 240
    assert found[18:].max() < 15


def write_folder(folder, pictures, labels=None):
    """Numbered PNGs of pictures [N, H, W] or [N, C, H, W], in sub-folders by label if any."""
    for i, picture in enumerate(pictures):
        place = folder if labels is None else folder / str(labels[i])
        place.mkdir(parents=True, exist_ok=True)
        array = picture if picture.ndim == 2 else picture.transpose(1, 2, 0)
        Image.fromarray(array).save(place / f"{i:03d}.png")
    return folder


@pytest.mark.parametrize("pictures", [GREY, COLOUR], ids=["grey", "colour"])
def test_a_folder_is_the_array_of_its_pictures(tmp_path, pictures):
    folder = write_folder(tmp_path / "p", pictures)
    (folder / "notes.txt").write_text("no picture")
    (folder / "._000.png").write_bytes(b"no picture either")
    (folder / "some.scored.png").write_bytes(b"a sheet")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "thumb.png").write_bytes(b"nor this")
    np.save(tmp_path / "a.npy", pictures)
    from_folder, from_array = load(folder), load(tmp_path / "a.npy")
    assert from_folder.shape == from_array.shape
    assert from_folder.codec == from_array.codec
    np.testing.assert_array_equal(from_folder.test.x, from_array.test.x)
    assert from_folder.train.label is None


def test_sub_folders_are_labels(tmp_path):
    words = np.array(["cat", "dog", "ant"])[LABELS]
    x, labels = in_order(load(write_folder(tmp_path, GREY, words)))
    order = np.argsort(words, kind="stable")
    np.testing.assert_array_equal(labels, words[order])
    np.testing.assert_array_equal(x * 255, GREY.reshape(30, 20)[order])
    write_folder(tmp_path, GREY[:1])  # one that has no label
    assert load(tmp_path).train.label is None


def test_one_coloured_picture_makes_all_of_them_rgb(tmp_path):
    write_folder(tmp_path, [*GREY[:20], *COLOUR[:10]])
    source = picture_files.read(tmp_path)
    assert source.shape == (3, 5, 4)
    np.testing.assert_array_equal(source.x[0], np.tile(GREY[0].ravel(), 3))
    np.testing.assert_array_equal(source.x[20], COLOUR[0].ravel())
    grey = picture_files.read(tmp_path, grey=True)
    assert grey.shape == (1, 5, 4)
    luma = np.tensordot(COLOUR[0].astype(float), [0.299, 0.587, 0.114], (0, 0)).ravel()
    np.testing.assert_allclose(grey.x[20], luma, atol=1)  # ITU-R 601-2


def test_the_middle_square_is_resized(tmp_path):
    wide = np.zeros((4, 12), np.uint8)
    wide[:, 4:8] = LEVELS[:4]
    Image.fromarray(wide).save(tmp_path / "wide.png")
    Image.fromarray(np.full((40, 30), 77, np.uint8)).save(tmp_path / "tall.png")
    source = picture_files.read(tmp_path, size=4)
    assert source.shape == (1, 4, 4)
    np.testing.assert_array_equal(source.x, [np.full(16, 77), LEVELS[:4].ravel()])


def test_pictures_of_two_sizes_are_refused(tmp_path):
    Image.fromarray(GREY[0]).save(tmp_path / "a.png")
    Image.fromarray(GREY[0].T).save(tmp_path / "b.png")
    with pytest.raises(UserError, match=r"a.png is 4 x 5 pixels and b.png 5 x 4, .*--image-size 4"):
        load(tmp_path)


def test_damaged_pictures_are_named(tmp_path):
    """A file that is cut off or has changed bytes is read, or refused with a sentence."""
    rng, contents = np.random.default_rng(0), []
    jpeg = io.BytesIO()
    Image.fromarray(np.tile(COLOUR[0].transpose(1, 2, 0), (4, 4, 1))).save(jpeg, "JPEG")
    for whole in (saved(GREY[0]), jpeg.getvalue(), FORMS["half"][0]):
        contents += [whole[:n] for n in range(0, len(whole) - 12, 5)]
        for _ in range(60):
            changed = bytearray(whole)
            changed[rng.integers(8, len(whole))] = rng.integers(256)
            contents.append(bytes(changed))
    messages = []
    for content in contents:
        (tmp_path / "a.png").write_bytes(content)
        try:
            picture_files.read_picture(tmp_path / "a.png")
        except UserError as error:
            messages.append(str(error))
    assert len(messages) > len(contents) // 2
    start = f"{tmp_path / 'a.png'} cannot be read as a picture, because "
    assert {message[: len(start)] for message in messages} == {start}


def test_a_bomb_is_refused(tmp_path, monkeypatch):
    Image.fromarray(GREY[0]).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15)
    with pytest.raises(UserError, match="cannot be read as a picture, because Image size"):
        load(tmp_path)


# idx files


def idx(array):
    return struct.pack(f">I{array.ndim}I", 2048 + array.ndim, *array.shape) + array.tobytes()


def write_idx(folder, zipped=True, dot="-", **changes):
    """Twenty training and ten test pictures in MNIST's four files; `changes` replace contents."""
    folder.mkdir(exist_ok=True)
    contents = {
        f"train-images{dot}idx3-ubyte": idx(GREY[:20]),
        f"train-labels{dot}idx1-ubyte": idx(LABELS[:20].astype(np.uint8)),
        f"t10k-images{dot}idx3-ubyte": idx(GREY[20:]),
        f"t10k-labels{dot}idx1-ubyte": idx(LABELS[20:].astype(np.uint8)),
    }
    for name, content in contents.items():
        content = changes.get(name.split(dot + "idx")[0].replace("-", "_"), content)
        if content is not None:
            path = folder / (f"{name}.gz" if zipped else name)
            path.write_bytes(gzip.compress(content) if zipped else content)
    return folder


@pytest.mark.parametrize(("name", "zipped", "dot"), [("mnist", True, "-"), ("fashion", False, ".")])
def test_idx_files_keep_their_test_rows(tmp_path, name, zipped, dot):
    data = load(name, data_dir=str(write_idx(tmp_path, zipped, dot)))
    assert data.shape == (1, 5, 4)
    test = (GREY[20:].reshape(10, 20) / 255).astype("f4")
    number = {row.tobytes(): i for i, row in enumerate(test)}
    order = [number[row.tobytes()] for row in data.test.x]
    assert sorted(order) == list(range(10))
    assert order != sorted(order)  # the first rows are a random sample
    np.testing.assert_array_equal(data.test.label, LABELS[20:][order])
    assert [len(data.train.x), len(data.val.x)] == [18, 2]
    kept = np.concatenate([data.train.x, data.val.x])
    rows = {row.tobytes(): label for row, label in zip(GREY[:20], LABELS[:20], strict=True)}
    labels = [rows[row.tobytes()] for row in np.round(kept * 255).astype(np.uint8)]
    np.testing.assert_array_equal(np.concatenate([data.train.label, data.val.label]), labels)


def test_a_test_fraction_mixes_all_rows(tmp_path):
    data = load("mnist", data_dir=str(write_idx(tmp_path)), test_fraction=0.2, val_fraction=0.1)
    x, labels = in_order(data)
    np.testing.assert_array_equal(np.round(x * 255), GREY.reshape(30, 20))
    np.testing.assert_array_equal(labels, LABELS)
    none = load("mnist", data_dir=str(tmp_path), test_fraction=0.0, val_fraction=0.0)
    assert [len(none.train.x), len(none.val.x), len(none.test.x)] == [30, 0, 0]


def test_idx_files_without_labels(tmp_path):
    folder = write_idx(tmp_path, train_labels=None)
    assert load("mnist", data_dir=str(folder)).test.label is None


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"train_images": idx(LABELS.astype(np.uint8))}, "begins with 2049, expected 2051"),
        ({"t10k_labels": idx(GREY)}, "begins with 2051, expected 2049"),
        ({"train_images": b""}, "begins with 0, expected 2051"),
        (
            {"train_images": idx(GREY[:20])[:-1]},
            "holds 399 bytes after its header, expected 20 x 5",
        ),
        ({"train_images": idx(GREY[:20])[:6]}, "16 bytes or more, not 6"),
        ({"train_images": idx(GREY[:20]) + b"1"}, "holds 401 bytes"),
        ({"train_images": idx(GREY[:0])}, "holds 0 bytes"),
        (
            {"train_labels": idx(LABELS[:19].astype(np.uint8))},
            "train has 20 pictures and 19 labels",
        ),
        ({"t10k_images": idx(GREY[20:].transpose(0, 2, 1).copy())}, "expected one size"),
        ({"t10k_images": None}, "there is no t10k-images-idx3-ubyte"),
    ],
)
def test_wrong_idx_files(tmp_path, changes, fragment):
    folder = write_idx(tmp_path, **changes)
    with pytest.raises(UserError) as error:
        load("mnist", data_dir=str(folder))
    assert fragment in str(error.value)
    assert str(folder) in str(error.value)


@pytest.mark.parametrize("damage", ["cut", "garbage", "checksum"])
def test_a_damaged_gz(tmp_path, damage):
    path = write_idx(tmp_path) / "train-images-idx3-ubyte.gz"
    content = path.read_bytes()
    spoilt = content[:-6] + b"xx" + content[-4:]
    path.write_bytes({"cut": content[:200], "garbage": b"abc" * 50, "checksum": spoilt}[damage])
    with pytest.raises(UserError, match=r"train-images-idx3-ubyte.gz cannot be read, because "):
        load("mnist", data_dir=str(tmp_path))


# What scikit-learn fetches


def test_fetched_sets(fetchers, monkeypatch):
    data = load("fashion", test_fraction=0.2)
    assert fetchers == [("fashion", 1)]
    x, labels = in_order(data)
    np.testing.assert_array_equal(np.round(x.ravel() * 255), np.arange(30 * 784) % 256)
    np.testing.assert_array_equal(labels, list(range(10)) * 3)
    source = builtin.openml("mnist", "mnist_784")(DataConfig("mnist"))
    assert (source.shape, source.n_test) == ((1, 28, 28), 10_000)
    assert source.x.dtype == np.uint8
    faces = load("olivetti")
    assert (faces.shape, faces.train.x.max() <= 1) == ((1, 64, 64), True)
    assert len(faces.test.x) == 4


@pytest.mark.parametrize(
    "error",
    [
        urllib.error.URLError("[Errno -3] Temporary failure in name resolution"),
        urllib.error.HTTPError("https://x", 503, "Service Unavailable", None, None),
        TimeoutError(),
        ValueError("No known dataset\nof this name"),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("name", ["mnist", "olivetti"])
def test_no_network_is_one_line(call, monkeypatch, name, error):
    import sklearn.datasets

    def fetch(**options):
        warnings.warn("trying again", UserWarning, stacklevel=1)
        raise error

    monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch)
    monkeypatch.setattr(sklearn.datasets, "fetch_olivetti_faces", fetch)
    result = call("train", "--data", name)
    assert result.code == 2
    assert result.err.startswith(f"error: --data {name} could not be fetched (")
    assert len(result.err.splitlines()) == 1
    assert ("--data-dir DIR" in result.err) == (name == "mnist")


# In model units, and in little memory


def test_standardised_pixels_are_scikit_learns(tmp_path, monkeypatch):
    monkeypatch.setattr(scalings, "BLOCK", 48)  # many blocks, of rows and of columns
    pictures = COLOUR.copy()
    pictures[:, 1, 2, 3] = 200  # constant
    np.save(tmp_path / "a.npy", pictures)
    data = load(tmp_path / "a.npy", "standard")
    flat = pictures.reshape(30, -1) / 255
    parts = split_rows(30)
    scaler = StandardScaler().fit(flat[parts[0]])
    np.testing.assert_allclose([c.shift for c in data.codec.columns], scaler.mean_, rtol=1e-12)
    np.testing.assert_allclose([c.scale for c in data.codec.columns], scaler.scale_, rtol=1e-12)
    for split, rows in zip((data.train, data.val, data.test), parts, strict=True):
        np.testing.assert_allclose(split.x, scaler.transform(flat[rows]), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(data.codec.decode(data.train.x), flat[parts[0]], atol=1e-6)


def test_a_pixel_too_far_from_training_is_refused(tmp_path):
    pictures = np.zeros((30, 4, 4), np.float32)
    train, _, test = split_rows(30)
    pictures[train[0], 0, 1], pictures[test[0], 0, 1] = 1e-30, 1
    np.save(tmp_path / "a.npy", pictures)
    with pytest.raises(UserError, match="'pixel_0_1' has a held-back cell"):
        load(tmp_path / "a.npy", "standard")


@pytest.mark.parametrize("scaling", ["none", "standard"])
def test_rows_are_made_once(tmp_path, scaling):
    """At its peak, memory holds the bytes, the float32 rows and bounded blocks."""
    n, side = 4000, 40
    pictures = np.random.default_rng(0).integers(0, 256, (n, side, side), dtype=np.uint8)
    np.save(tmp_path / "a.npy", pictures)
    size = pictures.nbytes
    del pictures
    load(tmp_path / "a.npy", scaling)  # what is imported is not counted
    tracemalloc.start()
    data = load(tmp_path / "a.npy", scaling)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    rows = sum(split.x.nbytes for split in (data.train, data.val, data.test))
    assert rows == 4 * size
    assert kept < rows + size / 2  # the bytes are not held beside them
    blocks = 8 * 8 * scalings.BLOCK  # of float64, a few at a time while scales are fitted
    assert peak < size + 4 * size + (blocks if scaling == "standard" else 4 * 8 * scalings.BLOCK)


def test_the_fingerprint_copies_nothing():
    x = np.zeros((2000, 2000), np.uint8)
    names = shapes.names((1, 40, 50))
    tracemalloc.start()
    scalings.array_hash(x, names)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e5


# A run's files


def test_a_config_holds_columns_in_little():
    shape = (3, 64, 64)
    plain = [units.Column(name) for name in shapes.names(shape)]
    rng = np.random.default_rng(0)
    scaled = [units.Column(c.name, *map(float, rng.random(2))) for c in plain]
    given = units.Column("label", kind="binary", levels=["a", "b"], condition=True)
    for columns, most in ((plain, 100), (scaled, 40 * 2 * 12288), ([*plain, given], 500)):
        codec = PictureCodec("pictures", columns, shape)
        small = json.loads(json.dumps(codec.to_dict()))
        assert len(json.dumps(small)) < most
        whole = forms.codec_from(small)
        assert whole == codec
        assert whole.to_dict() == small
    table = Codec("tables", [units.Column("a")], (1,))
    assert forms.codec_from(json.loads(json.dumps(table.to_dict()))) == table
    assert table.to_dict()["columns"] == [units.Column("a").to_dict()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train):
    """Runs of two epochs: of coloured arrays, standardised, and of a folder with labels."""
    folder = tmp_path_factory.mktemp("pictures")
    np.savez(folder / "a.npz", X=np.tile(COLOUR, (3, 1, 1, 1)), y=np.tile(LABELS, 3))
    write_folder(folder / "pngs", GREY, LABELS)
    flags = ("--epochs", 2, "--latent-dim", 3)
    train(folder / "runs", "colour", "--data", folder / "a.npz", "--binarize", "none", *flags)
    gaussian = ("--likelihood", "gaussian", "--variance", "shared")
    train(folder / "runs", "scaled", "--data", folder / "a.npz", *flags, *gaussian)
    train(folder / "runs", "grey", "--data", folder / "pngs", "--image-size", 6, *flags)
    return folder


@pytest.mark.parametrize("name", ["colour", "scaled", "grey"])
def test_a_run_of_pictures_goes_through_the_scripts(call, folder, name):
    for command in (("evaluate", "--n-samples", 5), ("plot_results",)):
        result = call(*command, "--run", name)
        assert (result.code, result.err) == (0, ""), result.err
    run = Run(Path("runs") / name)
    on_disk = json.loads((run.path / "config.json").read_text())
    codec = on_disk["codec"]
    assert codec["shape"] == ([1, 6, 6] if name == "grey" else [3, 5, 4])
    assert ("scale" in codec) == ("shift" in codec) == (name == "scaled")
    assert "columns" not in codec
    assert run.config() == run.load_checkpoint()["config"]
    with np.load(run.evaluation) as arrays:
        x, recon = arrays["x"], arrays["recon"]
        assert arrays["label"].dtype.kind == ("U" if name == "grey" else "i")
    assert -1e-6 < x.min() < x.max() < 1 + 1e-6
    assert np.abs(recon - x).mean() < 0.6
    assert {path.stem for path in run.figures.iterdir()} >= {"reconstructions", "column_errors"}
    error = run.read_metrics()["baseline_mse_mean"]
    if name == "colour":
        flat = np.tile(COLOUR, (3, 1, 1, 1)).reshape(90, 60) / 255
        rows, _, test = split_rows(90)
        expected = np.square(flat[test] - flat[rows].mean(0)).mean()
        assert error == pytest.approx(expected, rel=1e-5)


def test_generated_colours_are_drawn_in_colour(call, folder):
    result = call("generate", "--run", "scaled", "--n", 4, "--out", "new.npz")
    assert (result.code, result.err) == (0, "")
    grid = np.asarray(Image.open("new.png"))
    assert grid.shape[:2] == ((2 * 6 + 1) * 6, (2 * 5 + 1) * 6)
    with np.load("new.npz") as arrays:
        assert arrays["X"].shape == (4, 3, 5, 4)
        picture = np.clip(arrays["X"][3], 0, 1) * 255
    found = grid[7 * 6 + 3 : 12 * 6 : 6, 6 * 6 + 3 : 10 * 6 : 6, :3]
    np.testing.assert_allclose(found.transpose(2, 0, 1), picture, atol=1)


def test_scores_of_a_folder_name_its_pictures(call, folder):
    result = call("detect", "pngs", "--run", "grey", "--out", "scored.csv")
    assert (result.code, result.err) == (0, "")
    found = pd.read_csv("scored.csv")
    files = sorted(path.relative_to("pngs").as_posix() for path in Path("pngs").rglob("*.png"))
    assert found["file"].tolist() == files
    assert found["label"].astype(str).tolist() == [file.split("/")[0] for file in files]
    assert list(found)[:3] == ["index", "file", "label"]


@pytest.mark.parametrize("verb", ["detect", "impute"])
def test_rows_are_no_pictures(call, folder, verb):
    """Scores of rows would be another quantity than scores of pictures."""
    np.save("flat.npy", np.zeros((3, 30)))
    result = call(verb, "flat.npy", "--run", "grey")
    assert result.code == 2
    assert "flat.npy holds rows, and run grey was trained on pictures of 6 x 6" in result.err


def test_pictures_for_a_static_run_are_drawn_once_as_its_own_were(folder):
    config, form = Run("runs/grey").config(), Pictures()
    source = form.read("pngs", config.asked.data)
    static = replace(config.asked.data, static_pixels=True)
    drawn = [form.encode_for(source, config.codec, static).x for _ in range(2)]
    grey = form.encode_for(source, config.codec, config.asked.data).x
    assert set(np.unique(drawn[0])) == {0.0, 1.0}
    np.testing.assert_array_equal(*drawn)
    assert abs(drawn[0].mean() - grey.mean()) < 0.05
    assert (drawn[0][grey == 0] == 0).all()


def test_a_condition_as_large_as_a_plane_is_refused_by_convolutions(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("many.npz", X=np.random.default_rng(0).random((300, 8, 8)), y=np.arange(300) % 70)
    flags = ("--data", "many.npz", "--condition", "label", "--epochs", 1, "--network", "conv")
    result = call("train", *flags, "--hidden-dims", 4, 8)
    assert result.code == 2
    assert "numbers and a picture [8, 8] pixels, expected fewer with network conv" in result.err


@pytest.mark.parametrize("name", ["colour", "scaled"])
def test_a_run_of_pictures_resumes_to_the_same_bits(train, folder, name):
    config = Run(f"runs/{name}").config()
    likelihood = ("--likelihood", "gaussian", "--variance", "shared")
    likelihood = likelihood if name == "scaled" else ("--binarize", "none")
    flags = ("--data", config.asked.data.data, "--latent-dim", 3, *likelihood)
    straight = train("runs", "straight", *flags, "--epochs", 4)
    resumed = train("runs", name, "--resume", name, "--epochs", 4)
    a, b = (Run(path).load_checkpoint() for path in (straight, resumed))
    assert a["config"] == b["config"]
    assert all(torch.equal(a["model"][key], b["model"][key]) for key in a["model"])


def test_changed_pictures_are_refused(call, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_folder(tmp_path / "pngs", GREY)
    train("runs", "a", "--data", "pngs", "--epochs", 1)
    Image.fromarray(255 - GREY[3]).save("pngs/003.png")
    result = call("evaluate", "--run", "a")
    assert result.code == 2
    assert "has changed since this run was trained" in result.err


def test_data_describes_pictures(call, folder):
    result = call("data", "--data", "pngs", "--grey")
    assert (result.code, result.err) == (0, "")
    assert "pictures of 5 x 4, 20 columns; rows: 21 train, 3 held out, 6 test" in result.out
    assert result.out.splitlines()[-1] == "  pixels: from 0 to 1"


# Figures


def test_errors_by_pixel_are_means_over_channels():
    x = np.arange(12.0)
    np.testing.assert_array_equal(shapes.error_map(x, (3, 2, 2)), [[4, 5], [6, 7]])
    np.testing.assert_array_equal(shapes.error_map(x, (3, 4)), x.reshape(3, 4))  # runs of before


def test_faces_are_no_negatives():
    assert shapes.grey_map(np.full((2, 9), 0.6)) == "gray"
    assert shapes.grey_map(load("digits").train.x) == "gray_r"


# What evaluation needs of many columns


def test_sums_in_pieces(monkeypatch):
    rng = np.random.default_rng(0)
    x = torch.from_numpy(rng.normal(size=(20, 2**18)).astype(np.float32))  # five pieces
    mask = (torch.rand(20, 1) > 0.4).float().expand_as(x)
    expected = (x.numpy().astype(np.float64) * mask.numpy()).sum(0)
    np.testing.assert_allclose(batches.column_sums(x, mask), expected, rtol=1e-12, atol=1e-12)


def test_a_large_pca_is_the_small_one(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 3)) @ rng.normal(size=(3, 40)) + 0.1 * rng.normal(size=(3000, 40))
    x = x.astype(np.float32)
    small = evaluate.pca_reconstruction(x[:2500], x[2500:], 3)
    monkeypatch.setattr(evaluate, "MOST_FOR_SVD", 1)
    large = evaluate.pca_reconstruction(x[:2500], x[2500:], 3)
    np.testing.assert_allclose(large, small, atol=1e-4)


def test_no_covariance_of_very_many_columns(monkeypatch):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5))
    rows = [Batch(torch.from_numpy(part.astype(np.float32))) for part in (x[:150], x[150:])]
    train, test = (batch.x.numpy().astype(np.float64) for batch in rows)
    found = gaussian.Gaussian(5, "shared").baselines(*rows)
    floor = gaussian.MIN_VARIANCE
    full = np.cov(train.T, bias=True) + floor * np.eye(5)
    for name, covariance in (("gaussian", full), ("diagonal", np.diag(np.diag(full)))):
        exact = multivariate_normal(train.mean(0), covariance).logpdf(test).mean()
        assert found[name] == pytest.approx(exact, rel=1e-9)
    monkeypatch.setattr(gaussian, "MOST_COVARIED", 4)
    assert gaussian.Gaussian(5, "shared").baselines(*rows) == {"diagonal": found["diagonal"]}


def test_the_change_of_units_of_linear_columns():
    rng = np.random.default_rng(0)
    columns = [units.Column(str(j), *map(float, rng.random(2))) for j in range(7)]
    x = rng.normal(size=(4, 7))
    exact = sum(column.log_det(x[:, j]) for j, column in enumerate(columns))
    np.testing.assert_allclose(units.log_det(x, columns), exact, rtol=1e-12)


def test_a_sheet_that_exists_is_named_with_its_output(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", GREY)
    sheets.write(Path("g.png"), np.zeros((1, 1, 2, 2, 3)))
    form, words = Pictures(), "g.png exists, where the sheet of pictures beside g.{} goes; add --ov"
    with pytest.raises(UserError, match=words.format("csv")):
        form.sample_outputs("g.csv", overwrite=False)
    with pytest.raises(UserError, match=words.format("tsv")):
        form.score_outputs("a.npy", "g.tsv", overwrite=False)
    with pytest.raises(UserError, match=words.format("npz")):
        form.fill_outputs("a.npy", "g.npz", 0, overwrite=False)
    assert form.sample_outputs("g.csv", overwrite=True) == [Path("g.csv"), Path("g.png")]


def test_only_a_sheet_is_replaced_by_a_sheet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("a.npy", GREY)
    Image.fromarray(GREY[0]).save("g.png")
    form, words = Pictures(), "beside g.{} goes, and it is no such sheet: name another output"
    with pytest.raises(UserError, match=words.format("csv")):
        form.sample_outputs("g.csv", overwrite=True)
    with pytest.raises(UserError, match=words.format("tsv")):
        form.score_outputs("a.npy", "g.tsv", overwrite=True)
    with pytest.raises(UserError, match=words.format("npz")):
        form.fill_outputs("a.npy", "g.npz", 0, overwrite=True)


def test_a_sheet_among_the_pictures_that_are_scored_is_none_of_them(tmp_path):
    for i, picture in enumerate(GREY):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    before = picture_files.list_pictures(tmp_path)
    out, sheet = Pictures().score_outputs(tmp_path, tmp_path / "1.csv", overwrite=True)
    assert (out.name, sheet.name) == ("1.csv", "1.scored.png")
    sheets.write(sheet, np.zeros((1, 1, 2, 2, 3)))
    assert picture_files.list_pictures(tmp_path) == before


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n"


def test_a_picture_starts_no_other_program(tmp_path, monkeypatch):
    marker = tmp_path / "ran"
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {marker}\nexit 1\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/bin:/usr/bin")
    (tmp_path / "a.png").write_bytes(EPS)
    with pytest.raises(UserError, match="a.png cannot be read as a picture, because cannot ident"):
        picture_files.read_picture(tmp_path / "a.png")
    assert not marker.exists()


def test_pictures_that_are_too_large_together_are_not_opened(tmp_path, monkeypatch):
    for i, picture in enumerate(GREY):
        Image.fromarray(picture).save(tmp_path / f"{i}.png")
    picture_files.read_folder(tmp_path)
    n = GREY.size
    monkeypatch.setattr(picture_files, "BYTES_PER_COLUMN", 0)
    monkeypatch.setattr(memory, "free_bytes", lambda: 4 * n / 0.9 - 4)

    def read(*arguments):
        raise AssertionError("a picture was read")

    monkeypatch.setattr(picture_files, "read_picture", read)
    words = f"{len(GREY)} pictures would take .*: at most {n - 1} pixels in all fit"
    with pytest.raises(UserError, match=words):
        picture_files.read_folder(tmp_path)


def test_an_idx_file_is_read_no_further_than_its_header_says(tmp_path, monkeypatch):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    header = struct.pack(">4I", 2051, 2, 3, 3)
    with gzip.open(path, "wb") as file:
        file.write(header + bytes(18) + bytes(10**6))
    with pytest.raises(UserError, match="holds 19 bytes or more after its header, expected 2 x 3"):
        picture_files.read_idx(tmp_path, "train", "images")
    with gzip.open(path, "wb") as file:
        file.write(struct.pack(">4I", 2051, 10**6, 10**4, 10**4))
    with pytest.raises(UserError, match="would take 400 TB of memory"):
        picture_files.read_idx(tmp_path, "train", "images")
