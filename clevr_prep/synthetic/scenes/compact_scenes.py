"""Many scenes in little memory, for sources that make questions up while training."""

import os

import numpy as np

from clevr_prep.clevr.json_stream import JsonArray
from clevr_prep.clevr.scene_masks import ATTRIBUTES, DIRECTIONS, VALUES, SceneError, members
from snmn.data.imdb_check import is_filename
from snmn.storage.checksums import crc32

_MOST_OBJECTS = 32  # bits of a row of relations


def _value_codes(objects: list[dict]) -> list[list[int]]:
    if not 0 < len(objects) <= _MOST_OBJECTS:
        raise ValueError(f"{len(objects)} objects, 1 to {_MOST_OBJECTS} are possible")
    for index, thing in enumerate(objects):
        for attribute in ATTRIBUTES:
            if thing[attribute] not in VALUES[attribute]:
                raise ValueError(f"object {index} has unknown {attribute} {thing[attribute]!r}")
    return [[VALUES[a].index(thing[a]) for a in ATTRIBUTES] for thing in objects]


def _relation_masks(relationships: dict, count: int) -> list[list[int]]:
    """For each object and direction, the bit set of the objects that lie there from it."""
    for direction in DIRECTIONS:
        rows = relationships[direction]
        if len(rows) != count or any(not 0 <= j < count for row in rows for j in row):
            raise ValueError(f"relationship {direction!r} does not fit {count} objects")
    return [
        [sum(1 << j for j in set(relationships[d][index])) for d in DIRECTIONS]
        for index in range(count)
    ]


def _size_codes(render: dict) -> list[int]:
    size = [render["width"], render["height"]]
    if not all(type(side) is int and 0 < side < 1 << 16 for side in size):
        raise ValueError(f"an image of {size[0]!r} x {size[1]!r} pixels")
    return size


def _box_codes(objects: list[dict], size: list[int]) -> list[list[int]]:
    """Box (zeros for none) and number of visible pixels of each object."""
    rows = [[*(thing["bbox"] or (0, 0, 0, 0)), thing["visible_pixels"]] for thing in objects]
    if any(len(row) != 5 or not all(type(number) is int for number in row) for row in rows):
        raise ValueError("an object's bbox must be [x, y, width, height] in whole pixels")
    for x, y, w, h, pixels in rows:
        empty = (x, y, w, h) == (0, 0, 0, 0)
        fits = x >= 0 and y >= 0 and w > 0 and h > 0 and x + w <= size[0] and y + h <= size[1]
        if not (fits or empty) or not 0 <= pixels < 1 << 31:
            raise ValueError(f"an object's bbox {[x, y, w, h]} is not one in its image")
    return rows


class CompactScenes:
    """What questions need to know of many scenes, in a few bytes an object.

    A parsed scene takes 11 KB, which every loader process would come to have for itself.

    Args:
        path: a CLEVR scenes file.
        boxes: whether to keep the objects' boxes and the images' sizes too, which rendered
            scenes of CLEVR-Ref have.

    Attributes:
        filenames: the scenes' image file names.
        object_counts: [scenes] how many objects each has.
        checksum: a number that is another one for other scenes.

    Raises ``SceneError`` naming the file and the scene when one lacks something.
    """

    def __init__(self, path: str | os.PathLike, *, boxes: bool = False):
        self.filenames: list[str] = []
        values, relations, ends, seen, sizes = [], [], [0], [], []
        for number, scene in enumerate(JsonArray(path, "scenes")):
            try:
                if not is_filename(scene["image_filename"]):
                    raise ValueError("its image_filename is no file name")
                self.filenames.append(scene["image_filename"])
                values += _value_codes(scene["objects"])
                relations += _relation_masks(scene["relationships"], len(scene["objects"]))
                if boxes:
                    sizes.append(_size_codes(scene["render"]))
                    seen += _box_codes(scene["objects"], sizes[-1])
            except KeyError as error:
                raise SceneError(f"{path}: scene {number} has no {error}") from None
            except (ArithmeticError, AttributeError, TypeError, ValueError) as error:
                raise SceneError(f"{path}: scene {number}: {error}") from None
            ends.append(len(values))
        if not self.filenames:
            raise SceneError(f"{path} has no scenes")
        self._values = np.array(values, dtype=np.uint8)
        self._relations = np.array(relations, dtype=np.uint32)
        self._ends = np.array(ends)
        self.object_counts = np.diff(self._ends)
        self._seen = np.array(seen, dtype=np.int32) if boxes else None
        self._sizes = np.array(sizes, dtype=np.int32) if boxes else None
        columns = [self._values, self._relations, self._ends, self._seen, self._sizes]
        names = np.frombuffer("\n".join(self.filenames).encode(), dtype=np.uint8)
        self.checksum = crc32([names, *(column for column in columns if column is not None)])

    def __len__(self) -> int:
        return len(self.filenames)

    def __getitem__(self, index: int) -> dict:
        """The scene as a CLEVR dictionary with its objects' attributes and relationships.

        With boxes, objects have ``bbox`` and ``visible_pixels``, and ``render`` has the size.
        """
        rows = slice(self._ends[index], self._ends[index + 1])
        relations = self._relations[rows].T.tolist()
        scene = {
            "objects": [
                {a: VALUES[a][code] for a, code in zip(ATTRIBUTES, codes, strict=True)}
                for codes in self._values[rows].tolist()
            ],
            "relationships": {
                direction: [members(mask) for mask in masks]
                for direction, masks in zip(DIRECTIONS, relations, strict=True)
            },
        }
        if self._seen is not None:
            width, height = self._sizes[index].tolist()
            scene["render"] = {"width": width, "height": height}
            for thing, (*box, pixels) in zip(
                scene["objects"], self._seen[rows].tolist(), strict=True
            ):
                thing["bbox"], thing["visible_pixels"] = box if pixels else None, pixels
        return scene
