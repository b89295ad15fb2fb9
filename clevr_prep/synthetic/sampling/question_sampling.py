"""Draws meanings of questions for a scene: what is asked about which objects.

Objects are chosen first and words for them afterwards, from tables of the descriptions that fit
(``descriptions``), so hardly anything has to be thrown away. What CLEVR rejects is not drawn:
anchors and things that are not unique, comparisons of an object with itself, questions whose
answer or shared attribute stands in the description of the object asked about, and clauses that
change nothing ("the cube left of the ball" where there is just one cube).
"""

import random

from clevr_prep.clevr.scene_masks import ATTRIBUTES, DIRECTIONS, VALUES, SceneMasks
from clevr_prep.synthetic.language.families import Family
from clevr_prep.synthetic.language.meaning import NOTHING_SAID
from clevr_prep.synthetic.sampling.descriptions import BIT, Descriptions, Group

# CLEVR lets some sets through that would be the same without their clause. So do we: with none,
# "one cube in the scene" would mean "no cube left of the ball".
_IDLE_CLAUSES = 0.25
_EMPTY_SETS = {"count": 0.27, "exist": 0.5, "number": 0.4, "either": 0.15, "refer": 0}
# How many attributes are said of a set: about as often as in CLEVR.
_LENGTHS = (0.03, 0.21, 0.37, 0.3, 0.09)
_SEVERAL = 0.55  # of the sets that are not empty, where possible


