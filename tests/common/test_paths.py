"""File names as systems and people leave them."""

import pytest

from server.catalogue import read_catalogue
from snmn.checkpoints import bundled
from snmn.common.commands import run
from snmn.common.paths import visible_files
from snmn.training.resuming.newest_checkpoint import newest_checkpoint
from tests.helpers.tiny.server import write_models

NAME = "vqa_gt_layout"


def test_what_a_mac_leaves_beside_models_is_no_model(tmp_path, monkeypatch):
    write_models(tmp_path, [NAME])
    published = '{"url": "http://127.0.0.1/x.ckpt", "sha256": "00"}'
    for hidden in (f"._{NAME}.ckpt", "._other.ckpt"):
        (tmp_path / hidden).write_bytes(b"\0\5\x16\7")
    for hidden in (f"._{NAME}.json", "._other.json", ".other.json"):
        (tmp_path / hidden).write_text(published)
    assert list(read_catalogue(tmp_path)) == [NAME]
    monkeypatch.setattr(bundled, "BUNDLED", tmp_path)
    assert bundled.bundled_names() == [NAME]
    assert newest_checkpoint(tmp_path) == tmp_path / f"{NAME}.ckpt"


def test_visible_files_are_sorted(tmp_path):
    for name in ("b.npy", "a.npy", "._a.npy", ".b.npy", "a.png"):
        (tmp_path / name).touch()
    assert [path.name for path in visible_files(tmp_path, "*.npy")] == ["a.npy", "b.npy"]
    assert visible_files(tmp_path / "nowhere", "*.npy") == []


def test_a_file_that_is_not_there_is_named_first():
    def command():
        open("no/file")

    with pytest.raises(SystemExit) as end:
        run(command, "snmn.predict")
    assert end.value.code == "snmn.predict: no/file: No such file or directory"
