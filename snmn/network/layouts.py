"""Layouts written by hand: their modules' names, whether the stack can run them, and changes.

Steps are counted from 1 in messages, as everywhere on pictures, and from 0 in arguments.
"""

import difflib
from collections.abc import Sequence

from snmn.common.errors import UserError, shown
from snmn.network.modules import AnswerModule
from snmn.network.nmn import StackNMN

NOTHING = "_NoOp"


class LayoutEditError(UserError):
    """A layout that the model cannot run, or a change that it has no room for."""


def read_layout(
    layout: str | Sequence[str | None], modules: Sequence[str], steps: int
) -> list[str | None]:
    """A layout's module names by step, T of them, None where the controller chooses.

    Takes names, with or without their underscore, in a list or in one text; None, "" and "-" leave
    a step to the controller. What is left out at the end does nothing (_NoOp), so that a layout is
    all that runs. Raises LayoutEditError.
    """
    given = layout.replace(",", " ").split() if isinstance(layout, str) else list(layout)
    if not given:
        raise LayoutEditError("the layout is empty; name its modules, as in _Find _DescribeOne")
    if len(given) > steps:
        raise LayoutEditError(f"the layout has {len(given)} steps, but the model only {steps}")
    names = [_name(number, name, modules) for number, name in enumerate(given, start=1)]
    return names + [NOTHING] * (steps - len(names))


def _name(number: int, name: str | None, modules: Sequence[str]) -> str | None:
    if name is None or (isinstance(name, str) and name in ("", "-")):
        return None
    if isinstance(name, str):
        for known in (name, f"_{name}"):
            if known in modules:
                return known
    near = difflib.get_close_matches(str(name), modules, n=1)
    hint = f"did you mean {near[0]}? " if near else ""
    raise LayoutEditError(
        f"step {number}: there is no module {shown(repr(name))}; {hint}"
        f"The model has {', '.join(modules)}"
    )


def stack_heights(
    nmn: StackNMN, layout: Sequence[str], *, given: Sequence[bool] | None = None
) -> list[int]:
    """How many maps are on the stack after each step of a layout of names.

    ``given`` says which steps were set from outside (left out: all), the others being what the
    controller finds likeliest. From the first such step on each must find its maps and have room
    for its own, or LayoutEditError says which does not, and why. What the controller does before
    that is left as it is: the pointer stays on the stack.
    """
    given = [True] * len(layout) if given is None else given
    height, heights = 0, []
    for step, name in enumerate(layout):
        fault = _fault(nmn, name, height)
        if fault and any(given[: step + 1]):
            whose, way_out = "", ""
            if not given[step]:
                whose, way_out = " (the controller's choice)", "; set this step too"
            before = f"after step {step}, {layout[step - 1]}" if step else "at the beginning"
            raise LayoutEditError(
                f"step {step + 1}, {name}{whose}, cannot run: {fault} {before}{way_out}"
            )
        height = min(max(height + _growth(nmn, name), 0), nmn.pointer.length - 1)
        heights.append(height)
    return heights


def can_run(nmn: StackNMN, name: str, height: int) -> bool:
    """Whether a module finds its maps on a stack of ``height`` maps, and room for its own."""
    return not _fault(nmn, name, height)


def _growth(nmn: StackNMN, name: str) -> int:
    module = nmn.neural_modules[name]
    if isinstance(module, AnswerModule) and module.keep_stack:
        return 0
    return module.outputs - module.inputs


def _fault(nmn: StackNMN, name: str, height: int) -> str:
    """Why a module cannot run on a stack of ``height`` maps; "" where it can."""
    module = nmn.neural_modules[name]
    if height < module.inputs:
        return f"it needs {_maps(module.inputs)} and the stack has {_maps(height)}"
    # A module made of others needs room for what they push in between.
    for part in module.runs or (name,):
        if part != name:
            fault = _fault(nmn, part, height)
            if fault:
                return f"it runs {part}; {fault}"
        height += _growth(nmn, part)
        if height > nmn.pointer.length - 1:
            return f"it pushes a map and the stack is full with {_maps(height - 1)}"
    return ""


def _maps(count: int) -> str:
    return f"{count or 'no'} map{'' if count == 1 else 's'}"


def replace_step(layout: Sequence[str | None], step: int, module: str | None) -> list[str | None]:
    """The layout with another module at a step; None leaves it to the controller."""
    return [module if place == step else name for place, name in enumerate(layout)]


def remove_step(layout: Sequence[str | None], step: int) -> list[str | None]:
    """The layout with nothing done at a step.

    The others keep their places, and with them the words that they listen to.
    """
    return replace_step(layout, step, NOTHING)


def insert_step(
    layout: Sequence[str | None], words: Sequence, step: int, module: str, heard=None
) -> tuple[list[str | None], list]:
    """Layout and words with a module before a step; those after it move up by one.

    They move into the next step that does nothing, and take their words along: without these a
    step listens to what the controller attends to at its new place. ``words`` are those of each
    step, ``heard`` those of the new one, in any of the forms that `snmn.network.edits` reads.
    Raises LayoutEditError if no step is free.
    """
    free = next((place for place in range(step, len(layout)) if layout[place] == NOTHING), None)
    if free is None:
        raise LayoutEditError(
            f"there is no room before step {step + 1}: no step from there on does nothing"
        )

    def moved(entries: Sequence, new) -> list:
        return [*entries[:step], new, *entries[step:free], *entries[free + 1 :]]

    return moved(layout, module), moved(words, heard)
