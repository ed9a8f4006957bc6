"""The image tokenizer: a picture as a grid of codebook entries, and the decoder that draws it again.

van den Oord et al., "Neural Discrete Representation Learning" (2017), with the codebook as exponential moving averages
(its appendix A.1). Beyond the paper: the decoder sees the whole grid (one self-attention block), since the light is the
same everywhere.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["VqVae", "VqVaeConfig"]


@dataclass(frozen=True)
class VqVaeConfig:
    """Sizes: `side` of a picture in pixels, entries and width of the codebook, channels at half, a quarter and an
    eighth of the picture's side."""

    side: int = 96
    codes: int = 1024
    code_dim: int = 32
    widths: tuple[int, int, int] = (32, 64, 128)

    @property
    def grid(self) -> int:
        """Tokens along a side."""
        return self.side // 8


class VqVae(nn.Module):
    """Encoder, codebook and decoder. Pictures are `batch 3 side side` in -1..1, tokens int64 `batch grid grid`."""

    def __init__(self, config: VqVaeConfig) -> None:
        super().__init__()
        self.config = config
        half, quarter, eighth = config.widths
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),
            nn.Conv2d(48, quarter, 3, padding=1),
            _Residual(quarter),
            nn.Conv2d(quarter, eighth, 4, stride=2, padding=1),
            _Residual(eighth),
            _Residual(eighth),
            _norm(eighth),
            nn.SiLU(),
            nn.Conv2d(eighth, config.code_dim, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(config.code_dim, eighth, 3, padding=1),
            _Residual(eighth),
            _Everywhere(eighth),
            _Residual(eighth),
            _Residual(eighth),
            _Up(eighth, quarter),
            _Residual(quarter),
            _Residual(quarter),
            _norm(quarter),
            nn.SiLU(),
            _Up(quarter, half),
            _Residual(half),
            nn.SiLU(),
            nn.Conv2d(half, 12, 3, padding=1),
            nn.PixelShuffle(2),
        )
        self.register_buffer("codebook", torch.randn(config.codes, config.code_dim))

    def encode(self, pictures: Tensor) -> Tensor:
        """Latents before they are quantised, `batch code_dim grid grid`."""
        return self.encoder(pictures)

    def tokenize(self, pictures: Tensor) -> Tensor:
        """The number of the nearest entry at every place, `batch grid grid`."""
        return self.nearest(self.encode(pictures).permute(0, 2, 3, 1).float())

    def nearest(self, latents: Tensor) -> Tensor:
        """The number of the nearest entry to each latent `... code_dim`."""
        squares = self.codebook.pow(2).sum(1)
        return (squares - 2 * latents @ self.codebook.T).argmin(-1)

    def embed(self, tokens: Tensor) -> Tensor:
        """The entries, `batch code_dim grid grid`; zeros where the token is -1 (nothing is written there yet)."""
        entries = self.codebook[tokens.clamp_min(0)] * (tokens >= 0)[..., None]
        return entries.permute(0, 3, 1, 2)

    def decode(self, latents: Tensor) -> Tensor:
        """Pictures from quantised latents."""
        return self.decoder(latents)

    def draw(self, tokens: Tensor) -> Tensor:
        """Pictures from tokens: uint8 `batch side side 3`."""
        pictures = self.decode(self.embed(tokens)).float()
        return ((pictures.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1)


def _norm(width: int) -> nn.GroupNorm:
    return nn.GroupNorm(8, width)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _norm(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        nn.init.zeros_(self.body[-1].weight)
        nn.init.zeros_(self.body[-1].bias)

    def forward(self, x: Tensor) -> Tensor:  # batch width height width
        return x + self.body(x)


class _Everywhere(nn.Module):
    """Self-attention over all places."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.heads = _norm(width), 4
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:  # batch width height width
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # batch place width
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.out(mixed).transpose(1, 2).reshape(x.shape)


class _Up(nn.Module):
    """Twice the height and width."""

    def __init__(self, width: int, to: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, to, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))
