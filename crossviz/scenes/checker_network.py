"""The network of the scene checker: what stands where in a picture, as maps.

Things are found as in Panoptic-DeepLab (Cheng et al., 2020): a map of centres, and for every pixel the way to the
centre of the thing that it shows. What a thing is like is said at every place and averaged over the thing's own mask,
so that no thing has to be told by its centre, which for a ring is a hole.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, pixel_shuffle

from crossviz.scenes.vocabulary import COLOURS, FLOORS, MATERIALS, MOODS, SHAPES, SIZES

__all__ = ["KINDS", "OFFSET", "STRIDE", "CheckerNetwork", "Maps", "pool", "to_input"]

KINDS = {"shape": SHAPES, "colour": COLOURS, "size": SIZES, "material": MATERIALS}
"""What is told of a thing, in the order of the logits."""
STRIDE = 4
"""Pixels a place of the coarse maps, along each axis."""
OFFSET = 16.0
"""Offsets are in units of so many pixels."""


@dataclass(frozen=True, eq=False)
class Maps:
    """`centres` `batch h w`, logits at stride 4; `kinds` `batch 17 h w`, the logits of KINDS one after another;
    `places` `batch 2 h w`, x and y on the floor; `front` `batch side side`, the logit that a pixel shows a thing;
    `offsets` `batch 2 side side`, right and down to the centre of that thing's mask, in units of OFFSET pixels;
    `floors` `batch 6` and `moods` `batch 3`, logits."""

    centres: Tensor
    kinds: Tensor
    places: Tensor
    front: Tensor
    offsets: Tensor
    floors: Tensor
    moods: Tensor


class _Convolution(nn.Sequential):
    def __init__(self, inside: int, outside: int, stride: int = 1, side: int = 3) -> None:
        super().__init__(
            nn.Conv2d(inside, outside, side, stride, side // 2, bias=False),
            nn.BatchNorm2d(outside),
            nn.ReLU(inplace=True),
        )


class _Block(nn.Module):
    """A residual block (He et al., 2016)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _Convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        return (x + self.second(self.first(x))).relu()


class _WideBlock(nn.Sequential):
    """A residual block that looks far for little: 5 x 5 per channel, then the channels (Liu et al., 2022, ConvNeXt)."""

    def __init__(self, width: int) -> None:
        super().__init__(
            nn.Conv2d(width, width, 5, 1, 2, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(2 * width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + super().forward(x)


class CheckerNetwork(nn.Module):
    """A U-Net (Ronneberger et al., 2015) from strides 2 to 16 and back; most of its work is done where a place is 4
    pixels or more, so that it is fast on a CPU.

    Args:
        widths: channels at strides 2, 4, 8 and 16.
        blocks: residual blocks at strides 4, 8 and 16.
    """

    def __init__(
        self, widths: tuple[int, int, int, int] = (24, 64, 96, 128), blocks: tuple[int, int, int] = (1, 2, 1)
    ) -> None:
        super().__init__()
        self.sizes = {"widths": list(widths), "blocks": list(blocks)}
        fine, middle, coarse, all_round = widths
        self.stem = _Convolution(3, fine, 2)
        self.down = nn.ModuleList(
            nn.Sequential(_Convolution(before, width, 2), *(_Block(width) for _ in range(count)))
            for before, width, count in zip(widths, widths[1:], blocks, strict=False)
        )
        self.to_coarse = nn.Conv2d(all_round, coarse, 1)
        self.to_middle = nn.Conv2d(coarse, middle, 1)
        self.to_fine = nn.Conv2d(middle, 4 * 8, 1)  # a place of stride 4 has four of stride 2
        self.up_coarse, self.up_middle = _WideBlock(coarse), _WideBlock(middle)
        self.up_fine = _Convolution(fine + 8, 24)
        kinds = sum(len(words) for words in KINDS.values())
        self.at_places = nn.Sequential(_Convolution(middle, middle, side=1), nn.Conv2d(middle, 1 + kinds + 2, 1))
        self.at_pixels = nn.Conv2d(24, 4 * 3, 1)  # a place of stride 2 has four pixels
        self.of_scene = nn.Linear(all_round + middle, len(FLOORS) + len(MOODS))
        nn.init.constant_(self.at_places[-1].bias[:1], -4.0)  # few places are centres (Lin et al., 2017, focal loss)

    def forward(self, pictures: Tensor) -> Maps:
        """Maps of pictures float `batch 3 side side`, as `to_input` makes them; `side` is a multiple of 16."""
        fine = self.stem(pictures)
        middle = self.down[0](fine)
        coarse = self.down[1](middle)
        all_round = self.down[2](coarse)
        scene = self.of_scene(torch.cat([all_round.mean((2, 3)), middle.mean((2, 3))], 1))
        coarse = self.up_coarse(coarse + interpolate(self.to_coarse(all_round), scale_factor=2.0))
        middle = self.up_middle(middle + interpolate(self.to_middle(coarse), scale_factor=2.0))
        fine = self.up_fine(torch.cat([fine, pixel_shuffle(self.to_fine(middle), 2)], 1))
        places, pixels = self.at_places(middle), pixel_shuffle(self.at_pixels(fine), 2)
        return Maps(
            centres=places[:, 0],
            kinds=places[:, 1:-2],
            places=places[:, -2:],
            front=pixels[:, 0],
            offsets=pixels[:, 1:],
            floors=scene[:, : len(FLOORS)],
            moods=scene[:, len(FLOORS) :],
        )


def to_input(pictures: Tensor) -> Tensor:
    """The network's input, float `batch 3 side side` from -1 to 1, of pictures uint8 `batch side side 3`."""
    return pictures.permute(0, 3, 1, 2).float() / 127.5 - 1


def pool(values: Tensor, masks: Tensor) -> Tensor:
    """The means of maps `batch channel h w` over masks `batch thing side side`: `batch thing channel`."""
    shares = avg_pool2d(masks.to(values.dtype), STRIDE)
    total = torch.einsum("bchw,bthw->btc", values, shares)
    return total / shares.sum((2, 3)).clamp_min(1e-3)[..., None]
