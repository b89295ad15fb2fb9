"""A question's way through the model as one line of text.

    find "small sphere" -> same "color" -> count = 3
    find "red cube" -> relate "left" = box 192 101 30 38

Each step that does something is the likeliest module's verb and the words that it listens to, in
the order of the question; a module of one's own has its own name. Of the modules beside the nine,
and of those that take words, at most the words are quoted that carry the step's attention: the
fewest that hold `MOST` of it, less those with under `BESIDE` of the loudest one's. Where these are
more than `WORDS` the step listens to nothing in particular, and none is quoted.

Transform is "same" where it listens to "same" or to an attribute, else "relate". DescribeOne is
what the question asks for, as the answer is made from the whole question (section 3.5 of the
paper): "count", "exist", "color"; "describe" where the words do not say.
"""

from collections.abc import Sequence

from snmn.common.answer_kinds import NUMBER, YES_NO, kind_asked_for
from snmn.figures.trace import Step, Trace

MOST, BESIDE, WORDS = 0.9, 0.25, 6
_VERBS = {
    "_Find": "find",
    "_Filter": "filter",
    "_And": "and",
    "_Or": "or",
    "_Scene": "scene",
    "_DescribeTwo": "compare",
}
# They are given no words.
_WORDLESS = ("_And", "_Or", "_Scene", "_DescribeOne")
_ATTRIBUTES = ("size", "color", "material", "shape")


def attended_words(words: Sequence[str], weights: Sequence[float]) -> list[str]:
    """The words that carry a step's attention, in the order of the question; see the module.

    ``weights`` [S] sum to 1 over the S words and marks.
    """
    order = sorted(range(len(words)), key=lambda place: -weights[place])
    held, kept = 0.0, []
    for place in order:
        if held >= MOST or weights[place] < BESIDE * weights[order[0]]:
            break
        kept.append(place)
        held += weights[place]
    return [words[place] for place in sorted(kept)] if len(kept) <= WORDS else []


def trace_text(traced: Trace) -> str:
    """A trace as one line, see the module; its end is the answer, or the box of an expression."""
    steps = [_step_text(step, traced.words) for step in traced.steps if not step.is_no_op]
    return f"{' -> '.join(steps) or 'nothing'} = {_end(traced)}"


def _end(traced: Trace) -> str:
    if traced.box is not None:
        return "box " + " ".join(f"{number:.0f}" for number in traced.box)
    return traced.answers[0][0]


def _step_text(step: Step, words: Sequence[str]) -> str:
    heard = [] if step.module in _WORDLESS else attended_words(words, step.words)
    verb = _VERBS.get(step.module) or step.module.removeprefix("_")
    if step.module == "_Transform":
        same = any(word in ("same", *_ATTRIBUTES) for word in heard)
        verb = "same" if same else "relate"
        heard = [word for word in heard if word != "same"]
    if step.module == "_DescribeOne":
        kind = kind_asked_for(words) or ""
        attribute = kind.removeprefix("a ")
        verb = {NUMBER: "count", YES_NO: "exist"}.get(kind) or (
            attribute if attribute in _ATTRIBUTES else "describe"
        )
    return f'{verb} "{" ".join(heard)}"' if heard else verb
