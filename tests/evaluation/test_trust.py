"""Tallies of marks, the AUROC, and the forward simulation, on numbers with known results."""

from itertools import product

import numpy as np
import pytest

from snmn.common.logistic_regression import fit_logistic_regression
from snmn.evaluation.auroc import auroc
from snmn.evaluation.forward_simulation import QUANTITIES, cross_validated
from snmn.evaluation.marks import MARKS, Mark
from snmn.evaluation.trust import ANY, Trust, trust_table


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    scores, positive = rng.integers(0, 6, 60), rng.random(60) < 0.4
    pairs = list(product(scores[positive], scores[~positive]))
    expected = np.mean([(a > b) + (a == b) / 2 for a, b in pairs])
    found = auroc(scores, positive)
    assert found["auroc"] == pytest.approx(expected, abs=1e-6)
    assert found["low"] < expected < found["high"]
    assert auroc([1, 2, 3], [False, True, True])["auroc"] == 1
    assert auroc([1, 2], [True, True]) is None and auroc([], []) is None


def test_the_interval_is_that_of_the_source():
    """An area of .75 of 50 and 50 cases has a standard error of .0489."""
    grid = np.linspace(0, 1, 50)
    found = auroc([*(grid + 0.3), *grid], [True] * 50 + [False] * 50)
    A = found["auroc"]
    q1, q2 = A / (2 - A), 2 * A * A / (1 + A)
    error = np.sqrt((A * (1 - A) + 49 * (q1 - A * A) + 49 * (q2 - A * A)) / 2500)
    assert found["high"] - A == pytest.approx(1.96 * error, abs=1e-4)


def test_a_regression_finds_the_weights_that_cases_were_drawn_by():
    rng = np.random.default_rng(1)
    cases = rng.normal(size=(20000, 3))
    positive = rng.random(20000) < 1 / (1 + np.exp(-(cases @ [1.0, -2.0, 0.0] + 0.5)))
    found = fit_logistic_regression(cases, positive, ridge=1e-3)
    np.testing.assert_allclose(found.weight, [1.0, -2.0, 0.0], atol=0.1)
    assert found.bias == pytest.approx(0.5, abs=0.1)


def test_a_regression_of_separable_cases_stays_finite():
    found = fit_logistic_regression(np.array([[-1.0], [1.0]] * 50), np.array([False, True] * 50))
    assert 0 < found.weight[0] < 20


def simulated(informative):
    """Questions about 200 images, right as their first quantity says, or as their image does."""
    rng = np.random.default_rng(2)
    image = np.repeat(np.arange(200), 5)
    of_image = (rng.random(200) < 0.5)[image]
    quantities = rng.normal(size=(1000, len(QUANTITIES)))
    right = quantities[:, 0] + 0.3 * rng.normal(size=1000) > 0 if informative else of_image
    if not informative:
        # A number that tells the image, which questions about another image do not share.
        quantities[:, 1] = image
    return quantities, right, [f"{place}.png" for place in image]


def test_a_trace_that_tells_and_one_that_does_not():
    quantities, right, images = simulated(True)
    assert auroc(cross_validated(quantities, right, images), right)["auroc"] > 0.95
    quantities, right, images = simulated(False)
    assert 0.4 < auroc(cross_validated(quantities, right, images), right)["auroc"] < 0.6


def test_where_all_are_right_nothing_can_be_learnt():
    quantities, right, images = simulated(True)
    assert cross_validated(quantities, np.ones_like(right), images) is None


def collected(rights):
    trust = Trust()
    for number, (right, marks) in enumerate(rights):
        found = [Mark(name, "Because.") for name in marks]
        quantities = np.zeros(len(QUANTITIES))
        quantities[0] = number
        trust.add(found, quantities, 0.5, right, f"{number}.png")
    return trust.summary()


def test_how_often_a_mark_stands_and_what_it_is_worth():
    both = ["no_object", "wrong_kind"]
    rights = [(False, both)] * 3 + [(True, ["no_object"])] + [(True, [])] * 5 + [(None, both)]
    summary = collected(rights)
    mark = summary["marks"]["no_object"]
    assert (mark["stands"]["correct"], mark["stands"]["total"]) == (5, 10)
    assert (mark["wrong_with"]["correct"], mark["wrong_with"]["total"]) == (3, 4)
    assert (mark["wrong_without"]["correct"], mark["wrong_without"]["total"]) == (0, 5)
    assert mark["wrong_with"]["low"] < 0.75 < mark["wrong_with"]["high"]
    assert summary["marks"][ANY] == mark
    never = summary["marks"]["unlike_image"]
    assert never["stands"]["correct"] == 0 and "wrong_with" not in never
    assert set(summary["marks"]) == {*MARKS, ANY}
    lines = trust_table(summary).splitlines()
    assert any(line.split()[:3] == ["no", "object", "0.5000"] for line in lines)


def test_without_a_known_truth_marks_are_counted_all_the_same():
    summary = collected([(None, ["no_object"]), (None, [])])
    assert summary["marks"]["no_object"]["stands"]["share"] == 0.5
    assert summary["forward_simulation"] == {}
    assert "needs right and wrong predictions" in trust_table(summary)
