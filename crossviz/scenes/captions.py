"""Draws what a caption may ask for, and writes it as a caption."""

import numpy as np

from crossviz.scenes import vocabulary
from crossviz.scenes.reading import MAX_THINGS
from crossviz.scenes.things import Group, Request, article, phrase

__all__ = ["UNSEEN", "draw_request", "write"]

UNSEEN = frozenset({("purple", "cone"), ("green", "ring"), ("orange", "cylinder"), ("white", "cube")})
"""Colours and shapes that never come together in training: what is new about some of the test captions."""
_RELATED = {"left": ("left of", "to the left of"), "right": ("right of", "to the right of")}


def draw_request(rng: np.random.Generator, total: int | None = None, unseen: bool = False) -> Request:
    """What a caption asks for.

    Args:
        total: how many things, from 1 to 4; drawn if None.
        unseen: whether one group has a colour and a shape of `UNSEEN`, instead of none.
    """
    total = int(rng.choice([1, 2, 3, 4], p=[0.2, 0.4, 0.25, 0.15])) if total is None else total
    groups = _groups(rng, _counts(rng, total), unseen)
    relation = None
    if len(groups) > 1 and rng.random() < 0.7:
        relation = str(rng.choice(vocabulary.RELATIONS))
    floor = str(rng.choice(vocabulary.FLOORS)) if rng.random() < 0.5 else None
    mood = str(rng.choice(vocabulary.MOODS)) if rng.random() < 0.4 else None
    return Request(groups, relation, floor, mood)


def _counts(rng: np.random.Generator, total: int) -> list[int]:
    """How many things each group has."""
    ways = {
        1: [[1]],
        2: [[1, 1], [1, 1], [2]],
        3: [[3], [2, 1], [1, 2], [1, 1, 1]],
        4: [[3, 1], [1, 3], [2, 2], [2, 1, 1]],
    }
    assert total <= MAX_THINGS
    options = ways[total]
    return options[int(rng.integers(len(options)))]


def _groups(rng: np.random.Generator, counts: list[int], unseen: bool) -> tuple[Group, ...]:
    new = int(rng.integers(len(counts))) if unseen else -1
    while True:
        groups = [_group(rng, count, number == new) for number, count in enumerate(counts)]
        apart = all(
            a.shape != b.shape or (a.colour and b.colour and a.colour != b.colour)
            for at, a in enumerate(groups)
            for b in groups[:at]
        )
        if apart:
            return tuple(groups)


def _group(rng: np.random.Generator, count: int, unseen: bool) -> Group:
    if unseen:
        colour, shape = sorted(UNSEEN)[int(rng.integers(len(UNSEEN)))]
    else:
        shape, colour = str(rng.choice(vocabulary.SHAPES)), None
        if rng.random() < 0.85:
            colour = str(rng.choice([c for c in vocabulary.COLOURS if (c, shape) not in UNSEEN]))
    size = str(rng.choice(vocabulary.SIZES)) if rng.random() < 0.5 else None
    material = str(rng.choice(vocabulary.MATERIALS)) if rng.random() < 0.4 else None
    return Group(count, shape, colour, size, material)


def write(request: Request, rng: np.random.Generator) -> str:
    """A caption that asks for it, in the words that the model is trained on."""
    parts = []
    for number, group in enumerate(request.groups):
        if number == 1 and request.relation is not None:
            ways = _RELATED.get(request.relation, ("in front of" if request.relation == "front" else "behind",))
            parts.append(str(rng.choice(ways)))
        elif number:
            parts.append("and")
        parts.append(_several(group))
    if request.floor is not None:
        parts.append(f"on a {request.floor} floor")
    if request.mood is not None:
        parts.append({"day": "by day", "sunset": "at sunset", "night": "at night"}[request.mood])
    return " ".join(parts)


def _several(group: Group) -> str:
    one = phrase(group)
    if group.count == 1:
        return f"{article(one)} {one}"
    return f"{('two', 'three')[group.count - 2]} {one}s"
