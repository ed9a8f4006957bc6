"""The signed difference of two maps on one photo, in the photo's pixels: viewer/47_difference.js mirrors it.

At every display pixel that both models saw: steps 1 to 5 of `overlay` for both maps, each through its own view and
grid, then d = m_first - m_second, and steps 6 to 8 on a signed scale. Other pixels are (0, 0, 0, 0).
"""

import numpy as np
from PIL import Image

from crossviz.geometry import ImageView
from crossviz.render import colour
from crossviz.render.overlay import dim_photo, hatch_unseen, sample, stamp_untrained, table_index, unseen_boxes
from crossviz.render.scale import Scale

__all__ = ["difference_rgba", "draw_difference", "subtract"]

Side = tuple[np.ndarray, ImageView]


def subtract(first: Side, second: Side, size_wh: tuple[int, int], *, smooth: bool = True) -> np.ndarray:
    """First minus second at every display pixel, float64 `H W`; NaN where not both models saw the photo.

    Args:
        first, second: displayed values `gh gw`, and the map from the photo to what that model saw.
    """
    one, two = (sample(values, size_wh, view, smooth=smooth) for values, view in (first, second))
    return one - two


def difference_rgba(
    first: Side,
    second: Side,
    scale: Scale,
    size_wh: tuple[int, int],
    *,
    smooth: bool = True,
    opacity: float = colour.OPACITY,
    cmap: str | None = None,
) -> np.ndarray:
    """The heat of a difference, uint8 `H W 4`, straight alpha: exactly what the viewer's canvas holds.

    Raises:
        RenderError: no diverging colour map, or an opacity outside [0, 1].
    """
    table = colour.rgba_table(colour.check_cmap(cmap, signed=True), opacity, True)
    values = subtract(first, second, size_wh, smooth=smooth)
    seen = np.isfinite(values)
    out = table[table_index(np.where(seen, values, 0.0), scale)]
    out[~seen] = 0
    return out


def draw_difference(
    photo: Image.Image,
    first: Side,
    second: Side,
    scale: Scale,
    *,
    smooth: bool = True,
    opacity: float | None = None,
    cmap: str | None = None,
    trained: bool = True,
) -> Image.Image:
    """A difference on the photo, RGB of the photo's size; what one of the models did not see is hatched."""
    opacity = colour.OPACITY if opacity is None else opacity
    heat = difference_rgba(first, second, scale, photo.size, smooth=smooth, opacity=opacity, cmap=cmap)
    picture = dim_photo(photo)
    layer = Image.fromarray(heat, "RGBA")
    picture.paste(layer, (0, 0), layer)
    views = [view for _, view in (first, second)]
    for view in views[:1] if views[0].crop_xyxy == views[1].crop_xyxy else views:
        hatch_unseen(picture, unseen_boxes(view, photo.size))
    if not trained:
        stamp_untrained(picture)
    return picture
