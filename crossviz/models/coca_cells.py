"""CoCa's attention from words to patches, opened down to its single numbers: the decoder's, and the pooler's before it.

The decoder's blocks normalise before their attention: x + Attention(LayerNorm(x), LayerNorm(queries)) W_O. The pooler's
queries are learned, and nothing is added to what it gives.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from crossviz.capture import capture
from crossviz.cell_source import CellSource, CellSources, Norm
from crossviz.models.coca_attention import cross_sites, labels
from crossviz.models.coca_parts import CocaParts, PooledImage, patches_first, pooler_site
from crossviz.sites import Projections, projections
from crossviz.trace import EncodedImage

__all__ = ["cells"]


def cells(
    module: nn.Module, parts: CocaParts, encoded: EncodedImage, image: PooledImage, states: Tensor
) -> CellSources:
    """The decoder's layers of one caption and photo, and the image pooler.

    Args:
        module: open_clip's CoCa.
        parts: its parts.
        encoded: the photo, which keeps what the pooler is given.
        image: the photo after the image tower.
        states: the caption's tokens after the text tower, `token width`.
    """
    names, sites = labels(module), cross_sites(module)

    @torch.no_grad()
    def layer(place: int) -> CellSource:
        name, block = names[place], module.text_decoder.cross_attn[place]
        keep = ("scores", "probs", "output", "query_tokens", "key_tokens")
        with capture({name: sites[name]}, keep=keep) as captured:
            stream = _stream(module.text_decoder, image.tokens, states, place)
        seen = captured[name]
        return CellSource(
            label=name,
            query_kind="text tokens",
            key_kind="pooler queries",
            stream=stream,
            queries=seen.query_tokens[0],
            keys=seen.key_tokens[0],
            weights=_scaled(projections(block.attn), block.ls_1),
            scores=seen.scores[0],
            probs=seen.probs[0],
            entry=_norm(block.ln_1),
            leaving=_norm(block.ln_2),
            output=block.ln_2(stream + block.ls_1(seen.output[0])),
            queries_from="from the text tower" if place == 0 else "from the decoder’s blocks before",
            keys_from="from the pooler, normalised",
        )

    @torch.no_grad()
    def pooler() -> CellSource:
        found = module.visual.get_submodule(parts.pooler)
        seen = encoded.keep("pooler, opened", lambda: pooler_site(module, parts, encoded.features["pixels"]))
        skipped = parts.num_skipped
        return CellSource(
            label="pooler",
            query_kind="pooler queries",
            key_kind="image patches",
            stream=found.query[skipped:],
            queries=seen.query_tokens[0, skipped:],
            keys=patches_first(seen.key_tokens[0].T, parts).T,
            weights=projections(found.attn),
            scores=image.scores,
            probs=image.probs,
            entry=_norm(found.ln_q),
            output=seen.output[0, skipped:],
            queries_from="learned in training, the same for every photo",
            keys_from="from the image tower, normalised",
            others=("the class token",) * parts.num_prefix_tokens,
        )

    return CellSources(names, layer, pooler)


def _stream(decoder: nn.Module, seen: Tensor, states: Tensor, place: int) -> Tensor:
    """What enters the cross-attention of a block, `token width`; the blocks up to it are run."""
    x, seen = states[None], seen[None]
    if not decoder.batch_first:
        x, seen = x.transpose(0, 1), seen.transpose(0, 1)
    count = len(states)
    for own, cross in zip(decoder.resblocks[: place + 1], decoder.cross_attn[: place + 1], strict=True):
        before = own(x, attn_mask=decoder.attn_mask[:count, :count])
        x = cross(before, k_x=seen, v_x=seen)
    return before[0] if decoder.batch_first else before[:, 0]


def _scaled(weights: Projections, scale: nn.Module) -> Projections:
    """W_O with a block's layer scale in it."""
    if isinstance(scale, nn.Identity):
        return weights
    bias = None if weights.out_bias is None else weights.out_bias * scale.gamma
    return replace(weights, out_weight=weights.out_weight * scale.gamma[:, None], out_bias=bias)


def _norm(norm: nn.LayerNorm) -> Norm:
    return Norm(norm.weight, norm.bias, norm.eps)
