"""The path tracer's kernel: one bounce of diffuse light, chains of mirrors, soft shadows."""

import math

import numpy as np

from .geometry import GROUND, SKY, nearest, normal
from .kernels import kernel
from .lights import GROUND_ALBEDO, ROUGH_ALPHA2, ROUGH_SHARE, SHARP_SHARE, direct, sky

# What a surface that faces down sees of the lit ground; stands in for bounces beyond the first.
GROUND_GLOW = 0.17


@kernel
def _around(nx, ny, nz, z, turn):
    """Unit vector at cosine z from the normal and `turn` (0 to 1) about it."""
    r = math.sqrt(max(1.0 - z * z, 0.0))
    x, y = r * math.cos(2.0 * math.pi * turn), r * math.sin(2.0 * math.pi * turn)
    sign = 1.0 if nz >= 0.0 else -1.0
    a = -1.0 / (sign + nz)
    b = nx * ny * a
    return (
        x * (1.0 + sign * nx * nx * a) + y * b + z * nx,
        x * sign * b + y * (sign + ny * ny * a) + z * ny,
        -x * sign * nx - y * ny + z * nz,
    )


@kernel
def _ambient(nz):
    """Light of the ground on a surface with this upward slope, irradiance / pi."""
    return GROUND_GLOW * (0.5 - 0.5 * nz)


@kernel
def _glimpse(lamps, geometry, colours, metal, chosen, count, skip, o, d, u, v, mirrors):
    """Radiance along a secondary ray (r, g, b): direct light, ambient stand-in, mirror chain."""
    ox, oy, oz = o
    dx, dy, dz = d
    red = green = blue = 0.0
    wr = wg = wb = 1.0
    for depth in range(3):
        t, i = nearest(geometry, chosen, count, skip, ox, oy, oz, dx, dy, dz)
        if i == SKY:
            far = sky(dx, dy, dz)
            return red + wr * far, green + wg * far, blue + wb * far
        ox, oy, oz = ox + t * dx, oy + t * dy, oz + t * dz
        if i == GROUND:
            er, eg, eb, _, _, _ = direct(
                lamps, geometry, chosen, count, GROUND, ox, oy, 0.0, 0.0, 0.0, 1.0,
                0.0, 0.0, 1.0, False, u, v,
            )  # fmt: skip
            return (
                red + wr * GROUND_ALBEDO * er,
                green + wg * GROUND_ALBEDO * eg,
                blue + wb * GROUND_ALBEDO * eb,
            )
        nx, ny, nz = normal(geometry, i, ox, oy, oz)
        shiny = mirrors and metal[i] and depth < 2
        er, eg, eb, sr, sg, sb = direct(
            lamps, geometry, chosen, count, i, ox, oy, oz, nx, ny, nz, -dx, -dy, -dz, shiny, u, v
        )
        wr, wg, wb = wr * colours[i, 0], wg * colours[i, 1], wb * colours[i, 2]
        if not shiny:
            base = _ambient(nz)
            return red + wr * (er + base), green + wg * (eg + base), blue + wb * (eb + base)
        # Metal within a reflection: its rough part by the lamps alone, then on along the mirror.
        base = _ambient(nz)
        red += wr * (sr + ROUGH_SHARE * base)
        green += wg * (sg + ROUGH_SHARE * base)
        blue += wb * (sb + ROUGH_SHARE * base)
        wr, wg, wb = wr * SHARP_SHARE, wg * SHARP_SHARE, wb * SHARP_SHARE
        dot = 2.0 * (dx * nx + dy * ny + dz * nz)
        dx, dy, dz = dx - dot * nx, dy - dot * ny, dz - dot * nz
        skip = i
    return red, green, blue


