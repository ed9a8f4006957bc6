"""Whether a picture shows what a caption asks for, and which of its things answers to which words (pure)."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from crossviz.scenes.found import Found, FoundScene
from crossviz.scenes.things import CLEAR, Group, Request, article, groups_of, phrase

__all__ = ["Verdict", "related", "verdict"]

_STATED = ("shape", "colour", "size", "material")
_WEIGHTS = {"shape": 1.2, "colour": 1.1, "size": 1.0, "material": 1.0}  # of equally wrong assignments, by shape first
_LIES = {"left": "left of", "right": "right of", "front": "in front of", "behind": "behind"}
_MOODS = {"day": "by day", "sunset": "at sunset", "night": "at night"}


@dataclass(frozen=True)
class Verdict:
    """`faults` and `scene_faults` (floor and mood) say what is not as asked, a sentence each; `found` names what was
    found, each thing and the floor. `groups` has for every found thing the number of the caption's group that it stands
    for, None for one too many."""

    faults: tuple[str, ...]
    scene_faults: tuple[str, ...]
    found: tuple[str, ...]
    groups: tuple[int | None, ...]

    @property
    def asked(self) -> bool:
        """Whether all is as the caption says."""
        return not self.faults and not self.scene_faults

    def as_mapping(self) -> dict[str, Any]:
        """As a `Generation` holds it: `asked`, `found`, `faults` (of things, then of floor and mood)."""
        return {"asked": self.asked, "found": list(self.found), "faults": [*self.faults, *self.scene_faults]}


def verdict(request: Request, found: FoundScene) -> Verdict:
    """Hold what was found against what was asked for.

    There must be as many things as asked for; some way to share them among the groups must fit every attribute that the
    caption states, and its relation, between every thing of the first group and every one of the second. What the
    caption leaves open is free. If nothing fits, the way with the fewest faults counts.
    """
    slots = groups_of(request)
    best = min(_ways(len(slots), len(found)), key=lambda way: _cost(request, slots, found, way))
    told = [_fault(request.groups[slots[slot]], found, thing) for slot, thing in enumerate(best)]
    faults = [sentence for sentence in told if sentence is not None]
    crossed = _crossed(request, slots, found, best)
    if crossed:
        first, second = crossed[0]
        faults.append(f"{_name(first, 'The')} does not lie {_LIES[request.relation or '']} {_name(second, 'the')}.")
    groups: list[int | None] = [None] * len(found)
    for slot, thing in enumerate(best):
        if thing is not None:
            groups[thing] = slots[slot]
    faults += [f"There is {_name(found[k])} too many." for k, group in enumerate(groups) if group is None]
    scene_faults = []
    if request.floor is not None and request.floor != found.floor:
        scene_faults.append(f"The floor is {found.floor}, not {request.floor}.")
    if request.mood is not None and request.mood != found.mood:
        scene_faults.append(f"It is {_MOODS[found.mood].split()[1]}, not {request.mood}.")
    shown = (*(_name(thing) for thing in found), f"{article(found.floor)} {found.floor} floor {_MOODS[found.mood]}")
    return Verdict(tuple(faults), tuple(scene_faults), shown, tuple(groups))


def related(relation: str, first: Found, second: Found) -> bool:
    """Whether the first thing lies so from the second, by more than half of what the renderer keeps between them."""
    dx, dy = first.x - second.x, first.y - second.y
    return {"left": -dx, "right": dx, "front": -dy, "behind": dy}[relation] > CLEAR / 2


def _ways(slots: int, things: int) -> Iterator[tuple[int | None, ...]]:
    """All ways to give every slot a thing, or None where there are too few."""
    if things >= slots:
        yield from permutations(range(things), slots)
        return
    for chosen in permutations(range(slots), things):
        way: list[int | None] = [None] * slots
        for thing, slot in enumerate(chosen):
            way[slot] = thing
        yield tuple(way)


def _cost(request: Request, slots: list[int], found: FoundScene, way: tuple[int | None, ...]) -> float:
    wrong = sum(
        _WEIGHTS[name]
        for slot, thing in enumerate(way)
        if thing is not None
        for name in _missed(request.groups[slots[slot]], found[thing])
    )
    return wrong + (1.0 if _crossed(request, slots, found, way) else 0.0)


def _missed(group: Group, thing: Found) -> list[str]:
    """What the caption states and the thing is not."""
    return [name for name in _STATED if getattr(group, name) not in (None, getattr(thing, name))]


def _crossed(
    request: Request, slots: list[int], found: FoundScene, way: tuple[int | None, ...]
) -> list[tuple[Found, Found]]:
    """The pairs of the first two groups that don't lie as the caption says."""
    if request.relation is None:
        return []
    first, second = (
        [found[thing] for slot, thing in enumerate(way) if thing is not None and slots[slot] == group]
        for group in (0, 1)
    )
    return [(a, b) for a in first for b in second if not related(request.relation, a, b)]


def _fault(group: Group, found: FoundScene, thing: int | None) -> str | None:
    asked = f"{article(phrase(group))} {phrase(group)}"
    if thing is None:
        return f"{asked.capitalize()} is missing."
    if _missed(group, found[thing]):
        return f"There is {_name(found[thing])} where {asked} is asked for."
    return None


def _name(thing: Found, before: str | None = None) -> str:
    return f"{before or article(phrase(thing))} {phrase(thing)}"
