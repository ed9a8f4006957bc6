"""What vilt-mini is trained by: hidden words, fitting or not, and where the words look."""

import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.training.vilt_model import Joint, ViltMini
from crossviz.training.vilt_samples import KEEP, Batch

__all__ = ["LOSSES", "even_loss", "losses", "place_loss"]

LOSSES = ("words", "match", "place", "even")


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


def losses(model: ViltMini, joint: Joint, batch: Batch) -> dict[str, Tensor]:
    """Each loss by itself: the mean over hidden tokens, over rows that are asked, over phrases (weighted)."""
    hidden = batch.labels != KEEP
    words = model.mlm_score(joint.text[hidden]).float()
    asked = ~batch.match.isnan()
    maps = (batch.phrase_tokens[:, None] @ joint.attention[batch.phrase_row])[:, 0]
    weights = batch.weights / batch.weights.sum().clamp(min=1)
    return {
        "words": F.cross_entropy(words, batch.labels[hidden]),
        "match": F.binary_cross_entropy_with_logits(joint.match[asked], batch.match[asked]),
        "place": (place_loss(maps, batch.covers) * weights).sum(),
        "even": (even_loss(maps, batch.covers) * weights).sum(),
    }
