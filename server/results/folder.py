"""A test's results folder: its questions, where their images and features are, and its model.

Images never leave the folder that summary.json names (or the operator does): a name that leads
elsewhere is refused, by a link as well, and nothing but decoded pixels is sent on.
"""

import io
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from PIL import Image

from server.errors import DemoError
from server.results.rows import ResultsError, Row, read_rows
from snmn.common.errors import shown
from snmn.common.paths import home_path, visible_files
from snmn.data.feature_shards import FeatureStoreError
from snmn.data.feature_store import FeatureStore
from snmn.storage.image_files import image_size, open_image
from snmn.storage.rgb import ImageError

log = logging.getLogger("uvicorn.error")
SMALL = (192, 192)  # pixels at most of an image in a list
JPEG = {"quality": 90, "subsampling": 0}
_WORDS = ("experiment", "checkpoint", "weights", "images", "features")


@dataclass
class Results:
    """A test that can be walked through.

    - name: of the folder, which is the split's
    - about: what the head of summary.json says, see ``_WORDS``
    - task, rows: the questions, in their order; a row's number is its place
    - images: the folder of their images, which exists
    - features: what the test read, None where that is not here
    - model: name of the tested model in the engine, None where its checkpoint is not here
    """

    name: str
    about: dict[str, str]
    task: str
    rows: list[Row]
    images: Path
    features: FeatureStore | None
    model: str | None = None
    _by_image: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list), repr=False)

    def __post_init__(self):
        for number, row in enumerate(self.rows):
            self._by_image[row.image].append(number)

    @cached_property
    def types(self) -> list[str]:
        """The questions' types, sorted."""
        return sorted({row.type for row in self.rows if row.type})

    @cached_property
    def layouts(self) -> Counter[str]:
        """How often each layout was predicted."""
        return Counter(row.layout for row in self.rows)

    @cached_property
    def marks(self) -> Counter[str] | None:
        """How often each mark stands, None in a test that did not look for any."""
        if self.rows[0].marks is None:
            return None
        return Counter(mark for row in self.rows for mark in row.marks)

    def same_image(self, number: int) -> list[int]:
        """Numbers of all rows about the image of one."""
        return self._by_image[self.rows[number].image]

    def find(self, number: int) -> Row:
        """A row by its number; DemoError (404) where there is none."""
        if not 0 <= number < len(self.rows):
            raise DemoError(
                404,
                "no_question",
                f"There is no such question; {self.name} has 0 to {len(self.rows) - 1}.",
            )
        return self.rows[number]

    def size(self, number: int) -> tuple[int, int]:
        """(width, height) in pixels of a row's image; DemoError if it cannot be had."""
        return self._reading(number, image_size)

    def open_image(self, number: int) -> Image.Image:
        """A row's image in RGB; DemoError if it cannot be had."""
        return self._reading(number, open_image)

    def jpeg(self, number: int, *, small: bool) -> bytes:
        """A row's image as a JPEG file, as the models see it or in a list's size."""
        image = self.open_image(number)
        if small:
            image.thumbnail(SMALL)
        file = io.BytesIO()
        image.save(file, "JPEG", **JPEG)
        return file.getvalue()

    def _reading(self, number: int, read):
        name = self.find(number).image
        path = self.images / name
        try:
            if not path.resolve().is_relative_to(self.images.resolve()):
                raise DemoError(404, "no_image", f"{name} is a link out of the folder of images.")
            return read(path)
        except ImageError as error:
            raise DemoError(422, "damaged_image", f"The image {name} {error.reason}.") from None
        except (OSError, RuntimeError):  # Also of links in a circle.
            raise DemoError(
                404, "no_image", f"The image {name} is not in the folder of this test's images."
            ) from None


def find_row(tests: Mapping[str, Results], sample: str | None) -> tuple[Results, int] | None:
    """Test and number of a row that a sample's id, TEST/ROW, names; None for other samples.

    DemoError (404) where the test has no such row.
    """
    name, slash, number = (sample or "").rpartition("/")
    if not slash or name not in tests:
        return None
    results = tests[name]
    # As str.isdigit knows other digits, and int() longer numbers than anybody counts.
    if not (number.isascii() and number.isdigit() and len(number) < 12):
        raise DemoError(404, "no_question", "A question of a test is named TEST/ROW, as val/17.")
    results.find(int(number))
    return results, int(number)


def find_test(tests: Mapping[str, Results], name: str) -> Results:
    """The test of a name; DemoError (404) where there is none."""
    if name not in tests:
        names = ", ".join(tests) or "none at all"
        raise DemoError(404, "no_test", f"There is no such test; there are: {names}.")
    return tests[name]


def read_results(folders: tuple[Path, ...], *, images: str | None) -> dict[str, Results]:
    """Tests by name. Each folder is a test's own, or holds such; ResultsError for any other.

    ``images`` is where the images are, %s for the split, if not where summary.json says.
    """
    own = []
    for folder in folders:
        paths = [folder / "predictions.csv"]
        if not paths[0].is_file():
            paths = visible_files(folder, "*/predictions.csv")
        if not paths:
            raise ResultsError(
                f"{folder} holds no predictions.csv, nor has it folders that do; test.py makes them"
            )
        own += [path.parent for path in paths]
    return {folder.resolve().name: _read(folder, images) for folder in own}


def _read(folder: Path, images: str | None) -> Results:
    path = folder / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        about = {word: summary[word] for word in _WORDS}
        if not all(type(value) is str and "\0" not in value for value in about.values()):
            raise TypeError
    except (OSError, ValueError, RecursionError) as error:
        raise ResultsError(f"{path} cannot be read: {shown(error)}") from None
    except (KeyError, TypeError):
        raise ResultsError(
            f"{path} does not say what was tested ({', '.join(_WORDS)}); run test.py again"
        ) from None
    task, rows = read_rows(folder / "predictions.csv")
    name = folder.resolve().name
    where = home_path(images.replace("%s", name) if images else about["images"])
    if not where.is_dir():
        raise ResultsError(
            f"{folder}: the images that were tested are not in {where}; start where test.py was "
            "started, or set SNMN_RESULT_IMAGES to the folder that holds them"
        )
    return Results(name, about, task, rows, where, _features(home_path(about["features"])))


def _features(folder: Path) -> FeatureStore | None:
    try:
        return FeatureStore(folder)
    except FeatureStoreError as error:
        log.warning("%s; features are made of the images", error)
        return None
