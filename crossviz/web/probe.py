"""A tiny photo and a caption of crossviz's own, by which a running server finds out whether it still explains."""

from functools import cache

import numpy as np

from crossviz.photo import Photo, load_photo

__all__ = ["CAPTION", "photo"]

CAPTION = "a red square"


@cache
def photo() -> Photo:
    """A red square on grey, 32 pixels wide."""
    pixels = np.full((32, 32, 3), 128, np.uint8)
    pixels[8:24, 8:24] = (200, 30, 30)
    return load_photo(pixels)
