"""Boxes between pixels and grid, IoU, and precision."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from snmn.common.boxes import box_iou, cut_box, decode_boxes, encode_boxes
from snmn.training.metrics import PrecisionByGroup
from tests.helpers.paths import SHARED

GOLDEN = Path(os.environ.get("SNMN_GOLDEN_DIR", SHARED / "golden")) / "boxes.npz"


def random_boxes(count, seed=0):
    """Boxes within images of many sizes, and those sizes."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.randint(30, 600, (count, 2), generator=generator)
    extent = 1 + torch.rand((count, 2), generator=generator) * (size - 1)
    return torch.cat(
        [torch.rand((count, 2), generator=generator) * (size - extent), extent], 1
    ), size


@pytest.mark.skipif(not GOLDEN.exists(), reason=f"no {GOLDEN}")
def test_the_originals_cells_and_offsets():
    with np.load(GOLDEN) as golden:
        box, cell, offset = (torch.from_numpy(golden[k]) for k in ("bbox_xywh", "ind", "offset"))
        grid = tuple(golden["grid_hw"].tolist())
        size = torch.from_numpy(golden["image_hw"][::-1].copy()).expand(len(box), 2)
    found = encode_boxes(box, size, grid)
    assert torch.equal(found[0], cell)
    torch.testing.assert_close(found[1].double(), offset, rtol=0, atol=1e-5)
    torch.testing.assert_close(decode_boxes(cell, offset, size, grid), box, rtol=0, atol=1e-4)


@pytest.mark.parametrize("grid", [(14, 14), (10, 15), (1, 3)])
def test_decoding_undoes_encoding(grid):
    box, size = random_boxes(500)
    cell, offset = encode_boxes(box, size, grid)
    assert cell.min() >= 0 and cell.max() < grid[0] * grid[1]
    torch.testing.assert_close(decode_boxes(cell, offset, size, grid), box, rtol=1e-4, atol=1e-3)


def test_a_box_by_hand():
    # 20 x 10 pixels a cell. The first pixel of the middle cell is 20, its last one 39.
    cell, offset = encode_boxes(
        torch.tensor([[20.0, 10.0, 20.0, 10.0]]), torch.tensor([[60, 30]]), (3, 3)
    )
    assert cell.tolist() == [4]
    assert offset[0].tolist() == pytest.approx([20 / 20 - 1.5, 10 / 10 - 1.5, 39 / 20 - 1.5, 0.4])


def test_centres_beyond_the_grids_cells_are_clipped():
    size = torch.tensor([[30, 30]] * 2)
    box = torch.tensor([[0.0, 0.0, 1.0, 1.0], [29.0, 29.0, 1.0, 1.0]])
    assert encode_boxes(box, size, (3, 3))[0].tolist() == [0, 8]


def test_unknown_boxes_have_no_cell():
    cell, offset = encode_boxes(torch.full((1, 4), torch.nan), torch.tensor([[30, 30]]), (3, 3))
    assert cell.tolist() == [-1] and offset.isnan().all()


def test_iou_counts_pixels():
    def pixels(box):
        x, y, w, h = (int(number) for number in box)
        return {(i, j) for i in range(x, x + w) for j in range(y, y + h)}

    generator = torch.Generator().manual_seed(1)
    a, b = (torch.randint(1, 12, (200, 4), generator=generator).float() for _ in range(2))
    expected = [
        len(pixels(p) & pixels(q)) / len(pixels(p) | pixels(q)) for p, q in zip(a, b, strict=True)
    ]
    torch.testing.assert_close(box_iou(a, b), torch.tensor(expected))
    torch.testing.assert_close(box_iou(b, a), box_iou(a, b))
    torch.testing.assert_close(box_iou(a, a), torch.ones(200))


def test_boxes_that_end_before_they_begin_overlap_nothing():
    inverted = torch.tensor([[10.0, 10.0, -5.0, -5.0], [2.0, 2.0, 0.0, 4.0]])
    whole = torch.tensor([[0.0, 0.0, 20.0, 20.0]]).expand(2, 4)
    for other in (whole, inverted):
        assert box_iou(inverted, other).tolist() == [0, 0]


def test_precision_over_uneven_batches_and_devices():
    true, _ = random_boxes(9)
    predicted = true.clone()
    predicted[[1, 4], 0] += 1000
    predicted[2, 2] = true[2, 2] / 2  # Half the box, an IoU of exactly 0.5.
    predicted[3, 2] = true[3, 2] * 0.49
    group = torch.tensor([0, 0, 0, 1, 1, 1, 2, 2, 255])
    parts = [PrecisionByGroup(["a", "b", "c", "none"]) for _ in range(2)]
    for metric, batches in zip(parts, ([slice(0, 4), slice(4, 5)], [slice(5, 9)]), strict=True):
        for batch in batches:
            metric.update(predicted[batch], true[batch], group[batch])
    # What two devices would exchange: sums of what each has counted.
    merged = PrecisionByGroup(["a", "b", "c", "none"])
    for name in ("correct", "total"):
        setattr(merged, name, getattr(parts[0], name) + getattr(parts[1], name))
    merged._update_count = 1
    result = {name: value.item() for name, value in merged.compute().items()}
    assert result == pytest.approx({"a": 2 / 3, "b": 1 / 3, "c": 1, "all": 6 / 9})


def test_boxes_are_cut_to_the_image_to_be_shown():
    cut = [
        cut_box(torch.tensor(box), (100, 50)).tolist()
        for box in ([-10.0, 20, 30, 60], [90.0, 40, 5, 5], [95.0, -8, 20, 10])
    ]
    assert cut == [[0, 20, 20, 30], [90, 40, 5, 5], [95, 0, 5, 2]]
