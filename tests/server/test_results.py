"""The walk through a test's questions: lists, filters, images, features and models."""

import io
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image

from server.main import create_app
from snmn.checkpoints.checkpoint import load_model, save_model
from snmn.common.vocabulary import ANSWERS, encode
from snmn.data.feature_store import FeatureStore
from snmn.network.model import build_model
from snmn.predict import forward
from tests.helpers.tiny import results as tiny_results
from tests.helpers.tiny.results import NAMES, QUESTIONS, rows, write_features, write_results
from tests.helpers.tiny.server import KINDS, SIZES, refused, settings

ROWS = rows()


def serving(models, *folders, **changes):
    return TestClient(create_app(settings(models, results=folders, **changes)))


@pytest.fixture(scope="module")
def root(tmp_path_factory, models):
    """A folder with tests of several kinds in results/, named after what is special."""
    root = tmp_path_factory.mktemp("tested")
    tested = models / "vqa_scratch.ckpt"
    write_features(root / "features")
    write_results(root, tested, ROWS)
    write_results(root, models / "loc_gt_layout.ckpt", rows(9, loc=True), split="loc_val")
    write_results(root, tested, rows(30, marks=True), split="marked")
    write_results(root, tested, split="bare", features="nowhere")
    write_features(root / "foreign", backbone="another")
    write_results(root, tested, split="foreign", features=str(root / "foreign"))
    write_results(root, tested, split="raw", weights="raw")
    write_results(root, root / "gone.ckpt", split="gone")
    arguments = SIZES | KINDS["vqa_scratch"] | {"feature_dim": 8, "height": 3, "width": 4}
    save_model(root / "own.ckpt", build_model(**arguments), arguments=arguments)
    write_features(root / "unknown", backbone="test", grid=(3, 4), dim=8)
    about = {"experiment": "own", "features": str(root / "unknown")}
    write_results(root, root / "own.ckpt", split="unknown", **about)
    return root


@pytest.fixture(scope="module")
def client(models, root):
    with serving(models, root / "results") as client:
        yield client


def listed(client, test="val", **filters):
    """All rows that pass, from all pages."""
    found, page, pages = [], 1, 1
    while page <= pages:
        response = client.get(f"/api/results/{test}/questions", params=filters | {"page": page})
        assert response.status_code == 200, response.text
        body = response.json()
        pages, page = body["pages"], page + 1
        found += [one["row"] for one in body["questions"]]
    assert len(found) == body["total"]
    return found


def asked(client, sample, question=QUESTIONS[0], **fields):
    body = {"sample": sample, "question": question, **fields}
    return client.post("/api/predict", json=body)


def test_the_tests_of_a_folder_are_told_with_what_they_can_be_filtered_by(client):
    found = {one["name"]: one for one in client.get("/api/results").json()}
    assert {"loc_val", "marked", "val"} < set(found)
    val = found["val"]
    assert val["model"] == "vqa_scratch" and val["task"] == "vqa" and val["marks"] is None
    known = [row for row in ROWS if row["correct"] != ""]
    assert val["questions"] == len(ROWS) and val["with_known_truth"] == len(known)
    assert val["right"] == sum(row["correct"] for row in known)
    assert val["types"] == sorted(tiny_results.TYPES)
    assert sum(val["layouts"].values()) == len(ROWS)
    assert found["marked"]["marks"] == {"undecided_step": 20, "unlike_image": 10}
    assert found["loc_val"]["task"] == "loc"


@pytest.mark.parametrize(
    "filters, passes",
    [
        ({}, lambda row: True),
        ({"type": "", "below": "", "layout": "", "departs": "", "verdict": ""}, lambda row: True),
        ({"type": "exist"}, lambda row: row["type"] == "exist"),
        ({"verdict": "wrong"}, lambda row: row["correct"] == 0),
        ({"verdict": "right"}, lambda row: row["correct"] == 1),
        ({"verdict": "unknown"}, lambda row: row["correct"] == ""),
        ({"below": 0.5}, lambda row: row["confidence"] < 0.5),
        (
            {"layout": "_Find _DescribeOne"},
            lambda row: row["predicted_layout"] == "_Find _DescribeOne",
        ),
        ({"departs": True}, lambda row: row["predicted_layout"] != row["expert_layout"]),
        ({"departs": False}, lambda row: row["predicted_layout"] == row["expert_layout"]),
        (
            {"type": "count", "verdict": "wrong", "below": 0.7},
            lambda row: row["type"] == "count" and row["correct"] == 0 and row["confidence"] < 0.7,
        ),
        ({"type": "no such type"}, lambda row: False),
    ],
)
def test_filters_keep_what_they_say(client, filters, passes):
    expected = [number for number, row in enumerate(ROWS) if passes(row)]
    assert listed(client, **filters) == expected


