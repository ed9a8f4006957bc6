"""Localisation: how much of a map lies in a box that the user drew, against the box's area as chance."""

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from crossviz.errors import GeometryError, ResultError
from crossviz.frozen import FrozenResult, check_flag, set_fields
from crossviz.measures import Box, MeasuredMap, best_iou, box_mask
from crossviz.trust.plain import check_number, check_numbers, plain

__all__ = ["Localisation", "localise"]


@dataclass(frozen=True, eq=False)
class Localisation(FrozenResult):
    """A map against a box.

    Args:
        box: left, top, right, bottom in the photo's pixels, inside it.
        mass: share of the map's positive values that lies in the box.
        pointing: whether the map's highest pixel lies in the box (of tied ones, at least half of them).
        iou: intersection over union of the box and the map above the cut-off that suits it best. Choosing the best
            one flatters every map alike.
        cut_off: that cut-off, as a share of the map's maximum.
        area: the box's share of the photo: what `mass` and `pointing` are for a map that knows nothing.

    Raises:
        ResultError: for a value out of its range.
    """

    box: Box
    mass: float
    pointing: bool
    iou: float
    cut_off: float
    area: float

    def __post_init__(self) -> None:
        set_fields(self, box=check_numbers("box", self.box, 0))
        if len(self.box) != 4:
            raise ResultError(f"`box` must be four numbers, but is {self.box!r:.80}.")
        for name in ("mass", "iou", "cut_off", "area"):
            check_number(name, getattr(self, name), 0, 1)
        check_flag(self, "pointing")

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON-able values."""
        figures = {name: plain(getattr(self, name)) for name in ("mass", "iou", "cut_off", "area")}
        return {"box": plain(list(self.box)), "pointing": self.pointing, **figures}


def localise(heatmap: NDArray, box: Box, seen_xyxy: Box | None = None) -> Localisation:
    """Hold a map in the photo's pixels, `H W`, against a box in the same pixels; what reaches beyond is cut off.

    Args:
        heatmap: 0 where the model saw nothing.
        box: left, top, right, bottom.
        seen_xyxy: the part of the photo that the model saw; all of it if None. Only that counts, for the box too.

    Raises:
        GeometryError: the box holds no centre of a pixel that the model saw.
    """
    height, width = heatmap.shape
    try:
        left, top, right, bottom = (float(side) for side in box)
    except (TypeError, ValueError):
        raise GeometryError(f"A box is four numbers, left, top, right and bottom in pixels, not {box!r:.80}.") from None
    if not all(abs(side) < float("inf") for side in (left, top, right, bottom)):
        raise GeometryError(f"A box is four finite numbers, not {box!r:.80}.")
    kept = (max(left, 0.0), max(top, 0.0), min(right, float(width)), min(bottom, float(height)))
    seen = box_mask([(0, 0, width, height) if seen_xyxy is None else seen_xyxy], height, width)
    region = box_mask([kept], height, width) & seen
    if not region.any():
        raise GeometryError(
            f"The box {(left, top, right, bottom)} holds no pixel of the photo of {width} x {height} pixels that the "
            "model saw: draw a larger one, or another."
        )
    figures = MeasuredMap(heatmap, seen).figures(region)
    iou, cut_off = best_iou(heatmap, region)
    # Summed in another order than the whole, the part inside may come out larger by a rounding.
    mass = min(figures.mass, 1.0)
    return Localisation(kept, mass, figures.pointing >= 0.5, iou, cut_off, float(region.sum() / seen.sum()))
