"""Where a value lies on the colour scale: one absolute scale for all words of a caption.

Nothing here looks at one map alone unless it is asked to (`word_scale`): what is twice as strong in one word's map
is drawn twice as strong as in another's, and a word that found nothing stays dark.
"""

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from crossviz.errors import RenderError

if TYPE_CHECKING:
    from crossviz.results import Heads, RelevanceMap

__all__ = ["ABSENT_NULL_MASS", "CHANCE", "FLOOR", "Scale", "map_scale", "parts_of", "shared_scale", "word_scale"]

CHANCE = 1.0
"""A probability equal to 1 / number of patches, as a multiple of uniform: nothing at or below it is drawn."""
FLOOR = 8.0
"""The shared scale of probabilities reaches at least this multiple of chance, so that noise does not glow."""
ABSENT_NULL_MASS = 0.5
"""A word that gave more than this to the null key counts as "not in the picture"."""


@dataclass(frozen=True, slots=True)
class Scale:
    """From a raw value to a position on the colour table.

    displayed = value * factor. Unsigned: t = (clip((displayed - vmin) / (vmax - vmin), 0, 1)) ** power, in [0, 1].
    Signed: t = clip(displayed / vmax, -1, 1), linear, 0 at zero; `vmin` is -vmax. Logarithmic (unsigned, vmin > 0):
    t = clip(log(displayed / vmin) / log(vmax / vmin), 0, 1), so that one steep map leaves the others to be seen.

    Raises:
        RenderError: if `vmin` < `vmax` does not hold, a number is not finite, or a logarithm does not exist.
    """

    unit: str
    """Unit of the raw values, e.g. "probability"."""
    vmin: float
    """Displayed value that the scale starts at."""
    vmax: float
    """Displayed value that the scale ends at; higher ones take the last colour."""
    factor: float = 1.0
    """Displayed value per raw value: the number of patches for probabilities, else 1."""
    power: float = 0.5
    """Exponent of the position (0.5: square root, so that weak values are told apart)."""
    signed: bool = False
    shared: bool = True
    """False where the scale was made for one word alone; then it says so in its label."""
    log: bool = False
    """Logarithmic instead of a power; then it says so in its label."""

    def __post_init__(self) -> None:
        numbers = (self.vmin, self.vmax, self.factor, self.power)
        if not all(math.isfinite(number) for number in numbers) or not self.vmin < self.vmax:
            raise RenderError(
                f"A scale must run from a finite `vmin` to a larger finite `vmax`, but got {self.vmin} to {self.vmax}."
            )
        if self.log and (self.signed or self.vmin <= 0):
            raise RenderError(f"A logarithmic scale must start above 0, but starts at {self.vmin}.")

    @property
    def label(self) -> str:
        """What the colour bar is labelled with."""
        name = "× chance" if self.unit == "probability" else self.unit
        name += ", logarithmic" if self.log else ""
        return name if self.shared else f"{name}, scaled to this word alone"

    def displayed(self, values: np.ndarray) -> np.ndarray:
        """Raw values -> displayed values (float64, same shape)."""
        return np.asarray(values, dtype=np.float64) * self.factor

    def position(self, values: np.ndarray) -> np.ndarray:
        """Raw values -> t in [0, 1], or in [-1, 1] if signed (float64, same shape)."""
        return self.position_of_displayed(self.displayed(values))

    def position_of_displayed(self, displayed: np.ndarray) -> np.ndarray:
        """Displayed values -> t (same shape, the input's float type)."""
        if self.signed:
            return np.clip(displayed / self.vmax, -1.0, 1.0)
        if self.log:
            return np.log(np.clip(displayed, self.vmin, self.vmax) / self.vmin) / math.log(self.vmax / self.vmin)
        t = np.clip((displayed - self.vmin) / (self.vmax - self.vmin), 0.0, 1.0)
        if self.power == 0.5:
            return np.sqrt(t)
        return t if self.power == 1.0 else t**self.power

    def ticks(self, most: int = 6) -> list[float]:
        """Displayed values for the colour bar's ticks: the ends, and round numbers that lie well apart between."""
        if self.signed:
            return [-self.vmax, -self.vmax / 2, 0.0, self.vmax / 2, self.vmax]
        span = self.vmax - self.vmin
        exponent = math.floor(math.log10(span))
        round_numbers = [m * 10.0**e for e in range(exponent - 2, exponent + 1) for m in (1, 2, 5)]
        ticks = [self.vmin, self.vmax]
        for value in reversed(round_numbers):
            if self.vmin < value < self.vmax and len(ticks) < most:
                t = self._bar(value)
                if all(abs(t - self._bar(tick)) > 0.13 for tick in ticks):
                    ticks.append(value)
        return sorted(ticks)

    def _bar(self, displayed: float) -> float:
        return float(self.position_of_displayed(np.float64(displayed)))


