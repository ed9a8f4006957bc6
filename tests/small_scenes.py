"""A few rendered scenes, as a set that the trainings read."""

import numpy as np

from crossviz.scenes.captions import draw_request, write
from crossviz.scenes.layout import NoRoomError, draw_scene
from crossviz.scenes.reading import MAX_THINGS, read
from crossviz.scenes.things import groups_of
from crossviz.scenes.vocabulary import COLOURS, MATERIALS, SHAPES, SIZES
from crossviz.training.scene_data import SceneSet


def scene_set(count: int, seed: int, totals: tuple[int, ...] = (1, 2, 3)) -> SceneSet:
    rng = np.random.default_rng(seed)
    pixels, owner, things, captions = [], [], [], []
    while len(captions) < count:
        caption = write(draw_request(rng, totals[len(captions) % len(totals)], unseen=len(captions) % 2 == 1), rng)
        request = read(caption)
        try:
            scene, picture = draw_scene(request, rng)
        except NoRoomError:
            continue
        rows = np.full((MAX_THINGS, 7), -1, np.float32)
        for at, (thing, group) in enumerate(zip(scene.things, groups_of(request), strict=True)):
            kinds = SHAPES.index(thing.shape), COLOURS.index(thing.colour), SIZES.index(thing.size)
            rows[at] = (*kinds, MATERIALS.index(thing.material), thing.x, thing.y, group)
        numbers = np.arange(1, len(picture.masks) + 1)[:, None, None]
        pixels.append(picture.pixels)
        owner.append((picture.masks * numbers).sum(0).astype(np.uint8))
        things.append(rows)
        captions.append(caption)
    return SceneSet(np.stack(pixels), np.stack(owner), np.stack(things), captions)
