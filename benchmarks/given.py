"""Share of pictures generated for a label that a classifier assigns to this label.

    python benchmarks/given.py                     # --data digits; 10 minutes
    python benchmarks/given.py --data-dir DIR      # also MNIST, from its idx files; 30 more

Protocol: `train.py` with the flags of a row, then for each of the ten digits `generate.py --given
label=DIGIT --n 100`, as it stands (`default`) and with `--pixels drawn`. An SVM (scikit-learn's
SVC, C = 10), fitted to the run's first 10,000 training pictures, classifies them. The results are
the share of all 1000 pictures that are classified as the given digit, and the share of the worst
digit. `real` is its accuracy on the run's test pictures. Mean and standard deviation over
seeds 0, 1, 2 of weights, training order and draws. Seconds are of training, on one thread.
"""

import contextlib
import io
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import parts  # noqa: F401  before torch

# isort: split

import numpy as np

import data as datasets
import generate
import train
from benchmarks.quality import RESULTS, summary
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.files import write_json
from parts.options import positive_int
from parts.runs import find_run, versions

N_JUDGE_ROWS = 10_000  # pictures that the classifier learns from
N_PER_DIGIT = 100  # pictures of each digit
DIGITS_256 = "--hidden-dims 256 --latent-dim 16 --epochs 100 --batch-size 64"
DIGITS_ROWS = {
    "digits, the defaults": "",
    "digits": DIGITS_256,
    "digits, Gaussian pixels": f"{DIGITS_256} --likelihood gaussian --variance shared",
    "digits, VAE/GAN": f"{DIGITS_256} --model vaegan",
    "digits, VQ-VAE": "--hidden-dims 256 --latent-dim 8 --epochs 150 --batch-size 64 --lr 0.003 "
    "--schedule onecycle --model vqvae --n-codes 16",
}
MNIST_FLAGS = "--hidden-dims 200 200 --latent-dim 16 --epochs 10 --batch-size 128 --lr 0.002 "
MNIST_FLAGS += "--schedule onecycle"
MNIST_ROWS = {
    "MNIST, the defaults": "",
    "MNIST": MNIST_FLAGS,
    "MNIST, learned prior": f"{MNIST_FLAGS} --prior vamp",
    "MNIST, beta 4": f"{MNIST_FLAGS} --beta 4",
}


def quietly(function, argv):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return function(argv)


def measure(flags, seed):
    """Train a run; the shares of agreeing pictures and seconds, by name."""
    from sklearn.svm import SVC

    with tempfile.TemporaryDirectory() as folder:
        where, start = ["--runs-dir", folder], time.perf_counter()
        flags = [*flags.split(), "--condition", "label", "--seed", str(seed), "--threads", "1"]
        if quietly(train.main, [*flags, *where, "--run", "given"]):
            raise KeyboardInterrupt  # training was interrupted
        found = {"seconds": time.perf_counter() - start}
        config = find_run(folder, "given").config()
        data = datasets.load(config.asked.data, config.codec, config.fingerprint)
        decode = data.codec.decode
        judge = SVC(C=10).fit(decode(data.train.x[:N_JUDGE_ROWS]), data.train.label[:N_JUDGE_ROWS])
        found["real"] = judge.score(decode(data.test.x), data.test.label)
        out = Path(folder) / "given.npz"
        for pixels in ("default", "drawn"):
            agreed = []
            for digit in range(10):
                made = [*where, "--run", "given", "--given", f"label={digit}"]
                made += ["--n", str(N_PER_DIGIT)]
                made += ["--seed", str(seed), "--out", str(out), "--overwrite"]
                made += [] if pixels == "default" else ["--pixels", pixels]
                quietly(generate.main, made)
                with np.load(out, allow_pickle=False) as arrays:
                    taken_for = judge.predict(arrays["X"].reshape(N_PER_DIGIT, -1))
                agreed.append((taken_for == digit).mean())
            found[pixels], found[f"{pixels}_worst"] = float(np.mean(agreed)), float(min(agreed))
    return found


def main(argv=None):
    parser = Parser(prog="benchmarks/given.py", description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", metavar="DIR", help="the idx files of MNIST, to add it")
    parser.add_argument("--seeds", type=positive_int, default=3, help="per row (default: 3)")
    parser.add_argument("--only", metavar="NAME", help="print this row")
    args = parser.parse_args(argv)
    todo = {name: f"--data digits {flags}".strip() for name, flags in DIGITS_ROWS.items()}
    folder = [] if args.data_dir is None else [f" --data-dir {args.data_dir}"]
    todo |= {name: f"--data mnist {flags}".strip() for name, flags in MNIST_ROWS.items() if folder}
    rows = []
    for name, flags in todo.items():
        if args.only not in (None, name):
            continue
        own = "".join(folder) if name in MNIST_ROWS else ""
        found = [measure(flags + own, seed) for seed in range(args.seeds)]
        row = {key: summary([one[key] for one in found]) for key in found[0]}
        rows.append({"name": name, "flags": f"{flags} --condition label", **row})
        print(f"{name}:", *(f"{key} {row[key]['mean']:.4f};" for key in row), flush=True)
    if args.only:
        return 0
    result = {"command": "python benchmarks/given.py --data-dir DIR", "seeds": args.seeds}
    write_json(RESULTS / "given.json", result | {"rows": rows, "versions": versions()})
    return 0


if __name__ == "__main__":
    run_script(main)
