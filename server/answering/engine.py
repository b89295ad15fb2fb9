"""Models in memory, features of the samples, and predictions in threads of their own.

PyTorch gets one core in each of ``concurrency`` threads, so the event loop is never blocked and
answers do not slow each other down by sharing cores.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from server.answering.explanation import tell
from server.answering.layouts import expert_layout, own_layout, planned
from server.answering.questions import read_question
from server.answering.true_scene import is_sentence
from server.catalogue import Entry, read_catalogue, warm_up
from server.download import DownloadError, download
from server.errors import DemoError
from server.images import decode_image
from server.results.features import refuse_other_images, tested_features
from server.results.folder import find_row, read_results
from server.results.models import add_tested_models
from server.samples import all_samples, find_sample, open_sample
from server.schemas import Layouts, ModelInfo, Prediction
from server.settings import Settings
from snmn.backbones import Backbone, BackboneError, build_backbone
from snmn.checkpoints.model_backbone import model_backbone
from snmn.evaluation.marks import Marker
from snmn.network.edits import Edits
from snmn.predict import forward, image_features

log = logging.getLogger("uvicorn.error")
_NO_EDITS = Edits()
_PATIENCE = 60.0  # seconds that a question waits for its model to be loaded

Result = TypeVar("Result")


class Engine:
    """Answers questions; `start` and `stop` belong to the server's event loop."""

    def __init__(self, settings: Settings):
        self.settings = settings
        self.results = read_results(settings.results, images=settings.result_images)
        self.entries = add_tested_models(read_catalogue(settings.checkpoints), self.results)
        self._build = cache(build_backbone)
        self._features: dict[tuple[Backbone, str], Tensor] = {}  # of samples, by id
        self._waiting = 0
        self._tasks: dict[str, asyncio.Task] = {}
        self._loading = asyncio.Lock()  # one after the other, in the order of the page

    async def start(self) -> None:
        """Begin to load all models in the background."""
        self._pool = ThreadPoolExecutor(
            self.settings.concurrency, "predict", initializer=torch.set_num_threads, initargs=(1,)
        )
        for name, entry in self.entries.items():
            if entry.state == "waiting":
                self._tasks[name] = asyncio.create_task(self._load(entry))

    async def stop(self) -> None:
        """Let what is being computed end, and drop the rest."""
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def default(self) -> str | None:
        """Name of the model that answers when none is named: the first that is not missing."""
        usable = [name for name, entry in self.entries.items() if entry.state != "failed"]
        here = [name for name in usable if self.entries[name].state != "published"]
        return next(iter(here or usable), None)

    @property
    def ready(self) -> list[str]:
        """Names of the models in memory."""
        return [name for name, entry in self.entries.items() if entry.state == "ready"]

    @property
    def starting(self) -> bool:
        """Whether models are still being loaded."""
        return any(entry.state in ("waiting", "loading") for entry in self.entries.values())

    def models(self) -> list[ModelInfo]:
        """All models and their states."""
        default = self.default
        return [entry.info(default=name == default) for name, entry in self.entries.items()]

    def find(self, name: str | None) -> Entry:
        """The model of a name, or the default one; DemoError (404) where there is none."""
        wanted = self.default if name is None else name
        if wanted not in self.entries:
            names = ", ".join(self.entries) or "none at all"
            raise DemoError(404, "no_model", f"There is no such model; there are: {names}.")
        return self.entries[wanted]

    async def begin_download(self, name: str) -> ModelInfo:
        """Fetch a published model in the background, unless that is being done already."""
        entry = self.find(name)
        if entry.state not in ("published", "downloading"):
            raise DemoError(409, "not_published", f"{entry.name} needs no download.")
        if entry.state == "published":
            entry.state, entry.message = "downloading", "It is being downloaded."
            self._tasks[name] = asyncio.create_task(self._download(entry))
        return entry.info(default=False)

    async def predict(
        self,
        *,
        question: str,
        model: str | None,
        sample: str | None,
        upload: bytes | None,
        edits: Edits = _NO_EDITS,
    ) -> Prediction:
        """Answer a question about a sample or an uploaded file; DemoError says why it cannot."""
        entry = self.find(model)
        words, indices = read_question(question)
        if (sample is None) == (upload is None):
            raise DemoError(
                422, "which_image", "Name a sample or upload an image: one of the two, not both."
            )
        tested = find_row(self.results, sample)
        if sample is not None and tested is None:
            find_sample(sample)
        await self._until_ready(entry)
        if tested is None:
            refuse_other_images(entry)

        def answer() -> Prediction:
            start = time.perf_counter()
            if tested is not None:
                results, row = tested
                size = results.size(row)
            elif sample is not None:
                found = find_sample(sample)
                size = (found.width, found.height)
            else:
                image = decode_image(upload, max_pixels=self.settings.max_pixels)
                size = image.size
            plan = planned(edits, entry.model, words, indices, size)
            if tested is not None:
                features = tested_features(results, row, entry, self._image_features)
            elif sample is not None:
                features = self._sample_features(entry, sample)
            else:
                features = self._image_features(entry, image)
            output = forward(entry.model, indices, features, plan)
            return tell(entry, words, output, features, plan.given, size, question, sample, start)

        return await self._in_thread(answer)

    async def layouts(self, *, question: str, model: str | None) -> Layouts:
        """How a question is taken apart; DemoError says why it cannot be."""
        entry = self.find(model)
        words, indices = read_question(question)
        await self._until_ready(entry)
        return await self._in_thread(
            lambda: Layouts(
                model=entry.name,
                question=question,
                words=words,
                own=own_layout(entry.model, indices),
                **expert_layout(entry.model, words),
            )
        )

    async def _in_thread(self, job: Callable[[], Result]) -> Result:
        if self._waiting >= self.settings.queue + self.settings.concurrency:
            raise DemoError(
                429, "busy", "Too many questions are being answered; ask again in a moment."
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, job)
        finally:
            self._waiting -= 1

    async def _until_ready(self, entry: Entry) -> None:
        if entry.state in ("waiting", "loading"):
            await asyncio.wait([self._tasks[entry.name]], timeout=_PATIENCE)
        if entry.state != "ready":
            raise DemoError(
                409, "not_ready", f"The model {entry.name} cannot answer now. {entry.message}"
            )

    async def _load(self, entry: Entry) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with self._loading:
                entry.state, entry.message = "loading", "It is being loaded."
                await loop.run_in_executor(self._pool, self._prepare, entry)
        except Exception as error:  # Whatever is wrong with one file, the others go on.
            log.error("model %s cannot be used: %s", entry.name, error)
            # What exactly is wrong concerns the operator, not the visitor.
            entry.state, entry.message = "failed", "Its file cannot be used; the log says why."
        else:
            entry.state, entry.message = "ready", None

    async def _download(self, entry: Entry) -> None:
        def tell(share: float | None) -> None:
            entry.progress = share

        card = entry.card
        try:
            await asyncio.to_thread(
                download, card["url"], card["sha256"], entry.path, progress=tell
            )
        except DownloadError as error:
            log.error("model %s: %s", entry.name, error)
            entry.state, entry.message = "published", f"The download failed: {error}."
        else:
            await self._load(entry)
        finally:
            entry.progress = None

    def _prepare(self, entry: Entry) -> None:
        """Load a model, its backbone and the samples' features; runs in a thread."""
        entry.load(self.settings.modules)
        warm_up(entry)
        try:
            if entry.extracts:
                for name in all_samples():
                    self._sample_features(entry, name)
        except BackboneError as error:
            if not entry.tested:
                raise
            log.warning("model %s answers about its test alone: %s", entry.name, error)
            entry.extracts = False
        entry.marker = Marker(entry.model, self._attributes(entry), reads=is_sentence)

    def _attributes(self, entry: Entry) -> dict:
        """What is known of the features that a model takes; nothing where they cannot be told."""
        if entry.extracts:
            return self._backbone(entry).attributes
        tests = [test for test in self.results.values() if test.model == entry.name]
        return next((test.features.attributes for test in tests if test.features), {})

    def _backbone(self, entry: Entry) -> Backbone:
        return model_backbone(entry.backbone, entry.model, self._build)

    def _sample_features(self, entry: Entry, sample: str) -> Tensor:
        key = (self._backbone(entry), sample)
        if key not in self._features:
            image = open_sample(find_sample(sample))
            self._features[key] = self._image_features(entry, image)
        return self._features[key]

    def _image_features(self, entry: Entry, image: Image.Image) -> Tensor:
        return image_features(self._backbone(entry), image)
