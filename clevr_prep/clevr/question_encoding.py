"""Turns questions and programs into what an imdb stores, fast enough for CLEVR's 850,000."""

import re
from collections.abc import Sequence

from clevr_prep.clevr.programs import hops, question_type
from snmn.common.vocabulary import encode

_MOST_SHAPES = 50_000  # about 20 MB


class QuestionEncoder:
    """``snmn.common.vocabulary.encode``, remembering the pieces between blanks that it has met."""

    def __init__(self):
        self._pieces: dict[str, list[int] | None] = {}

    def __call__(self, text: str) -> list[int]:
        """Word indices of a question; ``UnknownWordError`` as from ``encode``."""
        words = []
        for piece in text.lower().split():
            if piece not in self._pieces:
                # What other marks stand for depends on what is around them.
                alone = re.fullmatch(r"[a-z]+[;?]?", piece) is not None
                self._pieces[piece] = encode(piece) if alone else None
            indices = self._pieces[piece]
            if indices is None:
                return encode(text)
            words += indices
        return words


class ProgramFacts:
    """Question type and hops of programs, remembered by shape: values do not matter to them."""

    def __init__(self):
        self._known: dict[str, tuple[str, int]] = {}
        self._values: set[str] = set()  # of programs without a mistake

    def __call__(self, program: Sequence[dict]) -> tuple[str, int]:
        """(question type, hops); ``ProgramError`` for a malformed program."""
        try:
            functions = [node.get("function") or node["type"] for node in program]
            pairs = zip(functions, program, strict=True)
            shape = " ".join([f"{function} {node['inputs']}" for function, node in pairs])
            given = [node.get("value_inputs") or node.get("side_inputs") for node in program]
            values = set(map("{} {}".format, functions, given))
        except (KeyError, TypeError, AttributeError):
            return question_type(program), hops(program)
        if shape not in self._known or not values <= self._values:
            if len(self._known) >= _MOST_SHAPES:
                self._known.clear()
            self._known[shape] = question_type(program), hops(program)
            self._values |= values
        return self._known[shape]
