"""detect.py and impute.py on awkward files of series: every row comes back, in order, unchanged."""

import numpy as np
import pandas as pd
import pytest

from parts.training import presets

N = 400
START = pd.Timestamp("2024-03-04")


@pytest.fixture(autouse=True)
def few_steps(tmp_path, monkeypatch):
    """Commands train for a moment, in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "MAX_STEPS", 6)


def waves(n=N, seed=0, holes=0.02, step="10min", start=START):
    """A table of text: stamps and two sensors that follow each other, some cells empty."""
    rng = np.random.default_rng(seed)
    t = np.arange(n)
    a = 20 + 5 * np.sin(2 * np.pi * t / 36) + rng.normal(size=n)
    b = 100 - 3 * a + 2 * rng.normal(size=n)
    stamps = pd.date_range(start, periods=n, freq=step).strftime("%Y-%m-%d %H:%M:%S")
    frame = pd.DataFrame({"time": stamps, "a": texts(a, 2), "b": texts(b, 1)}, dtype="str")
    for name in ("a", "b"):
        frame.loc[rng.random(n) < holes, name] = ""
    return frame


def texts(values, digits=2):
    return [f"{value:.{digits}f}" for value in values]


def shuffled(frame):
    return frame.sample(frac=1, random_state=0)


def duplicated(frame):
    return pd.concat([frame, frame.iloc[50:80]]).sort_values("time", kind="stable")


def jittered(frame):
    away = pd.to_timedelta(np.random.default_rng(1).integers(-100, 101, len(frame)), unit="s")
    stamps = pd.to_datetime(frame["time"]) + away
    return frame.assign(time=stamps.dt.strftime("%Y-%m-%d %H:%M:%S"))


def dropped(frame):
    return frame[np.random.default_rng(1).random(len(frame)) > 0.3]


def without_days(frame):
    keep = np.ones(len(frame), bool)
    keep[100 : 100 + 288] = False
    return frame[keep]


def summer_time(frame):
    stamps = pd.date_range("2024-03-30 00:00", periods=len(frame), freq="10min", tz="Europe/Paris")
    return frame.assign(time=stamps.strftime("%Y-%m-%d %H:%M:%S"))


def winter_time(frame):
    stamps = pd.date_range("2024-10-26 00:00", periods=len(frame), freq="10min", tz="Europe/Paris")
    return frame.assign(time=stamps.strftime("%Y-%m-%d %H:%M:%S"))


def zones(frame):
    """Instants of Paris in both of its zones."""
    stamps = pd.date_range("2024-03-30 00:00", periods=len(frame), freq="10min", tz="Europe/Paris")
    cells = [stamp.isoformat() for stamp in stamps]
    return frame.assign(time=cells)


def epoch(frame, unit=1):
    seconds = pd.to_datetime(frame["time"]).astype("datetime64[ns]").astype("int64") // 10**9
    return frame.drop(columns="time").assign(timestamp=(seconds * unit).astype(str))


def parts(frame):
    stamps = pd.to_datetime(frame["time"])
    own = {name: getattr(stamps.dt, name).astype(str) for name in ("year", "month", "day", "hour")}
    own["minute"] = stamps.dt.minute.astype(str)
    return pd.DataFrame(own).join(frame[["a", "b"]])


def day_and_clock(frame):
    stamps = pd.to_datetime(frame["time"])
    own = {"date": stamps.dt.strftime("%d.%m.%Y"), "clock": stamps.dt.strftime("%H:%M")}
    return pd.DataFrame(own).join(frame[["a", "b"]])


def clock(frame):
    return frame.assign(time=pd.to_datetime(frame["time"]).dt.strftime("%H:%M"))


def groups(frame, sizes=(220, 120, 9)):
    found = [waves(n, seed=i).assign(machine=f"m{i}") for i, n in enumerate(sizes)]
    return pd.concat(found)


def interleaved(frame):
    return groups(frame, (200, 200)).sort_values(["time", "machine"])


def one_row(frame):
    return groups(frame, (220, 1, 150))


def constant(frame):
    return frame.assign(c="7")


def with_state(frame):
    return frame.assign(on=[str(i // 50 % 2) for i in range(len(frame))])


def only_states(frame):
    on = [str(i // 5 % 2) for i in range(len(frame))]
    return pd.DataFrame({"time": frame["time"], "on": on, "off": on[::-1]})


def counter(frame):
    rng = np.random.default_rng(2)
    return frame.assign(total=(1000 + rng.poisson(5, len(frame)).cumsum()).astype(str))


def joins_late(frame):
    cells = np.where(np.arange(len(frame)) < len(frame) // 2, "", frame["b"])
    return frame.assign(b=cells)


def all_holes(frame):
    return frame.assign(gone="")


def without_stamps(frame):
    cells = frame["time"].to_numpy(object).copy()
    cells[[5, 60, 61]] = "", "", "soon"
    return frame.assign(time=cells)


def text(frame):
    words = np.array(["calm", "gusty", "storm"])
    return frame.assign(wind=words[np.random.default_rng(0).integers(3, size=len(frame))])


def commas(frame):
    found = frame.copy()
    for name in ("a", "b"):
        found[name] = found[name].str.replace(".", ",")
    return found


def wide(frame):
    rng = np.random.default_rng(0)
    common = np.cumsum(rng.normal(size=300))
    cells = {f"s{j}": texts(common * (1 + j / 60) + rng.normal(size=300)) for j in range(60)}
    return pd.DataFrame({"time": frame["time"].iloc[:300]} | cells)


def spike(frame):
    return frame.assign(a=np.where(np.arange(len(frame)) == 150, "1e12", frame["a"]))


def sentinels(frame):
    cells = np.where(np.arange(len(frame)) % 25 == 3, "-999", frame["a"])
    return frame.assign(a=cells, minus=texts(-50 - pd.to_numeric(frame["b"])))


def years_apart(frame):
    later = pd.to_datetime(frame["time"]) + pd.Timedelta(days=365 * 6)
    moved = later.dt.strftime("%Y-%m-%d %H:%M:%S")
    return frame.assign(time=np.where(np.arange(len(frame)) < 250, frame["time"], moved))


def far_future(frame):
    cells = np.datetime64("2400-01-01") + np.arange(len(frame))
    return frame.assign(time=cells.astype(str))


def far_past(frame):
    cells = np.datetime64("1650-01-01") + np.arange(len(frame))
    return frame.assign(time=cells.astype(str))


def wild(frame):
    cells = frame["time"].to_numpy(object).copy()
    cells[[7, 90]] = "0001-01-01 00:00:00", "9999-12-31 23:59:59"
    return frame.assign(time=cells)


def dates(frame, freq, n=240):
    stamps = pd.date_range("1960-01-31", periods=n, freq=freq)
    return frame.iloc[:n].assign(time=stamps.strftime("%Y-%m-%d"))


# name -> the file made from `waves`, flags; None: the plain waves
READ = {
    "plain": (lambda f: f, ["--time", "time"]),
    "unsorted": (shuffled, ["--time", "time"]),
    "newest first": (lambda f: f.iloc[::-1], ["--time", "time"]),
    "duplicated": (duplicated, ["--time", "time"]),
    "jittered": (jittered, ["--time", "time"]),
    "dropped": (dropped, ["--time", "time"]),
    "without days": (without_days, ["--time", "time"]),
    "summer time": (summer_time, ["--time", "time"]),
    "winter time": (winter_time, ["--time", "time"]),
    "zones": (zones, ["--time", "time"]),
    "epoch in seconds": (epoch, ["--time", "timestamp"]),
    "epoch in ms": (lambda f: epoch(f, 1000), ["--time", "timestamp"]),
    "parts": (parts, ["--time", "year,month,day,hour,minute"]),
    "day and clock": (day_and_clock, ["--time", "date,clock"]),
    "time of day": (clock, ["--time", "time"]),
    "groups": (groups, ["--time", "time", "--group", "machine"]),
    "interleaved": (interleaved, ["--time", "time", "--group", "machine"]),
    "a group of one row": (one_row, ["--time", "time", "--group", "machine"]),
    "constant": (constant, ["--time", "time"]),
    "a state": (with_state, ["--time", "time"]),
    "counter": (counter, ["--time", "time"]),
    "joins late": (joins_late, ["--time", "time"]),
    "all holes": (all_holes, ["--time", "time"]),
    "without stamps": (without_stamps, ["--time", "time"]),
    "20 rows": (lambda f: f.iloc[:20], ["--time", "time"]),
    "months": (lambda f: dates(f, "ME"), ["--time", "time"]),
    "years": (lambda f: dates(f, "YE", 60), ["--time", "time"]),
    "text": (text, ["--time", "time"]),
    "commas": (commas, ["--time", "time"]),
    "wide": (wide, ["--time", "time"]),
    "spike": (spike, ["--time", "time"]),
    "sentinels": (sentinels, ["--time", "time", "--missing", "-999"]),
    "sentinels, unsaid": (sentinels, ["--time", "time"]),
    "years apart": (years_apart, ["--time", "time"]),
    "far future": (far_future, ["--time", "time"]),
    "far past": (far_past, ["--time", "time"]),
    "wild stamps": (wild, ["--time", "time"]),
    "5 rows": (lambda f: f.iloc[:5], ["--time", "time"]),
}


def cells_of(path, **options):
    return pd.read_csv(path, dtype="str", keep_default_na=False, **options)


@pytest.mark.parametrize("name", READ)
def test_every_row_comes_back(name, call):
    make, flags = READ[name]
    before = make(waves()).reset_index(drop=True)
    sep = ";" if name == "commas" else ","
    before.to_csv("t.csv", index=False, sep=sep)
    result = call("detect", "t.csv", *flags)
    print(result.out, result.err)
    assert result.code == 0, result.err
    after = cells_of("t.scored.csv", sep=sep)
    pd.testing.assert_frame_equal(after[before.columns].astype("str"), before.astype("str"))
    assert (after["anomaly_score"] != "").sum() > 0.9 * len(before) or name == "x"
    result = call("impute", "t.csv", *flags, "--interval", "0.9", "--draws", "2")
    print(result.out, result.err)
    assert result.code == 0, result.err
    for path in ("t.imputed.csv", "t.imputed.1.csv", "t.imputed.2.csv"):
        after = cells_of(path, sep=sep)[before.columns].astype("str")
        assert len(after) == len(before)
        changed = (after != before.astype("str")).to_numpy()
        assert not changed[before.to_numpy() != ""].any()
