"""Writes a picture's tokens from a caption, one after the other.

Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021): image tokens follow each other in raster order. Unlike
theirs, the caption has an encoder of its own and is asked by cross-attention, as in Vaswani et al. (2017), so that
every head says from which words a token was written.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.attention import CrossModalAttention
from crossviz.models.dalle_parts import Mlp, SelfAttention, TextEncoder, initialise

__all__ = ["Cache", "DalleTransformer", "TransformerConfig"]


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes. `grid` is tokens along a side of the picture, `words` the tokens of captions."""

    codes: int = 1024
    code_dim: int = 32
    grid: int = 12
    words: int = 40
    max_words: int = 31
    width: int = 160
    heads: int = 5
    text_layers: int = 2
    layers: int = 5


class _WriterLayer(nn.Module):
    """Causal self-attention, the question to the caption, and an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.own = SelfAttention(width, heads)
        self.ask = CrossModalAttention(width, num_heads=heads, null_key=True)
        self.mlp = Mlp(width)

    def forward(
        self,
        x: Tensor,
        text: Tensor,
        mask: Tensor,
        past: list[Tensor] | None,
        projected: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        x = self.own(x, causal=past is None, past=past)
        asked = self.ask(x, text, key_mask=mask, projected=projected)
        return self.mlp(asked.output), asked.probs


@dataclass
class Cache:
    """What `step` keeps of the tokens that were written, and of the caption from the first step on: keys and values,
    per layer."""

    past: list[list[Tensor]]
    text: list[tuple[Tensor, Tensor]] = field(default_factory=list)


class DalleTransformer(nn.Module):
    """Text encoder and writer. Captions are int64 `batch word` with 0 as the padding, image tokens int64
    `batch place` in raster order."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = c = config
        places = c.grid * c.grid
        self.register_buffer("codebook", torch.zeros(c.codes, c.code_dim))
        self.text = TextEncoder(c.words, c.max_words, c.width, c.heads, c.text_layers)
        # What is written to the left, above on the left, above, and above on the right of a place.
        self.near = nn.Linear(4 * c.code_dim, c.width)
        self.left = nn.Embedding(c.codes + 1, c.width)  # the last: nothing is there yet
        self.row = nn.Parameter(0.02 * torch.randn(c.grid, c.width))
        self.column = nn.Parameter(0.02 * torch.randn(c.grid, c.width))
        self.layers = nn.ModuleList(_WriterLayer(c.width, c.heads) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)
        self.like = nn.Linear(c.width, c.code_dim)
        self.head = nn.Linear(c.width, c.codes)
        self.apply(initialise)
        for layer in (*self.layers, *self.text.layers):
            for last in (layer.own.out, layer.mlp.body[-1]):
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * c.layers))
        near = torch.full((places, 4), places)  # where each place's written neighbours are; `places` is outside
        for place in range(places):
            row, column = divmod(place, c.grid)
            for at, (up, right) in enumerate(((0, -1), (1, -1), (1, 0), (1, 1))):
                if row - up >= 0 and 0 <= column + right < c.grid:
                    near[place, at] = (row - up) * c.grid + column + right
        self.register_buffer("neighbours", near, persistent=False)

    def forward(self, caption: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of every place's token, given those before it, `batch place code`; and the cross-attention's probs
        `layer batch head place word+1`, the null key last."""
        states, probs = self.states(caption, image)
        return self.logits(states[-1]), probs

    def states(self, caption: Tensor, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """What every layer gives for every place, `batch place width` each, and the cross-attention's probs."""
        text, mask = self.text(caption)
        states, probs = [self._inputs(image)], []
        for layer in self.layers:
            x, asked = layer(states[-1], text, mask, None)
            states.append(x)
            probs.append(asked)
        return states[1:], torch.stack(probs)

    def start(self) -> Cache:
        """For `step`, before anything is written."""
        return Cache([[] for _ in self.layers])

    def step(self, text: Tensor, mask: Tensor, written: Tensor, cache: Cache) -> tuple[Tensor, Tensor]:
        """The next place's logits `batch code`, and probs `layer batch head word+1`, after the tokens `batch place`
        that were written; exactly what `forward` gives for that place. A cache serves one text."""
        place = written.shape[1]
        if not cache.text:
            cache.text = [layer.ask.project(text) for layer in self.layers]
        x = self._input(written, place)
        probs = []
        for layer, past, projected in zip(self.layers, cache.past, cache.text, strict=True):
            x, asked = layer(x, text, mask, past, projected)
            probs.append(asked[:, :, 0])
        return self.logits(x)[:, 0], torch.stack(probs)

    def _inputs(self, image: Tensor) -> Tensor:  # batch place -> batch place width
        c = self.config
        entries = F.pad(self.codebook[image], (0, 0, 0, 1))  # batch place+1 code_dim, the last zeros
        near = entries[:, self.neighbours].flatten(2)
        before = F.pad(image[:, :-1], (1, 0), value=c.codes)
        place = (self.row[:, None] + self.column[None]).flatten(0, 1)
        return self.near(near) + self.left(before) + place

    def _input(self, written: Tensor, place: int) -> Tensor:  # -> batch 1 width
        c = self.config
        row, column = divmod(place, c.grid)
        neighbours = self.neighbours[place]
        outside = neighbours >= written.shape[1]
        if written.shape[1]:
            entries = self.codebook[written[:, neighbours.clamp_max(written.shape[1] - 1)]]
            entries = entries.masked_fill(outside[None, :, None], 0.0)
            before = written[:, -1]
        else:
            entries = self.codebook.new_zeros(len(written), 4, c.code_dim)
            before = written.new_full((len(written),), c.codes)
        x = self.near(entries.flatten(1)) + self.left(before) + self.row[row] + self.column[column]
        return x[:, None]

    def logits(self, x: Tensor) -> Tensor:
        """Of the tokens, from what the last layer gives."""
        x = self.norm(x)
        return self.head(x) + self.like(x) @ self.codebook.T
