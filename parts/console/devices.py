"""The device and the number of threads that a command computes with."""

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
    """Threads for work of so many multiply-adds at a time; 0 picks.

    For little work a second thread costs more in hand-over than it computes: see the column
    "÷ other threads" that `benchmarks/speed.py` measures.
    """
    if threads:
        return threads
    return 1 if multiply_adds < 16_000_000 else n_cores()


def use_threads(threads):
    """Let torch compute with so many threads."""
    import torch

    torch.set_num_threads(threads)


def n_cores():
    """The cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
