"""parts/plots and the figures of parts/forms: axes, legends and artists for known arrays."""

import warnings

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import plot_results
from benchmarks import density, quality
from parts.errors import UserError
from parts.forms.pictures import figures as pictures
from parts.forms.tables import figures as tables
from parts.plots import style
from parts.plots.latent import latent_kl, latent_space
from parts.plots.scores import anomaly_scores
from parts.plots.training import training_curves
from parts.runs import Run

RNG = np.random.default_rng


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def legend(figure):
    return [text.get_text() for found in figure.legends for text in found.get_texts()]


def labels(axis):
    axis.figure.canvas.draw()
    return [text.get_text() for text in axis.get_xticklabels()]


def heights(axis, label):
    """The lengths of the horizontal bars of one method."""
    (found,) = [bars for bars in axis.containers if bars.get_label() == label]
    return [bar.get_width() for bar in found]


def table(kinds, n=30, names=None, seed=0, holes=0.0, n_levels=3):
    """The arrays of all three files of a table: `kinds` of its columns."""
    rng, d = RNG(seed), len(kinds)
    number = np.array([kind in ("real", "positive", "count") for kind in kinds])
    names = names or [f"c{j}" for j in range(d)]
    level_names = [f"level {i}" for i in range(n_levels)]
    x = np.where(number, rng.lognormal(size=(n, d)), rng.integers(n_levels, size=(n, d)))
    seen = np.where(rng.random((n, d)) < holes, np.nan, x)
    recon = np.where(number, x + 0.1, x[::-1])
    wide = np.where(number, 1.0, np.nan)
    of = {
        "columns": np.array(names),
        "kinds": np.array(kinds),
        "n_levels": np.where(number, 0, n_levels),
        "levels": np.array(["" if is_one else "\x1f".join(level_names) for is_one in number]),
        "dates": np.zeros(d, bool),
    }
    width = sum(n_levels if kind == "categorical" else 1 for kind in kinds)
    nothing = np.full((width, width), np.nan)
    evaluation = of | {
        "x": seen,
        "recon": recon,
        "low": recon - wide,
        "high": recon + wide,
        "mu": rng.normal(size=(n, 3)),
        "kl_per_dim": np.array([2.0, 0.0, 1.0]),
        "kl": 3.0,
        "mse_per_column": np.linspace(0, 1, d),
        "mse_per_column_mean": np.ones(d),
        "n_observed": (~np.isnan(seen)).sum(0),
        "unit": np.array("standardised units"),
        "points": seen,
        "form": np.array("tables"),
        **{f"point_{key}": of[key] for key in ("columns", "levels", "dates")},
    }
    imputed = of | {
        "truth": x,
        "imputed": recon,
        "low": recon - 1,
        "high": recon + 1,
        "hidden": ~np.isnan(seen),
        "interval": np.array(0.9),
        "form": np.array("tables"),
    }
    eye = np.eye(width) if n > 9 else nothing
    generated = of | {
        "real": seen,
        "generated": recon,
        "correlation_real": eye,
        "correlation_generated": eye * 0.75,
        "form": np.array("tables"),
    }
    return {"evaluation": evaluation, "imputed": imputed, "generated": generated}


MIXED = ["real", "positive", "count", "categorical", "ordinal", "binary"]
CASES = {
    "mixed": table(MIXED, holes=0.2),
    "one column": table(["real"]),
    "one category": table(["categorical"]),
    "one level": table(["categorical", "real"], n_levels=1),
    "one row": table(MIXED, n=1),
    "two rows": table(["real", "real"], n=2),
    "no cells": table(MIXED, holes=1.0),
    "200 mixed columns": table(["real", "categorical"] * 100),
    "many levels": table(["categorical", "ordinal"], n_levels=40, n=200),
    "long names": table(MIXED[:3], names=["$a_{" + "b" * 90, "$" * 50, "line\nbreak" + "c" * 60]),
}
CASES["constant"] = {
    file: {
        key: np.ones_like(a)
        if key in ("x", "recon", "points", "truth", "imputed", "real", "generated")
        else a
        for key, a in arrays.items()
    }
    for file, arrays in table(MIXED).items()
}
CASES["huge"] = table(["real", "positive", "count"])
CASES["huge"]["generated"]["generated"][0] = 1e300
CASES["huge"]["evaluation"]["x"][0] = 1e300
CASES["far dates"] = table(["real", "real"])
for _arrays in CASES["far dates"].values():
    _arrays["dates"] = np.array([True, True])
