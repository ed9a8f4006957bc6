"""The text tower of `crossviz-mini`: open_clip's own TextTransformer, read token by token.

The tower is bidirectional with padding masked. open_clip 3.3 has no setting for that, but a tower with
`no_causal_mask` and `embed_cls` builds a padding mask; the mask is shifted by one place (open_clip keeps that for
CoCa's sake), so a word sees every token and exactly one pad, and a text must leave room for one pad.
"""

from typing import NamedTuple

import torch
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from crossviz.models.blocks import tower_block

__all__ = ["END_OF_TEXT", "TextAttention", "TextStates", "text_attention", "text_states", "trim_padding"]

END_OF_TEXT = 49407


class TextStates(NamedTuple):
    """Token states (`batch token 256`, after the last LayerNorm) and the text's embedding (`batch 256`)."""

    tokens: Tensor
    pooled: Tensor


class TextAttention(NamedTuple):
    """One text in the autograd graph: token states `token 256`, and each layer's probs, which lead to them."""

    tokens: Tensor
    probs: tuple[Tensor, ...]  # each head token token, bottom to top


def trim_padding(ids: Tensor) -> Tensor:
    """Cut padding that no text of the batch needs, down to one pad after the longest."""
    longest = int((ids == END_OF_TEXT).int().argmax(1).max()) + 1 if len(ids) else 0
    return ids[:, : longest + 1]


def text_states(tower: TextTransformer, ids: Tensor) -> TextStates:
    """Run the tower on token ids (`batch length`, open_clip's tokenizer); any padding of one pad or more will do.

    `pooled` equals `tower(ids)` on ids padded to the full context length.
    """
    ids = trim_padding(ids)
    batch, length = ids.shape
    x = torch.cat([tower.token_embedding(ids), tower.cls_emb.expand(batch, 1, -1)], 1)
    x = x + torch.cat([tower.positional_embedding[:length], tower.positional_embedding[-1:]])
    keep = torch.cat([ids.new_ones(batch, 1, dtype=torch.bool), ids != tower.pad_id], 1)
    mask = torch.zeros(batch, 1, length + 1, dtype=x.dtype, device=x.device)
    mask.masked_fill_(~keep[:, None], float("-inf"))
    mask = mask.expand(-1, length + 1, -1).repeat_interleave(tower.heads, 0)
    x = tower.ln_final(tower.transformer(x, attn_mask=mask))
    return TextStates(x[:, :-1], x[:, -1] @ tower.text_projection)


def text_attention(tower: TextTransformer, ids: Tensor, count: int) -> TextAttention:
    """The tower's `count` tokens of one text (`1 length`), block by block, with a gradient for every attention.

    The tokens also see the pad after them. It is no token of the caption, so it has no row and no column in the
    probs; what it is given is what a row lacks to 1. No token sees the class token, and it is left out.
    """
    x = tower.token_embedding(ids[:, : count + 1]) + tower.positional_embedding[: count + 1]
    x = x.detach().requires_grad_(True)  # a graph also where no weight asks for one
    kept = []
    for i, layer in enumerate(tower.transformer.resblocks):
        mlp = nn.Sequential(layer.ln_2, layer.mlp, layer.ls_2)
        block = tower_block(f"block {i + 1}", layer.ln_1, layer.attn, layer.ls_1, mlp)
        queries, keys, values = block.project(block.norm(x))
        probs = torch.softmax((queries @ keys.transpose(-2, -1)) * block.scale, dim=-1)
        own = probs[0, :, :count, :count]
        kept.append(own)
        # The caption's part is put back, so that it lies on the way to the states and has a gradient.
        rows = torch.cat([own, probs[0, :, :count, count:]], -1)
        probs = torch.cat([rows, probs[0, :, count:]], -2)
        x = x + block.merge(probs[None] @ values)
        x = x + block.mlp(x)
    return TextAttention(tower.ln_final(x)[0, :count], tuple(kept))
