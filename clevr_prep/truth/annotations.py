"""A split's scenes and programs, as truth to compare a model's steps with."""

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from clevr_prep.clevr.expert_layouts import expert_steps
from clevr_prep.clevr.json_stream import JsonArray
from clevr_prep.clevr.programs import Node, ProgramError, node_results, parse_program
from clevr_prep.clevr.question_files import DatasetError, questions_path
from clevr_prep.clevr.scene_masks import SceneError, SceneMasks, members
from clevr_prep.truth.discrete_programs import discrete_answer, heard_arguments, read_layout
from clevr_prep.truth.program_text import given_text, program_text
from clevr_prep.truth.scene_cells import check_size, noted_size, object_cells
from snmn.common.errors import shown
from snmn.common.paths import name_but_suffix
from snmn.evaluation.explanation_measures import QuestionTruth, Reading, is_layout
from snmn.storage.image_files import image_size
from snmn.storage.rgb import ImageError

_MOST_PAIRS = 6  # of which each doubles the orders there are; CLEVR has 2
_DESCRIBES = ("_DescribeOne", "_DescribeTwo")


class Annotations:
    """Scenes and expert programs of a split of a CLEVR-format dataset.

    Args:
        root: the dataset's folder, with ``scenes/CLEVR_<split>_scenes.json`` and
            ``questions/CLEVR_<split>_questions.json``, and with ``images/<split>`` where scenes do
            not say how large their images are, as CLEVR's do not.
        split: its name.
        by_place: whether questions are known by their places in the file, from 0, rather than by
            their question_index; see ``Imdb.numbered_by_place``.

    Kept as JSON text, which for all of CLEVR's validation questions takes some 100 MB. Raises
    ``DatasetError`` for a missing file, or where a question_index is that of two questions,
    ``JsonStreamError`` for a damaged file.
    """

    def __init__(self, root: Path, split: str, *, by_place: bool = False):
        self._images = root / "images" / split
        self._sizes: dict[str, tuple[int, int]] = {}
        self.path = root / "scenes" / f"CLEVR_{split}_scenes.json"
        if not self.path.is_file():
            raise DatasetError(f"no scene annotations {self.path}, without which nothing explains")
        self._scenes = {}
        for position, scene in enumerate(JsonArray(self.path, "scenes")):
            name = scene.get("image_filename") if isinstance(scene, dict) else None
            if not isinstance(name, str):
                raise DatasetError(f"{self.path}: scene {position} has no image_filename")
            self._scenes[name] = json.dumps(scene)
        self.questions_file = questions_path(root, split)
        self._programs = self._read_programs(by_place)

    def _read_programs(self, by_place: bool) -> dict[int, tuple[str | None, str]]:
        """The image file name and the program, as JSON text, of each question that has one."""
        programs: dict[int, tuple[str | None, str]] = {}
        places: dict[int, int] = {}
        for position, question in enumerate(JsonArray(self.questions_file, "questions")):
            which = f"{self.questions_file}: question {position}"
            if not isinstance(question, dict):
                raise DatasetError(f"{which} is not an object")
            if not question.get("program"):
                continue
            number = position if by_place else question.get("question_index", position)
            if type(number) is not int:
                raise DatasetError(f"{which}: its question_index is no whole number")
            if places.setdefault(number, position) != position:
                raise DatasetError(
                    f"{which}: its question_index {number} is also that of question "
                    f"{places[number]}; make the imdb with build_clevr_imdb.py --number-by-place"
                )
            program = json.dumps(question["program"])
            programs[number] = question.get("image_filename"), program
        return programs

    def truth(self, filename: str, question_index: int, grid: tuple[int, int]) -> QuestionTruth:
        """What is true of a question, on a grid (H, W).

        Raises ``DatasetError`` where the image has no scene or the question no program, where it is
        about another image, or where they are broken.
        """
        if filename not in self._scenes:
            other = name_but_suffix(filename, self._scenes)
            hint = f", but one of {other}" if other else ""
            raise DatasetError(f"{self.path} has no scene of {filename}{hint}")
        if question_index not in self._programs:
            raise DatasetError(f"{self.questions_file} has no program of question {question_index}")
        scene = json.loads(self._scenes[filename])
        image, program = self._programs[question_index]
        if image != filename:
            raise DatasetError(
                f"{self.questions_file} has changed since the imdb was made of it: there question "
                f"{question_index} is about {shown(image)}, in the imdb about {filename}"
            )
        try:
            size = noted_size(scene) or self._image_size(filename)
            check_size(scene, size)
            return question_truth(scene, json.loads(program), grid, size)
        except DatasetError:
            raise
        except (ProgramError, SceneError) as error:
            raise DatasetError(
                f"{self.questions_file}: question {question_index} about {filename}: {error}"
            ) from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise DatasetError(
                f"{self.path}: the scene of {filename} is not one of CLEVR's ({error})"
            ) from None

    def _image_size(self, filename: str) -> tuple[int, int]:
        """(width, height) of an image; each is looked at once."""
        if filename not in self._sizes:
            path = self._images / filename
            try:
                self._sizes[filename] = image_size(path)
            except (ImageError, OSError) as error:
                found = f"there is no {path}" if isinstance(error, FileNotFoundError) else error
                raise DatasetError(
                    f"{self.path}: the scene of {filename} does not say how large its image is, "
                    f"which must then be there to tell: {found}"
                ) from None
        return self._sizes[filename]


