"""parts/tasks/fill.py and impute.py: fillings against closed forms, and what must not change."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.experimental import enable_iterative_imputer  # noqa: F401
from sklearn.impute import IterativeImputer, KNNImputer, SimpleImputer

from parts.forms import units
from parts.forms.tables import encoding
from parts.measure import hidden_cells
from parts.runs import Run
from parts.tasks import fill as filling
from parts.tasks.fill import Filler
from parts.training import presets

# a, b and c are jointly Gaussian; the others depend on one another and on none of these.
MIXING = np.array([[2.0, -1.0, 0.7], [0.0, 0.5, 0.6]])
NOISE = np.array([0.6, 0.335, 0.277])
COVARIANCE = MIXING.T @ MIXING + np.diag(NOISE**2)
JOBS, VISITS = np.array(["clerk", "nurse", "pilot"]), np.array([1.0, 6.0, 2.0])


def survey(n, seed):
    rng = np.random.default_rng(seed)
    abc = rng.normal(size=(n, 2)) @ MIXING + rng.normal(size=(n, 3)) * NOISE
    job = rng.choice(3, n, p=[0.55, 0.25, 0.2])
    frame = pd.DataFrame({"id": [f"#{i * 7919 % 10007:05d}" for i in range(n)]}, dtype="str")
    for name, values in zip("abc", abc.T, strict=True):
        frame[name] = [f"{value:.3f}" for value in values]
    frame["job"] = JOBS[job]
    frame["visits"] = rng.poisson(VISITS[job]).astype(str)
    frame["pay"] = [f"${v:,.0f}" for v in np.exp(8 + 1.2 * job + 0.3 * rng.normal(size=n))]
    frame["grade"] = np.clip(np.round(2 + job + 0.6 * rng.normal(size=n)), 1, 5).astype(int)
    joined = pd.Timestamp("2020-03-01") + pd.to_timedelta(rng.integers(0, 900, n), "D")
    frame["joined"] = joined.strftime("%d.%m.%Y")
    return frame.astype("str")


def with_holes(frame, share, seed):
    holes = np.random.default_rng(seed).random(frame.shape) < share
    holes[:, 0] = False
    return frame.mask(holes, ""), holes


@pytest.fixture(scope="module")
def trained(tmp_path_factory, train):
    """A folder that holds runs/r, trained on t.csv."""
    folder = tmp_path_factory.mktemp("impute")
    with_holes(survey(800, 0), 0.05, 1)[0].to_csv(folder / "t.csv", index=False)
    flags = ("--data", folder / "t.csv", "--test-fraction", 0, "--val-fraction", 0.2)
    quickly = ("--epochs", 120, "--lr", 0.01, "--hidden-dims", 48, "--threads", 1)
    train(folder / "runs", "r", *flags, *quickly)
    return folder


@pytest.fixture(scope="module")
def imputer(trained):
    return Filler(Run(trained / "runs" / "r").load()[0])


@pytest.fixture
def filled(call, folder):
    """filled(frame, *flags): the output as a frame of text; `filled.out` is what was said."""

    def run(frame, *flags):
        frame.to_csv("new.csv", index=False)
        result = call("impute", "new.csv", "--run", "r", "--overwrite", "--threads", 1, *flags)
        assert (result.code, result.err) == (0, "")
        run.out = result.out
        return read("new.imputed.csv")

    return run


def read(path):
    return pd.read_csv(path, dtype=str, na_filter=False)


def conditional(values, given=(1, 2), wanted=0):
    """Mean and standard deviation of one column of the Gaussian given others, closed form."""
    given = list(given)
    weights = np.linalg.solve(COVARIANCE[np.ix_(given, given)], COVARIANCE[given, wanted])
    return values @ weights, np.sqrt(
        COVARIANCE[wanted, wanted] - COVARIANCE[given, wanted] @ weights
    )


# What changes


def test_only_holes_change(filled):
    frame, holes = with_holes(survey(60, 2), 0.2, 3)
    found = filled(frame)
    assert list(found) == list(frame)
    assert (found.to_numpy()[~holes] == frame.to_numpy()[~holes]).all()
    assert (found.to_numpy()[holes] != "").all()
    assert f"Filled {holes.sum()} cells in {holes.any(1).sum()} of 60 rows" in filled.out


def test_the_bytes_around_the_holes_stay(call, folder):
    """The delimiter, line ends, byte order mark, quotes, blanks and odd numbers all stay."""
    lines = [
        "joined;a ;b;c;job;visits;pay;grade;id;note",
        '01.02.2020; 1.50;-0.5000;;clerk;09;"$1,000";1;x1;"a;b ""c"""',
        ";NA;1e0;.5;nurse;;$ 12,000;5;x2;ü",
        "31.12.2021;0.25;?;-1;;3;-;3.0;x3;",
    ]
    Path("odd.csv").write_text("\ufeff" + "\r\n".join(lines) + "\r\n", "utf-8", newline="")
    result = call("impute", "odd.csv", "--run", "r")
    assert (result.code, result.err) == (0, "")
    written = Path("odd.imputed.csv").read_bytes().decode("utf-8")
    assert written.startswith("\ufeff" + lines[0] + "\r\n")
    cells = [line.split(";") for line in written.removeprefix("\ufeff").split("\r\n")]
    before = [line.split(";") for line in lines]
    assert cells.pop() == [""]
    changed = {
        (i, j) for i in range(4) for j in range(len(before[i])) if cells[i][j] != before[i][j]
    }
    assert changed == {(1, 3), (2, 0), (2, 1), (2, 5), (3, 2), (3, 4), (3, 6)}
    assert cells[3][4] in JOBS
    assert cells[3][6].startswith("$")
    pd.to_datetime(cells[2][0], format="%d.%m.%Y")


