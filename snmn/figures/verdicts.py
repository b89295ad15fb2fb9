"""Which predictions of a batch are right."""

from torch import Tensor

from snmn.common.boxes import IOU_THRESHOLD, box_iou
from snmn.data.batch import Batch
from snmn.network.model import SNMNOutput


def verdicts(batch: Batch, output: SNMNOutput, boxes: Tensor | None) -> list[bool | None]:
    """Whether each prediction is right, None where nobody knows.

    ``boxes`` [N,4] in pixels are those predicted for expressions.
    """
    if batch.task == "vqa":
        if batch.answer is None:
            return [None] * len(batch)
        right, known = output.answer_logits.argmax(dim=1) == batch.answer, batch.answer >= 0
    else:
        if batch.box is None:
            return [None] * len(batch)
        right, known = box_iou(boxes, batch.box) >= IOU_THRESHOLD, batch.box_cell >= 0
    return [r if k else None for r, k in zip(right.tolist(), known.tolist(), strict=True)]
