"""Commands of the project: what their arguments may be, and how they end."""

import argparse
import sys
from collections.abc import Callable

from snmn.common.errors import INTERRUPTED, Interrupted, UserError


def sentence(error: Exception) -> str:
    """What an error says, without what a loader's process adds to one of its own."""
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    text = str(error)
    if text.startswith("Caught "):  # With the process's traceback, which ends in the error.
        text = text.strip().splitlines()[-1].partition(": ")[2]
    return text


def run(command: Callable[[], None], name: str) -> None:
    """Run a command; what a user can put right ends it with one sentence."""
    try:
        command()
    except Interrupted as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(error.status)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (UserError, OSError) as error:
        sys.exit(f"{name}: {sentence(error)}")


def count(text: str) -> int:
    """A number above 0 on the command line."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
    return int(text)
