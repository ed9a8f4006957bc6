"""What a map is measured by."""

import numpy as np
import torch
from torch.nn.functional import interpolate

__all__ = ["auroc", "bootstrap", "box_mask", "iou_at", "mass_inside", "points_inside", "upsample"]

Box = tuple[float, float, float, float]


def upsample(grid: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Maps `n gh gw` on the photo's pixels, bilinear with half-pixel centres."""
    return interpolate(grid[:, None].float(), (height, width), mode="bilinear", align_corners=False)[:, 0]


def points_inside(heatmap: np.ndarray, boxes: tuple[Box, ...]) -> bool:
    """The pointing game: whether the centre of the highest pixel lies in one of the boxes."""
    y, x = np.unravel_index(int(np.argmax(heatmap)), heatmap.shape)
    return any(b[0] <= x + 0.5 <= b[2] and b[1] <= y + 0.5 <= b[3] for b in boxes)


def box_mask(boxes: tuple[Box, ...], height: int, width: int) -> np.ndarray:
    """The pixels whose centres lie in one of the boxes."""
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width)[None] + 0.5
    return np.logical_or.reduce([(b[0] <= x) & (x <= b[2]) & (b[1] <= y) & (y <= b[3]) for b in boxes])


def iou_at(heatmap: np.ndarray, region: np.ndarray, level: float = 0.3) -> float:
    """Intersection over union of the region with the map above `level` of its maximum."""
    shown = heatmap > level * heatmap.max()
    return float((shown & region).sum() / max((shown | region).sum(), 1))


def mass_inside(heatmap: np.ndarray, region: np.ndarray) -> float:
    """The share of the map's sum inside the region."""
    return float(heatmap[region].sum() / max(heatmap.sum(), 1e-12))


def auroc(absent: np.ndarray, present: np.ndarray) -> float:
    """How often a figure of an absent phrase is above that of a present one (ties count half)."""
    ordered = np.sort(present)
    below = np.searchsorted(ordered, absent, "left") + np.searchsorted(ordered, absent, "right")
    return float(below.mean() / 2 / len(present))


def bootstrap(values: np.ndarray, groups: np.ndarray, rounds: int = 1000, seed: int = 0) -> tuple[float, float]:
    """95 % interval of the mean, drawing whole photos (`groups`) with replacement."""
    _, group = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(group, values.astype(float)), np.bincount(group)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, len(sums), (rounds, len(sums)))
    means = sums[draws].sum(1) / sizes[draws].sum(1)
    return float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975))
