"""The figure of an explanation: a panel for each word that is chosen, through the layer and heads that are chosen."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from matplotlib.figure import Figure

from crossviz.errors import RenderError
from crossviz.render import colour
from crossviz.render.caption_line import footer
from crossviz.render.figure import Panel, draw_figure
from crossviz.render.room import check_room, room_for
from crossviz.render.scale import ABSENT_NULL_MASS, map_scale, word_scale
from crossviz.render.sentences import HIDDEN
from crossviz.results import Heads

if TYPE_CHECKING:
    from crossviz.explanation import Explanation, Selector

__all__ = ["check_scale", "explanation_figure", "word_panel"]


def check_scale(scale: object) -> None:
    """Says what a scale may be.

    Raises:
        RenderError: it is neither "shared" nor "word".
    """
    if scale not in ("shared", "word"):
        raise RenderError(f'`scale` must be "shared" or "word", but is {scale!r:.60}.')


def explanation_figure(
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
    width: int | None,
) -> Figure:
    """`Explanation.figure`, where the arguments are told."""
    check_scale(scale)
    ex = explanation
    first, most = [], room_for(ex.grid.num_patches)
    if words is None:
        chosen = range(len(ex.words))[:most]
        if len(chosen) < len(ex.words):
            first = [f"The first {most} of {len(ex.words)} words."]
    else:
        chosen = [words] if isinstance(words, str) else words
        check_room(len(chosen), most)
    panels = [word_panel(ex, selector, layer, head) for selector in chosen]
    shared = map_scale(ex.map, layer, head)
    if scale == "word":
        panels = [
            panel if panel.values is None else dataclasses.replace(panel, scale=word_scale(panel.values, shared))
            for panel in panels
        ]
    own = [panel.scale for panel in panels if panel.scale is not None]
    return draw_figure(
        ex.photo.image(),
        ex.view,
        panels,
        shared,
        caption=ex.caption.text,
        footer=[*first, *footer(ex, layer, head, own[0].vmax if len(own) == 1 else None, each=len(own) > 1)],
        trained=ex.provenance.trained,
        smooth=smooth,
        opacity=colour.OPACITY if opacity is None else opacity,
        cmap=cmap,
        contour=contour,
        width_px=width,
    )


def word_panel(ex: "Explanation", selector: "Selector", layer: int | str | None, head: Heads) -> Panel:
    """One word's panel: its map, and what stands with its name (cut off, hidden, not in the picture).

    Args:
        selector: an index, a text or a span.
        layer, head: as for `Explanation.overlay`.

    Raises:
        SelectionError: no such word, layer or head.
    """
    unread = {word.index: word for word in ex.words if not word.tokens}
    if type(selector) is int and selector in unread:
        return Panel(unread[selector].text, None, "cut off, not read")
    phrase = ex.caption.select(selector)
    values = ex.map.select(phrase.words, layer, head).numpy()
    hidden = HIDDEN if set(phrase.words) & set(ex.hidden) else ""
    if ex.map.null_mass is None:
        return Panel(phrase.text, values, hidden)
    null = ex.map.select_null(phrase.words, layer, head)
    absent = null > ABSENT_NULL_MASS
    note = f"not in the picture (null {null:.0%})" if absent else f"null {null:.0%}"
    note = f"{hidden}, null {null:.0%}" if hidden else note
    return Panel(phrase.text, values, note, absent)
