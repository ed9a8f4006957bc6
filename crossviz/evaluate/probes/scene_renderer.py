"""Draws scenes of simple things, lit and with soft shadows, and says of every pixel which thing it shows.

Everything is painted three times as large, each point by exactly one thing, and averaged down: a thing's mask is where
it has the largest share of the pixel, so that it is exact, also where things cover each other.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from crossviz.evaluate.probes.scene_backgrounds import BACKGROUNDS, Backdrop, Light, draw_light, resize
from crossviz.evaluate.probes.scene_parts import COLOURS, Part
from crossviz.evaluate.probes.scene_shapes import SHAPES

__all__ = ["SIDE", "Picture", "Scene", "Thing", "render"]

SIDE = 384
_FINE = 3  # points a pixel, along each axis


@dataclass(frozen=True)
class Thing:
    """A thing of a scene: `x` and `base` are where it stands, as shares of the picture's side (from the left, from
    above); `size` is the side of its cell, as a share too. `on` is the number of the thing that it stands on."""

    kind: str
    colour: str
    x: float
    base: float
    size: float
    flip: bool = False
    on: int | None = None


@dataclass(frozen=True)
class Scene:
    """Things from back to front before a background; `seed` decides the light and every detail."""

    things: tuple[Thing, ...]
    background: str
    seed: int


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawn scene: `pixels` uint8 `SIDE SIDE 3`, and `masks` bool `thing SIDE SIDE` of what can be seen of each."""

    pixels: NDArray[np.uint8]
    masks: NDArray[np.bool_]


def render(scene: Scene, plain: Sequence[tuple[int, int, int]] | None = None) -> Picture:
    """Draw a scene.

    Args:
        scene: what to draw.
        plain: the colours of the background and of each thing, to draw all of it flat, with neither light nor shadow.
    """
    rng = np.random.default_rng(scene.seed)
    light, side = draw_light(rng), SIDE * _FINE
    backdrop = BACKGROUNDS[scene.background](rng, SIDE, light)
    canvas = np.stack([resize(backdrop.pixels[..., c], side, side) for c in range(3)], -1)
    canvas *= np.array(light.tint, np.float32)
    owner = np.zeros((side, side), np.uint8)
    for number, thing in enumerate(scene.things, 1):
        parts = [_placed(part, thing) for part in SHAPES[thing.kind](COLOURS[thing.colour], rng)]
        below = 0 if thing.on is None else thing.on + 1
        canvas *= 1 - _shadow(parts, thing, light, backdrop)[..., None] * (owner == below)[..., None]
        for part in parts:
            _paint(canvas, owner, number, part, light)
    if plain is not None:
        canvas = np.array(plain, np.float32)[owner] / 255
    shares = np.stack([_shrink(owner == number) for number in range(len(scene.things) + 1)])
    pixels = np.stack([_shrink(canvas[..., c].clip(0, 1)) for c in range(3)], -1)
    if plain is None:
        pixels = _developed(pixels, rng)
    largest = shares.argmax(0)
    masks = largest == np.arange(1, len(scene.things) + 1)[:, None, None]
    return Picture((pixels * 255).round().clip(0, 255).astype(np.uint8), masks)


def _placed(part: Part, thing: Thing) -> Part:
    """The part in points of the fine canvas, y downwards."""
    unit = thing.size * SIDE * _FINE
    x0, y0, turn = thing.x * SIDE * _FINE, thing.base * SIDE * _FINE, -1 if thing.flip else 1
    outline = part.outline * (turn * unit, -unit) + (x0, y0)
    frame = None
    if part.frame is not None:
        x, y, rx, ry = part.frame
        frame = (x0 + turn * unit * x, y0 - unit * y, unit * rx, unit * ry)
    return Part(outline, part.colour, part.bend, frame, part.shine)


def _paint(canvas: NDArray, owner: NDArray, number: int, part: Part, light: Light) -> None:
    side = len(owner)
    low = np.floor(part.outline.min(0)).astype(int).clip(0, side)
    high = (np.ceil(part.outline.max(0)).astype(int) + 1).clip(0, side)
    width, height = high - low
    if width < 1 or height < 1:
        return
    stencil = Image.new("1", (int(width), int(height)))
    ImageDraw.Draw(stencil).polygon([tuple(p) for p in (part.outline - low).tolist()], fill=1)
    inside = np.asarray(stencil)
    where = (slice(low[1], high[1]), slice(low[0], high[0]))
    canvas[where][inside] = _lit(part, low, (int(height), int(width)), light)[inside]
    owner[where][inside] = number


