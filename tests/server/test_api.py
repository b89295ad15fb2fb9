"""The demo's API: answers as the models give them, pages and settings."""

import importlib
import json
import sys

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from server import samples
from server.answering import questions
from server.images import decode_image
from server.main import create_app
from server.settings import SettingError, Settings
from snmn.backbones import build_backbone
from snmn.checkpoints.bundled import BUNDLED
from snmn.checkpoints.checkpoint import load_model
from snmn.common.boxes import decode_boxes
from snmn.common.vocabulary import ANSWERS, MODULES, QUESTION_WORDS, encode
from snmn.storage.image_files import open_image
from tests.helpers.image_kinds import grey_kinds, hidden, picture
from tests.helpers.tiny.server import (
    ASK,
    QUESTION,
    image_bytes,
    post,
    refused,
    settings,
    write_models,
)


def features_of(image):
    backbone = build_backbone("cellnet")
    return backbone(backbone.preprocess([image])).half().float()


def run(path, text, features):
    words = encode(text)
    with torch.inference_mode():
        return load_model(path)(torch.tensor([words]), torch.tensor([len(words)]), features)


def test_a_sample_is_answered_as_the_model_does(client, models):
    with Image.open(samples.FOLDER / "scene-01.jpg") as image:
        output = run(models / "vqa_gt_layout.ckpt", QUESTION, features_of(image))
    answer = post(client).json()
    assert answer["model"] == "vqa_gt_layout" and answer["task"] == "vqa"
    assert answer["words"] == ["how", "many", "cubes", "are", "there", "?"]
    assert answer["answer"] == ANSWERS[output.answer_logits.argmax()]
    shares = output.answer_logits[0].softmax(0)
    for entry in answer["probabilities"]:
        expected = shares[ANSWERS.index(entry["answer"])].item()
        assert entry["probability"] == pytest.approx(expected, abs=1e-4)
    values = [entry["probability"] for entry in answer["probabilities"]]
    assert values == sorted(values, reverse=True) and len(values) == 28
    for t, step in enumerate(answer["steps"]):
        assert step["module"] == MODULES[output.module_probs[0, t].argmax()]
        np.testing.assert_allclose(
            step["module_probabilities"], output.module_probs[0, t], atol=1e-3
        )
        np.testing.assert_allclose(
            step["word_attention"], output.question_attention[0, t], atol=1e-3
        )
        attention = output.image_attention[0, t].flatten().softmax(0).view(14, 14)
        np.testing.assert_allclose(step["image_attention"], attention, atol=1e-4)
        assert step["pointer"] == output.stack_pointer[0, t].argmax()
    assert answer["box"] is None


def test_stack_moves_follow_the_pointer():
    with TestClient(create_app(Settings(concurrency=1))) as client:
        steps = post(client, {**ASK, "question": "How many things are red or small?"}).json()[
            "steps"
        ]
    pointer = 0
    for step in steps:
        assert step["popped"] == [pointer - k for k in range(len(step["popped"]))]
        assert step["pushed"] == [step["pointer"]] * len(step["pushed"])
        moved = len(step["pushed"]) - len(step["popped"])
        assert step["pointer"] == pointer + moved
        pointer = step["pointer"]
        for map_ in step["stack"]:
            assert np.max(map_) in (0, 255) and np.min(map_) == 0
    assert steps[0]["module"] == "_Find" and steps[0]["pushed"] == [1]


def test_an_upload_goes_through_the_features_that_the_card_names(client, models):
    data = image_bytes((300, 200))
    answer = post(client, {"question": QUESTION}, image=("a.png", data, "image/png")).json()
    pixels = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    output = run(models / "vqa_gt_layout.ckpt", QUESTION, features_of(pixels))
    top = output.answer_logits[0].softmax(0).max().item()
    assert answer["probabilities"][0]["probability"] == pytest.approx(top, abs=1e-4)
    assert (answer["image_width"], answer["image_height"]) == (300, 200)
    assert answer["sample"] is None


