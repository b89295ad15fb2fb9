"""What a training step and an answer cost, as multiples of the arithmetic's floor.

    python benchmarks/step.py [--threads 2] [--compile] [--json]

The floor: with 64 images of 14 x 14 x 1024 features and d = 512, the two 1x1 convolutions of the
knowledge base take 21.4 GFLOP forward and 49.4 GFLOP for a training step. Divided by the rate of
a matrix product of that very shape, measured in turns with the steps, that is the time below
which no implementation in this precision can go. Small models are compared with the floor of
what PyTorch's counter finds in one of their steps.

All figures are medians of runs that take turns. Questions are drawn as for training, and a step
is all that Lightning would do: forward, losses, backward, clipping, Adam, moving average.
"""

import argparse
import json
import math
import multiprocessing as mp
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.plain_model import PlainSNMN  # noqa: E402
from benchmarks.questions import make_scene  # noqa: E402
from clevr_prep.clevr.expert_layouts import expert_layout, pad_layout  # noqa: E402
from clevr_prep.synthetic.sampling.questions import generate_questions  # noqa: E402
from snmn.common.freed_memory import keep_freed_memory  # noqa: E402
from snmn.common.vocabulary import MODULE_INDEX, encode  # noqa: E402
from snmn.network.model import SNMNOutput, build_model  # noqa: E402
from snmn.training.ema import ExponentialMovingAverage  # noqa: E402
from snmn.training.losses import SNMNLoss  # noqa: E402
from snmn.training.optimiser import TFAdam  # noqa: E402

TRAIN_FLOOR, INFER_FLOOR = 49.4e9, 21.4e9  # floating-point operations for 64 questions
CELLS = 14 * 14
# The sizes of configs/parts/mini.yaml.
MINI = {
    "feature_dim": 256,
    "embed_dim": 64,
    "lstm_dim": 256,
    "pe_dim": 64,
    "kb_dim": 256,
    "memory_dim": 256,
    "answer_hidden_dim": 256,
    "normalize_features": True,
}


class Step:
    """A model and a batch of ``images`` with ``each`` questions, ready to train or to answer.

    ``plain`` is the model without our algebra (`benchmarks.plain_model`), ``precision`` what
    autocast computes in, if it is to.
    """

    def __init__(
        self,
        *,
        images: int,
        each: int,
        compiled: bool = False,
        plain: bool = False,
        device: str = "cpu",
        precision: torch.dtype | None = None,
        **sizes,
    ):
        torch.manual_seed(0)
        self.model, self.device, self.precision = build_model(**sizes), device, precision
        if plain:
            self.model = PlainSNMN(self.model)
        self.model.to(device)
        asked, features = questions(images, each), sizes.get("feature_dim", 1024)
        for name, value in vars(asked).items():
            setattr(asked, name, None if value is None else value.to(device))
        self.batch = asked
        # As a backbone's: rectified, so half of them zero.
        self.features = torch.randn(images, 14, 14, features).relu_().to(device)
        self.loss = SNMNLoss(layout_weight=1.0, weight_decay=1e-5).to(device)
        self.optimiser = TFAdam(self.model.parameters(), lr=1e-4)
        self.average = ExponentialMovingAverage(0.999)
        self.average.setup(None, SimpleNamespace(model=self.model), "fit")
        self.run = torch.compile(self.model) if compiled else self.model

    def __len__(self) -> int:
        return len(self.batch.length)

    def train(self) -> None:
        """One update."""
        self.gradients()
        self.update()

    def gradients(self) -> None:
        """Forward, losses, backward and clipping: all of an update that has no count of its own."""
        self.model.train()
        with self._autocast():
            output = self.run(self.batch.question, self.batch.length, self.features)
            losses = self.loss(output, self.batch, self.model, 0)
        self.optimiser.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 8.0)

    def update(self) -> None:
        """Optimiser and moving average."""
        self.optimiser.step()
        self.average.update(self.model)

    def answer(self) -> SNMNOutput:
        """One forward pass for testing."""
        self.model.eval()
        with torch.inference_mode(), self._autocast():
            return self.run(self.batch.question, self.batch.length, self.features)

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, dtype=self.precision, enabled=self.precision is not None)


def operations(work: Callable[[], object]) -> int:
    """Floating-point operations in matrix products and convolutions of calling ``work``."""
    aten = torch.ops.aten
    # PyTorch's counter leaves out products added in place, and what a CPU's LSTM does.
    left_out = {
        aten.baddbmm_: lambda _, a, b, **rest: 2 * math.prod(a) * b[-1],
        aten.mkldnn_rnn_layer: lambda *shapes, **rest: _lstm_operations(*shapes[:3]),
        aten.mkldnn_rnn_layer_backward: lambda *shapes, **rest: 2 * _lstm_operations(*shapes[:3]),
    }
    with FlopCounterMode(display=False, custom_mapping=left_out) as counter:
        work()
    return counter.get_total_flops()


