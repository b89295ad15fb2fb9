"""The models that were tested, beside those of the demo's folder."""

import logging
from collections.abc import Mapping
from pathlib import Path

from server.catalogue import Entry
from server.results.folder import Results
from snmn.checkpoints.bundled import read_card
from snmn.common.paths import home_path

log = logging.getLogger("uvicorn.error")


def add_tested_models(entries: Mapping[str, Entry], tests: Mapping[str, Results]) -> dict:
    """The entries with those of the tests in front, so that they answer when none is named.

    Notes the name of each test's model in the test; one whose checkpoint is not here has none.
    """
    found = dict(entries)
    for results in tests.values():
        path = home_path(results.about["checkpoint"])
        if not path.is_file():
            log.warning("the test %s: its checkpoint %s is not here", results.name, path)
            continue
        entry = _entry(found, path, results.about)
        results.model = entry.name
        found = {entry.name: entry} | found
    return found


def _entry(entries: Mapping[str, Entry], path: Path, about: Mapping[str, str]) -> Entry:
    """That of ``entries`` which is the same, or a new one."""
    ema = about["weights"] != "raw"
    for entry in entries.values():
        if entry.path.resolve() == path.resolve() and entry.ema == ema:
            entry.tested = True
            return entry
    name = f"{about['experiment']} (tested)"
    while name in entries:
        name += "*"
    return Entry(
        name=name,
        path=path,
        card=read_card(path),
        state="waiting",
        message="It is about to be loaded.",
        ema=ema,
        tested=True,
    )
