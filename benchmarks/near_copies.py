"""Draw what a fit makes of two columns that are nearly equal, with and without stretched noise.

    python benchmarks/near_copies.py      # about a minute on one core

2000 rides begin at a random minute of 30 days and take 3 to 40 minutes; the columns are the two
times, in days, and the distance. The same preset is trained twice, with noise that is independent
given z and with noise that is stretched along the direction in which the times differ. 2000 rows
are drawn from each. `negative` is the share of drawn rides that end before they begin, `spread` the
standard deviation of the drawn durations over that of the real ones, and `nats` log p(x) of 400
other rides; mean and standard deviation over seeds.
"""

import sys
import tempfile
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

import data as datasets
from benchmarks.quality import summary
from parts import files, forms
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.model.batches import Batch
from parts.model.build import fit_to_model
from parts.options import positive_int
from parts.plots import style
from parts.randomness import fixed_randomness
from parts.runs import versions
from parts.runs.config import resolve
from parts.tasks import fit
from parts.tasks.sample import draw
from parts.training import presets

RESULTS = ROOT / "benchmarks/results"
N_RIDES, N_TEST = 2000, 400
NOISES = {"independent noise": "independent", "stretched noise": "stretched"}
DAY = 24 * 60  # minutes


def rides(seed):
    """Begin and end in days and the distance in kilometres, [N, 3]."""
    rng = np.random.default_rng(seed)
    n = N_RIDES + N_TEST
    begin = rng.uniform(0, 30 * DAY, n)
    minutes = np.clip(rng.gamma(3, 5, n), 3, 40)
    return np.stack([begin / DAY, (begin + minutes) / DAY, 0.4 * minutes + rng.normal(0, 1, n)], 1)


def fitted(path, noise, seed):
    """A fit of preset table to the rides in a file, and its test rows as a Batch."""
    given = {"data": str(path), "likelihood": "mixed", "preset": "table", "noise": noise}
    given |= {"seed": seed, "relations": "off", "val_fraction": 0.0}
    given |= {"test_fraction": N_TEST / (N_RIDES + N_TEST)}
    given["kinds"] = {"begin": "real", "end": "real", "distance": "real"}
    form = forms.form_of(str(path))
    config = fit_to_model(resolve(given), given)
    data = datasets.split_and_encode(form, form.read(str(path)), config.data)
    return fit.fit(data, presets.fit_to_data(config, data)), Batch.of(data.test)


def durations(x):
    """Minutes from begin to end."""
    return (x[:, 1] - x[:, 0]) * DAY


def figure_of(real, drawn, path):
    """Histograms of the durations of real rides and of those that each fit draws."""
    import matplotlib

    matplotlib.use("Agg")
    style.use()
    figure, axes = style.subplots(1, len(drawn), width=9, height=3.2)
    for axis, (name, minutes) in zip(axes.flat, drawn.items(), strict=True):
        low, high = min(minutes.min(), 0), max(minutes.max(), 45)
        bins = np.linspace(low, high, 60)
        axis.hist(minutes, bins, density=True, color=style.VERMILION, label="drawn")
        axis.hist(
            real, np.arange(0, 42, 1), density=True, histtype="step", color="black", label="real"
        )
        axis.set(title=name, xlabel="minutes from begin to end", yscale="log", ylabel="density")
    style.legend_below(figure, axes.flat[0])
    files.write_atomic(path, partial(figure.savefig, format="png", dpi=style.DPI))


def main(argv=None):
    parser = Parser(prog="benchmarks/near_copies.py", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=positive_int, default=3, help="default: 3")
    args = parser.parse_args(argv)
    found = {name: {"negative": [], "spread": [], "nats": []} for name in NOISES}
    for seed in range(args.seeds):
        x, drawn = rides(seed), {}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "rides.csv"
            np.savetxt(path, x, fmt="%.6f", delimiter=",", header="begin,end,distance", comments="")
            for name, noise in NOISES.items():
                made, test = fitted(path, noise, seed)
                with fixed_randomness(seed):
                    drawn[name] = durations(made.codec.decode(draw(made, N_RIDES).x))
                nats = made.model.importance(*test, n_samples=200).log_px.mean().item()
                row = found[name]
                row["negative"].append(100 * float((drawn[name] < 0).mean()))
                row["spread"].append(float(drawn[name].std() / durations(x).std()))
                row["nats"].append(nats)
        if seed == 0:
            figure_of(durations(x), drawn, RESULTS / "near_copies.png")
    result = {
        "command": "python benchmarks/near_copies.py",
        "seeds": args.seeds,
        "noise": {
            name: {key: summary(values) for key, values in row.items()}
            for name, row in found.items()
        },
        "versions": versions(),
    }
    files.write_json(RESULTS / "near_copies.json", result)
    print(result["noise"])


if __name__ == "__main__":
    run_script(main)
