"""Time series: anomalies found, holes filled, densities and generated windows.

    python benchmarks/series.py --data DIR               # an hour on one thread
    python benchmarks/series.py --data DIR --only ett    # one part; the others stay in the JSON

DIR holds public data: nab/, nasa/, smd/, asd/ (series with labels), ett/, air/, physionet/ and
generation/, and tsb_ad_published.csv, the figures that TSB-AD publishes of the same series.

detection   18 univariate series of TSB-AD, without labels: VUS-PR and average precision
nasa        19 channels of NASA with all columns, without labels
asd         6 application servers: fitted to the train part
smd         machine 2-1 of SMD: fitted to the train part
ett         ETTh1, windows of 48, cells or runs removed (TSI-Bench): MAE of removed test cells in
            standard deviations, and the share of them in 90 % intervals
air         AirQuality, windows of 12; -200 read as missing (gaps) and as a value
density     ETTh1, test windows of 48 steps and 7 columns: nats per cell
physionet   1000 intensive-care stays by the hour, 10 % of the observed cells hidden: MAE
generation  stocks and ETTh1, windows of 24 (TimeGAN): critics of generated windows
time        seconds of detection and filling
irregular   nyc_taxi with rows dropped, stamps moved and two days cut out: VUS-PR of the rows left

Detection never adjusts points. W of VUS-PR is the protocol's; the windows of the detectors have its
length, clipped to 16 to 128 steps (nasa: at most 64; asd and smd: 10). A score for each row.
"""

import contextlib
import io
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import parts  # noqa: F401  before torch

# isort: split

import numpy as np
import torch

import detect
import generate
import impute
import train as train_script
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.errors import UserError
from parts.files import write_json
from parts.measure import series_baselines as baselines
from parts.measure import vus
from parts.measure.series_baselines import GAUSSIAN, RIDGE, Autoregression
from parts.measure.window_gaussian import WindowGaussian
from parts.measure.windows import Series, starts_of, windows_at
from parts.options import positive_int
from parts.randomness import fixed_randomness
from parts.runs import versions

RESULTS = ROOT / "benchmarks/results"
COMMAND = "python benchmarks/series.py --data DIR"
OURS = "VAE"
N_DENSITY = 100  # importance samples of a density
CLIP = (16, 128)  # of the windows of a detector
BY_SEED = ("isolation forest of windows", OURS)  # detectors that a seed changes
HOUR_STEPS, ETT_LENGTH, AIR_LENGTH, STAY_LENGTH, MADE_LENGTH = 24, 48, 12, 12, 24
STAY_RIDGE = 0.1  # few pairs of cells of intensive care are seen together
SERVER_LENGTH = 10
RUN = 36  # steps that are removed at once
ETT_MONTHS = (14, 19)  # ends of the training and the validation part
SENTINEL = -200  # of AirQuality
CRITIC_BATCH, TEST_SHARE = 128, 0.2
STEPS = {"small": 2000, "strong": 600, "predictive": 5000}  # TimeGAN's, but for the strong critic
STRONG_UNITS, BLOCK = 64, 120  # windows of a block of time that is tested on as a whole


class Measured(NamedTuple):
    """Figures of one method on one set, and its seconds."""

    name: str
    method: str
    figures: dict
    seconds: float


