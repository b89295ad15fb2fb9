"""The API's "what if": edits, what is refused of them, and layouts of questions."""

import json
import re

import pytest

from tests.helpers.tiny.server import ASK, QUESTION, image_bytes, post, refused

T = 9
LAYOUT = ["_Find", "_Transform", "_DescribeOne"]


def ask(client, **changes):
    answer = client.post("/api/predict", json=ASK | changes)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_is_set_is_run_and_said(client):
    plain = ask(client)
    assert [step["given"] for step in plain["steps"]] == [[]] * T
    edited = ask(
        client,
        layout=LAYOUT,
        words=[None, "cubes", [0, "many"], {"1": 1, "are": 3}],
        attention=[[0, 0, 100, 100]],
    )
    assert [step["module"] for step in edited["steps"]] == LAYOUT + ["_NoOp"] * 6
    assert [step["given"] for step in edited["steps"]] == [
        *(["module", "attention"], *[["module", "words"]] * 3, *[["module"]] * 5)
    ]
    heard = [step["word_attention"] for step in edited["steps"]]
    assert heard[1:4] == [[0, 0, 1, 0, 0, 0], [0.5, 0.5, 0, 0, 0, 0], [0, 0.25, 0, 0.75, 0, 0]]
    seen = edited["steps"][0]["image_attention"]
    assert max(map(max, seen)) == max(row[0] for row in seen)
    assert edited["words"] == plain["words"] and edited["modules"] == plain["modules"]


def test_null_leaves_a_step_to_the_model(client):
    plain = ask(client)
    same = ask(client, layout=[None] * T, words=[None], attention=[None] * T)
    assert same["probabilities"] == plain["probabilities"]
    assert same["steps"] == plain["steps"]


def test_a_form_takes_the_same_with_an_upload(client):
    edits = {"layout": LAYOUT, "words": [None, [2]], "attention": [[5, 5, 20, 20]]}
    form = {name: json.dumps(value) for name, value in edits.items()}
    file = ("a.png", image_bytes(), "image/png")
    sent = post(client, {"question": QUESTION, **form}, image=file).json()
    assert [step["given"] for step in sent["steps"][:2]] == [
        *(["module", "attention"], ["module", "words"])
    ]
    assert ask(client, **edits)["steps"][1]["word_attention"] == sent["steps"][1]["word_attention"]
    # A layout may be plain text, as on the command line; empty fields say nothing.
    text = post(client, {**ASK, "layout": "- Find, _DescribeOne", "words": ""}).json()
    assert [step["given"] for step in text["steps"][:3]] == [[], ["module"], ["module"]]


def test_boxes_are_in_pixels_of_the_image(client):
    here = ask(client, layout="_Find", attention=[[360, 0, 120, 80]])  # a sample is 480 x 320
    seen = here["steps"][0]["image_attention"]
    lit = [(row, column) for row in range(14) for column in range(14) if seen[row][column] > 0.0052]
    # Cells are 34 x 23 pixels.
    assert lit == [(row, column) for row in range(4) for column in range(10, 14)]


@pytest.mark.parametrize(
    "edits, code, said",
    [
        ({"layout": "_Find _And"}, "layout", "Step 2, _And, cannot run: it needs 2 maps"),
        ({"layout": ["_Nothing"]}, "layout", "Step 1: there is no module '_Nothing'"),
        ({"layout": ["_NoOp"] * 10}, "layout", "The layout has 10 steps, but the model only 9"),
        ({"layout": []}, "layout", "The layout is empty"),
        ({"layout": 3}, "invalid", "layout: This is of no kind that is taken here"),
        ({"layout": ["_Find", 3]}, "invalid", "layout"),
        ({"layout": ["_NoOp"] * 101}, "invalid", "layout"),
        ({"words": ["sphere"]}, "edit", "Step 1: 'sphere' is no word of the question"),
        ({"words": [[6]]}, "edit", "Step 1: 6 is no word"),
        ({"words": [{"0": -1}]}, "edit", "Step 1: a word's weight"),
        ({"words": [[True]]}, "invalid", "words.0: This is of no kind"),
        ({"words": "cubes"}, "invalid", "words: Input should be a valid array"),
        ({"words": [None] * 10}, "edit", "Words are given for 10 steps"),
        ({"attention": [[481, 0, 9, 9]]}, "edit", "Step 1: the box .* outside the image"),
        ({"attention": [[0, 0, 0, 0]]}, "edit", "Step 1: a box is"),
        ({"attention": [[[1, 2], [3]]]}, "edit", "Step 1: attention is a box"),
        ({"attention": [[[0.0] * 14] * 14]}, "edit", "Step 1: weights of cells"),
        ({"attention": [[1.0] * 65]}, "invalid", "attention"),
        ({"attention": [10**400]}, "invalid", "attention"),
        ({"attention": [[10**400, 0, 1, 1]]}, "edit", "Step 1: a box is"),
        ({"attention": [[0, 0, 5, 5]], "layout": "_NoOp"}, "edit", "Step 1, _NoOp, leaves no map"),
    ],
)
def test_what_cannot_be_is_refused(client, edits, code, said, reliability):
    row = reliability(
        "Demo: edits that cannot be",
        caused="layouts that the stack cannot run, words, boxes and grids of every wrong kind",
        sees="422 and a sentence that names the step",
    )
    with row.attempt():
        response = client.post("/api/predict", json=ASK | edits)
        body = refused(response, 422, code)
        assert re.match(said, body["detail"]), body


def test_texts_that_are_no_lists(client):
    for field, text in (("words", "[1"), ("layout", "[" * 50_000), ("attention", "[NaN, }")):
        body = refused(post(client, {**ASK, field: text}), 422, "invalid")
        assert body["detail"].startswith(f"{field}: ")


def test_layouts_of_a_question(client):
    question = "How many things are the same size as the red cube?"
    found = client.get("/api/layout", params={"question": question}).json()
    assert found["model"] == "vqa_gt_layout" and found["reason"] is None
    assert found["expert"] == ["_Find", "_Transform", "_DescribeOne"] + ["_NoOp"] * 6
    asked = ask(client, question=question)
    assert found["own"] == [step["module"] for step in asked["steps"]]
    assert found["words"] == asked["words"]
    expression = {"question": "the cube left of the red sphere", "model": "loc_gt_layout"}
    assert client.get("/api/layout", params=expression).json()["expert"][:3] == [
        *("_Find", "_Transform", "_Filter")
    ]
    # As it is typed, without its mark.
    typed = client.get("/api/layout", params={"question": "how many red cubes are there"}).json()
    assert typed["expert"][:2] == ["_Find", "_DescribeOne"]


def test_no_expert_and_no_question(client):
    nonsense = client.get("/api/layout", params={"question": "cube the of?"}).json()
    assert nonsense["expert"] is None and "no sentence of the grammar" in nonsense["reason"]
    assert len(nonsense["own"]) == T
    refused(client.get("/api/layout", params={"question": "how many cubs?"}), 422, "unknown_word")
    refused(client.get("/api/layout", params={"question": ""}), 422, "empty_question")
    refused(client.get("/api/layout"), 422, "invalid")
    unknown = {"question": QUESTION, "model": "nothing"}
    refused(client.get("/api/layout", params=unknown), 404, "no_model")
