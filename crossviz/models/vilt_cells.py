"""The text-to-image block of ViLT's attention, opened down to its single numbers.

ViLT normalises before its attention: x + Attention(LayerNorm(x)) W_O. Its keys are the whole sequence, in the order of
the record: the patches, the image token, the text tokens.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from crossviz.capture import capture
from crossviz.cell_source import CellSource, CellSources, Norm
from crossviz.models.vilt_attention import layer_sites
from crossviz.models.vilt_parts import ViltModule, layer_inputs
from crossviz.sites import projections

__all__ = ["cells"]


def cells(
    model: ViltModule, ids: Tensor, states: Tensor, kept: Tensor, patches: int, texts: Sequence[str]
) -> CellSources:
    """The layers of one caption and photo.

    Args:
        model: the model.
        ids: `1 token`.
        states: `Patches.states`, `1 1+kept dim`.
        kept: `Patches.kept`; the other patches are masked, since the model does not read them.
        patches: patches of the grid.
        texts: the text tokens.
    """
    named, count = layer_sites(model), ids.shape[1]
    labels = tuple(named)

    def patches_first(x: Tensor, dim: int, empty: float) -> Tensor:
        """What there is per key of the sequence, as what there is per key of the record."""
        text, image, read = x.split([count, 1, len(kept)], dim)
        shape = list(x.shape)
        shape[dim] = patches
        return torch.cat([x.new_full(shape, empty).index_copy(dim, kept, read), image, text], dim)

    @torch.no_grad()
    def layer(place: int) -> CellSource:
        label, block = labels[place], model.vilt.encoder.layer[place]
        keep = ("scores", "probs", "context", "query_tokens", "key_tokens")
        with capture({label: named[label]}, keep=keep) as captured:
            stream = layer_inputs(model, ids, states)[place]
        seen = captured[label]
        context = seen.context.transpose(1, 2).flatten(2)
        before, after, dense = block.layernorm_before, block.layernorm_after, block.attention.output.dense
        hidden = block.attention.output(context, stream) + stream  # by the model's own code
        mask = None
        if len(kept) < patches:
            mask = patches_first(seen.scores.new_zeros(1, 1, len(seen.key_tokens[0])), -1, -torch.inf)
        return CellSource(
            label=label,
            query_kind="text tokens",
            key_kind="image patches",
            stream=stream[0],
            queries=seen.query_tokens[0],
            keys=patches_first(seen.key_tokens[0], 0, 0.0),
            weights=replace(projections(named[label]), out_weight=dense.weight, out_bias=dense.bias),
            scores=patches_first(seen.scores[0], -1, -torch.inf),
            probs=patches_first(seen.probs[0], -1, 0.0),
            mask=mask,
            entry=Norm(before.weight, before.bias, before.eps),
            leaving=Norm(after.weight, after.bias, after.eps),
            output=block.layernorm_after(hidden)[0],
            queries_from="from the layers before" if place else "from the word embeddings",
            keys_from="from the layers before, normalised" if place else "from the patch embeddings, normalised",
            others=("the image token", *(f"the text token “{text.strip()}”" for text in texts)),
        )

    return CellSources(labels, layer)
