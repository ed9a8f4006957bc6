"""Raw attention: the attention probabilities of the image tower's own image token, as they are.

Vaswani et al., "Attention Is All You Need" (2017), eq. 1, in the image tower: the row of the token that becomes the
image's embedding (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021: the class token). Where the patches are
averaged it is the mean of their rows; where a pooler looks at them, the pooler's row. Nothing is renormalised: what
went to the prefix tokens is left out, and said. The text has no part in it.
"""

from crossviz.methods.base import (
    Layers,
    MethodInfo,
    MethodResult,
    embedded,
    image_record,
    patch_cells,
    read_phrases,
    scatter,
    select_layers,
    to_grid,
)
from crossviz.methods.gradients import attention_tower
from crossviz.results import RelevanceMap
from crossviz.tower import run_tower
from crossviz.trace import Trace

__all__ = ["RawAttention"]


class RawAttention:
    """Where the image tower itself looks, whatever the caption; layers: all blocks, or the pooler alone."""

    info = MethodInfo(
        name="raw_attention",
        title="Raw attention",
        sentence="Where the image tower's own image token looks, by layer and head: the same for every word.",
        paper="Dosovitskiy et al., An Image is Worth 16x16 Words, 2021",
        unit="probability",
        signed=False,
        text_dependent=False,
        requires=("image_tower", "image_attention"),
        families="models with attention in the image tower",
    )
    needs_grad = False

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the record holds the image token's row over all tokens, the map the patches of it."""
        tower = attention_tower(trace)
        passed = run_tower(tower, None, start=embedded(trace))
        names = [layer.label for layer in passed.layers] if passed.pooler is None else [passed.pooler.label]
        labels = tuple(names[i] for i in select_layers(layers, names))
        record = image_record(passed, labels, tower)
        rows = record.probs[:, :, 0]  # layer head key
        cells = to_grid(patch_cells(rows, tower), trace.image.grid, share=True)  # layer head gh gw
        indices, _ = read_phrases(trace)
        each = cells[:, :, None].expand(-1, -1, len(indices), -1, -1)
        per_head = scatter(each, indices, trace.caption)  # layer head word gh gw
        prefix = rows[..., : tower.grid.num_prefix_tokens].sum(-1)  # layer head
        notes = [
            "The text has no part in this map: it is the same for every word and every caption.",
            f"The attention is the image tower's own (query: {record.query_kind}).",
        ]
        if tower.grid.num_prefix_tokens:
            notes.append(
                f"{float(prefix.mean()):.0%} of it went to tokens that are no patches, and is left out of the map."
            )
        return MethodResult(
            record,
            RelevanceMap(
                values=scatter(cells.mean((0, 1)).expand(len(indices), -1, -1), indices, trace.caption),
                unit=self.info.unit,
                signed=self.info.signed,
                method=self.info.name,
                params={"layers": list(labels), "prefix_share": [layer.tolist() for layer in prefix]},
                direction="query: image, key: image",
                text_dependent=self.info.text_dependent,
                token_counts=trace.caption.token_counts,
                reduce="mean",
                per_head=per_head,
                layers=labels,
                notes=tuple(notes),
            ),
        )
