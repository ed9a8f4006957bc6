"""The image tower of `crossviz-mini`: EfficientNet-Lite2 and a small attention head, as a timm model.

Importing this module registers `crossviz_mini_lite2` with timm, so that open_clip can build it by name.
"""

from typing import Any, ClassVar

import timm
import torch
from timm.layers import BatchNormAct2d
from timm.models import register_model
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate
from torch.nn.utils.fusion import fuse_conv_bn_weights

__all__ = ["MiniBody", "MiniImageHead", "MiniTower", "crossviz_mini_lite2"]

IMAGE_SIZE = 384
MEAN, STD = 0.498, 0.502
FINE_GRID, FINE_CHANNELS = 24, 120 + 48 + 3
COARSE_GRID, COARSE_CHANNELS = 12, 1280


class MiniBody(nn.Module):
    """EfficientNet-Lite2 up to its last convolution, batch norms folded into the convolutions.

    Its weights stay as they came from ImageNet; only the head behind it is trained.
    """

    def __init__(self) -> None:
        super().__init__()
        net = timm.create_model("tf_efficientnet_lite2", num_classes=0)
        fold_batch_norms(net.eval())
        self.conv_stem, self.bn1, self.blocks = net.conv_stem, net.bn1, net.blocks
        self.conv_head, self.bn2 = net.conv_head, net.bn2

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Photos `batch 3 384 384` to fine (stride 16) and coarse (stride 32) features, channels last.

        Returns:
            fine `batch 24 24 171`: the stride-16 stage, the pooled stride-8 stage, the mean colour of the cell;
            coarse `batch 12 12 1280`: the last convolution after its activation.
        """
        colour = avg_pool2d(x, x.shape[-1] // FINE_GRID)
        x = self.bn1(self.conv_stem(x))
        fine = []
        for i, stage in enumerate(self.blocks):
            x = stage(x)
            if i == 2:
                fine.append(avg_pool2d(x, 2))
            elif i == 4:
                fine.insert(0, x)
        coarse = self.bn2(self.conv_head(x))
        return torch.cat([*fine, colour], 1).permute(0, 2, 3, 1), coarse.permute(0, 2, 3, 1)


class MiniImageHead(nn.Module):
    """Two attention blocks on the coarse features, joined with the fine ones: one photo, 576 tokens.

    Channels are standardised with the statistics of the training photos (buffers).
    """

    def __init__(self, width: int = 256, heads: int = 4, depth: int = 2, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        for name, channels in (("fine", FINE_CHANNELS), ("coarse", COARSE_CHANNELS)):
            self.register_buffer(f"{name}_mean", torch.zeros(channels))
            self.register_buffer(f"{name}_scale", torch.ones(channels))
        self.coarse_in = nn.Linear(COARSE_CHANNELS, width)
        self.fine_in = nn.Linear(FINE_CHANNELS, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + COARSE_GRID**2, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, mlp_ratio, qkv_bias=True) for _ in range(depth)))
        self.cls_norm = nn.LayerNorm(width)
        self.local = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)

    def forward(self, fine: Tensor, coarse: Tensor, grid: int = FINE_GRID) -> tuple[Tensor, Tensor]:
        """Features of `MiniBody` to (CLS and mean patch `batch 512`, patch tokens `batch grid*grid 256`).

        A grid of 12 (training's first part) pools the fine features instead of enlarging the coarse ones.
        """
        fine = self.fine_in((fine - self.fine_mean) * self.fine_scale).permute(0, 3, 1, 2)
        x = self.coarse_in(((coarse - self.coarse_mean) * self.coarse_scale).flatten(1, 2))
        x = self.blocks(torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed)
        cls, patches = x[:, 0], x[:, 1:].transpose(1, 2).unflatten(2, (COARSE_GRID, COARSE_GRID))
        if grid == FINE_GRID:
            patches = interpolate(patches, scale_factor=2, mode="bilinear", align_corners=False)
        else:
            fine = avg_pool2d(fine, FINE_GRID // grid)
        patches = patches + fine
        tokens = self.norm((patches + self.local(patches)).flatten(2).transpose(1, 2))
        return torch.cat([self.cls_norm(cls), tokens.mean(1)], 1), tokens


class MiniTower(nn.Module):
    """The whole image tower; `forward` gives open_clip its global feature, `forward_dense` the patch tokens too."""

    default_cfg: ClassVar[dict[str, Any]] = {
        "input_size": (3, IMAGE_SIZE, IMAGE_SIZE), "pool_size": None, "mean": (MEAN,) * 3, "std": (STD,) * 3,
        "interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "squash",
    }  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.body = MiniBody()
        self.head = MiniImageHead()
        self.num_features = 512

    def reset_classifier(self, num_classes: int = 0, global_pool: str | None = None) -> None:
        """There is no classifier to reset; open_clip calls this."""

    def forward_dense(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Photos `batch 3 384 384` to (global feature `batch 512`, patch tokens `batch 576 256`, row by row)."""
        return self.head(*self.body(x))

    def forward(self, x: Tensor) -> Tensor:
        """Photos `batch 3 384 384` to the global feature `batch 512`, before open_clip's projection."""
        return self.forward_dense(x)[0]


def fold_batch_norms(net: nn.Module) -> None:
    """Fold every batch norm of `net` into the convolution before it, in place; its activation stays.

    Right for inference only: the statistics become part of the convolution's weights.
    """
    for module in list(net.modules()):
        conv: nn.Conv2d | None = None
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d):
                conv = child
            elif isinstance(child, BatchNormAct2d) and conv is not None:
                weight, bias = fuse_conv_bn_weights(
                    conv.weight, conv.bias, child.running_mean, child.running_var, child.eps, child.weight, child.bias
                )
                conv.weight, conv.bias = weight, bias
                setattr(module, name, child.act)


@register_model
def crossviz_mini_lite2(pretrained: bool = False, **_: Any) -> MiniTower:
    """The tower without weights: they come with the model folder that open_clip loads."""
    return MiniTower()
