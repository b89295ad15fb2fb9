"""One question's way through the model, step by step, as plain numbers: what pictures show.

Made from the output of the one forward pass; figures, the command line and a server draw or send
the same numbers.
"""

from dataclasses import asdict, dataclass

import numpy as np
from torch import Tensor

from snmn.common.vocabulary import ANSWERS, MODULES, QUESTION_WORDS
from snmn.network.model import SNMNOutput


@dataclass
class Step:
    """One of the T steps.

    - module, probability: the likeliest module and its probability
    - probabilities [M] of all, in the order of the trace's ``modules``
    - words [S]: how much the step listens to each word; they sum to 1
    - attention [H,W]: the map at the stack's top after the step, as softmax weights over the
      cells, which is how modules read it; they sum to 1
    - stack [L,H,W]: all maps after the step, the same way
    - pointer [L]: where on the stack the top is, a distribution over its places
    - given: which of "module", "words" and "attention" were set from outside
    """

    module: str
    probability: float
    probabilities: np.ndarray
    words: np.ndarray
    attention: np.ndarray
    stack: np.ndarray
    pointer: np.ndarray
    given: tuple[str, ...] = ()

    @property
    def is_no_op(self) -> bool:
        """Whether the step most likely does nothing."""
        return self.module == "_NoOp"


@dataclass
class Trace:
    """What the model did with one question.

    - words: the question's S words and marks
    - steps: its T steps
    - answers: (answer, probability), the likeliest first; empty without an answer head
    - box: predicted [x, y, w, h] in pixels, None without localisation heads
    - confidence: probability of the first answer, or of the box's cell
    - modules: names of the model's M modules
    """

    words: list[str]
    steps: list[Step]
    answers: list[tuple[str, float]]
    box: list[float] | None
    confidence: float
    modules: tuple[str, ...] = MODULES

    @property
    def active_steps(self) -> list[Step]:
        """The steps without the NoOps at the end."""
        steps = list(self.steps)
        while steps and steps[-1].is_no_op:
            steps.pop()
        return steps

    def to_dict(self) -> dict:
        """The same as nested lists and numbers, fit for JSON."""
        return _plain(asdict(self))


def _plain(value):
    if isinstance(value, np.ndarray):
        return np.round(value.astype(float), 6).tolist()
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value


def trace(
    output: SNMNOutput, n: int, question: Tensor, length: int, *, box: Tensor | None = None
) -> Trace:
    """What question ``n`` of a batch went through.

    ``question`` [S] are its word indices, of which ``length`` are true. ``box`` [4] is the
    prediction of a referring expression in pixels; answers are traced without one.
    """
    L, H, W = output.stack.shape[2:]
    probabilities = _numpy(output.module_probs[n])
    words = _numpy(output.question_attention[n])[:, :length]
    attention = _numpy(output.image_attention[n].flatten(1).softmax(-1)).reshape(-1, H, W)
    stack = _numpy(output.stack[n].flatten(2).softmax(-1)).reshape(-1, L, H, W)
    pointer = _numpy(output.stack_pointer[n])
    best = probabilities.argmax(axis=-1)
    steps = [
        Step(
            module=output.module_names[best[t]],
            probability=float(probabilities[t, best[t]]),
            probabilities=probabilities[t],
            words=words[t],
            attention=attention[t],
            stack=stack[t],
            pointer=pointer[t],
        )
        for t in range(len(best))
    ]
    answers = []
    scores = output.cell_scores if box is not None else output.answer_logits
    shares = _numpy(scores[n].softmax(-1))
    if box is None:
        answers = [(ANSWERS[a], float(shares[a])) for a in np.argsort(-shares)]
    return Trace(
        words=[QUESTION_WORDS[index] for index in question[:length].tolist()],
        steps=steps,
        answers=answers,
        box=None if box is None else box.tolist(),
        confidence=float(shares.max()),
        modules=output.module_names,
    )


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().cpu().numpy()