def test_a_referring_expression_gives_a_box(client, models):
    expression = "the cube left of the red sphere"
    ask = {**ASK, "question": expression, "model": "loc_gt_layout"}
    answer = post(client, ask).json()
    assert answer["task"] == "loc" and answer["answer"] is None and not answer["probabilities"]
    with Image.open(samples.FOLDER / "scene-01.jpg") as image:
        output = run(models / "loc_gt_layout.ckpt", expression, features_of(image))
    cell = output.cell_scores.argmax(dim=1)
    x, y, w, h = decode_boxes(cell, output.box_offset, torch.tensor([[480, 320]]), (14, 14))[0]
    box = answer["box"]
    left, top = max(x.item(), 0), max(y.item(), 0)
    assert (box["x"], box["y"]) == pytest.approx((left, top), abs=0.1)
    right, bottom = min((x + max(w, 1)).item(), 480), min((y + max(h, 1)).item(), 320)
    assert box["x"] + box["width"] == pytest.approx(right, abs=0.2)
    assert box["y"] + box["height"] == pytest.approx(bottom, abs=0.2)


@pytest.mark.parametrize(
    "question, task", [(QUESTION, "vqa"), ("is it red", "vqa"), ("the red cube", "loc")]
)
def test_a_joint_model_answers_and_finds(client, question, task):
    answer = post(client, {**ASK, "question": question, "model": "joint_gt_layout"}).json()
    assert answer["task"] == task and answer["answer"] and answer["box"]


def test_json_is_taken_too(client):
    answer = client.post("/api/predict", json=ASK)
    assert answer.status_code == 200
    assert answer.json()["steps"] == post(client).json()["steps"]


def test_models_samples_vocabulary_and_health(client):
    models = client.get("/api/models").json()
    assert [m["name"] for m in models] == [
        "vqa_gt_layout",
        "vqa_scratch",
        "loc_gt_layout",
        "joint_gt_layout",
    ]
    # Whoever asks waits until the model is there.
    post(client, {**ASK, "model": "joint_gt_layout", "question": QUESTION})
    models = client.get("/api/models").json()
    assert models[0]["default"] and not any(m["default"] for m in models[1:])
    assert models[3]["tasks"] == ["vqa", "loc"] and models[3]["state"] == "ready"
    assert client.get("/healthz").json()["status"] == "ok"
    found = client.get("/api/samples").json()
    assert len(found) >= 12
    for sample in found:
        assert client.get(sample["url"]).headers["content-type"] == "image/jpeg"
        for suggestion in sample["questions"] + sample["expressions"]:
            questions.read_question(suggestion["text"])
        # As the page sends them: it knows by the text which answer is true.
        assert all(suggestion["text"].endswith("?") for suggestion in sample["questions"])
    vocabulary = client.get("/api/vocabulary").json()
    assert vocabulary["words"] == list(QUESTION_WORDS)
    assert [module["name"] for module in vocabulary["modules"]] == list(MODULES)


def test_the_old_address_answers_in_its_old_shape(client):
    query = {"image_id": 0, "question_text": QUESTION}
    for gt, model in (("true", "vqa_gt_layout"), ("false", "vqa_scratch")):
        old = client.get("/model", params=query | {"gt": gt}).json()
        new = post(client, {**ASK, "model": model}).json()
        assert old["answer"] == new["answer"] and old["question_tokens"] == new["words"]
        assert old["modules"] == [step["module"] for step in new["steps"]]
        assert old["module_probs"] == [step["module_probabilities"] for step in new["steps"]]
        assert old["qattns"] == [step["word_attention"] for step in new["steps"]]
        assert old["iattns"] == [step["image_attention"] for step in new["steps"]]
    refused(client.get("/model", params=query | {"image_id": 99}), 404, "no_sample")
    refused(client.get("/model", params=query | {"image_id": "x"}), 422, "invalid")


def test_the_old_address_takes_the_joint_model_where_there_is_no_other(tmp_path):
    write_models(tmp_path, ["loc_gt_layout", "joint_gt_layout"])
    query = {"image_id": 0, "question_text": QUESTION}
    with TestClient(create_app(settings(tmp_path))) as client:
        old = client.get("/model", params=query | {"gt": "true"}).json()
        new = post(client, {**ASK, "model": "joint_gt_layout"}).json()
        assert old["module_probs"] == [step["module_probabilities"] for step in new["steps"]]
        refused(client.get("/model", params=query | {"gt": "false"}), 404, "no_model")


