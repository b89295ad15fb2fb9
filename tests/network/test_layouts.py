"""Layouts of one's own: which the stack can run, what is said of the others, and changes."""

import pytest

import snmn
from snmn.common.vocabulary import MODULES
from snmn.network.layouts import (
    LayoutEditError,
    insert_step,
    read_layout,
    remove_step,
    replace_step,
    stack_heights,
)
from snmn.network.nmn import StackNMN


class Three(snmn.NeuralModule):
    inputs, outputs = 3, 1


class FindTwice(snmn.NeuralModule):
    inputs, outputs = 0, 1
    runs = ("_Find", "_Find", "_And")


class Judge(snmn.AnswerModule):
    inputs = 2


OWN = {"_Three": Three, "_FindTwice": FindTwice, "_Judge": Judge}


def network(**options):
    return StackNMN(control_dim=4, kb_dim=4, memory_dim=4, **{"modules": OWN} | options)


@pytest.mark.parametrize(
    "layout, heights",
    [
        ("_Find _Transform _DescribeOne", [1, 1, 1]),
        ("_NoOp _Scene _Find _And _Filter", [0, 1, 2, 1, 1]),
        ("_Find _Find _DescribeTwo _Or", [1, 2, 2, 1]),
        ("_Find _Find _Find _Three _DescribeOne", [1, 2, 3, 1, 1]),
        ("_FindTwice _Scene _Judge", [1, 2, 2]),
    ],
)
def test_what_the_stack_can_run(layout, heights):
    nmn = network()
    steps = read_layout(layout, nmn.module_names, len(heights))
    assert stack_heights(nmn, steps) == heights


@pytest.mark.parametrize(
    "layout, said",
    [
        ("_Transform", "step 1, _Transform, cannot run: it needs 1 map and the stack has no maps"),
        ("_Find _And", "step 2, _And, .* needs 2 maps .* has 1 map after step 1, _Find"),
        ("_NoOp _DescribeOne", "step 2, _DescribeOne, .* no maps after step 1, _NoOp"),
        ("_Find _Find _And _Or", "step 4, _Or, .* needs 2 maps .* 1 map after step 3, _And"),
        ("_Find _Find _Three", "step 3, _Three, .* needs 3 maps"),
        ("_Find _Judge", "step 2, _Judge, .* needs 2 maps"),
        ("_Find _Find _Find", "step 3, _Find, .* pushes a map and the stack is full with 2 maps"),
        ("_Find _Find _Filter", "step 3, _Filter, .* runs _Find; .* full with 2 maps"),
        ("_Find _FindTwice", "step 2, _FindTwice, .* runs _Find; .* full with 2 maps"),
    ],
)
def test_what_it_cannot_run_is_refused_by_name(layout, said):
    nmn = network(stack_length=3)
    steps = read_layout(layout, nmn.module_names, 9)
    with pytest.raises(LayoutEditError, match=said):
        stack_heights(nmn, steps)


def test_without_its_map_kept_a_describe_leaves_one():
    nmn = network(describe_two_keep_stack=False)
    assert stack_heights(nmn, ["_Find", "_Find", "_DescribeTwo"]) == [1, 2, 1]
    with pytest.raises(LayoutEditError, match="step 4, _And, cannot run"):
        stack_heights(nmn, ["_Find", "_Find", "_DescribeTwo", "_And"])


def test_what_the_controller_does_before_is_not_judged():
    nmn = network()
    layout, given = ["_And", "_Find", "_Transform"], [False, False, True]
    assert stack_heights(nmn, layout, given=given) == [0, 1, 1]
    with pytest.raises(LayoutEditError, match="step 2, _And .the controller's choice.*set this"):
        stack_heights(nmn, ["_Find", "_And"], given=[True, False])


def test_reading():
    assert read_layout("Find, _Transform -", MODULES, 5) == [
        *("_Find", "_Transform", None, "_NoOp", "_NoOp"),
    ]
    assert read_layout(["", None, "_Or"], MODULES, 3) == [None, None, "_Or"]
    for layout, said in (
        ("_Fnid", "step 1: there is no module '_Fnid'; did you mean _Find"),
        (["_Find", 7], "step 2: there is no module 7"),
        (["_Find", ["_Find"]], "step 2: there is no module"),
        ("_Find " * 4, "4 steps, but the model only 3"),
        ("", "empty"),
        ([], "empty"),
    ):
        with pytest.raises(LayoutEditError, match=said):
            read_layout(layout, MODULES, 3)


def test_changes():
    layout, words = ["_Find", "_Transform", "_DescribeOne", "_NoOp"], ["a", "b", "c", "d"]
    assert replace_step(layout, 1, None) == ["_Find", None, "_DescribeOne", "_NoOp"]
    assert remove_step(layout, 1) == ["_Find", "_NoOp", "_DescribeOne", "_NoOp"]
    assert insert_step(layout, words, 1, "_Filter", "x") == (
        ["_Find", "_Filter", "_Transform", "_DescribeOne"],
        ["a", "x", "b", "c"],
    )
    # The first free step is taken, and what comes after it stays.
    assert insert_step(["_Find", "_NoOp", "_DescribeOne", "_NoOp"], words, 0, "_Scene")[0] == [
        *("_Scene", "_Find", "_DescribeOne", "_NoOp"),
    ]
    with pytest.raises(LayoutEditError, match="no room before step 1"):
        insert_step(["_Find", "_DescribeOne"], words, 0, "_Scene")
