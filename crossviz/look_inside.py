"""Finding the cell that was asked for in a model's cross-attention, and opening it."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from crossviz.cell import TOLERANCE
from crossviz.cell_source import CellSource, cut
from crossviz.errors import GeometryError, ModelError, ResultError, SelectionError
from crossviz.explanation import Explanation
from crossviz.geometry import PatchGrid
from crossviz.inside import Inside
from crossviz.inside_parts import Named
from crossviz.results import head_index, layer_index
from crossviz.trace import CrossAttention, Trace
from crossviz.words import Phrase

__all__ = ["look_inside"]

SHOWS = ("cross_attention",)
"""The methods whose record is the attention that is opened here, row by row."""


def look_inside(
    trace: Trace,
    phrase: Phrase,
    *,
    token: int | None = None,
    layer: int | str | None = None,
    head: int | None = None,
    patch: tuple[int, int] | None = None,
    explanation: Explanation | None = None,
    trained: bool = True,
) -> Inside:
    """Open one cell of a trace's cross-attention.

    What is not given is chosen: the patch that gets most, in the mean over everything that is still open; then the
    token, then the layer and the head that look most at it.

    Args:
        trace: the photo and the caption.
        phrase: the words; of several tokens one is opened.
        token: index of a token of these words.
        layer: index or label.
        head: index.
        patch: row and column.
        explanation: made of the same photo and caption; a record of this attention must agree with the cell.
        trained: whether the model's weights were trained.

    Raises:
        UnsupportedMethodError: the model has no cross-attention that can be taken apart.
        SelectionError: there is no such token of these words, layer, head or patch, or the model did not read it.
        ModelError: the explanation's attention is another.
        ResultError: the numbers, computed again, are not the model's own.
    """
    sources, cross = trace.cells(), trace.cross_attention()
    grid, caption = trace.image.grid, trace.caption
    tokens = caption.tokens_of(phrase)
    if token is not None and (isinstance(token, bool) or token not in tokens):
        raise SelectionError(f"'{phrase.text:.60}' has the tokens {', '.join(map(str, tokens))}, not {token!r:.20}.")
    layers = list(range(len(cross.layers))) if layer is None else [layer_index(cross.layers, layer)]
    heads = list(range(cross.probs.shape[1])) if head is None else [head_index(cross.probs.shape[1], head)]
    wanted = cross.probs.detach().cpu().double()[layers][:, heads]  # layer head query key
    patches = wanted[..., : grid.num_patches]
    picked = []
    if patch is None:
        place = int(patches[:, :, tokens if token is None else [token]].mean((0, 1, 2)).argmax())
        picked.append("No patch was chosen: this is the one that these words look at most.")
    else:
        place = _place(patch, grid)
    if token is None:
        token = tokens[int(patches[:, :, tokens, place].mean((0, 1)).argmax())]
        if len(tokens) > 1:
            text = caption.tokens[token].text
            picked.append(
                f"The model reads these words as {len(tokens)} tokens: this is “{text}”, which looks here most."
            )
    best = int(patches[:, :, token, place].argmax())
    layer_at, head_at = layers[best // len(heads)], heads[best % len(heads)]
    if len(layers) * len(heads) > 1:
        of = " and ".join([f"all {len(x)} {name}" for x, name in ((layers, "layers"), (heads, "heads")) if len(x) > 1])
        picked.append(f"The map is of {of}: opened is the one that looks here most.")
    if explanation is not None:
        picked += _agree(explanation, cross, layer_at, head_at, token)
    row, col = grid.row_col(place)
    source = sources.open(layer_at)
    own = float(cross.probs[layer_at, head_at, token, place])
    word, where = f"“{caption.tokens[token].text.strip()}”", f"the patch in row {row + 1}, column {col + 1}"
    if sources.pooler is None:
        cells, through = (cut(source, token, head_at, place),), None
        if not torch.allclose(
            cells[0].probs.double(), cross.probs[layer_at, head_at, token].cpu().double(), 0, TOLERANCE
        ):
            raise ResultError(
                "This layer, opened, has other probabilities than the attention that the maps are made of."
            )
        named: tuple[Named, ...] = (_of_patches(source, grid, word, where),)
    else:
        pooler = sources.pooler()
        through = pooler.probs[:, :, place].detach().cpu().double().mean(0)  # query
        by = int((source.probs[head_at, token].cpu().double() * through).argmax())
        pool_head = int(pooler.probs[:, by, place].argmax())
        cells = (cut(source, token, head_at, by), cut(pooler, by, pool_head, place))
        query = f"query {by + 1} of the pooler"
        count = len(source.keys)
        through_queries = Named(
            word, query, f"all {count} queries of the pooler", tuple(f"query {i + 1}" for i in range(count)), count,
            "query", source.queries_from, source.keys_from,
        )  # fmt: skip
        named = (through_queries, _of_patches(pooler, grid, query, where, "it"))
        picked.append(
            f"The word looks at the patch through {len(through)} queries of a pooler: opened are the query that "
            f"carries most, {by + 1}, and the pooler's head that looks here most, {pool_head + 1}."
        )
    return Inside(
        text=phrase.text, span=(phrase.start, phrase.end), token=token,
        tokens=tuple((each, caption.tokens[each].text) for each in tokens), layer=cross.layers[layer_at], head=head_at,
        patch=(row, col), grid_hw=(grid.height, grid.width), cells=cells, named=named,
        others=_others(source if sources.pooler is None else pooler), through=through, prob=own, picked=tuple(picked),
        notes=tuple(cross.notes), model=trace.image.model_name, trained=trained,
    )  # fmt: skip


def _place(patch: Sequence[int], grid: PatchGrid) -> int:
    try:
        row, col = (each.__index__() for each in patch)
        return grid.index(row, col)
    except (AttributeError, TypeError, ValueError, GeometryError):
        raise SelectionError(
            f"A patch is a row from 0 to {grid.height - 1} and a column from 0 to {grid.width - 1}, not {patch!r:.40}."
        ) from None


def _others(source: CellSource) -> tuple[str, ...]:
    return (*source.others, *(("the null key",) if source.null is not None else ()))


def _of_patches(source: CellSource, grid: PatchGrid, query: str, key: str, asks: str = "the word") -> Named:
    """The names in a cell whose first keys are the patches."""
    others = _others(source)

    places = (grid.row_col(place) for place in range(grid.num_patches))
    names = (*(f"row {row + 1}, column {col + 1}" for row, col in places), *others)
    more = "" if not others else f" and {others[0]}" if len(others) == 1 else f" and {len(others)} other tokens"
    keys = f"all {grid.num_patches} patches{more}"
    return Named(query, key, keys, names, grid.num_patches, "patch", source.queries_from, source.keys_from, asks)


def _agree(explanation: Explanation, cross: CrossAttention, layer: int, head: int, token: int) -> list[str]:
    """Nothing if the explanation shows this attention, else a sentence; ModelError if it shows other numbers of it."""
    record, label = explanation.record, cross.layers[layer]
    if explanation.method not in SHOWS or record is None:
        return [
            f"The map on the photo is made by {explanation.method_title}; opened is the model's own cross-attention, "
            "which need not look at the same place."
        ]
    if label not in record.layers:
        return [f"The map on the photo leaves {label} out, which looks here most."]
    own = record.probs[record.layers.index(label), head, token].double()
    found = cross.probs[layer, head, token].detach().cpu().double()
    if own.shape != found.shape or float((own - found).abs().max()) > TOLERANCE:
        raise ModelError("This explanation holds another attention than this model has now: explain the caption again.")
    return []
