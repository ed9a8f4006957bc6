"""Writes a picture's tokens from a caption, and reads a picture's tokens with a caption.

Ramesh et al., "Zero-Shot Text-to-Image Generation" (2021): image tokens follow each other in raster order. Unlike
theirs, the caption has an encoder of its own and is asked by cross-attention, as in Vaswani et al. (2017), so that
every head says from which words a token was written. A second, smaller part asks the other way round: the caption's
words query the finished picture's tokens, and say of themselves whether it shows them (replaced words are to be found,
as in Clark et al., "ELECTRA", 2020).
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.attention import CrossModalAttention

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
    reader_layers: int = 2


class _SelfAttention(nn.Module):
    """Multi-head self-attention before a residual sum."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm, self.heads = nn.LayerNorm(width), heads
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(
        self, x: Tensor, mask: Tensor | None = None, *, causal: bool = False, past: list[Tensor] | None = None
    ) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if past is not None:
            if past:
                k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
            past[:] = [k, v]
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=causal)
        return x + self.out(mixed.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class _WriterLayer(nn.Module):
    """Causal self-attention, the question to the caption, and an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.own = _SelfAttention(width, heads)
        self.ask = CrossModalAttention(width, num_heads=heads, null_key=True)
        self.mlp = _Mlp(width)

    def forward(self, x: Tensor, text: Tensor, mask: Tensor, past: list[Tensor] | None) -> tuple[Tensor, Tensor]:
        x = self.own(x, causal=past is None, past=past)
        asked = self.ask(x, text, key_mask=mask)
        return self.mlp(asked.output), asked.probs


class _ReaderLayer(nn.Module):
    """The question to the picture, self-attention among the words, and an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ask = CrossModalAttention(width, num_heads=heads, null_key=True)
        self.own = _SelfAttention(width, heads)
        self.mlp = _Mlp(width)

    def forward(self, x: Tensor, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        asked = self.ask(x, image)
        return self.mlp(self.own(asked.output, mask[:, None, None])), asked.probs


@dataclass
class Cache:
    """What `step` keeps of the tokens that were written: keys and values, per layer."""

    past: list[list[Tensor]]


class DalleTransformer(nn.Module):
    """Text encoder, writer and reader. Captions are int64 `batch word` with 0 as the padding, image tokens int64
    `batch place` in raster order."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = c = config
        places = c.grid * c.grid
        self.register_buffer("codebook", torch.zeros(c.codes, c.code_dim))
        self.word = nn.Embedding(c.words, c.width)
        self.word_place = nn.Parameter(0.02 * torch.randn(c.max_words, c.width))
        self.text_layers = nn.ModuleList(_TextLayer(c.width, c.heads) for _ in range(c.text_layers))
        self.text_norm = nn.LayerNorm(c.width)
        # What is written to the left, above on the left, above, and above on the right of a place.
        self.near = nn.Linear(4 * c.code_dim, c.width)
        self.left = nn.Embedding(c.codes + 1, c.width)  # the last: nothing is there yet
        self.row = nn.Parameter(0.02 * torch.randn(c.grid, c.width))
        self.column = nn.Parameter(0.02 * torch.randn(c.grid, c.width))
        self.layers = nn.ModuleList(_WriterLayer(c.width, c.heads) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)
        self.like = nn.Linear(c.width, c.code_dim)
        self.head = nn.Linear(c.width, c.codes)
        self.see = nn.Linear(9 * c.code_dim, c.width)
        self.see_row = nn.Parameter(0.02 * torch.randn(c.grid, c.width))
        self.see_column = nn.Parameter(0.02 * torch.randn(c.grid, c.width))
        self.see_layers = nn.ModuleList(_TextLayer(c.width, c.heads) for _ in range(c.reader_layers))
        self.reader = nn.ModuleList(_ReaderLayer(c.width, c.heads) for _ in range(c.reader_layers))
        self.shown = nn.Sequential(nn.LayerNorm(c.width), nn.Linear(c.width, 1))
        self.apply(_initialise)
        for layer in (*self.layers, *self.text_layers, *self.see_layers, *self.reader):
            for last in (layer.own.out, layer.mlp.body[-1]):
                nn.init.normal_(last.weight, std=0.02 / math.sqrt(2 * c.layers))
        near = torch.full((places, 4), places)  # where each place's written neighbours are; `places` is outside
        for place in range(places):
            row, column = divmod(place, c.grid)
            for at, (up, right) in enumerate(((0, -1), (1, -1), (1, 0), (1, 1))):
                if row - up >= 0 and 0 <= column + right < c.grid:
                    near[place, at] = (row - up) * c.grid + column + right
        self.register_buffer("neighbours", near, persistent=False)

    def encode_text(self, caption: Tensor) -> tuple[Tensor, Tensor]:
        """The caption's tokens `batch word width`, and which of them are no padding."""
        mask = caption > 0
        x = self.word(caption) + self.word_place[: caption.shape[1]]
        for layer in self.text_layers:
            x = layer(x, mask[:, None, None])
        return self.text_norm(x), mask

    def forward(self, caption: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of every place's token, given those before it, `batch place code`; and the cross-attention's probs
        `layer batch head place word+1`, the null key last."""
        states, probs = self.states(caption, image)
        return self.logits(states[-1]), probs

    def states(self, caption: Tensor, image: Tensor) -> tuple[list[Tensor], Tensor]:
        """What every layer gives for every place, `batch place width` each, and the cross-attention's probs."""
        text, mask = self.encode_text(caption)
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
        that were written; exactly what `forward` gives for that place."""
        place = written.shape[1]
        x = self._input(written, place)
        probs = []
        for layer, past in zip(self.layers, cache.past, strict=True):
            x, asked = layer(x, text, mask, past)
            probs.append(asked[:, :, 0])
        return self.logits(x)[:, 0], torch.stack(probs)

    def read(self, caption: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Of every word the logit that the picture shows it `batch word`, and the cross-attention's probs
        `layer batch head word place+1`, the null key last."""
        c = self.config
        x, mask = self.encode_text(caption)
        entries = self.codebook[image].unflatten(1, (c.grid, c.grid)).permute(0, 3, 1, 2)
        around = F.unfold(entries, 3, padding=1).transpose(1, 2)  # batch place 9*code_dim
        seen = self.see(around) + (self.see_row[:, None] + self.see_column[None]).flatten(0, 1)
        for layer in self.see_layers:
            seen = layer(seen, None)
        probs = []
        for layer in self.reader:
            x, asked = layer(x, seen, mask)
            probs.append(asked)
        return self.shown(x)[..., 0], torch.stack(probs)

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


class _TextLayer(nn.Module):
    """Self-attention and an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.own, self.mlp = _SelfAttention(width, heads), _Mlp(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.mlp(self.own(x, mask))


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02 if module.in_features > 100 else module.in_features**-0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
