"""A tiny dataset in CLEVR's format with images of noise and random features, made from scratch."""

import json
from collections.abc import Mapping

import numpy as np
from PIL import Image

from clevr_prep.data.build_clevr_imdb import main as build_imdb
from clevr_prep.data.get_ground_truth_layout import main as build_layouts
from clevr_prep.synthetic.sampling.questions import generate_questions
from clevr_prep.synthetic.scenes.scene_sampling import sample_scene
from snmn.data.feature_writer import FeatureWriter
from tests.helpers.tiny.dataset import ATTRIBUTES


def write_clevr(
    root,
    images: dict[str, int],
    *,
    grid: tuple[int, int],
    dim: int,
    made_with: Mapping = ATTRIBUTES,
) -> None:
    """Write images, scenes, questions, layouts, features and imdbs of splits of so many images.

    The features are random, whatever they are said to be ``made_with``.
    """
    rng = np.random.default_rng(0)
    for folder in ("scenes", "questions"):
        (root / folder).mkdir()
    for split, count in images.items():
        _write_split(root, split, count, rng, grid, dim, made_with)
    build_layouts(["--data-dir", str(root)])
    build_imdb(["--data-dir", str(root), "--out", str(root / "imdb")])


def _write_split(root, split, count, rng, grid, dim, made_with):
    scenes, questions = [], []
    (root / "images" / split).mkdir(parents=True)
    with FeatureWriter(root / "features" / split, attributes=made_with) as writer:
        for image in range(count):
            name = f"CLEVR_{split}_{image:06d}.png"
            where = {"image_index": image, "image_filename": name, "split": split}
            scene = sample_scene(rng, max_objects=4) | where
            scenes.append(scene)
            for entry in generate_questions(scene, 6, rng):
                if split == "test":
                    entry = {"question": entry["question"]}
                # Not in the order of the file, as in a file that somebody shuffled.
                number = 1000 - len(questions)
                questions.append(entry | where | {"question_index": number})
            writer.add([name], rng.random((1, *grid, dim)).astype(np.float16))
            pixels = rng.integers(0, 255, (32, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "images" / split / name)
    for kind, content in (("scenes", scenes), ("questions", questions)):
        path = root / kind / f"CLEVR_{split}_{kind}.json"
        path.write_text(json.dumps({"info": {}, kind: content}))
    if split == "test":  # Nobody has the scenes of a secret split.
        (root / "scenes" / f"CLEVR_{split}_scenes.json").unlink()
