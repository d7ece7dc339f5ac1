"""Steps, grids, windows, parts and calendar features of series."""

import numpy as np
import pandas as pd
import pytest

from parts.errors import UserError
from parts.forms.series import calendar, grid, steps
from parts.forms.series.steps import Step

HOUR, DAY = 3600.0, 86_400.0
START = 1_700_000_400.0


def laid(seconds, groups=None, step=None, longest_gap=8, least=0):
    seconds = np.asarray(seconds, float)
    step = step or steps.step_of(seconds, groups)
    return grid.lay(seconds, groups, step, longest_gap, least)


# Steps


def test_the_step_is_the_median_difference_of_each_group():
    seconds = np.concatenate([START + 300 * np.arange(50), START + 7 + 300 * np.arange(50)])
    groups = np.repeat([0, 1], 50)
    step = steps.step_of(seconds, groups)
    assert (step.seconds, step.regular, str(step)) == (300.0, True, "5 minutes")
    order = np.random.default_rng(0).permutation(100)
    assert steps.step_of(seconds[order], groups[order]) == step


def test_gaps_and_jitter_leave_a_series_regular():
    rng = np.random.default_rng(0)
    seconds = START + 1800 * np.arange(1000) + rng.uniform(-60, 60, 1000)
    seconds = seconds[rng.random(1000) > 0.3]
    step = steps.step_of(seconds)
    assert step.regular
    assert step.seconds == 1800


def test_a_step_between_whole_seconds():
    seconds = START + np.floor(60.4 * np.arange(5000))
    step = steps.step_of(seconds)
    assert step.seconds == pytest.approx(60.4, abs=1e-3)
    found = laid(seconds, step=step)
    assert len(found) == 5000


@pytest.mark.parametrize("size", [0.001, 0.0125, 1 / 12, 7.0])
def test_steps_below_a_second_and_of_plain_numbers(size):
    seconds = 1.7e9 + size * np.arange(3000)
    step = steps.step_of(seconds)
    assert step.seconds == pytest.approx(size, abs=size / 12_000)
    found = laid(seconds, step=step)
    assert len(found) == 3000
    np.testing.assert_allclose(found.seconds[found.slot], seconds, atol=0.3 * size)


def test_one_wild_stamp_is_a_segment_of_its_own():
    numbers = np.arange(300.0)
    numbers[7] = 1e300
    found = laid(numbers, step=steps.step_of(numbers, calendar=False, timed=False))
    assert np.bincount(found.segment).tolist() == [300, 1]


def test_irregular_stamps_get_a_round_step_and_a_bounded_grid():
    rng = np.random.default_rng(0)
    seconds = START + np.cumsum(rng.exponential(400, 2000))
    step = steps.step_of(seconds)
    assert (step.regular, step.seconds) == (False, 300.0)
    bursts = START + np.cumsum(np.where(rng.random(4000) < 0.4, 5000.0, rng.exponential(2, 4000)))
    step = steps.step_of(bursts)
    assert len(laid(bursts, step=step, longest_gap=128)) <= 20 * 4000
    assert step.seconds in steps.NICE


def test_months_have_no_equal_seconds():
    months = pd.date_range("2015-01-01", periods=60, freq="MS")
    seconds = months.astype("int64").to_numpy() / (1e9 if months.unit == "ns" else 1e6)
    kept = np.delete(seconds, [7, 20, 21])
    step = steps.step_of(kept)
    assert (step.months, str(step)) == (1, "1 month")
    found = laid(kept, step=step)
    np.testing.assert_array_equal(found.seconds, seconds)
    assert found.notes == ["2 gaps, the longest 3 months"]


@pytest.mark.parametrize(
    ("freq", "words"),
    [("ME", "1 month"), ("BME", "1 month"), ("QE", "3 months"), ("YS", "1 year"), ("W", "7 days")],
)
def test_steps_of_the_calendar(freq, words):
    stamps = pd.date_range("2000-01-01", periods=100, freq=freq).astype("datetime64[s]")
    seconds = stamps.astype("int64").to_numpy().astype(float)
    step = steps.step_of(seconds)
    assert str(step) == words
    found = laid(seconds, step=step)
    assert len(found) == 100
    assert np.abs(found.seconds - seconds).max() <= (4 * DAY if freq == "BME" else 0)


@pytest.mark.parametrize(
    ("text", "seconds", "months"),
    [
        ("5min", 300.0, 0),
        ("1h", HOUR, 0),
        ("30s", 30.0, 0),
        ("1d", DAY, 0),
        ("15", 15.0, 0),
        ("0.5 hours", 1800.0, 0),
        ("250ms", 0.25, 0),
        ("2 weeks", 14 * DAY, 0),
        ("day", DAY, 0),
        ("1month", steps.YEAR / 12, 1),
        ("1q", steps.YEAR / 4, 3),
        ("2y", 2 * steps.YEAR, 24),
    ],
)
def test_steps_that_a_user_gives(text, seconds, months):
    step = steps.parse_step(text)
    assert (step.seconds, step.months) == (seconds, months)


