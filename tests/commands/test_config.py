"""Configurations: strict keys, types, contradictions, and files of the earlier codebases."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from config import (
    Config,
    check_heads,
    check_training,
    load_config,
    stored_data,
    tasks,
    to_dict,
)
from snmn import build_model
from snmn.checkpoints.published_settings import (
    MODEL_ARGUMENTS,
    WITHOUT_EFFECT,
    flatten,
    loss_arguments,
    model_arguments,
)
from snmn.storage.typed_settings import ConfigError, all_keys
from snmn.training.losses import SNMNLoss
from tests.helpers.paths import ROOT, SHARED

GOLDEN = Path(os.environ.get("SNMN_GOLDEN_DIR", SHARED / "golden"))


@pytest.fixture
def write(tmp_path):
    def write(text, name="trial.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def test_defaults_name_and_task(write):
    config, notes = load_config(write("MODEL:\n  KB_DIM: 64\n"))
    assert config.MODEL.KB_DIM == 64 and config.EXP_NAME == "trial" and config.DATASET == "vqa"
    assert notes == []


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_config_builds(path):
    config, notes = load_config(path)
    check_training(config)
    settings = to_dict(config)
    model, loss = build_model(**model_arguments(settings)), SNMNLoss(**loss_arguments(settings))
    assert (
        (model.answer_head is not None) == (loss.answer_weight == 1.0) == ("vqa" in tasks(config))
    )
    assert (model.cell_scores is not None) == (loss.cell_weight is not None)
    assert notes == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("MODEL:\n  KB_DMI: 64\n", "unknown key MODEL.KB_DMI; the nearest known one is MODEL.KB"),
        ("KB_DIM: 64\n", "nearest known one is MODEL.KB_DIM"),
        ("MODEL: 3\n", "MODEL is a section"),
        ("MODEL:\n  KB_DIM: wide\n", "MODEL.KB_DIM must be of type int"),
        ("MODEL:\n  BUILD_VQA: 1\n", "BUILD_VQA must be of type bool"),
        ("DATASET: loc\n", "needs MODEL.BUILD_LOC True"),
        ("DATASET: clevr\n", "must be one of vqa, loc, joint"),
        ("MODEL:\n  BUILD_VQA: False\n", "build one"),
        ("IMDB_FILE: imdb.h5\n", "IMDB_FILE must contain %s"),
        ("TRAIN:\n  SHARPEN_LOSS_TYPE: max\n", "must be one of entropy, max_prob"),
        (
            "TRAIN:\n  SHARPEN_LOSS_SCALING_TYPE: func_scaling\n"
            "  SHARPEN_LOSS_SCALING_FUNC: 'lambda step: step'\n",
            "must be one of linear, quadratic, cosine, constant",
        ),
        ("TRAIN:\n  QUESTIONS_PER_IMAGE: 7\n", "not a multiple"),
        ("TRAIN:\n  LOG_INTERVAL: 0\n", "TRAIN.LOG_INTERVAL must be at least 1, not 0"),
        ("TRAIN:\n  DROPOUT_KEEP_PROB: 0\n", "probability above 0"),
        (
            "TRAIN:\n  USE_SHARPEN_LOSS: True\n  SHARPEN_SCHEDULE_END: 10\n",
            "ends before it begins",
        ),
        ("MODEL:\n  BUILD_LOC: True\nDATASET: vqa\n", "MODEL.BUILD_LOC is True but DATASET vqa"),
        ("DATASET: ref\n", "DATASET must be one of vqa, loc, joint, not 'ref'"),
        ("TRAIN:\n  MAX_HOPS_SCHEDULE: [[0, 1]]\n", "QUESTIONS_PER_IMAGE more than 1"),
        ("TRAIN:\n  MAX_HOPS_SCHEDULE: [[5, 1]]\n", "MAX_HOPS_SCHEDULE: a schedule has"),
        ("TRAIN:\n  MAX_HOPS_SCHEDULE: [5]\n", "MAX_HOPS_SCHEDULE:"),
        ("TRAIN:\n  MAX_OBJECTS_SCHEDULE: [[0, 3]]\n", "give TRAIN.FRESH_SCENES_FILE"),
        (
            "TRAIN:\n  MAX_OBJECTS_SCHEDULE: [[3, 3]]\n",
            "MAX_OBJECTS_SCHEDULE: a schedule has",
        ),
        ("TRAIN:\n  FRESH_QUERIES_UNTIL: 5\n", "give TRAIN.FRESH_SCENES_FILE"),
        ("TRAIN:\n  FRESH_COMPOSITIONS: 0.5\n", "give TRAIN.FRESH_SCENES_FILE"),
        ("TRAIN:\n  FRESH_HELD_OUT: True\n", "give TRAIN.FRESH_COMPOSITIONS a share"),
        ("TRAIN:\n  LAYOUT_PRIOR: [[0, _Find _Fnd]]\n", "LAYOUT_PRIOR: no module is called '_Fnd'"),
        ("TRAIN:\n  LAYOUT_PRIOR: [[0, _Find]]\n", "'_Find' has not MODEL.T_CTRL (9) steps"),
        ("TRAIN:\n  LAYOUT_PRIOR: [_Find]\n", "TRAIN.LAYOUT_PRIOR:"),
        (
            "MODEL:\n  T_CTRL: 1\nTRAIN:\n  USE_GT_LAYOUT: False\n"
            "  LAYOUT_PRIOR: [[0, _Find]]\n  LAYOUT_PRIOR_SCHEDULE_BEGIN: 5\n",
            "make TRAIN.LAYOUT_PRIOR_SCHEDULE_END at least TRAIN.LAYOUT_PRIOR_SCHEDULE_BEGIN (5)",
        ),
        (
            "MODEL:\n  T_CTRL: 1\nTRAIN:\n  LAYOUT_PRIOR: [[0, _Find]]\n",
            "training without TRAIN.USE_GT_LAYOUT",
        ),
        (
            "TRAIN:\n  USE_GT_LAYOUT: False\n  READING_ORDER_WEIGHT: 1.0\n",
            "set TRAIN.USE_GT_LAYOUT",
        ),
        ("BASE: nowhere.yaml\n", "nowhere.yaml: No such file"),
        ("BASE: trial.yaml\n", "circle"),
        ("- 1\n", "expected keys and values"),
        ("a: [\n", "not yaml"),
    ],
)
def test_mistakes_are_named(write, text, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        check_training(load_config(write(text))[0])


def test_overrides_and_numbers_as_text(write):
    path = write("TRAIN:\n  WEIGHT_DECAY: 1e-5\n  MAX_ITER: 2e3\n")
    config, _ = load_config(path, ["TRAIN.SOLVER.LR", "3e-4", "MODEL.NMN.STACK.LENGTH", "4"])
    assert config.TRAIN.WEIGHT_DECAY == 1e-5 and config.TRAIN.MAX_ITER == 2000
    assert config.TRAIN.SOLVER.LR == 3e-4 and config.MODEL.NMN.STACK.LENGTH == 4
    with pytest.raises(ConfigError, match="no value"):
        load_config(path, ["TRAIN.SOLVER.LR"])
    with pytest.raises(ConfigError, match="the command line: unknown key TRAIN.LR"):
        load_config(path, ["TRAIN.LR", "1"])


@pytest.mark.parametrize(
    "text",
    ["2018", "007", "on", "1e3", "", "null", "~", "a: b", "x # y", "[1]", "'q'", "2018-01-01"],
)
def test_text_on_the_command_line_is_text(write, text):
    config, _ = load_config(write(""), ["WANDB_PROJECT_NAME", text, "TEST.SPLIT_VQA", text])
    assert config.WANDB_PROJECT_NAME == text and config.TEST.SPLIT_VQA == text


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("EXP_NAME", "007", "007"),
        ("TRAIN.MAX_ITER", "010", 10),  # Eight, by yaml's rules.
        ("TRAIN.MAX_ITER", "2e3", 2000),
        ("TRAIN.MAX_ITER", "1_000", 1000),
        ("TRAIN.SOLVER.LR", "3", 3.0),
        ("TRAIN.SOLVER.LR", "03e-4", 3e-4),
        ("TRAIN.USE_GT_LAYOUT", "off", False),
        ("TRAIN.USE_GT_LAYOUT", "True", True),
        ("TRAIN.LAYOUT_PRIOR", "[[0, _Find]]", [[0, "_Find"]]),
        ("MODEL", "{T_CTRL: 1}", None),
    ],
)
def test_the_type_of_a_setting_decides_what_was_typed(write, monkeypatch, key, text, value):
    monkeypatch.setattr("config.check_settings", lambda _: None)
    config, _ = load_config(write(""), [key, text])
    if key == "MODEL":
        assert config.MODEL.T_CTRL == 1
    else:
        found = flatten(to_dict(config))[key]
        assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("TRAIN.MAX_ITER", "on", "TRAIN.MAX_ITER must be of type int, not 'on'"),
        ("TRAIN.MAX_ITER", "1:30", "TRAIN.MAX_ITER must be of type int, not '1:30'"),
        ("TRAIN.MAX_ITER", "", "TRAIN.MAX_ITER must be of type int, not ''"),
        ("TRAIN.SOLVER.LR", "nan", "TRAIN.SOLVER.LR must be of type float, not 'nan'"),
        ("TRAIN.USE_GT_LAYOUT", "1", "TRAIN.USE_GT_LAYOUT must be of type bool, not '1'"),
        ("TRAIN.LAYOUT_PRIOR", "[", "TRAIN.LAYOUT_PRIOR cannot be '['"),
        ("MODEL", "3", "MODEL is a section of keys"),
    ],
)
def test_what_was_typed_and_cannot_be(write, key, text, message):
    with pytest.raises(ConfigError, match=re.escape(f"the command line: {message}")):
        load_config(write(""), [key, text])


def test_a_number_for_a_text_in_a_file_is_told_how(write):
    with pytest.raises(ConfigError, match="EXP_NAME must be of type str, not 2018; put it in quo"):
        load_config(write("EXP_NAME: 2018\n"))


def test_a_single_split_needs_no_pattern(write):
    single = "FEATURE_DIR: data/features\nIMDB_FILE: data/imdb.h5\n"
    config, _ = load_config(write(single))
    check_heads(config)
    assert stored_data(config, config.TEST) == {"vqa": ("data/features", "data/imdb.h5")}
    with pytest.raises(ConfigError, match=r"IMDB_FILE must contain %s .*train, val, not be 'dat"):
        check_training(config)
    check_training(load_config(write(single + "TRAIN:\n  SPLIT_VQA: val\n"))[0])
    joint = "DATASET: joint\nMODEL:\n  BUILD_LOC: True\n"
    config, _ = load_config(write(joint + "FEATURE_DIR: data/features\n"))
    with pytest.raises(ConfigError, match="FEATURE_DIR must contain %s .* loc_val, val"):
        check_heads(config)
    with pytest.raises(ConfigError, match="FEATURE_DIR must contain %s once at most"):
        load_config(write("FEATURE_DIR: a/%s/%s\n"))


def test_a_joint_dataset_that_was_worked_out_is_noted(write):
    both = "MODEL:\n  BUILD_LOC: True\n"
    config, notes = load_config(write(both))
    assert config.DATASET == "joint" and notes[0].startswith("DATASET is joint, since MODEL.BUILD")
    assert load_config(write(both + "DATASET: joint\n"))[1] == []


def test_base_files_are_read_first(write):
    write("MODEL:\n  KB_DIM: 64\n  PE_DIM: 32\n", "base.yaml")
    config, _ = load_config(write("BASE: base.yaml\nMODEL:\n  KB_DIM: 16\n"))
    assert (config.MODEL.KB_DIM, config.MODEL.PE_DIM) == (16, 32)


def test_several_bases_are_read_one_after_the_other(write):
    write("MODEL:\n  KB_DIM: 64\n  PE_DIM: 32\n", "first.yaml")
    write("BASE: first.yaml\nMODEL:\n  KB_DIM: 16\n", "second.yaml")
    write("MODEL:\n  PE_DIM: 8\n", "third.yaml")
    config, _ = load_config(write("BASE: [second.yaml, third.yaml]\n"))
    assert (config.MODEL.KB_DIM, config.MODEL.PE_DIM) == (16, 8)


def test_a_home_folder_in_settings(write, tmp_path, monkeypatch):
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    (home / "base.yaml").write_text("FEATURE_DIR: ~/features/%s\nEXP_NAME: ~\n")
    path = write("BASE: ~/base.yaml\nIMDB_FILE: ~nobody-has-this-name/imdb_%s.h5\n")
    config, _ = load_config(path, ["TEST.DATA_DIR", "~/clevr", "TEST.VIS_DIR_PREFIX", "~vis"])
    assert config.FEATURE_DIR == f"{home}/features/%s"
    assert config.TEST.DATA_DIR == f"{home}/clevr"
    # A name that is nobody's is left alone, and so is what is no path.
    assert config.IMDB_FILE == "~nobody-has-this-name/imdb_%s.h5"
    assert config.TEST.VIS_DIR_PREFIX == "~vis"
    assert config.EXP_NAME == path.stem


def test_a_byte_order_mark_is_no_setting(write):
    config, _ = load_config(write("\ufeffEXP_NAME: marked\n"))
    assert config.EXP_NAME == "marked"


def test_what_contradicts_itself_in_training_alone_can_be_tested(write):
    text = "DATASET: loc\nTRAIN:\n  USE_SHARPEN_LOSS: True\n  SHARPEN_SCHEDULE_END: 10\n"
    config, _ = load_config(write(text + "MODEL:\n  BUILD_LOC: True\n  BUILD_VQA: False\n"))
    assert tasks(config) == ("loc",)
    with pytest.raises(ConfigError, match="ends before it begins"):
        check_training(config)


def test_experiments_differ_as_published():
    def keys(name):
        return flatten(to_dict(load_config(ROOT / "configs" / f"{name}.yaml")[0]))

    def differences(first, second):
        a, b = keys(first), keys(second)
        return {key: b[key] for key in a if a[key] != b[key]} | {"EXP_NAME": second}

    scratch = {
        "TRAIN.USE_GT_LAYOUT": False,
        "TRAIN.USE_SHARPEN_LOSS": True,
        "TRAIN.SHARPEN_LOSS_WEIGHT": 0.1,
        "TRAIN.SHARPEN_SCHEDULE_BEGIN": 150000,
        "TRAIN.SHARPEN_SCHEDULE_END": 160000,
    }
    for task in ("vqa", "loc", "joint"):
        name = f"{task}_scratch"
        assert differences(f"{task}_gt_layout", name) == scratch | {"EXP_NAME": name}
    heads = {"MODEL.LOC_SCORES_POS_AFFINE": True, "MODEL.BBOX_REG_AS_FCN": True}
    heads |= {"MODEL.BUILD_LOC": True}
    loc = heads | {"MODEL.BUILD_VQA": False, "DATASET": "loc", "EXP_NAME": "loc_gt_layout"}
    assert differences("vqa_gt_layout", "loc_gt_layout") == loc
    halves = {"TRAIN.BBOX_IND_LOSS_WEIGHT": 0.5, "TRAIN.BBOX_OFFSET_LOSS_WEIGHT": 0.5}
    joint = heads | halves | {"DATASET": "joint", "EXP_NAME": "joint_gt_layout"}
    assert differences("vqa_gt_layout", "joint_gt_layout") == joint
    begin = ("SHARPEN", "SCHEDULE", "PRIOR", "FRESH", "INIT")  # How it does is each one's own.

    def made_small(name):
        found = differences(name, f"mini_{name}")
        return {key for key in found if not any(word in key for word in begin)}

    held = {"TRAIN.READING_ORDER_WEIGHT", "TRAIN.LAYOUT_LOSS_WEIGHT"}
    small = made_small("vqa_gt_layout") - held
    for task, more in (("vqa", set()), ("loc", {"TRAIN.LAYOUT_LOSS_WEIGHT"}), ("joint", set())):
        assert made_small(f"{task}_gt_layout") == small | held
        assert made_small(f"{task}_scratch") == small | {"TRAIN.LAYOUT_SEARCH"} | more


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.npz")), ids=lambda p: p.stem)
def test_whole_configurations_of_both_codebases_load(write, path):
    with np.load(path) as arrays:
        if "config" not in arrays.files:
            pytest.skip("holds no configuration")
        settings = json.loads(str(arrays["config"]))
    config, notes = load_config(write(yaml.safe_dump(settings)))
    assert config.MODEL.KB_DIM == settings["MODEL"]["KB_DIM"]
    assert config.TRAIN.USE_GT_LAYOUT == settings["TRAIN"]["USE_GT_LAYOUT"]
    assert any(note.startswith("GPU_ID has no effect") for note in notes)


def test_published_keys_are_keys_of_the_configuration():
    assert set(MODEL_ARGUMENTS) <= set(all_keys(Config))
    assert not set(WITHOUT_EFFECT) & set(all_keys(Config))
