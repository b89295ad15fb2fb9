"""Where objects lie on the grid."""

import numpy as np
import pytest

from clevr_prep.clevr.scene_masks import SceneError
from clevr_prep.truth.scene_cells import check_size, noted_size, object_boxes, object_cells


def scene(*objects):
    return {"objects": list(objects)}


def boxed(*box):
    return {"bbox": list(box), "size": "large", "pixel_coords": [0, 0, 1.0]}


def cells(found):
    return [np.flatnonzero(row).tolist() for row in found]


def test_cells_whose_centre_is_in_the_box():
    found = object_cells(scene(boxed(0, 0, 20, 10), boxed(56, 14, 18, 2)), (14, 14), (140, 140))
    assert cells(found) == [[0, 1], [14 + 6]]
    wide = object_cells(scene(boxed(40, 0, 40, 40)), (14, 14), (280, 140))
    assert cells(wide) == [[2, 3, 16, 17, 30, 31, 44, 45]]


def test_a_cell_in_two_boxes_belongs_to_the_nearer_centre():
    found = object_cells(scene(boxed(0, 0, 60, 10), boxed(44, 0, 36, 10)), (14, 14), (140, 140))
    assert cells(found) == [[0, 1, 2, 3, 4], [5, 6, 7]]


def test_every_object_has_the_cell_of_its_centre():
    tiny = boxed(71, 71, 1, 1)
    objects = scene(boxed(60, 60, 30, 30), tiny, boxed(139, 139, 9, 9))
    found = object_cells(objects, (14, 14), (140, 140))
    assert found[1].nonzero()[0].tolist() == [7 * 14 + 7]
    assert found[2].nonzero()[0].tolist() == [195]


def test_without_a_box_the_extent_follows_size_and_depth():
    def extent(size, depth, image=(480, 320)):
        thing = {"size": size, "pixel_coords": [240, 160, depth], "bbox": None}
        return object_boxes({"objects": [thing]}, image)[0]

    large, small, far = extent("large", 10.0), extent("small", 10.0), extent("large", 20.0)
    assert large.tolist() == pytest.approx([240 - 36.75, 160 - 36.75, 73.5, 73.5])
    assert small[2] == far[2] == pytest.approx(36.75)
    assert extent("large", 10.0, (240, 160))[2] == pytest.approx(36.75)


def test_the_size_is_the_scene_s_or_unknown():
    assert noted_size({"render": {"width": 280, "height": 140}}) == (280, 140)
    for silent in ({}, {"render": None}, {"render": {"width": 280}}):
        assert noted_size(silent) is None


def test_cells_follow_the_size_of_the_image():
    """An object at (300, 200) of 320 x 240, the public generator's usual size."""
    thing = {"size": "small", "pixel_coords": [300, 200, 20.0]}
    (found,) = cells(object_cells(scene(thing), (14, 14), (320, 240)))
    assert 11 * 14 + 13 in found and 8 * 14 + 8 not in found


def test_a_scene_of_a_larger_image_is_refused():
    thing = {"size": "small", "pixel_coords": [300, 200, 20.0]}
    check_size(scene(thing), (320, 240))
    check_size(scene(thing), (298, 240))  # An object that the border cuts.
    with pytest.raises(SceneError, match=r"pixel \(300, 200\), far outside .* 240 x 160 pixels"):
        check_size(scene(thing), (240, 160))


def test_a_scene_without_coordinates_is_named():
    with pytest.raises(SceneError, match="scene of a.png has no 'pixel_coords'"):
        object_boxes({"image_filename": "a.png", "objects": [{"size": "large"}]}, (480, 320))


def test_a_scene_without_objects_has_no_cells():
    assert object_cells(scene(), (2, 3), (30, 20)).shape == (0, 6)
