"""LeGrad: how sensitive the match is, layer by layer, to where each layer's attention looks.

Bousselham et al., "LeGrad: An Explainability Method for Vision Transformers via Feature Formation Sensitivity"
(2024, ICCV 2025). For every layer l, s_l is the match that the photo would have if the tower ended there:
the tokens after the layer are averaged, and go through the tower's own last norm and projection. The map is the sum
over the layers of the mean over heads and queries of (d s_l / d A_l)+, with A_l that layer's attention, for the keys
that are patches. A tower with an attention pooler is read through it: s_l is what the pooler makes of the tokens after
layer l, and the gradient is taken with respect to the pooler's attention.

By its paper it reads all layers, and so it does here by default; the published code's default is the last two
(`layers=2`). Deviations: no scaling of the map to 0..1; where the published code blanks out what a SigLIP model finds
for an empty prompt, nothing is left out here; a pooler is given the tokens after the tower's last norm, as the tower
gives them to it (the published code leaves the norm out). A tower that averages its patches does so here too (without
its prefix tokens), and of `crossviz-mini`, whose match reads every patch, the tokens after layer l take the way of the
last ones unaveraged.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from crossviz.methods.base import (
    Layers,
    MethodInfo,
    MethodResult,
    image_record,
    patch_cells,
    read_phrases,
    select_layers,
    to_grid,
    tower_labels,
    tracked_pass,
)
from crossviz.methods.gradients import attention_tower, relevance_result
from crossviz.tower import AttentionLayer, TowerPass, pool
from crossviz.trace import ImageTower, Match, Trace
from crossviz.words import Phrase

__all__ = ["LeGrad", "layer_sensitivity"]


class LeGrad:
    """Gradients with respect to every layer's attention, as its paper has them."""

    info = MethodInfo(
        name="legrad",
        title="LeGrad",
        sentence="Where more attention, in any layer of the image tower, would make photo and word match better.",
        paper="Bousselham et al., LeGrad: An Explainability Method for Vision Transformers, 2024",
        unit="gradient relevance",
        signed=False,
        text_dependent=True,
        requires=("match", "image_tower", "image_attention"),
        families="vision transformers",
    )
    needs_grad = True

    @torch.enable_grad()
    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; blocks and heads are the parts that add up to the map."""
        tower, match = attention_tower(trace), trace.match()
        every = tower_labels(tower)
        chosen = select_layers(layers, every, range(len(tower.blocks)))
        labels = [every[i] for i in chosen]
        indices, phrases = read_phrases(trace)
        passed = tracked_pass(trace)
        found = torch.stack([layer_sensitivity(tower, passed, i, match, phrases) for i in chosen])
        # layer head phrase gh gw; each head's part of the mean over heads
        per_head = to_grid(patch_cells(found, tower), trace.image.grid, share=False) / found.shape[1]
        notes = [
            f"The gradient is that of the match: {match.sentence}",
            "Every layer is read as though the image tower ended with it; early layers say little of the words.",
        ]
        if tower.pooler is not None:
            notes.append("The tower's attention pooler is what is read, on the tokens after every layer.")
        return relevance_result(
            trace,
            self.info,
            image_record(passed, labels, tower),
            per_head.sum((0, 1)),
            indices,
            {"layers": labels, "match": match.unit},
            notes,
            per_head=per_head,
            labels=labels,
        )


def layer_sensitivity(
    tower: ImageTower, passed: TowerPass, index: int, match: Match, phrases: Sequence[Phrase]
) -> Tensor:
    """The mean over queries of (d s_l / d A_l)+ for one photo.

    Args:
        tower: the tower that was run.
        passed: its pass, in a graph.
        index: of the layer l.
        match: what s_l is.
        phrases: of the caption.

    Returns:
        `head phrase key`, without gradient.
    """
    state, probs = _after(tower, passed.layers[index], passed)
    scores = match.score(state, phrases)[0]  # phrase
    found = []
    for score in scores:  # one by one: a gradient is as large as the layer's attention
        (grad,) = torch.autograd.grad(score, [probs], retain_graph=True)
        found.append(grad[0].clamp(min=0).mean(-2))
    return torch.stack(found, 1) if found else probs.detach()[0, :, :0]


def _after(tower: ImageTower, layer: AttentionLayer, passed: TowerPass) -> tuple[object, Tensor]:
    """The state as though the tower ended after that layer, and the attention that counts, `1 head query key`."""
    x = layer.output
    if tower.pooler is not None:
        state, pooler = pool(tower, x, passed.beside)
        return state, pooler.probs
    if tower.pool == "token" and tower.features is None:
        # The paper's mean of all tokens stands where the class token is read.
        x = torch.cat([x.mean(1, keepdim=True), x[:, 1:]], 1)
    return tower.readout(x, passed.beside, None), layer.probs
