"""Occlusion: how much the match of photo and word falls when a window of the photo is covered.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks" (ECCV 2014), section 4.2: a square is moved
over the photo, and the classifier's output is watched. Here the output is the match, the difference to the whole
photo is kept (positive where the word needs the window), and a patch's value is the mean over the windows that cover
it. Deviations: the window is counted in patches, and may be filled with something else than grey.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from crossviz.errors import MethodError
from crossviz.geometry import PatchGrid
from crossviz.methods.base import Layers, MethodInfo, MethodResult, read_phrases, scatter, select_layers
from crossviz.methods.fill import FILLS, fill
from crossviz.results import RelevanceMap
from crossviz.trace import Match, Trace

__all__ = ["Occlusion", "windows"]

LABEL = "whole model"
BATCH = 8
MOST_KEPT = 64_000_000
"""Bytes of states that are kept with a photo for its next caption."""
SHARE = 6
"""The default window is this part of the grid's shorter side."""
_LEAVES_OUT = "A stride of {} patches leaves patches out between windows of {}: choose at most the window's side."


class Occlusion:
    """The fall of the match under a moving window; asks the model only for its answer, so it serves every model.

    Args:
        window: patches per side of the square; None for a sixth of the grid's shorter side.
        stride: patches from one window to the next; None for three quarters of the window.
        fill: what covers it: "grey" (the mean colour that the model's photos are centred on), as in the paper; "mean"
            (this photo's mean colour); "blur" (a Gaussian of half the window's width).

    Raises:
        MethodError: a window or a stride below 1, a stride beyond the window, or no such fill.
    """

    info = MethodInfo(
        name="occlusion",
        title="Occlusion",
        sentence="How much the match of photo and word falls when a window of the photo is covered.",
        paper="Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2014",
        unit="drop of the match",
        signed=True,
        text_dependent=True,
        requires=("match",),
        families="every model",
    )
    needs_grad = False

    def __init__(self, window: int | None = None, stride: int | None = None, fill: str = "grey") -> None:
        for name, value in (("window", window), ("stride", stride)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise MethodError(f"`{name}` is a whole number of patches from 1 on, or None, not {value!r:.60}.")
        if window is not None and stride is not None and stride > window:
            raise MethodError(_LEAVES_OUT.format(stride, window))
        if fill not in FILLS:
            raise MethodError(f"A photo is covered by one of {', '.join(FILLS)}, not by {fill!r:.60}.")
        self.window, self.stride, self.fill = window, stride, fill

    def __call__(self, trace: Trace, layers: Layers = None) -> MethodResult:
        """As `Method`; it reads no attention, so there is no record.

        Raises:
            MethodError: the window does not fit into the grid, or the stride is beyond it.
        """
        select_layers(layers, [LABEL])
        grid, view, match = trace.image.grid, trace.image.view, trace.match()
        side, stride = self._sizes(grid)
        sigma = side * min(view.input_hw[0] / grid.height, view.input_hw[1] / grid.width) / 2  # pixels
        places = windows(grid, side, stride)
        boxes = [_box(place, side, grid, view.input_hw) for place in places]
        indices, phrases = read_phrases(trace)
        with torch.no_grad():
            whole = match.score(match.state(trace.pixels), phrases)[0]  # phrase
            falls = whole.new_zeros(len(boxes), len(phrases))  # window phrase
            for numbers, state in self._covered(trace, match, sigma, boxes):
                falls[numbers] = whole - match.score(state, phrases)
        whole, falls = whole.float().cpu(), falls.float().cpu()
        values, times = torch.zeros(len(indices), grid.height, grid.width), torch.zeros(grid.height, grid.width)
        for (row, col), fall in zip(places, falls, strict=True):
            values[:, row : row + side, col : col + side] += fall[:, None, None]
            times[row : row + side, col : col + side] += 1
        shown = {
            "blur": f"the photo blurred (sigma {sigma:.0f} pixels)",
            "mean": "its mean colour",
            "grey": "the grey that its pixels are centred on",
        }
        return MethodResult(
            None,
            RelevanceMap(
                values=scatter(values / times, indices, trace.caption),
                unit=self.info.unit,
                signed=self.info.signed,
                method=self.info.name,
                params={
                    "layers": [LABEL],
                    "window": side,
                    "stride": stride,
                    "fill": self.fill,
                    "sigma": sigma if self.fill == "blur" else None,
                    "match": match.unit,
                    "whole_photo": dict(zip(map(str, indices), whole.tolist(), strict=True)),
                },
                direction="query: text, key: image",
                text_dependent=self.info.text_dependent,
                token_counts=trace.caption.token_counts,
                notes=(
                    f"What falls is the match, in {match.unit}: {match.sentence}",
                    f"{len(places)} windows of {side} x {side} patches, covered by {shown[self.fill]}; a patch has "
                    "the mean over the windows that hold it. Negative: the word fits better without.",
                ),
            ),
        )

    def _covered(
        self, trace: Trace, match: Match, sigma: float, boxes: Sequence[tuple[int, int, int, int]]
    ) -> list[tuple[list[int], Any]]:
        """The states of the covered photos, which know nothing of the caption.

        The latest are kept with the photo, but not large ones, and not those of a model whose weights were changed for
        a check: that is asked once, and there are as many of them as the model has stages.
        """
        settings = (self.fill, sigma, tuple(boxes))
        slot: dict[tuple, Any] = trace.image.keep("occlusion", dict)
        known = slot.get(settings)
        if known is None:
            known = _states(match, trace.pixels, fill(trace.pixels, self.fill, sigma), boxes)
            slot.clear()
            if " copy " not in trace.image.model_key and _size(known) <= MOST_KEPT:
                slot[settings] = known
        return known

    def _sizes(self, grid: PatchGrid) -> tuple[int, int]:
        shorter = min(grid.height, grid.width)
        side = self.window or max(1, round(shorter / SHARE))
        stride = self.stride or max(1, 3 * side // 4)
        if side > shorter:
            raise MethodError(
                f"A window of {side} patches does not fit into {grid.height} x {grid.width}: choose a smaller one."
            )
        if stride > side:
            raise MethodError(_LEAVES_OUT.format(stride, side))
        return side, stride


def _size(state: Any) -> int:
    """Bytes of the tensors in a state, however it is nested."""
    if isinstance(state, Tensor):
        return state.nbytes
    parts = state.values() if isinstance(state, Mapping) else state if isinstance(state, list | tuple) else ()
    return sum(map(_size, parts))


def windows(grid: PatchGrid, side: int, stride: int) -> list[tuple[int, int]]:
    """Upper left patches (row, column) of windows that cover the whole grid; the last ones lie at its border."""

    def starts(length: int) -> list[int]:
        last = length - side
        return sorted({*range(0, last + 1, stride), last})

    return [(row, col) for row in starts(grid.height) for col in starts(grid.width)]


def _box(place: tuple[int, int], side: int, grid: PatchGrid, input_hw: tuple[int, int]) -> tuple[int, int, int, int]:
    """The window's rows from and to, columns from and to, in pixels of the model's input."""
    top, bottom = (round(row * input_hw[0] / grid.height) for row in (place[0], place[0] + side))
    left, right = (round(col * input_hw[1] / grid.width) for col in (place[1], place[1] + side))
    return top, bottom, left, right


def _states(
    match: Match, pixels: Tensor, cover: Tensor, boxes: Sequence[tuple[int, int, int, int]]
) -> list[tuple[list[int], Any]]:
    """The states of the photos with a window covered, in batches, each with its windows' numbers."""
    changed = []
    for number, (top, bottom, left, right) in enumerate(boxes):
        # A window that changes no pixel has no effect, to the last bit, whatever the batch.
        if not torch.equal(pixels[..., top:bottom, left:right], cover[..., top:bottom, left:right]):
            changed.append(number)
    found = []
    for first in range(0, len(changed), BATCH):
        numbers = changed[first : first + BATCH]
        covered = pixels.repeat(len(numbers), 1, 1, 1)
        for photo, number in zip(covered, numbers, strict=True):
            top, bottom, left, right = boxes[number]
            photo[:, top:bottom, left:right] = cover[0, :, top:bottom, left:right]
        found.append((numbers, match.state(covered)))
    return found
