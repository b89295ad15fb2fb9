"""Asking from Python and on the command line: the same as the demo and the model itself."""

import subprocess

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from PIL import Image
from torchvision.models import ResNet101_Weights, resnet101

import snmn
from server.main import create_app
from server.samples import find_sample, open_sample
from snmn.backbones import BackboneError
from snmn.checkpoints.bundled import bundled_names, bundled_path
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.checkpoints.checks import CheckpointError
from snmn.checkpoints.model_backbone import model_backbone, takes
from snmn.common.vocabulary import ANSWERS, MODULES, UnknownWordError, encode
from snmn.network.model import build_model
from snmn.predict import image_features, main
from snmn.storage.rgb import ImageError
from snmn.storage.torch_file import write_torch_file
from tests.helpers.image_kinds import ORIENTATION, grey_kinds, hidden, picture, unclear
from tests.helpers.tiny.server import KINDS, SIZES, settings

SAMPLE = "scene-01"
ASKED = {
    "vqa_gt_layout": "How many cylinders are there?",
    "loc_gt_layout": "the small metallic thing",
}


@pytest.fixture(scope="module")
def predictors():
    return {name: snmn.Predictor.bundled(name) for name in ASKED}


@pytest.fixture(scope="module")
def results(predictors):
    image = open_sample(find_sample(SAMPLE))
    return {name: predictors[name](image, question) for name, question in ASKED.items()}


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    """What the demo makes of the same questions."""
    folder = tmp_path_factory.mktemp("bundled")
    for name in ASKED:
        for ending in (".ckpt", ".json"):
            path = bundled_path(name).with_suffix(ending)
            (folder / path.name).symlink_to(path)
    with TestClient(create_app(settings(folder))) as client:
        replies = {}
        for name, question in ASKED.items():
            asked = {"model": name, "sample": SAMPLE, "question": question}
            reply = client.post("/api/predict", data=asked)
            assert reply.status_code == 200, reply.text
            replies[name] = reply.json()
    return replies


@pytest.mark.parametrize("name", ASKED)
def test_like_the_demo(results, answered, name):
    result, demo = results[name], answered[name]
    assert result.answer == demo["answer"]
    shares = {entry["answer"]: entry["probability"] for entry in demo["probabilities"]}
    assert result.probabilities == pytest.approx(shares, abs=1e-5)
    assert [step.module for step in result.steps] == [step["module"] for step in demo["steps"]]
    for step, shown in zip(result.steps, demo["steps"], strict=True):
        np.testing.assert_allclose(step.probabilities, shown["module_probabilities"], atol=1e-4)
        np.testing.assert_allclose(step.words, shown["word_attention"], atol=1e-4)
        np.testing.assert_allclose(step.attention, shown["image_attention"], atol=1e-5)
    assert (result.box is None) == (demo["box"] is None)
    if result.box is not None:
        box = [demo["box"][side] for side in ("x", "y", "width", "height")]
        assert result.box == pytest.approx(box, abs=0.1)


@pytest.mark.parametrize("name", ASKED)
def test_like_the_model(predictors, results, name):
    predictor, result = predictors[name], results[name]
    indices = encode(ASKED[name])
    features = image_features(predictor.backbone, open_sample(find_sample(SAMPLE)))
    with torch.no_grad():
        output = predictor.model(torch.tensor([indices]), torch.tensor([len(indices)]), features)
    chosen = output.module_probs[0].argmax(dim=1).tolist()
    assert [step.module for step in result.steps] == [MODULES[index] for index in chosen]
    maps = output.image_attention[0].flatten(1).softmax(dim=1)
    np.testing.assert_allclose(
        np.stack([step.attention.ravel() for step in result.steps]), maps.numpy(), atol=1e-6
    )
    if output.answer_logits is None:
        assert result.answer is None and result.probabilities == {}
    else:
        shares = output.answer_logits[0].softmax(dim=0).tolist()
        assert result.probabilities == pytest.approx(dict(zip(ANSWERS, shares, strict=True)))


