"""Which kind of words a layout's steps read, and in which order: a signal on word attention.

Answers and layouts leave open which phrase a step reads. "Do the cylinder and the cube in front of
the brown object have the same color?" takes Find, Find, Transform, Filter, DescribeTwo, and is also
answered by whoever finds the brown object first, goes from the cylinder to what has its color, and
compares places. And a chain's first object often need not be found at all: the leftmost cube is the
cube left of the sphere, whatever the sphere.

English settles it without any label: what is related is named before what it is related to, and
the first of two things before the second. So the words of a layout's steps stand in an order that
follows from the layout alone (`snmn.common.reading_order`). Held to that order only, steps whose
object no answer needs take up "the" and "do" at its beginning; so Find and Filter are also held to
words that describe objects, Transform to words that relate them.

Not in the paper, and off in the published configurations. It needs expert layouts.
"""

import torch
from torch import Tensor, nn

from snmn.common.reading_order import NOBODY
from snmn.common.vocabulary import MODULES, QUESTION_WORDS
from snmn.data.question_sources import NO_LAYOUT

_LEAST = 1e-6  # no probability counts as less


# What describes objects, and what relates them: of these words a step can learn what to look for.
_DESCRIBE = (
    "large big small tiny gray red blue green brown purple cyan yellow rubber matte metal metallic "
    "shiny cube cubes block blocks sphere spheres ball balls cylinder cylinders "
    "thing things object objects"
).split()
_RELATE = "left right front behind same size color material shape".split()
_READ_BY = {"_Find": _DESCRIBE, "_Filter": _DESCRIBE, "_Transform": _RELATE}


class ReadingOrderLoss(nn.Module):
    """How unlikely steps are to read words of their kind in the sentence's order; 0 where they do.

    A word drawn from a step's attention should stand before one drawn from that of the step which
    is read next, and a word drawn from a Find's, Filter's or Transform's should be one that
    describes objects or relates them. The loss is the negative log of these probabilities, summed
    over steps and averaged over questions.
    """

    def __init__(self):
        super().__init__()
        # Per module, the words it reads; none for those that have no words of their own.
        reads = [
            [word in _READ_BY.get(module, ()) for word in QUESTION_WORDS] for module in MODULES
        ]
        self.register_buffer("reads", torch.tensor(reads), persistent=False)  # [M,words]

    def forward(
        self, attention: Tensor, question: Tensor, layout: Tensor, following: Tensor
    ) -> Tensor:
        """The loss of attention [N,T,S] to the words question [N,S].

        layout [N,T] are module indices, or `NO_LAYOUT` for questions that do not count, following
        [N,T] the step that is read next, or `NOBODY`.
        """
        S = attention.shape[2]
        before = torch.ones(S, S, device=attention.device).triu(1)  # [S,S] a word and a later one
        after = following.clamp_min(0)[..., None].expand_as(attention)
        later = attention.gather(1, after)  # [N,T,S]
        in_order = (attention @ before * later).sum(2)  # [N,T]

        known = layout[:, 0] != NO_LAYOUT  # [N]
        reads = self.reads[layout.clamp_min(0)]  # [N,T,words]
        own = reads.gather(2, question[:, None].expand(*attention.shape))  # [N,T,S]
        of_kind = attention.masked_fill(~own, 0).sum(2)  # [N,T]
        costs = _cost(in_order) * (following != NOBODY) + _cost(of_kind) * reads.any(2)
        return (costs.sum(1) * known).sum() / known.sum().clamp_min(1)


def _cost(probability: Tensor) -> Tensor:
    """Its negative log, 13.8 at most, where a word of the right kind or order has no chance.

    Not what is missing to 1: attention that has settled on wrong words gets no gradient from that.
    """
    return -(_LEAST + (1 - _LEAST) * probability).log()
