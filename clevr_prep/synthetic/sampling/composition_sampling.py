"""Draws questions of any composition for a scene, also of those that CLEVR never asks.

A shape is one of `families`, in which any set may stand within any other: beside the shapes of
CLEVR's sets there is ("and", set, set), and ("either", said, set, set) may be an anchor or thing.
"""

import random

from clevr_prep.synthetic.language.grammar import read, say
from clevr_prep.synthetic.language.meaning import NOTHING_SAID
from clevr_prep.synthetic.language.needed_clauses import needs_every_part
from clevr_prep.synthetic.sampling.descriptions import Group
from clevr_prep.synthetic.sampling.question_sampling import MeaningSampler
from clevr_prep.synthetic.sampling.questions import MAX_WORDS
from snmn.common.vocabulary import tokenise

_CLAUSES = ("relate", "same", "both", "and")
_WORDINGS = 4  # tried before a meaning is given up, because all can be understood otherwise


class CompositionSampler(MeaningSampler):
    """Draws questions about one scene in which no part is needless.

    Every method returns None when a draw did not succeed.
    """

    _idle_clauses = 0.0

    def draw_shape(self, shape: tuple) -> tuple[tuple, str] | None:
        """One question of a shape, see ``families.shape_of``: its meaning and its answer."""
        drawn = self._question(*shape)
        if drawn is None or not needs_every_part(drawn[0], self._masks):
            return None
        return drawn

    def draw_thing(self, shape, targets: int) -> tuple[tuple, int] | None:
        """One expression for one of the objects in a bit set: its meaning and the object."""
        drawn = self._thing(shape, candidates=targets)
        if drawn is None or drawn[2] >> drawn[1] & 1:
            return None
        meaning = "refer", drawn[0]
        return (meaning, drawn[1]) if needs_every_part(meaning, self._masks) else None

    def _clause(
        self, shape: tuple, banned: int = 0, towards: int = 0
    ) -> tuple[tuple, Group, int] | None:
        kind, *parts = shape
        if kind not in ("and", "either"):
            return super()._clause(shape, banned, towards)
        sides = [self._side(part, banned) for part in parts[-2:]]
        if None in sides or sides[0][0] == sides[1][0]:
            return None
        (one, first, no, near), (other, second, nor, far) = sides
        if near & far:
            return None  # An object is related twice: CLEVR's intersections have two anchors.
        if kind == "and":
            members, without = first & second, (first, second)
        else:
            members, without = first | second, (self._masks.everything,)
            if members in (first, second):
                return None
        group = Group(members, without, banned | no | nor)
        return (one, other), group, near | far

    def _side(self, shape, banned: int) -> tuple[tuple, int, int, int] | None:
        """One side of an intersection or a union: meaning, bit set, banned attributes, anchors."""
        if shape != "scene" and shape[0] in _CLAUSES:
            drawn = self._clause(shape, banned)
            if drawn is None:
                return None
            clause, group, anchors = drawn
            return (shape[0], NOTHING_SAID, *clause), group.members, group.banned, anchors
        found = self._set(shape, "either", banned)
        return found and (*found, banned, 0)


def say_clearly(meaning: tuple, rng: random.Random) -> str | None:
    """The text of a question that is understood as this meaning and as no other.

    "The cube that is left of the ball that is behind the block and is the same size as the
    cylinder" may be two things. None when a few wordings are all ambiguous or too long.
    """
    for _ in range(_WORDINGS):
        text = say(meaning, rng)
        if len(tokenise(text)) <= MAX_WORDS and read(text) == [meaning]:
            return text
    return None
