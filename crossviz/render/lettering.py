"""Lines of text as pixels on paper, for pictures that no figure of matplotlib's draws."""

import math
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties
from PIL import Image, ImageFont

from crossviz.render import colour
from crossviz.render.cells import packed
from crossviz.render.text import clean, is_plain, text_style

__all__ = ["DPI", "EDGE", "advance", "lettered"]

DPI = 108
"""Pixels per inch of all that is lettered."""
EDGE = 2
"""Pixels of paper around a line of text."""


@lru_cache(maxsize=1024)
def lettered(text: str, points: float, ink: str, *, bold: bool = False) -> tuple[np.ndarray, int]:
    """One line of text, never parsed.

    Args:
        text: any text.
        points: size of type.
        ink: a colour.

    Returns:
        Pixels as `cells.packed` gives them (uint32 `H W`, not to be changed), and the row that the text stands on.
    """
    text = clean(text)
    # Pillow is several times faster, but looks for missing characters in no other font.
    picture, base = (_by_pillow if is_plain(text, bold=bold) else _by_agg)(text, points, ink, bold)
    return packed(picture), base


@lru_cache(maxsize=256)
def advance(text: str, points: float) -> int:
    """Pixels from where a text that DejaVu Sans has begins to where the next one would."""
    return round(_font(points * DPI / 72, False).getlength(text))


def _by_pillow(text: str, points: float, ink: str, bold: bool) -> tuple[Image.Image, int]:
    # Once through the font, which is what takes the time: `ImageDraw.text` and `getbbox` would be twice.
    mask, (right, above) = _font(points * DPI / 72, bold).getmask2(text, "L", anchor="ls")
    width, height = mask.size
    base = max(0, -above) + EDGE
    size = max(0, right) + width + 2 * EDGE, max(base + 1, base + above + height) + EDGE
    picture = Image.new("RGB", size, colour.PAPER)
    if width and height:
        picture.paste(ink, (EDGE + max(0, right), base + above), Image.frombytes("L", mask.size, bytes(mask)))
    return picture, base


def _by_agg(text: str, points: float, ink: str, bold: bool) -> tuple[Image.Image, int]:
    style = text_style(text, points, bold=bold)
    font = FontProperties(family=style["family"], size=style["size"], weight=style["weight"])
    wide, tall, below = RendererAgg(1, 1, DPI).get_text_width_height_descent(text, font, ismath=False)
    width, base = math.ceil(wide) + 2 * EDGE, math.ceil(tall - below) + EDGE
    renderer = RendererAgg(width, base + math.ceil(below) + EDGE, DPI)
    gc = renderer.new_gc()
    gc.set_foreground(to_rgb(ink))
    renderer.draw_text(gc, EDGE, base, text, font, 0, ismath=False)
    drawn = Image.fromarray(np.asarray(renderer.buffer_rgba()))
    picture = Image.new("RGB", drawn.size, colour.PAPER)
    picture.paste(drawn, (0, 0), drawn)
    return picture, base


@lru_cache(maxsize=16)
def _font(pixels: float, bold: bool) -> ImageFont.FreeTypeFont:
    file = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", file)
    return ImageFont.truetype(str(path), pixels, layout_engine=ImageFont.Layout.BASIC)
