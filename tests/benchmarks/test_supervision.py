"""benchmarks.supervision on a tiny dataset: shares, what is kept, table and picture."""

import json

import pytest
from PIL import Image

from benchmarks import supervision
from benchmarks.reproduce import steps
from benchmarks.supervision import CONFIG, Condition, Outcome, conditions, draw, parse, report
from config import load_config
from snmn.common.errors import UserError
from tests.helpers.tiny.clevr import write_clevr
from tests.helpers.tiny.experiment import WIDTHS


def test_each_condition_is_a_run_of_its_own_once():
    found = conditions(parse([]))
    assert len(found) == len({each.name for each in found}) == 8  # All of both is one run.
    for each in found:
        config = load_config(CONFIG, each.overrides)[0]
        assert config.TRAIN.USE_GT_LAYOUT == (each.layouts > 0)
        assert config.TRAIN.LAYOUT_SHARE == (each.layouts or 1)
        assert config.TRAIN.IMAGE_SHARE == each.images
    assert Condition(0.1, 1.0, 3).overrides[-2:] == ["TRAIN.SHARE_SEED", "3"]
    for refused in (["--layouts", "2"], ["--images", "0"], ["--layouts", "--images"]):
        with pytest.raises(SystemExit):
            parse(refused)


def outcome(layouts, images, right):
    share = {"share": right, "low": right - 0.01, "high": right + 0.01}
    explanation = {
        "discrete_layout": {"right": share, "effective_number": 7.25},
        "discrete_program": {"as_model": share},
    }
    whole = {"accuracy": share, "layouts": {"whole": share}, "explanation": explanation}
    return Outcome(Condition(layouts, images, 0), whole)


def test_table_and_curves():
    outcomes = [outcome(0.001, 1.0, 0.5), outcome(1.0, 1.0, 0.75), outcome(1.0, 0.5, 0.625)]
    head, _, first, *_ = report(outcomes).splitlines()
    assert "program gives the model's answer" in head
    assert first.startswith("| 0.1 % | 100 % | 0.500 (0.490 to 0.510) |")
    assert first.endswith("| 7.2 |") and len(first.split("|")) == len(head.split("|"))
    layouts, images = draw(outcomes).axes
    assert [list(line.get_ydata()) for line in layouts.lines] == [[0.5, 0.75]] * 3
    assert [list(line.get_ydata()) for line in images.lines] == [[0.625, 0.75]] * 3
    assert [label.get_text() for label in images.get_xticklabels()] == ["50 %", "100 %"]
    (alone,) = draw(outcomes[:2]).axes
    assert alone.get_xlabel() == "share of layouts"


@pytest.mark.slow
def test_one_command_trains_tests_and_writes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    write_clevr(tmp_path, {"train": 6, "val": 4}, grid=(3, 4), dim=8)
    scenes = tmp_path / "scenes" / "CLEVR_%s_scenes.json"
    settings = {
        "IMDB_FILE": f"{tmp_path}/imdb/imdb_%s.h5",
        "FEATURE_DIR": f"{tmp_path}/features/%s",
        "TRAIN.FRESH_SCENES_FILE": scenes,
        "TEST.DATA_DIR": tmp_path,
        **{"MODEL.H_FEAT": 3, "MODEL.W_FEAT": 4, "MODEL.FEAT_DIM": 8},
        **WIDTHS,
        "TRAIN.BATCH_SIZE": 10,
        "TRAIN.VAL_INTERVAL": 2,
        "TRAIN.NUM_WORKERS": 0,
    }
    pairs = [str(text) for pair in settings.items() for text in pair]
    page, picture = tmp_path / "page.md", tmp_path / "curves.png"
    page.write_text("<!-- table: supervision -->\nold\n<!-- end of supervision -->\nkept\n")
    call = [*pairs, "--layouts", "0", "--images", "0.5", "--steps", "2"]
    call += ["--runs", str(tmp_path / "runs"), "--write", str(page), "--figure", str(picture)]
    supervision.main(call)
    results = tmp_path / "runs" / "results"
    summaries = {path.name: json.loads((path / "val" / "summary.json").read_text())
                 for path in results.iterdir()}  # fmt: skip
    assert set(summaries) == {each.name for each in conditions(parse(call))}
    rows = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[:2] for row in rows[2:]] == [
        ["| 0 %", "100 %"],
        ["| 100 %", "50 %"],
    ]
    first = summaries["supervision_layouts_0_images_1_seed_0"]
    assert f"{first['accuracy']['share']:.3f} (" in rows[2]
    assert "old" not in page.read_text() and page.read_text().endswith("kept\n")
    assert min(Image.open(picture).size) > 300
    assert rows[2] in capsys.readouterr().out

    def nothing_runs(*_):
        raise AssertionError("a command is run")

    monkeypatch.setattr(steps, "_call", nothing_runs)
    supervision.main(call)
    assert rows[2] in capsys.readouterr().out
    with pytest.raises(UserError, match="no line <!-- table: supervision -->"):
        page.write_text("nothing")
        supervision.main(call)
