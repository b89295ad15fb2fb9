"""Cards of models: those of the bundled ones, and what a card is refused for."""

import json
import shutil

import pytest

from benchmarks.reproduce.page import PAGE, page
from config import load_config, to_dict
from server.catalogue import read_catalogue
from snmn.backbones import cellnet
from snmn.backbones.base import BackboneError
from snmn.checkpoints import bundled
from snmn.checkpoints.bundled import BUNDLED, bundled_card, bundled_names, bundled_path
from snmn.checkpoints.cards import read_whole_card
from snmn.checkpoints.checkpoint import load_model, read_checkpoint
from snmn.checkpoints.checks import CheckpointError
from snmn.checkpoints.published_settings import flatten
from snmn.predict import Predictor
from tests.helpers.paths import ROOT

NAME = "loc_scratch"
# Of a configuration: where things lie, not what is trained.
PLACES = ("IMDB_FILE", "FEATURE_DIR", "TRAIN.FRESH_SCENES_FILE", "TRAIN.FRESH_SCENES_FILE_LOC")
PLACES += ("TEST.DATA_DIR", "TEST.DATA_DIR_LOC", "TRAIN.SNAPSHOT_DIR", "TEST.RESULT_DIR")


@pytest.mark.parametrize("name", bundled_names())
def test_a_bundled_card_is_whole_and_about_its_file(name):
    card = bundled_card(name)
    assert bundled_path(name) == BUNDLED / f"{name}.ckpt"
    assert (BUNDLED / f"{name}.json").read_text(encoding="utf-8") == card.as_json()
    for stage in card.stages:
        config, _ = load_config(ROOT / stage.config, stage.overrides)
        assert stage.steps <= config.TRAIN.MAX_ITER
    if card.reproduced:
        # Then its one run is what its configuration says today.
        (stage,) = card.stages
        made = read_checkpoint(BUNDLED / f"{name}.ckpt")["hyper_parameters"]
        today, then = flatten(to_dict(config)), flatten(made["config"])
        assert made["seed"] == stage.seed
        assert {k: v for k, v in then.items() if k not in PLACES} == {
            k: v for k, v in today.items() if k not in PLACES
        }


def test_the_page_is_what_the_cards_say():
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m benchmarks.reproduce --page"


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A bundled model in a folder of its own; returns its checkpoint and card."""
    for suffix in (".ckpt", ".json"):
        shutil.copy(BUNDLED / f"{NAME}{suffix}", tmp_path)
    monkeypatch.setattr(bundled, "BUNDLED", tmp_path)
    return tmp_path / f"{NAME}.ckpt", tmp_path / f"{NAME}.json"


def change(card, **fields):
    content = json.loads(card.read_text())
    card.write_text(json.dumps({**content, **fields}))


def test_a_file_that_its_card_is_not_about_is_refused(bundle):
    checkpoint, card = bundle
    Predictor.bundled(NAME)
    shutil.copy(BUNDLED / "loc_gt_layout.ckpt", checkpoint)
    for load in (lambda: Predictor.bundled(NAME), lambda: bundled_path(NAME)):
        with pytest.raises(CheckpointError, match="loc_scratch.ckpt: not the file that its card"):
            load()
    for load in (load_model, read_checkpoint, Predictor):  # By its path, too.
        with pytest.raises(
            CheckpointError, match="its sha256 is .* put the right file in its place"
        ):
            load(checkpoint)
    with pytest.raises(CheckpointError, match="not the file that its card"):
        read_catalogue(checkpoint.parent)[NAME].load({})  # The demo, which then shows no answer.
    # A model of one's own may have a card that names no file.
    change(card, sha256=None)
    load_model(checkpoint)
    with pytest.raises(CheckpointError, match="loc_scratch.json: sha256 must be a text, not None"):
        Predictor.bundled(NAME)
    card.unlink()
    load_model(checkpoint)
    with pytest.raises(CheckpointError, match="loc_scratch.json: No such file"):
        Predictor.bundled(NAME)


def test_weights_of_the_backbone_that_its_card_is_not_about_are_refused(tmp_path, monkeypatch):
    for suffix in (".pt", ".json"):
        shutil.copy(cellnet.WEIGHTS.with_suffix(suffix), tmp_path)
    monkeypatch.setattr(cellnet, "WEIGHTS", tmp_path / "cellnet.pt")
    cellnet.load_cellnet()
    with (tmp_path / "cellnet.pt").open("ab") as file:
        file.write(b"\0")
    with pytest.raises(BackboneError, match="cellnet.pt is not the file that its card"):
        cellnet.load_cellnet()


STAGE = {"config": "configs/mini_loc_scratch.yaml", "overrides": [], "seed": 0, "steps": 5000}
SHARE = {"share": 0.5, "low": 0.4, "high": 0.6, "total": 10}


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stages": []}, "stages is empty"),
        ({"stages": {}}, "stages must be a list, not {}"),
        ({"stages": ["train"]}, "stages[0] must be a table, not 'train'"),
        ({"stages": [STAGE | {"seed": "0"}]}, "stages[0].seed must be a whole number, not '0'"),
        ({"stages": [STAGE | {"seed": True}]}, "stages[0].seed must be a whole number, not True"),
        ({"stages": [STAGE | {"steps": 0}]}, "stages[0].steps must be at least 1, not 0"),
        (
            {"stages": [STAGE | {"overrides": ["TRAIN.MAX_ITER"]}]},
            "stages[0].overrides come as pairs",
        ),
        ({"stages": [STAGE | {"overrides": [3]}]}, "stages[0].overrides[0] must be a text, not 3"),
        (
            {"stages": [STAGE | {"command": "x"}]},
            "unknown field stages[0].command; there are config",
        ),
        ({"stages": [{"seed": 0}]}, "the field stages[0].config is missing"),
        ({"sha256": "12"}, "sha256 must be 64 hexadecimal digits, not '12'"),
        ({"steps": 5000}, "unknown field steps; there are about, features, stages"),
        ({"reproduced": True, "stages": [STAGE]}, "each stage's commit known"),
        ({"reproduced": 1}, "reproduced must be true or false, not 1"),
        ({"precision_at_1": {"val": 0.9}}, "precision_at_1['val'] must be a table, not 0.9"),
        ({"precision_at_1": {"val": SHARE | {"low": 0.55}}}, "precision_at_1['val']: a share lies"),
        ({"precision_at_1": {"val": SHARE | {"share": "a"}}}, "['val'].share must be a number"),
        ({"precision_at_1": {}}, "neither accuracy nor precision_at_1"),
        ({"discrete": {"val": {"right": SHARE}}}, "field discrete['val'].layouts is missing"),
        ({"data": [{"command": "x", "seed": 0}]}, "the field data[0].images is missing"),
    ],
)
def test_what_is_wrong_with_a_card_is_said_with_its_place(bundle, fields, said):
    _, card = bundle
    change(card, **fields)
    with pytest.raises(CheckpointError) as refused:
        read_whole_card(card)
    assert said in str(refused.value) and str(refused.value).startswith(f"{card}: ")


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\x00", "[]", "3", '{"about": NaN}'])
def test_what_is_no_card_is_refused(bundle, text):
    _, card = bundle
    card.write_text(text)
    with pytest.raises(CheckpointError, match="loc_scratch.json: "):
        read_whole_card(card)
