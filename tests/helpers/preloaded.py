"""Runs Python commands in forks of one process that has loaded the large packages.

Importing PyTorch and Lightning takes seconds, and a test of a whole document runs some twenty
commands that do. `serve` loads them once; `python tests/helpers/preloaded.py SOCKET COMMAND...` is
the same as `python COMMAND...` with the caller's folder, environment and streams.
"""

import json
import os
import runpy
import socket
import sys
import traceback


def serve(path: str) -> None:
    """Listen on a socket at ``path`` and run what comes, one after the other, until killed."""
    import h5py  # noqa: F401
    import numba  # noqa: F401
    import pytorch_lightning  # noqa: F401
    import torchvision  # noqa: F401

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        while True:
            connection, _ = listening.accept()
            with connection:
                message, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
                child = os.fork()
                if child == 0:
                    for number, stream in enumerate(streams):
                        os.dup2(stream, number)
                    os._exit(_run(**json.loads(message)))
                for stream in streams:
                    os.close(stream)
                status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                connection.sendall(str(status).encode())


def _run(arguments: list[str], folder: str, environment: dict[str, str]) -> int:
    """What the interpreter does with its arguments; returns the exit status."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    module = arguments[0] == "-m"
    sys.argv = arguments[module:]
    sys.path[0] = folder if module else os.path.dirname(os.path.abspath(sys.argv[0]))
    status = 0
    try:
        if module:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    return status


def ask(path: str, arguments: list[str]) -> int:
    """Have a command run by the process that serves at ``path``."""
    what = {"arguments": arguments, "folder": os.getcwd(), "environment": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [json.dumps(what).encode()], [0, 1, 2])
        return abs(int(connection.recv(16) or 1))


if __name__ == "__main__":
    sys.exit(ask(sys.argv[1], sys.argv[2:]))
