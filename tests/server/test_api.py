"""The demo's API: answers, every refusal, and nothing written to disk."""

import json
import struct
import tempfile
import zlib

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from server import questions, samples
from server.images import decode_image
from server.main import create_app
from server.settings import SettingError, Settings
from snmn.backbones import build_backbone
from snmn.checkpoints.bundled import BUNDLED
from snmn.checkpoints.checkpoint import load_model
from snmn.common.boxes import decode_boxes
from snmn.common.vocabulary import ANSWERS, MODULES, QUESTION_WORDS, encode
from snmn.storage.image_files import open_image
from tests.helpers.image_kinds import grey_kinds, hidden, in_file, picture, unclear
from tests.helpers.tiny_server import image_bytes, settings, write_models

QUESTION = "How many cubes are there?"
ASK = {"sample": "scene-01", "question": QUESTION}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def client(models):
    with TestClient(create_app(settings(models, max_pixels=2_000_000))) as client:
        yield client


def post(client, data=None, **files):
    return client.post("/api/predict", data=ASK if data is None else data, files=files or None)


def refused(response, status, code):
    assert response.status_code == status, response.text
    body = response.json()
    assert body["code"] == code
    assert body["detail"].endswith((".", "?"))
    return body


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


def test_unknown_words_are_named_with_their_nearest(client):
    body = refused(
        post(client, {**ASK, "question": "How many cubs are grean?"}), 422, "unknown_word"
    )
    assert body["unknown"] == [
        {"word": "cubs", "nearest": ["cubes", "cube"]},
        {"word": "grean", "nearest": body["unknown"][1]["nearest"]},
    ]
    assert "green" in body["unknown"][1]["nearest"]
    assert '"cubs"' in body["detail"] and '"cubes"' in body["detail"]
    assert client.get("/api/check", params={"question": "many cubs"}).json()["unknown"] == [
        body["unknown"][0]
    ]
    assert client.get("/api/check", params={"question": QUESTION}).json()["unknown"] == []
    body = refused(post(client, {**ASK, "question": "<b>qqqq</b>"}), 422, "unknown_word")
    assert {"word": "qqqq", "nearest": []} in body["unknown"]


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


@pytest.mark.parametrize(
    "question, code",
    [("", "empty_question"), ("  ?", "empty_question")]
    + [("cube " * 61, "overlong_question"), ("a" * 501, "overlong_question")],
)
def test_questions_without_sense_are_refused(client, question, code):
    refused(post(client, {**ASK, "question": question}), 422, code)


