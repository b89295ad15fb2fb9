"""CLEVR's functional programs: what they answer on a scene, their type and their depth.

A program is a list of nodes ``{"function": name, "inputs": [node indices], "value_inputs":
[words]}`` as in CLEVR v1.0 (Johnson et al. 2017). ``function`` may be called ``type`` and
``value_inputs`` may be called ``side_inputs``, as the generator of CLEVR names them. Nodes may
stand in any order as long as they form a directed acyclic graph; the answer is that of the one
node that no other node uses (scenes that nobody uses are ignored). The program of a referring
expression (CLEVR-Ref) has no answer: it ends in ``unique``, the object that is meant.
"""

from collections.abc import Sequence
from typing import NamedTuple

from clevr_prep.clevr.scene_masks import ATTRIBUTES, DIRECTIONS, VALUES, SceneMasks

QUESTION_TYPES = (
    "count",
    "exist",
    "equal_integer",
    "greater_than",
    "less_than",
    *(f"query_{attribute}" for attribute in ATTRIBUTES),
    *(f"equal_{attribute}" for attribute in ATTRIBUTES),
)

REFERRING_TYPES = (
    "ref_attribute",
    "ref_relate_1",
    "ref_relate_2",
    "ref_relate_3",
    "ref_same",
    "ref_and",
    "ref_or",
)

# name -> (kind of each input, kind of the result, values its one value input may take or None)
_SIGNATURES = {
    "scene": ((), "set", None),
    "unique": (("set",), "object", None),
    "relate": (("object",), "set", DIRECTIONS),
    "union": (("set", "set"), "set", None),
    "intersect": (("set", "set"), "set", None),
    "count": (("set",), "integer", None),
    "exist": (("set",), "boolean", None),
    "equal_integer": (("integer", "integer"), "boolean", None),
    "greater_than": (("integer", "integer"), "boolean", None),
    "less_than": (("integer", "integer"), "boolean", None),
}
for _attribute in ATTRIBUTES:
    _SIGNATURES |= {
        f"filter_{_attribute}": (("set",), "set", VALUES[_attribute]),
        f"same_{_attribute}": (("object",), "set", None),
        f"query_{_attribute}": (("object",), _attribute, None),
        f"equal_{_attribute}": ((_attribute, _attribute), "boolean", None),
    }


MOST_NODES = 250  # CLEVR's longest programs have 25


class ProgramError(ValueError):
    """A program that is malformed, or that has no answer on the given scene."""


class Node(NamedTuple):
    """One checked program node; ``value`` is its value input, None where it takes none."""

    function: str
    inputs: tuple[int, ...]
    value: str | None

    @property
    def kind(self) -> str:
        """What the result is: set, object, integer, boolean or an attribute."""
        return _SIGNATURES[self.function][1]


def _fail(index: int, function: object, reason: str) -> ProgramError:
    return ProgramError(f"program node {index} ({function}): {reason}")


def _read_node(index: int, raw: dict, size: int) -> Node:
    if not isinstance(raw, dict):
        raise _fail(index, type(raw).__name__, "is not a dictionary")
    function = raw.get("function", raw.get("type"))
    if function is None:
        raise _fail(index, "?", "has neither 'function' nor 'type'")
    if not isinstance(function, str) or function not in _SIGNATURES:
        raise _fail(index, function, "unknown function")
    kinds, _, choices = _SIGNATURES[function]
    inputs = raw.get("inputs")
    if inputs is None and kinds:
        raise _fail(index, function, "has no 'inputs'")
    if not isinstance(inputs, (list, tuple, type(None))):
        raise _fail(index, function, "'inputs' is not a list")
    inputs = tuple(inputs or ())
    if len(inputs) != len(kinds):
        raise _fail(index, function, f"takes {len(kinds)} inputs, got {len(inputs)}")
    for source in inputs:
        if type(source) is not int or not 0 <= source < size:
            raise _fail(index, function, f"input {source!r} is not a node of the program")
    values = raw.get("value_inputs") or raw.get("side_inputs") or ()
    if not isinstance(values, (list, tuple)):
        raise _fail(index, function, "its value inputs are not a list")
    if choices is None:
        if values:
            raise _fail(index, function, f"takes no value input, got {list(values)}")
        return Node(function, inputs, None)
    if len(values) != 1:
        raise _fail(index, function, f"takes one value input, got {list(values)}")
    if values[0] not in choices:
        raise _fail(index, function, f"unknown value {values[0]!r}")
    return Node(function, inputs, values[0])


