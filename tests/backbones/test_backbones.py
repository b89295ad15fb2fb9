import json
from urllib.error import URLError

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import ResNet101_Weights
from torchvision.models.feature_extraction import create_feature_extractor
from torchvision.transforms import functional as TF

from clevr_prep.pretraining.data import find_scenes
from clevr_prep.pretraining.evaluate import evaluate
from snmn.backbones import BACKBONES, BackboneError, build_backbone
from snmn.backbones.cellnet import HEADS, WEIGHTS, CellNet, load_cellnet
from tests.helpers.paths import SHARED


@pytest.fixture(scope="module")
def weights(resnet, tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "resnet101.pt"
    torch.save(resnet.state_dict(), path)
    return path


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [
        Image.fromarray(rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)).resize((480, 320))
        for _ in range(2)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name, layer", [("resnet101_c4", "layer3"), ("resnet101_c3", "layer2")])
def test_resnet_equals_torchvision(resnet, weights, images, name, layer):
    backbone = build_backbone(name, weights=weights)
    features = backbone(backbone.preprocess(images))
    inputs = torch.stack(
        [
            TF.normalize(
                TF.to_tensor(TF.resize(image, [224, 224])),
                [0.485, 0.456, 0.406],
                [0.229, 0.224, 0.225],
            )
            for image in images
        ]
    )
    with torch.no_grad():
        expected = create_feature_extractor(resnet, [layer])(inputs)[layer].permute(0, 2, 3, 1)
    entry = BACKBONES[name]
    assert features.shape == (2, *entry.grid, entry.dim)
    scale = float(expected.abs().max())
    torch.testing.assert_close(features, expected, rtol=0, atol=1e-4 * scale)
    assert not features.requires_grad


@pytest.mark.slow
def test_caffe_preprocessing_only_subtracts_the_mean(weights):
    backbone = build_backbone("resnet101_c4", weights=weights, preprocess="caffe")
    image = np.full((32, 48, 3), (10, 20, 30), np.uint8)
    pixels = backbone.preprocess([image])
    assert pixels.shape == (1, 3, 224, 224)
    expected = torch.tensor([10 - 123.68, 20 - 116.779, 30 - 103.939])
    torch.testing.assert_close(pixels[0, :, 100, 100], expected)
    assert backbone.attributes["preprocess"] == "caffe"


@pytest.mark.slow
def test_images_of_other_modes_and_sizes(weights):
    backbone = build_backbone("resnet101_c4", weights=weights)
    colour = Image.new("RGB", (30, 20), (200, 200, 200))
    pixels = backbone.preprocess([colour, colour.convert("RGBA"), colour.convert("L")])
    torch.testing.assert_close(pixels[1], pixels[0])
    torch.testing.assert_close(pixels[2], pixels[0])


def test_backbone_stays_in_evaluation_mode(weights):
    backbone = build_backbone("resnet101_c4", weights=weights).train()
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())


@pytest.mark.slow
def test_hash_depends_on_the_weights_alone(resnet, weights, tmp_path):
    trunk_only = {k: v for k, v in resnet.state_dict().items() if not k.startswith("fc.")}
    torch.save(trunk_only, tmp_path / "trunk.pt")
    first = build_backbone("resnet101_c4", weights=weights).attributes["weights_sha256"]
    same = build_backbone("resnet101_c4", weights=tmp_path / "trunk.pt")
    assert same.attributes["weights_sha256"] == first
    trunk_only["layer3.5.conv1.weight"] = trunk_only["layer3.5.conv1.weight"] + 1e-3
    torch.save(trunk_only, tmp_path / "other.pt")
    other = build_backbone("resnet101_c4", weights=tmp_path / "other.pt")
    assert other.attributes["weights_sha256"] != first


def test_no_weights_to_be_had_names_both_ways_out(monkeypatch):
    def unreachable(*args, **kwargs):
        raise URLError("no route")

    monkeypatch.setattr(ResNet101_Weights, "get_state_dict", unreachable)
    with pytest.raises(BackboneError, match=r"internet access .* or pass --weights FILE") as info:
        build_backbone("resnet101_c4")
    assert "\n" not in str(info.value)


@pytest.mark.slow
def test_torchvision_weights_are_used_when_none_are_given(monkeypatch, resnet, weights):
    monkeypatch.setattr(ResNet101_Weights, "get_state_dict", lambda *a, **k: resnet.state_dict())
    given = build_backbone("resnet101_c4", weights=weights).attributes
    assert build_backbone("resnet101_c4").attributes == given


