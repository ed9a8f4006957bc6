"""vilt-mini's own word pieces: the vocabulary learnt from captions, and texts with the tokens of their phrases."""

import gzip
import itertools
import json
import re
import string
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Encoding, Tokenizer
from tokenizers.decoders import WordPiece as Decoder
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import WordPieceTrainer

from crossviz.evaluate.absent import head_noun
from crossviz.evaluate.class_words import words_table
from crossviz.training.data import Sentence, read_set

__all__ = ["CLS", "LONGEST", "MASK", "PAD", "SEP", "SPECIAL", "Coded", "Part", "code", "corpus", "learn_vocabulary"]

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, UNK, CLS, SEP, MASK = range(5)
LONGEST = 40
"""Tokens of a text, marks included; longer ones are cut."""
_MARKED = re.compile(r"\[/EN#\d+/[^ ]+ ([^\]]+)\]")


@dataclass(frozen=True)
class Part:
    """A phrase within a coded text: its tokens, its text, head noun, kinds and boxes."""

    tokens: tuple[int, ...]
    text: str
    head: str
    kinds: tuple[str, ...] = ()
    boxes: tuple[tuple[float, float, float, float], ...] = ()


@dataclass(frozen=True)
class Coded:
    """A text as token ids with both marks, the number of the word that each token is of, its phrases.

    -1 is the word of the marks, and of punctuation: nobody asks what comma is meant, and a model that is asked at every
    end learns that what is hidden there is the full stop.
    """

    text: str
    ids: tuple[int, ...]
    words: tuple[int, ...]
    parts: tuple[Part, ...] = ()


def learn_vocabulary(texts: Iterable[str], size: int) -> Tokenizer:
    """Word pieces of lower-cased texts. Each letter, digit and mark of ASCII is a piece, so every word can be split."""
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    letters = string.ascii_lowercase + string.digits
    trainer = WordPieceTrainer(
        vocab_size=size,
        special_tokens=list(SPECIAL),
        initial_alphabet=list(letters + string.punctuation),
        limit_alphabet=200,
        show_progress=False,
    )
    pairs = (a + b for a, b in itertools.product(letters, letters))  # so that each is also a piece within a word
    tokenizer.train_from_iterator(itertools.chain(pairs, texts), trainer)
    tokenizer.decoder = Decoder()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)]
    )
    tokenizer.enable_truncation(LONGEST)
    return tokenizer


def corpus(data: Path, class_names: int) -> Iterator[str]:
    """Captions of the Flickr8k training photos, of other photos, and each class name `class_names` times."""
    for photo in read_set(data, "flickr8k_entities"):
        if photo.split == "train":
            yield from (s.text for s in photo.sentences)
    with gzip.open(data / "captions_text" / "flickr30k_sentences.jsonl.gz", "rt", encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if not row["in_flickr8k"]:  # the dev photos' captions are not read
                yield from (_MARKED.sub(r"\1", marked) for marked in row["marked"])
    with gzip.open(data / "captions_text" / "coco_val2017_captions.tsv.gz", "rt", encoding="utf-8") as lines:
        yield from (line.rstrip("\n").split("\t", 1)[1] for line in lines if "\t" in line)
    for section in ("ade20k", "coco", "voc"):
        for names in words_table(section).values():
            yield from list(names) * class_names


def code(tokenizer: Tokenizer, sentences: Sequence[Sentence]) -> tuple[Coded, ...]:
    """Texts as tokens. A phrase that the cut took a token of is left out."""
    return tuple(
        Coded(s.text, tuple(e.ids), _words(s.text, e), _parts(s, e.offsets))
        for s, e in zip(sentences, tokenizer.encode_batch([s.text for s in sentences]), strict=True)
    )


def _words(text: str, encoding: Encoding) -> tuple[int, ...]:
    spans = zip(encoding.word_ids, encoding.offsets, strict=True)
    return tuple(word if any(map(str.isalnum, text[start:end])) else -1 for word, (start, end) in spans)


def _parts(sentence: Sentence, offsets: Sequence[tuple[int, int]]) -> tuple[Part, ...]:
    read = max((end for _, end in offsets), default=0)
    out = []
    for p in sentence.phrases:
        tokens = tuple(i for i, (start, end) in enumerate(offsets) if end > start and start < p.end and end > p.start)
        text = sentence.text[p.start : p.end]
        if tokens and p.start + len(text.rstrip()) <= read:
            out.append(Part(tokens, text, head_noun(text), p.kinds, p.boxes))
    return tuple(out)
