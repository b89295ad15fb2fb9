"""A step is done once for the same things, and goes on where it was stopped."""

import json
import signal
import subprocess

import pytest

from benchmarks.reproduce import steps
from benchmarks.reproduce.steps import ReproduceError, Step, is_code_of_today, run_step
from snmn.common.errors import Interrupted

WRITE = "import sys; open(sys.argv[1], 'a').write('made ')"


@pytest.fixture
def step(tmp_path):
    """Makes a step that appends to a file, of what its keywords say."""
    (tmp_path / "read").write_text("what it is made from")

    def build(code=WRITE, **more):
        made = tmp_path / "made"
        given = {"reads": (tmp_path / "read",), "record": tmp_path / "notes" / "step.json"}
        return Step("a step", ("-c", code, str(made)), (made,), **(given | more))

    return build


def runs(step) -> int:
    """How often it has been run when it is to be done once more."""
    run_step(step)
    return step.makes[0].read_text().count("made")


def test_once_for_the_same_things(step, tmp_path):
    assert not step().is_done()
    assert runs(step()) == runs(step()) == 1 and step().is_done()
    assert step().minutes() >= 0
    (tmp_path / "read").write_text("something else")
    assert step().minutes() is None  # Of something else.
    assert runs(step()) == runs(step()) == 2
    assert runs(step(settings={"LR": 1})) == 3
    before = step(record=tmp_path / "before.json", settings={"images": 3})
    assert runs(step(after=(before,))) == runs(step(after=(before,))) == 4


def test_again_when_what_it_made_is_another_or_gone(step, tmp_path):
    assert runs(step()) == 1
    (tmp_path / "made").write_text("made by somebody")
    assert runs(step()) == 2
    (tmp_path / "made").unlink()
    assert runs(step()) == 1
    (tmp_path / "notes" / "step.json").write_text("{damaged")
    assert runs(step()) == 2


def test_files_in_a_folder_are_noticed(tmp_path):
    folder = tmp_path / "folder"
    code = "import sys, pathlib; p = pathlib.Path(sys.argv[1]); p.mkdir(exist_ok=True); "
    code += "(p / 'shard').write_text('features'); (p / '.lock').touch()"
    step = Step("a step", ("-c", code, str(folder)), (folder,), tmp_path / "step.json")
    run_step(step)
    (folder / ".lock").unlink()
    assert step.is_done()
    (folder / "shard").write_text("cut")
    assert not step.is_done()


def test_what_it_replaces_goes_when_it_begins_anew_alone(step, tmp_path):
    old = tmp_path / "card.json"
    code = f"import pathlib, sys; assert not pathlib.Path({str(old)!r}).exists(); {WRITE}"
    old.write_text("of another file")
    run_step(step(code, replaces=(old,)))
    old.write_text("of this file")
    (tmp_path / "made").unlink()
    with pytest.raises(ReproduceError, match="a step ended with status 1"):
        run_step(step(code, replaces=(old,)))
    assert old.read_text() == "of this file"


def test_one_that_fails_or_makes_nothing_is_not_done(step):
    with pytest.raises(ReproduceError, match="status 3, as it says above; put that right"):
        run_step(step("raise SystemExit(3)"))
    with pytest.raises(ReproduceError, match="ended without having made .*made"):
        run_step(step("pass"))
    assert not step("pass").is_done() and step("pass").minutes() >= 0


def test_ctrl_c_reaches_it_once_and_its_time_counts(step, tmp_path, monkeypatch):
    told = tmp_path / "told"
    code = f"""
import pathlib, signal, sys, time
def stop(*_):
    with open({str(told)!r}, "a") as file:
        file.write("stop ")
    sys.exit(130)
signal.signal(signal.SIGINT, stop)
pathlib.Path({str(tmp_path / "begun")!r}).touch()
time.sleep(600)
"""
    monkeypatch.setattr(steps, "_EVERY", 0.01)
    call = steps._call

    def interrupted(command, note):
        def look(*made):
            note(*made)
            if (tmp_path / "begun").exists() and not told.exists():
                raise KeyboardInterrupt

        return call(command, look)

    monkeypatch.setattr(steps, "_call", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_step(step(code))
    assert told.read_text() == "stop "
    record = json.loads(step(code).record.read_text())
    assert record["made"] is None and record["minutes"] >= 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_command_that_was_stopped_by_itself_stops_all(step, number):
    code = f"import os; os.kill(os.getpid(), {int(number)})"
    with pytest.raises(Interrupted, match="the same command goes on") as stopped:
        run_step(step(f"import signal; signal.signal({int(number)}, signal.SIG_DFL); {code}"))
    assert stopped.value.status == 128 + number


def test_which_code_is_todays(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "ROOT", tmp_path)

    def git(*arguments):
        told = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(told, cwd=tmp_path, capture_output=True, text=True, check=True).stdout

    assert not is_code_of_today("c3a7117", ("snmn",))
    git("init", "-q")
    for name in ("snmn", "docs"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "first")
    commit = git("rev-parse", "HEAD").strip()
    assert is_code_of_today(commit, ("snmn",))
    assert not is_code_of_today(f"{commit}-dirty", ("snmn",))
    assert not is_code_of_today("unknown", ("snmn",)) and not is_code_of_today(None, ("snmn",))
    (tmp_path / "docs" / "file.py").write_text("2")
    assert is_code_of_today(commit, ("snmn",))
    (tmp_path / "snmn" / "file.py").write_text("2")
    assert not is_code_of_today(commit, ("snmn",))
    git("commit", "-qam", "second")
    assert not is_code_of_today(commit, ("snmn",))