def _lstm_operations(words: Sequence[int], from_input: Sequence[int], from_hidden: Sequence[int]):
    """Of one direction, from the shapes of its input [S,N,E] and of its weights [4h,E], [4h,h]."""
    return 2 * math.prod(words[:-1]) * (math.prod(from_input) + math.prod(from_hidden))


def questions(images: int, each: int) -> SimpleNamespace:
    """Questions and expert layouts about random scenes, in the order that batches have."""
    rng = np.random.default_rng(0)
    asked = []
    for _ in range(images):
        asked += generate_questions(make_scene(rng, int(rng.integers(3, 11))), each, rng)
    answer = torch.from_numpy(rng.integers(0, 28, len(asked)))
    return SimpleNamespace(**encoded(asked), answer=answer, box_cell=None)


def encoded(asked: list[dict]) -> dict[str, torch.Tensor]:
    """Words and expert layouts of questions or expressions, as batches have them."""
    words = [torch.tensor(encode(entry["question"])) for entry in asked]
    layouts = [pad_layout(expert_layout(entry["program"]), 9) for entry in asked]
    return {
        "question": nn.utils.rnn.pad_sequence(words, batch_first=True),
        "length": torch.tensor([len(sentence) for sentence in words]),
        "layout": torch.tensor([[MODULE_INDEX[name] for name in layout] for layout in layouts]),
    }


def medians(
    repeats: int, clock: Callable[[], float] = time.perf_counter, **jobs
) -> dict[str, float]:
    """Median seconds of each job over ``repeats`` rounds in which they take turns."""
    times = {name: [] for name in jobs}
    for job in jobs.values():
        job()  # Compiles, allocates, warms up.
    for _ in range(repeats):
        for name, job in jobs.items():
            start = clock()
            job()
            times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_memory(connection, threads: int) -> None:
    """In a process of its own: MiB that training adds to the resident size before it."""
    torch.set_num_threads(threads)
    keep_freed_memory()
    step = Step(images=64, each=1)
    with open("/proc/self/statm") as file:
        before = int(file.read().split()[1]) * resource.getpagesize()
    for _ in range(3):
        step.train()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    connection.send((peak - before) / 2**20)


def measure(options: argparse.Namespace) -> dict[str, float]:
    """All figures by name; times in milliseconds."""
    left, right = torch.randn(64 * CELLS, 1024), torch.randn(1024, 512)
    full, mini = Step(images=64, each=1), Step(images=6, each=10, **MINI)
    grouped, single = Step(images=options.grouped_images, each=10), Step(images=1, each=1)
    jobs = {
        "product": lambda: torch.mm(left, right),
        "train": full.train,
        "infer": full.answer,
        "grouped": grouped.answer,
        "mini": mini.train,
        "single": single.answer,
    }
    if options.compile:
        compiled = Step(images=64, each=1, compiled=True)
        jobs |= {"compiled_train": compiled.train, "compiled_infer": compiled.answer}
    seconds = medians(options.repeats, **jobs)

    rate = 2 * left.shape[0] * 1024 * 512 / seconds["product"]
    result = {
        "rate_gflops": rate / 1e9,
        "train_ms": 1e3 * seconds["train"],
        "train_floor_multiple": seconds["train"] * rate / TRAIN_FLOOR,
        "train_questions_per_second": len(full) / seconds["train"],
        "infer_ms": 1e3 * seconds["infer"],
        "infer_floor_multiple": seconds["infer"] * rate / INFER_FLOOR,
        "infer_questions_per_second": len(full) / seconds["infer"],
        "grouped_questions_per_second": len(grouped) / seconds["grouped"],
        "grouped_speedup": len(grouped) / len(full) * seconds["infer"] / seconds["grouped"],
        "mini_train_ms": 1e3 * seconds["mini"],
        "mini_train_gflop": operations(mini.train) / 1e9,
        "mini_train_questions_per_second": len(mini) / seconds["mini"],
        "single_answer_ms": 1e3 * seconds["single"],
    }
    result["mini_train_floor_multiple"] = (
        seconds["mini"] * rate / (1e9 * result["mini_train_gflop"])
    )
    if options.compile:
        result["compiled_train_ms"] = 1e3 * seconds["compiled_train"]
        result["compiled_infer_ms"] = 1e3 * seconds["compiled_infer"]

    receiver, sender = mp.Pipe(duplex=False)
    process = mp.get_context("spawn").Process(target=peak_memory, args=(sender, options.threads))
    process.start()
    result["train_peak_mib"] = receiver.recv()
    process.join()
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15, help="rounds, of which the median")
    parser.add_argument(
        "--grouped-images",
        type=int,
        default=32,
        help="images of a grouped batch",
    )
    parser.add_argument("--compile", action="store_true", help="torch.compile as well; minutes")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    result = measure(options)
    for name, value in result.items():
        print(f"{name:34}{value:10.2f}")
    if options.json:
        print(json.dumps({name: round(value, 4) for name, value in result.items()}))


if __name__ == "__main__":
    main()
