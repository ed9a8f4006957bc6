"""Words that captions seldom hold: does "saxophone" find a saxophone, and only that?"""

import tomllib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crossviz.compat import import_timm
from crossviz.evaluate.intervals import Bootstrap
from crossviz.evaluate.probes.report import ProbeFigure, ProbeReport, mean_figure, share_figure
from crossviz.measures import auroc
from crossviz.render.scale import ABSENT_NULL_MASS

if TYPE_CHECKING:
    from crossviz.evaluate.dataset import Dataset, Item
    from crossviz.explainer import Explainer

__all__ = ["WordList", "label_number", "probe_words", "word_list"]

OTHERS = 40  # words that don't name a photo's label, asked of each photo


class WordList:
    """Words, each with the numbers of the ImageNet labels that it names or generalises, and of those that don't count.

    Args:
        table: `words` and `unsure`, each from a word to first names of labels and runs "A .. B" of them.
        names: the first names of all labels, in ImageNet's order.

    Raises:
        ValueError: a name that is no label's, or that more than one label has.
    """

    def __init__(self, table: Mapping[str, Mapping[str, Sequence[str]]], names: Sequence[str]) -> None:
        places = defaultdict(list)
        for number, name in enumerate(names):
            places[name].append(number)

        def place(name: str) -> int:
            if len(places.get(name, ())) != 1:
                raise ValueError(f"{name!r} names {len(places.get(name, ()))} labels of ImageNet, not one")
            return places[name][0]

        def numbers(entries: Sequence[str]) -> frozenset[int]:
            found: set[int] = set()
            for entry in entries:
                first, _, last = entry.partition(" .. ")
                found.update(range(place(first), place(last or first) + 1))
            return frozenset(found)

        self.labels = {word: numbers(entries) for word, entries in table["words"].items()}
        self.unsure = {word: numbers(entries) for word, entries in table["unsure"].items()}

    def sides(self, label: int) -> tuple[list[str], list[str]]:
        """The words that mean a photo of this label, and those that do not."""
        right = [word for word, own in self.labels.items() if label in own]
        wrong = [word for word, own in self.labels.items() if label not in own | self.unsure.get(word, frozenset())]
        return right, wrong


def probe_words(explainer: "Explainer", dataset: "Dataset | None" = None, seed: int = 0) -> ProbeReport:
    """Asks the words of photos of one ImageNet label each, and tells right from wrong by null mass."""
    if dataset is None:
        return ProbeReport("words", "Not measured: the words need a dataset of photos with one ImageNet label each.")
    photos = [(item, number) for item in dataset.items if (number := label_number(item)) is not None]
    if not photos:
        return ProbeReport("words", f"Not measured: no photo of {dataset.name} has a label of ImageNet's.")
    words, rng = word_list(), np.random.default_rng(seed)
    rows: list[tuple[str, int, bool, float]] = []  # word, photo, right, null mass
    for number, (item, label) in enumerate(photos):
        image, (right, wrong) = explainer.encode(item.photo), words.sides(label)
        drawn = sorted(rng.choice(len(wrong), min(OTHERS, len(wrong)), replace=False))
        for word, is_right in [(w, True) for w in right] + [(wrong[i], False) for i in drawn]:
            explanation = explainer.explain(image, word)
            if explanation.map.null_mass is None:
                return ProbeReport("words", f"Not measured: {explainer.info.name} has no null key to give a word to.")
            rows.append((word, number, is_right, explanation.null_mass(span=(0, len(word)))))
    asked = {word for word, _, right, _ in rows if right}
    return ProbeReport(
        "words",
        f"{len(words.labels)} words that captions seldom hold, on {len(photos)} photos of {dataset.name} by their "
        f"label; {len(asked)} of the words name a label there.",
        tuple(_figures(rows)),
        _notes(rows),
    )


def _figures(rows: list[tuple[str, int, bool, float]]) -> list[ProbeFigure]:
    photo, right = np.array([row[1] for row in rows]), np.array([row[2] for row in rows])
    null = np.array([row[3] for row in rows])
    group = np.unique(photo, return_inverse=True)[1]
    pooled = Bootstrap(group.max() + 1).auroc(null[~right], group[~right], null[right], group[right])
    lit = null <= ABSENT_NULL_MASS
    return [
        mean_figure("AUROC of a word, mean over words", [value for _, value in _by_word(rows)], chance=0.5),
        ProbeFigure("AUROC, all words together", pooled.value, pooled.low, pooled.high, "", len(rows), 0.5),
        share_figure("found where it is (null mass .5 or less)", lit[right], photo[right]),
        share_figure("found where it is not", lit[~right], photo[~right]),
        mean_figure("null mass where it is", null[right], photo[right]),
        mean_figure("null mass where it is not", null[~right], photo[~right]),
        *(ProbeFigure(f"AUROC of {word!r}", value, detail=True) for word, value in _by_word(rows)),
    ]


def _by_word(rows: list[tuple[str, int, bool, float]]) -> list[tuple[str, float]]:
    sides: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for word, _, right, null in rows:
        sides[word][right].append(null)
    both = sorted((word, pair) for word, pair in sides.items() if all(pair))
    return [(word, auroc(np.array(absent), np.array(present))) for word, (absent, present) in both]


def _notes(rows: list[tuple[str, int, bool, float]]) -> tuple[str, ...]:
    nulls: dict[str, list[float]] = defaultdict(list)
    for word, _, right, null in rows:
        if right:
            nulls[word].append(null)
    ordered = sorted(nulls, key=lambda word: (float(np.mean(nulls[word])), word))
    shown = min(8, len(ordered) // 2)
    if not shown:
        return ()
    return (f"Found best: {', '.join(ordered[:shown])}. Found least: {', '.join(reversed(ordered[-shown:]))}.",)


def label_number(item: "Item") -> int | None:
    """The photo's ImageNet label by its number, from its text ("tabby, tabby cat" or "tabby") or else its number."""
    names = _descriptions()
    if item.label:
        whole = [number for number, name in enumerate(names) if item.label == name]
        found = whole or [number for number, name in enumerate(names) if item.label == name.split(",")[0]]
        return found[0] if len(found) == 1 else None
    return item.label_index if 0 <= item.label_index < len(names) else None


@lru_cache(maxsize=1)
def word_list() -> WordList:
    """The package's 200 words, words.toml."""
    table = tomllib.loads((Path(__file__).parent / "words.toml").read_text("utf-8"))
    return WordList(table, [name.split(",")[0] for name in _descriptions()])


@lru_cache(maxsize=1)
def _descriptions() -> tuple[str, ...]:
    import_timm()
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return tuple(info.index_to_description(number) for number in range(info.num_classes()))
