"""What test.py writes, against a separate count: files, totals, figures, explanations."""

import csv
import importlib.util
import json
import shutil
import socket
import sys
import warnings
from collections import Counter

import numpy as np
import pytest
import torch
import yaml
from fastapi.testclient import TestClient
from PIL import Image

import train
from clevr_prep.data.build_clevr_imdb import main as build_imdb
from clevr_prep.data.get_ground_truth_layout import main as build_layouts
from server.browse import browse, listen
from server.main import create_app
from server.settings import Settings
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.checkpoints.checks import CheckpointError
from snmn.common.errors import UserError
from snmn.evaluation.scores import family
from snmn.export import export, export_folder
from snmn.storage.rgb import ImageError
from snmn.storage.typed_settings import ConfigError
from snmn.training.logs.quiet import quiet_lightning
from snmn.training.metrics import AccuracyByGroup, PrecisionByGroup
from tests.helpers.paths import ROOT
from tests.helpers.tiny.clevr import write_clevr
from tests.helpers.tiny.experiment import write_experiment

IMAGES = {"train": 3, "val": 5, "test": 2}
GRID = (3, 4)

_spec = importlib.util.spec_from_file_location("snmn_test_command", ROOT / "test.py")
test_command = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(test_command)

pytestmark = pytest.mark.filterwarnings("ignore:.*")


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """A dataset with images and scenes, a configuration for it, and a checkpoint of two steps."""
    root = tmp_path_factory.mktemp("testing")
    write_clevr(root, IMAGES, grid=GRID, dim=8)
    sizes = {"FEAT_DIM": 8, "EMBED_DIM": 8, "LSTM_DIM": 8, "PE_DIM": 4, "KB_DIM": 8}
    settings = {
        "IMDB_FILE": f"{root}/imdb/imdb_%s.h5",
        "FEATURE_DIR": f"{root}/features/%s",
        "MODEL": sizes | {"H_FEAT": 3, "W_FEAT": 4, "VQA_OUTPUT_DIM": 8, "NMN": {"MEM_DIM": 8}},
        "TRAIN": {"BATCH_SIZE": 8, "MAX_ITER": 2, "VAL_INTERVAL": 2, "LOG_INTERVAL": 1}
        | {"NUM_WORKERS": 0, "SNAPSHOT_DIR": f"{root}/runs/%s/", "EMA_DECAY": 0.9},
        "TEST": {"BATCH_SIZE": 8, "RESULT_DIR": f"{root}/results/%s/", "DATA_DIR": str(root)},
    }
    (root / "tiny.yaml").write_text(yaml.safe_dump(settings))
    train.main([str(root / "tiny.yaml"), "TRAIN.SOLVER.LR", "0.1"])
    return root


def run_test(root, *arguments, out="results"):
    checkpoint = root / "runs" / "tiny" / "last.ckpt"
    options = [str(root / "tiny.yaml"), str(checkpoint), "--out", str(root / out)]
    test_command.main([*options, *map(str, arguments)])
    return root / out / "tiny"


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def tested(experiment):
    """The folder of one test with everything that test.py offers."""
    return run_test(experiment, "--explain", "--figures", 3, "TEST.BATCH_SIZE", 10) / "val"


@pytest.mark.slow
def test_the_folder_of_a_model_is_tested_like_its_checkpoint(experiment):
    checkpoint = experiment / "runs" / "tiny" / "last.ckpt"
    export(checkpoint, experiment / "small.ckpt")
    export_folder(checkpoint, experiment / "hub")
    for name in ("small.ckpt", "hub"):
        out = experiment / "of" / name
        config = str(experiment / "tiny.yaml")
        test_command.main([config, str(experiment / name), "--out", str(out)])
    first, second = (
        read_csv(experiment / "of" / name / "tiny" / "val" / "predictions.csv")
        for name in ("small.ckpt", "hub")
    )
    assert len(first) == 30 and first == second
    config = json.loads((experiment / "hub" / "config.json").read_text())
    config["features"]["preprocess"] = "another"
    (experiment / "hub" / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="trained on features with preprocess another"):
        test_command.main([str(experiment / "tiny.yaml"), str(experiment / "hub")])


