"""One picture of every word through every head: a row per word, a column per head, the map on the photo in each cell.

The cells are drawn all together (`cells`), since matplotlib takes tens of milliseconds for each picture of its own; it
only draws the text.
"""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image

from crossviz.errors import RenderError, SelectionError
from crossviz.render import colour
from crossviz.render.caption_line import footer
from crossviz.render.cells import Cells
from crossviz.render.contour import contour_share
from crossviz.render.drawing import number
from crossviz.render.panels import check_scale, word_panel
from crossviz.render.scale import Scale, map_scale, word_scale
from crossviz.render.sheet_layout import cell_side, lay_out
from crossviz.render.sheet_page import FOOT, NOTE, Page, Title, title_photo
from crossviz.results import Heads, head_index, layer_index, pinned

if TYPE_CHECKING:
    from crossviz.explanation import Explanation, Selector
    from crossviz.results import RelevanceMap

__all__ = ["explanation_sheet", "shown_heads"]


def explanation_sheet(
    explanation: "Explanation",
    words: "Sequence[Selector] | None",
    *,
    layer: int | str | None,
    head: Heads,
    smooth: bool,
    opacity: float | None,
    cmap: str | None,
    scale: Literal["shared", "word"],
    contour: bool | float,
    cell: int | None,
) -> Image.Image:
    """`Explanation.sheet`, where the arguments are told."""
    check_scale(scale)
    ex, chart, each = explanation, explanation.map, scale == "word"
    cmap = colour.check_cmap(cmap, signed=chart.signed)
    opacity = colour.OPACITY if opacity is None else opacity
    heads = shown_heads(chart, layer, head)
    chosen = range(len(ex.words)) if words is None else [words] if isinstance(words, str) else words
    if not len(chosen):
        raise RenderError("A sheet has a row for each word: give at least one.")
    panels = [word_panel(ex, selector, layer, head) for selector in chosen]
    shared = map_scale(chart, *heads[0])
    photo = ex.photo.image()
    made = footer(ex, *heads[0], each=each, part=_part(heads, chart.per_head.shape[:2]))
    layers = [at for at, _ in heads]
    title = partial(Title, title_photo(photo, ex.view), ex.caption.text, made)
    note = 0 if chart.null_mass is None else NOTE
    side = cell_side(cell, len(panels) * len(heads))
    page = Page(
        lay_out(layers, len(panels), photo.size, side, note=note, top=lambda width: title(width).height, foot=FOOT)
    )
    cells = Cells(
        photo, ex.view, page.layout.cell_wh, signed=chart.signed, smooth=smooth, opacity=opacity, cmap=cmap,
        contour=contour, trained=ex.provenance.trained,
    )  # fmt: skip
    page.put_title(title(page.layout.size_wh[0]))
    page.put_heads([chart.layers[at] for at in layers], [f"head {one}" for _, one in heads])
    beyond = False
    for row, (selector, panel) in enumerate(zip(chosen, panels, strict=True)):
        if panel.values is None:  # cut off, not read
            page.put_row(row, panel, np.repeat(cells.plain[None], len(heads), axis=0))
            continue
        maps, null = chart.select_each(ex.caption.select(selector).words, heads)  # head gh gw; head
        own = word_scale(maps.numpy(), shared) if each else shared
        beyond |= float(np.abs(own.displayed(maps.numpy())).max()) > own.vmax * (1 + 1e-6)
        under = None if null is None else null.tolist()
        page.put_row(row, panel, cells.draw(maps.numpy(), own), under, _end(own) if each else "")
    page.put_scale(
        shared,
        cmap,
        opacity,
        contour_share(contour),
        label=f"{shared.label}, each word scaled to its own largest value" if each else "",
        line="What is stronger has the last colour." if beyond else "",
    )
    return page.picture()


def shown_heads(chart: "RelevanceMap", layer: int | str | None, head: Heads) -> list[tuple[int, int]]:
    """The columns of a sheet, as places of a layer and a head, in the order in which they were asked for.

    Args:
        layer, head: as for `RelevanceMap.select`.

    Raises:
        SelectionError: no such layer or head, or a method without.
    """
    if chart.per_head is None:
        raise SelectionError(
            f"The maps of {chart.method} are not made of single layers and heads, so that there is no sheet of them: "
            "take `figure`, or another method."
        )
    count, heads = chart.per_head.shape[:2]
    if isinstance(head, list | tuple):
        return pinned(chart.layers, heads, layer, head)
    layers = range(count) if layer is None else [layer_index(chart.layers, layer)]
    return [(at, one) for at in layers for one in (range(heads) if head is None else [head_index(heads, head)])]


def _part(heads: Sequence[tuple[int, int]], there: tuple[int, int]) -> str:
    """ "a column for each of 4 heads of 12 x 12"."""
    if len(heads) == there[0] * there[1]:
        return f"a column for each of {there[0]} × {there[1]} heads" if there[0] > 1 else "a column for each head"
    return f"a column for each of {len(heads)} heads out of {there[0]} × {there[1]}"


def _end(scale: Scale) -> str:
    """Where the scale of one row ends: "scale ends at 23.4×"."""
    return f"scale ends at {number(scale.vmax)}{'×' if scale.unit == 'probability' else ''}"
