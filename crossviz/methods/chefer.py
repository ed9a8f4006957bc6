"""Chefer's relevance: attention weighted by its own gradient, carried through the layers and from patches to words.

Chefer, Gur, Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers"
(ICCV 2021). Every attention A becomes A-bar = mean over heads of (grad A * A)+ (eq. 5), with the gradient of the match
of one word. Self-attention: R starts as the identity, R <- R + A-bar R (eq. 6). Attention from one sequence to
another: R_sq <- R_sq + R-bar_ss^T A-bar R-bar_qq (eq. 10), where R-bar is R without its identity, every row made to sum
to 1, and the identity again (eqs. 8, 9).

What is read, by model:

- a class token or an average of patches (CLIP): R of the image tower; the map is the class token's row, or the mean of
  the patches' rows, of R less the identity (which a class token's row does not hold for any patch).
- an attention pooler (SigLIP): the pooler's query as a sequence of one token, so the map is A-bar_pooler R-bar_image.
- a cross-attention (`crossviz-mini`): text queries image, with R_text and R_image of the two towers; the map is the
  mean of R_text,image over the rows of the word's tokens. No patch looks at a word, so eq. 11 adds nothing.
- cross-modal layers of the model's own (ViLT, BLIP, CoCa): see crossviz/methods/chefer_graph.py.

By its paper it reads all layers (the published CLIP notebook: `layers=1`). `layers` chooses blocks of the image tower;
its pooler, text layers and cross-attention are always read. Deviations:

- Rows of R without any relevance stay zero in R-bar (the published code divides by zero).
- CLIP's match is the cosine, not 100 times it, so that paths through several layers weigh less.
- The image tower's grid may be coarser than the cross-attention's (12 x 12 and 24 x 24). R-bar of the finer grid is
  the identity of the fine patches, plus for every pair of fine patches the normalised entry of their coarse patches
  divided by the cells of a coarse patch: rows still sum to 1, and a patch's own part stays its own. What lies between
  the grids (convolutions of the tower) is passed over, as the paper passes over MLPs.
- Relevance that goes to prefix tokens or to the null key is no patch's, and is left out after normalising.
- Probabilities of a row sum to 1, so their gradient is told only up to a constant in each row. With a null key its
  gradient is made 0: the gradient says what a patch gains on "nothing in this picture". Without this the relevance of
  a match that is written with the null key alone would be zero everywhere.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from crossviz.geometry import PatchGrid
from crossviz.methods.base import (
    Layers,
    MethodInfo,
    MethodResult,
    image_record,
    image_row,
    patch_cells,
    read_phrases,
    select_layers,
    to_grid,
    tower_labels,
    tracked_pass,
)
from crossviz.methods.chefer_graph import graph_maps, graph_notes
from crossviz.methods.gradients import WRITERS_BESIDE, attention_tower, relevance_result, text_record
from crossviz.methods.relevance import accumulated, normalised, positive
from crossviz.results import AttentionRecord
from crossviz.tower import AttentionLayer, TowerPass
from crossviz.trace import CrossPass, ImageTower, Trace

__all__ = ["Chefer", "mixed"]


class Chefer:
    """Gradient-weighted attention carried through all layers, as its paper has it."""

    info = MethodInfo(
        name="chefer",
        title="Chefer relevance",
        sentence="Which patches reach the answer through attention that makes photo and word match better.",
        paper="Chefer et al., Generic Attention-model Explainability, 2021",
        unit="gradient relevance",
        signed=False,
        text_dependent=True,
        requires=("match", "image_tower", "image_attention"),
        families="vision transformers, and models whose text looks at the photo in layers with a gradient",
        or_requires=("attention_graph",),
    )
    needs_grad = True

    @torch.enable_grad()
    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the record is the text's attention where there is one, else the image tower's row."""
        if "attention_graph" in trace.provides and any(need not in trace.provides for need in self.info.requires):
            return self._in_graph(trace, layers)
        if "image_tower" not in trace.provides and trace.image.embedding is None:
            # Photo and text are read only together: there is no tower that could be read in the graph's place.
            raise trace.refusal("attention_graph")
        tower, match = attention_tower(trace), trace.match()
        every = tower_labels(tower)
        chosen = select_layers(layers, every, range(len(tower.blocks)))
        labels = [every[i] for i in chosen]
        indices, phrases = read_phrases(trace)
        passed = tracked_pass(trace)
        read = [passed.layers[i] for i in chosen]
        params = {"layers": labels, "match": match.unit}
        notes = [f"The gradient is that of the match: {match.sentence}"]
        if "cross_pass" in trace.provides:
            cross = trace.cross_pass(passed.state)
            scores = cross.score(phrases)[0]
            tokens = [trace.caption.words[index].tokens for index in indices]
            maps = [
                _through_cross(score, cross, places, tower, read, trace.image.grid)
                for score, places in zip(scores, tokens, strict=True)
            ]
            shown = trace.cross_attention()
            record = AttentionRecord(
                shown.scores, shown.probs, shown.layers, "text tokens", "image patches", shown.has_null
            )
            params |= {"cross_layers": list(cross.layers), "text_layers": len(cross.text_probs)}
            notes.append(
                "The image tower mixes patches, so relevance spreads from those that the words look at to those that "
                "they were made of."
            )
        else:
            scores = match.score(passed.state, phrases)[0]
            maps = [to_grid(_in_tower(score, tower, passed, read), trace.image.grid, share=False) for score in scores]
            record = image_record(passed, labels, tower)
        grid = trace.image.grid
        found = torch.stack(maps) if maps else passed.inputs.new_zeros(0, grid.height, grid.width)
        return relevance_result(trace, self.info, record, found, indices, params, notes)

    def _in_graph(self, trace: Trace, layers: Layers) -> MethodResult:
        """The maps of a model that reads text and photo in layers of its own."""
        graph, grid = trace.attention_graph(), trace.image.grid
        chosen = select_layers(layers, graph.layers)
        labels = [graph.layers[i] for i in chosen]
        indices, phrases = read_phrases(trace)
        maps = graph_maps(graph, phrases, chosen)
        found = torch.stack(maps) if maps else graph.probs[0].new_zeros(0, grid.num_patches)
        beside = [WRITERS_BESIDE] if "written_attention" in trace.provides else []
        return relevance_result(
            trace,
            self.info,
            text_record(trace, labels),
            found.unflatten(-1, (grid.height, grid.width)),
            indices,
            {"layers": labels, "match": graph.unit, "text_layers": len(graph.text_probs)},
            [f"The gradient is that of: {graph.sentence}", *graph_notes(graph, chosen, maps), *beside],
        )