def test_a_setting_of_training_that_is_gone_since_changes_no_test(experiment):
    content = read_checkpoint(experiment / "runs" / "tiny" / "last.ckpt")
    content["hyper_parameters"] |= {"reads_first": 5}
    (experiment / "older").mkdir()
    torch.save(content, experiment / "older" / "tiny.ckpt")
    rows = []
    for checkpoint in ("older/tiny.ckpt", "runs/tiny/last.ckpt"):
        out = experiment / "older" / checkpoint
        call = [experiment / "tiny.yaml", experiment / checkpoint, "--batches", 1, "--out", out]
        test_command.main([*map(str, call)])
        rows.append(read_csv(out / "tiny" / "val" / "predictions.csv"))
    assert rows[0] and rows[0] == rows[1]


class TestTotals:
    @pytest.mark.slow
    def test_summary_is_what_a_separate_count_finds(self, tested):
        rows, summary = (
            read_csv(tested / "predictions.csv"),
            json.load((tested / "summary.json").open()),
        )
        assert len(rows) == summary["questions"] == summary["accuracy"]["total"] == 30
        right = [row["predicted"] == row["expected"] for row in rows]
        assert [int(row["correct"]) for row in rows] == right
        assert summary["accuracy"]["correct"] == sum(right)
        keys = {
            "by_type": lambda row: row["type"],
            "by_family": lambda row: family(row["type"]),
            "by_hops": lambda row: row["hops"],
            "by_layout_length": lambda row: str(len(row["expert_layout"].split())),
        }
        for name, key in keys.items():
            totals, corrects = Counter(), Counter()
            for row, is_right in zip(rows, right, strict=True):
                totals[key(row)] += 1
                corrects[key(row)] += is_right
            found = summary[name]
            assert {kind: entry["total"] for kind, entry in found.items()} == totals
            assert {kind: entry["correct"] for kind, entry in found.items()} == corrects
            assert sum(totals.values()) == 30

    def test_layouts_are_those_of_the_csv(self, tested):
        rows, summary = (
            read_csv(tested / "predictions.csv"),
            json.load((tested / "summary.json").open()),
        )
        same = sum(row["predicted_layout"] == row["expert_layout"] for row in rows)
        assert summary["layouts"]["whole"]["correct"] == same
        confusion = np.array(summary["layouts"]["confusion"])
        modules = summary["layouts"]["modules"]
        assert (confusion.sum(axis=(1, 2)) == 30).all()
        first = Counter(row["expert_layout"].split()[0] for row in rows)
        assert dict(zip(modules, confusion[0].sum(axis=1).tolist(), strict=True)) == {
            module: first[module] for module in modules
        }

    def test_answers_are_in_the_order_of_the_questions_file(self, tested):
        rows = read_csv(tested / "predictions.csv")
        lines = (tested / "CLEVR_val_answers.txt").read_text().splitlines()
        assert [row["question_index"] for row in rows] == [str(1000 - i) for i in range(30)]
        assert lines == [row["predicted"] for row in rows]


