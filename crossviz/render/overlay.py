"""A map drawn on the photo, in the photo's own pixels.

The arithmetic, which viewer.js mirrors
---------------------------------------
A map `values[gh][gw]` (raw) is drawn at a display of `size_wh` = (W, H) pixels that shows the WHOLE photo of
`source_wh` = (SW, SH) pixels, of which the model saw `crop_xyxy` = (x0, y0, x1, y1) in source pixels.
For the display pixel in column i and row j, in double precision:

1. source    sx = (i + 0.5) * SW / W;                       sy = (j + 0.5) * SH / H
2. grid      gx = (sx - x0) / (x1 - x0) * gw;               gy = (sy - y0) / (y1 - y0) * gh
3. seen      x0 <= sx < x1 and y0 <= sy < y1; otherwise the pixel is (0, 0, 0, 0)
4. value     smooth: u = clamp(gx - 0.5, 0, gw - 1), a = floor(u), b = min(a + 1, gw - 1), w = u - a; the same for
             gy gives c, d, z. Horizontal first, then vertical:
                 top = values[c][a] * (1 - w) + values[c][b] * w;  bottom = the same in row d
                 v = top * (1 - z) + bottom * z
             patch view: v = values[min(floor(gy), gh - 1)][min(floor(gx), gw - 1)]
5. displayed m = v * factor                                 (factor = number of patches for probabilities, else 1)
6. scale     unsigned: t = clamp((m - vmin) / (vmax - vmin), 0, 1) ** power;  index = floor(255 * t + 0.5)
             signed:   t = clamp(m / vmax, -1, 1);                            index = floor(128 + 127 * t + 0.5)
             (probabilities: vmin = 1, power = 0.5, so t is a square root; other unsigned: vmin = 0, power = 0.5)
7. colour    (r, g, b) = table[index], the 256-entry table of `colour.rgb_table` (floor(255 * component + 0.5))
8. alpha     floor(255 * opacity * |t'| ** 0.75 + 0.5) with t' = index / 255, or (index - 128) / 127 if signed:
             a 256-entry table too. Straight alpha, not premultiplied. Index 0 (or 128 if signed) is transparent.

Under the heat lies the photo as CSS `grayscale(1) brightness(0.7)` shows it. Around the smallest region that holds
half of the map's mass, or another share that is asked for, runs a thin contour (`contour.half_mass`: its level, and
the fixed lattice that defines it),
drawn only where the level lies above the scale's start: below chance nothing is drawn, so nothing is outlined
(signed maps: above 0.05 * vmax).
Pixels that the model did not see (cut off by a centre crop) are darkened and hatched.
"""

import math
from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.path import Path as MplPath
from matplotlib.transforms import Affine2D
from PIL import Image, ImageDraw, ImageFont

from crossviz.errors import RenderError
from crossviz.geometry import ImageView
from crossviz.render import colour
from crossviz.render.contour import contour_share, half_mass, half_mass_outlines, sample_axis
from crossviz.render.scale import Scale

__all__ = [
    "CONTOUR_START",
    "MAX_SIDE",
    "contour_is_shown",
    "dim_photo",
    "display_rgba",
    "draw_contour",
    "draw_overlay",
    "grid_axes",
    "hatch_unseen",
    "mark_unseen",
    "outlines_to_display",
    "sample",
    "sized",
    "stamp_untrained",
    "table_index",
    "unseen_boxes",
    "untrained_stripe",
]

CONTOUR_START = 0.05
"""Share of a signed scale's end that the contour's level must exceed."""
MAX_SIDE = 16384
"""Of a picture that is asked for in another size than the photo's."""
_BAND = 1 << 18  # pixels that are worked on at once: bounds the memory, and stays in the cache


