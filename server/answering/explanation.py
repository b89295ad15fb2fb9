"""From one forward pass to what the API gives: nothing is computed again, only read off."""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from server.answering.questions import likely_task
from server.answering.true_scene import on_true_scene, sample_scenes
from server.catalogue import Entry
from server.descriptions import module_infos
from server.schemas import AnswerShare, Box, Mark, Prediction, Step
from snmn.common.boxes import cut_box, decode_boxes
from snmn.common.vocabulary import ANSWERS, encode
from snmn.figures.trace import Trace, trace
from snmn.figures.trace_text import trace_text
from snmn.network.model import SNMN, SNMNOutput
from snmn.network.modules import AnswerModule


def answer_shares(output: SNMNOutput) -> list[AnswerShare]:
    """All answers with their probabilities, likeliest first; none without an answer head."""
    if output.answer_logits is None:
        return []
    shares, order = output.answer_logits[0].softmax(dim=0).sort(descending=True)
    return [
        AnswerShare(answer=ANSWERS[index], probability=round(share, 5))
        for share, index in zip(shares.tolist(), order.tolist(), strict=True)
    ]


def predicted_box(output: SNMNOutput, size: tuple[int, int]) -> Box | None:
    """The box at the best cell, cut to the image of (width, height) pixels; None without heads."""
    if output.cell_scores is None:
        return None
    shares = output.cell_scores.softmax(dim=1)
    confidence, cell = shares.max(dim=1)
    grid = tuple(output.image_attention.shape[2:])
    box = decode_boxes(cell, output.box_offset, torch.tensor([size]), grid)[0]
    x, y, width, height = (round(number, 1) for number in cut_box(box, size).tolist())
    return Box(
        x=x,
        y=y,
        width=width,
        height=height,
        confidence=round(confidence.item(), 5),
    )


def trace_of(output: SNMNOutput, question: Tensor, box: Box | None) -> Trace:
    """Question 0, of word indices [S], as numbers; with a box where that is what is asked for."""
    corner = None
    if box is not None:
        corner = torch.tensor([box.x, box.y, box.width, box.height])
    return trace(output, 0, question, len(question), box=corner)


def steps_of(output: SNMNOutput, model: SNMN, given: Sequence[Sequence[str]]) -> list[Step]:
    """The T steps of question 0, of each of which some parts were ``given`` from outside."""
    pointers = output.stack_pointer[0].argmax(dim=1).tolist()
    used = max(pointers) + 1
    attention = _shares(output.image_attention[0])  # [T,H,W]
    stack = _shares(output.stack[0, :, :used])  # [T,K,H,W]
    levels = _levels(stack).tolist()
    probabilities = _rounded(output.module_probs[0])
    chosen = output.module_probs[0].argmax(dim=1).tolist()
    words = _rounded(output.question_attention[0])
    attention = _rounded(attention, 5)
    steps = []
    for t, (index, pointer) in enumerate(zip(chosen, pointers, strict=True)):
        before = pointers[t - 1] if t else 0
        name = output.module_names[index]
        read, popped, pushed = _moves(model, name, before, pointer)
        steps.append(
            Step(
                module=name,
                module_probabilities=probabilities[t],
                word_attention=words[t],
                image_attention=attention[t],
                pointer=pointer,
                read=read,
                popped=popped,
                pushed=pushed,
                stack=levels[t],
                given=given[t],
            )
        )
    return steps


def _moves(model: SNMN, name: str, before: int, after: int) -> tuple[list[int], ...]:
    """Places that a module reads and keeps, pops and pushes; ``before`` is the old pointer."""
    module = model.nmn.neural_modules[name]
    inputs = [before - k for k in range(module.inputs) if before >= k]
    if isinstance(module, AnswerModule) and module.keep_stack:
        return inputs, [], []
    return [], inputs, [after] * module.outputs


def _shares(logits: Tensor) -> Tensor:
    """Softmax over the cells of maps [...,H,W], as the modules read them."""
    return logits.flatten(-2).softmax(dim=-1).view(logits.shape)


def _levels(shares: Tensor) -> Tensor:
    """Maps [...,H,W] as whole numbers: 0 at an even spread or less, 255 at the strongest cell."""
    even = 1 / (shares.shape[-1] * shares.shape[-2])
    highest = shares.amax(dim=(-2, -1), keepdim=True)
    # A map that is all but even has nothing to show.
    scale = torch.where(highest > 1.05 * even, 255 / (highest - even), 0.0)
    return ((shares - even).clamp_min(0) * scale).round().int()


def _rounded(values: Tensor, digits: int = 4) -> list:
    return values.double().round(decimals=digits).tolist()


def tell(
    entry: Entry,
    words: list[str],
    output: SNMNOutput,
    features: Tensor,
    given: list[tuple[str, ...]],
    size: tuple[int, int],
    question: str,
    sample: str | None,
    start: float,
) -> Prediction:
    """What came of a forward pass about features [1,H,W,D] of an image of (width, height) pixels.

    ``given`` [T] are the parts of each step that were set from outside; ``start`` is when the
    question came, as `time.perf_counter` has it.
    """
    with torch.inference_mode():
        shares, box = answer_shares(output), predicted_box(output, size)
        steps = steps_of(output, entry.model, given)
    task = likely_task(words)
    task = task if task in entry.tasks else entry.tasks[0]
    asked = torch.tensor(encode(question))
    traced = trace_of(output, asked, box if task == "loc" else None)
    if any(given):
        # Nothing is asked again of a run that was changed: it answers for no layout of its own.
        marks = entry.marker.marks(traced, None, entry.marker.look(features[0].numpy()))
    else:
        marks = entry.marker.marks_of_one(traced, output, asked, features, size)
    return Prediction(
        model=entry.name,
        sample=sample,
        question=question,
        task=task,
        words=words,
        image_width=size[0],
        image_height=size[1],
        answer=shares[0].answer if shares else None,
        probabilities=shares,
        box=box,
        modules=module_infos(entry.model.nmn.neural_modules),
        steps=steps,
        text=trace_text(traced),
        marks=[Mark(name=mark.name, reason=mark.reason) for mark in marks],
        on_true_scene=on_true_scene(traced, sample) if sample in sample_scenes() else None,
        milliseconds=round(1000 * (time.perf_counter() - start), 1),
    )
