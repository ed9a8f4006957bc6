"""What each head does: how alike the heads' maps are, and how wide, where and how rightly each one looks."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from crossviz.errors import SelectionError
from crossviz.evaluate.probes.report import ProbeFigure, ProbeReport, mean_figure, share_figure
from crossviz.measures import CUTS, MeasuredMap, box_mask
from crossviz.photo import load_photo

if TYPE_CHECKING:
    from crossviz.evaluate.dataset import Dataset, Question
    from crossviz.explainer import Explainer
    from crossviz.explanation import Explanation

__all__ = ["HeadFacts", "correlations", "probe_heads"]

PHOTOS = 200  # at most; drawn by the seed from larger sets
TOP = 0.1  # of the patches
KIND_PHRASES = 30  # fewer of a kind say nothing of a head
TOGETHER = "all heads together"


@dataclass
class HeadFacts:
    """What was seen of every head, a row for each phrase; maps are forgotten."""

    photo: list[int] = field(default_factory=list)
    kinds: list[tuple[str, ...]] = field(default_factory=list)
    alike: list[float] = field(default_factory=list)
    shape: list[NDArray] = field(default_factory=list)  # head fact: spread, top, right, down, null
    right: list[NDArray] = field(default_factory=list)  # head, their mean last, by figure: pointing, IoU at CUTS

    def add(self, photo: int, kinds: tuple[str, ...], maps: NDArray, null: NDArray) -> None:
        """One phrase: `maps` over patches, `head gh gw`, and each head's null mass (NaN without a null key)."""
        positive = maps.clip(0)
        flat = positive.reshape(len(maps), -1).astype(float)
        share = flat / np.maximum(flat.sum(1, keepdims=True), 1e-12)
        entropy = -(share * np.log(np.maximum(share, 1e-12))).sum(1)
        top = np.sort(share, 1)[:, -max(1, round(TOP * share.shape[1])) :].sum(1)
        middle = _middles(np.concatenate([share.mean(0, keepdims=True), share]).reshape(-1, *maps.shape[1:]))
        shift = middle[1:] - middle[0]
        self.photo.append(photo)
        self.kinds.append(kinds)
        self.alike.append(correlations(maps))
        spread = np.exp(entropy) / share.shape[1]
        self.shape.append(np.column_stack([spread, top, shift, null]))

    def add_region(self, heatmaps: NDArray, region: NDArray[np.bool_], target: NDArray[np.bool_]) -> None:
        """The same phrase in the photo's pixels, `head H W`: what it should cover, and where it should point."""
        every = np.concatenate([heatmaps, heatmaps.mean(0, keepdims=True)])
        found = [MeasuredMap(heatmap).figures(region, target) for heatmap in every]
        self.right.append(np.array([(f.pointing, *f.ious) for f in found]))


def correlations(maps: NDArray) -> float:
    """The mean of Pearson's correlation over all pairs of maps `head gh gw`; NaN where fewer than two vary."""
    flat = maps.reshape(len(maps), -1).astype(float)
    flat = flat - flat.mean(1, keepdims=True)
    size = np.linalg.norm(flat, axis=1)
    flat = flat[size > 1e-12] / size[size > 1e-12, None]
    if len(flat) < 2:
        return float("nan")
    return float((flat @ flat.T)[np.triu_indices(len(flat), 1)].mean())


def probe_heads(explainer: "Explainer", dataset: "Dataset | None" = None, seed: int = 0) -> ProbeReport:
    """Measures every head's own map of phrases with boxes or masks; needs a dataset."""
    if dataset is None:
        return ProbeReport("heads", "Not measured: heads are compared on a dataset of photos with boxes or masks.")
    chosen = np.random.default_rng(seed).permutation(len(dataset.items))[:PHOTOS]
    facts, names, photos = HeadFacts(), (), 0
    for number in sorted(chosen.tolist()):
        item = dataset.items[number]
        asked = [q for q in item.questions if q.present and (q.boxes or q.mask is not None)]
        if not asked:
            continue
        photo, texts = load_photo(item.photo), defaultdict(list)
        for question in asked:
            texts[question.text].append(question)
        encoded, photos = explainer.encode(photo), photos + 1
        for text, questions in texts.items():
            explanation = explainer.explain(encoded, text)
            if explanation.map.per_head is None or explanation.map.per_head.shape[:2].numel() < 2:
                return ProbeReport("heads", f"Not measured: {explainer.info.name} has no single heads to compare.")
            names = _names(explanation)
            for question in questions:
                _add(facts, number, explanation, question)
    if not facts.photo:
        return ProbeReport("heads", f"Not measured: no phrase of {dataset.name} has a box or a mask.")
    return ProbeReport(
        "heads",
        f"{len(names)} heads on {len(facts.photo)} phrases of {photos} photos of {dataset.name}.",
        tuple(_figures(facts, names)),
        tuple(_sentences(facts, names)),
    )


