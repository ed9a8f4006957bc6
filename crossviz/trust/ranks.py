"""Rank correlation of maps."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["ranks", "spearman", "top_share"]


def ranks(values: Tensor) -> NDArray[np.float64]:
    """The rank of every value, from 0; equal values share the mean of their ranks."""
    flat = values.detach().cpu().double().flatten().numpy()
    _, place, counts = np.unique(flat, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[place.ravel()]


def spearman(one: Tensor, other: Tensor) -> float:
    """Spearman's rank correlation of two maps of one shape, -1 to 1; 0 where one is the same everywhere."""
    a, b = ranks(one), ranks(other)
    a, b = a - a.mean(), b - b.mean()
    length = float(np.sqrt((a @ a) * (b @ b)))
    return float(np.clip(a @ b / length, -1.0, 1.0)) if length > 0 else 0.0


def top_share(values: Tensor, share: float) -> Tensor:
    """Which patches are among the highest `share` of a map, 1 or 0; where the last of them are tied, a part of 1 each.

    The sum is the number of patches in the share, at least one.
    """
    flat = values.flatten().double()
    count = max(1, round(share * flat.numel()))
    last = flat.sort(descending=True).values[count - 1]
    above, tied = flat > last, flat == last
    chosen = above.double() + tied.double() * ((count - above.sum()) / tied.sum())
    return chosen.view_as(values).to(torch.float32)
