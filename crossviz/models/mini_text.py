"""The text tower of `crossviz-mini`: open_clip's own TextTransformer, read token by token.

The tower is bidirectional with padding masked. open_clip 3.3 has no setting for that, but a tower with
`no_causal_mask` and `embed_cls` builds a padding mask; the mask is shifted by one place (open_clip keeps that for
CoCa's sake), so a word sees every token and exactly one pad, and a text must leave room for one pad.
"""

from typing import NamedTuple

import torch
from open_clip.transformer import TextTransformer
from torch import Tensor

__all__ = ["END_OF_TEXT", "TextStates", "text_states", "trim_padding"]

END_OF_TEXT = 49407


class TextStates(NamedTuple):
    """Token states (`batch token 256`, after the last LayerNorm) and the text's embedding (`batch 256`)."""

    tokens: Tensor
    pooled: Tensor


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
