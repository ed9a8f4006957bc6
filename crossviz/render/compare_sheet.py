"""Where things lie on the figure that compares models, and how they are put there; see `crossviz.render.compare`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from crossviz.errors import SelectionError
from crossviz.render import colour
from crossviz.render.drawing import (
    BAR_HEIGHT,
    BAR_WIDTH,
    LEADING,
    NOTE_PT,
    bar_notes,
    colour_bar,
    number,
    outline,
    put_lines,
    show,
)
from crossviz.render.failed import Failed
from crossviz.render.overlay import contour_is_shown, draw_overlay, mark_unseen
from crossviz.render.room import MOST_CAPTION_LINES
from crossviz.render.scale import ABSENT_NULL_MASS, Scale
from crossviz.render.sentences import HIDDEN, attention_sentence, hidden_sentence
from crossviz.render.text import fit, whole_words, wrap
from crossviz.words import UNKNOWN

if TYPE_CHECKING:
    from crossviz.explanation import Explanation

__all__ = ["Sheet", "Span", "on_common"]

Span = tuple[int, int]

_DPI = 160
_MARGIN, _GAP = 0.32, 0.2  # inches, like all lengths below
_LABEL = 1.3  # room for the words, and for the photo above them
_COLUMN = 1.95  # a column is at least as wide as "not in the picture (null 97%)"
_TALLEST = 2.3
_TITLE_PT, _CAPTION_PT, _FOOTER_PT, _SMALLEST_PT = 10.5, 13.0, 7.5, 6.0
_HEAD, _NOTE = 0.66, 0.2  # above a column, and above each of its maps
_BAR_ROOM = BAR_HEIGHT + 0.42


def on_common(scale: Scale) -> bool:
    """Whether a scale can be the common one: it is in multiples of chance."""
    return scale.unit == "probability" and not scale.signed


class Sheet:
    """The figure while it is drawn: where things lie, and what is put there."""

    def __init__(
        self,
        photo: Image.Image,
        caption: str,
        rows: Sequence[str],
        entries: "Sequence[Explanation | Failed]",
        made: "Sequence[Explanation]",
    ) -> None:
        aspect = min(max(photo.width / photo.height, 1 / 12), 12.0)
        cell_w = min({1: 3.2, 2: 2.8, 3: 2.4, 4: 2.1}.get(len(entries), _COLUMN), _TALLEST * aspect)
        self.cell_wh = (cell_w, cell_w / aspect)
        self.column = max(cell_w, _COLUMN)
        self.photo = photo.convert("RGB").resize(self._pixels(self.cell_wh), Image.Resampling.LANCZOS, reducing_gap=3.0)
        self.rows = rows
        scales = [explanation.scale for explanation in made]
        self.common = any(map(on_common, scales))
        self.bars = not all(map(on_common, scales))
        body = max(_LABEL + len(entries) * (self.column + _GAP), BAR_WIDTH + 2.75)
        title = wrap(caption, body, _CAPTION_PT, bold=True, most=MOST_CAPTION_LINES)
        self.sentences = [wrap(_sentence(entry), self.column, _FOOTER_PT) for entry in entries]
        thumb_w = min(_LABEL - 0.25, 0.9 * aspect)
        self.thumb = (thumb_w, thumb_w / aspect)
        self.head_h = max(_HEAD, self.thumb[1]) + 0.1
        self.row_h = _NOTE + self.cell_wh[1] + 0.16
        foot = (_BAR_ROOM if self.bars else 0.0) + _tall(max(map(len, self.sentences)), _FOOTER_PT) + 0.2
        self.common_h = BAR_HEIGHT + 0.5 if self.common else 0.0
        self.last = wrap(_footer(made), body, _FOOTER_PT)
        heights = (_tall(len(title), _CAPTION_PT) + 0.16, self.head_h, len(rows) * self.row_h, foot, self.common_h)
        height = 2 * _MARGIN + sum(heights) + _tall(len(self.last), _FOOTER_PT)
        self.size = (body + 2 * _MARGIN, height)
        self.figure = Figure(figsize=self.size, dpi=_DPI, facecolor=colour.PAPER)
        FigureCanvasAgg(self.figure)
        put_lines(self.figure, title, _MARGIN, height - _MARGIN, _CAPTION_PT, colour.INK, bold=True)
        self.top = height - _MARGIN - heights[0]  # of the heads
        self.body_top = self.top - self.head_h
        self.body_bottom = self.body_top - heights[2]
        self._picture(photo.convert("RGB"), "photo", _MARGIN, self.top - self.thumb[1], self.thumb)
        for row, text in enumerate(rows):
            points = whole_words(text, _LABEL - 0.15, _TITLE_PT, _SMALLEST_PT)
            label = wrap(text, _LABEL - 0.15, points, bold=True, most=2)
            put_lines(self.figure, label, _MARGIN, self._under(row) - _NOTE, points, colour.INK, bold=True)

    @staticmethod
    def _pixels(size: tuple[float, float]) -> tuple[int, int]:
        return max(1, round(size[0] * _DPI)), max(1, round(size[1] * _DPI))

    def _left(self, place: int) -> float:
        return _MARGIN + _LABEL + place * (self.column + _GAP)

    def _under(self, row: int) -> float:
        return self.body_top - row * self.row_h

    def _picture(self, picture: Image.Image, label: str, left: float, bottom: float, size: tuple[float, float]) -> Axes:
        width, height = self.size
        axes = self.figure.add_axes((left / width, bottom / height, size[0] / width, size[1] / height), frameon=False)
        axes.set_label(label)
        show(axes, picture)
        return axes

    def _put(self, lines: Sequence[str], left: float, top: float, points: float, ink: str, bold: bool = False) -> None:
        put_lines(self.figure, lines, left, top, points, ink, bold=bold)

    def head(self, place: int, entry: "Explanation | Failed") -> None:
        """The model's name, its method and its grid."""
        left, failed = self._left(place), isinstance(entry, Failed)
        name = entry.model if failed else entry.provenance.model
        grid = "" if failed else f"{entry.method_title}, {entry.grid.height} × {entry.grid.width} patches"
        ink = colour.MUTED if failed else colour.INK
        lines = wrap(name, self.column, _TITLE_PT, bold=True, most=2)
        top = self.body_top + 0.26 + _tall(len(lines), _TITLE_PT)
        self._put(lines, left, top, _TITLE_PT, ink, True)
        self._put([fit(grid, self.column, NOTE_PT)], left, self.body_top + 0.26, NOTE_PT, colour.MUTED)

    def cell(
        self,
        place: int,
        row: int,
        explanation: "Explanation",
        span: Span,
        scale: Scale,
        drawn: tuple[bool, float, str],
    ) -> None:
        """One word in one model: a line of figures, and the map under it."""
        smooth, opacity, cmap = drawn
        left, top = self._left(place), self._under(row)
        label = f"{explanation.provenance.model}: {self.rows[row]}"
        try:
            values = explanation.patch_map(span=span)
        except SelectionError:
            values = None
        note = "cut off, not read" if values is None else _note(explanation, span, values, scale)
        self._put([fit(note, self.column, NOTE_PT)], left, top, NOTE_PT, colour.MUTED)
        bottom = top - _NOTE - self.cell_wh[1]
        if values is None:
            self._picture(mark_unseen(self.photo, explanation.view, dim=True), label, left, bottom, self.cell_wh)
            return
        trained = explanation.provenance.trained
        picture = draw_overlay(
            self.photo, values, explanation.view, scale, smooth=smooth, opacity=opacity, cmap=cmap, contour=False,
            trained=trained,
        )  # fmt: skip
        axes = self._picture(picture, label, left, bottom, self.cell_wh)
        if contour_is_shown(values, scale, smooth=smooth):
            outline(axes, values, explanation.view, self.photo.size, smooth)

    def failed(self, place: int, entry: Failed) -> None:
        """Why there is no column."""
        room = max(1, int(len(self.rows) * self.row_h / (NOTE_PT * LEADING / 72)))
        text = f"Not compared. {entry.reason}"
        self._put(wrap(text, self.column, NOTE_PT, most=room), self._left(place), self.body_top, NOTE_PT, colour.INK)

    def own_bar(self, place: int, scale: Scale, cmap: str, opacity: float) -> None:
        """The bar of a column that is not on the common scale."""
        left, width = self._left(place), min(self.cell_wh[0], self.column)
        bottom = self.body_bottom - BAR_HEIGHT - 0.18
        text = fit(f"own scale: {scale.unit}", self.column, NOTE_PT)
        self._put([text], left, self.body_bottom + 0.02, NOTE_PT, colour.INK)
        colour_bar(self.figure, scale, cmap, opacity, left, bottom, width)

    def foot(self, common: Scale | None, cmap: str, opacity: float) -> None:
        """Each model's attention in a sentence, the common scale, and how it was made."""
        top = self.body_bottom - (_BAR_ROOM if self.bars else 0.0)
        for place, lines in enumerate(self.sentences):
            self._put(lines, self._left(place), top, _FOOTER_PT, colour.MUTED)
        bottom = _MARGIN + _tall(len(self.last), _FOOTER_PT)
        if common is not None:
            colour_bar(self.figure, common, cmap, opacity, _MARGIN, bottom + 0.36)
            bar_notes(self.figure, common, _MARGIN, bottom + 0.36)
        self._put(self.last, _MARGIN, bottom, _FOOTER_PT, colour.MUTED)


