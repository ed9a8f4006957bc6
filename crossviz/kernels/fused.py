"""The GPU program as a function that can be differentiated: forward in one pass, backward by computing again."""

from typing import Any

import torch
from torch import Tensor

from crossviz.kernels.launch import launch
from crossviz.kernels.plain import Attended, NullKey, plain_attention
from crossviz.kernels.tiles import Tile

__all__ = ["fused_attention"]


def fused_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    key_mask: Tensor | None = None,
    attn_mask: Tensor | None = None,
    null: NullKey | None = None,
    need_scores: bool = True,
    probs_dtype: torch.dtype | None = None,
    tile: Tile | None = None,
) -> Attended:
    """What `plain_attention` computes, in one pass that reads Q, K and V and writes scores, probs and context.

    Gradients are those of `plain_attention`, which the backward pass computes again from Q, K and V, so that no score
    is kept for it; second derivatives work too. In the graph the three results stand side by side: the context has no
    gradient with respect to the probs. Whoever needs that one takes the plain path.

    Args:
        q: `batch head query head_dim`, float32, float16 or bfloat16, on a CUDA device; none of the sizes 0.
        k: `batch head key head_dim`.
        v: `batch head key head_dim`.
        scale: what Q K^T is multiplied by.
        key_mask: bool `batch key`, True where a key may be looked at.
        attn_mask: broadcasts to `batch head query key`; bool (True = may look) or float (added). The null key
            is never masked.
        null: the null key, if there is one.
        need_scores: whether the scores are written too.
        probs_dtype: of the probs; that of `q` if None.
        tile: how the work is cut; chosen by size if None.
    """
    null_parts = (None, None, None) if null is None else null
    return Attended(*_Fused.apply(q, k, v, *null_parts, attn_mask, key_mask, scale, need_scores, probs_dtype, tile))


class _Fused(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        null_key: Tensor | None,
        null_value: Tensor | None,
        null_bias: Tensor | None,
        attn_mask: Tensor | None,
        key_mask: Tensor | None,
        scale: float,
        need_scores: bool,
        probs_dtype: torch.dtype | None,
        tile: Tile | None,
    ) -> Attended:
        null = None if null_key is None else NullKey(null_key, null_value, null_bias)
        ctx.save_for_backward(q, k, v, null_key, null_value, null_bias, attn_mask, key_mask)
        ctx.scale = scale
        ctx.set_materialize_grads(False)
        return tuple(
            launch(
                q,
                k,
                v,
                scale=scale,
                key_mask=key_mask,
                attn_mask=attn_mask,
                null=null,
                need_scores=need_scores,
                probs_dtype=probs_dtype,
                tile=tile,
            )
        )

    @staticmethod
    def backward(ctx: Any, *incoming: Tensor | None) -> tuple[Tensor | None, ...]:
        again = torch.is_grad_enabled()  # somebody wants the gradient's own gradient
        with torch.enable_grad():
            # Views: a graph that ends at them, and for second derivatives goes on to what was given.
            given = [None if x is None else x.view_as(x) for x in ctx.saved_tensors]
            q, k, v, null_key, null_value, null_bias, attn_mask, key_mask = given
            outcome = plain_attention(
                q,
                k,
                v,
                scale=ctx.scale,
                key_mask=key_mask,
                attn_mask=attn_mask,
                null=None if null_key is None else NullKey(null_key, null_value, null_bias),
            )
        wanted = [i for i, needed in enumerate(ctx.needs_input_grad[: len(given)]) if needed]
        pairs = [(y, dy.to(y.dtype)) for y, dy in zip(outcome, incoming, strict=True) if dy is not None]
        gradients: list[Tensor | None] = [None] * len(ctx.needs_input_grad)
        if wanted and pairs:
            found = torch.autograd.grad(
                [y for y, _ in pairs],
                [given[i] for i in wanted],
                [dy for _, dy in pairs],
                create_graph=again,
                allow_unused=True,
            )
            for i, gradient in zip(wanted, found, strict=True):
                gradients[i] = gradient
        return tuple(gradients)
