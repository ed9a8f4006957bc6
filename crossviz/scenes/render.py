"""Draws a scene by tracing rays through signed distances, and says of every pixel which thing it shows.

Every pixel is four rays, each of which meets exactly one thing, or none; a thing's mask is where it has the largest
share of the pixel, so that it is exact, also where things cover each other. Shadows after Quilez, "Soft shadows in
raymarched SDFs" (2010).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossviz.scenes.camera import Camera, draw_camera
from crossviz.scenes.light import Light, draw_light
from crossviz.scenes.solids import REACH, SOLIDS
from crossviz.scenes.things import Scene, Thing
from crossviz.scenes.vocabulary import reflectance

__all__ = ["RADII", "SIDE", "Picture", "render"]

SIDE = 96
RADII = {"small": 0.56, "large": 1.0}
"""Half the height of a thing of that size, about, in units of the floor."""
_FINE = 2  # rays a pixel, along each axis
_STEPS = 30
_SOFT = 9.0  # the larger, the harder the shadows' edges


@dataclass(frozen=True, eq=False)
class Picture:
    """A drawn scene: `pixels` uint8 `side side 3`; `masks` bool `thing side side` of what can be seen of each;
    `seen` float `thing`, the share of each that nothing covers."""

    pixels: NDArray[np.uint8]
    masks: NDArray[np.bool_]
    seen: NDArray[np.float32]


class _Placed:
    """A thing where it stands."""

    def __init__(self, thing: Thing) -> None:
        self.thing, self.radius = thing, RADII[thing.size] * thing.scale
        self.centre = np.array([thing.x, thing.y, self.radius], np.float32)
        self.cos, self.sin = np.cos(thing.turn), np.sin(thing.turn)

    def distance(self, points: NDArray) -> NDArray:  # 3 points -> points
        x, y = points[0] - self.thing.x, points[1] - self.thing.y
        turned = np.stack([x * self.cos + y * self.sin, y * self.cos - x * self.sin, points[2]]) / self.radius
        return SOLIDS[self.thing.shape](turned.astype(np.float32, copy=False)) * self.radius

    def normal(self, points: NDArray) -> NDArray:  # 3 points -> 3 points
        step = 0.01 * self.radius
        total = np.zeros_like(points)
        for corner in ((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)):
            way = np.array(corner, np.float32)[:, None]
            total += way * self.distance(points + step * way)
        return total / np.maximum(np.linalg.norm(total, axis=0), 1e-6)

    def near(self, points: NDArray, towards: NDArray) -> NDArray:
        """Which rays from the points in one direction pass by near enough to be shaded."""
        to = self.centre[:, None] - points
        along = np.maximum((to * towards[:, None]).sum(0), 0)
        return ((to - along * towards[:, None]) ** 2).sum(0) < (REACH * 1.15 * self.radius) ** 2


def render(scene: Scene, side: int = SIDE) -> Picture:
    """Draw a scene as a square picture of that many pixels a side."""
    rng = np.random.default_rng(scene.seed)
    light, camera = draw_light(scene.mood, rng), draw_camera(rng)
    fine = side * _FINE
    rays = camera.rays(fine)  # 3 points
    placed = [_Placed(thing) for thing in scene.things]
    depths = np.full((len(placed) + 1, fine * fine), np.inf, np.float32)
    down = rays[2] < -1e-4
    depths[0, down] = -camera.place[2] / rays[2, down]
    for number, one in enumerate(placed, 1):
        box = _window(camera, one, fine)
        depths[number, box] = _march(one, camera.place, rays[:, box])
    depth, owner = depths.min(0), depths.argmin(0)
    owner = np.where(np.isinf(depth), -1, owner)  # -1 the sky, 0 the floor, from 1 the things
    colours = _colours(scene, placed, light, camera, rays, depth, owner)
    pixels = _shrink(colours.clip(0, 1).reshape(3, fine, fine))
    grain = 1 - 0.10 * ((np.linspace(-1, 1, side) ** 2)[:, None] + (np.linspace(-1, 1, side) ** 2)[None]) / 2
    pixels = ((pixels * grain) ** (1 / 2.2) * 255).round().clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    shares = _shrink((owner[None] == np.arange(-1, len(placed) + 1)[:, None]).reshape(-1, fine, fine))
    masks = shares.argmax(0) == np.arange(2, len(placed) + 2)[:, None, None]
    whole = np.isfinite(depths[1:]).sum(1)
    seen = np.array([(owner == number).sum() for number in range(1, len(placed) + 1)]) / np.maximum(whole, 1)
    return Picture(pixels, masks, seen.astype(np.float32))


def _window(camera: Camera, one: _Placed, side: int) -> NDArray[np.intp]:
    """The numbers of the rays that may meet the thing."""
    x0, y0, x1, y1 = (np.array(camera.box(one.centre, REACH * one.radius)) * side).round().astype(int).clip(0, side)
    return (np.arange(y0, y1)[:, None] * side + np.arange(x0, x1)[None]).ravel()


def _march(one: _Placed, start: NDArray, rays: NDArray) -> NDArray[np.float32]:
    """How far along each ray the thing is met; infinite where it is not."""
    to = one.centre - start
    middle = (to[:, None] * rays).sum(0)
    missed = (to**2).sum() - middle**2
    half = np.sqrt(np.maximum((REACH * one.radius) ** 2 - missed, 0))
    alive = np.flatnonzero(half > 0)
    reached = np.full(rays.shape[1], np.inf, np.float32)
    at, limit = (middle - half)[alive], (middle + half)[alive]
    for _ in range(_STEPS):
        gap = one.distance(start[:, None] + rays[:, alive] * at)
        met = gap < 0.004
        reached[alive[met]] = at[met]
        going = ~met & (at < limit)
        alive, at, limit = alive[going], (at + gap)[going], limit[going]
        if not len(alive):
            break
    return reached


def _colours(
    scene: Scene,
    placed: list[_Placed],
    light: Light,
    camera: Camera,
    rays: NDArray,
    depth: NDArray,
    owner: NDArray,
) -> NDArray[np.float32]:
    """The linear colour of every ray, `3 points`."""
    colours = light.sky(rays[2])
    ground = np.flatnonzero(owner == 0)
    points = camera.place[:, None] + rays[:, ground] * depth[ground]
    up = np.zeros_like(points)
    up[2] = 1
    floor = reflectance(scene.floor, floor=True)[:, None]
    lit = floor * _shine(points, up, light, placed, None)
    far = np.clip((depth[ground] - 9) / 16, 0, 1) ** 1.2  # the distance fades into the horizon
    colours[:, ground] = lit * (1 - far) + light.horizon[:, None] * far
    for number, one in enumerate(placed, 1):
        mine = np.flatnonzero(owner == number)
        if not len(mine):
            continue
        points = camera.place[:, None] + rays[:, mine] * depth[mine]
        normal = one.normal(points)
        colour = reflectance(one.thing.colour)[:, None]
        shine = _shine(points + 0.02 * normal, normal, light, placed, one)
        mirrored = rays[:, mine] - 2 * (rays[:, mine] * normal).sum(0) * normal
        edge = (1 - np.abs((rays[:, mine] * normal).sum(0))) ** 4
        glint = np.maximum((mirrored * light.towards[:, None]).sum(0), 0)
        if one.thing.material == "metal":
            tint = 0.12 + 0.88 * colour
            colours[:, mine] = (
                colour * shine * 0.30
                + tint * _around(mirrored, light, floor) * (0.75 + 0.5 * edge)
                + light.sun[:, None] * (1.6 * glint**60 + 0.3 * tint * glint**8)
            )
        else:
            colours[:, mine] = colour * shine + 0.03 * light.sun[:, None] * glint**6
    return colours


def _around(mirrored: NDArray, light: Light, floor: NDArray) -> NDArray[np.float32]:
    """What metal mirrors, `3 points`: the sky with a lit band, and the floor, dark towards the horizon."""
    up = mirrored[2]
    band = np.exp(-(((up - 0.42) / 0.13) ** 2)) + 0.5 * np.exp(-(((up - 0.8) / 0.1) ** 2))
    sky = light.sky(up) * np.clip(0.25 + 2.2 * up, 0, 1) + 0.75 * (light.sun + light.ambient)[:, None] * band
    below = floor * (light.sun + light.ambient)[:, None] * 0.5 * np.clip(-1.6 * up, 0.06, 1)
    return np.where(up > 0, sky, below)


def _shine(
    points: NDArray, normal: NDArray, light: Light, placed: list[_Placed], own: _Placed | None
) -> NDArray[np.float32]:
    """The light that falls on each point, `3 points`: the sun's, less what stands before it, and the sky's."""
    facing = np.maximum((normal * light.towards[:, None]).sum(0), 0)
    free, open_sky = np.ones_like(facing), np.ones_like(facing)
    for one in placed:
        if one is not own:
            near = np.flatnonzero(one.near(points, light.towards) & (facing > 0))
            free[near] = np.minimum(free[near], _soft(one, points[:, near], light.towards))
            gap = np.sqrt(((points - one.centre[:, None]) ** 2).sum(0)) / one.radius
            close = np.flatnonzero(gap < 2.4)
            crowded = np.clip(1 - one.distance(points[:, close]) / (0.75 * one.radius), 0, 1)
            open_sky[close] *= 1 - 0.62 * crowded**2
    if own is not None:  # the floor shades what stands on it
        open_sky *= 0.55 + 0.45 * np.clip(points[2] / (1.2 * own.radius), 0, 1)
    up = 0.62 + 0.38 * normal[2]
    return light.sun[:, None] * facing * free + light.ambient[:, None] * up * open_sky


def _soft(one: _Placed, points: NDArray, towards: NDArray) -> NDArray[np.float32]:
    """How much of the sun passes by the thing to each point, from 0 to 1."""
    free = np.ones(points.shape[1], np.float32)
    to = ((one.centre[:, None] - points) * towards[:, None]).sum(0)
    at = np.maximum(to - REACH * one.radius, 0.03)
    end = to + REACH * one.radius
    alive = np.arange(points.shape[1])
    for _ in range(22):
        gap = one.distance(points[:, alive] + towards[:, None] * at)
        free[alive] = np.minimum(free[alive], np.clip(_SOFT * gap / (at + 0.6), 0, 1))
        going = (gap > 0.004) & (at < end)
        alive, at, end = alive[going], (at + np.maximum(gap, 0.03))[going], end[going]
        if not len(alive):
            break
    return free * free * (3 - 2 * free)


def _shrink(fine: NDArray) -> NDArray[np.float32]:
    """The means of squares of rays: `n side side` from `n fine fine`."""
    n, height, width = fine.shape
    return fine.reshape(n, height // _FINE, _FINE, width // _FINE, _FINE).mean((2, 4), dtype=np.float32)