def parse_program(program: Sequence[dict]) -> tuple[list[Node], list[int]]:
    """Check a program and put it in order.

    Returns its nodes, and the indices of those the answer depends on, each after its inputs;
    the last one is the root. Raises ``ProgramError`` naming the node at fault.
    """
    if not isinstance(program, (list, tuple)):
        raise ProgramError(f"the program is no list of nodes but {type(program).__name__}")
    if not program:
        raise ProgramError("the program has no nodes")
    if len(program) > MOST_NODES:
        raise ProgramError(f"the program has {len(program)} nodes, at most {MOST_NODES} may be")
    nodes = [_read_node(i, raw, len(program)) for i, raw in enumerate(program)]
    used = {source for node in nodes for source in node.inputs}
    ends = [i for i in range(len(nodes)) if i not in used]
    roots = [i for i in ends if nodes[i].function != "scene"] or ends
    if not roots:
        raise _fail(0, nodes[0].function, "the program is a cycle: every node is used by another")
    if len(roots) > 1:
        second = roots[1]
        raise _fail(second, nodes[second].function, f"a second end beside node {roots[0]}")

    order, done, open_path = [], set(), set()
    stack = [(roots[0], False)]
    while stack:
        index, inputs_done = stack.pop()
        if inputs_done:
            open_path.discard(index)
            done.add(index)
            order.append(index)
        elif index in open_path:
            raise _fail(index, nodes[index].function, "depends on itself (a cycle)")
        elif index not in done:
            open_path.add(index)
            stack.append((index, True))
            stack.extend((source, False) for source in reversed(nodes[index].inputs))
    for index, node in enumerate(nodes):
        if index not in done and node.function != "scene":
            raise _fail(index, node.function, "depends on itself (a cycle)")
    _check_kinds(nodes, order)
    return nodes, order


def _check_kinds(nodes: list[Node], order: list[int]) -> None:
    for index in order:
        function, inputs, _ = nodes[index]
        for source, kind in zip(inputs, _SIGNATURES[function][0], strict=True):
            given = _SIGNATURES[nodes[source].function][1]
            if given != kind:
                raise _fail(index, function, f"needs kind {kind}, node {source} gives {given}")


def execute(program: Sequence[dict], scene: dict | SceneMasks) -> str:
    """The answer of a CLEVR program on a scene, as the answer string of the dataset.

    ``scene`` is a CLEVR scene dictionary, or its ``SceneMasks`` when many programs are run on
    the same scene. Raises ``ProgramError`` naming the node when the program is malformed or
    ill-posed (``unique`` of anything but one object), ``SceneError`` for a broken scene.
    """
    nodes, order = parse_program(program)
    if nodes[order[-1]].kind in ("set", "object"):
        raise _fail(order[-1], nodes[order[-1]].function, "its result is not an answer")
    answer = _run(nodes, order, scene)[order[-1]]
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    return str(answer)


def find_referent(program: Sequence[dict], scene: dict | SceneMasks) -> int:
    """Index of the object that a referring expression's program ends in; see ``execute``."""
    nodes, order = parse_program(program)
    if nodes[order[-1]].kind != "object":
        raise _fail(order[-1], nodes[order[-1]].function, "its result is not an object")
    return _run(nodes, order, scene)[order[-1]]


def node_results(program: Sequence[dict], scene: dict | SceneMasks) -> dict[int, object]:
    """The result of each node that the answer depends on; see ``execute``.

    Sets of objects are bit sets, an object is its index, counts are integers.
    """
    return _run(*parse_program(program), scene)


def _run(nodes: list[Node], order: list[int], scene: dict | SceneMasks) -> dict:
    """The results of all nodes in order; sets are bit sets, objects indices."""
    masks = scene if isinstance(scene, SceneMasks) else SceneMasks(scene)
    results = {}
    for index in order:
        function, inputs, value = nodes[index]
        given = [results[source] for source in inputs]
        results[index] = _apply(index, function, given, value, masks)
    return results


def _apply(index: int, function: str, given: list, value: str | None, masks: SceneMasks):
    name, _, attribute = function.partition("_")
    if name == "scene":
        return masks.everything
    if name == "filter":
        return given[0] & masks.having[attribute][value]
    if name == "unique":
        if given[0].bit_count() != 1:
            raise _fail(index, function, f"needs one object, got {given[0].bit_count()}")
        return given[0].bit_length() - 1
    if name == "relate":
        return masks.related[value][given[0]]
    if name == "same":
        return masks.same[attribute][given[0]]
    if name == "query":
        return masks.value_of[attribute][given[0]]
    if name == "count":
        return given[0].bit_count()
    if name == "exist":
        return given[0] != 0
    if name == "union":
        return given[0] | given[1]
    if name == "intersect":
        return given[0] & given[1]
    if name == "greater":
        return given[0] > given[1]
    if name == "less":
        return given[0] < given[1]
    return given[0] == given[1]


def question_type(program: Sequence[dict]) -> str:
    """Which type of question a program is, the same for all words that may be in it.

    One of the 13 ``QUESTION_TYPES``: the function of its last step. For a referring expression
    one of the ``REFERRING_TYPES``: ref_or with a union, otherwise ref_and with an intersection,
    otherwise ref_same with a shared attribute, otherwise by its number of relations (ref_relate_3
    for three or more).
    """
    nodes, order = parse_program(program)
    function = nodes[order[-1]].function
    if function == "unique":
        used = [nodes[i].function.partition("_")[0] for i in order]
        for step, kind in (("union", "ref_or"), ("intersect", "ref_and"), ("same", "ref_same")):
            if step in used:
                return kind
        return REFERRING_TYPES[min(used.count("relate"), 3)]
    if function not in QUESTION_TYPES:
        raise _fail(order[-1], function, "is not the last step of a question")
    return function


def hops(program: Sequence[dict]) -> int:
    """Number of steps from object to object: ``relate`` and ``same_*`` nodes that are used."""
    nodes, order = parse_program(program)
    return sum(nodes[i].function.partition("_")[0] in ("relate", "same") for i in order)
