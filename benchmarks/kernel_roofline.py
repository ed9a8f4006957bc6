"""The roofline (Williams, Waterman and Patterson 2009): what a GPU can do of a work that moves so many bytes."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib
import numpy as np

__all__ = ["Point", "draw"]

matplotlib.use("Agg")

_MARKS = {"fused": ("o", "#0072b2"), "compiled": ("s", "#e69f00"), "eager": ("^", "#7f7f7f")}


class Point(NamedTuple):
    """One measured call."""

    peer: str
    size: str
    intensity: float
    """Floating point operations per byte that must move."""
    rate: float
    """Floating point operations per second."""


def draw(points: Sequence[Point], bandwidth: float, peak: float, title: str, path: Path) -> None:
    """Draw the points under the roof into a PNG.

    Args:
        points: at least one.
        bandwidth: bytes per second.
        peak: floating point operations per second.
        title: the machine.
        path: of the PNG.
    """
    from matplotlib import pyplot as plt

    intensities = [point.intensity for point in points]
    least, most = min(*intensities, peak / bandwidth) / 2, max(*intensities, peak / bandwidth) * 2
    x = np.geomspace(least, most, 200)
    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    axes.plot(x, np.minimum(x * bandwidth, peak) / 1e12, color="black", label="measured copy and matrix product")
    axes.plot(x, 0.75 * x * bandwidth / 1e12, color="black", linestyle=":", label="75 % of the copy")
    for peer, (marker, colour) in _MARKS.items():
        its = [point for point in points if point.peer == peer]
        axes.plot([p.intensity for p in its], [p.rate / 1e12 for p in its], marker, color=colour, label=peer)
    for point in points:
        if point.peer == "fused":
            place = (point.intensity, point.rate / 1e12)
            axes.annotate(point.size, place, xytext=(4, 4), textcoords="offset points", fontsize=6)
    axes.set(xscale="log", yscale="log", title=title)
    axes.set(xlabel="floating point operations per byte that must move", ylabel="TFLOP/s")
    axes.legend()
    figure.savefig(path, dpi=150)
    plt.close(figure)