def test_blanks_in_the_header_stay(call, folder):
    Path("new.csv").write_text("id, a, b\nx,1.5,\ny,,0.5\n")
    assert call("impute", "new.csv", "--run", "r").code == 0
    assert Path("new.imputed.csv").read_text().splitlines()[0] == "id, a, b"


def test_a_table_without_holes_comes_back_as_it_was(filled):
    frame = survey(20, 2)
    frame.to_csv("before.csv", index=False)
    filled(frame, "--draws", 2, "--interval", 0.9)
    assert "Filled 0 cells in 0 of 20 rows" in filled.out
    for name in ("new.imputed.csv", "new.imputed.1.csv", "new.imputed.2.csv"):
        assert Path(name).read_bytes() == Path("before.csv").read_bytes()


def test_holes_in_columns_that_are_not_modelled_stay(filled):
    frame = survey(30, 2).assign(note="")
    frame.loc[:4, "id"] = ""
    frame.loc[3, "a"] = ""
    found = filled(frame)
    assert (found["id"] == frame["id"]).all()
    assert (found["note"] == "").all()
    assert "Filled 1 cell in 1 of 30 rows; 5 in columns that are not modelled" in filled.out


def test_cells_that_the_run_cannot_read_stay_and_are_not_filled(filled):
    frame = survey(20, 2)
    frame.loc[0, ["job", "a"]] = "wizard", ""
    frame.loc[1, "b"] = "about 2"
    frame.loc[2, "visits"] = "-4"
    found = filled(frame)
    assert found["job"][0] == "wizard"
    assert found["b"][1] == "about 2"
    assert found["visits"][2] == "-4"
    assert "Filled 1 cell in 1 of 20 rows" in filled.out
    assert "'wizard' in row 1, which is no level of the training rows" in filled.out
    # To the model they are missing: what is filled beside them is the same.
    assert found["a"][0] == filled(frame.assign(job=frame["job"].replace("wizard", "")))["a"][0]


@pytest.mark.parametrize("cell", ["300", "1e4", "1e15"])
def test_a_cell_far_outside_leaves_the_others_believable(filled, cell):
    frame = survey(3, 2)
    frame.loc[0, ["a", "b", "pay"]] = cell, "", ""
    found = filled(frame)
    assert abs(float(found["b"][0])) < 20
    assert 100 < float(found["pay"][0].strip("$").replace(",", "")) < 1e7


def test_a_date_that_means_never_is_read(filled):
    frame = survey(20, 2)
    frame.loc[0, "joined"] = "31.12.9999"
    frame.loc[1, "joined"] = ""
    found = filled(frame)
    assert found["joined"][0] == "31.12.9999"
    assert found["joined"][1].endswith(("2020", "2021", "2022"))


def test_rows_of_holes_get_what_is_usual(filled):
    frame = survey(4, 2)
    frame.loc[:1, list(frame)[1:]] = ""
    found = filled(frame)
    assert (found.iloc[0, 1:] == found.iloc[1, 1:]).all()
    assert abs(float(found["a"][0])) < 0.4
    assert found["job"][0] == "clerk"
    assert found["grade"][0] in ("2", "3")
    assert found["joined"][0].endswith(("2020", "2021"))


# What is filled


def test_means_are_those_of_the_closed_form(filled):
    frame = survey(300, 4)
    truth = frame[["a", "b", "c"]].astype(float).to_numpy()
    a = filled(frame.assign(a=""))["a"].astype(float).to_numpy()
    expected, sd = conditional(truth[:, 1:])
    assert np.sqrt(np.mean((a - expected) ** 2)) < 0.6 * sd
    assert np.sqrt(np.mean((a - truth[:, 0]) ** 2)) < 1.25 * sd
    assert truth[:, 0].std() > 2 * sd  # what the marginal mean would err by
    # One observed cell is another condition, and none gives the mean of all.
    b = filled(frame.assign(a="", c="", b=frame["b"]))["a"].astype(float).to_numpy()
    expected, sd = conditional(truth[:, 1:2], given=[1])
    assert np.sqrt(np.mean((b - expected) ** 2)) < 0.5 * sd
    assert np.corrcoef(b, a)[0, 1] < 0.99


