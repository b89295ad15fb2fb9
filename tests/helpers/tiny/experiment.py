"""A tiny dataset of both tasks with random features, and overrides that make a model as small."""

import json

import numpy as np
import torch

from clevr_prep.clevr.expert_layouts import expert_layout
from clevr_prep.clevr.programs import QUESTION_TYPES, REFERRING_TYPES
from clevr_prep.clevr.scene_masks import ATTRIBUTES as LOOKS
from clevr_prep.synthetic.sampling.questions import generate_questions
from clevr_prep.synthetic.scenes.scene_sampling import sample_scene
from snmn.checkpoints.checkpoint import read_checkpoint
from snmn.common.vocabulary import ANSWER_INDEX, MODULE_INDEX, encode
from snmn.data.feature_writer import FeatureWriter
from snmn.data.imdb_writer import ImdbWriter
from tests.helpers.tiny.dataset import ATTRIBUTES, node

GRID, DIM = (3, 4), 8
IMAGES = {"train": 6, "val": 4, "test": 2, "loc_train": 5, "loc_val": 4, "loc_test": 2}
SIZES = ((120, 90), (200, 150))  # of images, in turn


def write_experiment(root) -> list[str]:
    """Write features, imdbs and scenes of all splits; returns overrides that fit a configuration.

    The test splits have neither answers nor boxes.
    """
    rng = np.random.default_rng(0)
    for split, images in IMAGES.items():
        loc = split.startswith("loc_")
        types = REFERRING_TYPES if loc else QUESTION_TYPES
        scenes = []
        hidden = {"answer": -1, "box": None} if split.endswith("test") else {}
        writer = ImdbWriter(question_types=types, max_words=45, max_steps=9)
        with FeatureWriter(root / "features" / split, attributes=ATTRIBUTES) as store:
            for image in range(images):
                scene = sample_scene(rng, max_objects=4)
                name = f"CLEVR_{split}_{image:06d}.png"
                store.add([name], rng.random((1, *GRID, DIM)).astype(np.float16))
                scenes.append(scene | {"image_filename": name})
                entries = expressions(scene, image, rng) if loc else questions(scene, rng)
                for entry in entries:
                    program = entry.pop("program")
                    writer.add(
                        words=encode(entry.pop("question")),
                        filename=name,
                        question_index=len(writer),
                        layout=[MODULE_INDEX[module] for module in expert_layout(program)],
                        **(entry | hidden),
                    )
        writer.save(root / "imdb" / f"imdb_{split}.h5", made_from={})
        (root / f"scenes_{split}.json").write_text(json.dumps({"scenes": scenes}))
    return overrides(root)


def questions(scene, rng):
    """Four questions about a scene."""
    for entry in generate_questions(scene, 4, rng):
        kind = entry["program"][-1]["function"]
        yield {
            "question": entry["question"],
            "program": entry["program"],
            "answer": ANSWER_INDEX[entry["answer"]],
            "question_type": kind if kind in QUESTION_TYPES else None,
        }


def expressions(scene, image, rng):
    """Each object by all that can be seen of it, with a box anywhere in the image."""
    size = np.array(SIZES[image % len(SIZES)])
    scene["render"] = dict(zip(("width", "height"), size.tolist(), strict=True))
    for thing in scene["objects"]:
        program = [node("scene")]
        for attribute in LOOKS:
            program.append(node(f"filter_{attribute}", len(program) - 1, value=thing[attribute]))
        program.append(node("unique", len(program) - 1))
        extent = rng.integers(10, size // 2)
        thing["bbox"] = [*rng.integers(0, size - extent).tolist(), *extent.tolist()]
        thing["visible_pixels"] = int(extent.prod())
        yield {
            "question": f"the {thing['size']} {thing['color']} {thing['material']} "
            f"{thing['shape']}",
            "program": program,
            "question_type": REFERRING_TYPES[0],
            "box": thing["bbox"],
            "image_size": tuple(size.tolist()),
        }


# Of a network that is small, whatever its features are.
WIDTHS = {
    "MODEL.EMBED_DIM": 8,
    "MODEL.LSTM_DIM": 8,
    "MODEL.PE_DIM": 4,
    "MODEL.KB_DIM": 8,
    "MODEL.VQA_OUTPUT_DIM": 8,
    "MODEL.NMN.MEM_DIM": 8,
}


def overrides(root) -> list[str]:
    """KEY VALUE pairs for the data that `write_experiment` makes, and for a model of its size."""
    settings = {
        "IMDB_FILE": f"{root}/imdb/imdb_%s.h5",
        "FEATURE_DIR": f"{root}/features/%s",
        "MODEL.H_FEAT": GRID[0],
        "MODEL.W_FEAT": GRID[1],
        "MODEL.FEAT_DIM": DIM,
        **WIDTHS,
        "TRAIN.BATCH_SIZE": 8,
        "TRAIN.QUESTIONS_PER_IMAGE": 1,
        "TRAIN.FRESH_SCENES_FILE": "",
        "TRAIN.FRESH_SCENES_FILE_LOC": "",
        "TRAIN.FRESH_QUERIES_UNTIL": 0,
        **{f"TRAIN.FRESH_{key}": 1.0 for key in ("COUNTING", "COMPARING", "PER_HOP")},
        "TRAIN.FRESH_COMPOSITIONS": 0.0,
        "TRAIN.FRESH_HELD_OUT": False,
        "TRAIN.MAX_HOPS_SCHEDULE": "[]",
        "TRAIN.MAX_OBJECTS_SCHEDULE": "[]",
        "TRAIN.MAX_ITER": 4,
        "TRAIN.VAL_INTERVAL": 2,
        "TRAIN.SNAPSHOT_INTERVAL": 2,
        "TRAIN.LOG_INTERVAL": 1,
        "TRAIN.NUM_WORKERS": 0,
        "TRAIN.SOLVER.LR": 0.01,
        "TRAIN.EMA_DECAY": 0.5,
        "TRAIN.SNAPSHOT_DIR": f"{root}/runs/%s/",
        "TEST.RESULT_DIR": f"{root}/results/%s/",
        "TEST.BATCH_SIZE": 7,
    }
    return [text for key, value in settings.items() for text in (key, str(value))]


def same_weights(path, other):
    """Two checkpoints hold the same training, bit for bit."""
    first, second = read_checkpoint(path), read_checkpoint(other)
    assert first["global_step"] == second["global_step"]
    for part in ("state_dict", "ema_state_dict", "optimizer_states"):
        torch.testing.assert_close(first[part], second[part], rtol=0, atol=0)
