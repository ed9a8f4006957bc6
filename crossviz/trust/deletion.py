"""Deletion and insertion: does the match fall when what the map shows is taken away, and rise when it is put back?

Petsiuk et al., "RISE" (2018): patches are removed from the photo in the order of the map, the highest first, and the
match is measured again (deletion); or they are put back into a photo from which all is removed (insertion). Here every
curve stands beside those of random orders and of an order from the middle outward, for the same photo. Deviations: a
few levels instead of every patch; what is removed is filled as `crossviz.trust.fills` says, blurred by default.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from crossviz.errors import ResultError
from crossviz.frozen import FrozenResult, check_text, own_tensor, set_fields
from crossviz.geometry import PatchGrid
from crossviz.trust.plain import check_numbers, plain

__all__ = [
    "ALIKE",
    "LEVELS",
    "RATIO_LEVEL",
    "WAYS",
    "Deletion",
    "centre_order",
    "map_order",
    "masks_of",
    "moved",
    "random_masks",
    "random_orders",
]

LEVELS = (0.0, 0.1, 0.3, 0.7, 0.9, 1.0)
"""Shares of the patches that are removed, or put back; alike from both ends, so that random orders serve both ways."""
WAYS = ("deletion", "insertion")
RATIO_LEVEL = 0.1
"""The share of the patches at which `Deletion.ratio` compares."""
ALIKE = 1.5
"""Ratios between 1 / 1.5 and 1.5 are not told apart: the random orders are only a few."""
_LEAST_FALL = 0.05
_LEAST_CHANGE = 0.01
_LEAST_GAIN = 0.05
"""By how much the map's area must be below that of random orders, in shares of the whole fall."""
_PLACES = 3


