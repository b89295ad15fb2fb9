"""What the repository says of itself: paths and modules that its texts name, versions, rooms."""

import ast
import fnmatch
import re
import sys
from importlib import import_module
from importlib.util import find_spec

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from setuptools import find_packages

from tests.helpers.paths import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:  # pytest brings it along.
    import tomli as tomllib

TEXTS = sorted(
    path
    for pattern in (
        "*.md",
        "docs/*.md",
        "docs/*.ipynb",
        "benchmarks/*.md",
        "Makefile",
        "Dockerfile",
    )
    for path in [*ROOT.glob(pattern), *ROOT.glob(f".ci/{pattern}")]
) + [ROOT / "Procfile", ROOT / "requirements.txt", ROOT / "dev-requirements.txt", ROOT / ".ci/run"]
ROOMS = "snmn|clevr_prep|server|tests|benchmarks|docs|configs"
PATH = re.compile(rf"(?<![\w./-])(?:{ROOMS})/[\w./*{{}},-]*\w")
DOTTED = re.compile(r"(?<![\w./:-])(?:snmn|clevr_prep|server|benchmarks)(?:\.\w+)+(?![\w/])")
BARE = re.compile(r"(?<![\w./-])[a-z0-9_]+\.(?:py|yaml)\b")
# Files that a text has its reader write: blocks whose first line names them.
WRITTEN = re.compile(r"^```\w+\n# ([a-z0-9_]+\.(?:py|yaml))$", re.MULTILINE)
# What the commands of the texts make or download.
MADE = ("clevr_prep/clevr_*", "clevr_prep/data/features*", "clevr_prep/data/imdb*", "*NAME*")


def matches(path: str) -> bool:
    """Does a path, which may have ``*``, ``{a,b}`` and ``::test``, lead to something?"""
    choice = re.search(r"\{([^}]*)\}", path)
    if choice:
        options = choice[1].split(",")
        return all(matches(path.replace(choice[0], option, 1)) for option in options)
    return any(ROOT.glob(path.rstrip("/")))


def importable(name: str) -> bool:
    """Is a dotted name a module, or something in one?"""
    module, attributes = name, []
    while not _is_module(module):
        module, _, attribute = module.rpartition(".")
        attributes.insert(0, attribute)
        if not module:
            return False
    found = import_module(module) if attributes else None
    for attribute in attributes:
        if not hasattr(found, attribute):
            return False
        found = getattr(found, attribute)
    return True


def _is_module(name: str) -> bool:
    try:
        return bool(name) and find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def missing(text: str) -> set[str]:
    """Paths, file names and dotted names of the project in a text that nothing answers to."""
    names = {path.name for path in project_files()} | set(WRITTEN.findall(text))
    paths = {
        found
        for found in PATH.findall(text)
        if not any(fnmatch.fnmatch(found, made) for made in MADE)
    }
    return (
        {found for found in paths if not matches(found)}
        | {found for found in DOTTED.findall(text) if not importable(found)}
        | {found for found in BARE.findall(text) if found not in names}
    )


def project_files():
    folders = [ROOT / name for name in ROOMS.split("|")]
    return [*ROOT.glob("*.py"), *(path for folder in folders for path in folder.rglob("*.*"))]


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_paths_and_modules_that_a_text_names_exist(text):
    assert missing(text.read_text()) == set()


@pytest.mark.parametrize(
    "stale",
    ["snmn/explanation.py", "`snmn.explanation`", "snmn.build_modell", "`modells.py`"]
    + ["tests/{data,nowhere}", "configs/nothing_*.yaml", "python -m clevr_prep.nothing"],
)
def test_a_stale_name_is_found(stale):
    assert missing(f"See {stale}, or snmn/network/nmn.py and tests/{{data,docs}}.")


def test_links_of_texts_lead_somewhere():
    for text in TEXTS:
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", text.read_text()):
            assert (text.parent / target).exists(), (text, target)


def declared(name: str) -> dict[str, Requirement]:
    lines = (line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines())
    return {canonicalize_name(one.name): one for one in map(Requirement, filter(None, lines))}


