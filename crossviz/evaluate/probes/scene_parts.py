"""What things in rendered scenes are made of: outlines in the thing's own units, with a surface.

Units: x to the right, y up, (0, 0) where the thing stands, 1 its cell's side; every thing faces right.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["COLOURS", "RGB", "Part", "ellipse", "mix", "ribbon", "smooth"]

RGB = tuple[float, float, float]

COLOURS: Mapping[str, RGB] = {
    "red": (0.80, 0.13, 0.13),
    "blue": (0.14, 0.33, 0.78),
    "green": (0.18, 0.58, 0.25),
    "yellow": (0.96, 0.80, 0.16),
    "white": (0.93, 0.92, 0.90),
    "black": (0.11, 0.11, 0.12),
    "brown": (0.50, 0.31, 0.17),
}


@dataclass(frozen=True)
class Part:
    """A polygon with a surface.

    `bend` says how the surface is curved: "ball" (in both directions), "tube" (about an upright axis), "hollow" (the
    inside of a tube), "soft" (a little, in both), "flat". `frame` is the ellipse that it is curved about (centre x, y,
    radius x, y), the outline's own if None. `shine` is how glossy it is, 0 to 1.
    """

    outline: NDArray[np.float64]  # point 2
    colour: RGB
    bend: str = "flat"
    frame: tuple[float, float, float, float] | None = None
    shine: float = 0.0


def mix(colour: RGB, other: float | RGB, share: float) -> RGB:
    to = (other,) * 3 if isinstance(other, float) else other
    return tuple(a + (b - a) * share for a, b in zip(colour, to, strict=True))


def ellipse(x: float, y: float, rx: float, ry: float, turn: float = 0.0, start: float = 0.0, stop: float = 360.0):
    angle = np.radians(np.linspace(start, stop, 48))
    points = np.stack([rx * np.cos(angle), ry * np.sin(angle)], 1)
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    return points @ np.array([[c, s], [-s, c]]) + (x, y)


def smooth(points: list[tuple[float, float]], closed: bool = True) -> NDArray:
    """A Catmull-Rom curve through the points."""
    p = np.array(points, float)
    p = np.concatenate([p[-1:], p, p[:2]]) if closed else np.concatenate([p[:1], p, p[-1:]])
    t = np.linspace(0, 1, 10, endpoint=False)[:, None]
    curve = [
        0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
        for a, b, c, d in zip(p[:-3], p[1:-2], p[2:-1], p[3:], strict=True)
    ]
    return np.concatenate(curve if closed else [*curve, p[-2:-1]])


def ribbon(points: list[tuple[float, float]], start: float, stop: float) -> NDArray:
    """A band along a curve through the points, `start` wide at its beginning and `stop` at its end."""
    line = smooth(points, closed=False)
    along = np.gradient(line, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1) / np.linalg.norm(along, axis=1, keepdims=True)
    half = np.linspace(start, stop, len(line))[:, None] / 2
    cap = np.linspace(0, np.pi, 9)[1:-1, None]
    end = line[-1] + half[-1] * (across[-1] * np.cos(cap) + along[-1] / np.linalg.norm(along[-1]) * np.sin(cap))
    return np.concatenate([line + across * half, end, (line - across * half)[::-1]])
