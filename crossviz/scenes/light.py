"""The light of a scene: the sun's direction and colour, and the sky."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Light", "draw_light"]

# Of each mood: the sun's height in degrees (from, to), its colour, the sky at the horizon and above, and its own light.
_MOODS = {
    "day": ((42, 62), (1.30, 1.24, 1.12), (0.62, 0.76, 0.90), (0.18, 0.42, 0.80), 0.42),
    "sunset": ((24, 36), (1.60, 1.05, 0.62), (0.95, 0.45, 0.16), (0.30, 0.16, 0.36), 0.40),
    "night": ((38, 58), (0.62, 0.72, 1.02), (0.06, 0.08, 0.20), (0.008, 0.012, 0.05), 0.34),
}


@dataclass(frozen=True, eq=False)
class Light:
    """`towards` points to the sun; colours are linear; `ambient` is the light from all around."""

    towards: NDArray[np.float32]
    sun: NDArray[np.float32]
    horizon: NDArray[np.float32]
    zenith: NDArray[np.float32]
    ambient: NDArray[np.float32]

    def sky(self, up: NDArray[np.float32]) -> NDArray[np.float32]:
        """The sky's colour, `3 points`, in directions whose upright part is `up`."""
        share = np.clip(up * 2.6, 0, 1) ** 0.7
        return self.horizon[:, None] * (1 - share) + self.zenith[:, None] * share


def draw_light(mood: str, rng: np.random.Generator) -> Light:
    """A light of that mood from anywhere before the things."""
    (low, high), sun, horizon, zenith, strength = _MOODS[mood]
    height, side = np.radians(rng.uniform(low, high)), np.radians(rng.choice([-1, 1]) * rng.uniform(20, 75))
    towards = np.array([np.sin(side) * np.cos(height), -np.cos(side) * np.cos(height), np.sin(height)], np.float32)
    shade = np.exp(rng.normal(0, 0.06, 3)).astype(np.float32)
    return Light(
        towards,
        np.array(sun, np.float32) * float(rng.uniform(0.9, 1.1)),
        np.array(horizon, np.float32) * shade,
        np.array(zenith, np.float32) * shade,
        np.array([1.0, 1.0, 1.08], np.float32) * strength,
    )
