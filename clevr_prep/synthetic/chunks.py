"""Makes one chunk of a dataset: a run of consecutive images of one split, with questions.

Of CLEVR-Ref they are referring expressions, and every object has its box.

A chunk is the unit of work, of resuming and of balancing answers, and what it holds depends on the
settings, the split and its images' numbers alone: never on which process makes it or when.
"""

import gzip
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from clevr_prep.synthetic.render.renderer import render_scene
from clevr_prep.synthetic.sampling.balance import AnswerBalance
from clevr_prep.synthetic.scenes.object_boxes import add_boxes, can_be_referred_to, visible_targets
from clevr_prep.synthetic.scenes.scene_sampling import COGENT, held_out, sample_scene
from snmn.storage.whole_files import replacing

CHUNK = 100
SPLITS = ("train", "val", "test")
# Each has its own random numbers: images of CLEVR-Ref are none of CLEVR's.
_ALL_SPLITS = (*SPLITS, *(f"loc_{split}" for split in SPLITS))


@dataclass(frozen=True)
class Settings:
    """What determines every image, scene and question of a dataset."""

    questions_per_image: int = 10
    width: int = 240
    height: int = 160
    samples: int = 4
    min_objects: int = 3
    max_objects: int = 10
    max_hops: int | None = None
    cogent: str | None = None
    seed: int = 0
    loc: bool = False
    without: tuple[str, str] | None = None

    def __post_init__(self):
        for name, least in (("questions_per_image", 0), ("samples", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, must be at least {least}")
        for name in ("width", "height"):
            if not 32 <= getattr(self, name) <= 1920:
                raise ValueError(f"{name} is {getattr(self, name)}, must be within 32 to 1920")
        if not 1 <= self.min_objects <= self.max_objects <= 10:
            raise ValueError(
                f"min_objects {self.min_objects} and max_objects {self.max_objects} must be "
                "within 1 to 10, in order"
            )
        if self.max_hops is not None and self.max_hops < 0:
            raise ValueError(f"max_hops is {self.max_hops}, must be at least 0")
        if self.cogent not in (None, "A", "B"):
            raise ValueError(f"cogent is {self.cogent!r}, must be A or B")
        if self.without is not None:
            held_out(COGENT[self.cogent], self.without)

    def split_name(self, split: str) -> str:
        """What train, val or test is called in folders and files."""
        return f"loc_{split}" if self.loc else split

    def differences(self, stored: dict) -> list[str]:
        """Names and values of settings that differ from stored ones, for an error message."""
        mine = json.loads(json.dumps(asdict(self)))  # Pairs are lists there.
        # Folders made before there was a choice.
        stored = {"loc": False, "without": None, **stored}
        return [
            f"{name} is {stored.get(name)}, not {mine.get(name)}"
            for name in sorted(mine.keys() | stored.keys())
            if mine.get(name) != stored.get(name)
        ]


def image_name(split: str, index: int) -> str:
    """CLEVR's file name of an image."""
    return f"CLEVR_{split}_{index:06d}.png"


def chunk_path(work: Path, split: str, start: int, stop: int) -> Path:
    """Where the scenes and questions of images start to stop - 1 wait to be assembled."""
    return work / split / f"{start:06d}-{stop:06d}.json.gz"


def _rng(settings: Settings, split: str, index: int, purpose: int) -> np.random.Generator:
    return np.random.default_rng([settings.seed, _ALL_SPLITS.index(split), index, purpose])


def make_scene(settings: Settings, split: str, index: int) -> dict:
    """The scene of one image, as it goes into the scenes file."""
    rng = _rng(settings, split, index, 0)
    while True:
        scene = sample_scene(
            rng,
            min_objects=settings.min_objects,
            max_objects=settings.max_objects,
            cogent=settings.cogent,
            without=settings.without,
            width=settings.width,
            height=settings.height,
            samples=settings.samples,
        )
        if settings.loc:
            add_boxes(scene)
        if not settings.loc or can_be_referred_to(scene, visible_targets(scene)):
            break
    named = {"image_index": index, "image_filename": image_name(split, index), "split": split}
    return named | scene


def _make_questions(settings: Settings, scene: dict, rng, balance: AnswerBalance) -> list[dict]:
    # Only here: their vocabulary brings the whole model package, slow to load, along.
    if not settings.loc:
        from clevr_prep.synthetic.sampling.questions import generate_questions

        return generate_questions(
            scene, settings.questions_per_image, rng, balance=balance, max_hops=settings.max_hops
        )
    from clevr_prep.synthetic.sampling.expressions import generate_expressions

    expressions = generate_expressions(
        scene,
        visible_targets(scene),
        settings.questions_per_image,
        rng,
        max_hops=settings.max_hops,
    )
    boxes = [scene["objects"][entry["target_object"]]["bbox"] for entry in expressions]
    return [entry | {"bbox": box} for entry, box in zip(expressions, boxes, strict=True)]


def make_chunk(out: Path, work: Path, settings: Settings, split: str, start: int, stop: int, tick):
    """Render the images start to stop - 1 that are missing and write the chunk's file.

    `tick()` is called after each image.
    """
    balance = AnswerBalance()
    scenes, questions = [], []
    for index in range(start, stop):
        scene = make_scene(settings, split, index)
        path = out / "images" / split / scene["image_filename"]
        if not path.exists():
            image = Image.fromarray(render_scene(scene)[0])
            with replacing(path) as partial:
                image.save(partial, "PNG", compress_level=4)
        scenes.append(scene)
        if settings.questions_per_image:
            drawn = _make_questions(settings, scene, _rng(settings, split, index, 1), balance)
            named = {"image_index": index, "image_filename": path.name, "split": split}
            questions.extend(named | question for question in drawn)
        tick()
    content = json.dumps({"scenes": scenes, "questions": questions}).encode()
    with replacing(chunk_path(work, split, start, stop)) as partial:
        partial.write_bytes(gzip.compress(content, 5, mtime=0))


def read_chunk(path: Path) -> dict:
    """The lists `scenes` and `questions` of a finished chunk."""
    return json.loads(gzip.decompress(path.read_bytes()))
