"""Imports run in one direction: what pyproject.toml's contracts hold, and what they cannot see."""

import ast
import os
import shutil
import subprocess
import sys

import pytest

from tests.helpers.paths import ROOT

PACKAGES = ("snmn", "clevr_prep", "server", "benchmarks")
# What each of the modules at the top may import of the project.
TOP = {
    "config": {"snmn"},
    "train": {"snmn", "clevr_prep", "config"},
    "test": {"snmn", "clevr_prep", "config", "server"},
}

_LINT = """
import sys
from importlinter.cli import lint_imports
sys.exit(lint_imports(no_cache=True, no_logo=True))
"""


def lint(folder):
    """The linter's exit status and output in a folder, of its files alone."""
    environment = os.environ | {"COLUMNS": "200", "PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-c", _LINT],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout + done.stderr


def imports(path):
    """Names of the modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relative to itself"
            inside = ROOT.joinpath(*node.module.split("."))
            for name in node.names:
                is_module = (inside / f"{name.name}.py").is_file() or (inside / name.name).is_dir()
                yield f"{node.module}.{name.name}" if is_module else node.module


def test_names_are_imported_from_where_they_are_defined():
    files = [ROOT / f"{name}.py" for name in TOP]
    for folder in (*PACKAGES, "tests"):
        files += (ROOT / folder).rglob("*.py")
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}

    def passed_on(module):
        """Names that a module of ours only imports; a package is what it offers."""
        tree = trees.get(ROOT.joinpath(*module.split(".")).with_suffix(".py"))
        imported = [node for node in tree.body if isinstance(node, ast.ImportFrom)] if tree else []
        return {(name.asname or name.name): node.module for node in imported for name in node.names}

    for path, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                origins = passed_on(node.module)
                for name in node.names:
                    origin = origins.get(name.name, "")
                    ours = origin.partition(".")[0] in {*PACKAGES, *TOP, "tests"}
                    assert not ours, f"{path.relative_to(ROOT)}: {name.name} is from {origin}"


def test_the_order_of_imports_holds():
    status, printed = lint(ROOT)
    assert status == 0, printed


# Of every kind of wrong import one, in a file, and how the linter names it.
WRONG = [
    ("snmn/common/boxes.py", "import snmn.network.stack"),
    ("snmn/storage/locks.py", "from snmn.data.imdb import Imdb"),
    ("snmn/data/batch.py", "import snmn.network.stack"),
    ("snmn/figures/canvas.py", "import snmn.training.metrics"),
    ("snmn/evaluation/intervals.py", "from snmn import predict"),
    ("snmn/network/heads.py", "import clevr_prep.clevr.programs"),
    ("snmn/training/losses.py", "import config"),
    ("snmn/export.py", "import server.settings"),
    ("snmn/convert.py", "import test"),
    ("clevr_prep/workers.py", "import server.routes.api"),
    ("clevr_prep/clevr/programs.py", "import clevr_prep.truth.annotations"),
    ("clevr_prep/synthetic/render/camera.py", "import clevr_prep.synthetic.language.grammar"),
    ("clevr_prep/synthetic/scenes/compact_scenes.py", "import clevr_prep.synthetic.dataset"),
    ("server/errors.py", "import benchmarks.step"),
]
CYCLE = ("snmn/storage/plain_yaml.py", "import snmn.storage.typed_settings")


@pytest.mark.parametrize("kind", ["plain", "for type checkers", "inside a function"])
def test_wrong_imports_are_found(tmp_path, kind):
    for name in PACKAGES:
        for path in (ROOT / name).rglob("*.py"):
            copied = tmp_path / path.relative_to(ROOT)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, copied)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    before = {
        "plain": "",
        "for type checkers": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    ",
        "inside a function": "def _late():\n    ",
    }[kind]
    for path, statement in (*WRONG, CYCLE):
        with (tmp_path / path).open("a", encoding="utf-8") as file:
            file.write(f"\n{before}{statement}\n")
    status, printed = lint(tmp_path)
    assert status == 1
    for path, statement in WRONG:
        importer = path.removesuffix(".py").replace("/", ".")
        imported = statement.split()[1]
        if statement.endswith(" predict"):
            imported += ".predict"
        assert f" {importer} -> {imported} (l." in printed, printed
    assert "No cycles are allowed in snmn.storage" in printed


@pytest.mark.parametrize("name", TOP)
def test_the_modules_at_the_top_import_from_below(name):
    project = {*PACKAGES, *TOP, "tests"}
    used = {module.partition(".")[0] for module in imports(ROOT / f"{name}.py")}
    assert used & project <= TOP[name]


def test_no_module_imports_from_its_own_front_door():
    """Through a package's names a module would import itself, which no contract forbids."""
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            inside = path.relative_to(ROOT).with_suffix("").parts
            doors = {".".join(inside[:depth]) for depth in range(1, len(inside))}
            assert not doors & set(imports(path)), path