CASES["far dates"]["imputed"]["imputed"][0] = 1e9
CASES["far dates"]["generated"]["generated"][0] = -1e9


@pytest.mark.parametrize("case", CASES)
def test_no_figure_warns_or_fails(case, tmp_path):
    log = [{"epoch": 1, "loss": 1.0, "log_px_z": -1.0, "kl": 0.0}]
    style.use()
    found = plot_results.figures_of(log, CASES[case])
    for name, draw in [pair for several in found.values() for pair in several.items()]:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            figure = draw()
            if figure is None:
                assert name == "imputations"
                continue
            figure.savefig(tmp_path / "a.png")
        message, reading = style.told(figure)
        assert message.endswith("."), name
        assert "nan" not in message
        assert reading.endswith("."), name
        for text in figure.findobj(plt.Text):
            assert not text.get_text() or text.get_fontsize() >= style.SMALL, name


def test_names_that_are_cut_stay_apart_and_are_no_formula():
    long = ["temperature_of_the_room_north", "temperature_of_the_room_south", "a"]
    short = style.distinct(long, 16)
    assert len(set(short)) == 3
    assert max(map(len, short)) <= 16
    same_ends = [f"{'a' * 20}{i}{'b' * 20}" for i in range(30)]
    assert len(set(style.distinct(same_ends, 12))) == 30
    assert style.distinct(["", "", "x"], 5) == ["", "", "x"]
    assert style.distinct(["$x$"], 5) == [r"\$x\$"]


def test_of_many_levels_the_rarest_share_a_place():
    names, counts = [f"n{i}" for i in range(20)], np.arange(20)
    labels, places = style.places_of_levels(names, counts, most=5)
    assert labels == ["n16", "n17", "n18", "n19", "16 others"]
    assert places.tolist() == [4] * 16 + [0, 1, 2, 3]
    labels, places = style.places_of_levels(names, counts, ordered=True, most=5)
    assert [label for label in labels if label] == ["n0", "n4", "n8", "n12", "n16"]
    assert places.tolist() == list(range(20))


@pytest.mark.parametrize(
    ("values", "kind", "scale"),
    [
        ([1, 2, 3], "real", "linear"),
        ([1, 2, 1000], "real", "log"),
        ([0, 1, 1, 1000], "real", "asinh"),
        ([-1, 2, 2, 1000], "real", "asinh"),
        ([1, 2, 3], "positive", "log"),
        ([], "real", "linear"),
        ([0, 0], "count", "linear"),
        ([1e-9, 5.0, 6.0], "positive", "linear"),
    ],
)
def test_the_scale_shows_the_tails(values, kind, scale):
    assert style.scale_for(np.array(values, float), kind)[0] == scale


def test_numbers_on_ticks_have_one_form():
    assert [style.plain(v) for v in (0, 500, 1e5, 1e6, -2.5e9)] == [
        "0",
        "500",
        "100k",
        "1M",
        "−2.5B",
    ]
    _, axis = plt.subplots()
    axis.plot([0, 1.2e6], [2010, 2024])
    style.plain_ticks(axis.xaxis)
    style.plain_ticks(axis.yaxis)
    assert set(labels(axis)[1:-1]) <= {"0", "0.3M", "0.6M", "0.9M", "1.2M", "0.4M", "0.8M"}
    assert all(text.get_text().startswith("20") for text in axis.get_yticklabels())


# A training


def log_of(loss, part="test", **more):
    record = {"epoch": 1, "loss": loss, "log_px_z": -5.0, "kl": 2.0}
    if part:
        record |= {f"{part}_log_px_z": -6.0, f"{part}_kl": 2.5, f"{part}_loss": 8.5}
    return [record | more]


