"""The path tracer: lamps with shadows, one bounce of diffuse light, chains of mirrors."""

import math
from collections import namedtuple

import numpy as np

from clevr_prep.synthetic.render.geometry import (
    GROUND,
    SKY,
    advance,
    dot,
    nearest,
    normal,
    reflect,
    subtract,
    unit,
)
from clevr_prep.synthetic.render.kernels import kernel
from clevr_prep.synthetic.render.lights import (
    GROUND_ALBEDO,
    ROUGH_ALPHA2,
    ROUGH_SHARE,
    SHARP_SHARE,
    SKY_ON_GROUND,
    blockers,
    direct,
    sky,
)

World = namedtuple("World", "lamps geometry colours metal others")
"""What rays meet: lamp table, geometry rows, linear colours [n, 3], metal flags [n], and masks of
the objects a ray from object i may meet, once for each light: others [n + 1, 4], GROUND last."""

# What a surface that faces down sees of the lit ground; stands in for bounces beyond the first.
GROUND_GLOW = 0.17
# Points of one object this close together share their list of possible shadows.
SLACK = 0.15
# Half width in pixels of the filter over the rays of a pixel; tells how soft edges are.
FILTER = 0.8
UP = (0.0, 0.0, 1.0)
MIXED = -3
# Sixteen neighbours share one sequence of sample points, so that their noise cancels when averaged.
ORDER = np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]])
# Powers of the inverse of the root of x^5 = x + 1: an additive sequence even in four dimensions.
STEPS = (0.8566748838545029, 0.733891856627126, 0.6287067210378087, 0.5385972572236101)


@kernel
def _around(facing, z, turn):
    """Unit vector at cosine z from the normal and `turn` (0 to 1) about it."""
    r = math.sqrt(max(1.0 - z * z, 0.0))
    x, y = r * math.cos(2.0 * math.pi * turn), r * math.sin(2.0 * math.pi * turn)
    nx, ny, nz = facing
    sign = 1.0 if nz >= 0.0 else -1.0
    a = -1.0 / (sign + nz)
    b = nx * ny * a
    return (
        x * (1.0 + sign * nx * nx * a) + y * b + z * nx,
        x * sign * b + y * (sign + ny * ny * a) + z * ny,
        -x * sign * nx - y * ny + z * nz,
    )


@kernel
def _glimpse(world, origin, direction, i, u, v, mirrors):
    """Radiance (r, g, b) along a ray that leaves object i (or GROUND).

    What it meets gets light from the lamps and a stand-in for further bounces; with `mirrors` it
    goes on from metal, up to twice, and otherwise takes metal for a diffuse surface.
    """
    red = green = blue = 0.0
    wr = wg = wb = 1.0
    for depth in range(3):
        t, j = nearest(world.geometry, world.others[i, 0], origin, direction)
        if j == SKY and direction[2] < 0.0 and i != GROUND:
            t, j = -origin[2] / direction[2], GROUND
        if j == SKY:
            far = sky(direction)
            return red + wr * far, green + wg * far, blue + wb * far
        i = j
        origin = advance(origin, t, direction)
        facing = normal(world.geometry, i, origin) if i != GROUND else UP
        shiny = mirrors and depth < 2 and i != GROUND and world.metal[i]
        back = (-direction[0], -direction[1], -direction[2])
        er, eg, eb, sr, sg, sb = direct(
            world.lamps, world.geometry, world.others[i], origin, facing, back, i == GROUND,
            shiny, u, v,
        )  # fmt: skip
        if i == GROUND:
            wr, wg, wb = wr * GROUND_ALBEDO, wg * GROUND_ALBEDO, wb * GROUND_ALBEDO
            return red + wr * er, green + wg * eg, blue + wb * eb
        wr *= world.colours[i, 0]
        wg *= world.colours[i, 1]
        wb *= world.colours[i, 2]
        glow = GROUND_GLOW * (0.5 - 0.5 * facing[2])
        if not shiny:
            return red + wr * (er + glow), green + wg * (eg + glow), blue + wb * (eb + glow)
        red += wr * (sr + ROUGH_SHARE * glow)
        green += wg * (sg + ROUGH_SHARE * glow)
        blue += wb * (sb + ROUGH_SHARE * glow)
        wr, wg, wb = wr * SHARP_SHARE, wg * SHARP_SHARE, wb * SHARP_SHARE
        direction = reflect(direction, facing)
    return red, green, blue


@kernel
def _tent(u):
    """Turn u in [0, 1) into an offset from the pixel's centre, spread like a tent."""
    if u < 0.5:
        return FILTER * (math.sqrt(2.0 * u) - 1.0)
    return FILTER * (1.0 - math.sqrt(2.0 - 2.0 * u))


@kernel
def view_ray(axes, focal, x, y, width, height):
    """Unit direction from the eye through the image point (x, y), in pixels from the top left."""
    fx, fy = (x - 0.5 * width) / focal, (0.5 * height - y) / focal
    return unit(
        (
            axes[2, 0] + fx * axes[0, 0] + fy * axes[1, 0],
            axes[2, 1] + fx * axes[0, 1] + fy * axes[1, 1],
            axes[2, 2] + fx * axes[0, 2] + fy * axes[1, 2],
        )
    )


