"""Configuration of an experiment: typed, validated and strict.

A configuration is a yaml file that names what differs from the defaults below, or from the file
that its BASE key names. Keys are those of the two earlier codebases, whose files load unchanged;
keys that only steered them are accepted with a note. Keys of ours are marked "(ours)".
"""

import dataclasses
import difflib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from snmn.losses import SHARPEN_LOSS_TYPES, SHARPEN_SCALINGS

TASKS = ("vqa", "loc", "joint")


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says what to change."""


@dataclass
class Controller:
    """MODEL.CTRL: section 3.2 of the paper."""

    LINEAR_MODULE_WEIGHTS: bool = False
    MLP_MODULE_WEIGHTS_BIAS_TERM: bool = True
    NORMALIZE_ATT: bool = True
    USE_GUMBEL_SOFTMAX: bool = False
    GUMBEL_SOFTMAX_TMP: float = 0.5
    USE_WORD_EMBED: bool = True
    USE_HARD_ARGMAX_LAYOUT: bool = False


@dataclass
class Stack:
    """MODEL.NMN.STACK: section 3.4 of the paper."""

    LENGTH: int = 8
    USE_HARD_SHARPEN: bool = True
    SOFT_SHARPEN_TEMP: float = 0.2
    GUARD_STACK_PTR: bool = True


@dataclass
class Describe:
    """MODEL.NMN.DESCRIBE_ONE and DESCRIBE_TWO: does the stack stay as it was?"""

    KEEP_STACK: bool = True


@dataclass
class ModuleNetwork:
    """MODEL.NMN: the modules, sections 3.3 and 3.4 of the paper."""

    MEM_DIM: int = 512
    STACK: Stack = field(default_factory=Stack)
    VALIDATE_MODULES: bool = True
    HARD_MODULE_VALIDATION: bool = False
    DESCRIBE_ONE: Describe = field(default_factory=Describe)
    DESCRIBE_TWO: Describe = field(default_factory=Describe)


@dataclass
class Reconstruction:
    """MODEL.REC: the auxiliary task of saying the question again."""

    USE_REC_LOSS: bool = False
    USE_LOGITS: bool = True
    USE_TXT_ATT: bool = True


@dataclass
class Model:
    """MODEL: what is built."""

    H_FEAT: int = 14
    W_FEAT: int = 14
    FEAT_DIM: int = 1024
    T_CTRL: int = 9
    BUILD_VQA: bool = True
    BUILD_LOC: bool = False
    EMBED_DIM: int = 300
    LSTM_DIM: int = 512
    PE_DIM: int = 128
    KB_DIM: int = 512
    CTRL: Controller = field(default_factory=Controller)
    NMN: ModuleNetwork = field(default_factory=ModuleNetwork)
    VQA_OUTPUT_DIM: int = 512
    VQA_OUTPUT_USE_QUESTION: bool = True
    LOC_SCORES_POS_AFFINE: bool = False
    BBOX_REG_AS_FCN: bool = False
    BBOX_REG_USE_QUESTION: bool = False
    NORMALIZE_FEATURES: bool = False  # (ours) centre and scale features by the training set's
    ATTENTION_INIT_SCALE: float = 1.0  # (ours) factor on the starting weights that score cells
    REC: Reconstruction = field(default_factory=Reconstruction)


@dataclass
class Solver:
    """TRAIN.SOLVER: learning rate and, ours, its schedule."""

    LR: float = 1e-4
    SCHEDULE: str = "constant"  # (ours) constant, or cosine down to 0 at MAX_ITER
    WARMUP_ITER: int = 0  # (ours) linear rise over the first steps
    ATTENTION_LR_SCALE: float = 1.0  # (ours) factor on LR for the weights that score cells


@dataclass
class Train:
    """TRAIN: data, optimisation and losses."""

    SPLIT_VQA: str = "train"
    SPLIT_LOC: str = "loc_train"
    BATCH_SIZE: int = 64
    QUESTIONS_PER_IMAGE: int = 1  # (ours) k > 1: BATCH_SIZE / k images with k questions each
    FRESH_SCENES_FILE: str = ""  # (ours) draw new questions from these scenes, %s is the split
    MAX_HOPS_SCHEDULE: list = field(default_factory=list)  # (ours) [[from step, hops], ...]
    NUM_WORKERS: int = 1  # (ours) processes that load data
    USE_GT_LAYOUT: bool = True
    MAX_ITER: int = 200000
    START_ITER: int = 0
    SOLVER: Solver = field(default_factory=Solver)
    WEIGHT_DECAY: float = 1e-5
    DROPOUT_KEEP_PROB: float = 1.0
    EMA_DECAY: float = 0.999
    CLIP_GRADIENTS: bool = True
    GRAD_MAX_NORM: float = 8.0
    VQA_LOSS_WEIGHT: float = 1.0
    BBOX_IND_LOSS_WEIGHT: float = 1.0
    BBOX_OFFSET_LOSS_WEIGHT: float = 1.0
    LAYOUT_LOSS_WEIGHT: float = 1.0
    REC_LOSS_WEIGHT: float = 1.0
    USE_SHARPEN_LOSS: bool = False
    SHARPEN_LOSS_TYPE: str = "entropy"
    SHARPEN_LOSS_WEIGHT: float = 1e-5
    SHARPEN_LOSS_SCALING_TYPE: str = "warmup_scaling"  # linear, or func_scaling
    SHARPEN_LOSS_SCALING_FUNC: str = ""  # with func_scaling, a name in snmn.losses
    SHARPEN_SCHEDULE_BEGIN: int = 500
    SHARPEN_SCHEDULE_END: int = 10000
    SNAPSHOT_DIR: str = "./runs/%s/"  # %s is EXP_NAME
    SNAPSHOT_INTERVAL: int = 10000
    VAL_INTERVAL: int = 10000  # (ours) steps between validations
    LOG_INTERVAL: int = 20
    INIT_FROM_WEIGHTS: bool = False
    INIT_WEIGHTS_FILE: str = ""


@dataclass
class Test:
    """TEST: what is tested and where results go."""

    SPLIT_VQA: str = "val"
    SPLIT_LOC: str = "loc_val"
    BATCH_SIZE: int = 64
    USE_EMA: bool = True
    RESULT_DIR: str = "./results/%s/"  # %s is EXP_NAME


@dataclass
class Config:
    """A whole experiment. Paths are relative to the working directory."""

    EXP_NAME: str = ""
    DATASET: str = ""  # vqa, loc or joint; empty: as MODEL.BUILD_VQA and BUILD_LOC say
    IMDB_FILE: str = "./clevr_prep/data/imdb/imdb_%s.h5"  # %s is the split
    FEATURE_DIR: str = "./clevr_prep/data/features/resnet101_c4/%s"  # (ours)
    USE_FIXED_WORD_EMBED: bool = False
    FIXED_WORD_EMBED_FILE: str = ""
    WANDB_PROJECT_NAME: str = "snmn-pytorch"
    LOAD: bool = False
    CHECKPOINT_FILENAME: str = ""
    MODEL: Model = field(default_factory=Model)
    TRAIN: Train = field(default_factory=Train)
    TEST: Test = field(default_factory=Test)


_FIGURES = "test.py draws no figures yet"
_VOCABULARY = "the vocabularies are fixed, in snmn/vocabulary.py"
_ONE_PATTERN = "IMDB_FILE names the imdb of every split"
_FOUND_BY_NAME = "test.py takes the checkpoint on its command line"

# Keys of the earlier codebases that have no effect here -> why, for the note.
IGNORED = {
    "GPU_ID": "devices are chosen by Lightning",
    "GPU_MEM_GROWTH": "a TensorFlow setting",
    "VOCAB_QUESTION_FILE": _VOCABULARY,
    "VOCAB_LAYOUT_FILE": _VOCABULARY,
    "VOCAB_ANSWER_FILE": _VOCABULARY,
    "TRAIN_IMDB_FILE": _ONE_PATTERN,
    "VAL_IMDB_FILE": _ONE_PATTERN,
    "TEST_IMDB_FILE": _ONE_PATTERN,
    "TRAIN_LOC_IMDB_FILE": _ONE_PATTERN,
    "VAL_LOC_IMDB_FILE": _ONE_PATTERN,
    "TEST_LOC_IMDB_FILE": _ONE_PATTERN,
    "MODEL.T_ENCODER": "questions are as long as they are",
    "MODEL.H_IMG": "box sizes come from each image's real size",
    "MODEL.W_IMG": "box sizes come from each image's real size",
    "TRAIN.LOG_DIR": "logs lie beside the checkpoints in SNAPSHOT_DIR",
    "TRAIN.BBOX_IOU_THRESH": "a box is correct at IoU 0.5, as published",
    "TEST.SNAPSHOT_FILE": _FOUND_BY_NAME,
    "TEST.ITER": _FOUND_BY_NAME,
    "TEST.BBOX_IOU_THRESH": "a box is correct at IoU 0.5, as published",
    "TEST.OUTPUT_VQA_EVAL_PRED": "predictions are always written",
    "TEST.VIS_SEPARATE_CORRECTNESS": _FIGURES,
    "TEST.NUM_VIS": _FIGURES,
    "TEST.NUM_VIS_CORRECT": _FIGURES,
    "TEST.NUM_VIS_INCORRECT": _FIGURES,
    "TEST.VIS_DIR_PREFIX": _FIGURES,
    "TEST.STEPWISE_VIS": _FIGURES,
    "TEST.VIS_SHOW_ANSWER": _FIGURES,
    "TEST.VIS_SHOW_STACK": _FIGURES,
    "TEST.VIS_SHOW_IMG": _FIGURES,
}


def load_config(path: str | Path, overrides: list[str] | None = None) -> tuple[Config, list[str]]:
    """Read a yaml file, apply ``KEY VALUE`` overrides, and check the result.

    ``overrides`` alternates dotted keys and values. Returns the configuration and notes about
    keys that have no effect here. Raises `ConfigError`, which names file and key.
    """
    path = Path(path)
    config, notes = Config(), []
    for file, settings in _chain(path):
        notes += _apply(config, settings, prefix="", where=str(file))
    overrides = overrides or []
    if len(overrides) % 2:
        raise ConfigError(f"overrides come as KEY VALUE pairs; {overrides[-1]!r} has no value")
    for key, text in zip(overrides[::2], overrides[1::2], strict=True):
        nested: Any = yaml.safe_load(text)
        for part in reversed(key.split(".")):
            nested = {part: nested}
        notes += _apply(config, nested, prefix="", where="the command line")
    if config.EXP_NAME in ("", "<fill-with-filename>"):
        config.EXP_NAME = path.stem
    if config.IMDB_FILE.endswith(".npy"):
        config.IMDB_FILE = config.IMDB_FILE.removesuffix(".npy") + ".h5"
        notes.append(f"IMDB_FILE: imdbs are HDF5 files here, reading {config.IMDB_FILE}")
    _settle_task(config)
    _check(config)
    return config, notes


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as nested plain values, for checkpoints and loggers."""
    return dataclasses.asdict(config)


