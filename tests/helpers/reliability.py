"""Pytest plugin: counts how often faults were caused and survived, for docs/reliability.md.

A test that causes a fault takes the fixture ``reliability``:

    def test_killed(reliability):
        row = reliability("Extraction killed", caused="SIGKILL", sees="nothing; it goes on")
        for _ in range(10):
            with row.attempt():
                ...

``--reliability FILE`` writes what was counted into the table between the two markers of a
Markdown file. Only rows of tests that ran are replaced, so the table can be made in pieces; rows
of tests that are no more go.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

BEGIN = "<!-- reliability table: begin -->"
END = "<!-- reliability table: end -->"
HEAD = "| fault | how it was caused | tried | survived | what the user sees | command |"
RULE = "|---|---|---|---|---|---|"


@dataclass
class Row:
    """One fault of one test: how often it was tried and survived."""

    fault: str
    caused: str
    sees: str
    command: str
    tried: int = 0
    survived: int = 0

    @contextmanager
    def attempt(self) -> Iterator[None]:
        """Count one try, and one survival if the block ends without an exception."""
        try:
            yield
        except (KeyboardInterrupt, pytest.skip.Exception):
            raise
        except BaseException:
            self.tried += 1
            raise
        self.tried += 1
        self.survived += 1

    def line(self) -> str:
        """The row in Markdown."""
        counts = str(self.tried), str(self.survived)
        cells = self.fault, self.caused, *counts, self.sees, f"`{self.command}`"
        cells = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
        return f"| {' | '.join(cells)} |"


_OF_TEST = pytest.StashKey[list[Row]]()
_OF_SESSION = pytest.StashKey[list[Row]]()


def pytest_addoption(parser):
    parser.addoption("--reliability", metavar="FILE", help="put faults survived into its table")


def pytest_configure(config):
    config.stash[_OF_SESSION] = []
    file = config.getoption("reliability")
    if file is not None and not _parts(Path(file)):
        raise pytest.UsageError(f"--reliability: {file} has no lines {BEGIN!r} and {END!r}")


@pytest.fixture
def reliability(request):
    """Makes the rows of a test: ``reliability(fault, caused=..., sees=...)``."""
    rows = request.node.stash.setdefault(_OF_TEST, [])
    command = "pytest " + request.node.nodeid.partition("[")[0]

    def make(fault: str, *, caused: str, sees: str) -> Row:
        rows.append(Row(fault, caused, sees, command))
        return rows[-1]

    return make


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    rows = item.stash.get(_OF_TEST, [])
    if call.when == "call" and rows:
        if report.failed and all(row.tried == row.survived for row in rows):
            # What failed was no attempt: the test says nothing good all the same.
            rows[-1].tried += 1
        item.config.stash[_OF_SESSION].extend(row for row in rows if row.tried)
    return report


def pytest_sessionfinish(session):
    file, rows = session.config.getoption("reliability"), session.config.stash[_OF_SESSION]
    if file is None or not rows:
        return
    before, table, after = _parts(Path(file))
    made = {}
    for row in rows:  # Those of a test's parameters are one.
        fresh = Row(row.fault, row.caused, row.sees, row.command)
        same = made.setdefault((row.command, row.fault), fresh)
        same.tried += row.tried
        same.survived += row.survived
    ran = {row.command for row in rows}
    lines = [line for line in table.splitlines() if line.endswith("` |")]
    lines = [line for line in lines if _command(line) not in ran]
    lines += [row.line() for row in made.values()]
    placed = {line: _place(session.config.rootpath, _command(line)) for line in lines}
    lines = sorted((line for line in lines if placed[line]), key=placed.get)
    tried, survived = (sum(int(line.split(" | ")[i]) for line in lines) for i in (2, 3))
    total = f"{len(lines)} faults, caused {tried} times and survived {survived} times."
    table = "\n".join([BEGIN, HEAD, RULE, *lines, "", total, END])
    Path(file).write_text(before + table + after, encoding="utf-8")


def _parts(file: Path) -> tuple[str, str, str] | None:
    """The text before the table, the table, and the text after it."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    before, begin, rest = text.partition(BEGIN)
    table, end, after = rest.partition(END)
    return (before, table, after) if begin and end else None


def _command(line: str) -> str:
    return line.rpartition("| `")[2].removesuffix("` |")


def _place(root: Path, command: str) -> tuple[str, int] | None:
    """File and line of a row's test, or None if there is no such test any more."""
    file, *_, name = command.removeprefix("pytest ").split("::")
    if (root / file).exists():
        for number, line in enumerate((root / file).read_text(encoding="utf-8").splitlines()):
            if re.match(rf"\s*(async )?def {re.escape(name)}\b", line):
                return file, number
    return None
