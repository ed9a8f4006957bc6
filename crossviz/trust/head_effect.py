"""Head effect: what each head does to the match and to the map when it is switched off, one at a time.

A head may give much attention to a place and do nothing with it, so heads are ranked by what changes without them: by
how much the match does, up or down, and of equal ones by how much the map does. The attention that they give is there
beside it.
"""

from dataclasses import dataclass
from typing import Any

from crossviz.errors import ResultError
from crossviz.frozen import FrozenResult, check_text, set_fields
from crossviz.trust.plain import check_number, plain

__all__ = ["Head", "HeadEffect"]


@dataclass(frozen=True, slots=True)
class Head:
    """One head, switched off.

    Args:
        layer: label of its layer.
        head: its number there.
        effect: the match without it minus the match with it, as people read it; below 0 where the head helps.
        map_change: 1 - Spearman's correlation of the map without it and the map with it, 0 to 2; None where the map
            does not come from these heads, or can't be made again without computing everything anew.
        mass: how much of its attention goes to patches (and not to a null key, a class token), 0 to 1.
    """

    layer: str
    head: int
    effect: float
    map_change: float | None
    mass: float


@dataclass(frozen=True, eq=False)
class HeadEffect(FrozenResult):
    """Every head's effect, those that change the match most first.

    Args:
        unit: of the match, as people read it.
        heads: each a `Head`.
        whole: the match with all heads.
        all_off: the match with all heads of the image tower off: what its residual stream and its MLPs alone give.

    Raises:
        ResultError: for a value out of its range.
    """

    unit: str
    heads: tuple[Head, ...]
    whole: float
    all_off: float

    def __post_init__(self) -> None:
        check_text(self, "unit")
        heads = tuple(part if isinstance(part, Head) else Head(*part) for part in self.heads)
        set_fields(self, heads=tuple(sorted(heads, key=lambda part: (-abs(part.effect), -(part.map_change or 0.0)))))
        if not heads:
            raise ResultError("`heads` must hold at least one head.")
        for part in heads:
            check_number("effect", part.effect)
            check_number("mass", part.mass, 0, 1.0001)
            if part.map_change is not None:
                check_number("map_change", part.map_change, 0, 2)
        check_number("whole", self.whole)
        check_number("all_off", self.all_off)

    def to_arrays(self) -> tuple[dict, dict[str, Any]]:
        """As `FrozenResult.to_arrays`, the heads as lists."""
        heads = [[part.layer, part.head, part.effect, part.map_change, part.mass] for part in self.heads]
        return {}, {"unit": self.unit, "heads": heads, "whole": self.whole, "all_off": self.all_off}

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON-able values."""
        heads = [
            {
                "layer": part.layer,
                "head": part.head,
                "effect": plain(part.effect),
                "map_change": None if part.map_change is None else plain(part.map_change),
                "mass": plain(part.mass),
            }
            for part in self.heads
        ]
        return {"unit": self.unit, "heads": heads, "whole": plain(self.whole), "all_off": plain(self.all_off)}
