"""Attention where no gradient is wanted: every head's probabilities for little more than a pass that has none.

Softmax(Q K^T scale) V, as Vaswani et al. (2017), eq. 1. On a CPU one image is done after the other, in place, so that
its scores stay in the cache between the two products; on a GPU it is the one pass of `fused.py` where that can take
the call. Where only some rows are asked for, the context comes from PyTorch's fused attention and only these rows are
written beside it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.kernels.choice import why_not_fused
from crossviz.kernels.plain import plain_attention

__all__ = ["Kept", "attend"]

_WRITTEN = (torch.float32, torch.float16, torch.bfloat16)
"""What the GPU program writes probs in."""


class Kept(NamedTuple):
    """What was asked for, and the context, with which a model goes on."""

    scores: Tensor | None  # batch head row key
    probs: Tensor | None  # batch head row key
    context: Tensor  # batch head query head_dim; the heads of a query lie side by side


@torch.no_grad()
def attend(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    bias: Tensor | None = None,
    scores: bool = False,
    probs: bool = True,
    rows: slice | Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
) -> Kept:
    """Scores, probs and context, without a graph. Computed in float32, or wider where the inputs are.

    Args:
        q: `batch head query head_dim`.
        k: `batch head key head_dim`.
        v: `batch head key head_dim`.
        scale: what Q K^T is multiplied by.
        bias: broadcasts to `batch head query key`; added to the scores. It leaves every query a key.
        scores: whether the scores are handed back.
        probs: whether the probs are handed back.
        rows: of which queries; of all if None. Others are not written.
        dtype: of what is handed back; what it is computed in if None.
    """
    wide = torch.promote_types(v.dtype, torch.float32)
    dtype = dtype or wide
    if rows is not None or not (scores or probs):
        return _some_rows(q, k, v, scale, bias, scores, probs, slice(0) if rows is None else rows, dtype)
    # The program writes scores in the precision of q.
    if why_not_fused(q, k, v, bias) is None and dtype in _WRITTEN and not (scores and q.dtype != wide):
        from crossviz.kernels.fused import fused_attention  # needs Triton

        made = fused_attention(q, k, v, scale=scale, attn_mask=bias, need_scores=scores, probs_dtype=dtype)
        return Kept(made.scores.to(dtype) if scores else None, made.probs if probs else None, made.context)
    if q.device.type == "cpu" and q.numel() and k.numel():
        return _image_by_image(q, k, v, scale, bias, scores, probs, dtype)
    made = plain_attention(q.to(wide), k.to(wide), v.to(wide), scale=scale, attn_mask=bias)
    return Kept(made.scores.to(dtype) if scores else None, made.probs.to(dtype) if probs else None,
                made.context.to(v.dtype))  # fmt: skip


def _image_by_image(
    q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None, scores: bool, probs: bool, dtype: torch.dtype
) -> Kept:
    batch, heads, queries, _ = q.shape
    wide = torch.promote_types(v.dtype, torch.float32)
    shape = (batch, heads, queries, k.shape[2])
    all_scores = q.new_empty(shape, dtype=dtype) if scores else None
    all_probs = q.new_empty(shape, dtype=dtype) if probs else None
    # The next step joins the heads of each query: they already lie side by side.
    context = v.new_empty(batch, queries, heads, v.shape[3]).transpose(1, 2)
    room = None if probs and dtype == wide else q.new_empty(shape[1:], dtype=wide)
    bias = None if bias is None else bias.expand(shape)
    for i in range(batch):
        block = all_probs[i] if room is None else room
        before = all_scores[i] if scores and dtype == wide else block
        torch.baddbmm(before, q[i].to(wide), k[i].to(wide).transpose(1, 2), beta=0, alpha=scale, out=before)
        if bias is not None:
            before.add_(bias[i])
        if scores and before is block:
            all_scores[i].copy_(block)
        torch.softmax(before, -1, out=block)
        if probs and room is not None:
            all_probs[i].copy_(block)
        if v.dtype == wide:
            torch.bmm(block, v[i], out=context[i])
        else:
            context[i].copy_(torch.bmm(block, v[i].to(wide)))
    return Kept(all_scores, all_probs, context)


def _some_rows(
    q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None, scores: bool, probs: bool,
    rows: slice | Sequence[int], dtype: torch.dtype,
) -> Kept:  # fmt: skip
    mask = None if bias is None else bias.to(q.dtype)
    context = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    if not (scores or probs):
        return Kept(None, None, context)
    wide = torch.promote_types(v.dtype, torch.float32)
    found = (q[:, :, rows].to(wide) * scale) @ k.to(wide).transpose(-2, -1)  # batch head row key
    if bias is not None:
        found = found + bias.expand(*q.shape[:3], k.shape[2])[:, :, rows].to(wide)
    return Kept(found.to(dtype) if scores else None, found.softmax(-1).to(dtype) if probs else None, context)
