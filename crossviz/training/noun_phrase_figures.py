"""How well noun phrases are found: of the phrases marked in captions that nothing was learnt from."""

from collections.abc import Callable, Iterable
from pathlib import Path

from crossviz.noun_phrases import Tagger, phrase_spans
from crossviz.training.noun_phrase_data import Tagged, coco_captions, tagged_captions
from crossviz.training.phrases import STOP_WORDS
from crossviz.words import split_words

__all__ = ["by_rule", "figures", "score"]

Spans = Iterable[tuple[int, int]]

_DETERMINERS = frozenset("a an the this that these those some any his her its their my your our".split())  # noqa: SIM905


def by_rule(caption: Tagged) -> list[tuple[int, int]]:
    """Phrases without any weights: runs of words up to a mark, a function word or a word in "-ing".

    Articles and possessives begin one.
    """
    found, first = [], None
    before = [*caption.before, "."]
    for index, word in enumerate([*(word.lower() for word in caption.words), "."]):
        begins = word in _DETERMINERS
        ends = begins or word in STOP_WORDS or word.endswith("ing") or word == "."
        if first is not None and (ends or before[index]):
            if caption.words[first].lower() not in _DETERMINERS or index - first > 1:
                found.append((first, index - 1))
            first = None
        if first is None and (begins or not ends):
            first = index
    return found


def score(captions: list[Tagged], find: Callable[[Tagged], Spans], least: int = 1) -> tuple[float, float, float]:
    """Precision, recall and F1 of the phrases of at least `least` words: right only where both ends are.

    Args:
        captions: with the right tags.
        find: first and last word of the phrases of a caption, as found.
        least: words.
    """
    hit = found = right = 0
    for caption in captions:
        own = {span for span in find(caption) if span[1] - span[0] + 1 >= least}
        true = {span for span in phrase_spans(caption.tags) if span[1] - span[0] + 1 >= least}
        hit, found, right = hit + len(own & true), found + len(own), right + len(true)
    return hit / max(1, found), hit / max(1, right), 2 * hit / max(1, found + right)


def figures(tagger: Tagger, data: Path) -> str:
    """A table for people, of the captions of the dev split of `flickr8k_entities`."""
    dev = tagged_captions(data, "dev")

    def by_weights(caption: Tagged) -> Spans:
        return phrase_spans(tagger.tags(caption.words, caption.before)) if tagger.reads(caption.words) else []

    lines = [f"{len(dev)} captions of Flickr8k dev", "phrases            precision  recall      F1"]
    for least, which in ((1, "all"), (2, "of several words")):
        for name, find in (("tagger", by_weights), ("rule", by_rule)):
            lines.append(f"{which:16} {name:7}" + "".join(f"{100 * value:7.1f} %" for value in score(dev, find, least)))
    others = [[text[a:b] for a, b in split_words(text)] for text in coco_captions(data)]
    for name, captions in (("Flickr8k dev", [caption.words for caption in dev]), ("COCO", others)):
        share = sum(map(tagger.reads, captions)) / max(1, len(captions))
        lines.append(f"taken for English: {100 * share:.2f} % of the captions of {name}")
    return "\n".join(lines)
