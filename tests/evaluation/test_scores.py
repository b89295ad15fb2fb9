"""Intervals, calibration and the summary of a test, against counts made another way."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clevr_prep.clevr.programs import QUESTION_TYPES
from snmn.common.vocabulary import MODULE_INDEX, MODULES
from snmn.evaluation.calibration import reliability
from snmn.evaluation.intervals import wilson_interval
from snmn.evaluation.scores import FAMILIES, family, score_table, summarise
from snmn.figures.reliability_plot import reliability_plot


class TestWilson:
    def test_published_example(self):
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3.
        for counts, interval in (
            ((81, 263), (0.2553, 0.3662)),
            ((15, 148), (0.0624, 0.1605)),
            ((0, 20), (0.0, 0.1611)),
            ((1, 29), (0.0061, 0.1718)),
        ):
            assert wilson_interval(*counts) == pytest.approx(interval, abs=5e-5)

    @given(st.integers(1, 5000), st.data())
    def test_ends_are_where_the_score_test_just_accepts(self, total, data):
        correct = data.draw(st.integers(0, total))
        low, high = wilson_interval(correct, total)
        assert 0 <= low <= correct / total + 1e-12 and correct / total - 1e-12 <= high <= 1
        for end in (low, high):
            if 1e-9 < end < 1 - 1e-9:
                deviation = math.sqrt(end * (1 - end) / total)
                assert abs(correct / total - end) / deviation == pytest.approx(1.96, abs=1e-3)

    def test_nothing_has_no_interval(self):
        with pytest.raises(ValueError, match="share of nothing"):
            wilson_interval(0, 0)


class TestReliability:
    def test_by_hand(self):
        result = reliability([0.95, 0.92, 0.4, 0.35, 1.0], [1, 0, 1, 0, 1])
        assert [entry["predictions"] for entry in result["bins"]] == [0, 0, 0, 2, 0, 0, 0, 0, 0, 3]
        assert result["bins"][3]["accuracy"] == 0.5
        assert result["bins"][9]["confidence"] == pytest.approx(0.95666667)
        assert result["ece"] == pytest.approx(0.4 * 0.125 + 0.6 * (0.95666667 - 2 / 3))

    def test_sure_and_right_has_no_error(self):
        assert reliability([1.0] * 4, [1] * 4)["ece"] == 0
        assert reliability([1.0] * 4, [0] * 4)["ece"] == 1

    def test_plot_has_a_bar_as_high_as_the_accuracy(self):
        heights = []
        for right in (2, 8):
            calibration = reliability([0.95] * 10, [1] * right + [0] * (10 - right))
            image = np.asarray(reliability_plot(calibration, title="t"))
            bars = (image == (0x5B, 0x8D, 0xB8)).all(axis=-1).any(axis=1)
            heights.append(int(bars.sum()))
        assert heights[1] > 3 * heights[0]


def test_every_question_type_has_a_family():
    assert {family(kind) for kind in QUESTION_TYPES} == set(FAMILIES)
    assert family("ref_same") == family("") == ""


def rows_of(count, rng):
    """Rows as `prediction_rows` makes them, and their layouts."""
    for index in range(count):
        kind = QUESTION_TYPES[rng.integers(len(QUESTION_TYPES))]
        expected, predicted = (("yes", "no")[i] for i in rng.integers(2, size=2))
        length = rng.integers(2, 5)
        yield {
            "question_index": index,
            "type": kind,
            "hops": int(rng.integers(4)) if index % 7 else "",
            "predicted": predicted,
            "expected": expected,
            "correct": int(predicted == expected),
            "confidence": float(rng.random()),
            "expert_layout": " ".join(["_Find"] * length),
        }


class TestSummary:
    @pytest.fixture
    def rows(self):
        return list(rows_of(300, np.random.default_rng(0)))

    def test_groups_add_up_to_the_whole(self, rows):
        layouts = np.zeros((300, 9), np.int64)
        summary = summarise(rows, layouts, layouts)
        for name in ("by_type", "by_family", "by_hops", "by_layout_length"):
            groups = summary[name].values()
            assert sum(group["total"] for group in groups) == 300
            assert sum(group["correct"] for group in groups) == sum(r["correct"] for r in rows)
        some = [row["correct"] for row in rows if row["type"].startswith("query_")]
        found = summary["by_family"]["query attribute"]
        assert (found["total"], found["correct"]) == (len(some), sum(some))
        assert summary["by_hops"]["unknown"]["total"] == 43
        assert sum(e["predictions"] for e in summary["calibration"]["bins"]) == 300

    def test_printed_types_are_those_of_the_summary(self, rows):
        layouts = np.zeros((300, 9), np.int64)
        summary = summarise(rows, layouts, layouts)
        lines = score_table(summary, answers=True).splitlines()
        printed = {line.split()[0]: line.split()[1:3] for line in lines if line.count(".") > 2}
        for kind, entry in summary["by_type"].items():
            assert printed[kind] == [str(entry["total"]), f"{entry['share']:.4f}"]

    def test_confusion_counts_each_step_of_each_question(self, rows):
        rng = np.random.default_rng(1)
        predicted, expert = rng.integers(len(MODULES), size=(2, 300, 5))
        layouts = summarise(rows, predicted, expert)["layouts"]
        confusion = np.array(layouts["confusion"])
        assert confusion.shape == (5, 9, 9) and (confusion.sum(axis=(1, 2)) == 300).all()
        find, scene = MODULE_INDEX["_Find"], MODULE_INDEX["_Scene"]
        pairs = (predicted[:, 2] == find) & (expert[:, 2] == scene)
        assert confusion[2, scene, find] == pairs.sum()
        assert layouts["by_step"][4]["correct"] == (predicted[:, 4] == expert[:, 4]).sum()
        assert layouts["whole"]["correct"] == (predicted == expert).all(axis=1).sum()

    def test_without_truth_there_is_no_accuracy(self, rows):
        hidden = [row | {"expected": "", "correct": ""} for row in rows]
        summary = summarise(hidden, np.zeros((300, 9), np.int64), None)
        assert summary["accuracy"] is None and summary["questions"] == 300
        assert "accuracy cannot be known" in score_table(summary, answers=True)
        assert "by_type" not in summary and "layouts" not in summary
