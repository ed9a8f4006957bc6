"""Reads a picture's tokens with a caption: the words ask the picture.

It was taught to find words that the picture does not show (replaced words, as in Clark et al., "ELECTRA", 2020), so
that it says of each word how sure it is. The first DALL-E kept, of many pictures, the one that CLIP found to fit best;
here it is the one that is read best.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.attention import CrossModalAttention
from crossviz.models.dalle_parts import Mlp, SelfAttention, TextEncoder, TextLayer, initialise

__all__ = ["DalleReader", "ReaderConfig"]


@dataclass(frozen=True)
class ReaderConfig:
    """Sizes. `grid` is tokens along a side of the picture, `words` the tokens of captions."""

    codes: int = 1024
    code_dim: int = 32
    grid: int = 12
    words: int = 40
    max_words: int = 31
    width: int = 160
    heads: int = 5
    text_layers: int = 2
    image_layers: int = 2
    layers: int = 2


class _ReaderLayer(nn.Module):
    """The question to the picture, self-attention among the words, and an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ask = CrossModalAttention(width, num_heads=heads, null_key=True)
        self.own = SelfAttention(width, heads)
        self.mlp = Mlp(width)

    def forward(self, x: Tensor, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        asked = self.ask(x, image)
        return self.mlp(self.own(asked.output, mask[:, None, None])), asked.probs


class DalleReader(nn.Module):
    """An encoder of the caption, one of the picture, and the questions of the one to the other. Captions are int64
    `batch word` with 0 as the padding, image tokens int64 `batch place` in raster order."""

    def __init__(self, config: ReaderConfig) -> None:
        super().__init__()
        self.config = c = config
        self.register_buffer("codebook", torch.zeros(c.codes, c.code_dim))
        self.text = TextEncoder(c.words, c.max_words, c.width, c.heads, c.text_layers)
        self.see = nn.Linear(9 * c.code_dim, c.width)
        self.row = nn.Parameter(0.02 * torch.randn(c.grid, c.width))
        self.column = nn.Parameter(0.02 * torch.randn(c.grid, c.width))
        self.image_layers = nn.ModuleList(TextLayer(c.width, c.heads) for _ in range(c.image_layers))
        self.layers = nn.ModuleList(_ReaderLayer(c.width, c.heads) for _ in range(c.layers))
        self.shown = nn.Sequential(nn.LayerNorm(c.width), nn.Linear(c.width, 1))
        self.apply(initialise)

    def forward(self, caption: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
        """Of every word the logit that the picture shows it `batch word`, and the cross-attention's probs
        `layer batch head word place+1`, the null key last."""
        return self.ask(caption, self.look(image))

    def look(self, image: Tensor) -> Tensor:
        """The picture's places, each having seen the others, `batch place width`."""
        c = self.config
        entries = self.codebook[image].unflatten(1, (c.grid, c.grid)).permute(0, 3, 1, 2)
        around = F.unfold(entries, 3, padding=1).transpose(1, 2)  # batch place 9*code_dim
        seen = self.see(around) + (self.row[:, None] + self.column[None]).flatten(0, 1)
        for layer in self.image_layers:
            seen = layer(seen, None)
        return seen

    def ask(self, caption: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """What `forward` gives, from what `look` gave."""
        x, mask = self.text(caption)
        probs = []
        for layer in self.layers:
            x, asked = layer(x, seen, mask)
            probs.append(asked)
        return self.shown(x)[..., 0], torch.stack(probs)
