"""Rendered scenes with exact masks: does the map tell two things apart by name, by colour, by place, and does it cover
as many as are named?"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crossviz.evaluate.probes.report import ProbeFigure, ProbeReport, mean_figure, share_figure
from crossviz.evaluate.probes.scene_makers import MAKERS, Ask, Test, make_tests
from crossviz.evaluate.probes.scene_renderer import render
from crossviz.measures import MeasuredMap
from crossviz.photo import Photo

if TYPE_CHECKING:
    from crossviz.evaluate.dataset import Dataset
    from crossviz.explainer import Explainer

__all__ = ["measure_tests", "probe_scenes"]

SCENES = 80  # of each kind
_REACHED = 0.5  # of the map's maximum: what a thing must reach to count as covered


def probe_scenes(explainer: "Explainer", dataset: "Dataset | None" = None, seed: int = 0) -> ProbeReport:
    """Points at the thing that a phrase means, of two that it might mean; needs no dataset."""
    figures = [f for maker in MAKERS for f in measure_tests(explainer, maker, make_tests(maker, SCENES, seed))]
    return ProbeReport(
        "scenes",
        f"Rendered scenes, {SCENES} of each kind: does a map point into the thing that the phrase means?",
        tuple(figures),
        (
            "The one meant, of the two: of the phrases whose map points into one of the two things; a model that does "
            "not read the word that tells them apart is right in half of them.",
            f"Covered: the map reaches {_REACHED:.0%} of its maximum in every one of the things.",
        ),
    )


@dataclass
class _Rows:
    """What was seen of one kind of question, a row for each phrase."""

    scene: list[int] = field(default_factory=list)
    hit: list[float] = field(default_factory=list)  # share of the maximum in what is meant
    miss: list[float] = field(default_factory=list)  # and in what is not
    mass: list[float] = field(default_factory=list)  # what is meant, as a share of the mass on both
    area: list[float] = field(default_factory=list)  # of what is meant
    covered: list[bool] = field(default_factory=list)
    least: list[float] = field(default_factory=list)  # the least covered thing's mass, 1 if all have the same


def measure_tests(explainer: "Explainer", maker: str, tests: Iterable[Test]) -> list[ProbeFigure]:
    """The figures of one kind of scene.

    Args:
        explainer: what has `encode` and `explain`.
        maker: a name of `MAKERS`.
        tests: the scenes.
    """
    rows: dict[str, _Rows] = defaultdict(_Rows)
    for number, test in enumerate(tests):
        picture = render(test.scene)
        image = explainer.encode(Photo(picture.pixels, f"{maker} {number}"))
        for ask in test.asks:
            heatmap = explainer.explain(image, ask.text).heatmap(span=(0, len(ask.text)))
            for name in _counted(maker, ask, test):
                _add(rows[name], number, heatmap, picture.masks, ask)
    pairs = [name for name in rows if name in ("noun", "colour", "left or right", "on or beside")]
    figures = [figure for name in pairs for figure in _pair_figures(name, rows[name])]
    for name in sorted(set(rows) - set(pairs)):
        if maker == "count":
            figures += _count_figures(name, rows[name])
        else:
            figures.append(
                share_figure(f"{name}: points into it", rows[name].hit, rows[name].scene, np.mean(rows[name].area))
            )
    return figures


def _counted(maker: str, ask: Ask, test: Test) -> list[str]:
    if maker == "noun":
        return ["noun", f"noun, {test.scene.things[ask.meant[0]].kind}"]
    return [f"count, {ask.text.split()[0]}"] if maker == "count" else [maker]


def _add(rows: _Rows, scene: int, heatmap: NDArray, masks: NDArray, ask: Ask) -> None:
    meant, others = masks[list(ask.meant)].any(0), masks[list(ask.others)].any(0)
    found = MeasuredMap(heatmap)
    each = np.array([heatmap[masks[number]].sum() for number in ask.meant])
    both = heatmap[meant].sum() + heatmap[others].sum()
    rows.scene.append(scene)
    rows.hit.append(found.pointing(meant))
    rows.miss.append(found.pointing(others))
    rows.mass.append(float(heatmap[meant].sum() / both) if both > 0 else 0.5)
    rows.area.append(float(meant.mean()))
    rows.covered.append(all(heatmap[masks[n]].max() >= _REACHED * heatmap.max() for n in ask.meant))
    rows.least.append(float(each.min() / each.mean()) if each.sum() > 0 else 0.0)


def _pair_figures(name: str, rows: _Rows) -> list[ProbeFigure]:
    scene, hit, miss = np.array(rows.scene), np.array(rows.hit), np.array(rows.miss)
    either = hit + miss > 0
    return [
        share_figure(f"{name}: points into the one meant", hit, scene, float(np.mean(rows.area))),
        share_figure(
            f"{name}: the one meant, of the two", (hit / np.maximum(hit + miss, 1e-9))[either], scene[either], 0.5
        ),
        mean_figure(f"{name}: its share of the mass on both", 100 * np.array(rows.mass), scene, unit="%", chance=50.0),
    ]


def _count_figures(name: str, rows: _Rows) -> list[ProbeFigure]:
    number = {"one": "all that there are", "two": "both", "three": "all three"}[name.split()[-1]]
    return [
        share_figure(f"{name}: {number} covered", rows.covered, rows.scene),
        mean_figure(f"{name}: mass of the least covered, 1 if even", rows.least, rows.scene),
    ]
