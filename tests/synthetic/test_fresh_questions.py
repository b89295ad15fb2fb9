import json
import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch

from clevr_prep.clevr.expert_layouts import LayoutError, expert_layout
from clevr_prep.clevr.programs import execute, hops, question_type
from clevr_prep.clevr.scene_masks import ATTRIBUTES, DIRECTIONS, VALUES, SceneError
from clevr_prep.synthetic.fresh_questions import FreshExpressions, FreshQuestions
from clevr_prep.synthetic.sampling.expressions import generate_expressions
from clevr_prep.synthetic.sampling.questions import generate_questions
from clevr_prep.synthetic.scenes.compact_scenes import CompactScenes
from clevr_prep.synthetic.scenes.object_boxes import visible_targets
from snmn.common.vocabulary import ANSWERS, MODULES, decode
from snmn.data.batch import Batch
from snmn.data.data_module import CLEVRDataModule
from tests.helpers.tiny.dataset import image_name, write_store

IMAGES = 7


def make_scene(image: int) -> dict:
    """A scene with random attributes; objects stand in a random order in each of two axes."""
    rng = np.random.default_rng(image)
    count = 4 + image % 5
    objects = [{a: str(rng.choice(VALUES[a])) for a in ATTRIBUTES} for _ in range(count)]
    relationships = {}
    for ahead, behind in (DIRECTIONS[:2], DIRECTIONS[2:]):
        place = rng.permutation(count)
        relationships[ahead] = [np.flatnonzero(place < p).tolist() for p in place]
        relationships[behind] = [np.flatnonzero(place > p).tolist() for p in place]
    return {
        "image_filename": image_name(image),
        "objects": [thing | {"rotation": 1.5} for thing in objects],
        "relationships": relationships,
        "directions": {"left": [0.1, 0.2, 0.3]},
    }


SCENES = [make_scene(image) for image in range(IMAGES)]


def write_scenes(folder, scenes):
    path = folder / "CLEVR_tiny_scenes.json"
    path.write_text(json.dumps({"info": {}, "scenes": scenes}))
    return path


@pytest.fixture(scope="module")
def scenes_file(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("scenes"), SCENES)


def rng(*key):
    return np.random.default_rng(key)


def test_scenes_come_back_from_their_compact_form(scenes_file):
    compact = CompactScenes(scenes_file)
    assert len(compact) == IMAGES
    assert compact.filenames == [scene["image_filename"] for scene in SCENES]
    for index, scene in enumerate(SCENES):
        assert compact[index]["relationships"] == scene["relationships"]
        expected = [{a: thing[a] for a in ATTRIBUTES} for thing in scene["objects"]]
        assert compact[index]["objects"] == expected


@pytest.mark.parametrize("image", range(IMAGES))
def test_draws_are_the_generator_s_questions_encoded(scenes_file, image):
    drawn = FreshQuestions(scenes_file).draw(image, 12, rng(3, image), step=0)
    asked = generate_questions(SCENES[image], 12, rng(3, image))
    assert len(drawn) == len(asked) == 12
    for row, entry in enumerate(asked):
        program = entry["program"]
        words = drawn.question[row, : drawn.length[row]]
        assert decode(words).lower() == entry["question"].lower()
        assert not drawn.question[row, drawn.length[row] :].any()
        assert ANSWERS[drawn.answer[row]] == entry["answer"] == execute(program, SCENES[image])
        assert [MODULES[i] for i in drawn.layout[row] if i] == expert_layout(program)
        assert FreshQuestions.question_types[drawn.question_type[row]] == question_type(program)
        assert drawn.hops[row] == hops(program)
    assert drawn.layout.shape == (12, 9)
    assert (drawn.question_index == -1).all()


def test_draws_depend_on_their_arguments_alone(scenes_file):
    source, other = FreshQuestions(scenes_file), FreshQuestions(scenes_file)
    for image in range(IMAGES):
        source.draw(image, 3, rng(9), 0)
    first, again = source.draw(2, 10, rng(1), 0), other.draw(2, 10, rng(1), 5)
    assert np.array_equal(first.question, again.question)
    assert np.array_equal(first.answer, again.answer)
    assert not np.array_equal(first.question, source.draw(2, 10, rng(2), 0).question)


def test_the_limit_of_hops_follows_the_step(scenes_file):
    source = FreshQuestions(scenes_file, max_hops=[(0, 0), (100, 1), (200, None)])
    most = [
        max(source.draw(image, 30, rng(image), step).hops.max() for image in range(IMAGES))
        for step in (0, 99, 100, 199, 200)
    ]
    assert most == [0, 0, 1, 1, 3]


@pytest.mark.parametrize("task", ["questions", "expressions"])
def test_scenes_of_few_objects_first(scenes_file, loc_file, task):
    source, path = {
        "questions": (FreshQuestions, scenes_file),
        "expressions": (FreshExpressions, loc_file),
    }[task]
    (step, images), (then, rest) = source(path, max_objects=[(0, 5), (100, None)]).stages
    sizes = np.array([len(scene["objects"]) for scene in SCENES])
    assert (step, then) == (0, 100) and rest.tolist() == source(path).images.tolist()
    assert images.tolist() == [image for image in rest.tolist() if sizes[image] <= 5]
    assert 0 < len(images) < len(rest)
    assert [stage[0] for stage in source(path).stages] == [0]
    ((_, fewest),) = source(path, max_objects=2).stages
    assert set(sizes[fewest]) == {min(sizes[rest])}


