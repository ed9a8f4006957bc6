"""What every figure is made of: lines of text, a picture in its axes, an outline over it, and the colour bar.

Lengths are in inches, sizes of type in points.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as MplPath
from PIL import Image

from crossviz.geometry import ImageView
from crossviz.render import colour
from crossviz.render.contour import half_mass_outlines
from crossviz.render.overlay import outlines_to_display
from crossviz.render.scale import Scale
from crossviz.render.text import text_style

__all__ = [
    "BAR_HEIGHT",
    "BAR_WIDTH",
    "LEADING",
    "NOTE_PT",
    "bar_lines",
    "bar_notes",
    "bar_strip",
    "bar_ticks",
    "colour_bar",
    "number",
    "outline",
    "put_lines",
    "show",
]

NOTE_PT = 8.0
LEADING = 1.35
BAR_WIDTH, BAR_HEIGHT = 3.0, 0.13
_BAR_GAP = 0.2


def put_lines(
    figure: Figure, lines: Sequence[str], left: float, top: float, points: float, ink: str, *, bold: bool = False
) -> None:
    """Lines of text from `top` (inches from the figure's lower edge) downwards."""
    width, height = figure.get_size_inches()
    for number, line in enumerate(lines):
        y = top - (number + 0.8) * points * LEADING / 72
        figure.text(left / width, y / height, line, color=ink, va="baseline", **text_style(line, points, bold=bold))


def show(axes: Axes, picture: Image.Image) -> None:
    """A picture that fills its axes, in pixel coordinates with y down."""
    width, height = picture.size
    axes.set_axis_off()
    axes.imshow(np.asarray(picture), extent=(0, width, height, 0), aspect="auto", interpolation="nearest")
    axes.set(xlim=(0, width), ylim=(height, 0))


def outline(
    axes: Axes, values: np.ndarray, view: ImageView, size_px: tuple[int, int], smooth: bool, share: float = 0.5
) -> None:
    """The line around half of a map's mass, or another share, over a picture of the whole photo of `size_px`."""
    lines = outlines_to_display(half_mass_outlines(values, smooth=smooth, share=share), values.shape, view, size_px)
    path = MplPath.make_compound_path(*(MplPath(line, closed=True) for line in lines))
    for rgba, line_width in ((colour.CONTOUR_HALO_RGBA, 1.8), (colour.CONTOUR_RGBA, 0.8)):
        edge = tuple(component / 255 for component in rgba)
        axes.add_patch(PathPatch(path, fill=False, edgecolor=edge, linewidth=line_width, joinstyle="round"))


def colour_bar(
    figure: Figure,
    scale: Scale,
    cmap: str,
    opacity: float,
    left: float,
    bottom: float,
    room: float = BAR_WIDTH,
    *,
    numbers: bool = True,
) -> None:
    """The scale as it looks over the middle grey of a darkened photo, with ticks in displayed units.

    Args:
        numbers: False where each map has a scale of its own.
    """
    width, height = figure.get_size_inches()
    axes = figure.add_axes((left / width, bottom / height, room / width, BAR_HEIGHT / height), frameon=False)
    axes.imshow(bar_strip(scale, cmap, opacity), extent=(0, 1, 0, 1), aspect="auto", interpolation="nearest")
    if not numbers:
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
        return
    ticks = bar_ticks(scale, room)
    at = [t for t, _ in ticks]
    axes.set(xlim=(0, 1), ylim=(0, 1), xticks=at, yticks=[])
    axes.set_xticklabels([label for _, label in ticks], color=colour.INK, **text_style("×0", NOTE_PT))
    for label, t in zip(axes.get_xticklabels(), at, strict=True):
        label.set_horizontalalignment("left" if t < 0.01 else "right" if t > 0.99 else "center")
    axes.tick_params(length=2.5, width=0.6, color=colour.MUTED, pad=2)


def bar_strip(scale: Scale, cmap: str, opacity: float) -> np.ndarray:
    """The scale's colours over the middle grey of a darkened photo, from its start to its end: uint8 `1 colour 3`."""
    table = colour.rgba_table(cmap, opacity, scale.signed).astype(np.float64)[1 if scale.signed else 0 :]
    alpha = table[:, 3:] / 255
    grey = 127.5 * colour.PHOTO_BRIGHTNESS
    return np.round(table[:, :3] * alpha + grey * (1 - alpha)).astype(np.uint8)[None]


def bar_ticks(scale: Scale, room: float = BAR_WIDTH) -> list[tuple[float, str]]:
    """Where numbers stand under a colour bar, from 0 (its start) to 1, and what they say; no more than have room.

    Args:
        room: the bar's width in inches.
    """
    ticks = scale.ticks()
    # No room for long numbers between the ends.
    if room < BAR_WIDTH or any(len(number(tick)) > 4 for tick in ticks[1:-1]):
        ticks = [ticks[0], *([0.0] if scale.signed else []), ticks[-1]]
    at = [float(scale.position_of_displayed(np.float64(tick))) for tick in ticks]
    at = [(t + 1) / 2 if scale.signed else t for t in at]
    unit = "×" if scale.unit == "probability" else ""
    labels = [f"{number(tick)}{unit}".replace("-", "\u2212") for tick in ticks]
    wide = [0.6 * NOTE_PT * len(label) / (72 * room) for label in labels]  # roughly, as shares of the bar
    last = 1 - wide[-1] - 0.02  # the last label ends at the bar's end
    return [(t, labels[i]) for i, t in enumerate(at) if i in (0, len(at) - 1) or t + wide[i] / 2 < last]


def bar_notes(
    figure: Figure, scale: Scale, left: float, bottom: float, *, share: float | None = 0.5, label: str = ""
) -> None:
    """Two lines beside a colour bar: what its numbers are, and what the line around a map is.

    Args:
        share: of a map's mass that the line encloses; None where there is no line.
        label: what the numbers are; the scale's own label if empty.
    """
    width, height = figure.get_size_inches()
    lines = bar_lines(scale, share=share, label=label)
    for line, lift, ink in zip(lines, (0.03, -0.16), (colour.INK, colour.MUTED), strict=True):
        if not line:
            continue
        at_x = (left + BAR_WIDTH + _BAR_GAP) / width
        figure.text(at_x, (bottom + lift) / height, line, color=ink, **text_style(line, NOTE_PT))


def bar_lines(scale: Scale, *, share: float | None = 0.5, label: str = "") -> tuple[str, str]:
    """What `bar_notes` writes; the second is empty where there is no line. Args as there."""
    part = "half" if share == 0.5 else f"{share or 0:.0%}"
    lines = [label or scale.label, f"The line encloses {part} of a map's mass." if share else ""]
    if scale.unit == "probability" and scale.shared and not label:  # there is no room for both
        lines[0] += "   (nothing below 1×)" if scale.log else "   (below chance nothing is drawn)"
    if scale.signed and share:
        lines[1] = f"The line encloses {part} of what speaks for the word."
    return lines[0], lines[1]


def number(value: float) -> str:
    """Three significant digits, no exponent where it reads well without."""
    text = f"{value:.3g}"
    return text if "e" not in text or abs(value) < 1e-4 else f"{value:.0f}"
