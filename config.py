"""Configuration of an experiment: typed, validated and strict.

A configuration is a yaml file that names what differs from the defaults below, or from the files
that its BASE key names. Keys are those of the two earlier codebases, whose files load unchanged;
keys that only steered them are accepted with a note. Keys of ours are marked "(ours)".
"""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snmn.checkpoints.published_settings import OWN_MODULES, WITHOUT_EFFECT
from snmn.network.own_modules import OwnModuleError, import_modules
from snmn.storage.typed_settings import ConfigError, apply_settings, parse_overrides, read_yaml
from snmn.training.settings_checks import check_settings, check_training_settings

DATASETS = {"vqa": ("vqa",), "loc": ("loc",), "joint": ("vqa", "loc")}  # and their tasks


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
    MODULES: dict[str, str] = field(default_factory=dict)  # (ours) {_Name: own_file.Class, ...},
    # beside the nine; see docs/own_module.md
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
    FRESH_SCENES_FILE_LOC: str = ""  # (ours) the same for new referring expressions
    FRESH_QUERIES_UNTIL: int = 0  # (ours) before this step new questions ask for attributes alone
    FRESH_COUNTING: float = 1.0  # (ours) how many times as often new questions count, as CLEVR's do
    FRESH_COMPARING: float = 1.0  # (ours) ... and compare numbers or things
    FRESH_PER_HOP: float = 1.0  # (ours) ... and ask about relations, for each of a question's hops
    FRESH_INTERSECTING: float = 1.0  # (ours) ... and about things in two relations at once; new
    # expressions too
    FRESH_COMPOSITIONS: float = 0.0  # (ours) share of new questions that are composed at random
    FRESH_HELD_OUT: bool = False  # (ours) ... but contain none of the seven kinds that are tested
    MAX_HOPS_SCHEDULE: list = field(default_factory=list)  # (ours) [[from step, hops], ...]
    MAX_OBJECTS_SCHEDULE: list = field(default_factory=list)  # (ours) ... of scenes asked about
    NUM_WORKERS: int = 1  # (ours) processes that load data
    USE_GT_LAYOUT: bool = True
    LAYOUT_SHARE: float = 1.0  # (ours) the share of training questions whose layouts are used
    IMAGE_SHARE: float = 1.0  # (ours) ... of training images that are used
    SHARE_SEED: int = 0  # (ours) which of them
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
    READING_ORDER_WEIGHT: float = 0.0  # (ours) of expert layouts' words, in order
    USE_SHARPEN_LOSS: bool = False
    SHARPEN_LOSS_TYPE: str = "entropy"
    SHARPEN_LOSS_WEIGHT: float = 1e-5
    SHARPEN_LOSS_SCALING_TYPE: str = "warmup_scaling"  # linear, or func_scaling
    SHARPEN_LOSS_SCALING_FUNC: str = ""  # with func_scaling, a name in snmn.training.losses
    SHARPEN_SCHEDULE_BEGIN: int = 500
    SHARPEN_SCHEDULE_END: int = 10000
    # (ours) [from, own]: layouts are found by trying them from the first of these steps on, and
    # from the second on the model's own decisions run; see docs/layout_search.md
    LAYOUT_SEARCH: list = field(default_factory=list)
    LAYOUT_PRIOR: list = field(default_factory=list)  # (ours) [[from step, layout], ...], each one
    # that all questions are held to at first
    LAYOUT_PRIOR_WEIGHT: float = 1.0  # (ours) how strongly, until
    LAYOUT_PRIOR_SCHEDULE_BEGIN: int = 0  # (ours) this step, from where the weight falls
    LAYOUT_PRIOR_SCHEDULE_END: int = 0  # (ours) to 0 at this one
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
    DATA_DIR: str = "./clevr_prep/clevr_dataset"  # (ours) images, scenes, questions; to explain
    DATA_DIR_LOC: str = "./clevr_prep/clevr_loc_dataset"  # (ours) the same of expressions
    NUM_VIS: int = 0  # figures, one a question
    VIS_SEPARATE_CORRECTNESS: bool = False  # draw so many correct and incorrect ones instead:
    NUM_VIS_CORRECT: int = 100
    NUM_VIS_INCORRECT: int = 100
    VIS_DIR_PREFIX: str = "vis"  # folder of the figures
    VIS_SHOW_ANSWER: bool = True
    VIS_SHOW_STACK: bool = True
    VIS_SHOW_IMG: bool = True


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


