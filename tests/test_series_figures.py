"""Figures of series: the arrays that commands keep, what is drawn of them, and its message."""

from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from parts.forms.config import DataConfig
from parts.forms.series import events, figures, shown
from parts.forms.series.form import SERIES, Stretch
from parts.plots import sections
from parts.tasks.sample_windows import (
    autocorrelations,
    correlations,
    lagged_correlations,
    largest,
    rank_correlations,
)
from parts.tasks.score_windows import WindowScorer

N_STEPS, STEP = 480, np.timedelta64(1, "h")
LOOK = {"threshold": np.array(3.0)}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def file_of(folder, n_columns=2, groups=("",), holes=(), n=N_STEPS, stamps=None):
    """A file of hourly waves; `holes` are pairs of a column and a slice of rows of each group."""
    rng = np.random.default_rng(0)
    if stamps is None:
        stamps = pd.to_datetime(np.datetime64("2024-03-01") + np.arange(n) * STEP).astype(str)
    tables = []
    for group in groups:
        wave = np.sin(2 * np.pi * np.arange(n) / 24)
        x = {f"c{j}": 10 * j + wave + 0.1 * rng.normal(size=n) for j in range(n_columns)}
        table = pd.DataFrame({"time": stamps} | x)
        for j, rows in holes:
            table.loc[rows, f"c{j}"] = np.nan
        tables.append(table.assign(machine=group) if len(groups) > 1 else table)
    path = folder / "sensors.csv"
    pd.concat(tables).to_csv(path, index=False)
    return path


def read(path, grouped=False):
    """The source of a file and its codec, as a verb leaves them."""
    config = DataConfig(data=str(path), time=["time"], group=["machine"] if grouped else None)
    source = SERIES.read(path, config)
    return source, SERIES.fit(source, SERIES.split(source, config)[0], config)


def scored(path, flagged=(), grouped=False):
    """The arrays of a file whose rows `flagged` make events; every cell is expected at 0 ± 0.5
    in model units.
    """
    source, codec = read(path, grouped)
    layout = source.known[1]
    zero = np.zeros(layout.x.shape)
    source.expected = events.Expected(zero, zero + 0.5)
    scores = np.zeros(len(source.file.frame))
    for i, rows in enumerate(flagged):
        scores[rows] = 5.0 + i
    source.slot_scores = events.of_slots(layout, scores)
    source.events = events.found(layout, codec.measured, source.expected, scores, scores > 3)
    return source, codec, shown.of_scores(source, codec) | LOOK


def message(figure):
    figure.canvas.draw()
    assert figure.reading
    return figure.message


# Scores


def test_a_short_series_is_kept_cell_by_cell_with_its_band(tmp_path):
    path = file_of(tmp_path, n_columns=1)
    cells = pd.read_csv(path)
    cells.loc[100:109, "c0"] = 3.0 + np.arange(10) / 10
    cells.to_csv(path, index=False)
    _, codec, arrays = scored(path, [slice(100, 110)])
    (column,) = codec.measured
    np.testing.assert_allclose(arrays["bin_x_low"][0], cells["c0"], atol=1e-6)
    np.testing.assert_array_equal(arrays["bin_x_low"], arrays["bin_x_high"])
    np.testing.assert_allclose(arrays["bin_low"][0], column.shift - column.scale, atol=1e-9)
    np.testing.assert_allclose(arrays["bin_high"][0], column.shift + column.scale, atol=1e-9)
    days = pd.to_datetime(cells["time"]).astype("int64") / 86_400e9
    days = (pd.to_datetime(cells["time"]) - pd.Timestamp("1970-01-01")) / pd.Timedelta("1D")
    np.testing.assert_allclose(arrays["bin_time"][0], days, atol=1e-9)
    np.testing.assert_allclose(arrays["span"], [[days[100], days[109]]], atol=1e-9)
    assert arrays["bin_score"][0].max() == 5.0
    said = message(figures.series_overview(arrays))
    assert "1 event, in 1 column" in said
    assert "from 2024-03-05 04:00 to 2024-03-05 13:00" in said


def test_a_long_series_is_kept_by_days(tmp_path):
    path = file_of(tmp_path, n_columns=1, n=24 * 70)
    _, _, arrays = scored(path)
    cells = pd.read_csv(path)["c0"].to_numpy().reshape(70, 24)
    np.testing.assert_allclose(arrays["bin_x_low"][0], cells.min(1), atol=1e-6)
    np.testing.assert_allclose(arrays["bin_x_high"][0], cells.max(1), atol=1e-6)
    assert "No event" in message(figures.series_overview(arrays))


