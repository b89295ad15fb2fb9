"""Whether the demo stands mixed valid and invalid traffic at saturation.

    python -m benchmarks.soak [--minutes 10] [--clients 12] [--json]

Starts a server of its own. Some clients ask about samples and uploads without a pause, now and then
with a step of the model changed; others send what must be refused, each with the statuses it may
get. Status 0 stands for a connection that was closed without an answer. Exit status 1 when any
answer was a 5xx or none that was expected, when a valid question failed, or when resident memory
grew by more than a tenth since the first quarter.
"""

import argparse
import json
import os
import random
import socket
import statistics
import struct
import sys
import threading
import time
import zlib
from collections import Counter

from benchmarks.serving import FORM, JSON, SAMPLES, Server, some_question, upload

UPLOAD_SECONDS = 5  # the server's patience with slow bodies, shortened
MOST_GROWTH = 10.0  # percent of resident memory
IMPOSSIBLE = [
    {"layout": "_Find _And _DescribeTwo"},
    {"layout": ["_Find"] * 9},
    {"layout": ["_NoOp"] * 90},
    {"layout": [["_Find"]]},
    {"words": ["sphere"]},
    {"words": [[10**30], {"0": -1}]},
    {"attention": [[1e9, 0, 1, 1]]},
    {"attention": [[[1] * 13] * 13]},
    {"attention": [[[1e300] * 60] * 60] * 9},
]
PATHS = [
    f"/{folder}/{steps}main.py"
    for folder in ("static", "samples")
    for steps in (
        "../",
        "%2e%2e/",
        "..%2f",
        "%2e%2e%2f",
        "..%5c",
        "....//",
        "%252e%252e/",
        "../" * 9,
    )
]
PATHS += ["/../README.md", "//etc/passwd", "/static//etc/passwd", "/static/%00", "/models/x.ckpt"]


def send(server: Server, data: bytes, *, seconds: float = 60, chunk: int = 65536) -> int:
    """Status of raw bytes' answer; 0 if the connection ends without one."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=seconds) as connection:
        try:
            for start in range(0, len(data), chunk):
                connection.sendall(data[start : start + chunk])
        except (BrokenPipeError, ConnectionResetError):
            pass
        return status_of(connection)


def status_of(connection: socket.socket) -> int:
    try:
        first = connection.recv(65536)
    except ConnectionResetError:
        return 0
    return int(first.split()[1]) if first.startswith(b"HTTP/1.1 ") else 0


def request(kind: str, body: bytes, *, length: int | None = None) -> bytes:
    head = f"POST /api/predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: {kind}\r\n"
    return f"{head}Content-Length: {length or len(body)}\r\n\r\n".encode() + body


def asking(**fields) -> bytes:
    sample = {"sample": SAMPLES[0]["id"], "question": "How many cubes are there?"}
    return request(JSON, json.dumps(sample | fields).encode())


def with_image(data: bytes) -> bytes:
    head, _, rest = upload(random.Random(0))[1].partition(b'filename="a"\r\n\r\n')
    tail = rest[rest.rindex(b"\r\n--") :]
    return request(FORM, head + b'filename="a"\r\n\r\n' + data + tail)


def bomb(side: int = 20_000) -> bytes:
    """A PNG of side x side black pixels in some 50 KB."""

    def part(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (1 + side // 8) * side)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", rows) + part(b"IEND", b"")


def slow(server: Server) -> int:
    """A byte now and then, of a body that never ends."""
    whole = upload(random.Random(0))[1]
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(request(FORM, whole[: whole.index(b"How")], length=100_000))
        connection.settimeout(0.5)
        for _ in range(20 * UPLOAD_SECONDS):
            try:
                return status_of(connection)
            except TimeoutError:
                connection.sendall(b"x")
    return -1  # It never gave up.


def broken(server: Server) -> int:
    """Leave in the middle of a body, with a reset."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(request(FORM, b"--snmn", length=100_000))
    return 0