def test_means_are_in_the_users_units(imputer):
    """The mean of a log-normal column lies above its median by a factor exp(s^2 / 2)."""
    frame = survey(40, 5).assign(pay="", visits="")
    columns = [c.name for c in imputer.columns]
    j = columns.index("pay")
    x, mask, _, _ = encoding.encode(frame, imputer.columns)
    (_, mean, draws), *rest = imputer.chunks(x, mask, 20_000)
    assert not rest
    np.testing.assert_allclose(mean[:, j], draws[..., j].mean(0), rtol=0.05)
    assert (mean[:, j] > 1.02 * np.median(draws[..., j], 0)).mean() > 0.9
    for name in ("a", "visits"):
        at = columns.index(name)
        observed = mask[:, at] > 0
        expected = np.where(observed, mean[:, at], draws[..., at].mean(0))
        sd = draws[..., at].std(0).max()
        np.testing.assert_allclose(mean[:, at], expected, atol=0.05 * sd + 0.05)


def test_categories_get_the_most_probable_level_and_ordered_ones_the_median(imputer):
    frame = survey(60, 6).assign(job="", grade="")
    x, mask, _, _ = encoding.encode(frame, imputer.columns)
    names = [c.name for c in imputer.columns]
    (_, point, draws), *_ = imputer.chunks(x, mask, 4000)
    job, grade = names.index("job"), names.index("grade")
    shares = (draws[..., job, None] == np.arange(3)).mean(0)
    sure = np.abs(shares.max(1) - np.sort(shares, 1)[:, -2]) > 0.05
    assert sure.sum() > 40
    assert (point[sure, job] == shares.argmax(1)[sure]).all()
    below = (draws[..., grade] < point[:, grade]).mean(0)
    above = (draws[..., grade] > point[:, grade]).mean(0)
    assert below.max() < 0.53
    assert above.max() < 0.53


def test_categories_are_found_from_what_depends_on_them(filled):
    frame = survey(300, 7)
    found = filled(frame.assign(job=""))["job"]
    assert set(found) <= set(JOBS)
    assert (found == frame["job"]).mean() > 0.8  # 0.55 would be the most frequent


def test_cells_are_written_as_their_column_writes_them(filled):
    frame, holes = with_holes(survey(200, 8), 0.2, 9)
    found = filled(frame, "--draws", 1)
    for table in (found, read("new.imputed.1.csv")):
        for name, form in {
            "a": r"-?\d+\.\d{3}",
            "visits": r"\d+",
            "pay": r"\$\d{1,3}(,\d{3})*",
            "grade": r"[1-5]",
            "joined": r"\d\d\.\d\d\.20\d\d",
            "job": "clerk|nurse|pilot",
        }.items():
            new = table[name][holes[:, list(frame).index(name)]]
            assert len(new) > 20
            assert new.str.fullmatch(form).all(), name


@pytest.mark.parametrize("statistic", ["median", "mode"])
def test_other_statistics_of_a_skewed_column(filled, statistic):
    frame = survey(200, 10).assign(pay="")
    found, means = (filled(frame, "--statistic", s) for s in (statistic, "mean"))
    pay, mean = (f["pay"].str.strip("$").str.replace(",", "").astype(float) for f in (found, means))
    # Of a log-normal exp(-s^2 / 2) and exp(-3 s^2 / 2), s at least 0.3 and a little more in a fit.
    low, high = {"median": (0.82, 0.97), "mode": (0.55, 0.92)}[statistic]
    assert low < np.median(pay / mean) < high
    assert (pay < mean).mean() > 0.75
    assert (found["a"] == frame["a"]).all()
    hidden = frame.assign(job="")
    assert (filled(hidden, "--statistic", statistic)["job"] == filled(hidden)["job"]).all()


def test_the_half_sample_mode_of_known_samples():
    mode = hidden_cells.half_sample_mode
    assert mode(np.array([7.0, 1.0, 20.0, 7.2, 7.1])) == pytest.approx(7.1, abs=0.06)
    assert mode(np.array([3.0])) == 3.0
    assert mode(np.array([3.0, 5.0])) == 4.0
    assert mode(np.array([0.0, 10.0, 10.4])) == pytest.approx(10.2)
    assert mode(np.array([0.0, 0.39, 0.8, 5.0, 5.01, 6.0])) == pytest.approx(0.195)  # of 0 to 0.8
    rng = np.random.default_rng(0)
    skewed = rng.lognormal(0, 0.8, size=(20_000, 3))
    np.testing.assert_allclose(mode(skewed), np.exp(-(0.8**2)), atol=0.15)  # median 1, mean 1.38
    two = np.concatenate([rng.normal(-3, 1, 1000), rng.normal(4, 0.2, 1000)])
    np.testing.assert_allclose(mode(two[:, None]), [4], atol=0.2)
    columns = np.stack([two, two + 1, rng.permutation(two)], -1)
    np.testing.assert_allclose(mode(columns), mode(two) + np.array([0.0, 1.0, 0.0]), atol=1e-9)


