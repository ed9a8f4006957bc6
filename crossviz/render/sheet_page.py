"""What is put on a sheet: title, names of layers, heads and words, the cells with their notes, and the scale."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from crossviz.geometry import ImageView
from crossviz.render import colour
from crossviz.render.cells import packed
from crossviz.render.drawing import BAR_HEIGHT, BAR_WIDTH, LEADING, NOTE_PT, bar_lines, bar_strip, bar_ticks
from crossviz.render.figure import Panel
from crossviz.render.lettering import DPI, EDGE, advance, lettered
from crossviz.render.overlay import mark_unseen
from crossviz.render.scale import Scale
from crossviz.render.sheet_layout import COLUMN, HEAD, LABEL, MARGIN, SheetLayout
from crossviz.render.text import fit, whole_words, wrap

__all__ = ["FOOT", "NOTE", "Page", "Title", "title_photo"]

NOTE, FOOT = 16, 62
"""Room for a line under a cell, and for the scale."""
_WORD_PT, _CAPTION_PT, _FOOTER_PT, _SMALLEST_PT = 10.0, 13.0, 7.5, 6.0
_PHOTO_WH = 184, 116
_WIDEST = 1200  # lines that are longer are hard to read
_APART = 16


class Title:
    """The photo, and beside it the caption and how the maps were made.

    Args:
        photo: of `title_photo`.
        caption: set large, wrapped, never parsed.
        lines: set small under it, wrapped.
        width: of the sheet, in pixels.
    """

    def __init__(self, photo: Image.Image, caption: str, lines: Sequence[str], width: int) -> None:
        self.photo = packed(photo)
        room = (min(width, _WIDEST) - 2 * MARGIN - photo.width - _APART) / DPI
        self.lines = [(line, _CAPTION_PT, colour.INK, True) for line in wrap(caption, room, _CAPTION_PT, bold=True)]
        for text in lines:
            self.lines += [(line, _FOOTER_PT, colour.MUTED, False) for line in wrap(text, room, _FOOTER_PT)]
        self.height = max(photo.height, round(sum(_leading(points) for _, points, *_ in self.lines))) + _APART


def title_photo(photo: Image.Image, view: ImageView) -> Image.Image:
    """The photo as it stands beside the title, with what the model did not see marked."""
    shrink = min(_PHOTO_WH[0] / photo.width, _PHOTO_WH[1] / photo.height)
    size = tuple(max(1, round(side * shrink)) for side in photo.size)
    return mark_unseen(photo.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0), view)


class Page:
    """The sheet while it is drawn."""

    def __init__(self, layout: SheetLayout) -> None:
        self.layout = layout
        self._pixels = np.full(layout.size_wh[::-1], 0xFFFFFFFF, dtype=np.uint32)

    def picture(self) -> Image.Image:
        """The sheet, RGB."""
        return Image.frombuffer("RGBX", self.layout.size_wh, self._pixels, "raw", "RGBX", 0, 1).convert("RGB")

    def _put(self, pixels: np.ndarray, left: int, top: int) -> None:
        """Pixels on the sheet; what would lie beyond its edges is left out."""
        room = self._pixels[max(0, top) :, left:]
        pixels = pixels[max(0, -top) :][: room.shape[0], : room.shape[1]]
        room[: pixels.shape[0], : pixels.shape[1]] = pixels

    def _line(self, text: str, left: int, base: float, points: float, ink: str, bold: bool = False) -> None:
        """A line of text that stands on the row `base`."""
        if text:
            pixels, stands = lettered(text, points, ink, bold=bold)
            self._put(pixels, left - EDGE, round(base) - stands)

    def _null(self, share: float, left: int, base: int) -> None:
        """A null mass under a cell, "null 12%"; of single digits, since hundreds of texts take longer than the maps."""
        for text in ("null ", *f"{share:.0%}"):
            pixels, stands = lettered(text, _FOOTER_PT, colour.MUTED)
            top, high, wide = base - stands, *pixels.shape
            place = self._pixels[top : top + high, left - EDGE : left - EDGE + wide]
            ink = np.minimum(place.view(np.uint8), pixels[:, : place.shape[1]].view(np.uint8))
            place[:] = ink.view(np.uint32)
            left += advance(text, _FOOTER_PT)

    def put_title(self, title: Title) -> None:
        """At the top."""
        self._put(title.photo, MARGIN, MARGIN)
        left, top = MARGIN + title.photo.shape[1] + _APART, float(MARGIN)
        for text, points, ink, bold in title.lines:
            self._line(text, left, top + 0.8 * _leading(points), points, ink, bold)
            top += _leading(points)

    def put_heads(self, layers: Sequence[str], heads: Sequence[str]) -> None:
        """The names of layer and head above every column."""
        columns = self.layout.columns
        for first, last in self.layout.starts:
            left, band = columns[first]
            room = (columns[last][0] - left + max(self.layout.cell_wh[0], COLUMN)) / DPI
            base = self.layout.bands[band] + 12
            self._line(fit(layers[first], room, NOTE_PT, bold=True), left, base, NOTE_PT, colour.INK, True)
        for (left, band), text in zip(columns, heads, strict=True):
            self._line(text, left, self.layout.bands[band] + HEAD - 8, NOTE_PT, colour.MUTED)

    def put_row(
        self, row: int, panel: Panel, cells: np.ndarray, null: Sequence[float] | None = None, more: str = ""
    ) -> None:
        """A word: its name at the left of every band, and its cells.

        Args:
            row: its place.
            panel: its name, and what stands with it.
            cells: uint32 `column H W`.
            null: the null mass of each cell, 0 to 1, that stands under it.
            more: what stands with its name besides.
        """
        layout = self.layout
        for band in range(len(layout.bands)):
            self._label(layout.top(band, row), panel, more)
        for column, ((left, band), pixels) in enumerate(zip(layout.columns, cells, strict=True)):
            top = layout.top(band, row)
            self._put(pixels, left, top)
            if null is not None:
                self._null(null[column], left, top + pixels.shape[0] + 12)

    def _label(self, top: int, panel: Panel, more: str) -> None:
        """The word and its notes, in the middle of the row's height."""
        room = (LABEL - 14) / DPI
        ink = colour.MUTED if panel.absent or panel.values is None else colour.INK
        points = whole_words(panel.title, room, _WORD_PT, _SMALLEST_PT)
        notes = [line for text in (panel.note, more) for line in wrap(text, room, _FOOTER_PT)]
        high = max(1, int((self.layout.row_h - len(notes) * _leading(_FOOTER_PT)) / _leading(points)))
        lines = [(line, points, ink, True) for line in wrap(panel.title, room, points, bold=True, most=min(3, high))]
        lines += [(line, _FOOTER_PT, colour.MUTED, False) for line in notes]
        at = top + (self.layout.cell_wh[1] - sum(_leading(points) for _, points, *_ in lines)) / 2
        for text, points, ink, bold in lines:
            self._line(text, MARGIN, at + 0.8 * _leading(points), points, ink, bold)
            at += _leading(points)

    def put_scale(self, scale: Scale, cmap: str, opacity: float, share: float | None, *, label: str, line: str) -> None:
        """The colour bar at the bottom, and what its numbers are.

        Args:
            share: of a map's mass that the line around it encloses; None where there is none.
            label: in the place of numbers, where each row has a scale of its own; "" where there is one.
            line: what else is to be said of it.
        """
        top, wide = self.layout.size_wh[1] - MARGIN - FOOT + 20, round(BAR_WIDTH * DPI)
        strip = Image.fromarray(bar_strip(scale, cmap, opacity))
        self._put(packed(strip.resize((wide, round(BAR_HEIGHT * DPI)), Image.Resampling.NEAREST)), MARGIN, top)
        bottom = top + round(BAR_HEIGHT * DPI)
        tick = packed(Image.new("RGB", (1, 4), colour.MUTED))
        for at, text in () if label else bar_ticks(scale):
            left, room = round(at * (wide - 1)), lettered(text, NOTE_PT, colour.INK)[0].shape[1] - 2 * EDGE
            self._put(tick, MARGIN + left, bottom)
            left -= 0 if at < 0.01 else room if at > 0.99 else room // 2
            self._line(text, MARGIN + left, bottom + 17, NOTE_PT, colour.INK)
        first, second = bar_lines(scale, share=share, label=label)
        texts = [(first, colour.INK), *((text, colour.MUTED) for text in (second, line) if text)]
        for row, (text, ink) in enumerate(texts):
            self._line(text, MARGIN + wide + 22, top + 11 + row * _leading(NOTE_PT), NOTE_PT, ink)


def _leading(points: float) -> float:
    """Pixels from one line to the next."""
    return points * LEADING * DPI / 72
