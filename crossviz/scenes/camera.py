"""Where the viewer stands: rays through the pixels, and points of the scene in the picture."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Camera", "draw_camera"]


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera. `axes` are its directions right, down and forwards (rows); `focal` is in picture sides."""

    place: NDArray[np.float32]
    axes: NDArray[np.float32]
    focal: float

    def rays(self, side: int) -> NDArray[np.float32]:
        """Unit directions through the centres of a square picture's points: `3 side*side`, row by row."""
        at = (np.arange(side, dtype=np.float32) + 0.5) / side - 0.5
        right, down = np.meshgrid(at / self.focal, at / self.focal)
        ahead = np.stack([right.ravel(), down.ravel(), np.ones(side * side, np.float32)])
        return (self.axes.T @ (ahead / np.linalg.norm(ahead, axis=0))).astype(np.float32)

    def box(self, centre: NDArray, radius: float) -> tuple[float, float, float, float]:
        """A box `x0 y0 x1 y1`, in picture sides, that holds the ball of that centre and radius."""
        right, down, ahead = self.axes @ (centre - self.place)
        reach = self.focal * radius / max(ahead - radius, 0.1)
        x, y = self.focal * right / ahead + 0.5, self.focal * down / ahead + 0.5
        return x - reach, y - reach, x + reach, y + reach


def draw_camera(rng: np.random.Generator) -> Camera:
    """A camera that looks down on the floor a little, moved a little each time."""
    place = np.array([rng.uniform(-0.35, 0.35), -9.0 + rng.uniform(-0.3, 0.3), 4.0 + rng.uniform(-0.35, 0.35)])
    ahead = np.array([0.0, -0.25, 0.45]) - place
    ahead /= np.linalg.norm(ahead)
    right = np.cross(ahead, [0, 0, 1.0])
    right /= np.linalg.norm(right)
    return Camera(place.astype(np.float32), np.stack([right, np.cross(ahead, right), ahead]).astype(np.float32), 1.80)
