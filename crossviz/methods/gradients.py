"""What the gradient methods share: a tower that has attention, and the result that they hand back."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from crossviz.methods.base import MethodInfo, MethodResult, scatter
from crossviz.results import AttentionRecord, RelevanceMap
from crossviz.trace import ImageTower, Trace

__all__ = ["WHERE_NOT_WHETHER", "attention_tower", "relevance_result"]

WHERE_NOT_WHETHER = (
    "A gradient says where, not whether: its size is no evidence that the thing is there, and compares no words."
)


def attention_tower(trace: Trace, *, pooler: bool = False) -> ImageTower:
    """The image tower, which has blocks; or, with `pooler`, an attention pooler alone.

    Raises:
        UnsupportedMethodError: it can't be taken apart, or has no such attention.
    """
    tower = trace.image_tower()
    if not tower.blocks and not (pooler and tower.pooler is not None):
        raise trace.refusal("image_row" if pooler else "image_attention")
    return tower


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
