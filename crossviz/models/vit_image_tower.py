"""Vision transformers as `crossviz.tower.run_tower` runs them, with every head in the autograd graph."""

from typing import Any

from torch import Tensor
from torch.nn import functional as F

from crossviz.geometry import PatchGrid
from crossviz.models.blocks import pooled_alone, tower_block
from crossviz.models.vit_parts import VitParts
from crossviz.trace import ImageTower

__all__ = ["image_tower"]


def image_tower(parts: VitParts) -> ImageTower:
    """The tower as `crossviz.tower.run_tower` runs it; its state is the unit embedding `batch embed`."""

    def embed(pixels: Tensor) -> tuple[Tensor, None]:
        return parts.embed(pixels), None

    def readout(x: Tensor, beside: Any, features: Tensor | None) -> Tensor:
        if parts.pooler is None:
            x = parts.norm(x)
            x = x[:, 0] if parts.pool == "token" else x[:, parts.num_prefix_tokens :].mean(1)
        return F.normalize(parts.finish(x), dim=-1)

    def to_text(tokens: Tensor) -> Tensor:
        tokens = parts.norm(tokens)
        return parts.finish(tokens if parts.pooler is None else pooled_alone(parts.pooler, tokens))

    return ImageTower(
        embed=embed,
        blocks=tuple(
            tower_block(f"block {i + 1}", block.norm_1, block.attention, block.scale, block.mlp)
            for i, block in enumerate(parts.blocks)
        ),
        grid=PatchGrid(*parts.grid_hw, num_prefix_tokens=parts.num_prefix_tokens),
        pool=parts.pool,
        features=None,
        readout=readout,
        pooler=parts.pooler,
        to_text=to_text,
        final_norm=None if parts.pooler is None else parts.norm,
    )
