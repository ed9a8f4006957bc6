"""The image tower of `crossviz-mini`: two frozen trunks and a small attention head, as a timm model.

Importing this module registers `crossviz_mini_tower` with timm, so that open_clip can build it by name.
"""

from typing import Any, ClassVar

import timm
import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from timm.models import register_model
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, dropout, gelu, interpolate
from torch.nn.utils.fusion import fuse_conv_bn_weights

from crossviz.models import mini_detector
from crossviz.models.mini_detector import MiniDetector

__all__ = ["MiniBody", "MiniImageHead", "MiniTower", "crossviz_mini_tower"]

IMAGE_SIZE = 384
MEAN, STD = 0.498, 0.502
LITE2_CHANNELS = 1280
FINE_GRID, FINE_CHANNELS = 24, 120 + 48 + 3 + mini_detector.FINE
COARSE_GRID, COARSE_CHANNELS = 12, LITE2_CHANNELS + mini_detector.COARSE


class MiniBody(nn.Module):
    """EfficientNet-Lite2 up to its last convolution, and NanoDet-g; batch norms folded into the convolutions.

    Their weights stay as they came from ImageNet and COCO; only the head behind them is trained.
    """

    def __init__(self) -> None:
        super().__init__()
        net = timm.create_model("tf_efficientnet_lite2", num_classes=0)
        fold_batch_norms(net.eval())
        pad_within(net)
        self.conv_stem, self.bn1, self.blocks = net.conv_stem, net.bn1, net.blocks
        self.conv_head, self.bn2 = net.conv_head, net.bn2
        self.detector = MiniDetector()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Photos `batch 3 384 384` to fine (stride 16) and coarse (stride 32) features, channels last.

        Returns:
            fine `batch 24 24 507`: the stride-16 stage, the pooled stride-8 stage, the mean colour of the cell, the
            detector's; coarse `batch 12 12 1920`: the last convolution after its activation, the detector's.
        """
        colour = avg_pool2d(x, x.shape[-1] // FINE_GRID)
        found_fine, found_coarse = self.detector(x * STD + MEAN)
        x = self.bn1(self.conv_stem(x))
        fine = []
        for i, stage in enumerate(self.blocks):
            x = stage(x)
            if i == 2:
                fine.append(avg_pool2d(x, 2))
            elif i == 4:
                fine.insert(0, x)
        coarse = self.bn2(self.conv_head(x))
        fine, coarse = torch.cat([*fine, colour, found_fine], 1), torch.cat([coarse, found_coarse], 1)
        return fine.permute(0, 2, 3, 1), coarse.permute(0, 2, 3, 1)


class LocalBlock(nn.Module):
    """A ConvNeXt block (Liu et al. 2022; here 5 x 5 and a narrower MLP): a patch sees its neighbours."""

    def __init__(self, width: int, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.near = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.gamma = nn.Parameter(torch.full((width,), 0.1))

    def forward(self, x: Tensor) -> Tensor:
        """`batch width h w` to the same."""
        y = self.norm(self.near(x).permute(0, 2, 3, 1))
        y = self.narrow(gelu(self.wide(y))) * self.gamma
        return x + y.permute(0, 3, 1, 2)


class MiniImageHead(nn.Module):
    """Attention blocks on the coarse features, joined with the fine ones, then local blocks: one photo, 576 tokens.

    Channels are standardised with the statistics of the training photos (buffers). In training, whole channels are
    left out at random (`channel_drop`), so that no one feature decides.
    """

    def __init__(
        self,
        width: int = 256,
        heads: int = 4,
        depth: int = 3,
        local_depth: int = 2,
        mlp_ratio: float = 4.0,
        channel_drop: float = 0.1,
    ) -> None:
        super().__init__()
        for name, channels in (("fine", FINE_CHANNELS), ("coarse", COARSE_CHANNELS)):
            self.register_buffer(f"{name}_mean", torch.zeros(channels))
            self.register_buffer(f"{name}_scale", torch.ones(channels))
        self.channel_drop = channel_drop
        self.coarse_in = nn.Linear(COARSE_CHANNELS, width)
        self.fine_in = nn.Linear(FINE_CHANNELS, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(torch.randn(1, 1 + COARSE_GRID**2, width) * 0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, mlp_ratio, qkv_bias=True) for _ in range(depth)))
        self.cls_norm = nn.LayerNorm(width)
        self.local = nn.Sequential(*(LocalBlock(width, 2.0) for _ in range(local_depth)))
        self.norm = nn.LayerNorm(width)

    def _project(self, x: Tensor, name: str) -> Tensor:
        """Standardise and project, folded into one product (the features are large)."""
        linear, mean, scale = (getattr(self, f"{name}_{part}") for part in ("in", "mean", "scale"))
        weight = linear.weight * scale
        if not self.training:
            return nn.functional.linear(x, weight, linear.bias - weight @ mean)
        keep = dropout(mean.new_ones(len(x), 1, 1, x.shape[-1]), self.channel_drop)
        return nn.functional.linear(x * keep.to(x.dtype), weight) + (linear.bias - (keep * mean) @ weight.T)

    def enter(self, fine: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """Features of `MiniBody` to what enters the first block, and to what joins the patches behind the last.

        Returns:
            CLS and the coarse patches `batch 145 256`; the fine features `batch 256 24 24`.
        """
        fine = self._project(fine, "fine").permute(0, 3, 1, 2)
        x = self._project(coarse, "coarse").flatten(1, 2)
        return torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed, fine

    def join(self, x: Tensor, fine: Tensor, grid: int = FINE_GRID) -> Tensor:
        """Tokens after any block, with the fine features, through the local blocks: `batch grid*grid 256`.

        A grid of 12 (training's first part) pools the fine features instead of enlarging the coarse ones.
        """
        patches = x[:, 1:].transpose(1, 2).unflatten(2, (COARSE_GRID, COARSE_GRID))
        if grid == FINE_GRID:
            patches = interpolate(patches, scale_factor=2, mode="bilinear", align_corners=False)
        else:
            fine = avg_pool2d(fine, FINE_GRID // grid)
        patches = (patches + fine).contiguous(memory_format=torch.channels_last)  # local blocks run twice as fast
        return self.norm(self.local(patches).flatten(2).transpose(1, 2))

    def pool(self, x: Tensor, tokens: Tensor) -> Tensor:
        """Tokens after a block, and what `join` made of them, to CLS and mean patch: `batch 512`."""
        return torch.cat([self.cls_norm(x[:, 0]), tokens.mean(1)], 1)

    def forward(self, fine: Tensor, coarse: Tensor, grid: int = FINE_GRID) -> tuple[Tensor, Tensor]:
        """Features of `MiniBody` to (CLS and mean patch `batch 512`, patch tokens `batch grid*grid 256`)."""
        x, fine = self.enter(fine, coarse)
        x = self.blocks(x)
        tokens = self.join(x, fine, grid)
        return self.pool(x, tokens), tokens


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


class SameConv2d(nn.Conv2d):
    """TensorFlow's "same" padding, which may be one wider at the end, as a symmetric one.

    The kernel gets zeros in front where the sides differ. timm's Conv2dSame copies the photo into a larger one instead,
    which takes a tenth of the tower's time; the sums are the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`batch channel h w` to `batch channel ceil(h/stride) ceil(w/stride)`."""
        sides = [_same_padding(*side) for side in zip(x.shape[2:], self.kernel_size, self.stride, strict=True)]
        (top, bottom), (left, right) = sides
        weight = nn.functional.pad(self.weight, (right - left, 0, bottom - top, 0))
        return nn.functional.conv2d(x, weight, self.bias, self.stride, (bottom, right), groups=self.groups)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """How much TensorFlow pads before and after."""
    whole = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return whole // 2, whole - whole // 2


def pad_within(net: nn.Module) -> None:
    """Put a `SameConv2d` with the same weights in the place of every Conv2dSame of `net`."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, Conv2dSame):
                sizes = (child.in_channels, child.out_channels, child.kernel_size, child.stride)
                made = SameConv2d(*sizes, groups=child.groups, bias=child.bias is not None)
                made.weight, made.bias = child.weight, child.bias
                setattr(module, name, made)


@register_model
def crossviz_mini_tower(pretrained: bool = False, **_: Any) -> MiniTower:
    """The tower without weights: they come with the model folder that open_clip loads."""
    return MiniTower()