@pytest.mark.parametrize("part", ["val", "test", None])
def test_a_loss_that_is_no_elbo_has_a_panel_of_its_own(part):
    elbo, log_px_z, kl = training_curves(log_of(7.0, part)).axes
    assert [axis.get_title() for axis in (elbo, log_px_z)] == ["−ELBO", "log p(x|z)"]
    assert [line.get_ydata()[0] for line in elbo.lines] == [7.0] + [8.5] * bool(part)
    loss, elbo, *_ = training_curves(log_of(4.0, part)).axes
    assert loss.get_title() == "Loss: what training minimises"
    assert [line.get_ydata()[0] for line in loss.lines] == [4.0]  # the other loss is an ELBO
    assert [line.get_ydata()[0] for line in elbo.lines] == [7.0] + [8.5] * bool(part)


def test_held_out_bounds_stand_beside_the_same_bound():
    loss, elbo, *_ = training_curves(log_of(4.0, test_loss=4.5)).axes
    assert [line.get_ydata()[0] for line in loss.lines] == [4.0, 4.5]
    training_curves(log_of(None))


# The latent space


def test_the_latent_space_is_coloured_by_a_column():
    arrays = table(MIXED, holes=0.2)["evaluation"]
    plain = latent_space(arrays)
    assert not plain.legends
    assert len(plain.axes) == 1
    by_number = latent_space(arrays, "c0")
    marks, bar = by_number.axes[0].collections[-1], by_number.axes[1]
    known = ~np.isnan(arrays["points"][:, 0])
    np.testing.assert_allclose(marks.get_array(), arrays["points"][known, 0])
    assert bar.get_ylabel() == "c0"
    by_level = latent_space(arrays, "c3")
    assert by_level.legends[0].get_title().get_text() == "c3"
    assert legend(by_level) == ["level 0", "level 1", "level 2", "empty cell"]
    sizes = [len(marks.get_offsets()) for marks in by_level.axes[0].collections]
    codes = arrays["points"][:, 3]
    assert sizes == [(codes == i).sum() for i in range(3)] + [np.isnan(codes).sum()]


def test_labels_colour_it_by_default():
    arrays = table(["real"], n=4)["evaluation"] | {"label": np.array([3, 1, 3, 1])}
    assert legend(latent_space(arrays)) == ["1", "3"]
    arrays["label"] = np.arange(4.0)
    assert legend(latent_space(arrays, "label")) == ["0.0", "1.0", "2.0", "3.0"]


def test_what_cannot_colour_it_is_said():
    arrays = table(["real", "real"], holes=1.0)["evaluation"]
    with pytest.raises(UserError, match="--color c0: the column has no values"):
        latent_space(arrays, "c0")
    with pytest.raises(UserError, match="--color d: no such column; those to colour by are c0, c1"):
        latent_space(arrays, "d")


def test_latents_are_in_order_of_their_kl():
    axis = latent_kl(table(["real"])["evaluation"]).axes[0]
    assert labels(axis) == ["z1", "z3", "z2"]
    assert "3.00 nats" in axis.get_title()


# Scores


def test_the_legend_of_scores_names_all_that_is_drawn():
    scores = np.append(RNG(0).normal(size=300), [500.0, 900.0])
    arrays = {
        "scores": scores,
        "held": RNG(1).normal(size=100),
        "threshold": np.array(2.5),
        "labels": (scores > 100).astype(float),
        "of": np.array("rows"),
    }
    figure = anomaly_scores(arrays)
    assert legend(figure) == [
        "not labelled odd",
        "labelled odd",
        "held-out rows",
        "threshold 2.5",
        "farther out, up to 900 nats (2 rows of the file)",
    ]
    assert labels(figure.axes[0])[-1] == "farther"
    del arrays["labels"]
    arrays["scores"] = scores[:300].clip(-1, 1)
    arrays["held"] = arrays["held"].clip(-1, 1)
    figure = anomaly_scores(arrays | {"of": np.array("pictures")})
    assert legend(figure) == ["pictures of the file", "held-out pictures", "threshold 2.5"]


def test_arrays_of_another_version_are_refused(tmp_path):
    run = Run(tmp_path)
    np.savez(run.scores, scores=np.ones(3), held=np.ones(3), threshold=1.0)
    with pytest.raises(UserError, match="scores.npz is damaged, because .*; delete it, or"):
        plot_results.load(run, tmp_path)