class TestExplain:
    def test_every_question_and_the_first_steps_count(self, tested):
        explanation = json.load((tested / "summary.json").open())["explanation"]
        assert (
            explanation["questions"] == explanation["discrete_program"]["as_model"]["total"] == 30
        )
        layouts = json.load((tested / "summary.json").open())["layouts"]
        for module in ("_Find", "_Scene"):
            m = layouts["modules"].index(module)
            expected = layouts["confusion"][0][m][m]
            entry = explanation["modules"].get(module, {})
            found = entry.get("steps", 0) + entry.get("steps_with_nothing_to_select", 0)
            assert found >= expected
        deletion = explanation["deletion"]
        changed = deletion["answer_changed"].get("attended objects", {"total": 0})
        assert changed["total"] + deletion["questions_that_attend_to_nothing"] == 30

    def test_plot_and_table(self, tested, experiment, capsys):
        with Image.open(tested / "reliability.png") as plot:
            assert plot.width > 300
        run_test(experiment, "--explain", out="again")
        assert "answer as the model does" in capsys.readouterr().out

    def test_needs_scenes_and_programs(self, experiment):
        with pytest.raises(ConfigError, match="no scene annotations .*TEST.DATA_DIR"):
            run_test(experiment, "--explain", "--split", "test", out="none")
        with pytest.raises(ConfigError, match="no scene annotations"):
            run_test(experiment, "--explain", "TEST.DATA_DIR", "nowhere", out="none")

    def test_a_question_without_a_program_is_named(self, experiment, tmp_path):
        for kind in ("scenes", "questions"):
            (tmp_path / kind).mkdir()
            content = json.loads((experiment / kind / f"CLEVR_val_{kind}.json").read_text())
            for question in content.get("questions", ()):
                question.pop("program")
            (tmp_path / kind / f"CLEVR_val_{kind}.json").write_text(json.dumps(content))
        with pytest.raises(ConfigError, match=r"_questions.json has no program of question \d+"):
            run_test(experiment, "--explain", "TEST.DATA_DIR", tmp_path, out="none")

    def test_without_a_size_in_the_scenes_it_is_the_images_(self, experiment, tested, tmp_path):
        """As with scenes of CLEVR, or of the public generator at another size."""
        shutil.copytree(experiment / "questions", tmp_path / "questions")
        (tmp_path / "scenes").mkdir()
        content = json.loads((experiment / "scenes" / "CLEVR_val_scenes.json").read_text())
        for scene in content["scenes"]:
            size = scene["render"]["width"], scene.pop("render")["height"]
            path = tmp_path / "images" / "val" / scene["image_filename"]
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", size).save(path)
        (tmp_path / "scenes" / "CLEVR_val_scenes.json").write_text(json.dumps(content))
        options = ("--explain", "TEST.BATCH_SIZE", 10, "TEST.DATA_DIR", tmp_path)
        again = run_test(experiment, *options, out="measured") / "val" / "summary.json"
        first = json.loads((tested / "summary.json").read_text())
        assert json.loads(again.read_text())["explanation"] == first["explanation"]
        path.unlink()
        with pytest.raises(ConfigError, match=f"how large its image is.*there is no {path}"):
            run_test(experiment, *options, out="none")
        Image.new("RGB", (48, 32)).save(path)
        with pytest.raises(ConfigError, match="far outside the image of 48 x 32 pixels"):
            run_test(experiment, *options, out="none")


class TestTrust:
    def test_each_question_in_words_with_its_program_and_marks(self, tested):
        rows = read_csv(tested / "predictions.csv")
        summary = json.loads((tested / "summary.json").read_text())["explanation"]
        for row in rows:
            assert row["in_words"].endswith(f" = {row['predicted']}")
            assert bool(row["program_gives"]) <= bool(row["program"])
        for name, entry in summary["marks"].items():
            if name == "any mark":
                stands = [bool(row["marks"]) for row in rows]
            else:
                stands = [name in row["marks"].split() for row in rows]
            assert entry["stands"]["correct"] == sum(stands)
            for key, wanted in (("wrong_with", True), ("wrong_without", False)):
                verdicts = [
                    row["correct"] for row, here in zip(rows, stands, strict=True) if here == wanted
                ]
                if verdicts:
                    assert entry[key]["correct"] == verdicts.count("0")
                    assert entry[key]["total"] == len(verdicts)
        otherwise = len(rows) - summary["discrete_layout"]["as_mixture"]["correct"]
        assert summary["marks"]["discrete_layout"]["stands"]["correct"] == otherwise > 0
        answers = summary["discrete_program"]["answers"]["correct"]
        assert answers == sum(bool(row["program_gives"]) for row in rows)

    def test_the_forward_simulation_stands_beside_the_confidence(self, tested):
        rows = read_csv(tested / "predictions.csv")
        summary = json.loads((tested / "summary.json").read_text())["explanation"]
        found = summary["forward_simulation"]
        right = [row["correct"] for row in rows].count("1")
        for entry in found.values():
            assert (entry["positive"], entry["negative"]) == (right, len(rows) - right)
        assert set(found) <= {"trace", "confidence"}
        assert "confidence" in found or right in (0, len(rows))

    def test_without_explaining_there_are_no_such_columns(self, experiment):
        folder = run_test(experiment, out="plain") / "val"
        assert not {"in_words", "marks"} & read_csv(folder / "predictions.csv")[0].keys()


