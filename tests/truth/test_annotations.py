"""Truth about a split's questions, whose images may have any size."""

import json

import numpy as np
import pytest
from PIL import Image

from clevr_prep.clevr.question_files import DatasetError
from clevr_prep.synthetic.sampling.questions import generate_questions
from clevr_prep.synthetic.scenes.scene_sampling import sample_scene
from clevr_prep.truth.annotations import Annotations

NAME, GRID = "CLEVR_val_000000.png", (14, 14)


def write_split(root, scene, program):
    scene = scene | {"image_filename": NAME}
    question = {"image_filename": NAME, "question_index": 0, "program": program}
    for kind, entry in (("scenes", scene), ("questions", question)):
        (root / kind).mkdir(parents=True)
        (root / kind / f"CLEVR_val_{kind}.json").write_text(json.dumps({kind: [entry]}))
    (root / "images" / "val").mkdir(parents=True)
    return root


@pytest.fixture
def asked():
    """A scene of 320 x 240, which says so, and the program of a question about it."""
    rng = np.random.default_rng(0)
    scene = sample_scene(rng, width=320, height=240)
    return scene, generate_questions(scene, 1, rng)[0]["program"]


@pytest.fixture
def silent(asked, tmp_path):
    """The same, which does not say so, as scenes of the public generator; without its image."""
    scene, program = asked
    del (scene := dict(scene))["render"]
    return write_split(tmp_path / "silent", scene, program)


def cells(root):
    return Annotations(root, "val").truth(NAME, 0, GRID).cells


def test_the_size_comes_from_the_scene_or_the_image(asked, silent, tmp_path):
    noted = cells(write_split(tmp_path / "noted", *asked))
    Image.new("RGB", (320, 240)).save(silent / "images" / "val" / NAME)
    np.testing.assert_array_equal(cells(silent), noted)
    assert not np.array_equal(noted, cells_of_another_size(silent))


def cells_of_another_size(root):
    Image.new("RGB", (480, 320)).save(root / "images" / "val" / NAME)
    return cells(root)


def test_an_image_counts_as_its_camera_was_held(asked, silent, tmp_path):
    held = Image.Exif()
    held[0x0112] = 6
    Image.new("RGB", (240, 320)).save(silent / "images" / "val" / NAME, exif=held)
    np.testing.assert_array_equal(cells(silent), cells(write_split(tmp_path / "noted", *asked)))


def test_without_a_size_the_run_is_refused(silent):
    with pytest.raises(DatasetError, match=f"{NAME} does not say how large .*there is no .*{NAME}"):
        cells(silent)
    (silent / "images" / "val" / NAME).write_text("no image")
    with pytest.raises(DatasetError, match=f"{NAME} does not say .*{NAME} cannot be read"):
        cells(silent)


def test_images_smaller_than_the_scenes_are_refused(silent):
    Image.new("RGB", (32, 24)).save(silent / "images" / "val" / NAME)
    with pytest.raises(DatasetError, match=r"far outside the image of 32 x 24 pixels"):
        cells(silent)
