"""What every room raises for its user: errors whose message is a sentence with a way out."""

import signal

# Of a command that Ctrl-C stopped, as shells have it.
INTERRUPTED = 128 + signal.SIGINT


class UserError(ValueError):
    """Something that whoever runs a command can put right; the message says what.

    `snmn.common.commands.run` prints it in place of a traceback.
    """


class Interrupted(Exception):
    """A command was stopped by its user; the message says what was saved."""


def shown(text: object) -> str:
    """A text cut to one short line, for messages."""
    line = " ".join(str(text).split())
    return line if len(line) <= 120 else line[:117] + "..."
