"""Whatever is sent to the addresses of the OpenAPI document, the server answers as it says."""

import json
import string
from urllib.parse import quote

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from server.main import create_app
from snmn.common.vocabulary import MODULES, QUESTION_WORDS
from tests.helpers.tiny import server as tiny_server
from tests.helpers.tiny.results import write_results
from tests.helpers.tiny.server import image_bytes, write_models

IMAGE = image_bytes()
WORDS = st.lists(st.sampled_from(QUESTION_WORDS), max_size=70).map(" ".join)
TEXT = st.one_of(
    WORDS,
    st.text(max_size=60),
    st.sampled_from(
        ["scene-01", "vqa_gt_layout", "joint_gt_layout", "..", "0", "true", "val", "val/3", "wrong"]
    ),
)
SHORTENED = st.integers(0, len(IMAGE)).map(lambda length: IMAGE[:length])
FILE = st.one_of(st.binary(max_size=200), SHORTENED, st.just(IMAGE))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)

# Edits that could be, most of them with something wrong.
NUMBER = st.one_of(st.floats(-50, 600), st.floats(), st.integers(), st.just(10**400))
HEARD = st.one_of(
    st.none(),
    TEXT,
    st.lists(st.integers(-1, 9) | st.sampled_from(QUESTION_WORDS), max_size=4),
    st.dictionaries(st.sampled_from(["0", "3", "99", "cube", ""]), NUMBER, max_size=3),
)
PLACE = st.one_of(
    st.none(),
    st.lists(st.floats(0, 300), min_size=4, max_size=4),
    st.lists(NUMBER, max_size=5),
    st.lists(st.lists(NUMBER, max_size=3), max_size=3),
    st.floats(0, 1).map(lambda weight: [[weight] * 14] * 14),
)
MODULE = st.sampled_from([*MODULES, "Find", "DescribeOne", "-", "", "_Nothing"])
LAYOUT = st.lists(st.none() | MODULE, max_size=11) | st.lists(MODULE, max_size=5).map(" ".join)
EDITS = st.fixed_dictionaries(
    {},
    optional={
        "layout": LAYOUT | st.just(["_Find", None, "_DescribeOne"]),
        "words": st.lists(HEARD, max_size=5),
        "attention": st.lists(PLACE, max_size=5),
    },
)
ASKED = {"sample": "scene-01", "question": "How many red cubes are there?"}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = write_models(tmp_path_factory.mktemp("models"), ["vqa_gt_layout", "joint_gt_layout"])
    root = tmp_path_factory.mktemp("results")
    results = write_results(root, folder / "vqa_gt_layout.ckpt")
    with TestClient(create_app(tiny_server.settings(folder, results=(results,)))) as client:
        yield client


def parameter(schema):
    kinds = {"integer": st.integers().map(str), "boolean": st.sampled_from(["true", "0", "x"])}
    return st.one_of(TEXT, kinds.get(schema.get("type"), TEXT))


def fields(schema, value):
    """Some of a schema's fields, and now and then one that it does not have."""
    names = st.sampled_from([*schema["properties"], "other"])
    return st.dictionaries(names, value, max_size=4)


@st.composite
def requests(draw, document):
    """A request to one of the document's addresses: (method, path, options)."""
    path, operations = draw(st.sampled_from(sorted(document["paths"].items())))
    method, operation = draw(st.sampled_from(sorted(operations.items())))
    query = {}
    for one in operation.get("parameters", []):
        value = draw(parameter(one["schema"]))
        if one["in"] == "path":
            path = path.replace("{" + one["name"] + "}", quote(value, safe="") or "x")
        elif draw(st.integers(0, 4)):
            query[one["name"]] = value
    options = {"params": query}
    content = operation.get("requestBody", {}).get("content", {})
    kind = draw(st.sampled_from([*content, "raw"])) if content else None
    if kind == "application/json":
        options["json"] = draw(fields(content[kind]["schema"], JSON) | JSON)
    elif kind == "multipart/form-data":
        sent = draw(fields(content[kind]["schema"], TEXT))
        options["data"] = {name: value for name, value in sent.items() if name != "image"}
        name = draw(st.sampled_from(["image", "image", "image", "question", "x"]))
        options["files"] = {name: (draw(st.text(string.printable, max_size=9)), draw(FILE))}
        if draw(st.booleans()):
            del options["files"]
    elif kind == "raw":
        options["content"] = draw(st.binary(max_size=100))
        types = ["", "application/json", "multipart/form-data", "text/plain; x"]
        types += ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded"]
        options["headers"] = {"content-type": draw(st.sampled_from(types))}
    return method, path, options, operation


@pytest.mark.slow
def test_edits_are_run_or_refused(client, reliability):
    row = reliability(
        "Demo: edits of any making",
        caused="random layouts, words and attention, in JSON and in forms",
        sees="an answer that says what was set, or 422, never a 5xx",
    )
    seen = set()

    @settings(
        max_examples=250,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(EDITS, st.booleans())
    def check(edits, form):
        with row.attempt():
            if form:
                texts = {
                    name: value if isinstance(value, str) else json.dumps(value)
                    for name, value in edits.items()
                }
                response = client.post("/api/predict", data=ASKED | texts)
            else:
                kind = {"content-type": "application/json"}
                body = json.dumps(ASKED | edits)  # With NaN, which is no JSON, now and then.
                response = client.post("/api/predict", content=body, headers=kind)
            seen.add(response.status_code)
            assert response.status_code in (200, 400, 422), response.text
            if response.status_code == 200:
                shares = [one["probability"] for one in response.json()["probabilities"]]
                assert sum(shares) == pytest.approx(1, abs=0.01)
            else:
                assert {"detail", "code"} <= set(response.json())

    check()
    assert {200, 422} <= seen


@pytest.mark.slow
def test_every_answer_is_one_that_the_document_names(client, reliability):
    row = reliability(
        "Demo: requests of any making",
        caused="random requests to every address: wrong fields, bodies, types and files",
        sees="an answer that /docs names, never a 5xx",
    )
    document = client.get("/openapi.json").json()
    seen = set()

    @settings(
        max_examples=250,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests(document))
    def check(request):
        with row.attempt():
            method, path, options, operation = request
            # An exception in the server is raised here.
            response = client.request(method, path, **options)
            seen.add(response.status_code)
            # A name with a slash in it is another address.
            known = {*operation["responses"], "404"}
            assert str(response.status_code) in known, (response.status_code, response.text)
            assert response.status_code < 500
            if response.status_code >= 400:
                assert {"detail", "code"} <= set(response.json())

    check()
    assert {200, 400, 404, 415, 422} <= seen