def _sentence(entry: "Explanation | Failed") -> str:
    """What the column's attention is; the explainer puts it second."""
    if isinstance(entry, Failed):
        return ""
    notes = entry.provenance.notes
    untrained = "" if entry.provenance.trained else " UNTRAINED WEIGHTS: the maps mean nothing."
    hidden = hidden_sentence(entry)
    said = attention_sentence(notes[1] if len(notes) > 1 else entry.map.direction) + untrained
    return f"{said} {hidden[:1].upper()}{hidden[1:]}." if hidden else said


def _note(explanation: "Explanation", span: Span, values: np.ndarray, scale: Scale) -> str:
    """The peak, and how much of the word's attention lies on the picture; of a word that was not read, why."""
    if _holds(explanation, explanation.hidden, span):
        return HIDDEN
    peak = float(scale.displayed(values).max())
    if not on_common(scale):
        return f"peak {number(peak)}".replace("-", "\u2212")
    if explanation.map.null_mass is not None:
        null = explanation.null_mass(span=span)
        if null > ABSENT_NULL_MASS:
            return f"not in the picture (null {null:.0%})"
    if _holds(explanation, explanation.caption.unknown, span):
        return f"unknown, read as {UNKNOWN}: peak {number(peak)}×"
    return f"peak {number(peak)}×, {min(1.0, float(values.sum())):.0%} on the patches"


def _holds(explanation: "Explanation", words: Sequence[int], span: Span) -> bool:
    """Whether one of the words lies in a span."""
    return any(explanation.words[i].start < span[1] and span[0] < explanation.words[i].end for i in words)


def _footer(made: "Sequence[Explanation]") -> str:
    several = sum(on_common(explanation.scale) for explanation in made) > 1
    scale = "One scale for all columns: multiples of what each patch would get by chance in that model's own grid."
    own = "Columns with a bar of their own are in another unit: their colours don't compare with the others'."
    parts = [scale] if several else []
    parts += [] if all(on_common(explanation.scale) for explanation in made) else [own]
    version = made[0].provenance.crossviz_version
    return "  ·  ".join([*parts, f"crossviz {version}"])


def _tall(lines: int, points: float) -> float:
    return lines * points * LEADING / 72
