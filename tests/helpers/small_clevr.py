"""Small rendered datasets laid out as the published downloads of CLEVR, CLEVR-Ref and CoGenT."""

import json
import re
import shutil
from pathlib import Path

from clevr_prep.synthetic.__main__ import main as render


def render_small(folder: Path, counts: dict[str, int], *options: str) -> Path:
    """A rendered dataset with images of CLEVR's size; as there, nothing tells the test split's
    answers."""
    sizes = [text for split, count in counts.items() for text in (f"--{split}", str(count))]
    small = ["--width", "480", "--height", "320", "--samples", "1", "--max-objects", "4"]
    asked = ["--questions-per-image", "3", "--workers", "1"]
    assert render([str(folder), *sizes, *small, *asked, *options]) == 0
    for path in folder.glob("questions/*test_questions.json"):
        content = json.loads(path.read_text())
        for question in content["questions"]:
            for key in {"answer", "program", "target_object", "bbox"} & question.keys():
                del question[key]
        path.write_text(json.dumps(content))
    for path in folder.glob("scenes/*test_scenes.json"):
        path.unlink()
    return folder


def add_renamed(source: Path, target: Path, letter: str) -> None:
    """Put a rendered dataset among CLEVR-CoGenT's, whose splits are called trainA, valB ..."""

    def renamed(text: str) -> str:
        return re.sub(r"\b(CLEVR_)?(train|val|test)(?=_|\b)", rf"\1\g<2>{letter}", text)

    for path in source.glob("[iqs]*/**/*.*"):
        place = target / renamed(path.relative_to(source).as_posix())
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".json":
            text = re.sub(r"CLEVR_(train|val|test)", rf"CLEVR_\1{letter}", path.read_text())
            place.write_text(text)
        else:
            shutil.copyfile(path, place)
