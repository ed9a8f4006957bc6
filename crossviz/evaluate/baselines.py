"""What guessing finds, without looking at the photo or without telling phrases apart.

A figure of a model means something only beside these: photographers put things in the middle, and a box that fills
the photo is hit by any map.
"""

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CAPTION",
    "CENTRE",
    "GAUSSIAN",
    "SIGMA",
    "UNIFORM",
    "centre_map",
    "gaussian_map",
    "prior_maps",
    "uniform_map",
]

SIGMA = 0.25
"""Standard deviation of the Gaussian, as a share of the photo's width and of its height."""
CAPTION = "map of the whole caption"
GAUSSIAN = f"Gaussian at the centre (sigma {SIGMA})"
UNIFORM = "uniform (chance)"
CENTRE = "image centre"


def gaussian_map(height: int, width: int) -> NDArray[np.float32]:
    """A Gaussian in the middle of the photo, 1 at its top: `H W`."""
    y = ((np.arange(height) + 0.5) / height - 0.5) / SIGMA
    x = ((np.arange(width) + 0.5) / width - 0.5) / SIGMA
    return np.exp(-(y[:, None] ** 2 + x[None] ** 2) / 2).astype(np.float32)


def uniform_map(height: int, width: int) -> NDArray[np.float32]:
    """The same everywhere: points into a region as often as the region's share of the photo. `H W`."""
    return np.ones((height, width), np.float32)


def centre_map(height: int, width: int) -> NDArray[np.float32]:
    """1 at the pixel in the middle, or at the two or four that meet there; 0 elsewhere: `H W`."""
    y, x = np.abs(np.arange(height) + 0.5 - height / 2) <= 0.5, np.abs(np.arange(width) + 0.5 - width / 2) <= 0.5
    return (y[:, None] & x[None]).astype(np.float32)


def prior_maps(height: int, width: int) -> dict[str, NDArray[np.float32]]:
    """The baselines that need nothing but the photo's size."""
    return {
        GAUSSIAN: gaussian_map(height, width),
        UNIFORM: uniform_map(height, width),
        CENTRE: centre_map(height, width),
    }
