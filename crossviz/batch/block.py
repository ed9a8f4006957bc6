"""One block of rows through a model: the same code wherever it runs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from crossviz.batch.ahead import MOST_BYTES, Bad, Ready, bad
from crossviz.batch.half import to_half
from crossviz.batch.plan import Block
from crossviz.batch.settings import Settings
from crossviz.errors import (
    CaptionError,
    CaptureError,
    CrossvizError,
    DeviceError,
    GeometryError,
    MethodError,
    PhotoError,
    ResultError,
)

if TYPE_CHECKING:
    from crossviz.explainer import Explainer
    from crossviz.explanation import Explanation
    from crossviz.results import RelevanceMap

__all__ = ["BlockResult", "run_block"]

_OF_A_ROW = (PhotoError, CaptionError, GeometryError, ResultError, CaptureError)
"""Errors that are a row's own; any other would come with every row, and ends the run."""


@dataclass(frozen=True, eq=False)
class BlockResult:
    """What became of a block's rows.

    Attributes:
        rows: for each good row its columns (`crossviz.batch.tables`), in order.
        bad: the rows that were set aside, in order.
        maps: by grid ("24x24") the maps of all words of all rows with that grid, float16 `word gh gw`.
        heads: the same for single layers and heads, float16 `word layer head gh gw`; empty where not asked for.
        about: what the maps are: unit, direction, layers; empty without rows.
    """

    block: Block
    rows: list[dict[str, Any]] = field(default_factory=list)
    bad: list[Bad] = field(default_factory=list)
    maps: dict[str, NDArray[np.float16]] = field(default_factory=dict)
    heads: dict[str, NDArray[np.float16]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)


def run_block(
    explainer: "Explainer",
    block: Block,
    ready: Iterable[Ready | Bad],
    settings: Settings,
    progress: Callable[[int], None] = lambda rows: None,
) -> BlockResult:
    """Explain a block's rows, batch by batch.

    Args:
        explainer: the model.
        block: which rows these are.
        ready: as many rows, from `ready_ahead`.
        settings: how.
        progress: called with a number of rows that are done.

    Raises:
        MethodError, SelectionError, ModelError: what was asked for can't be had of this model.
    """
    result = BlockResult(block)
    maps: dict[str, list[NDArray[np.float16]]] = {}
    heads: dict[str, list[NDArray[np.float16]]] = {}
    for batch in _batches(ready, settings.batch_size, result.bad, progress):
        for each, found in _explained(explainer, batch, settings):
            if isinstance(found, CrossvizError):
                result.bad.append(bad(each.position, each.row, found))
                continue
            grid = f"{found.grid.height}x{found.grid.width}"
            first = sum(map(len, maps.get(grid, ())))
            half, scale = to_half(found.map.values.numpy())
            maps.setdefault(grid, []).append(half)
            heads_scale = None
            if settings.heads:
                half, heads_scale = to_half(_per_head(found.map))
                heads.setdefault(grid, []).append(half)
            place = {"grid": grid, "maps": f"{grid}/{block.number:06d}", "first": first, "scale": scale}
            result.rows.append(_columns(each, found) | place | {"heads_scale": heads_scale})
            if not result.about:
                result.about.update(_about(found))
        progress(len(batch))
    for parts, together in ((maps, result.maps), (heads, result.heads)):
        together.update({grid: np.concatenate(values) for grid, values in parts.items()})
    result.bad.sort(key=lambda each: each.position)
    return result


def _batches(
    ready: Iterable[Ready | Bad], size: int, set_aside: list[Bad], progress: Callable[[int], None]
) -> Iterator[list[Ready]]:
    """Rows that are ready in batches, fewer where photos are large; the others set aside."""
    batch: list[Ready] = []
    for each in ready:
        if isinstance(each, Bad):
            set_aside.append(each)
            progress(1)
            continue
        batch.append(each)
        if len(batch) == size or sum(one.nbytes for one in batch) > MOST_BYTES:
            yield batch
            batch = []
    if batch:
        yield batch


def _explained(
    explainer: "Explainer", batch: Sequence[Ready], settings: Settings
) -> Iterator[tuple[Ready, "Explanation | CrossvizError"]]:
    """Each row with its explanation, or with the reason why there is none: then the batch is asked one by one."""
    try:
        yield from zip(batch, _ask(explainer, batch, settings), strict=True)
        return
    except _OF_A_ROW as error:
        if len(batch) == 1:
            yield batch[0], error
            return
    for each in batch:
        yield from _explained(explainer, [each], settings)


def _ask(explainer: "Explainer", batch: Sequence[Ready], settings: Settings) -> "list[Explanation]":
    layers = list(settings.layers) if isinstance(settings.layers, tuple) else settings.layers
    try:
        images = explainer.encode_many([each.prepared for each in batch])
        return explainer.explain_many(images, [each.caption for each in batch], settings.method, layers)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{len(batch)} photos at once don't fit into the memory of {explainer.device}: give a smaller --batch-size."
        ) from error


def _per_head(chart: "RelevanceMap") -> NDArray[np.float32]:
    """The maps of single layers and heads: `word layer head gh gw`."""
    if chart.per_head is None:
        raise MethodError(f"The maps of {chart.method} are not made of single layers and heads: leave --heads out.")
    return np.moveaxis(chart.per_head.numpy(), 2, 0)


def _columns(each: Ready, found: "Explanation") -> dict[str, Any]:
    """What a row of the table says of an explanation, without where its maps are."""
    caption, chart, view = found.caption, found.map, found.view
    values = chart.values.numpy()
    null = None if chart.null_mass is None else chart.null_mass.mean((0, 1)).tolist()
    peaks = values.reshape(len(values), -1).argmax(1)
    words = []
    for word, peak in zip(caption.words, peaks.tolist(), strict=True):
        row, col = found.grid.row_col(peak)
        words.append(
            {
                "text": word.text,
                "start": word.start,
                "end": word.end,
                "tokens": list(word.tokens),
                "truncated": word.truncated,
                "null_mass": None if null is None or not word.tokens else null[word.index],
                "peak": float(values[word.index, row, col]) if word.tokens else None,
                "peak_row": row if word.tokens else None,
                "peak_col": col if word.tokens else None,
            }
        )
    width, height = view.source_wh
    return {
        "key": each.row.key,
        "position": each.position,
        "photo": each.row.photo,
        "photo_sha256": found.photo.sha256,
        "width": width,
        "height": height,
        "caption": caption.text,
        "similarity": found.similarity,
        "trained": found.provenance.trained,
        "words": words,
        "tokens": [{"id": t.id, "text": t.text, "start": t.start, "end": t.end} for t in caption.tokens],
        "cut_at": caption.cut_at,
        "input_height": view.input_hw[0],
        "input_width": view.input_hw[1],
        "crop_xyxy": list(view.crop_xyxy),
    }


def _about(found: "Explanation") -> dict[str, Any]:
    """What is the same for every row: what the maps are, and what made them."""
    chart, made = found.map, found.provenance
    return {
        "unit": chart.unit,
        "signed": chart.signed,
        "method": chart.method,
        "method_title": made.method_title,
        "direction": chart.direction,
        "text_dependent": chart.text_dependent,
        "reduce": chart.reduce,
        "layers": list(chart.layers),
        "params": dict(chart.params),
        "notes": list(dict.fromkeys((*made.notes, *chart.notes))),
        "libraries": dict(made.libraries),
        "device": made.device,
    }
