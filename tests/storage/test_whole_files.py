import errno
import os
import subprocess
import sys

import pytest

import snmn
from snmn.storage.whole_files import PARTIAL_SUFFIX, replacing
from tests.helpers.paths import ROOT


def test_a_file_appears_whole(tmp_path):
    path = tmp_path / "folder" / "card.json"
    with replacing(path) as partial:
        partial.write_text("{}")
        assert not path.exists()
    assert path.read_text() == "{}"
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file(tmp_path):
    path = tmp_path / "card.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as partial:
        partial.write_text("ne")
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_names_the_file(tmp_path):
    path = tmp_path / "card.json"
    with pytest.raises(OSError, match=f"No space left on device: '{path}'"), replacing(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    missing = tmp_path / "missing"
    with pytest.raises(FileNotFoundError, match=f"'{missing}'"), replacing(path):
        missing.read_text()


def test_remains_of_a_killed_program_are_overwritten(tmp_path):
    path = tmp_path / "card.json"
    path.with_name(path.name + PARTIAL_SUFFIX).write_text("a longer half")
    with replacing(path) as partial:
        partial.write_text("new")
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
def test_the_package_loads_the_model_only_when_asked():
    code = "import sys, snmn, snmn.data.imdb, snmn.data.feature_store; "
    code += "assert 'torch' not in sys.modules; "
    code += "from snmn import build_model; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    assert set(snmn.__all__) <= set(dir(snmn))
    for name in snmn.__all__:
        assert getattr(snmn, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = snmn.nothing