def test_the_same_seed_gives_the_same_table(filled):
    frame, _ = with_holes(survey(40, 2), 0.2, 3)
    tables_ = []
    for seed in (0, 0, 1):
        filled(frame, "--draws", 1, "--seed", seed)
        tables_.append([Path(f"new.imputed{part}.csv").read_text() for part in ("", ".1")])
    assert tables_[0] == tables_[1]
    assert tables_[0][1] != tables_[2][1]


def test_a_row_is_filled_the_same_whatever_stands_beside_it(filled, monkeypatch):
    frame = survey(60, 2).assign(a="")
    first = filled(frame)["a"].astype(float)
    part = filled(frame.iloc[40:])["a"].astype(float)
    np.testing.assert_allclose(part, first[40:], atol=0.0011)
    monkeypatch.setattr(filling, "CHUNK_CELLS", 100)
    np.testing.assert_allclose(filled(frame)["a"].astype(float), first, atol=0.0011)


# Draws and intervals


def test_draws_are_plausible_tables(filled):
    frame, holes = with_holes(survey(100, 11), 0.15, 12)
    found = filled(frame, "--draws", 30)
    names = [f"new.imputed.{i:02d}.csv" for i in range(1, 31)]
    assert sorted(p.name for p in Path().glob("new.imputed.*.csv")) == names
    drawn = [read(name) for name in names]
    for table in drawn:
        assert list(table) == list(frame)
        assert (table.to_numpy()[~holes] == frame.to_numpy()[~holes]).all()
        assert (table.to_numpy()[holes] != "").all()
    at = holes[:, 1]
    a = np.stack([table["a"][at].astype(float) for table in drawn])
    assert (a.std(0) > 0.05).all()
    error = (a.mean(0) - found["a"][at].astype(float)) / (a.std(0) / np.sqrt(30))
    assert np.abs(error).mean() < 2  # 0.8 where draws and mean are of one distribution


def test_draws_of_a_row_are_drawn_together(imputer):
    """a and b are missing in each row: their draws correlate as the closed form says."""
    frame = survey(1, 13).assign(a="", b="", c="0.0")
    x, mask, _, _ = encoding.encode(frame, imputer.columns)
    (_, _, draws), *_ = imputer.chunks(x, mask, 4000)
    assert draws.shape == (4000, 1, len(imputer.columns))
    weights = COVARIANCE[2, :2] / COVARIANCE[2, 2]
    cov = COVARIANCE[:2, :2] - np.outer(weights, COVARIANCE[2, :2])
    expected = cov[0, 1] / np.sqrt(cov[0, 0] * cov[1, 1])
    assert expected < -0.8
    assert expected - 0.05 < np.corrcoef(draws[:, 0, 0], draws[:, 0, 1])[0, 1] < -0.4
    assert draws[:, 0, 0].std() == pytest.approx(np.sqrt(cov[0, 0]), rel=0.3)


def test_intervals_hold_what_they_say(filled):
    frame = survey(400, 14)
    truth = frame["a"].astype(float).to_numpy()
    width = []
    for share in (0.5, 0.9):
        found = filled(frame.assign(a=""), "--interval", share)
        low, middle, high = (found[n].astype(float) for n in ("a_low", "a", "a_high"))
        assert ((low <= middle) & (middle <= high)).all()
        assert share - 0.07 <= ((low <= truth) & (truth <= high)).mean() <= share + 0.3
        width.append((high - low).mean())
    # Of a Gaussian, 2 * 1.645 and 2 * 0.674 standard deviations.
    assert width[1] / width[0] == pytest.approx(1.645 / 0.674, rel=0.12)


def test_intervals_stand_beside_the_columns_of_numbers_that_had_holes(filled):
    frame, holes = with_holes(survey(80, 15).assign(note="-"), 0.1, 16)
    frame["b"] = survey(80, 15)["b"]
    found = filled(frame, "--interval", 0.8)
    added = list(found)[len(frame.columns) :]
    ends = {"job": ["probability"], "grade": ["probability"]}
    names = ("a", "c", "job", "visits", "pay", "grade", "joined")
    bounds = ["low", "high"]
    assert added == [f"{name}_{end}" for name in names for end in ends.get(name, bounds)]
    at = holes[:, 1]
    assert (found["a_low"][at] != "").all()
    assert (found["a_low"][~at] == "").all()
    assert found["pay_high"][holes[:, 6]].str.fullmatch(r"\$[\d,]+").all()
    low, high = (
        pd.to_datetime(found[f"joined_{end}"], format="%d.%m.%Y", errors="coerce")
        for end in ("low", "high")
    )
    assert (low.notna() == (found["joined_low"] != "")).all()
    assert (low < high)[low.notna()].all()


