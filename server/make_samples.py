"""Renders the demo's sample images: `python -m server.make_samples`, a minute or two.

Each has questions with their answers and referring expressions with their boxes to suggest, drawn
from the same grammar as the training data, a description for those who cannot see it, and its scene
in scenes.json. The scenes have random numbers of their own, so no model was trained on them. The
same version of the project makes the same files again.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from clevr_prep.synthetic.render.renderer import render_scene
from clevr_prep.synthetic.sampling.expressions import generate_expressions
from clevr_prep.synthetic.sampling.questions import generate_questions
from clevr_prep.synthetic.scenes.object_boxes import add_boxes, can_be_referred_to, visible_targets
from clevr_prep.synthetic.scenes.scene_sampling import sample_scene
from snmn.common.vocabulary import tokenise

FOLDER = Path(__file__).parent / "samples"
SEED = 1807_08556
OBJECTS = (3, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 6, 4)  # in each of the images
SUGGESTIONS, MAX_WORDS = 6, 24
SIZE, SAMPLES = (480, 320), 64
JPEG = {"quality": 92, "subsampling": 0, "optimize": True}
_NUMBERS = "no one two three four five six seven eight nine ten".split()


def describe(scene: dict) -> str:
    """What can be seen, from left to right: the image's alternative text."""
    things = sorted(scene["objects"], key=lambda thing: thing["pixel_coords"][0])
    named = [f"{o['size']} {o['color']} {o['material']} {o['shape']}" for o in things]
    number = _NUMBERS[len(things)].capitalize()
    return f"{number} objects on a grey floor; from left to right: {', '.join(named)}."


def _short(entries: list[dict], count: int) -> list[dict]:
    """The first entries that are not too long for a list of suggestions, from short to long."""
    kept = [entry for entry in entries if len(tokenise(entry["question"])) <= MAX_WORDS]
    return sorted(kept[:count], key=lambda entry: len(entry["question"]))


def make_scene(number: int) -> tuple[dict, np.random.Generator]:
    """Scene number k, in which something can be referred to, and the state of its randomness."""
    rng = np.random.default_rng([SEED, number])
    count = OBJECTS[number]
    while True:
        scene = sample_scene(
            rng,
            min_objects=count,
            max_objects=count,
            width=SIZE[0],
            height=SIZE[1],
            samples=SAMPLES,
        )
        add_boxes(scene)
        kinds = Counter(thing["shape"] for thing in scene["objects"])
        if can_be_referred_to(scene, visible_targets(scene)) and len(kinds) > 1:
            return scene, rng


def true_scene(scene: dict) -> dict:
    """Of a scene what questions are about, for scenes.json."""
    kept = ("size", "color", "material", "shape", "pixel_coords", "bbox")
    return {
        "objects": [{name: thing[name] for name in kept} for thing in scene["objects"]],
        "relationships": scene["relationships"],
        "render": {"width": SIZE[0], "height": SIZE[1]},
    }


def make_sample(number: int) -> dict:
    """Render image number k into the folder; returns its entry in samples.json."""
    scene, rng = make_scene(number)
    name = _name(number)
    Image.fromarray(render_scene(scene)[0]).save(FOLDER / f"{name}.jpg", **JPEG)
    questions = _short(generate_questions(scene, 4 * SUGGESTIONS, rng, max_hops=2), SUGGESTIONS)
    targets = visible_targets(scene)
    expressions = generate_expressions(scene, targets, 4 * SUGGESTIONS, rng, max_hops=2)
    return {
        "id": name,
        "file": f"{name}.jpg",
        "width": SIZE[0],
        "height": SIZE[1],
        "alt": describe(scene),
        # One of CLEVR's templates lacks the mark, which the page adds to every question.
        "questions": [
            {"text": q["question"].removesuffix("?") + "?", "answer": q["answer"]}
            for q in questions
        ],
        "expressions": [
            {"text": e["question"], "box": scene["objects"][e["target_object"]]["bbox"]}
            for e in _short(expressions, SUGGESTIONS)
        ],
    }


def main() -> None:
    """Write all images, samples.json and scenes.json."""
    FOLDER.mkdir(exist_ok=True)
    entries = [make_sample(number) for number in range(len(OBJECTS))]
    (FOLDER / "samples.json").write_text(json.dumps(entries, indent=1) + "\n")
    write_scenes()


def write_scenes() -> None:
    """Write scenes.json: what is true of each sample, by its id."""
    scenes = {_name(number): true_scene(make_scene(number)[0]) for number in range(len(OBJECTS))}
    (FOLDER / "scenes.json").write_text(json.dumps(scenes, separators=(",", ":")) + "\n")


def _name(number: int) -> str:
    return f"scene-{number + 1:02d}"


if __name__ == "__main__":
    main()
