"""Chefer's relevance in a model's own cross-modal layers, which `AttentionGraph` has (see crossviz/methods/chefer.py).

One sequence of text and image (ViLT; the paper's VisualBERT, section 3.1): R <- R + A-bar R over the layers (eq. 6).
Published is the row of the class token, which is the same for every word; here the map of a word is the mean over the
rows of its own tokens, at the patches' columns.

Text that looks at an image which is read before (BLIP, CoCa; the paper's encoder and decoder): in every layer first the
text's self-attention, R_ss <- R_ss + A-bar R_ss and R_si <- R_si + A-bar R_si (eqs. 6, 7), then the cross-attention,
R_si <- R_si + R-bar_ss^T A-bar R-bar_ii (eq. 10). R_ii is the identity, since the image tower is not read: relevance
ends at the patches as the tower hands them over. No patch looks at the text, so eq. 11 adds nothing.
"""

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from crossviz.methods.gradients import graph_gradients, unread_note
from crossviz.methods.relevance import accumulated, normalised, positive
from crossviz.trace import AttentionGraph
from crossviz.words import Phrase

__all__ = ["graph_maps", "graph_notes"]


def graph_maps(graph: AttentionGraph, phrases: Sequence[Phrase], chosen: Collection[int]) -> list[Tensor]:
    """The maps of the phrases, each `patch`, without gradient.

    Args:
        graph: with autograd on.
        phrases: of the caption.
        chosen: the layers whose attention to patches is read; the text's self-attention is read in all.
    """
    texts = graph.text_probs
    found = []
    for phrase, grads in zip(phrases, graph_gradients(graph, phrases, [*graph.probs, *texts]), strict=True):
        parts = [positive(grad, probs) for grad, probs in zip(grads, (*graph.probs, *texts), strict=True)]
        own, between = parts[: len(graph.probs)], parts[len(graph.probs) :]
        rows = list(graph.rows(phrase))
        if graph.joint:
            rest = accumulated([own[i] for i in chosen])  # token token
            found.append(graph.to_patches(rest[rows].mean(0)).detach())
        else:
            found.append(_crossed(graph, own, between, chosen)[rows].mean(0))
    return found


def _crossed(
    graph: AttentionGraph, own: Sequence[Tensor], between: Sequence[Tensor], chosen: Collection[int]
) -> Tensor:
    """R_si of a text that looks at an image: `token patch`."""
    count = len(own[0])
    rest = own[0].new_zeros(count, count)  # R_ss less its identity
    looked = torch.zeros_like(graph.to_patches(own[0])).detach()  # R_si
    for layer, part in enumerate(own):
        if between:
            text = between[layer]
            looked = looked + text @ looked
            rest = rest + text + text @ rest
        if layer in chosen:
            patches = graph.to_patches(part).detach()
            looked = looked + patches + normalised(rest).T @ patches
    return looked


def graph_notes(graph: AttentionGraph, chosen: Sequence[int], maps: Sequence[Tensor]) -> list[str]:
    """What the maps are carried through, and why they are zero where all are; for people.

    Args:
        graph: what was read.
        chosen: the layers whose attention to patches was read.
        maps: the maps that came of it, each `patch`.
    """
    if not graph.joint:
        return [
            "Relevance is carried through the text's own layers and ends at the patches as the image tower hands them "
            "over: which patches it mixed before is not read."
        ]
    through = "all layers" if len(chosen) == len(graph.layers) else "the chosen layers"
    notes = [f"Text and image are one sequence: relevance is carried from the word's tokens through {through}."]
    if maps and not any(found.any() for found in maps):
        notes.append(unread_note(graph.layers[chosen[-1]]))
    return notes
