"""Before and after fine-tuning: what a model answers on a person's own photos, through the public API."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

import crossviz
from crossviz.measures import CUTS, MeasuredMap, auroc, box_mask
from crossviz.photo import load_photo
from crossviz.training.data import Photo
from crossviz.training.own_samples import OwnWords

__all__ = ["Answers", "Figures", "answer", "figures", "table"]

Figures = dict[str, tuple[int, float, float]]
"""Of how many answers each figure is, its value before and after; NaN where there is nothing to count."""
AT_MOST = 100
"""Photos of each part that are asked, at most."""
MADE_UP = 3
"""Made-up words asked of every photo."""
GENERIC = 12
"""Generic phrases asked of every photo, at most."""


@dataclass
class Answers:
    """What one model said of some photos."""

    points: list[float] = field(default_factory=list)
    """For every phrase with boxes: 1 where its map's highest pixel lies in one of them."""
    inside: list[float] = field(default_factory=list)
    """The share of its map in its boxes."""
    overlap: list[float] = field(default_factory=list)
    """Intersection over union of its boxes and the map above .3 of its maximum."""
    present: list[float] = field(default_factory=list)
    """Null mass of every phrase that is there, with boxes or without."""
    absent: list[float] = field(default_factory=list)
    """Null mass of phrases of other photos that mean nothing here."""
    made_up: list[float] = field(default_factory=list)
    """Null mass of made-up words."""
    generic: list[np.ndarray] = field(default_factory=list)
    """Maps of generic phrases, `patch+1` with the null mass last."""


def answer(
    explainer: crossviz.Explainer, photos: Sequence[Photo], rows: Sequence[int], words: OwnWords, generic: list[str]
) -> Answers:
    """Ask every phrase of these photos in its caption, and absent, generic and made-up ones by themselves."""
    out = Answers()
    for row in list(rows)[:AT_MOST]:
        photo = photos[row]
        encoded = explainer.encode(load_photo(photo.path))
        asked = 0
        for sentence in photo.sentences:
            found = explainer.explain(encoded, sentence.text)
            for p in sentence.phrases:
                if found.caption.cut_at is not None and p.end > found.caption.cut_at:
                    continue
                asked += 1
                out.present.append(found.null_mass(span=(p.start, p.end)))
                region = box_mask(p.boxes, photo.height, photo.width)
                if region.any():
                    measured = MeasuredMap(found.heatmap(span=(p.start, p.end))).figures(region)
                    out.points.append(measured.pointing)
                    out.inside.append(measured.mass)
                    out.overlap.append(measured.ious[CUTS.index(0.3)])
        for text in _absent(row, words)[:asked]:
            out.absent.append(explainer.explain(encoded, text).null_mass(span=(0, len(text))))
        rng = random.Random(row)
        for text in (words.made_up(rng) for _ in range(MADE_UP)):
            out.made_up.append(explainer.explain(encoded, text).null_mass(span=(0, len(text))))
        for text in generic[:: -(-len(generic) // GENERIC)]:
            found = explainer.explain(encoded, text)
            chosen = found.caption.phrase(span=(0, len(text))).words
            null = found.map.select_null(chosen)
            out.generic.append(np.append(found.map.select(chosen).flatten().numpy(), null))
    return out


def _absent(row: int, words: OwnWords) -> list[str]:
    """Phrases of other photos that mean nothing in this one, the next photos' first."""
    count, texts = len(words.sentences), {}
    for step in range(1, count):
        for sentence in words.sentences[(row + step) % count]:
            texts.update({p.text: None for p in sentence.phrases if words.absent(p, row)})
    return list(texts)


def figures(before: Answers, after: Answers) -> Figures:
    """The figures of two models' answers to the same questions."""

    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if values else float("nan")

    def rank(answers: Answers) -> float:
        both = answers.absent and answers.present
        return auroc(np.array(answers.absent), np.array(answers.present)) if both else float("nan")

    moved = [float(np.abs(a - b).sum() / 2) for a, b in zip(before.generic, after.generic, strict=True)]
    null = [[float(g[-1]) for g in answers.generic] for answers in (before, after)]
    n = len(before.present) + len(before.absent)
    return {
        "phrases with boxes: pointing, %": (
            len(before.points), 100 * mean(before.points), 100 * mean(after.points),
        ),
        "phrases with boxes: share of the map inside, %": (
            len(before.inside), 100 * mean(before.inside), 100 * mean(after.inside),
        ),
        "phrases with boxes: IoU of the map above .3, %": (
            len(before.overlap), 100 * mean(before.overlap), 100 * mean(after.overlap),
        ),
        "phrases that are there: null mass": (len(before.present), mean(before.present), mean(after.present)),
        "phrases that are not: null mass": (len(before.absent), mean(before.absent), mean(after.absent)),
        "absent told from present by null mass, AUROC": (n, rank(before), rank(after)),
        "made-up words: null mass": (len(before.made_up), mean(before.made_up), mean(after.made_up)),
        "generic phrases: null mass": (len(moved), mean(null[0]), mean(null[1])),
        "generic phrases: share of the map that moved": (len(moved), 0.0, mean(moved)),
    }  # fmt: skip


def table(parts: dict[str, Figures]) -> str:
    """The figures of several parts of the photos as a Markdown table."""
    lines = [f"| | {' | '.join(f'{part}: n | before | after' for part in parts)} |"]
    lines.append("|---|" + "---:|---:|---:|" * len(parts))
    for name in next(iter(parts.values())):
        cells = [cell for part in parts.values() for cell in _cells(name, *part[name])]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cells(name: str, count: int, before: float, after: float) -> tuple[str, str, str]:
    form = "{:.1f}" if name.endswith("%") else "{:.3f}"
    return (str(count), *("" if np.isnan(v) else form.format(v) for v in (before, after)))
