"""The cross-attention of `crossviz-mini`, opened down to its single numbers."""

import torch
from torch import Tensor

from crossviz.attention import CrossModalAttention
from crossviz.cell_source import CellSource, CellSources, Norm, NullKey
from crossviz.sites import Projections

__all__ = ["cells"]


def cells(attention: CrossModalAttention, label: str, tokens: Tensor, patches: Tensor) -> CellSources:
    """The one layer of a caption and a photo.

    Args:
        attention: the module.
        label: what the layer is called.
        tokens: the caption's token states, `token query_dim`.
        patches: the photo's, `patch key_dim`.
    """

    @torch.no_grad()
    def layer(_: int) -> CellSource:
        out = attention(tokens[None], patches[None])
        null = NullKey(attention.null_key, attention.null_value, attention.null_bias)
        return CellSource(
            label=label,
            query_kind="text tokens",
            key_kind="image patches",
            stream=tokens,
            queries=tokens,
            keys=patches,
            weights=_projections(attention),
            scores=out.scores[0],
            probs=out.probs[0],
            null=null if attention.has_null_key else None,
            leaving=Norm(attention.norm.weight, attention.norm.bias, attention.norm.eps),
            output=out.output[0],
            queries_from="from the text tower",
            keys_from="from the image tower",
        )

    return CellSources((label,), layer)


def _projections(attention: CrossModalAttention) -> Projections:
    q, k, v, out = attention.q_proj, attention.k_proj, attention.v_proj, attention.out_proj
    return Projections(
        attention.num_heads, attention.head_dim**-0.5, q.weight, q.bias, k.weight, k.bias, v.weight, v.bias,
        out.weight, out.bias,
    )  # fmt: skip
