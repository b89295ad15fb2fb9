"""Asking "what if" from Python and on the command line."""

import numpy as np
import pytest

import snmn
from server.samples import find_sample, open_sample
from snmn.common.errors import UserError
from snmn.network.layouts import insert_step, remove_step
from snmn.predict import main

QUESTION = "What number of other things are the same size as the rubber ball?"


@pytest.fixture(scope="module")
def predictor():
    return snmn.Predictor.bundled("vqa_gt_layout")


@pytest.fixture(scope="module")
def image():
    return open_sample(find_sample("scene-03"))


@pytest.fixture(scope="module")
def plain(predictor, image):
    return predictor(image, QUESTION)


def layout_of(result):
    return [step.module for step in result.steps]


def test_without_its_transform_the_ball_itself_is_counted(predictor, image, plain):
    assert plain.answer == "3"
    assert not any(step.given for step in plain.steps)
    layout = [None, "_NoOp"] + [None] * 7
    result = predictor(image, QUESTION, layout=layout)
    assert result.answer == "1"
    assert layout_of(result) == remove_step(layout_of(plain), 1)
    assert [step.given for step in result.steps] == [(), ("module",), *[()] * 7]
    # What is before the edit is as it was.
    np.testing.assert_array_equal(result.steps[0].attention, plain.steps[0].attention)


def test_the_models_own_layout_and_words_change_nothing(predictor, image, plain):
    words = [step.words for step in plain.steps]
    result = predictor(image, QUESTION, layout=layout_of(plain), words=words)
    assert result.answer == "3"
    assert result.probabilities == pytest.approx(plain.probabilities, abs=0.02)
    assert result.steps[0].given == ("module", "words")


def test_an_inserted_step_moves_the_others(predictor, image, plain):
    words = [step.words for step in plain.steps]
    layout, words = insert_step(layout_of(plain), words, 2, "_Filter", "rubber")
    result = predictor(image, QUESTION, layout=layout, words=words)
    assert [step.module for step in result.trace.active_steps] == [
        *("_Find", "_Transform", "_Filter", "_DescribeOne"),
    ]
    heard = result.steps[2].words
    assert result.trace.words[heard.argmax()] == "rubber" and heard.max() == 1
    for new, old in ((1, 1), (3, 2), (4, 4)):
        np.testing.assert_allclose(result.steps[new].words, plain.steps[old].words, atol=1e-6)
    np.testing.assert_allclose(result.steps[1].attention, plain.steps[1].attention, atol=1e-3)


def test_refused_before_anything_is_computed(predictor, image, monkeypatch):
    monkeypatch.setattr(snmn.predict, "image_features", None)
    monkeypatch.setattr(snmn.predict, "forward", None)
    for edits, said in (
        ({"layout": "_Transform _DescribeOne"}, "step 1, _Transform, cannot run: it needs 1 map"),
        ({"layout": ["_NoOp", *[None] * 8]}, "step 2, _Transform .the controller's choice"),
        ({"words": ["cyan"]}, "step 1: 'cyan' is no word of the question"),
        ({"attention": [[500, 0, 9, 9]]}, "step 1: .* outside the image of 480 x 320"),
    ):
        with pytest.raises(UserError, match=said):
            predictor(image, QUESTION, **edits)


def test_the_picture_marks_what_was_set(predictor, image):
    asked = {"layout": "_Find _Transform _DescribeOne", "words": [None, "size"]}
    shown = predictor(image, QUESTION, **asked)
    marked = shown.show()
    for step in shown.steps:
        step.given = ()
    assert marked.size == shown.show().size and marked != shown.show()


def test_the_command(image, tmp_path, capsys):
    path = tmp_path / "scene.png"
    image.save(path)
    edits = ["--layout", "_Find _Transform _DescribeOne", "--words", "2=size"]
    main([str(path), QUESTION, *edits, "--attention", "1=200,150,60,60"])
    printed = capsys.readouterr().out
    assert "  1 Find (1.00): " in printed and "[set: module, attention]\n" in printed
    assert "  2 Transform (1.00): size [set: module, words]\n" in printed
    with pytest.raises(SystemExit, match=r"snmn.predict: step 2, _And, cannot run: it needs 2"):
        main([str(path), QUESTION, "--layout", "_Find _And"])
    with pytest.raises(SystemExit, match=r"snmn.predict: --words is given as STEP="):
        main([str(path), QUESTION, "--words", "size"])
