"""Pages that are written by hand but for sections between comments."""

import re
from collections.abc import Mapping
from pathlib import Path

from benchmarks.results.trials import ResultsError
from snmn.storage.whole_files import replacing


def filled(path: Path, sections: Mapping[str, str]) -> str:
    """The text of a file with each section's content between its comments.

    Raises ResultsError for a missing file or missing comments.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ResultsError(f"{path}: {error.strerror}") from None
    for name, content in sections.items():
        start, end = f"<!-- table: {name} -->", f"<!-- end of {name} -->"
        pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        if not pattern.search(text):
            raise ResultsError(f"{path}: no line {start} with {end} after it")
        block = f"{start}\n\n{content.strip()}\n\n{end}"
        text = pattern.sub(lambda _, block=block: block, text)
    return text


def fill(path: Path, sections: Mapping[str, str]) -> None:
    """Write each section's content between its comments in a file, as `filled` has it."""
    text = filled(path, sections)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
