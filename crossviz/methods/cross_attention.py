"""Cross-attention: the probability that a word's tokens give to every patch, as the attention itself has it.

Vaswani et al., "Attention Is All You Need" (2017), eq. 1, with queries from the text and keys from the image. The
map of a word is the mean of its tokens' rows; nothing is renormalised, and what went to a null key is kept apart.
"""

from collections.abc import Sequence

import torch

from crossviz.methods.base import Layers, MethodInfo, MethodResult, select_layers, word_means
from crossviz.results import AttentionRecord, RelevanceMap
from crossviz.trace import CrossAttention, Trace

__all__ = ["CrossAttentionMap", "attention_result"]


class CrossAttentionMap:
    """The attention of text tokens over image patches, read as it is."""

    info = MethodInfo(
        name="cross_attention",
        title="Cross-attention",
        sentence="Where each word's tokens look in the photo: the attention probabilities themselves.",
        paper="Vaswani et al., Attention Is All You Need, 2017",
        unit="probability",
        signed=False,
        text_dependent=True,
        requires=("cross_attention",),
        families="models with a cross-attention",
    )
    needs_grad = False

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the record holds every token's row, the map every word's."""
        return attention_result(trace, self.info, trace.cross_attention(), layers)


def attention_result(
    trace: Trace, info: MethodInfo, found: CrossAttention, layers: Layers, *, notes: Sequence[str] = ()
) -> MethodResult:
    """Attention from the caption's tokens to patches as a method's result, word by word.

    Args:
        trace: what was explained.
        info: the method.
        found: one row per token of the caption.
        layers: as `Method`.
        notes: the method's own, after those of what was found.
    """
    chosen = select_layers(layers, found.layers)
    labels = tuple(found.layers[i] for i in chosen)
    scores, probs = found.scores[chosen], found.probs[chosen]  # layer head token key
    rows = torch.einsum("wt,lhtk->lhwk", word_means(trace.caption, probs), probs)  # layer head word key
    grid = trace.image.grid
    per_head = rows[..., : grid.num_patches].unflatten(-1, (grid.height, grid.width))  # layer head word gh gw
    record = AttentionRecord(scores, probs, labels, found.query_kind, found.key_kind, found.has_null)
    return MethodResult(
        record,
        RelevanceMap(
            values=per_head.mean((0, 1)),
            unit=info.unit,
            signed=info.signed,
            method=info.name,
            params={"layers": list(labels), **found.params},
            direction="query: text, key: image",
            text_dependent=info.text_dependent,
            token_counts=trace.caption.token_counts,
            reduce="mean",
            per_head=per_head,
            layers=labels,
            null_mass=rows[..., -1] if found.has_null else None,
            notes=(*found.notes, *notes),
        ),
        found.parts,
    )
