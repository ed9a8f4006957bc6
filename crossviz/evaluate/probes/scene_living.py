"""Things in rendered scenes that are alive: a tree, a flower, a dog."""

import numpy as np
from numpy.typing import NDArray

from crossviz.evaluate.probes.scene_parts import COLOURS, RGB, Part, ellipse, mix, ribbon, smooth

__all__ = ["dog", "flower", "tree"]

_LEAF, _BARK = (0.24, 0.50, 0.17), (0.36, 0.25, 0.16)


def tree(colour: RGB, rng: np.random.Generator) -> list[Part]:
    lean = rng.uniform(-0.03, 0.03)
    parts = [
        Part(ribbon([(0.0, 0.0), (lean, 0.25), (lean, 0.5)], 0.12, 0.06), _BARK, "tube"),
        Part(ribbon([(lean, 0.3), (-0.12, 0.46)], 0.04, 0.02), _BARK, "soft"),
        Part(ribbon([(lean, 0.34), (0.13, 0.5)], 0.04, 0.02), _BARK, "soft"),
    ]
    parts.append(Part(ellipse(0.0, 0.02, 0.085, 0.025, 0, 0, 180), _BARK, "soft"))
    crown, clumps = (lean, 0.66, 0.42, 0.40), []
    for _ in range(70):
        angle, radius = rng.uniform(0, 2 * np.pi), np.sqrt(rng.uniform(0, 1))
        clumps.append((lean + 0.30 * radius * np.cos(angle), 0.67 + 0.24 * radius * np.sin(angle), radius))
    leaf = mix(_LEAF, (0.42, 0.50, 0.12), rng.uniform(0, 0.7))
    for x, y, radius in sorted(clumps, key=lambda clump: -clump[2]):  # the rim first, the middle in front
        size = rng.uniform(0.055, 0.10)
        tone = mix(leaf, 1.0 if rng.random() < 0.5 else 0.0, rng.uniform(0, 0.16) + 0.1 * radius * (y < 0.62))
        parts.append(Part(ellipse(x, y, size, size * 0.9), tone, "soft", crown))
        parts.append(
            Part(ellipse(x - 0.01, y + size * 0.25, size * 0.6, size * 0.45), mix(tone, 1.0, 0.07), "soft", crown)
        )
    return parts


def flower(colour: RGB, rng: np.random.Generator) -> list[Part]:
    head, bend = (0.0, 0.74), rng.uniform(-0.05, 0.05)
    stem = [Part(ribbon([(bend, 0.0), (bend * 0.3, 0.35), head], 0.04, 0.03), mix(_LEAF, 0.0, 0.1), "tube")]
    for side, y in ((-1, 0.14), (1, 0.24)):
        leaf = smooth([(0.0, y), (side * 0.09, y + 0.11), (side * 0.25, y + 0.13), (side * 0.13, y + 0.01)])
        stem.append(Part(leaf, mix(_LEAF, 1.0, 0.06), "soft", None, 0.1))
        stem.append(
            Part(ribbon([(0, y), (side * 0.12, y + 0.07), (side * 0.23, y + 0.12)], 0.008, 0.003), mix(_LEAF, 0.0, 0.3))
        )
    petals, count, turn = [], 9, rng.uniform(0, 40)
    for ring, length, tone in ((0, 0.155, -0.16), (1, 0.125, 0.08)):
        for k in range(count):
            angle = turn + (k + ring / 2) * 360 / count
            c, s = np.cos(np.radians(angle)), np.sin(np.radians(angle))
            at, shade = (head[0] + 0.135 * c, head[1] + 0.135 * s), mix(colour, 1.0 if tone > 0 else 0.0, abs(tone))
            petals.append(Part(ellipse(*at, length, 0.062, angle), mix(shade, 0.0, 0.22)))
            petals.append(Part(ellipse(*at, length * 0.95, 0.052, angle), shade, "soft", (*at, 0.2, 0.2), 0.1))
    core = (0.30, 0.18, 0.08) if colour == COLOURS["yellow"] else (0.93, 0.70, 0.15)
    petals.append(Part(ellipse(*head, 0.078, 0.078), core, "ball"))
    for k in range(26):  # the seeds, in a sunflower's spiral
        angle, radius = np.radians(137.5 * k), 0.066 * np.sqrt(k / 26)
        at = (head[0] + radius * np.cos(angle), head[1] + radius * np.sin(angle))
        petals.append(Part(ellipse(*at, 0.007, 0.007), mix(core, 0.0, 0.35)))
    return stem + petals


