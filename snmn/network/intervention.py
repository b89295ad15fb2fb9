"""Decisions set from outside, so that one can see, or train, what follows from them.

Ours, not the paper's: causal questions ("what if this step had listened to another word?") and
training under layouts that the controller did not choose both replace some of a run's decisions;
everything after them is computed from what was set.
"""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

# What a map has more at an object than elsewhere, beside the norm of the layer that scores cells:
# so much at least in the models that come with the project.
_CONTRAST = 1 / 3


@dataclass
class Intervention:
    """What is decided from outside, step by step; each may be left out.

    - layout [N,T]: the index of the module that runs alone, -1 where the controller chooses
    - words [N,T,S]: weights of the words, which sum to 1; zeros alone where the controller attends
    - image_attention [N,T,P]: the map at the pointer after a step, as logits over P = H * W cells;
      NaN where the modules' own stays
    - regions [N,T,P]: the same by shares, 0 where nothing is and 1 at a cell with a whole object;
      how strong that is, `scaled` takes from the maps of the model's own
    - steps: how many steps run, where all that follow do nothing; None for all T
    """

    layout: Tensor | None = None
    words: Tensor | None = None
    image_attention: Tensor | None = None
    regions: Tensor | None = None
    steps: int | None = None

    def module_probs(self, own: Tensor) -> Tensor:
        """The module probabilities [N,T,M] that run, from the controller's own."""
        if self.layout is None:
            return own
        is_set = (self.layout >= 0)[..., None]
        chosen = F.one_hot(self.layout.clamp_min(0), own.shape[-1]).to(own.dtype)
        return torch.where(is_set, chosen, own)

    def question_attention(self, step: int, own: Tensor) -> Tensor:
        """The word attention [N,S] of a step, from the controller's own."""
        if self.words is None:
            return own
        words = self.words[:, step].to(own.dtype)
        return torch.where(words.any(dim=1, keepdim=True), words, own)

    def scaled(self, found: Tensor, weight: Tensor) -> "Intervention":
        """The regions as image_attention, as strong as what Find makes of the question.

        found [N,T,P] are Find's maps at all steps, and weight those of the layer that scores them:
        by its norm one can tell how strong an object is that no step looks for.
        """
        if self.regions is None:
            return self
        found = found.flatten(1)
        low = found.median(dim=1).values[:, None, None]
        high = torch.maximum(
            found.max(dim=1).values[:, None, None], low + _CONTRAST * weight.norm()
        )
        # Parts of an object add up to the whole as softmax adds them up: shares of e^logit.
        share = self.regions.to(found.dtype)
        logits = torch.logaddexp(low + torch.log1p(-share), high + share.log())
        return replace(self, image_attention=logits, regions=None)

    def maps(self, step: int, own: Tensor, pointer: Tensor) -> Tensor:
        """The stack's maps [N,L,P] after a step, from the modules' own and the pointer [N,L]."""
        if self.image_attention is None:
            return own
        given = self.image_attention[:, step, None].to(own.dtype)  # [N,1,P]
        place = pointer[..., None]
        return torch.where(given.isnan(), own, (1 - place) * own + place * given.nan_to_num())
