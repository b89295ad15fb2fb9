"""Reads questions together with the layouts that get_ground_truth_layout.py wrote of them."""

from collections.abc import Iterator
from pathlib import Path

from clevr_prep.clevr.expert_layouts import expert_layout
from clevr_prep.clevr.json_stream import JsonArray
from clevr_prep.clevr.programs import ProgramError
from clevr_prep.clevr.question_files import DatasetError

# One layout in so many is checked against its program, so that a file that was made for other
# questions is noticed.
_CHECK_EVERY = 100


def with_layouts(
    source: JsonArray, layouts_file: Path | None
) -> Iterator[tuple[dict, list | None]]:
    """Each question with its layout, None when there is no layouts file.

    Raises ``DatasetError`` when the layouts are those of other questions.
    """
    if layouts_file is None:
        yield from ((question, None) for question in source)
        return
    missing = object()
    layouts = iter(JsonArray(layouts_file, "layouts"))
    mismatch = DatasetError(
        f"{layouts_file} was made for other questions; run get_ground_truth_layout.py again"
    )
    for position, question in enumerate(source):
        layout = next(layouts, missing)
        if layout is missing:
            raise mismatch
        if position % _CHECK_EVERY == 0 and not _is_expert(layout, question):
            raise mismatch
        yield question, layout
    if next(layouts, missing) is not missing:
        raise mismatch


def _is_expert(layout, question) -> bool:
    """Whether a layout is that of a question's program; a broken question is told later."""
    if isinstance(question, dict) and question.get("program") is None:
        return False
    try:
        return layout == expert_layout(question["program"])
    except (LookupError, TypeError, ProgramError):
        return True
