"""What a text-to-image model drew, and which words each part of the picture was drawn from."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from crossviz.errors import ResultError, SelectionError
from crossviz.frozen import FrozenResult, json_mapping, own_tensor, set_fields, strings
from crossviz.geometry import ImageView, PatchGrid
from crossviz.results import Provenance, head_index, layer_index
from crossviz.words import Caption, Phrase, Word

if TYPE_CHECKING:
    from PIL import Image

    from crossviz.render.scale import Scale

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
        if 0 in values.shape:
            raise ResultError(f"`values` must hold something, but is of shape {tuple(values.shape)}.")
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
        if not torch.isfinite(total).all() or min(values.min(), none.min()) < 0 or (total - 1).abs().max() > 1e-3:
            raise ResultError("The attention does not add up to 1 everywhere: these are no probabilities.")
        steps = tuple(self.steps)
        whole = all(type(step) is int for step in steps)
        if not whole or (steps and (len(steps) != len(values) or list(steps) != sorted(set(steps)) or steps[0] < 1)):
            raise ResultError(f"`steps` must be {len(values)} growing numbers from 1 on, but is {steps!r:.60}.")
        set_fields(self, values=values, none=none, layers=layers, steps=steps)

    def select(
        self,
        words: tuple[int, ...],
        layer: int | str | None = None,
        head: int | None = None,
        step: int | None = None,
    ) -> Tensor:
        """One map `gh gw`: the mean over the words, and over layers, heads and steps where none is chosen.

        Raises:
            SelectionError: there is no such layer, head or step.
        """
        steps = len(self.values)
        if step is not None and (type(step) is not int or not 0 <= step < steps):
            raise SelectionError(f"There is no step {step!r:.40}: choose 0 to {steps - 1}.")
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
    """A picture drawn from a caption, with the attention it was drawn by. Equality is exact, of every part.

    A word or a phrase is chosen by exactly one of `text`, `span` (start and end in characters) and `word` (index), as
    in an `Explanation`. Nothing of it changes after it was made.

    Raises:
        ResultError: for parts that don't fit together.
    """

    caption: Caption
    grid: PatchGrid
    frames: Tensor
    """uint8 `frame height width 3`: the picture at some of the steps, the last one finished."""
    frame_steps: tuple[int, ...]
    """How many steps were done at each frame; the last is how many there are."""
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
    """What a checker found in the picture: `asked` (bool), `found` (a sentence or several) and `faults` (sentences);
    None where there is none."""
    provenance: Provenance
    codebook: Tensor | None = None
    """uint8 `entry height width 3`: what the decoder draws of each entry that `tokens` holds, in ascending order; None
    where that was not asked of it."""

    def __post_init__(self) -> None:
        if not isinstance(self.caption, Caption) or not isinstance(self.grid, PatchGrid):
            raise ResultError("`caption` must be a Caption and `grid` a PatchGrid.")
        if not isinstance(self.provenance, Provenance):
            raise ResultError(f"`provenance` must be a Provenance, but is {type(self.provenance).__name__}.")
        frames = _integers("frames", self.frames, torch.uint8, 4)
        steps = _steps(self.frame_steps)
        if frames.shape[-1] != 3 or len(frames) != len(steps) or 0 in frames.shape:
            raise ResultError(
                f"`frames` must be `frame height width 3`, one for each of `frame_steps`, but is "
                f"{tuple(frames.shape)} for {len(steps)}."
            )
        shape = (self.grid.height, self.grid.width)
        values: dict[str, Any] = {"frames": frames, "frame_steps": steps}
        for name in ("written", "tokens"):
            if getattr(self, name) is not None:
                values[name] = _integers(name, getattr(self, name), torch.int64, 2)
                if values[name].shape != shape or values[name].min() < 0:
                    raise ResultError(
                        f"`{name}` must be of shape {shape} and hold no number below 0, but is of shape "
                        f"{tuple(values[name].shape)}."
                    )
        if self.codebook is not None:
            values["codebook"] = _integers("codebook", self.codebook, torch.uint8, 4)
            used = 0 if self.tokens is None else len(torch.unique(self.tokens))
            if len(values["codebook"]) != used or values["codebook"].shape[-1] != 3 or 0 in values["codebook"].shape:
                raise ResultError(
                    f"`codebook` must be `entry height width 3`, one for each of {used} entries that `tokens` holds, "
                    f"but is {tuple(values['codebook'].shape)}."
                )
        for name, direction in (("asks_text", IMAGE_ASKS_TEXT), ("asks_image", TEXT_ASKS_IMAGE)):
            maps = getattr(self, name)
            if maps is None and name == "asks_image":
                continue
            if not isinstance(maps, WordMaps) or maps.direction != direction:
                raise ResultError(f"`{name}` must be WordMaps of the direction {direction!r}.")
            if tuple(maps.values.shape[3:]) != (len(self.caption.words), *shape):
                raise ResultError(
                    f"`{name}` is of shape {tuple(maps.values.shape)}, which is not that of "
                    f"{len(self.caption.words)} words and {shape[0]} x {shape[1]} places."
                )
        values["settings"] = json_mapping(self.settings)
        values["verdict"] = None if self.verdict is None else _verdict(self.verdict)
        set_fields(self, **values)

    def __reduce__(self) -> tuple:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        plain = {name: None if values[name] is None else dict(values[name]) for name in ("settings", "verdict")}
        return _restore, (values | plain,)

    @property
    def picture(self) -> Tensor:
        """The finished picture, uint8 `height width 3`."""
        return self.frames[-1]

    @property
    def words(self) -> tuple[Word, ...]:
        """The caption's words, with character spans."""
        return self.caption.words

    @property
    def steps(self) -> int:
        """How many steps it was drawn in."""
        return self.frame_steps[-1]

    @property
    def view(self) -> ImageView:
        """From the picture's pixels to its places: the grid covers all of it."""
        height, width = self.picture.shape[:2]
        return ImageView.squash((width, height), (height, width))

    def maps(self, direction: str = IMAGE_ASKS_TEXT) -> WordMaps:
        """The attention in one direction.

        Raises:
            SelectionError: there is no such direction, or the model has no attention in it.
        """
        found = {IMAGE_ASKS_TEXT: self.asks_text, TEXT_ASKS_IMAGE: self.asks_image}.get(direction)
        if found is None:
            there = [IMAGE_ASKS_TEXT, *([] if self.asks_image is None else [TEXT_ASKS_IMAGE])]
            raise SelectionError(
                f"This picture has no attention {direction!r:.60}: choose {' or '.join(repr(name) for name in there)}."
            )
        return found

    def scale(self, direction: str = IMAGE_ASKS_TEXT) -> Scale:
        """The one colour scale of all words, as `crossviz.render.generation_scale`."""
        from crossviz.render.generation_scale import generation_scale

        return generation_scale(self.maps(direction))

    def map_steps(self, maps: WordMaps) -> list[int]:
        """How many steps of the drawing were done at the end of each step of the maps."""
        if maps.steps:
            return [*maps.steps[:-1], max(self.steps, maps.steps[-1])]
        count = len(maps.values)
        return [-(-(index + 1) * self.steps // count) for index in range(count)]

    def patch_map(
        self,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        layer: int | str | None = None,
        head: int | None = None,
        step: int | None = None,
        direction: str = IMAGE_ASKS_TEXT,
    ) -> np.ndarray:
        """The map over places, not normalised: float32 `gh gw`, probabilities.

        Args:
            text, span, word: the word or phrase, by one of the three; of a phrase the mean over its words.
            layer, head: index or label, and index; the mean over all if None.
            step: how many steps were done, from 1. Where each place is written once, those that were not written by
                then are 0; where every step draws all places, the attention in that very step, or the mean over those
                that were kept together with it. The whole if None.
            direction: `IMAGE_ASKS_TEXT` (where the word wrote) or `TEXT_ASKS_IMAGE`.

        Raises:
            SelectionError: no such word, layer, head, step or direction.
        """
        maps, phrase = self.maps(direction), self.caption.phrase(text, span=span, word=word)
        if step is not None and (type(step) is not int or not 1 <= step <= self.steps):
            raise SelectionError(f"There is no step {step!r:.40}: choose 1 to {self.steps}.")
        single = step is not None and len(maps.values) > 1
        index = self.map_steps(maps).index(min(s for s in self.map_steps(maps) if s >= step)) if single else None
        values = maps.select(phrase.words, layer, head, index)
        if step is not None and index is None and self.written is not None:
            values = torch.where(self.written < step, values, torch.zeros(()))
        return values.numpy()

    def heatmap(
        self,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        layer: int | str | None = None,
        head: int | None = None,
        step: int | None = None,
        direction: str = IMAGE_ASKS_TEXT,
        smooth: bool = True,
    ) -> np.ndarray:
        """The map in the picture's own pixels, not normalised: float32 `height width`, probabilities.

        Args:
            text, span, word, layer, head, step, direction: as for `patch_map`.
            smooth: bilinear between the middles of the places, or the places themselves.

        Raises:
            SelectionError: as for `patch_map`.
        """
        values = self.patch_map(text, span=span, word=word, layer=layer, head=head, step=step, direction=direction)
        return self.view.upsample(values, smooth=smooth)

    def null_mass(
        self,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
    ) -> float | None:
        """How much of a word's own asking went to no place of the picture, 0 to 1; None where the words do not ask.

        Raises:
            SelectionError: no such word.
        """
        phrase = self.caption.phrase(text, span=span, word=word)
        return None if self.asks_image is None else float(self.asks_image.none[..., list(phrase.words)].mean())

    def overlay(
        self,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        layer: int | str | None = None,
        head: int | None = None,
        step: int | None = None,
        direction: str = IMAGE_ASKS_TEXT,
        smooth: bool = True,
        width: int | None = None,
    ) -> Image.Image:
        """The map drawn on what `image` gives for that step, mode RGB, in the colours of an explanation.

        Args:
            text, span, word, layer, head, step, direction, smooth: as for `heatmap`.
            width: in pixels, 1 to 16384; the picture's own size if None.

        Raises:
            SelectionError: as for `heatmap`.
            RenderError: no such width.
        """
        from crossviz.render.overlay import draw_overlay, sized

        values = self.patch_map(text, span=span, word=word, layer=layer, head=head, step=step, direction=direction)
        return draw_overlay(
            self.image(step),
            values,
            self.view,
            self.scale(direction),
            smooth=smooth,
            trained=self.provenance.trained,
            size_wh=sized(self.view.source_wh, width),
        )

    def image(self, step: int | None = None) -> Image.Image:
        """The picture, mode RGB: finished, or the last frame at which at most so many steps were done; where there is
        none, the first frame, which is of a later step.

        Raises:
            SelectionError: no such step.
        """
        from PIL import Image

        if step is not None and (type(step) is not int or not 1 <= step <= self.steps):
            raise SelectionError(f"There is no step {step!r:.40}: choose 1 to {self.steps}.")
        before = [at for at, done in enumerate(self.frame_steps) if step is None or done <= step]
        return Image.fromarray(self.frames[before[-1] if before else 0].numpy())

    def sentence(
        self,
        text: str | None = None,
        *,
        span: tuple[int, int] | None = None,
        word: int | None = None,
        direction: str = IMAGE_ASKS_TEXT,
    ) -> str:
        """Where the map lies, for those who don't see it, as `Explanation.sentence` says it.

        Raises:
            SelectionError: no such word or direction.
        """
        from crossviz.render.generation_scale import generation_sentence

        return generation_sentence(self, self.caption.phrase(text, span=span, word=word), direction)

    def save(self, path: str | os.PathLike, *, words: Sequence[int | str | tuple[int, int]] | None = None) -> None:
        """Write a file of the kind that its suffix names; it is written whole or not at all.

        .npz and .json hold all the numbers; .png is the picture, .gif shows it growing, .html is the interactive view
        for any browser, offline. All of them hold the whole, which `crossviz.load` reads back.

        Args:
            words: whose maps a .gif draws on the picture; none if None.

        Raises:
            BundleError: another suffix, or a folder that can't be written to.
            SelectionError: no such word.
            RenderError: an .html of more places than a browser can show.
        """
        from crossviz.generation_export import save_generation

        save_generation(self, path, words)

    def to_bytes(self, suffix: str, *, words: Sequence[int | str | tuple[int, int]] | None = None) -> bytes:
        """What `save` writes for a suffix.

        Raises:
            BundleError: there is no such kind of file.
            SelectionError: no such word.
            RenderError: an .html of more places than a browser can show.
        """
        from crossviz.generation_export import generation_bytes

        return generation_bytes(self, suffix, words)

    def phrases(self, selectors: Sequence[int | str | tuple[int, int]] | None) -> list[Phrase]:
        """Words and phrases, each by text, span or index; none if None.

        Raises:
            SelectionError: no such word.
        """
        return [self.caption.select(selector) for selector in selectors or ()]

    def __repr__(self) -> str:
        height, width = self.picture.shape[:2]
        return f"<Generation of {self.caption.text!r:.60} by {self.provenance.model}, {width} x {height} pixels>"


def _restore(values: dict[str, Any]) -> Generation:
    return Generation(**values)


def _integers(name: str, value: Tensor, dtype: torch.dtype, axes: int) -> Tensor:
    if not isinstance(value, Tensor) or value.dtype != dtype or value.ndim != axes:
        raise ResultError(f"`{name}` must be a tensor of {dtype} with {axes} axes.")
    return value.detach().cpu().clone().contiguous()


def _steps(steps: Sequence[int]) -> tuple[int, ...]:
    whole = isinstance(steps, tuple | list) and all(type(step) is int for step in steps)
    if not whole or not steps or steps[-1] < 1 or steps[0] < 0 or any(b < a for a, b in pairwise(steps)):
        raise ResultError(f"`frame_steps` must be whole numbers that rise to at least 1, but are {steps!r:.80}.")
    return tuple(steps)


def _verdict(verdict: Mapping[str, Any]) -> Mapping[str, Any]:
    copy = json_mapping(verdict)
    found, faults = copy.get("found"), copy.get("faults")
    texts = [*([found] if isinstance(found, str) else found if isinstance(found, list) else [None])]
    texts += faults if isinstance(faults, list) else [None]
    if type(copy.get("asked")) is not bool or not all(isinstance(text, str) for text in texts):
        raise ResultError(
            "`verdict` must hold `asked` (True or False), `found` (a sentence or several) and `faults` (sentences), "
            f"but is {dict(copy)!r:.120}."
        )
    return copy