@kernel
def trace(
    world, eye, axes, focal, tiles, tile, samples, shift, light, lit, bounced, tint, owner, normals
):  # fmt: skip
    """Sum the light of `samples` rays per pixel into the buffers of one image.

    `light` [H, W, 3]: light that stays as it is (mirrors, outlines). `lit` [H, W, 4]: irradiance
    from the lamps on pixels that show one diffuse object, with its weight. `bounced` [H, W, 4]:
    light of the diffuse bounce or of metal's rough mirror, with its weight. `tint` [H, W, 3]:
    what these two are to be multiplied by. `owner` [H, W]: the object, GROUND, or MIXED where the
    rays met several. `normals` [H, W, 3]: sum of the surface's normals.
    """
    height, width = owner.shape
    masks = np.zeros(4, np.int64)
    # On the open ground few rays hit anything: a quarter of the samples look where light bounces.
    bounces = (samples + 3) // 4
    for y in range(height):
        for x in range(width):
            mask = tiles[y // tile, x // tile]
            first, pure, anchored = SKY, True, SKY
            anchor = UP
            bare = mask == 0
            taken = samples
            r0 = g0 = b0 = 0.0
            for s in range(samples):
                number = s * 16 + ORDER[y & 3, x & 3] + 1.0
                a, b = shift[0] + number * STEPS[0], shift[1] + number * STEPS[1]
                u, v = shift[2] + number * STEPS[2], shift[3] + number * STEPS[3]
                a, b = a - math.floor(a), b - math.floor(b)
                u, v = u - math.floor(u), v - math.floor(v)
                # Within a pixel the rays follow a short sequence of their own, the same in all.
                jx, jy = shift[4] + s * 0.7548776662466927, shift[5] + s * 0.5698402909980532
                jx, jy = _tent(jx - math.floor(jx)), _tent(jy - math.floor(jy))
                ray = view_ray(axes, focal, x + 0.5 + jx, y + 0.5 + jy, width, height)
                t, i = nearest(world.geometry, mask, eye, ray)
                if i == SKY and ray[2] < 0.0:
                    t, i = -eye[2] / ray[2], GROUND
                if s == 0:
                    first = i
                elif i != first:
                    pure = False
                if i == SKY:
                    far = sky(ray)
                    light[y, x, 0] += far
                    light[y, x, 1] += far
                    light[y, x, 2] += far
                    continue
                point = advance(eye, t, ray)
                facing, shiny = UP, False
                cr = cg = cb = GROUND_ALBEDO
                if i != GROUND:
                    facing, shiny = normal(world.geometry, i, point), world.metal[i]
                    cr, cg, cb = world.colours[i, 0], world.colours[i, 1], world.colours[i, 2]
                moved = subtract(point, anchor)
                if i != anchored or dot(moved, moved) > SLACK * SLACK:
                    anchor, anchored = point, i
                    others = world.others[i, 0]
                    blockers(world.lamps, world.geometry, others, point, SLACK, masks)
                back = (-ray[0], -ray[1], -ray[2])
                er, eg, eb, sr, sg, sb = direct(
                    world.lamps, world.geometry, masks, point, facing, back, i == GROUND, shiny,
                    u, v,
                )  # fmt: skip
                normals[y, x, 0] += facing[0]
                normals[y, x, 1] += facing[1]
                normals[y, x, 2] += facing[2]
                share = 1.0
                if shiny:
                    mr, mg, mb = _glimpse(world, point, reflect(ray, facing), i, u, v, True)
                    light[y, x, 0] += cr * (sr + SHARP_SHARE * mr)
                    light[y, x, 1] += cg * (sg + SHARP_SHARE * mg)
                    light[y, x, 2] += cb * (sb + SHARP_SHARE * mb)
                    cosine = math.sqrt((1.0 - a) / (1.0 + (ROUGH_ALPHA2 - 1.0) * a))
                    onward = reflect(ray, _around(facing, cosine, b))
                    share = ROUGH_SHARE
                else:
                    light[y, x, 0] += cr * er
                    light[y, x, 1] += cg * eg
                    light[y, x, 2] += cb * eb
                    r0, g0, b0 = r0 + er, g0 + eg, b0 + eb
                    onward = _around(facing, math.sqrt(1.0 - a), b)
                tint[y, x, 0] += share * cr
                tint[y, x, 1] += share * cg
                tint[y, x, 2] += share * cb
                if (i != GROUND or s < bounces) and dot(onward, facing) > 0.0:
                    br, bg, bb = _glimpse(world, point, onward, i, u, v, False)
                    if i == GROUND:
                        # Only what differs from the open sky is left to chance.
                        rest = SKY_ON_GROUND - sky(onward)
                        br, bg, bb = br + rest, bg + rest, bb + rest
                    bounced[y, x, 0] += br
                    bounced[y, x, 1] += bg
                    bounced[y, x, 2] += bb
                    bounced[y, x, 3] += 1.0
                taken = s + 1
                if bare and masks[0] == 0 and masks[1] == 0 and masks[2] == 0 and masks[3] == 0:
                    # Open ground without any shadow: further samples would repeat this one.
                    break
            owner[y, x] = first if pure else MIXED
            diffuse = first == GROUND or (first >= 0 and not world.metal[first])
            if pure and diffuse:
                for c in range(3):
                    light[y, x, c] = 0.0
                    tint[y, x, c] *= samples / taken
                lit[y, x, 0], lit[y, x, 1], lit[y, x, 2], lit[y, x, 3] = r0, g0, b0, taken
