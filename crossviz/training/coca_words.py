"""coca-mini's own byte-pair vocabulary, in the format of open_clip's SimpleTokenizer."""

import gzip
import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from open_clip.tokenizer import SimpleTokenizer, bytes_to_unicode

from crossviz.training.data import read_set
from crossviz.training.model import Tokenizer

__all__ = ["CONTEXT", "Words", "texts_for_words", "train_merges", "write_merges"]

CONTEXT = 40
"""Tokens of a text with its start and end marks."""
_MARK = re.compile(r"\[/EN#\d+/[^ ]+ ([^\]]+)\]")
_SPECIAL = 2 + 2 * 256  # start, end, and every byte in a word and at its end


class Words(Tokenizer):
    """The tokens of a text with the word (character span) that each belongs to, by a vocabulary of our own."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._bpe = SimpleTokenizer(str(path), context_length=CONTEXT)
        self._cache = {}
        self.start, self.end = self._bpe.sot_token_id, self._bpe.eot_token_id
        self.size = self._bpe.vocab_size

    def __call__(self, text: str, limit: int = CONTEXT - 1) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids and spans of `text`, without start and end marks, cut so that both and one pad still fit."""
        return super().__call__(text, limit)

    def text(self, ids: Iterable[int]) -> str:
        """What tokens stand for, without the marks."""
        return self._bpe.decode([i for i in ids if i not in (self.start, self.end)]).strip()


def texts_for_words(data: Path) -> list[str]:
    """Captions of the training photos, captions of other photos, and the class names of every set."""
    texts = [s.text for p in read_set(data, "flickr8k_entities") if p.split == "train" for s in p.sentences]
    with gzip.open(data / "captions_text" / "flickr30k_sentences.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if not row["in_flickr8k"]:
                texts += [_MARK.sub(r"\1", marked) for marked in row["marked"]]
    with gzip.open(data / "captions_text" / "coco_val2017_captions.tsv.gz", "rt", encoding="utf-8") as lines:
        texts += [line.rstrip("\n").split("\t", 1)[1] for line in lines if "\t" in line]
    for name in ("ade20k_val", "coco_mini", "mlperf_coco_tiny", "imagenet_val300"):
        for photo in read_set(data, name):
            texts += [label for label, _ in photo.boxes]
        names = data / name / "classes.json"
        if names.is_file():
            texts += _strings(json.loads(names.read_text(encoding="utf-8")))
    return texts


def train_merges(texts: Iterable[str], size: int) -> list[tuple[str, str]]:
    """The byte-pair merges that make a vocabulary of `size` tokens, most frequent first (Sennrich et al. 2016).

    The words are cut and their bytes written as SimpleTokenizer does, so that it merges what was merged here.
    """
    from tokenizers import Tokenizer as Trained
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from tokenizers.trainers import BpeTrainer

    plain = SimpleTokenizer()
    letters = bytes_to_unicode()
    counts = Counter(word for text in texts for word in plain.pat.findall(plain.clean_fn(text)))
    coded = {"".join(letters[byte] for byte in word.encode()): count for word, count in counts.items()}
    trained = Trained(BPE(end_of_word_suffix="</w>"))
    trained.pre_tokenizer = WhitespaceSplit()
    alphabet = sorted(letters.values())
    # The trainer counts the letters that it keeps, with and without the suffix, as tokens: some are never seen.
    trainer = BpeTrainer(
        vocab_size=size, min_frequency=2, initial_alphabet=alphabet, end_of_word_suffix="</w>", show_progress=False
    )
    lines = (word for word, count in coded.items() for _ in range(min(count, 2000)))
    trained.train_from_iterator(lines, trainer)
    merges = json.loads(trained.to_str())["model"]["merges"]
    return [tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in merges][: size - _SPECIAL]


def write_merges(merges: Iterable[tuple[str, str]], path: Path) -> None:
    """The file that SimpleTokenizer reads: a heading, then one merge a line, no line end after the last."""
    lines = ["crossviz coca-mini, byte pairs", *(f"{first} {second}" for first, second in merges)]
    path.write_bytes(gzip.compress("\n".join(lines).encode(), mtime=0))


def _strings(value: object) -> list[str]:
    """Every string in what a JSON file holds."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for part in inner for text in _strings(part)]
