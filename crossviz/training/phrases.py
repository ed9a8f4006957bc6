"""What a caption's phrases are to the training code: tokens, head noun, kinds; and which phrases a photo lacks."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass

import numpy as np

from crossviz.training.data import Photo
from crossviz.training.model import Tokenizer
from crossviz.training.teacher import MiniLM

__all__ = ["STOP_WORDS", "Absence", "CodedPhrase", "CodedSentence", "code_text", "head_noun"]

STOP_WORDS = frozenset(
    """a an the this that these those some any his her its their my your our of in on at to from with by
    for and or as into onto over under up down off out through near next while is are was were be being been he she
    they them him who which there s 's has have , . ; : ! ? ' " - ( )""".split()  # noqa: SIM905
)
_MEASURES = frozenset(
    """group set pair bunch couple piece lot lots crowd number row line pile body stack slice kind type variety team
    band pack herd flock series cup glass bottle bowl plate""".split()  # noqa: SIM905
)
_OWN_KINDS = frozenset({"people", "clothing", "bodyparts"})


@dataclass(frozen=True)
class CodedPhrase:
    """A phrase within a coded text: token indices (all, and without stop words), boxes, head noun."""

    tokens: tuple[int, ...]
    content: tuple[int, ...]
    text: str
    head: str
    kinds: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True)
class CodedSentence:
    """A caption as token ids, its phrases, and the stop words outside any phrase."""

    text: str
    ids: tuple[int, ...]
    phrases: tuple[CodedPhrase, ...]
    stops: tuple[int, ...]


def head_noun(phrase: str) -> str:
    """The word that a noun phrase is about: "a set of stairs" is about stairs, "the top of a tree" about the top."""
    words = re.findall(r"[a-z0-9]+", phrase.lower())
    for i, word in enumerate(words):
        if i and word in ("of", "in", "on", "with", "at", "from"):
            if not (word == "of" and words[i - 1] in _MEASURES):
                words = words[:i]
            break
    return words[-1] if words else phrase.lower()


def code_text(text: str, spans: list, tokenizer: Tokenizer) -> CodedSentence:
    """Tokens of a caption and of the phrases in it; a phrase that the tokenizer cut off is dropped.

    `spans` holds anything with start, end, kinds and boxes.
    """
    ids, where = tokenizer(text)
    phrases, inside = [], set()
    stop = [text[s:e].lower() in STOP_WORDS for s, e in where]
    for span in spans:
        tokens = tuple(i for i, (s, e) in enumerate(where) if s < span.end and e > span.start)
        inside.update(tokens)
        if tokens:
            content = tuple(i for i in tokens if not stop[i]) or tokens
            part = text[span.start : span.end]
            phrases.append(CodedPhrase(tokens, content, part, head_noun(part), span.kinds, span.boxes))
    stops = tuple(i for i, s in enumerate(stop) if s and i not in inside)
    return CodedSentence(text, tuple(ids), tuple(phrases), stops)


class Absence:
    """Decides whether a phrase certainly means nothing in a photo.

    Its head noun is in none of the photo's captions and, where a teacher is given, resembles no head noun there
    (similarity under 0.5); words for people, clothing and body parts are absent only where the photo shows none of
    that kind. Training uses the teacher, measuring does not.
    """

    def __init__(self, photos: list[Photo], sentences: list[tuple[CodedSentence, ...]], teacher: MiniLM | None) -> None:
        votes: dict[str, Counter] = defaultdict(Counter)
        for row in sentences:
            for sentence in row:
                for p in sentence.phrases:
                    votes[p.head].update(p.kinds if p.boxes else ())
        self.kind = {h: v.most_common(1)[0][0] if v else "" for h, v in votes.items()}
        self.boxed = {h: sum(v.values()) for h, v in votes.items()}
        heads = sorted(votes)
        self._index = {h: i for i, h in enumerate(heads)}
        if teacher is None:
            self._alike = np.eye(len(heads), dtype=bool)
        else:
            vectors = teacher.embed(heads)
            self._alike = (vectors @ vectors.T) > 0.5
        self._words: list[set[str]] = []
        self._kinds: list[set[str]] = []
        self._heads: list[np.ndarray] = []
        for photo, row in zip(photos, sentences, strict=True):
            words = {w for s in photo.sentences for w in re.findall(r"[a-z0-9]+", s.text.lower())}
            self._words.append(words | {w.rstrip("s") for w in words})
            present = {p.head for s in row for p in s.phrases}
            kinds = {k for s in row for p in s.phrases for k in p.kinds} | {self.kind[h] for h in present}
            self._kinds.append(kinds)
            self._heads.append(np.array(sorted(self._index[h] for h in present), dtype=int))

    def __call__(self, head: str, kinds: tuple[str, ...], photo: int) -> bool:
        """Whether a phrase with this head noun is absent from photo number `photo`."""
        if head not in self._index or not self.boxed[head]:
            return False
        own = _OWN_KINDS & (set(kinds) | {self.kind[head]})
        if own & self._kinds[photo]:
            return False
        if head in self._words[photo] or head.rstrip("s") in self._words[photo]:
            return False
        return not self._alike[self._index[head], self._heads[photo]].any()