def test_the_probability_of_a_filled_category_is_that_of_bayes(filled):
    """Pay is log-normal given the job, with means a multiple of its deviation apart."""
    log_pay = np.linspace(7.6, 10.6, 60)
    frame = survey(60, 17).assign(job="", visits="", grade="")
    frame["pay"] = [f"${v:,.0f}" for v in np.exp(log_pay)]
    found = filled(frame, "--interval", 0.9)
    log_odds = -((log_pay[:, None] - 8 - 1.2 * np.arange(3)) ** 2) / (2 * 0.3**2)
    share = np.exp(log_odds) * [0.55, 0.25, 0.2]
    share /= share.sum(1, keepdims=True)
    given = found["job_probability"].astype(float).to_numpy()
    of_filled = share[np.arange(60), [list(JOBS).index(job) for job in found["job"]]]
    assert np.abs(given - of_filled).mean() < 0.2
    assert np.corrcoef(given, of_filled)[0, 1] > 0.4
    assert given.min() < 0.8 < 0.97 < given.max()
    known = filled(survey(20, 18).assign(visits=""), "--interval", 0.9)
    assert "job_probability" not in known


@pytest.mark.parametrize("name", ["a_low", "job_probability"])
def test_a_column_that_an_interval_would_replace_is_refused(call, folder, name):
    survey(5, 2).assign(**{name: "1"}).to_csv("new.csv", index=False)
    result = call("impute", "new.csv", "--run", "r", "--interval", 0.9)
    assert result.code == 2
    assert f"has a column named {name!r} already; rename it" in result.err
    assert call("impute", "new.csv", "--run", "r").code == 0


# Its check


@pytest.fixture(scope="module")
def checked(trained, tmp_path_factory, call):
    """What --check on the file that the run was trained on printed and kept."""
    folder = tmp_path_factory.mktemp("checked")
    shutil.copytree(trained, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = call("impute", "t.csv", "--run", "r", "--check", "--threads", 1)
    assert (result.code, result.err) == (0, "")
    run = Run(folder / "runs" / "r")
    with np.load(run.imputed) as arrays:
        return result.out, json.loads((run.path / "imputation.json").read_text()), dict(arrays)


def test_every_observed_cell_is_hidden_once():
    rng = np.random.default_rng(0)
    mask = (rng.random((50, 12)) < 0.8).astype(np.float32)
    mask[0], mask[1] = 0, 0
    mask[1, 4] = 1
    hidden = hidden_cells.hidden_cells(mask, rng)
    assert hidden.shape == (10, 50, 12)
    times = hidden.sum(0)
    assert times[mask == 0].max() == 0
    assert times[1, 4] == 0  # a row keeps at least one cell
    assert (times[2:][mask[2:] > 0] == 1).mean() > 0.99
    assert times.max() == 1
    assert (hidden.sum(-1)[:, 2:] < mask[2:].sum(-1)).all()


def test_the_check_is_on_held_out_rows_of_the_training_file(checked, trained):
    _, result, arrays = checked
    run = Run(trained / "runs" / "r")
    _, (held, held_mask, *_) = run.read_rows()
    assert result["n_rows"] == len(held) == 160
    assert 0.98 * held_mask.sum() <= result["n_hidden"] <= held_mask.sum()
    assert arrays["hidden"].sum() == result["n_hidden"]
    assert sum(entry["n"] for entry in result["columns"].values()) == result["n_hidden"]
    known = run.config().codec.decode(held)
    at = list(arrays["columns"]).index("a")
    hidden = arrays["hidden"][:, at]
    expected = np.sort(known[held_mask[:, at], at])
    truth = np.sort(arrays["truth"][hidden, at])
    assert len(truth) >= len(expected) - 1
    assert np.isin(truth.round(6), expected.round(6)).all()


def test_the_check_says_how_many_rows_the_baselines_learned_from(checked, filled):
    """They learn from all training rows, or from the sample of them that the run keeps."""
    out, result, _ = checked
    assert (result["n_train"], result["n_baseline"]) == (640, 640)
    assert "the others are fitted" not in out
    with np.load("runs/r/rows.npz") as arrays:
        rows = dict(arrays)
    np.savez("runs/r/rows.npz", **rows | {k: rows[k][:300] for k in ("x", "mask")})
    filled(survey(50, 20), "--check")
    result = json.loads(Path("runs/r/imputation.json").read_text())
    assert (result["n_train"], result["n_baseline"]) == (640, 300)
    assert "the others are fitted to 300 of the run's 640 training rows" in filled.out
    many = hidden_cells.report(result | {"n_train": 26_049, "n_baseline": 5000})
    assert "the others are fitted to 5,000 of the run's 26,049 training rows" in many


def test_the_check_of_another_file_is_on_all_its_rows(filled):
    frame, _ = with_holes(survey(50, 20), 0.1, 21)
    filled(frame, "--check", "--interval", 0.5)
    result = json.loads(Path("runs/r/imputation.json").read_text())
    assert result["n_rows"] == 50
    assert result["interval"] == 0.5
    assert 0.35 <= result["coverage"] <= 0.85
    assert "Hidden cells: " in filled.out
    assert "inside their 50% interval" in filled.out


def test_training_rows_in_another_file_are_not_said_to_be_new(filled):
    frame = pd.read_csv("t.csv", dtype=str, na_filter=False)
    filled(frame.iloc[::-1], "--check")
    result = json.loads(Path("runs/r/imputation.json").read_text())
    assert result["n_rows"] <= 160 or "not trained on" not in filled.out.replace("\n", " ")


def test_errors_are_those_of_the_kept_cells(checked):
    out, result, arrays = checked
    names, kinds = list(arrays["columns"]), list(arrays["kinds"])
    assert names == ["a", "b", "c", "job", "visits", "pay", "grade", "joined"]
    for j, (name, kind) in enumerate(zip(names, kinds, strict=True)):
        at = arrays["hidden"][:, j]
        truth, guess = arrays["truth"][at, j], arrays["imputed"][at, j]
        found = result["columns"][name]["error"]["VAE"]
        if kind == "categorical":
            assert found == pytest.approx((truth != guess).mean())
        elif kind == "ordinal":
            assert found == pytest.approx(np.abs(truth - guess).mean() / 4)
        else:
            rmse = np.sqrt(np.mean((truth - guess) ** 2))
            assert found == pytest.approx(rmse / truth.std(), rel=0.15), name
            inside = (arrays["low"][at, j] <= truth) & (truth <= arrays["high"][at, j])
            assert result["columns"][name]["coverage"] == pytest.approx(inside.mean())
        assert f"{found:.3f}" in next(v for v in out.splitlines() if v.startswith(f"  {name} "))
    for imputer in ("VAE", "mean / mode"):
        errors = [entry["error"][imputer] for entry in result["columns"].values()]
        assert result["error"][imputer] == pytest.approx(np.mean(errors))
    assert 0.85 <= result["coverage"] <= 1


def test_all_imputers_see_what_depends_on_a_cell(checked):
    """Others predict a to a third of its standard deviation; its mean and mode predict nothing."""
    _, result, _ = checked
    entry = result["columns"]["a"]["error"]
    assert entry["mean / mode"] == pytest.approx(1, abs=0.15)
    assert entry["VAE"] < 0.75
    assert entry["iterative regression"] < 0.65
    assert entry["k-NN"] < 0.8
    entry = result["columns"]["job"]["error"]
    assert entry["mean / mode"] == pytest.approx(0.45, abs=0.12)
    assert entry["VAE"] < 0.3
    assert entry["iterative regression"] < 0.3


class Oracle:
    """An imputer that knows the hidden cells, or is off by `off`."""

    statistic, n_draws = "mean", 200

    def __init__(self, columns, truth, off=0.0):
        self.columns, self.truth, self.off = columns, truth, off

    def chunks(self, x, mask, n_draws):
        truth = units.to_user(self.truth, self.columns)
        at = [int(np.flatnonzero((self.truth == row).all(1))[0]) for row in x]
        value = truth[at] + self.off * (mask == 0)
        yield slice(0, len(x)), value, np.repeat(value[None], n_draws, 0)


def numeric(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2)) @ rng.normal(size=(2, 4)) + 0.3 * rng.normal(size=(n, 4))
    return x.astype(np.float32), np.ones((n, 4), np.float32)


