"""The random state that training draws from, and work that leaves it as it was.

Only the generators of devices that this process computes on are touched.
"""

import contextlib


def seed_everything(seed):
    """Seed torch's generators: for a new run, before its weights are drawn."""
    import torch

    torch.manual_seed(seed)


def random_state():
    """The random states that training draws from, as tensors."""
    import torch

    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    state = {"cpu": torch.get_rng_state(), "cuda": cuda}
    if torch.backends.mps.is_available():
        state["mps"] = torch.mps.get_rng_state()
    return state


def set_random_state(state):
    import torch

    torch.set_rng_state(state["cpu"])
    here = torch.cuda.is_initialized()
    if here and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
    if "mps" in state and torch.backends.mps.is_available():
        torch.mps.set_rng_state(state["mps"])


@contextlib.contextmanager
def fixed_randomness(seed=0):
    """Draw from `seed` inside, and leave the random state outside as it was."""
    import torch

    state = random_state()
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed(seed)
    if "mps" in state:
        torch.mps.manual_seed(seed)
    try:
        yield
    finally:
        set_random_state(state)
