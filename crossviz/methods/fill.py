"""What covers a part of a photo: the model's grey, the photo's mean colour, or the photo blurred."""

import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.errors import MethodError

__all__ = ["FILLS", "blurred", "fill"]

FILLS = ("grey", "mean", "blur")


def fill(pixels: Tensor, kind: str, sigma: float) -> Tensor:
    """What the covered pixels show, for every pixel: the shape of `pixels`.

    Args:
        pixels: `batch 3 height width`, as a model takes them.
        kind: "grey" 0 in every channel, which is the mean colour that the model's photos are centred on; "mean" the
            photo's mean colour; "blur" the photo blurred with `sigma`.
        sigma: of the blur, in pixels.

    Raises:
        MethodError: no such kind.
    """
    if kind == "blur":
        return blurred(pixels, sigma)
    if kind == "mean":
        return pixels.mean((-2, -1), keepdim=True).expand_as(pixels)
    if kind == "grey":
        return torch.zeros_like(pixels)
    raise MethodError(f"A photo is covered by one of {', '.join(FILLS)}, not by {kind!r:.60}.")


def blurred(pixels: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur, cut off at 3 sigma, the border's pixels continued outwards.

    Args:
        pixels: `batch channel height width`.
        sigma: standard deviation in pixels.
    """
    radius = max(1, round(3 * sigma))
    away = torch.arange(-radius, radius + 1, dtype=pixels.dtype, device=pixels.device)
    kernel = torch.exp(-0.5 * (away / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(pixels.shape[1], 1, 1, -1)
    wide = F.pad(pixels, (radius, radius, radius, radius), mode="replicate")
    across = F.conv2d(wide, kernel, groups=pixels.shape[1])
    return F.conv2d(across, kernel.mT, groups=pixels.shape[1])
