"""Every variant of the VAE on `digits`, binarised anew at every visit.

    python benchmarks/variants.py          # about 10 minutes on one core

Each row runs `python train.py BASE FLAGS --seed S` and `python evaluate.py` for every seed: mean
and standard deviation over seeds of test log p(x) by 1000 importance samples, in nats (of a
conditional VAE log p(x|y), of a VQ-VAE its bound). Encoder, decoder and epochs are the same for
all. Pictures: what `python generate.py --n 12` draws from the first seed's run (of a conditional
VAE with `--given label=7`). The rate-distortion curve has `--beta` from low to high.
"""

import contextlib
import io
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

import generate
from benchmarks.quality import RESULTS, draw_rate_distortion, run, summary
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.files import read_json, write_json
from parts.forms.pictures import sheets
from parts.options import positive_int
from parts.runs import versions

BASE = "--data digits --epochs 100 --batch-size 64 --hidden-dims 256 --latent-dim 16"
KEYS = ("log_px", "elbo", "kl", "active_units", "test_mse", "train_seconds")
N_DRAWN = 12  # generated pictures per variant
SHAPE = (8, 8)  # pixels of a digit
DIGITS_BETAS = (0.1, 0.3, 0.6, 1.0, 2.0, 4.0, 8.0)
# Name -> flags, change, source, use; docs/variants.md shows them in this order.
VARIANTS = {
    "VAE": (
        "",
        "nothing: E_q[log p(x\\|z)] - KL(q(z\\|x) ‖ p(z))",
        "Kingma & Welling 2014",
        "you start",
    ),
    "beta-VAE": (
        "--beta 2",
        "the KL has the weight beta",
        "Higgins et al. 2017",
        "you want fewer and simpler latents; with beta below 1, sharper reconstructions",
    ),
    "capacity": (
        "--beta 10 --capacity 8 --warmup-epochs 50",
        "beta weighs \\|KL - C\\|, and C rises",
        "Burgess et al. 2018",
        "you want to choose how many nats z holds",
    ),
    "free bits": (
        "--beta 2 --free-bits 0.2",
        "max(F, mean KL) of each latent takes the place of its KL",
        "Kingma et al. 2016",
        "latents are left unused",
    ),
    "warm-up": (
        "--warmup-epochs 50",
        "beta rises from 0",
        "Sonderby et al. 2016",
        "latents are given up early in training",
    ),
    "cycles": (
        "--warmup-epochs 25 --cycles 4",
        "beta rises from 0 several times",
        "Fu et al. 2019",
        "latents are given up in spite of a warm-up",
    ),
    "IWAE": (
        "--objective iwae --n-samples 5",
        "the bound is the log of the mean of K weights",
        "Burda et al. 2016",
        "log p(x) is what you want",
    ),
    "DReG": (
        "--objective dreg --n-samples 5",
        "the bound of IWAE, by a gradient of smaller variance",
        "Tucker et al. 2018",
        "log p(x) is what you want, with many samples",
    ),
    "planar flow": (
        "--flow planar:10",
        "z' = z + u tanh(w.z + b) makes q richer",
        "Rezende & Mohamed 2015",
        "q is not Gaussian, and latents are few",
    ),
    "IAF": (
        "--flow iaf:4",
        "z' = s z + m, autoregressive, makes q richer",
        "Kingma et al. 2016",
        "q is not Gaussian",
    ),
    "mixture prior": (
        "--prior mixture",
        "p(z) is a learned mixture of Gaussians",
        "Dilokthanakul et al. 2016",
        "rows fall into groups, or you want better samples",
    ),
    "VampPrior": (
        "--prior vamp",
        "p(z) is a mixture of q(z\\|u) at learned u",
        "Tomczak & Welling 2018",
        "rows fall into groups, or you want better samples",
    ),
    "conditional": (
        "--condition label",
        "p(x\\|y): y joins x and z",
        "Sohn et al. 2015",
        "you want rows of a chosen class, or rows that are odd for their class",
    ),
    "VQ-VAE": (
        "--model vqvae --latent-dim 2 --n-codes 16",
        "z is 2 codes of a book of 16, with a learned prior",
        "van den Oord et al. 2017",
        "you want discrete codes; its log p(x) is a bound",
    ),
    "VAE/GAN": (
        "--model vaegan",
        "the decoder also rebuilds features of a discriminator",
        "Larsen et al. 2016",
        "you want sharper and more varied pictures, and can pay with log p(x)",
    ),
}


