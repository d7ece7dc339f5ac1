"""How much memory is free, and what does not fit, before any is taken."""

import math
from pathlib import Path

from parts.errors import UserError

GROUPS = Path("/sys/fs/cgroup")  # where Linux says what a container may take
KEPT_FREE = 0.1  # share of the free memory that nothing plans with


def free_bytes():
    """Bytes that this process may still take, inf where the system does not say.

    That is the least of what the machine has free, its container and `ulimit -v` leave.
    """
    return min(_of_machine(), _of_container(), _of_process())


def refuse_beyond_memory(what, n, bytes_each, units):
    """Raise UserError unless `n` things of `bytes_each` fit: the line says how many would.

    `what` asks for them, such as "--n 1000000000", and `units` names them, such as "rows".
    """
    free = free_bytes() * (1 - KEPT_FREE)
    if n * bytes_each > free:
        fitting = int(free // bytes_each)
        raise UserError(
            f"{what} would take {shown(n * bytes_each)} of memory, and {shown(free)} are free: "
            f"at most {fitting} {units} fit"
        )


def shown(n_bytes):
    """A number of bytes in words."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.3g} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:,.0f} TB" if n_bytes >= 1000 else f"{n_bytes:.3g} TB"


def _of_machine():
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        (found,) = [line for line in lines if line.startswith("MemAvailable:")]
        return int(found.split()[1]) * 1024
    except (OSError, ValueError):  # not Linux
        return math.inf


def _of_container():
    free = math.inf
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        try:
            free = min(free, int((GROUPS / limit).read_text()) - int((GROUPS / used).read_text()))
        except (OSError, ValueError):  # no container, or "max"
            continue
    return free


def _of_process():
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        if limit == resource.RLIM_INFINITY:
            return math.inf
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        return max(0, limit - pages * resource.getpagesize())
    except (ImportError, OSError, ValueError):
        return math.inf
