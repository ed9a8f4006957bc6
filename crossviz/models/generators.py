"""Models that draw a picture from a caption; `crossviz.generator` has their registry."""

from __future__ import annotations

import operator
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from numbers import Real
from typing import Any, Protocol

import torch

from crossviz.errors import SettingsError
from crossviz.generation import Generation, Progress

__all__ = ["GeneratorFamily", "GeneratorInfo", "GeneratorModel", "Settings", "number", "whole"]


@dataclass(frozen=True)
class Settings:
    """What a model is told beside the caption; None takes the model's own choice.

    `guidance` is the scale of classifier-free guidance (Ho and Salimans, 2022): 1 is none. `temperature` and `steps`
    only where a model has them; of `candidates` drawings a model keeps the one that fits best. `size_wh` is the
    picture's size in pixels, where a model draws several.
    """

    seed: int = 0
    guidance: float | None = None
    temperature: float | None = None
    steps: int | None = None
    size_wh: tuple[int, int] | None = None
    candidates: int | None = None


@dataclass(frozen=True)
class GeneratorInfo:
    """A model as it is offered: `name` to ask for it by, a `title` and a `sentence` of what it draws."""

    name: str
    title: str
    sentence: str
    trained: bool = True
    available: bool = True
    """Whether it can be loaded here and now, without fetching anything."""
    reason: str = ""
    """Why it is not available."""


class GeneratorModel(Protocol):
    """One loaded model.

    It may also have `examples`: several captions that it draws well, for the page to offer.
    """

    info: GeneratorInfo
    example: str
    """A caption that it draws well."""
    defaults: Settings
    """What None in the settings stands for; what is None here, too, the model does not have."""

    def draw(self, caption: str, settings: Settings) -> Iterator[Progress | Generation]:
        """Draws step by step; the last thing that comes is the `Generation`. Closing the iterator stops it.

        Raises:
            CaptionError: the caption is empty, or has what the model does not know.
        """
        ...


class GeneratorFamily(Protocol):
    """Models of one kind: one entry in the registry of `crossviz.generator`."""

    name: str
    """Its models' names are this, or begin with this and a colon."""

    def infos(self) -> list[GeneratorInfo]:
        """The family's models, or a choice of them."""
        ...

    def identity(self, name: str) -> tuple[str, str]:
        """Where the model comes from, the same for all names of it, and the state that its files are in.

        Raises:
            UnknownModelError: the family has no such model.
            ModelUnavailableError: it can't be had here.
        """
        ...

    def load(self, name: str, device: torch.device) -> GeneratorModel:
        """Load a model.

        Raises:
            UnknownModelError: the family has no such model.
            ModelUnavailableError: it can't be had here; the message names it, the reason and what to do.
        """
        ...


def whole(what: str, value: Any, low: int, high: int) -> int:
    """A setting that is a whole number, of any type of those.

    Args:
        what: the setting, as a sentence begins with it.
        value: what was given for it.
        low, high: its bounds, which it may reach.

    Raises:
        SettingsError: it is none, or beyond its bounds.
    """
    try:
        found = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        found = None
    if found is None or not low <= found <= high:
        raise SettingsError(f"{what} must be a whole number from {low} to {high}, not {value!r:.40}.")
    return found


def number(what: str, value: Any, low: float, high: float = sys.float_info.max) -> float:
    """A setting that is a number, as `whole`; neither infinite nor NaN."""
    if isinstance(value, bool) or not isinstance(value, Real) or not low <= value <= high:
        bounds = f"from {low:g} on" if high == sys.float_info.max else f"from {low:g} to {high:g}"
        raise SettingsError(f"{what} must be a number {bounds}, not {value!r:.40}.")
    return float(value)
