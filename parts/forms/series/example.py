"""A small example of a series: two machines, three sensors, a state, gaps and planted events."""

import numpy as np

START, STEP, N_STEPS = "2025-03-03", 600, 6 * 7 * 144  # from a Monday on, 10 minutes, 6 weeks
MACHINES = ("A", "B")
SENSORS = ("temperature", "vibration", "pressure")
HOLES = 0.01  # share of cells that are empty
GAPS = (("A", 1300, 20), ("A", 4100, 300), ("B", 2500, 45))  # machine, first step, steps
# Machine, what happens, sensor, first step, steps.
EVENTS = (
    ("A", "spike", "vibration", 2210, 2),
    ("A", "shift", "temperature", 3300, 90),
    ("A", "frozen", "pressure", 5000, 72),
    ("A", "shape", "temperature", 5500, 144),
    ("B", "frozen", "vibration", 1500, 60),
    ("B", "shape", "pressure", 3400, 144),
    ("B", "shift", "vibration", 4300, 80),
    ("B", "spike", "temperature", 5300, 2),
)


def sensors(seed=42):
    """A DataFrame of text: timestamp, machine, three sensors, on or off, and events.

    The sensors follow the time of day, and the machine is off at night and on Sundays. Rows in
    GAPS are not there, and 1 % of the sensors' cells are empty. The column `event` is 1 where one
    of EVENTS is; a model must not be trained on this column.
    """
    import pandas as pd

    rng = np.random.default_rng((seed, 3))
    seconds = np.datetime64(START) + np.arange(N_STEPS) * np.timedelta64(STEP, "s")
    stamps = pd.to_datetime(seconds).strftime("%Y-%m-%d %H:%M:%S")
    tables = []
    for machine in MACHINES:
        values, is_on = ordinary(rng, warmer=3.0 * (machine == "B"))
        event = np.zeros(N_STEPS, bool)
        for own, what, sensor, first, n in EVENTS:
            if own == machine:
                at = slice(first, first + n)
                values[sensor][at] = changed(values[sensor], what, at)
                event[at] = True
        table = pd.DataFrame({"timestamp": stamps, "machine": machine}, dtype="str")
        for name, digits in zip(SENSORS, (1, 2, 3), strict=True):
            cells = np.array([f"{value:.{digits}f}" for value in values[name]])
            hole = (rng.random(N_STEPS) < HOLES) & ~event
            table[name] = np.where(hole, "", cells)
        table["state"] = np.where(is_on, "on", "off")
        table["event"] = event.astype(int).astype(str)
        there = np.ones(N_STEPS, bool)
        for own, first, n in GAPS:
            there[first : first + n] &= own != machine
        tables.append(table[there])
    return pd.concat(tables, ignore_index=True).astype("str")


def ordinary(rng, warmer):
    """The sensors of a machine without events, a dict of [N_STEPS], and where it is on."""
    steps = np.arange(N_STEPS)
    hour = steps % 144 / 6
    is_on = (hour >= 6) & (hour < 21) & (steps // 144 % 7 != 6)
    load = smooth(is_on.astype(float), 0.15)
    day = np.sin(2 * np.pi * (hour - 9) / 24)
    weather = smooth(rng.normal(size=N_STEPS), 0.01) * 14
    temperature = 24 + warmer + 4 * day + 9 * load + weather + 0.3 * rng.normal(size=N_STEPS)
    vibration = np.exp(-1.2 + 1.6 * load + 0.15 * rng.normal(size=N_STEPS))
    slow = smooth(rng.normal(size=N_STEPS), 0.05) * 0.15
    pressure = 5 + 0.6 * load - 0.15 * day + slow + 0.03 * rng.normal(size=N_STEPS)
    return dict(zip(SENSORS, (temperature, vibration, pressure), strict=True)), is_on


def changed(values, what, at):
    """The part `at` of a sensor's values [N_STEPS] with an event: spike, shift, frozen or shape."""
    part, spread = values[at], values.std()
    if what == "spike":
        return part + 6 * spread
    if what == "shift":
        return part + 1.8 * spread
    if what == "frozen":
        return np.full(len(part), values[at.start])
    return part.mean() + 1.2 * spread * np.sin(2 * np.pi * np.arange(len(part)) / 18)


def smooth(values, share):
    """Values from 0 on that follow others by a share of their distance in each step, [N]."""
    found, last = np.empty(len(values)), 0.0
    for i, value in enumerate(values.tolist()):
        last += share * (value - last)
        found[i] = last
    return found
