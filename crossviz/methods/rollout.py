"""Attention rollout: which patches reach the image's token, followed back through all layers.

Abnar and Zuidema, "Quantifying Attention Flow in Transformers" (ACL 2020), section 3: of every layer the mean over its
heads A, with the residual connection as an identity, A-bar = (A + I) / 2, whose rows sum to 1; the product A-bar of the
last layer ... A-bar of the first; its row of the image's token. Deviations: where the patches are averaged, the mean of
their rows; where a pooler looks at them, its own row (mean over heads, no residual) times the product. As in the paper
nothing is cut off and no head is chosen. The text has no part in it.
"""

import torch
from torch import Tensor

from crossviz.methods.base import (
    Layers,
    MethodInfo,
    MethodResult,
    embedded,
    image_record,
    image_row,
    patch_cells,
    read_phrases,
    scatter,
    select_layers,
    to_grid,
    tower_labels,
)
from crossviz.methods.gradients import attention_tower
from crossviz.results import RelevanceMap
from crossviz.tower import run_tower
from crossviz.trace import Trace

__all__ = ["Rollout", "roll_out"]


class Rollout:
    """How much of every patch arrives in the image's token; layers: its blocks."""

    info = MethodInfo(
        name="rollout",
        title="Attention rollout",
        sentence="Which patches reach the image's embedding through the attention of all layers: the same for every "
        "word.",
        paper="Abnar and Zuidema, Quantifying Attention Flow in Transformers, 2020",
        unit="probability",
        signed=False,
        text_dependent=False,
        requires=("image_tower", "image_attention"),
        families="models with attention in the image tower",
    )
    needs_grad = False

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the record holds the image token's attention in every layer that was read."""
        tower = attention_tower(trace)
        passed = run_tower(tower, None, start=embedded(trace))
        names = tower_labels(tower)
        chosen = select_layers(layers, names, range(len(tower.blocks)))
        labels = [names[i] for i in chosen]
        flow = roll_out(torch.stack([passed.layers[i].probs[0].mean(0) for i in chosen]))  # token token
        row = passed.pooler.probs[0, :, 0].mean(0) @ flow if passed.pooler is not None else image_row(flow, tower)
        row = row.detach()
        cells = to_grid(patch_cells(row, tower), trace.image.grid, share=True)  # gh gw
        indices, _ = read_phrases(trace)
        prefix = float(row[: tower.grid.num_prefix_tokens].sum())
        notes = ["The text has no part in this map: it is the same for every word and every caption."]
        if tower.pool_note:
            notes.append(tower.pool_note)
        if tower.grid.num_prefix_tokens:
            notes.append(f"{prefix:.0%} of it stayed in tokens that are no patches, and is left out of the map.")
        return MethodResult(
            image_record(passed, labels, tower),
            RelevanceMap(
                values=scatter(cells.expand(len(indices), -1, -1), indices, trace.caption),
                unit=self.info.unit,
                signed=self.info.signed,
                method=self.info.name,
                params={"layers": labels, "prefix_share": prefix},
                direction="query: image, key: image",
                text_dependent=self.info.text_dependent,
                token_counts=trace.caption.token_counts,
                notes=tuple(notes),
            ),
        )


def roll_out(attention: Tensor) -> Tensor:
    """The rollout of attention that is averaged over heads: `layer token token`, bottom to top, to `token token`.

    Every row of the result sums to 1, as every row of the attention does.
    """
    eye = torch.eye(attention.shape[-1], dtype=attention.dtype, device=attention.device)
    flow = eye
    for layer in attention:
        mixed = layer + eye
        flow = (mixed / mixed.sum(-1, keepdim=True)) @ flow
    return flow
