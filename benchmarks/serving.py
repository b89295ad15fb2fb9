"""How fast the demo answers over HTTP, and whether its memory stays flat under load.

    python -m benchmarks.serving [--seconds 30] [--clients 32] [--json]

Starts a server of its own on a free port of this machine. Latency is that of one client that asks
the default model about the sample images, one question after the other on one connection, in turns
with questions of which a step is changed (edit_). Beside it stand the rate of a matrix product,
measured in turns with the questions, to compare machines, and the server's processor time for a
question, which tells more than latency on a busy machine. Then many clients ask at once, some with
changed steps and some with uploads. Memory is the server's resident size, after a warm-up by the
same clients and at the end.
"""

import argparse
import http.client
import io
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BOUNDARY = "snmn-benchmark"
SAMPLES = json.loads((ROOT / "server/samples/samples.json").read_text())
JSON, FORM = "application/json", f"multipart/form-data; boundary={BOUNDARY}"


class Server:
    """The demo in a process of its own; ``seconds_to_answer`` is from start to first answer."""

    def __enter__(self) -> "Server":
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        command = [sys.executable, "-m", "uvicorn", "server.main:app", "--port", str(self.port)]
        start = time.perf_counter()
        self.process = subprocess.Popen([*command, "--log-level", "warning"], cwd=ROOT)
        while True:
            try:
                self.ask(self.connect(), *sample_question(random.Random(0)))
                break
            except ConnectionRefusedError:
                time.sleep(0.02)
        self.seconds_to_answer = time.perf_counter() - start
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def ask(self, connection, kind: str, body: bytes) -> int:
        """Status of one question."""
        connection.request("POST", "/api/predict", body, {"Content-Type": kind})
        response = connection.getresponse()
        response.read()
        return response.status

    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def sample_question(choose: random.Random) -> tuple[str, bytes]:
    """Content type and body of a question about a sample."""
    sample = choose.choice(SAMPLES)
    question = choose.choice(sample["questions"])["text"]
    return JSON, json.dumps({"sample": sample["id"], "question": question}).encode()


# Layouts that run whatever the controller would do.
LAYOUTS = ("_Find _DescribeOne", "_Scene _DescribeOne", "_Find _Find _And _DescribeOne")


def sample_edit(choose: random.Random) -> tuple[str, bytes]:
    """The same with one edit of the model's run, which it can follow."""
    body = json.loads(sample_question(choose)[1])
    box = [choose.randrange(400), choose.randrange(250), 54, 54]
    edits = (
        {"layout": choose.choice(LAYOUTS)},
        # The rest is the controller's: what it will do has to be known before anything runs.
        {"layout": ["_Scene", *[None] * 8]},
        {"words": [None, [choose.randrange(5)]]},
        {"attention": [box]},
        {"layout": LAYOUTS[0], "words": [[0, 1]], "attention": [box]},
    )
    return JSON, json.dumps(body | choose.choice(edits)).encode()


def upload(choose: random.Random) -> tuple[str, bytes]:
    """Content type and body of a question about an uploaded image of noise."""
    side = choose.randrange(200, 900)
    pixels = np.random.default_rng(side).integers(0, 256, (side, side, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    field = f"--{BOUNDARY}\r\nContent-Disposition: form-data; name="
    head = f'{field}"question"\r\n\r\nHow many cubes are there?\r\n{field}"image"; filename="a"'
    return FORM, f"{head}\r\n\r\n".encode() + file.getvalue() + f"\r\n--{BOUNDARY}--\r\n".encode()


def some_question(choose: random.Random, uploads: list) -> tuple[str, bytes]:
    """A question about a sample, an edit of one, or one of some uploads."""
    drawn = choose.random()
    if drawn < 0.2:
        return choose.choice(uploads)
    return sample_edit(choose) if drawn < 0.5 else sample_question(choose)


def latency(server: Server, questions: int) -> dict[str, float]:
    """Milliseconds of questions that take turns with edits and a matrix product."""
    choose, connection = random.Random(1), server.connect()
    left, right = torch.randn(1024, 1024), torch.randn(1024, 1024)
    makers = {"": sample_question, "edit_": sample_edit}
    times = {name: [] for name in makers}
    processor, products = dict.fromkeys(makers, 0.0), []
    for _ in range(questions):
        for name, make in makers.items():
            kind, body = make(choose)
            before, start = server.processor_seconds(), time.perf_counter()
            status = server.ask(connection, kind, body)
            times[name].append(time.perf_counter() - start)
            processor[name] += server.processor_seconds() - before
            assert status == 200, body
        start = time.perf_counter()
        torch.mm(left, right)
        products.append(time.perf_counter() - start)
    result = {"rate_gflops": 2 * 1024**3 / statistics.median(products) / 1e9}
    for name, taken in times.items():
        result[f"{name}latency_median_ms"] = 1e3 * statistics.median(taken)
        result[f"{name}latency_p95_ms"] = 1e3 * statistics.quantiles(taken, n=20)[-1]
        result[f"{name}processor_ms"] = 1e3 * processor[name] / questions
    return result


def load(server: Server, clients: int, seconds: float) -> dict[str, float]:
    """Many clients at once: answers a second, statuses other than 200, slowest answers."""
    end = time.perf_counter() + seconds
    times, failures = [], []
    uploads = [upload(random.Random(k)) for k in range(8)]

    def client(number: int) -> None:
        choose, connection = random.Random(number), server.connect()
        while time.perf_counter() < end:
            asked = some_question(choose, uploads)
            start = time.perf_counter()
            status = server.ask(connection, *asked)
            times.append(time.perf_counter() - start)
            if status != 200:
                failures.append(status)

    threads = [threading.Thread(target=client, args=(k,)) for k in range(clients)]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {
        "answers": len(times),
        "answers_per_second": len(times) / (time.perf_counter() - start),
        "failures": len(failures),
        "load_median_ms": 1e3 * statistics.median(times),
        "load_p99_ms": 1e3 * statistics.quantiles(times, n=100)[-1],
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--questions", type=int, default=200, help="of the single client")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=30.0, help="of load")
    parser.add_argument("--threads", type=int, default=2, help="of the matrix product")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with Server() as server:
        result = {
            "start_to_answer_s": server.seconds_to_answer,
            "start_processor_s": server.processor_seconds(),
        }
        result |= latency(server, options.questions)
        load(server, options.clients, options.seconds / 3)
        result["memory_before_mib"] = server.resident_mib()
        result |= load(server, options.clients, options.seconds)
        result["memory_after_mib"] = server.resident_mib()
        growth = result["memory_after_mib"] / result["memory_before_mib"] - 1
        result["memory_growth_percent"] = 100 * growth
    for name, value in result.items():
        print(f"{name:24}{value:10.2f}")
    if options.json:
        print(json.dumps({name: round(value, 4) for name, value in result.items()}))


if __name__ == "__main__":
    main()
