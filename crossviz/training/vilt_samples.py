"""What one step of vilt-mini's training asks: rows of one photo and one text, and what is known of them."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from crossviz.evaluate.absent import Absence
from crossviz.training.data import Photo, Phrase, Sentence
from crossviz.training.grid import box_cover
from crossviz.training.nonsense import Nonsense, caption_words
from crossviz.training.vilt_model import GRID
from crossviz.training.vilt_words import LONGEST, MASK, PAD, Coded, Part, code

__all__ = ["Batch", "Row", "Sampler", "alone", "collate", "hide", "open_ended", "place", "swap"]

KEEP = -100
"""The label of a token that is not hidden."""
_SIDES = {"left": "right", "right": "left"}


@dataclass
class Row:
    """One text with one photo of the step."""

    photo: int
    """Which of the step's photos."""
    coded: Coded
    labels: tuple[int, ...] = ()
    """Of every token: its id if it is hidden, else KEEP; empty: nothing is hidden."""
    match: float | None = None
    """1: the text fits the photo, 0: it does not, None: not asked."""
    covers: list[tuple[tuple[int, ...], np.ndarray, float]] = field(default_factory=list)
    """Tokens of a phrase, the share of each patch in its boxes (`12 12`), weight."""


@dataclass
class Batch:
    """The rows of one step as tensors."""

    ids: Tensor  # row token
    photo: Tensor  # row
    labels: Tensor  # row token
    match: Tensor  # row, nan: not asked
    phrase_row: Tensor  # phrase
    phrase_tokens: Tensor  # phrase token: shares that sum to 1
    covers: Tensor  # phrase 144
    weights: Tensor  # phrase


def collate(rows: Sequence[Row]) -> Batch:
    """Pad to the longest text."""
    length = max(len(r.coded.ids) for r in rows)
    ids, labels = torch.full((len(rows), length), PAD), torch.full((len(rows), length), KEEP)
    phrases = [(i, *cover) for i, r in enumerate(rows) for cover in r.covers]
    tokens = torch.zeros(len(phrases), length)
    for i, r in enumerate(rows):
        ids[i, : len(r.coded.ids)] = torch.tensor(r.coded.ids)
        if r.labels:
            labels[i, : len(r.labels)] = torch.tensor(r.labels)
    for i, (_, own, _, _) in enumerate(phrases):
        tokens[i, list(own)] = 1 / len(own)
    return Batch(
        ids,
        torch.tensor([r.photo for r in rows]),
        labels,
        torch.tensor([float("nan") if r.match is None else r.match for r in rows]),
        torch.tensor([p[0] for p in phrases], dtype=torch.long),
        tokens,
        torch.from_numpy(np.stack([p[2].ravel() for p in phrases]) if phrases else np.zeros((0, GRID**2), np.float32)),
        torch.tensor([p[3] for p in phrases], dtype=torch.float32),
    )


def hide(coded: Coded, share: float, phrase: Part | None, rng: random.Random) -> tuple[Coded, tuple[int, ...]]:
    """Hide whole words (at least one), and all words of `phrase`; the text with masks, and the labels."""
    words = sorted({w for w in coded.words if w >= 0})
    chosen = {w for w in words if rng.random() < share}
    chosen |= {coded.words[t] for t in (phrase.tokens if phrase else ())} - {-1}
    chosen = chosen or {rng.choice(words)}
    hidden = [w in chosen for w in coded.words]
    ids = tuple(MASK if h else t for t, h in zip(coded.ids, hidden, strict=True))
    return replace(coded, ids=ids), tuple(t if h else KEEP for t, h in zip(coded.ids, hidden, strict=True))


def place(part: Part, photo: Photo, mirrored: bool) -> np.ndarray:
    """The share of each patch that the phrase's boxes cover, `12 12` (the largest where boxes overlap)."""
    whole = (0.0, 0.0, float(photo.width), float(photo.height))
    cover = np.maximum.reduce([box_cover(box, whole, GRID) for box in part.boxes])
    return np.ascontiguousarray(cover[:, ::-1]) if mirrored else cover


def alone(tokenizer: Tokenizer, part: Part, head: bool) -> Coded:
    """A phrase by itself, or its head noun."""
    text = part.head if head else part.text
    return code(tokenizer, [Sentence(text, (Phrase(0, len(text), part.kinds, part.boxes),))])[0]


def swap(own: Coded, old: Part, new: tuple[int, ...]) -> Coded | None:
    """The text with the tokens `new` (no marks) in place of a phrase, its phrases left out; None where too long."""
    start, end = old.tokens[0], old.tokens[-1] + 1
    ids = own.ids[:start] + new + own.ids[end:]
    return Coded(own.text, ids, (-1,) * len(ids)) if len(ids) <= LONGEST else None


def open_ended(coded: Coded, stop: int) -> Coded:
    """The text without the full stop that it ends in, if it does; the end of a phrase goes with it."""
    last = len(coded.ids) - 2
    if last < 2 or coded.ids[last] != stop:
        return coded
    kept = (replace(part, tokens=tuple(t for t in part.tokens if t != last)) for part in coded.parts)
    return Coded(
        coded.text.rstrip().removesuffix(".").rstrip(),
        coded.ids[:last] + coded.ids[last + 1 :],
        coded.words[:last] + coded.words[last + 1 :],
        tuple(part for part in kept if part.tokens),
    )


