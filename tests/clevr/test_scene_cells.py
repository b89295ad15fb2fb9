"""Where objects lie on the grid."""

import numpy as np
import pytest

from clevr_prep.clevr.scene_masks import SceneError
from clevr_prep.truth.scene_cells import image_size, object_boxes, object_cells


def scene(*objects, size=(140, 140)):
    return {"render": dict(zip(("width", "height"), size, strict=True)), "objects": list(objects)}


def boxed(*box):
    return {"bbox": list(box), "size": "large", "pixel_coords": [0, 0, 1.0]}


def cells(found):
    return [np.flatnonzero(row).tolist() for row in found]


def test_cells_whose_centre_is_in_the_box():
    found = object_cells(scene(boxed(0, 0, 20, 10), boxed(56, 14, 18, 2)), (14, 14))
    assert cells(found) == [[0, 1], [14 + 6]]
    wide = object_cells(scene(boxed(40, 0, 40, 40), size=(280, 140)), (14, 14))
    assert cells(wide) == [[2, 3, 16, 17, 30, 31, 44, 45]]


def test_a_cell_in_two_boxes_belongs_to_the_nearer_centre():
    found = object_cells(scene(boxed(0, 0, 60, 10), boxed(44, 0, 36, 10)), (14, 14))
    assert cells(found) == [[0, 1, 2, 3, 4], [5, 6, 7]]


def test_every_object_has_the_cell_of_its_centre():
    tiny = boxed(71, 71, 1, 1)
    found = object_cells(scene(boxed(60, 60, 30, 30), tiny, boxed(139, 139, 9, 9)), (14, 14))
    assert found[1].nonzero()[0].tolist() == [7 * 14 + 7]
    assert found[2].nonzero()[0].tolist() == [195]


def test_without_a_box_the_extent_follows_size_and_depth():
    def extent(size, depth):
        thing = {"size": size, "pixel_coords": [240, 160, depth], "bbox": None}
        return object_boxes({"objects": [thing]})[0]

    large, small, far = extent("large", 10.0), extent("small", 10.0), extent("large", 20.0)
    assert large.tolist() == pytest.approx([240 - 36.75, 160 - 36.75, 73.5, 73.5])
    assert small[2] == far[2] == pytest.approx(36.75)
    assert image_size({"objects": []}) == (480, 320)


def test_a_scene_without_coordinates_is_named():
    with pytest.raises(SceneError, match="scene of a.png has no 'pixel_coords'"):
        object_boxes({"image_filename": "a.png", "objects": [{"size": "large"}]})


def test_a_scene_without_objects_has_no_cells():
    assert object_cells(scene(), (2, 3)).shape == (0, 6)