# Tables


def test_errors_of_numbers_and_of_categories_are_apart():
    arrays = table(MIXED)["evaluation"]
    arrays["n_observed"][1] = 0
    numbers, levels = tables.column_errors(arrays).axes
    assert numbers.get_xlabel() == "test MSE (standardised units, squared)"
    assert "share of wrong test cells" in levels.get_xlabel()
    assert [text.get_text() for text in levels.get_yticklabels()] == ["c3", "c4", "c5"]
    assert heights(levels, "VAE") == pytest.approx([0.6, 0.8, 1.0])
    assert heights(numbers, "VAE") == pytest.approx([0, 0, 0.4])
    texts = [text.get_text().strip() for text in numbers.texts]
    assert texts[:3] == ["0.000", "", "0.400"]  # a bar of no length has its value beside it
    assert "no test cells" in texts


def test_errors_have_those_of_pca_where_there_are_any():
    arrays = table(["real"] * 3)["evaluation"]
    assert legend(tables.column_errors(arrays)) == ["VAE", "training mean"]
    arrays["mse_per_column_pca"] = np.array([0.1, 0.2, 0.3])
    figure = tables.column_errors(arrays)
    assert legend(figure) == ["VAE", "training mean", "PCA"]
    assert heights(figure.axes[0], "PCA") == pytest.approx([0.1, 0.2, 0.3])


def test_reconstructions_hold_every_column_and_mark_empty_cells():
    arrays = table(MIXED, holes=0.3)["evaluation"]
    figure = tables.reconstructions(arrays)
    assert [axis.get_title() for axis in figure.axes] == [f"c{j}" for j in range(6)]
    assert "empty cell" in legend(figure)
    axis = figure.axes[3]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["level 0", "level 1", "level 2"]
    lines = {line.get_label(): line.get_ydata() for line in axis.lines}
    np.testing.assert_array_equal(lines["original"], arrays["x"][: tables.N_PANEL_ROWS, 3])
    np.testing.assert_array_equal(lines["reconstructed"], arrays["recon"][: tables.N_PANEL_ROWS, 3])
    assert len(axis.patches) == np.isnan(arrays["x"][: tables.N_PANEL_ROWS, 3]).sum()


def test_columns_of_unlike_scale_have_axes_of_their_own():
    rng = RNG(0)
    x = np.stack([rng.normal(size=12), rng.uniform(1e3, 2e3, 12), rng.uniform(1e4, 2e4, 12)], 1)
    x[5, 1:] = 1e6  # an outlier, and a date in the far future
    arrays = table(["real"] * 3, n=12)["evaluation"]
    arrays |= {"x": x, "recon": x, "low": x - 1, "high": x + 1}
    arrays["dates"] = np.array([False, False, True])
    a, b, day = tables.reconstructions(arrays).axes
    assert [axis.get_yscale() for axis in (a, b, day)] == ["linear", "log", "linear"]
    years = day.yaxis.get_major_formatter().format_ticks([0.0, 366.0, 1000.0])
    assert years == ["1970", "1971", "1972"]


def test_columns_of_like_scale_share_an_axis():
    figure = tables.reconstructions(table(["real"] * 4)["evaluation"])
    assert [axis.get_title() for axis in figure.axes][:2] == ["test row 1", "test row 2"]
    assert len({axis.get_ylim() for axis in figure.axes}) == 1


def test_imputations_have_a_legend_and_a_bar_of_colours():
    arrays = table(MIXED)["imputed"]
    figure = tables.imputations(arrays)
    assert legend(figure) == ["90% interval", "filled in", "as it was"]
    *panels, bar = figure.axes
    assert bar.get_ylabel() == "share of the cells with this true level"
    (picture,) = panels[3].images
    shares = picture.get_array()
    truth, imputed = arrays["truth"][:, 3], arrays["imputed"][:, 3]
    assert shares[1, 0] == pytest.approx((imputed[truth == 0] == 1).mean())
    np.testing.assert_allclose(shares.sum(0), 1)


