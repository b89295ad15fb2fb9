"""CLEVR's lights: three square lamps, a sun, a dim backdrop; and what they shed on a point.

Lamps and sun stand where the published base scene has them. Their colours and strengths, and the
backdrop, were fitted to genuine CLEVR images: lamps and sun by regression on the ground's colour,
the backdrop from what metal spheres mirror. All in linear RGB.
"""

import math

import numpy as np

from .geometry import GROUND, blocked
from .kernels import kernel

# Place, side, radiance times area.
LAMPS = {
    "key": ((6.45, -2.91, 4.26), 0.5, (23.0, 21.4, 18.8)),
    "fill": ((-4.67, -4.01, 3.01), 0.5, (5.1, 5.5, 6.9)),
    "back": ((-1.17, 2.65, 5.82), 1.0, (12.2, 12.2, 12.0)),
}
LAMP = 16
FAR_AWAY = 1e6
SUN_DIRECTION = (0.411, -0.190, 0.892)
SUN_IRRADIANCE = 0.50
# Radius of the sun's disc in radians.
SUN_SPREAD = 0.05
GROUND_ALBEDO = 0.8
# The sky is black but for a wall opposite the camera: where it stands (unit vector), half width
# and height as tangents, radiance at its foot and its loss per unit of the tangent.
WALL_X, WALL_Y = -0.866, 0.5
WALL_WIDTH, WALL_HEIGHT = 1.19, 1.3
WALL_GLOW, WALL_FADE = 0.137, 0.03
# The sun's light on the ground fades a little towards +x: relative change per unit, and its end.
FADE_SLOPE, FADE_REACH = -0.0103, 16.0
# Metal is two mirrors in one: shares and squared GGX widths. The sharp one reflects what is around
# it like a perfect mirror; its width shows only in the lamps' highlights.
ROUGH_SHARE, ROUGH_ALPHA2 = 0.4, 0.04
SHARP_SHARE = 0.6
SHARP_ALPHA2 = 0.001


def lamp_table(jitter) -> np.ndarray:
    """Lamps as rows of float64 [3, LAMP] for a jitter [3, 3] in world units (key, fill, back).

    Row: place, normal (towards the origin), two half edges, radiance times area, half side.
    """
    table = np.zeros((3, LAMP))
    for row, ((place, side, power), move) in zip(
        table, zip(LAMPS.values(), np.asarray(jitter, float), strict=True), strict=True
    ):
        place = np.asarray(place)
        facing = -place / np.linalg.norm(place)
        across = np.cross(facing, (0.0, 0.0, 1.0))
        across /= np.linalg.norm(across)
        row[0:3], row[3:6] = place + move, facing
        row[6:9], row[9:12] = across * side / 2, np.cross(across, facing) * side / 2
        row[12:15], row[15] = power, side / 2
    return table


@kernel
def fade(x):
    """Relative strength of the sun on the ground at world coordinate x."""
    return 1.0 + FADE_SLOPE * min(max(x, -FADE_REACH), FADE_REACH)


@kernel
def sky(dx, dy, dz):
    """Radiance (grey) that comes from far away along a direction that misses everything."""
    ahead = dx * WALL_X + dy * WALL_Y
    if ahead <= 0.0 or dz > WALL_HEIGHT * ahead:
        return 0.0
    if abs(dx * WALL_Y - dy * WALL_X) > WALL_WIDTH * ahead:
        return 0.0
    return WALL_GLOW - WALL_FADE * dz / ahead


@kernel
def _lobe(alpha2, nh, nv, nl):
    """GGX with Smith's masking and no Fresnel, times nl, from the cosines with the normal."""
    d = nh * nh * (alpha2 - 1.0) + 1.0
    bell = alpha2 / (math.pi * d * d)
    masked_v = nv + math.sqrt(alpha2 + (1.0 - alpha2) * nv * nv)
    masked_l = nl + math.sqrt(alpha2 + (1.0 - alpha2) * nl * nl)
    return bell * nl / (masked_v * masked_l)


@kernel
def gloss(nx, ny, nz, vx, vy, vz, lx, ly, lz, nl):
    """What metal sends from light direction l to v: GGX of both widths, times the cosine nl."""
    hx, hy, hz = vx + lx, vy + ly, vz + lz
    scale = 1.0 / math.sqrt(max(hx * hx + hy * hy + hz * hz, 1e-12))
    nh = max((nx * hx + ny * hy + nz * hz) * scale, 0.0)
    nv = max(nx * vx + ny * vy + nz * vz, 1e-3)
    return ROUGH_SHARE * _lobe(ROUGH_ALPHA2, nh, nv, nl) + SHARP_SHARE * _lobe(
        SHARP_ALPHA2, nh, nv, nl
    )


@kernel
def direct(lamps, geometry, chosen, count, skip, px, py, pz, nx, ny, nz, vx, vy, vz, shiny, u, v):
    """Light that reaches a point from lamps and sun, with shadows.

    u and v in [0, 1) pick the point on each lamp. Returns irradiance / pi (r, g, b), to be
    multiplied by an albedo, and when `shiny` the highlights sent towards (vx, vy, vz) by metal
    (r, g, b), to be multiplied by its tint.
    """
    er = eg = eb = sr = sg = sb = 0.0
    for k in range(lamps.shape[0]):
        # Each lamp gets its own shift of the sample, so that their noise differs.
        a, b = 2.0 * ((u + 0.382 * k) % 1.0) - 1.0, 2.0 * ((v + 0.618 * k) % 1.0) - 1.0
        lx = lamps[k, 0] + a * lamps[k, 6] + b * lamps[k, 9] - px
        ly = lamps[k, 1] + a * lamps[k, 7] + b * lamps[k, 10] - py
        lz = lamps[k, 2] + a * lamps[k, 8] + b * lamps[k, 11] - pz
        r2 = lx * lx + ly * ly + lz * lz
        inv = 1.0 / math.sqrt(r2)
        lx, ly, lz = lx * inv, ly * inv, lz * inv
        nl = nx * lx + ny * ly + nz * lz
        out = -(lx * lamps[k, 3] + ly * lamps[k, 4] + lz * lamps[k, 5])
        if nl <= 0.0 or out <= 0.0:
            continue
        if blocked(geometry, chosen, count, skip, px, py, pz, lx, ly, lz, 1.0 / inv):
            continue
        strength = out / r2
        e = strength * nl * (1.0 / math.pi)
        er += e * lamps[k, 12]
        eg += e * lamps[k, 13]
        eb += e * lamps[k, 14]
        if shiny:
            s = strength * gloss(nx, ny, nz, vx, vy, vz, lx, ly, lz, nl)
            sr += s * lamps[k, 12]
            sg += s * lamps[k, 13]
            sb += s * lamps[k, 14]
    lx = SUN_DIRECTION[0] + (2.0 * u - 1.0) * SUN_SPREAD
    ly = SUN_DIRECTION[1] + (2.0 * v - 1.0) * SUN_SPREAD
    lz = SUN_DIRECTION[2]
    nl = nx * lx + ny * ly + nz * lz
    if nl > 0.0 and not blocked(geometry, chosen, count, skip, px, py, pz, lx, ly, lz, FAR_AWAY):
        e = nl * SUN_IRRADIANCE * (1.0 / math.pi)
        if skip == GROUND:
            e *= fade(px)
        er, eg, eb = er + e, eg + e, eb + e
        if shiny:
            s = SUN_IRRADIANCE * gloss(nx, ny, nz, vx, vy, vz, lx, ly, lz, nl)
            sr, sg, sb = sr + s, sg + s, sb + s
    return er, eg, eb, sr, sg, sb