@dataclass(frozen=True, eq=False)
class Deletion(FrozenResult):
    """The curves of one word in one photo.

    Args:
        unit: of the match, as people read it.
        fill: what takes the place of removed patches.
        levels: shares of the patches, from 0 to 1.
        curves: the match: `way order level`; ways: deletion, insertion; orders: the map's, centre first, random ones.
        elsewhere: the match without the map's highest `RATIO_LEVEL` moved to other places, one for each place.

    Raises:
        ResultError: for parts that don't fit together.
    """

    _TENSORS = ("curves",)

    unit: str
    fill: str
    levels: tuple[float, ...]
    curves: Tensor
    elsewhere: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_text(self, "unit", "fill")
        set_fields(
            self, levels=check_numbers("levels", self.levels, 0, 1), curves=own_tensor("curves", self.curves, "w o l")
        )
        set_fields(self, elsewhere=check_numbers("elsewhere", self.elsewhere))
        levels = self.levels
        if list(levels) != sorted(set(levels)) or not levels or (levels[0], levels[-1]) != (0, 1):
            raise ResultError(f"`levels` must rise from 0 to 1, but are {levels!r:.120}.")
        if self.curves.shape[0] != 2 or self.curves.shape[1] < 3 or self.curves.shape[2] != len(levels):
            raise ResultError(
                f"`curves` must be `way order level` with two ways, three orders or more and {len(levels)} levels, but "
                f"is {tuple(self.curves.shape)}."
            )
        if not torch.isfinite(self.curves).all():
            raise ResultError("`curves` must be finite, but holds NaN or infinity.")

    @property
    def whole(self) -> float:
        """The match of the whole photo."""
        return float(self.curves[0, 0, 0])

    @property
    def nothing(self) -> float:
        """The match when every patch is removed."""
        return float(self.curves[0, 0, -1])

    def curve(self, way: str, order: str) -> Tensor:
        """One curve, `level`; order "map", "centre", or "random": the mean, "random_low", "random_high" of those."""
        rows = self.curves[WAYS.index(way)]
        random = rows[2:]
        return {
            "map": lambda: rows[0],
            "centre": lambda: rows[1],
            "random": lambda: random.mean(0),
            "random_low": lambda: random.amin(0),
            "random_high": lambda: random.amax(0),
        }[order]()

    def area(self, way: str, order: str) -> float:
        """The area under a curve over the share of patches, by trapezoids: the mean match on the way."""
        return float(torch.trapezoid(self.curve(way, order).double(), torch.tensor(self.levels, dtype=torch.float64)))

    def fall(self, order: str) -> float:
        """How much the match falls when the first `RATIO_LEVEL` of the patches are removed."""
        place = min(range(len(self.levels)), key=lambda i: abs(self.levels[i] - RATIO_LEVEL))
        return self.whole - float(self.curve("deletion", order)[place])

    @property
    def depends(self) -> bool:
        """Whether the match hangs on the photo: removing everything lowers it enough to be measured."""
        return self.whole - self.nothing >= max(_LEAST_CHANGE, _LEAST_FALL * abs(self.whole))

    @property
    def beaten(self) -> bool:
        """Whether the same patches moved to another place lower the match as much: then the place does not matter."""
        return any(self.whole - other >= self.fall("map") for other in self.elsewhere)

    @property
    def below(self) -> bool:
        """Whether the map's whole curve of deletion is clearly below random orders', not only one level of it.

        The area under it must be smaller than that under the lowest random matches, and smaller than that under their
        mean by 1/20 of how far the match falls when everything is removed.
        """
        mine, chance = self.area("deletion", "map"), self.area("deletion", "random")
        least = _LEAST_GAIN * (self.whole - self.nothing)
        return self.depends and chance - mine >= least and mine < self.area("deletion", "random_low")

    @property
    def ratio(self) -> float | None:
        """`fall` of the map over that of random orders.

        None where it would say nothing: the match does not fall when everything is removed, the map's fall is too
        small, a copy of the map moved elsewhere does as much, or the fall of random orders is not there or less than
        1/20 of the map's, too near to zero to divide by. And None where it would say too much: it is `ALIKE` or more
        at this one level, and the whole curve is not `below`.
        """
        mine, chance = self.fall("map"), self.fall("random")
        enough = self.depends and mine >= _LEAST_FALL * (self.whole - self.nothing)
        if not enough or self.beaten or chance < mine / 20:
            return None
        return mine / chance if mine < ALIKE * chance or self.below else None

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON-able values."""
        orders = ("map", "random", "random_low", "random_high", "centre")
        return {
            "unit": self.unit,
            "fill": self.fill,
            "levels": plain(list(self.levels)),
            **{way: {order: plain(self.curve(way, order)) for order in orders} for way in WAYS},
            "area": {
                way: {order: plain(self.area(way, order)) for order in ("map", "random", "centre")} for way in WAYS
            },
            "elsewhere": plain(list(self.elsewhere)),
            "ratio": None if self.ratio is None else plain(self.ratio),
        }


def map_order(values: Tensor, rng: torch.Generator) -> Tensor:
    """The patches by a map `gh gw`, the highest first; equal ones in a random order. Indices, `patch`."""
    flat = values.flatten()
    shuffled = torch.randperm(flat.numel(), generator=rng)
    return shuffled[flat[shuffled].sort(descending=True, stable=True).indices]


def centre_order(grid: PatchGrid, rng: torch.Generator) -> Tensor:
    """The patches from the middle of the photo outward, by their distance in shares of its sides; `patch`."""
    rows = (torch.arange(grid.height) + 0.5) / grid.height - 0.5
    cols = (torch.arange(grid.width) + 0.5) / grid.width - 0.5
    return map_order(-(rows[:, None] ** 2 + cols[None] ** 2), rng)


def random_orders(grid: PatchGrid, count: int, rng: torch.Generator) -> Tensor:
    """`order patch`."""
    return torch.stack([torch.randperm(grid.num_patches, generator=rng) for _ in range(count)])


def masks_of(order: Tensor, levels: Sequence[float]) -> Tensor:
    """Which patches are removed in turn: `way level patch`, without levels 0 and 1; 1 where removed.

    Deletion at a level removes the first patches of the order; insertion all but those.
    """
    inner = [level for level in levels if 0 < level < 1]
    masks = torch.zeros(len(inner), len(order), dtype=torch.bool)
    for row, level in zip(masks, inner, strict=True):
        row[order[: max(1, round(level * len(order)))]] = True
    return torch.stack([masks, ~masks])


def moved(mask: Tensor, grid: PatchGrid, count: int, rng: torch.Generator) -> Tensor:
    """Copies of a mask `patch` at other places, `count patch`: shifted cyclically, every other one mirrored before.

    Blobs stay blobs, which scattered patches are not: a hole may change the match wherever it is. Of some places drawn
    at random, each copy takes the one where it covers least of the mask itself.
    """
    cells, copies = mask.view(grid.height, grid.width), []
    for number in range(count):
        turned = cells.flip(1) if number % 2 else cells
        places = [
            (int(torch.randint(grid.height, (), generator=rng)), int(torch.randint(grid.width, (), generator=rng)))
            for _ in range(_PLACES)
        ]
        drawn = [turned.roll(place, (0, 1)) for place in places]
        copies.append(min(drawn, key=lambda copy: int((copy & cells).sum())).flatten())
    return torch.stack(copies)


def random_masks(orders: Tensor, levels: Sequence[float]) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """The masks of random orders for both ways, with those left out that serve twice.

    An order read from its end is a random order as well. So its insertion may be read off the masks of the order
    itself: removing the first half is putting back the last.

    Returns:
        Masks `mask patch`, and what turns their scores `mask` into curves without the ends, `way order level`.
    """
    inner = [level for level in levels if 0 < level < 1]
    counts = [max(1, round(level * orders.shape[1])) for level in inner]
    both = sorted({*counts, *(orders.shape[1] - count for count in counts)})
    masks = torch.zeros(len(orders), len(both), orders.shape[1], dtype=torch.bool)
    for order, rows in zip(orders, masks, strict=True):
        for row, count in zip(rows, both, strict=True):
            row[order[:count]] = True
    deleted = [both.index(count) for count in counts]
    inserted = [both.index(orders.shape[1] - count) for count in counts]

    def curves(scores: Tensor) -> Tensor:
        each = scores.view(len(orders), len(both))
        return torch.stack([each[:, deleted], each[:, inserted]])

    return masks.flatten(0, 1), curves
