"""What a text-to-image model drew, and which words each part of the picture was drawn from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from crossviz.errors import ResultError
from crossviz.frozen import FrozenResult, json_mapping, own_tensor, set_fields, strings
from crossviz.geometry import PatchGrid
from crossviz.results import Provenance, head_index, layer_index
from crossviz.words import Caption

__all__ = ["IMAGE_ASKS_TEXT", "TEXT_ASKS_IMAGE", "Generation", "Progress", "WordMaps"]

IMAGE_ASKS_TEXT = "query: image, key: text"
TEXT_ASKS_IMAGE = "query: text, key: image"


@dataclass(frozen=True, eq=False)
class WordMaps(FrozenResult):
    """Cross-attention between the words of a caption and the places of a picture, of every layer and head.

    Where the image asks the text, the values of all words and `none` add up to 1 at every place; where the text asks
    the image, the values over all places and `none` add up to 1 for every word. A word's value is the sum over its
    tokens where it is a key, and their mean where it is the query.
    """

    _TENSORS: ClassVar[tuple[str, ...]] = ("values", "none")

    values: Tensor
    """Probabilities, `step layer head word gh gw`. One step where each place was drawn once (a model that writes token
    after token); the steps of a model that draws everything at each step."""
    none: Tensor
    """What went to no word (the null key, and the marks before and after the caption), `step layer head gh gw`; or,
    where the text asks, to no place (the null key), `step layer head word`."""
    layers: tuple[str, ...]
    direction: str
    steps: tuple[int, ...] = ()
    """How many of the drawing's steps were done at the end of each `step` here, which is the mean over those since the
    one before; empty where there is one that is not one of the drawing's steps."""

    def __post_init__(self) -> None:
        values = own_tensor("values", self.values, "step layer head word gh gw")
        asks_text = self.direction == IMAGE_ASKS_TEXT
        if not asks_text and self.direction != TEXT_ASKS_IMAGE:
            raise ResultError(f"`direction` is {self.direction!r:.60}: it must be one of the two in this file.")
        none = own_tensor("none", self.none, "step layer head gh gw" if asks_text else "step layer head word")
        expected = values.sum(3).shape if asks_text else values.shape[:4]
        if none.shape != expected:
            raise ResultError(f"`none` must be of shape {tuple(expected)}, but is {tuple(none.shape)}.")
        layers = strings("layers", self.layers)
        if len(layers) != values.shape[1]:
            raise ResultError(f"There are {len(layers)} labels for {values.shape[1]} layers.")
        total = (values.sum(3) if asks_text else values.sum((-2, -1))) + none
        if not torch.isfinite(total).all() or values.min() < 0 or (total - 1).abs().max() > 1e-3:
            raise ResultError("The attention does not add up to 1 everywhere: these are no probabilities.")
        steps = tuple(int(step) for step in self.steps)
        if steps and (len(steps) != len(values) or list(steps) != sorted(set(steps)) or steps[0] < 1):
            raise ResultError(f"`steps` must be {len(values)} growing numbers from 1 on, but is {steps!r:.60}.")
        set_fields(self, values=values, none=none, layers=layers, steps=steps)

    def select(
        self,
        words: tuple[int, ...],
        layer: int | str | None = None,
        head: int | None = None,
        step: int | None = None,
    ) -> Tensor:
        """One map `gh gw`: the mean over the words, and over layers, heads and steps where none is chosen."""
        chosen = self.values[:, :, :, list(words)].mean(3)  # step layer head gh gw
        chosen = chosen if step is None else chosen[step : step + 1]
        chosen = chosen if layer is None else chosen[:, layer_index(self.layers, layer)][:, None]
        chosen = chosen if head is None else chosen[:, :, head_index(chosen.shape[2], head)][:, :, None]
        return chosen.mean((0, 1, 2))


@dataclass(frozen=True)
class Progress:
    """A picture on its way: after `step` of `steps`, `picture` uint8 `height width 3`."""

    step: int
    steps: int
    picture: Tensor


@dataclass(frozen=True, eq=False)
class Generation(FrozenResult):
    """A picture drawn from a caption, with the attention it was drawn by.

    Beside the fields: `picture` is the last frame. Nothing of it changes after it was made.
    """

    _TENSORS: ClassVar[tuple[str, ...]] = ("frames", "written", "tokens")

    caption: Caption
    grid: PatchGrid
    frames: Tensor
    """uint8 `frame height width 3`: the picture at some of the steps, the last one finished."""
    frame_steps: tuple[int, ...]
    """How many steps were done at each frame."""
    asks_text: WordMaps
    """The places of the picture ask the words: where each word wrote."""
    asks_image: WordMaps | None
    """The words ask the places of the picture that was drawn; None where the model has no such attention."""
    written: Tensor | None
    """int64 `gh gw`: at which step, from 0, each place was written; None where every step draws all places."""
    tokens: Tensor | None
    """int64 `gh gw`: the codebook's entry at each place; None where there is no codebook."""
    settings: Mapping[str, Any]
    """`seed`, `guidance`, `temperature` and what else the model was told."""
    verdict: Mapping[str, Any] | None
    """What a checker found in the picture: `asked` (bool), `found` and `faults` (sentences); None without one."""
    provenance: Provenance

    def __post_init__(self) -> None:
        frames = _integers("frames", self.frames, torch.uint8, 4)
        if frames.shape[-1] != 3 or len(frames) != len(self.frame_steps) or not len(frames):
            raise ResultError(
                f"`frames` must be `frame height width 3`, one for each of `frame_steps`, but is "
                f"{tuple(frames.shape)} for {len(self.frame_steps)}."
            )
        shape = (self.grid.height, self.grid.width)
        values: dict[str, Any] = {"frames": frames, "frame_steps": tuple(int(step) for step in self.frame_steps)}
        for name in ("written", "tokens"):
            if getattr(self, name) is not None:
                values[name] = _integers(name, getattr(self, name), torch.int64, 2)
                if values[name].shape != shape:
                    raise ResultError(f"`{name}` must be of shape {shape}, but is {tuple(values[name].shape)}.")
        for name in ("asks_text", "asks_image"):
            maps = getattr(self, name)
            if maps is not None and tuple(maps.values.shape[3:]) != (len(self.caption.words), *shape):
                raise ResultError(
                    f"`{name}` is of shape {tuple(maps.values.shape)}, which is not that of "
                    f"{len(self.caption.words)} words and {shape[0]} x {shape[1]} places."
                )
        values["settings"] = json_mapping(self.settings)
        values["verdict"] = None if self.verdict is None else json_mapping(self.verdict)
        set_fields(self, **values)

    @property
    def picture(self) -> Tensor:
        """The finished picture, uint8 `height width 3`."""
        return self.frames[-1]

    @property
    def words(self) -> tuple:
        """The caption's words."""
        return self.caption.words


def _integers(name: str, value: Tensor, dtype: torch.dtype, axes: int) -> Tensor:
    if not isinstance(value, Tensor) or value.dtype != dtype or value.ndim != axes:
        raise ResultError(f"`{name}` must be a tensor of {dtype} with {axes} axes.")
    return value.detach().cpu().clone().contiguous()
