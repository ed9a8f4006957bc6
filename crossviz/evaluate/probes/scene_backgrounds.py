"""Where rendered scenes take place: a room, a table, a meadow, a beach, a street, a studio; and their light."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

__all__ = ["BACKGROUNDS", "INDOORS", "OUTDOORS", "Backdrop", "Light", "draw_light", "resize"]


@dataclass(frozen=True)
class Light:
    """Where the light comes from (unit vector: right, up, towards the viewer), how much is all around, its colour."""

    towards: tuple[float, float, float]
    ambient: float
    tint: tuple[float, float, float]


@dataclass(frozen=True)
class Backdrop:
    """Pixels `side side 3` in 0 to 1, and the height of the line where the ground begins, as a share from above."""

    pixels: NDArray[np.float32]
    horizon: float


def draw_light(rng: np.random.Generator) -> Light:
    """Light from above, from either side."""
    towards = np.array([rng.choice((-1, 1)) * rng.uniform(0.3, 0.8), rng.uniform(0.6, 0.9), rng.uniform(0.5, 0.8)])
    warm = rng.uniform(-0.06, 0.06)
    towards = towards / np.linalg.norm(towards)
    return Light(tuple(map(float, towards)), float(rng.uniform(0.42, 0.58)), (1 + warm, 1.0, 1 - warm))


def resize(values: NDArray, width: int, height: int) -> NDArray[np.float32]:
    """A float array `h w` at another size, bicubic."""
    return np.asarray(Image.fromarray(values.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC))


def _noise(rng: np.random.Generator, side: int, cells: tuple[float, float], octaves: int = 4) -> NDArray:
    """Cloudy noise `side side` around 0, about -1 to 1; `cells` across and down in its coarsest octave."""
    total = np.zeros((side, side), np.float32)
    for octave in range(octaves):
        size = [min(side, max(2, int(c * 2**octave) + 1)) for c in cells]
        total += resize(rng.uniform(-1, 1, (size[1], size[0])), side, side) / 1.8**octave
    return total


def _blur(pixels: NDArray, radius: float) -> NDArray:
    image = Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / 255


def _grid(side: int) -> tuple[NDArray, NDArray]:
    """x and y of every pixel's centre, 0 to 1, y downwards."""
    at = (np.arange(side, dtype=np.float32) + 0.5) / side
    return np.broadcast_to(at[None], (side, side)), np.broadcast_to(at[:, None], (side, side))


def _colour(values: tuple[float, float, float]) -> NDArray:
    return np.array(values, np.float32)


def _pick(rng: np.random.Generator, *colours: tuple[float, float, float]) -> NDArray:
    return _colour(colours[rng.integers(len(colours))]) * rng.uniform(0.92, 1.06)


def _compose(side: int, horizon: float, above: NDArray, below: NDArray) -> Backdrop:
    return Backdrop(np.where((_grid(side)[1] < horizon)[..., None], above, below).astype(np.float32), horizon)


def _perspective(side: int, horizon: float) -> tuple[NDArray, NDArray]:
    """Ground coordinates of every pixel under the horizon: across and away, growing towards it."""
    x, y = _grid(side)
    depth = 0.35 / np.maximum(y - horizon + 0.22, 0.02)
    return (x - 0.5) * depth, depth


def _wall(rng: np.random.Generator, side: int, light: Light) -> NDArray:
    """A painted wall, brighter on the side of the light."""
    x, y = _grid(side)
    paint = _pick(
        rng, (0.87, 0.85, 0.79), (0.74, 0.81, 0.84), (0.84, 0.77, 0.70), (0.76, 0.80, 0.72), (0.82, 0.82, 0.84)
    )
    fall = 1 + 0.16 * np.sign(light.towards[0]) * (x - 0.5) - 0.14 * (y - 0.3) + 0.01 * _noise(rng, side, (40, 40), 2)
    return paint * fall[..., None]


def _wood(rng: np.random.Generator, side: int, u: NDArray, v: NDArray, planks: float) -> NDArray:
    """Planks along v, `planks` of them in a unit of u, with grain."""
    paint = _pick(rng, (0.66, 0.48, 0.31), (0.52, 0.35, 0.22), (0.76, 0.61, 0.43), (0.58, 0.45, 0.35))
    number = np.floor(u * planks)
    tone = np.sin(number * 91.7 + rng.uniform(0, 9)) * 0.06
    grain = 0.035 * np.sin(70 * u * planks / 5 + 4 * _noise(rng, side, (3, 8), 3)) + 0.03 * _noise(
        rng, side, (60, 8), 2
    )
    gap = np.abs(u * planks - number - 0.5) > 0.485
    return paint * (1 + tone + grain - 0.30 * gap)[..., None]


def _room(rng: np.random.Generator, side: int, light: Light) -> Backdrop:
    horizon = rng.uniform(0.50, 0.58)
    across, away = _perspective(side, horizon)
    floor = _wood(rng, side, across, away, 9.0)
    wall, y = _wall(rng, side, light), _grid(side)[1]
    skirting = (y > horizon - 0.035) & (y < horizon)
    wall = np.where(skirting[..., None], 0.92 - 0.12 * ((y - horizon + 0.035) / 0.035 > 0.85)[..., None], wall)
    return _compose(side, horizon, wall, floor)


def _table(rng: np.random.Generator, side: int, light: Light) -> Backdrop:
    horizon = rng.uniform(0.44, 0.54)
    wall = _blur(_wall(rng, side, light) * (1 + 0.05 * _noise(rng, side, (3, 3), 2))[..., None], 8)
    y = _grid(side)[1]
    wood = _wood(rng, side, y * 1.7, _grid(side)[0], 4.0)
    wood *= (0.86 + 0.3 * (y - horizon))[..., None]
    wood = np.where((y < horizon + 0.012)[..., None], wood * 1.15, wood)
    return _compose(side, horizon, wall, wood)