@pytest.mark.parametrize("text", ["", "fast", "0", "-5min", "5 parsecs", "1.5month", "1e400s", "²"])
def test_what_is_no_step_is_refused(text):
    with pytest.raises(UserError, match="is no step of time, expected 5min") as error:
        steps.parse_step(text)
    assert "\n" not in str(error.value)


def test_a_unit_has_no_meaning_where_stamps_are_numbers():
    assert steps.parse_step("2", timed=False) == Step(2.0, timed=False)
    with pytest.raises(UserError, match="expected a number"):
        steps.parse_step("5min", timed=False)


def test_lengths_in_steps():
    assert steps.n_slots("24h", Step(600.0), "--window") == 144
    assert steps.n_slots("48", Step(600.0), "--window") == 48
    assert steps.n_slots("1y", steps.parse_step("1month"), "--length") == 12


@pytest.mark.parametrize("text", ["0", "-3", "7x", ""])
def test_what_is_no_length_is_refused_with_its_flag(text):
    with pytest.raises(UserError, match=f"^--length {text}: expected a number of steps of 10 min"):
        steps.n_slots(text, Step(600.0), "--length")


def test_equal_stamps_have_no_step():
    with pytest.raises(UserError, match="all stamps of the series are equal"):
        steps.step_of(np.full(10, START))


# Grids


def test_rows_get_slots_whatever_their_order():
    seconds = START + HOUR * np.array([3, 0, 1, 1, 5, np.nan, 2])
    found = laid(seconds, step=Step(HOUR))
    assert found.slot.tolist() == [3, 0, 1, 1, 5, -1, 2]
    np.testing.assert_array_equal(found.seconds, START + HOUR * np.arange(6))
    assert found.filled.tolist() == [True] * 4 + [False, True]
    assert found.segment.tolist() == [0] * 6
    assert found.notes == [
        "1 stamp cannot be read: no score for these rows",
        "2 rows earlier than the row above: sorted for the model",
        "1 row in the slot of another row: averaged for the model, kept in the output",
        "1 gap, the longest 2 hours",
    ]


def test_long_gaps_are_not_laid_out():
    hours = np.array([0, 1, 2, 5, 6, 10_000, 10_001, 10_010])
    found = laid(START + HOUR * hours, step=Step(HOUR), longest_gap=8)
    assert found.slot.tolist() == [0, 1, 2, 5, 6, 7, 8, 17]
    assert found.segment.tolist() == [0] * 7 + [1] * 11
    np.testing.assert_array_equal(found.seconds[found.slot], START + HOUR * hours)
    shorter = laid(START + HOUR * hours, step=Step(HOUR), longest_gap=7)
    assert np.unique(shorter.segment).tolist() == [0, 1, 2]
    assert found.notes == ["3 gaps, the longest 416 days"]


def test_groups_have_slots_of_their_own():
    seconds = START + np.concatenate([HOUR * np.arange(4), 420 + HOUR * np.arange(3)])
    groups = np.array([1, 1, 1, 1, 0, 0, 0])
    found = laid(seconds, groups)
    assert found.group.tolist() == [0] * 3 + [1] * 4
    assert found.segment.tolist() == [0] * 3 + [1] * 4
    np.testing.assert_array_equal(found.seconds[found.slot], seconds)  # each has its own minutes
    assert found.notes == []


def test_short_segments_are_made_longer_where_they_hold_something():
    hours = np.concatenate([np.arange(20), 1000 + np.arange(5), [2000]])
    found = laid(START + HOUR * hours, step=Step(HOUR), least=16)
    assert np.bincount(found.segment).tolist() == [20, 16, 1]
    np.testing.assert_array_equal(found.seconds[found.slot], START + HOUR * hours)
    assert len(grid.starts(found, 16)) == 5 + 1


def test_newest_first_and_rows_off_the_grid_are_told():
    seconds = START + HOUR * np.arange(100.0)[::-1]
    seconds[50] += 900
    assert laid(seconds).notes == [
        "the rows run from the newest to the oldest: sorted for the model",
        "1 row off the grid of 1 hour: moved to the nearest slot",
    ]


