"""The texts that the text tower learns from: captions, their phrases alone, and every whole word of its vocabulary."""

import gzip
import json
import random
import re
from pathlib import Path

from crossviz.training.data import read_set
from crossviz.training.model import Tokenizer

__all__ = ["read_corpus"]

_MARK = re.compile(r"\[/EN#\d+/[^ ]+ ([^\]]+)\]")


def read_corpus(data: Path, tokenizer: Tokenizer, captions: int, phrases: int, seed: int) -> list[str]:
    """Unique texts in random order. The dev split's captions are not among them."""
    rng = random.Random(seed)
    whole, parts = set(), set()
    for photo in read_set(data, "flickr8k_entities"):
        if photo.split == "train":
            for s in photo.sentences:
                whole.add(s.text)
                parts.update(s.text[p.start : p.end] for p in s.phrases)
    own, own_parts = sorted(whole), sorted(parts)
    whole, parts = set(), set()
    with gzip.open(data / "captions_text" / "flickr30k_sentences.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if not row["in_flickr8k"]:
                for marked in row["marked"]:
                    parts.update(_MARK.findall(marked))
                    whole.add(_MARK.sub(r"\1", marked))
    with gzip.open(data / "captions_text" / "coco_val2017_captions.tsv.gz", "rt", encoding="utf-8") as lines:
        whole.update(line.rstrip("\n").split("\t", 1)[1] for line in lines if "\t" in line)
    captions, phrases = max(0, captions - len(own)), max(0, phrases - len(own_parts))
    other, other_parts = sorted(whole), sorted(parts)
    texts = own + rng.sample(other, min(captions, len(other)))
    texts += own_parts + rng.sample(other_parts, min(phrases, len(other_parts)))
    texts += [text for word in _vocabulary(tokenizer) for text in (word, f"{rng.choice(('a', 'the'))} {word}")]
    texts = sorted(set(texts))
    rng.shuffle(texts)
    return texts


def _vocabulary(tokenizer: Tokenizer) -> list[str]:
    words = [tokenizer.word_of_token(t) for t in range(49406)]
    return sorted({w for w in words if re.fullmatch("[a-z]{3,}", w) and len(tokenizer(w)[0]) == 1})
