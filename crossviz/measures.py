"""What a map is measured by: pure functions on arrays. A map is `H W`, a region the pixels that the phrase means."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["CUTS", "Box", "MapFigures", "MeasuredMap", "auroc", "best_iou", "box_mask", "iou_at", "pointing"]

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels; pixel (row i, column j) covers [j, j+1) x [i, i+1)."""

CUTS = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Cut-offs that are tried, as shares of a map's maximum."""


@dataclass(frozen=True)
class MapFigures:
    """One map against one region."""

    pointing: float
    """Share of the map's highest pixels that lie inside: 0 or 1 where one pixel is the highest."""
    tied: bool
    """Whether some of the highest pixels lie inside and others outside."""
    mass: float
    """Share of the map's sum inside, negative values left out."""
    ious: tuple[float, ...]
    """Intersection over union of the region and the map above each of CUTS."""


class MeasuredMap:
    """A map, with what does not depend on the region worked out once: one map may be held against many regions.

    Args:
        heatmap: finite, `H W`. Negative values cover nothing.
        seen: `H W`, the pixels that the model saw; the others point nowhere. All of them if None.
    """

    def __init__(self, heatmap: ArrayLike, seen: NDArray[np.bool_] | None = None) -> None:
        self._map = np.asarray(heatmap).ravel()
        if seen is not None and not seen.all():
            self._map = np.where(seen.ravel(), self._map, -np.inf)
        self._peak = self._map.max()
        self._peaks = np.flatnonzero(self._map == self._peak)
        # A map of one sign needs no copy.
        self._positive = self._map if self._map.min() >= 0 else np.maximum(self._map, 0)
        self._sum = float(self._positive.sum(dtype=np.float64))
        self._above = [self._count(self._map, cut) for cut in CUTS]

    def _count(self, values: NDArray, cut: float) -> int:
        """Pixels above a share of the maximum; none where nothing is positive."""
        return int(np.count_nonzero(values > cut * self._peak)) if self._peak > 0 else 0

    def pointing(self, target: NDArray[np.bool_]) -> float:
        """Share of the highest pixels that lie in `target`, `H W`."""
        return float(target.ravel()[self._peaks].mean())

    def figures(self, region: NDArray[np.bool_], target: NDArray[np.bool_] | None = None) -> MapFigures:
        """All figures.

        Args:
            region: what the map should cover, `H W`; at least one pixel.
            target: where it should point, `H W`; the region if None.
        """
        point = self.pointing(region if target is None else target)
        flat = region.ravel()
        mass = float(self._positive[flat].sum(dtype=np.float64)) / self._sum if self._sum > 0 else 0.0
        inside, size, ious = self._map[flat], int(np.count_nonzero(flat)), []
        for cut, above in zip(CUTS, self._above, strict=True):
            both = self._count(inside, cut)
            ious.append(both / max(above + size - both, 1))
        return MapFigures(point, 0 < point < 1, mass, tuple(ious))


def box_mask(boxes: Sequence[Box], height: int, width: int) -> NDArray[np.bool_]:
    """The pixels whose centres lie in one of the boxes, borders included: `H W`."""
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width)[None] + 0.5
    mask = np.zeros((height, width), bool)
    for left, top, right, bottom in boxes:
        mask |= ((top <= y) & (y <= bottom)) & ((left <= x) & (x <= right))
    return mask


def pointing(heatmap: ArrayLike, target: NDArray[np.bool_]) -> float:
    """The pointing game: the share of the map's highest pixels that lie in the target."""
    return MeasuredMap(heatmap).pointing(target)


def iou_at(heatmap: NDArray, region: NDArray[np.bool_], level: float = 0.3) -> float:
    """Intersection over union of the region with the map above `level` of its maximum."""
    shown = heatmap > level * heatmap.max()
    return float((shown & region).sum() / max((shown | region).sum(), 1))


def best_iou(heatmap: ArrayLike, region: NDArray[np.bool_]) -> tuple[float, float]:
    """The best intersection over union of the region with the map above any cut-off, and that cut-off.

    Only positive values cover anything. The cut-off is a share of the map's maximum: what is shown are the pixels of
    at least that value. (0.0, 1.0) for a map without a positive value.
    """
    values, inside = np.asarray(heatmap, np.float64).ravel(), region.ravel()
    order = np.argsort(-values, kind="stable")
    order = order[: np.count_nonzero(values > 0)]
    if not len(order):
        return 0.0, 1.0
    ordered = values[order]
    both = np.cumsum(inside[order])
    ious = both / (np.arange(1, len(order) + 1) + np.count_nonzero(inside) - both)
    last = np.append(ordered[1:] < ordered[:-1], True)  # pixels of one value are shown together
    best = int(np.argmax(np.where(last, ious, -1.0)))
    return float(ious[best]), float(ordered[best] / ordered[0])


def auroc(absent: NDArray, present: NDArray) -> float:
    """How often the figure of an absent phrase is above that of a present one (ties count half)."""
    ordered = np.sort(present)
    below = np.searchsorted(ordered, absent, "left") + np.searchsorted(ordered, absent, "right")
    return float(below.mean() / 2 / len(present))
