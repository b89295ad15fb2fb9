"""Runs a command of the project; what a user can put right ends it with one sentence."""

import sys
from collections.abc import Callable

from snmn.common.errors import INTERRUPTED, Interrupted, UserError


def run(command: Callable[[], None], name: str) -> None:
    """Run a command; what a user can put right ends it with one sentence."""
    try:
        command()
    except Interrupted as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (UserError, OSError) as error:
        text = str(error)
        if text.startswith("Caught "):  # By a loader's process, which adds its traceback.
            text = text.strip().splitlines()[-1].partition(": ")[2]
        sys.exit(f"{name}: {text}")