def dog(colour: RGB, rng: np.random.Generator) -> list[Part]:
    frame, far, light = (-0.03, 0.36, 0.42, 0.36), mix(colour, 0.0, 0.35), mix(colour, 1.0, 0.25)
    dark = mix(colour, 0.0, 0.42) if sum(colour) > 0.6 else mix(colour, 1.0, 0.10)

    def coat(outline: NDArray, tone: RGB = colour) -> Part:
        return Part(outline, tone, "soft", frame)

    def leg(points: list[tuple[float, float]], start: float, tone: RGB) -> list[Part]:
        x, y = points[-1]
        return [coat(ribbon(points, start, 0.055), tone), coat(ellipse(x + 0.022, y - 0.002, 0.047, 0.028), tone)]

    parts = leg([(0.16, 0.32), (0.19, 0.16), (0.19, 0.03)], 0.10, far)
    parts += leg([(-0.15, 0.32), (-0.13, 0.20), (-0.18, 0.12), (-0.16, 0.03)], 0.14, far)
    parts.append(coat(ribbon([(-0.27, 0.43), (-0.38, 0.48), (-0.44, 0.58), (-0.43, 0.68)], 0.075, 0.03)))
    parts.append(
        coat(
            smooth(
                [(-0.31, 0.40), (-0.27, 0.475), (-0.16, 0.495), (0.0, 0.475), (0.12, 0.51), (0.20, 0.47), (0.235, 0.38),
                 (0.20, 0.285), (0.10, 0.25), (-0.04, 0.275), (-0.14, 0.285), (-0.25, 0.265), (-0.31, 0.32)]
            )
        )
    )  # fmt: skip
    parts += leg([(0.11, 0.34), (0.12, 0.16), (0.11, 0.03)], 0.12, colour)
    parts.append(coat(ellipse(-0.22, 0.335, 0.10, 0.125, 15)))
    parts += leg([(-0.23, 0.30), (-0.20, 0.19), (-0.265, 0.12), (-0.25, 0.03)], 0.13, colour)
    parts.append(
        coat(
            smooth([(0.10, 0.50), (0.17, 0.62), (0.25, 0.72), (0.33, 0.62), (0.28, 0.52), (0.235, 0.40), (0.15, 0.40)])
        )
    )
    parts.append(
        coat(smooth([(0.24, 0.44), (0.275, 0.52), (0.25, 0.54), (0.215, 0.42), (0.205, 0.33), (0.235, 0.36)]), light)
    )
    parts.append(
        coat(
            smooth(
                [(0.19, 0.66), (0.22, 0.735), (0.29, 0.76), (0.355, 0.725), (0.385, 0.675), (0.465, 0.655),
                 (0.485, 0.62), (0.46, 0.583), (0.37, 0.565), (0.29, 0.555), (0.21, 0.585)]
            )
        )
    )  # fmt: skip
    parts.append(coat(smooth([(0.37, 0.60), (0.43, 0.625), (0.478, 0.615), (0.455, 0.583), (0.39, 0.57)]), light))
    parts.append(Part(ribbon([(0.475, 0.598), (0.43, 0.592), (0.385, 0.605)], 0.007, 0.005), mix(dark, 0.0, 0.4)))
    parts.append(Part(ellipse(0.478, 0.643, 0.024, 0.019), (0.05, 0.05, 0.05), "ball", None, 0.7))
    eye = (0.345, 0.685)
    parts.append(Part(ellipse(*eye, 0.019, 0.019), (0.97, 0.95, 0.9) if sum(colour) < 0.6 else (0.25, 0.15, 0.1)))
    parts.append(Part(ellipse(*eye, 0.015, 0.015), (0.06, 0.04, 0.03)))
    parts.append(Part(ellipse(eye[0] + 0.005, eye[1] + 0.006, 0.005, 0.005), (1.0, 1.0, 1.0)))
    ear = smooth(
        [(0.225, 0.74), (0.265, 0.735), (0.285, 0.66), (0.255, 0.565), (0.205, 0.545), (0.175, 0.61), (0.19, 0.70)]
    )
    parts.append(Part(ear, dark, "soft", None))
    return parts