def test_rows_of_panels_have_no_gaps():
    for n in range(1, 13):
        figure, axes = style.panels(n, 2, 2)
        assert len(axes) == n == len(figure.axes)
        right = [axis.get_subplotspec().colspan.stop for axis in axes]
        ends = {
            axis.get_subplotspec().rowspan.start: end for axis, end in zip(axes, right, strict=True)
        }
        assert set(ends.values()) == {axes[0].get_gridspec().ncols}


def test_marginals_say_what_lies_outside():
    real = np.append(RNG(0).normal(10, 1, 999), 100.0)[:, None]
    arrays = table(["real"])["generated"] | {"real": real, "generated": real[:500]}
    axis = tables.generated_marginals(arrays).axes[0]
    assert axis.get_title() == "c0\ncells outside: 1 real, 0 generated"
    arrays |= {
        "real": real**4,
        "generated": real[:500] ** 4,
    }  # up to 1e8: on a scale that holds all
    axis = tables.generated_marginals(arrays).axes[0]
    assert axis.get_xscale() == "log"
    assert axis.get_title() == "c0"
    assert axis.get_xlim()[1] >= 1e8


def test_correlations_have_their_difference():
    real, new, scale, difference, _ = tables.generated_correlations(table(MIXED)["generated"]).axes
    assert [axis.get_title() for axis in (real, new)] == ["real rows", "generated rows"]
    assert difference.get_title() == "generated − real"
    np.testing.assert_allclose(difference.images[0].get_array(), -0.25 * np.eye(8))
    assert labels(real)[3:6] == ["c3=level 0", "c3=level 1", "c3=level 2"]


# Pictures


def pictures_of(drawn=True, grey_map="gray_r"):
    x = RNG(0).random((5, 6))
    return {
        "x": x,
        "recon": x / 2,
        "low": x / 2 - 0.1,
        "high": x / 2 + 0.1,
        "shape": np.array([1, 2, 3]),
        "drawn_pixels": np.array(drawn),
        "unit": "own units",
        "grey_map": np.array(grey_map),
        "mse_per_column": np.zeros(6),
        "mse_per_column_mean": np.ones(6),
    }


@pytest.mark.parametrize("drawn", [True, False])
def test_pictures_are_the_grey_ones_they_are(drawn):
    arrays = pictures_of(drawn)
    axis = pictures.reconstructions(arrays).axes[0]
    assert ("drawn as 0 or 1" in axis.get_title()) == drawn
    canvas = axis.images[0].get_array()
    finer = pictures.FINE // 3
    assert canvas[2, 2, 0] == pytest.approx(1 - arrays["x"][0, 0])  # dark ink
    assert canvas[2 * finer + 3, 2, 0] == pytest.approx(1 - arrays["recon"][0, 0])
    assert pictures.latent_traversal(arrays) is None


def test_errors_by_pixel_share_a_scale():
    arrays = pictures_of() | {"mse_per_column_pca": np.full(6, 2.0)}
    *maps, bar = pictures.column_errors(arrays).axes
    titles = [axis.get_title() for axis in maps]
    assert titles == ["VAE: mean 0", "training mean: mean 1", "PCA: mean 2"]
    assert {axis.images[0].get_clim() for axis in maps} == {(0, 2)}
    assert bar.get_ylabel() == "test MSE\n(own units, squared)"


# What evaluate.py leaves for them


@pytest.fixture
def evaluated(tmp_path, train, call, monkeypatch):
    """The arrays of a run on a small table with holes, and its frame."""
    monkeypatch.chdir(tmp_path)
    rng = RNG(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(100, 20, 60).round(2),
            "job": rng.choice(["nurse", "clerk", "smith"], 60),
            "region": rng.choice(["north", "south"], 60),
            "day": pd.date_range("2020-01-01", periods=60).strftime("%Y-%m-%d"),
            "id": np.arange(60),
        }
    )
    frame.loc[::7, "job"] = ""
    frame.to_csv("t.csv", index=False)
    train(
        "runs",
        "a",
        "--data",
        "t.csv",
        "--epochs",
        1,
        "--condition",
        "region",
        "--kind",
        "id=ignore",
    )
    assert call("evaluate", "--n-samples", 2).code == 0
    with np.load("runs/a/evaluation.npz") as arrays:
        return dict(arrays), frame


