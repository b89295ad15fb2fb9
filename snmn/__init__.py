"""SNMN: the Stack Neural Module Network (Hu et al., ECCV 2018) in PyTorch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from snmn.common.threads import wait_asleep

if TYPE_CHECKING:
    from snmn.checkpoints.checkpoint import load_model
    from snmn.network.model import SNMN, SNMNOutput, build_model
    from snmn.network.modules import AnswerModule, NeuralModule
    from snmn.predict import Predictor

wait_asleep()  # Before PyTorch is loaded; what loads it first imports this package before.

__all__ = [
    "SNMN",
    "AnswerModule",
    "NeuralModule",
    "Predictor",
    "SNMNOutput",
    "build_model",
    "load_model",
]

_MODULES = {
    "SNMN": "snmn.network.model",
    "SNMNOutput": "snmn.network.model",
    "AnswerModule": "snmn.network.modules",
    "NeuralModule": "snmn.network.modules",
    "build_model": "snmn.network.model",
    "load_model": "snmn.checkpoints.checkpoint",
    "Predictor": "snmn.predict",
}


def __getattr__(name: str) -> Any:
    # Loaded when first asked for: commands that only make data need no PyTorch, which takes
    # seconds to import.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
