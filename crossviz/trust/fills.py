"""What takes the place of removed patches. Every fill leaves the patches that stay exactly as they are."""

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.errors import MethodError
from crossviz.geometry import PatchGrid
from crossviz.methods.fill import blurred

__all__ = ["FILLS", "Fill", "fill_sentence", "filler", "pixel_masks"]

Fill = Literal["blur", "mean", "inpaint"]
FILLS: tuple[Fill, ...] = ("blur", "mean", "inpaint")
BLUR_SHARE = 1 / 12
"""The blur's standard deviation, as a share of the input's shorter side."""
_STEPS = 60
_COARSEST = 4


def fill_sentence(fill: Fill) -> str:
    """What a fill does, for people."""
    return {
        "blur": f"Removed patches are blurred (Gaussian, sigma 1/{1 / BLUR_SHARE:.0f} of the shorter side).",
        "mean": "Removed patches take the photo's mean colour.",
        "inpaint": "Removed patches are filled by diffusion from their border, and hold no detail.",
    }[fill]


def pixel_masks(masks: Tensor, grid: PatchGrid, seen_hw: tuple[int, int], input_hw: tuple[int, int]) -> Tensor:
    """Masks of patches, `mask patch`, in the pixels of the input: `mask 1 height width`, True where removed.

    Args:
        masks: True where a patch is removed.
        grid: the patches.
        seen_hw: the part of the input, from its top left, that the grid covers.
        input_hw: the input's size.
    """
    cells = masks.view(-1, 1, grid.height, grid.width)
    rows = torch.arange(seen_hw[0], device=masks.device) * grid.height // seen_hw[0]
    cols = torch.arange(seen_hw[1], device=masks.device) * grid.width // seen_hw[1]
    pixels = cells[:, :, rows][..., cols]
    return F.pad(pixels, (0, input_hw[1] - seen_hw[1], 0, input_hw[0] - seen_hw[0]))


def filler(pixels: Tensor, fill: Fill) -> Callable[[Tensor], Tensor]:
    """What removes parts of a photo.

    Args:
        pixels: `1 3 height width`.
        fill: what takes their place.

    Returns:
        A function of `mask 1 height width` (True where removed) that gives `mask 3 height width`.

    Raises:
        MethodError: there is no such fill.
    """
    if fill not in FILLS:
        raise MethodError(f"There is no fill {fill!r:.60}: choose one of {', '.join(FILLS)}.")
    mean = pixels.mean((2, 3), keepdim=True)
    if fill == "inpaint":

        def fill_in(masks: Tensor) -> Tensor:
            whole = masks.flatten(1).all(1)[:, None, None, None]  # nothing is left to fill it from
            return torch.where(whole, mean, inpaint(pixels.expand(len(masks), -1, -1, -1), masks))

        return fill_in
    sigma = BLUR_SHARE * min(pixels.shape[-2:])
    under = blurred(pixels, sigma) if fill == "blur" else mean
    return lambda masks: torch.where(masks, under, pixels)


def inpaint(pixels: Tensor, masks: Tensor) -> Tensor:
    """Fill what is masked by diffusion: each pixel becomes the mean of its neighbours, what stays is held.

    The equation of Laplace, solved from coarse to fine: at every scale a number of Jacobi steps from what the coarser
    scale gave. What can't be reached from any pixel that stays is 0.

    Args:
        pixels: `batch channel height width`.
        masks: `batch 1 height width`, True where to fill.
    """
    keep = (~masks).to(pixels.dtype)
    held = torch.where(masks, 0.0, pixels)
    height, width = pixels.shape[-2:]
    if min(height, width) > _COARSEST:
        share = F.avg_pool2d(keep, 2, ceil_mode=True, count_include_pad=False)
        small = F.avg_pool2d(held, 2, ceil_mode=True, count_include_pad=False) / share.clamp(min=1e-6)
        small = inpaint(small, share == 0)
        guess = F.interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
    else:
        total = keep.sum((2, 3), keepdim=True)
        guess = held.sum((2, 3), keepdim=True) / total.clamp(min=1)
        guess = torch.where(total > 0, guess, pixels.mean((2, 3), keepdim=True)).expand_as(pixels)
    found = torch.where(masks, guess, pixels)
    for _ in range(_STEPS if bool(masks.any()) else 0):
        around = F.pad(found, (1, 1, 1, 1), mode="replicate")
        mean = (around[..., :-2, 1:-1] + around[..., 2:, 1:-1] + around[..., 1:-1, :-2] + around[..., 1:-1, 2:]) / 4
        found = torch.where(masks, mean, found)
    return found
