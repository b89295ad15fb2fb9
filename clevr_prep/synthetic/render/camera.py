"""CLEVR's camera: its place varies, it always looks at the origin, and nothing rolls.

Fitted to genuine scenes: with the place as the only unknown, their pixel coordinates come back
to within rounding. The four directions of a scene belong to the camera's unjittered place, as in
CLEVR's released scenes, where they are the same in every image.
"""

from dataclasses import dataclass

import numpy as np

PLACE = (7.48113, -6.50764, 5.34367)
JITTER = 0.5
# Focal length and sensor width in millimetres.
LENS, SENSOR = 35.0, 32.0


@dataclass(frozen=True)
class Camera:
    """A pinhole camera at `place` that looks at the origin, for images of width x height."""

    place: tuple[float, float, float]
    width: int
    height: int

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return LENS / SENSOR * self.width

    @property
    def axes(self) -> np.ndarray:
        """Unit vectors right, up, forward as the rows of a float64 array [3, 3]."""
        forward = -np.asarray(self.place, float)
        forward /= np.linalg.norm(forward)
        right = np.cross(forward, (0.0, 0.0, 1.0))
        right /= np.linalg.norm(right)
        return np.stack([right, np.cross(right, forward), forward])

    def project(self, points) -> np.ndarray:
        """World points [n, 3] to [n, 3]: pixel x, pixel y (downwards), depth along the view."""
        seen = (np.atleast_2d(points) - np.asarray(self.place)) @ self.axes.T
        return np.stack(
            [
                self.width / 2 + self.focal * seen[:, 0] / seen[:, 2],
                self.height / 2 - self.focal * seen[:, 1] / seen[:, 2],
                seen[:, 2],
            ],
            axis=1,
        )


def directions() -> dict[str, list[float]]:
    """The six named directions of a scene as unit vectors on the ground, and up and down."""
    right, _, forward = Camera(PLACE, 2, 2).axes
    right = np.array([right[0], right[1], 0.0]) / np.hypot(right[0], right[1])
    behind = np.array([forward[0], forward[1], 0.0]) / np.hypot(forward[0], forward[1])
    above = np.array([0.0, 0.0, 1.0])
    pairs = (("left", -right), ("right", right), ("front", -behind), ("behind", behind))
    return {k: (v + 0.0).tolist() for k, v in (*pairs, ("above", above), ("below", -above))}


def fit_place(points, pixels, width: int, height: int) -> tuple[float, float, float]:
    """Camera place from object centres [n, 3] and CLEVR's pixel coordinates [n, 3].

    Gauss-Newton steps from the unjittered place; a depth counts as much as hundred pixels a unit.
    """
    scale = np.array([1.0, 1.0, 100.0])

    def error(place):
        return ((Camera(tuple(place), width, height).project(points) - pixels) * scale).ravel()

    place = np.asarray(PLACE)
    for _ in range(8):
        here = error(place)
        step = 1e-5
        slope = np.stack([(error(place + step * e) - here) / step for e in np.eye(3)], axis=1)
        place = place - np.linalg.lstsq(slope, here, rcond=None)[0]
    return tuple(float(v) for v in place)
