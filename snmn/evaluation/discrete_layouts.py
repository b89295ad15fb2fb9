"""Whether a model does what its layout shows: its layout made discrete, and how layouts differ.

A figure shows the likeliest module of each step; what computes the answer is the mixture of all.
Made discrete, each step runs that module alone, as with USE_HARD_ARGMAX_LAYOUT. A model whose
layouts mean something answers as before, and has other layouts for other questions.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from snmn.evaluation.scores import share
from snmn.network.intervention import Intervention
from snmn.network.model import SNMN, SNMNOutput


@torch.no_grad()
def run_discretely(
    model: SNMN, question: Tensor, length: Tensor, image_features: Tensor, output: SNMNOutput
) -> SNMNOutput:
    """What the model gives when each step runs its likeliest module alone.

    ``output`` is what it gave for the same question [N,S] of length [N] about the same features.
    """
    layout = output.module_logits.argmax(dim=-1)
    return model(question, length, image_features, Intervention(layout=layout))


@dataclass
class DiscreteLayouts:
    """Sums over the questions of a split.

    ``layouts`` counts layouts without their NoOps; ``same`` the questions that are answered as by
    the mixture, ``right`` and ``mixture_right`` those of ``with_truth`` that are answered rightly.
    """

    layouts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    same: int = 0
    with_truth: int = 0
    right: int = 0
    mixture_right: int = 0
    expert_steps: int = 0

    def add_layout(self, modules: Sequence[str], expert: Sequence[str]) -> None:
        """Count a question's layout, T modules, and the length of the expert's."""
        self.layouts[tuple(name for name in modules if name != "_NoOp")] += 1
        self.expert_steps += len(expert)

    def add_answer(self, same: bool, right: bool | None, mixture_right: bool | None) -> None:
        """Count whether the discrete layout answers the same, and who is right where known."""
        self.same += same
        if right is not None:
            self.with_truth += 1
            self.right += right
            self.mixture_right += bool(mixture_right)

    def summary(self) -> dict:
        """All measures, fit for JSON.

        ``effective_number`` of layouts is the exponential of their entropy: as many layouts, used
        equally often, would have the same entropy. Lengths are numbers of steps but for NoOps.
        """
        total = self.layouts.total()
        shares = [count / total for count in self.layouts.values()]
        (commonest, count), *_ = self.layouts.most_common(1)
        result = {
            "effective_number": round(math.exp(-sum(p * math.log(p) for p in shares)), 4),
            "commonest": share(count, total) | {"layout": " ".join(commonest)},
            "mean_length": round(sum(len(m) * n for m, n in self.layouts.items()) / total, 4),
            "expert_mean_length": round(self.expert_steps / total, 4),
            "as_mixture": share(self.same, total),
        }
        if self.with_truth:
            result["right"] = share(self.right, self.with_truth)
            result["mixture_right"] = share(self.mixture_right, self.with_truth)
        return result
