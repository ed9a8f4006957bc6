"""The smallest region of a map that holds half of its mass, or another share, as a number, a level and outlines.

The smooth map has one exact meaning everywhere: the bilinear interpolation of the patch values at half-pixel centres
with clamped edges. Its mass is summed on a fixed lattice of `SAMPLES` x `SAMPLES` points per patch.
"""

from dataclasses import dataclass

import contourpy
import numpy as np

from crossviz.errors import RenderError

__all__ = ["SAMPLES", "HalfMass", "contour_share", "half_mass", "half_mass_outlines", "sample_axis"]

SAMPLES = 8
"""Lattice points per patch and axis at which the smooth map's mass is summed: at (k + 0.5) / 8 of each patch."""


@dataclass(frozen=True, slots=True)
class HalfMass:
    """The region {value >= level}: no smaller one holds as much. Where values tie at the level, it takes them all."""

    level: float
    """Raw value at the region's edge."""
    area: float
    """The share of what the model saw that is needed for the mass (of ties no more than that), 0..1."""
    mass: float
    """The share of the map's mass that the region holds: `share` or a little more, 0 for a map without mass."""


def contour_share(contour: bool | float) -> float | None:
    """The share of a map's mass that its line is to enclose: 0.5 for True, None (no line) for False, else the number.

    Raises:
        RenderError: for a number that is not above 0 and at most 1.
    """
    if isinstance(contour, (bool, np.bool_)):
        return 0.5 if contour else None
    if not (isinstance(contour, (int, float, np.number)) and 0 < contour <= 1):
        raise RenderError(
            "`contour` must be True, False, or the share of the map's mass that the line encloses (above 0, at most "
            f"1), but is {contour!r:.60}."
        )
    return float(contour)


def sample_axis(coords: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Neighbours and weight of bilinear interpolation along one axis.

    Args:
        coords: continuous grid coordinates; patch k covers [k, k + 1), its centre is k + 0.5.
        size: number of patches along the axis.

    Returns:
        `low`, `high` (patch indices) and `weight` of `high`: value = v[low] * (1 - weight) + v[high] * weight.
        Beyond the first and last centre the value is that of the first and last patch (clamped).
    """
    u = np.clip(coords - 0.5, 0.0, size - 1)
    low = np.floor(u).astype(np.intp)
    high = np.minimum(low + 1, size - 1)
    return low, high, u - low


def bilinear(values: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """`values` `gh gw` at all pairs of grid coordinates (y, x): float64 `len(y) len(x)`."""
    gh, gw = values.shape
    left, right, wx = sample_axis(x, gw)
    top, bottom, wy = sample_axis(y, gh)
    rows = values[:, left] * (1 - wx) + values[:, right] * wx  # gh x
    return rows[top] * (1 - wy)[:, None] + rows[bottom] * wy[:, None]


def _mass_map(values: np.ndarray) -> np.ndarray:
    """Only positive values have mass (probabilities all do; of a signed map, what speaks for the word)."""
    return np.maximum(np.nan_to_num(np.asarray(values, dtype=np.float64), posinf=0.0, neginf=0.0), 0.0)


def half_mass(values: np.ndarray, *, smooth: bool = True, share: float = 0.5) -> HalfMass:
    """The smallest region that holds `share` of a map's positive mass.

    The values (of the lattice, or of the patches where `smooth` is False) are sorted from high to low and summed up;
    the level is the value at which the running sum first reaches share * total.

    Args:
        values: raw values `gh gw`.
        smooth: the bilinear map, sampled 8 x 8 times per patch, or the patches themselves.
        share: 0..1.
    """
    values = _mass_map(values)
    if smooth:
        gh, gw = values.shape
        y, x = ((np.arange(size * SAMPLES) + 0.5) / SAMPLES for size in (gh, gw))
        values = bilinear(values, x, y)
    ordered = np.sort(values, axis=None)[::-1]
    running = np.cumsum(ordered)
    if not running[-1] > 0:
        return HalfMass(level=0.0, area=1.0, mass=0.0)
    # The last running sum can fall an ulp short of share * total when share is 1.
    count = min(int(np.searchsorted(running, share * running[-1])) + 1, ordered.size)
    return HalfMass(float(ordered[count - 1]), count / ordered.size, float(running[count - 1] / running[-1]))


def half_mass_outlines(values: np.ndarray, *, smooth: bool = True, share: float = 0.5) -> list[np.ndarray]:
    """Closed outlines of the region of `half_mass`, holes included, in grid coordinates.

    Along the edge of what the model saw an outline follows that edge. In patch view it follows patch edges.

    Args:
        values: raw values `gh gw`.
        smooth, share: as for `half_mass`.

    Returns:
        Arrays `point 2` of (x, y); first and last point are equal. Empty for a map without mass.
    """
    region = half_mass(values, smooth=smooth, share=share)
    if not region.mass:
        return []
    values = _mass_map(values)
    gh, gw = values.shape
    if smooth:
        y, x = (np.concatenate([[0.0], (np.arange(n * SAMPLES) + 0.5) / SAMPLES, [float(n)]]) for n in (gh, gw))
        # A hair below, so that a plateau at the level itself lies inside.
        field, level = bilinear(values, x, y), region.level * (1 - 1e-9)
    else:
        # Cells of zero width at each patch edge turn contour lines into steps.
        y, x = (np.repeat(np.arange(n + 1.0), 2)[1:-1] for n in (gh, gw))
        field = np.repeat(np.repeat(values >= region.level, 2, axis=0), 2, axis=1).astype(np.float64)
        level = 0.5
    # A ring of zero width below every level closes the outlines at the edge.
    field = np.pad(field, 1, constant_values=min(0.0, level) - 1.0)
    x, y = (np.concatenate([[axis[0]], axis, [axis[-1]]]) for axis in (x, y))
    lines = contourpy.contour_generator(*np.meshgrid(x, y), field, name="serial").lines(level)
    lines = [np.clip(line, 0.0, (gw, gh)) for line in lines]  # interpolation may round to an ulp beyond the edge
    return [line for line in lines if len(line) > 2 and np.ptp(line, axis=0).max() > 0]
