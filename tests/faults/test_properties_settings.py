"""Any setting loads to what it says, any unknown one is refused; any box survives its encoding."""

import math

import pytest
import torch
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from config import Config, load_config, to_dict
from snmn.checkpoints.published_settings import WITHOUT_EFFECT, flatten
from snmn.common.boxes import box_iou, cut_box, decode_boxes, encode_boxes
from snmn.storage.typed_settings import ConfigError, all_keys

DEFAULTS = flatten(to_dict(Config()))
quick = settings(derandomize=True, max_examples=40, deadline=None, database=None)
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"]))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def value_for(key):
    """Values of a setting's type, most of which are possible."""
    kind = type(DEFAULTS[key])
    return {
        bool: st.booleans(),
        int: st.integers(0, 4096),
        float: st.floats(0, 1e6, allow_subnormal=False),
        str: TEXT.filter(lambda text: not text.endswith(".npy")),
        list: st.just([]),
    }[kind]


@st.composite
def chosen(draw):
    keys = draw(st.lists(st.sampled_from(sorted(DEFAULTS)), max_size=4, unique=True))
    return {key: draw(value_for(key)) for key in keys}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("settings") / "trial.yaml"


def nested(values):
    result = {}
    for key, value in values.items():
        *sections, name = key.split(".")
        inner = result
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[name] = value
    return result


@pytest.mark.slow
@quick
@given(values=chosen())
def test_settings_load_to_what_they_say_or_are_refused_by_name(path, values):
    path.write_text(yaml.safe_dump(nested(values), allow_unicode=True), encoding="utf-8")
    try:
        config, notes = load_config(path)
    except ConfigError as error:
        # Each value is of its type, so it must be one that contradicts or cannot be.
        assert any(key.rpartition(".")[2] in str(error) for key in values), error
        return
    loaded = flatten(to_dict(config))
    for key, value in values.items():
        if key not in ("EXP_NAME", "DATASET") or value:
            assert loaded[key] == value and type(loaded[key]) is type(DEFAULTS[key])
    joint = loaded["MODEL.BUILD_VQA"] and loaded["MODEL.BUILD_LOC"] and not values.get("DATASET")
    assert len(notes) == joint and all(note.startswith("DATASET is joint") for note in notes)
    others = {key: DEFAULTS[key] for key in DEFAULTS if key not in values}
    assert {key: loaded[key] for key in others} == others | {
        key: loaded[key] for key in ("EXP_NAME", "DATASET") if key in others
    }
    # What a checkpoint records of the configuration loads to the same again.
    path.write_text(yaml.safe_dump(to_dict(config), allow_unicode=True), encoding="utf-8")
    assert load_config(path)[0] == config
    typed = [part for key in values for part in (key, str(values[key]))]  # As on a command line.
    path.write_text("")
    again = load_config(path, typed)[0]
    assert again == config


@pytest.mark.slow
@quick
@given(key=st.text(st.characters(categories=["Lu", "Nd"]) | st.just("_"), min_size=1, max_size=12))
def test_unknown_settings_are_refused_with_the_nearest_known_one(path, key):
    known = {name.split(".")[-1] for name in [*all_keys(Config), *WITHOUT_EFFECT]}
    assume(key not in known | {"BASE", "MODEL", "TRAIN", "TEST", "SOLVER", "CTRL", "NMN"})
    for text in ({key: 1}, {"MODEL": {key: 1}}, {"TRAIN": {"SOLVER": {key: 1}}}):
        path.write_text(yaml.safe_dump(text), encoding="utf-8")
        with pytest.raises(ConfigError) as error:
            load_config(path)
        message = str(error.value)
        nearest = message.rpartition("the nearest known one is ")[2]
        assert message.startswith(f"{path}: ") and key in message
        assert nearest in [*all_keys(Config), *WITHOUT_EFFECT]


@quick
@given(content=PLAIN | st.dictionaries(st.sampled_from(["MODEL", "TRAIN", "BASE", "x"]), PLAIN))
def test_any_yaml_is_a_configuration_or_one_line(path, content):
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    try:
        load_config(path)
    except ConfigError as error:
        assert "\n" not in str(error) and str(path.parent) in str(error)


SIDES = st.integers(16, 4000)
SHARES = st.floats(0, 1)


@st.composite
def boxes(draw):
    """A box in an image, both in pixels, and the grid."""
    size = draw(SIDES), draw(SIDES)
    extent = [1 + draw(SHARES) * (side - 1) for side in size]
    start = [draw(SHARES) * (side - length) for side, length in zip(size, extent, strict=True)]
    return [*start, *extent], size, (draw(st.integers(1, 40)), draw(st.integers(1, 40)))


@quick
@given(made=boxes())
def test_boxes_come_back_from_their_cell_and_offsets(made):
    box, size, grid = made
    pixels, sizes = torch.tensor([box]), torch.tensor([size])
    cell, offset = encode_boxes(pixels, sizes, grid)
    assert 0 <= cell.item() < grid[0] * grid[1] and offset.isfinite().all()
    back = decode_boxes(cell, offset, sizes, grid)
    torch.testing.assert_close(back, pixels, rtol=1e-4, atol=max(size) * 1e-5)
    # The cell is the one with the box's centre, or at the edge the nearest to it.
    for axis, index in ((0, cell.item() % grid[1]), (1, cell.item() // grid[1])):
        count = grid[1 - axis]
        centre = (box[axis] + (box[axis + 2] - 1) / 2) / size[axis] * count
        assert index - 1e-3 <= max(0, centre) and min(centre, count) <= index + 1 + 1e-3
    assert box_iou(back, pixels).item() > 0.9


@quick
@given(
    box=st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4),
    size=st.tuples(SIDES, SIDES),
)
def test_any_box_is_cut_to_the_image(box, size):
    x, y, w, h = cut_box(torch.tensor(box), size).tolist()
    assert all(map(math.isfinite, (x, y, w, h))) and min(x, y, w, h) >= 0
    assert x + w <= size[0] + 1e-3 and y + h <= size[1] + 1e-3
    left, top, width, height = box[0], box[1], max(1.0, box[2]), max(1.0, box[3])
    inside = left >= 0 and top >= 0 and left + width <= size[0] and top + height <= size[1]
    if inside:
        assert (x, y, w, h) == pytest.approx((left, top, width, height), abs=1e-2)
