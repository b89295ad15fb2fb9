"""What every room raises for its user: errors whose message is a sentence with a way out."""

import signal

# Of a command that Ctrl-C stopped, and of one that a scheduler did, as shells have it.
INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM


class UserError(ValueError):
    """Something that whoever runs a command can put right; the message says what.

    `snmn.common.commands.run` prints it in place of a traceback.
    """


class Interrupted(Exception):
    """A command was stopped by its user or a scheduler; the message says what was saved.

    ``status`` is what the command exits with.
    """

    def __init__(self, message: str, status: int = INTERRUPTED):
        super().__init__(message)
        self.status = status


def shown(text: object) -> str:
    """A text cut to one short line, for messages."""
    line = " ".join(str(text).split())
    return line if len(line) <= 120 else line[:117] + "..."
