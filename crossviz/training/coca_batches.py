"""coca-mini's training batches: photos' patches, a caption each, phrases by themselves, and where they point."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from crossviz.evaluate.absent import head_noun
from crossviz.training.coca_words import Words
from crossviz.training.data import Photo
from crossviz.training.grid import boxes_cover
from crossviz.training.model import pad_ids
from crossviz.training.phrases import CodedPhrase, CodedSentence, code_text

__all__ = ["Batch", "Sampler", "Texts", "code_photo", "collate", "phrase_alone"]

_SIDES = re.compile(r"\b(?:left|right)\b", re.IGNORECASE)


class Texts(NamedTuple):
    """As many texts for every photo, with the phrases that have boxes."""

    ids: Tensor  # photo * text, length; in the photos' order
    weights: Tensor  # photo, phrase, text * length: each position's part in a phrase, at the rows that read it
    covers: Tensor  # photo, phrase, patch: the share of the patch that the phrase's boxes cover
    asked: Tensor  # photo, phrase: False for padding


class Batch(NamedTuple):
    """Some photos: `patches` is `photo 576 256`."""

    patches: Tensor
    captions: Texts
    alone: Texts


@dataclass(frozen=True)
class Ask:
    """A phrase of one of a photo's texts: which text, its tokens there (without the start mark), its boxes' cover."""

    text: int
    tokens: tuple[int, ...]
    cover: np.ndarray  # 24 24


def code_photo(photo: Photo, words: Words) -> tuple[CodedSentence, ...]:
    """All captions of a photo, coded."""
    return tuple(code_text(s.text, list(s.phrases), words) for s in photo.sentences)


def phrase_alone(phrase: CodedPhrase, words: Words, cut: bool) -> tuple[int, ...]:
    """Tokens of a phrase by itself, or of its head noun."""
    return tuple(words(head_noun(phrase.text) if cut else phrase.text)[0])


def collate(texts: Sequence[Sequence[tuple[int, ...]]], asks: Sequence[Sequence[Ask]], words: Words) -> Texts:
    """Texts and asks of every photo as tensors; every photo has as many texts."""
    ids = pad_ids([list(text) for photo in texts for text in photo], words)
    length, most = ids.shape[1], max(1, *map(len, asks), 0)
    weights = torch.zeros(len(texts), most, len(texts[0]) * length)
    covers, asked = torch.zeros(len(texts), most, 576), torch.zeros(len(texts), most, dtype=torch.bool)
    for i, photo in enumerate(asks):
        for j, ask in enumerate(photo):
            places = [ask.text * length + 1 + token for token in ask.tokens]
            weights[i, j, places] = 1 / len(places)
            covers[i, j] = torch.from_numpy(np.ascontiguousarray(ask.cover)).flatten()
            asked[i, j] = True
    return Texts(ids, weights, covers, asked)


class Sampler:
    """Draws a caption and phrases by themselves for each photo; half of the photos are mirrored.

    A caption that says left or right is never shown with a mirrored photo. Half of a caption's phrases count without
    their stop words; half of the phrases by themselves are cut to the head noun.

    Args:
        photos: all photos of the set; those of the split "train" are drawn.
        maps: their patches, `photo 24 24 256`.
        words: the vocabulary.
        alone: phrases by themselves for each photo.
        channels: the share of a photo's channels that is left out, by chance, so that no phrase hangs on a few.
    """

    def __init__(
        self, photos: Sequence[Photo], maps: np.ndarray, words: Words, alone: int, channels: float = 0.0
    ) -> None:
        self.photos, self.maps, self.words, self.alone, self.channels = photos, maps, words, alone, channels
        self.rows = [i for i, photo in enumerate(photos) if photo.split == "train"]
        self.coded = {row: code_photo(photos[row], words) for row in self.rows}
        self.plain = {row: [s for s in self.coded[row] if not _SIDES.search(s.text)] for row in self.rows}
        self._covers: dict[tuple, np.ndarray] = {}

    def draw(self, rows: Sequence[int], rng: random.Random) -> Batch:
        """One batch of these photos."""
        patches, captions, alone = [], ([], []), ([], [])
        for row in rows:
            mirror = rng.random() < 0.5 and bool(self.plain[row])
            sentences = self.plain[row] if mirror else self.coded[row]
            sentence = rng.choice(sentences)
            captions[0].append([sentence.ids])
            told = [p for p in sentence.phrases if p.boxes]
            tokens = [p.tokens if rng.random() < 0.5 else p.content for p in told]
            captions[1].append([Ask(0, t, self._cover(row, p, mirror)) for t, p in zip(tokens, told, strict=True)])
            phrases = [p for s in sentences for p in s.phrases if p.boxes]
            chosen = rng.sample(phrases, min(self.alone, len(phrases)))
            texts = [phrase_alone(p, self.words, rng.random() < 0.5) for p in chosen]
            alone[0].append(texts + [()] * (self.alone - len(texts)))
            whole = [tuple(range(len(text))) for text in texts]
            asks = [Ask(i, t, self._cover(row, chosen[i], mirror)) for i, t in enumerate(whole) if t]
            alone[1].append(asks)
            grid = self.maps[row] * self._kept(rng)
            patches.append(grid[:, ::-1] if mirror else grid)
        stacked = torch.from_numpy(np.stack(patches)).flatten(1, 2)
        return Batch(stacked, collate(*captions, self.words), collate(*alone, self.words))

    def _kept(self, rng: random.Random) -> np.ndarray:
        drawn = np.random.default_rng(rng.getrandbits(32)).random(self.maps.shape[-1])
        return (drawn >= self.channels).astype(np.float16)

    def _cover(self, row: int, phrase: CodedPhrase, mirror: bool) -> np.ndarray:
        key = (row, phrase.boxes)
        if key not in self._covers:
            photo = self.photos[row]
            cover = boxes_cover(phrase.boxes, (0.0, 0.0, float(photo.width), float(photo.height)))
            self._covers[key] = cover.astype(np.float16)
        cover = self._covers[key].astype(np.float32)
        return cover[:, ::-1] if mirror else cover
