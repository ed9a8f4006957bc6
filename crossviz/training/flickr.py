"""Training samples from captions with phrase boxes (Flickr8k Entities)."""

import random
from pathlib import Path

import numpy as np

from crossviz.evaluate.absent import Absence
from crossviz.training.batches import ABSENT, PRESENT, SEEN, Ask, Sample
from crossviz.training.data import Sentence
from crossviz.training.grid import boxes_cover, visible_share
from crossviz.training.model import Tokenizer
from crossviz.training.nonsense import Nonsense, caption_words
from crossviz.training.phrases import CodedPhrase, CodedSentence, code_text
from crossviz.training.teacher import MiniLM
from crossviz.training.views import View, flickr_crop_views, flickr_views

__all__ = ["FlickrSampler", "code_sentences"]


def code_sentences(sentences: tuple[Sentence, ...], tokenizer: Tokenizer) -> tuple[CodedSentence, ...]:
    """All captions of a photo, coded."""
    return tuple(code_text(s.text, list(s.phrases), tokenizer) for s in sentences)


class FlickrSampler:
    """Draws a batch: a caption and two phrases by themselves per photo, and the same of another photo as absent.

    Every phrase counts as the mean of all its tokens or of its content words only, half and half; half of the
    phrases by themselves are cut to the head noun; some captions get one phrase of another photo written over one of
    their own, so that absence is learnt word by word and not caption by caption.
    """

    def __init__(
        self,
        data: Path,
        tokenizer: Tokenizer,
        teacher: MiniLM,
        swap: float = 0.35,
        crop: float = 0.5,
        nonsense: float = 0.3,
    ) -> None:
        self.tokenizer, self.swap, self.crop, self.nonsense_share = tokenizer, swap, crop, nonsense
        self.views = {"flickr": flickr_views(data), "flickr_crops": flickr_crop_views(data)}
        photos = [v.photo for v in self.views["flickr"]]
        self.rows = [i for i, v in enumerate(self.views["flickr"]) if not v.held_out]
        self.order = {row: i for i, row in enumerate(self.rows)}
        self.sentences = [code_sentences(p.sentences, tokenizer) for p in photos]
        captions = [p.sentences for p in photos]

        def alike(heads: list[str]) -> np.ndarray:
            vectors = teacher.embed(heads)
            return (vectors @ vectors.T) > 0.5

        self.absence, self.absence_measured = Absence(captions, alike), Absence(captions)

        self.nonsense = Nonsense(caption_words(photos), lambda word: len(tokenizer(word)[0]) == 1)

    def draw(self, rows: list[int], rng: random.Random) -> list[Sample]:
        """One sample for each of these photos."""
        shift = rng.randrange(1, len(rows))
        chosen = [self._own(row, rng) for row in rows]
        samples = []
        for i, row in enumerate(rows):
            sample, parts = Sample("flickr", row, rng.random() < 0.5), chosen[i]
            view = self.views["flickr"][row]
            if rng.random() < self.crop:
                copy = rng.randrange(len(self.views["flickr_crops"]) // len(self.rows))
                sample.source, sample.row = "flickr_crops", copy * len(self.rows) + self.order[row]
                view = self.views["flickr_crops"][sample.row]
            other = chosen[(i + shift) % len(rows)]
            caption = parts[0]
            if rng.random() < self.swap:
                caption = self._swap(caption, other[0], row, rng)
            sample.caption = 0
            for text in (caption, *parts[1:]):
                self._add(sample, text, view, row, rng)
            for text in other:
                self._add(sample, text, view, row, rng, others=True)
            if rng.random() < self.nonsense_share:
                self._add_nonsense(sample, rng)
            samples.append(sample)
        return samples

    def _add_nonsense(self, sample: Sample, rng: random.Random) -> None:
        words = " ".join(self.nonsense.word(rng) for _ in range(rng.choice((1, 1, 2))))
        ids = tuple(self.tokenizer(rng.choice(("", "a ", "the ")) + words)[0])
        sample.texts.append(ids)
        sample.asks.append(Ask(len(sample.texts) - 1, tuple(range(len(ids))), ABSENT))

    def _own(self, row: int, rng: random.Random) -> list[CodedSentence]:
        """A caption of the photo and two of its phrases (from any caption) by themselves."""
        sentence = rng.choice(self.sentences[row])
        phrases = [p for s in self.sentences[row] for p in s.phrases if p.boxes]
        return [sentence, *(self._alone(p, rng.random() < 0.5) for p in rng.sample(phrases, min(2, len(phrases))))]

    def _alone(self, phrase: CodedPhrase, cut: bool) -> CodedSentence:
        text = phrase.head if cut else phrase.text
        span = type("Span", (), {"start": 0, "end": len(text), "kinds": phrase.kinds, "boxes": phrase.boxes})
        return code_text(text, [span], self.tokenizer)

    def _swap(self, own: CodedSentence, other: CodedSentence, row: int, rng: random.Random) -> CodedSentence:
        """`own` with one phrase replaced by one of `other` that the photo lacks, where there is such a pair."""
        into = [p for p in own.phrases if p.boxes]
        absent = [p for p in other.phrases if self.absence(p.head, p.kinds, row)]
        if not into or not absent:
            return own
        old, new = rng.choice(into), rng.choice(absent)
        ids = self.tokenizer(new.text)[0]
        start, end = old.tokens[0], old.tokens[-1] + 1
        move = len(ids) - (end - start)
        if len(own.ids) + move > 70:
            return own

        def at(tokens: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(t if t < start else t + move for t in tokens)

        phrases = [
            CodedPhrase(at(p.tokens), at(p.content), p.text, p.head, p.kinds, p.boxes)
            for p in own.phrases
            if not set(p.tokens) & set(range(start, end))
        ]
        offset = start - new.tokens[0]
        if len(new.tokens) == len(ids):
            content = tuple(t + offset for t in new.content)
            phrases.append(CodedPhrase(tuple(range(start, start + len(ids))), content, new.text, new.head, new.kinds))
        stops = tuple(t if t < start else t + move for t in own.stops)
        return CodedSentence(own.text, own.ids[:start] + tuple(ids) + own.ids[end:], tuple(phrases), stops)

    def _add(
        self, sample: Sample, text: CodedSentence, view: View, row: int, rng: random.Random, others: bool = False
    ) -> None:
        number = len(sample.texts)
        sample.texts.append(text.ids)
        sample.stops += [(number, t) for t in text.stops]
        for p in text.phrases:
            tokens = p.tokens if rng.random() < 0.5 else p.content
            if self.absence(p.head, p.kinds, row):
                sample.asks.append(Ask(number, tokens, ABSENT))
            elif others:
                continue
            elif p.boxes:
                shown = [b for b in p.boxes if visible_share(b, view.crop) > 0.4]
                if shown:
                    sample.asks.append(Ask(number, tokens, PRESENT, boxes_cover(tuple(shown), view.crop)))
            elif view.whole and self.absence.kind.get(p.head) == "scene" and self.absence.boxed[p.head] > 4:
                sample.asks.append(Ask(number, tokens, SEEN))
