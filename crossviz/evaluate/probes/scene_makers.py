"""Scenes that ask something: which of two things is meant by its name, colour or place, and how many there are."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from crossviz.evaluate.probes.scene_renderer import Scene, Thing
from crossviz.evaluate.probes.scene_shapes import box_top

__all__ = ["MAKERS", "Ask", "Test", "make_tests"]

_PLACES: Mapping[str, tuple[str, ...]] = {
    "ball": ("beach", "meadow", "room", "street", "studio", "table"),
    "box": ("room", "street", "studio", "table"),
    "car": ("beach", "meadow", "street", "studio"),
    "cup": ("room", "studio", "table"),
    "dog": ("beach", "meadow", "room", "street", "studio"),
    "flower": ("beach", "meadow", "studio"),
    "tree": ("beach", "meadow", "street", "studio"),
}
_SIZES = {"ball": 0.38, "box": 0.42, "car": 0.45, "cup": 0.42, "dog": 0.45, "flower": 0.52, "tree": 0.60}
_PAINTS = ("red", "blue", "green", "yellow")
_COLOURS: Mapping[str, tuple[str, ...]] = {
    "ball": _PAINTS,
    "box": (*_PAINTS, "brown"),
    "car": (*_PAINTS, "white", "black"),
    "cup": (*_PAINTS, "white", "black"),
    "dog": ("brown", "black", "white"),
    "flower": ("red", "blue", "yellow", "white"),
    "tree": ("green",),
}
_MANY = tuple(kind for kind in _PLACES if kind != "tree")  # kinds that scenes hold several of
_NUMBERS = {2: "two", 3: "three"}
_PLURALS = {"box": "boxes"}


@dataclass(frozen=True)
class Ask:
    """A phrase, and the numbers of the scene's things that it means and does not mean."""

    text: str
    meant: tuple[int, ...]
    others: tuple[int, ...] = ()


@dataclass(frozen=True)
class Test:
    """A scene with what is asked of it; every ask of a pair has its counterpart, so that a model that does not read
    the word in question is right in exactly half of them."""

    scene: Scene
    asks: tuple[Ask, ...]


def make_tests(maker: str, count: int, seed: int) -> Iterator[Test]:
    """`count` different tests of one of `MAKERS`, always the same for a seed."""
    for number in range(count):
        rng = np.random.default_rng((seed, sorted(MAKERS).index(maker), number))
        yield MAKERS[maker](rng)


def _scene(things: list[Thing], kinds: tuple[str, ...], rng: np.random.Generator) -> Scene:
    places = sorted(set.intersection(*(set(_PLACES[kind]) for kind in kinds)))
    return Scene(tuple(things), _choice(rng, places), int(rng.integers(2**31)))


def _choice(rng: np.random.Generator, options: tuple | list):
    return options[int(rng.integers(len(options)))]


def _thing(rng: np.random.Generator, kind: str, colour: str, x: float, shrink: float = 1.0) -> Thing:
    size = _SIZES[kind] * shrink * rng.uniform(0.9, 1.1)
    return Thing(kind, colour, x + rng.uniform(-0.02, 0.02), rng.uniform(0.76, 0.89), size, bool(rng.random() < 0.5))


def _pair(rng: np.random.Generator, kinds: tuple[str, str], colours: tuple[str, str]) -> tuple[list[Thing], int]:
    """Two things side by side, the farther one first, and the number of the left one."""
    left, right = (_thing(rng, k, c, x) for k, c, x in zip(kinds, colours, (0.265, 0.735), strict=True))
    return ([left, right], 0) if left.base <= right.base else ([right, left], 1)


def _noun(rng: np.random.Generator) -> Test:
    while True:
        kinds = tuple(map(str, rng.choice(list(_PLACES), 2, replace=False)))
        if set(_PLACES[kinds[0]]) & set(_PLACES[kinds[1]]):
            break
    things, left = _pair(rng, kinds, tuple(_choice(rng, _COLOURS[kind]) for kind in kinds))
    asks = tuple(Ask(f"the {kind}", (n,), (1 - n,)) for kind, n in zip(kinds, (left, 1 - left), strict=True))
    return Test(_scene(things, kinds, rng), asks)


def _colour(rng: np.random.Generator) -> Test:
    kind = _choice(rng, _MANY)
    colours = tuple(map(str, rng.choice(_COLOURS[kind], 2, replace=False)))
    things, left = _pair(rng, (kind, kind), colours)
    asks = tuple(Ask(f"the {c} {kind}", (n,), (1 - n,)) for c, n in zip(colours, (left, 1 - left), strict=True))
    return Test(_scene(things, (kind,), rng), asks)


def _side(rng: np.random.Generator) -> Test:
    kind = _choice(rng, _MANY)
    things, left = _pair(rng, (kind, kind), (_choice(rng, _COLOURS[kind]),) * 2)
    texts = _choice(rng, [("the left {}", "the right {}"), ("the {} on the left", "the {} on the right")])
    asks = tuple(Ask(t.format(kind), (n,), (1 - n,)) for t, n in zip(texts, (left, 1 - left), strict=True))
    return Test(_scene(things, (kind,), rng), asks)


def _on(rng: np.random.Generator) -> Test:
    kind, paint = _choice(rng, ("ball", "cup")), _choice(rng, _PAINTS)
    ground = _choice(rng, [c for c in _COLOURS["box"] if c != paint])
    x, other = _choice(rng, [(0.29, 0.77), (0.69, 0.23)])
    box = _thing(rng, "box", ground, x)
    across, up = box_top()
    shrink = 0.62 if kind == "ball" else 0.55
    beside = _thing(rng, kind, paint, other, shrink)
    at = box.x + (-1 if box.flip else 1) * box.size * across
    behind = box.base <= beside.base
    above = Thing(kind, paint, at, box.base - box.size * up, beside.size, bool(rng.random() < 0.5), 0 if behind else 1)
    things = [box, above, beside] if behind else [beside, box, above]
    on, off = (1, 2) if behind else (2, 0)
    asks = (Ask(f"the {kind} on the box", (on,), (off,)), Ask(f"the {kind} beside the box", (off,), (on,)))
    return Test(_scene(things, (kind, "box"), rng), asks)


def _count(rng: np.random.Generator) -> Test:
    kind, number = _choice(rng, _MANY), int(rng.integers(2, 4))
    places = (0.265, 0.735) if number == 2 else (0.18, 0.50, 0.82)
    colour, shrink = _choice(rng, _COLOURS[kind]), 1.0 if number == 2 else 0.68
    things = sorted((_thing(rng, kind, colour, x, shrink) for x in places), key=lambda thing: thing.base)
    everything = tuple(range(number))
    many = f"{_NUMBERS[number]} {_PLURALS.get(kind, kind + 's')}"
    return Test(_scene(things, (kind,), rng), (Ask(many, everything), Ask(f"one {kind}", everything)))


MAKERS: Mapping[str, Callable[[np.random.Generator], Test]] = {
    "noun": _noun,
    "colour": _colour,
    "left or right": _side,
    "on or beside": _on,
    "count": _count,
}
"""What a test is about, and what makes one."""
