"""What the demo refuses, how it says so, and that nothing comes of it."""

import struct
import tempfile
import zlib

import pytest
from fastapi.testclient import TestClient

from server.answering import engine
from server.main import create_app
from snmn.backbones import build_backbone
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.storage.torch_file import write_torch_file
from tests.helpers.image_kinds import in_file, picture, unclear
from tests.helpers.tiny.server import (
    ASK,
    QUESTION,
    image_bytes,
    post,
    refused,
    settings,
    write_models,
)


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


@pytest.mark.slow
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


def test_a_model_of_features_of_other_weights_does_not_stop_the_others(tmp_path):
    write_models(tmp_path, ["vqa_scratch", "vqa_gt_layout"])
    path = tmp_path / "vqa_gt_layout.ckpt"
    made_with = {"backbone": "cellnet", "weights_sha256": "0" * 64}
    write_torch_file(path, read_checkpoint(path) | {"features": made_with})
    with TestClient(create_app(settings(tmp_path))) as client:
        assert post(client, {**ASK, "model": "vqa_scratch"}).status_code == 200
        refused(post(client, {**ASK, "model": "vqa_gt_layout"}), 409, "not_ready")
        assert client.get("/healthz").json() == {"status": "ok", "ready": ["vqa_scratch"]}


def test_models_of_one_backbone_share_it_and_the_samples_features(tmp_path, monkeypatch):
    write_models(tmp_path, ["vqa_scratch", "vqa_gt_layout"])
    path = tmp_path / "vqa_gt_layout.ckpt"
    made_with = build_backbone("cellnet").attributes
    write_torch_file(path, read_checkpoint(path) | {"features": made_with})
    built = []

    def build(*arguments, **options):
        built.append(arguments)
        return build_backbone(*arguments, **options)

    monkeypatch.setattr(engine, "build_backbone", build)
    with TestClient(create_app(settings(tmp_path))) as client:
        for model in ("vqa_scratch", "vqa_gt_layout"):
            assert post(client, {**ASK, "model": model}).status_code == 200
    assert built == [("cellnet",)]


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
