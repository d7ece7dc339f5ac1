"""detect.py and impute.py on awkward files of series: every row comes back, in order, unchanged."""

import numpy as np
import pandas as pd
import pytest

from parts.tasks import fill_windows

pytestmark = pytest.mark.usefixtures("few_steps")
N, LONG = 240, 400
START = pd.Timestamp("2024-03-04")


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
    on = [("off", "on")[i // 5 % 2] for i in range(len(frame))]
    return pd.DataFrame({"time": frame["time"], "valve": on, "pump": on[::-1]})


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
    common = np.cumsum(rng.normal(size=N))
    cells = {f"s{j}": texts(common * (1 + j / 60) + rng.normal(size=N)) for j in range(60)}
    return pd.DataFrame({"time": frame["time"]} | cells)


def spike(frame):
    return frame.assign(a=np.where(np.arange(len(frame)) == 150, "1e12", frame["a"]))


def sentinels(frame):
    cells = np.where(np.arange(len(frame)) % 25 == 3, "-999", frame["a"])
    return frame.assign(a=cells, minus=np.where(frame["b"] == "", "", "-" + frame["b"]))


def years_apart(frame):
    later = pd.to_datetime(frame["time"]) + pd.Timedelta(days=365 * 6)
    moved = later.dt.strftime("%Y-%m-%d %H:%M:%S")
    return frame.assign(time=np.where(np.arange(len(frame)) < 150, frame["time"], moved))


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
    "without days": (lambda f: without_days(waves(LONG)), ["--time", "time"]),
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


REFUSED = {
    "only states": (only_states, ["--time", "time"], "no column of numbers that change"),
    "header only": (lambda f: f.iloc[:0], ["--time", "time"], ""),
    "identical stamps": (
        lambda f: f.assign(time="2024-03-04 00:00:00"),
        ["--time", "time"],
        "all stamps of the series are equal",
    ),
    "one row": (lambda f: f.iloc[:1], ["--time", "time"], "only one row has a stamp"),
    "no stamp": (lambda f: f.assign(time="soon"), ["--time", "time"], "cannot be read as times"),
    "another column": (lambda f: f, ["--time", "when"], "no column is named 'when'"),
    "another group": (lambda f: f, ["--time", "time", "--group", "x"], "no column is named 'x'"),
    "a fine step": (lambda f: f, ["--time", "time", "--step", "1ms"], "give a longer one"),
    "a wrong step": (lambda f: f, ["--time", "time", "--step", "often"], "'often' is no step"),
    "a wrong window": (lambda f: f, ["--time", "time", "--window", "1"], "expected at least 2"),
    "a long window": (
        lambda f: f,
        ["--time", "time", "--window", "1000"],
        "0 windows of 1000 steps to train on",
    ),
    "2 rows": (lambda f: f.iloc[:2], ["--time", "time"], ""),
}


def cells_of(path, **options):
    return pd.read_csv(path, dtype="str", keep_default_na=False, **options)


def as_text(frame):
    return frame.astype("str").to_numpy(object)


def run(call, verb, *args):
    result = call(verb, *args)
    assert result.code == 0, result.err
    return result.out


@pytest.mark.parametrize("name", READ)
def test_every_row_comes_back(name, call, monkeypatch):
    monkeypatch.setattr(fill_windows, "N_SUMS", 5)
    make, flags = READ[name]
    before = make(waves()).reset_index(drop=True)
    sep = ";" if name == "commas" else ","
    before.to_csv("t.csv", index=False, sep=sep)
    run(call, "detect", "t.csv", *flags)
    after = cells_of("t.scored.csv", sep=sep)
    np.testing.assert_array_equal(as_text(after[before.columns]), as_text(before))
    assert (after["anomaly_score"] != "").mean() > 0.9
    run(call, "impute", "t.csv", *flags, "--interval", "0.9", "--draws", "2")
    known = (before != "").to_numpy()
    if "-999" in flags:
        known &= (before != "-999").to_numpy()
    for path in ("t.imputed.csv", "t.imputed.1.csv", "t.imputed.2.csv"):
        after = cells_of(path, sep=sep)[before.columns]
        np.testing.assert_array_equal(as_text(after)[known], as_text(before)[known])
        filled = before["a"].eq("").to_numpy() if "a" in before else np.zeros(len(before), bool)
        if filled.any() and name not in ("without stamps", "5 rows"):
            values = pd.to_numeric(after.loc[filled, "a"].str.replace(",", "."))
            assert values.between(-20, 60).all()  # as sensor a is


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_series_is_one_line(name, call, tmp_path):
    make, flags, said = REFUSED[name]
    make(waves()).to_csv("t.csv", index=False)
    for verb in ("detect", "impute"):
        result = call(verb, "t.csv", *flags)
        assert result.code == 2, result.out
        assert said in result.err
        assert len(result.err.strip().splitlines()) == 1
        assert [path.name for path in tmp_path.iterdir() if path.name != "runs"] == ["t.csv"]


def test_parquet_with_a_zone_keeps_its_types(call):
    before = waves()
    stamps = pd.date_range("2024-03-30", periods=N, freq="10min", tz="Europe/Paris")
    before = before.assign(time=stamps, a=pd.to_numeric(before["a"]), b=pd.to_numeric(before["b"]))
    before.to_parquet("t.parquet")
    run(call, "detect", "t.parquet", "--time", "time", "--out", "scored.parquet")
    after = pd.read_parquet("scored.parquet")
    pd.testing.assert_frame_equal(after[before.columns], before)
    assert after["anomaly_score"].notna().all()
    out = run(call, "impute", "t.parquet", "--time", "time", "--grid")
    assert "no row is missing" in out
    after = pd.read_parquet("t.imputed.parquet")
    assert after["time"].equals(before["time"])
    assert after["a"].notna().all()
    assert after.loc[before["a"].notna(), "a"].equals(before["a"].dropna())


def test_added_rows_of_parquet_have_its_types(call):
    stamps = pd.date_range("2024-03-30", periods=N, freq="10min", tz="Europe/Paris")
    numbers = {name: pd.to_numeric(waves()[name]) for name in ("a", "b")}
    before = waves().assign(time=stamps, **numbers)
    before.drop(index=range(50, 60)).to_parquet("t.parquet", index=False)
    run(call, "impute", "t.parquet", "--time", "time", "--grid")
    after = pd.read_parquet("t.imputed.parquet")
    assert after["time"].tolist() == stamps.tolist()
    assert after["a"].notna().all()
    run(call, "generate", "--length", "20", "--out", "new.parquet")
    assert pd.read_parquet("new.parquet")["time"].iloc[0] == stamps[0]


def test_one_spike_moves_no_other_cell(call):
    """1e12 among numbers near 20: it is the oddest, and the fills beside it are ordinary."""
    frame = spike(waves(LONG, holes=0.0))
    frame.loc[[148, 153, 300], "a"] = ""
    frame.to_csv("t.csv", index=False)
    run(call, "detect", "t.csv", "--time", "time")
    scored = cells_of("t.scored.csv")
    assert "a=1e12 expected" in scored.loc[150, "anomaly_why"].replace("e+", "e")
    best = pd.to_numeric(scored["anomaly_score"]).nlargest(5).index
    assert abs(best - 150).max() <= 5
    run(call, "impute", "t.csv", "--time", "time", "--interval", "0.9")
    filled = cells_of("t.imputed.csv")
    truth = pd.to_numeric(waves(LONG, holes=0.0)["a"])
    for row in (148, 153, 300):
        assert abs(float(filled.loc[row, "a"]) - truth[row]) < 4
        assert 0 < float(filled.loc[row, "a_high"]) - float(filled.loc[row, "a_low"]) < 10
    assert filled.loc[150, "a"] == "1e12"


def test_a_counter_is_filled_as_one(call):
    frame = counter(waves(LONG, holes=0.0))
    truth = pd.to_numeric(frame["total"])
    gaps = [*range(100, 110), 200, 201, 300]
    frame.loc[gaps, "total"] = ""
    frame.to_csv("t.csv", index=False)
    out = run(call, "impute", "t.csv", "--time", "time", "--interval", "0.9", "--draws", "3")
    assert "a counter: its steps are modelled" in out
    for path in ("t.imputed.csv", "t.imputed.1.csv", "t.imputed.2.csv", "t.imputed.3.csv"):
        filled = pd.to_numeric(cells_of(path)["total"])
        assert filled.diff().dropna().ge(0).all()
        assert (filled - truth).abs().max() < 25
    low, high = (
        pd.to_numeric(cells_of("t.imputed.csv")[f"total_{end}"]) for end in ("low", "high")
    )
    inside = (truth[gaps] >= low[gaps]) & (truth[gaps] <= high[gaps])
    assert inside.mean() > 0.6
    assert (high - low)[104] > 1.2 * (high - low)[100]  # farther from what is known
    asked = ["--future", "10", "--marginals", "data", "--out", "next.csv"]
    assert "goes on from known rows" in run(call, "generate", "--run", "0001", *asked)
    future = pd.to_numeric(cells_of("next.csv")["total"])
    assert future.diff().dropna().ge(0).all()
    assert truth.iloc[-1] <= future.iloc[0] < truth.iloc[-1] + 30
    run(call, "generate", "--run", "0001", "--length", "50", "--out", "long.csv")
    made = pd.to_numeric(cells_of("long.csv")["total"]).diff().dropna()
    assert made.between(0, truth.diff().max() + 0.01).all()
    run(call, "detect", "t.csv", "--time", "time", "--kind", "total=real")  # a way out
    assert "its steps" not in run(
        call, "data", "--data", "t.csv", "--time", "time", "--kind", "total=real"
    )


def test_missing_rows_are_added(call):
    frame = without_days(waves(LONG, holes=0.0))
    frame.to_csv("t.csv", index=False)
    out = run(call, "impute", "t.csv", "--time", "time", "--grid")
    assert "288 rows added for missing stamps" in out
    filled = cells_of("t.imputed.csv")
    assert filled["time"].tolist() == waves(LONG)["time"].tolist()
    known = filled["time"].isin(frame["time"])
    np.testing.assert_array_equal(as_text(filled[known]), as_text(frame))


def test_two_groups_never_share_a_window(call):
    """The last rows of a group are filled as if there was no other one."""
    frame = groups(None, (200, 200))
    frame = frame.assign(a=np.where(frame["machine"] == "m1", "1000.5", frame["a"])).reset_index()
    frame.loc[190:199, "a"] = ""
    frame.drop(columns="index").to_csv("t.csv", index=False)
    run(call, "impute", "t.csv", "--time", "time", "--group", "machine", "--window", "20")
    filled = pd.to_numeric(cells_of("t.imputed.csv")["a"])
    assert filled[190:200].max() < 400


def test_a_hole_beside_a_row_of_the_same_time_is_filled_and_is_no_gap(tmp_path, call):
    rng = np.random.default_rng(0)
    stamps = pd.date_range("2024-01-01", periods=400, freq="10min").repeat(2)
    frame = pd.DataFrame({"time": stamps, "v": rng.normal(size=800).round(3).astype(str)})
    frame.loc[101, "v"] = ""
    frame.to_csv(tmp_path / "t.csv", index=False)
    result = call("impute", tmp_path / "t.csv", "--time", "time", "--runs-dir", tmp_path / "runs")
    assert result.code == 0, result.err
    filled = pd.read_csv(tmp_path / "t.imputed.csv")
    assert len(filled) == 800
    assert filled["v"].notna().all()
