"""NanoDet-g up to its class scores: dense features that know COCO's things, for `crossviz-mini`'s image tower."""

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv2d, interpolate, leaky_relu, max_pool2d

__all__ = ["MiniDetector"]

_SLOPE = 0.1
_WIDTH = 128
_CLASSES = 80
FINE = 2 * _WIDTH + _CLASSES
COARSE = _WIDTH + 512


class CspStage(nn.Module):
    """One stage of the backbone: a convolution, `steps` small residual steps by concatenation, and both joined."""

    def __init__(self, channels_in: int, channels: int, steps: int, stride: int) -> None:
        super().__init__()
        half = channels // 2
        self.first = nn.Conv2d(channels_in, channels, 3, stride, 1)
        self.steps = nn.ModuleList(
            nn.ModuleList([nn.Conv2d(channels, half, 3, 1, 1), nn.Conv2d(half, half, 3, 1, 1)]) for _ in range(steps)
        )
        self.last = nn.Conv2d(channels, channels, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`batch channels_in h w` to `batch 2*channels h/stride w/stride`."""
        x = first = leaky_relu(self.first(x), _SLOPE)
        for narrow, keep in self.steps:
            x = leaky_relu(narrow(x), _SLOPE)
            x = torch.cat([leaky_relu(keep(x), _SLOPE), x], 1)
        return torch.cat([leaky_relu(self.last(x), _SLOPE), first], 1)


class MiniDetector(nn.Module):
    """NanoDet-g (RangiLyu, https://github.com/RangiLyu/nanodet, Apache-2.0), trained on COCO train2017 by its authors.

    Backbone CSPNet-g, feature pyramid PAN, one convolution a level and its class scores; batch norms folded. The box
    branch is not kept. Frozen: only what stands behind it is trained here.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([123.675, 116.28, 103.53]) / 255, persistent=False)
        self.register_buffer("scale", 255 / torch.tensor([58.395, 57.12, 57.375]), persistent=False)
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        stages = [(32, 32, 1, 1), (64, 64, 2, 2), (128, 128, 2, 2), (256, 256, 3, 2)]
        self.stages = nn.ModuleList(CspStage(*stage) for stage in stages)
        self.lateral = nn.ModuleList(nn.Conv2d(c, _WIDTH, 1) for c in (128, 256, 512))
        self.towers = nn.ModuleList(nn.Conv2d(_WIDTH, _WIDTH, 3, 1, 1) for _ in range(3))
        self.classes = nn.ModuleList(nn.Conv2d(_WIDTH, _CLASSES, 1) for _ in range(3))

    def levels(self, photos: Tensor) -> tuple[Tensor, list[Tensor]]:
        """RGB photos in 0 to 1 `batch 3 h w` to the last stage (stride 32) and the towers at strides 8, 16 and 32."""
        x = (photos - self.mean[:, None, None]) * self.scale[:, None, None]
        # Its channels are blue, green, red: the few weights are turned round, not the photos.
        x = conv2d(x, self.stem.weight.flip(1), self.stem.bias, self.stem.stride, self.stem.padding)
        x = max_pool2d(leaky_relu(x, _SLOPE), 3, 2, 1)
        stages = []
        for stage in self.stages:
            x = stage(x)
            stages.append(x)
        low, middle, high = (join(x) for join, x in zip(self.lateral, stages[1:], strict=True))
        middle = middle + _fit(high, middle)
        low = low + _fit(middle, low)
        up_middle = middle + _fit(low, middle)
        up_high = high + _fit(up_middle, high)
        towers = zip(self.towers, (low, up_middle, up_high), strict=True)
        return x, [leaky_relu(tower(level), _SLOPE) for tower, level in towers]

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """RGB photos in 0 to 1 `batch 3 384 384` to fine `batch 336 24 24` and coarse `batch 640 12 12` features.

        fine: the towers at strides 16 and 8 (the latter pooled) and each class's best score at stride 8 in the cell
        (before the sigmoid); coarse: the tower at stride 32 and the backbone's last stage.
        """
        last, (low, middle, high) = self.levels(photos)
        fine = torch.cat([middle, avg_pool2d(low, 2), max_pool2d(self.classes[0](low), 2)], 1)
        return fine, torch.cat([high, last], 1)


def _fit(x: Tensor, like: Tensor) -> Tensor:
    return interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)