def display_rgba(
    values: np.ndarray,
    scale: Scale,
    size_wh: tuple[int, int],
    *,
    view: ImageView | None = None,
    smooth: bool = True,
    opacity: float = colour.OPACITY,
    cmap: str | None = None,
) -> np.ndarray:
    """The heat of one map at any display size, without the photo: exactly what the viewer's canvas holds.

    The arithmetic is written down, step by step, at the top of this module.

    Args:
        values: raw values `gh gw`.
        scale: from value to colour position; see `scale.shared_scale`.
        size_wh: display size in pixels; the display shows the whole photo.
        view: what of the photo the model saw. None: the map covers the whole display.
        smooth: bilinear between patch centres, or flat patches.
        opacity: largest alpha, 0..1.
        cmap: a name of `colour.SEQUENTIAL`, or of `colour.DIVERGING` for a signed scale. None: the first.

    Returns:
        uint8 `H W 4`, straight alpha; (0, 0, 0, 0) where the model did not look.

    Raises:
        RenderError: for an unknown colour map, an opacity outside [0, 1], or a size below 1 x 1.
    """
    width, height = size_wh
    if width < 1 or height < 1:
        raise RenderError(f"`size_wh`={size_wh} must be at least 1 x 1 pixel.")
    values = np.asarray(values, dtype=np.float64)
    gh, gw = values.shape
    table = colour.rgba_table(colour.check_cmap(cmap, signed=scale.signed), opacity, scale.signed)
    gx, gy, seen_x, seen_y = grid_axes(size_wh, (gh, gw), view)
    out = np.zeros((height, width, 4), dtype=np.uint8)
    if seen_x.start >= seen_x.stop or seen_y.start >= seen_y.stop:
        return out
    gx = gx[seen_x]
    pixels = out.view(np.uint32)[..., 0]
    table = np.ascontiguousarray(table).view(np.uint32)[:, 0]
    if not smooth:
        index = table_index(values, scale)
        row, column = (np.minimum(np.floor(g).astype(np.intp), n - 1) for g, n in ((gy[seen_y], gh), (gx, gw)))
        pixels[seen_y, seen_x] = table[index[:, column]][row]
        return out
    left, right, weight = sample_axis(gx, gw)
    rows = values[:, left] * (1 - weight) + values[:, right] * weight  # gh W
    top, bottom, weight = sample_axis(gy, gh)
    step = max(1, _BAND // max(1, gx.size))
    for start in range(seen_y.start, seen_y.stop, step):
        band = slice(start, min(start + step, seen_y.stop))
        w = weight[band, None]
        mixed = rows[top[band]]
        mixed *= 1 - w
        mixed += rows[bottom[band]] * w
        pixels[band, seen_x] = np.take(table, table_index(mixed, scale))
    return out


def sample(values: np.ndarray, size_wh: tuple[int, int], view: ImageView, *, smooth: bool = True) -> np.ndarray:
    """The value at every display pixel (steps 1 to 4), float64 `H W`; NaN where the model did not look.

    Args:
        values: `gh gw`.
        size_wh, view, smooth: as for `display_rgba`.
    """
    values = np.asarray(values, dtype=np.float64)
    gh, gw = values.shape
    gx, gy, seen_x, seen_y = grid_axes(size_wh, (gh, gw), view)
    out = np.full(size_wh[::-1], np.nan)
    if not smooth:
        row, column = (np.clip(np.floor(g), 0, n - 1).astype(np.intp) for g, n in ((gy[seen_y], gh), (gx[seen_x], gw)))
        out[seen_y, seen_x] = values[row[:, None], column]
        return out
    left, right, across = sample_axis(gx[seen_x], gw)
    rows = values[:, left] * (1 - across) + values[:, right] * across  # gh W
    top, bottom, down = (part[seen_y] for part in sample_axis(gy, gh))
    out[seen_y, seen_x] = rows[top] * (1 - down[:, None]) + rows[bottom] * down[:, None]
    return out


def grid_axes(
    size_wh: tuple[int, int], grid_hw: tuple[int, int], view: ImageView | None
) -> tuple[np.ndarray, np.ndarray, slice, slice]:
    """Steps 1 to 3: the grid coordinate of each display column and of each row, and which of them the model saw.

    Args:
        size_wh, view: as for `display_rgba`.
        grid_hw: patches down and across.
    """
    source_wh = size_wh if view is None else view.source_wh
    x0, y0, x1, y1 = (0.0, 0.0, *map(float, source_wh)) if view is None else view.crop_xyxy
    sx = (np.arange(size_wh[0]) + 0.5) * source_wh[0] / size_wh[0]
    sy = (np.arange(size_wh[1]) + 0.5) * source_wh[1] / size_wh[1]
    seen = (slice(int(np.sum(s < a)), int(np.sum(s < b))) for s, a, b in ((sx, x0, x1), (sy, y0, y1)))
    return (sx - x0) / (x1 - x0) * grid_hw[1], (sy - y0) / (y1 - y0) * grid_hw[0], *seen


def table_index(values: np.ndarray, scale: Scale) -> np.ndarray:
    """Raw values -> entries of the colour table (steps 5 and 6), uint8 of the same shape."""
    t = scale.position(values)
    t *= 127.0 if scale.signed else 255.0
    t += 128.5 if scale.signed else 0.5
    return t.astype(np.uint8)  # truncates, and t is never negative: floor


def dim_photo(photo: Image.Image) -> Image.Image:
    """The photo as it lies under the heat: grey and a little darker, RGB, same size."""
    red, green, blue = (weight * colour.PHOTO_BRIGHTNESS for weight in colour.GREY_WEIGHTS)
    return photo.convert("RGB").convert("L", (red, green, blue, 0.0)).convert("RGB")


def unseen_boxes(view: ImageView, size_wh: tuple[int, int]) -> list[tuple[int, int, int, int]]:
    """The parts of a display that the model did not see, as up to four disjoint boxes (left, top, right, bottom)."""
    _, _, columns, rows = grid_axes(size_wh, (1, 1), view)
    left, right, top, bottom = columns.start, columns.stop, rows.start, rows.stop
    width, height = size_wh
    boxes = [
        (0, 0, width, top),
        (0, bottom, width, height),
        (0, top, left, bottom),
        (right, top, width, bottom),
    ]
    return [box for box in boxes if box[0] < box[2] and box[1] < box[3]]


def draw_overlay(
    photo: Image.Image,
    values: np.ndarray,
    view: ImageView,
    scale: Scale,
    *,
    smooth: bool = True,
    opacity: float = colour.OPACITY,
    cmap: str | None = None,
    contour: bool | float = True,
    trained: bool = True,
    size_wh: tuple[int, int] | None = None,
) -> Image.Image:
    """One map on the photo.

    Args:
        photo: the source photo (after EXIF rotation).
        values: raw values `gh gw`.
        view: the map from the photo to what the model saw.
        scale: from value to colour.
        smooth, opacity, cmap: as for `display_rgba`.
        contour: draw the outline of the smallest region that holds half of the map's mass, or this share of it.
        trained: False puts the permanent stripe "untrained weights" on the picture.
        size_wh: size to draw at; the photo's own if None.

    Returns:
        RGB image of `size_wh`.
    """
    contour_share(contour)  # says what can't be, before anything is drawn
    size_wh = photo.size if size_wh is None else size_wh
    if photo.size != size_wh:
        photo = photo.resize(size_wh, Image.Resampling.LANCZOS, reducing_gap=3.0)
    picture = dim_photo(photo)
    heat = Image.fromarray(
        display_rgba(values, scale, size_wh, view=view, smooth=smooth, opacity=opacity, cmap=cmap), "RGBA"
    )
    picture.paste(heat, (0, 0), heat)
    hatch_unseen(picture, unseen_boxes(view, size_wh))
    draw_contour(picture, values, view, scale, smooth=smooth, contour=contour)
    if not trained:
        stamp_untrained(picture)
    return picture


def draw_contour(
    picture: Image.Image,
    values: np.ndarray,
    view: ImageView,
    scale: Scale,
    *,
    smooth: bool = True,
    contour: bool | float = True,
) -> None:
    """The line around half of a map's mass, or another share, where it is to be seen; in place.

    Args:
        picture: RGB, shows the whole photo at any size.
        values, view, scale, smooth, contour: as for `draw_overlay`.
    """
    share = contour_share(contour)
    if share and contour_is_shown(values, scale, smooth=smooth, share=share):
        _draw_outlines(picture, half_mass_outlines(values, smooth=smooth, share=share), values.shape, view)


def sized(source_wh: tuple[int, int], width: int | None) -> tuple[int, int]:
    """A photo's size at another width, or its own; at least 1 pixel high.

    Raises:
        RenderError: no width, or one that makes a picture of more than 16384 pixels a side.
    """
    if width is None:
        return source_wh
    height = max(1, round(source_wh[1] * width / source_wh[0])) if type(width) is int and width > 0 else 0
    if not height or max(width, height) > MAX_SIDE:
        raise RenderError(
            f"`width` must be a whole number that keeps both sides in 1 to {MAX_SIDE}, not {width!r:.40}."
        )
    return width, height


def mark_unseen(photo: Image.Image, view: ImageView, *, dim: bool = False) -> Image.Image:
    """A copy of the photo without heat, grey if `dim`, with what the model did not see darkened and hatched."""
    picture = dim_photo(photo) if dim else photo.convert("RGB").copy()
    hatch_unseen(picture, unseen_boxes(view, picture.size))
    return picture


def contour_is_shown(values: np.ndarray, scale: Scale, *, smooth: bool = True, share: float = 0.5) -> bool:
    """Whether the contour of `share` of the mass is drawn: its level lies above the scale's start, so that it is seen.

    Signed maps: above `CONTOUR_START` of the scale's end, or every word without weight would be outlined noise.
    """
    region = half_mass(values, smooth=smooth, share=share)
    start = CONTOUR_START * scale.vmax if scale.signed else max(scale.vmin, 0.0)
    return region.mass > 0 and region.level * scale.factor > start


def outlines_to_display(
    outlines: list[np.ndarray], grid_hw: tuple[int, int], view: ImageView, size_wh: tuple[int, int]
) -> list[np.ndarray]:
    """Outlines in grid coordinates -> continuous display coordinates."""
    x0, y0, x1, y1 = view.crop_xyxy
    per_source = np.array(size_wh, dtype=np.float64) / view.source_wh
    per_patch = np.array([(x1 - x0) / grid_hw[1], (y1 - y0) / grid_hw[0]])
    return [(line * per_patch + (x0, y0)) * per_source for line in outlines]


def _draw_outlines(picture: Image.Image, outlines: list[np.ndarray], grid_hw: tuple[int, int], view: ImageView) -> None:
    """Thin light lines with a dark halo, readable on any heat and any photo; in place, antialiased by Agg."""
    width, height = picture.size
    lines = outlines_to_display(outlines, grid_hw, view, picture.size)
    if not lines:
        return
    thin = max(1.0, min(width, height) / 320)
    renderer = RendererAgg(width, height, 72)
    flip = Affine2D().scale(1, -1).translate(0, height)  # Agg's y axis points up
    path = MplPath.make_compound_path(*(MplPath(line, closed=True) for line in lines))
    for rgba, line_width in ((colour.CONTOUR_HALO_RGBA, 2.6 * thin), (colour.CONTOUR_RGBA, thin)):
        gc = renderer.new_gc()
        gc.set_foreground(tuple(component / 255 for component in rgba))
        gc.set_linewidth(line_width)
        gc.set_joinstyle("round")
        renderer.draw_path(gc, path, flip)
    drawn = Image.frombuffer("RGBA", (width, height), renderer.buffer_rgba(), "raw", "RGBA", 0, 1)
    picture.paste(drawn, (0, 0), drawn)


def hatch_unseen(picture: Image.Image, boxes: list[tuple[int, int, int, int]]) -> None:
    """Darken and hatch boxes (left, top, right, bottom), in place."""
    if not boxes:
        return
    period = max(6, round(min(picture.size) / 28))
    line = max(1, period // 7)
    light = np.array(colour.UNSEEN_HATCH_RGBA, dtype=np.float64)
    for left, top, right, bottom in boxes:
        step = max(1, _BAND // (right - left))
        for start in range(top, bottom, step):
            box = (left, start, right, min(start + step, bottom))
            pixels = np.asarray(picture.crop(box), dtype=np.float64) * colour.UNSEEN_BRIGHTNESS
            diagonal = (np.arange(box[0], box[2]) + np.arange(box[1], box[3])[:, None]) % period < line
            pixels[diagonal] += (light[:3] - pixels[diagonal]) * (light[3] / 255)
            picture.paste(Image.fromarray(pixels.astype(np.uint8), "RGB"), box[:2])


@lru_cache(maxsize=8)
def _bold_font(size: int) -> ImageFont.FreeTypeFont:
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf")
    return ImageFont.truetype(str(path), size, layout_engine=ImageFont.Layout.BASIC)


UNTRAINED = "untrained weights"


def stamp_untrained(picture: Image.Image, stripe: Image.Image | None = None) -> None:
    """The permanent diagonal stripe across a picture whose map comes from weights that were not trained; in place.

    Args:
        stripe: of `untrained_stripe` for the picture's size, where there are many pictures; made anew if None.
    """
    width, height = picture.size
    stripe = untrained_stripe(picture.size) if stripe is None else stripe
    picture.paste(stripe, ((width - stripe.width) // 2, (height - stripe.height) // 2), stripe)


def untrained_stripe(size_wh: tuple[int, int]) -> Image.Image:
    """The stripe for a picture of this size, RGBA, transparent around it; it reaches beyond the picture.

    It runs from the lower left to the upper right corner, whatever the shape; the words repeat along it.
    """
    width, height = size_wh
    length = math.ceil(math.hypot(width, height))
    thick = max(3, round(min(math.sqrt(width * height) * 0.085, max(min(width, height) * 0.3, 10))))
    band = Image.new("RGBA", (length, thick), colour.STRIPE_RGBA)
    font_size = round(thick * 0.58)
    if font_size >= 6:
        text = f"{UNTRAINED}  ·  "
        font = _bold_font(font_size)
        advance = max(1, round(font.getlength(text)))
        draw = ImageDraw.Draw(band)
        copies = length // advance + 2
        start = length / 2 - copies * advance / 2
        for copy in range(copies):
            draw.text((start + copy * advance, thick / 2), text, colour.STRIPE_TEXT_RGBA, font, anchor="lm")
    angle = math.degrees(math.atan2(height, width))
    return band.rotate(angle, Image.Resampling.BICUBIC, expand=True)