class TestLayoutsMadeDiscrete:
    def test_the_measures_are_those_of_a_test_with_discrete_layouts(self, experiment, tested):
        found = json.loads((tested / "summary.json").read_text())
        discrete = found["explanation"]["discrete_layout"]
        again = run_test(experiment, "MODEL.CTRL.USE_HARD_ARGMAX_LAYOUT", True, out="discrete")
        summary = json.loads((again / "val" / "summary.json").read_text())
        assert discrete["right"]["correct"] == summary["accuracy"]["correct"]
        assert discrete["mixture_right"]["correct"] == found["accuracy"]["correct"]
        pairs = list(
            zip(*(read_csv(f / "predictions.csv") for f in (tested, again / "val")), strict=True)
        )
        same = sum(mixture["predicted"] == alone["predicted"] for mixture, alone in pairs)
        assert discrete["as_mixture"]["correct"] == same < len(pairs)
        layouts = Counter(row["predicted_layout"] for row, _ in pairs)
        assert discrete["commonest"]["correct"] == layouts.most_common(1)[0][1]
        shares = np.array(list(layouts.values())) / len(pairs)
        expected = np.exp(-(shares * np.log(shares)).sum())
        assert discrete["effective_number"] == pytest.approx(expected, abs=1e-4)
        lengths = [len(row["predicted_layout"].split()) for row, _ in pairs]
        assert discrete["mean_length"] == pytest.approx(np.mean(lengths), abs=1e-4)

    def test_what_changes_no_weight_can_be_changed_with_a_note(self, experiment, capsys):
        run_test(experiment, "MODEL.NMN.STACK.USE_HARD_SHARPEN", False, out="soft")
        note = "MODEL.NMN.STACK.USE_HARD_SHARPEN is False in this test, in training it was not"
        assert f"note: {note}" in capsys.readouterr().out
        with pytest.raises(CheckpointError, match="MODEL.NMN.MEM_DIM is 8 there and 16"):
            run_test(experiment, "MODEL.NMN.MEM_DIM", 16, out="soft")
        path = experiment / "runs" / "tiny" / "last.ckpt"
        arguments = ["--resume", str(path), "MODEL.NMN.STACK.USE_HARD_SHARPEN", "False"]
        with pytest.raises(CheckpointError, match="USE_HARD_SHARPEN is True there and False"):
            train.main([str(experiment / "tiny.yaml"), *arguments])