def _lit(part: Part, low: NDArray, shape: tuple[int, int], light: Light) -> NDArray:
    """The part's colour under the light, `height width 3`."""
    (x0, y0), (x1, y1) = part.outline.min(0), part.outline.max(0)
    cx, cy, rx, ry = part.frame or ((x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 2, (y1 - y0) / 2)
    u = ((np.arange(shape[1]) + low[0] + 0.5 - cx) / max(rx, 1e-6))[None].astype(np.float32)
    v = (-(np.arange(shape[0]) + low[1] + 0.5 - cy) / max(ry, 1e-6))[:, None].astype(np.float32)
    u, v = np.broadcast_arrays(u, v)
    if part.bend == "tube":
        v = v * 0.15
    elif part.bend == "hollow":
        u, v = -u, v * 0.0
    elif part.bend == "soft":
        u, v = u * 0.55, v * 0.55
    elif part.bend == "flat":
        u, v = u * 0.0, v * 0.0 + 0.1
    length = np.sqrt(u * u + v * v)
    squeeze = np.where(length > 0.97, 0.97 / np.maximum(length, 1e-6), 1.0)
    u, v = u * squeeze, v * squeeze
    depth = np.sqrt(1 - u * u - v * v)
    lx, ly, lz = light.towards
    diffuse = (u * lx + v * ly + depth * lz).clip(0)
    bright = light.ambient + (1.25 - light.ambient) * diffuse
    hx, hy, hz = np.array([lx, ly, lz + 1]) / np.linalg.norm([lx, ly, lz + 1])  # half way to the viewer
    gloss = part.shine * 0.75 * (u * hx + v * hy + depth * hz).clip(0) ** 40
    colour = np.array(part.colour, np.float32) * bright[..., None] + gloss[..., None]
    return colour * np.array(light.tint, np.float32)


def _shadow(parts: list[Part], thing: Thing, light: Light, backdrop: Backdrop) -> NDArray:
    """How much of the light the thing takes from every point of the ground, `side side`: drawn coarsely, then blurred.

    The thing's outline lies on the ground, away from the light, and a dark rim where it touches.
    """
    coarse, base, x0 = SIDE // 2, thing.base * SIDE / 2, thing.x * SIDE / 2
    scale = coarse / (SIDE * _FINE)
    cast = Image.new("L", (coarse, coarse))
    draw = ImageDraw.Draw(cast)
    for part in parts:
        x, y = (part.outline * scale).T
        up = base - y
        slant = np.stack([x - 0.55 * light.towards[0] * up, base - 0.22 * up], 1)
        draw.polygon([tuple(p) for p in slant.tolist()], fill=255)
    unit = thing.size * coarse
    long = np.asarray(cast.filter(ImageFilter.GaussianBlur(1 + 0.035 * unit)), np.float32) / 255
    rim = Image.new("L", (coarse, coarse))
    feet = np.concatenate([part.outline for part in parts]) * scale
    feet = feet[feet[:, 1] > base - 0.09 * unit, 0]
    left, right = (feet.min(), feet.max()) if feet.size else (x0, x0)
    pad = 0.012 * unit
    ImageDraw.Draw(rim).ellipse((left - pad, base - 0.05 * unit, right + pad, base + 0.025 * unit), fill=255)
    touch = np.asarray(rim.filter(ImageFilter.GaussianBlur(0.02 * unit + 0.5)), np.float32) / 255
    dark = np.maximum(0.42 * long, 0.5 * touch)
    if thing.on is None:
        rows = (np.arange(coarse) + 0.5) / coarse
        dark = dark * ((rows - backdrop.horizon) / 0.02).clip(0, 1)[:, None]
    return resize(dark, SIDE * _FINE, SIDE * _FINE).clip(0, 1)


def _shrink(values: NDArray) -> NDArray[np.float32]:
    """Means over the points of every pixel."""
    return values.astype(np.float32).reshape(SIDE, _FINE, SIDE, _FINE).mean((1, 3))


def _developed(pixels: NDArray, rng: np.random.Generator) -> NDArray:
    """As a camera gives it: darker corners, a soft curve, grain."""
    at = (np.arange(SIDE) + 0.5) / SIDE - 0.5
    corner = 1 - 0.35 * (at[None] ** 2 + at[:, None] ** 2)
    pixels = pixels * corner[..., None] * rng.uniform(0.92, 1.05)
    pixels = pixels + 0.05 * np.sin(2 * np.pi * (pixels - 0.5).clip(-0.5, 0.5)) / np.pi
    return (pixels + rng.normal(0, 0.010, pixels.shape[:2])[..., None]).clip(0, 1)