def _sky(rng: np.random.Generator, side: int, horizon: float) -> NDArray:
    y = (_grid(side)[1] / horizon).clip(0, 1)[..., None]
    top = _pick(rng, (0.36, 0.58, 0.88), (0.45, 0.62, 0.82), (0.58, 0.68, 0.78))
    sky = top * (1 - y) + _colour((0.86, 0.91, 0.95)) * y
    cloud = ((_noise(rng, side, (3, 6)) - 0.1) * 0.9).clip(0, 0.85)[..., None]
    return sky * (1 - cloud) + 0.97 * cloud


def _meadow(rng: np.random.Generator, side: int, light: Light) -> Backdrop:
    horizon = rng.uniform(0.46, 0.56)
    x, y = _grid(side)
    sky = _sky(rng, side, horizon)
    for rise, tone in ((0.11, (0.55, 0.68, 0.66)), (0.06, (0.45, 0.60, 0.42))):  # hills, the far ones bluer
        line = horizon - rise * (0.5 + 0.5 * np.sin(x * rng.uniform(3, 7) + rng.uniform(0, 6)))
        sky = np.where((y > line)[..., None], _colour(tone), sky)
    paint = _pick(rng, (0.42, 0.58, 0.24), (0.35, 0.52, 0.22), (0.50, 0.60, 0.28))
    blades = 0.10 * _noise(rng, side, (70, 30), 3) + 0.10 * _noise(rng, side, (5, 9), 3)
    grass = paint * (1 + blades + 0.25 * (y - horizon - 0.2))[..., None]
    return _compose(side, horizon, _blur(sky, 1.5), grass)


def _beach(rng: np.random.Generator, side: int, light: Light) -> Backdrop:
    line, horizon = rng.uniform(0.36, 0.42), rng.uniform(0.50, 0.58)
    x, y = _grid(side)
    sea = _pick(rng, (0.20, 0.46, 0.60), (0.25, 0.52, 0.60))
    waves = 1 + 0.08 * _noise(rng, side, (6, 60), 3) + 0.5 * (y - line)
    shore = horizon + 0.012 * np.sin(x * 7 + rng.uniform(0, 6)) - 0.012
    above = np.where((y < line)[..., None], _sky(rng, side, line), sea * waves[..., None])
    sand = _pick(rng, (0.86, 0.77, 0.60), (0.80, 0.72, 0.58)) * (1 + 0.03 * _noise(rng, side, (80, 60), 3))[..., None]
    wet = np.exp(-(((y - shore) / 0.03).clip(0)))[..., None]
    sand = sand * (1 - 0.22 * wet)
    foam = np.exp(-(((y - shore) / 0.008) ** 2))[..., None]
    pixels = np.where((y < shore)[..., None], above, sand) * (1 - foam) + 0.95 * foam
    return Backdrop(pixels.astype(np.float32), horizon)


def _street(rng: np.random.Generator, side: int, light: Light) -> Backdrop:
    horizon = rng.uniform(0.52, 0.60)
    x, y = _grid(side)
    brick = _pick(rng, (0.62, 0.38, 0.30), (0.70, 0.62, 0.52), (0.60, 0.58, 0.56), (0.72, 0.56, 0.44))
    row = np.floor(y * 46)
    joint = ((y * 46) % 1 < 0.14) | ((x * 20 + 0.5 * (row % 2)) % 1 < 0.07)
    brickwork = np.sin(row * 12.9 + np.floor(x * 20 + 0.5 * (row % 2)) * 78.2) * 0.05
    wall = brick * (1 + brickwork + 0.03 * _noise(rng, side, (50, 50), 2) + 0.12 * joint)[..., None]
    kerb = (y > horizon) & (y < horizon + 0.05)
    asphalt = _pick(rng, (0.40, 0.40, 0.42), (0.46, 0.45, 0.44))
    road = asphalt * (1 + 0.06 * _noise(rng, side, (120, 90), 2) + 0.05 * _noise(rng, side, (4, 6), 2))[..., None]
    stone = _colour((0.66, 0.65, 0.62)) * (1 + 0.03 * _noise(rng, side, (60, 60), 2))[..., None]
    stone = np.where((y > horizon + 0.038)[..., None], stone * 0.75, stone)
    return _compose(side, horizon, _blur(wall, 1.2), np.where(kerb[..., None], stone, road))


def _studio(rng: np.random.Generator, side: int, light: Light) -> Backdrop:
    horizon = 0.5
    x, y = _grid(side)
    paint = _pick(
        rng, (0.80, 0.80, 0.80), (0.70, 0.76, 0.80), (0.85, 0.80, 0.74), (0.76, 0.72, 0.78), (0.72, 0.78, 0.72)
    )
    glow = 0.22 * np.exp(-(((x - 0.5) ** 2 + (y - 0.4) ** 2) / 0.12)) + 0.10 * y
    return Backdrop((paint * (0.82 + glow)[..., None]).astype(np.float32), horizon)


BACKGROUNDS: Mapping[str, Callable[[np.random.Generator, int, Light], Backdrop]] = {
    "beach": _beach,
    "meadow": _meadow,
    "room": _room,
    "street": _street,
    "studio": _studio,
    "table": _table,
}
INDOORS = ("room", "studio", "table")
OUTDOORS = ("beach", "meadow", "street", "studio")