@pytest.mark.slow
class TestFigures:
    def test_as_many_as_asked_for_of_questions_in_the_csv(self, tested):
        names = sorted(path.stem for path in (tested / "vis").iterdir())
        known = {row["question_index"].zfill(6) for row in read_csv(tested / "predictions.csv")}
        assert len(names) == 3 and set(names) <= known
        for name in names:
            with Image.open(tested / "vis" / f"{name}.png") as figure:
                assert figure.width > 600

    def test_correct_and_incorrect_apart(self, experiment):
        folder = run_test(experiment, "--figures", 40, "--separate", out="separate") / "val"
        verdicts = {
            row["question_index"]: row["correct"] for row in read_csv(folder / "predictions.csv")
        }
        for name, verdict in (("correct", "1"), ("incorrect", "0")):
            found = folder / "vis" / name
            drawn = {str(int(path.stem)) for path in found.iterdir()} if found.exists() else set()
            assert drawn == {number for number, known in verdicts.items() if known == verdict}

    def test_apart_without_answers_says_why_there_is_none(self, experiment, capsys):
        run_test(experiment, "--figures", 2, "--separate", "--split", "test", out="unknown")
        (line,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("figures"))
        assert "none in" in line and "nobody knows the truth" in line and "--separate" in line

    def test_a_damaged_image_is_named(self, experiment, tmp_path):
        shutil.copytree(experiment / "images", tmp_path / "images")
        for path in (tmp_path / "images" / "val").iterdir():
            path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(ImageError, match=r"images.val.CLEVR_val_\d+.png cannot be read"):
            run_test(experiment, "--figures", 1, "TEST.DATA_DIR", tmp_path, out="damaged")

    def test_the_published_keys_ask_for_them_too(self, experiment, capsys):
        keys = ["TEST.NUM_VIS", 2, "TEST.VIS_DIR_PREFIX", "pictures", "TEST.VIS_SHOW_IMG", "False"]
        folder = run_test(experiment, *keys, "TEST.DATA_DIR", "nowhere", out="keys")
        assert len(list((folder / "val" / "pictures").iterdir())) == 2
        assert "no effect" not in capsys.readouterr().out

    def test_a_missing_image_is_named(self, experiment):
        with pytest.raises(FileNotFoundError, match="nowhere.images.val.CLEVR_val.*TEST.DATA_DIR"):
            run_test(experiment, "--figures", 1, "TEST.DATA_DIR", "nowhere", out="missing")

    def test_an_image_of_another_kind_is_named(self, experiment, tmp_path):
        (tmp_path / "images" / "val").mkdir(parents=True)
        for image in (experiment / "images" / "val").iterdir():
            shutil.copy(image, tmp_path / "images" / "val" / f"{image.stem}.jpg")
        message = r"no image .*\.png to draw on, but CLEVR_val_\d+\.jpg is there: let image_file"
        with pytest.raises(FileNotFoundError, match=message):
            run_test(experiment, "--figures", 1, "TEST.DATA_DIR", tmp_path, out="kind")

    def test_none_unless_asked_for(self, experiment):
        folder = run_test(experiment, out="plain") / "val"
        assert {path.name for path in folder.iterdir()} == {
            "predictions.csv",
            "summary.json",
            "CLEVR_val_answers.txt",
        }


def write_renumbered(experiment, root, order=1):
    """The split val, whose questions are numbered anew for each image, as CLOSURE's for each kind.

    With order -1 they stand in the other order.
    """
    content = json.loads((experiment / "questions" / "CLEVR_val_questions.json").read_text())
    questions = [
        entry | {"question_index": place % 6} for place, entry in enumerate(content["questions"])
    ]
    (root / "questions").mkdir(exist_ok=True)
    (root / "scenes").mkdir(exist_ok=True)
    path = root / "questions" / "CLEVR_val_questions.json"
    path.write_text(json.dumps({"questions": questions[::order]}))
    scenes = "CLEVR_val_scenes.json"
    (root / "scenes" / scenes).write_bytes((experiment / "scenes" / scenes).read_bytes())
    return ["--data-dir", str(root), "--out", str(root / "imdb"), "--split", "val"]


