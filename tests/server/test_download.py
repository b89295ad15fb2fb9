"""Published models: fetched once, verified, and nothing left of a failed download."""

import hashlib
import http.server
import json
import threading
import time
from functools import partial

import pytest
from fastapi.testclient import TestClient

from server.download import DownloadError, download
from server.main import create_app
from tests.helpers.tiny.server import settings, write_models

ASK = {"sample": "scene-01", "question": "How many cubes are there?"}


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.path == "/short":  # Fewer bytes than announced.
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
        else:
            super().do_GET()


@pytest.fixture
def web(tmp_path):
    """A web server of a folder: (address, folder)."""
    folder = tmp_path / "web"
    folder.mkdir()
    handler = partial(Quiet, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", folder
        server.shutdown()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_a_download_is_whole_and_tells_its_progress(web, tmp_path):
    address, folder = web
    data = bytes(range(256)) * 1000
    (folder / "model").write_bytes(data)
    shares = []
    target = tmp_path / "here" / "model.ckpt"
    download(f"{address}/model", sha256(data).upper(), target, progress=shares.append)
    assert target.read_bytes() == data
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1 and len(shares) > 3
    assert [path.name for path in target.parent.iterdir()] == ["model.ckpt"]


@pytest.mark.parametrize(
    "path, message",
    [
        ("/model", "SHA-256"),
        ("/short", "ended after 10 of 1000 bytes|IncompleteRead"),
        ("/absent", "404"),
    ],
)
def test_a_failed_download_leaves_nothing_behind(web, tmp_path, path, message, reliability):
    address, folder = web
    (folder / "model").write_bytes(b"tampered")
    here = tmp_path / "here"
    here.mkdir()
    row = reliability(
        "Demo: a download that fails",
        caused="other bytes than announced, a connection that ends early, no such file",
        sees="one sentence; an older file stays, no part of the new one is left",
    )
    with row.attempt():
        with pytest.raises(DownloadError, match=message):
            download(address + path, sha256(b"true"), here / "model.ckpt")
        assert list(here.iterdir()) == []
        (here / "model.ckpt").write_bytes(b"older")
        with pytest.raises(DownloadError):
            download(address + path, sha256(b"true"), here / "model.ckpt")
        assert (here / "model.ckpt").read_bytes() == b"older"


def test_only_web_addresses_are_fetched(tmp_path, reliability):
    secret = tmp_path / "secret"
    secret.write_bytes(b"x")
    row = reliability(
        "Demo: a card that names a local file for download",
        caused="an address that begins with `file:`",
        sees="one sentence; the file is not read",
    )
    with row.attempt():
        with pytest.raises(DownloadError, match="not a web address"):
            download(secret.as_uri(), sha256(b"x"), tmp_path / "model.ckpt")
        with pytest.raises(DownloadError, match="cannot be downloaded"):
            download("http://127.0.0.1:9/model", sha256(b"x"), tmp_path / "model.ckpt")


def until(client, state):
    """The only model once it is in a state."""
    while (model := client.get("/api/models").json()[0])["state"] != state:
        time.sleep(0.02)
    return model


@pytest.mark.slow
def test_a_published_model_is_downloaded_when_asked_for(web, tmp_path):
    address, folder = web
    write_models(folder, ["vqa_scratch"])
    data = (folder / "vqa_scratch.ckpt").read_bytes()
    here = tmp_path / "here"
    here.mkdir()
    card = {"features": "cellnet", "url": f"{address}/vqa_scratch.ckpt", "sha256": sha256(b"other")}
    (here / "vqa_scratch.json").write_text(json.dumps(card))
    with TestClient(create_app(settings(here))) as client:
        assert client.get("/api/models").json()[0]["state"] == "published"
        refused = client.post("/api/predict", data=ASK)
        assert refused.status_code == 409 and "downloaded first" in refused.json()["detail"]
        assert client.post("/api/models/other/download").status_code == 404

        assert client.post("/api/models/vqa_scratch/download").status_code == 202
        assert "SHA-256" in until(client, "published")["message"]
        assert [path.name for path in here.iterdir()] == ["vqa_scratch.json"]

        card["sha256"] = sha256(data)
        (here / "vqa_scratch.json").write_text(json.dumps(card))
        client.app.state.engine.entries["vqa_scratch"].card["sha256"] = sha256(data)
        assert client.post("/api/models/vqa_scratch/download").status_code == 202
        until(client, "ready")
        assert client.post("/api/predict", data=ASK).status_code == 200
        assert client.post("/api/models/vqa_scratch/download").status_code == 409
    assert (here / "vqa_scratch.ckpt").read_bytes() == data
