"""What is true of a sample's scene, and what a model's layout would give on it as a program."""

import json
from functools import cache, lru_cache

from clevr_prep.clevr.programs import ProgramError
from clevr_prep.synthetic.language.grammar import read
from clevr_prep.synthetic.language.meaning import to_program
from clevr_prep.truth.annotations import question_truth
from clevr_prep.truth.discrete_programs import discrete_answer
from clevr_prep.truth.program_text import given_text
from clevr_prep.truth.scene_cells import noted_size
from server.samples import FOLDER
from server.schemas import OnTrueScene
from snmn.figures.trace import Trace

SCENES = FOLDER / "scenes.json"


@cache
def sample_scenes() -> dict[str, dict]:
    """The samples' scenes by id, as python -m server.make_samples wrote them."""
    return json.loads(SCENES.read_text())


@lru_cache(maxsize=256)
def _program(text: str) -> list[dict] | None:
    """The program of what a text means first, None where it is no sentence of the grammar."""
    meanings = read(text)
    return to_program(meanings[0]) if meanings else None


def is_sentence(text: str) -> bool:
    """Whether the grammar that the models learnt their questions from can read a text."""
    return _program(text) is not None


def on_true_scene(traced: Trace, sample: str) -> OnTrueScene | None:
    """What a trace amounts to on the scene of a sample; None for words that cannot be read."""
    program = _program(" ".join(traced.words))
    if program is None:
        return None
    scene = sample_scenes()[sample]
    grid = traced.steps[0].attention.shape
    try:
        truth = question_truth(scene, program, grid, noted_size(scene))
    except ProgramError:  # It asks of one object where there are more or none.
        return OnTrueScene(program=None, gives=None, truth=None)
    reading = truth.read(
        [step.module for step in traced.steps],
        traced.words,
        [step.words for step in traced.steps],
    )
    return OnTrueScene(
        program=reading.program or None,
        gives=reading.given or None,
        truth=given_text(discrete_answer(program, scene), scene) or None,
    )
