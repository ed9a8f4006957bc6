"""Training samples from masks and boxes of other photo sets: class names as phrases, present and absent."""

import json
import random
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossviz.evaluate.class_words import words_of, words_table
from crossviz.training.batches import ABSENT, PRESENT, Ask, Sample
from crossviz.training.data import Photo
from crossviz.training.grid import boxes_cover, mask_cover, read_mask
from crossviz.training.model import Tokenizer
from crossviz.training.views import View, mix_views

__all__ = ["Known", "MixSampler", "MixWords", "class_numbers", "class_region"]


def class_region(photo: Photo, source: str, name: str, number: int) -> tuple[np.ndarray | None, tuple]:
    """A class in a photo: its mask (None where only boxes are known) and its boxes; both empty if it is not there."""
    boxes = tuple(box for label, box in photo.boxes if label == name)
    if photo.mask is None:
        return None, boxes
    mask = read_mask(photo.mask) == number
    if source != "ade20k_val" and not mask.any() and boxes:
        return None, boxes
    return mask, boxes


@dataclass(frozen=True)
class MixWords:
    """Which words stand for which classes of a set, and which words are too alike to be opposites."""

    words: Mapping[str, Mapping[str, tuple[str, ...]]]  # set, class (ADE20K index or COCO name), words
    alike: Mapping[str, frozenset[str]]
    foreign: dict[str, tuple[str, ...]]  # broad class, words that are absent where it is

    @classmethod
    def read(cls) -> "MixWords":
        """The words of `crossviz.evaluate`, and the broad classes of `mix_words.toml` beside this file."""
        with open(Path(__file__).with_name("mix_words.toml"), "rb") as file:
            foreign = tomllib.load(file)["foreign"]
        coco, ade = words_table("coco"), words_table("ade20k")
        # ADE20K's annotations here name a class by its number, from 1 on.
        by_number = {str(number): words for number, words in enumerate(ade.values(), 1)}
        words = {"ade20k_val": by_number, "coco_mini": coco, "mlperf_coco_tiny": coco}
        split = {name: tuple(part.strip() for part in text.split(",")) for name, text in foreign.items()}
        return cls(words, words_of(()).alike, split)


@dataclass
class Known:
    """A view's present words with their targets, and the words that it certainly lacks."""

    covers: dict[str, np.ndarray]
    absent: list[str]
    foreign: list[str]


