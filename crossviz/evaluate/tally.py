"""What was seen of one group of phrases, map by map forgotten; and the figures that come of it."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossviz.evaluate.intervals import Bootstrap, Figure
from crossviz.measures import CUTS, MapFigures

__all__ = ["CutOff", "Group", "Kind", "Source", "Tally"]


@dataclass(frozen=True)
class CutOff:
    """The best fixed cut-off of a group, as a share of each map's maximum."""

    halves: tuple[float, float]
    """The best on the first and on the second half of the photos; each half is measured with the other's."""
    best: float
    """The best on all photos."""
    iou: float
    """IoU with that: what is gained by choosing on the photos that are measured."""


@dataclass(frozen=True)
class Source:
    """One kind of map (the model's, or a baseline's) held against all phrases of a group."""

    name: str
    figures: dict[str, Figure]
    """By name: pointing, ties, iou, iou_at_30, mass, auroc, null_present, null_absent; those that it has."""
    cut_off: CutOff | None = None


@dataclass(frozen=True)
class Kind:
    """Pointing of the phrases of one kind."""

    name: str
    phrases: int
    pointing: dict[str, Figure]
    """By name of the source."""


@dataclass(frozen=True)
class Group:
    """Phrases that are counted together, and what every kind of map makes of them."""

    name: str
    photos: int
    phrases: int
    """Present ones, of which the map was measured."""
    absent: int
    left_out: int
    """Present phrases that the model did not read, or whose region holds no pixel."""
    sources: tuple[Source, ...]
    """The model's own map first."""
    kinds: tuple[Kind, ...]

    def source(self, name: str) -> Source:
        """The source of that name."""
        return next(source for source in self.sources if source.name == name)


class Tally:
    """Collects figures of phrases as they come; a number per phrase and measure, never a map.

    Args:
        name: of the group.
        points: sources that are a point and no map: they cover nothing, so that only their pointing counts.
    """

    def __init__(self, name: str, points: Collection[str] = ()) -> None:
        self.name, self.left_out, self._points = name, 0, points
        self._photo: list[int] = []
        self._kinds: list[tuple[str, ...]] = []
        self._maps: dict[str, list[tuple[int, NDArray[np.float32]]]] = defaultdict(list)
        self._present: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._absent: dict[str, list[tuple[int, float]]] = defaultdict(list)
        self._absent_phrases = 0
        self._seen: set[int] = set()

    def present(self, photo: int, kinds: tuple[str, ...], maps: dict[str, MapFigures], null: dict[str, float]) -> None:
        """A phrase that is in photo number `photo`: figures and null masses, by source."""
        number = len(self._photo)
        self._photo.append(photo)
        self._kinds.append(kinds)
        self._seen.add(photo)
        for source, found in maps.items():
            row = np.array((found.pointing, found.tied, found.mass, *found.ious), np.float32)
            self._maps[source].append((number, row))
        for source, value in null.items():
            self._present[source].append((photo, value))

    def absent(self, photo: int, null: dict[str, float]) -> None:
        """A phrase that is not in photo number `photo`: its null masses, by source."""
        self._absent_phrases += 1
        self._seen.add(photo)
        for source, value in null.items():
            self._absent[source].append((photo, value))

    def difference(self, other: "Tally", source: str, column: int, seed: int = 0) -> Figure:
        """How much more `source` reaches here than in `other`, which was asked the same questions: the mean of the
        phrases' differences, photos drawn together for both.

        Args:
            column: 0 pointing, 1 ties, 2 mass, then the IoU at each of CUTS.
        """
        own, its = (dict(tally._maps.get(source, [])) for tally in (self, other))
        both = sorted(own.keys() & its.keys())
        place = {photo: i for i, photo in enumerate(sorted(self._seen))}
        owner = np.array([place[self._photo[number]] for number in both], int)
        values = np.array([own[n][column] - its[n][column] for n in both], float)
        return Bootstrap(len(place), seed).mean(values, owner)

    def group(self, seed: int = 0) -> Group:
        """All figures with their intervals; the seed is the bootstrap's."""
        place = {photo: i for i, photo in enumerate(sorted(self._seen))}
        rounds = Bootstrap(len(place), seed)
        owner = np.array([place[photo] for photo in self._photo], int)
        sources = [self._source(name, rows, owner, place, rounds) for name, rows in self._maps.items()]
        for name in self._present.keys() - self._maps.keys():  # null masses without a map: labels without a place
            sources.append(Source(name, self._nulls(name, place, rounds)))
        kinds = self._by_kind(owner, rounds)
        return Group(
            self.name, len(place), len(owner), self._absent_phrases, self.left_out, tuple(sources), tuple(kinds)
        )

    def _source(self, name: str, rows: list, owner: NDArray, place: dict[int, int], rounds: Bootstrap) -> Source:
        numbers, table = np.array([n for n, _ in rows]), np.stack([row for _, row in rows])
        own, ious = owner[numbers], table[:, 3:]
        figures = {"pointing": rounds.mean(table[:, 0], own), "ties": rounds.mean(table[:, 1], own)}
        if name in self._points:
            return Source(name, figures)
        figures["iou"], cut_off = _best_cut(ious, own, rounds)
        figures["iou_at_30"] = rounds.mean(ious[:, CUTS.index(0.3)], own)
        figures["mass"] = rounds.mean(table[:, 2], own)
        return Source(name, figures | self._nulls(name, place, rounds), cut_off)

    def _nulls(self, name: str, place: dict[int, int], rounds: Bootstrap) -> dict[str, Figure]:
        sides = {}
        for side, rows in (("present", self._present[name]), ("absent", self._absent[name])):
            if rows:
                sides[side] = np.array([value for _, value in rows]), np.array([place[photo] for photo, _ in rows])
        figures = {f"null_{side}": rounds.mean(*pair) for side, pair in sides.items()}
        if len(sides) == 2:
            figures["auroc"] = rounds.auroc(*sides["absent"], *sides["present"])
        return figures

    def _by_kind(self, owner: NDArray, rounds: Bootstrap) -> list[Kind]:
        members: dict[str, list[int]] = defaultdict(list)
        for number, kinds in enumerate(self._kinds):
            for kind in kinds:
                members[kind].append(number)
        pointing = {
            name: dict(zip((n for n, _ in rows), (row[0] for _, row in rows), strict=True))
            for name, rows in self._maps.items()
        }
        found = []
        for kind, numbers in sorted(members.items(), key=lambda pair: (-len(pair[1]), pair[0])):
            figures = {}
            for name, values in pointing.items():
                own = [n for n in numbers if n in values]
                if own:
                    figures[name] = rounds.mean(np.array([values[n] for n in own]), owner[own])
            found.append(Kind(kind, len(numbers), figures))
        return found


def _best_cut(ious: NDArray, owner: NDArray, rounds: Bootstrap) -> tuple[Figure, CutOff]:
    """IoU at the best cut-off, chosen on one half of the photos (every other one) and applied to the other half."""
    best = int(ious.mean(0).argmax())
    half = owner % 2
    chosen = [int(ious[half == h].mean(0).argmax()) if (half == h).any() else best for h in (0, 1)]
    values = np.where(half == 0, ious[:, chosen[1]], ious[:, chosen[0]])
    cut_off = CutOff((CUTS[chosen[0]], CUTS[chosen[1]]), CUTS[best], float(ious[:, best].mean(dtype=float)))
    return rounds.mean(values, owner), cut_off
