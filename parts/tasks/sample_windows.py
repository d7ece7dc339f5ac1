"""Draw long series by chaining windows, and compare generated windows with real ones.

M draws, S slots, L steps of a window, D columns, C numbers of the calendar, n windows.
"""

import numpy as np
import torch

from parts.finite import finite
from parts.forms.series import shown
from parts.forms.units import column_arrays
from parts.measure.closeness import kolmogorov_smirnov
from parts.randomness import fixed_randomness
from parts.tasks.sample import Compared

N_FUTURES = 200  # draws of what follows the end of a series
N_Z = 16  # samples of z from which each next part is drawn
MOST_LAGS = 64  # of the autocorrelations that are compared
MOST_LAGGED = 30  # columns whose correlations at all lags are compared
FEW, WORSE = 0.1, 2.0  # distance, and times that of held-out windows, beyond which a line says so


def chain(fitted, y, n_draws, past=None, seed=0):
    """n_draws joint draws of slots with the calendars y [S, C], in model units [M, S, D].

    `past` are x and mask [P, D] of the slots before them with their calendar [P, C], at most a
    window, or None. Each window is drawn given the last half of what is before it.
    """
    length, n_each = fitted.codec.shape
    model, device, has_y = fitted.model, fitted.device, bool(fitted.codec.y_dim)
    n_slots, n_past = len(y), 0 if past is None else len(past[0])
    x = np.zeros((n_draws, n_past + n_slots, n_each))
    mask = np.zeros((n_past + n_slots, n_each), np.float32)
    if past is not None:
        x[:, :n_past], mask[:n_past], y = past[0], past[1], np.concatenate([past[2], y])
    at, half = n_past, max(1, length // 2)
    with fixed_randomness(seed):
        while at < len(mask):
            begin = max(0, at - half)
            stop = min(begin + length, len(mask))
            known = np.zeros((length, n_each), np.float32)
            known[: at - begin] = mask[begin:at]
            window = np.zeros((n_draws, length, n_each), np.float32)
            window[:, : at - begin] = x[:, begin:at]
            rows = torch.from_numpy(window.reshape(n_draws, -1)).to(device)
            given = torch.from_numpy(y[begin : begin + 1]).to(device).expand(n_draws, -1)
            given = given if has_y else None
            if known.any():
                seen = torch.from_numpy(known.reshape(1, -1)).to(device).expand(n_draws, -1)
                drawn = model.impute(rows, seen.contiguous(), given, n_samples=N_Z, draws=1)
                drawn = drawn.draws[0]
            else:
                drawn = model.sample(n_draws, given)
            drawn = finite("generated cells", drawn.cpu().double().numpy())
            drawn = drawn.reshape(n_draws, length, n_each)[:, : stop - begin]
            fresh = mask[begin:stop] == 0
            x[:, begin:stop][:, fresh] = drawn[:, fresh]
            mask[begin:stop], at = 1, stop
    return x[:, n_past:]


def autocorrelations(windows):
    """Of windows [n, L, D] about the mean of all: lag by lag [lags, D]."""
    r = windows - windows.mean((0, 1))
    variance = np.maximum(r.var((0, 1)), 1e-12)
    n_lags = min(MOST_LAGS, windows.shape[1] - 1)
    found = [
        (r[:, lag:] * r[:, : windows.shape[1] - lag]).mean((0, 1)) for lag in range(n_lags + 1)
    ]
    return np.stack(found) / variance


def rank_correlations(windows):
    """Rank correlations of the columns of windows [n, L, D], [D, D]; NaN for a constant."""
    from scipy.stats import rankdata

    ranks = rankdata(windows.reshape(-1, windows.shape[2]), axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.corrcoef(ranks.T)


def lagged_correlations(windows, most):
    """Correlations of the first `most` columns of windows [n, L, D] with each other at lags from
    -n_lags to n_lags, [2 n_lags + 1, D, D]: of a column with another one so many steps on.
    """
    r = windows[:, :, :most] - windows[:, :, :most].mean((0, 1))
    r = r / np.sqrt(np.maximum(r.var((0, 1)), 1e-12))
    length = windows.shape[1]
    n_lags = min(MOST_LAGS, length // 2)
    behind = [
        np.einsum("nli,nlj->ij", r[:, : length - lag], r[:, lag:]) / (len(r) * (length - lag))
        for lag in range(n_lags + 1)
    ]
    return np.stack([*[part.T for part in behind[:0:-1]], *behind])


def compare_series(fitted, drawn, x_of, row="window"):
    """Compare generated windows with training windows: each column's distribution and
    autocorrelation, and the correlations of pairs of columns; held-out windows beside them.
    """
    codec = fitted.codec
    length, n_each = codec.shape
    columns = codec.measured

    def of(x):
        return np.asarray(x, np.float64).reshape(-1, length, n_each)

    real, ours = of(fitted.train.x), of(drawn.x)
    held = of(fitted.held.x) if len(fitted.held.x) else None

    def distances(windows):
        lags = np.abs(autocorrelations(windows) - autocorrelations(real)).max(0)
        flat = windows.reshape(-1, n_each), real.reshape(-1, n_each)
        ks = [kolmogorov_smirnov(flat[0][:, j], flat[1][:, j]) for j in range(n_each)]
        pairs = 0.0
        if n_each > 1:
            pairs = float(np.nanmax(np.abs(np.corrcoef(flat[0].T) - np.corrcoef(flat[1].T))))
        return {"values": ks, "autocorrelation": lags.tolist(), "pairs": pairs}

    result = {"n_generated": len(ours), "n_real": len(real), "columns": [c.name for c in columns]}
    result["generated"] = distances(ours)
    if held is not None:
        result["held"] = distances(held)
    lines = [f"Distance of {len(ours)} windows from training windows (of held-out windows):"]
    for j, column in enumerate(columns[:20]):
        parts = []
        for name, words in (("values", "values"), ("autocorrelation", "autocorrelation")):
            beside = f" ({result['held'][name][j]:.3f})" if held is not None else ""
            parts.append(f"{words} {result['generated'][name][j]:.3f}{beside}")
        lines.append(f"  {column.name}: {', '.join(parts)}")
    if n_each > 1:
        beside = f" ({result['held']['pairs']:.3f})" if held is not None else ""
        lines.append(
            f"  worst correlation of two columns: {result['generated']['pairs']:.3f}{beside}"
        )
    arrays = column_arrays(columns) | shown.of_windows(codec, real, ours)
    for name, windows in (("real", real), ("generated", ours), ("held", held)):
        if windows is None or len(windows) < 2:
            continue
        arrays[f"autocorrelation_{name}"] = autocorrelations(windows)
        if n_each > 1:
            arrays[f"correlation_{name}"] = rank_correlations(windows)
            arrays[f"lagged_{name}"] = lagged_correlations(windows, MOST_LAGGED)
    return Compared(result, "\n".join(lines), arrays)
