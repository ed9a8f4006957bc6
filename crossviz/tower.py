"""An image tower run part by part, with every head's attention in the autograd graph.

`crossviz.trace.ImageTower` says what the parts are; here they are put together. The attention is Vaswani et al.,
"Attention Is All You Need" (2017), eq. 1, written out, so that what comes later has a gradient with respect to the
probabilities.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from crossviz.trace import ImageTower

__all__ = ["AttentionLayer", "TowerPass", "pool", "run_tower"]


@dataclass(frozen=True, eq=False)
class AttentionLayer:
    """One attention layer of a pass; every tensor is part of the graph that leads to the state."""

    label: str
    normed: Tensor  # batch token dim; what queries, keys and values are projected from
    queries: Tensor  # batch head query head_dim
    keys: Tensor  # batch head key head_dim
    values: Tensor  # batch head key head_dim
    scores: Tensor  # batch head query key; before softmax
    probs: Tensor  # batch head query key
    context: Tensor  # batch head query head_dim; probs @ values, before heads are switched off
    output: Tensor  # batch token dim after the block; batch dim after a pooler


@dataclass(frozen=True, eq=False)
class TowerPass:
    """Photos through an image tower."""

    inputs: Tensor  # what enters the first block; the last feature map of a convolutional tower
    beside: Any
    """What `ImageTower.embed` gave beside it."""
    layers: tuple[AttentionLayer, ...]
    """Bottom to top."""
    pooler: AttentionLayer | None
    features: Tensor | None  # batch channel gh gw
    state: Any


def run_tower(
    tower: ImageTower,
    pixels: Tensor | None,
    *,
    start: tuple[Tensor, Any] | None = None,
    head_mask: Tensor | None = None,
) -> TowerPass:
    """Run a tower; differentiable with respect to everything in the pass.

    Args:
        tower: from `Trace.image_tower`.
        pixels: `batch 3 height width`.
        start: what `tower.embed` gave for those pixels, to begin from there; `pixels` is not read then.
        head_mask: `batch layer head`, which heads add their context (1) and which don't (0); all of them if None.
            The pooler is none of these layers.
    """
    x, beside = tower.embed(pixels) if start is None else start
    inputs, layers = x, []
    for i, block in enumerate(tower.blocks):
        normed = block.norm(x)
        queries, keys, values = block.project(normed)
        scores = (queries @ keys.transpose(-2, -1)) * block.scale
        probs = torch.softmax(scores, dim=-1)
        context = probs @ values
        on = context if head_mask is None else context * head_mask[:, i, :, None, None]
        x = x + block.merge(on)
        x = x + block.mlp(x)
        layers.append(AttentionLayer(block.label, normed, queries, keys, values, scores, probs, context, x))
    features = None if tower.features is None else tower.features(x, beside)
    if tower.pooler is None:
        return TowerPass(inputs, beside, tuple(layers), None, features, tower.readout(x, beside, features))
    state, pooler = pool(tower, x, beside)
    return TowerPass(inputs, beside, tuple(layers), pooler, features, state)


def pool(tower: ImageTower, x: Tensor, beside: Any) -> tuple[Any, AttentionLayer]:
    """Tokens after any block through the tower's attention pooler: the state, and the pooler's attention."""
    pooler = tower.pooler
    normed = x if tower.final_norm is None else tower.final_norm(x)
    queries, keys, values = pooler.project(normed)
    scores = (queries @ keys.transpose(-2, -1)) * pooler.scale
    probs = torch.softmax(scores, dim=-1)
    context = probs @ values
    pooled = pooler.merge(context)
    layer = AttentionLayer(pooler.label, normed, queries, keys, values, scores, probs, context, pooled)
    return tower.readout(pooled, beside, None), layer
