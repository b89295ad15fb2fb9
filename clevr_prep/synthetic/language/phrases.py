"""The grammar of our CLEVR questions and referring expressions, as data: which phrases say what.

``WORDS[category][value]`` are the ways to say one value. ``RULES[category]`` lists pairs of a
meaning pattern (see ``meaning``; "?x" is a variable) and the templates that express it. In
templates ``<category:x>`` stands for the phrase of variable ?x, ``(a|b)`` for a choice, ``[a]``
for an optional part and ``{name}`` for a shared piece of ``PIECES``. A pair ``(weight, template)``
makes a template rarer or more frequent than the usual weight 1.

The same rules are generated from and matched against (see ``grammar``), so what can be read is
exactly what can be said.
"""

from itertools import product

from clevr_prep.synthetic.language.meaning import NOTHING_SAID

WORDS = {
    "size": {None: "", "large": "large|big", "small": "small|tiny"},
    "color": {
        None: "",
        **{c: c for c in "gray red blue green brown purple cyan yellow".split()},
    },
    "material": {None: "", "rubber": "rubber|matte", "metal": "metal|metallic|shiny"},
    "noun": {
        None: "thing|object",
        "cube": "cube|block",
        "sphere": "sphere|ball",
        "cylinder": "cylinder",
    },
    "nouns": {
        None: "things|objects",
        "cube": "cubes|blocks",
        "sphere": "spheres|balls",
        "cylinder": "cylinders",
    },
    "side": {
        "left": "left of|to the left of|on the left side of",
        "right": "right of|to the right of|on the right side of",
        "front": "in front of",
        "behind": "behind",
    },
    "attribute": {a: a for a in ("size", "color", "material", "shape")},
    # How an object, or several, are said to share a value with another one.
    "is_same": {
        **{a: f"is the same {a} as" for a in ("size", "color", "shape")},
        "material": "is the same material as|is made of the same material as",
    },
    "share": {
        **{a: f"have the same {a} as|are the same {a} as" for a in ("size", "color", "shape")},
        "material": "have the same material as|are the same material as"
        "|are made of the same material as",
    },
    "shares": {
        **{a: f"has the same {a} as|is the same {a} as" for a in ("size", "color", "shape")},
        "material": "has the same material as|is the same material as"
        "|is made of the same material as",
    },
    "of_same": {
        **{a: f"of the same {a} as" for a in ("size", "color", "shape")},
        "material": "of the same material as|made of the same material as",
    },
}

PIECES = {
    "how_many": "(how many|what number of)",
    "both": "[both] <side:r> <the:x> and <side:s> <the:y>",
}

_RELATE = ("relate", "?d", "?r", "?x")
_SAME = ("same", "?d", "?a", "?x")
_SAME_ANY = ("same", NOTHING_SAID, "?a", "?x")
_BOTH = ("both", "?d", "?r", "?x", "?s", "?y")
_EITHER = ("either", "?d", "?x", "?y")
_AND = ("and", "?d", "?x", "?y")


def _clause(kind: str, side: int) -> tuple[tuple, str, str]:
    """A relation or sameness of nothing in particular, what one thing does, and what several do."""
    if kind == "relate":
        where = f"<side:r{side}> <the:x{side}>"
        pattern = ("relate", NOTHING_SAID, f"?r{side}", f"?x{side}")
        return pattern, f"is {where}", f"are {where}"
    pattern = ("same", NOTHING_SAID, f"?a{side}", f"?x{side}")
    return pattern, f"<shares:a{side}> <the:x{side}>", f"<share:a{side}> <the:x{side}>"


# Intersections of two clauses, as CLOSURE says them: what one thing does, and what several do.
_TWO_CLAUSES = [
    (("and", "?d", first, second), f"{one} and {other}", f"{several} and {others}")
    for (first, one, several), (second, other, others) in product(
        *([_clause(kind, side) for kind in ("relate", "same")] for side in (1, 2))
    )
]
# Any two sets are said as nouns. That is long, so two clauses are said so less often.
_NOUNS = 0.25