def attacks() -> dict:
    """By name: what sends it, given a server and chance, and the statuses it may get."""
    image = with_image(b"")  # its head and tail
    whole = upload(random.Random(1))[1]
    cut = whole.partition(b'filename="a"\r\n\r\n')[2][:5000]
    huge, bombs = with_image(b"\0" * 20_000_000), with_image(bomb())

    def raw(data: bytes):
        return lambda server, choose: send(server, data)

    def path(server: Server, choose: random.Random) -> int:
        return send(server, f"GET {choose.choice(PATHS)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def method(server: Server, choose: random.Random) -> int:
        name = choose.choice(["PUT", "DELETE", "PATCH", "TRACE", "BREW"])
        return send(server, f"{name} /api/predict HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    def garbage(server: Server, choose: random.Random) -> int:
        return send(server, request(FORM, choose.randbytes(choose.randrange(1, 2000))))

    def edit(server: Server, choose: random.Random) -> int:
        return send(server, asking(**choose.choice(IMPOSSIBLE)))

    return {
        "impossible edit": (edit, {422}),
        "unknown word": (raw(asking(question="How many cubs?")), {422}),
        "wrong model": (raw(asking(model="nothing")), {404}),
        "path as model": (raw(asking(model="../models/vqa_gt_layout")), {404}),
        "path as sample": (raw(asking(sample="../../etc/passwd")), {404}),
        "path": (path, {400, 404}),
        "empty image": (raw(image), {422}),
        "truncated image": (raw(with_image(cut)), {422}),
        "bomb": (raw(bombs), {413}),
        "oversized body": (raw(huge), {413}),
        "garbage form": (garbage, {400, 422}),
        "no HTTP": (raw(b"\x16\x03\x01 nonsense\r\n\r\n"), {400}),
        "bad method": (method, {400, 405}),
        "slow upload": (lambda server, choose: slow(server), {408}),
        "broken connection": (lambda server, choose: broken(server), {0}),
    }


class Soak:
    """Clients and what came of them."""

    def __init__(self, server: Server, seconds: float):
        self.server, self.end = server, time.perf_counter() + seconds
        self.seen: Counter = Counter()  # (kind, status)
        self.unexpected: Counter = Counter()
        self.times: list[float] = []

    def note(self, kind: str, status: int, expected: set[int]) -> None:
        self.seen[kind, status] += 1
        if status not in expected:
            self.unexpected[kind, status] += 1

    def ask(self, number: int) -> None:
        """A client with valid questions."""
        choose = random.Random(number)
        uploads = [upload(random.Random(k)) for k in range(4)]
        while time.perf_counter() < self.end:
            kind, body = some_question(choose, uploads)
            start = time.perf_counter()
            self.attempt("valid", {200}, send, self.server, request(kind, body))
            self.times.append(time.perf_counter() - start)

    def attack(self, number: int, chosen: dict) -> None:
        """A client with nothing but attacks."""
        choose = random.Random(number)
        while time.perf_counter() < self.end:
            name = choose.choice(list(chosen))
            function, expected = chosen[name]
            self.attempt(name, expected, function, self.server, choose)

    def attempt(self, name: str, expected: set[int], function, *arguments) -> None:
        try:
            status = function(*arguments)
        except OSError:
            status = -1  # No connection, or no answer in time.
        self.note(name, status, expected)


def run(server: Server, clients: int, seconds: float) -> dict:
    soak, all_attacks = Soak(server, seconds), attacks()
    slow_one = {"slow upload": all_attacks.pop("slow upload")}
    work = [(soak.ask, (number,)) for number in range(clients)]
    work += [(soak.attack, (number, all_attacks)) for number in range(max(2, clients // 3))]
    work += [(soak.attack, (number, slow_one)) for number in range(2)]
    threads = [threading.Thread(target=function, args=given) for function, given in work]
    for thread in threads:
        thread.start()
    memory = []
    while any(thread.is_alive() for thread in threads):
        memory.append(server.resident_mib())
        time.sleep(0.5)
    first, last = len(memory) // 4, memory[-max(1, len(memory) // 10) :]
    before, after = statistics.median(memory[first : first + len(last)]), statistics.median(last)
    for (kind, status), count in sorted(soak.seen.items()):
        print(f"{kind:20}{status:5}{count:9}")
    wrong = [f"{kind}: {status} x {count}" for (kind, status), count in soak.unexpected.items()]
    growth = 100 * (after / before - 1)
    if growth > MOST_GROWTH:
        wrong.append(f"memory grew by {growth:.1f} %")
    return {
        "requests": sum(soak.seen.values()),
        "server_errors": sum(n for (_, status), n in soak.seen.items() if status >= 500),
        "valid_median_ms": 1e3 * statistics.median(soak.times),
        "valid_p99_ms": 1e3 * statistics.quantiles(soak.times, n=100)[-1],
        "memory_before_mib": before,
        "memory_after_mib": after,
        "memory_growth_percent": growth,
        "memory_peak_mib": max(memory),
        "wrong": wrong,
    }


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=12, help="with valid questions")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    os.environ["SNMN_UPLOAD_SECONDS"] = str(UPLOAD_SECONDS)
    with Server() as server:
        result = run(server, options.clients, 60 * options.minutes)
    for name, value in result.items():
        print(f"{name:24}{value:10.2f}" if name != "wrong" else f"wrong: {value or 'nothing'}")
    if options.json:
        print(json.dumps(result))
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
