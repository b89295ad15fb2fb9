"""Serves the demo on this machine alone, to walk through a test: what `test.py --browse` does."""

import errno
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

import uvicorn

from server.settings import Settings
from snmn.common.errors import UserError
from snmn.network.modules import NeuralModule

HOST = "127.0.0.1"


def listen(port: int) -> socket.socket:
    """A socket of this machine's own. UserError where the port is not to be had."""
    try:
        return socket.create_server((HOST, port))
    except (OSError, OverflowError) as error:
        used = getattr(error, "errno", None) == errno.EADDRINUSE
        reason = "is in use" if used else f"cannot be had ({error})"
        raise UserError(f"port {port} {reason}; --port takes another") from None


def browse(
    results: tuple[Path, ...], modules: Mapping[str, type[NeuralModule]], taken: socket.socket
) -> None:
    """Serve folders of results on a port that `listen` took, until Ctrl-C."""
    from server.main import create_app  # Which makes the demo's own app: here alone.

    app = create_app(Settings(results=results, modules=modules))
    address = f"http://localhost:{taken.getsockname()[1]}/results"
    print(
        f"\n{address}?{urlencode({'test': results[0].name})} lists the questions; Ctrl-C ends it",
        flush=True,
    )
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[taken])
