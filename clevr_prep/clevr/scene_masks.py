"""A scene's objects as bit sets: every set of objects is one integer, bit i for object i.

Set algebra on programs and questions then costs one machine operation however many objects
there are.
"""

from snmn.common.errors import UserError

ATTRIBUTES = ("size", "color", "material", "shape")  # the order of CLEVR's filter nodes
VALUES = {
    "size": ("large", "small"),
    "color": ("gray", "red", "blue", "green", "brown", "purple", "cyan", "yellow"),
    "material": ("rubber", "metal"),
    "shape": ("cube", "sphere", "cylinder"),
}
DIRECTIONS = ("left", "right", "front", "behind")


class SceneError(UserError):
    """A scene dictionary lacks something, or holds a value CLEVR does not have."""


def members(mask: int) -> list[int]:
    """Indices of the objects in a bit set, ascending."""
    found = []
    while mask:
        low = mask & -mask
        found.append(low.bit_length() - 1)
        mask ^= low
    return found


class SceneMasks:
    """Bit sets of one CLEVR scene with n objects.

    ``everything``: all objects. ``having[attribute][value]``: objects with that value.
    ``value_of[attribute][i]``: object i's value. ``same[attribute][i]``: the others that share
    it. ``related[direction][i]``: objects lying in that direction from object i.

    Raises ``SceneError`` for a scene without attributes or relationships, or with a value or an
    object index that does not exist.
    """

    __slots__ = ("everything", "having", "value_of", "same", "related")

    def __init__(self, scene: dict):
        try:
            objects, relationships = scene["objects"], scene["relationships"]
            self.value_of = {a: [thing[a] for thing in objects] for a in ATTRIBUTES}
            neighbours = {d: relationships[d] for d in DIRECTIONS}
        except KeyError as missing:
            raise SceneError(f"scene has no {missing}") from None
        n = len(objects)
        self.everything = (1 << n) - 1
        self.having = {a: dict.fromkeys(VALUES[a], 0) for a in ATTRIBUTES}
        self.same = {}
        for attribute, table in self.having.items():
            values = self.value_of[attribute]
            for i, value in enumerate(values):
                if value not in table:
                    raise SceneError(f"object {i} has unknown {attribute} {value!r}")
                table[value] |= 1 << i
            self.same[attribute] = [table[v] & ~(1 << i) for i, v in enumerate(values)]
        self.related = {}
        for direction, lists in neighbours.items():
            if len(lists) != n or any(not 0 <= j < n for row in lists for j in row):
                raise SceneError(f"relationship {direction!r} does not fit {n} objects")
            self.related[direction] = [sum(1 << j for j in set(row)) for row in lists]
