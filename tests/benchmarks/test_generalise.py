"""benchmarks.generalise on a tiny dataset: questions, tests, tables, and what is kept."""

import json
import shutil

import pytest
import yaml

import train
from benchmarks.generalise import __main__ as generalise
from benchmarks.generalise.tables import SplitResult, report, summary
from benchmarks.results.trials import ResultsError
from clevr_prep.data.build_clevr_imdb import main as build_imdb
from clevr_prep.data.get_ground_truth_layout import main as write_layouts
from clevr_prep.synthetic.compositions.__main__ import main as compose
from snmn.data.imdb import Imdb
from snmn.evaluation.calibration import separation
from tests.helpers.tiny.clevr import write_clevr

SPLITS = [
    "or_mat",
    "or_mat_baseline",
    "few_shallow",
    "many_deep",
    "false_premise",
    "false_premise_baseline",
]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A dataset whose validation images are the genuine ones and its test images the rendered."""
    root = tmp_path_factory.mktemp("generalise")
    write_clevr(root, {"train": 3, "val": 12}, grid=(3, 4), dim=8)
    sizes = {"FEAT_DIM": 8, "EMBED_DIM": 8, "LSTM_DIM": 8, "PE_DIM": 4, "KB_DIM": 8}
    settings = {
        "IMDB_FILE": f"{root}/imdb/imdb_%s.h5",
        "FEATURE_DIR": f"{root}/features/%s",
        "MODEL": sizes | {"H_FEAT": 3, "W_FEAT": 4, "VQA_OUTPUT_DIM": 8, "NMN": {"MEM_DIM": 8}},
        "TRAIN": {"BATCH_SIZE": 8, "MAX_ITER": 2, "VAL_INTERVAL": 2, "LOG_INTERVAL": 1}
        | {"NUM_WORKERS": 0, "SNAPSHOT_DIR": f"{root}/runs/%s/", "EMA_DECAY": 0.9},
        "TEST": {"BATCH_SIZE": 50, "RESULT_DIR": f"{root}/results/%s/", "DATA_DIR": str(root)},
    }
    (root / "tiny.yaml").write_text(yaml.safe_dump(settings))
    train.main([str(root / "tiny.yaml")])
    # Folders as README's commands make them.
    (root / "data" / "features").mkdir(parents=True)
    (root / "data" / "clevr" / "scenes").mkdir(parents=True)
    (root / "data" / "features" / "features").symlink_to(root / "features")
    (root / "features" / "test").symlink_to(root / "features" / "val")
    scenes = (root / "scenes" / "CLEVR_val_scenes.json").read_text()
    (root / "data" / "clevr" / "scenes" / "CLEVR_test_scenes.json").write_text(scenes)
    return root


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*")
def test_one_command_asks_and_prints_all(root, monkeypatch, capsys):
    monkeypatch.setattr(generalise, "splits_of", lambda *, loc: [] if loc else SPLITS)
    page = root / "page.md"
    page.write_text("<!-- table: last -->\nold\n<!-- end of last -->\nkept\n")
    arguments = [f"{root}/runs/tiny/last.ckpt", "--config", f"{root}/tiny.yaml"]
    arguments += ["--data", f"{root}/data", "--questions", f"{root}/asked"]
    arguments += ["--results", f"{root}/out", "--write", str(page)]
    generalise.main(arguments)
    printed = capsys.readouterr()
    assert printed.err.count("of rendered test scenes") == len(SPLITS) - 1
    summary = root / "out/last/rendered_vqa/tiny/or_mat/summary.json"
    found = json.loads(summary.read_text())
    assert not (summary.parent.parent / "many_deep").exists()  # No scene here has six objects.
    row = next(line for line in printed.out.splitlines() if line.startswith("| or_mat |"))
    assert f"| {found['questions']} | {found['accuracy']['share']:.3f} (" in row
    right = found["explanation"]["discrete_program"]["right"]
    assert f"{right['share']:.3f} ({right['low']:.3f}" in row
    assert "| few objects, shallow |" in printed.out and "AUROC" in printed.out
    assert "NS-VQA 77" in printed.out
    text = page.read_text()
    assert row in text and "old" not in text and text.endswith("kept\n")
    generalise.main(arguments)
    again = capsys.readouterr()
    assert again.err.count("of rendered test scenes") == 0 and row in again.out
    assert "## All of them" not in again.out
    other = shutil.copy(f"{root}/runs/tiny/last.ckpt", f"{root}/runs/tiny/other.ckpt")
    with page.open("a") as file:
        for name in ("other", "summary"):
            file.write(f"<!-- table: {name} -->\n<!-- end of {name} -->\n")
    generalise.main([str(other), *arguments])
    both = capsys.readouterr()
    assert both.err.count("other: ") == len(SPLITS) - 1 and both.err.count("last: ") == 0
    share = f"{found['accuracy']['share']:.3f}"
    for name in ("other", "last"):
        line = f"| `{name}` | questions about rendered test scenes | {share} |"
        assert line in both.out and line in page.read_text()


@pytest.mark.filterwarnings("ignore:.*")
def test_what_is_missing_is_named(root):
    arguments = [f"{root}/runs/tiny/none.ckpt", "--config", f"{root}/tiny.yaml"]
    with pytest.raises(ResultsError, match=r"no such file: .*none\.ckpt"):
        generalise.main(arguments)
    with pytest.raises(SystemExit):
        generalise.main([f"{root}/runs/tiny/last.ckpt"])


def rows_of(*rows):
    return [{"expected": e, "correct": str(int(e == p)), "confidence": str(c)} for e, p, c in rows]


def split_of(*rows, **more):
    right = sum(int(row["correct"]) for row in rows_of(*rows))
    entry = {"share": right / len(rows), "low": 0.0, "high": 1.0, "total": len(rows)}
    summary = {"accuracy": entry | {"constant": 1}, "layouts": {"whole": entry}}
    summary |= {"calibration": {"ece": 0.1}, "explanation": {"discrete_program": {"right": entry}}}
    return SplitResult(summary, rows_of(*rows))


def test_tables_say_what_the_rows_do():
    splits = {
        "or_mat": split_of(("1", "1", 0.9), ("1", "2", 0.9), ("2", "1", 0.9), ("1", "1", 0.5)),
        "or_mat_baseline": split_of(("1", "1", 1.0), ("2", "2", 1.0)),
        "and_mat_spa": split_of(("red", "red", 1.0), ("blue", "blue", 1.0)),
        "and_mat_spa_baseline": split_of(("red", "red", 1.0), ("blue", "red", 1.0)),
        "false_premise": split_of(("red", "red", 0.2), ("blue", "red", 0.6)),
        "false_premise_baseline": split_of(("red", "red", 0.9), ("blue", "red", 0.5)),
    }
    whole = dict(splits)
    text = report({("rendered test scenes", "vqa"): splits})
    assert "| or_mat | 4 | 0.500 (" in text and "| 0.750 |" in text
    assert "| **mean of 2** | 6 | **0.750** | **0.750** |" in text
    # 0.9 sure of what is right in a third: 0.567 off, and 0.5 and 1 where it is right.
    error = (3 * (0.9 - 1 / 3) + 0.5) / 6
    assert f"| {error:.3f} | 0.250 |" in text
    assert "AUROC 0.750" in text
    del splits["or_mat"], splits["false_premise"]
    loc = {f"loc_{name}": split for name, split in splits.items() if "or_mat" not in name}
    tables = {("genuine scenes", "vqa"): splits, ("rendered test scenes", "loc"): loc}
    lines = summary({"a": {("rendered test scenes", "vqa"): whole}, "b": tables}).splitlines()[2:]
    error = f"{error:.3f}"
    assert lines == [
        "| `a` | questions about rendered test scenes | 0.750 | 0.750 | or_mat 0.500 | 0.750 "
        f"| {error} | 0.750 |",
        "| `b` | questions about genuine scenes | 1.000 | 0.500 | and_mat_spa 1.000 | 1.000 "
        "| 0.000 |  |",
        "| `b` | expressions about rendered test scenes | 1.000 | 0.500 | loc_and_mat_spa 1.000 "
        "| 1.000 | 0.000 |  |",
    ]


@pytest.mark.parametrize(
    "higher, lower, area",
    [([0.9, 0.8], [0.1, 0.2], 1), ([0.1], [0.9], 0), ([0.5, 0.5], [0.5], 0.5), ([3, 1], [2], 0.5)],
)
def test_separation(higher, lower, area):
    found = separation(higher, lower)
    assert found["area"] == area and found["low"] <= area <= found["high"]


def test_separation_of_nothing():
    with pytest.raises(ValueError, match="empty"):
        separation([], [0.5])


def test_question_files_as_closure_publishes_them(root, tmp_path):
    """Nodes with `type`, answers of JSON's own types, numbers that start anew with each family."""
    made = tmp_path / "made"
    compose(
        [f"{root}/scenes/CLEVR_val_scenes.json", str(made), "--splits", "or_mat", "compare_mat"]
    )
    published = []
    for split in ("or_mat", "compare_mat"):
        asked = json.loads((made / "questions" / f"CLEVR_{split}_questions.json").read_text())
        for number, entry in enumerate(asked["questions"][:5]):
            program = [
                {"type": node["function"], "inputs": node["inputs"]}
                | {"side_inputs": node["value_inputs"], "_output": 0}
                for node in entry["program"]
            ]
            answer = entry["answer"]
            answer = {"yes": True, "no": False}.get(answer, answer)
            answer = int(answer) if isinstance(answer, str) else answer
            published.append(entry | {"question_index": number, "program": program})
            published[-1]["answer"] = answer
    folder = tmp_path / "data"
    (folder / "questions").mkdir(parents=True)
    path = folder / "questions" / "CLEVR_closure_questions.json"
    path.write_text(json.dumps({"info": {}, "questions": published}))
    options = ["--data-dir", str(folder)]
    assert write_layouts(options) == 0
    assert build_imdb([*options, "--out", str(folder), "--number-by-place"]) == 0
    imdb = Imdb(folder / "imdb_closure.h5")
    assert len(imdb) == 10 and imdb.layout is not None and (imdb.answer >= 0).all()
    generalise._test.main(
        [f"{root}/tiny.yaml", f"{root}/runs/tiny/last.ckpt", "--split", "closure"]
        + ["IMDB_FILE", f"{folder}/imdb_%s.h5", "FEATURE_DIR", f"{root}/features/val"]
        + ["TEST.RESULT_DIR", f"{folder}/results/%s/"]
    )
    summary = json.loads((folder / "results/tiny/closure/summary.json").read_text())
    assert summary["with_known_truth"] == 10
