"""Edits of a run that mean something, and what the edited program gives on the true scene.

Of questions whose expert layout the model runs by itself: each of its steps then computes a node of
the question's program, and an edit of the step is one of the node.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from clevr_prep.clevr.expert_layouts import expert_steps
from clevr_prep.clevr.programs import ProgramError, execute
from clevr_prep.clevr.scene_masks import ATTRIBUTES
from snmn.network.edits import Edits

OBJECT = (54, 54)  # width and height in pixels of what stands for an object


@dataclass
class MeantEdit:
    """An edit of one question's run: its kind, what it does, and the answer that it asks for."""

    kind: str
    said: str
    edits: Edits
    answer: str


def meant_edits(
    program: Sequence[dict], scene: dict, heard: Sequence[Sequence[float]], steps: int
) -> Iterator[MeantEdit]:
    """All edits of a question that change its answer on the scene.

    ``heard`` [T,S] is the attention to words of the model's own ``steps`` T.
    """
    truth = execute(program, scene)
    layout = expert_steps(program)
    for kind, said, edits, edited in _edits(program, scene, layout, heard, steps):
        try:
            answer = execute(edited, scene)
        except ProgramError:  # One object is asked for where there are more or none.
            continue
        if answer != truth:
            yield MeantEdit(kind, said, edits, answer)


def _edits(program, scene, layout, heard, steps):
    finds = [step for step, (module, _) in enumerate(layout) if module == "_Find"]
    for step, (module, node) in enumerate(layout):
        place = f"step {step + 1}"
        if module == "_Transform":
            name, _, _ = program[node]["function"].partition("_")
            kind = "Remove Transform: shared attribute"
            if name == "relate":
                kind = "Remove Transform: direction"
            yield (
                kind,
                f"{place}, Transform, does nothing",
                _layout(steps, step, "_NoOp"),
                _bypassed(program, node),
            )
        if module == "_Filter":
            yield (
                "Remove Filter",
                f"{place}, Filter, does nothing",
                _layout(steps, step, "_NoOp"),
                _unfiltered(program, node),
            )
        if module in ("_And", "_Or"):
            other = {"_And": "_Or", "_Or": "_And"}[module]
            function = {"_And": "intersect", "_Or": "union"}[other]
            yield (
                f"{module[1:]} becomes {other[1:]}",
                f"{place} runs {other[1:]} instead of {module[1:]}",
                _layout(steps, step, other),
                _changed(program, node, function=function),
            )
        if module == "_Find" and program[node]["function"].startswith("filter"):
            yield (
                "Find becomes Scene",
                f"{place} runs Scene instead of Find",
                _layout(steps, step, "_Scene"),
                _unfiltered(program, node),
            )
            for other in finds:
                if other != step:
                    yield (
                        "Find listens elsewhere",
                        f"{place}, Find, listens to what step {other + 1} listens to",
                        Edits(words=[None] * step + [_weights(heard[other])]),
                        _rewired(program, node, layout[other][1]),
                    )
            for thing in scene["objects"]:
                x, y, _ = thing["pixel_coords"]
                box = [x - OBJECT[0] / 2, y - OBJECT[1] / 2, *OBJECT]
                name = " ".join(thing[a] for a in ATTRIBUTES)
                yield (
                    "Look at another object",
                    f"{place}, Find, looks at the {name}",
                    Edits(attention=[None] * step + [box]),
                    _pinned(program, node, thing),
                )
        if module == "_Transform":
            for other, (kind, _) in enumerate(layout):
                if kind == "_Transform" and other != step:
                    source = program[layout[other][1]]
                    yield (
                        "Transform listens elsewhere",
                        f"{place}, Transform, listens to what step {other + 1} listens to",
                        Edits(words=[None] * step + [_weights(heard[other])]),
                        _changed(
                            program,
                            node,
                            function=source["function"],
                            value_inputs=source.get("value_inputs", []),
                        ),
                    )


def _layout(steps: int, step: int, module: str) -> Edits:
    return Edits(layout=[module if place == step else None for place in range(steps)])


def _weights(shares: Sequence[float]) -> dict[int, float]:
    return dict(enumerate(map(float, shares)))


def _changed(program, node, **fields):
    """The program with other fields of a node."""
    return [{**one, **fields} if n == node else one for n, one in enumerate(program)]


def _rewired(program, node, source):
    """The program in which all that took a node's result takes another node's.

    Nodes that no other uses any more are left out.
    """
    inputs = [
        [source if n == node and reader != source else n for n in one["inputs"]]
        for reader, one in enumerate(program)
    ]
    rewired = [{**one, "inputs": new} for one, new in zip(program, inputs, strict=True)]
    root = len(program) - 1 if node != len(program) - 1 else source
    return _used(rewired, root)


def _used(program, root):
    """The nodes that the root depends on, in their order, as a program of its own."""
    wanted, waiting = set(), [root]
    while waiting:
        node = waiting.pop()
        if node not in wanted:
            wanted.add(node)
            waiting += program[node]["inputs"]
    kept = sorted(wanted)
    number = {node: place for place, node in enumerate(kept)}
    return [
        {**program[node], "inputs": [number[source] for source in program[node]["inputs"]]}
        for node in kept
    ]


def _bypassed(program, node):
    """The program without a relation: what its anchor was found among is taken instead."""
    (unique,) = program[node]["inputs"]
    return _rewired(program, node, program[unique]["inputs"][0])


def _unfiltered(program, node):
    """The program without the filters that end in a node."""
    source = node
    while program[source]["function"].startswith("filter"):
        (source,) = program[source]["inputs"]
    return _rewired(program, node, source)


def _pinned(program, node, thing):
    """The program whose node gives one object, told by all that can be said of it."""
    scene = next(n for n, one in enumerate(program) if one["function"] == "scene")
    chain, last = [], scene
    for attribute in ATTRIBUTES:
        chain.append(
            {
                "function": f"filter_{attribute}",
                "inputs": [last],
                "value_inputs": [thing[attribute]],
            }
        )
        last = len(program) + len(chain) - 1
    # The root stays the last node.
    longer = [*program, *chain]
    order = [*range(len(program) - 1), *range(len(program), len(longer)), len(program) - 1]
    number = {old: new for new, old in enumerate(order)}
    moved = [{**longer[old], "inputs": [number[n] for n in longer[old]["inputs"]]} for old in order]
    return _rewired(moved, number[node], number[last])
