"""Kills a function at a chosen point of its work, as a power cut or the system would."""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable

from tqdm import tqdm

# Forked, so that nothing is imported again; the tests use one thread, which makes that safe.
_FORK = multiprocessing.get_context("fork")


def _run(function: Callable, deadline: int, calls) -> None:
    # Progress bars of forked processes share a lock, which a killed one would never give back.
    tqdm.set_lock(threading.RLock())

    process = os.getpid()

    def count(frame, event, argument):
        if os.getpid() != process:
            return  # A worker of the function's own.
        calls.value += 1
        if calls.value == deadline:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    function()
    sys.setprofile(None)


def run_and_kill(function: Callable, *, at: int = 0) -> int:
    """Run a function in a process that is killed (SIGKILL) at call or return number ``at`` in it.

    Returns the number of calls and returns it came to: ``at`` if it was killed, fewer if it ended
    before. 0 kills never. Work is counted rather than timed, to be the same on any machine.
    """
    calls = _FORK.Value("q", 0, lock=False)
    process = _FORK.Process(target=_run, args=(function, at, calls))
    process.start()
    process.join()
    assert process.exitcode == (-signal.SIGKILL if calls.value == at else 0)
    return calls.value
