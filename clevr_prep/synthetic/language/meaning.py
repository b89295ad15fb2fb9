"""What a question or referring expression means, as nested tuples, and the program it stands for.

A meaning is built from these tuples (the first element names the kind):

description   ("desc", size, color, material, shape), None where nothing is said
set           ("scene", desc)                         all objects that fit
              ("relate", desc, direction, anchor)     those in a direction from an object
              ("same", desc, attribute, anchor)       others that share a value with an object
              ("both", desc, direction, anchor, direction, anchor)   in two directions at once
              ("and", desc, set, set)                 in one set and in the other
              ("either", desc, set, set)              in one set or the other
question      ("count", set)  ("exist", set)  ("query", attribute, thing)
              ("number", comparison, set, set)        comparison is equal_integer, greater_than
                                                      or less_than
              ("equal", attribute, thing, thing)
expression    ("refer", thing)

An anchor or a thing is a set that must have exactly one member. Any set may stand within any
other: CLEVR's questions are a few of these meanings, `families` lists them by their shapes. Two
directions at once are "both" as CLEVR has it; "and" joins sets of all kinds, also two directions.
The grammar turns meanings into text and text into meanings.
"""

from clevr_prep.clevr.scene_masks import ATTRIBUTES

NOTHING_SAID = ("desc", None, None, None, None)


class _Builder:
    """Collects program nodes; every method returns the index of the node it added last."""

    def __init__(self):
        self.nodes = []

    def add(self, function: str, *inputs: int, value: str | None = None) -> int:
        values = [] if value is None else [value]
        self.nodes.append({"function": function, "inputs": list(inputs), "value_inputs": values})
        return len(self.nodes) - 1

    def set(self, meaning: tuple) -> int:
        kind, description, *rest = meaning
        if kind == "scene":
            last = self.add("scene")
        elif kind == "relate":
            last = self.relate(*rest)
        elif kind == "same":
            last = self.add(f"same_{rest[0]}", self.thing(rest[1]))
        elif kind == "both":
            sides = [rest[:2], rest[2:]]
            if all(anchor[0] == "scene" for _, anchor in sides):
                # CLEVR's programs begin with the relation that its questions name last.
                sides.reverse()
            last = self.add("intersect", *[self.relate(*side) for side in sides])
        else:
            function = {"and": "intersect", "either": "union"}[kind]
            last = self.add(function, self.set(rest[0]), self.set(rest[1]))
        for attribute, value in zip(ATTRIBUTES, description[1:], strict=True):
            if value is not None:
                last = self.add(f"filter_{attribute}", last, value=value)
        return last

    def relate(self, direction: str, anchor: tuple) -> int:
        return self.add("relate", self.thing(anchor), value=direction)

    def thing(self, meaning: tuple) -> int:
        return self.add("unique", self.set(meaning))


def to_program(question: tuple) -> list[dict]:
    """The CLEVR program of a question or expression, each node after its inputs."""
    build = _Builder()
    kind, *rest = question
    if kind in ("count", "exist"):
        build.add(kind, build.set(rest[0]))
    elif kind == "query":
        build.add(f"query_{rest[0]}", build.thing(rest[1]))
    elif kind == "refer":
        build.thing(rest[0])
    elif kind == "number":
        build.add(rest[0], *[build.add("count", build.set(side)) for side in rest[1:]])
    else:
        query = f"query_{rest[0]}"
        sides = [build.add(query, build.thing(side)) for side in rest[1:]]
        build.add(f"equal_{rest[0]}", *sides)
    return build.nodes
