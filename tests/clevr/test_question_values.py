"""Answers and boxes as published files, generators and scripts write them."""

import numpy as np
import pytest

from clevr_prep.clevr.question_values import fit_box, read_answer


@pytest.mark.parametrize(
    "answer, word",
    [(None, None), ("cube", "cube"), ("10", "10"), ("yes", "yes"), (True, "yes"), (False, "no")]
    + [(number, str(number)) for number in range(11)],
)
def test_answers_as_words_of_the_vocabulary(answer, word):
    assert read_answer(answer) == word


@pytest.mark.parametrize(
    "answer", [11, -1, 10**30, 1.0, float("nan"), "", "True", "true", "Cube", [], ["cube"], {}]
)
def test_what_is_no_answer(answer):
    with pytest.raises(ValueError, match="unknown answer") as error:
        read_answer(answer)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    "box, fitted",
    [
        ([0, 0, 48, 32], [0, 0, 48, 32]),
        ([1.5, 2.5, 3.25, 4], [1.5, 2.5, 3.25, 4]),
        ([-0.5, 0, 10, 10], [0, 0, 9.5, 10]),
        ([0, -0.25, 10, 10], [0, 0, 10, 9.75]),
        ([40, 0, 8.5, 10], [40, 0, 8, 10]),
        ([40, 30, 8, 2.75], [40, 30, 8, 2]),
        ([-0.5, -0.5, 49, 33], [0, 0, 48, 32]),
    ],
)
def test_a_part_of_a_pixel_outside_is_cut_off(box, fitted):
    assert fit_box(box, (48, 32)) == fitted


@pytest.mark.parametrize(
    "box",
    [[-1, 0, 9, 9], [0, -1.5, 9, 9], [40, 0, 9, 9], [40, 0, 8, 40], [-0.5, 0, 0.5, 5]]
    + [[48, 0, 0.5, 5], [47.9, 0, -1, 5], [3, 3, 0, 1]],
)
def test_more_than_that_is_refused(box):
    with pytest.raises(ValueError, match="is not within its image of 48 x 32 pixels"):
        fit_box(box, (48, 32))


def test_a_cut_box_is_within_its_image_as_it_is_stored():
    rng = np.random.default_rng(0)
    for x, y, w, h in rng.uniform((-0.99, -0.99, 300, 200), (0, 0, 480, 320), (500, 4)).tolist():
        x, y, w, h = fit_box([x, y, w, h], (480, 320))
        assert x >= 0 and y >= 0 and x + w < 480 + 1e-9 and y + h < 320 + 1e-9
