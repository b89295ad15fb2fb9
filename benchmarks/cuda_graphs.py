"""Steps of fixed shapes as CUDA graphs: what takes a thousand calls becomes one.

A graph is captured for shapes, and the longest question of a batch gives it a shape; so questions
are padded to a few lengths, and each length has a graph of its own. The optimiser, whose constants
change with every update, stays outside.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.step import Step
from snmn.network.model import SNMNOutput

LENGTHS = (16, 24, 32, 48)  # CLEVR's questions have at most 45 words.
_WARM_UP = 3  # calls before a capture, in which libraries choose and allocate


def padded(question: Tensor, lengths: Sequence[int] = LENGTHS) -> Tensor:
    """Questions [N,S] with columns of padding, up to the least of ``lengths`` that holds them.

    Raises ValueError for questions longer than all.
    """
    fitting = [length for length in lengths if length >= question.shape[1]]
    if not fitting:
        raise ValueError(f"questions have {question.shape[1]} words, more than {max(lengths)}")
    return F.pad(question, (0, min(fitting) - question.shape[1]))


def capture(work: Callable[[], object]) -> Callable[[], object]:
    """A function that does on the device what ``work`` does there, in one call.

    It reads the memory that ``work`` read when it was captured and writes what it wrote; it returns
    the object that ``work`` returned, with new numbers in its tensors.
    """
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(_WARM_UP):
            work()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = work()

    def replay() -> object:
        graph.replay()
        return result

    return replay


@dataclass
class _Graph:
    """What a graph reads, how it is run, and the gradients that it writes, if it does."""

    inputs: list[Tensor]
    replay: Callable[[], object]
    gradients: list[Tensor | None]


class CapturedStep:
    """A `Step` that trains and answers by graphs, with the batch that it is given.

    A batch is question [N,S], length, layout, answer and features, as `Step` has them.
    ``capturing`` is `capture`, or what takes its place where there is no GPU.
    """

    def __init__(self, step: Step, capturing: Callable = capture):
        self.step, self._capturing = step, capturing
        self._graphs: dict[tuple, _Graph] = {}

    def __len__(self) -> int:
        return len(self.step)

    def train(self, *batch: Tensor) -> None:
        """One update."""
        graph = self._graph("gradients", self.step.gradients, batch)
        graph.replay()
        for parameter, gradient in zip(self._parameters(), graph.gradients, strict=True):
            parameter.grad = gradient
        self.step.update()

    def answer(self, *batch: Tensor) -> SNMNOutput:
        """The model's output, in memory that the next one of such questions is written to."""
        return self._graph("answer", self.step.answer, batch).replay()

    def _graph(self, name: str, work: Callable, batch: Sequence[Tensor]) -> _Graph:
        """The graph for a batch of these shapes, which it is given to read."""
        question, *rest = batch
        batch = [padded(question), *rest]
        key = (name, *(tensor.shape for tensor in batch))
        if key not in self._graphs:
            inputs = [tensor.clone() for tensor in batch]
            read = self.step.batch
            read.question, read.length, read.layout, read.answer, self.step.features = inputs
            replay = self._capturing(work)
            gradients = [parameter.grad for parameter in self._parameters()]
            self._graphs[key] = _Graph(inputs, replay, gradients)
        for kept, given in zip(self._graphs[key].inputs, batch, strict=True):
            kept.copy_(given)
        return self._graphs[key]

    def _parameters(self) -> list[nn.Parameter]:
        return list(self.step.model.parameters())
