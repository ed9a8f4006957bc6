"""Gradient x attention: a model's own cross-modal attention, weighted by what more of it would do for the answer.

Li et al., "Align before Fuse" (ALBEF, NeurIPS 2021): the Grad-CAM of cross-attention maps with which they ground
phrases; Li et al., "BLIP" (2022) use it too. Per layer and head (A * dS/dA)+, of attention A and score S. What the
authors average over the heads of one layer is here the sum over the layers and heads that are chosen, each of which is
kept; `layers` gives the published choice (ALBEF: the third layer of its multimodal encoder).

Which rows of A are a word's depends on what S is:

- One score for the whole caption (image-text matching). Every word has the same S, and what tells them apart is the
  row: the mean over the rows of the word's own tokens, as published. S is read off the first token, so that in the last
  layer all other rows have a gradient of zero.
- A score for each word (a model that writes: the log-probability of the word, given the photo and the words before).
  Positions read from left to right, so no gradient reaches the word's own row: S is read off the row before it, and
  the layers below bring there what the rows of all earlier words saw. All rows have their part in S, and are summed;
  the rows that S does not reach have a gradient of zero.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from crossviz.methods.base import Layers, MethodInfo, MethodResult, read_phrases, select_layers
from crossviz.methods.gradients import WRITERS_BESIDE, graph_gradients, relevance_result, text_record, unread_note
from crossviz.trace import AttentionGraph, Trace
from crossviz.words import Phrase

__all__ = ["AttentionGradient"]


class AttentionGradient:
    """Attention times its gradient, in each layer and head by itself."""

    info = MethodInfo(
        name="attention_gradient",
        title="Gradient x attention",
        sentence="The model's own attention from text to photo, as far as more of it would raise the model's answer.",
        paper="Li et al., Align before Fuse, 2021",
        unit="gradient relevance",
        signed=False,
        text_dependent=True,
        requires=("attention_graph",),
        families="models whose own layers look from text to photo",
    )
    needs_grad = True

    @torch.enable_grad()
    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the record is the text's attention (of a model that writes, the rows that wrote each word)."""
        graph = trace.attention_graph()
        chosen = select_layers(layers, graph.layers)
        labels = [graph.layers[i] for i in chosen]
        indices, phrases = read_phrases(trace)
        own_score = "written_attention" in trace.provides
        grid = trace.image.grid
        maps = _maps(graph, phrases, chosen, own_score)  # layer head phrase patch
        per_head = maps.unflatten(-1, (grid.height, grid.width))
        notes = [f"The gradient is that of: {graph.sentence}"]
        if own_score:
            notes += [
                "The score is the word's own, so that the attention of all positions before it counts.",
                WRITERS_BESIDE,
            ]
        else:
            notes.append("The score is that of the whole caption; the attention is that of the word's own tokens.")
            if phrases and not maps[-1].any():
                notes.append(unread_note(labels[-1]))
        return relevance_result(
            trace,
            self.info,
            text_record(trace, labels),
            per_head.sum((0, 1)),
            indices,
            {"layers": labels, "match": graph.unit},
            notes,
            per_head=per_head,
            labels=labels,
        )


def _maps(graph: AttentionGraph, phrases: Sequence[Phrase], chosen: Sequence[int], own_score: bool) -> Tensor:
    """`layer head phrase patch`, without gradient."""
    probs = [graph.probs[i] for i in chosen]
    found = []
    for phrase, grads in zip(phrases, graph_gradients(graph, phrases, probs), strict=True):
        weighted = [(grad * part.detach()).clamp(min=0) for grad, part in zip(grads, probs, strict=True)]
        rows = [part.sum(1) if own_score else part[:, list(graph.rows(phrase))].mean(1) for part in weighted]
        found.append(torch.stack([graph.to_patches(row).detach() for row in rows]))  # layer head patch
    if not found:
        return torch.stack([graph.to_patches(part.detach()[:, :0]) for part in probs])
    return torch.stack(found, 2)
