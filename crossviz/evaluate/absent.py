"""Which phrases of other photos' captions certainly mean nothing in a photo."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from crossviz.evaluate.records import Sentence

__all__ = ["Absence", "head_noun"]

_MEASURES = frozenset(
    """group set pair bunch couple piece lot lots crowd number row line pile body stack slice kind type variety team
    band pack herd flock series cup glass bottle bowl plate""".split()  # noqa: SIM905
)
_OWN_KINDS = frozenset({"people", "clothing", "bodyparts"})


def head_noun(phrase: str) -> str:
    """The word that a noun phrase is about: "a set of stairs" is about stairs, "the top of a tree" about the top."""
    words = re.findall(r"[a-z0-9]+", phrase.lower())
    for i, word in enumerate(words):
        if i and word in ("of", "in", "on", "with", "at", "from"):
            if not (word == "of" and words[i - 1] in _MEASURES):
                words = words[:i]
            break
    return words[-1] if words else phrase.lower()


class Absence:
    """Decides whether a phrase certainly means nothing in a photo of a captioned set.

    Its head noun is in none of the photo's captions; words for people, clothing and body parts are absent only where
    the photo shows none of that kind, since captions name few of those that are there. A head noun that never has a
    box in the set is never called absent.

    Args:
        photos: the captions of every photo of the set, with their phrases.
        alike: which head nouns resemble each other: a list of `n` to `n n`, True where so. A phrase is then not
            called absent where the photo has one that resembles it.
    """

    def __init__(
        self,
        photos: Sequence[Sequence[Sentence]],
        alike: Callable[[list[str]], NDArray[np.bool_]] | None = None,
    ) -> None:
        heads = [
            [(head_noun(s.text[p.start : p.end]), p) for s in sentences for p in s.phrases] for sentences in photos
        ]
        votes: dict[str, Counter] = defaultdict(Counter)
        boxed: Counter = Counter()
        for head, phrase in (pair for phrases in heads for pair in phrases):
            boxed[head] += bool(phrase.boxes)
            votes[head].update(phrase.kinds if phrase.boxes else ())
        self.boxed = dict(boxed)
        """How many phrases with each head noun have boxes."""
        self.kind = {head: v.most_common(1)[0][0] if v else "" for head, v in votes.items()}
        """The usual kind of each head noun; "" where it never has a box."""
        self._words: list[set[str]] = []
        self._kinds: list[set[str]] = []
        self._heads: list[set[str]] = []
        for sentences, phrases in zip(photos, heads, strict=True):
            words = {w for s in sentences for w in re.findall(r"[a-z0-9]+", s.text.lower())}
            self._words.append(words | {w.rstrip("s") for w in words})
            self._heads.append({head for head, _ in phrases})
            self._kinds.append({k for _, p in phrases for k in p.kinds} | {self.kind[head] for head, _ in phrases})
        known = sorted(votes)
        self._index = {head: i for i, head in enumerate(known)}
        self._alike = None if alike is None else alike(known)
        self._rows = [np.array(sorted(self._index[h] for h in own), dtype=int) for own in self._heads]

    def __call__(self, head: str, kinds: tuple[str, ...], photo: int) -> bool:
        """Whether a phrase with this head noun and these kinds is absent from photo number `photo`."""
        if not self.boxed.get(head):
            return False
        if _OWN_KINDS & (set(kinds) | {self.kind[head]}) & self._kinds[photo]:
            return False
        if {head, head.rstrip("s")} & self._words[photo] or head in self._heads[photo]:
            return False
        return self._alike is None or not self._alike[self._index[head], self._rows[photo]].any()
