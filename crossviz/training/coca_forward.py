"""CoCa's own computation with every probability kept: what open_clip's modules do, from their weights.

The tests hold it against open_clip's `CoCa.forward`. Softmax is written out: on a CPU it trains faster than the fused
attention, and the maps need the probabilities anyway.
"""

from typing import NamedTuple

import torch
from open_clip import CoCa
from open_clip.transformer import MultimodalTransformer, ResidualAttentionBlock, TextTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.models.coca_mini import CocaTower

__all__ = ["Forward", "ImageSide", "attend", "compose", "decode", "forward", "image_side", "text_side", "writing_rows"]


class ImageSide(NamedTuple):
    """What the pooler gives of some photos."""

    latent: Tensor  # photo 256, not normalised
    tokens: Tensor  # photo 64 256
    probs: Tensor  # photo 64 576, mean over the pooler's heads; rows sum to 1


class Forward(NamedTuple):
    """What CoCa gives of some photos with as many texts each."""

    latent: Tensor  # text 256, not normalised
    states: Tensor  # photo, texts * position, width: the decoder's, after its last norm, before the vocabulary
    cross: Tensor  # photo, texts * position, query: mean over the decoder's layers and heads; rows sum to 1


def attend(attention: nn.MultiheadAttention, x: Tensor, y: Tensor | None = None, mask: Tensor | None = None) -> tuple:
    """A torch attention from `x` to `y` (to itself without one): output `batch query width`, probs per head."""
    width, heads = attention.embed_dim, attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    if y is None:
        q, k, v = F.linear(x, weight, bias).chunk(3, -1)
    else:
        q = F.linear(x, weight[:width], bias[:width])
        k, v = F.linear(y, weight[width:], bias[width:]).chunk(2, -1)
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    probs = scores.softmax(-1)
    return attention.out_proj((probs.to(v.dtype) @ v).transpose(1, 2).flatten(2)), probs


def image_side(tower: CocaTower, patches: Tensor) -> ImageSide:
    """Patches `photo 576 256` through the pooler."""
    pooler = tower.pooler
    q = pooler.ln_q(pooler.query).expand(len(patches), -1, -1)
    x, probs = attend(pooler.attn, q, pooler.ln_k(patches))
    x = tower.ln_post(x)
    return ImageSide(x[:, 0] @ tower.proj, x[:, 1:], probs.float().mean(1)[:, 1:])


def text_side(text: TextTransformer, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids `text length` to (latent `text 256`, states `text length 256`).

    Any padding of one pad or more gives what the full context gives: the class token keeps the last place of all,
    and open_clip's padding mask, shifted by one, lets it see exactly one pad.
    """
    count, length = ids.shape
    x = torch.cat([text.token_embedding(ids), text.cls_emb.expand(count, 1, -1)], 1)
    x = x + torch.cat([text.positional_embedding[:length], text.positional_embedding[-1:]])
    keep = torch.cat([ids.new_ones(count, 1, dtype=torch.bool), ids != text.pad_id], 1)
    mask = _causal(length + 1, ids.device) & keep[:, None, None]
    for layer in text.transformer.resblocks:
        x = _through(layer, x, mask=mask)[0]
    return text.ln_final(x[:, -1]) @ text.text_projection, x[:, :-1]


def decode(decoder: MultimodalTransformer, image: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Text states `text length width` with their photos' tokens `photo query width`; texts are in order of photos.

    Returns:
        States after the last norm, and the cross-attention's mean over layers and heads, as in `Forward`.
    """
    photos, (count, length, _) = len(image), x.shape
    mask, kept = _causal(length, x.device), []
    for own, cross in zip(decoder.resblocks, decoder.cross_attn, strict=True):
        x = _through(own, x.view(count, length, -1), mask=mask)[0]
        x, probs = _through(cross, x.reshape(photos, -1, x.shape[-1]), cross.ln_1_kv(image))
        kept.append(probs.float().mean(1))
    return decoder.ln_final(x), torch.stack(kept).mean(0)


def forward(module: CoCa, image: ImageSide, ids: Tensor) -> Forward:
    """Texts `photos * texts length`, as many for every photo and in the photos' order, with their photos."""
    latent, states = text_side(module.text, ids)
    return Forward(latent, *decode(module.text_decoder, image.tokens, states))


def compose(weights: Tensor, cross: Tensor, pool: Tensor) -> Tensor:
    """Maps of phrases on the patches: the mean of their tokens' rows, then query by query through the pooler.

    Args:
        weights: each position's part in a phrase, `photo phrase position`; a phrase's parts sum to 1.
        cross: `photo position query`, rows sum to 1.
        pool: `photo query patch`, rows sum to 1.

    Returns:
        `photo phrase patch`; rows sum to 1.
    """
    return (weights @ cross) @ pool


def writing_rows(weights: Tensor, length: int) -> Tensor:
    """The parts moved from the position that reads a token to the one before, which writes it.

    Args:
        weights: `photo phrase position`, the positions of several texts of `length` one after another; the first of
            each text (the start mark) is in no phrase.
    """
    return F.pad(weights.unflatten(-1, (-1, length))[..., 1:], (0, 1)).flatten(-2)


def _through(
    block: ResidualAttentionBlock, x: Tensor, y: Tensor | None = None, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    out, probs = attend(block.attn, block.ln_1(x), y, mask)
    x = x + block.ls_1(out)
    return x + block.ls_2(block.mlp(block.ln_2(x))), probs


def _causal(length: int, device: torch.device) -> Tensor:
    return torch.ones(length, length, dtype=torch.bool, device=device).tril()
