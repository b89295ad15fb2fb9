"""Accuracies that are right on several devices and for uneven last batches."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchmetrics import Metric

from snmn.boxes import IOU_THRESHOLD, box_iou


class AccuracyByGroup(Metric):
    """Share of correct predictions, overall and in each of some named groups.

    ``update`` takes correct [N] (bool) and group [N] (index into ``groups``; any other number
    counts for the overall share only). Empty groups are left out of the result.
    """

    full_state_update = False

    def __init__(self, groups: Sequence[str] = ()):
        super().__init__()
        self.groups = tuple(groups)
        zeros = torch.zeros(len(self.groups) + 1, dtype=torch.long)
        self.add_state("correct", default=zeros.clone(), dist_reduce_fx="sum")
        self.add_state("total", default=zeros.clone(), dist_reduce_fx="sum")

    def update(self, correct: Tensor, group: Tensor | None = None) -> None:
        """Count a batch."""
        everything = len(self.groups)
        self.correct[everything] += correct.sum()
        self.total[everything] += correct.numel()
        if group is not None and everything:
            known = group < everything
            self.correct[:-1] += torch.bincount(group[known & correct], minlength=everything)
            self.total[:-1] += torch.bincount(group[known], minlength=everything)

    def compute(self) -> dict[str, Tensor]:
        """Accuracy by group, and "all"; an accuracy of nothing is left out."""
        names = (*self.groups, "all")
        shares = self.correct / self.total
        return {name: shares[i] for i, name in enumerate(names) if self.total[i]}


class PrecisionByGroup(AccuracyByGroup):
    """Precision@1 of boxes: the share of predictions with an IoU of 0.5 or more, by group."""

    def update(self, predicted: Tensor, box: Tensor, group: Tensor | None = None) -> None:
        """Count a batch of predicted and true boxes, both [N,4] in pixels."""
        super().update(box_iou(predicted, box) >= IOU_THRESHOLD, group)


def layout_correct(module_logits: Tensor, layout: Tensor) -> Tensor:
    """Whether the whole predicted layout is the expert's: [N,T,M], [N,T] -> [N] bool."""
    return (module_logits.argmax(dim=-1) == layout).all(dim=1)
