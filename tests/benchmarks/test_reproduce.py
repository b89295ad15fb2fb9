"""Bundled models made again: the whole chain in little, interrupted and not."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from benchmarks.reproduce import __main__ as command
from benchmarks.reproduce import estimates, made, steps
from benchmarks.reproduce.data_steps import Places
from benchmarks.reproduce.made import finish, model_card, summary
from benchmarks.reproduce.plans import model_plan
from benchmarks.reproduce.recipes import NAMES, Recipes, read_recipes
from config import load_config
from snmn.backbones.cellnet import load_cellnet
from snmn.checkpoints.bundled import check_file_of_card
from snmn.checkpoints.cards import read_whole_card
from snmn.checkpoints.checkpoint import load_model, read_checkpoint
from snmn.common.errors import Interrupted
from snmn.storage.checksums import file_sha256
from snmn.storage.typed_settings import ConfigError
from tests.helpers.paths import ROOT
from tests.helpers.tiny.recipes import OVERRIDES, TINY, write_recipes
from tests.helpers.tiny.server import write_models


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Recipes, and a folder for the data that models share."""
    folder = tmp_path_factory.mktemp("shared")
    write_recipes(folder)
    return folder


@pytest.fixture
def make(shared, tmp_path, monkeypatch):
    """Calls the command in an empty folder of its own, with tiny recipes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(*arguments):
        where = ["--data", shared / "data", "--recipes", shared / "recipes.yaml"]
        command.main([*map(str, [*arguments, *where])])

    return call


def nothing_runs(*_):
    raise AssertionError("a command is run")


@pytest.mark.slow
def test_a_model_of_both_tasks_and_two_seeds_from_nothing(make, monkeypatch, capfd):
    make("joint_scratch", *OVERRIDES)
    model = Path("runs/reproduced/joint_scratch.ckpt")
    card = read_whole_card(model.with_suffix(".json"))
    check_file_of_card(model)
    load_model(model)
    (stage,) = card.stages
    assert stage.config == "configs/mini_joint_scratch.yaml" and stage.overrides == OVERRIDES
    load_config(ROOT / stage.config, stage.overrides)
    assert 1 <= stage.steps <= 6 and stage.minutes > 0 and set(card.seeds) == {"0", "1"}
    assert str(stage.seed) == max(card.seeds, key=card.seeds.get)
    assert [entry.images for entry in card.data] == [50, 12]
    assert set(card.accuracy) == {"rendered test, 40 questions"}
    (boxes,) = card.precision_at_1
    assert boxes.startswith("rendered test, ") and boxes.endswith(" expressions")
    assert set(card.discrete) == {*card.accuracy, boxes}
    best = read_checkpoint("runs/mini_joint_scratch/best.ckpt")
    if best["code_version"].endswith("-dirty"):
        assert not card.reproduced
    printed = capfd.readouterr().out
    assert f"sha256 {card.sha256}; bundled is another" in printed
    assert "minutes  render clevr_loc" in printed

    # All is there: nothing is done again, and as much is said.
    monkeypatch.setattr(steps, "_call", nothing_runs)
    make("joint_scratch", *OVERRIDES)
    again = capfd.readouterr().out
    assert again.count("there already") == 11 and card.sha256 in again
    with pytest.raises(AssertionError, match="a command is run"):
        make("joint_scratch", *OVERRIDES, "TRAIN.SOLVER.LR", "0.01")


@pytest.mark.slow
def test_interrupted_in_each_step_it_comes_to_the_same(make, shared, tmp_path, monkeypatch, capfd):
    # Images of another folder are as good as genuine ones.
    make("vqa_gt_layout", *OVERRIDES)
    genuine = tmp_path / "genuine"
    for kind in ("images", "questions", "scenes"):
        shutil.copytree(shared / "data" / "clevr" / kind, genuine / kind)
    given = ("vqa_gt_layout", *OVERRIDES, "--genuine", genuine)
    make(*given)
    made = Path("runs/reproduced/vqa_gt_layout.ckpt")
    whole = file_sha256(made), read_whole_card(made.with_suffix(".json"))
    assert "genuine CLEVR images, 40 questions" in whole[1].accuracy

    for folder in ("runs", "results"):
        shutil.rmtree(tmp_path / folder)
    shutil.rmtree(shared / "data" / "genuine")
    monkeypatch.setattr(steps, "_EVERY", 0.05)
    call, interrupted = steps._call, []

    def stopping(arguments, note):
        """Each command is stopped once: training in its midst, others at their end."""

        def look(*made):
            note(*made)
            if arguments not in interrupted and list(Path("runs").glob("**/step=*.ckpt")):
                interrupted.append(arguments)
                raise KeyboardInterrupt

        if any(word.endswith("train.py") for word in arguments):
            return call(arguments, look)
        status = call(arguments, note)
        if arguments not in interrupted:
            interrupted.append(arguments)
            raise KeyboardInterrupt
        return status

    monkeypatch.setattr(steps, "_call", stopping)
    stops = 0
    while stops < 20:
        try:
            make(*given)
            break
        except Interrupted as error:
            assert "the same command goes on" in str(error)
            stops += 1
    assert stops == len(interrupted) == 7
    assert file_sha256(made) == whole[0]
    card = read_whole_card(made.with_suffix(".json"))
    assert (card.accuracy, card.discrete) == (whole[1].accuracy, whole[1].discrete)


@pytest.mark.slow
def test_the_backbone_from_nothing(make):
    make("cellnet")
    made = Path("runs/reproduced/cellnet.pt")
    card = json.loads(made.with_suffix(".json").read_text())
    network = load_cellnet(made)
    assert card["parameters"] == sum(p.numel() for p in network.trunk.parameters())
    assert card["sha256"] == file_sha256(made) and card["training"]["images"] == 50
    assert {"machine", "licence", "reproduced", "history", "commit"} <= card.keys()
    assert made.with_name("cellnet_statistics.pt").is_file()


def share(correct, total=40):
    return {"share": correct / total, "low": correct / total - 0.05, "high": 0.99, "total": total}


def test_the_card_of_what_was_made(shared, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipes = read_recipes(shared / "recipes.yaml")
    places = Places(shared / "data", Path("out"), Path("results"), tmp_path / "genuine")
    plan = model_plan("joint_scratch", recipes, places, overrides=OVERRIDES)
    # In the places of what the steps make:
    write_models(tmp_path, ["joint_gt_layout"])
    checkpoint = read_checkpoint(tmp_path / "joint_gt_layout.ckpt")
    checkpoint["hyper_parameters"]["seed"] = 1
    plan.trained.parent.mkdir(parents=True)
    torch.save(checkpoint | {"global_step": 8, "code_version": "c3a7117"}, plan.trained)
    runs = [{"seed": 0, "best": 0.5}, {"seed": 1, "best": 0.625}, {"seed": 2, "best": None}]
    plan.trained.with_name("restarts.json").write_text(json.dumps({"runs": runs}))
    plan.made.parent.mkdir()
    shutil.copy(tmp_path / "joint_gt_layout.ckpt", plan.made)
    layouts = {"right": share(30), "effective_number": 2.5, "commonest": {"share": 0.75}}
    content = {
        "with_known_truth": 40,
        "accuracy": share(36),
        "by_type": {"count": share(28), "exist": share(39)},
        "explanation": {"discrete_layout": layouts},
    }
    assert set(plan.summaries) == {("vqa", "rendered"), ("loc", "rendered"), ("vqa", "genuine")}
    for path in plan.summaries.values():
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(content))

    finish(plan)
    card = read_whole_card(plan.card)
    assert card == model_card(plan) and not card.reproduced
    (stage,) = card.stages
    assert (stage.seed, stage.steps, stage.commit) == (1, 4, "c3a7117")
    assert stage.command.startswith("python train.py configs/mini_joint_scratch.yaml MODEL.")
    assert card.seeds == {"0": 0.5, "1": 0.625} and [data.images for data in card.data] == [50, 12]
    questions, genuine = card.accuracy
    assert questions == "rendered test, 40 questions"
    assert genuine == "genuine CLEVR images, 40 questions"
    assert list(card.precision_at_1) == ["rendered test, 40 expressions"]
    assert card.discrete[genuine].layouts == 2.5 and card.discrete[genuine].commonest == 0.75
    assert "weakest of rendered questions: count (0.700)" in card.limits
    check_file_of_card(plan.made)
    said = summary(plan)
    assert f"sha256 {file_sha256(plan.made)}; bundled is another" in said
    assert "0.9000 (0.8500 to 0.9900)  rendered test, 40 expressions" in said
    monkeypatch.setattr(made, "is_code_of_today", lambda commit, places: commit == "c3a7117")
    assert not model_card(plan).reproduced  # Nobody knows what rendered its data.


def test_a_dry_run_says_what_is_to_be_done(shared, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    hour = dict.fromkeys(estimates.MEASURES, lambda: 36.0)
    monkeypatch.setattr(estimates, "MEASURES", hour)
    monkeypatch.setattr(steps, "_call", nothing_runs)
    where = ["--data", shared / "nothing", "--recipes", shared / "recipes.yaml"]
    command.main([*map(str, ["all", "--dry-run", *where])])
    printed = capsys.readouterr().out
    assert [line[:-1] for line in printed.splitlines() if line.endswith(":")] == list(NAMES)
    for name in NAMES[1:]:
        (line,) = [li for li in printed.splitlines() if f"train.py configs/mini_{name}.yaml" in li]
        assert ("--restarts 2" in line) == (name == "joint_scratch")
    assert printed.count("clevr_prep.synthetic") == 2  # What is shared is made once.
    assert " 0.58 h  python -m clevr_prep.synthetic" in printed  # 58 images
    assert not list(tmp_path.iterdir())


def test_every_recipe_of_the_project_can_be_planned(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(estimates, "MEASURES", dict.fromkeys(estimates.MEASURES, lambda: 1.0))
    command.main(["all", "--dry-run", "--out", str(tmp_path), "--results", str(tmp_path)])
    printed = capsys.readouterr().out
    # Where the recipes' data lie is where the configurations look for them.
    trained = [line for line in printed.splitlines() if "train.py configs/" in line]
    assert len(trained) == len(NAMES) - 1 and not any("IMDB_FILE" in line for line in trained)
    assert all("configs/mini_" in line for line in trained)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no model is called 'nothing'"),
        ([], "name models first"),
        (["TRAIN.MAX_ITER", "3"], "name models first"),
        (["vqa_scratch", "--seeds", "0"], "whole number above 0"),
    ],
)
def test_command_lines_that_cannot_be(arguments, said, capsys):
    with pytest.raises(SystemExit):
        command.main(arguments)
    assert said in capsys.readouterr().err


def test_what_is_wrong_with_recipes_is_said(tmp_path):
    path = tmp_path / "recipes.yaml"
    path.write_text("seeds: {vqa_gt_lay: 2}")
    with pytest.raises(
        ConfigError, match="seeds.vqa_gt_lay; the nearest known one is seeds.vqa_gt_layout"
    ):
        read_recipes(path)
    path.write_text("clevr: {train: 3, val: 1, test: 1}")
    with pytest.raises(ConfigError, match="clevr_loc.train must be above 0"):
        read_recipes(path)
    assert isinstance(read_recipes(write_recipes(tmp_path)), Recipes)
    assert read_recipes(write_recipes(tmp_path)).clevr.train == TINY["clevr"]["train"]
