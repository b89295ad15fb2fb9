"""Which settings of an experiment cannot be, or contradict each other.

Settings are nested dictionaries with all keys of a configuration; `ConfigError` says what to
change.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from snmn.checkpoints.published_settings import MODEL_ARGUMENTS, OWN_MODULES, flatten
from snmn.common.schedules import Staged, staged_limit
from snmn.common.vocabulary import MODULES
from snmn.network.model_arguments import check_argument
from snmn.storage.typed_settings import ConfigError
from snmn.training.losses import SHARPEN_LOSS_TYPES, SHARPEN_SCALINGS, layout_distribution

# What a setting is one of.
_CHOICES = {
    "TRAIN.SHARPEN_LOSS_TYPE": SHARPEN_LOSS_TYPES,
    "TRAIN.SHARPEN_LOSS_SCALING_TYPE": ("warmup_scaling", "func_scaling"),
    "TRAIN.SOLVER.SCHEDULE": ("constant", "cosine"),
}
_AT_LEAST_1 = (
    "TRAIN.BATCH_SIZE",
    "TRAIN.QUESTIONS_PER_IMAGE",
    "TRAIN.MAX_ITER",
    "TRAIN.LOG_INTERVAL",
    "TRAIN.VAL_INTERVAL",
    "TEST.BATCH_SIZE",
)
# What new questions ask more often.
_MIX = ("FRESH_COUNTING", "FRESH_COMPARING", "FRESH_PER_HOP", "FRESH_INTERSECTING")
# What else new questions are.
_ADDED = ("FRESH_QUERIES_UNTIL", "FRESH_COMPOSITIONS")
# A setting that, once it is on, needs another.
_NEEDED = {
    "TRAIN.INIT_FROM_WEIGHTS": "TRAIN.INIT_WEIGHTS_FILE",
    "LOAD": "CHECKPOINT_FILENAME",
    "USE_FIXED_WORD_EMBED": "FIXED_WORD_EMBED_FILE",
}
# Paths that can stand for several files.
_PATTERNS = (
    "IMDB_FILE",
    "FEATURE_DIR",
    "TRAIN.SNAPSHOT_DIR",
    "TRAIN.FRESH_SCENES_FILE",
    "TRAIN.FRESH_SCENES_FILE_LOC",
)


def check_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what cannot be, whatever is done with it."""
    flat = flatten(dict(settings))
    for key in _PATTERNS:
        if flat[key].count("%s") > 1:
            raise ConfigError(f"{key} must contain %s once at most, not {flat[key]!r}")
    if "%s" not in flat["TRAIN.SNAPSHOT_DIR"]:
        directory = flat["TRAIN.SNAPSHOT_DIR"]
        raise ConfigError(f"TRAIN.SNAPSHOT_DIR must contain %s, not be {directory!r}")
    modules = settings["MODEL"]["NMN"]["MODULES"]
    _check_numbers(flat, modules)
    _check_choices(flat)
    if flat["TRAIN.BATCH_SIZE"] % flat["TRAIN.QUESTIONS_PER_IMAGE"]:
        raise ConfigError(
            f"TRAIN.BATCH_SIZE {flat['TRAIN.BATCH_SIZE']} is not a multiple of "
            f"TRAIN.QUESTIONS_PER_IMAGE {flat['TRAIN.QUESTIONS_PER_IMAGE']}"
        )
    if not (flat["MODEL.BUILD_VQA"] or flat["MODEL.BUILD_LOC"]):
        raise ConfigError("MODEL.BUILD_VQA and MODEL.BUILD_LOC are both off: build one")
    if flat["MODEL.LSTM_DIM"] % 2 or flat["MODEL.PE_DIM"] % 4:
        raise ConfigError("MODEL.LSTM_DIM must be even and MODEL.PE_DIM a multiple of 4")
    for key, needed in _NEEDED.items():
        if flat[key] and not flat[needed]:
            raise ConfigError(f"{key} needs {needed}")
    _check_stages(flat, [*MODULES, *modules])


def _check_numbers(flat: Mapping[str, Any], modules: Any) -> None:
    """No number is negative, those of the model are possible, and parts are parts."""
    for key, value in flat.items():
        name = MODEL_ARGUMENTS.get(key)
        if type(value) in (int, float) and value < 0:
            raise ConfigError(f"{key} must not be negative, not {value}")
        if name not in (None, "cell_affine", "answer_keep_prob"):
            try:
                check_argument(name, value, called=key)
            except ValueError as error:
                raise ConfigError(str(error)) from None
    try:
        check_argument("modules", modules, called=OWN_MODULES)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    for key in _AT_LEAST_1:
        if flat[key] < 1:
            raise ConfigError(f"{key} must be at least 1, not {flat[key]}")
    for key in (f"TRAIN.{name}" for name in _MIX):
        if not flat[key] > 0:
            raise ConfigError(f"{key} must be above 0, not {flat[key]}")
    if not flat["TRAIN.FRESH_COMPOSITIONS"] <= 1:
        raise ConfigError("TRAIN.FRESH_COMPOSITIONS is a share, 0 to 1")
    if not 0 < flat["TRAIN.LAYOUT_SHARE"] <= 1:
        raise ConfigError(
            "TRAIN.LAYOUT_SHARE is a share, above 0 and up to 1; without any layout it is "
            "TRAIN.USE_GT_LAYOUT False"
        )
    if not 0 < flat["TRAIN.IMAGE_SHARE"] <= 1:
        raise ConfigError("TRAIN.IMAGE_SHARE is a share, above 0 and up to 1")
    if not 0 < flat["TRAIN.DROPOUT_KEEP_PROB"] <= 1:
        raise ConfigError("TRAIN.DROPOUT_KEEP_PROB is a probability above 0")
    if not 0 <= flat["TRAIN.EMA_DECAY"] < 1:
        raise ConfigError("TRAIN.EMA_DECAY must lie in [0, 1)")


