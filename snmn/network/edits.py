"""Edits of a run as people write them, checked and made into an `Intervention`.

Ours, not the paper's: which module runs at a step, which words the step listens to, and where it
looks, each for the steps that one wants and the controller's own for the others. What the stack
cannot run is refused before anything runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snmn.common.boxes import box_shares
from snmn.common.errors import UserError, shown
from snmn.common.vocabulary import tokenise
from snmn.network.controller import Control
from snmn.network.intervention import Intervention
from snmn.network.layouts import can_run, read_layout, stack_heights
from snmn.network.model import SNMN
from snmn.network.question_encoder import EncodedQuestion


class EditError(UserError):
    """Words or attention that a step cannot be given; the message names the step."""


@dataclass(frozen=True)
class Edits:
    """What is set from outside, by step; each of the three may be left out or be shorter than T.

    - layout: module names, None where the controller chooses; a layout that ends early does
      nothing after that. See `snmn.network.layouts.read_layout`
    - words: what a step listens to, None where the controller attends: words of the question, in a
      text or a list, each in all its places; or numbers of words, from 0; or weights, of all words
      in an array of floats or of some by word or number
    - attention: where a step looks, the map at the stack's top after it, None where that is the
      modules' own: a box [x, y, width, height] in pixels, which counts as one object, or weights
      [H,W] from 0, of which the greatest counts as a cell with an object
    """

    layout: str | Sequence[str | None] | None = None
    words: Sequence | None = None
    attention: Sequence | None = None

    def __bool__(self) -> bool:
        return any(part is not None for part in (self.layout, self.words, self.attention))


@dataclass(frozen=True)
class Plan:
    """What edits come to for one question.

    - intervention, decided: as `SNMN.forward` takes them; None where there is nothing
    - given [T]: which of "module", "words" and "attention" are set at each step
    """

    intervention: Intervention | None
    decided: tuple[EncodedQuestion, Control] | None
    given: list[tuple[str, ...]]


def plan_edits(
    edits: Edits,
    model: SNMN,
    question: Tensor,
    words: Sequence[str],
    image_size: tuple[int, int],
) -> Plan:
    """The plan for one question, [1,S] indices of ``words``, about an image.

    image_size is (width, height) in pixels. Raises LayoutEditError for a layout that cannot run,
    EditError for all else that cannot be.
    """
    steps = model.controller.num_steps
    if not edits:
        return Plan(None, None, [()] * steps)
    layout: list[str | None] = [None] * steps
    if edits.layout is not None:
        layout = read_layout(edits.layout, model.module_names, steps)
    heard = _by_step(edits.words, steps, "words")
    places = _by_step(edits.attention, steps, "attention")
    grid = tuple(model.knowledge_base.grid)
    weights = [_heard(number, given, words) for number, given in enumerate(heard, start=1)]
    regions = [_region(n, given, image_size, grid) for n, given in enumerate(places, start=1)]
    intervention = Intervention(
        words=_stacked(weights, torch.zeros(len(words))),
        regions=_stacked(regions, torch.full((grid[0] * grid[1],), torch.nan)),
    )
    decided = None
    if any(layout) or intervention.regions is not None:
        if None in layout:
            # The controller never sees the image: what it chooses is known before anything runs.
            with torch.inference_mode():
                length = torch.tensor([question.shape[1]])
                decided = model.decide(question, length, intervention)
        probs = decided[1].module_probs[0] if decided else None
        _check(model, layout, regions, probs)
    if any(layout):
        indices = [model.module_names.index(name) if name else -1 for name in layout]
        intervention.layout = torch.tensor([indices])
    given = {"module": layout, "words": weights, "attention": regions}
    by_step = [
        tuple(name for name, entries in given.items() if entries[step] is not None)
        for step in range(steps)
    ]
    return Plan(intervention, decided, by_step)


def _check(
    model: SNMN,
    layout: list[str | None],
    regions: list[Tensor | None],
    probs: Tensor | None,
) -> None:
    """Refuse what the stack cannot run, and attention where it holds no map.

    probs [T,M] are the controller's, None where the layout leaves it nothing to choose.
    """
    names = layout if probs is None else _likeliest(model, layout, probs)
    heights = stack_heights(model.nmn, names, given=[name is not None for name in layout])
    for step, (region, height) in enumerate(zip(regions, heights, strict=True)):
        if region is not None and not height:
            raise EditError(
                f"step {step + 1}, {names[step]}, leaves no map on the stack whose attention could "
                "be set"
            )


def _likeliest(model: SNMN, layout: list[str | None], probs: Tensor) -> list[str]:
    """The layout [T] with the controller's likeliest modules, by probs [T,M], where it has none."""
    own = [model.module_names[index] for index in probs.argmax(dim=1).tolist()]
    names = [name or likely for name, likely in zip(layout, own, strict=True)]
    if model.nmn.validate_modules:  # Then what cannot run is left out of the choice.
        for step in [step for step, name in enumerate(layout) if name is None]:
            heights = stack_heights(model.nmn, names[:step], given=[False] * step)
            height = heights[-1] if heights else 0
            order = probs[step].argsort(descending=True).tolist()
            possible = (model.module_names[index] for index in order)
            names[step] = next(name for name in possible if can_run(model.nmn, name, height))
    return names


