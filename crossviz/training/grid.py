"""Boxes and masks as shares of the 24 x 24 patches (what of each patch the thing covers)."""

from pathlib import Path

import numpy as np
from PIL import Image

from crossviz.models.mini_tower import FINE_GRID

__all__ = ["box_cover", "boxes_cover", "mask_cover", "read_mask", "visible_share"]

Box = tuple[float, float, float, float]


def box_cover(box: Box, crop: Box, grid: int = FINE_GRID) -> np.ndarray:
    """The share of every patch of the view `crop` that `box` covers, `grid grid`, 0 to 1."""
    edges = np.arange(grid)
    shares = []
    for low, high in ((0, 2), (1, 3)):
        scale = grid / (crop[high] - crop[low])
        start, end = (box[low] - crop[low]) * scale, (box[high] - crop[low]) * scale
        shares.append(np.clip(np.minimum(end, edges + 1) - np.maximum(start, edges), 0, 1))
    return np.outer(shares[1], shares[0]).astype(np.float32)


def boxes_cover(boxes: tuple[Box, ...], crop: Box) -> np.ndarray:
    """The union of several boxes (exact where their edges don't share a patch)."""
    return np.maximum.reduce([box_cover(b, crop) for b in boxes])


def mask_cover(mask: np.ndarray, crop: Box) -> np.ndarray:
    """The share of every patch of the view `crop` that a boolean mask covers."""
    image = Image.fromarray(mask.astype(np.float32))
    return np.asarray(image.resize((FINE_GRID, FINE_GRID), Image.Resampling.BOX, box=crop), dtype=np.float32)


def visible_share(box: Box, crop: Box) -> float:
    """How much of the box the crop shows."""
    w = min(box[2], crop[2]) - max(box[0], crop[0])
    h = min(box[3], crop[3]) - max(box[1], crop[1])
    return max(w, 0.0) * max(h, 0.0) / max((box[2] - box[0]) * (box[3] - box[1]), 1e-6)


def read_mask(path: Path) -> np.ndarray:
    """An index mask."""
    return np.asarray(Image.open(path))
