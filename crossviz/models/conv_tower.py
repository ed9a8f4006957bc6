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
from crossviz.models.blocks import join_heads, split_heads
from crossviz.trace import ImageTower, Pooler

__all__ = ["ConvTower", "conv_tower"]


class ConvTower(NamedTuple):
    """A tower that ends in a feature map, and the part of its input that the map lies over."""

    image: ImageTower
    read_hw: tuple[int, int]
    """Pixels from the upper left corner: whole cells, as far as the input goes."""


class _Halves(NamedTuple):
    features: Callable[[Tensor], Tensor]
    """Pixels to the last feature map, `batch channel height width`."""
    finish: Callable[[Tensor], Tensor]
    """That to the embedding `batch embed`; where there is a pooler, what comes after it."""
    stride: int | None
    """Pixels per cell of the map; None where the tower does not say."""
    pool: nn.Module | None = None
    """CLIP's AttentionPool2d, where the map is read by one."""


def conv_tower(visual: nn.Module, pixels: Tensor) -> ConvTower:
    """The two halves of `visual`; its state is the unit embedding `batch embed`.

    Args:
        visual: an image tower of open_clip's.
        pixels: `1 3 height width`, of the size that the model takes; the tower is run on it for its map's size.

    Raises:
        UnsupportedMethodError: it has no such map; the message gives the reason alone.
    """
    kind = f"{type(visual).__module__}.{type(visual).__qualname__}"
    if kind == "open_clip.modified_resnet.ModifiedResNet":
        halves = _Halves(lambda x: _modified_resnet(visual, x), nn.Identity(), 32, visual.attnpool)
    elif kind == "open_clip.timm_model.TimmModel":
        halves = _timm(visual, pixels)
    else:
        raise UnsupportedMethodError(f"its image tower ({type(visual).__qualname__}) is of a kind that is not covered")
    with torch.no_grad():
        map_hw = halves.features(pixels).shape[2:]
    read_hw = tuple(_read(*sides, halves.stride) for sides in zip(pixels.shape[2:], map_hw, strict=True))
    pool = halves.pool

    def embed(pixels: Tensor) -> tuple[Tensor, None]:
        return halves.features(pixels), None

    def readout(x: Tensor, beside: Any, features: Tensor | None) -> Tensor:
        return F.normalize(halves.finish(x), dim=-1)

    image = ImageTower(
        embed=embed,
        blocks=(),
        grid=PatchGrid(*map_hw, num_prefix_tokens=0 if pool is None else 1),
        pool="none" if pool is None else "attention",
        features=lambda x, beside: x,
        readout=readout,
        pooler=None if pool is None else _pooler(pool),
        to_text=None if pool is None else lambda cells: pool.c_proj(pool.v_proj(cells)),
        final_norm=None if pool is None else lambda x: _pool_tokens(pool, x),
    )
    return ConvTower(image, read_hw)


def _read(side: int, cells: int, stride: int | None) -> int:
    """Pixels of a side of the input that its cells lie over.

    Convolutions without padding leave a rest out (ConvNeXt: 4 cells of 32 pixels in 150); with padding the last cell
    reaches over the edge, and the cells lie over all of the side.
    """
    if stride is None and side % cells == 0:
        return side
    if stride is None or cells not in (side // stride, -(-side // stride)):
        raise UnsupportedMethodError(f"its image tower's map of {cells} cells along {side} pixels has no known place")
    return min(cells * stride, side)


def _pool_tokens(pool: nn.Module, x: Tensor) -> Tensor:
    """The map as the pool's tokens, `batch 1+cell channel`: the mean of the cells, then the cells, with positions."""
    cells = x.flatten(2).mT
    return torch.cat([cells.mean(1, keepdim=True), cells], 1) + pool.positional_embedding.to(x.dtype)


def _pooler(pool: nn.Module) -> Pooler:
    """CLIP's AttentionPool2d (Radford et al., 2021): the mean cell looks at itself and all cells.

    The state takes this way; `ImageTower.to_text` takes a cell through the value and output projections alone, without
    the pool's positions, as MaskCLIP (Zhou et al., 2022) does in its published code for ResNets.
    """

    def project(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        heads = pool.num_heads
        return tuple(split_heads(p(y), heads) for p, y in ((pool.q_proj, x[:, :1]), (pool.k_proj, x), (pool.v_proj, x)))

    scale = (pool.q_proj.out_features // pool.num_heads) ** -0.5
    return Pooler("pooler", project, scale, lambda context: pool.c_proj(join_heads(context))[:, 0])


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
    stride = _stride(trunk)
    if shape[1] == trunk.num_features:
        return _Halves(trunk.forward_features, lambda x: visual.head(trunk.forward_head(x)), stride)
    if shape[3] == trunk.num_features:
        return _Halves(
            lambda x: trunk.forward_features(x).permute(0, 3, 1, 2),
            lambda x: visual.head(trunk.forward_head(x.permute(0, 2, 3, 1))),
            stride,
        )
    raise UnsupportedMethodError(f"its image tower ({title}) ends in a map of {tuple(shape[1:])}, which is not covered")


def _stride(trunk: nn.Module) -> int | None:
    """Pixels per cell of a timm trunk's last map, as it says itself of its last stage."""
    try:
        return int(list(trunk.feature_info)[-1]["reduction"])
    except (AttributeError, IndexError, KeyError, TypeError):
        return None
