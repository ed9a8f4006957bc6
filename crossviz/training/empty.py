"""Pictures of nothing: one colour, gradients, noise. Every word is absent in them."""

import random

import numpy as np
from PIL import Image

from crossviz.models.mini_tower import IMAGE_SIZE
from crossviz.training.batches import ABSENT, Ask, Sample
from crossviz.training.flickr import FlickrSampler
from crossviz.training.mix import MixSampler

__all__ = ["EMPTY", "EmptySampler", "empty_picture"]

EMPTY = 120
"""How many there are."""


def empty_picture(number: int) -> np.ndarray:
    """Picture `number`, `384 384 3` uint8: a colour, a gradient between two, or noise about one, coarse or fine."""
    rng = np.random.default_rng(number)
    one, other = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
    kind = number % 3
    if kind == 0:
        values = np.broadcast_to(one, (IMAGE_SIZE, IMAGE_SIZE, 3))
    elif kind == 1:
        way = rng.normal(size=2)
        y, x = np.mgrid[:IMAGE_SIZE, :IMAGE_SIZE] / IMAGE_SIZE
        share = way[0] * y + way[1] * x
        share = (share - share.min()) / (share.max() - share.min())
        values = one + share[..., None] * (other - one)
    else:
        cells = int(rng.choice((4, 12, 48, 128, IMAGE_SIZE)))
        grain = rng.normal(0, rng.uniform(5, 90), (cells, cells, 3 if rng.random() < 0.6 else 1))
        noisy = np.clip(one + grain, 0, 255).astype(np.uint8)
        way = Image.Resampling.NEAREST if rng.random() < 0.3 else Image.Resampling.BICUBIC
        values = np.asarray(Image.fromarray(noisy).resize((IMAGE_SIZE, IMAGE_SIZE), way))
    return np.clip(values, 0, 255).astype(np.uint8)


class EmptySampler:
    """Asks an empty picture for phrases of photos and for class names; all are absent."""

    def __init__(self, flickr: FlickrSampler, mix: MixSampler, asks: int = 8) -> None:
        self.flickr, self.names, self.asks = flickr, sorted(mix.rarity), asks
        self.tokenizer = flickr.tokenizer
        self.rows = list(range(EMPTY))

    def draw(self, rows: list[int], rng: random.Random) -> list[Sample]:
        """One sample for each of these pictures."""
        return [self._sample(row, rng) for row in rows]

    def _sample(self, row: int, rng: random.Random) -> Sample:
        sample = Sample("empty", row, rng.random() < 0.5)
        caption = rng.choice(self.flickr.sentences[rng.choice(self.flickr.rows)])
        sample.texts.append(caption.ids)
        sample.asks += [Ask(0, p.tokens, ABSENT) for p in caption.phrases if p.boxes]
        for _ in range(self.asks):
            if rng.random() < 0.5:
                phrases = rng.choice(self.flickr.sentences[rng.choice(self.flickr.rows)]).phrases
                text = rng.choice(phrases).head if phrases else rng.choice(self.names)
            else:
                text = rng.choice(self.names)
            ids = tuple(self.tokenizer(rng.choice(("", "a ", "the ")) + text)[0])
            sample.texts.append(ids)
            sample.asks.append(Ask(len(sample.texts) - 1, tuple(range(len(ids))), ABSENT))
        return sample
