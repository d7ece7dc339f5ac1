"""Draw what a fit learns of a far cluster, with and without trimming.

    python benchmarks/trimming.py         # seconds on one core

500 rows lie along a curve in the plane, and 25 in a tight cluster far from it. The same network is
trained on all of them, once on every row and once leaving out those that it finds least likely,
as the preset `detect` does. A row's score is -log p(x) with 200 importance samples;
`nats_apart` is the mean score of the cluster minus the median of the curve; mean and standard
deviation over seeds.
"""

import sys
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch

from benchmarks.quality import summary
from parts import files
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.options import positive_int
from parts.plots import style
from parts.runs import versions
from parts.training.presets import PRESETS
from train import fit
from vae import VAE, Gaussian

RESULTS = ROOT / "benchmarks/results"
N_CURVE, N_CLUSTER = 500, 25
TRIM = PRESETS["detect"]["trim"]
TRIMS = {"every row": 0.0, "rows like most others": TRIM}
N_GRID = 70  # points of the drawn grid along each axis


def rows(seed):
    """The rows [N, 2] in standardised units, and 1 for those of the cluster [N]."""
    rng = np.random.default_rng(seed)
    t = rng.uniform(-1, 1, N_CURVE)
    curve = np.stack([2 * t, np.cos(3 * t)], 1) + 0.12 * rng.normal(size=(N_CURVE, 2))
    cluster = [2.2, 2.2] + 0.08 * rng.normal(size=(N_CLUSTER, 2))
    x = np.vstack([curve, cluster])
    odd = np.repeat([0, 1], [N_CURVE, N_CLUSTER])
    return ((x - x.mean(0)) / x.std(0)).astype(np.float32), odd


def fitted(x, trim, seed):
    torch.manual_seed(seed)
    model = VAE(Gaussian(2, variance="shared"), hidden_dims=(64, 64), z_dim=2)
    options = {"objective": "dreg", "n_samples": 5, "schedule": "onecycle", "trim": trim}
    fit(model, x, epochs=200, lr=5e-3, seed=seed, batch_size=128, **options)
    return model.eval()


def scores(model, x):
    return -model.log_px(torch.from_numpy(x), n_samples=200).numpy()


def draw(x, odd, models, path):
    """Contours of -log p(x) of both models over the rows."""
    import matplotlib

    matplotlib.use("Agg")
    style.use()
    figure, axes = style.subplots(1, len(models), width=9, height=4)
    low, high = x.min(0) - 0.6, x.max(0) + 0.6
    grid = np.meshgrid(*(np.linspace(a, b, N_GRID) for a, b in zip(low, high, strict=True)))
    points = np.stack([axis.ravel() for axis in grid], 1).astype(np.float32)
    for axis, (name, model) in zip(axes.flat, models.items(), strict=True):
        depth = scores(model, points).reshape(N_GRID, N_GRID)
        levels = [0, 1, 2, 4, 6, 10, 15, 25]
        drawn = axis.contourf(*grid, depth, levels, cmap="Blues_r", extend="both")
        axis.scatter(*x[odd == 0].T, s=4, color="black", label="500 rows on a curve")
        axis.scatter(*x[odd == 1].T, s=8, color=style.VERMILION, label="25 odd rows")
        axis.set(title=f"trained on {name}")
    figure.colorbar(drawn, ax=axes.ravel().tolist(), label="−log p(x), nats: higher is odder")
    style.legend_below(figure, axes.flat[0])
    files.write_atomic(path, partial(figure.savefig, format="png", dpi=style.DPI))


def main(argv=None):
    parser = Parser(prog="benchmarks/trimming.py", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=positive_int, default=3, help="default: 3")
    args = parser.parse_args(argv)
    found = {name: [] for name in TRIMS}
    for seed in range(args.seeds):
        x, odd = rows(seed)
        models = {name: fitted(x, trim, seed) for name, trim in TRIMS.items()}
        for name, model in models.items():
            found_scores = scores(model, x)
            apart = found_scores[odd == 1].mean() - np.median(found_scores[odd == 0])
            found[name].append(float(apart))
        if seed == 0:
            draw(x, odd, models, RESULTS / "trimming.png")
    result = {
        "command": "python benchmarks/trimming.py",
        "seeds": args.seeds,
        "nats_apart": {name: summary(values) for name, values in found.items()},
        "versions": versions(),
    }
    files.write_json(RESULTS / "trimming.json", result)
    print(result["nats_apart"])


if __name__ == "__main__":
    run_script(main)
