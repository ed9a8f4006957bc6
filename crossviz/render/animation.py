"""One word's map as an animated GIF: layer by layer; head by head where there is one layer; else word by word.

Of one layer that is chosen it shows the heads, of one head the layers, of heads that are pinned each.

All frames share one scale, which is written under each of them, and say what they are.
"""

import bisect
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from crossviz.render import colour
from crossviz.render.caption_line import part_line
from crossviz.render.overlay import draw_overlay, sized
from crossviz.render.scale import Scale, shared_scale
from crossviz.results import Heads, head_index, layer_index, pinned
from crossviz.view_settings import ViewSettings

if TYPE_CHECKING:
    from crossviz.explanation import Explanation, Selector
    from crossviz.words import Phrase

__all__ = ["Frame", "animation_bytes", "fit", "font_of", "frames"]

WIDTH = 480
MOST_FRAMES = 64
PAUSE, FIRST_PAUSE = 700, 1500
"""Milliseconds that a frame is shown, and that the first one is."""


class Frame(NamedTuple):
    """One picture of the animation: raw values `gh gw`, and what they are."""

    values: np.ndarray
    label: str


def frames(
    explanation: "Explanation",
    words: "Sequence[Selector] | None" = None,
    layer: int | str | None = None,
    head: Heads = None,
) -> list[Frame]:
    """What is shown, one after the other; the first is the whole that the others are parts of.

    Args:
        words: one word or phrase, by index, text or span; the one with the strongest patch if None. (Several: their
            whole maps, one after the other.)
        layer, head: as for `Explanation.overlay`: the whole is only that.

    Raises:
        SelectionError: no such word, layer or head.
    """
    ex, chart = explanation, explanation.map
    asked = [words] if isinstance(words, str) else words if words is None else words[:MOST_FRAMES]
    chosen = [_strongest(ex)] if asked is None else [ex.caption.select(word) for word in asked]
    if chart.per_head is None or len(chosen) != 1:
        if asked is None:
            chosen = [ex.caption.phrase(word=word.index) for word in ex.words if word.tokens]
        name = part_line(ex, layer, head) if layer is not None or head is not None else "the whole map"
        return [
            Frame(chart.select(phrase.words, layer, head).numpy(), f"“{phrase.text}”, {name}")
            for phrase in chosen[:MOST_FRAMES]
        ]
    phrase = chosen[0]
    whole, parts = _parts(ex, layer, head)
    found = [Frame(chart.select(phrase.words, layer, head).numpy(), f"“{phrase.text}”, {whole}")]
    found += [Frame(chart.select(phrase.words, **part).numpy(), f"“{phrase.text}”, {name}") for part, name in parts]
    return found[:MOST_FRAMES]


def _parts(ex: "Explanation", layer: int | str | None, head: Heads) -> tuple[str, list[tuple[dict[str, Any], str]]]:
    """What the whole is, and its parts: the arguments of `select`, and what they are."""
    chart = ex.map
    layers, heads = chart.per_head.shape[:2]
    how = "mean" if chart.reduce == "mean" else "sum"
    if isinstance(head, list | tuple):
        pins = pinned(chart.layers, heads, layer, head)
        return part_line(ex, layer, head), [
            ({"layer": at, "head": one}, f"{_layer(chart.layers[at])}, head {one}") for at, one in pins
        ]
    if layer is not None and head is not None:
        return part_line(ex, layer, head), []
    if layer is not None:
        own = _layer(chart.layers[layer_index(chart.layers, layer)])
        each = [({"layer": layer, "head": at}, f"{own}: head {at} of 0 to {heads - 1}") for at in range(heads)]
        return f"{own}: {how} over {heads} heads", each
    if layers > 1:
        also = "" if head is None else f", head {head_index(heads, head)}"
        each = [
            ({"layer": at, "head": head}, f"{_layer(label)}{also} ({at + 1} of {layers})")
            for at, label in enumerate(chart.layers)
        ]
        return f"{how} over {layers} layers{also}", each
    if head is not None:
        return part_line(ex, layer, head), []
    each = [({"head": at}, f"one layer: head {at} of 0 to {heads - 1}") for at in range(heads)]
    return f"one layer: {how} over {heads} heads", each


def animation_bytes(
    explanation: "Explanation",
    words: "Sequence[Selector] | None" = None,
    width: int | None = None,
    settings: ViewSettings | None = None,
) -> bytes:
    """The GIF; it repeats without end.

    Args:
        words: as for `frames`.
        width: in pixels; 480 if None.
        settings: through which layer and heads, and how it is drawn; all frames share one scale in any case.

    Raises:
        SelectionError: no such word, layer or head.
        RenderError: no such width or colour map.
    """
    how = {} if settings is None else settings.drawing()
    through = {name: how.pop(name) for name in ("layer", "head") if name in how}
    how.pop("scale", None)
    ex, shown = explanation, frames(explanation, words, **through)
    stack = np.stack([frame.values for frame in shown])
    scale = shared_scale(stack, ex.unit, signed=ex.map.signed)
    size_wh = sized(ex.photo.wh, WIDTH if width is None else width)
    photo = ex.photo.image().convert("RGB").resize(size_wh, Image.Resampling.LANCZOS, reducing_gap=3.0)
    pictures = [_picture(ex, photo, frame, scale, how) for frame in shown]
    out = io.BytesIO()
    pictures[0].save(
        out,
        "GIF",
        save_all=True,
        append_images=pictures[1:],
        duration=[FIRST_PAUSE, *[PAUSE] * (len(pictures) - 1)],
        loop=0,
        disposal=1,
    )
    return out.getvalue()


def _picture(ex: "Explanation", photo: Image.Image, frame: Frame, scale: Scale, how: dict[str, Any]) -> Image.Image:
    """The overlay with two lines of text under it, in 256 colours."""
    trained = ex.provenance.trained
    drawn = draw_overlay(photo, frame.values, ex.view, scale, size_wh=photo.size, trained=trained, **how)
    points = max(11, round(photo.width / 36))
    strip = round(points * 3.2)
    picture = Image.new("RGB", (photo.width, photo.height + strip), colour.PAPER)
    picture.paste(drawn, (0, 0))
    pen, font, left = ImageDraw.Draw(picture), font_of(points), points // 2
    ends = f"{scale.vmin:.3g} to {scale.vmax:.3g} {scale.label}; {ex.provenance.model}, {ex.method_title}"
    for line, (text, ink) in enumerate([(frame.label, colour.INK), (ends, colour.MUTED)]):
        text = fit(text, font, photo.width - 2 * left)
        pen.text((left, photo.height + points * (0.35 + 1.4 * line)), text, ink, font)
    return picture.quantize(256, Image.Quantize.MEDIANCUT)


def fit(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    """The text on one line, cut with an ellipsis where it is wider than `room` pixels."""
    text = " ".join(text.split())
    if font.getlength(text) <= room:
        return text
    cut = bisect.bisect_right(range(len(text)), room, key=lambda count: font.getlength(f"{text[:count]}…"))
    return f"{text[: max(0, cut - 1)]}…"


def font_of(points: int) -> ImageFont.FreeTypeFont:
    """The font of all texts in pictures."""
    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), points, layout_engine=ImageFont.Layout.BASIC)


def _strongest(ex: "Explanation") -> "Phrase":
    read = [word.index for word in ex.words if word.tokens]
    return ex.caption.phrase(word=max(read, key=lambda index: float(ex.map.values[index].abs().max())))


def _layer(label: str) -> str:
    return label if label.lower().startswith("layer") else f"layer {label}"
