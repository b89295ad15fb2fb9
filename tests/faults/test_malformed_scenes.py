"""Scenes that are not what they should be: one sentence with file and scene."""

import json
import random

import numpy as np

from clevr_prep.clevr.scene_masks import SceneError
from clevr_prep.synthetic.scenes.compact_scenes import CompactScenes
from clevr_prep.synthetic.scenes.scene_sampling import sample_scene


def places(value, path=()):
    """The way to each value within nested lists and dictionaries, those near the top first."""
    yield path
    inner = ()
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
    for key, entry in inner:
        yield from places(entry, (*path, key))


def test_scenes_with_a_wrong_value_anywhere(tmp_path, reliability):
    """Every value of a scene in turn becomes another: the scene is refused, or goes on to work."""
    row = reliability(
        "Malformed scenes", caused="one value at a time", sees="one line with file and scene"
    )
    scene = sample_scene(np.random.default_rng(0), max_objects=3)
    scene |= {"image_filename": "a.png", "render": {"width": 480, "height": 320}}
    for thing in scene["objects"]:
        thing |= {"bbox": [1, 2, 30, 40], "visible_pixels": 900}
    path, text = tmp_path / "CLEVR_train_scenes.json", json.dumps(scene)
    chance, refused = random.Random(0), 0
    for place in places(json.loads(text)):
        broken = {"scene": json.loads(text)}
        holder, key = broken, "scene"
        for step in place:
            holder, key = holder[key], step
        holder[key] = chance.choice([None, float("nan"), 10**30, -1, "x", [], {}, [[]], True, 1.5])
        path.write_text(json.dumps({"scenes": [json.loads(text), broken["scene"]]}))
        with row.attempt():
            try:
                assert len(CompactScenes(path, boxes=True)) == 2
            except SceneError as error:
                assert path.name in str(error) and "scene 1" in str(error)
                refused += 1
    assert refused > 20
