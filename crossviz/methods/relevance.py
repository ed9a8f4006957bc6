"""The matrices of Chefer's relevance: A-bar, R accumulated over layers, R-bar (see crossviz/methods/chefer.py)."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["accumulated", "normalised", "positive"]


def positive(grad: Tensor, probs: Tensor) -> Tensor:
    """A-bar, the mean over heads of (grad * A)+: `head query key` to `query key`, without gradient (eq. 5)."""
    return (grad * probs.detach()).clamp(min=0).mean(0)


def accumulated(parts: Sequence[Tensor]) -> Tensor:
    """R of the A-bars of a tower, bottom to top, less its identity: `token token` (eq. 6).

    The identity is kept apart, since small entries beside a 1 would be lost.
    """
    rest = torch.zeros_like(parts[0])
    for part in parts:
        rest = rest + part + part @ rest
    return rest


def normalised(rest: Tensor) -> Tensor:
    """R-bar less its identity: every row of R - 1 made to sum to 1; a row of zeros stays (eqs. 8, 9)."""
    sums = rest.sum(-1, keepdim=True)
    return torch.where(sums > 0, rest / sums.clamp(min=torch.finfo(sums.dtype).tiny), 0.0)
