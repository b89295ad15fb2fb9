"""Results that somebody made up: they are refused, or lead nowhere but to the test's images."""

import csv
import json
import shutil

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from server.main import create_app
from server.results.folder import read_results
from server.results.rows import ResultsError
from server.settings import SettingError, Settings
from tests.helpers.tiny.results import NAMES, QUESTIONS, rows, write_features, write_results
from tests.helpers.tiny.server import refused, settings

ELSEWHERE = [
    "../secret.png",
    "..",
    "",
    "/etc/passwd",
    "images/../../secret.png",
    "..\\secret.png",
    "a/b.png",
    "x\0.png",
]


@pytest.fixture
def folder(tmp_path):
    """A good one, with a secret beside its images."""
    Image.new("RGB", (32, 32), "red").save(tmp_path / "secret.png")
    return write_results(tmp_path, tmp_path / "gone.ckpt")


def read(folder, images=None):
    return read_results((folder,), images=images)


def rewrite(folder, change):
    """Let ``change`` do something to the rows of a predictions.csv."""
    path = folder / "predictions.csv"
    with path.open(newline="", encoding="utf-8") as file:
        table = list(csv.reader(file))
    change(table)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(table)


@pytest.mark.parametrize("name", ELSEWHERE)
def test_image_names_that_lead_elsewhere_are_refused(folder, name):
    rewrite(folder, lambda table: table[3].__setitem__(table[0].index("image"), name))
    with pytest.raises(ResultsError, match="predictions.csv, line 4: .*is no file name"):
        read(folder)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda table: table[2].pop(), "line 3: it has another number of columns"),
        (lambda table: table[2].append("1"), "line 3: it has another number of columns"),
        (lambda table: table[0].remove("confidence"), "lacks confidence; test.py writes it"),
        (lambda table: table[0].remove("predicted"), "lacks the columns of predictions"),
        (lambda table: table.__delitem__(slice(1, None)), "has no questions"),
        (lambda table: table.clear(), "lacks the columns of predictions"),
        (lambda table: table[2].__setitem__(7, "maybe"), "line 3: correct is 'maybe'"),
        (lambda table: table[2].__setitem__(8, "nan"), "line 3: 'nan' is no finite number"),
        (lambda table: table[2].__setitem__(8, "x" * 99), "line 3: could not convert"),
        (lambda table: table[2].__setitem__(4, "many"), "line 3: invalid literal"),
        (lambda table: table[2].__setitem__(2, "a" * 200_000), "cannot be read: field larger"),
    ],
)
def test_damaged_predictions_are_named(folder, change, message):
    rewrite(folder, change)
    with pytest.raises(ResultsError, match=message):
        read(folder)


def test_boxes_that_are_none_are_named(tmp_path):
    given = rows(3, loc=True)
    given[1]["predicted_box"] = "1 2 3"
    with pytest.raises(ResultsError, match="line 3: '1 2 3' is no box"):
        read(write_results(tmp_path, "gone.ckpt", given))