def test_the_truth_has_no_error_and_a_standard_deviation_has_one():
    columns = [units.Column(f"c{j}", shift=3.0 * j, scale=2.0**j) for j in range(4)]
    (x, mask), train = numeric(40, 1), numeric(200, 2)
    result, cells = hidden_cells.check(Oracle(columns, x), x, mask, train)
    assert result["error"]["VAE"] == 0
    assert result["coverage"] == 1
    assert result["n_hidden"] == 160
    np.testing.assert_array_equal(cells["truth"], cells["imputed"])
    spread = units.to_user(train[0], columns).std(0)
    off = Oracle(columns, x, off=spread)
    result, _ = hidden_cells.check(off, x, mask, train)
    for j in range(4):
        error = result["columns"][f"c{j}"]["error"]["VAE"]
        assert error == pytest.approx(1, abs=1e-5)
        assert result["columns"][f"c{j}"]["coverage"] == 0


def test_baselines_are_those_of_scikit_learn_on_numbers():
    """Columns are standardised by the training rows, as a user of scikit-learn would do it."""
    columns = [units.Column(f"c{j}", shift=3.0 * j, scale=10.0**j) for j in range(4)]
    train, (x, mask) = numeric(150, 3), numeric(30, 4)
    train[1][:20, 1] = 0
    mask[np.random.default_rng(5).random(mask.shape) < 0.3] = 0
    found = hidden_cells.baseline_fills(columns, train, x, mask)
    known, test = (
        np.where(m > 0, units.to_user(v, columns), np.nan) for v, m in (train, (x, mask))
    )
    mean, std = np.nanmean(known, 0), np.nanstd(known, 0)
    by_hand = {
        "mean / mode": SimpleImputer(),
        "k-NN": KNNImputer(n_neighbors=5),
        "iterative regression": IterativeImputer(random_state=0),
    }
    for name, imputer in by_hand.items():
        expected = imputer.fit((known - mean) / std).transform((test - mean) / std) * std + mean
        np.testing.assert_allclose(found[name], expected, rtol=1e-5, atol=1e-4, err_msg=name)


