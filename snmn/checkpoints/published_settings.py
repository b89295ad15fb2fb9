"""The published configuration keys: which arguments of ours they stand for, or why none.

Both earlier codebases name their settings in upper case (MODEL.CTRL.USE_WORD_EMBED). Whoever
holds such a configuration, `config.py` or a checkpoint converter, gets arguments from here.
"""

from typing import Any

# Key of the original -> argument of snmn.build_model with the same meaning and, but for
# cell_affine, the same values.
MODEL_ARGUMENTS = {
    "MODEL.H_FEAT": "height",
    "MODEL.W_FEAT": "width",
    "MODEL.FEAT_DIM": "feature_dim",
    "MODEL.T_CTRL": "num_steps",
    "MODEL.EMBED_DIM": "embed_dim",
    "MODEL.LSTM_DIM": "lstm_dim",
    "MODEL.PE_DIM": "pe_dim",
    "MODEL.KB_DIM": "kb_dim",
    "MODEL.BUILD_VQA": "vqa",
    "MODEL.BUILD_LOC": "loc",
    "MODEL.CTRL.LINEAR_MODULE_WEIGHTS": "linear_module_weights",
    "MODEL.CTRL.MLP_MODULE_WEIGHTS_BIAS_TERM": "mlp_module_weights_bias",
    "MODEL.CTRL.NORMALIZE_ATT": "normalize_attention",
    "MODEL.CTRL.USE_GUMBEL_SOFTMAX": "use_gumbel_softmax",
    "MODEL.CTRL.GUMBEL_SOFTMAX_TMP": "gumbel_temperature",
    "MODEL.CTRL.USE_WORD_EMBED": "use_word_embed",
    "MODEL.CTRL.USE_HARD_ARGMAX_LAYOUT": "hard_argmax_layout",
    "MODEL.NMN.MEM_DIM": "memory_dim",
    "MODEL.NMN.STACK.LENGTH": "stack_length",
    "MODEL.NMN.STACK.USE_HARD_SHARPEN": "hard_sharpen",
    "MODEL.NMN.STACK.SOFT_SHARPEN_TEMP": "soft_sharpen_temperature",
    "MODEL.NMN.STACK.GUARD_STACK_PTR": "guard_pointer",
    "MODEL.NMN.VALIDATE_MODULES": "validate_modules",
    "MODEL.NMN.HARD_MODULE_VALIDATION": "hard_validation",
    "MODEL.NMN.DESCRIBE_ONE.KEEP_STACK": "describe_one_keep_stack",
    "MODEL.NMN.DESCRIBE_TWO.KEEP_STACK": "describe_two_keep_stack",
    "MODEL.VQA_OUTPUT_DIM": "answer_hidden_dim",
    "MODEL.VQA_OUTPUT_USE_QUESTION": "answer_use_question",
    "MODEL.LOC_SCORES_POS_AFFINE": "cell_affine",
    "MODEL.BBOX_REG_AS_FCN": "box_convolutional",
    "MODEL.BBOX_REG_USE_QUESTION": "box_use_question",
    "MODEL.REC.USE_REC_LOSS": "reconstruct_question",
    "MODEL.REC.USE_LOGITS": "reconstruct_from_logits",
    "MODEL.REC.USE_TXT_ATT": "reconstruct_from_control",
    "TRAIN.DROPOUT_KEEP_PROB": "answer_keep_prob",
    # Ours, for small data; off in the published configurations.
    "MODEL.NORMALIZE_FEATURES": "normalize_features",
    "MODEL.ATTENTION_INIT_SCALE": "attention_init_scale",
}

# Classes of one's own by name (ours): the argument ``modules``, as text.
OWN_MODULES = "MODEL.NMN.MODULES"

_VOCABULARY = "the vocabularies are fixed, in snmn/common/vocabulary.py"
_ONE_PATTERN = "IMDB_FILE names the imdb of every split"
_FOUND_BY_NAME = "test.py takes the checkpoint on its command line"

# Keys of the earlier codebases that have no effect here -> why, for the note.
WITHOUT_EFFECT = {
    "GPU_ID": "Lightning takes the first GPU, or the CPU without one",
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
    "TEST.OUTPUT_VQA_EVAL_PRED": "the answers file is always written",
    "TEST.STEPWISE_VIS": "figures always show every step",
}


def flatten(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one dictionary with dotted keys."""
    flat = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat


def model_arguments(settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `snmn.build_model` from nested settings; absent keys keep its defaults.

    ``modules`` are paths of classes, which `snmn.network.own_modules` imports.
    """
    flat = flatten(settings)
    arguments = {name: flat[key] for key, name in MODEL_ARGUMENTS.items() if key in flat}
    if "cell_affine" in arguments:
        arguments["cell_affine"] = "scalar" if arguments["cell_affine"] else None
    inside = f"{OWN_MODULES}."
    own = {key.removeprefix(inside): flat[key] for key in flat if key.startswith(inside)}
    return arguments | ({"modules": own} if own else {})


def loss_arguments(settings: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `snmn.training.losses.SNMNLoss` from nested settings with all published keys."""
    flat = flatten(settings)
    loc, vqa = flat["MODEL.BUILD_LOC"], flat["MODEL.BUILD_VQA"]
    rec, gt_layout = flat["MODEL.REC.USE_REC_LOSS"], flat["TRAIN.USE_GT_LAYOUT"]
    search = bool(flat.get("TRAIN.LAYOUT_SEARCH"))
    return {
        "answer_weight": flat["TRAIN.VQA_LOSS_WEIGHT"] if vqa else None,
        "cell_weight": flat["TRAIN.BBOX_IND_LOSS_WEIGHT"] if loc else None,
        "offset_weight": flat["TRAIN.BBOX_OFFSET_LOSS_WEIGHT"] if loc else None,
        "layout_weight": flat["TRAIN.LAYOUT_LOSS_WEIGHT"] if gt_layout or search else None,
        "reconstruction_weight": flat["TRAIN.REC_LOSS_WEIGHT"] if rec else None,
        "sharpen_weight": (
            flat["TRAIN.SHARPEN_LOSS_WEIGHT"] if flat["TRAIN.USE_SHARPEN_LOSS"] else None
        ),
        "sharpen_type": flat["TRAIN.SHARPEN_LOSS_TYPE"],
        "sharpen_begin": flat["TRAIN.SHARPEN_SCHEDULE_BEGIN"],
        "sharpen_end": flat["TRAIN.SHARPEN_SCHEDULE_END"],
        "sharpen_scaling": (
            flat["TRAIN.SHARPEN_LOSS_SCALING_FUNC"]
            if flat["TRAIN.SHARPEN_LOSS_SCALING_TYPE"] == "func_scaling"
            else "linear"
        ),
        # Ours, which configurations of the earlier codebases do not have.
        "reading_order_weight": flat.get("TRAIN.READING_ORDER_WEIGHT", 0.0) or None,
        "words_weight": 1.0 if search else None,
        "prior_layouts": flat.get("TRAIN.LAYOUT_PRIOR", []),
        "prior_weight": flat.get("TRAIN.LAYOUT_PRIOR_WEIGHT", 0.0),
        "prior_begin": flat.get("TRAIN.LAYOUT_PRIOR_SCHEDULE_BEGIN", 0),
        "prior_end": flat.get("TRAIN.LAYOUT_PRIOR_SCHEDULE_END", 0),
        "weight_decay": flat["TRAIN.WEIGHT_DECAY"],
    }