def shared_scale(maps: np.ndarray, unit: str, *, signed: bool = False, num_patches: int | None = None) -> Scale:
    """The one scale for all words of a caption.

    - unit "probability": displayed as multiples of uniform, p * num_patches. vmin = 1 (chance),
      vmax = max(largest displayed value of any word's map averaged over heads and layers, 8).
    - signed: symmetric and linear, vmax = largest absolute value.
    - anything else: from 0 to the largest value, square root.

    Bilinear upsampling never exceeds the largest patch, so the largest patch value is the smooth map's bound too.

    Args:
        maps: raw values `word gh gw` (any leading axes), averaged over heads and layers.
        unit: unit of the raw values.
        signed: whether values below zero mean something.
        num_patches: gh * gw if None.
    """
    maps = np.asarray(maps, dtype=np.float64)
    finite = maps[np.isfinite(maps)]
    if signed:
        vmax = float(np.abs(finite).max(initial=0.0)) or 1.0
        return Scale(unit, -vmax, vmax, power=1.0, signed=True)
    top = float(finite.max(initial=0.0))
    if unit == "probability":
        patches = math.prod(maps.shape[-2:]) if num_patches is None else num_patches
        return Scale(unit, CHANCE, max(top * patches, FLOOR), factor=float(patches))
    return Scale(unit, 0.0, top or 1.0)


def parts_of(
    chart: "RelevanceMap", layer: int | str | None, head: "Heads"
) -> Literal["single heads", "single layers", "heads"] | None:
    """Which parts of a sum a choice of layer and head shows; None for the whole, and where nothing is summed."""
    if chart.reduce == "mean" or chart.per_head is None or (layer is None and head is None):
        return None
    if isinstance(head, list | tuple) or (layer is not None and head is not None):
        return "single heads"
    return "single layers" if head is None else "heads"


def map_scale(chart: "RelevanceMap", layer: int | str | None = None, head: "Heads" = None) -> Scale:
    """The one scale for all words of a map.

    Parts of a sum are far smaller than it: they share a scale of their own, which ends at the largest value of any word
    in any part of the same kind (single heads, layers, heads summed over the layers).

    Args:
        layer, head: as for `RelevanceMap.select`.
    """
    kind = parts_of(chart, layer, head)
    maps = {
        None: lambda: chart.values,
        "single heads": lambda: chart.per_head,
        "single layers": lambda: chart.per_head.sum(1),
        "heads": lambda: chart.per_head.sum(0),
    }[kind]()
    return shared_scale(maps.numpy(), chart.unit, signed=chart.signed)


def word_scale(values: np.ndarray, shared: Scale) -> Scale:
    """The scale that ends at one map's own largest value: a choice of the reader, labelled as such.

    It starts where the shared scale starts, so chance stays the floor; a map that never leaves it draws nothing.

    Args:
        values: raw values `gh gw`.
        shared: the caption's shared scale.
    """
    displayed = shared.displayed(values)
    if shared.signed:
        vmax = float(np.abs(displayed).max(initial=0.0)) or shared.vmax
        return replace(shared, vmin=-vmax, vmax=vmax, shared=False)
    top = float(displayed.max(initial=shared.vmin))
    return replace(shared, vmax=top if top > shared.vmin else shared.vmax, shared=False)
