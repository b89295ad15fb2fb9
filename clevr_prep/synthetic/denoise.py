"""Smooths the bounced light between neighbouring pixels of one surface and develops the image."""

import math

import numpy as np

from .kernels import kernel
from .tracer import MIXED

# With half weight at its ends a row of five has the period of the sampling blocks, four pixels.
WEIGHTS = np.array([0.5, 1.0, 1.0, 1.0, 0.5])


@kernel
def _srgb(value):
    if value <= 0.0031308:
        return 12.92 * value
    return 1.055 * min(value, 1.0) ** (1.0 / 2.4) - 0.055


@kernel
def develop(light, bounced, albedo, owner, normals, samples, image):
    """Turn the tracer's sums into sRGB bytes, `image` [H, W, 3].

    Bounced light is averaged over 5 x 5 pixels that show the same object at a similar slope;
    pixels on an outline, which several objects share, take all their 3 x 3 neighbours.
    """
    height, width, _ = light.shape
    for y in range(height):
        for x in range(width):
            if albedo[y, x, 0] + albedo[y, x, 1] + albedo[y, x, 2] > 0.0:
                mixed = owner[y, x] == MIXED
                reach = 1 if mixed else 2
                red = green = blue = weight = 0.0
                nx, ny, nz = normals[y, x, 0], normals[y, x, 1], normals[y, x, 2]
                own = math.sqrt(nx * nx + ny * ny + nz * nz)
                for j in range(-reach, reach + 1):
                    yy = y + j
                    if yy < 0 or yy >= height:
                        continue
                    for k in range(-reach, reach + 1):
                        xx = x + k
                        if xx < 0 or xx >= width or bounced[yy, xx, 3] == 0.0:
                            continue
                        if not mixed:
                            if owner[yy, xx] != owner[y, x]:
                                continue
                            ax, ay, az = normals[yy, xx, 0], normals[yy, xx, 1], normals[yy, xx, 2]
                            other = math.sqrt(ax * ax + ay * ay + az * az)
                            if nx * ax + ny * ay + nz * az < 0.93 * own * other:
                                continue
                        w = WEIGHTS[j + 2] * WEIGHTS[k + 2]
                        red += w * bounced[yy, xx, 0]
                        green += w * bounced[yy, xx, 1]
                        blue += w * bounced[yy, xx, 2]
                        weight += w * bounced[yy, xx, 3]
                if weight > 0.0:
                    light[y, x, 0] += albedo[y, x, 0] * red / weight
                    light[y, x, 1] += albedo[y, x, 1] * green / weight
                    light[y, x, 2] += albedo[y, x, 2] * blue / weight
            for c in range(3):
                image[y, x, c] = int(255.0 * _srgb(light[y, x, c] / samples) + 0.5)