def test_the_grid_of_many_far_rows_stays_small():
    seconds = START + 1000 * HOUR * np.arange(5000)
    assert len(laid(seconds, step=Step(HOUR), least=64)) == 5000
    with pytest.raises(UserError, match="a step of 1 minute makes .* slots for 5000 rows"):
        laid(START + 120 * 60.0 * np.arange(5000), step=Step(60.0), longest_gap=128)


def test_a_series_without_a_stamp_is_refused():
    with pytest.raises(UserError, match="no row of the series has a stamp"):
        laid([np.nan, np.nan], step=Step(HOUR))


def test_cells_of_a_slot_are_averaged_and_codes_are_the_last():
    seconds = START + HOUR * np.array([0, 1, 1, 1, 3, np.nan])
    found = laid(seconds, step=Step(HOUR))
    x = np.array([[1, 0], [2, 1], [4, 2], [9, 0], [5, 3], [7, 7]], np.float32)
    mask = np.array([[1, 1], [1, 1], [1, 1], [0, 0], [1, 0], [1, 1]], np.float32)
    slots, seen = found.gather(x, mask, codes=[False, True])
    assert slots.tolist() == [[1, 0], [3, 2], [0, 0], [5, 0]]
    assert seen.tolist() == [[1, 1], [1, 1], [0, 0], [1, 0]]
    assert slots.dtype == np.float32
    back = found.scatter(slots[:, 0])
    np.testing.assert_array_equal(back, [1, 3, 3, 3, 5, np.nan])
    assert found.scatter(slots).shape == (6, 2)


def test_a_row_alone_in_its_slot_comes_back_as_it_was():
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 3, 200)
    seconds = START + HOUR * rng.permutation(400)[:200]
    found = laid(seconds, groups, step=Step(HOUR))
    x, mask = rng.normal(size=(200, 4)), rng.random((200, 4)) < 0.8
    slots, seen = found.gather(np.where(mask, x, 0), mask)
    np.testing.assert_array_equal(found.scatter(slots), np.where(mask, x, 0))
    np.testing.assert_array_equal(found.scatter(seen) > 0, mask)


# Windows and parts


def test_windows_cross_no_segment_and_reach_its_end():
    hours = np.concatenate([np.arange(20), 100 + np.arange(7), 300 + np.arange(3)])
    found = laid(START + HOUR * hours, step=Step(HOUR))
    assert grid.starts(found, 5).tolist() == [*range(16), 20, 21, 22]
    assert grid.starts(found, 5, stride=4).tolist() == [0, 4, 8, 12, 15, 20, 22]
    assert grid.starts(found, 21).tolist() == []
    empty = np.zeros(len(found), bool)
    empty[3] = True
    assert grid.starts(found, 5, observed=empty).tolist() == [0, 1, 2, 3]


def test_the_last_share_of_every_group_is_held_out():
    seconds = START + HOUR * np.tile(np.arange(1000), 2)
    groups = np.repeat([0, 1], 1000)
    found = laid(seconds, groups)
    length = 24
    split = grid.split_by_time(found, length, 0.2, 0.1)
    for own in (0, 1):
        held = []
        for part in split:
            first = part[found.group[part] == own] - 1000 * own
            held.append((first.min(), first.max() + length))
        train, val, test = held
        assert test == (800, 1000)
        assert val == (676, 776)
        assert train == (0, 652)
    assert len(split.test) == 2 * (200 - length + 1)


def test_shares_are_those_of_rows_and_not_of_slots():
    hours = np.concatenate([np.arange(0, 1600, 2), 1600 + np.arange(200)])
    found = laid(START + HOUR * hours, step=Step(HOUR))
    part = grid.parts_of(found, 10, 0.2, 0.0)
    assert found.filled[part == grid.TEST].sum() == 200
    assert np.flatnonzero(part == grid.TEST).min() == 1600


def test_a_group_without_room_is_for_training():
    seconds = START + HOUR * np.concatenate([np.arange(500), np.arange(30)])
    groups = np.repeat([0, 1], [500, 30])
    found = laid(seconds, groups)
    part = grid.parts_of(found, 24, 0.2, 0.1)
    assert (part[found.group == 1] == grid.TRAIN).all()
    with pytest.raises(UserError, match="the series has 30 steps, too few for windows of 24"):
        grid.parts_of(laid(seconds[500:]), 24, 0.2, 0.1)


def test_many_short_groups_are_held_out_whole():
    seconds = START + HOUR * np.tile(np.arange(48), 50)
    groups = np.repeat(np.arange(50), 48)
    found = laid(seconds, groups)
    part = grid.parts_of(found, 24, 0.2, 0.1, seed=1)
    of_group = part.reshape(50, 48)
    assert (of_group == of_group[:, :1]).all()
    assert np.bincount(of_group[:, 0]).tolist() == [35, 5, 10]
    with pytest.raises(UserError, match="2 groups, expected at least 10"):
        grid.parts_of(laid(seconds[:96], groups[:96]), 8, 0.2, 0.1, by_group=True)


