"""What the scene checker's maps are held against."""

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy, logsigmoid, smooth_l1_loss

from crossviz.scenes.checker_network import KINDS, Maps, pool
from crossviz.training.checker_batches import Batch

__all__ = ["losses"]


def losses(maps: Maps, batch: Batch) -> dict[str, Tensor]:
    """The parts of the loss, each a number; their sum is what is made small."""
    there, count = batch.there, batch.there.sum().clamp_min(1)
    parts = {"centre": _focal(maps.centres, batch.centres) / count}
    pooled = pool(maps.kinds, batch.masks)[there]
    sizes = [len(words) for words in KINDS.values()]
    alone = pool(torch.cat([part.log_softmax(1) for part in maps.kinds.split(sizes, 1)], 1), batch.masks)[there]
    for number, (name, logits, single) in enumerate(
        zip(KINDS, pooled.split(sizes, 1), alone.split(sizes, 1), strict=True)
    ):
        right = batch.kinds[there][:, number]
        # Every place is held to it as well, so that few pixels of a thing tell as much as many.
        parts[name] = cross_entropy(logits, right) - 0.3 * single.gather(1, right[:, None]).mean()
    parts["place"] = 2 * smooth_l1_loss(pool(maps.places, batch.masks)[there], batch.places[there], beta=0.1)
    shown = batch.masks.amax(1)
    parts["front"] = 4 * binary_cross_entropy_with_logits(maps.front, shown)
    areas = batch.masks.sum((2, 3), keepdim=True).clamp_min(1)
    weights = (batch.masks / areas).sum(1) / count  # every thing counts as much, small or large
    parts["offset"] = ((maps.offsets - batch.offsets).abs().sum(1) * weights).sum()
    parts["floor"], parts["mood"] = _stated(maps.floors, batch.floors), _stated(maps.moods, batch.moods)
    return parts


def _focal(logits: Tensor, target: Tensor) -> Tensor:
    """Lin et al. (2017) with less weight near centres, as Law and Deng (CornerNet, 2018) have it; a sum."""
    p = logits.sigmoid()
    hit = target == 1
    near = -((1 - p) ** 2) * logsigmoid(logits)
    far = -((1 - target) ** 4) * p**2 * logsigmoid(-logits)
    return torch.where(hit, near, far).sum()


def _stated(logits: Tensor, right: Tensor) -> Tensor:
    """Cross-entropy over the scenes whose caption says it; 0 if none does."""
    stated = right >= 0
    return 0.3 * cross_entropy(logits[stated], right[stated]) if stated.any() else logits.sum() * 0