def _check_choices(flat: Mapping[str, Any]) -> None:
    choices = dict(_CHOICES)
    if flat["TRAIN.SHARPEN_LOSS_SCALING_TYPE"] == "func_scaling":
        # The original evaluated whatever text stood there; only names are known here.
        choices["TRAIN.SHARPEN_LOSS_SCALING_FUNC"] = tuple(SHARPEN_SCALINGS)
    for key, allowed in choices.items():
        if flat[key] not in allowed:
            raise ConfigError(f"{key} must be one of {', '.join(allowed)}, not {flat[key]!r}")


def _check_stages(flat: Mapping[str, Any], names: Sequence[str]) -> None:
    """Lists of [from step, value] are such lists."""
    for key in ("TRAIN.MAX_HOPS_SCHEDULE", "TRAIN.MAX_OBJECTS_SCHEDULE"):
        try:
            staged_limit([tuple(entry) for entry in flat[key]] or None)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{key}: {error}") from None
    prior, steps = flat["TRAIN.LAYOUT_PRIOR"], flat["MODEL.T_CTRL"]
    try:
        for _, layout in Staged(prior) if prior else ():
            if len(layout_distribution(layout, names)) != steps:
                raise ValueError(f"{layout!r} has not MODEL.T_CTRL ({steps}) steps")
    except (AttributeError, TypeError, ValueError) as error:
        raise ConfigError(f"TRAIN.LAYOUT_PRIOR: {error}") from None


def check_training_settings(settings: Mapping[str, Any]) -> None:
    """Refuse what contradicts itself in training; testing may not mind."""
    train = settings["TRAIN"]
    fresh = train["FRESH_SCENES_FILE"] + train["FRESH_SCENES_FILE_LOC"]
    if train["MAX_HOPS_SCHEDULE"] and not (train["QUESTIONS_PER_IMAGE"] > 1 or fresh):
        raise ConfigError(
            "TRAIN.MAX_HOPS_SCHEDULE chooses among the questions of an image: make "
            "TRAIN.QUESTIONS_PER_IMAGE more than 1, or give TRAIN.FRESH_SCENES_FILE"
        )
    if train["MAX_OBJECTS_SCHEDULE"] and not fresh:
        raise ConfigError(
            "TRAIN.MAX_OBJECTS_SCHEDULE chooses among scenes that questions are made up about: "
            "give TRAIN.FRESH_SCENES_FILE"
        )
    plain = all(train[key] == 1 for key in _MIX) and not any(train[key] for key in _ADDED)
    if not (plain or train["FRESH_SCENES_FILE"]):
        raise ConfigError(
            f"TRAIN.{', '.join(_MIX + _ADDED)} are about questions made while training: give "
            "TRAIN.FRESH_SCENES_FILE, or leave the first three at 1 and the others at 0"
        )
    if train["FRESH_HELD_OUT"] and not train["FRESH_COMPOSITIONS"]:
        raise ConfigError(
            "TRAIN.FRESH_HELD_OUT is about questions composed at random: give "
            "TRAIN.FRESH_COMPOSITIONS a share, or leave it False"
        )
    schedules = {"SHARPEN": train["USE_SHARPEN_LOSS"], "LAYOUT_PRIOR": bool(train["LAYOUT_PRIOR"])}
    for name in (name for name, used in schedules.items() if used):
        begin, end = f"{name}_SCHEDULE_BEGIN", f"{name}_SCHEDULE_END"
        if train[end] < train[begin]:
            raise ConfigError(
                f"a schedule ends before it begins: make TRAIN.{end} at least TRAIN.{begin} "
                f"({train[begin]})"
            )
    if train["LAYOUT_PRIOR"] and train["USE_GT_LAYOUT"]:
        raise ConfigError("TRAIN.LAYOUT_PRIOR is for training without TRAIN.USE_GT_LAYOUT")
    if train["LAYOUT_SEARCH"] and (train["USE_GT_LAYOUT"] or train["LAYOUT_PRIOR"]):
        raise ConfigError(
            "TRAIN.LAYOUT_SEARCH finds layouts by itself: leave out TRAIN.USE_GT_LAYOUT and "
            "TRAIN.LAYOUT_PRIOR"
        )
    search = train["LAYOUT_SEARCH"]
    if search and (
        len(search) != 2
        or not all(isinstance(step, int) for step in search)
        or not 0 < search[0] <= search[1]
    ):
        raise ConfigError(
            f"TRAIN.LAYOUT_SEARCH is two training steps, [from, own], not {search}; [] for none"
        )
    if train["READING_ORDER_WEIGHT"] and not train["USE_GT_LAYOUT"]:
        raise ConfigError(
            "TRAIN.READING_ORDER_WEIGHT is about expert layouts: set TRAIN.USE_GT_LAYOUT"
        )
    if train["LAYOUT_SHARE"] < 1 and not train["USE_GT_LAYOUT"]:
        raise ConfigError(
            "TRAIN.LAYOUT_SHARE is about expert layouts, of which none is used: set "
            "TRAIN.USE_GT_LAYOUT, or leave it 1"
        )
    if train["SHARE_SEED"] and train["LAYOUT_SHARE"] == train["IMAGE_SHARE"] == 1:
        raise ConfigError(
            "TRAIN.SHARE_SEED says which share is trained on: give TRAIN.LAYOUT_SHARE or "
            "TRAIN.IMAGE_SHARE, or leave it 0"
        )
