"""Null calibration: is a patch's value more than the same method gives to random words in the phrase's place?

A permutation test. The map of a word is held against the maps that the same method makes when `captions` random words
stand in its place, one at a time, in the same caption and for the same photo. Where the word is itself a random one,
every rank among them is as probable as any other, so that p-values are exact whatever the values are distributed like.
What is counted over patches (the share beyond, the highest patch) is counted for every one of the maps as if it were
the one in question, and has a p-value by its rank among theirs.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from crossviz.errors import ResultError
from crossviz.frozen import FrozenResult, own_tensor, set_fields
from crossviz.trust.plain import check_number, plain, row

__all__ = ["LEVEL", "Calibration", "calibrate"]

LEVEL = 0.05
_LARGEST_Z = 100.0


@dataclass(frozen=True, eq=False)
class Calibration(FrozenResult):
    """A map against those of random words in its place.

    Args:
        captions: how many captions with random words in its place there are.
        share_beyond: share of the patches whose one-sided p-value is below .05.
        expected: the mean of that share over this map and all of theirs, each held against the others: .05, or less,
            since ranks are whole and values may be tied.
        p_peak: family-wise: how probable it is that the map of random words has a patch as high as the highest of
            this one, anywhere.
        percentile: share of the random words that give a patch less, ties by half, 0 to 1: `gh gw`.
        z: how many standard deviations of the random words' values a patch lies above their mean: `gh gw`; 0 where
            they and it are one value, never beyond 100.
        p_share: how probable it is that the map of random words has as large a share of its patches beyond the others.

    Raises:
        ResultError: for a value out of its range.
    """

    _TENSORS = ("percentile", "z")

    captions: int
    share_beyond: float
    expected: float
    p_peak: float
    percentile: Tensor
    z: Tensor
    p_share: float = 1.0

    def __post_init__(self) -> None:
        percentile, z = own_tensor("percentile", self.percentile, "gh gw"), own_tensor("z", self.z, "gh gw")
        set_fields(self, percentile=percentile, z=z)
        check_number("captions", self.captions, 1)
        for name in ("share_beyond", "expected", "p_peak", "p_share"):
            check_number(name, getattr(self, name), 0, 1)
        if percentile.shape != z.shape or not torch.isfinite(z).all():
            raise ResultError("`percentile` and `z` must be finite and of one shape.")
        if not ((percentile >= 0) & (percentile <= 1)).all():
            raise ResultError("`percentile` must lie in 0 to 1.")

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON-able values, grids row by row."""
        return {
            "captions": self.captions,
            "patches": self.z.numel(),
            "share_beyond": plain(self.share_beyond),
            "expected": plain(self.expected),
            "p_peak": plain(self.p_peak),
            "p_share": plain(self.p_share),
            "percentile": row(self.percentile),
            "z": row(self.z),
        }


def calibrate(values: Tensor, null: Tensor) -> Calibration:
    """Hold a map `gh gw` against those of random words in its place, `caption gh gw`.

    p = (1 + number of captions that give at least as much) / (1 + number of captions).

    Raises:
        ResultError: there is no such caption, or the shapes differ.
    """
    if null.ndim != 3 or not len(null) or null.shape[1:] != values.shape:
        raise ResultError(f"`null` must be `caption` and then {tuple(values.shape)}, but is {tuple(null.shape)}.")
    values, null = values.double(), null.double()
    count = len(null)
    every = torch.cat([values[None], null])  # map gh gw; the first is the one in question
    shares = torch.stack([((every >= one).sum(0) < LEVEL * (1 + count)).double().mean() for one in every])
    peaks = every.amax((1, 2))
    below, ties = (null < values).sum(0), (null == values).sum(0)
    apart, spread = values - null.mean(0), null.std(0, correction=0)
    size = torch.maximum(null.abs().amax(0), values.abs()).clamp(min=1e-300)
    z = apart / torch.maximum(spread, 1e-9 * size)
    return Calibration(
        captions=count,
        share_beyond=float(shares[0]),
        expected=float(shares.mean()),
        p_peak=float((peaks >= peaks[0]).double().mean()),
        p_share=float((shares >= shares[0]).double().mean()),
        percentile=((below + 0.5 * ties) / count).float(),
        z=torch.where(apart.abs() <= 1e-9 * size, 0.0, z).clamp(-_LARGEST_Z, _LARGEST_Z).float(),
    )