def measure(flags, n_seeds, folder, name):
    results = [run(f"{BASE} {flags}", s, folder, f"{name}-{s}") for s in range(n_seeds)]
    return {key: summary([result[key] for result in results]) for key in KEYS}


def picture_of(name):
    """The file name of a variant's pictures, in the folder of results."""
    return f"variant_{name.lower().replace(' ', '_').replace('/', '_')}.png"


def draw(flags, folder, run_name, path):
    """Write a strip of pictures that the run generates."""
    out = Path(folder) / "drawn.npz"
    given = ["--given", "label=7"] if "--condition" in flags else []
    argv = ["--runs-dir", str(folder), "--run", run_name, "--n", str(N_DRAWN), "--out", str(out)]
    with contextlib.redirect_stdout(io.StringIO()):
        generate.main([*argv, "--overwrite", *given])
    with np.load(out, allow_pickle=False) as arrays:
        x = arrays["X"].reshape(N_DRAWN, -1)
    sheets.write(path, sheets.as_colour(x, SHAPE, "gray_r", 0.0, x.max())[None])


def main(argv=None):
    parser = Parser(prog="benchmarks/variants.py", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=positive_int, default=3, help="per row (default: 3)")
    parser.add_argument("--only", action="append", choices=VARIANTS, help="print this row")
    parser.add_argument(
        "--redraw", action="store_true", help="draw the curve again from variants.json, and stop"
    )
    args = parser.parse_args(argv)
    path = RESULTS / "rate_distortion_digits.png"
    if args.redraw:
        curve = read_json(RESULTS / "variants.json")["rate_distortion"]
        draw_rate_distortion(curve, path, "grey values")
        return 0
    rows, points = [], []
    with tempfile.TemporaryDirectory() as folder:
        for i, name in enumerate(args.only or VARIANTS):
            flags, *words = VARIANTS[name]
            row = measure(flags, args.seeds, folder, f"v{i}")
            if not args.only:
                draw(flags, folder, f"v{i}-0", RESULTS / picture_of(name))
            words = dict(zip(("changes", "source", "use"), words, strict=True))
            rows.append({"name": name, "flags": flags, "picture": picture_of(name), **words, **row})
            px, units = row["log_px"], row["active_units"]
            spread, seconds = px["sd"] or 0.0, row["train_seconds"]["mean"]
            reached = f"log p(x) {px['mean']:.2f} ± {spread:.2f}"
            active = f"active units {units['mean']:.1f}"
            print(f"{name}: {reached}, {active}, {seconds:.0f} s", flush=True)
        for beta in () if args.only else DIGITS_BETAS:
            row = measure(f"--beta {beta}", args.seeds, folder, f"beta{beta}")
            points.append({"beta": beta, "kl": row["kl"], "test_mse": row["test_mse"]})
            print(f"beta {beta}: KL {row['kl']['mean']:.2f}, MSE {row['test_mse']['mean']:.4f}")
    if args.only:
        return 0
    result = {"command": "python benchmarks/variants.py", "base": BASE, "seeds": args.seeds}
    curve = {"points": points, "pca_mse": {}}
    draw_rate_distortion(curve, path, "grey values")
    write_json(
        RESULTS / "variants.json",
        result | {"rows": rows, "rate_distortion": curve, "versions": versions()},
    )
    return 0


if __name__ == "__main__":
    run_script(main)
