"""Draw long series by chaining windows, and compare generated windows with real ones.

M draws, S slots, L steps of a window, D columns, C numbers of the calendar, n windows.
"""

import numpy as np
import torch

from parts.finite import finite
from parts.forms.series import shown, states
from parts.forms.units import column_arrays
from parts.measure.closeness import kolmogorov_smirnov
from parts.randomness import fixed_randomness
from parts.tasks.sample import Compared

N_FUTURES = 200  # draws of what follows the end of a series
N_Z = 8  # samples of z from which each next part is drawn
MOST_LAGS = 64  # of the autocorrelations that are compared
MOST_LAGGED = 30  # columns whose correlations at all lags are compared
FEW, WORSE = 0.1, 2.0  # distance, and times that of held-out windows, beyond which a line says so


def draw_states(fitted, stretch, n_draws, seed=0, given=None):
    """Draws of the states [M, P + S + L, K] of the P slots before a Stretch, of its own, and of a
    window more; None without states. `given` are the cells of states that are fixed.
    """
    codec = fitted.codec
    if not codec.state_dim:
        return None
    past, before = np.zeros((0, codec.state_dim), np.float32), []
    if stretch.past is not None:
        past, before = stretch.states, [stretch.past[2]]
    fixed = None if given is None else states.fixed_by(codec, given)
    library, rng = states.Library(codec, fitted.train), np.random.default_rng((seed, 2))
    return library.path(np.concatenate([*before, stretch.y]), past, n_draws, rng, fixed)


def chain(fitted, y, n_draws, past=None, seed=0, told=None):
    """n_draws joint draws of slots with the calendars y [S, C], in model units [M, S, D].

    `past` are x and mask [P, D] of the slots before them with their calendar [P, C], at most a
    window, or None; `told` are their states, see `draw_states`. Each window is drawn given the last
    half of what is before it.
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
            if told is not None:
                steps = told[:, begin : begin + length].reshape(n_draws, -1)
                given = torch.cat([given, torch.from_numpy(steps).to(given)], -1)
            given = given if has_y else None
            if known.any():
                # Rows with one past are one row.
                n = 1 if at == n_past and told is None else n_draws
                seen = torch.from_numpy(known.reshape(1, -1)).to(device).expand(n, -1).contiguous()
                given = None if given is None else given[:n]
                options = {"n_samples": N_Z, "draws": n_draws // n}
                drawn = model.impute(rows[:n], seen, given, **options).draws
                drawn = drawn.reshape(n_draws, -1)
            else:
                drawn = model.sample(n_draws, given)
            drawn = finite("generated cells", drawn.cpu().double().numpy())
            drawn = drawn.reshape(n_draws, length, n_each)[:, : stop - begin]
            fresh = mask[begin:stop] == 0
            x[:, begin:stop][:, fresh] = drawn[:, fresh]
            mask[begin:stop], at = 1, stop
    return x[:, n_past:]


def autocorrelations(windows):
    """Of windows [n, L, D] about the mean of all: lag by lag [lags, D].

    Cells that are NaN do not count; a lag without a pair of cells is NaN.
    """
    seen = np.isfinite(windows)
    n_seen = np.maximum(seen.sum((0, 1)), 1)
    x = np.where(seen, windows, 0.0)
    r = np.where(seen, x - x.sum((0, 1)) / n_seen, 0.0)
    variance = np.maximum((r**2).sum((0, 1)) / n_seen, 1e-12)
    length, found = windows.shape[1], []
    for lag in range(min(MOST_LAGS, length - 1) + 1):
        pairs = (seen[:, lag:] & seen[:, : length - lag]).sum((0, 1))
        products = (r[:, lag:] * r[:, : length - lag]).sum((0, 1))
        found.append(np.where(pairs > 0, products / np.maximum(pairs, 1), np.nan))
    return np.stack(found) / variance


def largest(distances):
    """The largest of some distances that are known, None without any."""
    known = distances[np.isfinite(distances)]
    return float(known.max()) if len(known) else None


def in_brackets(distance):
    return " (none)" if distance is None else f" ({distance:.3f})"


def correlations(rows):
    """Correlations of the columns of rows [n, D] over those that have both cells, [D, D]; NaN
    where these are few or constant.
    """
    seen = np.isfinite(rows).astype(np.float64)
    x = np.where(seen > 0, rows, 0.0)
    n = seen.T @ seen
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = x.T @ seen / n  # of the row's column, where the other one has a cell
        products = x.T @ x / n - mean * mean.T
        variance = (x**2).T @ seen / n - mean**2
        found = products / np.sqrt(variance * variance.T)
    return np.where((n > 2) & (variance > 1e-9) & (variance.T > 1e-9), found, np.nan)


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
    held = None  # held-out windows have their holes, those of training were filled
    if len(fitted.held.x):
        held = np.where(of(fitted.held.mask) > 0, of(fitted.held.x), np.nan)

    def distances(windows):
        apart = np.abs(autocorrelations(windows) - autocorrelations(real))
        lags = [largest(column) for column in apart.T]
        flat, seen = windows.reshape(-1, n_each), np.isfinite(windows).reshape(-1, n_each)
        others = real.reshape(-1, n_each)
        ks = [
            kolmogorov_smirnov(flat[seen[:, j], j], others[:, j]) if seen[:, j].any() else None
            for j in range(n_each)
        ]
        pairs = largest(np.abs(correlations(flat) - correlations(others)))
        return {"values": ks, "autocorrelation": lags, "pairs": pairs}

    result = {"n_generated": len(ours), "n_real": len(real), "columns": [c.name for c in columns]}
    result["generated"] = distances(ours)
    if held is not None:
        result["held"] = distances(held)
    lines = [f"Distance of {len(ours)} windows from training windows (of held-out windows):"]
    for j, column in enumerate(columns[:20]):
        parts = []
        for name, words in (("values", "values"), ("autocorrelation", "autocorrelation")):
            beside = in_brackets(result["held"][name][j]) if held is not None else ""
            parts.append(f"{words} {result['generated'][name][j]:.3f}{beside}")
        lines.append(f"  {column.name}: {', '.join(parts)}")
    if n_each > 1:
        beside = in_brackets(result["held"]["pairs"]) if held is not None else ""
        lines.append(
            f"  worst correlation of two columns: {result['generated']['pairs'] or 0.0:.3f}{beside}"
        )
    arrays = column_arrays(columns) | shown.of_windows(codec, real, ours)
    if held is not None:
        arrays["autocorrelation_held"] = autocorrelations(held)
    for name, windows in (("real", real), ("generated", ours)):
        arrays[f"autocorrelation_{name}"] = autocorrelations(windows)
        if n_each > 1:
            arrays[f"correlation_{name}"] = rank_correlations(windows)
            arrays[f"lagged_{name}"] = lagged_correlations(windows, MOST_LAGGED)
    return Compared(result, "\n".join(lines), arrays)