def ours(task, train, test, stamps=None, seed=0, length=None, n=None):
    """What the commands make of a task, with their defaults.

    task "scores": scores [T] of the rows of `test`; "fills": (filled [T, D], standard deviations)
    of `test`; "density": nats [n] of windows `test` [n, L, D]; "windows": n drawn windows
    [n, L, D]. `stamps` are those of the rows of both, where they are known; `length` is --window.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder, "train.csv"), train, None if stamps is None else stamps[0])
        names = [f"c{j}" for j in range(train.x.shape[1])]
        reading = ["--time", "t"] if len(train.bounds) == 1 else ["--time", "t", "--group", "g"]
        reading += ["--window", str(length)] if length else []
        runs = ["--runs-dir", f"{folder}/runs", "--threads", "1"]
        by_seed = ["--seed", str(seed)]
        out = f"{folder}/out.csv"
        if task == "scores" and test is train:
            call(detect, f"{folder}/train.csv", "--out", out, *reading, *runs, *by_seed)
            return scores_of(out)
        preset = {"scores": "series-detect", "fills": "series-impute"}.get(task, "series")
        clean = ["--trim", "0"] if task == "scores" else []
        data = ["--data", f"{folder}/train.csv", "--preset", preset]
        parts = ["--test-fraction", "0", "--val-fraction", "0"]
        call(train_script, *data, *reading, *clean, *parts, *runs, *by_seed)
        if task == "windows":
            call(generate, "--n", str(n), "--out", out, *runs, *by_seed)
            rows = table(out)
            return rows[names].to_numpy(np.float64).reshape(n, -1, len(names))
        if task == "density":
            return nats_of_windows(f"{folder}/runs", test, stamps[1], seed)
        write_series(Path(folder, "test.csv"), test, None if stamps is None else stamps[1])
        applied = [f"{folder}/test.csv", "--run", "0001", "--out", out, *runs, *by_seed]
        if task == "scores":
            call(detect, *applied)
            return scores_of(out)
        call(impute, *applied, "--interval", "0.9")
        rows = table(out)
        filled = rows[names].to_numpy(np.float64)
        low, high = (
            rows.reindex(columns=[f"{name}_{side}" for name in names]).to_numpy(np.float64)
            for side in ("low", "high")
        )
        return filled, np.nan_to_num((high - low) / (2 * 1.645))


def call(script, *words):
    with contextlib.redirect_stdout(io.StringIO()):
        script.main([str(word) for word in words])


def write_series(path, series, stamps):
    """A Series as a CSV file: t (a stamp, or the number of the row), g (its segment) and cells."""
    import pandas as pd

    frame = pd.DataFrame(series.holes, columns=[f"c{j}" for j in range(series.x.shape[1])])
    t = np.arange(len(frame)) if stamps is None else pd.to_datetime(stamps[: len(frame)])
    frame.insert(0, "t", t)
    if len(series.bounds) > 1:
        frame.insert(1, "g", [f"s{i}" for i in series.segment_of()])
    frame.to_csv(path, index=False)


def scores_of(path):
    """The scores that detect.py wrote; rows without one are the least odd."""
    scores = table(path)["anomaly_score"].to_numpy(np.float64)
    return np.nan_to_num(scores, nan=np.nanmin(scores))


def nats_of_windows(runs_dir, windows, stamps, seed):
    """log p of windows [n, L, D] that begin one after another at the stamps, by the newest run."""
    from parts.forms.series import calendar
    from parts.runs import find_run

    with contextlib.redirect_stdout(io.StringIO()):
        fitted, _ = find_run(runs_dir, None).load()
    codec, (n, length, _) = fitted.codec, windows.shape
    x = np.stack([c.to_model(windows[..., j]) for j, c in enumerate(codec.measured)], -1)
    seconds = stamps[: n * length : length].astype("datetime64[s]").astype(np.float64)
    y = calendar.features(seconds, codec.calendar)
    scale = np.log([column.scale for column in codec.measured]).sum() * length
    with fixed_randomness(seed):
        rows = (torch.from_numpy(part.astype(np.float32)) for part in (x.reshape(n, -1), y))
        found = fitted.model.log_px(*rows, n_samples=N_DENSITY)
    return found.double().numpy() - scale


# Data


def table(path):
    import pandas as pd

    return pd.read_csv(path)


def labelled(folder, local):
    """x [T, D] and labels [T] of a series of TSB-AD."""
    path = Path(folder, local)
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["test"].astype(np.float64), arrays["label"].astype(int)
    rows = table(path)
    labels = in_windows(folder, path.name, rows["timestamp"].to_numpy())
    return rows[["value"]].to_numpy(np.float64)[1:], labels[1:]  # TSB-AD lacks the first row


def in_windows(folder, name, stamps):
    """1 for each stamp in a labelled window of a NAB file."""
    every = json.loads(Path(folder, "nab/windows.json").read_text(encoding="utf-8"))
    (windows,) = [spans for key, spans in every.items() if key.endswith(name)]
    stamps = stamps.astype("datetime64[s]")
    bounds = [[np.datetime64(edge.split(".")[0]) for edge in span] for span in windows]
    return np.any([(a <= stamps) & (stamps <= b) for a, b in bounds], 0).astype(int)


def published(folder, kind):
    return [
        row
        for _, row in table(Path(folder, "tsb_ad_published.csv")).iterrows()
        if row["kind"] == kind
    ]


def etth1(folder):
    """Standardised training, validation and test part, and the stamps of the rows of each."""
    rows = table(Path(folder, "ett/ETTh1.csv.gz"))
    stamps = rows["date"].to_numpy().astype("datetime64[s]")
    month = stamps.astype("datetime64[M]").astype(int)
    month = month - month[0]
    x = rows.iloc[:, 1:].to_numpy(np.float64)
    train = month < ETT_MONTHS[0]
    x = (x - x[train].mean(0)) / x[train].std(0)
    valid = ~train & (month < ETT_MONTHS[1])
    return [(x[part], stamps[part]) for part in (train, valid, month >= ETT_MONTHS[1])]


def hour_of(stamps):
    """The hour of the day of the first stamp."""
    return int(stamps[0].astype("datetime64[h]").astype(int) % HOUR_STEPS)


def blocks(x, length):
    """Windows [n, L, D] without overlap."""
    n = len(x) // length
    return x[: n * length].reshape(n, length, x.shape[1])


# Detection


def window_length(buffer, low=CLIP[0], high=CLIP[1]):
    return int(np.clip(buffer, low, high))


def score_figures(labels, scores, buffer):
    """A row that no window covers has the lowest score."""
    scores = np.where(np.isfinite(scores), scores, np.nanmin(scores))
    return {
        "VUS-PR": vus.vus_pr(labels, scores, buffer),
        "AP": vus.average_precision(labels, scores),
    }


def measure_detectors(name, methods, labels, buffer, seed):
    """Yield what each method's scores reach."""
    for method, score in methods.items():
        if seed and method not in BY_SEED:
            continue
        start = time.perf_counter()
        scores = score()
        seconds = time.perf_counter() - start
        yield Measured(name, method, score_figures(labels, scores, buffer), seconds)