_NOUN_PHRASES = {
    "one": [
        (
            ("desc", "?size", "?color", "?material", "?shape"),
            ["<size:size> <color:color> <material:material> <noun:shape>"],
        )
    ],
    "many": [
        (
            ("desc", "?size", "?color", "?material", "?shape"),
            ["<size:size> <color:color> <material:material> <nouns:shape>"],
        )
    ],
    "the": [
        (("scene", "?d"), ["the <one:d>"]),
        (_RELATE, ["the <one:d> [that is] <side:r> <the:x>"]),
        (
            _SAME,
            [
                "the [other] <one:d> that <is_same:a> <the:x>",
                (0.05, "the [other] <one:d> (that <shares:a>|<of_same:a>) <the:x>"),
            ],
        ),
        (_BOTH, ["the <one:d> that is {both}"]),
        # Of CLEVR's expressions alone: none of its questions asks about one member of a union.
        (_EITHER, ["the <one:d> that is [either] <a:x> or <a:y>"]),
        (_AND, [(_NOUNS, "the <one:d> that is both <a:x> and <a:y>")]),
        *((pattern, [f"the <one:d> that {does}"]) for pattern, does, _ in _TWO_CLAUSES),
    ],
    "a": [
        (("scene", "?d"), ["a <one:d>"]),
        (_RELATE, ["a <one:d> [that is] <side:r> <the:x>"]),
        (
            _SAME,
            [
                "(a|another) <one:d> that <is_same:a> <the:x>",
                (0.05, "(a|another) <one:d> (that <shares:a>|<of_same:a>) <the:x>"),
            ],
        ),
        (_BOTH, ["a <one:d> that is {both}"]),
        (_EITHER, ["a <one:d> that is [either] <a:x> or <a:y>"]),
        (_AND, [(_NOUNS, "a <one:d> that is both <a:x> and <a:y>")]),
        *((pattern, [f"a <one:d> that {does}"]) for pattern, does, _ in _TWO_CLAUSES),
    ],
    "group": [
        (("scene", "?d"), ["<many:d>"]),
        (_RELATE, ["<many:d> [that are] <side:r> <the:x>"]),
        (_SAME, ["<many:d> that <share:a> <the:x>", (0.2, "<many:d> <of_same:a> <the:x>")]),
        (_BOTH, ["<many:d> that are {both}"]),
        (_EITHER, ["<many:d> that are [either] <group:x> or <group:y>"]),
        (_AND, [(_NOUNS, "<many:d> that are both <group:x> and <group:y>")]),
        *((pattern, [f"<many:d> that {do}"]) for pattern, _, do in _TWO_CLAUSES),
    ],
}

_COUNT = [
    (("count", ("scene", "?d")), ["{how_many} <many:d> are there ?"]),
    (
        ("count", _RELATE),
        [
            "{how_many} <many:d> are <side:r> <the:x> ?",
            "there is <a:x> ; {how_many} <many:d> are <side:r> it ?",
        ],
    ),
    (
        ("count", _SAME),
        [
            (2, "{how_many} [other] <many:d> <share:a> <the:x> ?"),
            (0.9, "{how_many} other <many:d> are there <of_same:a> <the:x> ?"),
            # CLEVR sometimes forgets the question mark here.
            (0.1, "{how_many} other <many:d> are there <of_same:a> <the:x>"),
            (0.1, "there is <a:x> ; {how_many} other <many:d> <share:a> it ?"),
        ],
    ),
    (("count", _BOTH), ["{how_many} <many:d> are {both} ?"]),
    (("count", _EITHER), ["{how_many} <many:d> are [either] <group:x> or <group:y> ?"]),
    (("count", _AND), [(_NOUNS, "{how_many} <many:d> are both <group:x> and <group:y> ?")]),
    *((("count", pattern), [f"{{how_many}} <many:d> {do} ?"]) for pattern, _, do in _TWO_CLAUSES),
]