class TestImages:
    """The same answers whichever way a picture is given, or a sentence on why there is none."""

    QUESTION = ASKED["vqa_gt_layout"]

    def shares(self, predictors, image):
        return predictors["vqa_gt_layout"](image, self.QUESTION).probabilities

    def test_a_path_a_picture_and_arrays(self, predictors, results, tmp_path):
        image = open_sample(find_sample(SAMPLE))
        path = tmp_path / "scene.png"
        image.save(path)
        pixels = np.asarray(image)
        opaque = np.full_like(pixels[..., :1], 255)
        ways = [path, str(path), image, pixels, pixels / 255, torch.from_numpy(pixels.copy())]
        ways += [pixels.astype(np.uint16) << 8, np.concatenate([pixels, opaque], axis=2)]
        with Image.open(path) as opened:
            for way in (*ways, opened):
                assert self.shares(predictors, way) == results["vqa_gt_layout"].probabilities

    def test_grey_of_any_depth(self, predictors, tmp_path):
        found = []
        for name, file in grey_kinds(open_sample(find_sample(SAMPLE))).items():
            path = tmp_path / name
            path.write_bytes(file.getvalue())
            found.append(self.shares(predictors, path))
        assert all(shares == found[0] for shares in found)

    def test_what_is_transparent_does_not_count(self, predictors):
        image = open_sample(find_sample(SAMPLE))
        for secret in ((255, 0, 0), (0, 90, 200)):
            with Image.open(hidden(image, secret=secret)["RGBA PNG"]) as opened:
                shown = predictors["vqa_gt_layout"](opened, self.QUESTION)
            assert shown.image.getpixel((0, 0)) == (128, 128, 128)

    def test_a_box_is_in_the_pixels_of_the_turned_picture(self, predictors, results, tmp_path):
        held = Image.Exif()
        held[ORIENTATION] = 6
        stored = open_sample(find_sample(SAMPLE)).transpose(Image.Transpose.ROTATE_90)
        stored.save(tmp_path / "held.png", exif=held)
        found = predictors["loc_gt_layout"](tmp_path / "held.png", ASKED["loc_gt_layout"])
        assert found.box == results["loc_gt_layout"].box
        assert found.image.size == results["loc_gt_layout"].image.size

    @pytest.mark.parametrize("kind", ["float TIFF up to 255", "32-bit TIFF", "animated GIF"])
    def test_what_is_unclear_is_refused(self, predictors, tmp_path, kind):
        file, said = unclear(picture())[kind]
        path = tmp_path / "brought"
        path.write_bytes(file.getvalue())
        with pytest.raises(ImageError, match=f"{path} .*{said}"):
            self.shares(predictors, path)
        with pytest.raises(SystemExit, match=f"snmn.predict: {path} .*{said}"):
            main([str(path), self.QUESTION])

    def test_channels_first_are_refused_with_a_hint(self, predictors):
        with pytest.raises(ImageError, match=r"channels come last: image.permute\(1, 2, 0\)"):
            self.shares(predictors, torch.rand(3, 32, 48))


def test_a_question_as_it_is_typed(predictors):
    image = open_sample(find_sample(SAMPLE))
    asked = [
        predictors["vqa_gt_layout"](image, question)
        for question in (
            "What color is the large metallic cube?",
            "What colour is the large, metallic cube??",
        )
    ]
    assert asked[0].probabilities == asked[1].probabilities
    assert asked[0].trace.words == asked[1].trace.words


def test_unknown_word(predictors):
    with pytest.raises(UnknownWordError, match="'cubse'; did you mean .*'cube") as caught:
        predictors["vqa_gt_layout"](Image.new("RGB", (48, 32)), "How many cubse are there?")
    assert caught.value.word == "cubse"


@pytest.mark.parametrize("question", ["", " ", "?"])
def test_empty_question(predictors, question):
    with pytest.raises(ValueError, match="question is empty"):
        predictors["vqa_gt_layout"](Image.new("RGB", (48, 32)), question)


@pytest.fixture
def trained_on(tmp_path):
    """Writes a bundled model as if it had been trained on such features; returns its path."""

    def write(**features):
        content = read_checkpoint(bundled_path("vqa_scratch"))
        content["features"] = content["features"] | features
        write_torch_file(tmp_path / "model.ckpt", content)
        return tmp_path / "model.ckpt"

    return write


def test_features_of_other_weights_are_refused(trained_on):
    path = trained_on(weights_sha256="0" * 64)
    with pytest.raises(BackboneError, match="trained on features of cellnet with weights_sha256 0"):
        snmn.Predictor(path)
    with pytest.raises(BackboneError, match="no preprocessing 'caffe', only signed"):
        snmn.Predictor(trained_on(preprocess="caffe"))
    # What a folder of .npy files says of those who made it.
    assert snmn.Predictor(trained_on(weights_sha256="unknown")).backbone is not None