def test_wrong_weights_files_are_named(tmp_path):
    with pytest.raises(BackboneError, match=r"no weights file .*none\.pt"):
        build_backbone("resnet101_c4", weights=tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(BackboneError, match=r"text\.pt is not a readable state dict"):
        build_backbone("resnet101_c4", weights=tmp_path / "text.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(BackboneError, match=r"list\.pt is not a state dict"):
        build_backbone("resnet101_c4", weights=tmp_path / "list.pt")
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "part.pt")
    with pytest.raises(BackboneError, match=r"part\.pt is not a torchvision .* no bn1\.weight"):
        build_backbone("resnet101_c4", weights=tmp_path / "part.pt")
    with pytest.raises(BackboneError, match=r"part\.pt is not a CellNet weights file"):
        build_backbone("cellnet", weights=tmp_path / "part.pt")


@pytest.mark.slow
def test_wrong_shapes_are_named(resnet, tmp_path):
    state = {**resnet.state_dict(), "conv1.weight": torch.zeros(64, 3, 3, 3)}
    torch.save(state, tmp_path / "shape.pt")
    with pytest.raises(BackboneError, match=r"shape\.pt .* conv1\.weight is \(64, 3, 3, 3\)"):
        build_backbone("resnet101_c4", weights=tmp_path / "shape.pt")


def test_unknown_names_list_the_known_ones():
    with pytest.raises(BackboneError, match="resnet101_c4, resnet101_c3, cellnet"):
        build_backbone("resnet50")
    with pytest.raises(BackboneError, match="only signed"):
        build_backbone("cellnet", preprocess="caffe")


def randomised_cellnet() -> CellNet:
    torch.manual_seed(0)
    network = CellNet().eval()
    for name, value in network.state_dict().items():
        if name.endswith("running_mean"):
            value.normal_(0, 0.2)
        elif name.endswith("running_var"):
            value.uniform_(0.5, 2)
    return network


def test_folding_and_rescaling_keep_cellnets_predictions():
    network = randomised_cellnet()
    inputs = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        before = network(inputs)
        features = network.trunk(inputs)
        network.fold()
        scale = torch.rand(256) + 0.5
        network.rescale_features(scale)
        after = network(inputs)
    assert {k: tuple(v.shape) for k, v in after.items()} == {
        name: (2, 14, 14, channels) for name, channels in HEADS.items()
    }
    for name in HEADS:
        torch.testing.assert_close(after[name], before[name], rtol=1e-3, atol=1e-3)
    expected = features / scale[:, None, None]
    torch.testing.assert_close(network.trunk(inputs).detach(), expected, rtol=1e-3, atol=1e-3)


def test_cellnet_is_small_and_reads_float16_weights(tmp_path, images):
    network = randomised_cellnet()
    assert sum(parameter.numel() for parameter in network.parameters()) < 2_000_000
    network.fold()
    torch.save({k: v.half() for k, v in network.state_dict().items()}, tmp_path / "cellnet.pt")
    backbone = build_backbone("cellnet", weights=tmp_path / "cellnet.pt")
    inputs = backbone.preprocess(images)
    assert -1 <= float(inputs.min()) < float(inputs.max()) <= 1
    features = backbone(inputs)
    entry = BACKBONES["cellnet"]
    assert features.shape == (2, *entry.grid, entry.dim)
    with torch.no_grad():
        expected = network.trunk(inputs).permute(0, 2, 3, 1)
    torch.testing.assert_close(features, expected, rtol=0, atol=0.02 * float(expected.max()))
    loaded = load_cellnet(tmp_path / "cellnet.pt")
    torch.testing.assert_close(
        loaded.trunk(inputs).permute(0, 2, 3, 1).detach(), features, rtol=1e-4, atol=1e-4
    )


def test_shipped_weights_fit_their_card():
    card = json.loads(WEIGHTS.with_suffix(".json").read_text())
    backbone = build_backbone("cellnet")
    assert backbone.attributes["weights_sha256"] == card["weights_sha256"]
    assert sum(parameter.numel() for parameter in backbone.parameters()) == card["parameters"]
    assert WEIGHTS.stat().st_size < 5_000_000


GENUINE = SHARED / "real_clevr_dev"


@pytest.mark.slow
@pytest.mark.skipif(not GENUINE.is_dir(), reason="the genuine images are not part of the project")
def test_shipped_weights_see_the_objects_of_genuine_images():
    card = json.loads(WEIGHTS.with_suffix(".json").read_text())
    result = evaluate(load_cellnet(), find_scenes(GENUINE, "val"))
    assert result["objects"] == 575
    assert result["recall"] > 0.98
    assert result["precision"] > 0.98
    assert result["all_four"] > 0.95
    for name in ("recall", "precision", "all_four"):
        assert result[name] == pytest.approx(card["validation"][GENUINE.name][name], abs=0.01)
