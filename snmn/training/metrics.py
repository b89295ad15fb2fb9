"""Accuracies that are right on several devices and for uneven last batches."""

from collections.abc import Sequence

import torch
import torch.distributed
from torch import Tensor
from torchmetrics import Metric

from snmn.common.boxes import IOU_THRESHOLD, box_iou


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


class NamedMeans:
    """Weighted means of values by name; processes may know different names."""

    def __init__(self):
        self._sums: dict[str, list] = {}

    def add(self, name: str, value: Tensor, weight: int) -> None:
        """Count a value ``weight`` times."""
        entry = self._sums.setdefault(name, [0.0, 0])
        entry[0] += value.detach().double() * weight
        entry[1] += weight

    def compute(self) -> dict[str, float]:
        """The means over all processes, in the order of their names; forgets the values."""
        ours = {name: (float(total), count) for name, (total, count) in self._sums.items()}
        self._sums = {}
        everyone = [ours]
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            everyone = [None] * torch.distributed.get_world_size()
            torch.distributed.all_gather_object(everyone, ours)
        means = {}
        for name in sorted({name for sums in everyone for name in sums}):
            known = [sums[name] for sums in everyone if name in sums]
            means[name] = sum(total for total, _ in known) / sum(count for _, count in known)
        return means


def layout_correct(module_logits: Tensor, layout: Tensor) -> Tensor:
    """Whether the whole predicted layout is the expert's: [N,T,M], [N,T] -> [N] bool."""
    return (module_logits.argmax(dim=-1) == layout).all(dim=1)
