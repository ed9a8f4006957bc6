"""What the maps are trained for. A map is `probs` averaged over heads and over a phrase's tokens, null column last."""

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy

__all__ = ["contrast", "head_targets", "inside_loss", "null_loss", "parts_loss", "seen_loss", "spread_loss"]

_TINY = 1e-6


def pooled_cover(cover: Tensor, patches: int) -> Tensor:
    """Targets `n 24 24` brought to a grid of `patches` patches, flattened."""
    step = round((cover.shape[-1] ** 2 / patches) ** 0.5)
    return (avg_pool2d(cover[:, None], step)[:, 0] if step > 1 else cover).flatten(1)


def inside_loss(maps: Tensor, cover: Tensor) -> Tensor:
    """-log of the mass inside the target: maps `n patch+1`, cover `n patch`."""
    return -torch.log((maps[:, :-1] * cover).sum(1) + _TINY)


def spread_loss(maps: Tensor, cover: Tensor) -> Tensor:
    """Cross-entropy of the map (null left out) to a uniform one inside the target, less its least value.

    Without it maps collapse to one to three patches: they point as well and are useless as pictures.
    """
    target = cover / cover.sum(1, keepdim=True).clamp(min=_TINY)
    visual = maps[:, :-1] / maps[:, :-1].sum(1, keepdim=True).clamp(min=_TINY)
    return (target * (torch.log(target + _TINY) - torch.log(visual + _TINY))).sum(1)


def head_targets(cover: Tensor, grid: int) -> Tensor:
    """What each of the four heads is for: upper half, lower half, core and rim of the thing.

    Args:
        cover: shares of the patches that the thing covers, `n grid*grid`.

    Returns:
        `n 4 grid*grid`, each summing to 1 (or to 0 where the cover is empty).
    """
    cover = cover.unflatten(1, (grid, grid))
    height = cover.sum(1, keepdim=True)
    upper = cover * (cover.cumsum(1) - cover / 2 < height / 2)
    core = cover
    for size in (3, 5, 9):
        core = core * avg_pool2d(cover[:, None], size, 1, size // 2)[:, 0]
    rim = cover * (1 - 0.8 * avg_pool2d(cover[:, None], 7, 1, 3)[:, 0])
    parts = torch.stack([upper, cover - upper, core, rim], 1).flatten(2)
    return parts / parts.sum(2, keepdim=True).clamp(min=_TINY)


def parts_loss(heads: Tensor, cover: Tensor) -> Tensor:
    """Cross-entropy of every head's map (null left out) to its part of the thing: heads `n 4 patch+1`, cover `n patch`.

    So that heads are no copies of each other and each can be described.
    """
    target = head_targets(cover, round(cover.shape[1] ** 0.5))
    visual = heads[..., :-1] / heads[..., :-1].sum(2, keepdim=True).clamp(min=_TINY)
    return (target * (torch.log(target + _TINY) - torch.log(visual + _TINY))).sum(2).mean(1)


def null_loss(null: Tensor) -> Tensor:
    """-log of the null mass, for what is not in the picture."""
    return -torch.log(null + _TINY)


def seen_loss(null: Tensor) -> Tensor:
    """-log of the visual mass, for what is somewhere in the picture."""
    return -torch.log(1 - null + _TINY)


def contrast(a: Tensor, b: Tensor, scale: Tensor) -> Tensor:
    """Symmetric InfoNCE between matching rows (CLIP's loss) of two sets of vectors of length 1."""
    logits = scale * a @ b.T
    match = torch.arange(len(a), device=a.device)
    return (cross_entropy(logits, match) + cross_entropy(logits.T, match)) / 2
