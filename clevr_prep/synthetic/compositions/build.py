"""Makes or completes the splits of a folder; a run that was interrupted is taken up again."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from clevr_prep.clevr.json_stream import JsonArray
from clevr_prep.clevr.question_files import DatasetError, is_loc
from clevr_prep.clevr.scene_masks import SceneError, SceneMasks
from clevr_prep.synthetic.compositions.split_plans import BASELINE, PAIR, PLANS
from clevr_prep.synthetic.compositions.split_writer import SplitWriter
from clevr_prep.synthetic.scenes.object_boxes import visible_targets
from snmn.storage.locks import lock_folder
from snmn.storage.whole_files import remove_partials, replacing

_VERSION = 1


def splits_of(*, loc: bool, pair: bool = False) -> list[str]:
    """All splits of questions, or of expressions; with those about a pair."""
    about_pair = () if pair else (PAIR, PAIR + BASELINE)
    return [name for name in PLANS if is_loc(name) == loc and name not in about_pair]


def build_compositions(
    scenes_file: Path,
    out: Path,
    *,
    splits: Sequence[str],
    per_image: int = 1,
    seed: int = 0,
    pair: tuple[str, str] | None = None,
    progress: bool = True,
) -> dict[str, int]:
    """Make or complete splits of questions about all scenes of a file.

    A split that is there is left as it is. Returns the number of questions of each split made now.
    Raises ``DatasetError`` for a folder that other scenes or options made, ``SceneError`` naming
    the file for a scene that nothing can be asked about, ``LockedError``, ``JsonStreamError``.
    """
    if not scenes_file.is_file():
        raise DatasetError(f"no such file: {scenes_file}")
    with lock_folder(out):
        scenes = list(JsonArray(scenes_file, "scenes"))
        _claim(out, scenes, per_image=per_image, seed=seed, pair=pair and list(pair))
        remove_partials(out / "questions")
        made = {}
        for split in tqdm(splits, desc="questions", unit="split", disable=not progress):
            _link(scenes_file.resolve(), scenes, out, split)
            target = out / "questions" / f"CLEVR_{split}_questions.json"
            if not target.is_file():
                ask = SplitWriter(split, per_image, seed, pair=pair)
                questions = _ask(scenes_file, scenes, split, ask)
                info = {"split": split, "generator": "clevr_prep.synthetic.compositions"}
                with replacing(target) as partial:
                    partial.write_text(json.dumps({"info": info, "questions": questions}))
                made[split] = len(questions)
    return made


def _claim(out: Path, scenes: list, **options) -> None:
    """Note what the folder is made from, or say why it cannot be made from this."""
    path = out / ".work" / "compositions.json"
    mine = {
        "version": _VERSION,
        "scenes": hashlib.sha256(json.dumps(scenes, sort_keys=True).encode()).hexdigest(),
        **options,
    }
    if path.is_file():
        stored = json.loads(path.read_text())
        different = [name for name in mine if stored.get(name) != mine[name]]
        if different:
            raise DatasetError(
                f"{out} was made with other {', '.join(different)}: repeat them or choose another "
                "folder"
            )
        return
    if (out / "questions").is_dir():
        raise DatasetError(f"{out} holds a dataset that was not made by this program")
    with replacing(path) as partial:
        partial.write_text(json.dumps(mine, indent=1))


def _ask(scenes_file: Path, scenes: list, split: str, ask: SplitWriter) -> list[dict]:
    """All questions of a split, as they go into its file."""
    questions: list[dict] = []
    for position, scene in enumerate(scenes):
        try:
            named = {
                "image_index": scene.get("image_index", position),
                "image_filename": scene["image_filename"],
                "split": split,
            }
            SceneMasks(scene)
            if is_loc(split):
                visible_targets(scene)
        except (SceneError, KeyError, TypeError, AttributeError) as error:
            raise SceneError(f"{scenes_file}: scene {position} is not complete ({error})") from None
        for question in ask(scene):
            questions.append({"question_index": len(questions), **named, **question})
    return questions


def _link(scenes_file: Path, scenes: list, out: Path, split: str) -> None:
    """Let a split have the scenes and, where they lie as in CLEVR, the images that it is about."""
    _point(out / "scenes" / f"CLEVR_{split}_scenes.json", scenes_file)
    of = scenes_file.name.removeprefix("CLEVR_").removesuffix("_scenes.json")
    images = scenes_file.parent.parent / "images" / of
    if images.is_dir():
        _point(out / "images" / split, images)


def _point(link: Path, target: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    if link.is_symlink() and link.resolve() != target:
        link.unlink()
    if not link.exists():
        link.symlink_to(os.path.relpath(target, link.parent.resolve()))
