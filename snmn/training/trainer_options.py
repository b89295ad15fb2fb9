"""The options that go to Lightning's Trainer: what is wrong with them, as a sentence.

Lightning refuses devices, strategies and the like with exceptions of many kinds as it builds a
Trainer. Nothing else happens there, so each of them means that training cannot be done so here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from pytorch_lightning.utilities.exceptions import MisconfigurationException

from snmn.common.errors import UserError, shown

# Those that leave parameters in float32, as the loss, the optimiser and the average have them.
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
_SHORT_PRECISIONS = ("32", "bf16", "16")

_SEEDS = 1 << 32  # numpy's


class TrainerError(UserError):
    """Training cannot be done as the command line says; the message is fit for a user."""


def check_precision(precision: str) -> None:
    """Refuse a precision that training does not work in."""
    if precision not in PRECISIONS + _SHORT_PRECISIONS:
        raise TrainerError(f"--precision must be one of {', '.join(PRECISIONS)}, not {precision!r}")


def check_seeds(first: int, count: int = 1) -> None:
    """Refuse seeds that are none, of ``count`` runs that begin with ``first``."""
    if not 0 <= first <= _SEEDS - count:
        raise TrainerError(f"-s must lie between 0 and {_SEEDS - count}, not be {first}")


def device_count(text: str) -> int | str:
    """The value of --devices as Lightning takes it: a number, a list such as "0,2", or auto."""
    return int(text) if text.removeprefix("-").isdecimal() else text


@contextmanager
def naming_options(given: Mapping[str, object]) -> Iterator[None]:
    """Turns what Lightning's Trainer raises while it is built into a TrainerError.

    ``given`` are the options from the command line, by their names there.
    """
    try:
        yield
    except (
        MisconfigurationException,
        ImportError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise TrainerError(_told(error, given)) from None


def _told(error: Exception, given: Mapping[str, object]) -> str:
    text = shown(str(error).partition(". ")[0]).rstrip(".")
    if "SLURM" in text or "ntasks" in text:
        return (
            f"SLURM's variables do not fit ({text}): with srun, --ntasks-per-node is what "
            "--devices is; in a shell, SLURM_JOB_NAME=bash before the command runs it alone"
        )
    options = " ".join(f"{name} {value}" for name, value in given.items())
    if not options:
        return f"Lightning cannot run here: {text}"
    return (
        f"cannot train with {options} ({text}): left out, training takes one device, a GPU where "
        "there is one"
    )
