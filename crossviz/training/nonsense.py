"""Words that mean nothing, so that the model learns to find nothing for them."""

import random
import re
from collections import defaultdict
from collections.abc import Callable, Iterable

from crossviz.training.data import Photo

__all__ = ["Nonsense", "caption_words"]


class Nonsense:
    """Pronounceable words that are in no caption: chains of letter pairs as frequent as in the captions' words.

    `known` says of a word that it is a real one all the same (a token of its own, say).
    """

    def __init__(self, words: set[str], known: Callable[[str], bool]) -> None:
        self._known = known
        self._words = {w for w in words if w.isalpha()}
        self._next: dict[str, list[str]] = defaultdict(list)
        for word in sorted(self._words):
            for pair, letter in zip(zip("^" + word, word, strict=False), word[1:] + "$", strict=True):
                self._next["".join(pair)].append(letter)
        self._starts = sorted({w[0] for w in self._words if len(w) > 2})

    def word(self, rng: random.Random) -> str:
        """A word of 4 to 10 letters."""
        while True:
            word = rng.choice(self._starts)
            while len(word) < 11:
                letter = rng.choice(self._next.get(("^" + word)[-2:], ["$"]))
                if letter == "$":
                    break
                word += letter
            if 4 <= len(word) <= 10 and word not in self._words and not self._known(word):
                return word


def caption_words(photos: Iterable[Photo]) -> set[str]:
    """All words of all captions, lower-case."""
    return {w for photo in photos for s in photo.sentences for w in re.findall(r"[a-z]+", s.text.lower())}
