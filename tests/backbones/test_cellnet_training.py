import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from clevr_prep.pretraining.augment import distort, random_box
from clevr_prep.pretraining.data import (
    AugmentedSceneCells,
    SceneCells,
    SceneDataError,
    find_scenes,
)
from clevr_prep.pretraining.evaluate import DecodingScores, decode_objects, normalise
from clevr_prep.pretraining.loss import background_ratio, cell_losses, total
from clevr_prep.pretraining.run import TrainingRun, learning_rate_factor
from clevr_prep.pretraining.targets import IGNORE, cell_targets, object_places
from clevr_prep.train_cellnet import main
from snmn.backbones.cellnet import ATTRIBUTE_VALUES, HEADS, load_cellnet

SIZE = (48, 32)
DIRECTIONS = {"right": [0.6, 0.8, 0.0], "front": [0.8, -0.6, 0.0]}


def make_object(x: float, y: float, depth: float = 10.0, **attributes) -> dict:
    return {
        "pixel_coords": [x, y, depth],
        "3d_coords": [1.5, 3.0, 0.35],
        "size": "small",
        "color": "red",
        "material": "metal",
        "shape": "sphere",
        **attributes,
    }


def make_scene(*objects: dict, name: str = "image.png") -> dict:
    return {"image_filename": name, "objects": list(objects), "directions": DIRECTIONS}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Threads that wait for each other on a busy machine make tiny networks many times slower."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def dataset(tmp_path):
    """Four pictures of two discs each, whose colour is all there is to see."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        (tmp_path / "images" / split).mkdir(parents=True)
        scenes = []
        for i in range(4):
            image = Image.new("RGB", SIZE, (120, 120, 120))
            draw = ImageDraw.Draw(image)
            objects = []
            for x in (12, 36):
                place = x + rng.uniform(-5, 5), rng.uniform(8, 24)
                color = ("red", "blue")[rng.integers(2)]
                draw.circle(place, 5, fill=color)
                objects.append(make_object(*place, color=color))
            scenes.append(make_scene(*objects, name=f"picture_{i}.png"))
            image.save(tmp_path / "images" / split / scenes[-1]["image_filename"])
        (tmp_path / "scenes").mkdir(exist_ok=True)
        path = tmp_path / "scenes" / f"CLEVR_{split}_scenes.json"
        path.write_text(json.dumps({"info": {}, "scenes": scenes}))
    return tmp_path


def test_targets_of_a_whole_image():
    scene = make_scene(make_object(24 + 12, 16, color="blue", shape="cube", size="large"))
    targets = cell_targets(scene, (0, 0, *SIZE))
    # 36 of 48 and 16 of 32 pixels are 10.5 and 7 of 14 cells.
    assert np.argwhere(targets["object"]).tolist() == [[7, 10]]
    for attribute, value in {"color": "blue", "shape": "cube", "size": "large"}.items():
        assert targets[attribute][7, 10] == ATTRIBUTE_VALUES[attribute].index(value)
        assert (targets[attribute] != IGNORE).sum() == 1
    np.testing.assert_allclose(targets["offset"][7, 10], [0.0, -0.5])
    # 3d_coords (1.5, 3) along right and front, over 3 units.
    np.testing.assert_allclose(targets["ground"][7, 10], [3.3 / 3, -0.6 / 3], rtol=1e-6)


def test_targets_follow_crop_and_mirror():
    scene = make_scene(make_object(30, 10), make_object(3, 10))
    box = (6.0, 4.0, 48.0, 32.0)
    targets = cell_targets(scene, box)
    assert np.argwhere(targets["object"]).tolist() == [[3, 8]]  # The other is cut off.
    mirrored = cell_targets(scene, box, mirrored=True)
    assert np.argwhere(mirrored["object"]).tolist() == [[3, 6]]
    # 8 cells from the left edge are 6 from the right one: both are on an edge between cells.
    np.testing.assert_allclose(mirrored["offset"][3, 6], targets["offset"][3, 8])
    np.testing.assert_allclose(mirrored["ground"][3, 6], targets["ground"][3, 8] * (-1, 1))


def test_the_nearer_of_two_objects_has_the_cell():
    near, far = make_object(20, 20, 8.0, color="green"), make_object(20.5, 20, 12.0)
    for objects in ((near, far), (far, near)):
        targets = cell_targets(make_scene(*objects), (0, 0, *SIZE))
        assert targets["object"].sum() == 1
        colors = targets["color"][targets["object"] > 0]
        assert colors.tolist() == [ATTRIBUTE_VALUES["color"].index("green")]


def test_a_scene_without_objects_has_empty_targets_and_finite_losses():
    targets = cell_targets(make_scene(), (0, 0, *SIZE))
    assert targets["object"].sum() == 0
    batch = {name: torch.from_numpy(value)[None] for name, value in targets.items()}
    outputs = {name: torch.zeros(1, 14, 14, channels) for name, channels in HEADS.items()}
    assert total(cell_losses(torch.ones(1, 8, 14, 14), outputs, batch)) < 500


def perfect_outputs(targets: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    outputs = {"object": np.where(targets["object"] > 0, 20.0, -20.0)[..., None]}
    for attribute, values in ATTRIBUTE_VALUES.items():
        outputs[attribute] = 30.0 * (targets[attribute][..., None] == np.arange(len(values)))
    return outputs | {name: targets[name] for name in ("offset", "ground")}


def test_losses_are_zero_only_for_perfect_outputs():
    scene = make_scene(make_object(10, 10), make_object(40, 25, color="cyan"))
    targets = cell_targets(scene, (0, 0, *SIZE))
    batch = {name: torch.from_numpy(value)[None] for name, value in targets.items()}
    perfect = {
        name: torch.from_numpy(value).float()[None]
        for name, value in perfect_outputs(targets).items()
    }
    features = batch["object"][:, None].expand(-1, 8, -1, -1)
    assert all(loss < 1e-5 for loss in cell_losses(features, perfect, batch).values())
    for name in HEADS:
        worse = {**perfect, name: perfect[name].roll(1, dims=-1) + 1.0}
        if name == "object":
            worse[name] = -perfect[name]
        losses = cell_losses(features, worse, batch)
        assert [key for key, loss in losses.items() if loss > 1e-3] == [name]


def test_background_is_measured_against_objects():
    present = torch.zeros(2, 14, 14, dtype=torch.bool)
    present[0, 3, 4] = True
    features = torch.full((2, 8, 14, 14), 0.5)
    features[0, :, 3, 4] = 2.0
    assert background_ratio(features, present) == pytest.approx(0.25)
    assert background_ratio(10 * features, present) == pytest.approx(0.25)


def test_perfect_outputs_are_decoded_perfectly():
    scene = make_scene(make_object(10, 10), make_object(40, 25, color="cyan"))
    box = (0, 0, *SIZE)
    targets = cell_targets(scene, box)
    scores = DecodingScores()
    scores.add(perfect_outputs(targets), targets, scene, object_places(scene, box))
    result = scores.result()
    assert result["objects"] == 2
    for name in ("recall", "precision", "found_all_four", *ATTRIBUTE_VALUES, "all_four"):
        assert result[name] == 1.0
    assert result["offset_error"] == result["ground_error"] == 0.0


def test_mistakes_are_counted():
    scene = make_scene(make_object(10, 10), make_object(40, 25, color="cyan"))
    box = (0, 0, *SIZE)
    targets = cell_targets(scene, box)
    outputs = perfect_outputs(targets)
    outputs["color"] = np.roll(outputs["color"], 1, axis=-1)  # Every colour wrong,
    outputs["object"][targets["object"] > 0] = [[5.0], [-5.0]]  # one object missed
    outputs["object"][0, 0] = 5.0  # and two seen where there are none.
    outputs["object"][13, 0] = 5.0
    scores = DecodingScores()
    scores.add(outputs, targets, scene, object_places(scene, box))
    result = scores.result()
    assert result["recall"] == 0.5
    assert result["precision"] == pytest.approx(1 / 3)
    assert result["found_all_four"] == result["all_four"] == result["color"] == 0.0
    assert result["shape"] == 1.0


def test_an_object_seen_from_two_cells_is_decoded_once():
    outputs = perfect_outputs(cell_targets(make_scene(), (0, 0, *SIZE)))
    outputs["object"][5, 5:7] = [[3.0], [4.0]]
    outputs["offset"][5, 5] = [0.45, 0.0]
    outputs["offset"][5, 6] = [-0.45, 0.0]
    found = decode_objects(outputs)
    assert len(found) == 1
    assert found[0]["score"] == 4.0
    np.testing.assert_allclose(found[0]["place"], [6.05, 5.5])


def test_scenes_are_matched_to_images(dataset):
    pairs = find_scenes(dataset, "train")
    assert [path.name for path, _ in pairs] == [f"picture_{i}.png" for i in range(4)]
    pairs[1][0].unlink()
    assert len(find_scenes(dataset, "train")) == 3
    with pytest.raises(SceneDataError, match="CLEVR_test_scenes"):
        find_scenes(dataset, "test")
    (dataset / "scenes" / "CLEVR_val_scenes.json").write_text("[]")
    with pytest.raises(SceneDataError, match="CLEVR_val_scenes"):
        find_scenes(dataset, "val")


def test_augmentation_depends_on_seed_and_position_alone(dataset):
    pairs = find_scenes(dataset, "train")
    first, second = (AugmentedSceneCells(pairs, seed=3) for _ in range(2))
    forwards = [first[p] for p in range(8)]
    for p in reversed(range(8)):
        pixels, targets = second[p]
        np.testing.assert_array_equal(pixels, forwards[p][0])
        for name, value in targets.items():
            np.testing.assert_array_equal(value, forwards[p][1][name])
    assert not np.array_equal(forwards[0][0], AugmentedSceneCells(pairs, seed=4)[0][0])
    for epoch in range(2):
        names = {first._scene_at(4 * epoch + i)[0].name for i in range(4)}
        assert len(names) == 4


def test_augmented_targets_stay_on_their_objects(dataset):
    pairs = find_scenes(dataset, "train")
    data = AugmentedSceneCells(pairs, seed=0)
    seen = 0
    for p in range(40):
        pixels, targets = data[p]
        for row, column in np.argwhere(targets["object"]):
            place = (np.array([column, row]) + 0.5 + targets["offset"][row, column]) * 16
            red, _, blue = pixels[int(place[1]), int(place[0])].astype(int)
            color = ATTRIBUTE_VALUES["color"][targets["color"][row, column]]
            assert (red > blue) == (color == "red")
            seen += 1
    assert seen > 70


def test_boxes_and_tones_stay_in_range():
    rng = np.random.default_rng(0)
    for _ in range(50):
        left, top, right, bottom = random_box(240, 160, rng)
        assert 0 <= left <= 12 and 228 <= right <= 240
        assert 0 <= top <= 8 and 152 <= bottom <= 160
    pixels = np.full((4, 4, 3), 128, np.uint8)
    means = [float(distort(pixels, rng).mean()) for _ in range(200)]
    assert 60 < min(means) < 110 and 150 < max(means) < 220
    assert np.mean(means) == pytest.approx(128, abs=12)


def test_learning_rate_warms_up_and_decays():
    factors = [learning_rate_factor(step, 1000) for step in range(1000)]
    assert factors[0] < 0.05
    assert max(factors) == factors[30] == 1.0
    assert factors[30:] == sorted(factors[30:], reverse=True)
    assert factors[-1] == pytest.approx(0.01, abs=1e-3)


def make_run(dataset: Path, folder: Path, **options) -> TrainingRun:
    folder.mkdir(exist_ok=True)
    settings = {"steps": 6, "batch_size": 2, "lr": 1e-3, "weight_decay": 0.01, "every": 3}
    settings["stages"] = ((8, 0), (12, 0), (16, 0), (32, 1))
    return TrainingRun(find_scenes(dataset, "train"), folder=folder, **{**settings, **options})


def test_interrupted_training_ends_where_the_uninterrupted_does(dataset, tmp_path):
    whole = make_run(dataset, tmp_path / "whole")
    losses = [sum(step.values()) for step in whole]
    assert len(losses) == whole.step == 6
    cut = make_run(dataset, tmp_path / "cut")
    for _ in cut:
        if cut.step == 4:  # One step beyond the checkpoint is lost.
            break
    resumed = make_run(dataset, tmp_path / "cut")
    assert resumed.step == 3
    for _ in resumed:
        pass
    for part in ("network", "average"):
        expected = getattr(whole, part).state_dict()
        for name, value in getattr(resumed, part).state_dict().items():
            torch.testing.assert_close(value, expected[name], rtol=1e-3, atol=1e-4)
    rows = (tmp_path / "cut" / "log.csv").read_text().splitlines()
    assert rows[0].startswith("step,lr,object,size,color")
    assert [row.split(",")[0] for row in rows[1:]] == ["3", "6"]


def test_a_checkpoint_of_other_settings_is_not_continued(dataset, tmp_path, capsys):
    arguments = [str(dataset), "--out", str(tmp_path / "run"), "--batch-size", "1"]
    options = ["--precision", "float32", "--workers", "0"]
    assert main([*arguments, "--steps", "1", *options]) == 0
    assert main([*arguments, "--steps", "2", *options]) == 1
    assert "choose another --out" in capsys.readouterr().err


def test_training_learns_the_pictures(dataset, tmp_path):
    run = make_run(dataset, tmp_path / "run", steps=30, batch_size=4, lr=3e-3, every=30)
    data = SceneCells(find_scenes(dataset, "train"))
    pixels, targets = zip(*(data[i] for i in range(4)), strict=True)
    inputs = normalise(torch.from_numpy(np.stack(pixels)))
    batch = {k: torch.from_numpy(np.stack([t[k] for t in targets])) for k in targets[0]}

    def loss() -> float:
        with torch.no_grad():
            features = run.network.train().trunk(inputs)
            return float(total(cell_losses(features, run.network.predict(features), batch)))

    before = loss()
    for _ in run:
        pass
    assert loss() < 0.4 * before


def test_command_line_trains_exports_and_evaluates(dataset, tmp_path, capsys):
    out = tmp_path / "run"
    options = ["--steps", "2", "--batch-size", "2", "--workers", "0", "--precision", "float32"]
    assert main([str(dataset), "--out", str(out), "--validate", str(dataset), *options]) == 0
    card = json.loads((out / "cellnet.json").read_text())
    assert card["training"]["images"] == 4
    assert card["training"]["seed"] == 0
    assert 0 <= card["validation"][dataset.name]["all_four"] <= 1
    network = load_cellnet(out / "cellnet.pt")
    assert card["parameters"] == sum(p.numel() for p in network.trunk.parameters())
    data = SceneCells(find_scenes(dataset, "train"))
    inputs = normalise(torch.from_numpy(np.stack([data[i][0] for i in range(4)])))
    with torch.no_grad():
        features = network.trunk(inputs)
    assert float(features.min()) >= 0
    root_mean_square = float(features.square().mean((0, 2, 3)).sqrt().median())
    assert root_mean_square == pytest.approx(1, abs=0.05)
    capsys.readouterr()
    assert main(["--evaluate", str(dataset), "--weights", str(out / "cellnet.pt")]) == 0
    told = capsys.readouterr().out
    assert "8 objects" in told and "all_four" in told


@pytest.mark.parametrize(
    "arguments", [[], ["data", "--evaluate", "data"], ["data", "--steps", "0"]]
)
def test_nonsensical_command_lines_are_refused(arguments):
    with pytest.raises(SystemExit):
        main(arguments)


def test_missing_data_and_weights_are_named(dataset, tmp_path, capsys):
    assert main(["--evaluate", str(tmp_path / "nowhere")]) == 1
    assert "nowhere" in capsys.readouterr().err
    assert main(["--evaluate", str(dataset), "--weights", str(tmp_path / "no.pt")]) == 1
    assert "no.pt" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "1"])
def test_images_that_do_not_fit_their_scenes_are_named(dataset, tmp_path, capsys, workers):
    def said() -> str:
        options = ["--out", str(tmp_path / "run"), "--steps", "1", "--batch-size", "4"]
        assert main([str(dataset), *options, "--workers", workers]) == 1
        (line,) = capsys.readouterr().err.strip().splitlines()[-1:]
        return line

    path = dataset / "images" / "train" / "picture_2.png"
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    assert said().startswith(f"error: {path} cannot be read: it is damaged or cut off")
    path.write_bytes(good)
    Image.open(path).resize((24, 16)).save(path)
    assert re.search(r"error: object \d of .* far outside the image of 24 x 16 pixels", said())


@pytest.mark.parametrize("cells", [SceneCells, AugmentedSceneCells])
def test_scenes_that_say_another_size_than_their_images_are_refused(dataset, cells):
    (path, scene), *_ = find_scenes(dataset, "val")
    rendered = scene | {"render": {"width": 480, "height": 320}}
    with pytest.raises(SceneDataError, match=f"{path} is 48 x 32 pixels, .* at 480 x 320"):
        cells([(path, rendered)])[0]
    cells([(path, scene | {"render": {"width": 48, "height": 32}})])[0]


def test_pretraining_opens_images_as_all_do(dataset):
    (path, scene), *_ = find_scenes(dataset, "val")
    with Image.open(path) as image:
        grey = np.asarray(image.convert("L"))
    found = []
    for values in (grey, grey.astype(np.uint16) * 257):
        Image.fromarray(values).save(path)
        found.append(SceneCells([(path, scene)])[0][0])
    np.testing.assert_array_equal(found[0], found[1])
