"""What has been made: its card, and what is said of it at the end."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from benchmarks.reproduce.plans import Plan
from benchmarks.reproduce.recipes import CELLNET
from benchmarks.reproduce.steps import ROOT, is_code_of_today
from config import tasks
from snmn.backbones.cellnet import WEIGHTS
from snmn.checkpoints.bundled import BUNDLED
from snmn.checkpoints.cards import Card, Discrete, Rendered, Share, Stage
from snmn.checkpoints.checkpoint import code_version, read_checkpoint
from snmn.storage.checksums import file_sha256
from snmn.storage.whole_files import replacing

LICENCE = "BSD-2-Clause"
UNITS = {"vqa": "questions", "loc": "expressions"}
SETS = {"rendered": "rendered test", "genuine": "genuine CLEVR images"}


def machine() -> str:
    """What this one computes with, in words."""
    if torch.cuda.is_available():
        return f"one GPU, {torch.cuda.get_device_name()}"
    cores = torch.get_num_threads()
    return f"{'one CPU core' if cores == 1 else f'{cores} CPU cores'}, no GPU"


def rendered_data(plan: Plan) -> list[Rendered]:
    """What it was trained on, as its card has it."""
    found = []
    for step in plan.rendering:
        images = int(step.command[step.command.index("--train") + 1])
        found.append(Rendered(step.shown, 0, images))
    return found


def is_todays(plan: Plan, commit: str) -> bool:
    """Whether today's code rendered its data, and trained it at a commit."""
    rendering = [(step.noted().get("commit"), step.code) for step in plan.rendering]
    train = plan.step("pretrain" if plan.name == CELLNET else "train")
    return all(is_code_of_today(*pair) for pair in [*rendering, (commit, train.code)])


def model_card(plan: Plan) -> Card:
    """The card of a model that is made."""
    full, asked = read_checkpoint(plan.trained), tasks(plan.config)
    commit = full.get("code_version", "unknown")
    stage = Stage(
        config=f"configs/mini_{plan.name}.yaml",
        overrides=list(plan.overrides),
        seed=full["hyper_parameters"]["seed"],
        steps=full["global_step"] // len(asked),
        minutes=plan.step("train").minutes(),
        commit=None if commit == "unknown" else commit,
    )
    scores: dict[str, dict] = {"accuracy": {}, "precision_at_1": {}, "discrete": {}}
    weakest = []
    for (task, what), path in plan.summaries.items():
        found = json.loads(path.read_text(encoding="utf-8"))
        name = f"{SETS[what]}, {found['with_known_truth']:,} {UNITS[task]}"
        measure = "accuracy" if task == "vqa" else "precision_at_1"
        scores[measure][name] = _share(found["accuracy"])
        layouts = found["explanation"]["discrete_layout"]
        scores["discrete"][name] = Discrete(
            _share(layouts["right"]), layouts["effective_number"], layouts["commonest"]["share"]
        )
        if what == "rendered":
            kind, entry = min(found["by_type"].items(), key=lambda pair: pair[1]["share"])
            weakest.append(f"weakest of rendered {UNITS[task]}: {kind} ({entry['share']:.3f})")
    limits = [*weakest, "only CLEVR's objects, camera and 82 words"]
    if "loc" in asked:
        limits.append("never tested on the published CLEVR-Ref")
    return Card(
        about=f"{plan.name} on rendered scenes, small feature size: averaged weights in float16",
        features=CELLNET,
        stages=[stage],
        history="",
        reproduced=is_todays(plan, commit),
        sha256=file_sha256(plan.made),
        data=rendered_data(plan),
        machine=machine(),
        licence=LICENCE,
        limits="; ".join(limits),
        seeds=_seeds(plan.trained.with_name("restarts.json")) if _has_seeds(plan) else {},
        **scores,
    )


def _share(entry: Mapping) -> Share:
    return Share(*(entry[name] for name in ("share", "low", "high", "total")))


def _has_seeds(plan: Plan) -> bool:
    return plan.trained.name == "best.ckpt"


def _seeds(path: Path) -> dict[str, float]:
    runs = json.loads(path.read_text(encoding="utf-8"))["runs"]
    return {str(run["seed"]): run["best"] for run in runs if run["best"] is not None}


def finish(plan: Plan) -> None:
    """Write the card of what a plan's steps have made; the backbone's weights beside it."""
    if plan.name != CELLNET:
        text = model_card(plan).as_json()
    else:
        with replacing(plan.made) as partial:
            shutil.copyfile(plan.trained, partial)
        card = json.loads(plan.trained.with_suffix(".json").read_text(encoding="utf-8"))
        facts = {"about": "CellNet: 256 features in each of 14 x 14 cells of an image"} | card
        facts["command"] = plan.step("pretrain").shown
        facts["training"] = card["training"] | {"minutes": plan.step("pretrain").minutes()}
        commit = plan.step("pretrain").noted().get("commit", "unknown")
        facts |= {
            "history": "",
            "data": [vars(entry) for entry in rendered_data(plan)],
            "commit": commit,
            "reproduced": is_todays(plan, commit),
            "sha256": file_sha256(plan.made),
            "machine": machine(),
            "licence": LICENCE,
        }
        text = json.dumps(facts, indent=2) + "\n"
    with replacing(plan.card) as partial:
        partial.write_text(text, encoding="utf-8")


def bundled_file(plan: Plan) -> Path:
    """What is bundled of a name."""
    return WEIGHTS if plan.name == CELLNET else BUNDLED / f"{plan.name}.ckpt"


def summary(plan: Plan) -> str:
    """Minutes of each step, scores, and whether the file is the bundled one, in lines."""
    card = json.loads(plan.card.read_text(encoding="utf-8"))
    lines = [f"{plan.name}, at commit {code_version()}, {card['machine']}"]
    for step in plan.steps:
        lines.append(f"  {step.minutes() or 0:8.1f} minutes  {step.name}")
    for kind in ("accuracy", "precision_at_1"):
        for name, entry in card.get(kind, {}).items():
            made = card["discrete"][name]
            lines.append(
                f"  {entry['share']:.4f} ({entry['low']:.4f} to {entry['high']:.4f})  {name}; "
                f"layouts made discrete {made['right']['share']:.4f}, {made['layouts']:.1f} of "
                f"them in effect, the commonest {made['commonest']:.2f}"
            )
    for seed, score in card.get("seeds", {}).items():
        lines.append(f"  {score:.4f}  seed {seed}, best validation")
    for name, entry in card.get("validation", {}).items():
        lines.append(
            f"  {entry['found_all_four']:.4f}  objects of {name} found, with all attributes"
        )
    theirs = bundled_file(plan)
    other = file_sha256(theirs) if theirs.is_file() else "nothing"
    same = "the same" if other == card["sha256"] else f"another: {other}"
    lines.append(f"  sha256 {card['sha256']}; bundled is {same}")
    lines.append(f"  made by today's code: {'yes' if card['reproduced'] else 'no'}")
    files = dict.fromkeys([plan.made, plan.card, *plan.steps[-1].makes])
    shown = " ".join(str(path) for path in files if path.parent == plan.made.parent)
    lines.append(f"  made: {shown}; to be bundled in {theirs.parent.relative_to(ROOT)}")
    return "\n".join(lines)
