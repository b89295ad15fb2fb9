"""What is asked in each split of the folder that these commands make.

Beside the seven kinds and their baselines there are splits of CLEVR's own families: those with an
object that is not there, those that are larger or deeper than a model was trained on, and those
that single out an object of a colour and shape that it never saw together. Splits of referring
expressions begin with "loc_".
"""

from dataclasses import dataclass

from clevr_prep.synthetic.language.composition_kinds import EXPRESSION_KINDS, KINDS
from clevr_prep.synthetic.language.families import EXPRESSION_FAMILIES, FAMILIES, Family

BASELINE = "_baseline"
LOC = "loc_"
FALSE = "false_premise"
PAIR = "pair"
# Objects and relations up to which a scene or question is none of the larger or deeper ones.
FEW_OBJECTS, FEW_HOPS = 5, 1


@dataclass(frozen=True)
class Plan:
    """One split: shapes of questions in groups, each with its weight, and the scenes' objects.

    Answers are balanced within a group. ``premises`` tells a split of sound and false premises:
    "sound" and "false" are the same questions but for one word. ``pair`` is whether an object of
    the pair in question must be singled out, False if none may be, None if it does not matter.
    """

    groups: tuple[tuple[float, tuple[tuple, ...]], ...]
    objects: range = range(11)
    premises: str | None = None
    pair: bool | None = None


def _of_families(
    families: tuple[Family, ...] = FAMILIES, hops: range = range(99)
) -> tuple[tuple[float, tuple[tuple, ...]], ...]:
    return tuple((family.weight, (family.shape,)) for family in families if family.hops in hops)


def _plans() -> dict[str, Plan]:
    plans = {}
    for prefix, kinds in (("", KINDS), (LOC, EXPRESSION_KINDS)):
        for name, kind in kinds.items():
            plans[prefix + name] = Plan(((1.0, kind.shapes),))
            plans[prefix + name + BASELINE] = Plan(((1.0, kind.baseline),))
    for size, objects in (
        ("few", range(FEW_OBJECTS + 1)),
        ("many", range(FEW_OBJECTS + 1, 11)),
    ):
        for depth, hops in (
            ("shallow", range(FEW_HOPS + 1)),
            ("deep", range(FEW_HOPS + 1, 99)),
        ):
            plans[f"{size}_{depth}"] = Plan(_of_families(hops=hops), objects)
    for prefix, families in (("", FAMILIES), (LOC, EXPRESSION_FAMILIES)):
        everything = _of_families(families)
        plans[prefix + FALSE] = Plan(everything, premises="false")
        plans[prefix + FALSE + BASELINE] = Plan(everything, premises="sound")
    plans[PAIR] = Plan(_of_families(), pair=True)
    plans[PAIR + BASELINE] = Plan(_of_families(), pair=False)
    return plans


PLANS = _plans()