def _chain(path: Path) -> list[tuple[Path, dict]]:
    """The file and those it is based on, outermost base first."""
    files: list[tuple[Path, dict]] = []
    while True:
        if any(path == seen for seen, _ in files):
            raise ConfigError(f"{path}: BASE goes round in a circle")
        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        except yaml.YAMLError as error:
            raise ConfigError(f"{path}: not yaml: {error}") from None
        if not isinstance(settings, dict):
            raise ConfigError(f"{path}: expected keys and values")
        base = settings.pop("BASE", None)
        files.insert(0, (path, settings))
        if base is None:
            return files
        path = path.parent / base


def _apply(section: Any, settings: dict, *, prefix: str, where: str) -> list[str]:
    """Set fields of a section from nested settings; returns notes."""
    types = typing.get_type_hints(type(section))
    notes = []
    for key, value in settings.items():
        name = f"{prefix}{key}"
        if name in IGNORED:
            notes.append(f"{name} has no effect: {IGNORED[name]}")
        elif key not in types:
            raise ConfigError(f"{where}: unknown key {name}{_nearest(name)}")
        elif dataclasses.is_dataclass(types[key]):
            if not isinstance(value, dict):
                raise ConfigError(f"{where}: {name} is a section of keys, not {value!r}")
            notes += _apply(getattr(section, key), value, prefix=f"{name}.", where=where)
        else:
            setattr(section, key, _typed(value, types[key], name, where))
    return notes


