"""Which images are unlike the training images, and which cells look like an object."""

import random

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from clevr_prep.data.feature_statistics import feature_statistics, main
from clevr_prep.truth.scene_cells import noted_size, object_cells
from server.answering.true_scene import sample_scenes
from server.samples import all_samples, open_sample
from snmn.backbones import BackboneError, build_backbone
from snmn.backbones.feature_statistics import (
    find_statistics,
    identity,
    image_sums,
    read_statistics,
    statistics_path,
)
from snmn.common.errors import UserError
from snmn.data.feature_store import FeatureStore
from snmn.data.feature_writer import FeatureWriter
from snmn.evaluation.auroc import auroc
from snmn.storage.torch_file import read_torch_file, write_torch_file
from tests.helpers.paths import SHARED

SIZE = (240, 160)
GENUINE = SHARED / "real_clevr_dev" / "images"


def textures(rng):
    """Noise of several grains, stripes, a chequerboard, a gradient."""
    width, height = SIZE
    for grain in (1, 8, 40):
        cells = rng.integers(0, 256, (height // grain, width // grain, 3), np.uint8)
        yield Image.fromarray(cells).resize(SIZE, Image.Resampling.BICUBIC)
    y, x = np.mgrid[:height, :width]
    for pattern in (np.sin(x / 9), np.sign(np.sin(x / 12) * np.sin(y / 12)), x / width * 2 - 1):
        yield Image.fromarray((127.5 + 127 * pattern).astype(np.uint8)).convert("RGB")


def drawings(rng):
    """Lines on paper, and flat shapes on a floor as grey as CLEVR's."""
    for ground, flat in ((255, False), (255, True), (150, True), (150, True)):
        image = Image.new("RGB", SIZE, (ground,) * 3)
        draw = ImageDraw.Draw(image)
        for _ in range(8):
            x, y, side = rng.randrange(200), rng.randrange(110), rng.randrange(15, 45)
            color = tuple(rng.randrange(256) for _ in range(3)) if flat else (0, 0, 0)
            shape = rng.choice([draw.rectangle, draw.ellipse])
            shape([x, y, x + side, y + side], fill=color if flat else None, outline=color)
        yield image


def rooms():
    """Empty rooms: walls, floor and ceiling, lit from one side."""
    for wall, floor, soft in ((200, 120, 0), (150, 90, 1), (180, 150, 2)):
        image = Image.new("RGB", SIZE, (wall,) * 3)
        draw = ImageDraw.Draw(image)
        draw.polygon([(0, 160), (60, 110), (180, 110), (240, 160)], fill=(floor,) * 3)
        draw.polygon([(0, 0), (60, 40), (60, 110), (0, 160)], fill=(wall - 30,) * 3)
        draw.polygon([(240, 0), (180, 40), (180, 110), (240, 160)], fill=(wall - 50,) * 3)
        draw.polygon([(0, 0), (60, 40), (180, 40), (240, 0)], fill=(wall + 30,) * 3)
        yield image.filter(ImageFilter.GaussianBlur(soft))


@pytest.fixture(scope="module")
def backbone():
    return build_backbone("cellnet")


@pytest.fixture(scope="module")
def statistics(backbone):
    return find_statistics(backbone.attributes)


def features(backbone, images):
    return backbone(backbone.preprocess(list(images))).numpy()


@pytest.fixture(scope="module")
def rendered(backbone):
    return features(backbone, map(open_sample, all_samples().values()))


@pytest.fixture(scope="module")
def others(backbone):
    made = [*textures(np.random.default_rng(0)), *drawings(random.Random(0)), *rooms()]
    return features(backbone, made)


def test_other_images_are_told_from_rendered_ones(statistics, rendered, others):
    usual = statistics.distances(image_sums(rendered))
    unusual = statistics.distances(image_sums(others))
    is_other = [False] * len(usual) + [True] * len(unusual)
    assert auroc([*usual, *unusual], is_other)["auroc"] >= 0.99
    assert (usual <= statistics.limit).all() and (unusual > statistics.limit).all()


@pytest.mark.slow
@pytest.mark.skipif(not GENUINE.is_dir(), reason="no genuine images here")
def test_other_images_are_told_from_genuine_ones(backbone, statistics, others):
    paths = sorted(GENUINE.rglob("*.png"))[:24]
    usual = statistics.distances(image_sums(features(backbone, map(Image.open, paths))))
    unusual = statistics.distances(image_sums(others))
    assert len(usual) == 24
    is_other = [False] * len(usual) + [True] * len(unusual)
    assert auroc([*usual, *unusual], is_other)["auroc"] >= 0.99
    assert (usual <= statistics.limit).all()


def test_cells_with_objects_are_told_from_the_ground(statistics, rendered):
    scenes = [sample_scenes()[name] for name in all_samples()]
    cells = np.stack([object_cells(s, (14, 14), noted_size(s)).any(axis=0) for s in scenes])
    found = np.stack([statistics.objects(one) for one in rendered]).reshape(cells.shape)
    assert ((found >= 0) & (found <= 1)).all()
    assert auroc(found.ravel(), cells.ravel())["auroc"] > 0.98


def test_one_image_alone_is_as_far_as_among_others(statistics, rendered):
    together = statistics.distances(image_sums(rendered))
    assert statistics.distance(rendered[3]) == pytest.approx(together[3], rel=1e-5)


def test_statistics_are_of_just_these_features(backbone):
    assert find_statistics(backbone.attributes) is not None
    for change in (
        {"weights_sha256": "0" * 64},
        {"image_size": 448},
        {"backbone": "resnet101_c4"},
        {"backbone": "../weights/cellnet"},
        {"backbone": None},
    ):
        assert find_statistics({**backbone.attributes, **change}) is None
    assert find_statistics({}) is None


def test_another_file_is_refused_by_name(tmp_path):
    path = tmp_path / "cellnet_statistics.pt"
    content = read_torch_file(statistics_path("cellnet"))
    wrong = (
        b"nothing",
        {"centre": 1},
        content | {"surplus": 1},
        content | {"axes": content["axes"][:5]},
        content | {"centre": [1.0]},
        [1],
    )
    for damage in wrong:
        if isinstance(damage, bytes):
            path.write_bytes(damage)
        else:
            write_torch_file(path, damage)
        with pytest.raises(BackboneError, match="cellnet_statistics.pt is not a file of feature"):
            read_statistics(path)
        read_statistics.cache_clear()


def write_features(folder, count):
    """Features of images whose first cell alone is bright, where it has an object."""
    rng = np.random.default_rng(0)
    attributes = {"backbone": "test", "weights_sha256": "0" * 64}
    attributes |= {"preprocess": "signed", "image_size": 224}
    maps = rng.normal(size=(count, 2, 3, 4)).astype(np.float16)
    maps[:, 0, 0, 2] += 6
    with FeatureWriter(folder, attributes=attributes, shard_size=count) as writer:
        writer.add([f"{place}.png" for place in range(count)], maps)
    return FeatureStore(folder), attributes


def test_statistics_of_a_store(tmp_path):
    store, attributes = write_features(tmp_path, 200)
    first = np.zeros((2, 3), bool)
    first[0, 0] = True
    found = feature_statistics(store, dict.fromkeys(store.filenames, first))
    assert found.made_with == identity(attributes) and found.images == 200
    maps = store.read(range(200))
    assert (found.distances(image_sums(maps)) <= found.limit).mean() > 0.99
    assert found.distance(maps[0] + 5) > found.limit
    objects = found.objects(maps[0])
    assert objects[0, 0] > 0.9 and objects.ravel()[1:].max() < 0.5
    found.save(tmp_path / "some_statistics.pt")
    again = read_statistics(tmp_path / "some_statistics.pt")
    assert again.distance(maps[7]) == pytest.approx(found.distance(maps[7]), rel=1e-4)


def test_too_few_images_and_no_scenes_are_refused(tmp_path):
    store, _ = write_features(tmp_path / "few", 20)
    with pytest.raises(UserError, match="holds 20 images, at least 50"):
        feature_statistics(store, {})
    store, _ = write_features(tmp_path / "many", 60)
    with pytest.raises(UserError, match="no scene of the dataset is of an image"):
        feature_statistics(store, {})


def test_the_command_names_missing_scenes(tmp_path):
    write_features(tmp_path / "features", 60)
    with pytest.raises(SystemExit, match="no scene annotations .*CLEVR_train_scenes.json"):
        main([str(tmp_path / "features"), str(tmp_path)])