class Sampler:
    """Draws the rows of a step; three for every photo.

    Args:
        photos: all photos of the set; those of the split "train" are trained on.
        tokenizer: the word pieces.
        absence: decides which phrases mean nothing in a photo, by its number in `photos`.
        settings: section `batch` of the settings file.
    """

    def __init__(self, photos: Sequence[Photo], tokenizer: Tokenizer, absence: Absence, settings: dict) -> None:
        self.photos, self.tokenizer, self.absence, self.settings = photos, tokenizer, absence, settings
        self.texts = [code(tokenizer, p.sentences) for p in photos]
        self.rows = [i for i, p in enumerate(photos) if p.split == "train"]
        train = [photos[i] for i in self.rows]
        self._stop = tokenizer.token_to_id(".")
        known = set(tokenizer.get_vocab())
        self.nonsense = Nonsense(caption_words(train), known.__contains__)
        self._phrases = [p for i in self.rows for c in self.texts[i] for p in c.parts if p.boxes]
        left_right = [(tokenizer.token_to_id(a), tokenizer.token_to_id(b)) for a, b in _SIDES.items()]
        self._sides = {a: b for a, b in left_right if a is not None and b is not None}

    def draw(self, chosen: Sequence[int], rng: random.Random) -> tuple[list[Row], list[bool]]:
        """Rows for these photos, and which of the photos are mirrored."""
        rows, mirrored = [], [rng.random() < 0.5 for _ in chosen]
        for i, (number, flip) in enumerate(zip(chosen, mirrored, strict=True)):
            rows += [self._hidden(i, number, flip, rng), self._fitting(i, number, flip, rng)]
            rows.append(Row(i, self.unfitting(number, rng), match=0.0))
        for row in rows:
            if mirrored[row.photo]:
                self._mirror(row)
        return rows, mirrored

    def caption(self, number: int, rng: random.Random) -> Coded:
        """A caption of the photo, by chance without its full stop: people ask without one as well."""
        found = rng.choice(self.texts[number])
        return open_ended(found, self._stop) if rng.random() < self.settings["open_ended"] else found

    def _hidden(self, i: int, number: int, flip: bool, rng: random.Random) -> Row:
        whole = self.caption(number, rng)
        phrase = rng.choice(whole.parts) if whole.parts and rng.random() < self.settings["hide_phrase"] else None
        coded, labels = hide(whole, self.settings["hide"], phrase, rng)
        return Row(i, coded, labels, covers=self._places(coded, number, flip))

    def _fitting(self, i: int, number: int, flip: bool, rng: random.Random) -> Row:
        parts = [p for c in self.texts[number] for p in c.parts if p.boxes]
        if not parts or rng.random() < self.settings["caption"]:
            coded = self.caption(number, rng)
        else:
            coded = alone(self.tokenizer, rng.choice(parts), rng.random() < self.settings["head"])
        return Row(i, coded, match=1.0, covers=self._places(coded, number, flip))

    def unfitting(self, number: int, rng: random.Random) -> Coded:
        """A text that does not fit the photo: of another photo, made up, or its own with a foreign phrase in it."""
        kind, s = rng.random(), self.settings
        if kind < s["other"]:
            other = rng.choice([r for r in rng.sample(self.rows, 3) if r != number])
            return self.caption(other, rng)
        if kind < s["other"] + s["nonsense"]:
            words = " ".join(self.nonsense.word(rng) for _ in range(rng.choice((1, 1, 2))))
            return code(self.tokenizer, [Sentence(rng.choice(("", "a ", "the ")) + words)])[0]
        foreign = self.foreign(number, rng)
        if kind < s["other"] + s["nonsense"] + s["swapped"]:
            own = self.caption(number, rng)
            into = [p for p in own.parts if p.boxes]
            new = alone(self.tokenizer, foreign, head=False).ids[1:-1]
            swapped = swap(own, rng.choice(into), new) if into else None
            if swapped is not None:
                return swapped
        return alone(self.tokenizer, foreign, rng.random() < s["head"])

    def foreign(self, number: int, rng: random.Random) -> Part:
        """A phrase of another photo that certainly means nothing in this one."""
        while True:
            part = rng.choice(self._phrases)
            if self.absence(part.head, part.kinds, number):
                return part

    def _places(self, coded: Coded, number: int, flip: bool) -> list[tuple[tuple[int, ...], np.ndarray, float]]:
        return [
            (
                p.tokens,
                place(p, self.photos[number], flip),
                self.settings["hidden_place"] if any(coded.ids[t] == MASK for t in p.tokens) else 1.0,
            )
            for p in coded.parts
            if p.boxes
        ]

    def _mirror(self, row: Row) -> None:
        row.coded = replace(row.coded, ids=tuple(self._sides.get(t, t) for t in row.coded.ids))
        row.labels = tuple(self._sides.get(t, t) for t in row.labels)
