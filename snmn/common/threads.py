"""How PyTorch's threads wait for one another."""

import os

# What users set to say how threads wait: OpenMP's own variable, GNU's, and Intel's and LLVM's.
_USERS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY")


def wait_asleep() -> None:
    """Have threads sleep while they wait, in this process and in those it starts.

    A step of ours is thousands of small operations, and after each of them threads wait for the
    slowest. Left alone they wait in a loop, which on a machine with another program takes the core
    that the slowest one needs: ten times the processor time and a tenth of the speed.

    The OpenMP library reads this when PyTorch is loaded, so it has to be said before. Whoever has
    set a variable for it keeps what it says.
    """
    if not any(name in os.environ for name in _USERS):
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
