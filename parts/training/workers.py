"""Processes that share out a list of turns, and end when they are told to or left alone."""

import multiprocessing
import signal
import time

from parts.errors import UserError

POLL_SECONDS = 0.2  # between looks at whether they still work


def run(n, target, arguments, turns, stop):
    """Call `target(*arguments, shared_turns)` in n processes; yields often while they work.

    Once the list `stop` holds something, each is sent a SIGTERM.
    """
    context = multiprocessing.get_context("spawn")  # a fork would copy torch's threads, half alive
    arguments = (*arguments, SharedTurns(turns, context.Value("i", 0)))
    processes = [context.Process(target=target, args=arguments, daemon=True) for _ in range(n)]
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)  # which they inherit
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
    """An iterator over `turns` of which each process takes the next that no other has taken."""

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


def only_sigterm():
    """Leave Ctrl-C, which a terminal sends to all its processes, to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def orphaned():
    """Whether the process that started this one is gone, as after a kill -9."""
    return not multiprocessing.parent_process().is_alive()
