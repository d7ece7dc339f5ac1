"""Choose the device and the number of threads of a command."""

import os

from parts.errors import UserError


def choose_device(name):
    """The torch device that `--device` asks for."""
    import torch

    available = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if name == "auto":
        name = next(d for d in ("cuda", "mps", "cpu") if available[d])
    if not available[name]:
        raise UserError(f"--device {name}: torch finds none on this machine; use --device cpu")
    return torch.device(name)


def choose_threads(threads, multiply_adds):
    """The number of threads for steps of `multiply_adds`; `threads` itself unless it is 0.

    For small steps a second thread costs more time than it saves, see the column
    "÷ other threads" that `benchmarks/speed.py` measures.
    """
    if threads:
        return threads
    return 1 if multiply_adds < 16_000_000 else n_cores()


def use_threads(threads):
    """Set the number of torch's threads."""
    import torch

    torch.set_num_threads(threads)


def n_cores():
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # macOS and Windows lack this function
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
