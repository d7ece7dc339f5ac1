"""Training speed relative to other implementations, measured in one process.

    python benchmarks/speed.py            # about 6 minutes on two cores; --quick takes one

Every contender trains the same network on the same rows with the same batches. Contenders take
turns in shuffled order; a ratio is taken within each round and the median over rounds is reported,
so a slow minute of the machine cancels.

    lean         the leanest hand-written loop: one tensor, torch.optim.Adam(fused=True)
    bare         the loop of lean with the optimiser's kernel called directly: our loop without
                 checks for non-finite steps, statistics and generality
    dataloader   the usual loop: DataLoader, torch.optim.Adam, loss.backward(), loss.item()
    pythae, pyod their own training, where installed (benchmarks/requirements.txt); Gaussian
                 likelihood with fixed variance, which is all they have; PyOD's scoring not counted

    other_threads  ours on the number of threads that `choose_threads` did not take

Ours, lean, bare and dataloader run on as many threads as `choose_threads` fits to the step; pythae
and PyOD on torch's default, all cores, as their users get them.
"""

import contextlib
import io
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from torch import nn

from parts.console.devices import choose_threads, n_cores
from parts.console.flags import Parser
from parts.console.script import run_script
from parts.files import write_json
from parts.runs import versions
from train import fit
from vae import VAE, Gaussian

D, Z, LR = 20, 8, 1e-3
HIDDEN_OF_NETWORK = {"20-64-8": (64,), "20-128-64-8": (128, 64)}
BATCHES = (32, 128, 4096)
RESULTS = ROOT / "benchmarks/results"


def mlp(dims):
    layers = [m for a, b in zip(dims, dims[1:], strict=False) for m in (nn.Linear(a, b), nn.SiLU())]
    return nn.Sequential(*layers[:-1])


class HandWritten:
    """The VAE of this benchmark, written by hand."""

    def __init__(self, hidden):
        self.encoder, self.decoder = mlp([D, *hidden, 2 * Z]), mlp([Z, *hidden[::-1], 2 * D])
        self.params = [*self.encoder.parameters(), *self.decoder.parameters()]

    def loss(self, x):
        mu, logvar = self.encoder(x).chunk(2, -1)
        z = mu + torch.exp(0.5 * logvar) * torch.randn_like(mu)
        x_mu, raw = self.decoder(z).chunk(2, -1)
        x_logvar = nn.functional.softplus(raw + 9.21) - 9.21
        nll = 0.5 * (1.8379 + x_logvar + (x - x_mu).square() * torch.exp(-x_logvar)).sum(-1)
        kl = 0.5 * (logvar.exp() + mu.square() - 1 - logvar).sum(-1)
        return (nll + kl).mean()


