"""Scenes follow CLEVR's rules and format, and the camera agrees with genuine annotations."""

import json

import numpy as np
import pytest

from clevr_prep.synthetic.chunks import Settings, make_scene
from clevr_prep.synthetic.render.camera import PLACE, Camera, fit_place
from clevr_prep.synthetic.render.renderer import COLOURS, SIZES, instance_mask
from clevr_prep.synthetic.scenes.scene_sampling import COGENT, relationships, sample_scene
from tests.helpers.paths import SHARED

REAL = SHARED / "real_clevr_dev" / "scenes" / "CLEVR_val_scenes.json"
needs_real = pytest.mark.skipif(not REAL.exists(), reason="no genuine CLEVR scenes here")


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(7)
    return [sample_scene(rng) for _ in range(60)]


@pytest.fixture(scope="module")
def real_scenes():
    return json.loads(REAL.read_text())["scenes"]


def test_objects_stay_apart_and_within_the_area(scenes):
    for scene in scenes:
        objects = scene["objects"]
        assert 3 <= len(objects) <= 10
        right = np.array(scene["directions"]["right"])
        behind = np.array(scene["directions"]["behind"])
        for i, one in enumerate(objects):
            a = np.array(one["3d_coords"])
            assert abs(a[:2]).max() <= 3 and a[2] == SIZES[one["size"]]
            for other in objects[:i]:
                b = np.array(other["3d_coords"])
                gap = np.hypot(*(a - b)[:2]) - a[2] - b[2]
                assert gap >= 0.25
                assert abs((a - b) @ right) >= 0.4 and abs((a - b) @ behind) >= 0.4


def test_every_object_shows_enough_pixels(scenes):
    for scene in scenes[:20]:
        place = tuple(scene["render"]["camera"])
        for width, height, least in ((320, 213, 200), (480, 320, 420)):
            mask = instance_mask(scene, Camera(place, width, height))
            shown = np.bincount(mask.ravel(), minlength=len(scene["objects"]) + 1)[1:]
            assert shown.min() >= least


def test_relationships_are_opposite_and_complete(scenes):
    for scene in scenes:
        count = len(scene["objects"])
        for one, other in (("left", "right"), ("front", "behind")):
            for i in range(count):
                lies, opposite = (scene["relationships"][k][i] for k in (one, other))
                assert sorted(lies + opposite) == [j for j in range(count) if j != i]
                assert all(i in scene["relationships"][other][j] for j in lies)


def test_relationships_agree_with_pixels(scenes):
    """Left in the scene is left in the image wherever two objects are equally far away."""
    checked = 0
    for scene in scenes:
        for i, thing in enumerate(scene["objects"]):
            x, _, depth = thing["pixel_coords"]
            for j in scene["relationships"]["left"][i]:
                other_x, _, other_depth = scene["objects"][j]["pixel_coords"]
                if abs(depth - other_depth) < 0.3:
                    checked += 1
                    assert other_x < x
            for j in scene["relationships"]["behind"][i]:
                assert scene["objects"][j]["pixel_coords"][2] > depth - 0.5
    assert checked > 10


def test_format_is_that_of_genuine_scenes(scenes):
    scene = make_scene(Settings(), "train", 3)
    assert scene["image_filename"] == "CLEVR_train_000003.png" and scene["split"] == "train"
    assert set(scene) - {"render"} == {
        "image_index", "image_filename", "split", "objects", "relationships", "directions",
    }  # fmt: skip
    for thing in scene["objects"]:
        assert set(thing) == {
            "color", "size", "rotation", "shape", "3d_coords", "material", "pixel_coords",
        }  # fmt: skip
        assert all(isinstance(v, int) for v in thing["pixel_coords"][:2])
        assert 0 <= thing["rotation"] < 360
    assert json.loads(json.dumps(scene)) == scene