def test_a_run_keeps_cells_and_conditions_of_its_points(evaluated):
    arrays, frame = evaluated
    assert arrays["form"] == "tables"
    assert arrays["point_columns"].tolist() == ["size", "job", "day", "region"]
    assert arrays["points"].shape == (len(arrays["mu"]), 4)
    rows = [int(np.abs(frame["size"] - size).argmin()) for size in arrays["points"][:, 0]]
    for j, name in ((1, "job"), (3, "region")):
        names = np.array([*arrays["point_levels"][j].split("\x1f"), ""])
        codes = np.nan_to_num(arrays["points"][:, j], nan=-1).astype(int)
        assert names[codes].tolist() == frame[name].iloc[rows].tolist()
    days = arrays["points"][:, 2].round().astype("timedelta64[D]") + np.datetime64("1970-01-01")
    assert days.astype(str).tolist() == frame["day"].iloc[rows].tolist()
    assert arrays["x"].shape == arrays["recon"].shape == (len(rows), 3)
    assert np.isnan(arrays["low"][:, 1]).all()  # two sigma of a code say nothing
    assert arrays["n_observed"][1] == (frame["job"].iloc[rows] != "").sum()


@pytest.mark.usefixtures("evaluated")
@pytest.mark.slow
def test_the_script_takes_a_column_to_colour_by(call):
    for name in ("size", "job", "region", "day"):
        result = call("plot_results", "--color", name)
        assert (result.code, result.err) == (0, "")
    result = call("plot_results", "--color", "age")
    assert result.code == 2
    assert (
        result.err
        == "error: --color age: no such column; those to colour by are size, job, day, region\n"
    )
    result = call("plot_results", "--color", "id")
    assert result.err.endswith(
        "id: the run ignores this column; those to colour by are size, job, day, region\n"
    )


def test_a_run_on_digits_keeps_the_grey_originals(tmp_path, train, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    train("runs", "a", "--data", "digits", "--epochs", 1, "--batch-size", 256)
    assert call("evaluate", "--n-samples", 2).code == 0
    with np.load("runs/a/evaluation.npz") as arrays:
        assert (arrays["form"], arrays["grey_map"]) == ("pictures", "gray_r")
        assert arrays["drawn_pixels"]
        assert ((arrays["x"] > 0) & (arrays["x"] < 1)).any()
        assert arrays["points"].shape == (len(arrays["mu"]), 0)
        pca = arrays["mse_per_column_pca"].mean()
    assert pca == pytest.approx(Run("runs/a").read_metrics()["baseline_mse_pca"], rel=1e-4)


# Benchmarks


def test_betas_that_lie_on_one_another_share_a_label():
    places = np.array([[0.0, 300.0], [2.0, 301.0], [100.0, 50.0]])
    assert quality.labels_apart([8, 4.0, 0.1], places) == {0: "4, 8", 2: "0.1"}


def test_a_curve_of_densities_ends_at_its_dot(tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(density.files, "write_atomic", lambda path, write: kept.append(plt.gcf()))
    curve = [{"seconds": s, "rough_log_px": -90.0 + s} for s in (1.0, 2.0, 3.0)]
    density.draw({"plain": {"seeds": 1, "curve": curve, "log_px": -88.5}}, tmp_path / "a.png")
    line, dot, _ = kept[0].axes[0].lines
    np.testing.assert_allclose(line.get_ydata(), [-90.5, -89.5, -88.5])
    assert dot.get_ydata()[0] == -88.5


def test_bounds_are_of_whole_rows_where_cells_are_hidden_in_training():
    log = log_of(7.0, "val")
    plain = [text.get_text() for text in training_curves(log).legends[0].get_texts()]
    assert plain == ["training rows", "held-out rows"]
    whole = {"train_loss": 3.0, "train_log_px_z": -2.0, "train_kl": 1.0}
    figure = training_curves([record | whole for record in log])
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == ["training rows", "held-out rows", "training rows, some cells hidden"]
    loss, bound, *_ = figure.axes
    assert [line.get_label() for line in loss.lines] == ["training rows, some cells hidden"]
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), [r["loss"] for r in log])
    assert set(bound.lines[0].get_ydata()) == {3.0}
