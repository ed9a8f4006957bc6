"""The figures on coca-mini's card that need kept patches: `python -m crossviz.training.coca_figures --data DIR ...`.

Pointing and retrieval with intervals come from `crossviz evaluate`; here is what is written, and how probable captions
are.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from open_clip import CoCa

from crossviz.models.coca_mini import load_coca_mini
from crossviz.training.coca_batches import code_photo, collate
from crossviz.training.coca_dev import dev_rows, greedy, measure
from crossviz.training.coca_forward import ImageSide, decode, image_side, text_side
from crossviz.training.coca_losses import word_loss
from crossviz.training.coca_words import Words
from crossviz.training.data import Photo
from crossviz.training.patch_features import open_patches
from crossviz.training.phrases import STOP_WORDS

__all__ = ["bleu", "main", "named"]


def bleu(written: Sequence[str], references: Sequence[Sequence[str]], longest: int = 4) -> float:
    """BLEU-4 of a corpus in per cent (Papineni et al. 2002): lower case, words and punctuation apart, no smoothing."""
    hits, counts, length, closest = [0] * longest, [0] * longest, 0, 0
    for text, others in zip(written, references, strict=True):
        words, right = _words(text), [_words(other) for other in others]
        length += len(words)
        closest += min((abs(len(r) - len(words)), len(r)) for r in right)[1]
        for n in range(1, longest + 1):
            own, most = _grams(words, n), Counter()
            for r in right:
                most |= _grams(r, n)
            hits[n - 1] += sum((own & most).values())
            counts[n - 1] += sum(own.values())
    if not all(hits):
        return 0.0
    precision = sum(math.log(hit / count) for hit, count in zip(hits, counts, strict=True)) / longest
    return 100 * math.exp(precision + min(0.0, 1 - closest / length))


def named(written: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """The share of the written words (no stop words) that are in one of the photo's own captions, in per cent."""
    hits = []
    for text, others in zip(written, references, strict=True):
        known = {word for other in others for word in _words(other)}
        hits += [word in known for word in _words(text) if word.isalpha() and word not in STOP_WORDS]
    return 100 * float(np.mean(hits)) if hits else 0.0


@torch.no_grad()
def perplexity(module: CoCa, images: Sequence[ImageSide], photos: Sequence[Photo], words: Words, shift: int) -> float:
    """Of the captions of photos, given the photo so many further on."""
    total, count = 0.0, 0
    for i, photo in enumerate(photos):
        ids = collate([[s.ids for s in code_photo(photo, words)]], [[]], words).ids
        image = images[(i + shift) % len(images)]
        states = decode(module.text_decoder, image.tokens, text_side(module.text, ids)[1])[0]
        tokens = int((ids != 0).sum()) - len(ids)
        total += tokens * float(word_loss(states, module.text_decoder.text_projection, ids))
        count += tokens
    return math.exp(total / count)


def _words(text: str) -> list[str]:
    spaced = "".join(c if c.isalnum() or c.isspace() else f" {c} " for c in text.lower())
    return spaced.split()


def _grams(words: list[str], n: int) -> Counter:
    return Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))


def main() -> None:
    """Command line: prints the figures as JSON, after some captions that it wrote."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the photo sets")
    parser.add_argument("--patches", type=Path, required=True, help="work folder of crossviz.training.patch_features")
    parser.add_argument("--model", type=Path, required=True, help="folder of the model")
    parser.add_argument("--photos", type=int, default=1000, help="photos of the dev split")
    args = parser.parse_args()
    module, _, _ = load_coca_mini(args.model, torch.device("cpu"))
    words, kept = Words(args.model / "bpe_vocab.txt.gz"), open_patches(args.data, args.patches)
    rows = dev_rows(kept.photos, args.photos)
    photos = [kept.photos[row] for row in rows]
    with torch.no_grad():
        patches = (kept[[row]].flatten(1, 2) for row in rows)
        images = [image_side(module.visual.trunk, some) for some in patches]
    written = [greedy(module, image, words) for image in images]
    references = [[s.text for s in photo.sentences] for photo in photos]
    for text, (own, *_) in list(zip(written, references, strict=True))[:12]:
        print(f"{text}   [{own}]")
    figures = measure(module, kept.photos, kept.maps, rows, words)
    figures["perplexity_of_another_photo"] = perplexity(module, images, photos, words, 1)
    figures |= {"bleu4": bleu(written, references), "named": named(written, references)}
    figures |= {"different_captions": len(set(written)), "photos": len(rows)}
    figures["words_a_caption"] = float(np.mean([len(_words(text)) for text in written]))
    print(json.dumps({name: round(value, 2) for name, value in figures.items()}, indent=2))


if __name__ == "__main__":
    main()
