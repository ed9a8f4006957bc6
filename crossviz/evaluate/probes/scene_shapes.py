"""The things that rendered scenes show, by name."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from crossviz.evaluate.probes.scene_living import dog, flower, tree
from crossviz.evaluate.probes.scene_parts import RGB, Part, ellipse, mix, ribbon, smooth

__all__ = ["SHAPES", "box_top"]

_DARK, _STEEL, _GLASS = (0.10, 0.10, 0.11), (0.70, 0.71, 0.73), (0.20, 0.27, 0.33)
_BOX = {"left": -0.36, "right": 0.22, "low": 0.0, "high": 0.50, "dx": 0.17, "dy": 0.15}


def box_top() -> tuple[float, float]:
    """The middle of the top of a box."""
    b = _BOX
    return (b["left"] + b["right"] + b["dx"]) / 2, b["high"] + b["dy"] * 0.45


def _ball(colour: RGB, rng: np.random.Generator) -> list[Part]:
    frame = (0.0, 0.36, 0.36, 0.36)
    turn, parts = rng.uniform(-50, 50), [Part(ellipse(*frame), colour, "ball", frame, 0.8)]
    band = mix(colour, 1.0, 0.55)
    for start in (60, 240):  # two lighter stripes that follow the sphere
        outer, inner = ellipse(0, 0, 0.36, 0.16, 0, start - 60, start + 120), ellipse(0, 0, 0.36, 0.09, 0, 0, 180)
        if start == 240:
            inner = inner * (1, -1)
        outline = np.concatenate([outer, inner[::-1]])
        c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        parts.append(Part(outline @ np.array([[c, s], [-s, c]]) + (0, 0.36), band, "ball", frame, 0.8))
    return parts


def _cup(colour: RGB, rng: np.random.Generator) -> list[Part]:
    top, low, x = 0.72, 0.06, -0.06
    body = np.concatenate([ellipse(x, low, 0.25, 0.06, 0, 180, 360), ellipse(x, top, 0.30, 0.075, 0, 0, 180)])
    handle = ribbon([(0.17, 0.60), (0.30, 0.64), (0.40, 0.54), (0.38, 0.36), (0.27, 0.22), (0.15, 0.20)], 0.085, 0.075)
    frame = (x, 0.4, 0.31, 0.4)
    return [
        Part(handle, mix(colour, 0.0, 0.12), "soft", None, 0.4),
        Part(body, colour, "tube", frame, 0.5),
        Part(ellipse(x, top, 0.30, 0.078), mix(colour, 1.0, 0.35), "flat"),
        Part(ellipse(x, top - 0.004, 0.27, 0.062), mix(colour, 0.0, 0.3), "hollow", frame),
        Part(ellipse(x, top - 0.022, 0.245, 0.04), (0.20, 0.11, 0.06), "flat"),
    ]


def _box(colour: RGB, rng: np.random.Generator) -> list[Part]:
    left, right, low, high, dx, dy = _BOX.values()
    tape = mix(mix(colour, 1.0, 0.45), (0.86, 0.74, 0.52), 0.5)
    middle, half = (left + right) / 2, 0.045

    def quad(*points: tuple[float, float]) -> NDArray:
        return np.array(points)

    top = [(left, high), (right, high), (right + dx, high + dy), (left + dx, high + dy)]
    strip = [
        (middle - half, high),
        (middle + half, high),
        (middle + half + dx, high + dy),
        (middle - half + dx, high + dy),
    ]
    slit = [(left + dx / 2, high + dy / 2), (right + dx / 2, high + dy / 2)]
    return [
        Part(
            quad((right, low), (right + dx, low + dy), (right + dx, high + dy), (right, high)), mix(colour, 0.0, 0.38)
        ),
        Part(quad((left, low), (right, low), (right, high), (left, high)), mix(colour, 0.0, 0.10), "soft"),
        Part(quad(*top), mix(colour, 1.0, 0.22)),
        Part(ribbon(slit, 0.008, 0.008), mix(colour, 0.0, 0.35)),
        Part(quad(*strip), tape),
        Part(
            quad(
                (middle - half, high - 0.14), (middle + half, high - 0.14), (middle + half, high), (middle - half, high)
            ),
            mix(tape, 0.0, 0.15),
        ),
        Part(ribbon([(left, high), (right, high)], 0.008, 0.008), mix(colour, 1.0, 0.4)),
        Part(ribbon([(right, low), (right, high)], 0.006, 0.006), mix(colour, 1.0, 0.15)),
    ]


def _car(colour: RGB, rng: np.random.Generator) -> list[Part]:
    body = smooth(
        [(-0.47, 0.075), (-0.495, 0.12), (-0.49, 0.19), (-0.44, 0.225), (-0.36, 0.24), (-0.27, 0.325), (-0.18, 0.355),
         (0.02, 0.36), (0.11, 0.335), (0.22, 0.245), (0.36, 0.225), (0.46, 0.19), (0.495, 0.13), (0.48, 0.08),
         (0.2, 0.068), (-0.2, 0.068)]
    )  # fmt: skip
    frame, edge = (0.0, 0.12, 0.75, 0.3), mix(colour, 0.0, 0.5)
    rear = np.array([(-0.325, 0.237), (-0.245, 0.312), (-0.17, 0.334), (-0.075, 0.337), (-0.075, 0.237)])
    front = np.array([(-0.05, 0.237), (-0.05, 0.338), (0.02, 0.337), (0.09, 0.318), (0.185, 0.237)])
    parts = [Part(body, colour, "soft", frame, 0.5)]
    parts += [Part(pane, _GLASS, "soft", (0.0, 0.2, 0.5, 0.2), 0.6) for pane in (rear, front)]
    parts += [
        Part(ribbon(line, 0.006, 0.006), edge)
        for line in (
            [(-0.062, 0.23), (-0.062, 0.09)],
            [(0.17, 0.235), (0.165, 0.15), (0.14, 0.09)],
            [(-0.4, 0.2), (0.4, 0.185)],
        )
    ]
    parts += [Part(ribbon([(x, 0.205), (x + 0.04, 0.205)], 0.012, 0.012), mix(colour, 0.0, 0.6)) for x in (-0.13, 0.08)]
    parts += [
        Part(ellipse(0.462, 0.178, 0.028, 0.02, -20), (1.0, 0.97, 0.82), "soft", None, 0.8),
        Part(ellipse(-0.482, 0.19, 0.014, 0.026), (0.75, 0.08, 0.08), "soft", None, 0.5),
        Part(ribbon([(0.40, 0.085), (0.49, 0.092)], 0.03, 0.03), (0.18, 0.18, 0.19)),
        Part(ribbon([(-0.40, 0.085), (-0.488, 0.092)], 0.03, 0.03), (0.18, 0.18, 0.19)),
    ]
    for x in (-0.29, 0.31):
        parts += [
            Part(ellipse(x, 0.093, 0.108, 0.108, 0, 0, 180), (0.07, 0.07, 0.08)),
            Part(ellipse(x, 0.088, 0.088, 0.088), _DARK, "soft"),
            Part(ellipse(x, 0.088, 0.056, 0.056), _STEEL, "ball", None, 0.3),
        ]
        for turn in range(0, 360, 72):
            spoke = np.radians(turn + 18)
            at = (x + 0.034 * np.cos(spoke), 0.088 + 0.034 * np.sin(spoke))
            parts.append(Part(ellipse(*at, 0.011, 0.011), (0.3, 0.3, 0.32)))
    return parts


SHAPES: Mapping[str, Callable[[RGB, np.random.Generator], list[Part]]] = {
    "ball": _ball,
    "box": _box,
    "car": _car,
    "cup": _cup,
    "dog": dog,
    "flower": flower,
    "tree": tree,
}
"""The parts of a thing of some colour, back to front."""
