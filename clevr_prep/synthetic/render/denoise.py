"""Smooths light between neighbouring pixels of one surface and develops the image."""

import numpy as np

from clevr_prep.synthetic.render.geometry import dot
from clevr_prep.synthetic.render.kernels import kernel
from clevr_prep.synthetic.render.tracer import MIXED

# With half weight at its ends a row of five has the period of the sampling blocks, four pixels.
WEIGHTS = np.array([0.5, 1.0, 1.0, 1.0, 0.5])
# Cosines between normals below which neighbours keep to themselves.
DIFFUSE_BEND, METAL_BEND, SHADOW_BEND = 0.93, 0.985, 0.999
# How far shadows are smoothed, in pixels.
SHADOW_REACH = 1


@kernel
def _srgb(value):
    if value <= 0.0031308:
        return 12.92 * value
    return 1.055 * min(value, 1.0) ** (1.0 / 2.4) - 0.055


@kernel
def _average(buffer, owner, normals, bend, y, x, reach):
    """Weighted mean (r, g, b) of a buffer [H, W, 4] over the pixels like that at (y, x).

    Those are the ones up to `reach` away with the same owner and a similar slope (cosine above
    `bend`). Outlines (MIXED) take all of their 3 x 3 pixels.
    """
    height, width = owner.shape
    mixed = owner[y, x] == MIXED
    reach = 1 if mixed else reach
    red = green = blue = weight = 0.0
    facing = (normals[y, x, 0], normals[y, x, 1], normals[y, x, 2])
    own2 = dot(facing, facing) * bend * bend
    for j in range(max(y - reach, 0), min(y + reach + 1, height)):
        for k in range(max(x - reach, 0), min(x + reach + 1, width)):
            if buffer[j, k, 3] == 0.0:
                continue
            if not mixed:
                if owner[j, k] != owner[y, x]:
                    continue
                other = (normals[j, k, 0], normals[j, k, 1], normals[j, k, 2])
                cosine = dot(facing, other)
                if cosine * cosine < own2 * dot(other, other):
                    continue
            w = WEIGHTS[j - y + 2] * WEIGHTS[k - x + 2]
            red += w * buffer[j, k, 0]
            green += w * buffer[j, k, 1]
            blue += w * buffer[j, k, 2]
            weight += w * buffer[j, k, 3]
    scale = 1.0 / weight if weight > 0.0 else 0.0
    return red * scale, green * scale, blue * scale


@kernel
def develop(light, lit, bounced, tint, owner, normals, metal, samples, image):
    """Turn the tracer's sums (see `tracer.trace`) into sRGB bytes, `image` [H, W, 3]."""
    height, width = owner.shape
    for y in range(height):
        for x in range(width):
            i = owner[y, x]
            r = g = b = 0.0
            if tint[y, x, 0] + tint[y, x, 1] + tint[y, x, 2] > 0.0:
                bend = METAL_BEND if i >= 0 and metal[i] else DIFFUSE_BEND
                r, g, b = _average(bounced, owner, normals, bend, y, x, 2)
            if lit[y, x, 3] > 0.0:
                er, eg, eb = _average(lit, owner, normals, SHADOW_BEND, y, x, SHADOW_REACH)
                r, g, b = r + er, g + eg, b + eb
            scale = 1.0 / samples
            r = scale * (light[y, x, 0] + tint[y, x, 0] * r)
            g = scale * (light[y, x, 1] + tint[y, x, 1] * g)
            b = scale * (light[y, x, 2] + tint[y, x, 2] * b)
            image[y, x, 0] = int(255.0 * _srgb(r) + 0.5)
            image[y, x, 1] = int(255.0 * _srgb(g) + 0.5)
            image[y, x, 2] = int(255.0 * _srgb(b) + 0.5)
