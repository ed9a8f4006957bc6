"""A cross-attention whose numbers come from formulas: each word looks at a place of the grid that is known beforehand.

Features are sines and cosines of a place, so that two are alike where their places are near; W_Q and W_K pass them on.
"""

from types import SimpleNamespace

import factories
import torch
from torch import Tensor

from crossviz.attention import CrossModalAttention
from crossviz.geometry import PatchGrid
from crossviz.models.mini_cells import cells
from crossviz.trace import CrossAttention

__all__ = ["planted_attention", "planted_trace"]

DIM, HEADS, GAIN = 32, 4, 2.2


def features(x: Tensor, y: Tensor) -> Tensor:
    """Places (shares of the photo) to `... 32`."""
    waves = [1.0 + 0.5 * k for k in range(DIM // 4)]
    parts = [wave(place * k) for k in waves for place in (x, y) for wave in (torch.sin, torch.cos)]
    return torch.stack(parts, -1)


def planted_attention(*, null: bool = True) -> CrossModalAttention:
    """Four heads of 8; every weight is known and none is random."""
    attention = CrossModalAttention(DIM, num_heads=HEADS, null_key=null).eval()
    steps = torch.arange(DIM, dtype=torch.float32)
    with torch.no_grad():
        for projection, gain in ((attention.q_proj, GAIN), (attention.k_proj, GAIN), (attention.v_proj, 1.0)):
            projection.weight.copy_(gain * torch.eye(DIM))
            projection.bias.copy_(0.1 * torch.sin(steps))
        attention.out_proj.weight.copy_(torch.cos(steps[:, None] * steps / DIM) / 8)
        attention.out_proj.bias.zero_()
        if null:
            attention.null_key.copy_(0.3 * torch.cos(steps).reshape(HEADS, -1))
            attention.null_value.copy_(0.2 * torch.sin(steps).reshape(HEADS, -1))
            attention.null_bias.copy_(torch.tensor([0.5, 1.0, 1.5, 2.0]))
    return attention


def planted_trace(
    text: str, places: dict[str, tuple[float, float]], grid: PatchGrid, *, null: bool = True, kept: bool = True
) -> SimpleNamespace:
    """What `look_inside` reads of a trace: words of `places` look there, others at the middle.

    Args:
        kept: whether the attention that the maps are made of is that of the cells.
    """
    caption = factories.caption(text)
    rows, cols = torch.meshgrid(torch.arange(grid.height), torch.arange(grid.width), indexing="ij")
    patches = features((cols.flatten() + 0.5) / grid.width, (rows.flatten() + 0.5) / grid.height)
    wanted = [places.get(token.text, (0.5, 0.5)) for token in caption.tokens]
    tokens = features(*torch.tensor(wanted).T)
    attention = planted_attention(null=null)
    with torch.no_grad():
        out = attention(tokens[None], patches[None])
    probs = out.probs if kept else torch.full_like(out.probs, 1 / out.probs.shape[-1])
    cross = CrossAttention(out.scores, probs, ("cross-attention",), null, {}, ("Made of formulas, for the tests.",))
    return SimpleNamespace(
        image=SimpleNamespace(grid=grid, model_name="synthetic"),
        caption=caption,
        cells=lambda: cells(attention, "cross-attention", tokens, patches),
        cross_attention=lambda: cross,
    )