def test_a_series_without_events_has_no_enlarged_ones(tmp_path):
    _, _, arrays = scored(file_of(tmp_path))
    assert figures.largest_events(arrays) is None
    assert len(arrays["panel_column"]) == 2
    assert "No score lies beyond" in message(figures.score_calendar(arrays))


def test_the_largest_events_are_enlarged_in_order(tmp_path):
    path = file_of(tmp_path)
    source, _, arrays = scored(path, [slice(60 * k, 60 * k + 4) for k in range(1, 8)])
    np.testing.assert_array_equal(arrays["event_score"], [11, 10, 9, 8, 7])
    first = arrays["near_of"] == 0
    assert arrays["near_time"][first].min() < arrays["event_span"][0, 0]
    assert arrays["near_time"][first].max() > arrays["event_span"][0, 1]
    name = str(arrays["event_columns"][0, 0])
    cells = pd.read_csv(path)[name].to_numpy()
    at = np.flatnonzero(first)[arrays["near_time"][first] >= arrays["event_span"][0, 0]][:4]
    np.testing.assert_allclose(arrays["near_x"][at, 0], cells[420:424], atol=1e-6)
    assert "5 events with the highest scores" in message(figures.largest_events(arrays))
    told = shown.told_events(source, source.known[0])
    assert told["n_events"] == 7
    assert told["events"][0]["start"] == "2024-03-18 12:00:00"


def test_few_columns_of_ten_groups_are_shown_where_most_happens(tmp_path):
    groups = [f"m{i}" for i in range(10)]
    path = file_of(tmp_path, groups=groups, n=300)
    odd = [slice(7 * 300 + 100, 7 * 300 + 120), slice(2 * 300 + 50, 2 * 300 + 60)]
    _, _, arrays = scored(path, odd, grouped=True)
    assert {"m2", "m7"} >= set(arrays["group"])
    assert len(arrays["panel_column"]) <= shown.MOST_PANELS
    said = message(figures.series_overview(arrays))
    assert "2 events, in 2 columns of 10 groups" in said
    assert said.endswith(", m2.")
    assert arrays["calendar"].shape[0] == len(arrays["group"])
    message(figures.score_calendar(arrays))
    message(figures.largest_events(arrays))


def test_columns_are_shown_by_their_share_of_each_event():
    layout = SimpleNamespace(grid=SimpleNamespace(group=np.zeros(480, int)))
    deviations = np.zeros((480, 8))
    found = []
    for k, column in enumerate([7, 6, 6, 5, 4, 3, 2, 6]):
        deviations[10 * k, column] = 9.0
        score = 1e6 if column == 7 else 5.0
        found.append(events.Event(10 * k, 10 * k + 1, 10 * k, 1, score, "", ""))
    pairs = shown.panels(layout, found, deviations)
    assert len(pairs) == 6
    assert {(0, 7), (0, 6), (0, 2)} <= set(pairs)
    assert (0, 0) not in pairs


def test_gaps_and_times_that_are_no_dates(tmp_path):
    stamps = np.delete(np.arange(520), slice(200, 240)) * 10.0
    path = file_of(tmp_path, holes=[(0, slice(50, 60))], stamps=stamps)
    _, _, arrays = scored(path, [slice(300, 305)])
    assert str(arrays["time"]) == "numbers"
    assert "calendar" not in arrays
    assert figures.score_calendar(arrays) is None
    figure = figures.series_overview(arrays)
    assert "from 3400 to 3440" in message(figure)
    assert np.isnan(arrays["bin_x_low"][0][50:60]).all()


def test_the_calendar_holds_the_highest_score_of_each_hour(tmp_path):
    path = file_of(tmp_path, n_columns=1)
    source, codec = read(path)
    layout = source.known[1]
    layout.length = 24
    scores = np.zeros(len(layout.x))
    scores[24 * 3 + 5] = 4.0
    arrays = shown.calendar_of(layout, codec, [0], scores)
    assert arrays["calendar"].shape == (1, 24, 20)
    assert arrays["calendar"][0, 5, 3] == 4.0
    assert arrays["calendar"].sum() == 4.0
    arrays |= LOOK | {"group": np.array([""]), "time": np.array("dates")}
    said = message(figures.score_calendar(arrays))
    assert said == (
        "On 1 of 20 days a score lies beyond the threshold, most often from 5:00 to 6:00."
    )


