"""The page of results: bundled models tested, summaries turned into tables, learning curves."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image

import train
from benchmarks.curves import CurvesError, names, read_curves
from benchmarks.curves import main as draw
from benchmarks.results import __main__ as results
from benchmarks.results import trials
from benchmarks.results.readme_table import readme_table
from benchmarks.results.tables import cogent_table, seeds_table, trained_by
from config import load_config, to_dict
from snmn.checkpoints.bundled import BUNDLED
from snmn.common.paths import visible_files
from tests.helpers.paths import ROOT
from tests.helpers.tiny.experiment import write_experiment

CURVES = ("val/score", "val/layout_accuracy")
TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)

pytestmark = pytest.mark.filterwarnings("ignore:.*")


def entry(correct, total=10, **more):
    share = correct / total
    return {"share": share, "low": share - 0.1, "high": share + 0.1, "total": total} | more


def tally(correct):
    found = {"pointing": entry(correct), "by_chance": 0.25, "precision": 0.75, "recall": 0.875}
    return {"steps": 10, "steps_with_nothing_to_select": 0} | found


def summary(command, correct, kinds, families):
    """What test.py --explain writes of ten questions."""
    discrete = {"right": entry(correct - 1), "mixture_right": entry(correct)}
    discrete |= {"effective_number": 12.5, "mean_length": 4.5, "expert_mean_length": 4.75}
    explanation = {
        "layout_as_the_experts": entry(9),
        "modules": {"_Find": tally(7), "_And": {"steps": 0, "steps_with_nothing_to_select": 1}},
        "last_maps": tally(6),
        "discrete_program": {"answers": entry(10), "as_model": entry(8), "right": entry(9)},
        "discrete_layout": discrete | {"commonest": entry(3, layout="_Find _DescribeOne")},
    }
    return {
        "command": command,
        "with_known_truth": 10,
        "accuracy": entry(correct, constant=4),
        "by_family": {name: entry(correct) for name in families},
        "by_type": {kind: entry(correct, constant=4) for kind in kinds},
        "calibration": {"ece": 0.125},
        "explanation": explanation,
    }


def without_tables(page):
    """The page's prose, with the comments that its tables stand between."""
    return TABLE.sub(r"\1\3", page)


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A folder of models with a joint one, data for it, pages, and calls of test.py, written down.

    What is called in test.py's place says of questions that 5, of expressions that 8 are right.
    """
    for name in ("imdb_val", "imdb_test", "imdb_loc_val", "imdb_loc_test"):
        for folder in ("data", "real"):
            path = tmp_path / folder / "imdb" / f"{name}.h5"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    models = tmp_path / "models"
    models.mkdir()
    (models / "joint_scratch.ckpt").write_text("weights")
    stages = [{"seed": 3, "steps": 4000, "minutes": 61.5}, {"seed": 4, "steps": 500, "minutes": 9}]
    card = {"features": "cellnet", "stages": stages, "seeds": {"3": 0.5, "5": 0.25}}
    card["accuracy"] = {"rendered test, 10 questions": entry(5), "genuine images, 10": entry(4)}
    card["discrete"] = {"rendered test, 10 questions": {"right": entry(2)}}
    (models / "joint_scratch.json").write_text(json.dumps(card))
    for page in ("docs/results.md", "docs/generalisation.md", "README.md"):
        text = without_tables((ROOT / page).read_text())
        (tmp_path / Path(page).name).write_text(text)
    called = []

    def run(command, **_):
        given = trials.shlex.join(command[1:])
        called.append(given)
        task = "loc" if "DATASET loc" in given else "vqa"
        folder = Path(command[command.index("--out") + 1]) / "mini_joint_scratch"
        split = command[command.index("--split") + 1]
        folder /= f"loc_{split}" if task == "loc" else split
        folder.mkdir(parents=True, exist_ok=True)
        parts = (8, ["ref_and"], []) if task == "loc" else (5, ["count"], ["count", "exist"])
        content = summary(f"python {given}", *parts)
        (folder / "summary.json").write_text(json.dumps(content))
        return trials.subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(trials.subprocess, "run", run)
    arguments = ["--models", models, "--configs", ROOT / "configs", "--data", tmp_path / "data"]
    arguments += ["--genuine", tmp_path / "real", "--results", tmp_path / "made"]
    for option in ("out", "readme", "generalisation"):
        name = {"out": "results", "readme": "README"}.get(option, option)
        arguments += [f"--{option}", tmp_path / f"{name}.md"]
    return called, [str(argument) for argument in arguments], tmp_path


def test_each_model_is_tested_once_on_all_that_it_can_be(bundle):
    called, arguments, root = bundle
    pages = {path: path.read_text() for path in root.glob("*.md")}
    results.main(arguments)
    assert len(called) == 3 and all("--explain --without-deletions" in call for call in called)
    assert sorted(("genuine" in c, "DATASET loc" in c, "--split test" in c) for c in called) == [
        (False, False, True),
        (False, True, True),
        (True, False, False),
    ]
    (genuine,) = [call for call in called if "genuine" in call]
    for setting in (f"IMDB_FILE {root}/real/imdb/imdb_%s.h5", f"TEST.DATA_DIR {root}/real"):
        assert setting in genuine
    text = (root / "results.md").read_text()
    for path, before in pages.items():
        assert without_tables(path.read_text()) == without_tables(before)
    # Nothing is due any more; another checkpoint or other data make what hangs on them due.
    results.main(arguments)
    assert len(called) == 3 and (root / "results.md").read_text() == text
    (root / "real" / "imdb" / "imdb_val.h5").write_text("other questions")
    results.main(arguments)
    assert len(called) == 4 and "genuine" in called[-1]
    (root / "models" / "joint_scratch.ckpt").write_text("other weights")
    results.main(arguments)
    assert len(called) == 7


def test_the_pages_say_what_summaries_and_cards_do(bundle):
    _, arguments, root = bundle
    results.main(arguments)
    text = (root / "results.md").read_text()
    row = "| `joint_scratch` | found by itself | {} | {} (40.0 to 60.0) | 50.0 |  | 50.0 |  |  |"
    assert row.format("rendered test", "50.0") in text
    assert row.format("genuine images", "50.0") in text
    own = "| `joint_scratch` | found by itself | rendered test | 80.0 (70.0 to 90.0) | 80.0 |"
    assert own in text and "| expressions | layouts | asked | all | and |" in text
    assert "| *MAC* | *none* | *MAC paper* | *98.9* | *97.2* | *99.4* | *99.5* |" in text
    assert "| *Stack-NMN, the original* | *none* |  | *93.4* |  |" in text
    shown = "| `joint_scratch` | questions, rendered test | 0.500 (0.400 to 0.600) "
    shown += "| 0.400 (0.300 to 0.500) | 12.5 | 0.30 | 4.50; 4.75 | 0.900 | 0.700 | 0.800 | 0.900 |"
    assert shown in text
    about = "| `joint_scratch` | questions, rendered test |"
    assert f"{about} 0.700; 0.25 |  | 0.600; 0.25 |" in text
    assert f"{about} 0.750; 0.875 |  | 0.750; 0.875 |" in text
    assert "| `joint_scratch` | 3, 4 | 4,000 + 500 | 70 | 0.0 MiB |" in text
    assert "| `joint_scratch` | 2 | 0.375 | 0.177 | 0.250 to 0.500 |" in text
    page = (root / "README.md").read_text()
    card = "| [`joint_scratch`](server/models/joint_scratch.json) | 0.500; 0.400 |  | 0.200 |"
    assert card in page and "`python -m benchmarks.reproduce joint_scratch`" in page


def test_without_tests_what_is_there_is_taken(bundle):
    called, arguments, root = bundle
    results.main([*arguments, "--no-tests"])
    assert not called and "| `joint_scratch` | 3, 4 |" in (root / "results.md").read_text()
    assert "No model has been tested with `--explain`." in (root / "results.md").read_text()
    results.main(arguments)
    full = (root / "results.md").read_text()
    shutil.rmtree(root / "data")
    results.main([*arguments, "--no-tests"])
    assert len(called) == 3
    command = re.compile("    python -m benchmarks.results.*")
    assert command.sub("", (root / "results.md").read_text()) == command.sub("", full)


def test_cards_alone_make_the_table_of_models(bundle):
    called, arguments, root = bundle
    before = (root / "results.md").read_text()
    results.main([*arguments, "--cards"])
    assert not called and (root / "results.md").read_text() == before
    assert "| 0.500; 0.400 |" in (root / "README.md").read_text()


def test_the_condition_of_colours_goes_to_its_own_page(bundle):
    _, arguments, root = bundle
    made = []
    for split in ("a", "b"):
        made.append(root / f"{split}.json")
        content = summary("python test.py", 5, ["count"], []) | {"split": split, "experiment": "x"}
        made[-1].write_text(json.dumps(content))
    results.main([*arguments, "--cogent", *map(str, made)])
    page = (root / "generalisation.md").read_text()
    assert "| question type | accuracy, x on a | accuracy, x on b | best constant answer |" in page


def test_the_readme_is_up_to_date_with_the_cards():
    checkpoints = visible_files(BUNDLED, "*.ckpt")
    page = ROOT / "README.md"
    assert len(checkpoints) > 5
    assert results.filled(page, {"models": readme_table(checkpoints)}) == page.read_text()


def test_minutes_are_known_of_all_stages_or_not_at_all():
    stages = [{"seed": 0, "steps": 5, "minutes": None}, {"seed": 1, "steps": 5, "minutes": 2.0}]
    assert trained_by({"stages": stages}) == ("0, 1", "5 + 5", "")


def test_what_is_missing_is_named_before_anything_is_tested(bundle):
    called, arguments, root = bundle
    (root / "data" / "imdb" / "imdb_loc_test.h5").unlink()
    with pytest.raises(trials.ResultsError, match="no .*imdb_loc_test.h5; README"):
        results.main(arguments)
    (root / "data" / "imdb" / "imdb_loc_test.h5").write_text("")
    (root / "results.md").write_text("no table")
    with pytest.raises(trials.ResultsError, match="no line <!-- table: scores -->"):
        results.main(arguments)
    (root / "models" / "other.ckpt").write_text("")
    with pytest.raises(trials.ResultsError, match="other.json names no features"):
        results.main(arguments)
    assert not called


def test_an_error_of_a_test_is_told_and_not_kept(bundle, monkeypatch):
    called, arguments, root = bundle

    def fail(command, **_):
        return trials.subprocess.CompletedProcess(command, 1, "", "warning\ntest.py: no imdb\n")

    run = trials.subprocess.run
    monkeypatch.setattr(trials.subprocess, "run", fail)
    with pytest.raises(trials.ResultsError, match="^test.py: no imdb$"):
        results.main(arguments)
    monkeypatch.setattr(trials.subprocess, "run", run)
    results.main(arguments)
    assert len(called) == 3


@pytest.mark.slow
def test_a_trained_model_goes_through_test_py(tmp_path):
    overrides = write_experiment(tmp_path)
    config = str(ROOT / "configs" / "mini_vqa_gt_layout.yaml")
    train.main([config, *overrides, "--logger", "csv"])
    written, _ = load_config(config, overrides)
    settings = to_dict(written) | {"EXP_NAME": "mini_tiny"}
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "mini_tiny.yaml").write_text(yaml.safe_dump(settings))
    command = [str(tmp_path / "configs" / "mini_tiny.yaml"), str(tmp_path / "tiny.ckpt")]
    shutil.copy(tmp_path / "runs" / "mini_vqa_gt_layout" / "last.ckpt", command[1])
    trial = trials.Trial(
        "vqa val",
        [*command, "--out", str(tmp_path / "made")],
        tmp_path / "made" / "mini_tiny" / "val" / "summary.json",
        tmp_path / "made" / "vqa-val.json",
        {"checkpoint": hashlib.sha256().hexdigest()},
    )
    assert not trial.is_done
    trial.run()
    assert trial.is_done
    made = trials.read_json(trial.summary)
    assert made["command"] == trials.shlex.join(["python", "test.py", *trial.arguments])
    assert "all" in cogent_table([made]) and made["experiment"] == "mini_tiny"
    curves = read_curves(tmp_path / "runs" / "mini_vqa_gt_layout")
    assert curves["val/score"][4] == pytest.approx(made["accuracy"]["share"], abs=1e-6)


def test_seeds_of_an_experiment_in_one_line():
    runs = [
        {"seed": 1, "best": 0.5, "collapsed": ""},
        {"seed": 2, "best": None, "collapsed": "the loss is nan"},
    ]
    facts = {"runs": runs, "mean": 0.5, "spread": None, "prior": 0.25, "command": "python train.py"}
    text = seeds_table({Path("runs/mini_vqa_scratch/restarts.json"): facts})
    row = "| `mini_vqa_scratch` | 1: 0.500, 2: no score (collapsed) | 0.500 |  | 0.250 |"
    assert row in text and text.endswith("\n\n    python train.py")


def write_log(folder, rows):
    folder.mkdir(parents=True)
    lines = ["step,train/loss,val/score,val/layout_accuracy"]
    for step, score in rows:
        lines += [f"{step},0.5,,", f"{step},,{score},{score / 2}"]
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")


def test_logs_of_a_run_that_went_on_are_one_curve(tmp_path):
    run = tmp_path / "mini_vqa_scratch" / "seed-2"
    write_log(run / "logs", [(1, 0.1), (2, 0.2), (3, 0.9), (4, 0.9)])
    write_log(run / "logs-2", [(3, 0.3)])
    write_log(run / "logs-10", [(5, 0.5)])
    (run / "logs-11").mkdir()
    curves = read_curves(run)
    assert curves["val/score"] == {1: 0.1, 2: 0.2, 3: 0.3, 5: 0.5}
    assert curves["val/layout_accuracy"][5] == 0.25 and set(curves) == set(CURVES)
    assert names(run) == ("mini_vqa_scratch", "seed 2")
    assert names(tmp_path / "a" / "mini_loc_scratch") == ("mini_loc_scratch", "a")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CurvesError, match="empty: no val/score"):
        read_curves(tmp_path / "empty")


@pytest.mark.slow
def test_curves_are_a_small_picture_with_a_panel_for_each_experiment(tmp_path):
    runs = []
    for experiment in ("a", "b", "c", "d"):
        runs.append(tmp_path / experiment)
        write_log(runs[-1] / "logs", [(step, step / 200) for step in range(1, 200)])
    for kind in ("png", "svg"):
        out = tmp_path / f"curves.{kind}"
        draw([*map(str, runs), "--out", str(out)])
        assert 5_000 < out.stat().st_size < 150_000
    with Image.open(tmp_path / "curves.png") as picture:
        pixels = picture.convert("RGBA")
    assert pixels.getpixel((0, 0)) == (255, 255, 255, 255)
    blue = [count for count, colour in pixels.getcolors(2**20) if colour[:3] == (0, 114, 178)]
    assert blue and blue[0] > 300
    draw([str(runs[0]), "--out", str(tmp_path / "one.png")])
    with Image.open(tmp_path / "one.png") as one:
        assert pixels.width == pytest.approx(3 * one.width, abs=3)
        assert pixels.height == pytest.approx(2 * one.height, abs=3)