class TestNumbersThatRepeat:
    def test_numbered_by_place_all_is_as_with_numbers_of_their_own(
        self, experiment, tested, tmp_path, capsys
    ):
        options = write_renumbered(experiment, tmp_path)
        build_layouts(["--data-dir", str(tmp_path)])
        assert build_imdb(options) == 2
        assert "--number-by-place" in capsys.readouterr().err
        assert build_imdb([*options, "--number-by-place"]) == 0
        data = ["IMDB_FILE", f"{tmp_path}/imdb/imdb_%s.h5", "TEST.DATA_DIR", tmp_path]
        folder = run_test(experiment, *data, "--explain", out=tmp_path / "results") / "val"
        found, expected = (json.load((f / "summary.json").open()) for f in (folder, tested))
        assert found["explanation"] == expected["explanation"]
        answers = [(f / "CLEVR_val_answers.txt").read_text() for f in (folder, tested)]
        assert answers[0] == answers[1]
        rows = read_csv(folder / "predictions.csv")
        assert [row["question_index"] for row in rows] == [str(place) for place in range(30)]

    def test_programs_that_cannot_be_told_apart_explain_nothing(self, experiment, tmp_path):
        write_renumbered(experiment, tmp_path)
        with pytest.raises(ConfigError, match="question 6: .* question 0; .*--number-by-place"):
            run_test(experiment, "--explain", "TEST.DATA_DIR", tmp_path, out=tmp_path / "results")

    def test_a_file_that_has_changed_since_explains_nothing(self, experiment, tmp_path):
        options = write_renumbered(experiment, tmp_path)
        assert build_imdb([*options, "--number-by-place"]) == 0
        write_renumbered(experiment, tmp_path, order=-1)
        data = ["IMDB_FILE", f"{tmp_path}/imdb/imdb_%s.h5", "TEST.DATA_DIR", tmp_path]
        with pytest.raises(ConfigError, match="has changed since the imdb was made"):
            run_test(experiment, *data, "--explain", out=tmp_path / "results")


def test_a_split_of_one_question(experiment, tested, tmp_path):
    options = write_renumbered(experiment, tmp_path)
    path = tmp_path / "questions" / "CLEVR_val_questions.json"
    path.write_text(json.dumps({"questions": json.loads(path.read_text())["questions"][:1]}))
    assert build_imdb(options) == 0
    data = ["IMDB_FILE", f"{tmp_path}/imdb/imdb_%s.h5", "TEST.DATA_DIR", tmp_path]
    folder = run_test(experiment, *data, "--explain", out=tmp_path / "results") / "val"
    (row,), expected = (read_csv(f / "predictions.csv") for f in (folder, tested))
    assert row["predicted"] == expected[0]["predicted"]


class TestTerminal:
    def test_one_bar_that_knows_its_length(self, experiment, capsys):
        run_test(experiment, out="bar")
        shown = "".join(capsys.readouterr())
        assert "0/?" not in shown
        assert shown.count(" 0/5 ") == 1 and "testing: 100%" in shown

    def test_metrics_of_what_has_no_answers_give_no_warning(self):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            quiet_lightning()
            assert AccuracyByGroup(("a",)).compute() == PrecisionByGroup(("a",)).compute() == {}
        assert not said


class TestOptions:
    def test_splits_without_answers_are_predicted(self, experiment, capsys):
        folder = run_test(experiment, "--split", "test", out="secret") / "test"
        assert "accuracy cannot be known" in capsys.readouterr().out
        assert len((folder / "CLEVR_test_answers.txt").read_text().splitlines()) == 12
        assert all(
            row["predicted"] and not row["correct"] for row in read_csv(folder / "predictions.csv")
        )
        assert json.load((folder / "summary.json").open())["accuracy"] is None

    def test_raw_weights_are_others(self, experiment, tested):
        folder = run_test(experiment, "--raw", out="raw") / "val"
        raw, averaged = (read_csv(path / "predictions.csv") for path in (folder, tested))
        assert [r["confidence"] for r in raw] != [r["confidence"] for r in averaged]
        assert json.load((folder / "summary.json").open())["weights"] == "raw"

    def test_some_batches_alone(self, experiment, capsys):
        folder = run_test(experiment, "--batches", 1, out="some") / "val"
        assert len(read_csv(folder / "predictions.csv")) == 6
        assert "6 of 30 questions" in capsys.readouterr().out
        assert not (folder / "CLEVR_val_answers.txt").exists()

    def test_wrong_numbers_are_refused(self, experiment, capsys):
        with pytest.raises(SystemExit):
            run_test(experiment, "--batches", "-1")
        with pytest.raises(SystemExit):
            run_test(experiment, "--figures", "few")
        assert "must be a whole number, not 'few'" in capsys.readouterr().err

    def test_help_shows_examples(self, monkeypatch, capsys):
        monkeypatch.setattr(sys, "argv", ["test.py", "--help"])
        with pytest.raises(SystemExit):
            test_command.main()
        assert "--figures 20 --separate" in capsys.readouterr().out


