"""CLEVR-CoGenT: its two configurations, and questions about scenes of one condition."""

import functools
import importlib.util
import json
from collections import Counter

import numpy as np
import pytest

import train
from clevr_prep.clevr.programs import execute
from clevr_prep.synthetic.fresh_questions import FreshQuestions
from clevr_prep.synthetic.sampling.questions import generate_questions
from clevr_prep.synthetic.scenes.scene_sampling import COGENT, sample_scene
from config import load_config, to_dict
from snmn.checkpoints.published_settings import flatten
from tests.helpers.paths import ROOT
from tests.helpers.tiny import experiment as tiny_experiment

CONFIGS = {condition: str(ROOT / "configs" / f"mini_cogent{end}.yaml") for condition, end in
           (("A", ""), ("B", "_b"))}  # fmt: skip

_spec = importlib.util.spec_from_file_location("snmn_test_command", ROOT / "test.py")
test_command = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(test_command)


@pytest.fixture(scope="module")
def conditions(tmp_path_factory):
    """A tiny dataset of each condition: its folder and overrides."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for condition in ("A", "B"):
            sample = functools.partial(sample_scene, cogent=condition)
            patch.setattr(tiny_experiment, "sample_scene", sample)
            root = tmp_path_factory.mktemp(condition)
            found[condition] = root, tiny_experiment.write_experiment(root)
    return found


def test_the_second_configuration_changes_the_data_alone():
    settings = [flatten(to_dict(load_config(CONFIGS[condition])[0])) for condition in ("A", "B")]
    differing = {key for key in settings[0] if settings[0][key] != settings[1][key]}
    assert differing == {"EXP_NAME", "IMDB_FILE", "FEATURE_DIR", "TEST.DATA_DIR"}
    for key in ("IMDB_FILE", "FEATURE_DIR", "TEST.DATA_DIR", "TRAIN.FRESH_SCENES_FILE"):
        assert "cogent_a" in settings[0][key]
    assert all("cogent_b" in settings[1][key] for key in differing - {"EXP_NAME"})


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*")
def test_one_model_is_trained_on_a_and_tested_on_both(conditions, monkeypatch):
    drawn, draw = [], FreshQuestions.draw

    def note(source, image, *rest):
        drawn.append(source.filenames[image])
        return draw(source, image, *rest)

    monkeypatch.setattr(FreshQuestions, "draw", note)
    root, overrides = conditions["A"]
    scenes = ["TRAIN.FRESH_SCENES_FILE", f"{root}/scenes_%s.json"]
    train.main([CONFIGS["A"], *overrides, *scenes, "TRAIN.QUESTIONS_PER_IMAGE", "4"])
    assert drawn and all(name.startswith("CLEVR_train_") for name in drawn)
    checkpoint = str(root / "runs" / "mini_cogent" / "last.ckpt")
    for condition, name in (("A", "mini_cogent"), ("B", "mini_cogent_b")):
        folder, overrides = conditions[condition]
        test_command.main([CONFIGS[condition], checkpoint, *overrides])
        summary = json.loads((folder / "results" / name / "val" / "summary.json").read_text())
        assert summary["experiment"] == name and summary["checkpoint"] == checkpoint
        assert summary["accuracy"]["total"] == 16


@pytest.mark.parametrize("condition", ["A", "B"])
def test_questions_keep_to_their_condition_and_stay_balanced(condition):
    rng = np.random.default_rng(0)
    answers, colours = Counter(), {"cube": Counter(), "cylinder": Counter()}
    for _ in range(60):
        scene = sample_scene(rng, cogent=condition)
        for entry in generate_questions(scene, 10, rng):
            program = entry["program"]
            assert execute(program, scene) == entry["answer"]
            answers[entry["answer"]] += 1
            for before, unique, last in zip(program[:-2], program[1:-1], program[2:], strict=True):
                if (unique["function"], last["function"]) == ("unique", "query_color"):
                    if before["function"] == "filter_shape" and last is program[-1]:
                        shape = before["value_inputs"][0]
                        colours.get(shape, Counter())[entry["answer"]] += 1
    for shape, counts in colours.items():
        assert set(counts) <= set(COGENT[condition][shape]) and len(counts) >= 3
    assert 0.65 < answers["yes"] / answers["no"] < 1.5