@kernel
def trace(
    eye, axes, focal, lamps, geometry, colours, metal, tiles, counts, samples, bounces, shift,
    light, bounced, albedo, owner, normals,
):  # fmt: skip
    """Fill the buffers of one image.

    `light` [H, W, 3] gets direct and mirrored light, `bounced` [H, W, 3] the irradiance of the
    diffuse bounce, `albedo` [H, W, 3] what it is to be multiplied by, `owner` [H, W] the object
    at the pixel's centre, or GROUND - 1 - ... negative for a pixel shared by several, `normals`
    [H, W, 3] the surface's direction. Sample points come from one additive low-discrepancy
    sequence laid over blocks of 4 x 4 pixels, so that neighbours complete each other.
    """
    height, width, _ = light.shape
    everything = np.arange(geometry.shape[0])
    total = geometry.shape[0]
    for y in range(height):
        for x in range(width):
            tile = (y // 8) * ((width + 7) // 8) + x // 8
            count = counts[tile]
            chosen = tiles[tile]
            bayer = BAYER[y & 3, x & 3]
            first = -9
            pure = True
            for s in range(samples):
                number = s * 16 + bayer + 1.0
                a = (shift[0] + number * STEPS[0]) % 1.0
                b = (shift[1] + number * STEPS[1]) % 1.0
                u = (shift[2] + number * STEPS[2]) % 1.0
                v = (shift[3] + number * STEPS[3]) % 1.0
                # Within a pixel the samples are stratified by their own short sequence.
                jx = (shift[4] + s * 0.7548776662466927) % 1.0
                jy = (shift[5] + s * 0.5698402909980532) % 1.0
                fx, fy = (x + jx - 0.5 * width) / focal, (0.5 * height - y - jy) / focal
                dx = axes[2, 0] + fx * axes[0, 0] + fy * axes[1, 0]
                dy = axes[2, 1] + fx * axes[0, 1] + fy * axes[1, 1]
                dz = axes[2, 2] + fx * axes[0, 2] + fy * axes[1, 2]
                scale = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
                dx, dy, dz = dx * scale, dy * scale, dz * scale
                t, i = nearest(geometry, chosen, count, SKY, eye[0], eye[1], eye[2], dx, dy, dz)
                if s == 0:
                    first = i
                elif i != first:
                    pure = False
                px, py, pz = eye[0] + t * dx, eye[1] + t * dy, eye[2] + t * dz
                if i == SKY:
                    light[y, x] += sky(dx, dy, dz)
                    continue
                if i == GROUND:
                    nx, ny, nz = 0.0, 0.0, 1.0
                    pz = 0.0
                    shiny = False
                    cr = cg = cb = GROUND_ALBEDO
                else:
                    nx, ny, nz = normal(geometry, i, px, py, pz)
                    shiny = metal[i]
                    cr, cg, cb = colours[i, 0], colours[i, 1], colours[i, 2]
                er, eg, eb, sr, sg, sb = direct(
                    lamps, geometry, everything, total, i, px, py, pz, nx, ny, nz,
                    -dx, -dy, -dz, shiny, u, v,
                )  # fmt: skip
                normals[y, x, 0] += nx
                normals[y, x, 1] += ny
                normals[y, x, 2] += nz
                if shiny:
                    dot = 2.0 * (dx * nx + dy * ny + dz * nz)
                    mirror = (dx - dot * nx, dy - dot * ny, dz - dot * nz)
                    mr, mg, mb = _glimpse(
                        lamps, geometry, colours, metal, everything, total, i,
                        (px, py, pz), mirror, u, v, True,
                    )  # fmt: skip
                    cosine = math.sqrt((1.0 - a) / (1.0 + (ROUGH_ALPHA2 - 1.0) * a))
                    hx, hy, hz = _around(nx, ny, nz, cosine, b)
                    dot = 2.0 * (dx * hx + dy * hy + dz * hz)
                    rough = (dx - dot * hx, dy - dot * hy, dz - dot * hz)
                    if rough[0] * nx + rough[1] * ny + rough[2] * nz > 0.0:
                        rr, rg, rb = _glimpse(
                            lamps, geometry, colours, metal, everything, total, i,
                            (px, py, pz), rough, u, v, False,
                        )  # fmt: skip
                        sr, sg, sb = (
                            sr + ROUGH_SHARE * rr,
                            sg + ROUGH_SHARE * rg,
                            sb + ROUGH_SHARE * rb,
                        )
                    light[y, x, 0] += cr * (SHARP_SHARE * mr + sr)
                    light[y, x, 1] += cg * (SHARP_SHARE * mg + sg)
                    light[y, x, 2] += cb * (SHARP_SHARE * mb + sb)
                    continue
                light[y, x, 0] += cr * er
                light[y, x, 1] += cg * eg
                light[y, x, 2] += cb * eb
                albedo[y, x, 0] += cr
                albedo[y, x, 1] += cg
                albedo[y, x, 2] += cb
                if s < bounces:
                    wx, wy, wz = _around(nx, ny, nz, math.sqrt(1.0 - a), b)
                    br, bg, bb = _glimpse(
                        lamps, geometry, colours, metal, everything, total, i,
                        (px, py, pz), (wx, wy, wz), u, v, False,
                    )  # fmt: skip
                    bounced[y, x, 0] += br
                    bounced[y, x, 1] += bg
                    bounced[y, x, 2] += bb
                    bounced[y, x, 3] += 1.0
            owner[y, x] = first if pure else MIXED


MIXED = -3
BAYER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
# Powers of the inverse of the root of x^5 = x + 1: an additive sequence even in four dimensions.
STEPS = np.array([0.8566748838545029, 0.733891856627126, 0.6287067210378087, 0.5385972572236101])
