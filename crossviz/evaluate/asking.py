"""The questions that a set's annotations can answer: phrases in captions, phrases alone, class names."""

import random
from collections.abc import Sequence

import numpy as np

from crossviz.evaluate.absent import Absence, head_noun
from crossviz.evaluate.class_words import words_of
from crossviz.evaluate.dataset import Item, Mask, Question
from crossviz.evaluate.records import ClassMasks, Record

__all__ = ["ALONE", "CLASSES", "IN_CAPTIONS", "Asking"]

IN_CAPTIONS, ALONE, CLASSES = "phrases in captions", "phrases alone", "class names"
OTHER_CAPTIONS = 2  # captions of other photos that a photo is asked
MORE_ABSENT = 2  # class names asked as absent beyond as many as are present


class Asking:
    """Makes a photo's questions.

    Phrases with boxes are asked within each caption of the photo that has them, and once by themselves. For absence
    two other photos are drawn and one caption of each; those of its boxed phrases that this photo lacks (see
    `Absence`) are asked, in that caption and by themselves. A class is asked by its first word; as many classes that
    are not there, and two more, are asked too, none of them too alike to one that is there. What is drawn depends on
    the seed and the photo's name only, not on which other photos are evaluated.

    Args:
        records: every photo of the set; what is known of words is gathered from all of them.
        rows: numbers of the photos in the part that is evaluated; other captions come from these.
        classes: every class that was looked for.
        seed: any integer.
    """

    def __init__(self, records: Sequence[Record], rows: Sequence[int], classes: Sequence[str], seed: int = 0) -> None:
        self._records, self._rows, self._seed = records, list(rows), seed
        self._place = {row: i for i, row in enumerate(self._rows)}
        self._classes = words_of(classes)
        boxed = any(p.boxes for r in records for s in r.sentences for p in s.phrases)
        self._absence = Absence([r.sentences for r in records]) if boxed else None

    def __call__(self, row: int) -> Item:
        """Photo number `row`, with its questions."""
        record = self._records[row]
        rng = random.Random(f"{self._seed} {record.photo.stem}")
        questions = self._phrases(row, rng) if self._absence else []
        questions += self._names(record, rng)
        captions = tuple(s.text for s in record.sentences)
        return Item(record.photo, tuple(questions), captions, record.label, record.label_index, record.wh)

    def _phrases(self, row: int, rng: random.Random) -> list[Question]:
        questions, alone = [], {}
        for sentence in self._records[row].sentences:
            for p in sentence.phrases:
                if p.boxes:
                    questions.append(Question(sentence.text, (p.start, p.end), IN_CAPTIONS, True, p.kinds, p.boxes))
                    alone[sentence.text[p.start : p.end]] = p
        missing: dict[str, None] = {}
        for other in self._others(row, rng):
            if not (sentences := self._records[other].sentences):
                continue
            sentence = rng.choice(sentences)
            for p in sentence.phrases:
                text = sentence.text[p.start : p.end]
                if p.boxes and self._absence(head_noun(text), p.kinds, row):
                    questions.append(Question(sentence.text, (p.start, p.end), IN_CAPTIONS, False, p.kinds))
                    missing[text] = None
        questions += [Question(t, (0, len(t)), ALONE, True, p.kinds, p.boxes) for t, p in alone.items()]
        return questions + [Question(t, (0, len(t)), ALONE, False) for t in missing if t not in alone]

    def _others(self, row: int, rng: random.Random) -> list[int]:
        """Photos of the same part, without this one."""
        places = rng.sample(range(len(self._rows) - 1), min(OTHER_CAPTIONS, len(self._rows) - 1))
        own = self._place[row]
        return [self._rows[place + (place >= own)] for place in places]

    def _names(self, record: Record, rng: random.Random) -> list[Question]:
        words = self._classes.words
        drawn_in = set(record.masks.present()) if words and record.masks else set()
        marked = {name for name, _ in record.objects} | drawn_in
        if not marked:  # an empty photo, or one that nobody annotated
            return []
        near = self._classes.close_to(marked | record.unsure)
        present = [name for name in words if name in marked - record.unsure]
        absent = [n for n in words if n not in marked and n not in record.unsure and words[n][0] not in near]
        questions = []
        for name in present:
            boxes = tuple(box for own, box in record.objects if own == name)
            mask = _mask(record.masks, name) if name in drawn_in else None
            questions.append(_named(words[name][0], True, boxes, mask))
        drawn = rng.sample(absent, min(len(present) + MORE_ABSENT, len(absent)))
        return questions + [_named(words[name][0], False) for name in drawn]


def _named(word: str, present: bool, boxes: tuple = (), mask: Mask | None = None) -> Question:
    return Question(word, (0, len(word)), CLASSES, present, (word,), boxes, mask)


def _mask(masks: ClassMasks, name: str) -> Mask:
    def read() -> np.ndarray:
        return masks(name)

    return read