def _in_tower(score: Tensor, tower: ImageTower, passed: TowerPass, read: Sequence[AttentionLayer]) -> Tensor:
    """The map of one word on the tower's grid, `gh gw`, where the match reads what the tower pools."""
    pooler = [] if passed.pooler is None else [passed.pooler]
    probs = [layer.probs for layer in (*read, *pooler)]
    grads = torch.autograd.grad(score, probs, retain_graph=True)
    parts = [positive(grad[0], part[0]) for grad, part in zip(grads, probs, strict=True)]
    rest = accumulated(parts[: len(read)])
    if not pooler:
        return patch_cells(image_row(rest, tower), tower)
    looked = parts[-1]  # 1 token
    return patch_cells((looked + looked @ normalised(rest))[0], tower)


def _through_cross(
    score: Tensor,
    cross: CrossPass,
    tokens: Sequence[int],
    tower: ImageTower,
    read: Sequence[AttentionLayer],
    fine: PatchGrid,
) -> Tensor:
    """The map of one word on the cross-attention's grid, `gh gw`."""
    own, text = [layer.probs for layer in read], list(cross.text_probs)
    grads = torch.autograd.grad(score, [*own, *text, cross.probs], retain_graph=True)
    image_parts = [positive(grad[0], probs[0]) for grad, probs in zip(grads[: len(own)], own, strict=True)]
    text_parts = [positive(grad, probs) for grad, probs in zip(grads[len(own) : -1], text, strict=True)]
    grad, probs = grads[-1][0], cross.probs.detach()[0]  # layer head token key
    if cross.has_null:
        grad, probs = (grad - grad[..., -1:])[..., :-1], probs[..., :-1]
    looked = (grad * probs).clamp(min=0).mean(1).sum(0)  # token patch
    looked = looked + mixed(looked, normalised(accumulated(image_parts)), tower.grid, fine)
    # R-bar_text^T without its identity: what the caption's tokens took from those of the word.
    taken = normalised(accumulated(text_parts))[: len(looked), list(tokens)]  # token of-the-word
    return (looked[list(tokens)] + taken.T @ looked).mean(0).unflatten(-1, (fine.height, fine.width))


def mixed(looked: Tensor, bar: Tensor, coarse: PatchGrid, fine: PatchGrid) -> Tensor:
    """A-bar (R-bar - 1) for an A-bar on a grid that is finer than R-bar's by whole factors.

    Args:
        looked: A-bar, `token patch`, of the fine grid.
        bar: R-bar less its identity, of the coarse grid's tokens with its prefix tokens: `token token`.
        coarse: that grid.
        fine: the other.

    Returns:
        `token patch` of the fine grid.
    """
    patches = looked.unflatten(-1, (fine.height, fine.width))
    cells = patches.unflatten(2, (coarse.width, -1)).unflatten(1, (coarse.height, -1)).sum((2, 4)).flatten(1)
    prefix = coarse.num_prefix_tokens
    added = (cells @ bar[prefix:, prefix:]).unflatten(-1, (coarse.height, coarse.width))
    return to_grid(added, fine, share=True).flatten(1)