def _by_step(given: Sequence | None, steps: int, what: str) -> list:
    """One entry for each step, None for those that are left out."""
    if given is None:
        return [None] * steps
    if isinstance(given, str | Mapping):
        raise EditError(f"{what} are given in a list, one entry for each step")
    entries = list(given)
    if len(entries) > steps:
        raise EditError(f"{what} are given for {len(entries)} steps, but the model has {steps}")
    return entries + [None] * (steps - len(entries))


def _stacked(entries: list[Tensor | None], without: Tensor) -> Tensor | None:
    """[1,T,...], or None where no step has an entry."""
    if all(entry is None for entry in entries):
        return None
    return torch.stack([without if entry is None else entry for entry in entries])[None]


def _heard(number: int, given: Any, words: Sequence[str]) -> Tensor | None:
    """Weights [S] of the words that a step listens to, which sum to 1; None if none are given."""
    if given is None:
        return None
    weights = torch.zeros(len(words), dtype=torch.double)
    if isinstance(given, Mapping):
        for word, weight in given.items():
            weights[_places(number, word, words)] += _weight(number, weight)
    elif isinstance(given, np.ndarray | Tensor) and "float" in str(given.dtype):
        if tuple(given.shape) != (len(words),):
            raise EditError(
                f"step {number}: there are {tuple(given.shape)} weights for the question's "
                f"{len(words)} words"
            )
        weights += torch.tensor([_weight(number, weight) for weight in given.tolist()])
    else:
        named = tokenise(given) if isinstance(given, str) else given
        if not isinstance(named, Sequence | np.ndarray | Tensor):
            raise EditError(f"step {number} cannot listen to {shown(repr(given))}; name words")
        for word in named:
            weights[_places(number, word, words)] = 1.0
        if not len(named):
            return None
    if not weights.sum() > 0:
        raise EditError(f"step {number} listens to no word; name one at least")
    return (weights / weights.sum()).float()


def _places(number: int, word: Any, words: Sequence[str]) -> list[int]:
    """Where a word stands in the question, or the one place of a number."""
    if isinstance(word, str) and not word.isdecimal():
        places = [place for place, one in enumerate(words) if one in tokenise(word)]
        if places:
            return places
        raise EditError(
            f"step {number}: {shown(repr(word))} is no word of the question: {' '.join(words)}"
        )
    try:
        place = int(word) if isinstance(word, str) else word.__index__()
    except (AttributeError, TypeError, ValueError):
        place = -1
    if isinstance(word, bool) or not 0 <= place < len(words):
        raise EditError(
            f"step {number}: {shown(repr(word))} is no word of the question; their numbers go from "
            f"0 to {len(words) - 1}"
        )
    return [place]


def _weight(number: int, weight: Any) -> float:
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < 1e30:
        raise EditError(f"step {number}: a word's weight is a number from 0, not {weight!r}")
    return float(weight)


def _region(
    number: int, given: Any, image_size: tuple[int, int], grid: tuple[int, int]
) -> Tensor | None:
    """Shares [P] of an object that a step's cells have; None if none are given."""
    if given is None:
        return None
    try:
        values = torch.as_tensor(np.asarray(given, dtype=float))
    except (TypeError, ValueError, OverflowError):
        values = torch.zeros(())
    if values.shape == (4,):
        if not (values.isfinite().all() and values[2] > 0 and values[3] > 0):
            raise EditError(
                f"step {number}: a box is [x, y, width, height] with a width and a height, not "
                f"{values.tolist()}"
            )
        shares = box_shares(values, image_size, grid)
        if not shares.any():
            raise EditError(
                f"step {number}: the box {values.tolist()} lies outside the image of "
                f"{image_size[0]} x {image_size[1]} pixels"
            )
    elif tuple(values.shape) == grid:
        if not ((values >= 0) & (values < 1e30)).all() or not values.any():
            raise EditError(f"step {number}: weights of cells are numbers from 0, and not all 0")
        shares = values / values.max()
    else:
        raise EditError(
            f"step {number}: attention is a box [x, y, width, height] or weights of {grid[0]} x "
            f"{grid[1]} cells, not of shape {tuple(values.shape)}"
        )
    return shares.flatten().float()


def edits_of_text(
    layout: str | None, words: list[str] | None, boxes: list[str] | None, steps: int
) -> Edits:
    """Edits from a command line: words as "2=small sphere", boxes as "1=x,y,width,height".

    Steps are counted from 1. Raises EditError.
    """
    heard, places = _options(words, "words", steps), _options(boxes, "attention", steps)
    return Edits(layout, heard, places and [place and _box(place) for place in places])


def _options(entries: list[str] | None, option: str, steps: int) -> list[str | None] | None:
    if entries is None:
        return None
    found: list[str | None] = [None] * steps
    for entry in entries:
        number, _, what = (part.strip() for part in entry.partition("="))
        if not (what and number.isdecimal() and 1 <= int(number) <= steps):
            raise EditError(
                f"--{option} is given as STEP=..., with a step from 1 to {steps}, not {entry!r}"
            )
        found[int(number) - 1] = what
    return found


def _box(text: str) -> list[float]:
    try:
        x, y, width, height = (float(number) for number in text.replace(",", " ").split())
    except ValueError:
        raise EditError(f"a box is x,y,width,height in pixels, not {text!r}") from None
    return [x, y, width, height]
