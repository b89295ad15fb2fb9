"""Settings of the demo, from environment variables that begin with SNMN_."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from snmn.checkpoints.bundled import BUNDLED
from snmn.common.errors import UserError
from snmn.common.paths import home_path
from snmn.network.modules import NeuralModule
from snmn.network.own_modules import OwnModuleError, import_modules, parse_modules


class SettingError(UserError):
    """An environment variable does not hold what it should; the message is fit for a user."""


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Settings:
    """What an operator may choose.

    - checkpoints (SNMN_CHECKPOINTS): folder of NAME.ckpt files with their cards, NAME.json
    - max_upload_bytes (SNMN_MAX_UPLOAD_MB): largest request body
    - max_pixels (SNMN_MAX_MEGAPIXELS): largest uploaded image
    - concurrency (SNMN_CONCURRENCY): predictions computed at the same time, one core each
    - queue (SNMN_QUEUE): predictions that may wait; the next one is refused with 429
    - upload_seconds (SNMN_UPLOAD_SECONDS): time a client has to send its request's body
    - modules (SNMN_MODULES): classes of modules beside the nine that checkpoints may have, by name
    - results (SNMN_RESULTS): folders of tests to walk through, see `server.results.folder`
    - result_images (SNMN_RESULT_IMAGES): where their images are, with %s for the split, if not
      where they were when test.py ran
    """

    checkpoints: Path = BUNDLED
    max_upload_bytes: int = 8_000_000
    max_pixels: int = 16_000_000
    concurrency: int = field(default_factory=_cores)
    queue: int = 128
    upload_seconds: float = 20.0
    modules: Mapping[str, type[NeuralModule]] = field(default_factory=dict)
    results: tuple[Path, ...] = ()
    result_images: str | None = None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Settings from variables; absent or empty ones keep the defaults. Raises SettingError."""
        values = {}
        for variable, name, unit in (
            ("SNMN_MAX_UPLOAD_MB", "max_upload_bytes", 1_000_000),
            ("SNMN_MAX_MEGAPIXELS", "max_pixels", 1_000_000),
            ("SNMN_CONCURRENCY", "concurrency", 1),
            ("SNMN_QUEUE", "queue", 1),
            ("SNMN_UPLOAD_SECONDS", "upload_seconds", 1),
        ):
            text = environment.get(variable, "").strip()
            if not text:
                continue
            if not text.isdecimal() or int(text) < 1:
                raise SettingError(f"{variable} is {text!r}, must be a whole number from 1 on")
            values[name] = int(text) * unit
        for variable in ("SNMN_CHECKPOINTS", "SNMN_RESULTS"):
            text = environment.get(variable, "").strip()
            if not text:
                continue
            folder = home_path(text)
            if not folder.is_dir():
                raise SettingError(f"{variable} is {text!r}, which is no folder")
            if variable == "SNMN_RESULTS":
                values["results"] = (folder,)
            else:
                values["checkpoints"] = folder
        values["result_images"] = environment.get("SNMN_RESULT_IMAGES", "").strip() or None
        try:
            values["modules"] = import_modules(parse_modules(environment.get("SNMN_MODULES", "")))
        except OwnModuleError as error:
            raise SettingError(f"SNMN_MODULES: {error}") from error
        return cls(**values)
