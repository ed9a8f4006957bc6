"""Reads a picture's tokens with a caption: the words ask the picture.

It was taught to find words that the picture does not show (replaced words, as in Clark et al., "ELECTRA", 2020), so
that it says of each word how sure it is. The first DALL-E kept, of many pictures, the one that CLIP found to fit best;
here it is the one that is read best. Relations could not be learned so: they follow from where the words of their two
sides find their things.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.attention import CrossModalAttention
from crossviz.models.dalle_parts import Mlp, SelfAttention, TextEncoder, TextLayer, initialise

__all__ = ["Answers", "DalleReader", "ReaderConfig"]

_SIDES = {"left": (1, -1), "right": (1, 1), "front": (0, 1), "behind": (0, -1)}
"""Of each relation the axis, row or column, and the direction in which the first side lies."""
_SOFT = 0.045
"""The difference at which a relation is sure by 73 %: half a place."""


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


class Answers(NamedTuple):
    """What the words learn of a picture: the logits that it shows them, `batch word`; row and column of the middle of
    what they ask for, from 0 to 1, `batch word 2`, of no use for words that ask for no thing; and the cross-attention's
    probs, `layer batch head word place+1`, the null key last."""

    shown: Tensor
    where: Tensor
    probs: Tensor


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
        self.where = nn.Sequential(nn.LayerNorm(c.width), nn.Linear(c.width, 2))  # after the first layer
        self.apply(initialise)

    def forward(self, caption: Tensor, image: Tensor) -> Answers:
        """What every word of the captions learns of the pictures."""
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

    def ask(self, caption: Tensor, seen: Tensor) -> Answers:
        """What `forward` gives, from what `look` gave."""
        x, mask = self.text(caption)
        states, probs = [], []
        for layer in self.layers:
            x, asked = layer(x, seen, mask)
            states.append(x)
            probs.append(asked)
        return Answers(self.shown(x)[..., 0], self.where(states[0]), torch.stack(probs))

    @staticmethod
    def related(where: Tensor, first: list[int], second: list[int], relation: str) -> Tensor:
        """The logit that a relation holds, `batch`.

        Args:
            where: of the words, `batch word 2`.
            first, second: the numbers of the words that name its sides.
            relation: "left", "right", "front" or "behind": where the first lies from the second.
        """
        axis, direction = _SIDES[relation]
        return direction * (where[:, first, axis].mean(1) - where[:, second, axis].mean(1)) / _SOFT
