"""Raw attention: the attention probabilities inside the image tower, as they are.

Vaswani et al., "Attention Is All You Need" (2017), eq. 1, in the image tower: by default the row of the token that
becomes the image's embedding (Dosovitskiy et al., "An Image is Worth 16x16 Words", 2021: the class token). Where the
patches are averaged it is the mean of their rows; where a pooler looks at them, the pooler's row. The patches' own rows
can be asked for too, of any block: their mean, or one patch's. Nothing is renormalised: what went to the prefix tokens
is left out, and said. The text has no part in it.
"""

from dataclasses import replace

import torch

from crossviz.errors import MethodError
from crossviz.geometry import PatchGrid
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
    tower_labels,
)
from crossviz.methods.gradients import attention_tower
from crossviz.results import AttentionRecord, RelevanceMap
from crossviz.tower import TowerPass, run_tower
from crossviz.trace import ImageTower, Trace

__all__ = ["RawAttention"]


_INSIDE = 'For attention inside the blocks, ask for RawAttention(query="patches"), or for one patch.'


class RawAttention:
    """Where the image tower itself looks, whatever the caption.

    Args:
        query: whose rows are read. "image" (by default) the token's that becomes the image's embedding: layers are
            all blocks, or where a pooler looks at the patches the pooler alone. "patches": the mean over the patches;
            or one patch, as its row and column from 0 in the tower's own grid: layers are all blocks.

    Raises:
        MethodError: there is no such query.
    """

    info = MethodInfo(
        name="raw_attention",
        title="Raw attention",
        sentence="Where the image tower's own image token looks, by layer and head: the same for every word.",
        paper="Dosovitskiy et al., An Image is Worth 16x16 Words, 2021",
        unit="probability",
        signed=False,
        text_dependent=False,
        requires=("image_tower", "image_row"),
        families="models with attention in the image tower",
    )
    needs_grad = False

    def __init__(self, query: str | tuple[int, int] = "image") -> None:
        if query not in ("image", "patches"):
            pair = query if isinstance(query, tuple | list) else ()
            if len(pair) != 2 or any(isinstance(i, bool) or not isinstance(i, int) or i < 0 for i in pair):
                raise MethodError(
                    f'`query` is "image", "patches", or one patch as its row and column from 0, not {query!r:.60}.'
                )
            query = tuple(pair)
        self.query = query

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; the record holds the query's row over all tokens, the map the patches of it.

        Raises:
            MethodError: the patch that was asked for is not in the tower's grid.
            UnsupportedMethodError: patches are asked for of a tower without blocks.
        """
        image = self.query == "image"
        tower = attention_tower(trace, pooler=image)
        names, blocks = tower_labels(tower), len(tower.blocks)
        pooled = image and tower.pooler is not None
        readable = [blocks] if pooled else range(blocks)
        labels = tuple(names[i] for i in select_layers(layers, names, readable, _INSIDE if pooled and blocks else ""))
        self._check(tower.grid)
        passed = run_tower(tower, None, start=embedded(trace))
        record = image_record(passed, labels, tower) if image else self._record(passed, labels, tower)
        rows = record.probs[:, :, 0]  # layer head key
        cells = to_grid(patch_cells(rows, tower), trace.image.grid, share=True)  # layer head gh gw
        indices, _ = read_phrases(trace)
        each = cells[:, :, None].expand(-1, -1, len(indices), -1, -1)
        per_head = scatter(each, indices, trace.caption)  # layer head word gh gw
        prefix = rows[..., : tower.grid.num_prefix_tokens].sum(-1)  # layer head
        notes = [
            "The text has no part in this map: it is the same for every word and every caption.",
            f"The attention is the image tower's own (query: {record.query_kind}).",
            *([tower.pool_note] if tower.pool_note else []),
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
                params={
                    "layers": list(labels),
                    "query": self.query if isinstance(self.query, str) else list(self.query),
                    "prefix_share": [layer.tolist() for layer in prefix],
                },
                direction="query: image, key: image" if image else f"query: {record.query_kind}, key: image",
                text_dependent=self.info.text_dependent,
                token_counts=trace.caption.token_counts,
                reduce="mean",
                per_head=per_head,
                layers=labels,
                notes=tuple(notes),
            ),
        )

    def _check(self, grid: PatchGrid) -> None:
        if isinstance(self.query, str):
            return
        row, col = self.query
        if row >= grid.height or col >= grid.width:
            raise MethodError(
                f"There is no patch in row {row}, column {col}: the image tower has {grid.height} x {grid.width} "
                "patches, counted from 0."
            )

    def _record(self, passed: TowerPass, labels: tuple[str, ...], tower: ImageTower) -> AttentionRecord:
        """The rows of the blocks' own patches over all tokens, `layer head 1 key`."""
        if self.query == "patches":
            # The mean of the patches' rows is what a tower is read by that averages them.
            return image_record(passed, labels, replace(tower, pool="avg"))
        grid, (row, col) = tower.grid, self.query
        place = grid.num_prefix_tokens + row * grid.width + col
        read = [layer for layer in passed.layers if layer.label in labels]
        mean = image_record(passed, labels, replace(tower, pool="avg"))
        return replace(
            mean,
            scores=torch.stack([layer.scores[0, :, place, None].detach() for layer in read]),
            probs=torch.stack([layer.probs[0, :, place, None].detach() for layer in read]),
            query_kind=f"image patch in row {row}, column {col}",
        )