def test_baselines_give_codes_of_categories_and_ranks():
    columns = [
        units.Column("n"),
        units.Column("k", kind="categorical", levels=["p", "q", "r"]),
        units.Column("o", kind="ordinal", levels=["1", "2", "3", "4"]),
        units.Column("b", kind="binary", levels=["no", "yes"]),
    ]
    rng = np.random.default_rng(6)
    code = rng.choice(3, 200, p=[0.2, 0.3, 0.5])
    x = np.column_stack([code * 3 + 0.2 * rng.normal(size=200), code, code + 1, code == 2])
    train = x.astype(np.float32), np.ones((200, 4), np.float32)
    test, mask = train[0][:30], np.ones((30, 4), np.float32)
    mask[:10, 1], mask[10:20, 2], mask[20:, 3] = 0, 0, 0
    found = hidden_cells.baseline_fills(columns, train, test, mask)
    for name, values in found.items():
        np.testing.assert_allclose(values[mask > 0], test[mask > 0], atol=1e-4, err_msg=name)
        assert np.isin(values[:, 1], [0, 1, 2]).all()
        assert np.isin(values[:, 3], [0, 1]).all()
        if name != "mean / mode":
            np.testing.assert_array_equal(values[:, 1:], test[:, 1:], err_msg=name)
    assert (found["mean / mode"][:10, 1] == 2).all()  # the mode, half of all
    assert (found["mean / mode"][10:20, 2] == 2).all()  # the mean of ranks 1, 2, 3 at their shares


def test_the_error_of_a_cell_by_hand():
    truth, guess = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.4, 1.0, 0.0, 3.0])
    real = units.Column("a")
    ordinal = units.Column("o", kind="ordinal", levels=list("1234"))
    categorical = units.Column("k", kind="categorical", levels=list("pqrs"))

    def error(column, *cells):
        return column.error(column.cell_errors(*cells))

    assert error(real, truth, guess, 2.0) == pytest.approx(np.sqrt((0.16 + 4) / 4) / 2)
    assert error(ordinal, truth, guess, 1.0) == pytest.approx(2 / 4 / 3)
    assert error(categorical, truth, guess, 1.0) == 0.25


