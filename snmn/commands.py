"""Runs a command of the project; what a user can put right ends it with one sentence."""

import sys
from collections.abc import Callable

from clevr_prep.json_stream import JsonStreamError
from clevr_prep.layouts import LayoutError
from clevr_prep.synthetic.scene_masks import SceneError
from snmn.checkpoint import CheckpointError
from snmn.data import DataError
from snmn.faults import NonFiniteError
from snmn.feature_store import FeatureStoreError
from snmn.imdb import ImdbError
from snmn.interrupt import EXIT_CODE, Interrupted
from snmn.loggers import LoggerError
from snmn.restart_series import SeriesError
from snmn.settings import ConfigError

USER_ERRORS = (
    CheckpointError,
    ConfigError,
    DataError,
    FeatureStoreError,
    ImdbError,
    JsonStreamError,
    LayoutError,
    LoggerError,
    NonFiniteError,
    SceneError,
    SeriesError,
    OSError,
)


def run(command: Callable[[], None], name: str) -> None:
    """Run a command; what a user can put right ends it with one sentence."""
    try:
        command()
    except Interrupted as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        sys.exit(EXIT_CODE)
    except USER_ERRORS as error:
        text = str(error)
        if text.startswith("Caught "):  # By a loader's process, which adds its traceback.
            text = text.strip().splitlines()[-1].partition(": ")[2]
        sys.exit(f"{name}: {text}")
