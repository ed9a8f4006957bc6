"""A layer of a model's attention as a family hands it over, and one cell taken out of it.

The vectors of a cell are computed in float64 from the inputs and weights of the layer; its scores, probs and output are
those that the model itself gave, so that a `Cell` can only be made where both agree.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from crossviz.cell import Cell, linear, unit_length
from crossviz.errors import SelectionError
from crossviz.site_parts import Projections

__all__ = ["CellSource", "CellSources", "Norm", "NullKey", "cut"]


class Norm(NamedTuple):
    """A LayerNorm."""

    weight: Tensor  # dim
    bias: Tensor  # dim
    eps: float


class NullKey(NamedTuple):
    """A learned key that stands for nothing in the photo; see `CrossModalAttention`."""

    key: Tensor  # head head_dim
    value: Tensor  # head head_dim
    bias: Tensor  # head; added to its score


@dataclass(frozen=True, eq=False)
class CellSource:
    """One layer of a model's attention, for one photo and caption, with the weights that it is made with.

    Keys are in the order of the record's, the null key left out. A key that is there in the record but that the model
    did not read has -inf in `mask`.
    """

    label: str
    query_kind: str
    key_kind: str
    stream: Tensor  # query dim; what the heads' output is added to; where nothing is added, `queries`
    queries: Tensor  # query query_dim; what W_Q is applied to
    keys: Tensor  # key key_dim; what W_K and W_V are applied to
    weights: Projections
    scores: Tensor  # head query key; the model's own, with the null key
    probs: Tensor  # head query key; the model's own
    mask: Tensor | None = None  # broadcasts to head query key; added to the scores
    null: NullKey | None = None
    entry: Norm | None = None
    """From `stream` to `queries`, where the layer normalises before its attention."""
    leaving: Norm | None = None
    """What follows the sum of `stream` and what the heads give; None where nothing is added."""
    output: Tensor | None = None  # query dim; the model's own after `leaving`, or after W_O where that is None
    unit: bool = False
    """Whether queries and keys are brought to length 1 after their projections."""
    valued: bool = True
    """Whether it has values; without them there is no context and no output."""
    queries_from: str = ""
    """Where queries and keys come from, as it reads in a sentence: "from the text tower"."""
    keys_from: str = ""
    others: tuple[str, ...] = ()
    """Names of the keys after the patches, the null key left out: "the image token"."""


@dataclass(frozen=True, eq=False)
class CellSources:
    """The layers of a model's cross-attention, each to be opened by its place."""

    layers: tuple[str, ...]
    """Labels, as `CrossAttention.layers`."""
    open: Callable[[int], CellSource]
    pooler: Callable[[], CellSource] | None = None
    """Where the layers' keys are the queries of a pooler: that pooler, whose keys are the patches."""


@torch.no_grad()
def cut(source: CellSource, query: int, head: int, key: int) -> Cell:
    """Take one cell out of a layer.

    Args:
        source: the layer.
        query, head, key: indices; the null key, where there is one, comes after the others.

    Raises:
        SelectionError: the model did not read that key.
        ResultError: the numbers, computed again, are not the model's own.
    """
    weights, num_heads = source.weights, source.weights.num_heads
    probs = source.probs[:, query].cpu().double()  # head key
    if torch.isneginf(source.scores[head, query, key]):
        raise SelectionError("The model does not look at that patch: it left it out, or hid it. Choose another one.")
    stream, queries, keys = (_wide(x) for x in (source.stream[query], source.queries[query], source.keys))

    def of_head(x: Tensor | None) -> Tensor | None:
        return None if x is None else _wide(x).unflatten(0, (num_heads, -1))[head]

    dim = queries.shape[0]
    query_weight = of_head(torch.eye(dim) if weights.query_weight is None else weights.query_weight)
    query_bias, key_weight, key_bias = (of_head(x) for x in (weights.query_bias, weights.key_weight, weights.key_bias))
    vector = unit_length(linear(queries, query_weight, query_bias), source.unit)
    vectors = unit_length(linear(keys, key_weight, key_bias), source.unit)  # key head_dim
    mask = torch.zeros(()) if source.mask is None else source.mask
    count = len(keys)
    offsets = mask.cpu().double().expand(num_heads, len(source.queries), count)[head, query]
    null = source.null
    if null is not None:
        vectors = torch.cat([vectors, _wide(null.key[head])[None]])
        offsets = torch.cat([offsets, _wide(null.bias[head])[None]])
    parts: dict[str, Tensor | None] = {}
    if source.valued:
        values = linear(keys, _wide(weights.value_weight), _wide(weights.value_bias))
        values = values.unflatten(-1, (num_heads, -1)).transpose(0, 1)  # head key head_dim
        if null is not None:
            values = torch.cat([values, _wide(null.value)[:, None]], 1)
        contexts = (probs[:, None] @ values)[:, 0]  # head head_dim
        out_weight = _wide(weights.out_weight)
        attended = linear(contexts.flatten(), out_weight, _wide(weights.out_bias))
        parts = {
            "value_weight": of_head(weights.value_weight), "value_bias": of_head(weights.value_bias),
            "values": values[head], "contexts": contexts, "out_weight": out_weight,
            "out_bias": _wide(weights.out_bias), "attended": attended, "output": _wide(source.output[query]),
            "summed": None if source.leaving is None else stream + attended,
        }  # fmt: skip
    entry, leaving = source.entry, source.leaving
    return Cell(
        layer=source.label, query_kind=source.query_kind, key_kind=source.key_kind, head=head, num_heads=num_heads,
        query=query, key=key, scale=float(weights.scale), unit=source.unit, has_null=null is not None, stream=stream,
        query_input=queries, query_weight=query_weight, query_bias=query_bias, query_vector=vector,
        key_input=keys[key] if key < count else None, key_weight=key_weight, key_bias=key_bias, key_vectors=vectors,
        offsets=offsets, scores=_wide(source.scores[head, query]), probs=probs[head],
        entry_weight=None if entry is None else entry.weight, entry_bias=None if entry is None else entry.bias,
        entry_eps=0.0 if entry is None else entry.eps, norm_weight=None if leaving is None else leaving.weight,
        norm_bias=None if leaving is None else leaving.bias, norm_eps=0.0 if leaving is None else leaving.eps, **parts,
    )  # fmt: skip


def _wide(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.detach().cpu().double()
