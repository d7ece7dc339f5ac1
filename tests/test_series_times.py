"""Clocks of series: time columns are read, written, and found where a table plainly is one."""

import json

import numpy as np
import pandas as pd
import pytest

from parts.errors import UserError
from parts.forms.series import example, times
from parts.options import from_plain

START = 1_700_000_400.0  # 2023-11-14 22:20:00
SECONDS = START + 600.0 * np.arange(300)


def stamps(form, seconds=SECONDS):
    return pd.to_datetime(seconds, unit="s").strftime(form)


def frame_of(**columns):
    return pd.DataFrame(columns).astype("str")


def wavy(n=300, seed=0):
    rng = np.random.default_rng(seed)
    walk = np.sin(np.arange(n) / 10) + 0.1 * rng.normal(size=n)
    return [f"{value:.3f}" for value in walk]


# Read and write

STYLES = {
    "iso": {"t": stamps("%Y-%m-%d %H:%M:%S")},
    "iso with T and Z": {"t": stamps("%Y-%m-%dT%H:%M:%SZ")},
    "German": {"t": stamps("%d.%m.%Y %H:%M")},
    "American": {"t": stamps("%m/%d/%Y %I:%M %p")},
    "compact": {"t": stamps("%Y%m%d%H%M")},
    "epoch seconds": {"t": [f"{v:.0f}" for v in SECONDS]},
    "epoch milliseconds": {"t": [f"{1000 * v:.0f}" for v in SECONDS]},
    "epoch microseconds": {"t": [f"{1e6 * v:.0f}" for v in SECONDS]},
    "date and time": {"day": stamps("%Y-%m-%d"), "clock": stamps("%H:%M:%S")},
    "date and hour": {
        "date": stamps("%d/%m/%Y"),
        "hour": stamps("%H"),
        "minute": stamps("%M"),
    },
    "several columns": {
        "year": stamps("%Y"),
        "month": stamps("%m"),
        "day": stamps("%d"),
        "hour": stamps("%H"),
        "minute": stamps("%M"),
    },
    "unnamed columns": {
        name: stamps(f"%{part}") for name, part in zip("abcde", "YmdHM", strict=True)
    },
    "day of the year": {
        "year": stamps("%Y"),
        "doy": stamps("%j"),
        "hour": stamps("%H"),
        "min": stamps("%M"),
    },
}


@pytest.mark.parametrize("style", STYLES)
def test_stamps_are_read_to_the_second_and_written_as_they_were(style):
    frame = frame_of(**STYLES[style])
    clock = times.given(frame, list(frame.columns))
    np.testing.assert_array_equal(clock.read(frame), SECONDS)
    assert clock.calendar
    written = clock.write(SECONDS)
    for name in frame:
        assert written[name] == frame[name].tolist()


def test_a_clock_is_plain_values():
    frame = frame_of(**STYLES["several columns"])
    clock = times.given(frame, list(frame.columns))
    plain = json.loads(json.dumps(clock.to_dict()))
    assert from_plain(times.Clock, plain) == clock


def test_stamps_with_offsets_are_instants_in_utc():
    """Around the change of the clocks the offset tells the two hours apart."""
    local = ["01:30:00+02:00", "02:30:00+02:00", "02:30:00+01:00", "03:30:00+01:00"]
    frame = frame_of(t=[f"2024-10-27T{cell}" for cell in local])
    clock = times.given(frame, ["t"])
    assert np.diff(clock.read(frame)).tolist() == [3600.0] * 3
    back = frame_of(**clock.write(clock.read(frame)))
    np.testing.assert_array_equal(clock.read(back), clock.read(frame))


def test_a_repeated_hour_of_wall_clocks_keeps_all_rows():
    hours = ["01:00", "02:00", "02:00", "03:00"]
    frame = frame_of(t=[f"2024-10-27 {cell}" for cell in hours])
    seconds = times.given(frame, ["t"]).read(frame)
    assert np.diff(seconds).tolist() == [3600.0, 0.0, 3600.0]


def test_times_of_day_go_on_over_midnight_in_each_group():
    minutes = np.arange(0, 3 * 1440, 90)
    cells = [f"{m // 60 % 24:02d}:{m % 60:02d}" for m in minutes]
    frame = frame_of(time=cells + cells, machine=["a"] * len(cells) + ["b"] * len(cells))
    groups, _ = times.groups_of(frame, ["machine"])
    clock = times.given(frame, ["time"], groups)
    seconds = clock.read(frame, groups)
    np.testing.assert_array_equal(seconds, 60.0 * np.concatenate([minutes, minutes]))
    assert not clock.calendar
    assert clock.periods == ["day"]
    assert clock.write(seconds)["time"] == frame["time"].tolist()


def test_a_row_that_is_a_little_early_starts_no_new_day():
    frame = frame_of(time=["09:00", "09:20", "09:10", "09:30"])
    seconds = times.given(frame, ["time"]).read(frame)
    assert seconds.tolist() == [32_400.0, 33_600.0, 33_000.0, 34_200.0]


