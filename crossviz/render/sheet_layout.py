"""Where things lie on a sheet of words and heads: pure numbers, in pixels from the upper left corner."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from crossviz.errors import RenderError
from crossviz.render.overlay import MAX_SIDE

__all__ = ["CELL", "GAP", "MARGIN", "SheetLayout", "cell_side", "lay_out"]

CELL = 112
"""Side of a square photo's cell, unless another is asked for, or there are few or very many."""
MARGIN, GAP = 26, 6
LABEL = 138  # room for the words
COLUMN = 58  # a column is at least as wide as "null 100%"
HEAD = 38  # layer and head above a column
_LAYER_GAP, _BAND_GAP, _ROW_GAP = 14, 16, 9
_NARROWEST = 900
_FEW, _LARGER = 60, 160  # so many cells at most are of this side
_MANY, _SMALLEST = 1200, 24  # more than so many shrink, to this side at most
_MOST_PIXELS = 80_000_000  # Pillow warns of pictures from 89 million on


@dataclass(frozen=True, slots=True)
class SheetLayout:
    """Bands of columns below each other, each with all rows; the words stand at the left of every band."""

    cell_wh: tuple[int, int]
    size_wh: tuple[int, int]
    row_h: int
    """From one row's top to the next one's."""
    columns: tuple[tuple[int, int], ...]
    """Of each column its left edge and its band."""
    bands: tuple[int, ...]
    """Of each band its top; its first row is `HEAD` below."""
    starts: tuple[tuple[int, int], ...]
    """First and last column of every run of one layer within a band."""

    def top(self, band: int, row: int) -> int:
        """The upper edge of a row's cells."""
        return self.bands[band] + HEAD + row * self.row_h


def cell_side(cell: object, count: int) -> int:
    """The side of a square photo's cell in pixels: as asked for, or what `count` cells leave room for if None.

    Raises:
        RenderError: not a whole number from 24 to 2048.
    """
    if cell is None:
        return _LARGER if count <= _FEW else max(_SMALLEST, min(CELL, int(CELL * math.sqrt(_MANY / count))))
    if type(cell) is not int or not _SMALLEST <= cell <= 2048:
        raise RenderError(f"`cell` must be a whole number of pixels from {_SMALLEST} to 2048, not {cell!r:.40}.")
    return cell


def lay_out(
    layers: Sequence[int],
    rows: int,
    photo_wh: tuple[int, int],
    cell: int,
    *,
    note: int,
    top: Callable[[int], int],
    foot: int,
) -> SheetLayout:
    """Wrap the columns into bands, so that the sheet comes close to 3:2.

    Args:
        layers: the layer of every column, in order.
        rows: how many words.
        photo_wh: cells have its shape, slivers are widened to 1:12; all shapes have the same area.
        cell: side of a square photo's cell.
        note: room for a line of text under each cell.
        top: room above all bands of a sheet of a width.
        foot: room below them.

    Raises:
        RenderError: the sheet would have more than 16384 pixels a side, or more than 80 million.
    """
    aspect = min(max(photo_wh[0] / photo_wh[1], 1 / 12), 12.0)
    cell_wh = max(1, round(cell * math.sqrt(aspect))), max(1, round(cell / math.sqrt(aspect)))
    step, row_h = max(cell_wh[0], COLUMN) + GAP, cell_wh[1] + note + _ROW_GAP
    band_h = HEAD + rows * row_h + _BAND_GAP
    alike = {layers.count(layer) for layer in layers}
    turns = [False, *(one != other for one, other in pairwise(layers))]  # columns that another layer begins with

    def size(per_band: int) -> tuple[int, int]:
        wide = max(sum(turns[at + 1 : at + per_band]) for at in range(0, len(layers), per_band)) * _LAYER_GAP
        wide += 2 * MARGIN + LABEL + per_band * step
        return max(_NARROWEST, wide), 2 * MARGIN + foot + math.ceil(len(layers) / per_band) * band_h

    def cost(per_band: int) -> float:
        width, height = size(per_band)
        whole = all(count % per_band == 0 or per_band % count == 0 for count in alike)
        empty = -len(layers) % per_band / len(layers)
        return abs(math.log(width / height / 1.5)) + (0.0 if whole else 0.35) + empty

    # Narrower than a sheet is at least, columns would leave room at their right.
    fewest = max(1, min(len(layers), (_NARROWEST - 2 * MARGIN - LABEL) // (step + _LAYER_GAP)))
    per_band = min(range(fewest, len(layers) + 1), key=cost)
    width, height = size(per_band)
    head = MARGIN + top(width)
    height += head - MARGIN
    if max(width, height) > MAX_SIDE or width * height > _MOST_PIXELS:
        raise RenderError(
            f"The sheet of {rows} words and {len(layers)} heads would be {width} x {height} pixels: choose fewer "
            "words, one layer, or a smaller `cell`."
        )
    bands = tuple(head + band * band_h for band in range(math.ceil(len(layers) / per_band)))
    columns, starts = [], []
    for band in range(len(bands)):
        x = MARGIN + LABEL
        for column in range(band * per_band, min(len(layers), (band + 1) * per_band)):
            if column == band * per_band or turns[column]:
                x += _LAYER_GAP if column > band * per_band else 0
                starts.append((column, column))
            starts[-1] = (starts[-1][0], column)
            columns.append((x, band))
            x += step
    return SheetLayout(cell_wh, (width, height), row_h, tuple(columns), bands, tuple(starts))
