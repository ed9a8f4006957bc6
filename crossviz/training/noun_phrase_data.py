"""Captions with their phrases marked, as the noun phrase tagger learns and is measured from them."""

import gzip
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from crossviz.noun_phrases import BEGIN, INSIDE, OUTSIDE, gaps
from crossviz.training.data import read_set
from crossviz.words import split_words

__all__ = ["Tagged", "coco_captions", "other_captions", "tagged", "tagged_captions"]

_MARK = re.compile(r"\[/EN#\d+/\S+ ([^\]]+)\]")
# The sets write every mark and every "'s" apart, people don't: the space before it goes.
_APART = re.compile(r" (?=(?:[.,;:!?)]|'s|n't)(?: |$))|(?<=\() ")


@dataclass(frozen=True)
class Tagged:
    """A caption: its words, what stands before each, and the tag of each (`crossviz.noun_phrases.TAGS`)."""

    words: tuple[str, ...]
    before: tuple[str, ...]
    tags: tuple[int, ...]


def tagged(text: str, phrases: list[tuple[int, int]]) -> Tagged:
    """A caption as people write it, from one in which every mark stands apart.

    Args:
        text: the caption.
        phrases: start and end of each phrase in `text`, in characters; none overlaps another.
    """
    drop = [match.start() for match in _APART.finditer(text)]

    def moved(at: int) -> int:
        return at - sum(place < at for place in drop)

    written = "".join(char for place, char in enumerate(text) if place not in drop)
    spans = split_words(written)
    tags = [OUTSIDE] * len(spans)
    for start, end in phrases:
        inside = [i for i, (a, b) in enumerate(spans) if a < moved(end) and moved(start) < b and tags[i] == OUTSIDE]
        for place, index in enumerate(inside):
            tags[index] = INSIDE if place else BEGIN
    return Tagged(tuple(written[a:b] for a, b in spans), tuple(gaps(written, spans)), tuple(tags))


def tagged_captions(data: Path, split: str) -> list[Tagged]:
    """The captions of one split of `flickr8k_entities`."""
    photos = [photo for photo in read_set(data, "flickr8k_entities") if photo.split == split]
    return [tagged(s.text, [(p.start, p.end) for p in s.phrases]) for photo in photos for s in photo.sentences]


def other_captions(data: Path) -> Iterator[Tagged]:
    """The captions of the photos of Flickr30k that are in no split of Flickr8k."""
    with gzip.open(data / "captions_text" / "flickr30k_sentences.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            for marked in [] if row["in_flickr8k"] else row["marked"]:
                text, phrases = "", []
                for part in re.split(r"(\[/EN#[^\]]+\])", marked):
                    match = _MARK.fullmatch(part)
                    if match:
                        phrases.append((len(text), len(text) + len(match[1])))
                    text += match[1] if match else part
                yield tagged(text, phrases)


def coco_captions(data: Path) -> list[str]:
    """Captions of COCO photos: no phrases are marked in them."""
    with gzip.open(data / "captions_text" / "coco_val2017_captions.tsv.gz", "rt", encoding="utf-8") as lines:
        return [line.rstrip("\n").split("\t", 1)[1] for line in lines if "\t" in line]