def test_scores_of_windows_of_several_days_are_shown_by_weekdays(tmp_path):
    source, codec = read(file_of(tmp_path, n_columns=1, n=24 * 60))
    layout = source.known[1]
    layout.length = 72
    scores = np.zeros(len(layout.x))
    scores[24 * 5] = 4.0  # 2024-03-01 is a Friday
    arrays = shown.calendar_of(layout, codec, [0], scores)
    assert arrays["calendar"].shape[1] == 7
    assert arrays["calendar"][0, 2, 1] == 4.0  # a Wednesday
    arrays |= LOOK | {"group": np.array([""]), "time": np.array("dates")}
    assert "On 1 of 60 days" in message(figures.score_calendar(arrays))


# Filled gaps


def filled_of(source, codec, interval=True, n_draws=2):
    """Fills of all holes of a source: 100, and 101, 102, ... in the draws."""
    holes = SERIES.holes(source, codec)
    todo = np.flatnonzero(holes.any(1))
    values = np.full((len(todo), holes.shape[1]), 100.0)
    draws = np.stack([values + 1 + i for i in range(n_draws)]) if n_draws else np.zeros((0, 1, 1))
    bounds = np.stack([values - 5, values + 5]) if interval else None
    filled = SimpleNamespace(values=values, draws=draws, bounds=bounds)
    return shown.of_fills(source, codec, holes, todo, filled)


def test_the_longest_gap_and_typical_ones_are_kept_with_their_fills(tmp_path):
    holes = [(0, slice(100, 104)), (0, slice(200, 230)), (0, slice(300, 304)), (1, slice(50, 51))]
    source, codec = read(
        file_of(tmp_path, holes=[(j, slice(s.start, s.stop - 1)) for j, s in holes])
    )
    arrays = filled_of(source, codec)
    np.testing.assert_array_equal(arrays["stretch_column"], ["c0", "c0", "c0", "c1"])
    np.testing.assert_array_equal(arrays["stretch_steps"], [30, 4, 4, 1])
    np.testing.assert_array_equal(
        arrays["stretch_kind"], ["longest", "typical", "typical", "longest"]
    )
    longest = arrays["gap_of"] == 0
    is_filled = np.isfinite(arrays["gap_filled"][longest])
    assert is_filled.sum() == 30
    np.testing.assert_array_equal(arrays["gap_filled"][longest][is_filled], 100.0)
    np.testing.assert_array_equal(arrays["gap_low"][longest][is_filled], 95.0)
    np.testing.assert_array_equal(arrays["gap_draws"][longest][is_filled][:, 1], 102.0)
    assert (np.isfinite(arrays["gap_known"][longest]) != is_filled).all()
    said = message(figures.filled_gaps(arrays))
    assert "c0 has 3 gaps with 38 filled cells; c1 has 1 gap with 1 filled cell" in said
    assert "the longest gap has 30 steps, in c0" in said


@pytest.mark.parametrize(("interval", "n_draws"), [(False, 0), (False, 3), (True, 0)])
def test_gaps_are_drawn_whatever_was_asked_for(tmp_path, interval, n_draws):
    source, codec = read(file_of(tmp_path, n_columns=1, holes=[(0, slice(100, 110))]))
    arrays = filled_of(source, codec, interval, n_draws)
    figure = figures.filled_gaps(arrays)
    message(figure)
    labels = {text.get_text() for found in figure.legends for text in found.get_texts()}
    assert ("interval" in labels) == interval
    assert ("draw" in labels) == (n_draws > 0)


def test_a_very_long_gap_is_shown_from_its_beginning(tmp_path):
    path = file_of(tmp_path, n_columns=2, n=3000, holes=[(0, slice(500, 2500))])
    source, codec = read(path)
    arrays = filled_of(source, codec)
    assert len(arrays["gap_time"]) <= shown.MOST_NEAR
    is_filled = np.isfinite(arrays["gap_filled"])
    assert 0 < is_filled.argmax() < len(is_filled) / 2
    assert is_filled[is_filled.argmax() :].all()


def test_a_file_without_holes_has_no_figure_of_fills(tmp_path):
    source, codec = read(file_of(tmp_path))
    assert figures.filled_gaps(filled_of(source, codec)) is None


# Generated windows


def compared(codec, n_columns):
    rng = np.random.default_rng(0)
    arrays = {
        "columns": np.array([c.name for c in codec.measured]),
        "n_levels": np.zeros(n_columns),
    }
    arrays |= {"kinds": np.array(["real"] * n_columns), "levels": np.array([""] * n_columns)}
    parts = {"real": rng.normal(size=(40, 16, n_columns))}
    parts["generated"] = 2 * rng.normal(size=(30, 16, n_columns))
    arrays |= shown.of_windows(codec, parts["real"], parts["generated"])
    for name, windows in parts.items():
        arrays[f"autocorrelation_{name}"] = autocorrelations(windows)
        if n_columns > 1:
            arrays[f"correlation_{name}"] = rank_correlations(windows)
            arrays[f"lagged_{name}"] = lagged_correlations(windows, 30)
    return arrays, parts