def test_hours_beyond_a_day_are_durations():
    frame = frame_of(Time=[f"{h:02d}:30" for h in range(48)])
    clock = times.given(frame, ["Time"])
    np.testing.assert_array_equal(clock.read(frame), 1800.0 + 3600.0 * np.arange(48))
    assert clock.periods == []


def test_numbers_without_a_unit_are_steps():
    frame = frame_of(step=range(100), x=range(100))
    clock = times.given(frame, ["step"])
    np.testing.assert_array_equal(clock.read(frame), np.arange(100))
    assert (clock.calendar, clock.timed) == (False, False)
    assert clock.write(np.array([100.0, 101.0])) == {"step": ["100", "101"]}


def test_hours_from_1_to_24():
    hours = np.arange(1, 97)
    ends = np.datetime64("2024-02-28") + np.arange(96) // 24 * np.timedelta64(1, "D")
    frame = frame_of(date=ends.astype(str), hour=(hours - 1) % 24 + 1)
    clock = times.given(frame, ["date", "hour"])
    seconds = clock.read(frame)
    assert (np.diff(seconds) == 3600).all()
    assert clock.write(seconds) == {name: frame[name].tolist() for name in frame}


def test_names_of_months():
    months = pd.date_range("1949-01-01", periods=144, freq="MS")
    frame = frame_of(year=months.strftime("%Y"), month=months.strftime("%B"))
    clock = times.given(frame, ["year", "month"])
    seconds = clock.read(frame)
    assert pd.to_datetime(seconds, unit="s").equals(months)
    assert clock.write(seconds) == {name: frame[name].tolist() for name in frame}


def test_quarters_of_a_year():
    quarters = pd.date_range("1990-01-01", periods=100, freq="QS")
    frame = frame_of(year=quarters.year, qtr=quarters.quarter)
    clock = times.given(frame, ["year", "qtr"])
    seconds = clock.read(frame)
    assert pd.to_datetime(seconds, unit="s").equals(quarters)
    assert clock.write(seconds) == {name: frame[name].tolist() for name in frame}
    assert times.find(frame.assign(x=wavy(100))).words.endswith("in steps of 3 months")


def test_days_without_a_year_are_counted():
    hours = np.arange(24 * 60)
    frame = frame_of(day=hours // 24 + 1, hour=hours % 24)
    clock = times.given(frame, ["day", "hour"])
    seconds = clock.read(frame)
    np.testing.assert_array_equal(seconds, 86_400.0 + 3600.0 * hours)
    assert (clock.calendar, clock.periods) == (False, ["day"])
    assert clock.write(seconds) == {name: frame[name].tolist() for name in frame}


def test_a_date_beyond_all_calendars_is_nan():
    cells = [f"{1_700_000_000 + 60 * i}" for i in range(100)]
    cells[3] = "1e300"
    seconds = times.given(frame_of(time=cells), ["time"]).read(frame_of(time=cells))
    assert np.flatnonzero(np.isnan(seconds)).tolist() == [3]


def test_columns_of_numbers_come_last_as_groups():
    """Many columns of rounded numbers stand before that of the stations."""
    one = frame_of(t=stamps("%Y-%m-%d %H:%M"))
    rng = np.random.default_rng(0)
    parts = []
    for station in "ABC":
        numbers = {f"x{j}": rng.integers(0, 8, 300).astype(str) for j in range(12)}
        parts.append(one.assign(**numbers, y=wavy(), station=f"s{station}"))
    assert times.find(pd.concat(parts, ignore_index=True)).groups == ["station"]


def test_a_cell_that_cannot_be_read_is_nan():
    frame = frame_of(t=stamps("%Y-%m-%d %H:%M:%S"))
    frame.loc[3, "t"] = "broken"
    frame.loc[5, "t"] = ""
    seconds = times.given(frame, ["t"]).read(frame)
    assert np.flatnonzero(np.isnan(seconds)).tolist() == [3, 5]
    whole = frame_of(year=["2024"] * 9 + ["x"], month=range(1, 11), day=["1"] * 10)
    assert np.isnan(times.given(whole, list(whole)).read(whole)).tolist() == [False] * 9 + [True]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["t"], "column 't' cannot be read as times: 'red', 'green', 'blue'"),
        (["when"], "no column is named 'when', they are t, x"),
        (["x", "t"], "column 't' cannot be read as times: 'red'"),
        (["x", "x"], "name one twice"),
    ],
)
def test_what_is_no_time_is_refused_in_one_line(names, words):
    frame = frame_of(t=["red", "green", "blue"] * 10, x=range(30))
    with pytest.raises(UserError, match=words) as error:
        times.given(frame, names)
    assert "\n" not in str(error.value)
    assert "--" not in str(error.value)


# Find


def test_a_plain_series_is_found():
    frame = frame_of(t=stamps("%Y-%m-%d %H:%M"), x=wavy())
    found = times.find(frame)
    assert found.clock.names == ["t"]
    assert found.groups == []
    assert found.words == "a series: t rises in steps of 10 minutes"