def _typed(value: Any, kind: type, name: str, where: str) -> Any:
    """The value as its field's type. A yaml number like 1e-5 arrives as text."""
    try:
        if kind is float and isinstance(value, int | float | str) and not isinstance(value, bool):
            return float(value)
        if kind is int and isinstance(value, float | str) and float(value).is_integer():
            return int(float(value))
    except ValueError:
        pass
    if kind is str and value is None:
        return ""
    if type(value) is not kind:
        raise ConfigError(f"{where}: {name} must be of type {kind.__name__}, not {value!r}")
    return value


def _all_keys(kind: type = Config, prefix: str = "") -> list[str]:
    keys = []
    for key, type_ in typing.get_type_hints(kind).items():
        if dataclasses.is_dataclass(type_):
            keys += _all_keys(type_, f"{prefix}{key}.")
        else:
            keys.append(prefix + key)
    return keys


def _nearest(name: str) -> str:
    """A hint at the known key that looks most like ``name``."""
    known = [*_all_keys(), *IGNORED]
    same_end = [key for key in known if key.split(".")[-1] == name.split(".")[-1]]
    close = same_end or difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; the nearest known one is {close[0]}"


def _settle_task(config: Config) -> None:
    """Make DATASET and the heads that are built agree."""
    model = config.MODEL
    if not config.DATASET:
        if not (model.BUILD_VQA or model.BUILD_LOC):
            raise ConfigError("MODEL.BUILD_VQA and MODEL.BUILD_LOC are both off: build one")
        heads = (model.BUILD_VQA, model.BUILD_LOC)
        config.DATASET = {(True, False): "vqa", (False, True): "loc"}.get(heads, "joint")
    if config.DATASET not in TASKS:
        raise ConfigError(f"DATASET must be one of {', '.join(TASKS)}, not {config.DATASET!r}")
    if config.DATASET in ("vqa", "joint") and not model.BUILD_VQA:
        raise ConfigError(f"DATASET {config.DATASET} needs MODEL.BUILD_VQA True")
    if config.DATASET in ("loc", "joint") and not model.BUILD_LOC:
        raise ConfigError(f"DATASET {config.DATASET} needs MODEL.BUILD_LOC True")