def test_generated_windows_stand_beside_real_ones_in_the_units_of_the_file(tmp_path):
    _, codec = read(file_of(tmp_path))
    arrays, parts = compared(codec, 2)
    column = codec.measured[1]
    expected = column.shift + column.scale * parts["real"][..., 1]
    np.testing.assert_allclose(arrays["real_windows"][..., 1], expected, rtol=1e-6)
    assert "30 generated windows beside 40 real ones" in message(figures.generated_windows(arrays))
    assert "Autocorrelations" in message(figures.generated_autocorrelations(arrays))
    message(figures.generated_correlations(arrays))
    assert "c0 and c1" in message(figures.generated_cross_correlations(arrays))


def test_one_column_has_no_correlations_of_columns(tmp_path):
    _, codec = read(file_of(tmp_path, n_columns=1))
    arrays, _ = compared(codec, 1)
    message(figures.generated_windows(arrays))
    message(figures.generated_autocorrelations(arrays))
    assert figures.generated_correlations(arrays) is None
    assert figures.generated_cross_correlations(arrays) is None


def test_cells_that_are_missing_do_not_count_in_autocorrelations():
    x = np.random.default_rng(0).normal(size=(400, 20, 2)).cumsum(1)
    whole = autocorrelations(x)
    x[:, 5] = np.nan
    x[:, :, 1] = np.nan
    found = autocorrelations(x)
    np.testing.assert_allclose(found[:8, 0], whole[:8, 0], atol=0.1)
    assert np.isnan(found[:, 1]).all()


def test_correlations_are_of_rows_that_have_both_cells():
    x = np.random.default_rng(0).normal(size=(300, 4)).cumsum(1)
    np.testing.assert_allclose(correlations(x), np.corrcoef(x.T), atol=1e-9)
    x[:100, 0] = x[200:, 1] = x[:, 3] = np.nan
    found = correlations(x)
    assert found[0, 1] == pytest.approx(np.corrcoef(x[100:200, :2].T)[0, 1])
    assert np.isnan(found[3]).all()
    assert largest(found[3]) is None


def test_correlations_at_lags_tell_which_column_follows():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(200, 30))
    windows = np.stack([first, np.roll(first, 3, axis=1)], 2)  # the second is 3 steps later
    found = lagged_correlations(windows, 30)
    n_lags = len(found) // 2
    assert found[:, 0, 1].argmax() - n_lags == 3
    assert found[:, 1, 0].argmax() - n_lags == -3
    np.testing.assert_allclose(found[n_lags].diagonal(), 1.0, atol=1e-9)


# Long series and futures


@pytest.mark.parametrize("n_draws", [1, 50])
def test_a_drawn_stretch_stands_behind_the_end_of_the_file(tmp_path, n_draws):
    source, codec = read(file_of(tmp_path))
    layout = source.known[1]
    past = slice(len(layout.x) - 10, len(layout.x))
    seconds = layout.grid.seconds[past][-1] + 3600.0 * np.arange(1, 25)
    known = layout.x[past], layout.mask[past], layout.y.calendar[past]
    stretch = Stretch(seconds, None, known, [], layout.grid.seconds[past])
    x = np.random.default_rng(0).normal(size=(n_draws, 24, 2))
    arrays, told = SERIES.stretch_arrays(codec, [stretch], [x])
    column = codec.measured[0]
    middle = column.shift + column.scale * np.median(x[..., 0], 0)
    np.testing.assert_allclose(arrays["slot_middle"][10:, 0], middle, rtol=1e-6)
    cells = pd.read_csv(tmp_path / "sensors.csv")["c0"].to_numpy()
    np.testing.assert_allclose(arrays["slot_known"][:10, 0], cells[-10:], atol=1e-6)
    assert told["start"] == "2024-03-21 00:00:00"
    said = message(figures.long_series(arrays))
    assert "24 steps" in said
    assert "from 2024-03-21 to 2024-03-21 23:00" in said
    section = sections.continuation_section({"continue": told | {"file": "f.csv"}, "drawn": {}})
    assert "24 steps, every 1 hour from 2024-03-21 00:00:00" in section.sentences[0]


# Test windows


