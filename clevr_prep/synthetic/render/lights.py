"""CLEVR's lights: three square lamps, a sun, a dim backdrop; and what they shed on a point.

Lamps and sun stand where the published base scene has them. Their colours and strengths, and the
backdrop, were fitted to genuine CLEVR images: lamps and sun by regression on the ground's colour,
the backdrop from what metal spheres mirror. All in linear RGB.
"""

import math

import numpy as np

from clevr_prep.synthetic.render.geometry import advance, blocked, centre, dot, subtract, unit
from clevr_prep.synthetic.render.kernels import kernel

# Place, side, radiance times area.
LAMPS = {
    "key": ((6.45, -2.91, 4.26), 0.5, (23.0, 21.4, 18.8)),
    "fill": ((-4.67, -4.01, 3.01), 0.5, (5.1, 5.5, 6.9)),
    "back": ((-1.17, 2.65, 5.82), 1.0, (12.2, 12.2, 12.0)),
}
LAMP = 16
FAR_AWAY = 1e6
SUN_DIRECTION = (0.4107, -0.1899, 0.8918)
SUN_IRRADIANCE = 0.485
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
ROUGH_SHARE, ROUGH_ALPHA2 = 0.4, 0.035
SHARP_SHARE = 0.6
SHARP_ALPHA2 = 0.0006


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
def sky(direction):
    """Radiance (grey) that comes from far away along a direction that misses everything."""
    ahead = direction[0] * WALL_X + direction[1] * WALL_Y
    if ahead <= 0.0 or direction[2] > WALL_HEIGHT * ahead:
        return 0.0
    if abs(direction[0] * WALL_Y - direction[1] * WALL_X) > WALL_WIDTH * ahead:
        return 0.0
    return WALL_GLOW - WALL_FADE * direction[2] / ahead


@kernel
def _sky_on_ground(steps):
    """The sky's irradiance / pi on open level ground, by an even grid over the hemisphere."""
    total = 0.0
    for j in range(steps):
        r = math.sqrt((j + 0.5) / steps)
        for k in range(4 * steps):
            turn = 0.5 * math.pi * (k + 0.5) / steps
            total += sky((r * math.cos(turn), r * math.sin(turn), math.sqrt(1.0 - r * r)))
    return total / (4.0 * steps * steps)


SKY_ON_GROUND = _sky_on_ground(128)


@kernel
def _lobe(alpha2, nh, nv, nl):
    """GGX with Smith's masking and no Fresnel, times nl, from the cosines with the normal."""
    d = nh * nh * (alpha2 - 1.0) + 1.0
    bell = alpha2 / (math.pi * d * d)
    masked_v = nv + math.sqrt(alpha2 + (1.0 - alpha2) * nv * nv)
    masked_l = nl + math.sqrt(alpha2 + (1.0 - alpha2) * nl * nl)
    return bell * nl / (masked_v * masked_l)


@kernel
def _gloss(facing, view, light, nl):
    """What metal sends from direction `light` to `view`: GGX of both widths, times cosine nl."""
    half = unit((view[0] + light[0], view[1] + light[1], view[2] + light[2]))
    nh, nv = max(dot(facing, half), 0.0), max(dot(facing, view), 1e-3)
    rough = ROUGH_SHARE * _lobe(ROUGH_ALPHA2, nh, nv, nl)
    return rough + SHARP_SHARE * _lobe(SHARP_ALPHA2, nh, nv, nl)


@kernel
def blockers(lamps, geometry, mask, point, slack, found):
    """Write into `found` [4] which masked objects can shade points within `slack` of `point`.

    One mask per lamp and one for the sun; conservative, by bounding spheres.
    """
    for k in range(4):
        found[k] = 0
    for i in range(geometry.shape[0]):
        if not (mask >> i) & 1:
            continue
        away = subtract(centre(geometry, i), point)
        bound = math.sqrt(geometry[i, 7]) + slack
        for k in range(4):
            if k == 3:
                along = dot(away, SUN_DIRECTION)
                reach = bound + max(along, 0.0) * 1.5 * SUN_SPREAD
            else:
                lamp = subtract((lamps[k, 0], lamps[k, 1], lamps[k, 2]), point)
                far2 = dot(lamp, lamp)
                share = dot(away, lamp) / far2
                # A lamp's corner is at most 1.5 half sides from its centre.
                reach = bound + min(max(share, 0.0), 1.2) * 1.5 * lamps[k, 15]
                along = share * math.sqrt(far2)
            if along > -bound and dot(away, away) - along * along < reach * reach:
                found[k] |= 1 << i


@kernel
def direct(lamps, geometry, masks, point, facing, view, on_ground, shiny, u, v):
    """Light that reaches a point from lamps and sun, with shadows of masks[k] for light k.

    u and v in [0, 1) pick a point on each lamp for its shadow; strength and angle are those of the
    lamp's centre, so that noise stays within half shadows. Returns irradiance / pi (r, g, b), to
    be multiplied by an albedo, and when `shiny` the highlights that metal sends along `view`
    (r, g, b), to be multiplied by its tint.
    """
    er = eg = eb = sr = sg = sb = 0.0
    for k in range(3):
        place = (lamps[k, 0], lamps[k, 1], lamps[k, 2])
        ray = subtract(place, point)
        light = unit(ray)
        nl = dot(facing, light)
        out = -(light[0] * lamps[k, 3] + light[1] * lamps[k, 4] + light[2] * lamps[k, 5])
        if nl <= 0.0 or out <= 0.0:
            continue
        if masks[k]:
            # Each lamp shifts the sample by its own amount, so that their noise differs.
            a, b = u + 0.382 * k, v + 0.618 * k
            a, b = 2.0 * (a - math.floor(a)) - 1.0, 2.0 * (b - math.floor(b)) - 1.0
            spot = advance(ray, a, (lamps[k, 6], lamps[k, 7], lamps[k, 8]))
            spot = advance(spot, b, (lamps[k, 9], lamps[k, 10], lamps[k, 11]))
            if blocked(geometry, masks[k], point, unit(spot), math.sqrt(dot(spot, spot))):
                continue
        strength = out / dot(ray, ray)
        e = strength * nl * (1.0 / math.pi)
        er += e * lamps[k, 12]
        eg += e * lamps[k, 13]
        eb += e * lamps[k, 14]
        if shiny:
            s = strength * _gloss(facing, view, light, nl)
            sr += s * lamps[k, 12]
            sg += s * lamps[k, 13]
            sb += s * lamps[k, 14]
    nl = dot(facing, SUN_DIRECTION)
    if nl <= 0.0:
        return er, eg, eb, sr, sg, sb
    if masks[3]:
        a, b = (2.0 * u - 1.0) * SUN_SPREAD, (2.0 * v - 1.0) * SUN_SPREAD
        spot = (SUN_DIRECTION[0] + a, SUN_DIRECTION[1] + b, SUN_DIRECTION[2])
        if blocked(geometry, masks[3], point, unit(spot), FAR_AWAY):
            return er, eg, eb, sr, sg, sb
    e = nl * SUN_IRRADIANCE * (1.0 / math.pi)
    if on_ground:
        e *= fade(point[0])
    s = SUN_IRRADIANCE * _gloss(facing, view, SUN_DIRECTION, nl) if shiny else 0.0
    return er + e, eg + e, eb + e, sr + s, sg + s, sb + s
