"""A model's layout, taken as a discrete program: what it would answer if it meant what it shows.

The likeliest module of each step and the words that the step listens to are made into a CLEVR
program, which `clevr_prep.clevr.programs` runs on the true scene:

- Find, Scene     all objects of the values that the words name; Scene all objects
- Filter          of the top set, those of the values that the words name
- Transform       the top set must be one object; what stands in the direction, or shares the
                  attribute, that the words name
- And, Or         the top two sets' intersection, union
- DescribeOne, DescribeTwo   the question's own last step (count, exist, query_color, ...) on the
                  top set or two. It is not read from words: the answer is made from memory and the
                  whole question (section 3.5 of the paper), so the model need not attend to it.

A word is listened to if it has at least `LEAST` of the step's attention and at least `BESIDE`
times that of the most attended word of its kind; of two values of one attribute the more
attended counts. A layout has no answer when it takes from an empty stack, when a Transform names
no relation, when the last step is not a Describe of as many sets as the question compares (for
expressions, not a set), when sets are left over, when one object is needed and there are more or
none, or when a module is none of these.
"""

from collections.abc import Sequence

from clevr_prep.clevr.programs import ProgramError, execute, find_referent
from clevr_prep.clevr.scene_masks import ATTRIBUTES, DIRECTIONS, SceneMasks
from clevr_prep.synthetic.language.phrases import WORDS

LEAST, BESIDE = 0.05, 0.25

# word -> (attribute, value)
_VALUES = {
    word: (attribute, value)
    for attribute, tables in (
        ("size", ("size",)),
        ("color", ("color",)),
        ("material", ("material",)),
        ("shape", ("noun", "nouns")),
    )
    for table in tables
    for value, phrases in WORDS[table].items()
    if value is not None
    for word in phrases.split("|")
}
_RELATIONS = {
    **{direction: ("relate", direction) for direction in DIRECTIONS},
    **{attribute: (f"same_{attribute}", None) for attribute in ATTRIBUTES},
}


def _heard(words: Sequence[str], weights: Sequence[float], kind: dict) -> list[tuple[float, tuple]]:
    """What the attended words of a kind stand for, the most attended first."""
    found = [(w, kind[word]) for word, w in zip(words, weights, strict=True) if word in kind]
    least = max([LEAST, *(BESIDE * weight for weight, _ in found)])
    return sorted((pair for pair in found if pair[0] >= least), key=lambda pair: -pair[0])


def heard_arguments(module: str, words: Sequence[str], weights: Sequence[float]) -> set[tuple]:
    """What a step's attended words name: (attribute, value) of Find and Filter, a Transform's
    (function, value), nothing for other modules.
    """
    if module in ("_Find", "_Filter"):
        values: dict[str, str] = {}
        for _, (attribute, value) in _heard(words, weights, _VALUES):
            values.setdefault(attribute, value)
        return set(values.items())
    if module == "_Transform":
        return {argument for _, argument in _heard(words, weights, _RELATIONS)[:1]}
    return set()


class _Unreadable(ValueError):
    """The layout is no program."""


class _Reader:
    """Builds the program of a layout, with a stack of the nodes that hold sets."""

    def __init__(self, words: Sequence[str]):
        self.words, self.nodes, self.stack = words, [], []

    def add(self, function: str, *inputs: int, value: str | None = None) -> int:
        values = [] if value is None else [value]
        self.nodes.append({"function": function, "inputs": list(inputs), "value_inputs": values})
        return len(self.nodes) - 1

    def pop(self) -> int:
        if not self.stack:
            raise _Unreadable("the stack is empty")
        return self.stack.pop()

    def filtered(self, source: int, values: dict[str, str]) -> int:
        for attribute in ATTRIBUTES:
            if attribute in values:
                source = self.add(f"filter_{attribute}", source, value=values[attribute])
        return source

    def step(self, module: str, weights: Sequence[float]) -> None:
        heard = heard_arguments(module, self.words, weights)
        if module == "_Find":
            self.stack.append(self.filtered(self.add("scene"), dict(heard)))
        elif module == "_Scene":
            self.stack.append(self.add("scene"))
        elif module == "_Filter":
            self.stack.append(self.filtered(self.pop(), dict(heard)))
        elif module == "_Transform":
            if not heard:
                raise _Unreadable("no relation is named")
            ((function, value),) = heard
            anchor = self.add("unique", self.pop())
            self.stack.append(self.add(function, anchor, value=value))
        elif module in ("_And", "_Or"):
            second, first = self.pop(), self.pop()
            function = {"_And": "intersect", "_Or": "union"}[module]
            self.stack.append(self.add(function, first, second))
        else:
            raise _Unreadable(f"no program has a {module}")

    def describe(self, module: str, function: str, *, swapped: bool) -> None:
        """The question's last step: ``function`` on one set, or on two."""
        kind, _, attribute = function.partition("_")
        compares = kind in ("equal", "greater", "less")
        if compares != (module == "_DescribeTwo"):
            raise _Unreadable(f"{module} cannot be {function}")
        sets = [self.pop() for _ in range(1 + compares)]
        if not swapped:
            sets.reverse()
        if kind == "query" or (compares and attribute in ATTRIBUTES):
            sets = [self.add("unique", source) for source in sets]
        if compares:
            inner = f"query_{attribute}" if attribute in ATTRIBUTES else "count"
            sets = [self.add(inner, source) for source in sets]
        self.add(function, *sets)


def read_layout(
    modules: Sequence[str],
    words: Sequence[str],
    attention: Sequence[Sequence[float]],
    *,
    last: str,
    swapped: bool = False,
) -> list[dict] | None:
    """The CLEVR program of a layout, None where it is none.

    Args:
        modules: the likeliest module of each of T steps.
        words: the question's S words and marks.
        attention: [T,S] attention of each step to each word.
        last: the last function of the question's own program, "unique" for an expression.
        swapped: whether what the question compares is on the stack in the other order.
    """
    steps = [pair for pair in zip(modules, attention, strict=True) if pair[0] != "_NoOp"]
    if not steps:
        return None
    reader = _Reader(words)
    final = None if last == "unique" else steps.pop()[0]
    if final not in (None, "_DescribeOne", "_DescribeTwo"):
        return None
    try:
        for module, weights in steps:
            if module in ("_DescribeOne", "_DescribeTwo"):
                return None
            reader.step(module, weights)
        if final:
            reader.describe(final, last, swapped=swapped)
        else:
            reader.add("unique", reader.pop())
    except _Unreadable:
        return None
    return None if reader.stack else reader.nodes


def discrete_answer(program: list[dict] | None, scene: dict | SceneMasks) -> str | int | None:
    """What the program of `read_layout` gives on a scene: an answer, or an object's index.

    None where it is none or asks for one object where there is not one.
    """
    if program is None:
        return None
    run = find_referent if program[-1]["function"] == "unique" else execute
    try:
        return run(program, scene)
    except ProgramError:
        return None
