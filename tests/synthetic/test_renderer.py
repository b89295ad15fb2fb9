"""The path tracer: geometry against plain formulas, light against expectations, genuine images."""

import json
import math

import numpy as np
import pytest
from PIL import Image

from clevr_prep.synthetic.compare import compare, scene_camera
from clevr_prep.synthetic.render.camera import Camera
from clevr_prep.synthetic.render.geometry import CUBE_BEVEL, SKY, blocked, nearest, normal
from clevr_prep.synthetic.render.lights import blockers, lamp_table
from clevr_prep.synthetic.render.renderer import (
    COLOURS,
    instance_mask,
    render,
    render_scene,
    scene_arrays,
)
from clevr_prep.synthetic.scenes.scene_sampling import sample_scene
from tests.helpers.paths import SHARED

REAL = SHARED / "real_clevr_dev"
needs_real = pytest.mark.skipif(not REAL.exists(), reason="no genuine CLEVR images here")

VIEW = Camera((7.48, -6.51, 5.34), 120, 80)


def one_object(shape="sphere", size="large", material="rubber", color="red", at=(0, 0), turn=0.0):
    radius = {"large": 0.7, "small": 0.35}[size]
    thing = {
        "shape": shape, "size": size, "material": material, "color": color, "rotation": turn,
        "3d_coords": [*map(float, at), radius],
    }  # fmt: skip
    return {"objects": [thing]}


def inside(shape, point, radius):
    """Whether points [n, 3] from the centre lie in a rounded shape, straight from its meaning."""
    point = np.abs(point)
    if shape == "sphere":
        return np.linalg.norm(point, axis=1) < radius
    bevel = radius * (CUBE_BEVEL if shape == "cube" else 0.05)
    core = radius - bevel
    if shape == "cylinder":
        point = np.stack([np.hypot(point[:, 0], point[:, 1]), point[:, 2]], axis=1)
    return np.linalg.norm(np.maximum(point - core, 0), axis=1) < bevel


@pytest.mark.parametrize("shape", ["cube", "sphere", "cylinder"])
def test_rays_meet_the_surface(shape):
    """Small steps along the ray enter the shape where `nearest` says, or nowhere."""
    turn = 0.6
    geometry, _, _ = scene_arrays(one_object(shape, at=(0.4, -0.3), turn=turn))
    centre = geometry[0, 1:4]
    c, s = math.cos(turn), math.sin(turn)
    world_to_own = np.array([[c, s, 0], [-s, c, 0], [0, 0, 1]])
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(150):
        origin = rng.normal(size=3)
        origin = centre + 3 * origin / np.linalg.norm(origin)
        aim = centre + rng.uniform(-0.9, 0.9, 3)
        d = (aim - origin) / np.linalg.norm(aim - origin)
        steps = np.arange(1.5, 5.0, 0.002)
        own = (origin + steps[:, None] * d - centre) @ world_to_own.T
        within = inside(shape, own, 0.7)
        t, which = nearest(geometry, 1, tuple(origin), tuple(d))
        assert (which == 0) == blocked(geometry, 1, tuple(origin), tuple(d), 10.0)
        if within.sum() > 30:
            hits += 1
            assert which == 0 and t == pytest.approx(steps[within.argmax()], abs=0.02)
            facing = np.array(normal(geometry, 0, tuple(origin + t * d)))
            assert np.linalg.norm(facing) == pytest.approx(1) and facing @ d < 0.1
        elif within.sum() == 0 and which == 0:
            # A near miss may count: the search stops within a hair of the surface.
            near = own[np.abs(steps - t).argmin()]
            assert inside(shape, near[None] * 0.95, 0.7)[0]
    assert hits > 40


def test_masks_hide_objects_from_rays():
    scene = {"objects": [one_object(at=(0, 0))["objects"][0], one_object(at=(2, 0))["objects"][0]]}
    geometry, _, _ = scene_arrays(scene)
    ray = (5.0, 0.0, 0.7), (-1.0, 0.0, 0.0)
    assert nearest(geometry, 0b11, *ray)[1] == 1
    assert nearest(geometry, 0b01, *ray)[1] == 0
    assert nearest(geometry, 0, *ray)[1] == SKY
    assert blocked(geometry, 0b10, *ray, 3.0) and not blocked(geometry, 0b01, *ray, 3.0)


def test_list_of_blockers_misses_none():
    """Whatever shades a point from a lamp's corner is in the conservative list."""
    rng = np.random.default_rng(4)
    found = np.zeros(4, np.int64)
    shaded = 0
    for _ in range(6):
        scene = sample_scene(rng, min_objects=8)
        geometry, _, _ = scene_arrays(scene)
        lamps = lamp_table(rng.uniform(-1, 1, (3, 3)))
        for _ in range(60):
            point = np.array([*rng.uniform(-4, 4, 2), 0.0])
            nudge = np.array([*rng.uniform(-0.1, 0.1, 2), 0.0])
            blockers(lamps, geometry, (1 << len(geometry)) - 1, tuple(point), 0.15, found)
            for k, lamp in enumerate(lamps):
                for a in (-1, 1):
                    ray = lamp[0:3] + a * lamp[6:9] - a * lamp[9:12] - point - nudge
                    reach = np.linalg.norm(ray)
                    for i in range(len(geometry)):
                        if blocked(
                            geometry, 1 << i, tuple(point + nudge), tuple(ray / reach), reach
                        ):
                            shaded += 1
                            assert found[k] >> i & 1
    assert shaded > 50