def question_truth(
    scene: dict, program: list[dict], grid: tuple[int, int], size: tuple[int, int]
) -> QuestionTruth:
    """What is true of a question about a scene, on a grid (H, W) and in an image of a size.

    ``program`` is the question's own. Raises ProgramError or SceneError for broken ones.
    """
    masks, count = SceneMasks(scene), len(scene["objects"])
    results, (nodes, order) = node_results(program, masks), parse_program(program)
    root = order[-1]
    orders = _orders(program, nodes, order)

    def read(modules: Sequence[str], words: Sequence[str], attention: np.ndarray) -> Reading:
        swapped, steps = _followed(orders, nodes, modules, words, attention)
        discrete = read_layout(
            modules, words, attention, last=nodes[root].function, swapped=root in swapped
        )
        answer = discrete_answer(discrete, masks)
        return Reading(
            layout=[module for module, _ in steps],
            selected=[
                None if module in _DESCRIBES else _as_array(results[node], count)
                for module, node in steps
            ],
            answer=answer,
            program=program_text(discrete) if discrete else "",
            given=given_text(answer, scene),
        )

    asked = np.logical_or.reduce([_as_array(results[i], count) for i in _asked(nodes, root)])
    return QuestionTruth(cells=object_cells(scene, grid, size), asked=asked, read=read)


def _asked(nodes: list[Node], index: int) -> list[int]:
    """The nodes of the sets that a result is worked out from: itself or the nearest below it."""
    if nodes[index].kind == "set":
        return [index]
    return [found for source in nodes[index].inputs for found in _asked(nodes, source)]


def _orders(program: list[dict], nodes: list[Node], order: list[int]) -> list[tuple]:
    """All orders that a program's layout may have: which nodes are swapped, and the steps."""
    pairs = [index for index in order if len(nodes[index].inputs) == 2]
    if len(pairs) > _MOST_PAIRS:
        raise ProgramError(f"it joins or compares {len(pairs)} times, at most {_MOST_PAIRS} may be")
    choices = (
        frozenset(chosen) for size in range(len(pairs) + 1) for chosen in combinations(pairs, size)
    )
    return [(swapped, expert_steps(program, swapped=swapped)) for swapped in choices]


def _followed(
    orders: list[tuple],
    nodes: list[Node],
    modules: Sequence[str],
    words: Sequence[str],
    attention: np.ndarray,
) -> tuple[frozenset[int], list[tuple[str, int]]]:
    """The one of the orders that a model follows, judged by its modules and words alone.

    Its modules decide if they are one order's whole layout. A layout of the model's own begins
    like one or the other by chance, so there the words tell which object comes first.
    """

    def fit(entry: tuple) -> tuple[bool, int, int]:
        steps = entry[1]
        same, shared = 0, 0
        for module, (expected, node), weights in zip(modules, steps, attention, strict=False):
            if module != expected:
                break
            same += 1
            shared += len(heard_arguments(module, words, weights) & _arguments(nodes, node))
        return is_layout(modules, [module for module, _ in steps]), shared, same

    return max(orders, key=fit)  # The program's own order if others fit no better.


def _arguments(nodes: list[Node], index: int) -> set[tuple]:
    """What `heard_arguments` ought to be at the step that computes a node."""
    function, _, value = nodes[index]
    if function.partition("_")[0] in ("relate", "same"):
        return {(function, value)}
    found = set()
    while nodes[index].function.startswith("filter_"):
        function, (source,), value = nodes[index]
        found.add((function.removeprefix("filter_"), value))
        index = source
    return found


def _as_array(mask: int, count: int) -> np.ndarray:
    chosen = np.zeros(count, dtype=bool)
    chosen[members(mask)] = True
    return chosen
