"""Kills a function at chosen points of its work, as a power cut or the system would."""

import multiprocessing
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from tqdm import tqdm

from tests.helpers.reliability import Row

# Forked, so that nothing is imported again; the tests use one thread, which makes that safe.
_FORK = multiprocessing.get_context("fork")

_IN_A_ROW = 4
# Functions around which files change: when a kill is most likely to leave something half done.
CHANGES = {"open", "write", "write_bytes", "write_record", "write_end_of_file", "writelines"}
CHANGES |= {"close", "fsync", "replace", "rename", "unlink", "truncate", "mkdir", "flush"}


def _run(function: Callable, deadline: int, only: set[str] | None, calls) -> None:
    # Progress bars of forked processes share a lock, which a killed one would never give back.
    tqdm.set_lock(threading.RLock())

    process = os.getpid()

    def count(frame, event, argument):
        if os.getpid() != process:
            return  # A worker of the function's own.
        if only is not None:
            name = argument.__name__ if event.startswith("c_") else frame.f_code.co_name
            if name not in only:
                return
        calls.value += 1
        if calls.value == deadline:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(count)
    function()
    sys.setprofile(None)


def run_and_kill(function: Callable, *, at: int = 0, only: set[str] | None = None) -> int:
    """Run a function in a process that is killed (SIGKILL) at call or return number ``at`` in it.

    ``only`` counts calls and returns of functions with these names alone. Returns the number it
    came to: ``at`` if it was killed, fewer if it ended before. 0 kills never. Work is counted
    rather than timed, to be the same on any machine.
    """
    calls = _FORK.Value("q", 0, lock=False)
    process = _FORK.Process(target=_run, args=(function, at, only, calls))
    process.start()
    process.join()
    assert process.exitcode == (-signal.SIGKILL if calls.value == at else 0)
    return calls.value


def survive_kills(
    work: Callable,
    row: Row,
    *,
    kills: int,
    check: Callable,
    check_killed: Callable = lambda: None,
    fresh: Callable,
    counted: Sequence[set[str] | None] = (None, CHANGES),
    seed: int = 0,
) -> None:
    """Kill ``work`` so many times; it must end in the right state whenever it is let to its end.

    Up to four kills in a row hit the same output, each of a run that goes on where the one before
    it was killed.

    Args:
        work: does all of the work, or what is left of it. Runs in a process of its own.
        row: of the table of faults; one attempt for each kill.
        kills: how many.
        check: raises unless the output is whole and right.
        check_killed: raises if what a kill left is not what it may leave.
        fresh: takes the output away, or puts it where it was before the work.
        counted: what the moments of kills are drawn from, in turn: see ``only`` of
            `run_and_kill`.
        seed: of the moments.
    """
    totals = []
    for only in counted:
        fresh()
        totals.append(run_and_kill(work, only=only))
        check()
    chance = random.Random(seed)
    killed = 0
    while killed < kills:
        fresh()
        with ExitStack() as attempts:
            for _ in range(min(_IN_A_ROW, kills - killed)):
                way = killed % len(counted)
                at = chance.randrange(1, totals[way])
                if run_and_kill(work, at=at, only=counted[way]) < at:
                    break  # It had less left to do, and has done it.
                attempts.enter_context(row.attempt())
                killed += 1
                check_killed()
            run_and_kill(work)
            check()
