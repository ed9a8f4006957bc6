"""Where a phrase's map should lie: losses that hold it against the phrase's boxes."""

import torch
from torch import Tensor

__all__ = ["even_loss", "place_loss"]


def place_loss(attention: Tensor, covers: Tensor) -> Tensor:
    """-log of the share of a phrase's attention to patches that lies in its boxes: `phrase`.

    Args:
        attention: to every patch, mean over the phrase's tokens, `phrase patch`; need not sum to 1.
        covers: the share of each patch in the boxes, `phrase patch`.
    """
    inside = (attention * covers).sum(-1) / attention.sum(-1).clamp(min=1e-9)
    return -torch.log(inside.clamp(min=1e-6))


def even_loss(attention: Tensor, covers: Tensor) -> Tensor:
    """How far the map is from an even one over the phrase's boxes, as a Kullback-Leibler divergence: `phrase`.

    Without it maps shrink to a few patches: they point as well, and are useless as pictures. Shapes as in `place_loss`.
    """
    target = covers / covers.sum(-1, keepdim=True).clamp(min=1e-6)
    shown = attention / attention.sum(-1, keepdim=True).clamp(min=1e-9)
    return (target * (torch.log(target + 1e-6) - torch.log(shown + 1e-6))).sum(-1)
