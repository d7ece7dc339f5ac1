"""Compare samples of VAEs and of a VAE/GAN with equal networks, by one judge.

    python benchmarks/samples.py                  # --data digits; 5 minutes

Protocol: a random half of the labelled pictures is for training, and samples are compared with the
other, held-out half. A sample is the mean of p(x|z) at a z from p(z), without pixel noise. There is
one sample for each held-out picture, at most 5000. The judge is an MLP (parts/measure/fidelity.py)
that learned the classes from the training pictures; `confidence`, `class_entropy` and
`inception_score` come from its probabilities, `precision` and `recall` (Kynkaanniemi et al. 2019, k
= 3) from its hidden layer, and `told_apart` is the accuracy of an SVM that separates samples from
held-out pictures, by two-fold cross-validation. In `real` training pictures take the place of
samples, as the best case. Results are mean and standard deviation over seeds 0, 1, 2 of weights,
training order, samples and judge.

`log_px` (nats, 500 importance samples) and `mse` are those of held-out pictures. `accuracy` is the
accuracy of the discriminator in the last epoch, 0.5 at best for the VAE/GAN; `skipped` counts
non-finite steps. Seconds are those of training on one thread.
"""

import contextlib
import io
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import parts  # noqa: F401  before torch

# isort: split

import torch

import data as datasets
import train
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.errors import UserError
from parts.files import write_json
from parts.measure.fidelity import Judge
from parts.options import positive_int
from parts.randomness import fixed_randomness
from parts.runs import find_run, versions

RESULTS = ROOT / "benchmarks/results"
MAX_PICTURES = 5000  # most generated and most held-out pictures
# The VAE/GAN weighs reconstruction more than the KL, as a VAE with a small beta does.
COMPARED = {"vae": "", "vae, beta 0.2": "--beta 0.2", "vaegan": "--model vaegan"}
COMMON_FLAGS = "--likelihood bernoulli --binarize none --hidden-dims 256 --latent-dim 16"
COMMON_FLAGS += " --test-fraction 0.5 --threads 1"


def samples(model, n, seed):
    """Means of p(x|z) at n draws z from p(z), [n, D]."""
    with fixed_randomness(seed), torch.no_grad():
        return model.expected(model.decode(model.sample_z(n))).cpu().numpy()


def trained(argv, folder):
    """Model, Data, last line of the log and seconds of `train.py argv`."""
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if train.main([*argv, "--runs-dir", folder, "--run", "judged"]):
            raise KeyboardInterrupt  # training was interrupted
    seconds = time.perf_counter() - start
    run = find_run(folder, "judged")
    fitted, config = run.load()[0], run.config()
    data = datasets.load(config.asked.data, config.codec, config.fingerprint)
    return fitted.model, data, run.read_log()[-1], seconds


def measure(argv, seed):
    """Train every model from one seed; scores of its samples and of real pictures, by name."""
    found, judge = {}, None
    for name, own in COMPARED.items():
        with tempfile.TemporaryDirectory() as folder:
            flags = [*argv, "--seed", str(seed), *own.split()]
            model, data, log, seconds = trained(flags, folder)
        if data.train.label is None or len(data.test.x) < 10:
            raise UserError(f"--data {data.name}: expected labelled pictures, and 20 or more")
        if judge is None:
            judge = Judge(data.train.x, data.train.label, seed)
            real = data.test.x[:MAX_PICTURES]
            found["real"] = judge.scores(data.train.x[: len(real)], real, seed)
            found["real"]["judge_accuracy"] = judge.accuracy(data.test.x, data.test.label)
        found[name] = judge.scores(samples(model, len(real), seed), real, seed)
        x = torch.from_numpy(data.test.x[:MAX_PICTURES])
        with fixed_randomness(seed):
            found[name]["log_px"] = model.log_px(x, n_samples=500).mean().item()
        found[name]["mse"] = (model.reconstruct(x) - x).square().mean().item()
        found[name] |= {"skipped": log["skipped"], "seconds": seconds}
        if "discriminator_accuracy" in log:
            found[name]["accuracy"] = log["discriminator_accuracy"]
    return found


def summary(values):
    """[mean, standard deviation] over seeds."""
    return [statistics.mean(values), statistics.stdev(values) if len(values) > 1 else 0.0]


def main(argv=None):
    parser = Parser(prog="benchmarks/samples.py", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="labelled pictures (default: digits)")
    parser.add_argument("--epochs", type=positive_int, default=200, help="of both (default: 200)")
    parser.add_argument("--seeds", type=positive_int, default=3, help="(default: 3)")
    parser.add_argument("--flags", default="", help="further ones of train.py, in one string")
    parser.add_argument("--out", metavar="FILE", help="the JSON (default: in benchmarks/results)")
    args = parser.parse_args(argv)
    flags = ["--data", args.data, "--epochs", str(args.epochs)]
    flags += [*COMMON_FLAGS.split(), *args.flags.split()]
    by_seed = [measure(flags, seed) for seed in range(args.seeds)]
    models = {
        name: {key: summary([found[name][key] for found in by_seed]) for key in by_seed[0][name]}
        for name in by_seed[0]
    }
    for name, figures in models.items():
        print(f"{name:13}", *(f"{key} {m:.3f}±{sd:.3f};" for key, (m, sd) in figures.items()))
    result = {"command": "python benchmarks/samples.py", "flags": " ".join(flags)}
    result |= {"seeds": args.seeds, "models": models, "by_seed": by_seed, "versions": versions()}
    write_json(Path(args.out or RESULTS / "samples.json"), result)
    return 0


if __name__ == "__main__":
    run_script(main)
