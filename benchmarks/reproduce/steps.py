"""Steps, each a command of the project, that are done once for the same things.

A step leaves a record of what it was made from: its command, the contents of the files that it
reads, its settings, and the steps before it. While that stays the same, and what it made is there
as it left it, it is not done again. Each command goes on by itself where it was interrupted. What
older code made counts as well; the record has its commit.
"""

import hashlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from snmn.checkpoints.checkpoint import code_version
from snmn.common.errors import INTERRUPTED, TERMINATED, Interrupted, UserError
from snmn.common.paths import visible_files
from snmn.storage.checksums import file_sha256
from snmn.storage.whole_files import replacing

ROOT = Path(__file__).resolve().parents[2]
_EVERY = 30  # seconds between notes of the time taken, of which a kill loses one


class ReproduceError(UserError):
    """A model cannot be made; the message says what to put right."""


@dataclass(frozen=True)
class Step:
    """A command and what it makes.

    - command: arguments of Python
    - makes: files, and folders of files
    - record: where it is noted what it was made from
    - after: the steps whose results it uses
    - reads: files of the project or of other steps whose contents count
    - settings: what else it depends on
    - replaces: files and folders that go when it begins anew, as they are of something else
    - code: where the code lies that decides what it makes
    - work: how much there is to do, by unit of `benchmarks.reproduce.estimates`
    """

    name: str
    command: tuple[str, ...]
    makes: tuple[Path, ...]
    record: Path
    after: tuple["Step", ...] = ()
    reads: tuple[Path, ...] = ()
    settings: dict = field(default_factory=dict)
    replaces: tuple[Path, ...] = ()
    code: tuple[str, ...] = ("clevr_prep", "snmn")
    work: dict[str, float] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The command as it is typed in the project's folder."""
        return shlex.join(["python", *self.command]).replace(f"{ROOT}/", "")

    def key(self) -> str:
        """What tells it from a step that makes something else."""
        content = {
            "command": self.shown,
            "reads": [file_sha256(path) if path.is_file() else None for path in self.reads],
            "settings": self.settings,
            "after": [step.key() for step in self.after],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def noted(self) -> dict:
        """Its record; empty without one, or where that is of something else."""
        try:
            record = json.loads(self.record.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if record.get("key") == self.key() else {}

    def is_done(self) -> bool:
        """Whether all that it makes is there, made from the same things."""
        made = self.noted().get("made")
        return made is not None and made == _stamps(self.makes)

    def minutes(self) -> float | None:
        """That it took, interrupted or not; None before it has begun."""
        return self.noted().get("minutes")


def _stamps(paths: tuple[Path, ...]) -> dict | None:
    """Size and time of files, sizes of a folder's files; None if one is missing."""
    found = {}
    for path in paths:
        if path.is_dir():
            files = visible_files(path, "*")
            found[str(path)] = {file.name: file.stat().st_size for file in files}
        elif path.is_file():
            found[str(path)] = [path.stat().st_size, path.stat().st_mtime_ns]
        else:
            return None
    return found


def run_step(step: Step) -> None:
    """Run a step's command, unless it is done.

    Raises ReproduceError for one that fails, Interrupted for one that was stopped.
    """
    if step.is_done():
        print(f"{step.name}: there already", flush=True)
        return
    print(f"{step.name}: {step.shown}", flush=True)
    for path in () if step.noted() else step.replaces:
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
    record = {"key": step.key(), "command": step.shown, "commit": code_version(), "made": None}
    before, started = step.minutes() or 0.0, time.monotonic()

    def note(made: dict | None = None) -> None:
        minutes = before + (time.monotonic() - started) / 60
        with replacing(step.record) as partial:
            content = record | {"minutes": round(minutes, 2), "made": made}
            partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")

    status = _call(step.command, note)
    if status in (INTERRUPTED, TERMINATED, -signal.SIGINT, -signal.SIGTERM):
        raise Interrupted("stopped; the same command goes on", abs(status) % 128 + 128)
    if status:
        raise ReproduceError(
            f"{step.name} ended with status {status}, as it says above; put that right, then the "
            f"same command goes on"
        )
    made = _stamps(step.makes)
    if made is None:
        missing = next(path for path in step.makes if not path.exists())
        raise ReproduceError(f"{step.name} ended without having made {missing}")
    note(made)


def _call(command: tuple[str, ...], note) -> int:
    """Exit status of a command; ``note`` is called while it runs."""
    note()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # In a session of its own, so that Ctrl-C reaches it once: from here.
    child = subprocess.Popen(
        [sys.executable, *command], env=os.environ | {"PYTHONPATH": path}, start_new_session=True
    )
    number = signal.SIGINT
    try:
        while True:
            try:
                return child.wait(timeout=_EVERY)
            except subprocess.TimeoutExpired:
                note()
    except Interrupted:
        number = signal.SIGTERM
        raise
    finally:
        while child.poll() is None:
            child.send_signal(number)
            try:
                child.wait()
            except KeyboardInterrupt:
                continue  # Again: it is to leave at once.
        note()


def is_code_of_today(commit: str | None, places: tuple[str, ...]) -> bool:
    """Whether places of the project are what they were at a commit."""
    if not commit or commit.endswith("-dirty") or commit == "unknown":
        return False
    command = ["git", "diff", "--quiet", commit, "--", *places]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True)
    except OSError:
        return False
    return done.returncode == 0
