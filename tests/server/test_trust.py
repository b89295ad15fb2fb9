"""What the API says of an answer beside it: words, marks, and the program on the true scene."""

import json

import pytest
from fastapi.testclient import TestClient

from server import make_samples
from server.answering.true_scene import is_sentence, sample_scenes
from server.main import create_app
from server.samples import all_samples
from server.schemas import OnTrueScene
from snmn.checkpoints.bundled import BUNDLED
from tests.helpers.tiny.server import image_bytes, post, settings, write_models

COUNT = "How many things are the same color as the big sphere?"


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """The bundled model of questions beside an untrained one of expressions."""
    folder = write_models(tmp_path_factory.mktemp("models"), ["loc_gt_layout"])
    for suffix in ("ckpt", "json"):
        (folder / f"vqa_gt_layout.{suffix}").symlink_to(BUNDLED / f"vqa_gt_layout.{suffix}")
    with TestClient(create_app(settings(folder, concurrency=1))) as client:
        yield client


def asked(client, question, **more):
    image = more.pop("image", None)
    if image is None:
        return post(client, {"question": question, "sample": "scene-05", **more}).json()
    return post(client, {"question": question, **more}, image=("a.png", image, "image/png")).json()


def names(answer):
    return [mark["name"] for mark in answer["marks"]]


def test_a_good_answer_in_words_and_as_a_program(client):
    answer = asked(client, COUNT)
    assert answer["text"] == f'find "big sphere" -> same "color" -> count = {answer["answer"]}'
    assert names(answer) == []
    program = "count(same_color(unique(filter_shape[sphere](filter_size[large](scene)))))"
    given = answer["answer"]
    expected = OnTrueScene(program=program, gives=given, truth=given)
    assert OnTrueScene(**answer["on_true_scene"]) == expected


def test_marks_have_reasons(client):
    nonsense = asked(client, "red how what the the big?")
    assert "no_sentence" in names(nonsense) and nonsense["on_true_scene"] is None
    noise = asked(client, COUNT, image=image_bytes((240, 160)))
    assert "unlike_image" in names(noise) and noise["on_true_scene"] is None
    pointed = asked(client, COUNT, model="loc_gt_layout")
    assert "wrong_kind" in names(pointed)
    assert " = box " in pointed["text"]
    for answer in (nonsense, noise, pointed):
        assert all(mark["reason"].endswith(".") for mark in answer["marks"])


def test_a_question_about_what_is_not_there_has_no_truth(client):
    answer = asked(client, "What color is the tiny yellow metal cylinder?")
    assert answer["on_true_scene"] == {"program": None, "gives": None, "truth": None}


def test_scenes_are_those_of_the_samples():
    assert sample_scenes().keys() == all_samples().keys()
    scene = make_samples.make_scene(0)[0]
    assert sample_scenes()["scene-01"] == json.loads(json.dumps(make_samples.true_scene(scene)))
    for name, sample in all_samples().items():
        assert make_samples.describe(sample_scenes()[name]) == sample.alt


def test_what_is_suggested_is_a_sentence():
    for sample in all_samples().values():
        assert all(is_sentence(one.text) for one in (*sample.questions, *sample.expressions))
    assert not is_sentence("red how what the the big?")
