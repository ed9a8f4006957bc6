"""What vilt-mini is trained by: hidden words, fitting or not, and where the words look."""

from torch import Tensor
from torch.nn import functional as F

from crossviz.training.place import even_loss, place_loss
from crossviz.training.vilt_model import Joint, ViltMini
from crossviz.training.vilt_samples import KEEP, Batch

__all__ = ["LOSSES", "losses"]

LOSSES = ("words", "match", "place", "even")


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