def test_mask_matches_image():
    scene = one_object(color="blue")
    image, mask = render(scene, VIEW, samples=4)
    assert image.shape == (80, 120, 3) and image.dtype == np.uint8
    assert mask.shape == (80, 120) and mask.dtype == np.uint8
    assert (mask == instance_mask(scene, VIEW)).all() and set(np.unique(mask)) == {0, 1}
    blueish = image[..., 2].astype(int) - image[..., 0] > 25
    assert (blueish == (mask == 1)).mean() > 0.985
    x, y, _ = VIEW.project([scene["objects"][0]["3d_coords"]])[0]
    rows, columns = np.nonzero(mask)
    assert abs(columns.mean() - x) < 1 and abs(rows.mean() - y) < 1


def test_nearer_object_covers_the_farther():
    pair = [one_object(at=(1.5, -1.3))["objects"][0], one_object(at=(0, 0))["objects"][0]]
    alone = (instance_mask({"objects": pair[1:]}, VIEW) == 1).sum()
    mask = instance_mask({"objects": pair}, VIEW)
    assert 0 < (mask == 2).sum() < alone and (mask == 1).sum() > alone


def test_deterministic_and_seeds_differ():
    scene = sample_scene(np.random.default_rng(0), width=120, height=80)
    one, again = render_scene(scene)[0], render_scene(scene)[0]
    assert (one == again).all()
    scene["render"]["seed"] += 1
    other = render_scene(scene)[0].astype(int)
    assert (one != other).any() and np.abs(one - other).mean() < 2


def test_few_samples_are_close_to_many():
    scene = sample_scene(np.random.default_rng(2), width=120, height=80)
    few = render_scene(scene)[0].astype(int)
    scene["render"]["samples"] = 64
    off = np.abs(few - render_scene(scene)[0])
    assert off.mean() < 1.5 and np.percentile(off, 99) < 30


def test_lamps_and_materials_show():
    centre = tuple(int(v) for v in VIEW.project([[0, 0, 0.7]])[0][:2])
    lit = {}
    for material in ("rubber", "metal"):
        for color in COLOURS:
            image, mask = render(one_object(material=material, color=color), VIEW, samples=8)
            lit[material, color] = image[mask == 1].astype(float)
    for color, rgb in COLOURS.items():
        matte, shiny = lit["rubber", color], lit["metal", color]
        if color != "gray":
            assert matte.mean(0).argmax() == np.argmax(rgb) or color == "yellow"
        # Metal mirrors lamps and a dark sky: more contrast than rubber.
        assert shiny.max() - np.percentile(shiny, 5) > matte.max() - np.percentile(matte, 5)
    dark = render(one_object(), VIEW, lamp_jitter=[[1, -1, 1], [-1, -1, 1], [-1, 1, 1]])[0]
    bright = render(one_object(), VIEW, lamp_jitter=[[-1, 1, -1], [1, 1, -1], [1, -1, -1]])[0]
    assert bright[centre[1], centre[0]].sum() > dark[centre[1], centre[0]].sum()


def test_shadow_falls_away_from_the_lamps():
    lit, _ = render({"objects": []}, VIEW, samples=8)
    shaded, mask = render(one_object(), VIEW, samples=8)
    change = shaded.astype(int).sum(2) - lit.astype(int).sum(2)
    ground = mask == 0
    assert change[ground].min() < -30 and abs(change[:10]).max() < 30


def test_empty_scene_odd_sizes_and_bad_samples():
    image, mask = render({"objects": []}, Camera(VIEW.place, 37, 29), samples=1)
    assert image.shape == (29, 37, 3) and mask.max() == 0 and 60 < image.mean() < 180
    with pytest.raises(ValueError, match="samples"):
        render({"objects": []}, VIEW, samples=0)


@needs_real
def test_genuine_objects_lie_under_our_masks():
    """Genuine colours change at our outlines: objects and ground differ across them."""
    scenes = json.loads((REAL / "scenes" / "CLEVR_val_scenes.json").read_text())["scenes"]
    hits = total = 0
    for scene in scenes[:12]:
        path = REAL / "images" / "val" / scene["image_filename"]
        with Image.open(path) as opened:
            image = np.asarray(opened.convert("RGB")).astype(float)
        mask = instance_mask(scene, scene_camera(scene, (480, 320), 480, 320))
        colourful = image.max(2) - image.min(2)
        for i, thing in enumerate(scene["objects"], start=1):
            if thing["color"] in ("gray", "brown") or thing["material"] == "metal":
                continue
            total += (mask == i).sum()
            hits += (colourful[mask == i] > 28).sum()
        assert (colourful[mask == 0] > 28).mean() < 0.02
    assert hits / total > 0.97


@pytest.mark.slow
@needs_real
def test_close_to_genuine_images(tmp_path):
    scenes = json.loads((REAL / "scenes" / "CLEVR_val_scenes.json").read_text())
    scenes["scenes"] = scenes["scenes"][:6]
    (tmp_path / "scenes").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "scenes" / "CLEVR_val_scenes.json").write_text(json.dumps(scenes))
    for scene in scenes["scenes"]:
        name = scene["image_filename"]
        (tmp_path / "images" / name).symlink_to(REAL / "images" / "val" / name)
    result = compare(tmp_path, tmp_path / "sheet.png", samples=4, shown=3)
    assert result["lamps unknown"] < 6 and result["lamps estimated"] < 2.5
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * 480, 2 * 320)
