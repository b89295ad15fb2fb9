"""The steps that make data: images, and features, layouts and imdbs of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.reproduce.recipes import CELLNET, Recipes
from benchmarks.reproduce.steps import ROOT, Step
from snmn.backbones.cellnet import WEIGHTS

SPLITS = ("train", "val", "test")
KINDS = ("scenes", "questions")
FOLDERS = {"vqa": "clevr", "loc": "clevr_loc"}


@dataclass(frozen=True)
class Places:
    """Folders: of data, which models share, of made models, of results, and of genuine images."""

    data: Path
    out: Path
    results: Path
    genuine: Path | None

    @property
    def of_genuine(self) -> Path:
        """What is made of the genuine images."""
        return self.data / "genuine"


def script(name: str) -> str:
    """The path of one of the project's programs."""
    return str(ROOT / name)


def render(task: str, recipes: Recipes, places: Places) -> Step:
    """Rendering a task's images."""
    name, loc = FOLDERS[task], task == "loc"
    folder, images = places.data / name, getattr(recipes, name)
    counts = [text for split in SPLITS for text in (f"--{split}", str(getattr(images, split)))]
    splits = [f"loc_{split}" if loc else split for split in SPLITS]
    files = [f"{kind}/CLEVR_{split}_{kind}.json" for split in splits for kind in KINDS]
    return Step(
        f"render {name}",
        ("-m", "clevr_prep.synthetic", str(folder), *(["--loc"] * loc), *counts),
        tuple(folder / file for file in files),
        places.data / "steps" / f"render_{name}.json",
        code=("clevr_prep",),
        work={"images": sum(getattr(images, split) for split in SPLITS)},
    )


def prepare(task: str, recipes: Recipes, places: Places) -> list[Step]:
    """Rendering a task's images, and making features, layouts and imdbs of them."""
    rendered, loc = render(task, recipes, places), ["--loc"] * (task == "loc")
    folder = places.data / FOLDERS[task]
    splits = [f"loc_{split}" if loc else split for split in SPLITS]
    images = rendered.work["images"]
    return [rendered, *_prepared(images, (rendered,), folder, places.data, splits, loc)]


def _prepared(
    images: float,
    after: tuple[Step, ...],
    folder: Path,
    out: Path,
    splits: Sequence[str],
    options: Sequence[str],
    *,
    reads: tuple[Path, ...] = (),
    layouts_folder: Path | None = None,
) -> list[Step]:
    """Features, layouts and imdbs of the images in a folder; layouts lie beside the questions, or
    in a folder of their own.
    """
    name, stores, imdb = folder.name, out / "features" / CELLNET, out / "imdb"
    where, records = ("--data-dir", str(folder), *options), out / "steps"
    asked, read = layouts_folder or folder / "questions", {"questions read": 10 * images}
    written = ("--out", str(asked)) if layouts_folder else ()
    found = ("--layouts", str(asked)) if layouts_folder else ()
    extraction = (script("clevr_prep/data/extract_resnet101_c4.py"), "--backbone", CELLNET)
    features = Step(
        f"features of {name}",
        (*extraction, *where, "--out", str(stores)),
        tuple(stores / split for split in splits),
        records / f"features_{name}.json",
        after,
        (WEIGHTS, *reads),
        work={"features": images},
    )
    layouts = Step(
        f"layouts of {name}",
        (script("clevr_prep/data/get_ground_truth_layout.py"), *where, *written),
        tuple(asked / f"CLEVR_{split}_layouts.json" for split in splits),
        records / f"layouts_{name}.json",
        after,
        reads,
        work=read,
    )
    imdbs = Step(
        f"imdbs of {name}",
        (script("clevr_prep/data/build_clevr_imdb.py"), *where, "--out", str(imdb), *found),
        tuple(imdb / f"imdb_{split}.h5" for split in splits),
        records / f"imdbs_{name}.json",
        (layouts,),
        reads,
        work=read,
    )
    return [features, layouts, imdbs]


def prepare_genuine(places: Places) -> list[Step]:
    """Features, layouts and imdb of the genuine images, which are left as they are."""
    questions = places.genuine / "questions" / "CLEVR_val_questions.json"
    return _prepared(
        100,
        (),
        places.genuine,
        places.of_genuine,
        ["val"],
        ["--split", "val"],
        reads=(questions,),
        layouts_folder=places.of_genuine / "layouts",
    )