def test_queries_first(scenes_file):
    source = FreshQuestions(scenes_file, queries_until=10, max_hops=1)

    def kinds(step):
        drawn = [source.draw(image, 20, rng(image), step).question_type for image in range(IMAGES)]
        return {source.question_types[kind].split("_")[0] for kind in np.concatenate(drawn)}

    assert kinds(9) == {"query"} and {"count", "exist", "query", "equal"} <= kinds(10)


def test_counting_comparing_and_relations_more_often(scenes_file):
    def shares(**mix):
        source = FreshQuestions(scenes_file, **mix)
        drawn = [source.draw(i, 60, rng(i), 0) for i in range(IMAGES)]
        names = np.array(source.question_types)[np.concatenate([d.question_type for d in drawn])]
        numbers = np.isin(names, ["equal_integer", "greater_than", "less_than"])
        compared = numbers | np.char.startswith(names, "equal_")
        counted = numbers | (names == "count")
        return counted.mean(), compared.mean(), np.concatenate([d.hops for d in drawn]).mean()

    # CLEVR's share is a third; three times the weight make that 3 * .34 / (3 * .34 + .66).
    counted, compared, hops = shares()
    assert abs(counted - 0.34) < 0.08
    assert abs(shares(counting=3)[0] - 0.61) < 0.08
    # Likewise of 0.28.
    assert abs(compared - 0.28) < 0.08
    assert abs(shares(comparing=3)[1] - 0.54) < 0.08
    assert shares(per_hop=2)[2] > hops + 0.3


def test_layouts_beyond_the_model_are_an_error(scenes_file):
    assert FreshQuestions(scenes_file, steps=12).draw(0, 5, rng(0), 0).layout.shape == (5, 12)
    with pytest.raises(LayoutError, match="the model only 2"):
        FreshQuestions(scenes_file, steps=2).draw(0, 30, rng(0), 0)


def test_yes_and_no_are_even(scenes_file):
    source = FreshQuestions(scenes_file)
    answers = []
    for key in range(60):
        drawn = source.draw(key % IMAGES, 10, rng(key), 0)
        kinds = np.array(source.question_types)[drawn.question_type]
        answers += [ANSWERS[a] for a in drawn.answer[kinds == "exist"]]
    assert len(answers) > 50
    assert 0.35 < answers.count("yes") / len(answers) < 0.65


def make_module(scenes_file, store, **options):
    module = CLEVRDataModule(
        train={"vqa": (store, FreshQuestions(scenes_file))},
        batch_size=15,
        questions_per_image=5,
        grid=(2, 3),
        feature_dim=4,
        **options,
    )
    module.setup("fit")
    return module


def test_batches_from_fresh_questions(scenes_file, tmp_path):
    store = write_store(tmp_path / "tiny", range(IMAGES))
    alone = list(make_module(scenes_file, store, num_workers=0, epoch_steps=6).train_dataloader())
    helped = list(make_module(scenes_file, store, num_workers=2, epoch_steps=6).train_dataloader())
    assert len(alone) == len(helped) == 6  # two passes of three batches
    for a, b in zip(alone, helped, strict=True):
        given = [f.name for f in fields(Batch) if getattr(a, f.name) is not None]
        assert all(torch.equal(getattr(a, name), getattr(b, name)) for name in given)
    for batch in alone:
        assert batch.image.reshape(3, 5).tolist() == [[i] * 5 for i in batch.image[::5].tolist()]
        assert batch.image_features[:, 0, 0, 0].tolist() == batch.image[::5].tolist()
    visits = torch.cat([batch.image[::5] for batch in alone[:3]])
    assert set(visits.tolist()) == set(range(IMAGES))
    # The same image is asked something else when it comes again.
    first = {int(b.image[0]): b.question[:5] for b in alone[:3]}
    for batch in alone[3:]:
        for place, image in enumerate(batch.image[::5].tolist()):
            if image in first:
                words = batch.question[5 * place : 5 * place + 5]
                assert words.tolist() != first[image].tolist()


def test_pickles_small(scenes_file):
    source = FreshQuestions(scenes_file)
    drawn = pickle.loads(pickle.dumps(source)).draw(1, 5, rng(0), 0)
    assert np.array_equal(drawn.question, source.draw(1, 5, rng(0), 0).question)


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"relationships": {}}, "scene 1 has no 'left'"),
        ({"objects": []}, "scene 1: 0 objects"),
        ({"objects": [{"size": "huge"}]}, "scene 1: object 0 has unknown size 'huge'"),
        ({"relationships": dict.fromkeys(DIRECTIONS, [[40]] * 5)}, "scene 1: relationship 'left'"),
        ({"relationships": dict.fromkeys(DIRECTIONS, [])}, "scene 1: relationship 'left'"),
    ],
)
def test_broken_scenes_are_named(tmp_path, change, reason):
    path = write_scenes(tmp_path, [SCENES[0], SCENES[1] | change])
    with pytest.raises(SceneError, match=reason) as error:
        FreshQuestions(path)
    assert str(path) in str(error.value)