class MixSampler:
    """Per picture four present and four absent words, alone or listed in a made-up caption.

    Some words of the captions' vocabulary that the picture lacks ("dog" in a kitchen) are asked for too.
    Rare words are drawn more often (count to the power -1/2), and a word is drawn as absent about as often as it is
    drawn as present: a word that is only ever absent would learn to be always absent.
    """

    def __init__(
        self, data: Path, tokenizer: Tokenizer, positives: int = 4, negatives: int = 4, foreign: int = 2
    ) -> None:
        self.data, self.tokenizer, self.positives, self.negatives = data, tokenizer, positives, negatives
        self.foreign = foreign
        self.words = MixWords.read()
        self.known: dict[int, Known] = {}
        self.rows: list[int] = []
        self.rarity: dict[str, float] = {}
        self.drawn: Counter = Counter()
        self._build()

    def _build(self) -> None:
        """Fill `known`, `rows` (pictures with a known word) and `rarity`."""
        self.views = mix_views(self.data)
        numbers = class_numbers(self.data)
        cache: dict[Path, list] = {}
        for row, view in enumerate(self.views):
            if not view.held_out:
                self.known[row] = self._look(view, numbers, cache)
        self.rows = [r for r, k in self.known.items() if k.covers]
        count = Counter(w for r in self.rows for w in self.known[r].covers)
        self.rarity = {w: c**-0.5 for w, c in count.items()}

    def place(self, row: int) -> tuple[str, int]:
        """Source and row of the features of one picture."""
        return "mix", row

    def _look(self, view: View, numbers: dict, cache: dict) -> Known:
        photo, words = view.photo, self.words.words[view.source]
        if photo.path not in cache:
            names = photo.classes if view.source == "ade20k_val" else {label for label, _ in photo.boxes}
            cache[photo.path] = [
                (n, class_region(photo, view.source, n, numbers[view.source].get(n, -1))) for n in names if n in words
            ]
        covers: dict[str, np.ndarray] = {}
        unsure: set[str] = set()
        for name, (mask, boxes) in cache[photo.path]:
            if mask is not None and mask.any():
                cover = mask_cover(mask, view.crop)
            elif boxes:
                cover = boxes_cover(boxes, view.crop)
            else:
                continue
            total = float(cover.sum())
            for word in words[name]:
                if total > 2.0:
                    covers[word] = np.maximum(covers[word], cover) if word in covers else cover
                elif total > 0:
                    unsure.add(word)
        close = set(covers) | unsure
        for word in list(close):
            close |= self.words.alike.get(word, frozenset())
        every = {w for ws in words.values() for w in ws}
        names = {words[n][0] for n, _ in cache[photo.path]} | {w for n, _ in cache[photo.path] for w in words[n]}
        foreign = [w for broad, ws in self.words.foreign.items() if broad not in names for w in ws]
        return Known(covers, sorted(every - close), foreign)

    def draw(self, rows: list[int], rng: random.Random) -> list[Sample]:
        """One sample for each of these views."""
        return [self._sample(row, rng) for row in rows]

    def _sample(self, row: int, rng: random.Random) -> Sample:
        sample, known = Sample(*self.place(row), rng.random() < 0.5), self.known[row]
        present = _weighted(list(known.covers), [self.rarity[w] for w in known.covers], self.positives, rng)
        self.drawn.update(present)
        owed = [w for w in known.absent if self.drawn[w] > 0]
        absent = _weighted(owed, [float(self.drawn[w]) for w in owed], self.negatives, rng)
        self.drawn.subtract(absent)
        foreign = [w for w in known.foreign if w not in absent]
        absent += rng.sample(foreign, min(self.foreign, len(foreign)))
        asks = [(w, True) for w in present] + [(w, False) for w in absent]
        rng.shuffle(asks)
        size = 1 if rng.random() < 0.5 else rng.choice((2, 3))
        for i in range(0, len(asks), size):
            self._caption(sample, asks[i : i + size], known, rng)
        return sample

    def _caption(self, sample: Sample, asks: list[tuple[str, bool]], known: Known, rng: random.Random) -> None:
        ids: list[int] = []
        number = len(sample.texts)
        for i, (word, there) in enumerate(asks):
            if i:
                ids += self.tokenizer(rng.choice((" ,", " and", " near", " on", " with")))[0]
            article = rng.choice(("", "a ", "the "))
            phrase, bare = self.tokenizer(article + word)[0], self.tokenizer(word)[0]
            start = len(ids) + (0 if rng.random() < 0.5 else len(phrase) - len(bare))
            ids += phrase
            tokens = tuple(range(start, len(ids)))
            sample.asks.append(Ask(number, tokens, PRESENT if there else ABSENT, known.covers[word] if there else None))
        sample.texts.append(tuple(ids))


def class_numbers(data: Path) -> dict[str, dict[str, int]]:
    """For each set the number of each class in its masks."""
    ade = json.loads((data / "ade20k_val" / "classes.json").read_text())
    coco = json.loads((data / "coco_mini" / "classes.json").read_text())
    by_name = {name: int(number) for number, name in coco.items()}
    return {"ade20k_val": {n: int(n) for n in ade}, "coco_mini": by_name, "mlperf_coco_tiny": by_name}


def _weighted(items: list[str], weights: list[float], count: int, rng: random.Random) -> list[str]:
    """`count` different items, the likelier the heavier (Efraimidis and Spirakis 2006)."""
    keys = {item: rng.random() ** (1 / max(w, 1e-9)) for item, w in zip(items, weights, strict=True)}
    return sorted(items, key=keys.__getitem__, reverse=True)[:count]