def detection(folder, seed):
    for row in published(folder, "U"):
        x, labels = labelled(folder, row["local"])
        buffer = vus.buffer_of(x[:, 0])
        series, length = Series.of(x[:, :1]), window_length(buffer)
        methods = baselines.detectors(series, series, length, seed)
        methods[OURS] = lambda s=series: ours("scores", s, s, seed=seed)
        yield from measure_detectors(row["local"], methods, labels, buffer, seed)


def nasa(folder, seed):
    for row in published(folder, "M"):
        if not row["local"].startswith("nasa"):
            continue
        x, labels = labelled(folder, row["local"])
        buffer = vus.buffer_of(x[:, 0])
        length = window_length(buffer, high=64)
        series = Series.of(x)
        series = series.standardised(*series.moments())
        varied = series.columns(baselines.varied(series))
        wide = max(2, min(length, 1000 // x.shape[1]))  # a covariance of at most 1000 cells
        methods = baselines.detectors(series, series, wide, seed)
        methods["Gaussians of columns"] = lambda s=series, w=length: baselines.by_column(s, s, w)
        methods["Gaussians of columns of more than two values"] = lambda s=varied, w=length: (
            baselines.by_column(s, s, w)
        )
        methods[OURS] = lambda s=series: ours("scores", s, s, seed=seed)
        yield from measure_detectors(row["local"], methods, labels, buffer, seed)


def asd(folder, seed):
    for path in sorted(Path(folder, "asd").glob("*.npz")):
        yield from fitted_to_train(path, seed)


def smd(folder, seed):
    yield from fitted_to_train(Path(folder, "smd/machine-2-1.npz"), seed)


def fitted_to_train(path, seed):
    with np.load(path, allow_pickle=False) as arrays:
        train, test = (Series.of(arrays[part]) for part in ("train", "test"))
        labels = arrays["label"].astype(int)
    buffer = vus.buffer_of(test.x[:, 0])
    methods = baselines.detectors(train, test, SERVER_LENGTH, seed)
    methods[OURS] = lambda: ours("scores", train, test, seed=seed)
    yield from measure_detectors(path.stem, methods, labels, buffer, seed)


# Filling


def removed(shape, how, share, rng):
    """Mask of windows [n, L, D], 0 for removed cells: single ones, or runs of RUN steps."""
    if how == "cells":
        return rng.random(shape) >= share
    n, length, n_columns = shape
    mask = np.ones(shape, bool)
    chosen = rng.random((n, n_columns)) < share * length / RUN
    first = rng.integers(0, length - RUN + 1, (n, n_columns))
    for i, j in np.argwhere(chosen):
        mask[i, first[i, j] : first[i, j] + RUN, j] = False
    return mask


def measure_fillers(
    name,
    train,
    test,
    truth,
    scored,
    length,
    seed,
    period=None,
    offset=0,
    ridge=1e-3,
    stamps=None,
):
    """Yield MAE of each method in the `scored` cells; segments of `test` are filled each alone.

    `train` is whole, so that its windows may begin at any row. A cell that a method leaves empty
    counts as the training mean, 0: a column with one value is not modelled.
    """
    with_season = (
        {}
        if period is None
        else {"season + linear": lambda: (baselines.seasonal(train, test, period, offset), None)}
    )

    def gaussian():
        return WindowGaussian.fit(train, length, ridge, seed=seed).fill(test)

    methods = {
        GAUSSIAN: gaussian,
        "linear interpolation": lambda: (baselines.interpolated(test), None),
        "last value": lambda: (baselines.carried_forward(test), None),
        **with_season,
        OURS: lambda: ours("fills", train, test, stamps, seed, length),
    }
    for method, fill in methods.items():
        start = time.perf_counter()
        found = fill()
        seconds = time.perf_counter() - start
        error = np.abs(np.nan_to_num(found[0]) - truth)
        figures = {"MAE": float(error[scored].mean())}
        if found[1] is not None:
            figures["coverage"] = float((error <= 1.645 * found[1])[scored].mean())
        yield Measured(name, method, figures, seconds)


def ett(folder, seed):
    (train, known_at), _, (test, asked_at) = etth1(folder)
    test, stamps = blocks(test, ETT_LENGTH), (known_at, asked_at)
    train = train[: len(train) // ETT_LENGTH * ETT_LENGTH]
    settings = (("cells", 0.1), ("cells", 0.5), ("cells", 0.9), ("runs", 0.5))
    for how, share in settings:
        rng = np.random.default_rng(seed)
        shown = removed((len(train) // ETT_LENGTH, ETT_LENGTH, train.shape[1]), how, share, rng)
        mask = removed(test.shape, how, share, rng)
        known, asked = Series.of(train, shown.reshape(train.shape)), Series.of_windows(test, mask)
        truth, scored = test.reshape(-1, test.shape[2]), ~asked.mask
        name = f"{share:.0%} of the cells" if how == "cells" else f"{share:.0%} in runs of {RUN}"
        yield from measure_fillers(
            *(name, known, asked, truth, scored, ETT_LENGTH, seed),
            **{"period": HOUR_STEPS, "offset": hour_of(asked_at), "stamps": stamps},
        )


def air(folder, seed):
    x = table(Path(folder, "air/AirQuality.csv.gz")).iloc[:, 2:].to_numpy(np.float64)
    for what in ("gaps", f"{SENTINEL} as a value"):
        values = np.where((x == SENTINEL) & (what == "gaps"), np.nan, x)
        train = values[: int(0.6 * len(x))]
        mean, std = Series.of(train).moments()
        train, test = (train - mean) / std, (values[int(0.8 * len(x)) :] - mean) / std
        train = train[: len(train) // AIR_LENGTH * AIR_LENGTH]
        test = blocks(test, AIR_LENGTH)
        for share in (0.1, 0.5):
            rng = np.random.default_rng(seed)
            shown = rng.random(train.shape) >= share
            mask = removed(test.shape, "cells", share, rng)
            truth = test.reshape(-1, test.shape[2])
            asked = Series.of_windows(test, mask)
            scored = ~mask.reshape(truth.shape) & np.isfinite(truth)
            name = f"{share:.0%}, {what}"
            known = Series.of(train, shown)
            yield from measure_fillers(name, known, asked, truth, scored, AIR_LENGTH, seed)


def physionet(folder, seed):
    """A stay is a segment of 48 hours; several values within an hour are averaged."""
    rows = table(Path(folder, "physionet/set-a_first1000.csv.gz"))
    stays, stay = np.unique(rows["RecordID"].to_numpy(), return_inverse=True)
    hour = rows["Time"].str.partition(":")[0].astype(int).clip(upper=47).to_numpy()
    values = rows.iloc[:, 2:].to_numpy(np.float64)
    seen = np.isfinite(values)
    total, count = (np.zeros((len(stays) * 48, values.shape[1])) for _ in range(2))
    np.add.at(total, stay * 48 + hour, np.where(seen, values, 0))
    np.add.at(count, stay * 48 + hour, seen)
    x = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    order = np.random.default_rng(seed).permutation(len(stays))
    grid = x.reshape(len(stays), 48, -1)[order]
    split = len(stays) * 4 // 5
    mean, std = Series.of_windows(grid[:split]).moments()
    grid = (grid - mean) / std
    rng = np.random.default_rng(seed)
    mask = rng.random(grid.shape) >= 0.1
    known = Series.of_windows(grid[:split], mask[:split])
    asked = Series.of_windows(grid[split:], mask[split:])
    truth = grid[split:].reshape(-1, grid.shape[2])
    scored = ~mask[split:].reshape(truth.shape) & np.isfinite(truth)
    yield from measure_fillers(
        "10 %", known, asked, truth, scored, STAY_LENGTH, seed, ridge=STAY_RIDGE
    )


# Density


def density(folder, seed):
    """Fitted to the windows that begin at any row of the training part."""
    (train, stamps), _, (test, test_stamps) = etth1(folder)
    position = (np.arange(len(train)) + hour_of(stamps)) % HOUR_STEPS
    means = np.stack([train[position == h].mean(0) for h in range(HOUR_STEPS)])
    hourless = train - means[position]
    test_position = (np.arange(len(test)) + hour_of(test_stamps)) % HOUR_STEPS
    pairs = {"": (train, test), ", hour of day removed": (hourless, test - means[test_position])}
    if seed:
        pairs = {}
    n_cells = ETT_LENGTH * train.shape[1]
    for suffix, (known, asked) in pairs.items():
        series, windows = Series.of(known), blocks(asked, ETT_LENGTH)
        rows = windows.reshape(len(windows), -1)

        def gaussian(nu, ridge=1e-3, s=series, r=rows):
            return WindowGaussian.fit(s, ETT_LENGTH, ridge, nu).log_prob(r)

        def autoregression(s=series, w=windows):
            cells = Autoregression.fit(s).log_prob(Series.of_windows(w))
            return cells.reshape(len(w), -1).sum(1)

        def independent(s=series, r=rows):
            every = windows_at(s, starts_of(s.bounds, ETT_LENGTH), ETT_LENGTH)[0]
            variance = every.var(0)
            squares = (r - every.mean(0)) ** 2 / variance
            return -0.5 * (squares + np.log(2 * np.pi * variance)).sum(1)

        methods = {
            "independent cells": independent,
            "AR(1) of each column": autoregression,
            GAUSSIAN: lambda g=gaussian: g(None),
            "Gaussian of windows, ridge .01": lambda g=gaussian: g(None, 1e-2),
            "Student-t of windows": lambda g=gaussian: g(10),
        }
        for method, log_prob in methods.items():
            yield nats(method + suffix, log_prob, n_cells)
    windows = blocks(test, ETT_LENGTH)
    known, times = Series.of(train), (stamps, test_stamps)
    yield nats(OURS, lambda: ours("density", known, windows, times, seed, ETT_LENGTH), n_cells)


def nats(method, log_prob, n_cells):
    start = time.perf_counter()
    found = log_prob()
    seconds = time.perf_counter() - start
    error = found.std() / len(found) ** 0.5 / n_cells
    figures = {"nats per cell": float(found.mean() / n_cells), "standard error": float(error)}
    return Measured("test windows", method, figures, seconds)


# Generation


def generation(folder, seed):
    """Real windows of every row, scaled to [0, 1]; as many generated ones.

    The file of stocks has no dates; ours is told those of ETTh1, as the file has them.
    """
    stocks = table(Path(folder, "generation/stock_data.csv")).to_numpy(np.float64)[::-1]
    hourly = table(Path(folder, "ett/ETTh1.csv.gz"))
    dates = hourly["date"].to_numpy().astype("datetime64[s]")
    hourly = hourly.iloc[:, 1:].to_numpy(np.float64)
    for name, x, stamps in (("stocks", stocks, None), ("ETTh1", hourly, (dates, None))):
        x = (x - x.min(0)) / (x.max(0) - x.min(0))
        series = Series.of(x)
        real = windows_at(series, starts_of(series.bounds, MADE_LENGTH), MADE_LENGTH)[0]
        real = real.reshape(len(real), MADE_LENGTH, -1)
        rng = np.random.default_rng(seed)
        methods = {
            "real windows, half against half": lambda r=real, g=rng: g.permuted(r, axis=0)[:0],
            GAUSSIAN: lambda s=series, r=real, g=rng: gaussian_windows(s, r, g),
            OURS: lambda s=series, r=real, t=stamps: ours(
                "windows", s, None, t, seed, MADE_LENGTH, len(r)
            ),
        }
        for method, make in methods.items():
            start = time.perf_counter()
            made = make()
            seconds = time.perf_counter() - start
            halves = rng.permutation(len(real))
            half = len(real) // 2
            same = not len(made)
            known = np.sort(halves[:half]) if same else np.arange(len(real))
            made = real[halves[half:]] if same else made
            yield Measured(name, method, critics(real[known], made, seed), seconds)


def gaussian_windows(series, real, rng):
    model = WindowGaussian.fit(series, MADE_LENGTH, ridge=1e-6)
    root = torch.linalg.cholesky(model.covariance).numpy()
    drawn = model.mean.numpy() + rng.normal(size=(len(real), len(root))) @ root.T
    return drawn.reshape(real.shape).clip(0, 1)


def critics(real, made, seed):
    """TimeGAN's two scores, a stronger critic, one that is tested on blocks of time, and nearness.

    `real` are in the order of time. A tested block shares no row with the windows that its critic
    is trained on. The distance is that of generated windows to the closest real one, divided by
    that of real windows to the closest one that does not overlap.
    """
    small = max(1, real.shape[2] // 2)
    at = np.random.default_rng(seed).permutation(len(real))
    cut = int((1 - TEST_SHARE) * len(real))
    shuffled = at[:cut], at[cut:]
    mean, std = real.mean((0, 1)), real.std((0, 1))  # on [0, 1] a GRU learns slowly
    scaled = (real - mean) / std, (made - mean) / std
    strong = STRONG_UNITS, STEPS["strong"], seed
    return {
        "discriminative": told(real, made, shuffled, small, STEPS["small"], seed),
        "discriminative, strong critic": told(*scaled, shuffled, *strong),
        "discriminative, strong critic, other days": told(*scaled, apart(len(real)), *strong),
        "predictive": predicted(real, made, small, STEPS["predictive"], seed),
        "closest window": closeness(real, made, seed),
    }


def apart(n):
    """Numbers of the training and the test windows: every fifth block of time is for the test, and
    no training window overlaps it.
    """
    test = np.arange(n) // BLOCK % round(1 / TEST_SHARE) == 2
    near = np.convolve(test, np.ones(2 * MADE_LENGTH - 1), "same") > 0
    return np.flatnonzero(~near), np.flatnonzero(test)


class Critic(torch.nn.Module):
    """A GRU and a linear layer on its outputs, [n, L, D] -> [n, L]."""

    def __init__(self, n_columns, n_units):
        super().__init__()
        self.gru = torch.nn.GRU(n_columns, n_units, batch_first=True)
        self.out = torch.nn.Linear(n_units, 1)

    def forward(self, x):
        return self.out(self.gru(x)[0])[..., 0]


def trained(critic, x, target, loss, n_steps, seed):
    """Adam on random batches."""
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(n_steps):
        rows = torch.randint(len(x), (CRITIC_BATCH,), generator=generator)
        optimizer.zero_grad()
        loss(critic(x[rows]), target[rows]).backward()
        optimizer.step()
    return critic


def told(real, made, split, n_units, n_steps, seed):
    """|accuracy - 0.5| of a critic that tells real from generated windows it was not trained on."""
    share = len(made) / len(real)
    at = np.random.default_rng(seed + 1).permutation(len(made))
    n_known = int(share * len(split[0]))
    n_asked = int(share * len(split[1]))
    known = [real[split[0]], made[at[:n_known]]]
    asked = [real[split[1]], made[at[n_known:][:n_asked]]]
    with fixed_randomness(seed):
        critic = Critic(real.shape[2], n_units)

        def loss(out, y):
            return torch.nn.functional.binary_cross_entropy_with_logits(out[:, -1], y)

        x = torch.as_tensor(np.concatenate(known), dtype=torch.float32)
        y = torch.cat([torch.ones(len(known[0])), torch.zeros(len(known[1]))])
        trained(critic, x, y, loss, n_steps, seed)
        with torch.no_grad():
            right = [
                ((critic(torch.as_tensor(w, dtype=torch.float32))[:, -1] > 0) == is_real).float()
                for w, is_real in zip(asked, (True, False), strict=True)
            ]
    return abs(float(torch.stack([part.mean() for part in right]).mean()) - 0.5)


def predicted(real, made, n_units, n_steps, seed):
    """MAE of the last column's next value in real windows, learned from generated ones."""
    with fixed_randomness(seed):
        critic = Critic(real.shape[2] - 1, n_units)
        windows = [torch.as_tensor(w, dtype=torch.float32) for w in (made, real)]
        (x, y), (real_x, real_y) = [(w[:, :-1, :-1], w[:, 1:, -1]) for w in windows]

        def loss(out, target):
            return (torch.sigmoid(out) - target).abs().mean()

        trained(critic, x, y, loss, n_steps, seed)
        with torch.no_grad():
            return float((torch.sigmoid(critic(real_x)) - real_y).abs().mean())


def closeness(real, made, seed, most=1000):
    """1 where generated windows lie as near to real ones as these to each other."""
    rows = real.reshape(len(real), -1).astype(np.float32)
    rng = np.random.default_rng(seed)
    chosen = [rng.choice(len(w), min(most, len(w)), replace=False) for w in (made, real)]
    asked = (made.reshape(len(made), -1)[chosen[0]].astype(np.float32), rows[chosen[1]])
    found = []
    for i, x in enumerate(asked):
        square = (x**2).sum(1)[:, None] + (rows**2).sum(1) - 2 * x @ rows.T
        if i:
            near = np.abs(chosen[1][:, None] - np.arange(len(rows))) < MADE_LENGTH
            square[near] = np.inf
        found.append(np.median(np.sqrt(square.min(1).clip(min=0))))
    return float(found[0] / found[1])


# Time, and an irregular file


def seconds(folder, seed):
    """Seconds of the Gaussian of windows; those of our commands are of whole processes."""
    if seed:
        return
    x, _ = labelled(folder, "nab/nyc_taxi.csv")
    with np.load(Path(folder, "smd/machine-2-1.npz"), allow_pickle=False) as arrays:
        server = [Series.of(arrays[part]) for part in ("train", "test")]
    (train, _), _, (test, _) = etth1(folder)
    rng = np.random.default_rng(seed)
    holes = [Series.of(part, rng.random(part.shape) >= 0.1) for part in (train, test)]
    taxi = Series.of(x)
    cases = {
        "detect nyc_taxi": ("scores", taxi, taxi, 48),
        "detect SMD 2-1": ("scores", *server, 10),
        "impute ETTh1": ("fills", *holes, 48),
    }
    for name, (task, known, asked, length) in cases.items():
        start = time.perf_counter()
        model = WindowGaussian.fit(known, length)
        model.scores(asked) if task == "scores" else model.fill(asked)
        yield Measured(name, GAUSSIAN, {}, time.perf_counter() - start)
        start = time.perf_counter()
        ours(task, known, asked, seed=seed)
        yield Measured(name, OURS, {}, time.perf_counter() - start)


def irregular(folder, seed):
    """Rows laid on the slots of the whole file, which have holes then; scores of the rows kept."""
    rows = table(Path(folder, "nab/nyc_taxi.csv"))
    stamps = rows["timestamp"].to_numpy().astype("datetime64[s]").astype(np.int64)
    labels = in_windows(folder, "nyc_taxi.csv", rows["timestamp"].to_numpy())
    values = rows["value"].to_numpy(np.float64)
    buffer = vus.buffer_of(values)
    rng = np.random.default_rng(seed)
    kept = rng.random(len(values)) >= 0.3
    day = int(rng.integers(20, 150)) * 48
    kept[day : day + 2 * 48] = False
    slot = (stamps + rng.integers(-60, 61, len(stamps)) - stamps[0] + 900) // 1800
    for name, here in (("whole file", np.ones_like(kept)), ("irregular", kept)):
        x = np.full(len(values), np.nan)
        x[slot[here]] = values[here]
        series = Series.of(x)
        series = series.standardised(*series.moments())
        length = window_length(buffer)
        methods = {GAUSSIAN: lambda s=series, w=length: WindowGaussian.fit(s, w, RIDGE).scores(s)}
        methods[OURS] = lambda s=series: ours("scores", s, s, seed=seed)
        for method, score in methods.items():
            start = time.perf_counter()
            figures = score_figures(labels[here], score()[slot[here]], buffer)
            yield Measured(name, method, figures, time.perf_counter() - start)


# The results of a part


def summary(values):
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return {"mean": statistics.mean(values), "sd": spread}


def summarised(runs):
    """Rows by set and method: each figure's mean and s.d. over seeds; and the means over sets.

    `runs` are the lists of Measured of the seeds.
    """
    sets, total = {}, {}
    for run in runs:
        for found in run:
            row = sets.setdefault(found.name, {}).setdefault(found.method, {})
            for key, figure in (found.figures | {"seconds": found.seconds}).items():
                row.setdefault(key, []).append(figure)
    for row in sets.values():
        for method, figures in row.items():
            for key, values in figures.items():
                total.setdefault(method, {}).setdefault(key, []).append(values)
    means = {
        method: {
            key: summary([statistics.mean(seed) for seed in zip(*lists, strict=True)])
            for key, lists in figures.items()
        }
        for method, figures in total.items()
    }
    rows = {
        name: {
            method: {k: summary(v) for k, v in figures.items()} for method, figures in row.items()
        }
        for name, row in sets.items()
    }
    return {"sets": rows, "mean": means}


def published_means(folder, part):
    """Mean VUS-PR of the detectors whose figures TSB-AD publishes for all series of a part."""
    kind = {"detection": "U", "nasa": "M"}[part]
    rows = [row for row in published(folder, kind) if kind == "U" or row["local"][:4] == "nasa"]
    found = {}
    for name in rows[0].index[6:]:
        values = [float(row[name]) for row in rows]
        if np.isfinite(values).all():
            found[name] = statistics.mean(values)
    return found


PARTS = {
    "detection": detection,
    "nasa": nasa,
    "asd": asd,
    "smd": smd,
    "ett": ett,
    "air": air,
    "density": density,
    "physionet": physionet,
    "generation": generation,
    "time": seconds,
    "irregular": irregular,
}


def main(argv=None):
    parser = Parser(prog="benchmarks/series.py", description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True, metavar="DIR", help="the folder of the series")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; repeatable")
    parser.add_argument("--seeds", type=positive_int, default=3, help="seeds (default: 3)")
    parser.add_argument("--out", metavar="FILE", help="the JSON (default: in benchmarks/results)")
    args = parser.parse_args(argv)
    if not Path(args.data).is_dir():
        raise UserError(f"--data {args.data}: no such folder, expected the folder of the series")
    torch.set_num_threads(1)
    path = Path(args.out or RESULTS / "series.json")
    for name in args.only or PARTS:
        start, runs = time.perf_counter(), []
        for seed in range(args.seeds):
            runs.append([])
            for found in PARTS[name](args.data, seed):
                runs[-1].append(found)
                texts = (f"{k} {v:.3f}" for k, v in found.figures.items())
                print(
                    f"{name}, {found.name}, {found.method}:",
                    *texts,
                    f"({found.seconds:.1f} s)",
                    flush=True,
                )
        part = summarised(runs) | {"seeds": args.seeds, "versions": versions()}
        part["seconds"] = time.perf_counter() - start
        if name in ("detection", "nasa"):
            part["published"] = published_means(args.data, name)
        if OURS not in part["mean"]:
            print(f"{name}: {OURS} is left out, for it does not do this yet")
        merge(path, name, part)
    return 0


def merge(path, name, part):
    """Put a part into the JSON, whose other parts stay."""
    result = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    known = result.get("parts", {}) | {name: part}
    ordered = {key: known[key] for key in PARTS if key in known}
    write_json(path, {"command": COMMAND, "parts": ordered})


if __name__ == "__main__":
    run_script(main)
