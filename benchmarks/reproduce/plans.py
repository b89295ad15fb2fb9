"""What has to be done for a model, step by step, from an empty folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.reproduce.data_steps import (
    FOLDERS,
    Places,
    prepare,
    prepare_genuine,
    render,
    script,
)
from benchmarks.reproduce.recipes import CELLNET, Recipes
from benchmarks.reproduce.steps import ROOT, Step
from config import Config, load_config, tasks, to_dict

_TRAINING_CODE = ("clevr_prep", "snmn", "config.py", "train.py")


@dataclass(frozen=True)
class Plan:
    """A model's steps in order, and what comes of them.

    - trained: what is exported, or the backbone's own weights and card
    - made: the file to be bundled; its card lies beside it
    - summaries: of test.py, by task and what was asked about
    """

    name: str
    steps: tuple[Step, ...]
    trained: Path
    made: Path
    config: Config | None = None
    overrides: tuple[str, ...] = ()
    summaries: dict[tuple[str, str], Path] | None = None

    @property
    def card(self) -> Path:
        """Where its card is written."""
        return self.made.with_suffix(".json")

    def step(self, name: str) -> Step:
        """The step of a name."""
        return next(step for step in self.steps if step.name == name)

    @property
    def rendering(self) -> list[Step]:
        """The steps that render what it is trained on."""
        return [step for step in self.steps if step.name.startswith("render")]


def _data_settings(config: Config, places: Places) -> list[str]:
    """KEY VALUE pairs for data that lie elsewhere than the configuration says."""
    data = places.data
    scenes = "scenes/CLEVR_%s_scenes.json"
    wanted = {
        "IMDB_FILE": data / "imdb" / "imdb_%s.h5",
        "FEATURE_DIR": data / "features" / CELLNET / "%s",
        "TRAIN.FRESH_SCENES_FILE": data / "clevr" / scenes,
        "TRAIN.FRESH_SCENES_FILE_LOC": data / "clevr_loc" / scenes,
        "TEST.DATA_DIR": data / "clevr",
        "TEST.DATA_DIR_LOC": data / "clevr_loc",
    }
    pairs = []
    for key, path in wanted.items():
        found: Any = config
        for part in key.split("."):
            found = getattr(found, part)
        if found and Path(found) != path:
            pairs += [key, str(path)]
    return pairs


def model_plan(
    name: str,
    recipes: Recipes,
    places: Places,
    *,
    overrides: Sequence[str] = (),
    seed: int = 0,
    seeds: int | None = None,
) -> Plan:
    """What makes a model: its configuration's one run of train.py, of each of its seeds."""
    file = str(ROOT / "configs" / f"mini_{name}.yaml")
    config, _ = load_config(file, list(overrides))
    settings = [*overrides, *_data_settings(config, places)]
    config, _ = load_config(file, settings)
    asked = tasks(config)
    data = [step for task in asked for step in prepare(task, recipes, places)]
    seeds, records = seeds or getattr(recipes.seeds, name), places.out / "steps" / name
    folder = Path(config.TRAIN.SNAPSHOT_DIR.replace("%s", config.EXP_NAME))
    how = ("--restarts", str(seeds)) if seeds > 1 else ("--resume", "auto")
    trained = folder / ("best.ckpt" if seeds > 1 else "last.ckpt")
    train = Step(
        "train",
        (script("train.py"), file, *settings, *how, "-s", str(seed), "--logger", "csv"),
        (trained, *([folder / "restarts.json"] if seeds > 1 else [])),
        records / "train.json",
        tuple(data),
        settings=to_dict(config),
        code=_TRAINING_CODE,
        work={"training steps": config.TRAIN.MAX_ITER * len(asked) * seeds},
    )
    made = places.out / f"{name}.ckpt"
    export = Step(
        "export",
        ("-m", "snmn.export", str(trained), str(made)),
        (made,),
        records / "export.json",
        reads=(trained,),
        replaces=(made.with_suffix(".json"),),
    )
    steps, summaries = [*data, train, export], {}

    def test(what: str, split: str, more: Sequence[str], after: tuple[Step, ...]) -> None:
        out = places.results / name / what
        found = [task for task in asked if what != "genuine" or task == "vqa"]
        made_by_task = {
            task: out / config.EXP_NAME / (f"loc_{split}" if task == "loc" else split)
            for task in found
        }
        for task, made_here in made_by_task.items():
            summaries[task, what] = made_here / "summary.json"
        images = [getattr(recipes, FOLDERS[task]).test for task in found]
        questions = 890 if what == "genuine" else 10 * sum(images)
        command = [script("test.py"), file, str(made), "--split", split, "--explain"]
        command += ["--out", str(out), *settings, *more]
        steps.append(
            Step(
                f"test, {what}",
                tuple(command),
                tuple(folder / "summary.json" for folder in made_by_task.values()),
                records / f"test_{what}.json",
                (*data, *after),
                (made,),
                work={"explained questions": questions},
            )
        )

    test("rendered", "test", (), ())
    if places.genuine and "vqa" in asked:
        genuine, of = prepare_genuine(places), places.of_genuine
        steps += genuine
        more = ["IMDB_FILE", str(of / "imdb" / "imdb_%s.h5")]
        more += ["FEATURE_DIR", str(of / "features" / CELLNET / "%s")]
        more += ["TEST.DATA_DIR", str(places.genuine)]
        if len(asked) > 1:
            more += ["DATASET", "vqa"]
        test("genuine", "val", more, tuple(genuine))
    return Plan(name, tuple(steps), trained, made, config, tuple(overrides), summaries)


def cellnet_plan(recipes: Recipes, places: Places) -> Plan:
    """What makes the backbone: pretraining on clevr's training images, and their statistics."""
    rendered, folder = render("vqa", recipes, places), places.out / CELLNET
    clevr, records, how = places.data / "clevr", places.out / "steps" / CELLNET, recipes.cellnet
    weights = folder / "cellnet.pt"
    validated = [str(clevr), *([str(places.genuine)] if places.genuine else [])]
    options = f"--steps {how.steps} --lr {how.lr:g} --every {how.every} "
    options += f"--precision {how.precision}"
    pretraining = ["-m", "clevr_prep.train_cellnet", str(clevr), "--validate", *validated]
    pretrain = Step(
        "pretrain",
        (*pretraining, "--out", str(folder), *options.split()),
        (weights, folder / "cellnet.json"),
        records / "pretrain.json",
        (rendered,),
        replaces=(folder / "checkpoint.pt",),
        work={"pretraining steps": how.steps},
    )
    extraction = [script("clevr_prep/data/extract_resnet101_c4.py"), "--backbone", CELLNET]
    extraction += ["--weights", str(weights), "--data-dir", str(clevr), "--split", "train"]
    features = Step(
        "features of its own",
        (*extraction, "--out", str(folder / "features")),
        (folder / "features" / "train",),
        records / "features.json",
        (rendered,),
        (weights,),
        replaces=(folder / "features",),
        work={"features": recipes.clevr.train},
    )
    made = places.out / "cellnet_statistics.pt"
    summing = ["-m", "clevr_prep.data.feature_statistics", str(folder / "features" / "train")]
    statistics = Step(
        "statistics",
        (*summing, str(clevr), "--out", str(made)),
        (made,),
        records / "statistics.json",
        (features,),
    )
    return Plan(
        CELLNET, (rendered, pretrain, features, statistics), weights, places.out / "cellnet.pt"
    )