def cut(data):
    return data[: len(data) // 2]


@pytest.mark.parametrize(
    "data, status, code",
    [
        (b"", 422, "empty_image"),
        (b"this is text", 415, "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "not_an_image"),
        (cut(image_bytes()), 422, "damaged_image"),
        (cut(image_bytes(kind="JPEG")), 422, "damaged_image"),
        (cut(image_bytes(kind="WEBP", lossless=True)), None, None),
        (image_bytes((8, 100)), 422, "tiny_image"),
        (image_bytes((1500, 1400), "JPEG"), 413, "too_many_pixels"),
    ],
)
def test_bad_images_are_refused(client, data, status, code, reliability):
    row = reliability(
        "Demo: uploads that are no images, damaged, or of no use",
        caused="one of each kind sent",
        sees="one sentence on what is wrong with the image",
    )
    with row.attempt():
        response = post(client, {"question": QUESTION}, image=("a", data, "image/png"))
        if status is None:  # Decoders differ in whether the header of such a file can be read.
            assert response.status_code in (415, 422)
        else:
            refused(response, status, code)


@pytest.mark.parametrize("kind", [k for k in unclear(picture()) if "TIFF" not in k])
def test_uploads_of_several_pictures_are_refused(client, kind):
    data = unclear(picture())[kind][0].getvalue()
    body = refused(
        post(client, {"question": QUESTION}, image=("a", data, "image/png")), 422, "unclear_image"
    )
    assert body["detail"].startswith("The uploaded image holds several images")


def test_uploads_of_a_kind_that_only_files_may_have_are_refused(client):
    """TIFF has more kinds than a decoder should meet from strangers."""
    data = in_file(picture(), "TIFF").getvalue()
    response = post(client, {"question": QUESTION}, image=("a", data, "image/tiff"))
    refused(response, 415, "not_an_image")


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


def huge_png(side=20_000) -> bytes:
    """A valid PNG of side x side black pixels in some 50 KB."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    rows = zlib.compress(b"\0" * (1 + side // 8) * side)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


def test_a_huge_image_is_refused_before_it_is_decoded(client, monkeypatch, reliability):
    def decode(*_):
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decode)
    row = reliability(
        "Demo: decompression bomb",
        caused="a PNG of 50 KB with 400 megapixels sent",
        sees='"too many pixels"; it is never decoded',
    )
    with row.attempt():
        response = post(client, {"question": QUESTION}, image=("a.png", huge_png(), "image/png"))
        refused(response, 413, "too_many_pixels")


def test_a_large_body_is_refused_and_the_server_keeps_serving(client, reliability):
    row = reliability(
        "Demo: requests larger than the limit",
        caused="50 MB sent, and 10 MB of unannounced length",
        sees='"larger than 8 MB"; others are served',
    )
    with row.attempt():
        body = b"\0" * 50_000_000
        response = post(client, {"question": QUESTION}, image=("a.png", body, "image/png"))
        assert "8 MB" in refused(response, 413, "too_large")["detail"]

        def chunks():  # Without a Content-Length.
            for _ in range(10):
                yield b"\0" * 1_000_000

        refused(
            client.post(
                "/api/predict", content=chunks(), headers={"content-type": "application/json"}
            ),
            413,
            "too_large",
        )
        assert post(client).status_code == 200


@pytest.mark.parametrize(
    "changes, status, code",
    [
        ({"model": "vqa_gt_layouts"}, 404, "no_model"),
        ({"model": "../vqa_gt_layout"}, 404, "no_model"),
        ({"sample": "scene-99"}, 404, "no_sample"),
        ({"sample": "../models/vqa_gt_layout"}, 404, "no_sample"),
        ({"sample": ""}, 422, "which_image"),
        ({"colour": "red"}, 422, "invalid"),
        ({"image": "text"}, 422, "not_a_file"),
    ],
)
def test_wrong_fields_are_refused(client, changes, status, code, reliability):
    row = reliability(
        "Demo: wrong fields, names with paths in them",
        caused="names of models and samples that lead out of their folders; unknown, false fields",
        sees="one sentence that names the field, model or sample",
    )
    with row.attempt():
        refused(post(client, ASK | changes), status, code)


def test_other_wrong_bodies_are_refused(client):
    file = ("a.png", image_bytes(), "image/png")
    refused(post(client, ASK, image=file), 422, "which_image")
    refused(post(client, {"sample": "scene-01"}), 422, "invalid")
    refused(post(client, {}, question=file), 422, "not_text")
    url = "/api/predict"
    refused(
        client.post(url, content=b"x", headers={"content-type": "text/plain"}), 415, "body_type"
    )
    refused(
        client.post(url, content=b"{", headers={"content-type": "application/json"}), 400, "json"
    )
    form = {"content-type": "multipart/form-data"}
    refused(client.post(url, content=b"x", headers=form), 400, "form")
    form = {"content-type": "multipart/form-data; boundary=b"}
    refused(client.post(url, content=b"nonsense", headers=form), 400, "form")
    refused(client.get(url), 405, "http")
    refused(client.get("/nowhere"), 404, "http")


def test_a_slow_body_is_refused(models, reliability):
    import anyio
    import httpx

    async def drip():
        for _ in range(100):
            yield b"x"
            await anyio.sleep(0.1)

    async def ask(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://demo") as client:
            kind = {"content-type": "application/json"}
            return await client.post("/api/predict", content=drip(), headers=kind)

    row = reliability(
        "Demo: slow upload",
        caused="a body of which one byte comes at a time",
        sees="408 after SNMN_UPLOAD_SECONDS",
    )
    with row.attempt():
        app = create_app(settings(models, upload_seconds=0.3))
        refused(anyio.run(ask, app), 408, "slow")


def test_a_client_that_leaves_in_the_middle_is_no_error(models, reliability):
    import anyio

    arriving = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]
    sent = []

    async def receive():
        return arriving.pop(0)

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"demo"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/api/predict", "headers": headers}
    scope |= {"query_string": b"", "http_version": "1.1", "scheme": "http"}
    row = reliability(
        "Demo: client leaves",
        caused="connection closed in the middle of a request",
        sees="nothing; nothing is logged as an error",
    )
    with row.attempt():
        anyio.run(create_app(settings(models)), scope, receive, send)
        assert sent[0]["status"] == 400


def test_more_than_may_wait_are_refused(models, reliability):
    row = reliability(
        "Demo: more questions than may wait",
        caused="a full queue",
        sees='"busy", 429, and when to come again',
    )
    with row.attempt():
        app = create_app(settings(models))
        with TestClient(app) as client:
            assert post(client).status_code == 200
            app.state.engine._waiting = 1000
            response = post(client)
            refused(response, 429, "busy")
            assert response.headers["retry-after"] == "1"


def test_a_damaged_checkpoint_does_not_stop_the_others(models, tmp_path, reliability):
    row = reliability(
        "Demo: a damaged checkpoint, a wrong card",
        caused="text in place of a checkpoint; a card that names another backbone",
        sees="these models cannot be chosen, all others answer",
    )
    with row.attempt():
        write_models(tmp_path, ["vqa_scratch"])
        (tmp_path / "vqa_gt_layout.ckpt").write_bytes(b"nonsense")
        write_models(tmp_path, ["loc_gt_layout"], card={"features": "resnet101_c4"})
        with TestClient(create_app(settings(tmp_path))) as client:
            assert post(client, {**ASK, "model": "vqa_scratch"}).status_code == 200
            for name in ("vqa_gt_layout", "loc_gt_layout"):
                body = refused(post(client, {**ASK, "model": name}), 409, "not_ready")
                assert "log" in body["detail"] and str(tmp_path) not in body["detail"]
            assert post(client).json()["model"] == "vqa_scratch"
            assert client.get("/healthz").json() == {"status": "ok", "ready": ["vqa_scratch"]}


def test_an_empty_folder_serves_the_page(tmp_path):
    with TestClient(create_app(settings(tmp_path))) as client:
        assert client.get("/").status_code == 200
        refused(post(client), 404, "no_model")


def test_nothing_is_written_to_disk(client, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def rollover(*_):
        raise AssertionError("a file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", rollover)
    data = image_bytes((1000, 900))
    assert len(data) > 2_000_000
    assert post(client, {"question": QUESTION}, image=("a.png", data)).status_code == 200
    response = post(client, {"question": QUESTION}, image=("a.png", data[:-9000]))
    refused(response, 422, "damaged_image")
    assert list(tmp_path.iterdir()) == []


def test_pages_need_no_other_host_and_no_inline_code(client):
    for path in ("/", "/docs"):
        page = client.get(path)
        assert page.status_code == 200
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        for forbidden in ("<script>", "<style", " style=", " onclick=", 'src="http', 'src="//'):
            assert forbidden not in page.text
    assert client.get("/openapi.json").headers["x-content-type-options"] == "nosniff"


def test_what_cards_say_is_escaped(tmp_path):
    write_models(tmp_path, ["vqa_scratch"])
    (tmp_path / "vqa_scratch.ckpt").rename(tmp_path / "<img src=x>.ckpt")
    with TestClient(create_app(settings(tmp_path))) as client:
        page = client.get("/").text
    assert "<img src=x>" not in page and "&lt;img src=x&gt;" in page


def test_paths_do_not_leave_their_folders(client, reliability):
    row = reliability(
        "Demo: path traversal",
        caused="addresses with `..`, plain and encoded",
        sees="404",
    )
    with row.attempt():
        for path in ("/static/../main.py", "/static/%2e%2e/main.py", "/samples/..%2f..%2fmain.py"):
            assert client.get(path).status_code == 404


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


def test_the_bundled_model_is_right_about_the_samples():
    """Most suggested questions of the bundled samples get their true answer."""
    with TestClient(create_app(Settings())) as client:
        asked = [
            (post(client, {"sample": s["id"], "question": q["text"]}).json()["answer"], q["answer"])
            for s in client.get("/api/samples").json()
            for q in s["questions"]
        ]
    assert np.mean([given == true for given, true in asked]) > 0.8, json.dumps(asked)
