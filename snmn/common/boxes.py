"""Boxes in pixels, and what the localisation heads predict: a cell of the grid and four offsets.

A box is [x, y, w, h] in pixels of its own image and reaches from its first pixel (x, y) to its
last one (x + w - 1, y + h - 1), as in both earlier codebases. On an H x W grid the coordinate of
a pixel is pixel / stride - 0.5, with stride = image size / grid size, so that whole numbers are
the centres of cells. Offsets are the box's first and last corner [x1, y1, x2, y2] relative to
its cell, in units of the grid.

Difference from the original: the image size is given for each box instead of being 480 x 320.
"""

import torch
from torch import Tensor

IOU_THRESHOLD = 0.5  # a predicted box is correct from this IoU on


def encode_boxes(box: Tensor, image_size: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Pixel boxes [N,4] as cells [N] (row * W + column) and offsets [N,4] from them.

    image_size is [N,2], (width, height) in pixels; grid is (H, W). The cell is the one nearest to
    the box's centre. A box of NaN, which nobody knows, has cell -1 and offsets of NaN.
    """
    corners = _corners(box.double())
    corners = (corners / _strides(image_size, grid) - 0.5).view(-1, 2, 2)
    last = torch.tensor(grid[::-1], device=box.device) - 1
    nearest = corners.mean(dim=1).round().clamp(min=torch.zeros_like(last), max=last)
    offset = (corners - nearest[:, None]).flatten(1)
    cell = nearest[:, 1] * grid[1] + nearest[:, 0]
    return cell.nan_to_num(-1).long(), offset.float()


def decode_boxes(cell: Tensor, offset: Tensor, image_size: Tensor, grid: tuple[int, int]) -> Tensor:
    """Pixel boxes [N,4] from cells [N] and offsets [N,4]; undoes `encode_boxes`.

    Predicted offsets may describe a box that ends before it begins; its w or h is then below 1.
    """
    column_row = torch.stack([cell % grid[1], cell // grid[1]], dim=1).repeat(1, 2)
    x1, y1, x2, y2 = ((column_row + offset + 0.5) * _strides(image_size, grid)).unbind(dim=1)
    return torch.stack([x1, y1, x2 - x1 + 1, y2 - y1 + 1], dim=1)


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes [N,4] and [N,4], pair by pair: [N]. Empty boxes have 0."""
    first_a, last_a = _corners(a).chunk(2, dim=1)
    first_b, last_b = _corners(b).chunk(2, dim=1)
    common = torch.minimum(last_a, last_b) - torch.maximum(first_a, first_b) + 1
    intersection = common.clamp_min(0).prod(dim=1)
    areas = [box[:, 2:].clamp_min(0).prod(dim=1) for box in (a, b)]
    union = areas[0] + areas[1] - intersection
    return torch.where(intersection > 0, intersection / union, torch.zeros_like(union))


def _corners(box: Tensor) -> Tensor:
    """First and last corner [N,4] of boxes [N,4]."""
    return torch.cat([box[:, :2], box[:, :2] + box[:, 2:] - 1], dim=1)


def _strides(image_size: Tensor, grid: tuple[int, int]) -> Tensor:
    """Pixels of one grid cell, [N,4] in the order x, y, x, y."""
    return (image_size / torch.tensor(grid[::-1], device=image_size.device)).repeat(1, 2)


def cut_box(box: Tensor, size: tuple[int, int]) -> Tensor:
    """The part [4] of a box [4] inside an image of (width, height) pixels, to be shown."""
    corners = torch.stack([box[:2], box[:2] + box[2:].clamp_min(1)])
    corners = corners.clamp_min(0).minimum(torch.tensor(size))
    return torch.cat([corners[0], corners[1] - corners[0]])


def box_shares(box: Tensor, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """How a box [4] in an image of (width, height) pixels is spread over the cells: [H,W].

    Shares of the part inside the image, which sum to 1; all are 0 where no part is.
    """
    sides = []
    for first, length, pixels, cells in zip(box[:2], box[2:], size, grid[::-1], strict=True):
        edges = torch.arange(cells + 1, dtype=torch.double) * (pixels / cells)
        covered = edges.clamp(min=first.double(), max=(first + length).double()).diff()
        sides.append(covered)
    covered = sides[1][:, None] * sides[0]
    return covered / covered.sum().clamp_min(torch.finfo(torch.double).tiny)