class MeaningSampler:
    """Draws questions about one scene. Every method returns None when a draw did not succeed."""

    _idle_clauses = _IDLE_CLAUSES

    def __init__(self, masks: SceneMasks, rng: random.Random):
        self._masks = masks
        self._rng = rng
        self._descriptions = Descriptions(masks)

    def draw(self, family: Family) -> tuple[tuple, str] | None:
        """One question of a family: its meaning and its answer."""
        return self._question(*family.shape)

    def _question(self, kind: str, *shape) -> tuple[tuple, str] | None:
        """One question of a shape."""
        if not self._is_open(kind, *shape):
            return None
        if kind in ("count", "exist"):
            drawn = self._set(shape[0], kind)
            if drawn is None:
                return None
            meaning, found = drawn
            answer = str(found.bit_count()) if kind == "count" else _yes_no(found != 0)
            return (kind, meaning), answer
        if kind == "query":
            drawn = self._thing(shape[1], BIT[shape[0]])
            # Asked of an object that the question itself describes, the answer may stand there.
            if drawn is None or 1 << drawn[1] & drawn[2]:
                return None
            return (kind, shape[0], drawn[0]), self._masks.value_of[shape[0]][drawn[1]]
        if kind == "number":
            return self._numbers(*shape)
        return self._attributes(*shape)

    def _is_open(self, kind: str, subject, *_) -> bool:
        """False where a yes/no question about shared values has but one answer in this scene.

        Asked there, "is there anything else of the same size" would nearly always be a yes.
        """
        if kind == "equal":
            told_apart = {i for i, _ in self._descriptions.unique_in_scene(BIT[subject])}
            values = [self._masks.value_of[subject][i] for i in told_apart]
            return 1 < len(set(values)) < len(values)
        if kind == "exist" and subject[0] in ("same", "others"):
            alike = self._masks.same[subject[1]]
            return any(alike) and not (subject[0] == "others" and all(alike))
        return True

    def _numbers(self, comparison: str, left, right) -> tuple[tuple, str] | None:
        one, other = self._set(left, "number"), self._set(right, "number")
        if one is None or other is None or one[0] == other[0] or one[1] == other[1] != 0:
            return None
        a, b = one[1].bit_count(), other[1].bit_count()
        holds = {"equal_integer": a == b, "greater_than": a > b, "less_than": a < b}[comparison]
        return ("number", comparison, one[0], other[0]), _yes_no(holds)

    def _attributes(self, attribute: str, left, right) -> tuple[tuple, str] | None:
        # Two colors are rarely the same by chance, so the answer is chosen before the objects.
        same, alike = self._rng.random() < 0.5, self._masks.same[attribute]
        everything = self._masks.everything
        paired = sum(1 << i for i, partners in enumerate(alike) if partners)
        one = self._thing(left, BIT[attribute], paired if same else everything)
        if one is None:
            return None
        partners = alike[one[1]]
        candidates = partners if same else everything & ~partners & ~(1 << one[1])
        other = self._thing(right, BIT[attribute], candidates)
        if other is None:
            return None
        return ("equal", attribute, one[0], other[0]), _yes_no(same)

    def _thing(
        self, shape, banned: int = 0, candidates: int = -1, towards: int = 0
    ) -> tuple[tuple, int, int] | None:
        """One object of the candidates: what is said of it, its index, the set of its anchors.

        ``towards``: see ``_clause``.
        """
        if shape == "scene":
            options, clause, anchors = self._descriptions.unique_in_scene(banned), (), 0
            if candidates >= 0:
                options = [option for option in options if candidates >> option[0] & 1]
        else:
            drawn = self._clause(shape, banned, towards)
            if drawn is None:
                return None
            clause, group, anchors = drawn
            options = self._descriptions.unique_among(group, candidates)
        if not options:
            return None
        thing, subset = self._rng.choice(options)
        kind = shape if shape == "scene" else shape[0]
        return (kind, self._descriptions.words(thing, subset), *clause), thing, anchors

    def _clause(
        self, shape: tuple, banned: int = 0, towards: int = 0
    ) -> tuple[tuple, Group, int] | None:
        """What follows the description in a relate, same or both meaning.

        Returns that part, the group of objects it singles out and the bit set of its anchors.
        With ``towards``, the bit of an object, relations lead to that one.
        """
        everything = self._masks.everything
        kind, *parts = shape
        if kind in ("same", "others"):
            anchor = self._thing(parts[1], BIT[parts[0]])
            if anchor is None:
                return None
            alike = self._masks.same[parts[0]][anchor[1]]
            group = Group(alike, (everything,), banned | BIT[parts[0]])
            return (parts[0], anchor[0]), group, 1 << anchor[1] | anchor[2]
        anchors = [self._thing(part) for part in parts]
        if None in anchors or len({anchor[1] for anchor in anchors}) < len(anchors):
            return None
        directions = self._rng.sample(DIRECTIONS, 4 if towards else len(anchors))
        if towards:
            directions = self._leading(directions, anchors, towards)
            if directions is None:
                return None
        groups = [self._masks.related[d][a[1]] for d, a in zip(directions, anchors, strict=True)]
        clause = [x for d, a in zip(directions, anchors, strict=True) for x in (d, a[0])]
        mentioned = 0
        for _, thing, before in anchors:
            mentioned |= 1 << thing | before
        if len(groups) == 1:
            return tuple(clause), Group(groups[0], (everything,), banned), mentioned
        together = groups[0] & groups[1]
        return tuple(clause), Group(together, (groups[1], groups[0]), banned), mentioned

    def _leading(self, directions: list[str], anchors: list, towards: int) -> list[str] | None:
        """For each anchor the first direction, of those left over, that leads to an object."""
        chosen: list[str] = []
        for _, thing, _ in anchors:
            related = self._masks.related
            fitting = [d for d in directions if related[d][thing] & towards and d not in chosen]
            if not fitting:
                return None
            chosen.append(fitting[0])
        return chosen

    def _set(self, shape, purpose: str, banned: int = 0) -> tuple[tuple, int] | None:
        """A set of objects, perhaps empty: what is said of it, and its bit set."""
        if shape == "scene":
            drawn = self._described(Group(self._masks.everything, (), banned), purpose)
            return drawn and (("scene", drawn[0]), drawn[1])
        if shape[0] == "either":
            return self._either(*shape[1:])
        clause = self._clause(shape, banned)
        if clause is None:
            return None
        if shape[0] == "others":
            return ("same", NOTHING_SAID, *clause[0]), clause[1].members
        drawn = self._described(clause[1], purpose)
        if shape[0] == "same" and drawn and drawn[0] == NOTHING_SAID:
            return None  # that is the shape "others"
        return drawn and ((shape[0], drawn[0], *clause[0]), drawn[1])

    def _described(self, group: Group, purpose: str) -> tuple[tuple, int] | None:
        """A description for some members of a group or for none, and the set it leaves."""
        tables = self._descriptions
        # Drawn before it is known whether anything will fit, so it does not tell.
        length = self._rng.choices(range(5), _LENGTHS)[0]
        if self._rng.random() < _EMPTY_SETS[purpose]:
            if not group.without:
                invented = tables.invent(length, group.banned, self._rng)
                return invented and (invented, 0)
            option = self._pick(tables.absent(group), length)
            return option and (tables.words(*option), 0)
        by_count = tables.present(group)
        one = by_count.pop(1, [])
        several = [option for options in by_count.values() for option in options]
        if purpose == "exist":
            option = self._pick(one + several, length)
        elif several and (self._rng.random() < _SEVERAL or not one):
            option = self._pick(several, length)
        else:
            option = self._pick(one, length)
        if option is None:
            return None
        fitting = tables.fits[option[0]][option[1]]
        if not group.matters_to(fitting) and (
            purpose == "refer" or self._rng.random() >= self._idle_clauses
        ):
            return None
        return tables.words(*option), fitting & group.members

    def _pick(self, options: list[tuple[int, int]], length: int) -> tuple[int, int] | None:
        """One (object, subset) of the options, with so many attributes if there is any such."""
        if not options:
            return None
        fitting = [option for option in options if option[1].bit_count() == length]
        return self._rng.choice(fitting or options)

    def _either(self, said: tuple[str, ...], left, right) -> tuple[tuple, int] | None:
        """The union of two sets, of which only those count that have the attribute said."""
        banned = sum(BIT[attribute] for attribute in said)
        one, other = self._set(left, "either", banned), self._set(right, "either", banned)
        if one is None or other is None or one[0] == other[0]:
            return None
        union = one[1] | other[1]
        idle = union in (one[1], other[1]) and one[1] and other[1]
        if idle and self._rng.random() >= self._idle_clauses:
            return None
        words, wanted = NOTHING_SAID, self._masks.everything
        if said:
            value = self._rng.choice(VALUES[said[0]])
            words = ("desc", *(value if a == said[0] else None for a in ATTRIBUTES))
            wanted = self._masks.having[said[0]][value]
        return ("either", words, one[0], other[0]), union & wanted


def _yes_no(holds: bool) -> str:
    return "yes" if holds else "no"