def load_config(path: str | Path, overrides: list[str] | None = None) -> tuple[Config, list[str]]:
    """Read a yaml file, apply ``KEY VALUE`` overrides, and check the result.

    ``overrides`` alternates dotted keys and values. Returns the configuration and notes about
    keys that have no effect here. Raises `ConfigError`, which names file and key.
    """
    path = Path(path)
    config, notes = Config(), []
    sources = [(str(file), settings) for file, settings in read_yaml(path)]
    sources += [("the command line", settings) for settings in parse_overrides(overrides or [])]
    for where, settings in sources:
        notes += apply_settings(config, settings, where=where, ignored=WITHOUT_EFFECT)
    if config.EXP_NAME in ("", "<fill-with-filename>"):
        config.EXP_NAME = path.stem
    if config.IMDB_FILE.endswith(".npy"):
        config.IMDB_FILE = config.IMDB_FILE.removesuffix(".npy") + ".h5"
        notes.append(f"IMDB_FILE: imdbs are HDF5 files here, reading {config.IMDB_FILE}")
    if not config.DATASET:
        heads = (config.MODEL.BUILD_VQA, config.MODEL.BUILD_LOC)
        config.DATASET = {(True, False): "vqa", (False, True): "loc"}.get(heads, "joint")
        if all(heads):
            notes.append("DATASET is joint, since MODEL.BUILD_VQA and MODEL.BUILD_LOC are True")
    if config.DATASET not in DATASETS:
        raise ConfigError(f"DATASET must be one of {', '.join(DATASETS)}, not {config.DATASET!r}")
    check_settings(to_dict(config))
    return config, notes


def tasks(config: Config) -> tuple[str, ...]:
    """The tasks of DATASET, in the order in which training takes turns: vqa, loc or both."""
    return DATASETS[config.DATASET]


def splits(config: Config, section: Train | Test) -> dict[str, str]:
    """The split of each task in a section, TRAIN or TEST."""
    names = {"vqa": section.SPLIT_VQA, "loc": section.SPLIT_LOC}
    return {task: names[task] for task in tasks(config)}


def stored_data(config: Config, section: Train | Test) -> dict[str, tuple[str, str]]:
    """Feature folder and imdb of each task in a section, TRAIN or TEST."""
    return {
        task: (config.FEATURE_DIR.replace("%s", split), config.IMDB_FILE.replace("%s", split))
        for task, split in splits(config, section).items()
    }


def to_dict(config: Config) -> dict[str, Any]:
    """The configuration as nested plain values, for checkpoints and loggers."""
    return dataclasses.asdict(config)


def _heads(config: Config) -> dict[str, bool]:
    """Which tasks' heads are built."""
    return {"vqa": config.MODEL.BUILD_VQA, "loc": config.MODEL.BUILD_LOC}


def check_heads(config: Config) -> None:
    """Refuse a DATASET with a task that the model has no head for, or one path for its splits.

    Imports the classes of MODEL.NMN.MODULES, which may not be there.
    """
    try:
        import_modules(config.MODEL.NMN.MODULES)
    except OwnModuleError as error:
        raise ConfigError(f"{OWN_MODULES}: {error}") from error
    _check_paths(config, set(splits(config, config.TEST).values()))
    for task in tasks(config):
        if not _heads(config)[task]:
            raise ConfigError(
                f"DATASET {config.DATASET} needs MODEL.BUILD_{task.upper()} True, or change DATASET"
            )


def check_training(config: Config) -> None:
    """Refuse what contradicts itself in training, saying what to change; testing may not mind."""
    check_heads(config)
    train = config.TRAIN
    _check_paths(config, {*splits(config, train).values(), *splits(config, config.TEST).values()})
    for task, built in _heads(config).items():
        if built and task not in tasks(config):
            raise ConfigError(
                f"MODEL.BUILD_{task.upper()} is True but DATASET {config.DATASET} has no data to "
                f"train it: set it False, or DATASET joint"
            )
    check_training_settings(to_dict(config))


def _check_paths(config: Config, names: set[str]) -> None:
    """Data of several splits have several paths."""
    for key in ("IMDB_FILE", "FEATURE_DIR"):
        path = getattr(config, key)
        if len(names) > 1 and "%s" not in path:
            raise ConfigError(
                f"{key} must contain %s for the names of the splits {', '.join(sorted(names))}, "
                f"not be {path!r}"
            )