def test_marks_can_be_filtered_where_there_are_any(client):
    assert listed(client, "marked", mark="unlike_image") == list(range(2, 30, 3))
    assert listed(client, "marked", mark="undecided_step", type="exist") == list(range(1, 30, 3))
    page = client.get("/results", params={"test": "marked"}).text
    assert 'name="mark"' in page and "unlike image (10)" in page
    assert "find &#34;cubes&#34; -&gt; count = 29" in page
    response = client.get("/api/results/val/questions", params={"mark": "undecided_step"})
    refused(response, 422, "no_marks")
    assert 'name="mark"' not in client.get("/results", params={"test": "val"}).text


def test_questions_are_told_as_the_file_has_them(client):
    found = client.get("/api/results/val/questions").json()["questions"]
    for number, one in enumerate(found):
        row = ROWS[number]
        assert one["sample"] == f"val/{number}"
        assert [one[key] for key in ("image", "question", "type", "confidence")] == [
            row[key] for key in ("image", "question", "type", "confidence")
        ]
        assert one["correct"] == {1: True, 0: False, "": None}[row["correct"]]
        assert one["true_answer"] == (row["expected"] or None)
        assert one["layout"] == row["predicted_layout"].split() and one["box"] is None
    box = client.get("/api/results/loc_val/questions").json()["questions"][1]
    assert box["box"] == [1, 2, 30.5, 20] and box["true_box"] == [1, 2, 30, 20]
    assert box["iou"] == 0.9 and box["answer"] is None


def test_a_question_comes_with_its_image_and_neighbours(client):
    wrong = listed(client, verdict="wrong")
    place = 3
    found = client.get(
        f"/api/results/val/questions/{wrong[place]}", params={"verdict": "wrong"}
    ).json()
    assert (found["previous"], found["next"]) == (wrong[place - 1], wrong[place + 1])
    assert (found["place"], found["total"]) == (place + 1, len(wrong))
    sample = found["sample"]
    assert (sample["width"], sample["height"]) == tiny_results.SIZE
    # First what the test asks, then what else it asks about the image.
    assert sample["questions"][0] == {"text": ROWS[wrong[place]]["question"], "answer": "no"}
    assert len(sample["questions"]) == 6
    # One that the filters leave out has neighbours all the same.
    other = client.get("/api/results/val/questions/1", params={"verdict": "wrong"}).json()
    assert other["place"] is None and other["next"] == wrong[0] and other["previous"] is None
    last = client.get(f"/api/results/val/questions/{len(ROWS) - 1}").json()
    assert last["next"] is None
    box = client.get("/api/results/loc_val/questions/1").json()["sample"]
    assert box["expressions"][0] == {"text": "the big thing", "box": [1, 2, 30, 20]}


