"""What stands in a scene, and what a caption asks for: plain records without pictures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crossviz.scenes.found import Found

__all__ = ["CLEAR", "Group", "Request", "Scene", "Thing", "article", "groups_of", "phrase"]

CLEAR = 0.85
"""How far apart, in units of the floor, things are that a caption relates to each other, at the least."""


@dataclass(frozen=True)
class Thing:
    """One solid on the floor. `x` (to the right) and `y` (away from the viewer) are where it stands, in units of the
    floor; `turn` is its rotation about the upright axis in radians; `scale` stretches its size a little."""

    shape: str
    colour: str
    size: str
    material: str
    x: float = 0.0
    y: float = 0.0
    turn: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True)
class Scene:
    """Things on a floor under a light; `seed` decides the light's direction and the camera's small movements."""

    things: tuple[Thing, ...]
    floor: str
    mood: str
    seed: int


@dataclass(frozen=True)
class Group:
    """Like things that a caption asks for together. None: the caption leaves it open. `words` are the numbers of the
    caption's words that say it, the noun the last."""

    count: int
    shape: str
    colour: str | None = None
    size: str | None = None
    material: str | None = None
    words: tuple[int, ...] = ()


@dataclass(frozen=True)
class Request:
    """What a caption asks for. `relation` is where the first group lies from the second: "left", "right", "front",
    "behind", or None. `relation_word`, `floor_word` and `mood_word` are the numbers of the caption's words that say
    these: "left", the colour of the floor, "night"; None where nothing does."""

    groups: tuple[Group, ...]
    relation: str | None = None
    floor: str | None = None
    mood: str | None = None
    relation_word: int | None = None
    floor_word: int | None = None
    mood_word: int | None = None

    def telling(self) -> list[int]:
        """The numbers of the caption's words that say what is seen: not "on", nor the "a" of "a blue floor"."""
        others = (self.relation_word, self.floor_word, self.mood_word)
        of_things = [word for group in self.groups for word in group.words]
        return sorted([*of_things, *(word for word in others if word is not None)])


def groups_of(request: Request) -> list[int]:
    """Of each thing of a scene of that request the number of its group."""
    return [number for number, group in enumerate(request.groups) for _ in range(group.count)]


def phrase(one: Group | Thing | Found) -> str:
    """What is known of it, as a caption says it of one: "small green sphere"."""
    return " ".join(word for word in (one.size, one.colour, one.material, one.shape) if word is not None)


def article(words: str) -> str:
    """The one that stands before these words."""
    return "an" if words[0] in "aeiou" else "a"