# Distributions whose modules are called otherwise, what comes with a declared one and is part of
# how that is used, and what only a message asks for.
CALLED = {"PIL": "pillow", "yaml": "pyyaml"}
BROUGHT = {"lightning_fabric", "pydantic", "starlette", "anyio"}
ON_REQUEST = {"hdf5plugin", "safetensors", "tensorflow"}


def test_what_is_imported_is_declared():
    declared = {
        canonicalize_name(Requirement(line).name)
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    files = [ROOT / f"{name}.py" for name in ("config", "train", "test")]
    for room in ("snmn", "clevr_prep", "server"):
        files += (ROOT / room).rglob("*.py")
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module] if isinstance(node, ast.ImportFrom) else []
            names += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            for name in {name.partition(".")[0] for name in names}:
                ours = (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file()
                if ours or name in {*sys.stdlib_module_names, *BROUGHT, *ON_REQUEST}:
                    continue
                found = canonicalize_name(CALLED.get(name, name))
                assert found in declared, f"{path} imports {name}"


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12", "3.13"])
def test_each_requirement_has_one_tested_version(python):
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    tested = {}
    for one in map(Requirement, (line for line in lines if not line.startswith("#"))):
        if one.marker is None or one.marker.evaluate({"python_version": python}):
            assert one.name not in tested
            (tested[canonicalize_name(one.name)],) = one.specifier
    for file in ("requirements.txt", "dev-requirements.txt"):
        for name, requirement in declared(file).items():
            assert tested[name].operator == "=="
            assert requirement.specifier.contains(tested[name].version)


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["cff-version"] == "1.2.0"
    # A plain 0.1 would be read as a number.
    assert isinstance(citation["version"], str)
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{citation["version"]}"' in project
    assert citation["license"] == re.search(r'^license = "(.*)"', project, re.MULTILINE)[1]
    assert citation["preferred-citation"]["year"] == 2018


def test_each_room_is_on_the_map():
    """The README's list of rooms is that of the folders."""
    page = (ROOT / "README.md").read_text()
    chapter = page.split("## Where things are\n")[1]
    for package in ("snmn", "clevr_prep"):
        rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
        assert {room for room in rooms if f"`{room}`" not in chapter} == set()
    for folder in ROOMS.split("|"):
        assert f"`{folder}/`" in chapter


def imported_rooms(path) -> set[str]:
    """Rooms of the project that a test file imports: ``snmn/data``, ``clevr_prep/truth``, ..."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            package, _, rest = name.partition(".")
            rooms.add(f"{package}/{rest.split('.')[0]}" if package != "server" else package)
    return rooms


def test_the_fast_loop_touches_every_room():
    """Each room is imported by a test file some tests of which are not slow."""
    rooms = {"server"} | {
        f"{package}/{path.parent.name}"
        for package in ("snmn", "clevr_prep")
        for path in (ROOT / package).glob("*/__init__.py")
    }
    touched = set()
    for path in (ROOT / "tests").rglob("test_*.py"):
        if has_fast_test(path):
            touched |= imported_rooms(path)
    assert rooms - touched == set()


def has_fast_test(path) -> bool:
    """Has a file a test function without the mark ``slow``?"""
    tree = ast.parse(path.read_text())
    marks = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign)]
    return not any(mark.startswith("pytestmark") and "slow" in mark for mark in marks) and any(
        isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and not any("slow" in ast.unparse(mark) for mark in node.decorator_list)
        for node in tree.body
    )


def test_an_installed_package_has_all_its_files():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    found = find_packages(str(ROOT), include=settings["packages"]["find"]["include"])
    for package in ("snmn", "clevr_prep", "server"):
        folder = ROOT / package
        assert {p.parent for p in folder.rglob("*.py")} == {
            ROOT / name.replace(".", "/") for name in found if name.split(".")[0] == package
        }
    data = {
        path
        for package, patterns in settings["package-data"].items()
        for pattern in patterns
        for path in (ROOT / package.replace(".", "/")).glob(pattern)
    }
    others = {
        path
        for package in ("snmn", "server")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert others - data == set()
