"""The cross-attention of BLIP's text layers, opened down to its single numbers.

As in BERT, the LayerNorm comes after the residual: LayerNorm(x + context W_O).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from crossviz.capture import capture
from crossviz.cell_source import CellSource, CellSources, Norm
from crossviz.sites import projections

__all__ = ["cells"]


def cells(text: nn.Module, labels: Sequence[str], read: Callable[[], Tensor]) -> CellSources:
    """The text layers of one caption and photo.

    Args:
        text: a BlipTextModel.
        labels: what its layers are called.
        read: runs the caption and the photo through it.
    """

    @torch.no_grad()
    def layer(place: int) -> CellSource:
        attention = text.encoder.layer[place].crossattention
        with capture(
            {labels[place]: attention.self}, keep=("scores", "probs", "context", "query_tokens", "key_tokens")
        ) as captured:
            read()
        seen = captured[labels[place]]
        context = seen.context.transpose(1, 2).flatten(2)
        dense, norm = attention.output.dense, attention.output.LayerNorm
        return CellSource(
            label=labels[place],
            query_kind="text tokens",
            key_kind="image patches",
            stream=seen.query_tokens[0],
            queries=seen.query_tokens[0],
            keys=seen.key_tokens[0].roll(-1, 0),  # the class token after the patches, as in the record
            weights=replace(projections(attention.self), out_weight=dense.weight, out_bias=dense.bias),
            scores=seen.scores[0].roll(-1, -1),
            probs=seen.probs[0].roll(-1, -1),
            leaving=Norm(norm.weight, norm.bias, norm.eps),
            output=attention.output(context, seen.query_tokens)[0],  # by the model's own code
            queries_from="from the text layers before",
            keys_from="from the image tower",
            others=("the image token",),
        )

    return CellSources(tuple(labels), layer)
