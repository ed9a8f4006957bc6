"""The comparison of methods as a picture: a row per method, a panel per figure, intervals as lines."""

import io
import math
from typing import TYPE_CHECKING

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from crossviz.evaluate.compare import Comparison

__all__ = ["plot"]

PANELS = {"pointing": "pointing %", "iou": "IoU at the best cut-off %", "mass": "mass inside %"}
_METHOD, _BASELINE, _GRID = "#1f5fa8", "#8a8580", "#d9d5cf"
_RC = {"svg.fonttype": "none", "svg.hashsalt": "crossviz", "font.size": 8.5}


def plot(comparison: "Comparison", kind: str) -> bytes:
    """The picture as a file.

    Args:
        comparison: from `crossviz.evaluate.compare`.
        kind: "png" or "svg".
    """
    groups = comparison.groups
    rows = {name: _rows(comparison, name) for name in groups}
    heights = [0.24 * len(rows[name]) + 0.62 for name in groups]
    with matplotlib.rc_context(_RC):
        figure = Figure(figsize=(9.0, sum(heights) + 0.75), dpi=140, layout="constrained")
        FigureCanvasAgg(figure)
        run = comparison.reports[0].run
        part = "" if run.part == "all" else f" ({run.part})"
        mark = "" if run.trained else "; UNTRAINED WEIGHTS, the figures mean nothing"
        figure.suptitle(f"{run.model} on {run.dataset}{part}, {run.photos} photos{mark}", fontsize=10)
        axes = figure.subplots(len(groups), len(PANELS), squeeze=False, height_ratios=heights, sharex="col")
        for line, name in zip(axes, groups, strict=True):
            for panel, measure in zip(line, PANELS, strict=True):
                _draw(panel, rows[name], measure)
            line[0].set_yticks(range(len(rows[name])), [label for label, _, _ in rows[name]])
            line[0].set_title(name, loc="left", fontsize=9, fontweight="bold")
        for panel, title in zip(axes[-1], PANELS.values(), strict=True):
            panel.set_xlabel(title)
        out = io.BytesIO()
        figure.savefig(out, format=kind, metadata={"Date": None} if kind == "svg" else None)
    return out.getvalue()


def _rows(comparison: "Comparison", group: str) -> list[tuple[str, dict, bool]]:
    """Label, figures and whether it is a method: the best method first, the baselines last."""
    found = [(label, source.figures, is_method) for label, source, is_method in comparison.sources(group)]
    return sorted(found, key=lambda row: (not row[2], -row[1]["pointing"].value))


def _draw(axes: Axes, rows: list[tuple[str, dict, bool]], measure: str) -> None:
    for place, (_, figures, is_method) in enumerate(rows):
        found = figures.get(measure)
        if found is None or math.isnan(found.value):
            continue
        colour = _METHOD if is_method else _BASELINE
        if not math.isnan(found.low):
            axes.plot([100 * found.low, 100 * found.high], [place, place], color=colour, linewidth=1.6)
        axes.plot([100 * found.value], [place], marker="o" if is_method else "D", markersize=4.5, color=colour)
    axes.set_yticks(range(len(rows)), [""] * len(rows))
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlim(left=0)
    axes.grid(axis="x", color=_GRID, linewidth=0.6)
    axes.tick_params(length=0, labelbottom=True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