def test_no_scenes(tmp_path):
    with pytest.raises(SceneError, match="has no scenes"):
        FreshQuestions(write_scenes(tmp_path, []))


def with_boxes(scene: dict, image: int) -> dict:
    """The scene with boxes at random; its second object hardly shows, its third not at all."""
    rng = np.random.default_rng([7, image])
    size = {"width": 120 + 8 * image, "height": 80 + 4 * image}
    things = []
    for index, thing in enumerate(scene["objects"]):
        box = [int(v) for v in (*rng.integers(0, 60, 2), *rng.integers(8, 20, 2))]
        pixels = {1: 3, 2: 0}.get(index, 400)
        things.append(thing | {"bbox": box if pixels else None, "visible_pixels": pixels})
    return scene | {"objects": things, "render": size}


LOC_SCENES = [with_boxes(scene, image) for image, scene in enumerate(SCENES)]


@pytest.fixture(scope="module")
def loc_file(tmp_path_factory):
    return write_scenes(tmp_path_factory.mktemp("loc"), LOC_SCENES)


def test_scenes_with_boxes_come_back(loc_file):
    compact = CompactScenes(loc_file, boxes=True)
    for index, scene in enumerate(LOC_SCENES):
        for thing, original in zip(compact[index]["objects"], scene["objects"], strict=True):
            assert thing["bbox"] == original["bbox"]
            assert thing["visible_pixels"] == original["visible_pixels"]
        assert compact[index]["render"] == scene["render"]
        assert visible_targets(compact[index]) == [0, *range(3, len(scene["objects"]))]


@pytest.mark.parametrize("image", range(IMAGES))
def test_expressions_are_the_generator_s_with_their_boxes(loc_file, image):
    drawn = FreshExpressions(loc_file).draw(image, 12, rng(3, image), step=0)
    scene = LOC_SCENES[image]
    said = generate_expressions(scene, visible_targets(scene), 12, rng(3, image))
    assert len(drawn) == len(said) == 12
    for row, entry in enumerate(said):
        program = entry["program"]
        words = drawn.question[row, : drawn.length[row]]
        assert decode(words).lower() == entry["question"]
        assert [MODULES[i] for i in drawn.layout[row] if i] == expert_layout(program)
        assert FreshExpressions.question_types[drawn.question_type[row]] == question_type(program)
        assert drawn.hops[row] == hops(program)
        assert drawn.box[row].tolist() == scene["objects"][entry["target_object"]]["bbox"]
    assert drawn.box.dtype == np.float32 and drawn.layout.shape == (12, 9)
    assert drawn.image_size.tolist() == [[120 + 8 * image, 80 + 4 * image]] * 12
    assert (drawn.answer == -1).all() and (drawn.question_index == -1).all()


def test_expressions_depend_on_their_arguments_alone(loc_file):
    source = FreshExpressions(loc_file, max_hops=[(0, 0), (100, None)])
    other = pickle.loads(pickle.dumps(source))
    source.draw(0, 3, rng(9), 0)
    first, again = source.draw(2, 10, rng(1), 100), other.draw(2, 10, rng(1), 500)
    assert np.array_equal(first.question, again.question)
    assert np.array_equal(first.box, again.box)
    assert not np.array_equal(first.question, source.draw(2, 10, rng(2), 100).question)
    assert first.hops.max() > 0
    assert source.draw(2, 30, rng(1), 99).hops.max() == 0


def test_images_without_anything_to_refer_to_are_left_out(tmp_path):
    look = {a: VALUES[a][0] for a in ATTRIBUTES} | {"bbox": [1, 2, 3, 4], "visible_pixels": 900}
    twins = LOC_SCENES[0] | {"objects": [look] * len(SCENES[0]["objects"])}
    source = FreshExpressions(write_scenes(tmp_path, [LOC_SCENES[0], twins, LOC_SCENES[1]]))
    assert source.images.tolist() == [0, 2]
    assert len(source.filenames) == 3
    with pytest.raises(SceneError, match="no scene has an object that can be referred to"):
        FreshExpressions(write_scenes(tmp_path, [twins]))


@pytest.mark.parametrize(
    "change, reason",
    [
        ({"objects": SCENES[1]["objects"]}, "scene 1 has no 'bbox'"),
        ({"render": {}}, "scene 1 has no 'width'"),
        (
            {"objects": [t | {"bbox": "left"} for t in LOC_SCENES[1]["objects"]]},
            "scene 1: an object's bbox must be",
        ),
    ],
)
def test_scenes_without_boxes_are_named(tmp_path, change, reason):
    path = write_scenes(tmp_path, [LOC_SCENES[0], LOC_SCENES[1] | change])
    with pytest.raises(SceneError, match=reason) as error:
        FreshExpressions(path)
    assert str(path) in str(error.value)