def evaluated(codec, n=12, with_holes=False):
    rng = np.random.default_rng(0)
    n_steps, n_columns = codec.shape
    x = rng.normal(size=(n, n_steps * n_columns))
    if with_holes:
        x[:, :9] = np.nan
    errors = np.tile(np.arange(1.0, n_columns + 1), n_steps)
    seconds = 1_709_251_200.0 + 3600.0 * n_steps * np.arange(n)
    when = np.stack([np.zeros(n), seconds], 1)
    data = SimpleNamespace(codec=codec, test=SimpleNamespace(when=when))
    known = {"x": x, "recon": np.zeros_like(x), "std": np.ones_like(x), "mu": x[:, :4]}
    path = {"path": rng.normal(size=(n, 2)), "path_when": when, "path_latent": np.array([3, 0])}
    arrays = known | path | SERIES.figure_arrays(data, known | path)
    arrays |= {"mse_per_column": errors, "mse_per_column_mean": 2 * errors}
    arrays |= {"n_observed": np.full(len(errors), n), "shape": np.array(codec.shape)}
    return arrays | {"unit": np.array("standardised units")}


@pytest.mark.parametrize("with_holes", [False, True])
def test_test_windows_are_curves_and_errors_are_of_columns(tmp_path, with_holes):
    _, codec = read(file_of(tmp_path))
    arrays = evaluated(codec, with_holes=with_holes)
    figure = figures.reconstructions(arrays)
    assert len(figure.axes) == 6  # three windows of two columns
    assert "of the numbers lie inside" in message(figure)
    figure = figures.column_errors(arrays)
    assert "in 2 of 2 columns" in message(figure)
    (ours,) = [bars for bars in figure.axes[0].containers if bars.get_label() == "VAE"]
    np.testing.assert_allclose([bar.get_width() for bar in ours], [1.0, 2.0])


def test_latents_are_shown_over_time(tmp_path):
    _, codec = read(file_of(tmp_path, n_columns=1))
    arrays = evaluated(codec)
    assert "12 windows in the 2 latent dimensions" in message(figures.latents_over_time(arrays))
    days = arrays["path_time"]
    assert days[0] == pytest.approx(19783.0)  # 2024-03-01
    np.testing.assert_array_equal(arrays["point_columns"], ["time", "hour", "weekday"])
    assert arrays["points"][0].tolist() == [19783.0, 0.0, 4.0]  # a Friday


def test_the_page_says_how_a_series_was_read(tmp_path):
    _, codec = read(file_of(tmp_path, groups=("a", "b")), grouped=True)
    said = " ".join(SERIES.describe_reading(codec))
    assert "A row every 1 hour, from 2024-03-01 00:00:00 to" in said
    assert "Rows with the same machine are a group" in said
    assert f"windows of {codec.shape[0]} steps" in said


@pytest.mark.slow
def test_figures_and_page_of_all_commands(tmp_path, call, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file_of(tmp_path, holes=[(0, slice(100, 110))])
    run = ["--run", "a", "--runs-dir", "runs"]
    assert call("train", "--data", "sensors.csv", "--time", "time", "--epochs", 1, *run).code == 0
    for verb, *flags in (
        ("evaluate", "--n-samples", 5),
        ("detect", "sensors.csv"),
        ("impute", "sensors.csv", "--interval", 0.9),
        ("generate", "--n", 20),
        ("generate", "--future", "24h", "--overwrite"),
        ("plot_results",),
    ):
        found = call(verb, *flags, *run)
        assert found.code == 0, found.err
    drawn = {path.stem for path in (tmp_path / "runs/a/figures").glob("*.png")}
    assert drawn >= {
        *("reconstructions", "latents_over_time", "series_overview", "filled_gaps"),
        *("generated_windows", "generated_autocorrelations", "long_series"),
    }
    page = (tmp_path / "runs/a/report.html").read_text()
    assert "A row every 1 hour" in page
    assert "windows of" in page


# What is expected of cells


def test_each_cell_is_expected_from_the_cells_around_it(tmp_path):
    source, _ = read(file_of(tmp_path, groups=("a", "b")), grouped=True)
    layout = source.known[1]
    scorer = SimpleNamespace(online=False, length=layout.length)
    block = layout.length // 4
    near = np.zeros(len(layout.x), bool)
    starts, places = WindowScorer.hidden_stretches(scorer, layout, block, near)
    n_hidden = np.zeros(len(layout.x))
    for start, place in zip(starts, places, strict=True):
        n_hidden[start + place : start + min(place + block, layout.length)] += 1
    assert n_hidden.min() == 1
