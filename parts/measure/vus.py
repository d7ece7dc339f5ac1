"""Measures of scores of series against labels: VUS-PR, average precision, and events.

VUS-PR (Paparrizos et al. 2022, "Volume under the surface") is the mean over buffers w = 0..W of the
area under a curve of precision and recall whose labels fade out around each event. It is computed
as TSB-AD does (Liu and Paparrizos 2024), so that figures can be compared with its tables.
"""

import numpy as np

N_THRESHOLDS = 250  # ranks at which precision and recall are taken
MAX_ROWS, MAX_LAG = 20_000, 400  # of the autocorrelation
LAGS, NO_PERIOD = (6, 303), 125  # accepted lags of its highest peak, and W where there is none


def events_of(flags, merge=0):
    """First and last row of each run of flagged rows, [E, 2].

    Runs with at most `merge` rows between them are one event.
    """
    edges = np.diff(np.concatenate([[0], np.asarray(flags) > 0, [0]]).astype(np.int64))
    first, last = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    apart = first[1:] - last[:-1] - 1 > merge
    return np.stack(
        [first[np.r_[True, apart][: len(first)]], last[np.r_[apart, True][: len(last)]]], 1
    )


def average_precision(labels, scores):
    """Area under precision and recall of rows, by scikit-learn; NaN without anomalies."""
    from sklearn.metrics import average_precision_score

    labels = np.asarray(labels) > 0
    return float(average_precision_score(labels, scores)) if labels.any() else np.nan


def autocorrelation(x, n_lags=MAX_LAG):
    """Of a series x [T] at lags 0, 1, ..., at most n_lags; NaN where x is constant."""
    x = np.asarray(x, np.float64) - np.mean(x)
    n = 1 << (2 * len(x) - 1).bit_length()
    products = np.fft.irfft(np.abs(np.fft.rfft(x, n)) ** 2, n)[: min(n_lags + 1, len(x))]
    constant = np.abs(x).max() <= 1e-12
    return np.full(len(products), np.nan) if constant else products / products[0]


def buffer_of(x):
    """W of a series x [T]: the lag of the highest local maximum of its autocorrelation."""
    r = autocorrelation(x[:MAX_ROWS])
    lags = np.arange(4, len(r) - 1)  # lag 3 has no neighbour on the left
    peaks = lags[(r[4:-1] > r[3:-2]) & (r[4:-1] > r[5:])]
    if not len(peaks):
        return NO_PERIOD
    best = int(peaks[r[peaks].argmax()])
    return best if LAGS[0] <= best <= LAGS[1] else NO_PERIOD


def vus_pr(labels, scores, max_buffer):
    """VUS-PR of scores [T] for 0/1 labels [T], with buffers of 0..max_buffer rows.

    Each label fades out over w // 2 rows on both sides of an event, by the weight
    sqrt(1 - distance / w). A row counts at the first of the thresholds that it reaches, so one sum
    over the rows around events gives the true positives of all thresholds. NaN without anomalies.
    """
    labels, scores = np.asarray(labels) > 0, np.asarray(scores, np.float64)
    if not labels.any():
        return np.nan
    n, events = len(labels), events_of(labels)
    at = np.linspace(0, n - 1, N_THRESHOLDS).astype(int)
    thresholds = -np.sort(-scores)[at]  # [K], falling
    reached = np.searchsorted(-thresholds, -scores, side="left")  # first threshold, K for none
    # All rows have reached the last threshold, the lowest score.
    n_flagged = np.bincount(reached, minlength=N_THRESHOLDS).cumsum()
    inside = np.bincount(reached[labels], minlength=N_THRESHOLDS).cumsum()

    # Rows of the widest buffers that are outside of events, once for each event and side.
    distances = np.arange(1, max_buffer // 2 + 1)
    rows = np.concatenate([events[:, :1] - distances, events[:, 1:] + distances])  # [2 E, W // 2]
    distance = np.broadcast_to(distances, rows.shape)
    kept = (rows >= 0) & (rows < n)
    kept[kept] = ~labels[rows[kept]]
    rows, place = np.unique(rows[kept], return_inverse=True)
    distance, reached_here = distance[kept], reached[rows]
    order = np.argsort(distance, kind="stable")
    place, distance = place[order], distance[order]

    areas = []
    for w in range(max_buffer + 1):
        half = w // 2
        near = np.searchsorted(distance, half, side="right")
        weights = np.sqrt(1 - distance[:near] / max(w, 1))
        weights = np.bincount(place[:near], weights, len(rows)).clip(max=1)
        fading = np.bincount(reached_here, weights, N_THRESHOLDS).cumsum()
        hits = inside + fading
        recall = np.minimum(hits / (labels.sum() + fading / 2), 1)
        recall = np.append(0, recall * touched(events, reached, half, n))
        areas.append(np.diff(recall) @ (hits / n_flagged))
    return float(np.mean(areas))


def touched(events, reached, half, n):
    """Share of events, extended by `half` rows and joined where they meet, with a flagged row, by
    threshold, [K].
    """
    joined = np.flatnonzero(events[1:, 0] - half > events[:-1, 1] + half)
    first = (events[np.r_[0, joined + 1], 0] - half).clip(min=0)
    last = (events[np.r_[joined, len(events) - 1], 1] + half).clip(max=n - 1)
    bounds = np.stack([first, last + 1], 1).ravel()
    # A pad makes n a valid end; every second run of reduceat is what lies between the events.
    soonest = np.minimum.reduceat(np.append(reached, N_THRESHOLDS), bounds)[::2]
    return np.bincount(soonest, minlength=N_THRESHOLDS)[:N_THRESHOLDS].cumsum() / len(first)
