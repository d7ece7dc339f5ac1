"""parts/forms/cells/moments.py: dates, times of day, durations and epochs, read and written."""

import datetime
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parts.forms import cells
from parts.forms.cells import dates
from parts.forms.tables import kinds

DAY = 86_400
YEAR = 365 * DAY


def series(values):
    return pd.Series(values, dtype="str")


def reading_of(texts, name="x", **hints):
    return cells.reading_of(series(texts), name, hints=cells.Hints(**hints))


def times_from(start, span, step, n=60, seed=0):
    """n times, whole numbers of `step` seconds from `start`, a Series of datetimes."""
    seconds = np.random.default_rng(seed).integers(0, span // step, n) * step
    return pd.Series(pd.Timestamp(start) + pd.to_timedelta(seconds, unit="s"))


def days_of(times):
    return ((times - pd.Timestamp(0)).dt.total_seconds() / DAY).to_numpy()


def unpadded(form):
    """A function that writes times in a format, without leading zeros."""
    return lambda times: times.dt.strftime(form).str.replace(r"(?<![:\d])0(?=\d)", "", regex=True)


def lower(form):
    return lambda times: times.dt.strftime(form).str.replace("AM", "am").str.replace("PM", "pm")


def upper(form):
    return lambda times: times.dt.strftime(form).str.upper()


# How people write dates: what stands in a cell (a format, or a function), the step in seconds, and
# the format that is recognised, where it is not that one

DATES = {
    "AM and PM": ("%m/%d/%Y %I:%M %p", 60),
    "AM and PM in small letters": (lower("%m/%d/%Y %I:%M %p"), 60, "%m/%d/%Y %I:%M %p"),
    "AM and PM without zeros": (unpadded("%m/%d/%Y %I:%M:00 %p"), 60, "%m/%d/%Y %I:%M:%S %p"),
    "America": ("%m/%d/%Y", DAY),
    "America without zeros": (unpadded("%m/%d/%Y"), DAY, "%m/%d/%Y"),
    "America, two digits": ("%m/%d/%y", DAY),
    "Britain": ("%d/%m/%Y", DAY),
    "Britain with time": ("%d/%m/%Y %H:%M:%S", 1),
    "China": ("%Y/%m/%d", DAY),
    "Germany": ("%d.%m.%Y", DAY),
    "Germany with time": ("%d.%m.%Y, %H:%M Uhr", 60),
    "Germany without zeros": (unpadded("%d.%m.%Y"), DAY, "%d.%m.%Y"),
    "Germany, two digits": ("%d.%m.%y", DAY),
    "ISO": ("%Y-%m-%d", DAY),
    "ISO in UTC": ("%Y-%m-%dT%H:%M:%SZ", 1),
    "ISO with T": ("%Y-%m-%dT%H:%M:%S", 1),
    "ISO with a zone": ("%Y-%m-%dT%H:%M:%S+02:00", 1, "%Y-%m-%dT%H:%M:%S%z"),
    "ISO with a short zone": ("%Y-%m-%d %H:%M:%S+02", 1, "%Y-%m-%d %H:%M:%S%z"),
    "ISO with minutes": ("%Y-%m-%d %H:%M", 60),
    "ISO without marks": ("%Y%m%dT%H%M%SZ", 1),
    "Oracle": (upper("%d-%b-%y"), DAY, "%d-%b-%y"),
    "SAS": (upper("%d%b%Y"), DAY, "%d%b%Y"),
    "SAS with time": (upper("%d%b%Y:%H:%M:%S"), 1, "%d%b%Y:%H:%M:%S"),
    "as one says it": (unpadded("%B %d, %Y"), DAY, "%B %d, %Y"),
    "ctime": ("%a %b %d %H:%M:%S %Y", 1),
    "date": ("%a %b %d %H:%M:%S UTC %Y", 1),
    "hyphens": ("%d-%m-%Y", DAY),
    "long": ("%A, %B %d, %Y", DAY),
    "mail": ("%a, %d %b %Y %H:%M:%S +0000", 1, "%a, %d %b %Y %H:%M:%S %z"),
    "named zone": ("%Y-%m-%d %H:%M:%S CET", 1),
    "names of months": ("%d %b %Y", DAY),
    "one number": ("%Y%m%d", DAY),
    "one number with minutes": ("%Y%m%d%H%M", 60),
    "one number with seconds": ("%Y%m%d%H%M%S", 1),
    "points": ("%Y.%m.%d", DAY),
    "spreadsheet": (unpadded("%m/%d/%Y %H:%M"), 60, "%m/%d/%Y %H:%M"),
    "tweet": ("%a %b %d %H:%M:%S +0000 %Y", 1, "%a %b %d %H:%M:%S %z %Y"),
    "underscore": ("%Y%m%d_%H%M%S", 1),
    "web log": ("[%d/%b/%Y:%H:%M:%S +0000]", 1, "[%d/%b/%Y:%H:%M:%S %z]"),
    "year first, two digits": ("%y-%m-%d", DAY),
}


def written(name, n=60, seed=0):
    """Cells of a way in DATES, the days that they say, and the format to be recognised."""
    way, step, *form = DATES[name]
    times = times_from("2021-01-01", 3 * YEAR, step, n, seed)
    texts = times.dt.strftime(way) if isinstance(way, str) else way(times)
    return texts.tolist(), days_of(times), form[0] if form else way


@pytest.mark.parametrize("name", DATES)
def test_dates_are_read_and_written_as_people_write_them(name):
    texts, days, form = written(name)
    reading = reading_of(texts)
    assert reading.style["date"] == form
    assert reading.share == 1
    np.testing.assert_allclose(reading.values, days, rtol=0, atol=1e-9)
    assert cells.texts(reading.values, reading.style) == texts
    other, days, _ = written(name, seed=1)
    np.testing.assert_allclose(cells.numbers(series(other), reading.style), days, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", DATES)
def test_a_few_rows_holes_and_rubbish_do_not_hide_dates(name):
    texts, days, form = written(name, n=12, seed=2)
    assert reading_of(texts).style["date"] == form
    texts, days, _ = written(name, n=100)
    for i in range(0, 100, 3):
        texts[i] = "" if i % 2 else "n.v."
    reading = reading_of(texts)
    assert reading.style["date"] == form
    holes = np.arange(100) % 3 == 0
    np.testing.assert_allclose(reading.values, np.where(holes, np.nan, days), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("texts", "form", "first"),
    [
        (["2021-03", "2022-11", "2020-01"], "%Y-%m", "2021-03-01"),
        (["03/2021", "11/2022", "01/2020"], "%m/%Y", "2021-03-01"),
        (["Mar 2021", "Nov 2022", "Jan 2020"], "%b %Y", "2021-03-01"),
        (["March 2021", "November 2022", "May 2020"], "%B %Y", "2021-03-01"),
        (["Mar-21", "Nov-22", "Jan-20"], "%b-%y", "2021-03-01"),
        (["202103", "202211", "202001", "201912", "202102"], "%Y%m", "2021-03-01"),
        (["1st March 2021", "22nd May 2020", "3rd June 2020", "11th July 2020"], "%dth %B %Y", ""),
    ],
)
def test_months_and_ordinals(texts, form, first):
    reading = reading_of(texts)
    assert reading.style["date"] == form
    expected = pd.Timestamp(first or "2021-03-01")
    assert reading.values[0] == (expected - pd.Timestamp(0)).days
    assert cells.texts(reading.values, reading.style) == texts


@pytest.mark.parametrize("digits", [1, 3, 6])
@pytest.mark.parametrize("form", ["%Y-%m-%d %H:%M:%S,", "%Y-%m-%dT%H:%M:%S.", "%d.%m.%Y %H:%M:%S."])
def test_fractions_of_seconds_are_kept(form, digits):
    times = times_from("2021-01-01", YEAR, 1, 30)
    parts = np.random.default_rng(1).integers(0, 10**digits, 30)
    texts = [
        f"{time}{part:0{digits}d}"
        for time, part in zip(times.dt.strftime(form), parts, strict=True)
    ]
    reading = reading_of(texts)
    assert reading.style["digits"] == digits
    assert cells.texts(reading.values, reading.style) == texts
    expected = days_of(times) + parts / 10**digits / DAY
    np.testing.assert_allclose(reading.values, expected, rtol=0, atol=1e-11)


def test_stamps_of_several_zones_are_times_of_the_most_common_one():
    texts = ["2024-03-01T12:00:00+01:00", "2024-03-01T11:00:00+00:00", "2024-03-01T06:00:00-0500"]
    reading = reading_of([*texts, "2024-03-02T12:00:00+01:00"])
    np.testing.assert_allclose(reading.values, [19783.5, 19783.5, 19783.5, 19784.5])
    assert reading.style["zone"] == "+01:00"
    written = cells.texts(reading.values, reading.style)
    assert written == [texts[0]] * 3 + ["2024-03-02T12:00:00+01:00"]


@pytest.mark.parametrize("zone", ["+0000", "+02:00", "+0530", "-08", "Z"])
def test_a_zone_moves_the_other_stamps(zone):
    style = {"date": "%Y-%m-%d %H:%M:%S%z", "zone": zone}
    texts = ["2024-01-05 10:00:00+00:00", f"2024-01-05 10:00:00{zone}"]
    first, second = cells.numbers(series(texts), style)
    sign, hours, minutes = re.fullmatch(r"([+-]?)(\d?\d?):?(\d*)Z?", zone).groups()
    ahead = (int(hours or 0) + int(minutes or 0) / 60) / 24
    np.testing.assert_allclose(first - second, -ahead if sign == "-" else ahead, atol=1e-9)
    assert second % 1 == pytest.approx(10 / 24)


def test_iso_stamps_of_any_form_are_read_together():
    texts = ["2024-03-01"] * 5 + [
        "2024-03-01T12:00:00",
        "2024-03-01 12:00",
        "2024-03-01T12:00:00.5",
    ]
    reading = reading_of(texts)
    assert reading.style["mixed"]
    np.testing.assert_allclose(reading.values % 1, [0] * 5 + [0.5, 0.5, 0.5 + 0.5 / DAY])


@settings(max_examples=30)
@given(days=st.lists(st.integers(-650_000, 2_900_000), min_size=1, max_size=20))
def test_days_of_all_years_are_those_of_the_calendar(days):
    style = {"date": "%Y-%m-%d"}
    texts = cells.texts(days, style)
    assert texts == [str(datetime.date(1970, 1, 1) + datetime.timedelta(days=d)) for d in days]
    np.testing.assert_array_equal(cells.numbers(series(texts), style), days)


@pytest.mark.parametrize(
    "cell",
    [
        *("2023-02-29", "2024-00-10", "2024-01-00", "2024-02-30", "2024-1-5", "2024-13-01"),
        *("2024-01-05 10:00", "24-01-05", "2024/01/05", "20240105"),
    ],
)
def test_a_day_that_does_not_exist_and_another_form_are_unreadable(cell):
    found = cells.numbers(series([cell, "2024-02-29"]), {"date": "%Y-%m-%d"})
    assert np.isnan(found[0]) == (cell != "2024-1-5")  # what is clear is read
    assert found[1] == 19782


def test_dates_are_days_since_1970():
    dates = series(["1970-01-02 12:00", "1969-12-31 00:00"])
    values = cells.numbers(dates, {"date": "%Y-%m-%d %H:%M"})
    np.testing.assert_array_equal(values, [1.5, -1])


def test_a_date_without_a_time_is_a_whole_day():
    texts = cells.texts([0.4, 0.6, -0.4], {"date": "%Y-%m-%d"})
    assert texts == ["1970-01-01", "1970-01-02", "1970-01-01"]
    assert cells.texts([0.5], {"date": "%Y-%m-%d %H:%M"}) == ["1970-01-01 12:00"]


def test_dates_beyond_the_calendar_are_its_ends():
    style = {"date": "%d.%m.%Y"}
    assert cells.texts([-1e12, 1e12], style) == ["01.01.0001", "31.12.9999"]


def test_dates_of_any_year_are_read():
    texts = ["9999-12-31", "2024-01-05", "1500-03-01"] * 5
    reading = reading_of(texts)
    assert cells.texts(reading.values, reading.style) == texts


# Days and months in doubt


@pytest.mark.parametrize(
    ("first", "last", "form"),
    [
        ("01/02/2024", "02/13/2024", "%m/%d/%Y"),
        ("01/02/2024", "13/02/2024", "%d/%m/%Y"),
        ("02/13/2024", "01/02/2024", "%m/%d/%Y"),
        ("13/02/2024", "01/02/2024", "%d/%m/%Y"),
    ],
)
def test_a_day_beyond_12_tells_days_from_months(first, last, form):
    assert reading_of([first, "03/04/2024", last]).style["date"] == form


def test_the_format_that_reads_every_date_is_the_one():
    texts = ["01/02/2024", "03/04/2024", "05/06/2024"] * 40 + ["05/13/2024"] * 3
    assert reading_of(texts).style["date"] == "%m/%d/%Y"


@pytest.mark.parametrize(
    ("texts", "day_first", "form"),
    [
        (["01/02/2024", "11/04/2023", "03/12/2022"], None, "%d/%m/%Y"),
        (["01/02/2024", "11/04/2023", "03/12/2022"], False, "%m/%d/%Y"),
        (["01/02/2024", "11/04/2023", "03/12/2022"], True, "%d/%m/%Y"),
        (["01/02/2024", "01/04/2024", "01/12/2024"], None, "%m/%d/%Y"),  # January
        (["01/02/2024", "04/02/2024", "12/02/2024"], None, "%d/%m/%Y"),  # February
        (["01/02/2024", "04/02/2024", "12/02/2024"], False, "%m/%d/%Y"),
        (["01/02/2024 5:00 PM", "11/04/2023 6:30 AM"], None, "%m/%d/%Y %I:%M %p"),
        (["21-03-05", "22-11-02", "23-01-04", "23-06-30"], None, "%y-%m-%d"),
    ],
)
def test_days_and_months_in_doubt(texts, day_first, form):
    assert reading_of(texts, day_first=day_first).style["date"] == form


def test_other_columns_tell_days_from_months():
    doubtful = ["01/02/2024", "11/04/2023", "03/12/2022"] * 20
    clear = ["02/13/2024", "11/24/2023", "03/12/2022"] * 20
    frame = pd.DataFrame({"a": doubtful, "b": clear}, dtype="str")
    assert [c.style["date"] for c in kinds.fit(frame)] == ["%m/%d/%Y"] * 2
    other = [text[3:6] + text[:3] + text[6:] for text in clear]
    third = kinds.fit(frame.assign(b=other))[0]
    assert third.style["date"] == "%d/%m/%Y"


# Two digits of a year


@pytest.mark.parametrize(
    ("years", "last_year", "first", "last"),
    [
        ((1935, 2005), None, "01/05/35", 1935),  # years of birth
        ((1990, 2024), None, "01/05/90", 1990),
        ((2010, 2024), None, "01/05/10", 2010),
        ((1960, 1999), None, "01/05/60", 1960),
        ((1920, 1950), 1990, "01/05/20", 1920),  # the file writes no later year than 1990
    ],
)
def test_two_digits_are_years_of_one_span(years, last_year, first, last):
    texts = [f"01/{d:02d}/{y % 100:02d}" for y in range(*years) for d in (5, 20)]
    reading = reading_of(texts, last_year=last_year)
    found = dates.years_of(reading.values)
    np.testing.assert_array_equal(found, np.repeat(np.arange(*years), 2))
    assert (texts[0], found[0]) == (first, last)
    assert cells.texts(reading.values, reading.style) == texts


# Times of day


@pytest.mark.parametrize(
    ("form", "step"),
    [
        *((form, 60) for form in ("%H:%M", "%Hh%M", "%I:%M %p", "%I:%M%p", "%I:%M %P")),
        *((form, 1) for form in ("%H.%M.%S", "%H:%M:%S", "%I:%M:%S %p")),
        ("%I %p", 3600),
    ],
)
@pytest.mark.parametrize("zeros", [False, True])
def test_times_of_day(form, step, zeros):
    times = times_from("1970-01-01 06:00", DAY * 3 // 4, step)
    texts = [
        time.strftime(form) if zeros else time.strftime(form).removeprefix("0") for time in times
    ]
    reading = reading_of(texts, "opens")
    assert reading.style["clock"] == form.replace("%P", "%p")
    np.testing.assert_allclose(reading.values, days_of(times), rtol=0, atol=1e-9)
    assert cells.texts(reading.values, reading.style) == texts


@pytest.mark.parametrize("half", ["A.M.", "a.m.", "am"])
def test_the_halves_of_a_day_are_written_as_they_were(half):
    other = half.replace("a", "p").replace("A", "P")
    texts = [f"9:30 {half}", f"2:15 {other}", f"12:00 {half}", f"12:05 {other}", f"11:59 {other}"]
    reading = reading_of(texts)
    expected = np.array([570, 855, 0, 725, 1439]) / 1440
    np.testing.assert_allclose(reading.values % 1, expected, atol=1e-9)
    assert cells.texts(reading.values, reading.style) == texts


def test_times_around_midnight_are_close():
    texts = ["23:30", "23:50", "00:10", "00:30", "22:45", "01:15"]
    reading = reading_of(texts)
    assert np.ptp(reading.values) == pytest.approx(2.5 / 24)
    assert cells.texts(reading.values, reading.style) == texts
    again = cells.numbers(series(texts), reading.style)
    np.testing.assert_array_equal(again, reading.values)
    assert cells.texts([reading.values.max() + 0.99999], {"clock": "%H:%M"})[0] == "01:15"


def test_no_time_is_written_as_24_hours():
    assert cells.texts([0.99999999, -1e-9, 1.5], {"clock": "%H:%M"}) == ["00:00", "00:00", "12:00"]


# Durations

DURATIONS = {
    "ISO": (["PT1M30S", "PT2H30M", "P1DT5S", "P2D", "PT0S"], [90, 9000, DAY + 5, 2 * DAY, 0]),
    "days and hours": (["2d 3h", "1d 5h", "4h"], [2 * DAY + 10_800, DAY + 18_000, 14_400]),
    "hours beyond a day": (["30:15", "41:05"], [108_900, 147_900]),
    "hours with seconds": (["30:15:01", "141:05:00"], [108_901, 507_900]),
    "hours with two digits": (["02:15:01", "41:05:00"], [8101, 147_900]),
    "laps": (["1:29.463", "1:30.236"], [89.463, 90.236]),
    "laps below a minute": (["59.87", "1:02.31"], [59.87, 62.31]),
    "of Python": (["1 day, 2:00:05", "0:03:20"], [DAY + 7205, 200]),
    "of pandas": (["3 days 04:05:06", "0 days 00:00:10"], [3 * DAY + 14_706, 10]),
    "of pandas below 0": (["-1 days +23:59:50", "0 days 00:00:10"], [-10, 10]),
    "of pandas with fractions": (["0 days 00:00:10.50", "1 days 00:00:00.25"], [10.5, DAY + 0.25]),
    "units": (["1h 30m", "2h", "45m"], [5400, 7200, 2700]),
    "units with zeros": (["1h 30m", "2h 0m", "0h 45m"], [5400, 7200, 2700]),
    "units without blanks": (["1h30m", "2h5m"], [5400, 7500]),
    "words": (["5 hr 15 min", "3 hr 5 min"], [18_900, 11_100]),
    "words of seconds": (["5 min 15 sec", "3 min 5 sec"], [315, 185]),
}


@pytest.mark.parametrize("name", DURATIONS)
def test_durations_are_read_and_written(name):
    texts, seconds = DURATIONS[name]
    reading = reading_of(texts, "elapsed")
    assert reading.share == 1
    np.testing.assert_allclose(reading.values * DAY, seconds, rtol=0, atol=1e-6)
    assert cells.texts(reading.values, reading.style) == texts
    assert cells.is_moment(reading.style)


@pytest.mark.parametrize("name", DURATIONS)
@settings(max_examples=20)
@given(seconds=st.lists(st.integers(0, 4 * DAY), min_size=1, max_size=9))
def test_other_durations_of_a_style_are_written_and_read(name, seconds):
    style = reading_of(DURATIONS[name][0], "elapsed").style
    step = round(cells.step_of(style) * DAY, 6)
    values = np.round(np.array(seconds) / max(step, 1)) * max(step, 1) / DAY
    texts = cells.texts(values, style)
    np.testing.assert_allclose(
        cells.numbers(series(texts), style) * DAY, values * DAY, rtol=0, atol=1e-6
    )


def test_a_duration_is_rounded_to_what_its_column_writes():
    style = reading_of(["1h 30m", "2h", "45m"]).style
    assert cells.texts([59.9 / 1440, 119.6 / 1440], style) == ["1h", "2h"]
    style = reading_of(["30:15", "41:05"]).style
    assert cells.texts([59.9 / 1440, 0.4 / 1440, 0.6 / 1440], style) == ["1:00", "0:00", "0:01"]
    assert cells.texts([-0.6 / 1440, -0.4 / 1440], style) == ["-0:01", "0:00"]


# Numbers that are moments


@pytest.mark.parametrize(
    ("unit", "name", "is_epoch"),
    [
        *(("s", name, True) for name in ("createdAt", "created_at", "t", "timestamp", "unix_time")),
        *(("s", name, False) for name in ("amount", "customer", "order_id", "x")),
        *((unit, "x", True) for unit in ("ms", "us")),
        ("ns", "stamp", True),
        ("ns", "tweet", False),
    ],
)
@pytest.mark.parametrize("dtype", ["int64", "str"])
def test_epochs_have_a_name_or_an_unlikely_range(unit, name, is_epoch, dtype):
    seconds = 1_600_000_000 + np.random.default_rng(0).integers(0, YEAR, 200)
    numbers = pd.Series(
        seconds * {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[unit], dtype=dtype
    )
    reading = cells.reading_of(numbers, name)
    assert ("epoch" in reading.style) is is_epoch
    if is_epoch:
        np.testing.assert_allclose(reading.values, seconds / DAY, rtol=1e-12)
        if unit != "ns":  # which float64 does not hold
            assert cells.texts(reading.values, reading.style) == list(map(str, numbers))


@pytest.mark.parametrize(
    ("low", "high", "name"),
    [
        (10_000_000, 99_999_999, "revenue"),
        (18_000_000, 21_000_000, "revenue"),
        (180_000, 209_999, "account"),
        (1_950, 2_020, "year"),
        (4_000_000_000_000, 4_100_000_000_000, "ean"),
        (917_000_000_000, 919_999_999_999, "mobile"),
        (1_500_000_000, 1_500_009_999, "order"),
        (12 * 10**17, 17 * 10**17, "tweet"),
        (1_000_000_000, 2_000_000_000, "barcode"),
    ],
)
def test_amounts_and_identifiers_are_no_dates(low, high, name):
    numbers = np.sort(np.random.default_rng(0).integers(low, high, 300))
    for values in (series(map(str, numbers)), pd.Series(numbers)):
        assert not cells.is_moment(cells.reading_of(values, name).style)


def test_numbers_that_write_dates_may_have_a_decimal():
    texts = [f"{day}.0" for day in (20240105, 20240228, 20231231, 20240301, 20240401)]
    reading = reading_of(texts)
    assert reading.style["date"] == "%Y%m%d"
    assert cells.texts(reading.values, reading.style) == texts
    again = cells.numbers(pd.Series([float(text) for text in texts]), reading.style)
    np.testing.assert_array_equal(again, reading.values)


# What must not be taken for a moment


@pytest.mark.parametrize(
    "texts",
    [
        ["1-5", "6-9", "10-12"],
        ["1:0", "2:1", "3:3"],  # goals
        ["12 May", "14 May"],
        ["120/80", "135/90"],
        ["2010-11", "2011-12", "2012-13"],  # seasons
        ["2019/20", "2020/21"],
        ["2000-1", "2000-2", "2001-1"],  # half-years
        ["1988:1", "1988:2", "1989:3"],
        ["2024Q5", "2024Q1"],
        ["1 marzo 2021", "1 mars 2021"],  # no language
        ["April", "May", "Sun"],
        ["May", "Sun", "Rose"],
        ["May 2021 May", "May 2022 Jun"],
        ["P", "C", "PC"],
        ["Sat 2020", "Sun 2021"],
        ["h", "m", "s"],
        ["may 12", "may 3"],
    ],
)
def test_text_is_no_moment(texts):
    reading = reading_of(texts)
    assert reading is None or reading.share < cells.MOSTLY


@pytest.mark.parametrize(
    ("form", "step"),
    [("%Y-%m-%d %H:%M:%S", 60), ("%H:%M:%S", 900), ("%Y-%m-%dT%H:%M:%S.000Z", 5)]
    + [("%d/%m/%Y %H:%M", 3600), ("%Y-%m-%d %H:%M:%S", DAY)],
)
def test_times_are_written_in_the_steps_of_their_column(form, step):
    texts = times_from("2024-01-02", YEAR, step).dt.strftime(form).tolist()
    reading = reading_of(texts)
    assert reading.style["step"] == step
    moved = reading.values + np.random.default_rng(0).uniform(-0.49, 0.49, len(texts)) * step / DAY
    assert cells.texts(moved, reading.style) == texts


def test_durations_and_numbers_of_seconds_keep_their_steps():
    minutes = np.random.default_rng(0).integers(1, 500, 60)
    texts = [f"{m // 60:02d}:{m % 60:02d}:00" for m in minutes + 1440]
    reading = reading_of(texts, "duration")
    assert cells.texts(reading.values + 25 / DAY, reading.style) == texts
    texts = [str(1_700_000_040 + 60 * m) for m in minutes]
    reading = reading_of(texts, "created_at")
    assert cells.texts(reading.values + 25 / DAY, reading.style) == texts


def test_a_few_times_on_the_minute_may_be_so_by_chance():
    assert "step" not in reading_of(["2024-01-05 10:20:00", "2024-01-06 11:30:00"]).style
    texts = [f"2024-01-05 10:{m:02d}:{s:02d}" for m in range(60) for s in (0, 20, 31)]
    assert "step" not in reading_of(texts).style


# Months of other languages, in full and short
MONTHS = {
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "de short": "Jan Feb Mrz Apr Mai Jun Jul Aug Sep Okt Nov Dez",
    "de points": "Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.",
    "de Mär": "Jan Feb Mär Apr Mai Jun Jul Aug Sep Okt Nov Dez",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "fr points": "janv. févr. mars avr. mai juin juil. août sept. oct. nov. déc.",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre "
    "diciembre",
    "es short": "ene feb mar abr may jun jul ago sep oct nov dic",
    "it": "gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre "
    "dicembre",
    "en points": "Jan. Feb. March April May June July Aug. Sept. Oct. Nov. Dec.",
}


@pytest.mark.parametrize("names", MONTHS)
@pytest.mark.parametrize("form", ["{d}. {b} {Y}", "{d} de {b} de {Y}", "{b} {d}, {Y}", "{b} {Y}"])
def test_months_in_other_languages(names, form):
    times = times_from("2021-01-01", 4 * YEAR, DAY)
    months = MONTHS[names].split()
    texts = [form.format(d=t.day, b=months[t.month - 1], Y=t.year) for t in times]
    reading = reading_of(texts)
    firsts = times if "{d}" in form else times.dt.to_period("M").dt.start_time
    np.testing.assert_array_equal(reading.values, days_of(firsts))
    assert reading.style.get("language", "en") == names[:2]
    assert cells.texts(reading.values, reading.style) == texts


def test_the_first_of_a_month_in_french():
    texts = [f"{'1er' if d == 1 else d} mars 2021" for d in range(1, 32)] + ["2 mai 2021"]
    reading = reading_of(texts)
    assert cells.texts(reading.values, reading.style) == texts


@pytest.mark.parametrize(
    ("form", "unit"),
    [("{G}-W{V:02d}", "W"), ("{G}W{V:02d}", "W"), ("{G}-W{V:02d}-{u}", "D"), ("{Y}Q{q}", "Q")]
    + [("{Y}-Q{q}", "Q"), ("Q{q} {Y}", "Q"), ("q{q}/{Y}", "Q"), ("{Y}:{q}", "Q")],
)
def test_weeks_and_quarters_are_their_first_days(form, unit):
    times = times_from("2015-01-01", 9 * YEAR, DAY)
    weeks = times.dt.isocalendar()
    parts = {"G": weeks.year, "V": weeks.week, "u": weeks.day, "Y": times.dt.year}
    parts["q"] = times.dt.quarter
    texts = [form.format(**row) for row in pd.DataFrame(parts).to_dict("records")]
    reading = reading_of(texts)
    firsts = times.dt.to_period(unit).dt.start_time
    np.testing.assert_array_equal(reading.values, days_of(firsts))
    size = {"W": 7, "D": 1, "Q": 90}[unit]
    assert cells.texts(reading.values + 0.4 * size, reading.style) == texts
    assert cells.texts(reading.values - 0.4 * size, reading.style) == texts


def test_years_without_a_week_53_have_none():
    style = {"date": "%G-W%V"}
    values = cells.numbers(series(["2020-W53", "2021-W53", "2021-W00", "2021-W54"]), style)
    np.testing.assert_array_equal(np.isnan(values), [False, True, True, True])


def test_a_number_beside_a_year_is_a_month_where_it_shows_that():
    half_years = [f"{year}-{half}" for year in range(1980, 2020) for half in (1, 2)]
    assert reading_of(half_years) is None
    assert reading_of([*half_years, "2020-5"]).style["date"] == "%Y-%m"
    assert reading_of([text.replace("-", "-0") for text in half_years]).style["date"] == "%Y-%m"


@pytest.mark.parametrize(
    "cell", ["1:" * 10, "1h" * 10, "2024-01-05" * 2, "P1" * 10, "PT" + "1" * 20]
)
def test_the_time_to_read_a_cell_is_linear_in_its_length(cell):
    long = cell * 10**5
    reading = reading_of(["2024-01-05"] * 9 + [long, f"{long}x"])
    assert reading.values[0] == 19727
    assert np.isnan(reading.values[9:]).all()
