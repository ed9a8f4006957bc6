"""One figure for a caption: the photo, a panel per word, one colour bar for all of them, and how it was made.

Plain `Figure` objects, no pyplot: nothing global is touched while a figure is built.
"""

import io
import math
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from crossviz.errors import RenderError
from crossviz.geometry import ImageView
from crossviz.render import colour
from crossviz.render.contour import contour_share
from crossviz.render.drawing import (
    BAR_HEIGHT,
    BAR_WIDTH,
    LEADING,
    NOTE_PT,
    bar_notes,
    colour_bar,
    outline,
    put_lines,
    show,
)
from crossviz.render.overlay import contour_is_shown, draw_overlay, mark_unseen, sized
from crossviz.render.room import MOST_CAPTION_LINES
from crossviz.render.scale import Scale
from crossviz.render.text import LAST_RESORT, fit, text_style, wrap

__all__ = ["Panel", "draw_figure", "figure_bytes"]

SMALLEST = 64
"""Pixels of a figure's shorter side, at least."""
_DPI = 160
_MARGIN = 0.32  # inches, like all lengths below
_GAP = 0.2
_TITLE_PT, _CAPTION_PT, _FOOTER_PT = 10.5, 13.0, 7.5
_HEAD = 0.42  # title and note above a panel
_TITLE_ROOM = 1.72  # a cell is at least as wide as "not in the picture (null 97%)"
_BAR_NOTE = 2.75  # room for the words beside the bar
_RC = {"svg.fonttype": "none", "svg.hashsalt": "crossviz", "pdf.fonttype": 42, "path.simplify": False}
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """One word's part of the figure."""

    title: str
    values: np.ndarray | None
    """Raw values `gh gw`; None for a word that the model did not read."""
    note: str = ""
    """A few words under the title, e.g. the null mass."""
    absent: bool = False
    """True for a word that found nothing: its title is set muted."""
    scale: Scale | None = None
    """Its own scale; the figure's if None."""


def draw_figure(
    photo: Image.Image,
    view: ImageView,
    panels: Sequence[Panel],
    scale: Scale,
    *,
    caption: str,
    footer: Sequence[str] = (),
    trained: bool = True,
    smooth: bool = True,
    opacity: float = colour.OPACITY,
    cmap: str | None = None,
    contour: bool | float = True,
    width_px: int | None = None,
) -> Figure:
    """Draw the figure.

    Args:
        photo: the source photo.
        view: from the photo to what the model saw.
        panels: one per word, in reading order; they wrap into rows.
        scale: the one scale of all panels that have none of their own.
        caption: set above, wrapped, never parsed; its first 16 lines.
        footer: lines below: model, method, direction, scale.
        trained: False puts the stripe "untrained weights" on every map.
        smooth, opacity, cmap: as for `overlay.display_rgba`.
        contour: as for `overlay.draw_overlay`.
        width_px: of the figure as a PNG; the maps are drawn that fine. 160 pixels per inch if None.

    Raises:
        RenderError: a width that makes a PNG of less than 64 or more than 16384 pixels a side.

    Returns:
        A matplotlib Figure with an Agg canvas; `figure_bytes` writes it.
    """
    cmap = colour.check_cmap(cmap, signed=scale.signed)
    share = contour_share(contour)
    panel_w, panel_h = _panel_size(photo.size, len(panels) + 1)
    cell_w = max(panel_w, _TITLE_ROOM)
    columns = _columns(len(panels) + 1, cell_w + _GAP, panel_h + _HEAD + _GAP)
    rows = math.ceil((len(panels) + 1) / columns)
    body_w = max(columns * (cell_w + _GAP) - _GAP, BAR_WIDTH + _BAR_NOTE)
    caption_lines = wrap(caption, body_w, _CAPTION_PT, bold=True, most=MOST_CAPTION_LINES)
    footer_lines = [line for text in footer for line in wrap(text, body_w, _FOOTER_PT)]
    caption_h = _text_height(len(caption_lines), _CAPTION_PT) + 0.16
    bar_h = BAR_HEIGHT + 0.62
    footer_h = _text_height(len(footer_lines), _FOOTER_PT)
    width = body_w + 2 * _MARGIN
    height = 2 * _MARGIN + caption_h + rows * (panel_h + _HEAD + _GAP) + bar_h + footer_h
    dpi = _DPI if width_px is None else _dpi(width_px, width, height)
    own = [panel.scale for panel in panels if panel.scale is not None]
    figure = Figure(figsize=(width, height), dpi=dpi, facecolor=colour.PAPER)
    FigureCanvasAgg(figure)

    top = height - _MARGIN
    put_lines(figure, caption_lines, _MARGIN, top, _CAPTION_PT, colour.INK, bold=True)
    top -= caption_h
    size_px = (max(1, round(panel_w * dpi)), max(1, round(panel_h * dpi)))
    small = photo.convert("RGB").resize(size_px, Image.Resampling.LANCZOS, reducing_gap=3.0)
    for number, panel in enumerate([None, *panels]):
        row, column = divmod(number, columns)
        left = _MARGIN + column * (cell_w + _GAP)
        head = top - row * (panel_h + _HEAD + _GAP)
        axes = figure.add_axes(
            (left / width, (head - _HEAD - panel_h) / height, panel_w / width, panel_h / height), frameon=False
        )
        _heading(figure, panel, left, head - _HEAD, cell_w)
        if panel is None or panel.values is None:
            show(axes, mark_unseen(small, view, dim=panel is not None))
        else:
            on = panel.scale or scale
            picture = draw_overlay(
                small, panel.values, view, on, smooth=smooth, opacity=opacity, cmap=cmap, contour=False,
                trained=trained,
            )  # fmt: skip
            show(axes, picture)
            if share and contour_is_shown(panel.values, on, smooth=smooth, share=share):
                outline(axes, panel.values, view, size_px, smooth, share)
    bottom = _MARGIN + footer_h
    several = len(own) > 1
    if len(own) == 1:
        scale = own[0]
    colour_bar(figure, scale, cmap, opacity, _MARGIN, bottom + 0.42, numbers=not several)
    label = "each word scaled to itself" if several else ""
    bar_notes(figure, scale, _MARGIN, bottom + 0.42, share=share, label=label)
    put_lines(figure, footer_lines, _MARGIN, bottom, _FOOTER_PT, colour.MUTED)
    return figure