def _add(facts: HeadFacts, number: int, explanation: "Explanation", question: "Question") -> None:
    chart = explanation.map
    try:
        words = explanation.caption.phrase(span=question.span).words
        places = [(layer, head) for layer in range(chart.per_head.shape[0]) for head in range(chart.per_head.shape[1])]
        maps = np.stack([chart.select(words, layer, head).numpy() for layer, head in places])
    except SelectionError:  # beyond the length that the model reads
        return
    width, height = explanation.photo.wh
    target = box_mask(question.boxes, height, width) if question.boxes else None
    region = question.mask() if question.mask is not None else target
    target = region if target is None else target
    if not region.any() or not target.any():
        return
    known = chart.null_mass is not None
    null = np.array([chart.select_null(words, *place) if known else np.nan for place in places])
    facts.add(number, question.kinds, maps, null)
    facts.add_region(explanation.view.upsample(maps), region, target)


def _names(explanation: "Explanation") -> tuple[str, ...]:
    layers, heads = explanation.map.per_head.shape[:2]
    if layers == 1:
        return tuple(f"head {head}" for head in range(heads))
    return tuple(f"{layer}, head {head}" for layer in explanation.map.layers for head in range(heads))


def _figures(facts: HeadFacts, names: Sequence[str]) -> list[ProbeFigure]:
    photo, alike = np.array(facts.photo), np.array(facts.alike)
    shape, right = np.stack(facts.shape), np.stack(facts.right)  # phrase head fact
    known = ~np.isnan(alike)
    figures = [mean_figure("correlation between heads, mean over pairs", alike[known], photo[known])]
    for head, name in enumerate(names):
        spread, top, across, down, null = shape[:, head].T
        figures += [
            mean_figure(f"{name}: patches it spreads over", 100 * spread, photo, unit="%"),
            mean_figure(f"{name}: mass in the top tenth of the patches", 100 * top, photo, unit="%", chance=100 * TOP),
            mean_figure(f"{name}: looks to the right of the others by", 100 * across, photo, unit="%", detail=True),
            mean_figure(f"{name}: looks below the others by", 100 * down, photo, unit="%", detail=True),
        ]
        if not np.isnan(null).any():
            figures.append(mean_figure(f"{name}: null mass", null, photo))
        figures += _found(name, facts, right[:, head], photo)
    return figures + _found(TOGETHER, facts, right[:, -1], photo)


def _found(name: str, facts: HeadFacts, right: NDArray, photo: NDArray) -> list[ProbeFigure]:
    """Where one map points and what it covers: `right` is `phrase figure`."""
    best = int(right[:, 1:].mean(0).argmax())
    return [
        share_figure(f"{name}: points into it", right[:, 0], photo),
        mean_figure(f"{name}: IoU at its best cut-off", 100 * right[:, 1 + best], photo, unit="%"),
        ProbeFigure(f"{name}: that cut-off", CUTS[best], detail=True),
        *(
            share_figure(f"{name}: points into it, {kind}", right[rows, 0], photo[rows], detail=True)
            for kind, rows in _by_kind(facts).items()
        ),
    ]


def _by_kind(facts: HeadFacts) -> dict[str, NDArray[np.int_]]:
    """Numbers of the phrases of every kind that has enough of them."""
    rows: dict[str, list[int]] = defaultdict(list)
    for number, kinds in enumerate(facts.kinds):
        for kind in kinds:
            rows[kind].append(number)
    return {kind: np.array(own) for kind, own in sorted(rows.items()) if len(own) >= KIND_PHRASES}


def _sentences(facts: HeadFacts, names: Sequence[str]) -> list[str]:
    """A sentence about each head, made of its figures; a difference from the heads' mean is said where it is sure."""
    shape, right = np.stack(facts.shape).mean(0), np.stack(facts.right)  # head fact; phrase head figure
    point, usual = right[..., 0].mean(0), shape.mean(0)
    photo, found = np.array(facts.photo), []
    for head, name in enumerate(names):
        spread, top, across, down, null = shape[head]
        width = "narrow" if spread < 0.8 * usual[0] else "wide" if spread > 1.25 * usual[0] else "of middling width"
        parts = [f"{width} ({spread:.0%} of the patches, {top:.0%} of its mass in the top tenth)"]
        if not np.isnan(null):
            parts.append(f"gives {null:.0%} to the null key")
        parts.append(f"points into what is meant in {point[head]:.0%} (all heads together: {point[-1]:.0%})")
        for kind, rows in _by_kind(facts).items():
            gain = mean_figure("", right[rows, head, 0] - right[rows, :-1, 0].mean(1), photo[rows])
            if gain.low > 0 or gain.high < 0:
                better = "better" if gain.value > 0 else "worse"
                parts.append(f'{better} than the heads\' mean at "{kind}" ({100 * gain.value:+.0f} points)')
        for value, names_of in ((across, ("to the right", "to the left")), (down, ("down", "up"))):
            if abs(value) > 0.01:
                parts.append(f"looks further {names_of[int(value < 0)]} by {abs(value):.0%} of the photo")
        found.append(f"{name.capitalize()}: {'; '.join(parts)}.")
    return found


def _middles(shares: NDArray) -> NDArray:
    """Centres of mass of maps `map gh gw` that sum to 1, x and y as shares of the photo's sides: `map 2`."""
    height, width = shares.shape[1:]
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    return np.stack([shares.sum(1) @ x, shares.sum(2) @ y], 1)
