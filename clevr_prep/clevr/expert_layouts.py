"""Expert layouts: the sequence of neural modules that a CLEVR program corresponds to.

They supervise the controller in the `gt_layout` experiments (section 4 of the paper).

Ours, for what CLEVR never asks: a union with a side that is nothing but a sameness, or an
intersection ("cubes or things that are the same size as the ball"), is filtered for what the whole
is called. The map of a Transform is not of one scale with Find's, so that things cannot be counted
in the higher of both; the lower of that and of Find's again can. Unions with a bare spatial
relation, which CLEVR does ask for, are as in the original.
"""

from collections.abc import Sequence

from clevr_prep.clevr.programs import Node, ProgramError, parse_program
from snmn.common.errors import UserError

_COMPARISONS = ("equal", "greater", "less")
_LONGEST = 1000  # steps, before filters are merged; CLEVR's longest layouts have 9 after that
_MODULE_OF = {
    "scene": "_Scene",
    "filter": "_Filter",
    "relate": "_Transform",
    "same": "_Transform",
    "intersect": "_And",
    "union": "_Or",
    "count": "_DescribeOne",
    "exist": "_DescribeOne",
    "query": "_DescribeOne",
    **dict.fromkeys(_COMPARISONS, "_DescribeTwo"),
}


class LayoutError(UserError):
    """A layout does not fit into the model's number of steps."""


def _family(node: Node) -> str:
    return node.function.partition("_")[0]


def _walk(
    nodes: list[Node], index: int, swapped: frozenset[int], room: int
) -> list[tuple[str, int]]:
    """Module names of the tree below a node, in post-order, each with its node.

    The second input of a node in ``swapped`` comes before its first one.

    A node used twice is walked twice: a stack machine has to compute it again. A few nodes can so
    stand for billions of steps: ProgramError when there are more than ``room``.
    """
    node = nodes[index]
    modules: list[tuple[str, int]] = []
    if room <= 0:
        raise ProgramError(f"its layout has more than {_LONGEST} steps")
    for source in reversed(node.inputs) if index in swapped else node.inputs:
        # _DescribeTwo compares two attention maps itself, so the count or query that the
        # program puts in between has no module.
        if _family(node) in _COMPARISONS:
            source = nodes[source].inputs[0]
        modules += _walk(nodes, source, swapped, room - len(modules))
    if node.function != "unique":
        modules.append((_MODULE_OF[_family(node)], index))
    if node.function == "union" and any(_is_composed(nodes, side) for side in node.inputs):
        # A Filter of the program that follows becomes one with it.
        modules.append(("_Filter", index))
    return modules


def _is_composed(nodes: list[Node], index: int) -> bool:
    """Whether a union's side is one that CLEVR's unions never have, with nothing filtered in it."""
    return nodes[index].function == "intersect" or _family(nodes[index]) == "same"


def expert_steps(
    program: Sequence[dict], *, swapped: frozenset[int] = frozenset()
) -> list[tuple[str, int]]:
    """Module names of `expert_layout`, each with the program node whose result it computes.

    ``swapped`` are nodes of two inputs that are to be computed second one first: another layout
    of the same program.
    """
    nodes, order = parse_program(program)
    steps: list[tuple[str, int]] = []
    for module, index in _walk(nodes, order[-1], swapped, _LONGEST):
        if module == "_Filter" and steps:
            before = steps[-1][0]
            if before == "_Scene":
                steps[-1] = "_Find", index
                continue
            if before in ("_Find", "_Filter"):
                steps[-1] = before, index
                continue
        steps.append((module, index))
    return steps


def expert_layout(program: Sequence[dict]) -> list[str]:
    """Module names of a program in the order in which the stack machine runs them, unpadded.

    ``_Scene`` with the ``_Filter`` after it is one ``_Find``; a ``_Filter`` after ``_Find`` or
    ``_Filter`` is merged into it. Raises ``ProgramError`` for a malformed program.
    """
    return [module for module, _ in expert_steps(program)]


def merge_filters(layout: Sequence[str]) -> list[str]:
    """A layout without each ``_Filter`` that follows ``_Find`` or another ``_Filter``.

    That is how both earlier codebases read the layouts of their imdbs, which have one a word.
    """
    merged: list[str] = []
    for module in layout:
        if module != "_Filter" or merged[-1:] not in (["_Find"], ["_Filter"]):
            merged.append(module)
    return merged


def pad_layout(layout: Sequence[str], length: int) -> list[str]:
    """The layout followed by ``_NoOp`` up to ``length`` steps (T, the controller's steps).

    Raises ``LayoutError`` when the layout is longer than that.
    """
    if len(layout) > length:
        raise LayoutError(
            f"the layout has {len(layout)} steps, but the model only {length}: {' '.join(layout)}"
        )
    return [*layout, *["_NoOp"] * (length - len(layout))]
