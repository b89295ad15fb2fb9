"""A batch under the programs of a `LayoutSearch`, and what its answers say about them.

Words and losses are read on the host, so each training step waits for the device.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F

from snmn.common.vocabulary import MODULE_INDEX
from snmn.data.batch import Batch
from snmn.network.intervention import Intervention
from snmn.network.model import SNMNOutput
from snmn.training.layout_search.programs import OTHERS, Program
from snmn.training.layout_search.wordings import wording
from snmn.training.losses import UNKNOWN


def questions(batch: Batch) -> list[list[int]]:
    """Word indices without padding."""
    lengths = batch.length.tolist()
    return [row[:length] for row, length in zip(batch.question.tolist(), lengths, strict=True)]


def decisions(batch: Batch, programs: Sequence[Program | None], most_steps: int) -> Intervention:
    """What programs decide of a batch: layout [N,T] and words [N,T,S].

    Questions without a program do nothing, and listen to what the controller likes.
    """
    N, S = batch.question.shape
    layout = torch.zeros(N, most_steps, dtype=torch.long)  # NoOp is 0.
    words = torch.zeros(N, most_steps, S)
    for row, (asked, program) in enumerate(zip(questions(batch), programs, strict=True)):
        phrases = wording(tuple(asked)).phrases
        named = {w for s in program or () if s.phrase != OTHERS for w in phrases[s.phrase].words}
        others = [place for place in range(len(asked)) if place not in named]
        for t, step in enumerate(program or ()):
            layout[row, t] = MODULE_INDEX[step.module]
            read = others if step.phrase == OTHERS else phrases[step.phrase].words
            words[row, t, list(read)] = 1 / len(read)
    device = batch.question.device
    longest = max(len(program or ()) for program in programs)
    return Intervention(layout=layout.to(device), words=words.to(device), steps=max(longest, 1))


def aims(batch: Batch, programs: Sequence[Program | None], decided: Intervention) -> Batch:
    """The batch with the programs as what its layouts and words are to be.

    What a question without a program says is not learnt.
    """
    known = torch.tensor([program is not None for program in programs])
    known = known.to(batch.question.device)
    changed = {
        "layout": torch.where(known[:, None], decided.layout, UNKNOWN),
        "words": decided.words,
        "next_read": None,
    }
    if batch.answer is not None:
        changed["answer"] = torch.where(known, batch.answer, UNKNOWN)
    if batch.box_cell is not None:
        changed["box_cell"] = torch.where(known, batch.box_cell, UNKNOWN)
    return replace(batch, **changed)


def answer_losses(batch: Batch, output: SNMNOutput) -> tuple[list[float], list[int]]:
    """Each question's loss, and its true answer (of an expression the cell), -1 unknown."""
    if batch.task == "vqa":
        scores, truth = output.answer_logits, batch.answer
    else:
        scores, truth = output.cell_scores, batch.box_cell
    if truth is None:
        return [0.0] * len(batch), [UNKNOWN] * len(batch)
    losses = F.cross_entropy(scores.detach().float(), truth, ignore_index=UNKNOWN, reduction="none")
    return losses.tolist(), truth.tolist()