def bare(x, hidden, batch_size):
    model = HandWritten(hidden)
    params = model.params
    moments = [[torch.zeros_like(p) for p in params] for _ in range(2)]
    step = torch.zeros(())
    options = {"lr": LR, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    options |= {"amsgrad": False, "maximize": False, "grad_scale": None, "found_inf": None}
    order = torch.randperm(len(x))
    for start in range(0, len(x), batch_size):
        grads = torch.autograd.grad(model.loss(x[order[start : start + batch_size]]), params)
        with torch.no_grad():
            step += 1
            torch._fused_adam_(params, grads, *moments, [], [step] * len(params), **options)


def lean(x, hidden, batch_size):
    model = HandWritten(hidden)
    optimizer = torch.optim.Adam(model.params, LR, fused=True)
    order = torch.randperm(len(x))
    for start in range(0, len(x), batch_size):
        optimizer.zero_grad()
        model.loss(x[order[start : start + batch_size]]).backward()
        optimizer.step()


def dataloader(x, hidden, batch_size):
    model = HandWritten(hidden)
    optimizer = torch.optim.Adam(model.params, LR)
    rows = torch.utils.data.TensorDataset(x)
    total = 0.0
    for (batch,) in torch.utils.data.DataLoader(rows, batch_size, shuffle=True):
        optimizer.zero_grad()
        loss = model.loss(batch)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(batch)


def ours(x, hidden, batch_size):
    fit(VAE(Gaussian(D), hidden, Z), x, epochs=1, batch_size=batch_size, lr=LR)


def other_threads(x, hidden, batch_size):
    """Train ours on all cores if `choose_threads` takes one, and on one if it takes all."""
    ours(x, hidden, batch_size)


def pythae(x, hidden, batch_size):
    from pythae.models import VAE as PythaeVAE
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    class Encoder(BaseEncoder):
        def __init__(self):
            super().__init__()
            self.net = mlp([D, *hidden, 2 * Z])

        def forward(self, x):
            mu, logvar = self.net(x).chunk(2, -1)
            return ModelOutput(embedding=mu, log_covariance=logvar)

    class Decoder(BaseDecoder):
        def __init__(self):
            super().__init__()
            self.net = mlp([Z, *hidden[::-1], D])

        def forward(self, z):
            return ModelOutput(reconstruction=self.net(z))

    with tempfile.TemporaryDirectory() as folder:
        options = {"output_dir": folder, "num_epochs": 1, "learning_rate": LR, "no_cuda": True}
        config = BaseTrainerConfig(per_device_train_batch_size=batch_size, **options)
        model = PythaeVAE(VAEConfig(input_dim=(D,), latent_dim=Z), Encoder(), Decoder())
        from pythae.data.datasets import BaseDataset

        rows = BaseDataset(x, torch.zeros(len(x)))
        BaseTrainer(model, rows, training_config=config).train()


def pyod(x, hidden, batch_size, epochs=1):
    from pyod.models.vae import VAE as PyodVAE

    network = {"encoder_neuron_list": list(hidden), "decoder_neuron_list": list(hidden[::-1])}
    network |= {"latent_dim": Z, "dropout_rate": 0.0, "preprocessing": False}
    options = {"lr": LR, "epoch_num": epochs, "batch_size": batch_size}
    PyodVAE(**network, **options, verbose=0, device="cpu").fit(x.numpy())


def seconds(function, *args, **options):
    start = time.perf_counter()
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        with contextlib.redirect_stderr(io.StringIO()):
            function(*args, **options)
    return time.perf_counter() - start


def training_seconds(contender, x, hidden, batch_size, threads):
    other = 1 if threads > 1 else n_cores()
    torch.set_num_threads(
        {pythae: n_cores(), pyod: n_cores(), other_threads: other}.get(contender, threads)
    )
    if contender is pyod:  # fit() also scores the rows, which two epochs minus one leave out
        two = seconds(pyod, x, hidden, batch_size, epochs=2)
        return two - seconds(pyod, x, hidden, batch_size)
    return seconds(contender, x, hidden, batch_size)


def compare(contenders, hidden, batch_size, n_rows, rounds):
    """Rows per second of each contender, and the median ratio of ours to it."""
    x = torch.from_numpy(np.random.default_rng(0).standard_normal((n_rows, D), np.float32))
    n_parameters = sum(p.numel() for p in HandWritten(hidden).params)
    threads = choose_threads(0, batch_size * n_parameters)
    for contender in contenders:  # the first call of each pays for imports and caches
        training_seconds(contender, x[: 4 * batch_size], hidden, batch_size, threads)
    rates = {contender.__name__: [] for contender in contenders}
    shuffle = random.Random(0)
    for _ in range(rounds):
        for contender in shuffle.sample(contenders, len(contenders)):
            torch.manual_seed(0)
            elapsed = training_seconds(contender, x, hidden, batch_size, threads)
            rates[contender.__name__].append(n_rows / elapsed)
    ratios = {
        name: [a / b for a, b in zip(rates["ours"], other, strict=True)]
        for name, other in rates.items()
        if name != "ours"
    }
    return {
        "threads": threads,
        "n_rows": n_rows,
        "rows_per_second": {name: round(statistics.median(r)) for name, r in rates.items()},
        "ratio": {name: round(statistics.median(r), 3) for name, r in ratios.items()},
        "ratio_range": {name: [round(min(r), 3), round(max(r), 3)] for name, r in ratios.items()},
    }


def installed():
    found = []
    for name, contender in (("pythae", pythae), ("pyod", pyod)):
        try:
            __import__(name)
            found.append(contender)
        except ImportError:
            print(f"{name} is not installed: skipped (pip install -r benchmarks/requirements.txt)")
    return found


def training(rounds):
    others = installed()
    rows = []
    for network, hidden in HIDDEN_OF_NETWORK.items():
        for batch_size in BATCHES:
            n_rows = max(20_000, 60 * batch_size)
            contenders = [ours, other_threads, lean, bare, dataloader, *others]
            row = compare(contenders, hidden, batch_size, n_rows, rounds)
            rows.append({"network": network, "batch_size": batch_size, **row})
            print(network, batch_size, row["rows_per_second"], row["ratio"])
    return rows


def process_seconds(*command):
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def start_up(rounds):
    """Seconds of `python train.py`, of its imports, and of these with torch.optim.Adam."""
    bare = "import torch, sklearn.datasets, sklearn.model_selection"
    adam = bare + "; torch.optim.Adam([torch.zeros(1)], fused=True)"
    taken = {"train": [], "imports": [], "imports_and_adam": []}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            taken["imports"].append(process_seconds("-c", bare))
            taken["train"].append(process_seconds("train.py", "--runs-dir", folder))
            taken["imports_and_adam"].append(process_seconds("-c", adam))
    medians = {name: round(statistics.median(values), 2) for name, values in taken.items()}
    ratios = [a / b for a, b in zip(taken["train"], taken["imports"], strict=True)]
    print("python train.py against its imports:", medians, round(statistics.median(ratios), 2))
    return {"seconds": medians, "ratio": round(statistics.median(ratios), 3)}


def memory(n_rows):
    """MB that an epoch on `n_rows` adds to peak memory, without the rows themselves (Linux)."""
    code = (
        "import benchmarks.speed as s, torch, numpy as np; torch.set_num_threads(1);"
        "peak = lambda: int(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]) / 1024;"
        "s.fit(s.VAE(s.Gaussian(s.D), (64,), s.Z), np.zeros((2048, s.D), np.float32), epochs=1);"
        "before = peak();"
        f"x = np.random.default_rng(0).standard_normal(({n_rows}, s.D), np.float32);"
        "s.fit(s.VAE(s.Gaussian(s.D), (64,), s.Z), x, epochs=1, batch_size=512);"
        "print(peak() - before - x.nbytes / 2**20)"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, env=environment)
    return round(float(out.stdout), 1)


def main(argv=None):
    parser = Parser(prog="benchmarks/speed.py", description="Training speed, as ratios.")
    parser.add_argument("--quick", action="store_true", help="fewer rounds; writes no results")
    args = parser.parse_args(argv)
    rounds = 3 if args.quick else 9
    result = {
        "command": "python benchmarks/speed.py",
        "rounds": rounds,
        "cores": n_cores(),
        "versions": versions(),
        "training": training(rounds),
        "start_up": start_up(rounds),
        "memory_mb_beyond_rows": {str(n): memory(n) for n in (10_000, 100_000, 1_000_000)},
    }
    print("memory beyond the rows, MB:", result["memory_mb_beyond_rows"])
    if not args.quick:
        write_json(RESULTS / "speed.json", result)
        print(f"Wrote {(RESULTS / 'speed.json').relative_to(ROOT)}")


if __name__ == "__main__":
    run_script(main)