@pytest.mark.parametrize("number", [0, 4, 8])
def test_images_are_sent_whatever_their_files_are_called(client, root, number):
    response = client.get(f"/api/results/val/images/{number}")
    assert response.headers["content-type"] == "image/jpeg"
    sent = np.asarray(Image.open(io.BytesIO(response.content)), dtype=float)
    own = np.asarray(Image.open(root / "images" / NAMES[number // 4]), dtype=float)
    assert abs(sent - own).mean() < 12  # Noise is what JPEG keeps worst.
    small = client.get(f"/api/results/val/images/{number}", params={"small": True})
    assert Image.open(io.BytesIO(small.content)).size == tiny_results.SIZE  # It was small.


def test_the_tested_model_answers_from_the_features_that_the_test_read(client, root, models):
    model = load_model(models / "vqa_scratch.ckpt")
    store = FeatureStore(root / "features")
    for number in (0, 5, 9):
        given = store.read([store.index(ROWS[number]["image"])])
        question = ROWS[number]["question"]
        output = forward(model, encode(question), torch.from_numpy(given).float())
        expected = output.answer_logits[0].softmax(0)
        found = asked(client, f"val/{number}", question, model="vqa_scratch").json()
        assert found["answer"] == ANSWERS[expected.argmax()]
        assert found["probabilities"][0]["probability"] == pytest.approx(
            expected.max().item(), abs=1e-4
        )
        assert found["sample"] == f"val/{number}"
        assert (found["image_width"], found["image_height"]) == tiny_results.SIZE


def uploaded(client, root, model):
    """The answer to the first question about the first image, uploaded."""
    with open(root / "images" / NAMES[0], "rb") as file:
        data = {"question": QUESTIONS[0], "model": model}
        return client.post("/api/predict", data=data, files={"image": file}).json()


def same(found, other):
    return (found["probabilities"], found["steps"]) == (other["probabilities"], other["steps"])


def test_without_stored_features_they_are_made_of_the_image(client, root):
    expected = uploaded(client, root, "vqa_scratch")
    assert same(asked(client, "bare/0", model="vqa_scratch").json(), expected)
    assert not same(asked(client, "val/0", model="vqa_scratch").json(), expected)


def test_features_of_another_backbone_are_for_the_tested_model_alone(client, root):
    for model, takes_stored in (("vqa_scratch", True), ("joint_gt_layout", False)):
        found = asked(client, "foreign/0", model=model).json()
        assert same(found, uploaded(client, root, model)) != takes_stored
    # Of the same backbone they are for every model.
    found = asked(client, "val/0", model="joint_gt_layout").json()
    assert not same(found, uploaded(client, root, "joint_gt_layout"))


def test_a_model_of_unknown_features_answers_about_its_test(client):
    found = asked(client, "unknown/3", model="own (tested)")
    assert found.status_code == 200
    assert np.shape(found.json()["steps"][0]["image_attention"]) == (3, 4)
    refused(asked(client, "scene-01", model="own (tested)"), 409, "stored_features")
    refused(asked(client, "val/3", model="own (tested)"), 409, "stored_features")
    # The others answer about the same image, from features that are made of it.
    assert asked(client, "unknown/3", model="vqa_scratch").status_code == 200


def test_each_test_names_the_model_that_was_tested(client):
    models = {one["name"]: one["model"] for one in client.get("/api/results").json()}
    # Raw weights are another model than their average.
    assert models["raw"] == "tiny (tested)" and models["bare"] == models["val"] == "vqa_scratch"
    assert models["gone"] is None and asked(client, "gone/3").status_code == 200
    default = [one["name"] for one in client.get("/api/models").json() if one["default"]]
    assert default[0] in models.values()


def test_images_may_have_moved(tmp_path):
    (tmp_path / "moved" / "val").parent.mkdir()
    tiny_results.write_images(tmp_path / "moved" / "val")
    folder = write_results(tmp_path, "gone.ckpt", images="nowhere")
    moved = {"result_images": str(tmp_path / "moved" / "%s")}
    with serving(tmp_path, folder, **moved) as client:
        assert client.get("/api/results/val/images/0").status_code == 200


def test_the_page_lists_filters_and_leads_to_the_demo(client):
    page = client.get("/results", params={"test": "val", "verdict": "wrong", "below": ""})
    assert page.headers["content-type"].startswith("text/html")
    wrong = listed(client, verdict="wrong")
    assert page.text.count("<li>") == len(wrong)
    assert '<option value="wrong" selected>' in page.text
    start = page.text.index('href="./?') + len('href="')
    link = page.text[start : page.text.index('"', start)].replace("&amp;", "&")
    query = parse_qs(urlsplit(link).query)
    assert query["sample"] == [f"val/{wrong[0]}"] and query["model"] == ["vqa_scratch"]
    assert query["list"] == ["verdict=wrong"]
    everything = client.get("/results", params={"test": "val"}).text
    assert "Page 1 of 3" in everything and "page=2" in everything
    assert "page=3" in client.get("/results", params={"test": "val", "page": 2}).text
    first = client.get("/results").text
    assert f"on {client.get('/api/results').json()[0]['name']}: questions</title>" in first
    none = client.get("/results", params={"test": "val", "type": "no such type"})
    assert "No question passes" in none.text


def test_a_server_without_results_says_so(tmp_path):
    with serving(tmp_path) as client:
        assert client.get("/api/results").json() == []
        refused(client.get("/results"), 404, "no_test")
        assert 'href="results"' not in client.get("/").text
