"""What a training step and answers cost on a GPU: `python -m benchmarks.gpu [--json]`.

The plain model (`benchmarks.plain_model`), and ours called operation by operation, compiled, and as
a captured CUDA graph (`benchmarks.cuda_graphs`); in float32 with TF32 products and in bfloat16;
at full size, 64 questions about as many images, and at that of the `mini_` configurations, 60 about
6. Times are medians of runs that take turns, between CUDA events, so that a device that waits for
its calls is seen to wait. The floor is, as in `benchmarks.step`, the time of the knowledge base's
two 1x1 convolutions alone at the rate of a matrix product of that shape in that precision. Memory
is the most that is allocated while a model is made and trains, or answers, for the first time; its
weights and features are part of it.

Compiling takes minutes. Without a GPU the command says so and ends.
"""

import argparse
import itertools
import json
import statistics
from collections.abc import Callable, Sequence
from functools import partial

import torch

from benchmarks.cuda_graphs import CapturedStep
from benchmarks.step import CELLS, MINI, Step
from snmn.common.commands import run

FULL = {"feature_dim": 1024, "pe_dim": 128, "kb_dim": 512}
# Images of a batch, questions about each, and what the model is built with.
SIZES = {"full": {"images": 64, "each": 1} | FULL, "small": {"images": 6, "each": 10} | MINI}
PRECISIONS = {"tf32": None, "bf16": torch.bfloat16}
WAYS = ("plain", "eager", "compiled", "graph")
Job = Callable[[], object]


def floor_operations(images: int, sizes: dict) -> dict[str, int]:
    """Floating-point operations of the two convolutions, by job.

    Training takes the gradients of both kernels and of what comes between, besides.
    """
    first, second = sizes["feature_dim"] + sizes["pe_dim"], sizes["kb_dim"]
    of_an_input = 2 * images * CELLS * sizes["kb_dim"]
    forward = of_an_input * (first + second)
    return {"train": 2 * forward + of_an_input * second, "infer": forward}


def event_seconds(job: Job) -> float:
    """Seconds from the job's first call on the device until it has done the last."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    job()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3


def medians(jobs: dict[str, Job], repeats: int, seconds: Callable[[Job], float]) -> dict:
    """Median seconds of each job over ``repeats`` rounds in which they take turns."""
    times = {name: [] for name in jobs}
    for _ in range(repeats):
        for name, job in jobs.items():
            times[name].append(seconds(job))
    return {name: statistics.median(values) for name, values in times.items()}


def cuda_peak(work: Callable[[], Job]) -> tuple[Job, float]:
    """What some work returns, and the most MiB it allocates beyond what there was before it."""
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    result = work()
    torch.cuda.synchronize()
    return result, (torch.cuda.max_memory_allocated() - before) / 2**20


def make_job(way: str, kind: str, **options) -> Job:
    """A function that trains or answers a batch once, in one of the `WAYS`; it has run once."""
    if way == "compiled":
        torch._dynamo.reset()  # Or it gives up after eight models.
    step = Step(plain=way == "plain", compiled=way == "compiled", **options)
    job = step.train if kind == "train" else step.answer
    if way == "graph":
        captured, batch = CapturedStep(step), step.batch
        inputs = batch.question, batch.length, batch.layout, batch.answer, step.features
        job = partial(captured.train if kind == "train" else captured.answer, *inputs)
    job()
    return job


def measure(
    kind: str,
    ways: Sequence[str],
    repeats: int,
    *,
    images: int,
    each: int,
    device: str,
    precision: torch.dtype | None,
    seconds: Callable[[Job], float] = event_seconds,
    peak: Callable = cuda_peak,
    **model,
) -> list[dict]:
    """What one kind of job takes in each way, ``kind`` being "train" or "infer"."""
    shapes = (images * CELLS, model["feature_dim"]), (model["feature_dim"], model["kb_dim"])
    left, right = (torch.randn(shape, device=device, dtype=precision) for shape in shapes)
    jobs, memory = {"product": partial(torch.mm, left, right)}, {}
    options = {"images": images, "each": each, "device": device, "precision": precision} | model
    for way in ways:
        jobs[way], memory[way] = peak(partial(make_job, way, kind, **options))
    for job in jobs.values():
        job()  # Once more, so that nothing is left to be chosen or allocated.
    taken = medians(jobs, repeats, seconds)
    rate = 2 * len(left) * right.numel() / taken["product"]
    floor = floor_operations(images, model)[kind] / rate
    return [
        {
            "job": kind,
            "way": way,
            "ms": 1e3 * taken[way],
            "questions_per_second": images * each / taken[way],
            "memory_mib": memory[way],
            "floor_share": floor / taken[way],
            "rate_tflops": rate / 1e12,
        }
        for way in ways
    ]


def table(rows: list[dict]) -> str:
    """The rows as text."""
    lines = [f"{'':28}{'ms':>10}{'questions/s':>13}{'MiB':>9}{'of the floor':>14}{'TFLOP/s':>9}"]
    for row in rows:
        name = " ".join(row[part] for part in ("size", "precision", "job", "way"))
        lines.append(
            f"{name:28}{row['ms']:10.2f}{row['questions_per_second']:13.0f}"
            f"{row['memory_mib']:9.0f}{row['floor_share']:13.1%}{row['rate_tflops']:10.1f}"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=30, help="rounds, of which the median")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=WAYS)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("this measures what a step costs on a GPU, and PyTorch finds none here")
        return
    card = torch.cuda.get_device_name()
    print(f"{card}, PyTorch {torch.__version__}", flush=True)
    torch.set_float32_matmul_precision("high")  # TF32; cuDNN's LSTM has it anyway.
    rows = []
    for size, precision in itertools.product(options.sizes, options.precisions):
        for kind in ("train", "infer"):
            found = measure(
                kind,
                options.ways,
                options.repeats,
                device="cuda",
                precision=PRECISIONS[precision],
                **SIZES[size],
            )
            rows += [{"size": size, "precision": precision} | row for row in found]
    print(table(rows))
    if options.json:
        print(json.dumps({"card": card, "torch": torch.__version__, "rows": rows}))


if __name__ == "__main__":
    run(main, "benchmarks.gpu")