_EXIST = [
    (
        ("exist", ("scene", "?d")),
        ["are there any <many:d> ?", "are any <many:d> visible ?", "is there a <one:d> ?"],
    ),
    (
        ("exist", _RELATE),
        [
            "are there any <many:d> [that are] <side:r> <the:x> ?",
            "is there a <one:d> [that is] <side:r> <the:x> ?",
            "there is <a:x> ; are there any <many:d> [that are] <side:r> it ?",
            "there is <a:x> ; is there a <one:d> [that is] <side:r> it ?",
        ],
    ),
    (
        ("exist", _SAME),
        [
            "is there (a|another|any other) <one:d> (that <shares:a>|<of_same:a>) <the:x> ?",
            "are there any [other] <many:d> (that <share:a>|<of_same:a>) <the:x> ?",
        ],
    ),
    (("exist", _SAME_ANY), ["is there anything else that <shares:a> <the:x> ?"]),
    # CLEVR asks only of one relation or sameness whether there is anything.
    (
        ("exist", _BOTH),
        ["are there any <many:d> that are {both} ?", "is there a <one:d> that is {both} ?"],
    ),
    (
        ("exist", _EITHER),
        [
            "are there any <many:d> that are [either] <group:x> or <group:y> ?",
            "is there a <one:d> that is [either] <a:x> or <a:y> ?",
        ],
    ),
    (
        ("exist", _AND),
        [
            (_NOUNS, "are there any <many:d> that are both <group:x> and <group:y> ?"),
            (_NOUNS, "is there a <one:d> that is both <a:x> and <a:y> ?"),
        ],
    ),
    *(
        (
            ("exist", pattern),
            [f"are there any <many:d> that {do} ?", f"is there a <one:d> that {does} ?"],
        )
        for pattern, does, do in _TWO_CLAUSES
    ),
]

_QUERY = [
    (
        ("query", "?a", "?x"),
        [
            "what <attribute:a> is <the:x> ?",
            "what is the <attribute:a> of <the:x> ?",
            "<the:x> (is|has) what <attribute:a> ?",
            "there is <a:x> ; what <attribute:a> is it ?",
            "there is <a:x> ; what is its <attribute:a> ?",
        ],
    ),
    (
        ("query", "size", "?x"),
        [
            (0.8, "how big is <the:x> ?"),
            (0.8, "there is <a:x> ; how big is it ?"),
            (0.1, "how large is <the:x> ?"),
            (0.1, "there is <a:x> ; how large is it ?"),
        ],
    ),
    (
        ("query", "material", "?x"),
        [
            "what is <the:x> made of ?",
            "there is <a:x> ; what is it made of ?",
            (0.5, "what material is <the:x> made of ?"),
            (0.5, "there is <a:x> ; what material is it made of ?"),
            (0.5, "<the:x> is made of what material ?"),
        ],
    ),
]

_NUMBER = [
    (
        ("number", "equal_integer", "?x", "?y"),
        [
            "are there (an equal|the same) number of <group:x> and <group:y> ?",
            "is the number of <group:x> the same as the number of <group:y> ?",
            (0.1, "is the number of <group:x> equal to the number of <group:y> ?"),
        ],
    ),
    (
        ("number", "greater_than", "?x", "?y"),
        [
            "are there more <group:x> than <group:y> ?",
            "is the number of <group:x> greater than the number of <group:y> ?",
        ],
    ),
    (
        ("number", "less_than", "?x", "?y"),
        [
            "are there fewer <group:x> than <group:y> ?",
            "is the number of <group:x> less than the number of <group:y> ?",
        ],
    ),
]

_EQUAL = [
    (
        ("equal", "?a", "?x", "?y"),
        [
            "do <the:x> and <the:y> have the same <attribute:a> ?",
            "does <the:x> have the same <attribute:a> as <the:y> ?",
            "is the <attribute:a> of <the:x> the same as <the:y> ?",
            "is <the:x> the same <attribute:a> as <the:y> ?",
            "there is <a:x> ; is its <attribute:a> the same as <the:y> ?",
            "there is <a:x> ; is it the same <attribute:a> as <the:y> ?",
            "there is <a:x> ; does it have the same <attribute:a> as <the:y> ?",
            (0.1, "is the <attribute:a> of <the:x> the same as the <attribute:a> of <the:y> ?"),
        ],
    ),
    (
        ("equal", "material", "?x", "?y"),
        [
            "are <the:x> and <the:y> made of the same material ?",
            "is <the:x> made of the same material as <the:y> ?",
            "there is <a:x> ; is it made of the same material as <the:y> ?",
        ],
    ),
]

RULES = {**_NOUN_PHRASES, "question": [*_COUNT, *_EXIST, *_QUERY, *_NUMBER, *_EQUAL]}
RULES["expression"] = [(("refer", "?x"), ["<the:x>"])]
