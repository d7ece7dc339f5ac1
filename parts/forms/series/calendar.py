"""Features of the calendar: sine and cosine of the time of day, of the week and of the year."""

import numpy as np

DAY = 86_400.0
PERIODS = {"day": DAY, "week": 7 * DAY, "year": 365.2425 * DAY}
HARMONICS = {"day": 2, "week": 3, "year": 2}  # most of each period
NAMES = {"day": "time of day", "week": "time of week", "year": "time of year"}
LEAST_PERIODS = 2  # that training stamps span
MOST_POSITIONS = 288  # of a period, for each of which a mean is taken


def fit(seconds, step, known=tuple(PERIODS)):
    """The spans that stamps [n] of training slots with this step show, a list of plain dicts.

    `known` names the periods that the stamps can tell, see Clock.periods. A harmonic needs more
    than two steps in its period.
    """
    seconds = seconds[np.isfinite(seconds)]
    reach = np.ptp(seconds) + step.seconds if len(seconds) else 0.0
    found = []
    for name, period in PERIODS.items():
        n = min(HARMONICS[name], int(np.ceil(period / step.seconds / 2 - 1e-9)) - 1)
        if name in known and n > 0 and reach >= LEAST_PERIODS * period * (1 - 1e-3):
            found.append({"period": name, "harmonics": n})
    return found


def features(seconds, spans):
    """Sine and cosine of each harmonic of the spans at stamps [n], [n, C] float32."""
    found = []
    for span in spans:
        phase = 2 * np.pi * ((seconds / PERIODS[span["period"]]) % 1.0)
        for k in range(1, span["harmonics"] + 1):
            found += [np.sin(k * phase), np.cos(k * phase)]
    if not found:
        return np.zeros((len(seconds), 0), np.float32)
    return np.stack(found, axis=1).astype(np.float32)  # [n, C]


def position(seconds, period, step):
    """Where stamps lie in a period, in steps but in at most MOST_POSITIONS, and how many there are.

    `seconds` are of any shape, `period` and `step` are in seconds too.
    """
    n = max(1, min(round(period / step), MOST_POSITIONS))
    return np.rint(seconds % period * (n / period)).astype(np.int64) % n, n


def names(spans):
    """The names of the features, a list of C texts."""
    return [
        f"{NAMES[span['period']]}, {wave} {k}"
        for span in spans
        for k in range(1, span["harmonics"] + 1)
        for wave in ("sine", "cosine")
    ]
