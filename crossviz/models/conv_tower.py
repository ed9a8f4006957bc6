"""Image towers whose last step before pooling is a feature map: convolutional ones, and others that end alike.

open_clip's ModifiedResNet (the towers of CLIP's RN50 and its kin) up to `layer4`, and any of timm's that gives a map
of `batch channel height width` (ConvNeXt, EfficientNet, FastViT) or `batch height width channel` (Swin).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossviz.errors import UnsupportedMethodError
from crossviz.geometry import PatchGrid
from crossviz.trace import ImageTower

__all__ = ["conv_tower"]


class _Halves(NamedTuple):
    features: Callable[[Tensor], Tensor]
    """Pixels to the last feature map, `batch channel height width`."""
    finish: Callable[[Tensor], Tensor]
    """That to the embedding `batch embed`."""


def conv_tower(visual: nn.Module, pixels: Tensor) -> ImageTower:
    """The two halves of `visual`; its state is the unit embedding `batch embed`.

    Args:
        visual: an image tower of open_clip's.
        pixels: `1 3 height width`, of the size that the model takes; the tower is run on it for its map's size.

    Raises:
        UnsupportedMethodError: it has no such map; the message gives the reason alone.
    """
    kind = f"{type(visual).__module__}.{type(visual).__qualname__}"
    if kind == "open_clip.modified_resnet.ModifiedResNet":
        halves = _Halves(lambda x: _modified_resnet(visual, x), visual.attnpool)
    elif kind == "open_clip.timm_model.TimmModel":
        halves = _timm(visual, pixels)
    else:
        raise UnsupportedMethodError(f"its image tower ({type(visual).__qualname__}) is of a kind that is not covered")
    with torch.no_grad():
        grid = PatchGrid(*halves.features(pixels).shape[2:])

    def embed(pixels: Tensor) -> tuple[Tensor, None]:
        return halves.features(pixels), None

    def readout(x: Tensor, beside: Any, features: Tensor | None) -> Tensor:
        return F.normalize(halves.finish(x), dim=-1)

    return ImageTower(embed=embed, blocks=(), grid=grid, pool="none", features=lambda x, beside: x, readout=readout)


def _modified_resnet(visual: nn.Module, x: Tensor) -> Tensor:
    for stage in (visual.stem, visual.layer1, visual.layer2, visual.layer3, visual.layer4):
        x = stage(x)
    return x


def _timm(visual: nn.Module, pixels: Tensor) -> _Halves:
    trunk = visual.trunk
    title = type(trunk).__qualname__
    if not hasattr(trunk, "forward_features") or not hasattr(trunk, "forward_head"):
        raise UnsupportedMethodError(f"its image tower ({title}) does not tell its features from its head")
    with torch.no_grad():
        shape = trunk.forward_features(pixels).shape
    if len(shape) != 4:
        raise UnsupportedMethodError(f"its image tower ({title}) ends in tokens, not in a feature map")
    if shape[1] == trunk.num_features:
        return _Halves(trunk.forward_features, lambda x: visual.head(trunk.forward_head(x)))
    if shape[3] == trunk.num_features:
        return _Halves(
            lambda x: trunk.forward_features(x).permute(0, 3, 1, 2),
            lambda x: visual.head(trunk.forward_head(x.permute(0, 2, 3, 1))),
        )
    raise UnsupportedMethodError(f"its image tower ({title}) ends in a map of {tuple(shape[1:])}, which is not covered")
