"""Lay out what the GPU program reads and writes, and start it."""

from functools import partial

import torch
import triton
from torch import Tensor

from crossviz.kernels.plain import Attended, NullKey
from crossviz.kernels.program import attend_tile
from crossviz.kernels.tiles import Tile, likeliest, power_of_two, tiles
from crossviz.kernels.tuning import chosen

__all__ = ["launch"]

_ROW_MULTIPLE = 4
"""Rows of scores and probs begin at multiples of this many numbers, so that a thread can write four at a time."""
_TUNED_FROM = 1 << 22
"""Probabilities from which on a call is worth tuning for; below it, the first of the tiles is taken."""


def launch(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    *,
    scale: float,
    key_mask: Tensor | None,
    attn_mask: Tensor | None,
    null: NullKey | None,
    need_scores: bool,
    probs_dtype: torch.dtype | None = None,
    tile: Tile | None = None,
) -> Attended:
    """`plain_attention` in one pass of the GPU; what is given and computed is the same, without dropout or gradients.

    Where the number of keys is no multiple of 4, scores and probs are views whose rows lie up to 3 numbers apart.

    Args:
        probs_dtype: of the probs; that of `q` if None.
        tile: how the work is cut; if None, the best of the tiles for large calls, which are timed once for each size
            rounded up to powers of two, and the likeliest for small ones and while a CUDA graph is captured.
    """
    batch, heads, queries, dim = q.shape
    keys = k.shape[2]
    q, k, v = (x if x.stride(-1) == 1 else x.contiguous() for x in (q, k, v))
    columns = keys + (null is not None)
    pitch = triton.cdiv(columns, _ROW_MULTIPLE) * _ROW_MULTIPLE
    padded = partial(torch.empty, (batch, heads, queries, pitch), device=q.device)
    probs = padded(dtype=probs_dtype or q.dtype)
    scores = padded(dtype=q.dtype) if need_scores else None
    # The next step joins the heads of each query: they already lie side by side.
    context = torch.empty((batch, queries, heads, dim), dtype=q.dtype, device=q.device).transpose(1, 2)
    if attn_mask is not None:
        # Steps of 0 where it is broadcast: nothing is copied.
        attn_mask = attn_mask.expand(batch, heads, queries, keys)
    kind = "none" if attn_mask is None else "bool" if attn_mask.dtype == torch.bool else "float"
    null_parts = [None] * 3 if null is None else [part.detach().contiguous() for part in null]

    def start(tile: Tile) -> None:
        limit = {} if tile.registers is None else {"maxnreg": tile.registers}
        attend_tile[(triton.cdiv(queries, tile.queries) * batch * heads,)](
            q,
            k,
            v,
            None if key_mask is None else key_mask.view(torch.uint8),
            attn_mask.view(torch.uint8) if kind == "bool" else attn_mask,
            *null_parts,
            scores,
            probs,
            context,
            *q.stride()[:3],
            *k.stride()[:3],
            *v.stride()[:3],
            *((0, 0) if key_mask is None else key_mask.stride()),
            *((0, 0, 0, 0) if attn_mask is None else attn_mask.stride()),
            *context.stride()[:3],
            heads,
            queries,
            keys,
            pitch // _ROW_MULTIPLE,
            scale,
            DIM=dim,
            BLOCK_D=power_of_two(dim),
            WRITE_SCORES=need_scores,
            NULL=null is not None,
            KEY_MASK=key_mask is not None,
            ATTN_MASK=kind,
            PRECISION=_precision(q.dtype),
            BLOCK_Q=tile.queries,
            BLOCK_K=tile.keys,
            WHOLE=tile.whole,
            num_warps=tile.warps,
            num_stages=tile.stages,
            **limit,
        )

    # Triton starts programs on the current device, whichever the tensors are on.
    with torch.cuda.device(q.device if q.is_cuda else -1):
        if tile is None:
            candidates = tiles(queries, keys, dim, q.element_size())
            tile = likeliest(candidates, queries, batch * heads)
            if probs.numel() >= _TUNED_FROM and not torch.cuda.is_current_stream_capturing():
                size = (power_of_two(queries), power_of_two(keys), dim, q.dtype, kind, key_mask is None, null is None)
                tile = chosen((*size, need_scores, q.device), candidates, start)
        start(tile)
    return Attended(
        None if scores is None else scores[..., :columns],
        probs[..., :columns],
        context,
    )


def _precision(dtype: torch.dtype) -> str:
    """How float32 goes through the matrix units: in three parts, which keeps it, unless torch may round it too."""
    if dtype != torch.float32:
        return "ieee"
    return "tf32" if torch.backends.cuda.matmul.fp32_precision == "tf32" else "tf32x3"
