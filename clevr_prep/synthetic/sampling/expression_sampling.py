"""Draws meanings of referring expressions for a scene: each denotes one given object.

What CLEVR rejects in a question is not drawn here either (see ``question_sampling``): every clause
is needed to single its object out, and nothing is described by its relation to itself.
"""

from clevr_prep.clevr.scene_masks import ATTRIBUTES
from clevr_prep.synthetic.language.families import Family
from clevr_prep.synthetic.sampling.descriptions import BIT, Group
from clevr_prep.synthetic.sampling.question_sampling import MeaningSampler


class ExpressionSampler(MeaningSampler):
    """Draws expressions about one scene. Methods return None when a draw did not succeed."""

    def refer(self, family: Family, target: int) -> tuple | None:
        """One expression of a family for an object of the scene: its meaning."""
        shape, alone = family.shape[1], 1 << target
        if shape[0] == "either":
            return self._refer_within(target, *shape[1:])
        if shape[0] == "same" and not self._masks.same[shape[1]][target]:
            return None
        drawn = self._thing(shape, candidates=alone, towards=alone)
        if drawn is None or alone & drawn[2]:
            return None
        return "refer", drawn[0]

    def _refer_within(self, target: int, said: tuple[str, ...], left, right) -> tuple | None:
        """The one member of a union that has the target's values of the attributes said.

        Both sets have members of their own, and what is said would not single the target out
        among all objects.
        """
        alone, subset = 1 << target, sum(BIT[attribute] for attribute in said)
        fitting = self._descriptions.fits[target][subset]
        if fitting == alone:
            return None
        first = self._rng.random() < 0.5
        own = self._set_around(target, left if first else right, subset)
        other = own and self._set(right if first else left, "refer", subset)
        if other is None:
            return None
        union = own[1] | other[1]
        if union in (own[1], other[1]) or fitting & union != alone:
            return None
        kind, *rest = other[0]
        if kind == "relate" and self._named(rest[-1]) == alone:
            return None
        sides = (own[0], other[0]) if first else (other[0], own[0])
        return "refer", ("either", self._descriptions.words(target, subset), *sides)

    def _set_around(self, target: int, shape, banned: int) -> tuple[tuple, int] | None:
        """A set that an object is in: what is said of it, and its bit set."""
        clause, group = (), Group(self._masks.everything, (), banned)
        if shape != "scene":
            drawn = self._clause(shape, banned, 1 << target)
            if drawn is None or drawn[2] >> target & 1:
                return None
            clause, group, _ = drawn
        free = [subset for subset in range(1, 16) if not subset & banned]
        subset = self._rng.choice(free)
        fitting = self._descriptions.fits[target][subset]
        if not group.matters_to(fitting):
            return None
        kind = shape if shape == "scene" else shape[0]
        words = self._descriptions.words(target, subset)
        return (kind, words, *clause), fitting & group.members

    def _named(self, meaning: tuple) -> int:
        """The bit set of a meaning of the kind scene."""
        found = self._masks.everything
        for attribute, value in zip(ATTRIBUTES, meaning[1][1:], strict=True):
            found &= self._masks.having[attribute][value] if value else found
        return found