def test_a_series_is_found_unsorted_with_gaps_and_late_columns():
    frame = frame_of(name=["a b c"] * 300, x=wavy(), Timestamp=stamps("%d.%m.%Y %H:%M"))
    frame = frame.drop(index=[*range(40, 60), 100, 170])
    found = times.find(frame.sample(frac=1, random_state=0).reset_index(drop=True))
    assert found.clock.names == ["Timestamp"]


def test_a_series_is_found_without_a_third_of_its_rows_and_with_jitter():
    rng = np.random.default_rng(0)
    late = SECONDS + rng.integers(-20, 21, 300)
    frame = frame_of(t=stamps("%Y-%m-%d %H:%M:%S", late), x=wavy())[rng.random(300) < 0.67]
    found = times.find(frame.reset_index(drop=True))
    assert found.words == "a series: t rises in steps of 10 minutes"


def test_a_diary_is_no_series():
    """Days of which a third is left out at will."""
    rng = np.random.default_rng(0)
    days = np.datetime64("2023-01-01") + np.flatnonzero(rng.random(600) < 0.6)
    assert times.find(frame_of(date=days, miles=wavy(len(days)))) is None


def test_the_columns_of_groups_are_found():
    one = frame_of(t=stamps("%Y-%m-%d %H:%M"))
    parts = [
        one.assign(site=site, sensor=sensor, x=wavy(seed=7 * i + j))
        for i, site in enumerate("AB")
        for j, sensor in enumerate(("up", "down"))
    ]
    frame = pd.concat(parts, ignore_index=True).astype("str")
    assert times.find(frame).groups == ["site", "sensor"]
    assert times.find(frame[frame["site"] == "A"].reset_index(drop=True)).groups == ["sensor"]
    assert times.find(frame, ["site", "sensor"]).words.endswith("in 4 groups by site, sensor")


def test_months_in_two_columns_are_found():
    months = pd.date_range("2010-01-01", periods=120, freq="MS")
    frame = frame_of(year=months.year, month=months.month, sales=wavy(120))
    found = times.find(frame)
    assert found.clock.names == ["year", "month"]
    assert found.words == "a series: year, month rises in steps of 1 month"


def test_the_example_is_found():
    found = times.find(example.sensors())
    assert (found.clock.names, found.groups) == (["timestamp"], ["machine"])


def tables():
    rng = np.random.default_rng(1)
    n = 1200
    days = np.datetime64("2023-01-01")
    births = np.datetime64("1950-01-01") + rng.integers(0, 20_000, n)
    orders = np.sort(days + rng.integers(0, 365, n))
    rides = np.sort(days.astype("datetime64[s]") + rng.integers(0, 30 * 86_400, n))
    price = [f"{v:.2f}" for v in rng.lognormal(3, 1, n)]
    city = rng.choice(["Bern", "Oslo", "Porto"], n)
    countries = [f"land {i:02d}" for i in range(40)]
    return {
        "customers": frame_of(name=[f"c{i}" for i in range(n)], born=births, income=price),
        "orders": frame_of(order=range(n), date=orders, city=city, price=price),
        "rides": frame_of(pickup=rides, fare=price, distance=wavy(n), city=city),
        "rides to the minute": frame_of(pickup=rides.astype("datetime64[m]"), fare=price),
        "one order a day": frame_of(
            order=range(n), date=days + np.arange(n), city=city, price=price, n=rng.permutation(n)
        ),
        "panel": frame_of(
            country=np.repeat(countries, 30),
            year=np.tile(np.arange(1990, 2020), 40),
            gdp=wavy(1200),
        ),
        "thirty years": frame_of(year=range(1990, 2020), x=wavy(30)),
        "no numbers": frame_of(t=stamps("%Y-%m-%d %H:%M"), word=["red", "blue"] * 150),
        "no dates": frame_of(step=range(300), x=wavy()),
    }


TABLES = tables()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_no_series(name):
    assert times.find(TABLES[name]) is None


# The example


def test_the_example_holds_what_it_says():
    frame = example.sensors(3)
    again = example.sensors(3)
    pd.testing.assert_frame_equal(frame, again)
    assert list(frame) == ["timestamp", "machine", *example.SENSORS, "state", "event"]
    missing = sum(n for _, _, n in example.GAPS)
    assert len(frame) == 2 * example.N_STEPS - missing
    assert (frame["event"] == "1").sum() == sum(event[-1] for event in example.EVENTS)
    assert 0.005 < (frame[list(example.SENSORS)] == "").to_numpy().mean() < 0.015
    frozen = next(e for e in example.EVENTS if e[:2] == ("A", "frozen"))
    stamp = np.datetime64(example.START) + frozen[3] * np.timedelta64(example.STEP, "s")
    first = frame.index[
        (frame["machine"] == "A")
        & (frame["timestamp"] == pd.Timestamp(stamp).strftime("%Y-%m-%d %H:%M:%S"))
    ][0]
    assert frame.loc[first : first + frozen[4] - 1, frozen[2]].nunique() == 1