def test_questions_as_people_type_them(client):
    plain = post(client, {**ASK, "question": "What color is the gray cube?"}).json()
    for typed in (
        "What colour is the grey cube??",
        "\u201cWHAT COLOUR is the grey cube\uff1f\u201d",
    ):
        answer = post(client, {**ASK, "question": typed}).json()
        assert answer["words"] == plain["words"]
        assert answer["probabilities"] == plain["probabilities"]
        assert client.get("/api/check", params={"question": typed}).json()["unknown"] == []
    said = {**ASK, "question": "What is the sphere\u2019s colour?"}
    body = refused(post(client, said), 422, "unknown_word")
    assert [unknown["word"] for unknown in body["unknown"]] == ["sphere's"]


def test_uploads_are_opened_as_files_are():
    image = picture((480, 320))
    kinds = {name: file for name, file in grey_kinds(image).items() if "PNG" in name}
    kinds |= {name: file for name, file in hidden(image).items() if "TIFF" not in name}
    for name, file in kinds.items():
        shown = decode_image(file.getvalue(), max_pixels=1_000_000)
        assert np.array_equal(np.asarray(shown), np.asarray(open_image(file))), name


def test_a_turned_upload_counts_and_is_measured_as_it_is_seen(client):
    held = Image.Exif()
    held[0x0112] = 6
    data = image_bytes((200, 300), exif=held)
    answer = post(client, {"question": QUESTION}, image=("a.png", data, "image/png")).json()
    assert (answer["image_width"], answer["image_height"]) == (300, 200)


def test_an_empty_folder_serves_the_page(tmp_path):
    with TestClient(create_app(settings(tmp_path))) as client:
        assert client.get("/").status_code == 200
        refused(post(client), 404, "no_model")


def test_pages_need_no_other_host_and_no_inline_code(client):
    for path in ("/", "/docs"):
        page = client.get(path)
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        for forbidden in ("<script>", "<style", " style=", " onclick=", 'src="http', 'src="//'):
            assert forbidden not in page.text
    assert client.get("/openapi.json").headers["x-content-type-options"] == "nosniff"


def test_settings_come_from_the_environment(tmp_path):
    chosen = Settings.from_environment(
        {
            "SNMN_CHECKPOINTS": str(tmp_path),
            "SNMN_MAX_UPLOAD_MB": "3",
            "SNMN_MAX_MEGAPIXELS": "4",
            "SNMN_CONCURRENCY": "5",
            "SNMN_QUEUE": "6",
            "SNMN_UPLOAD_SECONDS": "7",
        }
    )
    assert chosen == Settings(tmp_path, 3_000_000, 4_000_000, 5, 6, 7)
    assert Settings.from_environment({}).checkpoints == BUNDLED
    with pytest.raises(SettingError, match="SNMN_QUEUE is 'no'"):
        Settings.from_environment({"SNMN_QUEUE": "no"})
    with pytest.raises(SettingError, match="SNMN_CHECKPOINTS is .*no folder"):
        Settings.from_environment({"SNMN_CHECKPOINTS": str(tmp_path / "absent")})


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("SNMN_CHECKPOINTS", "absent", "SNMN_CHECKPOINTS is 'absent', which is no folder"),
        ("SNMN_QUEUE", "no", "SNMN_QUEUE is 'no', must be a whole number from 1 on"),
        ("SNMN_MODULES", "_Find=a.B", "SNMN_MODULES: _Find is one of the nine modules"),
    ],
)
def test_a_wrong_setting_ends_the_server_with_one_sentence(monkeypatch, name, value, said):
    monkeypatch.setenv(name, value)
    monkeypatch.delitem(sys.modules, "server.main")
    with pytest.raises(SystemExit, match=f"^server.main: {said}"):
        importlib.import_module("server.main")


@pytest.mark.slow
def test_the_bundled_model_is_right_about_the_samples():
    """Most suggested questions of the bundled samples get their true answer."""
    with TestClient(create_app(Settings())) as client:
        asked = [
            (post(client, {"sample": s["id"], "question": q["text"]}).json()["answer"], q["answer"])
            for s in client.get("/api/samples").json()
            for q in s["questions"]
        ]
    assert np.mean([given == true for given, true in asked]) > 0.8, json.dumps(asked)
