"""What the scene model's transformers are made of."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["Mlp", "SelfAttention", "TextEncoder", "TextLayer", "initialise"]


class SelfAttention(nn.Module):
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


class Mlp(nn.Module):
    """Before a residual sum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class TextLayer(nn.Module):
    """Self-attention and an MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.own, self.mlp = SelfAttention(width, heads), Mlp(width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        return self.mlp(self.own(x, mask))


class TextEncoder(nn.Module):
    """A caption's tokens, each having seen the others."""

    def __init__(self, words: int, max_words: int, width: int, heads: int, layers: int) -> None:
        super().__init__()
        self.word = nn.Embedding(words, width)
        self.place = nn.Parameter(0.02 * torch.randn(max_words, width))
        self.layers = nn.ModuleList(TextLayer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, caption: Tensor) -> tuple[Tensor, Tensor]:
        """From int64 `batch word`, 0 the padding: `batch word width`, and which of them are no padding."""
        mask = caption > 0
        x = self.word(caption) + self.place[: caption.shape[1]]
        for layer in self.layers:
            x = layer(x, mask[:, None, None])
        return self.norm(x), mask


def initialise(module: nn.Module) -> None:
    """Weights to start from, of one module; for `nn.Module.apply`."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02 if module.in_features > 100 else module.in_features**-0.5)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