def test_pixel_coordinates_scale_with_the_image():
    small = sample_scene(np.random.default_rng(3), width=240, height=160)
    large = sample_scene(np.random.default_rng(3), width=480, height=320)
    for a, b in zip(small["objects"], large["objects"], strict=True):
        assert a["3d_coords"] == b["3d_coords"]
        assert np.abs(2 * np.array(a["pixel_coords"][:2]) - b["pixel_coords"][:2]).max() <= 1.5


@pytest.mark.parametrize("condition", ["A", "B"])
def test_cogent_colours(condition):
    rng = np.random.default_rng(1)
    seen = {shape: set() for shape in ("cube", "cylinder", "sphere")}
    for _ in range(60):
        for thing in sample_scene(rng, cogent=condition)["objects"]:
            seen[thing["shape"]].add(thing["color"])
    first, second = {"gray", "blue", "brown", "yellow"}, {"red", "green", "purple", "cyan"}
    if condition == "B":
        first, second = second, first
    assert seen == {"cube": first, "cylinder": second, "sphere": set(COLOURS)}
    assert set(COGENT[None]["cube"]) == set(COLOURS)


def test_a_held_out_pair_is_never_seen():
    rng, seen = np.random.default_rng(1), set()
    for _ in range(60):
        scene = sample_scene(rng, without=("cyan", "cube"))
        seen |= {(thing["color"], thing["shape"]) for thing in scene["objects"]}
    assert ("cyan", "cube") not in seen
    assert {("cyan", "sphere"), ("cyan", "cylinder"), ("red", "cube")} <= seen
    for pair in (("cyan", "cone"), ("pink", "cube")):
        with pytest.raises(ValueError, match="no object is a .* without takes one of gray, red"):
            sample_scene(rng, without=pair)


def test_attributes_are_even(scenes):
    things = [o for s in scenes for o in s["objects"]]
    for name, values in (("size", 2), ("material", 2), ("shape", 3), ("color", 8)):
        shares = np.unique([o[name] for o in things], return_counts=True)[1] / len(things)
        assert len(shares) == values and np.abs(shares * values - 1).max() < 0.5


def test_same_seed_same_scene_and_bad_bounds_are_refused():
    one, same, other = (sample_scene(np.random.default_rng(s)) for s in (5, 5, 6))
    assert one == same != other
    for bounds in ((0, 5), (5, 4), (3, 11)):
        with pytest.raises(ValueError, match="objects"):
            sample_scene(np.random.default_rng(0), min_objects=bounds[0], max_objects=bounds[1])
    with pytest.raises(ValueError, match="cogent"):
        sample_scene(np.random.default_rng(0), cogent="C")


def test_one_object_scene():
    scene = sample_scene(np.random.default_rng(0), min_objects=1, max_objects=1)
    assert scene["relationships"] == {k: [[]] for k in ("right", "behind", "front", "left")}


def test_fit_place_recovers_a_camera():
    points = np.random.default_rng(0).uniform((-3, -3, 0.3), (3, 3, 0.7), (5, 3))
    camera = Camera((7.2, -6.9, 5.7), 480, 320)
    assert fit_place(points, camera.project(points), 480, 320) == pytest.approx(
        camera.place, abs=1e-4
    )


@needs_real
def test_genuine_pixel_coordinates_come_back(real_scenes):
    for scene in real_scenes:
        points = [o["3d_coords"] for o in scene["objects"]]
        pixels = np.array([o["pixel_coords"] for o in scene["objects"]])
        place = fit_place(points, pixels, 480, 320)
        assert np.abs(np.array(place) - PLACE).max() < 0.55
        off = np.abs(Camera(place, 480, 320).project(points) - pixels)
        assert off[:, :2].max() < 0.6 and off[:, 2].max() < 0.01


@needs_real
def test_genuine_relationships_and_directions_come_back(real_scenes, scenes):
    for scene in real_scenes:
        assert relationships(scene["objects"]) == scene["relationships"]
    for name, vector in real_scenes[0]["directions"].items():
        assert scenes[0]["directions"][name] == pytest.approx(vector, abs=1e-4)