def test_what_is_no_text_is_named(folder):
    (folder / "predictions.csv").write_bytes(b"image,predicted\n\xff\xfe\0,1\n")
    with pytest.raises(ResultsError, match="predictions.csv (cannot be read|lacks)"):
        read(folder)
    shutil.copy("/dev/null", folder / "predictions.csv")
    with pytest.raises(ResultsError, match="lacks the columns"):
        read(folder)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", "null", '{"experiment": 5}', "[" * 100_000, "\ud800", '{"images": "\0"}'],
)
def test_damaged_summaries_are_named(folder, text):
    (folder / "summary.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(ResultsError, match="summary.json (cannot be read|does not say what)"):
        read(folder)


@pytest.mark.parametrize("key", ["images", "checkpoint", "features", "weights", "experiment"])
def test_a_summary_without_what_was_tested_is_named(folder, key):
    path = folder / "summary.json"
    summary = json.loads(path.read_text())
    for wrong in (5, None, ["x"], "x\0y"):
        path.write_text(json.dumps(summary | {key: wrong}))
        with pytest.raises(ResultsError, match="run test.py again"):
            read(folder)
    del summary[key]
    path.write_text(json.dumps(summary))
    with pytest.raises(ResultsError, match="run test.py again"):
        read(folder)


def test_what_is_not_there_is_said_with_the_way_out(folder, tmp_path):
    with pytest.raises(ResultsError, match=r"holds no predictions\.csv.*test\.py makes them"):
        read(tmp_path / "images")
    with pytest.raises(ResultsError, match="set SNMN_RESULT_IMAGES"):
        read(folder, images=str(tmp_path / "nowhere" / "%s"))
    with pytest.raises(SettingError, match="SNMN_RESULTS is '/nowhere', which is no folder"):
        Settings.from_environment({"SNMN_RESULTS": "/nowhere"})
    found = Settings.from_environment({"SNMN_RESULTS": str(folder), "SNMN_RESULT_IMAGES": " "})
    assert found.results == (folder,) and found.result_images is None


@pytest.fixture(scope="module")
def walked(tmp_path_factory, models):
    """A server whose images are links, texts, cut off and missing; and its folder."""
    root = tmp_path_factory.mktemp("walked")
    secret = root / "secret.png"
    Image.new("RGB", (32, 32), "red").save(secret)
    write_features(root / "features")
    given = rows(12)
    names = ["link.png", "circle.png", "text.png", "cut.png", "gone.png", "<b>&.png", *NAMES]
    for row, name in zip(given, names, strict=False):
        row["image"] = name
    given[6]["question"] = "<script>alert(1)</script> \"'>"
    given[7]["type"] = "<i>kind</i>"
    write_results(root, models / "vqa_scratch.ckpt", given)
    images = root / "images"
    (images / "link.png").symlink_to(secret)
    (images / "circle.png").symlink_to(images / "circle.png")
    (images / "text.png").write_text("root:x:0:0")
    (images / "cut.png").write_bytes(secret.read_bytes()[:60])
    Image.new("RGB", (32, 32), "blue").save(images / "<b>&.png")
    app = create_app(settings(models, results=(root / "results",)))
    with TestClient(app, raise_server_exceptions=True) as client:
        yield client, root


@pytest.mark.parametrize(
    "number, status, code",
    [
        (0, 404, "no_image"),
        (1, 404, "no_image"),
        (2, 422, "damaged_image"),
        (3, 422, "damaged_image"),
        (4, 404, "no_image"),
    ],
)
def test_nothing_but_images_of_the_folder_is_sent(walked, number, status, code):
    client, _ = walked
    for small in (False, True):
        response = client.get(f"/api/results/val/images/{number}", params={"small": small})
        body = refused(response, status, code)
        assert "/tmp" not in body["detail"] and "secret" not in body["detail"]
    ask = {"sample": f"val/{number}", "question": QUESTIONS[0]}
    refused(client.post("/api/predict", json=ask), status, code)
    if number != 3:  # Of what was cut off the size can be read.
        refused(client.get(f"/api/results/val/questions/{number}"), status, code)


@pytest.mark.parametrize(
    "path",
    [
        "/api/results/../images/0",
        "/api/results/..%2f..%2fetc/images/0",
        "/api/results/%2e%2e/images/0",
        "/api/results/val/images/..%2f..%2fsecret.png",
        "/api/results/val/images/-1",
        "/api/results/val/images/12",
        "/api/results/val/images/1e3",
        "/api/results/val/images/" + "9" * 5000,
        "/api/results/val%00/questions",
        "/api/results/val/questions/99",
        "/api/results/val/questions?page=0",
        "/api/results/val/questions?page=2",
        "/api/results/val/questions?page=" + "9" * 5000,
        "/api/results/val/questions?below=nan",
        "/api/results/val/questions?below=2",
        "/api/results/val/questions?verdict=maybe",
        "/api/results/val/questions?departs=perhaps",
        "/results?test=../val",
        "/results?page=x",
    ],
)
def test_addresses_that_lead_nowhere_are_refused(walked, path):
    response = walked[0].get(path)
    assert response.status_code in (404, 422)
    assert {"detail", "code"} <= set(response.json())


@pytest.mark.parametrize(
    "sample", ["val/", "val/-1", "val/12", "val/1/1", "../val/1", "val/١", "/1", "val/" + "1" * 99]
)
def test_samples_that_are_no_question_of_a_test_are_refused(walked, sample):
    response = walked[0].post("/api/predict", json={"sample": sample, "question": QUESTIONS[0]})
    assert response.status_code == 404
    assert response.json()["code"] in ("no_sample", "no_question")


def test_what_a_test_says_is_escaped(walked):
    client, _ = walked
    page = client.get("/results").text
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page
    assert "<i>kind" not in page and "<b>&.png" not in page
    assert client.get("/api/results/val/images/5").status_code == 200
    # A question of other words is refused like any other.
    question = client.get("/api/results/val/questions/6").json()["tested"]["question"]
    ask = {"sample": "val/6", "question": question}
    refused(client.post("/api/predict", json=ask), 422, "unknown_word")


def test_damaged_features_are_refused(walked):
    client, root = walked
    ask = {"sample": "val/6", "question": QUESTIONS[0], "model": "vqa_scratch"}
    assert client.post("/api/predict", json=ask).status_code == 200
    (shard,) = (root / "features").glob("shard-*.h5")
    data = bytearray(shard.read_bytes())
    place = len(data) // 2
    data[place : place + 64] = bytes(255 - byte for byte in data[place : place + 64])
    with open(shard, "r+b") as file:
        file.write(data)
    answers = [
        client.post("/api/predict", json=ask | {"sample": f"val/{number}"}) for number in (6, 7, 8)
    ]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 422]
    (bad,) = (answer for answer in answers if answer.status_code == 422)
    refused(bad, 422, "damaged_features")
