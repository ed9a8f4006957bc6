"""The attention of all steps, layers and heads of a drawing, brought to one grid and kept within a bound of memory.

Tang et al., "What the DAAM: Interpreting Stable Diffusion Using Cross Attention" (2022): every layer's probabilities
are upsampled bicubically to one size and then summed. Here they are averaged, so that they stay probabilities: what
bicubic interpolation leaves below zero is taken as zero, as theirs is, and each place's words and rest then add up to 1
again.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from crossviz.errors import CaptureError
from crossviz.generation import IMAGE_ASKS_TEXT, WordMaps

__all__ = ["MAX_VALUES", "WordMapsBuilder", "grid_of", "to_grid"]

MAX_VALUES = 64 * 2**20
"""Numbers that the maps of a drawing may hold: 256 MB in float32."""
ENOUGH_STEPS = 8
"""Heads are kept apart only where that many stretches of the steps can be, too (or all steps, where they are fewer)."""


class Plan(NamedTuple):
    """What is kept apart."""

    stretches: int
    heads: int


def grid_of(tokens: int, latent_hw: tuple[int, int], patch: int | None, rounds_up: bool = True) -> tuple[int, int]:
    """Height and width of a layer's image tokens, from the latents' own height and width.

    Args:
        tokens: how many there are.
        latent_hw: the latents' height and width.
        patch: latents per token and side; None for a layer of a UNet, which stands at some halving of them.
        rounds_up: whether halving an odd side gives the larger half, as a convolution with padding does.

    Raises:
        CaptureError: there is no such grid.
    """
    height, width = latent_hw
    if patch is not None:
        height, width = height // patch, width // patch
        if height * width == tokens:
            return height, width
    else:
        more = int(rounds_up)
        while height * width >= tokens and height * width > 0:
            if height * width == tokens:
                return height, width
            if height * width == 1:
                break
            height, width = (height + more) // 2, (width + more) // 2
    raise CaptureError(
        f"A layer's {tokens} image tokens are no grid of latents of {latent_hw[0]} x {latent_hw[1]}, so their places "
        "are not known: choose another size, or another model."
    )


def to_grid(maps: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """Shares of words `head word h w`, which add up to 1 over the words, on a grid that is as fine or finer."""
    if tuple(maps.shape[-2:]) == tuple(grid_hw):
        return maps
    finer = F.interpolate(maps, size=tuple(grid_hw), mode="bicubic", align_corners=False).clamp_min(0)
    return finer / finer.sum(1, keepdim=True)


class WordMapsBuilder:
    """Takes what each layer gives in a step, and keeps the mean over stretches of the steps.

    Every layer is kept apart. Where the heads of all layers cannot be, within MAX_VALUES and with ENOUGH_STEPS, their
    mean is kept; steps are then put together in as few stretches as the bound asks for, and at least one. So the bound
    is MAX_VALUES numbers, or one stretch of all layers where that alone is more.
    """

    def __init__(self) -> None:
        self._step: dict[str, list[Tensor]] = {}
        self._layers: tuple[str, ...] = ()
        self._grid = (0, 0)
        self._plan = Plan(1, 1)
        self._sums = torch.empty(0)
        self._counts: list[int] = []
        self._ends: list[int] = []

    def add(self, layer: str, maps: Tensor) -> None:
        """One call of a layer: `head word h w`, the last word being what went to no word; adds up to 1 over words."""
        self._step.setdefault(layer, []).append(maps)

    def end_step(self, step: int, steps: int) -> None:
        """What was added belongs to step `step`, from 1, of `steps`.

        Raises:
            CaptureError: it is not of the layers that the first step had.
        """
        if not self._counts:
            self._begin(steps)
        if tuple(self._step) != self._layers:
            raise CaptureError(f"Step {step} ran other layers than the first: its maps can't be put beside those.")
        stretch = min((step - 1) * self._plan.stretches // steps, self._plan.stretches - 1)
        for place, calls in enumerate(self._step.values()):
            maps = torch.stack([to_grid(call, self._grid) for call in calls]).mean(0)
            if self._plan.heads == 1:
                maps = maps.mean(0, keepdim=True)
            self._sums[stretch, place] += maps.cpu()
        self._counts[stretch] += 1
        self._ends[stretch] = step
        self._step.clear()

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the finest layer's grid, to which all are brought; known after a step."""
        return self._grid

    @property
    def averaged_heads(self) -> bool:
        """Whether the heads' mean is kept; known after a step."""
        return self._plan.heads == 1 and self._most_heads > 1

    def maps(self) -> WordMaps:
        """All of them; `steps` says how many steps were done at each stretch's end.

        Raises:
            CaptureError: there was no step.
        """
        kept = [place for place, count in enumerate(self._counts) if count]
        if not kept:
            raise CaptureError("The drawing took no step, so there is no attention to show.")
        counts = torch.tensor([self._counts[place] for place in kept], dtype=torch.float32)
        mean = self._sums[kept] / counts[:, None, None, None, None, None]
        return WordMaps(
            values=mean[:, :, :, :-1],
            none=mean[:, :, :, -1],
            layers=self._layers,
            direction=IMAGE_ASKS_TEXT,
            steps=tuple(self._ends[place] for place in kept),
        )

    def _begin(self, steps: int) -> None:
        if not self._step:
            raise CaptureError("No layer looked at the text in the first step, so there is no attention to show.")
        first = {layer: calls[0] for layer, calls in self._step.items()}
        self._layers = tuple(first)
        self._grid = max((tuple(maps.shape[-2:]) for maps in first.values()), key=lambda hw: hw[0] * hw[1])
        words = next(iter(first.values())).shape[1]
        heads = {maps.shape[0] for maps in first.values()}
        self._most_heads = max(heads)
        one = len(first) * words * self._grid[0] * self._grid[1]  # numbers of a step, heads as one
        apart = MAX_VALUES // (one * self._most_heads)
        if len(heads) == 1 and apart >= min(steps, ENOUGH_STEPS):
            self._plan = Plan(min(apart, steps), self._most_heads)
        else:
            self._plan = Plan(max(1, min(MAX_VALUES // one, steps)), 1)
        self._sums = torch.zeros(self._plan.stretches, len(first), self._plan.heads, words, *self._grid)
        self._counts = [0] * self._plan.stretches
        self._ends = [0] * self._plan.stretches
