"""The random state that training draws from, and work that leaves it as it was."""

import contextlib


def random_state():
    """The random states that training draws from, as tensors."""
    import torch

    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_random_state(state):
    import torch

    torch.set_rng_state(state["cpu"])
    if torch.cuda.is_available() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextlib.contextmanager
def fixed_randomness(seed=0):
    """Draw from `seed` inside, and leave the random state outside as it was."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
