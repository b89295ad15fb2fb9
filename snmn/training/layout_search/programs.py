"""The programs that a question may run: what a small grammar of valid stacks makes of its phrases.

A program says of each step which module runs and which phrase it reads. Each phrase that names
things is read once, by a Find or a Filter, each relation once, by a Transform; what stands together
in the sentence stands together in the program. All else is open: what starts from what, whether two
sets are joined by And or Or, described one by one or compared.
"""

from functools import cache
from typing import NamedTuple

OTHERS = -1  # reads what no step of the program reads


class Step(NamedTuple):
    """A module, and the phrase that it reads: its place in the sentence's order, or ``OTHERS``."""

    module: str
    phrase: int


Program = tuple[Step, ...]


@cache
def programs(
    kinds: str, turn: int | None, *, describe: bool, most_steps: int
) -> tuple[Program, ...]:
    """All programs of a sentence with phrases of such kinds, shortest first.

    ``turn`` is how many of the phrases stand before a semicolon: what comes after it may be said
    first. With ``describe`` a program ends in an answer, without in a map.
    """
    phrases = tuple(enumerate(kinds))
    orders = [phrases]
    if turn:
        orders.append(phrases[turn:] + phrases[:turn])
    found: dict[Program, None] = {}
    for order in orders:
        # A shared attribute may be what is asked instead of a relation.
        plain = tuple(phrase for phrase in order if phrase[1] != "S")
        for read in dict.fromkeys((order, plain)):
            for program in _answers(read) if describe else _sets(read):
                if len(program) <= most_steps:
                    found[program] = None
    return tuple(sorted(found, key=len))


def modules(program: Program) -> tuple[str, ...]:
    """The layout of a program."""
    return tuple(step.module for step in program)


_Phrases = tuple[tuple[int, str], ...]


def _answers(read: _Phrases) -> list[Program]:
    one = [(*said, Step("_DescribeOne", OTHERS)) for said in _sets(read)]
    two = [
        (*first, *second, Step("_DescribeTwo", OTHERS))
        for cut in range(1, len(read))
        for first in _sets(read[:cut])
        for second in _sets(read[cut:])
    ]
    return one + two


@cache
def _sets(read: _Phrases) -> tuple[Program, ...]:
    """All ways to find the set of things that some phrases name together."""
    return (*_named(read), *_related(read))


@cache
def _named(read: _Phrases) -> tuple[Program, ...]:
    """Sets that end in a noun: found by it, or related things filtered by it."""
    if not read:
        return ()
    (first, kind), (last, last_kind) = read[0], read[-1]
    if len(read) == 1:
        return ((Step("_Find", first),),) if kind == "X" else ()
    found = []
    if kind == "X":
        found += [(*said, Step("_Filter", first)) for said in _related(read[1:])]
    if last_kind == "X":
        found += [(*said, Step("_Filter", last)) for said in _related(read[:-1])]
    return tuple(found)


@cache
def _related(read: _Phrases) -> tuple[Program, ...]:
    """Sets that are what is related to a set, or two sets joined."""
    found = []
    if len(read) > 1:
        (first, kind), (last, last_kind) = read[0], read[-1]
        if kind != "X":
            found += [(*said, Step("_Transform", first)) for said in _named(read[1:])]
        if last_kind != "X":
            found += [(*said, Step("_Transform", last)) for said in _named(read[:-1])]
        for cut in range(1, len(read)):
            pairs = [(a, b) for a in _named(read[:cut]) for b in _named(read[cut:])]
            pairs += [(a, b) for a in _joinable(read[:cut]) for b in _joinable(read[cut:])]
            found += [
                (*a, *b, Step(module, OTHERS)) for a, b in pairs for module in ("_And", "_Or")
            ]
    return tuple(dict.fromkeys(found))


@cache
def _joinable(read: _Phrases) -> tuple[Program, ...]:
    """What is related to a set, without a noun of its own."""
    return tuple(program for program in _related(read) if program[-1].module == "_Transform")
