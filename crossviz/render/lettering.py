"""Lines of text as pixels on paper, for pictures that no figure of matplotlib's draws."""

import math
from functools import lru_cache

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties
from PIL import Image

from crossviz.render import colour
from crossviz.render.cells import packed
from crossviz.render.text import clean, text_style

__all__ = ["DPI", "EDGE", "lettered"]

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
    style = text_style(text, points, bold=bold)
    font = FontProperties(family=style["family"], size=style["size"], weight=style["weight"])
    wide, tall, below = RendererAgg(1, 1, DPI).get_text_width_height_descent(text, font, ismath=False)
    width, base = math.ceil(wide) + 2 * EDGE, math.ceil(tall - below) + EDGE
    renderer = RendererAgg(width, base + math.ceil(below) + EDGE, DPI)
    gc = renderer.new_gc()
    gc.set_foreground(to_rgb(ink))
    renderer.draw_text(gc, EDGE, base, text, font, 0, ismath=False)
    drawn = Image.fromarray(np.asarray(renderer.buffer_rgba()))
    paper = Image.new("RGB", drawn.size, colour.PAPER)
    paper.paste(drawn, (0, 0), drawn)
    return packed(paper), base
