"""From samples (one picture, several texts, what each phrase means in it) to one padded batch."""

from dataclasses import dataclass, field, fields

import numpy as np
import torch
from torch import Tensor

from crossviz.models.mini_tower import FINE_GRID
from crossviz.training.model import Tokenizer, pad_ids

__all__ = ["ABSENT", "PRESENT", "SEEN", "Ask", "Batch", "Sample", "collate"]

PRESENT, ABSENT, SEEN = 1, 2, 3
"""What a phrase is in the picture: there, with its place; not there; there, place unknown."""


@dataclass
class Ask:
    """A phrase: tokens (without the start mark) of text number `text` of the sample."""

    text: int
    tokens: tuple[int, ...]
    kind: int
    cover: np.ndarray | None = None


@dataclass
class Sample:
    """One picture with its texts. `row` is its place in the features of `source`."""

    source: str
    row: int
    flip: bool
    texts: list[tuple[int, ...]] = field(default_factory=list)
    asks: list[Ask] = field(default_factory=list)
    stops: list[tuple[int, int]] = field(default_factory=list)
    caption: int | None = None
    paste: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    """Cells `12 12` of the coarse features, and what is added there (see prototypes.py)."""


@dataclass
class Batch:
    """Tensors of a batch. Every text stands there once; `tokens` says which of their tokens query a picture."""

    ids: Tensor  # text length
    tokens: Tensor  # sample query: index into the flattened text states
    weights: Tensor  # sample phrase query: mean over the phrase's tokens
    kinds: Tensor  # sample phrase, 0 = padding
    covers: Tensor  # sample phrase grid grid
    stops: Tensor  # sample query, bool
    captions: Tensor  # sample: text number of the caption, or -1
    phrase_text: Tensor  # sample phrase: number of the text that asks for this phrase alone, or -1

    def to(self, device: torch.device) -> "Batch":
        """The same on another device."""
        return Batch(*(getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)))


def collate(samples: list[Sample], tokenizer: Tokenizer) -> Batch:
    """Pad and stack. Flipped samples get mirrored targets and "left" and "right" swapped."""
    left, right = tokenizer("left")[0][0], tokenizer("right")[0][0]
    swap = {left: right, right: left}
    own = [[tuple(swap.get(t, t) for t in ids) if s.flip else ids for ids in s.texts] for s in samples]
    number = {text: i for i, text in enumerate(dict.fromkeys(text for texts in own for text in texts))}
    ids = pad_ids([list(text) for text in number], tokenizer)
    length = ids.shape[1]
    queries = max(sum(map(len, s.texts)) for s in samples)
    phrases = max(max(len(s.asks) for s in samples), 1)
    n = len(samples)
    tokens = torch.zeros(n, queries, dtype=torch.long)
    weights = torch.zeros(n, phrases, queries)
    kinds = torch.zeros(n, phrases, dtype=torch.long)
    covers = torch.zeros(n, phrases, FINE_GRID, FINE_GRID)
    stops = torch.zeros(n, queries, dtype=torch.bool)
    captions = torch.full((n,), -1)
    phrase_text = torch.full((n, phrases), -1)
    for i, s in enumerate(samples):
        starts = np.cumsum([0, *map(len, s.texts)])
        for t, row in enumerate(own[i]):
            base = number[row] * length + 1  # behind the start mark
            tokens[i, starts[t] : starts[t + 1]] = torch.arange(base, base + len(row))
        for j, ask in enumerate(s.asks):
            weights[i, j, [int(starts[ask.text]) + t for t in ask.tokens]] = 1 / len(ask.tokens)
            kinds[i, j] = ask.kind
            if sum(a.text == ask.text for a in s.asks) == 1:
                phrase_text[i, j] = number[own[i][ask.text]]
            if ask.cover is not None:
                cover = torch.from_numpy(ask.cover.copy())
                covers[i, j] = cover.flip(-1) if s.flip else cover
        for t, token in s.stops:
            stops[i, int(starts[t]) + token] = True
        if s.caption is not None:
            captions[i] = number[own[i][s.caption]]
    return Batch(ids, tokens, weights, kinds, covers, stops, captions, phrase_text)
