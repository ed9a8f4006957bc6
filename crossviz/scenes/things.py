"""What stands in a scene, and what a caption asks for: plain records without pictures."""

from dataclasses import dataclass

__all__ = ["Group", "Request", "Scene", "Thing"]


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
    "behind", or None."""

    groups: tuple[Group, ...]
    relation: str | None = None
    floor: str | None = None
    mood: str | None = None
