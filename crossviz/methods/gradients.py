"""What the gradient methods share: a tower or a graph that has attention, and the result that they hand back."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from crossviz.methods.base import MethodInfo, MethodResult, scatter
from crossviz.results import AttentionRecord, RelevanceMap
from crossviz.trace import AttentionGraph, ImageTower, Trace
from crossviz.words import Phrase

__all__ = [
    "WHERE_NOT_WHETHER",
    "WRITERS_BESIDE",
    "attention_tower",
    "graph_gradients",
    "relevance_result",
    "text_record",
    "unread_note",
]

WHERE_NOT_WHETHER = (
    "A gradient says where, not whether: its size is no evidence that the thing is there, and compares no words."
)

WRITERS_BESIDE = "The attention beside this map is that of the positions that wrote the words and had not seen them."
"""Where `text_record` gives those."""


def attention_tower(trace: Trace, *, pooler: bool = False) -> ImageTower:
    """The image tower, which has blocks; or, with `pooler`, an attention pooler alone.

    Raises:
        UnsupportedMethodError: it can't be taken apart, or has no such attention.
    """
    tower = trace.image_tower()
    if not tower.blocks and not (pooler and tower.pooler is not None):
        raise trace.refusal("image_row" if pooler else "image_attention")
    return tower


def graph_gradients(
    graph: AttentionGraph, phrases: Sequence[Phrase], inputs: Sequence[Tensor]
) -> Iterator[tuple[Tensor, ...]]:
    """For each phrase the gradient of its score with respect to every input; zeros for those that it does not reach."""
    if phrases:
        for score in graph.score(phrases):
            yield torch.autograd.grad(score, inputs, retain_graph=True, allow_unused=True, materialize_grads=True)


def unread_note(label: str) -> str:
    """Why the maps of the words are zero in the layer of this label, where the score is that of a whole caption."""
    return f"In {label} the score is read off another token: no word's row has a part in it."


def text_record(trace: Trace, labels: Sequence[str]) -> AttentionRecord | None:
    """The attention of the text's tokens in layers of these labels; None where the model shows no such layers.

    Of a model that writes, the rows that wrote the tokens: those are what a word's score is read off.
    """
    writes = "written_attention" in trace.provides
    if not writes and "cross_attention" not in trace.provides:
        return None
    with torch.no_grad():
        shown = trace.written_attention() if writes else trace.cross_attention()
    if not set(labels) <= set(shown.layers):
        return None
    chosen = [shown.layers.index(label) for label in labels]
    return AttentionRecord(
        shown.scores[chosen], shown.probs[chosen], tuple(labels), shown.query_kind, shown.key_kind, shown.has_null
    )


def relevance_result(
    trace: Trace,
    info: MethodInfo,
    record: AttentionRecord | None,
    found: Tensor,
    indices: Sequence[int],
    params: Mapping[str, Any],
    notes: Sequence[str],
    *,
    per_head: Tensor | None = None,
    labels: Sequence[str] = (),
) -> MethodResult:
    """The maps of the words that were read, as a method's result.

    Args:
        trace: what was explained.
        info: the method.
        record: the attention that it read.
        found: `phrase gh gw`, on the explanation's grid.
        indices: the word that each of them is of.
        params: of the map.
        notes: the method's own; what is true of all of them is added.
        per_head: `layer head phrase gh gw`, whose sum over layers and heads is `found`; None where there is none.
        labels: of those layers.
    """
    caption = trace.caption
    return MethodResult(
        record,
        RelevanceMap(
            values=scatter(found, indices, caption),
            unit=info.unit,
            signed=info.signed,
            method=info.name,
            params=params,
            direction="query: text, key: image",
            text_dependent=info.text_dependent,
            token_counts=caption.token_counts,
            reduce="sum",
            per_head=None if per_head is None else scatter(per_head, indices, caption),
            layers=tuple(labels),
            notes=(*notes, WHERE_NOT_WHETHER),
        ),
    )