@pytest.mark.parametrize("known", [{}, {"preprocess": "caffe"}])
def test_images_are_prepared_as_for_training(known, monkeypatch):
    random = resnet101().state_dict()
    monkeypatch.setattr(ResNet101_Weights, "get_state_dict", lambda *_, **__: random)
    model = build_model(**SIZES | KINDS["vqa_gt_layout"])
    model.trained_on = known
    found = model_backbone("resnet101_c4", model).attributes["preprocess"]
    assert found == known.get("preprocess", "imagenet")


@pytest.mark.parametrize(
    ("known", "name", "weights", "taken"),
    [
        ({}, "cellnet", "ab", True),
        ({}, "resnet101_c4", "ab", False),
        ({"weights_sha256": "unknown"}, "cellnet", "ab", True),
        ({"weights_sha256": "ab"}, "cellnet", "ab", True),
        ({"weights_sha256": "ab"}, "cellnet", "unknown", False),
        ({"weights_sha256": "ab"}, "cellnet", "cd", False),
    ],
)
def test_features_that_a_model_takes(known, name, weights, taken):
    model = build_model(**SIZES | KINDS["vqa_gt_layout"])
    model.trained_on = known
    assert takes(model, "cellnet", {"backbone": name, "weights_sha256": weights}) == taken


def test_unknown_model():
    with pytest.raises(CheckpointError, match="'vqa'; there are: ") as caught:
        snmn.Predictor.bundled("vqa")
    assert all(name in str(caught.value) for name in bundled_names())


def test_picture(results, tmp_path):
    result = results["vqa_gt_layout"]
    shown = result.show()
    result.save(tmp_path / "steps.png")
    with Image.open(tmp_path / "steps.png") as saved:
        np.testing.assert_array_equal(np.asarray(saved), np.asarray(shown))
    assert len(shown.getcolors(shown.width * shown.height)) > 100


def test_command(results, tmp_path, capsys):
    image, figure = tmp_path / "scene.png", tmp_path / "steps.png"
    open_sample(find_sample(SAMPLE)).save(image)
    main([str(image), ASKED["vqa_gt_layout"], "--figure", str(figure)])
    printed = capsys.readouterr().out
    assert f"answer: {results['vqa_gt_layout'].answer}\n" in printed
    with Image.open(figure) as drawn:
        assert drawn.size == results["vqa_gt_layout"].show().size


def test_command_names_what_is_wrong(tmp_path):
    with pytest.raises(SystemExit, match="snmn.predict: .*nowhere.png"):
        main([str(tmp_path / "nowhere.png"), "How many cubes are there?"])


def test_command_starts_no_program_for_a_picture(tmp_path, monkeypatch):
    """PostScript would be run by Ghostscript, whatever the file is called."""
    path = tmp_path / "scene.png"
    Image.new("RGB", (8, 8)).save(path, format="EPS")
    started = []
    monkeypatch.setattr(subprocess, "check_call", lambda *a, **k: started.append(a))
    with pytest.raises(SystemExit, match=r"snmn\.predict: .*scene\.png"):
        main([str(path), "How many cubes are there?"])
    assert not started


def test_a_result_in_words_with_its_marks(predictors, results, capsys, tmp_path):
    result = results["vqa_gt_layout"]
    assert result.text == f'find "cylinders" -> count = {result.answer}'
    assert result.marks == []
    box = " ".join(f"{number:.0f}" for number in results["loc_gt_layout"].box)
    assert results["loc_gt_layout"].text.endswith(f" = box {box}")
    noise = np.random.default_rng(0).integers(0, 256, (160, 240, 3), np.uint8)
    doubtful = predictors["vqa_gt_layout"](noise, ASKED["vqa_gt_layout"])
    assert "unlike_image" in [mark.name for mark in doubtful.marks]
    Image.fromarray(noise).save(tmp_path / "noise.png")
    main([str(tmp_path / "noise.png"), ASKED["vqa_gt_layout"]])
    printed = capsys.readouterr().out.splitlines()
    assert f"in words: {doubtful.text}" in printed
    assert [line for line in printed if line.startswith("doubt (unlike_image): The image is")]