def _check(config: Config) -> None:
    """Refuse contradictory settings, saying what to change."""
    train, model = config.TRAIN, config.MODEL
    _check_patterns(config)
    choices = {
        "TRAIN.SHARPEN_LOSS_TYPE": (train.SHARPEN_LOSS_TYPE, SHARPEN_LOSS_TYPES),
        "TRAIN.SHARPEN_LOSS_SCALING_TYPE": (
            train.SHARPEN_LOSS_SCALING_TYPE,
            ("warmup_scaling", "func_scaling"),
        ),
        "TRAIN.SOLVER.SCHEDULE": (train.SOLVER.SCHEDULE, ("constant", "cosine")),
    }
    if train.SHARPEN_LOSS_SCALING_TYPE == "func_scaling":
        # The original evaluated whatever text stood there; only names are known here.
        function = (train.SHARPEN_LOSS_SCALING_FUNC, tuple(SHARPEN_SCALINGS))
        choices["TRAIN.SHARPEN_LOSS_SCALING_FUNC"] = function
    for key, (value, allowed) in choices.items():
        if value not in allowed:
            raise ConfigError(f"{key} must be one of {', '.join(allowed)}, not {value!r}")
    if train.USE_SHARPEN_LOSS and train.SHARPEN_SCHEDULE_END < train.SHARPEN_SCHEDULE_BEGIN:
        raise ConfigError(
            "the sharpen schedule ends before it begins: make TRAIN.SHARPEN_SCHEDULE_END at "
            f"least TRAIN.SHARPEN_SCHEDULE_BEGIN ({train.SHARPEN_SCHEDULE_BEGIN})"
        )
    if not 0 < train.DROPOUT_KEEP_PROB <= 1:
        raise ConfigError("TRAIN.DROPOUT_KEEP_PROB is a probability above 0")
    if not 0 <= train.EMA_DECAY < 1:
        raise ConfigError("TRAIN.EMA_DECAY must lie in [0, 1)")
    if train.BATCH_SIZE % train.QUESTIONS_PER_IMAGE:
        raise ConfigError(
            f"TRAIN.BATCH_SIZE {train.BATCH_SIZE} is not a multiple of "
            f"TRAIN.QUESTIONS_PER_IMAGE {train.QUESTIONS_PER_IMAGE}"
        )
    if model.LSTM_DIM % 2 or model.PE_DIM % 4:
        raise ConfigError("MODEL.LSTM_DIM must be even and MODEL.PE_DIM a multiple of 4")
    if train.INIT_FROM_WEIGHTS and not train.INIT_WEIGHTS_FILE:
        raise ConfigError("TRAIN.INIT_FROM_WEIGHTS needs TRAIN.INIT_WEIGHTS_FILE")
    if config.LOAD and not config.CHECKPOINT_FILENAME:
        raise ConfigError("LOAD needs CHECKPOINT_FILENAME")
    if config.USE_FIXED_WORD_EMBED and not config.FIXED_WORD_EMBED_FILE:
        raise ConfigError("USE_FIXED_WORD_EMBED needs FIXED_WORD_EMBED_FILE")


def _check_patterns(config: Config) -> None:
    """Paths that stand for several files have one place for the name."""
    patterns = {
        "IMDB_FILE": config.IMDB_FILE,
        "FEATURE_DIR": config.FEATURE_DIR,
        "TRAIN.SNAPSHOT_DIR": config.TRAIN.SNAPSHOT_DIR,
        "TRAIN.FRESH_SCENES_FILE": config.TRAIN.FRESH_SCENES_FILE or "%s",
    }
    for key, pattern in patterns.items():
        if pattern.count("%s") != 1:
            raise ConfigError(f"{key} must contain %s exactly once, not {pattern!r}")
