"""Questions that test whether a model generalises, about scenes that are there already.

    python -m clevr_prep.synthetic.compositions SCENES OUT
    python -m clevr_prep.synthetic.compositions data/mini/clevr/scenes/CLEVR_test_scenes.json \
        data/generalise

SCENES is a scenes file of CLEVR's format, rendered or genuine. OUT becomes a dataset folder with a
split for each of seven kinds of composition that CLEVR never shows (and_mat_spa, ...), one for each
kind's nearest of CLEVR's (and_mat_spa_baseline, ...), and others:

    few_shallow, few_deep, many_shallow, many_deep   CLEVR's families about scenes of at most 5
                  objects or of more, through at most 1 relation or sameness or through more
    false_premise, false_premise_baseline            CLEVR's families with an object that is not
                  there, without answers, and the same questions about one that is

With --pair COLOUR SHAPE there are two more, for models trained without it (clevr_prep.synthetic
--without): pair, whose questions single out an object that has both, and pair_baseline.

With --loc, for scenes that were rendered with it, these are of referring expressions: five of the
kinds, loc_and_mat_spa and so on, and false premises.

Answers are balanced within each kind, no relation and no sameness is needless, and every text has
one meaning. Scenes and images are linked to where they are. Layouts and imdbs of the folder are
made as of any other:

    python clevr_prep/data/get_ground_truth_layout.py --data-dir OUT
    python clevr_prep/data/build_clevr_imdb.py --data-dir OUT --out OUT/imdb

The same scenes and options give the same files; after an interruption the same command goes on.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from clevr_prep.clevr.json_stream import JsonArray
from clevr_prep.clevr.question_files import DatasetError, is_loc
from clevr_prep.clevr.scene_masks import VALUES, SceneError
from clevr_prep.synthetic.language.split_plans import BASELINE, PAIR, PLANS, SplitWriter
from snmn.common.commands import run
from snmn.common.paths import home_path
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
            for question in ask(scene):
                questions.append({"question_index": len(questions), **named, **question})
        except (SceneError, KeyError, TypeError, AttributeError) as error:
            raise SceneError(f"{scenes_file}: scene {position} is not complete ({error})") from None
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


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m clevr_prep.synthetic.compositions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenes", type=home_path, help="scenes file, CLEVR_<split>_scenes.json")
    parser.add_argument("out", type=home_path, help="folder of the dataset that is made")
    parser.add_argument(
        "--splits",
        nargs="+",
        choices=list(PLANS),
        metavar="SPLIT",
        help=f"what to make, of {', '.join(PLANS)} (default: all, of questions or of expressions)",
    )
    parser.add_argument(
        "--pair", nargs=2, metavar=("COLOUR", "SHAPE"), help="what a model never saw together"
    )
    parser.add_argument("--loc", action="store_true", help="expressions, not questions")
    parser.add_argument(
        "--per-image", type=int, default=1, help="most questions of a split about one image (1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, other questions (0)")
    given = parser.parse_args(arguments)
    for name, least in (("per_image", 1), ("seed", 0)):
        if getattr(given, name) < least:
            parser.error(f"--{name.replace('_', '-')} must be at least {least}")
    if given.pair and not all(
        value in VALUES[kind] for kind, value in zip(("color", "shape"), given.pair, strict=True)
    ):
        parser.error(f"--pair: no object is a {' '.join(given.pair)}")
    given.splits = given.splits or splits_of(loc=given.loc, pair=bool(given.pair))
    if not given.pair and {PAIR, PAIR + BASELINE} & set(given.splits):
        parser.error("--pair COLOUR SHAPE says which pair these questions are about")
    return given


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's docstring."""
    given = _parse(arguments)
    made = build_compositions(
        given.scenes,
        given.out,
        splits=given.splits,
        per_image=given.per_image,
        seed=given.seed,
        pair=given.pair,
    )
    for split in given.splits:
        print(f"{split}: {f'{made[split]} questions' if split in made else 'is there already'}")


if __name__ == "__main__":
    run(main, "python -m clevr_prep.synthetic.compositions")
