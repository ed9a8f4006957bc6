"""Training samples from a person's own photos: what is there, what is not, and what must stay as it was."""

import random
import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

import torch

from crossviz.models import Model
from crossviz.training.batches import ABSENT, PRESENT, SEEN, Ask, Sample
from crossviz.training.data import Photo
from crossviz.training.grid import Box, boxes_cover, visible_share
from crossviz.training.nonsense import Nonsense
from crossviz.training.phrases import STOP_WORDS, CodedPhrase, CodedSentence, code_text

__all__ = ["KEEP", "OwnSampler", "OwnView", "OwnWords", "WordTokens", "generic_phrases", "own_views"]

KEEP = 4
"""Beside PRESENT, ABSENT and SEEN: a phrase whose map is to stay that of the starting model."""
_ALIKE = 0.6
_VISIBLE, _HIDDEN = 0.4, 0.02


class WordTokens:
    """The model's own tokens of a text with the word that each belongs to, in the form that `code_text` takes."""

    def __init__(self, model: Model) -> None:
        self._model = model
        ids = model.tokenize("a").ids[0]
        self.start, self.end = int(ids[0]), int(ids[2])

    def __call__(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids and word spans, start and end marks left out."""
        caption = self._model.tokenize(text).caption
        word = {place: (w.start, w.end) for w in caption.words for place in w.tokens}
        kept = [t for t in caption.tokens if t.start is not None]
        return [t.id for t in kept], [word.get(t.index, (t.start, t.end)) for t in kept]


@dataclass(frozen=True)
class OwnView:
    """A photo or a part of it (`crop`, xyxy in its pixels), mirrored or not: one row of the kept features."""

    photo: int
    crop: Box
    flip: bool
    whole: bool


def own_views(photos: list[Photo], crops: int, rng: random.Random) -> list[OwnView]:
    """Every photo as it is, mirrored, and `crops` random parts of it, half of them mirrored."""
    views = []
    for row, photo in enumerate(photos):
        everything = (0.0, 0.0, float(photo.width), float(photo.height))
        views += [OwnView(row, everything, flip, True) for flip in (False, True)]
        for number in range(crops):
            w, h = (max(1, round(side * rng.uniform(0.55, 0.9))) for side in (photo.width, photo.height))
            x, y = rng.randint(0, photo.width - w), rng.randint(0, photo.height - h)
            views.append(OwnView(row, (float(x), float(y), float(x + w), float(y + h)), bool(number % 2), False))
    return views


def generic_phrases() -> list[str]:
    """The phrases whose maps fine-tuning holds."""
    text = Path(__file__).with_name("generic_phrases.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)["phrases"]


class OwnWords:
    """The photos' sentences as tokens, and which phrases certainly mean nothing in a photo.

    A phrase is absent where its head noun is in none of the photo's captions and is not akin to the head noun of a
    phrase there (cosine of the starting model's text embeddings over 0.6, both words one token each).
    """

    def __init__(self, photos: list[Photo], tokens: WordTokens, model: Model) -> None:
        self.sentences = [[code_text(s.text, list(s.phrases), tokens) for s in photo.sentences] for photo in photos]
        self._words = [{form for s in photo.sentences for form in _forms(s.text)} for photo in photos]
        known = {form for words in self._words for form in words}
        known |= {form for p in generic_phrases() for form in _forms(p)}
        self._nonsense = Nonsense(known, lambda word: len(tokens(word)[0]) == 1)
        heads = sorted({_head(p) for row in self.sentences for s in row for p in s.phrases})
        self._index = {head: i for i, head in enumerate(heads)}
        with torch.no_grad():
            vectors = model.embed_texts(heads) if heads else torch.zeros(0, 1)
        whole = torch.tensor([len(tokens(head)[0]) == 1 for head in heads])  # of pieces little is known
        self._alike = ((vectors @ vectors.T > _ALIKE) & whole & whole[:, None]).numpy()
        self._heads = [sorted({self._index[_head(p)] for s in row for p in s.phrases}) for row in self.sentences]

    def absent(self, phrase: CodedPhrase, photo: int) -> bool:
        """Whether the phrase means nothing in photo number `photo`."""
        head = _head(phrase)
        if _forms(head) & self._words[photo]:
            return False
        return not self._alike[self._index[head], self._heads[photo]].any()

    def generic(self, phrases: list[str]) -> list[str]:
        """Those of `phrases` that share no word with any caption, so that holding them teaches nothing wrong."""
        own = {form for words in self._words for form in words} - STOP_WORDS
        return [p for p in phrases if not _forms(p) & own]

    def made_up(self, rng: random.Random) -> str:
        """A pronounceable word that means nothing, and is none of the captions'."""
        return self._nonsense.word(rng)


class OwnSampler:
    """Draws a batch: of every photo one view, a caption and two phrases by themselves, the same of another photo, and
    what must stay as it was: generic phrases and a made-up word.
    """

    def __init__(
        self, photos: list[Photo], views: list[OwnView], words: OwnWords, tokens: WordTokens, keep: int = 7
    ) -> None:
        self.views, self.words, self.tokens, self._keep = views, words, tokens, keep
        self._rows = [[i for i, v in enumerate(views) if v.photo == photo] for photo in range(len(photos))]
        self._generic = words.generic(generic_phrases())

    def draw(self, photos: list[int], rng: random.Random) -> list[Sample]:
        """One sample for each of these photos (two at least)."""
        chosen = [self._own(photo, rng) for photo in photos]
        samples = []
        for i, photo in enumerate(photos):
            row = rng.choice(self._rows[photo])
            sample = Sample("own", row, self.views[row].flip)
            for text in chosen[i]:
                self._add(sample, text, photo, rng, own=True)
            for text in chosen[(i + rng.randrange(1, len(photos))) % len(photos)]:
                self._add(sample, text, photo, rng, own=False)
            kept = rng.sample(self._generic, min(self._keep, len(self._generic)))
            for text in (self._alone(p, ()) for p in (*kept, self.words.made_up(rng))):
                sample.asks.append(Ask(len(sample.texts), tuple(range(len(text.ids))), KEEP))
                sample.texts.append(text.ids)
            samples.append(sample)
        return samples

    def _own(self, photo: int, rng: random.Random) -> list[CodedSentence]:
        sentences = self.words.sentences[photo]
        phrases = [p for s in sentences for p in s.phrases]
        placed = [p for p in phrases if p.boxes] or phrases
        picked = rng.sample(placed, min(2, len(placed)))
        forms = [(rng.choice((p.text, _head(p), f"the {_head(p)}")), p.boxes) for p in picked]
        return [rng.choice(sentences), *(self._alone(text, boxes) for text, boxes in forms)]

    def _alone(self, text: str, boxes: tuple[Box, ...]) -> CodedSentence:
        span = type("Span", (), {"start": 0, "end": len(text), "kinds": (), "boxes": boxes})
        return code_text(text, [span], self.tokens)

    def _add(self, sample: Sample, text: CodedSentence, photo: int, rng: random.Random, own: bool) -> None:
        number, view = len(sample.texts), self.views[sample.row]
        sample.texts.append(text.ids)
        sample.stops += [(number, t) for t in text.stops]
        for p in text.phrases:
            tokens = p.tokens if rng.random() < 0.5 else p.content
            if not own:
                if self.words.absent(p, photo):
                    sample.asks.append(Ask(number, tokens, ABSENT))
            elif p.boxes:
                shares = [visible_share(b, view.crop) for b in p.boxes]
                shown = tuple(b for b, share in zip(p.boxes, shares, strict=True) if share > _VISIBLE)
                if max(shares) < _HIDDEN:  # what a crop cuts away is not there
                    sample.asks.append(Ask(number, tokens, ABSENT))
                elif shown:
                    sample.asks.append(Ask(number, tokens, PRESENT, boxes_cover(shown, view.crop)))
            elif view.whole:
                sample.asks.append(Ask(number, tokens, SEEN))


def _head(phrase: CodedPhrase) -> str:
    """The phrase's head noun, or its last word where that took a word apart (letters beyond a to z)."""
    words = re.findall(r"\w+", phrase.text.lower())
    return phrase.head if phrase.head in words else words[-1]


def _forms(text: str) -> set[str]:
    """The words of a text, each also without a plural's s."""
    words = set(re.findall(r"\w+", text.lower()))
    return words | {w.rstrip("s") for w in words}
