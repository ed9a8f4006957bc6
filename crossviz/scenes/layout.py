"""Places the things that a caption asks for, so that all of them can be seen and lie as it says."""

import numpy as np

from crossviz.scenes import vocabulary
from crossviz.scenes.camera import draw_camera
from crossviz.scenes.captions import UNSEEN
from crossviz.scenes.light import draw_light
from crossviz.scenes.render import RADII, Picture, render
from crossviz.scenes.things import CLEAR, Group, Request, Scene, Thing, groups_of

__all__ = ["NoRoomError", "draw_scene"]

_SEEN, _PIXELS = 0.5, 40  # what can be seen of each thing: its share, and pixels


class NoRoomError(Exception):
    """Large things that a caption wants behind one another, say, may fit nowhere."""


def draw_scene(request: Request, rng: np.random.Generator) -> tuple[Scene, Picture]:
    """A scene as asked for, and its picture; what the caption leaves open is drawn. The things are in the order of
    their groups.

    Raises:
        NoRoomError: no place was found for all of them.
    """
    floor = request.floor or str(rng.choice(vocabulary.FLOORS))
    mood = request.mood or str(rng.choice(vocabulary.MOODS))
    kinds = [_kind(group, rng) for group in request.groups for _ in range(group.count)]
    for tries in range(4000):
        if tries % 200 == 199:  # too many large ones: other sizes where they are open
            kinds = [_kind(group, rng) for group in request.groups for _ in range(group.count)]
        things = _placed(kinds, request, rng)
        if things is None:
            continue
        seed = int(rng.integers(2**31))
        scene = Scene(things, floor, mood, seed)
        if not _inside(scene):
            continue
        picture = render(scene)
        if (picture.seen >= _SEEN).all() and (picture.masks.sum((1, 2)) >= _PIXELS).all():
            return scene, picture
    raise NoRoomError(f"no place was found for {request}")


def _kind(group: Group, rng: np.random.Generator) -> Thing:
    colours = [c for c in vocabulary.COLOURS if (c, group.shape) not in UNSEEN]
    return Thing(
        group.shape,
        group.colour or str(rng.choice(colours)),
        group.size or str(rng.choice(vocabulary.SIZES)),
        group.material or str(rng.choice(vocabulary.MATERIALS)),
        turn=float(rng.uniform(-0.6, 0.6)),
        scale=float(rng.uniform(0.95, 1.05)),
    )


def _placed(kinds: list[Thing], request: Request, rng: np.random.Generator) -> tuple[Thing, ...] | None:
    """The things at places drawn for them, or None where they touch or lie otherwise than asked."""
    x, y = rng.uniform(-2.3, 2.3, len(kinds)), rng.uniform(-2.6, 2.2, len(kinds))
    radii = np.array([RADII[kind.size] * kind.scale for kind in kinds])
    for a in range(len(kinds)):
        for b in range(a):
            if np.hypot(x[a] - x[b], y[a] - y[b]) < 0.95 * (radii[a] + radii[b]) + 0.1:
                return None
    if request.relation is not None:
        of = np.array(groups_of(request))
        dx, dy = x[of == 0][:, None] - x[of == 1][None], y[of == 0][:, None] - y[of == 1][None]
        far = {"left": -dx, "right": dx, "front": -dy, "behind": dy}[request.relation]
        across = np.abs(dy if request.relation in ("left", "right") else dx)
        if (far < CLEAR).any() or (across > far * (1.2 if len(kinds) < 3 else 2.0)).any():
            return None
    return tuple(
        Thing(k.shape, k.colour, k.size, k.material, float(x[i]), float(y[i]), k.turn, k.scale)
        for i, k in enumerate(kinds)
    )


def _inside(scene: Scene) -> bool:
    """Whether the picture holds all of every thing, by the balls around them."""
    rng = np.random.default_rng(scene.seed)
    draw_light(scene.mood, rng)
    camera = draw_camera(rng)
    for thing in scene.things:
        radius = RADII[thing.size] * thing.scale
        x0, y0, x1, y1 = camera.box(np.array([thing.x, thing.y, radius], np.float32), radius)
        if min(x0, y0) < 0.0 or max(x1, y1) > 1.0:
            return False
    return True