def test_boxes_are_drawn_and_have_their_own_folder(tmp_path):
    overrides = write_experiment(tmp_path)
    path = str(ROOT / "configs" / "mini_loc_gt_layout.yaml")
    train.main([path, *overrides, "TRAIN.MAX_ITER", "1"])
    checkpoint = tmp_path / "runs" / "mini_loc_gt_layout" / "last.ckpt"
    options = ["--figures", "2", "TEST.VIS_SHOW_IMG", "False"]
    test_command.main([path, str(checkpoint), *overrides, *options])
    folder = tmp_path / "results" / "mini_loc_gt_layout" / "loc_val"
    assert len(list((folder / "vis").iterdir())) == 2
    rows, summary = (
        read_csv(folder / "predictions.csv"),
        json.load((folder / "summary.json").open()),
    )
    assert summary["accuracy"]["correct"] == sum(float(row["iou"]) >= 0.5 for row in rows)
    assert not list(folder.glob("*_answers.txt"))


class TestBrowsing:
    @pytest.mark.slow
    def test_the_list_opens_every_question_with_the_answer_that_the_file_has(
        self, experiment, tested
    ):
        """Of own data, whose features no backbone of the project makes."""
        rows = read_csv(tested / "predictions.csv")
        with TestClient(create_app(Settings(results=(tested,), concurrency=1))) as client:
            (test,) = client.get("/api/results").json()
            assert test["questions"] == len(rows) and test["model"] == "tiny (tested)"
            page = client.get("/api/results/val/questions", params={"verdict": "wrong"}).json()
            wrong = [number for number, row in enumerate(rows) if row["correct"] == "0"]
            assert [one["row"] for one in page["questions"]] == wrong
            for number, row in enumerate(rows):
                shown = client.get(f"/api/results/val/questions/{number}").json()
                assert shown["tested"]["image"] == row["image"]
                ask = {"sample": f"val/{number}", "question": row["question"]}
                answer = client.post("/api/predict", json=ask | {"model": test["model"]}).json()
                assert answer["answer"] == row["predicted"]
                share = answer["probabilities"][0]["probability"]
                assert share == pytest.approx(float(row["confidence"]), abs=2e-4)
                layout = [step["module"] for step in answer["steps"] if step["module"] != "_NoOp"]
                assert layout == row["predicted_layout"].split()

    def test_browse_serves_what_was_tested(self, experiment, monkeypatch, capsys):
        served = []
        monkeypatch.setattr(test_command, "browse", lambda *given: served.append(given))
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(UserError, match=f"port {port} is in use; --port takes another"):
                run_test(experiment, "--browse", "--port", port, "--batches", 1, out="browsed")
        assert not (experiment / "browsed").exists()  # Said before the test takes its time.
        folder = run_test(experiment, "--browse", "--port", 0, "--batches", 1, out="browsed")
        ((folders, modules, taken),) = served
        taken.close()
        assert folders == (folder / "val",) and modules == {}
        summary = json.loads((folder / "val" / "summary.json").read_text())
        assert summary["images"] == str(experiment / "images" / "val")
        assert summary["features"] == str(experiment / "features" / "val")

    def test_the_page_is_served_to_this_machine_alone(
        self, experiment, tested, monkeypatch, capsys
    ):
        asked = []

        def run(server, sockets):
            (taken,) = sockets
            asked.append((taken.getsockname(), server.config.app))

        monkeypatch.setattr("uvicorn.Server.run", run)
        with listen(0) as taken:
            browse((tested,), {}, taken)
        (((host, port), app),) = asked
        assert host == "127.0.0.1" and list(app.state.engine.results) == ["val"]
        assert f"http://localhost:{port}/results?test=val lists" in capsys.readouterr().out
