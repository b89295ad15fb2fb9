"""Descriptions of a scene's objects: which words fit which objects, and how many of them.

A description says any of size, color, material and shape, so each object has 16 of them, one for
each subset of the four attributes (a 4-bit number, bit k for ``ATTRIBUTES[k]``). The tables made
here once per scene tell which objects each of them fits.
"""

import random
from typing import NamedTuple

from clevr_prep.clevr.scene_masks import ATTRIBUTES, VALUES, SceneMasks, members

BIT = {attribute: 1 << k for k, attribute in enumerate(ATTRIBUTES)}
_SUBSETS = range(16)
# _FREE[banned]: the subsets that mention no banned attribute.
_FREE = [[s for s in _SUBSETS if not s & banned] for banned in _SUBSETS]


class Group(NamedTuple):
    """A set of objects singled out by clauses such as "left of the cube".

    ``members``: bit set. ``without``: for each clause, the bit set the group would be without
    it. ``banned``: bits of the attributes that a description of its members must not mention.
    """

    members: int
    without: tuple[int, ...] = ()
    banned: int = 0

    def matters_to(self, fitting: int) -> bool:
        """Whether each clause changes which objects of a bit set are in the group."""
        inside = fitting & self.members
        return all(fitting & wider != inside for wider in self.without)


class Descriptions:
    """The descriptions of one scene's objects.

    ``fits[i][subset]``: bit set of the objects that object i's description by ``subset`` fits.
    """

    def __init__(self, masks: SceneMasks):
        self.masks = masks
        columns = [[masks.having[a][v] for v in masks.value_of[a]] for a in ATTRIBUTES]
        self.fits = []
        for sizes, colors, materials, shapes in zip(*columns, strict=True):
            row = [masks.everything]
            for mask in (sizes, colors, materials, shapes):
                row += [fitting & mask for fitting in row]
            self.fits.append(row)
        self._looks = list(zip(*(masks.value_of[a] for a in ATTRIBUTES), strict=True))
        self._unique: dict[int, list[tuple[int, int]]] = {}

    def words(self, thing: int, subset: int) -> tuple:
        """The description of an object by a subset of its attributes, as ``meaning`` has it."""
        size, color, material, shape = self._looks[thing]
        return (
            "desc",
            size if subset & 1 else None,
            color if subset & 2 else None,
            material if subset & 4 else None,
            shape if subset & 8 else None,
        )

    def unique_in_scene(self, banned: int) -> list[tuple[int, int]]:
        """All (object, subset) that fit one object of the whole scene and mention no banned bit."""
        if banned not in self._unique:
            self._unique[banned] = [
                (thing, subset)
                for thing, row in enumerate(self.fits)
                for subset in _FREE[banned]
                if row[subset] == 1 << thing
            ]
        return self._unique[banned]

    def unique_among(self, group: "Group", candidates: int = -1) -> list[tuple[int, int]]:
        """All (object, subset) that fit one member of a group, and need every clause for that.

        Only objects among the candidates are looked at, -1 for all.
        """
        found = []
        for thing in members(group.members & candidates):
            row, alone = self.fits[thing], 1 << thing
            for subset in _FREE[group.banned]:
                fitting = row[subset]
                if fitting & group.members == alone and group.matters_to(fitting):
                    found.append((thing, subset))
        return found

    def present(self, group: "Group") -> dict[int, list[tuple[int, int]]]:
        """All different (object, subset) that fit members, by the number of those they fit."""
        by_count: dict[int, list[tuple[int, int]]] = {}
        for thing in members(group.members):
            row, earlier = self.fits[thing], group.members & ((1 << thing) - 1)
            for subset in _FREE[group.banned]:
                # A description that fits an earlier member was listed with that one.
                if not row[subset] & earlier:
                    count = (row[subset] & group.members).bit_count()
                    by_count.setdefault(count, []).append((thing, subset))
        return by_count

    def absent(self, group: "Group") -> list[tuple[int, int]]:
        """All (object, subset) that fit no member, but would fit some without any one clause."""
        return [
            (thing, subset)
            for thing in members(self.masks.everything & ~group.members)
            for subset in _FREE[group.banned]
            if not self.fits[thing][subset] & group.members
            and group.matters_to(self.fits[thing][subset])
        ]

    def invent(self, length: int, banned: int, rng: random.Random) -> tuple | None:
        """Words for so many attributes, at least one, that fit no object of the scene.

        They differ by one value from an object of the scene, if it has any, because such near
        misses are the hard ones. None if a few attempts do not find any.
        """
        allowed = [k for k in range(4) if not banned >> k & 1]
        for _ in range(8):
            said = rng.sample(allowed, min(max(length, 1), len(allowed)))
            looks = rng.choice(self._looks) if self._looks else self._invented_looks(rng)
            words: list[str | None] = [looks[k] if k in said else None for k in range(4)]
            words[said[0]] = rng.choice(VALUES[ATTRIBUTES[said[0]]])
            fitting = self.masks.everything
            for k in said:
                fitting &= self.masks.having[ATTRIBUTES[k]][words[k]]
            if not fitting:
                return ("desc", *words)
        return None

    @staticmethod
    def _invented_looks(rng: random.Random) -> tuple[str, ...]:
        return tuple(rng.choice(VALUES[attribute]) for attribute in ATTRIBUTES)
