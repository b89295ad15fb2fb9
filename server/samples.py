"""The bundled sample images and what can be asked about them."""

import json
from functools import cache
from pathlib import Path

from PIL import Image

from server.errors import DemoError
from server.schemas import Sample
from snmn.storage.image_files import open_image

FOLDER = Path(__file__).parent / "samples"


@cache
def all_samples() -> dict[str, Sample]:
    """Samples by id, in order; python -m server.make_samples made them."""
    entries = json.loads((FOLDER / "samples.json").read_text())
    samples = [Sample(url=f"samples/{entry.pop('file')}", **entry) for entry in entries]
    return {sample.id: sample for sample in samples}


def find_sample(name: str) -> Sample:
    """The sample of an id; DemoError (404) where there is none."""
    if name not in all_samples():
        raise DemoError(404, "no_sample", "There is no such sample; GET api/samples lists them.")
    return all_samples()[name]


def open_sample(sample: Sample) -> Image.Image:
    """Its image in RGB."""
    return open_image(FOLDER / Path(sample.url).name)
