"""CLIP's constructed cross-attention, opened down to its single numbers; the family `open_clip` says how it is made.

It is scores and probabilities only: no values are weighted with them, and nothing comes out that the model would use.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from crossviz.cell_source import CellSource, CellSources
from crossviz.models.vit_tower import VitTower
from crossviz.sites import Projections
from crossviz.trace import CrossAttention

__all__ = ["clip_cells", "text_projection"]


def text_projection(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The text tower's own projection into the space that both modalities share: the construction's W_Q."""
    projection = getattr(module, "text", module).text_projection
    if projection is None:
        return lambda states: states
    if isinstance(projection, nn.Module):
        return projection
    return lambda states: states @ projection


def clip_cells(
    label: str, module: nn.Module, tower: VitTower, tokens: Tensor, last_input: Tensor, own: CrossAttention
) -> CellSources:
    """The one layer and head of a caption and a photo.

    Args:
        label: what the layer is called.
        module: open_clip's model.
        tower: its image tower in parts.
        tokens: the caption's last token states, `token width`.
        last_input: what enters the tower's last block, `token dim`.
        own: the attention, as the maps are made of it.
    """

    @torch.no_grad()
    def layer(_: int) -> CellSource:
        weight, bias = _affine(text_projection(module), tokens)
        return CellSource(
            label=label,
            query_kind=own.query_kind,
            key_kind=own.key_kind,
            stream=tokens,
            queries=tokens,
            keys=tower.dense_states(last_input),
            weights=Projections(
                1, float(own.params["temperature"]), weight, bias, tower.projection.T, tower.projection_bias,
                tower.projection.T, None, None, None,
            ),
            scores=own.scores[0],
            probs=own.probs[0],
            unit=True,
            valued=False,
            queries_from="from the text tower",
            keys_from="from the image tower’s last block, normalised",
        )  # fmt: skip

    return CellSources((label,), layer)


def _affine(project: Callable[[Tensor], Tensor], tokens: Tensor) -> tuple[Tensor, Tensor | None]:
    """A projection's weight (output first) and bias: read off what it does, whatever open_clip keeps it in."""
    zero = project(torch.zeros_like(tokens[:1]))[0]
    weight = (project(torch.eye(tokens.shape[1], dtype=tokens.dtype, device=tokens.device)) - zero).T
    return weight, zero if zero.any() else None
