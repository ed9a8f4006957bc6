"""What of open_clip's image towers can be taken apart, how far, and the reason where it can't."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from crossviz.errors import CaptureError, UnsupportedMethodError
from crossviz.geometry import PatchGrid
from crossviz.models.conv_tower import conv_tower
from crossviz.models.vit_image_tower import image_tower
from crossviz.models.vit_parts import vit_parts
from crossviz.models.vit_tower import VitTower, summed
from crossviz.tower import run_tower
from crossviz.trace import ImageTower

__all__ = ["TOLERANCE", "TakenApart", "differs", "take_apart"]

TOLERANCE = 1e-4
"""Largest accepted difference of a tower's unit embedding from the model's own, in any channel."""
CELL = 16
"""Pixels of a cell's side, for a tower without patches that are known."""
MOST_CELLS = 40
"""Cells along a side up to which a tower's own patches are taken for cells."""


class TakenApart(NamedTuple):
    """An image tower, as far as it can be taken apart."""

    image: ImageTower | None
    why_no_image: str
    vit: VitTower | None
    """The same tower as a sum over layers, heads and patches."""
    why_no_vit: str
    grid: PatchGrid
    read_hw: tuple[int, int]
    """Pixels of the input that the grid lies over, from its upper left corner."""


def take_apart(visual: nn.Module, pixels: Tensor, distrust: str = "") -> TakenApart:
    """Take an image tower apart.

    Args:
        visual: the tower.
        pixels: `1 3 height width`, of the size that the model takes; towers that end in a map are run on it.
        distrust: a reason not to take it apart.
    """
    input_hw = (pixels.shape[2], pixels.shape[3])
    if distrust:
        return _whole(visual, input_hw, distrust)
    try:
        parts = vit_parts(visual)
    except UnsupportedMethodError as error:
        reason = str(error)
        try:
            image, read_hw = conv_tower(visual, pixels)
        except UnsupportedMethodError:
            return _whole(visual, input_hw, reason)
        return TakenApart(image, "", None, reason, image.grid, read_hw)
    image = image_tower(parts)
    read_hw = (parts.grid_hw[0] * parts.patch_hw[0], parts.grid_hw[1] * parts.patch_hw[1])
    try:
        return TakenApart(image, "", summed(parts), "", image.grid, read_hw)
    except UnsupportedMethodError as error:
        return TakenApart(image, "", None, str(error), image.grid, read_hw)


@torch.no_grad()
def differs(taken: TakenApart, own: Tensor, pixels: Tensor) -> str:
    """Why a tower's parts are not to be trusted: they give something else than the tower. "" where they give the same.

    Args:
        taken: the tower.
        own: the model's own unit embedding of `pixels`, `1 embed`.
        pixels: `1 3 height width`.
    """
    if taken.image is None:
        return ""
    difference = float((run_tower(taken.image, pixels).state - own).abs().max())
    if not difference <= TOLERANCE:
        return (
            f"its image tower's parts give an embedding that differs from the tower's own by {difference:.1e}; at "
            f"most {TOLERANCE:.0e} is accepted"
        )
    if taken.vit is not None:
        try:
            taken.vit.check(pixels)
        except CaptureError as error:
            return f"its image tower is not the sum of its parts ({str(error).rstrip('.')})"
    return ""


def _whole(visual: nn.Module, input_hw: tuple[int, int], reason: str) -> TakenApart:
    grid, read_hw = _cells(visual, input_hw)
    return TakenApart(None, reason, None, reason, grid, read_hw)


def _cells(visual: nn.Module, input_hw: tuple[int, int]) -> tuple[PatchGrid, tuple[int, int]]:
    """A grid over the input of a tower that is only run as a whole: its own patches where it has some, else cells."""
    embed = getattr(getattr(visual, "trunk", visual), "patch_embed", visual)
    for name in ("grid_size", "patch_size"):
        if not _is_pair(getattr(embed, name, None)):
            break
    else:
        (rows, columns), (height, width) = embed.grid_size, embed.patch_size
        fits = (
            rows * height <= input_hw[0] < (rows + 1) * height
            and columns * width <= input_hw[1] < (columns + 1) * width
        )
        if fits and max(rows, columns) <= MOST_CELLS:
            return PatchGrid(rows, columns), (rows * height, columns * width)
    rows, columns = max(1, input_hw[0] // CELL), max(1, input_hw[1] // CELL)
    return PatchGrid(rows, columns), (min(rows * CELL, input_hw[0]), min(columns * CELL, input_hw[1]))


def _is_pair(value: object) -> bool:
    return isinstance(value, tuple | list) and len(value) == 2 and all(isinstance(side, int) for side in value)