def test_a_check_without_held_out_rows_is_refused(call, train, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    survey(40, 0).to_csv("t.csv", index=False)
    train("runs", "n", "--data", "t.csv", "--epochs", 1, "--val-fraction", 0)
    result = call("impute", "t.csv", "--run", "n", "--check")
    assert result.code == 2
    assert "run n was trained on all of these rows" in result.err


# What is written


def test_an_existing_output_stops_it_before_any_work(call, folder):
    for name in ("t.imputed.csv", "t.imputed.2.csv"):
        Path(name).write_text("mine")
        result = call("impute", "t.csv", "--draws", 3)
        assert result.code == 2
        assert f"{name} exists; add --overwrite" in result.err
        assert Path(name).read_text() == "mine"
        Path(name).unlink()
    assert not list(Path().glob("t.imputed*"))
    assert [p.name for p in Path("runs").iterdir()] == ["r"]
    assert "is the file that is read" in call("impute", "t.csv", "--out", "t.csv").err


def test_parquet_keeps_its_types(call, folder):
    frame, holes = with_holes(survey(40, 2), 0.2, 3)
    typed = pd.DataFrame(
        {
            "id": frame["id"],
            "a": pd.to_numeric(frame["a"]).astype("float32"),
            "b": pd.to_numeric(frame["b"]),
            "visits": pd.to_numeric(frame["visits"]).astype("Int16"),
            "job": frame["job"].where(frame["job"] != "").astype("category"),
            "grade": pd.to_numeric(frame["grade"]).astype("Int64"),
        }
    )
    typed.to_parquet("p.parquet", index=False)
    result = call("impute", "p.parquet", "--run", "r", "--draws", 1)
    assert (result.code, result.err) == (0, "")
    before = pd.read_parquet("p.parquet")
    for name in ("p.imputed.parquet", "p.imputed.1.parquet"):
        found = pd.read_parquet(name)
        assert list(found) == list(typed)
        assert not found.isna().any().any()
        for column in typed:
            if column != "job":
                assert found[column].dtype == before[column].dtype, column
            seen = before[column].notna()
            assert (found[column][seen].astype(object) == before[column][seen].astype(object)).all()
    csv = call("impute", "p.parquet", "--run", "r", "--out", "as.csv")
    assert csv.code == 0
    assert read("as.csv").shape == typed.shape


def test_arrays_keep_their_holes_filled(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "MIN_STEPS", 100)
    x = survey(200, 0)[["a", "b", "c"]].astype(float).to_numpy()
    holed = np.where(np.random.default_rng(1).random(x.shape) < 0.1, np.nan, x)
    np.savez("x.npz", X=holed, y=np.arange(200) % 2, note=np.array([3]))
    result = call("impute", "x.npz")
    assert (result.code, result.err) == (0, "")
    with np.load("x.imputed.npz") as found:
        assert sorted(found) == ["X", "note", "y"]
        seen = ~np.isnan(holed)
        np.testing.assert_array_equal(found["X"][seen], x[seen])
        empty = np.isnan(holed).all(1)  # of such a row nothing is known
        np.testing.assert_array_equal(np.isnan(found["X"]), np.isnan(holed) & empty[:, None])
        filled = ~seen & ~empty[:, None]
        assert np.corrcoef(found["X"][filled], x[filled])[0, 1] > 0.4


@pytest.mark.parametrize(("flags", "held_out"), [((), 0), (("--check",), 6)])
def test_a_run_that_is_fitted_here_learns_from_every_row_it_may(
    call, tmp_path, monkeypatch, flags, held_out
):
    """It learns from all rows but those that a check needs, by a preset of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(presets, "MIN_STEPS", 10)
    with_holes(survey(60, 0), 0.1, 1)[0].to_csv("t.csv", index=False)
    result = call("impute", "t.csv", *flags)
    assert (result.code, result.err) == (0, "")
    run = Run(Path("runs/0001"))
    asked = run.config().asked
    assert (asked.training.preset, asked.model.members) == ("impute", 3)
    assert [len(part.x) for part in run.read_rows()] == [60 - held_out, held_out]


def test_randomness_outside_is_left_alone(imputer):
    x, mask, _, _ = encoding.encode(survey(5, 2).assign(a=""), imputer.columns)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    list(imputer.chunks(x, mask, 10))
    assert torch.rand(1) == expected


def test_differences_of_errors_are_those_of_pairs():
    """By hand for categories; for numbers the standard error is that of resampled cells."""
    job = units.Column("job", kind="categorical", levels=["a", "b"])
    wrong = {"VAE": np.array([1.0, 1, 1, 0]), "k-NN": np.array([0.0, 1, 0, 0])}
    found = hidden_cells.errors_of(job, wrong)
    assert found["error"] == {"VAE": 0.75, "k-NN": 0.25}
    assert found["difference"]["k-NN"] == pytest.approx([0.5, np.sqrt(1 / 3) / 2])
    rng = np.random.default_rng(0)
    shared, own = rng.normal(size=400), 0.3 * rng.normal(size=(2, 400))
    squares = np.square(shared + own * [[2], [1]])  # most of an error is common to both
    column = units.Column("a")
    found = hidden_cells.errors_of(column, dict(zip(("VAE", "k-NN"), squares, strict=True)))
    apart, se = found["difference"]["k-NN"]
    roots = np.sqrt(squares.mean(1))
    assert apart == pytest.approx(roots[0] - roots[1])
    resampled = np.sqrt(squares[:, rng.integers(400, size=(2000, 400))].mean(2))
    assert se == pytest.approx((resampled[0] - resampled[1]).std(), rel=0.1)
    assert se < 0.8 * resampled[0].std()
    alone = hidden_cells.errors_of(column, {"VAE": np.ones(1), "k-NN": np.zeros(1)})
    assert alone["difference"]["k-NN"] == [1, 1]


def test_an_imputer_that_is_clearly_better_is_named():
    """In the mean over columns, and in each column where it is, by two standard errors."""

    def notes(*columns):
        """Of columns that each have an error of ours, one of k-NN, and a standard error."""
        entries = {
            f"c{i}": {"error": {"VAE": a, "k-NN": b, "mean": 1.0}}
            | {"difference": {"k-NN": [a - b, se], "mean": [a - 1, se]}}
            for i, (a, b, se) in enumerate(columns)
        }
        result = {"columns": entries} | hidden_cells.mean_errors(list(entries.values()))
        return hidden_cells.better_than_ours(result)

    mean, single = notes((0.5, 0.4, 0.04), (0.6, 0.52, 0.05), (0.7, 0.61, 0.03))
    assert mean == (
        "Note: k-NN fills these cells better than the VAE: a mean error of 0.510 against 0.600"
    )
    assert (
        single
        == "Note: columns that another method fills better than the VAE: c0 (k-NN), c2 (k-NN)"
    )
    (mean,) = notes(*3 * [(0.5, 0.43, 0.04)])  # no column is clear alone
    assert mean.startswith("Note: k-NN fills these cells better than the VAE")
    (single,) = notes((0.5, 0.4, 0.04), (0.4, 0.6, 0.04))
    assert single.endswith(": c0 (k-NN)")
    assert notes((0.5, 0.4, 0.06), (0.5, 0.6, 0.05)) == []
    assert notes(*9 * [(0.5, 0.4, 0.01)])[1].endswith("c5 (k-NN) and 3 more")