# The length of a window


def column(values):
    x = np.asarray(values, float)[:, None]
    return x, np.ones_like(x), np.zeros(len(x), np.int64)


def test_the_window_has_two_periods_where_there_is_one():
    rng = np.random.default_rng(0)
    at = np.arange(4000)
    x, mask, segment = column(np.sin(2 * np.pi * at / 48) + 0.3 * rng.normal(size=4000))
    assert grid.window_of(x, mask, segment) == 96
    mask = (rng.random(x.shape) < 0.6).astype(float)  # with holes
    assert grid.window_of(np.where(mask, x, 99.0), mask, segment) == 96
    assert grid.window_of(*column(np.sin(2 * np.pi * at / 300))) == 128
    assert grid.window_of(*column(np.sin(2 * np.pi * at / 10))) == 20


@pytest.mark.parametrize("n", [144, 400, 1000])
def test_few_pairs_at_long_lags_are_no_period(n):
    wave = np.sin(2 * np.pi * np.arange(n) / 24)
    noises = (np.random.default_rng(seed).normal(size=n) for seed in range(20))
    found = [grid.period_of(*column(wave + 0.5 * noise)) for noise in noises]
    assert sum(period in (23, 24, 25) for period in found) >= 19


def test_noise_has_hardly_a_period():
    noises = (np.random.default_rng(seed).normal(size=300) for seed in range(50))
    assert sum(grid.period_of(*column(noise)) is None for noise in noises) >= 30


def test_without_a_period_the_window_is_the_usual_one():
    rng = np.random.default_rng(0)
    assert grid.window_of(*column(rng.normal(size=3000))) == 32
    assert grid.window_of(*column(np.arange(3000.0))) == 32
    assert grid.window_of(*column(np.ones(3000))) == 32


def test_windows_are_shorter_where_few_are_left():
    assert grid.window_of(*column(np.random.default_rng(0).normal(size=215))) == 16
    assert grid.window_of(*column(np.zeros(20))) == grid.FEWEST_SLOTS


def test_the_autocorrelation_crosses_no_segment_and_equals_the_plain_sum():
    rng = np.random.default_rng(0)
    x, mask = rng.normal(size=(300, 2)), rng.random((300, 2)) < 0.7
    segment = np.repeat([0, 1, 2], [120, 100, 80])
    found = grid.autocorrelation(x, mask, segment, 20)
    for lag in (0, 1, 7, 20):
        both = mask[lag:] & mask[: 300 - lag] & (segment[lag:] == segment[: 300 - lag])[:, None]
        values = [x[:, j] - x[mask[:, j], j].mean() for j in range(2)]
        expected = [
            (v[lag:] * v[: 300 - lag])[both[:, j]].mean() / (v[mask[:, j]] ** 2).mean()
            for j, v in enumerate(values)
        ]
        share = (segment[lag:] == segment[: 300 - lag]).sum() / 300
        assert found[lag] == pytest.approx(share * np.mean(expected), abs=1e-9)


# The calendar


def test_which_periods_the_stamps_show():
    def spans(step, n, known=("day", "week", "year")):
        found = calendar.fit(START + step * np.arange(n), Step(step), known)
        return {span["period"]: span["harmonics"] for span in found}

    assert spans(600.0, 6 * 7 * 144) == {"day": 2, "week": 3}
    assert spans(HOUR, 24 * 20) == {"day": 2, "week": 3}
    assert spans(HOUR, 24 * 5) == {"day": 2}
    assert spans(HOUR, 30) == {}
    assert spans(DAY, 800) == {"week": 3, "year": 2}
    assert spans(7 * DAY, 200) == {"year": 2}
    assert spans(HOUR, 24 * 20, known=["day"]) == {"day": 2}
    assert spans(steps.YEAR, 200) == {}


def test_features_are_the_angles_of_the_clock():
    spans = [{"period": "day", "harmonics": 2}, {"period": "week", "harmonics": 1}]
    noon = np.array([DAY / 4, DAY / 2 + 7 * DAY])
    found = calendar.features(noon, spans)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0, :4], [1, 0, 0, -1], atol=1e-6)
    np.testing.assert_allclose(found[1, :4], [0, -1, 0, 1], atol=1e-6)
    np.testing.assert_allclose(found[1, 4], np.sin(2 * np.pi / 14), atol=1e-6)
    names = calendar.names(spans)
    assert len(names) == found.shape[1] == 6
    assert names[0] == "time of day, sine 1"
    assert calendar.features(noon, []).shape == (2, 0)
