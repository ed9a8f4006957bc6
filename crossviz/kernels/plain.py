"""The formula in plain PyTorch: the CPU's only path, and what the GPU program must equal."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

__all__ = ["Attended", "NullKey", "masked_softmax", "plain_attention"]


class NullKey(NamedTuple):
    """One key, value and bias per head that stands for "nothing in the other sequence"."""

    key: Tensor
    """`head head_dim`."""
    value: Tensor
    """`head head_dim`."""
    bias: Tensor
    """`head`; added to the scaled score."""


class Attended(NamedTuple):
    """What attention computes for every head; with a null key there is one key more than were given, the last."""

    scores: Tensor | None
    """Scaled and masked, before softmax: `batch head query key`; None where they weren't asked for."""
    probs: Tensor
    """softmax(scores): `batch head query key`."""
    context: Tensor
    """probs @ values: `batch head query head_dim`."""


def plain_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    key_mask: Tensor | None = None,
    attn_mask: Tensor | None = None,
    null: NullKey | None = None,
    dropout: float = 0.0,
    need_scores: bool = True,
) -> Attended:
    """softmax(Q K^T scale) V, as Vaswani et al. (2017), eq. 1, with masks and a null key.

    Args:
        q: `batch head query head_dim`.
        k: `batch head key head_dim`.
        v: `batch head key head_dim`.
        scale: what Q K^T is multiplied by.
        key_mask: bool `batch key`, True where a key may be looked at.
        attn_mask: broadcasts to `batch head query key`; bool (True = may look) or float (added). The null key
            is never masked.
        null: the null key, if there is one.
        dropout: probability of dropping a probability on its way to the context.
        need_scores: whether the scores are handed back.
    """
    scores = (q @ k.transpose(-2, -1)) * scale  # batch head query key
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -math.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask.to(scores.dtype)
    if key_mask is not None:
        scores = scores.masked_fill(~key_mask[:, None, None], -math.inf)
    if null is not None:
        null_scores = (q * null.key[:, None]).sum(-1) * scale + null.bias[:, None]  # batch head query
        scores = torch.cat([scores, null_scores[..., None].to(scores.dtype)], dim=-1)
        null_value = null.value[None, :, None].expand(q.shape[0], -1, -1, -1).to(v.dtype)
        v = torch.cat([v, null_value], dim=-2)
    probs = masked_softmax(scores)
    weights = nn.functional.dropout(probs, dropout)
    return Attended(scores if need_scores else None, probs, weights @ v)


def masked_softmax(scores: Tensor) -> Tensor:
    """Softmax over the last axis; rows that are all -inf (nothing may be looked at) give 0, not NaN."""
    if scores.shape[-1] == 0:
        return scores
    blind = torch.isneginf(scores.amax(-1, keepdim=True))
    return torch.softmax(scores.masked_fill(blind, 0.0), dim=-1).masked_fill(blind, 0.0)
