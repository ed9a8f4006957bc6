"""Words that nobody uses: pronounceable, drawn by a seed, and unlike every word of the lists at hand."""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain

import numpy as np

from crossviz.compat import import_open_clip, import_timm

__all__ = ["known_nouns", "known_words", "made_up_words"]

_ONSETS = """b bl br ch cl cr d dr f fl fr g gl gr h j k kl kr l m n p pl pr qu r s sk sl sm sn sp st str sw t thr tr tw
v w y z""".split()  # noqa: SIM905
_VOWELS = "a e i o u a e i o u ai ea ee oa oo ou".split()  # noqa: SIM905
_ENDS = "b ck d f ft g k l lb ld lk lm lp lt m mp n nd ng nk nt p r rb rd rf rk rm rn rp rt s sk sp st t x zz".split()  # noqa: SIM905
_MIDDLES = "b d f g k l m n p r s t v z mb nd ng rb rd rk sk".split()  # noqa: SIM905
_SHORT = 4  # letters of the shortest noun that no made-up word may contain


def made_up_words(count: int, seed: int) -> list[str]:
    """`count` different words of one or two syllables; none in a list, one letter away from a listed word, or with a
    listed noun of four letters or more within it.

    Always the same for a seed; a longer list begins with the shorter one.
    """
    rng, found = np.random.default_rng(seed), []
    known, nouns = _with_one_left_out(), known_nouns()
    while len(found) < count:
        word = _word(rng)
        near = known & {word, *_one_left_out(word)}
        within = {word[i:j] for i in range(len(word)) for j in range(i + _SHORT, len(word) + 1)}
        if not near and not within & nouns and word not in found:
            found.append(word)
    return found


def _word(rng: np.random.Generator) -> str:
    def one(of: list[str]) -> str:
        return of[int(rng.integers(len(of)))]

    if rng.random() < 0.4:
        return one(_ONSETS) + one(_VOWELS) + one(_ENDS)
    return one(_ONSETS) + one(_VOWELS[:10]) + one(_MIDDLES) + one(_VOWELS[:10]) + one(_ENDS)


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """Every whole word of CLIP's vocabulary (the most frequent of the web's captions), and `known_nouns`."""
    import_open_clip()
    from open_clip.tokenizer import SimpleTokenizer

    ends = (token.removesuffix("</w>") for token in SimpleTokenizer().encoder if token.endswith("</w>"))
    return frozenset(word for word in ends if re.fullmatch("[a-z]{2,}", word)) | known_nouns()


@lru_cache(maxsize=1)
def known_nouns() -> frozenset[str]:
    """Every word in the names of ImageNet's 21,000 classes (WordNet nouns), in small letters."""
    import_timm()
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet22k")
    names = (info.index_to_description(index) for index in range(info.num_classes()))
    return frozenset(chain.from_iterable(re.findall("[a-z]{2,}", name.lower()) for name in names))


@lru_cache(maxsize=1)
def _with_one_left_out() -> frozenset[str]:
    """The known words and all that come from leaving out one letter: two words are at most one edit apart only if
    these sets of theirs meet."""
    return frozenset(chain.from_iterable((word, *_one_left_out(word)) for word in known_words()))


def _one_left_out(word: str) -> Iterator[str]:
    return (word[:i] + word[i + 1 :] for i in range(len(word)))
