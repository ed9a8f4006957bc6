"""Where a map lies, in words: the upper right, the left and the lower right, all over the picture.

The viewer says the same (web/viewer/51_places.js mirrors this file, in double precision).
"""

import numpy as np

from crossviz.geometry import ImageView
from crossviz.render.contour import half_mass

__all__ = ["EVERYWHERE", "SEVERAL", "places"]

EVERYWHERE = "all over"
SEVERAL = "several"
_ONE = 2 / 3  # of the region's mass: what a single place holds
_TWO, _SECOND = 0.8, 0.25  # what two places hold together, and the lesser of them
_ACROSS = 0.2  # with so much of its mass in the first and in the last third, a part reaches across
_COLUMNS = ("left", "middle", "right")
_ROWS = ("upper", "", "lower")


def places(values: np.ndarray, view: ImageView, *, share: float = 0.5) -> tuple[str, ...]:
    """The places in the photo of the smallest region of patches that holds `share` of a map's positive mass.

    The region's connected parts are each named by the thirds of the photo that they lie in; parts of one name count
    together. A name holds if it has two thirds of the region's mass; two names, if they have 80 % of it and the lesser
    one 25 %.

    Args:
        values: raw, `gh gw`.
        view: from the photo to the grid.
        share: 0..1.

    Returns:
        One or two names ("the upper right"), or (EVERYWHERE,), or (SEVERAL,); empty for a map without mass.
    """
    region = half_mass(values, smooth=False, share=share)
    if not region.mass:
        return ()
    gh, gw = values.shape
    mass = np.maximum(np.asarray(values, np.float64), 0.0).ravel().tolist()
    x0, y0, x1, y1 = view.crop_xyxy
    width, height = view.source_wh
    x = [_third((x0 + (col + 0.5) / gw * (x1 - x0)) / width) for col in range(gw)]
    y = [_third((y0 + (row + 0.5) / gh * (y1 - y0)) / height) for row in range(gh)]
    held: dict[str, float] = {}
    for part in _parts([value >= region.level for value in mass], gh, gw):
        weights = [(mass[at], x[at % gw], y[at // gw]) for at in part]
        total = _sum(weight for weight, _, _ in weights)
        name = _name([(weight / total, at) for weight, at, _ in weights], [(w / total, at) for w, _, at in weights])
        held[name] = held.get(name, 0.0) + total
    whole = _sum(held.values())
    ordered = sorted(held.items(), key=lambda item: -item[1])
    best, second = ordered[0], ordered[1] if len(ordered) > 1 else ("", 0.0)
    if second[1] >= _SECOND * whole and best[1] + second[1] >= _TWO * whole and EVERYWHERE not in (best[0], second[0]):
        return best[0], second[0]
    return (best[0],) if best[1] >= _ONE * whole else (SEVERAL,)


def _third(position: float) -> int:
    return min(2, max(0, int(np.floor(3 * position))))


def _parts(inside: list[bool], gh: int, gw: int) -> list[list[int]]:
    """The connected parts (also by corners), each as patch numbers in ascending order."""
    seen, parts = [False] * len(inside), []
    for start in range(len(inside)):
        if not inside[start] or seen[start]:
            continue
        seen[start], part = True, [start]
        for at in part:
            row, col = divmod(at, gw)
            for r in range(max(0, row - 1), min(gh, row + 2)):
                for c in range(max(0, col - 1), min(gw, col + 2)):
                    other = r * gw + c
                    if inside[other] and not seen[other]:
                        seen[other] = True
                        part.append(other)
        parts.append(sorted(part))
    return parts


def _name(across: list[tuple[float, int]], down: list[tuple[float, int]]) -> str:
    """What a part is called, from its mass by thirds of the photo: (share, third) per patch, along each axis."""
    column, row = _axis(across), _axis(down)
    if column is None and row is None:
        return EVERYWHERE
    if column is None:
        return ("the upper part", "the middle from side to side", "the lower part")[row]
    if row is None:
        return ("the left side", "the middle from top to bottom", "the right side")[column]
    return f"the {_ROWS[row]} {_COLUMNS[column]}".replace("  ", " ")


def _axis(shares: list[tuple[float, int]]) -> int | None:
    """The third that the middle of the mass lies in; None where it reaches across all of them."""
    thirds = [0.0, 0.0, 0.0]
    for share, third in shares:
        thirds[third] += share
    if min(thirds[0], thirds[2]) >= _ACROSS:
        return None
    if thirds[0] > 0.5 or thirds[2] > 0.5:
        return 0 if thirds[0] > 0.5 else 2
    return 1


def _sum(values) -> float:
    """In order, as JavaScript adds (the built-in of newer Pythons compensates)."""
    total = 0.0
    for value in values:
        total += value
    return total
