"""Every colour of pictures and figures, and the 256-entry tables of the heat.

Only perceptually uniform sequential maps are offered, and for signed maps diverging ones that are neutral at zero.
"""

from functools import lru_cache

import matplotlib
import numpy as np

from crossviz.errors import RenderError

__all__ = [
    "ALPHA_POWER",
    "CONTOUR_HALO_RGBA",
    "CONTOUR_RGBA",
    "DIVERGING",
    "GREY_WEIGHTS",
    "INK",
    "MUTED",
    "OPACITY",
    "PAPER",
    "PHOTO_BRIGHTNESS",
    "SEQUENTIAL",
    "STRIPE_RGBA",
    "STRIPE_TEXT_RGBA",
    "UNSEEN_BRIGHTNESS",
    "UNSEEN_HATCH_RGBA",
    "check_cmap",
    "rgb_table",
    "rgba_table",
]

SEQUENTIAL = ("viridis", "plasma", "inferno", "magma", "cividis")
"""Colour maps for maps without sign; the first is the default."""
DIVERGING = ("RdBu_r", "PuOr_r", "coolwarm")
"""Colour maps for signed maps, neutral at zero; the first is the default."""

OPACITY = 0.85
"""Largest opacity of the heat, unless another is asked for."""
ALPHA_POWER = 0.75
"""alpha = opacity * |t| ** ALPHA_POWER."""
PHOTO_BRIGHTNESS = 0.7
"""Factor on the grey photo under the heat (CSS: grayscale(1) brightness(0.7))."""
GREY_WEIGHTS = (0.2126, 0.7152, 0.0722)
"""Weights of R, G, B in the grey photo: Rec. 709 luma, as in CSS grayscale(1)."""

PAPER = "#ffffff"
INK = "#1f1d1a"
MUTED = "#6b665e"
CONTOUR_RGBA = (255, 255, 255, 235)
CONTOUR_HALO_RGBA = (20, 18, 16, 150)
STRIPE_RGBA = (255, 209, 26, 225)
STRIPE_TEXT_RGBA = (24, 22, 18, 255)
UNSEEN_BRIGHTNESS = 0.45
UNSEEN_HATCH_RGBA = (235, 232, 226, 90)


def check_cmap(name: str | None, *, signed: bool = False) -> str:
    """`name`, or the default if None.

    Raises:
        RenderError: for a colour map that is not offered for such a map; the message lists those that are.
    """
    offered = DIVERGING if signed else SEQUENTIAL
    if name is None:
        return offered[0]
    if name not in offered:
        kind = "signed maps" if signed else "maps without sign"
        raise RenderError(f"`cmap`={name!r} is not offered for {kind}: choose one of {', '.join(offered)}.")
    return name


@lru_cache(maxsize=16)
def rgb_table(name: str, signed: bool = False) -> np.ndarray:
    """The colour table: uint8 `256 3`, read-only, sRGB.

    Unsigned: entry i is the map at i / 255. Signed: entry i is the map at (i - 128) / 127, from -1 to 1, so entry 128
    is exactly zero and entry 0 repeats entry 1. Bytes are floor(255 * component + 0.5).
    """
    i = np.arange(256)
    at = np.clip((i - 128) / 127, -1.0, 1.0) / 2 + 0.5 if signed else i / 255
    rgb = matplotlib.colormaps[check_cmap(name, signed=signed)](at)[:, :3]
    table = np.floor(255 * rgb + 0.5).astype(np.uint8)
    table.setflags(write=False)
    return table


@lru_cache(maxsize=256)
def rgba_table(name: str, opacity: float = OPACITY, signed: bool = False) -> np.ndarray:
    """`rgb_table` with the alpha ramp: uint8 `256 4`, read-only, straight (not premultiplied) alpha.

    alpha[i] = floor(255 * opacity * |t| ** 0.75 + 0.5) with t = i / 255, or (i - 128) / 127 if signed.

    Raises:
        RenderError: for an opacity outside [0, 1] or an unknown map.
    """
    if not isinstance(opacity, (int, float)) or not 0.0 <= opacity <= 1.0:
        raise RenderError(f"`opacity` must be a number from 0 to 1, but is {opacity!r:.60}.")
    i = np.arange(256)
    t = np.abs(np.clip((i - 128) / 127, -1.0, 1.0)) if signed else i / 255
    alpha = np.floor(255 * opacity * t**ALPHA_POWER + 0.5).astype(np.uint8)
    table = np.concatenate([rgb_table(name, signed), alpha[:, None]], axis=1)
    table.setflags(write=False)
    return table
