"""Make the pictures of MNIST in docs/pictures.md: samples, reconstructions, a traversal.

    python benchmarks/gallery.py --data-dir DIR          # about 5 minutes on one core

`python train.py --data mnist --preset mnist --epochs 20 --latent-dim 16 --prior mixture`,
`evaluate.py`, `plot_results.py` and `generate.py`; the figures are copied to benchmarks/results.
"""

import contextlib
import io
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import evaluate
import generate
import plot_results
import train
from parts.console.flags import Parser
from parts.console.script import run_script

RESULTS = ROOT / "benchmarks/results"
TRAIN_FLAGS = "--data mnist --preset mnist --epochs 20 --latent-dim 16 --prior mixture --run mnist"
COPIED_FIGURES = ("reconstructions", "latent_traversal", "interpolations")


def main(argv=None):
    parser = Parser(prog="benchmarks/gallery.py", description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", required=True, metavar="DIR", help="the idx files of MNIST")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        where = ["--runs-dir", folder]
        run, sheet = [*where, "--run", "mnist"], Path(folder) / "samples.npz"
        train.main([*TRAIN_FLAGS.split(), *where, "--data-dir", args.data_dir])
        evaluate.main([*run, "--n-samples", "5"])
        plot_results.main(run)
        generate.main([*run, "--n", "100", "--out", str(sheet)])
        for name in COPIED_FIGURES:
            source = Path(folder) / "mnist/figures" / f"{name}.png"
            shutil.copy(source, RESULTS / f"mnist_{name}.png")
        shutil.copy(sheet.with_suffix(".png"), RESULTS / "mnist_samples.png")
    print("Wrote benchmarks/results/mnist_*.png")
    return 0


if __name__ == "__main__":
    run_script(main)
