"""Signed distance functions of the solids, each standing on the floor (z = 0) in a box of about two units.

Hart, "Sphere Tracing" (1996): a ray may step by the distance to the nearest surface without passing through it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["REACH", "SOLIDS"]

Points = NDArray[np.float32]  # 3 points

REACH = 1.5
"""Every solid lies within this distance of (0, 0, 1)."""


def _sphere(p: Points) -> NDArray:
    return np.sqrt(p[0] ** 2 + p[1] ** 2 + (p[2] - 1) ** 2) - 1.0


def _cube(p: Points) -> NDArray:
    half, edge = 0.82, 0.07
    x, y, z = np.abs(p[0]) - half + edge, np.abs(p[1]) - half + edge, np.abs(p[2] - half) - half + edge
    outside = np.sqrt(np.maximum(x, 0) ** 2 + np.maximum(y, 0) ** 2 + np.maximum(z, 0) ** 2)
    return outside + np.minimum(np.maximum(np.maximum(x, y), z), 0) - edge


def _cylinder(p: Points) -> NDArray:
    radius, half, edge = 0.76, 0.92, 0.07
    side, top = np.sqrt(p[0] ** 2 + p[1] ** 2) - radius + edge, np.abs(p[2] - half) - half + edge
    outside = np.sqrt(np.maximum(side, 0) ** 2 + np.maximum(top, 0) ** 2)
    return outside + np.minimum(np.maximum(side, top), 0) - edge


def _cone(p: Points) -> NDArray:
    radius, height = 0.97, 2.05
    side = np.sqrt(p[0] ** 2 + p[1] ** 2)
    length = float(np.hypot(radius, height))
    slope = ((side - radius) * height + p[2] * radius) / length
    return np.maximum(slope, -p[2])  # a lower bound beside the rim, which steps may well be


def _ring(p: Points) -> NDArray:
    major, minor = 0.70, 0.29
    around = np.sqrt(p[0] ** 2 + (p[2] - major - minor) ** 2) - major
    return np.sqrt(around**2 + p[1] ** 2) - minor


SOLIDS: dict[str, Callable[[Points], NDArray]] = {
    "sphere": _sphere,
    "cube": _cube,
    "cylinder": _cylinder,
    "cone": _cone,
    "ring": _ring,
}
"""Name to distance function, which takes `3 points` and gives `points`."""
