"""Many maps of one photo, drawn at once: to the bit what `overlay.draw_overlay` draws of each by itself.

What a pixel becomes depends on two bytes only, the map's place on the colour scale and the grey of the photo under it,
so that Pillow's own blending is done once for every pair of them and then looked up. The photo is made small once, the
maps are drawn out together, first across and then down.
"""

import numpy as np
from PIL import Image

from crossviz.geometry import ImageView
from crossviz.render import colour
from crossviz.render.contour import contour_share, sample_axis
from crossviz.render.overlay import (
    draw_contour,
    grid_axes,
    mark_unseen,
    stamp_untrained,
    table_index,
    untrained_stripe,
)
from crossviz.render.scale import Scale

__all__ = ["Cells", "packed"]

_BAND = 1 << 17  # pixels that are worked on at once: they stay in the cache


class Cells:
    """Draws maps over one photo, all of one size.

    Args:
        photo: the source photo (after EXIF rotation).
        view: the map from the photo to what the model saw.
        size_wh: of each picture in pixels; it shows the whole photo.
        signed: whether the scales are.
        smooth, opacity, cmap, contour, trained: as for `overlay.draw_overlay`.

    Raises:
        RenderError: no such colour map, opacity or contour.
    """

    def __init__(
        self,
        photo: Image.Image,
        view: ImageView,
        size_wh: tuple[int, int],
        *,
        signed: bool = False,
        smooth: bool = True,
        opacity: float = colour.OPACITY,
        cmap: str | None = None,
        contour: bool | float = False,
        trained: bool = True,
    ) -> None:
        heat = colour.rgba_table(colour.check_cmap(cmap, signed=signed), opacity, signed)
        self._line = contour_share(contour) is not None
        self._view, self._smooth, self._contour = view, smooth, contour
        self._stripe = None if trained else untrained_stripe(size_wh)
        if photo.size != size_wh:
            photo = photo.resize(size_wh, Image.Resampling.LANCZOS, reducing_gap=3.0)
        under = mark_unseen(photo, view, dim=True)
        self._plain = packed(under)  # H W
        _, _, columns, rows = grid_axes(size_wh, (1, 1), view)
        self._seen = rows, columns
        self._grey = np.asarray(under)[rows, columns, 0].astype(np.uint16)
        self._table = _blended(heat)

    @property
    def plain(self) -> np.ndarray:
        """The photo without a map, as `packed` gives it: uint32 `H W`."""
        return self._plain

    def draw(self, values: np.ndarray, scale: Scale) -> np.ndarray:
        """Maps on the photo.

        Args:
            values: raw values `map gh gw`.
            scale: from value to colour.

        Returns:
            uint32 `map H W`, as `packed` gives them.
        """
        values = np.asarray(values, dtype=np.float64)
        out = np.repeat(self._plain[None], len(values), axis=0)
        if self._grey.size:
            step = max(1, _BAND // self._grey.size)
            for start in range(0, len(values), step):
                index = self._index(values[start : start + step], scale).astype(np.uint16)
                index <<= 8
                index |= self._grey
                out[start : start + step, *self._seen] = self._table[index]
        if self._line or self._stripe is not None:
            for pixels, chart in zip(out, values, strict=True):
                self._finish(pixels, chart, scale)
        return out

    def _index(self, values: np.ndarray, scale: Scale) -> np.ndarray:
        """Entries of the colour table for what the model saw: uint8 `map H W`; steps 1 to 6 of `overlay`."""
        gh, gw = values.shape[1:]
        size_wh = self._plain.shape[::-1]
        gx, gy, columns, rows = grid_axes(size_wh, (gh, gw), self._view)
        gx, gy = gx[columns], gy[rows]
        if not self._smooth:
            row, column = (np.minimum(np.floor(g).astype(np.intp), n - 1) for g, n in ((gy, gh), (gx, gw)))
            return table_index(values, scale)[:, row[:, None], column]
        left, right, weight = sample_axis(gx, gw)
        across = values[..., left] * (1 - weight) + values[..., right] * weight  # map gh W
        top, bottom, weight = sample_axis(gy, gh)
        mixed = across[:, top]
        mixed *= (1 - weight)[:, None]
        below = across[:, bottom]
        below *= weight[:, None]
        mixed += below
        return table_index(mixed, scale)

    def _finish(self, pixels: np.ndarray, chart: np.ndarray, scale: Scale) -> None:
        """The line and the stripe, in place."""
        picture = Image.fromarray(pixels.view(np.uint8).reshape(*pixels.shape, 4)[..., :3])
        draw_contour(picture, chart, self._view, scale, smooth=self._smooth, contour=self._contour)
        if self._stripe is not None:
            stamp_untrained(picture, self._stripe)
        pixels[:] = packed(picture)


def packed(picture: Image.Image) -> np.ndarray:
    """A picture's pixels as single numbers, whose bytes are red, green, blue and 255: uint32 `H W`, read-only."""
    return np.asarray(picture.convert("RGB").convert("RGBA")).view(np.uint32)[..., 0]


def _blended(heat: np.ndarray) -> np.ndarray:
    """What Pillow makes of every colour of a table over every grey, `packed`: uint32, at 256 * entry + grey."""
    under = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1))).convert("RGB")
    over = Image.fromarray(np.repeat(heat[:, None], 256, axis=1))
    under.paste(over, (0, 0), over)
    return packed(under).ravel()
