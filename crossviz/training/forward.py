"""One pass of the model under training over a batch of kept features."""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import normalize

from crossviz.attention import CrossModalAttention
from crossviz.models.mini_text import END_OF_TEXT, TextStates, text_states
from crossviz.training.batches import Batch

__all__ = ["Maps", "forward", "plain_attention", "run_texts"]

_SHORT = 10


class Maps(NamedTuple):
    """Maps of phrases and tokens, null column last, and the embeddings for the contrastive losses."""

    phrases: Tensor  # sample phrase patch+1
    heads: Tensor  # sample phrase head patch+1
    tokens: Tensor  # sample query patch+1
    found: Tensor  # sample phrase 256: what the phrase gathered from the picture
    image: Tensor  # sample 256
    texts: Tensor  # text 256


def plain_attention(device: torch.device) -> AbstractContextManager:
    """PyTorch's plain attention on the CPU, where it trains three times as fast as the fused one."""
    return sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext()


def run_texts(tower: nn.Module, ids: Tensor) -> TextStates:
    """`text_states`, short and long texts apart: less padding, same result."""
    lengths = (ids == END_OF_TEXT).int().argmax(1)
    tokens, pooled = None, None
    for group in (lengths < _SHORT, lengths >= _SHORT):
        if not group.any():
            continue
        part = text_states(tower, ids[group])
        if tokens is None:
            tokens = part.tokens.new_zeros(*ids.shape, part.tokens.shape[-1])
            pooled = part.pooled.new_zeros(len(ids), part.pooled.shape[-1])
        where = group.nonzero()[:, 0]
        filled = torch.nn.functional.pad(part.tokens, (0, 0, 0, ids.shape[1] - part.tokens.shape[1]))
        tokens = tokens.index_put((where,), filled.to(tokens.dtype))
        pooled = pooled.index_put((where,), part.pooled.to(pooled.dtype))
    return TextStates(tokens, pooled)


def forward(
    clip: nn.Module, attention: CrossModalAttention, features: tuple[Tensor, Tensor], batch: Batch, grid: int
) -> Maps:
    """Maps of every phrase of the batch."""
    states = run_texts(clip.text, batch.ids)
    visual, patches = clip.visual.trunk.head(*features, grid)
    out = attention(states.tokens.flatten(0, 1)[batch.tokens], patches)
    heads = torch.einsum("bpq,bhqk->bphk", batch.weights, out.probs.float())
    context = out.context.transpose(1, 2).flatten(2).float()  # sample query 256
    found = attention.out_proj(batch.weights @ context)
    return Maps(
        heads.mean(2),
        heads,
        out.probs.float().mean(1),
        normalize(found.float(), dim=-1),
        normalize(clip.visual.head(visual).float(), dim=-1),
        normalize(states.pooled.float(), dim=-1),
    )
