"""Questions and programs into the numbers of an imdb."""

import pytest

from clevr_prep.clevr.programs import hops, question_type
from clevr_prep.clevr.question_encoding import ProgramFacts, QuestionEncoder
from snmn.common.vocabulary import UnknownWordError, encode
from tests.helpers.tiny.dataset import question

QUESTIONS = [question(7, 0), question(7, 1, "blue", hops=1), question(3, 2, hops=2)]


class TestQuestionEncoder:
    @pytest.mark.parametrize(
        "text",
        [
            "Is there a cube; what is it?",
            "is there a CUBE ; what  is\tit ?",
            "?;",
            "cube ?big",
            "cube; ?",
            "",
            " there",
            "a cube,",
            "a ?",
        ],
    )
    def test_agrees_with_encode(self, text):
        try:
            expected = encode(text)
        except UnknownWordError as error:
            expected = error.word
        encoder = QuestionEncoder()
        for _ in range(2):
            try:
                assert encoder(text) == expected
            except UnknownWordError as error:
                assert error.word == expected


class TestProgramFacts:
    def test_agrees_with_programs(self):
        facts = ProgramFacts()
        for entry in QUESTIONS * 2:
            assert facts(entry["program"]) == (
                question_type(entry["program"]),
                hops(entry["program"]),
            )

    def test_old_node_names(self):
        old = [
            {
                "type": node["function"],
                "inputs": node["inputs"],
                "side_inputs": node["value_inputs"],
            }
            for node in QUESTIONS[1]["program"]
        ]
        assert ProgramFacts()(old) == ("count", 1)