def figure_bytes(figure: Figure, kind: str, *, dpi: float | None = None) -> bytes:
    """A figure as "png", "svg" or "pdf"; text stays text in SVG and PDF, and equal figures give equal bytes.

    Args:
        dpi: the figure's own if None.
    """
    dpi = figure.dpi if dpi is None else dpi
    buffer = io.BytesIO()
    metadata = {
        "png": {"Software": "crossviz"},
        "svg": {"Date": None, "Creator": "crossviz"},
        "pdf": {"CreationDate": None, "Creator": "crossviz", "Producer": None},
    }[kind]
    # matplotlib reads these from its global settings only; the lock keeps two of our threads from mixing theirs up.
    with _lock, matplotlib.rc_context(_RC):
        figure.savefig(buffer, format=kind, dpi=dpi, facecolor=colour.PAPER, metadata=metadata)
    data = buffer.getvalue()
    if kind == "svg":
        # Elsewhere the last resort is any font that the reader's program has.
        data = re.sub(rb"(<text style=\"[^\"]*)'%s'" % LAST_RESORT.encode(), rb"\1sans-serif", data)
    return data


def _dpi(width_px: int, width: float, height: float) -> float:
    """Pixels per inch that make a figure of `width` inches so many pixels wide."""
    _, high = sized((max(1, round(width * 1000)), max(1, round(height * 1000))), width_px)  # says what can't be
    if min(width_px, high) < SMALLEST:
        raise RenderError(f"A figure of {width_px} pixels has no room for its words: give at least {SMALLEST}.")
    return (width_px + 0.01) / width  # matplotlib cuts off what is less than a pixel


def _panel_size(photo_wh: tuple[int, int], count: int) -> tuple[float, float]:
    """Width and height of a panel: equal areas whatever the shape; slivers are widened to 1:12 to be seen at all."""
    aspect = min(max(photo_wh[0] / photo_wh[1], 1 / 12), 12.0)
    area = 4.4 if count <= 12 else 3.0 if count <= 24 else 2.3
    width = min(math.sqrt(area * aspect), 5.5, 3.2 * aspect)
    return width, width / aspect


def _columns(count: int, cell_w: float, cell_h: float) -> int:
    """The number of columns that brings the panels closest to 3:2, with few empty places."""

    def cost(columns: int) -> float:
        rows = math.ceil(count / columns)
        shape = columns * cell_w / (rows * cell_h)
        return abs(math.log(shape / 1.5)) + 0.5 * (rows * columns - count) / columns + 0.05 * max(0.0, columns - 8)

    widest = max(1, int(18 / cell_w))
    return min(range(1, min(count, widest) + 1), key=cost)


def _text_height(lines: int, points: float) -> float:
    return lines * points * LEADING / 72


def _heading(figure: Figure, panel: Panel | None, left: float, bottom: float, room: float) -> None:
    """The word, and under it the note, above a panel."""
    width, height = figure.get_size_inches()

    def put(text: str, lift: float, ink: str, points: float, bold: bool = False) -> None:
        text = fit(text, room, points, bold=bold)
        style = text_style(text, points, bold=bold)
        figure.text(left / width, (bottom + lift) / height, text, color=ink, **style)

    if panel is None:
        put("photo", 0.07, colour.MUTED, NOTE_PT)
        return
    muted = panel.absent or panel.values is None
    ink = colour.MUTED if muted else colour.INK
    put(panel.title, 0.215 if panel.note else 0.07, ink, _TITLE_PT, not muted)
    put(panel.note, 0.07, colour.MUTED, NOTE_PT)
