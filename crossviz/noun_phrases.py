"""Noun phrases of an English caption ("a black dog", "a red frisbee"): which of its words stand together.

A small tagger says of every word whether it begins a phrase, goes on with one, or is outside; the likeliest tags of the
whole caption count. Its weights are in assets/noun-phrases, with a card that says how they were made and how good they
are. Nothing but the standard library is needed to ask it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from crossviz.embedded import check_embedded
from crossviz.paths import assets_dir
from crossviz.words import Caption, split_words

__all__ = [
    "BEGIN",
    "INSIDE",
    "OUTSIDE",
    "TAGS",
    "Tagger",
    "features",
    "gaps",
    "noun_phrases",
    "phrase_spans",
    "read_tagger",
    "shipped",
]

TAGS = BEGIN, INSIDE, OUTSIDE = range(3)
KNOWN_SHARE = 0.7
"""A caption in which a smaller share of the words is known is taken for another language."""

_NOTHING = frozenset({("each", "other"), ("one", "another")})  # phrases that name nothing in a picture
_GAPS = {"": "", ",": ",", "'": "'", "’": "'"}
_SAME = str.maketrans("’ʼ＇‐‑", "'''--")


@dataclass(frozen=True)
class Tagger:
    """Weights by feature.

    Args:
        weights: feature to the weights of the tags, in the order of `TAGS`.
        moves: what stands before a word (see `gaps`), then the tag before, then its own, to a weight.
        known: the words, in lower case, that tell a caption that it can read.
    """

    weights: Mapping[str, Sequence[int]]
    moves: Mapping[str, Sequence[Sequence[int]]]
    known: frozenset[str]

    def tags(self, words: Sequence[str], before: Sequence[str]) -> list[int]:
        """The likeliest tags of a caption's words; of equally likely ones the first.

        Args:
            words: as they stand in the caption.
            before: what stands before each, as `gaps` says it.
        """
        best: list[int] = []  # per tag the score of the best way to it
        came: list[list[int]] = []
        for index in range(len(words)):
            own = [0, 0, 0]
            for feature in features(words, before, index):
                for tag, weight in enumerate(self.weights.get(feature, ())):
                    own[tag] += weight
            if not index:
                best = [own[BEGIN], None, own[OUTSIDE]]  # nothing goes on before it began
                continue
            moves = self.moves[before[index]]
            scores, froms = [], []
            for tag in TAGS:
                ways = [
                    (best[tag_before] + moves[tag_before][tag], -tag_before)
                    for tag_before in TAGS
                    if best[tag_before] is not None and not (tag_before == OUTSIDE and tag == INSIDE)
                ]
                score, tag_before = max(ways)
                scores.append(score + own[tag])
                froms.append(-tag_before)
            best = scores
            came.append(froms)
        if not best:
            return []
        tag = max((score, -tag) for tag, score in enumerate(best) if score is not None)[1]
        found = [-tag]
        for froms in reversed(came):
            found.append(froms[found[-1]])
        return found[::-1]

    def reads(self, words: Sequence[str]) -> bool:
        """Whether these are the words of a caption in English, as far as the words that it knows tell."""
        return bool(words) and sum(_plain(word) in self.known for word in words) >= KNOWN_SHARE * len(words)


def noun_phrases(caption: Caption | str) -> tuple[tuple[int, int], ...]:
    """The noun phrases of more than one word, in order, none within another.

    Args:
        caption: in English; in a caption that seems to be in another language no phrase is found.

    Returns:
        Indices of the first and the last word of each. Words that the model did not read are in none.
    """
    if isinstance(caption, str):
        return _found(caption)
    unread = {word.index for word in caption.words if word.truncated}
    return tuple((first, last) for first, last in _found(caption.text) if unread.isdisjoint(range(first, last + 1)))


def _found(text: str) -> tuple[tuple[int, int], ...]:
    spans = split_words(text)
    words = [text[start:end] for start, end in spans]
    tagger = shipped()
    if not tagger.reads(words):
        return ()
    found = phrase_spans(tagger.tags(words, gaps(text, spans)))
    return tuple(
        (first, last)
        for first, last in found
        if last > first and tuple(_plain(word) for word in words[first : last + 1]) not in _NOTHING
    )


def phrase_spans(tags: Sequence[int]) -> list[tuple[int, int]]:
    """First and last word of every phrase, those of one word too."""
    after = [*tags[1:], OUTSIDE]
    starts = [index for index, tag in enumerate(tags) if tag == BEGIN]
    ends = [index for index, tag in enumerate(tags) if tag != OUTSIDE and after[index] != INSIDE]
    return list(zip(starts, ends, strict=True))


def gaps(text: str, spans: Sequence[tuple[int, int]]) -> list[str]:
    """What stands before each word: "" only white space, "," a comma, "'" an apostrophe, "." anything else."""
    between = [text[end:start].strip() for (_, end), (start, _) in pairwise(spans)]
    return ["", *(_GAPS.get(mark, ".") for mark in between)][: len(spans)]


def features(words: Sequence[str], before: Sequence[str], index: int) -> list[str]:
    """What the tagger knows of a word: itself, its neighbours, their endings, its shape, the marks around it."""
    word = _plain(words[index])
    left, more_left = _at(words, index - 1), _at(words, index - 2)
    right, more_right = _at(words, index + 1), _at(words, index + 2)
    after = before[index + 1] if index + 1 < len(words) else "."
    known = [
        "bias",
        f"w {word}",
        f"l {left}",
        f"r {right}",
        f"ll {more_left}",
        f"rr {more_right}",
        f"lw {left} {word}",
        f"wr {word} {right}",
        f"3 {word[-3:]}",
        f"2 {word[-2:]}",
        f"l3 {left[-3:]}",
        f"r3 {right[-3:]}",
        f"r2 {right[-2:]}",
        f"r3rr3 {right[-3:]} {more_right[-3:]}",
        f"m {before[index] if index else '.'} {after}",
    ]
    if any(char.isdigit() for char in word):
        known.append("digit")
    if index and words[index][:1].isupper():
        known.append("capital")
    return known


def read_tagger(file: Path) -> Tagger:
    """The tagger from a file as `python -m crossviz.training.noun_phrases` writes it."""
    stored = json.loads(file.read_text("utf-8"))
    return Tagger(stored["weights"], stored["moves"], frozenset(stored["known"].split()))


@cache
def shipped() -> Tagger:
    """The tagger that crossviz carries.

    Raises:
        ModelUnavailableError: its file is missing or damaged.
    """
    file = assets_dir() / "noun-phrases" / "weights.json"
    check_embedded(file)
    return read_tagger(file)


def _plain(word: str) -> str:
    return word.translate(_SAME).lower()


def _at(words: Sequence[str], index: int) -> str:
    return _plain(words[index]) if 0 <= index < len(words) else "|"
