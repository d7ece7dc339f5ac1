"""Processes that share a list of turns, and end on a signal or when their parent is gone."""

import multiprocessing
import signal
import time

from parts.errors import UserError

POLL_SECONDS = 0.2  # seconds between checks whether the processes are alive


def run(n, target, arguments, turns, stop):
    """Call `target(*arguments, shared_turns)` in n processes; yield often while they work.

    When the list `stop` is no longer empty, each process gets a SIGTERM.
    """
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    arguments = (*arguments, SharedTurns(turns, context.Value("i", 0)))
    processes = [context.Process(target=target, args=arguments, daemon=True) for _ in range(n)]
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # the new processes inherit it
    for process in processes:
        process.start()
    signal.signal(signal.SIGINT, handler)
    told = False
    while any(process.is_alive() for process in processes):
        if stop and not told:
            told = True
            for process in processes:
                process.terminate()
        yield
        time.sleep(POLL_SECONDS)
    yield
    codes = sorted({process.exitcode for process in processes})
    if codes != [0] and not stop:
        raise UserError(f"a worker ended early, exit codes {codes}; the same command goes on")


class SharedTurns:
    """An iterator over `turns` for several processes: each turn is taken once."""

    def __init__(self, turns, taken):
        self.turns, self.taken = turns, taken

    def __iter__(self):
        return self

    def __next__(self):
        with self.taken.get_lock():
            turn, self.taken.value = self.taken.value, self.taken.value + 1
        if turn >= len(self.turns):
            raise StopIteration
        return self.turns[turn]


def ignore_interrupts():
    """Ignore Ctrl-C, which a terminal sends to every process: the parent handles it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def parent_is_gone():
    """Whether the process that started this one has ended, as after a kill -9."""
    return not multiprocessing.parent_process().is_alive()
