"""95 % intervals by bootstrap over photos: what a figure would be on other photos of the same kind.

Photos, not phrases, are drawn with replacement, since the phrases of one photo are not independent.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossviz.measures import auroc

__all__ = ["Bootstrap", "Figure"]

ROUNDS = 1000
_CHUNK = 50  # rounds at a time, so that memory stays small for large sets


@dataclass(frozen=True)
class Figure:
    """A figure with the ends of its 95 % interval; these are NaN where the photos can't tell."""

    value: float
    low: float = float("nan")
    high: float = float("nan")


class Bootstrap:
    """How often each photo is drawn in each round; the same draws for every figure of a group.

    Args:
        photos: how many photos there are.
        seed: of the draws.
        rounds: how many draws of `photos` photos.
    """

    def __init__(self, photos: int, seed: int = 0, rounds: int = ROUNDS) -> None:
        self.photos = photos
        rng = np.random.default_rng(seed)
        self._counts = np.zeros((rounds, photos), np.uint16)
        for row in self._counts:
            row[:] = np.bincount(rng.integers(0, photos, photos), minlength=photos)

    def mean(self, values: NDArray, photo: NDArray[np.int_]) -> Figure:
        """The mean of `values`, the i-th of photo number `photo[i]`."""
        if not len(values):
            return Figure(float("nan"))
        sums = np.bincount(photo, np.asarray(values, float), self.photos)
        sizes = np.bincount(photo, minlength=self.photos).astype(float)
        means = [self._quotient(counts @ sums, counts @ sizes) for counts in self._rounds()]
        return Figure(float(np.mean(values, dtype=float)), *_ends(np.concatenate(means)))

    def auroc(
        self, absent: NDArray, absent_photo: NDArray[np.int_], present: NDArray, present_photo: NDArray[np.int_]
    ) -> Figure:
        """How often the figure of an absent phrase is above that of a present one (ties count half)."""
        if not len(absent) or not len(present):
            return Figure(float("nan"))
        order = np.argsort(present, kind="stable")
        ordered, owner = present[order], present_photo[order]
        low, high = np.searchsorted(ordered, absent, "left"), np.searchsorted(ordered, absent, "right")
        found = []
        for counts in self._rounds():
            for row in counts:
                below = np.concatenate(([0.0], np.cumsum(row[owner])))
                weight = row[absent_photo]
                pairs = np.array([(weight * (below[low] + below[high])).sum() / 2])
                found.append(self._quotient(pairs, np.array([weight.sum() * below[-1]])))
        return Figure(auroc(absent, present), *_ends(np.concatenate(found)))

    def _rounds(self) -> Iterator[NDArray[np.float64]]:
        for start in range(0, len(self._counts), _CHUNK):
            yield self._counts[start : start + _CHUNK].astype(float)

    @staticmethod
    def _quotient(above: NDArray, below: NDArray) -> NDArray:
        """NaN for a round that drew none of the photos that the figure is about."""
        return np.divide(above, below, out=np.full(np.shape(above), np.nan), where=below > 0)


def _ends(rounds: NDArray) -> tuple[float, float]:
    known = rounds[~np.isnan(rounds)]
    if not len(known):
        return float("nan"), float("nan")
    return float(np.quantile(known, 0.025)), float(np.quantile(known, 0.975))
