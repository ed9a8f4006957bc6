"""Training samples from what the detector found in Flickr8k photos and crops: COCO's names where nobody named them."""

import random
import re
from pathlib import Path

import numpy as np

from crossviz.training.batches import Sample
from crossviz.training.detector import COCO_NAMES
from crossviz.training.features import Features
from crossviz.training.flickr import FlickrSampler
from crossviz.training.grid import boxes_cover
from crossviz.training.mix import Known, MixSampler
from crossviz.training.model import Tokenizer

__all__ = ["DetectedSampler"]

SURE, LIKELY, NOWHERE = 0.45, 0.3, 0.07
"""A class is there from this score on; its less sure boxes count too; below the last everywhere, it is absent."""


class DetectedSampler(MixSampler):
    """As `MixSampler`, on photos without class labels. What the captions name is never called absent."""

    def __init__(self, data: Path, tokenizer: Tokenizer, flickr: FlickrSampler, features: dict[str, Features]) -> None:
        self.flickr, self.features = flickr, features
        self.places = [("flickr", row) for row in flickr.rows]
        self.places += [("flickr_crops", row) for row in range(len(features["flickr_crops"].found))]
        self.captions = {row: _words(flickr, row) for row in flickr.rows}
        super().__init__(data, tokenizer)

    def _build(self) -> None:
        table = self.words.words["coco_mini"]
        self.names = [table.get(name, ()) if name != "person" else () for name in COCO_NAMES]  # captions name people
        self.every = {w for words in self.names for w in words}
        self.known = {}
        count: dict[str, int] = {}
        for number, (source, row) in enumerate(self.places):
            found = self.features[source].found[row]
            sure = {int(c) for c, score in zip(found[:, 5], found[:, 4], strict=True) if score >= SURE}
            words = {w for c in sure for w in self.names[c]}
            if words:
                self.rows.append(number)
                for word in words:
                    count[word] = count.get(word, 0) + 1
        self.rarity = {w: c**-0.5 for w, c in count.items()}

    def place(self, row: int) -> tuple[str, int]:
        """Source and row of the features."""
        return self.places[row]

    def look(self, row: int) -> Known:
        """What is known of one picture; made when asked for."""
        source, at = self.places[row]
        found, best = self.features[source].found[at].astype(np.float32), self.features[source].best[at]
        covers: dict[str, np.ndarray] = {}
        for number in {int(c) for c, score in zip(found[:, 5], found[:, 4], strict=True) if score >= SURE}:
            boxes = tuple(tuple(b[:4]) for b in found if int(b[5]) == number and b[4] >= LIKELY)
            cover = boxes_cover(boxes, (0.0, 0.0, 1.0, 1.0))
            for word in self.names[number]:
                covers[word] = np.maximum(covers[word], cover) if word in covers else cover
        close = {w for number, score in enumerate(best) if score >= NOWHERE for w in self.names[number]}
        for word in list(close):
            close |= self.words.alike.get(word, frozenset())
        photo = at if source == "flickr" else self.flickr.rows[at % len(self.flickr.rows)]
        named = self.captions[photo]
        absent = [w for w in sorted(self.every - close) if not (set(w.split()) & named)]
        return Known(covers, absent, [])

    def draw(self, rows: list[int], rng: random.Random) -> list[Sample]:
        """One sample for each of these pictures."""
        samples = []
        for row in rows:
            self.known = {row: self.look(row)}
            samples.append(self._sample(row, rng))
        return samples


def _words(flickr: FlickrSampler, row: int) -> set[str]:
    photo = flickr.views["flickr"][row].photo
    words = {w for s in photo.sentences for w in re.findall(r"[a-z0-9]+", s.text.lower())}
    return words | {w.rstrip("s") for w in words}
