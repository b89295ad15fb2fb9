"""From a configuration to what train.py and test.py run: the model's training, and its data."""

from functools import partial

from clevr_prep.clevr.programs import QUESTION_TYPES, REFERRING_TYPES
from clevr_prep.synthetic.fresh_questions import FreshExpressions, FreshQuestions
from config import Config, splits, stored_data, to_dict
from snmn.checkpoints.checkpoint import read_checkpoint, start_from
from snmn.checkpoints.published_settings import loss_arguments, model_arguments
from snmn.data.data_module import CLEVRDataModule, TaskData
from snmn.data.imdb import Imdb
from snmn.data.question_sources import StoredQuestions
from snmn.data.word_embedding import read_embedding
from snmn.training.lightning_module import SNMNTraining


def build_training(config: Config, *, seed: int) -> SNMNTraining:
    """The model with its losses and optimiser."""
    settings = to_dict(config)
    model = model_arguments(settings)
    if config.USE_FIXED_WORD_EMBED:
        model["fixed_embedding"] = read_embedding(
            config.FIXED_WORD_EMBED_FILE, dim=config.MODEL.EMBED_DIM
        )
    solver = config.TRAIN.SOLVER
    training = SNMNTraining(
        model=model,
        loss=loss_arguments(settings),
        learning_rate=solver.LR,
        schedule=solver.SCHEDULE,
        warmup_steps=solver.WARMUP_ITER,
        attention_lr_scale=solver.ATTENTION_LR_SCALE,
        max_steps=config.TRAIN.MAX_ITER,
        seed=seed,
        question_types=QUESTION_TYPES,
        expression_types=REFERRING_TYPES,
        config=settings,
    )
    if config.TRAIN.INIT_FROM_WEIGHTS:
        checkpoint = read_checkpoint(config.TRAIN.INIT_WEIGHTS_FILE)
        start_from(training.model, config.TRAIN.INIT_WEIGHTS_FILE, checkpoint, settings)
    return training


def build_training_data(config: Config, *, seed: int) -> CLEVRDataModule:
    """Training and validation data."""
    train, model = config.TRAIN, config.MODEL
    return CLEVRDataModule(
        train=_training_sources(config),
        val=stored_data(config, config.TEST),
        batch_size=train.BATCH_SIZE,
        questions_per_image=train.QUESTIONS_PER_IMAGE,
        eval_batch_size=config.TEST.BATCH_SIZE,
        num_workers=train.NUM_WORKERS,
        seed=seed,
        grid=(model.H_FEAT, model.W_FEAT),
        feature_dim=model.FEAT_DIM,
        steps=model.T_CTRL,
        require_layouts=train.USE_GT_LAYOUT,
        epoch_steps=train.VAL_INTERVAL,
    )


def build_test_data(config: Config) -> CLEVRDataModule:
    """Test data."""
    model = config.MODEL
    return CLEVRDataModule(
        test=stored_data(config, config.TEST),
        batch_size=config.TEST.BATCH_SIZE,
        num_workers=config.TRAIN.NUM_WORKERS,
        grid=(model.H_FEAT, model.W_FEAT),
        feature_dim=model.FEAT_DIM,
        steps=model.T_CTRL,
    )


def _training_sources(config: Config) -> dict[str, TaskData]:
    """Features and questions of each task, stored or made up as they are asked for."""
    train = config.TRAIN
    hops, objects = (
        [tuple(entry) for entry in schedule] or None
        for schedule in (train.MAX_HOPS_SCHEDULE, train.MAX_OBJECTS_SCHEDULE)
    )
    scenes = {"vqa": train.FRESH_SCENES_FILE, "loc": train.FRESH_SCENES_FILE_LOC}
    sources = {
        "vqa": partial(
            FreshQuestions,
            queries_until=train.FRESH_QUERIES_UNTIL,
            counting=train.FRESH_COUNTING,
            comparing=train.FRESH_COMPARING,
            per_hop=train.FRESH_PER_HOP,
        ),
        "loc": FreshExpressions,
    }
    data = {}
    for task, (features, questions) in stored_data(config, train).items():
        if scenes[task]:
            path = scenes[task].replace("%s", splits(config, train)[task])
            limits = {"max_hops": hops, "max_objects": objects}
            questions = sources[task](path, **limits, steps=config.MODEL.T_CTRL)
        elif train.QUESTIONS_PER_IMAGE > 1:
            questions = StoredQuestions(Imdb(questions), max_hops=hops)
        data[task] = features, questions
    return data
