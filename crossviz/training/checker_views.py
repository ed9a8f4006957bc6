"""Pictures of scenes as a decoder might draw them: blurred, coarse, noisy, a little off in colour, with holes."""

import math

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

__all__ = ["disturbed"]

_TILE = 8


def disturbed(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Float pictures `batch 3 side side` from -1 to 1, most of them changed, each in its own way."""
    pictures = _other_light(pictures, rng)
    pictures = _some(pictures, 0.35, rng, lambda some: _blurred(some, 0.4 + 1.1 * _draw(rng)))
    pictures = _some(pictures, 0.2, rng, lambda some: _coarse(some, int(44 + 36 * _draw(rng))))
    pictures = _some(pictures, 0.25, rng, lambda some: _tiled(some, 0.04 + 0.16 * _draw(rng)))
    pictures = _some(pictures, 0.2, rng, lambda some: _holes(some, rng))
    noise = 0.05 * torch.rand(len(pictures), 1, 1, 1, generator=rng) ** 2
    return (pictures + noise * torch.randn(pictures.shape, generator=rng)).clamp(-1, 1)


def _draw(rng: torch.Generator) -> float:
    return float(torch.rand((), generator=rng))


def _some(pictures: Tensor, share: float, rng: torch.Generator, change) -> Tensor:
    chosen = (torch.rand(len(pictures), generator=rng) < share).nonzero()[:, 0]
    if not len(chosen):
        return pictures
    return pictures.index_copy(0, chosen, change(pictures[chosen]))


def _other_light(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """Brighter or darker, of more or less contrast, and tinted."""
    batch = len(pictures)
    gain = torch.exp(
        0.06 * torch.randn(batch, 1, 1, 1, generator=rng) + 0.02 * torch.randn(batch, 3, 1, 1, generator=rng)
    )
    power = torch.exp(0.06 * torch.randn(batch, 1, 1, 1, generator=rng))
    return (((pictures + 1) / 2).clamp_min(1e-4) ** power * gain * 2 - 1).clamp(-1, 1)


def _blurred(pictures: Tensor, deviation: float) -> Tensor:
    reach = 4
    at = torch.arange(-reach, reach + 1.0)
    bell = torch.exp(-(at**2) / (2 * deviation**2))
    bell = (bell / bell.sum()).expand(3, 1, 1, -1)
    wide = pad(pictures, (reach,) * 4, mode="replicate")
    return conv2d(conv2d(wide, bell, groups=3), bell.transpose(2, 3), groups=3)


def _coarse(pictures: Tensor, side: int) -> Tensor:
    """Through a picture of fewer pixels and back."""
    small = interpolate(pictures, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return interpolate(small, pictures.shape[2:], mode="bicubic", align_corners=False)


def _tiled(pictures: Tensor, step: float) -> Tensor:
    """Tiles of 8 x 8 pixels as frequencies, rounded the more the higher they are, as in JPEG (Wallace, 1992)."""
    at = torch.arange(_TILE)
    cosines = torch.cos(math.pi * (at + 0.5) * at[:, None] / _TILE) * math.sqrt(2 / _TILE)
    cosines[0] /= math.sqrt(2)
    batch, channels, height, width = pictures.shape
    tiles = pictures.reshape(batch, channels, height // _TILE, _TILE, width // _TILE, _TILE).transpose(3, 4)
    steps = step * (1 + at + at[:, None])
    waves = (cosines @ tiles @ cosines.T / steps).round() * steps
    return (cosines.T @ waves @ cosines).transpose(3, 4).reshape(pictures.shape)


def _holes(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """A square of 4 to 9 pixels filled with a colour from elsewhere in the picture (DeVries and Taylor, 2017)."""
    pictures = pictures.clone()
    for picture in pictures:
        side = int(torch.randint(4, 10, (), generator=rng))
        y, x, v, u = torch.randint(0, pictures.shape[-1] - side, (4,), generator=rng).tolist()
        picture[:, y : y + side, x : x + side] = picture[:, v, u, None, None].clone()
    return pictures
